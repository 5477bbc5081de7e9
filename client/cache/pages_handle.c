/*
 * pages_handle.c - handles of the server that open files share. Those that nobody uses are in a queue,
 * and the oldest goes when there are too many.
 */
#include "client/cache/pages_state.h"

static void idle_enter(struct pages *p, struct page_handle *h)
{
	h->newer = NULL;
	h->older = p->newest_idle;
	if (p->newest_idle)
		p->newest_idle->newer = h;
	else
		p->oldest_idle = h;
	p->newest_idle = h;
	p->n_idle++;
}

static void idle_leave(struct pages *p, struct page_handle *h)
{
	if (h->newer)
		h->newer->older = h->older;
	else
		p->newest_idle = h->older;
	if (h->older)
		h->older->newer = h->newer;
	else
		p->oldest_idle = h->newer;
	p->n_idle--;
}

/* Forgets it; returns the handle. */
static uint64_t take_away(struct pages *p, struct page_handle *h)
{
	struct page_file *f = h->file;
	struct page_handle **at = &f->handles;
	uint64_t handle = h->handle;

	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	free(h);
	page_file_release(p, f);
	return handle;
}

struct page_handle *pages_handle_get(struct pages *p, struct page_file *f, uint32_t fs_id,
				     uint32_t identity)
{
	struct page_handle *h;

	pthread_mutex_lock(&p->lock);
	for (h = f->handles; h; h = h->next)
		if (h->shares && h->fs_id == fs_id && h->identity == identity)
			break;
	if (h) {
		if (!h->users)
			idle_leave(p, h);
		h->users++;
	}
	pthread_mutex_unlock(&p->lock);
	return h;
}

struct page_handle *pages_handle_add(struct pages *p, struct page_file *f, uint64_t handle,
				     uint32_t fs_id, uint32_t identity, bool shares, bool writes)
{
	struct page_handle *h = malloc(sizeof(*h));

	if (!h)
		return NULL;
	pthread_mutex_lock(&p->lock);
	*h = (struct page_handle){ .next = f->handles,
				   .file = f,
				   .handle = handle,
				   .fs_id = fs_id,
				   .identity = identity,
				   .shares = shares,
				   .writes = writes,
				   .users = 1 };
	f->handles = h;
	pthread_mutex_unlock(&p->lock);
	return h;
}

uint64_t pages_handle_number(const struct page_handle *h)
{
	return h->handle;
}

size_t pages_handle_put(struct pages *p, struct page_handle *h, uint64_t ret_close[2])
{
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	if (--h->users == 0) {
		if (h->shares)
			idle_enter(p, h);
		else if (!h->writes || !h->file->listed)
			ret_close[n++] = take_away(p, h);
		if (p->n_idle > p->idle_limit) {
			struct page_handle *oldest = p->oldest_idle;

			idle_leave(p, oldest);
			ret_close[n++] = take_away(p, oldest);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return n;
}

size_t pages_writers(struct pages *p, struct page_file *f)
{
	size_t n = 0;

	pthread_mutex_lock(&p->lock);
	for (const struct page_handle *h = f->handles; h; h = h->next)
		n += h->writes && h->users;
	pthread_mutex_unlock(&p->lock);
	return n;
}

uint64_t pages_handle_done(struct pages *p, struct page_file *f)
{
	struct page_handle *h;
	uint64_t handle;

	pthread_mutex_lock(&p->lock);
	for (h = f->listed ? NULL : f->handles; h && (!h->writes || h->users);)
		h = h->next;
	handle = h ? take_away(p, h) : 0;
	pthread_mutex_unlock(&p->lock);
	return handle;
}

uint64_t pages_handle_idle(struct pages *p, const Gofer__Attr *attr)
{
	struct page_handle *h;
	uint64_t handle = 0;

	pthread_mutex_lock(&p->lock);
	h = p->oldest_idle;
	while (h && attr && (h->file->dev != attr->dev || h->file->ino != attr->ino))
		h = h->newer;
	if (h) {
		idle_leave(p, h);
		handle = take_away(p, h);
	}
	pthread_mutex_unlock(&p->lock);
	return handle;
}
