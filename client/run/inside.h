/*
 * inside.h - what cage.c, layers.c and the processes inside the sandbox share. Nobody else includes it.
 *
 * "Inside" code runs in a child that was cloned without exec: single-threaded, with a copy of our memory, and with nothing to
 * say but through a socket.
 */
#pragma once

#include <linux/filter.h>
#include <signal.h>
#include <sys/types.h>

#include "client/run/plan.h"
#include "client/run/problem.h"
#include "client/run/terminal.h"

/* ---- namespaces (namespaces.c) ---- */

unsigned layers_clone_flags(uint32_t layers);
/* From outside, for a child in a user namespace of its own: root's whole range, or the own uid and gid. */
int inside_map_ids(pid_t pid);
int inside_loopback_up(void);
/* No user namespaces below this one. `root` has a procfs at "proc". */
int inside_forbid_namespaces(int root);
/* All capabilities, in every set, for good; root is nobody special afterwards. no_new_privs. */
int inside_drop_privileges(void);

/* ---- children.c ---- */

/* `proc`: a descriptor of a /proc that shows the caller's process namespace. The caller's children; malloc'ed. */
int children_list(int proc, pid_t **ret_children, size_t *ret_n);
/* Whether `pid` is `ancestor` or descends from it: 1, 0. */
int children_below(int proc, pid_t pid, pid_t ancestor);

/* ---- mounts.c ---- */

/* A procfs of the caller's pid namespace that hangs nowhere. */
int mounts_new_proc(void);
/* Replaces the root by the plan's. */
int mounts_build(const struct run_plan *plan, char problem[static RUN_PROBLEM_MAX]);

/* ---- landlock.c ---- */

/* Puts the caller into the program's domain. no_new_privs is set already. */
int run_landlock(const struct run_plan *plan, char problem[static RUN_PROBLEM_MAX]);

/* ---- agent.c: init ---- */

/* What a process says about itself while the sandbox is built, and at its end. */
struct inside_report {
	enum inside_stage {
		INSIDE_READY,   /* init: the program's process exists; its pidfd comes along */
		INSIDE_ROOT,    /* init: view_root comes along */
		INSIDE_FILTER,  /* the program: `value` is the number of the listener */
		INSIDE_EXEC,    /* the program: execve failed, error says why */
		INSIDE_STOPPED, /* init: the program was stopped by signal `value` */
		INSIDE_END,     /* init: `value` is the program's wait status */
		INSIDE_FAILED,  /* anybody */
	} stage;
	int error;
	int value;
	char problem[RUN_PROBLEM_MAX];
};

enum inside_op { INSIDE_OP_SIGNAL, INSIDE_OP_CONTINUE, INSIDE_OP_BIND };

/* A request to init. Descriptors come along with BIND: the socket and the directory. */
struct inside_request {
	enum inside_op op;
	int value;    /* the signal; the umask */
	unsigned len; /* of address */
	char address[128];
};

struct inside_args {
	const struct run_plan *plan;
	const struct sock_fprog *filter;
	const struct terminal *terminal;
	int control; /* requests, answered with one int each */
	int status;  /* struct inside_report, to the supervisor */
	int start;   /* the program's own line to the supervisor */
};

/* The life of init, from clone(2) to _exit(2). */
void inside_init(const struct inside_args *args) __attribute__((noreturn));

/* ---- program.c ---- */

/* From the program's birth to its execve(2). `mask`: the signal mask that it begins with. */
void inside_program(const struct inside_args *args, const sigset_t *mask) __attribute__((noreturn));
