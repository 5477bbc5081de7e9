/*
 * landlock.h - the kernel's Landlock interface, spelled out: the headers of the build machine may be older than the kernel. What is
 * granted to whom is its users' business (server/confine_landlock.c, client/run/landlock.c).
 */
#pragma once

#include <stdint.h>
#include <sys/syscall.h>

#include "common/util.h"

/* What each version of the interface brought. */
enum {
	ABI_REFER = 2, /* before it, files cannot be moved between directories */
	ABI_TRUNCATE = 3,
	ABI_NET = 4,
	ABI_IOCTL = 5,
	ABI_SCOPE = 6,
};

#define CREATE_RULESET_VERSION 1U
#define RULE_PATH_BENEATH 1

#define FS_EXECUTE (1ULL << 0)
#define FS_WRITE_FILE (1ULL << 1)
#define FS_READ_FILE (1ULL << 2)
#define FS_READ_DIR (1ULL << 3)
#define FS_MAKE_CHAR (1ULL << 6)
#define FS_MAKE_BLOCK (1ULL << 11)
#define FS_ALL_V1 ((1ULL << 13) - 1)
#define FS_REFER (1ULL << 13)
#define FS_TRUNCATE (1ULL << 14)
#define FS_IOCTL_DEV (1ULL << 15)
#define NET_ALL 3ULL   /* bind and connect of TCP */
#define SCOPE_ALL 3ULL /* abstract Unix sockets, signals */

struct ruleset_attr {
	uint64_t fs, net, scoped;
};

struct path_beneath_attr {
	uint64_t allowed;
	int32_t parent_fd;
} __attribute__((packed));

/* The version that this kernel has, or -errno: -ENOSYS, -EOPNOTSUPP where it is switched off. */
static inline int landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);

	return abi < 0 ? -errno : (int)abi;
}
