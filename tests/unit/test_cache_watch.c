/*
 * test_cache_watch.c - the client's cache where others change the tree: claims end with the kernel's
 * events, replies that are older than an event teach nothing, and a server that gives one number to two
 * things does no harm.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "client/cache/cache.h"

enum {
	EVENTS = IN_ATTRIB | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
		 IN_DELETE_SELF
};

struct setup {
	char root[64];
	int queue;
	struct cache *cache;
};

static char *at(const struct setup *s, const char *path)
{
	static char text[4][256];
	static unsigned next;
	char *out = text[next++ % 4];

	snprintf(out, 256, "%s/%s", s->root, path);
	return out;
}

static void touch(const struct setup *s, const char *path)
{
	int fd = open(at(s, path), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0);
	close(fd);
}

static void start(struct setup *s)
{
	snprintf(s->root, sizeof(s->root), "/tmp/gofer-unit.XXXXXX");
	cr_assert_not_null(mkdtemp(s->root));
	cr_assert_eq(mkdir(at(s, "a"), 0755), 0);
	touch(s, "a/f");
	touch(s, "a/g");
	s->queue = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	cr_assert_geq(s->queue, 0);
	s->cache = cache_new(true);
	cache_allow(s->cache, 0);
	cache_set_queue(s->cache, dup(s->queue));
}

static void stop(struct setup *s)
{
	static const char *const left[] = { "a/f", "a/g", "a/h", "f2" };

	for (size_t i = 0; i < ARRAY_SIZE(left); i++)
		unlink(at(s, left[i]));
	rmdir(at(s, "a"));
	rmdir(at(s, "b"));
	rmdir(s->root);
	cache_free(s->cache);
	close(s->queue);
}

static struct cache_path path(const char *text)
{
	return (struct cache_path){
		.fs_id = 1, .text = text, .len = strlen(text), .nofollow = true
	};
}

static enum cache_found find(struct setup *s, const char *text)
{
	struct cache_path p = path(text);
	struct cache_answer a;

	return cache_find(s->cache, &p, CACHE_ATTR, 0, &a);
}

/* What a server would reply, by the same calls. */
static void watch(struct setup *s, const char *text, Gofer__WatchReply *ret, uint32_t watches[8],
		  Gofer__Attr *attr)
{
	char buf[256];
	struct stat st;

	*ret = (Gofer__WatchReply)GOFER__WATCH_REPLY__INIT;
	ret->watches = watches;
	ret->end = (uint32_t)strlen(text);
	for (size_t i = 0; i <= strlen(text); i++) {
		int wd;

		if (i && text[i] != '/' && text[i] != '\0')
			continue;
		snprintf(buf, sizeof(buf), "%s/%.*s", s->root, (int)i, text);
		wd = inotify_add_watch(s->queue, buf, EVENTS);
		if (wd < 0) {
			ret->error = ENOENT;
			return;
		}
		watches[ret->n_watches++] = (uint32_t)wd;
	}
	cr_assert_eq(stat(at(s, text), &st), 0);
	*attr = (Gofer__Attr)GOFER__ATTR__INIT;
	attr->ino = st.st_ino;
	attr->dev = st.st_dev;
	attr->mode = st.st_mode;
	attr->size = (uint64_t)st.st_size;
	attr->nlink = (uint32_t)st.st_nlink;
	ret->attr = attr;
	ret->access = 7;
}

static void learn(struct setup *s, const char *text)
{
	struct cache_path p = path(text);
	Gofer__WatchReply reply;
	uint32_t watches[8];
	struct cache_op op;
	Gofer__Attr attr;

	cache_begin(&op, s->cache, CACHE_READ, 0, 0);
	watch(s, text, &reply, watches, &attr);
	cache_learn_watched(&op, &p, &reply);
	cache_end(&op);
}

