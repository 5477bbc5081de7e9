/*
 * conformance_arguments.c - arguments at the edge of what is allowed, and memory that is not there; times, attributes, descriptors
 * that are given, watches, identities.
 *
 *	conformance_arguments DIRECTORY [SECTION...]
 *
 * Each section works in a fresh tree.
 */
#include "tests/programs/conformance.h"

#include <linux/fs.h>
#include <linux/xattr.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/vfs.h>

static struct stat st;
static struct statx stx;
static struct statfs sfs;
static char buffer[8192];

/* ---- arguments at the edge ---- */

static char *at_the_end_of_memory(const char *path)
{
	size_t page = sysconf(_SC_PAGESIZE), n = strlen(path) + 1;
	char *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(p + page, page);
	return memcpy(p + page - n, path, n);
}

static void memory(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *bad = (char *)16, *kernel = (char *)0xffff888000000000,
	     *f = at_the_end_of_memory("f");
	char *cut =
		mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *read_only = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *hidden = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *across;

	memset(cut, 'a', page);
	munmap(cut + page, page);
	CALL(close, (int)CALL(open, f, O_RDONLY, 0));
	CALL(stat, f, &st);
	CALL(open, bad, O_RDONLY, 0);
	CALL(open, NULL, O_RDONLY, 0);
	CALL(open, kernel, O_RDONLY, 0);
	CALL(open, hidden, O_RDONLY, 0);
	CALL(open, cut + page - 3, O_RDONLY, 0); /* "aaa" and no end */
	CALL(open, read_only, O_RDONLY, 0);      /* "" */
	CALL(stat, bad, &st);
	CALL(stat, "f", bad);
	CALL(stat, "f", NULL);
	CALL(stat, "f", read_only);
	CALL(stat, "missing", bad);
	CALL(statx, AT_FDCWD, "f", 0, STATX_TYPE, bad);
	CALL(statx, AT_FDCWD, bad, 0, STATX_TYPE, &stx);
	CALL(newfstatat, AT_FDCWD, "f", kernel, 0);
	CALL(newfstatat, 99, bad, &st, 0);
	CALL(readlink, "l", bad, 10L);
	CALL(readlink, "l", buffer, 0L);
	CALL(readlink, "l", buffer, -1L);
	CALL(readlink, "f", bad, 10L);
	CALL(readlink, bad, buffer, 10L);
	CALL(access, bad, R_OK);
	CALL(access, NULL, 99);
	CALL(mkdir, bad, 0700);
	CALL(rename, "f", bad);
	CALL(rename, bad, "f");
	CALL(rename, bad, hidden);
	CALL(link, "f", hidden);
	CALL(symlink, bad, "new");
	CALL(symlink, "x", bad);
	CALL(symlink, "", "new");
	CALL(unlink, bad);
	CALL(rmdir, bad);
	CALL(chdir, bad);
	CALL(chmod, bad, 0600);
	CALL(chown, bad, -1, -1);
	CALL(truncate, bad, 0L);
	CALL(statfs, bad, &sfs);
	CALL(statfs, "f", bad);
	CALL(utimensat, AT_FDCWD, bad, NULL, 0);
	CALL(utimensat, AT_FDCWD, "f", bad, 0);
	CALL(utime, "f", bad);
	CALL(utimes, "f", bad);
	CALL(setxattr, bad, "user.a", "v", 1L, 0);
	CALL(setxattr, "f", bad, "v", 1L, 0);
	CALL(setxattr, "f", "user.a", bad, 1L, 0);
	CALL(setxattr, "f", "user.a", bad, 0L, 0);
	CALL(getxattr, "f", "user.a", bad, 0L);
	CALL(getxattr, "f", "user.a", bad, 10L);
	CALL(listxattr, "f", bad, 100L);
	CALL(listxattr, "f", bad, 0L);
	CALL(getcwd, bad, 1000L);
	CALL(execve, bad, NULL, NULL);
	CALL(openat2, AT_FDCWD, "f", bad, sizeof(struct open_how));
	CALL(openat2, AT_FDCWD, "f", &((struct open_how){ .flags = O_RDONLY }), 8L);
	CALL(openat2, AT_FDCWD, bad, &((struct open_how){ .flags = O_RDONLY }),
	     sizeof(struct open_how));
	CALL(openat2, AT_FDCWD, "f", &((struct open_how){ .mode = 0600 }), sizeof(struct open_how));
	{
		struct {
			struct open_how how;
			uint64_t more;
		} later = { { .flags = O_RDONLY }, 0 }, unknown = { { .flags = O_RDONLY }, 1 };

		CALL(close, (int)CALL(openat2, AT_FDCWD, "f", &later, sizeof(later)));
		CALL(openat2, AT_FDCWD, "f", &unknown, sizeof(unknown));
	}
	CALL(bind, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), bad, 10);
	CALL(connect, 3, bad, 10);
	/* A path over a page boundary. */
	across = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(across + page - 2, "d/deep/x", 9);
	CALL(stat, across + page - 2, &st);
	say("  %s", describe(&st));
	mprotect(across + page, page, PROT_NONE);
	CALL(stat, across + page - 2, &st);
	look("f");
}

