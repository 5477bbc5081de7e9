/*
 * test_fault_client.c - for every call of the library: the n-th allocation fails, the n-th system call
 * fails, for n = 1, 2, ... until the call is done without meeting a failure.
 *
 * The calls are made by a thread of their own (the subject of fault.h) against a real session in another
 * thread. Each time the call either does what it should or returns an errno that says what failed;
 * it leaves no descriptor open here and no handle on the server, and the next call works: on the
 * same session, or, when the session's socket itself failed, on a new one. The leak checker looks
 * at the memory.
 */
#include "tests/unit/session_fixture.h"
#include "tests/unit/fault.h"

#include <fcntl.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "client/gofer.h"

enum { MOST_STEPS = 300 };

/* ---- the calls ---- */

struct caller {
	struct session_fixture *f;
	ino_t sock; /* which socket the session was given */
	struct gofer_session *session;
	struct gofer_namespace *ns;
	struct gofer_file *file;    /* with a handle only */
	struct gofer_file *donated; /* with a descriptor */
};

#define CALL(name) static int call_##name(struct caller *c _unused_)

CALL(stat)
{
	struct stat st;

	return gofer_stat(c->ns, "/dir/file", 0, &st);
}
CALL(stat_link)
{
	struct stat st;

	return gofer_stat(c->ns, "/absolute/file", 0, &st);
}
CALL(access)
{
	return gofer_access(c->ns, "dir/file", R_OK, 0);
}
CALL(readlink)
{
	char buf[100];

	return (int)MIN(gofer_readlink(c->ns, "/link", buf, sizeof(buf)), 0);
}
CALL(statfs)
{
	struct statfs st;

	return gofer_statfs(c->ns, "/", &st);
}
CALL(open)
{
	struct gofer_file *file;
	int r = gofer_open(c->ns, "/dir/file", O_RDWR, 0, &file);

	return r < 0 ? r : gofer_close(file);
}
CALL(open_create)
{
	struct gofer_file *file;
	int r = gofer_open(c->ns, "/dir/new", O_RDWR | O_CREAT, 0600, &file);

	return r < 0 ? r : gofer_close(file);
}
CALL(open_directory)
{
	struct gofer_file *file;
	int r = gofer_open(c->ns, "/dir", O_RDONLY | O_DIRECTORY, 0, &file);

	return r < 0 ? r : gofer_close(file);
}
CALL(open_descriptor)
{
	struct gofer_opened o;
	int r = gofer_open_descriptor(c->ns, "/dir/file", O_RDONLY, 0, &o);

	if (r < 0)
		return r;
	fd_close(o.fd);
	gofer_place_unref(o.place);
	return 0;
}
CALL(open_place)
{
	struct gofer_opened o;
	int r = gofer_open_descriptor(c->ns, "/dir", O_RDONLY | O_DIRECTORY, 0, &o);

	if (r < 0)
		return r;
	fd_close(o.fd);
	gofer_place_unref(o.place);
	return 0;
}
CALL(pread)
{
	char buf[20];

	return (int)MIN(gofer_pread(c->file, buf, sizeof(buf), 0), 0);
}
CALL(pread_donated)
{
	char buf[20];

	return (int)MIN(gofer_pread(c->donated, buf, sizeof(buf), 0), 0);
}
CALL(pwrite)
{
	return (int)MIN(gofer_pwrite(c->file, "text", 4, 0), 0);
}
CALL(write)
{
	return (int)MIN(gofer_write(c->donated, "text", 4), 0);
}
CALL(fstat)
{
	struct stat st;

	return gofer_fstat(c->file, &st);
}
CALL(ftruncate)
{
	return gofer_ftruncate(c->file, 10);
}
CALL(fsync)
{
	return gofer_fsync(c->file, true);
}
static int map_and_unmap(struct caller *c, struct gofer_file *file)
{
	void *p;
	int r = gofer_mmap(file, NULL, 8192, PROT_READ, MAP_SHARED | MAP_POPULATE, 0, &p);

	if (r < 0)
		return r;
	r = gofer_munmap(c->ns, p, 8192);
	/* What could not be unmapped still is mapped. */
	if (r < 0)
		(void)gofer_munmap(c->ns, p, 8192);
	return r;
}

