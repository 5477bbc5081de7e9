/*
 * handle_socket.c - bind(2) and connect(2), because a Unix socket's address is a path.
 *
 * The address is read once, and the call is made here, on a duplicate of the caller's socket; never by the kernel for the caller,
 * whose memory may say something else by then. Sockets keep their own network namespace, so other families come out the
 * same as if the caller had done it.
 *
 * Whom may the program talk to? Sockets that it bound itself; those of the host that lie in a volume only where the volume says
 * special=allow. Its own are known by their inodes, as its FIFOs are. (What sendmsg(2) of a datagram socket names is the
 * kernel's to resolve, in its view of the volumes: see SECURITY.md.)
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#include "client/run/call.h"

union address {
	struct sockaddr sa;
	struct sockaddr_un un;
	struct sockaddr_storage storage;
};

/* sizeof(*ret) bytes are defined, whatever the length; a pathname ends with a NUL. */
static int read_address(struct call *c, uint64_t address, uint64_t len, union address *ret)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	if (len > sizeof(ret->storage))
		return -EINVAL;
	r = len ? call_read(c, address, ret, len) : 0;
	if (r < 0)
		return r;
	return call_alive(c) ? 0 : -ESRCH;
}

static bool is_pathname(const union address *a, uint64_t len)
{
	return len > offsetof(struct sockaddr_un, sun_path) && a->sa.sa_family == AF_UNIX &&
	       a->un.sun_path[0];
}

static bool is_abstract(const union address *a, uint64_t len)
{
	return len > offsetof(struct sockaddr_un, sun_path) && a->sa.sa_family == AF_UNIX &&
	       !a->un.sun_path[0];
}

/* A pathname that fills the address has no NUL of its own. */
static void take_path(const union address *a, char path[static PATH_MAX])
{
	size_t n = strnlen(a->un.sun_path, sizeof(a->un.sun_path));

	memcpy(path, a->un.sun_path, n);
	path[n] = '\0';
}

static int domain_of(int sock)
{
	int domain = -1;
	socklen_t size = sizeof(domain);

	return getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ? -errno : domain;
}

/* ---- bind ---- */

/* "/proc/self/fd/N/name" is how a path that is longer than an address gets into one: it begins at that descriptor then. */
static socklen_t shorten(struct sockaddr_un *un, const struct path_arg *p, socklen_t len)
{
	size_t n = strlen(p->text);

	if (p->dirfd == AT_FDCWD || n >= sizeof(un->sun_path))
		return len;
	memcpy(un->sun_path, p->text, n + 1);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
}

static int64_t bind_pathname(struct call *c, int sock, union address *a, socklen_t len)
{
	_cleanup_fd_ int cwd = -EBADF;
	char link[PROC_PATH_MAX];
	struct timespec begun;
	struct path_arg *p;
	mode_t mask;
	bool known;
	int r;

	if (len > sizeof(a->un))
		return -EINVAL;
	if (!call_caged(c))
		return -EOPNOTSUPP;
	known = call_path_text(c, c->w->text, &p) == 0;
	if (known)
		len = shorten(&a->un, p, len);
	call_proc_path(c, known ? p->dirfd : AT_FDCWD, link);
	cwd = open(link, O_PATH | O_DIRECTORY | O_CLOEXEC);
	mask = call_umask(c);
	/* Until here the number may have become another process's. */
	if (cwd < 0 || !call_alive(c))
		return -ENOENT;
	call_begin_making(&begun);
	r = cage_bind(c->sv->cage, sock, cwd, mask, &a->un, len);
	if (r == 0 && known)
		call_made(c, p->text, S_IFSOCK, &begun, &c->sv->sockets);
	return r;
}

int64_t supervise_bind(struct call *c)
{
	_cleanup_fd_ int sock = -EBADF;
	union address a;
	int r;

	r = read_address(c, c->args[1], c->args[2], &a);
	if (r == 0)
		r = call_take_fd(c, (int)c->args[0], &sock);
	if (r < 0)
		return r;
	if (is_pathname(&a, c->args[2]) && domain_of(sock) == AF_UNIX) {
		take_path(&a, c->w->text);
		c->path = c->w->text;
		return bind_pathname(c, sock, &a, (socklen_t)c->args[2]);
	}
	/* Abstract names are the network namespace's, given or found by the kernel. */
	if (a.sa.sa_family == AF_UNIX && domain_of(sock) == AF_UNIX &&
	    !run_has(c->sv->plan, RUN_LAYER_NET))
		return -EACCES;
	return bind(sock, &a.sa, (socklen_t)c->args[2]) < 0 ? -errno : 0;
}

/* ---- connect ---- */

static int64_t connect_plain(struct slow_work *w)
{
	return connect(w->fd, (const struct sockaddr *)w->data, (socklen_t)w->len) < 0 ? -errno : 0;
}

static int64_t connect_inode(struct slow_work *w)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d", w->inode);
	return connect(w->fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
}

static int type_of(int sock)
{
	int type = -1;
	socklen_t size = sizeof(type);

	return getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ? -errno : type;
}

