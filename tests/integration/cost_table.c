/*
 * cost_table.c - what the system calls cost, counted on the wire: every row of the table, for a
 * name of depth 1 and of depth 8, with donated descriptors and without.
 *
 * The library's own statistics could be wrong together with the library, so the frames are counted
 * by a relay that stands between it and the server: one thread that passes packets (and
 * descriptors) on and looks into them. A *round trip* is a request that waits for a reply. A Close
 * that rides in the packet of the next request is a frame, but neither a packet nor a wait of its
 * own. The library's statistics must agree with the relay.
 *
 *     cost_table HOSTDIR      the directory served as filesystem "t"
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/xattr.h>

#include "tests/integration/raw.h"

enum { SHALLOW, DEEP, N_DEPTHS };
static const char *const depth_dir[N_DEPTHS] = { "", "a/b/c/d/e/f/g/" };
static const int depth_number[N_DEPTHS] = { 1, 8 };

/* ---- the relay ---- */

struct relay {
	int client, server;
	_Atomic uint64_t waits;   /* requests that want a reply */
	_Atomic uint64_t silent;  /* requests that want none */
	_Atomic uint64_t packets; /* from the client */
	_Atomic uint64_t wrong;   /* packets that are not whole frames */
	size_t bodies[256];       /* of the ReadDir replies since the last reset */
	_Atomic size_t n_bodies;
};

static void relay_count(struct relay *r, bool from_client, const uint8_t *packet, size_t n)
{
	r->packets += from_client;
	while (n > 0) {
		struct frame f;
		ssize_t used = frame_parse(packet, n, &f);

		if (used <= 0) {
			r->wrong++;
			return;
		}
		if (!from_client) {
			if (f.header.type == RPC_TYPE_ReadDir &&
			    r->n_bodies < ARRAY_SIZE(r->bodies)) {
				r->bodies[r->n_bodies] = f.header.body_len;
				r->n_bodies++;
			}
		} else if (f.header.flags & FRAME_NO_REPLY) {
			r->silent++;
		} else {
			r->waits++;
		}
		packet += used;
		n -= (size_t)used;
	}
}

static void *relay_thread(void *arg)
{
	static uint8_t buf[FRAME_MAX_PACKET + 1];
	struct relay *r = arg;

	for (;;) {
		struct pollfd p[2] = { { r->client, POLLIN, 0 }, { r->server, POLLIN, 0 } };

		if (poll(p, 2, -1) < 0)
			return NULL;
		for (int i = 0; i < 2; i++) {
			int fd;
			unsigned n_fds;
			ssize_t n;

			if (!p[i].revents)
				continue;
			n = raw_recv(p[i].fd, buf, sizeof(buf), 0, &fd, &n_fds);
			if (n <= 0) {
				shutdown(p[!i].fd, SHUT_RDWR);
				return NULL;
			}
			relay_count(r, i == 0, buf, (size_t)n);
			(void)raw_send(p[!i].fd, buf, (size_t)n, &fd, n_fds ? 1 : 0, 0);
			fd_close(fd);
		}
	}
}

/* ---- one connection to measure with ---- */

struct bench {
	struct relay relay;
	pthread_t thread;
	struct gofer_session *session;
	struct gofer_namespace *ns;
	const char *host;
	const char *dir; /* of this measurement: "" or "a/b/..." */
	struct gofer_file *file;
	bool donate;
	int result;
};

