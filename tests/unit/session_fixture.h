/*
 * session_fixture.h - one unconfined session in a thread over a socket pair, spoken to in
 * raw frames. For what a session does with packets; that the whole server is confined is shown
 * elsewhere.
 */
#pragma once

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/packet.h"
#include "common/sys.h"
#include "proto/rpc.h"
#include "server/server.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

struct session_fixture {
	char dir[64];
	pthread_t server;
	int server_sock, result;
	int sock;
	struct server_limits limits;
	/* For those who want more than a plain read-write volume: */
	uint32_t fs_flags;                        /* FS_DETACHED: a detached mount, nodev */
	const struct fs_ops *ops;                 /* NULL = the host backend */
	bool delegate;                            /* to uids and gids of any number */
	void (*enter)(struct session_fixture *f); /* in the session's thread, before it begins */
	uint8_t out[FRAME_MAX_PACKET], in[FRAME_MAX_PACKET];
	size_t out_used;
	/* the last packet received */
	struct frame replies[FRAME_MAX_PER_PACKET];
	unsigned n_replies;
	int fd;
};

static inline int fixture_root(const struct session_fixture *f)
{
	int fd;

	if (!(f->fs_flags & FS_DETACHED))
		return open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = sys_open_tree(AT_FDCWD, f->dir, OPEN_TREE_CLONE | O_CLOEXEC);
	if (fd >= 0)
		cr_assert_eq(sys_mount_setattr(fd, "", AT_EMPTY_PATH,
					       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
						       MOUNT_ATTR_NOSYMFOLLOW,
					       0, 0),
			     0);
	return fd;
}

/* In a thread, not a process: so that the leak checker sees what a session leaves behind. */
static inline void *fixture_serve(void *userdata)
{
	static volatile sig_atomic_t draining;
	static struct server_shared shared;
	struct session_fixture *f = userdata;
	struct volume v = {
		.name = (char *)"v",
		.donate = DONATE_ALWAYS,
		.squash_uid = getuid(),
		.squash_gid = getgid(),
		.special = f->fs_flags & FS_SPECIAL,
		.identity = f->delegate ? IDENTITY_DELEGATE : IDENTITY_SQUASH,
		.uids.high = UINT32_MAX - 1,
		.gids.high = UINT32_MAX - 1,
	};
	struct server server = {
		.volumes = &v,
		.n_volumes = 1,
		.limits = f->limits,
		.shared = &shared,
		.version = "test",
	};
	struct peer peer = { .uid = getuid(), .gid = getgid() };
	int root = fixture_root(f);
	int proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	f->result = fs_init(&v.fs, f->ops ? f->ops : &fs_host_ops, 1, f->fs_flags, root);
	if (f->result == 0) {
		v.fs.proc_fd = proc;
		if (f->enter)
			f->enter(f);
		f->result = session_run(&server, f->server_sock, &peer, proc, &draining);
		fs_deinit(&v.fs);
	}
	close(proc);
	return NULL;
}

/* A session begins on f->dir. */
static inline void fixture_begin(struct session_fixture *f)
{
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f->server_sock = pair[1];
	f->sock = pair[0];
	cr_assert_eq(pthread_create(&f->server, NULL, fixture_serve, f), 0);
}

/* Hangs up; the session must end by itself, and cleanly. */
static inline void fixture_end(struct session_fixture *f)
{
	f->fd = fd_close(f->fd);
	close(f->sock);
	cr_assert_eq(pthread_join(f->server, NULL), 0);
	cr_assert_eq(f->result, 0, "the session ended with %d", f->result);
}

/* With a directory of its own below `where`, no session yet. */
static inline struct session_fixture *fixture_new(const struct server_limits *limits,
						  const char *where)
{
	struct session_fixture *f = calloc(1, sizeof(*f));

	cr_assert_not_null(f);
	f->limits = limits ? *limits : SERVER_LIMITS_DEFAULT;
	f->fd = -EBADF;
	(void)snprintf(f->dir, sizeof(f->dir), "%s/gofer-session-XXXXXX", where);
	cr_assert_not_null(mkdtemp(f->dir));
	return f;
}

static inline struct session_fixture *fixture_start(const struct server_limits *limits)
{
	struct session_fixture *f = fixture_new(limits, "/tmp");

	fixture_begin(f);
	return f;
}

