/*
 * reattach.c - losing a connection and getting another: what becomes of requests, who makes the new
 * connection and for how long, and what is sent again.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

#include "client/cache/cache.h"
#include "client/cache/pages.h"
#include "client/reattach.h"
#include "client/tls_stream.h"

enum {
	PATIENCE_MS = 30000,
	ATTEMPT_MS = 2000, /* the first attempt's time; it doubles */
	PAUSE_MS = 20, /* between the first two attempts; it doubles, with half of it at random */
	PAUSE_MOST_MS = 2000,
};

/* ---- life ---- */

static bool can_reattach(const char *server)
{
	static const char *const kinds[] = { "unix-stream:", "vsock:", "tcp:", "tls:", "ssh:" };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strncmp(server, kinds[i], strlen(kinds[i])) == 0)
			return true;
	return false;
}

/* Keeps strings that the caller only lent. */
static int keep_strings(struct reattach *a)
{
	const char **const from[] = { &a->options.client, &a->tls.ca,  &a->tls.cert,
				      &a->tls.key,        &a->tls.crl, &a->tls.token_file,
				      &a->tls.name };

	_Static_assert(ARRAY_SIZE(from) <= ARRAY_SIZE(a->strings), "room for all strings");
	for (size_t i = 0; i < ARRAY_SIZE(from); i++) {
		if (!*from[i])
			continue;
		*from[i] = a->strings[i] = strdup(*from[i]);
		if (!a->strings[i])
			return -ENOMEM;
	}
	return 0;
}

int reattach_new(const char *server, const struct gofer_session_options *options,
		 struct reattach **ret_reattach)
{
	uint32_t ms = options ? options->reconnect_ms : 0;
	struct reattach *a;

	*ret_reattach = NULL;
	if (ms == UINT32_MAX || (ms == 0 && !can_reattach(server)))
		return 0;
	if (!can_reattach(server))
		return fail_words(-EOPNOTSUPP,
				  "%s: only a stream with a name can be connected to again",
				  server);
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	pthread_cond_init(&a->changed, NULL);
	if (options)
		a->options = *options;
	if (options && options->tls)
		a->tls = *options->tls;
	a->options.tls = &a->tls;
	if (!a->tls.tickets && strncmp(server, "tls:", 4) == 0) {
		int r = gofer_tls_tickets_new(&a->own);

		if (r < 0) {
			a->tls = (struct gofer_tls_options){ 0 };
			reattach_free(a);
			return r;
		}
		a->tls.tickets = a->own;
	}
	a->patience = (uint64_t)(ms ? ms : (uint32_t)PATIENCE_MS) * 1000000;
	if (keep_strings(a) < 0) {
		reattach_free(a);
		return -ENOMEM;
	}
	*ret_reattach = a;
	return 0;
}

void reattach_free(struct reattach *a)
{
	if (!a)
		return;
	numbers_deinit(a);
	gofer_tls_tickets_free(a->own);
	for (size_t i = 0; i < ARRAY_SIZE(a->strings); i++)
		free(a->strings[i]);
	free(a->roots);
	pthread_cond_destroy(&a->changed);
	free(a);
}

void gofer_session_abort(struct gofer_session *s)
{
	int saved = errno;

	if (s->again)
		atomic_store(&s->again->aborted, true);
	(void)shutdown(s->sock, SHUT_RDWR);
	errno = saved;
}

/* ---- losing it ---- */

void session_hang(struct gofer_session *s, uint32_t epoch)
{
	struct reattach *a = s->again;

	if (s->dead || (a && (a->hung || a->epoch != epoch)))
		return;
	if (!a) {
		session_kill(s, -ENOTCONN, "the server is gone");
		return;
	}
	a->hung = true;
	/* Whoever sleeps in recvmsg reads what is there, and then the end. */
	(void)shutdown(s->sock, SHUT_RDWR);
}

/* With the lock, nobody leads: takes what is there. */
static void read_out(struct gofer_session *s, uint64_t wait_until)
{
	struct batch batch;

	batch.n = 0;
	s->leader = true;
	(void)session_receive(s, wait_until, false, &batch);
	s->leader = false;
	pass_leadership(s);
	pthread_mutex_unlock(&s->lock);
	batch_run(&batch);
	pthread_mutex_lock(&s->lock);
}

