/*
 * layers.c - which layers this machine grants us, and in words why not.
 *
 * A layer is tried, never guessed: a child is cloned into the namespaces and does there what the sandbox will do. All
 * layers together first, in one child, because that is what happens nearly always; only where that fails, one by one, to
 * find out whose fault it is. The child shares nothing with us but a pipe: it makes system calls and exits.
 *
 * The words are for whoever administers the machine: the sysctl that forbids it, and the value that would not.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "client/run/inside.h"
#include "client/run/plan.h"
#include "common/landlock.h"
#include "common/sys.h"

static const struct {
	const char *name;
	unsigned flag;
} table[RUN_LAYERS] = {
	[RUN_LAYER_SECCOMP] = { "seccomp", 0 },       [RUN_LAYER_USER] = { "user", CLONE_NEWUSER },
	[RUN_LAYER_MOUNT] = { "mount", CLONE_NEWNS }, [RUN_LAYER_PID] = { "pid", CLONE_NEWPID },
	[RUN_LAYER_IPC] = { "ipc", CLONE_NEWIPC },    [RUN_LAYER_UTS] = { "uts", CLONE_NEWUTS },
	[RUN_LAYER_NET] = { "net", CLONE_NEWNET },    [RUN_LAYER_LANDLOCK] = { "landlock", 0 },
};

/* Those that are namespaces. */
#define NAMESPACES                                                        \
	(RUN_LAYER_BIT(RUN_LAYER_USER) | RUN_LAYER_BIT(RUN_LAYER_MOUNT) | \
	 RUN_LAYER_BIT(RUN_LAYER_PID) | RUN_LAYER_BIT(RUN_LAYER_IPC) |    \
	 RUN_LAYER_BIT(RUN_LAYER_UTS) | RUN_LAYER_BIT(RUN_LAYER_NET))

const char *run_layer_name(enum run_layer layer)
{
	return table[layer].name;
}

int run_layer_find(const char *name, enum run_layer *ret_layer)
{
	for (int i = 0; i < RUN_LAYERS; i++)
		if (strcmp(table[i].name, name) == 0) {
			*ret_layer = (enum run_layer)i;
			return 0;
		}
	return -ENOENT;
}

unsigned layers_clone_flags(uint32_t layers)
{
	unsigned flags = 0;

	for (int i = 0; i < RUN_LAYERS; i++)
		if (layers & RUN_LAYER_BIT(i))
			flags |= table[i].flag;
	return flags;
}

/* ---- in the child ---- */

struct probe_result {
	int error[RUN_LAYERS];
};

/* What the sandbox will do with a mount namespace, on mounts that hang nowhere. */
static int try_mounts(void)
{
	_cleanup_fd_ int tree = -EBADF;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	tree = sys_open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		return tree;
	return sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE,
				 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, MS_PRIVATE);
}

static int try_layer(enum run_layer layer, uint32_t layers)
{
	int fd;

	switch (layer) {
	case RUN_LAYER_USER:
		/* Some systems give the namespace and then no capability in it. */
		return unshare(CLONE_NEWUTS) < 0 ? -errno : 0;
	case RUN_LAYER_MOUNT:
		return try_mounts();
	case RUN_LAYER_PID:
		if (!(layers & RUN_LAYER_BIT(RUN_LAYER_MOUNT)))
			return 0;
		fd = mounts_new_proc();
		fd_close(fd);
		return fd < 0 ? fd : 0;
	case RUN_LAYER_UTS:
		return sethostname("gofer", 5) < 0 ? -errno : 0;
	case RUN_LAYER_NET:
		return inside_loopback_up();
	default:
		return 0;
	}
}

static void probe_child(uint32_t layers, int wait_fd, int result_fd)
{
	struct probe_result result = {};
	char byte;

	if (read(wait_fd, &byte, 1) != 1)
		_exit(1);
	for (int i = 0; i < RUN_LAYERS; i++)
		if (layers & RUN_LAYER_BIT(i))
			result.error[i] = try_layer((enum run_layer)i, layers);
	_exit(write(result_fd, &result, sizeof(result)) == sizeof(result) ? 0 : 1);
}

