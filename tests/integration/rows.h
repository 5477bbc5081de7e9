/*
 * rows.h - the attacks' view of the table of RPCs: for every row what kind of request it is, and
 * how to fill one in its most ordinary form.
 *
 * An attack that holds for all requests ("no path above the root") iterates over the rows, so it
 * must know what to expect of each. A row of proto/rpc.def without a ROW() here does not build: who
 * adds an RPC says what an attacker could want from it.
 */
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/integration/requests.h"

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

#define ROW(Name, snake, kind)           \
	enum { ROW_KIND_##Name = kind }; \
	static inline void row_fill_##snake(Gofer__##Name##Request *q _unused_)

ROW(Hello, hello, ROW_SESSION)
{
	q->version = 1;
}
ROW(SetIdentity, set_identity, ROW_SESSION)
{
	q->id = 1;
}
ROW(Cancel, cancel, ROW_SESSION)
{
}
ROW(Ping, ping, ROW_SESSION)
{
}
ROW(Stats, stats, ROW_SESSION)
{
}
ROW(Stat, stat, ROW_LOOKS)
{
}
ROW(Access, access, ROW_LOOKS)
{
}
ROW(Open, open, ROW_OPENS)
{
	q->flags = GOFER__OPEN_FLAG__OPEN_READ;
}
ROW(ReadFile, read_file, ROW_LOOKS)
{
	q->count = 100;
}
ROW(WriteFile, write_file, ROW_CHANGES)
{
	q->mode = 0644;
}
ROW(ReadDir, read_dir, ROW_LOOKS)
{
}
ROW(ReadLink, read_link, ROW_LOOKS)
{
}
ROW(Mkdir, mkdir, ROW_MAKES)
{
	q->mode = 0755;
}
ROW(Mknod, mknod, ROW_MAKES)
{
	q->mode = S_IFREG | 0644;
}
ROW(Symlink, symlink, ROW_MAKES)
{
	q->target = BYTES("target");
}
ROW(Link, link, ROW_MAKES)
{
}
ROW(Unlink, unlink, ROW_REMOVES)
{
}
ROW(Rename, rename, ROW_REMOVES)
{
}
ROW(SetAttr, set_attr, ROW_CHANGES)
{
	q->mask = GOFER__SET_ATTR_MASK__SET_MODE;
	q->mode = 0600;
}
ROW(GetXattr, get_xattr, ROW_LOOKS)
{
	q->name = BYTES("user.a");
	q->size = 100;
}
ROW(SetXattr, set_xattr, ROW_CHANGES)
{
	q->name = BYTES("user.a");
}
ROW(ListXattr, list_xattr, ROW_LOOKS)
{
	q->size = 1000;
}
ROW(RemoveXattr, remove_xattr, ROW_CHANGES)
{
	q->name = BYTES("user.a");
}
ROW(StatFs, stat_fs, ROW_LOOKS)
{
}
ROW(Connect, connect, ROW_REACHES)
{
}
ROW(Read, read, ROW_HANDLE)
{
	q->count = 16;
}
ROW(Write, write, ROW_HANDLE)
{
}
ROW(Sync, sync, ROW_HANDLE)
{
}
ROW(Allocate, allocate, ROW_HANDLE)
{
	q->length = 1;
}
ROW(Seek, seek, ROW_HANDLE)
{
}
ROW(Copy, copy, ROW_HANDLE)
{
	q->length = 1;
}
ROW(Close, close, ROW_HANDLE)
{
}

static const enum row_kind row_kinds[RPC_COUNT] _unused_ = {
#define RPC(Name, snake, type, reply, flags) [RPC_INDEX_##Name] = (enum row_kind)ROW_KIND_##Name,
#include "proto/rpc.def"
#undef RPC
};

/* A request of any row. */
union row_request {
	ProtobufCMessage message;
#define RPC(Name, snake, type, reply, flags) Gofer__##Name##Request snake;
#include "proto/rpc.def"
#undef RPC
};

/* The row's most ordinary request on these paths (as many as it takes). */
static inline void row_make(union row_request *q, const struct rpc_info *rpc, Gofer__Path *first,
			    Gofer__Path *second)
{
	protobuf_c_message_init(rpc->request, &q->message);
	switch (rpc->index) {
#define RPC(Name, snake, type, reply, flags) \
	case RPC_INDEX_##Name:               \
		row_fill_##snake(&q->snake); \
		break;
#include "proto/rpc.def"
#undef RPC
	case RPC_COUNT:
		break;
	}
	for (unsigned which = 0; which < 2; which++)
		if (rpc->flags & (which ? RPC_PATH2 : RPC_PATH)) {
			const ProtobufCFieldDescriptor *f =
				protobuf_c_message_descriptor_get_field(rpc->request, which + 1);

			*(Gofer__Path **)((char *)&q->message + f->offset) = which ? second : first;
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

/* Sends a request of the row that row_make() made (and perhaps somebody spoiled). */
static inline int row_send(int sock, const struct rpc_info *rpc, const union row_request *q)
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
	return outcome(e, &r);
}

/* The row in its most ordinary form on the paths. What it opens is closed again. */
static inline int row_call(int sock, const struct rpc_info *rpc, Gofer__Path *first,
			   Gofer__Path *second)
{
	union row_request q;

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
		union row_request q;
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
