/*
 * fuzz_client.c - target 4: a hostile server against libgofer. The input's frames are replies, its
 * moves (STEP_MOVE: which call, an argument) are what the program calls, one after the other.
 *
 * The server is a thread. It answers each request with the first unused frame of the same type,
 * whose tag (and in general type) it puts right unless the frame says not to (STEP_SECOND: its own
 * tag, STEP_NO_WAIT: unasked); what the input has no answer for is ENOENT; STEP_WAIT leaves a
 * request unanswered for now; at the end of the frames it hangs up. So no call may wait for its
 * deadline: who does, hangs.
 *
 * The input's last byte says what the connection is (packets, or a stream, which may tear frames) and
 * what the mounts remember of what such a server says.
 *
 * What must hold: no memory touched that is not the caller's, no descriptor left, no name from the
 * server that is more than a name, no count above what was asked for, and an end.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "client/gofer.h"
#include "common/packet.h"
#include "proto/stream.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/tree.h"
#include "tests/unit/good_request.h"

enum {
	TIMEOUT_MS = 200000,
	GRACE_MS = 2, /* that the server waits for one more request before it goes on unasked */
	PENDING = 128,
	BUFFER = 300,
};

/* ---- the server ---- */

struct liar {
	int sock;
	struct stream *stream; /* NULL: packets */
	bool torn; /* the stream ends inside a frame, or before one: it would be waited for */
	const struct step *steps;
	bool used[INPUT_MAX_STEPS];
	size_t n, next; /* next: of the steps that are no replies */
	struct frame_header pending[PENDING];
	unsigned n_pending;
	bool greeted;
	uint8_t in[FRAME_MAX_PACKET], out[FRAME_MAX_PACKET + 65536];
};

static int descriptor(enum step_fd which, int *ret_second)
{
	int pair[2], fd;

	switch (which) {
	case STEP_FD_SOCKET:
		return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	case STEP_FD_FILE:
		fd = memfd_create("donated", MFD_CLOEXEC);
		FUZZ_ASSERT(fd >= 0 && write(fd, "donated content", 15) == 15);
		return fd;
	case STEP_FD_PATH:
		return open("/", O_PATH | O_CLOEXEC);
	case STEP_FD_PIPE:
		FUZZ_ASSERT(pipe2(pair, O_CLOEXEC) == 0);
		close(pair[1]);
		return pair[0];
	case STEP_FD_TWO:
		*ret_second = open("/dev/null", O_RDWR | O_CLOEXEC);
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	case STEP_FD_NONE:
	default:
		return -EBADF;
	}
}

static bool whole_frames(const uint8_t *data, size_t size)
{
	struct frame f;
	ssize_t n;

	for (size_t at = 0; at < size; at += (size_t)n) {
		n = frame_parse(data + at, size - at, &f);
		if (n < 0)
			return false;
	}
	return true;
}

static void liar_send(struct liar *l, size_t size, enum step_fd which)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { l->out, size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[2] = { -EBADF, -EBADF };
	ssize_t sent;
	size_t n;

	fds[0] = descriptor(which, &fds[1]);
	n = (fds[0] >= 0) + (fds[1] >= 0);
	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS,
						   .cmsg_len = CMSG_LEN(n * sizeof(int)) };
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	}
	sent = sendmsg(l->sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (l->stream && (size == 0 || !whole_frames(l->out, size) || sent != (ssize_t)size))
		l->torn = true;
	fd_close(fds[0]);
	fd_close(fds[1]);
}

