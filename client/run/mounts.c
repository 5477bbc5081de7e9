/*
 * mounts.c - the sandbox's own tree of mounts, in init, in a mount namespace of its own.
 *
 * Every volume is cloned from the host's tree (open_tree), gets its attributes while it hangs nowhere (mount_setattr) and is
 * then moved to its place: nothing is ever mounted with rights that it loses a moment later. The first volume is the new root;
 * the others follow in the plan's order, parents first, /proc and /dev right after the root. Places are looked up below the new
 * root without following any link. At the end the old root is detached, and with it everything that no volume shows.
 *
 * What is mounted below a volume that does not say xdev is covered by an empty directory (or file). It cannot simply be left out: in a user
 * namespace mounts that came with their parent are locked to it, so that nobody sees what lies under them.
 */
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "client/run/inside.h"
#include "common/sys.h"

#define ATTR_SAFE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

struct build {
	const struct run_plan *plan;
	char *problem;
	int root;  /* the new root, attached */
	int empty; /* an empty directory and an empty file: cloned for each cover */
	int empty_file;
	char *mountinfo; /* ours, as it was before anything was moved */
};

/* A fresh file system that hangs nowhere. */
static int new_filesystem(const char *type, const char *const (*options)[2], unsigned attributes)
{
	_cleanup_fd_ int context = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	int fd;

	if (context < 0)
		return -errno;
	for (; options && (*options)[0]; options++)
		if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, (*options)[0],
			    (*options)[1], 0) < 0)
			return -errno;
	if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes);
	return fd < 0 ? -errno : fd;
}

int mounts_new_proc(void)
{
	return new_filesystem("proc", NULL, ATTR_SAFE | MOUNT_ATTR_NOEXEC);
}

