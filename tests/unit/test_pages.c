/*
 * test_pages.c - what the page cache claims, and what it must not claim any more.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>

#include "client/cache/frames.h"
#include "client/cache/pages.h"

/* run: valgrind */

enum { SIZE = 20000, ROOM = FRAMES_MIN };

static Gofer__Attr attr_of(uint64_t ino, uint64_t size)
{
	Gofer__Attr a = GOFER__ATTR__INIT;

	a.mode = S_IFREG | 0644;
	a.dev = 1;
	a.ino = ino;
	a.size = size;
	a.btime = 7;
	return a;
}

static struct pages *start(void)
{
	struct pages *p;

	cr_assert_eq(pages_new(&(struct pages_options){ .bytes = 1, .idle = 2 }, &p), 0);
	return p;
}

static struct page_file *open_file(struct pages *p, uint64_t ino, uint64_t size)
{
	Gofer__Attr a = attr_of(ino, size);
	struct page_file *f;

	cr_assert_eq(pages_open(p, &a, pages_clock(p), "f", &f), 0);
	return f;
}

static struct page_handle *handle_of(struct pages *p, struct page_file *f, uint64_t handle)
{
	struct page_handle *h = pages_handle_add(p, f, handle, 1, 0, true, false);

	cr_assert_not_null(h);
	return h;
}

static size_t put(struct pages *p, struct page_handle *h)
{
	uint64_t close[2];

	return pages_handle_put(p, h, close);
}

static void finish(struct pages *p, struct page_fetch *x, size_t len)
{
	struct page_handle *h = x->through;
	struct page_file *f = x->file;

	pages_fetched(p, x, 0, len);
	(void)put(p, h);
	pages_close(p, f);
	pages_fetch_unref(p, x);
}

static void fetch(struct pages *p, struct page_file *f, struct page_handle *h, uint64_t begin,
		  uint64_t end, int byte)
{
	struct page_fetch *x = pages_fetch(p, f, h, begin, end, end);

	memset(x->data, byte, end - begin);
	finish(p, x, end - begin);
}

/* How many bytes of [offset, offset + size) are there without asking; they must be of one value. */
static size_t known(struct pages *p, struct page_file *f, size_t offset, size_t size, int byte)
{
	static uint8_t buf[SIZE * 4];
	struct page_fetch *x;
	struct interval miss;
	ssize_t n = pages_read(p, f, buf, size, offset, false, &miss, &x);

	pages_fetch_unref(p, x);
	if (n < 0)
		return 0;
	for (size_t i = 0; i < (size_t)n; i++)
		cr_assert_eq(buf[i], byte, "byte %zu", offset + i);
	return (size_t)n;
}

static void end_write(struct pages *p, struct page_file *f, struct page_change *x, const void *data,
		      size_t len, uint64_t offset)
{
	const struct page_outcome o = { .kind = PAGE_SIZE_AT_LEAST,
					.size = offset + len,
					.data = data,
					.len = len,
					.offset = offset };

	pages_change_end(p, f, x, &o);
}

Test(pages, what_was_fetched_and_what_was_written_is_there_to_the_byte)
{
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, SIZE);
	struct page_handle *h = handle_of(p, f, 11);
	struct page_change x;
	uint8_t data[3000];

	cr_expect_eq(known(p, f, 0, 100, 0), 0);
	fetch(p, f, h, 4096, 8192, 'a');
	cr_expect_eq(known(p, f, 4096, SIZE, 'a'), 4096);
	cr_expect_eq(known(p, f, 5000, 10, 'a'), 10);
	cr_expect_eq(known(p, f, 4095, 10, 'a'), 0);
	memset(data, 'b', sizeof(data));
	pages_change_begin(p, f, &x, 8100, 8100 + sizeof(data));
	end_write(p, f, &x, data, sizeof(data), 8100);
	cr_expect_eq(known(p, f, 4096, 4004, 'a'), 4004);
	cr_expect_eq(known(p, f, 8100, SIZE, 'b'), sizeof(data));
	/* Beyond the end there is nothing; a write makes it larger. */
	cr_expect_eq(known(p, f, SIZE, 10, 0), 0);
	pages_change_begin(p, f, &x, SIZE + 5, SIZE + 15);
	end_write(p, f, &x, data, 10, SIZE + 5);
	cr_expect_eq(known(p, f, SIZE + 5, 100, 'b'), 10);
	cr_expect_eq(known(p, f, SIZE, 100, 'b'), 0);
	(void)put(p, h);
	pages_close(p, f);
	pages_free(p);
}

