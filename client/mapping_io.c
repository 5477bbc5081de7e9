/*
 * mapping_io.c - what is done by handle, or by path, to files that are mapped. See mapping.h.
 */
#include "client/mapping.h"

#include <string.h>

static struct mapper *mapper_of(const struct gofer_file *file)
{
	return file->mount->session->mapper;
}

bool mapping_known(const struct gofer_file *file)
{
	struct store *s = mapper_find(mapper_of(file), file->dev, file->ino);

	if (s)
		store_unref(s);
	return s;
}

/* ---- reading ---- */

/* With `io`. What is present comes from there, at most one range of it. -EAGAIN where it is not; then *size is how much. */
static ssize_t read_present(struct store *s, void *buf, size_t *size, uint64_t offset)
{
	struct interval in;
	ssize_t n = 0;

	pthread_mutex_lock(&s->lock);
	if (offset < s->size) {
		*size = MIN(MIN(*size, s->size - offset), (uint64_t)MAPPING_CHUNK);
		if (!store_present(s, offset, offset + *size, &in)) {
			n = -EAGAIN;
		} else if (in.begin > offset) {
			*size = in.begin - offset;
			n = -EAGAIN;
		} else {
			/* With the lock, so that it is not given up meanwhile. */
			n = pread(s->fd, buf, in.end - offset, (off_t)offset);
			n = n < 0 ? -errno : n;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

static ssize_t read_store(struct store *s, struct gofer_file *file, uint8_t *buf, size_t size,
			  uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		size_t want = size - done;
		bool absent;
		ssize_t n = read_present(s, buf + done, &want, offset + done);

		absent = n == -EAGAIN;
		if (absent)
			n = mapping_below_read(file, buf + done, want, offset + done);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if (n == 0 || (absent && (size_t)n < want))
			break;
	}
	return (ssize_t)done;
}

ssize_t mapping_read(struct gofer_file *file, void *buf, size_t size, uint64_t offset)
{
	struct store *s = mapper_find(mapper_of(file), file->dev, file->ino);
	ssize_t n = 0;

	if (!s)
		return mapping_below_read(file, buf, size, offset);
	if (s->shared) {
		/* The server knows better, if it knows all. */
		pthread_rwlock_wrlock(&s->io);
		n = store_flush(s, 0, UINT64_MAX);
		pthread_rwlock_unlock(&s->io);
		if (n == 0)
			n = mapping_below_read(file, buf, size, offset);
	} else if (offset > INT64_MAX || size > INT64_MAX - offset) {
		n = -EINVAL;
	} else {
		pthread_rwlock_rdlock(&s->io);
		n = read_store(s, file, buf, size, offset);
		pthread_rwlock_unlock(&s->io);
	}
	store_unref(s);
	return n;
}

/* ---- changes by handle ---- */

void mapping_change_begin(struct mapping_change *c, struct gofer_file *file)
{
	struct mapper *m = mapper_of(file);
	struct store *s;

	*c = (struct mapping_change){ 0 };
	/* Who has a donated descriptor knows of no requests that others would have to wait for. */
	if (file->fd >= 0 && !atomic_load(&m->n_mappings))
		return;
	c->mapper = m;
	/* Held, so that nobody maps the file meanwhile without knowing of the change. */
	pthread_rwlock_rdlock(&m->lock);
	for (s = m->stores; s && (s->dev != file->dev || s->ino != file->ino);)
		s = s->next;
	if (s)
		pthread_rwlock_wrlock(&s->io);
	c->store = s;
}

void mapping_change_end(struct mapping_change *c)
{
	if (c->store)
		pthread_rwlock_unlock(&c->store->io);
	if (c->mapper)
		pthread_rwlock_unlock(&c->mapper->lock);
}

/* What the server cannot tell now stays as it was. keep: see store_look_again(). */
static void look_again(struct store *s, uint64_t begin, uint64_t end, bool keep)
{
	if (s->mappings)
		(void)store_look_again(s, s->mappings->file, begin, end, keep);
}

void mapping_wrote(struct mapping_change *c, ssize_t n, const void *buf, size_t size,
		   uint64_t offset, uint64_t end)
{
	struct store *s = c->store;
	bool known = offset != UINT64_MAX;
	uint64_t begin;

	if (!s)
		return;
	begin = MIN(offset, s->size);
	if (n > 0) {
		if (end > s->size)
			(void)store_resize(s, end);
		store_put(s, buf, end - (uint64_t)n, (uint64_t)n);
	}
	/* Of several requests, later ones may have done what an earlier one did not. No more than that: others store beside it. */
	if (n < 0 || (size_t)n < size)
		look_again(s, begin, known ? offset + size : UINT64_MAX, true);
}

void mapping_resized(struct mapping_change *c, int r, uint64_t size)
{
	if (c->store && r == 0)
		(void)store_resize(c->store, size);
	else if (c->store)
		look_again(c->store, MIN(size, c->store->size), UINT64_MAX, true);
}

void mapping_changed(struct mapping_change *c, int r, uint64_t begin, uint64_t end, uint64_t size)
{
	struct store *s = c->store;

	if (!s)
		return;
	if (r == 0 && size > s->size)
		(void)store_resize(s, size);
	look_again(s, begin, end, r < 0);
}

/* ---- changes by path ---- */

void mapping_freeze_begin(struct mapping_freeze *f, struct gofer_session *session)
{
	f->mapper = session->mapper;
	pthread_rwlock_rdlock(&f->mapper->lock);
	/* In the list's order, all who do that. */
	for (struct store *s = f->mapper->stores; s; s = s->next)
		pthread_rwlock_wrlock(&s->io);
}

void mapping_freeze_end(struct mapping_freeze *f, bool nothing, const Gofer__Attr *attr,
			bool replaced)
{
	for (struct store *s = f->mapper->stores; s; s = s->next) {
		bool same = attr && s->dev == attr->dev && s->ino == attr->ino;

		if (same && replaced)
			(void)store_resize(s, 0);
		if (same)
			(void)store_resize(s, attr->size);
		if (!nothing && (!attr || (same && replaced)))
			look_again(s, 0, UINT64_MAX, !attr);
		pthread_rwlock_unlock(&s->io);
	}
	pthread_rwlock_unlock(&f->mapper->lock);
}

/* ---- before others look at the file ---- */

int mapping_flush(struct gofer_file *file)
{
	struct store *s = mapper_find(mapper_of(file), file->dev, file->ino);
	int r;

	if (!s)
		return 0;
	pthread_rwlock_wrlock(&s->io);
	r = store_flush(s, 0, UINT64_MAX);
	pthread_rwlock_unlock(&s->io);
	store_unref(s);
	return r;
}

int mapping_flush_all(struct mapper *m)
{
	int r = 0;

	if (!atomic_load(&m->n_mappings))
		return 0;
	pthread_rwlock_rdlock(&m->lock);
	for (struct store *s = m->stores; s && r == 0; s = s->next) {
		pthread_rwlock_wrlock(&s->io);
		r = store_flush(s, 0, UINT64_MAX);
		pthread_rwlock_unlock(&s->io);
	}
	pthread_rwlock_unlock(&m->lock);
	return r;
}

int mapping_flush_namespace(struct gofer_namespace *ns)
{
	_cleanup_free_ struct mapper **list = NULL;
	int r = mapper_list(ns, &list);

	for (size_t i = 0; r == 0 && list && list[i]; i++)
		r = mapping_flush_all(list[i]);
	return r;
}
