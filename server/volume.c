/*
 * volume.c - opening and detaching of volume roots.
 *
 * The kernel clones only mounts of the caller's own mount namespace, and an ordinary user gets the
 * right to clone only in a new one, where the descriptors opened before still point to the old one.
 * So the monitor opens the path a second time and takes what it finds only if it is the same
 * directory: (device, inode) of the descriptor that the front checked and still holds decide.
 */
#include "server/volume.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <string.h>
#include <sys/stat.h>

#include "common/sys.h"

void volume_deinit(struct volume *v)
{
	fs_deinit(&v->fs);
	free(TAKE_PTR(v->host_path));
	free(TAKE_PTR(v->name));
	*v = VOLUME_NULL;
}

int volume_open(struct volume *v, uint32_t fs_id, uint32_t extra_flags, struct serve_error *error)
{
	uint32_t flags = extra_flags | (v->read_only ? FS_READ_ONLY : 0) | (v->xdev ? FS_XDEV : 0) |
			 (v->special ? FS_SPECIAL : 0);
	const struct fs_ops *ops = v->fs.ops;
	_cleanup_fd_ int fd = -EBADF;
	struct stat st;
	int r;

	fd = open(v->host_path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return serve_fail(
			error, -ENOENT,
			"volume %s: there is no such directory: create it, or correct the path",
			v->host_path);
	if (fd < 0)
		return serve_fail(error, -errno, "volume %s: cannot open it: %s", v->host_path,
				  strerror(errno));
	if (fstat(fd, &st) < 0)
		return serve_fail(error, -errno, "volume %s: %s", v->host_path, strerror(errno));
	if (S_ISLNK(st.st_mode))
		return serve_fail(
			error, -ELOOP,
			"volume %s: is a symbolic link: give the directory that it points to",
			v->host_path);
	if (!S_ISDIR(st.st_mode))
		return serve_fail(error, -ENOTDIR,
				  "volume %s: is not a directory: only directories are served",
				  v->host_path);
	r = fs_init(&v->fs, ops, fs_id, flags, TAKE_FD(fd));
	if (r < 0)
		return serve_fail(error, r, "volume %s: %s", v->host_path, strerror(-r));
	v->fs.proc_fd = -EBADF;
	return 0;
}

int volumes_check_names(const struct volume *volumes, size_t n, struct serve_error *error)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (strcmp(volumes[i].name, volumes[k].name) == 0)
				return serve_fail(error, -EINVAL,
						  "volumes %s and %s are both named '%s': give one "
						  "another name (-v %s:NAME)",
						  volumes[k].host_path, volumes[i].host_path,
						  volumes[i].name, volumes[i].host_path);
	return 0;
}

int volumes_check(const struct volume *volumes, size_t n, struct serve_error *error)
{
	int r = volumes_check_names(volumes, n, error);

	return r < 0 ? r : volumes_check_overlap(volumes, n, error);
}

int volume_detach(struct volume *v, struct serve_error *error)
{
	uint64_t set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSYMFOLLOW |
		       (v->read_only ? MOUNT_ATTR_RDONLY : 0) | (v->noexec ? MOUNT_ATTR_NOEXEC : 0);
	_cleanup_fd_ int again = -EBADF, tree = -EBADF;
	struct stat st;
	int r;

	again = open(v->host_path, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
	if (again < 0)
		return serve_fail(error, -ESTALE, "volume %s: cannot open it again: %s",
				  v->host_path, strerror(errno));
	if (fstat(again, &st) < 0)
		return serve_fail(error, -errno, "volume %s: %s", v->host_path, strerror(errno));
	if (st.st_dev != v->fs.root_dev || st.st_ino != v->fs.root_ino)
		return serve_fail(error, -ESTALE,
				  "volume %s: was replaced by another directory while the server "
				  "started: start it again",
				  v->host_path);
	tree = sys_open_tree(again, "",
			     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (tree < 0)
		return serve_fail(error, tree, "volume %s: open_tree: %s", v->host_path,
				  strerror(-tree));
	r = sys_mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, set, 0, MS_PRIVATE);
	if (r < 0)
		return serve_fail(error, r, "volume %s: mount_setattr: %s", v->host_path,
				  strerror(-r));
	r = fs_set_root(&v->fs, TAKE_FD(tree));
	if (r < 0)
		return serve_fail(error, r, "volume %s: %s", v->host_path, strerror(-r));
	v->fs.flags |= FS_DETACHED | FS_NODEV;
	return 0;
}
