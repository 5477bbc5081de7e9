/*
 * security.c - the attacks of the list of cases, tried by a client that speaks the protocol itself.
 *
 * Each check is named by its case. The script serves two directories as four filesystems
 * (read-write, read-only, with donation and without), prepares what is dangerous in them, and
 * compares the tree outside afterwards. Nothing here uses libgofer: a library that refuses to send
 * something proves nothing about the server.
 *
 *     security VOLUME_DIR OUTSIDE_DIR
 */
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "tests/integration/raw.h"

static int sock;
static uint32_t rw, ro, nd, dr; /* read-write; read-only; never donates; donates reading only */
static const char *volume, *outside;
static struct stat root_st, outside_st, canary_st;

static Gofer__Path path_of(uint32_t fs, const char *text)
{
	Gofer__Path p = GOFER__PATH__INIT;

	p.fs_id = fs;
	p.path = BYTES(text);
	return p;
}

/* "0 or errno or stop" in words. */
static const char *word(int e)
{
	static char text[4][32];
	static unsigned next;

	if (e == 0)
		return "ok";
	if (e == RAW_STOPPED)
		return "stop";
	if (e > 0)
		return strerrorname_np(e);
	snprintf(text[++next % 4], sizeof(text[0]), "no reply: %s", strerrorname_np(-e));
	return text[next % 4];
}

static void expect(const char *what, int got, int wanted)
{
	if (got == wanted)
		check(true, "%-62s %s", what, word(got));
	else
		check(false, "%-62s %s instead of %s", what, word(got), word(wanted));
}

static void expect_either(const char *what, int got, int a, int b)
{
	expect(what, got, got == b ? b : a);
}

static int stat_path(uint32_t fs, const char *text, Gofer__Attr *ret_attr)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	Gofer__Path p = path_of(fs, text);
	int e;

	q.path = &p;
	e = raw_call(sock, RPC_TYPE_Stat, &q, &r);
	if (e < 0)
		return e;
	if (r.kind == FRAME_OK && ret_attr)
		*ret_attr = *((Gofer__StatReply *)r.message)->attr;
	return r.kind == FRAME_STOP ? RAW_STOPPED : r.error;
}

struct opened {
	uint64_t handle;
	bool donated;
	int fd;
	unsigned n_fds;
	Gofer__Attr attr;
};

static int open_path(uint32_t fs, const char *text, uint32_t flags, uint32_t mode,
		     struct opened *ret)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path p = path_of(fs, text);
	int e;

	q.path = &p;
	q.flags = flags;
	q.mode = mode;
	e = raw_call(sock, RPC_TYPE_Open, &q, &r);
	if (e < 0)
		return e;
	if (ret && r.kind == FRAME_OK) {
		const Gofer__OpenReply *m = (const Gofer__OpenReply *)r.message;

		*ret = (struct opened){ m->handle, m->donated, TAKE_FD(r.fd), r.n_fds, *m->attr };
	}
	return r.kind == FRAME_STOP ? RAW_STOPPED : r.error;
}

static int read_handle(int at, uint64_t handle)
{
	Gofer__ReadRequest q = GOFER__READ_REQUEST__INIT;

	q.handle = handle;
	q.count = 16;
	return raw_errno(at, RPC_TYPE_Read, &q);
}

static int close_handle(int at, uint64_t handle)
{
	Gofer__CloseRequest q = GOFER__CLOSE_REQUEST__INIT;

	q.handles = &handle;
	q.n_handles = 1;
	return raw_errno(at, RPC_TYPE_Close, &q);
}

/* ---- any RPC of the table, with its paths, in its most ordinary form ---- */

static int table_call(const struct rpc_info *rpc, Gofer__Path *first, Gofer__Path *second)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	_Alignas(16) uint8_t buf[512];
	ProtobufCMessage *m = (ProtobufCMessage *)(void *)buf;
	int pair[2] = { -1, -1 }, e;

	if (rpc->request->sizeof_message > sizeof(buf))
		die("%s is larger than expected", rpc->name);
	protobuf_c_message_init(rpc->request, m);
	for (unsigned i = 0, n = 0; i < rpc->request->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &rpc->request->fields[i];

		if (f->type == PROTOBUF_C_TYPE_MESSAGE && f->descriptor == &gofer__path__descriptor)
			*(Gofer__Path **)(void *)(buf + f->offset) = n++ ? second : first;
	}
	switch (rpc->type) {
	case RPC_TYPE_Open:
		((Gofer__OpenRequest *)m)->flags = GOFER__OPEN_FLAG__OPEN_READ;
		break;
	case RPC_TYPE_Mknod:
		((Gofer__MknodRequest *)m)->mode = S_IFREG | 0644;
		break;
	case RPC_TYPE_Symlink:
		((Gofer__SymlinkRequest *)m)->target = BYTES("target");
		break;
	case RPC_TYPE_SetAttr:
		((Gofer__SetAttrRequest *)m)->mask = GOFER__SET_ATTR_MASK__SET_MODE;
		((Gofer__SetAttrRequest *)m)->mode = 0600;
		break;
	case RPC_TYPE_GetXattr:
		((Gofer__GetXattrRequest *)m)->name = BYTES("user.a");
		((Gofer__GetXattrRequest *)m)->size = 100;
		break;
	case RPC_TYPE_SetXattr:
		((Gofer__SetXattrRequest *)m)->name = BYTES("user.a");
		break;
	case RPC_TYPE_ListXattr:
		((Gofer__ListXattrRequest *)m)->size = 1000;
		break;
	case RPC_TYPE_RemoveXattr:
		((Gofer__RemoveXattrRequest *)m)->name = BYTES("user.a");
		break;
	case RPC_TYPE_ReadFile:
		((Gofer__ReadFileRequest *)m)->count = 100;
		break;
	default:
		break;
	}
	if (rpc->flags & RPC_TAKES_FD) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			die("socketpair");
		close(pair[1]);
	}
	e = raw_call_fd(sock, rpc->type, m, NULL, 0, pair[0], &r);
	fd_close(pair[0]);
	if (e < 0)
		return e;
	/* Nothing outside may be described by any reply. */
	if (r.kind == FRAME_OK && r.message->descriptor->n_fields) {
		const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(
			r.message->descriptor, "attr");
		const Gofer__Attr *a =
			f ? *(Gofer__Attr **)(void *)((uint8_t *)r.message + f->offset) : NULL;

		if (a && ((a->ino == outside_st.st_ino && a->dev == outside_st.st_dev) ||
			  (a->ino == canary_st.st_ino && a->dev == canary_st.st_dev)))
			check(false, "%s reached the tree outside", rpc->name);
	}
	return r.kind == FRAME_STOP ? RAW_STOPPED : r.error;
}

