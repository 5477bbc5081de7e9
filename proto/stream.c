/*
 * stream.c - cutting a byte stream into frames, and keeping frames whole on it.
 *
 * Receiving: one buffer per stream, under its lock; whoever holds the lock reads, and takes a copy
 * of the frames that are whole. A thread that waits for the lock waits for its turn to read, which
 * is what it would do in recv(2). State survives EINTR and a timeout in the middle of a frame.
 *
 * Lengths are judged as soon as a header is there: what is over the limits is never waited for, so a
 * peer makes us hold one frame at most.
 *
 * Sending: two threads' frames must not mix, so a blocking send holds the lock until its last byte
 * is out. A non-blocking one that ends in the middle of a frame leaves the rest in `out`, in front
 * of everything that follows.
 */
#include "proto/stream.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/rpc.h"

enum { LIGHT_DATA = 16 * 1024 };

int stream_is(int fd)
{
	int type;
	socklen_t size = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return -errno;
	return type == SOCK_STREAM;
}

struct stream *stream_new(int fd, size_t chunk, bool requests)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fd = fd;
	s->chunk = chunk;
	s->requests = requests;
	pthread_mutex_init(&s->rx, NULL);
	pthread_mutex_init(&s->tx, NULL);
	s->in = malloc(FRAME_MAX_PACKET);
	s->out = malloc(FRAME_MAX_PACKET);
	return s->in && s->out ? s : stream_free(s);
}

struct stream *stream_free(struct stream *s)
{
	if (s) {
		pthread_mutex_destroy(&s->rx);
		pthread_mutex_destroy(&s->tx);
		free(s->in);
		free(s->out);
		free(s);
	}
	return NULL;
}

void stream_carry(struct stream *s, const struct stream_carrier *carrier)
{
	s->carrier = *carrier;
}

/* ---- receiving ---- */

/* The length of the frame that begins `at`: 0 while not even its header is there. */
static ssize_t frame_length(const struct stream *s, size_t at)
{
	struct frame_header h;

	if (s->end - at < FRAME_HEADER_SIZE)
		return 0;
	frame_header_unpack(s->in + at, &h);
	if (h.body_len > FRAME_MAX_BODY || h.data_len > FRAME_MAX_DATA || h.fds > FRAME_MAX_FDS)
		return -EPROTO;
	return (ssize_t)FRAME_HEADER_SIZE + h.body_len + h.data_len;
}

enum { HEAVY = 1, FILES = 2, CONTROL = 4 };

/* What executing a request with others, one after the other, would mean for them. */
static unsigned request_kind(const struct stream *s, size_t at)
{
	const struct rpc_info *rpc;
	struct frame_header h;

	frame_header_unpack(s->in + at, &h);
	rpc = rpc_find(h.type);
	if (!rpc || h.fds || h.data_len > LIGHT_DATA || (rpc->flags & RPC_BLOCKS))
		return HEAVY;
	return rpc->flags & RPC_CONTROL ? CONTROL : FILES;
}

/*
 * The length of the whole frames in front that belong together; 0 where there is none. On a stream
 * of requests, nobody has said which these are: one that may take long goes alone, and what controls
 * others (Cancel, Close) never waits behind one.
 */
static ssize_t whole_frames(const struct stream *s, unsigned max_frames)
{
	size_t at = s->start;
	unsigned kinds = 0;

	for (unsigned n = 0; n < max_frames; n++) {
		ssize_t len = frame_length(s, at);

		if (len < 0)
			return at > s->start ? (ssize_t)(at - s->start) : len;
		if (len == 0 || (size_t)len > s->end - at)
			break;
		if (s->requests) {
			unsigned kind = request_kind(s, at);

			if (n && ((kinds | kind) & HEAVY || (kind == CONTROL && kinds & FILES)))
				break;
			kinds |= kind;
		}
		at += (size_t)len;
	}
	return (ssize_t)(at - s->start);
}

