/*
 * descriptors.c - what a directory's descriptor gives: never more than the namespace shows, however
 * it was come by, and wherever the directory has gone since.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/escape/escape.h"

#define UP "../../../../../../../../../../../../../../../.."

static int open_dir(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Whether the directory `fd`, or one above it in the tree of the host, shows the canaries. */
static bool reaches(int fd, const char **ret_how)
{
	static const char *const names[] = { "../secret", "../dir/canary", "../../outside/secret",
					     "../outside/secret" };
	struct stat st;
	int up;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		*ret_how = names[i];
		if (fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			return true;
	}
	*ret_how = text("%s%s/secret", UP, world.outside);
	if (fstatat(fd, *ret_how, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return true;
	*ret_how = "the directory above";
	up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (up >= 0) {
		bool shows = fd_shows_outside(up);

		close(up);
		if (shows)
			return true;
	}
	return false;
}

struct entered {
	int fd;
	const char *what;
};

/* In a child: the directory becomes the working directory. */
static int enter(void *userdata)
{
	const struct entered *e = userdata;
	const char *how = "", *argv[] = { "prog", NULL };
	char cwd[MEMORY_SIZE] = "";
	int here;
	pid_t pid;

	if (fchdir(e->fd) < 0) {
		ok("%s: fchdir: %s", e->what, errno_text(-1));
		fflush(stdout);
		return 0;
	}
	if (syscall(SYS_getcwd, cwd, sizeof(cwd)) > 0) {
		bool names = strncmp(cwd, world.outside, strlen(world.outside)) == 0;

		/* Without a view of its own the kernel tells where the host has put it. */
		if (names && !has_layer("mount"))
			limit("moved-name", "%s: getcwd says %s", e->what, cwd);
		else
			verdict(names, "%s: getcwd says %s", e->what, cwd);
	}
	verdict(reaches(AT_FDCWD, &how), "%s: from the working directory: %s", e->what, how);
	/* Programs are the kernel's to find. */
	pid = fork();
	if (pid == 0) {
		syscall(SYS_execve, "../prog", argv, NULL);
		_exit(errno == ENOENT || errno == EACCES ? 0 : 1);
	}
	waitpid(pid, &here, 0);
	verdict(WIFEXITED(here) && WEXITSTATUS(here) == OUTSIDE_STATUS,
		"%s: ../prog is run: status %#x", e->what, (unsigned)here);
	for (int i = 0; i < 40; i++)
		(void)!chdir("..");
	here = open_dir(".");
	verdict(here >= 0 && fd_shows_outside(here), "%s: forty times up", e->what);
	verdict(access(text(".%s/secret", world.outside), F_OK) == 0, "%s: down from there",
		e->what);
	fflush(stdout);
	return 0;
}

static void examine(int fd, const char *what)
{
	struct entered e = { fd, what };
	const char *how = "";

	if (fd < 0) {
		ok("%s: no descriptor: %s", what, errno_text(-1));
		return;
	}
	verdict(reaches(fd, &how), "%s: relative: %s", what, how);
	/* Where this ends up outside, the script finds it. */
	if (mkdirat(fd, "../made", 0777) == 0)
		(void)unlinkat(fd, "../made", AT_REMOVEDIR);
	in_child(enter, &e);
}

/* ---- ways of coming by one ---- */

static int send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { (void *)"x", 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(sock, &m, 0) == 1 ? 0 : -1;
}

static int receive_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(sock, &m, 0) != 1 || !CMSG_FIRSTHDR(&m))
		return -1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

/* Opened by another process, elsewhere, that ended. */
static int passed(const char *path)
{
	int pair[2], fd = -1;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		broken("socketpair: %s", errno_text(-1));
	pid = fork();
	if (pid == 0) {
		fd = open_dir(path);
		_exit(send_fd(pair[1], fd) < 0);
	}
	close(pair[1]);
	fd = receive_fd(pair[0]);
	close(pair[0]);
	waitpid(pid, NULL, 0);
	return fd;
}

static void ways(void)
{
	int fd, copy;

	(void)!mkdir(text("%s/a", world.rw), 0755);
	(void)!mkdir(text("%s/a/b", world.rw), 0755);
	(void)!mkdir(text("%s/a/b/c", world.rw), 0755);
	examine(open_dir(world.rw), "the volume");
	examine(open(world.rw, O_PATH | O_CLOEXEC), "the volume, O_PATH");
	examine(open_dir("/"), "the root");
	examine(open_dir(text("%s/..", world.rw)), "above the volume");
	examine(open_dir("/proc/self/root"), "/proc/self/root");
	examine(open_dir("/proc/self/cwd"), "/proc/self/cwd");
	examine(open_dir("/proc/1/root"), "/proc/1/root");
	examine(open_dir("/proc/1/cwd"), "/proc/1/cwd");
	examine(open_dir(text("/proc/%d/root", world.supervisor)), "the supervisor's root");
	examine(open_dir(text("/proc/%d/cwd", world.supervisor)), "the supervisor's directory");
	fd = open_dir(text("%s/a/b/c", world.rw));
	copy = dup(fd);
	examine(copy, "a copy");
	close(copy);
	copy = open_dir(text("/proc/self/fd/%d", fd));
	examine(copy, "reopened");
	close(copy);
	copy = open_dir(text("/proc/self/fd/%d/..", fd));
	examine(copy, "reopened, ..");
	close(copy);
	copy = passed(text("%s/a/b", world.rw));
	examine(copy, "passed");
	close(copy);
	close(fd);
}

static void renamed_within(void)
{
	int fd = open_dir(text("%s/a/b/c", world.rw));

	must_fail("a directory renamed into another volume",
		  rename(text("%s/a", world.rw), text("%s/a", world.rw2)));
	must_fail("a directory renamed into the read-only volume",
		  rename(text("%s/a", world.rw), text("%s/a", world.ro)));
	must_fail("a volume renamed", rename(world.rw2, text("%s/v", world.rw)));
	must_fail("a volume removed", rmdir(world.rw2));
	if (rename(text("%s/a/b/c", world.rw), text("%s/c", world.rw)) < 0)
		broken("rename: %s", errno_text(-1));
	examine(fd, "renamed upwards");
	if (rmdir(text("%s/c", world.rw)) == 0)
		examine(fd, "removed");
	close(fd);
}

/* Somebody outside moves a directory out of the volume while it is open, and is the working
 * directory, and is watched. */
static void moved_out(void)
{
	const char *moving = text("%s/moving", world.rw);
	int fd, path, deep, watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	(void)!mkdir(moving, 0777);
	(void)!mkdir(text("%s/deep", moving), 0777);
	fd = open_dir(moving);
	path = open(moving, O_PATH | O_CLOEXEC);
	deep = open_dir(text("%s/deep", moving));
	if (fd < 0 || path < 0 || deep < 0)
		broken("open %s: %d %d %d: %s", moving, fd, path, deep, errno_text(-1));
	if (inotify_add_watch(watch, moving, IN_ALL_EVENTS) < 0)
		ok("no watch: %s", errno_text(-1));
	if (chdir(moving) < 0)
		broken("chdir: %s", errno_text(-1));
	if (!ask_host("move-out moving"))
		broken("the host did not move it");
	examine(fd, "moved out");
	examine(path, "moved out, O_PATH");
	examine(deep, "moved out, below");
	examine(open_dir("."), "moved out, the working directory");
	examine(open_dir(".."), "moved out, above the working directory");
	examine(open_dir(text("/proc/self/fd/%d", fd)), "moved out, reopened");
	examine(open_dir(text("/proc/self/fd/%d/..", fd)), "moved out, reopened, ..");
	examine(open_dir("/proc/self/cwd/.."), "moved out, /proc/self/cwd/..");
	must_fail("creating in what is above", open("../created", O_CREAT | O_WRONLY, 0644));
	if (!ask_host("move-back moving") || chdir(world.rw) < 0)
		broken("the host did not move it back");
	close(fd);
	close(path);
	close(deep);
	close(watch);
}

void family_descriptors(void)
{
	ways();
	renamed_within();
	moved_out();
}
