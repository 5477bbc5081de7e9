/*
 * conformance_calls.c - what paths alone do not show: descriptors as starting points and as objects, directories that move or go
 * away while they are held, umask, set-gid and sticky directories, unnamed files, listings in pieces.
 *
 *	conformance_calls DIRECTORY [SECTION...]
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

/* ---- where a relative path begins ---- */

static void dirfd_relative(void)
{
	int d = CALL(open, "d", O_RDONLY | O_DIRECTORY, 0), p = CALL(open, "d", O_PATH, 0);
	int f = CALL(open, "f", O_RDONLY, 0), l = CALL(open, "l", O_PATH | O_NOFOLLOW, 0);
	int e = CALL(open, "e", O_RDONLY, 0), both[] = { d, p };

	look_fd(d), look_fd(p), look_fd(f), look_fd(l);
	for (int i = 0; i < 2; i++) {
		int at = both[i];

		look_fd(CALL(openat, at, "g", O_RDWR | O_CLOEXEC, 0));
		CALL(openat, at, "deep", O_RDONLY | O_DIRECTORY, 0);
		CALL(openat, at, "../f", O_RDONLY, 0);
		CALL(openat, at, "up", O_RDONLY, 0);
		CALL(openat, at, "up", O_RDONLY | O_NOFOLLOW, 0);
		CALL(openat, at, "missing", O_RDONLY, 0);
		CALL(openat, at, "", O_RDONLY, 0);
		CALL(openat, at, ".", O_RDONLY, 0);
		CALL(close_range, 8, ~0U, 0);
		CALL(newfstatat, at, "g", &st, 0);
		say("  %s", describe(&st));
		CALL(newfstatat, at, "", &st, AT_EMPTY_PATH);
		say("  %s", describe(&st));
		CALL(newfstatat, at, "", &st, 0);
		CALL(faccessat, at, "g", W_OK);
		CALL(faccessat2, at, "", X_OK, AT_EMPTY_PATH);
		CALL(mkdirat, at, "m", 0711);
		CALL(mknodat, at, "n", S_IFIFO | 0600, 0);
		CALL(symlinkat, "g", at, "s");
		CALL(readlinkat, at, "s", buffer, sizeof(buffer));
		CALL(linkat, at, "g", at, "g2", 0);
		CALL(renameat, at, "g2", e, "g3");
		CALL(renameat2, at, "m", e, "m", RENAME_NOREPLACE);
		CALL(fchmodat, at, "g", 0600);
		CALL(fchownat, at, "g", -1, -1, 0);
		CALL(utimensat, at, "g", NULL, 0);
		look_list("d"), look_list("e"), look("d/g");
		CALL(unlinkat, at, "n", 0);
		CALL(unlinkat, at, "s", 0);
		CALL(unlinkat, e, "g3", 0);
		CALL(unlinkat, e, "m", AT_REMOVEDIR);
		CALL(statx, at, "", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE, &stx);
		CALL(statx, at, NULL, AT_EMPTY_PATH, STATX_TYPE, &stx);
		CALL(fchdir, at);
		look("g");
		CALL(chdir, "..");
	}
	CALL(openat, f, "g", O_RDONLY, 0);
	CALL(openat, f, "", O_RDONLY, 0);
	CALL(newfstatat, f, "", &st, AT_EMPTY_PATH);
	CALL(newfstatat, f, "x", &st, 0);
	CALL(readlinkat, l, "", buffer, sizeof(buffer));
	CALL(newfstatat, l, "", &st, AT_EMPTY_PATH);
	say("  %s", describe(&st));
	CALL(openat, l, "x", O_RDONLY, 0);
	CALL(openat, 99, "f", O_RDONLY, 0);
	CALL(openat, -1, "f", O_RDONLY, 0);
	CALL(openat, 99, "", O_RDONLY, 0);
	CALL(newfstatat, 99, "", &st, AT_EMPTY_PATH);
	CALL(newfstatat, -1, "f", &st, 0);
	CALL(unlinkat, f, "x", 0);
	CALL(mkdirat, f, "x", 0777);
	CALL(renameat, f, "x", d, "y");
	CALL(renameat, d, "g", f, "y");
	CALL(linkat, d, "g", 99, "y", 0);
	CALL(symlinkat, "t", 99, "y");
	CALL(fchdir, f);
	CALL(fchdir, 99);
	CALL(fchdir, l);
	/* What is absolute does not ask the descriptor. */
	snprintf(buffer, sizeof(buffer), "%s/f", base);
	CALL(openat, 99, buffer, O_RDONLY, 0);
	CALL(newfstatat, f, buffer, &st, 0);
	CALL(faccessat, -1, buffer, R_OK);
	CALL(linkat, 99, buffer, d, "absolute", 0);
	CALL(utimensat, f, NULL, NULL, 0);
	CALL(utimensat, 99, NULL, NULL, 0);
	CALL(utimensat, AT_FDCWD, NULL, NULL, 0);
}

