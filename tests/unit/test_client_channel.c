/*
 * test_client_channel.c - the client's side of channels, against a server in a thread that says what
 * each test wants in them: the truth, late, through the socket, or lies (S60, S71).
 */
#include "tests/unit/client_fixture.h"

#include <sched.h>
#include <sys/wait.h>

#include "proto/channel.h"

enum { MOST = 4 };

struct shared;

/* What is said to one request in a channel. */
typedef void (*answer)(struct shared *sh, struct channel_side *side, uint32_t turn,
		       const struct frame *q);

/* The fake server's channels: a thread each. */
struct shared {
	struct fake *f;
	answer answer;
	int refuse_after; /* channels, that many are taken */
	int n;
	struct channel_area *areas[MOST];
	struct channel_side sides[MOST];
	pthread_t threads[MOST];
	_Atomic unsigned served, closed;
	_Atomic bool go; /* for those who answer late */
};

struct serving {
	struct shared *sh;
	int i;
};

static void *serve_channel(void *userdata)
{
	struct serving *s = userdata;
	struct channel_side *side = &s->sh->sides[s->i];
	struct shared *sh = s->sh;
	uint8_t *bytes = malloc(CHANNEL_FRAMES);
	uint32_t turn;

	free(s);
	while (channel_wait(side, UINT64_MAX, &turn) == 0) {
		uint32_t size = atomic_load(&side->in->length);
		struct frame q;

		memcpy(bytes, side->in->frames, size);
		frame_header_unpack(bytes, &q.header);
		if (q.header.type == RPC_TYPE_Close) {
			sh->closed++;
			memmove(bytes, bytes + FRAME_HEADER_SIZE + q.header.body_len,
				size - FRAME_HEADER_SIZE - q.header.body_len);
			frame_header_unpack(bytes, &q.header);
		}
		q.body = bytes + FRAME_HEADER_SIZE;
		q.data = side->in->payload;
		sh->served++;
		sh->answer(sh, side, turn, &q);
	}
	free(bytes);
	return NULL;
}

static void take_channel(struct fake *f, const struct frame *q)
{
	struct shared *sh = f->state;
	struct serving *s = malloc(sizeof(*s));
	struct stat st;

	if (sh->n >= sh->refuse_after) {
		free(s);
		fake_error(f, q, EOPNOTSUPP);
		return;
	}
	*s = (struct serving){ .sh = sh, .i = sh->n };
	cr_assert_eq(fstat(f->fd, &st), 0);
	cr_assert_eq(st.st_size, (off_t)sizeof(struct channel_area));
	cr_assert_eq(fcntl(f->fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW),
		     F_SEAL_SHRINK | F_SEAL_GROW);
	sh->areas[sh->n] = mmap(NULL, sizeof(struct channel_area), PROT_READ | PROT_WRITE,
				MAP_SHARED, f->fd, 0);
	cr_assert_neq(sh->areas[sh->n], MAP_FAILED);
	channel_side_init(&sh->sides[sh->n], sh->areas[sh->n], true);
	cr_assert_eq(pthread_create(&sh->threads[sh->n], NULL, serve_channel, s), 0);
	sh->n++;
	fake_ok(f, q, NULL);
}

static const Gofer__Attr good = { .base = PROTOBUF_C_MESSAGE_INIT(&gofer__attr__descriptor),
				  .mode = S_IFREG | 0644,
				  .ino = 7,
				  .nlink = 1 };

/* The socket's side: answers Stat and Ping. */
static void on_socket(struct fake *f, const struct frame *q)
{
	Gofer__StatReply m = GOFER__STAT_REPLY__INIT;

	m.attr = (Gofer__Attr *)&good;
	if (q->header.type == RPC_TYPE_Channel)
		take_channel(f, q);
	else
		fake_ok(f, q, q->header.type == RPC_TYPE_Stat ? &m.base : NULL);
}

static struct shared *start_with(answer answer, uint32_t asked, int given, uint32_t timeout_ms)
{
	struct shared *sh = calloc(1, sizeof(*sh));
	struct gofer_stats stats;

