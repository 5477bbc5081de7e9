/*
 * copy_data.c - contents from one local descriptor to another: copy_file_range(2), which shares
 * extents where it can and stays in the kernel where it cannot, else plain reads and writes. Only
 * data is copied; what lies between is left a hole.
 */
#include "client/cli/copy.h"

#include <string.h>

enum { PIECE = 8 << 20, BUFFER = 256 * 1024, BLOCK = 4096 };

static bool is_zero(const uint8_t *data, size_t size)
{
	return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

static int write_all(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
	while (size > 0) {
		ssize_t n = pwrite(fd, data, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int copy_write(int fd, const uint8_t *data, size_t size, uint64_t offset, bool sparse)
{
	if (!sparse)
		return write_all(fd, data, size, offset);
	while (size > 0) {
		size_t n = MIN(size, (size_t)(BLOCK - offset % BLOCK));
		int r = is_zero(data, n) ? 0 : write_all(fd, data, n, offset);

		if (r < 0)
			return r;
		data += n;
		size -= n;
		offset += n;
	}
	return 0;
}

static int plain_range(int in, int out, uint64_t at, uint64_t end, struct copy_progress *p)
{
	_cleanup_free_ uint8_t *buf = cli_alloc(BUFFER);

	while (at < end && !pipe_signal) {
		ssize_t n = pread(in, buf, MIN(end - at, (uint64_t)BUFFER), (off_t)at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
		r = write_all(out, buf, (size_t)n, at);
		if (r < 0)
			return r;
		at += (uint64_t)n;
		p->bytes += (uint64_t)n;
		copy_progress_show(p, false);
	}
	return pipe_signal ? -EINTR : 0;
}

static int copy_range(int in, int out, uint64_t at, uint64_t end, struct copy_progress *p)
{
	while (at < end && !pipe_signal) {
		off_t from = (off_t)at, to = (off_t)at;
		ssize_t n = copy_file_range(in, &from, out, &to, MIN(end - at, (uint64_t)PIECE), 0);

		if (n < 0 && errno == EINTR)
			continue;
		/* Not between these two, or not at all here; some filesystems say "nothing" where
		 * they mean that. */
		if (n == 0 || (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP ||
					 errno == ENOSYS || errno == EPERM || errno == EBADF ||
					 errno == ETXTBSY)))
			return plain_range(in, out, at, end, p);
		if (n < 0)
			return -errno;
		at += (uint64_t)n;
		p->bytes += (uint64_t)n;
		copy_progress_show(p, false);
	}
	return pipe_signal ? -EINTR : 0;
}

int copy_native(int in, int out, uint64_t size, bool sparse, struct copy_progress *p)
{
	off_t at = 0;
	int r;

	if (!sparse)
		return copy_range(in, out, 0, size, p);
	while ((uint64_t)at < size) {
		off_t data = lseek(in, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			return errno == EINVAL ? copy_range(in, out, (uint64_t)at, size, p)
					       : -errno;
		hole = lseek(in, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		p->bytes += (uint64_t)(data - at);
		r = copy_range(in, out, (uint64_t)data, MIN((uint64_t)hole, size), p);
		if (r < 0)
			return r;
		at = hole;
	}
	/* What ends in a hole has its length from here. */
	return ftruncate(out, (off_t)size) < 0 ? -errno : 0;
}
