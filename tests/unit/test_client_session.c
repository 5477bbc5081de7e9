/*
 * test_client_session.c - calls, deadlines, submitted calls, cancelling, closes, threads and fork
 * over one session.
 */
#include "client/session.h" /* before sys/wait.h, whose WAIT_ANY is a macro */

#include <poll.h>
#include <sched.h>
#include <sys/wait.h>

#include "tests/unit/client_fixture.h"

#define TAGS 3

static void answer(struct fake *f, const struct frame *q)
{
	Gofer__EmptyReply empty = GOFER__EMPTY_REPLY__INIT;
	Gofer__StatReply stat = GOFER__STAT_REPLY__INIT;
	Gofer__Attr attr = fake_attr(S_IFREG | 0644, 7);

	stat.attr = &attr;
	fake_ok(f, q, q->header.type == RPC_TYPE_Stat ? &stat.base : &empty.base);
}

static void silent(struct fake *f _unused_, const struct frame *q _unused_)
{
}

static void leave(struct fake *f, const struct frame *q _unused_)
{
	shutdown(f->peer, SHUT_RDWR);
}

Test(client_session, hello_tells_what_the_server_offers)
{
	struct fake *f = fake_start(answer, NULL);
	struct gofer_session_limits limits;
	struct gofer_filesystem fs;

	cr_assert_eq(gofer_session_find_filesystem(f->session, "b", &fs), 0);
	cr_assert_eq(fs.fs_id, 2);
	cr_assert(fs.may_donate);
	cr_assert_eq(gofer_session_find_filesystem(f->session, "c", &fs), -ENOENT);
	cr_assert_eq(gofer_session_filesystem(f->session, 2, &fs), -ENOENT);
	gofer_session_get_limits(f->session, &limits);
	cr_assert_eq(limits.max_in_flight, 64);
	fake_stop(f);
}

Test(client_session, names_that_lead_nowhere_say_why)
{
	struct gofer_session *s;

	cr_assert_eq(gofer_session_open("unix:/nonexistent/socket", NULL, &s), -ENOENT);
	cr_assert_str_eq(gofer_message(), "cannot connect to unix:/nonexistent/socket: No such "
					  "file or directory (is the server running?)");
	cr_assert_eq(gofer_session_open("unix:@gofer-test-nobody", NULL, &s), -ECONNREFUSED);
	cr_assert_eq(gofer_session_open("unix:", NULL, &s), -EINVAL);
	cr_assert_eq(gofer_session_open("tcp:host", NULL, &s), -EINVAL);
	cr_assert_eq(gofer_session_open("fd:x", NULL, &s), -EINVAL);
	cr_assert_eq(gofer_session_open("fd:9999", NULL, &s), -EBADF);
}

Test(client_session, a_call_gets_its_reply_and_is_counted)
{
	struct fake *f = fake_start(answer, NULL);
	struct gofer_reply reply;
	struct gofer_stats stats;

	cr_assert_eq(fake_stat(f, &reply), 0);
	cr_assert_eq(((Gofer__StatReply *)reply.message)->attr->ino, 7);
	gofer_reply_free(&reply);
	cr_assert_eq(fake_ping(f), 0);
	gofer_session_get_stats(f->session, &stats);
	cr_assert_eq(stats.requests[RPC_TYPE_Stat], 1);
	cr_assert_eq(stats.requests[RPC_TYPE_Ping], 1);
	cr_assert_eq(stats.total, 3);
	cr_assert_str_eq(gofer_rpc_name(16), "Stat");
	cr_assert_null(gofer_rpc_name(15));
	cr_assert_null(gofer_rpc_name(65536 + 16));
	fake_stop(f);
}

Test(client_session, a_server_that_does_not_answer_costs_the_deadline_and_no_more)
{
	struct fake *f = fake_start_with(silent, NULL, 64, 150);
	uint64_t start = now_ns(), took;

	cr_assert_eq(fake_ping(f), -ETIMEDOUT);
	took = (now_ns() - start) / 1000000;
	cr_assert(took >= 149 && took < 1000, "%llu ms", (unsigned long long)took);
	cr_assert_not_null(strstr(gofer_message(), "Ping: no answer"));
	fake_stop(f);
}

