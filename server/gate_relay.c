/*
 * gate_relay.c - one connection, from its first byte to its last.
 *
 * Everything that a stranger sends before it is known is read here, in a process that has a
 * deadline, no tree, no file and no way to get one. It is the only one that says who the client is:
 * so it says a number of the access list, and the monitor gives what that entry gives.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/packet.h"
#include "server/confine.h"
#include "server/gate.h"
#include "server/relay.h"

enum { LINGER_MS = 5000, GOODBYE_MS = 2000, GOODBYE_BYTES = 64 * 1024 };

static void report(const struct gate_relay *relay, int result, const char *words)
{
	struct gate_status status = { .result = result };
	struct iovec iov = { &status, sizeof(status) };

	snprintf(status.words, sizeof(status.words), "%s", words);
	(void)packet_send(relay->status, &iov, 1, -EBADF, 0);
}

/* Who a certificate or a token is. A verdict; with TLS_WELCOME, *ret_entry. */
static enum tls_verdict identify(const struct gate_relay *relay, SSL *ssl, const void *token,
				 size_t token_len, uint32_t *ret_entry)
{
	const struct access_list *access = relay->config->access;
	X509 *cert = SSL_get0_peer_certificate(ssl);
	size_t index;

	if (cert && !tls_still_valid(relay->ctx, cert))
		return TLS_REVOKED;
	if (token_len) {
		if (access_find_token(access, token, token_len, &index) < 0)
			return TLS_BAD_TOKEN;
		*ret_entry = (uint32_t)index;
		return TLS_WELCOME;
	}
	if (!cert)
		return TLS_NEEDS_CREDENTIALS;
	*ret_entry = GATE_NO_ENTRY;
	if (access->n == 0)
		return TLS_WELCOME;
	if (access_find_cert(access, cert, &index) < 0)
		return TLS_NOT_LISTED;
	*ret_entry = (uint32_t)index;
	return TLS_WELCOME;
}

/* A session from the monitor: true when it said yes. */
static bool hand_off(struct gate_relay *relay, SSL *ssl, uint32_t entry, uint64_t deadline,
		     char name[static GATE_NAME_MAX])
{
	struct gate_handoff message = { .entry = entry };
	struct iovec iov = { &message, sizeof(message) };
	X509 *cert = SSL_get0_peer_certificate(ssl);
	unsigned digest_size = sizeof(message.subject);
	char subject[64] = "";
	uint8_t answer = 0;

	if (cert && X509_NAME_digest(X509_get_subject_name(cert), EVP_sha256(), message.subject,
				     &digest_size) != 1)
		return false;

	if (entry != GATE_NO_ENTRY)
		snprintf(subject, sizeof(subject), "%s",
			 relay->config->access->entries[entry].name);
	else if (cert)
		(void)X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName,
						subject, sizeof(subject));
	for (char *c = subject; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	snprintf(message.name, sizeof(message.name), "%.63s (%.80s)", subject[0] ? subject : "?",
		 relay->address);
	memcpy(name, message.name, GATE_NAME_MAX);
	if (packet_send(relay->config->handoff, &iov, 1, relay->pair[1], MSG_DONTWAIT) < 0)
		return false;
	relay->pair[1] = fd_close(relay->pair[1]);
	/* Its end is a no. */
	return packet_wait(relay->pair[0], POLLIN, deadline) == 0 &&
	       recv(relay->pair[0], &answer, 1, 0) == 1 && answer == GATE_GO;
}

/* The client's first message: u16 length, token. */
static int read_token(SSL *ssl, uint64_t deadline, uint8_t *token, size_t *ret_len,
		      char words[static TLS_WORDS_MAX])
{
	uint8_t head[2];
	size_t len;
	int r = tls_read(ssl, head, sizeof(head), deadline, words);

	if (r < 0)
		return r;
	len = (size_t)(head[0] | head[1] << 8);
	if (len > TLS_TOKEN_MAX) {
		snprintf(words, TLS_WORDS_MAX, "a token of %zu bytes", len);
		return -EPROTO;
	}
	*ret_len = len;
	return tls_read(ssl, token, len, deadline, words);
}

