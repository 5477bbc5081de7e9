/*
 * put_item.c - gofer put: local objects, read from their directories' descriptors, and the order of
 * their stages.
 */
#include "client/cli/put.h"

#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/path.h"

void put_failed(struct put *p, int r, const char *path)
{
	if (r == -EINTR && pipe_signal)
		return;
	copy_progress_break(&p->progress);
	cli_path_error(p->c, r, NULL, p->v, path);
}

void put_item_fail(struct put *p, struct item *item, int r)
{
	if (!item->failed)
		put_failed(p, r, item->path);
	item->failed = true;
}

bool put_is_large(const struct put *p, const struct stat *st)
{
	/* A file with holes goes the way that keeps them. */
	return (uint64_t)st->st_size > MIN(p->c->limits.inline_limit, p->c->limits.max_data) ||
	       (uint64_t)st->st_blocks * 512 < (uint64_t)st->st_size;
}

void put_push(struct put *p, struct item *item, enum put_stage stage)
{
	struct work *w = cli_alloc(sizeof(*w));
	struct work **stack =
		stage == MAKE && S_ISREG(item->st.st_mode) && put_is_large(p, &item->st)
			? &p->large
			: &p->stack;

	item->stage = stage;
	w->item = item;
	w->next = *stack;
	*stack = w;
}

static struct item *put_item_new(struct put *p, struct dir *dir, const char *name, const char *path,
				 const struct stat *st)
{
	struct item *item = cli_alloc(sizeof(*item));

	*item = (struct item){ .dir = dir,
			       .name = cli_strdup(name),
			       .path = cli_strdup(path),
			       .st = *st,
			       .source = -EBADF,
			       .dest = -EBADF,
			       .next = p->items };
	if (p->items)
		p->items->prev = item;
	p->items = item;
	if (dir)
		dir->pending++;
	return item;
}

static void put_dir_done(struct put *p, struct dir *d)
{
	if (!d || --d->pending > 0)
		return;
	/* Everything below is done: now its own attributes. */
	put_push(p, d->item, XATTR);
}

static void put_item_free(struct put *p, struct item *item)
{
	struct dir *dir = item->dir;

	if (item->prev)
		item->prev->next = item->next;
	else
		p->items = item->next;
	if (item->next)
		item->next->prev = item->prev;
	if (item->self) {
		local_unref(&p->tree, item->self->local);
		for (size_t i = item->self->at; i < item->self->n_names; i++)
			free(item->self->names[i]);
		free(item->self->names);
		free(item->self);
	}
	fd_close(item->source);
	fd_close(item->dest);
	if (item->handle)
		gofer_handle_close(p->c->session, item->handle);
	copy_xattrs_free(item->xattrs);
	free(item->temp);
	free(item->target);
	free(item->name);
	free(item->path);
	free(item);
	put_dir_done(p, dir);
}

void put_item_end(struct put *p, struct item *item)
{
	struct copy_inode *inode = item->inode;

	if (item->temp && item->failed)
		gofer_unlink(p->v->ns, item->temp);
	p->progress.files++;
	copy_progress_show(&p->progress, false);
	if (p->o.verbose && !item->failed) {
		cli_put_name(p->c, item->path);
		putchar('\n');
	}
	if (inode && !inode->done) {
		struct item *w = inode->waiters;

		inode->waiters = NULL;
		if (!item->failed) {
			inode->done = true;
			inode->first = cli_strdup(item->path);
		} else if (w) {
			/* The next name tries in its place. */
			inode->waiters = w->next_waiter;
			put_push(p, w, MAKE);
			w = NULL;
		} else {
			inode->failed = true;
		}
		while (w) {
			struct item *next = w->next_waiter;

			put_push(p, w, MAKE);
			w = next;
		}
	}
	put_item_free(p, item);
}

/* ---- the local side ---- */

static void read_xattrs(struct put *p, struct item *item, int fd)
{
	_cleanup_free_ char *names = NULL;
	ssize_t n;

	if (p->no_xattr)
		return;
	n = flistxattr(fd, NULL, 0);
	if (n <= 0)
		return;
	names = cli_alloc(COPY_XATTR_MAX);
	n = flistxattr(fd, names, COPY_XATTR_MAX);
	for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		_cleanup_free_ void *value = NULL;
		struct copy_xattr *x;
		ssize_t len;

		if (!copy_xattr_wanted(name))
			continue;
		value = cli_alloc(COPY_XATTR_MAX);
		len = fgetxattr(fd, name, value, COPY_XATTR_MAX);
		if (len < 0)
			continue;
		x = cli_alloc(sizeof(*x));
		x->name = cli_strdup(name);
		x->value = TAKE_PTR(value);
		x->len = (size_t)len;
		x->next = item->xattrs;
		item->xattrs = x;
	}
}

/* Opens a regular file below its directory; its attributes are then those of what is read. */
int put_open_source(struct put *p, struct item *item, int *ret_fd)
{
	int dirfd = local_fd(&p->tree, item->dir->local);
	_cleanup_fd_ int fd = -EBADF;

	if (dirfd < 0)
		return dirfd;
	fd = openat(dirfd, item->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &item->st) < 0)
		return -errno;
	if (!S_ISREG(item->st.st_mode))
		return -ESTALE;
	copy_xattrs_free(TAKE_PTR(item->xattrs));
	read_xattrs(p, item, fd);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* One local object on its way. */
