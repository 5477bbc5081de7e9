/*
 * threads.c - many threads on one session, on both sides of it.
 *
 * S105: handles are closed by one thread while others use them.
 *
 *     threads [-t THREADS] [-n OPERATIONS of each] [-s SEED] [-c CHANNELS]
 *
 * The server's session runs in a forked process, unconfined, over a socket pair; this process has
 * one libgofer session that all threads share. Each thread does what comes up next: calls of every
 * size, submitted requests that are taken back by the library or by a Cancel of their own, handles
 * that somebody else closes meanwhile. Every answer is known beforehand, or one of few. Exits 0 if
 * all were right, each callback came exactly once, and the server's process ended cleanly: under a
 * sanitizer both processes are judged.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "proto/rpc.h"
#include "server/server.h"
#include "tests/integration/proof.h"

enum { LISTED = 300, SHARED_SIZE = 200000, CHUNK = 4096, BURST = 24, POOL = 8 };

static char dir[] = "/tmp/gofer-threads-XXXXXX";
static struct gofer_session *session;
static struct gofer_namespace *plain, *donating;
static uint32_t fs_id;
static _Atomic uint64_t shared_handles[POOL]; /* whoever likes closes and replaces one */
static uint8_t content[SHARED_SIZE];
static _Atomic unsigned wrong;

struct thread {
	pthread_t id;
	unsigned number, operations;
	uint64_t random;
	char path[32];
};

#define EXPECT(holds, ...)                                                         \
	do {                                                                       \
		if (!(holds) && atomic_fetch_add(&wrong, 1) < 20)                  \
			fprintf(stderr, __VA_ARGS__),                              \
				fprintf(stderr, " (%s:%d)\n", __FILE__, __LINE__); \
	} while (0)

/* ---- the server's side ---- */

static int serve(int sock)
{
	static volatile sig_atomic_t draining;
	static struct server_shared shared;
	struct volume v = { .name = (char *)"v",
			    .donate = DONATE_ALWAYS,
			    .squash_uid = getuid(),
			    .squash_gid = getgid() };
	struct server server = { .volumes = &v,
				 .n_volumes = 1,
				 .limits = SERVER_LIMITS_DEFAULT,
				 .shared = &shared,
				 .version = "test" };
	struct peer peer = { .uid = getuid(), .gid = getgid() };
	int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = fs_init(&v.fs, &fs_host_ops, 1, 0, root);

	if (r == 0) {
		v.fs.proc_fd = proc;
		r = session_run(&server, sock, &peer, proc, &draining);
		fs_deinit(&v.fs);
	}
	close(proc);
	return r < 0 ? 1 : 0;
}

/* ---- requests of the protocol's own level ---- */

static struct gofer_request request_of(unsigned type, const void *message)
{
	return (struct gofer_request){ .type = (uint16_t)type, .message = message, .fd = -1 };
}

