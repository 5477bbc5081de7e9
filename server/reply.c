/*
 * reply.c - replies on their way out. Frames gather in the worker's output buffer and leave in one packet when the received packet
 * is done, when a payload too large to copy follows, or when a descriptor goes along; so a batch of requests is answered by a batch
 * of replies, and a client that waits for one gets it at once.
 *
 * sendmsg blocks when the peer does not read. That holds up this session's own thread and nothing else: a client that does not read
 * its replies stops being read from.
 */
#include "server/session.h"

#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/log.h"
#include "proto/codec.h"
#include "proto/errnos.h"

enum {
	DONATIONS_UNREAD_MAX = 64,
	PACKET_CHARGE_MIN =
		512, /* bytes of kernel memory for the shortest packet: a buffer and what describes it */
}; /* per session; descriptors in flight count against our uid, for all sessions */

/*
 * Of a session that may get another connection: what must not be asked for twice is kept. A failure is the connection's: whoever
 * receives is to notice.
 */
static int send_kept(struct worker *w, const struct iovec *iov, int iovcnt)
{
	struct session *s = w->session;
	int r;

	pthread_mutex_lock(&s->resume.lock);
	resume_keep(s, w->out, w->out_used);
	do
		r = stream_send(s->stream, iov, iovcnt, 0);
	while (r == -EINTR && !atomic_load(&s->ended));
	pthread_mutex_unlock(&s->resume.lock);
	if (r == 0 || !atomic_load(&s->resume.on))
		return r;
	(void)shutdown(s->sock, SHUT_RDWR);
	return 0;
}

static int send_packet(struct worker *w, const void *data, size_t data_len, int fd)
{
	struct iovec iov[2] = {
		{ .iov_base = w->out, .iov_len = w->out_used },
		{ .iov_base = (void *)data, .iov_len = data_len },
	};
	struct session *s = w->session;
	int r;

	if (channel_replies(w)) {
		channel_reply(w, data_len);
		return 0;
	}
	if (atomic_load_explicit(&s->resume.on, memory_order_relaxed)) {
		r = send_kept(w, iov, data_len ? 2 : 1);
	} else {
		do
			r = s->stream ? stream_send(s->stream, iov, data_len ? 2 : 1, 0)
				      : packet_send(s->sock, iov, data_len ? 2 : 1, fd, 0);
		while (r == -EINTR && !atomic_load(&s->ended));
		if (r == -ETOOMANYREFS)
			return r;
	}
	if (r < 0)
		atomic_store(&s->ended, true);
	else
		atomic_fetch_add_explicit(&s->bytes_out, w->out_used + data_len,
					  memory_order_relaxed);
	w->out_used = 0;
	w->out_frames = 0;
	return r;
}

int reply_flush(struct worker *w)
{
	return w->out_used ? send_packet(w, NULL, 0, -EBADF) : 0;
}

/* What a body is made of: bytes, and what is packed behind them. */
struct body {
	const ProtobufCMessage *message; /* or NULL */
	const uint8_t *packed;
	size_t packed_len;
};

/* Packs the body behind the place for its header, so that the payload fits into the packet as well. Its length, or -EMSGSIZE. */
static ssize_t pack_body(struct worker *w, const struct body *body, size_t data_len)
{
	size_t taken = w->out_used + FRAME_HEADER_SIZE + data_len, room;
	uint8_t *at = w->out + w->out_used + FRAME_HEADER_SIZE;
	ssize_t n = 0;

	if (taken > FRAME_MAX_PACKET)
		return -EMSGSIZE;
	room = MIN(FRAME_MAX_PACKET - taken, (size_t)FRAME_MAX_BODY);
	if (body->packed_len > room)
		return -EMSGSIZE;
	if (body->message)
		n = codec_pack(body->message, at + body->packed_len, room - body->packed_len);
	if (n < 0)
		return n;
	if (body->packed_len)
		memcpy(at, body->packed, body->packed_len);
	return (ssize_t)body->packed_len + n;
}

/*
 * Appends header and body; the payload is for the caller. False: the message does not fit a frame (a bug of the handler, which
 * bounds what it builds).
 */
