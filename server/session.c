/*
 * session.c - one session from Hello's deadline to the peer's leaving.
 *
 * The calling thread is the first worker; pool.c says when others are started and which of them
 * receive. The end of the stream ends them all. SIGTERM's handler shuts the receiving side of the
 * socket down: no packet comes any more, but the peer still listens, so what was received is
 * executed and answered first. Whatever hangs in the kernel is interrupted at the end; what that
 * does not help goes with the process.
 */
#include "server/session.h"

#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "common/log.h"
#include "proto/channel.h"
#include "server/buffer.h"

enum {
	END_WAIT_MS = 2000, /* for threads stuck in the kernel, before the process ends around
			       them */
	JOIN_STEP_MS = 10,  /* until threads of channels are told again that it is over */
	END_LINES_PER_SECOND = 10,
	STREAM_FRAMES = 16,
};

/*
 * Whether a line about a session's end may be logged: a client can end sessions as fast as it can
 * make them, each in a process of its own, so the allowance is common to all.
 */
static bool may_log_end(struct server_shared *shared)
{
	uint64_t second = now_ns() / 1000000000 << 32, old = atomic_load(&shared->logged), new;

	do
		new = (old & ~UINT64_C(0xffffffff)) == second ? old + 1 : second + 1;
	while (!atomic_compare_exchange_weak(&shared->logged, &old, new));
	return (new &UINT64_C(0xffffffff)) <= END_LINES_PER_SECOND;
}

static void log_end(const struct session *s, const char *why)
{
	char who[PEER_WORDS_MAX];

	if (!may_log_end(s->server->shared))
		return;
	log_info("session of %s ended: %s", peer_words(s->peer, who), why);
}

void session_break(struct session *s)
{
	log_end(s, "it broke the framing");
	resume_off(s);
	atomic_store(&s->ended, true);
	(void)shutdown(s->sock, SHUT_RDWR);
}

static void log_stuck(const struct session *s)
{
	char who[PEER_WORDS_MAX];

	if (may_log_end(s->server->shared))
		log_warning("session of %s ended with requests stuck in the kernel",
			    peer_words(s->peer, who));
}

static volatile sig_atomic_t told_to_end;

bool session_told_to_end(void)
{
	return told_to_end;
}

static int worker_init(struct worker *w, struct session *s)
{
	void *block = buffer_new(SESSION_ARENA_SIZE);

	*w = (struct worker){ .session = s, .current = { .fd = -EBADF } };
	w->identity.fixed = s->fixed;
	w->identity.fixed_uid = s->volume_identities[0].uid;
	w->identity.fixed_gid = s->volume_identities[0].gid;
	if (!block)
		return -ENOMEM;
	arena_init_at(&w->arena, block, SESSION_ARENA_SIZE);
	return 0;
}

struct worker *worker_new(struct session *s)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w || worker_init(w, s) < 0)
		return worker_free(w);
	w->in = buffer_new(FRAME_MAX_PACKET);
	w->data = buffer_new(FRAME_MAX_DATA);
	w->out = buffer_new(FRAME_MAX_PACKET);
	return w->in && w->data && w->out ? w : worker_free(w);
}

struct worker *worker_new_channel(struct session *s, struct channel *c)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w || worker_init(w, s) < 0)
		return worker_free(w);
	w->in = buffer_new(CHANNEL_FRAMES);
	if (!w->in)
		return worker_free(w);
	w->channel = c;
	channel_buffers(c, &w->data, &w->out);
	return w;
}

struct worker *worker_free(struct worker *w)
{
	if (w) {
		buffer_free(w->arena.block, SESSION_ARENA_SIZE);
		buffer_free(w->in, w->channel ? (size_t)CHANNEL_FRAMES : FRAME_MAX_PACKET);
		if (w->channel) {
			channel_free(w->channel);
		} else {
			buffer_free(w->data, FRAME_MAX_DATA);
			buffer_free(w->out, FRAME_MAX_PACKET);
		}
		session_identity_unref(w->acting);
		free(w);
	}
	return NULL;
}

