/*
 * cache_table.c - what the system calls cost where the client remembers: requests, cold and warm, in
 * the interop modes (shared also with watches), for names of depth 1 and 8.
 *
 * Cold is a session that has just begun; warm is the same call again. Requests are counted by the
 * library, whose count the cost table (cost_table.c) holds against the wire. Without
 * donated descriptors, so that nothing is answered by the host's kernel.
 *
 *     cache_table HOSTDIR      the directory served as filesystem "t"
 */
#include <sys/statfs.h>
#include <sys/xattr.h>

#include "tests/integration/raw.h"

enum { N_DEPTHS = 2, N_MODES = 4, WATCHED = 1 };
static const char *const dirs[N_DEPTHS] = { "", "a/b/c/d/e/f/g/" };
static const enum gofer_interop modes[N_MODES] = { GOFER_INTEROP_SHARED, GOFER_INTEROP_SHARED,
						   GOFER_INTEROP_WRITETHROUGH,
						   GOFER_INTEROP_EXCLUSIVE };

struct bench {
	struct gofer_session *session;
	struct gofer_namespace *ns;
	struct gofer_file *file;
	const char *host, *dir;
};

/* A path in the namespace; a few at a time. */
static const char *at(struct bench *b, const char *name)
{
	static char text[4][PATH_MAX];
	static unsigned next;
	char *out = text[next++ % ARRAY_SIZE(text)];

	snprintf(out, PATH_MAX, "/%s%s", b->dir, name);
	return out;
}

static int do_stat(struct bench *b)
{
	struct stat st;

	return gofer_stat(b->ns, at(b, "f"), 0, &st);
}

static int do_lstat(struct bench *b)
{
	struct stat st;

	return gofer_stat(b->ns, at(b, "l"), AT_SYMLINK_NOFOLLOW, &st);
}

static int do_stat_link(struct bench *b)
{
	struct stat st;

	return gofer_stat(b->ns, at(b, "l"), 0, &st);
}

static int do_statx(struct bench *b)
{
	struct statx st;

	return gofer_statx(b->ns, at(b, "f"), 0, &st);
}

static int do_statx_fresh(struct bench *b)
{
	struct statx st;

	return gofer_statx(b->ns, at(b, "f"), AT_STATX_FORCE_SYNC, &st);
}

static int do_missing(struct bench *b)
{
	struct stat st;

	return gofer_stat(b->ns, at(b, "missing"), 0, &st) == -ENOENT ? 0 : -EIO;
}

static int do_open_missing(struct bench *b)
{
	return gofer_open(b->ns, at(b, "missing/x"), O_RDONLY, 0, &b->file) == -ENOENT ? 0 : -EIO;
}

static int do_access(struct bench *b)
{
	return gofer_access(b->ns, at(b, "f"), R_OK | W_OK, 0);
}

static int do_access_denied(struct bench *b)
{
	struct stat st;
	int r = gofer_stat(b->ns, at(b, "f"), 0, &st);

	if (r == 0)
		r = gofer_access(b->ns, at(b, "f"), X_OK, 0) == -EACCES ? 0 : -EIO;
	return r;
}

static int do_readlink(struct bench *b)
{
	char buf[64];

	return gofer_readlink(b->ns, at(b, "l"), buf, sizeof(buf)) == 1 ? 0 : -EIO;
}

static int do_list(struct bench *b)
{
	struct gofer_dir *d;
	struct gofer_dirent e;
	int r = gofer_opendir(b->ns, at(b, "d"), 0, &d), n = 0;

	if (r < 0)
		return r;
	while ((r = gofer_readdir(d, &e)) > 0)
		n += e.has_stat;
	gofer_closedir(d);
	return r < 0 ? r : n == 50 ? 0 : -EIO;
}

/* Of a name that the listing said, and of one that it did not. */
static int do_stat_listed(struct bench *b)
{
	struct stat st;
	int r = do_list(b);

	if (r == 0)
		r = gofer_stat(b->ns, at(b, "d/7"), 0, &st);
	if (r == 0)
		r = gofer_stat(b->ns, at(b, "d/none"), 0, &st) == -ENOENT ? 0 : -EIO;
	return r;
}

static int do_read_file(struct bench *b)
{
	_cleanup_free_ void *data = NULL;
	size_t size = 0;
	int r = gofer_read_file(b->ns, at(b, "f"), &data, &size, NULL);

	return r < 0 ? r : size == 5 && memcmp(data, "hello", 5) == 0 ? 0 : -EIO;
}

static int do_open(struct bench *b)
{
	return gofer_open(b->ns, at(b, "f"), O_RDONLY, 0, &b->file);
}

