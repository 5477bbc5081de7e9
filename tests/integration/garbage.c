/*
 * garbage.c - whatever arrives on the socket, the server answers with an errno or ends that
 * session, and nobody else notices.
 *
 * First the named cases (what each is, what came of it), then many random frames: valid requests
 * with bytes flipped, valid headers over random bodies, lies about lengths, descriptors attached to
 * anything, plain noise. All the while a bystander asks for attributes and measures how long it
 * waits. At the end the server's processes, descriptors and memory must be what they were.
 *
 *     garbage [-n FRAMES] [-s SEED]      on filesystems "t" (read-only) and "s"
 */
#include <signal.h>

#include "tests/integration/bystander.h"
#include "tests/integration/raw.h"

enum { ANSWER_MS = 5000, PER_SESSION = 400 };

static uint32_t fs_id;        /* "t", read-only: the bystander's */
static uint32_t scratch_id;   /* "s": may be changed */
static uint64_t known_handle; /* of the last Open that succeeded in this session */
static uint64_t rng;
static uint8_t packet[FRAME_MAX_PACKET * 2];

/* ---- named cases ---- */

enum verdict { ENDED = -1, SILENT = -2, BROKEN = -3 }; /* else 0 = OK, > 0 = errno, RAW_STOPPED */

static const char *verdict_text(int v)
{
	return v == ENDED         ? "session ended"
	       : v == SILENT      ? "no answer"
	       : v == BROKEN      ? "a reply that is none"
	       : v == 0           ? "ok"
	       : v == RAW_STOPPED ? "stop"
				  : strerrorname_np(v);
}

static int verdict_next(int sock)
{
	_cleanup_reply_ struct raw_reply reply = RAW_REPLY_NULL;
	int r = raw_reply(sock, ANSWER_MS, &reply);

	if (r == -ENOTCONN)
		return ENDED;
	if (r < 0)
		return r == -ETIMEDOUT ? SILENT : BROKEN;
	return reply.kind == FRAME_STOP ? RAW_STOPPED : reply.error;
}

/* The session is alive: it answers a Ping (other replies may come first). */
static bool pings(int sock)
{
	Gofer__PingRequest q = GOFER__PING_REQUEST__INIT;
	uint8_t buf[64];
	size_t n = raw_request(buf, RPC_TYPE_Ping, 0x70000000, &q, NULL, 0);

	if (raw_send(sock, buf, n, NULL, 0, 0) < 0)
		return false;
	for (;;) {
		_cleanup_reply_ struct raw_reply reply = RAW_REPLY_NULL;

		if (raw_reply(sock, ANSWER_MS, &reply) < 0)
			return false;
		if (reply.header.tag == 0x70000000)
			return reply.kind == FRAME_OK;
	}
}

static size_t stat_frame(uint8_t *buf, uint32_t tag)
{
	Gofer__Path path = GOFER__PATH__INIT;
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;

	path.fs_id = fs_id;
	path.path = BYTES("steady");
	q.path = &path;
	return raw_request(buf, RPC_TYPE_Stat, tag, &q, NULL, 0);
}

/* Changes a field of the header of the frame in `packet`. */
static void header_set(uint32_t body_len, uint32_t data_len, uint32_t tag, uint16_t type,
		       uint8_t fds, uint8_t flags)
{
	struct frame_header h = { body_len, data_len, tag, type, fds, flags };

	frame_header_pack(&h, packet);
}

enum expected {
	MUST_END = 1,
	MUST_FAIL = 2, /* an errno */
	MAY_PASS = 4,
};

static void report(const char *what, int verdict, unsigned expected)
{
	bool holds = (verdict == ENDED && (expected & MUST_END)) ||
		     (verdict > 0 && (expected & MUST_FAIL)) ||
		     (verdict == 0 && (expected & MAY_PASS));

	check(holds, "%-58s %s", what, verdict_text(verdict));
}

