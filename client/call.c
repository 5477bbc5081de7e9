/*
 * call.c - requests and who waits for them: synchronous calls, submitted ones, giving up,
 * processing.
 */
#include <time.h>

#include "client/reattach.h"
#include "client/writeback.h"

static void list_add(struct gofer_session *s, struct waiter *w)
{
	w->prev = NULL;
	w->next = s->waiters;
	if (w->next)
		w->next->prev = w;
	s->waiters = w;
	s->any_waiters += w->kind == WAIT_ANY;
	s->slot_waiters += w->kind == WAIT_SLOT;
	s->fetch_waiters += w->kind == WAIT_FETCH;
	w->listed = true;
}

static void list_remove(struct gofer_session *s, struct waiter *w)
{
	if (!w->listed)
		return;
	if (w->next)
		w->next->prev = w->prev;
	if (w->prev)
		w->prev->next = w->next;
	else
		s->waiters = w->next;
	s->any_waiters -= w->kind == WAIT_ANY;
	s->slot_waiters -= w->kind == WAIT_SLOT;
	s->fetch_waiters -= w->kind == WAIT_FETCH;
	w->listed = false;
}

/*
 * With the lock: whether what was read from a stream holds answers that somebody waits for in poll(2),
 * which does not see them any more.
 */
static bool left_behind(struct gofer_session *s)
{
	return s->stream && s->n_async && !s->dead && !s->leader && !session_hung(s) &&
	       stream_pending(s->stream);
}

/*
 * With the lock: until w->done, the session's death (-ENOTCONN), or the deadline (-ETIMEDOUT).
 * Leads or follows. *handled counts the callbacks run here. deadline 0: only what is there already
 * (-EAGAIN).
 */
static int wait_for(struct gofer_session *s, struct waiter *w, uint64_t deadline, bool fresh,
		    int *handled)
{
	struct batch batch;
	uint64_t until;
	int r = 0;

	batch.n = 0;
	/* Whoever waits for a reply is found through its slot; the others must be on the list even
	 * while they lead. */
	if (w->kind != WAIT_REPLY)
		list_add(s, w);
	while (!w->done || left_behind(s)) {
		if (s->dead) {
			r = s->dead;
			break;
		}
		if (session_hung(s) && deadline == 0 && w->kind != WAIT_ANY) {
			r = -EAGAIN;
			break;
		}
		if (session_hung(s) && !s->leader) {
			(void)session_regain(s);
			*handled += session_bury_doomed(s);
			fresh = false;
			continue;
		}
		if (s->leader) {
			struct timespec ts;

			until = w->kind == WAIT_ANY ? deadline : session_deadline(s, deadline);
			ts = (struct timespec){ .tv_sec = (time_t)(until / 1000000000),
						.tv_nsec = (long)(until % 1000000000) };

			if (deadline == 0) {
				r = -EAGAIN;
				break;
			}
			if (!w->listed)
				list_add(s, w);
			w->asleep = true;
			r = pthread_cond_clockwait(&w->cond, &s->lock, CLOCK_MONOTONIC, &ts);
			w->asleep = false;
			fresh = false;
			if (r == ETIMEDOUT && !w->done) {
				r = -ETIMEDOUT;
				break;
			}
			r = 0;
			continue;
		}
		s->leader = true;
		until = w->kind == WAIT_ANY ? deadline : session_deadline(s, deadline);
		r = session_receive(s, w->done ? 0 : until, fresh, &batch);
		s->leader = false;
		fresh = false;
		if (batch.n) {
			pass_leadership(s);
			pthread_mutex_unlock(&s->lock);
			*handled += batch_run(&batch);
			pthread_mutex_lock(&s->lock);
		}
		if (r == -EAGAIN && deadline && !w->done)
			r = 0;
		if (r < 0)
			break;
	}
	list_remove(s, w);
	pass_leadership(s);
	return w->done ? 0 : r;
}

bool call_look(struct gofer_session *s, struct waiter *w)
{
	int handled = 0;
	bool done;

	pthread_mutex_lock(&s->lock);
	if (!w->done)
		(void)wait_for(s, w, 0, false, &handled);
	done = w->done;
	pthread_mutex_unlock(&s->lock);
	return done;
}

static struct waiter waiter_new(enum wait_kind kind)
{
	return (struct waiter){ .cond = PTHREAD_COND_INITIALIZER, .kind = kind };
}

/* With the lock: a slot, waiting for one if all are in use. */
static int slot_wait(struct gofer_session *s, uint64_t deadline, struct slot **ret_slot)
{
	struct slot *slot;
	int handled = 0;

	while (!(slot = slot_take(s, false))) {
		struct waiter w = waiter_new(WAIT_SLOT);
		int r = session_flush_out(s);

		if (r < 0 && r != -EAGAIN)
			return r;
		r = wait_for(s, &w, deadline, false, &handled);
		if (r < 0)
			return r;
	}
	*ret_slot = slot;
	return 0;
}

