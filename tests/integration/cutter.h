/*
 * cutter.h - a relay in this process between libgofer and a server, over Unix streams, that cuts a
 * connection where it is told to: at a request, at a reply, or after so many bytes; and counts the
 * requests that the server got whole.
 *
 * Two threads per connection, one per direction: they take a frame, look at it, and pass it on. A cut
 * shuts both sides down; what was passed on before arrives.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/frame.h"
#include "proto/rpc.h"
#include "tests/integration/proof.h"

enum cut {
	CUT_NEVER,
	CUT_BEFORE, /* the request does not arrive */
	CUT_INSIDE, /* half of it does */
	CUT_AFTER,  /* it is executed, and the reply does not arrive */
	CUT_REPLY,  /* ... half of the reply does */
	CUT_MODES,
};
static const char *const cut_names[CUT_MODES] _unused_ = { "uncut", "before it arrived",
							   "in its middle", "before the reply",
							   "in the reply's middle" };

struct cutter {
	int listener;
	struct sockaddr_un here, there;
	pthread_t thread;
	pthread_mutex_t lock;
	enum cut cut; /* with the lock: what is to be done next, once */
	uint16_t type;
	unsigned skip; /* requests of that type that pass before */
	bool awaiting; /* CUT_AFTER, CUT_REPLY: the request has passed */
	uint32_t tag;
	int64_t up, down; /* bytes after which the connection that is made next is cut; -1: never */
	struct cut_link *links;
	_Atomic unsigned delivered[RPC_TYPE_LIMIT];
	_Atomic unsigned connections, cuts;
	bool once;                    /* ... and that then nobody is let through */
	_Atomic bool refuses, ending; /* nobody is let through; it is over */
};

struct cut_link {
	struct cutter *cutter;
	struct cut_link *next;
	pthread_t threads[2];
	int client, server;
	int64_t up, down;
};

static inline void cut_now(struct cut_link *l)
{
	(void)shutdown(l->client, SHUT_RDWR);
	(void)shutdown(l->server, SHUT_RDWR);
}

static inline bool cut_read(int fd, uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, buf, len, 0);

		if (n <= 0)
			return false;
		buf += n;
		len -= (size_t)n;
	}
	return true;
}

static inline bool cut_write(int fd, const uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		buf += n;
		len -= (size_t)n;
	}
	return true;
}

/* The length of the next frame; 0 at the end. */
static inline size_t cut_frame(int fd, uint8_t *buf, struct frame_header *ret_header)
{
	size_t rest;

	if (!cut_read(fd, buf, FRAME_HEADER_SIZE))
		return 0;
	frame_header_unpack(buf, ret_header);
	rest = (size_t)ret_header->body_len + ret_header->data_len;
	return cut_read(fd, buf + FRAME_HEADER_SIZE, rest) ? FRAME_HEADER_SIZE + rest : 0;
}

/* How much of a frame is passed on; less than `len`: then it is cut. */
static inline size_t cut_judge(struct cut_link *l, bool up, const struct frame_header *h,
			       size_t len)
{
	struct cutter *c = l->cutter;
	int64_t *budget = up ? &l->up : &l->down;
	size_t pass = len;

	pthread_mutex_lock(&c->lock);
	if (*budget >= 0) {
		pass = MIN(len, (size_t)*budget);
		*budget -= (int64_t)pass;
	}
	if (up && c->cut && !c->awaiting && h->type == c->type && !c->skip--) {
		c->tag = h->tag;
		c->awaiting = c->cut == CUT_AFTER || c->cut == CUT_REPLY;
		if (!c->awaiting) {
			pass = c->cut == CUT_BEFORE ? 0 : len / 2;
			c->cut = CUT_NEVER;
		}
	} else if (!up && c->awaiting && h->tag == c->tag && h->type == c->type) {
		pass = c->cut == CUT_AFTER ? 0 : len / 2;
		c->cut = CUT_NEVER;
		c->awaiting = false;
	}
	if (pass < len && c->once)
		atomic_store(&c->refuses, true);
	pthread_mutex_unlock(&c->lock);
	return pass;
}

