/*
 * test_client_hostile.c - a server that lies. Each lie is one row: what is sent in answer to one
 * request. The session must end with EPROTO, and stay ended; or, where the lie is only an odd error
 * number, the call must fail with a sensible one (S48, S71, S75).
 */
#include <sys/resource.h>

#include "tests/unit/client_fixture.h"

static const Gofer__Attr good = { .base = PROTOBUF_C_MESSAGE_INIT(&gofer__attr__descriptor),
				  .mode = S_IFREG | 0644,
				  .ino = 7,
				  .nlink = 1 };

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int stat_once(struct fake *f)
{
	struct gofer_reply reply;
	int r = fake_stat(f, &reply);

	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

/* The script must end the session, whatever the call was. */
static void refuses(fake_script script, int (*call)(struct fake *f))
{
	struct fake *f = fake_start(script, NULL);
	int before = count_fds();

	cr_assert_eq(call(f), -EPROTO);
	cr_assert_not_null(strstr(gofer_message(), "broke the protocol"), "%s", gofer_message());
	cr_assert_eq(fake_ping(f), -ENOTCONN);
	cr_assert_eq(count_fds(), before);
	fake_stop(f);
}

/* ---- framing ---- */

#define RAW(name, ...)                                            \
	static void name(struct fake *f, const struct frame *q)   \
	{                                                         \
		struct frame_header h = { .tag = q->header.tag,   \
					  .type = q->header.type, \
					  .flags = FRAME_REPLY }; \
		const char *body = "";                            \
		__VA_ARGS__;                                      \
		fake_send(f, h, body, NULL, -1);                  \
	}

RAW(other_tag, h.tag ^= 1)
RAW(other_generation, h.tag += 1 << 12)
RAW(notice_tag, h.tag = FRAME_NOTICE_TAG)
RAW(other_type, h.type = RPC_TYPE_Ping)
RAW(no_reply_flag, h.flags = 0)
RAW(reserved_flag, h.flags |= 0x80)
RAW(kind_three, h.flags |= 3)
RAW(garbage_body, h.body_len = 6; body = "\xff\xff\xff\xff\xff\xff")
RAW(empty_body, h.body_len = 0)
RAW(descriptor_that_never_comes, h.fds = 1; h.type = RPC_TYPE_Stat)

Test(client_hostile, frames_that_answer_nothing_end_the_session)
{
	static const fake_script scripts[] = { other_tag,     other_generation,
					       notice_tag,    other_type,
					       no_reply_flag, reserved_flag,
					       kind_three,    garbage_body,
					       empty_body,    descriptor_that_never_comes };

	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++)
		refuses(scripts[i], stat_once);
}

static void lying_length(struct fake *f, const struct frame *q)
{
	uint8_t raw[FRAME_HEADER_SIZE + 4] = { 0 };

	frame_header_pack(&(struct frame_header){ .body_len = 5,
						  .tag = q->header.tag,
						  .type = q->header.type,
						  .flags = FRAME_REPLY },
			  raw);
	(void)send(f->peer, raw, sizeof(raw), MSG_NOSIGNAL);
}

static void half_a_header(struct fake *f, const struct frame *q _unused_)
{
	(void)send(f->peer, "half", 4, MSG_NOSIGNAL);
}

static void huge_packet(struct fake *f, const struct frame *q _unused_)
{
	static uint8_t raw[FRAME_MAX_PACKET + 1];

	(void)send(f->peer, raw, sizeof(raw), MSG_NOSIGNAL);
}

Test(client_hostile, packets_that_break_framing_end_the_session)
{
	refuses(lying_length, stat_once);
	refuses(half_a_header, stat_once);
	refuses(huge_packet, stat_once);
}

static void reply_stat(struct fake *f, const struct frame *q, const Gofer__Attr *attr)
{
	Gofer__StatReply m = GOFER__STAT_REPLY__INIT;

	m.attr = (Gofer__Attr *)attr;
	fake_ok(f, q, &m.base);
}

static void twice(struct fake *f, const struct frame *q)
{
	reply_stat(f, q, &good);
	reply_stat(f, q, &good);
}

static int stat_and_ping(struct fake *f)
{
	cr_assert_eq(stat_once(f), 0);
	return fake_ping(f);
}

Test(client_hostile, a_second_reply_to_one_request_ends_the_session)
{
	refuses(twice, stat_and_ping);
}

/* ---- attributes ---- */

static Gofer__Attr bad;

static void bad_attr(struct fake *f, const struct frame *q)
{
	reply_stat(f, q, &bad);
}

