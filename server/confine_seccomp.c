/*
 * confine_seccomp.c - the system calls that a worker is left with. Whatever is not in a list below
 * kills it.
 *
 * What makes the difference is what is missing: no open by absolute path (open, openat), no exec,
 * no socket, no ptrace, no mount, no new namespace, no handle by number (open_by_handle_at), no
 * io_uring. openat2 stays; its flags live in memory that a filter cannot read, and it finds only
 * the volumes because nothing else is left in the worker's world.
 *
 * The library makes the list into a program once, for all workers: that takes a millisecond and more of the heap than
 * a session does otherwise. What differs from worker to worker is a short program of its own, in front.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <seccomp.h>

#include "server/confine.h"

/* Looked up by name at run time: the library may know fewer calls than this list, then the call
 * stays forbidden. */
static const char *const allowed[] = {
	/* files, by descriptor and one name */
	"openat2",
	"statx",
	"newfstatat",
	"fstat",
	"fstatfs",
	"readlinkat",
	"faccessat2",
	"getdents64",
	"lseek",
	"pread64",
	"pwrite64",
	"preadv",
	"preadv2",
	"pwritev",
	"pwritev2",
	"read",
	"readv",
	"write",
	"writev",
	"fsync",
	"fdatasync",
	"fallocate",
	"ftruncate",
	"truncate",
	"copy_file_range",
	"fchmodat",
	"fchmodat2",
	"fchmod",
	"fchownat",
	"fchown",
	"utimensat",
	"getxattr",
	"lgetxattr",
	"fgetxattr",
	"setxattr",
	"lsetxattr",
	"fsetxattr",
	"listxattr",
	"llistxattr",
	"flistxattr",
	"removexattr",
	"lremovexattr",
	"fremovexattr",
	"mkdirat",
	"mknodat",
	"symlinkat",
	"linkat",
	"unlinkat",
	"renameat", /* what glibc makes of renameat2 without flags */
	"renameat2",
	"inotify_add_watch",
	"inotify_rm_watch",
	"fchdir",
	"umask",
	"close",
	"dup",
	/* 32-bit machines */
	"_llseek",
	"fstat64",
	"fstatat64",
	"fstatfs64",
	"ftruncate64",
	"truncate64",
	"futex_time64",
	"clock_gettime64",
	"clock_nanosleep_time64",
	"ppoll_time64",
	"utimensat_time64",
	/* the session's socket */
	"recvmsg",
	"sendmsg",
	"poll",
	"ppoll",
	"getsockopt",
	"shutdown",
	/* memory and threads */
	"futex",
	"munmap",
	"madvise",
	"mremap",
	"brk",
	"set_robust_list",
	"rseq",
	"sched_yield",
	"membarrier",
	"sched_getaffinity",
	"getcpu",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sigaltstack",
	"restart_syscall",
	"exit",
	"exit_group",
	"gettid",
	"getpid",
	/* time, randomness, who am I */
	"clock_gettime",
	"clock_nanosleep",
	"nanosleep",
	"gettimeofday",
	"getrandom",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getrusage",
};

/* Only where requests switch between identities. */
static const char *const switching[] = { "setgroups",   "setresgid",   "setresuid", "setgroups32",
					 "setresgid32", "setresuid32", "capset",    "capget",
					 "getgroups",   "getresuid",   "getresgid" };

/* The sanitizers' runtimes ask for these; they are told that there is no such thing, rather than
 * killed. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
static const char *const sanitizer_refused[] = { "open",   "openat",  "readlink",         "pipe2",
						 "execve", "ptrace",  "prlimit64",        "uname",
						 "access", "sysinfo", "sched_setaffinity" };
#else
#define SANITIZED 0
static const char *const sanitizer_refused[] = {};
#endif

static int add(scmp_filter_ctx ctx, uint32_t action, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int nr = seccomp_syscall_resolve_name(names[i]);
		int r;

		/* Negative numbers are calls of other machines. */
		if (nr == __NR_SCMP_ERROR || nr < 0)
			continue;
		r = seccomp_rule_add(ctx, action, nr, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Not F_SETOWN and F_SETSIG, which send any signal, nor leases and dnotify, which bother others. */
static int add_fcntl(scmp_filter_ctx ctx)
{
	static const char *const names[] = { "fcntl", "fcntl64" };
	static const unsigned commands[] = { F_GETFL, F_SETFL,         F_GETFD,
					     F_SETFD, F_DUPFD_CLOEXEC, F_GET_SEALS };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int nr = seccomp_syscall_resolve_name(names[i]);

		for (size_t k = 0; nr >= 0 && r == 0 && k < ARRAY_SIZE(commands); k++)
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1,
					     SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, commands[k]));
	}
	return r;
}

/* Memory, but no new code. */
static int add_memory(scmp_filter_ctx ctx)
{
	static const char *const names[] = { "mmap", "mmap2", "mprotect" };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names) && r == 0; i++) {
		int nr = seccomp_syscall_resolve_name(names[i]);

		if (nr >= 0)
			r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1,
					     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	}
	return r;
}

