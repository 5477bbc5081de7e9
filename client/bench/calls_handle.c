/*
 * calls_handle.c - calls by handle, and those of a session as such; and raw calls. The files that they use are
 * open on both sides from calls_handle_begin() on.
 */
#include "client/bench/calls.h"

#include <fcntl.h>
#include <limits.h>

uint64_t call_handles[BENCH_BATCH];
int call_descriptors[BENCH_BATCH];

static struct {
	struct gofer_file *file, *other;
	int native_file, native_other;
} open_files = { .native_file = -EBADF, .native_other = -EBADF };

int raw_call(struct bench *b, uint16_t type, const ProtobufCMessage *message,
	     struct gofer_reply *ret_reply)
{
	struct gofer_request request = { .type = type, .message = message, .fd = -1 };
	struct gofer_reply reply;
	int r = gofer_call(b->c->session, &request, &reply);

	if (r < 0)
		return r;
	if (ret_reply)
		*ret_reply = reply;
	else
		gofer_reply_free(&reply);
	return 0;
}

void raw_path(struct bench *b, const char *path, Gofer__Path *ret, char *buf)
{
	snprintf(buf, PATH_MAX, "%.4000s/%s", b->base, path);
	pipe_path(ret, b->volume, buf);
}

static int ping(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	Gofer__PingRequest q = GOFER__PING_REQUEST__INIT;

	return raw_call(b, RPC_TYPE_Ping, &q.base, NULL);
}

static int leave(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	Gofer__LeaveRequest q = GOFER__LEAVE_REQUEST__INIT;

	return raw_call(b, RPC_TYPE_Leave, &q.base, NULL);
}

static int stats(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	Gofer__StatsRequest q = GOFER__STATS_REQUEST__INIT;

	return raw_call(b, RPC_TYPE_Stats, &q.base, NULL);
}

/* Of a request that is not there: it has been answered. */
static int cancel(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	Gofer__CancelRequest q = GOFER__CANCEL_REQUEST__INIT;
	int r;

	q.tag = UINT32_MAX - 9;
	r = raw_call(b, RPC_TYPE_Cancel, &q.base, NULL);
	return r == -ENOENT ? 0 : r;
}

static int set_identity(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	Gofer__SetIdentityRequest q = GOFER__SET_IDENTITY_REQUEST__INIT;

	q.id = 1;
	q.uid = geteuid();
	q.gid = getegid();
	return raw_call(b, RPC_TYPE_SetIdentity, &q.base, NULL);
}

/* A whole session: the server starts a process for it. */
static int hello(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	struct gofer_session *session;
	int r = cli_open_session(b->c, &session);

	if (r == 0)
		gofer_session_close(session);
	return r;
}

/* ... with a channel of shared memory. */
static int channel(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	uint32_t channels = b->c->channels;
	struct gofer_session *session;
	struct gofer_stats got;
	int r;

	b->c->channels = 1;
	r = cli_open_session(b->c, &session);
	b->c->channels = channels;
	if (r < 0)
		return r;
	gofer_session_get_stats(session, &got);
	gofer_session_close(session);
	return got.channels ? 0 : -EOPNOTSUPP;
}

static const struct bench_call session_calls[] = {
	{ "Hello", NULL, TOY_NONE, NULL, hello, NULL, NULL },
	{ "Channel", NULL, TOY_NONE, NULL, channel, NULL, NULL },
	{ "SetIdentity", NULL, TOY_NONE, NULL, set_identity, NULL, NULL },
	{ "Cancel", NULL, TOY_NONE, NULL, cancel, NULL, NULL },
	{ "Ping", NULL, TOY_NONE, NULL, ping, NULL, NULL },
	{ "Leave", NULL, TOY_NONE, NULL, leave, NULL, NULL },
	{ "Stats", NULL, TOY_NONE, NULL, stats, NULL, NULL },
};
const struct bench_calls calls_session = { false, session_calls, ARRAY_SIZE(session_calls) };

/* ---- by handle ---- */

static int read_gofer(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	return whole(gofer_pread(open_files.file, b->block, BENCH_BLOCK, 0), BENCH_BLOCK);
}

static int read_native(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	return native_whole(pread(open_files.native_file, b->block, BENCH_BLOCK, 0), BENCH_BLOCK);
}

static int write_gofer(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	return whole(gofer_pwrite(open_files.file, b->block, BENCH_BLOCK, 0), BENCH_BLOCK);
}

static int write_native(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	return native_whole(pwrite(open_files.native_file, b->block, BENCH_BLOCK, 0), BENCH_BLOCK);
}

static int sync_gofer(struct bench *b _unused_, struct spot *s _unused_, unsigned i _unused_)
{
	return gofer_fsync(open_files.file, true);
}

static int sync_native(struct bench *b _unused_, struct spot *s _unused_, unsigned i _unused_)
{
	return native_result(fdatasync(open_files.native_file));
}

