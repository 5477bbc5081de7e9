/*
 * cache.h - what a client knows of a server's trees without asking again: attributes, names (also
 * those that do not exist), targets of symbolic links, whole listings.
 *
 * Mental model. One cache per session, for all its filesystems. A *node* is a name in a directory,
 * an *inode* what names lead to: hard links are several nodes of one inode, and renaming a directory
 * moves one node with all that hangs below it. Both are claims about the server: a node says "this
 * path leads there (or nowhere), for this identity"; an inode, "these are its attributes".
 *
 * When a claim may be made. Requests overtake each other, so a reply may be older than what is
 * already known. The cache has a clock. A request notes the time when it begins; its reply may teach
 * something only if no change that could touch it began, ended or was in flight since then. Changes
 * are of two kinds:
 *   names  whatever changes a directory or permissions. While one is in flight nothing is
 *          answered from the cache, so that nobody who saw its effect can then see the state before;
 *   data   writing to one file. That file's attributes are dropped when it begins, and no
 *          file's are learned until it ended.
 * In doubt (a change that failed half way, or that nobody answered; requests that a program sends by
 * itself) everything is dropped.
 *
 * Whom a claim is for. A path is answered only to the identity that walked it: the walk proved that
 * it may search each directory on the way. Whatever changes permissions drops what lies below.
 *
 * Locks: one mutex, innermost: nothing is called with it held that sends or waits.
 */
#pragma once

#include <limits.h>
#include <pthread.h>

#include "gofer.pb-c.h"
#include "common/util.h"

struct cache;

enum { CACHE_BYTES = 64 << 20 }; /* the budget where nobody says another */

/*
 * NULL without memory. watched: others change the tree too, and only what watches cover is known;
 * such a cache is told by the kernel what changes, not by cache_begin() of changes.
 */
struct cache *cache_new(bool watched);
void cache_free(struct cache *c);
/* Raises the budget; 0 asks for CACHE_BYTES. */
void cache_allow(struct cache *c, uint64_t bytes);
/* Forgets everything. */
void cache_drop(struct cache *c);

struct cache_stats {
	uint64_t hits, misses, evictions, drops;
	uint64_t nodes, inodes, watches, bytes, budget;
};
void cache_get_stats(struct cache *c, struct cache_stats *ret_stats);

/* A path from a filesystem's root, for one identity. */
struct cache_path {
	uint32_t fs_id, identity;
	const char *text;
	size_t len;
	bool nofollow; /* a symbolic link as the last component is meant itself */
	bool names;    /* attributes of a regular file are a miss */
	/*
	 * Where the path starts at a directory that is held: text[0..base) was its path once. What comes behind is looked for only if
	 * that leads to it still. ("" is the root.)
	 */
	bool based;
	size_t base;
	uint64_t dev, ino;
};

/* ---- asking (find.c) ---- */

/* CACHE_OPEN: a regular file that may be read; of its attributes, those that do not change. */
enum cache_want {
	CACHE_ATTR,
	CACHE_ACCESS,
	CACHE_TARGET,
	CACHE_LIST,
	CACHE_FILE,
	CACHE_LINKS,
	CACHE_OPEN
};

enum cache_found {
	CACHE_MISS,
	CACHE_HIT,
	CACHE_ABSENT,  /* -ENOENT */
	CACHE_DENIED,  /* CACHE_ACCESS: -EACCES; CACHE_OPEN: it is none */
	CACHE_NO_LINK, /* CACHE_TARGET: -EINVAL */
	CACHE_LINK,    /* a symbolic link stands in the way: `stop` is what the server would say */
};

/* A directory's contents, in one block of memory: free(). */
struct cache_listing {
	Gofer__Attr attr;
	size_t n;
	Gofer__Entry *entries;
	Gofer__Entry **list;
};

struct cache_answer {
	enum cache_found found;
	Gofer__Attr attr;              /* HIT of ATTR, FILE, OPEN */
	Gofer__Stop stop;              /* LINK; its target is in `text` */
	struct cache_listing *listing; /* HIT of LIST; the caller's */
	uint8_t *data;                 /* HIT of FILE: attr.size bytes and a NUL; the caller's */
	size_t len;                    /* HIT of TARGET: of `text` */
	char text[PATH_MAX];
};

/* mode: of CACHE_ACCESS. CACHE_LINKS only looks what is in the way: LINK, ABSENT, or MISS, which does
 * not count. */
enum cache_found cache_find(struct cache *c, const struct cache_path *path, enum cache_want want,
			    unsigned mode, struct cache_answer *ret_answer);
/*
 * The path without "." and "..", where each comes after what is known to be a directory that may be
 * searched, so that it does what it says. text has room for path->len + 1 bytes.
 */
