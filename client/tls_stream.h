/*
 * tls_stream.h - a session's byte stream inside TLS: what connect_tls.c prepares, and what the
 * session's struct stream sends and receives through.
 */
#pragma once

#include <pthread.h>

#include "common/tls.h"
#include "proto/stream.h"

struct tls_stream;

/*
 * Of a connection that is authenticated. Takes over ssl, whose socket (borrowed) does not block.
 * Blocking receives wait for timeout_ns at most. NULL without memory; then ssl is still the caller's.
 */
struct tls_stream *tls_stream_new(SSL *ssl, uint64_t timeout_ns);
/* Says goodbye (close_notify) while the socket is still there: sends what waits, for linger_ms at
 * most. */
void tls_stream_end(struct tls_stream *t, int linger_ms);
/* Without a word: its socket is another's by now. */
void tls_stream_drop(struct tls_stream *t);
/* The same connection, by another descriptor's number. */
void tls_stream_move(struct tls_stream *t, int sock, uint64_t timeout_ns);
/* What struct stream is to use; t outlives it. */
struct stream_carrier tls_stream_carrier(struct tls_stream *t);

/* The socket for an SSL object of ours, without SIGPIPE. 0 or -ENOMEM. */
int tls_stream_attach(SSL *ssl, int sock);
