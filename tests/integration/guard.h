/*
 * guard.h - what every attack must leave as it was, checked after each one.
 *
 *	static const struct attack attacks[] = {
 *		{ "S1: no path above the root passes", s1_above_the_root },
 *		...
 *	};
 *	int main(int argc, char **argv)
 *	{
 *		guard_start(argc, argv);
 *		return guard_run(attacks, ARRAY_SIZE(attacks));
 *	}
 *
 * The script (attack.sh) has prepared a directory with the volumes and with "outside", which none of
 * them holds. Each attack gets a session of its own, `sock`. Afterwards:
 *
 *   * the tree outside is what it was: names, types, content, modes, owners, extended attributes,
 *     change times; and no reply described an inode of it (rows.h);
 *   * the session's process holds one descriptor per handle that the attack left open, and no more;
 *   * with the session gone, the server has the processes, descriptors, threads and memory that it had
 *     (descriptors only where we may look: as root);
 *   * a bystander was served all the while, and never waited long.
 *
 * That no sanitizer complained is seen by the script, in the server's log.
 */
#pragma once

#include <ftw.h>
#include <limits.h>
#include <sys/xattr.h>

#include "tests/integration/bystander.h"
#include "tests/integration/rows.h"

enum {
	GUARD_SETTLE_MS = 10000,
	/* Not a measurement: other tests run at the same time. A server that serves one after the
	 * other, or hangs, is seen. */
	GUARD_WAIT_MS = PROOF_SANITIZED ? 5000 : 2000,
	GUARD_RSS_KIB = PROOF_SANITIZED ? 65536 : 2048,
};

struct attack {
	const char *name; /* "S1: what is proved"; the line that the security matrix is made of */
	void (*run)(void);
	bool root; /* only root can show it */
};

static int sock;                              /* this attack's session */
static pid_t worker _unused_;                 /* its process */
static uint32_t rw _unused_, ro _unused_;     /* filesystems: read-write, read-only */
static uint32_t nd _unused_, dr _unused_;     /* donates never; donates for reading only */
static const char *guard_dir;                 /* what the script prepared */
static const char *volume _unused_, *outside; /* of "rw"; of nobody */

/* DIR/NAME, in one of a few buffers that are used in turn. */
static inline const char *in_dir(const char *dir, const char *name)
{
	static char text[8][PATH_MAX];
	static unsigned next;
	char *s = text[++next % 8];

	if (snprintf(s, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
		die("a long name: %s", name);
	return s;
}

/* ---- the tree outside ---- */

static FILE *guard_out;

static uint64_t guard_hash_file(const char *path)
{
	uint64_t h = UINT64_C(14695981039346656037);
	uint8_t buf[4096];
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME);
	ssize_t n;

	if (fd < 0)
		fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			h = (h ^ buf[i]) * UINT64_C(1099511628211);
	fd_close(fd);
	return h;
}

static void guard_print_xattrs(const char *path)
{
	char names[4096], value[4096];
	ssize_t n = llistxattr(path, names, sizeof(names));

	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t len = lgetxattr(path, names + at, value, sizeof(value));

		fprintf(guard_out, " %s=", names + at);
		for (ssize_t i = 0; i < len; i++)
			fprintf(guard_out, "%02x", (uint8_t)value[i]);
	}
}

static int guard_print(const char *path, const struct stat *st, int type _unused_,
		       struct FTW *ftw _unused_)
{
	char target[PATH_MAX] = "";

