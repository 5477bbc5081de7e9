/*
 * objects.h - which place of libgofer a descriptor of the program's stands for.
 *
 * A descriptor is known by the mount, device and inode of what it has open: dup, fork and SCM_RIGHTS do not change those. The
 * place keeps a handle on the server, so the inode lives as long as its entry. The table is bounded: the entry that was
 * not used for longest goes, and is found again by its path if it is needed.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/gofer.h"

struct object_id {
	uint64_t mount, dev, ino;
};

enum {
	OBJECTS_MAX = 4096,
	UNNAMED_MAX =
		256, /* of O_TMPFILE: a place keeps the file's blocks after the program closed it */
};

struct object;
struct objects {
	pthread_mutex_t lock; /* everything below */
	unsigned max;
	struct object *table; /* uthash; its order is that of use */
};

void objects_init(struct objects *o, unsigned max);
void objects_deinit(struct objects *o);
/* A reference, NULL if it is not known. */
struct gofer_place *objects_get(struct objects *o, const struct object_id *id);
/* Takes the place; one that was known by the same id is dropped. */
void objects_put(struct objects *o, const struct object_id *id, struct gofer_place *place);

/* An inode for ever: its number is given out again, but not with the same birth. */
struct inode_id {
	uint64_t dev, ino;
	int64_t seconds;
	uint64_t nanoseconds;
};

/* A bounded set of inodes: the oldest goes. */
enum { ID_SET_MAX = 4096 };
struct inode;
struct id_set {
	pthread_mutex_t lock;
	struct inode *table;
};
void id_set_init(struct id_set *s);
void id_set_deinit(struct id_set *s);
void id_set_add(struct id_set *s, const struct inode_id *id);
bool id_set_empty(struct id_set *s);
bool id_set_has(struct id_set *s, const struct inode_id *id);
