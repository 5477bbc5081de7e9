/*
 * conformance.h - what the conformance programs share: a little tree of files, system calls made on it without any help from the
 * C library, and their results printed so that the same behaviour gives the same text: error names, types, modes, link counts,
 * contents; no inode number, no time that was not set, no directory's size.
 *
 * Such a program runs natively and under `gofer run` in the same directory; the two outputs must be equal. It checks nothing
 * itself, and it makes no difference between what POSIX promises and what Linux happens to do.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static char base[PATH_MAX]; /* the directory that the program works in */

/* ---- saying ---- */

static inline const char *error_name(int error)
{
	const char *name = error ? strerrorname_np(error) : "0";
	static char number[16];

	if (name)
		return name;
	snprintf(number, sizeof(number), "errno%d", error);
	return number;
}

static inline long show(const char *text, long result)
{
	int error = errno;

	if (result == -1)
		printf("%s = %s\n", text, error_name(error));
	else
		printf("%s = %ld\n", text, result);
	errno = error;
	return result;
}
/* The call as it is written here, and what it gave. */
#define CALL(name, ...) show(#name "(" #__VA_ARGS__ ")", syscall(SYS_##name, __VA_ARGS__))
#define CALL0(name) show(#name "()", syscall(SYS_##name))

static inline void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* A path, with the directory that we work in as "BASE". */
static inline const char *relative(const char *path)
{
	static char out[PATH_MAX + 8];
	size_t n = strlen(base);

	if (strncmp(path, base, n) || (path[n] && path[n] != '/'))
		return path;
	snprintf(out, sizeof(out), "BASE%s", path + n);
	return out;
}

static inline char type_letter(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 'f';
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFIFO:
		return 'p';
	case S_IFSOCK:
		return 's';
	case S_IFCHR:
		return 'c';
	case S_IFBLK:
		return 'b';
	}
	return '?';
}

static inline const char *describe(const struct stat *st)
{
	static char out[128];

	snprintf(out, sizeof(out), "%c %04o links %lu size %ld %s:%s", type_letter(st->st_mode),
		 st->st_mode & 07777, S_ISDIR(st->st_mode) ? 0UL : (unsigned long)st->st_nlink,
		 S_ISDIR(st->st_mode) ? 0L : (long)st->st_size,
		 st->st_uid == getuid() ? "me" : "other", st->st_gid == getgid() ? "me" : "other");
	return out;
}

static inline void look(const char *path)
{
	struct stat st;

	if (syscall(SYS_lstat, path, &st) < 0)
		say("  %s: %s", path, error_name(errno));
	else
		say("  %s: %s", path, describe(&st));
}

/* What a descriptor is. Not told: the flags that only say how it was opened and that nobody can act upon. */
static inline void look_fd(int fd)
{
	struct stat st;

	if (fd < 0)
		return;
	if (fstat(fd, &st) < 0)
		memset(&st, 0, sizeof(st));
	printf("  fd %d: flags %#o cloexec %d", fd,
	       fcntl(fd, F_GETFL) & ~(O_NOFOLLOW | O_DIRECTORY | O_TMPFILE | O_ASYNC |
				      (S_ISDIR(st.st_mode) ? O_SYNC : 0)),
	       fcntl(fd, F_GETFD));
	if (!st.st_mode)
		say(" fstat %s", error_name(errno));
	else
		say(" %s", describe(&st));
}

static inline void text(const char *path)
{
	char buffer[256];
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n;

	if (fd < 0) {
		say("  %s: %s", path, error_name(errno));
		return;
	}
	n = read(fd, buffer, sizeof(buffer) - 1);
	if (n < 0)
		say("  %s: read %s", path, error_name(errno));
	else
		say("  %s holds \"%.*s\"", path, (int)n, buffer);
	close(fd);
}

