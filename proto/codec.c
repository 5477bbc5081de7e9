/*
 * codec.c - see codec.h. By the descriptors that protoc-c generates: a field's place in the message is its
 * offset. A label other than NONE and REPEATED, a string, repeated numbers, unknown fields and anything out of
 * order are not known here: NOT_OURS.
 */
#include "proto/codec.h"

#include <string.h>

enum { NOT_OURS = 1, VARINT_MAX = 10 };

static inline void *field_at(const ProtobufCMessage *m, unsigned offset)
{
	return (uint8_t *)m + offset;
}

/* A number as its varint's value, by type. False for what is no number. */
static inline bool field_number(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
				uint64_t *ret)
{
	const void *at = field_at(m, f->offset);

	switch (f->type) {
	case PROTOBUF_C_TYPE_UINT32:
		*ret = *(const uint32_t *)at;
		return true;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64:
		*ret = *(const uint64_t *)at;
		return true;
	case PROTOBUF_C_TYPE_BOOL:
		*ret = *(const protobuf_c_boolean *)at != 0;
		return true;
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_INT32:
		*ret = (uint64_t)(int64_t) * (const int32_t *)at;
		return true;
	default:
		return false;
	}
}

/* ---- to bytes ---- */

/* How many bytes: seven bits each, and one at least. */
static inline size_t varint_size(uint64_t v)
{
	return (size_t)(63 - __builtin_clzll(v | 1)) / 7 + 1;
}

static inline uint8_t *varint_put(uint8_t *out, uint64_t v)
{
	while (v >= 0x80) {
		*out++ = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	*out++ = (uint8_t)v;
	return out;
}

struct writer {
	uint8_t *at, *end;
};

/* The key of field `id`, then a varint. */
static inline bool put_number(struct writer *w, uint32_t id, unsigned wire, uint64_t v)
{
	size_t left = (size_t)(w->end - w->at);
	uint64_t key = (uint64_t)id << 3 | wire;

	if (left < 2 * VARINT_MAX && varint_size(key) + varint_size(v) > left)
		return false;
	w->at = varint_put(w->at, key);
	w->at = varint_put(w->at, v);
	return true;
}

static int put_message(struct writer *w, const ProtobufCMessage *m);

/* Key, length, message. Its length is put in front when it is known: one byte is kept for it. */
static int put_submessage(struct writer *w, uint32_t id, const ProtobufCMessage *m)
{
	uint8_t *begin;
	size_t size, more;
	int r;

	if (!put_number(w, id, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, 0))
		return -EMSGSIZE;
	begin = w->at;
	r = put_message(w, m);
	if (r != 0)
		return r;
	size = (size_t)(w->at - begin);
	more = varint_size(size) - 1;
	if (more) {
		if (more > (size_t)(w->end - w->at))
			return -EMSGSIZE;
		memmove(begin + more, begin, size);
		w->at += more;
	}
	(void)varint_put(begin - 1, size);
	return 0;
}

static int put_repeated(struct writer *w, const ProtobufCMessage *m,
			const ProtobufCFieldDescriptor *f)
{
	size_t n = *(const size_t *)field_at(m, f->quantifier_offset);
	ProtobufCMessage *const *all = *(ProtobufCMessage *const *const *)field_at(m, f->offset);

	if (n && f->type != PROTOBUF_C_TYPE_MESSAGE)
		return NOT_OURS;
	for (size_t i = 0; i < n; i++) {
		int r = put_submessage(w, f->id, all[i]);

		if (r != 0)
			return r;
	}
	return 0;
}

static int put_field(struct writer *w, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	uint64_t v;

	if (field_number(m, f, &v))
		return v == 0 || put_number(w, f->id, PROTOBUF_C_WIRE_TYPE_VARINT, v) ? 0
										      : -EMSGSIZE;
	if (f->type == PROTOBUF_C_TYPE_BYTES) {
		const ProtobufCBinaryData *b = field_at(m, f->offset);

		if (b->len == 0)
			return 0;
		if (!put_number(w, f->id, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, b->len) ||
		    b->len > (size_t)(w->end - w->at))
			return -EMSGSIZE;
		memcpy(w->at, b->data, b->len);
		w->at += b->len;
		return 0;
	}
	if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
		const ProtobufCMessage *sub = *(ProtobufCMessage *const *)field_at(m, f->offset);

		return sub ? put_submessage(w, f->id, sub) : 0;
	}
	return NOT_OURS;
}

