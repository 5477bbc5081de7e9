/*
 * floor.c - what no server can be below: another process at the end of the same kind of socket, that
 * answers with so many bytes; and a toy server, which also does the work of one call. Both do
 * without everything that makes a server: other clients, checks, identities, a protocol.
 *
 * The other process runs on the CPUs that the server may use. It resolves paths as the server does,
 * below the tree and without following links, and sends and receives with room for a descriptor, as a
 * server must that passes some; the ping-pong does without.
 */
#include "client/bench/bench.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/openat2.h>

#include "client/bench/floor.h"
#include "common/sys.h"

enum { PACKET_MAX = 256 * 1024, PATH_SIZE = 64 };

struct question {
	uint32_t size; /* of this packet */
	uint32_t reply_size;
	uint32_t toy;
	char path[PATH_SIZE];
};
/* Before it the packet's size. */
struct answer {
	uint32_t size;
	int32_t error;
	struct stat st;
};

struct floor {
	int sock;
	pid_t pid;
	bool stream, toy, tls;
	SSL *ssl; /* NULL: plain */
	uint8_t *buffer;
};

/* ---- packets, over either kind of socket ---- */

static ssize_t send_some(const struct floor *f, int sock, uint8_t *data, size_t size)
{
	struct iovec iov = { data, size };
	const struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (f->ssl)
		return SSL_write(f->ssl, data, (int)size);
	return f->toy ? sendmsg(sock, &msg, MSG_NOSIGNAL) : send(sock, data, size, MSG_NOSIGNAL);
}

static ssize_t recv_some(const struct floor *f, int sock, uint8_t *data, size_t size)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { data, size };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };

	if (f->ssl)
		return SSL_read(f->ssl, data, (int)size);
	return f->toy ? recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) : recv(sock, data, size, 0);
}

