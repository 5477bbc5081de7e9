/*
 * listener.c - binding without taking over from a live server.
 *
 * A socket file outlives its server, so a taken name may be stale. Asking (connect) decides; and
 * because two servers may ask at the same moment, the stale file is moved aside first, asked again
 * there, and put back if somebody answers after all.
 */
#include "server/listener.h"

#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/net.h"
#include "server/server.h"

enum { BACKLOG = 128, LISTEN_FDS_START = 3 };

void listener_deinit(struct listener *l)
{
	struct stat st;

	if (l->path && l->owner == getpid() && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		(void)unlink(l->path);
	fd_close(l->fd);
	free(l->address);
	free(l->path);
	*l = LISTENER_NULL;
}

static int fill_address(const char *name, struct sockaddr_un *ret, socklen_t *ret_len,
			struct serve_error *error)
{
	size_t len = strlen(name);

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (len == 0 || (name[0] == '@' && len == 1))
		return serve_fail(
			error, -EINVAL,
			"--listen unix:%s: the path is missing: write unix:/path or unix:@name",
			name);
	if (len >= sizeof(ret->sun_path))
		return serve_fail(error, -ENAMETOOLONG,
				  "--listen unix:%s: a socket's path has at most %zu bytes: choose "
				  "a shorter one",
				  name, sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, name, len);
	if (name[0] == '@')
		ret->sun_path[0] = '\0';
	*ret_len = offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '@' ? 0 : 1);
	return 0;
}

/* 0: a server answers. -ECONNREFUSED: nobody does. */
static int ask(const char *path)
{
	struct sockaddr_un address;
	_cleanup_fd_ int fd = -EBADF;
	struct serve_error ignored = {};
	socklen_t len;
	int r;

	r = fill_address(path, &address, &len, &ignored);
	if (r < 0)
		return r;
	/* The wrong type is an answer too (EPROTOTYPE). */
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, len) == 0 || errno == EAGAIN ||
	    errno == EPROTOTYPE)
		return 0;
	return -errno;
}

