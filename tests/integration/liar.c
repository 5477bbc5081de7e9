/*
 * liar.c - a server that lies to one command.
 *
 *	liar types|names|deep|silent  COMMAND [ARGUMENT]...
 *
 * Runs the command with GOFER_SERVER set to a server with one filesystem, "v", in which every name is a directory, and checks what the
 * command would have removed. Ends with 0 if the command ended by itself (not by a signal) and asked for nothing outside of /t.
 *
 * types  entries say that they are one thing and have the attributes of another
 * names  an entry whose name, $LIAR_NAME, leads elsewhere: nothing may be removed
 * deep   every directory holds another one
 * silent nothing is said about removals
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/packet.h"
#include "proto/rpc.h"

static enum { TYPES, NAMES, DEEP, SILENT } lie;
static int sock;
static unsigned listed, removed;

static void die(const char *what)
{
	fprintf(stderr, "liar: %s\n", what);
	exit(1);
}

static void answer(uint16_t type, uint32_t tag, const ProtobufCMessage *m)
{
	static uint8_t body[FRAME_MAX_BODY], header[FRAME_HEADER_SIZE];
	size_t n = protobuf_c_message_pack(m, body);
	struct frame_header h = {
		.body_len = (uint32_t)n, .tag = tag, .type = type, .flags = FRAME_REPLY | FRAME_OK
	};
	struct iovec iov[2] = { { header, sizeof(header) }, { body, n } };

	frame_header_pack(&h, header);
	(void)packet_send(sock, iov, 2, -EBADF, 0);
}

static Gofer__Attr attr_of(mode_t mode)
{
	static uint64_t ino = 2;
	Gofer__Attr a = GOFER__ATTR__INIT;

	a.mode = mode;
	a.ino = ino++;
	a.nlink = 1;
	a.blksize = 4096;
	return a;
}

static void hello(uint32_t tag)
{
	Gofer__HelloReply m = GOFER__HELLO_REPLY__INIT;
	Gofer__Limits l = GOFER__LIMITS__INIT;
	Gofer__Filesystem fs = GOFER__FILESYSTEM__INIT, *list = &fs;
	Gofer__Attr root = attr_of(S_IFDIR | 0755);

	l.max_frame = FRAME_MAX_PACKET;
	l.max_data = FRAME_MAX_DATA;
	l.max_in_flight = 64;
	l.max_handles = 100;
	l.inline_limit = 65536;
	fs.fs_id = 1;
	fs.name = (ProtobufCBinaryData){ 1, (uint8_t *)"v" };
	fs.root = &root;
	m.version = 1;
	m.limits = &l;
	m.filesystems = &list;
	m.n_filesystems = 1;
	answer(RPC_TYPE_Hello, tag, &m.base);
}

struct made {
	Gofer__Entry entry, *link;
	Gofer__Attr attr;
};

static void make(struct made *e, const char *name, uint32_t type, mode_t mode)
{
	static uint64_t cookie;

	gofer__entry__init(&e->entry);
	e->attr = attr_of(mode);
	e->entry.name = (ProtobufCBinaryData){ strlen(name), (uint8_t *)name };
	e->entry.type = type;
	e->entry.ino = e->attr.ino;
	e->entry.cookie = ++cookie;
	e->entry.attr = &e->attr;
}

/* A few listings have something in them, or the tree would never end. */
static void list(uint32_t tag)
{
	const char *name = getenv("LIAR_NAME");
	Gofer__ReadDirReply m = GOFER__READ_DIR_REPLY__INIT;
	Gofer__Attr self = attr_of(S_IFDIR | 0755);
	Gofer__Entry *entries[4];
	struct made e[4];
	size_t n = 0;

	if (lie == NAMES && name) {
		make(&e[n++], name, DT_REG, S_IFREG | 0644);
	} else if (lie == TYPES && listed == 0) {
		make(&e[n++], "a", DT_REG, S_IFDIR | 0755);
		make(&e[n++], "b", DT_DIR, S_IFREG | 0644);
		make(&e[n++], "c", DT_DIR, S_IFDIR | 0755);
		make(&e[n++], "d", DT_LNK, S_IFDIR | 0755);
	} else if (lie == DEEP || (lie == SILENT && listed == 0)) {
		make(&e[n++], "d", DT_DIR, S_IFDIR | 0755);
	} else if (lie == SILENT) {
		make(&e[n++], "f", DT_REG, S_IFREG | 0644);
	}
	listed++;
	for (size_t i = 0; i < n; i++)
		entries[i] = &e[i].entry;
	m.n_entries = n;
	m.entries = entries;
	m.attr = &self;
	m.end = true;
	answer(RPC_TYPE_ReadDir, tag, &m.base);
}