/* Those that are harmless with some arguments only. */
static int add_by_arguments(scmp_filter_ctx ctx)
{
	const uint64_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
	const uint64_t never = CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
			       CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PTRACE |
			       CLONE_VFORK;
	int r;

	/* Threads of this process, nothing else. */
	r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			     SCMP_A0(SCMP_CMP_MASKED_EQ, thread | never, thread));
	/* Its flags are in memory: the C library takes clone() instead. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* A thread's own umask and working directory. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(unshare), 1,
				     SCMP_A0(SCMP_CMP_EQ, CLONE_FS));
	/* The queue of watches, as watch.c makes it. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(inotify_init1), 1,
				     SCMP_A0(SCMP_CMP_EQ, IN_NONBLOCK | IN_CLOEXEC));
	/* abort() and pthread_kill(): of our own threads, see own_threads(). */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 0);
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, SIOCOUTQ));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, SIOCINQ));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_EQ, TCGETS));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				     SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				     SCMP_A0(SCMP_CMP_EQ, PR_GET_DUMPABLE));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
				     SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET),
				     SCMP_A2(SCMP_CMP_EQ, SO_SNDBUF));
	/* The deadline of Hello. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
				     SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET),
				     SCMP_A2(SCMP_CMP_EQ, SO_RCVTIMEO));
	/* Connect waits for nobody. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
				     SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET),
				     SCMP_A2(SCMP_CMP_EQ, SO_SNDTIMEO));
	/* Names of anonymous memory, from malloc and the sanitizers; older kernels do not know it
	 * either. */
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(prctl), 1,
				     SCMP_A0(SCMP_CMP_EQ, 0x53564d41));
	return r;
}

/* Signals go to threads of this process only. The number is an int to the kernel, too. */
static int own_threads(void)
{
	const size_t low = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? sizeof(uint32_t) : 0;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_tgkill, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + low),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)getpid(), 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };

	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}

static int add_all(scmp_filter_ctx ctx, const struct confine_seccomp *allow)
{
	static const char *const opening[] = { "openat" }, *const connecting[] = { "connect" };
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	/* A binary tree rather than a list. Old libraries have none: then a list it is. */
	if (r == 0)
		(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = add(ctx, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));
	if (r == 0)
		r = add_by_arguments(ctx);
	if (r == 0)
		r = add_fcntl(ctx);
	if (r == 0)
		r = add_memory(ctx);
	if (r == 0 && allow->openat)
		r = add(ctx, SCMP_ACT_ALLOW, opening, ARRAY_SIZE(opening));
	if (r == 0 && allow->connect)
		r = add(ctx, SCMP_ACT_ALLOW, connecting, ARRAY_SIZE(connecting));
	if (r == 0 && allow->switching)
		r = add(ctx, SCMP_ACT_ALLOW, switching, ARRAY_SIZE(switching));
	/* Where a call is allowed already, the library keeps that. */
	if (r == 0 && SANITIZED)
		r = add(ctx, SCMP_ACT_ERRNO(ENOENT), sanitizer_refused + (allow->openat ? 2 : 0),
			ARRAY_SIZE(sanitizer_refused) - (allow->openat ? 2 : 0));
	return r;
}

static int compile(const struct confine_seccomp *allow, struct confine_program *program)
{
	_cleanup_fd_ int fd = memfd_create("gofer-seccomp", MFD_CLOEXEC);
	scmp_filter_ctx ctx;
	struct stat st;
	int r;

	if (fd < 0)
		return -errno;
	ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return -ENOMEM;
	r = add_all(ctx, allow);
	if (r == 0)
		r = seccomp_export_bpf(ctx, fd);
	seccomp_release(ctx);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	program->code = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (program->code == MAP_FAILED) {
		program->code = NULL;
		return -errno;
	}
	program->size = (size_t)st.st_size;
	return 0;
}

void confine_seccomp_compile(const struct confine_seccomp *allow, struct confine_program *ret)
{
	*ret = (struct confine_program){ .allow = *allow };
	ret->error = compile(allow, ret);
}

void confine_program_deinit(struct confine_program *program)
{
	if (program->code)
		(void)munmap(program->code, program->size);
	*program = (struct confine_program){};
}

int confine_seccomp(const struct confine_program *program, char *detail, size_t size)
{
	const struct confine_seccomp *allow = &program->allow;
	const struct sock_fprog filter = {
		.len = (unsigned short)(program->size / sizeof(struct sock_filter)),
		.filter = program->code,
	};
	int r = program->error;

	if (r == 0)
		r = own_threads();
	if (r == 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
		r = -errno;
	if (r < 0)
		return r;
	snprintf(detail, size, "allow-list, the rest kills%s%s%s%s",
		 allow->openat ? "; openat allowed (--no-openat2)" : "",
		 allow->connect ? "; connect allowed (special=allow)" : "",
		 allow->switching ? "; identities may be switched" : "",
		 SANITIZED ? "; sanitizer build: some calls are refused instead" : "");
	return 0;
}