static bool append_frame(struct worker *w, const struct frame *frame, uint8_t kind,
			 const struct body *body, size_t data_len, uint8_t fds)
{
	struct frame_header h = {
		.data_len = data_len,
		.tag = frame->header.tag,
		.type = frame->header.type,
		.fds = fds,
		.flags = FRAME_REPLY | kind,
	};
	ssize_t size;

	if (w->out_frames == FRAME_MAX_PER_PACKET)
		(void)reply_flush(w);
	size = pack_body(w, body, data_len);
	if (size < 0 && w->out_used) {
		(void)reply_flush(w);
		size = pack_body(w, body, data_len);
	}
	if (size < 0)
		return false;
	h.body_len = (uint32_t)size;
	frame_header_pack(&h, w->out + w->out_used);
	w->out_used += FRAME_HEADER_SIZE + (size_t)size;
	w->out_frames++;
	return true;
}

void reply_error(struct worker *w, const struct frame *frame, int error)
{
	Gofer__Error message = GOFER__ERROR__INIT;
	const struct body body = { .message = &message.base };

	if (frame->header.flags & FRAME_NO_REPLY)
		return;
	message.error = errno_to_wire(error);
	append_frame(w, frame, FRAME_ERROR, &body, 0, 0);
}

void reply_stop(struct worker *w, const struct frame *frame, const Gofer__Stop *stop)
{
	const struct body body = { .message = &stop->base };

	if (!append_frame(w, frame, FRAME_STOP, &body, 0, 0))
		reply_error(w, frame, EMSGSIZE);
}

/* A reply that takes a descriptor along. It leaves at once: descriptors are matched to frames packet by packet. */
static void reply_with_fd(struct request *r)
{
	const struct body body = { .message = r->reply };
	struct worker *w = r->worker;
	struct session *s = r->session;
	size_t before;
	unsigned frames;
	int e;

	if (channel_replies(w))
		channel_reply_elsewhere(w);
	(void)reply_flush(w);
	before = w->out_used;
	frames = w->out_frames;
	append_frame(w, r->frame, FRAME_OK, &body, 0, 1);
	/* The client may be told before we have closed ours: Ping waits for that. */
	atomic_fetch_add(&s->donating, 1);
	e = send_packet(w, NULL, 0, r->reply_fd);
	r->reply_fd = fd_close(r->reply_fd);
	atomic_fetch_sub(&s->donating, 1);
	if (e == 0) {
		atomic_fetch_add_explicit(&s->donated, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&s->donated_unread, 1, memory_order_relaxed);
		return;
	}
	if (e == -ETOOMANYREFS) {
		/* Descriptors in flight are over the limit of our uid: the client may ask again without one. */
		w->out_used = before;
		w->out_frames = frames;
		reply_error(w, r->frame, ETOOMANYREFS);
	}
	if (r->reply_handle)
		(void)handle_remove(&s->handles, r->reply_handle);
}

void reply_ok(struct request *r)
{
	const struct body body = { r->reply, r->packed, r->packed_len };
	struct worker *w = r->worker;

	if (r->frame->header.flags & FRAME_NO_REPLY)
		return;
	if (r->reply_fd >= 0) {
		reply_with_fd(r);
		return;
	}
	if (!append_frame(w, r->frame, FRAME_OK, &body, r->data_len, 0)) {
		reply_error(w, r->frame, EMSGSIZE);
		return;
	}
	if (r->data_len == 0)
		return;
	if (w->channel && r->data != w->data)
		memcpy(w->data, r->data, r->data_len);
	if (r->data_len <= SESSION_INLINE_DATA && !w->channel) {
		memcpy(w->out + w->out_used, r->data, r->data_len);
		w->out_used += r->data_len;
	} else {
		(void)send_packet(w, r->data, r->data_len, -EBADF);
	}
}

bool request_may_donate(struct request *r, uint32_t flags, uint32_t type)
{
	const struct volume *v = r->volume;
	struct session *s = r->session;
	int unread = 0;
	uint32_t most;

	if (v->donate == DONATE_NEVER || s->stream || type != S_IFREG)
		return false;
	if (v->donate == DONATE_RO && (flags & GOFER__OPEN_FLAG__OPEN_WRITE))
		return false;
	if (atomic_load_explicit(&s->donated_unread, memory_order_relaxed) < DONATIONS_UNREAD_MAX)
		return true;
	/*
	 * Only when many were sent: how many can be unread still? No more than packets are, and each is charged to the socket with at
	 * least PACKET_CHARGE_MIN bytes. (A busy session's socket is hardly ever seen empty.)
	 */
	if (ioctl(s->sock, SIOCOUTQ, &unread) < 0)
		return false;
	most = (uint32_t)unread / PACKET_CHARGE_MIN;
	if (most >= DONATIONS_UNREAD_MAX)
		return false;
	atomic_store_explicit(&s->donated_unread, most, memory_order_relaxed);
	return true;
}
