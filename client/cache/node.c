/*
 * node.c - nodes: names in directories, as a tree for each filesystem and identity.
 *
 * They are found through one hash table by (parent, name), so that moving a directory's node
 * touches nothing below it. Forgetting is always safe; a directory that lost a child which was
 * there is not complete any more.
 */
#include "client/cache/state.h"

#include <string.h>

#include "common/path.h"

static size_t node_bytes(const struct node *n)
{
	return heap_bytes(sizeof(*n) + n->room + 1u) +
	       (n->name != n->text ? heap_bytes(n->name_len + 1u) : 0);
}

/* ---- the hash table ---- */

static int grow(struct cache *c)
{
	size_t size = c->nodes_size ? 2 * c->nodes_size : 64, old = c->nodes_size;
	struct node **from = c->nodes, **to = calloc(size, sizeof(*to));

	if (!to)
		return -ENOMEM;
	c->nodes = to;
	c->nodes_size = size;
	c->bytes += (size - old) * sizeof(*to);
	for (size_t s = 0; s < old; s++)
		for (struct node *n = from[s], *next; n; n = next) {
			struct node **at = &to[n->hash & (size - 1)];

			next = n->next;
			n->next = *at;
			*at = n;
		}
	free(from);
	return 0;
}

static void table_add(struct cache *c, struct node *n)
{
	struct node **at = &c->nodes[n->hash & (c->nodes_size - 1)];

	n->next = *at;
	*at = n;
}

static void table_remove(struct cache *c, struct node *n)
{
	struct node **at = &c->nodes[n->hash & (c->nodes_size - 1)];

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
}

/* ---- where it hangs ---- */

static void attach(struct node *n, struct node *parent)
{
	n->parent = parent;
	n->before = parent->last;
	n->after = NULL;
	if (parent->last)
		parent->last->after = n;
	else
		parent->first = n;
	parent->last = n;
}

static void detach(struct node *n)
{
	struct node *p = n->parent;

	if (n->after)
		n->after->before = n->before;
	else
		p->last = n->before;
	if (n->before)
		n->before->after = n->after;
	else
		p->first = n->after;
	n->before = n->after = NULL;
}

static void enqueue(struct cache *c, struct node *n)
{
	n->older = c->newest;
	if (c->newest)
		c->newest->newer = n;
	else
		c->oldest = n;
	c->newest = n;
}

struct node *node_new(struct cache *c, struct node *parent, const char *name, size_t len)
{
	struct node *n;

	if ((parent && parent->dead) || (c->n_nodes >= c->nodes_size && grow(c) < 0))
		return NULL;
	n = malloc(sizeof(*n) + len + 1);
	if (!n)
		return NULL;
	memset(n, 0, sizeof(*n));
	n->name = n->text;
	memcpy(n->name, name, len);
	n->name[len] = '\0';
	n->name_len = n->room = (uint8_t)len;
	n->serial = ++c->serials;
	n->used_at = c->looks;
	if (parent) {
		n->hash = node_hash(parent, name, len);
		attach(n, parent);
		table_add(c, n);
	}
	enqueue(c, n);
	c->n_nodes++;
	c->bytes += node_bytes(n);
	return n;
}

static void dequeue(struct cache *c, struct node *n)
{
	if (n->newer)
		n->newer->older = n->older;
	else
		c->newest = n->older;
	if (n->older)
		n->older->newer = n->newer;
	else
		c->oldest = n->newer;
	n->newer = n->older = NULL;
}

void node_turn(struct cache *c, struct node *n)
{
	dequeue(c, n);
	enqueue(c, n);
}

static void node_free(struct cache *c, struct node *n)
{
	node_unwatch(c, n);
	node_lead_to(c, n, NULL);
	if (n->parent) {
		table_remove(c, n);
		detach(n);
	}
	dequeue(c, n);
	c->n_nodes--;
	c->bytes -= node_bytes(n);
	n->dead = true;
	n->parent = NULL;
	n->next = c->dead;
	c->dead = n;
}

/* A parent that loses a child; one that is certainly absent is no loss. */
static void lose(struct node *parent, const struct node *child)
{
	if (parent && child->state != NODE_ABSENT) {
		parent->complete = false;
		parent->lost++;
	}
}

