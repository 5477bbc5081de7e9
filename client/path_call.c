/*
 * path_call.c - one POSIX-shaped call as requests: settle the text, ask, and go on where the server
 * stopped.
 */
#include <string.h>

#include "client/content.h"
#include "client/recall.h"

static bool reports_followed(const struct rpc_info *rpc)
{
	switch (rpc->type) {
	case RPC_TYPE_Stat:
	case RPC_TYPE_Access:
	case RPC_TYPE_Open:
	case RPC_TYPE_ReadFile:
	case RPC_TYPE_ReadDir:
		return true;
	default:
		return false;
	}
}

static void followed_of(const struct rpc_info *rpc, const ProtobufCMessage *message,
			Gofer__Followed ***ret, size_t *ret_n)
{
#define FROM(Type)                                              \
	do {                                                    \
		const Gofer__##Type *m = (const void *)message; \
		*ret = m->followed;                             \
		*ret_n = m->n_followed;                         \
	} while (0)
	*ret_n = 0;
	switch (rpc->type) {
	case RPC_TYPE_Stat:
		FROM(StatReply);
		break;
	case RPC_TYPE_Access:
		FROM(AccessReply);
		break;
	case RPC_TYPE_Open:
		FROM(OpenReply);
		break;
	case RPC_TYPE_ReadFile:
		FROM(ReadFileReply);
		break;
	case RPC_TYPE_ReadDir:
		FROM(ReadDirReply);
		break;
	default:
		break;
	}
#undef FROM
}

/* A result that is of no use: its handle is closed, the rest freed. */
static void discard(struct gofer_session *s, const struct rpc_info *rpc, struct gofer_reply *reply)
{
	if (rpc->type == RPC_TYPE_Open)
		gofer_handle_close(s, ((Gofer__OpenReply *)reply->message)->handle);
	else if (rpc->type == RPC_TYPE_ReadDir)
		gofer_handle_close(s, ((Gofer__ReadDirReply *)reply->message)->handle);
	gofer_reply_free(reply);
}

static int fill_path(Gofer__Path *p, struct lookup *l, const struct rpc_info *rpc, bool changes)
{
	bool follow =
		(rpc->flags & RPC_FOLLOW) && !changes && (reports_followed(rpc) || !l->crossings);

	if (l->len > PATH_MAX - 1)
		return -ENAMETOOLONG;
	p->fs_id = l->mount->fs_id;
	p->base_handle = l->base ? l->base->handle : 0;
	p->path.data = (uint8_t *)l->path;
	p->path.len = l->len;
	p->follow =
		follow ? MIN(l->mount->follow, MAX_LINKS - MIN(l->links, (unsigned)MAX_LINKS)) : 0;
	p->identity = l->mount->session->identity;
	return 0;
}

static int lied(struct lookup *l)
{
	return session_violation(l->mount->session, "a path resolved in a way that cannot be");
}

/* Replays what the server followed. 0, LOOKUP_CROSSED, -errno. */
static int replay(struct lookup *l, const struct rpc_info *rpc, const struct gofer_reply *reply)
{
	Gofer__Followed **followed;
	size_t n;
	int r;

	followed_of(rpc, reply->message, &followed, &n);
	if (n == 0)
		return 0;
	r = lookup_followed(l, followed, n, SIZE_MAX);
	return r == -EPROTO ? lied(l) : r;
}

static int go_on(struct lookup *l, const Gofer__Stop *stop)
{
	int r = lookup_stop(l, stop);

	return r == -EPROTO ? lied(l) : r;
}

/*
 * One Stat of path[0..len) of the settled text. 0, or 1 where the text changed (settle again),
 * -errno. With follow, what the server followed is taken into the text.
 */