bool session_has_ended(struct gofer_session *s)
{
	/* Who reads will know. */
	if (!s->leader && !session_hung(s))
		read_out(s, 0);
	return s->dead || session_hung(s);
}

/* Nobody will answer it: whoever waits has `result`. */
static void doom(struct gofer_session *s, struct slot *slot, int result)
{
	if (slot->rpc->type == RPC_TYPE_Close && slot->copy)
		numbers_forget(s, slot->copy + FRAME_HEADER_SIZE, slot->copy_body);
	switch (slot->state) {
	case SLOT_WAITING:
		slot_answer(s, slot, result);
		slot_free(s, slot);
		break;
	case SLOT_FETCH:
		fetch_answer(s, slot, result, NULL);
		break;
	case SLOT_ASYNC:
		if (!slot->doom)
			s->again->doomed++;
		slot->doom = result;
		wake_any(s);
		break;
	default:
		slot_free(s, slot);
		break;
	}
}

/* The connection is lost: a request that has left is undecided. */
static void lose(struct gofer_session *s, struct slot *slot)
{
	bool buffered = slot->batch && slot->batch == s->batches;

	if (slot->state == SLOT_FREE || slot->doom || slot->again)
		return;
	/* Whoever sends it has not come to that. */
	if (slot->state == SLOT_WAITING && !slot->left)
		return;
	slot->lost = true;
	slot->again = buffered && slot->copy && slot->state != SLOT_ZOMBIE;
}

/* There is another connection, and no reply to it came over that. resumed: so it never arrived, or need not be kept by the server. */
static void decide(struct gofer_session *s, struct slot *slot, bool resumed)
{
	bool kept = resumed && !(slot->rpc->flags & RPC_IDEMPOTENT);

	slot->lost = false;
	if (slot->again)
		return;
	if (slot->state != SLOT_ZOMBIE && slot->copy && (slot->repeat || kept))
		slot->again = true;
	else
		doom(s, slot, -ECONNRESET);
}

void session_lose(struct gofer_session *s, const char *why)
{
	struct reattach *a = s->again;

	if (s->dead || (a && a->lost))
		return;
	if (!a || atomic_load(&a->aborted)) {
		session_kill(s, -ENOTCONN, why);
		return;
	}
	session_hang(s, a->epoch);
	a->lost = true;
	a->lost_at = now_ns();
	a->until = a->lost_at + a->patience;
	for (uint32_t i = 0; i < s->n_slots; i++)
		lose(s, &s->slots[i]);
	/* The handles that were to be closed are gone, too. */
	if (!a->has_token)
		s->n_closes = 0;
	s->out_len = s->out_frames = 0;
	s->batches++;
}

int session_bury_doomed(struct gofer_session *s)
{
	/* Held: with the next gofer_session_process(). */
	return s->again && s->again->doomed && !callbacks_held() ? session_bury(s, 0) : 0;
}

uint64_t session_deadline(const struct gofer_session *s, uint64_t deadline)
{
	const struct reattach *a = s->again;

	if (!a || deadline == 0)
		return deadline;
	if (a->lost)
		return MAX(deadline, a->until + s->timeout);
	return a->regained ? MAX(deadline, a->regained + s->timeout) : deadline;
}

void session_leave(struct gofer_session *s)
{
	Gofer__LeaveRequest m = GOFER__LEAVE_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Leave, .message = &m.base, .fd = -1 };
	_cleanup_packed_ struct packed p = { .buf = p.small };
	struct slot *slot;

	if (s->dead || !s->again || !s->again->has_token || session_hung(s) ||
	    packed_init(&p, s, &request) < 0)
		return;
	slot = slot_take(s, true);
	if (!slot)
		return;
	slot->rpc = p.rpc;
	slot->state = SLOT_ZOMBIE;
	packed_stamp(&p, s, slot->tag);
	(void)session_transmit(s, &p);
}

/* ---- another one ---- */

