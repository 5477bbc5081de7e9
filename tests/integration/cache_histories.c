/*
 * cache_histories.c - strict coherence where others change the tree: two clients of one server, one
 * that remembers what it has watches on and one that asks every time, while a third process changes
 * things on the host.
 *
 *     cache_histories HOSTDIR [-n HISTORIES] [-cold] [-kind K]
 *
 * A history: both clients look (the one that remembers twice: the second time must cost no
 * request); the third process makes one change and, when the system call has returned, says so
 * through a pipe; both clients look again, and must see what the host's own system calls
 * see. HOSTDIR is served as filesystem "t". Then warm stat is timed against the host's, and it is shown that
 * the queue is of no use after the session. -cold: the server gives too few watches to remember anything.
 * -kind: only the K-th of the kinds of change, from 1.
 */
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "tests/integration/raw.h"

static const char *host;
static bool cold_only;

/* ---- the third process: changes below HOSTDIR, its working directory ---- */

#define OBJECT "d1/d2/d3/f"

static int old_fd = -1; /* of the object, opened before everything */

static void must(int r, const char *what)
{
	if (r < 0)
		die("%s: %s", what, strerror(errno));
}

static void put(const char *path, const char *text, int flags)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

	must(fd, path);
	must((int)write(fd, text, strlen(text)), path);
	close(fd);
}

static void do_write(unsigned i)
{
	put(OBJECT, i % 2 ? "x" : "yy", O_APPEND);
}

static void do_write_before(unsigned i)
{
	must((int)pwrite(old_fd, "z", 1, i % 5000), "pwrite");
}

static void do_write_hard(unsigned i)
{
	put("other/hard", i % 2 ? "1" : "22", O_APPEND);
}

static void do_truncate(unsigned i)
{
	must(truncate(OBJECT, i % 700), "truncate");
}

static void do_chmod(unsigned i)
{
	must(chmod(OBJECT, i % 2 ? 0644 : 0600), "chmod");
}

static void do_chown(unsigned i)
{
	must(chown(OBJECT, geteuid(), geteuid() ? getegid() : i % 7), "chown");
}

static void do_utimens(unsigned i)
{
	const struct timespec t[2] = { { 5, 0 }, { i, 7 } };

	must(utimensat(AT_FDCWD, OBJECT, t, 0), "utimens");
}

static void do_link(unsigned i)
{
	if (i % 2)
		must(unlink("other/more"), "unlink");
	else
		must(link("other/hard", "other/more"), "link");
}

static void do_setxattr(unsigned i)
{
	must(setxattr(OBJECT, "user.x", i % 2 ? "a" : "b", 1, 0), "setxattr");
}

static void do_unlink(unsigned i)
{
	if (i % 2)
		put(OBJECT, "again", O_CREAT | O_EXCL);
	else
		must(unlink(OBJECT), "unlink");
}

static void do_replace(unsigned i)
{
	put("d1/d2/d3/new", i % 2 ? "one" : "three", O_CREAT | O_TRUNC);
	must(rename("d1/d2/d3/new", OBJECT), "rename");
}

static void do_symlink(unsigned i)
{
	if (i % 2) {
		put("d1/d2/d3/new", "file", O_CREAT | O_TRUNC);
	} else {
		must(symlink(i % 4 ? "../target" : "nowhere", "d1/d2/d3/new"), "symlink");
	}
	must(rename("d1/d2/d3/new", OBJECT), "rename");
}

static void do_rename(unsigned i)
{
	must(rename(i % 2 ? "d1/d2/d3/g" : OBJECT, i % 2 ? OBJECT : "d1/d2/d3/g"), "rename");
}

static void move_away(unsigned i, const char *path, const char *away)
{
	must(rename(i % 2 ? away : path, i % 2 ? path : away), "rename");
}

static void do_rename_parent(unsigned i)
{
	move_away(i, "d1/d2/d3", "d1/d2/e3");
}

static void do_rename_middle(unsigned i)
{
	move_away(i, "d1/d2", "e2");
}

static void do_rename_top(unsigned i)
{
	move_away(i, "d1", "other/e1");
}

static void do_exchange(unsigned i _unused_)
{
	must((int)syscall(SYS_renameat2, AT_FDCWD, "d1/d2", AT_FDCWD, "twin", RENAME_EXCHANGE),
	     "exchange");
}

