/*
 * handlers_watch.c - Watch: one path, component by component, each watched before the next is looked
 * for, and the object before its attributes are read.
 *
 * Whoever then finds no event in the queue knows that the same walk would end the same way. Where
 * one of the watches cannot be had, none is promised: the answer is that of Stat.
 */
#include "server/session.h"

#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>

#include "common/path.h"

struct watched {
	struct request *request;
	Gofer__WatchReply *reply;
	uint32_t *fresh; /* of the reply's watches, those that are new */
	size_t n_fresh;
	bool covered;
	bool at_link; /* the walk ended before the path did */
};

/* Nothing is promised. */
static void uncover(struct watched *w)
{
	w->covered = false;
	while (w->n_fresh)
		watch_drop(&w->request->session->watches, w->fresh[--w->n_fresh]);
	w->reply->n_watches = 0;
}

/* One more of the way. */
static void cover(struct watched *w, const struct fs_node *node)
{
	struct watches *watches = &w->request->session->watches;
	uint32_t watch;
	bool fresh;

	if (!w->covered)
		return;
	if (watch_add(watches, node->fd, NULL, &watch, &fresh) == 0) {
		w->reply->watches[w->reply->n_watches++] = watch;
		if (fresh)
			w->fresh[w->n_fresh++] = watch;
		return;
	}
	uncover(w);
}

/* What access(2) would grant, and what the object is. */
static int look(struct watched *w, const struct fs_node *node)
{
	struct request *r = w->request;
	struct fs *fs = request_fs(r);
	Gofer__Attr attr = GOFER__ATTR__INIT;
	int e = fs->ops->getattr(fs, node, &attr);

	if (e < 0)
		return e;
	/* It was replaced since. */
	if (w->at_link && !S_ISLNK(attr.mode))
		return -EAGAIN;
	if (S_ISLNK(attr.mode)) {
		char *target = arena_alloc(&r->worker->arena, PATH_MAX);
		ssize_t n = target ? fs->ops->readlink(fs, node, target, PATH_MAX) : -EMSGSIZE;

		if (n < 0)
			return (int)n;
		w->reply->target = (ProtobufCBinaryData){ (size_t)n, (uint8_t *)target };
	} else {
		for (unsigned bit = 1; bit <= 4; bit <<= 1) {
			e = fs->ops->access(fs, node, (int)bit);
			if (e == 0)
				w->reply->access |= bit;
			else if (e == -EACCES)
				w->reply->refused |= bit;
		}
	}
	w->reply->attr = request_attr(r, &attr);
	return w->reply->attr ? 0 : -EMSGSIZE;
}

static int walk(struct watched *w, const ProtobufCBinaryData *path)
{
	const char *text = (const char *)path->data;
	struct fs *fs = request_fs(w->request);
	_cleanup_node_ struct fs_node node = FS_NODE_NULL;
	const struct fs_node root = FS_ROOT_NODE(fs), *at = &root;
	size_t pos = 0, begin, end, next_begin = 0, next_end = 0;
	bool more = path_next(text, path->len, &pos, &begin, &end);

	cover(w, at);
	w->reply->end = (uint32_t)path->len;
	while (more) {
		struct fs_node child = FS_NODE_NULL;
		char name[PATH_NAME_MAX + 1];
		int e;

		memcpy(name, text + begin, end - begin);
		name[end - begin] = '\0';
		more = path_next(text, path->len, &pos, &next_begin, &next_end);
		e = fs->ops->child(fs, at, name, more, &child);
		if (e == FS_SYMLINK) {
			more = false;
			e = fs->ops->child(fs, at, name, false, &child);
			w->reply->end = (uint32_t)end;
			w->at_link = true;
		}
		if (e == -ENOENT) {
			w->reply->end = (uint32_t)end;
			w->reply->error = ENOENT;
			return 0;
		}
		if (e != 0)
			return e == FS_SYMLINK ? -EAGAIN : e;
		fs_node_deinit(&node);
		node = child;
		at = &node;
		cover(w, at);
		begin = next_begin;
		end = next_end;
	}
	return look(w, at);
}

/* Where nothing can be watched. */
static int plain(struct watched *w, const Gofer__WatchRequest *q)
{
	_cleanup_walk_ struct walk_result found = { .node = FS_NODE_NULL };
	const struct fs_node *node;
	int e = request_object(w->request, q->path, true, &found, &node, NULL);

	w->reply->end = (uint32_t)q->path->path.len;
	return e != 0 ? e : look(w, node);
}

static bool has_dots(const ProtobufCBinaryData *path)
{
	size_t at = 0, begin, end;

	while (path_next((const char *)path->data, path->len, &at, &begin, &end))
		if (path_is_dot((const char *)path->data + begin, end - begin) ||
		    path_is_dotdot((const char *)path->data + begin, end - begin))
			return true;
	return false;
}

int handle_watch(struct request *r, const Gofer__WatchRequest *q)
{
	struct watches *watches = &r->session->watches;
	size_t most = q->path->path.len / 2 + 2;
	struct watched w = { .request = r };
	int e;

	for (size_t i = 0; i < q->n_drop; i++)
		watch_drop(watches, q->drop[i]);
	w.reply = REQUEST_REPLY(r, WatchReply, watch_reply);
	if (!w.reply)
		return -EMSGSIZE;
	w.reply->watches = arena_calloc(&r->worker->arena, most, sizeof(*w.reply->watches));
	w.fresh = arena_calloc(&r->worker->arena, most, sizeof(*w.fresh));
	if (!w.reply->watches || !w.fresh)
		return -EMSGSIZE;
	/* A mount that is not our own can have others put over it, of which nobody tells. */
	w.covered = (request_fs(r)->flags & FS_DETACHED) && request_fs(r)->ops == &fs_host_ops &&
		    watches->limit;
	e = w.covered && !r->base[0] && !has_dots(&q->path->path) ? walk(&w, &q->path->path)
								  : plain(&w, q);
	if (e == -EAGAIN) {
		/* Somebody replaces what is on the way right now: the walk of all other requests knows how to go on. */
		uncover(&w);
		w.at_link = false;
		e = plain(&w, q);
	}
	if (e != 0) {
		uncover(&w);
		return e;
	}
	if (q->donate && w.reply->n_watches && !r->session->stream) {
		int fd = watches_dup(watches);

		if (fd >= 0) {
			r->reply_fd = fd;
			w.reply->donated = true;
		}
	}
	return 0;
}
