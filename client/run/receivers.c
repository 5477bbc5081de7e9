/*
 * receivers.c - see receivers.h.
 */
#include "client/run/receivers.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "common/util.h"

enum {
	TURN = 16, /* a call of another thread than the last weighs as much as that many of the same */
	MANY_TURNS = 8 * TURN,
	AT_ONCE_NS = 2000, /* a wait that short was none: a sleep and its wake-up take longer */
	VERY_SLOW_NS = 1000000, /* it is not a CPU that is waited for */
	CALM = 512, /* calls of one thread, none of which had waited, after which there is one too many */
	TICK_MS = 10, /* threads that are all away for one to two of these are taken for stuck */
	QUIET_TICKS = 50, /* without a call, until the watchman sleeps */
};

void receivers_init(struct receivers *r, unsigned threads)
{
	*r = (struct receivers){ .threads = threads, .active = threads, .wanted = 1, .sides = 1 };
	if (sched_getaffinity(0, sizeof(r->cpus), &r->cpus) == 0)
		r->sides = (unsigned)MIN(CPU_COUNT(&r->cpus), SIDES);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->parking, NULL);
}

void receivers_deinit(struct receivers *r)
{
	pthread_cond_destroy(&r->parking);
	pthread_mutex_destroy(&r->lock);
}

/* With the lock. */
static void set_wanted(struct receivers *r)
{
	r->wanted = MIN((r->many ? r->sides : 1) + r->extra, r->threads);
	pthread_cond_broadcast(&r->parking);
}

static void want_extra(struct receivers *r, int more)
{
	pthread_mutex_lock(&r->lock);
	if (more > 0 ? r->wanted < r->threads : r->extra > 0) {
		r->extra += (unsigned)more;
		set_wanted(r);
	}
	pthread_mutex_unlock(&r->lock);
}

/* ---- on which CPU ---- */

/* With the lock: the CPU number `seat` of the two. */
static void stay_on(const struct receivers *r, unsigned seat)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &r->cpus) && seat-- == 0)
			CPU_SET(cpu, &one);
	/* Where that is not allowed (any more), it runs where it may. */
	(void)sched_setaffinity(0, sizeof(one), &one);
}

static void take_seat(struct receivers *r, struct receiver *self)
{
	pthread_mutex_lock(&r->lock);
	for (unsigned seat = 0; seat < 2 && !self->seat; seat++)
		if (!(r->seats & 1u << seat)) {
			r->seats |= 1u << seat;
			self->seat = (int)seat + 1;
			stay_on(r, seat);
		}
	pthread_mutex_unlock(&r->lock);
}

/* With the lock. */
static void leave_seat(struct receivers *r, struct receiver *self)
{
	if (!self->seat)
		return;
	r->seats &= ~(1u << (self->seat - 1));
	self->seat = 0;
	(void)sched_setaffinity(0, sizeof(r->cpus), &r->cpus);
}

/* ---- parking ---- */

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
	if (stuck && r->wanted < r->threads) {
		r->extra++;
		set_wanted(r);
	}
}

static void park(struct receivers *r, struct receiver *self)
{
	pthread_mutex_lock(&r->lock);
	leave_seat(r, self);
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
		park(r, self);
		now = 0; /* what waits now did so for other reasons */
	}
	if (r->many && !self->seat && r->sides == 2 && r->seats != 3) {
		take_seat(r, self);
	} else if (!r->many && self->seat) {
		pthread_mutex_lock(&r->lock);
		leave_seat(r, self);
		pthread_mutex_unlock(&r->lock);
	}
	self->since = now;
	r->waiting++;
	return !r->over;
}

/* Several call by turns, or no longer. */
static void count_turn(struct receivers *r, int tid)
{
	int turns = r->turns;
	bool many;

	turns = r->tid == tid ? MAX(turns - 1, 0) : MIN(turns + TURN, 2 * MANY_TURNS);
	r->tid = tid;
	r->turns = turns;
	many = r->many ? turns > 0 : turns >= MANY_TURNS;
	if (many == r->many || r->sides == 1)
		return;
	pthread_mutex_lock(&r->lock);
	r->many = many;
	set_wanted(r);
	pthread_mutex_unlock(&r->lock);
}

void receivers_leave(struct receivers *r, struct receiver *self, int tid, uint64_t now)
{
	/* A caller that came back before we did waited for nobody else. */
	bool waited = tid && tid != self->tid && self->since && now - self->since < AT_ONCE_NS;
	uint64_t busy = self->since - self->took;

	r->waiting--;
	if (!tid)
		return;
	self->took = now;
	self->tid = tid;
	r->taken++;
	count_turn(r, tid);
	if (waited && busy > VERY_SLOW_NS) {
		self->calls = 0;
		want_extra(r, 1);
	} else if (++self->calls >= CALM) {
		self->calls = 0;
		if (r->extra)
			want_extra(r, -1);
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
