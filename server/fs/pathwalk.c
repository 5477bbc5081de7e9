/*
 * pathwalk.c - the same tree, walked by path: the shape that backends without descriptors must
 * have.
 *
 * A place is remembered as its path from the root and nothing else. Each use of it starts at the
 * root again: every prefix is looked at (lstat), one after the other, and must be a directory, no
 * link; then the whole path is taken at once, without following its last component, for the length
 * of one operation. A path of n components costs n looks at every one of the n steps of its walk:
 * quadratic. Open files are the exception: they are descriptors and stay what they are.
 *
 * What this leaves open, where the host backend does not:
 *
 *  * Between the look at a prefix and the use of the whole path, somebody outside can put a
 *    symbolic link in the prefix's place. The use then follows it, out of the tree as well. (A
 *    tree mounted NOSYMFOLLOW closes this one; tests/unit/test_fs_race.c shows it without.)
 *  * Between the steps of one walk, or between opening a place and using it as a base, a directory
 *    can be replaced by another one. The walk goes on in what has the name now; ".." leads to what
 *    has the parent's name now, never above the root.
 *  * A place that was renamed is lost (ESTALE as a base), even inside the tree.
 *  * Mount points that the volume does not let be entered are found by the same looks, and can be
 *    exchanged in the same moments.
 *  * A path is limited to PATH_MAX: deeper trees cannot be walked, in pieces or otherwise.
 */
#include "server/fs/host.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

static int node_at(const char *path, size_t len, struct fs_node *ret_node)
{
	char *copy = strndup(path, len);

	if (!copy)
		return -ENOMEM;
	*ret_node = (struct fs_node){ .fd = -EBADF, .path = copy };
	return 0;
}

/* dir's path with "/name". */
static int join(const struct fs_node *dir, const char *name, char out[static PATH_MAX])
{
	int n = snprintf(out, PATH_MAX, "%s%s%s", dir->path, *dir->path ? "/" : "", name);

	return n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* Every proper prefix of `path` must be a directory now. Modifies `path` on the way and mends it.
 */
static int check_prefixes(struct fs *fs, char *path)
{
	for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		struct stat st;
		int r;

		*slash = '\0';
		r = fstatat(fs->root_fd, path, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT);
		r = r < 0 ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
		*slash = '/';
		if (r < 0)
			return r;
	}
	return 0;
}

/* Opens the place at `path` for the length of one operation. */
static int pin_path(struct fs *fs, char *path, int flags, struct fs_node *ret_pin)
{
	_cleanup_fd_ int fd = -EBADF;
	int r = check_prefixes(fs, path);

	if (r < 0)
		return r;
	fd = host_openat(fs, fs->root_fd, *path ? path : ".", O_PATH | O_NOFOLLOW | flags, 0, 0);
	if (fd < 0)
		return fd;
	r = host_check_mount(fs, fd);
	if (r < 0)
		return r;
	*ret_pin = (struct fs_node){ .fd = TAKE_FD(fd) };
	return 0;
}

/* What an operation works on: the open file itself, or the place pinned. */
static int pin(struct fs *fs, const struct fs_node *node, struct fs_node *ret_pin)
{
	char path[PATH_MAX];

	if (node->fd >= 0)
		return fs_node_dup(&(struct fs_node){ .fd = node->fd }, ret_pin);
	(void)snprintf(path, sizeof(path), "%s", node->path);
	return pin_path(fs, path, 0, ret_pin);
}

static int pathwalk_root(struct fs *fs _unused_, struct fs_node *ret_node)
{
	return node_at("", 0, ret_node);
}

static int pathwalk_child(struct fs *fs, const struct fs_node *dir, const char *name, bool want_dir,
			  struct fs_node *ret_node)
{
	_cleanup_node_ struct fs_node found = FS_NODE_NULL;
	char path[PATH_MAX];
	struct stat st;
	int r = join(dir, name, path);

	if (r == 0)
		r = pin_path(fs, path, 0, &found);
	if (r < 0)
		return r;
	if (want_dir) {
		if (fstat(found.fd, &st) < 0)
			return -errno;
		if (!S_ISDIR(st.st_mode))
			return S_ISLNK(st.st_mode) ? FS_SYMLINK : -ENOTDIR;
	}
	return node_at(path, strlen(path), ret_node);
}

static int pathwalk_parent(struct fs *fs _unused_, const struct fs_node *dir,
			   struct fs_node *ret_node)
{
	const char *slash = strrchr(dir->path, '/');

