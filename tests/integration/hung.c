/*
 * hung.c - storage that hangs, for good: what else goes on, and that it ends.
 *
 *     hung storage DIR     a file system at DIR until it is killed (root only)
 *     hung check           the proof; the server has volumes "hung" (DIR) and "t" (an ordinary one)
 *     hung drain DIR       SIGTERM to GOFER_SERVER_PID while requests wait for DIR
 *
 * The file system is spoken to directly over /dev/fuse. It answers for its root; a look-up of a
 * name that begins with 's' waits until somebody looks "release" up, of another it is ENOENT. For
 * `check` it is stopped: whoever asks sits in the kernel then, and no signal but SIGKILL gets it
 * out.
 */
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/integration/raw.h"

enum { THREADS = 8, IN_FLIGHT = 256, HELD = 64 };
/* The time that an answer may take while everything else hangs. */
static const uint64_t at_once = PROOF_SANITIZED ? 1000000000 : 100000000;

/* ---- the storage ---- */

static void answer(int fd, uint64_t unique, int error, const void *body, size_t len)
{
	struct fuse_out_header h = { .len = (uint32_t)(sizeof(h) + len),
				     .error = error,
				     .unique = unique };
	struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)body, len } };

	/* Whoever asked may be gone. */
	if (writev(fd, iov, len ? 2 : 1) < 0 && errno != ENOENT)
		die("/dev/fuse: %m");
}

static void serve_one(int fd, const uint8_t *buf)
{
	static uint64_t held[HELD];
	static size_t n_held;
	const struct fuse_in_header *in = (const void *)buf;
	const char *name = (const char *)(in + 1);
	struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION,
				      .minor = 31,
				      .flags = FUSE_PARALLEL_DIROPS,
				      .max_write = 4096 };
	struct fuse_attr_out attr = { .attr_valid = 3600,
				      .attr = { .ino = 1, .mode = S_IFDIR | 0755, .nlink = 2 } };
	struct fuse_statfs_out statfs = { .st = { .bsize = 4096, .namelen = 255 } };

	switch (in->opcode) {
	case FUSE_INIT:
		answer(fd, in->unique, 0, &init, sizeof(init));
		break;
	case FUSE_GETATTR:
		answer(fd, in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_STATFS:
		answer(fd, in->unique, 0, &statfs, sizeof(statfs));
		break;
	case FUSE_LOOKUP:
		if (name[0] == 's' && n_held < HELD) {
			held[n_held++] = in->unique;
			break;
		}
		while (n_held && strcmp(name, "release") == 0)
			answer(fd, held[--n_held], -ENOENT, NULL, 0);
		answer(fd, in->unique, -ENOENT, NULL, 0);
		break;
	case FUSE_INTERRUPT:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		answer(fd, in->unique, -ENOSYS, NULL, 0);
	}
}

static int storage(const char *dir)
{
	static uint8_t buf[FUSE_MIN_READ_BUFFER + 65536];
	char options[128];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
		 fd);
	if (fd < 0 || mount("hung", dir, "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
		printf("no file system of our own: %m\n");
		return PROOF_SKIP;
	}
	puts("mounted");
	fflush(stdout);
	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n >= (ssize_t)sizeof(struct fuse_in_header))
			serve_one(fd, buf);
		else if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ENOENT)
			return errno == ENODEV ? 0 : 1;
	}
}

/* ---- the proof ---- */

static uint8_t packet[FRAME_MAX_PACKET];

static size_t pack_stat(uint8_t *buf, uint32_t fs_id, uint32_t tag, const char *name)
{
	Gofer__StatRequest m = GOFER__STAT_REQUEST__INIT;
	Gofer__Path path = GOFER__PATH__INIT;

	path.fs_id = fs_id;
	path.path = BYTES(name);
	m.path = &path;
	return raw_request(buf, RPC_TYPE_Stat, tag, &m.base, NULL, 0);
}

static void send_stat(int sock, uint32_t fs_id, uint32_t tag, const char *name)
{
	size_t n = pack_stat(packet, fs_id, tag, name);

	if (raw_send(sock, packet, n, NULL, 0, 0) < 0)
		die("send: %m");
}

/* Stats of `n` names that begin with `first`, one packet each, tags from `tag` on. */
static void send_stats(int sock, uint32_t fs_id, uint32_t tag, unsigned n, char first)
{
	for (unsigned i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "%c%u", first, tag + i);
		send_stat(sock, fs_id, tag + i, name);
	}
}

/* A call that must be answered at once. Returns the errno (0 = OK). */
static int timed(int sock, uint16_t type, const void *message, uint64_t *longest)
{
	uint64_t begin = clock_ns();
	int e = raw_errno(sock, type, message);

	*longest = MAX(*longest, clock_ns() - begin);
	return e;
}

