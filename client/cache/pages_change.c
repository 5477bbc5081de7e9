/*
 * pages_change.c - what this client does to contents: what is not known while it is under way, and
 * what is known afterwards. See pages.h.
 */
#include "client/cache/pages_state.h"

/* ---- of one file ---- */

void pages_change_begin(struct pages *p, struct page_file *f, struct page_change *x, uint64_t begin,
			uint64_t end)
{
	pthread_mutex_lock(&p->lock);
	/* Making a file larger changes what lies between, too. */
	if (!f->known || (end == UINT64_MAX && f->size < begin))
		begin = f->known ? f->size : 0;
	*x = (struct page_change){ .next = f->changes,
				   .begin = begin,
				   .end = end,
				   .start = ++p->clock,
				   .resizes = !f->known || end > f->size,
				   .alone = true };
	for (struct page_change *y = f->changes; y; y = y->next)
		if (y->begin < end && begin < y->end)
			x->alone = y->alone = false;
	f->changes = x;
	f->changed = x->start;
	f->resizing += x->resizes;
	f->stamped = false;
	pages_drop_locked(p, f, begin, end);
	pthread_mutex_unlock(&p->lock);
}

/* What was written. */
static void store(struct pages *p, struct page_file *f, const struct page_outcome *o)
{
	const uint8_t *from = o->data;
	uint64_t at = o->offset, end = o->offset + o->len;

	while (at < end) {
		uint64_t stop = MIN(page_end(at), end);

		if (!pages_put(p, f, from + (at - o->offset), at, stop, false))
			return;
		at = stop;
	}
}

void pages_change_end(struct pages *p, struct page_file *f, struct page_change *x,
		      const struct page_outcome *o)
{
	struct page_change **at;

	pthread_mutex_lock(&p->lock);
	for (at = &f->changes; *at != x;)
		at = &(*at)->next;
	*at = x->next;
	f->changed = ++p->clock;
	f->resizing -= x->resizes;
	/* With `io`, nothing is being sent; what is dirty is older than the cut. */
	if (o->kind == PAGE_SIZE_IS)
		page_file_cut(p, f, o->size);
	/* What was fetched meanwhile may be from before, or from half way. */
	pages_drop_locked(p, f, x->begin, x->end);
	/* A change of any file that overlapped this one sees to it when it ends. */
	if (!x->alone) {
		if (x->resizes)
			f->known = false;
	} else if (f->known) {
		if (o->kind == PAGE_SIZE_IS) {
			f->size = f->server_size = o->size;
		} else if (o->kind == PAGE_SIZE_AT_LEAST) {
			f->size = MAX(f->size, o->size);
			f->server_size = MAX(f->server_size, o->size);
		} else if (x->resizes) {
			f->known = false;
		}
		if (f->known && o->data && !f->natives && !p->off)
			store(p, f, o);
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- of any file ---- */

uint64_t pages_any_begin(struct pages *p)
{
	uint64_t start;

	pthread_mutex_lock(&p->lock);
	p->any++;
	start = p->any_changed = ++p->clock;
	pthread_mutex_unlock(&p->lock);
	return start;
}

static void end_any(struct pages *p)
{
	p->any--;
	p->any_changed = ++p->clock;
	pthread_mutex_unlock(&p->lock);
}

void pages_any_end_nothing(struct pages *p)
{
	pthread_mutex_lock(&p->lock);
	end_any(p);
}

void pages_any_end_unknown(struct pages *p)
{
	pthread_mutex_lock(&p->lock);
	pages_doubt_all(p);
	end_any(p);
}

void pages_any_end(struct pages *p, uint64_t start, const Gofer__Attr *attr, uint64_t kept)
{
	struct page_file *f;

	pthread_mutex_lock(&p->lock);
	f = page_file_find(p, attr);
	/* Nothing is being sent; what is dirty is older than this. */
	if (f)
		page_file_cut(p, f, kept ? attr->size : 0);
	if (f && f->known && page_file_held(f) && p->any == 1 && p->any_changed == start &&
	    !f->changes && f->changed < start) {
		f->stamped = false;
		pages_drop_locked(p, f, MIN(MIN(kept, f->size), attr->size), UINT64_MAX);
		f->size = f->server_size = attr->size;
	} else if (f) {
		/* Also where nothing holds the number, so that it may be another file's by now. */
		page_file_doubt(p, f);
		page_file_release(p, f);
	}
	end_any(p);
}
