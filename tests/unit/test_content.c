/*
 * test_content.c - reading through the page cache, from a server that the test plays: what is in flight, what is
 * asked for twice, and what becomes of answers that are late, short or wrong.
 */
#include <poll.h>

#include "tests/unit/client_fixture.h"

enum { SIZE = 1 << 20 };

struct served {
	uint64_t size; /* as the server says */
	uint64_t have; /* as it is */
	unsigned opens, reads;
	unsigned hold;   /* Reads that are answered when so many are there */
	unsigned fail;   /* the next Reads, with this error */
	unsigned stop;   /* ... with a Stop */
	unsigned silent; /* ... with nothing; the connection ends */
	unsigned full;   /* Opens that find no handle free */
	struct {
		uint32_t tag, count;
		uint64_t offset;
	} held[64];
	unsigned n_held;
};

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset / 4096 * 7 + offset % 251);
}

static Gofer__Attr file_attr(const struct served *s)
{
	Gofer__Attr a = fake_attr(S_IFREG | 0644, 7);

	a.size = s->size;
	return a;
}

static void answer_read(struct fake *f, struct served *s, uint32_t tag, uint64_t offset,
			uint32_t count)
{
	static uint8_t data[FRAME_MAX_DATA];
	Gofer__ReadReply m = GOFER__READ_REPLY__INIT;
	uint64_t end = MIN(offset + count, s->have);
	size_t n = end > offset ? end - offset : 0;

	for (size_t i = 0; i < n; i++)
		data[i] = byte_at(offset + i);
	m.eof = end >= s->have;
	fake_reply(f, RPC_TYPE_Read, tag, FRAME_OK, &m.base, data, n, -1);
}

static void serve_read(struct fake *f, struct served *s, const struct frame *q)
{
	Gofer__ReadRequest *m = gofer__read_request__unpack(NULL, q->header.body_len, q->body);
	Gofer__Stop stop = GOFER__STOP__INIT;
	uint32_t tag = q->header.tag;

	s->reads++;
	if (s->fail) {
		fake_error(f, q, s->fail);
		s->fail = 0;
	} else if (s->stop) {
		stop.reason = GOFER__STOP__REASON__SYMLINK;
		stop.end = 1;
		stop.target = (ProtobufCBinaryData){ 1, (uint8_t *)"x" };
		fake_reply(f, RPC_TYPE_Read, tag, FRAME_STOP, &stop.base, NULL, 0, -1);
	} else if (s->silent) {
		shutdown(f->peer, SHUT_RDWR);
	} else if (s->hold) {
		s->held[s->n_held].tag = tag;
		s->held[s->n_held].offset = m->offset;
		s->held[s->n_held++].count = m->count;
		if (s->n_held >= s->hold) {
			/* The last one first. */
			while (s->n_held) {
				s->n_held--;
				answer_read(f, s, s->held[s->n_held].tag, s->held[s->n_held].offset,
					    s->held[s->n_held].count);
			}
			s->hold = 0;
		}
	} else {
		answer_read(f, s, tag, m->offset, m->count);
	}
	gofer__read_request__free_unpacked(m, NULL);
}

static void serve(struct fake *f, const struct frame *q)
{
	struct served *s = f->state;
	Gofer__Attr attr = file_attr(s);

	switch (q->header.type) {
	case RPC_TYPE_Open: {
		Gofer__OpenReply m = GOFER__OPEN_REPLY__INIT;

		s->opens++;
		m.attr = &attr;
		m.handle = 100 + s->opens;
		if (s->full) {
			s->full--;
			fake_error(f, q, EMFILE);
		} else {
			fake_ok(f, q, &m.base);
		}
		break;
	}
	case RPC_TYPE_Read:
		serve_read(f, s, q);
		break;
	case RPC_TYPE_Unlink: {
		Gofer__ObjectReply m = GOFER__OBJECT_REPLY__INIT;

		fake_ok(f, q, &m.base);
		break;
	}
	case RPC_TYPE_Stat: {
		Gofer__StatReply m = GOFER__STAT_REPLY__INIT;

		m.attr = &attr;
		fake_ok(f, q, &m.base);
		break;
	}
	default:
		fake_error(f, q, EOPNOTSUPP);
		break;
	}
}

