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

#include <sys/socket.h>
#include <sys/types.h>

#include "client/run/plan.h"

struct cage {
	pid_t init;    /* our child, as our process namespace numbers it */
	int init_pidfd;
	int listener;  /* seccomp's notification descriptor */
	int view_root; /* O_PATH descriptor of the sandbox's "/": paths resolved from it with RESOLVE_IN_ROOT see what the program
			  sees. Without RUN_LAYER_MOUNT the host's "/" */
	int control;   /* SEQPACKET socket to init */
	char problem[512]; /* words, after a failure */
};
#define CAGE_NULL { .init = 0, .init_pidfd = -EBADF, .listener = -EBADF, .view_root = -EBADF, .control = -EBADF }

/*
 * Builds it. 0; -errno with cage->problem in words: what could not be done and what to do about it. A layer that
 * plan->layers says holds and that then fails is a failure, never left out silently. Blocks until the program's process is ready.
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
/* Kills what is left, reaps, closes. */
void cage_deinit(struct cage *cage);

/* ---- the agent: blocking, one request at a time, thread-safe ---- */

/*
 * bind(2) of `sock` to a pathname address as a process with the directory `cwd_fd` and `umask` would do it inside. Only
 * with RUN_LAYER_MOUNT. The caller has checked that the volume may be written.
 */
int cage_bind(struct cage *cage, int sock, int cwd_fd, mode_t umask, const struct sockaddr_un *addr, socklen_t len);
/* Whether the listening peer of a connected Unix stream socket belongs to the sandbox: 1, 0, -errno. */
int cage_peer_inside(struct cage *cage, int sock);
