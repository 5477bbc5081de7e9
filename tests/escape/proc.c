/*
 * proc.c - /proc and /dev: what the kernel says of itself and of others, and what it can be told.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tests/escape/escape.h"

static void writing(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	long r = fd;

	/* Opening may be let; what counts is that nothing changes. */
	if (fd >= 0) {
		r = write(fd, "0", 1);
		close(fd);
	}
	must_fail(text("writing %s", path), r);
}

static void reading(const char *path)
{
	char data[256];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	long r = fd;

	if (fd >= 0) {
		r = read(fd, data, sizeof(data));
		if (r == 0) {
			r = -1;
			errno = ENODATA;
		}
		close(fd);
	}
	must_fail(text("reading %s", path), r);
}

static void devices(void)
{
	static const struct {
		const char *name;
		mode_t type;
		unsigned major, minor;
	} nodes[] = {
		{ "mem", S_IFCHR, 1, 1 },     { "kmsg", S_IFCHR, 1, 11 },
		{ "null", S_IFCHR, 1, 3 },    { "disk", S_IFBLK, 254, 0 },
		{ "sda", S_IFBLK, 8, 0 },     { "loop", S_IFBLK, 7, 0 },
		{ "fuse", S_IFCHR, 10, 229 }, { "tun", S_IFCHR, 10, 200 },
		{ "tty", S_IFCHR, 5, 0 },
	};
	const char *dirs[] = { world.rw, "/tmp", "/dev", "/dev/shm" };
	/* In the directory of the host, put there by the script where it is root. */
	int fd = open(text("%s/device", world.rw), O_RDWR | O_CLOEXEC | O_NONBLOCK);

	must_fail("opening a device node of the volume", fd);
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		for (size_t k = 0; k < 4; k++) {
			const char *path = text("%s/node-%s", dirs[k], nodes[i].name);
			long r = mknod(path, nodes[i].type | 0666,
				       makedev(nodes[i].major, nodes[i].minor));

			must_fail(text("mknod %s", path), r);
			if (r == 0)
				unlink(path);
		}
}

/* Where nothing of the host may be told by a name: both have no answer. */
static void sysfs(void)
{
	static const char *const paths[] = { "/sys/kernel/uevent_helper",
					     "/sys/fs/cgroup/cgroup.procs",
					     "/sys/power/state",
					     "/sys/kernel/debug",
					     "/run/dbus",
					     "/var/run/docker.sock",
					     "/boot",
					     "/root",
					     "/home",
					     "/var/log",
					     "/mnt",
					     "/srv" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		must_fail(text("stat %s", paths[i]), access(paths[i], F_OK));
}

static void leaks(void)
{
	static const char *const files[] = { "/proc/self/mountinfo", "/proc/self/mounts",
					     "/proc/self/maps",      "/proc/self/environ",
					     "/proc/self/cgroup",    "/proc/net/unix" };
	static char data[262144];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int fd = open(files[i], O_RDONLY | O_CLOEXEC);
		size_t n = 0;
		ssize_t r;

		if (fd < 0) {
			ok("%s: %s", files[i], errno_text(-1));
			continue;
		}
		while (n < sizeof(data) && (r = read(fd, data + n, sizeof(data) - n)) > 0)
			n += (size_t)r;
		close(fd);
		/* Our own environment says where it is, so that it can be attacked. */
		if (strcmp(files[i], "/proc/self/environ") == 0)
			continue;
		verdict(contains(data, n, world.outside, strlen(world.outside)),
			"%s names what is outside", files[i]);
	}
}

void family_proc(void)
{
	static const char *const settings[] = {
		"/proc/sys/kernel/core_pattern",
		"/proc/sys/kernel/modprobe",
		"/proc/sys/kernel/hostname",
		"/proc/sys/kernel/randomize_va_space",
		"/proc/sys/vm/drop_caches",
		"/proc/sys/vm/overcommit_memory",
		"/proc/sys/fs/file-max",
		"/proc/sys/net/ipv4/ip_forward",
		"/proc/sysrq-trigger",
		"/proc/sys/user/max_user_namespaces",
		"/proc/self/uid_map",
		"/proc/self/gid_map",
		"/proc/self/setgroups",
		"/proc/sys/fs/binfmt_misc/register",
		"/proc/irq/0/smp_affinity",
		"/proc/sys/kernel/ns_last_pid",
		"/proc/self/attr/current",
		"/proc/self/attr/exec",
		"/proc/mtrr",
		"/proc/acpi/wakeup",
		"/proc/scsi/scsi",
		"/proc/bus/pci/00/00.0",
		"/proc/self/projid_map",
		"/proc/self/timens_offsets",
	};
	static const char *const secrets[] = {
		"/proc/kcore",      "/proc/kmsg",        "/dev/mem",          "/dev/kmsg",
		"/dev/port",        "/dev/vda",          "/dev/sda",          "/dev/fuse",
		"/dev/kvm",         "/dev/net/tun",      "/dev/loop-control", "/dev/userfaultfd",
		"/dev/vhost-net",   "/dev/snapshot",     "/proc/keys",        "/proc/key-users",
		"/proc/timer_list", "/proc/vmallocinfo", "/proc/slabinfo"
	};

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		writing(settings[i]);
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++)
		reading(secrets[i]);
	devices();
	sysfs();
	leaks();
}