/* Tries `layers` in one child. -errno where there is no such child; else *ret says which of them hold. */
static int probe(uint32_t layers, struct probe_result *ret)
{
	_cleanup_fd_ int wait_read = -EBADF, wait_write = -EBADF;
	_cleanup_fd_ int result_read = -EBADF, result_write = -EBADF;
	int fds[2], r = 0;
	ssize_t n;
	long pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	wait_read = fds[0];
	wait_write = fds[1];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	result_read = fds[0];
	result_write = fds[1];
	pid = syscall(SYS_clone, layers_clone_flags(layers) | SIGCHLD, NULL, NULL, NULL, 0UL);
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		/* Else it would wait for itself. */
		fd_close(wait_write);
		probe_child(layers, wait_read, result_write);
	}
	cleanup_fd(&result_write);
	if (layers & RUN_LAYER_BIT(RUN_LAYER_USER))
		r = inside_map_ids((pid_t)pid);
	if (r == 0 && write(wait_write, "x", 1) != 1)
		r = -EIO;
	cleanup_fd(&wait_write);
	do
		n = read(result_read, ret, sizeof(*ret));
	while (n < 0 && errno == EINTR);
	while (waitpid((pid_t)pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r == 0 && n != sizeof(*ret))
		r = -EIO;
	return r;
}

/* ---- words ---- */

static int sysctl_read(const char *path, long *ret)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[32];
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	*ret = strtol(text, NULL, 10);
	return 0;
}

static bool has_capability(int cap)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = {};

	return syscall(SYS_capget, &header, data) == 0 &&
	       (data[cap / 32].effective & (1U << cap % 32));
}

static void explain_user(int error, char *detail, size_t size)
{
	static const struct {
		const char *path, *name;
		long bad, good;
	} knobs[] = {
		{ "/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone",
		  0, 1 },
		{ "/proc/sys/user/max_user_namespaces", "user.max_user_namespaces", 0, 10000 },
		{ "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
		  "kernel.apparmor_restrict_unprivileged_userns", 1, 0 },
	};
	long value;

	for (size_t i = 0; i < ARRAY_SIZE(knobs); i++) {
		if (sysctl_read(knobs[i].path, &value) < 0 || value != knobs[i].bad)
			continue;
		snprintf(detail, size, "forbidden by %s=%ld; as root: sysctl -w %s=%ld",
			 knobs[i].name, value, knobs[i].name, knobs[i].good);
		return;
	}
	if (error == -EINVAL)
		snprintf(detail, size, "the kernel has none (CONFIG_USER_NS)");
	else if (error == -ENOSPC || error == -EUSERS)
		snprintf(detail, size, "too many, or nested too deep (user.max_user_namespaces)");
	else
		snprintf(detail, size,
			 "%s: forbidden, as in a container or chroot (docker: --security-opt "
			 "seccomp=unconfined, apparmor=unconfined)",
			 strerror(-error));
}

static void explain(enum run_layer layer, int error, bool user, char *detail, size_t size)
{
	const char *reason = strerror(-error);
	char knob[64];
	long value;

	if (layer == RUN_LAYER_USER) {
		explain_user(error, detail, size);
		return;
	}
	snprintf(knob, sizeof(knob), "/proc/sys/user/max_%s_namespaces",
		 layer == RUN_LAYER_MOUNT ? "mnt" : table[layer].name);
	if (sysctl_read(knob, &value) == 0 && value == 0) {
		snprintf(detail, size, "forbidden by user.%s=0; as root: raise it", knob + 15);
		return;
	}
	if (layer == RUN_LAYER_PID && user)
		snprintf(detail, size,
			 "cannot mount a /proc of its own (%s): a container that hides parts of "
			 "/proc forbids it (docker: --security-opt systempaths=unconfined)",
			 reason);
	else if (error == -EINVAL)
		snprintf(detail, size, "the kernel has no such namespaces");
	else if (!user && !has_capability(CAP_SYS_ADMIN))
		snprintf(detail, size,
			 "%s: takes a user namespace (layer user) or CAP_SYS_ADMIN, and there is "
			 "neither",
			 reason);
	else
		snprintf(detail, size, "%s: forbidden, as in a container", reason);
}

