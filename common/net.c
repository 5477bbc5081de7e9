/*
 * net.c - parsing by hand what getaddrinfo(3) does not: where the host ends and the port begins.
 */
#include "common/net.h"

#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

bool net_number(const char *text, unsigned long most, unsigned long *ret)
{
	unsigned long value;
	char *end;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value > most)
		return false;
	*ret = value;
	return true;
}

int net_split(const char *text, char ret_host[static NET_HOST_MAX],
	      char ret_port[static NET_PORT_MAX])
{
	const char *colon = strrchr(text, ':'), *host = text;
	unsigned long port;
	size_t n;

	if (!colon || !net_number(colon + 1, 65535, &port))
		return -EINVAL;
	n = (size_t)(colon - text);
	if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
		host++;
		n -= 2;
	} else if (memchr(host, ':', n)) {
		return -EINVAL; /* an IPv6 address without brackets: where does it end? */
	}
	if (n == 0 || n >= NET_HOST_MAX)
		return -EINVAL;
	memcpy(ret_host, host, n);
	ret_host[n] = '\0';
	if (strcmp(ret_host, "*") == 0)
		ret_host[0] = '\0';
	snprintf(ret_port, NET_PORT_MAX, "%u", (unsigned)port);
	return 0;
}

int net_vsock(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK };
	const char *colon = strchr(text, ':');
	unsigned long cid, port;
	char first[16];

	if (!colon || (size_t)(colon - text) >= sizeof(first))
		return -EINVAL;
	memcpy(first, text, (size_t)(colon - text));
	first[colon - text] = '\0';
	if (strcmp(first, "any") == 0)
		cid = VMADDR_CID_ANY;
	else if (strcmp(first, "local") == 0)
		cid = VMADDR_CID_LOCAL;
	else if (!net_number(first, UINT32_MAX, &cid))
		return -EINVAL;
	if (!net_number(colon + 1, UINT32_MAX, &port))
		return -EINVAL;
	address.svm_cid = (unsigned)cid;
	address.svm_port = (unsigned)port;
	*ret = (struct sockaddr_storage){ 0 };
	memcpy(ret, &address, sizeof(address));
	*ret_len = sizeof(address);
	return 0;
}

bool net_is_loopback(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;

		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	}
	if (address->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
	return false;
}

void net_print(const struct sockaddr *address, socklen_t len, char ret[static NET_TEXT_MAX])
{
	const struct sockaddr_vm *vm = (const struct sockaddr_vm *)address;
	char host[NET_HOST_MAX], port[NET_PORT_MAX];

	if (address->sa_family == AF_VSOCK)
		snprintf(ret, NET_TEXT_MAX, "%u:%u", vm->svm_cid, vm->svm_port);
	else if (getnameinfo(address, len, host, sizeof(host), port, sizeof(port),
			     NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(ret, NET_TEXT_MAX, "?");
	else
		snprintf(ret, NET_TEXT_MAX, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}
