/*
 * changes.c - calls by path that change something: names made, removed and moved, attributes set.
 * The server never follows a link for one of these; where one stands in the way, path_call() goes
 * on at its target.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "client/namespace.h"
#include "common/path.h"

/*
 * Runs a change of one name. `at_root` is the result where the path is the root of a mount (or a
 * directory that only mounts make): there is no name to work on.
 */
static int change_name(struct path_call *c, struct gofer_namespace *ns, const char *path,
		       int at_root, const char *op)
{
	_cleanup_lookup_ struct lookup l;
	int r;

	r = lookup_init(&l, ns, path);
	if (r == 0) {
		c->lookup[0] = &l;
		c->at_root = at_root;
		c->fd = -1;
		r = path_call_simple(c, at_root);
	}
	return r < 0 ? fail_path(r, op, path) : 0;
}

int gofer_mkdir(struct gofer_namespace *ns, const char *path, mode_t mode)
{
	Gofer__MkdirRequest m = GOFER__MKDIR_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_Mkdir, .message = &m.base, .path = { &where } };

	m.path = &where;
	m.mode = mode & 01777;
	m.umask = atomic_load(&ns->umask);
	return change_name(&c, ns, path, -EEXIST, "mkdir");
}

int gofer_mknod(struct gofer_namespace *ns, const char *path, mode_t mode, dev_t rdev)
{
	Gofer__MknodRequest m = GOFER__MKNOD_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_Mknod, .message = &m.base, .path = { &where } };

	m.path = &where;
	m.mode = mode;
	m.umask = atomic_load(&ns->umask);
	/* As mknod(2), which ignores it for what is no device. */
	m.rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0;
	return change_name(&c, ns, path, -EEXIST, "mknod");
}

int gofer_symlink(struct gofer_namespace *ns, const char *target, const char *path)
{
	Gofer__SymlinkRequest m = GOFER__SYMLINK_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_Symlink, .message = &m.base, .path = { &where } };

	if (!target[0])
		return fail_path(-ENOENT, "symlink", path);
	m.path = &where;
	m.target = (ProtobufCBinaryData){ strlen(target), (uint8_t *)target };
	return change_name(&c, ns, path, -EEXIST, "symlink");
}

/* Whether the text ends in a component "..", slashes behind it or not. */
static bool ends_in_dotdot(const char *path)
{
	size_t end = strlen(path), begin;

	while (end && path[end - 1] == '/')
		end--;
	for (begin = end; begin && path[begin - 1] != '/';)
		begin--;
	return path_is_dotdot(path + begin, end - begin);
}

static int remove_name(struct gofer_namespace *ns, const char *path, bool directory)
{
	Gofer__UnlinkRequest m = GOFER__UNLINK_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_Unlink, .message = &m.base, .path = { &where } };

	m.path = &where;
	m.directory = directory;
	return change_name(&c, ns, path,
			   !directory             ? -EISDIR
			   : ends_in_dotdot(path) ? -ENOTEMPTY
						  : -EBUSY,
			   directory ? "rmdir" : "unlink");
}

int gofer_unlink(struct gofer_namespace *ns, const char *path)
{
	return remove_name(ns, path, false);
}

int gofer_rmdir(struct gofer_namespace *ns, const char *path)
{
	return remove_name(ns, path, true);
}

/* ---- two names ---- */

/* A name, and the place where it starts unless it is absolute; NULL: the current directory. */
struct start {
	struct gofer_place *dir;
	const char *path;
};

static int change_two(struct path_call *c, struct gofer_namespace *ns, struct start from,
		      struct start to, int at_root, const char *op)
{
	_cleanup_lookup_ struct lookup a, b;
	int r;

	b.mount = NULL;
	b.base = NULL;
	r = lookup_init_at(&a, ns, from.dir, from.path);
	if (r == 0) {
		r = lookup_init_at(&b, ns, to.dir, to.path);
		if (r == -ENOENT) {
			/* An empty second name: what is wrong with the first comes before it. (rename(2) asks last
			 * what a slash behind that means.) */
			int e;

			while (c->type == RPC_TYPE_Rename && a.len && a.path[a.len - 1] == '/')
				a.len--;
			e = lookup_parent(&a, true);
			r = e < 0 ? e : r;
		}
	}
	if (r == 0) {
		c->lookup[0] = &a;
		c->lookup[1] = &b;
		c->at_root = at_root;
		c->fd = -1;
		r = path_call_simple(c, at_root);
	}
	return r < 0 ? fail_path(r, op, from.path) : 0;
}

int gofer_rename(struct gofer_namespace *ns, const char *from, const char *to, unsigned flags)
{
	return gofer_renameat(ns, NULL, from, NULL, to, flags);
}

int gofer_renameat(struct gofer_namespace *ns, struct gofer_place *from_dir, const char *from,
		   struct gofer_place *to_dir, const char *to, unsigned flags)
{
	Gofer__RenameRequest m = GOFER__RENAME_REQUEST__INIT;
	Gofer__Path source = GOFER__PATH__INIT, dest = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_Rename,
			       .message = &m.base,
			       .path = { &source, &dest } };

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
	    flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return fail_path(-EINVAL, "rename", from);
	m.source = &source;
	m.dest = &dest;
	m.flags = flags & RENAME_NOREPLACE  ? GOFER__RENAME_FLAG__RENAME_NO_REPLACE
		  : flags & RENAME_EXCHANGE ? GOFER__RENAME_FLAG__RENAME_SWAP
					    : GOFER__RENAME_FLAG__RENAME_PLAIN;
	return change_two(&c, ns, (struct start){ from_dir, from }, (struct start){ to_dir, to },
			  -EBUSY, "rename");
}

