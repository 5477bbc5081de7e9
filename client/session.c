/*
 * session.c - a connection's life: Hello, what the server said it offers, its end. See session.h
 * for how its parts work together.
 */
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "client/cache/cache.h"
#include "client/cache/pages.h"
#include "client/mapping.h"
#include "client/reattach.h"
#include "client/tls_stream.h"
#include "client/writeback.h"

int session_check(struct gofer_session *s)
{
	if (!s->alive || *s->alive != 1)
		return fail_words(-EOWNERDEAD, "this session belongs to the parent process");
	return 0;
}

void session_kill(struct gofer_session *s, int error, const char *why)
{
	if (s->dead)
		return;
	s->dead = -ENOTCONN;
	s->death = error;
	/* For good: nothing is remembered of a server that is gone. */
	if (s->cache)
		cache_blind_begin(s->cache);
	if (s->watched)
		cache_blind_begin(s->watched);
	if (s->pages)
		(void)pages_any_begin(s->pages);
	if (error == -EPROTO)
		fail_words(error, "%s broke the protocol: %s", s->server, why);
	else
		fail_words(error, "%s: %s", s->server, why);
	session_channels_stop(s);
	if (s->again)
		pthread_cond_broadcast(&s->again->changed);
	/* Whoever sleeps in recvmsg wakes up. */
	(void)shutdown(s->sock, SHUT_RDWR);
	for (uint32_t i = 0; i < s->n_slots; i++) {
		struct slot *slot = &s->slots[i];

		if (slot->state == SLOT_FETCH)
			fetch_answer(s, slot, error, NULL);
		if (slot->state != SLOT_WAITING)
			continue;
		slot_answer(s, slot, error);
		slot_free(s, slot);
	}
	wake_any(s);
	wake_slots(s);
}

int session_violation(struct gofer_session *s, const char *why)
{
	pthread_mutex_lock(&s->lock);
	session_kill(s, -EPROTO, why);
	pthread_mutex_unlock(&s->lock);
	return -EPROTO;
}

/* ---- closes ---- */

void close_later(struct gofer_session *s, uint64_t handle)
{
	if (s->n_closes == s->closes_size) {
		size_t size = s->closes_size ? 2 * s->closes_size : 2 * CLOSE_BATCH;
		uint64_t *closes = reallocarray(s->closes, size, sizeof(*closes));

		/* Without memory the handle stays open until the session ends; the server bounds
		 * how many can. */
		if (!closes)
			return;
		s->closes = closes;
		s->closes_size = size;
	}
	s->closes[s->n_closes++] = handle;
}

void handle_close_locked(struct gofer_session *s, uint64_t handle)
{
	if (s->again)
		handle = numbers_closed(s, handle);
	/* What a connection held goes with it, mostly. */
	if (handle && (!session_hung(s) || s->again->has_token))
		close_later(s, handle);
}

void gofer_handle_close(struct gofer_session *s, uint64_t handle)
{
	if (handle == 0 || session_check(s) < 0)
		return;
	pthread_mutex_lock(&s->lock);
	if (!s->dead) {
		handle_close_locked(s, handle);
		if (s->n_closes >= CLOSE_BATCH)
			(void)session_flush_closes(s);
	}
	pthread_mutex_unlock(&s->lock);
}

int gofer_session_flush(struct gofer_session *s)
{
	uint64_t deadline;
	int r = session_check(s);

	if (r < 0)
		return r;
	deadline = now_ns() + s->timeout;
	for (;;) {
		pthread_mutex_lock(&s->lock);
		r = s->dead ? s->dead : session_flush_out(s);
		if (r == 0)
			r = session_flush_closes(s);
		pthread_mutex_unlock(&s->lock);
		if (r != -EAGAIN)
			return r;
		r = session_wait_writable(s, deadline);
		if (r < 0)
			return r;
	}
}

/* ---- life cycle ---- */

