/*
 * attack_wire.c - numbers, sizes, cookies and floods of well-formed frames (S62 to S74). What breaks
 * the framing itself is in garbage.c.
 *
 *     attack_wire DIRECTORY      prepared and served by attack.sh
 */
#include <sys/sysmacros.h>

#include "tests/integration/guard.h"

static uint8_t packet[FRAME_MAX_PACKET];

/* ---- sizes that are announced ---- */

static void s62_announced_sizes(void)
{
	static const uint32_t sizes[] = { FRAME_MAX_BODY, UINT32_C(1) << 30, UINT32_MAX };
	struct process_list before, now;
	int sessions[30];
	long grown = 0;

	server_processes(&before);
	for (size_t i = 0; i < ARRAY_SIZE(sessions); i++) {
		struct frame_header h = { .type = RPC_TYPE_Stat,
					  .tag = 1,
					  .data_len = i % 2 ? sizes[i % ARRAY_SIZE(sizes)] : 0,
					  .body_len = i % 2 ? 0 : sizes[i % ARRAY_SIZE(sizes)] };
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		int e;

		sessions[i] = guard_session();
		frame_header_pack(&h, packet);
		if (raw_send(sessions[i], packet, FRAME_HEADER_SIZE, NULL, 0, 0) < 0)
			die("send");
		/* The packet is the frame: what it lacks does not come later. On a stream it could. */
		if (raw_is_stream(sessions[i]))
			(void)shutdown(sessions[i], SHUT_WR);
		e = raw_reply(sessions[i], 5000, &r);
		if (e != -ENOTCONN)
			check(false, "%u bytes announced, none sent: %s", sizes[i % 3],
			      word(outcome(e, &r)));
	}
	server_processes(&now);
	for (size_t i = 0; i < before.n; i++) {
		const struct process *p = process_find(&now, before.at[i].pid);

		grown = MAX(grown, p ? (long)(p->rss - before.at[i].rss) : 0);
	}
	check(grown < (PROOF_SANITIZED ? GUARD_RSS_KIB : 64),
	      "%zu sessions announce up to 8 GiB and are ended; no process grows by more "
	      "than %ld KiB",
	      ARRAY_SIZE(sessions), grown);
	for (size_t i = 0; i < ARRAY_SIZE(sessions); i++)
		fd_close(sessions[i]);
}

static void s65_counts(void)
{
	static const uint32_t sizes[] = { 0, 1, 65536, 65537, INT32_MAX, UINT32_MAX };
	static uint64_t many[5000];
	Gofer__ListXattrRequest l = GOFER__LIST_XATTR_REQUEST__INIT;
	Gofer__CloseRequest c = GOFER__CLOSE_REQUEST__INIT;
	Gofer__SyncRequest s = GOFER__SYNC_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "a/file");
	char what[64];

	l.path = &p;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		snprintf(what, sizeof(what), "ListXattr into %u bytes", sizes[i]);
		l.size = sizes[i];
		expect_either(what, raw_errno(sock, RPC_TYPE_ListXattr, &l),
			      sizes[i] > 65536 ? E2BIG : 0, sizes[i] == 1 ? ERANGE : E2BIG);
	}
	memset(many, 0xff, sizeof(many));
	c.handles = s.handles = many;
	c.n_handles = s.n_handles = 4096;
	expect("Close of 4096 handles that are none", raw_errno(sock, RPC_TYPE_Close, &c), EBADF);
	expect("Sync of them", raw_errno(sock, RPC_TYPE_Sync, &s), EBADF);
	c.n_handles = s.n_handles = 4097;
	expect("Close of 4097", raw_errno(sock, RPC_TYPE_Close, &c), EINVAL);
	expect("Sync of 4097", raw_errno(sock, RPC_TYPE_Sync, &s), EINVAL);
	c.n_handles = s.n_handles = 0;
	expect("Close of none", raw_errno(sock, RPC_TYPE_Close, &c), EINVAL);
	expect("Sync of none", raw_errno(sock, RPC_TYPE_Sync, &s), EINVAL);
}

/* ---- many of them ---- */