static void long_paths(void)
{
	static char path[3 * 4096];
	static const int lengths[] = { 4000, 4094, 4095, 4096, 4097, 5000 };
	int depth = 0;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		memset(path, 0, sizeof(path));
		for (int n = 0; n < lengths[i] - 1; n++)
			path[n] = n & 1 ? '/' : '.';
		path[lengths[i] - 1] = 'f';
		if (!(lengths[i] & 1))
			path[lengths[i] - 2] = '/';
		say("length %zu", strlen(path));
		CALL(access, path, R_OK);
		CALL(stat, path, &st);
		CALL(open, path, O_RDONLY, 0);
		CALL(rename, path, path);
		CALL(symlink, path, "long-link");
		CALL(readlink, "long-link", path, sizeof(path));
		CALL(unlink, "long-link");
	}
	CALL(close_range, 3, ~0U, 0);
	/* As deep as a path can say; what lies deeper has no name inside. */
	memset(path, 0, sizeof(path));
	memset(path, 'a', 200);
	while (depth < 15 && mkdir(path, 0700) == 0 && chdir(path) == 0)
		depth++;
	say("depth %d", depth);
	say("getcwd %d", syscall(SYS_getcwd, buffer, sizeof(buffer)) > 3000);
	CALL(getcwd, buffer, 3000L);
	put("bottom", "deep down\n", 0600);
	text("bottom");
	look("..");
	CALL(open, ".", O_RDONLY, 0);
	CALL(newfstatat, 3, "bottom", &st, 0);
	CALL(unlink, "bottom");
	for (int i = 0; i < depth; i++)
		if (chdir("..") < 0 || rmdir(path) < 0) {
			say("at %d: %s", i, error_name(errno));
			break;
		}
	look("f");
	/* Links upon links. */
	for (int i = 0; i < 45; i++) {
		char from[16], to[16];

		snprintf(from, sizeof(from), "c%d", i);
		snprintf(to, sizeof(to), i ? "c%d" : "f", i - 1);
		must(symlink(to, from) == 0, from);
	}
	CALL(access, "c38", R_OK);
	CALL(access, "c39", R_OK);
	CALL(access, "c40", R_OK);
	CALL(access, "c41", R_OK);
	CALL(open, "c44", O_RDONLY, 0);
	CALL(open, "c44", O_PATH | O_NOFOLLOW, 0);
}

/* ---- attributes ---- */

static void show_times(const char *path)
{
	if (syscall(SYS_lstat, path, &st) < 0)
		say("  %s: %s", path, error_name(errno));
	else
		say("  %s atime %s mtime %s", path,
		    st.st_atim.tv_sec > 1600000000 ? "now"
		    : st.st_atim.tv_sec == 1000    ? "1000"
						   : "?",
		    st.st_mtim.tv_sec > 1600000000 ? "now"
		    : st.st_mtim.tv_sec == 2000    ? "2000"
						   : "?");
	if (st.st_atim.tv_sec < 1600000000 && st.st_atim.tv_sec != 1000)
		say("  %ld.%09ld", st.st_atim.tv_sec, st.st_atim.tv_nsec);
}