	if (*dir->path == '\0')
		return -EXDEV;
	return node_at(dir->path, slash ? (size_t)(slash - dir->path) : 0, ret_node);
}

static int pathwalk_verify(struct fs *fs, const struct fs_node *dir)
{
	_cleanup_node_ struct fs_node pinned = FS_NODE_NULL;
	struct stat st, open_st = { 0 };
	char path[PATH_MAX];
	int r;

	(void)snprintf(path, sizeof(path), "%s", dir->path);
	r = pin_path(fs, path, 0, &pinned);
	/* Something else has the name, or nothing; not: it could not be asked for. */
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EXDEV)
		return -ESTALE;
	if (r < 0)
		return r;
	if (fstat(pinned.fd, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	/* An open directory is a base by its path, while that still leads to it. */
	if (dir->fd >= 0 && (fstat(dir->fd, &open_st) < 0 || open_st.st_dev != st.st_dev ||
			     open_st.st_ino != st.st_ino))
		return S_ISDIR(open_st.st_mode) ? -ESTALE : -ENOTDIR;
	return host_access(fs, &pinned, X_OK);
}

/* ---- one object: pinned, then as the host backend does it ---- */

#define WITH_PIN(fs, node, call)                                     \
	({                                                           \
		_cleanup_node_ struct fs_node pinned = FS_NODE_NULL; \
		int _r = pin(fs, node, &pinned);                     \
		_r < 0 ? _r : (call);                                \
	})

static int pathwalk_getattr(struct fs *fs, const struct fs_node *node, Gofer__Attr *ret_attr)
{
	return WITH_PIN(fs, node, host_getattr(fs, &pinned, ret_attr));
}

static ssize_t pathwalk_readlink(struct fs *fs, const struct fs_node *node, char *buf, size_t size)
{
	return WITH_PIN(fs, node, host_readlink(fs, &pinned, buf, size));
}

static int pathwalk_access(struct fs *fs, const struct fs_node *node, int mode)
{
	return WITH_PIN(fs, node, host_access(fs, &pinned, mode));
}

/*
 * An open file remembers its path too: a directory is a base. The memory for it is got before anything
 * is opened, made or cut.
 */
#define WITH_PATH(text, ret_file, call)                            \
	({                                                         \
		_cleanup_free_ char *_path = strdup(text);         \
		_cleanup_node_ struct fs_node file = FS_NODE_NULL; \
		int _e = _path ? (call) : -ENOMEM;                 \
		if (_e == 0) {                                     \
			file.path = TAKE_PTR(_path);               \
			*(ret_file) = TAKE_NODE(file);             \
		}                                                  \
		_e;                                                \
	})

static int pathwalk_open(struct fs *fs, const struct fs_node *node, int flags,
			 struct fs_node *ret_file)
{
	if (flags & O_PATH && node->fd < 0) {
		Gofer__Attr attr;
		int r;

		/* A place is its path: there is nothing to open, but it must be there. */
		r = pathwalk_getattr(fs, node, &attr);
		if (r == 0 && flags & O_DIRECTORY && !S_ISDIR(attr.mode))
			r = -ENOTDIR;
		return r < 0 ? r : fs_node_dup(node, ret_file);
	}
	return WITH_PATH(node->path, ret_file,
			 WITH_PIN(fs, node, host_open(fs, &pinned, flags, &file)));
}

static int pathwalk_setattr(struct fs *fs, const struct fs_node *node,
			    const Gofer__SetAttrRequest *set)
{
	return WITH_PIN(fs, node, host_setattr(fs, &pinned, set));
}

static ssize_t pathwalk_getxattr(struct fs *fs, const struct fs_node *node, const char *name,
				 void *value, size_t size)
{
	return WITH_PIN(fs, node, host_getxattr(fs, &pinned, name, value, size));
}

static int pathwalk_setxattr(struct fs *fs, const struct fs_node *node, const char *name,
			     const void *value, size_t size, int flags)
{
	return WITH_PIN(fs, node, host_setxattr(fs, &pinned, name, value, size, flags));
}

static ssize_t pathwalk_listxattr(struct fs *fs, const struct fs_node *node, char *list,
				  size_t size)
{
	return WITH_PIN(fs, node, host_listxattr(fs, &pinned, list, size));
}

static int pathwalk_removexattr(struct fs *fs, const struct fs_node *node, const char *name)
{
	return WITH_PIN(fs, node, host_removexattr(fs, &pinned, name));
}

static int pathwalk_statfs(struct fs *fs, const struct fs_node *node, Gofer__StatFsReply *ret)
{
	return WITH_PIN(fs, node, host_statfs(fs, &pinned, ret));
}

static int pathwalk_connect(struct fs *fs, const struct fs_node *node, int sock)
{
	return WITH_PIN(fs, node, host_connect(fs, &pinned, sock));
}

/* ---- one name in a directory: the directory is pinned by its path ---- */

static int pin_dir(struct fs *fs, const struct fs_node *dir, struct fs_node *ret_pin)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s", dir->path);
	return pin_path(fs, path, O_DIRECTORY, ret_pin);
}

