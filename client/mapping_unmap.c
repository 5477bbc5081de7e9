/*
 * mapping_unmap.c - gofer_munmap(), and what becomes of mappings when their session ends. See mapping.h.
 */
#include "client/mapping.h"

#include <string.h>
#include <sys/mman.h>

#include "common/packet.h"

/* Taking the range out of the middle of a mapping leaves two: the second. */
static int split(struct mapping *map, const struct range *x, struct mapping **ret_second)
{
	size_t skip;
	struct mapping *second;
	int r;

	if ((uintptr_t)map->addr >= x->begin || (uintptr_t)map->addr + map->len <= x->end)
		return 0;
	r = mapping_new(map->file, map->store, &second);
	if (r < 0)
		return r;
	skip = x->end - (uintptr_t)map->addr;
	second->addr = map->addr + skip;
	second->len = map->len - skip;
	second->offset = map->offset + skip;
	second->born = map->born;
	second->prot = map->prot;
	second->flags = map->flags;
	second->writes = map->writes;
	second->lazy = map->lazy;
	second->tracked = map->tracked;
	/* What failed is remembered in both; each looks at its own range only. */
	for (struct interval in = { 0, 0 }; r == 0 && interval_next(&map->failed, in.end, &in);) {
		r = interval_reserve(&second->failed);
		if (r == 0)
			interval_add(&second->failed, in.begin, in.end);
	}
	if (r < 0) {
		mapping_free(second);
		return r;
	}
	*ret_second = second;
	return 0;
}

/*
 * Takes the range from the first mapping of the list that has any of it. 1 where there was one; *ret_gone is to be freed
 * (without locks) if all of it went.
 */
static int take(struct mapping **list, const struct range *x, struct mapping **ret_gone)
{
	struct mapping *map = mapping_meets(*list, x), *second = NULL, **at = list;
	uint8_t *from, *to;
	size_t cut;
	int r;

	if (!map)
		return 0;
	r = split(map, x, &second);
	if (r < 0)
		return r;
	cut = range_cut(x, map, &from);
	to = from + cut;
	if (munmap(from, cut) < 0) {
		r = -errno;
		mapping_free(second); /* never the store's last reference */
		return r;
	}
	while (*at != map)
		at = &(*at)->next;
	if (second) {
		second->next = map->next;
		map->next = second;
	}
	if (from > map->addr) {
		map->len = (size_t)(from - map->addr);
	} else if (to < map->addr + map->len) {
		map->len -= (size_t)(to - map->addr);
		map->offset += (uint64_t)(to - map->addr);
		map->addr = to;
	} else {
		*at = map->next;
		*ret_gone = map;
	}
	return 1;
}

int store_flush_range(struct store *s, const struct range *x)
{
	int r = 0;

	/* With `io` to write, nobody else changes the list. */
	for (struct mapping *map = mapping_meets(s->mappings, x); map && r == 0;
	     map = mapping_meets(map->next, x)) {
		uint8_t *from;
		size_t cut = range_cut(x, map, &from);

		if (map->writes)
			r = store_flush(s, map->offset + (uint64_t)(from - map->addr),
					map->offset + (uint64_t)(from - map->addr) + cut);
	}
	return r;
}

/* Removes all of the range if what it holds could be sent, or never can be, or by force. Returns what became of sending. */
static int unmap_store(struct store *s, const struct range *x, bool force, bool *ret_removed)
{
	int r, n = 0;

	pthread_rwlock_wrlock(&s->io);
	r = store_flush_range(s, x);
	*ret_removed = r == 0 || force || gofer_session_status(s->mapper->session) < 0;
	do {
		struct mapping *gone = NULL;

		if (!*ret_removed)
			break;
		pthread_mutex_lock(&s->lock);
		n = take(&s->mappings, x, &gone);
		pthread_mutex_unlock(&s->lock);
		mapping_free(gone);
	} while (n > 0);
	pthread_rwlock_unlock(&s->io);
	if (n < 0)
		*ret_removed = false;
	return n < 0 ? n : r;
}

/* Returns the first failure. */
static int unmap(struct mapper *m, const struct range *x, int force, bool *ret_any)
{
	bool removed = true;
	struct store *s;
	int r = 0, n;

	while (removed && (s = mapper_find_range(m, x))) {
		n = unmap_store(s, x, force, &removed);
		r = r < 0 ? r : n;
		store_unref(s);
		*ret_any = true;
	}
	do {
		struct mapping *gone = NULL;

		pthread_rwlock_wrlock(&m->lock);
		n = take(&m->natives, x, &gone);
		pthread_rwlock_unlock(&m->lock);
		mapping_free(gone);
		*ret_any |= n > 0;
	} while (n > 0);
	return r < 0 ? r : n;
}

/* ---- by address ---- */

int mapping_each(struct gofer_namespace *ns, void *addr, size_t length,
		 const struct mapping_act *act)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	_cleanup_free_ struct mapper **list = NULL;
	struct range x = { .begin = (uintptr_t)addr, .before = now_ns() };
	bool any = false;
	int r;

	if ((x.begin & (page - 1)) || !length || length > UINTPTR_MAX - x.begin - page)
		return -EINVAL;
	x.end = x.begin + ((length + page - 1) & ~(page - 1));
	r = mapper_list(ns, &list);
	for (size_t i = 0; r == 0 && list && list[i]; i++) {
		r = session_check(list[i]->session);
		if (r == 0)
			r = act->act(list[i], &x, act->flags, &any);
	}
	return r < 0 || any ? r : 1;
}

int mapping_unmap(struct gofer_namespace *ns, void *addr, size_t length)
{
	const struct mapping_act act = { unmap, 0 };

	return mapping_each(ns, addr, length, &act);
}

int gofer_munmap(struct gofer_namespace *ns, void *addr, size_t length)
{
	int r = mapping_unmap(ns, addr, length);

	if (r == 1)
		r = -EINVAL;
	return r < 0 ? fail_words(r, "munmap %p: %s", addr, strerrordesc_np(-r)) : 0;
}

void mapper_free(struct mapper *m, bool forked)
{
	const struct range all = { 0, UINTPTR_MAX, UINT64_MAX };
	bool any = false;

	if (!m)
		return;
	if (!forked) {
		/* What cannot be sent now never will be. */
		(void)unmap(m, &all, true, &any);
		faults_stop(m);
	}
	pthread_rwlock_destroy(&m->lock);
	free(m);
}
