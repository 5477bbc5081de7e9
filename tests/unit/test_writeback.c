/*
 * test_writeback.c - what is written into the page cache of mode exclusive, and how it gets to a server that the test
 * plays: one file in memory, with failures to order.
 */
#include <poll.h>
#include <sched.h>
#include <time.h>

#include "client/mapping_limits.h"
#include "client/session.h"
#include "tests/unit/client_fixture.h"

enum { MOST = 1 << 20, NEVER_MS = 1000000 };

struct store {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint8_t data[MOST];
	size_t size;
	unsigned writes, syncs, stats;
	unsigned seed;  /* of failures at random; 0: none */
	int fail;       /* every Write, with this error */
	size_t most;    /* that a Write takes; 0: all */
	bool hangs_up;  /* at the next Write */
	bool hold_ping; /* a Ping is answered after the next Write */
	uint32_t ping;
	uint8_t *spoilt; /* the program's memory that is being written: changed meanwhile */
	bool hold;       /* the next Write is executed when release() is called */
	struct held {
		struct frame frame;
		uint64_t offset;
		uint8_t data[MOST];
		bool is, overtaken; /* something else changed the size meanwhile */
	} held;
};

static unsigned rnd(unsigned *seed, unsigned n)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) % n;
}

static Gofer__Attr attr_of(const struct store *s)
{
	Gofer__Attr a = fake_attr(S_IFREG | 0644, 7);

	a.size = s->size;
	return a;
}

static void store_bytes(struct store *s, size_t size)
{
	if (size > s->size) {
		memset(s->data + s->size, 0, size - s->size);
		s->size = size;
	}
}

static void execute_write(struct fake *f, struct store *s, const struct frame *q, uint64_t offset,
			  const uint8_t *data, size_t n)
{
	Gofer__WriteReply reply = GOFER__WRITE_REPLY__INIT;
	Gofer__Attr attr;

	store_bytes(s, offset + n);
	memcpy(s->data + offset, data, n);
	attr = attr_of(s);
	reply.offset = offset;
	reply.count = (uint32_t)n;
	reply.attr = &attr;
	fake_ok(f, q, &reply.base);
}

static void serve_write(struct fake *f, struct store *s, const struct frame *q)
{
	Gofer__WriteRequest *m = gofer__write_request__unpack(NULL, q->header.body_len, q->body);
	size_t n = q->header.data_len;
	int fail = s->fail;

	s->writes++;
	if (s->spoilt)
		memset(s->spoilt, 'x', n);
	if (s->seed && !fail) {
		unsigned k = rnd(&s->seed, 8);

		fail = k == 0 ? ENOSPC : k == 1 ? EIO : 0;
		if (k == 2 && n > 1)
			n = 1 + rnd(&s->seed, (unsigned)n - 1);
	}
	if (s->most)
		n = MIN(n, s->most);
	if (s->hangs_up) {
		shutdown(f->peer, SHUT_RDWR);
	} else if (fail) {
		fake_error(f, q, (uint32_t)fail);
	} else if (s->hold) {
		s->hold = false;
		s->held.is = true;
		s->held.frame = *q;
		s->held.offset = m->offset;
		memcpy(s->held.data, q->data, n);
	} else {
		execute_write(f, s, q, m->offset, q->data, n);
	}
	gofer__write_request__free_unpacked(m, NULL);
	if (s->ping) {
		Gofer__EmptyReply ping = GOFER__EMPTY_REPLY__INIT;

		fake_reply(f, RPC_TYPE_Ping, s->ping, FRAME_OK, &ping.base, NULL, 0, -1);
		s->ping = 0;
	}
	pthread_cond_broadcast(&s->changed);
}

static void serve_read(struct fake *f, struct store *s, const struct frame *q)
{
	Gofer__ReadRequest *m = gofer__read_request__unpack(NULL, q->header.body_len, q->body);
	Gofer__ReadReply reply = GOFER__READ_REPLY__INIT;
	size_t end = MIN(m->offset + m->count, s->size);

	reply.eof = end == s->size;
	fake_reply(f, RPC_TYPE_Read, q->header.tag, FRAME_OK, &reply.base, s->data + m->offset,
		   end > m->offset ? end - m->offset : 0, -1);
	gofer__read_request__free_unpacked(m, NULL);
}

