/*
 * writeback.c - from the page cache to the server.
 *
 * Dirty ranges are sent as large Writes of the library's own (session_fetch()), several at a time; programs go on writing into
 * the cache meanwhile. Whoever has to wait for them (fsync, the last close, a writer who finds too much dirty, a change that must
 * come after them) holds the file's lock (see pages.h) and waits for the answers. What fails, or is taken in part only,
 * is dirty again.
 *
 * One thread of the session's own, there from the first dirty page on, sends what is due by age or amount. It waits for no
 * answer, and never runs a program's callback: answers come in with whoever reads the socket, and it takes them itself only while
 * nobody else reads and no callback is due to anybody (session_look()).
 *
 * With these locks held a program's callbacks have to wait (callbacks_hold()): they may do anything, also what needs the same lock.
 */
#include "client/writeback.h"

#include <limits.h>
#include <signal.h>

#include "client/cache/cache.h"
#include "client/mapping.h"

enum {
	IN_FLIGHT = 8, /* Writes of one file */
	LOOK_MS = 5,   /* between two looks for answers in the background */
};

/* ---- one Write ---- */

static void close_done(struct gofer_session *s, struct page_file *f)
{
	uint64_t handle;

	while ((handle = pages_handle_done(s->pages, f)))
		handle_close_locked(s, handle);
}

/* Called back with the session's lock. */
static void sent(struct gofer_session *s, void *userdata, int result,
		 const struct gofer_reply *reply)
{
	struct page_send *x = userdata;
	struct page_handle *through = x->through;
	struct page_file *f = x->file;
	struct cache_op op = x->op;
	const Gofer__Attr *attr = NULL;
	uint64_t close[2], done = 0;

	if (result == 0 && reply->kind == GOFER_REPLY_OK) {
		const Gofer__WriteReply *m = (const Gofer__WriteReply *)reply->message;

		attr = m->attr;
		done = m->count;
		if (m->offset != x->begin) {
			session_kill(s, -EPROTO, "a write that went elsewhere than it was sent");
			result = -EPROTO;
		} else if (!done) {
			result = -EIO;
		}
	} else if (result == 0) {
		session_kill(s, -EPROTO, "a stop without a path");
		result = -EPROTO;
	}
	/* The connection is another one: what may be there is sent again, which makes it the same. */
	if (result == -ECONNRESET && !s->dead)
		result = 0;
	pages_sent(s->pages, x, result, done);
	cache_wrote(&op, attr);
	cache_end(&op);
	for (size_t n = pages_handle_put(s->pages, through, close); n;)
		handle_close_locked(s, close[--n]);
	close_done(s, f);
	pages_close(s->pages, f);
}

/* It could not be sent now: that is no failure. */
static void unsent(struct gofer_session *s, struct page_send *x)
{
	struct page_handle *through = x->through;
	struct page_file *f = x->file;
	struct cache_op op = x->op;
	uint64_t close[2];

	pages_sent(s->pages, x, 0, 0);
	cache_end(&op);
	for (size_t n = pages_handle_put(s->pages, through, close); n;)
		handle_close_locked(s, close[--n]);
	pages_close(s->pages, f);
}

