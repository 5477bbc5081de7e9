/*
 * recall.c - requests by path and the cache: what is asked before they are sent, what is told when
 * they were answered.
 *
 * Only lookups that start at a mount's root have a path that the cache knows. One that starts at a
 * handle is sent as ever; if it changes something, the cache cannot tell where, and forgets all.
 */
#include "client/recall.h"

#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include "common/path.h"

bool recall_by_name(const struct path_call *c, const struct rpc_info *rpc, unsigned which)
{
	switch (rpc->type) {
	case RPC_TYPE_Mkdir:
	case RPC_TYPE_Mknod:
	case RPC_TYPE_Symlink:
	case RPC_TYPE_Unlink:
	case RPC_TYPE_Rename:
		return true;
	case RPC_TYPE_Link:
		return which == 1;
	case RPC_TYPE_Open:
		return ((const Gofer__OpenRequest *)c->message)->flags &
		       GOFER__OPEN_FLAG__OPEN_EXCLUSIVE;
	case RPC_TYPE_WriteFile:
		return ((const Gofer__WriteFileRequest *)c->message)->exclusive;
	default:
		return false;
	}
}

static struct cache_path path_of(const struct lookup *l, size_t len, bool nofollow)
{
	return (struct cache_path){ .fs_id = l->mount->fs_id,
				    .identity = l->mount->session->identity,
				    .text = l->path,
				    .len = len,
				    .nofollow = nofollow,
				    .names = l->mount->watch_names };
}

/* ---- watches ---- */

static bool has_dots(const char *text, size_t len)
{
	size_t at = 0, begin, end;

	while (path_next(text, len, &at, &begin, &end))
		if (path_is_dot(text + begin, end - begin) ||
		    path_is_dotdot(text + begin, end - begin))
			return true;
	return false;
}

/* The link that a walk ended at, as the server's Stop would say it. */
static void stop_of(const Gofer__WatchReply *m, const char *text, struct cache_answer *answer)
{
	size_t begin = m->end;

	while (begin && text[begin - 1] != '/')
		begin--;
	memcpy(answer->text, m->target.data, m->target.len);
	answer->stop = (Gofer__Stop)GOFER__STOP__INIT;
	answer->stop.reason = GOFER__STOP__REASON__SYMLINK;
	answer->stop.begin = (uint32_t)begin;
	answer->stop.end = m->end;
	answer->stop.target = (ProtobufCBinaryData){ m->target.len, (uint8_t *)answer->text };
}

/* What the reply itself answers, whether or not it could be remembered. */
static int answer_of(const Gofer__WatchReply *m, const struct cache_path *path,
		     enum cache_want want, unsigned mode, struct cache_answer *answer)
{
	bool slash = path->len && path->text[path->len - 1] == '/', link;
	size_t end = path->len;

	while (end && path->text[end - 1] == '/')
		end--;
	if (m->error)
		return CACHE_ABSENT;
	link = S_ISLNK(m->attr->mode);
	if (m->end < end && !link)
		return -EPROTO;
	if (link && (m->end < end || slash || !path->nofollow)) {
		Gofer__WatchReply at = *m;

		at.end = MIN(m->end, (uint32_t)end);
		stop_of(&at, path->text, answer);
		return CACHE_LINK;
	}
	if (slash && !S_ISDIR(m->attr->mode))
		return -ENOTDIR;
	switch (want) {
	case CACHE_ATTR:
		answer->attr = *m->attr;
		return CACHE_HIT;
	case CACHE_ACCESS:
		return m->refused & mode            ? CACHE_DENIED
		       : (m->access & mode) == mode ? CACHE_HIT
						    : CACHE_MISS;
	case CACHE_TARGET:
		if (!link)
			return CACHE_NO_LINK;
		memcpy(answer->text, m->target.data, m->target.len);
		answer->len = m->target.len;
		return CACHE_HIT;
	default:
		return CACHE_MISS;
	}
}

