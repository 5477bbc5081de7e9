/*
 * listener.c - binding without taking over from a live server.
 *
 * A socket file outlives its server, so a taken name may be stale. Asking (connect) decides; and
 * because two servers may ask at the same moment, the stale file is moved aside first, asked again
 * there, and put back if somebody answers after all.
 */
#include "server/listener.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

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

static int open_unix(const char *name, const struct listener_options *options, struct listener *l,
		     struct serve_error *error)
{
	struct sockaddr_un address;
	socklen_t len;
	struct stat st;
	int r;

	r = fill_address(name, &address, &len, error);
	if (r < 0)
		return r;
	l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
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

static int adopt(int fd, struct listener *l, struct serve_error *error)
{
	int type = 0, domain = 0, listening = 0, flags;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return serve_fail(error, -errno,
				  "--listen fd:%d: %s: pass a Unix SEQPACKET socket by that number",
				  fd, strerror(errno));
	size = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX ||
	    type != SOCK_SEQPACKET)
		return serve_fail(error, -EPROTOTYPE,
				  "--listen fd:%d: is not a Unix SEQPACKET socket", fd);
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
		r = open_unix(address + 5, options, &l, error);
	} else if (strncmp(address, "fd:", 3) == 0) {
		char *end;
		long fd = strtol(address + 3, &end, 10);

		if (end == address + 3 || *end || fd < 0 || fd > INT32_MAX)
			r = serve_fail(error, -EINVAL, "--listen %s: expected fd:NUMBER", address);
		else
			r = adopt((int)fd, &l, error);
	} else {
		r = serve_fail(error, -EINVAL,
			       "--listen %s: expected unix:/path, unix:@name or fd:N", address);
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
