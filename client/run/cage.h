/*
 * cage.h - the processes and namespaces in which the program runs.
 *
 * Mental model. Three processes of ours and then the program's:
 *
 *     gofer run (the supervisor: outside, holds the session and the notification descriptor)
 *       `- init (pid 1 of the sandbox where there is a process namespace: trusted code; reaps, passes signals on, and is the
 *           |    supervisor's *agent* for what only somebody inside the mount namespace can do: bind(2) of Unix sockets)
 *           `- the program (filter, Landlock, no_new_privs, no capabilities)
 *
 * cage_start() comes back when the program's process stands at its execve(2), with the filter installed; cage_go() lets it go.
 * The first intercepted call is that execve, so the supervisor's threads must run by then.
 */
#pragma once

#include <pthread.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "client/run/plan.h"
#include "client/run/problem.h"
#include "client/run/terminal.h"

struct cage {
	pid_t init; /* our child, as our process namespace numbers it */
	int init_pidfd;
	int listener;  /* seccomp's notification descriptor */
	int view_root; /* O_PATH descriptor of the sandbox's "/": paths resolved from it with RESOLVE_IN_ROOT see what the program
			  sees. Without RUN_LAYER_MOUNT the host's "/" */
	char problem[RUN_PROBLEM_MAX]; /* words, after a failure */

	/* cage.c's own */
	pthread_mutex_t lock; /* one request on `control` at a time */
	int control, status, start;
	struct terminal terminal;
	bool reaping;  /* orphans of the sandbox come to us */
	pid_t *others; /* children that we had before */
	size_t n_others;
};
#define CAGE_NULL                                                                       \
	{                                                                               \
		.init_pidfd = -EBADF, .listener = -EBADF, .view_root = -EBADF,          \
		.lock = PTHREAD_MUTEX_INITIALIZER, .control = -EBADF, .status = -EBADF, \
		.start = -EBADF, .terminal = TERMINAL_NULL,                             \
	}

/*
 * Builds it. 0; -errno with cage->problem in words: what could not be done and what to do about it. A layer that
 * plan->layers says holds and that then fails is a failure, never left out silently. Blocks until the program's process is ready.
 *
 * To be called by the main thread (init dies with the thread that made it), while there is no other, and before signals are ignored or
 * handled: the program begins with the signal mask and the ignored signals that the caller has now, with its umask, its limits,
 * its terminal, and in its process group. So the keys of the terminal reach the program by themselves: a signal that has si_code SI_KERNEL is not
 * to be passed on. Descriptors but 0, 1 and 2 stay outside. cage_deinit() after a failure, too.
 */
int cage_start(const struct run_plan *plan, struct cage *cage);
/* Lets the program begin. */
int cage_go(struct cage *cage);
/* Passes a signal on to the program. */
int cage_signal(struct cage *cage, int sig);
/*
 * Waits for the end of the program (and of everything in its process namespace). *ret_status is as waitpid(2) gives it for the
 * program. *ret_exec_errno: 0, or the errno with which its execve(2) failed (then status means nothing).
 */
int cage_wait(struct cage *cage, int *ret_status, int *ret_exec_errno);
/*
 * Kills what is left and reaps. Children that the caller had before cage_start() are left alone; without RUN_LAYER_PID it is a child
 * subreaper from then on, and must start no others.
 */
void cage_end(struct cage *cage);
/* And closes: by then nobody may be using its descriptors any more. */
void cage_deinit(struct cage *cage);
/*
 * For the supervisor, after cage_start(): no capability, none to be had again, and no look into its memory. (It may still read the
 * program's: whoever made a user namespace has all capabilities over what runs in it.) 0 or -errno.
 */
int cage_harden_supervisor(void);

/*
 * Whether a process is of the program (init is not), by the numbers of our own process namespace: 1, 0. It says so of whoever has the
 * number now: hold the process by a pidfd first.
 */
int cage_has(const struct cage *cage, pid_t pid);

/* ---- the agent: blocking, one request at a time, thread-safe ---- */

/*
 * bind(2) of `sock` to a pathname address as a process with the directory `cwd_fd` and `umask` would do it inside. Only
 * with RUN_LAYER_MOUNT. The caller has checked that the volume may be written.
 */
int cage_bind(struct cage *cage, int sock, int cwd_fd, mode_t umask, const struct sockaddr_un *addr,
	      socklen_t len);