CALL(mmap)
{
	return map_and_unmap(c, c->file);
}
CALL(mmap_donated)
{
	return map_and_unmap(c, c->donated);
}
CALL(fallocate)
{
	return gofer_fallocate(c->file, 0, 0, 100);
}
CALL(copy)
{
	return (int)MIN(gofer_copy_file_range(c->file, 0, c->donated, 20, 4), 0);
}
CALL(read_file)
{
	void *data;
	size_t size;
	int r = gofer_read_file(c->ns, "/dir/file", &data, &size, NULL);

	if (r == 0)
		free(data);
	return r;
}
CALL(read_large_file)
{
	void *data;
	size_t size;
	int r = gofer_read_file(c->ns, "/large", &data, &size, NULL);

	if (r == 0)
		free(data);
	return r;
}
CALL(write_file)
{
	return gofer_write_file(c->ns, "/dir/new", "text", 4, 0600, GOFER_WRITE_ATOMIC);
}
CALL(mkdir)
{
	return gofer_mkdir(c->ns, "/dir/new", 0755);
}
CALL(mknod)
{
	return gofer_mknod(c->ns, "/dir/new", S_IFREG | 0600, 0);
}
CALL(symlink)
{
	return gofer_symlink(c->ns, "target", "/dir/new");
}
CALL(link)
{
	return gofer_link(c->ns, "/file", "/dir/new", 0);
}
CALL(unlink)
{
	return gofer_unlink(c->ns, "/removed");
}
CALL(rename)
{
	return gofer_rename(c->ns, "/removed", "/dir/new", 0);
}
CALL(chmod)
{
	return gofer_chmod(c->ns, "/file", 0600);
}
CALL(utimens)
{
	return gofer_utimens(c->ns, "/file", NULL, 0);
}
CALL(truncate)
{
	return gofer_truncate(c->ns, "/file", 10);
}
CALL(setxattr)
{
	return gofer_setxattr(c->ns, "/file", "user.a", "1", 1, 0, 0);
}
CALL(listxattr)
{
	char buf[100];

	return (int)MIN(gofer_listxattr(c->ns, "/file", buf, sizeof(buf), 0), 0);
}
CALL(list)
{
	struct gofer_dirent entry;
	struct gofer_dir *d;
	int r = gofer_opendir(c->ns, "/dir", 0, &d);

	if (r < 0)
		return r;
	do
		r = gofer_readdir(d, &entry);
	while (r > 0);
	gofer_closedir(d);
	return r;
}
CALL(list_ahead)
{
	struct gofer_dir *d, *other = NULL;
	struct gofer_dirent entry;
	int r = gofer_opendir_start(c->ns, "/dir", 0, &d);

	if (r < 0)
		return r;
	r = gofer_opendir_start(c->ns, "/absolute", 0, &other);
	while (r == 0 && (r = gofer_readdir(d, &entry)) > 0)
		r = 0;
	gofer_closedir(d);
	if (r == 0)
		r = MIN(gofer_readdir(other, &entry), 0);
	gofer_closedir(other);
	return r;
}
CALL(chdir)
{
	int r = gofer_chdir(c->ns, "/dir");

	return r < 0 ? r : gofer_chdir(c->ns, "/");
}
CALL(mount)
{
	int r = gofer_mount(c->ns, c->session, 1, "/dir/mounted", NULL);

	return r < 0 ? r : gofer_umount(c->ns, "/dir/mounted");
}
CALL(view)
{
	struct gofer_namespace *view;
	int r = gofer_namespace_view(c->ns, &view);

	if (r == 0)
		gofer_namespace_free(view);
	return r;
}
CALL(resolve)
{
	struct gofer_session *session;
	uint32_t fs_id;
	char *path;
	int r = gofer_resolve(c->ns, "/absolute/file", true, &session, &fs_id, &path);

	if (r == 0)
		free(path);
	return r;
}

static void noted(void *userdata, int result, struct gofer_reply *reply _unused_)
{
	*(int *)userdata = result;
}

CALL(submit)
{
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Stat, .message = &q.base, .fd = -1 };
	int result = 0, r;

	PATH(p, "file");
	q.path = &p;
	r = gofer_submit(c->session, &request, noted, &result, NULL);
	if (r == 0)
		r = gofer_session_drain(c->session);
	return r < 0 ? r : result;
}
CALL(session)
{
	return 0; /* the walk opens and closes it */
}

