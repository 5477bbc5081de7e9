/*
 * test_cache.c - the client's cache by itself: when a reply may teach something, what a change
 * forgets, whom an answer is for, and that it stays within its budget.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/cache/cache.h"

static struct cache *start(uint64_t bytes)
{
	struct cache *c = cache_new(false);

	cr_assert_not_null(c);
	cache_allow(c, bytes);
	return c;
}

static struct cache_path path(const char *text)
{
	return (struct cache_path){ .fs_id = 1, .text = text, .len = strlen(text) };
}

static Gofer__Attr attr(uint64_t ino, uint32_t mode)
{
	Gofer__Attr a = GOFER__ATTR__INIT;

	a.ino = ino;
	a.dev = 7;
	a.mode = mode;
	a.nlink = S_ISDIR(mode) ? 2 : 1;
	a.btime = 1000;
	return a;
}

static enum cache_found find(struct cache *c, const char *text)
{
	struct cache_path p = path(text);
	struct cache_answer a;

	return cache_find(c, &p, CACHE_ATTR, 0, &a);
}

static uint64_t size_of(struct cache *c, const char *text)
{
	struct cache_path p = path(text);
	struct cache_answer a;

	cr_assert_eq(cache_find(c, &p, CACHE_ATTR, 0, &a), CACHE_HIT, "%s", text);
	return a.attr.size;
}

static void learn(struct cache *c, const char *text, Gofer__Attr a)
{
	struct cache_path p = path(text);
	struct cache_op op;

	cache_begin(&op, c, CACHE_READ, 0, 0);
	cache_learn_object(&op, &p, &a);
	cache_end(&op);
}

static void learn_absent(struct cache *c, const char *text)
{
	struct cache_path p = path(text);
	struct cache_op op;

	cache_begin(&op, c, CACHE_READ, 0, 0);
	cache_learn_absent(&op, &p);
	cache_end(&op);
}

static void make(struct cache *c, const char *text, Gofer__Attr a)
{
	struct cache_path p = path(text);
	struct cache_op op;

	cache_begin(&op, c, CACHE_NAMES, 0, 0);
	cache_made(&op, &p, &a, NULL, NULL, false);
	cache_end(&op);
}

static void take_away(struct cache *c, const char *text)
{
	struct cache_path p = path(text);
	struct cache_op op;

	cache_begin(&op, c, CACHE_NAMES, 0, 0);
	cache_removed(&op, &p, NULL);
	cache_end(&op);
}

static void move(struct cache *c, const char *from, const char *to, Gofer__Attr a)
{
	Gofer__RenameReply reply = GOFER__RENAME_REPLY__INIT;
	struct cache_path p = path(from), q = path(to);
	struct cache_op op;

	reply.attr = &a;
	cache_begin(&op, c, CACHE_NAMES, 0, 0);
	cache_renamed(&op, &p, &q, CACHE_RENAME, &reply);
	cache_end(&op);
}

/* ---- overtaking ---- */

Test(cache, reply_older_than_a_change_teaches_nothing)
{
	struct cache *c = start(0);
	struct cache_path p = path("a/f");
	Gofer__Attr old = attr(10, S_IFREG | 0644);
	struct cache_op read;

	cache_begin(&read, c, CACHE_READ, 0, 0);
	take_away(c, "a/f");
	cache_learn_object(&read, &p, &old);
	cr_expect_eq(find(c, "a/f"), CACHE_ABSENT);

	/* The other way round: an old ENOENT. */
	cache_begin(&read, c, CACHE_READ, 0, 0);
	make(c, "a/f", attr(11, S_IFREG | 0644));
	cache_learn_absent(&read, &p);
	cr_expect_eq(find(c, "a/f"), CACHE_HIT);
	cache_free(c);
}

Test(cache, nothing_is_answered_while_names_change)
{
	struct cache *c = start(0);
	struct cache_path p = path("f");
	struct cache_op op;

	learn(c, "f", attr(10, S_IFREG | 0644));
	cr_expect_eq(find(c, "f"), CACHE_HIT);
	cache_begin(&op, c, CACHE_NAMES, 0, 0);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	cache_removed(&op, &p, NULL);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	cache_end(&op);
	cr_expect_eq(find(c, "f"), CACHE_ABSENT);
	cache_free(c);
}

Test(cache, two_changes_at_once_teach_nothing_but_forget)
{
	struct cache *c = start(0);
	struct cache_path p = path("a"), q = path("b");
	Gofer__Attr a = attr(10, S_IFREG | 0600), b = attr(11, S_IFREG | 0600);
	struct cache_op first, second;

	learn(c, "a", attr(5, S_IFREG | 0600));
	learn_absent(c, "b");
	cache_begin(&first, c, CACHE_NAMES, 0, 0);
	cache_begin(&second, c, CACHE_NAMES, 0, 0);
	cache_removed(&second, &p, NULL);
	cache_made(&first, &q, &b, NULL, NULL, false);
	cache_end(&first);
	cache_end(&second);
	cr_expect_eq(find(c, "a"), CACHE_MISS);
	cr_expect_eq(find(c, "b"), CACHE_MISS);
	learn(c, "a", a);
	cr_expect_eq(find(c, "a"), CACHE_HIT);
	cache_free(c);
}

