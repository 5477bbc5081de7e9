/*
 * sys.c - thin wrappers around syscall(2): no policy, no retries, -errno instead of errno.
 */
#include "common/sys.h"

#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#define RESULT(call)                       \
	({                                 \
		long _r = (call);          \
		_r < 0 ? -errno : (int)_r; \
	})

int sys_openat2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
		.resolve = resolve,
	};

	return RESULT(syscall(SYS_openat2, dirfd, path, &how, sizeof(how)));
}

int sys_faccessat2(int dirfd, const char *path, int mode, int flags)
{
	return RESULT(syscall(SYS_faccessat2, dirfd, path, mode, flags));
}

int sys_open_tree(int dirfd, const char *path, unsigned flags)
{
	return RESULT(syscall(SYS_open_tree, dirfd, path, flags));
}

int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	return RESULT(syscall(SYS_move_mount, from_fd, from, to_fd, to, flags));
}

int sys_mount_setattr(int dirfd, const char *path, unsigned flags, uint64_t set, uint64_t clear,
		      uint64_t propagation)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clear, .propagation = propagation };

	return RESULT(syscall(SYS_mount_setattr, dirfd, path, flags, &attr, sizeof(attr)));
}

int sys_pivot_root(const char *new_root, const char *put_old)
{
	return RESULT(syscall(SYS_pivot_root, new_root, put_old));
}

int sys_setgroups_thread(size_t n, const gid_t *groups)
{
	return RESULT(syscall(SYS_setgroups, n, groups));
}

int sys_setresgid_thread(gid_t r, gid_t e, gid_t s)
{
	return RESULT(syscall(SYS_setresgid, r, e, s));
}

int sys_setresuid_thread(uid_t r, uid_t e, uid_t s)
{
	return RESULT(syscall(SYS_setresuid, r, e, s));
}
