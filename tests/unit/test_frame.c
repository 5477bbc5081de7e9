/*
 * test_frame.c - framing decides what can be trusted at all, so every header that lies about its
 * length must end there.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "proto/frame.h"

/* run: valgrind */

static uint8_t packet[FRAME_MAX_PACKET + 64];

static ssize_t parse(uint32_t body_len, uint32_t data_len, uint8_t fds, size_t size,
		     struct frame *ret)
{
	struct frame_header h = {
		.body_len = body_len, .data_len = data_len, .tag = 7, .type = 16, .fds = fds
	};

	frame_header_pack(&h, packet);
	return frame_parse(packet, size, ret);
}

Test(frame, header_is_little_endian_at_the_documented_offsets)
{
	struct frame_header h = { .body_len = 0x04030201,
				  .data_len = 0x08070605,
				  .tag = 0x0c0b0a09,
				  .type = 0x0e0d,
				  .fds = 0x0f,
				  .flags = 0x10 };
	struct frame_header back;
	uint8_t buf[FRAME_HEADER_SIZE];

	frame_header_pack(&h, buf);
	for (size_t i = 0; i < sizeof(buf); i++)
		cr_assert_eq(buf[i], i + 1);
	frame_header_unpack(buf, &back);
	cr_assert_eq(back.body_len, h.body_len);
	cr_assert_eq(back.data_len, h.data_len);
	cr_assert_eq(back.tag, h.tag);
	cr_assert_eq(back.type, h.type);
	cr_assert_eq(back.fds, h.fds);
	cr_assert_eq(back.flags, h.flags);
}

Test(frame, parts_lie_behind_the_header_in_order)
{
	struct frame f;

	cr_assert_eq(parse(5, 9, 1, FRAME_HEADER_SIZE + 14, &f), FRAME_HEADER_SIZE + 14);
	cr_assert_eq(f.body, packet + FRAME_HEADER_SIZE);
	cr_assert_eq(f.data, packet + FRAME_HEADER_SIZE + 5);
	cr_assert_eq(f.header.tag, 7);
	cr_assert_eq(f.header.type, 16);
	cr_assert_eq(f.header.fds, 1);
}

Test(frame, several_frames_in_one_packet_are_taken_one_by_one)
{
	struct frame_header first = { .body_len = 3, .tag = 1 },
			    second = { .data_len = 2, .tag = 2 };
	struct frame f;
	size_t size = FRAME_HEADER_SIZE + 3 + FRAME_HEADER_SIZE + 2, at;
	ssize_t n;

	frame_header_pack(&first, packet);
	frame_header_pack(&second, packet + FRAME_HEADER_SIZE + 3);
	n = frame_parse(packet, size, &f);
	cr_assert_eq(n, FRAME_HEADER_SIZE + 3);
	cr_assert_eq(f.header.tag, 1);
	at = n;
	n = frame_parse(packet + at, size - at, &f);
	cr_assert_eq(n, FRAME_HEADER_SIZE + 2);
	cr_assert_eq(f.header.tag, 2);
	cr_assert_eq(at + n, size);
	/* A third one that is only half there breaks the framing. */
	cr_assert_eq(frame_parse(packet + size, 1, &f), -EPROTO);
}

Test(frame, S61_no_length_is_believed)
{
	static const uint32_t lengths[] = { 0,
					    1,
					    FRAME_HEADER_SIZE,
					    FRAME_MAX_BODY,
					    FRAME_MAX_BODY + 1,
					    FRAME_MAX_DATA,
					    FRAME_MAX_DATA + 1,
					    FRAME_MAX_PACKET,
					    0x7fffffff,
					    0x80000000,
					    0xfffffff0,
					    0xfffffff8,
					    0xfffffffe,
					    0xffffffff };
	static const size_t sizes[] = {
		0, 1, 15, 16, 17, 31, 32, 1000, FRAME_MAX_PACKET - 1, FRAME_MAX_PACKET
	};

	for (size_t b = 0; b < ARRAY_SIZE(lengths); b++)
		for (size_t d = 0; d < ARRAY_SIZE(lengths); d++)
			for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
				uint64_t total = UINT64_C(16) + lengths[b] + lengths[d];
				bool good = sizes[s] >= 16 && lengths[b] <= FRAME_MAX_BODY &&
					    lengths[d] <= FRAME_MAX_DATA && total <= sizes[s];
				struct frame f;
				ssize_t n = parse(lengths[b], lengths[d], 0, sizes[s], &f);

				cr_assert_eq(n, good ? (ssize_t)total : -EPROTO,
					     "body %u data %u in %zu: %zd", lengths[b], lengths[d],
					     sizes[s], n);
			}
}

Test(frame, S63_a_frame_cut_at_any_byte_is_refused)
{
	struct frame f;

	for (size_t size = 0; size < FRAME_HEADER_SIZE + 20 + 12; size++)
		cr_assert_eq(parse(20, 12, 0, size, &f), -EPROTO);
	cr_assert_eq(parse(20, 12, 0, FRAME_HEADER_SIZE + 32, &f), FRAME_HEADER_SIZE + 32);
}

Test(frame, more_than_one_descriptor_is_refused)
{
	struct frame f;

	for (unsigned fds = 0; fds < 256; fds++)
		cr_assert_eq(parse(0, 0, fds, FRAME_HEADER_SIZE, &f),
			     fds <= 1 ? FRAME_HEADER_SIZE : -EPROTO);
}

Test(frame, output_is_untouched_on_failure)
{
	struct frame f, before;

	memset(&f, 0x5a, sizeof(f));
	before = f;
	cr_assert_eq(parse(FRAME_MAX_BODY + 1, 0, 0, FRAME_MAX_PACKET, &f), -EPROTO);
	cr_assert_eq(memcmp(&f, &before, sizeof(f)), 0);
}
