/*
 * options.h - the command line of `gofer run`, as words: nothing is looked up here, and everything is borrowed from argv or
 * owned by the struct until run_options_deinit().
 */
#pragma once

#include "client/run/plan.h"
#include "client/run/problem.h"

enum run_root {
	RUN_ROOT_HOST, /* the host's /usr, /etc ... */
	RUN_ROOT_NONE, /* the volumes, and what no program does without */
	RUN_ROOT_DIR,
};

/* -v HOST:GUEST[:OPTION,...], and --root DIR. */
struct run_volume_option {
	const char *text; /* as given, for messages */
	char *host;       /* as given, escapes resolved */
	char *guest;
	char *server_options; /* those that the private server decides: "special=allow,caps=chown", or NULL */
	bool read_only, xdev, noexec;
};

struct run_options {
	struct run_volume_option *volumes;
	size_t n_volumes;
	enum run_root root;
	struct run_volume_option root_dir; /* RUN_ROOT_DIR */
	enum run_net net;
	const char *chdir;
	const char *hostname;
	enum run_interop interop;
	const char **env; /* --env: "K=V", or "K" = as the caller has it */
	size_t n_env;
	bool clear_env;
	const char *audit; /* FILE, "-" = standard error */
	bool stats, explain, json;
	int json_status_fd;
	uint32_t require; /* bits of layers */
	uint32_t without;
	const char *confine; /* for the private server: "strict", "best-effort" */
	char **argv;         /* the command; NULL only with --explain */
};

/* argv[0] is the verb. 0, 1 = help was printed, -EINVAL with words, -ENOMEM. */
int run_options_parse(int argc, char **argv, struct run_options *ret_options,
		      char problem[static RUN_PROBLEM_MAX]);
void run_options_deinit(struct run_options *options);

/* ---- options_volume.c ---- */

/* One -v more: there is room for it. */
int run_volume_option_take(struct run_options *o, const char *text, char *problem);
/* --root; the last one counts. */
int run_root_option_take(struct run_options *o, const char *text, char *problem);
void run_volume_option_deinit(struct run_volume_option *v);
