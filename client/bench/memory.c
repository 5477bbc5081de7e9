/*
 * memory.c - group "memory": what the server holds for sessions and open handles that do nothing, and
 * what they do to others.
 *
 * One scene for all rows: sessions are opened, handles are opened in each of them, a client works beside
 * them, nobody works for a while. Memory of processes is what they have for themselves (their
 * proportional set size); kernel memory is what the whole machine's has grown by meanwhile, so it holds what
 * others have done too.
 */
#include "client/bench/bench.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#include "common/packet.h"

enum { SESSIONS = 1000, SESSIONS_QUICK = 4, HANDLES = 1000, HANDLES_QUICK = 50 };

struct memory {
	uint64_t processes, kernel;
	bool exact;
};

static void read_memory(const struct bench *b, struct memory *ret)
{
	ret->processes = server_memory(b, &ret->exact);
	ret->kernel = kernel_memory();
}

/* ---- handles ---- */

struct opening {
	size_t out, opened;
	int result;
};

static void opened(void *userdata, int result, struct gofer_reply *reply)
{
	struct opening *o = userdata;

	o->out--;
	if (result == 0 && reply->kind != GOFER_REPLY_OK)
		result = -ELOOP;
	if (result < 0)
		o->result = result;
	else
		o->opened++;
}

/* They end with their session. */
static int open_handles(struct bench *b, struct gofer_session *session, size_t n)
{
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Open, .message = &q.base, .fd = -1 };
	struct opening o = { 0 };
	char path[PATH_MAX];
	Gofer__Path p;
	int r = 0;

	snprintf(path, sizeof(path), "%.4000s/%s", b->base, b->spots[SPOT_SHALLOW].file);
	pipe_path(&p, b->volume, path);
	q.path = &p;
	q.flags = GOFER__OPEN_FLAG__OPEN_READ;
	for (size_t i = 0; r >= 0 && i < n && o.result == 0;) {
		r = gofer_submit(session, &request, opened, &o, NULL);
		if (r == 0) {
			o.out++;
			i++;
		} else if (r == -EAGAIN) {
			r = gofer_session_process(session, -1);
		}
	}
	/* Also after a failure: the callbacks know `o`. A session that is gone has called them all. */
	while (o.out > 0 && gofer_session_process(session, -1) >= 0)
		continue;
	return r < 0 ? r : o.result;
}

/* ---- rows ---- */

static void report_growth(struct bench *b, const struct memory *from, const struct memory *to,
			  size_t n)
{
	const struct report_number numbers[] = {
		{ "count", "%.0f held", (double)n },
		{ "process_bytes", "%.0f bytes of the server's processes each",
		  ((double)to->processes - (double)from->processes) / (double)n },
		{ "kernel_bytes", "%.0f of the kernel (whole machine)",
		  ((double)to->kernel - (double)from->kernel) / (double)n },
		{ "proportional", to->exact ? "proportional set sizes" : "anonymous pages only",
		  to->exact },
	};

	if (b->server <= 0)
		report_skip(b, "the server's processes cannot be seen from here");
	else
		report_numbers(b, numbers, ARRAY_SIZE(numbers));
}

/* One client's stats of depth 8. */
static int work_beside(struct bench *b, double share, struct histogram *h)
{
	uint64_t deadline = bench_deadline(b, share), now = 0;
	int r = 0;

	while (r == 0 && !bench_over(now, deadline)) {
		uint64_t start = now_ns();
		struct stat st;

		r = gofer_stat(b->plain, b->spots[SPOT_DEEP].file, 0, &st);
		now = now_ns();
		if (r == 0)
			histogram_record(h, now - start);
	}
	return r;
}

static double microseconds(const struct histogram *h, double percent)
{
	return (double)histogram_percentile(h, percent) / 1000;
}

