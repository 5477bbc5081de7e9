/*
 * good_request.h - one request of every row of the table that the validators let through. There is
 * one fill_<rpc>() per row: a row without one does not build. The tests over all rows spoil one
 * thing of such a request at a time; the fuzzers begin with them.
 */
#pragma once

#include <string.h>
#include <sys/stat.h>

#include "proto/rpc.h"

static uint64_t one_handle[] = { 1 };
#define FILL(Name, snake) static inline void fill_##snake(Gofer__##Name##Request *q _unused_)

FILL(Hello, hello)
{
	q->version = 1;
}
FILL(SetIdentity, set_identity)
{
	q->id = 1;
}
FILL(Cancel, cancel)
{
}
FILL(Ping, ping)
{
}
FILL(Stats, stats)
{
}
FILL(Channel, channel)
{
	q->layout = 1;
}
FILL(Leave, leave)
{
}
FILL(Stat, stat)
{
}
FILL(Access, access)
{
}
FILL(Open, open)
{
	q->flags = GOFER__OPEN_FLAG__OPEN_READ;
}
FILL(ReadFile, read_file)
{
}
FILL(WriteFile, write_file)
{
}
FILL(ReadDir, read_dir)
{
}
FILL(ReadLink, read_link)
{
}
FILL(Mkdir, mkdir)
{
}
FILL(Mknod, mknod)
{
	q->mode = S_IFREG | 0644;
}
FILL(Symlink, symlink)
{
	q->target = (ProtobufCBinaryData){ .data = (uint8_t *)"t", .len = 1 };
}
FILL(Link, link)
{
}
FILL(Unlink, unlink)
{
}
FILL(Rename, rename)
{
}
FILL(SetAttr, set_attr)
{
	q->mask = GOFER__SET_ATTR_MASK__SET_MODE;
}
FILL(GetXattr, get_xattr)
{
	q->name = (ProtobufCBinaryData){ .data = (uint8_t *)"user.x", .len = 6 };
}
FILL(SetXattr, set_xattr)
{
	q->name = (ProtobufCBinaryData){ .data = (uint8_t *)"user.x", .len = 6 };
}
FILL(ListXattr, list_xattr)
{
}
FILL(RemoveXattr, remove_xattr)
{
	q->name = (ProtobufCBinaryData){ .data = (uint8_t *)"user.x", .len = 6 };
}
FILL(StatFs, stat_fs)
{
}
FILL(Connect, connect)
{
}
FILL(Watch, watch)
{
	static uint32_t drop[] = { 1 };

	q->drop = drop;
	q->n_drop = 1;
}
FILL(Read, read)
{
}
FILL(Write, write)
{
}
FILL(Sync, sync)
{
	q->n_handles = 1, q->handles = one_handle;
}
FILL(Allocate, allocate)
{
	q->length = 1;
}
FILL(Seek, seek)
{
}
FILL(Copy, copy)
{
}
FILL(Close, close)
{
	q->n_handles = 1, q->handles = one_handle;
}

/* A request of any row that passes, with its paths. */
struct good_request {
	union {
		ProtobufCMessage message;
#define RPC(Name, snake, type, reply, flags) Gofer__##Name##Request snake;
#include "proto/rpc.def"
#undef RPC
	};
	Gofer__Path paths[2];
};

static inline void good_request_make(struct good_request *r, const struct rpc_info *rpc)
{
	for (unsigned i = 0; i < 2; i++) {
		gofer__path__init(&r->paths[i]);
		r->paths[i].path = (ProtobufCBinaryData){ .data = (uint8_t *)"a/b", .len = 3 };
	}
	protobuf_c_message_init(rpc->request, &r->message);
	switch (rpc->index) {
#define RPC(Name, snake, type, reply, flags) \
	case RPC_INDEX_##Name:               \
		fill_##snake(&r->snake);     \
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

			*(Gofer__Path **)((char *)&r->message + f->offset) = &r->paths[which];
		}
}