/* ---- traversal ---- */

static void s1_above_the_root(void)
{
	static const char *const texts[] = { "..",
					     "../",
					     "./../",
					     "a/../..",
					     "a/./../..",
					     "/a/../..",
					     "../outside/canary",
					     "a/b/../../../outside/canary",
					     "//..//",
					     "../../../../../../etc/passwd" };
	unsigned calls = 0, bad = 0;

	for (size_t i = 0; i < RPC_COUNT; i++)
		for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
			for (int second = 0; second < 2; second++) {
				const struct rpc_info *rpc = &rpc_table[i];
				Gofer__Path evil = path_of(rw, texts[k]),
					    good = path_of(rw, "a/file");
				int e;

				if (!(rpc->flags & (second ? RPC_PATH2 : RPC_PATH)))
					continue;
				e = table_call(rpc, second ? &good : &evil, second ? &evil : &good);
				calls++;
				if (e == 0 || e < 0) {
					bad++;
					check(false, "S1 %s(\"%s\") as path %d: %s", rpc->name,
					      texts[k], second, word(e));
				}
			}
	check(bad == 0 && calls > 100,
	      "S1 %u paths above the root in every path field of every RPC: none passed", calls);
	/* The library relies on the reason and on the offsets. */
	{
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
		Gofer__Path p = path_of(rw, "a/../../x");
		const Gofer__Stop *stop;

		q.path = &p;
		(void)raw_call(sock, RPC_TYPE_Stat, &q, &r);
		stop = r.kind == FRAME_STOP ? (const Gofer__Stop *)r.message : NULL;
		check(stop && stop->reason == GOFER__STOP__REASON__ABOVE_ROOT && stop->begin == 5 &&
			      stop->end == 7,
		      "S1 \"a/../../x\" stops at its second \"..\": ABOVE_ROOT at 5..7");
	}
}

static void s2_dotdot_is_not_lexical(void)
{
	expect("S2 Stat(\"missing/..\")", stat_path(rw, "missing/..", NULL), ENOENT);
	expect("S2 Stat(\"a/file/..\")", stat_path(rw, "a/file/..", NULL), ENOTDIR);
	expect("S2 Stat(\"a/file/.\")", stat_path(rw, "a/file/.", NULL), ENOTDIR);
	expect("S2 Stat(\"a/file/\")", stat_path(rw, "a/file/", NULL), ENOTDIR);
	expect("S2 Stat(\"a/b/..\")", stat_path(rw, "a/b/..", NULL), 0);
	if (geteuid() !=
	    0) /* uid 0 owns the directory and may search without a bit only with a capability */
		expect("S2 Stat(\"locked/..\")", stat_path(rw, "locked/..", NULL), EACCES);
	else
		expect_either("S2 Stat(\"locked/..\")", stat_path(rw, "locked/..", NULL), EACCES,
			      0);
}

static void s3_absolute_names(void)
{
	Gofer__Attr attr;
	char text[PATH_MAX];
	int e;

	snprintf(text, sizeof(text), "%s/canary", outside);
	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];
		Gofer__Path evil = path_of(rw, text), good = path_of(rw, "a/file");

		if (rpc->type == RPC_TYPE_Connect)
			continue;
		if (rpc->flags & RPC_PATH && (e = table_call(rpc, &evil, &good)) != ENOENT)
			check(false, "S3 %s of an absolute host path: %s", rpc->name, word(e));
		if (rpc->flags & RPC_PATH2 && (e = table_call(rpc, &good, &evil)) != ENOENT)
			check(false, "S3 %s of an absolute host path, second field: %s", rpc->name,
			      word(e));
	}
	check(true, "S3 an absolute host path in every path field: ENOENT below the root");
	e = stat_path(rw, "/", &attr);
	check(e == 0 && attr.ino == root_st.st_ino, "S3 \"/\" is the root of the filesystem");
	e = stat_path(rw, "///a//file", &attr);
	check(e == 0 && S_ISREG(attr.mode),
	      "S3 \"///a//file\" starts at the root of the filesystem");
}

