/*
 * bystander.h - another client, that has nothing to do with what goes on: a process that asks for
 * the attributes of one file all the time and measures how long it waits.
 *
 * The file is "/steady", 6 bytes, in a filesystem that the attacks do not change.
 */
#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>

#include "tests/integration/proof.h"

struct bystander {
	_Atomic bool stop;
	_Atomic uint64_t calls, errors, longest_ns;
	pid_t pid;
};

__attribute__((noreturn)) static inline void bystander_run(struct bystander *b, const char *fs,
							   int ready)
{
	const struct timespec pace = { .tv_nsec = 500000 };
	struct gofer_session *s;
	struct gofer_namespace *ns;
	struct stat st;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	s = session_connect();
	ns = namespace_of(s, fs, NULL);
	if (write(ready, "r", 1) != 1)
		_exit(1);
	while (!b->stop) {
		uint64_t start = clock_ns(), took;

		b->errors += gofer_stat(ns, "/steady", 0, &st) != 0 || st.st_size != 6;
		took = clock_ns() - start;
		b->longest_ns = MAX(b->longest_ns, took);
		b->calls++;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pace, NULL);
	}
	gofer_namespace_free(ns);
	gofer_session_close(s);
	_exit(0);
}

/* Connected when this returns. */
static inline struct bystander *bystander_start(const char *fs)
{
	struct bystander *b =
		mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int ready[2];
	char byte;
	pid_t pid;

	if (b == MAP_FAILED || pipe2(ready, O_CLOEXEC) < 0)
		die("bystander");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0)
		bystander_run(b, fs, ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("the bystander could not connect");
	b->pid = pid; /* the page is shared: not before the child has left this function */
	close(ready[0]);
	return b;
}

/* Its end, which must be a good one. */
static inline bool bystander_stop(struct bystander *b, int *ret_status)
{
	b->stop = true;
	return waitpid(b->pid, ret_status, 0) == b->pid && *ret_status == 0;
}