/* Not recv(2) and send(2): the server's filter knows only the calls for packets. */
static ssize_t receive_into(const struct stream *s, void *buf, size_t size, int flags)
{
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (s->carrier.receive)
		return s->carrier.receive(s->carrier.userdata, buf, size, flags);
	n = recvmsg(s->fd, &msg, flags);
	return n < 0 ? -errno : n;
}

static ssize_t send_iov(const struct stream *s, const struct iovec *iov, int iovcnt, int flags)
{
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = iovcnt };
	ssize_t n;

	if (s->carrier.send)
		return s->carrier.send(s->carrier.userdata, iov, iovcnt);
	n = sendmsg(s->fd, &msg, flags | MSG_NOSIGNAL);
	return n < 0 ? -errno : n;
}

static ssize_t send_waiting(const struct stream *s, int flags)
{
	struct iovec iov = { s->out + s->out_start, s->out_end - s->out_start };

	return send_iov(s, &iov, 1, flags);
}

static bool carrier_unsent(const struct stream *s)
{
	return s->carrier.unsent && s->carrier.unsent(s->carrier.userdata);
}

static ssize_t read_more(struct stream *s, int flags)
{
	ssize_t len = frame_length(s, s->start);
	size_t missing = len > 0 ? (size_t)len - (s->end - s->start) : 0, room;
	ssize_t n;

	if (s->start) {
		memmove(s->in, s->in + s->start, s->end - s->start);
		s->end -= s->start;
		s->start = 0;
	}
	room = MIN((size_t)FRAME_MAX_PACKET - s->end, MAX(missing, s->chunk));
	/* Descriptors that a peer attaches are not asked for: the kernel closes them. */
	n = receive_into(s, s->in + s->end, room, flags);
	if (n < 0)
		return n;
	if (n == 0)
		return s->end ? -ECONNABORTED : 0;
	s->end += (size_t)n;
	return n;
}

static ssize_t take(struct stream *s, void *buf, unsigned max_frames, int flags)
{
	ssize_t n = whole_frames(s, max_frames);

	if (n == 0) {
		n = read_more(s, flags);
		if (n <= 0)
			return n;
		n = whole_frames(s, max_frames);
	}
	if (n <= 0)
		return n == 0 ? -EINPROGRESS : n;
	memcpy(buf, s->in + s->start, (size_t)n);
	s->start += (size_t)n;
	return n;
}

ssize_t stream_recv(struct stream *s, void *buf, unsigned max_frames, int flags)
{
	ssize_t n;

	pthread_mutex_lock(&s->rx);
	n = take(s, buf, max_frames, flags);
	pthread_mutex_unlock(&s->rx);
	return n;
}

size_t stream_buffered(struct stream *s)
{
	size_t n = 0;

	/* Who holds it waits for more, or is about to take what is there. */
	if (pthread_mutex_trylock(&s->rx) == 0) {
		n = s->end - s->start;
		pthread_mutex_unlock(&s->rx);
	}
	return n;
}

bool stream_pending(struct stream *s)
{
	bool pending = false;

	if (pthread_mutex_trylock(&s->rx) == 0) {
		pending = whole_frames(s, 1) != 0 ||
			  (s->carrier.pending && s->carrier.pending(s->carrier.userdata));
		pthread_mutex_unlock(&s->rx);
	}
	return pending;
}

/* ---- sending: with tx ---- */

static int flush(struct stream *s)
{
	while (s->out_start < s->out_end) {
		ssize_t n = send_waiting(s, MSG_DONTWAIT);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		s->out_start += (size_t)n;
	}
	s->out_start = s->out_end = 0;
	return carrier_unsent(s) ? (int)send_iov(s, NULL, 0, MSG_DONTWAIT) : 0;
}

