/*
 * confine.h - taking away from the server's processes whatever serving the volumes does not need.
 *
 *     confine_fork()     the monitor starts in namespaces of its own (a user namespace too, unless
 *                        root started the server)
 *     confine_monitor()  detaches the volumes, swaps the root for an empty read-only one, drops
 *                        what only setting up needed
 *     confine_worker()   per session: own procfs view, one user, least capabilities, no_new_privs,
 *                        Landlock, seccomp, rlimits
 *
 * Each step is a *layer*. Whether it holds is written to a report in shared memory, and with
 * --confine=strict a layer that does not hold ends the process. The report is complete only after a
 * worker was confined: the monitor confines a trial one at start.
 */
#pragma once

#include <sys/types.h>

#include "server/serve_error.h"
#include "server/server.h"

enum confine_layer {
	CONFINE_USER_NS,
	CONFINE_NAMESPACES,
	CONFINE_DETACHED,
	CONFINE_ROOT,
	CONFINE_PROC,
	CONFINE_RLIMITS,
	CONFINE_IDENTITY,
	CONFINE_CAPS,
	CONFINE_NO_NEW_PRIVS,
	CONFINE_NO_DUMP,
	CONFINE_LANDLOCK,
	CONFINE_SECCOMP,
	CONFINE_LAYERS,
};

struct confine_layer_state {
	int result; /* 0 = holds; 1 = not needed here; -errno; -EINPROGRESS = not tried yet */
	char detail[120];
};

struct confine_report {
	struct confine_layer_state layers[CONFINE_LAYERS];
};

struct confine_seccomp {
	bool openat;    /* --no-openat2 */
	bool connect;   /* special=allow */
	bool switching; /* requests run under several identities */
};
/* The list of system calls as a program of the kernel's, in memory of its own. */
struct confine_program {
	struct confine_seccomp allow;
	void *code;
	size_t size;
	int error; /* why there is none, or 0 */
};

struct confine {
	bool strict;
	bool no_openat2;               /* workers use openat instead */
	unsigned namespaces;           /* CLONE_NEW* that we are in */
	struct confine_report *report; /* shared memory, until confine_settle() */
	uid_t outer_uid;
	gid_t outer_gid;
	/* what a worker may need beyond files */
	bool may_connect; /* some volume is special=allow */
	/* By whether requests run under several identities: see confine_prepare(). */
	struct confine_program programs[2];
};

int confine_init(struct confine *confine, const struct server *server, bool strict,
		 bool no_openat2);
void confine_deinit(struct confine *confine);

/* For people: "mount, pid, ... namespaces". */
const char *confine_layer_name(enum confine_layer layer);
/* Whether every layer holds; else, in best effort, a line that names those that do not. */
bool confine_complete(const struct confine *confine, char *ret_missing, size_t size);

/* Forks into new namespaces. The child's pid, 0 in the child, or -errno (strict, and the namespaces
 * cannot be had). */
pid_t confine_fork(struct confine *confine, struct serve_error *error);
/* In that child, before anything else. */
int confine_monitor(struct confine *confine, struct server *server, struct serve_error *error);

/* In the monitor, once: makes what all workers use. */
void confine_prepare(struct confine *confine, const struct server *server);

/*
 * In a fresh child of the monitor, single-threaded: everything of a worker's confinement, in order.
 * Descriptors but stderr, the volumes, `sock` and `link` (0: none) are closed. *ret_proc_fd: this process's own
 * /proc/self/fd.
 */
int confine_worker(struct confine *confine, struct server *server, int sock, int link,
		   int *ret_proc_fd, struct serve_error *error);

/*
 * Before the first worker that serves somebody: from now on what the report says is the caller's own.
 * A worker that was taken over could otherwise tell those that are confined after it what holds.
 */
int confine_settle(struct confine *confine);

/* Closes every descriptor above stderr but keep[0..n), which it sorts. */
int confine_close_others(int *keep, size_t n);

/* ---- the layers that are files of their own: 0 or -errno, `detail` says what holds ---- */

/* Permitted and inheritable := keep, effective := those of them that are to be had at once; the
 * bounding set too. */
int confine_caps(uint64_t keep, char *detail, size_t size);
/* Rights on the volumes' trees only; no network, no signals, no abstract sockets where the kernel
 * knows how. -EOPNOTSUPP. */
int confine_landlock(const struct server *server, char *detail, size_t size);

void confine_seccomp_compile(const struct confine_seccomp *allow, struct confine_program *ret);
void confine_program_deinit(struct confine_program *program); /* also of a zeroed one */
int confine_seccomp(const struct confine_program *program, char *detail, size_t size);