	cr_assert_not_null(sh);
	sh->answer = answer;
	sh->refuse_after = given;
	sh->f = fake_start_channels(on_socket, sh, 64, timeout_ms, asked);
	gofer_session_get_stats(sh->f->session, &stats);
	cr_assert_eq(stats.channels, MIN(asked, (uint32_t)given));
	return sh;
}

static struct shared *start(answer answer)
{
	return start_with(answer, 1, 1, 20000);
}

static void stop(struct shared *sh)
{
	fake_stop(sh->f);
	for (int i = 0; i < sh->n; i++) {
		/* It may miss it once: until it is out. */
		do {
			struct timespec soon;

			channel_stop(&sh->sides[i]);
			clock_gettime(CLOCK_REALTIME, &soon);
			soon.tv_nsec += 1000000;
			soon.tv_sec += soon.tv_nsec / 1000000000;
			soon.tv_nsec %= 1000000000;
			if (pthread_timedjoin_np(sh->threads[i], NULL, &soon) == 0)
				break;
		} while (true);
		munmap(sh->areas[i], sizeof(struct channel_area));
	}
	free(sh);
}

static uint64_t by_channel(struct shared *sh)
{
	struct gofer_stats stats;

	gofer_session_get_stats(sh->f->session, &stats);
	return stats.by_channel;
}

/* ---- answers ---- */

static void say(struct channel_side *side, uint32_t turn, struct frame_header h,
		const ProtobufCMessage *m)
{
	h.flags |= FRAME_REPLY;
	h.body_len =
		(uint32_t)(m ? protobuf_c_message_pack(m, side->out->frames + FRAME_HEADER_SIZE)
			     : 0);
	frame_header_pack(&h, side->out->frames);
	channel_publish(side, turn, FRAME_HEADER_SIZE + h.body_len, CHANNEL_HERE);
}

static void say_stat(struct channel_side *side, uint32_t turn, const struct frame *q)
{
	Gofer__StatReply m = GOFER__STAT_REPLY__INIT;

	m.attr = (Gofer__Attr *)&good;
	say(side, turn, (struct frame_header){ .tag = q->header.tag, .type = q->header.type },
	    q->header.type == RPC_TYPE_Stat ? &m.base : NULL);
}

static void truth(struct shared *sh _unused_, struct channel_side *side, uint32_t turn,
		  const struct frame *q)
{
	say_stat(side, turn, q);
}

static int stat_once(struct shared *sh)
{
	struct gofer_reply reply;
	int r = fake_stat(sh->f, &reply);

	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

/* ---- tests ---- */

Test(client_channel, calls_go_through_the_channel, .timeout = 60)
{
	struct shared *sh = start(truth);

	for (int i = 0; i < 100; i++)
		cr_assert_eq(stat_once(sh), 0);
	cr_assert_eq(by_channel(sh), 100);
	cr_assert_eq(sh->served, 100);
	cr_assert_eq(sh->f->requests, 1, "Channel alone went through the socket");
	stop(sh);
}

Test(client_channel, a_server_that_takes_none_or_fewer_is_used_all_the_same, .timeout = 60)
{
	struct shared *sh = start_with(truth, 3, 0, 20000);

	cr_assert_eq(stat_once(sh), 0);
	cr_assert_eq(by_channel(sh), 0);
	stop(sh);
	sh = start_with(truth, 3, 2, 20000);
	cr_assert_eq(stat_once(sh), 0);
	cr_assert_eq(by_channel(sh), 1);
	stop(sh);
}

Test(client_channel, descriptors_go_through_the_socket, .timeout = 60)
{
	struct shared *sh = start(truth);
	struct gofer_reply reply;

	/* The script's answer is no OpenReply: what matters is which way it came. */
	(void)fake_open(sh->f, GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE, &reply);
	cr_assert_eq(by_channel(sh), 0);
	cr_assert_eq(sh->served, 0);
	stop(sh);
}

Test(client_channel, closes_ride_along, .timeout = 60)
{
	struct shared *sh = start(truth);

	gofer_handle_close(sh->f->session, 5);
	gofer_handle_close(sh->f->session, 6);
	cr_assert_eq(stat_once(sh), 0);
	cr_assert_eq(sh->closed, 1);
	cr_assert_eq(by_channel(sh), 1);
	stop(sh);
}

static void by_socket(struct shared *sh, struct channel_side *side, uint32_t turn,
		      const struct frame *q)
{
	Gofer__StatReply m = GOFER__STAT_REPLY__INIT;

	m.attr = (Gofer__Attr *)&good;
	channel_publish(side, turn, 0, CHANNEL_ON_SOCKET);
	fake_ok(sh->f, q, &m.base);
}

Test(client_channel, a_reply_may_come_through_the_socket, .timeout = 60)
{
	struct shared *sh = start(by_socket);

	for (int i = 0; i < 50; i++)
		cr_assert_eq(stat_once(sh), 0);
	cr_assert_eq(by_channel(sh), 50);
	stop(sh);
}

/* ---- many threads ---- */

static void *many_stats(void *userdata)
{
	struct shared *sh = userdata;
	uintptr_t failed = 0;

	for (int i = 0; i < 300; i++)
		failed += stat_once(sh) != 0;
	return (void *)failed;
}

Test(client_channel, threads_share_what_channels_there_are_and_the_socket, .timeout = 100)
{
	struct shared *sh = start_with(truth, 2, 2, 20000);
	pthread_t threads[6];
	void *failed;

	/* Twice: the channels of threads that are gone are free again. */
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
			cr_assert_eq(pthread_create(&threads[i], NULL, many_stats, sh), 0);
		for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
			cr_assert_eq(pthread_join(threads[i], &failed), 0);
			cr_assert_eq((uintptr_t)failed, 0);
		}
	}
	cr_assert_eq(sh->served, by_channel(sh));
	cr_assert_eq(sh->served + sh->f->requests - 2, 2 * 6 * 300);
	stop(sh);
}

