/*
 * receivers.h - the supervisor's threads that take notifications: as few at a time as will do.
 *
 * The kernel wakes every thread that waits for a notification, and all but one go back to sleep: with eight, that cost more than
 * the call itself. So one waits, where the caller runs (Linux wakes it there), and the others are parked. More come when
 *
 *   * several threads of the sandbox call by turns: then one for each CPU, up to SIDES. Of two CPUs each has one that stays there. If
 *     they were free to move, they and their callers would end up together on one CPU, as each wakes the other where it is itself;
 *   * a call of another thread was found waiting after a very slow one: it need not have. (It matters too that a call that nobody has
 *     taken yet can be interrupted by a signal, and one that was taken cannot.)
 *   * those that are there have taken nothing and not come back for a while: storage can hang in any call. One of the parked, the
 *     watchman, looks every TICK_MS as long as calls come in.
 *
 * They park again when the reason has gone for long enough.
 */
#pragma once

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { SIDES = 4 };

struct receivers {
	pthread_mutex_t lock;
	pthread_cond_t parking;
	unsigned threads;         /* parked or not */
	cpu_set_t cpus;           /* that they may run on */
	unsigned sides;           /* how many of these count */
	_Atomic unsigned active;  /* not parked */
	_Atomic unsigned wanted;  /* as many as that should be active */
	_Atomic unsigned waiting; /* in the kernel, for the next call */
	_Atomic uint64_t taken;   /* calls */
	_Atomic int tid;          /* whose was taken last */
	_Atomic int turns;        /* how much they are of different threads */
	_Atomic bool many;        /* the first reason: it is so now */
	_Atomic unsigned extra;   /* of the wanted, those for the other reasons */
	_Atomic unsigned seats;   /* bits: CPUs that have their thread, of two */
	_Atomic bool watched;     /* the watchman looks */
	bool has_watchman;
	unsigned quiet; /* the watchman's: looks since a call came last */
	_Atomic bool over;
};

/* One thread's own. */
struct receiver {
	int tid;        /* whose call it took last */
	int seat;       /* 1 + the CPU where it stays; 0: none */
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
/* Whether the kernel should wake a receiver where its caller runs, and a caller where its receiver does. */
static inline bool receivers_wake_here(const struct receivers *r)
{
	return r->sides <= 2 || !atomic_load_explicit(&r->many, memory_order_relaxed);
}
/* Ends the parking. */
void receivers_end(struct receivers *r);