static int do_open_fstat(struct bench *b)
{
	struct stat st;
	int r = gofer_open(b->ns, at(b, "f"), O_RDONLY, 0, &b->file);

	return r < 0 ? r : gofer_fstat(b->file, &st);
}

static int do_open_read(struct bench *b)
{
	char buf[8];
	int r = gofer_open(b->ns, at(b, "f"), O_RDONLY, 0, &b->file);

	return r < 0 ? r : gofer_pread(b->file, buf, sizeof(buf), 0) == 5 ? 0 : -EIO;
}

/* Closed here: in mode exclusive that is when it is sent. */
static int do_writes(struct bench *b)
{
	int r = gofer_open(b->ns, at(b, "f"), O_RDWR, 0, &b->file);

	for (uint64_t i = 0; r == 0 && i < 10; i++)
		r = gofer_pwrite(b->file, "hello", 5, 0) == 5 ? 0 : -EIO;
	return r < 0 ? r : gofer_close(TAKE_PTR(b->file));
}

static int do_statfs(struct bench *b)
{
	struct statfs st;

	return gofer_statfs(b->ns, at(b, "f"), &st);
}

static int do_getxattr(struct bench *b)
{
	char value[8];

	return gofer_getxattr(b->ns, at(b, "f"), "user.x", value, sizeof(value), 0) == 1 ? 0 : -EIO;
}

static int do_chmod(struct bench *b)
{
	return gofer_chmod(b->ns, at(b, "f"), 0644);
}

static int do_utimens(struct bench *b)
{
	return gofer_utimens(b->ns, at(b, "f"), NULL, 0);
}

static int do_write_file(struct bench *b)
{
	return gofer_write_file(b->ns, at(b, "f"), "hello", 5, 0644, 0);
}

static int do_mkdir_exists(struct bench *b)
{
	return gofer_mkdir(b->ns, at(b, "d"), 0755) == -EEXIST ? 0 : -EIO;
}

/* After a change of its own the client knows how things are. */
static int do_change_and_look(struct bench *b)
{
	struct stat st;
	int r = gofer_mkdir(b->ns, at(b, "new"), 0755);

	if (r == 0)
		r = gofer_stat(b->ns, at(b, "new"), 0, &st);
	if (r == 0)
		r = gofer_rename(b->ns, at(b, "new"), at(b, "newer"), 0);
	if (r == 0)
		r = gofer_stat(b->ns, at(b, "newer"), 0, &st);
	if (r == 0)
		r = gofer_stat(b->ns, at(b, "new"), 0, &st) == -ENOENT ? 0 : -EIO;
	if (r == 0)
		r = gofer_rmdir(b->ns, at(b, "newer"));
	if (r == 0)
		r = gofer_stat(b->ns, at(b, "newer"), 0, &st) == -ENOENT ? 0 : -EIO;
	return r;
}

struct row {
	const char *name;
	int (*call)(struct bench *b);
	unsigned shared;     /* requests, cold and warm */
	unsigned watched[2]; /* ... with watches */
	unsigned cold, warm; /* where nobody else changes the tree */
	unsigned exclusive;  /* ... nor looks, if that is less */
};

static const struct row rows[] = {
	{ "stat", do_stat, 1, { 1, 0 }, 1, 0 },
	{ "lstat", do_lstat, 1, { 1, 0 }, 1, 0 },
	/* A client that remembers asks for each link by itself, once. */
	{ "stat through a link", do_stat_link, 1, { 2, 0 }, 2, 0 },
	{ "statx", do_statx, 1, { 1, 0 }, 1, 0 },
	{ "statx, AT_STATX_FORCE_SYNC", do_statx_fresh, 1, { 1, 1 }, 1, 1 },
	{ "stat of what is missing", do_missing, 1, { 1, 0 }, 1, 0 },
	{ "open of what is missing", do_open_missing, 1, { 2, 0 }, 1, 0 },
	{ "access", do_access, 1, { 1, 0 }, 1, 0 },
	{ "stat, access refused", do_access_denied, 2, { 1, 0 }, 2, 0 },
	{ "readlink", do_readlink, 1, { 1, 0 }, 1, 0 },
	{ "directory of 50 with attributes", do_list, 1, { 2, 0 }, 1, 0 },
	{ "... and stat of two names in it", do_stat_listed, 3, { 2, 0 }, 1, 0 },
	{ "open+read+close, whole file", do_read_file, 1, { 1, 1 }, 1, 0 },
	{ "open", do_open, 1, { 1, 1 }, 1, 0 },
	{ "open, fstat", do_open_fstat, 2, { 2, 2 }, 1, 0 },
	{ "open, read", do_open_read, 2, { 2, 2 }, 2, 0 },
	{ "open, 10 writes, close", do_writes, 11, { 11, 11 }, 11, 11, 2 },
	{ "statfs", do_statfs, 1, { 1, 1 }, 1, 1 },
	{ "getxattr", do_getxattr, 1, { 1, 1 }, 1, 1 },
	{ "chmod", do_chmod, 1, { 1, 1 }, 1, 1 },
	{ "utimens", do_utimens, 1, { 1, 1 }, 1, 1 },
	{ "create+write+close, whole file", do_write_file, 1, { 1, 1 }, 1, 1 },
	{ "mkdir of what exists", do_mkdir_exists, 1, { 1, 1 }, 1, 1 },
	{ "mkdir, rename, rmdir; 4 stats", do_change_and_look, 7, { 7, 7 }, 3, 3 },
};