static int timed_out(struct gofer_session *s, const struct rpc_info *rpc)
{
	return fail_words(-ETIMEDOUT, "%s: no answer from %s within %llu ms", rpc->name, s->server,
			  (unsigned long long)(s->timeout / 1000000));
}

/* Sends one call. Its result is set here only where it could not be sent. lent: its payload stays there until it is answered. */
static void call_send(struct gofer_session *s, struct call *call, struct waiter *w,
		      uint64_t deadline, bool lent)
{
	_cleanup_packed_ struct packed p;
	struct slot *slot = NULL;
	int r;

	p.buf = p.small;
	call->answered = false;
	r = packed_init(&p, s, &call->request);
	if (r == 0) {
		pthread_mutex_lock(&s->lock);
		r = s->dead ? s->dead : slot_wait(s, deadline, &slot);
		if (r == 0) {
			call->tag = slot->tag;
			packed_stamp(&p, s, slot->tag);
			slot->rpc = p.rpc;
			slot->expect = p.expect;
			slot->sink = call->sink;
			slot->call = call;
			slot->waiter = w;
			slot->state = SLOT_WAITING;
			if (call->blind)
				slot_blind(s, slot);
			w->pending++;
			w->done = false;
			if (s->again)
				r = packed_keep(&p, s, slot, false, lent);
		}
		pthread_mutex_unlock(&s->lock);
	}
	if (r == 0)
		r = session_send(s, &p, deadline);
	if (r == 0)
		return;
	/* Not sent; only the session's end can have answered it nevertheless. */
	pthread_mutex_lock(&s->lock);
	if (!call->answered) {
		if (slot) {
			slot_answer(s, slot, r);
			slot_free(s, slot);
		}
		call->result = r;
		call->answered = true;
	}
	pthread_mutex_unlock(&s->lock);
}

/* With the lock: nobody waits for these any more. */
static void abandon(struct gofer_session *s, struct call *calls, size_t n, int result)
{
	for (size_t i = 0; i < n; i++) {
		struct slot *slot = calls[i].answered ? NULL : slot_find(s, calls[i].tag);

		if (!slot)
			continue;
		slot->waiter = NULL;
		slot->call = NULL;
		slot->sink = NULL;
		slot->state = SLOT_ZOMBIE;
		slot->again = false;
		slot_late(s, slot);
		calls[i].answered = true;
		calls[i].result = result;
		session_send_cancel(s, calls[i].tag);
	}
}