static uint64_t open_handle(int sock, uint32_t fs_id)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__OpenRequest m = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path path = GOFER__PATH__INIT;

	path.fs_id = fs_id;
	path.path = BYTES("file");
	m.path = &path;
	m.flags = GOFER__OPEN_FLAG__OPEN_READ;
	if (raw_call(sock, RPC_TYPE_Open, &m.base, &r) < 0 || r.kind != FRAME_OK)
		die("open");
	return ((const Gofer__OpenReply *)r.message)->handle;
}

/* More than may be in flight, as large as can be, and what has no reply to wait for: refused, and
 * not kept. Counts the refusals until a Ping says that all was seen. */
static unsigned flood(int sock, uint32_t fs_id, unsigned n)
{
	static uint8_t body[60000];
	Gofer__PingRequest ping = GOFER__PING_REQUEST__INIT;
	struct frame_header silent = {
		.type = RPC_TYPE_Stat, .tag = 7, .flags = FRAME_NO_REPLY, .body_len = sizeof(body)
	};
	struct frame_header large = { .type = RPC_TYPE_Stat, .body_len = sizeof(body) };
	unsigned refused = 0;

	for (unsigned i = 0; i < n; i++) {
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;

		if (raw_send(sock, packet, raw_pack(packet, &silent, body, NULL), NULL, 0, 0) < 0)
			die("send: %m");
		large.tag = 100000 + i;
		if (raw_send(sock, packet, raw_pack(packet, &large, body, NULL), NULL, 0, 0) < 0)
			die("send: %m");
		if (raw_reply(sock, 5000, &r) == 0 && r.kind == FRAME_ERROR && r.error == EAGAIN &&
		    r.header.tag == large.tag)
			refused++;
	}
	(void)raw_errno(sock, RPC_TYPE_Ping, &ping.base);
	return refused;
}

/* The process that the server did not have yet. */
static pid_t worker_beside(const struct process_list *before)
{
	struct process_list now;

	server_processes(&now);
	for (size_t i = 0; i < now.n; i++)
		if (!process_find(before, now.at[i].pid))
			return now.at[i].pid;
	die("the session's process cannot be found");
}

static int prove(void)
{
	Gofer__PingRequest ping = GOFER__PING_REQUEST__INIT;
	Gofer__CancelRequest cancel = GOFER__CANCEL_REQUEST__INIT;
	Gofer__CloseRequest closing = GOFER__CLOSE_REQUEST__INIT;
	Gofer__StatRequest stat = GOFER__STAT_REQUEST__INIT;
	Gofer__Path path = GOFER__PATH__INIT;
	struct process_list alone, both;
	uint32_t hung, t, other_t;
	uint64_t longest = 0, handle, begin;
	int sock, other, e = 0;
	unsigned long before, after;
	pid_t worker;
	unsigned refused;
	bool ended;

	other = raw_session("t", &other_t);
	server_processes(&alone);
	sock = raw_session("hung", &hung);
	t = hung == 1 ? 2 : 1;
	handle = open_handle(sock, t);
	worker = worker_beside(&alone);
	send_stats(sock, hung, 1000, THREADS + 4, 'h');
	for (unsigned i = 0; i < 50; i++)
		e |= timed(sock, RPC_TYPE_Ping, &ping.base, &longest);
	check(e == 0 && longest < at_once,
	      "%u requests hang; 50 Pings are answered, the slowest within %.1f ms", THREADS + 4,
	      (double)longest / 1e6);
	longest = 0;
	closing.n_handles = 1;
	closing.handles = &handle;
	e = timed(sock, RPC_TYPE_Close, &closing.base, &longest);
	check(e == 0 && longest < at_once, "a Close: within %.1f ms", (double)longest / 1e6);
	longest = 0;
	cancel.tag = 1000; /* executing */
	e = timed(sock, RPC_TYPE_Cancel, &cancel.base, &longest);
	check(e == 0 && longest < at_once, "a Cancel of what hangs: within %.1f ms",
	      (double)longest / 1e6);
	longest = 0;
	cancel.tag = 1000 + THREADS + 3; /* in the queue */
	e = timed(sock, RPC_TYPE_Cancel, &cancel.base, &longest);
	check(e == 0 && longest < at_once, "a Cancel of what waits behind it: within %.1f ms",
	      (double)longest / 1e6);
	longest = 0;
	cancel.tag = 999;
	e = timed(sock, RPC_TYPE_Cancel, &cancel.base, &longest);
	check(e == ENOENT && longest < at_once, "a Cancel of nothing: ENOENT, within %.1f ms",
	      (double)longest / 1e6);

	longest = 0;
	path.fs_id = other_t;
	path.path = BYTES("file");
	stat.path = &path;
	for (unsigned i = e = 0; i < 50; i++)
		e |= timed(other, RPC_TYPE_Stat, &stat.base, &longest);
	check(e == 0 && longest < at_once, "another client's requests: within %.1f ms",
	      (double)longest / 1e6);

	/* All that may be in flight, and more. */
	send_stats(sock, hung, 2000, IN_FLIGHT - THREADS - 4, 'h');
	before = process_field(worker, "VmRSS");
	refused = flood(sock, hung, 1000);
	after = process_field(worker, "VmRSS");
	check(refused == 1000, "with %u in flight, %u of 1000 more are refused", IN_FLIGHT,
	      refused);
	check(after < before + (PROOF_SANITIZED ? 65536 : 8192),
	      "120 MB of them make its process %ld KiB larger", (long)(after - before));

	begin = clock_ns();
	close(sock);
	ended = server_settles(alone.n, 10000, &both);
	check(ended, "its process ends %.1f s after it left", (double)(clock_ns() - begin) / 1e9);
	e = raw_errno(other, RPC_TYPE_Stat, &stat.base);
	check(e == 0, "the other client is still served");
	close(other);
	return proof_end();
}

