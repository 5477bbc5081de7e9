/*
 * io.c - reading and writing open files: natively on a donated descriptor, else by Read and Write
 * requests.
 *
 * A transfer larger than a frame becomes several requests in flight at once. They complete in any
 * order; what counts is the part up to the first that came short. Replies to Read say whether the
 * file ended, so that no extra request is made to find out.
 */
#include <fcntl.h>
#include <string.h>

#include "client/content.h"
#include "client/mapping.h"

enum { COPIED = 1 << 20 }; /* of what is written to a file that is mapped, at a time */

static uint32_t chunk_size(const struct gofer_file *file)
{
	return file->mount->session->limits.max_data;
}

static int no_stop(struct gofer_file *file, struct call *call)
{
	if (call->result == 0 && call->reply.kind == GOFER_REPLY_STOP) {
		gofer_reply_free(&call->reply);
		call->result = session_violation(file->mount->session, "a stop without a path");
	}
	return call->result;
}

int request_call(struct gofer_file *file, uint16_t type, ProtobufCMessage *m,
		 struct gofer_reply *ret_reply)
{
	struct call call = { .request = { .type = type, .message = m, .fd = -1 } };

	session_call_many(file->mount->session, &call, 1);
	if (no_stop(file, &call) < 0)
		return call.result;
	*ret_reply = call.reply;
	return 0;
}

