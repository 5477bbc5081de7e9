/*
 * walk.h - traversal: from a client's path to a node, written once for every backend.
 *
 * The path is text from outside. It is taken component by component on a stack of nodes: ".." pops
 * the stack (nothing is cancelled lexically: "file/.." is ENOTDIR, "missing/.." is ENOENT), "." is
 * skipped after checking for a directory, a symbolic link stops the walk, or is followed on
 * speculation when it is relative and the budget allows. Where neither ".." nor a link occurs, the
 * backend's fast path does it all in one system call.
 *
 * A failure after a link was followed on speculation is never an error: the client's own namespace
 * might have led elsewhere (a mount of its own on the way). The walk then ends as if it had stopped
 * at the last link.
 */
#pragma once

#include "proto/arena.h"
#include "server/fs/fs.h"

enum { WALK_STOP = 1 }; /* positive result: *ret->stop says why the client's namespace must go on */

enum walk_want {
	WALK_OBJECT, /* the object that the path names */
	WALK_NAME, /* the directory that holds, or would hold, the last component, and that name */
};

struct walk_request {
	struct fs *fs;
	const struct fs_node *base; /* NULL = the root */
	const uint8_t
		*path; /* validated: no NUL, length within PATH_MAX, components within NAME_MAX */
	size_t path_len;
	uint32_t follow; /* budget of relative links to follow on speculation; 0 for requests with
			    side effects */
	bool nofollow;   /* WALK_OBJECT: a link as the last component is the object */
	bool bare;       /* walk_open(): see fs_ops.open_path without ret_attr */
	enum walk_want want;
	uint32_t which;      /* for Stop.which */
	struct arena *arena; /* for everything in the result but nodes */
};

struct walk_result {
	struct fs_node node; /* WALK_OBJECT: the object. WALK_NAME: the directory. Owned:
				walk_result_deinit */
	Gofer__Attr attr;    /* WALK_OBJECT: its attributes */
	const char *name;    /* WALK_NAME: one validated component, NUL-terminated, in the arena */
	uint32_t name_begin, name_end; /* WALK_NAME: where the text has it, after all of followed */
	bool trailing_slash; /* WALK_NAME: the path ended in "/" (or "/."): the name must be, or
				become, a directory */
	Gofer__Stop *stop;   /* with WALK_STOP */
	Gofer__Followed **followed; /* links followed on the way, in order */
	size_t n_followed;
	/*
	 * NULL, or the Stop at the last link that was followed: what to reply instead of any error
	 * that the operation itself meets after the walk.
	 */
	Gofer__Stop *last_link;
};

/*
 * 0, WALK_STOP or -errno (ENOENT, ENOTDIR, EACCES, EXDEV at a mount without xdev, ESTALE for a base
 * outside the tree, ENOMEM over the arena's budget ...). WALK_NAME with a last component of "." or
 * ".." or an empty path: -EINVAL ("."), -ENOTEMPTY (".."), -EINVAL (empty), after everything before
 * it was found: the caller maps these to what its system call says. trailing_slash is set then too.
 * WALK_OBJECT with a trailing slash on something that is no directory: -ENOTDIR; on a link: the
 * link stops the walk even with nofollow, as in Linux.
 */
int walk_resolve(const struct walk_request *request, struct walk_result *ret);
void walk_result_deinit(struct walk_result *result);
#define _cleanup_walk_ _cleanup_(walk_result_deinit)

/*
 * walk_resolve() of WALK_OBJECT and ops->open() of what it found, `flags` as for that: ret->node is
 * the open file, ret->attr are its attributes. Where the backend can, it is one system call to open
 * and one to look.
 */
int walk_open(const struct walk_request *request, int flags, struct walk_result *ret);

/*
 * walk_resolve() of WALK_NAME and ops->create() there, where the backend does it in one step and nothing else is wanted of the
 * walk: 0, -EEXIST with O_EXCL, or FS_SLOW where it must be done in two.
 */
int walk_create(const struct walk_request *request, int flags, mode_t mode,
		struct fs_node *ret_file);

/* walk_resolve() of WALK_OBJECT for who wants only ret->attr: there may be no node. */
int walk_stat(const struct walk_request *request, struct walk_result *ret);

/*
 * A Stop for a link found at the last name by an operation on (dir, name) that returned FS_SYMLINK.
 * 0 with ret_stop, or -errno
 * (-EAGAIN where the name is no link any more: the operation is to be tried again).
 */
int walk_stop_at_name(const struct walk_request *request, const struct walk_result *found,
		      Gofer__Stop **ret_stop);
