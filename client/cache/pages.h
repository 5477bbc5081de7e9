/*
 * pages.h - the page cache: what a client knows of the contents of files that nobody else changes.
 *
 * Mental model. One per session. A *page file* is an inode, as long as somebody has it open or bytes
 * of it are known. Of each, a set of bytes, to the byte, is *valid*: what is in the frames is the content.
 * A write needs no page to be read first; a read asks the server only for what is missing.
 *
 * When a claim may be made. Requests overlap, and nobody knows in which order the server executes two that
 * are in flight together. So whatever changes contents is a *change* from before it is sent until its
 * reply is there. By handle it changes a range of one file; by path (truncate, O_TRUNC, WriteFile), or where nobody says what it
 * does (a program's own requests, one that nobody waits for any more), any file. Meanwhile nothing of that range is
 * valid, and what is fetched of it is shown to who asked and not kept; while a change of any file is in flight, nothing at all
 * is answered from here. A change that overlapped no other says what is valid afterwards. Where one did, nothing is claimed; if
 * it was about the size, that is asked for again. A clock that each beginning and end of a change moves on tells what
 * overlapped.
 *
 * A *fetch* is registered before its Read is sent. What makes its reply older than what is known (a change
 * of its range, the loss of a page of it) spoils it: who asked gets its bytes, since their call overlapped the change;
 * they are not kept.
 *
 * Whose number an inode has. While a handle of the server's is open, the number cannot go to another file.
 * What is kept without one is believed only if size and times are still those that were seen last. A file
 * that this client itself makes has another size, or comes as a change.
 *
 * Locks: one mutex, innermost: nothing that sends or waits is called with it.
 */
#pragma once

#include "gofer.pb-c.h"
#include "client/cache/interval.h"
#include "common/util.h"

struct pages;
struct page_file;
struct page_handle;

enum {
	PAGES_BYTES = 256 << 20,
	PAGES_IDLE = 256, /* handles kept open without a file that uses them */
};

/* bytes: of all pages, 0 = PAGES_BYTES. idle: handles, no more than PAGES_IDLE. -errno. */
int pages_new(uint64_t bytes, uint32_t idle, struct pages **ret_pages);
void pages_free(struct pages *p);

struct pages_stats {
	uint64_t hits, misses;  /* reads that needed no request, that did */
	uint64_t evictions;     /* pages */
	uint64_t ahead, wasted; /* pages read ahead that were used, that were given up unused */
	uint64_t bytes, budget;
};
void pages_get_stats(struct pages *p, struct pages_stats *ret_stats);
/* How much may be read ahead for one reader at a time: so much of the cache that it does not push itself out. */
uint64_t pages_ahead(const struct pages *p);

/* ---- files (pages.c) ---- */
uint64_t pages_clock(struct pages *p);
/*
 * A reference to the file of these attributes, which the server sent after `since` on the clock. -ENOMEM; -ESTALE where it has
 * given the number of a file that is open here to another one.
 */
int pages_open(struct pages *p, const Gofer__Attr *attr, uint64_t since,
	       struct page_file **ret_file);
/* ... if anything is known of it. NULL. */
struct page_file *pages_find(struct pages *p, const Gofer__Attr *attr);
void pages_close(struct pages *p, struct page_file *f);
/* Whether it may be read from here now; ASK: if its size is asked for, and pages_refresh() told. */
enum pages_usable { PAGES_NO, PAGES_YES, PAGES_ASK };
enum pages_usable pages_usable(struct pages *p, struct page_file *f);
void pages_refresh(struct pages *p, struct page_file *f, const Gofer__Attr *attr, uint64_t since);
/* A descriptor by which it is written to unheard; ... of which nobody says when it is closed. */
void pages_native(struct pages *p, struct page_file *f, bool begin);
void pages_native_forever(struct pages *p);
/* It has lost a name, and with that maybe its last. */
void pages_unlinked(struct pages *p, const Gofer__Attr *attr);

