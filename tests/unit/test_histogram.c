/*
 * test_histogram.c - what a histogram gives back, against sorted arrays of the same values.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "client/bench/histogram.h"

/* run: valgrind */

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

Test(histogram, empty_one_has_nothing)
{
	static const struct histogram h;

	cr_assert_eq(histogram_percentile(&h, 50), 0);
	cr_assert_eq(histogram_percentile(&h, 100), 0);
	cr_assert_eq(histogram_mean(&h), 0);
}

Test(histogram, small_values_are_exact)
{
	static struct histogram h;

	for (uint64_t v = 0; v < HISTOGRAM_SUB; v++)
		histogram_record(&h, v);
	for (uint64_t v = 0; v < HISTOGRAM_SUB; v++) {
		double percent = (double)(v + 1) * 100 / HISTOGRAM_SUB;

		cr_assert_eq(histogram_percentile(&h, percent), v);
	}
	cr_assert_eq(h.min, 0);
	cr_assert_eq(h.max, HISTOGRAM_SUB - 1);
	cr_assert_eq(histogram_mean(&h), (HISTOGRAM_SUB - 1) / 2.0);
}

/* Around every power of two, where a mistake of one bucket or one bit would show. */
Test(histogram, one_value_comes_back_as_itself_or_barely_more)
{
	static struct histogram h;

	for (unsigned bit = 0; bit < HISTOGRAM_VALUE_BITS; bit++)
		for (int around = -2; around <= 2; around++) {
			uint64_t v = (UINT64_C(1) << bit) + (uint64_t)around, twice = 2 * v + 7,
				 got;

			if ((int64_t)v < 0 || twice >> HISTOGRAM_VALUE_BITS)
				continue;
			h = (struct histogram){ 0 };
			histogram_record(&h, v);
			cr_assert_eq(histogram_percentile(&h, 50), v);
			/* A larger one beside it: now the bucket's end shows. */
			histogram_record(&h, twice);
			got = histogram_percentile(&h, 50);
			cr_assert(got >= v && got - v <= v / (HISTOGRAM_SUB / 2), "%lu: %lu", v,
				  got);
			cr_assert_eq(histogram_percentile(&h, 100), twice);
		}
}

Test(histogram, percentiles_match_a_sorted_array)
{
	static const double percents[] = { 0, 0.1, 1, 10, 50, 90, 99, 99.9, 99.99, 100 };
	enum { N = 100003 };
	static struct histogram h;
	static uint64_t values[N];
	uint64_t state = 88172645463325252u;

	for (size_t i = 0; i < N; i++) {
		/* Over nine orders of magnitude. */
		values[i] = next(&state) >> (24 + next(&state) % 36);
		histogram_record(&h, values[i]);
	}
	qsort(values, N, sizeof(*values), compare);
	for (size_t i = 0; i < ARRAY_SIZE(percents); i++) {
		double rank = ceil(N * percents[i] / 100);
		uint64_t want = values[rank < 1 ? 0 : (size_t)rank - 1];
		uint64_t got = histogram_percentile(&h, percents[i]);

		cr_assert(got >= want && got - want <= want / (HISTOGRAM_SUB / 2),
			  "%g%%: %lu instead of %lu", percents[i], got, want);
	}
}

Test(histogram, what_is_too_long_is_kept_as_the_longest)
{
	static struct histogram h;

	histogram_record(&h, 5);
	histogram_record(&h, UINT64_MAX / 2);
	cr_assert_eq(histogram_percentile(&h, 50), 5);
	cr_assert_eq(h.max, UINT64_MAX / 2);
	cr_assert_geq(histogram_percentile(&h, 100), UINT64_C(1) << (HISTOGRAM_VALUE_BITS - 1));
}

Test(histogram, sum_of_two_is_one_of_all)
{
	static struct histogram a, b, all;
	uint64_t state = 1;

	histogram_add(&a, &b);
	cr_assert_eq(a.n, 0);
	for (int i = 0; i < 20000; i++) {
		uint64_t v = next(&state) >> 40;

		histogram_record(i % 3 ? &a : &b, v);
		histogram_record(&all, v);
	}
	histogram_add(&a, &b);
	cr_assert_arr_eq(&a, &all, sizeof(all));
	histogram_add(&b, &(struct histogram){ 0 });
	cr_assert_lt(b.n, all.n);
}
