/*
 * mapping.c - gofer_mmap(). See mapping.h.
 */
#include "client/mapping.h"

#include "common/packet.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define KNOWN                                                                        \
	(MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_POPULATE | \
	 MAP_NORESERVE | MAP_STACK)

struct mapper *mapper_new(struct gofer_session *s)
{
	struct mapper *m = calloc(1, sizeof(*m));
	pthread_rwlockattr_t a;

	if (!m)
		return NULL;
	m->session = s;
	m->allowed = MAPPING_ALL;
	m->budget = MAPPING_BUDGET;
	m->whole = MAPPING_WHOLE;
	m->page = (uint64_t)sysconf(_SC_PAGESIZE);
	m->uffd = m->pagemap = m->stop = m->nothing = -EBADF;
	/* Who maps is not kept waiting by those who keep writing. */
	pthread_rwlockattr_init(&a);
	pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&m->lock, &a);
	pthread_rwlockattr_destroy(&a);
	return m;
}

void mapping_limit(struct gofer_session *s, unsigned features, uint64_t budget, uint64_t whole)
{
	s->mapper->allowed = features;
	s->mapper->budget = budget;
	s->mapper->whole = whole;
}

unsigned mapping_features(const struct gofer_session *s)
{
	return s->mapper->features;
}

uint64_t mapping_bytes(const struct gofer_session *s)
{
	return atomic_load(&s->mapper->filled);
}

/* ---- mmap ---- */

static bool own_pages(const struct mapping *map)
{
	return map->lazy || map->tracked;
}

/* Refusals that errno alone does not explain. */
enum { NOT_ALONE = 1, APPENDS, NO_FAULTS };

static int refusal(const struct gofer_file *file, int r)
{
	switch (r) {
	case NOT_ALONE:
		return fail_words(-ENODEV,
				  "mmap %s: others change it too, so it cannot be mapped for "
				  "writing without a donated descriptor",
				  file->path);
	case APPENDS:
		return fail_words(-ENODEV,
				  "mmap %s: opened to append, it cannot be mapped for writing "
				  "without a donated descriptor",
				  file->path);
	case NO_FAULTS:
		return fail_words(-ENOMEM,
				  "mmap %s: userfaultfd is not allowed here, so no more than "
				  "%llu bytes can be mapped",
				  file->path,
				  (unsigned long long)file->mount->session->mapper->whole);
	default:
		return r < 0 ? fail_path(r, "mmap", file->path) : 0;
	}
}

/* How the mapping gets its pages, and its range of the store made ready for that. */
static int prepare(struct mapping *map)
{
	struct store *s = map->store;
	struct mapper *m = s->mapper;
	/* With `io` to write, the size stays. */
	uint64_t bytes = map->offset < s->size ? MIN(map->len, s->size - map->offset) : 0;
	int r;

	map->tracked = map->writes && (m->features & MAPPING_TRACK);
	map->lazy = (m->features & MAPPING_KERNEL) ||
		    ((m->features & MAPPING_FAULTS) && bytes > m->whole);
	if (map->lazy)
		return 0;
	if (bytes > m->whole)
		return NO_FAULTS;
	r = store_fill(s, map->file, map->offset, map->offset + map->len, true);
	if (r < 0)
		return r;
	pthread_mutex_lock(&s->lock);
	r = interval_reserve(&s->whole);
	if (r == 0)
		interval_add(&s->whole, map->offset, map->offset + map->len);
	pthread_mutex_unlock(&s->lock);
	return r;
}

/* The memory, which nobody can touch before faults are seen. */
static int place(struct mapping *map, void *addr)
{
	const int flags = map->flags & (MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_FIXED_NOREPLACE);
	struct store *s = map->store;
	uint8_t *p;
	int r;

	p = mmap(addr, map->len, own_pages(map) ? PROT_NONE : map->prot, flags | MAP_NORESERVE,
		 s->fd, (off_t)map->offset);
	if (p == MAP_FAILED)
		return -errno;
	r = mapping_arm(map, p, map->len);
	if (r < 0) {
		munmap(p, map->len);
		return r;
	}
	pthread_mutex_lock(&s->lock);
	map->addr = p;
	map->born = now_ns();
	map->next = s->mappings;
	s->mappings = map;
	for (struct interval in = { 0, map->offset };
	     store_present(s, in.end, map->offset + map->len, &in);)
		mapping_protect(map, in.begin, in.end);
	if (own_pages(map) && mprotect(p, map->len, map->prot) < 0) {
		r = -errno;
		s->mappings = map->next;
	}
	pthread_mutex_unlock(&s->lock);
	if (r < 0)
		munmap(p, map->len);
	return r;
}