static inline void cut_carry(struct cut_link *l, bool up)
{
	uint8_t *buf = malloc(FRAME_HEADER_SIZE + FRAME_MAX_BODY + FRAME_MAX_DATA);
	struct frame_header h;
	size_t len;

	while (buf && (len = cut_frame(up ? l->client : l->server, buf, &h))) {
		size_t pass = cut_judge(l, up, &h, len);

		if (up && pass == len && h.type < RPC_TYPE_LIMIT)
			l->cutter->delivered[h.type]++;
		if (!cut_write(up ? l->server : l->client, buf, pass))
			break;
		if (pass < len) {
			l->cutter->cuts++;
			break;
		}
	}
	cut_now(l);
	free(buf);
}

static inline void *cut_up(void *link)
{
	cut_carry(link, true);
	return NULL;
}

static inline void *cut_down(void *link)
{
	cut_carry(link, false);
	return NULL;
}

static inline void *cut_accept(void *userdata)
{
	struct cutter *c = userdata;
	int client;

	while ((client = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct cut_link *l = calloc(1, sizeof(*l));

		if (!l || atomic_load(&c->ending) || atomic_load(&c->refuses)) {
			free(l);
			close(client);
			continue;
		}
		l->cutter = c;
		l->client = client;
		l->server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(l->server, (struct sockaddr *)&c->there, sizeof(c->there)) < 0) {
			close(l->server);
			close(client);
			free(l);
			continue;
		}
		c->connections++;
		pthread_mutex_lock(&c->lock);
		l->up = c->up;
		l->down = c->down;
		c->up = c->down = -1;
		l->next = c->links;
		c->links = l;
		pthread_mutex_unlock(&c->lock);
		if (pthread_create(&l->threads[0], NULL, cut_up, l) ||
		    pthread_create(&l->threads[1], NULL, cut_down, l))
			die("pthread_create");
	}
	return NULL;
}

/* Listens at `here`, a path, for who wants to reach the server. */
static inline struct cutter *cutter_start(const char *here)
{
	struct cutter *c = calloc(1, sizeof(*c));
	const char *server = strchr(server_name(), '/');

	if (!c || !server)
		die("the cutter wants a server at unix-stream:/path");
	pthread_mutex_init(&c->lock, NULL);
	c->up = c->down = -1;
	c->here.sun_family = c->there.sun_family = AF_UNIX;
	snprintf(c->here.sun_path, sizeof(c->here.sun_path), "%s", here);
	snprintf(c->there.sun_path, sizeof(c->there.sun_path), "%s", server);
	(void)unlink(here);
	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(c->listener, (struct sockaddr *)&c->here, sizeof(c->here)) < 0 ||
	    listen(c->listener, 16) < 0)
		die("listen at %s: %s", here, strerror(errno));
	if (pthread_create(&c->thread, NULL, cut_accept, c))
		die("pthread_create");
	return c;
}

/* The next request of this type, after `skip` others. */
static inline void cutter_arm(struct cutter *c, enum cut cut, uint16_t type, unsigned skip)
{
	pthread_mutex_lock(&c->lock);
	c->cut = cut;
	c->type = type;
	c->skip = skip;
	c->awaiting = false;
	pthread_mutex_unlock(&c->lock);
}

/* The connection that is there, and with `bytes` >= 0 the next one after so many of them. */
static inline void cutter_cut(struct cutter *c, int64_t up, int64_t down)
{
	pthread_mutex_lock(&c->lock);
	c->up = up;
	c->down = down;
	for (struct cut_link *l = c->links; l; l = l->next)
		cut_now(l);
	c->cuts++;
	pthread_mutex_unlock(&c->lock);
}

static inline unsigned cutter_take(struct cutter *c, uint16_t type)
{
	return atomic_exchange(&c->delivered[type], 0);
}

static inline void cutter_stop(struct cutter *c)
{
	atomic_store(&c->ending, true);
	(void)shutdown(c->listener, SHUT_RDWR);
	pthread_join(c->thread, NULL);
	while (c->links) {
		struct cut_link *l = c->links;

		c->links = l->next;
		cut_now(l);
		pthread_join(l->threads[0], NULL);
		pthread_join(l->threads[1], NULL);
		close(l->client);
		close(l->server);
		free(l);
	}
	close(c->listener);
	(void)unlink(c->here.sun_path);
	free(c);
}
