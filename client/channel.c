/*
 * channel.c - calls through shared memory (proto/channel.h).
 *
 * A thread that makes a call takes a channel that is free, its own of last time if it can, and has it
 * until the reply is there. Where all are taken, or the request is one for the socket (a descriptor
 * goes along or may come back, it may block for long, others were submitted before it), it goes the
 * ordinary way. Either way it has a slot, so that the server's limits, giving up and the session's end are the same.
 *
 * The server is not trusted, and can write the area at any moment: the reply's frame is copied before
 * it is looked at, its payload on the way to where it belongs. A server that is gone wakes nobody:
 * who waits here looks at the socket from time to time, which also takes what came there meanwhile.
 *
 * A call that was given up leaves its channel *stale*: the reply is still to come, and whoever finds
 * it there later lets go what it brings. So does one in two parts (session_call_begin()), until somebody wants its reply.
 * Then a request that follows from it (struct follow_up) is sent before the reply is decoded: the server
 * has made the next page of a listing while we were busy with the last.
 */
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "client/session.h"
#include "proto/channel.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* with MFD_ALLOW_SEALING in it; newer than glibc's headers may be */
#endif

enum {
	LOOK_FIRST_NS = 20 * 1000 * 1000, /* until the socket is looked at */
	LOOK_LATER_NS = 100 * 1000 * 1000,
};

struct channel {
	_Alignas(64) struct channel_area *area;
	struct channel_side side;
	uint32_t turn;  /* of the last request */
	uint8_t *frame; /* CHANNEL_FRAMES bytes: a copy of the reply's */
	_Atomic bool taken;
	_Atomic uintptr_t thread; /* that took it last */
	/* Of the one who has taken it: */
	bool stale;
	uint32_t tag; /* that is still to be answered, if stale */
};

/* ---- replies ---- */

/* A reply as reply_decode() gives it. */
struct channel_reply {
	struct gofer_reply reply;
	uint64_t handle;
	size_t size;
	int result;
	const char *violation;
};

static void send_follow_up(struct gofer_session *s, struct channel *c, struct follow_up *f,
			   const struct frame *frame);

/* Copies the reply's frame, to the request `tag`. NULL, or what is wrong with it. */
static const char *read_frame(struct channel *c, const struct rpc_info *rpc, uint32_t tag,
			      uint32_t where, struct frame *ret)
{
	const struct channel_box *box = c->side.in;
	uint32_t size = atomic_load_explicit(&box->length, memory_order_relaxed);
	struct frame_header *h = &ret->header;

	if (where != CHANNEL_HERE || size < FRAME_HEADER_SIZE || size > CHANNEL_FRAMES)
		return "a channel's reply that is nowhere";
	channel_copy_in(c->frame, box->frames, size);
	frame_header_unpack(c->frame, h);
	ret->body = c->frame + FRAME_HEADER_SIZE;
	ret->data = box->payload;
	if (h->body_len > FRAME_MAX_BODY || h->body_len != size - FRAME_HEADER_SIZE ||
	    h->data_len > FRAME_MAX_DATA || h->fds)
		return "a channel's reply that breaks framing";
	if (h->tag != tag || h->type != rpc->type)
		return "a channel's reply to another request";
	return reply_flags_ok(h) ? NULL : "reply flags that mean nothing";
}

/* The reply in the box, to the request `tag`. False: it comes through the socket. */
static bool read_reply(struct gofer_session *s, struct channel *c, const struct rpc_info *rpc,
		       const struct expect *expect, uint32_t tag, void *sink, struct follow_up *f,
		       struct channel_reply *ret)
{
	uint32_t where = atomic_load_explicit(&c->side.in->where, memory_order_relaxed);
	struct packet_in in = { .fd = -EBADF };
	struct frame frame;

	*ret = (struct channel_reply){ .result = -EPROTO };
	if (where == CHANNEL_ON_SOCKET)
		return false;
	ret->violation = read_frame(c, rpc, tag, where, &frame);
	if (ret->violation)
		return true;
	ret->size = FRAME_HEADER_SIZE + (size_t)frame.header.body_len + frame.header.data_len;
	if (f && !frame.header.data_len && (frame.header.flags & FRAME_KIND_MASK) == FRAME_OK)
		send_follow_up(s, c, f, &frame);
	ret->result = reply_decode(rpc, expect, &frame, &in, sink, &ret->reply, &ret->handle,
				   &ret->violation);
	return true;
}

