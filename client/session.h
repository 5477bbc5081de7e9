/*
 * session.h - inside libgofer: one connection, its table of requests in flight, and who reads the
 * socket.
 *
 * Mental model. There is no thread of the library's own but one that sends dirty pages (writeback.c). A thread that waits for a reply is the
 * *leader* if nobody else reads the socket: it receives packets, completes whoever's requests they
 * answer, and gives the role up when its own reply came. The others *follow*: they sleep on a
 * condition variable of their own until their reply is there, their deadline passes, or the role is
 * free.
 *
 * A request holds a *slot* from the moment it is sent until its reply came, even if nobody wants
 * that reply any more (SLOT_ZOMBIE): the server still counts it, and its reply may carry a
 * descriptor or a handle that must be let go. A slot's tag has a generation in it, so that a second
 * reply to one request is recognised.
 *
 * Locks: `lock` guards everything below it in the struct. `rx` belongs to the leader. Callbacks run
 * without the lock and without the leader's role, so that they may call anything. Nothing sleeps in
 * a system call with the lock held.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "client/gofer.h"
#include "common/packet.h"
#include "common/util.h"
#include "proto/arena.h"
#include "proto/frame.h"
#include "proto/rpc.h"
#include "proto/stream.h"

enum {
	SESSION_TIMEOUT_MS = 30000,
	SESSION_MAX_SLOTS = 4000, /* below 1 << SLOT_BITS, whatever the server allows */
	SLOT_BITS = 12,
	CLOSE_BATCH = 64, /* handles in one Close frame */
	CHANNELS_MAX = 64,
	CLOSE_FRAME_MAX = FRAME_HEADER_SIZE + 16 + 10 * CLOSE_BATCH,
	BATCH_FRAMES = 16,       /* submitted requests that are sent without waiting for more */
	BATCH_LARGE = 16 * 1024, /* frames from this size on are sent alone: copying them costs more
				    than the system call */
	REPLY_OVERHEAD =
		1024, /* memory for decoding a reply: this and REPLY_FACTOR times its body */
	REPLY_FACTOR = 16,
	STREAM_CHUNK = 64 * 1024,
};

struct cache;
struct pages;
struct channel;
struct mapper;
struct reattach;

#define TAG_CLOSE UINT32_C(0xfffffffe) /* of frames without a reply */

enum slot_state {
	SLOT_FREE,
	SLOT_WAITING, /* a thread waits for it */
	SLOT_ASYNC,   /* a callback waits for it */
	SLOT_FETCH,   /* the library's own: see session_fetch() */
	SLOT_ZOMBIE,  /* nobody does */
};

/* What a request asked for, against which its reply is checked. */
struct expect {
	uint64_t asked; /* most bytes, or the length, that the reply may speak of */
	uint32_t data;  /* most payload */
	uint32_t open;  /* Open: its flags */
	uint32_t follow;
	uint64_t cookie; /* ReadDir */
	bool keep;
	bool bare; /* no attributes */
};

enum wait_kind { WAIT_REPLY, WAIT_ANY, WAIT_SLOT, WAIT_FETCH };

/* A thread that waits, on its own stack. */
struct waiter {
	pthread_cond_t cond;
	struct waiter *prev, *next;
	enum wait_kind kind;
	bool listed, done;
	bool asleep;      /* follows: can be given the leader's role */
	unsigned pending; /* WAIT_REPLY: calls without an answer */
};

struct follow_up;

/* One of the calls that a thread waits for together. */
struct call {
	struct gofer_request request;
	void *sink; /* where the payload goes; NULL = into the reply's own memory */
	int result;
	struct gofer_reply reply; /* with result 0 */
	uint32_t tag;             /* private */
	bool answered;            /* private */
	bool blind;               /* of a program: the cache is not told what it does */
	/* Of calls in two parts: */
	struct channel *channel;     /* that its reply comes through, or NULL */
	struct follow_up *follow_up; /* what to ask as soon as its reply is there, or NULL */
	bool slept;                  /* its reply was waited for that long */
};

