/*
 * inject.h - between a client and its server: a link that makes Writes fail, and ends when it is told to.
 *
 * Two threads pass packets on, in order and whole, with their descriptors. Of the Writes, one in so many is answered with ENOSPC or EIO and
 * never seen by the server, or is cut short, so that the server takes a part, or held back until others have overtaken it. All of
 * that a server may do; nobody is told a lie.
 */
#pragma once

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "common/packet.h"
#include "tests/integration/raw.h"

struct inject {
	int client, server; /* our ends */
	pthread_t up, down;
	uint64_t seed;
	_Atomic unsigned one_in; /* 0: none fails */
	_Atomic uint64_t failed, cut_short, held_back;
	struct inject_held {
		size_t len;
		uint8_t data[FRAME_MAX_PACKET];
	} held;
	uint8_t in[FRAME_MAX_PACKET], back[FRAME_MAX_PACKET];
};

/* Both ends see that the other is gone. */
static inline void inject_end(struct inject *x)
{
	(void)shutdown(x->client, SHUT_RDWR);
	(void)shutdown(x->server, SHUT_RDWR);
}

static inline int inject_pass(int to, const uint8_t *data, size_t len, int fd)
{
	const struct iovec iov = { (void *)data, len };

	return len ? packet_send(to, &iov, 1, fd, 0) : 0;
}

static inline int inject_error(struct inject *x, const struct frame *q)
{
	Gofer__Error m = GOFER__ERROR__INIT;
	uint8_t out[FRAME_HEADER_SIZE + 64];
	struct frame_header h = { .tag = q->header.tag,
				  .type = q->header.type,
				  .flags = FRAME_REPLY | FRAME_ERROR };

	m.error = random_below(&x->seed, 2) ? ENOSPC : EIO;
	h.body_len = (uint32_t)protobuf_c_message_pack(&m.base, out + FRAME_HEADER_SIZE);
	frame_header_pack(&h, out);
	atomic_fetch_add(&x->failed, 1);
	return inject_pass(x->client, out, FRAME_HEADER_SIZE + h.body_len, -EBADF);
}

static inline int inject_let_go(struct inject *x)
{
	int r = inject_pass(x->server, x->held.data, x->held.len, -EBADF);

	x->held.len = 0;
	return r;
}

/* A frame of `len` bytes, with what is passed on before it in `out`; what remains of it goes there. */
static inline int inject_frame(struct inject *x, const struct frame *q, const uint8_t *at,
			       size_t len, uint8_t *out, size_t *n)
{
	unsigned one_in = atomic_load(&x->one_in);
	struct frame_header h = q->header;

	if (h.type != RPC_TYPE_Write || !one_in || random_below(&x->seed, one_in)) {
		memcpy(out + *n, at, len);
		*n += len;
		return 0;
	}
	switch (random_below(&x->seed, 4)) {
	case 0:
		if (x->held.len)
			break;
		memcpy(x->held.data, at, len);
		x->held.len = len;
		atomic_fetch_add(&x->held_back, 1);
		return 0;
	case 1:
		if (h.data_len < 2)
			break;
		h.data_len = 1 + random_below(&x->seed, h.data_len - 1);
		atomic_fetch_add(&x->cut_short, 1);
		break;
	default:
		return inject_error(x, q);
	}
	frame_header_pack(&h, out + *n);
	len = FRAME_HEADER_SIZE + h.body_len + h.data_len;
	memcpy(out + *n + FRAME_HEADER_SIZE, at + FRAME_HEADER_SIZE, len - FRAME_HEADER_SIZE);
	*n += len;
	return 0;
}

static inline void *inject_up(void *data)
{
	static _Thread_local uint8_t out[FRAME_MAX_PACKET];
	struct inject *x = data;
	int r = 0;

	while (r == 0) {
		struct pollfd p = { .fd = x->client, .events = POLLIN };
		size_t before = x->held.len, n = 0;
		struct packet_in in;
		ssize_t size;

		/* If nobody overtakes it, it goes after all. */
		if (before && poll(&p, 1, 1) == 0) {
			r = inject_let_go(x);
			continue;
		}
		size = packet_recv(x->client, x->in, sizeof(x->in), 0, &in);
		if (size <= 0)
			break;
		for (size_t at = 0; r == 0 && at < (size_t)size;) {
			struct frame q;
			ssize_t k = frame_parse(x->in + at, (size_t)size - at, &q);

			if (k < 0)
				die("the client broke framing");
			r = inject_frame(x, &q, x->in + at, (size_t)k, out, &n);
			at += (size_t)k;
		}
		if (r == 0)
			r = inject_pass(x->server, out, n, in.fd);
		fd_close(in.fd);
		if (r == 0 && before)
			r = inject_let_go(x);
	}
	inject_end(x);
	return NULL;
}

static inline void *inject_down(void *data)
{
	struct inject *x = data;
	struct packet_in in;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = packet_recv(x->server, x->back, sizeof(x->back), 0, &in)) > 0) {
		r = inject_pass(x->client, x->back, (size_t)n, in.fd);
		fd_close(in.fd);
	}
	inject_end(x);
	return NULL;
}

/* A session through it. */
static inline struct gofer_session *inject_connect(struct inject *x, uint64_t seed)
{
	struct gofer_session *s;
	char name[32];
	int sv[2];

	memset(x, 0, sizeof(*x));
	x->seed = seed | 1;
	x->server = raw_connect();
	if (x->server < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		die("connect: %s", strerror(errno));
	x->client = sv[1];
	if (pthread_create(&x->up, NULL, inject_up, x) != 0 ||
	    pthread_create(&x->down, NULL, inject_down, x) != 0)
		die("pthread_create");
	snprintf(name, sizeof(name), "fd:%d", sv[0]);
	if (gofer_session_open(name, NULL, &s) < 0)
		die("connect: %s", gofer_message());
	return s;
}

/* After the session is closed. */
static inline void inject_stop(struct inject *x)
{
	inject_end(x);
	pthread_join(x->up, NULL);
	pthread_join(x->down, NULL);
	close(x->client);
	close(x->server);
}
