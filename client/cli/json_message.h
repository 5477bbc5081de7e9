/*
 * json_message.h - protobuf messages as JSON and back, by their descriptors: every message of the
 * protocol, also those of later versions, without a line of code for any.
 *
 * Numbers are JSON integers (64-bit unsigned ones above INT64_MAX are decimal strings, and may be
 * given so), enums are names or numbers, bytes are strings where they are UTF-8 and {"base64":
 * "..."} where not.
 */
#pragma once

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

/* A new reference. Fields with their default value are left out, except where a message has nothing
 * else to show. */
json_t *json_from_message(const ProtobufCMessage *message);
/*
 * Fills a fresh message; all memory comes from malloc and hangs on it:
 * protobuf_c_message_free_unpacked(message, NULL) frees it. -EINVAL with words in error (size
 * bytes) where the JSON does not fit the message.
 */
int json_to_message(const json_t *json, const ProtobufCMessageDescriptor *descriptor,
		    ProtobufCMessage **ret_message, char *error, size_t size);
