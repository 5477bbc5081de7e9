/*
 * play.c - the client of live.h: sends what the steps say, and judges what comes back. It runs in
 * one thread; where the socket is full of requests it reads replies, so that neither side waits for
 * the other for ever. A reply that does not come within a hundred seconds (of a
 * machine that may be busy) never comes.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "server/session.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/live.h"

enum { ANSWER_MS = 100000 };

static bool contains(const uint8_t *data, size_t size, const char *text)
{
	return memmem(data, size, text, strlen(text)) != NULL;
}

/* ---- replies ---- */

static void check_attr(struct player *p, const Gofer__Attr *a)
{
	FUZZ_ASSERT(!tree_is_outside(p->tree, a->dev, a->ino));
}

/* Every Attr in a reply, wherever it is; and a handle, which is kept. */
static void look_through(struct player *p, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	if (d == &gofer__attr__descriptor)
		check_attr(p, (const Gofer__Attr *)m);
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const void *at = (const char *)m + f->offset;

		if (f->type == PROTOBUF_C_TYPE_UINT64 && strcmp(f->name, "handle") == 0) {
			uint64_t handle = *(const uint64_t *)at;

			if (handle && p->n_handles < MESSAGE_HANDLES)
				p->handles[p->n_handles++] = handle;
		}
		if (f->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (f->label != PROTOBUF_C_LABEL_REPEATED) {
			if (*(ProtobufCMessage *const *)at)
				look_through(p, *(ProtobufCMessage *const *)at);
			continue;
		}
		for (size_t k = 0; k < *(const size_t *)((const char *)m + f->quantifier_offset);
		     k++)
			look_through(p, (*(ProtobufCMessage * *const *)at)[k]);
	}
}

static unsigned find_waiting(const struct player *p, const struct frame_header *h)
{
	for (unsigned i = 0; i < p->n_waiting; i++)
		if (p->waiting[i].tag == h->tag && p->waiting[i].type == h->type)
			return i;
	fprintf(stderr, "a reply to nothing: tag %u type %u\n", h->tag, h->type);
	abort();
}

