/*
 * attach.c - a new connection for an old session: Hello, the same filesystems, its identities, its
 * handles.
 *
 * All of that is said on a stream of its own, by one thread, before the session knows of the
 * connection. Requests are sent a few ahead of their answers, so that many handles take few rounds.
 * Handles may be closed meanwhile by others: what was opened for them is closed again.
 */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "client/reattach.h"
#include "client/tls_stream.h"
#include "proto/codec.h"

enum { AHEAD = 16 };

static int send_whole(struct attachment *a, const struct iovec iov[2])
{
	int r;

	while ((r = stream_send(a->stream, iov, 2, MSG_DONTWAIT)) == -EAGAIN) {
		r = packet_wait(a->sock, POLLOUT, a->deadline);
		if (r < 0)
			return r;
	}
	while (r == 0 && (r = stream_flush(a->stream)) == -EAGAIN)
		r = packet_wait(a->sock, POLLOUT, a->deadline);
	return r;
}

/* One request. The answer to it is numbered with `tag`. */
static int ask(struct attachment *a, uint16_t type, uint32_t tag, const uint8_t *body, size_t len)
{
	const struct frame_header h = { .body_len = (uint32_t)len, .tag = tag, .type = type };
	uint8_t header[FRAME_HEADER_SIZE];
	struct iovec iov[2] = { { header, sizeof(header) }, { (void *)body, len } };

	frame_header_pack(&h, header);
	return send_whole(a, iov);
}

static int ask_message(struct attachment *a, uint16_t type, uint32_t tag, const ProtobufCMessage *m)
{
	size_t size = codec_size(m);
	_cleanup_free_ uint8_t *body = malloc(size ? size : 1);
	ssize_t n;

	if (!body)
		return -ENOMEM;
	n = codec_pack(m, body, size);
	return n < 0 ? (int)n : ask(a, type, tag, body, (size_t)n);
}

void attachment_deinit(struct attachment *a)
{
	Gofer__LeaveRequest leave = GOFER__LEAVE_REQUEST__INIT;

	/* A session that is not used is not to be kept. */
	if (a->sock >= 0 && a->has_token && !a->resumed) {
		a->deadline = 0;
		(void)ask_message(a, RPC_TYPE_Leave, 0, &leave.base);
	}
	free(a->replays);
	a->replays = NULL;
	helper_end(&a->helper, a->sock);
	a->sock = -EBADF;
	a->stream = stream_free(a->stream);
	free(a->buf);
	a->buf = NULL;
}

/* The next answer: 0 with a reply (the caller's), or the server's error; *ret_tag in both cases. -ENOTCONN where there is none. */
static int answer(struct attachment *a, uint16_t type, uint32_t *ret_tag,
		  struct gofer_reply *ret_reply)
{
	const struct rpc_info *rpc = rpc_find(type);
	const struct expect expect = { .open = GOFER__OPEN_FLAG__OPEN_READ };
	struct packet_in in = { .fd = -EBADF };
	const char *violation = NULL;
	struct frame frame;
	uint64_t handle;
	ssize_t n;
	int r;

	do
		n = stream_recv(a->stream, a->buf, 1, 0);
	while (n == -EINPROGRESS || n == -EINTR);
	if (n == 0 || n == -ECONNABORTED || n == -EAGAIN)
		return -ENOTCONN;
	if (n < 0)
		return n == -EPROTO ? -EPROTO : -ENOTCONN;
	if (frame_parse(a->buf, (size_t)n, &frame) != n || frame.header.type != type ||
	    !reply_flags_ok(&frame.header))
		return -EPROTO;
	*ret_tag = frame.header.tag;
	r = reply_decode(rpc, &expect, &frame, &in, NULL, ret_reply, &handle, &violation);
	return violation ? -EPROTO : r;
}

/* ---- the same filesystems ---- */

static bool same_root(const struct reattach *a, size_t i, const Gofer__Attr *root)
{
	return !a->roots[i].ino || !root ||
	       (a->roots[i].dev == root->dev && a->roots[i].ino == root->ino &&
		a->roots[i].btime == root->btime && a->roots[i].btime_nsec == root->btime_nsec);
}

static const char *compare(const struct gofer_session *s, const Gofer__HelloReply *m)
{
	const Gofer__Limits *l = m->limits;

	if (m->version != 1)
		return "it speaks another version of the protocol now";
	if (l->max_frame < s->limits.max_frame || l->max_data < s->limits.max_data ||
	    l->max_in_flight < s->limits.max_in_flight ||
	    l->inline_limit < s->limits.inline_limit ||
	    l->max_identities < s->limits.max_identities)
		return "its limits are lower than they were";
	for (size_t i = 0; i < s->n_filesystems; i++) {
		const struct gofer_filesystem *old = &s->filesystems[i];
		const Gofer__Filesystem *f = NULL;

		for (size_t j = 0; j < m->n_filesystems && !f; j++)
			if (m->filesystems[j]->fs_id == old->fs_id)
				f = m->filesystems[j];
		if (!f || strlen(old->name) != f->name.len ||
		    memcmp(old->name, f->name.data, f->name.len) != 0 ||
		    f->read_only != old->read_only || f->delegate != old->delegate)
			return "it serves other filesystems than it did";
		if (!same_root(s->again, i, f->root))
			return "it serves another directory under the same name";
	}
	return NULL;
}