static void s4_names(void)
{
	static char name_256[257], path_4096[4097];
	static const char *const odd[] = { "\xff\xfe",    "new\nline",  "esc\033[31m",
					   "back\\slash", " ",          "-rf",
					   ".gofer",      ".gofer-tmp", "~" };
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "a"), here;

	q.path = &p;
	p.path = (ProtobufCBinaryData){ 3, (uint8_t *)"a\0b" };
	expect("S4 a NUL inside a path", raw_errno(sock, RPC_TYPE_Stat, &q), EINVAL);
	p.path = (ProtobufCBinaryData){ 2, (uint8_t *)"a" };
	expect("S4 a NUL at the end of a path", raw_errno(sock, RPC_TYPE_Stat, &q), EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		struct opened o = { .fd = -1 };
		char what[64], host[PATH_MAX];
		int e = open_path(rw, odd[i],
				  GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_EXCLUSIVE |
					  GOFER__OPEN_FLAG__OPEN_WRITE,
				  0600, &o);

		snprintf(what, sizeof(what), "S4 a file with an odd name (number %zu)", i);
		snprintf(host, sizeof(host), "%s/%s", volume, odd[i]);
		expect(what, e ? e : access(host, F_OK) == 0 ? 0 : EIO, 0);
		(void)close_handle(sock, o.handle);
		(void)unlink(host);
	}
	memset(name_256, 'n', 256);
	expect("S7 a name of 256 bytes", stat_path(rw, name_256, NULL), ENAMETOOLONG);
	name_256[255] = '\0';
	expect("S7 a name of 255 bytes", stat_path(rw, name_256, NULL), ENOENT);
	memset(path_4096, '/', 4096);
	path_4096[4095] = 'a';
	expect("S7 a path of 4096 bytes", stat_path(rw, path_4096, NULL), ENAMETOOLONG);
	memmove(path_4096, path_4096 + 1, 4096);
	expect("S7 a path of 4095 bytes", stat_path(rw, path_4096, NULL), 0);
	for (size_t i = 0; i < 4094; i += 2)
		memcpy(path_4096 + i, "./", 2);
	path_4096[4094] = 'a';
	path_4096[4095] = '\0';
	expect("S7 2047 components", stat_path(rw, path_4096, NULL), 0);
	here = path_of(rw, ".");
	expect("S4 mkdir(\".\")", table_call(rpc_find(RPC_TYPE_Mkdir), &here, NULL), EEXIST);
	here = path_of(rw, "");
	expect("S4 mkdir(\"\")", table_call(rpc_find(RPC_TYPE_Mkdir), &here, NULL), EEXIST);
}

static void s6_the_root(void)
{
	static const char *const texts[] = { "", ".", "./", "/", "a/..", "a/../", "a/b/../.." };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct opened o = { .fd = -1 };
		char what[64];
		int e = open_path(rw, texts[i],
				  GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DIRECTORY, 0,
				  &o);

		snprintf(what, sizeof(what), "S6 open of the root as \"%s\"", texts[i]);
		expect(what, e ? e : o.attr.ino == root_st.st_ino ? 0 : EIO, 0);
		(void)close_handle(sock, o.handle);
	}
}

static void s12_read_only(void)
{
	static const uint32_t bits[] = {
		GOFER__OPEN_FLAG__OPEN_WRITE,
		GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE,
		GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_CREATE,
		GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_CREATE |
			GOFER__OPEN_FLAG__OPEN_EXCLUSIVE,
		GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_TRUNCATE,
		GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_APPEND,
		GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_TMPFILE
	};
	static const char *const objects[] = { "a/file", "new", "a", "", "missing/x" };
	unsigned rows = 0;
	struct opened o = { .fd = -1 };
	int e;

	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];

		if (!(rpc->flags & RPC_WRITES) || !(rpc->flags & RPC_PATH))
			continue;
		rows++;
		for (size_t k = 0; k < ARRAY_SIZE(objects); k++) {
			Gofer__Path first = path_of(ro, objects[k]), second = path_of(ro, "second");

			e = table_call(rpc, &first, &second);
			if (e != EROFS)
				check(false, "S12 %s(\"%s\") on a read-only filesystem: %s",
				      rpc->name, objects[k], word(e));
		}
	}
	check(rows >= 10, "S12 every RPC by path that writes (%u of them): EROFS", rows);
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
		char what[64];

		snprintf(what, sizeof(what), "S12 Open with flags %#x on a read-only filesystem",
			 bits[i]);
		e = open_path(ro, bits[i] & GOFER__OPEN_FLAG__OPEN_TMPFILE ? "a" : "a/file",
			      bits[i], 0, NULL);
		expect(what, e, EROFS);
	}
	/* By handle: what was opened for reading cannot be written through. */
	e = open_path(ro, "a/file", GOFER__OPEN_FLAG__OPEN_READ, 0, &o);
	if (e == 0) {
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		Gofer__WriteRequest w = GOFER__WRITE_REQUEST__INIT;
		Gofer__AllocateRequest a = GOFER__ALLOCATE_REQUEST__INIT;
		Gofer__CopyRequest c = GOFER__COPY_REQUEST__INIT;
		Gofer__SetAttrRequest s = GOFER__SET_ATTR_REQUEST__INIT;
		Gofer__Path base = path_of(ro, "");

		w.handle = a.handle = c.source = c.dest = base.base_handle = o.handle;
		a.length = c.length = 1;
		s.path = &base;
		s.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
		(void)raw_call_fd(sock, RPC_TYPE_Write, &w, "x", 1, -1, &r);
		expect_either("S12 Write to a handle of a read-only filesystem", r.error, EBADF,
			      EROFS);
		expect_either("S12 Allocate there", raw_errno(sock, RPC_TYPE_Allocate, &a), EBADF,
			      EROFS);
		expect_either("S12 Copy there", raw_errno(sock, RPC_TYPE_Copy, &c), EBADF, EROFS);
		expect("S12 SetAttr by a handle there", raw_errno(sock, RPC_TYPE_SetAttr, &s),
		       EROFS);
		(void)close_handle(sock, o.handle);
	} else {
		check(false, "S12 open for reading: %s", word(e));
	}
}

