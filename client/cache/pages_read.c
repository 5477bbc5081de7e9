/*
 * pages_read.c - bytes out of the page cache, and what is fetched into it.
 */
#include "client/cache/pages_state.h"

#include <string.h>

/* ---- out ---- */

static void copy_out(struct pages *p, struct page_file *f, uint8_t *to, uint64_t begin,
		     uint64_t end, bool once)
{
	while (begin < end) {
		uint64_t n = MIN(end, page_end(begin)) - begin;
		struct page_frame *frame = frames_find(p->frames, f, page_of(begin));

		memcpy(to, frames_data(p->frames, frame) + begin % FRAME_SIZE, n);
		p->stats.ahead += frame->ahead;
		frame->ahead = false;
		/* Several small reads of one page are one use. */
		if (!once && f->last_page != frame->page)
			frames_use(p->frames, frame);
		f->last_page = frame->page;
		to += n;
		begin += n;
	}
}

static struct page_fetch *under_way(const struct page_file *f, uint64_t at)
{
	struct page_fetch *x = f->fetches;

	while (x && (x->spoiled || at < x->begin || at >= x->end))
		x = x->next;
	return x;
}

ssize_t pages_read(struct pages *p, struct page_file *f, void *buf, size_t size, uint64_t offset,
		   bool once, struct interval *ret_miss, struct page_fetch **ret_fetch)
{
	uint64_t at = offset, end;

	*ret_miss = (struct interval){ 0, 0 };
	*ret_fetch = NULL;
	pthread_mutex_lock(&p->lock);
	if (!f->known) {
		pthread_mutex_unlock(&p->lock);
		return -ESTALE;
	}
	end = MAX(MIN(offset + size, f->size), offset);
	while (at < end) {
		struct interval v = { end, end };
		uint8_t *to = (uint8_t *)buf + (at - offset);
		uint64_t stop;

		(void)interval_next(&f->valid, at, &v);
		stop = MIN(v.begin <= at ? v.end : v.begin, end);
		if (v.begin <= at) {
			copy_out(p, f, to, at, stop, once);
		} else if (at >= f->server_size) {
			memset(to, 0, stop - at); /* a hole that the server does not have yet */
		} else {
			*ret_miss = (struct interval){ at, MIN(stop, f->server_size) };
			*ret_fetch = under_way(f, at);
			if (*ret_fetch)
				(*ret_fetch)->refs++;
			break;
		}
		at = stop;
	}
	if (at < end)
		p->stats.misses++;
	else
		p->stats.hits++;
	pthread_mutex_unlock(&p->lock);
	return (ssize_t)(at - offset);
}

/* ---- in ---- */

bool pages_missing(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end,
		   struct interval *ret)
{
	bool missing;

	pthread_mutex_lock(&p->lock);
	end = MIN(end, f->server_size);
	while (begin < end) {
		const struct page_fetch *x = under_way(f, begin);
		struct interval v;

		if (x)
			begin = x->end;
		else if (interval_next(&f->valid, begin, &v) && v.begin <= begin)
			begin = v.end;
		else
			break;
	}
	missing = begin < end;
	if (missing) {
		struct interval v;

		begin = page_begin(begin);
		end = MIN(end > INT64_MAX - FRAME_SIZE ? end : page_end(end - 1), f->server_size);
		for (const struct page_fetch *x = f->fetches; x; x = x->next)
			if (!x->spoiled && x->begin > begin)
				end = MIN(end, x->begin);
		/* Not what is there already, unless it is less than a page. */
		if (interval_next(&f->valid, begin, &v) && v.begin >= begin + FRAME_SIZE)
			end = MIN(end, v.begin);
		*ret = (struct interval){ begin, end };
	}
	pthread_mutex_unlock(&p->lock);
	return missing;
}

struct page_fetch *pages_fetch(struct pages *p, struct page_file *f, struct page_handle *through,
			       uint64_t begin, uint64_t end, uint64_t wanted)
{
	struct page_fetch *x = malloc(sizeof(*x) + (end - begin));

	if (!x)
		return NULL;
	*x = (struct page_fetch){ .file = f,
				  .through = through,
				  .begin = begin,
				  .end = end,
				  .wanted = wanted,
				  .refs = 2 };
	pthread_mutex_lock(&p->lock);
	x->start = p->clock;
	for (const struct page_change *c = f->changes; c; c = c->next)
		x->spoiled |= c->begin < end && begin < c->end;
	f->refs++;
	through->users++;
	x->next = f->fetches;
	f->fetches = x;
	pthread_mutex_unlock(&p->lock);
	return x;
}

/* Takes in what is not valid yet, as far as there is room. */
static void fill(struct pages *p, struct page_file *f, const struct page_fetch *x)
{
	uint64_t at = x->begin, end = MIN(x->begin + x->len, f->server_size);

	while (at < end) {
		uint64_t stop = MIN(page_end(at), end);
		struct interval v;

		if (interval_next(&f->valid, at, &v)) {
			if (v.begin <= at) {
				at = v.end;
				continue;
			}
			stop = MIN(stop, v.begin);
		}
		if (!pages_put(p, f, x->data + (at - x->begin), at, stop, at >= x->wanted))
			return;
		at = stop;
	}
}

void pages_fetched(struct pages *p, struct page_fetch *x, int result, size_t len)
{
	struct page_file *f = x->file;
	struct page_fetch **at;

	pthread_mutex_lock(&p->lock);
	for (at = &f->fetches; *at != x;)
		at = &(*at)->next;
	*at = x->next;
	x->result = result;
	x->len = len;
	/* A change of any file that overlaps drops what it may have made wrong when it ends. */
	if (result == 0 && !x->spoiled && f->known && !f->natives && !p->off) {
		if (x->begin + len < x->end && x->begin + len < f->server_size)
			page_file_doubt(p, f); /* the server has less than it said */
		else
			fill(p, f, x);
	}
	x->done = true;
	pthread_mutex_unlock(&p->lock);
	pages_fetch_unref(p, x);
}

void pages_fetch_unref(struct pages *p, struct page_fetch *x)
{
	bool last;

	if (!x)
		return;
	pthread_mutex_lock(&p->lock);
	last = --x->refs == 0;
	pthread_mutex_unlock(&p->lock);
	if (last)
		free(x);
}