static void tell(struct gofer_session *s, enum gofer_connection what)
{
	const struct gofer_session_options *o = &s->again->options;

	if (o->connection)
		o->connection(o->connection_data, what,
			      (uint32_t)((now_ns() - s->again->lost_at) / 1000000));
}

/* Until the next attempt; not beyond `until`. */
static void pause_before(unsigned attempt, uint64_t until)
{
	uint64_t most = MIN((uint64_t)PAUSE_MS << MIN(attempt, 16u), (uint64_t)PAUSE_MOST_MS) *
			1000000,
		 now = now_ns(), wait;
	struct timespec ts;
	uint32_t dice = 0;

	if (getrandom(&dice, sizeof(dice), GRND_NONBLOCK) < 0)
		dice = (uint32_t)now;
	/* Many clients of a server that comes back do not come all at once. */
	wait = most / 2 + (most / 2) * (dice >> 16) / 65536;
	if (now + wait > until)
		wait = until > now ? until - now : 0;
	ts = (struct timespec){ .tv_sec = (time_t)(wait / 1000000000),
				.tv_nsec = (long)(wait % 1000000000) };
	(void)ppoll(NULL, 0, &ts,
		    NULL); /* a signal ends it, which may be gofer_session_abort()'s */
}

/* Without the lock. */
static int try_for_long(struct gofer_session *s, struct attachment *ret)
{
	struct reattach *a = s->again;
	uint64_t attempt_ns = (uint64_t)ATTEMPT_MS * 1000000;
	bool final = false;

	for (unsigned attempt = 0;; attempt++, attempt_ns *= 2) {
		uint64_t now = now_ns();
		int r;

		if (atomic_load(&a->aborted))
			return fail_words(-ECANCELED, "given up");
		if (now >= a->until)
			return attempt ? -ETIMEDOUT : fail_words(-ETIMEDOUT, "no time is left");
		r = attachment_make(s, MIN(MIN(attempt_ns, s->timeout), a->until - now), ret,
				    &final);
		if (r == 0 || final)
			return r;
		/* Twice: whoever is told may give up, and a signal may have ended the pause. */
		tell(s, GOFER_CONNECTION_LOST);
		if (!atomic_load(&a->aborted))
			pause_before(attempt, a->until);
		tell(s, GOFER_CONNECTION_LOST);
	}
}

/* With the lock: the connection is the session's. */
static void install(struct gofer_session *s, struct attachment *fresh, struct helper *ret_old)
{
	struct reattach *a = s->again;

	if (fresh->helper.tls)
		tls_stream_move(fresh->helper.tls, s->sock, s->timeout);
	a->epoch = stream_replace(s->stream, fresh->stream);
	fresh->sock = -EBADF;
	*ret_old = s->helper;
	s->helper = fresh->helper;
	fresh->helper = (struct helper){ 0 };
	a->hung = a->lost = false;
	a->regained = now_ns();
	s->stats.reconnects++;
	s->stats.tls_resumed += s->helper.tls_resumed;
	a->has_token = fresh->has_token;
	memcpy(a->token, fresh->token, sizeof(a->token));
	for (size_t i = 0; i < RECENT_CLOSES; i++) {
		/* A number is not used twice: to close it once more does no harm. */
		if (a->closes[i] && fresh->resumed)
			close_later(s, a->closes[i]);
		a->closes[i] = 0;
	}
	/* Somebody else may have changed what is served, or it was done and nobody knows. */
	if (s->cache)
		cache_drop(s->cache);
	if (s->watched)
		cache_drop(s->watched);
	if (s->pages) {
		(void)pages_any_begin(s->pages);
		pages_any_end_unknown(s->pages);
	}
}