int gofer_link(struct gofer_namespace *ns, const char *from, const char *to, int flags)
{
	return gofer_linkat(ns, NULL, from, NULL, to, flags);
}

/* Gives what a place holds a name. */
static int link_place(struct gofer_namespace *ns, struct gofer_place *from, struct start to)
{
	Gofer__LinkRequest m = GOFER__LINK_REQUEST__INIT;
	Gofer__Path source = GOFER__PATH__INIT, dest = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct path_call c = { .type = RPC_TYPE_Link,
			       .message = &m.base,
			       .lookup = { NULL, &l },
			       .path = { &source, &dest },
			       .mount = from->mount,
			       .at_root = -EEXIST,
			       .fd = -1 };
	int r;

	r = lookup_init_at(&l, ns, to.dir, to.path);
	if (r == 0) {
		m.source = &source;
		m.dest = &dest;
		source.fs_id = from->mount->fs_id;
		source.base_handle = from->handle;
		source.identity = from->mount->session->identity;
		source.nofollow = true;
		r = path_call_simple(&c, -EEXIST);
	}
	return r < 0 ? fail_path(r, "link", to.path) : 0;
}

int gofer_linkat(struct gofer_namespace *ns, struct gofer_place *from_dir, const char *from,
		 struct gofer_place *to_dir, const char *to, int flags)
{
	Gofer__LinkRequest m = GOFER__LINK_REQUEST__INIT;
	Gofer__Path source = GOFER__PATH__INIT, dest = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_Link,
			       .message = &m.base,
			       .path = { &source, &dest } };

	if (flags & ~AT_SYMLINK_FOLLOW)
		return fail_path(-EINVAL, "link", from);
	if (!from[0] && from_dir && from_dir->handle)
		return link_place(ns, from_dir, (struct start){ to_dir, to });
	m.source = &source;
	m.dest = &dest;
	source.nofollow = !(flags & AT_SYMLINK_FOLLOW);
	return change_two(&c, ns, (struct start){ from_dir, from }, (struct start){ to_dir, to },
			  -EEXIST, "link");
}

/* ---- attributes ---- */

static int set_attr(struct gofer_namespace *ns, const char *path, Gofer__SetAttrRequest *m,
		    int flags, const char *op)
{
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct path_call c = { .type = RPC_TYPE_SetAttr,
			       .message = &m->base,
			       .lookup = { &l },
			       .path = { &where },
			       .fd = -1 };
	int r;

	m->path = &where;
	where.nofollow = flags & AT_SYMLINK_NOFOLLOW;
	r = lookup_init(&l, ns, path);
	if (r == 0 && (flags & ~AT_SYMLINK_NOFOLLOW))
		r = -EINVAL;
	if (r == 0)
		r = path_call_simple(&c, -EROFS);
	m->path = NULL; /* it was on this stack */
	return r < 0 ? fail_path(r, op, path) : 0;
}

int gofer_chmod(struct gofer_namespace *ns, const char *path, mode_t mode)
{
	Gofer__SetAttrRequest m = GOFER__SET_ATTR_REQUEST__INIT;

	m.mask = GOFER__SET_ATTR_MASK__SET_MODE;
	m.mode = mode & 07777;
	return set_attr(ns, path, &m, 0, "chmod");
}

int gofer_chown(struct gofer_namespace *ns, const char *path, uid_t uid, gid_t gid, int flags)
{
	Gofer__SetAttrRequest m = GOFER__SET_ATTR_REQUEST__INIT;

	m.mask = (uid != (uid_t)-1 ? GOFER__SET_ATTR_MASK__SET_UID : 0) |
		 (gid != (gid_t)-1 ? GOFER__SET_ATTR_MASK__SET_GID : 0);
	m.uid = uid != (uid_t)-1 ? uid : 0;
	m.gid = gid != (gid_t)-1 ? gid : 0;
	return set_attr(ns, path, &m, flags, "chown");
}

int gofer_utimens(struct gofer_namespace *ns, const char *path, const struct timespec times[2],
		  int flags)
{
	Gofer__SetAttrRequest m = GOFER__SET_ATTR_REQUEST__INIT;
	int r = attr_set_times(&m, times);

	if (r == 0 && m.mask == 0)
		return 0; /* UTIME_OMIT twice: utimensat(2) does not even look at the path */
	return r < 0 ? fail_path(r, "utimens", path) : set_attr(ns, path, &m, flags, "utimens");
}

int gofer_truncate(struct gofer_namespace *ns, const char *path, uint64_t size)
{
	Gofer__SetAttrRequest m = GOFER__SET_ATTR_REQUEST__INIT;

	if (size > INT64_MAX)
		return fail_path(-EINVAL, "truncate", path);
	m.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
	m.size = size;
	return set_attr(ns, path, &m, 0, "truncate");
}

int gofer_connect(struct gofer_namespace *ns, const char *path, int sock)
{
	Gofer__ConnectRequest m = GOFER__CONNECT_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct path_call c = { .type = RPC_TYPE_Connect,
			       .message = &m.base,
			       .lookup = { &l },
			       .path = { &where },
			       .fd = sock };
	int r;

	m.path = &where;
	r = lookup_init(&l, ns, path);
	if (r == 0 && sock < 0)
		r = -EBADF;
	if (r == 0)
		r = path_call_simple(&c, -ECONNREFUSED);
	return r < 0 ? fail_path(r, "connect", path) : 0;
}