/* Appends a step's frame, as the answer to `q` (NULL: to nothing). */
static size_t put_reply(struct liar *l, size_t used, const struct step *s,
			const struct frame_header *q)
{
	struct frame f;
	size_t len;

	if (used + s->len > sizeof(l->out))
		return used;
	if (!step_frame(s, &f)) {
		memcpy(l->out + used, s->bytes, s->len);
		return used + s->len;
	}
	if (q && !(s->arg & STEP_SECOND)) {
		f.header.tag = q->tag;
		f.header.type = q->type;
	}
	len = s->len - FRAME_HEADER_SIZE;
	frame_header_pack(&f.header, l->out + used);
	memcpy(l->out + used + FRAME_HEADER_SIZE, s->bytes + FRAME_HEADER_SIZE, len);
	return used + FRAME_HEADER_SIZE + len;
}

/* A packet from step i on, with those that it says are in it too. */
static void send_step(struct liar *l, size_t i, const struct frame_header *q)
{
	size_t used = 0;
	enum step_fd which = l->steps[i].arg & STEP_FD;

	for (;; i++) {
		l->used[i] = true;
		used = put_reply(l, used, &l->steps[i], q);
		if (!(l->steps[i].arg & STEP_MORE))
			break;
		do
			i++;
		while (i < l->n && l->steps[i].op != STEP_FRAME);
		if (i >= l->n || l->used[i])
			break;
		i--;
	}
	liar_send(l, used, which);
}

static void say_error(struct liar *l, const struct frame_header *q)
{
	struct frame_header h = {
		.tag = q->tag, .type = q->type, .flags = FRAME_REPLY | FRAME_ERROR, .body_len = 2
	};

	frame_header_pack(&h, l->out);
	memcpy(l->out + FRAME_HEADER_SIZE, "\x08\x02", 2);
	liar_send(l, FRAME_HEADER_SIZE + 2, STEP_FD_NONE);
}

/* An honest Hello, where the input has none. */
static void say_hello(struct liar *l, const struct frame_header *q)
{
	Gofer__HelloReply m = GOFER__HELLO_REPLY__INIT;
	Gofer__Limits limits = GOFER__LIMITS__INIT;
	Gofer__Filesystem fs[2] = { GOFER__FILESYSTEM__INIT, GOFER__FILESYSTEM__INIT };
	Gofer__Filesystem *list[2] = { &fs[0], &fs[1] };
	Gofer__Attr root = GOFER__ATTR__INIT;
	struct frame_header h = { .tag = q->tag, .type = q->type, .flags = FRAME_REPLY };

	root.mode = S_IFDIR | 0755;
	limits.max_frame = FRAME_MAX_PACKET;
	limits.max_data = FRAME_MAX_DATA;
	limits.max_in_flight = 16;
	limits.max_handles = 100;
	limits.inline_limit = 4096;
	for (uint32_t i = 0; i < 2; i++) {
		fs[i].fs_id = i + 1;
		fs[i].name = (ProtobufCBinaryData){ 1, (uint8_t *)(i ? "b" : "a") };
		fs[i].may_donate = true;
		fs[i].delegate = true;
		fs[i].root = &root;
	}
	m.version = 1;
	m.limits = &limits;
	m.filesystems = list;
	m.n_filesystems = 2;
	h.body_len = (uint32_t)protobuf_c_message_pack(&m.base, l->out + FRAME_HEADER_SIZE);
	frame_header_pack(&h, l->out);
	liar_send(l, FRAME_HEADER_SIZE + h.body_len, STEP_FD_NONE);
}

/* The first unused reply of a type; l->n where there is none. */
static size_t find_step(const struct liar *l, uint16_t type)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		const struct step *s = &l->steps[i];
		struct frame_header h;

		if (s->op != STEP_FRAME || l->used[i])
			continue;
		if (s->len < FRAME_HEADER_SIZE)
			break;
		frame_header_unpack(s->bytes, &h);
		if (h.type == type)
			break;
	}
	return i;
}

static bool any_left(const struct liar *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->steps[i].op == STEP_FRAME && !l->used[i])
			return true;
	return false;
}