static void s15_handles(void)
{
	struct opened o = { .fd = -1 };
	int other = raw_session(NULL, NULL),
	    e = open_path(rw, "a/file", GOFER__OPEN_FLAG__OPEN_READ, 0, &o);
	unsigned hits = 0;

	expect("S15 one's own handle", e ? e : read_handle(sock, o.handle), 0);
	for (int d = -64; d <= 64; d++)
		hits += d && read_handle(sock, o.handle + (uint64_t)(int64_t)d) != EBADF;
	for (uint64_t h = 0; h < 64; h++)
		hits += h != o.handle && read_handle(sock, h) != EBADF;
	for (int bit = 0; bit < 64; bit++)
		hits += read_handle(sock, o.handle ^ UINT64_C(1) << bit) != EBADF;
	check(hits == 0, "S15 its neighbours, small numbers, single bits changed: EBADF (%u hits)",
	      hits);
	expect("S15 the handle of another connection", read_handle(other, o.handle), EBADF);
	{
		Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
		Gofer__Path p = path_of(rw, "");

		q.path = &p;
		p.base_handle = o.handle;
		expect("S15 ... as a base", raw_errno(other, RPC_TYPE_Stat, &q), EBADF);
		p.fs_id = nd;
		e = raw_errno(sock, RPC_TYPE_Stat, &q);
		check(e != 0, "S15 a base handle under another filesystem's number: %s", word(e));
	}
	expect("S15 Close by another connection", close_handle(other, o.handle), EBADF);
	expect("S15 Close", close_handle(sock, o.handle), 0);
	expect("S15 Read after Close", read_handle(sock, o.handle), EBADF);
	for (int i = 0; i < 100; i++) { /* the number is not given to somebody else at once */
		struct opened again = { .fd = -1 };

		(void)open_path(rw, "a/file", GOFER__OPEN_FLAG__OPEN_READ, 0, &again);
		hits += again.handle == o.handle;
		(void)close_handle(sock, again.handle);
	}
	check(hits == 0, "S15 a closed number does not come back in the next 100 opens");
	fd_close(other);
}

/* ---- symbolic links ---- */

/* Where Stat stops, what it says about the link. */
static void stop_at(const char *text, uint32_t begin, uint32_t end, const char *target)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	Gofer__Path p = path_of(rw, text);
	const Gofer__Stop *s;
	int e;

	q.path = &p;
	e = raw_call(sock, RPC_TYPE_Stat, &q, &r);
	s = e == 0 && r.kind == FRAME_STOP ? (const Gofer__Stop *)r.message : NULL;
	check(s && s->reason == GOFER__STOP__REASON__SYMLINK && s->begin == begin &&
		      s->end == end && s->target.len == strlen(target) &&
		      !memcmp(s->target.data, target, s->target.len) && s->attr &&
		      S_ISLNK(s->attr->mode),
	      "S30 \"%s\" stops at %u..%u -> \"%.40s\"", text, begin, end, target);
}

static void s30_links_stop(void)
{
	static char long_path[4096];
	char host[PATH_MAX], abs[PATH_MAX];
	static const char *const links[] = { "link_rel", "link_abs", "link_dangling", "link_loop",
					     "link_up" };

	snprintf(abs, sizeof(abs), "%s", outside);
	stop_at("link_rel", 0, 8, "a");
	stop_at("link_rel/file", 0, 8, "a");
	stop_at("a/b/c/link_up/x", 6, 13, "../../../..");
	stop_at("link_abs/canary", 0, 8, abs);
	stop_at("link_dangling", 0, 13, "nowhere");
	stop_at("link_loop/x", 0, 9, "link_loop");
	stop_at("a/../link_abs", 5, 13, abs);
	for (size_t k = 0; k < ARRAY_SIZE(links); k++) /* S30 x RPC */
		for (size_t i = 0; i < RPC_COUNT; i++) {
			const struct rpc_info *rpc = &rpc_table[i];
			char text[64];
			Gofer__Path evil, good = path_of(rw, "a/file");
			int e;

			if (rpc->type == RPC_TYPE_Connect)
				continue; /* refused by policy before anything is looked up: S40 */
			snprintf(text, sizeof(text), "%s/canary", links[k]);
			evil = path_of(rw, text);
			if (rpc->flags & RPC_PATH &&
			    (e = table_call(rpc, &evil, &good)) != RAW_STOPPED)
				check(false, "S30 %s(\"%s\"): %s instead of stop", rpc->name, text,
				      word(e));
			if (rpc->flags & RPC_PATH2 &&
			    (e = table_call(rpc, &good, &evil)) != RAW_STOPPED)
				check(false, "S30 %s(.., \"%s\"): %s instead of stop", rpc->name,
				      text, word(e));
		}
	check(true, "S30 every RPC stops at every kind of link on the way");
	/* S31: targets of every length; a byte string, not text. */
	for (size_t n = 1; n <= 4095; n = n == 1      ? 127
					  : n == 127  ? 1024
					  : n == 1024 ? 4095
						      : 4096) {
		memset(long_path, '\xfe', n);
		long_path[n] = '\0';
		snprintf(host, sizeof(host), "%s/long", volume);
		(void)unlink(host);
		if (symlink(long_path, host) < 0) {
			printf("  (no links of %zu bytes here: %s)\n", n, strerror(errno));
			continue;
		}
		stop_at("long", 0, 4, long_path);
		(void)unlink(host);
	}
}

