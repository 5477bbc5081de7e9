/*
 * fuzz_decode.c - target 1: raw bytes into framing, decoding and validation, as the server does it
 * and as the client does it, and back: what was decoded and packed again decodes to the same. The
 * same bytes are cut into frames as a stream of requests and as one of replies are, piece by piece.
 *
 * The input is a packet. Where the header says "reply", the bodies are decoded as replies.
 */
#include <string.h>

#include "common/path.h"
#include "proto/codec.h"
#include "proto/errnos.h"
#include "proto/stream.h"
#include "server/session.h"
#include "tests/fuzz/fuzz.h"

/*
 * Fields of a later version are kept by protobuf-c, and nobody here packs them again. Left out,
 * because protobuf-c 1.4 takes the field number 0 where it is written in two bytes, and packs it as
 * one, which it refuses to take.
 */
static void forget_unknown(ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	m->n_unknown_fields = 0;
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		void *at = (char *)m + f->offset;

		if (f->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (f->label != PROTOBUF_C_LABEL_REPEATED) {
			if (*(ProtobufCMessage **)at)
				forget_unknown(*(ProtobufCMessage **)at);
			continue;
		}
		for (size_t k = 0; k < *(size_t *)((char *)m + f->quantifier_offset); k++)
			forget_unknown((*(ProtobufCMessage ***)at)[k]);
	}
}

/* What our own codec takes, protobuf-c takes as the same; and both make the same of it. */
static void same_as_protobuf_c(ProtobufCMessage *m, const uint8_t *bytes, size_t size)
{
	ProtobufCMessage *other = protobuf_c_message_unpack(m->descriptor, NULL, size, bytes);
	_cleanup_free_ uint8_t *ours = NULL, *theirs = NULL;
	size_t n;

	FUZZ_ASSERT(other);
	n = protobuf_c_message_get_packed_size(other);
	ours = malloc(n + 1);
	theirs = malloc(n + 1);
	FUZZ_ASSERT(ours && theirs);
	FUZZ_ASSERT(codec_size(m) == n);
	FUZZ_ASSERT(codec_pack(m, ours, n) == (ssize_t)n);
	FUZZ_ASSERT(protobuf_c_message_pack(other, theirs) == n);
	FUZZ_ASSERT(memcmp(ours, theirs, n) == 0);
	protobuf_c_message_free_unpacked(other, NULL);
}

/* Decoded once in the arena; then packed, decoded again, and packed again: twice the same bytes. */
static void round_trip(ProtobufCMessage *m)
{
	_cleanup_free_ uint8_t *once = NULL, *twice = NULL;
	ProtobufCMessage *again;
	size_t size;

	forget_unknown(m);
	size = protobuf_c_message_get_packed_size(m);
	once = malloc(size + 1);
	twice = malloc(size + 1);
	FUZZ_ASSERT(once && twice);
	FUZZ_ASSERT(protobuf_c_message_pack(m, once) == size);
	again = protobuf_c_message_unpack(m->descriptor, NULL, size, once);
	FUZZ_ASSERT(again);
	FUZZ_ASSERT(protobuf_c_message_get_packed_size(again) == size);
	FUZZ_ASSERT(protobuf_c_message_pack(again, twice) == size);
	FUZZ_ASSERT(memcmp(once, twice, size) == 0);
	protobuf_c_message_free_unpacked(again, NULL);
}

/* What a validator lets through is what handlers rely on. */
static void check_valid(const struct rpc_info *rpc, const ProtobufCMessage *m)
{
	for (unsigned i = 0; i < 2; i++) {
		const Gofer__Path *p = rpc_path(rpc, m, i);

		if (!p)
			continue;
		FUZZ_ASSERT(p->path.len <= PATH_LEN_MAX);
		FUZZ_ASSERT(
			!memchr(p->path.data ? p->path.data : (const uint8_t *)"", 0, p->path.len));
		FUZZ_ASSERT(!p->follow || (rpc->flags & RPC_FOLLOW));
	}
}

static void decode_request(struct arena *arena, const struct frame *frame)
{
	const struct rpc_info *rpc = rpc_find(frame->header.type);
	ProtobufCMessage *m;
	int r;

	if (!rpc)
		return;
	r = arena_unpack(arena, rpc->request, frame->body, frame->header.body_len, &m);
	FUZZ_ASSERT(r == 0 || r == -EBADMSG || r == -EMSGSIZE);
	FUZZ_ASSERT(arena->used <= arena->size);
	if (r < 0)
		return;
	same_as_protobuf_c(m, frame->body, frame->header.body_len);
	round_trip(m);
	r = rpc->validate(m, &frame->header);
	FUZZ_ASSERT(r <= 0 && errno_to_wire(-r) < 134);
	if (r == 0)
		check_valid(rpc, m);
}

static void decode_reply(struct arena *arena, const struct frame *frame)
{
	const struct rpc_info *rpc = rpc_find(frame->header.type);
	const ProtobufCMessageDescriptor *d;
	ProtobufCMessage *m;

	switch (frame->header.flags & FRAME_KIND_MASK) {
	case FRAME_ERROR:
		d = &gofer__error__descriptor;
		break;
	case FRAME_STOP:
		d = &gofer__stop__descriptor;
		break;
	default:
		if (!rpc)
			return;
		d = rpc->reply;
	}
	if (arena_unpack(arena, d, frame->body, frame->header.body_len, &m) < 0)
		return;
	same_as_protobuf_c(m, frame->body, frame->header.body_len);
	round_trip(m);
	if (d == &gofer__error__descriptor) {
		int e = errno_from_wire(((const Gofer__Error *)m)->error);

		FUZZ_ASSERT(e > 0 && errno_name(e));
	}
}

