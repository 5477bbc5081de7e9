/*
 * frames.c - the frames of the page cache and their replacement.
 *
 * The policy is S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: FIFO queues are all you need for cache
 * eviction, SOSP 2023). New pages enter a small queue, a tenth of the room. What was used at least twice
 * by the time it leaves that goes on to the main queue; the rest is given up, and remembered for as long as the
 * main queue would have kept it: who comes back in that time enters the main queue at once. There, each use up to
 * three gives one more turn. A scan passes through the small queue only. Nothing moves when a page is
 * used, so a hit costs one byte written.
 *
 * What its user will not give up now gets another turn.
 */
#include "client/cache/frames.h"

#include <fcntl.h>
#include <sys/mman.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

enum { NONE = UINT32_MAX, MAX_USES = 3, SMALL_SHARE = 10, GHOST_WAYS = 4 };

enum queue_name { SMALL, MAIN, N_QUEUES };

struct queue {
	uint32_t newest, oldest, n;
};

/* A page that was given up. */
struct ghost {
	uint32_t print; /* of (owner, page); 0: none */
	uint32_t when;  /* on the clock of what was given up */
};

struct frames {
	enum frames_policy policy;
	struct frames_user user;
	uint8_t *memory;
	struct page_frame *frames;
	uint32_t *chains;
	struct ghost *ghosts;
	uint32_t n, used, mask, free, fresh; /* those from `fresh` on were never used */
	uint32_t clock;
	struct queue queues[N_QUEUES];
};

static uint64_t hash(const void *owner, uint64_t page)
{
	uint64_t h = ((uintptr_t)owner >> 4) * UINT64_C(0x9e3779b97f4a7c15) + page;

	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}

