/*
 * A session against its peer: order, tags, batches, cancels, limits, and everything that is out of
 * order.
 */
#include "session_fixture.h"

#include <time.h>

static int open_file(struct session_fixture *f, const char *name, uint32_t flags,
		     uint64_t *ret_handle)
{
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	Gofer__OpenReply *reply = NULL;
	PATH(path, name);
	int e;

	q.path = &path;
	q.flags = flags;
	q.mode = flags & GOFER__OPEN_FLAG__OPEN_CREATE ? 0644 : 0;
	e = call(f, RPC_TYPE_Open, &q.base, (ProtobufCMessage **)&reply);
	if (e == 0) {
		*ret_handle = reply->handle;
		gofer__open_reply__free_unpacked(reply, NULL);
	}
	return e;
}

Test(session, every_rpc_but_hello_is_refused_before_hello_S68)
{
	struct session_fixture *f = fixture_start(NULL);

	for (size_t i = 0; i < RPC_COUNT; i++)
		if (!(rpc_table[i].flags & RPC_UNGREETED))
			cr_assert_eq(call(f, rpc_table[i].type, NULL, NULL), EPROTO, "%s",
				     rpc_table[i].name);
	hello(f);
	cr_assert_eq(call(f, RPC_TYPE_Ping, NULL, NULL), 0);
	fixture_stop(f);
}

Test(session, a_second_hello_is_refused_and_the_session_lives_S68)
{
	struct session_fixture *f = fixture_start(NULL);
	Gofer__HelloRequest q = GOFER__HELLO_REQUEST__INIT;

	hello(f);
	q.version = 1;
	cr_assert_eq(call(f, RPC_TYPE_Hello, &q.base, NULL), EPROTO);
	cr_assert_eq(call(f, RPC_TYPE_Ping, NULL, NULL), 0);
	fixture_stop(f);
}

Test(session, an_unknown_rpc_is_eopnotsupp_and_a_reserved_flag_einval_S68)
{
	struct session_fixture *f = fixture_start(NULL);

	hello(f);
	cr_assert_eq(call(f, 127, NULL, NULL), EOPNOTSUPP);
	cr_assert_eq(call(f, 60000, NULL, NULL), EOPNOTSUPP);
	for (unsigned flag = 1; flag < 256; flag <<= 1) {
		add_frame(f, RPC_TYPE_Ping, 5, flag, NULL);
		send_packet_now(f);
		/* A request that asks for no reply, and may not, gets none: the ping behind it
		 * does. */
		if (!(flag & FRAME_NO_REPLY)) {
			cr_assert(receive(f));
			cr_assert_eq(f->replies[0].header.flags, FRAME_REPLY | FRAME_ERROR);
		}
		cr_assert_eq(call(f, RPC_TYPE_Ping, NULL, NULL), 0);
	}
	fixture_stop(f);
}

Test(session, requests_in_one_packet_are_answered_in_one_packet)
{
	struct session_fixture *f = fixture_start(NULL);

	hello(f);
	for (uint32_t i = 0; i < FRAME_MAX_PER_PACKET; i++)
		add_frame(f, RPC_TYPE_Ping, i, 0, NULL);
	send_packet_now(f);
	cr_assert(receive(f));
	cr_assert_eq(f->n_replies, FRAME_MAX_PER_PACKET);
	for (uint32_t i = 0; i < f->n_replies; i++)
		cr_assert_eq(f->replies[i].header.tag, i);
	fixture_stop(f);
}

Test(session, a_tag_in_use_is_refused_without_harm_to_its_owner_S69)
{
	struct session_fixture *f = fixture_start(NULL);
	unsigned ok = 0, refused = 0;

	hello(f);
	add_frame(f, RPC_TYPE_Ping, 7, 0, NULL);
	add_frame(f, RPC_TYPE_Ping, 7, 0, NULL);
	add_frame(f, RPC_TYPE_Ping, 8, 0, NULL);
	send_packet_now(f);
	while (ok + refused < 3) {
		cr_assert(receive(f));
		for (unsigned i = 0; i < f->n_replies; i++)
			if ((f->replies[i].header.flags & FRAME_KIND_MASK) == FRAME_OK)
				ok++;
			else
				refused++;
	}
	cr_assert_eq(ok, 2);
	cr_assert_eq(refused, 1);
	fixture_stop(f);
}

Test(session, more_in_flight_than_allowed_is_eagain_S70)
{
	struct server_limits limits = SERVER_LIMITS_DEFAULT;
	struct session_fixture *f;
	unsigned ok = 0;

	limits.max_in_flight = 4;
	f = fixture_start(&limits);
	hello(f);
	for (uint32_t i = 0; i < 10; i++)
		add_frame(f, RPC_TYPE_Ping, i, 0, NULL);
	send_packet_now(f);
	for (unsigned seen = 0; seen < 10;) {
		cr_assert(receive(f));
		for (unsigned i = 0; i < f->n_replies; i++, seen++)
			ok += (f->replies[i].header.flags & FRAME_KIND_MASK) == FRAME_OK;
	}
	cr_assert_eq(ok, 4);
	cr_assert_eq(call(f, RPC_TYPE_Ping, NULL, NULL), 0);
	fixture_stop(f);
}

