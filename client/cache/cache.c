/*
 * cache.c - the cache as a whole: its life, its clock, its budget.
 *
 * Eviction. Every node is in one queue, new ones in front. What is evicted comes from the back: a
 * node that was used since it was last there gets another turn, and so does one that has children,
 * because they lead through it. An inode goes with its last name.
 */
#include "client/cache/state.h"

#include <string.h>

struct cache *cache_new(bool watched)
{
	struct cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	c->watched = watched;
	c->queue = c->ready = -EBADF;
	c->clock = c->looks = 1;
	return c;
}

static void bury(struct cache *c)
{
	while (c->dead) {
		struct node *n = c->dead;

		c->dead = n->next;
		if (n->name != n->text)
			free(n->name);
		free(n);
	}
}

void cache_unlock(struct cache *c)
{
	bury(c);
	pthread_mutex_unlock(&c->lock);
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	cache_drop_locked(c);
	/* What is left are inodes that somebody still writes to. */
	for (size_t i = 0; i < c->inodes_size; i++)
		while (c->inodes[i]) {
			struct inode *inode = c->inodes[i];

			inode->writers = 0;
			inode_release(c, inode);
		}
	bury(c);
	free(c->nodes);
	free(c->inodes);
	free(c->asked);
	watches_free(c);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void cache_allow(struct cache *c, uint64_t bytes)
{
	pthread_mutex_lock(&c->lock);
	c->budget = MAX(c->budget, bytes ? MIN(bytes, (uint64_t)SIZE_MAX) : (uint64_t)CACHE_BYTES);
	cache_unlock(c);
}

void cache_drop_locked(struct cache *c)
{
	struct tree *next;

	for (struct tree *t = c->trees; t; t = next) {
		next = t->next;
		node_drop(c, t->root);
		c->bytes -= sizeof(*t);
		free(t);
	}
	c->trees = NULL;
	c->stats.drops++;
	/* Inodes without a name are those with writers; they hold nothing. */
}

void cache_drop(struct cache *c)
{
	pthread_mutex_lock(&c->lock);
	c->names_changed = c->data_changed = ++c->clock;
	cache_drop_locked(c);
	cache_unlock(c);
}

void cache_get_stats(struct cache *c, struct cache_stats *ret_stats)
{
	pthread_mutex_lock(&c->lock);
	*ret_stats = c->stats;
	ret_stats->nodes = c->n_nodes;
	ret_stats->inodes = c->n_inodes;
	ret_stats->watches = c->n_watches;
	ret_stats->bytes = c->bytes;
	ret_stats->budget = c->budget;
	cache_unlock(c);
}

struct tree *tree_of(struct cache *c, uint32_t fs_id, uint32_t identity, bool create)
{
	struct tree *t;

	for (t = c->trees; t; t = t->next)
		if (t->fs_id == fs_id && t->identity == identity)
			return t;
	if (!create)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->fs_id = fs_id;
	t->identity = identity;
	t->root = node_new(c, NULL, "", 0);
	if (!t->root) {
		free(t);
		return NULL;
	}
	t->root->directory = true;
	t->next = c->trees;
	c->trees = t;
	c->bytes += sizeof(*t);
	return t;
}

void cache_evict(struct cache *c, size_t bytes)
{
	/* Nodes that have their turn again: each at most once, so that this ends. */
	for (size_t turns = 2 * c->n_nodes; c->bytes > bytes && turns; turns--) {
		struct node *n = c->oldest;

		if (n->first || n->used || !n->parent) {
			n->used = false;
			node_turn(c, n);
			continue;
		}
		node_drop(c, n);
		c->stats.evictions++;
	}
}

void cache_trim(struct cache *c)
{
	cache_evict(c, c->budget);
}

/* ---- requests ---- */

void cache_begin(struct cache_op *op, struct cache *c, enum cache_kind kind, uint64_t dev,
		 uint64_t ino)
{
	*op = (struct cache_op){ .cache = c, .kind = kind };
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	if (kind == CACHE_NAMES) {
		c->names_in_flight++;
		c->names_changed = ++c->clock;
	} else if (kind == CACHE_DATA) {
		struct inode *inode = inode_find(c, dev, ino);

		c->data_in_flight++;
		c->data_changed = ++c->clock;
		if (inode)
			inode_doubt(c, inode);
	}
	op->start = c->clock;
	cache_unlock(c);
}

void cache_end(struct cache_op *op)
{
	struct cache *c = op->cache;

	if (!c || op->kind == CACHE_READ)
		return;
	pthread_mutex_lock(&c->lock);
	if (op->kind == CACHE_NAMES) {
		c->names_in_flight--;
		c->names_changed = ++c->clock;
	} else {
		c->data_in_flight--;
		c->data_changed = ++c->clock;
	}
	cache_unlock(c);
	op->cache = NULL;
}

void cache_blind_begin(struct cache *c)
{
	pthread_mutex_lock(&c->lock);
	c->blind_in_flight++;
	c->names_changed = c->data_changed = ++c->clock;
	cache_drop_locked(c);
	cache_unlock(c);
}

void cache_blind_end(struct cache *c)
{
	pthread_mutex_lock(&c->lock);
	c->blind_in_flight--;
	c->names_changed = c->data_changed = ++c->clock;
	cache_unlock(c);
}

bool op_may_learn(const struct cache_op *op)
{
	const struct cache *c = op->cache;

	return c->names_changed <= op->start && c->blind_in_flight == 0 &&
	       c->names_in_flight == (op->kind == CACHE_NAMES);
}

bool op_may_learn_file(const struct cache_op *op)
{
	const struct cache *c = op->cache;

	return op_may_learn(op) && c->data_changed <= op->start &&
	       c->data_in_flight == (op->kind == CACHE_DATA);
}

/* ---- descriptors ---- */

/* With the lock. */
static struct inode *native_inode(struct cache *c, uint64_t dev, uint64_t ino)
{
	Gofer__Attr attr = GOFER__ATTR__INIT;
	struct inode *i = inode_find(c, dev, ino);

	if (!i) {
		attr.dev = dev;
		attr.ino = ino;
		i = inode_learn(c, &attr);
	}
	return i;
}

int cache_native_begin(struct cache *c, uint64_t dev, uint64_t ino)
{
	struct inode *i;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	i = native_inode(c, dev, ino);
	if (i) {
		i->writers++;
		inode_doubt(c, i);
	} else {
		r = -ENOMEM;
	}
	cache_unlock(c);
	return r;
}

void cache_mapped(struct cache *c, uint64_t dev, uint64_t ino)
{
	enum { MAPPED_MAX = 16384 };
	struct inode *i;

	pthread_mutex_lock(&c->lock);
	i = c->natives_forever ? NULL : native_inode(c, dev, ino);
	if (i && !i->writers && c->mapped < MAPPED_MAX) {
		c->mapped++;
		i->writers++;
		inode_doubt(c, i);
	} else if (!i || !i->writers) {
		c->natives_forever = true;
	}
	cache_unlock(c);
}

void cache_native_end(struct cache *c, uint64_t dev, uint64_t ino)
{
	struct inode *i;

	pthread_mutex_lock(&c->lock);
	i = inode_find(c, dev, ino);
	if (i && i->writers) {
		i->writers--;
		inode_doubt(c, i);
		c->data_changed = ++c->clock;
		inode_release(c, i);
	}
	cache_unlock(c);
}

void cache_native_forever(struct cache *c)
{
	pthread_mutex_lock(&c->lock);
	c->natives_forever = true;
	cache_unlock(c);
}