/* With the lock: to whom it may concern. */
static void deliver(struct gofer_session *s, uint32_t tag, struct channel_reply *r)
{
	struct slot *slot = slot_find(s, tag);

	s->stats.bytes_in += r->size;
	if (r->violation)
		session_kill(s, -EPROTO, r->violation);
	else if (slot)
		slot_deliver(s, slot, r->result, &r->reply, r->handle, NULL);
	else if (r->result == 0)
		gofer_reply_free(&r->reply); /* the session died meanwhile */
}

/* Of a channel that was taken: whether it is free for a request. */
static bool clear_stale(struct gofer_session *s, struct channel *c)
{
	struct channel_reply r;
	struct expect expect;
	const struct rpc_info *rpc = NULL;
	struct slot *slot;
	uint32_t turn;

	if (!c->stale)
		return true;
	if (atomic_load(&c->side.in->turn) == c->side.seen)
		return false;
	(void)channel_wait(&c->side, 0, &turn);
	pthread_mutex_lock(&s->lock);
	slot = slot_find(s, c->tag);
	if (slot) {
		rpc = slot->rpc;
		expect = slot->expect;
	}
	pthread_mutex_unlock(&s->lock);
	if (rpc && read_reply(s, c, rpc, &expect, c->tag, NULL, NULL, &r)) {
		pthread_mutex_lock(&s->lock);
		deliver(s, c->tag, &r);
		pthread_mutex_unlock(&s->lock);
	}
	c->stale = false;
	atomic_fetch_sub(&s->stale_channels, 1);
	return true;
}

/* ---- who has which ---- */

static bool try_take(struct gofer_session *s, struct channel *c)
{
	if (atomic_load_explicit(&c->taken, memory_order_relaxed) ||
	    atomic_exchange(&c->taken, true))
		return false;
	if (clear_stale(s, c))
		return true;
	atomic_store(&c->taken, false);
	return false;
}

static void let_go(struct channel *c)
{
	atomic_store(&c->taken, false);
}

/* The thread's own, else one that is nobody's, else any. NULL: none is free. */
static struct channel *pick(struct gofer_session *s)
{
	uintptr_t self = (uintptr_t)pthread_self();

	/* A reply that nobody waits for may bring a handle, and what the cache should know. */
	if (atomic_load_explicit(&s->stale_channels, memory_order_relaxed))
		for (uint32_t i = 0; i < s->n_channels; i++)
			if (try_take(s, &s->channels[i]))
				let_go(&s->channels[i]);
	for (unsigned round = 0; round < 3; round++)
		for (uint32_t i = 0; i < s->n_channels; i++) {
			struct channel *c = &s->channels[i];
			uintptr_t last = atomic_load_explicit(&c->thread, memory_order_relaxed);

			if ((round == 0 && last != self) || (round == 1 && last) || !try_take(s, c))
				continue;
			atomic_store_explicit(&c->thread, self, memory_order_relaxed);
			return c;
		}
	return NULL;
}

/* ---- calls ---- */

static bool suits(const struct gofer_request *q)
{
	const struct rpc_info *rpc = rpc_find(q->type);

	if (!rpc || (rpc->flags & (RPC_TAKES_FD | RPC_BLOCKS)) || q->fd > 0 || !q->message ||
	    q->message->descriptor != rpc->request)
		return false;
	if (rpc->type == RPC_TYPE_Open)
		return !(((const Gofer__OpenRequest *)q->message)->flags &
			 GOFER__OPEN_FLAG__OPEN_DONATE);
	if (rpc->type == RPC_TYPE_Watch)
		return !((const Gofer__WatchRequest *)q->message)->donate;
	return true;
}

/* Hands the request over. False: it should go through the socket. */
static bool send_request(struct gofer_session *s, struct channel *c, struct call *call,
			 struct waiter *w, struct packed *p)
{
	struct channel_box *box = c->side.out;
	struct slot *slot;
	size_t at = 0;