/* Frame by frame, whatever the packet as a whole is: also what follows a broken one is never read.
 */
static void decode_frames(struct arena *arena, const uint8_t *data, size_t size)
{
	for (size_t at = 0; at < size;) {
		uint8_t header[FRAME_HEADER_SIZE];
		struct frame f;
		ssize_t n = frame_parse(data + at, size - at, &f);

		if (n < 0)
			return;
		FUZZ_ASSERT(n >= FRAME_HEADER_SIZE && (size_t)n <= size - at);
		FUZZ_ASSERT(f.body + f.header.body_len == f.data);
		FUZZ_ASSERT(f.data + f.header.data_len == data + at + n);
		frame_header_pack(&f.header, header);
		FUZZ_ASSERT(memcmp(header, data + at, sizeof(header)) == 0);
		arena_reset(arena);
		if (f.header.flags & FRAME_REPLY)
			decode_reply(arena, &f);
		else
			decode_request(arena, &f);
		at += (size_t)n;
	}
}

static void parse_packet(uint8_t *data, size_t size, const struct packet_in *in)
{
	struct packet p = { .bytes = data, .size = size, .fd = in->fd };
	unsigned fds = 0;

	if (packet_parse(&p, in) < 0)
		return;
	FUZZ_ASSERT(p.n_frames <= FRAME_MAX_PER_PACKET);
	for (unsigned i = 0; i < p.n_frames; i++)
		fds += p.frames[i].header.fds;
	FUZZ_ASSERT(fds <= 1 && (fds == 1 || in->fd < 0));
}

/* ---- the same bytes as a stream, which arrives in pieces ---- */

struct pieces {
	const uint8_t *data;
	size_t size, at;
	uint32_t state;
};

static ssize_t next_piece(void *userdata, void *buf, size_t size, int flags _unused_)
{
	struct pieces *p = userdata;
	size_t n;

	p->state = p->state * 1664525 + 1013904223;
	if (p->state >> 29 == 0)
		return p->state & 1 ? -EAGAIN : -EINTR;
	n = MIN(MIN(size, p->size - p->at), (size_t)(p->state >> 24 & 0x7f) + 1);
	FUZZ_ASSERT(size > 0);
	memcpy(buf, p->data + p->at, n);
	p->at += n;
	return (ssize_t)n;
}

/* Frames come out whole, in order, none lost; what follows a broken one never does. */
static void cut_stream(const uint8_t *data, size_t size, bool requests)
{
	static uint8_t buf[FRAME_MAX_PACKET];
	struct pieces pieces = { .data = data, .size = size, .state = (uint32_t)size };
	const struct stream_carrier carrier = { .receive = next_piece, .userdata = &pieces };
	static struct stream *streams[2]; /* of large buffers */
	struct stream *s = streams[requests];
	size_t taken = 0;
	ssize_t n;

	if (!s)
		s = streams[requests] = stream_new(-EBADF, 64, requests);
	FUZZ_ASSERT(s);
	s->start = s->end = 0;
	for (size_t i = 0; i < MIN(size, 64u); i++)
		pieces.state = pieces.state * 31 + data[i];
	stream_carry(s, &carrier);
	do {
		n = stream_recv(s, buf, FRAME_MAX_PER_PACKET, 0);
		if (n <= 0)
			continue;
		FUZZ_ASSERT((size_t)n <= size - taken);
		FUZZ_ASSERT(memcmp(buf, data + taken, (size_t)n) == 0);
		for (ssize_t at = 0, k; at < n; at += k) {
			struct frame f;

			k = frame_parse(buf + at, (size_t)(n - at), &f);
			FUZZ_ASSERT(k > 0);
		}
		taken += (size_t)n;
	} while (n > 0 || n == -EINPROGRESS || n == -EAGAIN || n == -EINTR);
	FUZZ_ASSERT(n == 0 || n == -EPROTO || n == -ECONNABORTED);
	FUZZ_ASSERT((n == 0) == (taken == size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena arena;
	_cleanup_free_ uint8_t *copy = NULL; /* of exactly that size: nothing is read behind it */

	if (!arena.block && arena_init(&arena, SESSION_ARENA_SIZE) < 0)
		abort();
	if (size > FRAME_MAX_PACKET)
		return -1;
	copy = malloc(size ? size : 1);
	FUZZ_ASSERT(copy);
	memcpy(copy, data, size);
	decode_frames(&arena, copy, size);
	parse_packet(copy, size, &(struct packet_in){ .fd = -EBADF });
	parse_packet(copy, size, &(struct packet_in){ .fd = 0 });
	parse_packet(copy, size, &(struct packet_in){ .fd = -EBADF, .truncated = true });
	cut_stream(copy, size, false);
	cut_stream(copy, size, true);
	(void)path_validate(copy, size);
	return 0;
}