/* How many of its frames the client still waits for. */
static uint32_t packet_waiting(const struct packet *p)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < p->n_frames; i++)
		n += !(p->done & UINT64_C(1) << i) && !(p->frames[i].header.flags & FRAME_NO_REPLY);
	return n;
}

static void packet_link(struct session *s, struct packet *p)
{
	p->live_prev = NULL;
	p->live_next = s->live;
	if (s->live)
		s->live->live_prev = p;
	s->live = p;
	s->in_flight += packet_waiting(p);
}

static void packet_unlink(struct session *s, struct packet *p)
{
	if (p->live_prev)
		p->live_prev->live_next = p->live_next;
	else
		s->live = p->live_next;
	if (p->live_next)
		p->live_next->live_prev = p->live_prev;
	s->in_flight -= packet_waiting(p);
}

/*
 * Before the reply to the frame `next` leaves: the client may use its tag and its place among those
 * in flight again as soon as it has read it, which may be before this thread runs again.
 */
void packet_frame_done(struct session *s, struct packet *p)
{
	uint64_t bit = UINT64_C(1) << p->next;

	pthread_mutex_lock(&s->lock);
	if (!(p->done & bit) && !(p->frames[p->next].header.flags & FRAME_NO_REPLY))
		s->in_flight--;
	p->done |= bit;
	p->next++;
	pthread_mutex_unlock(&s->lock);
}

static bool tag_is_live(const struct session *s, const struct packet *except, uint32_t tag)
{
	for (const struct packet *p = s->live; p; p = p->live_next)
		for (unsigned i = 0; i < p->n_frames && p != except; i++)
			if (p->frames[i].header.tag == tag && !(p->done & UINT64_C(1) << i))
				return true;
	return false;
}

/*
 * Takes a packet into the books: frames whose tag is in flight already, or that are more than the
 * client may have in flight, are answered with an error here and now.
 */
void packet_admit(struct worker *w, struct packet *p)
{
	struct session *s = w->session;
	uint64_t refused_tag = 0, refused_busy = 0;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0, wanted = 0; i < p->n_frames; i++) {
		const struct frame_header *h = &p->frames[i].header;
		bool twice = tag_is_live(s, p, h->tag);

		for (unsigned j = 0; j < i && !twice; j++)
			twice = p->frames[j].header.tag == h->tag && !(p->done & UINT64_C(1) << j);
		if (h->flags & FRAME_NO_REPLY)
			continue; /* its tag names nothing */
		if (twice)
			refused_tag |= UINT64_C(1) << i;
		else if (s->in_flight + wanted >= s->server->limits.max_in_flight)
			refused_busy |= UINT64_C(1) << i;
		else
			wanted++;
		p->done |= (refused_tag | refused_busy) & UINT64_C(1) << i;
	}
	p->worker = w;
	packet_link(s, p);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < p->n_frames && (refused_tag | refused_busy); i++) {
		if (refused_tag & UINT64_C(1) << i)
			reply_error(w, &p->frames[i], EALREADY);
		else if (refused_busy & UINT64_C(1) << i)
			reply_error(w, &p->frames[i], EAGAIN);
	}
}