static void bench_init(struct bench *b, const char *host, bool donate)
{
	const struct gofer_mount_options options = { .no_donate = !donate };
	char name[32];
	int pair[2];

	*b = (struct bench){ .host = host, .donate = donate };
	b->relay.server = raw_connect();
	if (b->relay.server < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("cannot connect the relay");
	b->relay.client = pair[1];
	if (pthread_create(&b->thread, NULL, relay_thread, &b->relay) != 0)
		die("pthread_create");
	snprintf(name, sizeof(name), "fd:%d", pair[0]);
	if (gofer_session_open(name, NULL, &b->session) < 0)
		die("session: %s", gofer_message());
	b->ns = namespace_of(b->session, "t", &options);
}

static void bench_deinit(struct bench *b)
{
	gofer_namespace_free(b->ns);
	gofer_session_close(b->session);
	pthread_join(b->thread, NULL);
	fd_close(b->relay.client);
	fd_close(b->relay.server);
}

/* Paths, in the namespace and on the host. A few at a time. */
static char *path_join(const char *a, const char *b, const char *c)
{
	static char text[8][PATH_MAX];
	static unsigned next;
	char *out = text[next++ % 8];

	snprintf(out, PATH_MAX, "%s/%s%s", a, b, c);
	return out;
}
#define GUEST(b, name) path_join("", (b)->dir, name)
#define HOST(b, name) path_join((b)->host, (b)->dir, name)

static void host_write(struct bench *b, const char *name, size_t size)
{
	int fd = open(HOST(b, name), O_CREAT | O_TRUNC | O_WRONLY, 0644);
	_cleanup_free_ char *bytes = calloc(1, size + 1);

	if (fd < 0 || !bytes || write(fd, bytes, size) != (ssize_t)size)
		die("%s: %s", HOST(b, name), strerror(errno));
	close(fd);
}

/* ---- rows: prepare (not counted), then the call ---- */

static void with_file(struct bench *b)
{
	host_write(b, "f", 100);
}

static void without(struct bench *b)
{
	(void)unlink(HOST(b, "new"));
	(void)rmdir(HOST(b, "new"));
	host_write(b, "f", 100);
}

static void with_link(struct bench *b)
{
	(void)unlink(HOST(b, "l"));
	if (symlink("f", HOST(b, "l")) < 0)
		die("symlink");
}

static void with_dir(struct bench *b)
{
	(void)unlink(HOST(b, "new"));
	(void)mkdir(HOST(b, "new"), 0755);
}

static void open_as(struct bench *b, int flags)
{
	host_write(b, "f", 100);
	if (gofer_open(b->ns, GUEST(b, "f"), flags, 0, &b->file) < 0)
		die("open: %s", gofer_message());
}

static void opened(struct bench *b)
{
	open_as(b, O_RDWR);
}

static void opened_append(struct bench *b)
{
	open_as(b, O_WRONLY | O_APPEND);
}

static void with_xattr(struct bench *b)
{
	host_write(b, "f", 100);
	(void)setxattr(HOST(b, "f"), "user.x", "1", 1, 0);
}

static int do_stat(struct bench *b)
{
	struct stat st;

	return gofer_stat(b->ns, GUEST(b, "f"), 0, &st);
}

static int do_lstat(struct bench *b)
{
	struct stat st;

	return gofer_stat(b->ns, GUEST(b, "l"), AT_SYMLINK_NOFOLLOW, &st);
}

static int do_stat_missing(struct bench *b)
{
	struct stat st;

	return gofer_stat(b->ns, GUEST(b, "missing"), 0, &st) == -ENOENT ? 0 : -EIO;
}

static int do_statx(struct bench *b)
{
	struct statx st;

	return gofer_statx(b->ns, GUEST(b, "f"), 0, &st);
}

static int do_access(struct bench *b)
{
	return gofer_access(b->ns, GUEST(b, "f"), R_OK | W_OK, 0);
}

static int do_readlink(struct bench *b)
{
	char buf[64];

	return gofer_readlink(b->ns, GUEST(b, "l"), buf, sizeof(buf)) == 1 ? 0 : -EIO;
}

static int do_statfs(struct bench *b)
{
	struct statfs st;

	return gofer_statfs(b->ns, GUEST(b, "f"), &st);
}

static int do_fstat(struct bench *b)
{
	struct stat st;

	return gofer_fstat(b->file, &st);
}

static int do_open(struct bench *b)
{
	return gofer_open(b->ns, GUEST(b, "f"), O_RDONLY, 0, &b->file);
}

static int do_open_rdwr(struct bench *b)
{
	return gofer_open(b->ns, GUEST(b, "f"), O_RDWR, 0, &b->file);
}

static int do_open_dir(struct bench *b)
{
	return gofer_open(b->ns, GUEST(b, ""), O_RDONLY | O_DIRECTORY, 0, &b->file);
}

static int do_create_new(struct bench *b)
{
	return gofer_open(b->ns, GUEST(b, "new"), O_CREAT | O_RDWR, 0644, &b->file);
}

static int do_create_existing(struct bench *b)
{
	return gofer_open(b->ns, GUEST(b, "f"), O_CREAT | O_RDWR, 0644, &b->file);
}

static int do_create_excl(struct bench *b)
{
	return gofer_open(b->ns, GUEST(b, "new"), O_CREAT | O_EXCL | O_RDWR, 0644, &b->file);
}

static int do_create_excl_existing(struct bench *b)
{
	int r = gofer_open(b->ns, GUEST(b, "f"), O_CREAT | O_EXCL | O_RDWR, 0644, &b->file);

	return r == -EEXIST ? 0 : -EIO;
}

static int do_open_trunc(struct bench *b)
{
	return gofer_open(b->ns, GUEST(b, "f"), O_TRUNC | O_WRONLY, 0, &b->file);
}

static int do_create_trunc(struct bench *b)
{
	return gofer_open(b->ns, GUEST(b, "f"), O_CREAT | O_TRUNC | O_WRONLY, 0644, &b->file);
}

static int do_tmpfile(struct bench *b)
{
	return gofer_open(b->ns, GUEST(b, ""), O_TMPFILE | O_RDWR, 0600, &b->file);
}

static int do_read_file(struct bench *b)
{
	_cleanup_free_ void *data = NULL;
	size_t size = 0;
	struct stat st;
	int r = gofer_read_file(b->ns, GUEST(b, "f"), &data, &size, &st);

	return r < 0 ? r : size == 100 && st.st_size == 100 ? 0 : -EIO;
}

static int write_file(struct bench *b, int flags)
{
	return gofer_write_file(b->ns, GUEST(b, "new"), "hello", 5, 0644, flags);
}

static int do_write_file(struct bench *b)
{
	return write_file(b, 0);
}

static int do_write_atomic(struct bench *b)
{
	return write_file(b, GOFER_WRITE_ATOMIC);
}

static int do_read_to_end(struct bench *b)
{
	char buf[4096];

	return gofer_read(b->file, buf, sizeof(buf)) == 100 ? 0 : -EIO;
}

static int do_pread_at_end(struct bench *b)
{
	char buf[64];

	return gofer_pread(b->file, buf, sizeof(buf), 100) == 0 ? 0 : -EIO;
}

static int do_pread(struct bench *b)
{
	char buf[64];

	return gofer_pread(b->file, buf, sizeof(buf), 10) == 64 ? 0 : -EIO;
}

static int do_append(struct bench *b)
{
	return gofer_write(b->file, "tail", 4) == 4 ? 0 : -EIO;
}

static int list(struct bench *b, const char *name, unsigned expected)
{
	struct gofer_dirent e;
	struct gofer_dir *d;
	unsigned n = 0, with_stat = 0;
	int r = gofer_opendir(b->ns, GUEST(b, name), 0, &d);

	if (r < 0)
		return r;
	while ((r = gofer_readdir(d, &e)) > 0) {
		n++;
		with_stat += e.has_stat;
	}
	gofer_closedir(d);
	return r < 0 ? r : n == expected && with_stat == expected ? 0 : -EIO;
}

static int do_list_small(struct bench *b)
{
	return list(b, "dir50", 50);
}

static int do_list_empty(struct bench *b)
{
	return list(b, "dir0", 0);
}

static int do_mkdir(struct bench *b)
{
	return gofer_mkdir(b->ns, GUEST(b, "new"), 0755);
}

static int do_mknod(struct bench *b)
{
	return gofer_mknod(b->ns, GUEST(b, "new"), S_IFIFO | 0644, 0);
}

static int do_symlink(struct bench *b)
{
	return gofer_symlink(b->ns, "/else/where", GUEST(b, "new"));
}

static int do_link(struct bench *b)
{
	return gofer_link(b->ns, GUEST(b, "f"), GUEST(b, "new"), 0);
}

static int do_unlink(struct bench *b)
{
	return gofer_unlink(b->ns, GUEST(b, "f"));
}

static int do_rmdir(struct bench *b)
{
	return gofer_rmdir(b->ns, GUEST(b, "new"));
}

static int do_rename(struct bench *b)
{
	return gofer_rename(b->ns, GUEST(b, "f"), GUEST(b, "new"), 0);
}

static int do_chmod(struct bench *b)
{
	return gofer_chmod(b->ns, GUEST(b, "f"), 0600);
}

static int do_chown(struct bench *b)
{
	return gofer_chown(b->ns, GUEST(b, "f"), getuid(), getgid(), 0);
}

static int do_utimens(struct bench *b)
{
	return gofer_utimens(b->ns, GUEST(b, "f"), NULL, 0);
}

static int do_truncate(struct bench *b)
{
	return gofer_truncate(b->ns, GUEST(b, "f"), 10);
}

static int do_ftruncate(struct bench *b)
{
	return gofer_ftruncate(b->file, 10);
}

static int do_fchmod(struct bench *b)
{
	return gofer_fchmod(b->file, 0600);
}

static int do_getxattr(struct bench *b)
{
	char buf[16];

	return gofer_getxattr(b->ns, GUEST(b, "f"), "user.x", buf, sizeof(buf), 0) == 1 ? 0 : -EIO;
}

static int do_setxattr(struct bench *b)
{
	return gofer_setxattr(b->ns, GUEST(b, "f"), "user.x", "22", 2, 0, 0);
}

static int do_listxattr(struct bench *b)
{
	char buf[4096];

	return gofer_listxattr(b->ns, GUEST(b, "f"), buf, sizeof(buf), 0) > 0 ? 0 : -EIO;
}

static int do_removexattr(struct bench *b)
{
	return gofer_removexattr(b->ns, GUEST(b, "f"), "user.x", 0);
}

static int do_close(struct bench *b)
{
	return gofer_close(TAKE_PTR(b->file));
}

enum { ONE = 1, NATIVE = 2 }; /* NATIVE: one, or none on a donated descriptor */

static const struct row {
	const char *name;
	void (*prepare)(struct bench *b);
	int (*call)(struct bench *b);
	int promised; /* ONE, NATIVE or 0 */
} rows[] = {
	{ "stat", with_file, do_stat, ONE },
	{ "lstat of a link", with_link, do_lstat, ONE },
	{ "stat of a missing name", with_file, do_stat_missing, ONE },
	{ "statx", with_file, do_statx, ONE },
	{ "access", with_file, do_access, ONE },
	{ "readlink", with_link, do_readlink, ONE },
	{ "statfs", with_file, do_statfs, ONE },
	{ "fstat", opened, do_fstat, NATIVE },
	{ "open(O_RDONLY)", with_file, do_open, ONE },
	{ "open(O_RDWR)", with_file, do_open_rdwr, ONE },
	{ "open(O_DIRECTORY)", with_file, do_open_dir, ONE },
	{ "open(O_CREAT), new", without, do_create_new, ONE },
	{ "open(O_CREAT), existing", with_file, do_create_existing, ONE },
	{ "open(O_CREAT|O_EXCL), new", without, do_create_excl, ONE },
	{ "open(O_CREAT|O_EXCL), existing", with_file, do_create_excl_existing, ONE },
	{ "open(O_TRUNC)", with_file, do_open_trunc, ONE },
	{ "open(O_CREAT|O_TRUNC)", with_file, do_create_trunc, ONE },
	{ "open(O_TMPFILE)", with_file, do_tmpfile, ONE },
	{ "open+read+close, small file", with_file, do_read_file, ONE },
	{ "create+write+close, plain", without, do_write_file, ONE },
	{ "create+write+close, atomic", without, do_write_atomic, ONE },
	{ "pread", opened, do_pread, NATIVE },
	{ "read that meets the end", opened, do_read_to_end, NATIVE },
	{ "pread at the end", opened, do_pread_at_end, NATIVE },
	{ "write, O_APPEND", opened_append, do_append, NATIVE },
	{ "directory of 50 with attributes", NULL, do_list_small, ONE },
	{ "directory, empty", NULL, do_list_empty, ONE },
	{ "mkdir", without, do_mkdir, ONE },
	{ "mknod", without, do_mknod, ONE },
	{ "symlink", without, do_symlink, ONE },
	{ "link", without, do_link, ONE },
	{ "unlink", with_file, do_unlink, ONE },
	{ "rmdir", with_dir, do_rmdir, ONE },
	{ "rename", without, do_rename, ONE },
	{ "chmod", with_file, do_chmod, ONE },
	{ "chown", with_file, do_chown, ONE },
	{ "utimens", with_file, do_utimens, ONE },
	{ "truncate", with_file, do_truncate, ONE },
	{ "ftruncate", opened, do_ftruncate, NATIVE },
	{ "fchmod", opened, do_fchmod, NATIVE },
	{ "getxattr", with_xattr, do_getxattr, ONE },
	{ "setxattr", with_file, do_setxattr, ONE },
	{ "listxattr", with_xattr, do_listxattr, ONE },
	{ "removexattr", with_xattr, do_removexattr, ONE },
	{ "close", opened, do_close, 0 },
};

struct count {
	uint64_t waits, silent, packets, told; /* told: by the library's own statistics */
	uint64_t later_waits, later_packets;   /* of the request after it */
};

static struct count count_now(struct bench *b)
{
	struct gofer_stats st;

	gofer_session_get_stats(b->session, &st);
	return (struct count){ b->relay.waits, b->relay.silent, b->relay.packets, st.total, 0, 0 };
}

static struct count measure(struct bench *b, const struct row *row)
{
	struct count before, after;
	struct stat st;

	if (row->prepare)
		row->prepare(b);
	/* Whatever closes still wait ride with this, and are not this row's. */
	if (gofer_stat(b->ns, "/", 0, &st) < 0)
		die("stat /: %s", gofer_message());
	before = count_now(b);
	b->result = row->call(b);
	after = count_now(b);
	after.waits -= before.waits;
	after.silent -= before.silent;
	after.packets -= before.packets;
	after.told -= before.told;
	if (b->file && gofer_close(TAKE_PTR(b->file)) < 0)
		die("close: %s", gofer_message());
	before = count_now(b);
	if (gofer_stat(b->ns, "/", 0, &st) < 0)
		die("stat /: %s", gofer_message());
	after.later_waits = b->relay.waits - before.waits;
	after.later_packets = b->relay.packets - before.packets;
	return after;
}

static bool count_holds(const struct bench *b, const struct row *row, const struct count *c)
{
	uint64_t least = row->promised == ONE || (row->promised == NATIVE && !b->donate);
	uint64_t most = row->promised != 0;

	return b->result == 0 && c->waits >= least && c->waits <= most && c->packets == c->waits &&
	       c->told == c->waits + c->silent && c->later_waits == 1 && c->later_packets == 1;
}

static void run_rows(struct bench *b)
{
	printf("\n%s\n%-34s %8s %8s %8s\n",
	       b->donate ? "with donated descriptors" : "without donated descriptors",
	       "system call", "promised", "depth 1", "depth 8");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		struct count c[N_DEPTHS];
		bool holds = true;

		for (int d = 0; d < N_DEPTHS; d++) {
			b->dir = depth_dir[d];
			c[d] = measure(b, row);
			if (!count_holds(b, row, &c[d])) {
				holds = false;
				printf("  depth %d: result %d, %lu round trips, %lu silent, %lu "
				       "packets, told %lu; next request: %lu round trips, %lu "
				       "packets\n",
				       depth_number[d], b->result, c[d].waits, c[d].silent,
				       c[d].packets, c[d].told, c[d].later_waits,
				       c[d].later_packets);
			}
		}
		printf("%-34s %8s %8lu %8lu%s\n", row->name,
		       row->promised == 0                     ? "0"
		       : row->promised == NATIVE && b->donate ? "<= 1"
							      : "1",
		       c[SHALLOW].waits, c[DEEP].waits, holds ? "" : "   FAIL");
		proof_failures += !holds;
	}
}

