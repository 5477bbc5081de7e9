/*
 * recipe.c - the table, and how one of its rows is run: fresh descriptors and files for what needs
 * them, a child for what changes the process, a look at what came back.
 */
#include "tests/escape/recipe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define V(value)                              \
	{                                     \
		ARG_VALUE, (uintptr_t)(value) \
	}
#define PATH             \
	{                \
		ARG_PATH \
	}
#define DIR_            \
	{               \
		ARG_DIR \
	}
#define EMPTY             \
	{                 \
		ARG_EMPTY \
	}
#define LINK             \
	{                \
		ARG_LINK \
	}
#define NEW             \
	{               \
		ARG_NEW \
	}
#define AT             \
	{              \
		ARG_AT \
	}
#define BUFFER             \
	{                  \
		ARG_BUFFER \
	}
#define SIZE                           \
	{                              \
		ARG_VALUE, MEMORY_SIZE \
	}
#define TEXT(s)                           \
	{                                 \
		ARG_VALUE, (uintptr_t)(s) \
	}
#define ROW(name) static const struct recipe recipe_##name[]
#define END                  \
	{                    \
		.name = NULL \
	}
#define CALL(number, call, what, flags, ...) \
	{                                    \
		number, call, what, flags,   \
		{                            \
			__VA_ARGS__          \
		}                            \
	}

ROW(open) = { CALL(2, "open", "read", GIVES_FD, PATH, V(O_RDONLY)),
	      CALL(2, "open", "write", GIVES_FD, PATH, V(O_RDWR)),
	      CALL(2, "open", "O_PATH", GIVES_FD, PATH, V(O_PATH)),
	      CALL(2, "open", "directory", GIVES_FD, DIR_, V(O_RDONLY | O_DIRECTORY)),
	      CALL(2, "open", "create", GIVES_FD, NEW, V(O_CREAT | O_WRONLY), V(0666)),
	      CALL(2, "open", "O_TMPFILE", GIVES_FD, DIR_, V(O_TMPFILE | O_RDWR), V(0666)),
	      END };
ROW(stat) = { CALL(4, "stat", "", 0, PATH, BUFFER), END };
ROW(lstat) = { CALL(6, "lstat", "", 0, PATH, BUFFER), CALL(6, "lstat", "link", 0, LINK, BUFFER),
	       END };
ROW(access) = { CALL(21, "access", "", 0, PATH, V(F_OK)), END };
ROW(connect) = { CALL(42, "connect", "", 0, { ARG_SOCKET }, { ARG_ADDRESS },
		      V(sizeof(struct sockaddr_un))),
		 END };
ROW(bind) = { CALL(49, "bind", "", 0, { ARG_SOCKET }, { ARG_NEW_ADDRESS },
		   V(sizeof(struct sockaddr_un))),
	      END };
ROW(execve) = { CALL(59, "execve", "", IN_CHILD, { ARG_PROG }, { ARG_VECTOR }, { ARG_VECTOR }),
		END };
/* To those whom the program may not have: SIGCONT, which would do no harm. */
ROW(kill) = { CALL(62, "kill", "supervisor", BY_DESCRIPTOR, { ARG_SUPERVISOR }, V(SIGCONT)), END };
ROW(tkill) = { CALL(200, "tkill", "supervisor", BY_DESCRIPTOR, { ARG_SUPERVISOR }, V(SIGCONT)),
	       END };
ROW(tgkill) = { CALL(234, "tgkill", "supervisor", BY_DESCRIPTOR, { ARG_SUPERVISOR },
		     { ARG_SUPERVISOR }, V(SIGCONT)),
		END };
ROW(rt_sigqueueinfo) = { CALL(129, "rt_sigqueueinfo", "supervisor", BY_DESCRIPTOR,
			      { ARG_SUPERVISOR }, V(SIGCONT), { ARG_SIGINFO }),
			 END };
ROW(rt_tgsigqueueinfo) = { CALL(297, "rt_tgsigqueueinfo", "supervisor", BY_DESCRIPTOR,
				{ ARG_SUPERVISOR }, { ARG_SUPERVISOR }, V(SIGCONT),
				{ ARG_SIGINFO }),
			   END };
ROW(pidfd_send_signal) = { CALL(424, "pidfd_send_signal", "supervisor", BY_DESCRIPTOR,
				{ ARG_PIDFD }, V(SIGCONT), V(0), V(0)),
			   END };