static void serve_set_attr(struct fake *f, struct store *s, const struct frame *q)
{
	Gofer__SetAttrRequest *m =
		gofer__set_attr_request__unpack(NULL, q->header.body_len, q->body);
	Gofer__ObjectReply reply = GOFER__OBJECT_REPLY__INIT;
	Gofer__Attr attr;

	s->held.overtaken |= s->held.is;
	if (m->mask & GOFER__SET_ATTR_MASK__SET_SIZE) {
		store_bytes(s, m->size);
		s->size = m->size;
	}
	attr = attr_of(s);
	reply.attr = &attr;
	fake_ok(f, q, &reply.base);
	gofer__set_attr_request__free_unpacked(m, NULL);
}

static void serve_open(struct fake *f, struct store *s, const struct frame *q)
{
	Gofer__OpenRequest *m = gofer__open_request__unpack(NULL, q->header.body_len, q->body);
	Gofer__OpenReply reply = GOFER__OPEN_REPLY__INIT;
	static uint64_t handles = 100;
	Gofer__Attr attr;

	if (m->flags & GOFER__OPEN_FLAG__OPEN_TRUNCATE)
		s->size = 0;
	attr = attr_of(s);
	reply.attr = &attr;
	reply.handle = ++handles;
	fake_ok(f, q, &reply.base);
	gofer__open_request__free_unpacked(m, NULL);
}

static void serve(struct fake *f, const struct frame *q)
{
	struct store *s = f->state;

	pthread_mutex_lock(&s->lock);
	switch (q->header.type) {
	case RPC_TYPE_Open:
		serve_open(f, s, q);
		break;
	case RPC_TYPE_Read:
		serve_read(f, s, q);
		break;
	case RPC_TYPE_Write:
		serve_write(f, s, q);
		break;
	case RPC_TYPE_SetAttr:
		serve_set_attr(f, s, q);
		break;
	case RPC_TYPE_Ping:
		if (s->hold_ping) {
			s->ping = q->header.tag;
		} else {
			Gofer__EmptyReply m = GOFER__EMPTY_REPLY__INIT;

			fake_ok(f, q, &m.base);
		}
		break;
	case RPC_TYPE_Sync: {
		Gofer__EmptyReply m = GOFER__EMPTY_REPLY__INIT;

		s->syncs++;
		fake_ok(f, q, &m.base);
		break;
	}
	case RPC_TYPE_Stat: {
		Gofer__StatReply m = GOFER__STAT_REPLY__INIT;
		Gofer__Attr attr = attr_of(s);

		s->stats++;
		m.attr = &attr;
		fake_ok(f, q, &m.base);
		break;
	}
	default:
		fake_error(f, q, EOPNOTSUPP);
		break;
	}
	pthread_mutex_unlock(&s->lock);
}

struct writer {
	struct store *store;
	struct fake *fake;
	struct gofer_namespace *ns;
	struct gofer_file *file;
};

static void start(struct writer *w, uint64_t dirty_bytes, uint32_t dirty_ms)
{
	const struct gofer_mount_options o = { .interop = GOFER_INTEROP_EXCLUSIVE,
					       .no_donate = true,
					       .dirty_bytes = dirty_bytes,
					       .dirty_ms = dirty_ms };

	*w = (struct writer){ .store = calloc(1, sizeof(*w->store)) };
	pthread_mutex_init(&w->store->lock, NULL);
	pthread_cond_init(&w->store->changed, NULL);
	w->fake = fake_start(serve, w->store);
	cr_assert_eq(gofer_namespace_new(&w->ns), 0);
	cr_assert_eq(gofer_mount(w->ns, w->fake->session, 1, "/", &o), 0);
	cr_assert_eq(gofer_open(w->ns, "/f", O_RDWR, 0, &w->file), 0);
}