static bool waits(int sock)
{
	return !(fcntl(sock, F_GETFL) & O_NONBLOCK);
}

static int64_t start(struct call *c, const struct slow_work *work)
{
	struct slow_work *heap;
	int64_t r;

	/* What does not wait needs no thread. */
	if (!waits(work->fd) || type_of(work->fd) == SOCK_DGRAM) {
		struct slow_work here = *work;

		r = here.work(&here);
		fd_close(here.fd);
		fd_close(here.inode);
		return r;
	}
	heap = malloc(sizeof(*heap));
	if (!heap) {
		fd_close(work->fd);
		fd_close(work->inode);
		return -ENOMEM;
	}
	*heap = *work;
	return slow_call(c, heap);
}

/* To a socket that the program made itself. Takes inode. */
static int64_t connect_own(struct call *c, struct slow_work *work, int inode, const struct stat *st)
{
	if (!S_ISSOCK(st->st_mode) || !call_has_made(inode, &c->sv->sockets)) {
		fd_close(inode);
		fd_close(work->fd);
		return -ECONNREFUSED;
	}
	work->inode = inode;
	return start(c, work);
}

/*
 * A listener of the host that has a full queue. The server does not wait for it: this thread does, and asks again, until the socket's own
 * patience (SO_SNDTIMEO) ends.
 */
static int64_t connect_by_server(struct slow_work *w)
{
	static const struct timespec pause = { .tv_nsec = 20000000 };
	struct timeval limit = { 0 };
	socklen_t size = sizeof(limit);
	uint64_t begun = call_clock(), nanoseconds;
	int r;

	(void)getsockopt(w->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, &size);
	nanoseconds = (uint64_t)limit.tv_sec * 1000000000U + (uint64_t)limit.tv_usec * 1000U;
	do {
		if (nanosleep(&pause, NULL) < 0)
			return -errno;
		r = gofer_connect(w->view, w->path, w->fd);
	} while (r == -EAGAIN && (!nanoseconds || call_clock() - begun < nanoseconds));
	return r;
}

/* Takes the socket. */
static int64_t wait_for_listener(struct call *c, const struct path_arg *p, int sock)
{
	struct slow_work work = {
		.work = connect_by_server, .fd = sock, .inode = -EBADF, .fd_flags = -1
	};

	work.path = strdup(p->text);
	if (work.path && gofer_namespace_view(c->sv->ns, &work.view) == 0) {
		if (p->dir)
			gofer_fchdir(work.view, p->dir);
		return start(c, &work);
	}
	free(work.path);
	fd_close(sock);
	return -ENOMEM;
}

static int64_t connect_pathname(struct call *c, int sock, const char *path)
{
	struct slow_work work = {
		.work = connect_inode, .fd = sock, .inode = -EBADF, .fd_flags = -1
	};
	struct path_arg *p;
	struct stat st;
	int r, inode, number;

	r = call_path_text(c, path, &p);
	number = r == 0 && call_caged(c) ? call_own_descriptor(c, p->text) : -1;
	if (number >= 0) {
		r = call_take_fd(c, number, &inode);
		if (r < 0 || fstat(inode, &st) < 0) {
			fd_close(sock);
			return r == 0 ? -errno : r == -EBADF ? -ENOENT : r;
		}
		return connect_own(c, &work, inode, &st);
	}
	/* The server connects it where the volume allows special files. */
	if (r == 0) {
		r = gofer_connect(c->w->view, p->text, sock);
		if (r == -EAGAIN && waits(sock))
			return wait_for_listener(c, p, sock);
		if (r != -EPERM) {
			fd_close(sock);
			return call_result(c, r == -EREMOTE ? -ECONNREFUSED : r);
		}
		r = view_find(c, p, 0, &inode, &st);
	}
	if (r == CALL_FOREIGN || r == -EREMOTE)
		r = -ECONNREFUSED;
	if (r < 0) {
		fd_close(sock);
		return call_result(c, r);
	}
	return connect_own(c, &work, inode, &st);
}

int64_t supervise_connect(struct call *c)
{
	struct slow_work work = { .work = connect_plain, .inode = -EBADF, .fd_flags = -1 };
	union address a;
	int sock, r;

	r = read_address(c, c->args[1], c->args[2], &a);
	if (r == 0)
		r = call_take_fd(c, (int)c->args[0], &sock);
	if (r < 0)
		return r;
	if (is_pathname(&a, c->args[2]) && domain_of(sock) == AF_UNIX) {
		if (c->args[2] > sizeof(a.un)) {
			fd_close(sock);
			return -EINVAL;
		}
		take_path(&a, c->w->text);
		return connect_pathname(c, sock, c->w->text);
	}
	/* Abstract names are the network namespace's. */
	if (is_abstract(&a, c->args[2]) && domain_of(sock) == AF_UNIX &&
	    !run_has(c->sv->plan, RUN_LAYER_NET)) {
		fd_close(sock);
		return -ECONNREFUSED;
	}
	work.fd = sock;
	work.len = c->args[2];
	memcpy(work.data, &a, sizeof(a));
	return start(c, &work);
}