static int probe(struct lookup *l, size_t len, bool nofollow, bool follow, Gofer__Attr *ret_attr)
{
	const struct rpc_info *rpc = rpc_find(RPC_TYPE_Stat);
	Gofer__StatRequest m = GOFER__STAT_REQUEST__INIT;
	Gofer__Path path = GOFER__PATH__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Stat, .message = &m.base, .fd = -1 };
	struct gofer_reply reply;
	struct cache_answer known;
	struct cache_op op;
	int r = recall(l, len, nofollow, CACHE_ATTR, 0, &known);

	if (r != CACHE_MISS) {
		if (r == CACHE_HIT && ret_attr)
			*ret_attr = known.attr;
		return r == CACHE_HIT ? 0 : r == CACHE_ABSENT ? -ENOENT : r == CACHE_LINK ? 1 : r;
	}
	m.path = &path;
	r = fill_path(&path, l, rpc, !follow);
	if (r < 0)
		return r;
	path.path.len = len;
	path.nofollow = nofollow;
	cache_begin(&op, l->mount->caching && !l->base ? l->mount->session->cache : NULL,
		    CACHE_READ, 0, 0);
	r = session_call(l->mount->session, &request, NULL, &reply);
	recall_probed(&op, l, len, nofollow, r, &reply);
	if (r == -ENOENT)
		recall_absent(l, len, nofollow);
	if (r < 0)
		return r;
	if (reply.kind == GOFER_REPLY_STOP) {
		r = go_on(l, (Gofer__Stop *)reply.message);
		r = r < 0 ? r : 1;
	} else {
		r = replay(l, rpc, &reply);
		r = r == LOOKUP_CROSSED ? 1 : r;
		if (r == 0 && ret_attr)
			*ret_attr = *((Gofer__StatReply *)reply.message)->attr;
	}
	gofer_reply_free(&reply);
	return r;
}

/* Settles, asking where a ".." has to be looked at. 0, LOOKUP_SYNTHETIC, -errno. */
static int settle(struct lookup *l, unsigned *rounds)
{
	for (;;) {
		int r = lookup_settle(l);

		if (r != LOOKUP_VERIFY)
			return r;
		if (++*rounds > MAX_ROUNDS)
			return -ELOOP;
		r = probe(l, l->verify_end, false, false, NULL);
		if (r < 0)
			return r;
		if (r == 0)
			lookup_cross(l);
	}
}

int lookup_stat(struct lookup *l, bool nofollow, Gofer__Attr *ret_attr)
{
	for (unsigned rounds = 0; rounds <= MAX_ROUNDS; rounds++) {
		int r = settle(l, &rounds);

		if (r == LOOKUP_SYNTHETIC)
			attr_synthetic(l->pos, ret_attr);
		if (r != 0)
			return r;
		r = probe(l, l->len, nofollow, true, ret_attr);
		if (r <= 0)
			return r;
	}
	return -ELOOP;
}

/* The length of the text without its last component: "a/b" -> 2, "b/" -> 0. */
static size_t parent_length(const struct lookup *l)
{
	size_t n = l->len;

	while (n && l->path[n - 1] == '/')
		n--;
	while (n && l->path[n - 1] != '/')
		n--;
	return n;
}

/* Whether the request is about the name itself, and never about what a link of that name points to.
 */
static bool names_last(const struct rpc_info *rpc)
{
	switch (rpc->type) {
	case RPC_TYPE_Mkdir:
	case RPC_TYPE_Mknod:
	case RPC_TYPE_Symlink:
	case RPC_TYPE_Link:
	case RPC_TYPE_Unlink:
	case RPC_TYPE_Rename:
		return true;
	default:
		return false;
	}
}

int lookup_parent(struct lookup *l, bool nofollow)
{
	for (unsigned rounds = 0; rounds <= MAX_ROUNDS; rounds++) {
		int r = settle(l, &rounds);

		if (r != 0)
			return r;
		/* Without speculation: a failure does not say which links were followed before it.
		 */
		r = probe(l, l->len, nofollow, false, NULL);
		if (r == -ENOENT)
			r = probe(l, parent_length(l), false, false, NULL);
		if (r <= 0)
			return r;
	}
	return -ELOOP;
}

/* ... of its path number `which`: the source of a Link is an object. */
static bool names_here(const struct rpc_info *rpc, unsigned which)
{
	return names_last(rpc) && (rpc->type != RPC_TYPE_Link || which == 1);
}

/* A mount that the client itself holds read-only: what would change is looked up, links included,
 * and refused. 1: settle again. */
static int refuse(struct lookup *l, bool nofollow)
{
	int r = probe(l, l->len, nofollow, false, NULL);

	return r == 0 || r == -ENOENT ? -EROFS : r;
}

