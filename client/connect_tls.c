/*
 * connect_tls.c - "tls:HOST:PORT": a thread per session that encrypts.
 *
 * The session itself speaks to a plain socket, whose other end the thread has; so everything that
 * the session does with its socket (poll, one thread reads while another sends) stays as it is. The
 * thread makes the connection's TLS from the handshake to the end: OpenSSL's objects are for one
 * thread, and what it writes to a broken connection raises SIGPIPE, which this thread blocks and no
 * other ever sees.
 *
 * The handshake, our credentials and the server's verdict on them happen before the session begins,
 * within its deadline, so that each way to be refused has words of its own.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <arpa/inet.h>
#include <openssl/x509v3.h>

#include "client/session.h"
#include "common/net.h"
#include "common/tls.h"

enum { LINGER_MS = 1000 };

struct tls_connection {
	SSL_CTX *ctx;
	SSL *ssl;
	int net, sock; /* the connection; our end of the session's socket */
	pthread_t thread;
	uint64_t deadline; /* of the beginning */
	uint8_t token[2 + TLS_TOKEN_MAX];
	size_t token_len;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool begun; /* result and words are there */
	int result;
	char words[TLS_WORDS_MAX];
};

static void connection_free(struct tls_connection *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	SSL_CTX_free(t->ctx);
	fd_close(t->net);
	fd_close(t->sock);
	OPENSSL_cleanse(t->token, sizeof(t->token));
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->cond);
	free(t);
}

static void cleanup_connection(struct tls_connection **t)
{
	connection_free(*t);
}

/* ---- the thread ---- */

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

static int begin(struct tls_connection *t, char words[static TLS_WORDS_MAX])
{
	uint8_t verdict;
	int r;

	r = tls_handshake(t->ssl, false, t->deadline, words);
	if (r == 0 && !tls_protocol_agreed(t->ssl)) {
		snprintf(words, TLS_WORDS_MAX, "the other side does not speak " TLS_PROTOCOL);
		r = -EPROTO;
	}
	if (r == 0)
		r = tls_write(t->ssl, t->token, t->token_len, t->deadline, words);
	/* In TLS 1.3 a server judges our certificate after our handshake is over. */
	if (r == 0)
		r = tls_read(t->ssl, &verdict, 1, t->deadline, words);
	if (r == 0)
		r = verdict_error(verdict, words);
	return r;
}

static void *connection_main(void *userdata)
{
	struct tls_connection *t = userdata;
	char words[TLS_WORDS_MAX] = "";
	int r = begin(t, words);

	pthread_mutex_lock(&t->lock);
	t->begun = true;
	t->result = r;
	memcpy(t->words, words, sizeof(words));
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->lock);
	if (r == 0)
		(void)tls_pump(t->ssl, t->sock, LINGER_MS, words);
	/* The session sees its socket end. */
	(void)shutdown(t->sock, SHUT_RDWR);
	return NULL;
}

/* ---- what it needs ---- */

/* One line of a file that is nobody else's business. */
static int read_token(const char *path, struct tls_connection *t)
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
		   struct tls_connection *t)
{
	const struct tls_files files = {
		.cert = o->cert, .key = o->key, .ca = o->ca, .crl = o->crl
	};
	char words[TLS_WORDS_MAX];
	int r;

	r = tls_context_new(false, &files, &t->ctx, words);
	if (r < 0)
		return fail_words(r, "%s", words);
	SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
	t->token_len = 2; /* none */
	if (o->token_file) {
		r = read_token(o->token_file, t);
		if (r < 0)
			return r;
	}
	t->ssl = SSL_new(t->ctx);
	if (!t->ssl || !expect_name(t->ssl, o->name ? o->name : host))
		return fail_words(-ENOMEM, "%s: TLS could not be set up", server);
	return 0;
}

static int start_thread(struct tls_connection *t)
{
	sigset_t all, saved;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &saved);
	r = -pthread_create(&t->thread, NULL, connection_main, t);
	pthread_sigmask(SIG_SETMASK, &saved, NULL);
	return r;
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
	_cleanup_(cleanup_connection) struct tls_connection *t = calloc(1, sizeof(*t));
	char host[NET_HOST_MAX], port[NET_PORT_MAX];
	_cleanup_fd_ int ours = -EBADF;
	int pair[2], r;

	if (!t)
		return -ENOMEM;
	t->net = t->sock = -EBADF;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->cond, NULL);
	t->deadline = now_ns() + timeout;
	if (net_split(text, host, port) < 0 || !host[0])
		return fail_words(-EINVAL, "'%s' is not of the form tls:HOST:PORT", server);
	r = prepare(server, host, options ? options : &none, t);
	if (r == 0)
		r = connect_tcp(server, text, false, timeout, &t->net);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	t->sock = pair[1];
	r = set_nonblocking(t->net);
	if (r == 0)
		r = set_nonblocking(t->sock);
	if (r == 0 && SSL_set_fd(t->ssl, t->net) != 1)
		r = -ENOMEM;
	if (r == 0)
		r = start_thread(t);
	if (r < 0)
		return r;
	pthread_mutex_lock(&t->lock);
	while (!t->begun)
		pthread_cond_wait(&t->cond, &t->lock); /* it has a deadline */
	r = t->result;
	pthread_mutex_unlock(&t->lock);
	if (r < 0) {
		pthread_join(t->thread, NULL);
		return fail_words(r, "%s: %s", server,
				  r == -ETIMEDOUT ? "no TLS handshake in time" : t->words);
	}
	*ret_sock = TAKE_FD(ours);
	ret_helper->tls = TAKE_PTR(t);
	return 0;
}

void tls_end(struct tls_connection *t)
{
	if (!t)
		return;
	/* It has seen the session's end of the socket close, and says goodbye. */
	pthread_join(t->thread, NULL);
	connection_free(t);
}
