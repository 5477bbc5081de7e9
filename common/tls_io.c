/*
 * tls_io.c - one connection: handshake and first messages, with a deadline.
 *
 * Nothing here blocks but poll(2). OpenSSL may want to read in order to write and the other way
 * round; each loop asks it what it wants and waits for that.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/err.h>

#include "common/packet.h"
#include "common/tls.h"

/* After a call that returned n <= 0: 0 = try again. */
static int wait_for(SSL *ssl, int n, uint64_t deadline, char words[static TLS_WORDS_MAX])
{
	int e = SSL_get_error(ssl, n), r;

	if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
		return tls_failure(ssl, e, words);
	r = packet_wait(SSL_get_fd(ssl), e == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline);
	if (r < 0)
		snprintf(words, TLS_WORDS_MAX, "%s", strerror(-r));
	return r;
}

int tls_handshake(SSL *ssl, bool server, uint64_t deadline, char words[static TLS_WORDS_MAX])
{
	int n, r = 0;

	do {
		ERR_clear_error();
		errno = 0;
		n = server ? SSL_accept(ssl) : SSL_connect(ssl);
		if (n != 1)
			r = wait_for(ssl, n, deadline, words);
	} while (n != 1 && r == 0);
	return r;
}

int tls_read(SSL *ssl, void *buf, size_t size, uint64_t deadline, char words[static TLS_WORDS_MAX])
{
	size_t done = 0, n;

	while (done < size) {
		int r;

		ERR_clear_error();
		errno = 0;
		r = SSL_read_ex(ssl, (uint8_t *)buf + done, size - done, &n);
		if (r == 1) {
			done += n;
			continue;
		}
		r = wait_for(ssl, r, deadline, words);
		if (r < 0)
			return r;
	}
	return 0;
}

int tls_write(SSL *ssl, const void *buf, size_t size, uint64_t deadline,
	      char words[static TLS_WORDS_MAX])
{
	size_t done = 0, n;

	while (done < size) {
		int r;

		ERR_clear_error();
		errno = 0;
		r = SSL_write_ex(ssl, (const uint8_t *)buf + done, size - done, &n);
		if (r == 1) {
			done += n;
			continue;
		}
		r = wait_for(ssl, r, deadline, words);
		if (r < 0)
			return r;
	}
	return 0;
}
