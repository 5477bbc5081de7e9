/*
 * handle_signal.c - kill(2) and its kin, where neither a process namespace nor Landlock keeps signals inside (Landlock does
 * since ABI 6, Linux 6.12).
 *
 * Everything that decides is in registers, so a signal to the caller's own process is the kernel's to send: nobody can make
 * another process of its own number. Others may end, and their number become somebody else's: they are held by a
 * pidfd first, and then looked at. Whoever does not descend from the sandbox's init does not exist.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "client/run/call.h"

/* Of a thread's /proc/TID/status: "\nTgid:\t" and the like. */
static pid_t status_field(pid_t tid, const char *name)
{
	char path[PROC_PATH_MAX], text[2048];
	_cleanup_fd_ int fd = -EBADF;
	const char *line;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	line = strstr(text, name);
	return line ? (pid_t)strtol(line + strlen(name), NULL, 10) : -ESRCH;
}

static pid_t process_of(pid_t tid)
{
	return status_field(tid, "\nTgid:\t");
}

/* A pidfd of a process of the sandbox, or -ESRCH. */
static int hold(const struct call *c, pid_t pid)
{
	int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	/* A thread that is no process has no pidfd: EINVAL, or ENOENT since 6.15. */
	if (pidfd < 0 || cage_has(c->sv->cage, pid) != 1) {
		fd_close(pidfd);
		return -ESRCH;
	}
	return pidfd;
}

static int64_t send_to(const struct call *c, pid_t pid, int sig, siginfo_t *info)
{
	_cleanup_fd_ int pidfd = hold(c, pid);

	if (pidfd < 0)
		return pidfd;
	return syscall(SYS_pidfd_send_signal, pidfd, sig, info, 0) < 0 ? -errno : 0;
}

/* group 0: everybody of the sandbox but the caller. */
static int64_t send_to_all(const struct call *c, pid_t caller, pid_t group, int sig)
{
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	int64_t result = -ESRCH;

	if (!proc)
		return -errno;
	while ((entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		int64_t r;

		if (pid <= 0 || (group ? getpgid(pid) != group : pid == caller))
			continue;
		r = send_to(c, pid, sig, NULL);
		if (r == 0 || (r != -ESRCH && result != 0))
			result = r;
	}
	(void)closedir(proc);
	return result;
}

static int64_t let_through(struct call *c)
{
	c->may_continue = true;
	return CALL_CONTINUE;
}

int64_t supervise_kill(struct call *c)
{
	pid_t pid = (pid_t)c->args[0], caller = process_of(c->tid);
	int sig = (int)c->args[1];

	if (sig < 0 || sig > SIGRTMAX)
		return -EINVAL;
	if (caller < 0 || pid == INT32_MIN)
		return -ESRCH;
	if (pid == caller)
		return let_through(c);
	if (pid > 0)
		return send_to(c, process_of(pid), sig, NULL);
	return send_to_all(c, caller, pid == -1 ? 0 : pid ? -pid : getpgid(caller), sig);
}

/* A thread of another process. While that is held, the kernel checks that the thread is its. */
static int64_t send_to_thread(struct call *c, pid_t tgid, pid_t tid, int sig, siginfo_t *info)
{
	_cleanup_fd_ int pidfd = -EBADF;

	if (tgid == process_of(c->tid) && !info)
		return let_through(c);
	pidfd = hold(c, tgid);
	if (pidfd < 0)
		return pidfd;
	if (info)
		return syscall(SYS_rt_tgsigqueueinfo, tgid, tid, sig, info) < 0 ? -errno : 0;
	return syscall(SYS_tgkill, tgid, tid, sig) < 0 ? -errno : 0;
}

int64_t supervise_tgkill(struct call *c)
{
	if ((pid_t)c->args[0] <= 0 || (pid_t)c->args[1] <= 0)
		return -EINVAL;
	return send_to_thread(c, (pid_t)c->args[0], (pid_t)c->args[1], (int)c->args[2], NULL);
}

int64_t supervise_tkill(struct call *c)
{
	pid_t tid = (pid_t)c->args[0];

	if (tid <= 0)
		return -EINVAL;
	/* The number may be another thread's by the time the kernel looks, but of whose process is held. */
	if (tid == c->tid)
		return let_through(c);
	return send_to_thread(c, process_of(tid), tid, (int)c->args[1], NULL);
}

/* As the kernel: what others are told comes from a process, not from the kernel. */
static int read_info(struct call *c, uint64_t address, siginfo_t *ret_info)
{
	int r = call_read(c, address, ret_info, sizeof(*ret_info));

	if (r == 0 && (ret_info->si_code >= 0 || ret_info->si_code == SI_TKILL))
		r = -EPERM;
	if (r == 0 && !call_alive(c))
		r = -ESRCH;
	return r;
}

int64_t supervise_rt_sigqueueinfo(struct call *c)
{
	pid_t pid = (pid_t)c->args[0];
	siginfo_t info;
	int r;

	if (pid > 0 && pid == process_of(c->tid))
		return let_through(c);
	r = read_info(c, c->args[2], &info);
	if (r < 0)
		return r;
	info.si_signo = (int)c->args[1];
	return send_to(c, pid > 0 ? process_of(pid) : -1, (int)c->args[1], &info);
}

int64_t supervise_rt_tgsigqueueinfo(struct call *c)
{
	pid_t tgid = (pid_t)c->args[0];
	siginfo_t info;
	int r;

	if (tgid <= 0 || (pid_t)c->args[1] <= 0)
		return -EINVAL;
	if (tgid == process_of(c->tid))
		return let_through(c);
	r = read_info(c, c->args[3], &info);
	return r < 0 ? r : send_to_thread(c, tgid, (pid_t)c->args[1], (int)c->args[2], &info);
}

int64_t supervise_pidfd_send_signal(struct call *c)
{
	_cleanup_fd_ int pidfd = -EBADF;
	char path[PROC_PATH_MAX];
	siginfo_t info;
	pid_t pid = -1;
	int r = c->args[2] ? read_info(c, c->args[2], &info) : 0;
	FILE *f;

	if (r == 0)
		r = call_take_fd(c, (int)c->args[0], &pidfd);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	for (char line[128]; pid == -1 && fgets(line, sizeof(line), f);)
		if (strncmp(line, "Pid:", 4) == 0)
			pid = (pid_t)strtol(line + 4, NULL, 10);
	(void)fclose(f);
	if (pid == -1)
		return -EBADF;
	if (pid <= 0 || cage_has(c->sv->cage, process_of(pid)) != 1)
		return -ESRCH;
	return syscall(SYS_pidfd_send_signal, pidfd, (int)c->args[1], c->args[2] ? &info : NULL,
		       (unsigned)c->args[3]) < 0
		       ? -errno
		       : 0;
}