Test(pages, while_a_change_is_in_flight_nothing_of_its_range_is_known)
{
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, SIZE);
	struct page_handle *h = handle_of(p, f, 11);
	struct page_fetch *before = pages_fetch(p, f, h, 0, 4096, 4096), *during;
	struct page_change x;
	uint8_t data[100];

	memset(data, 'n', sizeof(data));
	fetch(p, f, h, 4096, 8192, 'a');
	pages_change_begin(p, f, &x, 4000, 4200);
	cr_expect_eq(known(p, f, 4096, 10, 'a'), 0);
	cr_expect_eq(known(p, f, 4200, 10, 'a'), 10);
	cr_expect_eq(pages_usable(p, f), PAGES_YES);
	during = pages_fetch(p, f, h, 4096, 8192, 8192);
	memset(before->data, 'o', 4096);
	finish(p, before, 4096);
	cr_expect_eq(known(p, f, 0, 10, 'o'), 0, "it may be older than the change");
	memset(during->data, 'o', 4096);
	finish(p, during, 4096);
	cr_expect_eq(known(p, f, 4096, 10, 'o'), 0);
	end_write(p, f, &x, data, sizeof(data), 4000); /* half of it */
	cr_expect_eq(known(p, f, 4000, 200, 'n'), 100);
	(void)put(p, h);
	pages_close(p, f);
	pages_free(p);
}

Test(pages, of_changes_that_overlapped_nobody_knows_the_order)
{
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, SIZE);
	struct page_change x, y;
	uint8_t data[100] = { 0 };

	pages_change_begin(p, f, &x, 0, 100);
	pages_change_begin(p, f, &y, 99, 150);
	end_write(p, f, &x, data, 100, 0);
	end_write(p, f, &y, data, 51, 99);
	cr_expect_eq(known(p, f, 0, 100, 0), 0);
	cr_expect_eq(known(p, f, 120, 100, 0), 0);
	cr_expect_eq(pages_usable(p, f), PAGES_YES, "the size is not in doubt");
	/* Side by side is in no doubt. */
	pages_change_begin(p, f, &x, 0, 100);
	pages_change_begin(p, f, &y, 100, 200);
	end_write(p, f, &y, data, 100, 100);
	end_write(p, f, &x, data, 100, 0);
	cr_expect_eq(known(p, f, 0, 1000, 0), 200);
	/* A write beyond the end, and a truncation. */
	pages_change_begin(p, f, &x, SIZE + 50, SIZE + 100);
	cr_expect_eq(pages_usable(p, f), PAGES_NO);
	pages_change_begin(p, f, &y, SIZE - 10, UINT64_MAX);
	end_write(p, f, &x, data, 50, SIZE + 50);
	cr_expect_eq(pages_usable(p, f), PAGES_NO);
	pages_change_end(p, f, &y,
			 &(struct page_outcome){ .kind = PAGE_SIZE_IS, .size = SIZE - 10 });
	cr_expect_eq(pages_usable(p, f), PAGES_ASK);
	pages_close(p, f);
	pages_free(p);
}