static void path_descriptors(void)
{
	int f = CALL(open, "f", O_PATH, 0), d = CALL(open, "d", O_PATH, 0);
	int l = CALL(open, "l", O_PATH | O_NOFOLLOW, 0), p = CALL(open, "fifo", O_PATH, 0);
	int s = CALL(open, "sock", O_PATH, 0), none = CALL(open, "none", O_PATH, 0),
	    all[] = { f, d, l, p, s, none };

	for (int i = 0; i < 6; i++) {
		int fd = all[i];
		char self[64];

		look_fd(fd);
		CALL(read, fd, buffer, 1);
		CALL(write, fd, "x", 1);
		CALL(fchmod, fd, 0600);
		CALL(fchown, fd, -1, -1);
		CALL(ftruncate, fd, 0L);
		CALL(fstatfs, fd, &sfs);
		CALL(fgetxattr, fd, "user.a", buffer, 10L);
		CALL(getdents64, fd, buffer, sizeof(buffer));
		CALL(lseek, fd, 0L, SEEK_SET);
		CALL(fsync, fd);
		CALL(ioctl, fd, FIONREAD, buffer);
		CALL(flock, fd, LOCK_SH);
		CALL(fchdir, fd);
		CALL(chdir, base);
		CALL(fchmodat2, fd, "", 0740, AT_EMPTY_PATH);
		CALL(fchownat, fd, "", getuid(), -1, AT_EMPTY_PATH);
		CALL(utimensat, fd, "", NULL, AT_EMPTY_PATH);
		CALL(faccessat2, fd, "", R_OK, AT_EMPTY_PATH);
		CALL(execveat, fd, "", NULL, NULL, AT_EMPTY_PATH);
		look_fd(CALL(fcntl, fd, F_DUPFD_CLOEXEC, 20));
		CALL(close, 20);
		/* Through the magic link: what may be opened again. */
		snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
		look_fd(CALL(open, self, O_RDONLY | O_NONBLOCK, 0));
		CALL(close, 9);
		CALL(open, self, O_RDONLY | O_NOFOLLOW, 0);
		CALL(access, self, R_OK);
		CALL(stat, self, &st);
		say("  %s", describe(&st));
	}
	CALL(readlinkat, l, "", buffer, 1);
	CALL(readlinkat, f, "", buffer, 1);
}