static void times(void)
{
	struct timespec set[2] = { { 1000, 111 }, { 2000, 222 } },
			now[2] = { { 0, UTIME_NOW }, { 0, UTIME_NOW } };
	struct timespec omit[2] = { { 0, UTIME_OMIT }, { 0, UTIME_OMIT } };
	struct timespec mixed[2] = { { 1000, 5 }, { 77, UTIME_OMIT } },
			mixed2[2] = { { 0, UTIME_OMIT }, { 2000, 5 } };
	struct timespec wrong[2] = { { 0, 1000000000 }, { 0, 0 } },
			minus[2] = { { -5, 7 }, { 2000, 0 } };
	struct timeval wrong_us[2] = { { 0, 1000000 }, { 0, 0 } };
	int fd = CALL(open, "f", O_RDONLY, 0);

	CALL(utimensat, AT_FDCWD, "f", set, 0), show_times("f");
	CALL(utimensat, AT_FDCWD, "f", omit, 0), show_times("f");
	CALL(utimensat, AT_FDCWD, "f", now, 0), show_times("f");
	CALL(utimensat, AT_FDCWD, "f", mixed, 0), show_times("f");
	CALL(utimensat, AT_FDCWD, "f", mixed2, 0), show_times("f");
	CALL(utimensat, AT_FDCWD, "f", NULL, 0), show_times("f");
	CALL(utimensat, AT_FDCWD, "f", wrong, 0);
	CALL(utimensat, AT_FDCWD, "missing", omit, 0);
	CALL(utimensat, AT_FDCWD, "missing", wrong, 0);
	CALL(utimensat, AT_FDCWD, "f", set, 0x1);
	CALL(utimensat, AT_FDCWD, "f", minus, 0), show_times("f");
	CALL(utimensat, fd, NULL, set, 0), show_times("f");
	CALL(utimensat, fd, "", set, AT_EMPTY_PATH);
	CALL(utimensat, fd, NULL, set, AT_SYMLINK_NOFOLLOW);
	CALL(utimensat, AT_FDCWD, "l", set, AT_SYMLINK_NOFOLLOW), show_times("l"), show_times("f");
	CALL(utimensat, AT_FDCWD, "dangling", set, AT_SYMLINK_NOFOLLOW), show_times("dangling");
	CALL(utimensat, AT_FDCWD, "dangling", set, 0);
	CALL(utimes, "f", wrong_us);
	CALL(futimesat, fd, NULL, NULL);
	CALL(utimensat, AT_FDCWD, "ro", set, 0), show_times("ro");
	CALL(utimensat, AT_FDCWD, "none", NULL, 0);
	CALL(utimensat, AT_FDCWD, "d", set, 0), show_times("d");
	CALL(utimensat, AT_FDCWD, "fifo", set, 0), show_times("fifo");
}