/* One frame more, as it is. */
static int take_replay(struct attachment *a, size_t *size)
{
	ssize_t n;

	do
		n = stream_recv(a->stream, a->buf, 1, 0);
	while (n == -EINPROGRESS || n == -EINTR);
	if (n <= 0)
		return n == -EPROTO ? -EPROTO : -ENOTCONN;
	if (a->replays_len + (size_t)n > *size) {
		size_t larger = 2 * (*size + (size_t)n);
		uint8_t *grown = realloc(a->replays, larger);

		if (!grown)
			return -ENOMEM;
		a->replays = grown;
		*size = larger;
	}
	memcpy(a->replays + a->replays_len, a->buf, (size_t)n);
	a->replays_len += (size_t)n;
	return 0;
}

static int take_replays(struct attachment *a, uint32_t n)
{
	size_t size = 0;
	int r = 0;

	while (n-- && r == 0)
		r = take_replay(a, &size);
	return r;
}

static int hello(struct gofer_session *s, struct attachment *a, bool *ret_final)
{
	char *features[] = { (char *)FEATURE_RESUME };
	Gofer__HelloRequest m = GOFER__HELLO_REQUEST__INIT;
	const Gofer__HelloReply *got;
	struct gofer_reply reply;
	const char *why;
	uint32_t tag;
	int r;

	m.version = 1;
	m.features = features;
	m.n_features = 1;
	if (s->again->has_token)
		m.resume = (ProtobufCBinaryData){ .data = s->again->token, .len = RPC_TOKEN_SIZE };
	m.client = (char *)(s->again->options.client ? s->again->options.client : "libgofer");
	r = ask_message(a, RPC_TYPE_Hello, 0, &m.base);
	if (r == 0)
		r = answer(a, RPC_TYPE_Hello, &tag, &reply);
	if (r < 0)
		return fail_words(r, "%s does not answer", s->server);
	got = (const Gofer__HelloReply *)reply.message;
	why = compare(s, got);
	a->has_token = got->token.len;
	if (got->token.len)
		memcpy(a->token, got->token.data, RPC_TOKEN_SIZE);
	a->resumed = s->again->has_token && got->resumed;
	r = !why && a->resumed ? take_replays(a, MIN(got->replays, s->limits.max_in_flight)) : 0;
	gofer_reply_free(&reply);
	if (!why)
		return r;
	*ret_final = true;
	return fail_words(-ESTALE, "%s: %s", s->server, why);
}

static int identities(struct gofer_session *s, struct attachment *a)
{
	int r = 0;

	/* Nobody registers one meanwhile: that takes an answer. */
	for (size_t i = 0; i < s->again->n_identities && r == 0; i++) {
		const struct registered *id = &s->again->identities[i];
		struct gofer_reply reply;
		uint32_t tag;

		r = ask(a, RPC_TYPE_SetIdentity, 0, id->body, id->len);
		if (r == 0)
			r = answer(a, RPC_TYPE_SetIdentity, &tag, &reply);
		if (r == 0)
			gofer_reply_free(&reply);
		else
			r = fail_words(r, "%s: identity %u: %s", s->server, id->id,
				       strerrordesc_np(-r));
	}
	return r;
}

/* ---- handles ---- */

/* Sends the Open of a handle. 0 where it was sent; 1 where there is nothing to send. */
static int ask_open(struct gofer_session *s, struct attachment *a, uint32_t tag, uint64_t number)
{
	Gofer__OpenRequest m = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_free_ char *path = NULL;
	struct opened *o;

	pthread_mutex_lock(&s->lock);
	o = numbers_find(s, number);
	if (o && o->error != -ESTALE) {
		o->server = 0;
		o->error =
			o->path && o->ino ? -ENOTCONN : -ESTALE; /* until it is there; for good */
		path = o->error == -ENOTCONN ? strdup(o->path) : NULL;
	}
	if (path) {
		where.fs_id = o->fs_id;
		where.identity = o->identity;
		where.follow = o->follow;
		where.nofollow = o->nofollow;
		m.flags = o->flags;
	}
	pthread_mutex_unlock(&s->lock);
	if (!path)
		return 1;
	where.path = (ProtobufCBinaryData){ .data = (uint8_t *)path, .len = strlen(path) };
	m.path = &where;
	return ask_message(a, RPC_TYPE_Open, tag, &m.base);
}

static bool same_inode(const struct opened *o, const Gofer__Attr *attr)
{
	return attr && attr->dev == o->dev && attr->ino == o->ino && attr->btime == o->btime &&
	       attr->btime_nsec == o->btime_nsec && (attr->mode & S_IFMT) == (o->mode & S_IFMT);
}

/* What kept a path from being opened again, as the handle's error from now on. */
static int reopen_error(int error)
{
	switch (error) {
	case -ENOENT:
	case -ENOTDIR:
	case -ELOOP:
	case -EISDIR:
	case -EXDEV:
		return -ESTALE;
	default:
		return error;
	}
}