/* Sends `len` bytes of `packet` (with n_fds descriptors) on a fresh session, greeted or not. */
static void one_packet(const char *what, bool greeted, size_t len, size_t n_fds, unsigned expected)
{
	int sock = greeted ? raw_session(NULL, NULL) : raw_connect();
	int fds[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
	int r = raw_send(sock, packet, len, fds, n_fds, 0);

	report(what,
	       r == -EPIPE || r == -ECONNRESET ? ENDED
	       : r < 0                         ? BROKEN
					       : verdict_next(sock),
	       expected);
	fd_close(sock);
}

/* S61 S63: lengths that lie, half headers, half frames and bytes behind the last end the session. */
static void cases_of_framing(void)
{
	static const uint32_t lengths[] = { 1,
					    15,
					    FRAME_MAX_BODY + 1,
					    FRAME_MAX_DATA + 1,
					    UINT32_C(1) << 31,
					    UINT32_MAX - 7,
					    UINT32_MAX - 15,
					    UINT32_MAX };
	char what[96];
	size_t n;

	for (size_t i = 0; i < FRAME_HEADER_SIZE; i += 5) {
		(void)stat_frame(packet, 1);
		snprintf(what, sizeof(what), "half a header: %zu bytes", i);
		if (i)
			one_packet(what, true, i, 0, MUST_END);
	}
	n = stat_frame(packet, 1);
	one_packet("half a frame: its last byte is missing", true, n - 1, 0, MUST_END);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		header_set(lengths[i], 0, 1, RPC_TYPE_Stat, 0, 0);
		snprintf(what, sizeof(what), "S61 body length %#x, nothing behind it", lengths[i]);
		one_packet(what, true, FRAME_HEADER_SIZE, 0, MUST_END);
		header_set(0, lengths[i], 1, RPC_TYPE_Stat, 0, 0);
		snprintf(what, sizeof(what), "S61 data length %#x, nothing behind it", lengths[i]);
		one_packet(what, true, FRAME_HEADER_SIZE, 0, MUST_END);
		header_set(lengths[i], UINT32_MAX - lengths[i] + 1, 1, RPC_TYPE_Stat, 0, 0);
		snprintf(what, sizeof(what), "S61 lengths %#x + %#x, which wrap to 0", lengths[i],
			 UINT32_MAX - lengths[i] + 1);
		one_packet(what, true, FRAME_HEADER_SIZE, 0, MUST_END);
	}
	memset(packet, 0, sizeof(packet));
	header_set(FRAME_MAX_BODY, FRAME_MAX_DATA, 1, RPC_TYPE_Stat, 0, 0);
	one_packet("a packet one byte larger than the largest", true, FRAME_MAX_PACKET + 1, 0,
		   MUST_END | MUST_FAIL);
	one_packet("the largest frame, all zeros", true, FRAME_MAX_PACKET, 0, MUST_END | MUST_FAIL);
	for (n = 0; n < (FRAME_MAX_PER_PACKET + 1) * FRAME_HEADER_SIZE; n += FRAME_HEADER_SIZE) {
		struct frame_header h = { .tag = (uint32_t)n, .type = RPC_TYPE_Ping };

		frame_header_pack(&h, packet + n);
	}
	one_packet("one frame more in a packet than allowed", true, n, 0, MUST_END | MUST_FAIL);
	n = stat_frame(packet, 1);
	memcpy(packet + n, "trailing", 8);
	one_packet("eight bytes behind the last frame", true, n + 8, 0, MUST_END | MUST_FAIL);
}

/* S68: unknown requests and flags, requests before Hello, descriptors that do not belong there. */
static void cases_of_headers(void)
{
	char what[96];
	size_t n = stat_frame(packet, 1);

	for (int bit = 0; bit < 8; bit++) {
		packet[15] = (uint8_t)(1 << bit);
		if (1 << bit == FRAME_NO_REPLY)
			continue; /* case_no_reply() */
		snprintf(what, sizeof(what), "S68 flag bit %d of a request", bit);
		one_packet(what, true, n, 0, MUST_END | MUST_FAIL);
	}
	packet[15] = 0;
	memset(packet + 8, 0xff, 4);
	one_packet("the tag of notices", true, n, 0, MUST_END | MUST_FAIL);
	for (uint32_t type = 0; type < RPC_TYPE_LIMIT + 2; type += type == 5 ? 1 : 17) {
		if (rpc_find((uint16_t)type))
			continue;
		header_set(0, 0, 1, (uint16_t)type, 0, 0);
		snprintf(what, sizeof(what), "S68 unknown RPC %u", type);
		one_packet(what, true, FRAME_HEADER_SIZE, 0, MUST_FAIL);
	}
	header_set(0, 0, 1, 0xffff, 0, 0);
	one_packet("S68 unknown RPC 65535", true, FRAME_HEADER_SIZE, 0, MUST_FAIL);
	n = stat_frame(packet, 1);
	one_packet("S68 an RPC before Hello", false, n, 0, MUST_END | MUST_FAIL);
	packet[14] = 1;
	one_packet("one descriptor announced, none sent", true, n, 0, MUST_END | MUST_FAIL);
	one_packet("a descriptor for an RPC that takes none", true, n, 1, MUST_END | MUST_FAIL);
	packet[14] = 0;
	one_packet("a descriptor sent, none announced", true, n, 1,
		   MUST_END | MUST_FAIL | MAY_PASS);
	one_packet("three descriptors", true, n, 3, MUST_END | MUST_FAIL | MAY_PASS);
	packet[14] = 255;
	one_packet("255 descriptors announced", true, n, 1, MUST_END);
	n = stat_frame(packet, 1);
	packet[4] = 1; /* one byte of payload */
	packet[n] = 'x';
	one_packet("a payload for an RPC that takes none", true, n + 1, 0,
		   MUST_END | MUST_FAIL | MAY_PASS);
}

