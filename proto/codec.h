/*
 * codec.h - protobuf messages to bytes and back, as protobuf-c does it, but in one pass.
 *
 * With requests through shared memory, protobuf-c was half of what a small request cost: it sizes a
 * message before it packs it, each submessage once more for each level, and scans a body before it
 * decodes it. What is usual is done here: numbers, bytes, messages and repeated messages, fields in ascending
 * order. Whatever else a message holds is given to protobuf-c, so that the two never differ in what they
 * take or make; tests and fuzzers compare them.
 */
#pragma once

#include "proto/arena.h"

/* The bytes of a message, as protobuf_c_message_get_packed_size(). */
size_t codec_size(const ProtobufCMessage *message);
/* Packs into `out`. The length, or -EMSGSIZE where that is more than `room`: `out` is then filled with anything. */
ssize_t codec_pack(const ProtobufCMessage *message, uint8_t *out, size_t room);
/* The same, as one occurrence of field `id` of another message. */
ssize_t codec_pack_field(uint32_t id, const ProtobufCMessage *message, uint8_t *out, size_t room);
/*
 * Decodes into the arena. 0; -EMSGSIZE over budget; 1 where it is something that protobuf-c must judge
 * (the arena is then as it was).
 */
int codec_unpack(struct arena *a, const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
		 size_t size, ProtobufCMessage **ret_message);
