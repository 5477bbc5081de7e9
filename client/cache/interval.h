/*
 * interval.h - a set of a file's bytes, as ordered ranges [begin, end) that neither meet nor touch.
 *
 * What it costs depends on how many ranges there are, not on how large the file is: one node of a
 * treap for each, found in logarithmic time.
 */
#pragma once

#include "common/util.h"

struct interval {
	uint64_t begin, end;
};

struct interval_node;

struct interval_set {
	struct interval_node *root;
	struct interval_node *spare; /* for what cannot be refused memory half way */
	uint64_t bytes;              /* in all ranges */
	size_t n;
	uint32_t random;
};

void interval_deinit(struct interval_set *s);
/* After this, one call of interval_add() or interval_remove() needs no memory. -ENOMEM. */
int interval_reserve(struct interval_set *s);
void interval_add(struct interval_set *s, uint64_t begin, uint64_t end);
void interval_remove(struct interval_set *s, uint64_t begin, uint64_t end);
/* The first range that ends after `at`. */
bool interval_next(const struct interval_set *s, uint64_t at, struct interval *ret);
/* Whether all of [begin, end) is in the set; any of it. */
bool interval_covers(const struct interval_set *s, uint64_t begin, uint64_t end);
bool interval_meets(const struct interval_set *s, uint64_t begin, uint64_t end);
