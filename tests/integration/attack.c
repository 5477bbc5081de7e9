/*
 * attack.c - attacks that a reviewer tried, by a client that speaks the protocol itself: each is a
 * mode of its own, because each needs a server of its own.
 *
 *     attack identity FS          delegating, uids and gids 1000-2000 only; the client is root
 *     attack mixed FS SQUASHED     one volume that delegates, one that squashes to 1500:1500
 *     attack handles FS OTHER TOP two read-write volumes; TOP/vol is the first, TOP/elsewhere
 * beside it
 *
 * The cases have the numbers of the list, where the list has them.
 */
#include <sys/sysmacros.h>

#include "tests/integration/raw.h"

static int sock;
static uint32_t fs;

static Gofer__Path path_at(uint32_t fs_id, uint64_t base, const char *text)
{
	Gofer__Path p = GOFER__PATH__INIT;

	p.fs_id = fs_id;
	p.base_handle = base;
	p.path = BYTES(text);
	return p;
}

/* "0 or errno or stop" in words. */
static const char *word(int e)
{
	static char text[32];

	if (e == 0)
		return "ok";
	if (e == RAW_STOPPED)
		return "stop";
	if (e > 0)
		return strerrorname_np(e);
	snprintf(text, sizeof(text), "no reply: %s", strerrorname_np(-e));
	return text;
}

static void expect(const char *what, int got, int wanted)
{
	if (got == wanted)
		check(true, "%-62s %s", what, word(got));
	else
		check(false, "%-62s got %d (%s), wanted %d", what, got, word(got), wanted);
}

static int open_at(Gofer__Path p, uint32_t flags, uint32_t mode, uint64_t *ret_handle)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	int e;

	q.path = &p;
	q.flags = flags;
	q.mode = mode;
	e = raw_call(sock, RPC_TYPE_Open, &q, &r);
	if (e < 0)
		return e;
	if (r.kind == FRAME_OK && ret_handle)
		*ret_handle = ((Gofer__OpenReply *)r.message)->handle;
	return r.kind == FRAME_STOP ? RAW_STOPPED : r.error;
}

/* ---- an identity that the volume does not allow (S92, S93) ---- */

static int make_file(uint32_t identity, const char *name)
{
	Gofer__WriteFileRequest q = GOFER__WRITE_FILE_REQUEST__INIT;
	Gofer__Path p = path_at(fs, 0, name);

	p.identity = identity;
	q.path = &p;
	q.mode = 0644;
	return raw_errno(sock, RPC_TYPE_WriteFile, &q);
}

/* A listing that stays open, as the identity. */
static uint64_t keep_listing(uint32_t identity)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__ReadDirRequest q = GOFER__READ_DIR_REQUEST__INIT;
	Gofer__Path p = path_at(fs, 0, "many");

	p.identity = identity;
	q.path = &p;
	q.keep = true;
	q.max_bytes = 1;
	if (raw_call(sock, RPC_TYPE_ReadDir, &q, &r) < 0 || r.kind != FRAME_OK)
		die("ReadDir");
	return ((Gofer__ReadDirReply *)r.message)->handle;
}

static void identity(void)
{
	Gofer__SetIdentityRequest set = GOFER__SET_IDENTITY_REQUEST__INIT;
	Gofer__CopyRequest copy = GOFER__COPY_REQUEST__INIT;

	set.id = 1;
	set.uid = set.gid = 1500;
	expect("S93 an identity in the range", raw_errno(sock, RPC_TYPE_SetIdentity, &set), 0);
	expect("S93 the peer itself is outside of the range", make_file(0, "root"), EPERM);
	expect("S93 the identity makes a file", make_file(1, "mine"), 0);
	copy.source = keep_listing(1);
	check(copy.source != 0, "%-62s", "S93 a listing is kept");
	copy.dest = 77;
	expect("S93 a Copy from the listing to nowhere", raw_errno(sock, RPC_TYPE_Copy, &copy),
	       EBADF);
	expect("S93 does not make the thread the peer", make_file(0, "root"), EPERM);
}