static void session_free(struct gofer_session *s)
{
	if (!s)
		return;
	/* Not in a forked child, whose it is not. */
	if (s->alive && *s->alive == 1)
		helper_end(&s->helper, s->sock);
	else
		fd_close(s->sock);
	session_channels_close(s);
	reattach_free(s->again);
	for (size_t i = 0; i < s->n_filesystems; i++)
		free((char *)s->filesystems[i].name);
	free(s->filesystems);
	for (uint32_t i = 0; i < s->n_slots && s->slots; i++)
		free(s->slots[i].copy);
	free(s->slots);
	free(s->closes);
	free(s->out);
	free(s->rx);
	stream_free(s->stream);
	free(s->server);
	cache_free(s->cache);
	cache_free(s->watched);
	pages_free(s->pages);
	mapper_free(s->mapper, true);
	if (s->alive)
		munmap((void *)s->alive, sizeof(uint32_t));
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void cleanup_session(struct gofer_session **s)
{
	session_free(*s);
}

static int session_alloc(const char *server, uint64_t timeout, struct gofer_session **ret_session)
{
	_cleanup_(cleanup_session) struct gofer_session *s = calloc(1, sizeof(*s));
	uint32_t *alive;

	if (!s)
		return -ENOMEM;
	s->sock = -EBADF;
	s->timeout = timeout;
	s->batches = 1;
	pthread_mutex_init(&s->lock, NULL);
	s->server = strdup(server);
	s->rx = malloc(FRAME_MAX_PACKET);
	s->mapper = mapper_new(s);
	if (!s->server || !s->rx || !s->mapper)
		return -ENOMEM;
	/* One page that the kernel zeroes in a child: asking costs a load, where getpid(2) is a
	 * system call. */
	alive = mmap(NULL, sizeof(*alive), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	if (alive == MAP_FAILED)
		return -errno;
	s->alive = alive;
	if (madvise(alive, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) < 0)
		return -errno;
	*alive = 1;
	/* Until Hello says what the server takes. */
	s->limits = (struct gofer_session_limits){ .max_frame = FRAME_MAX_PACKET,
						   .max_data = FRAME_MAX_DATA };
	*ret_session = TAKE_PTR(s);
	return 0;
}

static int keep_roots(struct reattach *a, const Gofer__HelloReply *m)
{
	a->roots = calloc(m->n_filesystems + 1, sizeof(*a->roots));
	for (size_t i = 0; a->roots && i < m->n_filesystems; i++) {
		const Gofer__Attr *root = m->filesystems[i]->root;

		if (!root)
			continue;
		a->roots[i].dev = root->dev;
		a->roots[i].ino = root->ino;
		a->roots[i].btime = root->btime;
		a->roots[i].btime_nsec = root->btime_nsec;
	}
	return a->roots ? 0 : -ENOMEM;
}

static int take_hello(struct gofer_session *s, const Gofer__HelloReply *m)
{
	const Gofer__Limits *l = m->limits;
	struct slot *old = s->slots;

	if (m->version != 1)
		return fail_words(-EPROTO, "%s speaks protocol version %u, this library version 1",
				  s->server, m->version);
	s->limits = (struct gofer_session_limits){
		.max_frame = MIN(l->max_frame, (uint32_t)FRAME_MAX_PACKET),
		.max_data = MIN(l->max_data, (uint32_t)FRAME_MAX_DATA),
		.max_in_flight = l->max_in_flight,
		.max_handles = l->max_handles,
		.inline_limit = MIN(l->inline_limit, (uint32_t)FRAME_MAX_DATA),
		.max_identities = l->max_identities,
	};
	s->filesystems = calloc(m->n_filesystems ? m->n_filesystems : 1, sizeof(*s->filesystems));
	if (!s->filesystems)
		return -ENOMEM;
	for (size_t i = 0; i < m->n_filesystems; i++) {
		const Gofer__Filesystem *f = m->filesystems[i];
		char *name = strndup((const char *)f->name.data, f->name.len);

		if (!name)
			return -ENOMEM;
		s->filesystems[s->n_filesystems++] = (struct gofer_filesystem){
			.fs_id = f->fs_id,
			.name = name,
			.read_only = f->read_only,
			.may_donate = f->may_donate,
			.delegate = f->delegate,
			.root_mode = f->root ? f->root->mode : 0,
		};
	}
	if (s->again && m->token.len) {
		s->again->has_token = true;
		memcpy(s->again->token, m->token.data, RPC_TOKEN_SIZE);
	}
	if (s->again && keep_roots(s->again, m) < 0)
		return -ENOMEM;
	/* The table that Hello itself went through held one request; nothing is in flight now. */
	s->slots = NULL;
	free(old);
	return slots_init(s, s->limits.max_in_flight);
}

/* again: the session's from the answer on. */
static int session_hello(struct gofer_session *s, const char *client, struct reattach **again)
{
	Gofer__HelloRequest hello = GOFER__HELLO_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Hello, .message = &hello.base, .fd = -1 };
	char *features[] = { (char *)FEATURE_RESUME };
	struct gofer_reply reply;
	int r;

	hello.version = 1;
	if (*again) {
		hello.features = features;
		hello.n_features = ARRAY_SIZE(features);
	}
	hello.client = (char *)(client ? client : "libgofer");
	r = slots_init(s, 1);
	if (r == 0)
		r = gofer_call(s, &request, &reply);
	if (r < 0)
		return r;
	s->again = TAKE_PTR(*again);
	r = take_hello(s, (const Gofer__HelloReply *)reply.message);
	gofer_reply_free(&reply);
	return r;
}

static void cleanup_reattach(struct reattach **again)
{
	reattach_free(*again);
}

int gofer_session_open(const char *server, const struct gofer_session_options *options,
		       struct gofer_session **ret_session)
{
	_cleanup_(cleanup_session) struct gofer_session *s = NULL;
	_cleanup_(cleanup_reattach) struct reattach *again = NULL;
	uint64_t timeout =
		(uint64_t)(options && options->timeout_ms ? options->timeout_ms
							  : (uint32_t)SESSION_TIMEOUT_MS) *
		1000000;
	int r;

	r = session_alloc(server, timeout, &s);
	if (r < 0)
		return r;
	r = reattach_new(server, options, &again);
	if (r < 0)
		return r;
	r = session_connect(server, again ? &again->options : options, timeout, &s->sock,
			    &s->helper);
	if (r < 0)
		return r;
	s->stats.tls_resumed = s->helper.tls_resumed;
	if (stream_is(s->sock) == 1) {
		s->stream = stream_new(s->sock, STREAM_CHUNK, false);
		if (!s->stream)
			return -ENOMEM;
		if (s->helper.tls) {
			struct stream_carrier carrier = tls_stream_carrier(s->helper.tls);

			stream_carry(s->stream, &carrier);
		}
	}
	r = session_hello(s, options ? options->client : NULL, &again);
	if (r == 0)
		r = session_channels_open(s, options ? options->channels : 0);
	if (r < 0)
		return r;
	*ret_session = TAKE_PTR(s);
	return 0;
}

void gofer_session_close(struct gofer_session *s)
{
	if (!s)
		return;
	/* In a forked child the lock may be anybody's, and the connection is the parent's: only
	 * memory is freed. */
	if (*s->alive == 1) {
		writeback_quit(s);
		mapper_free(s->mapper, false);
		s->mapper = NULL;
		(void)writeback_all(s);
		pthread_mutex_lock(&s->lock);
		if (!s->dead && session_flush_out(s) == 0)
			(void)session_flush_closes(s);
		session_leave(s);
		pthread_mutex_unlock(&s->lock);
		call_cancel_all(s);
	}
	session_free(s);
}

/* ---- what the server offers ---- */

int gofer_session_filesystem(struct gofer_session *s, size_t index, struct gofer_filesystem *ret_fs)
{
	if (index >= s->n_filesystems)
		return -ENOENT;
	*ret_fs = s->filesystems[index];
	return 0;
}

int gofer_session_find_filesystem(struct gofer_session *s, const char *name,
				  struct gofer_filesystem *ret_fs)
{
	for (size_t i = 0; i < s->n_filesystems; i++)
		if (strcmp(s->filesystems[i].name, name) == 0) {
			*ret_fs = s->filesystems[i];
			return 0;
		}
	return fail_words(-ENOENT, "%s serves no filesystem '%s'", s->server, name);
}

void gofer_session_get_limits(struct gofer_session *s, struct gofer_session_limits *ret_limits)
{
	*ret_limits = s->limits;
}

int gofer_session_status(struct gofer_session *s)
{
	int r = session_check(s);

	if (r == 0) {
		pthread_mutex_lock(&s->lock);
		r = s->dead;
		pthread_mutex_unlock(&s->lock);
	}
	return r;
}

int gofer_session_fd(struct gofer_session *s)
{
	return s->sock;
}

void gofer_session_get_stats(struct gofer_session *s, struct gofer_stats *ret_stats)
{
	pthread_mutex_lock(&s->lock);
	*ret_stats = s->stats;
	ret_stats->channels = s->n_channels;
	pthread_mutex_unlock(&s->lock);
}

int gofer_session_set_identity(struct gofer_session *s, uint32_t id, uid_t uid, gid_t gid,
			       const gid_t *groups, size_t n_groups)
{
	Gofer__SetIdentityRequest m = GOFER__SET_IDENTITY_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_SetIdentity,
					 .message = &m.base,
					 .fd = -1 };
	struct gofer_reply reply;
	int r;

	if (id) {
		m.id = id;
		m.uid = uid;
		m.gid = gid;
		m.groups = (uint32_t *)groups;
		m.n_groups = n_groups;
		r = gofer_call(s, &request, &reply);
		if (r < 0)
			return fail_words(r, "identity %u:%u: %s", uid, gid, strerrordesc_np(-r));
		gofer_reply_free(&reply);
	}
	s->identity = id;
	return 0;
}