/* Sends the next range; 1 where there was one. -EAGAIN where there is no room for requests now; wait: for that and for the answer. */
static int send_one(struct gofer_session *s, struct page_file *f, uint64_t *at, bool wait)
{
	/* Body and header of a Write, at their largest. */
	size_t room = MIN((size_t)s->limits.max_data,
			  (size_t)s->limits.max_frame - FRAME_HEADER_SIZE - 32);
	Gofer__WriteRequest m = GOFER__WRITE_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Write, .message = &m.base, .fd = -1 };
	struct gofer_reply reply = { .fd = -EBADF };
	uint64_t from = *at, dev, ino;
	struct page_send *x;
	int r = pages_send(s->pages, f, at, room, &x);

	if (r < 0 || !x)
		return r;
	pages_number(f, &dev, &ino);
	cache_begin(&x->op, s->cache, CACHE_DATA, dev, ino);
	m.handle = pages_handle_number(x->through);
	m.offset = x->begin;
	request.data = x->data;
	request.data_len = x->end - x->begin;
	r = wait ? session_call(s, &request, NULL, &reply)
		 : session_fetch(s, &request, NULL, sent, x);
	if (r == 0 && !wait)
		return 1;
	if (r == -EAGAIN)
		*at = from;
	pthread_mutex_lock(&s->lock);
	if (r == -EAGAIN)
		unsent(s, x);
	else
		sent(s, x, r, &reply);
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		gofer_reply_free(&reply);
	return r < 0 && r != -ECONNRESET ? r : 1;
}

/* ---- waiting for it ---- */

/* What keeps order is taken; nothing may be under way by anybody else. */
static int wait_quiet(struct gofer_session *s, struct page_file *f)
{
	return session_wait_fetch(s, pages_quiet(f));
}

int writeback_lock(struct gofer_session *s, struct page_file *f)
{
	int r;

	callbacks_hold();
	pthread_rwlock_rdlock(pages_order(s->pages));
	pthread_mutex_lock(pages_io(f));
	r = wait_quiet(s, f);
	if (r < 0)
		writeback_unlock(s, f);
	return r;
}

void writeback_unlock(struct gofer_session *s, struct page_file *f)
{
	pthread_mutex_unlock(pages_io(f));
	pthread_rwlock_unlock(pages_order(s->pages));
	callbacks_release();
}

int writeback_locked(struct gofer_session *s, struct page_file *f)
{
	uint64_t errors = pages_errors(s->pages, f), at = 0, rest;
	int r = 1, e;

	(void)pages_rest(s->pages, f);
	while (r > 0) {
		for (unsigned n = 0; n < IN_FLIGHT && r > 0; n++)
			r = send_one(s, f, &at, false);
		if (r == -EAGAIN)
			r = send_one(s, f, &at, true);
		e = wait_quiet(s, f);
		if (r >= 0)
			r = e < 0 ? e : r;
		e = pages_error_since(s->pages, f, &errors);
		if (r >= 0 && e < 0)
			r = e;
		/* What was taken only in part goes on from there. */
		rest = pages_rest(s->pages, f);
		if (r >= 0 && rest < at) {
			at = rest;
			r = 1;
		}
	}
	return r == -EBUSY ? fail_words(-ETIMEDOUT, "an earlier change is still not answered by %s",
					s->server)
			   : r;
}

int writeback_file(struct gofer_session *s, struct page_file *f)
{
	int r;

	if (!pages_is_dirty(s->pages, f))
		return 0;
	r = writeback_lock(s, f);
	if (r == 0) {
		r = writeback_locked(s, f);
		writeback_unlock(s, f);
	}
	return r;
}

int writeback_all(struct gofer_session *s)
{
	struct page_file *f;
	uint64_t turn = 0;
	int r = 0;

	if (!s->pages)
		return 0;
	while ((f = pages_next_dirty(s->pages, &turn))) {
		int e = writeback_file(s, f);

		r = r < 0 ? r : e;
		pages_close(s->pages, f);
	}
	return r;
}

int writeback_exclude(struct gofer_session *s)
{
	int r;

	callbacks_hold();
	pthread_rwlock_wrlock(pages_order(s->pages));
	/* What was sent in the background may be executed after what comes now, unless it is answered first. */
	r = session_wait_fetch(s, pages_all_quiet(s->pages));
	if (r < 0)
		writeback_include(s);
	return r;
}

void writeback_include(struct gofer_session *s)
{
	pthread_rwlock_unlock(pages_order(s->pages));
	callbacks_release();
}

/* ---- in the background ---- */