/* ---- odd handles, as bases and by themselves, through every row of the table ---- */

/* The RPC in its most ordinary form on the paths: 0, errno, RAW_STOPPED, or -errno without a reply.
 */
static int call_row(const struct rpc_info *rpc, Gofer__Path *first, Gofer__Path *second)
{
	_Alignas(16) uint8_t buf[512];
	ProtobufCMessage *m = (ProtobufCMessage *)(void *)buf;
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	int pair[2] = { -1, -1 }, e;

	protobuf_c_message_init(rpc->request, m);
	for (unsigned i = 0, n = 0; i < rpc->request->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &rpc->request->fields[i];

		if (f->type == PROTOBUF_C_TYPE_MESSAGE && f->descriptor == &gofer__path__descriptor)
			*(Gofer__Path **)(void *)(buf + f->offset) = n++ ? second : first;
	}
	switch (rpc->type) {
	case RPC_TYPE_Open:
		((Gofer__OpenRequest *)m)->flags = GOFER__OPEN_FLAG__OPEN_WRITE;
		break;
	case RPC_TYPE_Symlink:
		((Gofer__SymlinkRequest *)m)->target = BYTES("target");
		break;
	case RPC_TYPE_SetAttr:
		((Gofer__SetAttrRequest *)m)->mask = GOFER__SET_ATTR_MASK__SET_MODE;
		((Gofer__SetAttrRequest *)m)->mode = 0777;
		break;
	case RPC_TYPE_GetXattr:
	case RPC_TYPE_SetXattr:
	case RPC_TYPE_RemoveXattr:
		*(ProtobufCBinaryData *)(void *)(buf + rpc->request->fields[1].offset) =
			BYTES("user.a");
		break;
	default:
		break;
	}
	if (rpc->flags & RPC_TAKES_FD && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	e = raw_call_fd(sock, rpc->type, m, NULL, 0, pair[0], &r);
	fd_close(pair[0]);
	fd_close(pair[1]);
	if (e < 0)
		return e;
	return r.kind == FRAME_STOP ? RAW_STOPPED : r.error;
}

/* What no request may do through the handle `base`: succeed on `path`, unless `reads` and it only
 * looks. */
static void refuse_all(const char *what, uint64_t base, const char *path, bool reads)
{
	unsigned n = 0;

	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];
		Gofer__Path first = path_at(fs, base, path), second = path_at(fs, base, path);
		int e;

		if (!(rpc->flags & RPC_PATH))
			continue;
		e = call_row(rpc, &first, &second);
		n++;
		if (e < 0 || (e == 0 && !(reads && !(rpc->flags & RPC_WRITES))))
			check(false, "%s: %s on \"%s\": %s", what, rpc->name, path, word(e));
	}
	check(n > 15, "%-40s \"%s\": %u requests", what, path, n);
}

enum {
	READ = GOFER__OPEN_FLAG__OPEN_READ,
	WRITE = GOFER__OPEN_FLAG__OPEN_WRITE,
	PATH = GOFER__OPEN_FLAG__OPEN_PATH,
	TRUNCATE = GOFER__OPEN_FLAG__OPEN_TRUNCATE
};

static uint64_t handle_of(uint32_t fs_id, const char *name, uint32_t flags)
{
	Gofer__Path p = path_at(fs_id, 0, name);
	uint64_t h = 0;
	int e;

	p.nofollow = true;
	e = open_at(p, flags, 0, &h);
	if (e)
		die("%s: %s", name, word(e));
	return h;
}

static int link_to(Gofer__Path source, const char *name)
{
	Gofer__LinkRequest q = GOFER__LINK_REQUEST__INIT;
	Gofer__Path dest = path_at(fs, 0, name);

	q.source = &source;
	q.dest = &dest;
	return raw_errno(sock, RPC_TYPE_Link, &q);
}

