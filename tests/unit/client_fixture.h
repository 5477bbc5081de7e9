/*
 * client_fixture.h - a server in a thread of the test, over a socket pair, that says whatever the
 * test's script tells it to: late, twice, out of order, or nonsense. Hello is answered by itself;
 * Close frames are counted.
 */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "client/gofer.h"
#include "common/packet.h"
#include "proto/rpc.h"

struct fake;
typedef void (*fake_script)(struct fake *f, const struct frame *frame);

struct fake {
	int sock, peer;
	pthread_t thread;
	fake_script script;
	void *state;
	struct gofer_session *session;
	_Atomic unsigned requests; /* other than Hello and Close */
	_Atomic unsigned closed;   /* handles */
	_Atomic uint64_t last_closed;
	uint32_t tags[64]; /* of requests kept for later */
	unsigned n_tags;
	uint32_t max_in_flight;
	int fd; /* that came with the packet, or -EBADF; closed when its frames are answered */
	uint8_t in[FRAME_MAX_PACKET];
};

/* One raw packet, one frame. */
static inline void fake_send(struct fake *f, struct frame_header h, const void *body,
			     const void *data, int fd)
{
	uint8_t header[FRAME_HEADER_SIZE];
	struct iovec iov[3] = { { header, sizeof(header) },
				{ (void *)body, h.body_len },
				{ (void *)data, h.data_len } };

	frame_header_pack(&h, header);
	(void)packet_send(f->peer, iov, 3, fd, 0);
}

static inline void fake_reply(struct fake *f, uint16_t type, uint32_t tag, unsigned kind,
			      const ProtobufCMessage *m, const void *data, size_t len, int fd)
{
	static _Thread_local uint8_t body[FRAME_MAX_BODY];
	size_t n = m ? protobuf_c_message_pack(m, body) : 0;

	fake_send(f,
		  (struct frame_header){ .body_len = (uint32_t)n,
					 .data_len = (uint32_t)len,
					 .tag = tag,
					 .type = type,
					 .fds = fd >= 0,
					 .flags = (uint8_t)(FRAME_REPLY | kind) },
		  body, data, fd);
}

static inline void fake_ok(struct fake *f, const struct frame *q, const ProtobufCMessage *m)
{
	fake_reply(f, q->header.type, q->header.tag, FRAME_OK, m, NULL, 0, -1);
}

static inline void fake_error(struct fake *f, const struct frame *q, uint32_t error)
{
	Gofer__Error m = GOFER__ERROR__INIT;

	m.error = error;
	fake_reply(f, q->header.type, q->header.tag, FRAME_ERROR, &m.base, NULL, 0, -1);
}

static inline Gofer__Attr fake_attr(uint32_t mode, uint64_t ino)
{
	Gofer__Attr a = GOFER__ATTR__INIT;

	a.mode = mode;
	a.ino = ino;
	a.nlink = 1;
	a.blksize = 4096;
	return a;
}

static inline void fake_hello(struct fake *f, const struct frame *q)
{
	Gofer__HelloReply m = GOFER__HELLO_REPLY__INIT;
	Gofer__Limits l = GOFER__LIMITS__INIT;
	Gofer__Filesystem fs[2] = { GOFER__FILESYSTEM__INIT, GOFER__FILESYSTEM__INIT };
	Gofer__Filesystem *list[2] = { &fs[0], &fs[1] };
	Gofer__Attr root = fake_attr(S_IFDIR | 0755, 2);

	l.max_frame = FRAME_MAX_PACKET;
	l.max_data = FRAME_MAX_DATA;
	l.max_in_flight = f->max_in_flight;
	l.max_handles = 100;
	l.inline_limit = 65536;
	for (unsigned i = 0; i < 2; i++) {
		fs[i].fs_id = i + 1;
		fs[i].name = (ProtobufCBinaryData){ 1, (uint8_t *)(i ? "b" : "a") };
		fs[i].may_donate = true;
		fs[i].root = &root;
	}
	m.version = 1;
	m.limits = &l;
	m.filesystems = list;
	m.n_filesystems = 2;
	fake_ok(f, q, &m.base);
}

