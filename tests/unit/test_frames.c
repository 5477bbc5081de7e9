/*
 * test_frames.c - frames of the page cache: found again, bounded, given up in an order that a scan
 * does not upset, and never while they may not be.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "client/cache/frames.h"

enum { ROOM = 1000 };

static unsigned gone;
static uint64_t pinned = UINT64_MAX; /* pages below it may not go */
static int scanned, hot;             /* owners */

static bool evictable(void *userdata _unused_, const struct page_frame *f)
{
	return pinned == UINT64_MAX || f->page >= pinned;
}

static void evicted(void *userdata _unused_, const struct page_frame *f)
{
	cr_assert_not_null(f->owner);
	gone++;
}

static struct frames *start(enum frames_policy policy)
{
	const struct frames_user user = { evictable, evicted, NULL };
	struct frames *s;

	gone = 0;
	pinned = UINT64_MAX;
	cr_assert_eq(frames_new((uint64_t)ROOM << FRAME_SHIFT, policy, &user, &s), 0);
	return s;
}

/* One access, as a reader makes it: a fetched page is used once. Whether it was there. */
static bool access_page(struct frames *s, void *owner, uint64_t page)
{
	struct page_frame *f = frames_find(s, owner, page);
	bool hit = f;

	if (!f)
		f = frames_take(s, owner, page);
	cr_assert_not_null(f);
	cr_assert_eq(f->page, page);
	frames_use(s, f);
	return hit;
}

Test(frames, what_is_put_in_is_found_until_there_is_no_room)
{
	struct frames *s = start(FRAMES_S3FIFO);

	for (unsigned i = 0; i < ROOM; i++) {
		struct page_frame *f = frames_take(s, &hot, i);

		memset(frames_data(s, f), (int)i, FRAME_SIZE);
	}
	cr_expect_eq(frames_count(s), ROOM);
	cr_expect_eq(gone, 0);
	for (unsigned i = 0; i < ROOM; i++) {
		struct page_frame *f = frames_find(s, &hot, i);

		cr_assert_not_null(f);
		cr_assert_eq(frames_data(s, f)[FRAME_SIZE - 1], (uint8_t)i);
		cr_assert_null(frames_find(s, &scanned, i));
	}
	for (unsigned i = ROOM; i < 5 * ROOM; i++)
		cr_assert_not_null(frames_take(s, &hot, i));
	cr_expect_eq(frames_count(s), ROOM);
	cr_expect_eq(gone, 4 * ROOM);
	frames_free(s);
}

Test(frames, one_that_is_given_back_is_used_again)
{
	struct frames *s = start(FRAMES_S3FIFO);

	for (unsigned i = 0; i < 10 * ROOM; i++) {
		struct page_frame *f = frames_take(s, &hot, i);

		cr_assert_not_null(f);
		frames_give(s, f);
		cr_assert_null(frames_find(s, &hot, i));
	}
	cr_expect_eq(frames_count(s), 0);
	cr_expect_eq(gone, 0);
	frames_free(s);
}

Test(frames, what_may_not_go_stays_and_no_search_is_endless)
{
	struct frames *s = start(FRAMES_S3FIFO);

	for (unsigned i = 0; i < ROOM; i++)
		frames_take(s, &hot, i);
	pinned = ROOM - 10;
	for (unsigned i = 0; i < 100; i++)
		cr_assert_not_null(frames_take(s, &scanned, ROOM + i));
	for (unsigned i = 0; i < ROOM - 10; i++)
		cr_assert_not_null(frames_find(s, &hot, i), "%u", i);
	pinned = 2 * ROOM;
	cr_expect_null(frames_take(s, &scanned, 3 * ROOM));
	frames_free(s);
}

/* Hits of a hot set of half the room while ten times the room is scanned. */
static unsigned scan(enum frames_policy policy)
{
	struct frames *s = start(policy);
	unsigned hits = 0, n = 0;

	for (unsigned round = 0; round < 4; round++)
		for (unsigned i = 0; i < ROOM / 2; i++)
			access_page(s, &hot, i);
	for (unsigned i = 0; i < 10 * ROOM; i++) {
		access_page(s, &scanned, i);
		if (i % 4 == 0) {
			hits += access_page(s, &hot, n % (ROOM / 2));
			n++;
		}
	}
	frames_free(s);
	return 100 * hits / n;
}

Test(frames, a_scan_does_not_flush_what_is_in_use)
{
	unsigned s3 = scan(FRAMES_S3FIFO), lru = scan(FRAMES_LRU);

	cr_expect_geq(s3, 99, "%u %%", s3);
	cr_expect_leq(lru, 10, "%u %%: then the scan proves nothing", lru);
}
