/*
 * request.c - what handlers have in common: finding the object or the name that a path means, the
 * attributes for a reply.
 */
#include "server/session.h"

#include <string.h>
#include <sys/stat.h>

Gofer__Attr *request_attr(struct request *r, const Gofer__Attr *attr)
{
	return arena_memdup(&r->worker->arena, attr, sizeof(*attr));
}

Gofer__Attr *request_getattr(struct request *r, const struct fs_node *node)
{
	struct fs *fs = request_fs(r);
	Gofer__Attr attr = GOFER__ATTR__INIT;

	return fs->ops->getattr(fs, node, &attr) < 0 ? NULL : request_attr(r, &attr);
}

static struct walk_request walk_request_of(struct request *r, const Gofer__Path *path,
					   unsigned which)
{
	return (struct walk_request){
		.fs = request_fs(r),
		.base = r->base[which] ? &r->base[which]->node : NULL,
		.path = path->path.data,
		.path_len = path->path.len,
		.which = which,
		.arena = &r->worker->arena,
	};
}

/* Keeps what a walk says beside its result for the reply. */
static int walked(struct request *r, int e, const struct walk_result *walk)
{
	r->last_link = walk->last_link;
	if (e != WALK_STOP)
		return e;
	r->stop = walk->stop;
	return REQUEST_STOP;
}

int request_walk(struct request *r, const Gofer__Path *path, unsigned which, enum walk_want want,
		 bool nofollow, uint32_t follow, struct walk_result *ret)
{
	struct walk_request w = walk_request_of(r, path, which);

	w.want = want;
	w.nofollow = nofollow;
	w.follow = follow;
	return walked(r, walk_resolve(&w, ret), ret);
}

int request_open(struct request *r, const Gofer__Path *path, bool nofollow, int flags,
		 struct walk_result *walk, struct fs_node *ret_file, Gofer__Attr *ret_attr)
{
	struct walk_request w = walk_request_of(r, path, 0);
	struct fs *fs = request_fs(r);
	int e;

	if (r->base[0] && path->path.len == 0) {
		e = fs->ops->open(fs, &r->base[0]->node, flags, ret_file);
		return e < 0 || !ret_attr ? e : fs->ops->getattr(fs, ret_file, ret_attr);
	}
	w.want = WALK_OBJECT;
	w.nofollow = nofollow;
	w.bare = !ret_attr;
	w.follow = r->rpc->flags & RPC_FOLLOW ? path->follow : 0;
	e = walked(r, walk_open(&w, flags, walk), walk);
	if (e == 0) {
		*ret_file = TAKE_NODE(walk->node);
		if (ret_attr)
			*ret_attr = walk->attr;
	}
	return e;
}

int request_create(struct request *r, const Gofer__Path *path, int flags, mode_t mode,
		   struct fs_node *ret_file)
{
	struct walk_request w = walk_request_of(r, path, 0);

	return walk_create(&w, flags, mode, ret_file);
}

int request_stat(struct request *r, const Gofer__Path *path, struct walk_result *walk,
		 Gofer__Attr *ret_attr)
{
	struct walk_request w = walk_request_of(r, path, 0);
	struct fs *fs = request_fs(r);
	int e;

	if (r->base[0] && path->path.len == 0)
		return fs->ops->getattr(fs, &r->base[0]->node, ret_attr);
	w.want = WALK_OBJECT;
	w.nofollow = path->nofollow;
	w.follow = path->follow;
	e = walked(r, walk_stat(&w, walk), walk);
	if (e == 0)
		*ret_attr = walk->attr;
	return e;
}

int request_object(struct request *r, const Gofer__Path *path, bool nofollow,
		   struct walk_result *walk, const struct fs_node **ret_node, Gofer__Attr *ret_attr)
{
	struct fs *fs = request_fs(r);
	int e;

	if (r->base[0] && path->path.len == 0) {
		if (ret_attr) {
			e = fs->ops->getattr(fs, &r->base[0]->node, ret_attr);
			if (e < 0)
				return e;
		}
		*ret_node = &r->base[0]->node;
		return 0;
	}
	e = request_walk(r, path, 0, WALK_OBJECT, nofollow,
			 r->rpc->flags & RPC_FOLLOW ? path->follow : 0, walk);
	if (e != 0)
		return e;
	*ret_node = &walk->node;
	if (ret_attr)
		*ret_attr = walk->attr;
	return 0;
}

int request_stop_at_name(struct request *r, const Gofer__Path *path, unsigned which,
			 const struct walk_result *found)
{
	struct walk_request w = walk_request_of(r, path, which);
	int e;

	w.want = WALK_NAME;
	e = walk_stop_at_name(&w, found, &r->stop);
	return e < 0 ? e : REQUEST_STOP;
}

struct handle *request_handle(struct request *r, uint64_t id, uint32_t flags, int *ret_error)
{
	struct handle *h = handle_ref(&r->session->handles, id);

	if (h && (r->rpc->flags & RPC_WRITES) && (flags & GOFER__OPEN_FLAG__OPEN_WRITE) &&
	    h->volume->read_only) {
		*ret_error = -EROFS;
		return handle_unref(h);
	}
	if (!h || (h->flags & flags) != flags) {
		*ret_error = -EBADF;
		return handle_unref(h);
	}
	r->volume = h->volume;
	/* Not whoever this thread was last: set-id bits, quota and reserved blocks depend on who
	 * writes. */
	if (r->rpc->flags & RPC_WRITES) {
		*ret_error = session_identity_enter_handle(r->worker, h);
		if (*ret_error < 0)
			return handle_unref(h);
	}
	return h;
}

void request_umask(struct request *r, mode_t mask)
{
	if (r->worker->umask != mask) {
		umask(mask);
		r->worker->umask = mask;
	}
}
