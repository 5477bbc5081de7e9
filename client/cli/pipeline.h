/*
 * pipeline.h - many requests in flight on the command's session.
 *
 * Callbacks run inside pipe_submit(), pipe_wait() and pipe_drain(), on the one thread there is, and
 * must not submit: they note what is to be done next.
 */
#pragma once

#include <signal.h>

#include "client/cli/cli.h"
#include "proto/rpc.h"

/* Sends, making room first if the server's limit of requests in flight is reached. 0 or -errno; the
 * callback is not called on failure. */
int pipe_submit(struct cli *c, const struct gofer_request *request, gofer_callback callback,
		void *userdata);
/* The signal that arrived, where the verb catches any. */
extern volatile sig_atomic_t pipe_signal;
/* Handles at least one reply. -EINTR when a signal came first, -ETIMEDOUT when the server is
 * silent. */
int pipe_wait(struct cli *c);
/* Handles replies until *in_flight, which the callbacks count down, is 0: of a verb that stops. */
void pipe_finish(struct cli *c, const unsigned *in_flight);
/* A Path message of `v` for `path`, borrowed. */
void pipe_path(Gofer__Path *ret_path, const struct cli_volume *v, const char *path);
