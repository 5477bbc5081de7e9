/*
 * get_item.c - gofer get: files and directories from the moment they are listed until they have
 * their local name.
 */
#include "client/cli/get.h"

#include <fcntl.h>
#include <string.h>

void get_failed(struct get *g, int r, const char *path)
{
	if (r == -EINTR && pipe_signal)
		return;
	copy_progress_break(&g->progress);
	cli_path_error(g->c, r, NULL, g->v, path);
}

static void attributes_failed(struct get *g, int r, const char *attribute, const char *path)
{
	_cleanup_free_ char *what = NULL;

	copy_progress_break(&g->progress);
	if (asprintf(&what, "set %s of", attribute ? attribute : "the attributes") < 0)
		abort();
	cli_path_error(g->c, r, what, g->v, path);
}

void get_push(struct get *g, enum get_what what, struct dir *dir, struct item *item,
	      const char *name)
{
	struct work *w = cli_alloc(sizeof(*w));
	struct work **stack = &g->stack;

	*w = (struct work){
		.what = what, .dir = dir, .item = item, .name = name ? cli_strdup(name) : NULL
	};
	if (what == FETCH && (uint64_t)item->st.st_size > g->c->limits.inline_limit)
		stack = &g->large;
	w->next = *stack;
	*stack = w;
}

/* ---- directories ---- */

void get_dir_done(struct get *g, struct dir *d)
{
	while (d && --d->pending == 0) {
		struct dir *parent = d->parent;

		if (!d->failed && !d->keep) {
			const char *attribute = NULL;
			int fd = local_fd(&g->tree, d->local);
			int r = fd < 0 ? fd
				       : local_set_attributes(&g->tree, fd, &d->st, d->xattrs,
							      &attribute);

			if (r < 0)
				attributes_failed(g, r, attribute, d->path);
		}
		local_unref(&g->tree, d->local);
		copy_xattrs_free(d->xattrs);
		free(d->path);
		free(d);
		d = parent;
	}
}

/* Takes the reference on `local`. */
struct dir *get_dir_new(struct dir *parent, struct local_dir *local, const char *path,
			const struct stat *st)
{
	struct dir *d = cli_alloc(sizeof(*d));

	*d = (struct dir){
		.parent = parent, .local = local, .path = cli_strdup(path), .st = *st, .pending = 1
	};
	if (parent)
		parent->pending++;
	return d;
}

/* ---- files ---- */

static void link_waiters(struct get *g, struct item *first);

void get_item_free(struct get *g, struct item *item)
{
	struct dir *dir = item->dir;

	if (item->prev)
		item->prev->next = item->next;
	else
		g->items = item->next;
	if (item->next)
		item->next->prev = item->prev;
	fd_close(item->fd);
	fd_close(item->source);
	if (item->handle)
		gofer_handle_close(g->c->session, item->handle);
	copy_xattrs_free(item->xattrs);
	free(item->name);
	free(item->path);
	free(item);
	get_dir_done(g, dir);
}

void get_item_drop_temp(struct get *g, struct item *item)
{
	int dirfd = item->temp[0] ? local_fd(&g->tree, item->dir->local) : -EBADF;

	if (dirfd >= 0)
		(void)unlinkat(dirfd, item->temp, 0);
	item->temp[0] = '\0';
}

void get_item_fail(struct get *g, struct item *item, int r)
{
	if (!item->failed)
		get_failed(g, r, item->path);
	item->failed = true;
}

/* An answer of the item's is in (or will not come). */
void get_item_done(struct get *g, struct item *item)
{
	const char *attribute = NULL;
	int dirfd, r = 0;

	if (--item->pending > 0)
		return;
	if (!item->failed) {
		r = local_set_attributes(&g->tree, item->fd, &item->st, item->xattrs, &attribute);
		/* The file is there; what is missing is said. */
		if (r < 0)
			attributes_failed(g, r, attribute, item->path);
		if (item->temp[0]) {
			dirfd = local_fd(&g->tree, item->dir->local);
			r = dirfd < 0 ? dirfd : local_rename(dirfd, item->temp, item->name);
			if (r < 0)
				get_item_fail(g, item, r);
			item->temp[0] = '\0';
		}
	}
	if (item->failed)
		get_item_drop_temp(g, item);
	g->progress.files++;
	if (g->o.verbose && !item->failed) {
		cli_put_name(g->c, item->path);
		putchar('\n');
	}
	copy_progress_show(&g->progress, false);
	if (item->inode)
		link_waiters(g, item);
	get_item_free(g, item);
}

