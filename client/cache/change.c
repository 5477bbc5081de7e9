/*
 * change.c - what this client's own changes did.
 *
 * Each function first forgets whatever the change may have made wrong, then learns what the reply
 * says, unless another change overlapped. Other trees of the cache (another filesystem, which may
 * show the same directories; another identity) forget all they know.
 */
#include "client/cache/state.h"

#include <string.h>

#include "common/path.h"

static void drop_others(struct cache *c, const struct tree *tree)
{
	for (struct tree **at = &c->trees; *at;) {
		struct tree *t = *at;

		if (t == tree) {
			at = &t->next;
			continue;
		}
		*at = t->next;
		node_drop(c, t->root);
		c->bytes -= sizeof(*t);
		free(t);
	}
}

/* With the lock: the tree of the change. */
static struct tree *begin(struct cache_op *op, const struct cache_path *path)
{
	struct cache *c = op->cache;
	struct tree *tree;

	if (!c)
		return NULL;
	pthread_mutex_lock(&c->lock);
	tree = tree_of(c, path->fs_id, path->identity, true);
	drop_others(c, tree); /* without memory: all of them */
	if (!tree)
		cache_unlock(c);
	return tree;
}

static void end(struct cache *c)
{
	cache_trim(c);
	cache_unlock(c);
}

/* A directory of which entries changed. */
static void touched(struct cache_op *op, struct node *dir, const Gofer__Attr *attr)
{
	struct cache *c = op->cache;

	if (dir && dir->inode)
		inode_doubt(c, dir->inode);
	if (!attr)
		return;
	if (op_may_learn(op)) {
		if (dir && S_ISDIR(attr->mode))
			(void)learn_inode(op, dir, attr);
	} else {
		struct inode *i = inode_find(c, attr->dev, attr->ino);

		if (i)
			inode_doubt(c, i);
	}
}

/* A name in a directory, for changing it. */
struct place {
	struct node *dir;
	const char *name;
	size_t len;
	struct node *node; /* NULL: nothing is known of it */
};

/* False where the cache cannot tell what is meant. */
static bool find_place(struct cache *c, struct tree *tree, const struct cache_path *path,
		       struct place *ret)
{
	size_t end = path->len, begin;

	while (end && path->text[end - 1] == '/')
		end--;
	for (begin = end; begin && path->text[begin - 1] != '/';)
		begin--;
	*ret = (struct place){ .name = path->text + begin, .len = end - begin };
	if (ret->len == 0 || path_is_dot(ret->name, ret->len) ||
	    path_is_dotdot(ret->name, ret->len))
		return false;
	ret->dir = node_make(c, tree, path->text, begin, false, NULL);
	if (!ret->dir)
		return false;
	if (ret->dir->state == NODE_ABSENT ||
	    (ret->dir->state == NODE_THERE && !ret->dir->directory))
		node_lead_to(c, ret->dir, NULL);
	ret->node = node_child(c, ret->dir, ret->name, ret->len);
	return true;
}

/* What the name led to has one name less. */
static void lose_name(struct cache *c, const struct node *n)
{
	if (n && n->state == NODE_THERE)
		inode_doubt(c, n->inode);
	else if (!n || n->state == NODE_UNKNOWN)
		c->links++;
}

/* An object of which nothing is certain any more but that it may be there. */
static void doubt(struct cache *c, const Gofer__Attr *attr)
{
	struct inode *i = attr ? inode_find(c, attr->dev, attr->ino) : NULL;

	if (i)
		inode_doubt(c, i);
}

void cache_made(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *attr,
		const Gofer__Attr *parent, const char *target, bool replaces)
{
	struct tree *tree = begin(op, path);
	struct cache *c = op->cache;
	bool existed = false;
	struct place p;
	struct inode *i;

	if (!tree)
		return;
	if (!find_place(c, tree, path, &p)) {
		cache_drop_locked(c);
		end(c);
		return;
	}
	if (replaces)
		lose_name(c, p.node);
	else if (attr && p.node && p.node->state == NODE_THERE)
		existed = p.node->inode->dev == attr->dev && p.node->inode->ino == attr->ino;
	if (p.node && !existed)
		node_drop_below(c, p.node);
	if (attr && op_may_learn(op)) {
		p.dir->directory = p.dir->searchable = true;
		if (!p.node)
			p.node = node_new(c, p.dir, p.name, p.len);
		i = p.node ? learn_inode(op, p.node, attr) : NULL;
		if (!i)
			p.dir->complete = false;
		else if (target)
			(void)inode_set_target(c, i, target, strlen(target));
	} else {
		doubt(c, attr);
		if (p.node)
			node_drop(c, p.node);
		p.dir->complete = false;
		p.dir->lost++;
	}
	if (!existed)
		touched(op, p.dir, parent);
	end(c);
}