static void do_link_ancestor(unsigned i)
{
	if (i % 2) {
		must(unlink("d1/d2"), "unlink");
		must(rename("e2", "d1/d2"), "rename");
	} else {
		must(rename("d1/d2", "e2"), "rename");
		must(symlink("../twin", "d1/d2"), "symlink");
	}
}

static void do_chmod_ancestor(unsigned i)
{
	must(chmod("d1/d2", i % 2 ? 0755 : 0600), "chmod");
}

static void do_neighbour(unsigned i)
{
	if (i % 2)
		must(unlink("d1/d2/d3/n"), "unlink");
	else
		put("d1/d2/d3/n", "n", O_CREAT | O_EXCL);
}

static void do_make_missing(unsigned i)
{
	if (i % 2)
		must(rmdir("d1/d2/d3/missing"), "rmdir");
	else
		must(mkdir("d1/d2/d3/missing", 0755), "mkdir");
}

/* The tree is served as it was mounted when the server began: what is below stays what is served. */
static void do_mount(unsigned i)
{
	if (i % 2)
		must(umount2("d1/d2", MNT_DETACH), "umount");
	else
		must(mount("histories", "d1/d2", "tmpfs", 0, "size=64k"), "mount");
}

/* More events than the queue holds. */
static void do_flood(unsigned i)
{
	for (unsigned k = 0; k < 20000; k++)
		must(chmod(k % 2 ? OBJECT : "d1/d2/d3", k % 4 < 2 ? 0755 : 0711), "chmod");
	must(truncate(OBJECT, i % 300), "truncate");
}

struct kind {
	const char *name;
	void (*change)(unsigned i);
	unsigned divide; /* histories: only this part of them */
	bool covers;     /* with mounts on the host, which show there only; for root */
};

static const struct kind kinds[] = {
	{ "write", do_write, 1 },
	{ "write through a descriptor opened before", do_write_before, 1 },
	{ "write through another hard link", do_write_hard, 1 },
	{ "truncate", do_truncate, 1 },
	{ "chmod", do_chmod, 1 },
	{ "chown", do_chown, 1 },
	{ "utimens", do_utimens, 1 },
	{ "link and unlink of another name", do_link, 1 },
	{ "setxattr", do_setxattr, 1 },
	{ "a neighbour made and removed", do_neighbour, 1 },
	{ "what was missing is made, and removed", do_make_missing, 1 },
	{ "rename of the object, there and back", do_rename, 1 },
	{ "rename of its directory", do_rename_parent, 1 },
	{ "rename of the directory above", do_rename_middle, 1 },
	{ "rename of the first directory", do_rename_top, 1 },
	{ "exchange of an ancestor", do_exchange, 1 },
	{ "an ancestor replaced by a symbolic link", do_link_ancestor, 1 },
	{ "chmod of an ancestor", do_chmod_ancestor, 1 },
	{ "unlink, create", do_unlink, 1 },
	{ "replaced by another file", do_replace, 1 },
	{ "replaced by a symbolic link, and by a file", do_symlink, 1 },
	{ "mounted over", do_mount, 1, true },
	{ "20000 changes at once: the queue overflows", do_flood, 100 },
};

static void build(void)
{
	static const char *const dirs[] = { "d1",   "d1/d2",   "d1/d2/d3",  "other",
					    "twin", "twin/d3", "d1/d2/deep" };

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		must(mkdir(dirs[i], 0755), dirs[i]);
	put(OBJECT, "hello", O_CREAT);
	put("d1/d2/target", "target", O_CREAT);
	put("twin/d3/f", "the other one", O_CREAT);
	must(link(OBJECT, "other/hard"), "link");
	old_fd = open(OBJECT, O_RDWR | O_CLOEXEC);
	must(old_fd, OBJECT);
}

struct command {
	unsigned kind, i;
};

