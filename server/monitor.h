/*
 * monitor.h - the process that accepts: pid 1 of the confined namespaces.
 *
 * It talks to the front over one SEQPACKET socket, in single packets. To the front: MONITOR_READY
 * once; MONITOR_WHO with a connected socket, answered by struct monitor_who before the next accept.
 * (In a user namespace every uid but our own looks like nobody; the front sees them as they are.)
 * The end of that socket is the end of the front, and of everything.
 *
 * Signals: SIGTERM drains (sessions are told to end, and ended after drain_ms); SIGUSR1 retires (no
 * new sessions, the present ones stay for as long as they like).
 */
#pragma once

#include "server/confine.h"
#include "server/listener.h"

enum { MONITOR_READY = 1, MONITOR_WHO = 2 };

struct monitor_who {
	int32_t result; /* 0 or -errno */
	int32_t pid;
	uint32_t uid, gid;
};

struct monitor_config {
	struct server *server;
	struct confine *confine;
	struct listener *listeners;
	size_t n_listeners;
	const uid_t *allowed_uids; /* who may connect */
	size_t n_allowed_uids;
	bool allow_any_uid;
	int control;                      /* to the front */
	int handoff;                      /* from the TLS gate; -EBADF */
	const struct access_list *access; /* what its numbers mean */
	/* What a worker does once it is confined: session_run(), or a test's look around. */
	int (*serve)(const struct server *server, int sock, const struct peer *peer, int proc_fd,
		     const volatile sig_atomic_t *draining);
};

/* Confines itself, serves, and returns the exit status when it is done. Only the first error is
 * reported, as one line. */
int monitor_run(struct monitor_config *config);
/* Only confines itself and a trial worker, so that the report of the layers is complete. Returns
 * the exit status. */
int monitor_explain(struct monitor_config *config);
/* The two steps of which both are made, for tests that look at a worker's world from inside. */
int monitor_confine(struct monitor_config *config, struct serve_error *error);
/* Forks a worker that confines itself, then serves on sock (borrowed; -EBADF: only confines
 * itself). Its pid or -errno. */
pid_t monitor_fork_worker(struct monitor_config *config, int sock, const struct peer *peer);
