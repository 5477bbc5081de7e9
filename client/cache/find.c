/*
 * find.c - answers: a path walked through what is known, as the server would walk it.
 *
 * Whatever is not certain is a miss, and so is every error but ENOENT: the server then says which.
 */
#include "client/cache/state.h"

#include <string.h>

#include "common/path.h"

struct walk {
	struct node *node;
	size_t begin, end; /* of the node's component, in the text */
	bool slash;        /* a directory is meant: "/" or "." behind it */
};

static bool is_link(const struct node *n)
{
	return n->state == NODE_THERE && S_ISLNK(n->inode->attr.mode);
}

/* From a node at text[at]. HIT: to the end of the text. LINK: walk->node is in the way. */
static enum cache_found walk(struct cache *c, struct node *from, const char *text, size_t at,
			     size_t len, struct walk *w)
{
	size_t begin, end;

	*w = (struct walk){ .node = from };
	while (path_next(text, len, &at, &begin, &end)) {
		struct node *n = w->node;

		if (n->state == NODE_ABSENT)
			return CACHE_ABSENT;
		if (is_link(n))
			return CACHE_LINK;
		if (n->state == NODE_THERE && !n->directory)
			return CACHE_MISS;
		if (path_is_dot(text + begin, end - begin) ||
		    path_is_dotdot(text + begin, end - begin)) {
			if (!n->directory || !n->searchable)
				return CACHE_MISS;
			if (end - begin == 2) {
				if (!n->parent)
					return CACHE_MISS;
				w->node = n->parent;
			}
			w->slash = true;
			continue;
		}
		w->node = node_child(c, n, text + begin, end - begin);
		if (!w->node) {
			w->node = n;
			return n->complete && n->searchable ? CACHE_ABSENT : CACHE_MISS;
		}
		w->begin = begin;
		w->end = end;
		w->slash = false;
	}
	if (len && text[len - 1] == '/')
		w->slash = true;
	return CACHE_HIT;
}

/* Where the path starts: the directory that it says, if that is still there. */
static struct node *start_of(struct cache *c, const struct tree *tree,
			     const struct cache_path *path)
{
	struct walk w;

	if (!path->based)
		return tree->root;
	if (walk(c, tree->root, path->text, 0, path->base, &w) != CACHE_HIT ||
	    w.node->state != NODE_THERE || !w.node->directory || w.node->inode->dev != path->dev ||
	    w.node->inode->ino != path->ino)
		return NULL;
	return w.node;
}

static enum cache_found stop_at(const struct walk *w, struct cache_answer *a)
{
	const char *target = w->node->inode->target;
	size_t len;

	if (!target)
		return CACHE_MISS;
	len = strlen(target);
	if (len >= sizeof(a->text))
		return CACHE_MISS;
	memcpy(a->text, target, len + 1);
	a->stop = (Gofer__Stop)GOFER__STOP__INIT;
	a->stop.reason = GOFER__STOP__REASON__SYMLINK;
	a->stop.begin = (uint32_t)w->begin;
	a->stop.end = (uint32_t)w->end;
	a->stop.target = (ProtobufCBinaryData){ len, (uint8_t *)a->text };
	return CACHE_LINK;
}

static enum cache_found access_of(const struct cache *c, const struct node *n, unsigned mode)
{
	if (n->state != NODE_THERE)
		return CACHE_MISS;
	if (n->access_known & ~n->access_granted & mode)
		return CACHE_DENIED;
	if (!mode)
		return inode_holds(c, n->inode) ? CACHE_HIT : CACHE_MISS;
	return (n->access_known & mode) == mode ? CACHE_HIT : CACHE_MISS;
}

static enum cache_found target_of(const struct node *n, struct cache_answer *a)
{
	size_t len;

	/* What a name leads to never becomes another type. */
	if (n->state == NODE_THERE && n->inode->attr.mode && !is_link(n))
		return CACHE_NO_LINK;
	if (!is_link(n) || !n->inode->target)
		return CACHE_MISS;
	len = strlen(n->inode->target);
	if (len >= sizeof(a->text))
		return CACHE_MISS;
	memcpy(a->text, n->inode->target, len + 1);
	a->len = len;
	return CACHE_HIT;
}