static inline int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of a directory with their d_type, sorted. -1 and errno where it cannot be listed. */
static inline int list(const char *path, char *out, size_t size)
{
	static char buffer[65536];
	char *names[512];
	size_t n = 0, used = 0;
	int fd = syscall(SYS_open, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	long got;

	if (fd < 0)
		return -1;
	while ((got = syscall(SYS_getdents64, fd, buffer, sizeof(buffer))) > 0) {
		struct dirent64 *d;

		for (long at = 0; at < got && n < 512; at += d->d_reclen) {
			d = (struct dirent64 *)(buffer + at);
			if (asprintf(&names[n], "%s/%c", d->d_name,
				     "?pc?d?b?f?l?s?w?"[d->d_type & 15]) < 0)
				abort();
			n++;
		}
	}
	close(fd);
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++) {
		int w = snprintf(out + used, size - used, " %s", names[i]);

		if (w > 0 && (size_t)w < size - used)
			used += w;
		free(names[i]);
	}
	return got < 0 ? -1 : 0;
}

static inline void look_list(const char *path)
{
	char out[8192] = "";

	if (list(path, out, sizeof(out)) < 0)
		say("  %s: not listed: %s", path, error_name(errno));
	else
		say("  %s:%s", path, out);
}

/* ---- the little tree ---- */

static inline void put(const char *path, const char *contents, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, contents, strlen(contents)) != (ssize_t)strlen(contents) ||
	    fchmod(fd, mode) < 0) {
		fprintf(stderr, "cannot make %s: %m\n", path);
		exit(2);
	}
	close(fd);
}

static inline void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "cannot prepare: %s: %m\n", what);
	exit(2);
}

/* Removes what is below the current directory, natively or not, by unlinkat(2) alone. */
static inline void empty_directory(int dirfd)
{
	DIR *dir = fdopendir(dup(dirfd));
	struct dirent *d;

	must(dir != NULL, "opendir");
	rewinddir(dir);
	while ((d = readdir(dir))) {
		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		if (unlinkat(dirfd, d->d_name, 0) == 0 || (errno != EISDIR && errno != EPERM))
			continue;
		if (unlinkat(dirfd, d->d_name, AT_REMOVEDIR) < 0) {
			int fd;

			fchmodat(dirfd, d->d_name, 0700, 0);
			fd = openat(dirfd, d->d_name,
				    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			must(fd >= 0, d->d_name);
			empty_directory(fd);
			close(fd);
			must(unlinkat(dirfd, d->d_name, AT_REMOVEDIR) == 0, d->d_name);
		}
	}
	closedir(dir);
}

#define NAME_255                                                                                   \
	"n012345678901234567890123456789012345678901234567890123456789012345678901234567890123456" \
	"7890123456789"                                                                            \
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567" \
	"890123456789"                                                                             \
	"012345678901234567890123456789012345678901234567890123"

/* In the current directory. f and hard are one file; d holds g and deep/x; links of all kinds; what may not be used. */
static inline void make_tree(void)
{
	char absolute[PATH_MAX + 4];
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int s;

	umask(022);
	put("f", "hello\n", 0644);
	must(link("f", "hard") == 0, "hard");
	put("ro", "read only\n", 0444);
	put("none", "nobody\n", 0);
	put("x", "#!/bin/sh\nexit 3\n", 0755);
	put(NAME_255, "long\n", 0644);
	must(mkdir("d", 0755) == 0 && mkdir("d/deep", 0755) == 0 && mkdir("e", 0755) == 0,
	     "directories");
	must(mkdir("shut", 0755) == 0, "shut");
	put("shut/in", "shut in\n", 0644);
	must(chmod("shut", 0) == 0, "shut");
	put("d/g", "in d\n", 0644);
	put("d/deep/x", "deep\n", 0600);
	must(symlink("f", "l") == 0 && symlink("d", "ld") == 0 &&
		     symlink("nowhere", "dangling") == 0 && symlink("loop", "loop") == 0 &&
		     symlink("l", "ll") == 0 && symlink("../f", "d/up") == 0 &&
		     symlink("d/", "lds") == 0 && symlink("none/", "lns") == 0 &&
		     symlink("/etc/passwd", "lout") == 0,
	     "links");
	if (snprintf(absolute, sizeof(absolute), "%s/f", getcwd(base, sizeof(base))) < 0)
		exit(2);
	must(symlink(absolute, "la") == 0, "la");
	must(mkfifo("fifo", 0644) == 0, "fifo");
	s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(s >= 0 && bind(s, (struct sockaddr *)&address, sizeof(address)) == 0, "sock");
	close(s);
}

/* The tree in words: what is there now. */
static inline void print_tree(char *out, size_t size, const char *directory)
{
	char names[8192] = "", *save = NULL;
	size_t used = strlen(out);

	if (list(directory, names, sizeof(names)) < 0) {
		snprintf(out + used, size - used, "%s: not listed: %s\n", directory,
			 error_name(errno));
		return;
	}
	for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
		char path[PATH_MAX], target[PATH_MAX] = "";
		struct stat st;

		*strrchr(name, '/') = '\0';
		if (!strcmp(name, "..") || !strcmp(name, "."))
			continue;
		snprintf(path, sizeof(path), "%s%s%s", strcmp(directory, ".") ? directory : "",
			 strcmp(directory, ".") ? "/" : "", name);
		if (lstat(path, &st) < 0)
			continue;
		if (S_ISLNK(st.st_mode)) {
			ssize_t n = readlink(path, target, sizeof(target) - 1);

			target[n > 0 ? n : 0] = '\0';
		}
		used = strlen(out);
		snprintf(out + used, size - used, "    %.40s %s%s%s\n", path, describe(&st),
			 *target ? " -> " : "", *target ? relative(target) : "");
		if (S_ISDIR(st.st_mode))
			print_tree(out, size, path);
	}
}