static int close_again(struct attachment *a, uint64_t handle)
{
	Gofer__CloseRequest m = GOFER__CLOSE_REQUEST__INIT;
	struct gofer_reply reply;
	uint32_t tag;
	int r;

	m.n_handles = 1;
	m.handles = &handle;
	r = ask_message(a, RPC_TYPE_Close, 0, &m.base);
	if (r == 0)
		r = answer(a, RPC_TYPE_Close, &tag, &reply);
	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

/* One answer: `numbers` by tag. The handles that are of no use are kept in `unused`. */
static int take_open(struct gofer_session *s, struct attachment *a, const uint64_t *numbers,
		     uint32_t n, uint64_t *unused, size_t *n_unused)
{
	const Gofer__OpenReply *m = NULL;
	struct gofer_reply reply = { .fd = -EBADF };
	uint32_t tag = UINT32_MAX;
	struct opened *o;
	int r = answer(a, RPC_TYPE_Open, &tag, &reply);

	if (tag >= n)
		return r < 0 ? r : -EPROTO;
	if (r == 0 && reply.kind == GOFER_REPLY_OK)
		m = (const Gofer__OpenReply *)reply.message;
	pthread_mutex_lock(&s->lock);
	o = numbers_find(s, numbers[tag]);
	if (o && m && m->handle && same_inode(o, m->attr)) {
		o->server = m->handle;
		o->error = 0;
	} else if (m && m->handle) {
		unused[(*n_unused)++] = m->handle;
	}
	if (o && !o->server)
		o->error = r < 0 ? reopen_error(r) : -ESTALE;
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		gofer_reply_free(&reply);
	return 0;
}

/* AHEAD of them at most. */
static int reopen_some(struct gofer_session *s, struct attachment *a, const uint64_t *numbers,
		       uint32_t n)
{
	uint64_t unused[AHEAD];
	size_t n_unused = 0;
	uint32_t asked = 0;
	int r = 0;

	for (uint32_t i = 0; i < n && r >= 0; i++) {
		r = ask_open(s, a, i, numbers[i]);
		asked += r == 0;
	}
	for (; asked && r >= 0; asked--)
		r = take_open(s, a, numbers, n, unused, &n_unused);
	while (n_unused && r >= 0)
		r = close_again(a, unused[--n_unused]);
	return MIN(r, 0);
}

static int reopen(struct gofer_session *s, struct attachment *a)
{
	const struct reattach *again = s->again;
	_cleanup_free_ uint64_t *numbers = NULL;
	size_t n = 0;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	numbers = calloc(again->n_opened + 1, sizeof(*numbers));
	for (size_t i = 0; numbers && i < again->n_buckets; i++)
		for (const struct opened *o = again->buckets[i]; o; o = o->next)
			numbers[n++] = o->number;
	s->again->renumbered |= n > 0;
	/* Those that wait are the old server's. */
	s->n_closes = 0;
	pthread_mutex_unlock(&s->lock);
	if (!numbers)
		return -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i += AHEAD)
		r = reopen_some(s, a, numbers + i, (uint32_t)MIN(n - i, (size_t)AHEAD));
	return r < 0 ? fail_words(r, "%s: handles could not be opened again", s->server) : 0;
}

/* ---- all of it ---- */

/* What another attempt will not change. */
static bool is_final(int error)
{
	return error == -EACCES || error == -EPERM || error == -ENOKEY || error == -EKEYREJECTED ||
	       error == -EKEYREVOKED || error == -EKEYEXPIRED || error == -EPROTO ||
	       error == -EINVAL;
}

int attachment_make(struct gofer_session *s, uint64_t timeout, struct attachment *ret,
		    bool *ret_final)
{
	struct attachment a = { .sock = -EBADF, .deadline = now_ns() + s->timeout };
	struct timeval tv = { .tv_sec = (time_t)(s->timeout / 1000000000),
			      .tv_usec = (suseconds_t)(s->timeout % 1000000000 / 1000) };
	int r;

	*ret_final = false;
	r = session_connect(s->server, &s->again->options, timeout, &a.sock, &a.helper);
	if (r == 0) {
		a.buf = malloc(FRAME_MAX_PACKET);
		a.stream = stream_new(a.sock, STREAM_CHUNK, false);
		r = a.buf && a.stream ? 0 : -ENOMEM;
	}
	if (r == 0 && a.helper.tls) {
		struct stream_carrier carrier = tls_stream_carrier(a.helper.tls);

		stream_carry(a.stream, &carrier);
	}
	if (r == 0)
		r = hello(s, &a, ret_final);
	if (r == 0 && !a.resumed)
		r = identities(s, &a);
	if (r == 0 && !a.resumed)
		r = reopen(s, &a);
	if (r == 0 && setsockopt(a.sock, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
		r = -errno;
	if (r < 0) {
		*ret_final |= is_final(r);
		attachment_deinit(&a);
		return r;
	}
	*ret = a;
	return 0;
}
