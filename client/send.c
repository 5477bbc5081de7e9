/*
 * send.c - requests on their way out.
 *
 * A synchronous request is one sendmsg of its own, with the closes that wait as a frame in front.
 * Submitted requests are gathered: while nothing is in flight the first goes out at once (so a
 * reply will come, and whoever polls the socket is woken), the next ones wait in `out` until
 * somebody processes replies, or BATCH_FRAMES of them are there. That saves the server a wake-up
 * and a system call for each.
 *
 * The socket is never blocked on with data unread: a server that waits until we take its replies,
 * while we wait until it takes our requests, would be a deadlock. So all sends are MSG_DONTWAIT,
 * and session_send() reads replies while the socket is full.
 */
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "client/reattach.h"
#include "proto/codec.h"

static void expect_init(struct expect *e, const struct rpc_info *rpc, const ProtobufCMessage *m,
			size_t data_len)
{
	const Gofer__Path *path = rpc_path(rpc, m, 0);

	*e = (struct expect){ .follow = path ? path->follow : 0 };
	switch (rpc->type) {
	case RPC_TYPE_Open:
		e->open = ((const Gofer__OpenRequest *)m)->flags;
		break;
	case RPC_TYPE_ReadFile:
		e->data = ((const Gofer__ReadFileRequest *)m)->count;
		e->bare = ((const Gofer__ReadFileRequest *)m)->bare;
		break;
	case RPC_TYPE_Read:
		e->data = ((const Gofer__ReadRequest *)m)->count;
		break;
	case RPC_TYPE_GetXattr:
		e->data = ((const Gofer__GetXattrRequest *)m)->size;
		break;
	case RPC_TYPE_ListXattr:
		e->data = ((const Gofer__ListXattrRequest *)m)->size;
		break;
	case RPC_TYPE_Write:
		e->asked = data_len;
		break;
	case RPC_TYPE_Copy:
		e->asked = ((const Gofer__CopyRequest *)m)->length;
		break;
	case RPC_TYPE_Watch:
		e->asked = path->path.len;
		e->keep = ((const Gofer__WatchRequest *)m)->donate;
		break;
	case RPC_TYPE_ReadDir:
		e->cookie = ((const Gofer__ReadDirRequest *)m)->cookie;
		e->keep = ((const Gofer__ReadDirRequest *)m)->keep;
		break;
	default:
		break;
	}
}

/* What is to be done if the connection is lost before it is answered. */
static void judge(struct packed *p, const ProtobufCMessage *m)
{
	const uint32_t changing = GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_TRUNCATE |
				  GOFER__OPEN_FLAG__OPEN_TMPFILE;

	p->repeat = p->rpc->flags & RPC_IDEMPOTENT;
	p->keep = false;
	p->reads = 0;
	switch (p->rpc->type) {
	case RPC_TYPE_Open:
		/* What it had opened is gone with the connection. */
		p->repeat = !(p->expect.open & changing);
		p->keep = true;
		break;
	case RPC_TYPE_ReadDir:
		p->repeat = true;
		break;
	case RPC_TYPE_Cancel:
		/* What it is about has gone. */
		p->repeat = false;
		break;
	case RPC_TYPE_Read:
		p->reads = ((const Gofer__ReadRequest *)m)->handle;
		break;
	case RPC_TYPE_Rename:
	case RPC_TYPE_Close:
		p->keep = true;
		break;
	default:
		break;
	}
	p->keep |= p->repeat;
}

int packed_keep(const struct packed *p, struct gofer_session *s, struct slot *slot, bool buffered,
		bool lent)
{
	const struct opened *o = p->reads ? numbers_find(s, p->reads) : NULL;

	/* What is read from a FIFO is gone. */
	slot->repeat = p->repeat && !(o && S_ISFIFO(o->mode));
	slot->batch = buffered ? s->batches : 0;
	if (!p->keep && !buffered && !s->again->has_token)
		return 0;
	slot->copy = malloc(p->len + (lent ? 0 : p->data_len));
	if (!slot->copy)
		return -ENOMEM;
	memcpy(slot->copy, p->buf, p->len);
	slot->payload = lent ? p->data : slot->copy + p->len;
	if (p->data_len && !lent)
		memcpy(slot->copy + p->len, p->data, p->data_len);
	slot->copy_body = p->len - FRAME_HEADER_SIZE;
	slot->copy_data = p->data_len;
	return 0;
}

