/*
 * dispatch.c - from the bytes of a packet to a handler, by the table of RPCs. Everything that all
 * requests have in common happens here, in this order: framing, type, flags, descriptors, Hello
 * first, decoding within the budget, validation, filesystem and read-only check, base handles,
 * identity, handler. A handler that is reached may rely on all of it.
 */
#include "server/session.h"

#include <inttypes.h>
#include <string.h>

#include "common/log.h"
#include "common/path.h"
#include "proto/errnos.h"

_Static_assert(FRAME_MAX_PER_PACKET <= 64, "packet.done and packet.cancelled have a bit per frame");

/* The table of handlers, from the table of RPCs: a row without a handler refuses to link. */
#define RPC(Name, snake, type, reply, flags)                                  \
	static int call_##snake(struct request *r, const ProtobufCMessage *m) \
	{                                                                     \
		return handle_##snake(r, (const Gofer__##Name##Request *)m);  \
	}
#include "proto/rpc.def"
#undef RPC

static int (*const handlers[RPC_COUNT])(struct request *, const ProtobufCMessage *) = {
#define RPC(Name, snake, type, reply, flags) [RPC_INDEX_##Name] = call_##snake,
#include "proto/rpc.def"
#undef RPC
};

int packet_parse(struct packet *p, const struct packet_in *in)
{
	size_t at = 0;
	unsigned takers = 0;

	while (at < p->size) {
		ssize_t n;

		if (p->n_frames == FRAME_MAX_PER_PACKET)
			return -EPROTO;
		n = frame_parse(p->bytes + at, p->size - at, &p->frames[p->n_frames]);
		if (n < 0)
			return n;
		if (p->frames[p->n_frames].header.tag == FRAME_NOTICE_TAG)
			return -EPROTO;
		takers += p->frames[p->n_frames].header.fds;
		p->n_frames++;
		at += n;
	}
	if (takers > 1 || in->extra || (in->fd >= 0 && takers == 0))
		return -EPROTO;
	/* A frame that lacks its descriptor is in order if the kernel had no room for it, and gets
	 * EMFILE. */
	if (takers && in->fd < 0 && !in->truncated)
		return -EPROTO;
	return 0;
}

static const struct volume *find_volume(const struct server *server, uint32_t fs_id)
{
	for (size_t i = 0; i < server->n_volumes; i++)
		if (server->volumes[i].fs.fs_id == fs_id)
			return &server->volumes[i];
	return NULL;
}

/* Whether this request would change a filesystem: what the row says, and for Open what its flags
 * say. */
static bool writes(const struct rpc_info *rpc, const ProtobufCMessage *message)
{
	const uint32_t changing = GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE |
				  GOFER__OPEN_FLAG__OPEN_TRUNCATE | GOFER__OPEN_FLAG__OPEN_TMPFILE |
				  GOFER__OPEN_FLAG__OPEN_APPEND;

	if (rpc->index == RPC_INDEX_Open)
		return ((const Gofer__OpenRequest *)message)->flags & changing;
	return rpc->flags & RPC_WRITES;
}

/* Looks up what the request's paths name before any component is looked at: filesystem, base
 * handles, identity. */
static int prepare_paths(struct request *r, const ProtobufCMessage *message)
{
	const Gofer__Path *path = rpc_path(r->rpc, message, 0);

	if (!path)
		return 0;
	r->volume = find_volume(r->session->server, path->fs_id);
	if (!r->volume)
		return -ENODEV;
	if (r->volume->read_only && writes(r->rpc, message))
		return -EROFS;
	for (unsigned i = 0; i < 2; i++) {
		path = rpc_path(r->rpc, message, i);
		if (!path || !path->base_handle)
			continue;
		r->base[i] = handle_ref(&r->session->handles, path->base_handle);
		if (!r->base[i] || r->base[i]->volume != r->volume)
			return -EBADF;
	}
	return session_identity_enter(r->worker, r->volume, rpc_path(r->rpc, message, 0)->identity);
}

