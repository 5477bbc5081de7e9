/*
 * connect_tls.c - "tls:HOST:PORT": from a name to a connection that is authenticated.
 *
 * The handshake, our credentials and the server's verdict on them happen before the session begins,
 * within its deadline, so that each way to be refused has words of its own. What follows is
 * tls_stream.c's.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <arpa/inet.h>
#include <openssl/x509v3.h>

#include "client/session.h"
#include "client/tls_stream.h"
#include "client/tls_tickets.h"
#include "common/net.h"

/* A connection that is being made. */
struct attempt {
	SSL *ssl;
	int net;
	uint8_t token[2 + TLS_TOKEN_MAX];
	size_t token_len;
};

static void cleanup_attempt(struct attempt *t)
{
	SSL_free(t->ssl);
	fd_close(t->net);
	OPENSSL_cleanse(t->token, sizeof(t->token));
}

/* ---- the server's word ---- */

static int verdict_error(uint8_t verdict, char words[static TLS_WORDS_MAX])
{
	static const struct {
		int error;
		const char *words;
	} verdicts[] = {
		[TLS_WELCOME] = { 0, "" },
		[TLS_NEEDS_CREDENTIALS] = { ENOKEY,
					    "the server asks for a certificate or a token" },
		[TLS_BAD_TOKEN] = { EKEYREJECTED, "the server does not know this token" },
		[TLS_NOT_LISTED] = { EACCES, "the server lets nobody in with this certificate" },
		[TLS_BUSY] = { EBUSY, "the server has no room for another session" },
		[TLS_REVOKED] = { EKEYREVOKED,
				  "the server says: our certificate was revoked, or has expired" },
	};

	if (verdict >= ARRAY_SIZE(verdicts)) {
		snprintf(words, TLS_WORDS_MAX, "the server's verdict is %u", verdict);
		return -EPROTO;
	}
	snprintf(words, TLS_WORDS_MAX, "%s", verdicts[verdict].words);
	return -verdicts[verdict].error;
}

static int begin(struct attempt *t, uint64_t deadline, char words[static TLS_WORDS_MAX])
{
	uint8_t verdict;
	int r;

	r = tls_handshake(t->ssl, false, deadline, words);
	if (r == 0 && !tls_protocol_agreed(t->ssl)) {
		snprintf(words, TLS_WORDS_MAX, "the other side does not speak " TLS_PROTOCOL);
		r = -EPROTO;
	}
	/* What was checked then may have been revoked, expired, or be trusted no more. */
	if (r == 0 && SSL_session_reused(t->ssl))
		r = tls_verify_again(t->ssl, words);
	if (r == 0)
		r = tls_write(t->ssl, t->token, t->token_len, deadline, words);
	/* In TLS 1.3 a server judges our certificate after our handshake is over. */
	if (r == 0)
		r = tls_read(t->ssl, &verdict, 1, deadline, words);
	if (r == 0)
		r = verdict_error(verdict, words);
	return r;
}

/* ---- what it needs ---- */

/* One line of a file that is nobody else's business. */
static int read_token(const char *path, struct attempt *t)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char words[128];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail_words(-errno, "token file %s: %s", path,
				  strerror_r(errno, words, sizeof(words)));
	if (st.st_mode & 077)
		return fail_words(-EPERM,
				  "token file %s: others may read it (mode %04o): chmod 600", path,
				  (unsigned)st.st_mode & 07777);
	n = read(fd, t->token + 2, TLS_TOKEN_MAX);
	if (n < 0)
		return fail_words(-errno, "token file %s: %s", path,
				  strerror_r(errno, words, sizeof(words)));
	if (n > 0 && t->token[2 + n - 1] == '\n')
		n--;
	if (n == 0 || st.st_size > TLS_TOKEN_MAX)
		return fail_words(-EINVAL, "token file %s: expected one line of 1 to %d bytes",
				  path, TLS_TOKEN_MAX);
	t->token[0] = (uint8_t)(n & 0xff);
	t->token[1] = (uint8_t)(n >> 8);
	t->token_len = 2 + (size_t)n;
	return 0;
}

/* Whom the certificate must name: an address, or a host, which is also told to the server (SNI). */
static bool expect_name(SSL *ssl, const char *host)
{
	struct in6_addr address;
	bool number =
		inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;

	if (number)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
				       X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static int prepare(const char *server, const char *host, const struct gofer_tls_options *o,
		   struct attempt *t)
{
	const struct tls_files files = {
		.cert = o->cert, .key = o->key, .ca = o->ca, .crl = o->crl
	};
	char words[TLS_WORDS_MAX];
	SSL_CTX *ctx;
	int r;

	r = tls_context_new(false, &files, &ctx, words);
	if (r < 0)
		return fail_words(r, "%s", words);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	t->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	t->token_len = 2; /* none */
	if (o->token_file) {
		r = read_token(o->token_file, t);
		if (r < 0)
			return r;
	}
	if (!t->ssl || !expect_name(t->ssl, o->name ? o->name : host))
		return fail_words(-ENOMEM, "%s: TLS could not be set up", server);
	return 0;
}

static const char *or_none(const char *text)
{
	return text ? text : "";
}

/* Whoever asks the same question may go on with the TLS session that answered it. */
static int offer_tickets(struct attempt *t, const char *text, const struct gofer_tls_options *o)
{
	_cleanup_free_ char *question = NULL;

	if (!o->tickets)
		return 0;
	if (asprintf(&question, "%s\n%s\n%s\n%s\n%s\n%s\n%s", text, or_none(o->name),
		     or_none(o->ca), or_none(o->crl), or_none(o->cert), or_none(o->key),
		     or_none(o->token_file)) < 0) {
		question = NULL;
		return -ENOMEM;
	}
	return tls_tickets_attach(o->tickets, t->ssl, question);
}

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int connect_tls(const char *server, const char *text, const struct gofer_tls_options *options,
		uint64_t timeout, int *ret_sock, struct helper *ret_helper)
{
	static const struct gofer_tls_options none;
	_cleanup_(cleanup_attempt) struct attempt t = { .net = -EBADF };
	char host[NET_HOST_MAX], port[NET_PORT_MAX], words[TLS_WORDS_MAX] = "";
	uint64_t deadline = now_ns() + timeout;
	int r;

	if (net_split(text, host, port) < 0 || !host[0])
		return fail_words(-EINVAL, "'%s' is not of the form tls:HOST:PORT", server);
	r = prepare(server, host, options ? options : &none, &t);
	if (r == 0)
		r = connect_tcp(server, text, false, timeout, &t.net);
	if (r == 0)
		r = set_nonblocking(t.net);
	if (r == 0)
		r = tls_stream_attach(t.ssl, t.net);
	if (r == 0)
		r = offer_tickets(&t, text, options ? options : &none);
	if (r < 0)
		return r;
	r = begin(&t, deadline, words);
	if (r < 0)
		return fail_words(r, "%s: %s", server,
				  r == -ETIMEDOUT ? "no TLS handshake in time" : words);
	ret_helper->tls = tls_stream_new(t.ssl, timeout);
	if (!ret_helper->tls)
		return -ENOMEM;
	ret_helper->tls_resumed = SSL_session_reused(t.ssl);
	t.ssl = NULL;
	*ret_sock = TAKE_FD(t.net);
	return 0;
}
