/*
 * arena.h - memory for one message: a bump allocator with a hard budget, handed to protobuf-c.
 *
 * protobuf-c allocates per field and turns 64 KiB of empty submessages into 6.5 MB. An arena bounds
 * that before it happens: it is one block, charged to the session once, and an allocation that does
 * not fit fails the decoding (EMSGSIZE to the peer). Nothing is freed one by one; arena_reset()
 * forgets everything at once. Not thread-safe: one arena per thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "common/util.h"

struct arena {
	uint8_t *block;
	size_t size;
	size_t used;
	bool exhausted; /* an allocation was refused since the last reset */
	ProtobufCAllocator allocator;
};

int arena_init(struct arena *a, size_t size);
/* In a block of the caller's, 16-byte aligned, that lives longer: nothing to be deinitialised. */
void arena_init_at(struct arena *a, void *block, size_t size);
void arena_deinit(struct arena *a);
void arena_reset(struct arena *a);

enum { ARENA_ALIGN = 16 };

/* 16-byte aligned, uninitialised; NULL over budget. */
void *arena_alloc(struct arena *a, size_t size);
/* The same, for decoding: inline, and not among the allocations that tests let fail. */
static inline void *arena_take(struct arena *a, size_t size)
{
	size_t at = (a->used + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);

	if (at > a->size || size > a->size - at) {
		a->exhausted = true;
		return NULL;
	}
	a->used = at + size;
	return a->block + at;
}
/* Zeroed array; NULL over budget or where the product wraps. */
void *arena_calloc(struct arena *a, size_t count, size_t size);
void *arena_memdup(struct arena *a, const void *data, size_t size);

/*
 * Decodes `size` bytes as `descriptor` into the arena. 0, -EMSGSIZE over budget, -EBADMSG where the
 * bytes are not such a message. *ret_message lives until the arena is reset.
 */
int arena_unpack(struct arena *a, const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
		 size_t size, ProtobufCMessage **ret_message);
