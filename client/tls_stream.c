/*
 * tls_stream.c - TLS records where a stream has its socket's bytes.
 *
 * One lock: OpenSSL's object is for one thread at a time, though one thread of a session receives
 * while others send. It is held for what OpenSSL does, never while anybody waits: the socket does
 * not block, and whoever has to wait does so in poll(2) without it.
 *
 * What is to be sent is gathered into one record of at most 16 KiB, so that a header and its data are
 * one segment on the wire. OpenSSL may have encrypted a record that the socket does not take; from
 * then on that record has to go out first, unchanged. So bytes count as taken once OpenSSL has seen
 * them, and the record is kept until it has left.
 *
 * A write to a broken connection raises SIGPIPE, which a library must not do to its program. Where
 * OpenSSL encrypts, the bytes leave through a filter that is send(2) with MSG_NOSIGNAL; where the
 * kernel does (kTLS), OpenSSL's own socket writes them, and the signal is blocked meanwhile.
 */
#include "client/tls_stream.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>

#include "common/packet.h"

enum { RECORD_SIZE = 16 * 1024 };

struct tls_stream {
	SSL *ssl;
	uint64_t timeout;
	pthread_mutex_t lock;
	short read_waits_for; /* POLLIN, mostly */
	/* What OpenSSL has taken and the socket has not; 0 = nothing. */
	size_t waiting;
	uint8_t record[RECORD_SIZE];
};

/* ---- the filter in front of OpenSSL's socket ---- */

static int guarded_write(BIO *next, const char *data, int size)
{
	const struct timespec now = { 0 };
	sigset_t pipe, saved, pending;
	bool ours;
	int n, error;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigpending(&pending);
	ours = !sigismember(&pending, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &saved);
	n = BIO_write(next, data, size);
	error = errno;
	if (n < 0 && error == EPIPE && ours)
		(void)sigtimedwait(&pipe, NULL, &now);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	errno = error;
	return n;
}

static int filter_write(BIO *b, const char *data, int size)
{
	BIO *next = BIO_next(b);
	int n, sock = -1;

	BIO_clear_retry_flags(b);
	if (BIO_get_ktls_send(next) || BIO_get_fd(next, &sock) < 0) {
		n = guarded_write(next, data, size);
		BIO_copy_next_retry(b);
		return n;
	}
	errno = 0;
	n = (int)send(sock, data, (size_t)size, MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(b);
	return n;
}

static int filter_read(BIO *b, char *data, int size)
{
	int n = BIO_read(BIO_next(b), data, size);

	BIO_clear_retry_flags(b);
	BIO_copy_next_retry(b);
	return n;
}

static long filter_ctrl(BIO *b, int command, long number, void *pointer)
{
	return BIO_next(b) ? BIO_ctrl(BIO_next(b), command, number, pointer) : 0;
}

static int filter_create(BIO *b)
{
	BIO_set_init(b, 1);
	return 1;
}

static BIO_METHOD *filter;

static void make_filter(void)
{
	BIO_METHOD *m =
		BIO_meth_new(BIO_get_new_index() | BIO_TYPE_FILTER, "socket without SIGPIPE");

	if (m && BIO_meth_set_write(m, filter_write) && BIO_meth_set_read(m, filter_read) &&
	    BIO_meth_set_ctrl(m, filter_ctrl) && BIO_meth_set_create(m, filter_create))
		filter = m;
	else
		BIO_meth_free(m);
}

__attribute__((destructor)) static void free_filter(void)
{
	BIO_meth_free(filter);
}

int tls_stream_attach(SSL *ssl, int sock)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *ours, *socket;

	pthread_once(&once, make_filter);
	ours = filter ? BIO_new(filter) : NULL;
	socket = BIO_new_socket(sock, BIO_NOCLOSE);
	if (!ours || !socket) {
		BIO_free(ours);
		BIO_free(socket);
		return -ENOMEM;
	}
	BIO_push(ours, socket);
	SSL_set_bio(ssl, ours, ours);
	return 0;
}

/* ---- with the lock ---- */

/* What OpenSSL said of a call that moved nothing: 0 (its end), -EAGAIN (*ret_wait: until then), -errno. */
static int moved_nothing(struct tls_stream *t, short *ret_wait)
{
	int e = SSL_get_error(t->ssl, 0);
	char words[TLS_WORDS_MAX];

	*ret_wait = e == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN;
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	return e == SSL_ERROR_ZERO_RETURN ? 0 : tls_failure(t->ssl, e, words);
}

static ssize_t receive(struct tls_stream *t, uint8_t *buf, size_t size)
{
	size_t done = 0, n;

	while (done < size) {
		ERR_clear_error();
		errno = 0;
		if (SSL_read_ex(t->ssl, buf + done, size - done, &n) != 1) {
			int r = moved_nothing(t, &t->read_waits_for);

			/* The end, or a failure, is still there at the next call. */
			return done ? (ssize_t)done : r;
		}
		done += n;
		/* Nothing is left of what was read from the socket: to ask it is for poll(2). */
		if (!SSL_has_pending(t->ssl))
			break;
	}
	return (ssize_t)done;
}