/* S68: a second Hello, and versions that there are not. */
static void cases_of_hello(void)
{
	static const uint32_t versions[] = { 0, 2, UINT32_MAX };
	_cleanup_reply_ struct raw_reply second = RAW_REPLY_NULL;
	int sock = raw_session(NULL, NULL), r;

	r = raw_hello(sock, &second);
	report("S68 a second Hello",
	       r == -ENOTCONN ? ENDED
	       : r < 0        ? BROKEN
			      : 1,
	       MUST_END | MUST_FAIL);
	fd_close(sock);
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
		Gofer__HelloRequest q = GOFER__HELLO_REQUEST__INIT;
		char what[64];

		q.version = versions[i];
		sock = raw_connect();
		r = raw_errno(sock, RPC_TYPE_Hello, &q);
		snprintf(what, sizeof(what), "S68 Hello of version %u", versions[i]);
		/* A newer client is served by the version that we have. */
		report(what, r == -ENOTCONN ? ENDED : r,
		       versions[i] ? MAY_PASS | MUST_FAIL : MUST_END | MUST_FAIL);
		fd_close(sock);
	}
}

/* S67: bodies that are small on the wire and would be large in memory, or deep on the stack. */
static void cases_of_protobuf(void)
{
	static uint8_t body[FRAME_MAX_BODY];
	struct frame_header h = { .tag = 1, .type = RPC_TYPE_SetIdentity };
	size_t n;

	body[0] = 4 << 3 | 2; /* groups, packed */
	body[1] = 0xf0, body[2] = 0xff, body[3] = 0x03;
	memset(body + 4, 1, sizeof(body) - 4);
	h.body_len = 4 + 0xfff0;
	n = raw_pack(packet, &h, body, NULL);
	one_packet("S67 65,520 packed numbers in a SetIdentity", true, n, 0, MUST_FAIL | MUST_END);

	for (size_t i = 0; i + 1 < sizeof(body); i += 2)
		body[i] = 1 << 3 | 2, body[i + 1] = 0; /* 32,768 empty Path submessages */
	h = (struct frame_header){ .tag = 1, .type = RPC_TYPE_Stat, .body_len = sizeof(body) };
	n = raw_pack(packet, &h, body, NULL);
	one_packet("S67 32,768 empty submessages in a Stat", true, n, 0, MUST_FAIL | MUST_END);

	for (size_t i = 0; i + 1 < sizeof(body); i += 2)
		body[i] = 15 << 3, body[i + 1] = 1; /* unknown fields */
	n = raw_pack(packet, &h, body, NULL);
	one_packet("S67 32,768 unknown fields", true, n, 0, MUST_FAIL | MUST_END);

	memset(body, 0xff, sizeof(body)); /* a varint without an end */
	n = raw_pack(packet, &h, body, NULL);
	one_packet("S67 a number of 64 KiB", true, n, 0, MUST_FAIL | MUST_END);

	for (size_t i = 0; i + 4 <= sizeof(body); i += 4) { /* nested as deep as it goes */
		size_t rest = sizeof(body) - i - 4;

		body[i] = 1 << 3 | 2;
		body[i + 1] = (uint8_t)(rest & 0x7f) | 0x80;
		body[i + 2] = (uint8_t)(rest >> 7 & 0x7f) | 0x80;
		body[i + 3] = (uint8_t)(rest >> 14);
	}
	n = raw_pack(packet, &h, body, NULL);
	one_packet("S67 submessages nested 16,384 deep", true, n, 0, MUST_FAIL | MUST_END);

	h.body_len = 0;
	n = raw_pack(packet, &h, body, NULL);
	one_packet("S67 a Stat without its Path", true, n, 0, MUST_FAIL | MUST_END);
	for (size_t i = 0; i < RPC_COUNT; i++) {
		char what[64];
		unsigned expected = MUST_FAIL;

		h = (struct frame_header){ .tag = 1, .type = rpc_table[i].type };
		if (!(rpc_table[i].flags & (RPC_PATH | RPC_TAKES_FD)))
			expected |= MAY_PASS;
		if (rpc_table[i].flags & RPC_TAKES_FD || rpc_table[i].type == RPC_TYPE_Hello)
			expected |= MUST_END;
		n = raw_pack(packet, &h, NULL, NULL);
		snprintf(what, sizeof(what), "S67 an empty %s", rpc_table[i].name);
		one_packet(what, true, n, 0, expected);
	}
}

