/*
 * handlers_file.c - requests on open handles. Permission was decided when the handle was opened; here only its access mode counts.
 */
#include "server/session.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/stat.h>

#define FLAG(name) GOFER__OPEN_FLAG__OPEN_##name

enum {
	COPY_MAX = 64 * 1024 * 1024
}; /* bytes of one Copy: the client goes on, and others get their turn */

int handle_read(struct request *r, const Gofer__ReadRequest *q)
{
	size_t want = MIN(q->count, (uint32_t)FRAME_MAX_DATA), got = 0;
	Gofer__ReadReply *reply;
	int e = 0;
	_cleanup_handle_ struct handle *h = request_handle(r, q->handle, FLAG(READ), &e);

	if (!h)
		return e;
	reply = REQUEST_REPLY(r, ReadReply, read_reply);
	if (!reply)
		return -EMSGSIZE;
	if (h->type == S_IFREG) {
		while (got < want) {
			ssize_t n = pread(h->node.fd, r->worker->data + got, want - got,
					  q->offset + got);

			if (n < 0)
				return -errno;
			if (n == 0)
				break;
			got += n;
		}
		reply->eof = got < want;
	} else {
		/* A FIFO has no offset, and gives what it has. A directory says EISDIR. */
		ssize_t n = read(h->node.fd, r->worker->data, want);

		if (n < 0)
			return -errno;
		got = n;
		reply->eof = n == 0 && want;
	}
	if (h->type == S_IFREG && want && !reply->eof) {
		/* A full answer that ends at the end of the file says so, and saves the client an empty read. */
		struct stat st;

		reply->eof = fstat(h->node.fd, &st) == 0 && st.st_size &&
			     (uint64_t)st.st_size <= q->offset + got;
	}
	r->data = r->worker->data;
	r->data_len = got;
	return 0;
}

/* Appends under the handle's lock, which makes the descriptor's own offset say where the bytes went. */
static ssize_t append(struct handle *h, const void *data, size_t size, uint64_t *ret_offset)
{
	ssize_t n;
	off_t end;

	pthread_mutex_lock(&h->lock);
	n = write(h->node.fd, data, size);
	if (n < 0)
		n = -errno;
	end = n >= 0 ? lseek(h->node.fd, 0, SEEK_CUR) : 0;
	pthread_mutex_unlock(&h->lock);
	*ret_offset = end >= n ? end - n : 0;
	return n;
}

int handle_write(struct request *r, const Gofer__WriteRequest *q)
{
	const uint8_t *data = r->frame->data;
	size_t size = r->frame->header.data_len;
	Gofer__WriteReply *reply;
	uint64_t offset = q->offset;
	ssize_t n;
	int e = 0;
	_cleanup_handle_ struct handle *h = request_handle(r, q->handle, FLAG(WRITE), &e);

	if (!h)
		return e;
	reply = REQUEST_REPLY(r, WriteReply, write_reply);
	if (!reply)
		return -EMSGSIZE;
	if (h->flags & FLAG(APPEND)) {
		n = append(h, data, size, &offset);
	} else {
		n = h->type == S_IFREG ? pwrite(h->node.fd, data, size, q->offset)
				       : write(h->node.fd, data, size);
		if (n < 0)
			n = -errno;
	}
	if (n < 0)
		return n;
	reply->count = n;
	reply->offset = offset;
	reply->attr = request_getattr(r, &h->node);
	return 0;
}

int handle_sync(struct request *r, const Gofer__SyncRequest *q)
{
	int result = 0;

	for (size_t i = 0; i < q->n_handles; i++) {
		int e = 0;
		_cleanup_handle_ struct handle *h = request_handle(r, q->handles[i], 0, &e);

		if (h && (h->flags & FLAG(PATH)))
			e = -EBADF;
		else if (h && (q->data_only ? fdatasync(h->node.fd) : fsync(h->node.fd)) < 0)
			e = -errno;
		if (e < 0 && result == 0)
			result = e;
	}
	return result;
}

int handle_allocate(struct request *r, const Gofer__AllocateRequest *q)
{
	static const int modes[] = {
		[GOFER__ALLOCATE_MODE__ALLOCATE_EXTEND] = 0,
		[GOFER__ALLOCATE_MODE__ALLOCATE_KEEP_SIZE] = FALLOC_FL_KEEP_SIZE,
		[GOFER__ALLOCATE_MODE__ALLOCATE_PUNCH_HOLE] =
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		[GOFER__ALLOCATE_MODE__ALLOCATE_ZERO_RANGE] = FALLOC_FL_ZERO_RANGE,
	};
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	int e = 0;
	_cleanup_handle_ struct handle *h = request_handle(r, q->handle, FLAG(WRITE), &e);

	if (!h)
		return e;
	if (!reply)
		return -EMSGSIZE;
	if (fallocate(h->node.fd, modes[q->mode], q->offset, q->length) < 0)
		return -errno;
	reply->attr = request_getattr(r, &h->node);
	return 0;
}

int handle_seek(struct request *r, const Gofer__SeekRequest *q)
{
	Gofer__SeekReply *reply;
	off_t at;
	int e = 0;
	_cleanup_handle_ struct handle *h = request_handle(r, q->handle, 0, &e);

	if (!h)
		return e;
	if (h->flags & FLAG(PATH))
		return -EBADF;
	if (h->type != S_IFREG)
		return -EINVAL;
	pthread_mutex_lock(&h->lock);
	at = lseek(h->node.fd, q->offset, q->hole ? SEEK_HOLE : SEEK_DATA);
	e = at < 0 ? -errno : 0;
	pthread_mutex_unlock(&h->lock);
	if (e < 0)
		return e;
	reply = REQUEST_REPLY(r, SeekReply, seek_reply);
	if (!reply)
		return -EMSGSIZE;
	reply->offset = at;
	return 0;
}

int handle_copy(struct request *r, const Gofer__CopyRequest *q)
{
	loff_t from = q->source_offset, to = q->dest_offset;
	Gofer__CopyReply *reply = REQUEST_REPLY(r, CopyReply, copy_reply);
	ssize_t n;
	int e = 0;
	_cleanup_handle_ struct handle *source = request_handle(r, q->source, FLAG(READ), &e);
	_cleanup_handle_ struct handle *dest =
		source ? request_handle(r, q->dest, FLAG(WRITE), &e) : NULL;

	if (!source || !dest)
		return e;
	if (!reply)
		return -EMSGSIZE;
	n = copy_file_range(source->node.fd, &from, dest->node.fd, &to,
			    MIN(q->length, (uint64_t)COPY_MAX), 0);
	if (n < 0)
		return -errno;
	reply->count = n;
	reply->attr = request_getattr(r, &dest->node);
	return 0;
}
