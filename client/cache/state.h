/*
 * state.h - private to the cache: nodes, inodes, trees. All of it is guarded by the cache's lock.
 */
#pragma once

#include <string.h>
#include <sys/stat.h>

#include "client/cache/cache.h"

struct node;

/* What malloc(3) takes for so many bytes, as the C library on most machines does. */
static inline size_t heap_bytes(size_t n)
{
	return MAX((n + sizeof(size_t) + 15) & ~(size_t)15, (size_t)32);
}

struct inode {
	struct inode *next; /* of its hash chain */
	struct node *nodes; /* its names */
	uint64_t dev, ino;
	Gofer__Attr attr;
	bool known;       /* attr holds; else it is the last that did */
	uint64_t links;   /* cache->links when attr was learned */
	unsigned writers; /* descriptors that write unheard */
	char *target;     /* of a symbolic link, or NULL */
	uint8_t *data;    /* all of a small file, while `known` stays true; or NULL */
};

enum node_state {
	NODE_UNKNOWN, /* on the way to something that is known */
	NODE_THERE,   /* leads to `inode` */
	NODE_ABSENT,
};

struct node {
	struct node *next;          /* of its hash chain */
	struct node *newer, *older; /* the queue of eviction */
	struct node *parent, *first, *last, *before, *after;
	struct watch *watch; /* in a cache with watches: on what the name leads to */
	struct node *prev_watched, *next_watched; /* of the same watch */
	struct inode *inode;                      /* NODE_THERE */
	struct node *prev_name, *next_name;       /* of the same inode */
	uint64_t serial;                          /* never used again */
	uint64_t lost;                            /* how many children were forgotten */
	uint32_t hash;
	uint32_t used_at; /* on cache->looks */
	uint8_t state;
	bool dead;       /* forgotten: see cache_unlock() */
	bool used;       /* since it was last looked at for eviction */
	bool directory;  /* for certain */
	bool searchable; /* by the tree's identity */
	bool complete;   /* the children that are THERE are all that there are; may be read */
	uint8_t access_known, access_granted;
	uint8_t name_len, room; /* room: of text */
	char *name;             /* text, or memory of its own */
	char text[];
};

/* When a path was looked for last that had no watch. */
struct asked {
	uint32_t hash, when;
};

/* A filesystem as one identity sees it. */
struct tree {
	struct tree *next;
	uint32_t fs_id, identity;
	struct node *root;
};

/* The kernel tells of changes to an inode, whatever its names. */
struct watch {
	struct watch *next; /* of its hash chain */
	uint32_t number;
	struct node *nodes;
};

struct cache {
	pthread_mutex_t lock;
	bool watched; /* others change the tree: nothing holds without a watch */
	int queue;    /* inotify's, or -EBADF */
	int ready;    /* an epoll of it, or -EBADF */
	struct watch **watches;
	size_t n_watches, watches_size;
	uint32_t *gone; /* watches that the server may drop */
	size_t n_gone;
	/* One bit for each watch that is no more: a reply may still name it. Numbers are not used
	 * again. */
	uint8_t *ended;
	size_t ended_size;
	/* See room_for_watches(). */
	struct asked *asked; /* paths that there was no watch for */
	uint32_t looks;      /* how often was looked for something: a clock */
	bool full;           /* the server gave no more than `most_watches` */
	size_t most_watches;
	unsigned refused; /* one after the other, so far */
	unsigned skipped; /* since one was asked for all the same */
	uint32_t no_way,
		no_way_for; /* until when there is no point in looking for some to let go, and for whom */
	size_t mapped; /* inodes of cache_mapped() */
	struct tree *trees;
	/* hash tables; sizes are powers of two */
	struct node **nodes;
	struct inode **inodes;
	size_t n_nodes, nodes_size, n_inodes, inodes_size;
	struct node *newest, *oldest;
	struct node *dead;
	size_t bytes, budget;
	uint64_t serials;
	/* when, by the cache's own clock */
	uint64_t clock;
	uint64_t names_changed, data_changed; /* began or ended last */
	unsigned names_in_flight, data_in_flight, blind_in_flight;
	/* Counts what may have changed the number of links of an inode that nobody could name:
	 * attributes with several links hold only while it stands still. */
	uint64_t links;
	bool natives_forever;
	struct cache_stats stats;
};

/* ---- cache.c ---- */
/*
 * Frees the nodes that died while the lock was held. Until then they are there, but hang nowhere, and
 * nothing can be hung on them: a server that gives one number to a directory and to what is in it can have
 * what is being learned forgotten under our hands.
 */
void cache_unlock(struct cache *c);
struct tree *tree_of(struct cache *c, uint32_t fs_id, uint32_t identity, bool create);
/* Evicts until the budget holds; until no more than that many bytes are used. */
void cache_trim(struct cache *c);
void cache_evict(struct cache *c, size_t bytes);
void cache_drop_locked(struct cache *c);
/* Whether the reply of a request may teach something about names; about a regular file's state. */
bool op_may_learn(const struct cache_op *op);
bool op_may_learn_file(const struct cache_op *op);