/* S69: a tag that is used twice is answered twice, or refused. */
static void case_duplicate_tags(void)
{
	int sock = raw_session(NULL, NULL), answers = 0, verdict = 0;
	size_t n = 0;

	for (int i = 0; i < 32; i++)
		n += stat_frame(packet + n, 7);
	if (raw_send(sock, packet, n, NULL, 0, 0) == 0)
		while (answers < 32) {
			struct pollfd p = { .fd = sock, .events = POLLIN };
			int fd;
			unsigned n_fds;
			ssize_t got;

			if (poll(&p, 1, ANSWER_MS) <= 0) {
				verdict = SILENT;
				break;
			}
			got = raw_recv(sock, packet, sizeof(packet), 0, &fd, &n_fds);
			if (got <= 0) {
				verdict = ENDED;
				break;
			}
			for (ssize_t at = 0; at < got; answers++) {
				struct frame f;
				ssize_t used = frame_parse(packet + at, (size_t)(got - at), &f);

				if (used <= 0)
					die("the server sent half a frame");
				at += used;
			}
		}
	report("S69 32 requests in flight with one tag", verdict, MUST_END | MAY_PASS);
	fd_close(sock);
}

/* S69: a Cancel of what is not in flight harms nobody. */
static void case_cancel(void)
{
	Gofer__CancelRequest q = GOFER__CANCEL_REQUEST__INIT;
	int sock = raw_session(NULL, NULL), r;

	q.tag = 0x123456;
	r = raw_errno(sock, RPC_TYPE_Cancel, &q);
	report("S69 Cancel of a tag that is not in flight", r == -ENOTCONN ? ENDED : r,
	       MUST_FAIL | MAY_PASS);
	check(pings(sock), "   and that session goes on");
	fd_close(sock);
}

/* Only a Close may go without a reply: anything else with that flag is neither executed nor
 * answered. */
static void case_no_reply(void)
{
	Gofer__Path path = GOFER__PATH__INIT;
	Gofer__MkdirRequest q = GOFER__MKDIR_REQUEST__INIT;
	Gofer__StatRequest look = GOFER__STAT_REQUEST__INIT;
	int sock = raw_session(NULL, NULL), r;
	size_t n;

	path.fs_id = scratch_id;
	path.path = BYTES("never-made");
	q.path = look.path = &path;
	q.mode = 0755;
	n = raw_request(packet, RPC_TYPE_Mkdir, 1, &q, NULL, 0);
	packet[15] = FRAME_NO_REPLY;
	r = raw_send(sock, packet, n, NULL, 0, 0);
	check(r == 0 && pings(sock) && raw_errno(sock, RPC_TYPE_Stat, &look) == ENOENT,
	      "S68 a Mkdir without a reply is not executed, and the session goes on");
	fd_close(sock);
}