	pthread_mutex_lock(&s->lock);
	/* What was submitted earlier goes out first. */
	slot = s->dead || s->out_len ? NULL : slot_take(s, false);
	if (!slot) {
		pthread_mutex_unlock(&s->lock);
		return false;
	}
	at = take_closes(s, box->frames);
	call->tag = slot->tag;
	packed_stamp(p, s, slot->tag);
	slot->rpc = p->rpc;
	slot->expect = p->expect;
	slot->sink = call->sink; /* should it come through the socket */
	slot->call = call;
	slot->waiter = w;
	slot->state = SLOT_WAITING;
	if (call->blind)
		slot_blind(s, slot);
	w->pending++;
	w->done = false;
	s->stats.by_channel++;
	pthread_mutex_unlock(&s->lock);

	memcpy(box->frames + at, p->buf, p->len);
	if (p->data_len)
		memcpy(box->payload, p->data, p->data_len);
	c->side.rpc = p->rpc->index;
	channel_publish(&c->side, ++c->turn, (uint32_t)(at + p->len), CHANNEL_HERE);
	return true;
}

/* It is awaited later, by whoever has use for it. */
static void leave(struct gofer_session *s, struct channel *c, uint32_t tag)
{
	c->stale = true;
	c->tag = tag;
	atomic_fetch_add(&s->stale_channels, 1);
}

static void send_follow_up(struct gofer_session *s, struct channel *c, struct follow_up *f,
			   const struct frame *frame)
{
	_cleanup_packed_ struct packed p;

	p.buf = p.small;
	if (!f->next(f, frame->body, frame->header.body_len) ||
	    packed_init(&p, s, &f->call.request) < 0)
		return;
	f->call.answered = false;
	f->sent = send_request(s, c, &f->call, &f->waiter, &p);
	if (!f->sent) {
		f->call.answered = true;
		return;
	}
	f->call.channel = c;
	leave(s, c, f->call.tag);
}

/*
 * Until the channel has the reply (0), or there is no use in waiting: it came through the socket, the session died, or the
 * deadline passed.
 */
static int wait_reply(struct gofer_session *s, struct channel *c, struct waiter *w, uint64_t start,
		      uint64_t deadline, uint32_t *ret_turn)
{
	uint64_t until = MIN(deadline, start + LOOK_FIRST_NS);

	for (;;) {
		int r = channel_wait(&c->side, until, ret_turn);
		uint64_t now;
		bool done;

		if (r == 0)
			return 0;
		done = call_look(s, w);
		now = now_ns();
		if (done || now >= deadline)
			return -ETIMEDOUT;
		until = MIN(deadline, now + LOOK_LATER_NS);
	}
}

/* Takes a channel for the call, and sends it. NULL: it should go through the socket. */
static struct channel *send_call(struct gofer_session *s, struct call *call, struct waiter *w,
				 struct packed *p)
{
	struct channel *c = suits(&call->request) ? pick(s) : NULL;

	if (!c)
		return NULL;
	call->answered = false;
	/* What is wrong with it, the ordinary way says. */
	if (packed_init(p, s, &call->request) < 0 || !send_request(s, c, call, w, p)) {
		let_go(c);
		return NULL;
	}
	return c;
}

/* The reply is there, and who has taken the channel lets it go. */
static void take_reply(struct gofer_session *s, struct channel *c, struct call *call,
		       const struct rpc_info *rpc, const struct expect *expect, struct follow_up *f,
		       uint32_t turn)
{
	struct channel_reply reply;
	bool here = true;

	if (turn != c->turn)
		reply = (struct channel_reply){ .violation = "a channel's reply out of turn" };
	else
		here = read_reply(s, c, rpc, expect, call->tag, call->sink, f, &reply);
	let_go(c);
	if (!here)
		return;
	pthread_mutex_lock(&s->lock);
	deliver(s, call->tag, &reply);
	pthread_mutex_unlock(&s->lock);
}

bool session_channel_call(struct gofer_session *s, struct call *call, struct waiter *w,
			  uint64_t start, uint64_t deadline)
{
	_cleanup_packed_ struct packed p;
	struct channel *c;
	uint32_t turn;

	p.buf = p.small;
	c = send_call(s, call, w, &p);
	if (!c)
		return false;
	if (wait_reply(s, c, w, start, deadline, &turn) < 0) {
		leave(s, c, call->tag);
		let_go(c);
		return true;
	}
	take_reply(s, c, call, p.rpc, &p.expect, NULL, turn);
	return true;
}