#define WITH_DIR(fs, dir, call)                                      \
	({                                                           \
		_cleanup_node_ struct fs_node pinned = FS_NODE_NULL; \
		int _r = pin_dir(fs, dir, &pinned);                  \
		_r < 0 ? _r : (call);                                \
	})

static int pathwalk_create(struct fs *fs, const struct fs_node *dir, const char *name, int flags,
			   mode_t mode, struct fs_node *ret_file)
{
	char path[PATH_MAX];
	int r = join(dir, name, path);

	if (r < 0)
		return r;
	return WITH_PATH(path, ret_file,
			 WITH_DIR(fs, dir, host_create(fs, &pinned, name, flags, mode, &file)));
}

/* A file without a name has no path: it is its descriptor alone. */
static int pathwalk_tmpfile(struct fs *fs, const struct fs_node *dir, int flags, mode_t mode,
			    struct fs_node *ret_file)
{
	return WITH_PATH("", ret_file,
			 WITH_DIR(fs, dir, host_tmpfile(fs, &pinned, flags, mode, &file)));
}

static int pathwalk_mkdir(struct fs *fs, const struct fs_node *dir, const char *name, mode_t mode)
{
	return WITH_DIR(fs, dir, host_mkdir(fs, &pinned, name, mode));
}

static int pathwalk_mknod(struct fs *fs, const struct fs_node *dir, const char *name, mode_t mode,
			  dev_t rdev)
{
	return WITH_DIR(fs, dir, host_mknod(fs, &pinned, name, mode, rdev));
}

static int pathwalk_symlink(struct fs *fs, const char *target, const struct fs_node *dir,
			    const char *name)
{
	return WITH_DIR(fs, dir, host_symlink(fs, target, &pinned, name));
}

static int pathwalk_link(struct fs *fs, const struct fs_node *node, const struct fs_node *dir,
			 const char *name)
{
	_cleanup_node_ struct fs_node object = FS_NODE_NULL;
	int r = pin(fs, node, &object);

	return r < 0 ? r : WITH_DIR(fs, dir, host_link(fs, &object, &pinned, name));
}

static int pathwalk_unlink(struct fs *fs, const struct fs_node *dir, const char *name,
			   bool directory)
{
	return WITH_DIR(fs, dir, host_unlink(fs, &pinned, name, directory));
}

static int pathwalk_rename(struct fs *fs, const struct fs_node *from, const char *name,
			   const struct fs_node *to, const char *new_name, unsigned flags)
{
	_cleanup_node_ struct fs_node source = FS_NODE_NULL;
	int r = pin_dir(fs, from, &source);

	return r < 0 ? r
		     : WITH_DIR(fs, to, host_rename(fs, &source, name, &pinned, new_name, flags));
}

const struct fs_ops fs_pathwalk_ops = {
	.name = "pathwalk",
	.root = pathwalk_root,
	.child = pathwalk_child,
	.parent = pathwalk_parent,
	.verify = pathwalk_verify,
	.getattr = pathwalk_getattr,
	.readlink = pathwalk_readlink,
	.access = pathwalk_access,
	.open = pathwalk_open,
	.setattr = pathwalk_setattr,
	.getxattr = pathwalk_getxattr,
	.setxattr = pathwalk_setxattr,
	.listxattr = pathwalk_listxattr,
	.removexattr = pathwalk_removexattr,
	.statfs = pathwalk_statfs,
	.connect = pathwalk_connect,
	.create = pathwalk_create,
	.tmpfile = pathwalk_tmpfile,
	.mkdir = pathwalk_mkdir,
	.mknod = pathwalk_mknod,
	.symlink = pathwalk_symlink,
	.link = pathwalk_link,
	.unlink = pathwalk_unlink,
	.rename = pathwalk_rename,
};