/* S70: 100,000 Closes of nothing that want no reply. */
static void case_close_flood(void)
{
	enum { FLOOD = 100000 };
	Gofer__CloseRequest q = GOFER__CLOSE_REQUEST__INIT;
	uint64_t handles[1] = { 0x1234567890 };
	uint8_t one[64];
	int sock = raw_session(NULL, NULL);
	size_t len, n = 0;
	uint64_t sent = 0;

	q.handles = handles;
	q.n_handles = 1;
	len = raw_request(one, RPC_TYPE_Close, 1, &q, NULL, 0);
	one[15] = FRAME_NO_REPLY;
	for (; n / len < FRAME_MAX_PER_PACKET; n += len)
		memcpy(packet + n, one, len);
	while (sent < FLOOD && raw_send(sock, packet, n, NULL, 0, 0) == 0)
		sent += FRAME_MAX_PER_PACKET;
	check(sent >= FLOOD && pings(sock),
	      "%lu Closes of nothing without a reply, and the session goes on", sent);
	fd_close(sock);
}

/* S78: a client that asks and never reads is not read from any more, and nothing is gathered for it. */
static void case_never_reads(void)
{
	static struct process_list before, after;
	uint64_t sent = 0, most = 200000;
	int sock = raw_session(NULL, NULL), r = 0;
	size_t n = stat_frame(packet, 1);
	struct pollfd p = { .fd = sock, .events = POLLOUT };

	server_processes(&before);
	while (sent < most) {
		r = raw_send(sock, packet, n, NULL, 0, MSG_DONTWAIT);
		if (r == -EAGAIN && poll(&p, 1, 1000) == 0)
			break; /* it has stopped reading */
		if (r < 0 && r != -EAGAIN)
			break; /* or thrown us out */
		sent += r == 0;
	}
	server_processes(&after);
	check(sent < most,
	      "a client that never reads is not read from any more after %lu requests (%s)", sent,
	      r == -EAGAIN ? "stalled" : strerror(-r));
	check(process_sum(&after).rss < process_sum(&before).rss + (PROOF_SANITIZED ? 65536 : 4096),
	      "   and nothing is gathered for it: %lu KiB more",
	      process_sum(&after).rss - MIN(process_sum(&after).rss, process_sum(&before).rss));
	fd_close(sock);
}

/* ---- random frames ---- */

struct tally {
	uint64_t frames, ok, stopped, refused, ended, mute, sessions, unanswered;
	uint64_t by_errno[4096];
};

/* A valid message of a random RPC with random values: by reflection, so that new RPCs are included.
 */
static void random_message(ProtobufCMessage *m, const ProtobufCMessageDescriptor *d, uint8_t *arena,
			   size_t *used, int depth)
{
	static const char *const words[] = { "steady",      "a", "a/b",  "..",     "a/../b",
					     "/etc/passwd", "",  "link", "x\xff\n" };
	static const uint64_t numbers[] = {
		0, 1, 2, 3, 4095, 65536, UINT32_C(1) << 31, UINT32_MAX, INT64_MAX, UINT64_MAX
	};

	protobuf_c_message_init(d, m);
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		void *at = (uint8_t *)m + f->offset;
		uint64_t number = random_below(&rng, 3)
					  ? random_below(&rng, 8)
					  : numbers[random_below(&rng, ARRAY_SIZE(numbers))];
		const char *word = words[random_below(&rng, ARRAY_SIZE(words))];

		if (f->label == PROTOBUF_C_LABEL_REPEATED || random_below(&rng, 4) == 0)
			continue;
		if (!strcmp(f->name, "length") || !strcmp(f->name, "size"))
			number &= 0xffff; /* not the whole disk */
		switch (f->type) {
		case PROTOBUF_C_TYPE_UINT32:
		case PROTOBUF_C_TYPE_ENUM:
			*(uint32_t *)at = (uint32_t)number;
			if (!strcmp(f->name, "fs_id"))
				*(uint32_t *)at = random_below(&rng, 3) ? scratch_id : fs_id;
			break;
		case PROTOBUF_C_TYPE_UINT64:
		case PROTOBUF_C_TYPE_INT64:
			*(uint64_t *)at = number;
			if (strstr(f->name, "handle") && random_below(&rng, 2))
				*(uint64_t *)at = random_below(&rng, 3) ? known_handle : 0;
			break;
		case PROTOBUF_C_TYPE_BOOL:
			*(protobuf_c_boolean *)at = number & 1;
			break;
		case PROTOBUF_C_TYPE_BYTES:
			*(ProtobufCBinaryData *)at = BYTES(word);
			break;
		case PROTOBUF_C_TYPE_STRING:
			*(const char **)at = word;
			break;
		case PROTOBUF_C_TYPE_MESSAGE: {
			const ProtobufCMessageDescriptor *sub = f->descriptor;
			ProtobufCMessage *child = (ProtobufCMessage *)(void *)(arena + *used);

			*used += (sub->sizeof_message + 15) & ~(size_t)15;
			if (depth < 3 && *used < 4096) {
				random_message(child, sub, arena, used, depth + 1);
				*(ProtobufCMessage **)at = child;
			}
			break;
		}
		default:
			break;
		}
	}
}

