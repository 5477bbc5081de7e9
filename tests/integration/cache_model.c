/*
 * cache_model.c - what the cache says against what the server says: a client that remembers does
 * random things to a tree, and after each asks about random paths; a second session, which asks
 * every time, must get the very same answers, to the last field (but atime, which is promised to
 * lag).
 *
 *     cache_model HOSTDIR [-n OPERATIONS] [-seed N] [-threads ROUNDS]
 *
 * HOSTDIR is served as filesystem "t". The names are few, so that things are renamed over each
 * other, links form chains and loops, and what was negative becomes positive. The tree is mounted
 * twice, at / and at /m, in both clients. Where the client remembers what it has watches on, half of the changes are the other
 * client's. With -threads, four threads change the tree at once, and
 * both clients are compared when they have finished.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/xattr.h>

#include "tests/integration/raw.h"

enum { N_FILES = 4, N_THREADS = 4 };

struct model {
	const char *host;
	struct gofer_session *session, *plain_session;
	struct gofer_namespace *ns, *plain;
	bool donate, watched;
	uint64_t seed;
	struct {
		struct gofer_file *file;
		int host;
	} files[N_FILES];
	uint64_t operations, changes, questions;
	char last[600]; /* what was done last */
};

/* ---- paths ---- */

static const char *const names[] = { "a", "b", "c", "dd" };

static void random_path(uint64_t *seed, char *buf, size_t size)
{
	unsigned depth = 1 + random_below(seed, 4);
	size_t n = 0;

	buf[0] = '\0';
	if (random_below(seed, 12) == 0)
		n += (size_t)snprintf(buf, size, "/m");
	for (unsigned i = 0; i < depth; i++) {
		unsigned k = random_below(seed, 40);

		n += (size_t)snprintf(buf + n, size - n, "/%s",
				      k == 0   ? ".."
				      : k == 1 ? "."
					       : names[random_below(seed, ARRAY_SIZE(names))]);
	}
	if (random_below(seed, 30) == 0)
		snprintf(buf + n, size - n, "/");
	/* Relative to whatever the current directory is. */
	if (random_below(seed, 40) == 0)
		memmove(buf, buf + 1, strlen(buf));
}

/* ---- what is done ---- */

static const mode_t modes[] = { 0755, 0700, 0711, 0444, 0, 0755, 0755, 0777 };

static int raw_mkdir(struct model *m, const char *path)
{
	Gofer__MkdirRequest q = GOFER__MKDIR_REQUEST__INIT;
	Gofer__Path p = GOFER__PATH__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Mkdir, .message = &q.base, .fd = -1 };
	struct gofer_reply reply;
	int r;

	while (*path == '/')
		path++;
	p.fs_id = filesystem_id(m->session, "t");
	p.path = (ProtobufCBinaryData){ strlen(path), (uint8_t *)path };
	q.path = &p;
	q.mode = 0755;
	r = gofer_call(m->session, &request, &reply);
	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

