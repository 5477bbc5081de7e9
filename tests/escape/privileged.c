/*
 * privileged.c - the calls of administrators and of those who build other sandboxes: all fail, with
 * arguments that would succeed, or fail otherwise, outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/escape/escape.h"

static const struct {
	const char *name;
	int flag;
} namespaces[] = {
	{ "user", CLONE_NEWUSER },     { "mount", CLONE_NEWNS }, { "pid", CLONE_NEWPID },
	{ "net", CLONE_NEWNET },       { "ipc", CLONE_NEWIPC },  { "uts", CLONE_NEWUTS },
	{ "cgroup", CLONE_NEWCGROUP }, { "time", 0x80 },
};

/* In a child: what came of it, or of the child that it made. */
static int try_unshare(void *userdata)
{
	return syscall(SYS_unshare, *(int *)userdata) == 0 ? 0 : 1;
}

static void end_child(long pid)
{
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid((pid_t)pid, NULL, 0);
}

static void make_namespaces(void)
{
	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
		int flag = namespaces[i].flag, both = flag | CLONE_NEWUSER;
		struct clone_args args = { .exit_signal = SIGCHLD };
		long r;

		verdict(in_child(try_unshare, &flag) == 0, "unshare %s", namespaces[i].name);
		verdict(in_child(try_unshare, &both) == 0, "unshare user and %s",
			namespaces[i].name);
		if (flag != 0x80) { /* there it is part of the signal */
			r = syscall(SYS_clone, (long)flag | SIGCHLD, 0, 0, 0, 0);
			end_child(r);
			must_fail(text("clone %s", namespaces[i].name), r);
			r = syscall(SYS_clone, (long)both | SIGCHLD | (1L << 40), 0, 0, 0, 0);
			end_child(r);
			must_fail(text("clone user and %s", namespaces[i].name), r);
		}
		for (int with_user = 0; with_user < 2; with_user++) {
			args.flags = (unsigned)(with_user ? both : flag);
			r = syscall(SYS_clone3, &args, sizeof(args));
			end_child(r);
			must_fail(text("clone3 %s%s", with_user ? "user and " : "",
				       namespaces[i].name),
				  r);
		}
	}
}

static void join_namespaces(void)
{
	static const char *const kinds[] = { "user", "mnt", "pid",    "net",
					     "ipc",  "uts", "cgroup", "time" };
	const int pids[] = { 0, 1, world.supervisor };

	for (size_t i = 0; i < 8; i++)
		for (size_t k = 0; k < 3; k++) {
			const char *path = pids[k] ? text("/proc/%d/ns/%s", pids[k], kinds[i])
						   : text("/proc/self/ns/%s", kinds[i]);
			int fd = open(path, O_RDONLY | O_CLOEXEC);

			if (fd < 0) {
				ok("open %s: %s", path, errno_text(-1));
				continue;
			}
			must_fail(text("setns %s", path), syscall(SYS_setns, fd, 0));
			close(fd);
		}
	int pidfd = (int)syscall(SYS_pidfd_open, world.supervisor, 0);

	must_fail("setns pidfd of the supervisor",
		  syscall(SYS_setns, pidfd, CLONE_NEWNS | CLONE_NEWPID));
	if (pidfd >= 0)
		close(pidfd);
}

