/*
 * latency.c - group "latency": what one call of each RPC takes, one after the other.
 *
 * A row has up to four systems: the library's call, the native one, a ping-pong of packets of the sizes that
 * the library's call exchanges, and the toy server's. They take turns of BENCH_BATCH calls each, and in being
 * first. What a call needs beforehand, and what undoes it, is done for a whole batch, outside of what
 * is timed and of what is counted as used.
 */
#include "client/bench/calls.h"

#include <string.h>

#include "common/packet.h"

enum { COUNTED = 16 }; /* one turn of so many */

enum system { SYSTEM_GOFER, SYSTEM_NATIVE, SYSTEM_PING, SYSTEM_TOY, N_SYSTEMS };

struct latency {
	struct bench *b;
	struct floor *ping, *toy;
	uint64_t clock_ns; /* what reading the clock takes: not the call's */
	const struct bench_calls *calls;
	const struct bench_call *call;
	struct spot *spot;
	struct histogram histograms[N_SYSTEMS];
	size_t request_bytes, reply_bytes;
	struct usage usage;
	uint64_t counted; /* calls that it is of */
};

static uint64_t clock_cost(void)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		uint64_t start = now_ns(), took = now_ns() - start;

		best = MIN(best, took);
	}
	return best;
}

static int call_once(struct latency *l, enum system system, unsigned i)
{
	switch (system) {
	case SYSTEM_GOFER:
		return l->call->gofer(l->b, l->spot, i);
	case SYSTEM_NATIVE:
		return l->call->native(l->b, l->spot, i);
	case SYSTEM_PING:
		return floor_ping(l->ping, l->request_bytes, l->reply_bytes);
	default:
		return floor_toy(l->toy, l->call->toy, l->spot->file);
	}
}

static bool has_system(const struct latency *l, enum system system)
{
	switch (system) {
	case SYSTEM_GOFER:
		return true;
	case SYSTEM_NATIVE:
		return l->b->native >= 0 && l->call->native;
	case SYSTEM_PING:
		/* Without a size there was no request: it was answered from memory, or is a whole session. */
		return l->ping && l->request_bytes && l->reply_bytes;
	default:
		return l->toy && l->call->toy != TOY_NONE;
	}
}

/*
 * A turn of one system. What it used is counted now and then only: asking for that takes as long as the turn, and leaves
 * the caches cold. Whatever was prepared is undone, also when a call failed.
 */
static int turn(struct latency *l, enum system system, unsigned n, struct histogram *h,
		bool counted)
{
	bool whole = system == SYSTEM_GOFER || system == SYSTEM_NATIVE;
	struct usage before;
	unsigned prepared = 0, called = 0;
	int r = 0, undone = 0;

	for (; whole && r == 0 && l->call->prepare && prepared < n; prepared++)
		r = l->call->prepare(l->b, l->spot, prepared);
	if (counted)
		usage_begin(l->b, &before);
	for (; r == 0 && called < n; called++) {
		uint64_t start = now_ns(), took;

		r = call_once(l, system, called);
		took = now_ns() - start;
		if (r == 0 && h)
			histogram_record(h, took > l->clock_ns ? took - l->clock_ns : 0);
	}
	if (counted) {
		usage_end(l->b, &before, &l->usage);
		l->counted += called;
	}
	for (unsigned i = 0; whole && l->call->undo && i < called; i++) {
		int u = l->call->undo(l->b, l->spot, i);

		undone = undone ?: u;
	}
	return r ?: undone;
}

/* The sizes of a call's packets, by the session's own counters. */
static int learn_sizes(struct latency *l)
{
	struct gofer_stats before, after;
	unsigned prepared = 0, called = 0;
	int r = turn(l, SYSTEM_GOFER, 2, NULL, false);

	for (; r == 0 && l->call->prepare && prepared < BENCH_BATCH; prepared++)
		r = l->call->prepare(l->b, l->spot, prepared);
	gofer_session_flush(l->b->c->session);
	gofer_session_get_stats(l->b->c->session, &before);
	for (; r == 0 && called < BENCH_BATCH; called++)
		r = l->call->gofer(l->b, l->spot, called);
	gofer_session_get_stats(l->b->c->session, &after);
	for (unsigned i = 0; l->call->undo && i < called; i++)
		(void)l->call->undo(l->b, l->spot, i);
	if (called) {
		l->request_bytes = (after.bytes_out - before.bytes_out) / called;
		l->reply_bytes = (after.bytes_in - before.bytes_in) / called;
	}
	return r;
}

static void measure(struct latency *l)
{
	uint64_t deadline = bench_deadline(l->b, 1);
	int r;

	memset(l->histograms, 0, sizeof(l->histograms));
	l->usage = (struct usage){ 0 };
	l->counted = 0;
	r = learn_sizes(l);
	for (unsigned round = 0; r == 0 && (!round || !bench_over(now_ns(), deadline)); round++)
		for (unsigned i = 0; r == 0 && i < N_SYSTEMS; i++) {
			enum system system = (i + round) % N_SYSTEMS;

			if (has_system(l, system))
				r = turn(l, system, BENCH_BATCH, &l->histograms[system],
					 system == SYSTEM_GOFER && round % COUNTED == 0);
		}
	if (r < 0) {
		report_failure(l->b, r);
		return;
	}
	report_latency(l->b, &(struct report_latency){
				     .rpc = l->call->rpc,
				     .depth = l->calls->path ? l->spot->depth : 0,
				     .gofer = &l->histograms[SYSTEM_GOFER],
				     .native = &l->histograms[SYSTEM_NATIVE],
				     .ping = &l->histograms[SYSTEM_PING],
				     .toy = &l->histograms[SYSTEM_TOY],
				     .request_bytes = l->request_bytes,
				     .reply_bytes = l->reply_bytes,
				     .usage = l->usage,
				     .n = l->counted,
			     });
}

static bool want_call(struct bench *b, const struct bench_call *call, unsigned depth)
{
	const char *dash = call->variant ? "-" : "", *variant = call->variant ?: "";

	return depth ? bench_want(b, "latency", "%s%s%s/%u", call->rpc, dash, variant, depth)
		     : bench_want(b, "latency", "%s%s%s", call->rpc, dash, variant);
}

static int begin(struct latency *l)
{
	int r = calls_path_begin(l->b);

	l->clock_ns = clock_cost();
	l->ping = floor_open(l->b, false);
	l->toy = floor_open(l->b, true);
	return r < 0 ? r : calls_handle_begin(l->b);
}

void bench_latency(struct bench *b)
{
	static const struct bench_calls *const tables[] = { &calls_session, &calls_path,
							    &calls_handle };
	struct latency *l = cli_alloc(sizeof(*l));
	bool begun = false;
	int r = 0;

	l->b = b;
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (size_t i = 0; i < tables[t]->n; i++)
			for (unsigned s = 0; s < (tables[t]->path ? N_SPOTS : 1); s++) {
				l->calls = tables[t];
				l->call = &tables[t]->at[i];
				l->spot = &b->spots[s];
				if (!want_call(b, l->call,
					       !tables[t]->path ? 0
					       : s == SPOT_DEEP ? 8
								: 1))
					continue;
				if (!begun)
					r = begin(l);
				begun = true;
				if (r < 0)
					report_failure(b, r);
				else
					measure(l);
			}
	if (begun) {
		calls_path_end(b);
		calls_handle_end(b);
	}
	floor_close(l->ping);
	floor_close(l->toy);
	free(l);
}
