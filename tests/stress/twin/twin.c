/*
 * twin.c - the server with its guards taken off: what `gofer stress` must be able to break into.
 *
 * The twin is linked from the very objects of the shipped command. What differs is here, put in
 * place by the linker (--wrap, see the Makefile), so that the product has no seam for it: this file
 * has its own fs_host_ops and its own walk_resolve() and walk_open() in front of the real ones.
 *
 * Its name says what it is. "twin" has no RESOLVE flags, takes any name, and never asks whether a
 * directory is still in the tree. Each mutant-X has one bug that real servers have had:
 *
 *     mutant-slash    a component is opened as "name/": a slash makes O_NOFOLLOW follow
 *     mutant-check    a component is looked at, and then opened by its name
 *     mutant-fixup    the mode is set by name, after mkdir
 *     mutant-absolute an absolute path reaches mkdirat as it is: its descriptor is ignored
 *     mutant-dotdot   openat2 takes paths with "..", and is tried again while it says EAGAIN
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

#include "common/path.h"
#include "common/sys.h"
#include "server/fs/host.h"
#include "server/fs/walk.h"

enum { RETRIES = 32 };

extern const struct fs_ops __real_fs_host_ops;
extern struct fs_ops __wrap_fs_host_ops;
int __real_walk_resolve(const struct walk_request *request, struct walk_result *ret);
int __wrap_walk_resolve(const struct walk_request *request, struct walk_result *ret);
int __real_walk_open(const struct walk_request *request, int flags, struct walk_result *ret);
int __wrap_walk_open(const struct walk_request *request, int flags, struct walk_result *ret);

static bool is_twin, is_dotdot, is_absolute;

/* ---- the twin: whatever the kernel finds ---- */

static int twin_resolve(struct fs *fs, const struct fs_node *base, const char *path,
			struct fs_node *ret_node)
{
	int fd = sys_openat2(base->fd, path, O_PATH | O_NOFOLLOW, 0, 0);

	if (fd < 0)
		return fd;
	*ret_node = (struct fs_node){ .fd = fd };
	return 0;
}

static int twin_open_path(struct fs *fs, const struct fs_node *base, const char *path, int flags,
			  struct fs_node *ret_file, Gofer__Attr *ret_attr)
{
	int fd = sys_openat2(base->fd, path, flags | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW, 0, 0);

	if (fd < 0)
		return FS_SLOW;
	*ret_file = (struct fs_node){ .fd = fd };
	return ret_attr ? host_getattr(fs, ret_file, ret_attr) : 0;
}

static int twin_create_path(struct fs *fs _unused_, const struct fs_node *base, const char *path,
			    int flags, mode_t mode, struct fs_node *ret_file)
{
	int fd = sys_openat2(base->fd, path, flags | O_CREAT | O_NONBLOCK | O_NOCTTY, mode & 07777,
			     0);

	if (fd < 0)
		return FS_SLOW;
	*ret_file = (struct fs_node){ .fd = fd };
	return 0;
}

static int twin_child(struct fs *fs, const struct fs_node *dir, const char *name, bool want_dir,
		      struct fs_node *ret_node)
{
	int fd = sys_openat2(dir->fd, name, O_PATH | (want_dir ? O_DIRECTORY : O_NOFOLLOW), 0, 0);

	if (fd < 0)
		return fd;
	*ret_node = (struct fs_node){ .fd = fd };
	return 0;
}

static int twin_verify(struct fs *fs _unused_, const struct fs_node *dir _unused_)
{
	return 0;
}

static int twin_parent(struct fs *fs, const struct fs_node *dir, struct fs_node *ret_node)
{
	return twin_child(fs, dir, "..", true, ret_node);
}

/* ---- single bugs ---- */

static int slash_child(struct fs *fs, const struct fs_node *dir, const char *name, bool want_dir,
		       struct fs_node *ret_node)
{
	char with_slash[PATH_NAME_MAX + 2];
	int fd;

	if (!want_dir)
		return host_child(fs, dir, name, want_dir, ret_node);
	(void)snprintf(with_slash, sizeof(with_slash), "%s/", name);
	fd = sys_openat2(dir->fd, with_slash, O_PATH | O_NOFOLLOW | O_DIRECTORY, 0, 0);
	if (fd < 0)
		return fd;
	*ret_node = (struct fs_node){ .fd = fd };
	return 0;
}

static int check_child(struct fs *fs, const struct fs_node *dir, const char *name, bool want_dir,
		       struct fs_node *ret_node)
{
	struct stat st;
	int fd;