/* Names of /proc that lead back to what the process holds, whole and as a beginning, absolute and from a descriptor of /proc. */
static void names_of_proc(void)
{
	int f = CALL(open, "d/g", O_RDONLY, 0), d = CALL(open, "d", O_RDONLY | O_DIRECTORY, 0);
	int fds = CALL(open, "/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);
	int proc = CALL(open, "/proc", O_PATH, 0), s = CALL(socket, AF_UNIX, SOCK_STREAM, 0);
	char file[16], directory[16], path[64], whole[64], more[64];
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(file, sizeof(file), "%d", f);
	snprintf(directory, sizeof(directory), "%d/g", d);
	snprintf(whole, sizeof(whole), "/proc/self/fd/%d", f);
	snprintf(more, sizeof(more), "/proc/%d/fd/%d/g", getpid(), d);
	look_fd(CALL(openat, fds, file, O_RDWR, 0));
	look_fd(CALL(openat, fds, directory, O_RDWR | O_APPEND, 0));
	CALL(openat, fds, directory, O_WRONLY | O_CREAT | O_EXCL, 0600);
	look_fd(CALL(open, more, O_RDWR, 0));
	CALL(open, "/proc/self/fd/99/g", O_RDONLY, 0);
	CALL(openat, fds, "99", O_RDONLY, 0);
	snprintf(path, sizeof(path), "self/fd/%d/new", d);
	look_fd(CALL(openat, proc, path, O_WRONLY | O_CREAT | O_TRUNC, 0640));
	snprintf(path, sizeof(path), "/dev/fd/%d/new", d);
	CALL(rename, path, "/proc/self/cwd/d/newer");
	CALL(mkdir, "/proc/thread-self/cwd/d/made", 0750);
	look_list("/proc/self/cwd/d");
	CALL(unlink, "/proc/self/cwd/d/newer");
	CALL(rmdir, "/proc/self/cwd/d/made");
	snprintf(path, sizeof(path), "/proc/self/fd/%d/x", f);
	CALL(open, path, O_RDONLY, 0);
	CALL(mkdir, path, 0700);
	CALL(chdir, "/proc/self/cwd/d");
	look("g");
	CALL(chdir, base);
	for (int i = 0; i < 2; i++) {
		int at = i ? AT_FDCWD : fds;
		const char *name = i ? whole : file;

		CALL(fchmodat, at, name, 0604);
		CALL(fchmodat2, at, name, 0600, AT_SYMLINK_NOFOLLOW);
		CALL(fchownat, at, name, getuid(), -1, 0);
		CALL(fchownat, at, name, getuid(), -1, AT_SYMLINK_NOFOLLOW);
		CALL(fchownat, at, name, getuid() + 1, -1, AT_SYMLINK_NOFOLLOW);
		CALL(utimensat, at, name, NULL, 0);
		CALL(utimensat, at, name, NULL, AT_SYMLINK_NOFOLLOW);
		CALL(faccessat, at, name, R_OK);
		CALL(linkat, at, name, AT_FDCWD, i ? "d/second" : "d/first", AT_SYMLINK_FOLLOW);
		CALL(linkat, at, name, AT_FDCWD, "d/third", 0);
		look("d/g");
		memset(buffer, 0, sizeof(buffer));
		CALL(readlinkat, at, name, buffer, sizeof(buffer));
		say("  %s", relative(buffer));
	}
	CALL(lchown, whole, -1, getgid());
	CALL(lsetxattr, whole, "user.a", "1", 1L, 0);
	CALL(truncate, whole, 1L);
	CALL(rename, "d/g", "e/g");
	memset(buffer, 0, sizeof(buffer));
	CALL(readlink, whole, buffer, sizeof(buffer));
	say("  %s", relative(buffer));
	CALL(unlink, "e/g"), CALL(unlink, "d/first"), CALL(unlink, "d/second");
	memset(buffer, 0, sizeof(buffer));
	CALL(readlink, whole, buffer, sizeof(buffer));
	say("  %s", relative(buffer));
	CALL(linkat, AT_FDCWD, whole, AT_FDCWD, "d/again", AT_SYMLINK_FOLLOW);
	/* What is only a place: a file, a link, a FIFO. */
	static const char *const places[] = { "f", "l", "fifo" };

	for (size_t i = 0; i < 3; i++) {
		int at = CALL(open, places[i], O_PATH | O_NOFOLLOW, 0);

		snprintf(file, sizeof(file), "%d", at);
		CALL(linkat, fds, file, AT_FDCWD, "e/linked", AT_SYMLINK_FOLLOW);
		look("e/linked");
		CALL(unlink, "e/linked");
		CALL(openat, fds, file, O_WRONLY | O_NONBLOCK, 0);
		CALL(openat, fds, file, O_RDWR | O_NONBLOCK, 0);
		CALL(close_range, at, ~0U, 0);
	}
	/* A socket's path that is too long for its address. */
	snprintf(un.sun_path, sizeof(un.sun_path), "/proc/self/fd/%d/socket", d);
	CALL(bind, s, &un, sizeof(un));
	CALL(listen, s, 1);
	look("d/socket");
	CALL(connect, CALL(socket, AF_UNIX, SOCK_STREAM, 0), &un, sizeof(un));
	f = CALL(open, "d/socket", O_PATH, 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "/proc/self/fd/%d", f);
	CALL(connect, CALL(socket, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), &un, sizeof(un));
	CALL(unlink, "d/socket");
	look_list("d");
}

/* ---- what stays and what goes ---- */

static void unnamed(void)
{
	char self[64];
	int fd = CALL(open, "d", O_TMPFILE | O_RDWR, 0640), other;

	look_fd(fd);
	CALL(write, fd, "unnamed\n", 8);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	CALL(linkat, AT_FDCWD, self, AT_FDCWD, "d/named", AT_SYMLINK_FOLLOW);
	text("d/named");
	look_fd(fd);
	CALL(linkat, AT_FDCWD, self, AT_FDCWD, "d/named", AT_SYMLINK_FOLLOW);
	CALL(linkat, AT_FDCWD, self, AT_FDCWD, "d/linked-to-the-link", 0);
	CALL(linkat, AT_FDCWD, self, AT_FDCWD, "d/twice", AT_SYMLINK_FOLLOW);
	look("d/named");
	other = CALL(openat, AT_FDCWD, "d", O_TMPFILE | O_WRONLY | O_EXCL, 0600);
	look_fd(other);
	snprintf(self, sizeof(self), "/proc/self/fd/%d", other);
	CALL(linkat, AT_FDCWD, self, AT_FDCWD, "d/never", AT_SYMLINK_FOLLOW);
	CALL(close, other);
	CALL(unlink, "d/named");
	CALL(unlink, "d/twice");
	look_fd(fd);
	CALL(linkat, AT_FDCWD, "/proc/self/fd/3", AT_FDCWD, "d/again", AT_SYMLINK_FOLLOW);
	umask(077);
	look_fd(CALL(open, ".", O_TMPFILE | O_RDWR, 0666));
	look_fd(CALL(openat2, AT_FDCWD, "d",
		     &((struct open_how){ .flags = O_TMPFILE | O_RDWR,
					  .mode = 0640,
					  .resolve = RESOLVE_BENEATH }),
		     sizeof(struct open_how)));
	look_list("d");
}

static void unlinked_but_open(void)
{
	int fd = CALL(open, "f", O_RDWR, 0);

	CALL(unlink, "hard");
	CALL(unlink, "f");
	look_fd(fd);
	CALL(read, fd, buffer, 3);
	CALL(pwrite64, fd, "HELLO", 5L, 0L);
	CALL(pread64, fd, buffer, 5L, 0L);
	say("  %.5s", buffer);
	put("f", "another\n", 0600);
	CALL(pread64, fd, buffer, 5L, 0L);
	say("  %.5s", buffer);
	text("f");
	CALL(rename, "ro", "f");
	text("f");
	CALL(fchmod, fd, 0400);
	CALL(ftruncate, fd, 2L);
	look_fd(fd);
	CALL(fstatfs, fd, &sfs);
	/* Mapped, and then renamed over. */
	{
		int g = CALL(open, "d/g", O_RDWR, 0);
		char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, g, 0);

		CALL(rename, "f", "d/g");
		map[0] = 'X';
		CALL(pread64, g, buffer, 4L, 0L);
		say("  %.4s", buffer);
		text("d/g");
		munmap(map, 4096);
	}
}

