/*
 * pages_dirty.c - what the server has not got yet: which of it is sent next, what became of that, and
 * what is at risk.
 *
 * A file is in the list of dirty files while any of its bytes is dirty or being sent, in the order in which they became
 * so. Of a range that is being sent no other is sent at the same time, so newer bytes never come first.
 */
#include "client/cache/pages_state.h"

#include <string.h>
#include <time.h>

#include "common/packet.h"

enum { RETRY_NS = 1000000000, AGAIN_NS = 20000000, RANGES_MAX = 4096 };

pthread_rwlock_t *pages_order(struct pages *p)
{
	return &p->order;
}

pthread_mutex_t *pages_io(struct page_file *f)
{
	return &f->io;
}

/* ---- the list ---- */

static void list(struct pages *p, struct page_file *f)
{
	bool first = !p->first_dirty;

	if (!f->listed) {
		f->listed = true;
		f->due = now_ns() + p->age;
		f->turn = ++p->turns;
		f->next_dirty = NULL;
		f->prev_dirty = p->last_dirty;
		if (p->last_dirty)
			p->last_dirty->next_dirty = f;
		else
			p->first_dirty = f;
		p->last_dirty = f;
	}
	if (first || p->dirty_frames > p->dirty_limit / 2)
		pthread_cond_signal(&p->wake);
}

static void unlist(struct pages *p, struct page_file *f)
{
	if (f->prev_dirty)
		f->prev_dirty->next_dirty = f->next_dirty;
	else
		p->first_dirty = f->next_dirty;
	if (f->next_dirty)
		f->next_dirty->prev_dirty = f->prev_dirty;
	else
		p->last_dirty = f->prev_dirty;
	f->listed = false;
}

bool page_file_at_risk(const struct page_file *f, uint64_t at, struct interval *ret)
{
	bool any = interval_next(&f->dirty, at, ret);

	for (const struct page_send *x = f->sends; x; x = x->next)
		if (x->end > at && (!any || x->begin < ret->begin)) {
			*ret = (struct interval){ x->begin, x->end };
			any = true;
		}
	return any;
}

/* Bytes of [begin, end) may be clean now. */
static void settle(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end)
{
	for (uint64_t at = page_begin(begin); at < end; at += FRAME_SIZE) {
		struct page_frame *frame = frames_find(p->frames, f, page_of(at));
		struct interval risk;

		if (!frame || !frame->dirty ||
		    (page_file_at_risk(f, at, &risk) && risk.begin < at + FRAME_SIZE))
			continue;
		frame->dirty = false;
		p->dirty_frames--;
	}
	if (f->listed && !f->dirty.n && !f->sends) {
		unlist(p, f);
		f->error = 0;
	}
}

void page_file_cut(struct pages *p, struct page_file *f, uint64_t size)
{
	struct page_send **at = &f->sends;
	struct interval i;

	/* Nothing is under way; these could not be noted as dirty. */
	while (*at) {
		struct page_send *x = *at;
		uint64_t begin = MAX(x->begin, size), end = x->end;

		x->end = MIN(x->end, size);
		if (x->begin < x->end) {
			at = &x->next;
		} else {
			*at = x->next;
			free(x);
		}
		if (begin < end)
			settle(p, f, begin, end);
	}
	while (interval_next(&f->dirty, size, &i)) {
		i.begin = MAX(i.begin, size);
		/* The end of a range, or all of it: this takes no memory. */
		interval_remove(&f->dirty, i.begin, i.end);
		settle(p, f, i.begin, i.end);
	}
}

/* ---- writing ---- */

static bool may_wait(const struct pages *p, const struct page_file *f, uint64_t offset, size_t size)
{
	return f->known && !p->any && !p->off && !p->through && !p->stop && !f->natives &&
	       !f->changes && size <= INT64_MAX - offset;
}

