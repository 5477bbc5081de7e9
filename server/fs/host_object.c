/*
 * host_object.c - what is done to one object, or to one name in a directory, given by descriptors.
 *
 * Three ways lead from an O_PATH descriptor to its inode, in order of preference: a call that takes
 * the descriptor itself (AT_EMPTY_PATH); a call that takes a directory and "N", the descriptor's
 * name in the process's fd directory; and, for calls that take only a path, "N" relative to the
 * calling thread's working directory, which every worker thread makes that same fd directory. "N"
 * is a magic link: it leads to the inode itself, also where that is a symbolic link.
 *
 * The *at calls below have no RESOLVE flags: the names that they get are single validated
 * components, beside the descriptor of the directory that was resolved.
 */
#include "server/fs/host.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "common/sys.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 /* Linux 6.6; the same number on every architecture */
#endif

int host_getattr(struct fs *fs _unused_, const struct fs_node *node, Gofer__Attr *ret_attr)
{
	return fs_attr_from_statx(node->fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, ret_attr);
}

ssize_t host_readlink(struct fs *fs _unused_, const struct fs_node *node, char *buf, size_t size)
{
	ssize_t n = readlinkat(node->fd, "", buf, size);

	/* With an empty path the kernel says ENOENT (ENOTDIR before Linux 5.14) for what is no
	 * link. */
	if (n < 0)
		return errno == ENOENT || errno == ENOTDIR ? -EINVAL : -errno;
	if ((size_t)n == size)
		return -ENAMETOOLONG;
	buf[n] = '\0';
	return n;
}

int host_access(struct fs *fs, const struct fs_node *node, int mode)
{
	int r = mode & W_OK ? fs_writable(fs) : 0;

	if (r < 0)
		return r;
	return sys_faccessat2(node->fd, "", mode, AT_EMPTY_PATH | AT_EACCESS);
}

static int set_size(const struct fs_node *node, uint64_t size)
{
	int flags = fcntl(node->fd, F_GETFL);

	if (flags < 0)
		return -errno;
	/* A file that was opened for writing may be cut whatever its mode says by now. */
	if (!(flags & O_PATH) && (flags & O_ACCMODE) != O_RDONLY)
		return ftruncate(node->fd, (off_t)size) < 0 ? -errno : 0;
	return truncate(fd_name(node->fd).text, (off_t)size) < 0 ? -errno : 0;
}