static int allocate_gofer(struct bench *b _unused_, struct spot *s _unused_, unsigned i _unused_)
{
	return gofer_fallocate(open_files.file, 0, 0, BENCH_BLOCK);
}

static int allocate_native(struct bench *b _unused_, struct spot *s _unused_, unsigned i _unused_)
{
	return native_result(fallocate(open_files.native_file, 0, 0, BENCH_BLOCK));
}

static int seek_gofer(struct bench *b _unused_, struct spot *s _unused_, unsigned i _unused_)
{
	return (int)MIN(gofer_lseek(open_files.file, 0, SEEK_DATA), 0);
}

static int seek_native(struct bench *b _unused_, struct spot *s _unused_, unsigned i _unused_)
{
	return native_result((int)lseek(open_files.native_file, 0, SEEK_DATA));
}

static int copy_gofer(struct bench *b _unused_, struct spot *s _unused_, unsigned i _unused_)
{
	return whole(gofer_copy_file_range(open_files.file, 0, open_files.other, 0, BENCH_BLOCK),
		     BENCH_BLOCK);
}

static int copy_native_call(struct bench *b _unused_, struct spot *s _unused_, unsigned i _unused_)
{
	off_t in = 0, out = 0;

	return native_whole(copy_file_range(open_files.native_file, &in, open_files.native_other,
					    &out, BENCH_BLOCK, 0),
			    BENCH_BLOCK);
}

/* A handle of the server, and a descriptor here: one of them is closed. */
static int open_handle(struct bench *b, struct spot *s, unsigned i)
{
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	struct gofer_reply reply;
	char buf[PATH_MAX];
	Gofer__Path p;
	int r;

	raw_path(b, s->file, &p, buf);
	q.path = &p;
	q.flags = GOFER__OPEN_FLAG__OPEN_READ;
	r = raw_call(b, RPC_TYPE_Open, &q.base, &reply);
	if (r < 0)
		return r;
	if (reply.kind == GOFER_REPLY_OK)
		call_handles[i] = ((Gofer__OpenReply *)(void *)reply.message)->handle;
	gofer_reply_free(&reply);
	call_descriptors[i] =
		b->native >= 0 ? openat(b->native, s->file, O_RDONLY | O_CLOEXEC) : -EBADF;
	return 0;
}

static int close_gofer(struct bench *b, struct spot *s _unused_, unsigned i)
{
	gofer_handle_close(b->c->session, call_handles[i]);
	call_handles[i] = 0;
	return gofer_session_flush(b->c->session);
}

static int close_native(struct bench *b _unused_, struct spot *s _unused_, unsigned i)
{
	int fd = TAKE_FD(call_descriptors[i]);

	return native_result(close(fd));
}

static int close_other(struct bench *b, struct spot *s, unsigned i)
{
	fd_close(TAKE_FD(call_descriptors[i]));
	return call_handles[i] ? close_gofer(b, s, i) : 0;
}
static const struct bench_call calls[] = {
	{ "Read", NULL, TOY_NONE, NULL, read_gofer, read_native, NULL },
	{ "Write", NULL, TOY_NONE, NULL, write_gofer, write_native, NULL },
	{ "Sync", NULL, TOY_NONE, NULL, sync_gofer, sync_native, NULL },
	{ "Allocate", NULL, TOY_NONE, NULL, allocate_gofer, allocate_native, NULL },
	{ "Seek", NULL, TOY_NONE, NULL, seek_gofer, seek_native, NULL },
	{ "Copy", NULL, TOY_NONE, NULL, copy_gofer, copy_native_call, NULL },
	{ "Close", NULL, TOY_NONE, open_handle, close_gofer, close_native, close_other },
};
const struct bench_calls calls_handle = { false, calls, ARRAY_SIZE(calls) };

int calls_handle_begin(struct bench *b)
{
	int r = gofer_open(b->plain, "h", O_RDWR | O_CREAT, 0644, &open_files.file);

	if (r == 0)
		r = gofer_open(b->plain, "o", O_RDWR | O_CREAT, 0644, &open_files.other);
	if (r == 0)
		r = write_gofer(b, NULL, 0);
	if (r == 0 && b->native >= 0) {
		open_files.native_file = openat(b->native, "h", O_RDWR | O_CLOEXEC);
		open_files.native_other = openat(b->native, "o", O_RDWR | O_CLOEXEC);
		if (open_files.native_file < 0 || open_files.native_other < 0)
			r = -errno;
	}
	return r;
}

void calls_handle_end(struct bench *b _unused_)
{
	if (open_files.file)
		(void)gofer_close(TAKE_PTR(open_files.file));
	if (open_files.other)
		(void)gofer_close(TAKE_PTR(open_files.other));
	open_files.native_file = fd_close(open_files.native_file);
	open_files.native_other = fd_close(open_files.native_other);
}
