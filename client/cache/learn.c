/*
 * learn.c - what replies teach that changed nothing.
 */
#include "client/cache/state.h"

#include <string.h>

#include "common/path.h"

/* With the lock: the request's tree, if its reply may teach anything. */
static struct tree *begin(struct cache_op *op, const struct cache_path *path)
{
	if (!op->cache)
		return NULL;
	pthread_mutex_lock(&op->cache->lock);
	if ((!op->cache->watched || watch_catch_up(op->cache)) && op_may_learn(op)) {
		struct tree *tree = tree_of(op->cache, path->fs_id, path->identity, true);

		if (tree)
			return tree;
	}
	cache_unlock(op->cache);
	return NULL;
}

static void end(struct cache *c)
{
	cache_trim(c);
	cache_unlock(c);
}

struct inode *learn_inode(struct cache_op *op, struct node *n, const Gofer__Attr *attr)
{
	struct inode *i = inode_learn(op->cache, attr);

	if (!i) {
		node_lead_to(op->cache, n, NULL);
		return NULL;
	}
	node_lead_to(op->cache, n, i);
	if (n->inode != i)
		return NULL;
	if (S_ISREG(attr->mode) && !op_may_learn_file(op))
		inode_doubt(op->cache, i);
	return i;
}

void cache_learn_object(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *attr)
{
	struct tree *tree = attr ? begin(op, path) : NULL;
	struct node *n;

	if (!tree)
		return;
	n = node_make(op->cache, tree, path->text, path->len, true, NULL);
	if (n)
		(void)learn_inode(op, n, attr);
	end(op->cache);
}

void cache_learn_link(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *attr,
		      const ProtobufCBinaryData *target)
{
	struct tree *tree = attr && S_ISLNK(attr->mode) ? begin(op, path) : NULL;
	struct inode *i;
	struct node *n;

	if (!tree)
		return;
	n = node_make(op->cache, tree, path->text, path->len, true, NULL);
	i = n ? learn_inode(op, n, attr) : NULL;
	if (i)
		(void)inode_set_target(op->cache, i, target->data, target->len);
	end(op->cache);
}

void cache_learn_absent(struct cache_op *op, const struct cache_path *path)
{
	struct tree *tree = path_has_dotdot(path->text, path->len) ? NULL : begin(op, path);
	struct node *n;

	if (!tree)
		return;
	/* Not proven: any of them may be the one that does not exist. */
	n = node_make(op->cache, tree, path->text, path->len, false, NULL);
	if (n && n->parent)
		node_set_absent(op->cache, n);
	end(op->cache);
}

/* Whether "." or ".." stands in the text: what they need is to search the directory before them. */
static bool has_dots(const char *text, size_t len)
{
	size_t at = 0, begin, end;

	while (path_next(text, len, &at, &begin, &end))
		if (path_is_dot(text + begin, end - begin) ||
		    path_is_dotdot(text + begin, end - begin))
			return true;
	return false;
}

void cache_learn_access(struct cache_op *op, const struct cache_path *path, unsigned mode,
			bool granted)
{
	/* A refusal may be of the way as well: a node that is there shows that its way is open, but not
	 * a way with dots. */
	struct tree *tree = !granted && has_dots(path->text, path->len) ? NULL : begin(op, path);
	struct node *n;

	if (!tree)
		return;
	n = node_at(op->cache, tree, path->text, path->len);
	/* Of several bits that were refused together, nobody knows which. */
	if (n && n->state == NODE_THERE && (granted || mode == 1 || mode == 2 || mode == 4)) {
		n->access_known |= (uint8_t)mode;
		n->access_granted =
			(uint8_t)(granted ? n->access_granted | mode : n->access_granted & ~mode);
		if (granted && n->directory && (mode & 1))
			n->searchable = true;
	}
	end(op->cache);
}

void cache_learn_data(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *attr,
		      const void *data, size_t size)
{
	struct tree *tree =
		attr && S_ISREG(attr->mode) && attr->size == size ? begin(op, path) : NULL;
	struct node *n;

	if (!tree)
		return;
	n = node_at(op->cache, tree, path->text, path->len);
	if (n && n->state == NODE_THERE && n->inode->ino == attr->ino &&
	    n->inode->dev == attr->dev && op_may_learn_file(op)) {
		n->access_known |= 4;
		n->access_granted |= 4;
		inode_set_data(op->cache, n->inode, data);
	}
	end(op->cache);
}

void cache_learn_attr(struct cache_op *op, const Gofer__Attr *attr)
{
	struct cache *c = op->cache;

	if (!c || !attr)
		return;
	pthread_mutex_lock(&c->lock);
	if (inode_find(c, attr->dev, attr->ino) &&
	    (S_ISREG(attr->mode) ? op_may_learn_file(op) : op_may_learn(op)))
		(void)inode_learn(c, attr);
	cache_unlock(c);
}

/* ---- listings ---- */

static void learn_entry(struct cache_reading *r, struct node *dir, const Gofer__Entry *e)
{
	struct cache *c = r->op.cache;
	const char *name = (const char *)e->name.data;
	struct node *n = node_child(c, dir, name, e->name.len);
	size_t before = c->bytes;
	struct inode *i;

	if (!n)
		n = node_new(c, dir, name, e->name.len);
	/* Gone meanwhile, or the directory may be read but not searched, or nothing tells of changes. */
	if (!n || !e->attr || (c->watched && (!e->watch || node_watch(c, n, e->watch) < 0))) {
		if (n && c->watched)
			node_drop(c, n);
		r->failed = true;
		return;
	}
	i = learn_inode(&r->op, n, e->attr);
	if (!i || (S_ISLNK(e->attr->mode) &&
		   (!e->target.len || inode_set_target(c, i, e->target.data, e->target.len) < 0)))
		r->failed = true;
	else
		dir->searchable = true;
	r->bytes += c->bytes > before ? c->bytes - before : 0;
	/* What would push out everything else is not worth it. */
	if (r->bytes > c->budget / 4)
		r->failed = true;
}

static void let_go(struct cache *c, const Gofer__ReadDirReply *reply)
{
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < reply->n_entries; i++)
		watch_unneeded(c, reply->entries[i]->watch);
	cache_unlock(c);
}

static void learn_page(struct cache_reading *r, const struct cache_path *path,
		       const Gofer__ReadDirReply *reply)
{
	bool first = r->node == 0;
	struct tree *tree = r->failed ? NULL : begin(&r->op, path);
	struct node *n;

	if (!tree) {
		r->failed = true;
		return;
	}
	if (r->op.cache->watched) {
		n = node_at(r->op.cache, tree, path->text, path->len);
		n = n && n->watch ? n : NULL;
	} else {
		n = node_make(r->op.cache, tree, path->text, path->len, true, NULL);
	}
	if (n && first) {
		if (!reply->attr || !learn_inode(&r->op, n, reply->attr) || !n->directory)
			n = NULL;
		if (n) {
			r->node = n->serial;
			r->lost = n->lost;
		}
	}
	if (!n || n->serial != r->node) {
		r->failed = true;
	} else {
		for (size_t i = 0; i < reply->n_entries && !r->failed; i++)
			learn_entry(r, n, reply->entries[i]);
		if (reply->end && !r->failed && n->lost == r->lost)
			n->complete = true;
	}
	if (n)
		n->used = true;
	end(r->op.cache);
}

void cache_learn_list(struct cache_reading *r, const struct cache_path *path,
		      const Gofer__ReadDirReply *reply)
{
	struct cache *c = r->op.cache;

	learn_page(r, path, reply);
	if (c && c->watched && r->failed)
		let_go(c, reply);
}