Test(client_session, many_unanswered_calls_use_up_the_slots_and_still_time_out)
{
	struct fake *f = fake_start_with(silent, NULL, 4, 50);

	for (int i = 0; i < 8; i++)
		cr_assert_eq(fake_ping(f), -ETIMEDOUT);
	fake_stop(f);
}

Test(client_session, a_server_that_goes_away_ends_calls_at_once)
{
	struct fake *f = fake_start(leave, NULL);

	cr_assert_eq(fake_ping(f), -ENOTCONN);
	cr_assert_eq(fake_ping(f), -ENOTCONN);
	fake_stop(f);
}

/* ---- submitted ---- */

struct seen {
	int n, result[8];
	unsigned order[8];
};

struct mark {
	struct seen *seen;
	unsigned id;
};

static void note(void *userdata, int result, struct gofer_reply *reply _unused_)
{
	struct mark *m = userdata;

	m->seen->order[m->seen->n] = m->id;
	m->seen->result[m->seen->n++] = result;
}

static int submit_ping(struct fake *f, struct mark *mark, uint64_t *ret_cookie)
{
	Gofer__PingRequest m = GOFER__PING_REQUEST__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Ping, .message = &m.base, .fd = -1 };

	return gofer_submit(f->session, &q, note, mark, ret_cookie);
}

/* Keeps requests until there are TAGS, then answers the last first. */
static void backwards(struct fake *f, const struct frame *q)
{
	Gofer__EmptyReply empty = GOFER__EMPTY_REPLY__INIT;

	if (q->header.type != RPC_TYPE_Ping) {
		fake_ok(f, q, &empty.base);
		return;
	}
	f->tags[f->n_tags++] = q->header.tag;
	while (f->n_tags >= TAGS && f->n_tags < 64) {
		for (unsigned i = f->n_tags; i-- > 0;)
			fake_reply(f, RPC_TYPE_Ping, f->tags[i], FRAME_OK, &empty.base, NULL, 0,
				   -1);
		f->n_tags = 0;
	}
}

Test(client_session, replies_in_any_order_find_their_requests)
{
	struct fake *f = fake_start(backwards, NULL);
	struct seen seen = { 0 };
	struct mark marks[TAGS];

	for (unsigned i = 0; i < TAGS; i++) {
		marks[i] = (struct mark){ &seen, i };
		cr_assert_eq(submit_ping(f, &marks[i], NULL), 0);
	}
	cr_assert_eq(gofer_session_drain(f->session), 0);
	cr_assert_eq(seen.n, TAGS);
	for (unsigned i = 0; i < TAGS; i++) {
		cr_assert_eq(seen.result[i], 0);
		cr_assert_eq(seen.order[i], TAGS - 1 - i);
	}
	fake_stop(f);
}

Test(client_session, too_many_submitted_is_eagain_and_none_is_lost)
{
	struct fake *f = fake_start_with(answer, NULL, 4, 5000);
	struct seen seen = { 0 };
	struct mark mark = { &seen, 0 };

	for (int i = 0; i < 4; i++)
		cr_assert_eq(submit_ping(f, &mark, NULL), 0);
	cr_assert_eq(submit_ping(f, &mark, NULL), -EAGAIN);
	cr_assert_eq(gofer_session_drain(f->session), 0);
	cr_assert_eq(seen.n, 4);
	fake_stop(f);
}

Test(client_session, submitted_calls_make_the_descriptor_readable_without_processing)
{
	struct fake *f = fake_start(answer, NULL);
	struct seen seen = { 0 };
	struct mark mark = { &seen, 0 };
	struct pollfd p = { .fd = gofer_session_fd(f->session), .events = POLLIN };

	for (int i = 0; i < 3; i++)
		cr_assert_eq(submit_ping(f, &mark, NULL), 0);
	while (seen.n < 3) {
		cr_assert_eq(poll(&p, 1, 5000), 1, "what was submitted was never sent");
		cr_assert_geq(gofer_session_process(f->session, 0), 0);
	}
	fake_stop(f);
}