static const struct call_case {
	const char *name;
	int (*call)(struct caller *c);
} calls[] = {
#define ONE(name)                  \
	{                          \
#name, call_##name \
	}
	ONE(stat),         ONE(stat_link),      ONE(access),
	ONE(readlink),     ONE(statfs),         ONE(open),
	ONE(open_create),  ONE(open_directory), ONE(open_descriptor),
	ONE(open_place),   ONE(pread),          ONE(pread_donated),
	ONE(pwrite),       ONE(write),          ONE(fstat),
	ONE(ftruncate),    ONE(fsync),          ONE(fallocate),
	ONE(copy),         ONE(read_file),      ONE(read_large_file),
	ONE(write_file),   ONE(mkdir),          ONE(mknod),
	ONE(symlink),      ONE(link),           ONE(unlink),
	ONE(rename),       ONE(chmod),          ONE(utimens),
	ONE(truncate),     ONE(setxattr),       ONE(listxattr),
	ONE(list),         ONE(list_ahead),     ONE(chdir),
	ONE(mount),        ONE(view),           ONE(resolve),
	ONE(submit),       ONE(session),        ONE(mmap),
	ONE(mmap_donated),
};

/* ---- the tree ---- */

static const char *in_tree(const struct session_fixture *f, const char *name)
{
	static char text[4][128];
	static unsigned next;
	char *s = text[++next % 4];

	(void)snprintf(s, sizeof(text[0]), "%s/%s", f->dir, name);
	return s;
}

static void put(const struct session_fixture *f, const char *name, off_t size)
{
	int fd = open(in_tree(f, name), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0, "%s", name);
	cr_assert_eq(ftruncate(fd, size), 0);
	close(fd);
}

static void make_tree(const struct session_fixture *f)
{
	cr_assert_eq(mkdir(in_tree(f, "dir"), 0755), 0);
	put(f, "file", 10);
	put(f, "dir/file", 10);
	put(f, "removed", 10);
	put(f, "large", 300000);
	cr_assert_eq(symlink("dir/file", in_tree(f, "link")), 0);
	cr_assert_eq(symlink("/dir", in_tree(f, "absolute")), 0);
}

/* What the calls made or took away. */
static void restore_tree(const struct session_fixture *f)
{
	(void)remove(in_tree(f, "dir/new"));
	if (access(in_tree(f, "removed"), F_OK) < 0)
		put(f, "removed", 10);
}

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert_not_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- a session ---- */

static void caller_begin(struct caller *c)
{
	struct stat st;

	fixture_begin(c->f);
	cr_assert_eq(fstat(c->f->sock, &st), 0);
	c->sock = st.st_ino;
}

/* All that the calls need, as far as it goes. 0 or -errno. */
static int caller_open(struct caller *c)
{
	static const struct gofer_session_options options = { .timeout_ms = 2000 };
	char name[32];
	int r;

	(void)snprintf(name, sizeof(name), "fd:%d", c->f->sock);
	r = gofer_session_open(name, &options, &c->session);
	if (r < 0)
		return r;
	r = gofer_namespace_new(&c->ns);
	if (r == 0)
		r = gofer_mount(c->ns, c->session, 1, "/", NULL);
	if (r == 0)
		r = gofer_open(c->ns, "/file", O_RDWR, 0, &c->donated);
	if (r == 0) {
		static const struct gofer_mount_options plain = { .no_donate = true };

		r = gofer_mount(c->ns, c->session, 1, "/plain", &plain);
	}
	if (r == 0)
		r = gofer_open(c->ns, "/plain/file", O_RDWR, 0, &c->file);
	/* What the first mapping starts stays as long as the session. */
	return r == 0 ? map_and_unmap(c, c->file) : r;
}

static void caller_close(struct caller *c)
{
	struct stat st;

	if (c->file)
		(void)gofer_close(c->file);
	if (c->donated)
		(void)gofer_close(c->donated);
	if (c->ns)
		gofer_namespace_free(c->ns);
	gofer_session_close(c->session);
	/* A descriptor that the library has looked at and found wanting is still ours. */
	if (!c->session && fstat(c->f->sock, &st) == 0 && st.st_ino == c->sock)
		close(c->f->sock);
	*c = (struct caller){ .f = c->f };
	cr_assert_eq(pthread_join(c->f->server, NULL), 0);
	cr_assert_eq(c->f->result, 0);
}

/* Handles that the server holds for us: -errno when the session is no more. */
static int held_handles(struct caller *c)
{
	Gofer__StatsRequest q = GOFER__STATS_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Stats, .message = &q.base, .fd = -1 };
	struct gofer_reply reply;
	int r;

	/* The closes that wait go out with it, but are executed in front of it. */
	r = gofer_call(c->session, &request, &reply);
	if (r < 0)
		return r;
	r = (int)((Gofer__StatsReply *)reply.message)->handles;
	gofer_reply_free(&reply);
	return r;
}

/* ---- the walk ---- */

struct walk {
	struct session_fixture *f;
	enum fault_kind kind;
	int error;
	unsigned failed;  /* how many met a failure */
	char wrong[1024]; /* what was not right, for the thread that may say so */
};

