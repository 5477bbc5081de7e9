/*
 * pages.c - the page cache as a whole: its files, their life, and which bytes of them have frames.
 *
 * A page has a frame exactly while some of its bytes are valid.
 */
#include "client/cache/pages_state.h"

#include <string.h>

#include "client/cache/readahead.h"

/* ---- bytes ---- */

void pages_spoil(struct page_file *f, uint64_t begin, uint64_t end)
{
	for (struct page_fetch *x = f->fetches; x; x = x->next)
		if (x->begin < end && begin < x->end)
			x->spoiled = true;
}

/* Needs no memory where the range does not begin and end within one that is valid. */
static void invalidate(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end)
{
	p->ranges -= f->valid.n;
	interval_remove(&f->valid, begin, end);
	p->ranges += f->valid.n;
}

/* [begin, end) was valid. Gives those of its frames back that hold nothing valid any more. */
static void give_frames(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end)
{
	for (uint64_t at = page_begin(begin); at < end; at += FRAME_SIZE) {
		struct page_frame *frame;

		if (interval_meets(&f->valid, at, at + FRAME_SIZE))
			continue;
		frame = frames_find(p->frames, f, page_of(at));
		if (frame) {
			p->stats.wasted += frame->ahead;
			frames_give(p->frames, frame);
		}
	}
}

void pages_drop_locked(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end)
{
	struct interval v;

	pages_spoil(f, begin, end);
	/* Without memory for two ranges where there was one: all of them. */
	if (interval_reserve(&f->valid) < 0) {
		begin = 0;
		end = UINT64_MAX;
	}
	while (interval_next(&f->valid, begin, &v) && v.begin < end) {
		v.begin = MAX(v.begin, begin);
		v.end = MIN(v.end, end);
		invalidate(p, f, v.begin, v.end);
		give_frames(p, f, v.begin, v.end);
		begin = v.end;
	}
}

void pages_drop(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end)
{
	pthread_mutex_lock(&p->lock);
	pages_drop_locked(p, f, begin, end);
	pthread_mutex_unlock(&p->lock);
}

bool pages_put(struct pages *p, struct page_file *f, const uint8_t *from, uint64_t begin,
	       uint64_t end, bool ahead)
{
	struct page_frame *frame = frames_find(p->frames, f, page_of(begin));
	bool taken = !frame;

	if (taken)
		frame = frames_take(p->frames, f, page_of(begin));
	if (!frame)
		return false;
	if (interval_reserve(&f->valid) < 0) {
		if (taken)
			frames_give(p->frames, frame);
		return false;
	}
	if (taken)
		frame->ahead = ahead;
	memcpy(frames_data(p->frames, frame) + begin % FRAME_SIZE, from, end - begin);
	p->ranges -= f->valid.n;
	interval_add(&f->valid, begin, end);
	p->ranges += f->valid.n;
	/* Ranges cost memory, too: one for each frame is enough. */
	if (p->ranges > frames_room(p->frames))
		pages_drop_locked(p, f, page_begin(begin), page_end(begin));
	return true;
}

static bool evictable(void *userdata _unused_, const struct page_frame *frame)
{
	struct page_file *f = frame->owner;

	/* Taking a page out of the middle of a range needs one more. */
	return interval_reserve(&f->valid) == 0;
}

static void evicted(void *userdata, const struct page_frame *frame)
{
	struct pages *p = userdata;
	struct page_file *f = frame->owner;
	uint64_t begin = frame->page << FRAME_SHIFT;

	p->stats.evictions++;
	p->stats.wasted += frame->ahead;
	/* A reply that is under way may be older than what somebody has seen here. */
	pages_spoil(f, begin, begin + FRAME_SIZE);
	invalidate(p, f, begin, begin + FRAME_SIZE);
	page_file_release(p, f);
}

/* ---- life ---- */

int pages_new(uint64_t bytes, uint32_t idle, struct pages **ret_pages)
{
	struct pages *p = calloc(1, sizeof(*p));
	const struct frames_user user = { evictable, evicted, p };
	int r;

	if (!p)
		return -ENOMEM;
	p->files_size = 64;
	p->files = calloc(p->files_size, sizeof(struct page_file *));
	r = p->files ? frames_new(bytes ? bytes : (uint64_t)PAGES_BYTES, FRAMES_S3FIFO, &user,
				  &p->frames)
		     : -ENOMEM;
	if (r < 0) {
		free(p->files);
		free(p);
		return r;
	}
	pthread_mutex_init(&p->lock, NULL);
	p->idle_limit = MIN(idle, (uint32_t)PAGES_IDLE);
	*ret_pages = p;
	return 0;
}