Test(cache_watch, a_path_from_a_directory_that_is_held)
{
	struct setup s;
	struct cache_answer a;
	struct cache_path p;
	struct stat st;

	start(&s);
	learn(&s, "a");
	learn(&s, "a/f");
	cr_assert_eq(stat(at(&s, "a"), &st), 0);
	p = path("a/f");
	p.based = true;
	p.base = strlen("a/");
	p.dev = st.st_dev;
	p.ino = st.st_ino;
	cr_expect_eq(cache_find(s.cache, &p, CACHE_ATTR, 0, &a), CACHE_HIT);
	cr_expect_eq(cache_find(s.cache, &p, CACHE_TARGET, 0, &a), CACHE_NO_LINK);
	/* Of a regular file the names alone. */
	p.names = true;
	cr_expect_eq(cache_find(s.cache, &p, CACHE_ATTR, 0, &a), CACHE_MISS);
	cr_expect_eq(cache_find(s.cache, &p, CACHE_TARGET, 0, &a), CACHE_NO_LINK);
	p.names = false;
	/* The path leads to another directory than the one that is held. */
	p.ino++;
	cr_expect_eq(cache_find(s.cache, &p, CACHE_ATTR, 0, &a), CACHE_MISS);
	p.ino--;
	cr_assert_eq(rename(at(&s, "a"), at(&s, "b")), 0);
	cr_assert_eq(mkdir(at(&s, "a"), 0755), 0);
	cr_expect_eq(cache_find(s.cache, &p, CACHE_ATTR, 0, &a), CACHE_MISS);
	learn(&s, "a");
	cr_expect_eq(cache_find(s.cache, &p, CACHE_ATTR, 0, &a), CACHE_MISS);
	cr_expect_eq(cache_find(s.cache, &p, CACHE_TARGET, 0, &a), CACHE_MISS);
	cr_assert_eq(rmdir(at(&s, "a")), 0);
	cr_assert_eq(rename(at(&s, "b"), at(&s, "a")), 0);
	stop(&s);
}

Test(cache_watch, a_file_that_can_be_mapped_has_no_known_attributes)
{
	struct setup s;
	struct stat st;

	start(&s);
	learn(&s, "a/f");
	cr_assert_eq(stat(at(&s, "a/f"), &st), 0);
	cr_expect_eq(find(&s, "a/f"), CACHE_HIT);
	cache_mapped(s.cache, st.st_dev, st.st_ino);
	cache_mapped(s.cache, st.st_dev, st.st_ino);
	cr_expect_eq(find(&s, "a/f"), CACHE_MISS);
	learn(&s, "a/f");
	cr_expect_eq(find(&s, "a/f"), CACHE_MISS);
	cr_assert_eq(stat(at(&s, "a"), &st), 0);
	learn(&s, "a");
	cr_expect_eq(find(&s, "a"), CACHE_HIT);
	stop(&s);
}

Test(cache_watch, watches_only_what_is_asked_for_again_and_where_there_are_some)
{
	struct setup s;
	struct cache_path p = path("a/f"), other = path("a/g");
	unsigned may = 0;

	start(&s);
	cr_expect(cache_may_watch(s.cache, &p, false, false));
	cr_expect_not(cache_may_watch(s.cache, &p, true, false));
	cr_expect_not(cache_may_watch(s.cache, &other, true, false));
	cr_expect(cache_may_watch(s.cache, &p, true, false));
	cache_no_watch(s.cache);
	cr_expect(cache_may_watch(s.cache, &p, true, false));
	for (unsigned i = 0; i < 100; i++)
		cache_no_watch(s.cache);
	cr_expect_not(cache_may_watch(s.cache, &p, true, false));
	for (unsigned i = 0; i < 1000; i++)
		may += cache_may_watch(s.cache, &other, true, false);
	cr_expect(may > 0 && may < 10, "%u", may);
	/* One that is granted shows that there are more again. */
	learn(&s, "a/f");
	cr_expect(cache_may_watch(s.cache, &other, true, false));
	stop(&s);
}

/* As the library does it: whether a watch was asked for. */
static bool look(struct setup *s, const char *text)
{
	struct cache_path p = path(text);

	return find(s, text) == CACHE_MISS && cache_may_watch(s->cache, &p, false, false);
}

