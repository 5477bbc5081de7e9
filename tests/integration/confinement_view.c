/*
 * confinement_view.c - a worker's world seen from inside: what a client that has taken one over
 * could still do.
 *
 *     confinement_view DIRECTORY [VOLUME-OPTION,...]
 *
 * S56 S102 S104: a worker that was taken over reaches no other file, process, user or capability.
 *
 * Makes two volumes and a secret in DIRECTORY, confines processes by the very functions that
 * confine the server's workers (monitor_confine, monitor_fork_worker), and lets each make one
 * attempt instead of serving. One process per attempt: seccomp kills the one that tries. Prints a
 * table "attempt | how it failed"; exit status 1 if anything succeeded, or if what a worker must be
 * able to do did not (a worker that can do nothing at all would prove nothing).
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/packet.h"
#include "common/sys.h"
#include "server/identity.h"
#include "server/monitor.h"
#include "server/volume.h"

#define SYS(...)                                     \
	({                                           \
		long _result = syscall(__VA_ARGS__); \
		_result < 0 ? -errno : _result;      \
	})

enum { READ_ONLY, WRITABLE }; /* indexes of the volumes */
enum { SUCCEEDED = 200, HELD = 201 };

static const struct server *the_server;
static const struct confine *the_confine;
static int proc_fd, sock;

static int root_of(int volume)
{
	return the_server->volumes[volume].fs.root_fd;
}

