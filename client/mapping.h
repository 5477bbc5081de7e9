/*
 * mapping.h - inside libgofer: files in memory.
 *
 * Mental model. A file that has a donated descriptor is mapped by the kernel; we only note where. Of any other, the
 * pages that mappings have touched are in a memfd of its own, its *store*, which is as long as the file:
 * all mappings of the file map that, so that they share memory as mappings do, private ones copy on write, and beyond
 * the end there is SIGBUS, all by the kernel. A page of the store is *present* if its memory is what the file holds. Reading
 * and writing by handle use the store for what is present, and go on to the page cache, or to the server, for the rest;
 * so does filling the store. A change by handle is made there first and then in the store, with the store
 * locked against everything else that asks the server.
 *
 * How pages come: userfaultfd stops who touches a page that is not in the memfd, and a thread (mapping_fault.c) fills it. Where that
 * is not to be had (see MAPPING_WHOLE) a mapping's range is read before anybody sees it.
 *
 * How they go back: stores go to the memory alone. Which pages were stored to is what write protection by userfaultfd
 * tells (mapping_track.c): a page that is not protected was, or may have been. Each is protected before its memory
 * becomes present, and again before it is sent. Where that is not to be had, whatever is present and can be stored to is sent. They go
 * when somebody asks for it (msync, fsync, munmap); in mode exclusive also by age, into the page cache, whose business they are then (mapping_age.c).
 *
 * Pages that can be stored to stay until they are unmapped; others may be given up for others (store_trim()).
 *
 * Who waits for a page waits for the thread, which waits for the server, with locks of the session and of the store. So nobody may
 * touch the memory of a mapping who has one of those, or while he receives for others: what is read or written to or
 * from such memory goes through a buffer (mapping_bounce.c).
 *
 * Locks, in this order: mapper->lock; store->io, to write for whoever changes the file's contents, to read for who relies on
 * them while he asks the server; store->lock, which nobody holds who asks anything.
 */
#pragma once

#include <stdatomic.h>

#include "client/cache/interval.h"
#include "client/file.h"
#include "client/mapping_limits.h"

enum {
	/* A mapping of no more is read whole, if faults of system calls are not to be had; a larger one
	 * only comes page by page. */
	MAPPING_WHOLE = 64 << 20,
	MAPPING_BUDGET = 256 << 20, /* of pages that can be given up */
	MAPPING_CHUNK = 1 << 20,    /* read or written at a time */
	MAPPING_WINDOW = 2 << 20,
};

struct store;

/*
 * Addresses, of mappings that were born before: who unmaps may not take what others get at the same place as soon as it is
 * free.
 */
struct range {
	uintptr_t begin, end;
	uint64_t before;
};

struct mapping {
	struct mapping *next;
	struct store *store; /* NULL: native */
	struct gofer_file *file;
	uint8_t *addr;
	size_t len;
	uint64_t born; /* when its memory was there, CLOCK_MONOTONIC */
	uint64_t offset;
	int prot, flags;
	bool writes; /* what is stored to it is the file's */
	bool lazy, tracked;
	struct interval_set failed; /* of the file: pages that could not be had */
};

struct store {
	struct store *next;
	struct mapper *mapper;
	_Atomic unsigned refs; /* one of each mapping */
	uint64_t dev, ino;

	pthread_rwlock_t io;
	_Atomic bool shared; /* others change the file, too; once it is, it stays so */
	uint64_t changes;    /* of contents, so far */

	pthread_mutex_t lock;
	int fd;
	uint64_t size;
	struct mapping *mappings;
	/* The present, by pages: those that were filled, and all that must stay so. */
	struct interval_set present, whole;
	struct interval_set dirty; /* was found written, and not sent yet */
	int error;                 /* of the last attempt to send it */
	uint8_t *window;           /* of the memfd, to fill it through */
	uint64_t window_at;
	uint64_t expected, run; /* where a fault would be sequential, and how much is read then */
	uint64_t hand;          /* where to look next for what can be given up */
};

/* Of a session. */
struct mapper {
	struct gofer_session *session;
	unsigned allowed; /* features */
	uint64_t budget, whole;
	_Atomic uint64_t filled;   /* bytes that are present */
	_Atomic size_t n_mappings; /* 0: nobody needs to look further */

