/*
 * bench_send.c - how the content of a file gets into a socket: what a server of ours does with each
 * block of a large read, beside ways with a copy less.
 *
 *     copied     pread(2) into a buffer, sendmsg(2) with a header in front
 *     sendfile   send(2) of the header with MSG_MORE, then sendfile(2)
 *     zerocopy   pread(2), then sendmsg(2) with MSG_ZEROCOPY, and the notice that the buffer is free again
 *
 * A process at the other end receives into a buffer and answers each block with a byte, as a client
 * that waits for its data does. The file lies in the page cache. Ways take turns in each round.
 *
 *     bench_send DIR [-r ROUNDS] [-n BLOCKS_PER_ROUND]
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/wait.h>

#include "common/packet.h"
#include "tests/integration/proof.h"

#include <linux/errqueue.h>

enum way { COPIED, SENDFILE, ZEROCOPY, N_WAYS };
enum { HEADER = 16, BLOCK_MAX = 1024 * 1024 };

static const char *const way_names[N_WAYS] = { "copied", "sendfile", "zerocopy" };
static const size_t sizes[] = { 4096, 16384, 65536, 131072, BLOCK_MAX };
static uint8_t buffer[HEADER + BLOCK_MAX];

static void must(ssize_t r, const char *what)
{
	if (r < 0)
		die("%s: %s", what, strerror(errno));
}

/* ---- the other end ---- */

static void receive(int sock)
{
	uint32_t size = 0;

	for (size_t got = 0;;) {
		ssize_t n = recv(sock, buffer + got, sizeof(buffer) - got, 0);

		if (n <= 0)
			_exit(0);
		got += (size_t)n;
		if (got < HEADER)
			continue;
		memcpy(&size, buffer, sizeof(size));
		if (got < HEADER + size)
			continue;
		got = 0;
		must(send(sock, "", 1, MSG_NOSIGNAL), "send");
	}
}

static void tcp_pair(int ret_pair[static 2])
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	must(bind(listener, (struct sockaddr *)&address, sizeof(address)), "bind");
	must(listen(listener, 1), "listen");
	must(getsockname(listener, (struct sockaddr *)&address, &size), "getsockname");
	ret_pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(connect(ret_pair[0], (struct sockaddr *)&address, sizeof(address)), "connect");
	ret_pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	must(ret_pair[1], "accept");
	close(listener);
	for (unsigned i = 0; i < 2; i++)
		must(setsockopt(ret_pair[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), "nodelay");
}

/* ---- this end ---- */

static void send_all(int sock, struct iovec *iov, int n, int flags)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)n };

	while (msg.msg_iovlen) {
		ssize_t sent = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);

		must(sent, "sendmsg");
		while (msg.msg_iovlen && (size_t)sent >= msg.msg_iov->iov_len) {
			sent -= (ssize_t)msg.msg_iov->iov_len;
			msg.msg_iov++;
			msg.msg_iovlen--;
		}
		if (msg.msg_iovlen) {
			msg.msg_iov->iov_base = (uint8_t *)msg.msg_iov->iov_base + sent;
			msg.msg_iov->iov_len -= (size_t)sent;
		}
	}
}

/* The kernel is done with every buffer that it was lent. */
static void reap(int sock, uint32_t *lent)
{
	while (*lent) {
		union {
			struct cmsghdr header;
			char space[CMSG_SPACE(sizeof(struct sock_extended_err) +
					      sizeof(struct sockaddr_in6))];
		} control;
		struct msghdr msg = { .msg_control = &control, .msg_controllen = sizeof(control) };
		struct sock_extended_err e;

		if (recvmsg(sock, &msg, MSG_ERRQUEUE) < 0) {
			struct pollfd p = { .fd = sock };

			if (errno != EAGAIN)
				die("errqueue: %s", strerror(errno));
			must(poll(&p, 1, -1), "poll");
			continue;
		}
		memcpy(&e, CMSG_DATA(&control.header), sizeof(e));
		*lent -= e.ee_data - e.ee_info + 1;
	}
}