static void answer(struct liar *l, const struct frame_header *q)
{
	size_t i = find_step(l, q->type);

	if (i < l->n)
		send_step(l, i, q);
	else if (q->type == RPC_TYPE_Hello && !l->greeted)
		say_hello(l, q);
	else
		say_error(l, q);
	l->greeted |= q->type == RPC_TYPE_Hello;
}

static ssize_t receive(struct liar *l)
{
	struct packet_in in = { .fd = -EBADF };
	ssize_t n = l->stream ? stream_recv(l->stream, l->in, FRAME_MAX_PER_PACKET, MSG_DONTWAIT)
			      : packet_recv(l->sock, l->in, sizeof(l->in), MSG_DONTWAIT, &in);

	FUZZ_ASSERT(n != -EPROTO && n != -ECONNABORTED);
	fd_close(in.fd);
	return n == -EINPROGRESS ? -EAGAIN : n;
}

static bool take_requests(struct liar *l, int timeout_ms)
{
	struct pollfd p = { .fd = l->sock, .events = POLLIN };
	ssize_t n;

	if (!(l->stream && stream_pending(l->stream)) && poll(&p, 1, timeout_ms) <= 0)
		return true;
	n = receive(l);
	if (n == -EAGAIN)
		return true;
	if (n <= 0)
		return false;
	for (size_t at = 0; at < (size_t)n;) {
		struct frame f;
		ssize_t used = frame_parse(l->in + at, (size_t)n - at, &f);
		ProtobufCMessage *m;

		FUZZ_ASSERT(used > 0); /* the library's framing is right, whatever it heard */
		FUZZ_ASSERT(rpc_find(f.header.type));
		m = protobuf_c_message_unpack(rpc_find(f.header.type)->request, NULL,
					      f.header.body_len, f.body);
		FUZZ_ASSERT(m);
		protobuf_c_message_free_unpacked(m, NULL);
		at += (size_t)used;
		if (!(f.header.flags & FRAME_NO_REPLY) && l->n_pending < PENDING)
			l->pending[l->n_pending++] = f.header;
	}
	return true;
}

/* The next of the steps that are not replies to something, if it is its turn. False: hang up. */
static bool unasked(struct liar *l, bool *ret_hold)
{
	while (l->next < l->n) {
		const struct step *s = &l->steps[l->next];

		if (s->op == STEP_HANGUP || s->op == STEP_SHUT) {
			/* When what is in front of it has been said. */
			for (size_t i = 0; i < l->next; i++)
				if (l->steps[i].op == STEP_FRAME && !l->used[i])
					return true;
			return false;
		}
		if (s->op == STEP_WAIT && l->n_pending) {
			l->next++;
			*ret_hold = true;
			return true;
		}
		if (s->op == STEP_FRAME && !l->used[l->next] && (s->arg & STEP_NO_WAIT) &&
		    l->greeted)
			send_step(l, l->next, NULL);
		if (s->op == STEP_WAIT)
			return true;
		l->next++;
	}
	return true;
}

static void *liar_main(void *userdata)
{
	struct liar *l = userdata;
	bool hold = false;

	for (;;) {
		if (!take_requests(l, hold ? GRACE_MS : -1))
			break;
		hold = false;
		if (!unasked(l, &hold) || l->torn)
			break;
		if (hold)
			continue;
		for (unsigned i = 0; i < l->n_pending; i++) {
			if (l->torn || (l->greeted && !any_left(l)))
				goto out;
			answer(l, &l->pending[i]);
		}
		if (l->torn)
			break;
		l->n_pending = 0;
	}
out:
	shutdown(l->sock, SHUT_RDWR);
	return NULL;
}

/* ---- the program ---- */

struct program {
	struct gofer_session *session;
	struct gofer_namespace *ns;
	struct gofer_file *file, *other;
	struct gofer_place *place;
	uint8_t *buffer; /* BUFFER bytes of its own: one more is somebody else's */
};

