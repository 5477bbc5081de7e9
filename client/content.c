/*
 * content.c - reading and writing open files through the page cache.
 *
 * A read takes what is there, and fetches what is missing by requests of the library's own
 * (session_fetch()): several at a time, as much ahead as the pattern of this open file suggests, and nobody waits but who
 * needs the bytes. They come into the cache in whichever thread reads the socket. Who waited takes them from the
 * fetch itself, whether or not they could be kept.
 */
#include "client/content.h"

#include <fcntl.h>
#include <string.h>

enum {
	PIECE = 512 << 10,    /* of a large read: each is one step of reading ahead */
	FETCH_MOST = 2 << 20, /* for one reader at a time */
};

static struct pages *pages_of(const struct gofer_file *file)
{
	return file->mount->session->pages;
}

/* Whether the cache may be used now. ask: the server, if need be. */
static bool usable(struct gofer_file *file, bool ask)
{
	struct pages *p = pages_of(file);
	enum pages_usable u = file->direct ? PAGES_NO : pages_usable(p, file->pages);

	if (u == PAGES_ASK) {
		struct cache *cache = file->mount->session->cache;
		uint64_t since = pages_clock(p);
		Gofer__Attr attr;

		if (ask ? file_stat(file, &attr) < 0
			: !cache_find_inode(cache, file->dev, file->ino, &attr))
			return false;
		pages_refresh(p, file->pages, &attr, since);
		u = pages_usable(p, file->pages);
	}
	return u == PAGES_YES;
}

/* ---- fetching ---- */

/* Called back with the session's lock. */
static void fetched(struct gofer_session *s, void *userdata, int result,
		    const struct gofer_reply *reply)
{
	struct page_fetch *x = userdata;
	struct page_handle *through = x->through;
	struct page_file *f = x->file;
	uint64_t close[2];

	if (result == 0 && reply->kind != GOFER_REPLY_OK) {
		session_kill(s, -EPROTO, "a stop without a path");
		result = -EPROTO;
	}
	pages_fetched(s->pages, x, result, result == 0 ? reply->data_len : 0);
	for (size_t n = pages_handle_put(s->pages, through, close); n;)
		handle_close_locked(s, close[--n]);
	pages_close(s->pages, f);
}

/* Sends one. ret_fetch, if not NULL: a reference. -EAGAIN where there is no room for it now. */
static int fetch_one(struct gofer_file *file, uint64_t begin, uint64_t end, uint64_t wanted,
		     struct page_fetch **ret_fetch)
{
	struct gofer_session *s = file->mount->session;
	Gofer__ReadRequest m = GOFER__READ_REQUEST__INIT;
	const struct gofer_request request = { .type = RPC_TYPE_Read,
					       .message = &m.base,
					       .fd = -1 };
	struct page_fetch *x = pages_fetch(s->pages, file->pages, file->shared, begin, end, wanted);
	int r;

	if (!x)
		return -ENOMEM;
	m.handle = file->handle;
	m.offset = begin;
	m.count = (uint32_t)(end - begin);
	r = session_fetch(s, &request, x->data, fetched, x);
	if (r < 0) {
		pthread_mutex_lock(&s->lock);
		fetched(s, x, r, NULL);
		pthread_mutex_unlock(&s->lock);
	}
	if (r == 0 && ret_fetch)
		*ret_fetch = x;
	else
		pages_fetch_unref(s->pages, x);
	return r;
}

/*
 * Sends for what is missing of [begin, end), as far as there is room for requests. What lies behind `wanted` was
 * not asked for. ret_first, if not NULL: the first one, which is due now; NULL where none was sent.
 */
static int fetch(struct gofer_file *file, uint64_t begin, uint64_t end, uint64_t wanted,
		 struct page_fetch **ret_first)
{
	uint64_t most = file->mount->session->limits.max_data;
	struct interval range;
	int r = 0;

