/*
 * confine.c - the order of confinement, and the layers that are about processes and mounts.
 *
 * Everything here runs single-threaded. The monitor and the workers start as forks of the front:
 * what they must not keep is closed or unmounted, never merely forgotten. A worker's world in the
 * end: an empty read-only root, the volumes' detached mounts, which hang nowhere, and a detached
 * view of its own /proc/self/fd, above which ".." does not lead.
 */
#include "server/confine.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/capability.h>
#include <linux/close_range.h>

#include "common/sys.h"
#include "server/identity.h"
#include "server/volume.h"

#define CAP_BIT(cap) (UINT64_C(1) << (cap))

static const char *const layer_names[CONFINE_LAYERS] = {
	[CONFINE_USER_NS] = "user namespace",
	[CONFINE_NAMESPACES] = "mount, pid, net, ipc, uts namespaces",
	[CONFINE_DETACHED] = "detached volumes (nosuid, nodev, nosymfollow)",
	[CONFINE_ROOT] = "empty read-only root",
	[CONFINE_PROC] = "procfs: only its own descriptors",
	[CONFINE_RLIMITS] = "resource limits",
	[CONFINE_IDENTITY] = "one user only",
	[CONFINE_CAPS] = "least capabilities",
	[CONFINE_NO_NEW_PRIVS] = "no_new_privs",
	[CONFINE_NO_DUMP] = "not dumpable, not traceable",
	[CONFINE_LANDLOCK] = "Landlock",
	[CONFINE_SECCOMP] = "seccomp",
};

const char *confine_layer_name(enum confine_layer layer)
{
	return layer_names[layer];
}

int confine_init(struct confine *c, const struct server *server, bool strict, bool no_openat2)
{
	*c = (struct confine){
		.strict = strict,
		.no_openat2 = no_openat2,
		.outer_uid = geteuid(),
		.outer_gid = getegid(),
	};
	c->report = mmap(NULL, sizeof(*c->report), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->report == MAP_FAILED) {
		c->report = NULL;
		return -errno;
	}
	for (size_t i = 0; i < CONFINE_LAYERS; i++)
		c->report->layers[i].result = -EINPROGRESS;
	for (size_t i = 0; i < server->n_volumes; i++)
		c->may_connect |= server->volumes[i].special;
	return 0;
}

void confine_deinit(struct confine *c)
{
	if (c->report)
		(void)munmap(c->report, sizeof(*c->report));
	c->report = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(c->programs); i++)
		confine_program_deinit(&c->programs[i]);
}

int confine_settle(struct confine *c)
{
	struct confine_report *own = mmap(NULL, sizeof(*own), PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (own == MAP_FAILED)
		return -errno;
	*own = *c->report;
	(void)munmap(c->report, sizeof(*c->report));
	c->report = own;
	return 0;
}

bool confine_complete(const struct confine *c, char *ret_missing, size_t size)
{
	size_t used = 0;
	bool complete = true;

	ret_missing[0] = '\0';
	for (size_t i = 0; i < CONFINE_LAYERS; i++) {
		if (c->report->layers[i].result >= 0)
			continue;
		if (used < size)
			used += snprintf(ret_missing + used, size - used, "%s%s",
					 complete ? "" : "; ", layer_names[i]);
		complete = false;
	}
	return complete;
}

/* Notes how a layer went. A negative return means: this process must not go on. */
static int note(struct confine *c, enum confine_layer layer, int result, const char *detail,
		struct serve_error *error)
{
	struct confine_layer_state *state = &c->report->layers[layer];

	state->result = result;
	if (result >= 0 || detail[0])
		snprintf(state->detail, sizeof(state->detail), "%s", detail);
	else
		snprintf(state->detail, sizeof(state->detail), "%s", strerror(-result));
	if (result >= 0 || !c->strict)
		return 0;
	return serve_fail(error, result,
			  "cannot confine the server: %s: %s; --confine=best-effort serves without "
			  "this layer, "
			  "--explain-confinement shows all",
			  layer_names[layer], state->detail);
}

/* ---- namespaces ---- */

pid_t confine_fork(struct confine *c, struct serve_error *error)
{
	const unsigned inner =
		CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	unsigned flags = inner | (c->outer_uid != 0 ? CLONE_NEWUSER : 0);
	char detail[120];
	long pid;
	int r;

	/* Not fork() and unshare(): the first process of a pid namespace must be a child, and this
	 * one must stay outside. */
	pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0UL);
	if (pid >= 0) {
		c->namespaces = flags;
		if (pid == 0)
			return 0;
		return pid;
	}
	r = -errno;
	snprintf(detail, sizeof(detail), "%s%s", strerror(-r),
		 c->outer_uid != 0
			 ? " (user namespaces are forbidden here, see user.max_user_namespaces)"
			 : "");
	if (c->outer_uid != 0)
		r = note(c, CONFINE_USER_NS, r, detail, error);
	else
		r = note(c, CONFINE_NAMESPACES, r, detail, error);
	if (r < 0)
		return r;
	c->report->layers[CONFINE_NAMESPACES] =
		(struct confine_layer_state){ .result = -EPERM, .detail = "cannot be made here" };
	c->namespaces = 0;
	pid = fork();
	return pid < 0 ? -errno : (pid_t)pid;
}

