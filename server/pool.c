/*
 * pool.c - which of a session's threads wait for its packets.
 *
 * As few as will do. One thread that receives, executes and replies is the cheapest there is: with
 * two that take turns, a client on the same CPU wakes the second while the first is still on its
 * way back from its reply, one more context switch per request (measured on one CPU, a Stat: 6.4
 * microseconds with one thread, 7.5 and more with turns). So the others are parked, and come when
 *
 *   * a packet may take long (RPC_BLOCKS), or is a batch, or more packets wait behind it: the
 *     pressure. While it lasts, all come; it fades packet by packet.
 *   * the only receiver has not come back for a while: storage can hang in any request. One of the
 *     parked, the watchman, looks every TICK_MS while packets arrive. When they stop it sleeps
 *     until the next one, so an idle session wakes nobody.
 *
 * What must hold whenever a packet is executed: another thread waits for packets, or is parked, or
 * there can be no more threads; then this one, the last, executes only what cannot block and queues
 * the rest (session.h), so that a Cancel, a Close and the peer's leaving are always noticed.
 *
 * Everything here is under session.lock.
 */
#include "server/session.h"

#include <linux/sockios.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>

enum {
	THREAD_STACK_SIZE = 256 * 1024,
	PRESSURE = 64,     /* packets for which one sign of pressure counts */
	BACKLOG_EVERY = 8, /* packets between two looks at what waits behind them */
	TICK_MS = 10,      /* a receiver that is away for one to two of these is taken for stuck */
	QUIET_TICKS = 100, /* without a packet, until the watchman sleeps */
};

int pool_init(struct session *s)
{
	pthread_condattr_t attr;
	int r;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	r = -pthread_cond_init(&s->pool.parking, &attr);
	pthread_condattr_destroy(&attr);
	return r;
}

void pool_deinit(struct session *s)
{
	pthread_cond_destroy(&s->pool.parking);
}

bool worker_start(struct worker *w, void *(*thread)(void *))
{
	struct session *s = w->session;
	pthread_attr_t attr;
	sigset_t all, saved;
	bool started;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
	/* Only the first thread takes SIGTERM; everyone takes SIGUSR1. */
	sigfillset(&all);
	sigdelset(&all, SIGUSR1);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	started = pthread_create(&w->thread, &attr, thread, w) == 0;
	if (started) {
		w->next = s->workers;
		s->workers = w;
	}
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	pthread_attr_destroy(&attr);
	return started;
}

static bool grow(struct session *s)
{
	struct worker *w = worker_new(s);

	if (!w || !worker_start(w, worker_main)) {
		worker_free(w);
		return false;
	}
	s->pool.threads++;
	s->pool.starting++;
	return true;
}

static void add_ms(struct timespec *t, unsigned ms)
{
	t->tv_nsec += ms * 1000000L;
	t->tv_sec += t->tv_nsec / 1000000000;
	t->tv_nsec %= 1000000000;
}

/*
 * One turn of the watchman: sleeps for a tick, or, when nothing has come for long, until somebody
 * calls. True when no thread has waited or received anything for a whole tick.
 */
static bool watch(struct session *s)
{
	struct pool *pool = &s->pool;
	uint64_t seen = pool->received;
	struct timespec until;

	pool->watching = pool->quiet < QUIET_TICKS;
	if (!pool->watching) {
		pthread_cond_wait(&pool->parking, &s->lock);
		return false;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	add_ms(&until, TICK_MS);
	if (pthread_cond_timedwait(&pool->parking, &s->lock, &until) != ETIMEDOUT)
		return false;
	if (pool->received != seen) {
		pool->quiet = 0;
		return false;
	}
	pool->quiet++;
	return pool->idle == 0;
}

/* Until this thread is wanted, or a receiver is stuck, or the session has ended. */
static void park(struct session *s)
{
	struct pool *pool = &s->pool;
	bool stuck = false;

	while (!pool->wanted && !stuck && !pool->over) {
		if (pool->has_watchman) {
			pthread_cond_wait(&pool->parking, &s->lock);
			continue;
		}
		pool->has_watchman = true;
		stuck = watch(s);
		pool->has_watchman = false;
	}
	if (pool->wanted)
		pool->wanted--;
	pool->parked--;
	/* If that was the watchman, another takes its place. */
	if (pool->parked && !pool->has_watchman)
		pthread_cond_broadcast(&pool->parking);
}

void pool_started(struct session *s, bool ok)
{
	pthread_mutex_lock(&s->lock);
	s->pool.starting--;
	if (!ok)
		s->pool.threads--;
	pthread_mutex_unlock(&s->lock);
}

void pool_enter(struct worker *w)
{
	struct session *s = w->session;
	struct pool *pool = &s->pool;

	pthread_mutex_lock(&s->lock);
	while (s->queue_head && pool->idle > 0 && !atomic_load(&s->ended)) {
		pthread_mutex_unlock(&s->lock);
		run_queue(w);
		pthread_mutex_lock(&s->lock);
	}
	if (pool->idle > 0 && pool->pressure == 0) {
		pool->parked++;
		park(s);
	}
	pool->idle++;
	pthread_mutex_unlock(&s->lock);
}

/* Whether the packet, or what waits behind it, is more than one thread should do one after the
 * other. */
static bool presses(struct worker *w, const struct packet *p)
{
	unsigned wanted = 0;
	int behind = 0;

	if (w->session->stream && stream_buffered(w->session->stream) >= 2 * FRAME_HEADER_SIZE)
		return true;
	for (unsigned i = 0; i < p->n_frames; i++) {
		const struct rpc_info *rpc = rpc_find(p->frames[i].header.type);

		wanted += !(p->frames[i].header.flags & FRAME_NO_REPLY);
		if (wanted > 1 || (rpc && (rpc->flags & RPC_BLOCKS)))
			return true;
	}
	/* One packet behind may be the next request of a client that waits for each. */
	return ++w->packets % BACKLOG_EVERY == 0 &&
	       ioctl(w->session->sock, SIOCINQ, &behind) == 0 && (size_t)behind > 2 * p->size;
}

bool pool_leave(struct worker *w, const struct packet *p)
{
	struct session *s = w->session;
	struct pool *pool = &s->pool;
	bool pressed = p && presses(w, p), last = false;

	pthread_mutex_lock(&s->lock);
	pool->idle--;
	pool->received++;
	if (pressed)
		pool->pressure = PRESSURE;
	else if (pool->pressure)
		pool->pressure--;
	if (p && pool->idle == 0 && atomic_load(&s->greeted) && !pool->over) {
		uint32_t spare = pool->parked + pool->starting;

		if (spare == 0) {
			/* Alone, there would be nobody to leave it to. */
			if (pool->threads >= s->server->limits.max_threads || !grow(s))
				last = pool->threads > 1;
		} else if (pool->pressure && pool->parked > pool->wanted) {
			pool->wanted++;
			pthread_cond_broadcast(&pool->parking);
		} else if (!pool->watching) {
			pool->quiet = 0;
			pthread_cond_broadcast(&pool->parking);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return last;
}

bool pool_end(struct session *s, bool drop)
{
	bool first;

	/* Under the lock: no thread is started, or parked, after it. */
	pthread_mutex_lock(&s->lock);
	if (drop)
		atomic_store(&s->ended, true);
	first = !s->pool.over;
	s->pool.over = true;
	pthread_cond_broadcast(&s->pool.parking);
	channels_stop(s);
	pthread_mutex_unlock(&s->lock);
	return first;
}