static void page_file_free(struct page_file *f)
{
	while (f->handles) {
		struct page_handle *h = f->handles;

		f->handles = h->next;
		free(h);
	}
	interval_deinit(&f->valid);
	free(f);
}

void pages_free(struct pages *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->files_size; i++)
		while (p->files[i]) {
			struct page_file *f = p->files[i];

			p->files[i] = f->next;
			page_file_free(f);
		}
	frames_free(p->frames);
	free(p->files);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void pages_get_stats(struct pages *p, struct pages_stats *ret_stats)
{
	pthread_mutex_lock(&p->lock);
	*ret_stats = p->stats;
	ret_stats->bytes = (uint64_t)frames_count(p->frames) << FRAME_SHIFT;
	ret_stats->budget = (uint64_t)frames_room(p->frames) << FRAME_SHIFT;
	pthread_mutex_unlock(&p->lock);
}

uint64_t pages_ahead(const struct pages *p)
{
	/* Two windows at a time, in a queue that has a tenth of the room. */
	uint64_t bytes = (uint64_t)frames_room(p->frames) / 32 << FRAME_SHIFT;

	bytes &= ~(uint64_t)(READAHEAD_FIRST - 1);
	return MAX(MIN(bytes, (uint64_t)READAHEAD_MOST), (uint64_t)READAHEAD_FIRST);
}

uint64_t pages_clock(struct pages *p)
{
	uint64_t clock;

	pthread_mutex_lock(&p->lock);
	clock = p->clock;
	pthread_mutex_unlock(&p->lock);
	return clock;
}

/* ---- files ---- */

static struct page_file **chain(const struct pages *p, uint64_t dev, uint64_t ino)
{
	uint64_t h = (ino ^ dev << 32 ^ dev >> 32) * UINT64_C(0x9e3779b97f4a7c15);

	return &p->files[(h >> 32) & (p->files_size - 1)];
}

static bool same_file(const struct page_file *f, const Gofer__Attr *attr)
{
	return f->btime == attr->btime && f->btime_nsec == attr->btime_nsec;
}

/* By number. */
static struct page_file *find(const struct pages *p, const Gofer__Attr *attr)
{
	struct page_file *f = *chain(p, attr->dev, attr->ino);

	while (f && (f->ino != attr->ino || f->dev != attr->dev))
		f = f->next;
	return f;
}

struct page_file *page_file_find(const struct pages *p, const Gofer__Attr *attr)
{
	struct page_file *f = find(p, attr);

	return f && same_file(f, attr) ? f : NULL;
}

static void grow(struct pages *p)
{
	struct page_file **from = p->files, **to = calloc(2 * p->files_size, sizeof(*to));
	size_t old = p->files_size;

	/* Without memory chains get longer. */
	if (!to)
		return;
	p->files = to;
	p->files_size = 2 * old;
	for (size_t i = 0; i < old; i++)
		for (struct page_file *f = from[i], *next; f; f = next) {
			struct page_file **at = chain(p, f->dev, f->ino);

			next = f->next;
			f->next = *at;
			*at = f;
		}
	free(from);
}

static struct page_file *page_file_new(struct pages *p, const Gofer__Attr *attr)
{
	struct page_file *f = calloc(1, sizeof(*f)), **at;

	if (!f)
		return NULL;
	if (p->n_files >= p->files_size)
		grow(p);
	f->dev = attr->dev;
	f->ino = attr->ino;
	f->last_page = UINT64_MAX;
	f->changed = p->lost_change;
	at = chain(p, f->dev, f->ino);
	f->next = *at;
	*at = f;
	p->n_files++;
	return f;
}

void page_file_release(struct pages *p, struct page_file *f)
{
	struct page_file **at;

	if (f->refs || f->valid.n || f->handles)
		return;
	p->lost_change = MAX(p->lost_change, f->changed);
	for (at = chain(p, f->dev, f->ino); *at != f;)
		at = &(*at)->next;
	*at = f->next;
	p->n_files--;
	page_file_free(f);
}

