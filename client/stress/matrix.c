/*
 * matrix.c - counting cases by RPC, gap and move, and showing them.
 */
#include "client/stress/matrix.h"

#include <string.h>

#include "client/cli/cli.h"
#include "client/stress/trace.h"
#include "common/packet.h"

struct matrix *matrix_new(void)
{
	struct matrix *m = calloc(1, sizeof(*m));

	if (m) {
		m->evidence = json_array();
		m->begin_ns = now_ns();
	}
	return m;
}

struct matrix *matrix_free(struct matrix *m)
{
	if (m)
		json_decref(m->evidence);
	free(m);
	return NULL;
}

static void add_evidence(struct matrix *m, const struct op *op, unsigned gap, const char *before,
			 const char *move, const char *words)
{
	char what[460];

	if (!m->first_ns)
		m->first_ns = now_ns() - m->begin_ns;
	if (json_array_size(m->evidence) >= EVIDENCE_SHOWN)
		return;
	op_describe(op, what, sizeof(what));
	(void)json_array_append_new(m->evidence,
				    json_pack("{s:o, s:i, s:s, s:s, s:s}", "request",
					      cli_json_bytes(what, strlen(what)), "gap", gap,
					      "before", before, "move", move, "found", words));
}

void matrix_escape(struct matrix *m, const struct op *op, unsigned gap, const struct move *move,
		   long call, const char *words)
{
	char name[24];

	m->rows[op->rpc->index][gap].cells[move - moves].escapes++;
	m->escapes++;
	add_evidence(m, op, gap, system_call_name(call, name), move->name, words);
}

void matrix_retried(struct matrix *m, const struct op *op, const char *words)
{
	m->retried++;
	add_evidence(m, op, 0, "all", "renames elsewhere", words);
}

void matrix_case(struct matrix *m, enum rpc_index rpc, unsigned gap, const struct move *move,
		 long call)
{
	struct row *row = &m->rows[rpc][gap];
	char name[24];

	m->cases++;
	row->cells[move - moves].cases++;
	m->gaps[rpc] = MAX(m->gaps[rpc], gap + 1);
	(void)system_call_name(call, name);
	for (size_t i = 0; i < NAMES_MAX; i++) {
		if (!row->names[i][0])
			memcpy(row->names[i], name, sizeof(name));
		if (!strcmp(row->names[i], name))
			break;
	}
}

unsigned matrix_verdict(const struct matrix *m)
{
	return (m->escapes != 0) + (m->cases == 0) + (m->retried != 0);
}

static char mark(const struct cell *c)
{
	return !c->cases && !c->escapes ? ' ' : c->escapes ? 'E' : '.';
}

void matrix_print(const struct matrix *m, FILE *out)
{
	size_t n, at;
	json_t *e;

	fprintf(out, "moves, from left to right:\n");
	for (size_t k = 0; k < n_moves; k++)
		fprintf(out, "  %2zu %-32s%s", k + 1, moves[k].name, k % 3 == 2 ? "\n" : "");
	fprintf(out, "\n");
	for (size_t rpc = 0; rpc < RPC_COUNT; rpc++) {
		if (!m->gaps[rpc])
			continue;
		fprintf(out, "\n%s: before system call\n", rpc_table[rpc].name);
		for (unsigned gap = 0; gap < m->gaps[rpc]; gap++) {
			const struct row *row = &m->rows[rpc][gap];

			fprintf(out, "%4u |", gap + 1);
			for (size_t k = 0; k < n_moves; k++)
				fputc(mark(&row->cells[k]), out);
			fprintf(out, "| ");
			for (size_t i = 0; i < NAMES_MAX && row->names[i][0]; i++)
				fprintf(out, "%s%s", i ? ", " : "", row->names[i]);
			fputc('\n', out);
		}
	}
	json_array_foreach(m->evidence, n, e)
	{
		const char *request, *move, *found, *before;
		int gap;

		if (json_unpack(e, "{s:s, s:i, s:s, s:s, s:s}", "request", &request, "gap", &gap,
				"before", &before, "move", &move, "found", &found) == 0)
			fprintf(out, "%s  %s; before its system call %d (%s): %s; %s\n",
				n ? "" : "\nevidence:\n", request, gap + 1, before, move, found);
	}
	at = 0;
	for (size_t rpc = 0; rpc < RPC_COUNT; rpc++)
		at += m->gaps[rpc];
	fprintf(out, "\n%s  %llu escapes in %llu cases: %zu gaps, %zu moves both ways\n",
		m->escapes || !m->cases ? "FAIL" : "  ok", (unsigned long long)m->escapes,
		(unsigned long long)m->cases, at, n_moves);
	if (m->first_ns)
		fprintf(out, "      the first was found after %.2f s\n", (double)m->first_ns / 1e9);
	if (m->storms)
		fprintf(out, "%s  %llu of %llu requests began again because of renames elsewhere\n",
			m->retried ? "FAIL" : "  ok", (unsigned long long)m->retried,
			(unsigned long long)m->storms);
}

json_t *matrix_json(const struct matrix *m)
{
	json_t *list = json_array();

	for (size_t rpc = 0; rpc < RPC_COUNT; rpc++)
		for (unsigned gap = 0; gap < m->gaps[rpc]; gap++) {
			const struct row *row = &m->rows[rpc][gap];
			json_t *calls = json_array(), *verdicts = json_object();

			for (size_t i = 0; i < NAMES_MAX && row->names[i][0]; i++)
				(void)json_array_append_new(calls, json_string(row->names[i]));
			for (size_t k = 0; k < n_moves; k++)
				if (row->cells[k].cases)
					(void)json_object_set_new(verdicts, moves[k].name,
								  json_pack("{s:i, s:i}", "cases",
									    row->cells[k].cases,
									    "escapes",
									    row->cells[k].escapes));
			(void)json_array_append_new(
				list, json_pack("{s:s, s:i, s:o, s:o}", "rpc", rpc_table[rpc].name,
						"gap", gap, "before", calls, "moves", verdicts));
		}
	return json_pack("{s:b, s:I, s:I, s:f, s:I, s:I, s:o, s:O}", "ok", matrix_verdict(m) == 0,
			 "cases", (json_int_t)m->cases, "escapes", (json_int_t)m->escapes,
			 "first_found_seconds", (double)m->first_ns / 1e9, "storms",
			 (json_int_t)m->storms, "retried", (json_int_t)m->retried, "matrix", list,
			 "evidence", m->evidence);
}