Test(client_hostile, impossible_attributes_end_the_session)
{
#define BAD(change)                           \
	do {                                  \
		bad = good;                   \
		change;                       \
		refuses(bad_attr, stat_once); \
	} while (0)
	BAD(bad.mode = 0644);
	BAD(bad.mode = 0170000);
	BAD(bad.mode |= 1 << 20);
	BAD(bad.size = UINT64_C(1) << 63);
	BAD(bad.mtime_nsec = 1000000000);
	BAD(bad.blksize = UINT32_MAX);
#undef BAD
}

/* ---- errors ---- */

static uint32_t error_number;

static void error(struct fake *f, const struct frame *q)
{
	fake_error(f, q, error_number);
}

Test(client_hostile, S75_error_numbers_out_of_range_become_eio)
{
	static const uint32_t numbers[] = { 0, 4096, 1u << 31, UINT32_MAX, 523 };
	struct fake *f = fake_start(error, NULL);

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		error_number = numbers[i];
		cr_assert_eq(stat_once(f), -EIO);
	}
	error_number = ENOENT;
	cr_assert_eq(stat_once(f), -ENOENT);
	fake_stop(f);
}

/* ---- descriptors ---- */

static int donated; /* what the script sends */
static uint64_t open_handle;
static bool said;

static void donate(struct fake *f, const struct frame *q)
{
	Gofer__OpenReply m = GOFER__OPEN_REPLY__INIT;

	if (q->header.type != RPC_TYPE_Open) {
		reply_stat(f, q, &good);
		return;
	}
	m.handle = open_handle;
	m.attr = (Gofer__Attr *)&good;
	m.donated = said;
	fake_reply(f, RPC_TYPE_Open, q->header.tag, FRAME_OK, &m.base, NULL, 0, donated);
}

static int open_donated(struct fake *f)
{
	struct gofer_reply reply;
	int r = fake_open(f, GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE, &reply);

	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

static int open_plain(struct fake *f)
{
	struct gofer_reply reply;
	int r = fake_open(f, GOFER__OPEN_FLAG__OPEN_READ, &reply);

	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

Test(client_hostile, S48_only_regular_files_of_the_access_asked_for_are_taken)
{
	struct fake *f;
	int p[2], sock[2];

	open_handle = 3;
	said = true;
	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	donated = p[0];
	refuses(donate, open_donated);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	donated = sock[0];
	refuses(donate, open_donated);
	donated = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	refuses(donate, open_donated);
	close(donated);
	donated = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	refuses(donate, open_donated);
	close(donated);
	donated = open("/dev/null", O_RDONLY | O_CLOEXEC);
	refuses(donate, open_donated);
	close(donated);
	/* Wider than asked. */
	donated = memfd_create("x", MFD_CLOEXEC);
	refuses(donate, open_donated);
	close(donated);
	donated = open("/proc/self/exe", O_RDONLY);
	f = fake_start(donate, NULL);
	cr_assert_eq(open_donated(f), 0);
	fake_stop(f);
	/* Not asked for; said but not there; there but not said. */
	refuses(donate, open_plain);
	said = false;
	refuses(donate, open_donated);
	close(donated);
	donated = -1;
	said = true;
	refuses(donate, open_donated);
	said = false;
	open_handle = 0;
	refuses(donate, open_donated);
}

Test(client_hostile, S48_received_descriptors_are_close_on_exec)
{
	struct gofer_reply reply;
	struct fake *f;

	open_handle = 3;
	said = true;
	donated = open("/proc/self/exe", O_RDONLY);
	f = fake_start(donate, NULL);
	cr_assert_eq(
		fake_open(f, GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE, &reply),
		0);
	cr_assert(fcntl(reply.fd, F_GETFD) & FD_CLOEXEC);
	gofer_reply_free(&reply);
	fake_stop(f);
	close(donated);
}

static void two_descriptors(struct fake *f, const struct frame *q)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { .header = { .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS,
				  .cmsg_len = CMSG_LEN(2 * sizeof(int)) } };
	int fds[2] = { 0, 0 };
	uint8_t raw[FRAME_HEADER_SIZE];
	struct iovec iov = { raw, sizeof(raw) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };

	memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
	frame_header_pack(&(struct frame_header){ .tag = q->header.tag,
						  .type = q->header.type,
						  .fds = 1,
						  .flags = FRAME_REPLY },
			  raw);
	(void)sendmsg(f->peer, &msg, MSG_NOSIGNAL);
}

Test(client_hostile, S48_more_descriptors_than_one_end_the_session)
{
	refuses(two_descriptors, open_donated);
}

static rlim_t set_nofile(rlim_t n)
{
	struct rlimit l;
	rlim_t old;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
	old = l.rlim_cur;
	l.rlim_cur = n;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
	return old;
}

Test(client_hostile, S54_a_full_descriptor_table_is_emfile_and_the_handle_is_closed)
{
	struct fake *f;
	rlim_t old;

	open_handle = 3;
	said = true;
	donated = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	f = fake_start(donate, NULL);
	old = set_nofile(3);
	cr_assert_eq(open_donated(f), -EMFILE);
	set_nofile(old);
	cr_assert_eq(open_donated(f), 0);
	cr_assert_eq(f->closed, 1);
	cr_assert_eq(f->last_closed, 3);
	fake_stop(f);
	close(donated);
}

/* ---- directories ---- */

static const char *entry_name;
static size_t entry_len;
static uint64_t entry_cookie;
static bool dir_end, dir_empty;

static void list(struct fake *f, const struct frame *q)
{
	Gofer__ReadDirReply m = GOFER__READ_DIR_REPLY__INIT;
	Gofer__Entry e = GOFER__ENTRY__INIT, *entries[1] = { &e };

	if (q->header.type != RPC_TYPE_ReadDir) {
		reply_stat(f, q, &good);
		return;
	}
	e.name = (ProtobufCBinaryData){ entry_len, (uint8_t *)entry_name };
	e.type = DT_REG;
	e.cookie = entry_cookie;
	m.entries = entries;
	m.n_entries = !dir_empty;
	m.end = dir_end;
	m.handle = dir_end ? 0 : 9;
	fake_ok(f, q, &m.base);
}

static int list_all(struct fake *f)
{
	struct gofer_namespace *ns;
	struct gofer_dirent e;
	struct gofer_dir *d;
	int r;

	cr_assert_eq(gofer_namespace_new(&ns), 0);
	cr_assert_eq(gofer_mount(ns, f->session, 1, "/", NULL), 0);
	r = gofer_opendir(ns, "/", 0, &d);
	if (r == 0) {
		do
			r = gofer_readdir(d, &e);
		while (r == 1);
		gofer_closedir(d);
	}
	gofer_namespace_free(ns);
	return r;
}

Test(client_hostile, S71_directory_entries_with_impossible_names_end_the_session)
{
	static char long_name[256];
	static const struct {
		const char *name;
		size_t len;
	} names[] = { { "", 0 },  { ".", 1 },    { "..", 2 },       { "a/b", 3 },
		      { "/", 1 }, { "a\0b", 3 }, { long_name, 256 } };

	memset(long_name, 'x', sizeof(long_name));
	dir_end = true;
	dir_empty = false;
	entry_cookie = 1;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		entry_name = names[i].name;
		entry_len = names[i].len;
		refuses(list, list_all);
	}
}

