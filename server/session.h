/*
 * session.h - inside one worker process: the session, its threads, the packets and requests that
 * they execute.
 *
 * Whichever thread receives a packet in recvmsg executes it and replies itself, so a request costs
 * no hand-off and no event loop. How many threads receive, and how many are kept back, is decided
 * in pool.c. The last one that could receive executes only what cannot block (RPC_CONTROL) and puts
 * everything else in a queue, so that a Cancel, a Close and the peer's leaving are noticed however
 * slow the storage is.
 *
 * Lock order: session.lock, then handle_table.lock, then handle.lock. None is held while a
 * filesystem is asked, except handle.lock by those who move a descriptor's offset.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "proto/arena.h"
#include "proto/rpc.h"
#include "proto/stream.h"
#include "common/log.h"
#include "common/packet.h"
#include "server/fs/walk.h"
#include "server/handle.h"
#include "server/identity.h"
#include "server/resume.h"
#include "server/server.h"
#include "server/watch.h"

enum {
	REQUEST_STOP = 1,                 /* positive result of a handler: request.stop says why */
	SESSION_ARENA_SIZE = 1024 * 1024, /* per thread: one decoded request and its reply; touched
					     only as far as used */
	SESSION_MAX_GROUPS = 256 * 1024,  /* in all identities of a session together */
	SESSION_STREAM_CHUNK = 64 * 1024,
	SESSION_INLINE_DATA =
		8192, /* payloads up to this are copied, so that replies can share a packet */
};

/* A session identity that clients registered; shared by the table and the requests that use it. */
struct session_identity {
	_Atomic uint32_t refs;
	struct session *session; /* which its groups are charged to for as long as it lives */
	struct identity identity;
};

/* One received packet: the unit of execution, and of the queue. Linked into session.live from
 * arrival to the last reply. */
struct packet {
	uint8_t *bytes;
	size_t size;
	int fd; /* that came with it, or -EBADF */
	struct frame frames[FRAME_MAX_PER_PACKET];
	unsigned n_frames;
	unsigned next;              /* frame to execute next */
	uint64_t done;              /* bit i: frame i has its reply (under session.lock) */
	_Atomic uint64_t cancelled; /* bit i: somebody cancelled frame i */
	struct worker *worker;      /* who executes it, NULL in the queue (under session.lock) */
	struct packet *live_prev, *live_next;
	struct packet *queue_next;
};

struct rpc_counters {
	_Atomic uint64_t calls, errors, ns;
};

/* Which threads wait for packets (pool.c), under session.lock. */
struct pool {
	uint32_t threads;  /* in all, the first one included */
	uint32_t starting; /* of them, those that have not run yet */
	uint32_t idle;     /* in recvmsg */
	uint32_t parked;
	uint32_t wanted;   /* of the parked, how many are to come */
	uint32_t pressure; /* packets for which all may wait at once */
	uint32_t quiet;    /* ticks of the watchman without a packet */
	bool has_watchman, watching;
	bool over;         /* nobody receives, parks or starts any more */
	uint64_t received; /* packets */
	pthread_cond_t parking;
};

struct session {
	const struct server *server;
	const struct peer *peer;
	int sock;
	struct stream *stream; /* NULL: sock keeps packets whole, and passes descriptors */
	int proc_fd;
	_Atomic bool greeted;
	uint64_t hello_deadline; /* CLOCK_MONOTONIC ns; 0 = none */
	_Atomic bool ended; /* nobody is there for a reply: what is not executed yet never is */

	struct handle_table handles;
	struct watches watches;
	struct identity *volume_identities; /* what identity 0 means, by volume */
	bool fixed;                         /* the whole process is one user */

	pthread_mutex_t lock;
	struct session_identity **identities; /* by number - 1; max_identities of them once used */
	_Atomic uint32_t identity_groups;     /* supplementary groups in all that live */
	uint64_t next_serial;
	struct packet *live;
	struct packet *queue_head, **queue_tail;
	uint32_t in_flight; /* frames in live packets that the client waits for */
	struct pool pool;
	struct worker *first;   /* the thread of session_run() */
	struct worker *workers; /* the others */
	uint32_t channels;      /* of them, those with a channel */
	bool joining;           /* the first thread is out of its last request */

	struct rpc_counters counters[RPC_COUNT];
	_Atomic uint64_t bytes_in, bytes_out, donated;
	struct resume resume;
	_Atomic uint32_t donated_unread; /* donations since the socket was last seen empty */
	_Atomic uint32_t
		donating; /* descriptors that are sent, or about to be, and not closed here yet */
};