static void set(struct run_layers *l, enum run_layer layer, int error, bool user)
{
	struct run_layer_state *s = &l->layer[layer];

	s->holds = error == 0;
	s->error = error;
	s->detail[0] = '\0';
	if (error < 0)
		explain(layer, error, user, s->detail, sizeof(s->detail));
}

/* ---- the layers ---- */

static void probe_seccomp(struct run_layer_state *s)
{
	struct seccomp_notif_sizes sizes;
	uint32_t action = SECCOMP_RET_USER_NOTIF;
	long value;

	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0) {
		s->error = -errno;
		snprintf(s->detail, sizeof(s->detail),
			 "no seccomp notification: it takes Linux 5.14 or later with "
			 "CONFIG_SECCOMP_FILTER");
		return;
	}
	/* The supervisor reads the arguments of calls from the program's memory. */
	if (sysctl_read("/proc/sys/kernel/yama/ptrace_scope", &value) == 0 && value >= 2 &&
	    !(value == 2 && has_capability(CAP_SYS_PTRACE))) {
		s->error = -EPERM;
		snprintf(s->detail, sizeof(s->detail),
			 "kernel.yama.ptrace_scope=%ld forbids to read the arguments of calls; as "
			 "root: sysctl -w kernel.yama.ptrace_scope=1",
			 value);
		return;
	}
	s->holds = true;
}

static void probe_landlock(struct run_layer_state *s)
{
	int abi = landlock_abi();

	s->holds = abi >= 1;
	s->error = abi < 0 ? abi : 0;
	if (abi == -EOPNOTSUPP)
		snprintf(s->detail, sizeof(s->detail),
			 "switched off at boot: add landlock to the kernel's lsm= option");
	else if (abi < 0)
		snprintf(s->detail, sizeof(s->detail),
			 "%s: takes Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK",
			 strerror(-abi));
	else
		snprintf(s->detail, sizeof(s->detail), "ABI %d%s", abi,
			 abi < 6 ? ": signals and abstract sockets are not its business yet" : "");
}

static void probe_namespaces(struct run_layers *l, uint32_t wanted)
{
	const uint32_t user = RUN_LAYER_BIT(RUN_LAYER_USER),
		       mounts = RUN_LAYER_BIT(RUN_LAYER_MOUNT);
	uint32_t with = 0;
	struct probe_result result;
	int r;

	if (!wanted)
		return;
	if (probe(wanted, &result) == 0) {
		int failed = 0;

		for (int i = 0; i < RUN_LAYERS; i++)
			if (wanted & RUN_LAYER_BIT(i)) {
				set(l, (enum run_layer)i, result.error[i], true);
				failed |= result.error[i];
			}
		if (!failed)
			return;
	}
	/* One after the other, with those that they stand on. */
	for (int i = RUN_LAYER_USER; i <= RUN_LAYER_NET; i++) {
		uint32_t layers = RUN_LAYER_BIT(i) | with;

		if (!(wanted & RUN_LAYER_BIT(i)))
			continue;
		r = probe(layers, &result);
		if (r == 0)
			r = result.error[i];
		set(l, (enum run_layer)i, r, with & user);
		if (r == 0)
			with |= RUN_LAYER_BIT(i) & (user | mounts);
	}
}

void run_layers_probe(struct run_layers *ret_layers, uint32_t without)
{
	struct run_layers l = {};

	without &= ~RUN_LAYER_BIT(RUN_LAYER_SECCOMP);
	probe_seccomp(&l.layer[RUN_LAYER_SECCOMP]);
	if (!(without & RUN_LAYER_BIT(RUN_LAYER_LANDLOCK)))
		probe_landlock(&l.layer[RUN_LAYER_LANDLOCK]);
	probe_namespaces(&l, NAMESPACES & ~without);
	for (int i = 0; i < RUN_LAYERS; i++)
		if (without & RUN_LAYER_BIT(i))
			snprintf(l.layer[i].detail, sizeof(l.layer[i].detail), "switched off");
	*ret_layers = l;
}
