/*
 * mapping_store.c - the memory of a file that is mapped: what of it is present, filling it, and
 * keeping it what the file holds. See mapping.h.
 */
#include "client/mapping.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int store_new(struct mapper *m, const struct gofer_file *file, struct store **ret_store)
{
	struct store *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->fd = memfd_create("gofer-mapping", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
	if (s->fd < 0 && errno == EINVAL)
		s->fd = memfd_create("gofer-mapping", MFD_CLOEXEC);
	if (s->fd < 0) {
		r = -errno;
		free(s);
		return r;
	}
	s->mapper = m;
	atomic_init(&s->refs, 1);
	s->dev = file->dev;
	s->ino = file->ino;
	pthread_rwlock_init(&s->io, NULL);
	pthread_mutex_init(&s->lock, NULL);
	*ret_store = s;
	return 0;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	atomic_fetch_sub(&s->mapper->filled, s->present.bytes);
	if (s->window)
		munmap(s->window, MAPPING_WINDOW);
	fd_close(s->fd);
	interval_deinit(&s->present);
	interval_deinit(&s->whole);
	interval_deinit(&s->dirty);
	pthread_rwlock_destroy(&s->io);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- what is present ---- */

bool store_present(const struct store *s, uint64_t begin, uint64_t end, struct interval *ret)
{
	struct interval a = { UINT64_MAX, UINT64_MAX }, b = a;

	(void)interval_next(&s->present, begin, &a);
	(void)interval_next(&s->whole, begin, &b);
	a.begin = MAX(a.begin, begin);
	b.begin = MAX(b.begin, begin);
	if (b.begin < a.begin || (b.begin == a.begin && b.end > a.end))
		a = b;
	if (begin >= end || a.begin >= end)
		return false;
	*ret = (struct interval){ a.begin, MIN(a.end, end) };
	return true;
}

bool store_absent(const struct store *s, uint64_t begin, uint64_t end, struct interval *ret)
{
	struct interval in;

	while (store_present(s, begin, end, &in) && in.begin == begin)
		begin = in.end;
	if (begin >= end)
		return false;
	*ret = (struct interval){ begin, end };
	if (store_present(s, begin, end, &in))
		ret->end = in.begin;
	return true;
}

/* ---- filling ---- */

static int write_all(int fd, const uint8_t *data, uint64_t len, uint64_t offset)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)offset);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (uint64_t)n;
			offset += (uint64_t)n;
		}
	}
	return 0;
}

/* As much as the file has. */
static ssize_t read_all(struct gofer_file *file, uint8_t *buf, uint64_t len, uint64_t offset)
{
	uint64_t done = 0;

	while (done < len) {
		ssize_t n = mapping_below_read(file, buf + done, len - done, offset + done);

		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	return (ssize_t)done;
}

/* With the lock: of [begin, end), what is absent still. data: of all of it. */
static int install(struct store *s, uint64_t begin, uint64_t end, const uint8_t *data)
{
	struct interval hole;
	int r;

	for (uint64_t at = begin; store_absent(s, at, end, &hole); at = hole.end) {
		const uint8_t *from = data + (hole.begin - begin);

		r = interval_reserve(&s->present);
		if (r < 0)
			return r;
		if (s->mapper->features & MAPPING_FAULTS) {
			for (struct mapping *map = s->mappings; map; map = map->next)
				mapping_protect(map, hole.begin, hole.end);
			r = store_copy(s, hole.begin, hole.end, from);
		} else {
			r = write_all(s->fd, from, MIN(hole.end, s->size) - hole.begin, hole.begin);
		}
		if (r < 0) {
			(void)fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					(off_t)hole.begin, (off_t)(hole.end - hole.begin));
			return r;
		}
		interval_add(&s->present, hole.begin, hole.end);
		atomic_fetch_add(&s->mapper->filled, hole.end - hole.begin);
	}
	return 0;
}