/* A mapping of memory that nobody else can cut short. */
static int map(size_t size, uint8_t **ret_memory)
{
	_cleanup_fd_ int fd =
		memfd_create("gofer-pages", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	void *memory;

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("gofer-pages", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return -errno;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	*ret_memory = memory;
	return 0;
}

int frames_new(uint64_t bytes, enum frames_policy policy, const struct frames_user *user,
	       struct frames **ret_frames)
{
	struct frames *s = calloc(1, sizeof(*s));
	uint64_t n = MAX(bytes >> FRAME_SHIFT, (uint64_t)FRAMES_MIN), size = 1;
	int r;

	if (!s)
		return -ENOMEM;
	s->policy = policy;
	s->user = *user;
	s->n = (uint32_t)MIN(n, (uint64_t)1 << 28);
	while (size < s->n)
		size *= 2;
	s->mask = (uint32_t)size - 1;
	s->frames = calloc(s->n, sizeof(*s->frames));
	s->chains = malloc(size * sizeof(*s->chains));
	s->ghosts = calloc(size, sizeof(*s->ghosts));
	s->free = NONE;
	for (unsigned q = 0; q < N_QUEUES; q++)
		s->queues[q] = (struct queue){ NONE, NONE, 0 };
	r = s->frames && s->chains && s->ghosts ? map((size_t)s->n << FRAME_SHIFT, &s->memory)
						: -ENOMEM;
	if (r < 0) {
		frames_free(s);
		return r;
	}
	for (uint64_t i = 0; i < size; i++)
		s->chains[i] = NONE;
	*ret_frames = s;
	return 0;
}

void frames_free(struct frames *s)
{
	if (!s)
		return;
	if (s->memory)
		munmap(s->memory, (size_t)s->n << FRAME_SHIFT);
	free(s->frames);
	free(s->chains);
	free(s->ghosts);
	free(s);
}

uint8_t *frames_data(const struct frames *s, const struct page_frame *f)
{
	return s->memory + ((size_t)(f - s->frames) << FRAME_SHIFT);
}

size_t frames_count(const struct frames *s)
{
	return s->used;
}

size_t frames_room(const struct frames *s)
{
	return s->n;
}

struct page_frame *frames_find(const struct frames *s, const void *owner, uint64_t page)
{
	uint32_t i = s->chains[hash(owner, page) & s->mask];

	while (i != NONE && (s->frames[i].page != page || s->frames[i].owner != owner))
		i = s->frames[i].next;
	return i == NONE ? NULL : &s->frames[i];
}

/* ---- queues ---- */

static void enter(struct frames *s, struct page_frame *f, enum queue_name name)
{
	struct queue *q = &s->queues[name];
	uint32_t i = (uint32_t)(f - s->frames);

	f->queue = (uint8_t)name;
	f->newer = NONE;
	f->older = q->newest;
	if (q->newest != NONE)
		s->frames[q->newest].newer = i;
	else
		q->oldest = i;
	q->newest = i;
	q->n++;
}

static void leave(struct frames *s, struct page_frame *f)
{
	struct queue *q = &s->queues[f->queue];

	if (f->newer != NONE)
		s->frames[f->newer].older = f->older;
	else
		q->newest = f->older;
	if (f->older != NONE)
		s->frames[f->older].newer = f->newer;
	else
		q->oldest = f->newer;
	q->n--;
}

static void again(struct frames *s, struct page_frame *f, enum queue_name name)
{
	leave(s, f);
	enter(s, f, name);
}

void frames_use(struct frames *s, struct page_frame *f)
{
	f->ahead = false;
	if (s->policy == FRAMES_LRU)
		again(s, f, MAIN);
	else if (f->uses < MAX_USES)
		f->uses++;
}

/* ---- what was given up ---- */

static void ghost_add(struct frames *s, const struct page_frame *f)
{
	uint64_t h = hash(f->owner, f->page);
	struct ghost *set = &s->ghosts[h & s->mask & ~(uint32_t)(GHOST_WAYS - 1)], *oldest = set;

	s->clock++;
	for (unsigned i = 0; i < GHOST_WAYS; i++) {
		if (!set[i].print) {
			oldest = &set[i];
			break;
		}
		if (s->clock - set[i].when > s->clock - oldest->when)
			oldest = &set[i];
	}
	*oldest = (struct ghost){ (uint32_t)(h >> 32) | 1, s->clock };
}

static bool ghost_take(struct frames *s, const void *owner, uint64_t page)
{
	uint64_t h = hash(owner, page);
	struct ghost *set = &s->ghosts[h & s->mask & ~(uint32_t)(GHOST_WAYS - 1)];

	for (unsigned i = 0; i < GHOST_WAYS; i++)
		if (set[i].print == ((uint32_t)(h >> 32) | 1)) {
			set[i].print = 0;
			return s->clock - set[i].when < s->n - s->n / SMALL_SHARE;
		}
	return false;
}

/* ---- ---- */

static void unlink_frame(struct frames *s, struct page_frame *f)
{
	uint32_t *at = &s->chains[hash(f->owner, f->page) & s->mask], i = (uint32_t)(f - s->frames);

	while (*at != i)
		at = &s->frames[*at].next;
	*at = f->next;
	leave(s, f);
}

void frames_give(struct frames *s, struct page_frame *f)
{
	unlink_frame(s, f);
	f->owner = NULL;
	f->next = s->free;
	s->free = (uint32_t)(f - s->frames);
	s->used--;
}

/* The next to be looked at; it may get another turn. NULL then. swap: in the queue whose turn it is not. */
static struct page_frame *candidate(struct frames *s, bool swap)
{
	struct queue *small = &s->queues[SMALL], *main = &s->queues[MAIN];
	struct page_frame *f;

	if (small->n && ((small->n > s->n / SMALL_SHARE) != swap || !main->n)) {
		f = &s->frames[small->oldest];
		if (f->uses < 2)
			return f;
		f->uses = 0;
		again(s, f, MAIN);
		return NULL;
	}
	f = &s->frames[main->oldest];
	if (!f->uses)
		return f;
	f->uses--;
	again(s, f, MAIN);
	return NULL;
}

static struct page_frame *evict(struct frames *s)
{
	/* Each frame gets at most MAX_USES turns for having been used, and one for not being given up. */
	bool swap = false;

	for (uint64_t turns = (uint64_t)s->used * 2 * (MAX_USES + 2); turns; turns--) {
		struct page_frame *f = candidate(s, swap);

		if (!f)
			continue;
		if (!s->user.evictable(s->user.userdata, f)) {
			/* A queue of such pages only does not keep us from the other. */
			again(s, f, MAIN);
			swap = !swap;
			continue;
		}
		if (f->queue == SMALL)
			ghost_add(s, f);
		unlink_frame(s, f);
		s->user.evicted(s->user.userdata, f);
		return f;
	}
	return NULL;
}

struct page_frame *frames_take(struct frames *s, void *owner, uint64_t page)
{
	bool known = s->policy == FRAMES_LRU || ghost_take(s, owner, page);
	struct page_frame *f;
	uint32_t *at;

	if (s->free != NONE) {
		f = &s->frames[s->free];
		s->free = f->next;
		s->used++;
	} else if (s->fresh < s->n) {
		f = &s->frames[s->fresh++];
		s->used++;
	} else {
		f = evict(s);
		if (!f)
			return NULL;
	}
	at = &s->chains[hash(owner, page) & s->mask];
	*f = (struct page_frame){ .owner = owner, .page = page, .next = *at };
	*at = (uint32_t)(f - s->frames);
	enter(s, f, known ? MAIN : SMALL);
	return f;
}
