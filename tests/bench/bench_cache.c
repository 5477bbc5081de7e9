/*
 * bench_cache.c - what the client's caches are worth without donated descriptors: the same work natively, over a bare socket, by
 * the library that remembers nothing, and by the library that does, in rounds that take turns.
 *
 *     native     system calls on the host's files
 *     bare       a process that does them for requests of a few bytes over a socket pair, one after the other, no protocol at all
 *     uncached   gofer, mode shared: a request for each call, or several in flight for a large one
 *     watched    gofer, mode shared with watches: what was seen is remembered while the kernel tells of no change
 *     exclusive  gofer, mode exclusive: names, attributes, contents are remembered
 *
 * Cold: the session has just begun; that the host's own cache has the file is so for all. Every figure is the median of the rounds, and ratios
 * are to what stands beside it in the same run.
 *
 *     bench_cache [-r ROUNDS] [-size MIB] [-what data|small|names|many] HOSTDIR      served as "t" with donate=never
 *     bench_cache -loop WHAT -n N HOSTDIR      N warm calls and nothing else, for strace and perf: sequence, read, stat, watched, access, absent,
 *                                              link; or the whole file N times, without what was known of it: cold, uncached
 */
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/integration/proof.h"

enum how { NATIVE, BARE, UNCACHED, WATCHED, EXCLUSIVE, N_HOWS };
enum { BLOCK = 128 << 10, SMALL = 4096, SMALL_MIB = 128, FILES = 10000, HOT = 100, CALLS = 20000 };

static const char *const how_names[N_HOWS] = { "native", "bare socket", "uncached", "watched",
					       "exclusive" };
static const char deep[] = "a/b/c/d/e/f/g/h";

static struct {
	const char *host;
	int root;
	unsigned rounds;
	uint64_t size, seed;
	struct gofer_session *session[N_HOWS];
	struct gofer_namespace *ns[N_HOWS];
	int bare;
	pid_t bare_pid;
	char *block;
} b;

static const uint64_t mib = 1 << 20;

/* ---- the bare socket ---- */

enum bare_op { BARE_READ, BARE_WRITE, BARE_STAT };

struct bare_request {
	enum bare_op op;
	uint32_t len;
	uint64_t offset;
	char name[64];
};