/*
 * A request that depends on another's reply, and is to be sent before that is looked at any further: so the server is at
 * work while we are. Only where the other is in a channel, and has no payload.
 */
struct follow_up {
	struct call call;
	struct waiter waiter;
	/* Completes the request from the body of the reply, of which nothing is known: false = there is nothing to ask. */
	bool (*next)(struct follow_up *f, const uint8_t *body, size_t len);
	bool sent;
};

struct gofer_session;
/* With the session's lock. reply: with result 0; valid during the call. */
typedef void (*fetch_callback)(struct gofer_session *s, void *userdata, int result,
			       const struct gofer_reply *reply);

struct slot {
	const struct rpc_info *rpc;
	struct expect expect;
	void *sink; /* where the payload goes; NULL = into the reply's own memory */
	struct waiter *waiter;
	struct call *call; /* SLOT_WAITING */
	/* Where the session may lose its connection (reattach.h): */
	uint8_t *copy; /* the request, or NULL: header, body, and perhaps the payload */
	size_t copy_body, copy_data;
	const void *payload; /* in the copy, or the caller's, who waits */
	bool repeat;         /* doing it twice is doing it once */
	bool left;           /* it may have */
	bool lost;           /* with the connection: undecided */
	bool again;          /* it is to be sent with the next connection */
	int doom;            /* SLOT_ASYNC: what its callback is to be told; 0 = nothing yet */
	uint64_t batch;      /* it lies in the output buffer as long as this is s->batches */
	gofer_callback callback;
	fetch_callback fetched; /* SLOT_FETCH */
	void *userdata;
	uint32_t tag;
	enum slot_state state;
	bool blind;       /* until it is answered the cache knows nothing */
	bool blind_pages; /* ... nor the page cache */
	bool late;        /* nobody waits for it, but it may still change something */
	uint32_t next_free;
};

/* A callback that is due. */
struct completion {
	gofer_callback callback;
	void *userdata;
	int result;
	struct gofer_reply reply;
};

struct batch {
	struct completion items[FRAME_MAX_PER_PACKET];
	size_t n;
};

struct tls_stream;

/* What stands between the session's socket and the server; nothing, mostly. */
struct helper {
	pid_t ssh;              /* a child; 0 = none */
	struct tls_stream *tls; /* around the stream's bytes; NULL = none */
	bool tls_resumed;       /* with the TLS session of an earlier connection */
};

struct gofer_session {
	int sock;
	struct stream *stream; /* NULL: sock keeps packets whole, and passes descriptors */
	uint64_t timeout;      /* ns */
	char *server;
	struct helper helper;
	volatile const uint32_t *alive; /* a page that is wiped in a forked child: 1 in the process
					   that opened the session */
	struct gofer_session_limits limits;
	struct gofer_filesystem *filesystems;
	size_t n_filesystems;
	_Atomic uint32_t identity;
	/* NULL until a mount remembers; then as long as the session. Of what nobody else changes, and of
	 * what is watched. */
	struct cache *_Atomic cache, *_Atomic watched;
	struct pages *_Atomic pages; /* contents, with `cache` */
	pthread_t writeback;
	_Atomic bool writing_back; /* that thread runs */
	struct mapper *mapper;

	uint8_t *rx; /* the leader's */

	struct channel *channels; /* fixed once the session is open; each is taken by one thread */
	uint32_t n_channels;
	_Atomic uint32_t stale_channels;

	pthread_mutex_t lock;
	int dead;  /* 0, or -ENOTCONN: the result of every call from now on */
	int death; /* with dead: the result of what was in flight then */
	bool leader;
	struct waiter *waiters;
	unsigned any_waiters, slot_waiters, fetch_waiters;
	struct slot *slots;
	uint32_t n_slots, first_free, in_flight, n_async, n_fetches;
	uint64_t *closes;
	size_t n_closes, closes_size;
	uint8_t *out; /* submitted frames that were not sent yet */
	size_t out_len;
	unsigned out_frames;
	uint64_t batches;       /* how often that was emptied, from 1 */
	struct reattach *again; /* NULL: the connection is the only one there will be */
	struct gofer_stats stats;
};

