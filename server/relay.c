/*
 * relay.c - a client on standard input and output: what `ssh HOST gofer serve --stdio` has.
 *
 * A session wants one socket. The relay joins two pipes into one: a process without trees,
 * capabilities or files, which copies bytes it does not look at. It never blocks in one direction
 * for want of room in the other: a client may send and wait, and so may the session.
 */
#include "server/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "common/log.h"
#include "server/confine.h"

enum { RELAY_BUFFER = 64 * 1024, RELAY_LINGER_MS = 5000 };

/* One direction. */
struct flow {
	int from, to;
	size_t start, end;
	bool over;   /* nothing more comes */
	bool closed; /* ... and that was passed on */
	char buf[RELAY_BUFFER];
};

static bool again(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* Moves what can be moved now. -errno: this direction has ended badly. */
static int flow_move(struct flow *f)
{
	ssize_t n;

	if (!f->over && f->end == f->start) {
		n = read(f->from, f->buf, sizeof(f->buf));
		if (n < 0 && !again())
			return -errno;
		f->over = n == 0;
		f->start = 0;
		f->end = n > 0 ? (size_t)n : 0;
	}
	while (f->start < f->end) {
		n = write(f->to, f->buf + f->start, f->end - f->start);
		if (n < 0)
			return again() ? 0 : -errno;
		f->start += (size_t)n;
	}
	return 0;
}

static short wants(const struct flow *f, bool to)
{
	bool full = f->start < f->end;

	if (to)
		return full ? POLLOUT : 0;
	return full || f->over ? 0 : POLLIN;
}

static void pump(int in, int out, int sock)
{
	static struct flow up, down;
	bool ended = false, gone = false;

	up = (struct flow){ .from = in, .to = sock };
	down = (struct flow){ .from = sock, .to = out };
	while (!ended) {
		struct pollfd p[3] = {
			{ .fd = wants(&up, false) ? in : -1, .events = POLLIN },
			{ .fd = wants(&down, true) ? out : -1, .events = POLLOUT },
			{ .fd = sock, .events = (short)(wants(&up, true) | wants(&down, false)) },
		};

		if (!p[2].events)
			p[2].fd = -1;
		/* Once the session is over, or takes nothing more, nobody waits for ever for a client that does not read. */
		if (poll(p, 3, down.over || (gone && wants(&down, true)) ? RELAY_LINGER_MS : -1) ==
		    0)
			break;
		if (flow_move(&up) < 0) {
			/* Nobody takes what is left; its socket would be "ready" for it all the time. */
			gone = up.over = true;
			up.start = up.end;
		}
		if (up.over && up.start == up.end && !up.closed) {
			(void)shutdown(sock, SHUT_WR);
			up.closed = true;
		}
		ended = flow_move(&down) < 0 || (down.over && down.start == down.end);
	}
}

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int join_pipes(bool strict, int *ret_sock, pid_t *ret_pid, struct serve_error *error)
{
	char detail[120];
	int pair[2], keep[1], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return serve_fail(error, -errno, "cannot make a socket pair: %s", strerror(errno));
	pid = fork();
	if (pid < 0) {
		r = -errno;
		fd_close(pair[0]);
		fd_close(pair[1]);
		return serve_fail(error, r, "cannot start a process: %s", strerror(-r));
	}
	if (pid == 0) {
		keep[0] = pair[1];
		if (confine_close_others(keep, 1) < 0 || set_nonblocking(STDIN_FILENO) < 0 ||
		    set_nonblocking(STDOUT_FILENO) < 0 || set_nonblocking(pair[1]) < 0)
			_exit(EXIT_FAILURE);
		r = confine_relay(RELAY_PIPES, strict, detail, sizeof(detail));
		if (r < 0) {
			log_error("cannot confine the relay: %s", detail);
			_exit(EXIT_FAILURE);
		}
		(void)signal(SIGPIPE, SIG_IGN);
		pump(STDIN_FILENO, STDOUT_FILENO, pair[1]);
		_exit(EXIT_SUCCESS);
	}
	fd_close(pair[1]);
	*ret_sock = pair[0];
	*ret_pid = pid;
	return 0;
}

/* Whether both are one Unix socket: then it is the session's. */
static bool is_one_socket(void)
{
	struct stat in, out;
	int domain;
	socklen_t size = sizeof(domain);

	return fstat(STDIN_FILENO, &in) == 0 && fstat(STDOUT_FILENO, &out) == 0 &&
	       S_ISSOCK(in.st_mode) && in.st_dev == out.st_dev && in.st_ino == out.st_ino &&
	       getsockopt(STDIN_FILENO, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
	       domain == AF_UNIX;
}

int relay_stdio(bool strict, int *ret_sock, pid_t *ret_pid, struct serve_error *error)
{
	_cleanup_fd_ int null = -EBADF, sock = -EBADF;
	pid_t pid = 0;
	int r;

	if (isatty(STDIN_FILENO) || isatty(STDOUT_FILENO))
		return serve_fail(error, -EINVAL,
				  "--stdio is for a client on standard input and output, and this "
				  "is a terminal");
	if (is_one_socket()) {
		sock = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		if (sock < 0)
			return serve_fail(error, -errno, "standard input: %s", strerror(errno));
		r = fcntl(sock, F_GETFL);
		if (r < 0 || fcntl(sock, F_SETFL, r & ~O_NONBLOCK) < 0)
			return serve_fail(error, -errno, "standard input: %s", strerror(errno));
	} else {
		r = join_pipes(strict, &sock, &pid, error);
		if (r < 0)
			return r;
	}
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return serve_fail(error, -errno, "/dev/null: %s", strerror(errno));
	*ret_sock = TAKE_FD(sock);
	*ret_pid = pid;
	return 0;
}