static void directories_that_move(void)
{
	int d = CALL(open, "d", O_RDONLY, 0), deep = CALL(open, "d/deep", O_PATH, 0);

	CALL(rename, "d", "e/moved");
	CALL(openat, d, "g", O_RDONLY, 0);
	CALL(openat, d, "../..", O_RDONLY, 0);
	CALL(openat, deep, "x", O_RDONLY, 0);
	CALL(openat, deep, "../../moved/g", O_RDONLY, 0);
	CALL(close_range, 5, ~0U, 0);
	CALL(chdir, "e/moved/deep");
	CALL(rename, "../../moved", "../../../back");
	CALL(getcwd, buffer, sizeof(buffer));
	say("  %s", relative(buffer));
	look("x"), look("../g"), look("../../f");
	CALL(unlink, "x");
	CALL(rmdir, "../deep");
	CALL(getcwd, buffer, sizeof(buffer));
	look("."), look(".."), look("../g");
	CALL(open, ".", O_RDONLY, 0);
	CALL(open, "new", O_RDWR | O_CREAT, 0600);
	CALL(mkdir, "new", 0700);
	CALL(openat, deep, "new", O_RDWR | O_CREAT, 0600);
	CALL(chdir, "..");
	CALL(getcwd, buffer, sizeof(buffer));
	say("  %s", errno ? relative(buffer) : "");
	CALL(fchdir, deep);
	CALL(fchdir, d);
	CALL(getcwd, buffer, sizeof(buffer));
	say("  %s", relative(buffer));
	CALL(getcwd, buffer, 3);
	CALL(getcwd, buffer, 0);
	CALL(getcwd, NULL, 100);
	/* A name that another object took. */
	CALL(chdir, base);
	CALL(mkdir, "d", 0700);
	CALL(openat, d, "g", O_RDONLY, 0);
	CALL(openat, AT_FDCWD, "d/g", O_RDONLY, 0);
}

