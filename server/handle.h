/*
 * handle.h - the open files of one session, by number.
 *
 * A number is {generation, index}: a closed and reused slot has another generation, so an old
 * number is EBADF and never somebody else's file. Looking one up takes a reference: a Close that
 * arrives while a Read of the same handle runs only drops the table's own, and the descriptor goes
 * with the last. Slots are charged before anything is opened.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "server/fs/fs.h"
#include "server/server.h"

struct session_identity;

struct handle {
	_Atomic uint32_t refs;
	const struct volume *volume;
	struct fs_node node;               /* its descriptor, and for pathwalk its path */
	uint32_t flags;                    /* OpenFlag of the protocol: READ, WRITE, APPEND, PATH */
	uint32_t type;                     /* S_IFMT bits */
	struct session_identity *identity; /* owned: who opened it, and writes through it; NULL =
					      the volume's default */
	pthread_mutex_t
		lock; /* whoever moves the descriptor's own offset: directories, appends, seeks */
};

struct handle_slot {
	struct handle *handle; /* NULL = free */
	uint32_t generation;
	uint32_t next_free;
};

struct handle_table {
	pthread_mutex_t lock;
	struct handle_slot *slots;
	uint32_t n_slots, max;
	uint32_t free_head; /* index, or UINT32_MAX */
	uint32_t used;      /* reserved ones included: never more than there are slots */
};

int handle_table_init(struct handle_table *table, uint32_t max);
/* Drops every handle. No other thread may use the table any more. */
void handle_table_deinit(struct handle_table *table);

/*
 * Charges one handle and gets all the memory that it will need, so that nothing can fail once the
 * file is open, or made: 0, -EMFILE or -ENOMEM. Followed by handle_insert() or handle_unreserve().
 */
int handle_reserve(struct handle_table *table, struct handle **ret_reserved);
/* NULL is fine. Returns NULL. */
struct handle *handle_unreserve(struct handle_table *table, struct handle *reserved);
/*
 * Takes the reservation, the node and the owner (NULL = the volume's default identity). The number is
 * never 0. Clients guess numbers: once this returns, anybody may use the handle.
 */
uint64_t handle_insert(struct handle_table *table, struct handle *reserved,
		       const struct volume *volume, struct session_identity *owner,
		       struct fs_node *node, uint32_t flags, uint32_t type);
/* NULL for a number that names nothing. */
struct handle *handle_ref(struct handle_table *table, uint64_t id);
/* NULL is fine. Returns NULL. */
struct handle *handle_unref(struct handle *handle);
/* 0 or -EBADF. */
int handle_remove(struct handle_table *table, uint64_t id);
uint32_t handle_count(struct handle_table *table);

static inline void cleanup_handle(struct handle **h)
{
	*h = handle_unref(*h);
}
#define _cleanup_handle_ _cleanup_(cleanup_handle)
