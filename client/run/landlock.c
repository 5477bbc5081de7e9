/*
 * landlock.c - what the kernel may do for the program by itself.
 *
 * The supervisor opens, outside this domain, whatever the program opens: the domain is for what the kernel opens without
 * asking anybody: the file of an execve(2), its interpreter, its "#!". That takes READ_FILE and EXECUTE. Nothing else is
 * granted on volumes: no call that slips by creates, removes or lists anything, and descriptors keep the rights of the
 * domain that opened them, so that a file handed in can be written and truncated all the same.
 *
 * Rights add up along a path: what is granted on "/" holds for all that is mounted below, also from /proc and /dev.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "client/run/inside.h"
#include "common/landlock.h"

static int grant(int ruleset, const char *path, uint64_t rights)
{
	struct path_beneath_attr rule = { .allowed = rights };
	_cleanup_fd_ int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	rule.parent_fd = fd;
	return syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno
											: 0;
}

/* What the kernel's own file systems may give. Without a mount namespace they are the host's: only the devices that everybody
 * has, and nothing of /proc. */
static int grant_native(int ruleset, const struct run_plan *plan, uint64_t handled,
			const char **ret_path)
{
	static const char *const devices[] = { "/dev/null",   "/dev/zero",    "/dev/full",
					       "/dev/random", "/dev/urandom", "/dev/tty" };
	uint64_t use = (FS_READ_FILE | FS_WRITE_FILE | FS_READ_DIR | FS_IOCTL_DEV) & handled;
	int r = 0;

	if (run_has(plan, RUN_LAYER_MOUNT)) {
		*ret_path = RUN_NATIVE_DEV;
		r = grant(ruleset, RUN_NATIVE_DEV, use);
		if (r == 0 && run_has(plan, RUN_LAYER_PID)) {
			*ret_path = RUN_NATIVE_PROC;
			r = grant(ruleset, RUN_NATIVE_PROC, use & ~FS_IOCTL_DEV);
		}
		return r;
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(devices); i++) {
		*ret_path = devices[i];
		/* Not a right that a file can have. */
		r = grant(ruleset, devices[i], use & ~FS_READ_DIR);
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

int run_landlock(const struct run_plan *plan, char problem[static RUN_PROBLEM_MAX])
{
	struct ruleset_attr attr = { .fs = FS_ALL_V1 };
	size_t size = sizeof(attr.fs);
	const char *native = NULL;
	_cleanup_fd_ int ruleset = -EBADF;
	int abi = landlock_abi(), r;

	if (abi < 0)
		return run_fail(problem, abi, "Landlock: %s", strerror(-abi));
	if (abi >= ABI_REFER)
		attr.fs |= FS_REFER;
	if (abi >= ABI_TRUNCATE)
		attr.fs |= FS_TRUNCATE;
	if (abi >= ABI_IOCTL)
		attr.fs |= FS_IOCTL_DEV;
	if (abi >= ABI_SCOPE) {
		attr.scoped = SCOPE_ALL;
		size = sizeof(attr);
	}
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (ruleset < 0)
		return run_fail(problem, -errno, "Landlock: %s", strerror(errno));
	for (size_t i = 0; i < plan->n_volumes; i++) {
		const struct run_volume *v = &plan->volumes[i];
		uint64_t rights = FS_READ_FILE | (v->noexec ? 0 : FS_EXECUTE);

		r = grant(ruleset, run_has(plan, RUN_LAYER_MOUNT) ? v->guest : v->host, rights);
		if (r < 0)
			return run_fail(problem, r, "Landlock: %s: %s", v->guest, strerror(-r));
	}
	r = grant_native(ruleset, plan, attr.fs, &native);
	if (r < 0)
		return run_fail(problem, r, "Landlock: %s: %s", native, strerror(-r));
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return run_fail(problem, -errno, "Landlock: %s", strerror(errno));
	return 0;
}