/* ---- who may, and as what it is made ---- */

static void masks(void)
{
	static const mode_t all[] = { 0, 022, 077, 0777, 0123 };

	for (int i = 0; i < 5; i++) {
		CALL(umask, all[i]);
		CALL(close, (int)CALL(open, "new", O_WRONLY | O_CREAT | O_EXCL, 0777));
		CALL(close, (int)CALL(creat, "new2", 06666));
		CALL(mkdir, "newd", 01777);
		CALL(mknod, "newp", S_IFIFO | 0666, 0);
		look("new"), look("new2"), look("newd"), look("newp");
		CALL(unlink, "new"), CALL(unlink, "new2"), CALL(unlink, "newp"),
			CALL(rmdir, "newd");
	}
	/* Another thread's is the same, another process's is its own. */
	CALL(umask, 027);
	fflush(stdout);
	if (!fork()) {
		CALL(umask, 0);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	CALL(mkdir, "after", 0777);
	look("after");
	CALL(chmod, "d", 02755);
	CALL(mkdir, "d/inherits", 0755);
	CALL(close, (int)CALL(open, "d/inherits-not", O_CREAT | O_WRONLY, 02755));
	look("d"), look("d/inherits"), look("d/inherits-not");
	CALL(chmod, "e", 01777);
	CALL(close, (int)CALL(open, "e/mine", O_CREAT | O_WRONLY, 0666));
	CALL(rename, "e/mine", "e/still");
	CALL(unlink, "e/still");
	CALL(chmod, "x", 04755);
	look("x");
	{
		int fd = CALL(open, "x", O_WRONLY | O_APPEND, 0);

		CALL(write, fd, "#", 1);
		look("x");
		CALL(fchmod, fd, 06755);
		CALL(ftruncate, fd, 5L);
		look("x");
		CALL(fchmod, fd, 06755);
		CALL(truncate, "x", 3L);
		look("x");
		CALL(fchmod, fd, 06755);
		CALL(fchown, fd, getuid(), getgid());
		look("x");
	}
	CALL(chown, "f", 0, -1);
	CALL(chown, "f", -1, 0);
	CALL(chown, "f", 12345, 12345);
	CALL(chmod, "f", 0170644);
	look("f");
}

static void permissions(void)
{
	CALL(chmod, "d", 0);
	look("d/g");
	CALL(open, "d", O_RDONLY, 0);
	CALL(open, "d/g", O_RDONLY, 0);
	CALL(open, "d", O_PATH, 0);
	CALL(openat, 3, "g", O_RDONLY, 0);
	CALL(chdir, "d");
	CALL(chmod, "d", 0100);
	CALL(open, "d", O_RDONLY, 0);
	CALL(open, "d/g", O_RDONLY, 0);
	CALL(chdir, "d");
	CALL(open, ".", O_RDONLY, 0);
	CALL(open, "g", O_WRONLY, 0);
	CALL(unlink, "g");
	CALL(chdir, base);
	CALL(chmod, "d", 0400);
	look_list("d");
	look("d/g");
	CALL(chmod, "d", 0500);
	CALL(unlink, "d/g");
	CALL(open, "d/new", O_CREAT | O_WRONLY, 0600);
	CALL(open, "d/g", O_CREAT | O_WRONLY, 0600);
	CALL(mkdir, "d/deep", 0700);
	CALL(mkdir, "d/new", 0700);
	CALL(rename, "d/g", "e/g");
	CALL(rename, "f", "d/f");
	CALL(rename, "d/deep", "d/g");
	CALL(access, "d", R_OK | X_OK);
	CALL(access, "d", W_OK);
	CALL(faccessat2, AT_FDCWD, "d/g", W_OK, AT_EACCESS);
	CALL(chmod, "d", 0755);
	/* Held from before. */
	{
		int d = CALL(open, "d", O_RDONLY, 0);

		CALL(chmod, "d", 0);
		CALL(openat, d, "g", O_RDONLY, 0);
		CALL(openat, d, ".", O_RDONLY, 0);
		CALL(newfstatat, d, "", &st, AT_EMPTY_PATH);
		CALL(getdents64, d, buffer, 24L);
		CALL(fchdir, d);
		CALL(fchmod, d, 0755);
		CALL(openat, d, "g", O_RDONLY, 0);
	}
}

/* ---- listings ---- */

static void listings(void)
{
	char name[64], *names = calloc(3000, 1);
	long offsets[3002];
	int n = 0, fd, fd2, seen = 0;
	DIR *dir;
	struct dirent *d;

	CALL(mkdir, "many", 0755);
	CALL(chdir, "many");
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "a-name-of-some-length-%d", i);
		close(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	dir = opendir(".");
	for (n = 0; n < 3002 && (d = readdir(dir)); n++) {
		offsets[n] = telldir(dir);
		if (d->d_name[0] == 'a')
			names[atoi(strrchr(d->d_name, '-') + 1)]++;
		seen++;
	}
	say("seen %d, end %d", seen, readdir(dir) == NULL);
	n = 0;
	for (int i = 0; i < 3000; i++)
		n += names[i] == 1;
	say("each once: %d", n);
	/* Back to where we have been: the next name is the one that came next. */
	n = 0;
	for (int i = 2990; i > 0; i -= 97) {
		char first[64], second[64];

		seekdir(dir, offsets[i]);
		d = readdir(dir);
		snprintf(first, sizeof(first), "%.60s", d ? d->d_name : "end");
		rewinddir(dir);
		readdir(dir);
		seekdir(dir, offsets[i]);
		d = readdir(dir);
		snprintf(second, sizeof(second), "%.60s", d ? d->d_name : "end");
		n += !strcmp(first, second) && telldir(dir) == offsets[i + 1];
	}
	say("telldir and seekdir agree: %d", n);
	/* Removing while reading, as rm -r does. */
	rewinddir(dir);
	n = 0;
	while ((d = readdir(dir)))
		if (d->d_name[0] == 'a')
			n += unlinkat(dirfd(dir), d->d_name, 0) == 0;
	say("removed %d", n);
	look_list(".");
	closedir(dir);
	/* Two descriptors of one open directory have one position, two opens have two. */
	CALL(chdir, "../d");
	fd = CALL(open, ".", O_RDONLY | O_DIRECTORY, 0);
	fd2 = CALL(dup, fd);
	CALL(getdents64, fd, buffer, 8L);
	CALL(getdents64, fd, buffer, 0L);
	CALL(getdents64, fd, NULL, 1000L);
	n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer)) > 0;
	say("read %d", n);
	CALL(getdents64, fd2, buffer, sizeof(buffer));
	CALL(lseek, fd2, 0L, SEEK_SET);
	say("read again %d", syscall(SYS_getdents64, fd, buffer, sizeof(buffer)) > 0);
	CALL(lseek, fd, -1L, SEEK_SET);
	CALL(lseek, fd, 0L, 77);
	CALL(getdents, fd, buffer, 0L);
	CALL(read, fd, buffer, 10);
	CALL(write, fd, buffer, 10);
	CALL(pread64, fd, buffer, 10L, 0L);
	CALL(fsync, fd);
	CALL(fdatasync, fd);
	CALL(syncfs, fd);
	CALL(ftruncate, fd, 0L);
	CALL(flock, fd, LOCK_EX | LOCK_NB);
	CALL(flock, fd2, LOCK_EX | LOCK_NB);
	CALL(ioctl, fd, FS_IOC_GETVERSION, NULL);
	CALL(fcntl, fd, F_SETFL, O_NONBLOCK);
	look_fd(fd), look_fd(fd2);
	CALL(fcntl, fd, F_SETFD, FD_CLOEXEC);
	look_fd(fd);
	CALL(fgetxattr, fd, "user.x", buffer, 1L);
	CALL(fsetxattr, fd, "user.x", "1", 1L, 0);
	CALL(fgetxattr, fd, "user.x", buffer, 1L);
	CALL(fremovexattr, fd, "user.x");
	CALL(futimesat, fd, NULL, NULL);
	CALL(utimensat, fd, NULL, NULL, 0);
	CALL(fchmod, fd, 0711);
	CALL(fchown, fd, -1, -1);
	look_fd(fd);
	fflush(stdout);
	/* A child has the same one. */
	if (!fork()) {
		CALL(lseek, fd, 0L, SEEK_SET);
		CALL(openat, fd, "g", O_RDONLY, 0);
		CALL(fchdir, fd);
		look("g");
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
	say("read by the parent %d", syscall(SYS_getdents64, fd, buffer, sizeof(buffer)) > 0);
	/* A directory that is no more. */
	CALL(chdir, base);
	fd = CALL(open, "e", O_RDONLY, 0);
	CALL(rmdir, "e");
	CALL(getdents64, fd, buffer, sizeof(buffer));
	CALL(fstat, fd, &st);
	CALL(openat, fd, ".", O_RDONLY, 0);
	CALL(openat, fd, "..", O_RDONLY, 0);
	free(names);
}

static const struct section sections[] = {
	SECTION(dirfd_relative), SECTION(path_descriptors),  SECTION(names_of_proc),
	SECTION(unnamed),        SECTION(unlinked_but_open), SECTION(directories_that_move),
	SECTION(masks),          SECTION(permissions),       SECTION(listings),
};

int main(int argc, char **argv)
{
	return run_sections(argc, argv, sections, sizeof(sections) / sizeof(*sections));
}