/* One Watch: CACHE_MISS where the server knows no such thing. */
static int watch(struct lookup *l, const struct cache_path *path, enum cache_want want,
		 unsigned mode, struct cache_answer *answer)
{
	enum { DROP_MANY = 256 };
	struct cache *cache = l->mount->session->watched;
	Gofer__WatchRequest m = GOFER__WATCH_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Watch, .message = &m.base, .fd = -1 };
	const Gofer__WatchReply *watched;
	struct gofer_reply reply;
	uint32_t drop[DROP_MANY];
	struct cache_op op;
	int r;

	where.fs_id = path->fs_id;
	where.identity = path->identity;
	where.path = (ProtobufCBinaryData){ path->len, (uint8_t *)path->text };
	m.path = &where;
	m.donate = cache_wants_queue(cache);
	m.drop = drop;
	m.n_drop = cache_take_gone(cache, drop, DROP_MANY);
	cache_begin(&op, cache, CACHE_READ, 0, 0);
	r = session_call(l->mount->session, &request, NULL, &reply);
	if (r == -EOPNOTSUPP || r == -ETOOMANYREFS || r == -EMFILE || r == -EAGAIN)
		return CACHE_MISS;
	if (r < 0)
		return r;
	if (reply.kind == GOFER_REPLY_STOP) {
		answer->stop = *(Gofer__Stop *)reply.message;
		/* Only a link has a target. */
		if (answer->stop.target.len)
			memcpy(answer->text, answer->stop.target.data,
			       MIN(answer->stop.target.len, sizeof(answer->text)));
		answer->stop.target.data = (uint8_t *)answer->text;
		answer->stop.followed = NULL;
		answer->stop.n_followed = 0;
		gofer_reply_free(&reply);
		return CACHE_LINK;
	}
	watched = (const Gofer__WatchReply *)reply.message;
	if (reply.fd >= 0)
		cache_set_queue(cache, TAKE_FD(reply.fd));
	cache_learn_watched(&op, path, watched);
	if (!watched->n_watches)
		cache_no_watch(cache);
	r = answer_of(watched, path, want, mode, answer);
	gofer_reply_free(&reply);
	if (r == CACHE_MISS && want == CACHE_LIST)
		r = (int)cache_find(cache, path, want, mode, answer);
	return r;
}

/* Takes "." and ".." out of path[0..len), which no Watch has: 1 where that could be done. */
static int undot(struct lookup *l, struct cache *cache, const struct cache_path *path)
{
	char text[2 * PATH_MAX];
	size_t n;

	if (!cache_undot(cache, path, text, &n) || n > path->len)
		return 0;
	memcpy(l->path, text, n);
	memmove(l->path + n, l->path + path->len, l->len - path->len);
	l->len -= path->len - n;
	return 1;
}

/*
 * Where the lookup starts at a directory that is held, the path from the root that this once had. False where there is none.
 * *ret_shift: where in it the lookup's own text would begin. The text is not put in order but for "./" in front: what "." and
 * ".." are, the cache itself knows.
 */
static bool path_from_base(const struct lookup *l, size_t len, char *text, struct cache_path *path,
			   ptrdiff_t *ret_shift)
{
	const struct gofer_place *base = l->base;
	size_t skip = l->mount->len > 1 ? l->mount->len : 0, n = strlen(base->path), from = 0;

	if (!base->ino || base->mount != l->mount || n < skip)
		return false;
	skip += base->path[skip] == '/';
	n -= skip;
	while (from + 2 < len && l->path[from] == '.' && l->path[from + 1] == '/')
		for (from += 2; from < len && l->path[from] == '/';)
			from++;
	if (from == len && len)
		return false;
	if (n + 1 + len >= PATH_MAX)
		return false;
	memcpy(text, base->path + skip, n);
	if (n)
		text[n++] = '/';
	memcpy(text + n, l->path + from, len - from);
	path->text = text;
	path->len = n + len - from;
	path->based = true;
	path->base = n;
	path->dev = base->dev;
	path->ino = base->ino;
	*ret_shift = (ptrdiff_t)n - (ptrdiff_t)from;
	return true;
}