	pthread_rwlock_t lock;
	struct store *stores;
	struct mapping *natives;
	uint64_t page;
	bool started;
	unsigned features;
	int uffd, pagemap, stop;
	int nothing; /* an empty file: SIGBUS, where it is mapped */
	pthread_t thread;
};

/* ---- mapping.c ---- */
struct mapper *mapper_new(struct gofer_session *s);

/* ---- mapping_unmap.c ---- */
/* Writes back, and unmaps, what is mapped. forked: only frees memory. NULL is fine. */
void mapper_free(struct mapper *m, bool forked);
/* Unmaps what the namespace has there. 1 where that is nothing. */
int mapping_unmap(struct gofer_namespace *ns, void *addr, size_t length);

/* For each of the namespace's sessions. act: 0 or -errno, *ret_any if there was any mapping. As mapping_unmap(). */
struct mapping_act {
	int (*act)(struct mapper *m, const struct range *x, int flags, bool *ret_any);
	int flags;
};
int mapping_each(struct gofer_namespace *ns, void *addr, size_t length,
		 const struct mapping_act *act);
/* With `io` to write: sends what mappings hold of the range. */
int store_flush_range(struct store *s, const struct range *x);

/* ---- mapping_list.c: which there are ---- */
/* Of those sessions with mounts in the namespace that have mappings: an array that ends with NULL, or NULL for none. -ENOMEM. */
int mapper_list(struct gofer_namespace *ns, struct mapper ***ret_mappers);
/* The store of an inode, with a reference; NULL. */
struct store *mapper_find(struct mapper *m, uint64_t dev, uint64_t ino);
/* ... which has a mapping in the range. */
struct store *mapper_find_range(struct mapper *m, const struct range *x);
/* With the store's lock. The first mapping from `at` on that has any of the range. */
struct mapping *mapping_meets(struct mapping *at, const struct range *x);
/* The store of the file's inode, made if need be, with a reference, and with `io` to write. */
int mapper_store(struct mapper *m, struct gofer_file *file, struct store **ret_store);
struct store *store_ref(struct store *s);
void store_unref(struct store *s);
/* Counts in the mount too, which must still be there. -ESTALE, -ENOMEM. */
int mapping_new(struct gofer_file *file, struct store *store, struct mapping **ret_mapping);
void mapping_free(struct mapping *map);

/* How much of the range the mapping has, and where; it has some. */
static inline size_t range_cut(const struct range *x, const struct mapping *map, uint8_t **ret_from)
{
	uintptr_t addr = (uintptr_t)map->addr, begin = MAX(addr, x->begin);

	*ret_from = map->addr + (begin - addr);
	return MIN(addr + map->len, x->end) - begin;
}

/* ---- mapping_store.c ---- */
int store_new(struct mapper *m, const struct gofer_file *file, struct store **ret_store);
void store_free(struct store *s);
static inline uint64_t store_page_up(const struct store *s, uint64_t at)
{
	return (at + s->mapper->page - 1) & ~(s->mapper->page - 1);
}
/* With the lock: the first range of [begin, end) that is present; that is not. */
bool store_present(const struct store *s, uint64_t begin, uint64_t end, struct interval *ret);
bool store_absent(const struct store *s, uint64_t begin, uint64_t end, struct interval *ret);
/*
 * With `io`. Fills what is absent of whole pages [begin, end), as far as the file goes. Where the file turns
 * out to be shorter: 1, or with `alone` (`io` to write) that is learnt, and 0.
 */
int store_fill(struct store *s, struct gofer_file *file, uint64_t begin, uint64_t end, bool alone);

/* ---- with `io` to write: the contents have changed ---- */
int store_resize(struct store *s, uint64_t size);
/* data NULL: zeros. */
void store_put(struct store *s, const void *data, uint64_t offset, uint64_t len);
/* To what nobody says: it is read again. */
int store_refresh(struct store *s, struct gofer_file *file, uint64_t begin, uint64_t end);
/* ... and nobody knows the size either: the server is asked. keep: what was stored through mappings is sent first. */
int store_look_again(struct store *s, struct gofer_file *file, uint64_t begin, uint64_t end,
		     bool keep);

/* Gives up what can be, until no more than the budget is there. */
void store_trim(struct mapper *m);