Test(client_hostile, S71_directories_that_do_not_advance_end_the_session)
{
	entry_name = "x";
	entry_len = 1;
	dir_end = false;
	dir_empty = true;
	refuses(list, list_all);
	/* The same entry again and again. */
	dir_empty = false;
	entry_cookie = 5;
	refuses(list, list_all);
	entry_cookie = 0;
	refuses(list, list_all);
}

/* ---- data ---- */

static size_t data_len;

static void too_much(struct fake *f, const struct frame *q)
{
	Gofer__ReadReply m = GOFER__READ_REPLY__INIT;
	static uint8_t data[4096];

	if (q->header.type == RPC_TYPE_Stat)
		fake_reply(f, RPC_TYPE_Stat, q->header.tag, FRAME_OK, NULL, data, 1, -1);
	else
		fake_reply(f, q->header.type, q->header.tag, FRAME_OK, &m.base, data, data_len, -1);
}

static int read_hundred(struct fake *f)
{
	Gofer__ReadRequest m = GOFER__READ_REQUEST__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Read, .message = &m.base, .fd = -1 };
	struct gofer_reply reply;
	int r;

	m.count = 100;
	r = gofer_call(f->session, &q, &reply);
	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

Test(client_hostile, more_data_than_asked_for_ends_the_session)
{
	struct fake *f = fake_start(too_much, NULL);

	data_len = 100;
	cr_assert_eq(read_hundred(f), 0);
	fake_stop(f);
	data_len = 101;
	refuses(too_much, read_hundred);
	refuses(too_much, stat_once);
}

/* ---- stops ---- */

static Gofer__Stop stop_with;
static Gofer__Followed followed_with;
static bool follows;

static void stop(struct fake *f, const struct frame *q)
{
	Gofer__Followed *list_of[1] = { &followed_with };

	stop_with.base = (ProtobufCMessage)PROTOBUF_C_MESSAGE_INIT(&gofer__stop__descriptor);
	stop_with.n_followed = follows;
	stop_with.followed = list_of;
	fake_reply(f, q->header.type, q->header.tag, FRAME_STOP, &stop_with.base, NULL, 0, -1);
}

