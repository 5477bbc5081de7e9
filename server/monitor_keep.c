/*
 * monitor_keep.c - sessions that wait for another connection (resume.h): their tokens, whose they
 * are, and handing them a socket.
 *
 * What a worker says is a client's word, once that worker is taken over. So it gets a token for its own
 * session only; with somebody else's it needs the very token, and must serve the very same client; and it can send so many messages, not
 * more. Tokens lie in memory that the kernel empties in every child, so no worker has those of others.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/stream.h"
#include "server/monitor_state.h"

enum { MOST_MESSAGES = 10000 }; /* of one worker: a session may be lost so often */

int keep_init(struct monitor *m)
{
	const struct server_limits *limits = &m->config->server->limits;
	size_t size = limits->max_sessions * sizeof(*m->tokens);
	void *at;

	if (!limits->resume_ms || !limits->max_lost_uid)
		return 0;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return -errno;
	if (madvise(at, size, MADV_WIPEONFORK) < 0) {
		int r = -errno;

		(void)munmap(at, size);
		return r;
	}
	(void)madvise(at, size, MADV_DONTDUMP);
	m->tokens = at;
	return 0;
}

void keep_deinit(struct monitor *m)
{
	if (m->tokens)
		(void)munmap(m->tokens,
			     m->config->server->limits.max_sessions * sizeof(*m->tokens));
	m->tokens = NULL;
}