static int set_size(uint64_t handle)
{
	Gofer__SetAttrRequest q = GOFER__SET_ATTR_REQUEST__INIT;
	Gofer__Path p = path_at(fs, handle, "");

	q.path = &p;
	q.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
	return raw_errno(sock, RPC_TYPE_SetAttr, &q);
}

static void in_dir(const char *dir, const char *from, const char *to)
{
	char a[4096], b[4096];

	snprintf(a, sizeof(a), "%s/%s", dir, from);
	snprintf(b, sizeof(b), "%s/%s", dir, to);
	if (rename(a, b) < 0)
		die("rename %s: %s", a, strerror(errno));
}

/* `top` holds "vol", which is served, and "elsewhere". */
static void handles(const char *other_name, const char *top)
{
	static const char *const paths[] = { "x", "..", "../x", "./x", "../..", "." };
	static const char *const special[] = { "fifo", "socket", "device", "link" };
	Gofer__UnlinkRequest gone = GOFER__UNLINK_REQUEST__INIT;
	Gofer__Path p = path_at(fs, 0, "doomed");
	uint32_t other;
	int second = raw_session(other_name, &other);
	uint64_t h;

	fd_close(second);
	/* Somebody else's file, open for reading, is not to be had for more. */
	h = handle_of(fs, "foreign", READ);
	expect("S49 reopened for writing by its handle",
	       open_at(path_at(fs, h, ""), WRITE, 0, NULL), EACCES);
	expect("S49 reopened for cutting", open_at(path_at(fs, h, ""), READ | TRUNCATE, 0, NULL),
	       EACCES);
	expect("S49 cut by its handle", set_size(h), EINVAL);
	refuse_all("S49 a handle for reading", h, "", true);
	h = handle_of(fs, "mine", READ);
	expect("S49 one's own, cut by a handle for reading", set_size(h), EINVAL);
	expect("S34 one's own, linked by its handle", link_to(path_at(fs, h, ""), "linked"), 0);
	h = handle_of(fs, "mine", PATH);
	expect("S49 cut by a place", set_size(h), EBADF);

	h = handle_of(fs, "doomed", READ);
	gone.path = &p;
	expect("the file is deleted", raw_errno(sock, RPC_TYPE_Unlink, &gone), 0);
	expect("S34 a deleted file is not linked again", link_to(path_at(fs, h, ""), "again"),
	       ENOENT);

	for (size_t i = 0; i < ARRAY_SIZE(special); i++) {
		h = handle_of(fs, special[i], PATH);
		expect(special[i], open_at(path_at(fs, h, ""), READ, 0, NULL),
		       special[i][0] == 's'   ? ENXIO
		       : special[i][0] == 'l' ? ELOOP
					      : EPERM);
		for (size_t k = 0; k < ARRAY_SIZE(paths); k++)
			refuse_all(special[i], h, paths[k], false);
	}

	h = handle_of(other, "x", READ);
	refuse_all("S15 another volume's handle", h, "", false);
	h = handle_of(other, "", PATH);
	refuse_all("S15 another volume's root", h, "x", false);

	h = handle_of(fs, "dir/inner", PATH);
	in_dir(top, "vol/dir/inner", "elsewhere/inner");
	for (size_t k = 0; k < ARRAY_SIZE(paths); k++)
		refuse_all("S19 a directory that was moved out", h, paths[k], false);
	in_dir(top, "elsewhere/inner", "vol/dir/inner");
}

/* ---- one session, several users, several threads (S93) ---- */

enum { MIXED = 20000, WINDOW = 64 };

