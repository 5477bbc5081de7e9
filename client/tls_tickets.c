/*
 * tls_tickets.c - TLS sessions of earlier connections, so that the next one to the same server needs no
 * certificates on the wire and no signatures.
 *
 * A ticket is good for the very same question only: address, name that is expected, authorities, revocation
 * list, our credentials. It is used once. Whoever uses one checks the certificate that it came with as if
 * it had just been shown (tls_verify_again()), for files may have changed since.
 */
#include "client/tls_tickets.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { TICKETS_MOST = 64 };

struct ticket {
	struct ticket *next;
	char *question;
	SSL_SESSION *session;
};

struct gofer_tls_tickets {
	_Atomic unsigned refs;
	pthread_mutex_t lock;
	struct ticket *newest;
	unsigned n;
};

/* What a connection has in its SSL object: whose tickets it brings, and for which question. */
struct tls_tickets_use {
	struct gofer_tls_tickets *tickets;
	char *question;
};

int gofer_tls_tickets_new(struct gofer_tls_tickets **ret_tickets)
{
	struct gofer_tls_tickets *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	atomic_init(&t->refs, 1);
	pthread_mutex_init(&t->lock, NULL);
	*ret_tickets = t;
	return 0;
}

static void ticket_free(struct ticket *x)
{
	SSL_SESSION_free(x->session);
	free(x->question);
	free(x);
}

void gofer_tls_tickets_free(struct gofer_tls_tickets *t)
{
	if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	while (t->newest) {
		struct ticket *x = t->newest;

		t->newest = x->next;
		ticket_free(x);
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Takes the session. */
static void put(struct gofer_tls_tickets *t, const char *question, SSL_SESSION *session)
{
	struct ticket *x = calloc(1, sizeof(*x)), *old = NULL;

	if (x)
		x->question = strdup(question);
	if (!x || !x->question || !session) {
		if (x)
			free(x->question);
		free(x);
		SSL_SESSION_free(session);
		return;
	}
	x->session = session;
	pthread_mutex_lock(&t->lock);
	x->next = t->newest;
	t->newest = x;
	if (++t->n > TICKETS_MOST) {
		struct ticket **at = &t->newest;

		while ((*at)->next)
			at = &(*at)->next;
		old = *at;
		*at = NULL;
		t->n--;
	}
	pthread_mutex_unlock(&t->lock);
	if (old)
		ticket_free(old);
}

static SSL_SESSION *take(struct gofer_tls_tickets *t, const char *question)
{
	struct ticket *x = NULL;
	SSL_SESSION *session;

	pthread_mutex_lock(&t->lock);
	for (struct ticket **at = &t->newest; *at; at = &(*at)->next) {
		if (strcmp((*at)->question, question) != 0)
			continue;
		x = *at;
		*at = x->next;
		t->n--;
		break;
	}
	pthread_mutex_unlock(&t->lock);
	if (!x)
		return NULL;
	session = x->session;
	x->session = NULL;
	ticket_free(x);
	return session;
}

/* ---- in OpenSSL's objects ---- */

static int use_index = -1;

static void free_use(void *parent _unused_, void *pointer, CRYPTO_EX_DATA *data _unused_,
		     int index _unused_, long number _unused_, void *userdata _unused_)
{
	struct tls_tickets_use *u = pointer;

	if (!u)
		return;
	gofer_tls_tickets_free(u->tickets);
	free(u->question);
	free(u);
}

static void make_index(void)
{
	use_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_use);
}

__attribute__((destructor)) static void free_index(void)
{
	if (use_index >= 0)
		(void)CRYPTO_free_ex_index(CRYPTO_EX_INDEX_SSL, use_index);
}

/* A copy: OpenSSL takes its own for spoiled when the connection ends without a goodbye, which is when it is wanted. */
static int on_ticket(SSL *ssl, SSL_SESSION *session)
{
	struct tls_tickets_use *u = SSL_get_ex_data(ssl, use_index);

	if (u && SSL_SESSION_is_resumable(session))
		put(u->tickets, u->question, SSL_SESSION_dup(session));
	return 0;
}

int tls_tickets_attach(struct gofer_tls_tickets *t, SSL *ssl, const char *question)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
	struct tls_tickets_use *u;
	SSL_SESSION *session;

	pthread_once(&once, make_index);
	u = calloc(1, sizeof(*u));
	if (u)
		u->question = strdup(question);
	if (!u || !u->question || use_index < 0) {
		if (u)
			free(u->question);
		free(u);
		return -ENOMEM;
	}
	atomic_fetch_add(&t->refs, 1);
	u->tickets = t;
	if (SSL_set_ex_data(ssl, use_index, u) != 1) {
		free_use(NULL, u, NULL, 0, 0, NULL);
		return -ENOMEM;
	}
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_ticket);
	session = take(t, question);
	if (session) {
		/* One that does not suit is no failure: there is a handshake then. */
		(void)SSL_set_session(ssl, session);
		SSL_SESSION_free(session);
	}
	return 0;
}
