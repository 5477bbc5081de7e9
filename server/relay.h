/*
 * relay.h - processes that stand between a client's connection and its session, and move bytes.
 */
#pragma once

#include "server/serve_error.h"

/*
 * One connected socket for a client on standard input and output, which are /dev/null afterwards.
 * Two pipes are joined by a child, *ret_pid (else 0), which ends when both sides have.
 */
int relay_stdio(bool strict, int *ret_sock, pid_t *ret_pid, struct serve_error *error);

/*
 * Takes from the calling process, single-threaded, whatever moving bytes between descriptors that
 * it has does not need. *ret_detail: what holds, or failed. Without `strict` it goes on without what
 * cannot be had.
 */
enum relay_kind {
	RELAY_PIPES, /* two pipes and a socket */
	RELAY_TLS,   /* a connection and a socket: hands the latter's other end over */
	RELAY_GATE,  /* accepts, forks and confines those */
};
int confine_relay(enum relay_kind kind, bool strict, char *detail, size_t size);