/* What lies behind the first `sent` bytes, in front of everything else. */
static void keep_rest(struct stream *s, const struct iovec *iov, int iovcnt, size_t sent)
{
	for (int i = 0; i < iovcnt; i++) {
		size_t skip = MIN(sent, iov[i].iov_len);

		memcpy(s->out + s->out_end, (const uint8_t *)iov[i].iov_base + skip,
		       iov[i].iov_len - skip);
		s->out_end += iov[i].iov_len - skip;
		sent -= skip;
	}
}

static int send_some(struct stream *s, const struct iovec *iov, int iovcnt, int flags)
{
	size_t total = 0;
	ssize_t n;
	int r;

	for (int i = 0; i < iovcnt; i++)
		total += iov[i].iov_len;
	if (total > FRAME_MAX_PACKET)
		return -EMSGSIZE;
	r = flush(s);
	if (r < 0)
		return r;
	n = send_iov(s, iov, iovcnt, flags);
	if (n < 0)
		return (int)n;
	if ((size_t)n < total)
		keep_rest(s, iov, iovcnt, (size_t)n);
	return 0;
}

/*
 * The rest of what send_some() began. Whoever interrupts the thread (a Cancel of the request behind the one
 * that is answered here) means no half of a frame: only when nobody reads any more, the stream is left cut.
 */
static int send_rest(struct stream *s)
{
	while (s->out_start < s->out_end) {
		ssize_t n = send_waiting(s, 0);

		if (n == -EINTR && !(s->over && atomic_load(s->over)))
			continue;
		if (n < 0) {
			s->cut = true;
			return n == -EINTR ? -EPIPE : (int)n;
		}
		s->out_start += (size_t)n;
	}
	s->out_start = s->out_end = 0;
	return 0;
}

/* With tx. */
static int send_all(struct stream *s, const struct iovec *iov, int iovcnt, int flags)
{
	int r = s->cut ? -EPIPE : send_some(s, iov, iovcnt, flags);

	return r == 0 && !(flags & MSG_DONTWAIT) ? send_rest(s) : r;
}

int stream_send(struct stream *s, const struct iovec *iov, int iovcnt, int flags)
{
	int r;

	pthread_mutex_lock(&s->tx);
	r = send_all(s, iov, iovcnt, flags);
	pthread_mutex_unlock(&s->tx);
	return r;
}

int stream_send_in(struct stream *s, uint32_t epoch, const struct iovec *iov, int iovcnt, int flags)
{
	int r;

	pthread_mutex_lock(&s->tx);
	r = s->epoch == epoch ? send_all(s, iov, iovcnt, flags) : -ESTALE;
	pthread_mutex_unlock(&s->tx);
	return r;
}

int stream_flush(struct stream *s)
{
	int r;

	pthread_mutex_lock(&s->tx);
	r = flush(s);
	pthread_mutex_unlock(&s->tx);
	return r;
}

bool stream_unsent(struct stream *s)
{
	bool unsent;

	pthread_mutex_lock(&s->tx);
	unsent = s->out_start < s->out_end || carrier_unsent(s);
	pthread_mutex_unlock(&s->tx);
	return unsent;
}

uint32_t stream_replace(struct stream *s, struct stream *with)
{
	uint32_t epoch;

	pthread_mutex_lock(&s->rx);
	pthread_mutex_lock(&s->tx);
	(void)dup3(with->fd, s->fd, O_CLOEXEC);
	with->fd = fd_close(with->fd);
	s->carrier = with->carrier;
	memcpy(s->in, with->in + with->start, with->end - with->start);
	s->start = 0;
	s->end = with->end - with->start;
	memcpy(s->out, with->out + with->out_start, with->out_end - with->out_start);
	s->out_start = 0;
	s->out_end = with->out_end - with->out_start;
	s->cut = with->cut;
	epoch = ++s->epoch;
	pthread_mutex_unlock(&s->tx);
	pthread_mutex_unlock(&s->rx);
	return epoch;
}