static void stop(struct writer *w)
{
	gofer_close(w->file);
	gofer_namespace_free(w->ns);
	fake_stop(w->fake);
	free(w->store);
}

static void put(struct writer *w, int byte, size_t size, uint64_t offset)
{
	static uint8_t buf[MOST];

	memset(buf, byte, size);
	cr_assert_eq(gofer_pwrite(w->file, buf, size, offset), (ssize_t)size, "%s",
		     gofer_message());
}

/* Whether the server has `size` bytes of a value there. */
static bool has(struct writer *w, int byte, size_t size, size_t offset)
{
	bool all = true;

	pthread_mutex_lock(&w->store->lock);
	for (size_t i = offset; i < offset + size; i++)
		all &= i < w->store->size && w->store->data[i] == byte;
	pthread_mutex_unlock(&w->store->lock);
	return all;
}

static struct gofer_risk last_risk;

static void note_risk(void *userdata, const struct gofer_risk *risk)
{
	cr_expect_str_eq(risk->path, "f");
	cr_expect_eq(risk->ino, 7);
	last_risk = *risk;
	if (userdata)
		memset((bool *)userdata + risk->offset, true, risk->length);
}

static int risks(struct writer *w)
{
	return gofer_at_risk(w->fake->session, note_risk, NULL);
}

/* ---- when it goes ---- */

Test(writeback, small_writes_wait_and_go_as_one_no_further_than_the_files_end)
{
	struct writer w;
	struct stat st;
	char back[10];

	start(&w, 0, NEVER_MS);
	for (unsigned i = 0; i < 100; i++)
		put(&w, 'a', 1000, i * 1000);
	put(&w, 'b', 10, 100090);
	cr_expect_eq(w.store->writes, 0);
	cr_assert_eq(gofer_fstat(w.file, &st), 0);
	cr_expect_eq(st.st_size, 100100);
	cr_assert_eq(gofer_stat(w.ns, "/f", 0, &st), 0);
	cr_expect_eq(st.st_size, 100100);
	cr_expect(time(NULL) - st.st_mtim.tv_sec <= 60);
	cr_expect_eq(gofer_pread(w.file, back, 10, 100085), 10);
	cr_expect_eq(memcmp(back, "\0\0\0\0\0bbbbb", 10), 0, "there is a hole");
	cr_expect_eq(gofer_lseek(w.file, 0, SEEK_END), 100100);
	cr_expect_eq(risks(&w), 2);
	cr_expect_eq(gofer_session_sync(w.fake->session), 0);
	cr_expect_eq(w.store->writes, 2);
	cr_expect_eq(w.store->size, 100100);
	cr_expect(has(&w, 'a', 100000, 0) && has(&w, 0, 90, 100000) && has(&w, 'b', 10, 100090));
	cr_expect_eq(risks(&w), 0);
	cr_expect_eq(w.store->syncs, 0);
	cr_expect_eq(gofer_fsync(w.file, false), 0);
	cr_expect_eq(w.store->syncs, 1);
	stop(&w);
}

Test(writeback, it_goes_by_age_without_a_call_of_the_program)
{
	struct writer w;

	start(&w, 0, 1);
	put(&w, 'a', 300000, 0);
	pthread_mutex_lock(&w.store->lock);
	while (w.store->size < 300000)
		pthread_cond_wait(&w.store->changed, &w.store->lock);
	pthread_mutex_unlock(&w.store->lock);
	stop(&w);
}

Test(writeback, it_goes_by_amount_and_who_writes_more_waits)
{
	struct gofer_cache_stats st;
	struct writer w;

	start(&w, 64 << 10, NEVER_MS);
	for (size_t at = 0; at < MOST; at += 10000) {
		put(&w, 'a', MIN((size_t)10000, MOST - at), at);
		cr_assert_eq(gofer_session_get_cache_stats(w.fake->session, &st), 0);
		cr_assert_leq(st.dirty_bytes, 64 << 10);
	}
	/* More at once than may ever wait. */
	put(&w, 'b', MOST, 0);
	cr_expect_eq(gofer_session_sync(w.fake->session), 0);
	cr_expect(has(&w, 'b', MOST, 0));
	stop(&w);
}