/* Makes room at `path` where a socket of ours lies that nobody serves. */
static int remove_stale(const char *path, struct serve_error *error)
{
	_cleanup_free_ char *aside = NULL;
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return serve_fail(error, -EADDRINUSE,
				  "socket %s: there is something else by that name: choose "
				  "another, or remove it",
				  path);
	r = ask(path);
	if (r == 0)
		return serve_fail(error, -EADDRINUSE,
				  "socket %s: already in use by a running server: stop it, or "
				  "choose another with --listen",
				  path);
	if (r != -ECONNREFUSED || (st.st_uid != geteuid() && geteuid() != 0))
		return serve_fail(
			error, -EADDRINUSE,
			"socket %s: exists and is not ours (%s): remove it, or choose another",
			path, strerror(-r));
	if (asprintf(&aside, "%s.%d", path, (int)getpid()) < 0)
		return -ENOMEM;
	if (rename(path, aside) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (ask(aside) == 0) {
		/* Somebody was faster, and it is their socket that we moved. */
		if (link(aside, path) == 0)
			(void)unlink(aside);
		return serve_fail(error, -EADDRINUSE,
				  "socket %s: already in use by a running server: stop it, or "
				  "choose another with --listen",
				  path);
	}
	(void)unlink(aside);
	return 0;
}

static int bind_path(int fd, const char *path, const struct sockaddr_un *address, socklen_t len,
		     const struct listener_options *options, struct serve_error *error)
{
	mode_t old;
	int r;

	r = remove_stale(path, error);
	if (r < 0)
		return serve_fail(error, r, "socket %s: %s", path, strerror(-r));
	/* Never wider than asked, not even for a moment. */
	old = umask(0777 & ~options->mode);
	r = bind(fd, (const struct sockaddr *)address, len) < 0 ? -errno : 0;
	umask(old);
	if (r == -EADDRINUSE)
		return serve_fail(error, r,
				  "socket %s: already in use: choose another with --listen", path);
	if (r < 0)
		return serve_fail(error, r, "socket %s: %s: choose another with --listen", path,
				  strerror(-r));
	if (options->group != (gid_t)-1 && lchown(path, -1, options->group) < 0) {
		r = -errno;
		(void)unlink(path);
		return serve_fail(error, r, "socket %s: cannot give it to group %u: %s", path,
				  options->group, strerror(-r));
	}
	if (chmod(path, options->mode) < 0) {
		r = -errno;
		(void)unlink(path);
		return serve_fail(error, r, "socket %s: %s", path, strerror(-r));
	}
	return 0;
}

static int open_unix(const char *name, int type, const struct listener_options *options,
		     struct listener *l, struct serve_error *error)
{
	struct sockaddr_un address;
	socklen_t len;
	struct stat st;
	int r;

	r = fill_address(name, &address, &len, error);
	if (r < 0)
		return r;
	l->fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return serve_fail(error, -errno, "cannot make a socket: %s", strerror(errno));
	if (name[0] == '@') {
		if (bind(l->fd, (struct sockaddr *)&address, len) < 0)
			return serve_fail(error, -errno,
					  "socket unix:%s: %s: choose another with --listen", name,
					  errno == EADDRINUSE ? "already in use" : strerror(errno));
	} else {
		r = bind_path(l->fd, name, &address, len, options, error);
		if (r < 0)
			return r;
		if (lstat(name, &st) < 0)
			return serve_fail(error, -errno, "socket %s: %s", name, strerror(errno));
		l->path = realpath(name, NULL) ?: strdup(name);
		if (!l->path)
			return -ENOMEM;
		l->dev = st.st_dev;
		l->ino = st.st_ino;
		l->owner = getpid();
	}
	if (listen(l->fd, BACKLOG) < 0)
		return serve_fail(error, -errno, "socket %s: %s", name, strerror(errno));
	l->listening = true;
	return 0;
}

/* What is bound now; with port 0 the system chose one. */
static int listen_here(struct listener *l, const char *kind, const struct sockaddr *address,
		       socklen_t len, struct serve_error *error)
{
	struct sockaddr_storage bound;
	socklen_t size = sizeof(bound);
	char text[NET_TEXT_MAX];
	int one = 1;

	l->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return serve_fail(error, -errno, "cannot make a socket for %s: %s", l->address,
				  strerror(errno));
	(void)setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l->fd, address, len) < 0 || listen(l->fd, BACKLOG) < 0 ||
	    getsockname(l->fd, (struct sockaddr *)&bound, &size) < 0)
		return serve_fail(error, -errno, "cannot listen on %s: %s", l->address,
				  strerror(errno));
	net_print((struct sockaddr *)&bound, size, text);
	free(TAKE_PTR(l->address));
	if (asprintf(&l->address, "%s:%s", kind, text) < 0) {
		l->address = NULL;
		return -ENOMEM;
	}
	l->listening = true;
	l->remote = true;
	return 0;
}

static int open_vsock(const char *text, struct listener *l, struct serve_error *error)
{
	struct sockaddr_storage address;
	socklen_t len;

	if (net_vsock(text, &address, &len) < 0)
		return serve_fail(error, -EINVAL,
				  "--listen vsock:%s: expected vsock:CID:PORT, with a number, "
				  "'any' or 'local' as CID",
				  text);
	return listen_here(l, "vsock", (struct sockaddr *)&address, len, error);
}

/*
 * Without TLS whoever reaches the port is served, and everybody on the way can read along and take
 * part: so only this machine, and only if asked for.
 */
static int open_tcp(const char *text, bool tls, const struct listener_options *options,
		    struct listener *l, struct serve_error *error)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	const char *kind = tls ? "tls" : "tcp";
	char host[NET_HOST_MAX], port[NET_PORT_MAX];
	struct addrinfo *list = NULL;
	const struct addrinfo *use;
	int r;

	if (net_split(text, host, port) < 0)
		return serve_fail(error, -EINVAL, "--listen %s:%s: expected %s:HOST:PORT", kind,
				  text, kind);
	if (!tls && !options->insecure_tcp)
		return serve_fail(
			error, -EPERM,
			"--listen tcp:%s: without TLS anybody can read along: use tls:, or "
			"say --insecure-tcp (for addresses of this machine only)",
			text);
	r = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
	if (r != 0)
		return serve_fail(error, -EINVAL, "--listen %s:%s: %s", kind, text,
				  gai_strerror(r));
	use = list;
	for (const struct addrinfo *a = list; !tls && r == 0 && a; a = a->ai_next)
		if (!net_is_loopback(a->ai_addr))
			r = serve_fail(error, -EPERM,
				       "--listen tcp:%s: is not an address of this machine only; "
				       "without TLS nothing else is served",
				       text);
	/* Every address: an IPv6 socket takes IPv4 too. */
	for (const struct addrinfo *a = list; r == 0 && !host[0] && a; a = a->ai_next)
		if (a->ai_family == AF_INET6)
			use = a;
	if (r == 0)
		r = listen_here(l, kind, use->ai_addr, use->ai_addrlen, error);
	if (r < 0 && use != list) {
		l->fd = fd_close(l->fd);
		*error = (struct serve_error){};
		r = listen_here(l, kind, list->ai_addr, list->ai_addrlen, error);
	}
	l->tls = tls;
	freeaddrinfo(list);
	return r;
}