static size_t random_frame(uint8_t *out, size_t *ret_fds)
{
	_Alignas(16) uint8_t arena[8192];
	const struct rpc_info *rpc = &rpc_table[random_below(&rng, RPC_COUNT)];
	struct frame_header h = { .type = rpc->type, .tag = (uint32_t)random_next(&rng) };
	static const uint8_t noise[512];
	uint32_t way = random_below(&rng, 100);
	size_t used = rpc->request->sizeof_message, n;

	used = (used + 15) & ~(size_t)15;
	*ret_fds = 0;
	random_message((ProtobufCMessage *)(void *)arena, rpc->request, arena, &used, 0);
	h.body_len =
		(uint32_t)protobuf_c_message_get_packed_size((ProtobufCMessage *)(void *)arena);
	if ((rpc->flags & RPC_DATA_IN) && random_below(&rng, 2))
		h.data_len = random_below(&rng, sizeof(noise));
	if (rpc->flags & RPC_TAKES_FD)
		*ret_fds = h.fds = 1;
	frame_header_pack(&h, out);
	(void)protobuf_c_message_pack((ProtobufCMessage *)(void *)arena, out + FRAME_HEADER_SIZE);
	memcpy(out + FRAME_HEADER_SIZE + h.body_len, noise, h.data_len);
	n = FRAME_HEADER_SIZE + h.body_len + h.data_len;
	if (way < 40) { /* bytes of the body flipped */
		for (uint32_t k = random_below(&rng, 4) + 1; k && h.body_len; k--)
			out[FRAME_HEADER_SIZE + random_below(&rng, h.body_len)] ^=
				(uint8_t)(1 << random_below(&rng, 8));
	} else if (way < 60) { /* a body of noise */
		h.body_len = random_below(&rng, 200);
		h.data_len = 0;
		frame_header_pack(&h, out);
		for (uint32_t i = 0; i < h.body_len; i++)
			out[FRAME_HEADER_SIZE + i] = (uint8_t)random_next(&rng);
		n = FRAME_HEADER_SIZE + h.body_len;
	} else if (way < 62) { /* lies in the header */
		out[random_below(&rng, FRAME_HEADER_SIZE)] ^= (uint8_t)(1 << random_below(&rng, 8));
	} else if (way < 63) { /* cut */
		n = random_below(&rng, (uint32_t)n) + 1;
	} else if (way < 65) { /* descriptors with it */
		*ret_fds = random_below(&rng, 4);
	} else if (way < 66) { /* noise from the first byte */
		n = random_below(&rng, 300) + 1;
		for (size_t i = 0; i < n; i++)
			out[i] = (uint8_t)random_next(&rng);
	}
	return n;
}

/*
 * What there is to read, waiting for the first packet; `to_end`: until the session is ended. False
 * when it was.
 */
static bool take_replies(int sock, struct tally *t, int timeout_ms, bool to_end)
{
	static uint8_t buf[FRAME_MAX_PACKET + 1];

	for (;;) {
		unsigned n_fds;
		int fd;
		ssize_t n = raw_recv(sock, buf, sizeof(buf), timeout_ms, &fd, &n_fds);

		fd_close(fd);
		if (n == -ETIMEDOUT)
			return true;
		if (n <= 0)
			return false;
		for (ssize_t at = 0; at < n;) {
			_cleanup_reply_ struct raw_reply reply = RAW_REPLY_NULL;
			struct frame f;
			ssize_t used = frame_parse(buf + at, (size_t)(n - at), &f);

			if (used <= 0 || !raw_decode(&f, &reply)) {
				check(false, "a reply of the server is none");
				return false;
			}
			at += used;
			t->ok += reply.kind == FRAME_OK;
			if (reply.kind == FRAME_OK && reply.header.type == RPC_TYPE_Open)
				known_handle = ((Gofer__OpenReply *)reply.message)->handle;
			t->stopped += reply.kind == FRAME_STOP;
			if (reply.kind == FRAME_ERROR) {
				t->refused++;
				t->by_errno[MIN(reply.error, 4095)]++;
			}
		}
		if (!to_end)
			return true;
	}
}