/*
 * Two paths that end in different mounts, as far as the text says. Their directories are walked,
 * links followed: 1 where that changed a text, else -EXDEV.
 */
static int join(struct path_call *c)
{
	for (unsigned i = 0; i < 2; i++) {
		struct lookup *l = c->lookup[i];
		int r = l ? probe(l, parent_length(l), false, false, NULL) : 0;

		if (r != 0)
			return r;
	}
	return -EXDEV;
}

/* Whether the name that path `i` is about is the root of a mount, which this call cannot work on.
 */
static bool names_root(const struct path_call *c, const struct rpc_info *rpc, unsigned i)
{
	const struct lookup *l = c->lookup[i];

	return c->at_root && l->len == 0 && !l->base && names_here(rpc, i);
}

/*
 * Whether mounts lie below what the text names. A server knows nothing of them and would move the directory from under them: what it
 * holds beneath would then show where its mount does not say what may be done to it. (That the kernel allows it is no
 * comfort: there the mounts move along.)
 */
static bool is_above_mounts(const struct lookup *l)
{
	struct mount_table *table = l->ns->table;
	char path[PATH_MAX];
	bool above;

	if (lookup_absolute(l, path) < 0)
		return false;
	(void)pthread_rwlock_rdlock(&table->lock);
	above = mounts_below(table, path, strlen(path));
	(void)pthread_rwlock_unlock(&table->lock);
	return above;
}

/* All that comes before the request: 0 to send it, 1 to begin again, -errno. */
static int prepare(struct path_call *c, const struct rpc_info *rpc, unsigned *rounds,
		   bool *ret_synthetic)
{
	bool changes = (rpc->flags & RPC_WRITES) || c->changes;
	int r;

	for (unsigned i = 0; i < 2; i++) {
		struct lookup *l = c->lookup[i];

		if (!l)
			continue;
		r = settle(l, rounds);
		if (r == LOOKUP_SYNTHETIC) {
			*ret_synthetic = true;
			return 0;
		}
		if (r == -ENOENT && l->missing && changes)
			return -EROFS;
		if (r < 0)
			return r;
		/* With two paths the other may be wrong in a way that comes first: the server says
		 * which. */
		if (names_root(c, rpc, i) && !c->lookup[1])
			return c->at_root;
	}
	if (c->lookup[0] && c->lookup[1] && c->lookup[0]->mount != c->lookup[1]->mount) {
		r = join(c);
		return r == -EXDEV && (names_root(c, rpc, 0) || names_root(c, rpc, 1)) ? c->at_root
										       : r;
	}
	if (c->mount && c->lookup[1]->mount != c->mount)
		return join(c);
	for (unsigned i = 0; i < 2; i++) {
		struct lookup *l = c->lookup[i];

		if (!l)
			continue;
		if ((changes || c->writes) && l->mount->read_only)
			return refuse(l, names_here(rpc, i) || c->path[i]->nofollow);
		r = fill_path(c->path[i], l, rpc, changes);
		if (r < 0)
			return r;
		if (rpc->type == RPC_TYPE_Rename && l->crossings && is_above_mounts(l))
			return -EBUSY;
		if (c->donate) {
			uint32_t *flags = &((Gofer__OpenRequest *)c->message)->flags;

			*flags = l->mount->donate ? *flags | c->donate : *flags & ~c->donate;
		}
		if (c->reading)
			((Gofer__ReadDirRequest *)c->message)->watch = l->mount->watching;
		c->session = l->mount->session;
		if (c->inline_only && c->data_len > c->session->limits.inline_limit)
			return LOOKUP_TOO_LARGE;
	}
	return 0;
}

/*
 * What the cache has to say before the request is sent: 0 to send it, 1 to begin again, CACHE_KNOWN
 * where it is answered, -errno.
 */