/* ---- late ---- */

static void when_told(struct shared *sh, struct channel_side *side, uint32_t turn,
		      const struct frame *q)
{
	Gofer__OpenReply m = GOFER__OPEN_REPLY__INIT;

	if (q->header.type != RPC_TYPE_Open) {
		say_stat(side, turn, q);
		return;
	}
	while (!atomic_load(&sh->go))
		sched_yield();
	m.attr = (Gofer__Attr *)&good;
	m.handle = 9;
	say(side, turn, (struct frame_header){ .tag = q->header.tag, .type = q->header.type },
	    &m.base);
}

Test(client_channel, a_late_reply_lets_its_handle_go, .timeout = 100)
{
	struct shared *sh = start_with(when_told, 1, 1, 2000);
	struct gofer_reply reply;
	uint64_t before;

	cr_assert_eq(fake_open(sh->f, GOFER__OPEN_FLAG__OPEN_READ, &reply), -ETIMEDOUT);
	/* The channel is not free: the socket serves. Its answers may be late too, on a busy machine. */
	before = by_channel(sh);
	while (stat_once(sh) == -ETIMEDOUT)
		;
	cr_assert_eq(by_channel(sh), before);
	atomic_store(&sh->go, true);
	while (by_channel(sh) == before || (sh->f->closed == 0 && sh->closed == 0)) {
		int r = stat_once(sh);

		cr_assert(r == 0 || r == -ETIMEDOUT, "%d", r);
		(void)gofer_session_flush(sh->f->session);
		sched_yield();
	}
	stop(sh);
}

static void never(struct shared *sh _unused_, struct channel_side *side _unused_,
		  uint32_t turn _unused_, const struct frame *q _unused_)
{
}

Test(client_channel, a_server_that_does_not_answer_is_given_up_and_cancelled, .timeout = 60)
{
	struct shared *sh = start_with(never, 1, 1, 2000);
	uint64_t begin = now_ns();

	cr_assert_eq(stat_once(sh), -ETIMEDOUT);
	cr_assert_geq(now_ns() - begin, 2000 * UINT64_C(1000000));
	/* Channel, and the Cancel. */
	while (sh->f->requests < 2)
		sched_yield();
	stop(sh);
}

static void dies(struct shared *sh, struct channel_side *side _unused_, uint32_t turn _unused_,
		 const struct frame *q _unused_)
{
	(void)shutdown(sh->f->peer, SHUT_RDWR);
}

Test(client_channel, the_death_of_the_server_is_noticed_through_the_socket, .timeout = 60)
{
	struct shared *sh = start_with(dies, 1, 1, 3600000);

	cr_assert_eq(stat_once(sh), -ENOTCONN);
	cr_assert_eq(stat_once(sh), -ENOTCONN);
	stop(sh);
}

