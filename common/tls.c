/*
 * tls.c - contexts, and words for what goes wrong.
 *
 * TLS 1.3 only: so no renegotiation, no compression, no weak ciphers. Early data is off on both
 * sides (it can be replayed). Names are looked for in a certificate's subjectAltName only: a common
 * name is no host name. The kernel encrypts where it can and OpenSSL lets it.
 */
#include "common/tls.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

/* The last error of OpenSSL's queue, which is emptied. */
static const char *take_reason(void)
{
	unsigned long e = ERR_peek_last_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	ERR_clear_error();
	return reason ? reason : "unknown error";
}

static int file_failed(const char *what, const char *path, char words[static TLS_WORDS_MAX])
{
	int error = errno;
	struct stat st;

	if (stat(path, &st) < 0 || (error == EACCES && access(path, R_OK) < 0)) {
		error = errno;
		ERR_clear_error();
		snprintf(words, TLS_WORDS_MAX, "%s %s: %s", what, path, strerror(error));
		return -error;
	}
	snprintf(words, TLS_WORDS_MAX, "%s %s: %s", what, path, take_reason());
	return -EINVAL;
}

static int load_own(SSL_CTX *ctx, const struct tls_files *f, char words[static TLS_WORDS_MAX])
{
	struct stat st;

	if (!f->cert != !f->key) {
		snprintf(words, TLS_WORDS_MAX,
			 "a certificate and its private key belong together: one of them is "
			 "missing");
		return -EINVAL;
	}
	if (!f->cert)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(ctx, f->cert) != 1)
		return file_failed("certificate", f->cert, words);
	if (stat(f->key, &st) == 0 && (st.st_mode & 037)) {
		snprintf(words, TLS_WORDS_MAX,
			 "private key %s: others may read or write it (mode %04o): chmod 600",
			 f->key, (unsigned)st.st_mode & 07777);
		return -EPERM;
	}
	if (SSL_CTX_use_PrivateKey_file(ctx, f->key, SSL_FILETYPE_PEM) != 1) {
		int reason = ERR_GET_REASON(ERR_peek_last_error());

		if (reason != X509_R_KEY_VALUES_MISMATCH && reason != X509_R_KEY_TYPE_MISMATCH)
			return file_failed("private key", f->key, words);
		snprintf(words, TLS_WORDS_MAX, "private key %s does not belong to certificate %s",
			 f->key, f->cert);
		ERR_clear_error();
		return -EINVAL;
	}
	return 0;
}

static int load_authorities(SSL_CTX *ctx, bool server, const struct tls_files *f,
			    char words[static TLS_WORDS_MAX])
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	STACK_OF(X509_NAME) * names;

	if (f->ca && SSL_CTX_load_verify_locations(ctx, f->ca, NULL) != 1)
		return file_failed("certificate authority", f->ca, words);
	if (!f->ca && !server && SSL_CTX_set_default_verify_paths(ctx) != 1)
		return -EINVAL;
	if (f->ca && server) {
		/* So that a client with several certificates knows which to show. */
		names = SSL_load_client_CA_file(f->ca);
		if (!names)
			return file_failed("certificate authority", f->ca, words);
		SSL_CTX_set_client_CA_list(ctx, names);
	}
	if (!f->crl)
		return 0;
	if (X509_load_crl_file(X509_STORE_add_lookup(store, X509_LOOKUP_file()), f->crl,
			       X509_FILETYPE_PEM) < 1)
		return file_failed("revocation list", f->crl, words);
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	return 0;
}