enum { CACHE_KNOWN = 2 };
static int ask_cache(struct path_call *c, const struct rpc_info *rpc)
{
	bool changes = (rpc->flags & RPC_WRITES) || c->changes;
	struct cache_answer scratch, *answer = c->answer ? c->answer : &scratch;

	answer->found = CACHE_MISS;
	for (unsigned i = 0; i < 2; i++) {
		struct lookup *l = c->lookup[i];
		bool name = recall_by_name(c, rpc, i), nofollow;
		enum cache_want want = CACHE_LINKS;
		size_t len;
		int r;

		if (!l || !(l->mount->caching || l->mount->watching))
			continue;
		nofollow = !name && (c->path[i]->nofollow || rpc->type == RPC_TYPE_ReadLink);
		len = name ? parent_length(l) : l->len;
		if (name && len == 0)
			continue;
		/* What is open already is known where nobody else changes the tree. */
		if (c->answer && (c->want != CACHE_OPEN || l->mount->caching))
			want = c->want;
		r = recall(l, len, nofollow, want, c->mode, answer);
		if (r < 0 || r == CACHE_LINK)
			return r < 0 ? r : 1;
		/* What changes something asks the server, who may know better. */
		if (changes)
			continue;
		if (r == CACHE_ABSENT)
			return -ENOENT;
		if (r == CACHE_DENIED && want == CACHE_OPEN)
			continue;
		if (r == CACHE_DENIED)
			return -EACCES;
		if (r == CACHE_NO_LINK)
			return -EINVAL;
		if (r == CACHE_HIT)
			return CACHE_KNOWN;
	}
	return 0;
}

/* What comes before a request: one of these, or -errno. */
enum round { ROUND_SEND, ROUND_AGAIN, ROUND_KNOWN, ROUND_SYNTHETIC, ROUND_TOO_LARGE };

static int before(struct path_call *c, const struct rpc_info *rpc, unsigned *rounds)
{
	bool synthetic = false;
	int r = prepare(c, rpc, rounds, &synthetic);

	if (r < 0)
		return r;
	if (synthetic)
		return ROUND_SYNTHETIC;
	if (r == LOOKUP_TOO_LARGE)
		return ROUND_TOO_LARGE;
	if (r == 0)
		r = ask_cache(c, rpc);
	if (r < 0)
		return r;
	return r == CACHE_KNOWN ? ROUND_KNOWN : r > 0 ? ROUND_AGAIN : ROUND_SEND;
}

/* path_call()'s result where before() has it. */
static int unsent(int round, struct gofer_reply *ret_reply)
{
	if (round < 0)
		return round;
	if (round == ROUND_SYNTHETIC)
		return LOOKUP_SYNTHETIC;
	if (round == ROUND_TOO_LARGE)
		return LOOKUP_TOO_LARGE;
	*ret_reply = (struct gofer_reply){ .fd = -EBADF };
	return 0;
}

/* What the answer means: 0, 1 to begin again, -errno. */
static int after(struct path_call *c, const struct rpc_info *rpc, struct cache_op *op, int r,
		 struct gofer_reply *reply)
{
	recall_end(op, c, rpc, r, reply);
	if (r == -ENOENT && c->lookup[0] && !c->lookup[1] &&
	    (!c->answer || c->want == CACHE_OPEN) && !(rpc->flags & RPC_WRITES) && !c->changes)
		recall_absent(c->lookup[0], c->lookup[0]->len, c->path[0]->nofollow);
	if (r < 0)
		return r;
	if (reply->kind == GOFER_REPLY_STOP) {
		Gofer__Stop *stop = (Gofer__Stop *)reply->message;
		struct lookup *l = c->lookup[stop->which];

		if (!l && c->stop_at_last)
			r = c->stop_at_last;
		else if (l && c->stop_at_last && stop->reason == GOFER__STOP__REASON__SYMLINK &&
			 stop->end == l->len && stop->n_followed == 0)
			r = c->stop_at_last;
		else
			r = l ? go_on(l, stop)
			      : session_violation(c->session, "a stop without a path");
		gofer_reply_free(reply);
		return r < 0 ? r : 1;
	}
	r = c->lookup[0] ? replay(c->lookup[0], rpc, reply) : 0;
	if (r == 0)
		return 0;
	discard(c->session, rpc, reply);
	return r < 0 ? r : 1;
}

/*
 * Attributes that nobody wants the server need not look for: a good part of what small files cost. After what may learn from them has
 * begun, and while mapped files are frozen (content_guard_begin()): so nobody comes now who would want to know.
 */