static uint64_t requests(struct bench *b)
{
	struct gofer_stats st;

	gofer_session_get_stats(b->session, &st);
	return st.total - st.requests[RPC_TYPE_Close];
}

static uint64_t count(struct bench *b, const struct row *row, int *ret_result)
{
	uint64_t before = requests(b);
	int r = row->call(b);

	gofer_close(TAKE_PTR(b->file));
	*ret_result = *ret_result < 0 ? *ret_result : r;
	return requests(b) - before;
}

static void measure(const char *host, const struct row *row, int mode, const char *dir,
		    uint64_t ret[2])
{
	const struct gofer_mount_options o = { .interop = modes[mode],
					       .watch = mode == WATCHED,
					       .no_donate = true };
	struct bench b = { .host = host, .dir = dir };
	int result = 0;

	b.session = session_connect();
	b.ns = namespace_of(b.session, "t", &o);
	ret[0] = count(&b, row, &result);
	ret[1] = count(&b, row, &result);
	if (result < 0)
		die("%s, depth of '%s': %s (%s)", row->name, dir, strerror(-result),
		    gofer_message());
	gofer_namespace_free(b.ns);
	gofer_session_close(b.session);
}

static void prepare(const char *host, const char *dir)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", host, dir);
	for (char *p = path + strlen(host) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		(void)mkdir(path, 0755);
		*p = '/';
	}
	snprintf(path, sizeof(path), "%s/%sf", host, dir);
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	if (fd < 0 || write(fd, "hello", 5) != 5 || setxattr(path, "user.x", "1", 1, 0) < 0)
		die("%s: %s", path, strerror(errno));
	close(fd);
	snprintf(path, sizeof(path), "%s/%sl", host, dir);
	if (symlink("f", path) < 0)
		die("%s: %s", path, strerror(errno));
	snprintf(path, sizeof(path), "%s/%sd", host, dir);
	if (mkdir(path, 0755) < 0)
		die("%s: %s", path, strerror(errno));
	for (int i = 0; i < 50; i++) {
		snprintf(path, sizeof(path), "%s/%sd/%d", host, dir, i);
		fd = open(path, O_CREAT | O_WRONLY, 0644);
		if (fd < 0)
			die("%s: %s", path, strerror(errno));
		close(fd);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2)
		die("usage: cache_table HOSTDIR");
	for (int d = 0; d < N_DEPTHS; d++)
		prepare(argv[1], dirs[d]);
	printf("%-34s %-13s %-13s %-13s %s\n", "", "shared", "... watched", "writethrough",
	       "exclusive");
	printf("%-34s", "requests, cold/warm at depth");
	for (int m = 0; m < N_MODES; m++)
		printf(" 1     8    %s", m + 1 < N_MODES ? "  " : "\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		bool holds = true;

		printf("%-34s", row->name);
		for (int m = 0; m < N_MODES; m++)
			for (int d = 0; d < N_DEPTHS; d++) {
				const unsigned promised[N_MODES][2] = {
					{ row->shared, row->shared },
					{ row->watched[0], row->watched[1] },
					{ row->cold, row->warm },
					{ row->exclusive ? row->exclusive : row->cold,
					  row->exclusive ? row->exclusive : row->warm }
				};
				uint64_t n[2];

				measure(argv[1], row, m, dirs[d], n);
				printf(" %lu/%lu   ", n[0], n[1]);
				holds &= n[0] == promised[m][0] && n[1] == promised[m][1];
			}
		printf("%s\n", holds ? "" : "   FAIL");
		proof_failures += !holds;
	}
	return proof_end();
}