int store_fill(struct store *s, struct gofer_file *file, uint64_t begin, uint64_t end, bool alone)
{
	_cleanup_free_ uint8_t *buf = NULL;
	struct interval hole;

	for (;;) {
		uint64_t want, size;
		bool found;
		ssize_t n;
		int r;

		pthread_mutex_lock(&s->lock);
		size = s->size;
		end = MIN(end, store_page_up(s, size));
		found = store_absent(s, begin, end, &hole);
		pthread_mutex_unlock(&s->lock);
		if (!found)
			return 0;
		hole.end = MIN(hole.end, hole.begin + MAPPING_CHUNK);
		want = MIN(hole.end, size) - hole.begin;
		if (!buf)
			buf = malloc(MAPPING_CHUNK);
		if (!buf)
			return -ENOMEM;
		n = read_all(file, buf, want, hole.begin);
		if (n < 0)
			return (int)n;
		if ((uint64_t)n < want) {
			if (!alone)
				return 1;
			r = store_resize(s, hole.begin + (uint64_t)n);
			if (r < 0)
				return r;
		}
		memset(buf + n, 0, hole.end - hole.begin - (uint64_t)n);
		pthread_mutex_lock(&s->lock);
		r = install(s, hole.begin, MIN(hole.end, store_page_up(s, s->size)), buf);
		pthread_mutex_unlock(&s->lock);
		if (r < 0)
			return r;
		begin = hole.end;
	}
}

/* ---- changes ---- */

/* With the lock: into the memfd, where it is present. */
static void put(struct store *s, const uint8_t *data, uint64_t offset, uint64_t len)
{
	static const uint8_t zeros[4096];
	uint64_t end = offset + len;
	struct interval in;

	for (uint64_t at = offset; store_present(s, at, end, &in); at = in.end)
		for (uint64_t to = in.begin; to < in.end;) {
			uint64_t n = data ? in.end - to : MIN(in.end - to, sizeof(zeros));

			/* The pages exist; there is nothing that could fail. */
			(void)write_all(s->fd, data ? data + (to - offset) : zeros, n, to);
			to += n;
		}
}