/* The place `guest` below the new root: links are never followed. */
static int open_place(const struct build *b, const char *guest)
{
	while (*guest == '/')
		guest++;
	return sys_openat2(b->root, *guest ? guest : ".", O_PATH, 0,
			   RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

static int attach(const struct build *b, int tree, const char *guest)
{
	_cleanup_fd_ int place = open_place(b, guest);
	int r;

	if (place < 0)
		return run_fail(b->problem, place, "cannot mount on %s: %s", guest,
				strerror(-place));
	r = sys_move_mount(tree, "", place, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	if (r < 0)
		return run_fail(b->problem, r, "cannot mount on %s: %s", guest, strerror(-r));
	return 0;
}

/* A copy of what lies at from:path, attached at `guest`. */
static int clone_to(const struct build *b, int from, const char *path, unsigned flags,
		    uint64_t attributes, const char *guest)
{
	_cleanup_fd_ int tree =
		sys_open_tree(from, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | flags);
	int r;

	if (tree < 0)
		return run_fail(b->problem, tree, "%s: open_tree: %s", guest, strerror(-tree));
	r = sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, attributes, 0, MS_PRIVATE);
	if (r < 0)
		return run_fail(b->problem, r, "%s: mount_setattr: %s", guest, strerror(-r));
	return attach(b, tree, guest);
}

/* ---- what is mounted below a volume ---- */

static int read_mountinfo(char **ret)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	size_t size = 0;
	ssize_t n;

	if (!file)
		return -errno;
	*ret = NULL;
	/* It holds no NUL: all of it. */
	n = getdelim(ret, &size, '\0', file);
	(void)fclose(file);
	return n < 0 ? -EIO : 0;
}

/* mountinfo writes blanks and backslashes as \ooo. */
static void unescape_octal(char *text)
{
	char *out = text;

	for (const char *p = text; *p; p++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
		    p[3] >= '0' && p[3] <= '7') {
			*out++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 3;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
}

static int cover(const struct build *b, const char *guest)
{
	_cleanup_fd_ int place = open_place(b, guest);
	struct stat st;

	/* What cannot be reached by its path (another mount lies over it) need not be covered. */
	if (place == -ENOENT || place == -ENOTDIR || place == -EACCES)
		return 0;
	if (place < 0)
		return run_fail(b->problem, place, "cannot cover %s: %s", guest, strerror(-place));
	if (fstat(place, &st) < 0)
		return run_fail(b->problem, -errno, "cannot cover %s: %s", guest, strerror(errno));
	return clone_to(b, S_ISDIR(st.st_mode) ? b->empty : b->empty_file, "", AT_EMPTY_PATH,
			ATTR_SAFE | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, guest);
}

/* Covers what is mounted below v, as the host's mountinfo lists it: parents before children, so a child of what is covered
 * already is not found any more. */
static int cover_below(const struct build *b, const struct run_volume *v)
{
	size_t len = strcmp(v->host, "/") == 0 ? 0 : strlen(v->host);
	_cleanup_free_ char *text = strdup(b->mountinfo);
	char *save = NULL;
	int r = 0;

	if (!text)
		return run_fail(b->problem, -ENOMEM, "%s", strerror(ENOMEM));
	for (char *line = strtok_r(text, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save)) {
		_cleanup_free_ char *guest = NULL;
		char *words = NULL, *point = NULL;

		/* id parent major:minor root point ... */
		for (int i = 0; i < 5; i++)
			point = strtok_r(i ? NULL : line, " ", &words);
		if (!point)
			continue;
		unescape_octal(point);
		if (strncmp(point, v->host, len) != 0 || point[len] != '/' || !point[len + 1])
			continue;
		if (asprintf(&guest, "%s%s", strcmp(v->guest, "/") == 0 ? "" : v->guest,
			     point + len) < 0)
			return run_fail(b->problem, -ENOMEM, "%s", strerror(ENOMEM));
		r = cover(b, guest);
	}
	return r;
}

static uint64_t attributes_of(const struct run_volume *v)
{
	return ATTR_SAFE | (v->read_only ? MOUNT_ATTR_RDONLY : 0) |
	       (v->noexec ? MOUNT_ATTR_NOEXEC : 0);
}

static int mount_volume(const struct build *b, const struct run_volume *v)
{
	int r = clone_to(b, AT_FDCWD, v->host, AT_RECURSIVE, attributes_of(v), v->guest);

	return r < 0 || v->xdev ? r : cover_below(b, v);
}

/* ---- /proc ---- */

static int mount_proc(const struct build *b)
{
	/* What root could write, as the owner of the files, and what is nobody's business: as container runtimes do. */
	static const char *const read_only[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
						 "/proc/sysrq-trigger" };
	static const char *const hidden[] = {
		"/proc/acpi",          "/proc/asound",     "/proc/kcore",
		"/proc/keys",          "/proc/key-users",  "/proc/kmsg",
		"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
		"/proc/sched_debug",   "/proc/scsi",       "/proc/interrupts",
		"/proc/config.gz",     "/proc/kallsyms",   "/proc/modules",
		"/proc/vmallocinfo",   "/proc/slabinfo",   "/proc/pagetypeinfo",
		"/proc/driver",
	};
	_cleanup_fd_ int proc = -EBADF;
	int r;

	/* Somebody else's pid namespace is not shown: the supervisor answers a little of it. */
	if (!run_has(b->plan, RUN_LAYER_PID))
		return clone_to(b, b->empty, "", AT_EMPTY_PATH, ATTR_SAFE | MOUNT_ATTR_RDONLY,
				RUN_NATIVE_PROC);
	proc = mounts_new_proc();
	if (proc < 0)
		return run_fail(b->problem, proc, "cannot mount a /proc of its own: %s",
				strerror(-proc));
	r = attach(b, proc, RUN_NATIVE_PROC);
	if (r == 0 && run_has(b->plan, RUN_LAYER_USER)) {
		/* Through the new one: the old may be read-only. */
		r = inside_forbid_namespaces(b->root);
		if (r < 0)
			return run_fail(b->problem, r, "user.max_user_namespaces: %s",
					strerror(-r));
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(read_only); i++) {
		_cleanup_fd_ int place = open_place(b, read_only[i]);

		if (place >= 0)
			r = clone_to(b, place, "", AT_EMPTY_PATH | AT_RECURSIVE,
				     ATTR_SAFE | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY,
				     read_only[i]);
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(hidden); i++)
		r = cover(b, hidden[i]);
	return r;
}

/* ---- /dev ---- */

static int make_file(const struct build *b, int dir, const char *name)
{
	_cleanup_fd_ int fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);

	return fd < 0 ? run_fail(b->problem, -errno, "/dev/%s: %s", name, strerror(errno)) : 0;
}

static int mount_device(const struct build *b, int dir, const char *host, const char *name)
{
	char guest[64];
	int r;

	r = make_file(b, dir, name);
	if (r < 0)
		return r;
	snprintf(guest, sizeof(guest), "/dev/%s", name);
	/* Read-only says nothing about writing to the device: it keeps root from changing the host's node. */
	return clone_to(b, AT_FDCWD, host, 0,
			MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY, guest);
}

static int mount_dev(const struct build *b)
{
	static const char *const nodes[] = { "null", "zero", "full", "random", "urandom", "tty" };
	static const char *const links[][2] = {
		{ "/proc/self/fd", "fd" },       { "/proc/self/fd/0", "stdin" },
		{ "/proc/self/fd/1", "stdout" }, { "/proc/self/fd/2", "stderr" },
		{ "pts/ptmx", "ptmx" },
	};
	static const char *const dev_options[][2] = { { "mode", "0755" },
						      { "size", "64k" },
						      { NULL, NULL } };
	static const char *const pts_options[][2] = { { "ptmxmode", "0666" },
						      { "mode", "0620" },
						      { NULL, NULL } };
	_cleanup_fd_ int dev = -EBADF, pts = -EBADF;
	int r = 0;

	dev = new_filesystem("tmpfs", dev_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (dev < 0)
		return run_fail(b->problem, dev, "cannot make /dev: %s", strerror(-dev));
	pts = new_filesystem("devpts", pts_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	if (pts < 0)
		return run_fail(b->problem, pts, "cannot make /dev/pts: %s", strerror(-pts));
	r = attach(b, dev, RUN_NATIVE_DEV);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(nodes); i++) {
		char host[64];

		snprintf(host, sizeof(host), "/dev/%s", nodes[i]);
		r = mount_device(b, dev, host, nodes[i]);
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(links); i++)
		if (symlinkat(links[i][0], dev, links[i][1]) < 0)
			r = run_fail(b->problem, -errno, "/dev/%s: %s", links[i][1],
				     strerror(errno));
	if (r == 0 && (mkdirat(dev, "pts", 0755) < 0 || mkdirat(dev, "shm", 0755) < 0))
		r = run_fail(b->problem, -errno, "cannot fill /dev: %s", strerror(errno));
	if (r == 0)
		r = attach(b, pts, "/dev/pts");
	/* The terminal's own name leads nowhere in here: ttyname(3) finds it by this one. */
	for (int fd = 0; r == 0 && fd <= 2; fd++) {
		char terminal[64];

		if (ttyname_r(fd, terminal, sizeof(terminal)) != 0)
			continue;
		r = mount_device(b, dev, terminal, "console");
		break;
	}
	if (r == 0)
		r = sys_mount_setattr(dev, "", AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, 0, 0);
	return r;
}

/* ---- all of it ---- */

static int open_below(const char *dir, const char *name, int flags)
{
	_cleanup_free_ char *path = NULL;
	int fd;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return -ENOMEM;
	fd = open(path, flags | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The first volume, attached over a directory of ours: pivot_root(2) wants a mount point. */
static int attach_root(struct build *b)
{
	const struct run_volume *v = &b->plan->volumes[0];
	_cleanup_free_ char *place = NULL;
	_cleanup_fd_ int tree = -EBADF;
	int r;

	if (asprintf(&place, "%s/root", b->plan->private_dir) < 0)
		return -ENOMEM;
	tree = sys_open_tree(AT_FDCWD, v->host, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (tree < 0)
		return tree;
	r = sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, attributes_of(v), 0,
			      MS_PRIVATE);
	if (r == 0)
		r = sys_move_mount(tree, "", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH);
	if (r < 0)
		return r;
	b->root = TAKE_FD(tree);
	return v->xdev ? 0 : cover_below(b, v);
}

static int enter(const struct build *b)
{
	int r;

	if (fchdir(b->root) < 0)
		return -errno;
	r = sys_pivot_root(".", ".");
	if (r < 0)
		return r;
	/* The old root now lies on top of the new one. */
	if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

static int prepare(struct build *b)
{
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	r = read_mountinfo(&b->mountinfo);
	if (r < 0)
		return r;
	b->empty = open_below(b->plan->private_dir, "empty", O_PATH | O_DIRECTORY);
	if (b->empty < 0)
		return b->empty;
	b->empty_file = open_below(b->plan->private_dir, "nothing", O_PATH);
	if (b->empty_file < 0)
		return b->empty_file;
	return attach_root(b);
}

int mounts_build(const struct run_plan *plan, char problem[static RUN_PROBLEM_MAX])
{
	struct build b = {
		.plan = plan,
		.problem = problem,
		.root = -EBADF,
		.empty = -EBADF,
		.empty_file = -EBADF,
	};
	int r = prepare(&b);

	if (r == 0)
		r = mount_proc(&b);
	if (r == 0)
		r = mount_dev(&b);
	for (size_t i = 1; r == 0 && i < plan->n_volumes; i++)
		r = mount_volume(&b, &plan->volumes[i]);
	if (r == 0)
		r = enter(&b);
	if (r < 0)
		(void)run_fail(problem, r, "cannot build the sandbox's root: %s", strerror(-r));
	fd_close(b.root);
	fd_close(b.empty);
	fd_close(b.empty_file);
	free(b.mountinfo);
	return r;
}
