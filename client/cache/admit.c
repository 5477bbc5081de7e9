/*
 * admit.c - which paths are worth a watch, where the server gives no more than so many.
 *
 * As long as there is room, every path is (with watch_again, every one that is asked for a second time). The limit shows
 * when several requests in a row brought none. From then on a path gets a watch only if another can go for it: one that nobody has used for
 * longer than twice the time since this path was last looked for. Time is how often anything was looked for. So what is hot comes
 * in, for what is not; but a round through more names than there are watches brings nothing in, as all are used equally
 * often: each costs one plain request, as without watches, and those that have a watch cost none.
 *
 * Now and then one is asked for all the same: others may have given theirs back.
 */
#include "client/cache/state.h"

#include "common/path.h"

enum {
	ASKED = 8192, /* slots, of which a later path takes an earlier one's */
	REFUSED =
		16, /* of what may not be read none is had; that many in a row have another reason */
	TRY_AGAIN = 256, /* paths that get none, before one is asked for all the same */
	SAMPLE = 32,     /* of those that have one, looked at for each that is to go */
	PATIENCE = 256,  /* looks, after none of these could */
};

#define NEVER UINT32_MAX

/* How long ago the path was asked about; NEVER where that is not remembered. Now it is. */
static uint32_t asked_before(struct cache *c, const struct cache_path *path)
{
	uint32_t hash = UINT32_C(2166136261) ^ path->fs_id ^ path->identity << 16, since = NEVER;
	struct asked *slot;

	if (!c->asked)
		c->asked = calloc(ASKED, sizeof(*c->asked));
	if (!c->asked)
		return NEVER;
	for (size_t i = 0; i < path->len; i++)
		hash = (hash ^ (uint8_t)path->text[i]) * UINT32_C(16777619);
	slot = &c->asked[hash % ASKED];
	if (slot->hash == hash && slot->when)
		since = c->looks - slot->when;
	*slot = (struct asked){ hash, c->looks };
	return since;
}

/* How many watches the path lacks, at most. */
static size_t lacking(struct cache *c, const struct cache_path *path, bool absent)
{
	const struct tree *tree = tree_of(c, path->fs_id, path->identity, false);
	const struct node *n = tree ? tree->root : NULL;
	size_t at = 0, begin, end, lacks = !n || !n->watch;

	while (path_next(path->text, path->len, &at, &begin, &end)) {
		n = n ? node_child(c, n, path->text + begin, end - begin) : NULL;
		lacks += !n || !n->watch;
	}
	return lacks - (absent && lacks);
}

static bool has_room(const struct cache *c, size_t n)
{
	return c->n_watches + n <= c->most_watches;
}

/* Lets go of what was not used for longer than twice `since`, until there is room for n more. */
static bool make_room(struct cache *c, size_t n, uint32_t since)
{
	uint32_t idle = since < NEVER / 2 ? 2 * since : NEVER;

	if (since == NEVER || n > c->most_watches ||
	    (since >= c->no_way_for && (int32_t)(c->no_way - c->looks) > 0))
		return false;
	for (size_t turns = SAMPLE * n; turns && !has_room(c, n) && c->oldest; turns--) {
		struct node *node = c->oldest;

		if (!node->first && node->watch && node->parent &&
		    c->looks - node->used_at > idle) {
			node_drop(c, node);
			c->stats.evictions++;
		} else {
			node_turn(c, node);
		}
	}
	if (has_room(c, n))
		return true;
	c->no_way = c->looks + PATIENCE;
	c->no_way_for = since;
	return false;
}

bool cache_may_watch(struct cache *c, const struct cache_path *path, bool again, bool absent)
{
	uint32_t since;
	size_t lacks;
	bool may;

	pthread_mutex_lock(&c->lock);
	since = again || c->full ? asked_before(c, path) : NEVER;
	may = !again || since != NEVER;
	if (may && c->full) {
		lacks = lacking(c, path, absent);
		/* since 0: the same call asks twice. */
		may = !lacks || has_room(c, lacks) || (since && make_room(c, lacks, since));
		if (!may && ++c->skipped >= TRY_AGAIN) {
			c->skipped = 0;
			may = true;
		}
	}
	cache_unlock(c);
	return may;
}

void cache_no_watch(struct cache *c)
{
	pthread_mutex_lock(&c->lock);
	if (++c->refused >= REFUSED) {
		c->refused = 0;
		c->full = true;
		c->most_watches = c->n_watches;
	}
	/* Others that go for this one's sake may go in vain. */
	c->no_way = c->looks + PATIENCE;
	c->no_way_for = 0;
	cache_unlock(c);
}

void watches_granted(struct cache *c)
{
	c->refused = 0;
	if (c->full && c->n_watches > c->most_watches) {
		/* There are more again; two failures, and there are not. */
		c->full = false;
		c->refused = REFUSED - 2;
	}
}