ROW(truncate) = { CALL(76, "truncate", "", 0, PATH, V(0)), END };
/* Who one is not. */
ROW(setuid) = { CALL(105, "setuid", "somebody else", IN_CHILD | BY_DESCRIPTOR, V(1)), END };
ROW(setgid) = { CALL(106, "setgid", "somebody else", IN_CHILD | BY_DESCRIPTOR, V(1)), END };
ROW(setreuid) = { CALL(113, "setreuid", "somebody else", IN_CHILD | BY_DESCRIPTOR, V(1), V(1)),
		  END };
ROW(setregid) = { CALL(114, "setregid", "somebody else", IN_CHILD | BY_DESCRIPTOR, V(1), V(1)),
		  END };
ROW(setresuid) = {
	CALL(117, "setresuid", "somebody else", IN_CHILD | BY_DESCRIPTOR, V(-1), V(1), V(1)), END
};
ROW(setresgid) = {
	CALL(119, "setresgid", "somebody else", IN_CHILD | BY_DESCRIPTOR, V(-1), V(1), V(1)), END
};
ROW(chdir) = { CALL(80, "chdir", "", IN_CHILD, DIR_), END };
ROW(rename) = { CALL(82, "rename", "from", 0, PATH, { ARG_INSIDE_NEW }),
		CALL(82, "rename", "to", 0, { ARG_INSIDE }, NEW), END };
ROW(mkdir) = { CALL(83, "mkdir", "", 0, NEW, V(0777)), END };
ROW(rmdir) = { CALL(84, "rmdir", "", 0, EMPTY), END };
ROW(creat) = { CALL(85, "creat", "", GIVES_FD, NEW, V(0666)),
	       CALL(85, "creat", "over", GIVES_FD | MISSING_IS_OTHER, PATH, V(0666)), END };
ROW(link) = { CALL(86, "link", "from", 0, PATH, { ARG_INSIDE_NEW }),
	      CALL(86, "link", "to", 0, { ARG_INSIDE }, NEW), END };
ROW(unlink) = { CALL(87, "unlink", "", 0, PATH), END };
ROW(symlink) = { CALL(88, "symlink", "", 0, TEXT("x"), NEW), END };
ROW(readlink) = { CALL(89, "readlink", "", 0, LINK, BUFFER, SIZE), END };
ROW(chmod) = { CALL(90, "chmod", "", 0, PATH, V(0777)), END };
ROW(fchmod) = { CALL(91, "fchmod", "read-only", BY_DESCRIPTOR, { ARG_RO_FD }, V(0777)), END };
ROW(chown) = { CALL(92, "chown", "", 0, PATH, V(-1), V(-1)), END };
ROW(fchown) = { CALL(93, "fchown", "read-only", BY_DESCRIPTOR, { ARG_RO_FD }, V(-1), V(-1)), END };
ROW(lchown) = { CALL(94, "lchown", "", 0, PATH, V(-1), V(-1)), END };
ROW(utime) = { CALL(132, "utime", "", 0, PATH, V(0)), END };
ROW(mknod) = { CALL(133, "mknod", "file", 0, NEW, V(S_IFREG | 0666), V(0)),
	       CALL(133, "mknod", "FIFO", 0, NEW, V(S_IFIFO | 0666), V(0)), END };
ROW(statfs) = { CALL(137, "statfs", "", 0, PATH, BUFFER), END };
ROW(setxattr) = { CALL(188, "setxattr", "", 0, PATH, TEXT("user.x"), TEXT("v"), V(1), V(0)), END };
ROW(lsetxattr) = { CALL(189, "lsetxattr", "", 0, PATH, TEXT("user.x"), TEXT("v"), V(1), V(0)),
		   END };
ROW(fsetxattr) = { CALL(190, "fsetxattr", "read-only", BY_DESCRIPTOR, { ARG_RO_FD }, TEXT("user.x"),
			TEXT("v"), V(1), V(0)),
		   END };