int packed_init(struct packed *p, struct gofer_session *s, const struct gofer_request *request)
{
	const struct rpc_info *rpc = rpc_find(request->type);
	ssize_t body;

	p->buf = p->small;
	if (!rpc || !request->message || request->message->descriptor != rpc->request)
		return fail_words(-EINVAL,
				  "request of type %u: no such RPC, or another one's message",
				  request->type);
	body = codec_pack(request->message, p->small + FRAME_HEADER_SIZE,
			  sizeof(p->small) - FRAME_HEADER_SIZE);
	if (body < 0) {
		p->buf = malloc(FRAME_HEADER_SIZE + FRAME_MAX_BODY);
		if (!p->buf)
			return -ENOMEM;
		body = codec_pack(request->message, p->buf + FRAME_HEADER_SIZE, FRAME_MAX_BODY);
	}
	if (body < 0 || request->data_len > s->limits.max_data ||
	    FRAME_HEADER_SIZE + (size_t)body + request->data_len > s->limits.max_frame) {
		packed_deinit(p);
		return fail_words(-EMSGSIZE, "%s: the request does not fit in one frame",
				  rpc->name);
	}
	p->len = FRAME_HEADER_SIZE + (size_t)body;
	p->data = request->data;
	p->data_len = request->data_len;
	p->fd = request->fd > 0 || (rpc->flags & RPC_TAKES_FD) ? request->fd : -EBADF;
	if (p->fd >= 0 && s->stream)
		return fail_words(-EOPNOTSUPP, "%s: no descriptor can be passed to %s", rpc->name,
				  s->server);
	p->rpc = rpc;
	p->epoch = 0;
	expect_init(&p->expect, rpc, request->message, request->data_len);
	if (s->again)
		judge(p, request->message);
	return 0;
}

void packed_deinit(struct packed *p)
{
	if (p->buf != p->small)
		free(p->buf);
	p->buf = p->small;
}

static void count_sent(struct gofer_session *s, unsigned type, size_t bytes)
{
	s->stats.requests[type]++;
	s->stats.total++;
	s->stats.bytes_out += bytes;
}

static void put_header(struct packed *p)
{
	struct frame_header h = {
		.body_len = (uint32_t)(p->len - FRAME_HEADER_SIZE),
		.data_len = (uint32_t)p->data_len,
		.tag = p->tag,
		.type = p->rpc->type,
		.fds = p->fd >= 0,
	};

	frame_header_pack(&h, p->buf);
}

void packed_stamp(struct packed *p, struct gofer_session *s, uint32_t tag)
{
	p->tag = tag;
	put_header(p);
	count_sent(s, p->rpc->type, p->len + p->data_len);
}

/* With the lock: the body, with the handles' numbers of this connection. */
static int renumber(struct packed *p, struct gofer_session *s, const uint8_t *body, size_t len)
{
	uint8_t *buf = malloc(FRAME_HEADER_SIZE + FRAME_MAX_BODY);
	ssize_t n;

	if (!buf)
		return -ENOMEM;
	n = numbers_put(s, p->rpc, body, len, buf + FRAME_HEADER_SIZE, FRAME_MAX_BODY);
	if (n < 0) {
		free(buf);
		return (int)n;
	}
	packed_deinit(p);
	p->buf = buf;
	p->len = FRAME_HEADER_SIZE + (size_t)n;
	put_header(p);
	return 0;
}

/* With the lock, in the last moment before it is sent. */
static int number(struct packed *p, struct gofer_session *s)
{
	if (!s->again)
		return 0;
	p->epoch = s->again->epoch;
	return s->again->renumbered
		       ? renumber(p, s, p->buf + FRAME_HEADER_SIZE, p->len - FRAME_HEADER_SIZE)
		       : 0;
}

int packed_again(struct packed *p, struct gofer_session *s, const struct slot *slot)
{
	int r;

	*p = (struct packed){ .buf = p->small, .fd = -EBADF, .rpc = slot->rpc, .tag = slot->tag };
	p->data = slot->payload;
	p->data_len = slot->copy_data;
	r = renumber(p, s, slot->copy + FRAME_HEADER_SIZE, slot->copy_body);
	if (r == 0)
		count_sent(s, p->rpc->type, p->len + p->data_len);
	return r;
}

size_t take_closes(struct gofer_session *s, uint8_t *frame)
{
	size_t n = MIN(s->n_closes, (size_t)CLOSE_BATCH), body;
	Gofer__CloseRequest m = GOFER__CLOSE_REQUEST__INIT;

	if (n == 0)
		return 0;
	m.n_handles = n;
	m.handles = s->closes + s->n_closes - n;
	body = gofer__close_request__pack(&m, frame + FRAME_HEADER_SIZE);
	frame_header_pack(&(struct frame_header){ .body_len = (uint32_t)body,
						  .tag = TAG_CLOSE,
						  .type = RPC_TYPE_Close,
						  .flags = FRAME_NO_REPLY },
			  frame);
	s->n_closes -= n;
	if (s->again)
		numbers_sent_closes(s->again, s->closes + s->n_closes, n);
	count_sent(s, RPC_TYPE_Close, FRAME_HEADER_SIZE + body);
	return FRAME_HEADER_SIZE + body;
}

