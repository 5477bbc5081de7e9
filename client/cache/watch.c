/*
 * watch.c - what others change: the kernel's queue of events, and which claims they end.
 *
 * In a cache with watches every node but an absent one has a watch on what it leads to, and so have
 * all above it. The watch was there before the state was read. The kernel queues an event before the
 * system call that changed something returns; so an empty queue, which costs one system call to see,
 * proves every claim. Where it is not empty its events are taken in first. A reply that was under way when an
 * event was taken in teaches nothing: it may be older.
 *
 * What no event tells of is never claimed: stores through a mapping are not seen by inotify, nor
 * are reads (the time of access lags).
 */
#include "client/cache/state.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "common/path.h"

enum {
	GONE_MAX = 4096,
	READS_MAX = 64, /* of the queue, before one gives up catching up */
};

/* ---- watches ---- */

static struct watch **chain(const struct cache *c, uint32_t number)
{
	return &c->watches[number & (c->watches_size - 1)];
}

static struct watch *watch_find(const struct cache *c, uint32_t number)
{
	struct watch *w = c->watches_size ? *chain(c, number) : NULL;

	while (w && w->number != number)
		w = w->next;
	return w;
}

static int grow(struct cache *c)
{
	size_t size = c->watches_size ? 2 * c->watches_size : 64, old = c->watches_size;
	struct watch **from = c->watches, **to = calloc(size, sizeof(*to));

	if (!to)
		return -ENOMEM;
	c->watches = to;
	c->watches_size = size;
	c->bytes += (size - old) * sizeof(*to);
	for (size_t s = 0; s < old; s++)
		for (struct watch *w = from[s], *next; w; w = next) {
			struct watch **at = chain(c, w->number);

			next = w->next;
			w->next = *at;
			*at = w;
		}
	free(from);
	return 0;
}

static void forget_gone(struct cache *c, uint32_t number)
{
	for (size_t i = 0; i < c->n_gone; i++)
		if (c->gone[i] == number)
			c->gone[i--] = c->gone[--c->n_gone];
}

/* False without memory to note it. */
static bool note_ended(struct cache *c, uint32_t number)
{
	size_t size = c->ended_size ? c->ended_size : 128;
	uint8_t *bits;

	while (size <= number / 8)
		size *= 2;
	if (size != c->ended_size) {
		bits = realloc(c->ended, size);
		if (!bits)
			return false;
		memset(bits + c->ended_size, 0, size - c->ended_size);
		c->bytes += size - c->ended_size;
		c->ended = bits;
		c->ended_size = size;
	}
	c->ended[number / 8] |= (uint8_t)(1u << number % 8);
	return true;
}

static bool has_ended(const struct cache *c, uint32_t number)
{
	return number / 8 < c->ended_size && (c->ended[number / 8] & 1u << number % 8);
}

static struct watch *watch_get(struct cache *c, uint32_t number)
{
	struct watch *w = watch_find(c, number);

	if (w)
		return w;
	if (has_ended(c, number))
		return NULL;
	if (c->n_watches >= c->watches_size && grow(c) < 0)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->number = number;
	w->next = *chain(c, number);
	*chain(c, number) = w;
	c->n_watches++;
	c->bytes += heap_bytes(sizeof(*w));
	forget_gone(c, number);
	return w;
}

/* Nothing needs it any more: the server is told with a later request. */
static void let_go(struct cache *c, uint32_t number)
{
	if (!c->gone)
		c->gone = malloc(GONE_MAX * sizeof(*c->gone));
	/* One too many stays with the server until the session ends. */
	if (c->gone && c->n_gone < GONE_MAX)
		c->gone[c->n_gone++] = number;
}

void watch_unneeded(struct cache *c, uint32_t number)
{
	if (number && !watch_find(c, number)) {
		forget_gone(c, number);
		let_go(c, number);
	}
}

static void watch_free(struct cache *c, struct watch *w)
{
	struct watch **at = chain(c, w->number);

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	let_go(c, w->number);
	c->n_watches--;
	c->bytes -= heap_bytes(sizeof(*w));
	free(w);
}

