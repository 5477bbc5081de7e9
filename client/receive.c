/*
 * receive.c - packets on their way in: one recvmsg by the leader, then each frame to the request
 * that it answers.
 *
 * The server is not trusted. Whatever it must not send (a frame that breaks framing, a reply to
 * nothing, a second reply, another type, a body that does not decode or says impossible things, a
 * descriptor too many or too few) ends the session: there is no telling what else such a peer would
 * get wrong.
 *
 * SO_RCVTIMEO is the session's timeout, so that a fresh call sleeps in recvmsg itself and no poll
 * is paid for. Later rounds of one call have less time left than that: they poll, unless the
 * difference is below SLACK_NS.
 */
#include <poll.h>
#include <sys/socket.h>

#include "client/reattach.h"

static void wake(struct waiter *w)
{
	w->done = true;
	pthread_cond_signal(&w->cond);
}

static void wake_kind(struct gofer_session *s, enum wait_kind kind)
{
	for (struct waiter *w = s->waiters; w; w = w->next)
		if (w->kind == kind)
			wake(w);
}

void wake_any(struct gofer_session *s)
{
	if (s->any_waiters)
		wake_kind(s, WAIT_ANY);
}

void wake_slots(struct gofer_session *s)
{
	wake_kind(s, WAIT_SLOT);
}

void fetch_answer(struct gofer_session *s, struct slot *slot, int result,
		  const struct gofer_reply *reply)
{
	s->n_fetches--;
	slot->state = SLOT_ZOMBIE;
	slot->fetched(s, slot->userdata, result, reply);
	slot_free(s, slot);
	if (s->fetch_waiters)
		wake_kind(s, WAIT_FETCH);
}

void slot_answer(struct gofer_session *s _unused_, struct slot *slot, int result)
{
	slot->call->result = result;
	slot->call->answered = true;
	if (--slot->waiter->pending == 0)
		wake(slot->waiter);
}

void pass_leadership(struct gofer_session *s)
{
	if (s->leader)
		return;
	if (session_hung(s))
		pthread_cond_broadcast(&s->again->changed);
	/* Some of the list are awake: they lead, or run callbacks, which may wait for the others.
	 */
	for (struct waiter *w = s->waiters; w; w = w->next)
		if (w->asleep) {
			pthread_cond_signal(&w->cond);
			return;
		}
}

/* Callbacks that are due in this thread, which holds what they might need. */
struct held {
	struct held *next;
	struct batch batch;
};
static _Thread_local unsigned holding;
static _Thread_local struct held *first_held, **last_held;

void callbacks_hold(void)
{
	if (holding++ == 0)
		last_held = &first_held;
}

bool callbacks_held(void)
{
	return holding;
}

void callbacks_release(void)
{
	if (--holding)
		return;
	while (first_held) {
		struct held *h = first_held;

		first_held = h->next;
		(void)batch_run(&h->batch);
		free(h);
	}
}

int batch_run(struct batch *batch)
{
	int n = (int)batch->n;

	if (holding && n) {
		struct held *h = malloc(sizeof(*h));

		/* Without memory they are run now, as if nothing was held. */
		if (h) {
			*h = (struct held){ .batch = *batch };
			*last_held = h;
			last_held = &h->next;
			batch->n = 0;
			return 0;
		}
	}
	for (size_t i = 0; i < batch->n; i++) {
		struct completion *c = &batch->items[i];

		c->callback(c->userdata, c->result, c->result == 0 ? &c->reply : NULL);
		if (c->result == 0)
			gofer_reply_free(&c->reply);
	}
	batch->n = 0;
	return n;
}