static const char *verdict_words(enum tls_verdict verdict)
{
	switch (verdict) {
	case TLS_NEEDS_CREDENTIALS:
		return "neither a certificate nor a token";
	case TLS_BAD_TOKEN:
		return "an unknown token";
	case TLS_NOT_LISTED:
		return "its certificate is not in --tls-access";
	case TLS_BUSY:
		return "the monitor gives no session";
	case TLS_REVOKED:
		return "its certificate was revoked, or has expired";
	default:
		return "";
	}
}

/*
 * What we said last is to arrive: a socket that is closed with something unread is reset, and what is
 * on its way with it. So the client hangs up first, soon.
 */
static void say_goodbye(int sock, uint64_t deadline)
{
	uint64_t soon = now_ns() + GOODBYE_MS * UINT64_C(1000000);
	size_t most = GOODBYE_BYTES;
	char rest[1024];
	ssize_t n = 1;

	(void)shutdown(sock, SHUT_WR);
	while (n > 0 && most > 0 && packet_wait(sock, POLLIN, MIN(soon, deadline)) == 0) {
		n = recv(sock, rest, sizeof(rest), MSG_DONTWAIT);
		most -= n > 0 ? MIN((size_t)n, most) : 0;
	}
}

/* Up to the verdict. 0: it has a session. */
static int authenticate(struct gate_relay *relay, SSL *ssl, uint64_t deadline,
			char words[static TLS_WORDS_MAX], char name[static GATE_NAME_MAX])
{
	uint8_t token[TLS_TOKEN_MAX], byte;
	enum tls_verdict verdict;
	size_t token_len = 0;
	uint32_t entry = 0;
	int r;

	r = tls_handshake(ssl, true, deadline, words);
	if (r == 0 && !tls_protocol_agreed(ssl)) {
		snprintf(words, TLS_WORDS_MAX, "it does not speak " TLS_PROTOCOL);
		r = -EPROTO;
	}
	if (r == 0)
		r = read_token(ssl, deadline, token, &token_len, words);
	if (r < 0)
		return r;
	verdict = identify(relay, ssl, token, token_len, &entry);
	OPENSSL_cleanse(token, sizeof(token));
	if (verdict == TLS_WELCOME && !hand_off(relay, ssl, entry, deadline, name))
		verdict = TLS_BUSY;
	byte = (uint8_t)verdict;
	r = tls_write(ssl, &byte, 1, deadline, words);
	if (r == 0 && verdict != TLS_WELCOME) {
		snprintf(words, TLS_WORDS_MAX, "%s", verdict_words(verdict));
		r = verdict == TLS_BUSY ? -EBUSY : -EACCES;
		(void)SSL_shutdown(ssl);
	}
	return r;
}

void gate_relay_main(struct gate_relay *relay)
{
	char words[TLS_WORDS_MAX] = "", name[GATE_NAME_MAX] = "";
	uint64_t deadline;
	SSL *ssl;
	int r;

	r = confine_relay(RELAY_TLS, !relay->config->options->best_effort, words, sizeof(words));
	if (r < 0) {
		log_error("cannot confine a relay: %s", words);
		_exit(EXIT_FAILURE);
	}
	ssl = SSL_new(relay->ctx);
	if (!ssl || SSL_set_fd(ssl, relay->sock) != 1) {
		report(relay, -ENOMEM, "out of memory");
		_exit(EXIT_FAILURE);
	}
	deadline = now_ns() + relay->config->options->limits.handshake_ms * UINT64_C(1000000);
	r = authenticate(relay, ssl, deadline, words, name);
	if (r < 0)
		say_goodbye(relay->sock, deadline);
	report(relay, r, r < 0 ? words : name);
	relay->status = fd_close(relay->status);
	if (r < 0)
		_exit(EXIT_FAILURE);
	log_debug("%s: %s, %s%s, records by %s", name, SSL_get_version(ssl), SSL_get_cipher(ssl),
		  SSL_session_reused(ssl) ? ", resumed" : "",
		  BIO_get_ktls_send(SSL_get_wbio(ssl)) ? "the kernel" : "OpenSSL");
	r = gate_pump(ssl, relay->pair[0], LINGER_MS, words);
	if (r < 0)
		log_info("connection of %s: %s", name, words);
	_exit(EXIT_SUCCESS);
}