ROW(getxattr) = { CALL(191, "getxattr", "", 0, PATH, TEXT("user.canary"), BUFFER, SIZE), END };
ROW(lgetxattr) = { CALL(192, "lgetxattr", "", 0, PATH, TEXT("user.canary"), BUFFER, SIZE), END };
ROW(listxattr) = { CALL(194, "listxattr", "", 0, PATH, BUFFER, SIZE), END };
ROW(llistxattr) = { CALL(195, "llistxattr", "", 0, PATH, BUFFER, SIZE), END };
ROW(removexattr) = { CALL(197, "removexattr", "", 0, PATH, TEXT("user.canary")), END };
ROW(lremovexattr) = { CALL(198, "lremovexattr", "", 0, PATH, TEXT("user.canary")), END };
ROW(fremovexattr) = {
	CALL(199, "fremovexattr", "read-only", BY_DESCRIPTOR, { ARG_RO_FD }, TEXT("user.ours")), END
};
ROW(utimes) = { CALL(235, "utimes", "", 0, PATH, V(0)), END };
ROW(inotify_add_watch) = {
	CALL(254, "inotify_add_watch", "", 0, { ARG_INOTIFY }, PATH, V(IN_ALL_EVENTS)),
	CALL(254, "inotify_add_watch", "directory", 0, { ARG_INOTIFY }, DIR_, V(IN_ALL_EVENTS)), END
};
ROW(openat) = {
	CALL(257, "openat", "read", GIVES_FD, AT, PATH, V(O_RDONLY)),
	CALL(257, "openat", "write", GIVES_FD, AT, PATH, V(O_RDWR | O_TRUNC)),
	CALL(257, "openat", "O_PATH", GIVES_FD, AT, PATH, V(O_PATH | O_NOFOLLOW)),
	CALL(257, "openat", "directory", GIVES_FD, AT, DIR_, V(O_RDONLY | O_DIRECTORY)),
	CALL(257, "openat", "create", GIVES_FD, AT, NEW, V(O_CREAT | O_EXCL | O_WRONLY), V(0666)),
	CALL(257, "openat", "O_TMPFILE", GIVES_FD, AT, DIR_, V(O_TMPFILE | O_RDWR), V(0666)),
	END
};
ROW(mkdirat) = { CALL(258, "mkdirat", "", 0, AT, NEW, V(0777)), END };
ROW(mknodat) = { CALL(259, "mknodat", "", 0, AT, NEW, V(S_IFIFO | 0666), V(0)), END };
ROW(fchownat) = { CALL(260, "fchownat", "", 0, AT, PATH, V(-1), V(-1), V(0)), END };
ROW(futimesat) = { CALL(261, "futimesat", "", 0, AT, PATH, V(0)), END };
ROW(newfstatat) = { CALL(262, "newfstatat", "", 0, AT, PATH, BUFFER, V(0)),
		    CALL(262, "newfstatat", "link", 0, AT, LINK, BUFFER, V(AT_SYMLINK_NOFOLLOW)),
		    CALL(262, "newfstatat", "AT_EMPTY_PATH", 0, AT, PATH, BUFFER, V(AT_EMPTY_PATH)),
		    END };
ROW(unlinkat) = { CALL(263, "unlinkat", "", 0, AT, PATH, V(0)),
		  CALL(263, "unlinkat", "directory", 0, AT, EMPTY, V(AT_REMOVEDIR)), END };
ROW(renameat) = { CALL(264, "renameat", "from", 0, AT, PATH, V(AT_FDCWD), { ARG_INSIDE_NEW }),
		  CALL(264, "renameat", "to", 0, V(AT_FDCWD), { ARG_INSIDE }, AT, NEW), END };
ROW(linkat) = { CALL(265, "linkat", "from", 0, AT, PATH, V(AT_FDCWD), { ARG_INSIDE_NEW }, V(0)),
		CALL(265, "linkat", "following", 0, AT, PATH, V(AT_FDCWD), { ARG_INSIDE_NEW },
		     V(AT_SYMLINK_FOLLOW)),
		CALL(265, "linkat", "to", 0, V(AT_FDCWD), { ARG_INSIDE }, AT, NEW, V(0)), END };
ROW(symlinkat) = { CALL(266, "symlinkat", "", 0, TEXT("x"), AT, NEW), END };
ROW(readlinkat) = { CALL(267, "readlinkat", "", 0, AT, LINK, BUFFER, SIZE), END };
ROW(fchmodat) = { CALL(268, "fchmodat", "", 0, AT, PATH, V(0777)), END };
ROW(faccessat) = { CALL(269, "faccessat", "", 0, AT, PATH, V(R_OK)), END };
ROW(utimensat) = {
	CALL(280, "utimensat", "", 0, AT, PATH, V(0), V(0)),
	CALL(280, "utimensat", "read-only", BY_DESCRIPTOR, { ARG_RO_FD }, V(0), V(0), V(0)), END
};
ROW(renameat2) = { CALL(316, "renameat2", "from", 0, AT, PATH, V(AT_FDCWD), { ARG_INSIDE_NEW },
			V(1 /* RENAME_NOREPLACE */)),
		   CALL(316, "renameat2", "exchange", 0, AT, PATH, V(AT_FDCWD), { ARG_INSIDE },
			V(2 /* RENAME_EXCHANGE */)),
		   CALL(316, "renameat2", "to", 0, V(AT_FDCWD), { ARG_INSIDE }, AT, NEW, V(0)),
		   END };
