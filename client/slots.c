/*
 * slots.c - the table of requests in flight. A tag is a generation and a slot's number: what is
 * found by it is what was asked, or nothing. Called with the session's lock.
 */
#include "client/cache/cache.h"
#include "client/cache/pages.h"
#include "client/session.h"

enum { SLOT_NONE = UINT32_MAX, SLOT_INDEX = (1 << SLOT_BITS) - 1, SLOTS_RESERVED = 4 };

int slots_init(struct gofer_session *s, uint32_t n)
{
	n = MIN(n, (uint32_t)SESSION_MAX_SLOTS);
	s->slots = calloc(n, sizeof(*s->slots));
	if (!s->slots)
		return -ENOMEM;
	s->n_slots = n;
	for (uint32_t i = 0; i < n; i++) {
		s->slots[i].tag = i;
		s->slots[i].next_free = i + 1 < n ? i + 1 : (uint32_t)SLOT_NONE;
	}
	s->first_free = 0;
	return 0;
}

struct slot *slot_take(struct gofer_session *s, bool reserved)
{
	uint32_t keep = reserved || s->n_slots <= 4 * SLOTS_RESERVED ? 0 : SLOTS_RESERVED;
	struct slot *slot;

	if (s->in_flight + keep >= s->n_slots)
		return NULL;
	slot = &s->slots[s->first_free];
	s->first_free = slot->next_free;
	s->in_flight++;
	slot->tag += 1 << SLOT_BITS;
	return slot;
}

void slot_free(struct gofer_session *s, struct slot *slot)
{
	if (slot->blind && s->cache)
		cache_blind_end(s->cache);
	if (slot->blind_pages)
		pages_any_end_unknown(s->pages);
	if (slot->late)
		pages_late(s->pages, false);
	/* Another identity by the same number, from some time since it was sent. */
	if (slot->rpc && slot->rpc->type == RPC_TYPE_SetIdentity && s->watched)
		cache_drop(s->watched);
	slot->blind = slot->blind_pages = slot->late = false;
	free(slot->copy);
	slot->copy = NULL;
	slot->repeat = slot->left = slot->lost = slot->again = false;
	slot->doom = 0;
	slot->batch = 0;
	slot->state = SLOT_FREE;
	slot->waiter = NULL;
	slot->callback = NULL;
	slot->sink = NULL;
	slot->next_free = s->first_free;
	s->first_free = (uint32_t)(slot - s->slots);
	s->in_flight--;
	if (s->slot_waiters)
		wake_slots(s);
}

void slot_blind(struct gofer_session *s, struct slot *slot)
{
	const uint32_t changing = GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_TRUNCATE |
				  GOFER__OPEN_FLAG__OPEN_TMPFILE;

	const uint32_t native = GOFER__OPEN_FLAG__OPEN_DONATE | GOFER__OPEN_FLAG__OPEN_WRITE;

	if (!s->cache || slot->blind)
		return;
	if (!(slot->rpc->flags & RPC_WRITES) && slot->rpc->type != RPC_TYPE_SetIdentity &&
	    !(slot->rpc->type == RPC_TYPE_Open &&
	      ((slot->expect.open & changing) || (slot->expect.open & native) == native)))
		return;
	if ((slot->expect.open & native) == native) {
		cache_native_forever(s->cache);
		if (s->pages)
			pages_native_forever(s->pages);
	}
	slot->blind = true;
	cache_blind_begin(s->cache);
	slot->blind_pages = s->pages;
	if (s->pages)
		(void)pages_any_begin(s->pages);
}

void slot_late(struct gofer_session *s, struct slot *slot)
{
	const uint32_t truncates = GOFER__OPEN_FLAG__OPEN_TRUNCATE;

	slot_blind(s, slot);
	if (!s->pages || slot->late ||
	    !((slot->rpc->flags & RPC_WRITES) || (slot->expect.open & truncates)))
		return;
	slot->late = true;
	pages_late(s->pages, true);
}

struct slot *slot_find(struct gofer_session *s, uint32_t tag)
{
	uint32_t index = tag & SLOT_INDEX;

	if (index >= s->n_slots || s->slots[index].tag != tag || s->slots[index].state == SLOT_FREE)
		return NULL;
	return &s->slots[index];
}
