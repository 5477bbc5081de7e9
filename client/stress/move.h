/*
 * move.h - what an attacker does to the tree: a move, and the move that takes it back.
 *
 * A move is a few acts on names in directories that are held, so that it means the same whatever
 * the tree looks like meanwhile. One list serves every attacker: from outside by system calls, as a
 * client by requests.
 */
#pragma once

#include "client/gofer.h"
#include "client/stress/ground.h"

enum act_kind {
	ACT_NONE,
	ACT_EXCHANGE, /* of two names */
	ACT_MOVE,     /* from one name to the other, over what is there */
	ACT_MKDIR,
	ACT_RMDIR,
	ACT_UNLINK,
	ACT_SYMLINK, /* to `to_name` outside, by its absolute path */
	ACT_LINK,    /* a hard link to `to_name` outside */
	ACT_MOUNT,   /* `to_name` of the outside over the name */
	ACT_UMOUNT,
};

struct act {
	enum act_kind kind;
	enum place from;
	const char *name;
	enum place to;
	const char *to_name;
};

/* Which part of the tree a move changes, and a path leads through. */
enum field {
	FIELD_CHAIN = 1, /* a/b/c/d */
	FIELD_DEEP = 2,  /* m/deep/x/y */
	FIELD_HOLE = 4,  /* r */
	FIELD_MOUNT = 8, /* mnt */
};

enum {
	MOVE_SYSTEM_CALLS = 1, /* no request does this */
	MOVE_DEVICE = 2,       /* where device nodes can be made */
	MOVE_MOUNT = 4,        /* where mounts can be made; slow */
	MOVE_NEW = 8,          /* concerns only what requests create */
};

struct move {
	const char *name;
	enum field field;
	unsigned flags;
	struct act play[3], undo[3];
};

extern const struct move moves[];
extern const size_t n_moves;

/* Whether an attacker who has only requests (or also system calls) can make it on this ground. */
bool move_possible(const struct move *m, const struct ground *g, bool system_calls);

/*
 * Whose move it is: by system calls, or, with a session, by its requests; `handles` are of the
 * tree's places then.
 */
struct hand {
	const struct ground *ground;
	struct tree *tree;
	struct gofer_session *session;
	uint32_t fs_id;
	uint64_t handles[PLACE_SERVED];
};

/* All acts, whatever becomes of each: how many were done; -ENOTCONN where the session is gone. */
int hand_play(const struct hand *h, const struct act acts[static 3]);
