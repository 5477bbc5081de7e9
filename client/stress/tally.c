/*
 * tally.c - what a race counted, as text and as JSON, and whether it showed what it should.
 */
#include "client/stress/tally.h"

#include <string.h>

#include "client/cli/cli.h"
#include "common/packet.h"

const char *const attacker_names[ATTACKER_COUNT] = {
	[ATTACKER_OUTSIDE] = "outside process",
	[ATTACKER_SECOND] = "second client",
	[ATTACKER_PIPELINED] = "same client, pipelined",
};

uint64_t tally_ops(const struct subject_tally *t)
{
	return t->ops[0] + t->ops[1] + t->ops[2];
}

/* However it was found out. */
uint64_t tally_escapes(const struct subject_tally *t)
{
	return t->escapes[0] + t->escapes[1] + t->escapes[2] + t->audits + t->held;
}

void tally_longest(_Atomic uint64_t *longest, uint64_t ns)
{
	uint64_t seen = *longest;

	while (ns > seen && !atomic_compare_exchange_weak(longest, &seen, ns))
		;
}

void tally_found(struct tally *t)
{
	uint64_t none = 0;

	atomic_compare_exchange_strong(&t->first_ns, &none, now_ns() - t->begin_ns);
}

void tally_evidence(struct tally *t, const char *subject, const char *what, const char *words)
{
	uint32_t n = t->n_evidence;
	struct evidence *e;

	/* Most of the room is for what matters most. */
	if (!strcmp(subject, "twin") && n >= EVIDENCE_MAX / 4)
		return;
	if (strcmp(subject, "twin") != 0)
		tally_found(t);
	n = t->n_evidence++;
	if (n >= EVIDENCE_MAX)
		return;
	e = &t->evidence[n];
	snprintf(e->subject, sizeof(e->subject), "%s", subject);
	snprintf(e->what, sizeof(e->what), "%s", what);
	snprintf(e->words, sizeof(e->words), "%s", words);
}

static double rate(uint64_t ops, uint64_t ns)
{
	return ns ? (double)ops * 1e9 / (double)ns : 0;
}

static void product(const struct run *run, uint64_t *ret_ops, uint64_t *ret_escapes)
{
	*ret_ops = *ret_escapes = 0;
	for (size_t i = 0; i < run->n_subjects; i++) {
		if (i == run->twin)
			continue;
		*ret_ops += tally_ops(&run->tally->subjects[i]);
		*ret_escapes += tally_escapes(&run->tally->subjects[i]);
	}
}

static void join_columns(struct tally *t)
{
	for (size_t s = 0; s < SUBJECT_MAX; s++) {
		struct column *c = t->columns[s];

		for (size_t n = 0; n < COLUMNS; n++) {
			const struct column one = c[n];

			c[n] = (struct column){ 0 };
			c[n / 2].ops += one.ops;
			c[n / 2].active_ns += one.active_ns;
			c[n / 2].escapes += one.escapes;
			c[n / 2].late += one.late;
			c[n / 2].longest_ns = MAX(c[n / 2].longest_ns, one.longest_ns);
		}
	}
	t->column_ns *= 2;
}

struct column *tally_column(struct tally *t, size_t subject, uint64_t elapsed)
{
	while (elapsed / t->column_ns >= COLUMNS)
		join_columns(t);
	return &t->columns[subject][elapsed / t->column_ns];
}

/* ---- the verdict ---- */

_printf_(4, 5) static void judge(FILE *out, unsigned *failures, bool holds, const char *format, ...)
{
	va_list ap;

	*failures += !holds;
	if (!out)
		return;
	fprintf(out, "%s  ", holds ? "  ok" : "FAIL");
	va_start(ap, format);
	vfprintf(out, format, ap);
	va_end(ap);
	fputc('\n', out);
}