int session_cancel(struct session *s, uint32_t tag)
{
	int r = -ENOENT;

	pthread_mutex_lock(&s->lock);
	for (struct packet *p = s->live; p && r < 0; p = p->live_next)
		for (unsigned i = 0; i < p->n_frames; i++) {
			uint64_t bit = UINT64_C(1) << i;

			if (p->frames[i].header.tag != tag || (p->done & bit) ||
			    p->frames[i].header.type == RPC_TYPE_Cancel ||
			    (p->frames[i].header.flags & FRAME_NO_REPLY))
				continue;
			p->cancelled |= bit;
			/* A system call that waits is interrupted; one that has not begun is
			 * refused by request_cancelled(). */
			if (p->worker && p->next == i &&
			    !pthread_equal(p->worker->thread, pthread_self()))
				pthread_kill(p->worker->thread, SIGUSR1);
			r = 0;
			break;
		}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static struct packet *queue_pop(struct session *s, struct worker *w)
{
	struct packet *p;

	pthread_mutex_lock(&s->lock);
	p = s->queue_head;
	if (p) {
		s->queue_head = p->queue_next;
		if (!s->queue_head)
			s->queue_tail = &s->queue_head;
		p->worker = w;
	}
	pthread_mutex_unlock(&s->lock);
	return p;
}

/* Moves what is left of the packet to the queue, for another thread. False: there is no memory for
 * that; execute it here. */
static bool queue_push(struct session *s, struct packet *p)
{
	struct packet *copy = malloc(sizeof(*copy));
	uint8_t *bytes = malloc(p->size);

	if (!copy || !bytes) {
		free(copy);
		free(bytes);
		return false;
	}
	memcpy(bytes, p->bytes, p->size);
	pthread_mutex_lock(&s->lock);
	*copy = *p;
	copy->bytes = bytes;
	for (unsigned i = 0; i < copy->n_frames; i++) {
		copy->frames[i].body = bytes + (p->frames[i].body - p->bytes);
		copy->frames[i].data = bytes + (p->frames[i].data - p->bytes);
	}
	packet_unlink(s, p);
	packet_link(s, copy);
	copy->worker = NULL;
	copy->queue_next = NULL;
	*s->queue_tail = copy;
	s->queue_tail = &copy->queue_next;
	p->fd = -EBADF;
	pthread_mutex_unlock(&s->lock);
	return true;
}

void packet_finish(struct worker *w, struct packet *p)
{
	struct session *s = w->session;

	(void)reply_flush(w);
	pthread_mutex_lock(&s->lock);
	packet_unlink(s, p);
	pthread_mutex_unlock(&s->lock);
	p->fd = fd_close(p->fd);
}

void run_queue(struct worker *w)
{
	struct packet *p;

	while (!atomic_load_explicit(&w->session->ended, memory_order_relaxed) &&
	       (p = queue_pop(w->session, w))) {
		packet_execute(w, p, false);
		packet_finish(w, p);
		free(p->bytes);
		free(p);
	}
}

/* Whether the peer is there for replies, though no more requests come from it: we drain, or it shut
 * its sending side down. */
static bool peer_listens(const struct session *s)
{
	struct pollfd p = { .fd = s->sock };

	return poll(&p, 1, 0) == 0;
}

/*
 * The next packet, as packet_recv(). Until Hello, a receive gets what is left of the deadline: it
 * began with the connection, and nothing that the peer sends puts it off. -EAGAIN: it is over.
 */
static ssize_t receive_once(struct worker *w, struct packet_in *ret_in)
{
	struct session *s = w->session;

	if (s->hello_deadline && !atomic_load_explicit(&s->greeted, memory_order_relaxed)) {
		uint64_t now = now_ns(),
			 left = s->hello_deadline > now ? (s->hello_deadline - now) / 1000 : 0;
		struct timeval tv = { .tv_sec = (time_t)(left / 1000000),
				      .tv_usec = (suseconds_t)(left % 1000000) };

		if (left == 0)
			return -EAGAIN;
		if (setsockopt(s->sock, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0)
			return -errno;
	}
	if (!s->stream)
		return packet_recv(s->sock, w->in, FRAME_MAX_PACKET, 0, ret_in);
	/* A descriptor that a request speaks of was lost on the way. */
	*ret_in = (struct packet_in){ .fd = -EBADF, .truncated = true };
	return stream_recv(s->stream, w->in, STREAM_FRAMES, 0);
}

static ssize_t receive(struct worker *w, struct packet_in *ret_in)
{
	ssize_t n;

	do
		n = receive_once(w, ret_in);
	while (n == -EINPROGRESS);
	return n;
}

/*
 * Receives and executes until no packet comes any more and none is left. True for the first thread
 * that saw the end.
 */
static bool worker_loop(struct worker *w)
{
	struct session *s = w->session;
	bool drop = true, first;

	while (!atomic_load_explicit(&s->ended, memory_order_relaxed)) {
		struct packet *p = &w->current;
		struct packet_in in;
		ssize_t n;
		bool last;

		pool_enter(w);
		n = receive(w, &in);
		if (n <= 0) {
			(void)pool_leave(w, NULL);
			if (n == -EINTR)
				continue;
			if (n == 0)
				drop = !peer_listens(s);
			if (n == -EPROTO)
				resume_off(s);
			if (drop && atomic_load(&s->resume.on)) {
				/* What has come is executed, and its replies are kept. */
				atomic_store(&s->resume.lost, true);
				drop = false;
				break;
			}
			if (n == -EAGAIN && !atomic_load(&s->greeted))
				log_end(s, "no Hello in time");
			else if (n == -EPROTO)
				log_end(s, "it broke the framing");
			else if (n == -ECONNABORTED)
				log_end(s, "the connection ended inside a message");
			else if (n < 0 && n != -ECONNRESET)
				log_end(s, strerror(-n));
			break;
		}
		atomic_fetch_add_explicit(&s->bytes_in, n, memory_order_relaxed);
		*p = (struct packet){ .bytes = w->in, .size = n, .fd = in.fd };
		if (packet_parse(p, &in) < 0) {
			(void)pool_leave(w, NULL);
			log_end(s, "it broke the framing");
			resume_off(s);
			fd_close(in.fd);
			break;
		}
		last = pool_leave(w, p);
		packet_admit(w, p);
		if (last) {
			packet_execute(w, p, true);
			(void)reply_flush(w);
			if (p->next < p->n_frames && queue_push(s, p))
				continue;
		}
		packet_execute(w, p, false);
		packet_finish(w, p);
	}
	/* Whoever sees the end first tells the others. */
	first = pool_end(s, drop);
	shutdown(s->sock, SHUT_RD);
	run_queue(w);
	return first;
}

static struct timespec in_ms(clockid_t clock, uint32_t ms)
{
	struct timespec t;

	clock_gettime(clock, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

/* How long requests that are being executed have, until they are interrupted. */
static uint32_t grace_ms(const struct session *s)
{
	return atomic_load(&s->ended) ? 0
	       : resume_wanted(s)     ? s->server->limits.resume_ms
				      : s->server->limits.drain_ms;
}

/*
 * The first thread joins the others and ends the session; but it executes requests as they do, and
 * may be the one that hangs. So another thread that sees the session's end waits for it to come out
 * of its request, and failing that ends the process.
 */
static void see_first_out(struct session *s)
{
	struct timespec until = in_ms(CLOCK_MONOTONIC, grace_ms(s));
	bool out;

	pthread_mutex_lock(&s->lock);
	while (!s->joining && pthread_cond_timedwait(&s->pool.parking, &s->lock, &until) == 0)
		;
	if (!s->joining) {
		atomic_store(&s->ended, true);
		pthread_kill(s->first->thread, SIGUSR1);
		until = in_ms(CLOCK_MONOTONIC, END_WAIT_MS);
		while (!s->joining &&
		       pthread_cond_timedwait(&s->pool.parking, &s->lock, &until) == 0)
			;
	}
	out = s->joining;
	pthread_mutex_unlock(&s->lock);
	if (out)
		return;
	log_stuck(s);
	_exit(EXIT_FAILURE);
}

/* What belongs to a thread and not to the process, once per thread. */
int worker_enter(struct worker *w)
{
	/* The latter names descriptors to calls that take only paths. */
	if (unshare(CLONE_FS) < 0 || fchdir(w->session->proc_fd) < 0)
		return -errno;
	umask(0);
	w->umask = 0;
	return 0;
}

void *worker_main(void *userdata)
{
	struct worker *w = userdata;
	int r = worker_enter(w);

	pool_started(w->session, r == 0);
	if (r < 0)
		log_error("a worker thread could not be set up: %s", strerror(-r));
	else if (worker_loop(w))
		see_first_out(w->session);
	return NULL;
}

static atomic_int terminate_sock = -1;

static void on_terminate(int signo _unused_)
{
	int saved = errno, sock = terminate_sock;

	told_to_end = 1;

	if (sock >= 0)
		shutdown(sock, SHUT_RD);
	errno = saved;
}

static void on_interrupt(int signo _unused_)
{
	/* Its purpose is the EINTR. */
}

static int session_init(struct session *s, const struct server *server, int sock,
			const struct peer *peer, int proc_fd)
{
	struct sigaction sa = { .sa_handler = on_terminate };
	int r;

	*s = (struct session){ .server = server, .peer = peer, .sock = sock, .proc_fd = proc_fd };
	s->queue_tail = &s->queue_head;
	pthread_mutex_init(&s->lock, NULL);
	resume_init(s);
	watches_init(&s->watches, server->limits.max_watches);
	r = handle_table_init(&s->handles, server->limits.max_handles);
	if (r < 0)
		return r;
	r = stream_is(sock);
	if (r < 0)
		return r;
	if (r > 0) {
		s->stream = stream_new(sock, SESSION_STREAM_CHUNK, true);
		if (!s->stream)
			return -ENOMEM;
		s->stream->over = &s->ended;
	}
	r = pool_init(s);
	if (r < 0)
		return r;
	r = session_identities_init(s);
	if (r < 0)
		return r;
	terminate_sock = sock;
	if (sigaction(SIGTERM, &sa, NULL) < 0)
		return -errno;
	sa.sa_handler = on_interrupt;
	if (sigaction(SIGUSR1, &sa, NULL) < 0)
		return -errno;
	if (server->limits.hello_ms)
		s->hello_deadline = now_ns() + server->limits.hello_ms * UINT64_C(1000000);
	return 0;
}

/*
 * Joins a thread, until the monotonic time. Whoever serves a channel is told again and again: the
 * client can write what makes it sleep once more.
 */
static bool join_until(struct session *s, struct worker *w, uint64_t until)
{
	for (;;) {
		uint64_t now = now_ns(), left = until > now ? (until - now) / 1000000 : 0;
		struct timespec step = in_ms(
			CLOCK_REALTIME,
			(uint32_t)MIN(left, w->channel ? (uint64_t)JOIN_STEP_MS : UINT32_MAX));

		if (pthread_timedjoin_np(w->thread, NULL, &step) == 0)
			return true;
		if (left == 0)
			return false;
		channels_stop(s);
	}
}

/* Joins threads for `ms`. False: the first of the list is not done. */
static bool join_for(struct session *s, uint32_t ms)
{
	uint64_t until = now_ns() + ms * UINT64_C(1000000);

	while (s->workers) {
		struct worker *w = s->workers;

		if (!join_until(s, w, until))
			return false;
		/* Another that sees the end may look through the list (channels_stop()). */
		pthread_mutex_lock(&s->lock);
		s->workers = w->next;
		pthread_mutex_unlock(&s->lock);
		worker_free(w);
	}
	return true;
}

/* Waits for the other threads. False: some are stuck in the kernel, and what they use must stay. */
static bool session_join(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	s->joining = true;
	pthread_cond_broadcast(&s->pool.parking);
	pthread_mutex_unlock(&s->lock);
	if (join_for(s, grace_ms(s)))
		return true;
	/* Nobody starts a thread any more: the list is ours. */
	atomic_store(&s->ended, true);
	for (struct worker *w = s->workers; w; w = w->next)
		pthread_kill(w->thread, SIGUSR1);
	return join_for(s, END_WAIT_MS);
}

/* Also of what session_init() did not get to the end with. */
static void session_deinit(struct session *s)
{
	struct packet *p;

	terminate_sock = -1;
	while ((p = queue_pop(s, NULL))) {
		packet_unlink(s, p);
		fd_close(p->fd);
		free(p->bytes);
		free(p);
	}
	resume_deinit(s);
	handle_table_deinit(&s->handles);
	session_identities_deinit(s);
	watches_deinit(&s->watches);
	pool_deinit(s);
	stream_free(s->stream);
	pthread_mutex_destroy(&s->lock);
}

/*
 * The connection is lost, and everybody else has ended. True when there is another, whose Hello is answered.
 */
static bool session_go_on(struct worker *w)
{
	struct session *s = w->session;
	char *features[] = { (char *)"resume" };
	Gofer__HelloRequest hello = GOFER__HELLO_REQUEST__INIT;
	struct frame_header h = { .type = RPC_TYPE_Hello };
	struct packet_in in = { .fd = -EBADF };
	struct packet *p = &w->current;
	char who[PEER_WORDS_MAX];

	terminate_sock = -1;
	if (!resume_wait(s, &h.tag)) {
		log_end(s, "its connection was lost");
		return false;
	}
	if (may_log_end(s->server->shared))
		log_info("session of %s goes on over another connection", peer_words(s->peer, who));
	atomic_store(&s->resume.lost, false);
	s->joining = s->pool.over = false;
	s->pool.threads = 1;
	s->pool.idle = s->pool.parked = s->pool.wanted = s->pool.starting = 0;
	w->out_used = w->out_frames = 0;
	terminate_sock = s->sock;
	if (told_to_end)
		(void)shutdown(s->sock, SHUT_RD);
	/* Its first worker has read it: the same words again. */
	hello.version = 1;
	hello.features = features;
	hello.n_features = 1;
	h.body_len = (uint32_t)gofer__hello_request__pack(&hello, w->in + FRAME_HEADER_SIZE);
	frame_header_pack(&h, w->in);
	*p = (struct packet){ .bytes = w->in,
			      .size = FRAME_HEADER_SIZE + h.body_len,
			      .fd = -EBADF };
	atomic_store(&s->greeted, false);
	s->resume.again = true;
	if (packet_parse(p, &in) < 0)
		return false;
	packet_admit(w, p);
	packet_execute(w, p, false);
	packet_finish(w, p);
	s->resume.again = false;
	/* Where it is lost again already, the loop finds that out. */
	(void)resume_replay(w);
	return true;
}

int session_run(const struct server *server, int sock, const struct peer *peer, int proc_fd,
		const volatile sig_atomic_t *draining)
{
	struct session *s = calloc(1, sizeof(*s));
	struct worker *first = NULL;
	int r = s ? 0 : -ENOMEM;

	/* One arena: with more, glibc opens files of /sys and /proc when it makes or shrinks one,
	 * which nothing here may. */
	(void)mallopt(M_ARENA_MAX, 1);
	if (r == 0)
		r = session_init(s, server, sock, peer, proc_fd);
	if (r == 0) {
		first = worker_new(s);
		r = first ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = worker_enter(first);
	if (r < 0) {
		log_error("a session could not be set up: %s", strerror(-r));
		if (s)
			session_deinit(s);
		fd_close(sock);
		worker_free(first);
		free(s);
		return r;
	}
	first->thread = pthread_self();
	s->first = first;
	s->pool.threads = 1;
	if (*draining)
		shutdown(sock, SHUT_RD);
	do {
		(void)worker_loop(first);
		if (!session_join(s)) {
			log_stuck(s);
			return -EDEADLK;
		}
	} while (resume_wanted(s) && session_go_on(first));
	sock = s->sock;
	session_deinit(s);
	fd_close(sock);
	worker_free(first);
	free(s);
	return 0;
}
