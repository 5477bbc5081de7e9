/*
 * message.h - changing one thing in any message of the protocol, by its descriptor. What a field
 * means is known by its name, so that numbers stay handles, filesystems and tags, and bytes stay
 * paths, however often they are changed.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "common/util.h"

/* xorshift64*, seeded by whoever runs us: a mutation is a function of its input and seed. */
struct fuzz_random {
	uint64_t state;
	const uint32_t *tags; /* what a tag may be; may be none */
	size_t n_tags;
};

void fuzz_random_init(struct fuzz_random *r, uint64_t seed);
uint64_t fuzz_random_next(struct fuzz_random *r);
uint32_t fuzz_below(struct fuzz_random *r, uint32_t n); /* 0 where n is 0 */
static inline bool fuzz_one_in(struct fuzz_random *r, uint32_t n)
{
	return fuzz_below(r, n) == 0;
}
/* Zeros, limits, powers of two and what lies beside them; or anything. */
uint64_t fuzz_number(struct fuzz_random *r);
/* Paths that lead out of the tree, or would if somebody exchanged what is on the way. */
enum { FUZZ_ESCAPES = 12 };
extern const char *const fuzz_escapes[FUZZ_ESCAPES];
/* A path in the tree of tree.h, or one that leaves it. Returns its length, at most `size`. */
size_t fuzz_path(struct fuzz_random *r, uint8_t *buf, size_t size);

/* An empty one, by malloc; aborts without memory. Freed as what was unpacked is. */
ProtobufCMessage *message_new(const ProtobufCMessageDescriptor *d);
/* Changes one field of `m`, or of a message in it. `m` was unpacked with malloc. */
void message_mutate(struct fuzz_random *r, ProtobufCMessage *m);

/*
 * Numbers up to MESSAGE_HANDLES in a field that means a handle are places in the list of handles
 * that the session has given out: replaces them. Greater ones stay.
 */
enum { MESSAGE_HANDLES = 16 };
void message_place_handles(ProtobufCMessage *m, const uint64_t *handles, size_t n);

/*
 * Aborts, with words, where a request has a number or bytes whose name message.c does not know: a
 * new field must be said to mean something.
 */
void message_check_table(void);