size_t pages_write(struct pages *p, struct page_file *f, const void *buf, size_t size,
		   uint64_t offset)
{
	uint64_t at = offset, end = offset + size;

	pthread_mutex_lock(&p->lock);
	if (!may_wait(p, f, offset, size))
		end = at;
	while (at < end) {
		uint64_t stop = MIN(page_end(at), end);
		struct page_frame *frame;

		frame = interval_reserve(&f->dirty) < 0
				? NULL
				: pages_put(p, f, (const uint8_t *)buf + (at - offset), at, stop,
					    false);
		if (!frame)
			break;
		interval_add(&f->dirty, at, stop);
		p->dirty_frames += !frame->dirty;
		frame->dirty = true;
		at = stop;
	}
	if (at > offset) {
		f->size = MAX(f->size, at);
		f->stamped = false;
		f->changed = ++p->clock;
		(void)clock_gettime(CLOCK_REALTIME, &f->wrote);
		list(p, f);
	}
	pthread_mutex_unlock(&p->lock);
	return at - offset;
}

bool pages_is_dirty(struct pages *p, struct page_file *f)
{
	bool dirty;

	pthread_mutex_lock(&p->lock);
	dirty = f->listed;
	pthread_mutex_unlock(&p->lock);
	return dirty;
}

bool pages_is_behind(struct pages *p, const Gofer__Attr *attr, uint64_t since)
{
	const struct page_file *f;
	bool behind;

	pthread_mutex_lock(&p->lock);
	f = page_file_find(p, attr);
	behind = f ? f->listed || f->changed > since : p->lost_change > since;
	pthread_mutex_unlock(&p->lock);
	return behind;
}

bool pages_any_dirty(struct pages *p)
{
	bool any;

	pthread_mutex_lock(&p->lock);
	any = p->first_dirty;
	pthread_mutex_unlock(&p->lock);
	return any;
}

bool pages_over_limit(struct pages *p, struct page_file *f, size_t more)
{
	bool over;

	pthread_mutex_lock(&p->lock);
	/* Many small ranges cost memory of their own. */
	over = p->dirty_frames + more / FRAME_SIZE + 2 > p->dirty_limit || f->dirty.n > RANGES_MAX;
	pthread_mutex_unlock(&p->lock);
	return over;
}

/* ---- sending ---- */

/* What could not be noted before. */
static int take_back(struct page_file *f)
{
	struct page_send **at = &f->sends;

	while (*at) {
		struct page_send *x = *at;

		if (!x->failed) {
			at = &x->next;
			continue;
		}
		if (interval_reserve(&f->dirty) < 0)
			return -ENOMEM;
		interval_add(&f->dirty, x->begin, x->end);
		*at = x->next;
		free(x);
	}
	return 0;
}

/* The first range at or behind `at` that is dirty and of which nothing is under way. */
static bool next_to_send(const struct page_file *f, uint64_t at, struct interval *ret)
{
	bool moved = true;

	if (!interval_next(&f->dirty, at, ret))
		return false;
	ret->begin = MAX(ret->begin, at);
	while (moved) {
		moved = false;
		for (const struct page_send *x = f->sends; x; x = x->next) {
			if (x->end <= ret->begin || x->begin >= ret->end)
				continue;
			if (x->begin > ret->begin) {
				ret->end = x->begin;
				continue;
			}
			if (!interval_next(&f->dirty, x->end, ret))
				return false;
			ret->begin = MAX(ret->begin, x->end);
			moved = true;
		}
	}
	return true;
}

static int send_locked(struct pages *p, struct page_file *f, uint64_t *at, size_t room,
		       struct page_send **ret_send)
{
	struct page_handle *h = f->handles;
	struct page_send *x;
	struct interval i;
	int r = take_back(f);

