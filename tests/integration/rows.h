/*
 * rows.h - the attacks' view of the table of RPCs: for every row what kind of request it is, and one
 * in its most ordinary form.
 *
 * An attack that holds for all requests ("no path above the root") iterates over the rows, so it
 * must know what to expect of each. A row of proto/rpc.def without a ROW() here does not build: who
 * adds an RPC says what an attacker could want from it.
 */
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/integration/requests.h"
#include "tests/unit/good_request.h"

enum row_kind {
	ROW_SESSION, /* about the session; reaches no filesystem */
	ROW_LOOKS,   /* looks at an object that a path names */
	ROW_OPENS,   /* makes a handle, or descriptor, of one */
	ROW_MAKES,   /* makes a name that must not be there */
	ROW_REMOVES, /* takes a name away, or moves it */
	ROW_CHANGES, /* changes an object */
	ROW_REACHES, /* makes a connection to what listens at an object */
	ROW_HANDLE,  /* works on handles only */
};

#define ROW(Name, kind) enum { ROW_KIND_##Name = kind }

ROW(Hello, ROW_SESSION);
ROW(SetIdentity, ROW_SESSION);
ROW(Cancel, ROW_SESSION);
ROW(Ping, ROW_SESSION);
ROW(Stats, ROW_SESSION);
ROW(Channel, ROW_SESSION);
ROW(Leave, ROW_SESSION);
ROW(Stat, ROW_LOOKS);
ROW(Access, ROW_LOOKS);
ROW(Open, ROW_OPENS);
ROW(ReadFile, ROW_LOOKS);
ROW(WriteFile, ROW_CHANGES);
ROW(ReadDir, ROW_LOOKS);
ROW(ReadLink, ROW_LOOKS);
ROW(Mkdir, ROW_MAKES);
ROW(Mknod, ROW_MAKES);
ROW(Symlink, ROW_MAKES);
ROW(Link, ROW_MAKES);
ROW(Unlink, ROW_REMOVES);
ROW(Rename, ROW_REMOVES);
ROW(SetAttr, ROW_CHANGES);
ROW(GetXattr, ROW_LOOKS);
ROW(SetXattr, ROW_CHANGES);
ROW(ListXattr, ROW_LOOKS);
ROW(RemoveXattr, ROW_CHANGES);
ROW(StatFs, ROW_LOOKS);
ROW(Connect, ROW_REACHES);
ROW(Watch, ROW_LOOKS);
ROW(Read, ROW_HANDLE);
ROW(Write, ROW_HANDLE);
ROW(Sync, ROW_HANDLE);
ROW(Allocate, ROW_HANDLE);
ROW(Seek, ROW_HANDLE);
ROW(Copy, ROW_HANDLE);
ROW(Close, ROW_HANDLE);

static const enum row_kind row_kinds[RPC_COUNT] _unused_ = {
#define RPC(Name, snake, type, reply, flags) [RPC_INDEX_##Name] = (enum row_kind)ROW_KIND_##Name,
#include "proto/rpc.def"
#undef RPC
};

/* The row's most ordinary request on these paths (as many as it takes): good_request.h's, so that it
 * also asks for something. */
static inline void row_make(struct good_request *q, const struct rpc_info *rpc,
			    const Gofer__Path *first, const Gofer__Path *second)
{
	good_request_make(q, rpc);
	if (rpc->flags & RPC_PATH)
		q->paths[0] = *first;
	if (rpc->flags & RPC_PATH2)
		q->paths[1] = *second;
	switch (rpc->index) {
	case RPC_INDEX_ReadFile:
		q->read_file.count = 100;
		break;
	case RPC_INDEX_WriteFile:
		q->write_file.mode = 0644;
		break;
	case RPC_INDEX_Mkdir:
		q->mkdir.mode = 0755;
		break;
	case RPC_INDEX_SetAttr:
		q->set_attr.mode = 0600;
		break;
	case RPC_INDEX_GetXattr:
		q->get_xattr.size = 100;
		break;
	case RPC_INDEX_ListXattr:
		q->list_xattr.size = 1000;
		break;
	case RPC_INDEX_Read:
		q->read.count = 16;
		break;
	default:
		break;
	}
}

