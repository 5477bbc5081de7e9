/*
 * io_copy.c - from one open file to another: by the kernel where both have a descriptor, else by the server where it has both,
 * else through this process.
 */
#include "client/content.h"
#include "client/mapping.h"

/* Where neither side can do it alone: through this process. */
static ssize_t copy_through(struct gofer_file *in, uint64_t in_offset, struct gofer_file *out,
			    uint64_t out_offset, size_t length)
{
	_cleanup_free_ void *buf = NULL;
	ssize_t n;

	length = MIN(length, (size_t)4 * FRAME_MAX_DATA);
	buf = malloc(length ? length : 1);
	if (!buf)
		return -ENOMEM;
	n = gofer_pread(in, buf, length, in_offset);
	return n > 0 ? gofer_pwrite(out, buf, (size_t)n, out_offset) : n;
}

/* By the kernel, or the server; -EXDEV where neither has both. */
static ssize_t copy_there(struct gofer_file *in, uint64_t in_offset, struct gofer_file *out,
			  uint64_t out_offset, size_t length)
{
	Gofer__CopyRequest m = GOFER__COPY_REQUEST__INIT;
	off_t from = (off_t)in_offset, to = (off_t)out_offset;
	struct page_change change;
	struct gofer_reply reply;
	struct cache_op op;
	ssize_t n;
	int r;

	if (in->fd >= 0 && out->fd >= 0) {
		n = copy_file_range(in->fd, &from, out->fd, &to, length, 0);
		return n < 0 ? -errno : n;
	}
	if (!in->handle || !out->handle || in->mount->session != out->mount->session)
		return -EXDEV;
	m.source = in->handle;
	m.source_offset = in_offset;
	m.dest = out->handle;
	m.dest_offset = out_offset;
	m.length = length;
	r = content_settle(in);
	if (r == 0)
		r = content_change_begin(out, &change, out_offset,
					 MIN(out_offset + m.length, (uint64_t)INT64_MAX));
	if (r < 0)
		return r;
	cache_begin(&op, out->mount->session->cache, CACHE_DATA, out->dev, out->ino);
	r = request_call(in, RPC_TYPE_Copy, &m.base, &reply);
	cache_end(&op);
	n = r;
	if (r == 0) {
		n = (ssize_t)((Gofer__CopyReply *)reply.message)->count;
		gofer_reply_free(&reply);
	}
	content_change_end(out, &change, r < 0 ? PAGE_SIZE_UNKNOWN : PAGE_SIZE_AT_LEAST,
			   n > 0 ? out_offset + (uint64_t)n : 0);
	return n;
}

ssize_t gofer_copy_file_range(struct gofer_file *in, uint64_t in_offset, struct gofer_file *out,
			      uint64_t out_offset, size_t length)
{
	struct mapping_change mapped;
	uint64_t end;
	ssize_t n;

	if (in_offset > INT64_MAX || out_offset > INT64_MAX)
		return fail_path(-EINVAL, "copy", in->path);
	length = MIN(length, (size_t)0x7ffff000);
	n = mapping_flush(in);
	if (n < 0)
		return fail_path((int)n, "copy", in->path);
	mapping_change_begin(&mapped, out);
	n = copy_there(in, in_offset, out, out_offset, length);
	end = out_offset + (n < 0 ? length : (uint64_t)n);
	mapping_changed(&mapped, n < 0 ? (int)n : 0, out_offset, end, n > 0 ? end : 0);
	mapping_change_end(&mapped);
	if (n == -EXDEV || n == -EOPNOTSUPP || n == -ENOSYS)
		return copy_through(in, in_offset, out, out_offset, length);
	return n < 0 ? fail_path((int)n, "copy", in->path) : n;
}
