/*
 * resume.h - sessions that outlive their connections: what a worker and the monitor say to each other
 * about them, and what the worker does.
 *
 * Mental model. A client over a stream that asks for it (the feature "resume" of Hello) gets a token. When
 * its connection is lost, all requests that have come are executed, all threads but the first end, and
 * the worker waits: with all handles, identities, and the replies that may have been lost. A new connection
 * comes to a new worker, like any other. If its Hello has a token, that worker asks the monitor, which knows
 * whose it is: only the same client's, and then the old connection, if it is still there, is shut down, and
 * the new one goes to the worker that waits. It answers that Hello, sends the replies once more, and goes on.
 *
 * So nothing is executed twice, and nothing is lost but time. Which replies are kept: those to requests that
 * must not be repeated, the last max_in_flight of them in the order in which they were sent. No more can be
 * under way, because a client has no more requests out; and what got lost of a stream is its end.
 */
#pragma once

#include <pthread.h>

#include "proto/rpc.h"
#include "server/server.h"

struct session;
struct worker;

/* ---- between a worker and the monitor: single packets ---- */

enum link_kind {
	LINK_TOKEN = 1, /* worker: one for my session. Monitor: this */
	LINK_RESUME =
		2,     /* worker: who has this token is to have this socket; `tag` is its Hello's */
	LINK_LOST = 3, /* worker: the connection is lost, the session waits */
	LINK_NO = 4,   /* monitor: none */
	LINK_YES = 5,  /* monitor: it has it; end without touching it */
	LINK_TAKE = 6, /* monitor: your session's new socket, and its Hello's tag */
	LINK_LEFT = 7, /* worker: it is not to be kept */
};

struct link_message {
	uint32_t kind, tag;
	uint8_t token[RPC_TOKEN_SIZE];
};

/* ---- the worker ---- */

struct replay {
	uint8_t *frame;
	size_t len;
};

struct resume {
	_Atomic bool on;   /* the session has a token, and can be kept */
	_Atomic bool lost; /* its connection ended, and not because somebody wanted it */
	bool again;        /* the Hello that is answered is of another connection */
	uint8_t token[RPC_TOKEN_SIZE];
	pthread_mutex_t lock; /* around sending: the ring is in the order of what was sent */
	struct replay *ring;  /* of max_in_flight */
	uint32_t next, n;
};

void resume_init(struct session *s);
void resume_deinit(struct session *s);
/* Hello asks for it. False: the monitor has no room, or there is none. */
bool resume_begin(struct session *s);
/* Hello has a token: true where the connection is another worker's from now on. */
bool resume_hand_over(struct session *s, const uint8_t token[static RPC_TOKEN_SIZE], uint32_t tag);
/* Whether the session is not to end with its connection. */
bool resume_wanted(const struct session *s);
/* Never more: the client leaves, or it broke the framing, or a reply could not be kept. */
void resume_off(struct session *s);
/* With resume.lock, before they are sent: whole frames, the last perhaps without its payload. */
void resume_keep(struct session *s, const uint8_t *frames, size_t len);
/*
 * All other threads have ended. Waits for another connection; true when there is one: s->sock, and *ret_tag is its Hello's. False when
 * nobody came in time, or the server ends.
 */
bool resume_wait(struct session *s, uint32_t *ret_tag);
/* Sends the replies that are kept. */
int resume_replay(struct worker *w);