struct worker {
	struct session *session;
	pthread_t thread;
	struct worker *next;
	struct identity_state identity;
	struct session_identity
		*acting; /* the registered identity it has, or had last; NULL = a default */
	mode_t umask;
	struct arena arena;
	struct log_limit log_limit;
	struct packet current;
	uint32_t packets;        /* received */
	struct channel *channel; /* what it serves instead of the socket (channel.c), or NULL */
	uint8_t *in;             /* FRAME_MAX_PACKET bytes (CHANNEL_FRAMES with a channel) */
	/* FRAME_MAX_DATA bytes where handlers put payload: never read here, for with a channel they
	 * are the client's to write too. */
	uint8_t *data;
	uint8_t *out; /* FRAME_MAX_PACKET bytes: reply frames that wait to be sent (with a channel,
			 room for one without payload) */
	size_t out_used;
	unsigned out_frames;
};

/* One frame being executed. Handlers see only this. */
struct request {
	struct worker *worker;
	struct session *session;
	const struct rpc_info *rpc;
	struct packet *packet;
	const struct frame *frame;
	int fd; /* received with it, or -EBADF; closed after the reply */

	/* Prepared for rows with RPC_PATH, by the table: */
	const struct volume *volume;
	struct handle *base[2]; /* NULL where the path starts at the root */

	/* What the handler leaves: */
	ProtobufCMessage
		*reply; /* in the arena or the handler's static storage; NULL = EmptyReply */
	const uint8_t *
		packed; /* fields that come before all of the reply's others, packed: in the arena, or NULL */
	size_t packed_len;
	Gofer__Stop *stop;      /* with REQUEST_STOP */
	Gofer__Stop *last_link; /* what to reply instead of an error: links were followed on
				   speculation */
	const void *data;       /* payload, in worker.data or the arena */
	size_t data_len;
	int reply_fd;          /* descriptor to donate (closed by sending it), or -EBADF */
	uint64_t reply_handle; /* a handle made by this request: closed again if its reply cannot be
				  sent */
};

/* ---- what handlers use (request.c) ---- */

/* A zeroed reply message in the arena, made request.reply. NULL over budget (-EMSGSIZE). */
#define REQUEST_REPLY(r, Type, type)                                               \
	({                                                                         \
		Gofer__##Type *_m = arena_alloc(&(r)->worker->arena, sizeof(*_m)); \
		if (_m) {                                                          \
			gofer__##type##__init(_m);                                 \
			(r)->reply = &_m->base;                                    \
		}                                                                  \
		_m;                                                                \
	})
Gofer__Attr *request_attr(struct request *r,
			  const Gofer__Attr *attr); /* a copy in the arena; NULL over budget */
/* Attributes of a node now, in the arena; NULL where they cannot be had (the operation has happened
 * all the same). */
Gofer__Attr *request_getattr(struct request *r, const struct fs_node *node);

/* Walks request path `which`. As walk_resolve(), but WALK_STOP becomes REQUEST_STOP with
 * request.stop set. */
int request_walk(struct request *r, const Gofer__Path *path, unsigned which, enum walk_want want,
		 bool nofollow, uint32_t follow, struct walk_result *ret);
/*
 * The object a path names: the base handle's own node for an empty path (borrowed, nothing is
 * walked), else the walk's result. *ret_node lives as long as `walk` and the request.
 */
int request_object(struct request *r, const Gofer__Path *path, bool nofollow,
		   struct walk_result *walk, const struct fs_node **ret_node,
		   Gofer__Attr *ret_attr);
/* The attributes of the object a path names, for requests that need nothing else of it. */
int request_stat(struct request *r, const Gofer__Path *path, struct walk_result *walk,
		 Gofer__Attr *ret_attr);
/* Finds and opens an existing object: *ret_file is an open file (flags as for fs_ops.open),
 * *ret_attr its attributes; NULL for who only reads, with O_NONBLOCK (fs_ops.open_path). */
int request_open(struct request *r, const Gofer__Path *path, bool nofollow, int flags,
		 struct walk_result *walk, struct fs_node *ret_file, Gofer__Attr *ret_attr);
/* Creates or opens a file in one step: 0, -EEXIST with O_EXCL, or FS_SLOW where the directory must be found first. */
int request_create(struct request *r, const Gofer__Path *path, int flags, mode_t mode,
		   struct fs_node *ret_file);
/* An operation on (dir, name) found a symbolic link: REQUEST_STOP with request.stop, or -EAGAIN
 * where it is gone again. */
int request_stop_at_name(struct request *r, const Gofer__Path *path, unsigned which,
			 const struct walk_result *found);
/* A handle with all of `flags` (OpenFlag READ, WRITE): NULL with *ret_error -EBADF, or -EROFS for a
 * row that writes. */
struct handle *request_handle(struct request *r, uint64_t id, uint32_t flags, int *ret_error);
/* The thread's umask for what is created next. */
void request_umask(struct request *r, mode_t umask);
/* Whether a descriptor opened with OpenFlags `flags` may be donated now. */
bool request_may_donate(struct request *r, uint32_t flags, uint32_t type);

static inline bool request_cancelled(const struct request *r)
{
	return atomic_load_explicit(&r->packet->cancelled, memory_order_relaxed) &
	       UINT64_C(1) << (r->frame - r->packet->frames);
}