/* A deadline is far away, and the server hangs up: nobody waits so long. */
static int done(ssize_t r, ssize_t most)
{
	FUZZ_ASSERT(r != -ETIMEDOUT);
	FUZZ_ASSERT(r <= most && r >= -4095);
	return (int)r;
}

static void check_stat(const struct stat *st)
{
	FUZZ_ASSERT(st->st_size >= 0 && st->st_mtim.tv_nsec < 1000000000);
}

static const char *const paths[] = { "/x", "d/f", "/", "d/../x", ".", "d/", "/m/x", "" };

static void list(struct program *p, const char *path)
{
	struct gofer_dir *dir;
	struct gofer_dirent e;
	struct stat st;

	if (done(gofer_opendir(p->ns, path, 0, &dir), 0) < 0)
		return;
	gofer_dirstat(dir, &st);
	check_stat(&st);
	while (done(gofer_readdir(dir, &e), 1) > 0) {
		FUZZ_ASSERT(e.name[0] && !strchr(e.name, '/') && strlen(e.name) <= 255);
		FUZZ_ASSERT(strcmp(e.name, ".") && strcmp(e.name, ".."));
		FUZZ_ASSERT(!e.target || (e.target[0] && strlen(e.target) <= 4095));
		if (e.has_stat)
			check_stat(&e.st);
	}
	gofer_closedir(dir);
}

static void read_whole(struct program *p, const char *path)
{
	void *data;
	size_t size;
	struct stat st;
	unsigned sum = 0;

	if (done(gofer_read_file(p->ns, path, &data, &size, &st), 0) < 0)
		return;
	for (size_t i = 0; i < size; i++)
		sum += ((uint8_t *)data)[i];
	free(data);
	FUZZ_ASSERT(sum != 1 || size);
}

static void open_one(struct program *p, const char *path, int flags)
{
	struct gofer_file **file = p->file ? &p->other : &p->file;

	if (*file)
		(void)gofer_close(*file);
	*file = NULL;
	(void)done(gofer_open(p->ns, path, flags, 0644, file), 0);
}

static void open_descriptor(struct program *p, const char *path, int flags)
{
	struct gofer_opened o;
	struct stat st;

	if (done(gofer_open_descriptor(p->ns, path, flags, 0644, &o), 0) < 0)
		return;
	FUZZ_ASSERT(o.fd >= 0 || o.place);
	if (o.fd >= 0)
		FUZZ_ASSERT(fstat(o.fd, &st) == 0 && S_ISREG(st.st_mode));
	fd_close(o.fd);
	gofer_place_unref(p->place);
	p->place = o.place;
}

/* Any request at all, with whatever answer: one of each row. */
static void raw_call(struct program *p, const struct rpc_info *rpc)
{
	struct good_request good;
	struct gofer_request q = { .type = rpc->type, .fd = -1 };
	struct gofer_reply reply;

	good_request_make(&good, rpc);
	q.message = (const struct ProtobufCMessage *)&good.message;
	if (rpc->flags & RPC_TAKES_FD)
		q.fd = 0;
	if (rpc->flags & RPC_DATA_IN) {
		q.data = "data";
		q.data_len = 4;
	}
	if (done(gofer_call(p->session, &q, &reply), 0) == 0)
		gofer_reply_free(&reply);
}

static void called_back(void *userdata, int result, struct gofer_reply *reply)
{
	FUZZ_ASSERT((result == 0) == (reply != NULL));
	--*(unsigned *)userdata;
}

/* Several at once, one of them given up. */
static void pipelined(struct program *p, const struct rpc_info *rpc)
{
	unsigned due = 0;
	uint64_t cookie = 0;

	for (unsigned i = 0; i < 5; i++) {
		struct good_request good;
		struct gofer_request q = { .type = rpc->type, .fd = -1 };

		good_request_make(&good, rpc);
		q.message = (const struct ProtobufCMessage *)&good.message;
		if (rpc->flags & RPC_TAKES_FD)
			q.fd = 0;
		due++;
		if (gofer_submit(p->session, &q, called_back, &due, i == 2 ? &cookie : NULL) < 0)
			due--;
	}
	(void)gofer_session_flush(p->session);
	if (cookie)
		(void)gofer_cancel(p->session, cookie);
	(void)done(gofer_session_process(p->session, -1), 1 << 20);
	(void)done(gofer_session_drain(p->session), 1 << 20);
	FUZZ_ASSERT(due == 0);
}