	/* Whole pages, where the server takes that many at all. */
	if (most > READAHEAD_FIRST)
		most &= ~(uint64_t)(READAHEAD_FIRST - 1);
	while (r == 0 && pages_missing(pages_of(file), file->pages, begin, end, &range)) {
		range.end = MIN(range.end, range.begin + most);
		r = fetch_one(file, range.begin, range.end, wanted, ret_first);
		ret_first = NULL;
		begin = range.end;
	}
	return r;
}

/* Takes part of what a fetch has brought. */
static size_t take(const struct page_fetch *x, void *buf, size_t size, uint64_t offset)
{
	uint64_t end = x->begin + x->len;
	size_t n = 0;

	if (offset >= x->begin && offset < end) {
		n = MIN(size, end - offset);
		memcpy(buf, x->data + (offset - x->begin), n);
	}
	return n;
}

/*
 * The bytes that begin a range that is missing, at `offset`: sends for them, and waits. x: what was under way
 * already, or NULL. 0 at the end of the file; -EAGAIN to look into the cache again.
 */
static ssize_t wait_for(struct gofer_file *file, void *buf, size_t size, struct interval miss,
			struct page_fetch *x, struct interval ahead, uint64_t since)
{
	struct gofer_session *s = file->mount->session;
	uint64_t end = MIN(miss.end, miss.begin + FETCH_MOST);
	ssize_t n;
	int r = 0;

	/* What is read ahead goes along in the same requests where it follows. */
	if (ahead.begin <= end && ahead.end > end)
		r = fetch(file, miss.begin, ahead.end, end, x ? NULL : &x);
	else
		r = fetch(file, miss.begin, end, end, x ? NULL : &x);
	if (!x && r < 0) /* no room for more requests */
		return request_read(file, buf, MIN(size, miss.end - miss.begin), miss.begin);
	/* Others have seen to it meanwhile. */
	if (!x || miss.begin < x->begin || miss.begin >= x->end) {
		pages_fetch_unref(s->pages, x);
		return -EAGAIN;
	}
	r = session_wait_fetch(s, &x->done);
	if (r < 0)
		n = r;
	else if (x->start < since)
		n = -EAGAIN; /* it may be older than this call; the cache knows */
	else if (x->result < 0)
		n = x->result;
	else
		n = (ssize_t)take(x, buf, size, miss.begin);
	pages_fetch_unref(s->pages, x);
	return n;
}

/* ---- reading ---- */

/* Up to PIECE bytes; less at the end of the file. */
static ssize_t read_piece(struct gofer_file *file, uint8_t *buf, size_t size, uint64_t offset)
{
	struct pages *p = pages_of(file);
	struct interval ahead, miss;
	struct page_fetch *x;
	size_t done = 0;
	uint64_t since;

	if (!usable(file, true))
		return request_read(file, buf, size, offset);
	pthread_mutex_lock(&file->ahead_lock);
	ahead = readahead_step(&file->ahead, offset, size);
	pthread_mutex_unlock(&file->ahead_lock);
	since = pages_clock(p);
	for (;;) {
		ssize_t n;

		done += pages_read(p, file->pages, buf + done, size - done, offset + done,
				   file->once, &miss, &x);
		if (!miss.end)
			break;
		n = wait_for(file, buf + done, size - done, miss, x, ahead, since);
		if (n == -EAGAIN)
			continue;
		if (n <= 0)
			return done || n == 0 ? (ssize_t)done : n;
		done += (size_t)n;
		if (done == size)
			break;
	}
	if (ahead.end)
		(void)fetch(file, ahead.begin, ahead.end, offset, NULL);
	return (ssize_t)done;
}

ssize_t content_read(struct gofer_file *file, void *buf, size_t size, uint64_t offset)
{
	size_t done = 0, piece;
	ssize_t n;
	int r = session_check(file->mount->session);

	if (r < 0)
		return r;
	size = MIN(size, (size_t)0x7ffff000);
	if (offset > INT64_MAX || size > INT64_MAX - offset)
		return -EINVAL;
	do {
		piece = MIN(size - done, (size_t)PIECE);
		n = read_piece(file, (uint8_t *)buf + done, piece, offset + done);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	} while (done < size && (size_t)n == piece);
	return (ssize_t)done;
}

