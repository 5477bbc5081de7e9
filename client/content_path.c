/*
 * content_path.c - requests by path, and what the page cache holds of the files that they change.
 *
 * Which file a path leads to is known when the reply is there, so until then the change may be of any.
 */
#include "client/content.h"

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

void content_guard_begin(struct content_guard *g, struct path_call *c, const struct rpc_info *rpc)
{
	const struct lookup *l = c->lookup[rpc->type == RPC_TYPE_Rename];
	struct gofer_session *s = c->session;

	*g = (struct content_guard){ 0 };
	g->changes = truncates(c, rpc);
	if (g->changes)
		mapping_freeze_begin(&g->frozen, s);
	if (!s->pages)
		return;
	g->takes = takes(c, rpc);
	c->since = g->changes ? pages_any_begin(s->pages) : pages_clock(s->pages);
	if (g->takes && l && !l->base && l->mount->caching) {
		const struct cache_path path = { .fs_id = l->mount->fs_id,
						 .identity = s->identity,
						 .text = l->path,
						 .len = l->len,
						 .nofollow = true };

		g->known = cache_peek(s->cache, &path, &g->victim);
		if (g->known)
			let_idle_go(s, &g->victim);
	}
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