/* ---- message.c ---- */
/* Keep the words for the thread's last failure; return `error` (negative). */
int fail_words(int error, const char *format, ...) _printf_(2, 3);
/* "op path: reason", put together only when somebody asks. `op` is a string literal. */
int fail_path(int error, const char *op, const char *path);

/* ---- session.c ---- */
/* Makes one of the session's caches, or raises its budget. */
int session_cache(struct gofer_session *s, bool watched, uint64_t bytes);
/* Makes the session's page cache, unless there is one. */
int session_pages(struct gofer_session *s, const struct gofer_mount_options *options);
/* 0; -EOWNERDEAD in a forked child. */
int session_check(struct gofer_session *s);
/* With the lock. Ends the session: everything in flight is answered with `error`, later calls with
 * -ENOTCONN. */
void session_kill(struct gofer_session *s, int error, const char *why);
/* With the lock: queues a handle to be closed; by the number that the server has for it. */
void handle_close_locked(struct gofer_session *s, uint64_t handle);
void close_later(struct gofer_session *s, uint64_t server_handle);
/* The server lied. Without the lock; returns -EPROTO. */
int session_violation(struct gofer_session *s, const char *why);

/* ---- slots.c: with the lock ---- */
int slots_init(struct gofer_session *s, uint32_t n);
/* NULL when too many requests are in flight. `reserved` requests (Cancel) may use the last ones. */
struct slot *slot_take(struct gofer_session *s, bool reserved);
void slot_free(struct gofer_session *s, struct slot *slot);
struct slot *slot_find(struct gofer_session *s, uint32_t tag);

/* ---- send.c ---- */
/* A request, packed: header, body, and where its payload is. */
struct packed {
	uint8_t small[1024];
	uint8_t *buf; /* header and body: small, or malloc'ed */
	size_t len;
	const void *data;
	size_t data_len;
	int fd;
	const struct rpc_info *rpc;
	struct expect expect;
	uint32_t tag;      /* once stamped */
	uint32_t epoch;    /* of the connection that it was numbered for */
	bool repeat, keep; /* see struct slot; whether a copy is kept */
	uint64_t reads;    /* Read: the handle */
};
int packed_init(struct packed *p, struct gofer_session *s, const struct gofer_request *request);
void packed_deinit(struct packed *p);
#define _cleanup_packed_ _cleanup_(packed_deinit)
/* With the lock: the next Close frame (CLOSE_FRAME_MAX bytes) and its length, 0 where nothing waits.
 */
size_t take_closes(struct gofer_session *s, uint8_t *frame);
/* With the lock: the slot remembers what it must for another connection. lent: the payload stays where it is. 0 or -ENOMEM. */
int packed_keep(const struct packed *p, struct gofer_session *s, struct slot *slot, bool buffered,
		bool lent);
/* With the lock: what was kept, ready to be sent over this connection. */
int packed_again(struct packed *p, struct gofer_session *s, const struct slot *slot);
/* With the lock, never sleeps: 0, -EAGAIN, -errno. */
int session_transmit(struct gofer_session *s, struct packed *p);
/* With the lock: gives the frame its tag and counts it. */
void packed_stamp(struct packed *p, struct gofer_session *s, uint32_t tag);

/* Sends one packet with the closes that wait in front. Without the lock. While the socket is full,
 * replies are read. */
int session_send(struct gofer_session *s, struct packed *p, uint64_t deadline);
/* Without the lock: waits until the socket may take more, reading replies meanwhile. */
int session_wait_writable(struct gofer_session *s, uint64_t deadline);
/* Whether session_buffer() sends it at once. */
bool session_sends_alone(const struct packed *p);
/* With the lock: appends to the output buffer; -EAGAIN when it is full and the socket too. */
int session_buffer(struct gofer_session *s, struct packed *p);
/* With the lock, never sleeps: sends the output buffer. -EAGAIN when the socket is full. */
int session_flush_out(struct gofer_session *s);
/* With the lock, never sleeps: sends the closes that wait. */
int session_flush_closes(struct gofer_session *s);
/* With the lock: asks the server to give a request up, if that can be done at once. */
void session_send_cancel(struct gofer_session *s, uint32_t tag);