int get_item_create(struct get *g, struct item *item)
{
	int dirfd = local_fd(&g->tree, item->dir->local);
	struct stat st;

	if (dirfd < 0)
		return dirfd;
	if (!g->o.in_place) {
		copy_temp_name(item->temp);
		item->fd = openat(dirfd, item->temp,
				  O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (item->fd < 0) {
			item->temp[0] = '\0';
			return -errno;
		}
		return 0;
	}
	item->fd = openat(dirfd, item->name,
			  O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	if (item->fd < 0)
		return -errno;
	if (fstat(item->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return ftruncate(item->fd, 0) < 0 ? -errno : 0;
}

bool get_is_sparse(const struct stat *st)
{
	return (uint64_t)st->st_blocks * 512 < (uint64_t)st->st_size;
}

/* The item's other names; or, where it failed, the next of them tries in its place. */
static void link_waiters(struct get *g, struct item *first)
{
	struct copy_inode *inode = first->inode;
	struct item *w = inode->waiters;

	inode->waiters = NULL;
	if (!first->failed) {
		struct place *place = cli_alloc(sizeof(*place));

		place->dir = first->dir->local;
		place->dir->refs++;
		place->name = cli_strdup(first->name);
		inode->first = place;
		inode->done = true;
	} else if (w) {
		struct item *heir = w;

		inode->waiters = w->next_waiter;
		get_push(g, FETCH, NULL, heir, NULL);
		return;
	} else {
		inode->failed = true;
		return;
	}
	while (w) {
		struct item *next = w->next_waiter;

		get_push(g, FETCH, NULL, w, NULL);
		w = next;
	}
}

int get_link_local(struct get *g, struct item *item)
{
	struct place *place = item->inode->first;
	_cleanup_fd_ int from = -EBADF;
	int fd = local_fd(&g->tree, place->dir);

	if (fd < 0)
		return fd;
	/* Opening the second directory may close the first. */
	from = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	fd = local_fd(&g->tree, item->dir->local);
	if (fd < 0 || from < 0)
		return fd < 0 ? fd : -errno;
	return local_link(from, place->name, fd, item->name);
}

/* ---- from attributes to local objects ---- */

void get_attr_to_stat(const Gofer__Attr *a, struct stat *ret_st)
{
	*ret_st = (struct stat){
		.st_ino = a->ino,
		.st_dev = a->dev,
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_size = (off_t)MIN(a->size, (uint64_t)INT64_MAX),
		.st_blocks = (blkcnt_t)MIN(a->blocks, (uint64_t)INT64_MAX / 512),
		.st_atim = { a->atime, (long)MIN(a->atime_nsec, 999999999u) },
		.st_mtim = { a->mtime, (long)MIN(a->mtime_nsec, 999999999u) },
	};
}

static struct item *item_new(struct get *g, struct dir *dir, const char *name, const char *path,
			     const struct stat *st)
{
	struct item *item = cli_alloc(sizeof(*item));

	*item = (struct item){ .dir = dir,
			       .name = cli_strdup(name),
			       .path = cli_strdup(path),
			       .st = *st,
			       .fd = -EBADF,
			       .source = -EBADF,
			       .next = g->items };
	if (g->items)
		g->items->prev = item;
	g->items = item;
	dir->pending++;
	return item;
}

static void start_item(struct get *g, struct item *item)
{
	if (item->st.st_nlink > 1) {
		bool first;

		item->inode = copy_inode_get(&g->inodes, item->st.st_dev, item->st.st_ino, &first);
		if (!first && !item->inode->done && !item->inode->failed) {
			item->next_waiter = item->inode->waiters;
			item->inode->waiters = item;
			return;
		}
		if (item->inode->failed)
			item->inode = NULL;
	}
	get_push(g, FETCH, NULL, item, NULL);
}

static void make_special(struct get *g, struct dir *dir, const char *name, const char *path,
			 const struct stat *st, const char *target)
{
	int dirfd = local_fd(&g->tree, dir->local);
	int r = dirfd < 0 ? dirfd : 0;
	struct copy_inode *inode = NULL;
	bool first = true;

	if (st->st_nlink > 1)
		inode = copy_inode_get(&g->inodes, st->st_dev, st->st_ino, &first);
	if (r == 0 && inode && inode->done) {
		struct item *item = item_new(g, dir, name, path, st);

		item->inode = inode;
		r = get_link_local(g, item);
		get_item_free(g, item);
	} else if (r == 0) {
		r = local_make_special(dirfd, name, st, target);
		if (r == 0 && inode) {
			struct place *place = cli_alloc(sizeof(*place));

			place->dir = dir->local;
			place->dir->refs++;
			place->name = cli_strdup(name);
			inode->first = place;
			inode->done = true;
		}
	}
	if (r < 0)
		get_failed(g, r, path);
	g->progress.files++;
}

/* One object that the server says is there. target: of a symbolic link. */
void get_take(struct get *g, struct dir *dir, const char *name, const char *path,
	      const struct stat *st, const char *target)
{
	g->progress.files_found++;
	switch (st->st_mode & S_IFMT) {
	case S_IFDIR:
		get_push(g, LIST, get_dir_new(dir, local_child(dir->local, name), path, st), NULL,
			 NULL);
		g->progress.files++;
		break;
	case S_IFREG:
		g->progress.bytes_found += (uint64_t)st->st_size;
		start_item(g, item_new(g, dir, name, path, st));
		break;
	case S_IFLNK:
	case S_IFIFO:
		make_special(g, dir, name, path, st, target ? target : "");
		break;
	default:
		g->progress.files++;
		if (!g->o.quiet) {
			copy_progress_break(&g->progress);
			cli_warn(g->c, "%s:%s: skipped, a %s", g->v->name, path,
				 cli_type_name(st->st_mode));
		}
	}
}

/* A link where none was a moment ago. */
int get_result(int result, const struct gofer_reply *reply)
{
	return result == 0 && reply->kind != GOFER_REPLY_OK ? -ELOOP : result;
}
