/*
 * channel.c - shared-memory channels: a thread for each, which takes its requests out of the area and
 * leaves its replies there (proto/channel.h).
 *
 * The thread is a worker like those that receive from the socket, and a request runs as theirs do:
 * into the books, through dispatch.c, out of the books. So limits, Cancel, counters and identities
 * hold for both alike. One request is under way in a channel at a time, and whoever made it waits for
 * it: a slow one holds up nobody else.
 *
 * The client can write the area whenever it likes. A request's frames are copied before anything of
 * them is looked at. Payload of a request goes from the area into a system call, payload of a reply
 * from a system call into the area: neither is looked at here. A reply is only written, never read.
 *
 * The area belongs to the client: it made it, so its pages are its memory. What is checked is that it
 * cannot shrink under us (SIGBUS), and that it is memory and nothing else: only shmem and hugetlbfs
 * have seals, and pages of the latter can be missing.
 */
#include "server/session.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "common/log.h"
#include "proto/channel.h"

struct channel {
	struct channel_area *area;
	struct channel_side side;
	uint32_t turn;  /* of the request that is executed */
	bool elsewhere; /* its reply goes through the socket */
	/* Whoever waits for it to start: on that thread's stack. */
	struct starting *starting;
};

struct starting {
	sem_t done;
	int result;
};

static int check_area(int fd)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	struct statfs fs;
	struct stat st;
	int has;

	/* First: of what has no seals nothing else is asked, it may be a file that somebody lets hang. */
	has = fcntl(fd, F_GET_SEALS);
	if (has < 0)
		return -errno;
	if ((has & seals) != seals)
		return -EINVAL;
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type != TMPFS_MAGIC || st.st_size != (off_t)sizeof(struct channel_area))
		return -EINVAL;
	return 0;
}

static int map_area(int fd, struct channel **ret_channel)
{
	struct channel *c;
	void *area;
	int r = check_area(fd);

	if (r < 0)
		return r;
	area = mmap(NULL, sizeof(struct channel_area), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED)
		return errno == EPERM || errno == EACCES ? -EINVAL : -errno;
	c = calloc(1, sizeof(*c));
	if (!c) {
		(void)munmap(area, sizeof(struct channel_area));
		return -ENOMEM;
	}
	c->area = area;
	channel_side_init(&c->side, c->area, true);
	*ret_channel = c;
	return 0;
}

void channel_free(struct channel *c)
{
	(void)munmap(c->area, sizeof(struct channel_area));
	free(c);
}

void channel_buffers(struct channel *c, uint8_t **ret_data, uint8_t **ret_out)
{
	*ret_data = c->area->reply.payload;
	*ret_out = c->area->reply.frames;
}

/* ---- requests ---- */

/*
 * The frames of one turn: one request that wants a reply, and perhaps one before it that wants none.
 * They lie in our own memory; only the payload is where the client put it.
 */
static int parse(struct packet *p, const uint8_t *payload)
{
	size_t at = 0;

	for (;;) {
		struct frame *f = &p->frames[p->n_frames];
		struct frame_header *h = &f->header;
		size_t rest = p->size - at;

		if (p->n_frames == CHANNEL_FRAMES_MAX || rest < FRAME_HEADER_SIZE)
			return -EPROTO;
		frame_header_unpack(p->bytes + at, h);
		rest -= FRAME_HEADER_SIZE;
		if (h->body_len > FRAME_MAX_BODY || h->body_len > rest ||
		    h->data_len > FRAME_MAX_DATA || h->tag == FRAME_NOTICE_TAG || h->fds)
			return -EPROTO;
		f->body = p->bytes + at + FRAME_HEADER_SIZE;
		f->data = payload;
		at += FRAME_HEADER_SIZE + h->body_len;
		p->n_frames++;
		if (at == p->size)
			return h->flags & FRAME_NO_REPLY ? -EPROTO : 0;
		if (!(h->flags & FRAME_NO_REPLY) || h->data_len)
			return -EPROTO;
	}
}