	if (r < 0)
		return r;
	if (!next_to_send(f, *at, &i))
		return 0;
	if (p->late)
		return -EBUSY;
	while (h && !h->writes)
		h = h->next;
	if (!h)
		return -EBADF;
	i.end = MIN(i.end, i.begin + room);
	x = malloc(sizeof(*x) + (i.end - i.begin));
	if (!x || interval_reserve(&f->dirty) < 0) {
		free(x);
		return -ENOMEM;
	}
	*x = (struct page_send){
		.next = f->sends, .file = f, .through = h, .begin = i.begin, .end = i.end
	};
	for (uint64_t from = i.begin; from < i.end;) {
		uint64_t stop = MIN(page_end(from), i.end);
		const struct page_frame *frame = frames_find(p->frames, f, page_of(from));

		memcpy(x->data + (from - i.begin),
		       frames_data(p->frames, frame) + from % FRAME_SIZE, stop - from);
		from = stop;
	}
	interval_remove(&f->dirty, i.begin, i.end);
	f->sends = x;
	f->quiet = p->quiet = false;
	p->sending++;
	f->refs++;
	h->users++;
	f->changed = ++p->clock;
	p->stats.sent++;
	*at = i.end;
	*ret_send = x;
	return 0;
}

int pages_send(struct pages *p, struct page_file *f, uint64_t *at, size_t room,
	       struct page_send **ret_send)
{
	int r;

	*ret_send = NULL;
	pthread_mutex_lock(&p->lock);
	r = send_locked(p, f, at, room, ret_send);
	pthread_mutex_unlock(&p->lock);
	return r;
}

static bool all_failed(const struct page_file *f)
{
	for (const struct page_send *x = f->sends; x; x = x->next)
		if (!x->failed)
			return false;
	return true;
}

static void failed(struct page_file *f, int error)
{
	f->error = f->last_error = error;
	f->errors++;
	f->due = now_ns() + RETRY_NS;
}

