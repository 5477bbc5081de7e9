/*
 * namespaces.c - the small parts of setting up: ids, the loopback device, and what is taken away for good.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "client/run/cage.h"
#include "client/run/inside.h"

static int write_file(const char *path, const char *text)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* "inside outside count" of our own map, with everything mapped to itself. The kernel takes at most a page. */
static int identity_map(const char *own, char *out, size_t size)
{
	FILE *file = fopen(own, "re");
	char line[128], *next;
	size_t used = 0;

	if (!file)
		return -errno;
	while (used < size && fgets(line, sizeof(line), file)) {
		unsigned long first = strtoul(line, &next, 10), count;

		(void)strtoul(next, &next, 10);
		count = strtoul(next, NULL, 10);
		used += snprintf(out + used, size - used, "%lu %lu %lu\n", first, first, count);
	}
	(void)fclose(file);
	return used && used < size ? 0 : -EINVAL;
}

static int map_whole_range(pid_t pid)
{
	char path[64], map[4096];
	int r;

	r = identity_map("/proc/self/uid_map", map, sizeof(map));
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	r = write_file(path, map);
	if (r < 0)
		return r;
	r = identity_map("/proc/self/gid_map", map, sizeof(map));
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	return write_file(path, map);
}

int inside_map_ids(pid_t pid)
{
	char path[64], map[64];
	int r;

	if (geteuid() == 0 && map_whole_range(pid) == 0)
		return 0;
	/* One user and one group: all that the kernel lets anybody else map. */
	snprintf(path, sizeof(path), "/proc/%d/setgroups", pid);
	r = write_file(path, "deny");
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	snprintf(map, sizeof(map), "%u %u 1", geteuid(), geteuid());
	r = write_file(path, map);
	/* Written already, by map_whole_range(). */
	if (r < 0 && !(r == -EPERM && geteuid() == 0))
		return r;
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	snprintf(map, sizeof(map), "%u %u 1", getegid(), getegid());
	return write_file(path, map);
}

int inside_loopback_up(void)
{
	_cleanup_fd_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo" };

	/* A kernel without IPv4. */
	if (sock < 0)
		return errno == EAFNOSUPPORT ? 0 : -errno;
	if (ioctl(sock, SIOCGIFFLAGS, &request) < 0)
		return -errno;
	request.ifr_flags |= IFF_UP | IFF_RUNNING;
	return ioctl(sock, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

int inside_forbid_namespaces(int root)
{
	_cleanup_fd_ int fd =
		openat(root, "proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return write(fd, "0", 1) < 0 ? -errno : 0;
}

int inside_drop_privileges(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct data[2] = {}, have[2] = {};
	const unsigned setpcap = 1U << CAP_SETPCAP;

	if (syscall(SYS_capget, &header, have) < 0)
		return -errno;
	if (have[0].effective & setpcap) {
		for (unsigned long cap = 0; cap < 64; cap++)
			if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
				return -errno;
		if (prctl(PR_SET_SECUREBITS,
			  SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
				  SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
				  SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
			  0, 0, 0) < 0)
			return -errno;
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return -errno;
	if (syscall(SYS_capset, &header, data) < 0)
		return -errno;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int cage_harden_supervisor(void)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return inside_drop_privileges();
}