	if (fstatat(dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode) || !want_dir)
		return host_child(fs, dir, name, want_dir, ret_node);
	fd = sys_openat2(dir->fd, name, O_PATH | O_DIRECTORY, 0, 0);
	if (fd < 0)
		return fd;
	*ret_node = (struct fs_node){ .fd = fd };
	return 0;
}

static int fixup_mkdir(struct fs *fs, const struct fs_node *dir, const char *name, mode_t mode)
{
	int r = host_mkdir(fs, dir, name, 0700);

	if (r == 0 && fchmodat(dir->fd, name, mode & 07777, 0) < 0)
		r = -errno;
	return r;
}

/* The path as it came, for one system call. */
static int name_absolute(const struct walk_request *q, struct walk_result *ret)
{
	char *name = arena_alloc(q->arena, q->path_len + 1);

	*ret = (struct walk_result){ .node = FS_NODE_NULL };
	if (!name)
		return -ENOMEM;
	memcpy(name, q->path, q->path_len);
	name[q->path_len] = '\0';
	ret->name = name;
	return fs_node_dup(&FS_ROOT_NODE(q->fs), &ret->node);
}

static int resolve_dotdot(const struct walk_request *q, struct walk_result *ret)
{
	const struct fs_node base = q->base ? *q->base : FS_ROOT_NODE(q->fs);
	size_t begin = 0, end = q->path_len;
	char path[PATH_MAX];
	int fd = -EAGAIN, r;

	while (begin < end && q->path[begin] == '/')
		begin++;
	memcpy(path, q->path + begin, end - begin);
	path[end - begin] = '\0';
	for (unsigned i = 0; i < RETRIES && fd == -EAGAIN; i++)
		fd = sys_openat2(base.fd, path, O_PATH | O_NOFOLLOW, 0, host_resolve_flags(q->fs));
	if (fd == -ELOOP || fd == -EXDEV)
		return FS_SLOW;
	*ret = (struct walk_result){ .node = FS_NODE_NULL };
	if (fd < 0)
		return fd;
	ret->node.fd = fd;
	r = host_getattr(q->fs, &ret->node, &ret->attr);
	if (r == 0 && S_ISLNK(ret->attr.mode))
		r = FS_SLOW;
	if (r != 0)
		walk_result_deinit(ret);
	return r;
}

/* ---- in front of the real ones ---- */

int __wrap_walk_resolve(const struct walk_request *q, struct walk_result *ret)
{
	const char *text = (const char *)q->path;

	if ((is_absolute || is_twin) && q->want == WALK_NAME && q->path_len > 1 && text[0] == '/' &&
	    text[q->path_len - 1] != '/')
		return name_absolute(q, ret);
	if (is_dotdot && q->want == WALK_OBJECT && path_has_dotdot(text, q->path_len)) {
		int r = resolve_dotdot(q, ret);

		if (r != FS_SLOW)
			return r;
	}
	return __real_walk_resolve(q, ret);
}

int __wrap_walk_open(const struct walk_request *q, int flags, struct walk_result *ret)
{
	_cleanup_walk_ struct walk_result place = { .node = FS_NODE_NULL };
	int r;

	if (!is_dotdot || !path_has_dotdot((const char *)q->path, q->path_len))
		return __real_walk_open(q, flags, ret);
	r = resolve_dotdot(q, &place);
	if (r == FS_SLOW)
		return __real_walk_open(q, flags, ret);
	*ret = (struct walk_result){ .node = FS_NODE_NULL };
	if (r == 0)
		r = q->fs->ops->open(q->fs, &place.node, flags, &ret->node);
	return r < 0 ? r : q->fs->ops->getattr(q->fs, &ret->node, &ret->attr);
}

struct fs_ops __wrap_fs_host_ops;

__attribute__((constructor)) static void become(void)
{
	const char *name = program_invocation_short_name;
	struct fs_ops *ops = &__wrap_fs_host_ops;

	*ops = __real_fs_host_ops;
	is_twin = !strcmp(name, "twin");
	is_dotdot = !strcmp(name, "mutant-dotdot");
	is_absolute = !strcmp(name, "mutant-absolute");
	if (is_twin) {
		ops->resolve = twin_resolve;
		ops->open_path = twin_open_path;
		ops->create_path = twin_create_path;
		ops->stat_path = NULL; /* through its own resolve() */
		ops->child = twin_child;
		ops->verify = twin_verify;
		ops->parent = twin_parent;
	} else if (is_absolute) {
		ops->create_path = NULL; /* through walk_resolve() */
	} else if (!strcmp(name, "mutant-slash")) {
		ops->child = slash_child;
	} else if (!strcmp(name, "mutant-check")) {
		ops->child = check_child;
	} else if (!strcmp(name, "mutant-fixup")) {
		ops->mkdir = fixup_mkdir;
	}
}