static void mounts(void)
{
	const char *rw = world.rw, *ro = world.ro;
	struct {
		uint64_t set, clear, propagation, userns;
	} attributes = { .clear = 1 /* MOUNT_ATTR_RDONLY */ };
	long fd;

	must_fail("mount tmpfs", syscall(SYS_mount, "x", rw, "tmpfs", 0, NULL));
	must_fail("mount proc", syscall(SYS_mount, "proc", rw, "proc", 0, NULL));
	must_fail("mount bind /", syscall(SYS_mount, "/", rw, NULL, 4096 /* MS_BIND */, NULL));
	must_fail("mount bind outside", syscall(SYS_mount, world.outside, rw, NULL, 4096, NULL));
	must_fail("mount remount rw",
		  syscall(SYS_mount, NULL, ro, NULL, 4096 | 32 /* MS_REMOUNT */, NULL));
	must_fail("mount move", syscall(SYS_mount, ro, rw, NULL, 8192 /* MS_MOVE */, NULL));
	must_fail("umount2", syscall(SYS_umount2, ro, 2 /* MNT_DETACH */));
	must_fail("umount2 /", syscall(SYS_umount2, "/", 2));
	must_fail("umount2 /proc", syscall(SYS_umount2, "/proc", 2));
	must_fail("pivot_root", syscall(SYS_pivot_root, rw, rw));
	must_fail("chroot", syscall(SYS_chroot, rw));
	must_fail("open_tree", fd = syscall(SYS_open_tree, AT_FDCWD, "/", 0));
	must_fail("open_tree clone", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
	must_fail("open_tree outside", syscall(SYS_open_tree, AT_FDCWD, world.outside, 0));
	must_fail("open_tree_attr", syscall(467, AT_FDCWD, ro, 1, &attributes, sizeof(attributes)));
	must_fail("mount_setattr",
		  syscall(SYS_mount_setattr, AT_FDCWD, ro, 0, &attributes, sizeof(attributes)));
	must_fail("move_mount", syscall(SYS_move_mount, AT_FDCWD, ro, AT_FDCWD, rw, 0));
	must_fail("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	must_fail("fspick", syscall(SYS_fspick, AT_FDCWD, ro, 0));
	must_fail("fsmount", syscall(SYS_fsmount, -1, 0, 0));
	must_fail("statmount", syscall(457, NULL, NULL, 0, 0));
	must_fail("listmount", syscall(458, NULL, NULL, 0, 0));
	must_fail("quotactl",
		  syscall(SYS_quotactl, 0x800007 /* Q_GETQUOTA */, "/dev/vda", 0, NULL));
	must_fail("swapon", syscall(SYS_swapon, rw, 0));
	must_fail("acct", syscall(SYS_acct, text("%s/acct", rw)));
	must_fail("open_by_handle_at",
		  syscall(SYS_open_by_handle_at, AT_FDCWD, "\x08\0\0\0\1\0\0\0........", 0));
}

/* Handles: by descriptor, and made up. */
static void handles(void)
{
	struct {
		unsigned bytes;
		int type;
		unsigned char handle[128];
	} h = { .bytes = 128 };
	int mount_id, dir = open(world.rw, O_RDONLY | O_DIRECTORY);

	must_fail("name_to_handle_at",
		  syscall(SYS_name_to_handle_at, AT_FDCWD, world.rw, &h, &mount_id, 0));
	must_fail("name_to_handle_at fd",
		  syscall(SYS_name_to_handle_at, dir, "", &h, &mount_id, AT_EMPTY_PATH));
	for (unsigned inode = 1; inode < 16; inode++) {
		h.bytes = 8;
		h.type = 1; /* FILEID_INO32_GEN */
		memcpy(h.handle, &inode, 4);
		memset(h.handle + 4, 0, 4);
		long r = syscall(SYS_open_by_handle_at, dir, &h, O_RDONLY);

		if (inode == 2 || r >= 0)
			must_fail(text("open_by_handle_at inode %u", inode), r);
	}
	close(dir);
}

static void kernel(void)
{
	struct timespec now;
	char attributes[128] = { 0 };

	clock_gettime(CLOCK_REALTIME, &now);
	must_fail("bpf", syscall(SYS_bpf, 5 /* BPF_PROG_LOAD */, attributes, sizeof(attributes)));
	must_fail("bpf map", syscall(SYS_bpf, 0, attributes, sizeof(attributes)));
	attributes[4] = 112;
	must_fail("perf_event_open", syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0));
	must_fail("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
	must_fail("userfaultfd user only", syscall(SYS_userfaultfd, 1));
	must_fail("fanotify_init", syscall(SYS_fanotify_init, 0x200 /* FAN_REPORT_FID */, 0));
	must_fail("fanotify_mark", syscall(SYS_fanotify_mark, -1, 1, 2, AT_FDCWD, world.rw));
	must_fail("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0));
	must_fail("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, "", 0));
	must_fail("init_module", syscall(SYS_init_module, "", 0, ""));
	must_fail("finit_module", syscall(SYS_finit_module, -1, "", 0));
	must_fail("delete_module", syscall(SYS_delete_module, "nothing", O_NONBLOCK));
	must_fail("add_key", syscall(SYS_add_key, "user", "escape", "x", 1, -3 /* process */));
	must_fail("request_key", syscall(SYS_request_key, "user", "escape", NULL, -3));
	must_fail("keyctl", syscall(SYS_keyctl, 0, -4 /* user keyring */, 1));
	must_fail("reboot", syscall(SYS_reboot, 0xfee1dead, 672274793, 0 /* CAD_OFF */, NULL));
	must_fail("syslog", syscall(SYS_syslog, 3, attributes, sizeof(attributes)));
	must_fail("syslog size", syscall(SYS_syslog, 10, NULL, 0));
	must_fail("sethostname", syscall(SYS_sethostname, "x", 1));
	must_fail("setdomainname", syscall(SYS_setdomainname, "x", 1));
	must_fail("settimeofday", syscall(SYS_settimeofday, NULL, NULL));
	must_fail("clock_settime", syscall(SYS_clock_settime, CLOCK_REALTIME, &now));
	must_fail("iopl", syscall(SYS_iopl, 3));
	must_fail("ioperm", syscall(SYS_ioperm, 0x80, 1, 1));
	must_fail("vhangup", syscall(SYS_vhangup));
	must_fail("lookup_dcookie", syscall(SYS_lookup_dcookie, 1, attributes, sizeof(attributes)));
	must_fail("uselib", syscall(SYS_uselib, "/bin/true"));
	must_fail("lsm_set_self_attr", syscall(460, 100, attributes, sizeof(attributes), 0));
	must_fail("file_getattr outside", syscall(468, AT_FDCWD, world.outside, attributes, 24, 0));
	must_fail("personality READ_IMPLIES_EXEC", syscall(SYS_personality, 0x400000));
	must_fail("prctl PR_SET_MM", prctl(PR_SET_MM, 13 /* EXE_FILE */, 0, 0, 0));
	must_fail("TIOCSTI", syscall(SYS_ioctl, 0, 0x5412, "x"));
	must_fail("TIOCSTI, upper half", syscall(SYS_ioctl, 0, 0x100005412, "x"));
	must_fail("TIOCLINUX", syscall(SYS_ioctl, 0, 0x541c, "\2"));
}

/* errno alone does not tell the filter's refusal from a file that is no terminal. */
static void terminal(void)
{
	errno = 0;
	verdict(syscall(SYS_ioctl, -1, 0xffffffff00005412, "x") >= 0 || errno != EPERM,
		"TIOCSTI is refused before the descriptor is looked at: %s", errno_text(-1));
}

static void credentials(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	verdict(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1, "no_new_privs is set");
	if (syscall(SYS_capget, &header, data) < 0)
		broken("capget: %s", errno_text(-1));
	verdict(data[0].effective | data[1].effective | data[0].permitted | data[1].permitted,
		"no capabilities: effective %x %x, permitted %x %x", data[0].effective,
		data[1].effective, data[0].permitted, data[1].permitted);
	data[0].effective = data[0].permitted = 1 << 21; /* CAP_SYS_ADMIN */
	must_fail("capset", syscall(SYS_capset, &header, data));
	must_fail("setuid of somebody else", syscall(SYS_setuid, getuid() + 1));
	must_fail("setgid of somebody else", syscall(SYS_setgid, getgid() + 1));
	must_fail("setgroups", syscall(SYS_setgroups, 1, (gid_t[]){ 0 }));
}

void family_privileged(void)
{
	credentials();
	make_namespaces();
	join_namespaces();
	mounts();
	handles();
	kernel();
	terminal();
}