	if (S_ISLNK(st->st_mode) && readlink(path, target, sizeof(target) - 1) < 0)
		snprintf(target, sizeof(target), "?");
	fprintf(guard_out,
		"%s ino %lu mode %o owner %u:%u links %lu size %ld rdev %lx ctime %ld.%09ld "
		"mtime %ld.%09ld %s",
		path, (unsigned long)st->st_ino, st->st_mode, st->st_uid, st->st_gid,
		(unsigned long)st->st_nlink, (long)st->st_size, (unsigned long)st->st_rdev,
		(long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec, (long)st->st_mtim.tv_sec,
		st->st_mtim.tv_nsec, target);
	if (S_ISREG(st->st_mode))
		fprintf(guard_out, " %016lx", (unsigned long)guard_hash_file(path));
	guard_print_xattrs(path);
	fputc('\n', guard_out);
	return 0;
}

/* All of the tree, a line each, in an order that does not change while nothing does. Freed by the
 * caller. */
static char *guard_snapshot(const char *dir)
{
	char *text = NULL;
	size_t size;

	guard_out = open_memstream(&text, &size);
	if (!guard_out || nftw(dir, guard_print, 32, FTW_PHYS) != 0)
		die("%s cannot be read", dir);
	fclose(guard_out);
	return text;
}

/* The first line that differs, for the report. */
static void guard_difference(const char *before, const char *after)
{
	while (*before && *after) {
		size_t a = strcspn(before, "\n"), b = strcspn(after, "\n");

		if (a != b || memcmp(before, after, a))
			break;
		before += a + 1;
		after += b + 1;
	}
	printf("       before: %.*s\n       after:  %.*s\n", (int)strcspn(before, "\n"), before,
	       (int)strcspn(after, "\n"), after);
}

/* Whether `dir` still is what guard_snapshot() said (freed here). */
static inline bool guard_same(char *before, const char *dir)
{
	_cleanup_free_ char *old = before, *now = guard_snapshot(dir);
	bool same = !strcmp(old, now);

	if (!same)
		guard_difference(old, now);
	return same;
}

static int guard_forbid(const char *path _unused_, const struct stat *st, int type _unused_,
			struct FTW *ftw _unused_)
{
	if (row_n_forbidden == ROW_FORBIDDEN_MAX)
		die("too much outside");
	row_forbidden[row_n_forbidden++] = (struct row_forbidden){ st->st_dev, st->st_ino };
	return 0;
}

/* ---- the fixture ---- */

static struct {
	struct bystander *bystander;
	struct process_list processes;
	struct process sum;
} guard;

static void guard_find_filesystem(const Gofer__HelloReply *hello, const char *name, uint32_t *ret)
{
	for (size_t i = 0; i < hello->n_filesystems; i++) {
		const ProtobufCBinaryData *n = &hello->filesystems[i]->name;

		if (n->len == strlen(name) && !memcmp(n->data, name, n->len))
			*ret = hello->filesystems[i]->fs_id;
	}
}

/* A greeted session; the filesystems' numbers are known then. */
static int guard_session(void)
{
	_cleanup_reply_ struct raw_reply hello = RAW_REPLY_NULL;
	int s = raw_connect(), e;

	if (s < 0)
		die("connect: %s", strerror(-s));
	e = raw_hello(s, &hello);
	if (outcome(e, &hello))
		die("Hello: %s", word(outcome(e, &hello)));
	guard_find_filesystem((Gofer__HelloReply *)hello.message, "rw", &rw);
	guard_find_filesystem((Gofer__HelloReply *)hello.message, "ro", &ro);
	guard_find_filesystem((Gofer__HelloReply *)hello.message, "nd", &nd);
	guard_find_filesystem((Gofer__HelloReply *)hello.message, "dr", &dr);
	return s;
}

/* Any other filesystem's number. */
static inline uint32_t guard_filesystem(const char *name)
{
	uint32_t fs = 0;

	fd_close(raw_session(name, &fs));
	return fs;
}

/*
 * What the server's processes hold when nothing is going on: the least of some looks, because the
 * bystander's requests hold a descriptor or two while they are executed. Looks on until there are no
 * more descriptors than `most`, for a second at most.
 */
static struct process guard_sum(unsigned long most)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint64_t deadline = clock_ns() + UINT64_C(1000000000);
	struct process least = { .fds = ULONG_MAX };

