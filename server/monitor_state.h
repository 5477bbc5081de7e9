/*
 * monitor_state.h - inside the monitor: its sessions, and what its files share.
 */
#pragma once

#include <event2/event.h>

#include "common/log.h"
#include "server/monitor.h"
#include "server/resume.h"

struct session {
	struct session *next;
	struct monitor *monitor;
	pid_t pid;
	struct peer peer; /* without its link; the groups are ours */
	/* Of a stream, where sessions are kept: */
	int link; /* to its worker; -EBADF = none */
	struct event *link_event;
	int sock;      /* its connection's, so that it can be shut down */
	ssize_t token; /* where it is in monitor.tokens; -1 = none */
	bool lost;     /* it waits for another connection */
	uint64_t lost_at;
	unsigned messages; /* that its worker sent */
};

struct monitor {
	struct monitor_config *config;
	struct event_base *base;
	struct event **listening; /* one per listener */
	struct event *signals[3], *control, *handoff, *pause, *deadline;
	struct session *sessions;
	size_t n_sessions;
	int reserve; /* given up to accept when the table is full */
	bool ending; /* no new sessions */
	struct log_limit refused, failed;
	/* Of max_sessions, in memory that no worker gets a copy of: NULL = no session is kept. */
	uint8_t (*tokens)[RPC_TOKEN_SIZE];
};

/* ---- monitor_keep.c ---- */
int keep_init(struct monitor *m);
void keep_deinit(struct monitor *m);
/* Before its worker is forked: *ret_link is the worker's end, to be closed here afterwards; 0 where the session is not to be kept. */
void keep_prepare(struct monitor *m, struct session *s, int sock, int *ret_link);
/* Its worker runs, or is not to. */
void keep_start(struct session *s);
void keep_stop(struct session *s);
