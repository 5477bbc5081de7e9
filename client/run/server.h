/*
 * server.h - the private gofer of one `gofer run`: a process of this same program, confined as `gofer serve` confines itself, that
 * holds the volumes and serves one client.
 */
#pragma once

#include <sys/types.h>

#include "client/gofer.h"
#include "client/run/plan.h"
#include "client/run/problem.h"

struct run_server {
	pid_t pid;    /* 0: none */
	pid_t worker; /* its process that serves the session; 0: not known */
	struct gofer_session *session;
};

/*
 * Starts it and opens the session. confine: "strict" or "best-effort". -errno with words in `problem`; what the server itself said
 * is on standard error by then. Blocks until the server has answered Hello.
 */
int run_server_start(const struct run_plan *plan, const char *confine,
		     struct run_server *ret_server, char *problem);
/* Closes the session, and waits for the process, which ends by that. */
void run_server_stop(struct run_server *server);
