/*
 * channels.c - shared memory between two that do not trust each other (S60), and what becomes of one
 * side when the other dies.
 *
 *     channels client [-t SECONDS] [-s SEED]   a client that rewrites the area while the server parses: for
 *                                              filesystem "t", beside a bystander's
 *     channels server [-t SECONDS] [-s SEED]   a server (of our own) that rewrites it while libgofer parses
 *     channels kill-client [-n TIMES]          clients killed in the middle of requests: nothing of them is left
 *     channels kill-server                     the server's worker killed: no call hangs
 *
 * Which side is judged by a sanitizer depends on what was built with one; both are, in make test.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "proto/channel.h"
#include "tests/integration/bystander.h"
#include "tests/integration/raw.h"

enum { THREADS = 4, CALLS_MS = 60000 };

static uint64_t rng;

/* ---- areas ---- */

static int area_new(struct channel_area **ret_area)
{
	int fd = memfd_create("area", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, sizeof(**ret_area)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		die("memfd: %s", strerror(errno));
	*ret_area = mmap(NULL, sizeof(**ret_area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*ret_area == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return fd;
}

/*
 * Rewrites one box for as long as it is told to: single bytes, the whole of one message over another, and
 * the words beside them.
 */
struct scribbler {
	struct channel_area *area;
	struct channel_box *box;
	uint8_t (*messages)[1024]; /* what fits in the box, whole */
	const uint32_t *lengths;
	unsigned n;
	uint64_t random;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic uint64_t strokes;
};

static void pause_for(uint64_t ns)
{
	uint64_t until = clock_ns() + ns;

	while (clock_ns() < until)
		continue;
}

static void *scribble(void *userdata)
{
	struct scribbler *s = userdata;

	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		unsigned m = random_below(&s->random, s->n);

		switch (random_below(&s->random, 64)) {
		case 0:
			atomic_store(&s->box->length, random_below(&s->random, 256));
			break;
		case 1:
			if (random_below(&s->random, 8) == 0)
				atomic_store(&s->box->length, (uint32_t)random_next(&s->random));
			break;
		case 2:
			switch (random_below(&s->random, 16)) {
			case 0:
				atomic_store(&s->box->turn, (uint32_t)random_next(&s->random));
				break;
			case 1:
				atomic_store(&s->box->where, random_below(&s->random, 3));
				break;
			default:
				break;
			}
			break;
		case 3:
			atomic_store(&s->area->server_sleeps, random_below(&s->random, 2));
			atomic_store(&s->area->client_sleeps, random_below(&s->random, 2));
			break;
		case 4:
			atomic_store(&s->box->cpu, random_below(&s->random, 4));
			break;
		case 5 ... 12:
			s->box->frames[random_below(&s->random, 96)] =
				(uint8_t)random_next(&s->random);
			break;
		case 13 ... 20:
			atomic_store(&s->box->length, s->lengths[m]);
			break;
		case 21 ... 24:
			s->box->payload[random_below(&s->random, FRAME_MAX_DATA)] =
				(uint8_t)random_next(&s->random);
			break;
		default:
			/* Piece by piece, so that halves of two are there as well. */
			for (uint32_t at = 0; at < s->lengths[m]; at += 8)
				memcpy(s->box->frames + at, s->messages[m] + at, 8);
			break;
		}
		atomic_fetch_add_explicit(&s->strokes, 1, memory_order_relaxed);
		/* Sometimes long enough for whole messages to get through, so that the other goes on. */
		if (random_below(&s->random, 8) == 0)
			pause_for(random_below(&s->random, 1u << random_below(&s->random, 19)));
	}
	return NULL;
}

static void scribbler_start(struct scribbler *s, struct channel_area *area, struct channel_box *box,
			    uint8_t (*messages)[1024], const uint32_t *lengths, unsigned n)
{
	*s = (struct scribbler){ .area = area,
				 .box = box,
				 .messages = messages,
				 .lengths = lengths,
				 .n = n,
				 .random = random_next(&rng) | 1 };
	if (pthread_create(&s->thread, NULL, scribble, s) != 0)
		die("no thread");
}

static uint64_t scribbler_stop(struct scribbler *s)
{
	atomic_store(&s->stop, true);
	(void)pthread_join(s->thread, NULL);
	return s->strokes;
}

/* ---- a hostile client ---- */

enum { REQUESTS = 8 };

/* What changes into each other while it is read: paths that are allowed, and one that is not. */
static unsigned make_requests(uint32_t fs_id, uint8_t (*out)[1024], uint32_t *lengths)
{
	static const char *const paths[] = { "steady", "../outside/canary", "a/b", "link" };
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		Gofer__Path p = GOFER__PATH__INIT;
		Gofer__StatRequest stat = GOFER__STAT_REQUEST__INIT;
		Gofer__ReadFileRequest read = GOFER__READ_FILE_REQUEST__INIT;

		p.fs_id = fs_id;
		p.path = BYTES(paths[i]);
		p.follow = 4;
		stat.path = read.path = &p;
		read.count = FRAME_MAX_DATA;
		lengths[n] = (uint32_t)raw_request(out[n], RPC_TYPE_Stat, n, &stat, NULL, 0);
		n++;
		lengths[n] = (uint32_t)raw_request(out[n], RPC_TYPE_ReadFile, n, &read, NULL, 0);
		n++;
	}
	return n;
}

/* One session, until the server has had enough of it, or the time is over. Turns that were answered. */
static uint64_t hostile_session(uint64_t until, uint64_t *strokes)
{
	static uint8_t messages[REQUESTS][1024];
	_cleanup_reply_ struct raw_reply reply = RAW_REPLY_NULL;
	Gofer__ChannelRequest q = GOFER__CHANNEL_REQUEST__INIT;
	uint32_t fs_id = 0, lengths[REQUESTS], turn;
	uint64_t answered = 0;
	struct channel_area *area;
	struct channel_side side;
	struct scribbler s;
	int sock = raw_session("t", &fs_id), fd = area_new(&area), silent = 0;
	unsigned n = make_requests(fs_id, messages, lengths);

	q.layout = CHANNEL_LAYOUT;
	if (raw_call_fd(sock, RPC_TYPE_Channel, &q, NULL, 0, fd, &reply) < 0 ||
	    reply.kind != FRAME_OK)
		die("Channel is refused");
	close(fd);
	channel_side_init(&side, area, false);
	scribbler_start(&s, area, &area->request, messages, lengths, n);
	while (clock_ns() < until && silent < 200) {
		unsigned m = random_below(&rng, n);

		memcpy(area->request.frames, messages[m], lengths[m]);
		channel_publish(&side, side.seen + 1, lengths[m], CHANNEL_HERE);
		/* Anything may have come of it, or nothing. */
		if (channel_wait(&side, clock_ns() + 1000000, &turn) == 0) {
			answered++;
			silent = 0;
		} else {
			struct pollfd p = { .fd = sock, .events = POLLIN };

			silent = poll(&p, 1, 0) > 0 ? 200 : silent + 1;
		}
		if (memmem(area->reply.payload, 4096, "canary", 6))
			die("the server read what lies outside");
	}
	*strokes += scribbler_stop(&s);
	close(sock);
	munmap(area, sizeof(*area));
	return answered;
}

static int hostile_client(uint64_t seconds)
{
	static struct process_list before, after;
	uint64_t until, answered = 0, strokes = 0, sessions = 0;
	struct bystander *b = bystander_start("t");
	int status;

	server_processes(&before);
	until = clock_ns() + seconds * UINT64_C(1000000000);
	while (clock_ns() < until) {
		answered += hostile_session(until, &strokes);
		sessions++;
	}
	check(answered > 0, "%lu sessions, %lu turns answered, %lu strokes beside them",
	      (unsigned long)sessions, (unsigned long)answered, (unsigned long)strokes);
	check(server_settles(before.n, 20000, &after), "no process of theirs is left");
	check(bystander_stop(b, &status) && b->errors == 0,
	      "a bystander: %lu calls, %lu wrong, longest %lu ms", (unsigned long)b->calls,
	      (unsigned long)b->errors, (unsigned long)(b->longest_ns / 1000000));
	return proof_end();
}

/* ---- a hostile server ---- */

static uint32_t pack_reply(uint8_t *out, uint16_t type, uint32_t data_len,
			   const ProtobufCMessage *m)
{
	uint32_t n = (uint32_t)raw_request(out, type, 0, m, NULL, 0);

	frame_header_pack(&(struct frame_header){ .body_len = n - FRAME_HEADER_SIZE,
						  .data_len = data_len,
						  .type = type,
						  .flags = FRAME_REPLY },
			  out);
	return n;
}

static Gofer__Attr attr_of(uint32_t mode)
{
	Gofer__Attr a = GOFER__ATTR__INIT;

	a.mode = mode;
	a.ino = 5;
	a.nlink = 1;
	a.size = 6;
	a.blksize = 4096;
	return a;
}

/* Replies as they ought to be, to the calls that the client makes; the last is an error. */
enum { REPLIES = 5 };

static void make_replies(uint8_t (*out)[1024], uint32_t *lengths)
{
	Gofer__Attr attr = attr_of(S_IFREG | 0644), dir = attr_of(S_IFDIR | 0755);
	Gofer__StatReply stat = GOFER__STAT_REPLY__INIT;
	Gofer__ReadFileReply read = GOFER__READ_FILE_REPLY__INIT;
	Gofer__OpenReply open = GOFER__OPEN_REPLY__INIT;
	Gofer__ReadDirReply list = GOFER__READ_DIR_REPLY__INIT;
	Gofer__Entry entry = GOFER__ENTRY__INIT, *entries[4] = { &entry, &entry, &entry, &entry };
	Gofer__Error error = GOFER__ERROR__INIT;

	stat.attr = read.attr = open.attr = entry.attr = &attr;
	read.eof = list.end = true;
	open.handle = 77;
	list.attr = &dir;
	entry.name = BYTES("name");
	entry.type = 8;
	entry.cookie = 1;
	list.entries = entries;
	list.n_entries = ARRAY_SIZE(entries);
	error.error = ENOENT;
	lengths[0] = pack_reply(out[0], RPC_TYPE_Stat, 0, &stat.base);
	lengths[1] = pack_reply(out[1], RPC_TYPE_ReadFile, 6, &read.base);
	lengths[2] = pack_reply(out[2], RPC_TYPE_Open, 0, &open.base);
	lengths[3] = pack_reply(out[3], RPC_TYPE_ReadDir, 0, &list.base);
	lengths[4] = pack_reply(out[4], RPC_TYPE_Stat, 0, &error.base);
	out[4][15] |= FRAME_ERROR;
}

static void send_hello(int sock, uint32_t tag)
{
	static uint8_t buf[FRAME_MAX_PACKET];
	Gofer__HelloReply m = GOFER__HELLO_REPLY__INIT;
	Gofer__Limits l = GOFER__LIMITS__INIT;
	Gofer__Filesystem fs = GOFER__FILESYSTEM__INIT, *list[] = { &fs };
	Gofer__Attr root = attr_of(S_IFDIR | 0755);
	uint32_t n;

	l.max_frame = FRAME_MAX_PACKET;
	l.max_data = l.inline_limit = FRAME_MAX_DATA;
	l.max_in_flight = 64;
	l.max_handles = 100;
	fs.fs_id = 1;
	fs.name = BYTES("t");
	fs.root = &root;
	m.version = 1;
	m.limits = &l;
	m.filesystems = list;
	m.n_filesystems = 1;
	n = pack_reply(buf, RPC_TYPE_Hello, 0, &m.base);
	memcpy(buf + 8, &tag, sizeof(tag)); /* little-endian, like every machine this runs on */
	(void)raw_send(sock, buf, n, NULL, 0, 0);
}

/* The area of the first Channel that comes; -ENOTCONN. */
static int serve_until_channel(int sock, struct channel_area **ret_area)
{
	static uint8_t buf[FRAME_MAX_PACKET + 1];
	unsigned n_fds;
	struct frame q;
	int fd;

	for (;;) {
		ssize_t n = raw_recv(sock, buf, sizeof(buf), -1, &fd, &n_fds);

		if (n <= 0 || frame_parse(buf, (size_t)n, &q) < 0)
			return -ENOTCONN;
		if (q.header.type == RPC_TYPE_Hello) {
			send_hello(sock, q.header.tag);
		} else if (q.header.type == RPC_TYPE_Channel && fd >= 0) {
			*ret_area = mmap(NULL, sizeof(**ret_area), PROT_READ | PROT_WRITE,
					 MAP_SHARED, fd, 0);
			close(fd);
			frame_header_pack(&(struct frame_header){ .tag = q.header.tag,
								  .type = q.header.type,
								  .flags = FRAME_REPLY },
					  buf);
			return raw_send(sock, buf, FRAME_HEADER_SIZE, NULL, 0, 0);
		} else {
			fd_close(fd);
		}
	}
}

/* A process: one session, whose channel it answers and rewrites. */
__attribute__((noreturn)) static void serve_hostile(int sock)
{
	static uint8_t messages[REPLIES][1024];
	uint32_t lengths[REPLIES], turn;
	struct channel_area *area;
	struct channel_side side;
	struct scribbler s;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	make_replies(messages, lengths);
	if (serve_until_channel(sock, &area) < 0)
		_exit(0);
	channel_side_init(&side, area, true);
	scribbler_start(&s, area, &area->reply, messages, lengths, REPLIES);
	for (;;) {
		struct pollfd p = { .fd = sock, .events = POLLIN };
		struct frame_header q;
		unsigned m = REPLIES - 1;
		int r = channel_wait(&side, clock_ns() + 1000000, &turn);

		if (r < 0) {
			/* What comes there (Cancel, Close) is not answered. */
			static uint8_t buf[FRAME_MAX_PACKET];

			if (poll(&p, 1, 0) > 0 && recv(sock, buf, sizeof(buf), 0) <= 0)
				_exit(0);
			continue;
		}
		frame_header_unpack(area->request.frames, &q);
		for (unsigned i = 0; i < REPLIES - 1; i++) {
			struct frame_header h;

			frame_header_unpack(messages[i], &h);
			if (h.type == q.type)
				m = i;
		}
		/* So that some of what the scribbler writes fits the request, too. */
		for (unsigned i = 0; i < REPLIES; i++)
			memcpy(messages[i] + 8, &q.tag, sizeof(q.tag));
		memcpy(area->reply.frames, messages[m], lengths[m]);
		if (m == REPLIES - 1)
			memcpy(area->reply.frames + 12, &q.type, sizeof(q.type));
		channel_publish(&side, turn, lengths[m], CHANNEL_HERE);
	}
}

static void *count_down(void *userdata)
{
	/* Replies are looked at, not only decoded: what is wrong in one is for the sanitizer to find. */
	struct gofer_namespace *ns = userdata;
	struct gofer_dirent e;
	struct gofer_dir *d;
	struct gofer_file *file;
	struct stat st;
	size_t size;
	void *data;
	uint64_t *good = calloc(1, sizeof(*good));

	for (unsigned i = 0; i < 400; i++) {
		switch (i % 4) {
		case 0:
			*good += gofer_stat(ns, "/steady", 0, &st) == 0;
			break;
		case 1:
			if (gofer_read_file(ns, "/steady", &data, &size, NULL) == 0) {
				*good += strlen(data) <= size;
				free(data);
			}
			break;
		case 2:
			if (gofer_open(ns, "/steady", O_RDONLY, 0, &file) == 0) {
				++*good;
				(void)gofer_close(file);
			}
			break;
		default:
			if (gofer_opendir(ns, "/", 0, &d) == 0) {
				while (gofer_readdir(d, &e) > 0)
					*good += strlen(e.name) > 0;
				gofer_closedir(d);
			}
			break;
		}
	}
	return good;
}

static int hostile_server(uint64_t seconds)
{
	const struct gofer_session_options o = { .timeout_ms = 300, .channels = 1 };
	const struct gofer_mount_options plain = { .no_donate = true };
	uint64_t until = clock_ns() + seconds * UINT64_C(1000000000), good = 0, sessions = 0,
		 through = 0;

	while (clock_ns() < until) {
		struct gofer_session *s;
		struct gofer_stats stats;
		char name[16];
		int pair[2];
		pid_t server;

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			die("socketpair");
		fflush(stdout);
		server = fork();
		if (server == 0) {
			close(pair[0]);
			rng ^= sessions * UINT64_C(0x9e3779b97f4a7c15);
			serve_hostile(pair[1]);
		}
		close(pair[1]);
		(void)snprintf(name, sizeof(name), "fd:%d", pair[0]);
		if (server > 0 && gofer_session_open(name, &o, &s) == 0) {
			struct gofer_namespace *ns = namespace_of(s, "t", &plain);
			uint64_t *n = count_down(ns);

			gofer_session_get_stats(s, &stats);
			through += stats.by_channel;
			good += *n;
			free(n);
			gofer_namespace_free(ns);
			gofer_session_close(s);
		}
		(void)kill(server, SIGKILL);
		(void)waitpid(server, NULL, 0);
		sessions++;
	}
	check(through > 0, "%lu sessions, %lu calls through the channel, %lu answers were whole",
	      (unsigned long)sessions, (unsigned long)through, (unsigned long)good);
	return proof_end();
}

/* ---- death ---- */

struct caller {
	struct gofer_namespace *ns;
	_Atomic uint64_t *calls;
	int result;
};

static void *call_for_ever(void *userdata)
{
	struct caller *c = userdata;
	struct stat st;
	size_t size;
	void *data;

	for (unsigned i = 0;; i++) {
		c->result = i % 2 ? gofer_stat(c->ns, "/a/b", 0, &st)
				  : gofer_read_file(c->ns, "/steady", &data, &size, NULL);
		if (c->result < 0)
			return NULL;
		if (i % 2 == 0)
			free(data);
		atomic_fetch_add(c->calls, 1);
	}
}

static struct gofer_session *callers_start(struct caller *callers, pthread_t *threads,
					   _Atomic uint64_t *calls)
{
	const struct gofer_session_options o = { .timeout_ms = 600000, .channels = THREADS - 1 };
	const struct gofer_mount_options plain = { .no_donate = true };
	struct gofer_session *s;
	struct gofer_stats stats;

	if (gofer_session_open(server_name(), &o, &s) < 0)
		die("connect: %s", gofer_message());
	gofer_session_get_stats(s, &stats);
	if (stats.channels != THREADS - 1)
		die("%u channels", stats.channels);
	for (int i = 0; i < THREADS; i++) {
		callers[i] = (struct caller){ .ns = namespace_of(s, "t", &plain), .calls = calls };
		if (pthread_create(&threads[i], NULL, call_for_ever, &callers[i]) != 0)
			die("no thread");
	}
	return s;
}

static void wait_for_calls(_Atomic uint64_t *calls, uint64_t n)
{
	uint64_t until = clock_ns() + CALLS_MS * UINT64_C(1000000);

	while (atomic_load(calls) < n) {
		if (clock_ns() > until)
			die("no call comes through");
		sched_yield();
	}
}

static _Atomic uint64_t *shared_counter(void)
{
	_Atomic uint64_t *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

static int kill_client(uint64_t times)
{
	static struct process_list before, after;
	_Atomic uint64_t *calls = shared_counter();
	struct bystander *b = bystander_start("t");
	int status;

	server_processes(&before);
	for (uint64_t i = 0; i < times; i++) {
		pid_t pid;

		atomic_store(calls, 0);
		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			struct caller callers[THREADS];
			pthread_t threads[THREADS];

			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			(void)callers_start(callers, threads, calls);
			(void)pthread_join(threads[0], NULL);
			_exit(1);
		}
		wait_for_calls(calls, 200 + 37 * i);
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, &status, 0);
		if (!WIFSIGNALED(status))
			die("a client ended by itself");
	}
	check(server_settles(before.n, 30000, &after),
	      "%lu clients killed: no process of theirs is left", (unsigned long)times);
	for (size_t i = 0; i < after.n; i++) {
		const struct process *p = process_find(&before, after.at[i].pid);

		if (p)
			check(after.at[i].fds <= p->fds, "process %d: %lu descriptors, before %lu",
			      p->pid, after.at[i].fds, p->fds);
	}
	check(bystander_stop(b, &status) && b->errors == 0, "a bystander: %lu calls, %lu wrong",
	      (unsigned long)b->calls, (unsigned long)b->errors);
	return proof_end();
}