static int check_frame(struct request *r, const struct packet *p)
{
	const struct frame_header *h = &r->frame->header;
	uint8_t allowed = h->type == RPC_TYPE_Close ? FRAME_NO_REPLY : 0;

	if (!r->rpc)
		return -EOPNOTSUPP;
	if (h->flags & ~allowed)
		return -EINVAL;
	if (!(r->rpc->flags & RPC_UNGREETED) &&
	    !atomic_load_explicit(&r->session->greeted, memory_order_relaxed))
		return -EPROTO;
	if (h->data_len && !(r->rpc->flags & RPC_DATA_IN))
		return -EINVAL;
	if (h->fds != (r->rpc->flags & RPC_TAKES_FD ? 1 : 0))
		return -EINVAL;
	if (h->fds && p->fd < 0)
		return r->session->stream ? -EOPNOTSUPP : -EMFILE;
	return 0;
}

static int execute(struct request *r, struct packet *p)
{
	ProtobufCMessage *message;
	int e;

	e = check_frame(r, p);
	if (e < 0)
		return e;
	if (r->frame->header.fds) {
		r->fd = p->fd;
		p->fd = -EBADF;
	}
	e = arena_unpack(&r->worker->arena, r->rpc->request, r->frame->body,
			 r->frame->header.body_len, &message);
	if (e == 0)
		e = r->rpc->validate(message, &r->frame->header);
	if (e == 0)
		e = prepare_paths(r, message);
	if (e == 0 && request_cancelled(r))
		e = -ECANCELED;
	if (e == 0)
		e = handlers[r->rpc->index](r, message);
	if (e == -EINTR && request_cancelled(r))
		e = -ECANCELED;
	if (e < 0 && r->last_link) {
		/* Behind a link that was followed on speculation an error proves nothing: the
		 * client's mounts decide. */
		r->stop = r->last_link;
		e = REQUEST_STOP;
	}
	return e;
}

static void log_request(const struct request *r, int result, uint64_t ns)
{
	char who[PEER_WORDS_MAX];

	log_info("%s tag %" PRIu32 " %s: %s, %" PRIu64 " us", r->rpc ? r->rpc->name : "?",
		 r->frame->header.tag, peer_words(r->session->peer, who),
		 result < 0               ? errno_name(-result)
		 : result == REQUEST_STOP ? "stop"
					  : "ok",
		 ns / 1000);
}

static void execute_frame(struct worker *w, struct packet *p, const struct frame *frame)
{
	struct session *s = w->session;
	struct request r = {
		.worker = w,
		.session = s,
		.rpc = rpc_find(frame->header.type),
		.packet = p,
		.frame = frame,
		.fd = -EBADF,
		.reply_fd = -EBADF,
	};
	uint64_t start = now_ns(), ns;
	int e;

	arena_reset(&w->arena);
	e = execute(&r, p);
	ns = now_ns() - start;
	if (r.rpc) {
		struct rpc_counters *c = &s->counters[r.rpc->index];

		atomic_fetch_add_explicit(&c->calls, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&c->ns, ns, memory_order_relaxed);
		if (e < 0)
			atomic_fetch_add_explicit(&c->errors, 1, memory_order_relaxed);
	}
	if (s->server->log_requests && log_allow(&w->log_limit, 1000))
		log_request(&r, e, ns);

	packet_frame_done(s, p);
	if (e == REQUEST_STOP)
		reply_stop(w, frame, r.stop);
	else if (e < 0)
		reply_error(w, frame, -e);
	else
		reply_ok(&r);
	fd_close(r.reply_fd);
	fd_close(r.fd);
	handle_unref(r.base[0]);
	handle_unref(r.base[1]);
}

void packet_execute(struct worker *w, struct packet *p, bool control_only)
{
	struct session *s = w->session;

	while (p->next < p->n_frames && !atomic_load_explicit(&s->ended, memory_order_relaxed)) {
		const struct frame *frame = &p->frames[p->next];
		const struct rpc_info *rpc = rpc_find(frame->header.type);
		uint64_t bit = UINT64_C(1) << p->next;

		/* What is refused in any case does not block, and must not wait: only the requests
		 * in flight are counted, and what waits is bounded by that. */
		if (control_only && rpc && !(rpc->flags & RPC_CONTROL) && !(p->done & bit) &&
		    !(frame->header.flags & FRAME_NO_REPLY))
			return;
		/* Replies that are ready do not wait for one that may take long. */
		if (rpc && (rpc->flags & RPC_BLOCKS))
			(void)reply_flush(w);
		if (p->done & bit)
			packet_frame_done(s, p); /* refused on arrival */
		else
			execute_frame(w, p, frame);
	}
}