void slot_deliver(struct gofer_session *s, struct slot *slot, int result, struct gofer_reply *reply,
		  uint64_t handle, struct batch *batch)
{
	switch (slot->state) {
	case SLOT_WAITING:
		if (result == 0)
			slot->call->reply = *reply;
		slot_answer(s, slot, result);
		break;
	case SLOT_ASYNC:
		batch->items[batch->n++] =
			(struct completion){ slot->callback, slot->userdata, result };
		if (result == 0)
			batch->items[batch->n - 1].reply = *reply;
		s->n_async--;
		break;
	case SLOT_FETCH:
		fetch_answer(s, slot, result, reply);
		if (result == 0)
			gofer_reply_free(reply);
		return;
	default:
		if (result == 0)
			gofer_reply_free(reply);
		break;
	}
	/* A handle that nobody will hear of is let go: late, or beside a failure of our own (no
	 * memory, no descriptor free). */
	if (handle && (result < 0 || slot->state == SLOT_ZOMBIE))
		handle_close_locked(s, handle);
	slot_free(s, slot);
}

/* NULL, or what is wrong with the frame. */
static const char *receive_frame(struct gofer_session *s, const struct frame *frame,
				 struct packet_in *in, struct batch *batch)
{
	const struct frame_header *h = &frame->header;
	struct slot *slot = slot_find(s, h->tag);
	const char *violation = NULL;
	struct gofer_reply reply;
	uint64_t handle = 0;
	int r;

	if (!slot)
		return "a reply to no request";
	if (h->type != slot->rpc->type)
		return "a reply of another type than the request";
	if (!reply_flags_ok(h))
		return "reply flags that mean nothing";
	r = reply_decode(slot->rpc, &slot->expect, frame, in,
			 slot->state == SLOT_ZOMBIE ? NULL : slot->sink, &reply, &handle,
			 &violation);
	if (violation)
		return violation;
	if (r == 0 && s->again) {
		r = numbers_answered(s, slot, &reply, &handle);
		if (r < 0)
			gofer_reply_free(&reply);
	}
	if (s->again && slot->rpc->type == RPC_TYPE_Close && slot->copy)
		numbers_forget(s, slot->copy + FRAME_HEADER_SIZE, slot->copy_body);
	slot_deliver(s, slot, r, &reply, handle, batch);
	return NULL;
}

const char *session_replay(struct gofer_session *s, const struct frame *frame, struct batch *batch)
{
	const struct slot *slot = slot_find(s, frame->header.tag);
	struct packet_in in = { .fd = -EBADF };

	/* Most of them came before. */
	if (!slot || !slot->lost || slot->again || slot->rpc->type != frame->header.type)
		return NULL;
	return receive_frame(s, frame, &in, batch);
}

static const char *receive_frames(struct gofer_session *s, size_t size, struct packet_in *in,
				  struct batch *batch)
{
	unsigned frames = 0;

	if (in->extra)
		return "more than one descriptor";
	for (size_t at = 0; at < size;) {
		struct frame frame;
		ssize_t n = frame_parse(s->rx + at, size - at, &frame);
		const char *violation;

		if (n < 0 || ++frames > FRAME_MAX_PER_PACKET)
			return "a packet that breaks framing";
		violation = receive_frame(s, &frame, in, batch);
		if (violation)
			return violation;
		at += n;
	}
	return in->fd >= 0 ? "a descriptor that belongs to no reply" : NULL;
}

/* With the lock: a packet that is in rx. */
static void received(struct gofer_session *s, ssize_t n, struct packet_in *in, struct batch *batch)
{
	const char *violation;

	s->stats.bytes_in += n;
	s->stats.descriptors_in += in->fd >= 0;
	violation = receive_frames(s, n, in, batch);
	fd_close(in->fd);
	if (violation)
		session_kill(s, -EPROTO, violation);
	if (batch->n)
		wake_any(s);
}

/* With the lock: nothing more comes; n: as it was said. */
static void ended(struct gofer_session *s, ssize_t n)
{
	if (n == -EMSGSIZE)
		session_kill(s, -EPROTO, "a packet larger than agreed");
	else if (n == -EPROTO)
		session_kill(s, -EPROTO, "a frame that breaks framing");
	else if (n == -ECONNABORTED)
		session_lose(s, "the connection ended inside a message");
	else
		session_lose(s, "the server is gone");
}