static enum cache_found file_of(const struct cache *c, const struct node *n, struct cache_answer *a)
{
	const struct inode *i = n->inode;

	if (!i->data || !inode_holds(c, i) || !(n->access_known & n->access_granted & 4))
		return CACHE_MISS;
	a->data = malloc(i->attr.size + 1);
	if (!a->data)
		return CACHE_MISS;
	a->attr = i->attr;
	memcpy(a->data, i->data, i->attr.size);
	a->data[i->attr.size] = '\0';
	return CACHE_HIT;
}

/* ---- listings ---- */

static bool listable(const struct cache *c, const struct node *n)
{
	return inode_holds(c, n->inode) && (!S_ISLNK(n->inode->attr.mode) || n->inode->target);
}

/* What the copy of one entry takes beside the fixed parts. */
static size_t entry_text(const struct node *n)
{
	const char *target = S_ISLNK(n->inode->attr.mode) ? n->inode->target : NULL;

	return n->name_len + (target ? strlen(target) : 0);
}

static void copy_entry(const struct node *n, Gofer__Entry *e, Gofer__Attr *attr, uint8_t **text)
{
	const struct inode *i = n->inode;

	*attr = i->attr;
	*e = (Gofer__Entry)GOFER__ENTRY__INIT;
	e->name = (ProtobufCBinaryData){ n->name_len, *text };
	memcpy(*text, n->name, n->name_len);
	*text += n->name_len;
	e->type = (i->attr.mode & S_IFMT) >> 12;
	e->ino = i->ino;
	e->attr = attr;
	if (S_ISLNK(i->attr.mode)) {
		size_t len = strlen(i->target);

		e->target = (ProtobufCBinaryData){ len, *text };
		memcpy(*text, i->target, len);
		*text += len;
	}
}

static enum cache_found list_of(const struct cache *c, struct node *dir, struct cache_answer *a)
{
	struct cache_listing *l;
	size_t n = 0, text = 0, i = 0;
	Gofer__Attr *attrs;
	uint8_t *at;

	if (dir->state != NODE_THERE || !dir->complete || !inode_holds(c, dir->inode))
		return CACHE_MISS;
	for (struct node *child = dir->first; child; child = child->after) {
		if (child->state == NODE_ABSENT)
			continue;
		if (child->state != NODE_THERE || !listable(c, child))
			return CACHE_MISS;
		n++;
		text += entry_text(child);
	}
	l = malloc(sizeof(*l) + n * (sizeof(*l->entries) + sizeof(*l->list) + sizeof(*attrs)) +
		   text);
	if (!l)
		return CACHE_MISS;
	*l = (struct cache_listing){ .attr = dir->inode->attr, .n = n };
	l->entries = (Gofer__Entry *)(l + 1);
	attrs = (Gofer__Attr *)(l->entries + n);
	l->list = (Gofer__Entry **)(attrs + n);
	at = (uint8_t *)(l->list + n);
	for (struct node *child = dir->first; child; child = child->after) {
		if (child->state == NODE_ABSENT)
			continue;
		copy_entry(child, &l->entries[i], &attrs[i], &at);
		l->list[i] = &l->entries[i];
		i++;
	}
	a->listing = l;
	return CACHE_HIT;
}

/* ---- */

static enum cache_found find(struct cache *c, const struct cache_path *path, enum cache_want want,
			     unsigned mode, struct cache_answer *a)
{
	const struct tree *tree = tree_of(c, path->fs_id, path->identity, false);
	enum cache_found found;
	struct node *n;
	struct walk w;

	if (!tree || c->names_in_flight || c->blind_in_flight)
		return CACHE_MISS;
	n = start_of(c, tree, path);
	if (!n)
		return CACHE_MISS;
	found = walk(c, n, path->text, path->base, path->len, &w);
	n = w.node;
	n->used = true;
	n->used_at = c->looks;
	if (found == CACHE_LINK)
		return stop_at(&w, a);
	if (found != CACHE_HIT)
		return found;
	if (n->state == NODE_ABSENT)
		return CACHE_ABSENT;
	if (is_link(n) && (w.slash || !path->nofollow))
		return stop_at(&w, a);
	if (want == CACHE_LINKS || n->state != NODE_THERE || (w.slash && !n->directory))
		return CACHE_MISS;
	switch (want) {
	case CACHE_ATTR:
		if (!inode_holds(c, n->inode) || (path->names && S_ISREG(n->inode->attr.mode)))
			return CACHE_MISS;
		a->attr = n->inode->attr;
		return CACHE_HIT;
	case CACHE_OPEN:
		if (!S_ISREG(n->inode->attr.mode) || (n->access_known & ~n->access_granted & 4))
			return CACHE_DENIED;
		if (!(n->access_known & 4))
			return CACHE_MISS;
		a->attr = n->inode->attr;
		return CACHE_HIT;
	case CACHE_ACCESS:
		return access_of(c, n, mode);
	case CACHE_FILE:
		return file_of(c, n, a);
	case CACHE_TARGET:
		return target_of(n, a);
	default:
		return list_of(c, n, a);
	}
}

