/*
 * matrix.h - what stepping through requests showed: RPC x gap x move.
 */
#pragma once

#include <stdio.h>

#include <jansson.h>

#include "client/stress/victim.h"

enum { GAPS_MAX = 160, MOVES_MAX = 64, NAMES_MAX = 6, EVIDENCE_SHOWN = 20 };

struct cell {
	uint32_t cases, escapes;
};

struct row {
	struct cell cells[MOVES_MAX];
	char names[NAMES_MAX][24]; /* of the system calls that begin after this gap */
};

struct matrix {
	struct row rows[RPC_COUNT][GAPS_MAX];
	unsigned gaps[RPC_COUNT];
	uint64_t cases, escapes;
	uint64_t storms, retried; /* requests in a storm of renames, and those that began again */
	uint64_t begin_ns, first_ns; /* since begin_ns: when something was found first; 0 = never */
	json_t *evidence;
};

struct matrix *matrix_new(void);
struct matrix *matrix_free(struct matrix *m);
void matrix_case(struct matrix *m, enum rpc_index rpc, unsigned gap, const struct move *move,
		 long call);
void matrix_escape(struct matrix *m, const struct op *op, unsigned gap, const struct move *move,
		   long call, const char *words);
/* A request made more system calls than in quiet. */
void matrix_retried(struct matrix *m, const struct op *op, const char *words);

/* How many things are not as they should be. */
unsigned matrix_verdict(const struct matrix *m);
void matrix_print(const struct matrix *m, FILE *out);
json_t *matrix_json(const struct matrix *m);
