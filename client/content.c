/*
 * content.c - reading and writing open files through the page cache.
 *
 * A read takes what is there, and fetches what is missing by requests of the library's own
 * (session_fetch()): several at a time, as much ahead as the pattern of this open file suggests, and nobody waits but who
 * needs the bytes. They come into the cache in whichever thread reads the socket. Who waited takes them from the
 * fetch itself, whether or not they could be kept.
 *
 * What is written waits in the cache in mode exclusive (writeback.c); else, and wherever the cache steps aside, it is sent
 * before the call returns, after all that waited.
 */
#include "client/content.h"
#include "client/writeback.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum {
	PIECE = 512 << 10,       /* of a large read: each is one step of reading ahead */
	FETCH_MOST = 2 << 20,    /* for one reader at a time */
	COPIED = 1 << 20,        /* of what is written through, at a time */
	WRITE_PIECE = 256 << 10, /* into the cache, between two looks at its limits */
};

uint64_t session_clock(struct gofer_session *s)
{
	return s->writing_back && session_check(s) == 0 ? pages_clock(s->pages) : 0;
}

bool session_overlay(struct gofer_session *s, Gofer__Attr *attr, uint64_t since)
{
	return !s->writing_back || !S_ISREG(attr->mode) || pages_overlay(s->pages, attr, since);
}

int content_stat(struct gofer_file *file, Gofer__Attr *ret_attr)
{
	struct gofer_session *s = file->mount->session;
	uint64_t since;
	int r;

	for (unsigned tries = 0; tries < STAT_TRIES; tries++) {
		since = session_clock(s);
		r = file_stat(file, ret_attr);
		if (r < 0 || session_overlay(s, ret_attr, since))
			return r;
		/* Once that is sent, what the server says is from after this call began. */
		(void)content_settle(file);
	}
	return 0;
}

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
		/* Not what is there already: it may be newer. */
		n = (ssize_t)take(x, buf, MIN(size, miss.end - miss.begin), miss.begin);
	pages_fetch_unref(s->pages, x);
	return n;
}

int content_settle(struct gofer_file *file)
{
	return file->pages ? writeback_file(file->mount->session, file->pages) : 0;
}

int content_error(struct gofer_file *file)
{
	return file->pages ? pages_error_since(pages_of(file), file->pages, &file->errors) : 0;
}

/* ---- reading ---- */

static ssize_t read_past(struct gofer_file *file, void *buf, size_t size, uint64_t offset)
{
	int r = content_settle(file);

	return r < 0 ? r : request_read(file, buf, size, offset);
}

