/*
 * rpc.h - the table of RPCs as data. rpc.def is its source; this turns the rows into an enum and an
 * array.
 */
#pragma once

#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "proto/frame.h"
#include "gofer.pb-c.h"

enum rpc_flags {
	RPC_WRITES = 1 << 0,
	RPC_PATH = 1 << 1,
	RPC_PATH2 = 1 << 2,
	RPC_FOLLOW = 1 << 3,
	RPC_DONATES = 1 << 4,
	RPC_TAKES_FD = 1 << 5,
	RPC_BLOCKS = 1 << 6,
	RPC_IDEMPOTENT = 1 << 7,
	RPC_DATA_IN = 1 << 8,
	RPC_CONTROL = 1 << 9,
	RPC_UNGREETED = 1 << 10,
};

/* A dense index of the rows (RPC_INDEX_Stat ...), for counters and tables of handlers. */
enum rpc_index {
#define RPC(Name, snake, type, reply, flags) RPC_INDEX_##Name,
#include "proto/rpc.def"
#undef RPC
	RPC_COUNT,
};

/* The frame types (RPC_TYPE_Stat ...). */
enum rpc_type {
#define RPC(Name, snake, type, reply, flags) RPC_TYPE_##Name = (type),
#include "proto/rpc.def"
#undef RPC
};

/* Names of features, for Hello. */
#define FEATURE_RESUME "resume"

enum { RPC_TOKEN_SIZE = 16 }; /* of Hello, by which a session can be resumed */

enum { RPC_TYPE_LIMIT = 128 }; /* types are below this */

struct rpc_info {
	const char *name;
	uint16_t type;
	enum rpc_index index;
	uint32_t flags;
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *reply;
	/*
	 * Checks every number and byte string that the peer sent, without looking at any object: 0
	 * or -errno. Knows the frame's payload length and nothing else. What it lets through, the
	 * handler may rely on.
	 */
	int (*validate)(const ProtobufCMessage *request, const struct frame_header *header);
};

extern const struct rpc_info rpc_table[RPC_COUNT];

/* NULL for an unknown type. */
const struct rpc_info *rpc_find(uint16_t type);
const struct rpc_info *rpc_find_by_name(const char *name);

/* The request's Path fields by the table's flags: NULL where it has none. which: 0 or 1. */
const Gofer__Path *rpc_path(const struct rpc_info *rpc, const ProtobufCMessage *request,
			    unsigned which);