static void s32_no_creation_through_links(void)
{
	static const uint32_t bits[] = {
		GOFER__OPEN_FLAG__OPEN_CREATE,
		GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_EXCLUSIVE,
		GOFER__OPEN_FLAG__OPEN_TRUNCATE,
		GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_TRUNCATE
	};
	static const char *const links[] = { "link_canary", "link_dangling_out" };
	char host[PATH_MAX];
	struct stat st;

	for (size_t k = 0; k < ARRAY_SIZE(links); k++) {
		for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
			char what[64];
			bool excl = bits[i] & GOFER__OPEN_FLAG__OPEN_EXCLUSIVE;
			int e = open_path(rw, links[k], GOFER__OPEN_FLAG__OPEN_WRITE | bits[i], 0,
					  NULL);

			snprintf(what, sizeof(what), "S32 Open(\"%s\", flags %#x)", links[k],
				 bits[i]);
			expect(what, e, excl ? EEXIST : RAW_STOPPED);
		}
		for (size_t i = 0; i < RPC_COUNT; i++) {
			const struct rpc_info *rpc = &rpc_table[i];
			Gofer__Path p = path_of(rw, links[k]);
			int e;

			if (rpc->type != RPC_TYPE_Mkdir && rpc->type != RPC_TYPE_Mknod &&
			    rpc->type != RPC_TYPE_Symlink)
				continue;
			e = table_call(rpc, &p, NULL);
			if (e != EEXIST)
				check(false, "S32 %s onto \"%s\": %s", rpc->name, links[k],
				      word(e));
		}
	}
	snprintf(host, sizeof(host), "%s/created", outside);
	check(access(host, F_OK) < 0, "S32 nothing was created outside");
	snprintf(host, sizeof(host), "%s/canary", outside);
	check(stat(host, &st) == 0 && st.st_size == canary_st.st_size,
	      "S32 nothing was truncated outside");
	/* Rename onto a link replaces the link. */
	{
		Gofer__Path from = path_of(rw, "victim"), to = path_of(rw, "link_replace");
		char text[PATH_MAX];
		int fd;

		snprintf(text, sizeof(text), "%s/victim", volume);
		fd = open(text, O_CREAT | O_WRONLY, 0600);
		fd_close(fd);
		expect("S32 rename onto a link to the canary",
		       table_call(rpc_find(RPC_TYPE_Rename), &from, &to), 0);
		snprintf(text, sizeof(text), "%s/link_replace", volume);
		check(lstat(text, &st) == 0 && S_ISREG(st.st_mode),
		      "S32 ... replaced the link itself");
	}
}

static void follow_budget(void)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "link_rel/file");
	int e;

	q.path = &p;
	p.follow = 8;
	e = raw_call(sock, RPC_TYPE_Stat, &q, &r);
	check(e == 0 && r.kind == FRAME_OK && ((Gofer__StatReply *)r.message)->n_followed == 1,
	      "S35 a relative link is followed on speculation within the budget, and told");
	p.path = BYTES("link_loop");
	e = raw_errno(sock, RPC_TYPE_Stat, &q);
	check(e == RAW_STOPPED || e == ELOOP, "S35 a loop ends at the budget: %s", word(e));
	p.path = BYTES("link_abs/canary");
	expect("S35 an absolute link is never followed", raw_errno(sock, RPC_TYPE_Stat, &q),
	       RAW_STOPPED);
	p.path = BYTES("a/b/c/link_up/outside/canary");
	expect("S35 a link that leads above the root is not followed out",
	       raw_errno(sock, RPC_TYPE_Stat, &q), RAW_STOPPED);
	p.path = BYTES("link_rel/file");
	p.follow = 41;
	expect("S35 a budget above 40", raw_errno(sock, RPC_TYPE_Stat, &q), EINVAL);
	p.follow = UINT32_MAX;
	expect("S35 a budget of 2^32-1", raw_errno(sock, RPC_TYPE_Stat, &q), EINVAL);
}

/* ---- special files ---- */

