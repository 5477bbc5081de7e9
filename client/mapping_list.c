/*
 * mapping_list.c - which files are mapped, and where.
 */
#include "client/mapping.h"

#include <string.h>

struct mapping *mapping_meets(struct mapping *at, const struct range *x)
{
	while (at && ((uintptr_t)at->addr >= x->end || (uintptr_t)at->addr + at->len <= x->begin ||
		      at->born >= x->before))
		at = at->next;
	return at;
}

/* ---- sessions ---- */

int mapper_list(struct gofer_namespace *ns, struct mapper ***ret_mappers)
{
	struct mount_table *table = ns->table;
	struct mapper **list = NULL;
	size_t n = 0;
	int r = 0;

	pthread_rwlock_rdlock(&table->lock);
	for (size_t i = 0; r == 0 && i < table->n_mounts; i++) {
		struct gofer_session *s = table->mounts[i]->session;
		size_t k = 0;

		if (!s || !atomic_load(&s->mapper->n_mappings))
			continue;
		if (!list)
			list = calloc(table->n_mounts + 1, sizeof(*list));
		if (!list)
			r = -ENOMEM;
		while (k < n && list[k] != s->mapper)
			k++;
		if (list && k == n)
			list[n++] = s->mapper;
	}
	pthread_rwlock_unlock(&table->lock);
	*ret_mappers = list;
	return r;
}

/* ---- stores ---- */

struct store *store_ref(struct store *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void store_unref(struct store *s)
{
	unsigned refs = atomic_load(&s->refs);
	struct mapper *m = s->mapper;
	struct store **at;

	/* The last one only where nobody can find it meanwhile. */
	while (refs > 1)
		if (atomic_compare_exchange_weak(&s->refs, &refs, refs - 1))
			return;
	pthread_rwlock_wrlock(&m->lock);
	if (atomic_fetch_sub(&s->refs, 1) > 1) {
		s = NULL;
	} else {
		for (at = &m->stores; *at != s; at = &(*at)->next)
			;
		*at = s->next;
	}
	pthread_rwlock_unlock(&m->lock);
	store_free(s);
}

/* With mapper->lock. */
static struct store *find(struct mapper *m, uint64_t dev, uint64_t ino)
{
	struct store *s = m->stores;

	while (s && (s->dev != dev || s->ino != ino))
		s = s->next;
	return s;
}

struct store *mapper_find(struct mapper *m, uint64_t dev, uint64_t ino)
{
	struct store *s;

	if (!atomic_load(&m->n_mappings))
		return NULL;
	pthread_rwlock_rdlock(&m->lock);
	s = find(m, dev, ino);
	if (s)
		store_ref(s);
	pthread_rwlock_unlock(&m->lock);
	return s;
}

struct store *mapper_find_range(struct mapper *m, const struct range *x)
{
	struct store *s;
	bool found;

	pthread_rwlock_rdlock(&m->lock);
	for (s = m->stores; s; s = s->next) {
		pthread_mutex_lock(&s->lock);
		found = mapping_meets(s->mappings, x);
		pthread_mutex_unlock(&s->lock);
		if (found)
			break;
	}
	if (s)
		store_ref(s);
	pthread_rwlock_unlock(&m->lock);
	return s;
}

int mapper_store(struct mapper *m, struct gofer_file *file, struct store **ret_store)
{
	struct store *s;
	bool fresh = false;
	int r = 0;

	/* Who changes the file's contents has this lock, so none of these goes unseen. */
	pthread_rwlock_wrlock(&m->lock);
	s = find(m, file->dev, file->ino);
	if (s) {
		store_ref(s);
	} else {
		r = faults_start(m);
		if (r == 0)
			r = store_new(m, file, &s);
		if (r == 0) {
			fresh = true;
			pthread_rwlock_wrlock(&s->io);
			s->next = m->stores;
			m->stores = s;
		}
	}
	pthread_rwlock_unlock(&m->lock);
	if (r < 0)
		return r;
	if (!fresh)
		pthread_rwlock_wrlock(&s->io);
	*ret_store = s;
	return 0;
}

/* ---- mappings ---- */

int mapping_new(struct gofer_file *file, struct store *store, struct mapping **ret_mapping)
{
	struct mount_table *table = file->ns->table;
	struct mapping *map = calloc(1, sizeof(*map));
	bool mounted = false;

	if (!map)
		return -ENOMEM;
	pthread_rwlock_rdlock(&table->lock);
	for (size_t i = 0; i < table->n_mounts && !mounted; i++)
		mounted = table->mounts[i] == file->mount;
	if (mounted)
		atomic_fetch_add(&file->mount->mappings, 1);
	pthread_rwlock_unlock(&table->lock);
	if (!mounted) {
		free(map);
		return -ESTALE;
	}
	atomic_fetch_add(&file->mount->session->mapper->n_mappings, 1);
	map->file = file_ref(file);
	map->store = store ? store_ref(store) : NULL;
	*ret_mapping = map;
	return 0;
}

void mapping_free(struct mapping *map)
{
	if (!map)
		return;
	atomic_fetch_sub(&map->file->mount->mappings, 1);
	atomic_fetch_sub(&map->file->mount->session->mapper->n_mappings, 1);
	interval_deinit(&map->failed);
	if (map->store)
		store_unref(map->store);
	file_unref(map->file);
	free(map);
}
