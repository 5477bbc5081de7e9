/*
 * confine_landlock.c - the kernel's own idea of what the worker may reach: the volumes' trees.
 *
 * Landlock judges an open by walking up from the object to the root of its mount, and a rule hangs
 * on the inode of a volume's root. That is so for detached mounts too, and for magic links
 * (/proc/self/fd/N: the target is judged, not the link), so reopening needs no rule on procfs.
 * O_PATH and metadata are not Landlock's business. Nor is a directory that is held and was moved
 * out of its volume: kernels with the repaired walk of disconnected directories go on at the root
 * of the mount. (".." out of such a directory is refused by the kernel's path walk itself; using it
 * is refused by the server, which verifies base handles.)
 */
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "common/landlock.h"
#include "server/confine.h"

/* What a volume may need. Never EXECUTE: the worker runs nothing, and donated descriptors are
 * judged where they are used. */
static uint64_t volume_rights(const struct volume *v, uint64_t handled)
{
	uint64_t rights = FS_READ_FILE | FS_READ_DIR;

	if (!v->read_only)
		rights = handled & ~(FS_EXECUTE | FS_IOCTL_DEV);
	return rights & handled;
}

int confine_landlock(const struct server *server, char *detail, size_t size)
{
	struct ruleset_attr attr = { .fs = FS_ALL_V1 | FS_REFER };
	size_t attr_size = sizeof(attr.fs);
	_cleanup_fd_ int ruleset = -EBADF;
	int abi = landlock_abi();

	if (abi < 0)
		return abi;
	if (abi < ABI_REFER) {
		snprintf(detail, size, "ABI %d cannot move files between directories: too old",
			 abi);
		return -EOPNOTSUPP;
	}
	if (abi >= ABI_TRUNCATE)
		attr.fs |= FS_TRUNCATE;
	if (abi >= ABI_IOCTL)
		attr.fs |= FS_IOCTL_DEV;
	if (abi >= ABI_NET) {
		attr.net = NET_ALL;
		attr_size = offsetof(struct ruleset_attr, scoped);
	}
	if (abi >= ABI_SCOPE) {
		attr.scoped = SCOPE_ALL;
		attr_size = sizeof(attr);
	}
	ruleset = syscall(SYS_landlock_create_ruleset, &attr, attr_size, 0);
	if (ruleset < 0)
		return -errno;
	for (size_t i = 0; i < server->n_volumes; i++) {
		struct path_beneath_attr rule = {
			.allowed = volume_rights(&server->volumes[i], attr.fs),
			.parent_fd = server->volumes[i].fs.root_fd,
		};

		if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
			return -errno;
	}
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return -errno;
	snprintf(detail, size, "ABI %d: files%s%s", abi, attr.net ? ", TCP" : "",
		 attr.scoped ? ", signals, abstract sockets" : "");
	return 0;
}