unsigned run_verdict(const struct run *run, FILE *out)
{
	const struct subject_tally *twin = &run->tally->subjects[run->twin];
	uint64_t ops, escapes, twin_escapes = 0, starved = 0, again = 0, late = 0;
	unsigned failures = 0;

	product(run, &ops, &escapes);
	for (size_t i = 0; i < ATTACKER_COUNT; i++)
		twin_escapes += twin->escapes[i];
	for (size_t i = 0; i < run->n_subjects; i++) {
		if (i == run->twin)
			continue;
		starved += run->tally->subjects[i].starved;
		again += run->tally->subjects[i].again;
		late += run->tally->subjects[i].late;
	}
	judge(out, &failures, escapes == 0 && ops > 0, "%llu escapes in %llu requests%s",
	      (unsigned long long)escapes, (unsigned long long)ops,
	      ops ? "" : ": nothing was tried");
	if (out && escapes == 0 && ops)
		fprintf(out, "      the probability of an escape is below %.2g (95 %%, 3/N)\n",
			3.0 / (double)ops);
	judge(out, &failures, twin_escapes >= TWIN_ESCAPES_MIN,
	      "the unsafe twin escaped %llu times in %llu requests (%.1f %%)%s",
	      (unsigned long long)twin_escapes, (unsigned long long)tally_ops(twin),
	      100.0 * (double)twin_escapes / (double)MAX(tally_ops(twin), UINT64_C(1)),
	      twin_escapes >= TWIN_ESCAPES_MIN ? "" : ": too few for the run to show anything");
	judge(out, &failures, starved == 0 && again == 0,
	      "%llu requests retried for longer than %d ms, %llu gave up with EAGAIN",
	      (unsigned long long)starved, DEADLINE_MS, (unsigned long long)again);
	if (out && late)
		fprintf(out,
			"      %llu took longer than %d ms without the server computing meanwhile: "
			"they waited for a CPU\n",
			(unsigned long long)(late - starved), DEADLINE_MS);
	if (out && run->tally->first_ns)
		fprintf(out, "      the first was found after %.2f s\n",
			(double)run->tally->first_ns / 1e9);
	if (run->tally->failed)
		judge(out, &failures, false, "%s", run->tally->failure);
	return failures;
}

/* ---- text ---- */

static void print_rpcs(const struct run *run, FILE *out)
{
	fprintf(out, "\n%-12s", "requests/s");
	for (size_t i = 0; i < run->n_subjects; i++)
		fprintf(out, " %32s", run->subjects[i].label);
	fprintf(out, "\n%-12s", "");
	for (size_t i = 0; i < run->n_subjects; i++)
		fprintf(out, " %8s %7s %6s %8s", "rate", "ok %", "ms", "escapes");
	fputc('\n', out);
	for (size_t r = 0; r < RPC_COUNT; r++) {
		if (!(rpc_table[r].flags & RPC_PATH))
			continue;
		fprintf(out, "%-12s", rpc_table[r].name);
		for (size_t i = 0; i < run->n_subjects; i++) {
			const struct subject_tally *t = &run->tally->subjects[i];
			const struct rpc_tally *rpc = &t->rpcs[r];

			fprintf(out, "  %8.0f %7.1f %6.2f %8llu", rate(rpc->ops, t->active_ns),
				100.0 * (double)rpc->ok / (double)MAX(rpc->ops, UINT64_C(1)),
				(double)rpc->longest_ns / 1e6, (unsigned long long)rpc->escapes);
		}
		fputc('\n', out);
	}
	fprintf(out, "%-12s", "all");
	for (size_t i = 0; i < run->n_subjects; i++) {
		const struct subject_tally *t = &run->tally->subjects[i];

		fprintf(out, "  %8.0f %7s %6s %8llu", rate(tally_ops(t), t->active_ns), "", "",
			(unsigned long long)tally_escapes(t));
	}
	fputc('\n', out);
}

static void print_attackers(const struct run *run, FILE *out)
{
	fprintf(out, "\n%-24s", "attacker");
	for (size_t i = 0; i < run->n_subjects; i++)
		fprintf(out, " %32s", run->subjects[i].label);
	fprintf(out, "\n%-24s", "");
	for (size_t i = 0; i < run->n_subjects; i++)
		fprintf(out, " %11s %11s %8s", "moves", "requests", "escapes");
	fputc('\n', out);
	for (size_t a = 0; a < ATTACKER_COUNT; a++) {
		fprintf(out, "%-24s", attacker_names[a]);
		for (size_t i = 0; i < run->n_subjects; i++) {
			const struct subject_tally *t = &run->tally->subjects[i];

			fprintf(out, " %11llu %11llu %8llu", (unsigned long long)t->moves[a],
				(unsigned long long)t->ops[a], (unsigned long long)t->escapes[a]);
		}
		fputc('\n', out);
	}
}

static void print_outcomes(const struct run *run, FILE *out)
{
	for (size_t i = 0; i < run->n_subjects; i++) {
		const struct subject_tally *t = &run->tally->subjects[i];
		uint64_t ok = 0, stops = 0;

		for (size_t r = 0; r < RPC_COUNT; r++) {
			ok += t->rpcs[r].ok;
			stops += t->rpcs[r].stops;
		}
		fprintf(out, "\n%s: %llu OK, %llu Stop", run->subjects[i].label,
			(unsigned long long)ok, (unsigned long long)stops);
		for (int e = 1; e < ERRNO_LIMIT; e++)
			if (t->errnos[e])
				fprintf(out, ", %llu %s", (unsigned long long)t->errnos[e],
					strerrorname_np(e) ?: "?");
		fprintf(out,
			"\n  %llu looks at its descriptors, %llu of them outside; %llu changes "
			"outside; the most it computed for one request: %.2f ms\n",
			(unsigned long long)t->samples, (unsigned long long)t->held,
			(unsigned long long)t->audits, (double)t->busiest_ns / 1e6);
	}
}