/* Asks the server for a watch where that is worth it. A path from a base proves nothing by itself: the cache says whether it is still the way. */
static int ask_watch(struct lookup *l, const struct cache_path *path, enum cache_want want,
		     unsigned mode, bool absent, struct cache_answer *answer)
{
	struct cache *cache = l->mount->session->watched;
	struct cache_path dir = *path;
	int r;

	if (has_dots(path->text, path->len))
		return CACHE_MISS;
	/* To read a directory that is watched already, no Watch is needed. */
	if (want == CACHE_LIST && cache_find(cache, path, CACHE_ATTR, 0, answer) == CACHE_HIT)
		return CACHE_MISS;
	if (!cache_may_watch(cache, path, l->mount->watch_again, absent))
		return CACHE_MISS;
	if (!path->based)
		return watch(l, path, want, mode, answer);
	/* That it proves nothing by itself is also true of a failure. */
	dir.len = path->base ? path->base - 1 : 0;
	dir.based = false;
	r = (int)cache_find(cache, &dir, CACHE_TARGET, 0, answer);
	if (r == CACHE_MISS)
		r = watch(l, &dir, CACHE_TARGET, 0, answer);
	if (r == CACHE_NO_LINK)
		r = watch(l, path, want, mode, answer);
	if (r == -EPROTO)
		return r;
	return r < 0 ? (int)CACHE_MISS : (int)cache_find(cache, path, want, mode, answer);
}

int recall(struct lookup *l, size_t len, bool nofollow, enum cache_want want, unsigned mode,
	   struct cache_answer *answer)
{
	struct gofer_session *s = l->mount->session;
	struct cache *cache = l->mount->caching ? s->cache : s->watched;
	bool watching = l->mount->watching;
	struct cache_path path;
	char text[PATH_MAX];
	ptrdiff_t shift;
	int r;

	answer->found = CACHE_MISS;
	if (!(l->mount->caching || watching) || l->fresh || session_check(s) < 0)
		return CACHE_MISS;
	path = path_of(l, len, nofollow);
	if (l->base && (!watching || !path_from_base(l, len, text, &path, &shift)))
		return CACHE_MISS;
	r = (int)cache_find(cache, &path, want, mode, answer);
	if (r == CACHE_MISS && watching && !l->base && has_dots(path.text, path.len) &&
	    undot(l, cache, &path))
		return CACHE_LINK;
	if (r == CACHE_MISS && watching && want != CACHE_LINKS && want != CACHE_FILE &&
	    !(want == CACHE_ATTR && path.names))
		r = ask_watch(l, &path, want, mode, false, answer);
	if (r < 0)
		return r == -EPROTO ? session_violation(s, "a walk that cannot be") : r;
	answer->found = (enum cache_found)r;
	if (r != CACHE_LINK)
		return r;
	if (path.based) {
		answer->stop.begin = (uint32_t)(answer->stop.begin - shift);
		answer->stop.end = (uint32_t)(answer->stop.end - shift);
	}
	r = lookup_stop(l, &answer->stop);
	if (r == -EPROTO)
		return session_violation(s, "a path resolved in a way that cannot be");
	return r < 0 ? r : (int)CACHE_LINK;
}

void recall_absent(struct lookup *l, size_t len, bool nofollow)
{
	struct cache_answer answer;
	struct cache_path path;
	char text[PATH_MAX];
	ptrdiff_t shift;

	if (!l || !l->mount->watching || l->fresh)
		return;
	path = path_of(l, len, nofollow);
	if (!l->base || path_from_base(l, len, text, &path, &shift))
		(void)ask_watch(l, &path, CACHE_ATTR, 0, true, &answer);
}

/* ---- */

static bool changes(const struct path_call *c, const struct rpc_info *rpc)
{
	return (rpc->flags & RPC_WRITES) || c->changes;
}

void recall_begin(struct cache_op *op, const struct path_call *c, const struct rpc_info *rpc)
{
	struct cache *cache = c->session->cache;
	const struct lookup *l = c->lookup[0];

	if (changes(c, rpc))
		cache_begin(op, cache, CACHE_NAMES, 0, 0);
	else if (l && l->mount->watching && !l->base && c->reading)
		cache_begin(op, c->session->watched, CACHE_READ, 0, 0);
	else
		cache_begin(op, l && l->mount->caching && !l->base ? cache : NULL, CACHE_READ, 0,
			    0);
}

/* Whether the request takes several steps, of which the first may be done when another fails. */
static bool in_steps(const struct path_call *c, const struct rpc_info *rpc)
{
	const uint32_t times = GOFER__SET_ATTR_MASK__SET_ATIME | GOFER__SET_ATTR_MASK__SET_MTIME |
			       GOFER__SET_ATTR_MASK__SET_ATIME_NOW |
			       GOFER__SET_ATTR_MASK__SET_MTIME_NOW;

	if (rpc->type == RPC_TYPE_SetAttr) {
		uint32_t mask = ((const Gofer__SetAttrRequest *)c->message)->mask;

		return (mask & ~times) && (mask & (mask - 1));
	}
	return rpc->type == RPC_TYPE_WriteFile &&
	       ((const Gofer__WriteFileRequest *)c->message)->atomic;
}