static void by_file(struct program *p, unsigned which, uint8_t arg)
{
	struct timespec times[2] = { { 1, 2 }, { 3, 4 } };
	struct gofer_file *f = p->file;
	size_t some = arg % BUFFER;
	struct stat st;

	if (!f)
		return;
	switch (which) {
	case 0:
		(void)done(gofer_pread(f, p->buffer, some, arg * 10), (ssize_t)some);
		break;
	case 1:
		(void)done(gofer_pwrite(f, p->buffer, some, arg * 10), (ssize_t)some);
		break;
	case 2:
		(void)done(gofer_read(f, p->buffer, some), (ssize_t)some);
		break;
	case 3:
		(void)done(gofer_write(f, p->buffer, some), (ssize_t)some);
		break;
	case 4:
		(void)gofer_lseek(f, arg, arg % 5);
		break;
	case 5:
		if (done(gofer_fstat(f, &st), 0) == 0)
			check_stat(&st);
		break;
	case 6:
		(void)done(gofer_ftruncate(f, arg), 0);
		break;
	case 7:
		(void)done(gofer_fchmod(f, arg), 0);
		(void)done(gofer_fchown(f, arg, arg), 0);
		break;
	case 8:
		(void)done(gofer_futimens(f, times), 0);
		break;
	case 9:
		(void)done(gofer_fsync(f, arg & 1), 0);
		break;
	case 10:
		(void)done(gofer_fallocate(f, arg & 1, arg, 1 + arg), 0);
		break;
	case 11:
		if (p->other)
			(void)done(gofer_copy_file_range(f, 0, p->other, arg, 100), 100);
		break;
	case 12:
		(void)done(gofer_flink(f, "/new"), 0);
		break;
	case 13:
		(void)gofer_fileno(f);
		break;
	default:
		(void)gofer_close(f);
		p->file = p->other;
		p->other = NULL;
		break;
	}
}

