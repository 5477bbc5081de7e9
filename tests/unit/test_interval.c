/*
 * test_interval.c - sets of ranges against an array of booleans.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "client/cache/interval.h"

/* run: valgrind */

enum { SPACE = 600 };

static uint32_t rnd(uint32_t *s, uint32_t n)
{
	*s = *s * 1664525u + 1013904223u;
	return (*s >> 8) % n;
}

static void same(const struct interval_set *s, const bool *model, unsigned step)
{
	uint64_t bytes = 0, at = 0;
	struct interval i;
	size_t n = 0;

	for (unsigned k = 0; k < SPACE; k++) {
		bytes += model[k];
		n += model[k] && (k == 0 || !model[k - 1]);
		cr_assert_eq(interval_meets(s, k, k + 1), model[k], "step %u, %u", step, k);
	}
	cr_assert_eq(s->bytes, bytes, "step %u", step);
	cr_assert_eq(s->n, n, "step %u", step);
	/* In order, apart, and exactly those. */
	while (interval_next(s, at, &i)) {
		cr_assert(i.begin < i.end && (at == 0 || i.begin > at));
		for (uint64_t k = i.begin; k < i.end; k++)
			cr_assert(model[k]);
		cr_assert(i.end == SPACE || !model[i.end]);
		cr_assert(i.begin == 0 || !model[i.begin - 1]);
		at = i.end;
	}
}

Test(interval, random_operations_give_what_an_array_gives)
{
	for (uint32_t seed = 1; seed <= 20; seed++) {
		struct interval_set s = { 0 };
		bool model[SPACE] = { false };
		uint32_t r = seed;

		for (unsigned step = 0; step < 400; step++) {
			uint32_t a = rnd(&r, SPACE), len = rnd(&r, rnd(&r, 4) ? 12 : 200);
			uint32_t b = MIN(a + len, (uint32_t)SPACE);
			bool all = true, any = false, add = rnd(&r, 2);

			for (uint32_t k = a; k < b; k++) {
				all &= model[k];
				any |= model[k];
			}
			cr_assert_eq(interval_covers(&s, a, b), all, "seed %u step %u", seed, step);
			cr_assert_eq(interval_meets(&s, a, b), any, "seed %u step %u", seed, step);
			cr_assert_eq(interval_reserve(&s), 0);
			if (add)
				interval_add(&s, a, b);
			else
				interval_remove(&s, a, b);
			for (uint32_t k = a; k < b; k++)
				model[k] = add;
			same(&s, model, step);
		}
		interval_deinit(&s);
	}
}

Test(interval, limits)
{
	struct interval_set s = { 0 };
	struct interval i;

	cr_assert_eq(interval_reserve(&s), 0);
	interval_remove(&s, 0, UINT64_MAX);
	interval_add(&s, 5, 5);
	cr_expect_eq(s.n, 0);
	cr_expect_not(interval_next(&s, 0, &i));
	cr_expect(interval_covers(&s, 7, 7));
	interval_add(&s, 10, UINT64_MAX);
	cr_assert_eq(interval_reserve(&s), 0);
	interval_add(&s, 0, 10);
	cr_expect_eq(s.n, 1);
	cr_expect(interval_covers(&s, 0, UINT64_MAX));
	cr_assert_eq(interval_reserve(&s), 0);
	interval_remove(&s, INT64_MAX, UINT64_MAX);
	cr_expect_eq(s.bytes, (uint64_t)INT64_MAX);
	interval_deinit(&s);
}

Test(interval, an_add_or_a_remove_needs_no_more_than_was_reserved)
{
	struct interval_set s = { 0 };

	/* Each remove splits, each add is a range of its own: the most that either can need. */
	for (unsigned k = 0; k < 10000; k++) {
		cr_assert_eq(interval_reserve(&s), 0);
		interval_add(&s, k * 100, k * 100 + 50);
		cr_assert_eq(interval_reserve(&s), 0);
		interval_remove(&s, k * 100 + 20, k * 100 + 21);
	}
	cr_expect_eq(s.n, 20000);
	cr_expect_eq(s.bytes, 490000);
	interval_deinit(&s);
}