static int call_simple(struct gofer_file *file, uint16_t type, ProtobufCMessage *m)
{
	struct gofer_reply reply;
	int r = request_call(file, type, m, &reply);

	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

/* ---- read ---- */

/* One round of up to CALL_MANY requests. Sets *ret_end where the file ended or a request came
 * short. */
static ssize_t read_round(struct gofer_file *file, uint8_t *buf, size_t size, uint64_t offset,
			  bool *ret_end)
{
	Gofer__ReadRequest m[CALL_MANY];
	struct call calls[CALL_MANY];
	size_t chunk = chunk_size(file), n = 0, done = 0;
	bool end = false;
	int r = 0;

	for (size_t at = 0; at < size && n < CALL_MANY; n++) {
		m[n] = (Gofer__ReadRequest)GOFER__READ_REQUEST__INIT;
		m[n].handle = file->handle;
		m[n].offset = offset + at;
		m[n].count = (uint32_t)MIN(chunk, size - at);
		calls[n].request = (struct gofer_request){ .type = RPC_TYPE_Read,
							   .message = &m[n].base,
							   .fd = -1 };
		calls[n].sink = buf + at;
		calls[n].blind = false;
		at += m[n].count;
	}
	session_call_many(file->mount->session, calls, n);
	for (size_t i = 0; i < n; i++) {
		int result = no_stop(file, &calls[i]);

		if (result == 0) {
			if (!end) {
				done += calls[i].reply.data_len;
				end = ((Gofer__ReadReply *)calls[i].reply.message)->eof ||
				      calls[i].reply.data_len < m[i].count;
			}
			gofer_reply_free(&calls[i].reply);
		} else if (!end) {
			end = true;
			r = result;
		}
	}
	*ret_end = end;
	return done ? (ssize_t)done : r;
}

ssize_t request_read(struct gofer_file *file, void *buf, size_t size, uint64_t offset)
{
	size_t done = 0;
	bool end = false;

	/* Read takes no more in one call than Linux does. */
	size = MIN(size, (size_t)0x7ffff000);
	if (offset > INT64_MAX || size > INT64_MAX - offset)
		return -EINVAL;
	do {
		ssize_t n =
			read_round(file, (uint8_t *)buf + done, size - done, offset + done, &end);

		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	} while (done < size && !end);
	return (ssize_t)done;
}

ssize_t mapping_below_read(struct gofer_file *file, void *buf, size_t size, uint64_t offset)
{
	ssize_t n;

	if (file->fd < 0)
		return file->pages ? content_read(file, buf, size, offset)
				   : request_read(file, buf, size, offset);
	n = pread(file->fd, buf, size, (off_t)offset);
	return n < 0 ? -errno : n;
}

ssize_t gofer_pread(struct gofer_file *file, void *buf, size_t size, uint64_t offset)
{
	ssize_t n;

	if (file->fd < 0 && (file->access == O_WRONLY || file->access == O_PATH))
		return fail_path(-EBADF, "read", file->path);
	if (mapping_holds(file, buf, size))
		return mapping_bounce_read(file, buf, size, &offset);
	n = mapping_read(file, buf, size, offset);
	return n < 0 ? fail_path((int)n, "read", file->path) : n;
}

/* Of a descriptor whose file others here have mapped without one. */
static ssize_t read_mapped(struct gofer_file *file, void *buf, size_t size)
{
	ssize_t n;
	off_t at;

	pthread_mutex_lock(&file->lock);
	at = lseek(file->fd, 0, SEEK_CUR);
	n = at < 0 ? -errno : gofer_pread(file, buf, size, (uint64_t)at);
	if (n > 0)
		(void)lseek(file->fd, at + n, SEEK_SET);
	pthread_mutex_unlock(&file->lock);
	return n;
}

ssize_t gofer_read(struct gofer_file *file, void *buf, size_t size)
{
	ssize_t n;

	if (mapping_holds(file, buf, size))
		return mapping_bounce_read(file, buf, size, NULL);
	if (file->fd >= 0) {
		if (mapping_known(file))
			return read_mapped(file, buf, size);
		n = read(file->fd, buf, size);
		return n < 0 ? fail_path(-errno, "read", file->path) : n;
	}
	pthread_mutex_lock(&file->lock);
	n = gofer_pread(file, buf, size, file->offset);
	if (n > 0)
		file->offset += (uint64_t)n;
	pthread_mutex_unlock(&file->lock);
	return n;
}

/* ---- write ---- */

/* What changes the file's data by handle is told to the session's cache. */
static void data_begin(struct gofer_file *file, struct cache_op *op)
{
	cache_begin(op, file->mount->session->cache, CACHE_DATA, file->dev, file->ino);
}

/* As read_round(). With append, one request at a time: each goes to the end as it is then. */
static ssize_t write_round(struct gofer_file *file, const uint8_t *buf, size_t size,
			   uint64_t offset, bool *ret_short, uint64_t *ret_end)
{
	Gofer__WriteRequest m[CALL_MANY];
	struct call calls[CALL_MANY];
	size_t chunk = chunk_size(file), n = 0, done = 0, most = file->append ? 1 : CALL_MANY;
	/* Body and header of a Write, at their largest. */
	size_t room = file->mount->session->limits.max_frame - FRAME_HEADER_SIZE - 32;
	Gofer__Attr after = GOFER__ATTR__INIT;
	struct cache_op op;
	bool cut = false;
	int r = 0;

	chunk = MIN(chunk, room);
	for (size_t at = 0; at < size && n < most; n++) {
		m[n] = (Gofer__WriteRequest)GOFER__WRITE_REQUEST__INIT;
		m[n].handle = file->handle;
		m[n].offset = file->append ? 0 : offset + at;
		calls[n].request = (struct gofer_request){ .type = RPC_TYPE_Write,
							   .message = &m[n].base,
							   .data = buf + at,
							   .data_len = MIN(chunk, size - at),
							   .fd = -1 };
		calls[n].sink = NULL;
		calls[n].blind = false;
		at += calls[n].request.data_len;
	}
	data_begin(file, &op);
	session_call_many(file->mount->session, calls, n);
	for (size_t i = 0; i < n; i++) {
		int result = no_stop(file, &calls[i]);

		if (result == 0) {
			const Gofer__WriteReply *w =
				(const Gofer__WriteReply *)calls[i].reply.message;

			if (!cut) {
				done += w->count;
				cut = w->count < calls[i].request.data_len;
				*ret_end = w->offset + w->count;
			}
			/* Of several, nobody knows which was the last. */
			if (n == 1 && w->attr)
				after = *w->attr;
			gofer_reply_free(&calls[i].reply);
		} else if (!cut) {
			cut = true;
			r = result;
		}
	}
	cache_wrote(&op, after.mode ? &after : NULL);
	cache_end(&op);
	*ret_short = cut;
	return done ? (ssize_t)done : r;
}

ssize_t request_write(struct gofer_file *file, const void *buf, size_t size, uint64_t offset,
		      uint64_t *ret_end)
{
	size_t done = 0;
	bool cut = false;

	size = MIN(size, (size_t)0x7ffff000);
	if (offset > INT64_MAX || size > INT64_MAX - offset)
		return -EINVAL;
	while (done < size && !cut) {
		ssize_t n = write_round(file, (const uint8_t *)buf + done, size - done,
					offset + done, &cut, ret_end);

		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t mapping_below_write(struct gofer_file *file, const void *buf, size_t size, uint64_t offset,
			    uint64_t *ret_end)
{
	ssize_t n;

	if (file->fd < 0)
		return file->pages ? content_write(file, buf, size, offset, ret_end)
				   : request_write(file, buf, size, offset, ret_end);
	n = pwrite(file->fd, buf, size, (off_t)offset);
	if (n < 0)
		return -errno;
	*ret_end = offset + (uint64_t)n;
	return n;
}

/* At the descriptor's own offset. */
static ssize_t write_native(struct gofer_file *file, struct mapping_change *c, const void *buf,
			    size_t size)
{
	ssize_t n = write(file->fd, buf, size), done;
	off_t end;

	if (n < 0)
		n = -errno;
	if (!c->store)
		return n;
	done = MAX(n, (ssize_t)0);
	end = lseek(file->fd, 0, SEEK_CUR);
	if (end < done)
		mapping_changed(c, -EAGAIN, 0, UINT64_MAX, 0);
	else
		mapping_wrote(c, n, buf, size, (uint64_t)(end - done), (uint64_t)end);
	return n;
}

static ssize_t write_at(struct gofer_file *file, struct mapping_change *c, const void *buf,
			size_t size, uint64_t offset, uint64_t *ret_end)
{
	ssize_t n = mapping_below_write(file, buf, size, offset, ret_end);

	if (file->fd >= 0 && file->append) /* at the end, wherever that was */
		mapping_changed(c, -EAGAIN, c->store ? c->store->size : 0, UINT64_MAX, 0);
	else
		mapping_wrote(c, n, buf, size, file->append ? UINT64_MAX : offset, *ret_end);
	return n;
}

/* at: NULL for the descriptor's own offset. */
static ssize_t write_once(struct gofer_file *file, struct mapping_change *c, const void *buf,
			  size_t size, const uint64_t *at, uint64_t *ret_end)
{
	return at ? write_at(file, c, buf, size, *at, ret_end) : write_native(file, c, buf, size);
}

/* What mappings show is what was written: a copy, since others may change the caller's memory meanwhile. */
static ssize_t write_mapped(struct gofer_file *file, struct mapping_change *c, const uint8_t *buf,
			    size_t size, const uint64_t *at, uint64_t *ret_end)
{
	_cleanup_free_ uint8_t *own = malloc(MIN(size, (size_t)COPIED) + 1);
	size_t done = 0, piece;
	ssize_t n;

	if (!own)
		return -ENOMEM;
	do {
		uint64_t from = at ? *at + done : 0;

		piece = MIN(size - done, (size_t)COPIED);
		memcpy(own, buf + done, piece);
		n = write_once(file, c, own, piece, at ? &from : NULL, ret_end);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	} while ((size_t)n == piece && done < size);
	return (ssize_t)done;
}

static ssize_t write_file(struct gofer_file *file, const void *buf, size_t size, const uint64_t *at,
			  uint64_t *ret_end)
{
	struct mapping_change c;
	ssize_t n;

	*ret_end = 0;
	size = MIN(size, (size_t)0x7ffff000);
	mapping_change_begin(&c, file);
	n = c.store ? write_mapped(file, &c, buf, size, at, ret_end)
		    : write_once(file, &c, buf, size, at, ret_end);
	mapping_change_end(&c);
	return n;
}

static bool writable(const struct gofer_file *file)
{
	return file->access == O_WRONLY || file->access == O_RDWR;
}

ssize_t gofer_pwrite(struct gofer_file *file, const void *buf, size_t size, uint64_t offset)
{
	uint64_t end;
	ssize_t n;

	if (file->fd < 0 && !writable(file))
		return fail_path(-EBADF, "write", file->path);
	if (mapping_holds(file, buf, size))
		return mapping_bounce_write(file, buf, size, &offset);
	n = write_file(file, buf, size, &offset, &end);
	return n < 0 ? fail_path((int)n, "write", file->path) : n;
}

ssize_t gofer_write(struct gofer_file *file, const void *buf, size_t size)
{
	uint64_t end;
	ssize_t n;

	if (file->fd < 0 && !writable(file))
		return fail_path(-EBADF, "write", file->path);
	if (mapping_holds(file, buf, size))
		return mapping_bounce_write(file, buf, size, NULL);
	if (file->fd >= 0) {
		n = write_file(file, buf, size, NULL, &end);
		return n < 0 ? fail_path((int)n, "write", file->path) : n;
	}
	pthread_mutex_lock(&file->lock);
	n = write_file(file, buf, size, &file->offset, &end);
	if (n > 0)
		file->offset = file->append ? end : file->offset + (uint64_t)n;
	pthread_mutex_unlock(&file->lock);
	return n < 0 ? fail_path((int)n, "write", file->path) : n;
}

/* ---- offset ---- */

static off_t seek_hole(struct gofer_file *file, uint64_t offset, bool hole)
{
	Gofer__SeekRequest m = GOFER__SEEK_REQUEST__INIT;
	struct gofer_reply reply;
	off_t found;
	int r;

	r = mapping_flush(file);
	if (r == 0)
		r = content_settle(file);
	if (r < 0)
		return r;
	m.handle = file->handle;
	m.offset = offset;
	m.hole = hole;
	r = request_call(file, RPC_TYPE_Seek, &m.base, &reply);
	if (r < 0)
		return r;
	found = (off_t)((Gofer__SeekReply *)reply.message)->offset;
	gofer_reply_free(&reply);
	return found;
}

static off_t seek_to(struct gofer_file *file, uint64_t current, off_t offset, int whence)
{
	Gofer__Attr attr;
	int64_t base = 0, sum;
	int r;

	switch (whence) {
	case SEEK_SET:
		break;
	case SEEK_CUR:
		base = (int64_t)current;
		break;
	case SEEK_END:
		r = content_stat(file, &attr);
		if (r < 0)
			return r;
		base = (int64_t)attr.size;
		break;
	case SEEK_DATA:
	case SEEK_HOLE:
		return offset < 0 ? -ENXIO : seek_hole(file, (uint64_t)offset, whence == SEEK_HOLE);
	default:
		return -EINVAL;
	}
	if (__builtin_add_overflow(base, (int64_t)offset, &sum))
		return -EOVERFLOW;
	return sum < 0 ? -EINVAL : sum;
}

off_t gofer_lseek(struct gofer_file *file, off_t offset, int whence)
{
	uint64_t current;
	off_t at;

	if (file->fd >= 0) {
		at = lseek(file->fd, offset, whence);
		return at < 0 ? fail_path(-errno, "seek", file->path) : at;
	}
	pthread_mutex_lock(&file->lock);
	current = file->offset;
	pthread_mutex_unlock(&file->lock);
	at = seek_to(file, current, offset, whence);
	if (at < 0)
		return fail_path((int)at, "seek", file->path);
	pthread_mutex_lock(&file->lock);
	file->offset = (uint64_t)at;
	pthread_mutex_unlock(&file->lock);
	return at;
}

/* ---- what else is done to the contents ---- */

int mapping_below_sync(struct gofer_file *file, bool data_only)
{
	Gofer__SyncRequest m = GOFER__SYNC_REQUEST__INIT;
	int r, e;

	if (file->fd >= 0)
		return (data_only ? fdatasync(file->fd) : fsync(file->fd)) < 0 ? -errno : 0;
	r = content_settle(file);
	/* Also one that was made good meanwhile: once. */
	e = content_error(file);
	m.handles = &file->handle;
	m.n_handles = 1;
	m.data_only = data_only;
	if (r == 0)
		r = call_simple(file, RPC_TYPE_Sync, &m.base);
	return r < 0 ? r : e;
}

int gofer_fsync(struct gofer_file *file, bool data_only)
{
	int r = mapping_flush(file);

	if (r == 0)
		r = mapping_below_sync(file, data_only);
	return r < 0 ? fail_path(r, "fsync", file->path) : 0;
}

int gofer_fallocate(struct gofer_file *file, int mode, uint64_t offset, uint64_t length)
{
	Gofer__AllocateRequest m = GOFER__ALLOCATE_REQUEST__INIT;
	bool keeps = mode & FALLOC_FL_KEEP_SIZE, clears = mode & ~FALLOC_FL_KEEP_SIZE;
	struct mapping_change mapped;
	struct page_change change;
	struct cache_op op;
	uint64_t end;
	int r;

	/* It may begin, or end, beyond what the server takes. */
	end = offset < INT64_MAX && length < INT64_MAX - offset ? offset + length : INT64_MAX;
	if (file->fd >= 0) {
		mapping_change_begin(&mapped, file);
		r = fallocate(file->fd, mode, (off_t)offset, (off_t)length) < 0 ? -errno : 0;
		mapping_changed(&mapped, r, clears ? offset : end, end, keeps ? 0 : end);
		mapping_change_end(&mapped);
		return r < 0 ? fail_path(r, "fallocate", file->path) : 0;
	}
	switch (mode) {
	case 0:
		m.mode = GOFER__ALLOCATE_MODE__ALLOCATE_EXTEND;
		break;
	case FALLOC_FL_KEEP_SIZE:
		m.mode = GOFER__ALLOCATE_MODE__ALLOCATE_KEEP_SIZE;
		break;
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
		m.mode = GOFER__ALLOCATE_MODE__ALLOCATE_PUNCH_HOLE;
		break;
	case FALLOC_FL_ZERO_RANGE:
		m.mode = GOFER__ALLOCATE_MODE__ALLOCATE_ZERO_RANGE;
		break;
	default:
		return fail_path(-EOPNOTSUPP, "fallocate", file->path);
	}
	m.handle = file->handle;
	m.offset = offset;
	m.length = length;
	if (!writable(file))
		return fail_path(-EBADF, "fallocate", file->path);
	mapping_change_begin(&mapped, file);
	r = content_change_begin(file, &change, offset, end);
	if (r == 0) {
		data_begin(file, &op);
		r = call_simple(file, RPC_TYPE_Allocate, &m.base);
		cache_end(&op);
		content_change_end(file, &change,
				   r < 0 || keeps ? PAGE_SIZE_UNKNOWN : PAGE_SIZE_AT_LEAST, end);
	}
	mapping_changed(&mapped, r, clears ? offset : end, end, keeps ? 0 : end);
	mapping_change_end(&mapped);
	return r < 0 ? fail_path(r, "fallocate", file->path) : 0;
}