/* ---- mapping_track.c ---- */
/* With `io` to write. Sends what was stored to [begin, end) through mappings. */
int store_flush(struct store *s, uint64_t begin, uint64_t end);
/* With the lock, and `io`: what was stored to [begin, end) becomes dirty. */
int store_collect(struct store *s, uint64_t begin, uint64_t end);
/* With the lock: a file to write through. NULL. */
struct gofer_file *store_writer(const struct store *s);
/* With the lock: of what is present of a mapping, nothing is written so far. */
void mapping_protect(struct mapping *map, uint64_t begin, uint64_t end);

/* ---- mapping_age.c: what was stored and is not sent yet ---- */
/* From now on what is stored to the mapping is looked for now and then, where that can be known. */
void mapping_ages(const struct mapping *map);
/* For the one who sends in the background: what was stored goes into the page cache as dirty pages, as far as nobody has to wait. */
void mapper_age(struct mapper *m);
/* As pages_at_risk(): more of them. */
int mapper_at_risk(struct mapper *m, struct page_risk **risks, size_t *n);

/* ---- mapping_fault.c ---- */
/* With mapper->lock to write: finds out what there is, and starts the thread. */
int faults_start(struct mapper *m);
void faults_stop(struct mapper *m);
/* New memory of the mapping: faults and writing are seen from now on, as far as it wants that. */
int mapping_arm(struct mapping *map, uint8_t *addr, size_t len);
/* With the lock: puts pages that are not there into the memfd. */
int store_copy(struct store *s, uint64_t begin, uint64_t end, const uint8_t *data);
/* With the lock: who waits for a page of [begin, end) looks again. */
void store_wake(struct store *s, uint64_t begin, uint64_t end);

/* ---- mapping_io.c: what else is done to files ---- */
/* Whether the file is mapped otherwise than natively. */
bool mapping_known(const struct gofer_file *file);
/* Reading by handle. */
ssize_t mapping_read(struct gofer_file *file, void *buf, size_t size, uint64_t offset);

/* A change of contents by handle, or a donated descriptor: from before it is sent until what it did is told. */
struct mapping_change {
	struct mapper *mapper;
	struct store *store;
};
void mapping_change_begin(struct mapping_change *c, struct gofer_file *file);
/* Of `size` bytes n were written at `offset` (UINT64_MAX: where the file ended), up to `end`; n may be -errno. */
void mapping_wrote(struct mapping_change *c, ssize_t n, const void *buf, size_t size,
		   uint64_t offset, uint64_t end);
/* r: 0, or in doubt -errno. */
void mapping_resized(struct mapping_change *c, int r, uint64_t size);
/* [begin, end) was changed, without a word how; the file is at least `size` long, or -errno. */
void mapping_changed(struct mapping_change *c, int r, uint64_t begin, uint64_t end, uint64_t size);
void mapping_change_end(struct mapping_change *c);

/* By path: until it is done nobody knows to which file. attr: of the file then; NULL in doubt. */
struct mapping_freeze {
	struct mapper *mapper;
};
void mapping_freeze_begin(struct mapping_freeze *f, struct gofer_session *session);
/* replaced: not only the size. */
void mapping_freeze_end(struct mapping_freeze *f, bool nothing, const Gofer__Attr *attr,
			bool replaced);

/* Sends what was stored to mappings of the file; of any file. */
int mapping_flush(struct gofer_file *file);
int mapping_flush_all(struct mapper *m);
/* ... of all sessions of the namespace. */
int mapping_flush_namespace(struct gofer_namespace *ns);

/* Below mappings: by the donated descriptor, the page cache, or requests (io.c). */
ssize_t mapping_below_read(struct gofer_file *file, void *buf, size_t size, uint64_t offset);
ssize_t mapping_below_write(struct gofer_file *file, const void *buf, size_t size, uint64_t offset,
			    uint64_t *ret_end);
int mapping_below_sync(struct gofer_file *file, bool data_only);

/* ---- mapping_bounce.c ---- */
/* Whether memory is of a mapping. */
bool mapping_holds(const struct gofer_file *file, const void *addr, size_t len);
bool mapping_holds_in(struct gofer_namespace *ns, const void *addr, size_t len);
/* The call with memory that is not. at: NULL for the file's own offset. */
ssize_t mapping_bounce_read(struct gofer_file *file, void *buf, size_t size, const uint64_t *at);
ssize_t mapping_bounce_write(struct gofer_file *file, const void *buf, size_t size,
			     const uint64_t *at);
