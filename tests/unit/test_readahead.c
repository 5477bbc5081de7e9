/*
 * test_readahead.c - how far is read ahead, and when.
 */
#include <criterion/criterion.h>

#include "client/cache/readahead.h"

/* run: valgrind */

static void expect(struct interval got, uint64_t begin, uint64_t length)
{
	cr_expect_eq(got.begin, length ? begin : 0, "%lu", got.begin);
	cr_expect_eq(got.end - got.begin, length, "%lu", got.end - got.begin);
}

Test(readahead, it_doubles_from_16_KiB_to_2_MiB_each_time_the_reader_enters_the_last_window)
{
	struct readahead r = { 0 };
	uint64_t at = 4096, window = 4096, length = 16 << 10;
	unsigned grown = 0;

	expect(readahead_step(&r, 0, 4096), window, length);
	while (grown < 12) {
		struct interval got = readahead_step(&r, at, 1000);

		at += 1000;
		if (at <= window) {
			expect(got, 0, 0);
			continue;
		}
		window += length;
		length = MIN(2 * length, UINT64_C(2) << 20);
		expect(got, window, length);
		grown++;
	}
	cr_expect_eq(length, 2 << 20);
}

Test(readahead, in_a_small_cache_no_more_than_that)
{
	struct readahead r = { .most = 32 << 10 };

	expect(readahead_step(&r, 0, 4096), 4096, 16 << 10);
	expect(readahead_step(&r, 4096, 4096), 20480, 32 << 10);
	expect(readahead_step(&r, 8192, 20480), 53248, 32 << 10);
	r.advice = READAHEAD_SEQUENTIAL;
	expect(readahead_step(&r, 28672, 40960), 86016, 32 << 10);
}

Test(readahead, what_a_large_read_asks_for_itself_is_not_ahead)
{
	struct readahead r = { 0 };

	expect(readahead_step(&r, 0, 1 << 20), 1 << 20, 16 << 10);
	expect(readahead_step(&r, 1 << 20, 1 << 20), 2 << 20, 32 << 10);
}

Test(readahead, nothing_for_reads_that_jump)
{
	struct readahead r = { 0 };

	expect(readahead_step(&r, 1 << 20, 4096), 0, 0);
	expect(readahead_step(&r, 8192, 4096), 0, 0);
	expect(readahead_step(&r, 12288, 4096), 16384, 16 << 10);
	expect(readahead_step(&r, 16384, 4096), 32768, 32 << 10);
	/* Back to nothing, and from the start again. */
	expect(readahead_step(&r, 0, 4096), 0, 0);
	expect(readahead_step(&r, 4096, 4096), 8192, 16 << 10);
}

Test(readahead, advice_decides)
{
	struct readahead r = { .advice = READAHEAD_RANDOM };

	expect(readahead_step(&r, 0, 4096), 0, 0);
	expect(readahead_step(&r, 4096, 4096), 0, 0);
	r.advice = READAHEAD_SEQUENTIAL;
	expect(readahead_step(&r, 999, 1), 1000, 2 << 20);
	expect(readahead_step(&r, 1000, 500), 1000 + (2 << 20), 2 << 20);
	expect(readahead_step(&r, 1500, 500), 0, 0);
	expect(readahead_step(&r, 9, 1), 10, 2 << 20);
}
