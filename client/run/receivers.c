/*
 * receivers.c - see receivers.h.
 */
#include "client/run/receivers.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "common/util.h"

enum {
	SLOW_NS = 20000, /* shorter than that, to wait costs less than one more that is woken */
	VERY_SLOW_NS = 1000000, /* longer, it is not a CPU that is waited for */
	AT_ONCE_NS = 2000, /* a wait that short was none: a sleep and its wake-up take longer */
	CALM = 512, /* calls of one thread, none of which had waited, after which there is one thread too many */
	TICK_MS = 10, /* threads that are all away for one to two of these are taken for stuck */
	QUIET_TICKS = 50, /* without a call, until the watchman sleeps */
};

void receivers_init(struct receivers *r, unsigned threads)
{
	*r = (struct receivers){ .threads = threads,
				 .cpus = (unsigned)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1),
				 .active = threads,
				 .wanted = 1 };
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->parking, NULL);
}

void receivers_deinit(struct receivers *r)
{
	pthread_cond_destroy(&r->parking);
	pthread_mutex_destroy(&r->lock);
}

/* With the lock. */
static void want_more(struct receivers *r)
{
	if (r->wanted >= r->threads)
		return;
	r->wanted++;
	pthread_cond_broadcast(&r->parking);
}

/* With the lock: one turn of the watchman. */
static void watch(struct receivers *r)
{
	uint64_t taken = r->taken;
	struct timespec until;
	bool stuck;

	if (r->quiet >= QUIET_TICKS) {
		/* Whoever takes a call says so if nobody looks. */
		r->watched = false;
		if (r->taken == taken)
			pthread_cond_wait(&r->parking, &r->lock);
		r->quiet = 0;
		return;
	}
	r->watched = true;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += TICK_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	if (pthread_cond_clockwait(&r->parking, &r->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
		return;
	stuck = r->waiting == 0 && r->taken == taken;
	r->quiet = r->taken == taken && !stuck ? r->quiet + 1 : 0;
	if (stuck)
		want_more(r);
}

static void park(struct receivers *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->over && r->active > r->wanted) {
		r->active--;
		while (!r->over && r->active >= r->wanted) {
			if (r->has_watchman) {
				pthread_cond_wait(&r->parking, &r->lock);
				continue;
			}
			r->has_watchman = true;
			watch(r);
			r->has_watchman = false;
		}
		r->active++;
		/* If that was the watchman, another takes its place. */
		if (!r->has_watchman)
			pthread_cond_broadcast(&r->parking);
	}
	pthread_mutex_unlock(&r->lock);
}

bool receivers_enter(struct receivers *r, struct receiver *self, uint64_t now)
{
	/* Never the last that waits, however many are stuck. */
	if (r->active > r->wanted && r->waiting > 0) {
		park(r);
		now = 0; /* what waits now did so for other reasons */
	}
	self->since = now;
	r->waiting++;
	return !r->over;
}

void receivers_leave(struct receivers *r, struct receiver *self, int tid, uint64_t now)
{
	/* A caller that came back before we did waited for nobody else. */
	bool waited = tid && tid != self->tid && self->since && now - self->since < AT_ONCE_NS;
	uint64_t blocked = self->since - self->took;

	r->waiting--;
	if (!tid)
		return;
	self->took = now;
	self->tid = tid;
	self->alternate = r->tid != tid;
	r->tid = tid;
	r->taken++;
	if (waited && blocked > SLOW_NS) {
		self->calls = 0;
		if (r->wanted < (blocked > VERY_SLOW_NS ? r->threads : r->cpus)) {
			pthread_mutex_lock(&r->lock);
			want_more(r);
			pthread_mutex_unlock(&r->lock);
		}
	} else if (++self->calls >= CALM && r->wanted > 1) {
		self->calls = 0;
		pthread_mutex_lock(&r->lock);
		r->wanted -= r->wanted > 1;
		pthread_mutex_unlock(&r->lock);
	}
	if (!r->watched) {
		pthread_mutex_lock(&r->lock);
		if (!r->watched)
			pthread_cond_broadcast(&r->parking);
		pthread_mutex_unlock(&r->lock);
	}
}

void receivers_end(struct receivers *r)
{
	pthread_mutex_lock(&r->lock);
	r->over = true;
	pthread_cond_broadcast(&r->parking);
	pthread_mutex_unlock(&r->lock);
}