static void statx_masks(void)
{
	static const struct {
		const char *text;
		unsigned mask;
	} masks[] = {
#define M(m) { #m, m }
		M(0),
		M(STATX_TYPE),
		M(STATX_MODE),
		M(STATX_NLINK),
		M(STATX_SIZE),
		M(STATX_BLOCKS),
		M(STATX_BTIME),
		M(STATX_ALL),
		M(STATX_BASIC_STATS),
		M(STATX__RESERVED),
		M(0x40000000),
	};
	int fd = CALL(open, "f", O_RDONLY, 0);

	for (size_t i = 0; i < sizeof(masks) / sizeof(*masks); i++) {
		long result = syscall(SYS_statx, AT_FDCWD, "f", 0, masks[i].mask, &stx);

		printf("statx %s", masks[i].text);
		show("", result);
		if (!result)
			/* More than was asked for is allowed. */
			say("  all that was asked for %d; size %llu blocks %llu blksize %u",
			    (stx.stx_mask & masks[i].mask & (STATX_BASIC_STATS | STATX_BTIME)) ==
				    (masks[i].mask & (STATX_BASIC_STATS | STATX_BTIME)),
			    stx.stx_size, stx.stx_blocks, stx.stx_blksize);
	}
	CALL(statx, AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_ALL, &stx);
	CALL(statx, AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, STATX_ALL, &stx);
	CALL(statx, AT_FDCWD, "f", 0x4, STATX_ALL, &stx);
	CALL(statx, fd, "", AT_EMPTY_PATH, STATX_ALL, &stx);
	CALL(statx, fd, "", 0, STATX_ALL, &stx);
	CALL(statx, fd, NULL, AT_EMPTY_PATH, STATX_ALL, &stx);
	CALL(statx, fd, NULL, 0, STATX_ALL, &stx);
	/* One object, one identity, however it was reached. */
	{
		struct stat a, b, c;

		syscall(SYS_stat, "f", &a);
		fstat(fd, &b);
		syscall(SYS_lstat, "hard", &c);
		say("device and inode by path and by descriptor: %d",
		    a.st_dev == b.st_dev && a.st_ino == b.st_ino);
		say("and by another name: %d", a.st_dev == c.st_dev && a.st_ino == c.st_ino);
		syscall(SYS_statx, AT_FDCWD, "f", 0, STATX_ALL, &stx);
		say("statx: %d",
		    stx.stx_ino == a.st_ino &&
			    a.st_dev == ((stx.stx_dev_major << 8) | (stx.stx_dev_minor & 255)));
		fd = open("d", O_RDONLY | O_CLOEXEC);
		fstat(fd, &a);
		syscall(SYS_stat, "d/.", &b);
		say("directory: %d", a.st_dev == b.st_dev && a.st_ino == b.st_ino);
		syscall(SYS_stat, "d/..", &a);
		syscall(SYS_stat, ".", &b);
		say("..: %d", a.st_dev == b.st_dev && a.st_ino == b.st_ino);
	}
}

static void extended_attributes(void)
{
	static char big[70000];
	int fd = CALL(open, "f", O_RDONLY, 0);
	char name[300];

	memset(big, 'v', sizeof(big));
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[255] = '\0';
	CALL(setxattr, "f", "user.one", "value", 5L, XATTR_CREATE);
	CALL(setxattr, "f", "user.one", "value", 5L, XATTR_CREATE);
	CALL(setxattr, "f", "user.one", "other", 5L, XATTR_REPLACE);
	CALL(setxattr, "f", "user.two", "value", 5L, XATTR_REPLACE);
	CALL(setxattr, "f", "user.empty", "", 0L, 0);
	CALL(setxattr, "f", "user.flags", "", 0L, 4);
	CALL(setxattr, "f", "user.", "v", 1L, 0);
	CALL(setxattr, "f", "", "v", 1L, 0);
	CALL(setxattr, "f", "user", "v", 1L, 0);
	CALL(setxattr, "f", name, "v", 1L, 0);
	name[255] = 'n', name[256] = '\0';
	CALL(setxattr, "f", name, "v", 1L, 0);
	CALL(setxattr, "f", "user.big", big, 3000L, 0);
	CALL(setxattr, "f", "user.huge", big, 65537L, 0);
	CALL(setxattr, "f", "trusted.x", "v", 1L, 0);
	CALL(setxattr, "f", "security.x", "v", 1L, 0);
	CALL(setxattr, "f", "system.x", "v", 1L, 0);
	CALL(lsetxattr, "l", "user.x", "v", 1L, 0);
	CALL(setxattr, "l", "user.through", "v", 1L, 0);
	CALL(setxattr, "ro", "user.x", "v", 1L, 0);
	CALL(setxattr, "fifo", "user.x", "v", 1L, 0);
	CALL(getxattr, "f", "user.one", buffer, sizeof(buffer));
	say("  %.5s", buffer);
	CALL(getxattr, "f", "user.one", buffer, 3L);
	CALL(getxattr, "f", "user.one", NULL, 0L);
	CALL(getxattr, "f", "user.empty", buffer, 10L);
	CALL(getxattr, "f", "user.missing", buffer, 10L);
	CALL(lgetxattr, "l", "user.one", buffer, 10L);
	CALL(getxattr, "none", "user.one", buffer, 10L);
	CALL(fgetxattr, fd, "user.through", buffer, 10L);
	CALL(fsetxattr, fd, "user.fd", "v", 1L, 0);
	CALL(listxattr, "f", NULL, 0L);
	CALL(listxattr, "f", buffer, 5L);
	{
		long n = CALL(listxattr, "f", buffer, sizeof(buffer));

		for (char *p = buffer; p < buffer + n; p += strlen(p) + 1)
			say("  %.20s", p);
	}
	CALL(llistxattr, "l", buffer, sizeof(buffer));
	CALL(flistxattr, fd, buffer, sizeof(buffer));
	CALL(removexattr, "f", "user.one");
	CALL(removexattr, "f", "user.one");
	CALL(lremovexattr, "hard", "user.empty");
	CALL(fremovexattr, fd, "user.fd");
	CALL(listxattr, "f", NULL, 0L);
	CALL(setxattr, "d", "user.d", "v", 1L, 0);
	CALL(getxattr, "d/.", "user.d", buffer, 10L);
	CALL(getxattr, "f", "system.posix_acl_access", buffer, sizeof(buffer));
}

