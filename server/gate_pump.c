/*
 * gate_pump.c - the bytes of a session between its connection and a plain socket.
 *
 * One thread, two directions, a buffer for each; nothing here blocks but poll(2). OpenSSL may want to
 * read in order to write and the other way round. Every system call here is one more on the way of
 * each request: so neither side is asked for what it is known not to have, that is poll's to say.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>

#include "server/gate.h"

enum { PUMP_BUFFER = 32 * 1024 };

struct pump {
	SSL *ssl;
	int sock;
	char *words;
	/* From the connection to the socket, and back. */
	uint8_t up[PUMP_BUFFER], down[PUMP_BUFFER];
	size_t up_start, up_end, down_start, down_end;
	bool up_over, up_closed; /* the other side said goodbye; the socket was told */
	bool down_over;
	bool read_wants_write, write_wants_read;
	bool up_more, down_more; /* there may be more to read than was */
};

static bool again(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* What OpenSSL said of a call that moved nothing. 0, or -errno: it has failed. */
static int moved_nothing(struct pump *p, int n, bool reading)
{
	int e = SSL_get_error(p->ssl, n);

	p->read_wants_write = reading && e == SSL_ERROR_WANT_WRITE;
	p->write_wants_read = !reading && e == SSL_ERROR_WANT_READ;
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return 0;
	if (e == SSL_ERROR_ZERO_RETURN) {
		p->up_over = true;
		return 0;
	}
	return tls_failure(p->ssl, e, p->words);
}

/* From the connection to the socket: as much as goes now. */
static int pump_up(struct pump *p)
{
	for (;;) {
		while (p->up_start < p->up_end) {
			ssize_t n = send(p->sock, p->up + p->up_start, p->up_end - p->up_start,
					 MSG_NOSIGNAL);

			if (n < 0)
				return again() ? 0 : -EPIPE;
			p->up_start += (size_t)n;
		}
		p->up_start = p->up_end = 0;
		if (p->up_over) {
			if (!p->up_closed)
				(void)shutdown(p->sock, SHUT_WR);
			p->up_closed = true;
			return 0;
		}
		if (!p->up_more)
			return 0;
		p->read_wants_write = false;
		ERR_clear_error();
		errno = 0;
		if (SSL_read_ex(p->ssl, p->up, sizeof(p->up), &p->up_end) != 1) {
			int r;

			p->up_end = 0;
			r = moved_nothing(p, 0, true);
			p->up_more = false;
			if (r < 0 || !p->up_over)
				return r;
		} else {
			p->up_more = SSL_has_pending(p->ssl);
		}
	}
}

static int pump_down(struct pump *p)
{
	for (;;) {
		ssize_t got;

		while (p->down_start < p->down_end) {
			size_t n;

			p->write_wants_read = false;
			ERR_clear_error();
			errno = 0;
			if (SSL_write_ex(p->ssl, p->down + p->down_start,
					 p->down_end - p->down_start, &n) != 1)
				return moved_nothing(p, 0, false);
			p->down_start += n;
		}
		p->down_start = p->down_end = 0;
		if (p->down_over || !p->down_more)
			return 0;
		got = recv(p->sock, p->down, sizeof(p->down), 0);
		p->down_more = got == (ssize_t)sizeof(p->down);
		if (got < 0 && again())
			return 0;
		p->down_over = got <= 0;
		p->down_end = got > 0 ? (size_t)got : 0;
	}
}

static int pump_wait(struct pump *p, int linger_ms)
{
	bool up_full = p->up_start < p->up_end, down_full = p->down_start < p->down_end;
	struct pollfd fds[2] = { { .fd = SSL_get_fd(p->ssl) }, { .fd = p->sock } };

	if ((!up_full && !p->up_over && !p->read_wants_write) || p->write_wants_read)
		fds[0].events |= POLLIN;
	if ((down_full && !p->write_wants_read) || p->read_wants_write)
		fds[0].events |= POLLOUT;
	if (up_full)
		fds[1].events |= POLLOUT;
	if (!down_full && !p->down_over)
		fds[1].events |= POLLIN;
	/* What is not waited for would be reported all the same once it is broken. */
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (!fds[i].events)
			fds[i].fd = -1;
	if (poll(fds, ARRAY_SIZE(fds), p->down_over ? linger_ms : -1) == 0)
		return -ETIMEDOUT;
	p->up_more |= fds[0].revents != 0;
	p->down_more |= (fds[1].revents & ~POLLOUT) != 0;
	return 0;
}

int gate_pump(SSL *ssl, int sock, int linger_ms, char words[static TLS_WORDS_MAX])
{
	struct pump *p = calloc(1, sizeof(*p));
	int r = p ? 0 : -ENOMEM;

	words[0] = '\0';
	if (p)
		*p = (struct pump){
			.ssl = ssl, .sock = sock, .words = words, .up_more = true, .down_more = true
		};
	while (r == 0) {
		r = pump_up(p);
		/* The session is over: what it had to say goes out, more is not read. */
		if (r == -EPIPE && !words[0]) {
			r = 0;
			p->up_over = p->up_closed = true;
			p->up_start = p->up_end = 0;
		}
		if (r == 0)
			r = pump_down(p);
		if (r == 0 && p->down_over && p->down_start == p->down_end)
			break;
		if (r == 0)
			r = pump_wait(p, linger_ms);
	}
	/* Our end is our own word for it: one try, the other side may be gone. */
	if (r == 0) {
		ERR_clear_error();
		(void)SSL_shutdown(ssl);
	}
	if (r < 0 && !words[0])
		snprintf(words, TLS_WORDS_MAX, "%s", strerror(-r));
	free(p);
	return r;
}
