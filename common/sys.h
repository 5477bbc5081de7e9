/*
 * sys.h - system calls that the C library of Debian 12 does not wrap, or wraps in a way that does
 * not suit us (for the whole process instead of the thread). Each returns what the kernel does, as
 * a result or -errno.
 */
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include "common/util.h"

/* openat2(2). resolve: RESOLVE_* of <linux/openat2.h>. O_CLOEXEC is always added. */
int sys_openat2(int dirfd, const char *path, int flags, mode_t mode, uint64_t resolve);
/* faccessat2(2) */
int sys_faccessat2(int dirfd, const char *path, int mode, int flags);
/* open_tree(2), move_mount(2), mount_setattr(2) */
int sys_open_tree(int dirfd, const char *path, unsigned flags);
int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int sys_mount_setattr(int dirfd, const char *path, unsigned flags, uint64_t set, uint64_t clear,
		      uint64_t propagation);
int sys_pivot_root(const char *new_root, const char *put_old);

/* Of the calling thread only. */
int sys_setgroups_thread(size_t n, const gid_t *groups);
int sys_setresgid_thread(gid_t r, gid_t e, gid_t s);
int sys_setresuid_thread(uid_t r, uid_t e, uid_t s);