/* Takes whatever replies are there; false when the session ended. */
static bool take(uint64_t *ok, uint64_t *busy, int timeout_ms)
{
	static uint8_t in[FRAME_MAX_PACKET];
	unsigned n_fds;
	int fd;
	ssize_t n = raw_recv(sock, in, sizeof(in), timeout_ms, &fd, &n_fds);

	fd_close(fd);
	if (n <= 0)
		return n == -ETIMEDOUT;
	for (ssize_t at = 0, used; at < n; at += used) {
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		struct frame f;

		used = frame_parse(in + at, (size_t)(n - at), &f);
		if (used <= 0 || !raw_decode(&f, &r))
			die("a broken reply");
		*ok += r.kind == FRAME_OK;
		*busy += r.error == EAGAIN;
	}
	return true;
}

static void s70_pipelined(void)
{
	enum { REQUESTS = 100000, PER_PACKET = 50, STREAM_OUT = 1000 };
	Gofer__PingRequest q = GOFER__PING_REQUEST__INIT;
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	uint64_t sent = 0, ok = 0, busy = 0;
	bool alive = true, stream = raw_is_stream(sock);

	while (alive && ok + busy < REQUESTS) {
		size_t n = 0;

		/* What a stream takes in part must be sent in full: so never so much that the
		 * server waits for us to read. */
		if (sent < REQUESTS && (!stream || sent - ok - busy < STREAM_OUT)) {
			for (int i = 0; i < PER_PACKET; i++)
				n += raw_request(packet + n, RPC_TYPE_Ping, (uint32_t)(sent + i),
						 &q, NULL, 0);
			if (raw_send(sock, packet, n, NULL, 0, MSG_DONTWAIT) == 0) {
				sent += PER_PACKET;
				continue;
			}
		}
		alive = take(&ok, &busy, 5000);
	}
	check(alive && ok + busy == REQUESTS,
	      "100,000 requests, sent whenever there is room: %lu answered, %lu told to wait", ok,
	      busy);
	/* Each packet is a frame of its own: one byte is no frame. */
	if (raw_send(sock, packet, 1, NULL, 0, 0) < 0)
		die("send");
	if (stream)
		(void)shutdown(sock, SHUT_WR);
	check(raw_reply(sock, 5000, &r) == -ENOTCONN, "a packet of one byte ends the session");
}

/* ---- numbers ---- */