static void blame(struct walk *w, const char *name, unsigned n, const char *what, int value)
{
	size_t at = strlen(w->wrong);

	(void)snprintf(w->wrong + at, sizeof(w->wrong) - at, "%s, %s %u (number %d): %s %d\n", name,
		       w->kind == FAULT_CALLS ? "system call" : "allocation", n, fault.failed_call,
		       what, value);
}

static bool is_sensible(const struct walk *w, int result)
{
	return result == -w->error || result == -ENOMEM || result == -ENOTCONN ||
	       result == -EPROTO || result == -ETIMEDOUT;
}

/* One call with a failure in it, and what follows. False when it met none. */
static bool fail_one(struct walk *w, struct caller *c, const struct call_case *k, unsigned n)
{
	unsigned fds = count_fds(), seen;
	int handles = held_handles(c), r, now;

	fault_arm(w->kind, n, w->error);
	r = k->call(c);
	seen = fault_disarm();
	if (r < 0 && !is_sensible(w, r))
		blame(w, k->name, n, "the result is", r);
	if (seen < n && r < 0)
		blame(w, k->name, n, "without a failure the result is", r);
	/* Where half of a call was done. */
	(void)gofer_chdir(c->ns, "/");
	(void)gofer_umount(c->ns, "/dir/mounted");
	now = held_handles(c);
	if (now < 0) {
		/* Only what the session itself needs may have cost it. */
		if (w->kind != FAULT_CALLS)
			blame(w, k->name, n, "the session is gone:", now);
		caller_close(c);
		caller_begin(c);
		r = caller_open(c);
		if (r < 0)
			blame(w, k->name, n, "no new session:", r);
	} else {
		if (now != handles)
			blame(w, k->name, n, "handles more than before:", now - handles);
		if (count_fds() != fds)
			blame(w, k->name, n,
			      "descriptors more than before:", (int)(count_fds() - fds));
	}
	restore_tree(c->f);
	return seen >= n;
}

/* Making and closing a session, with the n-th failing. */
static bool fail_session(struct walk *w, unsigned n)
{
	struct caller c = { .f = w->f };
	unsigned fds = count_fds(), seen;
	int r;

	caller_begin(&c);
	fault_arm(w->kind, n, w->error);
	r = caller_open(&c);
	seen = fault_disarm();
	if (r < 0 && !is_sensible(w, r))
		blame(w, "a session", n, "the result is", r);
	caller_close(&c);
	if (count_fds() != fds)
		blame(w, "a session", n, "descriptors more than before:", (int)(count_fds() - fds));
	return seen >= n;
}

static void *walk_all(void *userdata)
{
	struct walk *w = userdata;
	struct caller c = { .f = w->f };
	unsigned n;

	fault_subject_enter();
	for (n = 1; n < MOST_STEPS && fail_session(w, n); n++)
		w->failed++;
	caller_begin(&c);
	if (caller_open(&c) < 0) {
		blame(w, "open", 0, "no session", 0);
		return NULL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		for (n = 1; n < MOST_STEPS && fail_one(w, &c, &calls[i], n); n++)
			w->failed++;
	caller_close(&c);
	return NULL;
}

static void walk(enum fault_kind kind, int error, unsigned at_least)
{
	struct server_limits limits = SERVER_LIMITS_DEFAULT;
	struct walk w = { .kind = kind, .error = error };
	pthread_t subject;
	int r;

	limits.max_threads = 1;
	w.f = fixture_new(&limits, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	make_tree(w.f);
	cr_assert_eq(pthread_create(&subject, NULL, walk_all, &w), 0);
	r = fault_supervise_subject();
	pthread_join(subject, NULL);
	if (r == 0)
		fault_subject_gone();
	fixture_free(w.f);
	if (r < 0)
		cr_skip_test("no seccomp filter with a listener: %s", strerror(-r));
	cr_assert_str_empty(w.wrong, "\n%s", w.wrong);
	cr_assert_geq(w.failed, at_least, "only %u failures", w.failed);
	cr_log_info("%zu calls: %u failures", ARRAY_SIZE(calls), w.failed);
}

Test(fault_client, an_allocation_that_fails_leaves_nothing_behind, .timeout = 60)
{
	walk(FAULT_ALLOCATIONS, ENOMEM, 100);
}

Test(fault_client, a_system_call_that_fails_leaves_nothing_behind, .timeout = 60)
{
	walk(FAULT_CALLS, EIO, 60);
}

Test(fault_client, a_system_call_that_is_interrupted_leaves_nothing_behind, .timeout = 60)
{
	walk(FAULT_CALLS, EINTR, 60);
}