/* ---- what it remembers ---- */

int session_cache(struct gofer_session *s, bool watched, uint64_t bytes)
{
	struct cache *_Atomic *at = watched ? &s->watched : &s->cache;
	struct cache *fresh = *at ? NULL : cache_new(watched), *none = NULL;

	if (!*at && !fresh)
		return -ENOMEM;
	if (fresh && !atomic_compare_exchange_strong(at, &none, fresh))
		cache_free(fresh);
	cache_allow(*at, bytes);
	return 0;
}

int session_pages(struct gofer_session *s, const struct gofer_mount_options *o)
{
	/* Most handles are the program's. */
	const struct pages_options options = { .bytes = o->page_bytes,
					       .dirty_bytes = o->dirty_bytes,
					       .dirty_ms = o->dirty_ms,
					       .idle = s->limits.max_handles / 4 };
	struct pages *fresh, *none = NULL;
	int r;

	if (s->pages)
		return 0;
	r = pages_new(&options, &fresh);
	if (r == 0 && !atomic_compare_exchange_strong(&s->pages, &none, fresh))
		pages_free(fresh);
	return r;
}

int gofer_session_get_cache_stats(struct gofer_session *s, struct gofer_cache_stats *ret_stats)
{
	struct cache *const caches[] = { s->cache, s->watched };
	struct gofer_cache_stats sum = { 0 };

	if (!caches[0] && !caches[1])
		return fail_words(-ENODATA, "no mount of this session remembers anything");
	for (size_t i = 0; i < ARRAY_SIZE(caches); i++) {
		struct cache_stats st;

		if (!caches[i])
			continue;
		cache_get_stats(caches[i], &st);
		sum.hits += st.hits;
		sum.misses += st.misses;
		sum.evictions += st.evictions;
		sum.drops += st.drops;
		sum.names += st.nodes;
		sum.inodes += st.inodes;
		sum.watches += st.watches;
		sum.bytes += st.bytes;
		sum.budget += st.budget;
	}
	if (s->pages) {
		struct pages_stats st;

		pages_get_stats(s->pages, &st);
		sum.page_hits = st.hits;
		sum.page_misses = st.misses;
		sum.page_evictions = st.evictions;
		sum.ahead_used = st.ahead;
		sum.ahead_wasted = st.wasted;
		sum.write_backs = st.sent;
		sum.dirty_bytes = st.dirty;
		sum.page_bytes = st.bytes;
		sum.page_budget = st.budget;
	}
	*ret_stats = sum;
	return 0;
}