/* path[begin..end) is the next component: what it does to the node and the text so far. */
static bool undot(struct cache *c, struct node **at, const char *name, size_t len, char *text,
		  size_t *n)
{
	struct node *node = *at;

	if (!path_is_dot(name, len) && !path_is_dotdot(name, len)) {
		if (*n)
			text[(*n)++] = '/';
		memcpy(text + *n, name, len);
		*n += len;
		*at = node ? node_child(c, node, name, len) : NULL;
		return true;
	}
	if (!node || !node->directory || !node->searchable)
		return false;
	if (len == 1)
		return true;
	*at = node->parent;
	if (!node->parent)
		return false;
	while (*n && text[*n - 1] != '/')
		--*n;
	*n -= *n > 0;
	return true;
}

bool cache_undot(struct cache *c, const struct cache_path *path, char *text, size_t *ret_len)
{
	const struct tree *tree;
	size_t at = 0, begin, end, n = 0;
	bool slash = false, known;
	struct node *node;

	pthread_mutex_lock(&c->lock);
	tree = c->watched && !watch_catch_up(c) ? NULL
						: tree_of(c, path->fs_id, path->identity, false);
	node = tree ? tree->root : NULL;
	known = tree != NULL;
	while (known && path_next(path->text, path->len, &at, &begin, &end)) {
		known = undot(c, &node, path->text + begin, end - begin, text, &n);
		slash = path_is_dot(path->text + begin, end - begin) ||
			path_is_dotdot(path->text + begin, end - begin);
	}
	cache_unlock(c);
	if (known && n && (slash || path->text[path->len - 1] == '/'))
		text[n++] = '/';
	*ret_len = n;
	return known;
}

enum cache_found cache_find(struct cache *c, const struct cache_path *path, enum cache_want want,
			    unsigned mode, struct cache_answer *a)
{
	pthread_mutex_lock(&c->lock);
	c->looks++;
	a->found = c->watched && !watch_catch_up(c) ? CACHE_MISS : find(c, path, want, mode, a);
	if (a->found != CACHE_MISS)
		c->stats.hits++;
	else if (want != CACHE_LINKS)
		c->stats.misses++;
	cache_unlock(c);
	return a->found;
}

bool cache_peek(struct cache *c, const struct cache_path *path, Gofer__Attr *ret_attr)
{
	struct cache_answer a;
	bool found;

	pthread_mutex_lock(&c->lock);
	found = !c->watched && find(c, path, CACHE_ATTR, 0, &a) == CACHE_HIT;
	if (found)
		*ret_attr = a.attr;
	cache_unlock(c);
	return found;
}

bool cache_find_inode(struct cache *c, uint64_t dev, uint64_t ino, Gofer__Attr *ret_attr)
{
	struct inode *i;
	bool found = false;

	pthread_mutex_lock(&c->lock);
	if (c->watched) {
		/* By number nobody knows which names, and so which watches, are meant. */
		cache_unlock(c);
		return false;
	}
	i = c->names_in_flight || c->blind_in_flight || c->data_in_flight ? NULL
									  : inode_find(c, dev, ino);
	if (i && inode_holds(c, i)) {
		*ret_attr = i->attr;
		found = true;
	}
	c->stats.hits += found;
	c->stats.misses += !found;
	cache_unlock(c);
	return found;
}