static int stat_path(struct fake *f)
{
	struct gofer_namespace *ns;
	struct stat st;
	int r;

	cr_assert_eq(gofer_namespace_new(&ns), 0);
	cr_assert_eq(gofer_mount(ns, f->session, 1, "/", NULL), 0);
	r = gofer_stat(ns, "/abc/def", 0, &st);
	gofer_namespace_free(ns);
	return r;
}

/* To a Watch, whose path has no ".." that could lead there. Each call comes to an end. */
Test(client_hostile, above_the_root_is_no_answer_to_a_path_without_dots)
{
	const struct gofer_mount_options o = { .watch = true };
	struct fake *f = fake_start(stop, NULL);
	struct gofer_namespace *ns;
	struct stat st;

	stop_with = (Gofer__Stop){ .reason = GOFER__STOP__REASON__ABOVE_ROOT, .end = 3 };
	cr_assert_eq(gofer_namespace_new(&ns), 0);
	cr_assert_eq(gofer_mount(ns, f->session, 1, "/", &o), 0);
	cr_assert_lt(gofer_stat(ns, "/abc/def", 0, &st), 0);
	cr_assert_lt(gofer_access(ns, "/abc/def", F_OK, 0), 0);
	gofer_namespace_free(ns);
	fake_stop(f);
}

#define BYTES(s) ((ProtobufCBinaryData){ sizeof(s) - 1, (uint8_t *)(s) })

Test(client_hostile, stops_that_cannot_be_end_the_session)
{
	static char nothing[5000];
	static const Gofer__Stop stops[] = {
		{ .reason = 1, .begin = 0, .end = 3 }, /* no target */
		{ .reason = 1,
		  .begin = 0,
		  .end = 0,
		  .target = { 1, (uint8_t *)"x" } }, /* nothing */
		{ .reason = 1,
		  .begin = 3,
		  .end = 1,
		  .target = { 1, (uint8_t *)"x" } }, /* backwards */
		{ .reason = 1,
		  .begin = 0,
		  .end = 9,
		  .target = { 1, (uint8_t *)"x" } }, /* past the text */
		{ .reason = 1, .begin = 4, .end = UINT32_MAX, .target = { 1, (uint8_t *)"x" } },
		{ .reason = 1,
		  .begin = 1,
		  .end = 3,
		  .target = { 1, (uint8_t *)"x" } }, /* half a name */
		{ .reason = 1,
		  .begin = 0,
		  .end = 7,
		  .target = { 1, (uint8_t *)"x" } }, /* two names */
		{ .reason = 1, .begin = 0, .end = 3, .target = { 3, (uint8_t *)"x\0y" } },
		{ .reason = 1, .begin = 0, .end = 3, .target = { 4096, (uint8_t *)nothing } },
		{ .reason = 1, .which = 1, .begin = 0, .end = 3, .target = { 1, (uint8_t *)"x" } },
		{ .reason = 2, .begin = 0, .end = 3 }, /* not a ".." */
		{ .reason = 0, .begin = 0, .end = 3 },
		{ .reason = 3, .begin = 0, .end = 3 },
	};

	memset(nothing, 'x', sizeof(nothing));
	follows = false;
	for (size_t i = 0; i < ARRAY_SIZE(stops); i++) {
		stop_with = stops[i];
		refuses(stop, stat_path);
	}
}

Test(client_hostile, lists_of_links_that_cannot_be_end_the_session)
{
	static const struct {
		uint32_t begin, end;
		const char *target;
	} lies[] = { { 0, 99, "x" }, { 1, 2, "x" }, { 3, 4, "x" },
		     { 0, 3, "/x" }, { 0, 3, "" },  { 2, 2, "x" } };

	follows = true;
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		stop_with =
			(Gofer__Stop){ .reason = 1, .begin = 0, .end = 1, .target = BYTES("y") };
		followed_with = (Gofer__Followed)GOFER__FOLLOWED__INIT;
		followed_with.begin = lies[i].begin;
		followed_with.end = lies[i].end;
		followed_with.target =
			(ProtobufCBinaryData){ strlen(lies[i].target), (uint8_t *)lies[i].target };
		refuses(stop, stat_path);
	}
}

