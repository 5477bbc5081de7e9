/*
 * pages.h - the page cache: what a client knows of the contents of files that nobody else changes, and
 * what it has written that the server has not got yet.
 *
 * Mental model. One per session. A *page file* is an inode, as long as somebody has it open or bytes
 * of it are known. Of each, a set of bytes, to the byte, is *valid*: what is in the frames is the content.
 * A write needs no page to be read first; a read asks the server only for what is missing. What a program
 * writes may stay here for a while: then it is *dirty*, until it is *sent* and the server has said that it has it; the page stays
 * so long. What could not be written is dirty again.
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
 * Whose size it is. While it is *known*, this client's: what the server says of the file is not asked, and
 * where it is told, put right (pages_overlay()). What makes it unknown is a change of which nobody knows what it did. Then the server is
 * asked, and believed where no change and no Write of dirty pages has begun or ended since: its size, or the end of what it has not
 * got, whichever is larger.
 *
 * Whose number an inode has. While a handle of the server's is open, the number cannot go to another file.
 * What is kept without one is believed only if size and times are still those that were seen last. A file
 * that this client itself makes has another size, or comes as a change.
 *
 * Locks. `order` (pages_order()): held for writing by a change of any file, for reading by whatever else changes contents at the server, so that
 * what is sent meets no change by path; who has it for writing waits until what is on its way is answered. A file's `io` mutex: by who sends its dirty pages or changes it by handle, one after
 * another. Where nothing is ever dirty neither is taken. Then the session's lock; then the cache's own mutex,
 * innermost: nothing that sends or waits is called with it.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "gofer.pb-c.h"
#include "client/cache/cache.h"
#include "client/cache/interval.h"
#include "common/util.h"

struct pages;
struct page_file;
struct page_handle;

enum {
	PAGES_BYTES = 256 << 20,
	PAGES_AGE_MS = 5000,
	PAGES_IDLE = 256, /* handles kept open without a file that uses them */
};

struct pages_options {
	uint64_t bytes; /* of all pages; 0 = PAGES_BYTES */
	uint64_t
		dirty_bytes; /* of dirty ones: beyond, who writes waits; 0 = a quarter, at most half */
	uint32_t dirty_ms; /* how long they may lie; 0 = PAGES_AGE_MS */
	uint32_t idle;     /* handles, no more than PAGES_IDLE */
};
int pages_new(const struct pages_options *options, struct pages **ret_pages);
void pages_free(struct pages *p);

struct pages_stats {
	uint64_t hits, misses;  /* reads that needed no request, that did */
	uint64_t evictions;     /* pages */
	uint64_t ahead, wasted; /* pages read ahead that were used, that were given up unused */
	uint64_t sent;          /* Writes of dirty pages */
	uint64_t bytes, budget, dirty;
};
void pages_get_stats(struct pages *p, struct pages_stats *ret_stats);
/* How much may be read ahead for one reader at a time: so much of the cache that it does not push itself out. */
uint64_t pages_ahead(const struct pages *p);

/* ---- files (pages.c) ---- */
uint64_t pages_clock(struct pages *p);
/*
 * A reference to the file of these attributes, which the server sent after `since` on the clock. -ENOMEM. path: what it is called in messages.
 */
int pages_open(struct pages *p, const Gofer__Attr *attr, uint64_t since, const char *path,
	       struct page_file **ret_file);
/* ... if anything is known of it. NULL. */
struct page_file *pages_find(struct pages *p, const Gofer__Attr *attr);
void pages_close(struct pages *p, struct page_file *f);
void pages_number(const struct page_file *f, uint64_t *ret_dev, uint64_t *ret_ino);
/* Whether it may be read from here now; ASK: if its size is asked for, and pages_refresh() told. */
enum pages_usable { PAGES_NO, PAGES_YES, PAGES_ASK };
enum pages_usable pages_usable(struct pages *p, struct page_file *f);
void pages_refresh(struct pages *p, struct page_file *f, const Gofer__Attr *attr, uint64_t since);
/*
 * The attributes as this client's programs must see them, who may have written what the server has not got. False where the server may have sent
 * them before a change that was answered meanwhile (since: the clock when it was asked), so that nobody knows what they are worth: ask again.
 */
bool pages_overlay(struct pages *p, Gofer__Attr *attr, uint64_t since);
/* A descriptor by which it is used, and may be written to, unheard; ... of which nobody says when it is closed: to write by, or only to read by. */
void pages_native(struct pages *p, struct page_file *f, bool begin);
void pages_native_forever(struct pages *p);
void pages_through_forever(struct pages *p);
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
	_Atomic bool done; /* set with the session's lock; then these hold: */
	int result;        /* 0 or -errno */
	size_t len;        /* of what came */
	uint8_t data[];
};
/*
 * Copies what is there from `offset` on. Returns how much; where that is less than size, ret_miss is
 * the range to fetch, empty at the end of the file, and *ret_fetch (NULL or a reference) what is under way for its first byte.
 * -ESTALE where the size is not known any more. once: the pages will not be used again.
 */
ssize_t pages_read(struct pages *p, struct page_file *f, void *buf, size_t size, uint64_t offset,
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
	bool ordered; /* the user's */
};
/* [begin, end) of the file; end UINT64_MAX: and its size, to `begin` or to what nobody knows before. Nothing is written into the cache meanwhile. */
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

