/*
 * mapping_track.c - what was stored to mappings, and sending it.
 *
 * Protection is asynchronous: the kernel takes it off a page by itself when somebody stores to it, and nobody waits. It
 * survives in page tables whose page is not there (swapped out, or never touched by this mapping). So what is present and
 * not protected in a mapping is what was written, or what cannot be told from it: a page that the kernel took from a
 * page table after it was written has nothing left there.
 */
#include "client/mapping.h"
#include "client/mapping_kernel.h"

#include <string.h>
#include <sys/mman.h>

/* [begin, end) of the file, cut to the mapping, as addresses. */
static bool cut(const struct mapping *map, uint64_t begin, uint64_t end, struct interval *ret)
{
	begin = MAX(begin, map->offset);
	end = MIN(end, map->offset + map->len);
	if (begin >= end)
		return false;
	ret->begin = (uintptr_t)map->addr + (begin - map->offset);
	ret->end = ret->begin + (end - begin);
	return true;
}

void mapping_protect(struct mapping *map, uint64_t begin, uint64_t end)
{
	struct interval at;

	if (map->tracked && cut(map, begin, end, &at)) {
		struct uffdio_writeprotect w = { .range = { at.begin, at.end - at.begin },
						 .mode = UFFDIO_WRITEPROTECT_MODE_WP };

		/* What is not protected is taken for written. */
		(void)ioctl(map->store->mapper->uffd, UFFDIO_WRITEPROTECT, &w);
	}
}

/* ---- what was written ---- */

/* With the lock. [begin, end) of the file was written through the mapping. */
static int note_dirty(struct mapping *map, uint64_t begin, uint64_t end)
{
	struct store *s = map->store;
	int r;

	end = MIN(end, s->size);
	if (begin >= end)
		return 0;
	r = interval_reserve(&s->dirty);
	if (r == 0) {
		interval_add(&s->dirty, begin, end);
		mapping_protect(map, begin, store_page_up(s, end));
	}
	return r;
}

/* With the lock: what is not protected of [begin, end), which is present. */
static int collect_tracked(struct mapping *map, uint64_t begin, uint64_t end)
{
	struct page_region clean[64];
	struct interval at;
	uint64_t base;
	int r = 0;

	if (!cut(map, begin, end, &at))
		return 0;
	base = (uintptr_t)map->addr - map->offset;
	while (r == 0 && at.begin < at.end) {
		struct pm_scan_arg scan = {
			.size = sizeof(scan),
			.start = at.begin,
			.end = at.end,
			.vec = (uintptr_t)clean,
			.vec_len = ARRAY_SIZE(clean),
			.category_inverted = PAGE_IS_WRITTEN,
			.category_mask = PAGE_IS_WRITTEN,
			.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
			.return_mask = PAGE_IS_WRITTEN,
		};
		int n = ioctl(map->store->mapper->pagemap, PAGEMAP_SCAN, &scan);

		if (n < 0) {
			n = 0;
			scan.walk_end = at.end;
		}
		for (int i = 0; r == 0 && i < n; i++) {
			r = note_dirty(map, at.begin - base, clean[i].start - base);
			at.begin = clean[i].end;
		}
		if (r == 0)
			r = note_dirty(map, at.begin - base, scan.walk_end - base);
		at.begin = scan.walk_end;
	}
	return r;
}

int store_collect(struct store *s, uint64_t begin, uint64_t end)
{
	int r = 0;

	for (struct mapping *map = s->mappings; map && r == 0; map = map->next) {
		uint64_t from = MAX(begin, map->offset), to = MIN(end, map->offset + map->len);
		struct interval in;

		if (!map->writes)
			continue;
		for (; r == 0 && store_present(s, from, to, &in); from = in.end)
			r = map->tracked ? collect_tracked(map, in.begin, in.end)
					 : note_dirty(map, in.begin, in.end);
	}
	return r;
}

/* ---- sending ---- */

struct gofer_file *store_writer(const struct store *s)
{
	for (const struct mapping *map = s->mappings; map; map = map->next)
		if (map->writes)
			return map->file;
	return NULL;
}

/* With `io` to write, so that nothing of these can go. */
static int send_range(struct store *s, struct gofer_file *file, uint64_t begin, uint64_t end,
		      uint8_t *buf)
{
	ssize_t n = pread(s->fd, buf, end - begin, (off_t)begin);
	uint64_t ignored;
	int r;

	if (n < 0)
		return -errno;
	if ((uint64_t)n < end - begin)
		return -EIO;
	while (begin < end) {
		n = mapping_below_write(file, buf, end - begin, begin, &ignored);
		if (n <= 0)
			return n ? (int)n : -EIO;
		pthread_mutex_lock(&s->lock);
		r = interval_reserve(&s->dirty);
		if (r == 0)
			interval_remove(&s->dirty, begin, begin + (uint64_t)n);
		pthread_mutex_unlock(&s->lock);
		if (r < 0)
			return r;
		begin += (uint64_t)n;
		buf += n;
	}
	return 0;
}

static int flush(struct store *s, uint64_t begin, uint64_t end)
{
	_cleanup_free_ uint8_t *buf = NULL;
	int r;

	pthread_mutex_lock(&s->lock);
	r = store_collect(s, begin, end);
	pthread_mutex_unlock(&s->lock);
	while (r == 0) {
		struct gofer_file *file;
		struct interval in;
		bool found;

		pthread_mutex_lock(&s->lock);
		found = begin < end && interval_next(&s->dirty, begin, &in) && in.begin < end;
		file = store_writer(s);
		pthread_mutex_unlock(&s->lock);
		if (!found)
			break;
		if (!file)
			return -EBADF;
		begin = MAX(begin, in.begin);
		in.end = MIN(MIN(in.end, end), begin + MAPPING_CHUNK);
		if (!buf)
			buf = malloc(MAPPING_CHUNK);
		r = buf ? send_range(s, file, begin, in.end, buf) : -ENOMEM;
		begin = in.end;
	}
	return r;
}

int store_flush(struct store *s, uint64_t begin, uint64_t end)
{
	int r = flush(s, begin, end);

	pthread_mutex_lock(&s->lock);
	s->error = r;
	pthread_mutex_unlock(&s->lock);
	return r;
}
