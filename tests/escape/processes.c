/*
 * processes.c - our own processes: the supervisor, its server, init. None can be seen into, taken
 * from, changed or ended. Signals that would do harm are not sent where a harmless one shows that
 * they could be.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/escape/escape.h"

static int trace(void *userdata)
{
	pid_t pid = *(pid_t *)userdata;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0 ||
	    ptrace(PTRACE_ATTACH, pid, NULL, NULL) == 0)
		return 1;
	return 0;
}

/* Whether the number is somebody's whom we may not touch: in a process namespace it may be nobody,
 * or one of our own. */
static bool is_ours(pid_t pid)
{
	char status[4096] = "";
	int fd = open(text("/proc/%d/status", pid), O_RDONLY | O_CLOEXEC);
	const char *seccomp;

	if (fd < 0)
		return false;
	(void)!read(fd, status, sizeof(status) - 1);
	close(fd);
	/* Whoever is under our filter is of the program's. */
	seccomp = strstr(status, "Seccomp:\t");
	return pid != 1 && seccomp && seccomp[9] == '2' && has_layer("pid");
}

/* Refused, and not only for want of something at that address. */
static void refused(const char *what, long result)
{
	int error = errno;
	bool through = result >= 0 || error == EFAULT || error == EIO;

	verdict(through, "%s: %s", what, result >= 0 ? "succeeded" : strerrorname_np(error));
}

static void touch(const char *who, pid_t pid)
{
	static const char *const files[] = { "mem",       "environ",     "maps", "auxv",
					     "syscall",   "stack",       "io",   "pagemap",
					     "exe",       "cwd",         "root", "fd/0",
					     "fd/3",      "fd/4",        "fd/5", "fdinfo/3",
					     "map_files", "attr/current" };
	struct rlimit limit_none = { 0, 0 };
	char data[64];
	struct iovec local = { data, sizeof(data) }, remote = { (void *)0x400000, sizeof(data) };
	int pidfd, status, policy[12] = { 0 };
	long r;

	if (is_ours(pid)) {
		ok("%s: %d is one of the program's", who, pid);
		return;
	}
	status = in_child(trace, &pid);
	verdict(status != 0, "%s: ptrace: status %d", who, status);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		const char *path = text("/proc/%d/%s", pid, files[i]);
		bool writable = i == 0;
		ssize_t n = -1;
		int fd;

		errno = 0;
		fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0) {
			n = pread(fd, data, sizeof(data), i == 0 ? 0x400000 : 0);
			close(fd);
		}
		verdict(fd >= 0 && (n > 0 || writable), "%s: %s: %s", who, path, errno_text(-1));
		must_fail(text("%s: readlink %s", who, path), readlink(path, data, sizeof(data)));
	}
	refused(text("%s: process_vm_readv", who), process_vm_readv(pid, &local, 1, &remote, 1, 0));
	refused(text("%s: process_vm_writev", who),
		process_vm_writev(pid, &local, 1, &remote, 1, 0));
	refused(text("%s: kcmp", who), syscall(SYS_kcmp, getpid(), pid, 0 /* KCMP_FILE */, 0, 0));
	refused(text("%s: get_robust_list", who),
		syscall(SYS_get_robust_list, pid, &data[0], &data[8]));
	refused(text("%s: move_pages", who),
		syscall(SYS_move_pages, pid, 1, (void *[]){ (void *)0x400000 }, NULL, policy, 0));
	/* Against init: it is of the same user and in the same namespace, so it may be limited and
	 * slowed down, and with it the sandbox, which is its own. */
	if (pid != 1) {
		must_fail(text("%s: prlimit", who), prlimit(pid, RLIMIT_CORE, &limit_none, NULL));
		must_fail(text("%s: kill 0", who), kill(pid, 0));
		must_fail(text("%s: SIGCONT", who), kill(pid, SIGCONT));
		must_fail(text("%s: tkill", who), syscall(SYS_tkill, pid, SIGCONT));
		must_fail(text("%s: tgkill", who), syscall(SYS_tgkill, pid, pid, SIGCONT));
		must_fail(text("%s: rt_sigqueueinfo", who),
			  syscall(SYS_rt_sigqueueinfo, pid, SIGCONT,
				  (siginfo_t[]){ { .si_code = -1 } }));
		/* Being asked for SIGIO is being sent one. */
		int pipes[2];

		if (pipe(pipes) < 0)
			broken("pipe");
		r = fcntl(pipes[0], F_SETOWN, pid);
		if (r == 0 && !has_layer("landlock") && !has_layer("pid"))
			escape("%s: F_SETOWN", who);
		else
			ok("%s: F_SETOWN: %s", who, errno_text(r));
		close(pipes[0]);
		close(pipes[1]);
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0) {
		ok("%s: pidfd_open: %s", who, errno_text(-1));
		return;
	}
	for (int fd = 0; fd < 32; fd++) {
		r = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
		if (r >= 0 || fd == 3)
			must_fail(text("%s: pidfd_getfd %d", who, fd), r);
	}
	if (pid != 1)
		must_fail(text("%s: pidfd_send_signal", who),
			  syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0));
	must_fail(text("%s: process_madvise", who),
		  syscall(SYS_process_madvise, pidfd, &remote, 1, 20 /* MADV_COLD */, 0));
	must_fail(text("%s: process_mrelease", who), syscall(SYS_process_mrelease, pidfd, 0));
	/* PIDFD_GET_*_NAMESPACE */
	for (unsigned i = 1; i <= 10; i++) {
		r = syscall(SYS_ioctl, pidfd, 0xff00 | i, 0);
		if (r >= 0 || i == 3)
			must_fail(text("%s: namespace %u by pidfd", who, i), r);
	}
	close(pidfd);
}