static int put_message(struct writer *w, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	if (m->n_unknown_fields)
		return NOT_OURS;
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		int r = f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF  ? NOT_OURS
			: f->label == PROTOBUF_C_LABEL_NONE     ? put_field(w, m, f)
			: f->label == PROTOBUF_C_LABEL_REPEATED ? put_repeated(w, m, f)
								: NOT_OURS;

		if (r != 0)
			return r;
	}
	return 0;
}

ssize_t codec_pack(const ProtobufCMessage *m, uint8_t *out, size_t room)
{
	struct writer w = { .at = out, .end = out + room };
	int r = put_message(&w, m);

	if (r == 0)
		return w.at - out;
	if (r != NOT_OURS)
		return r;
	if (protobuf_c_message_get_packed_size(m) > room)
		return -EMSGSIZE;
	return (ssize_t)protobuf_c_message_pack(m, out);
}

ssize_t codec_pack_field(uint32_t id, const ProtobufCMessage *m, uint8_t *out, size_t room)
{
	struct writer w = { .at = out, .end = out + room };
	int r = put_submessage(&w, id, m);
	size_t size, head;

	if (r == 0)
		return w.at - out;
	if (r != NOT_OURS)
		return r;
	size = protobuf_c_message_get_packed_size(m);
	w.at = out;
	if (!put_number(&w, id, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, size))
		return -EMSGSIZE;
	head = (size_t)(w.at - out);
	if (size > room - head)
		return -EMSGSIZE;
	return (ssize_t)(head + protobuf_c_message_pack(m, w.at));
}

/* False: not ours. */
static bool add_size(const ProtobufCMessage *m, size_t *size);

static bool add_submessage(uint32_t id, const ProtobufCMessage *m, size_t *size)
{
	size_t own = 0;

	if (!add_size(m, &own))
		return false;
	*size += varint_size((uint64_t)id << 3) + varint_size(own) + own;
	return true;
}

static bool add_field(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f, size_t *size)
{
	uint64_t v;

	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return false;
	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		size_t n = *(const size_t *)field_at(m, f->quantifier_offset);
		ProtobufCMessage *const *all =
			*(ProtobufCMessage *const *const *)field_at(m, f->offset);

		if (n && f->type != PROTOBUF_C_TYPE_MESSAGE)
			return false;
		for (size_t i = 0; i < n; i++)
			if (!add_submessage(f->id, all[i], size))
				return false;
		return true;
	}
	if (f->label != PROTOBUF_C_LABEL_NONE)
		return false;
	if (field_number(m, f, &v)) {
		*size += v ? varint_size((uint64_t)f->id << 3) + varint_size(v) : 0;
		return true;
	}
	if (f->type == PROTOBUF_C_TYPE_BYTES) {
		size_t len = ((const ProtobufCBinaryData *)field_at(m, f->offset))->len;

		*size += len ? varint_size((uint64_t)f->id << 3) + varint_size(len) + len : 0;
		return true;
	}
	if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
		const ProtobufCMessage *sub = *(ProtobufCMessage *const *)field_at(m, f->offset);

		return !sub || add_submessage(f->id, sub, size);
	}
	return false;
}

static bool add_size(const ProtobufCMessage *m, size_t *size)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	if (m->n_unknown_fields)
		return false;
	for (unsigned i = 0; i < d->n_fields; i++)
		if (!add_field(m, &d->fields[i], size))
			return false;
	return true;
}

size_t codec_size(const ProtobufCMessage *m)
{
	size_t size = 0;

	return add_size(m, &size) ? size : protobuf_c_message_get_packed_size(m);
}

/* ---- from bytes ---- */

struct reader {
	struct arena *arena;
	const uint8_t *at, *end;
};

