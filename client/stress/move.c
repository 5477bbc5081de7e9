/*
 * move.c - the list of moves, and playing them by system calls or by requests.
 */
#include "client/stress/move.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "proto/rpc.h"

#define SWAP(dir, a, b)                      \
	{                                    \
		ACT_EXCHANGE, dir, a, dir, b \
	}
#define SWAPPED(what, dir, a, b, flags_)                                        \
	{                                                                       \
		.name = a " is " what, .field = FIELD_CHAIN, .flags = (flags_), \
		.play = { SWAP(dir, a, b) }, .undo = {                          \
			SWAP(dir, a, b)                                         \
		}                                                               \
	}
#define COMPONENT(dir, a)                                          \
	SWAPPED("a relative link", dir, a, a ".rel", 0),           \
		SWAPPED("an absolute link", dir, a, a ".abs", 0),  \
		SWAPPED("a file", dir, a, a ".file", 0),           \
		SWAPPED("another directory", dir, a, a ".dir", 0), \
		SWAPPED("a FIFO", dir, a, a ".fifo", 0),           \
		SWAPPED("a device", dir, a, a ".dev", MOVE_DEVICE)

/*
 * What a request creates is made somebody else's before it can be looked at again. Afterwards it is
 * removed, so that it can be created once more.
 */
#define CREATED_BACK(made)                                                    \
	{                                                                     \
		SWAP(PLACE_D, "swap", made), { ACT_UNLINK, PLACE_D, "swap" }, \
		{                                                             \
			ACT_UNLINK, PLACE_D, made                             \
		}                                                             \
	}
#define CREATED(made)                                                                              \
	{ .name = "link over " made,                                                               \
	  .field = FIELD_CHAIN,                                                                    \
	  .flags = MOVE_NEW,                                                                       \
	  .play = { { ACT_SYMLINK, PLACE_D, "swap", 0, "fixup" }, SWAP(PLACE_D, "swap", made) },   \
	  .undo = CREATED_BACK(made) },                                                            \
	{                                                                                          \
		.name = "hard link over " made, .field = FIELD_CHAIN,                              \
		.flags = MOVE_NEW | MOVE_SYSTEM_CALLS,                                             \
		.play = { { ACT_LINK, PLACE_D, "swap", 0, "hard" }, SWAP(PLACE_D, "swap", made) }, \
		.undo = CREATED_BACK(made)                                                         \
	}

const struct move moves[] = {
	COMPONENT(PLACE_ROOT, "a"),
	COMPONENT(PLACE_A, "b"),
	COMPONENT(PLACE_B, "c"),
	COMPONENT(PLACE_C, "d"),
	COMPONENT(PLACE_D, "f"),
	CREATED("made0"),
	CREATED("made1"),
	{ .name = "deep moved above the root",
	  .field = FIELD_DEEP,
	  .flags = MOVE_SYSTEM_CALLS,
	  .play = { { ACT_MOVE, PLACE_M, "deep", PLACE_ABOVE, "deep" } },
	  .undo = { { ACT_MOVE, PLACE_ABOVE, "deep", PLACE_M, "deep" } } },
	{ .name = "deep moved out of the tree",
	  .field = FIELD_DEEP,
	  .flags = MOVE_SYSTEM_CALLS,
	  .play = { { ACT_MOVE, PLACE_M, "deep", PLACE_LANDING, "deep" } },
	  .undo = { { ACT_MOVE, PLACE_LANDING, "deep", PLACE_M, "deep" } } },
	{ .name = "deep moved within the tree",
	  .field = FIELD_DEEP,
	  .play = { { ACT_MOVE, PLACE_M, "deep", PLACE_ROOT, "deep" } },
	  .undo = { { ACT_MOVE, PLACE_ROOT, "deep", PLACE_M, "deep" } } },
	{ .name = "r removed, a link instead",
	  .field = FIELD_HOLE,
	  .play = { { ACT_RMDIR, PLACE_ROOT, "r" }, { ACT_SYMLINK, PLACE_ROOT, "r", 0, "r" } },
	  .undo = { { ACT_UNLINK, PLACE_ROOT, "r" }, { ACT_MKDIR, PLACE_ROOT, "r" } } },
	{ .name = "mounted over mnt",
	  .field = FIELD_MOUNT,
	  .flags = MOVE_SYSTEM_CALLS | MOVE_MOUNT,
	  .play = { { ACT_MOUNT, PLACE_ROOT, "mnt", 0, "a" } },
	  .undo = { { ACT_UMOUNT, PLACE_ROOT, "mnt" } } },
};
const size_t n_moves = ARRAY_SIZE(moves);

bool move_possible(const struct move *m, const struct ground *g, bool system_calls)
{
	return (system_calls || !(m->flags & MOVE_SYSTEM_CALLS)) &&
	       (g->devices || !(m->flags & MOVE_DEVICE)) &&
	       (g->private_mount || !(m->flags & MOVE_MOUNT));
}