bool recall_nothing_done(const struct path_call *c, const struct rpc_info *rpc, int result)
{
	switch (result) {
	case -ENOENT:
	case -ENOTDIR:
	case -ELOOP:
	case -EROFS:
	case -ENAMETOOLONG:
		return true;
	case -EEXIST:
	case -EACCES:
	case -EPERM:
	case -ENOTEMPTY:
	case -EISDIR:
	case -EXDEV:
	case -EBUSY:
	case -EINVAL:
	case -EMLINK:
	case -ENODATA:
	case -EOPNOTSUPP:
		return !in_steps(c, rpc);
	default:
		return false;
	}
}

/* A link that stopped the walk. */
static void learn_stop(struct cache_op *op, const struct lookup *l, const Gofer__Stop *stop)
{
	struct cache_path path;

	if (!l || l->base || !l->mount->caching || stop->n_followed || stop->end > l->len ||
	    stop->reason != GOFER__STOP__REASON__SYMLINK)
		return;
	path = path_of(l, stop->end, true);
	cache_learn_link(op, &path, stop->attr, &stop->target);
}

static void learn_read(struct cache_op *op, const struct path_call *c, const struct rpc_info *rpc,
		       const struct cache_path *path, const struct gofer_reply *reply)
{
	const ProtobufCMessage *m = reply->message;

	switch (rpc->type) {
	case RPC_TYPE_Access:
		cache_learn_object(op, path, ((const Gofer__AccessReply *)m)->attr);
		cache_learn_access(op, path, ((const Gofer__AccessRequest *)c->message)->mode,
				   true);
		break;
	case RPC_TYPE_Open:
		cache_learn_object(op, path, ((const Gofer__OpenReply *)m)->attr);
		if (((const Gofer__OpenRequest *)c->message)->flags & GOFER__OPEN_FLAG__OPEN_READ)
			cache_learn_access(op, path, 4, true);
		break;
	case RPC_TYPE_ReadFile:
		cache_learn_object(op, path, ((const Gofer__ReadFileReply *)m)->attr);
		if (((const Gofer__ReadFileReply *)m)->eof &&
		    ((const Gofer__ReadFileRequest *)c->message)->offset == 0)
			cache_learn_data(op, path, ((const Gofer__ReadFileReply *)m)->attr,
					 reply->data, reply->data_len);
		break;
	case RPC_TYPE_ReadLink:
		cache_learn_link(op, path, ((const Gofer__ReadLinkReply *)m)->attr,
				 &((const Gofer__ReadLinkReply *)m)->target);
		break;
	case RPC_TYPE_ReadDir:
		if (c->reading) {
			*c->reading = (struct cache_reading){ .op = *op };
			cache_learn_list(c->reading, path, (const Gofer__ReadDirReply *)m);
		}
		break;
	default:
		break;
	}
}

static void learn_read_error(struct cache_op *op, const struct path_call *c,
			     const struct rpc_info *rpc, const struct cache_path *path, int result)
{
	if (result == -ENOENT)
		cache_learn_absent(op, path);
	else if (result == -EACCES && rpc->type == RPC_TYPE_Access)
		cache_learn_access(op, path, ((const Gofer__AccessRequest *)c->message)->mode,
				   false);
}

static void learn_open(struct cache_op *op, const struct cache_path *path, uint32_t flags,
		       const Gofer__Attr *attr)
{
	if (flags & GOFER__OPEN_FLAG__OPEN_CREATE)
		cache_made(op, path, attr, NULL, NULL, false);
	else if (!(flags & GOFER__OPEN_FLAG__OPEN_TMPFILE))
		cache_set(op, path, attr, false);
}

