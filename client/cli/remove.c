/*
 * remove.c - see remove.h.
 *
 * A directory waits for what was removed in it (`pending`: names in flight, directories that are not
 * done) and for its walk to leave it; then it is removed itself, and its parent waits for one thing
 * less. Callbacks must not submit: they put directories on the list `ready`, which is worked off
 * whenever something else is submitted or waited for.
 */
#include "client/cli/remove.h"

#include <string.h>

enum { MAX_PASSES = 64 }; /* through one directory, should others go on filling it */

struct remove_dir {
	struct remove_dir *prev, *next; /* of all */
	struct remove_dir *queue;       /* ready, or again */
	struct remove_dir *above;
	unsigned pending, passes;
	size_t removed; /* in this pass */
	bool left, remove, several, failed;
	char path[];
};

struct removal {
	struct removal *prev, *next; /* of all that are out */
	struct remover *r;           /* NULL: it is not there any more */
	struct remove_dir *above;    /* of a name */
	struct remove_dir *self;     /* of a directory */
	char path[];
};

struct remove_dir *remove_enter(struct remover *r, struct remove_dir *above, const char *path)
{
	struct remove_dir *d = cli_alloc(sizeof(*d) + strlen(path) + 1);

	memcpy(d->path, path, strlen(path) + 1);
	d->above = above;
	if (above)
		above->pending++;
	d->next = r->dirs;
	if (d->next)
		d->next->prev = d;
	r->dirs = d;
	return d;
}

const char *remove_path(const struct remove_dir *dir)
{
	return dir->path;
}

void remove_keep(struct remove_dir *dir)
{
	if (dir)
		dir->failed = true;
}

static void free_dir(struct remover *r, struct remove_dir *d)
{
	if (d->prev)
		d->prev->next = d->next;
	else
		r->dirs = d->next;
	if (d->next)
		d->next->prev = d->prev;
	free(d);
}

static void below_done(struct remover *r, struct remove_dir *d, bool removed);

/* The directory is gone, or stays for good. */
static void dir_done(struct remover *r, struct remove_dir *d, bool removed)
{
	struct remove_dir *above = d->above;

	free_dir(r, d);
	below_done(r, above, removed);
}

static void settle(struct remover *r, struct remove_dir *d)
{
	if (!d->left || d->pending)
		return;
	if (!d->remove || (d->failed && !r->always)) {
		dir_done(r, d, false);
		return;
	}
	d->queue = r->ready;
	r->ready = d;
}

static void below_done(struct remover *r, struct remove_dir *d, bool removed)
{
	if (!d)
		return;
	d->pending--;
	d->removed += removed;
	d->failed |= !removed;
	settle(r, d);
}

static void leave_out(struct remover *r, struct removal *removal)
{
	if (removal->prev)
		removal->prev->next = removal->next;
	else
		r->removals = removal->next;
	if (removal->next)
		removal->next->prev = removal->prev;
	r->out--;
}

static void on_unlinked(void *userdata, int result, struct gofer_reply *reply)
{
	struct removal *removal = userdata;
	struct remover *r = removal->r;
	struct remove_dir *self = removal->self;

	if (!r) {
		free(removal);
		return;
	}
	leave_out(r, removal);
	if (result == 0 && reply->kind == GOFER_REPLY_STOP)
		result = -ELOOP;
	if (self && result == -ENOTEMPTY && self->several && self->removed &&
	    self->passes < MAX_PASSES) {
		self->passes++;
		self->removed = 0;
		self->left = self->several = false;
		self->queue = r->again;
		r->again = self;
		free(removal);
		return;
	}
	r->removed(r->userdata, removal->path, self != NULL, result);
	/* Somebody else was faster: gone is gone. */
	if (self)
		dir_done(r, self, result == 0 || result == -ENOENT);
	else
		below_done(r, removal->above, result == 0 || result == -ENOENT);
	free(removal);
}

static void submit(struct remover *r, struct remove_dir *above, struct remove_dir *self,
		   const char *path)
{
	Gofer__UnlinkRequest message = GOFER__UNLINK_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Unlink,
					 .message = (void *)&message,
					 .fd = -1 };
	struct removal *removal = cli_alloc(sizeof(*removal) + strlen(path) + 1);
	_cleanup_free_ char *real = NULL;
	Gofer__Path p;
	int result;

	removal->r = r;
	removal->above = above;
	removal->self = self;
	memcpy(removal->path, path, strlen(path) + 1);
	if (r->real && asprintf(&real, "%s%s", r->real, path + strlen(r->shown)) < 0)
		abort();
	pipe_path(&p, r->v, real ? real : path);
	message.path = &p;
	message.directory = self != NULL;
	removal->next = r->removals;
	if (removal->next)
		removal->next->prev = removal;
	r->removals = removal;
	r->out++;
	result = pipe_submit(r->c, &request, on_unlinked, removal);
	if (result < 0)
		on_unlinked(removal, result, NULL);
}

static void submit_ready(struct remover *r)
{
	while (r->ready) {
		struct remove_dir *d = r->ready;

		r->ready = d->queue;
		submit(r, NULL, d, d->path);
	}
}

void remove_name(struct remover *r, struct remove_dir *above, const char *path)
{
	if (above)
		above->pending++;
	submit(r, above, NULL, path);
	submit_ready(r);
}

void remove_leave(struct remover *r, struct remove_dir *dir, bool remove, bool several)
{
	dir->left = true;
	dir->remove = remove;
	dir->several = several;
	settle(r, dir);
	submit_ready(r);
}

int remove_wait(struct remover *r, const struct remove_dir *dir)
{
	submit_ready(r);
	while (dir ? dir->pending > 0 : r->out > 0) {
		int result = pipe_wait(r->c);

		if (result < 0)
			return result;
		submit_ready(r);
	}
	return 0;
}

struct remove_dir *remove_again(struct remover *r)
{
	struct remove_dir *d = r->again;

	if (d)
		r->again = d->queue;
	return d;
}

void remove_deinit(struct remover *r)
{
	/* In a shell, what was not answered before the verb ended may be answered long after. */
	for (struct removal *removal = r->removals; removal; removal = removal->next)
		removal->r = NULL;
	while (r->dirs)
		free_dir(r, r->dirs);
	r->ready = r->again = NULL;
}