Test(pages, a_change_by_path_stops_everything_and_cuts_its_file)
{
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, SIZE), *g = open_file(p, 6, SIZE);
	struct page_handle *h = handle_of(p, f, 11), *k = handle_of(p, g, 12);
	Gofer__Attr after = attr_of(5, 5000);
	struct page_change x;
	uint8_t data[10] = { 0 };
	uint64_t began;

	fetch(p, f, h, 0, 8192, 'a');
	fetch(p, g, k, 0, 8192, 'b');
	began = pages_any_begin(p);
	cr_expect_eq(pages_usable(p, f), PAGES_NO);
	fetch(p, f, h, 8192, 12288, 'o');
	pages_any_end(p, began, &after, UINT64_MAX);
	cr_expect_eq(known(p, f, 0, SIZE, 'a'), 5000);
	cr_expect_eq(known(p, g, 0, SIZE, 'b'), 8192);
	/* One that a write overlapped: whichever came last. */
	began = pages_any_begin(p);
	pages_change_begin(p, f, &x, 100, 110);
	end_write(p, f, &x, data, 10, 100);
	pages_any_end(p, began, &after, UINT64_MAX);
	cr_expect_eq(pages_usable(p, f), PAGES_ASK);
	pages_refresh(p, f, &after, began);
	cr_expect_eq(pages_usable(p, f), PAGES_ASK, "that is older than the change");
	pages_refresh(p, f, &after, pages_clock(p));
	cr_expect_eq(pages_usable(p, f), PAGES_YES);
	cr_expect_eq(known(p, f, 0, 10, 0), 0);
	/* ... and one that ended while a write went on. */
	pages_change_begin(p, f, &x, 100, 110);
	began = pages_any_begin(p);
	pages_any_end(p, began, &after, UINT64_MAX);
	end_write(p, f, &x, data, 10, 100);
	cr_expect_eq(known(p, f, 100, 10, 0), 0);
	/* Of which nobody knows what it did. */
	(void)pages_any_begin(p);
	pages_any_end_unknown(p);
	cr_expect_eq(pages_usable(p, g), PAGES_ASK);
	(void)put(p, h);
	(void)put(p, k);
	pages_close(p, f);
	pages_close(p, g);
	pages_free(p);
}

Test(pages, the_number_of_an_inode_may_be_another_files_by_now)
{
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, SIZE), *g;
	struct page_handle *h = pages_handle_add(p, f, 11, 1, 0, false, false);
	Gofer__Attr a = attr_of(5, SIZE);
	uint64_t began;

	/* Closed, and still known: nobody holds the number. */
	fetch(p, f, h, 0, 4096, 'a');
	cr_expect_eq(put(p, h), 1);
	pages_close(p, f);
	f = open_file(p, 5, SIZE);
	cr_expect_eq(known(p, f, 0, 10, 'a'), 10);
	pages_close(p, f);
	/* Truncated by path to the size that the old one had. */
	began = pages_any_begin(p);
	pages_any_end(p, began, &a, UINT64_MAX);
	f = open_file(p, 5, SIZE);
	cr_expect_eq(known(p, f, 0, 10, 'a'), 0);
	/* Born at another time; of another size; changed at another time. */
	for (unsigned i = 0; i < 3; i++) {
		h = pages_handle_add(p, f, 11, 1, 0, false, false);
		fetch(p, f, h, 0, 4096, 'a');
		(void)put(p, h);
		pages_close(p, f);
		a.btime += i == 0;
		a.size -= i == 1;
		a.mtime += i == 2;
		cr_assert_eq(pages_open(p, &a, pages_clock(p), "f", &f), 0);
		cr_expect_eq(known(p, f, 0, 10, 'a'), 0, "%u", i);
	}
	/* Two files of one number at the same time are two. */
	h = pages_handle_add(p, f, 11, 1, 0, false, false);
	fetch(p, f, h, 0, 4096, 'a');
	a.btime++;
	cr_assert_eq(pages_open(p, &a, pages_clock(p), "g", &g), 0);
	cr_expect_neq(f, g);
	cr_expect_eq(known(p, f, 0, 10, 'a'), 10);
	cr_expect_eq(known(p, g, 0, 10, 'a'), 0);
	pages_close(p, g);
	/* Somebody looks at it still, which holds nothing: the same tick, and another file. */
	(void)put(p, h);
	a = attr_of(5, SIZE);
	a.btime += 1;
	a.mtime++;
	a.size = 10;
	cr_assert_eq(pages_open(p, &a, pages_clock(p), "f", &g), 0);
	cr_expect_eq(known(p, g, 0, 10, 'a'), 0);
	pages_close(p, g);
	pages_close(p, f);
	pages_free(p);
}