/* ---- a tree that is new whenever the last call changed it ---- */

enum { SCRATCH_HELD = 24, SCRATCH_LISTED = 4 };
struct scratch {
	int fd;
	int held[SCRATCH_HELD]; /* what to look at for changes, without asking by name: the first few are listed as well */
	uint64_t sum;
	char fresh[16384], now[16384];
};

static inline uint64_t sum_bytes(uint64_t sum, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3;
	return sum;
}

/* Names, inode numbers, modes, links and sizes in one number: where it is as before, nothing has changed. */
static inline uint64_t scratch_sum(const struct scratch *s)
{
	static char buffer[65536];
	uint64_t sum = 0xcbf29ce484222325;

	for (int i = 0; i < SCRATCH_HELD && s->held[i] >= 0; i++) {
		struct stat st;
		long n;

		must(fstat(s->held[i], &st) == 0, "fstat");
		sum = sum_bytes(sum, &st.st_mode, sizeof(st.st_mode));
		sum = sum_bytes(sum, &st.st_nlink, sizeof(st.st_nlink));
		if (!S_ISDIR(st.st_mode))
			sum = sum_bytes(sum, &st.st_size, sizeof(st.st_size));
		if (i >= SCRATCH_LISTED)
			continue;
		lseek(s->held[i], 0, SEEK_SET);
		while ((n = syscall(SYS_getdents64, s->held[i], buffer, sizeof(buffer))) > 0) {
			struct dirent64 *d;

			for (long at = 0; at < n; at += d->d_reclen) {
				d = (struct dirent64 *)(buffer + at);
				sum = sum_bytes(sum, d->d_name, strlen(d->d_name) + 1);
				sum = sum_bytes(sum, &d->d_ino, sizeof(d->d_ino));
			}
		}
	}
	return sum;
}