/* False at the end, and for what is longer than a number can be. */
static inline bool take_varint(struct reader *in, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; in->at < in->end && shift < 7 * VARINT_MAX; shift += 7) {
		uint8_t byte = *in->at++;

		if (shift == 63 && byte > 1)
			return false;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static int set_number(void *at, ProtobufCType type, uint64_t v)
{
	switch (type) {
	case PROTOBUF_C_TYPE_UINT32:
		if (v > UINT32_MAX)
			return NOT_OURS;
		*(uint32_t *)at = (uint32_t)v;
		return 0;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64:
		*(uint64_t *)at = v;
		return 0;
	case PROTOBUF_C_TYPE_BOOL:
		if (v > 1)
			return NOT_OURS;
		*(protobuf_c_boolean *)at = (protobuf_c_boolean)v;
		return 0;
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_INT32:
		if (v > INT32_MAX)
			return NOT_OURS;
		*(int32_t *)at = (int32_t)v;
		return 0;
	default:
		return NOT_OURS;
	}
}

static int take_message(struct reader *in, const ProtobufCMessageDescriptor *d,
			ProtobufCMessage **ret);

/* The message in the next `len` bytes. */
static int take_submessage(struct reader *in, uint64_t len, const ProtobufCMessageDescriptor *d,
			   ProtobufCMessage **ret)
{
	struct reader inner = { .arena = in->arena, .at = in->at, .end = in->at + len };

	in->at += len;
	return take_message(&inner, d, ret);
}

/* How many fields with this key follow one another, the first one's length being taken. False: broken. */
static bool count_run(struct reader in, uint64_t key, uint64_t len, size_t *ret_n)
{
	uint64_t next = key;
	size_t n = 0;

	while (next == key) {
		if (len > (uint64_t)(in.end - in.at))
			return false;
		in.at += len;
		n++;
		if (in.at == in.end)
			break;
		if (!take_varint(&in, &next) || (next == key && !take_varint(&in, &len)))
			return false;
	}
	*ret_n = n;
	return true;
}

/* All of a repeated message's occurrences: they stand one after the other, or it is not ours. */
static int take_repeated(struct reader *in, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
			 uint64_t key, uint64_t len)
{
	ProtobufCMessage **all;
	size_t n;

	if (f->type != PROTOBUF_C_TYPE_MESSAGE || !count_run(*in, key, len, &n))
		return NOT_OURS;
	all = arena_take(in->arena, n * sizeof(*all));
	if (!all)
		return -EMSGSIZE;
	for (size_t i = 0; i < n; i++) {
		int r;

		if (i && (!take_varint(in, &key) || !take_varint(in, &len)))
			return NOT_OURS;
		r = take_submessage(in, len, f->descriptor, &all[i]);
		if (r != 0)
			return r;
	}
	*(size_t *)field_at(m, f->quantifier_offset) = n;
	*(ProtobufCMessage ***)field_at(m, f->offset) = all;
	return 0;
}

static int take_bytes(struct reader *in, ProtobufCBinaryData *b, uint64_t len)
{
	b->len = len;
	if (len) {
		b->data = arena_take(in->arena, len);
		if (!b->data)
			return -EMSGSIZE;
		memcpy(b->data, in->at, len);
	}
	in->at += len;
	return 0;
}

static int take_field(struct reader *in, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
		      uint64_t key)
{
	void *at = (uint8_t *)m + f->offset;
	uint64_t v;

	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF || !take_varint(in, &v))
		return NOT_OURS;
	if ((key & 7) == PROTOBUF_C_WIRE_TYPE_VARINT)
		return f->label == PROTOBUF_C_LABEL_NONE ? set_number(at, f->type, v) : NOT_OURS;
	if ((key & 7) != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED || v > (uint64_t)(in->end - in->at))
		return NOT_OURS;
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return take_repeated(in, m, f, key, v);
	if (f->label != PROTOBUF_C_LABEL_NONE)
		return NOT_OURS;
	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return take_bytes(in, at, v);
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return take_submessage(in, v, f->descriptor, at);
	return NOT_OURS;
}

static int take_message(struct reader *in, const ProtobufCMessageDescriptor *d,
			ProtobufCMessage **ret)
{
	ProtobufCMessage *m = arena_take(in->arena, d->sizeof_message);
	unsigned next = 0;

	if (!m)
		return -EMSGSIZE;
	d->message_init(m);
	while (in->at < in->end) {
		uint64_t key;
		int r;

		if (!take_varint(in, &key))
			return NOT_OURS;
		/* Fields are sorted by number in the descriptor, and as a rule in the message. */
		while (next < d->n_fields && d->fields[next].id < key >> 3)
			next++;
		if (next == d->n_fields || d->fields[next].id != key >> 3)
			return NOT_OURS;
		r = take_field(in, m, &d->fields[next++], key);
		if (r != 0)
			return r;
	}
	*ret = m;
	return 0;
}

int codec_unpack(struct arena *a, const ProtobufCMessageDescriptor *descriptor, const uint8_t *data,
		 size_t size, ProtobufCMessage **ret_message)
{
	struct reader in = { .arena = a, .at = data, .end = data + size };
	size_t used = a->used;
	int r = take_message(&in, descriptor, ret_message);

	if (r == NOT_OURS) {
		a->used = used;
		a->exhausted = false;
	}
	return r;
}