static const struct mixed_kind {
	const char *what;
	bool squashed, read;
	uint32_t identity, uid, gid; /* who the new file must belong to */
	int error;
} mixed_kinds[] = {
	{ "squashed", .squashed = true, .uid = 1500, .gid = 1500 },
	{ "the peer", .uid = 0, .gid = 0 },
	{ "one user", .identity = 1, .uid = 1600, .gid = 1600 },
	{ "the same user, other groups", .identity = 2, .uid = 1600, .gid = 1601 },
	{ "without the group", .identity = 1, .read = true, .error = EACCES },
	{ "with the group", .identity = 2, .read = true },
	{ "an identity on a squashing volume", .identity = 1, .squashed = true, .error = EPERM },
	{ "an identity that there is not", .identity = 9, .error = EINVAL },
};

static void send_mixed(const struct mixed_kind *k, uint32_t squashed, uint32_t tag)
{
	static uint8_t buf[FRAME_MAX_PACKET];
	Gofer__WriteFileRequest w = GOFER__WRITE_FILE_REQUEST__INIT;
	Gofer__ReadFileRequest r = GOFER__READ_FILE_REQUEST__INIT;
	char name[32];
	Gofer__Path p;
	size_t n;

	snprintf(name, sizeof(name), "f%u", tag);
	p = path_at(k->squashed ? squashed : fs, 0, k->read ? "secret" : name);
	p.identity = k->identity;
	w.path = r.path = &p;
	w.mode = 0600;
	w.sync = tag % 3 == 0;
	r.count = 100;
	n = k->read ? raw_request(buf, RPC_TYPE_ReadFile, tag, &r, NULL, 0)
		    : raw_request(buf, RPC_TYPE_WriteFile, tag, &w, "x", 1);
	if (raw_send(sock, buf, n, NULL, 0, 0) < 0)
		die("send");
}

static void mixed(const char *squashed_name)
{
	static uint8_t kinds[MIXED + 1];
	static const uint32_t groups[] = { 1700 };
	Gofer__SetIdentityRequest set = GOFER__SET_IDENTITY_REQUEST__INIT;
	uint32_t squashed, sent = 0, answered = 0;
	unsigned wrong = 0;
	uint64_t seed = 1;
	int second = raw_session(squashed_name, &squashed);

	fd_close(second);
	set.id = 1;
	set.uid = set.gid = 1600;
	expect("S93 one user", raw_errno(sock, RPC_TYPE_SetIdentity, &set), 0);
	set.id = 2;
	set.gid = 1601;
	set.groups = (uint32_t *)groups;
	set.n_groups = 1;
	expect("S93 the same with other groups", raw_errno(sock, RPC_TYPE_SetIdentity, &set), 0);
	while (answered < MIXED) {
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		const struct mixed_kind *k;
		const Gofer__Attr *attr;

		while (sent < MIXED && sent - answered < WINDOW) {
			kinds[++sent] = (uint8_t)random_below(&seed, ARRAY_SIZE(mixed_kinds));
			send_mixed(&mixed_kinds[kinds[sent]], squashed, sent);
		}
		if (raw_reply(sock, 10000, &r) < 0 || r.header.tag == 0 || r.header.tag > sent)
			die("no reply");
		answered++;
		k = &mixed_kinds[kinds[r.header.tag]];
		attr = r.kind == FRAME_OK && !k->read ? ((Gofer__ObjectReply *)r.message)->attr
						      : NULL;
		if (r.error != k->error || (attr && (attr->uid != k->uid || attr->gid != k->gid))) {
			wrong++;
			check(wrong > 5, "S93 %s: %s, owner %u:%u", k->what, word(r.error),
			      attr ? attr->uid : 0, attr ? attr->gid : 0);
		}
	}
	check(!wrong, "S93 %d requests of several users, mixed: %u as somebody else", MIXED, wrong);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage: attack MODE FS ...");
	sock = raw_session(argv[2], &fs);
	if (!strcmp(argv[1], "identity"))
		identity();
	else if (!strcmp(argv[1], "handles") && argc == 5)
		handles(argv[3], argv[4]);
	else if (!strcmp(argv[1], "mixed") && argc == 4)
		mixed(argv[3]);
	else
		die("no such mode: %s", argv[1]);
	return proof_end();
}
