/*
 * calls.h - each RPC by the function of the library that sends it, and the system calls that it
 * stands for. A few have no native counterpart (Ping), or no function of the library (Watch): those
 * are raw calls. A test compares these tables with the protocol's: a new RPC needs a row in one.
 */
#pragma once

#include "client/bench/bench.h"

/*
 * Only `gofer` and `native` are timed; prepare and undo (through the server) may be NULL, as may native. `i`
 * counts the calls of a batch.
 */
typedef int (*bench_function)(struct bench *b, struct spot *s, unsigned i);
struct bench_call {
	const char *rpc;
	const char *variant; /* of several rows of one RPC, or NULL */
	enum toy toy;
	bench_function prepare, gofer, native, undo;
};
struct bench_calls {
	bool path; /* one row per depth */
	const struct bench_call *at;
	size_t n;
};
extern const struct bench_calls calls_session, calls_path, calls_handle;

/* What prepare made for the calls of a batch: handles of the server, descriptors here. */
extern uint64_t call_handles[BENCH_BATCH];
extern int call_descriptors[BENCH_BATCH];

/* Opens what the calls use. */
int calls_path_begin(struct bench *b);
void calls_path_end(struct bench *b);
int calls_handle_begin(struct bench *b);
void calls_handle_end(struct bench *b);

/* ---- results ---- */
static inline int native_result(int r)
{
	return r < 0 ? -errno : 0;
}

static inline int whole(ssize_t n, size_t wanted)
{
	return n < 0 ? (int)n : (size_t)n == wanted ? 0 : -EIO;
}

static inline int native_whole(ssize_t n, size_t wanted)
{
	return n < 0 ? -errno : whole(n, wanted);
}

/* ---- without the library's help (calls_handle.c) ---- */
int raw_call(struct bench *b, uint16_t type, const ProtobufCMessage *message,
	     struct gofer_reply *ret_reply);
/* A Path message for a path in the tree; PATH_MAX bytes. */
void raw_path(struct bench *b, const char *path, Gofer__Path *ret, char *buf);
