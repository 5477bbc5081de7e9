/*
 * change.c - changes that a call makes through a descriptor: fchmod(2) and its kin, the empty path, and the names that /proc and
 * /dev have for descriptors.
 *
 * The kernel would follow those names wherever they lead, and standard input leads to a file of the host. So none of these
 * calls is let through: the descriptor is looked up once, it is asked what it is of, and the change is made here, on a
 * duplicate. What may be changed is what belongs to the sandbox: files that the server donated and what was opened in the
 * view, whose mounts say whether they are read-only; and what has no name anywhere (pipes, sockets, memfds).
 */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <utime.h>

#include "client/run/call.h"

/* Newer than the headers of Debian 12. */
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_setxattrat
#define SYS_setxattrat 463
#define SYS_removexattrat 466
#endif

/* ---- what a descriptor is of ---- */

bool call_is_donated(const struct call *c, uint64_t mount)
{
	for (size_t i = 0; i < ARRAY_SIZE(c->sv->donated_mount); i++)
		if (atomic_load_explicit(&c->sv->donated_mount[i], memory_order_relaxed) == mount)
			return mount != 0;
	return false;
}

bool call_is_donated_by(const struct call *c, uint64_t mount, size_t volume)
{
	const struct supervisor *sv = c->sv;

	return mount != 0 &&
	       atomic_load_explicit(
		       &sv->donated_mount[sv->volume_fs[volume] % ARRAY_SIZE(sv->donated_mount)],
		       memory_order_relaxed) == mount;
}

/* Without a view of its own these are the host's mounts in which the volumes lie. */
bool call_is_view(const struct call *c, uint64_t mount)
{
	for (size_t i = 0; i < c->sv->plan->n_volumes; i++)
		if (c->sv->view_mount[i] == mount)
			return mount != 0;
	return false;
}

bool call_is_nameless(int fd, const struct stat *st)
{
	struct statfs fs;

	return (S_ISREG(st->st_mode) && st->st_nlink == 0) ||
	       (fstatfs(fd, &fs) == 0 && (fs.f_type == PIPEFS_MAGIC || fs.f_type == SOCKFS_MAGIC));
}

/* By the name that the host has for it, which is also the sandbox's: for descriptors of the host's own mounts. */
static int may_change_on_host(const struct call *c, int fd)
{
	char link[PROC_PATH_MAX], path[PATH_MAX];
	const struct run_volume *volume;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	volume = path[0] == '/' ? call_volume(c, path) : NULL;
	if (!volume || volume->kind == RUN_VOLUME_PRIVATE)
		return -EPERM;
	return volume->read_only ? -EROFS : 0;
}

