/*
 * test_run_filter.c - every system call of the kernel's headers is classified, and the program for
 * seccomp(2) says of each what the table says: run here instruction by instruction for every plan,
 * and by the kernel.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "client/run/filter.h"
#include "common/util.h"

/* ---- the table ---- */

static const struct {
	const char *name;
	int nr;
} header[] = {
#define HEADER_CALL(name, nr) { #name, nr },
#include "header_calls.inc"
};

Test(run_filter, every_call_of_the_kernels_headers_is_classified)
{
	cr_assert_gt(ARRAY_SIZE(header), 300);
	for (size_t i = 0; i < ARRAY_SIZE(header); i++) {
		const struct syscall_info *call = syscall_find(header[i].nr);

		cr_assert_not_null(call, "%s (%d) has no row in syscalls.def", header[i].name,
				   header[i].nr);
		cr_assert_str_eq(call->name, header[i].name);
	}
}

Test(run_filter, rows_are_in_order_and_found)
{
	for (size_t i = 0; i < syscall_table_size; i++) {
		const struct syscall_info *call = &syscall_table[i];

		cr_assert(i == 0 || syscall_table[i - 1].nr < call->nr, "%s", call->name);
		cr_assert_eq(syscall_find(call->nr), call);
		cr_assert_eq(call->class == SYSCALL_DENY ||
				     (call->class == SYSCALL_LAYER && !call->notified),
			     call->error != 0, "%s", call->name);
	}
	cr_assert_null(syscall_find(-1));
	cr_assert_null(syscall_find(336 + 1)); /* the gap before 424 */
	cr_assert_null(syscall_find(INT32_MAX));
}

/* A name in the arguments is what no class but these may have. By what the C library calls them,
 * independently of the table. */
Test(run_filter, calls_that_take_a_path_are_never_native)
{
	static const char *const words[] = { "open",     "stat",   "access", "link",   "chmod",
					     "chown",    "mkdir",  "mknod",  "rmdir",  "rename",
					     "xattr",    "chroot", "mount",  "creat",  "utime",
					     "truncate", "exec",   "statfs", "handle", "chdir",
					     "swap",     "acct",   "quota",  "uselib", "watch" };
	static const char *const by_descriptor[] = { "fstat",
						     "fstatfs",
						     "ftruncate",
						     "fchdir",
						     "inotify_rm_watch",
						     "fgetxattr",
						     "flistxattr",
						     "memfd_create",
						     "pidfd_open",
						     "perf_event_open",
						     "timer_create",
						     "cachestat",
						     "landlock_create_ruleset",
						     "mq_open",
						     "epoll_create",
						     "epoll_create1",
						     "timerfd_create" };

	for (size_t i = 0; i < syscall_table_size; i++) {
		const struct syscall_info *call = &syscall_table[i];
		bool path = false;

		for (size_t k = 0; k < ARRAY_SIZE(words); k++)
			path |= strstr(call->name, words[k]) != NULL;
		for (size_t k = 0; k < ARRAY_SIZE(by_descriptor); k++)
			path &= strcmp(call->name, by_descriptor[k]) != 0;
		if (path)
			cr_expect(call->class != SYSCALL_ALLOW, "%s is native", call->name);
	}
}

/* ---- the program, run here ---- */

static uint32_t run(const struct sock_fprog *program, const struct seccomp_data *data)
{
	uint32_t a = 0;

	for (size_t pc = 0; pc < program->len;) {
		const struct sock_filter *f = &program->filter[pc++];

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			cr_assert_leq(f->k, sizeof(*data) - 4);
			cr_assert_eq(f->k % 4, 0);
			memcpy(&a, (const char *)data + f->k, sizeof(a));
			break;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= f->k;
			break;
		case BPF_JMP | BPF_JA:
			pc += f->k;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == f->k ? f->jt : f->jf;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			pc += a >= f->k ? f->jt : f->jf;
			break;
		case BPF_RET | BPF_K:
			return f->k;
		default:
			cr_assert_fail("instruction %zu is %#x", pc - 1, f->code);
		}
	}
	cr_assert_fail("ran over the end");
	return 0;
}