int store_resize(struct store *s, uint64_t size)
{
	uint64_t was, tail;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	was = s->size;
	s->changes++;
	/* What was stored behind the end, in its page, is no part of the file. */
	tail = MIN(store_page_up(s, was), size);
	if (size > was)
		put(s, NULL, was, tail - was);
	if (ftruncate(s->fd, (off_t)size) < 0) {
		r = -errno;
	} else {
		s->size = size;
		if (size < was) {
			uint64_t bytes = s->present.bytes;

			interval_remove(&s->present, store_page_up(s, size), UINT64_MAX);
			interval_remove(&s->dirty, size, UINT64_MAX);
			atomic_fetch_sub(&s->mapper->filled, bytes - s->present.bytes);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

void store_put(struct store *s, const void *data, uint64_t offset, uint64_t len)
{
	pthread_mutex_lock(&s->lock);
	s->changes++;
	if (offset < s->size)
		put(s, data, offset, MIN(len, s->size - offset));
	pthread_mutex_unlock(&s->lock);
}

/* ---- giving up ---- */

/* With the lock: the first part of [begin, end) that must stay. */
static bool pinned(const struct store *s, uint64_t begin, uint64_t end, struct interval *ret)
{
	struct interval first = { UINT64_MAX, UINT64_MAX }, in;

	for (const struct mapping *map = s->mappings; map; map = map->next)
		if (map->writes && map->offset < end && map->offset + map->len > begin &&
		    map->offset < first.begin)
			first = (struct interval){ map->offset, map->offset + map->len };
	if (interval_next(&s->whole, begin, &in) && in.begin < first.begin)
		first = in;
	if (interval_next(&s->dirty, begin, &in) && in.begin < first.begin)
		first = (struct interval){ in.begin & ~(s->mapper->page - 1),
					   store_page_up(s, in.end) };
	if (first.begin >= end)
		return false;
	*ret = (struct interval){ MAX(first.begin, begin), MIN(first.end, end) };
	return true;
}

/* With the lock: of the pages [begin, end), what need not stay. Returns how many bytes. */
static uint64_t drop(struct store *s, uint64_t begin, uint64_t end)
{
	struct interval in, pin;
	uint64_t bytes = 0;

	while (begin < end && interval_next(&s->present, begin, &in) && in.begin < end) {
		in = (struct interval){ MAX(in.begin, begin), MIN(in.end, end) };
		begin = in.end;
		if (pinned(s, in.begin, in.end, &pin)) {
			begin = pin.begin > in.begin ? pin.begin : pin.end;
			in.end = pin.begin;
		}
		if (in.begin >= in.end)
			continue;
		if (interval_reserve(&s->present) < 0)
			break;
		interval_remove(&s->present, in.begin, in.end);
		(void)fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)in.begin,
				(off_t)(in.end - in.begin));
		bytes += in.end - in.begin;
	}
	atomic_fetch_sub(&s->mapper->filled, bytes);
	return bytes;
}

int store_refresh(struct store *s, struct gofer_file *file, uint64_t begin, uint64_t end)
{
	_cleanup_free_ uint8_t *buf = malloc(MAPPING_CHUNK);
	uint64_t page = s->mapper->page;

	if (!buf)
		return -ENOMEM;
	pthread_mutex_lock(&s->lock);
	s->changes++;
	drop(s, begin & ~(page - 1), end > UINT64_MAX - page ? UINT64_MAX : store_page_up(s, end));
	pthread_mutex_unlock(&s->lock);
	for (;;) {
		struct interval in;
		bool found;
		ssize_t n;

		pthread_mutex_lock(&s->lock);
		end = MIN(end, s->size);
		found = store_present(s, begin, end, &in);
		pthread_mutex_unlock(&s->lock);
		if (!found)
			return 0;
		in.end = MIN(in.end, in.begin + MAPPING_CHUNK);
		n = read_all(file, buf, in.end - in.begin, in.begin);
		if (n < 0)
			return (int)n;
		store_put(s, buf, in.begin, (uint64_t)n);
		if ((uint64_t)n < in.end - in.begin)
			return store_resize(s, in.begin + (uint64_t)n);
		begin = in.end;
	}
}

int store_look_again(struct store *s, struct gofer_file *file, uint64_t begin, uint64_t end,
		     bool keep)
{
	Gofer__Attr attr;
	struct stat st;
	int r = 0;

	if (file->fd < 0)
		r = content_stat(file, &attr);
	else if (fstat(file->fd, &st) < 0)
		r = -errno;
	if (r < 0)
		return r;
	/* What nobody has mapped any more need not stay. */
	if (!s->mappings)
		interval_deinit(&s->whole);
	r = store_resize(s, file->fd < 0 ? attr.size : (uint64_t)st.st_size);
	if (r == 0 && keep)
		r = store_flush(s, 0, UINT64_MAX);
	return r < 0 ? r : store_refresh(s, file, begin, end);
}

/* With the lock. */
static void trim(struct store *s)
{
	enum { STEP = 256 << 10 };
	bool turned = false;

	while (atomic_load(&s->mapper->filled) > s->mapper->budget) {
		struct interval in;

		if (!interval_next(&s->present, s->hand, &in)) {
			if (turned)
				return;
			turned = true;
			s->hand = 0;
			continue;
		}
		s->hand = MAX(s->hand, in.begin);
		drop(s, s->hand, MIN(in.end, s->hand + STEP));
		s->hand = MIN(in.end, s->hand + STEP);
	}
}

void store_trim(struct mapper *m)
{
	if (atomic_load(&m->filled) <= m->budget)
		return;
	pthread_rwlock_rdlock(&m->lock);
	for (struct store *s = m->stores; s; s = s->next) {
		pthread_mutex_lock(&s->lock);
		trim(s);
		pthread_mutex_unlock(&s->lock);
	}
	pthread_rwlock_unlock(&m->lock);
}