static void report_beside(struct bench *b, const struct histogram *alone,
			  const struct histogram *beside)
{
	const struct report_number numbers[] = {
		{ "alone_p50_us", "stat of depth 8: p50 %.1f us alone", microseconds(alone, 50) },
		{ "p50_us", "%.1f beside them", microseconds(beside, 50) },
		{ "alone_p99_us", "p99 %.1f alone", microseconds(alone, 99) },
		{ "p99_us", "%.1f beside them", microseconds(beside, 99) },
		{ "p999_us", "p99.9 %.1f", microseconds(beside, 99.9) },
	};

	report_numbers(b, numbers, ARRAY_SIZE(numbers));
}

/* Ten times as long as another row: what is looked for is next to nothing. */
static void report_idle(struct bench *b, size_t sessions)
{
	uint64_t deadline = bench_deadline(b, 10), begin = now_ns();
	struct usage before, usage = { 0 };
	const struct timespec ts = { .tv_sec = (time_t)(deadline / 1000000000),
				     .tv_nsec = (long)(deadline % 1000000000) };
	double seconds;

	usage_begin(b, &before);
	while (!bench_ended && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		continue;
	seconds = (double)(now_ns() - begin) / 1e9;
	usage_end(b, &before, &usage);
	const struct report_number numbers[] = {
		{ "seconds", "in %.1f s", seconds },
		{ "sessions", "%.0f idle sessions", (double)sessions },
		{ "server_cpu_us", "used %.0f us of CPU", (double)usage.server_ns / 1000 },
		{ "server_switches", "in %.0f context switches", (double)usage.server_switches },
	};

	if (b->server <= 0)
		report_skip(b, "the server's processes cannot be seen from here");
	else
		report_numbers(b, numbers, ARRAY_SIZE(numbers));
}

struct scene {
	struct bench *b;
	struct crowd crowd;
	struct histogram alone, beside;
	struct memory before, sessions, handles;
	size_t held;
	bool begun, refused; /* a session was */
	int result;
};

/* What a row needs is made by the first row that needs it. */
static void begin(struct scene *s)
{
	if (s->begun)
		return;
	s->begun = true;
	s->result = work_beside(s->b, 0.5, &s->alone);
	read_memory(s->b, &s->before);
	if (s->result == 0) {
		s->result = crowd_grow(s->b, &s->crowd, s->b->quick ? SESSIONS_QUICK : SESSIONS);
		s->refused = s->result < 0 && s->result != -EINTR;
	}
	read_memory(s->b, &s->sessions);
}

static void hold(struct scene *s)
{
	size_t each = s->b->quick ? HANDLES_QUICK : HANDLES;

	begin(s);
	if (s->held)
		return;
	for (size_t i = 0; s->result == 0 && i < s->crowd.n; i++) {
		s->result = bench_ended ? -EINTR : open_handles(s->b, s->crowd.sessions[i], each);
		s->held += s->result == 0 ? each : 0;
	}
	read_memory(s->b, &s->handles);
}

static bool is_set(struct scene *s)
{
	if (s->refused)
		report_skip(s->b, "session %zu was refused: %s", s->crowd.n + 1,
			    strerror(-s->result));
	else if (s->result < 0)
		report_failure(s->b, s->result);
	return s->result == 0;
}

void bench_memory(struct bench *b)
{
	struct scene *s = cli_alloc(sizeof(*s));

	s->b = b;
	if (bench_want(b, "memory", "session")) {
		begin(s);
		if (is_set(s))
			report_growth(b, &s->before, &s->sessions, s->crowd.n);
	}
	if (bench_want(b, "memory", "handle")) {
		hold(s);
		if (is_set(s))
			report_growth(b, &s->sessions, &s->handles, s->held);
	}
	if (bench_want(b, "memory", "beside")) {
		hold(s);
		if (s->result == 0)
			s->result = work_beside(b, 0.5, &s->beside);
		if (is_set(s))
			report_beside(b, &s->alone, &s->beside);
	}
	if (bench_want(b, "memory", "idle")) {
		hold(s);
		if (is_set(s))
			report_idle(b, s->crowd.n);
	}
	if (s->begun)
		crowd_deinit(b, &s->crowd);
	free(s);
}
