/*
 * floor.h - what floor.c has of OpenSSL: for servers that are reached by TLS, the ping-pong is inside
 * it, too.
 */
#pragma once

#include <openssl/ssl.h>

#include "common/util.h"

/* Before both sides part: the key that they share. */
bool floor_tls_key(void);
/* Blocks until the other side has done the same. NULL where TLS cannot be had. */
SSL *floor_tls(int sock, bool server);