#define ALLOW SECCOMP_RET_ALLOW
#define NOTIFY SECCOMP_RET_USER_NOTIF
#define FAIL(error) (SECCOMP_RET_ERRNO | (error))
#define LAYER(layer) (1u << RUN_LAYER_##layer)
#define EVERY_LAYER ((1u << RUN_LAYERS) - 1)

/* Builds it for a program with these three descriptors. */
static struct sock_fprog build_with(unsigned layers, enum run_net net, int stdio)
{
	struct run_plan plan = { .net = net, .uid = getuid(), .gid = getgid() };
	struct sock_fprog program;
	int saved[3];

	for (unsigned i = 0; i < RUN_LAYERS; i++)
		plan.layers.layer[i].holds = layers & 1u << i;
	for (int fd = 0; fd < 3; fd++) {
		saved[fd] = dup(fd);
		dup2(stdio, fd);
	}
	cr_assert_eq(filter_build(&plan, &program), 0);
	for (int fd = 0; fd < 3; fd++) {
		dup2(saved[fd], fd);
		fd_close(saved[fd]);
	}
	cr_assert_leq(program.len, BPF_MAXINSNS);
	return program;
}

static struct sock_fprog build(unsigned layers, enum run_net net)
{
	struct sock_fprog program;
	int pipes[2];

	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	program = build_with(layers, net, pipes[0]);
	fd_close(pipes[0]);
	fd_close(pipes[1]);
	return program;
}

static uint32_t ask(const struct sock_fprog *program, int nr, uint64_t a0, uint64_t a1, uint64_t a2,
		    uint64_t a3)
{
	struct seccomp_data data = { .nr = nr,
				     .arch = AUDIT_ARCH_X86_64,
				     .args = { a0, a1, a2, a3, 5, 6 } };

	return run(program, &data);
}

Test(run_filter, every_plan_treats_every_number_as_the_table_says)
{
	for (unsigned layers = 0; layers <= EVERY_LAYER; layers++) {
		for (enum run_net net = RUN_NET_NONE; net <= RUN_NET_HOST; net++) {
			struct sock_fprog program = build(layers, net);

			for (int nr = 0; nr < 600; nr++) {
				const struct syscall_info *call = syscall_find(nr);
				uint32_t got = ask(&program, nr, 1, 2, 3, 4);

				if (!call)
					cr_assert_eq(got, FAIL(ENOSYS), "%d", nr);
				else if (call->class == SYSCALL_ALLOW)
					cr_assert_eq(got, ALLOW, "%s", call->name);
				else if (call->class == SYSCALL_NOTIFY)
					cr_assert_eq(got, NOTIFY, "%s", call->name);
				else if (call->class == SYSCALL_DENY)
					cr_assert_eq(got, FAIL((uint32_t)call->error), "%s",
						     call->name);
				else if (call->class == SYSCALL_LAYER)
					cr_assert_eq(got,
						     layers & 1u << call->layer ? ALLOW
						     : call->notified           ? NOTIFY
								      : FAIL((uint32_t)call->error),
						     "%s", call->name);
				else
					cr_assert(got != NOTIFY || call->notified, "%s",
						  call->name);
			}
			free(program.filter);
		}
	}
}

Test(run_filter, other_architectures_have_no_calls)
{
	struct sock_fprog program = build(EVERY_LAYER, RUN_NET_HOST);

	for (uint32_t nr = 0; nr < 600; nr++) {
		struct seccomp_data data = { .nr = (int)nr, .arch = AUDIT_ARCH_I386 };

		cr_assert_eq(run(&program, &data), FAIL(ENOSYS));
		data = (struct seccomp_data){ .nr = (int)(0x40000000 | nr),
					      .arch = AUDIT_ARCH_X86_64 };
		cr_assert_eq(run(&program, &data), FAIL(ENOSYS));
		data.nr = (int)(0x80000000 | nr);
		cr_assert_eq(run(&program, &data), FAIL(ENOSYS));
	}
	free(program.filter);
}

