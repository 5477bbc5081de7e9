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
	struct interval v, keep;

	pages_spoil(f, begin, end);
	while (begin < end && interval_next(&f->valid, begin, &v) && v.begin < end) {
		v.begin = MAX(v.begin, begin);
		v.end = MIN(v.end, end);
		begin = v.end;
		/* Not what the server has not got. */
		if (page_file_at_risk(f, v.begin, &keep) && keep.begin < v.end) {
			begin = keep.end;
			v.end = keep.begin;
		}
		if (v.begin >= v.end)
			continue;
		if (interval_reserve(&f->valid) < 0) {
			/* Two ranges where there was one take memory: without it, nothing of the file is used any more. */
			f->natives++;
			return;
		}
		invalidate(p, f, v.begin, v.end);
		give_frames(p, f, v.begin, v.end);
	}
}

void pages_drop(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end)
{
	pthread_mutex_lock(&p->lock);
	pages_drop_locked(p, f, begin, end);
	pthread_mutex_unlock(&p->lock);
}

struct page_frame *pages_put(struct pages *p, struct page_file *f, const uint8_t *from,
			     uint64_t begin, uint64_t end, bool ahead)
{
	struct page_frame *frame = frames_find(p->frames, f, page_of(begin));
	bool taken = !frame;

	if (taken)
		frame = frames_take(p->frames, f, page_of(begin));
	if (!frame)
		return NULL;
	/* Ranges cost memory, too: one for each frame is enough. */
	if (p->ranges > frames_room(p->frames) || interval_reserve(&f->valid) < 0) {
		if (taken)
			frames_give(p->frames, frame);
		return NULL;
	}
	if (taken)
		frame->ahead = ahead;
	memcpy(frames_data(p->frames, frame) + begin % FRAME_SIZE, from, end - begin);
	p->ranges -= f->valid.n;
	interval_add(&f->valid, begin, end);
	p->ranges += f->valid.n;
	return frame;
}

