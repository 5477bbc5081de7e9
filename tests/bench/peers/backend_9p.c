/*
 * backend_9p.c - a plain client of 9P2000.L, one request after the other, for diod. TARGET is unix:/path,ATTACH-NAME. It walks
 * up to 16 names in one request, which no kernel's client does: the protocol at its best.
 */
#include "tests/bench/peers/workload.h"

#include <endian.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
	RLERROR = 7,
	TLOPEN = 12,
	TLCREATE = 14,
	TGETATTR = 24,
	TREADDIR = 40,
	TVERSION = 100,
	TATTACH = 104,
	TWALK = 110,
	TREAD = 116,
	TWRITE = 118,
	TCLUNK = 120,
	TREMOVE = 122,
	MSIZE = 65536 + 24,
	NO_TAG = 0xffff,
	NO_FID = -1,
	HEADER = 7,
	NAMES_MAX = 16,
	GETATTR_BASIC = 0x7ff,
};
enum { FID_ROOT, FID_WORK, FID_DIR, FID_HELD };

static int sock = -EBADF;
static uint32_t msize = MSIZE;
static uint8_t message[MSIZE + 64], *at; /* where the next field is put, or got */

/* ---- fields, little endian ---- */

static void put(uint64_t value, size_t size)
{
	value = htole64(value);
	memcpy(at, &value, size);
	at += size;
}

static void put_name(const char *name, size_t len)
{
	put(len, 2);
	memcpy(at, name, len);
	at += len;
}

static uint64_t get(size_t size)
{
	uint64_t value = 0;

	memcpy(&value, at, size);
	at += size;
	return le64toh(value);
}

static void begin(unsigned type)
{
	at = message + 4;
	put(type, 1);
	put(type == TVERSION ? NO_TAG : 1, 2);
}

/* ---- requests ---- */

static int send_all(const void *data, size_t size, int flags)
{
	const uint8_t *p = data;

	while (size) {
		ssize_t n = send(sock, p, size, MSG_NOSIGNAL | flags);

		if (n < 0)
			return -errno;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Sends what was put, and `data` behind it; leaves `at` behind the reply's header. */
static int request(const void *data, size_t size)
{
	size_t length = (size_t)(at - message), got = 0, wanted = 4;
	int r;

	at = message;
	put(length + size, 4);
	r = send_all(message, length, size ? MSG_MORE : 0);
	if (r == 0)
		r = send_all(data, size, 0);
	while (r == 0 && got < wanted) {
		ssize_t n = recv(sock, message + got, sizeof(message) - got, 0);

		if (n <= 0)
			return n < 0 ? -errno : -ENOTCONN;
		got += (size_t)n;
		if (got >= 4) {
			at = message;
			wanted = get(4);
			if (wanted < HEADER || wanted > sizeof(message))
				return -EPROTO;
		}
	}
	if (r < 0)
		return r;
	at = message + HEADER;
	return message[4] == RLERROR ? -(int)get(4) : 0;
}

static void clunk(uint32_t fid)
{
	begin(TCLUNK);
	put(fid, 4);
	(void)request(NULL, 0);
}

/* A new fid for a path below another. */
static int walk(uint32_t from, uint32_t fid, const char *path, size_t len)
{
	const char *end = path + len;
	uint8_t *count;
	unsigned n = 0;
	int r;

	begin(TWALK);
	put(from, 4);
	put(fid, 4);
	count = at;
	put(0, 2);
	while (path < end && n < NAMES_MAX) {
		const char *slash = memchr(path, '/', (size_t)(end - path));
		const char *next = slash ?: end;

		put_name(path, (size_t)(next - path));
		path = slash ? slash + 1 : end;
		n++;
	}
	count[0] = (uint8_t)n;
	r = request(NULL, 0);
	if (r < 0)
		return r;
	n -= (unsigned)get(2);
	/* Part of the way is no fid, says the protocol; diod keeps one. */
	if (n)
		clunk(fid);
	return n ? -ENOENT : 0;
}

static int attributes(uint32_t fid)
{
	begin(TGETATTR);
	put(fid, 4);
	put(GETATTR_BASIC, 8);
	return request(NULL, 0);
}

static int lopen(uint32_t fid, unsigned flags)
{
	begin(TLOPEN);
	put(fid, 4);
	put(flags, 4);
	return request(NULL, 0);
}

static ssize_t read_fid(uint32_t fid, void *buf, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		uint32_t part = (uint32_t)MIN(size - done, (size_t)msize - 24), n;
		int r;

		begin(TREAD);
		put(fid, 4);
		put(offset + done, 8);
		put(part, 4);
		r = request(NULL, 0);
		if (r < 0)
			return r;
		n = (uint32_t)get(4);
		memcpy((uint8_t *)buf + done, at, MIN(n, part));
		done += n;
		if (n < part)
			break;
	}
	return (ssize_t)done;
}

static ssize_t write_fid(uint32_t fid, const void *data, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		uint32_t part = (uint32_t)MIN(size - done, (size_t)msize - 24);
		int r;

		begin(TWRITE);
		put(fid, 4);
		put(offset + done, 8);
		put(part, 4);
		r = request((const uint8_t *)data + done, part);
		if (r < 0)
			return r;
		done += get(4);
	}
	return (ssize_t)done;
}

/* ---- the backend ---- */

