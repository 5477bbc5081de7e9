/*
 * resume.c - the worker's side of resume.h: replies that are kept, and waiting for another
 * connection.
 */
#include "server/resume.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"
#include "server/session.h"

void resume_init(struct session *s)
{
	s->resume = (struct resume){ 0 };
	pthread_mutex_init(&s->resume.lock, NULL);
}

static void forget(struct resume *k)
{
	for (uint32_t i = 0; k->ring && i < k->n; i++)
		free(k->ring[i].frame);
	free(TAKE_PTR(k->ring));
	k->n = k->next = 0;
}

void resume_deinit(struct session *s)
{
	forget(&s->resume);
	explicit_bzero(s->resume.token, sizeof(s->resume.token));
	pthread_mutex_destroy(&s->resume.lock);
}

void resume_off(struct session *s)
{
	const struct link_message m = { .kind = LINK_LEFT };
	struct iovec iov = { (void *)&m, sizeof(m) };

	if (atomic_exchange(&s->resume.on, false))
		(void)packet_send(s->peer->link, &iov, 1, -EBADF, MSG_DONTWAIT);
}

/* One word and its answer. fd: goes along; -EBADF. */
static bool ask(const struct session *s, struct link_message *m, int fd)
{
	struct iovec iov = { m, sizeof(*m) };
	struct packet_in in;
	ssize_t n;

	if (packet_send(s->peer->link, &iov, 1, fd, 0) < 0)
		return false;
	do
		n = packet_recv(s->peer->link, m, sizeof(*m), 0, &in);
	while (n == -EINTR);
	if (n > 0)
		fd_close(in.fd);
	return n == sizeof(*m);
}

bool resume_begin(struct session *s)
{
	struct link_message m = { .kind = LINK_TOKEN };
	struct resume *k = &s->resume;

	if (!s->stream || !s->peer->link || !s->server->limits.resume_ms || atomic_load(&k->on))
		return false;
	if (!ask(s, &m, -EBADF) || m.kind != LINK_TOKEN)
		return false;
	k->ring = calloc(s->server->limits.max_in_flight, sizeof(*k->ring));
	if (!k->ring)
		return false;
	memcpy(k->token, m.token, sizeof(k->token));
	explicit_bzero(&m, sizeof(m));
	atomic_store(&k->on, true);
	return true;
}

bool resume_hand_over(struct session *s, const uint8_t token[static RPC_TOKEN_SIZE], uint32_t tag)
{
	struct link_message m = { .kind = LINK_RESUME, .tag = tag };

	/* What has come behind the Hello would be lost: no client sends that. */
	if (!s->stream || !s->peer->link || stream_buffered(s->stream))
		return false;
	memcpy(m.token, token, sizeof(m.token));
	return ask(s, &m, s->sock) && m.kind == LINK_YES;
}

bool resume_wanted(const struct session *s)
{
	return atomic_load(&s->resume.on) && atomic_load(&s->resume.lost) &&
	       !atomic_load(&s->ended);
}

/* Whether the client may not ask again. */
static bool must_keep(uint16_t type)
{
	const struct rpc_info *rpc = rpc_find(type);

	return rpc && !(rpc->flags & RPC_IDEMPOTENT) && type != RPC_TYPE_Hello &&
	       type != RPC_TYPE_ReadDir;
}

static void keep(struct session *s, const uint8_t *frame, size_t len)
{
	struct resume *k = &s->resume;
	struct replay *at = &k->ring[k->next];
	uint8_t *copy = malloc(len);

	if (!copy) {
		resume_off(s);
		return;
	}
	memcpy(copy, frame, len);
	free(at->frame);
	*at = (struct replay){ copy, len };
	k->next = (k->next + 1) % s->server->limits.max_in_flight;
	k->n = MIN(k->n + 1, s->server->limits.max_in_flight);
}

void resume_keep(struct session *s, const uint8_t *frames, size_t len)
{
	struct frame_header h;
	size_t size;

	for (size_t at = 0; at < len && atomic_load(&s->resume.on); at += size) {
		frame_header_unpack(frames + at, &h);
		size = (size_t)FRAME_HEADER_SIZE + h.body_len + h.data_len;
		if (must_keep(h.type) && size <= len - at)
			keep(s, frames + at, size);
	}
}

int resume_replay(struct worker *w)
{
	struct session *s = w->session;
	struct resume *k = &s->resume;
	uint32_t most = s->server->limits.max_in_flight;

	for (uint32_t i = 0; i < k->n; i++) {
		const struct replay *at = &k->ring[(k->next + most - k->n + i) % most];
		struct iovec iov = { at->frame, at->len };
		int r;

		do
			r = stream_send(s->stream, &iov, 1, 0);
		while (r == -EINTR);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Takes the socket over. */
static bool take(struct session *s, int sock)
{
	struct stream *stream =
		stream_is(sock) == 1 ? stream_new(sock, SESSION_STREAM_CHUNK, true) : NULL;

	if (!stream) {
		fd_close(sock);
		return false;
	}
	stream->over = &s->ended;
	stream_free(s->stream);
	fd_close(s->sock);
	s->stream = stream;
	s->sock = sock;
	return true;
}

bool resume_wait(struct session *s, uint32_t *ret_tag)
{
	struct link_message m = { .kind = LINK_LOST };
	struct iovec iov = { &m, sizeof(m) };
	uint64_t until = now_ns() + s->server->limits.resume_ms * UINT64_C(1000000);

	(void)shutdown(s->sock, SHUT_RDWR);
	if (packet_send(s->peer->link, &iov, 1, -EBADF, 0) < 0)
		return false;
	for (;;) {
		struct pollfd p = { .fd = s->peer->link, .events = POLLIN };
		uint64_t now = now_ns();
		struct packet_in in;
		ssize_t n;

		if (session_told_to_end() || now >= until)
			return false;
		/* A signal that came before is looked for once a second. */
		(void)poll(&p, 1, (int)MIN((until - now) / 1000000 + 1, UINT64_C(1000)));
		n = packet_recv(s->peer->link, &m, sizeof(m), MSG_DONTWAIT, &in);
		if (n == -EAGAIN || n == -EINTR)
			continue;
		if (n != sizeof(m) || m.kind != LINK_TAKE || in.fd < 0) {
			if (n > 0)
				fd_close(in.fd);
			return false;
		}
		if (!take(s, in.fd))
			return false;
		*ret_tag = m.tag;
		return true;
	}
}
