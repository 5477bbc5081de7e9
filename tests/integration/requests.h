/*
 * requests.h - the requests that the attack programs send again and again, on top of raw.h: one
 * function each, that says what came of it.
 *
 * Results: 0 for OK, an errno for an ERROR, RAW_STOPPED for a Stop, -errno where no reply came.
 * Nothing here uses libgofer: a library that refuses to send something proves nothing about the
 * server.
 */
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include "tests/integration/raw.h"

enum {
	OPEN_R = GOFER__OPEN_FLAG__OPEN_READ,
	OPEN_W = GOFER__OPEN_FLAG__OPEN_WRITE,
	OPEN_RW = OPEN_R | OPEN_W,
	OPEN_PLACE = GOFER__OPEN_FLAG__OPEN_PATH,
	OPEN_C = GOFER__OPEN_FLAG__OPEN_CREATE,
	OPEN_X = GOFER__OPEN_FLAG__OPEN_EXCLUSIVE,
	OPEN_T = GOFER__OPEN_FLAG__OPEN_TRUNCATE,
	OPEN_A = GOFER__OPEN_FLAG__OPEN_APPEND,
	OPEN_DIR = GOFER__OPEN_FLAG__OPEN_DIRECTORY,
	OPEN_D = GOFER__OPEN_FLAG__OPEN_DONATE,
};

/* "0 or errno or stop" in words. */
static inline const char *word(int e)
{
	static char text[4][40];
	static unsigned next;

	if (e == 0)
		return "ok";
	if (e == RAW_STOPPED)
		return "stop";
	if (e > 0 && strerrorname_np(e))
		return strerrorname_np(e);
	snprintf(text[++next % 4], sizeof(text[0]), "no reply: %s",
		 strerrorname_np(-e) ? strerrorname_np(-e) : "?");
	return text[next % 4];
}

static inline void expect(const char *what, int got, int wanted)
{
	if (got == wanted)
		check(true, "%-62s %s", what, word(got));
	else
		check(false, "%-62s %s instead of %s", what, word(got), word(wanted));
}

static inline void expect_either(const char *what, int got, int a, int b)
{
	expect(what, got, got == b ? b : a);
}

static inline Gofer__Path path_at(uint32_t fs, uint64_t base, const char *text)
{
	Gofer__Path p = GOFER__PATH__INIT;

	p.fs_id = fs;
	p.base_handle = base;
	p.path = BYTES(text);
	return p;
}

static inline Gofer__Path path_of(uint32_t fs, const char *text)
{
	return path_at(fs, 0, text);
}

/* What a call came to. */
static inline int outcome(int r, const struct raw_reply *reply)
{
	if (r < 0)
		return r;
	return reply->kind == FRAME_STOP ? RAW_STOPPED : reply->error;
}

/* *ret_attr may be NULL. */
static inline int stat_at(int sock, Gofer__Path p, Gofer__Attr *ret_attr)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	int e;

	q.path = &p;
	e = raw_call(sock, RPC_TYPE_Stat, &q, &r);
	if (e == 0 && r.kind == FRAME_OK && ret_attr)
		*ret_attr = *((Gofer__StatReply *)r.message)->attr;
	return outcome(e, &r);
}

static inline int stat_path(int sock, uint32_t fs, const char *text, Gofer__Attr *ret_attr)
{
	return stat_at(sock, path_of(fs, text), ret_attr);
}

struct opened {
	uint64_t handle;
	bool donated;
	int fd;
	unsigned n_fds;
	Gofer__Attr attr;
};
#define OPENED_NULL ((struct opened){ .fd = -EBADF })

/* *ret may be NULL: then nothing of the reply is kept, the handle stays open on the server. */
static inline int open_at(int sock, Gofer__Path p, uint32_t flags, uint32_t mode,
			  struct opened *ret)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	int e;

	q.path = &p;
	q.flags = flags;
	q.mode = mode;
	e = raw_call(sock, RPC_TYPE_Open, &q, &r);
	if (e == 0 && ret && r.kind == FRAME_OK) {
		const Gofer__OpenReply *m = (const Gofer__OpenReply *)r.message;

		*ret = (struct opened){ m->handle, m->donated, TAKE_FD(r.fd), r.n_fds, *m->attr };
	}
	return outcome(e, &r);
}

static inline int open_path(int sock, uint32_t fs, const char *text, uint32_t flags, uint32_t mode,
			    struct opened *ret)
{
	return open_at(sock, path_of(fs, text), flags, mode, ret);
}

/* The handle of what must be there, links not followed. */
static inline uint64_t handle_of(int sock, uint32_t fs, const char *name, uint32_t flags)
{
	struct opened o = OPENED_NULL;
	Gofer__Path p = path_of(fs, name);
	int e;

	p.nofollow = true;
	e = open_at(sock, p, flags, 0, &o);
	fd_close(o.fd);
	if (e)
		die("open %s: %s", name, word(e));
	return o.handle;
}

static inline int read_handle(int sock, uint64_t handle)
{
	Gofer__ReadRequest q = GOFER__READ_REQUEST__INIT;

	q.handle = handle;
	q.count = 16;
	return raw_errno(sock, RPC_TYPE_Read, &q);
}

static inline int write_handle(int sock, uint64_t handle, uint64_t offset, const void *data,
			       size_t size)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__WriteRequest q = GOFER__WRITE_REQUEST__INIT;
	int e;

	q.handle = handle;
	q.offset = offset;
	e = raw_call_fd(sock, RPC_TYPE_Write, &q, data, size, -1, &r);
	return outcome(e, &r);
}

static inline int close_handle(int sock, uint64_t handle)
{
	Gofer__CloseRequest q = GOFER__CLOSE_REQUEST__INIT;

	q.handles = &handle;
	q.n_handles = 1;
	return raw_errno(sock, RPC_TYPE_Close, &q);
}

static inline int write_file_at(int sock, Gofer__Path p, uint32_t mode, const char *content)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__WriteFileRequest q = GOFER__WRITE_FILE_REQUEST__INIT;
	static unsigned turn;
	int e;

	q.path = &p;
	q.mode = mode;
	/* The server goes about it in two ways; neither must give in. */
	q.bare = turn++ % 2;
	e = raw_call_fd(sock, RPC_TYPE_WriteFile, &q, content, strlen(content), -1, &r);
	return outcome(e, &r);
}

static inline int ping(int sock)
{
	Gofer__PingRequest q = GOFER__PING_REQUEST__INIT;

	return raw_errno(sock, RPC_TYPE_Ping, &q);
}

/* Registers identity `id`. */
static inline int set_identity(int sock, uint32_t id, uint32_t uid, uint32_t gid,
			       const uint32_t *groups, size_t n_groups)
{
	Gofer__SetIdentityRequest q = GOFER__SET_IDENTITY_REQUEST__INIT;

	q.id = id;
	q.uid = uid;
	q.gid = gid;
	q.groups = (uint32_t *)groups;
	q.n_groups = n_groups;
	return raw_errno(sock, RPC_TYPE_SetIdentity, &q);
}

/* The handles that the session holds, by its own Stats. */
static inline int session_handles(int sock, uint32_t *ret_handles)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__StatsRequest q = GOFER__STATS_REQUEST__INIT;
	int e = raw_call(sock, RPC_TYPE_Stats, &q, &r);

	if (e == 0 && r.kind == FRAME_OK)
		*ret_handles = ((Gofer__StatsReply *)r.message)->handles;
	return outcome(e, &r);
}