Test(cache_watch, where_there_are_no_more_what_is_hot_takes_those_of_what_is_not)
{
	enum { FILES = 40, WATCHED = 8 };
	struct setup s;
	struct cache_stats st;
	unsigned asked = 0;
	uint32_t gone[8];
	char name[32];

	start(&s);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "a/n%u", i);
		touch(&s, name);
	}
	for (unsigned i = 0; i < WATCHED; i++) {
		snprintf(name, sizeof(name), "a/n%u", i);
		learn(&s, name);
	}
	cache_get_stats(s.cache, &st);
	cr_assert_eq(st.watches, WATCHED + 2);
	for (unsigned i = 0; i < 100; i++)
		cache_no_watch(s.cache);
	/* Round and round: all are used equally often, so none is worth another's watch. */
	for (unsigned i = 0; i < 25 * FILES; i++) {
		snprintf(name, sizeof(name), "a/n%u", i % FILES);
		asked += look(&s, name);
	}
	cr_expect_leq(asked, 25 * FILES / 256 + 1);
	cache_get_stats(s.cache, &st);
	cr_expect_eq(st.watches, WATCHED + 2);
	/* What is known to be missing needs none: its directory has one. */
	cr_expect(cache_may_watch(s.cache,
				  &(struct cache_path){ .fs_id = 1, .text = "a/none", .len = 6 },
				  false, true));
	/* One of them becomes hot. */
	for (asked = 0; !asked && s.cache;) {
		asked = look(&s, "a/n39");
		for (unsigned i = 20; i < 23; i++) {
			snprintf(name, sizeof(name), "a/n%u", i);
			(void)find(&s, name);
		}
		cache_get_stats(s.cache, &st);
		cr_assert_lt(st.misses, 10000);
	}
	cache_get_stats(s.cache, &st);
	cr_expect_eq(st.watches, WATCHED + 1);
	cr_expect_eq(cache_take_gone(s.cache, gone, 8), 1);
	learn(&s, "a/n39");
	cr_expect_eq(find(&s, "a/n39"), CACHE_HIT);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "a/n%u", i);
		unlink(at(&s, name));
	}
	stop(&s);
}

Test(cache_watch, an_event_ends_what_it_touches_and_nothing_else)
{
	struct setup s;
	struct cache_stats st;

	start(&s);
	learn(&s, "a/f");
	learn(&s, "a/g");
	learn(&s, "a/none");
	cr_expect_eq(find(&s, "a/f"), CACHE_HIT);
	cr_expect_eq(find(&s, "a/g"), CACHE_HIT);
	cr_expect_eq(find(&s, "a/none"), CACHE_ABSENT);
	cr_assert_eq(truncate(at(&s, "a/f"), 10), 0);
	cr_expect_eq(find(&s, "a/f"), CACHE_MISS);
	cr_expect_eq(find(&s, "a/g"), CACHE_HIT);
	/* Another name of a file, in a directory that nobody watches. */
	cr_assert_eq(link(at(&s, "a/g"), at(&s, "f2")), 0);
	cr_expect_eq(find(&s, "a/g"), CACHE_MISS);
	learn(&s, "a/g");
	cr_expect_eq(find(&s, "a/g"), CACHE_HIT);
	cr_expect_eq(find(&s, "a/none"), CACHE_ABSENT);
	cr_assert_eq(rename(at(&s, "a"), at(&s, "b")), 0);
	cr_expect_eq(find(&s, "a/g"), CACHE_MISS);
	cr_expect_eq(find(&s, "a/none"), CACHE_MISS);
	cr_assert_eq(rename(at(&s, "b"), at(&s, "a")), 0);
	learn(&s, "a/g");
	cr_assert_eq(chmod(at(&s, "a"), 0700), 0);
	cr_expect_eq(find(&s, "a/g"), CACHE_MISS);
	cache_get_stats(s.cache, &st);
	cr_expect_gt(st.watches, 0);
	stop(&s);
}

Test(cache_watch, a_reply_older_than_an_event_teaches_nothing)
{
	struct setup s;
	struct cache_path p;
	Gofer__WatchReply reply;
	uint32_t watches[8];
	struct cache_op op;
	Gofer__Attr attr;

	start(&s);
	p = path("a/f");
	cache_begin(&op, s.cache, CACHE_READ, 0, 0);
	watch(&s, "a/f", &reply, watches, &attr);
	cr_assert_eq(truncate(at(&s, "a/f"), 99), 0);
	/* Another thread takes the event in; only then does the reply arrive. */
	cr_expect_eq(find(&s, "a/f"), CACHE_MISS);
	cache_learn_watched(&op, &p, &reply);
	cr_expect_eq(find(&s, "a/f"), CACHE_MISS);
	learn(&s, "a/f");
	cr_expect_eq(find(&s, "a/f"), CACHE_HIT);
	stop(&s);
}

