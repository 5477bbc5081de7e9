/*
 * inherited.c - descriptors that the program was started with: three, whatever the user's shell had
 * open. Standard input is a file of the host that was opened for reading, standard output one that
 * was opened for writing, and in a second run standard input is a directory of the host.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/escape/escape.h"

static void only_three(void)
{
	unsigned others = 0;

	for (int fd = 3; fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0) {
			char target[256] = "";

			(void)!readlink(text("/proc/self/fd/%d", fd), target, sizeof(target) - 1);
			ok("descriptor %d is open: %s", fd, target);
			others++;
		}
	verdict(others > 0, "%u descriptors beside the three", others);
}

static void standard_input(void)
{
	const char *self = "/proc/self/fd/0";
	struct timespec times[2] = { { 1, 0 }, { 1, 0 } };

	must_fail("reopen standard input for writing", open(self, O_RDWR));
	must_fail("reopen /dev/stdin for writing", open("/dev/stdin", O_RDWR | O_TRUNC));
	must_fail("truncate it", truncate(self, 0));
	must_fail("chmod by its name", chmod(self, 0777));
	must_fail("fchmod", fchmod(0, 0777));
	must_fail("fchown", fchown(0, getuid(), getgid()));
	must_fail("futimens", syscall(SYS_utimensat, 0, NULL, times, 0));
	must_fail("fsetxattr", fsetxattr(0, "user.x", "v", 1, 0));
	must_fail("link it into the volume",
		  linkat(AT_FDCWD, self, AT_FDCWD, text("%s/stdin", world.rw), AT_SYMLINK_FOLLOW));
	must_fail("link the descriptor",
		  linkat(0, "", AT_FDCWD, text("%s/stdin", world.rw), AT_EMPTY_PATH));
	must_fail("reopen standard output for reading", open("/proc/self/fd/1", O_RDONLY));
	must_fail("its parent", open("/proc/self/fd/0/..", O_RDONLY));
}

static void directory(void)
{
	struct stat st;
	int fd;

	must_fail("open below it", openat(0, "secret", O_RDONLY));
	must_fail("open above it", openat(0, "..", O_RDONLY));
	must_fail("stat below it", fstatat(0, "secret", &st, 0));
	must_fail("create below it", openat(0, "made", O_CREAT | O_WRONLY, 0644));
	must_fail("mkdir below it", mkdirat(0, "made", 0755));
	verdict(fd_shows_outside(0), "its names are listed");
	if (fchdir(0) == 0) {
		char cwd[MEMORY_SIZE] = "";

		(void)!syscall(SYS_getcwd, cwd, sizeof(cwd));
		verdict(contains(cwd, sizeof(cwd), world.outside, strlen(world.outside)),
			"getcwd there: %s", cwd);
		must_fail("open in it", open("secret", O_RDONLY));
		must_fail("run a program in it", access("prog", X_OK));
		must_fail("execve in it", syscall(SYS_execve, "./prog", (char *[]){ NULL }, NULL));
	}
	fd = open("/proc/self/fd/0/secret", O_RDONLY);
	must_fail("open by its name", fd);
}

void family_inherited(void)
{
	struct stat st;

	only_three();
	if (fstat(0, &st) == 0 && S_ISDIR(st.st_mode))
		directory();
	else
		standard_input();
}