static int send_all(const struct floor *f, int sock, uint8_t *data, size_t size)
{
	while (size) {
		ssize_t n = send_some(f, sock, data, size);

		if (n <= 0)
			return f->ssl ? -EPIPE : -errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/* A packet; on a stream, it says itself how long it is. */
static int recv_all(const struct floor *f, int sock)
{
	uint32_t size = 0;
	size_t got = 0;

	do {
		ssize_t n = recv_some(f, sock, f->buffer + got, PACKET_MAX - got);

		if (n <= 0)
			return n < 0 && !f->ssl ? -errno : -ENOTCONN;
		got += (size_t)n;
		if (got < sizeof(size))
			continue;
		memcpy(&size, f->buffer, sizeof(size));
	} while (f->stream && got < MAX(size, sizeof(size)));
	return 0;
}

/* ---- the other side ---- */

static int toy_call(const struct question *q, int tree, struct answer *a, uint8_t *data)
{
	bool read = q->toy == TOY_READ;
	_cleanup_fd_ int fd =
		sys_openat2(tree, q->path, read ? O_RDONLY : O_PATH, 0,
			    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	ssize_t n = 0;

	if (fd < 0)
		return fd;
	if (fstatat(fd, "", &a->st, AT_EMPTY_PATH) < 0)
		return -errno;
	if (read)
		n = pread(fd, data, BENCH_BLOCK, 0);
	return n < 0 ? -errno : (int)n;
}

static void serve(const struct floor *f, int sock, int tree)
{
	for (;;) {
		struct question q;
		size_t size;

		if (recv_all(f, sock) < 0)
			_exit(0);
		/* Without its path, of a ping. */
		memcpy(&q, f->buffer, sizeof(q));
		size = q.reply_size;
		if (q.toy != TOY_NONE) {
			struct answer a = { 0 };
			int r = toy_call(&q, tree, &a, f->buffer + sizeof(a));

			a.error = MIN(r, 0);
			size = sizeof(a) + (size_t)MAX(r, 0);
			a.size = (uint32_t)size;
			memcpy(f->buffer, &a, sizeof(a));
		} else {
			uint32_t word = (uint32_t)size;

			memcpy(f->buffer, &word, sizeof(word));
		}
		if (send_all(f, sock, f->buffer, size) < 0)
			_exit(0);
	}
}

/* ---- this side ---- */

/* Two connected TCP sockets on loopback. */
static int tcp_pair(int ret_pair[static 2])
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	_cleanup_fd_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_fd_ int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	if (listener < 0 || client < 0 ||
	    bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
	    connect(client, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	ret_pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (ret_pair[1] < 0)
		return -errno;
	ret_pair[0] = TAKE_FD(client);
	for (unsigned i = 0; i < 2; i++)
		(void)setsockopt(ret_pair[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return 0;
}

/* The sockets that sessions of each kind of server name use. */
static int pair_for(const char *server, struct floor *f, int ret_pair[static 2])
{
	if (!strncmp(server, "unix:", 5) || !strncmp(server, "fd:", 3))
		return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_pair) < 0 ? -errno
											   : 0;
	if (!strncmp(server, "unix-stream:", 12)) {
		f->stream = true;
		return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_pair) < 0 ? -errno
											: 0;
	}
	if (!strncmp(server, "tls:", 4) || !strncmp(server, "tcp:", 4)) {
		f->stream = true;
		f->tls = server[1] == 'l';
		return !f->tls || floor_tls_key() ? tcp_pair(ret_pair) : -EIO;
	}
	return -EOPNOTSUPP;
}

struct floor *floor_open(const struct bench *b, bool toy)
{
	struct floor *f;
	cpu_set_t cpus;
	int pair[2];

	if (b->native < 0)
		return NULL;
	f = cli_alloc(sizeof(*f));
	f->toy = toy;
	f->buffer = cli_alloc(PACKET_MAX);
	if (pair_for(b->c->address, f, pair) < 0) {
		free(f->buffer);
		free(f);
		return NULL;
	}
	f->pid = fork();
	if (f->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)setpgid(0, 0);
		if (b->server > 0 && sched_getaffinity(b->server, sizeof(cpus), &cpus) == 0)
			(void)sched_setaffinity(0, sizeof(cpus), &cpus);
		fd_close(pair[0]);
		if (f->tls && !(f->ssl = floor_tls(pair[1], true)))
			_exit(1);
		serve(f, pair[1], b->native);
	}
	fd_close(pair[1]);
	f->sock = pair[0];
	if (f->tls && !(f->ssl = floor_tls(f->sock, false))) {
		floor_close(f);
		return NULL;
	}
	return f;
}

void floor_close(struct floor *f)
{
	if (!f)
		return;
	fd_close(f->sock);
	/* Not by the end of the stream: another one's process may hold this end, too. */
	if (f->pid > 0 && kill(f->pid, SIGKILL) == 0)
		while (waitpid(f->pid, NULL, 0) < 0 && errno == EINTR)
			;
	SSL_free(f->ssl);
	free(f->buffer);
	free(f);
}

static int ask(struct floor *f, struct question *q, size_t size)
{
	int r;

	q->size = (uint32_t)size;
	memcpy(f->buffer, q, sizeof(*q));
	r = send_all(f, f->sock, f->buffer, size);
	return r < 0 ? r : recv_all(f, f->sock);
}

int floor_ping(struct floor *f, size_t request, size_t reply)
{
	struct question q = { .reply_size =
				      (uint32_t)MIN(MAX(reply, sizeof(uint32_t)), PACKET_MAX) };

	return ask(f, &q, MIN(MAX(request, offsetof(struct question, path)), PACKET_MAX));
}

int floor_toy(struct floor *f, enum toy toy, const char *path)
{
	struct question q = { .toy = toy };
	struct answer a;
	int r;

	memcpy(q.path, path, strnlen(path, PATH_SIZE - 1));
	r = ask(f, &q, sizeof(q));
	if (r < 0)
		return r;
	memcpy(&a, f->buffer, sizeof(a));
	return a.error;
}
