/*
 * live.h - a server's session in a thread of the fuzzer, unconfined, so that its coverage counts;
 * and the client that plays an input's steps against it, and knows what must hold of any answer:
 *
 *   * each request that was taken has exactly one reply, of its own type, that decodes
 *   * nothing from outside the tree: not the secret's bytes, not the attributes of what holds it
 *   * a read-only filesystem is never changed, and nothing writable is donated from it
 *   * the session ends when the peer is gone, and leaves no descriptor and no memory behind
 */
#pragma once

#include <pthread.h>

#include "server/server.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/message.h"
#include "tests/fuzz/tree.h"

/* fs_id: what of */
enum live_volume {
	LIVE_HOST = 1,
	LIVE_READ_ONLY,
	LIVE_PATHWALK,
	LIVE_SPECIAL,  /* special=allow, donate=ro, without openat2 */
	LIVE_DELEGATE, /* special=allow; only where we are root */
	LIVE_VOLUMES = 5,
};

struct live_server {
	struct fuzz_tree *tree;
	struct server server;
	struct server_shared shared;
	struct volume volumes[LIVE_VOLUMES];
	int proc_fd;
	bool by_path, old_kernel; /* LIVE_DELEGATE: pathwalk, or without openat2 */
	bool raced;               /* the tree changes meanwhile: nothing is served by path */
	bool rooted;              /* its threads have the tree's base as their root */
};

struct live_session {
	struct live_server *live;
	struct peer peer;
	pthread_t thread;
	int server_sock, result;
};

struct player {
	struct fuzz_tree *tree;
	int sock;     /* -EBADF: hung up */
	bool over;    /* the server has ended the session, or is about to */
	bool changed; /* perhaps, the tree */
	struct {
		uint32_t tag, fs_id;
		uint16_t type;
		bool writes;
	} waiting[4 * FRAME_MAX_PER_PACKET];
	unsigned n_waiting;
	uint64_t handles[MESSAGE_HANDLES];
	unsigned n_handles;
	bool secret_sent; /* it is in the input: then an answer proves nothing */
	uint8_t out[FRAME_MAX_PACKET + 65536], in[FRAME_MAX_PACKET];
	size_t out_used;
};

void live_init(struct live_server *l, struct fuzz_tree *tree);
/* Opens the volumes on the tree as it is now. */
void live_open(struct live_server *l);
void live_close(struct live_server *l);
/* Starts a session, and returns the client's socket. */
int live_start(struct live_session *s, struct live_server *l, uid_t peer);
/* Waits for its end, which must be a good one. The client's socket is closed. */
void live_join(struct live_session *s);

/*
 * The whole of an input, with Hello before it unless the first step is STEP_WAIT. only: those of the first (0) or the second (1)
 * of two sessions, or -1. The caller closes player.sock, which ends the session.
 */
void play(struct player *p, struct fuzz_tree *tree, int sock, const struct step *steps, size_t n,
	  int only);
