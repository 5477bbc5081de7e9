/*
 * mapping_sync.c - gofer_msync(). See mapping.h.
 */
#include "client/mapping.h"

#include <string.h>
#include <sys/mman.h>

static int sync_file(struct store *s)
{
	for (struct mapping *map = s->mappings; map; map = map->next)
		if (map->writes)
			return mapping_below_sync(map->file, false);
	return 0;
}

/* Pages that could not be had are tried again. */
static int retry(struct mapping *map, uint64_t begin, uint64_t end)
{
	struct store *s = map->store;
	struct interval in;
	int r = 0;

	while (r == 0 && interval_next(&map->failed, begin, &in) && in.begin < end) {
		uint8_t *p;
		size_t len;

		begin = MAX(in.begin, map->offset);
		in.end = MIN(MIN(in.end, end), map->offset + map->len);
		if (begin >= in.end)
			break;
		p = map->addr + (begin - map->offset);
		len = (size_t)(in.end - begin);
		r = store_fill(s, map->file, begin, in.end, true);
		if (r < 0)
			break;
		pthread_mutex_lock(&s->lock);
		r = interval_reserve(&map->failed);
		if (r == 0 &&
		    mmap(p, len, PROT_NONE,
			 (map->flags & (MAP_SHARED | MAP_PRIVATE)) | MAP_FIXED | MAP_NORESERVE,
			 s->fd, (off_t)begin) == MAP_FAILED)
			r = -errno;
		if (r == 0)
			r = mapping_arm(map, p, len);
		if (r == 0) {
			mapping_protect(map, begin, in.end);
			r = mprotect(p, len, map->prot) < 0 ? -errno : 0;
			interval_remove(&map->failed, begin, in.end);
		}
		pthread_mutex_unlock(&s->lock);
		begin = in.end;
	}
	return r;
}

static int invalidate(struct store *s, const struct range *x)
{
	int r = 0;

	if (s->shared && s->mappings)
		r = store_look_again(s, s->mappings->file, 0, UINT64_MAX, true);
	for (struct mapping *map = mapping_meets(s->mappings, x); map && r == 0;
	     map = mapping_meets(map->next, x))
		r = retry(map, map->offset, map->offset + map->len);
	return r;
}

static int sync_store(struct store *s, const struct range *x, int flags)
{
	int r;

	pthread_rwlock_wrlock(&s->io);
	r = store_flush_range(s, x);
	if (r == 0 && (flags & MS_SYNC))
		r = sync_file(s);
	if (r == 0 && (flags & MS_INVALIDATE))
		r = invalidate(s, x);
	pthread_rwlock_unlock(&s->io);
	return r;
}

static int sync_natives(struct mapper *m, const struct range *x, int flags, bool *ret_any)
{
	int r = 0;

	pthread_rwlock_rdlock(&m->lock);
	for (struct mapping *map = mapping_meets(m->natives, x); map && r == 0;
	     map = mapping_meets(map->next, x)) {
		uint8_t *from;
		size_t cut = range_cut(x, map, &from);

		*ret_any = true;
		r = msync(from, cut, flags) < 0 ? -errno : 0;
	}
	pthread_rwlock_unlock(&m->lock);
	return r;
}

static int sync_range(struct mapper *m, const struct range *x, int flags, bool *ret_any)
{
	struct store **stores;
	size_t n = 0;
	int r = 0;

	pthread_rwlock_rdlock(&m->lock);
	for (struct store *s = m->stores; s; s = s->next)
		n++;
	stores = calloc(n + 1, sizeof(*stores));
	n = 0;
	for (struct store *s = m->stores; stores && s; s = s->next) {
		pthread_mutex_lock(&s->lock);
		if (mapping_meets(s->mappings, x))
			stores[n++] = store_ref(s);
		pthread_mutex_unlock(&s->lock);
	}
	pthread_rwlock_unlock(&m->lock);
	if (!stores)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = sync_store(stores[i], x, flags);
		store_unref(stores[i]);
	}
	free(stores);
	*ret_any |= n > 0;
	return r < 0 ? r : sync_natives(m, x, flags, ret_any);
}

int gofer_msync(struct gofer_namespace *ns, void *addr, size_t length, int flags)
{
	const struct mapping_act act = { sync_range, flags };
	int r = -EINVAL;

	if (!(flags & ~(MS_SYNC | MS_ASYNC | MS_INVALIDATE)) &&
	    (flags & (MS_SYNC | MS_ASYNC)) != (MS_SYNC | MS_ASYNC))
		r = mapping_each(ns, addr, length, &act);
	if (r == 1)
		r = -ENOMEM;
	return r < 0 ? fail_words(r, "msync %p: %s", addr, strerrordesc_np(-r)) : 0;
}