void put_take(struct put *p, struct dir *dir, const char *name, const char *path, int dirfd,
	      const struct stat *st)
{
	struct item *item;
	char target[PATH_LEN_MAX + 1];
	ssize_t n;

	p->progress.files_found++;
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && !S_ISLNK(st->st_mode) &&
	    !S_ISFIFO(st->st_mode)) {
		p->progress.files++;
		if (!p->o.quiet) {
			copy_progress_break(&p->progress);
			cli_warn(p->c, "%s:%s: skipped, a %s", p->v->name, path,
				 cli_type_name(st->st_mode));
		}
		return;
	}
	item = put_item_new(p, dir, name, path, st);
	if (S_ISREG(st->st_mode))
		p->progress.bytes_found += (uint64_t)st->st_size;
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dirfd, name, target, sizeof(target) - 1);
		if (n < 0) {
			put_item_fail(p, item, -errno);
			put_item_end(p, item);
			return;
		}
		target[n] = '\0';
		item->target = cli_strdup(target);
	}
	if (S_ISDIR(st->st_mode)) {
		item->self = cli_alloc(sizeof(*item->self));
		*item->self = (struct dir){ .parent = dir,
					    .local = local_child(dir->local, name),
					    .item = item };
	} else if (st->st_nlink > 1) {
		bool first;

		item->inode = copy_inode_get(&p->inodes, st->st_dev, st->st_ino, &first);
		if (item->inode->failed)
			item->inode = NULL;
		else if (!first && !item->inode->done) {
			item->next_waiter = item->inode->waiters;
			item->inode->waiters = item;
			return;
		}
	}
	put_push(p, item, MAKE);
}

static int read_names(struct put *p, struct dir *d)
{
	int fd = local_fd(&p->tree, d->local), copy;
	size_t allocated = 0;
	struct dirent *e;
	DIR *dir;

	if (fd < 0)
		return fd;
	read_xattrs(p, d->item, fd);
	copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir) {
		int r = -errno;

		fd_close(copy);
		return r;
	}
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (d->n_names == allocated) {
			char **grown = reallocarray(d->names, MAX(2 * allocated, (size_t)64),
						    sizeof(*grown));

			if (!grown)
				break;
			d->names = grown;
			allocated = MAX(2 * allocated, (size_t)64);
		}
		d->names[d->n_names++] = cli_strdup(e->d_name);
	}
	if (errno) {
		int r = -errno;

		closedir(dir);
		return r;
	}
	closedir(dir);
	return 0;
}

/* LIST: a few names of a directory; the rest when these are on their way. */
void put_list_some(struct put *p, struct item *item)
{
	struct dir *d = item->self;
	size_t end;
	int fd;

	if (!d->names) {
		int r = read_names(p, d);

		if (r < 0) {
			put_failed(p, r, item->path);
			put_dir_done(p, d);
			return;
		}
	}
	end = MIN(d->n_names, d->at + 64);
	if (end < d->n_names)
		put_push(p, item, LIST);
	for (; d->at < end; d->at++) {
		_cleanup_free_ char *name = TAKE_PTR(d->names[d->at]);
		_cleanup_free_ char *path = cli_join(item->path, name);
		struct stat st;

		fd = local_fd(&p->tree, d->local);
		if (fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			put_failed(p, fd < 0 ? fd : -errno, path);
		else
			put_take(p, d, name, path, fd, &st);
	}
	if (end == d->n_names)
		put_dir_done(p, d);
}

/* A stage is over: the next one, or the end. Only notes it, for callbacks come here. */
static void advance(struct put *p, struct item *item)
{
	bool linked = item->inode && item->inode->done;

	if (item->failed && item->self && item->stage == MAKE) {
		put_item_end(p, item);
	} else if (item->failed && !item->self) {
		put_item_end(p, item);
	} else if (item->stage == MAKE && item->self) {
		item->self->pending = 1;
		put_push(p, item, LIST);
	} else if (item->stage == MAKE && !linked) {
		put_push(p, item, XATTR);
	} else if (item->stage == XATTR) {
		put_push(p, item, ATTR);
	} else if (item->stage == ATTR && item->temp) {
		put_push(p, item, RENAME);
	} else {
		put_item_end(p, item);
	}
}

void put_drop(struct put *p, struct item *item)
{
	item->failed = true;
	if (item->stage == LIST)
		put_dir_done(p, item->self);
	else
		put_item_end(p, item);
}

void put_answered(struct put *p, struct item *item, int result)
{
	if (result < 0)
		put_item_fail(p, item, result);
	if (--item->pending == 0)
		advance(p, item);
}

/* The object itself, wherever it is now. */
void put_object_path(struct put *p, struct item *item, Gofer__Path *ret_path)
{
	pipe_path(ret_path, p->v, item->temp ? item->temp : item->path);
	if (item->handle) {
		ret_path->base_handle = item->handle;
		ret_path->path.len = 0;
	}
}

int put_result(int result, const struct gofer_reply *reply)
{
	return result == 0 && reply->kind != GOFER_REPLY_OK ? -ELOOP : result;
}