static int write_record(struct tls_stream *t)
{
	size_t n;
	short wait;
	int r = 0;

	while (t->waiting && r == 0) {
		ERR_clear_error();
		errno = 0;
		if (SSL_write_ex(t->ssl, t->record, t->waiting, &n) == 1) {
			t->waiting -= n;
			memmove(t->record, t->record + n, t->waiting);
		} else {
			r = moved_nothing(t, &wait);
			r = r == 0 ? -EPIPE : r;
		}
	}
	return r;
}

/* As much of iov behind `skip` as a record has room for. */
static size_t gather(struct tls_stream *t, const struct iovec *iov, int iovcnt, size_t skip)
{
	size_t done = 0;

	for (int i = 0; i < iovcnt && done < RECORD_SIZE; i++) {
		size_t n = MIN(iov[i].iov_len - MIN(skip, iov[i].iov_len), RECORD_SIZE - done);

		if (n)
			memcpy(t->record + done, (const uint8_t *)iov[i].iov_base + skip, n);
		skip -= MIN(skip, iov[i].iov_len);
		done += n;
	}
	return done;
}

/* ---- the carrier ---- */

static ssize_t carrier_receive(void *userdata, void *buf, size_t size, int flags)
{
	struct tls_stream *t = userdata;
	uint64_t deadline = flags & MSG_DONTWAIT ? 0 : now_ns() + t->timeout;
	ssize_t n;
	short wait;
	int r;

	for (;;) {
		pthread_mutex_lock(&t->lock);
		n = receive(t, buf, size);
		wait = t->read_waits_for;
		pthread_mutex_unlock(&t->lock);
		if (n != -EAGAIN || !deadline)
			return n;
		r = packet_wait(SSL_get_fd(t->ssl), wait, deadline);
		if (r < 0)
			return r == -ETIMEDOUT ? -EAGAIN : r;
	}
}

static ssize_t carrier_send(void *userdata, const struct iovec *iov, int iovcnt)
{
	struct tls_stream *t = userdata;
	size_t taken = 0;
	int r;

	pthread_mutex_lock(&t->lock);
	r = write_record(t);
	while (r == 0) {
		t->waiting = gather(t, iov, iovcnt, taken);
		if (t->waiting == 0)
			break;
		taken += t->waiting;
		r = write_record(t);
	}
	pthread_mutex_unlock(&t->lock);
	return taken && (r == 0 || r == -EAGAIN) ? (ssize_t)taken : r;
}

static bool carrier_unsent(void *userdata)
{
	struct tls_stream *t = userdata;
	bool unsent;

	pthread_mutex_lock(&t->lock);
	unsent = t->waiting != 0;
	pthread_mutex_unlock(&t->lock);
	return unsent;
}

static bool carrier_pending(void *userdata)
{
	struct tls_stream *t = userdata;
	bool pending;

	pthread_mutex_lock(&t->lock);
	pending = SSL_has_pending(t->ssl);
	pthread_mutex_unlock(&t->lock);
	return pending;
}

struct stream_carrier tls_stream_carrier(struct tls_stream *t)
{
	return (struct stream_carrier){ .receive = carrier_receive,
					.send = carrier_send,
					.unsent = carrier_unsent,
					.pending = carrier_pending,
					.userdata = t };
}

struct tls_stream *tls_stream_new(SSL *ssl, uint64_t timeout_ns)
{
	struct tls_stream *t = calloc(1, sizeof(*t));

	if (t) {
		t->ssl = ssl;
		t->timeout = timeout_ns;
		pthread_mutex_init(&t->lock, NULL);
	}
	return t;
}

void tls_stream_drop(struct tls_stream *t)
{
	if (!t)
		return;
	/* Else OpenSSL takes its tickets for spoiled, which they are not. */
	SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(t->ssl);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void tls_stream_move(struct tls_stream *t, int sock, uint64_t timeout_ns)
{
	pthread_mutex_lock(&t->lock);
	(void)BIO_set_fd(SSL_get_rbio(t->ssl), sock, BIO_NOCLOSE);
	t->timeout = timeout_ns;
	pthread_mutex_unlock(&t->lock);
}

void tls_stream_end(struct tls_stream *t, int linger_ms)
{
	uint64_t deadline = now_ns() + (uint64_t)linger_ms * 1000000;

	while (carrier_send(t, NULL, 0) == -EAGAIN &&
	       packet_wait(SSL_get_fd(t->ssl), POLLOUT, deadline) == 0)
		;
	/* One try, the other side may be gone. */
	ERR_clear_error();
	(void)SSL_shutdown(t->ssl);
	tls_stream_drop(t);
}