ROW(execveat) = { CALL(322, "execveat", "", IN_CHILD, AT, { ARG_PROG }, { ARG_VECTOR },
		       { ARG_VECTOR }, V(0)),
		  END };
ROW(statx) = { CALL(332, "statx", "", 0, AT, PATH, V(0), V(0x7ff), BUFFER),
	       CALL(332, "statx", "AT_EMPTY_PATH", 0, AT, PATH, V(AT_EMPTY_PATH), V(0x7ff), BUFFER),
	       END };
ROW(openat2) = { CALL(437, "openat2", "read", GIVES_FD, AT, PATH, { ARG_HOW, 0 }, V(24)),
		 CALL(437, "openat2", "RESOLVE_IN_ROOT", GIVES_FD, AT, PATH, { ARG_HOW, 1 }, V(24)),
		 CALL(437, "openat2", "create", GIVES_FD, AT, NEW, { ARG_HOW, 2 }, V(24)), END };
ROW(faccessat2) = { CALL(439, "faccessat2", "", 0, AT, PATH, V(F_OK), V(AT_SYMLINK_NOFOLLOW)),
		    END };
ROW(fchmodat2) = { CALL(452, "fchmodat2", "", 0, AT, PATH, V(0777), V(0)), END };
ROW(setxattrat) = {
	CALL(463, "setxattrat", "", 0, AT, PATH, V(0), TEXT("user.x"), { ARG_XATTR }, V(16)), END
};
ROW(getxattrat) = { CALL(464, "getxattrat", "", 0, AT, PATH, V(0), TEXT("user.canary"),
			 { ARG_XATTR }, V(16)),
		    END };
ROW(listxattrat) = { CALL(465, "listxattrat", "", 0, AT, PATH, V(0), BUFFER, SIZE), END };
ROW(removexattrat) = { CALL(466, "removexattrat", "", 0, AT, PATH, V(0), TEXT("user.canary")),
		       END };

const struct recipes all_recipes[] = {
#define SYSCALL_NOTIFY(nr, name) { #name, recipe_##name },
#define SYSCALL_LAYER_NOTIFY(nr, name, layer) { #name, recipe_##name },
#define SYSCALL_SPECIAL_NOTIFY(nr, name) { #name, recipe_##name },
#include "client/run/syscalls.def"
};
const size_t n_recipes = sizeof(all_recipes) / sizeof(all_recipes[0]);

/* ---- the attacker's argument ---- */

static const char *const objects[] = {
	[ARG_PATH] = "secret", [ARG_DIR] = "dir", [ARG_EMPTY] = "empty",  [ARG_LINK] = "link",
	[ARG_PROG] = "prog",   [ARG_NEW] = "new", [ARG_ADDRESS] = "sock", [ARG_NEW_ADDRESS] = "new",
};

const struct arg *recipe_target(const struct recipe *r)
{
	for (size_t i = 0; i < 6; i++)
		if (r->args[i].kind < sizeof(objects) / sizeof(objects[0]) &&
		    objects[r->args[i].kind])
			return &r->args[i];
	return NULL;
}

const char *recipe_object(const struct recipe *r)
{
	static unsigned n;
	const struct arg *target = recipe_target(r);

	if (target->kind == ARG_NEW || target->kind == ARG_NEW_ADDRESS)
		return text("new-%u", n++);
	return objects[target->kind];
}

void recipe_memory(const struct recipe *r, const char *path, void *memory)
{
	const struct arg *target = recipe_target(r);
	struct sockaddr_un *address = memory;

	memset(memory, 0, MEMORY_SIZE);
	if (target->kind == ARG_ADDRESS || target->kind == ARG_NEW_ADDRESS) {
		address->sun_family = AF_UNIX;
		snprintf(address->sun_path, sizeof(address->sun_path), "%s", path);
	} else {
		snprintf(memory, MEMORY_SIZE, "%s", path);
	}
}

/* ---- running ---- */

static char buffer[MEMORY_SIZE] __attribute__((aligned(64)));
static const char *vector[] = { NULL };