static int take(struct worker *w, struct packet *p)
{
	const struct channel_box *box = w->channel->side.in;
	uint32_t size = atomic_load_explicit(&box->length, memory_order_relaxed);

	if (size > CHANNEL_FRAMES)
		return -EPROTO;
	channel_copy_in(w->in, box->frames, size);
	/* Not all of it: that is room for many frames. */
	p->bytes = w->in;
	p->size = size;
	p->fd = -EBADF;
	p->n_frames = p->next = 0;
	p->done = 0;
	atomic_store_explicit(&p->cancelled, 0, memory_order_relaxed);
	return parse(p, box->payload);
}

/* A client that has an answer of one kind comes back sooner or later than with one of another. */
static void remember_rpc(struct channel *c, const struct packet *p)
{
	const struct rpc_info *rpc = rpc_find(p->frames[p->n_frames - 1].header.type);

	if (rpc)
		c->side.rpc = rpc->index;
}

static void serve(struct worker *w)
{
	struct session *s = w->session;
	struct channel *c = w->channel;

	while (!atomic_load_explicit(&s->ended, memory_order_relaxed)) {
		bool last = atomic_load(&c->side.over);
		struct packet *p = &w->current;

		if (channel_wait(&c->side, UINT64_MAX, &c->turn) < 0)
			break;
		if (take(w, p) < 0) {
			session_break(s);
			break;
		}
		atomic_fetch_add_explicit(&s->bytes_in,
					  p->size + p->frames[p->n_frames - 1].header.data_len,
					  memory_order_relaxed);
		c->elsewhere = false;
		remember_rpc(c, p);
		packet_admit(w, p);
		packet_execute(w, p, false);
		packet_finish(w, p);
		/* What was there when the session ended has its reply; a client could go on for ever. */
		if (last)
			break;
	}
}

static void *channel_main(void *userdata)
{
	struct worker *w = userdata;
	int r = worker_enter(w);

	w->channel->starting->result = r;
	(void)sem_post(&w->channel->starting->done);
	if (r < 0)
		log_error("a channel's thread could not be set up: %s", strerror(-r));
	else
		serve(w);
	return NULL;
}

/* ---- replies ---- */

bool channel_replies(const struct worker *w)
{
	return w->channel && !w->channel->elsewhere;
}

void channel_reply(struct worker *w, size_t data_len)
{
	struct channel *c = w->channel;

	atomic_fetch_add_explicit(&w->session->bytes_out, w->out_used + data_len,
				  memory_order_relaxed);
	channel_publish(&c->side, c->turn, (uint32_t)w->out_used, CHANNEL_HERE);
	w->out_used = 0;
	w->out_frames = 0;
}

void channel_reply_elsewhere(struct worker *w)
{
	struct channel *c = w->channel;

	/* First: sending may have to wait until the client reads. */
	c->elsewhere = true;
	channel_publish(&c->side, c->turn, 0, CHANNEL_ON_SOCKET);
}

/* ---- life ---- */

/*
 * Takes the channel, also on failure. Once its thread runs it may be gone at any moment: where the session ends, another thread
 * joins that one and frees what it had.
 */
static int start(struct session *s, struct channel *c)
{
	struct worker *w = worker_new_channel(s, c);
	struct starting starting;
	int r = 0;

	if (!w) {
		channel_free(c);
		return -ENOMEM;
	}
	(void)sem_init(&starting.done, 0, 0);
	c->starting = &starting;
	pthread_mutex_lock(&s->lock);
	if (s->pool.over)
		r = -ECANCELED;
	else if (s->channels >= s->server->limits.max_channels)
		r = -ENOSPC;
	else if (!worker_start(w, channel_main))
		r = -EAGAIN;
	else
		s->channels++;
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		worker_free(w);
	while (r == 0 && sem_wait(&starting.done) < 0)
		;
	(void)sem_destroy(&starting.done);
	return r < 0 ? r : starting.result;
}

int channel_open(struct session *s, int fd)
{
	struct channel *c = NULL;
	int r;

	/* Before memory is had for it, and again when it is there. */
	pthread_mutex_lock(&s->lock);
	r = s->channels >= s->server->limits.max_channels ? -ENOSPC : 0;
	pthread_mutex_unlock(&s->lock);
	if (r == 0)
		r = map_area(fd, &c);
	return r < 0 ? r : start(s, c);
}

void channels_stop(struct session *s)
{
	for (struct worker *w = s->workers; w; w = w->next)
		if (w->channel)
			channel_stop(&w->channel->side);
}
