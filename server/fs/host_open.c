/*
 * host_open.c - from a place to an open file, without ever opening what the volume does not allow.
 *
 * Opening is what has side effects on special files: a FIFO's other end wakes up, a device's driver
 * runs, a terminal attaches itself. So a file is opened through the descriptor that was looked at,
 * by its name "N" in the process's own fd directory: the inode that passed the policy is the inode
 * that is opened. O_NONBLOCK makes sure that no open waits (FIFOs, leases); it is taken off regular
 * files afterwards, where it means nothing but would show in a donated descriptor.
 *
 * Opening directly is half the price. It is done where no device can be reached (FS_NODEV), with
 * the policy applied to what came out, before anybody gets it.
 *
 * open(O_CREAT) must be one step of the kernel: only the kernel can create or open a name that
 * others create and unlink meanwhile, and only it applies fs.protected_regular. What stands there
 * is looked at first, so that a special file is not touched in the ordinary case, and what was
 * opened is looked at again; where nothing stands there, the file is made exclusively first, which
 * leaves nothing to look at. Where devices could be reached instead (no FS_NODEV), the name is
 * created exclusively or opened through its descriptor, in turn, as long as others keep changing
 * it.
 *
 * The whole path may be created in one step as well (host_create_path()): openat2 is the one call that makes something and
 * can be told to stay below. It says less about why it failed, so then it is done again in two steps.
 */
#include "server/fs/host.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include "common/sys.h"

enum {
	ALWAYS = O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
	/* What a caller may ask for; anything else is a bug of ours, not of a client's. */
	ALLOWED = O_ACCMODE | O_TRUNC | O_APPEND | O_DIRECTORY | O_SYNC | O_DSYNC | O_NOATIME |
		  O_PATH | O_CREAT | O_EXCL | O_NONBLOCK,
	/* The most turns that create() takes between "it is there" and "it is gone". */
	CREATE_TURNS = 10000,
};

/* What an open of this type answers: 0, or -errno. */
static int open_policy(const struct fs *fs, mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
		return 0;
	case S_IFLNK:
		return -ELOOP;
	case S_IFSOCK:
		return -ENXIO;
	case S_IFIFO:
		return fs->flags & FS_SPECIAL ? 0 : -EPERM;
	default:
		return -EPERM;
	}
}

static bool wants_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || flags & O_TRUNC;
}