/* A directory that takes several frames: every frame but the last must be full, and no frame is
 * sent to find out that the listing has ended. */
static void run_large_directory(struct bench *b)
{
	enum { ENTRIES = 3000, NEARLY_FULL = FRAME_MAX_BODY * 9 / 10 };

	for (int d = 0; d < N_DEPTHS; d++) {
		size_t full = 0, n;
		uint64_t before;
		int r;

		b->dir = depth_dir[d];
		b->relay.n_bodies = 0;
		before = b->relay.waits;
		r = list(b, "dir3000", ENTRIES);
		n = b->relay.n_bodies;
		for (size_t i = 0; i + 1 < n; i++)
			full += b->relay.bodies[i] >= NEARLY_FULL;
		for (size_t i = 0; i < n && full + 1 != n; i++)
			printf("  frame %zu: %zu bytes\n", i, b->relay.bodies[i]);
		check(r == 0 && n > 1 && full == n - 1 && b->relay.bodies[n - 1] > 1000 &&
			      b->relay.waits - before == n,
		      "directory of %d entries with attributes, depth %d: %lu RPCs, %zu full "
		      "frames and one of %zu bytes that ends it (%s)",
		      ENTRIES, depth_number[d], b->relay.waits - before, full,
		      n ? b->relay.bodies[n - 1] : 0, r < 0 ? strerror(-r) : "all entries");
	}
}