Test(cache, attributes_read_while_the_file_is_written_are_not_kept)
{
	struct cache *c = start(0);
	struct cache_path p = path("f");
	Gofer__Attr a = attr(10, S_IFREG | 0644);
	struct cache_op read, write;

	a.size = 1;
	learn(c, "f", a);
	cache_begin(&write, c, CACHE_DATA, a.dev, a.ino);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	cache_begin(&read, c, CACHE_READ, 0, 0);
	cache_learn_object(&read, &p, &a);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	a.size = 100;
	cache_wrote(&write, &a);
	cache_end(&write);
	cr_expect_eq(size_of(c, "f"), 100);
	/* A reply that was on its way all the time. */
	a.size = 1;
	cache_learn_object(&read, &p, &a);
	cr_expect_neq(find(c, "f") == CACHE_HIT && size_of(c, "f") == 1, true);
	cache_free(c);
}

/* ---- names ---- */

Test(cache, renaming_a_directory_moves_all_below_it)
{
	struct cache *c = start(0);

	learn(c, "a/b/c/f", attr(10, S_IFREG | 0644));
	learn(c, "a", attr(2, S_IFDIR | 0755));
	learn_absent(c, "a/b/none");
	move(c, "a", "x/y", attr(2, S_IFDIR | 0755));
	cr_expect_eq(find(c, "a"), CACHE_ABSENT);
	cr_expect_eq(find(c, "a/b/c/f"), CACHE_ABSENT);
	cr_expect_eq(find(c, "x/y/b/c/f"), CACHE_HIT);
	cr_expect_eq(find(c, "x/y/b/none"), CACHE_ABSENT);
	/* Over what was there. */
	learn(c, "z/old", attr(20, S_IFREG | 0644));
	move(c, "x/y", "z", attr(2, S_IFDIR | 0755));
	cr_expect_eq(find(c, "z/old"), CACHE_MISS);
	cr_expect_eq(find(c, "z/b/c/f"), CACHE_HIT);
	cache_free(c);
}

Test(cache, hard_links_are_one_inode)
{
	struct cache *c = start(0);
	Gofer__Attr a = attr(10, S_IFREG | 0644);
	struct cache_op op;

	a.nlink = 2;
	a.size = 5;
	learn(c, "one", a);
	learn(c, "two", a);
	cache_begin(&op, c, CACHE_DATA, a.dev, a.ino);
	a.size = 9;
	cache_wrote(&op, &a);
	cache_end(&op);
	cr_expect_eq(size_of(c, "one"), 9);
	cr_expect_eq(size_of(c, "two"), 9);
	/* Its number of links is wrong once a name is gone, even one that was never asked about. */
	take_away(c, "three");
	cr_expect_eq(find(c, "one"), CACHE_MISS);
	learn(c, "one", a);
	cr_expect_eq(find(c, "two"), CACHE_HIT);
	take_away(c, "one");
	cr_expect_eq(find(c, "two"), CACHE_MISS);
	cache_free(c);
}

Test(cache, rename_between_two_names_of_a_file_leaves_both_in_doubt)
{
	struct cache *c = start(0);
	Gofer__Attr a = attr(10, S_IFREG | 0644);

	a.nlink = 2;
	learn(c, "one", a);
	learn(c, "two", a);
	move(c, "one", "two", a);
	cr_expect_eq(find(c, "one"), CACHE_MISS);
	cr_expect_eq(find(c, "two"), CACHE_MISS);
	cache_free(c);
}

Test(cache, new_permissions_of_a_directory_forget_what_is_below)
{
	struct cache *c = start(0);
	struct cache_path p = path("a");
	Gofer__Attr a = attr(2, S_IFDIR | 0755);
	struct cache_op op;

	learn(c, "a", a);
	learn(c, "a/b/f", attr(10, S_IFREG | 0644));
	a.mode = S_IFDIR;
	cache_begin(&op, c, CACHE_NAMES, 0, 0);
	cache_set(&op, &p, &a, false);
	cache_end(&op);
	cr_expect_eq(find(c, "a/b/f"), CACHE_MISS);
	cr_expect_eq(find(c, "a"), CACHE_HIT);
	cache_free(c);
}

