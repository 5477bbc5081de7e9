/*
 * connect.c - from the server's name to a connected socket, with words for every way in which that
 * can fail.
 */
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "client/session.h"
#include "common/net.h"

enum { SEND_BUFFER = 4 * 1024 * 1024 };

static int set_timeout(int sock, int option, uint64_t ns)
{
	struct timeval tv = { .tv_sec = (time_t)(ns / 1000000000),
			      .tv_usec = (suseconds_t)(ns % 1000000000 / 1000) };

	return setsockopt(sock, SOL_SOCKET, option, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

static int parse_fd(const char *server, const char *text, int *ret_fd)
{
	int domain, type, flags;
	socklen_t size = sizeof(int);
	char *end;
	long fd;

	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno || end == text || *end || fd < 0 || fd > INT32_MAX)
		return fail_words(-EINVAL, "'%s' names no descriptor (fd:N)", server);
	if (getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
	    getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return fail_words(-errno, "%s: %s", server,
				  errno == EBADF ? "no such descriptor" : "not a socket");
	if (type != SOCK_STREAM && (domain != AF_UNIX || type != SOCK_SEQPACKET))
		return fail_words(-EPROTOTYPE, "%s is neither a stream nor a Unix SEQPACKET socket",
				  server);
	flags = fcntl((int)fd, F_GETFL);
	(void)fcntl((int)fd, F_SETFL, flags & ~O_NONBLOCK);
	(void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	*ret_fd = (int)fd;
	return 0;
}

static const char *connect_hint(int error, int type)
{
	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		return " (is the server running?)";
	case EPROTOTYPE:
		return type == SOCK_STREAM
			       ? " (a server of packets: write unix:)"
			       : " (not a gofer socket, or one of a stream: unix-stream:)";
	case EAGAIN:
		return " (the server accepts nobody)";
	default:
		return "";
	}
}

static int connect_unix(const char *server, const char *path, int type, uint64_t timeout,
			int *ret_sock)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	_cleanup_fd_ int sock = -EBADF;
	char words[128];

	if (n == 0 || n >= sizeof(sa.sun_path))
		return fail_words(n ? -ENAMETOOLONG : -EINVAL,
				  "'%s' is not the name of a Unix socket (1 to %zu bytes)", server,
				  sizeof(sa.sun_path) - 1);
	memcpy(sa.sun_path, path, n);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	/* A full backlog makes connect(2) wait; this bounds it. */
	(void)set_timeout(sock, SO_SNDTIMEO, timeout);
	if (connect(sock, (struct sockaddr *)&sa,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0) {
		int error = errno;

		return fail_words(
			error == EAGAIN ? -ETIMEDOUT : -error, "cannot connect to %s: %s%s", server,
			strerror_r(error, words, sizeof(words)), connect_hint(error, type));
	}
	*ret_sock = TAKE_FD(sock);
	return 0;
}

static int connect_to(const char *server, const struct sockaddr *address, socklen_t len,
		      uint64_t timeout, int *ret_sock)
{
	_cleanup_fd_ int sock = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char words[128];
	int one = 1;

	if (sock < 0)
		return fail_words(-errno, "cannot connect to %s: %s", server,
				  strerror_r(errno, words, sizeof(words)));
	(void)set_timeout(sock, SO_SNDTIMEO, timeout);
	if (connect(sock, address, len) < 0) {
		/* With the socket's own timeout. */
		int error = errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;

		return fail_words(-error, "cannot connect to %s: %s%s", server,
				  strerror_r(error, words, sizeof(words)),
				  connect_hint(error, SOCK_STREAM));
	}
	(void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	*ret_sock = TAKE_FD(sock);
	return 0;
}

static int connect_vsock(const char *server, const char *text, uint64_t timeout, int *ret_sock)
{
	struct sockaddr_storage address;
	socklen_t len;

	if (net_vsock(text, &address, &len) < 0)
		return fail_words(-EINVAL, "'%s' is not of the form vsock:CID:PORT", server);
	return connect_to(server, (struct sockaddr *)&address, len, timeout, ret_sock);
}

int connect_tcp(const char *server, const char *text, bool loopback_only, uint64_t timeout,
		int *ret_sock)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	char host[NET_HOST_MAX], port[NET_PORT_MAX];
	uint64_t deadline = now_ns() + timeout;
	struct addrinfo *list = NULL;
	int r;

	if (net_split(text, host, port) < 0 || !host[0])
		return fail_words(-EINVAL, "'%s': expected HOST:PORT", server);
	r = getaddrinfo(host, port, &hints, &list);
	if (r != 0)
		return fail_words(-EHOSTUNREACH, "%s: %s", server, gai_strerror(r));
	r = -EHOSTUNREACH;
	for (const struct addrinfo *a = list; r < 0 && a; a = a->ai_next) {
		uint64_t now = now_ns();

		if (loopback_only && !net_is_loopback(a->ai_addr))
			r = fail_words(
				-EPERM,
				"%s: without TLS only addresses of this machine: use tls:", server);
		else if (now < deadline)
			r = connect_to(server, a->ai_addr, a->ai_addrlen, deadline - now, ret_sock);
		else
			r = fail_words(-ETIMEDOUT, "cannot connect to %s in time", server);
	}
	freeaddrinfo(list);
	return r;
}

int session_connect(const char *server, const struct gofer_session_options *options,
		    uint64_t timeout, int *ret_sock, struct helper *ret_helper)
{
	int sock, size = SEND_BUFFER, r;

	if (strncmp(server, "unix:", 5) == 0)
		r = connect_unix(server, server + 5, SOCK_SEQPACKET, timeout, &sock);
	else if (strncmp(server, "unix-stream:", 12) == 0)
		r = connect_unix(server, server + 12, SOCK_STREAM, timeout, &sock);
	else if (strncmp(server, "vsock:", 6) == 0)
		r = connect_vsock(server, server + 6, timeout, &sock);
	else if (strncmp(server, "tcp:", 4) == 0)
		r = connect_tcp(server, server + 4, true, timeout, &sock);
	else if (strncmp(server, "tls:", 4) == 0)
		r = connect_tls(server, server + 4, options ? options->tls : NULL, timeout, &sock,
				ret_helper);
	else if (strncmp(server, "ssh:", 4) == 0)
		r = connect_ssh(server, server + 4, &sock, ret_helper);
	else if (strncmp(server, "fd:", 3) == 0)
		r = parse_fd(server, server + 3, &sock);
	else
		r = fail_words(
			-EINVAL,
			"'%s' names no server: unix:/path, unix:@name, unix-stream:/path, "
			"vsock:CID:PORT, tls:HOST:PORT, tcp:HOST:PORT, ssh:HOST:VOLUME or fd:N",
			server);
	if (r < 0)
		return r;
	/* Room for many requests in flight; the kernel cuts it to what the system allows. */
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = set_timeout(sock, SO_RCVTIMEO, timeout);
	if (r < 0) {
		fd_close(sock);
		return r;
	}
	*ret_sock = sock;
	return 0;
}
