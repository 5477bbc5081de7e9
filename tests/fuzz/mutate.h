/*
 * mutate.h - changing inputs that are lists of steps (input.h) without breaking what they mean.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tests/fuzz/message.h"
#include "proto/rpc.h"

/* As LLVMFuzzerCustomMutator and LLVMFuzzerCustomCrossOver. */
size_t steps_mutate(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t steps_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
		   size_t max, unsigned seed);

/*
 * A frame of any row: a good request, aimed at the tree, with `changes` mutations. Returns its size; 0 where it does not fit.
 */
size_t request_fresh(struct fuzz_random *r, const struct rpc_info *rpc, unsigned changes,
		     uint8_t *buf, size_t size);