/* ---- changing ---- */

ssize_t content_write(struct gofer_file *file, const void *buf, size_t size, uint64_t offset,
		      uint64_t *ret_end)
{
	struct page_outcome outcome = { .kind = PAGE_SIZE_UNKNOWN };
	struct page_change x;
	ssize_t n;
	int r = session_check(file->mount->session);

	if (r < 0)
		return r;
	size = MIN(size, (size_t)0x7ffff000);
	if (offset > INT64_MAX || size > INT64_MAX - offset)
		return -EINVAL;
	if (!size)
		return request_write(file, buf, size, offset, ret_end);
	(void)usable(file, false); /* what is written to a file of unknown size is not kept */
	pages_change_begin(pages_of(file), file->pages, &x, file->append ? UINT64_MAX : offset,
			   file->append ? UINT64_MAX : offset + size);
	n = request_write(file, buf, size, offset, ret_end);
	if (n > 0) {
		outcome.offset = file->append ? *ret_end - (uint64_t)n : offset;
		outcome.data = file->direct ? NULL : buf;
		outcome.len = (size_t)n;
	}
	/* Of several requests, later ones may have done what an earlier one did not. */
	if (n == (ssize_t)size) {
		outcome.kind = PAGE_SIZE_AT_LEAST;
		outcome.size = outcome.offset + size;
	}
	pages_change_end(pages_of(file), file->pages, &x, &outcome);
	return n;
}

void content_change_begin(struct gofer_file *file, struct page_change *x, uint64_t begin,
			  uint64_t end)
{
	if (file->pages)
		pages_change_begin(pages_of(file), file->pages, x, begin, end);
}

void content_change_end(struct gofer_file *file, struct page_change *x, enum page_size kind,
			uint64_t size)
{
	const struct page_outcome outcome = { .kind = kind, .size = size };

	if (file->pages)
		pages_change_end(pages_of(file), file->pages, x, &outcome);
}

/* ---- advice ---- */

static int advise(struct gofer_file *file, uint64_t offset, uint64_t length, int advice)
{
	uint64_t end = length && length < INT64_MAX - offset ? offset + length : INT64_MAX;

	switch (advice) {
	case POSIX_FADV_NORMAL:
	case POSIX_FADV_SEQUENTIAL:
	case POSIX_FADV_RANDOM:
		pthread_mutex_lock(&file->ahead_lock);
		file->ahead.advice = advice == POSIX_FADV_RANDOM       ? READAHEAD_RANDOM
				     : advice == POSIX_FADV_SEQUENTIAL ? READAHEAD_SEQUENTIAL
								       : READAHEAD_NORMAL;
		pthread_mutex_unlock(&file->ahead_lock);
		if (advice == POSIX_FADV_NORMAL)
			file->once = false;
		return 0;
	case POSIX_FADV_NOREUSE:
		file->once = true;
		return 0;
	case POSIX_FADV_DONTNEED:
		pages_drop(pages_of(file), file->pages, offset, end);
		return 0;
	case POSIX_FADV_WILLNEED:
		/* As much as for a reader; more would push out what is in use. */
		if (file->access != O_WRONLY && usable(file, true))
			(void)fetch(file, offset, MIN(end, offset + FETCH_MOST), offset, NULL);
		return 0;
	default:
		return -EINVAL;
	}
}

int gofer_fadvise(struct gofer_file *file, uint64_t offset, uint64_t length, int advice)
{
	int r = 0;

	if (offset > INT64_MAX || length > INT64_MAX)
		r = -EINVAL;
	else if (file->access == O_PATH)
		r = -EBADF;
	else if (file->fd >= 0)
		r = -posix_fadvise(file->fd, (off_t)offset, (off_t)length, advice);
	else if (file->pages)
		r = advise(file, offset, length, advice);
	else if (advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE)
		r = -EINVAL;
	return r < 0 ? fail_path(r, "fadvise", file->path) : 0;
}
