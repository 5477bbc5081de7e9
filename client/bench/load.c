/*
 * load.c - groups "threads" and "sessions": how many calls a second come through, with many threads
 * of one session, and with many sessions of a thread each. The call is a stat of depth 8; the native
 * one is made by as many threads, in turns with it.
 */
#include "client/bench/bench.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "common/packet.h"

enum { STACK = 256 * 1024, ROUNDS = 2 };

struct load {
	struct bench *b;
	bool native;
	pthread_mutex_t lock;
	pthread_cond_t begin;
	bool begun; /* under the lock */
	atomic_bool stop;
};

struct thread {
	pthread_t id;
	struct load *load;
	struct gofer_namespace *ns;
	struct histogram h;
	int error;
};

static void *work(void *data)
{
	struct thread *t = data;
	struct load *l = t->load;
	const char *path = l->b->spots[SPOT_DEEP].file;
	struct stat st;
	int r = 0;

	pthread_mutex_lock(&l->lock);
	while (!l->begun)
		pthread_cond_wait(&l->begin, &l->lock);
	pthread_mutex_unlock(&l->lock);
	/* Once at least, however late the thread gets to run. */
	do {
		uint64_t start = now_ns();

		if (l->native)
			r = fstatat(l->b->native, path, &st, 0) < 0 ? -errno : 0;
		else
			r = gofer_stat(t->ns, path, 0, &st);
		if (r == 0)
			histogram_record(&t->h, now_ns() - start);
	} while (r == 0 && !atomic_load_explicit(&l->stop, memory_order_relaxed));
	t->error = r;
	return NULL;
}

static int start(struct thread *t)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int r;

	/* Signals are for the thread that waits for the time to pass. */
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&t->id, &attr, work, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

static void wait_until(uint64_t deadline)
{
	const struct timespec ts = { .tv_sec = (time_t)(deadline / 1000000000),
				     .tv_nsec = (long)(deadline % 1000000000) };

	while (!bench_ended && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		continue;
}

static void let_begin(struct load *l)
{
	pthread_mutex_lock(&l->lock);
	l->begun = true;
	pthread_cond_broadcast(&l->begin);
	pthread_mutex_unlock(&l->lock);
}

/* All threads begin together, and what is counted lasts until the last has stopped. */
static int run_threads(struct bench *b, struct thread *threads, size_t n, bool native, double share,
		       struct histogram *all, double *seconds, struct usage *usage)
{
	struct load load = { .b = b,
			     .native = native,
			     .lock = PTHREAD_MUTEX_INITIALIZER,
			     .begin = PTHREAD_COND_INITIALIZER };
	struct usage before;
	uint64_t begin;
	size_t started = 0;
	int r = 0;

	for (; r == 0 && started < n; started += r == 0) {
		memset(&threads[started].h, 0, sizeof(threads[started].h));
		threads[started].load = &load;
		threads[started].error = 0;
		r = start(&threads[started]);
	}
	usage_begin(b, &before);
	begin = now_ns();
	if (r < 0)
		atomic_store(&load.stop, true);
	let_begin(&load);
	if (r == 0)
		wait_until(bench_deadline(b, share));
	atomic_store(&load.stop, true);
	for (size_t i = 0; i < started; i++) {
		pthread_join(threads[i].id, NULL);
		r = r ?: threads[i].error;
	}
	*seconds += (double)(now_ns() - begin) / 1e9;
	usage_end(b, &before, usage);
	for (size_t i = 0; i < started; i++)
		histogram_add(all, &threads[i].h);
	return r;
}

static void measure(struct bench *b, size_t n, const struct crowd *crowd)
{
	struct thread *threads = cli_alloc(n * sizeof(*threads));
	struct histogram *gofer = cli_alloc(2 * sizeof(*gofer)), *native = gofer + 1;
	double seconds = 0, native_seconds = 0;
	struct usage usage = { 0 }, ignored = { 0 };
	int r = 0;

	for (size_t i = 0; i < n; i++)
		threads[i].ns = crowd ? crowd->namespaces[i] : b->plain;
	for (unsigned round = 0; r == 0 && round < ROUNDS && !bench_ended; round++) {
		r = run_threads(b, threads, n, false, 0.5 / ROUNDS, gofer, &seconds, &usage);
		if (r == 0 && b->native >= 0)
			r = run_threads(b, threads, n, true, 0.5 / ROUNDS, native, &native_seconds,
					&ignored);
	}
	if (r < 0)
		report_failure(b, r);
	else
		report_rate(b, &(struct report_rate){ .unit = "calls",
						      .amount = (double)gofer->n,
						      .seconds = seconds,
						      .native_amount = (double)native->n,
						      .native_seconds = native_seconds,
						      .calls = gofer,
						      .native_calls = native,
						      .n = gofer->n,
						      .usage = usage });
	free(gofer);
	free(threads);
}

void bench_threads(struct bench *b)
{
	static const size_t counts[] = { 1, 2, 8, 64, 512 };

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		if (bench_want(b, "threads", "%zu", counts[i]))
			measure(b, counts[i], NULL);
}

/* ---- sessions ---- */

int crowd_grow(struct bench *b, struct crowd *crowd, size_t n)
{
	int r = 0;

	if (n <= crowd->n)
		return 0;
	crowd->sessions = reallocarray(crowd->sessions, n, sizeof(*crowd->sessions));
	crowd->namespaces = reallocarray(crowd->namespaces, n, sizeof(*crowd->namespaces));
	if (!crowd->sessions || !crowd->namespaces)
		abort();
	while (crowd->n < n) {
		struct gofer_session *session;

		r = bench_ended ? -EINTR : cli_open_session(b->c, &session);
		if (r < 0)
			break;
		r = bench_enter(b, session, true, &crowd->namespaces[crowd->n]);
		if (r < 0) {
			gofer_session_close(session);
			break;
		}
		crowd->sessions[crowd->n++] = session;
	}
	process_set_read(&b->processes, b->server);
	return r;
}

void crowd_deinit(struct bench *b, struct crowd *crowd)
{
	for (size_t i = 0; i < crowd->n; i++) {
		gofer_namespace_free(crowd->namespaces[i]);
		gofer_session_close(crowd->sessions[i]);
	}
	free(crowd->namespaces);
	free(crowd->sessions);
	*crowd = (struct crowd){ 0 };
	process_set_read(&b->processes, b->server);
}

void bench_sessions(struct bench *b)
{
	static const size_t counts[] = { 1, 10, 100, 1000 };
	struct crowd crowd = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		int r;

		if (b->quick && counts[i] > 10)
			break;
		if (!bench_want(b, "sessions", "%zu", counts[i]))
			continue;
		r = crowd_grow(b, &crowd, counts[i]);
		if (r == 0)
			measure(b, counts[i], &crowd);
		else if (r != -EINTR)
			report_skip(b, "session %zu was refused: %s", crowd.n + 1, strerror(-r));
	}
	if (crowd.sessions)
		crowd_deinit(b, &crowd);
}