static void take_reply(struct player *p, const struct frame *f, int fd)
{
	const struct rpc_info *rpc = rpc_find(f->header.type);
	unsigned kind = f->header.flags & FRAME_KIND_MASK, i = find_waiting(p, &f->header);
	const ProtobufCMessageDescriptor *d = kind == FRAME_ERROR  ? &gofer__error__descriptor
					      : kind == FRAME_STOP ? &gofer__stop__descriptor
					      : rpc                ? rpc->reply
								   : NULL;
	ProtobufCMessage *m;

	FUZZ_ASSERT((f->header.flags & ~FRAME_KIND_MASK) == FRAME_REPLY && d);
	m = protobuf_c_message_unpack(d, NULL, f->header.body_len, f->body);
	FUZZ_ASSERT(m);
	if (kind == FRAME_OK) {
		FUZZ_ASSERT(!(p->waiting[i].writes && p->waiting[i].fs_id == LIVE_READ_ONLY));
		p->changed |= p->waiting[i].writes;
		look_through(p, m);
	} else if (kind == FRAME_ERROR) {
		uint32_t e = ((const Gofer__Error *)m)->error;

		FUZZ_ASSERT(e >= 1 && e < 134);
		/* Some requests do something before they fail. */
		p->changed |= p->waiting[i].writes && e != ENOENT && e != EINVAL && e != EROFS &&
			      e != EBADF && e != EPROTO;
	} else {
		FUZZ_ASSERT(rpc && (rpc->flags & RPC_PATH));
	}
	protobuf_c_message_free_unpacked(m, NULL);
	if (f->header.fds) {
		struct stat st;

		FUZZ_ASSERT(kind == FRAME_OK && rpc && (rpc->flags & RPC_DONATES));
		FUZZ_ASSERT(fstat(fd, &st) == 0 && S_ISREG(st.st_mode));
		FUZZ_ASSERT(!tree_is_outside(p->tree, st.st_dev, st.st_ino));
		if (p->waiting[i].fs_id == LIVE_READ_ONLY || p->waiting[i].fs_id == LIVE_SPECIAL)
			FUZZ_ASSERT((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	}
	p->waiting[i] = p->waiting[--p->n_waiting];
}

/* libFuzzer's clock interrupts. */
static int wait_for(struct player *p, short events, int timeout_ms)
{
	struct pollfd poll_fd = { .fd = p->sock, .events = events };
	int n;

	do
		n = poll(&poll_fd, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n;
}

/* One packet of replies. False where none comes within timeout_ms, or the session is over. */
static bool take_packet(struct player *p, int timeout_ms)
{
	struct packet_in in = { .fd = -EBADF };
	unsigned fds = 0;
	ssize_t n;

	if (wait_for(p, POLLIN, timeout_ms) <= 0)
		return false;
	n = packet_recv(p->sock, p->in, sizeof(p->in), MSG_DONTWAIT, &in);
	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		p->over = true;
		return false;
	}
	FUZZ_ASSERT(p->secret_sent || !contains(p->in, (size_t)n, TREE_SECRET));
	for (size_t at = 0; at < (size_t)n;) {
		struct frame f;
		ssize_t used = frame_parse(p->in + at, (size_t)n - at, &f);

		FUZZ_ASSERT(used > 0);
		fds += f.header.fds;
		take_reply(p, &f, in.fd);
		at += (size_t)used;
	}
	FUZZ_ASSERT(in.extra == 0 && !in.truncated && fds == (in.fd >= 0));
	fd_close(in.fd);
	return true;
}

/* What every thread of the process does: whether the server sleeps, or never got to run. */
static void show_threads(void)
{
	DIR *d = opendir("/proc/self/task");

	for (const struct dirent *e; d && (e = readdir(d));) {
		static const char *const files[] = { "stat", "syscall", "schedstat" };

		for (size_t i = 0; i < ARRAY_SIZE(files) && e->d_name[0] != '.'; i++) {
			char path[300], line[400];
			FILE *f;

			snprintf(path, sizeof(path), "/proc/self/task/%s/%s", e->d_name, files[i]);
			f = fopen(path, "re");
			if (f && fgets(line, sizeof(line), f))
				fprintf(stderr, "%s %s: %.60s\n", e->d_name, files[i], line);
			if (f)
				fclose(f);
		}
	}
	if (d)
		closedir(d);
}

static void wait_all(struct player *p)
{
	while (p->n_waiting && !p->over)
		if (!take_packet(p, ANSWER_MS) && !p->over) {
			fprintf(stderr, "no answer to tag %u, type %u\n", p->waiting[0].tag,
				p->waiting[0].type);
			show_threads();
			FUZZ_ASSERT(!"no answer");
		}
}

/* ---- requests ---- */

/* The frame with the session's handles in it, appended to the packet. */
static void add_frame(struct player *p, const struct step *step)
{
	struct frame f;
	const struct rpc_info *rpc;
	ProtobufCMessage *m = NULL;
	uint8_t *at = p->out + p->out_used;
	size_t n;

	if ((step->arg & STEP_RAW) || !step_frame(step, &f)) {
		if (p->out_used + step->len <= sizeof(p->out)) {
			memcpy(at, step->bytes, step->len);
			p->out_used += step->len;
		}
		return;
	}
	rpc = rpc_find(f.header.type);
	if (rpc)
		m = protobuf_c_message_unpack(rpc->request, NULL, f.header.body_len, f.body);
	n = f.header.body_len;
	if (m) {
		message_place_handles(m, p->handles, p->n_handles);
		n = protobuf_c_message_get_packed_size(m);
	}
	if (p->out_used + FRAME_HEADER_SIZE + n + f.header.data_len <= sizeof(p->out)) {
		f.header.body_len = (uint32_t)n;
		frame_header_pack(&f.header, at);
		at += FRAME_HEADER_SIZE;
		if (m)
			protobuf_c_message_pack(m, at);
		else
			memcpy(at, f.body, n);
		if (f.header.data_len)
			memcpy(at + n, f.data, f.header.data_len);
		p->out_used += FRAME_HEADER_SIZE + n + f.header.data_len;
	}
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
}

/* Two requests of one tag and type: which of them an answer is for, nobody can tell. */
static void join_namesakes(struct player *p, unsigned k)
{
	for (unsigned i = 0; i < k; i++) {
		if (p->waiting[i].tag != p->waiting[k].tag ||
		    p->waiting[i].type != p->waiting[k].type)
			continue;
		p->waiting[i].fs_id = p->waiting[k].fs_id = 0;
		p->waiting[i].writes = p->waiting[k].writes |= p->waiting[i].writes;
	}
}

/* What the server owes for this packet; false where it is the end of the session. */
static bool note_requests(struct player *p, unsigned fds)
{
	struct packet packet = { .bytes = p->out, .size = p->out_used, .fd = -EBADF };
	struct packet_in in = { .fd = fds ? 0 : -EBADF, .extra = fds > 1 ? fds - 1 : 0 };

	if (p->out_used == 0 || p->out_used > FRAME_MAX_PACKET || packet_parse(&packet, &in) < 0)
		return false;
	for (unsigned i = 0; i < packet.n_frames; i++) {
		const struct frame *f = &packet.frames[i];
		const struct rpc_info *rpc = rpc_find(f->header.type);
		ProtobufCMessage *m;
		unsigned k = p->n_waiting;

		if (f->header.flags & FRAME_NO_REPLY)
			continue;
		FUZZ_ASSERT(k < ARRAY_SIZE(p->waiting));
		p->waiting[k].tag = f->header.tag;
		p->waiting[k].type = f->header.type;
		p->waiting[k].writes = false;
		p->waiting[k].fs_id = 0;
		p->n_waiting++;
		if (!rpc || !(rpc->flags & (RPC_WRITES | RPC_DONATES)))
			continue;
		p->waiting[k].writes = rpc->flags & RPC_WRITES;
		m = protobuf_c_message_unpack(rpc->request, NULL, f->header.body_len, f->body);
		if (m && rpc_path(rpc, m, 0))
			p->waiting[k].fs_id = rpc_path(rpc, m, 0)->fs_id;
		if (m && rpc->index == RPC_INDEX_Open)
			p->waiting[k].writes =
				((const Gofer__OpenRequest *)m)->flags &
				(GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE |
				 GOFER__OPEN_FLAG__OPEN_TRUNCATE);
		if (m)
			protobuf_c_message_free_unpacked(m, NULL);
		join_namesakes(p, k);
	}
	return true;
}

static unsigned descriptors(const struct player *p, enum step_fd which, int fds[2])
{
	int pair[2];

	switch (which) {
	case STEP_FD_SOCKET:
		fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		return 1;
	case STEP_FD_FILE:
		fds[0] = openat(p->tree->base_fd, "outside/secret", O_RDONLY | O_CLOEXEC);
		return 1;
	case STEP_FD_PATH:
		fds[0] = openat(p->tree->base_fd, "outside", O_PATH | O_CLOEXEC);
		return 1;
	case STEP_FD_PIPE:
		FUZZ_ASSERT(pipe2(pair, O_CLOEXEC) == 0);
		fds[0] = pair[0];
		close(pair[1]);
		return 1;
	case STEP_FD_TWO:
		fds[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		fds[1] = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		return 2;
	case STEP_FD_NONE:
	default:
		return 0;
	}
}

static void send_packet(struct player *p, enum step_fd which)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { p->out, p->out_used };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[2] = { -EBADF, -EBADF };
	unsigned n = descriptors(p, which, fds);
	bool fine;

	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS,
						   .cmsg_len = CMSG_LEN(n * sizeof(int)) };
		memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	}
	if (p->n_waiting + FRAME_MAX_PER_PACKET > ARRAY_SIZE(p->waiting))
		wait_all(p);
	fine = note_requests(p, n);
	for (;;) {
		ssize_t sent = sendmsg(p->sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN) {
			FUZZ_ASSERT(wait_for(p, POLLIN | POLLOUT, ANSWER_MS) > 0);
			(void)take_packet(p, 0);
			if (!p->over)
				continue;
		} else if (sent < 0) {
			p->over = true; /* EPIPE, ECONNRESET; EMSGSIZE: more than a socket takes */
		}
		break;
	}
	if (!fine)
		p->over = true;
	p->out_used = 0;
	fd_close(fds[0]);
	fd_close(fds[1]);
}

