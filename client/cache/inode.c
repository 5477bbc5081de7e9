/*
 * inode.c - inodes: attributes by (device, number), whatever the names.
 *
 * A number lives only as long as its file; a later file may get it. The time of birth tells them
 * apart, or the type: then all that was known of the old one goes, names included.
 */
#include "client/cache/state.h"

#include <string.h>

static uint32_t hash_inode(uint64_t dev, uint64_t ino)
{
	uint64_t h = (ino ^ dev << 32 ^ dev >> 32) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint32_t)(h >> 32);
}

static struct inode **chain(const struct cache *c, uint64_t dev, uint64_t ino)
{
	return &c->inodes[hash_inode(dev, ino) & (c->inodes_size - 1)];
}

struct inode *inode_find(struct cache *c, uint64_t dev, uint64_t ino)
{
	struct inode *i = c->inodes_size ? *chain(c, dev, ino) : NULL;

	while (i && (i->ino != ino || i->dev != dev))
		i = i->next;
	return i;
}

static int grow(struct cache *c)
{
	size_t size = c->inodes_size ? 2 * c->inodes_size : 64, old = c->inodes_size;
	struct inode **from = c->inodes, **to = calloc(size, sizeof(*to));

	if (!to)
		return -ENOMEM;
	c->inodes = to;
	c->inodes_size = size;
	c->bytes += (size - old) * sizeof(*to);
	for (size_t s = 0; s < old; s++)
		for (struct inode *i = from[s], *next; i; i = next) {
			struct inode **at = chain(c, i->dev, i->ino);

			next = i->next;
			i->next = *at;
			*at = i;
		}
	free(from);
	return 0;
}

static struct inode *inode_new(struct cache *c, uint64_t dev, uint64_t ino)
{
	struct inode *i, **at;

	if (c->n_inodes >= c->inodes_size && grow(c) < 0)
		return NULL;
	i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	i->dev = dev;
	i->ino = ino;
	at = chain(c, dev, ino);
	i->next = *at;
	*at = i;
	c->n_inodes++;
	c->bytes += heap_bytes(sizeof(*i));
	return i;
}

static void drop_target(struct cache *c, struct inode *i)
{
	if (i->target)
		c->bytes -= heap_bytes(strlen(i->target) + 1);
	free(i->target);
	i->target = NULL;
}

static void drop_data(struct cache *c, struct inode *i)
{
	if (i->data)
		c->bytes -= heap_bytes(i->attr.size + 1);
	free(i->data);
	i->data = NULL;
}

void inode_doubt(struct cache *c, struct inode *i)
{
	i->known = false;
	drop_data(c, i);
}

void inode_set_data(struct cache *c, struct inode *i, const void *data)
{
	size_t size = i->attr.size;

	drop_data(c, i);
	/* Not what would push out too much else. */
	if (!i->known || size > c->budget / 16)
		return;
	i->data = malloc(size + 1);
	if (!i->data)
		return;
	if (size)
		memcpy(i->data, data, size);
	c->bytes += heap_bytes(size + 1);
}

void inode_release(struct cache *c, struct inode *i)
{
	struct inode **at;

	if (i->nodes || i->writers)
		return;
	for (at = chain(c, i->dev, i->ino); *at != i;)
		at = &(*at)->next;
	*at = i->next;
	drop_target(c, i);
	drop_data(c, i);
	c->n_inodes--;
	c->bytes -= heap_bytes(sizeof(*i));
	free(i);
}

void inode_permissions(struct cache *c, struct inode *i)
{
	for (struct node *n = i->nodes; n; n = n->next_name) {
		n->access_known = 0;
		n->searchable = false;
		node_drop_below(c, n);
	}
}

/* Names of a file that is no more: they lead to another one now, or nowhere. */
static void forget_names(struct cache *c, struct inode *i)
{
	while (i->nodes) {
		struct node *n = i->nodes;

		node_lead_to(c, n, NULL);
		node_drop_below(c, n);
	}
}

struct inode *inode_learn(struct cache *c, const Gofer__Attr *attr)
{
	struct inode *i = inode_find(c, attr->dev, attr->ino);

	if (!i) {
		i = inode_new(c, attr->dev, attr->ino);
		if (!i)
			return NULL;
	} else if (i->attr.mode) {
		bool reused = ((i->attr.mode ^ attr->mode) & S_IFMT) ||
			      i->attr.btime != attr->btime ||
			      i->attr.btime_nsec != attr->btime_nsec;

		if (reused) {
			/* Held while its names are taken from it. */
			i->writers++;
			forget_names(c, i);
			i->writers--;
			drop_target(c, i);
			drop_data(c, i);
		} else if (i->attr.mode != attr->mode || i->attr.uid != attr->uid ||
			   i->attr.gid != attr->gid) {
			inode_permissions(c, i);
		}
	}
	/* Data that somebody knew all the time is as good as its size and times. */
	if (i->data && (i->attr.size != attr->size || i->attr.mtime != attr->mtime ||
			i->attr.mtime_nsec != attr->mtime_nsec || i->writers))
		drop_data(c, i);
	i->attr = *attr;
	i->known = i->writers == 0 && attr->mode;
	i->links = c->links;
	return i;
}

bool inode_holds(const struct cache *c, const struct inode *i)
{
	if (!i->known || i->writers)
		return false;
	if (S_ISREG(i->attr.mode) && c->natives_forever)
		return false;
	return S_ISDIR(i->attr.mode) || i->attr.nlink <= 1 || i->links == c->links;
}

int inode_set_target(struct cache *c, struct inode *i, const void *target, size_t len)
{
	char *copy;

	if (i->target && strlen(i->target) == len && memcmp(i->target, target, len) == 0)
		return 0;
	copy = malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	drop_target(c, i);
	memcpy(copy, target, len);
	copy[len] = '\0';
	i->target = copy;
	c->bytes += heap_bytes(len + 1);
	return 0;
}