/* ---- lies ---- */

#define LIE(name, ...)                                                                         \
	static void name(struct shared *sh _unused_, struct channel_side *side, uint32_t turn, \
			 const struct frame *q)                                                \
	{                                                                                      \
		Gofer__StatReply m = GOFER__STAT_REPLY__INIT;                                  \
		struct frame_header h = { .tag = q->header.tag,                                \
					  .type = q->header.type,                              \
					  .flags = FRAME_REPLY };                              \
		uint32_t length, where = CHANNEL_HERE;                                         \
                                                                                               \
		m.attr = (Gofer__Attr *)&good;                                                 \
		h.body_len = (uint32_t)gofer__stat_reply__pack(&m, side->out->frames +         \
									   FRAME_HEADER_SIZE); \
		length = FRAME_HEADER_SIZE + h.body_len;                                       \
		__VA_ARGS__;                                                                   \
		frame_header_pack(&h, side->out->frames);                                      \
		channel_publish(side, turn, length, where);                                    \
	}

LIE(no_frame, length = 0)
LIE(half_a_frame, length = FRAME_HEADER_SIZE - 1)
LIE(longer_than_the_box, length = CHANNEL_FRAMES + 1)
LIE(as_long_as_can_be, length = UINT32_MAX)
LIE(more_behind_it, length++)
LIE(less_than_it, length--)
LIE(body_of_all_there_is, h.body_len = UINT32_MAX)
LIE(nowhere, where = 2)
LIE(out_of_turn, turn += 7)
LIE(other_tag, h.tag ^= 1)
LIE(other_type, h.type = RPC_TYPE_Ping)
LIE(no_reply_flag, h.flags = 0)
LIE(kind_three, h.flags |= 3)
LIE(a_descriptor, h.fds = 1)
LIE(data_that_was_not_asked_for, h.data_len = 1)
LIE(data_without_end, h.data_len = UINT32_MAX)
LIE(garbage, memset(side->out->frames + FRAME_HEADER_SIZE, 0xff, h.body_len))

Test(client_channel, lies_end_the_session_S60, .timeout = 100)
{
	static const answer lies[] = {
		no_frame,
		half_a_frame,
		longer_than_the_box,
		more_behind_it,
		less_than_it,
		as_long_as_can_be,
		body_of_all_there_is,
		nowhere,
		out_of_turn,
		other_tag,
		other_type,
		no_reply_flag,
		kind_three,
		a_descriptor,
		data_that_was_not_asked_for,
		data_without_end,
		garbage,
	};

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct shared *sh = start(lies[i]);

		cr_assert_eq(stat_once(sh), -EPROTO, "lie %zu", i);
		cr_assert_not_null(strstr(gofer_message(), "broke the protocol"), "%s",
				   gofer_message());
		cr_assert_eq(stat_once(sh), -ENOTCONN);
		stop(sh);
	}
}

/* Both ways at once. */
static void twice(struct shared *sh, struct channel_side *side, uint32_t turn,
		  const struct frame *q)
{
	Gofer__StatReply m = GOFER__STAT_REPLY__INIT;

	m.attr = (Gofer__Attr *)&good;
	fake_ok(sh->f, q, &m.base);
	say_stat(side, turn, q);
}

Test(client_channel, a_reply_that_comes_twice_harms_nobody, .timeout = 60)
{
	struct shared *sh = start(twice);

	/* The one in the socket answers nothing any more, once somebody reads it. */
	for (int i = 0; i < 10; i++) {
		int r = stat_once(sh);

		cr_assert(r == 0 || r == -EPROTO || r == -ENOTCONN, "%d", r);
	}
	stop(sh);
}

Test(client_channel, a_child_is_refused, .timeout = 60)
{
	struct shared *sh = start(truth);
	int status;
	pid_t child;

	cr_assert_eq(stat_once(sh), 0);
	child = fork();
	if (child == 0) {
		int r = stat_once(sh);

		gofer_session_close(sh->f->session);
		_exit(r == -EOWNERDEAD ? 0 : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(stat_once(sh), 0, "the parent's is as it was");
	stop(sh);
}