static void make_directory(const char *host, const char *dir, const char *name, int entries)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s%s", host, dir, name);
	if (mkdir(path, 0755) < 0)
		die("%s: %s", path, strerror(errno));
	for (int i = 0; i < entries; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/%s%s/entry-%06d.txt", host, dir, name, i);
		fd = open(path, O_CREAT | O_WRONLY, 0644);
		if (fd < 0)
			die("%s: %s", path, strerror(errno));
		close(fd);
	}
}

int main(int argc, char **argv)
{
	const char *host = argc > 1 ? argv[1] : NULL;
	struct bench b;

	if (!host)
		die("usage: cost_table HOSTDIR");
	for (int d = 0; d < N_DEPTHS; d++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", host, depth_dir[d]);
		for (char *p = path + strlen(host) + 1; (p = strchr(p, '/')); p++) {
			*p = '\0';
			(void)mkdir(path, 0755);
			*p = '/';
		}
		make_directory(host, depth_dir[d], "dir0", 0);
		make_directory(host, depth_dir[d], "dir50", 50);
		make_directory(host, depth_dir[d], "dir3000", 3000);
	}
	for (int donate = 0; donate < 2; donate++) {
		bench_init(&b, host, donate);
		run_rows(&b);
		if (!donate)
			run_large_directory(&b);
		check(b.relay.wrong == 0, "every packet held whole frames");
		bench_deinit(&b);
	}
	return proof_end();
}