static int take_changeable(struct call *c, int number, int *ret_fd)
{
	_cleanup_fd_ int fd = -EBADF;
	struct object_id id;
	struct stat st;
	int r = call_take_fd(c, number, &fd);

	if (r == 0)
		r = view_identify(fd, "", AT_EMPTY_PATH, &id, &st);
	if (r < 0)
		return r;
	if (call_caged(c) ? !call_is_donated(c, id.mount) && !call_is_view(c, id.mount)
			  : !call_is_donated(c, id.mount) || call_is_view(c, id.mount))
		r = call_is_nameless(fd, &st) ? 0
		    : call_caged(c)           ? -EPERM
					      : may_change_on_host(c, fd);
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

/* ---- calls by descriptor ---- */

int64_t supervise_fchmod(struct call *c)
{
	_cleanup_fd_ int fd = -EBADF;
	int r = take_changeable(c, (int)c->args[0], &fd);

	return r < 0 ? r : fchmod(fd, (mode_t)c->args[1] & 07777) < 0 ? -errno : 0;
}

int64_t supervise_fchown(struct call *c)
{
	_cleanup_fd_ int fd = -EBADF;
	int r = take_changeable(c, (int)c->args[0], &fd);

	return r < 0 ? r : fchown(fd, (uid_t)c->args[1], (gid_t)c->args[2]) < 0 ? -errno : 0;
}

static int read_value(struct call *c, uint64_t address, uint64_t size)
{
	return size > sizeof(c->w->value) ? -E2BIG : call_read(c, address, c->w->value, size);
}

int64_t supervise_fsetxattr(struct call *c)
{
	_cleanup_fd_ int fd = -EBADF;
	char name[256];
	int r = call_read_string(c, c->args[1], name, sizeof(name));

	if (r == 0)
		r = read_value(c, c->args[2], c->args[3]);
	if (r == 0)
		r = take_changeable(c, (int)c->args[0], &fd);
	if (r == 0 && fsetxattr(fd, name, c->w->value, c->args[3], (int)c->args[4]) < 0)
		r = -errno;
	return r;
}

int64_t supervise_fremovexattr(struct call *c)
{
	_cleanup_fd_ int fd = -EBADF;
	char name[256];
	int r = call_read_string(c, c->args[1], name, sizeof(name));

	if (r == 0)
		r = take_changeable(c, (int)c->args[0], &fd);
	if (r == 0 && fremovexattr(fd, name) < 0)
		r = -errno;
	return r;
}

/* ---- calls by a descriptor's name ---- */

static int64_t change_times(struct call *c, const char *path)
{
	uint64_t address = c->args[c->nr == SYS_utimensat || c->nr == SYS_futimesat ? 2 : 1];
	struct timespec times[2] = { { 0 }, { 0 } };
	struct timeval tv[2];
	struct utimbuf buf;
	int r = 0;

	/* A descriptor without a path takes no flags. */
	if (c->nr == SYS_utimensat && !c->args[1] && (int)c->args[3] != 0)
		return -EINVAL;
	if (address && c->nr == SYS_utimensat) {
		r = call_read(c, address, times, sizeof(times));
	} else if (address && c->nr == SYS_utime) {
		r = call_read(c, address, &buf, sizeof(buf));
		if (r == 0) {
			times[0].tv_sec = buf.actime;
			times[1].tv_sec = buf.modtime;
		}
	} else if (address) {
		r = call_read(c, address, tv, sizeof(tv));
		for (size_t i = 0; r == 0 && i < 2; i++)
			times[i] = (struct timespec){ tv[i].tv_sec, tv[i].tv_usec * 1000 };
	}
	if (r == 0 && utimensat(AT_FDCWD, path, address ? times : NULL, 0) < 0)
		r = -errno;
	return r;
}

static int64_t change_xattr(struct call *c, const char *path)
{
	bool at = c->nr == SYS_setxattrat || c->nr == SYS_removexattrat;
	bool removes =
		c->nr == SYS_removexattr || c->nr == SYS_lremovexattr || c->nr == SYS_removexattrat;
	struct {
		uint64_t value;
		uint32_t size, flags;
	} x = { .value = c->args[2], .size = (uint32_t)MIN(c->args[3], (uint64_t)UINT32_MAX) };
	char name[256];
	int r = call_read_string(c, c->args[at ? 3 : 1], name, sizeof(name));

	if (r == 0 && removes)
		return removexattr(path, name) < 0 ? -errno : 0;
	x.flags = (uint32_t)c->args[4];
	if (r == 0 && at)
		r = call_read(c, c->args[4], &x, sizeof(x));
	if (r == 0)
		r = read_value(c, x.value, x.size);
	if (r == 0 && setxattr(path, name, c->w->value, x.size, (int)x.flags) < 0)
		r = -errno;
	return r;
}

bool call_changes(int nr)
{
	switch (nr) {
	case SYS_chmod:
	case SYS_fchmodat:
	case SYS_fchmodat2:
	case SYS_chown:
	case SYS_lchown:
	case SYS_fchownat:
	case SYS_truncate:
	case SYS_utime:
	case SYS_utimes:
	case SYS_futimesat:
	case SYS_utimensat:
	case SYS_setxattr:
	case SYS_lsetxattr:
	case SYS_setxattrat:
	case SYS_removexattr:
	case SYS_lremovexattr:
	case SYS_removexattrat:
		return true;
	default:
		return false;
	}
}

/* Whether it is the name itself that is to be changed: a link of procfs, which has an owner and times of its own. */
static bool means_the_link(const struct call *c)
{
	switch (c->nr) {
	case SYS_lchown:
	case SYS_lsetxattr:
	case SYS_lremovexattr:
		return true;
	case SYS_fchownat:
		return c->args[4] & AT_SYMLINK_NOFOLLOW;
	case SYS_fchmodat2:
	case SYS_utimensat:
		return c->args[3] & AT_SYMLINK_NOFOLLOW;
	case SYS_setxattrat:
	case SYS_removexattrat:
		return c->args[2] & AT_SYMLINK_NOFOLLOW;
	default:
		return false;
	}
}

/* Such a link belongs to the process, who can change nothing of it that lasts. */
static int64_t change_link(const struct call *c)
{
	const struct run_plan *plan = c->sv->plan;
	bool at = c->nr == SYS_fchownat;
	uid_t uid = (uid_t)c->args[at ? 2 : 1];
	gid_t gid = (gid_t)c->args[at ? 3 : 2];

	switch (c->nr) {
	case SYS_lchown:
	case SYS_fchownat:
		return (uid == (uid_t)-1 || uid == plan->uid) &&
				       (gid == (gid_t)-1 || gid == plan->gid)
			       ? 0
			       : -EPERM;
	case SYS_fchmodat2:
		return -EOPNOTSUPP;
	case SYS_utimensat:
		return 0;
	default:
		return -EPERM;
	}
}

static bool takes_dirfd(int nr)
{
	return nr == SYS_fchmodat || nr == SYS_fchmodat2 || nr == SYS_fchownat ||
	       nr == SYS_futimesat || nr == SYS_utimensat || nr == SYS_setxattrat ||
	       nr == SYS_removexattrat;
}

int64_t call_change(struct call *c)
{
	_cleanup_fd_ int fd = -EBADF;
	char path[PROC_PATH_MAX];
	int number = -1, r;

	if (c->path && c->path[0])
		number = call_own_descriptor(c, c->path);
	else if (takes_dirfd(c->nr))
		number = (int)c->args[0];
	/* Nothing else of /proc and /dev is the program's to change. */
	if (number < 0)
		return -EPERM;
	if (c->path && c->path[0] && means_the_link(c))
		return change_link(c);
	r = take_changeable(c, number, &fd);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	switch (c->nr) {
	case SYS_chmod:
		r = chmod(path, (mode_t)c->args[1] & 07777);
		break;
	case SYS_fchmodat:
	case SYS_fchmodat2:
		r = chmod(path, (mode_t)c->args[2] & 07777);
		break;
	case SYS_chown:
	case SYS_lchown:
		r = chown(path, (uid_t)c->args[1], (gid_t)c->args[2]);
		break;
	case SYS_fchownat:
		r = chown(path, (uid_t)c->args[2], (gid_t)c->args[3]);
		break;
	case SYS_truncate:
		r = truncate(path, (off_t)c->args[1]);
		break;
	case SYS_utime:
	case SYS_utimes:
	case SYS_futimesat:
	case SYS_utimensat:
		return change_times(c, path);
	default:
		return change_xattr(c, path);
	}
	return r < 0 ? -errno : 0;
}