bool cache_undot(struct cache *c, const struct cache_path *path, char *text, size_t *ret_len);
/* The attributes of what a path names, where they are known: no question that counts. */
bool cache_peek(struct cache *c, const struct cache_path *path, Gofer__Attr *ret_attr);
/* The attributes of an inode, by number. */
bool cache_find_inode(struct cache *c, uint64_t dev, uint64_t ino, Gofer__Attr *ret_attr);

/* ---- telling ---- */

enum cache_kind { CACHE_READ, CACHE_NAMES, CACHE_DATA };

/* One request, from before it is sent until its reply has been told. */
struct cache_op {
	struct cache *cache; /* NULL: nothing to tell */
	enum cache_kind kind;
	uint64_t start;
};
/* `cache` may be NULL. For CACHE_DATA dev and ino name the file. */
void cache_begin(struct cache_op *op, struct cache *cache, enum cache_kind kind, uint64_t dev,
		 uint64_t ino);
void cache_end(struct cache_op *op);
/* Requests of which the cache is told nothing else: between the two nothing is known. */
void cache_blind_begin(struct cache *c);
void cache_blind_end(struct cache *c);

/* ---- what a CACHE_READ taught (learn.c) ---- */
void cache_learn_object(struct cache_op *op, const struct cache_path *path,
			const Gofer__Attr *attr);
/* ... where the path names a symbolic link; and the link that stopped a walk. */
void cache_learn_link(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *attr,
		      const ProtobufCBinaryData *target);
void cache_learn_absent(struct cache_op *op, const struct cache_path *path);
void cache_learn_access(struct cache_op *op, const struct cache_path *path, unsigned mode,
			bool granted);
/* A whole regular file; after cache_learn_object(). */
void cache_learn_data(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *attr,
		      const void *data, size_t size);
/* An object that was asked for by handle. */
void cache_learn_attr(struct cache_op *op, const Gofer__Attr *attr);

/* A listing that comes in several replies. All zero before the first. */
struct cache_reading {
	struct cache_op op;
	uint64_t node, lost; /* private */
	size_t bytes;
	bool failed;
};
void cache_learn_list(struct cache_reading *reading, const struct cache_path *path,
		      const Gofer__ReadDirReply *reply);

/* ---- watches (watch.c) ---- */
/* Whether the queue of their events is still to be asked for; its descriptor (taken, also if there
 * is one already). */
bool cache_wants_queue(struct cache *c);
void cache_set_queue(struct cache *c, int fd);
void cache_learn_watched(struct cache_op *op, const struct cache_path *path,
			 const Gofer__WatchReply *reply);
/*
 * Whether a watch is worth asking for, after the path was looked for in vain. again: only if it was asked about before, as far as that is
 * remembered. absent: its last component does not exist, and needs none. Where the server gives no more, others are let go for
 * it, but only such as were not used for longer than this one.
 */
bool cache_may_watch(struct cache *c, const struct cache_path *path, bool again, bool absent);
/* None could be had. After several in a row the server is taken to have no more. */
void cache_no_watch(struct cache *c);
/* Watches that nothing needs any more, at most `most`: the server is to be told. */
size_t cache_take_gone(struct cache *c, uint32_t *watches, size_t most);

/* ---- what a change did (change.c): within its cache_begin() and cache_end() ---- */
/* Each forgets what may be wrong now, and learns what the reply says. Attributes may be NULL. */
/* target: of a symbolic link, else NULL. replaces: what had the name before has lost it. */
void cache_made(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *attr,
		const Gofer__Attr *parent, const char *target, bool replaces);
void cache_removed(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *parent);
enum cache_rename { CACHE_RENAME, CACHE_RENAME_NEW, CACHE_RENAME_SWAP };
void cache_renamed(struct cache_op *op, const struct cache_path *from, const struct cache_path *to,
		   enum cache_rename how, const Gofer__RenameReply *reply);
/* Mode, owner, times, size; acl: extended attributes. path NULL: by handle. */
void cache_set(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *attr,
	       bool acl);
/* Data written. attr: afterwards, or NULL where that is not known. */
void cache_wrote(struct cache_op *op, const Gofer__Attr *attr);

/* ---- descriptors ---- */
/*
 * A descriptor that is written to without a word to anybody: the file's attributes are not known
 * until it is closed. 0 or -ENOMEM.
 */
int cache_native_begin(struct cache *c, uint64_t dev, uint64_t ino);
void cache_native_end(struct cache *c, uint64_t dev, uint64_t ino);
/* A descriptor by which the file may be mapped, and stored to, for good: its attributes are not known any more. */
void cache_mapped(struct cache *c, uint64_t dev, uint64_t ino);
/* ... of which nobody will say when it is closed: no regular file's attributes are known any more. */
void cache_native_forever(struct cache *c);