static int simple_call(unsigned type, const void *message)
{
	struct gofer_request q = request_of(type, message);
	struct gofer_reply reply;
	int r = gofer_call(session, &q, &reply);

	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

static uint64_t open_shared(void)
{
	Gofer__OpenRequest m = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path path = GOFER__PATH__INIT;
	struct gofer_request q = request_of(RPC_TYPE_Open, &m.base);
	struct gofer_reply reply;
	uint64_t handle = 0;
	int r;

	path.fs_id = fs_id;
	path.path = (ProtobufCBinaryData){ 6, (uint8_t *)"shared" };
	m.path = &path;
	m.flags = GOFER__OPEN_FLAG__OPEN_READ;
	r = gofer_call(session, &q, &reply);
	EXPECT(r == 0, "open: %d", r);
	if (r == 0) {
		handle = ((const Gofer__OpenReply *)reply.message)->handle;
		gofer_reply_free(&reply);
	}
	return handle;
}

/* Reads by a handle that may be closed at any moment: what it says is right, or that it is closed.
 */
static void op_shared_handle(struct thread *t)
{
	_Atomic uint64_t *place = &shared_handles[random_below(&t->random, POOL)];
	Gofer__ReadRequest m = GOFER__READ_REQUEST__INIT;
	struct gofer_request q = request_of(RPC_TYPE_Read, &m.base);
	struct gofer_reply reply;
	int r;

	if (random_below(&t->random, 4) == 0)
		gofer_handle_close(session, atomic_exchange(place, open_shared()));
	m.handle = atomic_load(place);
	m.offset = random_below(&t->random, SHARED_SIZE - CHUNK);
	m.count = CHUNK;
	r = gofer_call(session, &q, &reply);
	EXPECT(r == 0 || r == -EBADF, "read of a shared handle: %d", r);
	if (r < 0)
		return;
	EXPECT(reply.data_len == CHUNK && !memcmp(reply.data, content + m.offset, CHUNK),
	       "read of a shared handle: wrong bytes");
	gofer_reply_free(&reply);
}

struct answer {
	_Atomic unsigned calls;
	bool may_cancel;
	uint64_t cookie;
};

static void on_answer(void *userdata, int result, struct gofer_reply *reply)
{
	struct answer *a = userdata;

	EXPECT(result == 0 || (result == -ECANCELED && a->may_cancel), "submitted: %d", result);
	if (result == 0)
		EXPECT(((const Gofer__StatReply *)reply->message)->attr->size == SHARED_SIZE,
		       "submitted: wrong size");
	atomic_fetch_add(&a->calls, 1);
}

static int submit_stat(struct answer *a)
{
	Gofer__StatRequest m = GOFER__STAT_REQUEST__INIT;
	Gofer__Path path = GOFER__PATH__INIT;
	struct gofer_request q = request_of(RPC_TYPE_Stat, &m.base);

	path.fs_id = fs_id;
	path.path = (ProtobufCBinaryData){ 6, (uint8_t *)"shared" };
	m.path = &path;
	return gofer_submit(session, &q, on_answer, a, &a->cookie);
}

/* A burst of submitted requests, of which some are taken back: by the library, or by the server. */
static void op_submit(struct thread *t)
{
	struct answer answers[BURST] = { 0 };
	unsigned n = 1 + random_below(&t->random, BURST), called = 0;
	int r;

	for (unsigned i = 0; i < n; i++) {
		unsigned what = random_below(&t->random, 6);

		answers[i].may_cancel = what < 2;
		while ((r = submit_stat(&answers[i])) == -EAGAIN)
			(void)gofer_session_process(session, 1);
		EXPECT(r == 0, "submit: %d", r);
		if (r < 0)
			atomic_fetch_add(&answers[i].calls, 1);
		if (r == 0 && what == 0) {
			r = gofer_cancel(session, answers[i].cookie);
			EXPECT(r == 0 || r == -ENOENT, "cancel: %d", r);
		} else if (r == 0 && what == 1) {
			Gofer__CancelRequest m = GOFER__CANCEL_REQUEST__INIT;

			m.tag = (uint32_t)answers[i].cookie;
			r = simple_call(RPC_TYPE_Cancel, &m.base);
			EXPECT(r == 0 || r == -ENOENT, "Cancel: %d", r);
		}
	}
	/* Others run our callbacks too, and may be about to when nothing is in flight any more. */
	for (uint64_t end = clock_ns() + UINT64_C(20000000000); called < n && clock_ns() < end;) {
		r = gofer_session_process(session, 100);
		EXPECT(r >= 0, "process: %d", r);
		called = 0;
		for (unsigned i = 0; i < n; i++)
			called += atomic_load(&answers[i].calls) != 0;
	}
	for (unsigned i = 0; i < n; i++)
		EXPECT(atomic_load(&answers[i].calls) == 1, "a callback came %u times",
		       atomic_load(&answers[i].calls));
}

/* ---- calls of the namespace ---- */

static void op_stat(struct thread *t _unused_)
{
	struct stat st;
	int r = gofer_stat(plain, "/shared", 0, &st);

	EXPECT(r == 0 && st.st_size == SHARED_SIZE, "stat: %d", r);
	r = gofer_stat(plain, "/missing", 0, &st);
	EXPECT(r == -ENOENT, "stat of nothing: %d", r);
}

static void op_own_file(struct thread *t)
{
	uint8_t in[CHUNK * 3], out[CHUNK * 3];
	struct gofer_file *f;
	uint64_t at = random_below(&t->random, 100000);
	size_t n = 1 + random_below(&t->random, sizeof(in));
	struct gofer_namespace *ns = random_below(&t->random, 4) ? plain : donating;
	int r = gofer_open(ns, t->path, O_RDWR | O_CREAT, 0644, &f);

	EXPECT(r == 0, "open: %d", r);
	if (r < 0)
		return;
	for (size_t i = 0; i < n; i++)
		in[i] = (uint8_t)random_next(&t->random);
	EXPECT(gofer_pwrite(f, in, n, at) == (ssize_t)n, "write");
	EXPECT(gofer_pread(f, out, n, at) == (ssize_t)n && !memcmp(in, out, n), "read");
	EXPECT(random_below(&t->random, 8) || gofer_fsync(f, true) == 0, "fsync");
	r = gofer_close(f);
	EXPECT(r == 0, "close: %d", r);
}

static void op_large(struct thread *t _unused_)
{
	void *data;
	size_t size;
	int r = gofer_read_file(plain, "/shared", &data, &size, NULL);

	EXPECT(r == 0, "read_file: %d", r);
	if (r < 0)
		return;
	EXPECT(size == SHARED_SIZE && !memcmp(data, content, size), "read_file: wrong bytes");
	free(data);
}

static void op_list(struct thread *t _unused_)
{
	struct gofer_dir *d;
	struct gofer_dirent e;
	unsigned n = 0;
	int r = gofer_opendir(plain, "/list", 0, &d);

	EXPECT(r == 0, "opendir: %d", r);
	if (r < 0)
		return;
	while ((r = gofer_readdir(d, &e)) > 0)
		n++;
	EXPECT(r == 0 && n == LISTED, "readdir: %u entries, %d", n, r);
	gofer_closedir(d);
}

static void op_names(struct thread *t)
{
	char a[48], b[48];
	int r;

	snprintf(a, sizeof(a), "%s.a", t->path);
	snprintf(b, sizeof(b), "%s.b", t->path);
	r = gofer_mkdir(plain, a, 0755);
	EXPECT(r == 0, "mkdir: %d", r);
	r = gofer_rename(plain, a, b, 0);
	EXPECT(r == 0, "rename: %d", r);
	r = gofer_rmdir(plain, b);
	EXPECT(r == 0, "rmdir: %d", r);
}

static void *run(void *userdata)
{
	static void (*const ops[])(struct thread *) = { op_stat,   op_stat,  op_own_file,
							op_large,  op_list,  op_shared_handle,
							op_submit, op_names, op_shared_handle };
	struct thread *t = userdata;

	for (unsigned i = 0; i < t->operations; i++)
		ops[random_below(&t->random, sizeof(ops) / sizeof(*ops))](t);
	return NULL;
}

/* ---- */

static void make_tree(void)
{
	char path[128];
	int fd;

	if (!mkdtemp(dir))
		die("mkdtemp: %m");
	for (size_t i = 0; i < SHARED_SIZE; i++)
		content[i] = (uint8_t)(i * 31 + i / 251);
	snprintf(path, sizeof(path), "%s/shared", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, content, SHARED_SIZE) != SHARED_SIZE)
		die("%s: %m", path);
	close(fd);
	snprintf(path, sizeof(path), "%s/list", dir);
	if (mkdir(path, 0755) < 0)
		die("%s: %m", path);
	for (unsigned i = 0; i < LISTED; i++) {
		snprintf(path, sizeof(path), "%s/list/entry-%u", dir, i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			die("%s: %m", path);
		close(fd);
	}
}

static void remove_tree(unsigned threads)
{
	char path[128];

	for (unsigned i = 0; i < LISTED; i++) {
		snprintf(path, sizeof(path), "%s/list/entry-%u", dir, i);
		unlink(path);
	}
	for (unsigned i = 0; i < threads; i++) {
		snprintf(path, sizeof(path), "%s/own-%u", dir, i);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/list", dir);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/shared", dir);
	unlink(path);
	check(rmdir(dir) == 0, "nothing else is left in the tree");
}

/* The handles that the server still has for us. */
static int count_handles(void)
{
	Gofer__StatsRequest m = GOFER__STATS_REQUEST__INIT;
	struct gofer_request q = request_of(RPC_TYPE_Stats, &m.base);
	struct gofer_reply reply;
	int n;

	if (gofer_session_flush(session) < 0 || gofer_call(session, &q, &reply) < 0)
		return -1;
	n = (int)((const Gofer__StatsReply *)reply.message)->handles;
	gofer_reply_free(&reply);
	return n;
}

int main(int argc, char **argv)
{
	unsigned threads = (unsigned)option_number(argc, argv, "-t", 6);
	unsigned operations = (unsigned)option_number(argc, argv, "-n", 300);
	uint64_t seed = option_number(argc, argv, "-s", 1), begin = clock_ns();
	const struct gofer_session_options options = { .channels = (uint32_t)option_number(
							       argc, argv, "-c", 0) };
	struct gofer_mount_options shy = { .no_donate = true };
	struct gofer_stats stats;
	struct answer last[BURST] = { 0 };
	struct thread *all = calloc(threads, sizeof(*all));
	char name[16];
	int pair[2], status, left;
	pid_t server;

	make_tree();
	if (!all || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair: %m");
	server = fork();
	if (server == 0) {
		close(pair[0]);
		free(all);
		exit(serve(pair[1]));
	}
	close(pair[1]);
	snprintf(name, sizeof(name), "fd:%d", pair[0]);
	if (gofer_session_open(name, &options, &session) < 0)
		die("%s", gofer_message());
	gofer_session_get_stats(session, &stats);
	if (stats.channels != options.channels)
		die("%u channels instead of %u", stats.channels, options.channels);
	fs_id = filesystem_id(session, "v");
	plain = namespace_of(session, "v", &shy);
	donating = namespace_of(session, "v", NULL);

	for (unsigned i = 0; i < threads; i++) {
		all[i] = (struct thread){ .number = i,
					  .operations = operations,
					  .random = (seed * 1000 + i + 1) *
						    UINT64_C(0x9e3779b97f4a7c15) };
		snprintf(all[i].path, sizeof(all[i].path), "/own-%u", i);
		if (pthread_create(&all[i].id, NULL, run, &all[i]) != 0)
			die("no thread");
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(all[i].id, NULL);
	check(atomic_load(&wrong) == 0, "%u threads, %u operations each: %u wrong answers, %.1f s",
	      threads, operations, atomic_load(&wrong), (double)(clock_ns() - begin) / 1e9);
	for (unsigned i = 0; i < POOL; i++)
		gofer_handle_close(session, atomic_exchange(&shared_handles[i], 0));
	/* Packets are executed side by side: the closes need not be done before what was sent
	 * after. */
	for (uint64_t end = clock_ns() + UINT64_C(5000000000);;) {
		left = count_handles();
		if (left <= 0 || clock_ns() > end)
			break;
	}
	check(left == 0, "%d handles are left", left);

	/* What is in flight at the end is called back, and the server does not mind. */
	for (unsigned i = 0; i < BURST; i++) {
		last[i].may_cancel = true;
		(void)submit_stat(&last[i]);
	}
	gofer_namespace_free(plain);
	gofer_namespace_free(donating);
	gofer_session_close(session);
	left = 0;
	for (unsigned i = 0; i < BURST; i++)
		left += atomic_load(&last[i].calls) != 1;
	check(left == 0, "%d callbacks missing after the session's end", left);
	if (waitpid(server, &status, 0) != server)
		die("waitpid: %m");
	check(WIFEXITED(status) && WEXITSTATUS(status) == 0,
	      "the server's process ended with status %#x", (unsigned)status);
	free(all);
	remove_tree(threads);
	return proof_end();
}