static void bare_serve(int sock)
{
	static char data[BLOCK];
	struct bare_request q;
	struct iovec iov[2] = { { &q, sizeof(q) }, { data, sizeof(data) } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	char name[64] = "";
	struct stat st;
	int fd = -1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (recvmsg(sock, &m, 0) > 0) {
		ssize_t n;

		if (q.op == BARE_STAT) {
			n = fstatat(b.root, q.name, &st, AT_SYMLINK_NOFOLLOW);
			(void)!send(sock, &st, n < 0 ? 1 : sizeof(st), MSG_NOSIGNAL);
			continue;
		}
		/* It may be another file by now. */
		if (fd < 0 || strcmp(name, q.name) || !q.offset) {
			fd_close(fd);
			fd = openat(b.root, q.name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
			memcpy(name, q.name, sizeof(name));
		}
		n = q.op == BARE_READ ? pread(fd, data, q.len, (off_t)q.offset)
				      : pwrite(fd, data, q.len, (off_t)q.offset);
		(void)!send(sock, data, q.op == BARE_READ && n > 0 ? (size_t)n : 1, MSG_NOSIGNAL);
	}
	_exit(0);
}

static void bare_start(void)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	b.bare_pid = fork();
	if (b.bare_pid < 0)
		die("fork");
	if (b.bare_pid == 0) {
		close(pair[0]);
		bare_serve(pair[1]);
	}
	close(pair[1]);
	b.bare = pair[0];
}

static ssize_t bare_call(enum bare_op op, const char *name, void *buf, size_t len, uint64_t offset)
{
	struct bare_request q = { .op = op, .len = (uint32_t)len, .offset = offset };
	struct iovec iov[2] = { { &q, sizeof(q) }, { buf, len } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = op == BARE_WRITE ? 2 : 1 };
	char reply[8];

	snprintf(q.name, sizeof(q.name), "%s", name);
	if (sendmsg(b.bare, &m, MSG_NOSIGNAL) < 0)
		die("bare: %s", strerror(errno));
	return op == BARE_WRITE ? recv(b.bare, reply, sizeof(reply), 0) > 0 ? (ssize_t)len : -1
				: recv(b.bare, buf, len, 0);
}

/* ---- subjects ---- */

/* Begins anew: nothing is remembered. */
static void connect_as(enum how how, uint64_t page_bytes)
{
	const struct gofer_mount_options o = {
		.interop = how == EXCLUSIVE ? GOFER_INTEROP_EXCLUSIVE : GOFER_INTEROP_SHARED,
		.watch = how == WATCHED,
		.no_donate = true,
		.page_bytes = page_bytes,
	};

	if (how < UNCACHED)
		return;
	gofer_namespace_free(b.ns[how]);
	gofer_session_close(b.session[how]);
	b.session[how] = session_connect();
	b.ns[how] = namespace_of(b.session[how], "t", &o);
}

struct file {
	enum how how;
	const char *name;
	int fd;
	struct gofer_file *file;
};

static struct file file_open(enum how how, const char *name, int flags)
{
	struct file f = { .how = how, .name = name, .fd = -1 };
	char path[80];

	snprintf(path, sizeof(path), "/%s", name);
	if (how == NATIVE)
		f.fd = openat(b.root, name, flags | O_CLOEXEC, 0644);
	else if (how >= UNCACHED && gofer_open(b.ns[how], path, flags, 0644, &f.file) < 0)
		die("%s: %s", path, gofer_message());
	if (how == NATIVE && f.fd < 0)
		die("%s: %s", name, strerror(errno));
	return f;
}

static void file_read(const struct file *f, void *buf, size_t len, uint64_t offset)
{
	ssize_t n = f->how == NATIVE ? pread(f->fd, buf, len, (off_t)offset)
		    : f->how == BARE ? bare_call(BARE_READ, f->name, buf, len, offset)
				     : gofer_pread(f->file, buf, len, offset);

	if (n != (ssize_t)len)
		die("%s: read of %s", how_names[f->how], f->name);
}

static void file_write(const struct file *f, void *buf, size_t len, uint64_t offset)
{
	ssize_t n = f->how == NATIVE ? pwrite(f->fd, buf, len, (off_t)offset)
		    : f->how == BARE ? bare_call(BARE_WRITE, f->name, buf, len, offset)
				     : gofer_pwrite(f->file, buf, len, offset);

	if (n != (ssize_t)len)
		die("%s: write of %s", how_names[f->how], f->name);
}

static void file_close(struct file *f)
{
	if (f->file && gofer_close(f->file) < 0)
		die("close: %s", gofer_message());
	f->fd = fd_close(f->fd);
}

static void stat_as(enum how how, const char *name)
{
	char path[80] = "/";
	struct stat st;
	int r;

	if (how == NATIVE) {
		r = fstatat(b.root, name, &st, AT_SYMLINK_NOFOLLOW);
	} else if (how == BARE) {
		r = bare_call(BARE_STAT, name, &st, sizeof(st), 0) == sizeof(st) ? 0 : -1;
	} else {
		memcpy(path + 1, name, strlen(name) + 1);
		r = gofer_stat(b.ns[how], path, AT_SYMLINK_NOFOLLOW, &st);
	}
	if (r < 0)
		die("%s: stat of %s", how_names[how], name);
}

/* ---- rows ---- */

/* One row: what is done before the clock runs, what is measured, how many units that is. */
struct row {
	const char *name, *unit;
	void (*prepare)(enum how how);
	void (*run)(enum how how);
	bool hows[N_HOWS];
	double units; /* in one run */
	double scale; /* of the unit, in nanoseconds; 0: units a second */
};

static int compare_doubles(const void *x, const void *y)
{
	double p = *(const double *)x, q = *(const double *)y;

	return (p > q) - (p < q);
}

static void measure(const struct row *row)
{
	double *ns[N_HOWS] = { 0 }, median[N_HOWS] = { 0 };

	for (int h = 0; h < N_HOWS; h++) {
		ns[h] = calloc(b.rounds, sizeof(double));
		if (!ns[h])
			die("memory");
	}
	for (unsigned r = 0; r < b.rounds; r++)
		for (int h = 0; h < N_HOWS; h++) {
			uint64_t start;

			if (!row->hows[h])
				continue;
			if (row->prepare)
				row->prepare((enum how)h);
			start = clock_ns();
			row->run((enum how)h);
			ns[h][r] = (double)(clock_ns() - start);
		}
	printf("| %s |", row->name);
	for (int h = 0; h < N_HOWS; h++) {
		qsort(ns[h], b.rounds, sizeof(double), compare_doubles);
		median[h] = ns[h][b.rounds / 2];
		free(ns[h]);
		if (!row->hows[h])
			printf(" - |");
		else if (row->scale > 0)
			printf(" %.3f %s", median[h] / row->units / row->scale, row->unit);
		else
			printf(" %.0f %s", row->units * 1e9 / median[h], row->unit);
		if (row->hows[h] && h != NATIVE && median[NATIVE] > 0)
			printf(" (%.2f) |", median[h] / median[NATIVE]);
		else if (row->hows[h])
			printf(" |");
	}
	printf("\n");
	fflush(stdout);
}

static void head(const char *title)
{
	printf("\n%s\n\n|  |", title);
	for (int h = 0; h < N_HOWS; h++)
		printf(" %s |", how_names[h]);
	printf("\n| --- | --- | --- | --- | --- | --- |\n");
}

/* ---- contents ---- */

static struct file open_file;

static void read_all(enum how how)
{
	open_file = file_open(how, "large", O_RDONLY);
	for (uint64_t at = 0; at < b.size; at += BLOCK)
		file_read(&open_file, b.block, BLOCK, at);
	file_close(&open_file);
}

static void begin_cold(enum how how)
{
	connect_as(how, 0);
}

static void begin_warm(enum how how)
{
	connect_as(how, b.size + 64 * mib);
	read_all(how);
}

static void begin_again(enum how how)
{
	connect_as(how, 0);
	read_all(how);
}

static void begin_write(enum how how)
{
	connect_as(how, 0);
	(void)unlinkat(b.root, "written", 0);
}

static void write_all(enum how how)
{
	open_file = file_open(how, "written", O_CREAT | O_WRONLY);
	for (uint64_t at = 0; at < b.size; at += BLOCK)
		file_write(&open_file, b.block, BLOCK, at);
	file_close(&open_file);
}

static void begin_random(enum how how)
{
	connect_as(how, 0);
	open_file = file_open(how, "small", O_RDONLY);
	for (uint64_t at = 0; at < SMALL_MIB * mib; at += BLOCK)
		file_read(&open_file, b.block, BLOCK, at);
}

static void read_random(enum how how _unused_)
{
	const struct file *f = &open_file;

	for (uint64_t i = 0; i < CALLS; i++)
		file_read(f, b.block, SMALL,
			  (uint64_t)random_below(&b.seed, SMALL_MIB * 256) * SMALL);
	file_close(&open_file);
}

/* ---- names ---- */

static const char *stat_name;

static void begin_stat(enum how how)
{
	if (how >= UNCACHED && !b.ns[how])
		connect_as(how, 0);
	for (unsigned i = 0; i < 10; i++)
		stat_as(how, stat_name);
}

static void stat_one(enum how how)
{
	for (unsigned i = 0; i < CALLS; i++)
		stat_as(how, stat_name);
}

static void stat_many(enum how how)
{
	char name[64];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "many/%u", i);
		stat_as(how, name);
	}
}

