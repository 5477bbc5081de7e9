/*
 * test_tls_stream.c - a byte stream inside TLS: what a full socket, a peer that is gone and an end
 * without a word make of it.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "client/bench/floor.h"
#include "client/tls_stream.h"

enum { BYTES = 3 * 1024 * 1024 + 17, TIMEOUT_MS = 20 };

struct ends {
	int sock[2];
	SSL *far; /* of sock[1], which blocks */
	struct tls_stream *near;
	struct stream_carrier carrier; /* of near */
	pthread_t thread;
};

static void *accept_far(void *data)
{
	struct ends *e = data;

	e->far = floor_tls(e->sock[1], true);
	return NULL;
}

static struct ends *ends_new(void)
{
	struct ends *e = calloc(1, sizeof(*e));
	int small = 4096;
	SSL *ssl;

	cr_assert_not_null(e);
	cr_assert(floor_tls_key());
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, e->sock), 0);
	cr_assert_eq(setsockopt(e->sock[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	cr_assert_eq(pthread_create(&e->thread, NULL, accept_far, e), 0);
	ssl = floor_tls(e->sock[0], false);
	pthread_join(e->thread, NULL);
	cr_assert_not_null(ssl);
	cr_assert_not_null(e->far);
	SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	cr_assert_eq(fcntl(e->sock[0], F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(tls_stream_attach(ssl, e->sock[0]), 0);
	e->near = tls_stream_new(ssl, TIMEOUT_MS * UINT64_C(1000000));
	cr_assert_not_null(e->near);
	e->carrier = tls_stream_carrier(e->near);
	return e;
}

static void ends_free(struct ends *e)
{
	tls_stream_end(e->near, 0);
	SSL_free(e->far);
	close(e->sock[0]);
	fd_close(e->sock[1]);
	free(e);
}

static ssize_t give(struct ends *e, const uint8_t *data, size_t size)
{
	/* In two pieces, as a header and its data are. */
	const struct iovec iov[] = { { (void *)data, MIN(size, 16u) },
				     { (void *)(data + MIN(size, 16u)), size - MIN(size, 16u) } };

	return e->carrier.send(e->carrier.userdata, iov, 2);
}

static ssize_t take(struct ends *e, uint8_t *buf, size_t size, int flags)
{
	return e->carrier.receive(e->carrier.userdata, buf, size, flags);
}

static void hang_up(struct ends *e)
{
	SSL_free(e->far);
	e->far = NULL;
	e->sock[1] = fd_close(e->sock[1]);
}

static uint8_t *pattern(size_t size)
{
	uint8_t *data = malloc(size);

	cr_assert_not_null(data);
	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	return data;
}

static void *read_far(void *data)
{
	struct ends *e = data;
	uint8_t *got = malloc(BYTES);

	for (size_t done = 0; got && done < BYTES;) {
		int n = SSL_read(e->far, got + done, (int)(BYTES - done));

		if (n <= 0) {
			free(got);
			return NULL;
		}
		done += (size_t)n;
	}
	return got;
}

Test(tls_stream, what_a_full_socket_does_not_take_arrives_in_order_later)
{
	struct ends *e = ends_new();
	uint8_t *sent = pattern(BYTES), other[100] = { 0 };
	size_t taken = 0;
	void *got;
	ssize_t n;

	while ((n = give(e, sent + taken, BYTES - taken)) > 0)
		taken += (size_t)n;
	cr_assert_eq(n, -EAGAIN);
	cr_assert_lt(taken, BYTES);
	cr_assert(e->carrier.unsent(e->carrier.userdata));
	/* Of something else nothing is taken meanwhile, and it does not get in between. */
	cr_assert_eq(give(e, other, sizeof(other)), -EAGAIN);
	cr_assert_eq(e->carrier.send(e->carrier.userdata, NULL, 0), -EAGAIN);
	cr_assert_eq(pthread_create(&e->thread, NULL, read_far, e), 0);
	while (taken < BYTES) {
		n = give(e, sent + taken, BYTES - taken);
		cr_assert(n > 0 || n == -EAGAIN);
		taken += n > 0 ? (size_t)n : 0;
	}
	while ((n = e->carrier.send(e->carrier.userdata, NULL, 0)) == -EAGAIN)
		;
	cr_assert_eq(n, 0);
	cr_assert_not(e->carrier.unsent(e->carrier.userdata));
	pthread_join(e->thread, &got);
	cr_assert_not_null(got);
	cr_assert_eq(memcmp(got, sent, BYTES), 0);
	free(got);
	free(sent);
	ends_free(e);
}

static void *write_far(void *data)
{
	struct ends *e = data;
	uint8_t *sent = pattern(BYTES);

	cr_assert_eq(SSL_write(e->far, sent, BYTES), BYTES);
	return sent;
}

Test(tls_stream, what_was_read_ahead_is_received_without_another_wait)
{
	struct ends *e = ends_new();
	uint8_t *got = malloc(BYTES);
	size_t done = 0;
	void *sent;

	cr_assert_not_null(got);
	cr_assert_eq(pthread_create(&e->thread, NULL, write_far, e), 0);
	while (done < BYTES) {
		/* Sizes that are no records. */
		ssize_t n = take(e, got + done, MIN(BYTES - done, 1 + done % 50000), 0);

		cr_assert(n > 0 || n == -EAGAIN);
		done += n > 0 ? (size_t)n : 0;
	}
	pthread_join(e->thread, &sent);
	cr_assert_eq(memcmp(got, sent, BYTES), 0);
	free(sent);
	free(got);
	ends_free(e);
}

Test(tls_stream, a_receive_ends_at_its_timeout_or_at_once)
{
	struct ends *e = ends_new();
	uint64_t start = now_ns();
	uint8_t byte;

	cr_assert_eq(take(e, &byte, 1, MSG_DONTWAIT), -EAGAIN);
	cr_assert_eq(take(e, &byte, 1, 0), -EAGAIN);
	cr_assert_geq(now_ns() - start, TIMEOUT_MS * UINT64_C(1000000));
	ends_free(e);
}

Test(tls_stream, a_goodbye_is_the_end_and_a_cut_is_an_error)
{
	struct ends *e = ends_new();
	uint8_t byte;

	cr_assert_eq(SSL_write(e->far, "x", 1), 1);
	(void)SSL_shutdown(e->far);
	cr_assert_eq(take(e, &byte, 1, 0), 1);
	cr_assert_eq(take(e, &byte, 1, 0), 0);
	cr_assert_eq(take(e, &byte, 1, 0), 0);
	ends_free(e);

	e = ends_new();
	cr_assert_eq(SSL_write(e->far, "x", 1), 1);
	hang_up(e);
	cr_assert_eq(take(e, &byte, 1, 0), 1);
	cr_assert_eq(take(e, &byte, 1, 0), -ECONNABORTED);
	ends_free(e);
}

/* SIGPIPE would end the test. */
Test(tls_stream, sending_to_who_is_gone_is_an_error_and_no_signal)
{
	struct ends *e = ends_new();
	uint8_t data[100] = { 0 };

	hang_up(e);
	cr_assert_eq(give(e, data, sizeof(data)), -EPIPE);
	ends_free(e);
}

Test(tls_stream, the_other_side_hears_goodbye)
{
	struct ends *e = ends_new();
	char byte;

	tls_stream_end(e->near, 0);
	cr_assert_leq(SSL_read(e->far, &byte, 1), 0);
	cr_assert_eq(SSL_get_error(e->far, 0), SSL_ERROR_ZERO_RETURN);
	SSL_free(e->far);
	close(e->sock[0]);
	close(e->sock[1]);
	free(e);
}