Test(cache, reused_inode_number_is_another_file)
{
	struct cache *c = start(0);
	Gofer__Attr a = attr(10, S_IFREG | 0644);

	learn(c, "old", a);
	a.btime = 2000;
	learn(c, "new", a);
	cr_expect_eq(find(c, "old"), CACHE_MISS);
	cr_expect_eq(find(c, "new"), CACHE_HIT);
	cache_free(c);
}

/* ---- for whom ---- */

Test(cache, an_answer_is_for_the_identity_that_walked)
{
	struct cache *c = start(0);
	struct cache_path p = path("f"), other = path("f"), fs = path("f");
	struct cache_answer a;

	other.identity = 5;
	fs.fs_id = 2;
	learn(c, "f", attr(10, S_IFREG | 0644));
	cr_expect_eq(cache_find(c, &p, CACHE_ATTR, 0, &a), CACHE_HIT);
	cr_expect_eq(cache_find(c, &other, CACHE_ATTR, 0, &a), CACHE_MISS);
	cr_expect_eq(cache_find(c, &fs, CACHE_ATTR, 0, &a), CACHE_MISS);
	cache_free(c);
}

Test(cache, a_refusal_on_the_way_is_none_of_the_object)
{
	struct cache *c = start(0);
	struct cache_path a = path("a"), round = path("b/../a");
	struct cache_answer answer;
	struct cache_op op;

	learn(c, "a", attr(10, S_IFDIR | 0755));
	learn(c, "b", attr(11, S_IFDIR | 0600));
	cache_begin(&op, c, CACHE_READ, 0, 0);
	cache_learn_access(&op, &round, 1, false);
	cr_expect_eq(cache_find(c, &a, CACHE_ACCESS, 1, &answer), CACHE_MISS);
	cache_learn_access(&op, &a, 1, false);
	cr_expect_eq(cache_find(c, &a, CACHE_ACCESS, 1, &answer), CACHE_DENIED);
	cr_expect_eq(cache_find(c, &a, CACHE_ACCESS, 4, &answer), CACHE_MISS);
	cache_learn_access(&op, &a, 6, true);
	cr_expect_eq(cache_find(c, &a, CACHE_ACCESS, 4, &answer), CACHE_HIT);
	cr_expect_eq(cache_find(c, &a, CACHE_ACCESS, 7, &answer), CACHE_DENIED);
	cache_free(c);
}

Test(cache, links_stop_the_walk)
{
	struct cache *c = start(0);
	struct cache_path link = path("a/l"), below = path("a/l/x"), meant = path("a/l");
	ProtobufCBinaryData target = { 2, (uint8_t *)"to" };
	Gofer__Attr a = attr(10, S_IFLNK | 0777);
	struct cache_answer answer;
	struct cache_op op;

	meant.nofollow = true;
	cache_begin(&op, c, CACHE_READ, 0, 0);
	cache_learn_link(&op, &meant, &a, &target);
	cr_expect_eq(cache_find(c, &link, CACHE_ATTR, 0, &answer), CACHE_LINK);
	cr_expect_eq(cache_find(c, &below, CACHE_ATTR, 0, &answer), CACHE_LINK);
	cr_expect_eq(answer.stop.begin, 2);
	cr_expect_eq(answer.stop.end, 3);
	cr_expect_eq(answer.stop.target.len, 2);
	cr_expect_eq(cache_find(c, &meant, CACHE_ATTR, 0, &answer), CACHE_HIT);
	cr_expect_eq(cache_find(c, &meant, CACHE_TARGET, 0, &answer), CACHE_HIT);
	cr_expect_str_eq(answer.text, "to");
	cache_free(c);
}

/* ---- what nobody tells ---- */

Test(cache, requests_unheard_of_forget_everything)
{
	struct cache *c = start(0);
	struct cache_op read;
	struct cache_path p = path("f");
	Gofer__Attr a = attr(10, S_IFREG | 0644);

	learn(c, "f", a);
	cache_begin(&read, c, CACHE_READ, 0, 0);
	cache_blind_begin(c);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	learn(c, "f", a);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	cache_blind_end(c);
	cache_learn_object(&read, &p, &a);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	learn(c, "f", a);
	cr_expect_eq(find(c, "f"), CACHE_HIT);
	cache_free(c);
}

Test(cache, files_written_natively_are_not_known)
{
	struct cache *c = start(0);
	Gofer__Attr a = attr(10, S_IFREG | 0644);

	learn(c, "f", a);
	cr_assert_eq(cache_native_begin(c, a.dev, a.ino), 0);
	cr_assert_eq(cache_native_begin(c, a.dev, 999), 0);
	learn(c, "f", a);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	cache_native_end(c, a.dev, a.ino);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	learn(c, "f", a);
	cr_expect_eq(find(c, "f"), CACHE_HIT);
	cache_native_forever(c);
	cr_expect_eq(find(c, "f"), CACHE_MISS);
	/* 999 is still open: cache_free() lets it go all the same. */
	cache_free(c);
}

/* ---- budget ---- */