Test(client_session, a_cancelled_call_is_called_back_once_and_its_reply_dropped)
{
	struct fake *f = fake_start(backwards, NULL);
	struct seen seen = { 0 };
	struct mark marks[TAGS];
	uint64_t cookie = 0;

	marks[0] = (struct mark){ &seen, 0 };
	cr_assert_eq(submit_ping(f, &marks[0], &cookie), 0);
	cr_assert_eq(gofer_cancel(f->session, cookie), 0);
	cr_assert_eq(seen.n, 1);
	cr_assert_eq(seen.result[0], -ECANCELED);
	cr_assert_eq(gofer_cancel(f->session, cookie), -ENOENT);
	for (unsigned i = 1; i < TAGS; i++) {
		marks[i] = (struct mark){ &seen, i };
		cr_assert_eq(submit_ping(f, &marks[i], NULL), 0);
	}
	cr_assert_eq(gofer_session_drain(f->session), 0);
	cr_assert_eq(seen.n, TAGS);
	fake_stop(f);
}

Test(client_session, closing_the_session_calls_back_what_is_in_flight)
{
	struct fake *f = fake_start(silent, NULL);
	struct seen seen = { 0 };
	struct mark mark = { &seen, 0 };

	for (int i = 0; i < 3; i++)
		cr_assert_eq(submit_ping(f, &mark, NULL), 0);
	fake_stop(f);
	cr_assert_eq(seen.n, 3);
	cr_assert_eq(seen.result[2], -ECANCELED);
}

Test(client_session, in_flight_calls_learn_of_a_dead_server)
{
	struct fake *f = fake_start(leave, NULL);
	struct seen seen = { 0 };
	struct mark mark = { &seen, 0 };

	cr_assert_eq(submit_ping(f, &mark, NULL), 0);
	(void)gofer_session_process(f->session, -1);
	cr_assert_eq(seen.n, 1);
	cr_assert_eq(seen.result[0], -ENOTCONN);
	cr_assert_eq(submit_ping(f, &mark, NULL), -ENOTCONN);
	fake_stop(f);
}

struct again {
	struct fake *f;
	int left, sync;
};

static void submit_more(void *userdata, int result, struct gofer_reply *reply _unused_)
{
	Gofer__PingRequest m = GOFER__PING_REQUEST__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Ping, .message = &m.base, .fd = -1 };
	struct again *a = userdata;

	cr_assert_eq(result, 0);
	a->sync += fake_ping(a->f) == 0;
	if (a->left-- > 0)
		cr_assert_eq(gofer_submit(a->f->session, &q, submit_more, a, NULL), 0);
}

Test(client_session, callbacks_may_call_and_submit)
{
	struct fake *f = fake_start(answer, NULL);
	struct again a = { f, 5, 0 };

	submit_more(&a, 0, NULL);
	cr_assert_eq(gofer_session_drain(f->session), 0);
	cr_assert_eq(a.sync, 6);
	fake_stop(f);
}

/* ---- closes ---- */

Test(client_session, closes_ride_in_front_of_the_next_request)
{
	struct fake *f = fake_start(answer, NULL);

	for (uint64_t h = 1; h <= 10; h++)
		gofer_handle_close(f->session, h);
	cr_assert_eq(f->closed, 0);
	cr_assert_eq(fake_ping(f), 0);
	cr_assert_eq(f->closed, 10);
	for (uint64_t h = 1; h <= 130; h++)
		gofer_handle_close(f->session, h);
	cr_assert_eq(fake_ping(f), 0);
	cr_assert_eq(f->closed, 140);
	gofer_handle_close(f->session, 1000);
	cr_assert_eq(gofer_session_flush(f->session), 0);
	gofer_handle_close(f->session, 1001);
	fake_stop(f);
}

static void open_late(struct fake *f, const struct frame *q)
{
	Gofer__OpenReply m = GOFER__OPEN_REPLY__INIT;
	Gofer__EmptyReply empty = GOFER__EMPTY_REPLY__INIT;
	Gofer__Attr attr = fake_attr(S_IFREG | 0644, 7);
	int fd;

	if (q->header.type == RPC_TYPE_Open) {
		f->tags[0] = q->header.tag;
		return;
	}
	/* The Cancel that followed: now the Open is answered after all, with a descriptor and a
	 * handle. */
	if (q->header.type == RPC_TYPE_Cancel) {
		m.handle = 77;
		m.attr = &attr;
		m.donated = true;
		fd = memfd_create("late", MFD_CLOEXEC);
		fake_reply(f, RPC_TYPE_Open, f->tags[0], FRAME_OK, &m.base, NULL, 0, fd);
		close(fd);
	}
	fake_ok(f, q, &empty.base);
}

