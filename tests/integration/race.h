/*
 * race.h - an attacker in a process of its own changes the tree for a while, as fast as it can; the attack
 * counts its requests, what went wrong, and the longest.
 */
#pragma once

#include "tests/integration/guard.h"

static struct race {
	_Atomic bool stop;
	_Atomic uint64_t moves;   /* of the attacker that succeeded */
	_Atomic uint64_t escapes; /* that it saw itself */
} * shared;

static uint64_t longest_ns; /* of the requests of this race */

/* Runs in a process of its own until shared->stop. */
static inline pid_t attacker_start(void (*run)(void))
{
	const struct timespec pause = { .tv_nsec = 200000 };
	pid_t pid;

	*shared = (struct race){ 0 };
	longest_ns = 0;
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		run();
		_exit(0);
	}
	while (!shared->moves) /* not before it is really at it */
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	return pid;
}

static inline void attacker_stop(pid_t pid)
{
	shared->stop = true;
	(void)waitpid(pid, NULL, 0);
}

static inline uint64_t race_end(void)
{
	const char *wish = getenv("RACE_MS");

	return clock_ns() + (wish ? strtoull(wish, NULL, 0) : 300) * UINT64_C(1000000);
}

static inline int timed(int e, uint64_t start)
{
	longest_ns = MAX(longest_ns, clock_ns() - start);
	return e;
}
#define TIMED(call)                           \
	({                                    \
		uint64_t _start = clock_ns(); \
		timed(call, _start);          \
	})

static inline void report(const char *what, uint64_t requests, uint64_t wrong)
{
	check(!wrong && !shared->escapes && requests > 20 && shared->moves > 20,
	      "%s: %lu requests, %lu moves, %lu wrong", what, requests, shared->moves,
	      wrong + shared->escapes);
	check(longest_ns < GUARD_WAIT_MS * UINT64_C(1000000), "... none took longer than %.1f ms",
	      (double)longest_ns / 1e6);
}

static inline void exchange(const char *a, const char *b)
{
	_cleanup_free_ char *first = strdup(in_dir(volume, a)), *second = strdup(in_dir(volume, b));

	while (!shared->stop && first && second)
		if (renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) == 0)
			shared->moves++;
}

/* Before guard_start(). */
static inline void race_init(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		die("mmap");
}