Test(cache, budget_holds_and_what_is_used_stays)
{
	struct cache *c = start(256 << 10);
	struct cache_stats st;
	char name[64];

	for (unsigned i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "dir%u/sub/file%u", i % 50, i);
		learn(c, name, attr(1000 + i, S_IFREG | 0644));
		if (i == 0)
			learn(c, "hot/file", attr(3, S_IFREG | 0644));
		cr_assert_eq(find(c, "hot/file"), CACHE_HIT, "after %u", i);
	}
	cache_get_stats(c, &st);
	cr_expect_leq(st.bytes, st.budget);
	cr_expect_gt(st.bytes, st.budget / 2);
	cr_expect_gt(st.evictions, 10000);
	cache_drop(c);
	cache_get_stats(c, &st);
	cr_expect_eq(st.nodes + st.inodes, 0);
	cache_free(c);
}

static Gofer__ReadDirReply *page(unsigned from, unsigned n, bool last, Gofer__Attr *dir)
{
	static Gofer__ReadDirReply reply;
	static Gofer__Entry entries[100], *list[100];
	static Gofer__Attr attrs[100];
	static char names[100][16];

	reply = (Gofer__ReadDirReply)GOFER__READ_DIR_REPLY__INIT;
	for (unsigned i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "e%u", from + i);
		attrs[i] = attr(100 + from + i, S_IFREG | 0644);
		entries[i] = (Gofer__Entry)GOFER__ENTRY__INIT;
		entries[i].name = (ProtobufCBinaryData){ strlen(names[i]), (uint8_t *)names[i] };
		entries[i].attr = &attrs[i];
		list[i] = &entries[i];
	}
	reply.entries = list;
	reply.n_entries = n;
	reply.end = last;
	reply.attr = dir;
	return &reply;
}

Test(cache, a_listing_is_whole_or_none)
{
	struct cache *c = start(0);
	Gofer__Attr dir = attr(2, S_IFDIR | 0755);
	struct cache_reading r = { 0 };
	struct cache_path p = path("d");
	struct cache_answer a;

	cache_begin(&r.op, c, CACHE_READ, 0, 0);
	cache_learn_list(&r, &p, page(0, 100, false, &dir));
	cr_expect_eq(cache_find(c, &p, CACHE_LIST, 0, &a), CACHE_MISS);
	cr_expect_eq(find(c, "d/nothing"), CACHE_MISS);
	cache_learn_list(&r, &p, page(100, 50, true, &dir));
	cr_assert_eq(cache_find(c, &p, CACHE_LIST, 0, &a), CACHE_HIT);
	cr_expect_eq(a.listing->n, 150);
	free(a.listing);
	cr_expect_eq(find(c, "d/nothing"), CACHE_ABSENT);
	/* It stays so through changes of one's own. */
	take_away(c, "d/e7");
	learn(c, "d", dir);
	cr_assert_eq(cache_find(c, &p, CACHE_LIST, 0, &a), CACHE_HIT);
	cr_expect_eq(a.listing->n, 149);
	free(a.listing);
	make(c, "d/new", attr(999, S_IFREG | 0600));
	learn(c, "d", dir);
	cr_assert_eq(cache_find(c, &p, CACHE_LIST, 0, &a), CACHE_HIT);
	cr_expect_eq(a.listing->n, 150);
	free(a.listing);

	/* A change between two pages. */
	r = (struct cache_reading){ 0 };
	cache_drop(c);
	cache_begin(&r.op, c, CACHE_READ, 0, 0);
	cache_learn_list(&r, &p, page(0, 100, false, &dir));
	make(c, "d/other", attr(998, S_IFREG | 0600));
	cache_learn_list(&r, &p, page(100, 50, true, &dir));
	learn(c, "d", dir);
	cr_expect_eq(cache_find(c, &p, CACHE_LIST, 0, &a), CACHE_MISS);
	cache_free(c);
}

Test(cache, a_huge_directory_does_not_push_out_the_rest)
{
	struct cache *c = start(1 << 20);
	Gofer__Attr dir = attr(2, S_IFDIR | 0755);
	struct cache_reading r = { 0 };
	struct cache_path p = path("d");
	struct cache_answer a;
	struct cache_stats st;

	learn(c, "hot", attr(3, S_IFREG | 0644));
	cache_begin(&r.op, c, CACHE_READ, 0, 0);
	for (unsigned i = 0; i < 1000; i++)
		cache_learn_list(&r, &p, page(100 * i, 100, i == 999, &dir));
	cr_expect_eq(cache_find(c, &p, CACHE_LIST, 0, &a), CACHE_MISS);
	cr_expect_eq(find(c, "hot"), CACHE_HIT);
	cache_get_stats(c, &st);
	cr_expect_lt(st.bytes, st.budget / 2);
	cache_free(c);
}
