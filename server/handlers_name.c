/*
 * handlers_name.c - requests that make, remove or move a name in a directory. The walk ends at the directory; the name goes to one
 * system call as one validated component. A path that ends in "." or ".." or is empty has no name to work on: each request says
 * what its system call says to that. The victim of an unlink or a rename is never opened.
 *
 * The reply is got before anything is changed: once the system call has succeeded, nothing turns the answer into an error any more.
 */
#include "server/session.h"

#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>

/* Finds directory and name. What walk.h gives for a path without a name becomes `dot` or, for "..", `dotdot`. */
static int find_name(struct request *r, const Gofer__Path *path, unsigned which, int dot,
		     int dotdot, struct walk_result *walk)
{
	int e = request_walk(r, path, which, WALK_NAME, true, 0, walk);

	if (e == -EINVAL)
		return dot;
	return e == -ENOTEMPTY ? dotdot : e;
}

/* What stands at the name: 0 (a directory), FS_SYMLINK, -ENOTDIR (something else), -ENOENT ... */
static int look_at_name(struct request *r, const struct walk_result *walk)
{
	_cleanup_node_ struct fs_node node = FS_NODE_NULL;

	return request_fs(r)->ops->child(request_fs(r), &walk->node, walk->name, true, &node);
}

/* A new object may not have a slash behind its name unless it is a directory: EEXIST where something is there, else ENOENT. */
static int refuse_trailing_slash(struct request *r, const struct walk_result *walk)
{
	int e;

	if (!walk->trailing_slash)
		return 0;
	e = look_at_name(r, walk);
	return e == -ENOENT ? -ENOENT : e >= 0 || e == -ENOTDIR ? -EEXIST : e;
}

/* The new object's attributes, looked up by name without following: somebody may have exchanged it meanwhile, as after a stat. */
static int fill_created(struct request *r, const struct walk_result *walk,
			Gofer__ObjectReply *reply)
{
	_cleanup_node_ struct fs_node node = FS_NODE_NULL;
	struct fs *fs = request_fs(r);

	if (fs->ops->child(fs, &walk->node, walk->name, false, &node) == 0)
		reply->attr = request_getattr(r, &node);
	reply->parent = request_getattr(r, &walk->node);
	return 0;
}

int handle_mkdir(struct request *r, const Gofer__MkdirRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	int e = reply ? find_name(r, q->path, 0, -EEXIST, -EEXIST, &walk) : -EMSGSIZE;

	if (e != 0)
		return e;
	request_umask(r, q->umask);
	e = request_fs(r)->ops->mkdir(request_fs(r), &walk.node, walk.name, q->mode);
	return e < 0 ? e : fill_created(r, &walk, reply);
}

int handle_mknod(struct request *r, const Gofer__MknodRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	int e = reply ? find_name(r, q->path, 0, -EEXIST, -EEXIST, &walk) : -EMSGSIZE;

	if (e == 0)
		e = refuse_trailing_slash(r, &walk);
	if (e != 0)
		return e;
	request_umask(r, q->umask);
	e = request_fs(r)->ops->mknod(request_fs(r), &walk.node, walk.name, q->mode, q->rdev);
	return e < 0 ? e : fill_created(r, &walk, reply);
}

int handle_symlink(struct request *r, const Gofer__SymlinkRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	char *target = arena_alloc(&r->worker->arena, q->target.len + 1);
	int e;

	if (!reply || !target)
		return -EMSGSIZE;
	memcpy(target, q->target.data, q->target.len);
	target[q->target.len] = '\0';
	e = find_name(r, q->path, 0, -EEXIST, -EEXIST, &walk);
	if (e == 0)
		e = refuse_trailing_slash(r, &walk);
	if (e == 0)
		e = request_fs(r)->ops->symlink(request_fs(r), target, &walk.node, walk.name);
	return e != 0 ? e : fill_created(r, &walk, reply);
}