static int set_mode(const struct fs *fs, const struct fs_node *node, mode_t mode)
{
	struct stat st;

	if (syscall(SYS_fchmodat2, node->fd, "", mode & 07777, AT_EMPTY_PATH) == 0)
		return 0;
	if (errno != ENOSYS)
		return -errno;
	/* Kernels without fchmodat2 let some filesystems change the mode of a link. */
	if (fstat(node->fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -EOPNOTSUPP;
	if (syscall(SYS_fchmodat, fs->proc_fd, fd_name(node->fd).text, mode & 07777) < 0)
		return -errno;
	return 0;
}

static struct timespec set_time(uint32_t mask, uint32_t given, uint32_t now, int64_t sec,
				uint32_t nsec)
{
	if (mask & now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (mask & given)
		return (struct timespec){ .tv_sec = sec, .tv_nsec = nsec };
	return (struct timespec){ .tv_nsec = UTIME_OMIT };
}

enum {
	SET_TIMES = GOFER__SET_ATTR_MASK__SET_ATIME | GOFER__SET_ATTR_MASK__SET_MTIME |
		    GOFER__SET_ATTR_MASK__SET_ATIME_NOW | GOFER__SET_ATTR_MASK__SET_MTIME_NOW,
};

int host_setattr(struct fs *fs, const struct fs_node *node, const Gofer__SetAttrRequest *set)
{
	int r = fs_writable(fs);

	/* UTIME_NOW and UTIME_OMIT are nanoseconds out of range: not for a client to say. */
	if (set->atime_nsec > 999999999 || set->mtime_nsec > 999999999 || set->size > INT64_MAX)
		return -EINVAL;
	if (r == 0 && set->mask & GOFER__SET_ATTR_MASK__SET_SIZE)
		r = set_size(node, set->size);
	/* With neither it is still a call: it clears set-id bits. */
	if (r == 0 && (!set->mask || set->mask & (GOFER__SET_ATTR_MASK__SET_UID |
						  GOFER__SET_ATTR_MASK__SET_GID))) {
		uid_t uid = set->mask & GOFER__SET_ATTR_MASK__SET_UID ? set->uid : (uid_t)-1;
		gid_t gid = set->mask & GOFER__SET_ATTR_MASK__SET_GID ? set->gid : (gid_t)-1;

		if (fchownat(node->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
			r = -errno;
	}
	if (r == 0 && set->mask & GOFER__SET_ATTR_MASK__SET_MODE)
		r = set_mode(fs, node, set->mode);
	if (r == 0 && set->mask & SET_TIMES) {
		struct timespec times[2] = {
			set_time(set->mask, GOFER__SET_ATTR_MASK__SET_ATIME,
				 GOFER__SET_ATTR_MASK__SET_ATIME_NOW, set->atime, set->atime_nsec),
			set_time(set->mask, GOFER__SET_ATTR_MASK__SET_MTIME,
				 GOFER__SET_ATTR_MASK__SET_MTIME_NOW, set->mtime, set->mtime_nsec),
		};

		if (utimensat(node->fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
			r = -errno;
	}
	return r;
}

ssize_t host_getxattr(struct fs *fs _unused_, const struct fs_node *node, const char *name,
		      void *value, size_t size)
{
	ssize_t n = getxattr(fd_name(node->fd).text, name, value, size);

	return n < 0 ? -errno : n;
}

int host_setxattr(struct fs *fs, const struct fs_node *node, const char *name, const void *value,
		  size_t size, int flags)
{
	int r = fs_writable(fs);

	if (r == 0 && setxattr(fd_name(node->fd).text, name, value, size, flags) < 0)
		r = -errno;
	return r;
}

ssize_t host_listxattr(struct fs *fs _unused_, const struct fs_node *node, char *list, size_t size)
{
	ssize_t n = listxattr(fd_name(node->fd).text, list, size);

	return n < 0 ? -errno : n;
}

int host_removexattr(struct fs *fs, const struct fs_node *node, const char *name)
{
	int r = fs_writable(fs);

	if (r == 0 && removexattr(fd_name(node->fd).text, name) < 0)
		r = -errno;
	return r;
}

int host_statfs(struct fs *fs, const struct fs_node *node, Gofer__StatFsReply *ret)
{
	struct statfs st;

	if (fstatfs(node->fd, &st) < 0)
		return -errno;
	gofer__stat_fs_reply__init(ret);
	ret->type = (uint64_t)st.f_type;
	ret->bsize = (uint64_t)st.f_bsize;
	ret->blocks = st.f_blocks;
	ret->bfree = st.f_bfree;
	ret->bavail = st.f_bavail;
	ret->files = st.f_files;
	ret->ffree = st.f_ffree;
	ret->namelen = (uint32_t)st.f_namelen;
	ret->frsize = (uint64_t)st.f_frsize;
	ret->read_only = fs->flags & FS_READ_ONLY || st.f_flags & ST_RDONLY;
	return 0;
}

/*
 * connect(2) that waits no longer than the kernel's clock ticks for a listener whose queue is full: -EAGAIN. By the socket's own timeout,
 * because O_NONBLOCK would be seen by whoever shares the socket.
 */
static int connect_now(int sock, const struct sockaddr_un *address)
{
	static const struct timeval now = { .tv_usec = 1 };
	struct timeval before;
	socklen_t len = sizeof(before);
	int r;

	if (getsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &before, &len) < 0 ||
	    setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &now, sizeof(now)) < 0)
		return -errno;
	r = connect(sock, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &before, sizeof(before));
	return r;
}

int host_connect(struct fs *fs, const struct fs_node *node, int sock)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct fd_name name = fd_name(node->fd);
	socklen_t len = sizeof(int);
	struct stat st;
	int domain;

	if (!(fs->flags & FS_SPECIAL))
		return -EPERM;
	if (fstat(node->fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	if (getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return -errno;
	if (domain != AF_UNIX)
		return -EAFNOSUPPORT;
	/* For what is no socket the kernel asks for permission first, and then refuses. */
	memcpy(address.sun_path, name.text, sizeof(name.text));
	return connect_now(sock, &address);
}

int host_mkdir(struct fs *fs, const struct fs_node *dir, const char *name, mode_t mode)
{
	int r = fs_writable(fs);

	if (r == 0 && mkdirat(dir->fd, name, mode & 07777) < 0)
		r = -errno;
	return r;
}

int host_mknod(struct fs *fs, const struct fs_node *dir, const char *name, mode_t mode, dev_t rdev)
{
	int r = fs_writable(fs);

	if (r < 0)
		return r;
	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
		rdev = 0;
		break;
	case S_IFCHR: /* with device 0:0 a whiteout, which anybody may make */
	case S_IFBLK:
		if (!(fs->flags & FS_SPECIAL))
			return -EPERM;
		break;
	case S_IFDIR:
		return -EPERM;
	default:
		return -EINVAL;
	}
	return mknodat(dir->fd, name, mode & (S_IFMT | 07777), rdev) < 0 ? -errno : 0;
}

int host_symlink(struct fs *fs, const char *target, const struct fs_node *dir, const char *name)
{
	int r = fs_writable(fs);

	if (r == 0 && symlinkat(target, dir->fd, name) < 0)
		r = -errno;
	return r;
}

int host_link(struct fs *fs, const struct fs_node *node, const struct fs_node *dir,
	      const char *name)
{
	int r = fs_writable(fs);

	/*
	 * By the name in the fd directory rather than by AT_EMPTY_PATH, which wants
	 * CAP_DAC_READ_SEARCH (until Linux 6.10). It names links and O_TMPFILE files as well.
	 */
	if (r == 0 &&
	    linkat(fs->proc_fd, fd_name(node->fd).text, dir->fd, name, AT_SYMLINK_FOLLOW) < 0)
		r = -errno;
	return r;
}

int host_unlink(struct fs *fs, const struct fs_node *dir, const char *name, bool directory)
{
	int r = fs_writable(fs);

	if (r == 0 && unlinkat(dir->fd, name, directory ? AT_REMOVEDIR : 0) < 0)
		r = -errno;
	return r;
}

int host_rename(struct fs *fs, const struct fs_node *from, const char *name,
		const struct fs_node *to, const char *new_name, unsigned flags)
{
	int r = fs_writable(fs);

	if (r == 0 && renameat2(from->fd, name, to->fd, new_name, flags) < 0)
		r = -errno;
	return r;
}
