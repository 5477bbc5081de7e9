/*
 * packet.c - one recvmsg, one sendmsg. The kernel may install descriptors that nobody asked for,
 * and may drop some silently when our table is full: both are seen here and nowhere else.
 */
#include "common/packet.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
	PACKET_FDS_MAX = 253
}; /* SCM_MAX_FD of the kernel: room for all, so that each can be closed */

ssize_t packet_recv(int sock, void *buf, size_t size, int flags, struct packet_in *ret_in)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct packet_in in = { .fd = -EBADF };
	ssize_t n;

	n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	if (msg.msg_controllen)
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			size_t count;

			if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
				continue;
			count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			for (size_t i = 0; i < count; i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
				if (in.fd < 0) {
					in.fd = fd;
				} else {
					fd_close(fd);
					in.extra++;
				}
			}
		}
	in.truncated = msg.msg_flags & MSG_CTRUNC;
	if (msg.msg_flags & MSG_TRUNC) {
		fd_close(in.fd);
		return -EMSGSIZE;
	}
	/* An empty packet is the end of the stream, with or without a descriptor. */
	if (n == 0)
		in.fd = fd_close(in.fd);
	*ret_in = in;
	return n;
}

int packet_send(int sock, const struct iovec *iov, int iovcnt, int fd, int flags)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = (struct iovec *)iov, .msg_iovlen = iovcnt };

	if (fd >= 0) {
		control.header = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(sizeof(int)),
		};
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int));
	}
	if (sendmsg(sock, &msg, flags | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

int packet_wait(int sock, short events, uint64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = sock, .events = events };
		struct timespec ts, *timeout = NULL;
		int r;

		if (deadline != UINT64_MAX) {
			uint64_t now = now_ns(), left = deadline > now ? deadline - now : 0;

			ts = (struct timespec){ .tv_sec = left / 1000000000,
						.tv_nsec = left % 1000000000 };
			timeout = &ts;
		}
		r = ppoll(&p, 1, timeout, NULL);
		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