/* The kernel takes these arguments as 32 bits: other upper halves are the same call. */
static const uint64_t uppers[] = { 0, 1ull << 32, UINT64_MAX << 32 };

Test(run_filter, upper_halves_of_arguments_change_nothing)
{
	struct sock_fprog full = build(EVERY_LAYER, RUN_NET_NONE), none = build(0, RUN_NET_NONE);

	for (size_t i = 0; i < ARRAY_SIZE(uppers); i++) {
		uint64_t u = uppers[i];

		cr_assert_eq(ask(&full, SYS_ioctl, 0, u | TIOCSTI, 0, 0), FAIL(EPERM));
		cr_assert_eq(ask(&full, SYS_ioctl, 0, u | TIOCLINUX, 0, 0), FAIL(EPERM));
		cr_assert_eq(ask(&full, SYS_ioctl, 0, u | TIOCGWINSZ, 0, 0), ALLOW);
		cr_assert_eq(ask(&none, SYS_ioctl, 0, u | TIOCSTI, 0, 0), FAIL(EPERM));
		cr_assert_eq(ask(&none, SYS_ioctl, 0, u | FS_IOC_SETFLAGS, 0, 0), FAIL(ENOTTY));
		cr_assert_eq(ask(&full, SYS_unshare, u | CLONE_NEWUSER, 0, 0, 0), FAIL(EPERM));
		cr_assert_eq(ask(&full, SYS_unshare, u | CLONE_FILES | CLONE_FS, 0, 0, 0), ALLOW);
		cr_assert_eq(ask(&full, SYS_clone, u | CLONE_NEWNS, 0, 0, 0), FAIL(EPERM));
		cr_assert_eq(ask(&full, SYS_clone, u | SIGCHLD | CLONE_VM, 0, 0, 0), ALLOW);
		cr_assert_eq(ask(&full, SYS_prctl, u | PR_SET_MM, 0, 0, 0), FAIL(EPERM));
		cr_assert_eq(ask(&full, SYS_socket, u | AF_VSOCK, SOCK_STREAM, 0, 0),
			     FAIL(EAFNOSUPPORT));
		cr_assert_eq(ask(&none, SYS_socket, u | AF_UNIX, u | SOCK_DGRAM, 0, 0),
			     FAIL(EACCES));
		cr_assert_eq(ask(&none, SYS_prlimit64, u | 1, 0, 0, 0), FAIL(EPERM));
		cr_assert_eq(ask(&full, SYS_newfstatat, 3, 1, 1, u | AT_EMPTY_PATH), ALLOW);
	}
	/* A path is of 64 bits. */
	cr_assert_eq(ask(&full, SYS_utimensat, 3, 0, 0, 0), ALLOW);
	cr_assert_eq(ask(&full, SYS_utimensat, 3, 1ull << 32, 0, 0), NOTIFY);
	cr_assert_eq(ask(&full, SYS_utimensat, 3, 1, 0, 0), NOTIFY);
	free(full.filter);
	free(none.filter);
}

Test(run_filter, fstat_is_native_only_where_paths_are_harmless)
{
	struct sock_fprog full = build(EVERY_LAYER, RUN_NET_NONE);
	struct sock_fprog bare = build(EVERY_LAYER & ~LAYER(MOUNT), RUN_NET_NONE);
	const uint64_t others[] = { 0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
				    AT_EMPTY_PATH | 1 };

	cr_assert_eq(ask(&full, SYS_statx, 3, 1, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0), ALLOW);
	cr_assert_eq(ask(&bare, SYS_statx, 3, 1, AT_EMPTY_PATH, 0), NOTIFY);
	cr_assert_eq(ask(&bare, SYS_newfstatat, 3, 1, 1, AT_EMPTY_PATH), NOTIFY);
	cr_assert_eq(ask(&bare, SYS_utimensat, 3, 0, 0, 0), NOTIFY);
	cr_assert_eq(ask(&bare, SYS_fchmod, 3, 0, 0, 0), NOTIFY);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		cr_assert_eq(ask(&full, SYS_newfstatat, 3, 1, 1, others[i]), NOTIFY);
		cr_assert_eq(ask(&full, SYS_statx, 3, 1, others[i], 0), NOTIFY);
	}
	free(full.filter);
	free(bare.filter);
}