	for (unsigned i = 0; i < 8 || (least.fds > most && clock_ns() < deadline); i++) {
		struct process_list now;
		struct process sum;

		server_processes(&now);
		sum = process_sum(&now);
		if (sum.fds <= least.fds)
			least = sum;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return least;
}

/* argv[1] is the directory. */
static inline void guard_start(int argc, char **argv)
{
	if (argc < 2)
		die("usage: %s DIRECTORY", argv[0]);
	signal(SIGPIPE, SIG_IGN);
	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* children print too */
	guard_dir = argv[1];
	volume = strdup(in_dir(guard_dir, "vol"));
	outside = strdup(in_dir(guard_dir, "outside"));
	if (!volume || !outside)
		die("no memory");
	if (nftw(outside, guard_forbid, 32, FTW_PHYS) != 0)
		die("%s is not there", outside);
	guard.bystander = bystander_start("by");
	if (!server_settles(3, GUARD_SETTLE_MS, &guard.processes))
		die("front, monitor and the bystander's worker are not all that runs");
	guard.sum = guard_sum(ULONG_MAX);
}

/* The process that the server did not have before the session. */
static pid_t guard_worker(void)
{
	struct process_list now;

	server_processes(&now);
	for (size_t i = 0; i < now.n; i++)
		if (!process_find(&guard.processes, now.at[i].pid))
			return now.at[i].pid;
	return 0;
}

static unsigned long guard_fds_of(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	return count_entries(path);
}

/* ... once it has come to rest: a descriptor is closed behind the reply that took it along. */
static unsigned long guard_fds_at_rest(pid_t pid, unsigned long most)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	uint64_t deadline = clock_ns() + UINT64_C(1000000000);
	unsigned long n;

	while ((n = guard_fds_of(pid)) > most && clock_ns() < deadline)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	return n;
}

/* Until the bystander was served `n` times more, or too long was waited. */
static bool guard_bystander_served(uint64_t n)
{
	const struct timespec pause = { .tv_nsec = 500000 };
	uint64_t calls = guard.bystander->calls, deadline = clock_ns() + GUARD_WAIT_MS * 1000000ull;

	while (guard.bystander->calls < calls + n) {
		if (clock_ns() > deadline)
			return false;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return true;
}

/* The queue of watches comes with a session's first, and stays with it: no leak of the attack's. */
static void guard_first_watch(void)
{
	Gofer__WatchRequest q = GOFER__WATCH_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "a");

	q.path = &p;
	(void)raw_errno(sock, RPC_TYPE_Watch, &q);
}

/* One attack, and what is to be seen after any. */
static void guard_attack(const struct attack *a)
{
	struct process_list after;
	struct process sum;
	unsigned long fds;
	uint32_t handles = 0;
	char *before = guard_snapshot(outside);
	uint64_t errors = guard.bystander->errors, start = clock_ns();
	bool settled, served;

	printf("== %s\n", a->name);
	guard.bystander->longest_ns = 0;
	sock = guard_session();
	worker = guard_worker();
	guard_first_watch();
	fds = guard_fds_of(worker);
	a->run();
	if (sock >= 0 && session_handles(sock, &handles) == 0 && fds) {
		unsigned long now = guard_fds_at_rest(worker, fds + handles);

		check(now <= fds + handles,
		      "     its process has %lu descriptors: %lu, and %u handles", now, fds,
		      handles);
	}
	sock = fd_close(sock);
	served = guard_bystander_served(2);
	settled = server_settles(guard.processes.n, GUARD_SETTLE_MS, &after);
	sum = guard_sum(guard.sum.fds);
	check(settled && sum.fds <= guard.sum.fds && sum.threads <= guard.sum.threads + 8 &&
		      sum.rss <= guard.sum.rss + GUARD_RSS_KIB,
	      "     the server: %zu processes, %lu descriptors (%lu), %lu threads, %ld KiB more",
	      after.n, sum.fds, guard.sum.fds, sum.threads, (long)(sum.rss - guard.sum.rss));
	check(served && guard.bystander->errors == errors &&
		      guard.bystander->longest_ns < GUARD_WAIT_MS * UINT64_C(1000000),
	      "     the bystander waited %.1f ms at most",
	      (double)guard.bystander->longest_ns / 1e6);
	check(guard_same(before, outside), "     the tree outside is what it was (%.1f s)",
	      (double)(clock_ns() - start) / 1e9);
}

static inline int guard_run(const struct attack *attacks, size_t n)
{
	int status = 0;

	for (size_t i = 0; i < n; i++) {
		if (attacks[i].root && geteuid() != 0) {
			printf("== %s\n  (only root can show it)\n", attacks[i].name);
			continue;
		}
		guard_attack(&attacks[i]);
	}
	check(bystander_stop(guard.bystander, &status), "the bystander ended well (status %#x)",
	      status);
	free((void *)volume);
	free((void *)outside);
	return proof_end();
}