static int write_file(const char *path, const char *text)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* One user, one group, mapped to themselves: all that the kernel lets an ordinary user map. */
static int map_ids(const struct confine *c)
{
	char uids[64], gids[64];
	int r;

	snprintf(uids, sizeof(uids), "%u %u 1", c->outer_uid, c->outer_uid);
	snprintf(gids, sizeof(gids), "%u %u 1", c->outer_gid, c->outer_gid);
	r = write_file("/proc/self/setgroups", "deny");
	if (r == 0)
		r = write_file("/proc/self/uid_map", uids);
	if (r == 0)
		r = write_file("/proc/self/gid_map", gids);
	return r;
}

/* ---- the empty root ---- */

/*
 * A procfs mount of our pid namespace, not attached yet. Where the kernel refuses one (a container
 * that hides parts of /proc), a copy of the existing mount has the same use: workers keep only
 * their own /proc/self/fd of it.
 */
static int proc_mount(char *detail, size_t size)
{
	enum {
		FSCONFIG_STRING = 1,
		FSCONFIG_CREATE = 6,
		FSMOUNT_CLOEXEC_FLAG = 1,
		FSOPEN_CLOEXEC_FLAG = 1
	};
	_cleanup_fd_ int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC_FLAG);
	int fd = -1;

	if (context >= 0) {
		/* Old kernels know neither option. */
		(void)syscall(SYS_fsconfig, context, FSCONFIG_STRING, "subset", "pid", 0);
		(void)syscall(SYS_fsconfig, context, FSCONFIG_STRING, "hidepid", "2", 0);
		if (syscall(SYS_fsconfig, context, FSCONFIG_CREATE, NULL, NULL, 0) == 0)
			fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC_FLAG,
					  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	}
	if (fd >= 0) {
		snprintf(detail, size, "private mount of the own pid namespace");
		return fd;
	}
	fd = sys_open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (fd >= 0)
		snprintf(detail, size, "by way of the host's /proc");
	return fd;
}

