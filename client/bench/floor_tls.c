/*
 * floor_tls.c - the two ends of a floor inside TLS 1.3. They are the same program, so they know one
 * another by a key that both have (RFC 8446, 2.2): what is measured is records, not certificates.
 */
#include <string.h>

#include <openssl/rand.h>
#include <openssl/ssl.h>

#include "client/bench/floor.h"

/* What sessions of gofer agree on, too. */
static const uint8_t aes_256_gcm_sha384[] = { 0x13, 0x02 };
static const char identity[] = "floor";
static uint8_t key[48];

static SSL_SESSION *session_new(SSL *ssl)
{
	SSL_SESSION *s = SSL_SESSION_new();

	if (s && SSL_SESSION_set1_master_key(s, key, sizeof(key)) == 1 &&
	    SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, aes_256_gcm_sha384)) == 1 &&
	    SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION) == 1)
		return s;
	SSL_SESSION_free(s);
	return NULL;
}

static int use_session(SSL *ssl, const EVP_MD *md _unused_, const unsigned char **ret_id,
		       size_t *ret_len, SSL_SESSION **ret_session)
{
	*ret_id = (const unsigned char *)identity;
	*ret_len = strlen(identity);
	*ret_session = session_new(ssl);
	return *ret_session != NULL;
}

static int find_session(SSL *ssl, const unsigned char *id _unused_, size_t len _unused_,
			SSL_SESSION **ret_session)
{
	*ret_session = session_new(ssl);
	return *ret_session != NULL;
}

bool floor_tls_key(void)
{
	return RAND_bytes(key, sizeof(key)) == 1;
}

SSL *floor_tls(int sock, bool server)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());
	SSL *ssl = NULL;

	if (ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 &&
	    SSL_CTX_set_num_tickets(ctx, 0) == 1) {
		SSL_CTX_set_read_ahead(ctx, 1);
		SSL_CTX_set_psk_use_session_callback(ctx, use_session);
		SSL_CTX_set_psk_find_session_callback(ctx, find_session);
		ssl = SSL_new(ctx);
	}
	if (ssl &&
	    (SSL_set_fd(ssl, sock) != 1 || (server ? SSL_accept(ssl) : SSL_connect(ssl)) != 1)) {
		SSL_free(ssl);
		ssl = NULL;
	}
	SSL_CTX_free(ctx);
	return ssl;
}