/* ---- descriptors that are given ---- */

static void descriptors(void)
{
	int a, b;

	/* The lowest one, always. */
	a = CALL(open, "f", O_RDONLY, 0);
	b = CALL(open, "d", O_RDONLY, 0);
	CALL(close, a);
	CALL(open, "d/g", O_RDONLY, 0);
	CALL(close, b);
	CALL(open, "e", O_PATH, 0);
	CALL(close, 3), CALL(close, 4);
	/* Append, and two positions. */
	a = CALL(open, "f", O_WRONLY | O_APPEND, 0);
	b = CALL(open, "f", O_RDWR, 0);
	CALL(write, a, "one\n", 4);
	CALL(write, b, "two\n", 4);
	CALL(write, a, "three\n", 6);
	CALL(lseek, a, 0L, SEEK_CUR);
	CALL(lseek, b, 0L, SEEK_CUR);
	text("f");
	CALL(fcntl, b, F_SETFL, O_APPEND);
	CALL(write, b, "four\n", 5);
	text("f");
	CALL(fcntl, a, F_SETFL, 0);
	look_fd(a);
	CALL(read, a, buffer, 1);
	CALL(write, (int)CALL(open, "f", O_RDONLY, 0), "x", 1);
	CALL(fallocate, b, 0, 0L, 10000L);
	look("f");
	CALL(copy_file_range, 5, NULL, b, NULL, 3L, 0);
	CALL(sendfile, b, 5, NULL, 3L);
	CALL(flock, a, LOCK_EX | LOCK_NB);
	CALL(flock, b, LOCK_EX | LOCK_NB);
	CALL(fcntl, a, F_SETLK, &((struct flock){ .l_type = F_WRLCK }));
	CALL(fcntl, b, F_OFD_SETLK, &((struct flock){ .l_type = F_WRLCK }));
	CALL(fcntl, b, F_SETLEASE, F_WRLCK);
	CALL(close_range, 3, ~0U, 0);
	CALL(open, "f", O_RDONLY | O_NOATIME, 0);
	CALL(open, "ro", O_RDONLY | O_NOATIME, 0);
	/* With no descriptor left. */
	CALL(close_range, 3, ~0U, 0);
	for (int i = 3; i < 20; i++)
		must(dup(0) == i, "dup");
	CALL(prlimit64, 0, 7 /* RLIMIT_NOFILE */, &((uint64_t[2]){ 20, 20 }), NULL);
	CALL(open, "f", O_RDONLY, 0);
	CALL(open, "new", O_RDWR | O_CREAT, 0600);
	look("new");
	CALL(open, "missing", O_RDONLY, 0);
	CALL(open, "d", O_RDONLY, 0);
	CALL(close, 7);
	CALL(open, "f", O_RDONLY, 0);
	CALL(open, "f", O_RDONLY, 0);
}

