/*
 * stress.h - gofer stress: what its two tools share.
 */
#pragma once

#include <signal.h>
#include <stdio.h>

#include "client/stress/subject.h"

struct run;

struct stress {
	/* as asked for */
	uint64_t time_ns, ops, seed, sample;
	bool json, no_openat2, progress, shipped;
	const char *only; /* step: this RPC alone */
	FILE *svg;

	/* where it happens */
	char dir[80];
	const char *where;
	bool private_mount, made_dir;
	struct program gofer, twin;

	volatile sig_atomic_t interrupted;
	uint64_t run_ns;
};

/* Says on stderr what was tried and why it failed; returns the error. */
int stress_fail(struct stress *st, int error, const char *format, ...) _printf_(3, 4);

/* The tools: 0 where all is as it should be, 1 where not, -errno (said) where they could not run. */
int stress_rename(struct stress *st);
int stress_step(struct stress *st);

/* Prints what a race showed, by `st`'s options; 0 or 1. */
int stress_report(struct stress *st, const struct run *run);

/* xorshift64*: small, and the same everywhere for the same seed. */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static inline uint32_t random_below(uint64_t *state, size_t n)
{
	return n ? (uint32_t)((random_next(state) >> 33) % n) : 0;
}
