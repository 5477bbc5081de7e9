/*
 * recall.h - inside libgofer: between requests by path and the cache (client/cache/).
 */
#pragma once

#include "client/cache/cache.h"
#include "client/namespace.h"

/* ---- before a request ---- */
/*
 * What the cache says of path[0..len) of a settled lookup: CACHE_MISS where nothing may be said (no
 * caching mount, a base handle, a forked child). A link in the way is taken into the text:
 * CACHE_LINK, settle again. -errno for what that met.
 */
int recall(struct lookup *l, size_t len, bool nofollow, enum cache_want want, unsigned mode,
	   struct cache_answer *answer);

/* path[0..len) was found not to exist: next time that shall be known. */
void recall_absent(struct lookup *l, size_t len, bool nofollow);

/* Whether a call is about its last name, and never about what a link of that name leads to. */
bool recall_by_name(const struct path_call *c, const struct rpc_info *rpc, unsigned which);

/* ---- around one ---- */
/* What a call with these lookups does to names or data. */
void recall_begin(struct cache_op *op, const struct path_call *c, const struct rpc_info *rpc);
/* Its reply, before the lookups take it in, or its failure (reply NULL); then the end. */
void recall_end(struct cache_op *op, const struct path_call *c, const struct rpc_info *rpc,
		int result, const struct gofer_reply *reply);

/* A failure of a change after which all is certainly as it was. */
bool recall_nothing_done(const struct path_call *c, const struct rpc_info *rpc, int result);

/* One Stat of path[0..len). */
void recall_probed(struct cache_op *op, const struct lookup *l, size_t len, bool nofollow,
		   int result, const struct gofer_reply *reply);