void session_call_many(struct gofer_session *s, struct call *calls, size_t n)
{
	struct waiter w = waiter_new(WAIT_REPLY);
	uint64_t start = now_ns(), deadline = start + s->timeout;
	int r = session_check(s), handled = 0;
	bool late = false, by_channel;

	if (r < 0) {
		for (size_t i = 0; i < n; i++)
			calls[i].result = r;
		return;
	}
	w.done = true;
	by_channel =
		n == 1 && s->n_channels && session_channel_call(s, &calls[0], &w, start, deadline);
	for (size_t i = 0; i < n && !by_channel; i++)
		call_send(s, &calls[i], &w, deadline, true);
	pthread_mutex_lock(&s->lock);
	if (!w.done) {
		r = wait_for(s, &w, deadline, n == 1 && !by_channel, &handled);
		if (r < 0) {
			late = r == -ETIMEDOUT;
			abandon(s, calls, n, r);
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (late)
		timed_out(s, rpc_find(calls[0].request.type));
}

void call_init(struct call *call, struct waiter *w)
{
	*w = waiter_new(WAIT_REPLY);
	w->done = true;
	call->result = 0;
	call->answered = true;
	call->channel = NULL;
	call->follow_up = NULL;
	call->slept = false;
}

void session_call_begin(struct gofer_session *s, struct call *call, struct waiter *w,
			bool by_channel)
{
	int r = session_check(s);

	call_init(call, w);
	call->result = r;
	if (r == 0 && !(by_channel && s->n_channels && session_channel_begin(s, call, w)))
		call_send(s, call, w, now_ns() + s->timeout, false);
}

bool session_call_answered(struct gofer_session *s, struct waiter *w)
{
	bool done;

	pthread_mutex_lock(&s->lock);
	done = w->done;
	pthread_mutex_unlock(&s->lock);
	return done;
}

int session_call_end(struct gofer_session *s, struct call *call, struct waiter *w)
{
	int r = session_check(s), handled = 0;
	uint64_t start, deadline;

	if (r < 0)
		return r;
	start = now_ns();
	deadline = start + s->timeout;
	if (call->channel)
		session_channel_end(s, call, w, start, deadline);
	pthread_mutex_lock(&s->lock);
	if (!w->done) {
		/* What was submitted meanwhile does not wait for this answer. */
		(void)session_flush_out(s);
		r = wait_for(s, w, deadline, !call->channel, &handled);
		if (r < 0)
			abandon(s, call, 1, r);
	}
	pthread_mutex_unlock(&s->lock);
	return r == -ETIMEDOUT ? timed_out(s, rpc_find(call->request.type)) : call->result;
}

bool session_call_drop(struct gofer_session *s, struct call *call, struct waiter *w)
{
	if (session_check(s) < 0)
		return false;
	pthread_mutex_lock(&s->lock);
	if (!w->done)
		abandon(s, call, 1, -ECANCELED);
	pthread_mutex_unlock(&s->lock);
	return call->result == 0;
}

static int call_one(struct gofer_session *s, const struct gofer_request *request, void *sink,
		    bool blind, struct gofer_reply *ret_reply)
{
	struct call call;

	call.request = *request;
	call.sink = sink;
	call.blind = blind;
	session_call_many(s, &call, 1);
	if (call.result == 0)
		*ret_reply = call.reply;
	return call.result;
}

int session_call(struct gofer_session *s, const struct gofer_request *request, void *sink,
		 struct gofer_reply *ret_reply)
{
	return call_one(s, request, sink, false, ret_reply);
}

int gofer_call(struct gofer_session *s, const struct gofer_request *request,
	       struct gofer_reply *ret_reply)
{
	int r = 0;

	/* What a program does by itself comes after what it has written to files. */
	if (s->pages && session_check(s) == 0 && pages_any_dirty(s->pages))
		r = writeback_all(s);
	return r < 0 ? r : call_one(s, request, NULL, true, ret_reply);
}

static uint64_t cookie_of(uint32_t tag)
{
	return UINT64_C(1) << 32 | tag;
}

/* What is asked for without waiting. `fetched`: or else `callback`. */
static int submit(struct gofer_session *s, const struct gofer_request *request, void *sink,
		  gofer_callback callback, fetch_callback fetched, void *userdata,
		  uint64_t *ret_cookie)
{
	_cleanup_packed_ struct packed p;
	struct slot *slot = NULL;
	int r;

	p.buf = p.small;
	r = session_check(s);
	if (r < 0)
		return r;
	r = packed_init(&p, s, request);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	r = s->dead;
	if (r == 0) {
		if (!fetched || s->in_flight < s->n_slots / 2)
			slot = slot_take(s, false);
		if (!slot)
			r = -EAGAIN;
	}
	if (r == 0) {
		struct gofer_stats before = s->stats;

		packed_stamp(&p, s, slot->tag);
		slot->rpc = p.rpc;
		slot->expect = p.expect;
		slot->sink = sink;
		slot->callback = callback;
		slot->fetched = fetched;
		slot->userdata = userdata;
		if (!fetched)
			slot_blind(s, slot);
		slot->state = SLOT_ZOMBIE;
		r = s->again ? packed_keep(&p, s, slot, !session_sends_alone(&p), false) : 0;
		if (r == 0)
			r = session_buffer(s, &p);
		if (r == 0) {
			slot->state = fetched ? SLOT_FETCH : SLOT_ASYNC;
			s->n_async += !fetched;
			s->n_fetches += fetched != NULL;
			if (ret_cookie)
				*ret_cookie = cookie_of(slot->tag);
		} else {
			slot_free(s, slot);
			if (r == -EAGAIN)
				s->stats = before;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int session_fetch(struct gofer_session *s, const struct gofer_request *request, void *sink,
		  fetch_callback callback, void *userdata)
{
	return submit(s, request, sink, NULL, callback, userdata, NULL);
}

int session_wait_fetch(struct gofer_session *s, const _Atomic bool *done)
{
	uint64_t deadline = now_ns() + s->timeout;
	int r = 0, handled = 0;
	bool fresh = true;

	pthread_mutex_lock(&s->lock);
	while (!*done && r == 0) {
		r = s->dead ? s->dead : session_flush_out(s);
		if (r == 0) {
			struct waiter w = waiter_new(WAIT_FETCH);

			r = wait_for(s, &w, deadline, fresh, &handled);
		} else if (r == -EAGAIN) {
			pthread_mutex_unlock(&s->lock);
			r = session_wait_writable(s, deadline);
			pthread_mutex_lock(&s->lock);
		}
		fresh = false;
	}
	if (*done)
		r = 0;
	pthread_mutex_unlock(&s->lock);
	return r == -ETIMEDOUT ? timed_out(s, rpc_find(RPC_TYPE_Read)) : r;
}

int gofer_submit(struct gofer_session *s, const struct gofer_request *request,
		 gofer_callback callback, void *userdata, uint64_t *ret_cookie)
{
	return submit(s, request, NULL, callback, NULL, userdata, ret_cookie);
}

int gofer_cancel(struct gofer_session *s, uint64_t cookie)
{
	gofer_callback callback;
	struct slot *slot;
	void *userdata;
	int r;

	r = session_check(s);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	slot = cookie >> 32 == 1 ? slot_find(s, (uint32_t)cookie) : NULL;
	if (!slot || slot->state != SLOT_ASYNC) {
		pthread_mutex_unlock(&s->lock);
		return -ENOENT;
	}
	callback = slot->callback;
	userdata = slot->userdata;
	slot->callback = NULL;
	slot->sink = NULL;
	slot->state = SLOT_ZOMBIE;
	slot->again = false;
	s->n_async--;
	/* Whoever waits for any callback waits for none now; if it reads the socket, the Cancel's
	 * reply wakes it. */
	if (s->n_async == 0)
		wake_any(s);
	if (slot->doom) {
		s->again->doomed--;
		slot_free(s, slot);
	} else if (!s->dead) {
		session_send_cancel(s, slot->tag);
	}
	pthread_mutex_unlock(&s->lock);
	callback(userdata, -ECANCELED, NULL);
	return 0;
}

int session_bury(struct gofer_session *s, int result)
{
	int n = 0;

	for (uint32_t i = 0; i < s->n_slots && s->n_async; i++) {
		struct slot *slot = &s->slots[i];
		gofer_callback callback = slot->callback;
		void *userdata = slot->userdata;
		int error = result ? result : slot->doom;

		if (slot->state != SLOT_ASYNC || !error)
			continue;
		if (slot->doom)
			s->again->doomed--;
		s->n_async--;
		slot_free(s, slot);
		pthread_mutex_unlock(&s->lock);
		callback(userdata, error, NULL);
		pthread_mutex_lock(&s->lock);
		n++;
	}
	return n;
}

int gofer_session_process(struct gofer_session *s, int timeout_ms)
{
	uint64_t timeout = timeout_ms < 0 ? s->timeout : (uint64_t)timeout_ms * 1000000;
	uint64_t deadline = timeout ? now_ns() + timeout : 0;
	int r, handled = 0;

	r = session_check(s);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	if (session_hung(s))
		(void)session_regain(s);
	handled += session_bury_doomed(s);
	r = s->dead ? s->dead : session_flush_out(s);
	if (r == -EAGAIN)
		r = 0;
	if (handled)
		deadline = 0;
	if (r == 0 && (s->n_async || ((!timeout || s->n_fetches) && s->in_flight))) {
		struct waiter w = waiter_new(WAIT_ANY);

		r = wait_for(s, &w, s->n_async ? deadline : 0, timeout_ms < 0, &handled);
		/* What else is there already costs no waiting; callbacks may have submitted more.
		 */
		while (r == 0 && s->n_async) {
			w = waiter_new(WAIT_ANY);
			r = wait_for(s, &w, 0, false, &handled);
		}
		if (r == -EAGAIN || (r == -ETIMEDOUT && (handled || timeout_ms >= 0)))
			r = 0;
		if (r == 0 && !s->dead && session_flush_out(s) == -ENOTCONN)
			r = -ENOTCONN;
	}
	if (s->dead) {
		handled += session_bury(s, s->death);
		r = s->dead;
	}
	pthread_mutex_unlock(&s->lock);
	if (r == -ETIMEDOUT)
		return fail_words(r, "no answer from %s within %llu ms", s->server,
				  (unsigned long long)(s->timeout / 1000000));
	return handled ? handled : r;
}

int gofer_session_drain(struct gofer_session *s)
{
	for (;;) {
		bool done;
		int r = session_check(s);

		if (r < 0)
			return r;
		pthread_mutex_lock(&s->lock);
		done = s->n_async == 0;
		pthread_mutex_unlock(&s->lock);
		if (done)
			return 0;
		r = gofer_session_process(s, -1);
		if (r < 0)
			return r;
	}
}

void call_cancel_all(struct gofer_session *s)
{
	pthread_mutex_lock(&s->lock);
	(void)session_bury(s, -ECANCELED);
	for (uint32_t i = 0; i < s->n_slots && s->n_fetches; i++)
		if (s->slots[i].state == SLOT_FETCH)
			fetch_answer(s, &s->slots[i], -ECANCELED, NULL);
	pthread_mutex_unlock(&s->lock);
}
