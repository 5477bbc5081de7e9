/*
 * test_client_stream.c - a session over a byte stream, whose server answers when the test wants it to.
 */
#include "tests/unit/client_fixture.h"

#include <poll.h>
#include <time.h>

#include "proto/stream.h"

enum { SUBMITTED = 200 };

/* Answers Hello at once; all that follow together, when the last of them is there, which may be answered
 * first. */
struct late {
	struct fake fake; /* for fake_hello() */
	struct stream *stream;
	uint8_t replies[(SUBMITTED + 1) * FRAME_HEADER_SIZE];
	unsigned n;
	bool last_first;
};

static void keep_reply(struct late *l, const struct frame *q)
{
	const struct frame_header h = { .tag = q->header.tag,
					.type = q->header.type,
					.flags = FRAME_REPLY | FRAME_OK };

	/* Longer than what a session takes for no time at all. */
	const struct timespec later = { .tv_nsec = 10000000 };

	unsigned place = l->last_first ? (l->n + 1) % (SUBMITTED + 1) : l->n;

	frame_header_pack(&h, l->replies + place * FRAME_HEADER_SIZE);
	if (++l->n < SUBMITTED + 1)
		return;
	(void)nanosleep(&later, NULL);
	cr_assert_eq(write(l->fake.peer, l->replies, sizeof(l->replies)),
		     (ssize_t)sizeof(l->replies));
}

static void *late_run(void *data)
{
	struct late *l = data;
	ssize_t n;

	while ((n = stream_recv(l->stream, l->fake.in, 1, 0)) > 0 || n == -EINPROGRESS) {
		struct frame q;

		if (n == -EINPROGRESS)
			continue;
		cr_assert_eq(frame_parse(l->fake.in, (size_t)n, &q), n);
		if (q.header.type == RPC_TYPE_Hello)
			fake_hello(&l->fake, &q);
		else
			keep_reply(l, &q);
	}
	return NULL;
}

static void count(void *userdata, int result, struct gofer_reply *reply _unused_)
{
	cr_assert_eq(result, 0);
	++*(unsigned *)userdata;
}

static struct late *late_start(bool last_first, struct gofer_session **ret_session)
{
	const struct gofer_session_options o = { .timeout_ms = 30000 };
	struct late *l = calloc(1, sizeof(*l));
	char name[32];
	int sv[2];

	cr_assert_not_null(l);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	l->fake.peer = sv[1];
	l->fake.max_in_flight = SUBMITTED + 8;
	l->last_first = last_first;
	l->stream = stream_new(sv[1], 1024, true);
	cr_assert_not_null(l->stream);
	cr_assert_eq(pthread_create(&l->fake.thread, NULL, late_run, l), 0);
	snprintf(name, sizeof(name), "fd:%d", sv[0]);
	cr_assert_eq(gofer_session_open(name, &o, ret_session), 0, "%s", gofer_message());
	return l;
}

static void late_stop(struct late *l, struct gofer_session *s)
{
	gofer_session_close(s);
	pthread_join(l->fake.thread, NULL);
	stream_free(l->stream);
	close(l->fake.peer);
	free(l);
}

/* SUBMITTED pings, and one that is waited for. */
static void ping_them(struct gofer_session *s, unsigned *answered)
{
	Gofer__PingRequest m = GOFER__PING_REQUEST__INIT;
	struct gofer_request ping = { .type = RPC_TYPE_Ping, .message = &m.base, .fd = -1 };
	struct gofer_reply reply;

	for (unsigned i = 0; i < SUBMITTED; i++)
		cr_assert_eq(gofer_submit(s, &ping, count, answered, NULL), 0);
	cr_assert_eq(gofer_call(s, &ping, &reply), 0, "%s", gofer_message());
	gofer_reply_free(&reply);
}

/* More frames than a packet may have come with one read(2): the rest of them is not waited for. */
Test(client_stream, an_answer_that_was_read_with_many_others_is_not_waited_for, .timeout = 60)
{
	struct gofer_session *s;
	struct late *l = late_start(false, &s);
	unsigned answered = 0;

	ping_them(s, &answered);
	cr_assert_eq(answered, SUBMITTED);
	late_stop(l, s);
}

/* An event loop polls the socket, which has nothing more to say. */
Test(client_stream, answers_that_were_read_with_ones_own_are_not_left_where_poll_does_not_see_them)
{
	struct gofer_session *s;
	struct late *l = late_start(true, &s);
	struct pollfd p = { .fd = gofer_session_fd(s), .events = POLLIN };
	unsigned answered = 0;

	ping_them(s, &answered);
	while (answered < SUBMITTED && poll(&p, 1, 1000) == 1)
		cr_assert_geq(gofer_session_process(s, 0), 0);
	cr_assert_eq(answered, SUBMITTED);
	late_stop(l, s);
}