static void open_one(struct model *m, uint64_t *seed, const char *path)
{
	static const int flags[] = { O_RDONLY,
				     O_RDWR,
				     O_RDWR | O_CREAT,
				     O_RDWR | O_CREAT | O_EXCL,
				     O_WRONLY | O_APPEND,
				     O_RDWR | O_TRUNC,
				     O_CREAT | O_NOFOLLOW | O_RDWR };
	unsigned i = random_below(seed, N_FILES);
	char host[PATH_MAX];
	struct stat a, b;

	(void)gofer_close(TAKE_PTR(m->files[i].file));
	m->files[i].host = fd_close(m->files[i].host);
	if (gofer_open(m->ns, path, flags[random_below(seed, ARRAY_SIZE(flags))], 0644,
		       &m->files[i].file) < 0)
		return;
	/* The same file on the host, where the path leads there too. */
	snprintf(host, sizeof(host), "%s/%s", m->host, path);
	m->files[i].host = open(host, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (m->files[i].host < 0 || fstat(m->files[i].host, &a) < 0 ||
	    gofer_fstat(m->files[i].file, &b) < 0 || a.st_ino != b.st_ino)
		m->files[i].host = fd_close(m->files[i].host);
}

static void file_op(struct model *m, uint64_t *seed)
{
	struct gofer_file *file = m->files[random_below(seed, N_FILES)].file;
	uint64_t offset = random_below(seed, 9000);

	if (!file)
		return;
	switch (random_below(seed, 7)) {
	case 0:
	case 1:
		(void)gofer_pwrite(file, "hello", 5, offset);
		break;
	case 2:
		(void)gofer_ftruncate(file, offset);
		break;
	case 3:
		(void)gofer_fchmod(file, modes[random_below(seed, ARRAY_SIZE(modes))]);
		break;
	case 4:
		(void)gofer_fallocate(file, 0, offset, 100);
		break;
	case 5:
		(void)gofer_futimens(file, NULL);
		break;
	default:
		(void)gofer_copy_file_range(file, 0, file, offset, 10);
		break;
	}
}

static void change(struct model *m, uint64_t *seed, bool threads)
{
	static const char *const targets[] = { "a", "b/c", "../a", "/b", "/m/dd", ".", "dd/a/b" };
	const struct timespec times[2] = { { 1000, 1 }, { random_below(seed, 100), 2 } };
	/* Where others may change the tree, they do. */
	struct gofer_namespace *ns = m->watched && random_below(seed, 2) ? m->plain : m->ns;
	char p[256], q[256];
	unsigned what = random_below(seed, threads ? 17 : 22);

	/* A current directory and calls of the program's own make the cache forget everything. */
	if (what >= 20 && random_below(seed, 10))
		what = 0;
	random_path(seed, p, sizeof(p));
	random_path(seed, q, sizeof(q));
	if (!threads)
		snprintf(m->last, sizeof(m->last), "%u %s %s", what, p, q);
	switch (what) {
	case 0:
	case 1:
		(void)gofer_mkdir(ns, p, 0755);
		break;
	case 2:
		(void)gofer_rmdir(ns, p);
		break;
	case 3:
		(void)gofer_unlink(ns, p);
		break;
	case 4:
		(void)gofer_symlink(ns, targets[random_below(seed, ARRAY_SIZE(targets))], p);
		break;
	case 5:
		(void)gofer_link(ns, p, q, random_below(seed, 2) ? AT_SYMLINK_FOLLOW : 0);
		break;
	case 6:
	case 7:
		(void)gofer_rename(ns, p, q, 0);
		break;
	case 8:
		(void)gofer_rename(ns, p, q,
				   random_below(seed, 2) ? RENAME_NOREPLACE : RENAME_EXCHANGE);
		break;
	case 9:
		(void)gofer_chmod(ns, p, modes[random_below(seed, ARRAY_SIZE(modes))]);
		break;
	case 10:
		(void)gofer_truncate(ns, p, random_below(seed, 5000));
		break;
	case 11:
		(void)gofer_utimens(ns, p, times, AT_SYMLINK_NOFOLLOW);
		break;
	case 12:
		(void)gofer_setxattr(ns, p, "user.x", "1", 1, 0, 0);
		break;
	case 13:
	case 14:
		(void)gofer_write_file(ns, p, "0123456789", random_below(seed, 10), 0644,
				       (int)random_below(seed, 4));
		break;
	case 15:
		(void)gofer_mknod(ns, p, S_IFIFO | 0600, 0);
		break;
	case 16: {
		struct gofer_file *file;

		/* Opened, written and closed by one thread. */
		if (gofer_open(ns, p, O_CREAT | O_WRONLY, 0644, &file) == 0) {
			(void)gofer_pwrite(file, p, strlen(p), random_below(seed, 99));
			(void)gofer_close(file);
		}
		break;
	}
	case 17:
		open_one(m, seed, p);
		break;
	case 18:
	case 19:
		file_op(m, seed);
		break;
	case 20:
		/* Both stand in the same directory, or neither moves. */
		if (gofer_chdir(m->ns, p) == 0 && gofer_chdir(m->plain, p) < 0)
			die("only the one that remembers could enter %s", p);
		break;
	default:
		(void)raw_mkdir(m, p);
		break;
	}
}

/* ---- what is asked ---- */

static bool same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_mode == b->st_mode &&
	       a->st_nlink == b->st_nlink && a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
	       a->st_rdev == b->st_rdev && a->st_size == b->st_size &&
	       a->st_blocks == b->st_blocks &&
	       !memcmp(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim)) &&
	       !memcmp(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim));
}

