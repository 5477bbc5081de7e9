/*
 * rpc.c - the rows of rpc.def as an array, and finding one by its wire type or its name.
 */
#include "proto/rpc.h"

#include <strings.h>

#include "proto/validate.h"

const struct rpc_info rpc_table[RPC_COUNT] = {
#define RPC(Name, snake, type_, reply_, flags_)                                  \
	[RPC_INDEX_##Name] = { .name = #Name,                                    \
			       .type = (type_),                                  \
			       .index = RPC_INDEX_##Name,                        \
			       .flags = (flags_),                                \
			       .request = &gofer__##snake##_request__descriptor, \
			       .reply = &gofer__##reply_##__descriptor,          \
			       .validate = validate_##snake },
#include "proto/rpc.def"
#undef RPC
};

#define RPC(Name, snake, type, reply, flags) \
	_Static_assert((type) > 0 && (type) < RPC_TYPE_LIMIT, #Name ": type out of range");
#include "proto/rpc.def"
#undef RPC

const struct rpc_info *rpc_find(uint16_t type)
{
	/* A switch, so that two rows of one type refuse to build. */
	switch (type) {
#define RPC(Name, snake, type, reply, flags) \
	case (type):                         \
		return &rpc_table[RPC_INDEX_##Name];
#include "proto/rpc.def"
#undef RPC
	default:
		return NULL;
	}
}

const struct rpc_info *rpc_find_by_name(const char *name)
{
	for (size_t i = 0; i < RPC_COUNT; i++)
		if (strcasecmp(rpc_table[i].name, name) == 0)
			return &rpc_table[i];
	return NULL;
}

const Gofer__Path *rpc_path(const struct rpc_info *rpc, const ProtobufCMessage *request,
			    unsigned which)
{
	const ProtobufCFieldDescriptor *field;

	if (!(rpc->flags & (which ? RPC_PATH2 : RPC_PATH)))
		return NULL;
	field = protobuf_c_message_descriptor_get_field(rpc->request, which + 1);
	return *(Gofer__Path *const *)((const char *)request + field->offset);
}