Test(writeback, it_goes_before_the_last_close_and_with_the_session)
{
	struct gofer_file *reader;
	struct writer w;

	start(&w, 0, NEVER_MS);
	cr_assert_eq(gofer_open(w.ns, "/f", O_RDONLY, 0, &reader), 0);
	put(&w, 'a', 5000, 0);
	cr_expect_eq(gofer_close(w.file), 0);
	cr_expect(has(&w, 'a', 5000, 0));
	gofer_close(reader);
	cr_assert_eq(gofer_open(w.ns, "/f", O_RDWR, 0, &w.file), 0);
	cr_assert_eq(gofer_open(w.ns, "/f", O_RDWR, 0, &reader), 0);
	put(&w, 'b', 5000, 0);
	cr_expect_eq(gofer_close(TAKE_PTR(w.file)), 0);
	cr_expect_not(has(&w, 'b', 5000, 0), "another may still write");
	cr_expect_eq(gofer_umount(w.ns, "/"), 0 - EBUSY, "somebody stands there");
	cr_expect(has(&w, 'b', 5000, 0));
	gofer_close(reader);
	stop(&w);
}

Test(writeback, O_SYNC_and_O_APPEND_wait_for_nothing)
{
	static const int flags[] = { O_RDWR | O_SYNC, O_RDWR | O_DSYNC, O_RDWR | O_DIRECT,
				     O_WRONLY | O_APPEND };

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct gofer_file *other;
		struct writer w;

		start(&w, 0, NEVER_MS);
		put(&w, 'a', 10, 0);
		cr_assert_eq(gofer_open(w.ns, "/f", flags[i], 0, &other), 0);
		if (!(flags[i] & O_APPEND)) {
			cr_expect_eq(gofer_pwrite(other, "bbb", 3, 3), 3);
			cr_expect(has(&w, 'a', 3, 0) && has(&w, 'b', 3, 3) && has(&w, 'a', 4, 6));
		} else {
			/* This server does not append. */
			cr_expect_eq(gofer_pwrite(other, "bbb", 3, 0), 3);
			cr_expect(has(&w, 'b', 3, 0) && has(&w, 'a', 7, 3));
		}
		gofer_close(other);
		stop(&w);
	}
}

/* ---- what is done to the file meanwhile ---- */

Test(writeback, what_is_cut_off_is_never_sent)
{
	struct gofer_file *second;
	struct writer w;
	struct stat st;

	start(&w, 0, NEVER_MS);
	w.store->fail = ENOSPC;
	put(&w, 'a', 10000, 0);
	cr_expect_eq(gofer_ftruncate(w.file, 4000), 0);
	cr_expect_eq(risks(&w), 1);
	cr_expect(last_risk.offset == 0 && last_risk.length == 4000);
	cr_expect_eq(gofer_truncate(w.ns, "/f", 1000), 0);
	cr_expect_eq(risks(&w), 1);
	cr_expect_eq(last_risk.length, 1000);
	cr_assert_eq(gofer_open(w.ns, "/f", O_RDWR | O_TRUNC, 0, &second), 0);
	cr_expect_eq(risks(&w), 0);
	cr_assert_eq(gofer_fstat(w.file, &st), 0);
	cr_expect_eq(st.st_size, 0);
	cr_expect_eq(gofer_close(second), 0);
	stop(&w);
}

Test(writeback, attributes_are_set_after_what_was_written)
{
	struct writer w;

	start(&w, 0, NEVER_MS);
	put(&w, 'a', 100, 0);
	cr_expect_eq(gofer_futimens(w.file, NULL), 0);
	cr_expect(has(&w, 'a', 100, 0));
	put(&w, 'b', 100, 0);
	cr_expect_eq(gofer_chmod(w.ns, "/f", 0600), 0);
	cr_expect(has(&w, 'b', 100, 0));
	/* And before what the program asks for by itself. */
	put(&w, 'c', 100, 0);
	cr_expect_eq(fake_ping(w.fake), 0);
	cr_expect(has(&w, 'c', 100, 0));
	stop(&w);
}