static void by_path(struct program *p, unsigned which, uint8_t arg)
{
	const char *path = paths[arg % ARRAY_SIZE(paths)];
	const struct timespec times[2] = { { 1, 2 }, { 3, 4 } };
	int nofollow = arg & 16 ? AT_SYMLINK_NOFOLLOW : 0, sock;
	struct gofer_namespace *view;
	struct gofer_session *session;
	struct statfs sf;
	struct stat st;
	struct statx stx;
	uint32_t fs_id;
	ssize_t n;
	char *text;

	switch (which) {
	case 0:
		if (done(gofer_stat(p->ns, path, nofollow, &st), 0) == 0)
			check_stat(&st);
		break;
	case 1:
		(void)done(gofer_statx(p->ns, path, nofollow, &stx), 0);
		break;
	case 2:
		(void)done(gofer_access(p->ns, path, arg & 7, nofollow), 0);
		break;
	case 3:
		n = arg % BUFFER;
		(void)done(gofer_readlink(p->ns, path, (char *)p->buffer, (size_t)n), n);
		break;
	case 4:
		(void)done(gofer_statfs(p->ns, path, &sf), 0);
		break;
	case 5:
		open_one(p, path, arg & 32 ? O_RDWR : O_RDONLY);
		break;
	case 6:
		open_one(p, path, O_RDWR | O_CREAT | (arg & 32 ? O_EXCL : 0));
		break;
	case 7:
		open_one(p, path, O_TMPFILE | O_RDWR);
		break;
	case 8:
		open_one(p, path, O_PATH);
		break;
	case 9:
		open_descriptor(p, path, arg & 32 ? O_RDWR | O_CREAT : O_RDONLY);
		break;
	case 10:
		open_descriptor(p, path, arg & 32 ? O_TMPFILE | O_RDWR : O_PATH);
		break;
	case 11:
		read_whole(p, path);
		break;
	case 12:
		(void)done(gofer_write_file(p->ns, path, p->buffer, BUFFER, 0644, arg >> 4 & 7), 0);
		break;
	case 13:
		(void)done(gofer_mkdir(p->ns, path, 0755), 0);
		break;
	case 14:
		(void)done(gofer_mknod(p->ns, path, S_IFIFO | 0644, 0), 0);
		break;
	case 15:
		(void)done(gofer_symlink(p->ns, "target", path), 0);
		break;
	case 16:
		(void)done(gofer_link(p->ns, path, "/new", arg & 32 ? AT_SYMLINK_FOLLOW : 0), 0);
		break;
	case 17:
		(void)done(arg & 32 ? gofer_rmdir(p->ns, path) : gofer_unlink(p->ns, path), 0);
		break;
	case 18:
		(void)done(gofer_rename(p->ns, path, "/new", arg >> 5), 0);
		break;
	case 19:
		(void)done(gofer_chmod(p->ns, path, 0600), 0);
		break;
	case 20:
		(void)done(gofer_chown(p->ns, path, 1, 2, nofollow), 0);
		break;
	case 21:
		(void)done(gofer_utimens(p->ns, path, times, nofollow), 0);
		break;
	case 22:
		(void)done(gofer_truncate(p->ns, path, arg), 0);
		break;
	case 23:
		n = arg & 32 ? BUFFER : 0;
		/* The length of what does not fit may be more; what is stored, not. */
		(void)done(gofer_getxattr(p->ns, path, "user.a", n ? p->buffer : NULL, (size_t)n,
					  nofollow),
			   n ? n : 1 << 20);
		break;
	case 24:
		(void)done(gofer_setxattr(p->ns, path, "user.a", "v", 1, 0, nofollow), 0);
		break;
	case 25:
		n = arg & 32 ? BUFFER : 0;
		(void)done(gofer_listxattr(p->ns, path, n ? (char *)p->buffer : NULL, (size_t)n,
					   nofollow),
			   n ? n : 1 << 20);
		break;
	case 26:
		(void)done(gofer_removexattr(p->ns, path, "user.a", nofollow), 0);
		break;
	case 27:
		sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		(void)done(gofer_connect(p->ns, path, sock), 0);
		fd_close(sock);
		break;
	case 28:
		list(p, path);
		break;
	case 29:
		if (done(gofer_resolve(p->ns, path, arg & 32, &session, &fs_id, &text), 0) == 0)
			free(text);
		break;
	case 30:
		(void)done(gofer_chdir(p->ns, path), 0);
		(void)gofer_getcwd(p->ns, (char *)p->buffer, arg);
		break;
	case 31:
		if (gofer_namespace_view(p->ns, &view) == 0) {
			(void)done(gofer_chdir(view, path), 0);
			gofer_namespace_free(view);
		}
		break;
	case 32:
		if (p->place)
			gofer_fchdir(p->ns, p->place);
		break;
	case 33:
		(void)done(gofer_renameat(p->ns, p->place, path, NULL, "n", 0), 0);
		break;
	default:
		(void)done(gofer_linkat(p->ns, p->place, arg & 32 ? "" : path, NULL, "n", 0), 0);
		break;
	}
}

enum { BY_PATH = 35, BY_FILE = 15, CALLS = BY_PATH + BY_FILE + 2 * RPC_COUNT + 2 };

