/*
 * connect.c - from the server's name to a connected socket, with words for every way in which that
 * can fail.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "client/session.h"

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
	if (domain != AF_UNIX || type != SOCK_SEQPACKET)
		return fail_words(-EPROTOTYPE, "%s is not a Unix SEQPACKET socket", server);
	flags = fcntl((int)fd, F_GETFL);
	(void)fcntl((int)fd, F_SETFL, flags & ~O_NONBLOCK);
	(void)fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	*ret_fd = (int)fd;
	return 0;
}

static const char *connect_hint(int error)
{
	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		return " (is the server running?)";
	case EPROTOTYPE:
		return " (not a gofer socket)";
	case EAGAIN:
		return " (the server accepts nobody)";
	default:
		return "";
	}
}

static int connect_unix(const char *server, const char *path, uint64_t timeout, int *ret_sock)
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
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	/* A full backlog makes connect(2) wait; this bounds it. */
	(void)set_timeout(sock, SO_SNDTIMEO, timeout);
	if (connect(sock, (struct sockaddr *)&sa,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0) {
		int error = errno;

		return fail_words(error == EAGAIN ? -ETIMEDOUT : -error,
				  "cannot connect to %s: %s%s", server,
				  strerror_r(error, words, sizeof(words)), connect_hint(error));
	}
	*ret_sock = TAKE_FD(sock);
	return 0;
}

int session_connect(const char *server, uint64_t timeout, int *ret_sock)
{
	int sock, size = SEND_BUFFER, r;

	if (strncmp(server, "unix:", 5) == 0)
		r = connect_unix(server, server + 5, timeout, &sock);
	else if (strncmp(server, "fd:", 3) == 0)
		r = parse_fd(server, server + 3, &sock);
	else
		r = fail_words(-EINVAL, "'%s' names no server: unix:/path, unix:@name or fd:N",
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