/* The file's only Write is at the server, which has not executed it. */
static void wait_held(struct writer *w)
{
	pthread_mutex_lock(&w->store->lock);
	while (!w->store->held.is)
		pthread_cond_wait(&w->store->changed, &w->store->lock);
	pthread_mutex_unlock(&w->store->lock);
}

static void release(struct writer *w)
{
	struct held *h = &w->store->held;

	pthread_mutex_lock(&w->store->lock);
	h->is = false;
	execute_write(w->fake, w->store, &h->frame, h->offset, h->data, h->frame.header.data_len);
	pthread_mutex_unlock(&w->store->lock);
}

/* Until a call waits for what no call has sent, or has not waited for it. */
static void wait_for_waiter(struct writer *w)
{
	struct gofer_session *s = w->fake->session;
	bool done = false;

	while (!done) {
		sched_yield();
		pthread_mutex_lock(&s->lock);
		done = s->fetch_waiters > 0;
		pthread_mutex_unlock(&s->lock);
		pthread_mutex_lock(&w->store->lock);
		done |= w->store->held.overtaken;
		pthread_mutex_unlock(&w->store->lock);
	}
}

static void *cut_by_path(void *data)
{
	struct writer *w = data;

	cr_expect_eq(gofer_truncate(w->ns, "/f", 10), 0);
	return NULL;
}

static void *cut_by_handle(void *data)
{
	struct writer *w = data;

	cr_expect_eq(gofer_ftruncate(w->file, 10), 0);
	return NULL;
}

Test(writeback, a_change_of_the_size_comes_after_what_is_under_way)
{
	void *(*const cuts[])(void *data) = { cut_by_path, cut_by_handle };

	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		pthread_t thread;
		struct writer w;
		struct stat st;

		start(&w, 0, 1);
		w.store->hold = true;
		put(&w, 'a', 5000, 0);
		wait_held(&w);
		cr_assert_eq(pthread_create(&thread, NULL, cuts[i], &w), 0);
		wait_for_waiter(&w);
		release(&w);
		pthread_join(thread, NULL);
		cr_expect_not(w.store->held.overtaken);
		cr_expect_eq(gofer_session_sync(w.fake->session), 0);
		cr_expect_eq(w.store->size, 10);
		cr_expect_eq(gofer_fstat(w.file, &st), 0);
		cr_expect_eq(st.st_size, 10);
		stop(&w);
	}
}

Test(writeback, what_waits_shows_in_memory)
{
	struct writer w;
	void *p;

	start(&w, 0, NEVER_MS);
	put(&w, 'a', 10000, 0);
	cr_assert_eq(gofer_mmap(w.file, NULL, 10000, PROT_READ, MAP_SHARED, 0, &p), 0, "%s",
		     gofer_message());
	for (size_t i = 0; i < 10000; i += 1000)
		cr_expect_eq(((char *)p)[i], 'a');
	cr_expect_eq(((char *)p)[9999], 'a');
	cr_expect_eq(gofer_munmap(w.ns, p, 10000), 0);
	stop(&w);
}

/* NULL where the kernel does not say what was stored. */
static char *map_all(struct writer *w, size_t size)
{
	void *p;

	put(w, 'a', size, 0);
	cr_assert_eq(gofer_mmap(w->file, NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, 0, &p), 0,
		     "%s", gofer_message());
	if (mapping_features(w->fake->session) & MAPPING_TRACK)
		return p;
	cr_expect_eq(gofer_munmap(w->ns, p, size), 0);
	return NULL;
}

Test(writeback, what_is_stored_to_memory_goes_by_age_too)
{
	struct writer w;
	char *p;

	start(&w, 0, 1);
	p = map_all(&w, 10000);
	for (unsigned i = 0; p && i < 3; i++) {
		p[5000] = (char)('b' + i);
		pthread_mutex_lock(&w.store->lock);
		while (w.store->size < 10000 || w.store->data[5000] != 'b' + i)
			pthread_cond_wait(&w.store->changed, &w.store->lock);
		pthread_mutex_unlock(&w.store->lock);
	}
	if (p)
		cr_expect_eq(gofer_munmap(w.ns, p, 10000), 0);
	stop(&w);
}