void node_unwatch(struct cache *c, struct node *n)
{
	struct watch *w = n->watch;

	if (!w)
		return;
	if (n->next_watched)
		n->next_watched->prev_watched = n->prev_watched;
	if (n->prev_watched)
		n->prev_watched->next_watched = n->next_watched;
	else
		w->nodes = n->next_watched;
	n->watch = NULL;
	n->prev_watched = n->next_watched = NULL;
	if (!w->nodes)
		watch_free(c, w);
}

int node_watch(struct cache *c, struct node *n, uint32_t number)
{
	struct watch *w;

	if (n->watch && n->watch->number == number)
		return 0;
	/* It leads to something else than before. */
	node_unwatch(c, n);
	node_drop_below(c, n);
	node_lead_to(c, n, NULL);
	w = n->dead ? NULL : watch_get(c, number);
	if (!w)
		return -ENOMEM;
	n->watch = w;
	n->next_watched = w->nodes;
	if (w->nodes)
		w->nodes->prev_watched = n;
	w->nodes = n;
	return 0;
}

void watches_free(struct cache *c)
{
	free(c->watches);
	free(c->gone);
	free(c->ended);
	c->ready = fd_close(c->ready);
	c->queue = fd_close(c->queue);
}

size_t cache_take_gone(struct cache *c, uint32_t *watches, size_t most)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = MIN(most, c->n_gone);
	if (n)
		memcpy(watches, c->gone + c->n_gone - n, n * sizeof(*watches));
	c->n_gone -= n;
	cache_unlock(c);
	return n;
}

/* ---- events ---- */

/* An entry of a directory is another than before, or its attributes are. */
static void entry_changed(struct cache *c, struct node *dir, const struct inotify_event *e)
{
	struct node *child = node_child(c, dir, e->name, strlen(e->name));

	if (e->mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)) {
		if (dir->inode)
			inode_doubt(c, dir->inode);
		dir->complete = false;
		dir->lost++;
		if (child)
			node_drop(c, child);
	} else if (child && child->inode) {
		inode_doubt(c, child->inode);
		if (e->mask & IN_ATTRIB)
			inode_permissions(c, child->inode);
	} else if (child) {
		node_drop(c, child);
	}
}

static void object_changed(struct cache *c, struct node *n, uint32_t mask)
{
	if (n->inode)
		inode_doubt(c, n->inode);
	if (mask & IN_ATTRIB) {
		/* Perhaps its permissions, which decide about what is below. */
		n->access_known = 0;
		n->searchable = false;
		node_drop_below(c, n);
	}
}

static void event(struct cache *c, const struct inotify_event *e)
{
	struct watch *w;

	/*
	 * The end of a watch, which may be of our own asking, makes no reply older than something
	 * new: but one that names it promises nothing.
	 */
	if ((e->mask & IN_IGNORED) && note_ended(c, (uint32_t)e->wd) &&
	    !watch_find(c, (uint32_t)e->wd))
		return;
	c->names_changed = c->data_changed = ++c->clock;

	if (e->mask & IN_Q_OVERFLOW) {
		cache_drop_locked(c);
		return;
	}
	w = watch_find(c, (uint32_t)e->wd);
	if (!w)
		return;
	if (e->mask & (IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF)) {
		/* The last node takes the watch with it. */
		while ((w = watch_find(c, (uint32_t)e->wd))) {
			struct node *n = w->nodes;

			if (n->parent) {
				node_drop(c, n);
			} else {
				cache_drop_locked(c);
				return;
			}
		}
		return;
	}
	if (e->len) {
		/* A directory; it may show in several trees. */
		for (struct node *n = w->nodes; n; n = n->next_watched)
			entry_changed(c, n, e);
		return;
	}
	for (struct node *n = w->nodes; n; n = n->next_watched)
		object_changed(c, n, e->mask);
}

/*
 * An event that is queued makes an epoll ready before the call that queued it goes on, and to see that it is not takes half of what
 * FIONREAD takes. (Once it was ready, it says so once more.)
 */