/* ---- receive.c ---- */
/*
 * With the lock, as leader; gives the lock up while it sleeps. Receives one packet, completes its
 * requests; callbacks that are due are put in the batch. wait_until: 0 = do not wait. fresh: the
 * deadline is the session's whole timeout from now on, so that the socket's own timeout serves. 0,
 * -EAGAIN (nothing there), -ETIMEDOUT, or the session's death.
 */
int session_receive(struct gofer_session *s, uint64_t wait_until, bool fresh, struct batch *batch);
/* With the lock, as leader: a reply that was sent before, perhaps. NULL, or what is wrong with it. */
const char *session_replay(struct gofer_session *s, const struct frame *frame, struct batch *batch);
/* Without the lock: runs the callbacks of the batch, or keeps them until callbacks_release(). Returns how many. */
int batch_run(struct batch *batch);
/* In this thread callbacks wait until the last release. */
void callbacks_hold(void);
void callbacks_release(void);
bool callbacks_held(void);
/* Takes the replies that are there, unless somebody else reads or waits for a callback. Waits for nothing, runs no callbacks. */
void session_look(struct gofer_session *s);
/* With the lock: wakes those for whom something changed. */
void wake_any(struct gofer_session *s);
void wake_slots(struct gofer_session *s);
/* With the lock: calls back a SLOT_FETCH, and frees it. */
void fetch_answer(struct gofer_session *s, struct slot *slot, int result,
		  const struct gofer_reply *reply);
/* With the lock: what the request does, if it changes anything, is not told to the cache. */
void slot_blind(struct gofer_session *s, struct slot *slot);
/* With the lock: what came for the slot goes to whoever waits; a callback that is due into the batch
 * (not NULL unless the slot is known to be none). The slot is free then. */
void slot_deliver(struct gofer_session *s, struct slot *slot, int result, struct gofer_reply *reply,
		  uint64_t handle, struct batch *batch);
/* With the lock: nobody waits for it any more; it may still be executed. */
void slot_late(struct gofer_session *s, struct slot *slot);
/* With the lock: a waiting call has its result. */
void slot_answer(struct gofer_session *s, struct slot *slot, int result);
/* With the lock: gives the leader's role to a follower if nobody has it. */
void pass_leadership(struct gofer_session *s);

/* ---- reply.c ---- */
/*
 * Decodes and checks one reply of the server. 0 with *ret_reply; a negative errno as the request's
 * result: the server's own error, or -ENOMEM, -EMFILE; or, with *ret_violation set, what the server
 * must never have sent. *fd is the packet's descriptor, taken if it belongs to this frame.
 * *ret_handle: a handle that came with the reply (also on local failures), 0 for none.
 */
int reply_decode(const struct rpc_info *rpc, const struct expect *expect, const struct frame *frame,
		 struct packet_in *in, void *sink, struct gofer_reply *ret_reply,
		 uint64_t *ret_handle, const char **ret_violation);
/* The payload of a reply without a sink, as a block of its own that ends with a NUL: the caller's. NULL without memory. */
void *reply_take_data(struct gofer_reply *reply);
bool reply_flags_ok(const struct frame_header *h);
/* Without decoding: the cookie after which a listing goes on that this is a part of. False where it ends, or none is found. */
bool reply_listing_goes_on(const uint8_t *body, size_t len, uint64_t *ret_cookie);
int attr_check(const Gofer__Attr *a);

/* ---- call.c ---- */
/* Sends all, then waits for all, within one deadline. Each has its own result. At most CALL_MANY.
 */