void cache_removed(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *parent)
{
	struct tree *tree = begin(op, path);
	struct cache *c = op->cache;
	struct place p;

	if (!tree)
		return;
	if (!find_place(c, tree, path, &p)) {
		cache_drop_locked(c);
		end(c);
		return;
	}
	lose_name(c, p.node);
	if (op_may_learn(op)) {
		if (!p.node)
			p.node = node_new(c, p.dir, p.name, p.len);
		if (p.node)
			node_set_absent(c, p.node);
		p.dir->directory = p.dir->searchable = true;
	} else if (p.node) {
		node_drop(c, p.node);
	}
	touched(op, p.dir, parent);
	end(c);
}

/* Forgets a name; there may or may not be something. */
static void forget(struct cache *c, struct place *p)
{
	if (p->node)
		node_drop(c, p->node);
	p->node = NULL;
	p->dir->complete = false;
	p->dir->lost++;
}

/* Whether `dir` lies in what the name leads to. */
static bool is_inside(const struct node *dir, const struct place *p)
{
	while (dir && dir != p->node)
		dir = dir->parent;
	return dir != NULL;
}

/* Plain rename: what is known below `from` goes along. */
static void move(struct cache_op *op, struct place *from, struct place *to, const Gofer__Attr *attr)
{
	struct cache *c = op->cache;
	/* Two names of one file: then nothing was renamed. */
	bool certain = op_may_learn(op) && attr && (S_ISDIR(attr->mode) || attr->nlink <= 1) &&
		       from->node && from->node->state != NODE_ABSENT;

	if (!certain) {
		forget(c, from);
		forget(c, to);
		doubt(c, attr);
		return;
	}
	if (to->node) {
		node_set_absent(c, to->node);
		node_drop(c, to->node);
	}
	if (node_move(c, from->node, to->dir, to->name, to->len) < 0) {
		forget(c, from);
		to->dir->complete = false;
		to->dir->lost++;
		return;
	}
	from->dir->lost++;
	if (!learn_inode(op, from->node, attr))
		node_drop(c, from->node);
	from->node = node_new(c, from->dir, from->name, from->len);
	if (from->node)
		from->node->state = NODE_ABSENT;
}

void cache_renamed(struct cache_op *op, const struct cache_path *from, const struct cache_path *to,
		   enum cache_rename how, const Gofer__RenameReply *reply)
{
	struct tree *tree = begin(op, from);
	struct cache *c = op->cache;
	struct place a, b;

	if (!tree)
		return;
	if (!find_place(c, tree, from, &a) || !find_place(c, tree, to, &b)) {
		cache_drop_locked(c);
		end(c);
		return;
	}
	/* Finding the second may have changed what is known of the first. */
	a.node = node_child(c, a.dir, a.name, a.len);
	if ((a.node && is_inside(b.dir, &a)) || (b.node && is_inside(a.dir, &b))) {
		cache_drop_locked(c); /* no server renames so */
		end(c);
		return;
	}
	if (a.node && a.node->inode)
		inode_doubt(c, a.node->inode);
	if (a.dir == b.dir && a.len == b.len && memcmp(a.name, b.name, a.len) == 0) {
		/* To itself: nothing happened. */
		end(c);
		return;
	}
	if (how == CACHE_RENAME)
		lose_name(c, b.node);
	if (how == CACHE_RENAME_SWAP) {
		lose_name(c, a.node);
		lose_name(c, b.node);
		forget(c, &a);
		forget(c, &b);
	} else {
		move(op, &a, &b, reply->attr);
	}
	touched(op, a.dir, reply->source_parent);
	touched(op, b.dir, reply->dest_parent);
	end(c);
}

void cache_set(struct cache_op *op, const struct cache_path *path, const Gofer__Attr *attr,
	       bool acl)
{
	struct cache *c = op->cache;
	struct tree *tree;
	struct inode *i;
	struct node *n;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	i = attr ? inode_find(c, attr->dev, attr->ino) : NULL;
	if (!attr || (S_ISDIR(attr->mode) && (acl || !path || !i))) {
		/* A directory's permissions decide about all below it, by whatever name. */
		cache_drop_locked(c);
		cache_unlock(c);
		return;
	}
	tree = path ? tree_of(c, path->fs_id, path->identity, true) : NULL;
	if (S_ISDIR(attr->mode))
		drop_others(c, tree);
	/* Others may have had the only names of it. */
	i = inode_find(c, attr->dev, attr->ino);
	if (i) {
		inode_doubt(c, i);
		if (acl || !op_may_learn_file(op))
			inode_permissions(c, i);
	}
	if (op_may_learn_file(op)) {
		n = tree ? node_make(c, tree, path->text, path->len, true, NULL) : NULL;
		if (n)
			(void)learn_inode(op, n, attr);
		else if (inode_find(c, attr->dev, attr->ino))
			(void)inode_learn(c, attr);
	}
	end(c);
}

void cache_wrote(struct cache_op *op, const Gofer__Attr *attr)
{
	struct cache *c = op->cache;
	struct inode *i;

	if (!c || !attr)
		return;
	pthread_mutex_lock(&c->lock);
	i = inode_find(c, attr->dev, attr->ino);
	if (i) {
		inode_doubt(c, i);
		if (op_may_learn_file(op))
			(void)inode_learn(c, attr);
	}
	cache_unlock(c);
}
