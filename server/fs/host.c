/*
 * host.c - a directory of this machine: nodes are descriptors.
 *
 * A descriptor is a place that nobody can exchange: whatever is renamed above or below it, it names
 * the same inode. So the only moments at which an outsider could lead us astray are the steps from
 * one descriptor to the next, and each of those is one system call that the kernel confines:
 * openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS from a descriptor inside the tree. Where
 * openat2 may not be used (FS_NO_OPENAT2) a step is openat(2) of one validated name with
 * O_NOFOLLOW, which can neither rise nor follow.
 *
 * ".." is the one step that can leave the tree, when the directory was moved away meanwhile. On a
 * detached mount the kernel refuses it (ENOENT: the parent is not below the mount's root any more).
 * Without one, a directory is believed to be inside only after climbing from it to the root. That
 * climb is many system calls, so an outsider who moves directories in and out of the tree while it
 * runs can mislead it, and whoever climbs must be allowed to search every directory on the way: it
 * is what remains where no detached mount can be had.
 *
 * This file holds the places; host_open.c opens and creates; host_object.c has the rest.
 */
#include "server/fs/host.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/sys.h"

int host_openat(const struct fs *fs, int dirfd, const char *path, int flags, mode_t mode,
		uint64_t resolve)
{
	int fd;

	if (!(fs->flags & FS_NO_OPENAT2))
		return sys_openat2(dirfd, path, flags, mode, resolve);
	fd = openat(dirfd, path, flags | O_CLOEXEC, mode);
	return fd < 0 ? -errno : fd;
}

uint64_t host_resolve_flags(const struct fs *fs)
{
	return RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
	       (fs->flags & FS_XDEV ? 0 : RESOLVE_NO_XDEV);
}

/* Which directory a descriptor is, bind mounts told apart. */
struct place {
	dev_t dev;
	ino_t ino;
	uint64_t mnt;
};

static int place_of(int fd, struct place *ret_place)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_MNT_ID, &st) < 0)
		return -errno;
	*ret_place = (struct place){
		.dev = makedev(st.stx_dev_major, st.stx_dev_minor),
		.ino = st.stx_ino,
		.mnt = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0,
	};
	return 0;
}

static bool place_equal(const struct place *a, const struct place *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->mnt == b->mnt;
}

static bool place_is_root(const struct fs *fs, const struct place *p)
{
	return p->dev == fs->root_dev && p->ino == fs->root_ino && p->mnt == fs->root_mnt;
}

int host_check_mount(const struct fs *fs, int fd)
{
	struct place place;
	int r;

	if (fs->flags & FS_XDEV)
		return 0;
	r = place_of(fd, &place);
	if (r < 0)
		return r;
	return place.mnt == fs->root_mnt && place.dev == fs->root_dev ? 0 : -EXDEV;
}

static int host_root(struct fs *fs, struct fs_node *ret_node)
{
	return fs_node_dup(&FS_ROOT_NODE(fs), ret_node);
}

static int host_resolve(struct fs *fs, const struct fs_node *base, const char *path,
			struct fs_node *ret_node)
{
	int fd;

	if (fs->flags & FS_NO_OPENAT2)
		return FS_SLOW;
	fd = sys_openat2(base->fd, path, O_PATH | O_NOFOLLOW, 0, host_resolve_flags(fs));
	if (fd == -ELOOP || fd == -EAGAIN || fd == -ENOSYS)
		return FS_SLOW;
	if (fd < 0)
		return fd;
	*ret_node = (struct fs_node){ .fd = fd };
	return 0;
}

/*
 * One statx(2) for all: half of what openat2, statx and close cost. statx cannot be told to stay below, so this is
 * for a mount of our own that follows no links (FS_DETACHED): without links and without ".." there is no way up, and
 * where it ends on the root's mount it went through no other, which it could not have left again. A name that is
 * missing may be missing in another mount, whose names are nobody's business.
 */