Test(session, closes_ride_in_front_of_a_request_and_want_no_reply)
{
	struct session_fixture *f = fixture_start(NULL);
	Gofer__CloseRequest q = GOFER__CLOSE_REQUEST__INIT;
	uint64_t handles[3];
	Gofer__StatsReply *stats = NULL;

	hello(f);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(open_file(f, "file",
				       GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE,
				       &handles[i]),
			     0);
	q.handles = handles;
	q.n_handles = 3;
	add_frame(f, RPC_TYPE_Close, 1, FRAME_NO_REPLY, &q.base);
	cr_assert_eq(call(f, RPC_TYPE_Stats, NULL, (ProtobufCMessage **)&stats), 0);
	cr_assert_eq(stats->handles, 0);
	gofer__stats_reply__free_unpacked(stats, NULL);
	fixture_stop(f);
}

Test(session, a_donated_descriptor_is_fresh_and_no_wider_than_asked_S47_S50)
{
	struct session_fixture *f = fixture_start(NULL);
	uint64_t handle = 0;
	struct stat st;

	hello(f);
	cr_assert_eq(open_file(f, "file",
			       GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE,
			       &handle),
		     0);
	cr_assert_lt(f->fd, 0, "not asked for");
	cr_assert_eq(open_file(f, "file",
			       GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE,
			       &handle),
		     0);
	cr_assert_geq(f->fd, 0);
	cr_assert_neq(handle, 0);
	cr_assert_eq(fstat(f->fd, &st), 0);
	cr_assert(S_ISREG(st.st_mode));
	cr_assert_eq(fcntl(f->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	cr_assert_eq(fcntl(f->fd, F_GETFL) & (O_PATH | O_NONBLOCK), 0);
	cr_assert_eq(open_file(f, "file",
			       GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE |
				       GOFER__OPEN_FLAG__OPEN_ONLY_DONATED,
			       &handle),
		     0);
	cr_assert_eq(handle, 0, "no handle is kept");
	cr_assert_geq(f->fd, 0);
	cr_assert_eq(open_file(f, "", GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE,
			       &handle),
		     0);
	cr_assert_lt(f->fd, 0, "a directory is never donated");
	fixture_stop(f);
}

Test(session, a_client_that_does_not_read_gets_no_more_descriptors_but_handles_S52)
{
	struct session_fixture *f = fixture_start(NULL);
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	unsigned donated = 0, plain = 0;
	uint64_t handle;
	PATH(path, "file");

	hello(f);
	cr_assert_eq(open_file(f, "file",
			       GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE,
			       &handle),
		     0);
	q.path = &path;
	q.flags = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE;
	for (uint32_t i = 0; i < 100; i++) {
		add_frame(f, RPC_TYPE_Open, i, 0, &q.base);
		send_packet_now(f);
	}
	while (donated + plain < 100) {
		cr_assert(receive(f));
		for (unsigned i = 0; i < f->n_replies; i++) {
			cr_assert_eq(f->replies[i].header.flags & FRAME_KIND_MASK, FRAME_OK);
			if (f->replies[i].header.fds)
				donated++;
			else
				plain++;
		}
	}
	cr_assert_geq(donated, 64);
	fixture_stop(f);
}

Test(session, a_symbolic_link_stops_with_its_place_and_target_S30)
{
	struct session_fixture *f = fixture_start(NULL);
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	Gofer__Stop *stop = NULL;
	char link[128];
	PATH(path, "//a/b/c");

	snprintf(link, sizeof(link), "%s/a", f->dir);
	cr_assert_eq(symlink("/etc", link), 0);
	hello(f);
	q.path = &path;
	path.follow = 40;
	cr_assert_eq(call(f, RPC_TYPE_Stat, &q.base, (ProtobufCMessage **)&stop), -1);
	cr_assert_eq(stop->reason, GOFER__STOP__REASON__SYMLINK);
	cr_assert_eq(stop->begin, 2);
	cr_assert_eq(stop->end, 3);
	cr_assert_eq(stop->target.len, 4);
	cr_assert(memcmp(stop->target.data, "/etc", 4) == 0);
	gofer__stop__free_unpacked(stop, NULL);
	fixture_stop(f);
}

Test(session, broken_framing_ends_the_session_S61)
{
	const struct frame_header bad[] = {
		{ .type = RPC_TYPE_Ping, .body_len = 1 },
		{ .type = RPC_TYPE_Ping, .data_len = UINT32_MAX },
		{ .type = RPC_TYPE_Ping, .body_len = UINT32_MAX, .data_len = UINT32_MAX },
		{ .type = RPC_TYPE_Ping, .body_len = UINT32_MAX - 15 },
		{ .type = RPC_TYPE_Ping, .fds = 2 },
		{ .type = RPC_TYPE_Ping, .tag = FRAME_NOTICE_TAG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct session_fixture *f = fixture_start(NULL);

		hello(f);
		frame_header_pack(&bad[i], f->out);
		f->out_used = FRAME_HEADER_SIZE;
		send_packet_now(f);
		cr_assert_not(receive(f), "case %zu", i);
		fixture_stop(f);
	}
}

Test(session, a_body_over_the_budget_is_emsgsize_and_undecodable_ebadmsg_S67)
{
	struct session_fixture *f = fixture_start(NULL);
	static uint8_t body[FRAME_MAX_BODY];
	struct frame_header h = { .type = RPC_TYPE_SetIdentity,
				  .tag = 3,
				  .body_len = sizeof(body) };
	Gofer__Error *e;

	hello(f);
	/* 32,768 empty Path submessages: each decodes into a struct. */
	for (size_t i = 0; i < sizeof(body); i += 2) {
		body[i] = 0x0a;
		body[i + 1] = 0;
	}
	h.type = RPC_TYPE_Stat;
	add_raw(f, h, body, NULL);
	send_packet_now(f);
	cr_assert(receive(f));
	cr_assert_eq(f->replies[0].header.flags, FRAME_REPLY | FRAME_ERROR);
	e = gofer__error__unpack(NULL, f->replies[0].header.body_len, f->replies[0].body);
	cr_assert(e->error == EMSGSIZE || e->error == EINVAL, "%u", e->error);
	gofer__error__free_unpacked(e, NULL);
	memset(body, 0xff, 64);
	h.body_len = 64;
	add_raw(f, h, body, NULL);
	send_packet_now(f);
	cr_assert(receive(f));
	e = gofer__error__unpack(NULL, f->replies[0].header.body_len, f->replies[0].body);
	cr_assert_eq(e->error, EBADMSG);
	gofer__error__free_unpacked(e, NULL);
	cr_assert_eq(call(f, RPC_TYPE_Ping, NULL, NULL), 0);
	fixture_stop(f);
}

Test(session, cancelling_what_is_not_in_flight_is_enoent_S69)
{
	struct session_fixture *f = fixture_start(NULL);
	Gofer__CancelRequest q = GOFER__CANCEL_REQUEST__INIT;

	hello(f);
	q.tag = 4711;
	cr_assert_eq(call(f, RPC_TYPE_Cancel, &q.base, NULL), ENOENT);
	fixture_stop(f);
}

Test(session, a_client_that_says_nothing_is_dropped_at_the_deadline_S77)
{
	struct server_limits limits = SERVER_LIMITS_DEFAULT;
	struct session_fixture *f;

	limits.hello_ms = 50;
	f = fixture_start(&limits);
	cr_assert_not(receive(f), "the session must end by itself");
	fixture_stop(f);
}

Test(session, nothing_but_hello_puts_the_deadline_off_S77)
{
	struct server_limits limits = SERVER_LIMITS_DEFAULT;
	struct session_fixture *f;
	uint64_t start = now_ns();

	limits.hello_ms = 200;
	f = fixture_start(&limits);
	/* Answered with an error each time, until the session ends. */
	for (;;) {
		struct iovec iov = { .iov_base = f->out };

		add_frame(f, RPC_TYPE_Ping, 1, 0, NULL);
		iov.iov_len = f->out_used;
		f->out_used = 0;
		if (packet_send(f->sock, &iov, 1, -1, 0) < 0 || !receive(f))
			break;
		cr_assert_lt(now_ns() - start, UINT64_C(5000000000), "it lives on pings");
	}
	fixture_stop(f);
}

Test(session, a_write_comes_back_with_what_the_file_is_then_and_appends_say_where)
{
	struct session_fixture *f = fixture_start(NULL);
	Gofer__WriteRequest q = GOFER__WRITE_REQUEST__INIT;
	uint8_t body[64];
	struct frame_header h = { .type = RPC_TYPE_Write, .tag = 9, .data_len = 5 };
	uint64_t handle;

	hello(f);
	cr_assert_eq(open_file(f, "log",
			       GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE |
				       GOFER__OPEN_FLAG__OPEN_APPEND,
			       &handle),
		     0);
	q.handle = handle;
	h.body_len = gofer__write_request__pack(&q, body);
	for (uint64_t i = 0; i < 3; i++) {
		Gofer__WriteReply *reply;

		add_raw(f, h, body, "hello");
		send_packet_now(f);
		cr_assert(receive(f));
		cr_assert_eq(f->replies[0].header.flags, FRAME_REPLY | FRAME_OK);
		reply = gofer__write_reply__unpack(NULL, f->replies[0].header.body_len,
						   f->replies[0].body);
		cr_assert_eq(reply->count, 5);
		cr_assert_eq(reply->offset, i * 5);
		cr_assert_eq(reply->attr->size, i * 5 + 5);
		gofer__write_reply__free_unpacked(reply, NULL);
	}
	fixture_stop(f);
}
