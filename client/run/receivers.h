/*
 * receivers.h - the supervisor's threads that take notifications: as few at a time as will do.
 *
 * The kernel wakes every thread that waits for a notification, and all but one go back to sleep: with eight, that cost more than
 * the call itself. So one waits, and the others are parked. One more comes when
 *
 *   * a call of another thread was found waiting after a slow one: it need not have. (It matters too that a call that nobody has
 *     taken yet can be interrupted by a signal, and one that was taken cannot.)
 *   * those that are there have taken nothing and not come back for a while: storage can hang in any call. One of the parked, the
 *     watchman, looks every TICK_MS as long as calls come in.
 *
 * When calls have found a thread waiting for long enough, one parks again.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct receivers {
	pthread_mutex_t lock;
	pthread_cond_t parking;
	unsigned threads;         /* parked or not */
	unsigned cpus;            /* no more than that for calls that are only a little slow */
	_Atomic unsigned active;  /* not parked */
	_Atomic unsigned wanted;  /* as many as that should be active */
	_Atomic unsigned waiting; /* in the kernel, for the next call */
	_Atomic uint64_t taken;   /* calls */
	_Atomic int tid;          /* whose was taken last */
	_Atomic bool watched;     /* the watchman looks */
	bool has_watchman;
	unsigned quiet; /* the watchman's: looks since a call came last */
	bool over;
};

/* One thread's own. */
struct receiver {
	int tid;        /* whose call it took last */
	bool alternate; /* the call before it, whichever thread took that, was somebody else's */
	unsigned calls; /* since one waited for it */
	uint64_t took;  /* when it took the last */
	uint64_t since; /* when it began to wait */
};

void receivers_init(struct receivers *r, unsigned threads);
void receivers_deinit(struct receivers *r);
/* A thread, before each time that it waits for a call: parks it while it is not needed. False: it is over. `now`: by call_clock(). */
bool receivers_enter(struct receivers *r, struct receiver *self, uint64_t now);
/* The wait has ended: a call by `tid` was taken, or none (0). */
void receivers_leave(struct receivers *r, struct receiver *self, int tid, uint64_t now);
/* Ends the parking. */
void receivers_end(struct receivers *r);