Test(writeback, what_is_stored_to_memory_is_listed)
{
	bool listed[16384] = { false };
	struct writer w;
	char *p;

	start(&w, 0, NEVER_MS);
	p = map_all(&w, 10000);
	if (p) {
		cr_expect_eq(gofer_session_sync(w.fake->session), 0);
		cr_expect_eq(risks(&w), 0);
		p[5000] = 'b';
		cr_expect_eq(gofer_at_risk(w.fake->session, note_risk, listed), 1);
		cr_expect(listed[5000] && !listed[2000] && !listed[9000]);
		cr_expect_eq(last_risk.error, 0);
		w.store->fail = ENOSPC;
		cr_expect_eq(gofer_msync(w.ns, p, 10000, MS_SYNC), -ENOSPC);
		cr_expect_eq(risks(&w), 1);
		cr_expect_eq(last_risk.error, -ENOSPC);
		w.store->fail = 0;
		cr_expect_eq(gofer_msync(w.ns, p, 10000, MS_SYNC), 0);
		cr_expect_eq(risks(&w), 0);
		cr_expect_eq(w.store->data[5000], 'b');
		cr_expect_eq(gofer_munmap(w.ns, p, 10000), 0);
	}
	stop(&w);
}

Test(writeback, what_others_make_of_the_buffer_meanwhile_is_nowhere)
{
	static uint8_t buf[5000], back[5000];
	struct gofer_file *other;
	struct writer w;
	void *p;

	start(&w, 0, NEVER_MS);
	cr_assert_eq(gofer_open(w.ns, "/f", O_RDWR | O_SYNC, 0, &other), 0);
	for (unsigned mapped = 0; mapped < 2; mapped++) {
		if (mapped) {
			cr_assert_eq(gofer_mmap(other, NULL, 5000, PROT_READ, MAP_SHARED, 0, &p), 0,
				     "%s", gofer_message());
			cr_assert_eq(*(volatile char *)p, 'a');
		}
		memset(buf, 'a' + (int)mapped, sizeof(buf));
		w.store->spoilt = buf;
		cr_assert_eq(gofer_pwrite(other, buf, sizeof(buf), 0), sizeof(buf));
		w.store->spoilt = NULL;
		cr_expect(has(&w, 'a' + (int)mapped, sizeof(buf), 0));
		cr_expect_eq(gofer_pread(other, back, sizeof(back), 0), sizeof(back));
		cr_expect_eq(memcmp(back, w.store->data, sizeof(back)), 0, "by handle");
		if (mapped)
			cr_expect_eq(memcmp(p, w.store->data, sizeof(back)), 0, "in memory");
	}
	cr_expect_eq(gofer_munmap(w.ns, p, 5000), 0);
	gofer_close(other);
	stop(&w);
}

/* ---- failures ---- */

Test(writeback, what_is_taken_in_part_goes_on_from_there)
{
	struct writer w;

	start(&w, 0, NEVER_MS);
	w.store->most = 1000;
	put(&w, 'a', 10500, 0);
	cr_expect_eq(gofer_fsync(w.file, false), 0);
	cr_expect(has(&w, 'a', 10500, 0));
	cr_expect_eq(w.store->writes, 11);
	stop(&w);
}

