/*
 * test_codec.c - what the codec makes and takes is what protobuf-c makes and takes: for every message of the
 * protocol, with random content, whole and damaged.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "gofer.pb-c.h"
#include "proto/codec.h"
#include "proto/frame.h"
#include "proto/rpc.h"

enum { BUDGET = 1 << 20, TURNS = 300 };

static uint64_t state = 88172645463325252u;

static uint64_t random_number(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Of every length, zero among them. */
static uint64_t any_number(void)
{
	return random_number() % 4 ? random_number() >> random_number() % 64 : 0;
}

static ProtobufCMessage *any_message(struct arena *a, const ProtobufCMessageDescriptor *d,
				     unsigned depth);

static void fill_one(struct arena *a, const ProtobufCFieldDescriptor *f, void *at, unsigned depth)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_UINT32:
		*(uint32_t *)at = (uint32_t)any_number();
		break;
	case PROTOBUF_C_TYPE_ENUM:
		*(int32_t *)at = (int32_t)any_number();
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64:
		*(uint64_t *)at = any_number();
		break;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)at = random_number() % 2;
		break;
	case PROTOBUF_C_TYPE_STRING:
		*(char **)at = arena_memdup(a, "name", 5);
		break;
	case PROTOBUF_C_TYPE_BYTES: {
		ProtobufCBinaryData *b = at;

		b->len = random_number() % 3 ? random_number() % 300 : 0;
		b->data = arena_alloc(a, b->len + 1);
		memset(b->data, 'x', b->len);
		break;
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		*(ProtobufCMessage **)at =
			random_number() % 4 ? any_message(a, f->descriptor, depth + 1) : NULL;
		break;
	default:
		cr_assert_fail("%s is of a type that this test does not know", f->name);
	}
}

static void fill_repeated(struct arena *a, const ProtobufCFieldDescriptor *f, ProtobufCMessage *m,
			  unsigned depth)
{
	size_t n = random_number() % 4, size = f->type == PROTOBUF_C_TYPE_UINT32 ? 4 : 8;
	uint8_t *all = arena_calloc(a, n + 1, size);

	for (size_t i = 0; i < n; i++)
		do
			fill_one(a, f, all + i * size, depth);
		while (f->type == PROTOBUF_C_TYPE_MESSAGE && !((void **)(void *)all)[i]);
	*(size_t *)((uint8_t *)m + f->quantifier_offset) = n;
	*(void **)((uint8_t *)m + f->offset) = all;
}

static ProtobufCMessage *any_message(struct arena *a, const ProtobufCMessageDescriptor *d,
				     unsigned depth)
{
	ProtobufCMessage *m = arena_alloc(a, d->sizeof_message);

	cr_assert_not_null(m);
	cr_assert_lt(depth, 8, "no message holds itself");
	d->message_init(m);
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];

		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			fill_repeated(a, f, m, depth);
		else
			fill_one(a, f, (uint8_t *)m + f->offset, depth);
	}
	return m;
}

/* Packed by protobuf-c again, both are the same bytes; or both are refused. */
static void takes_the_same(struct arena *a, const ProtobufCMessageDescriptor *d,
			   const uint8_t *bytes, size_t size)
{
	ProtobufCMessage *ours = NULL, *theirs = protobuf_c_message_unpack(d, NULL, size, bytes);
	int r;

	arena_reset(a);
	r = codec_unpack(a, d, bytes, size, &ours);
	cr_assert(r == 0 || r == 1, "%s: %d", d->name, r);
	if (r == 0) {
		_cleanup_free_ uint8_t *x = NULL, *y = NULL;
		size_t n;

		cr_assert_not_null(theirs, "%s: taken, and should not be", d->name);
		n = protobuf_c_message_get_packed_size(theirs);
		cr_assert_eq(protobuf_c_message_get_packed_size(ours), n, "%s", d->name);
		x = malloc(n + 1);
		y = malloc(n + 1);
		protobuf_c_message_pack(ours, x);
		protobuf_c_message_pack(theirs, y);
		cr_assert_arr_eq(x, y, n, "%s", d->name);
		cr_assert(protobuf_c_message_check(ours));
	} else {
		cr_assert_eq(a->used, 0, "%s: the arena is as it was", d->name);
	}
	if (theirs)
		protobuf_c_message_free_unpacked(theirs, NULL);
}

static unsigned quick, all;

/* As one field of another message: its key and length, and then the same. */
static void field_is_the_same(const ProtobufCMessage *m, const uint8_t *bytes, size_t n)
{
	static uint8_t ours[FRAME_MAX_BODY + 32];
	const size_t head = 2 + (n >= 1 << 7) + (n >= 1 << 14);

	cr_assert_eq(codec_pack_field(3, m, ours, head + n), (ssize_t)(head + n));
	cr_assert_eq(ours[0], 3 << 3 | PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED);
	cr_assert_eq((size_t)(ours[1] & 0x7f), n % 128);
	cr_assert_arr_eq(ours + head, bytes, n);
	ours[head + n - 1] = 0xee;
	cr_assert_eq(codec_pack_field(3, m, ours, head + n - 1), -EMSGSIZE);
	cr_assert_eq(ours[head + n - 1], 0xee);
}

