/*
 * fs.c - what all backends share: the life of a filesystem and of its nodes, and the one place that
 * turns the host's attributes into the wire's.
 *
 * A filesystem owns one descriptor, its root's, and knows that directory's identity (device, inode,
 * mount) so that a climb by ".." can tell when it has arrived. It is made before the server
 * confines itself and never changes afterwards, so threads share it without a lock.
 */
#include "server/fs/fs.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const struct fs_ops *const all_ops[] = { &fs_host_ops, &fs_pathwalk_ops };

const struct fs_ops *fs_ops_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(all_ops); i++)
		if (strcmp(all_ops[i]->name, name) == 0)
			return all_ops[i];
	return NULL;
}

void fs_node_deinit(struct fs_node *node)
{
	fd_close(node->fd);
	free(node->path);
	*node = FS_NODE_NULL;
}

int fs_node_dup(const struct fs_node *node, struct fs_node *ret_node)
{
	_cleanup_node_ struct fs_node copy = FS_NODE_NULL;

	if (node->fd >= 0) {
		copy.fd = fcntl(node->fd, F_DUPFD_CLOEXEC, 0);
		if (copy.fd < 0)
			return -errno;
	}
	if (node->path) {
		copy.path = strdup(node->path);
		if (!copy.path)
			return -ENOMEM;
	}
	*ret_node = TAKE_NODE(copy);
	return 0;
}

int fs_set_root(struct fs *fs, int root_fd)
{
	_cleanup_fd_ int fd = root_fd;
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW,
		  STATX_TYPE | STATX_INO | STATX_MNT_ID, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.stx_mode))
		return -ENOTDIR;
	fd_close(fs->root_fd);
	fs->root_fd = TAKE_FD(fd);
	fs->root_dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	fs->root_ino = st.stx_ino;
	fs->root_mnt = st.stx_mask & STATX_MNT_ID ? st.stx_mnt_id : 0;
	return 0;
}

int fs_init(struct fs *fs, const struct fs_ops *ops, uint32_t fs_id, uint32_t flags, int root_fd)
{
	struct fs fresh = {
		.ops = ops,
		.fs_id = fs_id,
		.flags = flags,
		.root_fd = -EBADF,
		.proc_fd = -EBADF,
	};
	int r = fs_set_root(&fresh, root_fd);

	if (r == 0)
		*fs = fresh;
	return r;
}

void fs_deinit(struct fs *fs)
{
	fs->root_fd = fd_close(fs->root_fd);
}

static int look(int fd, const char *path, int flags, unsigned more, struct statx *ret_st,
		Gofer__Attr *ret_attr)
{
	struct statx st;

	if (statx(fd, path, flags, STATX_BASIC_STATS | STATX_BTIME | more, &st) < 0)
		return -errno;
	gofer__attr__init(ret_attr);
	ret_attr->ino = st.stx_ino;
	ret_attr->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	ret_attr->mode = st.stx_mode;
	ret_attr->nlink = st.stx_nlink;
	ret_attr->uid = st.stx_uid;
	ret_attr->gid = st.stx_gid;
	ret_attr->rdev = makedev(st.stx_rdev_major, st.stx_rdev_minor);
	ret_attr->size = st.stx_size;
	ret_attr->blocks = st.stx_blocks;
	ret_attr->blksize = st.stx_blksize;
	ret_attr->atime = st.stx_atime.tv_sec;
	ret_attr->atime_nsec = st.stx_atime.tv_nsec;
	ret_attr->mtime = st.stx_mtime.tv_sec;
	ret_attr->mtime_nsec = st.stx_mtime.tv_nsec;
	ret_attr->ctime = st.stx_ctime.tv_sec;
	ret_attr->ctime_nsec = st.stx_ctime.tv_nsec;
	if (st.stx_mask & STATX_BTIME) {
		ret_attr->btime = st.stx_btime.tv_sec;
		ret_attr->btime_nsec = st.stx_btime.tv_nsec;
	}
	*ret_st = st;
	return 0;
}

int fs_attr_from_statx(int fd, const char *path, int flags, Gofer__Attr *ret_attr)
{
	struct statx st;

	return look(fd, path, flags, 0, &st, ret_attr);
}

int fs_attr_of_entry(const struct fs *fs, int dirfd, const char *name, Gofer__Attr *ret_attr)
{
	Gofer__Attr attr;
	struct statx st;
	int r = look(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_MNT_ID, &st, &attr);

	if (r < 0)
		return r;
	if (!(fs->flags & FS_XDEV) && (attr.dev != fs->root_dev || (st.stx_mask & STATX_MNT_ID &&
								    st.stx_mnt_id != fs->root_mnt)))
		return -EXDEV;
	*ret_attr = attr;
	return 0;
}