void page_file_doubt(struct pages *p, struct page_file *f)
{
	f->known = f->stamped = false;
	pages_drop_locked(p, f, 0, UINT64_MAX);
}

void pages_doubt_all(struct pages *p)
{
	for (size_t i = 0; i < p->files_size; i++)
		for (struct page_file *f = p->files[i], *next; f; f = next) {
			next = f->next;
			page_file_doubt(p, f);
			page_file_release(p, f);
		}
}

/* Whether the server sent it after the last change that may be of this file. */
static bool is_news(const struct pages *p, const struct page_file *f, uint64_t since)
{
	return !p->any && p->any_changed <= since && !f->changes && f->changed <= since;
}

static void learn(struct page_file *f, const Gofer__Attr *attr)
{
	f->known = f->stamped = true;
	f->size = attr->size;
	f->mtime = attr->mtime;
	f->mtime_nsec = attr->mtime_nsec;
}

/* Whether all is as it was when it was seen last. */
static bool unchanged(const struct page_file *f, const Gofer__Attr *attr)
{
	return f->known && f->size == attr->size &&
	       (!f->stamped || (f->mtime == attr->mtime && f->mtime_nsec == attr->mtime_nsec));
}

int pages_open(struct pages *p, const Gofer__Attr *attr, uint64_t since,
	       struct page_file **ret_file)
{
	struct page_file *f;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	f = find(p, attr);
	if (!f)
		f = page_file_new(p, attr);
	if (!f) {
		r = -ENOMEM;
	} else if (f->refs || f->handles) {
		/* The same, unless the server's file system has no idea what a file is. */
		r = same_file(f, attr) ? 0 : -ESTALE;
		if (r == 0 && !f->known && is_news(p, f, since))
			learn(f, attr);
	} else {
		if (!same_file(f, attr) || !unchanged(f, attr)) {
			f->refs++;
			page_file_doubt(p, f);
			f->refs--;
		}
		f->btime = attr->btime;
		f->btime_nsec = attr->btime_nsec;
		if (is_news(p, f, since))
			learn(f, attr);
	}
	if (r == 0) {
		f->refs++;
		*ret_file = f;
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

struct page_file *pages_find(struct pages *p, const Gofer__Attr *attr)
{
	struct page_file *f;

	pthread_mutex_lock(&p->lock);
	f = page_file_find(p, attr);
	if (f)
		f->refs++;
	pthread_mutex_unlock(&p->lock);
	return f;
}

void pages_close(struct pages *p, struct page_file *f)
{
	if (!f)
		return;
	pthread_mutex_lock(&p->lock);
	f->refs--;
	page_file_release(p, f);
	pthread_mutex_unlock(&p->lock);
}

enum pages_usable pages_usable(struct pages *p, struct page_file *f)
{
	enum pages_usable usable;

	pthread_mutex_lock(&p->lock);
	usable = p->off || p->any || f->natives || f->resizing ? PAGES_NO
		 : f->known                                    ? PAGES_YES
							       : PAGES_ASK;
	pthread_mutex_unlock(&p->lock);
	return usable;
}

void pages_refresh(struct pages *p, struct page_file *f, const Gofer__Attr *attr, uint64_t since)
{
	pthread_mutex_lock(&p->lock);
	if (!f->known && is_news(p, f, since) && same_file(f, attr))
		learn(f, attr);
	pthread_mutex_unlock(&p->lock);
}

void pages_native(struct pages *p, struct page_file *f, bool begin)
{
	pthread_mutex_lock(&p->lock);
	f->natives += begin ? 1u : -1u;
	f->changed = ++p->clock;
	page_file_doubt(p, f);
	pthread_mutex_unlock(&p->lock);
}

void pages_native_forever(struct pages *p)
{
	pthread_mutex_lock(&p->lock);
	p->off = true;
	pages_doubt_all(p);
	pthread_mutex_unlock(&p->lock);
}

void pages_unlinked(struct pages *p, const Gofer__Attr *attr)
{
	struct page_file *f;

	pthread_mutex_lock(&p->lock);
	f = page_file_find(p, attr);
	if (f && !f->refs && !f->handles) {
		page_file_doubt(p, f);
		page_file_release(p, f);
	}
	pthread_mutex_unlock(&p->lock);
}