/* One packet, or its frames on a stream. Never sleeps. -ESTALE where the connection is another by now. */
static int transmit(struct gofer_session *s, uint32_t epoch, const struct iovec *iov, int n, int fd)
{
	return s->stream ? stream_send_in(s->stream, epoch, iov, n, MSG_DONTWAIT)
			 : packet_send(s->sock, iov, n, fd, MSG_DONTWAIT);
}

static uint32_t epoch_of(const struct gofer_session *s)
{
	return s->again ? s->again->epoch : 0;
}

static bool is_gone(int r)
{
	return r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN;
}

/* One packet. -EAGAIN where the socket is full, or hung; any other failure but the packet's own ends the
 * session. With the lock. */
static int send_locked(struct gofer_session *s, const struct iovec *iov, int n, int fd)
{
	int r = session_hung(s) ? -EAGAIN : transmit(s, epoch_of(s), iov, n, fd);

	if (is_gone(r)) {
		session_hang(s, epoch_of(s));
		r = s->dead ? -ENOTCONN : -EAGAIN;
	}
	return r;
}

int session_transmit(struct gofer_session *s, struct packed *p)
{
	struct iovec iov[2] = { { .iov_base = p->buf, .iov_len = p->len },
				{ .iov_base = (void *)p->data, .iov_len = p->data_len } };

	return send_locked(s, iov, p->data_len ? 2 : 1, p->fd);
}

int session_flush_out(struct gofer_session *s)
{
	struct iovec iov = { .iov_base = s->out, .iov_len = s->out_len };
	int r;

	if (session_hung(s))
		return -EAGAIN;
	if (s->out_len == 0)
		return s->stream && stream_flush(s->stream) == -EAGAIN ? -EAGAIN : 0;
	r = send_locked(s, &iov, 1, -EBADF);
	if (r == 0) {
		s->out_len = s->out_frames = 0;
		s->batches++;
	}
	return r;
}

int session_flush_closes(struct gofer_session *s)
{
	uint8_t frame[CLOSE_FRAME_MAX];

	while (s->n_closes) {
		struct gofer_stats before = s->stats;
		size_t n = s->n_closes;
		struct iovec iov = { .iov_base = frame, .iov_len = take_closes(s, frame) };
		int r = send_locked(s, &iov, 1, -EBADF);

		if (r < 0) {
			s->n_closes = n; /* the numbers are still there, behind the end */
			s->stats = before;
			return r;
		}
	}
	return 0;
}