static int choose_protocol(SSL *ssl _unused_, const unsigned char **ret, unsigned char *ret_len,
			   const unsigned char *offered, unsigned len, void *userdata _unused_)
{
	size_t n = strlen(TLS_PROTOCOL);

	for (unsigned at = 0; at < len; at += 1u + offered[at])
		if (offered[at] == n && at + 1 + n <= len &&
		    memcmp(offered + at + 1, TLS_PROTOCOL, n) == 0) {
			*ret = offered + at + 1;
			*ret_len = (unsigned char)n;
			return SSL_TLSEXT_ERR_OK;
		}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

int tls_context_new(bool server, const struct tls_files *files, SSL_CTX **ret_ctx,
		    char words[static TLS_WORDS_MAX])
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	int r;

	words[0] = '\0';
	if (!ctx)
		return -ENOMEM;
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_options(ctx,
			    SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_ENABLE_KTLS);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* A record's header and body by one read(2), and what follows if it is there. */
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_recv_max_early_data(ctx, 0);
	r = load_own(ctx, files, words);
	if (r == 0)
		r = load_authorities(ctx, server, files, words);
	if (r == 0 && server)
		SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	if (r == 0 && !server &&
	    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x07" TLS_PROTOCOL,
				    1 + strlen(TLS_PROTOCOL)) != 0)
		r = -ENOMEM;
	if (r < 0) {
		SSL_CTX_free(ctx);
		if (!words[0])
			snprintf(words, TLS_WORDS_MAX, "%s", strerror(-r));
		return r;
	}
	*ret_ctx = ctx;
	return 0;
}

bool tls_protocol_agreed(const SSL *ssl)
{
	const unsigned char *name;
	unsigned len;

	SSL_get0_alpn_selected(ssl, &name, &len);
	return len == strlen(TLS_PROTOCOL) && memcmp(name, TLS_PROTOCOL, len) == 0;
}

bool tls_still_valid(SSL_CTX *ctx, X509 *cert)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);

	if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0)
		return false;
	for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
		X509_CRL *crl = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));
		X509_REVOKED *entry;

		if (crl && X509_CRL_get0_by_cert(crl, &entry, cert) == 1)
			return false;
	}
	return true;
}

bool tls_kernel_can(void)
{
	_cleanup_fd_ int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* The module is there if only a connection is missing. */
	return sock >= 0 && setsockopt(sock, SOL_TCP, TCP_ULP, "tls", 3) < 0 && errno == ENOTCONN;
}

/* ---- what went wrong ---- */

static const struct {
	int verify;
	int error;
	const char *words;
} verify_failures[] = {
	{ X509_V_ERR_CERT_HAS_EXPIRED, EKEYEXPIRED, "has expired" },
	{ X509_V_ERR_CERT_NOT_YET_VALID, EKEYREJECTED, "is not valid yet" },
	{ X509_V_ERR_HOSTNAME_MISMATCH, EKEYREJECTED, "is for another host name" },
	{ X509_V_ERR_IP_ADDRESS_MISMATCH, EKEYREJECTED, "is for another address" },
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, ENOKEY, "is self-signed" },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, ENOKEY,
	  "is signed by an authority that is not trusted here" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, ENOKEY,
	  "is signed by an authority that is not trusted here" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, ENOKEY,
	  "is signed by an authority that is not trusted here" },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, ENOKEY,
	  "is signed by an authority that is not trusted here" },
	{ X509_V_ERR_CERT_REVOKED, EKEYREVOKED, "has been revoked" },
	{ X509_V_ERR_UNABLE_TO_GET_CRL, EKEYREJECTED,
	  "cannot be checked: no list of what its authority has revoked" },
	{ X509_V_ERR_CRL_HAS_EXPIRED, EKEYREJECTED,
	  "cannot be checked: the list of what its authority has revoked is too old" },
	{ X509_V_ERR_INVALID_PURPOSE, EKEYREJECTED, "is for another purpose" },
};