static void say_bare(struct path_call *c, const struct rpc_info *rpc, const struct cache_op *op)
{
	bool bare = c->bare && !op->cache && !c->session->pages;

	if (rpc->type == RPC_TYPE_ReadFile)
		((Gofer__ReadFileRequest *)c->message)->bare = bare;
	else if (rpc->type == RPC_TYPE_WriteFile)
		((Gofer__WriteFileRequest *)c->message)->bare = bare && !c->session->mapper->stores;
}

static struct gofer_request request_of(const struct path_call *c)
{
	return (struct gofer_request){ .type = c->type,
				       .message = c->message,
				       .data = c->data,
				       .data_len = c->data_len,
				       .fd = c->fd };
}

int path_call(struct path_call *c, struct gofer_reply *ret_reply)
{
	const struct rpc_info *rpc = rpc_find(c->type);
	struct gofer_request request = request_of(c);

	for (unsigned rounds = 0; rounds <= MAX_ROUNDS; rounds++) {
		struct content_guard guard;
		struct gofer_reply reply;
		struct cache_op op;
		int r = before(c, rpc, &rounds);

		if (r == ROUND_AGAIN)
			continue;
		if (r != ROUND_SEND)
			return unsent(r, ret_reply);
		r = content_guard_begin(&guard, c, rpc);
		if (r < 0)
			return r;
		recall_begin(&op, c, rpc);
		if (c->bare)
			say_bare(c, rpc, &op);
		r = session_call(c->session, &request, c->sink, &reply);
		content_guard_end(&guard, c, rpc, r, recall_nothing_done(c, rpc, r), &reply);
		r = after(c, rpc, &op, r, &reply);
		if (r == 0)
			*ret_reply = reply;
		if (r <= 0)
			return r;
	}
	return -ELOOP;
}

void path_call_start(struct path_call *c, struct path_round *round)
{
	unsigned rounds = 0;
	int r;

	*round = (struct path_round){ .rpc = rpc_find(c->type) };
	do
		r = ++rounds > MAX_ROUNDS ? -ELOOP : before(c, round->rpc, &rounds);
	while (r == ROUND_AGAIN);
	round->result = r;
	round->ask.sent = r == ROUND_SEND;
	if (!round->ask.sent)
		return;
	recall_begin(&round->op, c, round->rpc);
	round->ask.call.request = request_of(c);
	round->ask.call.sink = c->sink;
	session_call_begin(c->session, &round->ask.call, &round->ask.waiter, c->by_channel);
}

void path_call_follow(struct path_call *c, struct path_round *round, struct path_round *before,
		      bool (*next)(struct follow_up *f, const uint8_t *body, size_t len))
{
	*round = (struct path_round){ .rpc = rpc_find(c->type), .ask.next = next };
	recall_begin(&round->op, c, round->rpc);
	round->ask.call.request = request_of(c);
	call_init(&round->ask.call, &round->ask.waiter);
	before->ask.call.follow_up = &round->ask;
}

bool path_call_answered(const struct path_call *c, struct path_round *round)
{
	return !round->ask.sent || session_call_answered(c->session, &round->ask.waiter);
}

int path_call_finish(struct path_call *c, struct path_round *round, struct gofer_reply *ret_reply)
{
	int r;

	if (!round->ask.sent)
		return unsent(round->result, ret_reply);
	r = session_call_end(c->session, &round->ask.call, &round->ask.waiter);
	r = after(c, round->rpc, &round->op, r, &round->ask.call.reply);
	if (r == 0)
		*ret_reply = round->ask.call.reply;
	return r > 0 ? path_call(c, ret_reply) : r;
}

void path_call_drop(struct path_call *c, struct path_round *round)
{
	if (!round->ask.sent ||
	    !session_call_drop(c->session, &round->ask.call, &round->ask.waiter))
		return;
	if (round->ask.call.reply.kind == GOFER_REPLY_OK)
		discard(c->session, round->rpc, &round->ask.call.reply);
	else
		gofer_reply_free(&round->ask.call.reply);
}

int path_call_simple(struct path_call *c, int synthetic)
{
	struct gofer_reply reply;
	int r = path_call(c, &reply);

	if (r == LOOKUP_SYNTHETIC)
		return synthetic;
	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}