static inline void fake_closed(struct fake *f, const struct frame *q)
{
	Gofer__CloseRequest *m = gofer__close_request__unpack(NULL, q->header.body_len, q->body);

	f->last_closed = m->handles[m->n_handles - 1];
	f->closed += (unsigned)m->n_handles;
	gofer__close_request__free_unpacked(m, NULL);
}

static inline void *fake_run(void *data)
{
	struct fake *f = data;
	struct packet_in in;
	ssize_t n;

	while ((n = packet_recv(f->peer, f->in, sizeof(f->in), 0, &in)) > 0) {
		f->fd = in.fd;
		for (size_t at = 0; at < (size_t)n;) {
			struct frame q;
			ssize_t k = frame_parse(f->in + at, (size_t)n - at, &q);

			if (k < 0) {
				fd_close(f->fd);
				return NULL;
			}
			at += (size_t)k;
			if (q.header.type == RPC_TYPE_Hello) {
				fake_hello(f, &q);
			} else if (q.header.type == RPC_TYPE_Close) {
				fake_closed(f, &q);
			} else {
				f->requests++;
				f->script(f, &q);
			}
		}
		f->fd = fd_close(f->fd);
	}
	return NULL;
}

static inline struct fake *fake_start_channels(fake_script script, void *state,
					       uint32_t max_in_flight, uint32_t timeout_ms,
					       uint32_t channels)
{
	struct gofer_session_options o = { .timeout_ms = timeout_ms, .channels = channels };
	struct fake *f = calloc(1, sizeof(*f));
	char name[32];
	int sv[2];

	cr_assert_not_null(f);
	f->script = script;
	f->state = state;
	f->max_in_flight = max_in_flight;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	f->sock = sv[0];
	f->peer = sv[1];
	cr_assert_eq(pthread_create(&f->thread, NULL, fake_run, f), 0);
	snprintf(name, sizeof(name), "fd:%d", f->sock);
	cr_assert_eq(gofer_session_open(name, &o, &f->session), 0, "%s", gofer_message());
	return f;
}

static inline struct fake *fake_start_with(fake_script script, void *state, uint32_t max_in_flight,
					   uint32_t timeout_ms)
{
	return fake_start_channels(script, state, max_in_flight, timeout_ms, 0);
}

static inline struct fake *fake_start(fake_script script, void *state)
{
	return fake_start_with(script, state, 64, 5000);
}

static inline void fake_stop(struct fake *f)
{
	gofer_session_close(f->session);
	pthread_join(f->thread, NULL);
	close(f->peer);
	free(f);
}

static inline int fake_ping(struct fake *f)
{
	Gofer__PingRequest m = GOFER__PING_REQUEST__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Ping, .message = &m.base, .fd = -1 };
	struct gofer_reply reply;
	int r = gofer_call(f->session, &q, &reply);

	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

/* Any request on a path. */
static inline int fake_stat(struct fake *f, struct gofer_reply *ret_reply)
{
	Gofer__StatRequest m = GOFER__STAT_REQUEST__INIT;
	Gofer__Path p = GOFER__PATH__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Stat, .message = &m.base, .fd = -1 };

	p.fs_id = 1;
	p.path = (ProtobufCBinaryData){ 3, (uint8_t *)"a/b" };
	m.path = &p;
	return gofer_call(f->session, &q, ret_reply);
}

static inline int fake_open(struct fake *f, uint32_t flags, struct gofer_reply *ret_reply)
{
	Gofer__OpenRequest m = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path p = GOFER__PATH__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Open, .message = &m.base, .fd = -1 };

	m.path = &p;
	m.flags = flags;
	return gofer_call(f->session, &q, ret_reply);
}
