/*
 * attack_identity.c - as whom a request runs: who the connection is, who it may be, and that nobody
 * else's rights are ever lent to it (S49, S58, S93, S95, S103, S104, S134). What a user may do with
 * files is in attack_owner.c.
 *
 *     attack_identity DIRECTORY      prepared and served by attack.sh; for root with the volumes of
 *                                    identity.h
 *
 * REQUESTS=1000000 for a long run of mixed requests.
 */
#include <sys/ptrace.h>

#include "tests/integration/identity.h"

/* ---- who may be whom ---- */

static uint64_t keep_listing(uint32_t identity)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__ReadDirRequest q = GOFER__READ_DIR_REQUEST__INIT;
	Gofer__Path p = as(identity, na, "many");

	q.path = &p;
	q.keep = true;
	q.max_bytes = 1;
	if (raw_call(sock, RPC_TYPE_ReadDir, &q, &r) < 0 || r.kind != FRAME_OK)
		die("ReadDir");
	return ((Gofer__ReadDirReply *)r.message)->handle;
}

static void s93_outside_the_range(void)
{
	Gofer__CopyRequest copy = GOFER__COPY_REQUEST__INIT;

	find_filesystems();
	expect("an identity in the range", set_identity(sock, 1, 1500, 1500, NULL, 0), 0);
	expect("the peer itself is outside of the range",
	       write_file_at(sock, as(0, na, "root"), 0644, ""), EPERM);
	expect("the identity makes a file", write_file_at(sock, as(1, na, "mine"), 0644, ""), 0);
	copy.source = keep_listing(1);
	copy.dest = 77;
	expect("a Copy from a kept listing to nowhere", raw_errno(sock, RPC_TYPE_Copy, &copy),
	       EBADF);
	expect("does not make the thread the peer",
	       write_file_at(sock, as(0, na, "root"), 0644, ""), EPERM);
	(void)close_handle(sock, copy.source);
	expect("an identity on a volume that squashes",
	       write_file_at(sock, as(1, sq, "x"), 0644, ""), EPERM);
	expect("an identity that there is not", write_file_at(sock, as(9, na, "x"), 0644, ""),
	       EINVAL);
	expect("an identity beyond every volume's range",
	       set_identity(sock, 2, 10000, 1500, NULL, 0), EPERM);
	expect("... by its group", set_identity(sock, 2, 1500, 10000, NULL, 0), EPERM);
	expect("... by a supplementary group",
	       set_identity(sock, 2, 1500, 1500, (uint32_t[]){ 1500, 10000 }, 2), EPERM);
}

static void s95_groups(void)
{
	static const uint32_t counts[] = { 0, 1, 32, 20000 };
	static uint32_t groups[70000];
	char what[64];
	int e = 0;

	find_filesystems();
	host_file("team", 0, TEAM, 0640);
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		groups[i] = TEAM + (uint32_t)i % 8000;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		snprintf(what, sizeof(what), "%u groups", counts[i]);
		expect(what, set_identity(sock, 1, ALICE, ALICE, groups, counts[i]), 0);
		expect("... and what they may read",
		       row_call(sock, rpc_find(RPC_TYPE_ReadFile),
				&(Gofer__Path[]){ as(1, del, "team") }[0], NULL),
		       counts[i] ? 0 : EACCES);
		expect("the next request, by somebody without groups",
		       set_identity(sock, 2, BOB, BOB, NULL, 0)
			       ?: row_call(sock, rpc_find(RPC_TYPE_ReadFile),
					   &(Gofer__Path[]){ as(2, del, "team") }[0], NULL),
		       EACCES);
	}
	for (uint32_t id = 3; id < 40 && e == 0; id++)
		e = set_identity(sock, id, ALICE, ALICE, groups, 20000);
	expect("all identities of a session together have a limit of groups", e, ENOSPC);
}

static void s103_changes(void)
{
	static const uint32_t team[] = { TEAM };
	Gofer__SetIdentityRequest gone = GOFER__SET_IDENTITY_REQUEST__INIT;
	const struct rpc_info *read = rpc_find(RPC_TYPE_ReadFile);
	Gofer__Path p;

	find_filesystems();
	host_file("team", 0, TEAM, 0640);
	p = as(1, del, "team");
	expect("in the group", set_identity(sock, 1, ALICE, ALICE, team, 1), 0);
	expect("... the file is read", row_call(sock, read, &p, NULL), 0);
	expect("taken out of it", set_identity(sock, 1, ALICE, ALICE, NULL, 0), 0);
	expect("... it is not read by the next request", row_call(sock, read, &p, NULL), EACCES);
	expect("in again", set_identity(sock, 1, ALICE, TEAM, NULL, 0), 0);
	expect("... it is", row_call(sock, read, &p, NULL), 0);
	gone.id = 1;
	gone.remove = true;
	expect("the identity forgotten", raw_errno(sock, RPC_TYPE_SetIdentity, &gone), 0);
	expect("... nothing is done as it", row_call(sock, read, &p, NULL), EINVAL);
}

