/*
 * tls.h - TLS 1.3 as both sides want it: one version, one protocol name, certificates judged
 * strictly. What comes after the first messages is server/gate_pump.c's, and client/tls_stream.c's.
 */
#pragma once

#include <openssl/ssl.h>

#include "common/util.h"

#define TLS_PROTOCOL "gofer/1"

enum { TLS_TOKEN_MAX = 512, TLS_WORDS_MAX = 512 };

/* What the server answers, in one byte, to the client's first message. */
enum tls_verdict {
	TLS_WELCOME = 0,
	TLS_NEEDS_CREDENTIALS = 1, /* neither a certificate nor a token */
	TLS_BAD_TOKEN = 2,
	TLS_NOT_LISTED = 3, /* a good certificate, of nobody who may */
	TLS_BUSY = 4,
	TLS_REVOKED = 5, /* or expired since the connection that this one resumes */
};

/* What a context is made of; NULL where it has none of it. */
struct tls_files {
	const char *cert, *key; /* PEM: a chain, and its private key */
	const char *ca;         /* whom certificates of the other side are to be signed by */
	const char *crl;        /* PEM, of every authority in the chain's end */
};

/* -errno with words about the file that failed. */
int tls_context_new(bool server, const struct tls_files *files, SSL_CTX **ret_ctx,
		    char ret_words[static TLS_WORDS_MAX]);
/* Whether both sides have agreed on TLS_PROTOCOL. */
bool tls_protocol_agreed(const SSL *ssl);
/*
 * Whether the certificate is in a list of revoked ones, or not valid now: for resumed connections,
 * whose handshake does not look.
 */
bool tls_still_valid(SSL_CTX *ctx, X509 *cert);
/*
 * The certificate that a resumed session came with, judged as if the other side had just shown it: its chain, name, and validity now. 0, or
 * -errno with words.
 */
int tls_verify_again(SSL *ssl, char ret_words[static TLS_WORDS_MAX]);
/* Words, and an errno (negative), for the failure of the call before on this connection. */
int tls_failure(const SSL *ssl, int ssl_error, char ret_words[static TLS_WORDS_MAX]);

/* With a socket that does not block: as SSL_accept(3) and so on, until a CLOCK_MONOTONIC deadline.
 * 0, -ETIMEDOUT, or tls_failure()'s. */
int tls_handshake(SSL *ssl, bool server, uint64_t deadline, char ret_words[static TLS_WORDS_MAX]);
/* Exactly `size` bytes. */
int tls_read(SSL *ssl, void *buf, size_t size, uint64_t deadline,
	     char ret_words[static TLS_WORDS_MAX]);
int tls_write(SSL *ssl, const void *buf, size_t size, uint64_t deadline,
	      char ret_words[static TLS_WORDS_MAX]);

/* Whether the kernel could encrypt (kTLS). */
bool tls_kernel_can(void);