struct reader {
	struct served served;
	struct fake *fake;
	struct gofer_namespace *ns;
	struct gofer_file *file;
};

static void start(struct reader *r, uint64_t size)
{
	const struct gofer_mount_options o = { .interop = GOFER_INTEROP_EXCLUSIVE,
					       .no_donate = true };

	*r = (struct reader){ .served = { .size = size, .have = size } };
	r->fake = fake_start(serve, &r->served);
	cr_assert_eq(gofer_namespace_new(&r->ns), 0);
	cr_assert_eq(gofer_mount(r->ns, r->fake->session, 1, "/", &o), 0);
	cr_assert_eq(gofer_open(r->ns, "/f", O_RDONLY, 0, &r->file), 0);
}

static void stop(struct reader *r)
{
	gofer_close(r->file);
	gofer_namespace_free(r->ns);
	fake_stop(r->fake);
}

static ssize_t read_at(struct reader *r, uint64_t offset, size_t size)
{
	static uint8_t buf[SIZE + 1];
	ssize_t n = gofer_pread(r->file, buf, size, offset);

	for (ssize_t i = 0; i < n; i++)
		cr_assert_eq(buf[i], byte_at(offset + (uint64_t)i), "byte %lu",
			     offset + (uint64_t)i);
	return n;
}

Test(content, several_reads_are_in_flight_and_may_be_answered_in_any_order)
{
	struct reader r;

	start(&r, SIZE);
	/* One read of what takes eight: none is answered before all have come. */
	r.served.hold = 4;
	cr_expect_eq(read_at(&r, 0, 512 << 10), 512 << 10);
	/* A reader that goes on finds most of it there: no request has to be waited for. */
	for (uint64_t at = 512 << 10; at < SIZE; at += 4096)
		cr_assert_eq(read_at(&r, at, 4096), 4096);
	cr_expect_eq(read_at(&r, SIZE, 4096), 0);
	cr_expect_leq(r.served.reads, 20, "%u", r.served.reads);
	/* And from now on all of it. */
	r.served.reads = 0;
	cr_expect_eq(read_at(&r, 0, SIZE + 1), SIZE);
	cr_expect_eq(r.served.reads, 0);
	stop(&r);
}

Test(content, what_is_read_ahead_holds_nobody_up)
{
	struct reader r;

	start(&r, SIZE);
	cr_assert_eq(gofer_fadvise(r.file, 0, 0, POSIX_FADV_RANDOM), 0);
	cr_assert_eq(read_at(&r, 0, 4096), 4096);
	cr_assert_eq(gofer_fadvise(r.file, 0, 0, POSIX_FADV_NORMAL), 0);
	/* Never answered: the read itself is one of the cache. */
	r.served.hold = 64;
	cr_assert_eq(gofer_fadvise(r.file, 8192, 4096, POSIX_FADV_WILLNEED), 0);
	cr_expect_eq(read_at(&r, 0, 4096), 4096);
	stop(&r);
}

Test(content, a_server_that_has_less_than_it_said_gives_a_short_read)
{
	struct reader r;

	start(&r, SIZE);
	r.served.have = 5000;
	cr_expect_eq(read_at(&r, 0, SIZE), 5000);
	cr_expect_eq(read_at(&r, 8192, 100), 0);
	r.served.have = 0;
	cr_expect_eq(read_at(&r, 4096, 100), 0);
	stop(&r);
}

Test(content, a_read_that_fails_is_made_again_by_the_next_reader)
{
	struct reader r;

	start(&r, 4096);
	r.served.fail = EIO;
	cr_expect_eq(read_at(&r, 0, 100), -EIO);
	cr_expect_eq(read_at(&r, 0, 100), 100);
	stop(&r);
}

