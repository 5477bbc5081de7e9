/*
 * test_arena.c - what protobuf-c may allocate for one message is bounded before it happens (S62,
 * S67).
 */
#include <criterion/criterion.h>
#include <string.h>

#include "gofer.pb-c.h"
#include "proto/arena.h"
#include "proto/frame.h"
#include "proto/rpc.h"

/* run: valgrind */

enum { BUDGET = 8 * FRAME_MAX_BODY }; /* the amplification that S67 allows */

static struct arena arena;

static void setup(void)
{
	cr_assert_eq(arena_init(&arena, BUDGET), 0);
}

static void teardown(void)
{
	arena_deinit(&arena);
}

TestSuite(arena, .init = setup, .fini = teardown);

Test(arena, allocations_are_aligned_and_apart)
{
	uint8_t *last = NULL;

	for (size_t size = 1; size < 100; size++) {
		uint8_t *p = arena_alloc(&arena, size);

		cr_assert_not_null(p);
		cr_assert_eq((uintptr_t)p % 16, 0);
		cr_assert(!last || p >= last + size - 1);
		memset(p, 0xff, size);
		last = p;
	}
}

Test(arena, the_budget_is_exact_and_final)
{
	cr_assert_not_null(arena_alloc(&arena, BUDGET));
	cr_assert(!arena.exhausted);
	cr_assert_null(arena_alloc(&arena, 1));
	cr_assert(arena.exhausted);
	arena_reset(&arena);
	cr_assert(!arena.exhausted);
	cr_assert_null(arena_alloc(&arena, BUDGET + 1));
	cr_assert_not_null(arena_alloc(&arena, BUDGET - 16));
}

Test(arena, sizes_near_the_end_of_the_address_space_do_not_wrap)
{
	arena_alloc(&arena, 1);
	for (size_t i = 0; i < 64; i++)
		cr_assert_null(arena_alloc(&arena, SIZE_MAX - i));
	cr_assert_null(arena_calloc(&arena, SIZE_MAX / 2, 3));
	cr_assert_null(arena_calloc(&arena, (SIZE_MAX / 16) + 1, 16));
	cr_assert_not_null(arena_calloc(&arena, 4, 4));
}

Test(arena, calloc_zeroes_what_an_earlier_message_left)
{
	uint8_t *p = arena_alloc(&arena, 256);

	memset(p, 0xaa, 256);
	arena_reset(&arena);
	p = arena_calloc(&arena, 16, 16);
	for (size_t i = 0; i < 256; i++)
		cr_assert_eq(p[i], 0);
	cr_assert_arr_eq((uint8_t *)arena_memdup(&arena, "name", 4), "name", 4);
}

/* 64 KiB of `pattern`, decoded as `d`. */
static int unpack_flood(const ProtobufCMessageDescriptor *d, const void *pattern, size_t size)
{
	static uint8_t flood[FRAME_MAX_BODY];
	ProtobufCMessage *m;

	for (size_t i = 0; i + size <= sizeof(flood); i += size)
		memcpy(flood + i, pattern, size);
	return arena_unpack(&arena, d, flood, sizeof(flood) / size * size, &m);
}

Test(arena, S67_empty_submessages_end_at_the_budget)
{
	static const uint8_t empty_entry[] = {
		0x0a, 0x00
	}; /* ReadDirReply.entries, length 0: 32768 of them */

	cr_assert_eq(
		unpack_flood(&gofer__read_dir_reply__descriptor, empty_entry, sizeof(empty_entry)),
		-EMSGSIZE);
	cr_assert_leq(arena.used, BUDGET);
	arena_reset(&arena);
}

Test(arena, S67_no_flood_makes_any_request_use_more_than_the_budget)
{
	static const uint8_t patterns[][4] = {
		{ 0x0a, 0x00 },             /* field 1, empty bytes or submessage */
		{ 0x12, 0x00 },             /* field 2 */
		{ 0x08, 0x01 },             /* field 1, varint */
		{ 0x22, 0x00 },             /* field 4 */
		{ 0x88, 0x7d, 0x01, 0x00 }, /* an unknown field */
		{ 0xfa, 0x7d, 0x00, 0x00 },
	};

	for (size_t i = 0; i < RPC_COUNT; i++)
		for (size_t p = 0; p < ARRAY_SIZE(patterns); p++) {
			int r = unpack_flood(rpc_table[i].request, patterns[p],
					     patterns[p][0] < 0x80 ? 2 : 3);

			cr_assert(r == 0 || r == -EMSGSIZE || r == -EBADMSG, "%s: %d",
				  rpc_table[i].name, r);
			cr_assert_leq(arena.used, BUDGET);
			arena_reset(&arena);
		}
}

Test(arena, S67_a_submessage_given_twice_is_one_submessage)
{
	/* Two Path fields in one StatRequest. protobuf-c lets the later one win; nothing may be
	 * left half of each. */
	static const uint8_t twice[] = { 0x0a, 0x05, 0x08, 0x01, 0x1a, 0x01, 'a',
					 0x0a, 0x05, 0x10, 0x05, 0x1a, 0x01, 'b' };
	ProtobufCMessage *m;

	cr_assert_eq(
		arena_unpack(&arena, &gofer__stat_request__descriptor, twice, sizeof(twice), &m),
		0);
	cr_assert_eq(((Gofer__StatRequest *)m)->path->base_handle, 5);
	cr_assert_eq(((Gofer__StatRequest *)m)->path->path.len, 1);
	cr_assert_eq(((Gofer__StatRequest *)m)->path->path.data[0], 'b');
}

Test(arena, S67_bad_encodings_are_refused_and_the_arena_lives)
{
	static const struct {
		const char *what;
		uint8_t bytes[12];
		size_t size;
	} cases[] = {
		{ "wrong wire type for a submessage", { 0x08, 0x01 }, 2 },
		{ "length past the end", { 0x0a, 0x7f, 0x00 }, 3 },
		{ "tag without a value", { 0x0a }, 1 },
		{ "endless varint",
		  { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80 },
		  11 },
		{ "field number 0", { 0x02, 0x00 }, 2 },
		{ "group", { 0x0b, 0x0c }, 2 },
		{ "inner length past the end of the submessage", { 0x0a, 0x02, 0x1a, 0x05 }, 4 },
	};
	static const uint8_t good[] = { 0x0a, 0x02, 0x08, 0x01 };
	ProtobufCMessage *m = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = arena_unpack(&arena, &gofer__stat_request__descriptor, cases[i].bytes,
				     cases[i].size, &m);

		cr_assert_eq(r, -EBADMSG, "%s: %d", cases[i].what, r);
		cr_assert_null(m);
		arena_reset(&arena);
	}
	cr_assert_eq(arena_unpack(&arena, &gofer__stat_request__descriptor, good, sizeof(good), &m),
		     0);
}

Test(arena, S67_handles_of_a_full_frame_fit_the_budget)
{
	/* Close with packed one-byte handles: the dearest request that is legitimate, 8 bytes for
	 * each of the wire's. */
	static uint8_t packed[FRAME_MAX_BODY];
	size_t n = sizeof(packed) - 4;
	ProtobufCMessage *m;
	int r;

	packed[0] = 0x0a;
	packed[1] = 0x80 | (n & 0x7f);
	packed[2] = 0x80 | ((n >> 7) & 0x7f);
	packed[3] = n >> 14;
	memset(packed + 4, 1, n);
	r = arena_unpack(&arena, &gofer__close_request__descriptor, packed, sizeof(packed), &m);
	cr_assert(r == 0 || r == -EMSGSIZE, "%d", r);
	cr_assert_leq(arena.used, BUDGET);
}