static void s38_special_files(void)
{
	static const struct {
		uint32_t bits;
		const char *name;
	} ways[] = { { GOFER__OPEN_FLAG__OPEN_READ, "reading" },
		     { GOFER__OPEN_FLAG__OPEN_WRITE, "writing" },
		     { GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE, "both" },
		     { GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_TRUNCATE,
		       "truncating" },
		     { GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE, "creating" } };
	Gofer__Path p = path_of(rw, "fifo");
	Gofer__MknodRequest m = GOFER__MKNOD_REQUEST__INIT;
	char what[80];
	Gofer__Attr attr;

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		uint64_t start = clock_ns();
		int e = open_path(rw, "fifo", ways[i].bits, 0, NULL);

		snprintf(what, sizeof(what), "S38 a FIFO without a peer, %s", ways[i].name);
		expect(what, clock_ns() - start < 100000000 ? e : ETIME, EPERM);
		snprintf(what, sizeof(what), "S40 a socket's inode, %s", ways[i].name);
		expect(what, open_path(rw, "socket", ways[i].bits, 0, NULL), ENXIO);
		if (stat_path(rw, "device", NULL) == 0) {
			snprintf(what, sizeof(what), "S39 a device, %s", ways[i].name);
			expect_either(what, open_path(rw, "device", ways[i].bits, 0, NULL), EPERM,
				      EACCES);
		}
	}
	expect("S38 ReadFile of a FIFO", table_call(rpc_find(RPC_TYPE_ReadFile), &p, NULL), EPERM);
	expect("S38 WriteFile to a FIFO", table_call(rpc_find(RPC_TYPE_WriteFile), &p, NULL),
	       EPERM);
	expect("S38 Stat of a FIFO", stat_path(rw, "fifo", &attr), 0);
	check(S_ISFIFO(attr.mode), "S38 ... says that it is one");
	p = path_of(rw, "socket");
	expect("S40 Connect without the policy for it",
	       table_call(rpc_find(RPC_TYPE_Connect), &p, NULL), EPERM);
	if (stat_path(rw, "device", &attr) == 0)
		check(S_ISCHR(attr.mode) && attr.rdev == makedev(1, 3),
		      "S39 Stat of a device says which");
	else
		printf("  (S39: no device could be made here)\n");
	m.path = &p;
	p = path_of(rw, "dev_new");
	for (int i = 0; i < 3; i++) {
		m.mode = (i == 1 ? S_IFBLK : S_IFCHR) | 0600;
		m.rdev = i < 2 ? makedev(1, 3) : 0;
		snprintf(what, sizeof(what), "S39 mknod of a %s",
			 i == 0   ? "character device"
			 : i == 1 ? "block device"
				  : "whiteout");
		expect(what, raw_errno(sock, RPC_TYPE_Mknod, &m), EPERM);
	}
}

static void s41_modes(void)
{
	static const uint32_t smuggled[] = { S_IFDIR, S_IFREG,         S_IFCHR,
					     010000,  0100000 | 04755, 1u << 31 };
	static const uint32_t types[] = { S_IFDIR, S_IFLNK, S_IFMT, 0030000 };
	Gofer__MkdirRequest d = GOFER__MKDIR_REQUEST__INIT;
	Gofer__MknodRequest m = GOFER__MKNOD_REQUEST__INIT;
	Gofer__SetAttrRequest s = GOFER__SET_ATTR_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "moded");
	char what[80];

	d.path = m.path = s.path = &p;
	for (size_t i = 0; i < ARRAY_SIZE(smuggled); i++) {
		snprintf(what, sizeof(what), "S41 Open(CREATE) with mode %#o", smuggled[i]);
		expect(what,
		       open_path(rw, "moded",
				 GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_WRITE,
				 smuggled[i], NULL),
		       EINVAL);
		d.mode = smuggled[i];
		snprintf(what, sizeof(what), "S41 Mkdir with mode %#o", smuggled[i]);
		expect(what, raw_errno(sock, RPC_TYPE_Mkdir, &d), EINVAL);
		s.mask = GOFER__SET_ATTR_MASK__SET_MODE;
		s.mode = smuggled[i];
		snprintf(what, sizeof(what), "S41 SetAttr with mode %#o", smuggled[i]);
		expect(what, raw_errno(sock, RPC_TYPE_SetAttr, &s), EINVAL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		m.mode = types[i] | 0600;
		snprintf(what, sizeof(what), "S41 Mknod of type %#o", types[i]);
		expect(what, raw_errno(sock, RPC_TYPE_Mknod, &m), EINVAL);
	}
	expect("S41 none of them created it", stat_path(rw, "moded", NULL), ENOENT);
}

static void s42_flags(void)
{
	enum { R = GOFER__OPEN_FLAG__OPEN_READ, W = GOFER__OPEN_FLAG__OPEN_WRITE };
	static const uint32_t wrong[] = {
		0,
		1u << 14,
		1u << 20,
		1u << 31,
		R | 1u << 15,
		UINT32_MAX,
		GOFER__OPEN_FLAG__OPEN_PATH | R,
		GOFER__OPEN_FLAG__OPEN_PATH | GOFER__OPEN_FLAG__OPEN_TRUNCATE,
		GOFER__OPEN_FLAG__OPEN_PATH | GOFER__OPEN_FLAG__OPEN_DONATE,
		R | GOFER__OPEN_FLAG__OPEN_EXCLUSIVE,
		R | GOFER__OPEN_FLAG__OPEN_TMPFILE,
		W | GOFER__OPEN_FLAG__OPEN_TMPFILE | GOFER__OPEN_FLAG__OPEN_CREATE,
		W | GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_DIRECTORY,
		R | GOFER__OPEN_FLAG__OPEN_ONLY_DONATED
	};
	char what[80];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(what, sizeof(what), "S42 Open with flags %#x", wrong[i]);
		expect(what, open_path(rw, "a/file", wrong[i], 0, NULL), EINVAL);
	}
	expect("S42 a mode where nothing is created", open_path(rw, "a/file", R, 0644, NULL),
	       EINVAL);
	/* The host's own flags as numbers mean nothing here: O_PATH is bit 21, O_TMPFILE bits 22
	 * and 16, O_DIRECT 14, O_ASYNC 13. */
	expect("S42 O_PATH of the host", open_path(rw, "a/file", R | O_PATH, 0, NULL), EINVAL);
	expect("S42 O_DIRECT of the host", open_path(rw, "a/file", R | O_DIRECT, 0, NULL), EINVAL);
}

