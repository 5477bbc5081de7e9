/*
 * frames.h - the memory of the page cache: frames of one page each in a sealed memfd, found by
 * (owner, page), and which of them to give up when all are in use.
 *
 * Not locked: its user's lock guards it.
 */
#pragma once

#include "common/util.h"

enum { FRAME_SHIFT = 12, FRAME_SIZE = 1 << FRAME_SHIFT, FRAMES_MIN = 64 };

enum frames_policy {
	FRAMES_S3FIFO,
	FRAMES_LRU, /* to compare with */
};

struct page_frame {
	void *owner;   /* NULL: free */
	uint64_t page; /* of the owner */
	uint32_t next; /* of its hash chain, or of the free ones */
	uint32_t newer, older;
	uint8_t queue, uses;
	bool ahead; /* read before anybody asked, and not used yet */
	bool dirty; /* the user's: not to be given up */
};

struct frames;

/*
 * evictable: whether the page may be given up now; evicted: it is gone. Neither may call back here.
 */
struct frames_user {
	bool (*evictable)(void *userdata, const struct page_frame *f);
	void (*evicted)(void *userdata, const struct page_frame *f);
	void *userdata;
};

/* Room for `bytes`, at least FRAMES_MIN frames. Memory is taken as it is used. -errno. */
int frames_new(uint64_t bytes, enum frames_policy policy, const struct frames_user *user,
	       struct frames **ret_frames);
void frames_free(struct frames *s);

/* NULL where the page is not there. Looking is no use of it. */
struct page_frame *frames_find(const struct frames *s, const void *owner, uint64_t page);
/* A frame for a page that has none; what is in it is whatever was. NULL where nothing can be given up. */
struct page_frame *frames_take(struct frames *s, void *owner, uint64_t page);
void frames_use(struct frames *s, struct page_frame *f);
/* The page is not wanted any more. */
void frames_give(struct frames *s, struct page_frame *f);
uint8_t *frames_data(const struct frames *s, const struct page_frame *f);
size_t frames_count(const struct frames *s); /* in use */
size_t frames_room(const struct frames *s);  /* in all */