static bool is_empty(const struct cache *c)
{
	struct epoll_event e;

	/* Not epoll_wait(), which is a cancellation point. */
	return c->ready >= 0 && syscall(SYS_epoll_pwait, c->ready, &e, 1, 0, NULL, 0) == 0;
}

bool watch_catch_up(struct cache *c)
{
	char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));

	if (c->queue < 0)
		return true; /* nothing is claimed without it */
	if (is_empty(c))
		return true;
	for (unsigned i = 0; i < READS_MAX; i++) {
		int waiting = 0;
		ssize_t n;

		if (ioctl(c->queue, FIONREAD, &waiting) < 0)
			break;
		if (waiting == 0)
			return true;
		n = read(c->queue, buf, sizeof(buf));
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			break;
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(buf + at);

			event(c, e);
			at += (ssize_t)(sizeof(*e) + e->len);
		}
	}
	cache_drop_locked(c);
	return false;
}

/* ---- learning ---- */

bool cache_wants_queue(struct cache *c)
{
	bool wants;

	pthread_mutex_lock(&c->lock);
	wants = c->queue < 0;
	cache_unlock(c);
	return wants;
}

void cache_set_queue(struct cache *c, int fd)
{
	struct epoll_event e = { .events = EPOLLIN };

	pthread_mutex_lock(&c->lock);
	if (c->queue < 0) {
		c->queue = TAKE_FD(fd);
		c->ready = epoll_create1(EPOLL_CLOEXEC);
		/* Without it the queue itself is asked. */
		if (c->ready >= 0 && epoll_ctl(c->ready, EPOLL_CTL_ADD, c->queue, &e) < 0)
			c->ready = fd_close(c->ready);
	}
	cache_unlock(c);
	fd_close(fd);
}

static size_t components(const char *text, size_t len)
{
	size_t at = 0, begin, end, n = 0;

	while (path_next(text, len, &at, &begin, &end))
		n++;
	return n;
}

static void learn(struct cache *c, struct tree *tree, const struct cache_path *path,
		  const Gofer__WatchReply *m)
{
	struct node *n = tree->root, *child;
	size_t at = 0, begin, end, i = 0;
	struct inode *inode;

	if (node_watch(c, n, m->watches[i++]) < 0)
		return;
	while (path_next(path->text, m->end, &at, &begin, &end)) {
		bool absent = i == m->n_watches;

		n->directory = n->searchable = true;
		n->used = true;
		child = node_child(c, n, path->text + begin, end - begin);
		if (!child) {
			n->complete = n->complete && absent;
			child = node_new(c, n, path->text + begin, end - begin);
		}
		if (!child)
			return;
		if (absent) {
			node_set_absent(c, child);
			return;
		}
		if (node_watch(c, child, m->watches[i++]) < 0) {
			node_drop(c, child);
			return;
		}
		n = child;
	}
	inode = inode_learn(c, m->attr);
	if (!inode)
		return;
	node_lead_to(c, n, inode);
	if (n->inode != inode)
		return;
	n->access_known = (uint8_t)(m->access | m->refused);
	n->access_granted = (uint8_t)m->access;
	if (n->directory && (m->access & 1))
		n->searchable = true;
	if (m->target.len)
		(void)inode_set_target(c, inode, m->target.data, m->target.len);
}

void cache_learn_watched(struct cache_op *op, const struct cache_path *path,
			 const Gofer__WatchReply *m)
{
	struct cache *c = op->cache;
	struct tree *tree;

	pthread_mutex_lock(&c->lock);
	if (c->queue >= 0 && m->n_watches && watch_catch_up(c) && op_may_learn(op) &&
	    components(path->text, m->end) + !m->error == m->n_watches) {
		tree = tree_of(c, path->fs_id, path->identity, true);
		if (tree)
			learn(c, tree, path, m);
		cache_trim(c);
	}
	for (size_t i = 0; i < m->n_watches; i++)
		watch_unneeded(c, m->watches[i]);
	if (m->n_watches)
		watches_granted(c);
	cache_unlock(c);
}