/* Inodes that no reply may describe, set by whoever knows them (guard.h). */
struct row_forbidden {
	dev_t dev;
	ino_t ino;
};
enum { ROW_FORBIDDEN_MAX = 64 };
static struct row_forbidden row_forbidden[ROW_FORBIDDEN_MAX] _unused_;
static size_t row_n_forbidden _unused_;

/* Whether the reply's attributes are those of something forbidden. */
static inline bool row_reveals(const struct raw_reply *r)
{
	static const char *const fields[] = { "attr", "parent", "source_parent", "dest_parent" };

	for (size_t i = 0; i < ARRAY_SIZE(fields) && r->kind == FRAME_OK; i++) {
		const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(
			r->message->descriptor, fields[i]);
		const Gofer__Attr *a;

		if (!f || f->descriptor != &gofer__attr__descriptor)
			continue;
		a = *(Gofer__Attr **)(void *)((uint8_t *)r->message + f->offset);
		for (size_t k = 0; a && k < row_n_forbidden; k++)
			if (a->ino == row_forbidden[k].ino && a->dev == row_forbidden[k].dev)
				return true;
	}
	return false;
}

/* A Watch says how far it came. What the other rows would say. */
static inline int row_watched(const Gofer__WatchRequest *q, const struct raw_reply *r)
{
	const Gofer__WatchReply *m = (const Gofer__WatchReply *)r->message;

	if (m->error)
		return (int)m->error;
	if (m->end < q->path->path.len || (S_ISLNK(m->attr->mode) && !q->path->nofollow))
		return RAW_STOPPED;
	return 0;
}

/* Sends a request of the row that row_make() made (and perhaps somebody spoiled). */
static inline int row_send(int sock, const struct rpc_info *rpc, const struct good_request *q)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	int pair[2] = { -1, -1 }, e;

	if (rpc->flags & RPC_TAKES_FD && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	e = raw_call_fd(sock, rpc->type, &q->message, NULL, 0, pair[0], &r);
	fd_close(pair[0]);
	fd_close(pair[1]);
	if (e == 0 && row_reveals(&r))
		check(false, "%s describes what lies outside", rpc->name);
	if (e == 0 && r.kind == FRAME_OK && rpc->type == RPC_TYPE_Open)
		(void)close_handle(sock, ((Gofer__OpenReply *)r.message)->handle);
	if (e == 0 && r.kind == FRAME_OK && rpc->type == RPC_TYPE_Watch)
		return row_watched(&q->watch, &r);
	return outcome(e, &r);
}

/* The row in its most ordinary form on the paths. What it opens is closed again. */
static inline int row_call(int sock, const struct rpc_info *rpc, Gofer__Path *first,
			   Gofer__Path *second)
{
	struct good_request q;

	row_make(&q, rpc, first, second);
	return row_send(sock, rpc, &q);
}

/* What no request may do through the handle `base`: succeed on `path`, unless `looks` and it only
 * looks. */
static inline void row_refuse_all(int sock, const char *what, uint64_t base, uint32_t fs,
				  const char *path, bool looks)
{
	unsigned n = 0;

	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];
		Gofer__Path first = path_at(fs, base, path), second = path_at(fs, base, path);
		struct good_request q;
		int e;

		if (!(rpc->flags & RPC_PATH))
			continue;
		row_make(&q, rpc, &first, &second);
		if (rpc->type == RPC_TYPE_Open)
			q.open.flags = OPEN_W;
		e = row_send(sock, rpc, &q);
		n++;
		if (e < 0 || (e == 0 && !(looks && row_kinds[i] == ROW_LOOKS)))
			check(false, "%s: %s on \"%s\": %s", what, rpc->name, path, word(e));
	}
	check(n > 15, "%-40s \"%s\": %u requests", what, path, n);
}