static void learn_change(struct cache_op *op, const struct path_call *c, const struct rpc_info *rpc,
			 const struct cache_path path[2], const ProtobufCMessage *m)
{
	const Gofer__ObjectReply *o = rpc->reply == &gofer__object_reply__descriptor
					      ? (const Gofer__ObjectReply *)m
					      : NULL;

	switch (rpc->type) {
	case RPC_TYPE_Mkdir:
	case RPC_TYPE_Mknod:
		cache_made(op, &path[0], o->attr, o->parent, NULL, false);
		break;
	case RPC_TYPE_Symlink:
		/* gofer_symlink()'s own argument: it has its NUL. */
		cache_made(op, &path[0], o->attr, o->parent,
			   (const char *)((const Gofer__SymlinkRequest *)c->message)->target.data,
			   false);
		break;
	case RPC_TYPE_Link:
		cache_made(op, &path[1], o->attr, o->parent, NULL, false);
		break;
	case RPC_TYPE_WriteFile:
		cache_made(op, &path[0], o->attr, o->parent, NULL,
			   ((const Gofer__WriteFileRequest *)c->message)->atomic);
		break;
	case RPC_TYPE_Unlink:
		cache_removed(op, &path[0], o->parent);
		break;
	case RPC_TYPE_Rename: {
		uint32_t flags = ((const Gofer__RenameRequest *)c->message)->flags;

		cache_renamed(op, &path[0], &path[1],
			      flags & GOFER__RENAME_FLAG__RENAME_SWAP         ? CACHE_RENAME_SWAP
			      : flags & GOFER__RENAME_FLAG__RENAME_NO_REPLACE ? CACHE_RENAME_NEW
									      : CACHE_RENAME,
			      (const Gofer__RenameReply *)m);
		break;
	}
	case RPC_TYPE_Open:
		learn_open(op, &path[0], ((const Gofer__OpenRequest *)c->message)->flags,
			   ((const Gofer__OpenReply *)m)->attr);
		break;
	case RPC_TYPE_SetAttr:
	case RPC_TYPE_SetXattr:
	case RPC_TYPE_RemoveXattr:
		cache_set(op, path[0].text ? &path[0] : NULL, o->attr,
			  rpc->type != RPC_TYPE_SetAttr);
		break;
	default:
		cache_drop(op->cache);
		break;
	}
}

/* Whether the cache knows where the call did what it did. */
static bool places(const struct path_call *c, const struct rpc_info *rpc, struct cache_path path[2])
{
	bool by_handle = rpc->type == RPC_TYPE_SetAttr || rpc->type == RPC_TYPE_Link;

	for (unsigned i = 0; i < 2; i++) {
		const struct lookup *l = c->lookup[i];

		path[i] = (struct cache_path){ .text = NULL };
		if (l && l->base)
			return false;
		if (l)
			path[i] = path_of(l, l->len,
					  recall_by_name(c, rpc, i) || c->path[i]->nofollow);
		else if (i == 0 && !by_handle)
			return false;
	}
	return true;
}

void recall_end(struct cache_op *op, const struct path_call *c, const struct rpc_info *rpc,
		int result, const struct gofer_reply *reply)
{
	struct cache_path path[2];
	bool known;

	if (!op->cache)
		return;
	known = places(c, rpc, path);
	if (op->kind == CACHE_NAMES) {
		if (result == 0 && reply->kind == GOFER_REPLY_STOP) {
			const Gofer__Stop *stop = (const Gofer__Stop *)reply->message;

			learn_stop(op, c->lookup[stop->which], stop);
		} else if (result < 0 ? !recall_nothing_done(c, rpc, result) : !known) {
			cache_drop(op->cache);
		} else if (result == 0) {
			learn_change(op, c, rpc, path, reply->message);
		}
	} else if (known && !c->lookup[0]->mount->caching) {
		if (result == 0 && reply->kind == GOFER_REPLY_OK)
			learn_read(op, c, rpc, &path[0], reply);
	} else if (known && result < 0) {
		learn_read_error(op, c, rpc, &path[0], result);
	} else if (known && reply->kind == GOFER_REPLY_STOP) {
		learn_stop(op, c->lookup[0], (const Gofer__Stop *)reply->message);
	} else if (known) {
		learn_read(op, c, rpc, &path[0], reply);
	}
	cache_end(op);
}

void recall_probed(struct cache_op *op, const struct lookup *l, size_t len, bool nofollow,
		   int result, const struct gofer_reply *reply)
{
	struct cache_path path = path_of(l, len, nofollow);

	if (!op->cache)
		return;
	if (result == -ENOENT)
		cache_learn_absent(op, &path);
	else if (result == 0 && reply->kind == GOFER_REPLY_STOP)
		learn_stop(op, l, (const Gofer__Stop *)reply->message);
	else if (result == 0)
		cache_learn_object(op, &path, ((const Gofer__StatReply *)reply->message)->attr);
	cache_end(op);
}