/* What a descriptor that the program was started with stands for is the host's. */
Test(run_filter, changes_by_descriptor_are_native_only_without_files_of_the_host)
{
	char path[] = "/tmp/test-run-filter-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC), directory = open("/", O_RDONLY | O_CLOEXEC), pipes[2];
	const int calls[] = { SYS_fchmod, SYS_fchown, SYS_fsetxattr, SYS_fremovexattr };
	const uint32_t keep = UINT32_MAX;
	struct sock_fprog plain = build(EVERY_LAYER, RUN_NET_NONE);
	struct sock_fprog file = build_with(EVERY_LAYER, RUN_NET_NONE, fd);
	struct sock_fprog dir = build_with(EVERY_LAYER, RUN_NET_NONE, directory);
	struct sock_fprog bare = build(EVERY_LAYER & ~LAYER(MOUNT), RUN_NET_NONE);

	unlink(path);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		cr_assert_eq(ask(&plain, calls[i], 3, keep, keep, 0), ALLOW);
		cr_assert_eq(ask(&file, calls[i], 3, keep, keep, 0), NOTIFY);
		cr_assert_eq(ask(&dir, calls[i], 3, keep, keep, 0), NOTIFY);
		cr_assert_eq(ask(&bare, calls[i], 3, keep, keep, 0), NOTIFY);
	}
	/* To somebody who does not exist inside: the supervisor says what it is natively. */
	cr_assert_eq(ask(&plain, SYS_fchown, 3, getuid(), getgid(), 0), ALLOW);
	cr_assert_eq(ask(&plain, SYS_fchown, 3, keep, getgid(), 0), ALLOW);
	cr_assert_eq(ask(&plain, SYS_fchown, 3, getuid(), keep, 0), ALLOW);
	cr_assert_eq(ask(&plain, SYS_fchown, 3, getuid() + 1, keep, 0), getuid() ? NOTIFY : ALLOW);
	cr_assert_eq(ask(&plain, SYS_fchown, 3, keep, getgid() + 1, 0), getuid() ? NOTIFY : ALLOW);
	cr_assert_eq(ask(&plain, SYS_utimensat, 3, 0, 0, 0), ALLOW);
	cr_assert_eq(ask(&file, SYS_utimensat, 3, 0, 0, 0), NOTIFY);
	cr_assert_eq(ask(&plain, SYS_ioctl, 3, FS_IOC_SETFLAGS, 0, 0), ALLOW);
	cr_assert_eq(ask(&file, SYS_ioctl, 3, FS_IOC_SETFLAGS, 0, 0), FAIL(EPERM));
	free(plain.filter);
	free(file.filter);
	free(dir.filter);
	/* A FIFO with a name is one, too. */
	snprintf(path, sizeof(path), "/tmp/test-run-filter-%d", getpid());
	cr_assert_eq(mkfifo(path, 0600), 0);
	pipes[0] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	unlink(path);
	file = build_with(EVERY_LAYER, RUN_NET_NONE, pipes[0]);
	cr_assert_eq(ask(&file, SYS_fchmod, 3, 0, 0, 0), NOTIFY);
	free(file.filter);
	free(bare.filter);
	fd_close(pipes[0]);
	fd_close(fd);
	fd_close(directory);
}

