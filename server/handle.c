/*
 * handle.c - a growing array of slots with a free list. The lock is held for a few instructions
 * only; descriptors are closed outside of it, because close(2) can block.
 */
#include "server/handle.h"
#include "server/session.h"

#include <string.h>

#define NO_SLOT UINT32_MAX

int handle_table_init(struct handle_table *table, uint32_t max)
{
	*table = (struct handle_table){ .max = max, .free_head = NO_SLOT };
	return -pthread_mutex_init(&table->lock, NULL);
}

void handle_table_deinit(struct handle_table *table)
{
	for (uint32_t i = 0; i < table->n_slots; i++)
		handle_unref(table->slots[i].handle);
	free(table->slots);
	pthread_mutex_destroy(&table->lock);
	*table = (struct handle_table){ .free_head = NO_SLOT };
}

/* With the lock held. */
static int table_grow(struct handle_table *table)
{
	uint32_t n = MIN(table->n_slots ? table->n_slots * 2 : 64, table->max);
	struct handle_slot *slots = reallocarray(table->slots, n, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = n; i-- > table->n_slots;) {
		slots[i] = (struct handle_slot){ .generation = 1, .next_free = table->free_head };
		table->free_head = i;
	}
	table->slots = slots;
	table->n_slots = n;
	return 0;
}

int handle_reserve(struct handle_table *table, struct handle **ret_reserved)
{
	struct handle *h = malloc(sizeof(*h));
	int r = -EMFILE;

	if (!h)
		return -ENOMEM;
	pthread_mutex_lock(&table->lock);
	if (table->used < table->max)
		r = table->used < table->n_slots ? 0 : table_grow(table);
	if (r == 0)
		table->used++;
	pthread_mutex_unlock(&table->lock);
	if (r < 0) {
		free(h);
		return r;
	}
	*ret_reserved = h;
	return 0;
}

struct handle *handle_unreserve(struct handle_table *table, struct handle *reserved)
{
	if (reserved) {
		pthread_mutex_lock(&table->lock);
		table->used--;
		pthread_mutex_unlock(&table->lock);
		free(reserved);
	}
	return NULL;
}

uint64_t handle_insert(struct handle_table *table, struct handle *reserved,
		       const struct volume *volume, struct session_identity *owner,
		       struct fs_node *node, uint32_t flags, uint32_t type)
{
	struct handle_slot *slot;
	uint32_t index;
	uint64_t id;

	*reserved = (struct handle){ .refs = 1,
				     .volume = volume,
				     .node = TAKE_NODE(*node),
				     .flags = flags,
				     .type = type,
				     .identity = owner };
	pthread_mutex_init(&reserved->lock, NULL);

	pthread_mutex_lock(&table->lock);
	index = table->free_head;
	slot = &table->slots[index];
	table->free_head = slot->next_free;
	slot->handle = reserved;
	id = (uint64_t)slot->generation << 32 | (index + 1);
	pthread_mutex_unlock(&table->lock);
	return id;
}

/* With the lock held: the slot that `id` names, or NULL. */
static struct handle_slot *table_slot(struct handle_table *table, uint64_t id)
{
	uint32_t index = (uint32_t)id - 1;
	struct handle_slot *slot;

	if (index >= table->n_slots)
		return NULL;
	slot = &table->slots[index];
	return slot->handle && slot->generation == id >> 32 ? slot : NULL;
}

struct handle *handle_ref(struct handle_table *table, uint64_t id)
{
	struct handle_slot *slot;
	struct handle *h = NULL;

	pthread_mutex_lock(&table->lock);
	slot = table_slot(table, id);
	if (slot) {
		h = slot->handle;
		atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&table->lock);
	return h;
}

struct handle *handle_unref(struct handle *h)
{
	if (h && atomic_fetch_sub_explicit(&h->refs, 1, memory_order_acq_rel) == 1) {
		fs_node_deinit(&h->node);
		session_identity_unref(h->identity);
		pthread_mutex_destroy(&h->lock);
		free(h);
	}
	return NULL;
}

int handle_remove(struct handle_table *table, uint64_t id)
{
	struct handle_slot *slot;
	struct handle *h = NULL;

	pthread_mutex_lock(&table->lock);
	slot = table_slot(table, id);
	if (slot) {
		h = TAKE_PTR(slot->handle);
		/* Generation 0 with index 0 would be the number 0, which means "none". */
		if (++slot->generation == 0)
			slot->generation = 1;
		slot->next_free = table->free_head;
		table->free_head = slot - table->slots;
		table->used--;
	}
	pthread_mutex_unlock(&table->lock);
	if (!h)
		return -EBADF;
	handle_unref(h);
	return 0;
}

uint32_t handle_count(struct handle_table *table)
{
	uint32_t n;

	pthread_mutex_lock(&table->lock);
	n = table->used;
	pthread_mutex_unlock(&table->lock);
	return n;
}
