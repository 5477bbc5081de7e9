/*
 * sockets.c - the host's sockets: by path, by abstract name, on its loopback; and the network's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/escape/escape.h"

static socklen_t unix_address(struct sockaddr_un *a, const char *path)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path, sizeof(a->sun_path), "%s", path);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

static socklen_t abstract_address(struct sockaddr_un *a, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path + 1, sizeof(a->sun_path) - 1, "%s", name);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

/* ---- streams ---- */

static void connecting(const char *what, const struct sockaddr_un *a, socklen_t len)
{
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (sock < 0) {
		ok("%s: socket: %s", what, errno_text(-1));
		return;
	}
	must_fail(what, connect(sock, (const struct sockaddr *)a, len));
	close(sock);
}

/* ---- datagrams: by every call that takes an address ---- */

static void sending(const char *what, const struct sockaddr_un *a, socklen_t len)
{
	struct iovec iov = { (void *)"escape", 6 };
	struct msghdr m = {
		.msg_name = (void *)a, .msg_namelen = len, .msg_iov = &iov, .msg_iovlen = 1
	};
	struct mmsghdr mm = { .msg_hdr = m };
	static const int types[] = { SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET };
	int pair[2];

	for (size_t i = 0; i < 3; i++) {
		int sock = socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (sock < 0) {
			ok("%s: a socket of type %d: %s", what, types[i], errno_text(-1));
			continue;
		}
		must_fail(text("%s: connect (type %d)", what, types[i]),
			  connect(sock, (const struct sockaddr *)a, len));
		must_fail(text("%s: sendto (type %d)", what, types[i]),
			  sendto(sock, "escape", 6, 0, (const struct sockaddr *)a, len));
		must_fail(text("%s: sendmsg (type %d)", what, types[i]), sendmsg(sock, &m, 0));
		must_fail(text("%s: sendmmsg (type %d)", what, types[i]),
			  sendmmsg(sock, &mm, 1, 0));
		close(sock);
	}
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0) {
		ok("%s: a pair: %s", what, errno_text(-1));
		return;
	}
	must_fail(text("%s: sendmsg by a pair", what), sendmsg(pair[0], &m, 0));
	close(pair[0]);
	close(pair[1]);
}

/* ---- a descriptor that changes its meaning while the call is on its way ---- */

static atomic_bool stop;
static int number, kinds[2];

static void *change(void *userdata)
{
	(void)userdata;
	for (unsigned i = 0; !atomic_load(&stop); i++)
		dup2(kinds[i & 1], number);
	return NULL;
}

/* A number is a socket of the network, and of the host's files at the next moment. */
static void changing(const struct sockaddr_un *a, socklen_t len)
{
	unsigned reached = 0;
	pthread_t thread;

	kinds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (kinds[0] < 0)
		kinds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	kinds[1] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	number = dup(kinds[0]);
	atomic_store(&stop, false);
	if (pthread_create(&thread, NULL, change, NULL) != 0)
		broken("no thread");
	for (unsigned i = 0; i < world.rounds * 4; i++)
		reached += connect(number, (const struct sockaddr *)a, len) == 0;
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	verdict(reached > 0, "connect by a number that changes: %u reached the host", reached);
	close(number);
	close(kinds[0]);
	close(kinds[1]);
}

/* ---- network ---- */

