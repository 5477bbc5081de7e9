/*
 * tally.h - what a race counts, in memory that all its processes share, and how it is shown.
 */
#pragma once

#include <stdatomic.h>
#include <stdio.h>

#include <jansson.h>

#include "client/stress/subject.h"

enum {
	ERRNO_LIMIT = 256, /* the largest that Linux has is 133 */
	EVIDENCE_MAX = 20,
	COLUMNS = 512, /* of the picture: even */
	SUBJECT_MAX = 3,
	DEADLINE_MS = 50, /* no request may take longer because of what others do */
	BUSY_MS = 25,     /* computing for as long is retrying: a request takes microseconds */
};

enum attacker { ATTACKER_OUTSIDE, ATTACKER_SECOND, ATTACKER_PIPELINED, ATTACKER_COUNT };
extern const char *const attacker_names[ATTACKER_COUNT];

struct rpc_tally {
	_Atomic uint64_t ops, ok, stops, errors, escapes, longest_ns;
};

struct subject_tally {
	struct rpc_tally rpcs[RPC_COUNT];
	_Atomic uint64_t errnos[ERRNO_LIMIT];
	_Atomic uint64_t ops[ATTACKER_COUNT], escapes[ATTACKER_COUNT], moves[ATTACKER_COUNT];
	_Atomic uint64_t late;       /* longer than the deadline */
	_Atomic uint64_t starved;    /* of them, those in which the server computed for long */
	_Atomic uint64_t again;      /* answered EAGAIN: a retry was left to the client */
	_Atomic uint64_t busiest_ns; /* the most that the server computed for one request */
	_Atomic uint64_t audits;     /* changes outside */
	_Atomic uint64_t samples,
		held; /* looks at its descriptors, and those outside that it held */
	_Atomic uint64_t recent_longest_ns; /* since the last sample */
	uint64_t active_ns;
};

struct evidence {
	char subject[24], what[420], words[120];
};

/* One column of the picture, for one subject: what happened in column_ns. */
struct column {
	uint64_t ops, active_ns, escapes, longest_ns, late;
};

struct tally {
	struct subject_tally subjects[SUBJECT_MAX];
	uint64_t begin_ns;
	_Atomic uint64_t
		first_ns; /* since begin_ns: when the first escaped that should not; 0 = never */
	_Atomic uint32_t n_evidence; /* found, of which the first EVIDENCE_MAX are kept */
	struct evidence evidence[EVIDENCE_MAX];
	_Atomic uint32_t failed; /* a process of the run could not go on; its words: */
	char failure[300];
	struct column columns[SUBJECT_MAX][COLUMNS];
	uint64_t column_ns; /* doubles whenever the run has grown longer than the columns hold */
};

/* How the run as a whole went: for reports. */
struct run {
	struct subject *subjects;
	size_t n_subjects;
	size_t twin; /* its index */
	struct tally *tally;
	uint64_t seed, ns;
	bool interrupted, pinned;
	const char *where; /* "private tmpfs" */
};

uint64_t tally_ops(const struct subject_tally *t);
uint64_t tally_escapes(const struct subject_tally *t);
void tally_longest(_Atomic uint64_t *longest, uint64_t ns);
/* The column for what happened `elapsed` nanoseconds after the beginning. */
struct column *tally_column(struct tally *t, size_t subject, uint64_t elapsed);
/* Something was found that a server should not do. */
void tally_found(struct tally *t);
void tally_evidence(struct tally *t, const char *subject, const char *what, const char *words);

enum { TWIN_ESCAPES_MIN = 100 };
/* Whether the run shows what it should: 0, or how many things it does not. */
unsigned run_verdict(const struct run *run, FILE *out);
void run_print(const struct run *run, FILE *out);
json_t *run_json(const struct run *run);
void run_draw(const struct run *run, FILE *out);
