/*
 * test_dir_channel.c - long listings through channels: pages are asked for ahead, and whatever else is done
 * meanwhile, each entry is seen once and nothing is left behind.
 */
#include <pthread.h>

#include "client/session.h"
#include "proto/codec.h"
#include "tests/unit/namespace_fixture.h"

enum { FILES = 1000 };

static struct world *begin_listing(uint32_t channels)
{
	struct world *w = begin_channels(channels);
	struct gofer_stats stats;

	for (unsigned i = 0; i < FILES; i++) {
		char name[40];

		(void)snprintf(name, sizeof(name), "A/big/file-%u", i);
		cr_assert_eq(mknod(name, S_IFREG | 0644, 0), 0);
	}
	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/", NULL), 0);
	gofer_session_get_stats(w->session, &stats);
	cr_assert_eq(stats.channels, channels);
	return w;
}

struct listing {
	struct gofer_dir *dir;
	bool seen[FILES];
	unsigned n;
};

static void open_listing(struct world *w, struct listing *l)
{
	*l = (struct listing){ 0 };
	cr_assert_eq(gofer_opendir(w->ns, "/big", 0, &l->dir), 0, "%s", gofer_message());
}

/* False at the end. */
static bool next(struct listing *l)
{
	struct gofer_dirent e;
	unsigned i;
	int r = gofer_readdir(l->dir, &e);

	cr_assert_geq(r, 0, "%s", gofer_message());
	if (r == 0)
		return false;
	cr_assert_eq(sscanf(e.name, "file-%u", &i), 1, "%s", e.name);
	cr_assert(i < FILES && !l->seen[i], "%s twice", e.name);
	cr_assert(e.has_stat && S_ISREG(e.st.st_mode) && e.type == DT_REG);
	l->seen[i] = true;
	l->n++;
	return true;
}

static uint32_t handles(struct world *w)
{
	Gofer__StatsRequest m = GOFER__STATS_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Stats, .message = &m.base, .fd = -1 };
	struct gofer_reply reply;
	uint32_t n;

	cr_assert_eq(gofer_call(w->session, &request, &reply), 0);
	n = ((Gofer__StatsReply *)reply.message)->handles;
	gofer_reply_free(&reply);
	return n;
}

Test(dir_channel, every_entry_is_seen_once_however_many_channels_there_are, .timeout = 60)
{
	static struct listing l;

	for (uint32_t channels = 0; channels < 3; channels++) {
		struct world *w = begin_listing(channels);
		struct gofer_stats stats;

		for (int turn = 0; turn < 3; turn++) {
			open_listing(w, &l);
			while (next(&l))
				;
			gofer_closedir(l.dir);
			cr_assert_eq(l.n, FILES);
		}
		gofer_session_get_stats(w->session, &stats);
		cr_assert((stats.by_channel > 0) == (channels > 0));
		cr_assert_eq(handles(w), 0);
		end(w);
	}
}

Test(dir_channel, calls_between_the_entries_get_their_own_answers, .timeout = 60)
{
	struct world *w = begin_listing(1);
	static struct listing l, other;
	struct stat st;

	open_listing(w, &l);
	open_listing(w, &other);
	while (next(&l)) {
		if (l.n % 3 == 0)
			cr_assert_eq(gofer_stat(w->ns, "/d/e/f", 0, &st), 0);
		if (l.n % 5 == 0)
			cr_assert_eq(gofer_stat(w->ns, "/missing", 0, &st), -ENOENT);
		if (l.n % 2 == 0)
			cr_assert(next(&other));
	}
	while (next(&other))
		;
	gofer_closedir(l.dir);
	gofer_closedir(other.dir);
	cr_assert(l.n == FILES && other.n == FILES);
	cr_assert_eq(handles(w), 0);
	end(w);
}

Test(dir_channel, a_listing_may_be_given_up_at_any_time, .timeout = 60)
{
	static const unsigned after[] = { 0, 1, 15, 16, 17, 500, 640, 700, 750, 999, 1000 };
	static struct listing l;

	for (uint32_t channels = 1; channels < 3; channels++) {
		struct world *w = begin_listing(channels);
		struct stat st;

		for (size_t i = 0; i < ARRAY_SIZE(after); i++) {
			open_listing(w, &l);
			while (l.n < after[i])
				cr_assert(next(&l));
			gofer_closedir(l.dir);
			cr_assert_eq(gofer_stat(w->ns, "/d/e/f", 0, &st), 0);
		}
		cr_assert_eq(handles(w), 0);
		end(w);
	}
}