static void s64_numbers(void)
{
	static const uint64_t n[] = { 0,          1,         INT32_MAX,         UINT64_C(1) << 31,
				      UINT32_MAX, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX };
	struct opened o = OPENED_NULL;
	unsigned calls = 0, silent = 0, wrong = 0;
	struct stat st;

	if (open_path(sock, rw, "numbers",
		      GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE |
			      GOFER__OPEN_FLAG__OPEN_CREATE,
		      0600, &o) != 0)
		die("numbers");
	for (size_t i = 0; i < ARRAY_SIZE(n); i++)
		for (size_t k = 0; k < ARRAY_SIZE(n); k++) {
			Gofer__ReadRequest rd = GOFER__READ_REQUEST__INIT;
			Gofer__WriteRequest wr = GOFER__WRITE_REQUEST__INIT;
			Gofer__AllocateRequest al = GOFER__ALLOCATE_REQUEST__INIT;
			Gofer__CopyRequest cp = GOFER__COPY_REQUEST__INIT;
			Gofer__SeekRequest sk = GOFER__SEEK_REQUEST__INIT;
			Gofer__ReadFileRequest rf = GOFER__READ_FILE_REQUEST__INIT;
			Gofer__ReadDirRequest dir = GOFER__READ_DIR_REQUEST__INIT;
			Gofer__SetAttrRequest cut = GOFER__SET_ATTR_REQUEST__INIT;
			_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
			Gofer__Path p = path_of(rw, "numbers"), d = path_of(rw, "a");
			bool over = n[i] > INT64_MAX || n[k] > INT64_MAX || n[i] + n[k] > INT64_MAX;
			int e[8];

			rd.handle = wr.handle = al.handle = cp.source = cp.dest = sk.handle =
				o.handle;
			rd.offset = al.offset = cp.source_offset = sk.offset = rf.offset =
				wr.offset = n[i];
			rd.count = rf.count = (uint32_t)n[k];
			al.length = cp.length = n[k];
			/* Anything that could be a real, huge reservation of disk: only the
			 * impossible ones. */
			al.mode = GOFER__ALLOCATE_MODE__ALLOCATE_PUNCH_HOLE;
			cp.dest_offset = n[i];
			rf.path = &p;
			dir.path = &d;
			dir.cookie = n[i];
			dir.max_bytes = (uint32_t)n[k];
			/* Only sizes that no file may have. */
			cut.path = &p;
			cut.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
			cut.size = n[i] > INT64_MAX ? n[i] : 0;
			e[7] = raw_errno(sock, RPC_TYPE_SetAttr, &cut);
			wrong += n[i] > INT64_MAX && e[7] == 0;
			e[0] = raw_errno(sock, RPC_TYPE_Read, &rd);
			e[1] = raw_errno(sock, RPC_TYPE_ReadFile, &rf);
			e[2] = raw_errno(sock, RPC_TYPE_Allocate, &al);
			e[3] = raw_errno(sock, RPC_TYPE_Copy, &cp);
			e[4] = raw_errno(sock, RPC_TYPE_Seek, &sk);
			e[5] = raw_errno(sock, RPC_TYPE_ReadDir, &dir);
			e[6] = k ? 0
				 : raw_call_fd(sock, RPC_TYPE_Write, &wr,
					       n[i] > UINT32_MAX ? "x" : "", n[i] > UINT32_MAX, -1,
					       &r);
			for (int c = 0; c < 8; c++, calls++)
				silent += e[c] < 0;
			wrong += over && (e[2] == 0 || e[3] == 0);
			wrong += n[i] > INT64_MAX && (e[0] == 0 || e[4] == 0);
		}
	check(silent == 0, "%u calls with every pair of extreme numbers: all answered", calls);
	check(wrong == 0, "sums beyond 2^63-1 are refused");
	(void)close_handle(sock, o.handle);
	check(stat(in_dir(volume, "numbers"), &st) == 0 && st.st_size == 0,
	      "the file was not grown: %ld bytes", (long)st.st_size);
	(void)unlink(in_dir(volume, "numbers"));
}

static void s73_readdir(void)
{
	static const uint32_t sizes[] = { 1, 23, 24, 40 };
	uint64_t seed = 73;
	unsigned answered = 0, tried = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		Gofer__ReadDirRequest q = GOFER__READ_DIR_REQUEST__INIT;
		Gofer__Path p = path_of(rw, "many");
		unsigned seen = 0, calls = 0;
		bool end = false;
		int e = 0;

		q.path = &p;
		q.max_bytes = sizes[i];
		while (!end && e == 0 && calls++ < 2000) {
			_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
			const Gofer__ReadDirReply *m;

			e = raw_call(sock, RPC_TYPE_ReadDir, &q, &r);
			e = e < 0 ? e : r.error;
			if (e || r.kind != FRAME_OK)
				break;
			m = (const Gofer__ReadDirReply *)r.message;
			seen += (unsigned)m->n_entries;
			end = m->end;
			if (m->n_entries)
				q.cookie = m->entries[m->n_entries - 1]->cookie;
			else if (!end)
				break;
		}
		check((end && seen == 200) || e > 0,
		      "ReadDir in pieces of %u bytes: %s, %u of 200 names", sizes[i], word(e),
		      seen);
	}
	for (int i = 0; i < 1000; i++) {
		Gofer__ReadDirRequest q = GOFER__READ_DIR_REQUEST__INIT;
		Gofer__Path p = path_of(rw, "many");

		q.path = &p;
		q.cookie = random_next(&seed) >> (random_below(&seed, 64));
		tried++;
		answered += raw_errno(sock, RPC_TYPE_ReadDir, &q) >= 0;
	}
	check(answered == tried, "%u random cookies: all answered", tried);
}