void pages_sent(struct pages *p, struct page_send *x, int result, uint64_t done)
{
	struct page_file *f = x->file;
	struct page_send **at;

	pthread_mutex_lock(&p->lock);
	f->changed = ++p->clock;
	if (result < 0)
		failed(f, result);
	done = result < 0 ? 0 : MIN(done, x->end - x->begin);
	if (done && f->known)
		f->server_size = MAX(f->server_size, x->begin + done);
	if (x->begin + done < x->end && interval_reserve(&f->dirty) < 0) {
		x->failed = true;
		failed(f, -ENOMEM);
	} else {
		if (x->begin + done < x->end) {
			interval_add(&f->dirty, x->begin + done, x->end);
			f->rest = MIN(f->rest, x->begin + done);
		}
		for (at = &f->sends; *at != x;)
			at = &(*at)->next;
		*at = x->next;
		settle(p, f, x->begin, x->end);
		free(x);
	}
	if (all_failed(f))
		f->quiet = true;
	if (--p->sending == 0)
		p->quiet = true;
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

const _Atomic bool *pages_quiet(const struct page_file *f)
{
	return &f->quiet;
}

const _Atomic bool *pages_all_quiet(const struct pages *p)
{
	return &p->quiet;
}

uint64_t pages_rest(struct pages *p, struct page_file *f)
{
	uint64_t rest;

	pthread_mutex_lock(&p->lock);
	rest = f->rest;
	f->rest = UINT64_MAX;
	pthread_mutex_unlock(&p->lock);
	return rest;
}

uint64_t pages_errors(struct pages *p, struct page_file *f)
{
	uint64_t n;

	pthread_mutex_lock(&p->lock);
	n = f->errors;
	pthread_mutex_unlock(&p->lock);
	return n;
}

int pages_error_since(struct pages *p, struct page_file *f, uint64_t *seen)
{
	int r = 0;

	pthread_mutex_lock(&p->lock);
	if (f->errors != *seen) {
		*seen = f->errors;
		r = f->last_error;
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

void pages_late(struct pages *p, bool begin)
{
	pthread_mutex_lock(&p->lock);
	p->late += begin ? 1u : -1u;
	pthread_mutex_unlock(&p->lock);
}

/* ---- who is next ---- */

void pages_look_begin(struct pages *p)
{
	pthread_mutex_lock(&p->lock);
	if (!p->look) {
		p->look = now_ns() + p->age;
		pthread_cond_signal(&p->wake);
	}
	pthread_mutex_unlock(&p->lock);
}

bool pages_look_due(struct pages *p, bool again)
{
	uint64_t now = now_ns();
	bool due;

	pthread_mutex_lock(&p->lock);
	due = p->look && p->look <= now;
	if (due)
		p->look = again ? now + p->age : 0;
	pthread_mutex_unlock(&p->lock);
	return due;
}

struct page_file *pages_wait_due(struct pages *p, unsigned ms, bool *ret_stop)
{
	uint64_t until = now_ns() + (uint64_t)ms * 1000000;
	struct page_file *f = NULL;

	pthread_mutex_lock(&p->lock);
	while (!p->stop && !f) {
		bool much = p->dirty_frames > p->dirty_limit / 2;
		uint64_t now = now_ns(), next = ms ? until : UINT64_MAX;
		struct timespec ts;

		for (struct page_file *i = p->first_dirty; i && !f; i = i->next_dirty) {
			if (!i->dirty.n)
				continue; /* all of it is under way */
			/* One that has failed waits for its own time, however much there is. */
			if (i->due <= now || (much && !i->error && i->picked + AGAIN_NS <= now))
				f = i;
			next = MIN(next, much && !i->error ? i->picked + AGAIN_NS : i->due);
		}
		if (p->look)
			next = MIN(next, p->look);
		if (f || (ms && now >= until) || (p->look && p->look <= now))
			break;
		if (next == UINT64_MAX) {
			pthread_cond_wait(&p->wake, &p->lock);
			continue;
		}
		ts = (struct timespec){ .tv_sec = (time_t)(next / 1000000000),
					.tv_nsec = (long)(next % 1000000000) };
		(void)pthread_cond_clockwait(&p->wake, &p->lock, CLOCK_MONOTONIC, &ts);
	}
	if (f) {
		f->refs++;
		/* The others come first, whatever becomes of it. */
		unlist(p, f);
		list(p, f);
		f->picked = now_ns();
		f->due = f->picked + RETRY_NS;
	}
	*ret_stop = p->stop;
	pthread_mutex_unlock(&p->lock);
	return f;
}

struct page_file *pages_next_dirty(struct pages *p, uint64_t *turn)
{
	struct page_file *f;

	pthread_mutex_lock(&p->lock);
	for (f = p->first_dirty; f && f->turn <= *turn;)
		f = f->next_dirty; /* in the order of their turns */
	if (f) {
		*turn = f->turn;
		f->refs++;
	}
	pthread_mutex_unlock(&p->lock);
	return f;
}

void pages_stop(struct pages *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

/* ---- at risk ---- */

void pages_risks_free(struct page_risk *risks, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(risks[i].path);
	free(risks);
}

static int add_risks(const struct page_file *f, struct page_risk **risks, size_t *n)
{
	uint64_t at = 0;
	struct interval i;

	while (page_file_at_risk(f, at, &i)) {
		struct page_risk *more = reallocarray(*risks, *n + 1, sizeof(*more));
		char *path = strdup(f->path ? f->path : "");

		if (more)
			*risks = more;
		if (!more || !path) {
			free(path);
			return -ENOMEM;
		}
		i.begin = MAX(i.begin, at);
		more[(*n)++] = (struct page_risk){ .dev = f->dev,
						   .ino = f->ino,
						   .offset = i.begin,
						   .length = i.end - i.begin,
						   .error = f->error,
						   .path = path };
		at = i.end;
	}
	return 0;
}

int pages_at_risk(struct pages *p, struct page_risk **ret_risks, size_t *ret_n)
{
	struct page_risk *risks = NULL;
	size_t n = 0;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	for (const struct page_file *f = p->first_dirty; f && r == 0; f = f->next_dirty)
		r = add_risks(f, &risks, &n);
	pthread_mutex_unlock(&p->lock);
	if (r < 0) {
		pages_risks_free(risks, n);
		return r;
	}
	*ret_risks = risks;
	*ret_n = n;
	return 0;
}