_printf_(2, 3) static void differs(struct model *m, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	die("; after operation %lu: %s (%s)", m->operations, m->last, gofer_message());
}

static void ask_stat(struct model *m, const char *p, int flags)
{
	struct stat a, b;
	int r = gofer_stat(m->ns, p, flags, &a), s = gofer_stat(m->plain, p, flags, &b);

	if (r != s || (r == 0 && !same_stat(&a, &b)))
		differs(m,
			"stat %s (flags %x): %d and %d; ino %lu %lu mode %o %o nlink %lu %lu size "
			"%ld %ld mtime %ld.%ld %ld.%ld ctime %ld.%ld %ld.%ld",
			p, flags, r, s, a.st_ino, b.st_ino, a.st_mode, b.st_mode, a.st_nlink,
			b.st_nlink, a.st_size, b.st_size, a.st_mtim.tv_sec, a.st_mtim.tv_nsec,
			b.st_mtim.tv_sec, b.st_mtim.tv_nsec, a.st_ctim.tv_sec, a.st_ctim.tv_nsec,
			b.st_ctim.tv_sec, b.st_ctim.tv_nsec);
}

static void ask_link(struct model *m, const char *p)
{
	char a[256], b[256];
	ssize_t r = gofer_readlink(m->ns, p, a, sizeof(a));
	ssize_t s = gofer_readlink(m->plain, p, b, sizeof(b));

	if (r != s || (r > 0 && memcmp(a, b, (size_t)r) != 0))
		differs(m, "readlink %s: %zd and %zd", p, r, s);
}

static void ask_access(struct model *m, const char *p, unsigned mode)
{
	int r = gofer_access(m->ns, p, (int)mode, 0), s = gofer_access(m->plain, p, (int)mode, 0);

	if (r != s)
		differs(m, "access %s %u: %d and %d", p, mode, r, s);
}

struct listed {
	char name[256], target[256];
	struct stat st;
	bool has_stat;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->name, ((const struct listed *)b)->name);
}

enum { LISTED_MAX = 64 };

static int list(struct gofer_namespace *ns, const char *p, struct listed *out, struct stat *ret_st)
{
	struct gofer_dir *d;
	struct gofer_dirent e;
	int r = gofer_opendir(ns, p, 0, &d), n = 0;

	if (r < 0)
		return r;
	gofer_dirstat(d, ret_st);
	while (n < LISTED_MAX && (r = gofer_readdir(d, &e)) > 0) {
		struct listed *l = &out[n++];

		memset(l, 0, sizeof(*l));
		snprintf(l->name, sizeof(l->name), "%s", e.name);
		snprintf(l->target, sizeof(l->target), "%s", e.target ? e.target : "");
		l->has_stat = e.has_stat;
		if (e.has_stat)
			l->st = e.st;
	}
	gofer_closedir(d);
	if (r < 0)
		return r;
	qsort(out, (size_t)n, sizeof(*out), by_name);
	return n;
}

static void ask_list(struct model *m, const char *p)
{
	static struct listed a[LISTED_MAX], b[LISTED_MAX];
	struct stat st_a, st_b;
	int r = list(m->ns, p, a, &st_a), s = list(m->plain, p, b, &st_b);

	if (r != s)
		differs(m, "directory %s: %d and %d", p, r, s);
	if (r >= 0 && !same_stat(&st_a, &st_b))
		differs(m, "the directory's own attributes: %s", p);
	for (int i = 0; i < r; i++)
		if (strcmp(a[i].name, b[i].name) != 0 || strcmp(a[i].target, b[i].target) != 0 ||
		    a[i].has_stat != b[i].has_stat ||
		    (a[i].has_stat && !same_stat(&a[i].st, &b[i].st)))
			differs(m, "directory %s: entry %s, mode %o %o size %ld %ld nlink %lu %lu",
				p, a[i].name, a[i].st.st_mode, b[i].st.st_mode, a[i].st.st_size,
				b[i].st.st_size, a[i].st.st_nlink, b[i].st.st_nlink);
}