/* ---- children by name: for each component of each path, so without a call ---- */

static inline uint32_t node_hash(const struct node *parent, const char *name, size_t len)
{
	uint64_t h = parent->serial * UINT64_C(0x9e3779b97f4a7c15) ^ len;
	uint64_t word;

	for (; len >= sizeof(word); name += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, name, sizeof(word));
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	word = 0;
	for (size_t i = 0; i < len; i++)
		word |= (uint64_t)(uint8_t)name[i] << 8 * i;
	h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
	return (uint32_t)(h >> 32);
}

static inline bool same_name(const char *a, const char *b, size_t len)
{
	uint64_t x[2], y[2];

	if (len > 2 * sizeof(x[0]))
		return memcmp(a, b, len) == 0;
	if (len < sizeof(x[0])) {
		size_t i = 0;

		while (i < len && a[i] == b[i])
			i++;
		return i == len;
	}
	/* The first bytes and the last, which may be some of the same. */
	memcpy(&x[0], a, sizeof(x[0]));
	memcpy(&y[0], b, sizeof(y[0]));
	memcpy(&x[1], a + len - sizeof(x[1]), sizeof(x[1]));
	memcpy(&y[1], b + len - sizeof(y[1]), sizeof(y[1]));
	return x[0] == y[0] && x[1] == y[1];
}

static inline struct node *node_child(const struct cache *c, const struct node *parent,
				      const char *name, size_t len)
{
	uint32_t hash = node_hash(parent, name, len);
	struct node *n = c->nodes[hash & (c->nodes_size - 1)];

	while (n && (n->hash != hash || n->parent != parent || n->name_len != len ||
		     !same_name(n->name, name, len)))
		n = n->next;
	return n;
}

/* ---- node.c ---- */
struct node *node_new(struct cache *c, struct node *parent, const char *name, size_t len);
/* To the front of the queue of eviction. */
void node_turn(struct cache *c, struct node *n);
/* Forgets the node and all below it, or only what is below. */
void node_drop(struct cache *c, struct node *n);
void node_drop_below(struct cache *c, struct node *n);
/* To another name; whatever had that name is gone before. -ENOMEM. */
int node_move(struct cache *c, struct node *n, struct node *parent, const char *name, size_t len);
/* inode NULL: UNKNOWN. */
void node_lead_to(struct cache *c, struct node *n, struct inode *inode);
void node_set_absent(struct cache *c, struct node *n);
/*
 * The node that a text names, made where there is none, with those on the way. proven: the server
 * walked the way, so that all on it are directories that may be searched. NULL without
 * memory, or where ".." leads out. *ret_parent (may be NULL) is NULL for the root.
 */
struct node *node_make(struct cache *c, struct tree *tree, const char *text, size_t len,
		       bool proven, struct node **ret_parent);
/* The same without making any: NULL. */
struct node *node_at(struct cache *c, struct tree *tree, const char *text, size_t len);

/* ---- inode.c ---- */
struct inode *inode_find(struct cache *c, uint64_t dev, uint64_t ino);
/* Takes the attributes as those of now. NULL without memory. */
struct inode *inode_learn(struct cache *c, const Gofer__Attr *attr);
/* Frees it if nothing refers to it. */
void inode_release(struct cache *c, struct inode *i);
bool inode_holds(const struct cache *c, const struct inode *i);
/* Its attributes may be wrong, and so may its data. */
void inode_doubt(struct cache *c, struct inode *i);
/* The whole content, attr.size bytes. */
void inode_set_data(struct cache *c, struct inode *i, const void *data);
/* Of a symbolic link: `len` bytes. */
int inode_set_target(struct cache *c, struct inode *i, const void *target, size_t len);
/* Who may do what with it has changed. */
void inode_permissions(struct cache *c, struct inode *i);

/* ---- learn.c ---- */
/* The node leads to the inode with these attributes, as far as the request may teach that. */
struct inode *learn_inode(struct cache_op *op, struct node *n, const Gofer__Attr *attr);

/* ---- watch.c ---- */
/*
 * Takes in what changed meanwhile. False where there is no telling: nothing may be answered or learned.
 */
bool watch_catch_up(struct cache *c);
/* -ENOMEM: then the node has none. */
int node_watch(struct cache *c, struct node *n, uint32_t number);
void node_unwatch(struct cache *c, struct node *n);
/* A watch that came with a reply, unless some node needs it. */
void watch_unneeded(struct cache *c, uint32_t number);
void watches_free(struct cache *c);

/* ---- admit.c ---- */
/* The server gave some. */
void watches_granted(struct cache *c);