void session_look(struct gofer_session *s)
{
	struct batch batch = { .n = 0 };
	struct packet_in in = { .fd = -EBADF };
	ssize_t n = 1;

	pthread_mutex_lock(&s->lock);
	(void)session_flush_out(s);
	/* The lock is not given up, so that no callback can become due. */
	while (n > 0 && !s->leader && !s->n_async && !s->dead && !session_hung(s)) {
		in = (struct packet_in){ .fd = -EBADF };
		n = s->stream ? stream_recv(s->stream, s->rx, FRAME_MAX_PER_PACKET, MSG_DONTWAIT)
			      : packet_recv(s->sock, s->rx, FRAME_MAX_PACKET, MSG_DONTWAIT, &in);
		if (n > 0) {
			received(s, n, &in, &batch);
			continue;
		}
		fd_close(in.fd);
		if (n != -EAGAIN && n != -EINTR && n != -EINPROGRESS)
			ended(s, n);
	}
	pthread_mutex_unlock(&s->lock);
}

enum { SLACK_NS = 1000000 };

/*
 * Of a stream, without the lock: what was sent in part is sent in full, so that there will be an
 * answer. A server that takes nothing because its replies wait is not waited for: whatever comes
 * ends this.
 */
static int wait_flushed(struct gofer_session *s, uint64_t wait_until)
{
	while (stream_unsent(s->stream)) {
		struct pollfd p = { .fd = s->sock, .events = POLLIN };
		int r = stream_flush(s->stream);

		if (r != -EAGAIN || !wait_until || poll(&p, 1, 0) > 0)
			break;
		r = packet_wait(s->sock, POLLIN | POLLOUT, wait_until);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Of a stream: what was read with the frames before is never waited for. */
static ssize_t receive_stream(struct gofer_session *s, uint64_t wait_until, bool patient)
{
	ssize_t n = stream_recv(s->stream, s->rx, FRAME_MAX_PER_PACKET, patient ? 0 : MSG_DONTWAIT);
	int r;

	if (n != -EAGAIN || patient || !wait_until)
		return n;
	r = packet_wait(s->sock, POLLIN, wait_until);
	return r < 0 ? r : stream_recv(s->stream, s->rx, FRAME_MAX_PER_PACKET, MSG_DONTWAIT);
}

static ssize_t receive_packet(struct gofer_session *s, uint64_t wait_until, bool patient,
			      struct packet_in *in)
{
	int r = wait_until && !patient ? packet_wait(s->sock, POLLIN, wait_until) : 0;

	if (r < 0)
		return r;
	return packet_recv(s->sock, s->rx, FRAME_MAX_PACKET, wait_until ? 0 : MSG_DONTWAIT, in);
}

int session_receive(struct gofer_session *s, uint64_t wait_until, bool fresh, struct batch *batch)
{
	/* The socket's own timeout will do. */
	bool patient = wait_until && (fresh || now_ns() + s->timeout <= wait_until + SLACK_NS);
	struct packet_in in = { .fd = -EBADF };
	ssize_t n;
	int r = 0;

	pthread_mutex_unlock(&s->lock);
	if (s->stream)
		r = wait_flushed(s, wait_until);
	if (r < 0)
		n = r;
	else if (s->stream)
		n = receive_stream(s, wait_until, patient);
	else
		n = receive_packet(s, wait_until, patient, &in);
	pthread_mutex_lock(&s->lock);

	if (n > 0) {
		received(s, n, &in, batch);
		return 0;
	}
	fd_close(in.fd);
	if (n == -EINTR || n == -EINPROGRESS ||
	    (n == -EAGAIN && wait_until && now_ns() < wait_until))
		return -EAGAIN;
	if (n == -EAGAIN)
		return wait_until ? -ETIMEDOUT : -EAGAIN;
	if (n == -ETIMEDOUT)
		return -ETIMEDOUT;
	ended(s, n);
	return 0;
}