/* Up to PIECE bytes; less at the end of the file. */
static ssize_t read_piece(struct gofer_file *file, uint8_t *buf, size_t size, uint64_t offset)
{
	struct pages *p = pages_of(file);
	struct interval ahead, miss;
	struct page_fetch *x;
	size_t done = 0;
	uint64_t since;

	if (!usable(file, true))
		return read_past(file, buf, size, offset);
	pthread_mutex_lock(&file->ahead_lock);
	ahead = readahead_step(&file->ahead, offset, size);
	pthread_mutex_unlock(&file->ahead_lock);
	since = pages_clock(p);
	for (;;) {
		ssize_t n = pages_read(p, file->pages, buf + done, size - done, offset + done,
				       file->once, &miss, &x);

		if (n < 0) {
			/* Something unknown was done to it meanwhile. */
			n = read_past(file, buf + done, size - done, offset + done);
			return n < 0 ? (done ? (ssize_t)done : n) : (ssize_t)done + n;
		}
		done += (size_t)n;
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

/* What can be asked for at once of a file: as read(2) and write(2) cut and refuse it. */
static int check_span(const struct gofer_file *file, uint64_t offset, size_t *size)
{
	int r = session_check(file->mount->session);

	if (r < 0)
		return r;
	*size = MIN(*size, (size_t)0x7ffff000);
	return offset > INT64_MAX || *size > INT64_MAX - offset ? -EINVAL : 0;
}

ssize_t content_read(struct gofer_file *file, void *buf, size_t size, uint64_t offset)
{
	size_t done = 0, piece;
	ssize_t n;
	int r = check_span(file, offset, &size);

	if (r < 0)
		return r;
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

static bool may_wait(const struct gofer_file *file)
{
	return file->mount->write_back && !file->direct && !file->sync && !file->append;
}

/* Where anything is mapped, what mappings hold goes through here, and is not kept twice. */
static bool waits(const struct gofer_file *file)
{
	const struct mapper *m = file->mount->session->mapper;

	return may_wait(file) && !(m && atomic_load(&m->n_mappings));
}

/* What keeps changes of one file in order is needed only where something may wait. */
static bool ordered(const struct gofer_file *file)
{
	return atomic_load(&file->mount->session->writing_back);
}

static int begin_change(struct gofer_file *file, struct page_change *x, uint64_t begin,
			uint64_t end, bool cuts)
{
	struct gofer_session *s = file->mount->session;
	int r;

	if (!ordered(file)) {
		x->ordered = false;
		pages_change_begin(s->pages, file->pages, x, begin, end);
		if (!ordered(file))
			return 0;
		/* Something waits since a moment ago. */
		pages_change_end(s->pages, file->pages, x, &(struct page_outcome){ 0 });
	}
	r = writeback_lock(s, file->pages);
	if (r < 0)
		return r;
	/* From now on nothing more waits. */
	pages_change_begin(s->pages, file->pages, x, begin, end);
	x->ordered = true;
	r = cuts ? 0 : writeback_locked(s, file->pages);
	if (r < 0) {
		pages_change_end(s->pages, file->pages, x, &(struct page_outcome){ 0 });
		writeback_unlock(s, file->pages);
	}
	return r;
}

static void end_change(struct gofer_file *file, struct page_change *x,
		       const struct page_outcome *outcome)
{
	bool unlock = x->ordered;

	pages_change_end(pages_of(file), file->pages, x, outcome);
	if (unlock)
		writeback_unlock(file->mount->session, file->pages);
}

int content_change_begin(struct gofer_file *file, struct page_change *x, uint64_t begin,
			 uint64_t end)
{
	return file->pages ? begin_change(file, x, begin, end, end == UINT64_MAX) : 0;
}

void content_change_end(struct gofer_file *file, struct page_change *x, enum page_size kind,
			uint64_t size)
{
	const struct page_outcome outcome = { .kind = kind, .size = size };

	if (file->pages)
		end_change(file, x, &outcome);
}

/* One change. keeps: what was written is kept, so nobody else may touch it. */
static ssize_t write_piece(struct gofer_file *file, const void *buf, size_t size, uint64_t offset,
			   uint64_t *ret_end, bool keeps)
{
	struct page_outcome outcome = { .kind = PAGE_SIZE_UNKNOWN };
	struct page_change x;
	ssize_t n;
	int r;

	(void)usable(file, false); /* what is written to a file of unknown size is not kept */
	r = begin_change(file, &x, file->append ? UINT64_MAX : offset,
			 file->append ? UINT64_MAX : offset + size, false);
	if (r < 0)
		return r;
	n = request_write(file, buf, size, offset, ret_end);
	if (n > 0) {
		outcome.offset = file->append ? *ret_end - (uint64_t)n : offset;
		outcome.data = keeps ? buf : NULL;
		outcome.len = (size_t)n;
	}
	/* Of several requests, later ones may have done what an earlier one did not. */
	if (n == (ssize_t)size) {
		outcome.kind = PAGE_SIZE_AT_LEAST;
		outcome.size = outcome.offset + size;
	}
	end_change(file, &x, &outcome);
	return n;
}

/*
 * The server has it before this returns. What is kept is what was sent: a copy, since others may change the caller's memory
 * meanwhile. Without memory for that nothing is kept.
 */
static ssize_t write_through(struct gofer_file *file, const uint8_t *buf, size_t size,
			     uint64_t offset, uint64_t *ret_end)
{
	_cleanup_free_ uint8_t *own = file->direct ? NULL : malloc(MIN(size, (size_t)COPIED));
	size_t done = 0, piece;
	ssize_t n;

	if (!own)
		return write_piece(file, buf, size, offset, ret_end, false);
	do {
		piece = MIN(size - done, (size_t)COPIED);
		memcpy(own, buf + done, piece);
		n = write_piece(file, own, piece, offset + done, ret_end, true);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	} while ((size_t)n == piece && done < size);
	return (ssize_t)done;
}

/* Makes room for more dirty pages: this file's own go first. */
static int make_room(struct gofer_file *file, size_t more)
{
	struct gofer_session *s = file->mount->session;
	int r = content_settle(file);

	/* Those of others may fail: then this write does not wait. */
	if (r == 0 && pages_over_limit(s->pages, file->pages, more))
		(void)writeback_all(s);
	return r;
}

/* Whether it may be written into the cache. What the server says of the size is no news while something is on its way, or if the connection became another. */
static bool writable(struct gofer_file *file)
{
	struct pages *p = pages_of(file);

	for (unsigned tries = 0; tries < STAT_TRIES; tries++) {
		if (usable(file, true))
			return true;
		if (pages_usable(p, file->pages) != PAGES_ASK || content_settle(file) < 0)
			break;
	}
	return false;
}

/* Writes into the cache. Returns how much of it; the rest cannot wait there. */
static ssize_t write_behind(struct gofer_file *file, const uint8_t *buf, size_t size,
			    uint64_t offset)
{
	struct pages *p = pages_of(file);
	size_t done = 0, n, piece;
	unsigned tries = 0;
	int r;

	if (writeback_start(file->mount->session) < 0 || !writable(file))
		return 0;
	do {
		piece = MIN(size - done, (size_t)WRITE_PIECE);
		if (pages_over_limit(p, file->pages, piece)) {
			r = make_room(file, piece);
			if (r < 0)
				return done ? (ssize_t)done : r;
			if (pages_over_limit(p, file->pages, piece))
				break;
		}
		n = pages_write(p, file->pages, buf + done, piece, offset + done);
		done += n;
		/* What made room may have had to make the connection again. */
		if (n < piece && (++tries == STAT_TRIES || !writable(file)))
			break;
	} while (done < size);
	return (ssize_t)done;
}

ssize_t content_write(struct gofer_file *file, const void *buf, size_t size, uint64_t offset,
		      uint64_t *ret_end)
{
	ssize_t done = 0, n;
	int r = check_span(file, offset, &size);

	if (r < 0)
		return r;
	if (!size)
		return request_write(file, buf, size, offset, ret_end);
	if (waits(file))
		done = write_behind(file, buf, size, offset);
	if (done > 0)
		*ret_end = offset + (uint64_t)done;
	if (done < 0 || (size_t)done == size)
		return done;
	n = write_through(file, (const uint8_t *)buf + done, size - (size_t)done,
			  offset + (uint64_t)done, ret_end);
	return n < 0 ? (done ? done : n) : done + n;
}

int content_close(struct gofer_file *file)
{
	struct gofer_session *s = file->mount->session;
	int r = 0, e;

	if (!file->pages || !file->shared || session_check(s) < 0 || !may_wait(file) ||
	    file->access == O_RDONLY)
		return 0;
	if (pages_writers(s->pages, file->pages) <= 1)
		r = content_settle(file);
	e = content_error(file);
	return r < 0 ? r : e;
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
		/* What the server has not got stays. */
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