static void *list_all(void *userdata)
{
	struct world *w = userdata;
	struct gofer_dirent e;
	struct gofer_dir *dir;
	uintptr_t n = 0;
	struct stat st;

	if (gofer_opendir(w->ns, "/big", 0, &dir) < 0)
		return NULL;
	while (gofer_readdir(dir, &e) > 0) {
		n += e.has_stat;
		if (n % 7 == 0 && gofer_stat(w->ns, "/d/e/f", 0, &st) < 0)
			break;
	}
	gofer_closedir(dir);
	return (void *)n;
}

Test(dir_channel, threads_that_list_share_the_channels, .timeout = 100)
{
	struct world *w = begin_listing(2);
	pthread_t threads[4];
	void *n;

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, list_all, w), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		cr_assert_eq(pthread_join(threads[i], &n), 0);
		cr_assert_eq((uintptr_t)n, FILES);
	}
	cr_assert_eq(handles(w), 0);
	end(w);
}

Test(dir_channel, the_death_of_the_server_ends_a_listing, .timeout = 60)
{
	struct world *w = begin_listing(1);
	static struct listing l;
	struct gofer_dirent e;
	int r = 1;

	open_listing(w, &l);
	while (l.n < 20)
		cr_assert(next(&l));
	cr_assert_eq(kill(w->child, SIGKILL), 0);
	while (r > 0)
		r = gofer_readdir(l.dir, &e);
	cr_assert_lt(r, 0);
	gofer_closedir(l.dir);
	gofer_namespace_free(w->ns);
	gofer_session_close(w->session);
	cr_assert_eq(waitpid(w->child, NULL, 0), w->child);
	cr_assert_eq(chdir("/"), 0);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(w);
}

/* What it says of bytes that are cut, or changed, may be anything; read are they to their end and no further. */
Test(dir_channel, S60_where_a_page_goes_on_is_found_without_decoding)
{
	Gofer__Entry entry[3] = { GOFER__ENTRY__INIT, GOFER__ENTRY__INIT, GOFER__ENTRY__INIT };
	Gofer__Entry *list[3] = { &entry[0], &entry[1], &entry[2] };
	Gofer__ReadDirReply m = GOFER__READ_DIR_REPLY__INIT;
	Gofer__Attr attr = GOFER__ATTR__INIT;
	static uint8_t bytes[1024];
	uint64_t cookie = 0;
	size_t n;

	for (unsigned i = 0; i < 3; i++) {
		entry[i].name = (ProtobufCBinaryData){ 4, (uint8_t *)"name" };
		entry[i].ino = UINT64_MAX;
		entry[i].cookie = 1000 + i;
		entry[i].attr = &attr;
	}
	attr.ino = 7;
	attr.size = 1234567;
	m.attr = &attr;
	m.entries = list;
	m.n_entries = 3;
	n = (size_t)codec_pack(&m.base, bytes, sizeof(bytes));
	cr_assert(reply_listing_goes_on(bytes, n, &cookie) && cookie == 1002);
	for (size_t len = 0; len < n; len++) {
		uint8_t *copy = malloc(len ? len : 1);

		memcpy(copy, bytes, len);
		(void)reply_listing_goes_on(copy, len, &cookie);
		for (size_t i = 0; i < len; i++) {
			copy[i] ^= 0x80;
			if (reply_listing_goes_on(copy, len, &cookie))
				cr_assert(cookie > 0 && cookie <= INT64_MAX);
			copy[i] ^= 0x80;
		}
		free(copy);
	}
	m.end = true;
	n = (size_t)codec_pack(&m.base, bytes, sizeof(bytes));
	cr_assert(!reply_listing_goes_on(bytes, n, &cookie));
	m.end = false;
	m.n_entries = 0;
	n = (size_t)codec_pack(&m.base, bytes, sizeof(bytes));
	cr_assert(!reply_listing_goes_on(bytes, n, &cookie));
	entry[2].cookie = UINT64_MAX;
	m.n_entries = 3;
	n = (size_t)codec_pack(&m.base, bytes, sizeof(bytes));
	cr_assert(!reply_listing_goes_on(bytes, n, &cookie));
}