static int check_flags(const struct fs *fs, int flags)
{
	if (flags & ~ALLOWED || (flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	return wants_write(flags) ? fs_writable(fs) : 0;
}

/* F_SETFL replaces what can be changed on an open file: only O_NONBLOCK must go. */
static int clear_nonblock(int fd, int flags)
{
	return fcntl(fd, F_SETFL, flags & (O_APPEND | O_NOATIME)) < 0 ? -errno : 0;
}

int host_open(struct fs *fs, const struct fs_node *node, int flags, struct fs_node *ret_file)
{
	struct fd_name name = fd_name(node->fd);
	_cleanup_fd_ int fd = -EBADF;
	struct stat st;
	int r;

	if (flags & O_PATH) {
		/* A link too: the name in the fd directory leads to the link itself. */
		fd = host_openat(fs, fs->proc_fd, name.text, O_PATH | (flags & O_DIRECTORY), 0, 0);
		if (fd < 0)
			return fd;
		*ret_file = (struct fs_node){ .fd = TAKE_FD(fd) };
		return 0;
	}
	r = check_flags(fs, flags);
	if (r < 0)
		return r;
	if (fstat(node->fd, &st) < 0)
		return -errno;
	if (flags & O_DIRECTORY && !S_ISDIR(st.st_mode))
		return -ENOTDIR;
	r = open_policy(fs, st.st_mode);
	if (r < 0)
		return r;
	fd = host_openat(fs, fs->proc_fd, name.text, (flags & ~(O_CREAT | O_EXCL)) | ALWAYS, 0, 0);
	if (fd < 0)
		return fd;
	if (S_ISREG(st.st_mode) && !(flags & O_NONBLOCK)) {
		r = clear_nonblock(fd, flags);
		if (r < 0)
			return r;
	}
	*ret_file = (struct fs_node){ .fd = TAKE_FD(fd) };
	return 0;
}

int host_open_path(struct fs *fs, const struct fs_node *base, const char *path, int flags,
		   struct fs_node *ret_file, Gofer__Attr *ret_attr)
{
	_cleanup_fd_ int fd = -EBADF;
	Gofer__Attr attr;
	int r;

	if (fs->flags & FS_NO_OPENAT2 || !(fs->flags & FS_NODEV))
		return FS_SLOW;
	r = check_flags(fs, flags);
	if (r < 0 || flags & (O_PATH | O_CREAT))
		return FS_SLOW;
	if (!ret_attr && (wants_write(flags) || !(flags & O_NONBLOCK)))
		return FS_SLOW;
	fd = sys_openat2(base->fd, path, flags | ALWAYS | O_NOFOLLOW, 0, host_resolve_flags(fs));
	/* A missing file is a common answer and the same either way. All else the slow way says
	 * better: a link, a special file that the policy has a word for, a lease. */
	if (fd < 0)
		return fd == -ENOENT ? fd : FS_SLOW;
	if (!ret_attr) {
		*ret_file = (struct fs_node){ .fd = TAKE_FD(fd) };
		return 0;
	}
	r = fs_attr_from_statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, &attr);
	if (r < 0)
		return r;
	r = open_policy(fs, attr.mode);
	if (r < 0)
		return r;
	if (S_ISREG(attr.mode) && !(flags & O_NONBLOCK)) {
		r = clear_nonblock(fd, flags);
		if (r < 0)
			return r;
	}
	*ret_file = (struct fs_node){ .fd = TAKE_FD(fd) };
	*ret_attr = attr;
	return 0;
}

/*
 * open(O_CREAT | O_EXCL): what comes out is new, a regular file, and ours. Nothing about it has to be
 * found out or put right, so nothing can fail once it is there.
 */
static int create_new(struct fs *fs, const struct fs_node *dir, const char *name, int flags,
		      mode_t mode, struct fs_node *ret_file)
{
	int fd = host_openat(fs, dir->fd, name,
			     flags | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW,
			     mode & 07777, host_resolve_flags(fs));

	if (fd < 0)
		return fd;
	*ret_file = (struct fs_node){ .fd = fd };
	return 0;
}

/* open(O_CREAT) as the kernel does it. The name was looked at; what came out is looked at again. */
static int create_in_one(struct fs *fs, const struct fs_node *dir, const char *name, int flags,
			 mode_t mode, struct fs_node *ret_file)
{
	_cleanup_fd_ int fd = -EBADF;
	struct stat st;
	int r;

	fd = host_openat(fs, dir->fd, name, flags | O_CREAT | ALWAYS | O_NOFOLLOW, mode & 07777,
			 host_resolve_flags(fs));
	if (fd == -ELOOP)
		return FS_SYMLINK;
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	r = open_policy(fs, st.st_mode);
	if (r == 0 && fs->flags & FS_NO_OPENAT2)
		r = host_check_mount(fs, fd);
	if (r == 0 && S_ISREG(st.st_mode) && !(flags & O_NONBLOCK))
		r = clear_nonblock(fd, flags);
	if (r < 0)
		return r;
	*ret_file = (struct fs_node){ .fd = TAKE_FD(fd) };
	return 0;
}

int host_create_path(struct fs *fs, const struct fs_node *base, const char *path, int flags,
		     mode_t mode, struct fs_node *ret_file)
{
	Gofer__Attr attr;
	int r;

	if (fs->flags & (FS_NO_OPENAT2 | FS_READ_ONLY) || !(fs->flags & FS_NODEV) ||
	    check_flags(fs, flags) < 0 || flags & (O_PATH | O_DIRECTORY))
		return FS_SLOW;
	if (!(flags & O_EXCL) && host_stat_path(fs, base, path, &attr) == 0)
		r = S_ISREG(attr.mode) ? create_in_one(fs, base, path, flags, mode, ret_file)
				       : FS_SLOW;
	else
		r = create_new(fs, base, path, flags, mode, ret_file);
	/* All of the path was gone through, and the last name is taken. */
	return r == 0 || (r == -EEXIST && flags & O_EXCL) ? r : FS_SLOW;
}

/* Opens what stands at the name through its descriptor, as open(O_CREAT) would. */
static int create_existing(struct fs *fs, const struct fs_node *node, int flags,
			   struct fs_node *ret_file)
{
	struct stat st;

	if (fstat(node->fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return FS_SYMLINK;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	return host_open(fs, node, flags & ~O_CREAT, ret_file);
}

int host_create(struct fs *fs, const struct fs_node *dir, const char *name, int flags, mode_t mode,
		struct fs_node *ret_file)
{
	int r = check_flags(fs, flags);

	if (r < 0)
		return r;
	if (flags & (O_PATH | O_DIRECTORY))
		return -EINVAL;
	if (flags & O_EXCL) {
		/* Whatever stands there, EEXIST comes before anything is opened. */
		r = fs_writable(fs);
		return r < 0 ? r : create_new(fs, dir, name, flags, mode, ret_file);
	}
	for (unsigned turn = 0; turn < CREATE_TURNS; turn++) {
		_cleanup_node_ struct fs_node there = FS_NODE_NULL;
		struct stat st;

		if (fs->flags & FS_NODEV && !(fs->flags & FS_READ_ONLY)) {
			if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) ==
			    0) {
				r = open_policy(fs, st.st_mode);
				if (r < 0)
					return r == -ELOOP ? FS_SYMLINK : r;
			} else if (errno == ENOENT) {
				r = create_new(fs, dir, name, flags, mode, ret_file);
				if (r != -EEXIST)
					return r;
			}
			return create_in_one(fs, dir, name, flags, mode, ret_file);
		}
		r = host_child(fs, dir, name, false, &there);
		if (r == 0)
			return create_existing(fs, &there, flags, ret_file);
		if (r != -ENOENT)
			return r;
		r = fs_writable(fs);
		if (r < 0)
			return r;
		r = create_new(fs, dir, name, flags, mode, ret_file);
		if (r != -EEXIST)
			return r;
	}
	return -EBUSY;
}

int host_tmpfile(struct fs *fs, const struct fs_node *dir, int flags, mode_t mode,
		 struct fs_node *ret_file)
{
	int fd, r = check_flags(fs, flags);

	if (r == 0)
		r = fs_writable(fs);
	if (r < 0)
		return r;
	if (flags & (O_PATH | O_CREAT | O_TRUNC | O_DIRECTORY))
		return -EINVAL;
	fd = host_openat(fs, dir->fd, ".", O_TMPFILE | flags, mode & 07777, host_resolve_flags(fs));
	if (fd < 0)
		return fd;
	*ret_file = (struct fs_node){ .fd = fd };
	return 0;
}
