/*
 * serve.h - what `gofer serve` was asked to do, and the process that sees to it (the front).
 */
#pragma once

#include "common/log.h"
#include "common/tls.h"
#include "server/confine.h"
#include "server/listener.h"

enum { SERVE_EXIT_USAGE = 2, SERVE_LISTEN_MAX = 16, SERVE_UIDS_MAX = 256 };

struct serve_options {
	char **specs; /* -v, borrowed from argv */
	size_t n_specs;
	const char *listen[SERVE_LISTEN_MAX];
	size_t n_listen;
	struct listener_options socket;
	uid_t allowed_uids[SERVE_UIDS_MAX];
	size_t n_allowed_uids;
	bool allow_any_uid;
	struct server_limits limits;
	bool best_effort, no_openat2, log_requests, json, explain, allow_overlap, stdio;
	struct log_options log;
	int ready_fd;
	struct tls_files tls; /* borrowed, too */
	const char *tls_access;
	const char *run; /* --run, for the shell */
	char **command;  /* after "--"; NULL */
};

/* Fills *ret from argv. 0, 1 = help was printed, or -EINVAL with words. */
int serve_options_parse(int argc, char **argv, struct serve_options *ret,
			struct serve_error *error);
void serve_options_deinit(struct serve_options *options);

/* Serves until a signal, the command or the only client ends it. Returns the exit status. */
int serve_front(const struct serve_options *options);
/* --explain-confinement. Exit status: 0 every layer holds, else 1. */
int serve_explain(const struct serve_options *options);

/* ---- shared by the two ---- */

/* Opens all volumes into *ret and checks them against each other. */
int serve_open_server(const struct serve_options *options, struct server_shared *shared,
		      struct server *ret, struct serve_error *error);
void serve_close_server(struct server *server);