/* With the lock, as leader: the replies that may have been lost; then what becomes of the other requests. */
static void settle(struct gofer_session *s, const struct attachment *fresh)
{
	const char *violation = NULL;
	struct batch batch;

	batch.n = 0;
	for (size_t at = 0; at < fresh->replays_len && !violation;) {
		struct frame frame;
		ssize_t n = frame_parse(fresh->replays + at, fresh->replays_len - at, &frame);

		if (n < 0 || !reply_flags_ok(&frame.header)) {
			violation = "a frame that breaks framing";
			break;
		}
		violation = session_replay(s, &frame, &batch);
		at += (size_t)n;
		if (batch.n == FRAME_MAX_PER_PACKET) {
			pthread_mutex_unlock(&s->lock);
			batch_run(&batch);
			pthread_mutex_lock(&s->lock);
		}
	}
	if (violation)
		session_kill(s, -EPROTO, violation);
	for (uint32_t i = 0; i < s->n_slots && !s->dead; i++)
		if (s->slots[i].lost && s->slots[i].state != SLOT_FREE)
			decide(s, &s->slots[i], fresh->resumed);
	wake_any(s);
	pthread_mutex_unlock(&s->lock);
	batch_run(&batch);
	pthread_mutex_lock(&s->lock);
}

/* With the lock: sends what is to be sent again. While the socket is full others may read, and send. */
static void send_again(struct gofer_session *s)
{
	uint64_t deadline = now_ns() + s->timeout;

	for (uint32_t i = 0; i < s->n_slots; i++) {
		struct slot *slot = &s->slots[i];
		_cleanup_packed_ struct packed p = { .buf = p.small };
		int r;

		if (s->dead || session_hung(s))
			return;
		if (!slot->again || slot->state == SLOT_FREE)
			continue;
		r = packed_again(&p, s, slot);
		if (r == 0)
			r = session_transmit(s, &p);
		if (r == 0) {
			slot->again = false;
			slot->batch = 0;
		} else if (r == -EAGAIN) {
			if (session_hung(s))
				return; /* with the next connection */
			pthread_mutex_unlock(&s->lock);
			r = session_wait_writable(s, deadline);
			pthread_mutex_lock(&s->lock);
			if (r == -ETIMEDOUT)
				session_hang(s, s->again->epoch);
			i--;
		} else if (!s->dead) {
			slot->again = false;
			doom(s, slot, r);
		}
	}
}

/* With the lock, lost, nobody leads. */
static int reattach(struct gofer_session *s)
{
	struct attachment fresh = { .sock = -EBADF };
	struct helper old = { 0 };
	int r;

	s->leader = true;
	pthread_mutex_unlock(&s->lock);
	/* Handles that nobody uses are not worth a request. */
	for (uint64_t idle; s->pages && (idle = pages_handle_idle(s->pages, NULL));)
		gofer_handle_close(s, idle);
	r = try_for_long(s, &fresh);
	pthread_mutex_lock(&s->lock);
	if (r == 0 && !s->dead) {
		install(s, &fresh, &old);
		settle(s, &fresh);
	} else if (!s->dead) {
		char why[256];

		snprintf(why, sizeof(why), "the connection was lost, and there is no other: %s",
			 gofer_message());
		session_kill(s, -ENOTCONN, why);
	}
	s->leader = false;
	pthread_cond_broadcast(&s->again->changed);
	pass_leadership(s);
	if (r == 0 && !s->dead)
		send_again(s);
	pthread_mutex_unlock(&s->lock);
	attachment_deinit(&fresh);
	tls_stream_drop(TAKE_PTR(old.tls));
	helper_end(&old, -EBADF);
	if (r == 0)
		tell(s, GOFER_CONNECTION_BACK);
	pthread_mutex_lock(&s->lock);
	return s->dead;
}

int session_regain(struct gofer_session *s)
{
	while (!s->dead && session_hung(s)) {
		struct reattach *a = s->again;

		if (!s->leader && a->lost) {
			(void)reattach(s);
		} else if (!s->leader) {
			/* What has come before the end, and the end. */
			read_out(s, now_ns() + s->timeout);
		} else {
			uint64_t until = now_ns() + a->patience + s->timeout;
			struct timespec ts = { .tv_sec = (time_t)(until / 1000000000),
					       .tv_nsec = (long)(until % 1000000000) };

			if (pthread_cond_clockwait(&a->changed, &s->lock, CLOCK_MONOTONIC, &ts) ==
				    ETIMEDOUT &&
			    session_hung(s) && !s->dead)
				return fail_words(-ETIMEDOUT, "%s: no other connection in time",
						  s->server);
		}
	}
	return s->dead;
}