void node_drop_below(struct cache *c, struct node *n)
{
	struct node *at = n;

	n->complete = false;
	n->lost++;
	while (n->first) {
		while (at->first)
			at = at->first;
		struct node *parent = at->parent;

		node_free(c, at);
		at = parent;
	}
}

void node_drop(struct cache *c, struct node *n)
{
	if (n->dead)
		return;
	lose(n->parent, n);
	node_drop_below(c, n);
	node_free(c, n);
}

int node_move(struct cache *c, struct node *n, struct node *parent, const char *name, size_t len)
{
	char *copy = NULL;

	if (!n->dead && !parent->dead)
		copy = len <= n->room ? n->text : malloc(len + 1);
	if (!copy)
		return -ENOMEM;
	table_remove(c, n);
	detach(n);
	c->bytes -= node_bytes(n);
	if (n->name != n->text)
		free(n->name);
	memcpy(copy, name, len);
	copy[len] = '\0';
	n->name = copy;
	n->name_len = (uint8_t)len;
	c->bytes += node_bytes(n);
	n->hash = node_hash(parent, name, len);
	attach(n, parent);
	table_add(c, n);
	return 0;
}

/* ---- where it leads ---- */

void node_lead_to(struct cache *c, struct node *n, struct inode *inode)
{
	struct inode *old = n->inode;

	if (n->dead) {
		if (inode)
			inode_release(c, inode);
		return;
	}
	n->state = inode ? NODE_THERE : NODE_UNKNOWN;
	if (old != inode) {
		n->access_known = 0;
		if (old) {
			if (n->next_name)
				n->next_name->prev_name = n->prev_name;
			if (n->prev_name)
				n->prev_name->next_name = n->next_name;
			else
				old->nodes = n->next_name;
		}
		n->inode = inode;
		n->prev_name = n->next_name = NULL;
		if (inode) {
			n->next_name = inode->nodes;
			if (inode->nodes)
				inode->nodes->prev_name = n;
			inode->nodes = n;
		}
		if (old)
			inode_release(c, old);
	}
	n->directory = inode ? S_ISDIR(inode->attr.mode) : !n->parent;
	if (!n->directory) {
		n->searchable = false;
		if (inode)
			node_drop_below(c, n);
	}
}

void node_set_absent(struct cache *c, struct node *n)
{
	if (n->dead)
		return;
	node_unwatch(c, n);
	node_drop_below(c, n);
	node_lead_to(c, n, NULL);
	n->state = NODE_ABSENT;
}

/* A node that lies on the way to another: it cannot be what leads nowhere further. */
static void pass_through(struct cache *c, struct node *n, bool proven)
{
	if (n->state == NODE_ABSENT || (n->state == NODE_THERE && !n->directory)) {
		node_drop_below(c, n);
		node_lead_to(c, n, NULL);
	}
	if (proven)
		n->directory = n->searchable = true;
}

static struct node *descend(struct cache *c, struct tree *tree, const char *text, size_t len,
			    bool make, bool proven, struct node **ret_parent)
{
	struct node *n = tree->root;
	size_t at = 0, begin, end;

	while (path_next(text, len, &at, &begin, &end)) {
		struct node *child;

		if (path_is_dot(text + begin, end - begin))
			continue;
		if (make)
			pass_through(c, n, proven);
		if (path_is_dotdot(text + begin, end - begin)) {
			n = n->parent;
			if (!n)
				return NULL;
			continue;
		}
		child = node_child(c, n, text + begin, end - begin);
		if (!child && make) {
			/* That it is one of them is news. */
			n->complete = false;
			child = node_new(c, n, text + begin, end - begin);
		}
		if (!child)
			return NULL;
		n = child;
	}
	if (ret_parent)
		*ret_parent = n->parent;
	return n;
}

struct node *node_make(struct cache *c, struct tree *tree, const char *text, size_t len,
		       bool proven, struct node **ret_parent)
{
	return descend(c, tree, text, len, true, proven, ret_parent);
}

struct node *node_at(struct cache *c, struct tree *tree, const char *text, size_t len)
{
	return descend(c, tree, text, len, false, false, NULL);
}