Test(content, a_stop_in_answer_to_a_read_ends_the_session)
{
	for (int ahead = 0; ahead < 2; ahead++) {
		struct reader r;

		start(&r, SIZE);
		r.served.stop = 1;
		if (ahead)
			cr_expect_eq(gofer_fadvise(r.file, 0, 0, POSIX_FADV_WILLNEED), 0);
		cr_expect_eq(read_at(&r, 0, 100), -EPROTO);
		cr_expect_eq(read_at(&r, 0, 100), -ENOTCONN);
		stop(&r);
	}
}

Test(content, when_the_server_goes_who_waits_is_told_and_nothing_is_answered_any_more)
{
	struct reader r;

	start(&r, SIZE);
	cr_expect_eq(read_at(&r, 0, 100), 100);
	r.served.silent = 1;
	cr_expect_eq(read_at(&r, 512 << 10, SIZE), -ENOTCONN);
	cr_expect_eq(read_at(&r, 0, 100), -ENOTCONN);
	stop(&r);
}

Test(content, who_polls_the_session_does_not_spin_for_what_is_read_ahead)
{
	struct reader r;
	struct pollfd p;

	start(&r, SIZE);
	cr_assert_eq(gofer_fadvise(r.file, 0, 0, POSIX_FADV_WILLNEED), 0);
	p = (struct pollfd){ .fd = gofer_session_fd(r.fake->session), .events = POLLIN };
	for (unsigned n = 0; n < SIZE / FRAME_MAX_DATA; n++) {
		cr_assert_eq(poll(&p, 1, 5000), 1);
		cr_assert_eq(gofer_session_process(r.fake->session, 0), 0);
		if (poll(&p, 1, 0) == 0 && r.served.reads == SIZE / FRAME_MAX_DATA)
			break;
	}
	cr_expect_eq(gofer_session_drain(r.fake->session), 0);
	cr_expect_eq(read_at(&r, 0, SIZE), SIZE);
	cr_expect_eq(r.served.reads, SIZE / FRAME_MAX_DATA);
	stop(&r);
}

Test(content, a_session_that_ends_with_reads_in_flight_leaks_nothing)
{
	struct reader r;

	start(&r, SIZE);
	r.served.hold = 64;
	cr_assert_eq(gofer_fadvise(r.file, 0, 0, POSIX_FADV_SEQUENTIAL), 0);
	cr_assert_eq(gofer_fadvise(r.file, 0, 0, POSIX_FADV_WILLNEED), 0);
	stop(&r);
}

Test(content, one_handle_serves_all_who_only_read_and_is_kept_until_its_file_goes)
{
	struct gofer_file *second;
	struct reader r;

	start(&r, SIZE);
	cr_assert_eq(gofer_open(r.ns, "/f", O_RDONLY, 0, &second), 0);
	cr_expect_eq(r.served.opens, 1);
	cr_expect_eq(gofer_close(second), 0);
	cr_expect_eq(gofer_close(r.file), 0);
	cr_assert_eq(gofer_open(r.ns, "/f", O_RDONLY, 0, &r.file), 0);
	cr_expect_eq(r.served.opens, 1);
	cr_expect_eq(gofer_close(TAKE_PTR(r.file)), 0);
	cr_expect_eq(gofer_unlink(r.ns, "/f"), 0);
	cr_expect_eq(r.fake->closed, 1, "in front of the request");
	cr_expect_eq(r.fake->last_closed, 101);
	stop(&r);
}

Test(content, where_handles_are_short_those_that_nobody_uses_go)
{
	struct gofer_file *second;
	struct reader r;

	start(&r, SIZE);
	cr_expect_eq(gofer_close(TAKE_PTR(r.file)), 0);
	r.served.full = 1;
	cr_assert_eq(gofer_open(r.ns, "/g", O_RDWR, 0, &second), 0);
	cr_expect_eq(r.fake->last_closed, 101);
	cr_expect_eq(gofer_close(second), 0);
	/* None to be had: the error is the caller's. */
	r.served.full = 1;
	cr_expect_eq(gofer_open(r.ns, "/g", O_RDWR, 0, &second), -EMFILE);
	stop(&r);
}