int handle_link(struct request *r, const Gofer__LinkRequest *q)
{
	_cleanup_walk_ struct walk_result source = { .node = FS_NODE_NULL },
					  dest = { .node = FS_NODE_NULL };
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	const struct fs_node *node;
	int e = reply ? request_object(r, q->source, q->source->nofollow, &source, &node, NULL)
		      : -EMSGSIZE;

	if (e == 0)
		e = find_name(r, q->dest, 1, -EEXIST, -EEXIST, &dest);
	if (e == 0)
		e = refuse_trailing_slash(r, &dest);
	if (e == 0)
		e = request_fs(r)->ops->link(request_fs(r), node, &dest.node, dest.name);
	return e != 0 ? e : fill_created(r, &dest, reply);
}

int handle_unlink(struct request *r, const Gofer__UnlinkRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	int e;

	if (!reply)
		return -EMSGSIZE;
	/* The root of a filesystem cannot be removed, nor can what a handle names. */
	if (q->path->path.len == 0)
		return q->directory ? -EBUSY : -EISDIR;
	if (q->directory)
		e = find_name(r, q->path, 0, -EINVAL, -ENOTEMPTY, &walk);
	else
		e = find_name(r, q->path, 0, -EISDIR, -EISDIR, &walk);
	if (e != 0)
		return e;
	if (walk.trailing_slash && !q->directory) {
		e = look_at_name(r, &walk);
		return e == 0 ? -EISDIR : e == FS_SYMLINK ? -ENOTDIR : e;
	}
	e = request_fs(r)->ops->unlink(request_fs(r), &walk.node, walk.name, q->directory);
	if (e < 0)
		return e;
	reply->parent = request_getattr(r, &walk.node);
	return 0;
}

/*
 * Only a directory may be named with a slash behind it: what rename(2) says to that, after what it says about names that are, or are
 * not, there.
 */
static int judge_slashes(struct request *r, uint32_t flags, const struct walk_result *source,
			 const struct walk_result *dest)
{
	bool swap = flags == GOFER__RENAME_FLAG__RENAME_SWAP;
	int s = look_at_name(r, source), d = look_at_name(r, dest);

	if (s < 0 && s != -ENOTDIR)
		return s;
	if (d < 0 && d != -ENOTDIR && (d != -ENOENT || swap))
		return d;
	if (flags == GOFER__RENAME_FLAG__RENAME_NO_REPLACE && d != -ENOENT)
		return -EEXIST;
	if (swap && d != 0 && dest->trailing_slash)
		return -ENOTDIR;
	if (s != 0 && (source->trailing_slash || (!swap && dest->trailing_slash)))
		return -ENOTDIR;
	return 0;
}

int handle_rename(struct request *r, const Gofer__RenameRequest *q)
{
	static const unsigned host_flags[] = {
		[GOFER__RENAME_FLAG__RENAME_PLAIN] = 0,
		[GOFER__RENAME_FLAG__RENAME_NO_REPLACE] = RENAME_NOREPLACE,
		[GOFER__RENAME_FLAG__RENAME_SWAP] = RENAME_EXCHANGE,
	};
	_cleanup_walk_ struct walk_result source = { .node = FS_NODE_NULL },
					  dest = { .node = FS_NODE_NULL };
	_cleanup_node_ struct fs_node moved = FS_NODE_NULL;
	struct fs *fs = request_fs(r);
	Gofer__RenameReply *reply = REQUEST_REPLY(r, RenameReply, rename_reply);
	int e = find_name(r, q->source, 0, -EBUSY, -EBUSY, &source);

	if (!reply)
		return -EMSGSIZE;
	if (e == 0 || e == -EBUSY) {
		/* Both directories are looked for before either name is judged. */
		int last = q->flags == GOFER__RENAME_FLAG__RENAME_NO_REPLACE ? -EEXIST : -EBUSY;
		int d = find_name(r, q->dest, 1, last, last, &dest);

		if (e == 0 || (d != 0 && d != last))
			e = d;
	}
	if (e == 0 && (source.trailing_slash || dest.trailing_slash))
		e = judge_slashes(r, q->flags, &source, &dest);
	if (e == 0)
		e = fs->ops->rename(fs, &source.node, source.name, &dest.node, dest.name,
				    host_flags[q->flags]);
	if (e != 0)
		return e;
	if (fs->ops->child(fs, &dest.node, dest.name, false, &moved) == 0)
		reply->attr = request_getattr(r, &moved);
	reply->source_parent = request_getattr(r, &source.node);
	reply->dest_parent = request_getattr(r, &dest.node);
	return 0;
}