static void send_hello(struct player *p)
{
	Gofer__HelloRequest q = GOFER__HELLO_REQUEST__INIT;
	struct frame_header h = { .type = RPC_TYPE_Hello, .tag = 0x48454c4c };

	q.version = 1;
	h.body_len = (uint32_t)protobuf_c_message_pack(&q.base, p->out + FRAME_HEADER_SIZE);
	frame_header_pack(&h, p->out);
	p->out_used = FRAME_HEADER_SIZE + h.body_len;
	send_packet(p, STEP_FD_NONE);
	wait_all(p);
	FUZZ_ASSERT(!p->over);
}

void play(struct player *p, struct fuzz_tree *tree, int sock, const struct step *steps, size_t n,
	  int only)
{
	*p = (struct player){ .tree = tree, .sock = sock };
	for (size_t i = 0; i < n; i++)
		p->secret_sent |= contains(steps[i].bytes, steps[i].len, "CNARY");
	if (n == 0 || steps[0].op != STEP_WAIT)
		send_hello(p);
	for (size_t i = 0; i < n && !p->over; i++) {
		const struct step *s = &steps[i];

		if (only >= 0 && !!(s->arg & STEP_SECOND) != only)
			continue;
		switch (s->op) {
		case STEP_FRAME:
			add_frame(p, s);
			if (s->arg & STEP_MORE)
				break;
			send_packet(p, s->arg & STEP_FD);
			if (!(s->arg & STEP_NO_WAIT))
				wait_all(p);
			break;
		case STEP_SHUT:
			(void)shutdown(p->sock, SHUT_WR);
			p->over = true;
			break;
		case STEP_HANGUP:
			p->over = true;
			break;
		case STEP_MOVE:
			/* One after the other, here: pathwalk is racy by nature (SECURITY.md). */
			wait_all(p);
			if (s->len < 2)
				break;
			tree_move(tree, s->bytes[0], s->bytes[1]);
			p->changed = true;
			break;
		default:
			wait_all(p);
		}
	}
	if (p->over)
		p->changed = true; /* nobody knows what became of the rest */
	wait_all(p);
}
