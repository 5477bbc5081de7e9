/*
 * test_stream.c - frames on a byte stream: cut anywhere, over the limits, half sent.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/rpc.h"
#include "proto/stream.h"

enum { CHUNK = 1024 };

struct pipe {
	int sock[2]; /* [0] is the stream's */
	struct stream *stream;
	uint8_t buf[FRAME_MAX_PACKET];
};

static struct pipe *pipe_new(bool requests)
{
	struct pipe *p = calloc(1, sizeof(*p));

	cr_assert_not_null(p);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->sock), 0);
	p->stream = stream_new(p->sock[0], CHUNK, requests);
	cr_assert_not_null(p->stream);
	return p;
}

static void pipe_free(struct pipe *p)
{
	stream_free(p->stream);
	close(p->sock[0]);
	fd_close(p->sock[1]);
	free(p);
}

static size_t put_frame(uint8_t *at, uint16_t type, uint32_t tag, size_t body, size_t data)
{
	struct frame_header h = {
		.body_len = (uint32_t)body, .data_len = (uint32_t)data, .tag = tag, .type = type
	};

	frame_header_pack(&h, at);
	memset(at + FRAME_HEADER_SIZE, (int)tag, body + data);
	return FRAME_HEADER_SIZE + body + data;
}

static void say(struct pipe *p, const uint8_t *bytes, size_t n)
{
	cr_assert_eq(write(p->sock[1], bytes, n), (ssize_t)n);
}

static ssize_t next(struct pipe *p, unsigned max_frames)
{
	ssize_t n;

	do
		n = stream_recv(p->stream, p->buf, max_frames, MSG_DONTWAIT);
	while (n == -EINPROGRESS);
	return n;
}

Test(stream, is_told_from_packets)
{
	int packets[2];
	struct pipe *p = pipe_new(false);

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets), 0);
	cr_assert_eq(stream_is(p->sock[0]), 1);
	cr_assert_eq(stream_is(packets[0]), 0);
	cr_assert_eq(stream_is(-1), -EBADF);
	close(packets[0]);
	close(packets[1]);
	pipe_free(p);
}

Test(stream, a_frame_cut_anywhere_is_whole_again)
{
	uint8_t frame[FRAME_HEADER_SIZE + 40];
	size_t size = put_frame(frame, RPC_TYPE_Stat, 7, 30, 10);
	struct pipe *p = pipe_new(true);

	for (size_t cut = 1; cut < size; cut++) {
		say(p, frame, cut);
		cr_assert_eq(stream_recv(p->stream, p->buf, 1, 0), -EINPROGRESS);
		cr_assert_eq(stream_recv(p->stream, p->buf, 1, MSG_DONTWAIT), -EAGAIN);
		say(p, frame + cut, size - cut);
		cr_assert_eq(next(p, 1), (ssize_t)size);
		cr_assert_eq(memcmp(p->buf, frame, size), 0);
	}
	cr_assert_eq(next(p, 1), -EAGAIN);
	pipe_free(p);
}

Test(stream, frames_come_together_as_many_as_are_asked_for)
{
	uint8_t frames[4 * FRAME_HEADER_SIZE];
	size_t size = 0;
	struct pipe *p = pipe_new(false);

	for (uint32_t i = 0; i < 4; i++)
		size += put_frame(frames + size, RPC_TYPE_Ping, i, 0, 0);
	say(p, frames, size);
	cr_assert_eq(next(p, 3), 3 * FRAME_HEADER_SIZE);
	cr_assert_eq(stream_buffered(p->stream), FRAME_HEADER_SIZE);
	cr_assert_eq(next(p, 3), FRAME_HEADER_SIZE);
	cr_assert_eq(stream_buffered(p->stream), 0);
	pipe_free(p);
}

Test(stream, what_controls_others_waits_behind_none_of_them)
{
	static const struct {
		uint16_t types[3];
		size_t data; /* of the first */
		unsigned together;
	} cases[] = {
		{ { RPC_TYPE_Stat, RPC_TYPE_Stat, RPC_TYPE_Stat }, 0, 3 },
		{ { RPC_TYPE_Stat, RPC_TYPE_Stat, RPC_TYPE_Cancel }, 0, 2 },
		{ { RPC_TYPE_Stat, RPC_TYPE_Close, RPC_TYPE_Stat }, 0, 1 },
		{ { RPC_TYPE_Close, RPC_TYPE_Close, RPC_TYPE_Stat }, 0, 3 },
		{ { RPC_TYPE_Stat, RPC_TYPE_Sync, RPC_TYPE_Stat }, 0, 1 },
		{ { RPC_TYPE_Sync, RPC_TYPE_Stat, RPC_TYPE_Stat }, 0, 1 },
		{ { RPC_TYPE_Write, RPC_TYPE_Stat, RPC_TYPE_Stat }, 17000, 1 },
		{ { 999, RPC_TYPE_Stat, RPC_TYPE_Stat }, 0, 1 },
	};
	static uint8_t frames[32 * 1024];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pipe *p = pipe_new(true);
		size_t size = 0, taken = 0;
		ssize_t n;

		for (uint32_t k = 0; k < 3; k++)
			size += put_frame(frames + size, cases[i].types[k], k, 4,
					  k ? 0 : cases[i].data);
		say(p, frames, size);
		n = next(p, 16);
		for (unsigned k = 0; n > 0 && taken < (size_t)n; k++)
			taken += FRAME_HEADER_SIZE + 4 + (k ? 0 : cases[i].data);
		cr_expect_eq((ssize_t)taken, n, "case %zu: not whole frames", i);
		taken = (taken - cases[i].data) / (FRAME_HEADER_SIZE + 4);
		cr_expect_eq(taken, cases[i].together, "case %zu: %zu together", i, taken);
		pipe_free(p);
	}
}

