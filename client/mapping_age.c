/*
 * mapping_age.c - what was stored to mappings and the server has not got: it leaves by age, and is listed.
 *
 * Nobody says when memory is stored to, so it is looked for: every so often the thread that sends dirty pages (writeback.c) asks the kernel
 * which pages were written, and copies those into the page cache, where they are dirty as if they had been written by handle. That waits for
 * nothing: a store that somebody uses just now, a file whose size is not known, or too much that is dirty already, waits for the
 * next time. Where the kernel does not say what was written, all that can be stored to would go each time; there nothing goes by age.
 */
#include "client/mapping.h"
#include "client/writeback.h"

#include <string.h>

enum { PIECE = 128 << 10 };

void mapping_ages(const struct mapping *map)
{
	const struct mount *mount = map->file->mount;

	if (map->writes && map->tracked && mount->write_back && map->file->pages &&
	    writeback_start(mount->session) == 0)
		pages_look_begin(mount->session->pages);
}

/* With `io` to write, and what was stored is dirty: into the page cache. */
static int hand_over(struct store *s, struct gofer_file *file)
{
	_cleanup_free_ uint8_t *buf = malloc(PIECE);
	struct pages *p = file->mount->session->pages;
	struct interval in = { 0, 0 };

	if (!buf)
		return -ENOMEM;
	while (interval_next(&s->dirty, in.end, &in)) {
		size_t n, done;

		in.end = MIN(in.end, in.begin + PIECE);
		n = (size_t)(in.end - in.begin);
		/* Two ranges where there was one take memory: before it is too late to fail. */
		if (pages_over_limit(p, file->pages, n) || interval_reserve(&s->dirty) < 0 ||
		    pread(s->fd, buf, n, (off_t)in.begin) != (ssize_t)n)
			return -EAGAIN;
		done = pages_write(p, file->pages, buf, n, in.begin);
		interval_remove(&s->dirty, in.begin, in.begin + done);
		if (done < n)
			return -EAGAIN;
	}
	return 0;
}

/* With the lock, and `io` to write. */
static void age(struct store *s)
{
	struct gofer_file *file = store_writer(s);

	if (!file || !file->pages || !file->mount->write_back ||
	    !(s->mapper->features & MAPPING_TRACK))
		return;
	if (store_collect(s, 0, s->size) == 0)
		(void)hand_over(s, file);
}

void mapper_age(struct mapper *m)
{
	if (pthread_rwlock_tryrdlock(&m->lock) != 0)
		return;
	for (struct store *s = m->stores; s; s = s->next) {
		if (s->shared || pthread_rwlock_trywrlock(&s->io) != 0)
			continue;
		pthread_mutex_lock(&s->lock);
		age(s);
		pthread_mutex_unlock(&s->lock);
		pthread_rwlock_unlock(&s->io);
	}
	pthread_rwlock_unlock(&m->lock);
}

/* ---- at risk ---- */

static int add_risks(const struct store *s, const struct gofer_file *file, struct page_risk **risks,
		     size_t *n)
{
	struct interval in = { 0, 0 };

	while (interval_next(&s->dirty, in.end, &in)) {
		struct page_risk *more = reallocarray(*risks, *n + 1, sizeof(*more));
		char *path = strdup(file ? file->path : "");

		if (more)
			*risks = more;
		if (!more || !path) {
			free(path);
			return -ENOMEM;
		}
		more[(*n)++] = (struct page_risk){ .dev = s->dev,
						   .ino = s->ino,
						   .offset = in.begin,
						   .length = in.end - in.begin,
						   .error = s->error,
						   .path = path };
	}
	return 0;
}

int mapper_at_risk(struct mapper *m, struct page_risk **risks, size_t *n)
{
	int r = 0;

	if (!atomic_load(&m->n_mappings))
		return 0;
	pthread_rwlock_rdlock(&m->lock);
	for (struct store *s = m->stores; s && r == 0; s = s->next) {
		/* What is being sent is dirty until that is done. */
		pthread_rwlock_rdlock(&s->io);
		pthread_mutex_lock(&s->lock);
		r = store_collect(s, 0, s->size);
		if (r == 0)
			r = add_risks(s, store_writer(s), risks, n);
		pthread_mutex_unlock(&s->lock);
		pthread_rwlock_unlock(&s->io);
	}
	pthread_rwlock_unlock(&m->lock);
	return r;
}