static inline void scratch_hold(struct scratch *s)
{
	static const char *const names[] = {
		".",    "d",   "d/deep",   "e",    "f",    "ro",   "none", "x",
		"shut", "d/g", "d/deep/x", "fifo", "sock", "l",    "ld",   "dangling",
		"loop", "ll",  "d/up",     "lds",  "lns",  "lout", "la",   NAME_255,
	};

	for (int i = 0; i < SCRATCH_HELD; i++) {
		int fd = open(names[i], i < SCRATCH_LISTED ? O_RDONLY | O_CLOEXEC
							   : O_PATH | O_NOFOLLOW | O_CLOEXEC);

		must(fd >= 0, names[i]);
		if (s->held[i] > 0)
			close(s->held[i]);
		s->held[i] = fcntl(fd, F_DUPFD_CLOEXEC, 100);
		close(fd);
	}
	s->sum = scratch_sum(s);
}

static inline void scratch_renew(struct scratch *s)
{
	must(fchdir(s->fd) == 0, "fchdir");
	umask(0);
	empty_directory(s->fd);
	make_tree();
	s->fresh[0] = '\0';
	print_tree(s->fresh, sizeof(s->fresh), ".");
	scratch_hold(s);
}

static inline void scratch_begin(struct scratch *s, const char *directory)
{
	must(mkdir(directory, 0755) == 0 && chdir(directory) == 0, directory);
	s->fd = fcntl(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), F_DUPFD_CLOEXEC, 100);
	must(s->fd >= 100, "scratch");
	close(3);
	scratch_renew(s);
}

/* Prints the lines that changed, and makes the tree as it was. */
static inline void scratch_compare(struct scratch *s)
{
	char *line, *save = NULL;
	struct stat st;
	bool changed;

	/* The call may have been on the directory itself. */
	if (fstat(s->fd, &st) == 0 && (st.st_mode & 07777) != 0755) {
		say("  + . %s", describe(&st));
		fchmod(s->fd, 0755);
	}
	must(fchdir(s->fd) == 0, "fchdir");
	if (scratch_sum(s) == s->sum)
		return;
	s->now[0] = '\0';
	print_tree(s->now, sizeof(s->now), ".");
	changed = strcmp(s->now, s->fresh) != 0;
	if (!changed)
		return;
	for (line = strtok_r(s->now, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!strstr(s->fresh, line))
			say("  + %s", line + 4);
	save = NULL;
	s->now[0] = '\0';
	print_tree(s->now, sizeof(s->now), ".");
	for (line = strtok_r(s->fresh, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (!strstr(s->now, line))
			say("  - %s", line + 4);
	scratch_renew(s);
}

/* ---- sections, each in a process and a tree of its own ---- */

struct section {
	const char *name;
	void (*run)(void);
};

#define SECTION(name)       \
	{                   \
#name, name \
	}

/* argv: DIRECTORY [SECTION...] */
static inline int run_sections(int argc, char **argv, const struct section *sections, size_t n)
{
	if (argc < 2 || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: %s DIRECTORY [SECTION...]\n",
			program_invocation_short_name);
		return 2;
	}
	for (size_t i = 0; i < n; i++) {
		bool wanted = argc == 2;
		int status;

		for (int a = 2; a < argc; a++)
			wanted |= !strcmp(argv[a], sections[i].name);
		if (!wanted)
			continue;
		say("---- %s", sections[i].name);
		fflush(stdout);
		if (!fork()) {
			must(mkdir(sections[i].name, 0755) == 0 && chdir(sections[i].name) == 0,
			     sections[i].name);
			syscall(SYS_close_range, 3, ~0U, 0);
			make_tree();
			sections[i].run();
			fflush(stdout);
			fchmodat(AT_FDCWD, base, 0700, 0);
			if (chdir(base) == 0) {
				chmod("shut", 0700);
				chmod("d", 0700);
			}
			_exit(0);
		}
		wait(&status);
		say("---- %s: status %d", sections[i].name, status);
	}
	return 0;
}