/* ---- reading (pages_read.c) ---- */
struct page_fetch {
	struct page_fetch *next; /* of its file */
	struct page_file *file;  /* these two are the fetch's until its reply came */
	struct page_handle *through;
	void *userdata;
	uint64_t begin, end;
	uint64_t wanted; /* what lies behind was not asked for yet */
	uint64_t start;  /* on the clock */
	unsigned refs;
	bool spoiled;
	bool done;  /* guarded by the session's lock, as are: */
	int result; /* 0 or -errno */
	size_t len; /* of what came */
	uint8_t data[];
};
/*
 * Copies what is there from `offset` on. Returns how much; where that is less than size, ret_miss is
 * the range to fetch, empty at the end of the file, and *ret_fetch (NULL or a reference) what is under way for its first byte.
 * once: the pages will not be used again.
 */
size_t pages_read(struct pages *p, struct page_file *f, void *buf, size_t size, uint64_t offset,
		  bool once, struct interval *ret_miss, struct page_fetch **ret_fetch);
/* The first range of whole pages in [begin, end) that is neither there nor under way, as far as the file goes. */
bool pages_missing(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end,
		   struct interval *ret);
/* Registers one of [begin, end), by a handle with another user for it. Two references. NULL without memory. */
struct page_fetch *pages_fetch(struct pages *p, struct page_file *f, struct page_handle *through,
			       uint64_t begin, uint64_t end, uint64_t wanted);
/* What came of it. Gives up one reference; the file and the handle are the caller's from now on. */
void pages_fetched(struct pages *p, struct page_fetch *x, int result, size_t len);
void pages_fetch_unref(struct pages *p, struct page_fetch *x);
/* Whatever is known of [begin, end) is forgotten. */
void pages_drop(struct pages *p, struct page_file *f, uint64_t begin, uint64_t end);

/* ---- changing (pages_change.c) ---- */
struct page_change {
	struct page_change *next; /* of the file */
	uint64_t begin, end, start;
	bool resizes, alone;
};
/* [begin, end) of the file; end UINT64_MAX: and its size, to `begin` or to what nobody knows before. */
void pages_change_begin(struct pages *p, struct page_file *f, struct page_change *x, uint64_t begin,
			uint64_t end);
enum page_size { PAGE_SIZE_UNKNOWN, PAGE_SIZE_AT_LEAST, PAGE_SIZE_IS };
/* What is known of it afterwards: of the size, and of `len` bytes at `offset`. */
struct page_outcome {
	enum page_size kind;
	uint64_t size;
	const void *data;
	size_t len;
	uint64_t offset;
};
void pages_change_end(struct pages *p, struct page_file *f, struct page_change *x,
		      const struct page_outcome *outcome);

/* Of any file. Returns the clock. */
uint64_t pages_any_begin(struct pages *p);
/* It changed nothing; what nobody knows; this file, of which all that lies before `kept` and the end is as it was. */
void pages_any_end_nothing(struct pages *p);
void pages_any_end_unknown(struct pages *p);
void pages_any_end(struct pages *p, uint64_t start, const Gofer__Attr *attr, uint64_t kept);

/* ---- handles of the server (pages_handle.c) ---- */
/*
 * One handle serves every file that was opened for nothing but reading, of the same inode, filesystem
 * and identity. It stays open for a while when nobody uses it any more: opening the file again then
 * costs no request.
 */
/* With another user; NULL where there is none. */
struct page_handle *pages_handle_get(struct pages *p, struct page_file *f, uint32_t fs_id,
				     uint32_t identity);
/* Takes over a handle with its first user; NULL without memory. shares: for any number of users, and kept. */
struct page_handle *pages_handle_add(struct pages *p, struct page_file *f, uint64_t handle,
				     uint32_t fs_id, uint32_t identity, bool shares);
uint64_t pages_handle_number(const struct page_handle *h);
/* Returns how many handles are to be closed now. */
size_t pages_handle_put(struct pages *p, struct page_handle *h, uint64_t ret_close[2]);
/* The next handle that nobody uses, of the inode, or with attr NULL of any, is to be closed now: 0 where there is none. */
uint64_t pages_handle_idle(struct pages *p, const Gofer__Attr *attr);