static void third_process(int in, int out)
{
	struct command c;
	char done = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	must(chdir(host), host);
	(void)umask(022);
	build();
	if (write(out, &done, 1) != 1)
		_exit(1);
	while (read(in, &c, sizeof(c)) == (ssize_t)sizeof(c)) {
		kinds[c.kind].change(c.i);
		if (write(out, &done, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

/* ---- looking ---- */

struct sight {
	int stat, lstat, missing, list, access;
	ssize_t link;
	struct stat st, lst, dir;
	unsigned entries;
	uint64_t names; /* a sum over all names and sizes of the directory */
	char target[64];
};

static uint64_t entry_hash(const char *name, const struct stat *st)
{
	uint64_t h = 14695981039346656037u ^ (uint64_t)st->st_size << 32 ^ st->st_mode ^
		     st->st_nlink << 20;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 1099511628211u;
	return h;
}

static void look_client(struct gofer_namespace *ns, struct sight *s)
{
	struct gofer_dirent e;
	struct gofer_dir *d;
	struct stat st;

	*s = (struct sight){ 0 };
	s->stat = gofer_stat(ns, "/" OBJECT, 0, &s->st);
	s->lstat = gofer_stat(ns, "/" OBJECT, AT_SYMLINK_NOFOLLOW, &s->lst);
	s->missing = gofer_stat(ns, "/d1/d2/d3/missing", 0, &st);
	s->access = gofer_access(ns, "/" OBJECT, R_OK | W_OK, AT_EACCESS);
	if (s->lstat == 0 && S_ISLNK(s->lst.st_mode))
		s->link = gofer_readlink(ns, "/" OBJECT, s->target, sizeof(s->target));
	s->list = gofer_opendir(ns, "/d1/d2/d3", 0, &d);
	if (s->list < 0)
		return;
	gofer_dirstat(d, &s->dir);
	while (gofer_readdir(d, &e) > 0) {
		s->entries++;
		if (e.has_stat)
			s->names += entry_hash(e.name, &e.st);
	}
	gofer_closedir(d);
}

/* base: the directory d1/d2/d3, or HOSTDIR where it is to be looked up as well. */
static void look_host(int base, bool lookup, struct sight *s)
{
	const char *object = lookup ? OBJECT : "f",
		   *missing = lookup ? "d1/d2/d3/missing" : "missing";
	struct stat st;
	int fd;
	DIR *d;

	*s = (struct sight){ 0 };
	s->stat = fstatat(base, object, &s->st, 0) < 0 ? -errno : 0;
	s->lstat = fstatat(base, object, &s->lst, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
	s->access = faccessat(base, object, R_OK | W_OK, AT_EACCESS) < 0 ? -errno : 0;
	if (s->lstat == 0 && S_ISLNK(s->lst.st_mode))
		s->link = readlinkat(base, object, s->target, sizeof(s->target));
	s->missing = fstatat(base, missing, &st, 0) < 0 ? -errno : 0;
	fd = openat(base, lookup ? "d1/d2/d3" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->list = fd < 0 ? -errno : 0;
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return;
	(void)fstat(dirfd(d), &s->dir);
	for (const struct dirent *e; (e = readdir(d));) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		s->entries++;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			s->names += entry_hash(e->d_name, &st);
	}
	closedir(d);
}

static bool same_stat(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_mode == b->st_mode && a->st_nlink == b->st_nlink &&
	       a->st_size == b->st_size && a->st_gid == b->st_gid &&
	       !memcmp(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim)) &&
	       !memcmp(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim));
}

/* What differs, or NULL. Root on the host may do what the server's identity may not. */
static const char *differs(const struct sight *a, const struct sight *b, bool rights)
{
	if (!rights && (a->stat == -EACCES || b->stat == -EACCES))
		return NULL;
	if (a->stat != b->stat || (a->stat == 0 && !same_stat(&a->st, &b->st)))
		return "stat";
	if (a->lstat != b->lstat || (a->lstat == 0 && !same_stat(&a->lst, &b->lst)))
		return "lstat";
	if (a->missing != b->missing)
		return "stat of what is missing";
	if (rights && a->access != b->access)
		return "access";
	if (a->link != b->link || memcmp(a->target, b->target, sizeof(a->target)) != 0)
		return "readlink";
	if (a->list != b->list || a->entries != b->entries || a->names != b->names ||
	    (a->list == 0 && !same_stat(&a->dir, &b->dir)))
		return "directory";
	return NULL;
}

/* ---- */

struct client {
	struct gofer_session *session;
	struct gofer_namespace *ns;
};

static struct client client_new(bool watch)
{
	const struct gofer_mount_options o = { .watch = watch, .no_donate = true };
	struct client c = { .session = session_connect() };

	c.ns = namespace_of(c.session, "t", &o);
	return c;
}

static void client_free(struct client *c)
{
	gofer_namespace_free(c->ns);
	gofer_session_close(c->session);
}

static uint64_t requests(struct client *c)
{
	struct gofer_stats st;

	gofer_session_get_stats(c->session, &st);
	return st.total - st.requests[RPC_TYPE_Close];
}

struct third {
	int to, from;
	pid_t pid;
};

static void wait_done(struct third *t)
{
	char done;

	if (read(t->from, &done, 1) != 1)
		die("the third process is gone");
}

static struct third third_start(void)
{
	struct third t;
	int to[2], from[2];

	must(pipe2(to, O_CLOEXEC), "pipe");
	must(pipe2(from, O_CLOEXEC), "pipe");
	t.pid = fork();
	must(t.pid, "fork");
	if (t.pid == 0) {
		close(to[1]);
		close(from[0]);
		third_process(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	t.to = to[1];
	t.from = from[0];
	wait_done(&t);
	return t;
}

static void third_stop(struct third *t)
{
	int status;

	close(t->to);
	close(t->from);
	if (waitpid(t->pid, &status, 0) != t->pid || status != 0)
		die("the third process ended with %d", status);
}

static void run_kind(struct third *t, unsigned kind, struct client *watched, struct client *plain,
		     unsigned n)
{
	bool rights = geteuid() != 0;
	int base = open(host, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int object = openat(base, "d1/d2/d3", O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool covers = kinds[kind].covers;
	struct sight a, b, truth;
	uint64_t warm = 0, cold = 0, unwarm = 0;

	must(object, "d1/d2/d3");
	for (unsigned i = 0; i < n; i++) {
		struct command c = { kind, i };
		uint64_t before;
		const char *what;

		look_client(watched->ns, &a);
		before = requests(watched);
		look_client(watched->ns, &a);
		warm += requests(watched) - before;
		unwarm += requests(watched) != before && (a.stat == -EACCES || a.list < 0);
		if (write(t->to, &c, sizeof(c)) != (ssize_t)sizeof(c))
			die("the third process is gone");
		wait_done(t);
		before = requests(watched);
		look_client(watched->ns, &a);
		cold += requests(watched) - before;
		look_client(plain->ns, &b);
		look_host(covers ? object : base, !covers, &truth);
		what = differs(&a, &truth, rights);
		if (!what)
			what = differs(&a, &b, true);
		if (what) {
			check(false, "%s, history %u: %s is not what the host has (%d %d, %ld %ld)",
			      kinds[kind].name, i, what, a.stat, truth.stat, a.st.st_size,
			      truth.st.st_size);
			return;
		}
	}
	close(object);
	close(base);
	/* Where a directory may not be searched or does not exist, its listing is asked for. */
	check(cold_only || warm == 0 || unwarm * 8 >= warm,
	      "%-42s %6u histories; requests per look before the change %.2f, after %.2f",
	      kinds[kind].name, n, (double)warm / n, (double)cold / n);
}

/* ---- how long ---- */

/* Of this thread, so that others on the machine count little. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t time_client(struct gofer_namespace *ns, const char *path, unsigned n)
{
	uint64_t begin = cpu_ns();
	struct stat st;

	for (unsigned i = 0; i < n; i++)
		if (gofer_stat(ns, path, 0, &st) < 0)
			die("stat %s: %s", path, gofer_message());
	return (cpu_ns() - begin) * 1000 / n;
}

static uint64_t time_host(const char *path, unsigned n)
{
	char full[PATH_MAX];
	uint64_t begin;
	struct stat st;

	snprintf(full, sizeof(full), "%s", path);
	must(chdir(host), host);
	begin = cpu_ns();
	for (unsigned i = 0; i < n; i++)
		must(stat(full + 1, &st), full);
	return (cpu_ns() - begin) * 1000 / n;
}

static void time_stat(struct client *watched)
{
	static const char *const paths[] = { "/d1", "/d1/d2/deep/4/5/6/7/8" };
	const struct gofer_mount_options o = { .interop = GOFER_INTEROP_EXCLUSIVE };
	struct gofer_session *session = session_connect();
	struct gofer_namespace *ns = namespace_of(session, "t", &o);
	char path[PATH_MAX];

	for (const char *p = "4/5/6/7/8"; *p; p += 1 + (p[1] == '/')) {
		snprintf(path, sizeof(path), "%s/d1/d2/deep/%.*s", host, (int)(p + 1 - "4/5/6/7/8"),
			 "4/5/6/7/8");
		(void)mkdir(path, 0755);
	}
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		uint64_t best[3] = { UINT64_MAX, UINT64_MAX, UINT64_MAX };

		for (int round = 0; round < 7; round++) {
			best[0] = MIN(best[0], time_client(watched->ns, paths[i], 20000));
			best[1] = MIN(best[1], time_client(ns, paths[i], 20000));
			best[2] = MIN(best[2], time_host(paths[i], 20000));
		}
		printf("warm stat of %s: watched %.3f us, exclusive %.3f us, the host's own %.3f "
		       "us: ratios %.2f and %.2f\n",
		       paths[i], (double)best[0] / 1e6, (double)best[1] / 1e6,
		       (double)best[2] / 1e6, (double)best[0] / (double)best[2],
		       (double)best[1] / (double)best[2]);
	}
	gofer_namespace_free(ns);
	gofer_session_close(session);
}

/* ---- the queue after the session ---- */

static void check_end(struct third *t)
{
	const struct command c = { 0, 0 };
	struct client client = client_new(false);
	Gofer__WatchRequest q = GOFER__WATCH_REQUEST__INIT;
	Gofer__Path p = GOFER__PATH__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Watch, .message = &q.base, .fd = -1 };
	struct gofer_reply reply;
	struct pollfd queue = { .events = POLLIN };
	char events[4096];
	ssize_t n;

	p.fs_id = filesystem_id(client.session, "t");
	p.path = (ProtobufCBinaryData){ strlen(OBJECT), (uint8_t *)OBJECT };
	q.path = &p;
	q.donate = true;
	if (gofer_call(client.session, &request, &reply) < 0 || reply.fd < 0)
		die("Watch: %s", gofer_message());
	queue.fd = TAKE_FD(reply.fd);
	check(((const Gofer__WatchReply *)reply.message)->n_watches == 5,
	      "a watch on the root and on each of four components");
	gofer_reply_free(&reply);
	if (write(t->to, &c, sizeof(c)) != (ssize_t)sizeof(c))
		die("the third process is gone");
	wait_done(t);
	check(poll(&queue, 1, 0) == 1, "the queue had the event when the change returned");
	client_free(&client);
	/* The server removes its watches, which are events too; the last of them ends the wait. */
	for (unsigned ended = 0; ended < 5;) {
		if (poll(&queue, 1, 10000) != 1)
			die("the server has left watches behind");
		n = read(queue.fd, events, sizeof(events));
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(events + at);

			ended += (e->mask & IN_IGNORED) != 0;
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	if (write(t->to, &c, sizeof(c)) != (ssize_t)sizeof(c))
		die("the third process is gone");
	wait_done(t);
	check(poll(&queue, 1, 0) == 0, "after the session the queue hears of nothing any more");
	close(queue.fd);
}

int main(int argc, char **argv)
{
	uint64_t n = option_number(argc, argv, "-n", 200);
	uint64_t only = option_number(argc, argv, "-kind", 0);
	struct client watched, plain;
	struct gofer_cache_stats st;
	struct third t;

	if (argc < 2)
		die("usage: cache_histories HOSTDIR [-n HISTORIES]");
	host = argv[1];
	cold_only = option_set(argc, argv, "-cold");
	t = third_start();
	watched = client_new(true);
	plain = client_new(false);
	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		if (only && only != k + 1)
			continue;
		if (kinds[k].covers && geteuid() != 0) {
			printf("     %s: for root only\n", kinds[k].name);
			continue;
		}
		run_kind(&t, k, &watched, &plain, (unsigned)MAX(n / kinds[k].divide, 2u) & ~1u);
	}
	if (gofer_session_get_cache_stats(watched.session, &st) < 0)
		die("%s", gofer_message());
	check(cold_only ? st.watches <= 3 : st.hits > st.misses,
	      "%lu hits, %lu misses, %lu watches at the end", st.hits, st.misses, st.watches);
	if (!cold_only) {
		time_stat(&watched);
		check_end(&t);
	}
	client_free(&watched);
	client_free(&plain);
	third_stop(&t);
	return proof_end();
}