/* Operations lock nothing in it and change nothing of it, but are not const-correct all the way
 * down. */
static inline struct fs *request_fs(const struct request *r)
{
	return (struct fs *)&r->volume->fs;
}

/* ---- threads (session.c, pool.c) ---- */

struct worker *worker_new(struct session *s); /* NULL without memory */
/* ... that serves a channel, which is its own from then on. */
struct worker *worker_new_channel(struct session *s, struct channel *c);
struct worker *worker_free(struct worker *w);
void *worker_main(void *worker);
/* Executes what is queued, if nobody else is faster. */
void run_queue(struct worker *w);

int pool_init(struct session *s);
void pool_deinit(struct session *s);
/* A new thread runs, or could not be set up. */
void pool_started(struct session *s, bool ok);
/* Before a thread receives: returns when it should. Looks after the queue first, if somebody else
 * receives. */
void pool_enter(struct worker *w);
/*
 * After it received `p` (NULL: nothing to execute). True: it is the last that could receive, and
 * should execute only what cannot block.
 */
bool pool_leave(struct worker *w, const struct packet *p);
/*
 * No packet comes any more: nobody waits, but in recvmsg. drop: nobody is there for replies either,
 * else what was received is still executed. True for the first who says so.
 */
bool pool_end(struct session *s, bool drop);

/* A umask and a working directory of the thread's own. */
int worker_enter(struct worker *w);
/* Starts the worker's thread; with the lock. False: it is still the caller's. */
bool worker_start(struct worker *w, void *(*thread)(void *));

/* ---- channels (channel.c) ---- */

/* Takes the area behind `fd` and starts a thread for it. -EINVAL for what is no such area, -ENOSPC
 * above the limit. */
int channel_open(struct session *s, int fd);
void channel_free(struct channel *c);
/* Where the worker of a channel has payload of a reply, and the reply's frame. */
void channel_buffers(struct channel *c, uint8_t **ret_data, uint8_t **ret_out);
/* With the lock, or by the thread that joins: those of channels shall come to their end. They may miss it
 * once. */
void channels_stop(struct session *s);
/* The reply of this turn: `out`, with data_len bytes of payload in `data`. */
void channel_reply(struct worker *w, size_t data_len);
/* The reply of this turn will be a packet of the socket. */
void channel_reply_elsewhere(struct worker *w);
bool channel_replies(const struct worker *w);

/* ---- packets (session.c, dispatch.c, reply.c) ---- */

/* Takes a packet into the books, and out again when all its frames are answered. */
void packet_admit(struct worker *w, struct packet *p);
void packet_finish(struct worker *w, struct packet *p);
/* Whether a signal has told this process to end. */
bool session_told_to_end(void);
/* The peer broke the protocol: nobody is answered any more. */
void session_break(struct session *s);

/* Executes the packet's frames from packet->next on. With control_only: stops before the first that
 * is not RPC_CONTROL. */
void packet_execute(struct worker *w, struct packet *p, bool control_only);
/* Marks the frame `next` as answered, and goes on to the one after it. */
void packet_frame_done(struct session *s, struct packet *p);
/* Parses the frames of p->bytes; -EPROTO where framing is broken or descriptors do not match. */
int packet_parse(struct packet *p, const struct packet_in *in);

/* Appends a reply for `frame` to the worker's output; sends when it must. */
void reply_ok(struct request *r);
void reply_error(struct worker *w, const struct frame *frame, int error);
void reply_stop(struct worker *w, const struct frame *frame, const Gofer__Stop *stop);
/* Sends what waits. -errno when the peer is gone: the session is then marked ended. */
int reply_flush(struct worker *w);

/* ---- identities (session_identity.c) ---- */
int session_identities_init(struct session *s);
void session_identities_deinit(struct session *s);
int session_identity_set(struct session *s, const Gofer__SetIdentityRequest *q);
/* Makes the calling thread what `id` (Path.identity) means on `volume`: 0, -EPERM, -EINVAL. */
int session_identity_enter(struct worker *w, const struct volume *volume, uint32_t id);
/* ... who the handle was opened as: by descriptor too, the kernel asks who writes (set-id bits,
 * quota, reserved blocks). */
int session_identity_enter_handle(struct worker *w, const struct handle *handle);
struct session_identity *session_identity_ref(struct session_identity *id);
/* NULL is fine. Returns NULL. */
struct session_identity *session_identity_unref(struct session_identity *id);

/* Finds the frame in flight with this tag, marks it cancelled, interrupts whoever executes it.
 * -ENOENT. */
int session_cancel(struct session *s, uint32_t tag);

/* ---- the handlers: one per row of the table ---- */
#define RPC(Name, snake, type, reply, flags) \
	int handle_##snake(struct request *r, const Gofer__##Name##Request *q);
#include "proto/rpc.def"
#undef RPC