static uintptr_t materialise(const struct arg *arg, const void *memory, int at, int *ret_fd)
{
	static const struct open_how hows[] = {
		{ .flags = O_RDONLY },
		{ .flags = O_RDONLY, .resolve = RESOLVE_IN_ROOT },
		{ .flags = O_CREAT | O_WRONLY, .mode = 0666 },
	};
	static struct {
		uint64_t value;
		uint32_t size, flags;
	} xattr;
	static siginfo_t info = { .si_code = SI_QUEUE };
	static unsigned n;
	const char *path;

	switch (arg->kind) {
	case ARG_VALUE:
		return arg->value;
	case ARG_AT:
		return (uintptr_t)(intptr_t)at;
	case ARG_BUFFER:
		memset(buffer, 0, sizeof(buffer));
		return (uintptr_t)buffer;
	case ARG_INSIDE:
		path = text("%s/victim-%u", world.rw, n++ % 8);
		write_file(path, "inside\n");
		return (uintptr_t)path;
	case ARG_INSIDE_NEW:
		return (uintptr_t)text("%s/taken-%u", world.rw, n++);
	case ARG_SOCKET:
		*ret_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		return (uintptr_t)*ret_fd;
	case ARG_RO_FD:
		*ret_fd = open(text("%s/file", world.ro), O_RDONLY | O_CLOEXEC);
		return (uintptr_t)*ret_fd;
	case ARG_INOTIFY:
		*ret_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
		return (uintptr_t)*ret_fd;
	case ARG_SUPERVISOR:
		return (uintptr_t)world.supervisor;
	case ARG_SIGINFO:
		return (uintptr_t)&info;
	case ARG_PIDFD:
		*ret_fd = (int)syscall(SYS_pidfd_open, world.supervisor, 0);
		return (uintptr_t)*ret_fd;
	case ARG_VECTOR:
		return (uintptr_t)vector;
	case ARG_HOW:
		return (uintptr_t)&hows[arg->value];
	case ARG_XATTR:
		memset(buffer, 0, sizeof(buffer));
		buffer[0] = 'v';
		xattr.value = (uintptr_t)buffer;
		xattr.size = 64;
		return (uintptr_t)&xattr;
	default:
		return (uintptr_t)memory;
	}
}

static bool buffer_shows_outside(void)
{
	const uint64_t size = SECRET_SIZE;

	/* Sizes are aligned wherever they are in what stat and statx give. */
	for (size_t i = 0; i + 8 <= sizeof(buffer); i += 8)
		if (memcmp(buffer + i, &size, 8) == 0)
			return true;
	return contains(buffer, sizeof(buffer), world.token, strlen(world.token));
}

static struct outcome run_here(const struct recipe *r, const void *memory, int at)
{
	struct outcome o = { 0 };
	uintptr_t a[6];
	int fd = -1;

	memset(buffer, 0, sizeof(buffer));
	for (size_t i = 0; i < 6; i++)
		a[i] = materialise(&r->args[i], memory, at, &fd);
	o.result = syscall(r->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	o.error = o.result < 0 ? errno : 0;
	if (o.result >= 0) {
		o.outside = buffer_shows_outside();
		if (r->flags & GIVES_FD) {
			o.outside |= fd_shows_outside((int)o.result);
			close((int)o.result);
		}
		if (recipe_target(r) && recipe_target(r)->kind == ARG_ADDRESS) {
			char c;

			/* The host's listener says something; ours, nothing. */
			o.outside |= recv(fd, &c, 1, MSG_DONTWAIT) > 0;
		}
	}
	if (fd >= 0)
		close(fd);
	return o;
}

static struct outcome run_in_child(const struct recipe *r, const void *memory, int at)
{
	struct outcome *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0),
		       o;
	int status;
	pid_t pid;

	if (shared == MAP_FAILED)
		broken("mmap: %s", strerror(errno));
	/* What stays if the call replaces the process. */
	shared->result = 0;
	pid = fork();
	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid == 0) {
		*shared = run_here(r, memory, at);
		if (shared->result >= 0) { /* chdir */
			int fd = open(".", O_RDONLY | O_DIRECTORY);

			shared->outside |= fd >= 0 && fd_shows_outside(fd);
			if (syscall(SYS_getcwd, buffer, sizeof(buffer)) > 0)
				shared->entered =
					strncmp(buffer, world.outside, strlen(world.outside)) == 0;
		}
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	o = *shared;
	munmap(shared, sizeof(*shared));
	if (WIFEXITED(status) && WEXITSTATUS(status) == OUTSIDE_STATUS)
		o.outside = true;
	return o;
}

struct outcome recipe_run(const struct recipe *r, const void *memory, int at)
{
	return r->flags & IN_CHILD ? run_in_child(r, memory, at) : run_here(r, memory, at);
}