Test(stream, lengths_over_the_limits_are_never_waited_for)
{
	static const struct frame_header bad[] = {
		{ .body_len = FRAME_MAX_BODY + 1 },
		{ .data_len = FRAME_MAX_DATA + 1 },
		{ .body_len = UINT32_MAX, .data_len = UINT32_MAX },
		{ .fds = 2 },
	};
	uint8_t frames[2 * FRAME_HEADER_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct pipe *p = pipe_new(true);

		(void)put_frame(frames, RPC_TYPE_Ping, 1, 0, 0);
		frame_header_pack(&bad[i], frames + FRAME_HEADER_SIZE);
		say(p, frames, sizeof(frames));
		cr_expect_eq(next(p, 16), FRAME_HEADER_SIZE, "what came before is whole");
		cr_expect_eq(next(p, 16), -EPROTO);
		cr_expect_eq(next(p, 16), -EPROTO, "and so it stays");
		pipe_free(p);
	}
}

Test(stream, S133_an_end_inside_a_frame_is_no_end)
{
	uint8_t frame[FRAME_HEADER_SIZE + 8];
	size_t size = put_frame(frame, RPC_TYPE_Stat, 7, 8, 0);

	for (size_t cut = 0; cut <= size; cut++) {
		struct pipe *p = pipe_new(true);

		say(p, frame, cut);
		p->sock[1] = fd_close(p->sock[1]);
		if (cut == size)
			cr_expect_eq(next(p, 1), (ssize_t)size);
		cr_expect_eq(next(p, 1), cut % size ? -ECONNABORTED : 0, "cut at %zu", cut);
		pipe_free(p);
	}
}

Test(stream, descriptors_that_come_along_are_closed)
{
	uint8_t frame[FRAME_HEADER_SIZE];
	struct iovec iov = { frame, put_frame(frame, RPC_TYPE_Ping, 1, 0, 0) };
	struct pipe *p = pipe_new(true);
	int ends[2];
	char byte;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	cr_assert_eq(packet_send(p->sock[1], &iov, 1, ends[1], 0), 0);
	close(ends[1]);
	cr_assert_eq(next(p, 1), FRAME_HEADER_SIZE);
	cr_assert_eq(read(ends[0], &byte, 1), 0, "nobody has the other end");
	close(ends[0]);
	pipe_free(p);
}

Test(stream, what_is_sent_in_part_is_sent_in_order)
{
	static uint8_t frame[FRAME_HEADER_SIZE + FRAME_MAX_DATA], in[FRAME_MAX_PACKET];
	struct pipe *p = pipe_new(false);
	struct stream *other = stream_new(p->sock[1], CHUNK, false);
	struct iovec iov[2] = { { frame, FRAME_HEADER_SIZE },
				{ frame + FRAME_HEADER_SIZE, FRAME_MAX_DATA } };
	uint32_t sent = 0, got = 0;
	ssize_t n;

	cr_assert_not_null(other);
	do {
		(void)put_frame(frame, RPC_TYPE_Write, sent, 0, FRAME_MAX_DATA);
		n = stream_send(p->stream, iov, 2, MSG_DONTWAIT);
	} while (n == 0 && ++sent);
	cr_assert_eq(n, -EAGAIN);
	cr_assert_gt(sent, 0);
	cr_assert(stream_unsent(p->stream), "the last of them was cut");
	while (got < sent) {
		struct frame f;

		n = stream_recv(other, in, 1, MSG_DONTWAIT);
		if (n == -EAGAIN)
			(void)stream_flush(p->stream);
		if (n == -EAGAIN || n == -EINPROGRESS)
			continue;
		cr_assert_eq(n, sizeof(frame));
		cr_assert_eq(frame_parse(in, (size_t)n, &f), n);
		cr_assert_eq(f.header.tag, got);
		cr_assert_eq(f.data[FRAME_MAX_DATA - 1], (uint8_t)got);
		got++;
	}
	cr_assert_eq(stream_flush(p->stream), 0);
	cr_assert_not(stream_unsent(p->stream));
	stream_free(other);
	pipe_free(p);
}

enum { SENDERS = 3, EACH = 200 };