/* ---- by system calls ---- */

static int play_call(const struct hand *h, const struct act *a)
{
	const struct ground *g = h->ground;
	const int *places = h->tree->places;
	int from = places[a->from], to = places[a->to];
	char target[256], mnt[300];

	switch (a->kind) {
	case ACT_EXCHANGE:
		return renameat2(from, a->name, to, a->to_name, RENAME_EXCHANGE);
	case ACT_MOVE:
		return renameat(from, a->name, to, a->to_name);
	case ACT_MKDIR:
		return mkdirat(from, a->name, 0755);
	case ACT_RMDIR:
		return unlinkat(from, a->name, AT_REMOVEDIR);
	case ACT_UNLINK:
		/* What was exchanged for it may be a directory. */
		return unlinkat(from, a->name, 0) == 0 ? 0 : unlinkat(from, a->name, AT_REMOVEDIR);
	case ACT_SYMLINK:
		snprintf(target, sizeof(target), "%s/outside/%s", g->path, a->to_name);
		return symlinkat(target, from, a->name);
	case ACT_LINK:
		snprintf(target, sizeof(target), "outside/%s", a->to_name);
		return linkat(g->fd, target, from, a->name, 0);
	case ACT_MOUNT:
		snprintf(target, sizeof(target), "%s/outside/%s", g->path, a->to_name);
		snprintf(mnt, sizeof(mnt), "%s/%s", h->tree->path, a->name);
		return mount(target, mnt, NULL, MS_BIND, NULL);
	case ACT_UMOUNT:
		snprintf(mnt, sizeof(mnt), "%s/%s", h->tree->path, a->name);
		return umount2(mnt, MNT_DETACH | UMOUNT_NOFOLLOW);
	case ACT_NONE:
		break;
	}
	return -1;
}

/* ---- by requests ---- */

static Gofer__Path path_of(const struct hand *h, enum place place, const char *name)
{
	Gofer__Path p = GOFER__PATH__INIT;

	p.fs_id = h->fs_id;
	p.base_handle = h->handles[place];
	p.path = (ProtobufCBinaryData){ .data = (uint8_t *)name, .len = strlen(name) };
	return p;
}

static int call(const struct hand *h, uint16_t type, const void *message)
{
	struct gofer_request q = { .type = type, .message = message, .fd = -1 };
	struct gofer_reply reply;
	int r = gofer_call(h->session, &q, &reply);

	if (r < 0)
		return r;
	r = reply.kind == GOFER_REPLY_OK ? 0 : -ELOOP;
	gofer_reply_free(&reply);
	return r;
}

static int play_request(const struct hand *h, const struct act *a)
{
	Gofer__Path from = path_of(h, a->from, a->name);
	Gofer__UnlinkRequest unlink = GOFER__UNLINK_REQUEST__INIT;
	char target[256];

	unlink.path = &from;
	switch (a->kind) {
	case ACT_EXCHANGE:
	case ACT_MOVE: {
		Gofer__Path to = path_of(h, a->to, a->to_name);
		Gofer__RenameRequest q = GOFER__RENAME_REQUEST__INIT;

		q.source = &from;
		q.dest = &to;
		q.flags = a->kind == ACT_MOVE ? GOFER__RENAME_FLAG__RENAME_PLAIN
					      : GOFER__RENAME_FLAG__RENAME_SWAP;
		return call(h, RPC_TYPE_Rename, &q);
	}
	case ACT_MKDIR: {
		Gofer__MkdirRequest q = GOFER__MKDIR_REQUEST__INIT;

		q.path = &from;
		q.mode = 0755;
		return call(h, RPC_TYPE_Mkdir, &q);
	}
	case ACT_RMDIR:
		unlink.directory = true;
		return call(h, RPC_TYPE_Unlink, &unlink);
	case ACT_UNLINK: {
		int r = call(h, RPC_TYPE_Unlink, &unlink);

		unlink.directory = true;
		return r == -EISDIR ? call(h, RPC_TYPE_Unlink, &unlink) : r;
	}
	case ACT_SYMLINK: {
		Gofer__SymlinkRequest q = GOFER__SYMLINK_REQUEST__INIT;

		snprintf(target, sizeof(target), "%s/outside/%s", h->ground->path, a->to_name);
		q.path = &from;
		q.target =
			(ProtobufCBinaryData){ .data = (uint8_t *)target, .len = strlen(target) };
		return call(h, RPC_TYPE_Symlink, &q);
	}
	default:
		return -EOPNOTSUPP;
	}
}

int hand_play(const struct hand *h, const struct act acts[static 3])
{
	int done = 0;

	for (size_t i = 0; i < 3 && acts[i].kind != ACT_NONE; i++) {
		int r = h->session ? play_request(h, &acts[i]) : play_call(h, &acts[i]);

		if (r == -ENOTCONN)
			return r;
		done += r == 0;
	}
	return done;
}