Test(writeback, an_error_is_told_once_to_each_and_nothing_is_lost)
{
	struct gofer_file *second;
	struct writer w;
	char back[4];

	start(&w, 0, NEVER_MS);
	cr_assert_eq(gofer_open(w.ns, "/f", O_RDWR, 0, &second), 0);
	w.store->fail = ENOSPC;
	put(&w, 'a', 5000, 100);
	cr_expect_eq(gofer_fsync(w.file, false), -ENOSPC);
	cr_expect_eq(w.store->syncs, 0);
	cr_expect_eq(risks(&w), 1);
	cr_expect_eq(last_risk.offset, 100);
	cr_expect_eq(last_risk.length, 5000);
	cr_expect_eq(last_risk.error, -ENOSPC);
	cr_expect_eq(gofer_pread(w.file, back, 4, 100), 4);
	cr_expect_eq(memcmp(back, "aaaa", 4), 0);
	w.store->fail = 0;
	cr_expect_eq(gofer_fsync(w.file, false), 0, "told already");
	cr_expect(has(&w, 'a', 5000, 100));
	cr_expect_eq(risks(&w), 0);
	/* The other has not been told yet; then it has. */
	cr_expect_eq(gofer_fsync(second, false), -ENOSPC);
	cr_expect_eq(gofer_fsync(second, false), 0);
	cr_expect_eq(gofer_close(second), 0);
	/* Closing tells, and keeps what could not be sent. */
	w.store->fail = EIO;
	put(&w, 'b', 10, 0);
	cr_expect_eq(gofer_close(TAKE_PTR(w.file)), -EIO);
	cr_expect_eq(risks(&w), 1);
	w.store->fail = 0;
	cr_expect_eq(gofer_session_sync(w.fake->session), 0);
	cr_expect(has(&w, 'b', 10, 0));
	stop(&w);
}

Test(writeback, what_failed_is_tried_again_by_itself)
{
	struct writer w;

	start(&w, 0, 1);
	w.store->fail = ENOSPC;
	put(&w, 'a', 100, 0);
	pthread_mutex_lock(&w.store->lock);
	while (w.store->writes < 1)
		pthread_cond_wait(&w.store->changed, &w.store->lock);
	w.store->fail = 0;
	while (w.store->size < 100)
		pthread_cond_wait(&w.store->changed, &w.store->lock);
	pthread_mutex_unlock(&w.store->lock);
	stop(&w);
}

Test(writeback, when_the_server_goes_what_it_lacks_is_listed)
{
	struct writer w;

	start(&w, 0, NEVER_MS);
	put(&w, 'a', 5000, 0);
	w.store->hangs_up = true;
	cr_expect_eq(gofer_fsync(w.file, false), -ENOTCONN);
	cr_expect_eq(risks(&w), 1);
	cr_expect_eq(last_risk.length, 5000);
	cr_expect_eq(gofer_pwrite(w.file, "x", 1, 0), -ENOTCONN, "nothing more is promised");
	cr_expect_eq(gofer_close(TAKE_PTR(w.file)), -ENOTCONN);
	cr_expect_eq(risks(&w), 1);
	stop(&w);
}