/* S63: 100,000 random frames, most of them valid ones with bytes flipped, cut, or with lies in them. */
static void random_frames(uint64_t frames, struct tally *t)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	while (t->frames < frames) {
		int sock = random_below(&rng, 50) ? raw_session(NULL, NULL) : raw_connect();
		bool alive = sock >= 0;

		t->sessions++;
		for (int i = 0; alive && i < PER_SESSION && t->frames < frames; i++) {
			int fds[4] = { null, null, null, null };
			size_t n_fds, n = random_frame(packet, &n_fds);
			bool silent = n > 15 && (packet[15] & FRAME_NO_REPLY);
			int r = raw_send(sock, packet, n, fds, n_fds, 0);

			/* One by one: a frame counts only if the server has judged it. */
			t->frames++;
			alive = r == 0;
			if (!silent && alive) {
				uint64_t answers = t->ok + t->stopped + t->refused;

				alive = take_replies(sock, t, ANSWER_MS, false);
				t->unanswered +=
					alive && t->ok + t->stopped + t->refused == answers;
			}
		}
		if (alive) {
			/* A session that we end is ended by the server too, soon. */
			shutdown(sock, SHUT_WR);
			t->mute += take_replies(sock, t, ANSWER_MS, true);
		} else {
			t->ended++;
		}
		fd_close(sock);
	}
	fd_close(null);
}

int main(int argc, char **argv)
{
	uint64_t frames = option_number(argc, argv, "-n", 100000);
	uint64_t seed = option_number(argc, argv, "-s", 7), start = clock_ns();
	static struct process_list before, after;
	static struct tally t;
	struct bystander *b;
	struct process sum_before, sum_after;
	bool settled;
	int status;

	signal(SIGPIPE, SIG_IGN);
	rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	b = bystander_start("t");
	fd_close(raw_session("t", &fs_id));
	fd_close(raw_session("s", &scratch_id));
	(void)server_settles(3, ANSWER_MS, &before); /* front, monitor, the bystander's */
	sum_before = process_sum(&before);

	cases_of_framing();
	cases_of_headers();
	cases_of_hello();
	cases_of_protobuf();
	case_duplicate_tags();
	case_cancel();
	case_no_reply();
	case_close_flood();
	case_never_reads();

	random_frames(frames, &t);
	printf("%lu random frames in %lu sessions (seed %lu): %lu answered ok, %lu stopped, %lu "
	       "refused; %lu sessions ended by the server\n",
	       t.frames, t.sessions, seed, t.ok, t.stopped, t.refused, t.ended);
	for (int e = 1; e < 4096; e++)
		if (t.by_errno[e])
			printf("  %-16s %lu\n", strerrorname_np(e) ? strerrorname_np(e) : "?",
			       t.by_errno[e]);
	check(t.unanswered == 0, "frames that got neither an answer nor the session ended: %lu",
	      t.unanswered);
	check(t.mute == 0, "sessions that did not end when the client had hung up: %lu", t.mute);
	check(t.by_errno[EIO] == 0 && t.by_errno[ENOMEM] == 0,
	      "no refusal for an internal reason (EIO, ENOMEM)");

	settled = server_settles(before.n, ANSWER_MS, &after);
	check(settled, "processes: %zu before, %zu after", before.n, after.n);
	sum_after = process_sum(&after);
	check(sum_after.fds <= sum_before.fds, "descriptors: %lu before, %lu after", sum_before.fds,
	      sum_after.fds);
	/* The bystander's own worker may have grown its pool. */
	check(sum_after.threads < before.n + 8, "threads: %lu before, %lu after",
	      sum_before.threads, sum_after.threads);
	check(sum_after.rss <= sum_before.rss + (PROOF_SANITIZED ? 65536 : 1024),
	      "memory: %lu KiB before, %lu KiB after", sum_before.rss, sum_after.rss);
	check(bystander_stop(b, &status), "the bystander ended well (status %#x)", status);
	check(b->errors == 0 && b->calls > 100, "it was served %lu times, %lu errors", b->calls,
	      b->errors);
	check(b->longest_ns < UINT64_C(1000000000), "its longest wait: %.1f ms",
	      (double)b->longest_ns / 1e6);
	printf("%.1f s\n", (double)(clock_ns() - start) / 1e9);
	return proof_end();
}