/* ---- donated descriptors ---- */

static void s47_donation(void)
{
	enum {
		R = GOFER__OPEN_FLAG__OPEN_READ,
		W = GOFER__OPEN_FLAG__OPEN_WRITE,
		D = GOFER__OPEN_FLAG__OPEN_DONATE
	};
	static const struct {
		const char *what, *path;
		uint32_t *fs, flags;
		bool donated;
		int access;
	} cases[] = {
		{ "a file, for reading", "a/file", &rw, R | D, true, O_RDONLY },
		{ "a file, for writing", "a/file", &rw, W | D, true, O_WRONLY },
		{ "a file, for both", "a/file", &rw, R | W | D, true, O_RDWR },
		{ "a file of a read-only filesystem", "a/file", &ro, R | D, true, O_RDONLY },
		{ "a file, where nobody asked for it", "a/file", &rw, R, false, 0 },
		{ "a directory", "a", &rw, R | D, false, 0 },
		{ "donate=never", "a/file", &nd, R | D, false, 0 },
		{ "donate=ro, for reading", "a/file", &dr, R | D, true, O_RDONLY },
		{ "donate=ro, for writing", "a/file", &dr, R | W | D, false, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct opened o = { .fd = -1 };
		struct stat st;
		int e = open_path(*cases[i].fs, cases[i].path, cases[i].flags, 0, &o), flags;
		bool right = e == 0 && o.donated == cases[i].donated && o.n_fds == cases[i].donated;

		if (right && o.donated) {
			flags = fcntl(o.fd, F_GETFL);
			right = fstat(o.fd, &st) == 0 && S_ISREG(st.st_mode) && !(flags & O_PATH) &&
				(flags & O_ACCMODE) == cases[i].access && !(flags & O_NONBLOCK) &&
				st.st_ino == o.attr.ino;
		}
		check(right, "S47 S48 %-36s %s", cases[i].what,
		      e           ? word(e)
		      : o.donated ? "donated, a regular file, that access only"
				  : "handle only");
		fd_close(o.fd);
		if (o.handle)
			(void)close_handle(sock, o.handle);
	}
}

static void s49_s50_s51_donated(void)
{
	enum {
		R = GOFER__OPEN_FLAG__OPEN_READ,
		W = GOFER__OPEN_FLAG__OPEN_WRITE,
		D = GOFER__OPEN_FLAG__OPEN_DONATE
	};
	struct opened o = { .fd = -1 }, mine = { .fd = -1 };
	char proc[64], host[PATH_MAX];
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__ReadRequest q = GOFER__READ_REQUEST__INIT;
	Gofer__WriteRequest w = GOFER__WRITE_REQUEST__INIT;
	int e = open_path(ro, "a/file", R | D, 0, &o), fd;

	if (e == 0 && o.fd >= 0) {
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", o.fd);
		fd = open(proc, O_WRONLY);
		/* The mount that it comes from is read-only: permission does not even come into it.
		 */
		check(fd < 0 && errno == EROFS,
		      "S49 reopening a read-only donation for writing: %s",
		      fd < 0 ? strerrorname_np(errno) : "worked");
		fd_close(fd);
		fd = open(proc, O_RDONLY);
		check(fd >= 0, "S49 reopening it for reading");
		fd_close(fd);
	} else {
		check(false, "S49 nothing was donated: %s", word(e));
	}
	fd_close(o.fd);
	(void)close_handle(sock, o.handle);

	o = (struct opened){ .fd = -1 };
	snprintf(host, sizeof(host), "%s/donated", volume);
	fd = open(host, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	if (fd < 0 || write(fd, "0123456789", 10) != 10)
		die("%s", host);
	fd_close(fd);
	e = open_path(rw, "donated", R | W | D, 0, &o);
	if (e || o.fd < 0) {
		check(false, "S50 nothing was donated: %s", word(e));
		return;
	}
	(void)open_path(rw, "donated", R | W, 0, &mine);
	/* Whatever the client does to its descriptor, the server's is another open file
	 * description. */
	(void)fcntl(o.fd, F_SETFL, O_APPEND | O_NONBLOCK);
	(void)lseek(o.fd, 7, SEEK_SET);
	(void)flock(o.fd, LOCK_EX);
	q.handle = w.handle = o.handle;
	q.count = 4;
	e = raw_call(sock, RPC_TYPE_Read, &q, &r);
	check(e == 0 && r.data_len == 4 && !memcmp(r.data, "0123", 4),
	      "S50 lseek on the donation does not move the handle");
	w.offset = 2;
	e = raw_call_fd(sock, RPC_TYPE_Write, &w, "x", 1, -1, &r);
	check(e == 0 && r.kind == FRAME_OK && ((Gofer__WriteReply *)r.message)->offset == 2,
	      "S50 O_APPEND on the donation does not make the handle append");
	(void)flock(o.fd, LOCK_UN);
	e = fcntl(o.fd, F_SETLEASE, F_WRLCK);
	if (e == 0)
		(void)fcntl(o.fd, F_SETLEASE, F_UNLCK);
	check(e < 0, "S50 no lease while the server holds its own description");
	(void)unlink(host);
	e = raw_call(sock, RPC_TYPE_Read, &q, &r);
	check(e == 0 && r.data_len == 4 && !memcmp(r.data, "01x3", 4),
	      "S51 after unlink the handle still reads");
	check(pread(o.fd, host, 4, 0) == 4 && !memcmp(host, "01x3", 4),
	      "S51 and so does the donation");
	fd_close(o.fd);
	(void)close_handle(sock, o.handle);
	(void)close_handle(sock, mine.handle);
}

/* ---- numbers ---- */

static void s64_numbers(void)
{
	static const uint64_t n[] = { 0,          1,         INT32_MAX,         UINT64_C(1) << 31,
				      UINT32_MAX, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX };
	struct opened o = { .fd = -1 };
	unsigned calls = 0, silent = 0, wrong = 0;
	struct stat st;
	char host[PATH_MAX];

	if (open_path(rw, "numbers",
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
			_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
			Gofer__Path p = path_of(rw, "numbers"), d = path_of(rw, "a");
			bool over = n[i] > INT64_MAX || n[k] > INT64_MAX || n[i] + n[k] > INT64_MAX;
			int e[7];

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
			for (int c = 0; c < 7; c++, calls++)
				silent += e[c] < 0;
			wrong += over && (e[2] == 0 || e[3] == 0);
			wrong += n[i] > INT64_MAX && (e[0] == 0 || e[4] == 0);
		}
	check(silent == 0, "S64 %u calls with every pair of extreme numbers: all answered", calls);
	check(wrong == 0, "S64 sums beyond 2^63-1 are refused");
	(void)close_handle(sock, o.handle);
	snprintf(host, sizeof(host), "%s/numbers", volume);
	check(stat(host, &st) == 0 && st.st_size == 0, "S64 the file was not grown: %ld bytes",
	      (long)st.st_size);
	(void)unlink(host);
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
		      "S73 ReadDir in pieces of %u bytes: %s, %u of 200 names", sizes[i], word(e),
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
	check(answered == tried, "S73 %u random cookies: all answered", tried);
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
	expect("S74 a name of 299 bytes", set_xattr(name, "v", 1), ERANGE);
	expect("S74 an empty name", set_xattr("", "v", 1), ERANGE);
	expect("S74 a value of 64 KiB and one byte", set_xattr("user.big", value, 65537), E2BIG);
	e = set_xattr("user.a", "12345", 5);
	if (e == EOPNOTSUPP) {
		printf("  (S74: no user xattrs here)\n");
		return;
	}
	expect("S74 an ordinary one", e, 0);
	g.path = &p;
	g.name = BYTES("user.a");
	g.size = 4;
	expect("S74 a buffer too small by one", raw_errno(sock, RPC_TYPE_GetXattr, &g), ERANGE);
	g.size = 0;
	expect("S74 only its size", raw_errno(sock, RPC_TYPE_GetXattr, &g), 0);
	g.size = 65536;
	expect("S74 the largest buffer", raw_errno(sock, RPC_TYPE_GetXattr, &g), 0);
	g.size = 65537;
	expect("S74 a larger one", raw_errno(sock, RPC_TYPE_GetXattr, &g), E2BIG);
	for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
		e = set_xattr(forbidden[i], "v", 1);
		snprintf(what, sizeof(what), "S74 %s cannot be set", forbidden[i]);
		check(e == EPERM || e == EOPNOTSUPP || e == EACCES, "%-62s %s", what, word(e));
	}
}

int main(int argc, char **argv)
{
	char path[PATH_MAX];

	if (argc < 3)
		die("usage: security VOLUME_DIR OUTSIDE_DIR");
	volume = argv[1];
	outside = argv[2];
	snprintf(path, sizeof(path), "%s/canary", outside);
	if (stat(volume, &root_st) < 0 || stat(outside, &outside_st) < 0 ||
	    stat(path, &canary_st) < 0)
		die("the directories are not there");
	fd_close(raw_session("ro", &ro));
	fd_close(raw_session("nd", &nd));
	fd_close(raw_session("dr", &dr));
	sock = raw_session("rw", &rw);
	s6_the_root();
	s2_dotdot_is_not_lexical();
	s4_names();
	s12_read_only();
	s15_handles();
	s30_links_stop();
	s32_no_creation_through_links();
	follow_budget();
	s38_special_files();
	s41_modes();
	s42_flags();
	s47_donation();
	s49_s50_s51_donated();
	s64_numbers();
	s73_readdir();
	s74_xattrs();
	/* Last: with a good path beside the evil one these change the volume where they may. */
	s1_above_the_root();
	s3_absolute_names();
	fd_close(sock);
	return proof_end();
}
