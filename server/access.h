/*
 * access.h - who may come in over TLS, to which volumes, and as whom: the file of --tls-access.
 *
 *     # one section per client; its name is for the log
 *     [alice]
 *     subject = CN=alice,O=Lab          the certificate's subject, as RFC 2253 writes it
 *     volumes = work, docs:ro
 *     identity = 1000:1000              whom delegating volumes take it for
 *
 *     [build7]
 *     dns = build7.lab.example          ... or a name in the certificate's subjectAltName
 *     volumes = work
 *
 *     [laptop]
 *     token-sha256 = 5e88...            ... or a token, of which only the digest is kept
 *     volumes = docs
 */
#pragma once

#include <openssl/x509.h>

#include "server/serve_error.h"
#include "server/server.h"

enum { ACCESS_DIGEST = 32, ACCESS_NAME_MAX = 64, ACCESS_MAX = 4096, ACCESS_VOLUMES_MAX = 256 };

struct access_volume {
	char *name;
	bool read_only;
};

struct access_entry {
	char name[ACCESS_NAME_MAX];
	unsigned line;
	char *subject, *dns; /* one of three */
	bool has_token;
	uint8_t token[ACCESS_DIGEST];
	struct access_volume *volumes;
	size_t n_volumes;
	bool has_identity;
	uid_t uid;
	gid_t gid;
};

struct access_list {
	struct access_entry *entries;
	size_t n;
	bool tokens;                   /* some entry has one */
	uint8_t digest[ACCESS_DIGEST]; /* of the whole file */
};

/* -errno with words that name the line. Refuses a file that others could have written. */
int access_load(const char *path, struct access_list *ret, struct serve_error *error);
/* The same for text, which `path` names in messages. */
int access_parse(const char *path, const char *text, size_t size, struct access_list *ret,
		 struct serve_error *error);
void access_deinit(struct access_list *list);

/* Whether what the file promises exists: every volume, and an identity where one is needed. */
int access_check(const char *path, const struct access_list *list, const struct server *server,
		 struct serve_error *error);
/* The entry of a certificate, or of a token; -ENOENT. In the same time whichever token it is. */
int access_find_cert(const struct access_list *list, X509 *cert, size_t *ret_index);
int access_find_token(const struct access_list *list, const void *token, size_t size,
		      size_t *ret_index);
/* In a process that serves this client only: what it may not use goes. */
void access_restrict(const struct access_entry *entry, struct server *server);