/* To others, where nothing keeps them inside: the supervisor's to send. */
Test(run_filter, signals_are_native_only_where_they_stay_inside)
{
	const int calls[] = { SYS_kill,
			      SYS_tkill,
			      SYS_tgkill,
			      SYS_rt_sigqueueinfo,
			      SYS_rt_tgsigqueueinfo,
			      SYS_pidfd_send_signal };
	struct sock_fprog pid = build(LAYER(PID), RUN_NET_NONE), none = build(0, RUN_NET_NONE);

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		cr_assert_eq(ask(&pid, calls[i], 1, 0, 0, 0), ALLOW);
		cr_assert_eq(ask(&none, calls[i], 1, 0, 0, 0), NOTIFY);
	}
	cr_assert_eq(ask(&pid, SYS_fcntl, 1, F_SETOWN, 0, 0), ALLOW);
	cr_assert_eq(ask(&none, SYS_fcntl, 1, F_SETOWN, 0, 0), FAIL(EPERM));
	cr_assert_eq(ask(&none, SYS_fcntl, 1, F_GETFL, 0, 0), ALLOW);
	free(pid.filter);
	free(none.filter);
}

Test(run_filter, clone3_needs_that_namespaces_cannot_be_made)
{
	for (unsigned layers = 0; layers <= EVERY_LAYER; layers++) {
		struct sock_fprog program = build(layers, RUN_NET_NONE);
		bool limited = (layers & LAYER(USER)) && (layers & LAYER(MOUNT));

		cr_assert_eq(ask(&program, SYS_clone3, 1, 88, 0, 0),
			     limited ? ALLOW : FAIL(ENOSYS));
		free(program.filter);
	}
}

Test(run_filter, the_network_is_what_the_plan_says)
{
	struct sock_fprog none = build(0, RUN_NET_NONE), host = build(0, RUN_NET_HOST);
	struct sock_fprog own = build(EVERY_LAYER, RUN_NET_NONE);

	/* None, and no namespace that would make it so: then no sockets. */
	cr_assert_eq(ask(&none, SYS_socket, AF_INET, SOCK_STREAM, 0, 0), FAIL(EAFNOSUPPORT));
	cr_assert_eq(ask(&none, SYS_socket, AF_INET6, SOCK_DGRAM, 0, 0), FAIL(EAFNOSUPPORT));
	cr_assert_eq(ask(&none, SYS_socket, AF_NETLINK, SOCK_RAW, 0, 0), FAIL(EAFNOSUPPORT));
	cr_assert_eq(ask(&host, SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0, 0), ALLOW);
	cr_assert_eq(ask(&host, SYS_socket, AF_NETLINK, SOCK_RAW, 0, 0), ALLOW);
	cr_assert_eq(ask(&host, SYS_socket, AF_NETLINK, SOCK_RAW, 4 /* sock_diag */, 0),
		     FAIL(EAFNOSUPPORT));
	cr_assert_eq(ask(&own, SYS_socket, AF_NETLINK, SOCK_RAW, 4, 0), ALLOW);
	cr_assert_eq(ask(&own, SYS_socket, AF_INET, SOCK_PACKET, 0, 0), FAIL(EPERM));
	for (int family = 0; family < 64; family++)
		if (family != AF_UNIX && family != AF_INET && family != AF_INET6 &&
		    family != AF_NETLINK)
			cr_assert_eq(ask(&own, SYS_socket, (uint64_t)family, SOCK_STREAM, 0, 0),
				     FAIL(EAFNOSUPPORT));
	/* The kernel makes a datagram socket of SOCK_RAW. */
	cr_assert_eq(ask(&none, SYS_socket, AF_UNIX, SOCK_RAW, 0, 0), FAIL(EACCES));
	cr_assert_eq(ask(&none, SYS_socketpair, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, 0),
		     FAIL(EACCES));
	cr_assert_eq(ask(&none, SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, 0), ALLOW);
	cr_assert_eq(ask(&own, SYS_socketpair, AF_UNIX, SOCK_DGRAM, 0, 0), ALLOW);
	free(none.filter);
	free(host.filter);
	free(own.filter);
}