/* What a Write has brought; its file and handle are ours again. */
static void sent(struct pages *p, struct page_send *x, uint64_t done)
{
	struct page_handle *h = x->through;
	struct page_file *f = x->file;

	pages_sent(p, x, 0, done);
	(void)put(p, h);
	pages_close(p, f);
}

Test(pages, attributes_that_an_answer_overtook_are_asked_for_again)
{
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, 0);
	struct page_handle *h = pages_handle_add(p, f, 11, 1, 0, false, true);
	Gofer__Attr a = attr_of(5, 0);
	static const uint8_t data[100];
	struct page_send *x[2];
	uint64_t at = 0, asked;

	cr_assert_eq(pages_write(p, f, data, 100, 0), 100);
	cr_assert_eq(pages_write(p, f, data, 100, 200), 100);
	cr_expect(pages_overlay(p, &a, 0), "the size is this client's");
	cr_expect_eq(a.size, 300);
	/* Now it is the server's, and what it has not got. */
	(void)pages_any_begin(p);
	pages_any_end_unknown(p);
	for (size_t i = 0; i < 2; i++)
		cr_assert_eq(pages_send(p, f, &at, SIZE, &x[i]), 0);
	asked = pages_clock(p);
	sent(p, x[1], 100);
	a.size = 0;
	cr_expect_not(pages_overlay(p, &a, asked), "300 is nowhere any more, or 100 the end");
	a.size = 300;
	cr_expect(pages_overlay(p, &a, pages_clock(p)));
	cr_expect_eq(a.size, 300);
	sent(p, x[0], 100);
	(void)put(p, h);
	pages_close(p, f);
	pages_free(p);
}

Test(pages, a_reply_that_is_older_than_a_change_says_nothing_of_the_size)
{
	struct pages *p = start();
	uint64_t asked = pages_clock(p), began;
	struct page_file *f = open_file(p, 5, SIZE), *g;
	Gofer__Attr a = attr_of(5, SIZE), b = attr_of(6, SIZE);
	struct page_change x;

	/* The file is even forgotten in between. */
	pages_change_begin(p, f, &x, 0, UINT64_MAX);
	pages_change_end(p, f, &x, &(struct page_outcome){ .kind = PAGE_SIZE_IS, .size = 0 });
	pages_close(p, f);
	cr_assert_eq(pages_open(p, &a, asked, "f", &f), 0);
	cr_expect_eq(pages_usable(p, f), PAGES_ASK);
	began = pages_any_begin(p);
	cr_assert_eq(pages_open(p, &b, pages_clock(p), "g", &g), 0);
	pages_any_end(p, began, &a, 0);
	cr_expect_eq(pages_usable(p, g), PAGES_ASK);
	pages_close(p, g);
	pages_close(p, f);
	pages_free(p);
}

Test(pages, a_descriptor_to_write_by_keeps_the_cache_off_the_file)
{
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, SIZE);
	struct page_handle *h = handle_of(p, f, 11);
	Gofer__Attr a = attr_of(5, SIZE);

	fetch(p, f, h, 0, 4096, 'a');
	pages_native(p, f, true);
	cr_expect_eq(pages_usable(p, f), PAGES_NO);
	fetch(p, f, h, 0, 4096, 'a');
	pages_native(p, f, false);
	cr_expect_eq(pages_usable(p, f), PAGES_ASK);
	pages_refresh(p, f, &a, pages_clock(p));
	cr_expect_eq(known(p, f, 0, 10, 'a'), 0);
	fetch(p, f, h, 0, 4096, 'a');
	pages_native_forever(p);
	cr_expect_eq(pages_usable(p, f), PAGES_NO);
	cr_expect_eq(known(p, f, 0, 10, 'a'), 0);
	(void)put(p, h);
	pages_close(p, f);
	pages_free(p);
}

Test(pages, a_server_that_has_less_than_it_said_is_asked_again)
{
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, SIZE);
	struct page_handle *h = handle_of(p, f, 11);
	struct page_fetch *x = pages_fetch(p, f, h, 0, 8192, 8192);

	memset(x->data, 'a', 100);
	finish(p, x, 100);
	cr_expect_eq(pages_usable(p, f), PAGES_ASK);
	cr_expect_eq(known(p, f, 0, 100, 'a'), 0);
	(void)put(p, h);
	pages_close(p, f);
	pages_free(p);
}