static void ignore(void *userdata _unused_, int result _unused_, struct gofer_reply *reply _unused_)
{
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

Test(client_session, a_late_open_leaves_neither_descriptor_nor_handle)
{
	struct fake *f = fake_start(open_late, NULL);
	Gofer__OpenRequest m = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path p = GOFER__PATH__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Open, .message = &m.base, .fd = -1 };
	int before = count_fds();
	uint64_t cookie;

	m.path = &p;
	m.flags = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE |
		  GOFER__OPEN_FLAG__OPEN_DONATE;
	cr_assert_eq(gofer_submit(f->session, &q, ignore, NULL, &cookie), 0);
	cr_assert_eq(gofer_cancel(f->session, cookie), 0);
	cr_assert_eq(fake_ping(f), 0);
	cr_assert_eq(fake_ping(f), 0);
	cr_assert_eq(f->closed, 1);
	cr_assert_eq(f->last_closed, 77);
	cr_assert_eq(count_fds(), before);
	fake_stop(f);
}

/* ---- threads, fork ---- */

static void *ping_many(void *data)
{
	struct fake *f = data;
	struct gofer_reply reply;

	for (int i = 0; i < 2000; i++) {
		if (fake_ping(f) < 0 || fake_stat(f, &reply) < 0)
			return (void *)1;
		gofer_reply_free(&reply);
		gofer_handle_close(f->session, 5);
	}
	return NULL;
}

Test(client_session, threads_share_a_session, .timeout = 60)
{
	struct fake *f = fake_start_with(answer, NULL, 6, 20000);
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, ping_many, f), 0);
	for (int i = 0; i < 8; i++) {
		void *result;

		pthread_join(threads[i], &result);
		cr_assert_null(result);
	}
	cr_assert_eq(gofer_session_flush(f->session), 0);
	cr_assert_eq(fake_ping(f), 0);
	cr_assert_eq(f->closed, 16000);
	fake_stop(f);
}

