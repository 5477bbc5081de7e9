/*
 * packet.h - packets with descriptors over a Unix SEQPACKET socket.
 *
 * libevent's bufferevents lose descriptors (they use readv), so sockets that pass them are read and
 * written here. One packet is one sendmsg/recvmsg and carries at most one descriptor. Any number of
 * threads may send and receive on one socket: the kernel keeps packets whole.
 */
#pragma once

#include <sys/uio.h>

#include "common/util.h"

/* What came with a packet beside its bytes. */
struct packet_in {
	int fd;         /* owned by the caller, or -EBADF */
	unsigned extra; /* descriptors beyond the first: closed on arrival */
	bool truncated; /* MSG_CTRUNC: descriptors were dropped by the kernel (our table is full) */
};

/*
 * Receives one packet into buf. Returns its length; 0 at the end of the stream (the peer is gone);
 * -errno as recvmsg(2) (-EAGAIN with MSG_DONTWAIT, -EINTR), -EMSGSIZE for a packet larger than buf:
 * it is lost, with its descriptors. flags: MSG_DONTWAIT or 0.
 */
ssize_t packet_recv(int sock, void *buf, size_t size, int flags, struct packet_in *ret_in);

/* Sends all of iov as one packet, with fd unless negative (borrowed). 0 or -errno (-EPIPE when the
 * peer is gone; no SIGPIPE). */
int packet_send(int sock, const struct iovec *iov, int iovcnt, int fd, int flags);

/* Waits until `events` (POLLIN, POLLOUT) or the deadline (CLOCK_MONOTONIC nanoseconds; UINT64_MAX =
 * none). 0, -ETIMEDOUT, -errno. */
int packet_wait(int sock, short events, uint64_t deadline);

uint64_t now_ns(void); /* CLOCK_MONOTONIC */