static void try_descriptor(const ProtobufCMessageDescriptor *d)
{
	static uint8_t ours[FRAME_MAX_BODY], theirs[FRAME_MAX_BODY];
	struct arena made, taken;

	cr_assert_eq(arena_init(&made, BUDGET), 0);
	cr_assert_eq(arena_init(&taken, BUDGET), 0);
	for (unsigned turn = 0; turn < TURNS; turn++) {
		ProtobufCMessage *m, *again;
		size_t n;

		arena_reset(&made);
		m = any_message(&made, d, 0);
		n = protobuf_c_message_get_packed_size(m);
		if (n > sizeof(ours))
			continue;
		cr_assert_eq(codec_size(m), n, "%s", d->name);
		protobuf_c_message_pack(m, theirs);
		memset(ours, 0xee, n + 32);
		cr_assert_eq(codec_pack(m, ours, n), (ssize_t)n, "%s", d->name);
		cr_assert_arr_eq(ours, theirs, n, "%s", d->name);
		for (size_t i = 0; i < 32; i++)
			cr_assert_eq(ours[n + i], 0xee, "%s: written beyond the room", d->name);
		/* Less room than it needs: refused, and kept to. */
		for (size_t less = 1; less <= MIN(n, (size_t)12); less++) {
			memset(ours, 0xee, n + 1);
			cr_assert_eq(codec_pack(m, ours, n - less), -EMSGSIZE, "%s", d->name);
			for (size_t i = n - less; i <= n; i++)
				cr_assert_eq(ours[i], 0xee, "%s: beyond the room", d->name);
		}
		field_is_the_same(m, theirs, n);
		arena_reset(&taken);
		all++;
		quick += codec_unpack(&taken, d, theirs, n, &again) == 0;
		takes_the_same(&taken, d, theirs, n);
		/* Cut short, and with single bytes changed. */
		for (unsigned k = 0; n && k < 20; k++) {
			uint8_t was;
			size_t at = random_number() % n;

			takes_the_same(&taken, d, theirs, at);
			was = theirs[at];
			theirs[at] = (uint8_t)random_number();
			takes_the_same(&taken, d, theirs, n);
			if (random_number() % 2)
				theirs[at] = was;
		}
	}
	arena_deinit(&made);
	arena_deinit(&taken);
}

Test(codec, every_message_is_made_and_taken_as_protobuf_c_does, .timeout = 100)
{
	for (size_t i = 0; i < RPC_COUNT; i++) {
		try_descriptor(rpc_table[i].request);
		try_descriptor(rpc_table[i].reply);
	}
	try_descriptor(&gofer__stop__descriptor);
	try_descriptor(&gofer__error__descriptor);
	/* Else nothing was shown. */
	cr_assert_gt(quick, all / 2, "%u of %u were not left to protobuf-c", quick, all);
}

Test(codec, what_is_out_of_order_or_unknown_is_left_to_protobuf_c)
{
	static const struct {
		uint8_t bytes[12];
		size_t size;
	} cases[] = {
		{ { 0x10, 1, 0x08, 1 }, 4 },                   /* descending */
		{ { 0x08, 1, 0x08, 2 }, 4 },                   /* twice */
		{ { 0x0a, 1, 'a' }, 3 },                       /* another wire type */
		{ { 0xf8, 0x07, 1 }, 3 },                      /* an unknown field */
		{ { 0x08 }, 1 },                               /* no value */
		{ { 0x08, 0x80, 0x80, 0x80, 0x80, 0x10 }, 6 }, /* more than 32 bits */
		{ { 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2 }, 11 }, /* 64 */
		{ { 0x1a, 5, 'a' }, 3 }, /* beyond the end */
		{ { 0x28, 2 }, 2 },      /* a bool of two */
		{ { 0x00, 1 }, 2 },      /* field 0 */
	};
	struct arena a;
	ProtobufCMessage *m;

	cr_assert_eq(arena_init(&a, 4096), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cr_assert_eq(codec_unpack(&a, &gofer__path__descriptor, cases[i].bytes,
					  cases[i].size, &m),
			     1, "case %zu", i);
		takes_the_same(&a, &gofer__path__descriptor, cases[i].bytes, cases[i].size);
	}
	arena_deinit(&a);
}

Test(codec, what_does_not_fit_the_budget_is_refused_at_once_S67)
{
	/* ReadDirReply.entries, empty: a message for each two bytes. */
	static uint8_t flood[4096];
	struct arena a;
	ProtobufCMessage *m;

	for (size_t i = 0; i < sizeof(flood); i += 2)
		flood[i] = 0x0a;
	cr_assert_eq(arena_init(&a, sizeof(flood)), 0);
	cr_assert_eq(codec_unpack(&a, &gofer__read_dir_reply__descriptor, flood, sizeof(flood), &m),
		     -EMSGSIZE);
	cr_assert_leq(a.used, a.size);
	arena_deinit(&a);
}
