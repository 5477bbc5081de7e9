/*
 * stream.h - frames over a byte stream: a Unix stream socket, vsock, TCP, what ssh or TLS carry.
 *
 * Frames follow one another; there are no packets and no descriptors. Any number of threads may
 * receive and send: frames stay whole.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "common/packet.h"
#include "proto/frame.h"

/*
 * What carries the bytes where that is not the socket itself. As recvmsg(2) and sendmsg(2) on it, with
 * -errno; send never blocks, and what it has taken may wait inside until it is called again (with no
 * iov: for that only; 0 when nothing waits any more).
 */
struct stream_carrier {
	ssize_t (*receive)(void *userdata, void *buf, size_t size, int flags);
	ssize_t (*send)(void *userdata, const struct iovec *iov, int iovcnt);
	bool (*unsent)(void *userdata);
	bool (*pending)(void *userdata); /* holds bytes that it has received and not handed out */
	void *userdata;
};

struct stream {
	int fd;                        /* borrowed */
	struct stream_carrier carrier; /* none: the socket */
	size_t chunk;  /* read ahead at most so much beyond the frame that is asked for */
	bool requests; /* what comes is requests: a server's */
	pthread_mutex_t rx;
	uint8_t *in; /* FRAME_MAX_PACKET bytes; what was read and not taken is in [start, end) */
	size_t start, end;
	pthread_mutex_t tx;
	uint8_t *out; /* the rest of a frame that did not fit the socket: [out_start, out_end) */
	size_t out_start, out_end;
	bool cut; /* a frame was left half sent: no other can follow */
	const _Atomic bool
		*over;  /* borrowed, may be NULL: once true, a send that is interrupted gives up */
	uint32_t epoch; /* with tx: how often the connection was replaced */
};

/* Whether the socket is a stream: 1, 0 for packets, -errno. */
int stream_is(int fd);
/* NULL without memory. fd is borrowed. */
struct stream *stream_new(int fd, size_t chunk, bool requests);
struct stream *stream_free(struct stream *s);
/* Before the first byte. Only for a stream that sends with MSG_DONTWAIT. */
void stream_carry(struct stream *s, const struct stream_carrier *carrier);

/*
 * Takes the next whole frames, at most max_frames of them and as many as are there, into buf
 * (FRAME_MAX_PACKET bytes). Their length; 0 at the end of the stream; -EINPROGRESS after one read
 * that did not make a frame whole (call again); -EAGAIN, -EINTR as recv(2); -EPROTO for a header
 * that breaks framing; -ECONNABORTED where the stream ends inside a frame. flags: 0, MSG_DONTWAIT.
 */
ssize_t stream_recv(struct stream *s, void *buf, unsigned max_frames, int flags);
/* Bytes that were read and not taken. */
size_t stream_buffered(struct stream *s);
/* Whether stream_recv() may have something though poll(2) does not say so. */
bool stream_pending(struct stream *s);

/*
 * Sends all of iov, whole frames, FRAME_MAX_PACKET bytes at most. Blocking (flags 0): 0 or -errno.
 * -EINTR: nothing was sent. Interrupted later it goes on, unless it is over: then the stream is cut and
 * the result -EPIPE. With MSG_DONTWAIT: 0 when all was taken, though some of it may wait for
 * stream_flush(); -EAGAIN when nothing was.
 */
int stream_send(struct stream *s, const struct iovec *iov, int iovcnt, int flags);
/* ... as long as the connection is that of `epoch`; else nothing, and -ESTALE. */
int stream_send_in(struct stream *s, uint32_t epoch, const struct iovec *iov, int iovcnt,
		   int flags);
/* Sends what waits, without blocking: 0, -EAGAIN, -errno. */
int stream_flush(struct stream *s);
bool stream_unsent(struct stream *s);
/*
 * The stream goes on over another connection, that of `with` and its carrier, which has then none: what was read or half sent of the
 * old one is forgotten, and `fd` is the same number. Nobody may be receiving. Afterwards nobody uses the old carrier. Returns the new epoch.
 */
uint32_t stream_replace(struct stream *s, struct stream *with);