static int kill_server(void)
{
	static struct process_list before, now;
	static _Atomic uint64_t calls;
	struct caller callers[THREADS];
	pthread_t threads[THREADS];
	struct gofer_session *s;
	unsigned killed = 0;

	server_processes(&before);
	s = callers_start(callers, threads, &calls);
	wait_for_calls(&calls, 500);
	server_processes(&now);
	for (size_t i = 0; i < now.n; i++)
		if (!process_find(&before, now.at[i].pid))
			killed += kill(now.at[i].pid, SIGKILL) == 0;
	if (!killed)
		die("which process of the server serves us?");
	for (int i = 0; i < THREADS; i++) {
		/* The deadline of a call is ten minutes: who waits for that is found by the test's own timeout. */
		(void)pthread_join(threads[i], NULL);
		check(callers[i].result == -ENOTCONN, "thread %d: %s", i,
		      strerrordesc_np(-callers[i].result));
		gofer_namespace_free(callers[i].ns);
	}
	gofer_session_close(s);
	return proof_end();
}

int main(int argc, char **argv)
{
	uint64_t seconds = option_number(argc, argv, "-t", 3);

	rng = option_number(argc, argv, "-s", 1) * UINT64_C(0x9e3779b97f4a7c15);
	if (argc > 1 && !strcmp(argv[1], "client"))
		return hostile_client(seconds);
	if (argc > 1 && !strcmp(argv[1], "server"))
		return hostile_server(seconds);
	if (argc > 1 && !strcmp(argv[1], "kill-client"))
		return kill_client(option_number(argc, argv, "-n", 5));
	if (argc > 1 && !strcmp(argv[1], "kill-server"))
		return kill_server();
	die("usage: channels client|server|kill-client|kill-server");
}