static void one_block(int sock, int file, size_t size, enum way way)
{
	static uint32_t lent;
	uint32_t word = (uint32_t)size;
	off_t at = 0;
	uint8_t byte;

	memcpy(buffer, &word, sizeof(word));
	if (way == SENDFILE) {
		must(send(sock, buffer, HEADER, MSG_MORE | MSG_NOSIGNAL), "send");
		while (at < (off_t)size)
			must(sendfile(sock, file, &at, size - (size_t)at), "sendfile");
	} else {
		struct iovec iov[2] = { { buffer, HEADER }, { buffer + HEADER, size } };

		must(pread(file, buffer + HEADER, size, 0), "pread");
		if (way == ZEROCOPY) {
			send_all(sock, iov, 1, MSG_MORE);
			iov[1] = (struct iovec){ buffer + HEADER, size };
			while (iov[1].iov_len) {
				struct msghdr msg = { .msg_iov = &iov[1], .msg_iovlen = 1 };
				ssize_t n = sendmsg(sock, &msg, MSG_ZEROCOPY | MSG_NOSIGNAL);

				must(n, "sendmsg");
				lent++;
				iov[1].iov_base = (uint8_t *)iov[1].iov_base + n;
				iov[1].iov_len -= (size_t)n;
			}
		} else {
			send_all(sock, iov, 2, 0);
		}
	}
	must(recv(sock, &byte, 1, MSG_WAITALL), "recv");
	reap(sock, &lent);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void bench(const char *kind, int sock, int file, uint64_t rounds, uint64_t blocks)
{
	bool tcp = strcmp(kind, "tcp") == 0;
	double *us[N_WAYS];

	for (unsigned w = 0; w < N_WAYS; w++)
		us[w] = calloc(rounds, sizeof(double));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		printf("%-12s %7zu KiB", kind, sizes[i] / 1024);
		for (uint64_t round = 0; round < rounds; round++)
			for (enum way w = 0; w < N_WAYS; w++) {
				uint64_t begin = now_ns();

				for (uint64_t k = 0; k < blocks && (w != ZEROCOPY || tcp); k++)
					one_block(sock, file, sizes[i], w);
				us[w][round] = (double)(now_ns() - begin) / 1000 / (double)blocks;
			}
		for (enum way w = 0; w < N_WAYS; w++) {
			qsort(us[w], rounds, sizeof(double), by_size);
			if (w != ZEROCOPY || tcp)
				printf("  %s %8.1f us (%.2f)", way_names[w], us[w][rounds / 2],
				       us[w][rounds / 2] / us[COPIED][rounds / 2]);
		}
		printf("\n");
	}
	for (unsigned w = 0; w < N_WAYS; w++)
		free(us[w]);
}

int main(int argc, char **argv)
{
	uint64_t rounds = option_number(argc, argv, "-r", 15);
	uint64_t blocks = option_number(argc, argv, "-n", 200);
	char path[PATH_MAX];
	int file;

	if (argc < 2)
		die("usage: bench_send DIR [-r ROUNDS] [-n BLOCKS_PER_ROUND]");
	snprintf(path, sizeof(path), "%s/block", argv[1]);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(file, path);
	memset(buffer, 'x', sizeof(buffer));
	must(write(file, buffer, BLOCK_MAX), "write");
	for (unsigned tcp = 0; tcp < 2; tcp++) {
		int pair[2], on = 1;
		pid_t pid;

		if (tcp) {
			tcp_pair(pair);
			must(setsockopt(pair[0], SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)),
			     "SO_ZEROCOPY");
		} else {
			must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "pair");
		}
		pid = fork();
		must(pid, "fork");
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(pair[0]);
			receive(pair[1]);
		}
		close(pair[1]);
		bench(tcp ? "tcp" : "unix-stream", pair[0], file, rounds, blocks);
		close(pair[0]);
		must(waitpid(pid, NULL, 0), "waitpid");
	}
	close(file);
	(void)unlink(path);
	return 0;
}
