/*
 * objects.c - see objects.h. uthash keeps insertion order, so "used" is "taken out and put in again", and the oldest is the
 * first.
 */
#include "client/run/objects.h"

#include <stdlib.h>

#include <uthash.h>

#include "common/util.h"

struct object {
	struct object_id id;
	struct gofer_place *place;
	UT_hash_handle hh;
};

struct inode {
	struct inode_id id;
	UT_hash_handle hh;
};

static struct object *find(struct object *table, const struct object_id *id)
{
	struct object *found;

	HASH_FIND(hh, table, id, sizeof(*id), found);
	return found;
}

/* With the lock. Returns the place that has to be let go, outside the lock. */
static struct gofer_place *insert(struct object **table, unsigned max, const struct object_id *id,
				  struct gofer_place *place)
{
	struct object *e = find(*table, id);
	struct gofer_place *old;

	if (e) {
		HASH_DELETE(hh, *table, e);
	} else if (HASH_COUNT(*table) >= max) {
		e = *table;
		HASH_DELETE(hh, *table, e);
	} else {
		e = calloc(1, sizeof(*e));
		/* Not known, then: it is looked for again by its path. */
		if (!e)
			return place;
	}
	old = e->place;
	e->place = place;
	e->id = *id;
	HASH_ADD(hh, *table, id, sizeof(e->id), e);
	return old;
}

static void clear(struct object **table)
{
	struct object *e, *next;

	HASH_ITER (hh, *table, e, next) {
		HASH_DELETE(hh, *table, e);
		gofer_place_unref(e->place);
		free(e);
	}
}

void objects_init(struct objects *o, unsigned max)
{
	o->max = max;
	pthread_mutex_init(&o->lock, NULL);
	o->table = NULL;
}

void objects_deinit(struct objects *o)
{
	clear(&o->table);
	pthread_mutex_destroy(&o->lock);
}

struct gofer_place *objects_get(struct objects *o, const struct object_id *id)
{
	struct gofer_place *place = NULL;
	struct object *e;

	pthread_mutex_lock(&o->lock);
	e = find(o->table, id);
	if (e) {
		place = gofer_place_ref(e->place);
		if (e->hh.next) {
			HASH_DELETE(hh, o->table, e);
			HASH_ADD(hh, o->table, id, sizeof(e->id), e);
		}
	}
	pthread_mutex_unlock(&o->lock);
	return place;
}

void objects_put(struct objects *o, const struct object_id *id, struct gofer_place *place)
{
	struct gofer_place *old;

	pthread_mutex_lock(&o->lock);
	old = insert(&o->table, o->max, id, place);
	pthread_mutex_unlock(&o->lock);
	gofer_place_unref(old);
}

void id_set_init(struct id_set *s)
{
	pthread_mutex_init(&s->lock, NULL);
	s->table = NULL;
}

void id_set_deinit(struct id_set *s)
{
	struct inode *e, *next;

	HASH_ITER (hh, s->table, e, next) {
		HASH_DELETE(hh, s->table, e);
		free(e);
	}
	pthread_mutex_destroy(&s->lock);
}

void id_set_add(struct id_set *s, const struct inode_id *id)
{
	struct inode *e;

	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->table, id, sizeof(*id), e);
	if (!e) {
		if (HASH_COUNT(s->table) >= ID_SET_MAX) {
			e = s->table;
			HASH_DELETE(hh, s->table, e);
		} else {
			e = calloc(1, sizeof(*e));
		}
		if (e) {
			e->id = *id;
			HASH_ADD(hh, s->table, id, sizeof(e->id), e);
		}
	}
	pthread_mutex_unlock(&s->lock);
}

bool id_set_empty(struct id_set *s)
{
	bool empty;

	pthread_mutex_lock(&s->lock);
	empty = !s->table;
	pthread_mutex_unlock(&s->lock);
	return empty;
}

bool id_set_has(struct id_set *s, const struct inode_id *id)
{
	struct inode *e;

	pthread_mutex_lock(&s->lock);
	HASH_FIND(hh, s->table, id, sizeof(*id), e);
	pthread_mutex_unlock(&s->lock);
	return e != NULL;
}