static int place(int volume, const char *path)
{
	return sys_openat2(root_of(volume), path, O_PATH | O_NOFOLLOW, 0,
			   RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

/* As the server reopens what it holds. */
static int reopen(int fd, int flags)
{
	char name[16];

	snprintf(name, sizeof(name), "%d", fd);
	return sys_openat2(proc_fd, name, flags, 0, 0);
}

/* Tells the process outside to do its part, and waits until it did. */
static void ask_outside(char what)
{
	struct iovec iov = { &what, 1 };
	struct packet_in in;

	if (packet_send(sock, &iov, 1, -EBADF, 0) < 0 || packet_recv(sock, &what, 1, 0, &in) != 1)
		_exit(SUCCEEDED);
}

/* ---- what must work ---- */

static long can_read(void)
{
	char text[8] = "";
	int fd = reopen(place(READ_ONLY, "file"), O_RDONLY);

	return fd >= 0 && pread(fd, text, 5, 0) == 5 && memcmp(text, "hello", 5) == 0 ? 0 : -EIO;
}

static long can_create(void)
{
	int fd = sys_openat2(root_of(WRITABLE), "new", O_CREAT | O_EXCL | O_RDWR, 0644,
			     RESOLVE_BENEATH);

	if (fd < 0)
		return fd;
	return pwrite(fd, "x", 1, 0) == 1 && reopen(fd, O_RDWR) >= 0 ? 0 : -EIO;
}

static long can_rename(void)
{
	return renameat2(root_of(WRITABLE), "move-me", root_of(WRITABLE), "dir/moved", 0) < 0
		       ? -errno
		       : 0;
}

static long can_list(void)
{
	char buf[512];

	return SYS(SYS_getdents64, reopen(place(READ_ONLY, "."), O_RDONLY | O_DIRECTORY), buf,
		   sizeof(buf)) > 0
		       ? 0
		       : -EIO;
}

/* ---- paths ---- */

#define UP "../../../../../../../../../../../../"

static long open_absolute(void)
{
	return sys_openat2(AT_FDCWD, "/etc/passwd", O_RDONLY, 0, 0);
}
static long open_root(void)
{
	return sys_openat2(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0, 0);
}
static long open_proc(void)
{
	return sys_openat2(AT_FDCWD, "/proc/1/environ", O_RDONLY, 0, 0);
}
static long open_sys(void)
{
	return sys_openat2(AT_FDCWD, "/sys/kernel", O_PATH, 0, 0);
}
static long open_dev(void)
{
	return sys_openat2(AT_FDCWD, "/dev/null", O_PATH, 0, 0);
}
static long up_from_cwd(void)
{
	return sys_openat2(AT_FDCWD, UP "etc/passwd", O_RDONLY, 0, 0);
}
static long up_from_read_only(void)
{
	return sys_openat2(root_of(READ_ONLY), UP "etc/passwd", O_RDONLY, 0, 0);
}
static long up_from_writable(void)
{
	return sys_openat2(root_of(WRITABLE), UP "etc/passwd", O_RDONLY, 0, 0);
}
static long up_from_held(void)
{
	return sys_openat2(place(WRITABLE, "dir"), UP "etc/passwd", O_RDONLY, 0, 0);
}
static long up_to_sibling(void)
{
	return sys_openat2(root_of(WRITABLE), "../secret", O_RDONLY, 0, 0);
}
static long up_from_proc(void)
{
	return sys_openat2(proc_fd, "../environ", O_RDONLY, 0, 0);
}
static long up_from_proc_far(void)
{
	return sys_openat2(proc_fd, "../../1/environ", O_RDONLY, 0, 0);
}
static long proc_root_link(void)
{
	return sys_openat2(proc_fd, "../root/etc/passwd", O_RDONLY, 0, 0);
}
static long follow_absolute_link(void)
{
	return sys_openat2(root_of(WRITABLE), "link-absolute", O_RDONLY, 0, 0);
}
static long follow_relative_link(void)
{
	return sys_openat2(root_of(WRITABLE), "link-up", O_RDONLY, 0, 0);
}
static long make_in_root(void)
{
	return mkdirat(AT_FDCWD, "/x", 0755) < 0 ? -errno : 0;
}
static long link_out(void)
{
	return linkat(root_of(WRITABLE), "file", AT_FDCWD, "/x", 0) < 0 ? -errno : 0;
}

/* The root of a volume has itself above it. */
static long dotdot_of_root(void)
{
	struct stat above, root;
	int fd = sys_openat2(root_of(WRITABLE), "..", O_PATH, 0, 0);

	if (fd < 0)
		return fd;
	if (fstat(fd, &above) < 0 || fstat(root_of(WRITABLE), &root) < 0)
		return 0;
	return above.st_ino == root.st_ino && above.st_dev == root.st_dev ? HELD : 0;
}

/* A directory that we hold is moved out of the tree by somebody outside; its ".." is then the
 * host's. */
static long dotdot_of_moved(void)
{
	int dir = place(WRITABLE, "goes-away");

	if (dir < 0)
		return 0;
	ask_outside('m');
	return sys_openat2(dir, "../secret", O_RDONLY, 0, 0);
}

static long list_moved(void)
{
	int dir = place(WRITABLE, "goes-away-too");

	if (dir < 0)
		return 0;
	ask_outside('n');
	return reopen(dir, O_RDONLY | O_DIRECTORY);
}

/* ---- descriptors ---- */

static long reopen_for_writing(void)
{
	return reopen(place(READ_ONLY, "file"), O_RDWR);
}
static long truncate_read_only(void)
{
	return reopen(place(READ_ONLY, "file"), O_WRONLY | O_TRUNC);
}
static long reopen_log(void)
{
	return reopen(STDERR_FILENO, O_RDWR);
}
static long open_device(void)
{
	return reopen(place(WRITABLE, "device"), O_RDONLY);
}
static long open_unreadable(void)
{
	return reopen(place(WRITABLE, "unreadable"), O_RDONLY);
}
static long create_read_only(void)
{
	return sys_openat2(root_of(READ_ONLY), "new", O_CREAT | O_WRONLY, 0644, 0);
}
static long unlink_read_only(void)
{
	return unlinkat(root_of(READ_ONLY), "file", 0) < 0 ? -errno : 0;
}
static long chmod_read_only(void)
{
	return fchmodat(root_of(READ_ONLY), "file", 0777, 0) < 0 ? -errno : 0;
}
static long make_device(void)
{
	return mknodat(root_of(WRITABLE), "sda", S_IFBLK | 0600, 8 << 8) < 0 ? -errno : 0;
}
static long give_away(void)
{
	return fchownat(root_of(WRITABLE), "file", 12345, -1, 0) < 0 ? -errno : 0;
}
static long tty_input(void)
{
	return SYS(SYS_ioctl, STDERR_FILENO, TIOCSTI, "x");
}

/* ---- system calls ---- */

static struct sockaddr_un nowhere = { .sun_family = AF_UNIX, .sun_path = "\0gofer-nowhere" };
static char *const no_args[] = { NULL };

static long sys_creat(void)
{
	return SYS(SYS_openat, AT_FDCWD, "/tmp/x", O_CREAT | O_WRONLY, 0644);
}
static long sys_plain_openat(void)
{
	return SYS(SYS_openat, root_of(READ_ONLY), "/etc/passwd", O_RDONLY);
}
static long sys_socket(void)
{
	return SYS(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}
static long sys_socket_inet(void)
{
	return SYS(SYS_socket, AF_INET, SOCK_STREAM, 0);
}
static long sys_connect(void)
{
	return SYS(SYS_connect, sock, &nowhere, sizeof(nowhere));
}
static long sys_bind(void)
{
	return SYS(SYS_bind, sock, &nowhere, sizeof(nowhere));
}
static long sys_accept(void)
{
	return SYS(SYS_accept4, sock, NULL, NULL, 0);
}
static long sys_execve(void)
{
	return SYS(SYS_execve, "/bin/sh", no_args, no_args);
}
static long sys_execveat(void)
{
	return SYS(SYS_execveat, place(WRITABLE, "file"), "", no_args, no_args, AT_EMPTY_PATH);
}
static long sys_fork(void)
{
	return SYS(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0UL);
}
static long sys_clone_newuser(void)
{
	return SYS(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0UL);
}
static long sys_clone3(void)
{
	return SYS(SYS_clone3, NULL, 0);
}
static long sys_unshare_user(void)
{
	return SYS(SYS_unshare, CLONE_NEWUSER);
}
static long sys_unshare_mount(void)
{
	return SYS(SYS_unshare, CLONE_NEWNS | CLONE_FS);
}
static long sys_setns(void)
{
	return SYS(SYS_setns, proc_fd, 0);
}
static long sys_mount(void)
{
	return SYS(SYS_mount, "x", "/", "tmpfs", 0, NULL);
}
static long sys_umount(void)
{
	return SYS(SYS_umount2, "/", MNT_DETACH);
}
static long sys_fsopen(void)
{
	return SYS(SYS_fsopen, "tmpfs", 0);
}
static long sys_tree(void)
{
	return SYS(SYS_open_tree, root_of(READ_ONLY), "", AT_EMPTY_PATH | 1);
}
static long sys_set_mount(void)
{
	return SYS(SYS_mount_setattr, root_of(READ_ONLY), "", AT_EMPTY_PATH, &nowhere, 32);
}
static long sys_pivot(void)
{
	return SYS(SYS_pivot_root, ".", ".");
}
static long sys_chroot(void)
{
	return SYS(SYS_chroot, ".");
}
static long sys_chdir(void)
{
	return SYS(SYS_chdir, "/");
}
static long sys_ptrace(void)
{
	return SYS(SYS_ptrace, PTRACE_ATTACH, 1, 0, 0);
}
static long sys_vm_readv(void)
{
	return SYS(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
}
static long sys_pidfd_open(void)
{
	return SYS(SYS_pidfd_open, 1, 0);
}
static long sys_kill_monitor(void)
{
	return SYS(SYS_kill, 1, SIGKILL);
}
static long sys_kill_all(void)
{
	return SYS(SYS_kill, -1, SIGKILL);
}
static long sys_tgkill(void)
{
	return SYS(SYS_tgkill, 1, 1, SIGKILL);
}
static long sys_setown(void)
{
	return SYS(SYS_fcntl, sock, F_SETOWN, 1);
}

static long sys_setsig(void)
{
	return SYS(SYS_fcntl, sock, F_SETSIG, SIGKILL);
}

static long sys_lease(void)
{
	return SYS(SYS_fcntl, sock, F_SETLEASE, F_RDLCK);
}

static long map_code(void)
{
	return SYS(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long make_code(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? -errno : SYS(SYS_mprotect, page, 4096, PROT_READ | PROT_EXEC);
}

/* It may write to what it has; run_attempts() sees whether that was its own. */
static long forge_report(void)
{
	memset(the_confine->report, 0xff, sizeof(*the_confine->report));
	return 0;
}

static long sys_by_handle(void)
{
	return SYS(SYS_open_by_handle_at, root_of(READ_ONLY), &nowhere, O_RDONLY);
}
static long sys_name_to_handle(void)
{
	return SYS(SYS_name_to_handle_at, root_of(READ_ONLY), "file", NULL, NULL, 0);
}
static long sys_io_uring(void)
{
	return SYS(SYS_io_uring_setup, 8, &nowhere);
}
static long sys_bpf(void)
{
	return SYS(SYS_bpf, 5, &nowhere, 64);
}
static long sys_keyctl(void)
{
	return SYS(SYS_keyctl, 0, -3, 0, 0, 0);
}
static long sys_add_key(void)
{
	return SYS(SYS_add_key, "user", "x", "x", 1, -3);
}
static long sys_userfaultfd(void)
{
	return SYS(SYS_userfaultfd, 1);
}
static long sys_perf(void)
{
	return SYS(SYS_perf_event_open, &nowhere, 0, -1, -1, 0);
}
static long sys_memfd(void)
{
	return SYS(SYS_memfd_create, "x", 0);
}
static long sys_inotify(void)
{
	return SYS(SYS_inotify_init1, 0);
}
static long sys_fanotify(void)
{
	return SYS(SYS_fanotify_init, 0, 0);
}
static long sys_shm(void)
{
	return SYS(SYS_shmget, 0, 4096, 01600);
}
static long sys_module(void)
{
	return SYS(SYS_finit_module, proc_fd, "", 0);
}
static long sys_reboot(void)
{
	return SYS(SYS_reboot, 0, 0, 0, NULL);
}
static long sys_hostname(void)
{
	return SYS(SYS_sethostname, "x", 1);
}
static long sys_quota(void)
{
	return SYS(SYS_quotactl, 0, "/", 0, NULL);
}
static long sys_personality(void)
{
	return SYS(SYS_personality, 0x0040000);
}
static long sys_dumpable(void)
{
	return SYS(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}
static long sys_keepcaps(void)
{
	return SYS(SYS_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
}
static long sys_ambient(void)
{
	return SYS(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0);
}
static long sys_rlimit(void)
{
	return SYS(SYS_prlimit64, 0, 4, &(struct { uint64_t a, b; }){ 1, 1 }, NULL);
}

static long become_root(void)
{
	return sys_setresuid_thread(0, 0, 0);
}
static long join_groups(void)
{
	return sys_setgroups_thread(1, &(gid_t){ 0 });
}

static long gain_caps(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { ~0U, ~0U, ~0U }, { ~0U, ~0U, ~0U } };

	return SYS(SYS_capset, &header, data);
}

/* What an identity-switching worker is allowed to try: the kernel has to refuse. */
static const struct attempt {
	const char *name;
	long (*run)(void);
	bool must_work;
	bool forbidden; /* a call that the filter may kill for; elsewhere a kill would hide what is
			   asked */
	bool held; /* the kernel lets whoever holds a descriptor go on using it; the server checks
		      again (verify) */
	bool may_switch; /* by design possible where requests run under several identities */
} attempts[] = {
	{ "read a file of the read-only volume", can_read, .must_work = true },
	{ "list the read-only volume", can_list, .must_work = true },
	{ "create, write and reopen in the writable volume", can_create, .must_work = true },
	{ "rename between directories of the writable volume", can_rename, .must_work = true },

	{ "openat2 /etc/passwd", open_absolute },
	{ "openat2 / (list it)", open_root },
	{ "openat2 /proc/1/environ", open_proc },
	{ "openat2 /sys/kernel", open_sys },
	{ "openat2 /dev/null", open_dev },
	{ "openat2 ../../..etc/passwd from the working directory", up_from_cwd },
	{ "... from the read-only volume's root", up_from_read_only },
	{ "... from the writable volume's root", up_from_writable },
	{ "... from a held directory", up_from_held },
	{ "openat2 ../secret, beside the volume", up_to_sibling },
	{ ".. of a volume's root", dotdot_of_root },
	{ "../secret from a held directory moved out of the volume", dotdot_of_moved },
	{ "list a held directory moved out of the volume", list_moved, .held = true },
	{ "../environ from /proc/self/fd", up_from_proc },
	{ "../../1/environ from /proc/self/fd", up_from_proc_far },
	{ "../root/etc/passwd from /proc/self/fd", proc_root_link },
	{ "follow an absolute symbolic link", follow_absolute_link },
	{ "follow a symbolic link that leads up", follow_relative_link },
	{ "mkdir in the root directory", make_in_root },
	{ "link a file out of its volume", link_out },

	{ "reopen a read-only volume's file for writing", reopen_for_writing },
	{ "... with O_TRUNC", truncate_read_only },
	{ "create in the read-only volume", create_read_only },
	{ "unlink in the read-only volume", unlink_read_only },
	{ "chmod in the read-only volume", chmod_read_only },
	{ "reopen the log (stderr) for reading", reopen_log },
	{ "open a device that lies in the volume", open_device },
	{ "open a file that its mode forbids", open_unreadable },
	{ "make a block device", make_device },
	{ "give a file to another user", give_away },
	{ "type on the terminal (TIOCSTI)", tty_input, .forbidden = true },

	{ "openat with O_CREAT", sys_creat, .forbidden = true },
	{ "openat /etc/passwd", sys_plain_openat, .forbidden = true },
	{ "socket(AF_UNIX)", sys_socket, .forbidden = true },
	{ "socket(AF_INET)", sys_socket_inet, .forbidden = true },
	{ "connect to an abstract socket", sys_connect, .forbidden = true },
	{ "bind", sys_bind, .forbidden = true },
	{ "accept", sys_accept, .forbidden = true },
	{ "execve /bin/sh", sys_execve, .forbidden = true },
	{ "execveat a file of the volume", sys_execveat, .forbidden = true },
	{ "fork", sys_fork, .forbidden = true },
	{ "clone(CLONE_NEWUSER)", sys_clone_newuser, .forbidden = true },
	{ "clone3", sys_clone3 },
	{ "unshare(CLONE_NEWUSER)", sys_unshare_user, .forbidden = true },
	{ "unshare(CLONE_NEWNS|CLONE_FS)", sys_unshare_mount, .forbidden = true },
	{ "setns", sys_setns, .forbidden = true },
	{ "mount", sys_mount, .forbidden = true },
	{ "umount", sys_umount, .forbidden = true },
	{ "fsopen", sys_fsopen, .forbidden = true },
	{ "open_tree", sys_tree, .forbidden = true },
	{ "mount_setattr", sys_set_mount, .forbidden = true },
	{ "pivot_root", sys_pivot, .forbidden = true },
	{ "chroot", sys_chroot, .forbidden = true },
	{ "chdir", sys_chdir, .forbidden = true },
	{ "ptrace", sys_ptrace, .forbidden = true },
	{ "process_vm_readv", sys_vm_readv, .forbidden = true },
	{ "pidfd_open", sys_pidfd_open, .forbidden = true },
	{ "kill the monitor", sys_kill_monitor, .forbidden = true },
	{ "kill everything", sys_kill_all, .forbidden = true },
	{ "tgkill a process that is not ours", sys_tgkill, .forbidden = true },
	{ "signal the monitor by F_SETOWN", sys_setown, .forbidden = true },
	{ "choose the signal (F_SETSIG)", sys_setsig, .forbidden = true },
	{ "take a lease", sys_lease, .forbidden = true },
	{ "map writable memory as code", map_code, .forbidden = true },
	{ "make memory code", make_code, .forbidden = true },
	{ "tell later workers that nothing holds", forge_report, .must_work = true },
	{ "open_by_handle_at", sys_by_handle, .forbidden = true },
	{ "name_to_handle_at", sys_name_to_handle, .forbidden = true },
	{ "io_uring_setup", sys_io_uring, .forbidden = true },
	{ "bpf", sys_bpf, .forbidden = true },
	{ "keyctl", sys_keyctl, .forbidden = true },
	{ "add_key", sys_add_key, .forbidden = true },
	{ "userfaultfd", sys_userfaultfd, .forbidden = true },
	{ "perf_event_open", sys_perf, .forbidden = true },
	{ "memfd_create", sys_memfd, .forbidden = true },
	{ "inotify_init", sys_inotify, .forbidden = true },
	{ "fanotify_init", sys_fanotify, .forbidden = true },
	{ "shmget", sys_shm, .forbidden = true },
	{ "finit_module", sys_module, .forbidden = true },
	{ "reboot", sys_reboot, .forbidden = true },
	{ "sethostname", sys_hostname, .forbidden = true },
	{ "quotactl", sys_quota, .forbidden = true },
	{ "personality", sys_personality, .forbidden = true },
	{ "become dumpable again", sys_dumpable, .forbidden = true },
	{ "keep capabilities", sys_keepcaps, .forbidden = true },
	{ "raise an ambient capability", sys_ambient, .forbidden = true },
	{ "change resource limits", sys_rlimit, .forbidden = true },
	{ "become uid 0", become_root, .may_switch = true, .forbidden = true },
	{ "join group 0", join_groups, .may_switch = true, .forbidden = true },
	{ "gain every capability", gain_caps, .forbidden = true },
};

static size_t current;

/* In the confined worker. The result goes through a pipe that looks like any other descriptor of
 * the log's kind: the exit status. */
static int probe(const struct server *server, int fd, const struct peer *peer, int proc,
		 const volatile sig_atomic_t *draining)
{
	long r;

	the_server = server;
	proc_fd = proc;
	sock = fd;
	if (fchdir(proc) < 0)
		_exit(SUCCEEDED);
	r = attempts[current].run();
	if (r == HELD)
		_exit(HELD);
	_exit(r < 0 && r > -SUCCEEDED ? (int)-r : SUCCEEDED);
}

/* ---- outside ---- */

static void tell(bool failed, const char *name, const char *how)
{
	printf("%-58s | %s%s\n", name, how, failed ? "   <-- NOT CONFINED" : "");
}

/* True: as it should be. */
static bool judge(const struct attempt *a, int status, bool switching)
{
	char how[160];
	bool good;

	if (WIFSIGNALED(status)) {
		snprintf(how, sizeof(how), "%s",
			 WTERMSIG(status) == SIGSYS ? "killed by seccomp"
						    : strsignal(WTERMSIG(status)));
		good = a->forbidden && WTERMSIG(status) == SIGSYS;
	} else if (WEXITSTATUS(status) == HELD) {
		snprintf(how, sizeof(how), "is the volume's root itself");
		good = true;
	} else if (WEXITSTATUS(status) == SUCCEEDED) {
		good = a->must_work || a->held || (switching && a->may_switch);
		snprintf(how, sizeof(how), "%s",
			 a->must_work ? "works, as it must"
			 : a->held    ? "possible: what is held stays held; its .. leads nowhere"
			 : good       ? "possible: this worker switches identities"
				      : "SUCCEEDED");
	} else {
		snprintf(how, sizeof(how), "%s", strerror(WEXITSTATUS(status)));
		good = !a->must_work;
	}
	tell(!good, a->name, how);
	return good;
}

/* The monitor's part: one worker per attempt. */
static int run_attempts(struct monitor_config *config, int inside)
{
	bool switching = !identity_is_fixed(config->server);
	struct peer peer = {};
	char missing[512];
	size_t bad = 0;

	the_confine = config->confine;
	for (current = 0; current < ARRAY_SIZE(attempts); current++) {
		pid_t pid = monitor_fork_worker(config, inside, &peer);
		int status;

		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			return EXIT_FAILURE;
		bad += !judge(&attempts[current], status, switching);
	}
	if (!confine_complete(config->confine, missing, sizeof(missing))) {
		tell(true, "what a worker wrote", "later workers believe it");
		bad++;
	}
	printf("%zu attempts, %zu not as they should be\n", ARRAY_SIZE(attempts), bad);
	fflush(stdout);
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void put_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) < 0 || fchmod(fd, mode) < 0) {
		perror(name);
		exit(EXIT_FAILURE);
	}
	fd_close(fd);
}

static void must(int r, const char *what)
{
	if (r < 0) {
		perror(what);
		exit(EXIT_FAILURE);
	}
}

static void make_trees(void)
{
	must(mkdir("ro", 0755), "ro");
	must(mkdir("rw", 0777), "rw");
	must(mkdir("rw/dir", 0777), "rw/dir");
	must(mkdir("rw/goes-away", 0777), "rw/goes-away");
	must(mkdir("rw/goes-away-too", 0777), "rw/goes-away-too");
	put_file("secret", "secret\n", 0644);
	put_file("ro/file", "hello\n", 0666);
	put_file("rw/file", "hello\n", 0755);
	put_file("rw/move-me", "x\n", 0644);
	put_file("rw/unreadable", "x\n", 0);
	must(symlink("/etc/passwd", "rw/link-absolute"), "link");
	must(symlink("../secret", "rw/link-up"), "link");
	/* Only root can make one. Without it, there is none to open: ENOENT. */
	if (geteuid() == 0)
		must(mknod("rw/device", S_IFCHR | 0666, 1 << 8 | 3), "device");
}

/* Moves directories when a worker asks; returns when the last end inside is closed. */
static void serve_requests(int outside)
{
	char what;

	while (recv(outside, &what, 1, 0) == 1) {
		if (what == 'm')
			must(rename("rw/goes-away", "away"), "rename");
		else
			must(rename("rw/goes-away-too", "away-too"), "rename");
		if (send(outside, &what, 1, MSG_NOSIGNAL) != 1)
			return;
	}
}

static int open_server(const char *options, struct server *server)
{
	static struct server_shared shared;
	static struct volume volumes[2];
	struct serve_error error = {};
	char spec[512];
	int r;

	*server = (struct server){ .volumes = volumes,
				   .n_volumes = 2,
				   .limits = SERVER_LIMITS_DEFAULT,
				   .shared = &shared,
				   .version = "test" };
	for (int i = 0; i < 2; i++) {
		snprintf(spec, sizeof(spec), "%s:v%d:%s%s%s", i == READ_ONLY ? "ro" : "rw", i,
			 i == READ_ONLY ? "ro" : "rw", options[0] ? "," : "", options);
		volumes[i] = VOLUME_NULL;
		r = volume_parse(spec, &volumes[i], &error);
		if (r == 0)
			r = volume_open(&volumes[i], i, 0, &error);
		if (r < 0) {
			fprintf(stderr, "%s\n", error.text);
			return r;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct server server;
	struct confine confine;
	struct monitor_config config = { .server = &server,
					 .confine = &confine,
					 .control = -EBADF,
					 .handoff = -EBADF,
					 .serve = probe };
	struct serve_error error = {};
	int pair[2], status, log;
	pid_t pid;

	if (argc < 2 || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: confinement_view EMPTY-DIRECTORY [VOLUME-OPTION,...]\n");
		return 2;
	}
	umask(0); /* whoever the worker becomes may write */
	make_trees();
	log = open("log", O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0666);
	must(log, "log");
	if (open_server(argc > 2 ? argv[2] : "", &server) < 0 ||
	    confine_init(&confine, &server, true, false) < 0)
		return 1;
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
	printf("%-58s | %s\n", "attempt", "how it failed");
	fflush(stdout);
	pid = confine_fork(&confine, &error);
	if (pid == 0) {
		fd_close(pair[0]);
		if (monitor_confine(&config, &error) < 0) {
			printf("%s\n", error.text);
			fflush(stdout);
			_exit(EXIT_FAILURE);
		}
		/* Workers log to a file of the host, as a server's do. */
		must(dup2(log, STDERR_FILENO), "dup2");
		_exit(run_attempts(&config, pair[1]));
	}
	if (pid < 0) {
		printf("%s\n", error.text);
		return 1;
	}
	fd_close(pair[1]);
	serve_requests(pair[0]);
	must(waitpid(pid, &status, 0), "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
