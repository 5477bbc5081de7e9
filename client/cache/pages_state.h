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
	bool known; /* the sizes hold */
	/* As this client's programs see it, and what the server has: what lies between and is not valid is a hole. */
	uint64_t size, server_size;
	/* The time of the last change that the server told, while none came after. */
	bool stamped;
	int64_t mtime;
	uint32_t mtime_nsec;
	struct interval_set valid, dirty;
	struct page_send *sends;
	_Atomic bool quiet;
	uint64_t rest;         /* see pages_rest() */
	struct timespec wrote; /* when something became dirty last */
	pthread_mutex_t io;
	/* in the list of files that are dirty or being sent */
	struct page_file *prev_dirty, *next_dirty;
	bool listed;
	uint64_t due, turn;
	uint64_t picked; /* when it was sent in the background last */
	int error;       /* of the last attempt to send; 0 once that worked */
	int last_error;
	uint64_t errors;
	char *path;
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
	bool shares, writes;
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
	bool off, through;
	/* dirty pages */
	pthread_rwlock_t order;
	pthread_cond_t wake; /* of who sends in the background */
	bool stop;
	struct page_file *first_dirty, *last_dirty;
	uint64_t turns;
	size_t dirty_frames, dirty_limit;
	size_t sending; /* Writes of dirty pages in flight, of all files */
	_Atomic bool quiet;
	uint64_t look; /* when memory is looked at next; 0: there is none */
	uint64_t age;  /* ns */
	unsigned late; /* changes that nobody waits for any more */
	struct page_handle *newest_idle, *oldest_idle;
	size_t n_idle, idle_limit;
	struct pages_stats stats;
};

/* Whether the file is open at the server or here, so that its number is nobody else's. A reference alone holds nothing. */
static inline bool page_file_held(const struct page_file *f)
{
	return f->handles || f->natives;
}

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
/* Forgets what is clean. */
void pages_drop_locked(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end);
/* Makes bytes of one page valid. NULL where there is no room. */
struct page_frame *pages_put(struct pages *p, struct page_file *f, const uint8_t *from,
			     uint64_t begin, uint64_t end, bool ahead);

/* ---- pages_dirty.c ---- */
/* The first byte at or behind `at` that the server has not got, and where such bytes end. */
bool page_file_at_risk(const struct page_file *f, uint64_t at, struct interval *ret);
/* What lies at and behind `size` is not dirty any more. */
void page_file_cut(struct pages *p, struct page_file *f, uint64_t size);