static int p9_open(const char *target)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *comma = strchr(target, ',');
	int r;

	if (strncmp(target, "unix:", 5) != 0 || !comma ||
	    (size_t)(comma - target) - 5 >= sizeof(address.sun_path))
		return -EINVAL;
	memcpy(address.sun_path, target + 5, (size_t)(comma - target) - 5);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	begin(TVERSION);
	put(MSIZE, 4);
	put_name("9P2000.L", 8);
	r = request(NULL, 0);
	if (r < 0)
		return r;
	msize = (uint32_t)get(4);
	begin(TATTACH);
	put(FID_ROOT, 4);
	put((uint32_t)NO_FID, 4);
	put_name("root", 4);
	put_name(comma + 1, strlen(comma + 1));
	put(0, 4);
	return request(NULL, 0);
}

static int p9_stat(const char *path)
{
	int r = walk(FID_ROOT, FID_WORK, path, strlen(path));

	if (r < 0)
		return r;
	r = attributes(FID_WORK);
	clunk(FID_WORK);
	return r;
}

static int p9_read_file(const char *path, void *buf)
{
	int r = walk(FID_ROOT, FID_WORK, path, strlen(path));
	ssize_t n = 0;

	if (r < 0)
		return r;
	r = lopen(FID_WORK, O_RDONLY);
	if (r == 0)
		n = read_fid(FID_WORK, buf, BLOCK, 0);
	clunk(FID_WORK);
	return r < 0 ? r : n < 0 ? (int)n : n == BLOCK ? 0 : -EIO;
}

static int p9_write_file(const char *path, const void *data)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	int r = walk(FID_ROOT, FID_WORK, path, slash ? (size_t)(slash - path) : 0);
	ssize_t n = 0;

	if (r < 0)
		return r;
	begin(TLCREATE);
	put(FID_WORK, 4);
	put_name(name, strlen(name));
	put(O_WRONLY | O_CREAT | O_EXCL, 4);
	put(0644, 4);
	put(0, 4);
	r = request(NULL, 0);
	if (r == 0)
		n = write_fid(FID_WORK, data, BLOCK, 0);
	clunk(FID_WORK);
	return r < 0 ? r : n < 0 ? (int)n : n == BLOCK ? 0 : -EIO;
}

static int p9_unlink(const char *path)
{
	int r = walk(FID_ROOT, FID_WORK, path, strlen(path));

	if (r < 0)
		return r;
	begin(TREMOVE);
	put(FID_WORK, 4);
	return request(NULL, 0);
}

/* Names first: the next request's reply comes to where they are. */
static ssize_t list_names(char **ret_names, size_t *ret_len)
{
	uint64_t offset = 0;
	char *names = NULL;
	size_t len = 0, allocated = 0;

	for (;;) {
		const uint8_t *end;
		uint32_t count;
		int r;

		begin(TREADDIR);
		put(FID_DIR, 4);
		put(offset, 8);
		put(msize - 24, 4);
		r = request(NULL, 0);
		if (r < 0) {
			free(names);
			return r;
		}
		count = (uint32_t)get(4);
		if (!count)
			break;
		for (end = at + count; at < end;) {
			size_t n;

			at += 13;
			offset = get(8);
			at++;
			n = get(2);
			if (len + n + 1 > allocated) {
				allocated = 2 * allocated + n + 4096;
				names = realloc(names, allocated);
				if (!names)
					abort();
			}
			memcpy(names + len, at, n);
			names[len + n] = '\0';
			if (strcmp(names + len, ".") != 0 && strcmp(names + len, "..") != 0)
				len += n + 1;
			at += n;
		}
	}
	*ret_names = names;
	*ret_len = len;
	return 0;
}

static ssize_t p9_list(const char *path)
{
	_cleanup_free_ char *names = NULL;
	size_t len = 0;
	ssize_t n = 0;
	int r = walk(FID_ROOT, FID_DIR, path, strlen(path));

	if (r < 0)
		return r;
	r = lopen(FID_DIR, O_RDONLY | O_DIRECTORY);
	if (r == 0)
		r = (int)list_names(&names, &len);
	clunk(FID_DIR);
	if (r < 0)
		return r;
	r = walk(FID_ROOT, FID_DIR, path, strlen(path));
	for (size_t i = 0; r == 0 && i < len; i += strlen(names + i) + 1) {
		if (walk(FID_DIR, FID_WORK, names + i, strlen(names + i)) < 0)
			continue;
		n += attributes(FID_WORK) == 0;
		clunk(FID_WORK);
	}
	clunk(FID_DIR);
	return r < 0 ? r : n;
}

static int p9_hold(const char *path)
{
	int r = walk(FID_ROOT, FID_HELD, path, strlen(path));

	return r < 0 ? r : lopen(FID_HELD, O_RDWR);
}

static ssize_t p9_pread(void *buf, size_t size, uint64_t offset)
{
	return read_fid(FID_HELD, buf, size, offset);
}

static ssize_t p9_pwrite(const void *data, size_t size, uint64_t offset)
{
	return write_fid(FID_HELD, data, size, offset);
}

static void p9_release(void)
{
	clunk(FID_HELD);
}

const struct backend backend_9p = {
	.name = "9p",
	.open = p9_open,
	.stat = p9_stat,
	.read_file = p9_read_file,
	.write_file = p9_write_file,
	.unlink = p9_unlink,
	.list = p9_list,
	.hold = p9_hold,
	.pread = p9_pread,
	.pwrite = p9_pwrite,
	.release = p9_release,
};
