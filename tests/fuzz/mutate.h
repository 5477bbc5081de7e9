/*
 * mutate.h - changing inputs that are lists of steps (input.h) without breaking what they mean.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tests/fuzz/message.h"
#include "proto/frame.h"
#include "proto/rpc.h"

/* What the frames of an input are. */
struct steps_kind {
	/* The message of a frame; NULL where its type means nothing. */
	const ProtobufCMessageDescriptor *(*descriptor)(const struct frame_header *h);
	/* A frame of any row, with `changes` mutations. Returns its size; 0 where it does not fit. */
	size_t (*fresh)(struct fuzz_random *r, const struct rpc_info *rpc, unsigned changes,
			uint8_t *buf, size_t size);
};

/* A good request (good_request.h) that is aimed at the tree (tree.h). */
extern const struct steps_kind steps_of_requests;
/* A reply that passes for one. */
extern const struct steps_kind steps_of_replies;

/* As LLVMFuzzerCustomMutator and LLVMFuzzerCustomCrossOver. */
size_t steps_mutate(uint8_t *data, size_t size, size_t max, unsigned seed,
		    const struct steps_kind *kind);
size_t steps_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
		   size_t max, unsigned seed);