static void call(struct program *p, uint8_t which, uint8_t arg)
{
	static gid_t groups[] = { 1, 2, 3 };
	unsigned k = which % CALLS;

	if (k < BY_PATH)
		by_path(p, k, arg);
	else if ((k -= BY_PATH) < BY_FILE)
		by_file(p, k, arg);
	else if ((k -= BY_FILE) < RPC_COUNT)
		raw_call(p, &rpc_table[k]);
	else if ((k -= RPC_COUNT) < RPC_COUNT)
		pipelined(p, &rpc_table[k]);
	else if (k == RPC_COUNT)
		(void)done(gofer_session_set_identity(p->session, arg % 3, arg, arg, groups, 3), 0);
	else
		gofer_handle_close(p->session, arg);
}

/* What the mounts remember, by the input's last byte. */
static struct gofer_mount_options mount_options(uint8_t choice)
{
	static const enum gofer_interop modes[] = { GOFER_INTEROP_SHARED, GOFER_INTEROP_EXCLUSIVE,
						    GOFER_INTEROP_WRITETHROUGH,
						    GOFER_INTEROP_SHARED };

	return (struct gofer_mount_options){ .interop = modes[choice & 3],
					     .watch = (choice & 3) == 3,
					     .no_donate = choice & 8,
					     .page_bytes = 1024 * 1024 };
}

static void program_run(struct program *p, int sock, const struct step *steps, size_t n,
			uint8_t choice)
{
	const struct gofer_mount_options mount = mount_options(choice);
	struct gofer_session_options options = { .timeout_ms = TIMEOUT_MS, .client = "fuzz" };
	struct gofer_filesystem fs;
	char name[32];

	snprintf(name, sizeof(name), "fd:%d", sock);
	if (done(gofer_session_open(name, &options, &p->session), 0) < 0)
		return;
	FUZZ_ASSERT(gofer_namespace_new(&p->ns) == 0);
	for (size_t i = 0; gofer_session_filesystem(p->session, i, &fs) == 0; i++) {
		FUZZ_ASSERT(fs.name && !strchr(fs.name, '/'));
		if (i < 2)
			(void)gofer_mount(p->ns, p->session, fs.fs_id, i ? "/m" : "/", &mount);
	}
	for (size_t i = 0; i < n; i++)
		if (steps[i].op == STEP_MOVE && steps[i].len >= 2)
			call(p, steps[i].bytes[0], steps[i].bytes[1]);
	if (p->file)
		(void)gofer_close(p->file);
	if (p->other)
		(void)gofer_close(p->other);
	gofer_place_unref(p->place);
	gofer_namespace_free(p->ns);
	gofer_session_close(p->session);
}

/* ---- the target ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	message_check_table();
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return steps_mutate(data, size, max, seed, &steps_of_replies);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t max, unsigned seed)
{
	return steps_cross(a, a_size, b, b_size, out, max, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct liar liar;
	struct step steps[INPUT_MAX_STEPS];
	struct program program = { 0 };
	unsigned before = tree_count_fds(true);
	uint8_t choice = size ? data[size - 1] : 0;
	int pair[2], type = choice & 4 ? SOCK_STREAM : SOCK_SEQPACKET;
	pthread_t thread;

	liar = (struct liar){ .steps = steps,
			      .n = input_parse(data, size, steps, INPUT_MAX_STEPS) };
	FUZZ_ASSERT(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) == 0);
	liar.sock = pair[1];
	if (type == SOCK_STREAM)
		liar.stream = stream_new(liar.sock, BUFFER, false);
	program.buffer = malloc(BUFFER);
	FUZZ_ASSERT(program.buffer);
	memset(program.buffer, 'b', BUFFER);
	FUZZ_ASSERT(pthread_create(&thread, NULL, liar_main, &liar) == 0);
	program_run(&program, pair[0], steps, liar.n, choice);
	FUZZ_ASSERT(pthread_join(thread, NULL) == 0);
	stream_free(liar.stream);
	close(liar.sock);
	free(program.buffer);
	FUZZ_ASSERT(tree_count_fds(true) == before);
	return 0;
}