int host_stat_path(struct fs *fs, const struct fs_node *base, const char *path,
		   Gofer__Attr *ret_attr)
{
	if (!(fs->flags & FS_DETACHED) || fs->flags & (FS_XDEV | FS_NO_OPENAT2) || !fs->root_mnt)
		return FS_SLOW;
	return fs_attr_of_entry(fs, base->fd, path, ret_attr) < 0 ? FS_SLOW : 0;
}

int host_child(struct fs *fs, const struct fs_node *dir, const char *name, bool want_dir,
	       struct fs_node *ret_node)
{
	_cleanup_fd_ int fd = -EBADF;
	struct stat st;

	/* With O_DIRECTORY the kernel tells directories from the rest: one system call per
	 * directory. */
	fd = host_openat(fs, dir->fd, name, O_PATH | O_NOFOLLOW | (want_dir ? O_DIRECTORY : 0), 0,
			 host_resolve_flags(fs));
	if (fd < 0) {
		if (!want_dir || (fd != -ENOTDIR && fd != -ELOOP))
			return fd;
		if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
			return -errno;
		return S_ISLNK(st.st_mode) ? FS_SYMLINK : -ENOTDIR;
	}
	if (fs->flags & FS_NO_OPENAT2) {
		int r = host_check_mount(fs, fd);

		if (r < 0)
			return r;
	}
	*ret_node = (struct fs_node){ .fd = TAKE_FD(fd) };
	return 0;
}

/* The kernel's "..". Never NO_XDEV: the root of an inner mount has a parent too. */
static int open_parent(const struct fs *fs, int fd)
{
	return host_openat(fs, fd, "..", O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_NO_SYMLINKS);
}

/* Whether the root is above (or is) `fd`, found out by going there. */
static int climb_to_root(const struct fs *fs, int fd)
{
	_cleanup_fd_ int here = -EBADF;
	struct place place, above;
	int r = place_of(fd, &place);

	if (r < 0)
		return r;
	while (!place_is_root(fs, &place)) {
		int next = open_parent(fs, here >= 0 ? here : fd);

		if (next < 0)
			return next == -ENOENT ? -ESTALE : next;
		fd_close(here);
		here = next;
		r = place_of(here, &above);
		if (r < 0)
			return r;
		if (place_equal(&above, &place))
			return -ESTALE; /* the top of everything */
		place = above;
	}
	return 0;
}

static int host_verify(struct fs *fs, const struct fs_node *dir)
{
	struct statx st;

	if (!(fs->flags & FS_DETACHED))
		return climb_to_root(fs, dir->fd);
	if (statx(dir->fd, "..", AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	return 0;
}

static int host_parent(struct fs *fs, const struct fs_node *dir, struct fs_node *ret_node)
{
	_cleanup_fd_ int fd = -EBADF;
	struct place place;
	int r = place_of(dir->fd, &place);

	if (r < 0)
		return r;
	if (place_is_root(fs, &place))
		return -EXDEV;
	fd = open_parent(fs, dir->fd);
	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd;
	/* The parent is checked, not `dir`: that could be moved out between its check and its "..".
	 */
	if (!(fs->flags & FS_DETACHED)) {
		r = climb_to_root(fs, fd);
		if (r < 0)
			return r;
	}
	*ret_node = (struct fs_node){ .fd = TAKE_FD(fd) };
	return 0;
}

const struct fs_ops fs_host_ops = {
	.name = "host",
	.root = host_root,
	.resolve = host_resolve,
	.open_path = host_open_path,
	.stat_path = host_stat_path,
	.create_path = host_create_path,
	.child = host_child,
	.parent = host_parent,
	.verify = host_verify,
	.getattr = host_getattr,
	.readlink = host_readlink,
	.access = host_access,
	.open = host_open,
	.setattr = host_setattr,
	.getxattr = host_getxattr,
	.setxattr = host_setxattr,
	.listxattr = host_listxattr,
	.removexattr = host_removexattr,
	.statfs = host_statfs,
	.connect = host_connect,
	.create = host_create,
	.tmpfile = host_tmpfile,
	.mkdir = host_mkdir,
	.mknod = host_mknod,
	.symlink = host_symlink,
	.link = host_link,
	.unlink = host_unlink,
	.rename = host_rename,
};