/* A root with nothing in it but the mount point of procfs, which workers unmount. */
static int enter_empty_root(int proc_fd)
{
	int r;

	if (mount("gofer", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  "mode=0755,size=4k,nr_inodes=3") < 0)
		return -errno;
	if (chdir("/proc") < 0 || mkdir("proc", 0555) < 0)
		return -errno;
	if (proc_fd >= 0) {
		r = sys_move_mount(proc_fd, "", AT_FDCWD, "proc", MOVE_MOUNT_F_EMPTY_PATH);
		if (r < 0)
			return r;
	}
	r = sys_pivot_root(".", ".");
	if (r < 0)
		return r;
	/* The old root now lies on top of the new one. */
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	if (mount(NULL, "/", NULL,
		  MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return -errno;
	return 0;
}

static int detach_volumes(struct confine *c, struct server *server, struct serve_error *error)
{
	struct serve_error why = {};
	char detail[120];
	size_t done = 0;
	int failed = 0;

	for (size_t i = 0; i < server->n_volumes; i++) {
		int r = volume_detach(&server->volumes[i], &why);

		/* Not what was checked: no layer is worth serving that. */
		if (r == -ESTALE)
			return serve_fail(error, r, "%s", why.text);
		if (r < 0)
			failed = r;
		else
			done++;
	}
	if (failed)
		return note(c, CONFINE_DETACHED, failed, why.text, error);
	snprintf(detail, sizeof(detail), "%zu of %zu", done, server->n_volumes);
	return note(c, CONFINE_DETACHED, 0, detail, error);
}

int confine_monitor(struct confine *c, struct server *server, struct serve_error *error)
{
	_cleanup_fd_ int proc_fd = -EBADF;
	char detail[120] = "";
	int r, mounts = -EPERM;

	if (c->namespaces & CLONE_NEWUSER) {
		r = map_ids(c);
		if (r == 0)
			snprintf(detail, sizeof(detail), "uid %u is all there is", c->outer_uid);
		r = note(c, CONFINE_USER_NS, r, detail, error);
	} else if (c->namespaces || c->outer_uid == 0) {
		r = note(c, CONFINE_USER_NS, 1, "not needed: root made the others", error);
	} else {
		r = 0;
	}
	if (r < 0)
		return r;
	if (c->namespaces) {
		/* Nothing of ours may show outside. (Made in a user namespace, they are slaves
		 * already.) */
		mounts = mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
		r = note(c, CONFINE_NAMESPACES, mounts, mounts == 0 ? "own" : "", error);
		if (r < 0)
			return r;
	}
	r = detach_volumes(c, server, error);
	if (r < 0)
		return r;
	if (mounts == 0) {
		detail[0] = '\0';
		proc_fd = proc_mount(detail, sizeof(detail));
		r = note(c, CONFINE_PROC, proc_fd < 0 ? proc_fd : 0, detail, error);
		if (r < 0)
			return r;
		/* Without procfs a worker could not reopen anything: the host's root stays then. */
		r = proc_fd < 0 ? proc_fd : enter_empty_root(proc_fd);
	} else {
		r = note(c, CONFINE_PROC, -EPERM, "needs a mount namespace", error);
		if (r < 0)
			return r;
		r = -EPERM;
	}
	return note(c, CONFINE_ROOT, r, r < 0 ? "" : "tmpfs without files", error);
}

/* ---- a worker ---- */

/* Own /proc/self/fd as a mount that hangs nowhere (".." stays in it), then a mount namespace that
 * has no procfs at all. */
static int own_descriptors(struct confine *c, int *ret_fd, struct serve_error *error)
{
	bool rooted = c->report->layers[CONFINE_ROOT].result >= 0;
	char detail[120];
	int fd, r = 0;

	if (rooted) {
		fd = sys_open_tree(AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (fd >= 0) {
			if (unshare(CLONE_NEWNS) < 0 || umount2("/proc", MNT_DETACH) < 0)
				r = -errno;
			if (r < 0)
				fd_close(fd);
			else
				*ret_fd = fd;
			snprintf(detail, sizeof(detail), "%s",
				 c->report->layers[CONFINE_PROC].detail);
			return note(c, CONFINE_PROC, r, r < 0 ? "" : detail, error) ?: r;
		}
		return serve_fail(error, fd, "cannot reach /proc/self/fd: %s", strerror(-fd));
	}
	fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return serve_fail(error, -errno, "cannot open /proc/self/fd: %s", strerror(errno));
	*ret_fd = fd;
	return 0;
}

static int compare_ints(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

int confine_close_others(int *keep, size_t n)
{
	unsigned next = STDERR_FILENO + 1;

	qsort(keep, n, sizeof(*keep), compare_ints);
	for (size_t i = 0; i < n; i++) {
		if (keep[i] < (int)next)
			continue;
		if ((unsigned)keep[i] > next && syscall(SYS_close_range, next, keep[i] - 1, 0) < 0)
			return -errno;
		next = (unsigned)keep[i] + 1;
	}
	return syscall(SYS_close_range, next, ~0U, 0) < 0 ? -errno : 0;
}

/* What a worker serves with stays; stdin and stdout are /dev/null already. */
static int close_others(const struct server *server, int sock, int link, int proc_fd)
{
	_cleanup_free_ int *keep = calloc(server->n_volumes + 3, sizeof(*keep));
	size_t n = 0;

	if (!keep)
		return -ENOMEM;
	for (size_t i = 0; i < server->n_volumes; i++)
		keep[n++] = server->volumes[i].fs.root_fd;
	keep[n++] = sock;
	keep[n++] = proc_fd;
	if (link > 0)
		keep[n++] = link;
	return confine_close_others(keep, n);
}

/* Lowers the session's limit of handles to what the system gives: a client is told the truth in
 * Hello. */
static int limit_resources(struct server *server, char *detail, size_t size)
{
	/* What requests hold while they run (a stack of descriptors per thread), and a reserve. */
	rlim_t reserve = server->limits.max_threads * 256 + server->n_volumes + 64;
	rlim_t files = server->limits.max_handles + reserve;
	struct rlimit none = { 0, 0 }, limit;

	if (setrlimit(RLIMIT_CORE, &none) < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	if (limit.rlim_max < files && limit.rlim_max != RLIM_INFINITY) {
		/* Raising the hard limit takes a privilege. */
		struct rlimit higher = { files, files };

		if (setrlimit(RLIMIT_NOFILE, &higher) < 0)
			files = limit.rlim_max;
	}
	limit = (struct rlimit){ files, files };
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	if (files <= reserve)
		return -EMFILE;
	server->limits.max_handles = MIN(server->limits.max_handles, files - reserve);
	snprintf(detail, size, "%llu descriptors, %u of them handles, no core dumps",
		 (unsigned long long)files, server->limits.max_handles);
	return 0;
}

static int become(struct confine *c, const struct server *server, struct serve_error *error)
{
	const struct volume *v = &server->volumes[0];
	char detail[120];
	int r;

	if (!identity_is_fixed(server))
		return note(c, CONFINE_IDENTITY, 1,
			    "not here: requests run under several identities", error);
	r = identity_become(v->squash_uid, v->squash_gid);
	snprintf(detail, sizeof(detail), "uid %u, gid %u", v->squash_uid, v->squash_gid);
	/* Never a layer to do without: requests would run as somebody else. */
	if (r < 0)
		return serve_fail(error, r, "cannot become uid %u, gid %u: %s", v->squash_uid,
				  v->squash_gid, strerror(-r));
	return note(c, CONFINE_IDENTITY, 0, detail, error);
}

void confine_prepare(struct confine *c, const struct server *server)
{
	struct confine_seccomp calls = { .openat = c->no_openat2, .connect = c->may_connect };

	/* A peer may be given some of the volumes only, and those may have one user. */
	confine_seccomp_compile(&calls, &c->programs[false]);
	calls.switching = true;
	if (!identity_is_fixed(server))
		confine_seccomp_compile(&calls, &c->programs[true]);
}

int confine_worker(struct confine *c, struct server *server, int sock, int link, int *ret_proc_fd,
		   struct serve_error *error)
{
	_cleanup_fd_ int proc_fd = -EBADF;
	char detail[120] = "";
	bool fixed = identity_is_fixed(server);
	int r;

	r = own_descriptors(c, &proc_fd, error);
	if (r < 0)
		return r;
	r = close_others(server, sock, link, proc_fd);
	if (r < 0)
		return serve_fail(error, r, "cannot close what a worker must not hold: %s",
				  strerror(-r));
	for (size_t i = 0; i < server->n_volumes; i++)
		server->volumes[i].fs.proc_fd = proc_fd;
	r = limit_resources(server, detail, sizeof(detail));
	r = note(c, CONFINE_RLIMITS, r, r < 0 ? "" : detail, error);
	if (r < 0)
		return r;

	/* The bounding set needs a capability that becoming somebody else takes away, and becoming
	 * needs two of its own. */
	r = confine_caps(identity_needed_caps(server) | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID),
			 detail, sizeof(detail));
	if (r == 0)
		r = become(c, server, error);
	if (r < 0)
		return serve_fail(error, r, "cannot drop capabilities: %s", strerror(-r));
	if (fixed)
		r = confine_caps(identity_needed_caps(server), detail, sizeof(detail));
	r = note(c, CONFINE_CAPS, r, r < 0 ? "" : detail, error);
	if (r < 0)
		return r;
	/* Without a pid namespace, whose end would be ours. Changes of credentials clear this: so
	 * not before here. */
	if (!(c->namespaces & CLONE_NEWPID) && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return serve_fail(error, -errno, "prctl: %s", strerror(errno));
	r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
	r = note(c, CONFINE_NO_NEW_PRIVS, r, "", error);
	if (r < 0)
		return r;
	/* From here on /proc/self belongs to root; a process's own threads may follow its links all
	 * the same. */
	r = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
	r = note(c, CONFINE_NO_DUMP, r, "", error);
	if (r < 0)
		return r;
	detail[0] = '\0';
	r = confine_landlock(server, detail, sizeof(detail));
	r = note(c, CONFINE_LANDLOCK, r, detail, error);
	if (r < 0)
		return r;
	detail[0] = '\0';
	r = confine_seccomp(&c->programs[!fixed], detail, sizeof(detail));
	r = note(c, CONFINE_SECCOMP, r, detail, error);
	if (r < 0)
		return r;
	*ret_proc_fd = TAKE_FD(proc_fd);
	return 0;
}