static void ask_open(struct model *m, const char *p)
{
	struct gofer_file *f = NULL, *g = NULL;
	int r = gofer_open(m->ns, p, O_RDONLY, 0, &f), s = gofer_open(m->plain, p, O_RDONLY, 0, &g);

	if (r != s)
		differs(m, "open %s: %d and %d", p, r, s);
	gofer_close(f);
	gofer_close(g);
}

static void ask_content(struct model *m, const char *p)
{
	_cleanup_free_ void *a = NULL, *b = NULL;
	size_t n = 0, k = 0;
	int r = gofer_read_file(m->ns, p, &a, &n, NULL);
	int s = gofer_read_file(m->plain, p, &b, &k, NULL);

	if (r != s || n != k || (n && memcmp(a, b, n) != 0))
		differs(m, "content of %s: %d and %d, %zu and %zu bytes", p, r, s, n, k);
}

static void ask_files(struct model *m)
{
	for (unsigned i = 0; i < N_FILES; i++) {
		struct stat a, b;

		if (m->files[i].host < 0)
			continue;
		if (gofer_fstat(m->files[i].file, &a) < 0 || fstat(m->files[i].host, &b) < 0)
			differs(m, "fstat of an open file: %s", gofer_message());
		/* Owners are the server's to say. */
		b.st_uid = a.st_uid;
		b.st_gid = a.st_gid;
		b.st_dev = a.st_dev;
		if (!same_stat(&a, &b))
			differs(m, "fstat: ino %lu size %ld %ld nlink %lu %lu mode %o %o", a.st_ino,
				a.st_size, b.st_size, a.st_nlink, b.st_nlink, a.st_mode, b.st_mode);
	}
}

static void ask(struct model *m, uint64_t *seed)
{
	char p[256];

	random_path(seed, p, sizeof(p));
	m->questions++;
	switch (random_below(seed, 9)) {
	case 5:
		ask_content(m, p);
		break;
	case 0:
		ask_link(m, p);
		break;
	case 1:
		ask_access(m, p, random_below(seed, 8));
		break;
	case 2:
		ask_list(m, p);
		break;
	case 3:
		ask_open(m, p);
		break;
	case 4:
		ask_files(m);
		break;
	default:
		ask_stat(m, p, random_below(seed, 2) ? AT_SYMLINK_NOFOLLOW : 0);
		break;
	}
}

/* ---- */

static void model_init(struct model *m, const char *host, bool donate, enum gofer_interop interop,
		       uint64_t seed, uint64_t bytes)
{
	bool watched = interop == GOFER_INTEROP_SHARED;
	struct gofer_mount_options o = {
		.interop = interop, .watch = watched, .no_donate = !donate, .cache_bytes = bytes
	};
	const struct gofer_mount_options plain = { .no_donate = true };

	*m = (struct model){ .host = host, .donate = donate, .watched = watched, .seed = seed };
	m->session = session_connect();
	m->plain_session = session_connect();
	m->ns = namespace_of(m->session, "t", &o);
	m->plain = namespace_of(m->plain_session, "t", &plain);
	if (gofer_mount(m->ns, m->session, filesystem_id(m->session, "t"), "/m", &o) < 0 ||
	    gofer_mount(m->plain, m->plain_session, filesystem_id(m->plain_session, "t"), "/m",
			&plain) < 0)
		die("%s", gofer_message());
	for (unsigned i = 0; i < N_FILES; i++)
		m->files[i].host = -EBADF;
}

static void model_deinit(struct model *m)
{
	for (unsigned i = 0; i < N_FILES; i++) {
		gofer_close(m->files[i].file);
		fd_close(m->files[i].host);
	}
	gofer_namespace_free(m->ns);
	gofer_namespace_free(m->plain);
	gofer_session_close(m->session);
	gofer_session_close(m->plain_session);
}

