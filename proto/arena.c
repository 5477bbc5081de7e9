/*
 * arena.c - see arena.h. The block is allocated once and never grows: a budget that can grow is not
 * a budget.
 */
#include "proto/arena.h"

#include <string.h>

#include "proto/codec.h"

static void *arena_pb_alloc(void *data, size_t size)
{
	return arena_alloc(data, size);
}

static void arena_pb_free(void *data _unused_, void *p _unused_)
{
}

int arena_init(struct arena *a, size_t size)
{
	uint8_t *block =
		aligned_alloc(ARENA_ALIGN, (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1));

	if (!block)
		return -ENOMEM;
	arena_init_at(a, block, size);
	return 0;
}

void arena_init_at(struct arena *a, void *block, size_t size)
{
	*a = (struct arena){
		.block = block,
		.size = size,
		.allocator = { .alloc = arena_pb_alloc,
			       .free = arena_pb_free,
			       .allocator_data = a },
	};
}

void arena_deinit(struct arena *a)
{
	free(a->block);
	*a = (struct arena){ 0 };
}

void arena_reset(struct arena *a)
{
	a->used = 0;
	a->exhausted = false;
}

void *arena_alloc(struct arena *a, size_t size)
{
	return arena_take(a, size);
}

void *arena_calloc(struct arena *a, size_t count, size_t size)
{
	size_t total;
	void *p;

	if (__builtin_mul_overflow(count, size, &total)) {
		a->exhausted = true;
		return NULL;
	}
	p = arena_alloc(a, total);
	if (p)
		memset(p, 0, total);
	return p;
}

void *arena_memdup(struct arena *a, const void *data, size_t size)
{
	void *p = arena_alloc(a, size);

	if (p && size)
		memcpy(p, data, size);
	return p;
}

int arena_unpack(struct arena *a, const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
		 size_t size, ProtobufCMessage **ret_message)
{
	ProtobufCMessage *m;
	int r = codec_unpack(a, descriptor, data, size, ret_message);

	if (r <= 0)
		return r;
	m = protobuf_c_message_unpack(descriptor, &a->allocator, size, data);
	if (!m)
		return a->exhausted ? -EMSGSIZE : -EBADMSG;
	*ret_message = m;
	return 0;
}