Test(pages, what_is_missing_is_asked_for_once_in_whole_pages)
{
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, SIZE);
	struct page_handle *h = handle_of(p, f, 11);
	struct page_fetch *x;
	struct interval i;

	fetch(p, f, h, 4096, 8192, 'a');
	cr_assert(pages_missing(p, f, 10, SIZE, &i));
	cr_expect(i.begin == 0 && i.end == 4096);
	cr_assert(pages_missing(p, f, 5000, 8193, &i));
	cr_expect(i.begin == 8192 && i.end == 12288);
	x = pages_fetch(p, f, h, 8192, 12288, 12288);
	cr_assert(pages_missing(p, f, 5000, UINT64_MAX, &i));
	cr_expect(i.begin == 12288 && i.end == SIZE);
	finish(p, x, 4096);
	cr_expect_not(pages_missing(p, f, 4096, 12288, &i));
	cr_expect_not(pages_missing(p, f, SIZE, UINT64_MAX, &i));
	(void)put(p, h);
	pages_close(p, f);
	pages_free(p);
}

Test(pages, memory_is_bounded_for_bytes_and_for_ranges)
{
	enum { LARGE = 4 * ROOM * FRAME_SIZE };
	struct pages *p = start();
	struct page_file *f = open_file(p, 5, LARGE);
	struct page_handle *h = handle_of(p, f, 11);
	struct pages_stats st;
	struct page_change x;

	for (uint64_t at = 0; at < LARGE; at += FRAME_SIZE)
		fetch(p, f, h, at, at + FRAME_SIZE, 'a');
	pages_get_stats(p, &st);
	cr_expect_eq(st.bytes, ROOM * FRAME_SIZE);
	cr_expect_eq(st.bytes, st.budget);
	cr_expect_eq(st.evictions, 3 * ROOM);
	/* A byte here and a byte there. */
	pages_drop(p, f, 0, UINT64_MAX);
	for (uint64_t at = 0; at < 10 * ROOM; at++) {
		pages_change_begin(p, f, &x, 3 * at, 3 * at + 1);
		end_write(p, f, &x, "b", 1, 3 * at);
	}
	pages_get_stats(p, &st);
	cr_expect_leq(st.bytes, 2 * FRAME_SIZE);
	(void)put(p, h);
	pages_close(p, f);
	pages_free(p);
}

Test(pages, handles_are_shared_and_kept_and_the_oldest_go)
{
	struct pages *p = start();
	struct page_file *f[4];
	struct page_handle *h[4], *own;
	Gofer__Attr a = attr_of(3, SIZE);
	uint64_t close[2];

	for (unsigned i = 0; i < 4; i++) {
		f[i] = open_file(p, i, SIZE);
		cr_expect_null(pages_handle_get(p, f[i], 1, 0));
		h[i] = handle_of(p, f[i], 10 + i);
		cr_expect_eq(pages_handle_get(p, f[i], 1, 0), h[i]);
		cr_expect_null(pages_handle_get(p, f[i], 1, 9), "another identity");
		cr_expect_null(pages_handle_get(p, f[i], 2, 0), "another filesystem");
	}
	own = pages_handle_add(p, f[0], 20, 1, 0, false, false);
	cr_expect_eq(pages_handle_put(p, own, close), 1);
	cr_expect_eq(close[0], 20);
	for (unsigned i = 0; i < 4; i++) {
		cr_expect_eq(put(p, h[i]), 0, "somebody uses it");
		cr_expect_eq(pages_handle_put(p, h[i], close), i < 2 ? 0 : 1, "%u", i);
		if (i >= 2)
			cr_expect_eq(close[0], 10 + i - 2);
		pages_close(p, f[i]);
	}
	cr_expect_eq(pages_handle_idle(p, &a), 13);
	cr_expect_eq(pages_handle_idle(p, &a), 0);
	cr_expect_eq(pages_handle_idle(p, NULL), 12);
	cr_expect_eq(pages_handle_idle(p, NULL), 0);
	pages_free(p);
}