Test(client_session, a_forked_child_may_not_speak_for_its_parent)
{
	struct fake *f = fake_start(answer, NULL);
	int status;
	pid_t child = fork();

	if (child == 0) {
		int r = fake_ping(f);

		gofer_session_close(f->session);
		_exit(r == -EOWNERDEAD ? 0 : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(fake_ping(f), 0);
	fake_stop(f);
}

/* A server that reads nothing until the socket is full, and cannot write before its replies are
 * read. */
struct flood {
	_Atomic int got;
};

static void big_write(struct fake *f, const struct frame *q)
{
	Gofer__WriteReply m = GOFER__WRITE_REPLY__INIT;

	m.count = q->header.data_len;
	fake_ok(f, q, &m.base);
}

static void count_done(void *userdata, int result, struct gofer_reply *reply _unused_)
{
	struct flood *flood = userdata;

	cr_assert_eq(result, 0);
	flood->got++;
}

Test(client_session, more_data_than_the_socket_holds_does_not_deadlock, .timeout = 30)
{
	struct fake *f = fake_start(big_write, NULL);
	Gofer__WriteRequest m = GOFER__WRITE_REQUEST__INIT;
	static uint8_t data[FRAME_MAX_DATA];
	struct gofer_request q = { .type = RPC_TYPE_Write,
				   .message = &m.base,
				   .data = data,
				   .data_len = sizeof(data),
				   .fd = -1 };
	struct flood flood = { 0 };
	int sent = 0;

	m.handle = 1;
	while (sent < 300) {
		int r = gofer_submit(f->session, &q, count_done, &flood, NULL);

		if (r == -EAGAIN)
			cr_assert_geq(gofer_session_process(f->session, -1), 0);
		else
			cr_assert_eq(r, 0);
		sent += r == 0;
	}
	cr_assert_eq(gofer_session_drain(f->session), 0);
	cr_assert_eq(flood.got, 300);
	fake_stop(f);
}

/* ---- several threads wait ---- */

/* Waits for what another thread is about to do; nothing but its own lock tells. */
static void wait_until(struct gofer_session *s, bool (*holds)(const struct gofer_session *))
{
	for (bool now = false; !now;) {
		pthread_mutex_lock(&s->lock);
		now = holds(s);
		pthread_mutex_unlock(&s->lock);
		sched_yield();
	}
}

static bool somebody_leads(const struct gofer_session *s)
{
	return s->leader;
}

static bool somebody_follows(const struct gofer_session *s)
{
	return s->waiters && s->waiters->asleep;
}

static bool two_follow(const struct gofer_session *s)
{
	return somebody_follows(s) && s->waiters->next && s->waiters->next->asleep;
}

static void answer_only_cancel(struct fake *f, const struct frame *q)
{
	if (q->header.type == RPC_TYPE_Cancel)
		fake_ok(f, q, NULL);
}

static void *drain(void *data)
{
	return (void *)(intptr_t)gofer_session_drain(data);
}

Test(client_session, draining_ends_when_another_thread_cancels_the_last, .timeout = 30)
{
	struct fake *f = fake_start(answer_only_cancel, NULL);
	struct seen seen = { 0 };
	struct mark mark = { &seen, 0 };
	uint64_t cookie, begin = now_ns();
	pthread_t thread;
	void *r;

	cr_assert_eq(submit_ping(f, &mark, &cookie), 0);
	cr_assert_eq(pthread_create(&thread, NULL, drain, f->session), 0);
	wait_until(f->session, somebody_leads);
	cr_assert_eq(gofer_cancel(f->session, cookie), 0);
	cr_assert_eq(pthread_join(thread, &r), 0);
	cr_assert_eq((intptr_t)r, 0);
	cr_assert_lt(now_ns() - begin, UINT64_C(4000000000), "not at the deadline");
	fake_stop(f);
}

static _Atomic unsigned kept;

static void keep(struct fake *f, const struct frame *q)
{
	f->tags[f->n_tags++] = q->header.tag;
	atomic_fetch_add(&kept, 1);
}

static void *ping_thread(void *f)
{
	return (void *)(intptr_t)fake_ping(f);
}

static void *process_thread(void *session)
{
	return (void *)(intptr_t)gofer_session_process(session, -1);
}

struct waits {
	pthread_t other;
	intptr_t result;
};

static void wait_for_other(void *userdata, int result _unused_, struct gofer_reply *reply _unused_)
{
	struct waits *w = userdata;
	void *r;

	pthread_join(w->other, &r);
	w->result = (intptr_t)r;
}

Test(client_session, a_callback_may_wait_for_another_threads_call, .timeout = 30)
{
	Gofer__PingRequest m = GOFER__PING_REQUEST__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Ping, .message = &m.base, .fd = -1 };
	struct fake *f = fake_start(keep, NULL);
	struct waits w = { .result = 1 };
	pthread_t leader, processor;
	void *r;

	cr_assert_eq(gofer_submit(f->session, &q, wait_for_other, &w, NULL), 0);
	cr_assert_eq(pthread_create(&leader, NULL, ping_thread, f), 0);
	wait_until(f->session, somebody_leads);
	cr_assert_eq(pthread_create(&w.other, NULL, ping_thread, f), 0);
	wait_until(f->session, somebody_follows);
	cr_assert_eq(pthread_create(&processor, NULL, process_thread, f->session), 0);
	wait_until(f->session, two_follow);
	/* The leader's own reply, so that whoever processes leads; then the callback's; then the
	 * one that it waits for. */
	while (atomic_load(&kept) < 3)
		sched_yield();
	fake_reply(f, RPC_TYPE_Ping, f->tags[1], FRAME_OK, NULL, NULL, 0, -1);
	cr_assert_eq(pthread_join(leader, &r), 0);
	cr_assert_eq((intptr_t)r, 0);
	fake_reply(f, RPC_TYPE_Ping, f->tags[0], FRAME_OK, NULL, NULL, 0, -1);
	fake_reply(f, RPC_TYPE_Ping, f->tags[2], FRAME_OK, NULL, NULL, 0, -1);
	cr_assert_eq(pthread_join(processor, &r), 0);
	cr_assert_eq((intptr_t)r, 1);
	cr_assert_eq(w.result, 0, "the other thread's call: %ld", (long)w.result);
	fake_stop(f);
}
