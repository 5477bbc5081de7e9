/*
 * trace.h - one thread of a server, stopped before its system calls (ptrace).
 *
 * Between requests the thread waits in recvmsg and is not traced at all. tracer_hold() takes hold of
 * it there; then a request is sent, and tracer_run() lets it be executed, calling back before each
 * system call that looks at or changes files. Calls about memory, time, sockets and descriptors
 * alone are no places to stop at: what is done before one of them might as well be done before the
 * next.
 */
#pragma once

#include <sys/types.h>

#include "common/util.h"

struct tracer {
	pid_t pid; /* 0: none */
};

/* Attaches to a process that has one thread. */
int tracer_attach(struct tracer *t, pid_t pid);
void tracer_detach(struct tracer *t);

/* Until it waits in recvmsg, and will be stopped when it comes out. */
int tracer_hold(struct tracer *t);
/*
 * Lets it execute what it received. `before` is called at each stop, with its number, from 0, and
 * the number of the system call, until it returns true: then 1 is returned, and the thread goes on
 * unhindered. 0 when it wants to receive again. -ETIMEDOUT where a system call does not end; -ESRCH
 * where the process has.
 */
int tracer_run(struct tracer *t, bool (*before)(void *userdata, unsigned gap, long call),
	       void *userdata);

const char *system_call_name(long call, char buf[static 24]);