static bool evictable(void *userdata _unused_, const struct page_frame *frame)
{
	struct page_file *f = frame->owner;

	/* Taking a page out of the middle of a range needs one more. */
	return !frame->dirty && interval_reserve(&f->valid) == 0;
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

int pages_new(const struct pages_options *o, struct pages **ret_pages)
{
	pthread_rwlockattr_t attr;
	size_t dirty;
	struct pages *p = calloc(1, sizeof(*p));
	const struct frames_user user = { evictable, evicted, p };
	int r;

	if (!p)
		return -ENOMEM;
	p->files_size = 64;
	p->files = calloc(p->files_size, sizeof(struct page_file *));
	r = p->files ? frames_new(o->bytes ? o->bytes : (uint64_t)PAGES_BYTES, FRAMES_S3FIFO, &user,
				  &p->frames)
		     : -ENOMEM;
	if (r < 0) {
		free(p->files);
		free(p);
		return r;
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	/* Who changes by path waits for what is being sent, not for what may be sent next. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&p->order, &attr);
	pthread_rwlockattr_destroy(&attr);
	p->quiet = true;
	p->idle_limit = MIN(o->idle, (uint32_t)PAGES_IDLE);
	dirty = (size_t)MIN((o->dirty_bytes + FRAME_SIZE - 1) >> FRAME_SHIFT, (uint64_t)1 << 40);
	p->dirty_limit =
		dirty ? MIN(dirty, frames_room(p->frames) / 2) : frames_room(p->frames) / 4;
	p->age = (uint64_t)(o->dirty_ms ? o->dirty_ms : (uint32_t)PAGES_AGE_MS) * 1000000;
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
	while (f->sends) {
		struct page_send *x = f->sends;

		f->sends = x->next;
		free(x);
	}
	interval_deinit(&f->valid);
	interval_deinit(&f->dirty);
	pthread_mutex_destroy(&f->io);
	free(f->path);
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
	pthread_rwlock_destroy(&p->order);
	free(p);
}

void pages_get_stats(struct pages *p, struct pages_stats *ret_stats)
{
	pthread_mutex_lock(&p->lock);
	*ret_stats = p->stats;
	ret_stats->bytes = (uint64_t)frames_count(p->frames) << FRAME_SHIFT;
	ret_stats->budget = (uint64_t)frames_room(p->frames) << FRAME_SHIFT;
	ret_stats->dirty = (uint64_t)p->dirty_frames << FRAME_SHIFT;
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

struct page_file *page_file_find(const struct pages *p, const Gofer__Attr *attr)
{
	struct page_file *f = *chain(p, attr->dev, attr->ino);

	while (f && (f->ino != attr->ino || f->dev != attr->dev || !same_file(f, attr)))
		f = f->next;
	return f;
}

/* What had the number before is gone, unless somebody uses it still: that is another file, then. */
static void forget_others(struct pages *p, const Gofer__Attr *attr)
{
	struct page_file *f = *chain(p, attr->dev, attr->ino), *next;

	for (; f; f = next) {
		next = f->next;
		if (f->ino != attr->ino || f->dev != attr->dev || same_file(f, attr) ||
		    page_file_held(f))
			continue;
		page_file_doubt(p, f);
		page_file_release(p, f);
	}
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
	f->btime = attr->btime;
	f->btime_nsec = attr->btime_nsec;
	f->last_page = UINT64_MAX;
	f->changed = p->lost_change;
	f->quiet = true;
	f->rest = UINT64_MAX;
	pthread_mutex_init(&f->io, NULL);
	at = chain(p, f->dev, f->ino);
	f->next = *at;
	*at = f;
	p->n_files++;
	return f;
}

void page_file_release(struct pages *p, struct page_file *f)
{
	struct page_file **at;

	if (f->refs || f->valid.n || f->handles || f->listed)
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
	return !p->any && p->any_changed <= since && !f->changes && !f->sends &&
	       f->changed <= since;
}

static void learn(struct page_file *f, const Gofer__Attr *attr)
{
	struct interval risk;
	uint64_t end = 0;

	while (page_file_at_risk(f, end, &risk))
		end = risk.end;
	f->known = f->stamped = true;
	f->server_size = attr->size;
	f->size = MAX(attr->size, end);
	f->mtime = attr->mtime;
	f->mtime_nsec = attr->mtime_nsec;
}

/* Whether all is as it was when it was seen last. */
static bool unchanged(const struct page_file *f, const Gofer__Attr *attr)
{
	return f->known && f->size == attr->size &&
	       (!f->stamped || (f->mtime == attr->mtime && f->mtime_nsec == attr->mtime_nsec));
}

int pages_open(struct pages *p, const Gofer__Attr *attr, uint64_t since, const char *path,
	       struct page_file **ret_file)
{
	struct page_file *f;
	int r = 0;

	pthread_mutex_lock(&p->lock);
	forget_others(p, attr);
	f = page_file_find(p, attr);
	if (!f)
		f = page_file_new(p, attr);
	if (!f) {
		r = -ENOMEM;
	} else if (page_file_held(f)) {
		if (!f->known && is_news(p, f, since))
			learn(f, attr);
	} else {
		if (!unchanged(f, attr)) {
			f->refs++;
			page_file_doubt(p, f);
			f->refs--;
		}
		if (is_news(p, f, since))
			learn(f, attr);
	}
	if (r == 0) {
		f->refs++;
		if (!f->path)
			f->path = strdup(path);
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

void pages_number(const struct page_file *f, uint64_t *ret_dev, uint64_t *ret_ino)
{
	*ret_dev = f->dev;
	*ret_ino = f->ino;
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

/* Whether the last change was before that. */
static bool is_earlier(const Gofer__Attr *attr, const struct timespec *ts)
{
	return attr->mtime < ts->tv_sec ||
	       (attr->mtime == ts->tv_sec && attr->mtime_nsec < (uint32_t)ts->tv_nsec);
}

bool pages_overlay(struct pages *p, Gofer__Attr *attr, uint64_t since)
{
	const struct page_file *f;
	struct interval risk;
	uint64_t end = 0;
	bool news, ours;

	pthread_mutex_lock(&p->lock);
	f = page_file_find(p, attr);
	while (f && page_file_at_risk(f, end, &risk))
		end = risk.end;
	news = f ? f->changed <= since : p->lost_change <= since;
	/* Then the size is what this client made it, whatever the server knew when it was asked. */
	ours = f && f->handles && f->known && f->wrote.tv_sec && !p->any && !f->resizing &&
	       !f->natives;
	if (end || (ours && !news && is_earlier(attr, &f->wrote))) {
		attr->mtime = attr->ctime = f->wrote.tv_sec;
		attr->mtime_nsec = attr->ctime_nsec = (uint32_t)f->wrote.tv_nsec;
	}
	if (ours)
		attr->size = f->size;
	else if (end && news)
		attr->size = MAX(attr->size, end);
	pthread_mutex_unlock(&p->lock);
	return news || ours;
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

void pages_through_forever(struct pages *p)
{
	pthread_mutex_lock(&p->lock);
	p->through = true;
	pthread_mutex_unlock(&p->lock);
}

void pages_unlinked(struct pages *p, const Gofer__Attr *attr)
{
	struct page_file *f;

	pthread_mutex_lock(&p->lock);
	f = page_file_find(p, attr);
	if (f && !page_file_held(f)) {
		page_file_doubt(p, f);
		page_file_release(p, f);
	}
	pthread_mutex_unlock(&p->lock);
}