static void network(void)
{
	static const struct {
		const char *name;
		int family, type, protocol;
	} kinds_of[] = {
		{ "packet", AF_PACKET, SOCK_RAW, 0 },
		{ "inet packet", AF_INET, SOCK_PACKET, 0 },
		{ "vsock", AF_VSOCK, SOCK_STREAM, 0 },
		{ "alg", AF_ALG, SOCK_SEQPACKET, 0 },
		{ "raw", AF_INET, SOCK_RAW, IPPROTO_ICMP },
		{ "key", AF_KEY, SOCK_RAW, 2 },
		{ "bluetooth", AF_BLUETOOTH, SOCK_RAW, 0 },
		{ "can", AF_CAN, SOCK_RAW, 1 },
		{ "xdp", AF_XDP, SOCK_RAW, 0 },
		{ "tipc", AF_TIPC, SOCK_RDM, 0 },
		{ "rds", AF_RDS, SOCK_SEQPACKET, 0 },
		{ "nfc", AF_NFC, SOCK_SEQPACKET, 1 },
		{ "netlink audit", AF_NETLINK, SOCK_RAW | (1 << 30), 9 },
	};
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)world.port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons((uint16_t)world.port),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int sock;

	for (size_t i = 0; i < sizeof(kinds_of) / sizeof(kinds_of[0]); i++) {
		sock = socket(kinds_of[i].family, kinds_of[i].type, kinds_of[i].protocol);
		must_fail(text("socket: %s", kinds_of[i].name), sock);
		if (sock >= 0)
			close(sock);
	}
	/* The host's sockets, by listing them. */
	sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 4 /* sock_diag */);
	verdict(sock >= 0 && !has_layer("net"), "sock_diag of the host's network: %s",
		errno_text(sock));
	if (sock >= 0)
		close(sock);
	if (strcmp(getenv("ESCAPE_NET") ?: "none", "host") == 0)
		return;
	sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		ok("socket: inet: %s", errno_text(-1));
	else
		must_fail("connect to the host's loopback",
			  connect(sock, (struct sockaddr *)&a, sizeof(a)));
	close(sock);
	sock = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		ok("socket: inet6: %s", errno_text(-1));
	else
		must_fail("connect to the host's loopback (6)",
			  connect(sock, (struct sockaddr *)&a6, sizeof(a6)));
	close(sock);
	/* TCP's way of connecting without connect(). */
	sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock >= 0)
		must_fail("sendto with MSG_FASTOPEN",
			  sendto(sock, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&a,
				 sizeof(a)));
	close(sock);
}

void family_sockets(void)
{
	struct sockaddr_un a;
	socklen_t len;
	int sock;

	len = unix_address(&a, text("%s/sock", world.outside));
	connecting("connect to the host's socket", &a, len);
	changing(&a, len);
	len = unix_address(&a, text("%s/dgram", world.outside));
	sending("the host's datagram socket", &a, len);
	len = abstract_address(&a, world.abstract);
	connecting("connect to the host's abstract socket", &a, len);
	changing(&a, len);
	len = abstract_address(&a, text("%s-dgram", world.abstract));
	sending("the host's abstract datagram socket", &a, len);
	unlink(text("%s/slink", world.rw));
	if (symlink(text("%s/sock", world.outside), text("%s/slink", world.rw)) < 0)
		broken("symlink: %s", errno_text(-1));
	len = unix_address(&a, text("%s/slink", world.rw));
	connecting("connect to a link to it", &a, len);
	len = unix_address(&a, text("/proc/self/root%s/sock", world.outside));
	connecting("connect by /proc/self/root", &a, len);
	/* The volume is ours, who listens is not: only special=allow would say so. */
	len = unix_address(&a, text("%s/host.sock", world.rw));
	connecting("connect to the host's socket in a volume", &a, len);
	/* Who sends a datagram names the receiver in memory, and the call is native. */
	len = unix_address(&a, text("%s/host.dgram", world.rw));
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0)
		ok("a datagram socket: %s", errno_text(-1));
	else if (sendto(sock, "escape", 6, 0, (struct sockaddr *)&a, len) < 0)
		ok("sendto the host's datagram socket in a volume: %s", errno_text(-1));
	else
		limit("volume-datagram", "sendto the host's datagram socket in a volume");
	if (sock >= 0)
		close(sock);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	len = unix_address(&a, text("%s/bound", world.outside));
	must_fail("bind outside", bind(sock, (struct sockaddr *)&a, len));
	len = unix_address(&a, text("%s/bound", world.ro));
	must_fail("bind in the read-only volume", bind(sock, (struct sockaddr *)&a, len));
	close(sock);
	network();
}
