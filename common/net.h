/*
 * net.h - addresses beyond Unix sockets, as people write them: HOST:PORT, [v6]:PORT, CID:PORT.
 */
#pragma once

#include <sys/socket.h>

#include "common/util.h"

enum { NET_HOST_MAX = 256, NET_PORT_MAX = 6, NET_TEXT_MAX = NET_HOST_MAX + 16 };

/* A decimal number from 0 to `most`, and nothing else. */
bool net_number(const char *text, unsigned long most, unsigned long *ret);
/* "HOST:PORT", "[::1]:PORT", "*:PORT" (host then empty). -EINVAL. */
int net_split(const char *text, char ret_host[static NET_HOST_MAX],
	      char ret_port[static NET_PORT_MAX]);
/* "CID:PORT"; for CID also "any" and "local". -EINVAL. */
int net_vsock(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len);
bool net_is_loopback(const struct sockaddr *address);
/* "192.0.2.1:445", "[::1]:445", for messages. */
void net_print(const struct sockaddr *address, socklen_t len, char ret[static NET_TEXT_MAX]);
