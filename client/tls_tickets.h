/*
 * tls_tickets.h - TLS sessions that a client may resume.
 */
#pragma once

#include <openssl/ssl.h>

#include "client/gofer.h"
#include "common/util.h"

/*
 * Before the handshake: `ssl` resumes a session of the same question, if there is one, and keeps those that
 * the server offers. 0 or -ENOMEM.
 */
int tls_tickets_attach(struct gofer_tls_tickets *tickets, SSL *ssl, const char *question);
