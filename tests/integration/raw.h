/*
 * raw.h - a client without libgofer: frames are put together here, so that they can be wrong.
 *
 * Shares only the frame header, the table of RPCs and the generated messages with the product.
 * Blocking with a deadline on every receive; a reply that breaks framing is a failure of the
 * server's. On a stream (unix-stream:) one receive takes one frame, and what is sent in part is sent
 * in full: who does not read meanwhile must not have much outstanding.
 */
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/rpc.h"
#include "tests/integration/proof.h"

struct raw_reply {
	struct frame_header header;
	int kind;  /* FRAME_OK, FRAME_ERROR, FRAME_STOP */
	int error; /* kind ERROR */
	ProtobufCMessage *message;
	uint8_t *data;
	size_t data_len;
	int fd;
	unsigned n_fds; /* all that came, the first is in fd */
};

#define RAW_REPLY_NULL ((struct raw_reply){ .fd = -EBADF })

static inline void raw_reply_deinit(struct raw_reply *r)
{
	if (r->message)
		protobuf_c_message_free_unpacked(r->message, NULL);
	free(r->data);
	r->fd = fd_close(r->fd);
	*r = RAW_REPLY_NULL;
}
#define _cleanup_reply_ _cleanup_(raw_reply_deinit)

/* A connected socket, nothing said yet; -errno. */
static inline int raw_connect(void)
{
	const char *name = server_name();
	bool stream = !strncmp(name, "unix-stream:/", 13);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	const struct timeval wait = { .tv_sec = 10 };
	int fd = socket(AF_UNIX, (stream ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0);

	if (strncmp(name, "unix:/", 6) && !stream)
		die("the raw client knows \"unix:/path\" and \"unix-stream:/path\" only");
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", strchr(name, '/'));
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int r = -errno;

		fd_close(fd);
		return r;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (stream)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	return fd;
}

static inline bool raw_is_stream(int sock)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

/* The rest of what a stream took only in part. */
static inline int raw_send_rest(int sock, const uint8_t *rest, size_t len)
{
	while (len) {
		ssize_t n = send(sock, rest, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		rest += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* How much of what waits is one frame: a header that lies counts as one. */
static inline size_t raw_frame_size(int sock, size_t size)
{
	uint8_t header[FRAME_HEADER_SIZE];
	struct frame_header h;

	if (!raw_is_stream(sock) ||
	    recv(sock, header, sizeof(header), MSG_PEEK | MSG_WAITALL) != sizeof(header))
		return size;
	frame_header_unpack(header, &h);
	return MIN(size, (size_t)FRAME_HEADER_SIZE + h.body_len + h.data_len);
}

/* One packet of `len` bytes, with n_fds descriptors. 0 or -errno. */
static inline int raw_send(int sock, const void *packet, size_t len, const int *fds, size_t n_fds,
			   int flags)
{
	struct iovec iov = { .iov_base = (void *)packet, .iov_len = len };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * 8)];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	if (n_fds) {
		struct cmsghdr *c = &control.align;

		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	n = sendmsg(sock, &msg, MSG_NOSIGNAL | flags);
	if (n < 0)
		return -errno;
	return raw_send_rest(sock, (const uint8_t *)packet + n, len - (size_t)n);
}

/* Puts one frame into buf. Returns its length. */
static inline size_t raw_pack(uint8_t *buf, const struct frame_header *h, const void *body,
			      const void *data)
{
	frame_header_pack(h, buf);
	if (body)
		memcpy(buf + FRAME_HEADER_SIZE, body, h->body_len);
	if (data)
		memcpy(buf + FRAME_HEADER_SIZE + h->body_len, data, h->data_len);
	return FRAME_HEADER_SIZE + (size_t)h->body_len + h->data_len;
}

/* A request's frame in buf (FRAME_MAX_PACKET bytes). Returns its length. */
static inline size_t raw_request(uint8_t *buf, uint16_t type, uint32_t tag, const void *message,
				 const void *data, size_t data_len)
{
	struct frame_header h = { .tag = tag, .type = type, .data_len = (uint32_t)data_len };

	if (message)
		h.body_len = (uint32_t)protobuf_c_message_pack(message, buf + FRAME_HEADER_SIZE);
	frame_header_pack(&h, buf);
	if (data_len)
		memcpy(buf + FRAME_HEADER_SIZE + h.body_len, data, data_len);
	return FRAME_HEADER_SIZE + h.body_len + data_len;
}

/*
 * Receives one packet into buf and takes all descriptors that came with it. Its length, 0 when the
 * session was ended, -ETIMEDOUT, -errno.
 */
static inline ssize_t raw_recv(int sock, uint8_t *buf, size_t size, int timeout_ms, int *ret_fd,
			       unsigned *ret_n_fds)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * 16)];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	ssize_t n;
	int r;

	*ret_fd = -EBADF;
	*ret_n_fds = 0;
	do
		r = poll(&p, 1, timeout_ms);
	while (r < 0 && errno == EINTR);
	if (r <= 0)
		return r < 0 ? -errno : -ETIMEDOUT;
	iov.iov_len = raw_frame_size(sock, size);
	n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	if (n < 0)
		return errno == ECONNRESET || errno == EPIPE ? 0 : -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < k && c->cmsg_type == SCM_RIGHTS; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (*ret_fd < 0)
				*ret_fd = fd;
			else
				close(fd);
			++*ret_n_fds;
		}
	}
	return n;
}