static void run(const char *host, bool donate, enum gofer_interop interop, uint64_t seed,
		uint64_t operations, uint64_t bytes)
{
	struct gofer_cache_stats st;
	struct model m;

	model_init(&m, host, donate, interop, seed, bytes);
	for (m.operations = 0; m.operations < operations; m.operations++) {
		if (random_below(&m.seed, 3) == 0) {
			m.changes++;
			change(&m, &m.seed, false);
			/* What is written and waits is nobody else's to see. */
			if (gofer_session_sync(m.session) < 0)
				die("%s", gofer_message());
			ask_files(&m);
		}
		ask(&m, &m.seed);
		/* An ordinary user may have shut himself out. */
		if (m.operations % 64 == 0)
			(void)gofer_chmod(m.ns, "/", 0755);
	}
	if (gofer_session_get_cache_stats(m.session, &st) < 0)
		die("%s", gofer_message());
	check(st.hits > 0 && st.bytes <= st.budget && (!bytes || st.evictions),
	      "%s, %s, budget %lu KiB, seed %lu: %lu operations, %lu changes; %lu hits, %lu "
	      "misses, "
	      "%lu evictions, everything forgotten %lu times; %lu names, %lu inodes, %lu watches, "
	      "%lu bytes",
	      m.watched                            ? "shared, watched"
	      : interop == GOFER_INTEROP_EXCLUSIVE ? "exclusive"
						   : "writethrough",
	      donate ? "donated descriptors" : "no descriptors", st.budget >> 10, seed, operations,
	      m.changes, st.hits, st.misses, st.evictions, st.drops, st.names, st.inodes,
	      st.watches, st.bytes);
	model_deinit(&m);
}

/* ---- threads ---- */

struct changer {
	struct model *m;
	uint64_t seed;
};

static void *changer_run(void *arg)
{
	struct changer *c = arg;

	for (int i = 0; i < 60; i++) {
		char p[256];
		struct stat st;

		if (random_below(&c->seed, 2) == 0)
			change(c->m, &c->seed, true);
		random_path(&c->seed, p, sizeof(p));
		(void)gofer_stat(c->m->ns, p, 0, &st);
	}
	return NULL;
}

static void run_threads(const char *host, uint64_t seed, uint64_t rounds,
			enum gofer_interop interop)
{
	struct model m;

	model_init(&m, host, true, interop, seed, 0);
	snprintf(m.last, sizeof(m.last), "threads");
	for (m.operations = 0; m.operations < rounds; m.operations++) {
		pthread_t threads[N_THREADS];
		struct changer c[N_THREADS];

		for (unsigned i = 0; i < N_THREADS; i++) {
			c[i] = (struct changer){ &m, random_next(&m.seed) | 1 };
			if (pthread_create(&threads[i], NULL, changer_run, &c[i]) != 0)
				die("pthread_create");
		}
		for (unsigned i = 0; i < N_THREADS; i++)
			pthread_join(threads[i], NULL);
		for (unsigned i = 0; i < 100; i++)
			ask(&m, &m.seed);
	}
	check(true, "threads, %s, seed %lu: %lu rounds of %d threads, %lu questions",
	      m.watched ? "shared, watched" : "exclusive", seed, rounds, N_THREADS, m.questions);
	model_deinit(&m);
}

int main(int argc, char **argv)
{
	const char *host = argc > 1 ? argv[1] : NULL;
	uint64_t n = option_number(argc, argv, "-n", 20000);
	uint64_t seed = option_number(argc, argv, "-seed", clock_ns() | 1);
	uint64_t rounds = option_number(argc, argv, "-threads", 40);

	if (!host)
		die("usage: cache_model HOSTDIR [-n OPERATIONS] [-seed N] [-threads ROUNDS]");
	(void)umask(0);
	printf("seed %lu\n", seed);
	run(host, false, GOFER_INTEROP_EXCLUSIVE, seed, n, 0);
	run(host, true, GOFER_INTEROP_EXCLUSIVE, seed + 1, n, 0);
	run(host, true, GOFER_INTEROP_WRITETHROUGH, seed + 2, n, 0);
	run(host, false, GOFER_INTEROP_EXCLUSIVE, seed + 3, n, 4 << 10);
	run(host, false, GOFER_INTEROP_SHARED, seed + 5, n, 0);
	run(host, true, GOFER_INTEROP_SHARED, seed + 6, n, 4 << 10);
	run_threads(host, seed + 4, rounds, GOFER_INTEROP_EXCLUSIVE);
	run_threads(host, seed + 7, rounds, GOFER_INTEROP_SHARED);
	return proof_end();
}