/* A process that ended, and whose parent did before it. */
static pid_t orphan(void)
{
	int pipes[2];
	pid_t pid, child;

	if (pipe(pipes) < 0)
		broken("pipe");
	child = fork();
	if (child == 0) {
		pid = fork();
		if (pid == 0)
			_exit(0);
		_exit(write(pipes[1], &pid, sizeof(pid)) != sizeof(pid));
	}
	waitpid(child, NULL, 0);
	if (read(pipes[0], &pid, sizeof(pid)) != sizeof(pid))
		broken("no child's child");
	close(pipes[0]);
	close(pipes[1]);
	return pid;
}

/* init ends with the last of us, not before. */
static void init(void)
{
	static const int signals[] = { SIGKILL, SIGSTOP, SIGTERM, SIGINT,
				       SIGHUP,  SIGSEGV, SIGUSR1, SIGTSTP };

	/* Should it pass them on, they come to us. */
	for (size_t i = 1; i < sizeof(signals) / sizeof(signals[0]); i++)
		(void)signal(signals[i], SIG_IGN);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		(void)kill(1, signals[i]);
		/* Whether it still answers: it reaps. */
		pid_t pid = orphan();

		for (time_t end = time(NULL) + 10; kill(pid, 0) == 0 && time(NULL) < end;)
			sched_yield();
		verdict(kill(pid, 0) == 0, "init: reaps after signal %d", signals[i]);
	}
}

/* Processes that the host has and the namespace does not show. */
static void listing(void)
{
	char own[64], other[64];
	unsigned seen = 0, named = 0;

	snprintf(own, sizeof(own), "gofer");
	/* Those that are ours have small numbers in a namespace of their own, the host's are near the supervisor's. */
	for (pid_t pid = 1; pid < world.supervisor + 300; pid++) {
		if (pid == 1000 && world.supervisor > 1300)
			pid = world.supervisor - 300;
		int fd = open(text("/proc/%d/comm", pid), O_RDONLY | O_CLOEXEC);
		ssize_t n;

		if (fd < 0)
			continue;
		n = read(fd, other, sizeof(other) - 1);
		close(fd);
		other[n > 0 ? n : 0] = '\0';
		seen++;
		named += pid != 1 && strncmp(other, own, strlen(own)) == 0;
	}
	if (has_layer("pid"))
		verdict(named > 0, "/proc shows %u processes, %u of the host's gofers", seen,
			named);
	else
		ok("/proc shows %u processes", seen);
}

void family_processes(void)
{
	listing();
	touch("the supervisor", world.supervisor);
	touch("its parent", (pid_t)atoi(getenv("ESCAPE_SCRIPT") ?: "1"));
	if (getppid() != 1)
		touch("the parent", getppid());
	if (has_layer("pid")) {
		touch("init", 1);
		init();
	}
}