static void unlink_name(const struct frame *q)
{
	static const char *const types[] = { "t/a", "t/b", "t/c", "t/d", "t" };
	Gofer__UnlinkRequest *m = gofer__unlink_request__unpack(NULL, q->header.body_len, q->body);
	Gofer__ObjectReply reply = GOFER__OBJECT_REPLY__INIT;
	char path[8192];
	bool known = false;

	if (!m || m->path->path.len >= sizeof(path))
		die("a removal of nothing");
	snprintf(path, sizeof(path), "%.*s", (int)m->path->path.len, (char *)m->path->path.data);
	memmove(path, path + strspn(path, "/"), strlen(path + strspn(path, "/")) + 1);
	if (path[0] != 't' || (path[1] && path[1] != '/') || strstr(path, ".."))
		die("a removal outside");
	if (lie == NAMES)
		die("a removal of what was not to be");
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		known |= strcmp(path, types[i]) == 0 && m->directory == (strcmp(path, "t/b") != 0);
	if (lie == TYPES && !known)
		die("a removal of what the attributes do not say");
	gofer__unlink_request__free_unpacked(m, NULL);
	removed++;
	if (lie != SILENT)
		answer(RPC_TYPE_Unlink, q->header.tag, &reply.base);
}

static void stat_name(const struct frame *q)
{
	Gofer__StatRequest *m = gofer__stat_request__unpack(NULL, q->header.body_len, q->body);
	Gofer__StatReply reply = GOFER__STAT_REPLY__INIT;
	Gofer__Attr attr = attr_of(S_IFDIR | 0755);

	if (!m)
		die("a Stat that is none");
	gofer__stat_request__free_unpacked(m, NULL);
	reply.attr = &attr;
	answer(RPC_TYPE_Stat, q->header.tag, &reply.base);
}

static void serve(void)
{
	static uint8_t buf[FRAME_MAX_PACKET];
	struct packet_in in;
	ssize_t n;

	while ((n = packet_recv(sock, buf, sizeof(buf), 0, &in)) > 0)
		for (size_t at = 0; at < (size_t)n;) {
			struct frame q;
			ssize_t k = frame_parse(buf + at, (size_t)n - at, &q);

			if (k < 0)
				die("a packet that breaks framing");
			at += (size_t)k;
			switch (q.header.type) {
			case RPC_TYPE_Hello:
				hello(q.header.tag);
				break;
			case RPC_TYPE_Stat:
				stat_name(&q);
				break;
			case RPC_TYPE_ReadDir:
				list(q.header.tag);
				break;
			case RPC_TYPE_Unlink:
				unlink_name(&q);
				break;
			case RPC_TYPE_Close:
			case RPC_TYPE_Cancel:
				break;
			default:
				die("an RPC that nobody needs");
			}
		}
}

int main(int argc, char **argv)
{
	static const char *const lies[] = { "types", "names", "deep", "silent" };
	int pair[2], status;
	char name[32];
	pid_t pid;

	while (argc > 2 && lie < ARRAY_SIZE(lies) && strcmp(argv[1], lies[lie]) != 0)
		lie++;
	if (argc <= 2 || lie == ARRAY_SIZE(lies)) {
		fprintf(stderr, "usage: liar types|names|deep|silent COMMAND...\n");
		return 2;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0)
		die("socketpair");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		snprintf(name, sizeof(name), "fd:%d", pair[0]);
		close(pair[1]);
		setenv("GOFER_SERVER", name, 1);
		execvp(argv[2], argv + 2);
		die(argv[2]);
	}
	close(pair[0]);
	sock = pair[1];
	(void)signal(SIGPIPE, SIG_IGN);
	serve();
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		die("the command was killed");
	printf("ended with %d: %u listings, %u removals\n", WEXITSTATUS(status), listed, removed);
	/* What a sanitizer ends with is none of the command's own. */
	return WEXITSTATUS(status) > 2;
}
