/*
 * content_path.c - requests by path, and what the page cache holds of the files that they change.
 *
 * Which file a path leads to is known when the reply is there, so until then the change may be of any. What is dirty
 * is cut where the file was, and never sent meanwhile. Where attributes are set, it is sent before: later it would change the times
 * again, and take set-id bits away.
 */
#include "client/content.h"
#include "client/writeback.h"

#include <sys/stat.h>

static bool truncates(const struct path_call *c, const struct rpc_info *rpc)
{
	switch (rpc->type) {
	case RPC_TYPE_SetAttr:
		/* By handle: who has the file says so. */
		return c->lookup[0] && (((const Gofer__SetAttrRequest *)c->message)->mask &
					GOFER__SET_ATTR_MASK__SET_SIZE);
	case RPC_TYPE_Open:
		return ((const Gofer__OpenRequest *)c->message)->flags &
		       GOFER__OPEN_FLAG__OPEN_TRUNCATE;
	case RPC_TYPE_WriteFile:
		return true;
	default:
		return false;
	}
}

static bool takes(const struct path_call *c, const struct rpc_info *rpc)
{
	switch (rpc->type) {
	case RPC_TYPE_Unlink:
		return !((const Gofer__UnlinkRequest *)c->message)->directory;
	case RPC_TYPE_Rename:
		return ((const Gofer__RenameRequest *)c->message)->flags == 0;
	case RPC_TYPE_WriteFile:
		return ((const Gofer__WriteFileRequest *)c->message)->atomic;
	default:
		return false;
	}
}

/* Handles that nobody uses would keep a file that has lost its last name. */
static void let_idle_go(struct gofer_session *s, const Gofer__Attr *attr)
{
	uint64_t handle;

	while ((handle = pages_handle_idle(s->pages, attr)))
		gofer_handle_close(s, handle);
}

/* What the cache of names says that the path leads to. */
static bool peek(const struct path_call *c, unsigned which, bool nofollow, Gofer__Attr *ret_attr)
{
	const struct lookup *l = c->lookup[which];
	struct cache_path path;

	if (!l || l->base || !l->mount->caching)
		return false;
	path = (struct cache_path){ .fs_id = l->mount->fs_id,
				    .identity = c->session->identity,
				    .text = l->path,
				    .len = l->len,
				    .nofollow = nofollow };
	return cache_peek(c->session->cache, &path, ret_attr);
}

/* Before attributes are set by path. */
static int settle_first(const struct path_call *c, const struct rpc_info *rpc)
{
	Gofer__Attr attr;
	int r;

	if (rpc->type != RPC_TYPE_SetAttr || !c->lookup[0] ||
	    ((const Gofer__SetAttrRequest *)c->message)->mask == GOFER__SET_ATTR_MASK__SET_SIZE ||
	    !pages_any_dirty(c->session->pages))
		return 0;
	r = peek(c, 0, c->path[0]->nofollow, &attr) ? content_settle_attr(c->session, &attr)
						    : writeback_all(c->session);
	return MIN(r, 0);
}

static int begin_change(struct content_guard *g, struct gofer_session *s, uint64_t *ret_start)
{
	int r;

	for (;;) {
		g->excludes = atomic_load(&s->writing_back);
		r = g->excludes ? writeback_exclude(s) : 0;
		if (r < 0)
			return r;
		*ret_start = pages_any_begin(s->pages);
		/* From now on nothing more waits; what waits since a moment ago keeps order from now on. */
		if (g->excludes || !atomic_load(&s->writing_back))
			return 0;
		pages_any_end_nothing(s->pages);
	}
}

int content_guard_begin(struct content_guard *g, struct path_call *c, const struct rpc_info *rpc)
{
	struct gofer_session *s = c->session;
	int r;

	*g = (struct content_guard){ 0 };
	r = s->pages ? settle_first(c, rpc) : 0;
	if (r < 0)
		return r;
	g->changes = truncates(c, rpc);
	if (g->changes)
		mapping_freeze_begin(&g->frozen, s);
	if (!s->pages)
		return 0;
	g->takes = takes(c, rpc);
	r = g->changes ? begin_change(g, s, &c->since) : 0;
	if (r < 0) {
		mapping_freeze_end(&g->frozen, true, NULL, false);
		return r;
	}
	if (!g->changes)
		c->since = pages_clock(s->pages);
	if (g->takes) {
		g->known = peek(c, rpc->type == RPC_TYPE_Rename, true, &g->victim);
		if (g->known)
			let_idle_go(s, &g->victim);
	}
	return 0;
}

/* Of the file that was changed, as it is now. */
static const Gofer__Attr *changed(const struct rpc_info *rpc, const ProtobufCMessage *m)
{
	return rpc->type == RPC_TYPE_Open ? ((const Gofer__OpenReply *)m)->attr
					  : ((const Gofer__ObjectReply *)m)->attr;
}

/* attr: NULL where nobody knows; nothing: was changed. */
static void end_change(struct content_guard *g, const struct path_call *c,
		       const struct rpc_info *rpc, bool nothing, const Gofer__Attr *attr)
{
	struct pages *p = c->session->pages;
	bool replaced = rpc->type == RPC_TYPE_WriteFile; /* all of the file is another one */

	if (p && nothing)
		pages_any_end_nothing(p);
	else if (p && attr)
		pages_any_end(p, c->since, attr, replaced ? 0 : UINT64_MAX);
	else if (p)
		pages_any_end_unknown(p);
	if (g->excludes)
		writeback_include(c->session);
	mapping_freeze_end(&g->frozen, nothing, attr, replaced);
}

void content_guard_end(struct content_guard *g, const struct path_call *c,
		       const struct rpc_info *rpc, int result, bool nothing,
		       const struct gofer_reply *reply)
{
	bool done = result == 0 && reply->kind == GOFER_REPLY_OK;
	struct gofer_session *s = c->session;

	if (g->changes)
		end_change(g, c, rpc, !done && (nothing || result == 0),
			   done ? changed(rpc, reply->message) : NULL);
	if (!g->takes || (result < 0 ? nothing : !done))
		return;
	let_idle_go(s, g->known ? &g->victim : NULL);
	if (g->known)
		pages_unlinked(s->pages, &g->victim);
}

int content_settle_attr(struct gofer_session *s, const Gofer__Attr *attr)
{
	struct page_file *f;
	int r = 0;

	if (!s->pages || !attr || !S_ISREG(attr->mode) || !pages_any_dirty(s->pages))
		return 0;
	f = pages_find(s->pages, attr);
	if (f && pages_is_dirty(s->pages, f)) {
		r = writeback_file(s, f);
		r = r < 0 ? r : 1;
	}
	pages_close(s->pages, f);
	return r;
}