Test(cache_watch, a_watch_that_has_ended_promises_nothing)
{
	struct setup s;
	struct cache_path p;
	Gofer__WatchReply reply;
	uint32_t watches[8];
	struct cache_op op;
	Gofer__Attr attr;

	start(&s);
	p = path("a/f");
	watch(&s, "a/f", &reply, watches, &attr);
	cr_assert_eq(inotify_rm_watch(s.queue, (int)watches[2]), 0);
	cr_expect_eq(find(&s, "a/f"), CACHE_MISS);
	cache_begin(&op, s.cache, CACHE_READ, 0, 0);
	cache_learn_watched(&op, &p, &reply);
	cr_expect_eq(find(&s, "a/f"), CACHE_MISS);
	learn(&s, "a/f");
	cr_expect_eq(find(&s, "a/f"), CACHE_HIT);
	stop(&s);
}

Test(cache_watch, what_is_forgotten_is_given_back)
{
	struct setup s;
	uint32_t gone[8];

	start(&s);
	learn(&s, "a/f");
	cr_expect_eq(cache_take_gone(s.cache, gone, 8), 0);
	cache_drop(s.cache);
	cr_expect_eq(cache_take_gone(s.cache, gone, 8), 3);
	cr_expect_eq(cache_take_gone(s.cache, gone, 8), 0);
	stop(&s);
}

/* ---- a server that lies ---- */

Test(cache_watch, one_number_for_a_directory_and_what_is_in_it)
{
	struct setup s;
	struct cache_path p;
	Gofer__WatchReply reply;
	uint32_t watches[8];
	struct cache_op op;
	Gofer__Attr attr;

	start(&s);
	p = path("a/f");
	/* The same watch for all, and the inode of the directory for the file. */
	watch(&s, "a/f", &reply, watches, &attr);
	watches[1] = watches[2] = watches[0];
	for (uint32_t i = 0; i < 6; i++) {
		attr.mode = S_IFDIR | (i % 2 ? 0700 : 0755);
		attr.ino = 5;
		p = path(i % 3 ? "a/f" : "a");
		reply.end = (uint32_t)p.len;
		reply.n_watches = i % 3 ? 3 : 2;
		cache_begin(&op, s.cache, CACHE_READ, 0, 0);
		cache_learn_watched(&op, &p, &reply);
		(void)find(&s, "a/f");
		cr_assert_eq(chmod(s.root, i % 2 ? 0700 : 0755), 0);
		touch(&s, i % 2 ? "f2" : "a/h");
	}
	(void)find(&s, "a/f");
	stop(&s);
}

Test(cache, one_inode_for_a_directory_and_what_is_in_it)
{
	struct cache *c = cache_new(false);
	static const char *const texts[] = { "a", "a/b", "a/b/c", "d" };

	cache_allow(c, 0);
	for (uint32_t i = 0; i < 200; i++) {
		struct cache_path p = path(texts[i % 4]), q = path(texts[i / 4 % 4]);
		Gofer__RenameReply reply = GOFER__RENAME_REPLY__INIT;
		Gofer__Attr attr = GOFER__ATTR__INIT;
		struct cache_op op;

		attr.ino = 1 + i / 7 % 2;
		attr.mode = (i / 3 % 3 ? S_IFDIR : S_IFREG) | (i / 5 % 2 ? 0700 : 0755);
		attr.btime = i / 40;
		attr.nlink = 1;
		reply.attr = reply.source_parent = reply.dest_parent = &attr;
		cache_begin(&op, c, CACHE_READ, 0, 0);
		cache_learn_object(&op, &p, &attr);
		cache_begin(&op, c, CACHE_NAMES, 0, 0);
		if (i % 5 == 0)
			cache_renamed(&op, &p, &q, (enum cache_rename)(i % 3), &reply);
		else if (i % 5 == 1)
			cache_made(&op, &p, &attr, &attr, NULL, i % 2);
		else if (i % 5 == 2)
			cache_set(&op, &p, &attr, i % 2);
		else if (i % 5 == 3)
			cache_removed(&op, &p, &attr);
		cache_end(&op);
	}
	cache_free(c);
}