/* Somebody else's file, open for reading, is not to be had for more. */
static void s49_anothers_file(void)
{
	const char *host = in_dir(guard_dir, "sq/foreign");
	Gofer__SetAttrRequest cut = GOFER__SET_ATTR_REQUEST__INIT;
	struct stat st;
	Gofer__Path p;
	uint64_t h;

	find_filesystems();
	fd_close(open(host, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	h = handle_of(sock, sq, "foreign", OPEN_R);
	p = path_at(sq, h, "");
	expect("reopened for writing by its handle", open_at(sock, p, OPEN_W, 0, NULL), EACCES);
	expect("... for cutting", open_at(sock, p, OPEN_R | OPEN_T, 0, NULL), EACCES);
	cut.path = &p;
	cut.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
	expect("cut by its handle", raw_errno(sock, RPC_TYPE_SetAttr, &cut), EINVAL);
	row_refuse_all(sock, "a handle for reading", h, sq, "", true);
	(void)close_handle(sock, h);
	check(stat(host, &st) == 0 && st.st_uid == 0 && (st.st_mode & 07777) == 0644 && !st.st_size,
	      "the file is what it was");
}

/* ---- who connected ---- */

/* Makes `name` through `fd`, which is somebody's session, as a process that is uid:gid. */
static int make_as(int fd, uid_t uid, gid_t gid, const char *name)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		become(uid, gid, NULL, 0);
		_exit(write_file_at(fd, as(0, del, name), 0644, "") & 0xff);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

/* A session that a process of that uid opened, handed to us. */
static int session_of(uid_t uid)
{
	int pair[2], fd;
	uint8_t byte;
	unsigned n;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	pid = fork();
	if (pid == 0) {
		become(uid, uid, NULL, 0);
		fd = guard_session();
		_exit(raw_send(pair[1], "x", 1, &fd, 1, 0) < 0);
	}
	fd_close(pair[1]);
	if (raw_recv(pair[0], &byte, 1, 10000, &fd, &n) != 1 || fd < 0)
		die("no session of uid %u", uid);
	fd_close(pair[0]);
	(void)waitpid(pid, NULL, 0);
	return fd;
}

static void s58_shared_sockets(void)
{
	int theirs;

	find_filesystems();
	expect("root's session, used by uid 1600", make_as(sock, ALICE, ALICE, "by_alice"), 0);
	check(!strcmp(owner(del_path("by_alice")), "0:0"), "... makes root's file: %s",
	      owner(del_path("by_alice")));
	theirs = session_of(ALICE);
	expect("uid 1600's session, used by root",
	       write_file_at(theirs, as(0, del, "by_root"), 0644, ""), 0);
	check(!strcmp(owner(del_path("by_root")), "1600:1600"), "... makes 1600's file: %s",
	      owner(del_path("by_root")));
	expect("... which may not register others", set_identity(theirs, 1, BOB, BOB, NULL, 0),
	       EPERM);
	expect("... nor root", set_identity(theirs, 1, 0, 0, NULL, 0), EPERM);
	expect("... nor groups that it does not have",
	       set_identity(theirs, 1, ALICE, ALICE, (uint32_t[]){ TEAM }, 1), EPERM);
	fd_close(theirs);
	(void)unlink(del_path("by_alice"));
	(void)unlink(del_path("by_root"));
}

/* Another process of the user who runs the server, without root's rights. */
static void s104_not_traceable(void)
{
	char mem[64];
	uid_t uid = getuid() ?: ALICE;
	int status = 0, fd, e[3] = { 0 };
	pid_t pid = fork();

	if (pid == 0) {
		if (getuid() == 0)
			become(uid, uid, NULL, 0);
		e[0] = ptrace(PTRACE_SEIZE, worker, NULL, NULL) < 0 ? errno : 0;
		snprintf(mem, sizeof(mem), "/proc/%d/mem", worker);
		fd = open(mem, O_RDWR | O_CLOEXEC);
		e[1] = fd < 0 ? errno : 0;
		snprintf(mem, sizeof(mem), "/proc/%d/environ", worker);
		fd = open(mem, O_RDONLY | O_CLOEXEC);
		e[2] = fd < 0 ? errno : 0;
		printf("       ptrace: %s, mem: %s, environ: %s\n", word(e[0]), word(e[1]),
		       word(e[2]));
		fflush(stdout);
		_exit(e[0] == EPERM && e[1] == EACCES && e[2] == EACCES ? 0 : 1);
	}
	check(worker > 0 && waitpid(pid, &status, 0) == pid && status == 0,
	      "uid %u can neither trace the session's process nor read its memory", uid);
}

/* ---- one session, several users, several threads ---- */

enum { WINDOW = 64 };

static const struct mixed_kind {
	const char *what;
	bool squashed, read;
	uint32_t identity, uid, gid; /* who the new file must belong to */
	int error;
} mixed_kinds[] = {
	{ "squashed", .squashed = true, .uid = 1500, .gid = 1500 },
	{ "the peer", .uid = 0, .gid = 0 },
	{ "one user", .identity = 1, .uid = ALICE, .gid = ALICE },
	{ "the same user, other groups", .identity = 2, .uid = ALICE, .gid = BOB },
	{ "without the group", .identity = 1, .read = true, .error = EACCES },
	{ "with the group", .identity = 2, .read = true },
	{ "an identity on a squashing volume", .identity = 1, .squashed = true, .error = EPERM },
	{ "an identity that there is not", .identity = 9, .error = EINVAL },
};

static void send_mixed(const struct mixed_kind *k, uint32_t tag)
{
	static uint8_t buf[FRAME_MAX_PACKET];
	Gofer__WriteFileRequest w = GOFER__WRITE_FILE_REQUEST__INIT;
	Gofer__ReadFileRequest r = GOFER__READ_FILE_REQUEST__INIT;
	char name[32];
	Gofer__Path p;
	size_t n;

	snprintf(name, sizeof(name), "mixed/f%u", tag % 4096);
	p = as(k->identity, k->squashed ? sq : del, k->read ? "secret" : name);
	w.path = r.path = &p;
	w.mode = 0600;
	w.sync = tag % 512 == 0;
	w.exclusive = true;
	r.count = 100;
	n = k->read ? raw_request(buf, RPC_TYPE_ReadFile, tag, &r, NULL, 0)
		    : raw_request(buf, RPC_TYPE_WriteFile, tag, &w, "x", 1);
	if (raw_send(sock, buf, n, NULL, 0, 0) < 0)
		die("send");
}

/* The next file of that name is somebody else's. */
static void forget_mixed(const struct mixed_kind *k, uint32_t tag)
{
	char name[32];

	snprintf(name, sizeof(name), "%s/mixed/f%u", k->squashed ? "sq" : "del", tag % 4096);
	if (!k->read)
		(void)unlink(in_dir(guard_dir, name));
}

static void s93_mixed(void)
{
	static const uint32_t team[] = { TEAM };
	static uint8_t kinds[4096];
	const char *wish = getenv("REQUESTS");
	uint32_t requests = wish ? (uint32_t)strtoul(wish, NULL, 0) : 10000, sent = 0, answered = 0;
	unsigned wrong = 0;
	uint64_t seed = 1;

	find_filesystems();
	host_file("secret", 0, TEAM, 0640);
	expect("one user", set_identity(sock, 1, ALICE, ALICE, NULL, 0), 0);
	expect("the same with other groups", set_identity(sock, 2, ALICE, BOB, team, 1), 0);
	while (answered < requests) {
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		const struct mixed_kind *k;
		const Gofer__Attr *attr;

		while (sent < requests && sent - answered < WINDOW) {
			kinds[++sent % 4096] =
				(uint8_t)random_below(&seed, ARRAY_SIZE(mixed_kinds));
			send_mixed(&mixed_kinds[kinds[sent % 4096]], sent);
		}
		if (raw_reply(sock, 10000, &r) < 0 || r.header.tag == 0 || r.header.tag > sent)
			die("no reply");
		answered++;
		k = &mixed_kinds[kinds[r.header.tag % 4096]];
		attr = r.kind == FRAME_OK && !k->read ? ((Gofer__ObjectReply *)r.message)->attr
						      : NULL;
		if (r.error != k->error || (attr && (attr->uid != k->uid || attr->gid != k->gid))) {
			wrong++;
			check(wrong > 5, "%s: %s, owner %u:%u", k->what, word(r.error),
			      attr ? attr->uid : 0, attr ? attr->gid : 0);
		}
		forget_mixed(k, r.header.tag);
	}
	check(!wrong, "%u requests of several users, mixed: %u as somebody else", requests, wrong);
}

int main(int argc, char **argv)
{
	static const struct attack attacks[] = {
		{ "S104: the session's process is not traceable, its memory not readable",
		  s104_not_traceable },
		{ "S93: an identity that the volume does not allow is not had by any way round",
		  s93_outside_the_range, .root = true },
		{ "S93: requests of several users, mixed on one session, never run as another",
		  s93_mixed, .root = true },
		{ "S49: a handle of another's file gives no more than reading", s49_anothers_file,
		  .root = true },
		{ "S95: many groups, and none of them in the next request", s95_groups,
		  .root = true },
		{ "S103: a changed identity counts from the next request on", s103_changes,
		  .root = true },
		{ "S58 S134: whoever uses a session's socket, it is who connected",
		  s58_shared_sockets, .root = true },
	};

	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