/* Sends what there is room for, unless somebody else sees to the file. 1 while there is more. */
static int send_some(struct gofer_session *s, struct page_file *f, uint64_t *at)
{
	int r = 1;

	if (pthread_rwlock_tryrdlock(pages_order(s->pages)) != 0)
		return 0;
	if (pthread_mutex_trylock(pages_io(f)) == 0) {
		for (unsigned n = 0; n < IN_FLIGHT && r > 0; n++)
			r = send_one(s, f, at, false);
		pthread_mutex_unlock(pages_io(f));
	} else {
		r = 0;
	}
	pthread_rwlock_unlock(pages_order(s->pages));
	return r == -EAGAIN ? 1 : r;
}

/* As pages_wait_due(); and what was stored to memory becomes dirty when it is time. */
static struct page_file *wait_due(struct gofer_session *s, unsigned ms, bool *ret_stop)
{
	struct page_file *f = pages_wait_due(s->pages, ms, ret_stop);

	if (!*ret_stop && pages_look_due(s->pages, atomic_load(&s->mapper->n_mappings)))
		mapper_age(s->mapper);
	return f;
}

static void *run(void *data)
{
	struct gofer_session *s = data;
	bool stop = false;

	while (!stop) {
		struct page_file *f = wait_due(s, 0, &stop), *other;
		uint64_t at = 0;
		int r = f != NULL;

		while (f && r > 0 && !stop) {
			uint64_t before = at;

			if (*pages_quiet(f))
				r = send_some(s, f, &at);
			if (r <= 0)
				break;
			session_look(s);
			/* Answered already; unless there was no room for any. */
			if (*pages_quiet(f) && at != before)
				continue;
			other = wait_due(s, LOOK_MS, &stop);
			pages_close(s->pages, other);
		}
		/* The last answers. */
		while (f && !stop && !*pages_quiet(f)) {
			session_look(s);
			other = wait_due(s, LOOK_MS, &stop);
			pages_close(s->pages, other);
		}
		pages_close(s->pages, f);
	}
	return NULL;
}

int writeback_start(struct gofer_session *s)
{
	sigset_t all, before;
	int r = 0;

	if (s->writing_back)
		return 0;
	pthread_mutex_lock(&s->lock);
	if (!s->writing_back) {
		/* The program's signals are not for this thread. */
		sigfillset(&all);
		(void)pthread_sigmask(SIG_SETMASK, &all, &before);
		r = -pthread_create(&s->writeback, NULL, run, s);
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
		s->writing_back = r == 0;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

void writeback_quit(struct gofer_session *s)
{
	if (!s->writing_back)
		return;
	pages_stop(s->pages);
	(void)pthread_join(s->writeback, NULL);
}

/* ---- for the program ---- */

int gofer_session_sync(struct gofer_session *s)
{
	int r = session_check(s);

	if (r == 0 && s->mapper)
		r = mapping_flush_all(s->mapper);
	if (r == 0)
		r = writeback_all(s);
	return r < 0 ? fail_path(r, "write back", s->server) : 0;
}

int gofer_at_risk(struct gofer_session *s, gofer_risk_callback callback, void *userdata)
{
	struct page_risk *risks = NULL;
	size_t n = 0;
	int r = session_check(s);

	if (r == 0 && s->pages)
		r = pages_at_risk(s->pages, &risks, &n);
	if (r == 0 && s->mapper)
		r = mapper_at_risk(s->mapper, &risks, &n);
	if (r < 0) {
		pages_risks_free(risks, n);
		return r;
	}
	for (size_t i = 0; i < n && callback; i++) {
		const struct gofer_risk risk = { .dev = risks[i].dev,
						 .ino = risks[i].ino,
						 .path = risks[i].path,
						 .offset = risks[i].offset,
						 .length = risks[i].length,
						 .error = risks[i].error };

		callback(userdata, &risk);
	}
	pages_risks_free(risks, n);
	return (int)MIN(n, (size_t)INT_MAX);
}