void run_print(const struct run *run, FILE *out)
{
	fprintf(out, "%.1f s on %s, seed %llu%s%s\n", (double)run->ns / 1e9, run->where,
		(unsigned long long)run->seed,
		run->pinned ? ", attackers and servers pinned to different CPUs" : ", one CPU only",
		run->interrupted ? ", interrupted" : "");
	print_rpcs(run, out);
	print_attackers(run, out);
	print_outcomes(run, out);
	if (run->tally->n_evidence)
		fputs("\nevidence:\n", out);
	for (uint32_t i = 0; i < MIN(run->tally->n_evidence, (uint32_t)EVIDENCE_MAX); i++) {
		const struct evidence *e = &run->tally->evidence[i];

		fprintf(out, "  %s: %s: %s\n", e->subject, e->what, e->words);
	}
	fputc('\n', out);
}

/* ---- JSON ---- */

static json_t *subject_json(const struct run *run, size_t index)
{
	const struct subject_tally *t = &run->tally->subjects[index];
	json_t *rpcs = json_object(), *errnos = json_object(), *attackers = json_object();

	for (size_t r = 0; r < RPC_COUNT; r++) {
		const struct rpc_tally *rpc = &t->rpcs[r];

		if (rpc_table[r].flags & RPC_PATH)
			(void)json_object_set_new(
				rpcs, rpc_table[r].name,
				json_pack("{s:I, s:f, s:I, s:I, s:I, s:I, s:f}", "requests",
					  (json_int_t)rpc->ops, "per_second",
					  rate(rpc->ops, t->active_ns), "ok", (json_int_t)rpc->ok,
					  "stops", (json_int_t)rpc->stops, "errors",
					  (json_int_t)rpc->errors, "escapes",
					  (json_int_t)rpc->escapes, "longest_ms",
					  (double)rpc->longest_ns / 1e6));
	}
	for (int e = 1; e < ERRNO_LIMIT; e++)
		if (t->errnos[e])
			(void)json_object_set_new(errnos, strerrorname_np(e) ?: "?",
						  json_integer((json_int_t)t->errnos[e]));
	for (size_t a = 0; a < ATTACKER_COUNT; a++)
		(void)json_object_set_new(
			attackers, attacker_names[a],
			json_pack("{s:I, s:I, s:I}", "moves", (json_int_t)t->moves[a], "requests",
				  (json_int_t)t->ops[a], "escapes", (json_int_t)t->escapes[a]));
	return json_pack(
		"{s:s, s:s, s:b, s:f, s:f, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:f}",
		"server", run->subjects[index].label, "program", run->subjects[index].program->name,
		"alone", run->subjects[index].alone, "seconds", (double)t->active_ns / 1e9,
		"requests_per_second", rate(tally_ops(t), t->active_ns), "requests",
		(json_int_t)tally_ops(t), "rpcs", rpcs, "errnos", errnos, "attackers", attackers,
		"changes_outside", (json_int_t)t->audits, "descriptors_outside",
		(json_int_t)t->held, "late", (json_int_t)t->late, "starved", (json_int_t)t->starved,
		"again", (json_int_t)t->again, "busiest_ms", (double)t->busiest_ns / 1e6);
}

json_t *run_json(const struct run *run)
{
	json_t *subjects = json_array(), *evidence = json_array();
	uint64_t ops, escapes;

	product(run, &ops, &escapes);
	for (size_t i = 0; i < run->n_subjects; i++)
		(void)json_array_append_new(subjects, subject_json(run, i));
	for (uint32_t i = 0; i < MIN(run->tally->n_evidence, (uint32_t)EVIDENCE_MAX); i++) {
		const struct evidence *e = &run->tally->evidence[i];

		(void)json_array_append_new(
			evidence,
			json_pack("{s:s, s:o, s:s}", "server", e->subject, "request",
				  cli_json_bytes(e->what, strlen(e->what)), "found", e->words));
	}
	return json_pack("{s:b, s:f, s:I, s:s, s:b, s:I, s:I, s:f, s:f, s:o, s:o, s:s}", "ok",
			 run_verdict(run, NULL) == 0, "seconds", (double)run->ns / 1e9, "seed",
			 (json_int_t)run->seed, "where", run->where, "interrupted",
			 run->interrupted, "requests", (json_int_t)ops, "escapes",
			 (json_int_t)escapes, "escape_probability_below",
			 ops && !escapes ? 3.0 / (double)ops : 1.0, "first_found_seconds",
			 (double)run->tally->first_ns / 1e9, "servers", subjects, "evidence",
			 evidence, "failure", run->tally->failed ? run->tally->failure : "");
}