/* Without the lock: waits until the socket may take more, reading replies meanwhile. */
int session_wait_writable(struct gofer_session *s, uint64_t deadline)
{
	struct pollfd p = { .fd = s->sock, .events = POLLIN | POLLOUT };
	uint64_t now = now_ns(), left = deadline > now ? deadline - now : 0;
	struct timespec ts = { .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
	struct batch batch;
	bool read = false;
	int r;

	pthread_mutex_lock(&s->lock);
	if (session_hung(s)) {
		r = session_regain(s);
		pthread_mutex_unlock(&s->lock);
		return r;
	}
	pthread_mutex_unlock(&s->lock);
	r = ppoll(&p, 1, &ts, NULL);
	if (r < 0)
		return errno == EINTR ? 0 : -errno;
	if (r == 0)
		return -ETIMEDOUT;
	if (!(p.revents & ~POLLOUT))
		return 0;
	batch.n = 0;
	pthread_mutex_lock(&s->lock);
	r = 0;
	if (!s->leader && !s->dead) {
		s->leader = read = true;
		r = session_receive(s, 0, false, &batch);
		s->leader = false;
		pass_leadership(s);
	}
	if (s->dead)
		r = s->dead;
	pthread_mutex_unlock(&s->lock);
	batch_run(&batch);
	if (!read)
		sched_yield(); /* the leader is about to take what is there */
	return r == -EAGAIN ? 0 : r;
}

int session_send(struct gofer_session *s, struct packed *p, uint64_t deadline)
{
	uint8_t closes[CLOSE_FRAME_MAX];
	uint64_t taken[CLOSE_BATCH];
	size_t n_taken = 0;
	struct iovec iov[3];
	struct slot *slot;
	int n = 0, r;

	/* What was submitted earlier goes out first; the lock is not held over the send itself. */
	for (;;) {
		pthread_mutex_lock(&s->lock);
		r = s->dead ? s->dead : session_flush_out(s);
		/* Better known now than when nobody can say whether it was done. */
		if (r == 0 && s->again && !p->repeat && session_has_ended(s))
			r = -EAGAIN;
		if (r == 0)
			r = number(p, s);
		if (r == 0 && s->again) {
			slot = slot_find(s, p->tag);
			if (slot)
				slot->left = true;
		}
		if (r == 0 && s->n_closes) {
			if (p->len + p->data_len > BATCH_LARGE || s->n_closes > CLOSE_BATCH)
				(void)session_flush_closes(s);
			else {
				n_taken = s->n_closes;
				memcpy(taken, s->closes, n_taken * sizeof(*taken));
				iov[n++] = (struct iovec){ .iov_base = closes,
							   .iov_len = take_closes(s, closes) };
			}
		}
		pthread_mutex_unlock(&s->lock);
		if (r != -EAGAIN)
			break;
		r = session_wait_writable(s, deadline);
		if (r < 0)
			break;
	}
	if (r < 0)
		return r;
	iov[n++] = (struct iovec){ .iov_base = p->buf, .iov_len = p->len };
	if (p->data_len)
		iov[n++] = (struct iovec){ .iov_base = (void *)p->data, .iov_len = p->data_len };
	while ((r = transmit(s, p->epoch, iov, n, p->fd)) == -EAGAIN) {
		r = session_wait_writable(s, deadline);
		if (r < 0)
			break;
	}
	/* On a stream it is on its way, though some of it may not have left. */
	while (r == 0 && s->stream && stream_flush(s->stream) == -EAGAIN &&
	       session_wait_writable(s, deadline) == 0)
		;
	if (r == 0)
		return 0;
	pthread_mutex_lock(&s->lock);
	if (is_gone(r)) {
		session_hang(s, p->epoch);
		r = s->dead ? -ENOTCONN : -ESTALE;
	}
	for (size_t i = 0; i < n_taken && r != -ESTALE; i++)
		close_later(s, taken[i]);
	/* On another connection than it was meant for: what becomes of it is decided there. */
	if (r == -ESTALE)
		r = 0;
	pthread_mutex_unlock(&s->lock);
	return r;
}

bool session_sends_alone(const struct packed *p)
{
	return p->fd >= 0 || p->len + p->data_len >= BATCH_LARGE || (p->rpc->flags & RPC_BLOCKS);
}

int session_buffer(struct gofer_session *s, struct packed *p)
{
	size_t size = p->len + p->data_len;
	/* A packet with a descriptor, with much data, or for what may block the thread that serves
	 * it, goes alone. */
	bool alone = session_sends_alone(p);
	int r;

	if (session_hung(s))
		return -EAGAIN;
	r = number(p, s);
	if (r < 0)
		return r;
	size = p->len + p->data_len;
	if (!s->out) {
		s->out = malloc(s->limits.max_frame);
		if (!s->out)
			return -ENOMEM;
	}
	if (alone || s->out_len + size > s->limits.max_frame || s->out_frames >= BATCH_FRAMES) {
		r = session_flush_out(s);
		if (r < 0)
			return r;
	}
	if (alone)
		return session_transmit(s, p);
	if (s->out_len == 0 && s->n_closes && size + CLOSE_FRAME_MAX <= s->limits.max_frame) {
		s->out_len = take_closes(s, s->out);
		s->out_frames = 1;
	}
	memcpy(s->out + s->out_len, p->buf, p->len);
	if (p->data_len)
		memcpy(s->out + s->out_len + p->len, p->data, p->data_len);
	s->out_len += size;
	s->out_frames++;
	/* in_flight counts this one already: alone there, nothing else would ever wake who waits
	 * for it. */
	if (s->in_flight <= 1 || s->out_frames >= BATCH_FRAMES) {
		r = session_flush_out(s);
		/* It is in the buffer: whatever else kept it from leaving now, it leaves later. */
		return r == -ENOTCONN ? r : 0;
	}
	return 0;
}

void session_send_cancel(struct gofer_session *s, uint32_t tag)
{
	Gofer__CancelRequest m = GOFER__CANCEL_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Cancel, .message = &m.base, .fd = -1 };
	_cleanup_packed_ struct packed p;
	struct iovec iov;
	struct slot *slot;

	m.tag = tag;
	if (packed_init(&p, s, &request) < 0 || session_flush_out(s) < 0)
		return;
	slot = slot_take(s, true);
	if (!slot)
		return;
	packed_stamp(&p, s, slot->tag);
	slot->rpc = p.rpc;
	slot->expect = p.expect;
	slot->state = SLOT_ZOMBIE;
	iov = (struct iovec){ .iov_base = p.buf, .iov_len = p.len };
	if (send_locked(s, &iov, 1, -EBADF) < 0 && !s->dead)
		slot_free(s, slot);
}
