/*
 * validate.h - one function per RPC that checks every number and byte string a peer sent
 * (rpc_info.validate).
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "proto/frame.h"

#define RPC(Name, snake, type, reply, flags) \
	int validate_##snake(const ProtobufCMessage *request, const struct frame_header *header);
#include "proto/rpc.def"
#undef RPC
