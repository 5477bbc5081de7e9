/*
 * trace.c - ptrace, as far as single steps between system calls need it.
 *
 * The thread is taken hold of while it waits: the interrupt makes recvmsg begin again, and its way in
 * is the sign that nothing else is going on. Coming out, every system call stops it twice, on its way
 * in and on its way out.
 */
#include "client/stress/trace.h"

#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/ptrace.h>
#include <sys/time.h>

enum { STUCK_S = 5 };

static const long no_files[] = {
	SYS_futex,        SYS_ioctl,           SYS_sendmsg,     SYS_munmap,    SYS_mmap,
	SYS_mprotect,     SYS_madvise,         SYS_brk,         SYS_getrandom, SYS_clock_gettime,
	SYS_poll,         SYS_ppoll,           SYS_umask,       SYS_close,     SYS_fcntl,
	SYS_rt_sigaction, SYS_rt_sigprocmask,  SYS_sched_yield, SYS_dup,       SYS_lseek,
	SYS_rt_sigreturn, SYS_restart_syscall, SYS_gettid,      SYS_getpid,
};

static bool about_files(long call)
{
	for (size_t i = 0; i < ARRAY_SIZE(no_files); i++)
		if (no_files[i] == call)
			return false;
	return true;
}

static void on_alarm(int number _unused_)
{
}

/* Waits for the next stop; the signal to deliver in *ret_signal. 1 = at a system call. */
static int next_stop(struct tracer *t, int *ret_signal)
{
	int status;

	if (waitpid(t->pid, &status, __WALL) < 0)
		return errno == EINTR ? -ETIMEDOUT : -ESRCH;
	if (!WIFSTOPPED(status)) {
		t->pid = 0;
		return -ESRCH;
	}
	*ret_signal = 0;
	if (WSTOPSIG(status) == (SIGTRAP | 0x80))
		return 1;
	if (status >> 16 == 0)
		*ret_signal = WSTOPSIG(status);
	return 0;
}

/* Which system call it enters; -1 on its way out of one. */
static long call_entered(const struct tracer *t)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, sizeof(info), &info) < 0)
		return -1;
	return info.op == PTRACE_SYSCALL_INFO_ENTRY ? (long)info.entry.nr : -1;
}

static int go_on(const struct tracer *t, enum __ptrace_request how, int deliver)
{
	return ptrace(how, t->pid, NULL, (void *)(intptr_t)deliver) < 0 ? -errno : 0;
}

/* Goes on until it enters recvmsg (0), or `before` has had enough (1). */
static int step_through(struct tracer *t, bool (*before)(void *userdata, unsigned gap, long call),
			void *userdata)
{
	unsigned gap = 0;

	for (;;) {
		int deliver, r = next_stop(t, &deliver);
		long call = r == 1 ? call_entered(t) : -1;

		if (r < 0)
			return r;
		if (call == SYS_recvmsg)
			return 0;
		if (call >= 0 && before && about_files(call) && before(userdata, gap++, call))
			return 1;
		r = go_on(t, PTRACE_SYSCALL, deliver);
		if (r < 0)
			return r;
	}
}

/* The same within the time that no system call of a server should take. */
static int step_in_time(struct tracer *t, bool (*before)(void *userdata, unsigned gap, long call),
			void *userdata)
{
	const struct itimerval limit = { .it_value.tv_sec = STUCK_S }, never = { 0 };
	const struct sigaction on = { .sa_handler = on_alarm };
	int r;

	(void)sigaction(SIGALRM, &on, NULL);
	(void)setitimer(ITIMER_REAL, &limit, NULL);
	r = step_through(t, before, userdata);
	(void)setitimer(ITIMER_REAL, &never, NULL);
	return r;
}

int tracer_hold(struct tracer *t)
{
	int r = ptrace(PTRACE_INTERRUPT, t->pid, NULL, NULL) < 0 ? -errno : 0;

	if (r == 0)
		r = step_in_time(t, NULL, NULL);
	return r < 0 ? r : go_on(t, PTRACE_SYSCALL, 0);
}

int tracer_run(struct tracer *t, bool (*before)(void *userdata, unsigned gap, long call),
	       void *userdata)
{
	int r = step_in_time(t, before, userdata);
	int e = r < 0 ? 0 : go_on(t, PTRACE_CONT, 0);

	return e < 0 ? e : r;
}

int tracer_attach(struct tracer *t, pid_t pid)
{
	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) <
	    0)
		return -errno;
	t->pid = pid;
	return 0;
}

void tracer_detach(struct tracer *t)
{
	int status;

	if (!t->pid)
		return;
	if (ptrace(PTRACE_INTERRUPT, t->pid, NULL, NULL) == 0 &&
	    waitpid(t->pid, &status, __WALL) == t->pid)
		(void)ptrace(PTRACE_DETACH, t->pid, NULL, NULL);
	t->pid = 0;
}

const char *system_call_name(long call, char buf[static 24])
{
	char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)call);

	snprintf(buf, 24, "%s", name ?: "?");
	free(name);
	return buf;
}