/* ---- what the server has not got (pages_dirty.c) ---- */
pthread_rwlock_t *pages_order(struct pages *p);
pthread_mutex_t *pages_io(struct page_file *f);
/*
 * Writes into the cache: dirty. Returns how much; less than size where the rest cannot wait here (its size is not known, others use
 * the file, a change is in flight, or there is no room).
 */
size_t pages_write(struct pages *p, struct page_file *f, const void *buf, size_t size,
		   uint64_t offset);
bool pages_is_dirty(struct pages *p, struct page_file *f);
bool pages_any_dirty(struct pages *p);
/* Whether what the server said of these attributes' file after `since` may be older than what was written. */
bool pages_is_behind(struct pages *p, const Gofer__Attr *attr, uint64_t since);
/* Whether dirty pages have to be sent before this file gets `more` bytes of them. */
bool pages_over_limit(struct pages *p, struct page_file *f, size_t more);

/* One Write of dirty pages. */
struct page_send {
	struct page_send *next; /* of the file */
	struct page_file *file; /* these two are the send's until its reply came */
	struct page_handle *through;
	void *userdata;
	struct cache_op op;
	uint64_t begin, end;
	bool failed; /* it could not even be noted that this is dirty again */
	uint8_t data[];
};
/*
 * With `io`: the next range at or behind *at that is dirty and not under way, at most `room` bytes, is sent from now on; *at where it ends. 0 with
 * *ret_send NULL where there is none; -ENOMEM; -EBADF where no handle may write; -EBUSY while a change that nobody waits for
 * any more may still come.
 */
int pages_send(struct pages *p, struct page_file *f, uint64_t *at, size_t room,
	       struct page_send **ret_send);
/* What came of it: `done` bytes are there (result 0), or -errno. Frees it; the file and the handle are the caller's. */
void pages_sent(struct pages *p, struct page_send *x, int result, uint64_t done);
/* True while nothing is under way: of the file, of any. */
const _Atomic bool *pages_quiet(const struct page_file *f);
const _Atomic bool *pages_all_quiet(const struct pages *p);
/* Where sending has to go on from that was taken only in part, since it was asked last: UINT64_MAX, or there. */
uint64_t pages_rest(struct pages *p, struct page_file *f);
/* Errors are counted; who remembers a count learns what failed since, once. 0 or -errno. */
uint64_t pages_errors(struct pages *p, struct page_file *f);
int pages_error_since(struct pages *p, struct page_file *f, uint64_t *seen);
/* Between the two a change may still come that nobody waits for any more: nothing is sent, lest older bytes come last. */
void pages_late(struct pages *p, bool begin);

/*
 * For the one who sends in the background: waits until something is due, or until `ms` have passed. A reference to a file; NULL.
 * pages_next_dirty(): any that is dirty and comes after *turn (0 at first), without waiting.
 */
struct page_file *pages_wait_due(struct pages *p, unsigned ms, bool *ret_stop);
/*
 * Memory that may be stored to unheard is to be looked at, when it may be as old as pages: then that wait ends. pages_look_due() tells, once; again: also
 * the next time.
 */
void pages_look_begin(struct pages *p);
bool pages_look_due(struct pages *p, bool again);
struct page_file *pages_next_dirty(struct pages *p, uint64_t *turn);
void pages_stop(struct pages *p);

struct page_risk {
	uint64_t dev, ino, offset, length;
	int error;  /* of the last attempt, 0 before the first */
	char *path; /* malloc'ed */
};
/* Every range that the server has not got: malloc'ed. -ENOMEM. */
int pages_at_risk(struct pages *p, struct page_risk **ret_risks, size_t *ret_n);
void pages_risks_free(struct page_risk *risks, size_t n);

/* ---- handles of the server (pages_handle.c) ---- */
/*
 * One handle serves every file that was opened for nothing but reading, of the same inode, filesystem
 * and identity. It stays open for a while when nobody uses it any more: opening the file again then
 * costs no request.
 */
/* With another user; NULL where there is none. */
struct page_handle *pages_handle_get(struct pages *p, struct page_file *f, uint32_t fs_id,
				     uint32_t identity);
/* Takes over a handle with its first user; NULL without memory. shares: for any number of users, and kept. writes: dirty pages may go by it. */
struct page_handle *pages_handle_add(struct pages *p, struct page_file *f, uint64_t handle,
				     uint32_t fs_id, uint32_t identity, bool shares, bool writes);
uint64_t pages_handle_number(const struct page_handle *h);
/* Returns how many handles are to be closed now. One by which dirty pages may go stays while there are any. */
size_t pages_handle_put(struct pages *p, struct page_handle *h, uint64_t ret_close[2]);
/* How many files that may write dirty pages are open. */
size_t pages_writers(struct pages *p, struct page_file *f);
/* The next handle that was kept for dirty pages only, where there are none any more; 0. */
uint64_t pages_handle_done(struct pages *p, struct page_file *f);
/* The next handle that nobody uses, of the inode, or with attr NULL of any, is to be closed now: 0 where there is none. */
uint64_t pages_handle_idle(struct pages *p, const Gofer__Attr *attr);