static int adopt(int fd, struct listener *l, struct serve_error *error)
{
	int type = 0, domain = 0, listening = 0, flags;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return serve_fail(error, -errno,
				  "--listen fd:%d: %s: pass a Unix socket by that number", fd,
				  strerror(errno));
	size = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX ||
	    (type != SOCK_SEQPACKET && type != SOCK_STREAM))
		return serve_fail(error, -EPROTOTYPE,
				  "--listen fd:%d: is not a Unix SEQPACKET or stream socket", fd);
	size = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0)
		return serve_fail(error, -errno, "--listen fd:%d: %s", fd, strerror(errno));
	if (!listening) {
		struct sockaddr_un peer;

		size = sizeof(peer);
		if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0)
			return serve_fail(
				error, -ENOTCONN,
				"--listen fd:%d: the socket neither listens nor is connected", fd);
	}
	/* A listener never blocks (accept may find nothing); a session's threads do, in recvmsg. */
	flags = fcntl(fd, F_GETFL);
	flags = listening ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags) < 0)
		return serve_fail(error, -errno, "--listen fd:%d: %s", fd, strerror(errno));
	l->fd = fd;
	l->listening = listening;
	return 0;
}

int listener_open(const char *address, const struct listener_options *options, struct listener *ret,
		  struct serve_error *error)
{
	struct listener l = LISTENER_NULL;
	int r;

	l.address = strdup(address);
	if (!l.address)
		return -ENOMEM;
	if (strncmp(address, "unix:", 5) == 0) {
		r = open_unix(address + 5, SOCK_SEQPACKET, options, &l, error);
	} else if (strncmp(address, "unix-stream:", 12) == 0) {
		r = open_unix(address + 12, SOCK_STREAM, options, &l, error);
	} else if (strncmp(address, "vsock:", 6) == 0) {
		r = open_vsock(address + 6, &l, error);
	} else if (strncmp(address, "tcp:", 4) == 0) {
		r = open_tcp(address + 4, false, options, &l, error);
	} else if (strncmp(address, "tls:", 4) == 0) {
		r = open_tcp(address + 4, true, options, &l, error);
	} else if (strncmp(address, "fd:", 3) == 0) {
		char *end;
		long fd = strtol(address + 3, &end, 10);

		if (end == address + 3 || *end || fd < 0 || fd > INT32_MAX)
			r = serve_fail(error, -EINVAL, "--listen %s: expected fd:NUMBER", address);
		else
			r = adopt((int)fd, &l, error);
	} else {
		r = serve_fail(error, -EINVAL,
			       "--listen %s: expected unix:/path, unix:@name, unix-stream:/path, "
			       "vsock:CID:PORT, tls:HOST:PORT, tcp:HOST:PORT or fd:N",
			       address);
	}
	if (r < 0) {
		listener_deinit(&l);
		return r;
	}
	*ret = l;
	return 0;
}

unsigned listener_passed(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	long n;

	if (!pid || !count || strtol(pid, NULL, 10) != getpid())
		return 0;
	n = strtol(count, NULL, 10);
	return n > 0 && n < 64 ? (unsigned)n : 0;
}

int listener_adopt(unsigned n, struct listener *ret, struct serve_error *error)
{
	struct listener l = LISTENER_NULL;
	int r;

	if (asprintf(&l.address, "fd:%u", LISTEN_FDS_START + n) < 0)
		return -ENOMEM;
	r = adopt((int)(LISTEN_FDS_START + n), &l, error);
	if (r < 0) {
		listener_deinit(&l);
		return r;
	}
	*ret = l;
	return 0;
}
