/*
 * test_session_channel.c - a session's channels, spoken to by hand: what the server takes for an
 * area, what it answers there, and what ends the session (S60).
 */
#include "session_fixture.h"

#include <dlfcn.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/syscall.h>

#include "proto/channel.h"

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

struct chan {
	struct channel_area *area;
	struct channel_side side;
	uint32_t turn;
	size_t used;
	/* the last reply */
	uint8_t in[CHANNEL_FRAMES];
	struct frame reply;
};

static int area_fd(size_t size, int seals)
{
	int fd = memfd_create("area", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* Channel with this descriptor: the error, or 0. */
static int offer(struct session_fixture *f, int fd, uint32_t layout)
{
	static uint32_t tag = 5000;
	Gofer__ChannelRequest q = GOFER__CHANNEL_REQUEST__INIT;
	struct iovec iov = { .iov_base = f->out };
	uint8_t body[64];
	int error = 0;

	q.layout = layout;
	add_raw(f,
		(struct frame_header){
			.type = RPC_TYPE_Channel,
			.tag = ++tag,
			.fds = 1,
			.body_len = (uint32_t)gofer__channel_request__pack(&q, body),
		},
		body, NULL);
	iov.iov_len = f->out_used;
	cr_assert_eq(packet_send(f->sock, &iov, 1, fd, 0), 0);
	f->out_used = 0;
	cr_assert(receive(f), "the session ended");
	cr_assert_eq(f->replies[0].header.tag, tag);
	if ((f->replies[0].header.flags & FRAME_KIND_MASK) == FRAME_ERROR) {
		Gofer__Error *e = gofer__error__unpack(NULL, f->replies[0].header.body_len,
						       f->replies[0].body);

		error = (int)e->error;
		gofer__error__free_unpacked(e, NULL);
	}
	return error;
}

static struct chan *chan_new(struct session_fixture *f)
{
	struct chan *c = calloc(1, sizeof(*c));
	int fd = area_fd(sizeof(*c->area), ALL_SEALS);

	cr_assert_not_null(c);
	c->area = mmap(NULL, sizeof(*c->area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(c->area, MAP_FAILED);
	channel_side_init(&c->side, c->area, false);
	cr_assert_eq(offer(f, fd, CHANNEL_LAYOUT), 0);
	close(fd);
	return c;
}

static void chan_free(struct chan *c)
{
	munmap(c->area, sizeof(*c->area));
	free(c);
}

static void chan_add(struct chan *c, uint16_t type, uint32_t tag, uint8_t flags,
		     const ProtobufCMessage *m, const void *data, size_t len)
{
	uint8_t *at = c->area->request.frames + c->used;
	struct frame_header h = {
		.type = type,
		.tag = tag,
		.flags = flags,
		.body_len = (uint32_t)(m ? protobuf_c_message_pack(m, at + FRAME_HEADER_SIZE) : 0),
		.data_len = (uint32_t)len
	};

	frame_header_pack(&h, at);
	c->used += FRAME_HEADER_SIZE + h.body_len;
	if (len)
		memcpy(c->area->request.payload, data, len);
}

static void chan_send(struct chan *c)
{
	channel_publish(&c->side, ++c->turn, (uint32_t)c->used, CHANNEL_HERE);
	c->used = 0;
}

/* Until the turn is answered: where the reply is. */
static uint32_t chan_receive(struct chan *c)
{
	uint32_t turn, size;

	cr_assert_eq(channel_wait(&c->side, now_ns() + UINT64_C(20000000000), &turn), 0,
		     "no answer");
	cr_assert_eq(turn, c->turn);
	size = atomic_load(&c->area->reply.length);
	cr_assert_leq(size, CHANNEL_FRAMES);
	channel_copy_in(c->in, c->area->reply.frames, size);
	if (atomic_load(&c->area->reply.where) == CHANNEL_HERE) {
		frame_header_unpack(c->in, &c->reply.header);
		cr_assert_eq(FRAME_HEADER_SIZE + c->reply.header.body_len, size);
		c->reply.body = c->in + FRAME_HEADER_SIZE;
	}
	return atomic_load(&c->area->reply.where);
}

static int chan_error(const struct chan *c)
{
	Gofer__Error *e;
	int error;

	if ((c->reply.header.flags & FRAME_KIND_MASK) != FRAME_ERROR)
		return 0;
	e = gofer__error__unpack(NULL, c->reply.header.body_len, c->reply.body);
	error = (int)e->error;
	gofer__error__free_unpacked(e, NULL);
	return error;
}

static int chan_call(struct chan *c, uint16_t type, const ProtobufCMessage *m, const void *data,
		     size_t len)
{
	static uint32_t tag = 100;

	chan_add(c, type, ++tag, 0, m, data, len);
	chan_send(c);
	cr_assert_eq(chan_receive(c), CHANNEL_HERE);
	cr_assert_eq(c->reply.header.tag, tag);
	cr_assert_eq(c->reply.header.type, type);
	return chan_error(c);
}

/* The session ended, and by itself. */
static void assert_over(struct session_fixture *f)
{
	while (receive(f))
		;
}

/* ---- areas ---- */

Test(session_channel, only_sealed_memory_of_the_right_size_is_taken_S60)
{
	struct session_fixture *f = fixture_start(NULL);
	const size_t size = sizeof(struct channel_area);
	char path[128];
	int fds[9], fd, n = 0;

	hello(f);
	fds[n++] = area_fd(size, 0);
	fds[n++] = area_fd(size, F_SEAL_GROW);
	fds[n++] = area_fd(size, F_SEAL_SHRINK);
	fds[n++] = area_fd(size - 4096, ALL_SEALS);
	fds[n++] = area_fd(size + 4096, ALL_SEALS);
	fds[n++] = area_fd(size, ALL_SEALS | F_SEAL_WRITE);
	(void)snprintf(path, sizeof(path), "%s/file", f->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	fds[n++] = fd;
	/* Sealed, but not to be written. */
	fd = area_fd(size, ALL_SEALS);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fds[n++] = open(path, O_RDONLY | O_CLOEXEC);
	fds[n++] = fd; /* the good one, with another layout */
	for (int i = 0; i < n; i++) {
		cr_assert_eq(offer(f, fds[i], i == n - 1 ? CHANNEL_LAYOUT + 1 : CHANNEL_LAYOUT),
			     EINVAL, "descriptor %d", i);
		close(fds[i]);
	}
	/* No descriptor: the frame has none to take. */
	cr_assert_eq(call(f, RPC_TYPE_Channel, NULL, NULL), EINVAL);
	fixture_stop(f);
}

Test(session_channel, memory_of_huge_pages_is_not_taken_S60)
{
	struct session_fixture *f = fixture_start(NULL);
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	hello(f);
	if (fd < 0 || ftruncate(fd, 2 << 20) < 0)
		cr_skip_test("no such memory here");
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 0);
	cr_assert_eq(offer(f, fd, CHANNEL_LAYOUT), EINVAL);
	close(fd);
	fixture_stop(f);
}

Test(session_channel, no_more_than_the_limit_are_taken)
{
	struct server_limits limits = SERVER_LIMITS_DEFAULT;
	struct session_fixture *f;
	Gofer__StatsReply *stats;
	struct chan *c[2];
	int fd;

	limits.max_channels = 2;
	f = fixture_start(&limits);
	hello(f);
	c[0] = chan_new(f);
	c[1] = chan_new(f);
	fd = area_fd(sizeof(struct channel_area), ALL_SEALS);
	cr_assert_eq(offer(f, fd, CHANNEL_LAYOUT), ENOSPC);
	close(fd);
	cr_assert_eq(call(f, RPC_TYPE_Stats, NULL, (ProtobufCMessage **)&stats), 0);
	cr_assert_eq(stats->channels, 2);
	gofer__stats_reply__free_unpacked(stats, NULL);
	cr_assert_eq(chan_call(c[0], RPC_TYPE_Ping, NULL, NULL, 0), 0);
	cr_assert_eq(chan_call(c[1], RPC_TYPE_Ping, NULL, NULL, 0), 0);
	fixture_stop(f);
	chan_free(c[0]);
	chan_free(c[1]);
}

/* ---- requests ---- */

Test(session_channel, whole_files_go_both_ways_through_the_area)
{
	struct session_fixture *f = fixture_start(NULL);
	Gofer__WriteFileRequest w = GOFER__WRITE_FILE_REQUEST__INIT;
	Gofer__ReadFileRequest r = GOFER__READ_FILE_REQUEST__INIT;
	_cleanup_free_ uint8_t *data = malloc(FRAME_MAX_DATA);
	PATH(path, "file");
	struct chan *c;

	hello(f);
	c = chan_new(f);
	w.path = r.path = &path;
	w.mode = 0644;
	r.count = FRAME_MAX_DATA;
	for (size_t size = 1; size <= FRAME_MAX_DATA / 2; size *= 2) {
		Gofer__ReadFileReply *reply;

		memset(data, (int)size % 251, size);
		cr_assert_eq(chan_call(c, RPC_TYPE_WriteFile, &w.base, data, size), 0);
		cr_assert_eq(chan_call(c, RPC_TYPE_ReadFile, &r.base, NULL, 0), 0);
		cr_assert_eq(c->reply.header.data_len, size);
		cr_assert_arr_eq(c->area->reply.payload, data, size);
		reply = gofer__read_file_reply__unpack(NULL, c->reply.header.body_len,
						       c->reply.body);
		cr_assert(reply->eof);
		cr_assert_eq(reply->attr->size, size);
		gofer__read_file_reply__free_unpacked(reply, NULL);
	}
	fixture_stop(f);
	chan_free(c);
}

Test(session_channel, a_close_rides_in_front_and_descriptors_come_through_the_socket)
{
	struct session_fixture *f = fixture_start(NULL);
	Gofer__OpenRequest o = GOFER__OPEN_REQUEST__INIT;
	Gofer__CloseRequest close_request = GOFER__CLOSE_REQUEST__INIT;
	Gofer__OpenReply *reply;
	Gofer__StatsReply *stats;
	PATH(path, "file");
	struct chan *c;
	uint64_t handle;

	hello(f);
	c = chan_new(f);
	o.path = &path;
	o.flags = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE |
		  GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_DONATE;
	o.mode = 0644;
	chan_add(c, RPC_TYPE_Open, 1, 0, &o.base, NULL, 0);
	chan_send(c);
	cr_assert_eq(chan_receive(c), CHANNEL_ON_SOCKET);
	cr_assert(receive(f));
	cr_assert_eq(f->replies[0].header.tag, 1);
	cr_assert_geq(f->fd, 0, "with the descriptor");
	reply = gofer__open_reply__unpack(NULL, f->replies[0].header.body_len, f->replies[0].body);
	cr_assert(reply->donated);
	handle = reply->handle;
	gofer__open_reply__free_unpacked(reply, NULL);

	close_request.n_handles = 1;
	close_request.handles = &handle;
	chan_add(c, RPC_TYPE_Close, 2, FRAME_NO_REPLY, &close_request.base, NULL, 0);
	chan_add(c, RPC_TYPE_Stats, 3, 0, NULL, NULL, 0);
	chan_send(c);
	cr_assert_eq(chan_receive(c), CHANNEL_HERE);
	cr_assert_eq(c->reply.header.tag, 3);
	stats = gofer__stats_reply__unpack(NULL, c->reply.header.body_len, c->reply.body);
	cr_assert_eq(stats->handles, 0);
	gofer__stats_reply__free_unpacked(stats, NULL);
	fixture_stop(f);
	chan_free(c);
}

/* A backend whose storage hangs when it is asked for attributes, until somebody interrupts it. */
static struct {
	struct fs_ops ops;
	int hang[2]; /* a pipe that nobody writes */
	_Atomic bool armed, hangs;
} slow;

static int slow_getattr(struct fs *fs, const struct fs_node *node, Gofer__Attr *ret)
{
	char byte;

	if (atomic_load(&slow.armed)) {
		atomic_store(&slow.hangs, true);
		if (read(slow.hang[0], &byte, 1) < 0)
			return -errno;
	}
	return fs_host_ops.getattr(fs, node, ret);
}

static struct session_fixture *slow_start(void)
{
	struct session_fixture *f = fixture_new(NULL, "/tmp");

	slow.ops = fs_host_ops;
	slow.ops.getattr = slow_getattr;
	cr_assert_eq(pipe2(slow.hang, O_CLOEXEC), 0);
	f->ops = &slow.ops;
	fixture_begin(f);
	hello(f);
	return f;
}

/* A Stat in the channel that hangs. Returns its tag. */
static uint32_t hang(struct chan *c)
{
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	PATH(path, "");

	q.path = &path;
	atomic_store(&slow.armed, true);
	chan_add(c, RPC_TYPE_Stat, 77, 0, &q.base, NULL, 0);
	chan_send(c);
	while (!atomic_load(&slow.hangs))
		sched_yield();
	return 77;
}

Test(session_channel, a_request_in_a_channel_is_cancelled_through_the_socket, .timeout = 60)
{
	struct session_fixture *f = slow_start();
	Gofer__CancelRequest q = GOFER__CANCEL_REQUEST__INIT;
	struct chan *c = chan_new(f);

	q.tag = hang(c);
	/* A signal that comes before the thread is back in the kernel interrupts nothing: again. */
	while (atomic_load(&c->area->reply.turn) != c->turn) {
		int e = call(f, RPC_TYPE_Cancel, &q.base, NULL);

		cr_assert(e == 0 || e == ENOENT);
		sched_yield();
	}
	cr_assert_eq(chan_receive(c), CHANNEL_HERE);
	cr_assert_eq(chan_error(c), ECANCELED);
	fixture_stop(f);
	chan_free(c);
}

Test(session_channel, a_session_ends_while_a_channel_works, .timeout = 60)
{
	struct session_fixture *f = slow_start();
	struct chan *c = chan_new(f);

	(void)hang(c);
	/* Let it out, or interrupt it: the session ends either way. */
	close(slow.hang[1]);
	fixture_stop(f);
	chan_free(c);
}

Test(session_channel, one_tag_twice_is_refused_whichever_way_it_comes)
{
	struct session_fixture *f = slow_start();
	struct chan *c = chan_new(f), *other = chan_new(f);
	uint32_t tag = hang(c);

	chan_add(other, RPC_TYPE_Ping, tag, 0, NULL, NULL, 0);
	chan_send(other);
	cr_assert_eq(chan_receive(other), CHANNEL_HERE);
	cr_assert_eq(chan_error(other), EALREADY);
	add_frame(f, RPC_TYPE_Ping, tag, 0, NULL);
	send_packet_now(f);
	cr_assert(receive(f));
	cr_assert_eq(f->replies[0].header.flags, FRAME_REPLY | FRAME_ERROR);
	close(slow.hang[1]);
	cr_assert_eq(chan_receive(c), CHANNEL_HERE);
	cr_assert_eq(chan_error(c), 0);
	fixture_stop(f);
	chan_free(c);
	chan_free(other);
}

/* ---- what is broken ---- */

static void broken(void (*make)(struct chan *c))
{
	struct session_fixture *f = fixture_start(NULL);
	struct chan *c;

	hello(f);
	c = chan_new(f);
	make(c);
	assert_over(f);
	fixture_stop(f);
	chan_free(c);
}

static void send_length(struct chan *c, uint32_t length)
{
	channel_publish(&c->side, ++c->turn, length, CHANNEL_HERE);
}

static void send_header(struct chan *c, struct frame_header h)
{
	frame_header_pack(&h, c->area->request.frames);
	send_length(c, FRAME_HEADER_SIZE);
}

static void no_bytes(struct chan *c)
{
	send_length(c, 0);
}

static void half_a_header(struct chan *c)
{
	send_length(c, FRAME_HEADER_SIZE - 1);
}

static void longer_than_the_box(struct chan *c)
{
	send_length(c, CHANNEL_FRAMES + 1);
}

static void as_long_as_can_be(struct chan *c)
{
	send_length(c, UINT32_MAX);
}

static void body_beyond_the_length(struct chan *c)
{
	send_header(c, (struct frame_header){ .type = RPC_TYPE_Ping, .body_len = 1 });
}

static void body_of_all_there_is(struct chan *c)
{
	send_header(c, (struct frame_header){ .type = RPC_TYPE_Ping, .body_len = UINT32_MAX });
}

static void too_much_payload(struct chan *c)
{
	send_header(
		c, (struct frame_header){ .type = RPC_TYPE_Write, .data_len = FRAME_MAX_DATA + 1 });
}

static void a_descriptor(struct chan *c)
{
	send_header(c, (struct frame_header){ .type = RPC_TYPE_Channel, .fds = 1 });
}

static void a_tag_of_notices(struct chan *c)
{
	send_header(c, (struct frame_header){ .type = RPC_TYPE_Ping, .tag = FRAME_NOTICE_TAG });
}

static void only_what_wants_no_reply(struct chan *c)
{
	send_header(c, (struct frame_header){ .type = RPC_TYPE_Close, .flags = FRAME_NO_REPLY });
}

static void two_requests(struct chan *c)
{
	chan_add(c, RPC_TYPE_Ping, 1, 0, NULL, NULL, 0);
	chan_add(c, RPC_TYPE_Ping, 2, 0, NULL, NULL, 0);
	chan_send(c);
}

static void three_frames(struct chan *c)
{
	chan_add(c, RPC_TYPE_Close, 1, FRAME_NO_REPLY, NULL, NULL, 0);
	chan_add(c, RPC_TYPE_Close, 2, FRAME_NO_REPLY, NULL, NULL, 0);
	chan_add(c, RPC_TYPE_Ping, 3, 0, NULL, NULL, 0);
	chan_send(c);
}

Test(session_channel, frames_that_are_none_end_the_session_S60, .timeout = 60)
{
	static void (*const makes[])(struct chan *) = {
		no_bytes,
		half_a_header,
		longer_than_the_box,
		as_long_as_can_be,
		body_beyond_the_length,
		body_of_all_there_is,
		too_much_payload,
		a_descriptor,
		a_tag_of_notices,
		only_what_wants_no_reply,
		two_requests,
		three_frames,
	};

	for (size_t i = 0; i < ARRAY_SIZE(makes); i++)
		broken(makes[i]);
}

Test(session_channel, words_of_the_area_that_lie_only_make_the_client_wait, .timeout = 60)
{
	struct session_fixture *f = fixture_start(NULL);
	struct chan *c;

	hello(f);
	c = chan_new(f);
	for (int i = 0; i < 50; i++) {
		/* That nobody sleeps, that everybody does, that the reply is there. */
		atomic_store(&c->area->server_sleeps, (uint32_t)i % 2);
		atomic_store(&c->area->reply.cpu, (uint32_t)i);
		atomic_store(&c->area->reply.length, UINT32_MAX);
		atomic_store(&c->area->reply.where, UINT32_MAX);
		atomic_store(&c->area->request.cpu, UINT32_MAX);
		/* The server sees the request at last, if it was not told: by the next wake-up. */
		chan_add(c, RPC_TYPE_Ping, 1, 0, NULL, NULL, 0);
		chan_send(c);
		(void)syscall(SYS_futex, &c->area->request.turn, 1 /* FUTEX_WAKE */, 1, NULL, NULL,
			      0);
		cr_assert_eq(chan_receive(c), CHANNEL_HERE);
		cr_assert_eq(chan_error(c), 0);
	}
	fixture_stop(f);
	chan_free(c);
}

/* ---- ends ---- */

/* A client that keeps its channel busy for ever, while the session ends. */
static void *keep_busy(void *userdata)
{
	struct chan *c = userdata;

	while (!atomic_load(&c->side.over)) {
		uint32_t turn;

		chan_add(c, RPC_TYPE_Ping, 1, 0, NULL, NULL, 0);
		chan_send(c);
		(void)channel_wait(&c->side, now_ns() + 1000000, &turn);
	}
	return NULL;
}

Test(session_channel, a_busy_channel_does_not_keep_a_session_from_ending, .timeout = 60)
{
	struct session_fixture *f = fixture_start(NULL);
	pthread_t thread;
	struct chan *c;

	hello(f);
	c = chan_new(f);
	cr_assert_eq(pthread_create(&thread, NULL, keep_busy, c), 0);
	/* As SIGTERM does: the peer still listens, so what was asked is answered first. */
	cr_assert_eq(shutdown(f->server_sock, SHUT_RD), 0);
	cr_assert_eq(pthread_join(f->server, NULL), 0);
	cr_assert_eq(f->result, 0);
	atomic_store(&c->side.over, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	close(f->sock);
	fixture_free(f);
	chan_free(c);
}

/* Whether a thread of ours is in futex(2) until somebody wakes it. */
static bool sleeps_for_ever(const char *tid)
{
	char path[64], line[256];
	unsigned long args[6];
	long number;
	FILE *f;
	int n = 0;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%.20s/syscall", tid);
	f = fopen(path, "re");
	if (f && fgets(line, sizeof(line), f))
		n = sscanf(line, "%ld %lx %lx %lx %lx", &number, &args[0], &args[1], &args[2],
			   &args[3]);
	if (f)
		(void)fclose(f);
	/* futex(word, FUTEX_WAIT_BITSET, value, no timeout) on memory that is shared. */
	return n == 5 && number == SYS_futex && args[1] == 9 && args[3] == 0;
}

Test(session_channel, an_idle_channel_sleeps_without_a_timeout, .timeout = 60)
{
	struct session_fixture *f = fixture_start(NULL);
	struct chan *c[4];
	FILE *probe = fopen("/proc/self/syscall", "re");
	char line[64];

	if (!probe || !fgets(line, sizeof(line), probe))
		cr_skip_test("no /proc/PID/syscall here");
	(void)fclose(probe);
	hello(f);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++) {
		c[i] = chan_new(f);
		for (int k = 0; k < 100; k++)
			cr_assert_eq(chan_call(c[i], RPC_TYPE_Ping, NULL, NULL, 0), 0);
	}
	for (unsigned asleep = 0; asleep < ARRAY_SIZE(c);) {
		DIR *d = opendir("/proc/self/task");

		asleep = 0;
		for (const struct dirent *e; (e = readdir(d));)
			asleep += e->d_name[0] != '.' && sleeps_for_ever(e->d_name);
		closedir(d);
		sched_yield();
	}
	fixture_stop(f);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		chan_free(c[i]);
}

/* ---- a channel that ends while it is made ---- */

/* The thread of a session that waits for its channel's first one is held when that has come. */
static struct {
	const struct session_fixture *fixture; /* NULL: nobody is */
	char area[32];                         /* the name of what the channel has mapped */
	_Atomic bool held, passed;
} starts;

static bool is_mapped(const char *name)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "re");
	bool found = false;

	cr_assert_not_null(f);
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, name) != NULL;
	(void)fclose(f);
	return found;
}

/* Instead of the C library's, in this program. */
int sem_wait(sem_t *sem)
{
	static int (*wait)(sem_t *);
	int r;

	if (!wait)
		wait = (int (*)(sem_t *))dlsym(RTLD_NEXT, "sem_wait");
	r = wait(sem);
	if (!starts.fixture)
		return r;
	/* The first thread is the one that would free it. */
	starts.held = !pthread_equal(pthread_self(), starts.fixture->server);
	starts.passed = true;
	while (starts.held && is_mapped(starts.area))
		sched_yield();
	return r;
}

enum { MANY = 256 };

/* Begins channels until it is not the first thread that has the request; or has begun MANY. */
static void begin_channels(struct session_fixture *f)
{
	static const unsigned press[2] = { 0, 1 };

	/* Until it is not the first thread that has the request. */
	for (unsigned n = 0; n < MANY && !starts.held; n++) {
		Gofer__ChannelRequest q = GOFER__CHANNEL_REQUEST__INIT;
		struct iovec iov = { .iov_base = f->out };
		uint8_t body[16];
		int fd;

		/* More than one thread should do. */
		for (unsigned i = 0; i < ARRAY_SIZE(press); i++)
			add_frame(f, RPC_TYPE_Ping, 2 * n + i, 0, NULL);
		send_packet_now(f);
		(void)snprintf(starts.area, sizeof(starts.area), "starting-%u", n);
		fd = memfd_create(starts.area, MFD_CLOEXEC | MFD_ALLOW_SEALING);
		cr_assert_geq(fd, 0);
		cr_assert_eq(ftruncate(fd, sizeof(struct channel_area)), 0);
		cr_assert_eq(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 0);
		q.layout = CHANNEL_LAYOUT;
		starts.passed = false;
		add_raw(f,
			(struct frame_header){
				.type = RPC_TYPE_Channel,
				.tag = 10000 + n,
				.fds = 1,
				.body_len = (uint32_t)gofer__channel_request__pack(&q, body),
			},
			body, NULL);
		iov.iov_len = f->out_used;
		f->out_used = 0;
		cr_assert_eq(packet_send(f->sock, &iov, 1, fd, 0), 0);
		close(fd);
		while (!starts.passed)
			sched_yield();
		for (unsigned got = 0; got < ARRAY_SIZE(press) + !starts.held;) {
			cr_assert(receive(f));
			got += f->n_replies;
		}
	}
}

Test(session_channel, a_session_may_end_while_a_channel_begins, .timeout = 120)
{
	struct server_limits limits = SERVER_LIMITS_DEFAULT;

	limits.max_channels = MANY;
	/* Where nobody else wants the CPU the first thread may be the fastest for long. */
	for (unsigned i = 0; i < 200 && !starts.held; i++) {
		struct session_fixture *f = fixture_start(&limits);

		hello(f);
		starts.fixture = f;
		begin_channels(f);
		fixture_end(f);
		starts.fixture = NULL;
		fixture_free(f);
	}
	cr_assert(starts.held, "no channel was made by another thread");
}