/* ---- SIGTERM ---- */

static int drain(const char *dir)
{
	Gofer__PingRequest ping = GOFER__PING_REQUEST__INIT;
	enum { SLOW = THREADS + 6 };
	const pid_t front = (pid_t)strtol(getenv("GOFER_SERVER_PID") ?: "0", NULL, 10);
	char release[300];
	struct stat st;
	uint32_t hung;
	uint64_t longest = 0;
	unsigned answered = 0, pinged = 0;
	size_t n = 0;
	int sock;
	struct process_list alone;
	pid_t worker;

	server_processes(&alone);
	sock = raw_session("hung", &hung);
	worker = worker_beside(&alone);
	/* Some are executed, some wait in the queue, the last come as a batch. */
	send_stats(sock, hung, 1000, SLOW, 's');
	for (uint32_t tag = 1101; tag <= 1104; tag++) {
		char name[16];

		snprintf(name, sizeof(name), "s%u", tag);
		n += pack_stat(packet + n, hung, tag, name);
	}
	n += raw_request(packet + n, RPC_TYPE_Ping, 1105, &ping.base, NULL, 0);
	if (raw_send(sock, packet, n, NULL, 0, 0) < 0)
		die("send: %m");
	if (timed(sock, RPC_TYPE_Ping, &ping.base, &longest) != 0 || longest > at_once)
		die("not answered");
	if (front <= 0 || kill(front, SIGTERM) < 0)
		die("kill: %m");
	/* Until the session was told: it takes nothing more, or the signal waits for its first
	 * thread to come back. */
	for (uint32_t tag = 2000; !process_field(worker, "ShdPnd"); tag++) {
		n = raw_request(packet, RPC_TYPE_Ping, tag, &ping.base, NULL, 0);
		if (raw_send(sock, packet, n, NULL, 0, MSG_DONTWAIT) == -EPIPE)
			break;
		(void)poll(NULL, 0, 1);
	}
	/* What waits in the queue meets the storage later, and has to be released too. */
	snprintf(release, sizeof(release), "%s/release", dir);
	for (uint64_t end = clock_ns() + UINT64_C(4000000000); clock_ns() < end;) {
		static uint8_t in[FRAME_MAX_PACKET];
		unsigned fds;
		ssize_t size;
		int fd;

		(void)stat(release, &st);
		size = raw_recv(sock, in, sizeof(in), 10, &fd, &fds);
		if (size == 0)
			break;
		for (ssize_t at = 0, used; at < size; at += used) {
			struct frame f;
			struct raw_reply r = RAW_REPLY_NULL;

			used = frame_parse(in + at, (size_t)(size - at), &f);
			if (used <= 0 || !raw_decode(&f, &r))
				die("a broken reply");
			answered += r.kind == FRAME_ERROR && r.error == ENOENT;
			pinged += r.header.tag == 1105 && r.kind == FRAME_OK;
			raw_reply_deinit(&r);
		}
	}
	check(answered == SLOW + 4 && pinged == 1,
	      "SIGTERM: %u of %u requests that were in flight are answered", answered + pinged,
	      SLOW + 5);
	close(sock);
	return proof_end();
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "storage"))
		return storage(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "check"))
		return prove();
	if (argc == 3 && !strcmp(argv[1], "drain"))
		return drain(argv[2]);
	die("usage: hung storage DIR | hung check | hung drain DIR");
}