static int set_xattr(const char *name, const void *value, size_t size)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__SetXattrRequest q = GOFER__SET_XATTR_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "a/file");
	int e;

	q.path = &p;
	q.name = BYTES(name);
	e = raw_call_fd(sock, RPC_TYPE_SetXattr, &q, value, size, -1, &r);
	return e < 0 ? e : r.error;
}

static void s74_xattrs(void)
{
	static char name[300], value[FRAME_MAX_DATA];
	static const char *const forbidden[] = { "trusted.x", "security.capability",
						 "security.selinux", "security.ima" };
	Gofer__GetXattrRequest g = GOFER__GET_XATTR_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "a/file");
	char what[80];
	int e;

	memset(name, 'n', sizeof(name) - 1);
	memcpy(name, "user.", 5);
	expect("a name of 299 bytes", set_xattr(name, "v", 1), ERANGE);
	expect("an empty name", set_xattr("", "v", 1), ERANGE);
	expect("a value of 64 KiB and one byte", set_xattr("user.big", value, 65537), E2BIG);
	e = set_xattr("user.a", "12345", 5);
	if (e == EOPNOTSUPP) {
		printf("  (no user xattrs here)\n");
		return;
	}
	expect("an ordinary one", e, 0);
	g.path = &p;
	g.name = BYTES("user.a");
	g.size = 4;
	expect("a buffer too small by one", raw_errno(sock, RPC_TYPE_GetXattr, &g), ERANGE);
	g.size = 0;
	expect("only its size", raw_errno(sock, RPC_TYPE_GetXattr, &g), 0);
	g.size = 65536;
	expect("the largest buffer", raw_errno(sock, RPC_TYPE_GetXattr, &g), 0);
	g.size = 65537;
	expect("a larger one", raw_errno(sock, RPC_TYPE_GetXattr, &g), E2BIG);
	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
		e = set_xattr(forbidden[i], "v", 1);
		snprintf(what, sizeof(what), "%s cannot be set", forbidden[i]);
		check(e == EPERM || e == EOPNOTSUPP || e == EACCES, "%-62s %s", what, word(e));
	}
}

/* The size that was asked for is not believed later. */
static void s74_resized_between(void)
{
	static char value[2000];
	Gofer__GetXattrRequest g = GOFER__GET_XATTR_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "a/file");
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	int e = set_xattr("user.grows", "12345", 5);

	if (e == EOPNOTSUPP) {
		printf("  (no user xattrs here)\n");
		return;
	}
	g.path = &p;
	g.name = BYTES("user.grows");
	e = raw_call(sock, RPC_TYPE_GetXattr, &g, &r);
	check(e == 0 && r.kind == FRAME_OK && ((Gofer__GetXattrReply *)r.message)->size == 5 &&
		      r.data_len == 0,
	      "its length is 5");
	memset(value, 'v', sizeof(value));
	expect("then it grows", set_xattr("user.grows", value, sizeof(value)), 0);
	g.size = 5;
	expect("reading 5 bytes of it", raw_errno(sock, RPC_TYPE_GetXattr, &g), ERANGE);
	g.size = 100;
	expect("it shrinks", set_xattr("user.grows", "1", 1), 0);
	e = raw_call(sock, RPC_TYPE_GetXattr, &g, &r);
	check(e == 0 && r.data_len == 1 && ((Gofer__GetXattrReply *)r.message)->size == 1,
	      "reading 100 gives 1 byte, and says so");
}

int main(int argc, char **argv)
{
	static const struct attack attacks[] = {
		{ "S62: sizes that are announced and never sent cost nothing",
		  s62_announced_sizes },
		{ "S64: every pair of extreme offsets and lengths, in every RPC that has them",
		  s64_numbers },
		{ "S65: counts times sizes of lists are bounded", s65_counts },
		{ "S70: 100,000 pipelined requests are answered, or told to wait", s70_pipelined },
		{ "S73: listings in pieces of a few bytes, and from random cookies", s73_readdir },
		{ "S74: names, sizes and namespaces of extended attributes", s74_xattrs },
		{ "S74: a value that is resized between asking for its size and reading it",
		  s74_resized_between },
	};

	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