enum { CALL_MANY = 8 };
void session_call_many(struct gofer_session *s, struct call *calls, size_t n);
/* gofer_call() with the payload going to `sink` (as large as what the request asks for). */
int session_call(struct gofer_session *s, const struct gofer_request *request, void *sink,
		 struct gofer_reply *ret_reply);
/*
 * One call in two parts. What `call` and `w` are stays where it is from begin() to end() or drop(), one of which must follow. The
 * request's message is borrowed by begin() only. drop() gives the call up; true where its reply is there: the caller's, as after end().
 * by_channel: through a channel that is free, if it can. Then nothing but end(), or the channel being wanted for another call, takes
 * the answer: gofer_session_process() does not.
 */
void session_call_begin(struct gofer_session *s, struct call *call, struct waiter *w,
			bool by_channel);
/* What begin() does where nothing is to be sent: of a follow-up. */
void call_init(struct call *call, struct waiter *w);
/* Whether end() would not wait. Reads nothing. */
bool session_call_answered(struct gofer_session *s, struct waiter *w);
/*
 * With the lock, which is given up for each: the callbacks of all that is in flight, on a dead session, which are told `result`; or
 * (0) of what another connection could not do again. Returns how many.
 */
int session_bury(struct gofer_session *s, int result);
int session_call_end(struct gofer_session *s, struct call *call, struct waiter *w);
bool session_call_drop(struct gofer_session *s, struct call *call, struct waiter *w);
/*
 * Sends a request without waiting, for the library itself: calls back once, with the lock, in whichever thread reads the socket. -EAGAIN where
 * half of the slots are in use, or the socket is full.
 */
int session_fetch(struct gofer_session *s, const struct gofer_request *request, void *sink,
		  fetch_callback callback, void *userdata);
/* Waits until *done, which a callback sets. 0, or -errno. */
int session_wait_fetch(struct gofer_session *s, const _Atomic bool *done);
/* Takes what is there on the socket, unless somebody else does. True when nothing is pending any more.
 */
bool call_look(struct gofer_session *s, struct waiter *w);
/* Calls back whatever is in flight with -ECANCELED. */
void call_cancel_all(struct gofer_session *s);

/* ---- channel.c ---- */
/* Asks the server for as many; fewer, or none, is no failure. */
int session_channels_open(struct gofer_session *s, uint32_t n);
void session_channels_close(struct gofer_session *s);
/* Whoever waits for a reply stops. */
void session_channels_stop(struct gofer_session *s);
/*
 * Makes the call through a channel. False: it must go through the socket. Else it was sent, and is
 * answered, or its reply comes through the socket, or the deadline has passed.
 */
bool session_channel_call(struct gofer_session *s, struct call *call, struct waiter *w,
			  uint64_t start, uint64_t deadline);
/* The same in two parts: sends it, or false; waits for it, where call->channel is set. */
bool session_channel_begin(struct gofer_session *s, struct call *call, struct waiter *w);
void session_channel_end(struct gofer_session *s, struct call *call, struct waiter *w,
			 uint64_t start, uint64_t deadline);

/* ---- connect.c ---- */
/* A connected socket for any address of gofer.h. *ret_helper: a child process behind it, or as it
 * was. */
int session_connect(const char *server, const struct gofer_session_options *options,
		    uint64_t timeout, int *ret_sock, struct helper *ret_helper);
/* A TCP socket. loopback_only: refuses all other addresses. */
int connect_tcp(const char *server, const char *text, bool loopback_only, uint64_t timeout,
		int *ret_sock);
/* ---- connect_ssh.c ---- */
/* text: "HOST:VOLUME" */
int connect_ssh(const char *server, const char *text, int *ret_sock, struct helper *ret_helper);
/* ---- connect_tls.c ---- */
/* text: "HOST:PORT" */
int connect_tls(const char *server, const char *text, const struct gofer_tls_options *options,
		uint64_t timeout, int *ret_sock, struct helper *ret_helper);
/* Closes the socket too: goodbye is said before, a child is waited for after. */
void helper_end(struct helper *helper, int sock);
