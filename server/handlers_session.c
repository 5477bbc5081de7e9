/*
 * handlers_session.c - requests about the session itself. None touches a filesystem, so these are served even when every other
 * thread waits for slow storage.
 */
#include "server/session.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

enum {
	PROTOCOL_VERSION = 1,
	PING_TICKS = 50000, /* of 20 microseconds at least */
};

static int describe_volume(struct request *r, const struct volume *v, Gofer__Filesystem **ret)
{
	struct arena *a = &r->worker->arena;
	Gofer__Filesystem *f = arena_alloc(a, sizeof(*f));
	_cleanup_node_ struct fs_node root = FS_NODE_NULL;
	Gofer__Attr attr = GOFER__ATTR__INIT;
	struct fs *fs = (struct fs *)&v->fs;

	if (!f)
		return -EMSGSIZE;
	gofer__filesystem__init(f);
	f->fs_id = v->fs.fs_id;
	f->name = (ProtobufCBinaryData){ .data = (uint8_t *)v->name, .len = strlen(v->name) };
	f->read_only = v->read_only;
	f->may_donate = v->donate != DONATE_NEVER && !r->session->stream;
	f->delegate = v->identity == IDENTITY_DELEGATE;
	/* A root that cannot be asked (unmounted, a dead network server) is offered all the same: its requests say why. */
	if (session_identity_enter(r->worker, v, 0) == 0 && fs->ops->root(fs, &root) == 0 &&
	    fs->ops->getattr(fs, &root, &attr) == 0)
		f->root = request_attr(r, &attr);
	*ret = f;
	return 0;
}

static bool wants_resume(const Gofer__HelloRequest *q)
{
	for (size_t i = 0; i < q->n_features; i++)
		if (strcmp(q->features[i], FEATURE_RESUME) == 0)
			return true;
	return false;
}

/* That the session may be resumed, or is. */
static void offer_resume(struct session *s, Gofer__HelloReply *reply)
{
	static char *features[] = { (char *)FEATURE_RESUME };

	if (!s->resume.again && !resume_begin(s))
		return;
	reply->features = features;
	reply->n_features = ARRAY_SIZE(features);
	reply->token = (ProtobufCBinaryData){ .data = s->resume.token, .len = RPC_TOKEN_SIZE };
	reply->resumed = s->resume.again;
	reply->replays = s->resume.again ? s->resume.n : 0;
}

int handle_hello(struct request *r, const Gofer__HelloRequest *q)
{
	struct session *s = r->session;
	const struct server *server = s->server;
	struct arena *a = &r->worker->arena;
	Gofer__HelloReply *reply = REQUEST_REPLY(r, HelloReply, hello_reply);
	Gofer__Limits *limits = arena_alloc(a, sizeof(*limits));
	struct timeval never = { 0 };

	if (!reply || !limits)
		return -EMSGSIZE;
	if (atomic_load(&s->greeted))
		return -EPROTO;
	/* The connection is another process's then: it is not ended, only left. */
	if (q->resume.len && r->packet->n_frames == 1 &&
	    resume_hand_over(s, q->resume.data, r->frame->header.tag))
		_exit(EXIT_SUCCESS);
	reply->filesystems = arena_calloc(a, server->n_volumes, sizeof(*reply->filesystems));
	if (!reply->filesystems)
		return -EMSGSIZE;
	for (size_t i = 0; i < server->n_volumes; i++) {
		int e = describe_volume(r, &server->volumes[i], &reply->filesystems[i]);

		if (e < 0)
			return e;
	}
	reply->n_filesystems = server->n_volumes;
	gofer__limits__init(limits);
	limits->max_frame = FRAME_MAX_PACKET;
	limits->max_data = FRAME_MAX_DATA;
	limits->max_in_flight = server->limits.max_in_flight;
	limits->max_handles = server->limits.max_handles;
	limits->inline_limit = FRAME_MAX_DATA;
	limits->max_identities = server->limits.max_identities;
	reply->limits = limits;
	reply->version = PROTOCOL_VERSION;
	reply->server = (char *)server->version;
	if (setsockopt(s->sock, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof(never)) < 0)
		return -errno;
	if (wants_resume(q))
		offer_resume(s, reply);
	atomic_store(&s->greeted, true);
	return 0;
}

int handle_set_identity(struct request *r, const Gofer__SetIdentityRequest *q)
{
	return session_identity_set(r->session, q);
}

int handle_cancel(struct request *r, const Gofer__CancelRequest *q)
{
	return session_cancel(r->session, q->tag);
}

/* A thread that has just donated a descriptor has it for a moment longer than the client knows of it. That moment ends by itself. */
int handle_ping(struct request *r, const Gofer__PingRequest *q _unused_)
{
	const struct timespec tick = { .tv_nsec = 20000 };

	for (unsigned i = 0; atomic_load(&r->session->donating) && i < PING_TICKS; i++)
		(void)ppoll(NULL, 0, &tick, NULL);
	return 0;
}

int handle_leave(struct request *r, const Gofer__LeaveRequest *q _unused_)
{
	resume_off(r->session);
	return 0;
}

int handle_stats(struct request *r, const Gofer__StatsRequest *q _unused_)
{
	struct session *s = r->session;
	struct arena *a = &r->worker->arena;
	Gofer__StatsReply *reply = REQUEST_REPLY(r, StatsReply, stats_reply);
	Gofer__RpcCount *counts = arena_calloc(a, RPC_COUNT, sizeof(*counts));

	if (!reply || !counts)
		return -EMSGSIZE;
	reply->rpcs = arena_calloc(a, RPC_COUNT, sizeof(*reply->rpcs));
	if (!reply->rpcs)
		return -EMSGSIZE;
	for (size_t i = 0; i < RPC_COUNT; i++) {
		Gofer__RpcCount *c = &counts[i];

		gofer__rpc_count__init(c);
		c->type = rpc_table[i].type;
		c->calls = atomic_load(&s->counters[i].calls);
		c->errors = atomic_load(&s->counters[i].errors);
		c->nanoseconds = atomic_load(&s->counters[i].ns);
		if (c->calls)
			reply->rpcs[reply->n_rpcs++] = c;
	}
	reply->bytes_in = atomic_load(&s->bytes_in);
	reply->bytes_out = atomic_load(&s->bytes_out);
	reply->handles = handle_count(&s->handles);
	reply->donated = atomic_load(&s->donated);
	pthread_mutex_lock(&s->lock);
	reply->threads = s->pool.threads;
	reply->channels = s->channels;
	pthread_mutex_unlock(&s->lock);
	reply->sessions = atomic_load(&s->server->shared->sessions);
	reply->uptime = (now_ns() - atomic_load(&s->server->shared->started)) / 1000000000;
	return 0;
}

int handle_channel(struct request *r, const Gofer__ChannelRequest *q _unused_)
{
	return channel_open(r->session, r->fd);
}

int handle_close(struct request *r, const Gofer__CloseRequest *q)
{
	int result = 0;

	/* Every one is closed; the first number that names nothing is the result. */
	for (size_t i = 0; i < q->n_handles; i++) {
		int e = handle_remove(&r->session->handles, q->handles[i]);

		if (e < 0 && result == 0)
			result = e;
	}
	return result;
}
