/*
 * channel.h - a shared-memory channel: the layout of its area, and how either side waits for the
 * other.
 *
 * Mental model. An area has two boxes, one for requests and one for replies, each with one writer.
 * The writer fills the box and then changes its `turn`; the reader waits until the turn is another
 * than the one it saw last. So there is one message under way at a time, and no queue to guard.
 *
 * The other side can write the whole area at any moment, whatever it should. Nothing in it is read
 * twice: numbers are atomics that are loaded once, frames are copied (channel_copy_in()) before they
 * are looked at. Payload is not looked at, only passed on. What the other side writes can make it
 * wait in vain itself; whoever waits here has a deadline, or is woken by whoever ends the session.
 *
 * A waiter spins while that pays (struct channel_spin), then says that it sleeps and sleeps on the
 * turn as a futex. The writer looks whether somebody sleeps after it has changed the turn.
 */
#pragma once

#include <stdatomic.h>

#include "proto/frame.h"
#include "proto/rpc.h"

enum {
	CHANNEL_LAYOUT = 1,
	CHANNEL_PAGE = 4096,
	CHANNEL_FRAMES = 17 * CHANNEL_PAGE - 16, /* a request's frame and one of Close before it */
	CHANNEL_FRAMES_MAX = 2,
};

/* Where the reply is: channel_box.where. */
enum { CHANNEL_HERE = 0, CHANNEL_ON_SOCKET = 1 };

/* One direction. */
struct channel_box {
	_Atomic uint32_t turn;
	_Atomic uint32_t length; /* bytes in `frames` */
	_Atomic uint32_t where;
	_Atomic uint32_t cpu; /* the writer's, and 1: only a hint */
	uint8_t frames[CHANNEL_FRAMES];
	uint8_t payload[FRAME_MAX_DATA];
};

struct channel_area {
	_Atomic uint32_t server_sleeps;
	uint8_t pad0[60];
	_Atomic uint32_t client_sleeps;
	uint8_t pad1[CHANNEL_PAGE - 68];
	struct channel_box request, reply;
};

_Static_assert(offsetof(struct channel_area, client_sleeps) == 64, "layout 1");
_Static_assert(offsetof(struct channel_area, request) == 4096, "layout 1");
_Static_assert(offsetof(struct channel_area, reply) == 204800, "layout 1");
_Static_assert(offsetof(struct channel_box, frames) == 16, "layout 1");
_Static_assert(offsetof(struct channel_box, payload) == 69632, "layout 1");
_Static_assert(sizeof(struct channel_area) == 405504, "layout 1");

/*
 * What a waiter has learned. Spinning costs the CPU, sleeping costs two system calls and a wake-up
 * (20 microseconds between two CPUs, more than most requests take). So: spin for about twice as long
 * as it took when spinning was worth it; where it was in vain too often, sleep at once for a number
 * of waits that doubles each time.
 */
struct channel_habit {
	uint64_t typical; /* ns that a wait took which spinning ended */
	uint32_t credit;  /* failures that are left */
	uint32_t without; /* waits until spinning is tried again */
	uint32_t backoff; /* `without`, next time */
};

struct channel_spin {
	/*
	 * By what was handed over last: what is typical of a page of a listing, or of a Sync, is not of a Stat.
	 * [1]: when the other side slept and had to be woken first, which takes longer. Else two sides that both sleep
	 * would teach each other that spinning is in vain.
	 */
	struct channel_habit habits[RPC_COUNT][2];
	/* Somebody else wants the CPU: he had it while we thought that we spun. */
	uint32_t others;     /* waits until spinning is tried again */
	uint32_t backoff;    /* `others`, next time */
	uint64_t taken_last; /* when that was */
};

/* One side of a channel. */
struct channel_side {
	struct channel_box *in, *out;
	_Atomic uint32_t *sleeping, *peer_sleeps;
	uint32_t seen; /* turn of `in` that was seen last */
	enum rpc_index
		rpc; /* of the request that is under way, or was answered last: whoever knows says so */
	bool woke;         /* the other side slept when ours was published last */
	bool slept;        /* ... and we, when we waited last */
	_Atomic bool over; /* who waits here shall stop */
	struct channel_spin spin;
};

/* Of the client (server: false), or of the server. */
void channel_side_init(struct channel_side *side, struct channel_area *area, bool server);

/*
 * Until the turn of `in` is another: 0 and *ret_turn, which is `seen` from now on. `deadline`
 * (CLOCK_MONOTONIC ns; UINT64_MAX = none): -ETIMEDOUT. -ECANCELED where channel_stop() was called
 * and nothing is there.
 */
int channel_wait(struct channel_side *side, uint64_t deadline, uint32_t *ret_turn);
/* The box `out` is filled: hands it over. */
void channel_publish(struct channel_side *side, uint32_t turn, uint32_t length, uint32_t where);
/* Ends channel_wait(). Whoever is about to sleep may miss it once: call it again until the thread is out. */
void channel_stop(struct channel_side *side);

/* A copy that is not read again: the compiler must take the bytes from `to` from now on. */
void channel_copy_in(void *to, const void *from, size_t size);