static const struct {
	int reason;
	int error;
	const char *words;
} alerts[] = {
	{ SSL_R_TLSV1_ALERT_UNKNOWN_CA, EKEYREJECTED,
	  "the other side does not trust who signed our certificate" },
	{ SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, EKEYEXPIRED,
	  "the other side says: our certificate has expired" },
	{ SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, EKEYREVOKED,
	  "the other side says: our certificate has been revoked" },
	{ SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, EKEYREJECTED,
	  "the other side refuses our certificate" },
	{ SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, EKEYREJECTED,
	  "the other side says: our certificate is for another purpose" },
	{ SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, EKEYREJECTED,
	  "the other side refuses our certificate" },
	{ SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, ENOKEY,
	  "the other side asks for a certificate, and there is none" },
	{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, ENOKEY, "the other side showed no certificate" },
	{ SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, EPROTO,
	  "the other side does not speak " TLS_PROTOCOL },
	{ SSL_R_NO_APPLICATION_PROTOCOL, EPROTO, "the other side does not speak " TLS_PROTOCOL },
	{ SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, EPROTO, "the other side does not speak TLS 1.3" },
	{ SSL_R_UNSUPPORTED_PROTOCOL, EPROTO, "the other side does not speak TLS 1.3" },
	{ SSL_R_WRONG_VERSION_NUMBER, EPROTO, "the other side does not speak TLS" },
	{ SSL_R_HTTP_REQUEST, EPROTO, "the other side does not speak TLS" },
	{ SSL_R_UNEXPECTED_EOF_WHILE_READING, ECONNABORTED,
	  "the connection was cut: it ended without a word" },
};

static int verify_failed(const SSL *ssl, long result, char words[static TLS_WORDS_MAX])
{
	const char *whose = SSL_is_server(ssl) ? "the client's" : "the server's";

	for (size_t i = 0; i < ARRAY_SIZE(verify_failures); i++)
		if (verify_failures[i].verify == result) {
			snprintf(words, TLS_WORDS_MAX, "%s certificate %s", whose,
				 verify_failures[i].words);
			return -verify_failures[i].error;
		}
	snprintf(words, TLS_WORDS_MAX, "%s certificate: %s", whose,
		 X509_verify_cert_error_string(result));
	return -EKEYREJECTED;
}

int tls_verify_again(SSL *ssl, char words[static TLS_WORDS_MAX])
{
	X509_STORE *store = SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl));
	X509 *cert = SSL_get0_peer_certificate(ssl);
	X509_STORE_CTX *x = X509_STORE_CTX_new();
	long result = X509_V_ERR_UNSPECIFIED;

	if (x && cert && X509_STORE_CTX_init(x, store, cert, SSL_get_peer_cert_chain(ssl)) == 1 &&
	    X509_STORE_CTX_set_default(x, SSL_is_server(ssl) ? "ssl_client" : "ssl_server") == 1 &&
	    X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(x), SSL_get0_param(ssl)) == 1) {
		(void)X509_verify_cert(x);
		result = X509_STORE_CTX_get_error(x);
	}
	X509_STORE_CTX_free(x);
	ERR_clear_error();
	return result == X509_V_OK ? 0 : verify_failed(ssl, result, words);
}

int tls_failure(const SSL *ssl, int ssl_error, char words[static TLS_WORDS_MAX])
{
	long result = SSL_get_verify_result(ssl);
	int error = errno, reason = ERR_GET_REASON(ERR_peek_last_error());

	if (ssl_error == SSL_ERROR_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED &&
	    result != X509_V_OK) {
		ERR_clear_error();
		return verify_failed(ssl, result, words);
	}
	for (size_t i = 0; ssl_error == SSL_ERROR_SSL && i < ARRAY_SIZE(alerts); i++)
		if (alerts[i].reason == reason) {
			ERR_clear_error();
			snprintf(words, TLS_WORDS_MAX, "%s", alerts[i].words);
			return -alerts[i].error;
		}
	if (ssl_error == SSL_ERROR_SSL) {
		snprintf(words, TLS_WORDS_MAX, "TLS: %s", take_reason());
		return -EPROTO;
	}
	ERR_clear_error();
	if (ssl_error == SSL_ERROR_SYSCALL && error) {
		snprintf(words, TLS_WORDS_MAX, "%s", strerror(error));
		return -error;
	}
	snprintf(words, TLS_WORDS_MAX, "the other side has hung up");
	return -ECONNRESET;
}