/* Judges one frame of a reply. False where it is none. */
static inline bool raw_decode(const struct frame *f, struct raw_reply *ret)
{
	const struct rpc_info *rpc = rpc_find(f->header.type);
	const ProtobufCMessageDescriptor *d = NULL;

	ret->header = f->header;
	ret->kind = f->header.flags & FRAME_KIND_MASK;
	if (!(f->header.flags & FRAME_REPLY) ||
	    (f->header.flags & ~(FRAME_REPLY | FRAME_KIND_MASK)))
		return false;
	if (ret->kind == FRAME_ERROR)
		d = &gofer__error__descriptor;
	else if (ret->kind == FRAME_STOP)
		d = &gofer__stop__descriptor;
	else if (rpc && ret->kind == FRAME_OK)
		d = rpc->reply;
	if (!d)
		return false;
	ret->message = protobuf_c_message_unpack(d, NULL, f->header.body_len, f->body);
	if (!ret->message)
		return false;
	if (ret->kind == FRAME_ERROR) {
		ret->error = (int)((Gofer__Error *)ret->message)->error;
		if (ret->error < 1 || ret->error > 4095)
			return false;
	}
	if (f->header.data_len) {
		ret->data = malloc(f->header.data_len);
		if (!ret->data)
			return false;
		memcpy(ret->data, f->data, f->header.data_len);
		ret->data_len = f->header.data_len;
	}
	return true;
}

/* The next reply (one frame per packet expected): 0, -ENOTCONN when the session was ended,
 * -ETIMEDOUT, -EPROTO. */
static inline int raw_reply(int sock, int timeout_ms, struct raw_reply *ret)
{
	static __thread uint8_t buf[FRAME_MAX_PACKET + 1];
	struct raw_reply reply = RAW_REPLY_NULL;
	struct frame f;
	ssize_t n, used;

	n = raw_recv(sock, buf, sizeof(buf), timeout_ms, &reply.fd, &reply.n_fds);
	if (n <= 0)
		return n == 0 ? -ENOTCONN : (int)n;
	used = frame_parse(buf, (size_t)n, &f);
	if (used != n || !raw_decode(&f, &reply)) {
		raw_reply_deinit(&reply);
		return -EPROTO;
	}
	*ret = reply;
	return 0;
}

/* One whole call with a descriptor (or -1). 0 with any kind of reply; -errno when none came. */
static inline int raw_call_fd(int sock, uint16_t type, const void *message, const void *data,
			      size_t data_len, int fd, struct raw_reply *ret)
{
	static __thread uint8_t buf[FRAME_MAX_PACKET];
	static __thread uint32_t tag;
	struct raw_reply reply = RAW_REPLY_NULL;
	size_t n = raw_request(buf, type, ++tag & 0xffffff, message, data, data_len);
	int r;

	if (fd >= 0)
		buf[14] = 1; /* the header's count of descriptors */
	r = raw_send(sock, buf, n, &fd, fd >= 0, 0);
	if (r < 0)
		return r == -EPIPE || r == -ECONNRESET ? -ENOTCONN : r;
	r = raw_reply(sock, 10000, &reply);
	if (r < 0)
		return r;
	if (reply.header.tag != (tag & 0xffffff) || reply.header.type != type) {
		raw_reply_deinit(&reply);
		return -EPROTO;
	}
	raw_reply_deinit(ret);
	*ret = reply;
	return 0;
}

static inline int raw_call(int sock, uint16_t type, const void *message, struct raw_reply *ret)
{
	return raw_call_fd(sock, type, message, NULL, 0, -1, ret);
}

/* As raw_call(), but the errno itself: 0 OK, 1000 a Stop, errno of an ERROR, or -errno. */
enum { RAW_STOPPED = 1000 };
static inline int raw_errno(int sock, uint16_t type, const void *message)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	int e = raw_call(sock, type, message, &r);

	if (e < 0)
		return e;
	return r.kind == FRAME_STOP ? RAW_STOPPED : r.error;
}

static inline int raw_hello(int sock, struct raw_reply *ret)
{
	Gofer__HelloRequest q = GOFER__HELLO_REQUEST__INIT;

	q.version = 1;
	q.client = (char *)"proof";
	return raw_call(sock, RPC_TYPE_Hello, &q, ret);
}

/* Connected and greeted; the number of filesystem `name` (or 0 with NULL). */
static inline int raw_session(const char *name, uint32_t *ret_fs_id)
{
	_cleanup_reply_ struct raw_reply hello = RAW_REPLY_NULL;
	int sock = raw_connect(), r;

	if (sock < 0)
		die("connect: %s", strerror(-sock));
	r = raw_hello(sock, &hello);
	if (r < 0 || hello.kind != FRAME_OK)
		die("Hello: %s", r < 0 ? strerror(-r) : strerror(hello.error));
	if (name) {
		const Gofer__HelloReply *m = (const Gofer__HelloReply *)hello.message;

		for (size_t i = 0; i < m->n_filesystems; i++)
			if (m->filesystems[i]->name.len == strlen(name) &&
			    !memcmp(m->filesystems[i]->name.data, name, strlen(name))) {
				*ret_fs_id = m->filesystems[i]->fs_id;
				return sock;
			}
		die("the server has no filesystem \"%s\"", name);
	}
	return sock;
}

#define BYTES(text) ((ProtobufCBinaryData){ .len = strlen(text), .data = (uint8_t *)(text) })