void keep_prepare(struct monitor *m, struct session *s, int sock, int *ret_link)
{
	int pair[2];

	*ret_link = 0;
	s->link = s->sock = -EBADF;
	s->token = -1;
	if (!m->tokens || stream_is(sock) != 1 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	s->link = pair[0];
	*ret_link = pair[1];
	s->sock = fcntl(sock, F_DUPFD_CLOEXEC, 3);
}

/* ---- tokens ---- */

/*
 * Tokens are touched byte by byte: a vector register would keep one for long, and any signal, or a call that is
 * bound late, saves those on the stack, of which the next worker gets a copy.
 */
static void copy_token(volatile uint8_t *to, const volatile uint8_t *from)
{
	for (size_t i = 0; i < RPC_TOKEN_SIZE; i++)
		to[i] = from[i];
}

/* In a time that does not depend on where they differ. */
static bool same_token(const volatile uint8_t *a, const volatile uint8_t *b)
{
	uint8_t differ = 0;

	for (size_t i = 0; i < RPC_TOKEN_SIZE; i++)
		differ |= a[i] ^ b[i];
	return differ == 0;
}

static ssize_t new_token(struct monitor *m)
{
	static const uint8_t none[RPC_TOKEN_SIZE];

	for (ssize_t i = 0; i < (ssize_t)m->config->server->limits.max_sessions; i++) {
		if (!same_token(m->tokens[i], none))
			continue;
		while (same_token(m->tokens[i], none))
			if (getrandom(m->tokens[i], RPC_TOKEN_SIZE, 0) != RPC_TOKEN_SIZE)
				return -1;
		return i;
	}
	return -1;
}

static void drop_token(struct session *s)
{
	if (s->token >= 0)
		explicit_bzero(s->monitor->tokens[s->token], RPC_TOKEN_SIZE);
	s->token = -1;
}

static bool same_client(const struct peer *a, const struct peer *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->remote == b->remote &&
	       a->access == b->access && memcmp(a->subject, b->subject, sizeof(a->subject)) == 0 &&
	       a->n_groups == b->n_groups &&
	       (a->n_groups == 0 ||
		memcmp(a->groups, b->groups, a->n_groups * sizeof(*a->groups)) == 0);
}

/* All tokens are looked at, whichever it is. */
static struct session *find(struct monitor *m, const struct session *by,
			    const uint8_t token[static RPC_TOKEN_SIZE])
{
	struct session *found = NULL;

	for (struct session *s = m->sessions; s; s = s->next)
		if (s != by && s->token >= 0 && same_token(m->tokens[s->token], token) &&
		    same_client(&s->peer, &by->peer))
			found = s;
	return found;
}

/* ---- what workers say ---- */

static bool tell(const struct session *s, struct link_message *m, int fd)
{
	struct iovec iov = { m, sizeof(*m) };

	return packet_send(s->link, &iov, 1, fd, MSG_DONTWAIT) == 0;
}

static void give_token(struct session *s)
{
	struct link_message m = { .kind = LINK_NO };

	if (s->token < 0)
		s->token = new_token(s->monitor);
	if (s->token >= 0) {
		m.kind = LINK_TOKEN;
		copy_token(m.token, s->monitor->tokens[s->token]);
	}
	(void)tell(s, &m, -EBADF);
	explicit_bzero(&m, sizeof(m));
}

/* The session of the token is to go on over `sock` (taken). */
static void resume(struct session *by, const struct link_message *asked, int sock)
{
	struct session *s = sock >= 0 ? find(by->monitor, by, asked->token) : NULL;
	struct link_message take = { .kind = LINK_TAKE, .tag = asked->tag },
			    answer = { .kind = LINK_NO };

	if (s) {
		/* Before the other: nothing more comes over the old one, if it is there. */
		(void)shutdown(s->sock, SHUT_RDWR);
		if (tell(s, &take, sock)) {
			fd_close(s->sock);
			s->sock = TAKE_FD(sock);
			s->lost = false;
			answer.kind = LINK_YES;
		}
	}
	fd_close(sock);
	(void)tell(by, &answer, -EBADF);
}

/* It waits. Where too many of one client do, the oldest has waited long enough. */
static void note_lost(struct session *s)
{
	struct monitor *m = s->monitor;
	struct session *oldest = s;
	uint32_t n = 0;

	s->lost = true;
	s->lost_at = now_ns();
	for (struct session *o = m->sessions; o; o = o->next) {
		if (!o->lost || !same_client(&o->peer, &s->peer))
			continue;
		n++;
		if (o->lost_at < oldest->lost_at)
			oldest = o;
	}
	if (n > m->config->server->limits.max_lost_uid) {
		oldest->lost = false;
		drop_token(oldest);
		(void)kill(oldest->pid, SIGTERM);
	}
}

__attribute__((noinline)) static void hear(int fd, struct session *s)
{
	struct packet_in in = { .fd = -EBADF };
	struct link_message m;
	ssize_t n = packet_recv(fd, &m, sizeof(m), MSG_DONTWAIT, &in);

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n != sizeof(m) || ++s->messages > MOST_MESSAGES) {
		if (n > 0)
			fd_close(in.fd);
		(void)event_del(s->link_event);
		drop_token(s);
		return;
	}
	if (m.kind == LINK_RESUME) {
		resume(s, &m, TAKE_FD(in.fd));
	} else if (m.kind == LINK_TOKEN) {
		give_token(s);
	} else if (m.kind == LINK_LOST && s->token >= 0) {
		note_lost(s);
	} else if (m.kind == LINK_LEFT) {
		drop_token(s);
	}
	fd_close(in.fd);
	explicit_bzero(&m, sizeof(m));
}

/* Below the caller's frame. */
__attribute__((noinline)) static void wipe_stack(void)
{
	uint8_t below[64 * 1024];

	explicit_bzero(below, sizeof(below));
}

static void on_link(evutil_socket_t fd, short events _unused_, void *userdata)
{
	hear((int)fd, userdata);
	/* The next worker gets a copy of this stack. */
	wipe_stack();
}

void keep_start(struct session *s)
{
	if (s->link < 0)
		return;
	s->link_event = event_new(s->monitor->base, s->link, EV_READ | EV_PERSIST, on_link, s);
	if (s->link_event && event_add(s->link_event, NULL) == 0)
		return;
	/* Its worker is told that there is nobody. */
	s->link = fd_close(s->link);
}

void keep_stop(struct session *s)
{
	drop_token(s);
	if (s->link_event)
		event_free(s->link_event);
	s->link_event = NULL;
	s->link = fd_close(s->link);
	s->sock = fd_close(s->sock);
}
