/*
 * pages_state.h - private to the page cache. All of it is guarded by the cache's lock.
 */
#pragma once

#include <pthread.h>

#include "client/cache/frames.h"
#include "client/cache/pages.h"

struct page_file {
	struct page_file *next; /* of its hash chain */
	uint64_t dev, ino;
	int64_t btime;
	uint32_t btime_nsec;
	unsigned refs, natives;
	bool known; /* size holds */
	uint64_t size;
	/* The time of the last change that the server told, while none came after. */
	bool stamped;
	int64_t mtime;
	uint32_t mtime_nsec;
	struct interval_set valid;
	struct page_fetch *fetches;
	struct page_change *changes; /* in flight */
	unsigned resizing;           /* ... of which so many may change the size */
	uint64_t changed;            /* when one began or ended last */
	uint64_t last_page;          /* that was read */
	struct page_handle *handles;
};

struct page_handle {
	struct page_handle *next; /* of the file */
	struct page_handle *newer, *older;
	struct page_file *file;
	uint64_t handle;
	uint32_t fs_id, identity;
	bool shares;
	unsigned users;
};

struct pages {
	pthread_mutex_t lock;
	struct frames *frames;
	struct page_file **files;
	size_t n_files, files_size;
	size_t ranges; /* in all files' sets */
	uint64_t clock;
	unsigned any;         /* changes of any file in flight */
	uint64_t any_changed; /* when one began or ended last */
	uint64_t lost_change; /* ... or one of a file that is forgotten by now */
	bool off;
	struct page_handle *newest_idle, *oldest_idle;
	size_t n_idle, idle_limit;
	struct pages_stats stats;
};

static inline uint64_t page_of(uint64_t offset)
{
	return offset >> FRAME_SHIFT;
}

static inline uint64_t page_begin(uint64_t offset)
{
	return offset & ~(uint64_t)(FRAME_SIZE - 1);
}

static inline uint64_t page_end(uint64_t offset)
{
	return page_begin(offset) + FRAME_SIZE;
}

/* ---- pages.c ---- */
/* Frees the file if nothing needs it. */
void page_file_release(struct pages *p, struct page_file *f);
/* NULL also where the number is another file's. */
struct page_file *page_file_find(const struct pages *p, const Gofer__Attr *attr);
/* Nothing is known of it any more. */
void page_file_doubt(struct pages *p, struct page_file *f);
void pages_doubt_all(struct pages *p);
void pages_spoil(struct page_file *f, uint64_t begin, uint64_t end);
void pages_drop_locked(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end);
/* Makes bytes of one page valid. False where there is no room. */
bool pages_put(struct pages *p, struct page_file *f, const uint8_t *from, uint64_t begin,
	       uint64_t end, bool ahead);