Test(run_filter, personality_undoes_no_hardening)
{
	struct sock_fprog program = build(EVERY_LAYER, RUN_NET_NONE);

	cr_assert_eq(ask(&program, SYS_personality, 0xffffffff, 0, 0, 0), ALLOW);
	cr_assert_eq(ask(&program, SYS_personality, PER_LINUX, 0, 0, 0), ALLOW);
	cr_assert_eq(ask(&program, SYS_personality, ADDR_NO_RANDOMIZE, 0, 0, 0), ALLOW);
	cr_assert_eq(ask(&program, SYS_personality, READ_IMPLIES_EXEC, 0, 0, 0), FAIL(EPERM));
	cr_assert_eq(ask(&program, SYS_personality, MMAP_PAGE_ZERO, 0, 0, 0), FAIL(EPERM));
	free(program.filter);
}

/* ---- the program, run by the kernel ---- */

static long int80(long nr, long a)
{
	long r;

	__asm__ volatile("int $0x80"
			 : "=a"(r)
			 : "a"(nr), "b"(a)
			 : "memory", "r8", "r9", "r10", "r11");
	return r;
}

/* What a process under the filter finds; the number of the first thing that is otherwise than it
 * should be. It says `ready` with the number of its listener. */
static int child(const struct sock_fprog *program, int ready)
{
	int listener = -1, again = -1;

	if (filter_install(program, &listener) < 0)
		return 1;
	if (write(ready, &listener, sizeof(listener)) != sizeof(listener))
		return 2;
	if (!(fcntl(listener, F_GETFD) & FD_CLOEXEC))
		return 3;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 4;
	if (getppid() <= 0)
		return 5;
	if (syscall(SYS_open, "/", O_PATH) != -1 || errno != EXDEV) /* the parent's answer */
		return 6;
	if (syscall(SYS_open, "/", O_RDONLY) != 4711)
		return 7;
	if (syscall(SYS_io_uring_setup, 1, NULL) != -1 || errno != ENOSYS)
		return 8;
	if (syscall(600) != -1 || errno != ENOSYS)
		return 9;
	if (syscall(0x40000000 | SYS_getpid) != -1 || errno != ENOSYS)
		return 10;
	/* 5 is open there, 20 getpid. A kernel without these calls dies of it or says ENOSYS. */
	if (int80(5, (long)"/") != -ENOSYS || int80(20, 0) != -ENOSYS)
		return 11;
	if (syscall(SYS_mount, "x", "/", "tmpfs", 0, NULL) != -1 || errno != EPERM)
		return 12;
	if (syscall(SYS_unshare, CLONE_NEWUSER) != -1 || errno != EPERM)
		return 13;
	/* A filter of its own changes nothing, and a second listener there cannot be. */
	if (filter_install(program, &again) != -EBUSY)
		return 14;
	return 0;
}

/* Answers `open` twice: with an error, then with a result. */
static void supervise(int listener)
{
	for (int i = 0; i < 2; i++) {
		struct seccomp_notif request = { 0 };
		struct seccomp_notif_resp response = { 0 };

		cr_assert_eq(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request), 0);
		cr_assert_eq(request.data.nr, SYS_open);
		response.id = request.id;
		response.error = i == 0 ? -EXDEV : 0;
		response.val = i == 0 ? 0 : 4711;
		cr_assert_eq(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response), 0);
	}
}

Test(run_filter, the_kernel_takes_it_and_asks_the_supervisor)
{
	struct sock_fprog program = build(EVERY_LAYER, RUN_NET_NONE);
	int ready[2], number, status, pidfd, listener;
	pid_t pid;

	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0)
		_exit(child(&program, ready[1]));
	fd_close(ready[1]);
	cr_assert_eq(read(ready[0], &number, sizeof(number)), sizeof(number));
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	listener = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
	cr_assert_geq(listener, 0);
	supervise(listener);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
	fd_close(listener);
	fd_close(pidfd);
	fd_close(ready[0]);
	free(program.filter);
}