static void watching(void)
{
	int in = CALL(inotify_init1, IN_NONBLOCK | IN_CLOEXEC);
	long n;

	CALL(inotify_add_watch, in, "d", IN_CREATE | IN_DELETE | IN_MODIFY | IN_MOVE);
	CALL(inotify_add_watch, in, "f", IN_MODIFY | IN_ATTRIB);
	CALL(inotify_add_watch, in, "missing", IN_MODIFY);
	CALL(inotify_add_watch, in, "none", IN_MODIFY);
	CALL(inotify_add_watch, in, "f", IN_MODIFY | IN_ONLYDIR);
	CALL(inotify_add_watch, in, "f", 0);
	CALL(inotify_add_watch, 99, "f", IN_MODIFY);
	CALL(inotify_add_watch, 0, "f", IN_MODIFY);
	CALL(inotify_add_watch, in, "l", IN_MODIFY | IN_DONT_FOLLOW);
	CALL(inotify_add_watch, in, (char *)16, IN_MODIFY);
	CALL(mkdir, "d/new", 0700);
	CALL(rename, "d/g", "d/h");
	CALL(rmdir, "d/new");
	CALL(truncate, "f", 0L);
	n = read(in, buffer, sizeof(buffer));
	for (long at = 0; at < n;) {
		struct inotify_event *e = (struct inotify_event *)(buffer + at);

		say("  watch %d mask %x %s", e->wd, e->mask, e->len ? e->name : "");
		at += sizeof(*e) + e->len;
	}
	CALL(inotify_rm_watch, in, 1);
}

/* An ordinary user stays who he is. */
static void identities(void)
{
	uid_t uid = getuid();
	gid_t gid = getgid(), groups[] = { gid };

	CALL(setuid, uid), CALL(setuid, uid + 1), CALL(setuid, 0), CALL(setuid, -1);
	CALL(setgid, gid), CALL(setgid, gid + 1), CALL(setgid, 0), CALL(setgid, -1);
	CALL(setreuid, uid, -1), CALL(setreuid, -1, uid + 1), CALL(setreuid, 0, 0);
	CALL(setregid, -1, gid), CALL(setregid, gid + 1, -1), CALL(setregid, -1, -1);
	CALL(setresuid, -1, uid, uid), CALL(setresuid, uid, uid, 1), CALL(setresuid, -1, -1, -1);
	CALL(setresgid, gid, gid, gid), CALL(setresgid, gid, gid + 5, gid);
	CALL(setgroups, 1, groups);
	int f = CALL(open, "f", O_RDWR, 0), d = CALL(open, "d", O_RDONLY, 0),
	    p = CALL(open, "f", O_PATH, 0);

	CALL(fchown, f, uid, gid), CALL(fchown, f, uid + 1, -1), CALL(fchown, f, 0, 0);
	CALL(fchown, f, -1, gid + 1), CALL(fchown, d, 0, -1), CALL(fchown, p, 0, 0),
		CALL(fchown, 99, 0, 0);
	CALL(fchownat, f, "", 0, 0, AT_EMPTY_PATH), CALL(fchownat, AT_FDCWD, "d", 0, 0, 0);
	CALL(chown, "f", 0, 0), CALL(lchown, "l", 0, 0), CALL(fchown, 0, 0, 0);
	say("  %d %d", getuid() == uid, getegid() == gid);
}

static const struct section sections[] = {
	SECTION(memory),      SECTION(long_paths),          SECTION(times),
	SECTION(statx_masks), SECTION(extended_attributes), SECTION(descriptors),
	SECTION(watching),    SECTION(identities),
};

int main(int argc, char **argv)
{
	return run_sections(argc, argv, sections, sizeof(sections) / sizeof(*sections));
}