Test(client_hostile, S37_a_chain_of_links_without_end_is_eloop_after_forty)
{
	struct fake *f = fake_start(stop, NULL);

	follows = false;
	stop_with = (Gofer__Stop){ .reason = 1, .begin = 0, .end = 3, .target = BYTES("abc") };
	cr_assert_eq(stat_path(f), -ELOOP);
	cr_assert_eq(f->requests, 41);
	stop_with = (Gofer__Stop){ .reason = 1, .begin = 0, .end = 3, .target = BYTES("/abc") };
	cr_assert_eq(stat_path(f), -ELOOP);
	fake_stop(f);
}

/* ---- memory ---- */

static void bomb(struct fake *f, const struct frame *q)
{
	static uint8_t body[FRAME_MAX_BODY];

	/* Field 1 of ReadDirReply, an empty Entry, 32,768 times. */
	for (size_t i = 0; i + 1 < sizeof(body); i += 2) {
		body[i] = 0x0a;
		body[i + 1] = 0;
	}
	fake_send(f,
		  (struct frame_header){ .body_len = sizeof(body),
					 .tag = q->header.tag,
					 .type = q->header.type,
					 .flags = FRAME_REPLY },
		  body, NULL, -1);
}

Test(client_hostile, a_reply_that_decodes_into_too_much_memory_ends_the_session)
{
	refuses(bomb, list_all);
}

/* ---- Hello ---- */

struct hello_lie {
	uint32_t version, max_frame, max_data, in_flight;
	const char *names[2];
	uint32_t ids[2];
};

static void *lie_at_hello(void *data)
{
	void **args = data;
	const struct hello_lie *lie = args[0];
	struct fake f = { .peer = *(int *)args[1] };
	Gofer__HelloReply m = GOFER__HELLO_REPLY__INIT;
	Gofer__Limits l = GOFER__LIMITS__INIT;
	Gofer__Filesystem fs[2] = { GOFER__FILESYSTEM__INIT, GOFER__FILESYSTEM__INIT };
	Gofer__Filesystem *list_of[2] = { &fs[0], &fs[1] };
	Gofer__Attr root = fake_attr(S_IFDIR | 0755, 2);
	struct frame q;
	ssize_t n = recv(f.peer, f.in, sizeof(f.in), 0);

	if (n <= 0 || frame_parse(f.in, (size_t)n, &q) < 0)
		return NULL;
	l.max_frame = lie->max_frame;
	l.max_data = lie->max_data;
	l.max_in_flight = lie->in_flight;
	l.max_handles = 1;
	for (unsigned i = 0; i < 2; i++) {
		fs[i].fs_id = lie->ids[i];
		fs[i].name =
			(ProtobufCBinaryData){ strlen(lie->names[i]), (uint8_t *)lie->names[i] };
		fs[i].root = &root;
	}
	m.version = lie->version;
	m.limits = &l;
	m.filesystems = list_of;
	m.n_filesystems = 2;
	fake_ok(&f, &q, &m.base);
	return NULL;
}

static int hello_result(const struct hello_lie *lie)
{
	struct gofer_session_options o = { .timeout_ms = 2000 };
	struct gofer_session *s;
	pthread_t thread;
	char name[32];
	int sv[2], r;
	void *args[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	args[0] = (void *)lie;
	args[1] = &sv[1];
	cr_assert_eq(pthread_create(&thread, NULL, lie_at_hello, args), 0);
	snprintf(name, sizeof(name), "fd:%d", sv[0]);
	r = gofer_session_open(name, &o, &s);
	if (r == 0)
		gofer_session_close(s);
	pthread_join(thread, NULL);
	close(sv[1]);
	return r;
}

Test(client_hostile, a_hello_that_cannot_be_is_refused)
{
	const struct hello_lie honest = { 1,  FRAME_MAX_PACKET, FRAME_MAX_DATA,
					  16, { "a", "b" },     { 0, 1 } };
	struct hello_lie lie;

	cr_assert_eq(hello_result(&honest), 0, "%s", gofer_message());
#define LIE(change)                                                 \
	do {                                                        \
		lie = honest;                                       \
		change;                                             \
		cr_assert_eq(hello_result(&lie), -EPROTO, #change); \
	} while (0)
	LIE(lie.version = 2);
	LIE(lie.version = 0);
	LIE(lie.max_frame = 100);
	LIE(lie.max_data = 0);
	LIE(lie.max_data = UINT32_MAX);
	LIE(lie.in_flight = 0);
	LIE(lie.names[1] = "a");
	LIE(lie.ids[1] = 0);
	LIE(lie.names[0] = "../etc");
	LIE(lie.names[0] = "");
#undef LIE
	/* More than anybody should allow is taken as much as we can use. */
	lie = honest;
	lie.max_frame = lie.in_flight = UINT32_MAX;
	cr_assert_eq(hello_result(&lie), 0, "%s", gofer_message());
}