static inline int fixture_remove(const char *path, const struct stat *st _unused_,
				 int type _unused_, struct FTW *ftw _unused_)
{
	return remove(path);
}

static inline void fixture_free(struct session_fixture *f)
{
	nftw(f->dir, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
	free(f);
}

static inline void fixture_stop(struct session_fixture *f)
{
	fixture_end(f);
	fixture_free(f);
}

static inline void add_raw(struct session_fixture *f, struct frame_header h, const void *body,
			   const void *data)
{
	frame_header_pack(&h, f->out + f->out_used);
	f->out_used += FRAME_HEADER_SIZE;
	if (body && h.body_len)
		memcpy(f->out + f->out_used, body, h.body_len);
	f->out_used += h.body_len;
	if (data && h.data_len)
		memcpy(f->out + f->out_used, data, h.data_len);
	f->out_used += h.data_len;
}

static inline void add_frame(struct session_fixture *f, uint16_t type, uint32_t tag, uint8_t flags,
			     const ProtobufCMessage *m)
{
	static uint8_t body[FRAME_MAX_BODY];
	struct frame_header h = { .type = type,
				  .tag = tag,
				  .flags = flags,
				  .body_len = m ? protobuf_c_message_pack(m, body) : 0 };

	add_raw(f, h, body, NULL);
}

static inline void send_packet_now(struct session_fixture *f)
{
	struct iovec iov = { .iov_base = f->out, .iov_len = f->out_used };

	cr_assert_eq(packet_send(f->sock, &iov, 1, -1, 0), 0);
	f->out_used = 0;
}

/* The next packet of replies; false at the end of the session. */
static inline bool receive(struct session_fixture *f)
{
	struct packet_in in = { .fd = -EBADF };
	ssize_t n;
	size_t at = 0;

	cr_assert_eq(packet_wait(f->sock, POLLIN, now_ns() + UINT64_C(10000000000)), 0,
		     "no answer");
	n = packet_recv(f->sock, f->in, sizeof(f->in), 0, &in);
	if (n == 0 || n == -ECONNRESET)
		return false;
	cr_assert_gt(n, 0);
	f->n_replies = 0;
	while (at < (size_t)n) {
		ssize_t used = frame_parse(f->in + at, n - at, &f->replies[f->n_replies]);

		cr_assert_gt(used, 0, "the server's framing is right");
		f->n_replies++;
		at += used;
	}
	fd_close(f->fd);
	f->fd = in.fd;
	return true;
}

/* One request, one reply: 0 for OK, the errno for an error, -1 for a Stop. *ret (may be NULL) is
 * unpacked with malloc. */
static inline int call(struct session_fixture *f, uint16_t type, const ProtobufCMessage *m,
		       ProtobufCMessage **ret)
{
	static uint32_t tag = 1000;
	const struct frame *r = &f->replies[0];

	add_frame(f, type, ++tag, 0, m);
	send_packet_now(f);
	cr_assert(receive(f), "the session ended");
	cr_assert_eq(f->n_replies, 1);
	cr_assert_eq(r->header.tag, tag);
	cr_assert_eq(r->header.type, type);
	cr_assert(r->header.flags & FRAME_REPLY);
	if ((r->header.flags & FRAME_KIND_MASK) == FRAME_ERROR) {
		Gofer__Error *e = gofer__error__unpack(NULL, r->header.body_len, r->body);
		int error;

		cr_assert_not_null(e);
		error = e->error;
		gofer__error__free_unpacked(e, NULL);
		return error;
	}
	if (ret)
		*ret = protobuf_c_message_unpack((r->header.flags & FRAME_KIND_MASK) == FRAME_STOP
							 ? &gofer__stop__descriptor
							 : rpc_find(type)->reply,
						 NULL, r->header.body_len, r->body);
	return (r->header.flags & FRAME_KIND_MASK) == FRAME_STOP ? -1 : 0;
}

static inline void hello(struct session_fixture *f)
{
	Gofer__HelloRequest q = GOFER__HELLO_REQUEST__INIT;

	q.version = 1;
	cr_assert_eq(call(f, RPC_TYPE_Hello, &q.base, NULL), 0);
}

#define PATH(variable, text)                                   \
	Gofer__Path variable = GOFER__PATH__INIT;              \
	variable.fs_id = 1;                                    \
	variable.path = (ProtobufCBinaryData)                  \
	{                                                      \
		.data = (uint8_t *)(text), .len = strlen(text) \
	}