/* HOT of them again and again, between two others each time. */
static void stat_hot(enum how how)
{
	char name[64];

	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "many/%u", i % 2 ? i : i / 2 % HOT * 100);
		stat_as(how, name);
	}
}

static void begin_many(enum how how)
{
	if (how >= UNCACHED)
		connect_as(how, 0);
	for (unsigned i = 0; i < 3; i++)
		stat_many(how);
}

static void begin_hot(enum how how)
{
	begin_many(how);
	for (unsigned i = 0; i < 2; i++)
		stat_hot(how);
}

/* ---- files ---- */

static void make_file(const char *name, uint64_t size)
{
	int fd = openat(b.root, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);

	for (uint64_t at = 0; at < size; at += BLOCK)
		if (fd < 0 || write(fd, b.block, MIN(BLOCK, size - at)) < 0)
			die("%s: %s", name, strerror(errno));
	if (fd < 0)
		die("%s: %s", name, strerror(errno));
	close(fd);
}

static void make_files(void)
{
	char path[80] = "";

	b.block = malloc(BLOCK);
	b.root = open(b.host, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (b.root < 0 || !b.block)
		die("%s: %s", b.host, strerror(errno));
	memset(b.block, 'x', BLOCK);
	for (size_t n = 1; n < sizeof(deep); n += 2) {
		snprintf(path, sizeof(path), "%.*s", (int)n, deep);
		if (n + 1 < sizeof(deep))
			(void)mkdirat(b.root, path, 0755);
	}
	make_file(deep, SMALL);
	make_file("f", SMALL);
	(void)!symlinkat("f", b.root, "l");
	make_file("small", SMALL_MIB * mib);
	(void)mkdirat(b.root, "many", 0755);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "many/%u", i);
		make_file(path, 0);
	}
}

/* ---- groups of rows ---- */

static void data(void)
{
	struct row row = { .unit = "MiB/s",
			   .hows = { true, true, true, false, true },
			   .units = (double)b.size / (double)mib };
	char title[128];

	make_file("large", b.size);
	snprintf(title, sizeof(title), "%lu MiB in sequence, 128 KiB a call (times native)",
		 (unsigned long)(b.size / mib));
	head(title);
	row.name = "read, cold";
	row.prepare = begin_cold;
	row.run = read_all;
	measure(&row);
	row.name = "read again, all of it in the page cache";
	row.prepare = begin_warm;
	measure(&row);
	row.name = "read again, with a page cache of 256 MiB";
	row.prepare = begin_again;
	measure(&row);
	row.name = "write a new file, and close it";
	row.prepare = begin_write;
	row.run = write_all;
	measure(&row);
	(void)unlinkat(b.root, "written", 0);
	(void)unlinkat(b.root, "large", 0);
}

