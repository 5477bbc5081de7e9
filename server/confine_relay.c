/*
 * confine_relay.c - what a process that only moves bytes is left with: the descriptors that it has,
 * memory, poll. No file can be opened, no socket made, no process started.
 */
#include <linux/capability.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <seccomp.h>

#include "server/confine.h"
#include "server/relay.h"

static const char *const allowed[] = {
	"read",         "readv",           "write",          "writev",
	"recvfrom",     "recvmsg",         "sendto",         "sendmsg",
	"poll",         "ppoll",           "ppoll_time64",   "close",
	"shutdown",     "getsockopt",      "futex",          "futex_time64",
	"munmap",       "madvise",         "mremap",         "brk",
	"sched_yield",  "rt_sigaction",    "rt_sigprocmask", "rt_sigreturn",
	"sigaltstack",  "restart_syscall", "exit",           "exit_group",
	"gettid",       "getpid",          "clock_gettime",  "clock_gettime64",
	"gettimeofday", "getrandom",       "getuid",         "geteuid",
	"getgid",       "getegid",         "fstat",          "time",
};

/* The gate takes connections, and makes the processes that serve them. */
static const char *const gate_allowed[] = {
	"accept4",         "socketpair", "fork",        "clone",       "wait4",   "kill",
	"setsockopt",      "fcntl",      "fcntl64",     "prctl",       "seccomp", "set_robust_list",
	"close_range",     "rseq",       "getsockname", "getpeername",

	"capget",          "capset",

	"set_tid_address",
};

/* The sanitizers' runtimes ask for these; they are told that there is no such thing. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const char *const refused[] = { "open",   "openat",    "readlink", "pipe2",
				       "execve", "ptrace",    "uname",    "sched_getaffinity",
				       "access", "newfstatat" };
#else
static const char *const refused[] = {};
#endif

static int add(scmp_filter_ctx ctx, uint32_t action, const char *const *names, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		int nr = seccomp_syscall_resolve_name(names[i]);

		/* Negative numbers are calls of other machines. */
		if (nr != __NR_SCMP_ERROR && nr >= 0)
			r = seccomp_rule_add(ctx, action, nr, 0);
	}
	return r;
}

static int load_filter(enum relay_kind kind)
{
	static const char *const memory[] = { "mmap", "mprotect" };
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r;

	if (!ctx)
		return -ENOMEM;
	r = add(ctx, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));
	for (size_t i = 0; i < ARRAY_SIZE(memory) && r == 0; i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(memory[i]),
				     1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* abort() */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				     SCMP_A0(SCMP_CMP_EQ, PR_GET_DUMPABLE));
	/* Names of anonymous memory, from malloc. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1,
				     SCMP_A0(SCMP_CMP_EQ, 0x53564d41));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 0);
	if (r == 0 && kind == RELAY_GATE) {
		r = add(ctx, SCMP_ACT_ALLOW, gate_allowed, ARRAY_SIZE(gate_allowed));
		/* Its flags are in memory: the C library takes clone() instead. */
		if (r == 0)
			r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	} else {
		/* Keys for the kernel's TLS. */
		if (r == 0 && kind == RELAY_TLS)
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
					     SCMP_A1(SCMP_CMP_EQ, SOL_TCP),
					     SCMP_A2(SCMP_CMP_EQ, TCP_ULP));
		if (r == 0 && kind == RELAY_TLS)
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 1,
					     SCMP_A1(SCMP_CMP_EQ, SOL_TLS));
		if (r == 0 && kind == RELAY_PIPES)
			r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(setsockopt), 0);
		if (r == 0)
			r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(fcntl), 0);
	}
	if (r == 0)
		r = add(ctx, SCMP_ACT_ERRNO(ENOENT), refused, ARRAY_SIZE(refused));
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}

/* False: this process must not go on. */
static bool holds(bool strict, int r, const char *layer, char *detail, size_t size)
{
	if (r >= 0)
		return true;
	snprintf(detail, size, "%s: %s", layer, strerror(-r));
	return !strict;
}

int confine_relay(enum relay_kind kind, bool strict, char *detail, size_t size)
{
	const struct server no_volumes = { 0 };
	struct rlimit none = { 0, 0 };
	char words[120];
	int r;

	/* A relay of the gate has all the others from it. */
	if (kind == RELAY_TLS) {
		r = load_filter(kind);
		return holds(strict, r, confine_layer_name(CONFINE_SECCOMP), detail, size) ? 0 : r;
	}
	r = setrlimit(RLIMIT_CORE, &none) < 0 ? -errno : 0;
	if (!holds(strict, r, "no core dumps", detail, size))
		return r;
	r = confine_caps(0, words, sizeof(words));
	if (!holds(strict, r, confine_layer_name(CONFINE_CAPS), detail, size))
		return r;
	r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
	if (!holds(strict, r, confine_layer_name(CONFINE_NO_NEW_PRIVS), detail, size))
		return r;
	r = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
	if (!holds(strict, r, confine_layer_name(CONFINE_NO_DUMP), detail, size))
		return r;
	r = confine_landlock(&no_volumes, words, sizeof(words));
	if (!holds(strict, r, confine_layer_name(CONFINE_LANDLOCK), detail, size))
		return r;
	r = load_filter(kind);
	if (!holds(strict, r, confine_layer_name(CONFINE_SECCOMP), detail, size))
		return r;
	return 0;
}