struct sender {
	pthread_t thread;
	struct pipe *pipe;
	uint32_t tag;
};

static void *send_many(void *userdata)
{
	struct sender *s = userdata;
	uint8_t *frame = malloc(FRAME_HEADER_SIZE + 30000);
	struct iovec iov = { .iov_base = frame };

	for (unsigned i = 0; frame && i < EACH; i++) {
		iov.iov_len = put_frame(frame, RPC_TYPE_Write, s->tag, 0, 30000);
		if (stream_send(s->pipe->stream, &iov, 1, 0) < 0)
			break;
	}
	free(frame);
	return NULL;
}

Test(stream, frames_of_several_threads_stay_whole)
{
	struct pipe *p = pipe_new(false);
	struct stream *other = stream_new(p->sock[1], CHUNK, false);
	struct sender senders[SENDERS];
	static uint8_t in[FRAME_MAX_PACKET];
	unsigned got = 0;

	cr_assert_not_null(other);
	for (uint32_t i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ .pipe = p, .tag = i + 1 };
		cr_assert_eq(pthread_create(&senders[i].thread, NULL, send_many, &senders[i]), 0);
	}
	while (got < SENDERS * EACH) {
		struct frame f;
		ssize_t n = stream_recv(other, in, 1, 0);

		if (n == -EINPROGRESS || n == -EINTR)
			continue;
		cr_assert_eq(n, FRAME_HEADER_SIZE + 30000);
		cr_assert_eq(frame_parse(in, (size_t)n, &f), n);
		for (size_t i = 0; i < f.header.data_len; i++)
			if (f.data[i] != (uint8_t)f.header.tag)
				cr_assert_fail("frames were mixed");
		got++;
	}
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(senders[i].thread, NULL);
	stream_free(other);
	pipe_free(p);
}

static atomic_uint interrupted;

static void on_interrupt(int signal _unused_)
{
	interrupted++;
}

struct interrupted_send {
	pthread_t thread;
	struct pipe *pipe;
	int result;
	_Atomic bool done;
};

static void *send_one(void *userdata)
{
	static uint8_t frame[FRAME_HEADER_SIZE + FRAME_MAX_DATA];
	struct interrupted_send *s = userdata;
	struct iovec iov = { .iov_base = frame };

	iov.iov_len = put_frame(frame, RPC_TYPE_Read, 7, 0, FRAME_MAX_DATA);
	s->result = stream_send(s->pipe->stream, &iov, 1, 0);
	s->done = true;
	return NULL;
}

/* A frame that does not fit the socket, nobody who reads, and signals. */
static void send_interrupted(struct interrupted_send *s, struct pipe *p, _Atomic bool *over)
{
	struct sigaction sa = { .sa_handler = on_interrupt };
	const int small = 4096;

	cr_assert_eq(sigaction(SIGUSR1, &sa, NULL), 0);
	cr_assert_eq(setsockopt(p->sock[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	p->stream->over = over;
	*s = (struct interrupted_send){ .pipe = p };
	cr_assert_eq(pthread_create(&s->thread, NULL, send_one, s), 0);
	while (recv(p->sock[1], p->buf, 1, MSG_PEEK | MSG_DONTWAIT) != 1)
		sched_yield();
}

Test(stream, an_interrupted_thread_sends_its_frame_to_the_end, .timeout = 60)
{
	struct pipe *p = pipe_new(false);
	struct stream *other = stream_new(p->sock[1], CHUNK, false);
	_Atomic bool over = false;
	struct interrupted_send s;
	ssize_t n;

	cr_assert_not_null(other);
	send_interrupted(&s, p, &over);
	/* As a Cancel does with the request that is next. */
	for (unsigned i = 1; i <= 200 && !s.done; i++) {
		cr_assert_eq(pthread_kill(s.thread, SIGUSR1), 0);
		while (interrupted < i && !s.done)
			sched_yield();
	}
	cr_assert_not(s.done, "the rest was given up: %d", s.result);
	do
		n = stream_recv(other, p->buf, 1, 0);
	while (n == -EINPROGRESS || n == -EINTR);
	cr_assert_eq(n, FRAME_HEADER_SIZE + FRAME_MAX_DATA);
	cr_assert_eq(pthread_join(s.thread, NULL), 0);
	cr_assert_eq(s.result, 0);
	stream_free(other);
	pipe_free(p);
}

Test(stream, an_interrupted_thread_gives_up_once_nobody_reads, .timeout = 60)
{
	struct pipe *p = pipe_new(false);
	_Atomic bool over = true;
	struct interrupted_send s;

	send_interrupted(&s, p, &over);
	while (!s.done) {
		(void)pthread_kill(s.thread, SIGUSR1);
		sched_yield();
	}
	cr_assert_eq(pthread_join(s.thread, NULL), 0);
	cr_assert_eq(s.result, -EPIPE);
	cr_assert_eq(stream_send(p->stream, NULL, 0, 0), -EPIPE, "nothing follows half a frame");
	pipe_free(p);
}