static int map_store(struct store *s, struct gofer_file *file, void *addr, struct mapping *want,
		     void **ret_addr)
{
	struct mapping *map;
	int r = 0;

	if (!file->mount->caching)
		s->shared = true;
	if (s->shared || !s->mappings)
		r = store_look_again(s, file, 0, UINT64_MAX, true);
	if (r == 0)
		r = mapping_new(file, s, &map);
	if (r < 0)
		return r;
	map->len = want->len;
	map->offset = want->offset;
	map->prot = want->prot;
	map->flags = want->flags;
	map->writes = (map->flags & MAP_SHARED) && file->access == O_RDWR && file->mount->caching &&
		      !file->append;
	r = prepare(map);
	if (r == 0)
		r = place(map, addr);
	if (r != 0) {
		mapping_free(map);
		return r;
	}
	mapping_ages(map);
	if (map->flags & MAP_POPULATE)
		(void)store_fill(s, file, map->offset, map->offset + map->len, true);
	*ret_addr = map->addr;
	return 0;
}

static int map_native(struct gofer_file *file, void *addr, const struct mapping *want,
		      void **ret_addr)
{
	struct mapper *m = file->mount->session->mapper;
	struct mapping *map;
	int r = mapping_new(file, NULL, &map);
	void *p;

	if (r < 0)
		return r;
	map->len = want->len;
	p = mmap(addr, map->len, want->prot, want->flags, file->fd, (off_t)want->offset);
	if (p == MAP_FAILED) {
		r = -errno;
		mapping_free(map);
		return r;
	}
	map->addr = p;
	map->born = now_ns();
	pthread_rwlock_wrlock(&m->lock);
	map->next = m->natives;
	m->natives = map;
	pthread_rwlock_unlock(&m->lock);
	*ret_addr = p;
	return 0;
}

static int regular(struct gofer_file *file)
{
	Gofer__Attr attr;
	int r;

	if (file->fd >= 0)
		return 0; /* only of regular files */
	r = file_stat(file, &attr);
	return r < 0 ? r : S_ISREG(attr.mode) ? 0 : -ENODEV;
}

/* What mmap(2) checks, and what there is not. */
static int check(struct gofer_file *file, const void *addr, size_t length, int prot, int flags,
		 uint64_t offset)
{
	const struct mapper *m = file->mount->session->mapper;
	int kind = flags & (MAP_SHARED | MAP_PRIVATE);
	bool stores = (flags & MAP_SHARED) && (prot & PROT_WRITE);

	if (!length || (offset & (m->page - 1)) ||
	    ((flags & MAP_FIXED) && ((uintptr_t)addr & (m->page - 1))) || (flags & ~KNOWN) ||
	    (kind != MAP_SHARED && kind != MAP_PRIVATE))
		return -EINVAL;
	if (length > SIZE_MAX - m->page)
		return -ENOMEM;
	if (offset > INT64_MAX || length > INT64_MAX - offset - m->page)
		return -EOVERFLOW;
	if (file->access == O_PATH)
		return -EBADF;
	if (file->access == O_WRONLY || (stores && file->access != O_RDWR))
		return -EACCES;
	if (!stores || file->fd >= 0)
		return 0;
	return !file->mount->caching ? NOT_ALONE : file->append ? APPENDS : 0;
}

static int map(struct gofer_file *file, void *addr, struct mapping *want, void **ret_addr)
{
	struct mapper *m = file->mount->session->mapper;
	struct store *s;
	int r = 0;

	/* The kernel would take it from under our own. */
	if (want->flags & MAP_FIXED)
		r = mapping_unmap(file->ns, addr, want->len);
	if (r >= 0 && file->fd >= 0 && !mapping_known(file))
		return map_native(file, addr, want, ret_addr);
	if (r >= 0)
		r = mapper_store(m, file, &s);
	if (r < 0)
		return r;
	r = map_store(s, file, addr, want, ret_addr);
	pthread_rwlock_unlock(&s->io);
	store_unref(s);
	return r;
}

int gofer_mmap(struct gofer_file *file, void *addr, size_t length, int prot, int flags,
	       uint64_t offset, void **ret_addr)
{
	uint64_t page = file->mount->session->mapper->page;
	struct mapping want = { .prot = prot, .flags = flags, .offset = offset };
	int r = session_check(file->mount->session);

	if (r == 0)
		r = check(file, addr, length, prot, flags, offset);
	if (r == 0)
		r = regular(file);
	want.len = (length + page - 1) & ~(page - 1);
	if (r == 0)
		r = map(file, addr, &want, ret_addr);
	return refusal(file, r);
}