bool session_channel_begin(struct gofer_session *s, struct call *call, struct waiter *w)
{
	_cleanup_packed_ struct packed p;

	p.buf = p.small;
	call->channel = send_call(s, call, w, &p);
	if (!call->channel)
		return false;
	leave(s, call->channel, call->tag);
	let_go(call->channel);
	return true;
}

/* With the lock: what the call expects. False: it has its answer. */
static bool expects(struct gofer_session *s, const struct call *call,
		    const struct rpc_info **ret_rpc, struct expect *ret_expect)
{
	const struct slot *slot = call->answered ? NULL : slot_find(s, call->tag);

	if (!slot)
		return false;
	*ret_rpc = slot->rpc;
	*ret_expect = slot->expect;
	return true;
}

void session_channel_end(struct gofer_session *s, struct call *call, struct waiter *w,
			 uint64_t start, uint64_t deadline)
{
	struct channel *c = call->channel;
	const struct rpc_info *rpc;
	struct expect expect;
	uint32_t turn;

	for (;;) {
		bool open;

		pthread_mutex_lock(&s->lock);
		open = expects(s, call, &rpc, &expect);
		pthread_mutex_unlock(&s->lock);
		if (!open)
			return;
		if (!atomic_exchange(&c->taken, true))
			break;
		/* Somebody looks whether it is free, and takes the reply if it is there. */
		sched_yield();
	}
	if (!c->stale || c->tag != call->tag || wait_reply(s, c, w, start, deadline, &turn) < 0) {
		let_go(c);
		return;
	}
	c->stale = false;
	atomic_fetch_sub(&s->stale_channels, 1);
	call->slept = c->side.slept;
	take_reply(s, c, call, rpc, &expect, call->follow_up, turn);
}

/* ---- life ---- */

static int make_area(struct channel_area **ret_area)
{
	_cleanup_fd_ int fd = memfd_create("gofer-channel", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	void *area;

	if (fd < 0 && errno == EINVAL) /* a kernel that has no such flag */
		fd = memfd_create("gofer-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, sizeof(struct channel_area)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	area = mmap(NULL, sizeof(struct channel_area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED)
		return -errno;
	*ret_area = area;
	return TAKE_FD(fd);
}

/* One more. */
static int add(struct gofer_session *s)
{
	Gofer__ChannelRequest m = GOFER__CHANNEL_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Channel, .message = &m.base };
	struct channel *c = &s->channels[s->n_channels];
	struct gofer_reply reply;
	_cleanup_fd_ int fd = make_area(&c->area);
	int r;

	if (fd < 0)
		return fd;
	c->frame = malloc(CHANNEL_FRAMES);
	r = c->frame ? 0 : -ENOMEM;
	if (r == 0) {
		channel_side_init(&c->side, c->area, false);
		m.layout = CHANNEL_LAYOUT;
		request.fd = fd;
		r = gofer_call(s, &request, &reply);
	}
	if (r < 0) {
		free(c->frame);
		(void)munmap(c->area, sizeof(*c->area));
		return r;
	}
	gofer_reply_free(&reply);
	return 0;
}

/* Only then are both sides on one machine, and descriptors pass. */
static bool is_local(int sock)
{
	int domain, type;
	socklen_t len = sizeof(int);

	return getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
	       getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

int session_channels_open(struct gofer_session *s, uint32_t n)
{
	n = MIN(n, (uint32_t)CHANNELS_MAX);
	if (n == 0 || !is_local(s->sock))
		return 0;
	s->channels = aligned_alloc(_Alignof(struct channel), n * sizeof(*s->channels));
	if (!s->channels)
		return -ENOMEM;
	memset(s->channels, 0, n * sizeof(*s->channels));
	/* A server that takes none, or fewer, serves the socket all the same. */
	while (s->n_channels < n && add(s) == 0)
		s->n_channels++;
	return s->dead ? s->dead : 0;
}

void session_channels_close(struct gofer_session *s)
{
	for (uint32_t i = 0; i < s->n_channels; i++) {
		free(s->channels[i].frame);
		(void)munmap(s->channels[i].area, sizeof(struct channel_area));
	}
	free(s->channels);
}

void session_channels_stop(struct gofer_session *s)
{
	for (uint32_t i = 0; i < s->n_channels; i++)
		channel_stop(&s->channels[i].side);
}