/* One plan against a model, with a server that fails as it likes. */
static void plan(unsigned seed, uint32_t dirty_ms)
{
	enum { SPACE = 60000 };
	static uint8_t model[SPACE], buf[SPACE];
	static bool at_risk[SPACE];
	size_t size = 0;
	struct writer w;

	start(&w, 32 << 10, dirty_ms);
	w.store->seed = seed * 2 + 1;
	for (unsigned step = 0; step < 300; step++) {
		size_t offset = rnd(&seed, SPACE - 6000), n = 1 + rnd(&seed, 6000);
		ssize_t r;

		switch (rnd(&seed, 8)) {
		case 0 ... 3:
			for (size_t i = 0; i < n; i++)
				buf[i] = (uint8_t)rnd(&seed, 256);
			r = gofer_pwrite(w.file, buf, n, offset);
			/* What it could not take it says. */
			cr_assert(r <= (ssize_t)n);
			if (r <= 0)
				break;
			if (offset > size)
				memset(model + size, 0, offset - size);
			memcpy(model + offset, buf, (size_t)r);
			size = MAX(size, offset + (size_t)r);
			break;
		case 4 ... 5:
			r = gofer_pread(w.file, buf, SPACE, 0);
			/* It may have to be sent first. */
			if (r == -ENOSPC || r == -EIO)
				break;
			cr_assert_eq(r, (ssize_t)size, "seed %u step %u: %zd of %zu", seed, step, r,
				     size);
			for (size_t i = 0; i < size; i++)
				cr_assert_eq(buf[i], model[i], "seed %u step %u byte %zu", seed,
					     step, i);
			break;
		case 6:
			n = rnd(&seed, SPACE);
			cr_assert_eq(gofer_ftruncate(w.file, n), 0);
			if (n > size)
				memset(model + size, 0, n - size);
			size = n;
			break;
		default:
			r = gofer_fsync(w.file, false);
			pthread_mutex_lock(&w.store->lock);
			if (r == 0) {
				cr_assert_eq(w.store->size, size);
				cr_assert_eq(memcmp(w.store->data, model, size), 0,
					     "an acknowledged fsync: seed %u step %u", seed, step);
			}
			memset(at_risk, false, sizeof(at_risk));
			cr_assert_geq(gofer_at_risk(w.fake->session, note_risk, at_risk), 0);
			for (size_t i = 0; dirty_ms == NEVER_MS && i < size; i++)
				if (i >= w.store->size ? model[i] != 0
						       : w.store->data[i] != model[i])
					cr_assert(at_risk[i], "seed %u step %u: byte %zu is lost",
						  seed, step, i);
			pthread_mutex_unlock(&w.store->lock);
			break;
		}
	}
	pthread_mutex_lock(&w.store->lock);
	w.store->seed = 0;
	pthread_mutex_unlock(&w.store->lock);
	while (gofer_session_sync(w.fake->session) < 0)
		;
	cr_assert_eq(w.store->size, size);
	cr_assert_eq(memcmp(w.store->data, model, size), 0);
	stop(&w);
}

Test(writeback, no_failure_loses_a_byte_or_lies_about_one, .timeout = 60)
{
	for (unsigned seed = 1; seed <= 30; seed++) {
		plan(seed, NEVER_MS);
		plan(seed, 1);
	}
}

/* ---- callbacks ---- */

static pthread_t called_in;
static unsigned called;

static void pinged(void *userdata, int result, struct gofer_reply *reply _unused_)
{
	struct writer *w = userdata;

	cr_expect_eq(result, 0);
	called_in = pthread_self();
	called++;
	/* It may do anything. */
	cr_expect_eq(gofer_pwrite(w->file, "cb", 2, 0), 2);
	cr_expect_eq(gofer_fsync(w->file, false), 0);
}

static void submit_ping(struct writer *w)
{
	Gofer__PingRequest m = GOFER__PING_REQUEST__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Ping, .message = &m.base, .fd = -1 };

	called = 0;
	w->store->hold_ping = true;
	cr_assert_eq(gofer_submit(w->fake->session, &q, pinged, w, NULL), 0);
	cr_assert_eq(gofer_session_flush(w->fake->session), 0);
}

Test(writeback, a_callback_is_called_by_the_programs_threads_only)
{
	struct writer w;
	struct pollfd p;

	start(&w, 0, 1);
	submit_ping(&w);
	put(&w, 'a', 100, 0);
	/* It goes by age; then the Ping is answered, and whoever polls is woken. */
	pthread_mutex_lock(&w.store->lock);
	while (w.store->size < 100)
		pthread_cond_wait(&w.store->changed, &w.store->lock);
	pthread_mutex_unlock(&w.store->lock);
	p = (struct pollfd){ .fd = gofer_session_fd(w.fake->session), .events = POLLIN };
	while (!called) {
		cr_assert_eq(poll(&p, 1, 5000), 1);
		cr_assert_geq(gofer_session_process(w.fake->session, 0), 0);
	}
	cr_expect(pthread_equal(called_in, pthread_self()));
	stop(&w);
}

Test(writeback, a_callback_that_comes_during_fsync_may_write_the_same_file)
{
	struct writer w;

	start(&w, 0, NEVER_MS);
	submit_ping(&w);
	put(&w, 'a', 100, 0);
	cr_expect_eq(gofer_fsync(w.file, false), 0);
	cr_expect_eq(gofer_session_drain(w.fake->session), 0);
	cr_expect_eq(called, 1);
	cr_expect_eq(w.store->data[0], 'c');
	stop(&w);
}