static void small(void)
{
	const struct row row = { .name = "read of 4 KiB, anywhere",
				 .unit = "us",
				 .prepare = begin_random,
				 .run = read_random,
				 .hows = { true, true, true, false, true },
				 .units = CALLS,
				 .scale = 1000 };

	head("Small reads of an open file of 128 MiB that was read before (times native; goal of "
	     "exclusive: below 1 us)");
	measure(&row);
}

static void names(void)
{
	static const char *const paths[] = { "f", deep };
	static const char *const titles[] = { "stat, depth 1", "stat, depth 8" };
	struct row row = { .unit = "us",
			   .prepare = begin_stat,
			   .run = stat_one,
			   .hows = { true, true, true, true, true },
			   .units = CALLS,
			   .scale = 1000 };

	head("A name that was asked for before (times native; goals: exclusive faster than native, "
	     "watched 0.3 us)");
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		stat_name = paths[i];
		row.name = titles[i];
		measure(&row);
	}
}

static void many(void)
{
	struct row row = { .unit = "us",
			   .hows = { true, false, true, true, true },
			   .units = FILES,
			   .scale = 1000 };

	head("Names of 10,000 files, more than a session has watches (4,096) (times native; goal "
	     "of watched: about uncached)");
	row.name = "stat of each, round and round";
	row.prepare = begin_many;
	row.run = stat_many;
	measure(&row);
	row.name = "... and of 100 in between, again and again";
	row.prepare = begin_hot;
	row.run = stat_hot;
	measure(&row);
}

/* ---- nothing but warm calls ---- */

static void read_cold(enum how how)
{
	begin_cold(how);
	read_all(how);
}

static int loop(const char *what, uint64_t n)
{
	enum how how = strcmp(what, "watched") == 0    ? WATCHED
		       : strcmp(what, "uncached") == 0 ? UNCACHED
						       : EXCLUSIVE;
	struct stat st;
	char buf[64];

	connect_as(how, 0);
	if (strcmp(what, "cold") == 0 || how == UNCACHED)
		make_file("large", b.size);
	else
		begin_random(how);
	for (uint64_t i = 0; i < n; i++) {
		if (strcmp(what, "cold") == 0 || how == UNCACHED)
			read_cold(how);
		else if (strcmp(what, "sequence") == 0)
			file_read(&open_file, b.block, BLOCK, i * BLOCK % (SMALL_MIB * mib));
		else if (strcmp(what, "read") == 0)
			file_read(&open_file, b.block, SMALL,
				  (uint64_t)random_below(&b.seed, SMALL_MIB * 256) * SMALL);
		else if (strcmp(what, "access") == 0)
			(void)gofer_access(b.ns[how], "/a/b/c/d/e/f/g/h", R_OK, 0);
		else if (strcmp(what, "absent") == 0)
			(void)gofer_stat(b.ns[how], "/a/b/c/d/e/f/g/none", 0, &st);
		else if (strcmp(what, "link") == 0)
			(void)gofer_readlink(b.ns[how], "/l", buf, sizeof(buf));
		else
			stat_as(how, deep);
	}
	file_close(&open_file);
	return 0;
}

static const char *option_text(int argc, char **argv, const char *name, const char *fallback)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return argv[i + 1];
	return fallback;
}

static bool wanted(const char *what, const char *group)
{
	return !what[0] || !strcmp(what, group);
}

int main(int argc, char **argv)
{
	const char *what = option_text(argc, argv, "-what", ""),
		   *warm = option_text(argc, argv, "-loop", "");

	if (argc < 2)
		die("usage: bench_cache [-r ROUNDS] [-size MIB] [-what GROUP] HOSTDIR");
	b.host = argv[argc - 1];
	b.rounds = (unsigned)option_number(argc, argv, "-r", 5);
	b.size = option_number(argc, argv, "-size", 1024) * mib;
	b.seed = 88172645463325252u;
	make_files();
	if (warm[0])
		return loop(warm, option_number(argc, argv, "-n", 10000));
	bare_start();
	if (wanted(what, "data"))
		data();
	if (wanted(what, "small"))
		small();
	if (wanted(what, "names"))
		names();
	if (wanted(what, "many"))
		many();
	for (int h = 0; h < N_HOWS; h++) {
		gofer_namespace_free(b.ns[h]);
		gofer_session_close(b.session[h]);
	}
	kill(b.bare_pid, SIGKILL);
	(void)waitpid(b.bare_pid, NULL, 0);
	return proof_end();
}
