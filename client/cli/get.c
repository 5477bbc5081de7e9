/*
 * get.c - gofer get: copies files and trees from a volume to local directories, with many requests in flight.
 *
 * Mental model. There is a stack of things to do (list a directory, fetch a file, read an attribute); the main loop takes from it
 * and submits while the window has room, then waits. Callbacks do the local half of the work at once and push what comes next;
 * they never submit. Because it is a stack, the walk goes depth first and the memory in use is bounded by one frame of entries per
 * level, not by the size of the tree.
 *
 * A file lives as a `struct item` from its entry to its name: contents and the list of its extended attributes are asked for at
 * the same time, and when the last answer (item.pending) is in, it gets its attributes and its name. A directory (struct dir) gets
 * its own attributes when nothing below it is pending.
 *
 * The server is not trusted: names are validated, sizes are limits rather than facts, and the local side (copy_local.h) never
 * resolves a path.
 */
#include "client/cli/copy_local.h"

#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/path.h"

static const struct cli_spec spec = {
	.verb = "get",
	.usage = "[OPTION]... NAME:/path... LOCAL",
	.about = "Copies files, and with -r trees, to a local file or directory.",
	.options = copy_options_table,
	.notes =
		"Kept: mode, owner (as far as the user may set it; set-id bits only with it), times, symbolic links as links,\n"
		"hard links, holes, FIFOs, user.* attributes and ACLs. Sockets and devices are skipped. The root of a volume\n"
		"has no name: its contents go into LOCAL. A symbolic link named on the command line is followed without -r.\n"
		"Interrupted, it removes what is unfinished and exits with 128 and the signal's number (130 for Ctrl-C).",
};

struct dir {
	struct dir *parent;
	struct local_dir *local;
	char *path; /* remote */
	struct stat st;
	struct copy_xattr *xattrs;
	unsigned pending; /* entries, listings and attributes that are not done */
	uint64_t cookie;
	bool failed; /* to be made or opened: nothing to finish */
	bool keep;   /* its attributes are not ours to set */
};

struct item {
	struct item *prev, *next; /* of all that are alive, for cleaning up */
	struct dir *dir;
	char *name; /* local */
	char *path; /* remote */
	struct stat st;
	struct copy_inode *inode;
	struct copy_xattr *xattrs;
	struct item *next_waiter;
	int fd;
	char temp[COPY_TEMP_NAME]; /* in the directory; empty = none */
	unsigned pending;
	bool failed;
	int source;      /* a donated descriptor, or -EBADF */
	uint64_t handle; /* where none was donated */
};

/* Where the first of several links went. */
struct place {
	struct local_dir *dir;
	char *name;
};

enum what { LIST, FETCH, LIST_XATTR, GET_XATTR };

struct work {
	struct work *next;
	enum what what;
	struct dir *dir;   /* of a directory, or */
	struct item *item; /* of a file */
	char *name;        /* of an attribute */
};

struct get {
	struct cli *c;
	const struct cli_volume *v;
	struct copy_options o;
	struct copy_progress progress;
	struct local_tree tree;
	struct copy_inode *inodes;
	struct work *stack, *large; /* `large` are opened only so many at a time */
	struct item *items, *ready; /* ready: opened, to be copied by the main loop */
	unsigned in_flight, n_large;
	bool no_xattr; /* the volume has none */
};

/* What a callback gets. */
struct call {
	struct get *g;
	struct work work;
};

static void failed(struct get *g, int r, const char *path)
{
	if (r == -EINTR && pipe_signal)
		return;
	copy_progress_end(&g->progress);
	cli_path_error(g->c, r, NULL, g->v, path);
}

static void push(struct get *g, enum what what, struct dir *dir, struct item *item, const char *name)
{
	struct work *w = cli_alloc(sizeof(*w));
	struct work **stack = &g->stack;

	*w = (struct work){ .what = what, .dir = dir, .item = item, .name = name ? cli_strdup(name) : NULL };
	if (what == FETCH && (uint64_t)item->st.st_size > g->c->limits.inline_limit)
		stack = &g->large;
	w->next = *stack;
	*stack = w;
}

/* ---- directories ---- */

static void dir_done(struct get *g, struct dir *d)
{
	while (d && --d->pending == 0) {
		struct dir *parent = d->parent;

		if (!d->failed && !d->keep) {
			int fd = local_fd(&g->tree, d->local);
			int r = fd < 0 ? fd : local_set_attributes(&g->tree, fd, &d->st, d->xattrs);

			if (r < 0)
				failed(g, r, d->path);
		}
		local_unref(&g->tree, d->local);
		copy_xattrs_free(d->xattrs);
		free(d->path);
		free(d);
		d = parent;
	}
}

/* Takes the reference on `local`. */
static struct dir *dir_new(struct dir *parent, struct local_dir *local, const char *path, const struct stat *st)
{
	struct dir *d = cli_alloc(sizeof(*d));

	*d = (struct dir){ .parent = parent, .local = local, .path = cli_strdup(path), .st = *st, .pending = 1 };
	if (parent)
		parent->pending++;
	return d;
}

/* ---- files ---- */

static void link_waiters(struct get *g, struct item *first);

static void item_free(struct get *g, struct item *item)
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
	dir_done(g, dir);
}

static void item_drop_temp(struct get *g, struct item *item)
{
	int dirfd = item->temp[0] ? local_fd(&g->tree, item->dir->local) : -EBADF;

	if (dirfd >= 0)
		(void)unlinkat(dirfd, item->temp, 0);
	item->temp[0] = '\0';
}

static void item_fail(struct get *g, struct item *item, int r)
{
	if (!item->failed)
		failed(g, r, item->path);
	item->failed = true;
}

/* An answer of the item's is in (or will not come). */
static void item_done(struct get *g, struct item *item)
{
	int dirfd, r = 0;

	if (--item->pending > 0)
		return;
	if (!item->failed) {
		r = local_set_attributes(&g->tree, item->fd, &item->st, item->xattrs);
		/* The file is there; what is missing is said. */
		if (r < 0)
			failed(g, r, item->path);
		if (item->temp[0]) {
			dirfd = local_fd(&g->tree, item->dir->local);
			r = dirfd < 0 ? dirfd : local_rename(dirfd, item->temp, item->name);
			if (r < 0)
				item_fail(g, item, r);
			item->temp[0] = '\0';
		}
	}
	if (item->failed)
		item_drop_temp(g, item);
	g->progress.files++;
	if (g->o.verbose && !item->failed) {
		cli_put_name(g->c, item->path);
		putchar('\n');
	}
	copy_progress_show(&g->progress, false);
	if (item->inode)
		link_waiters(g, item);
	item_free(g, item);
}

static int item_create(struct get *g, struct item *item)
{
	int dirfd = local_fd(&g->tree, item->dir->local);
	struct stat st;

	if (dirfd < 0)
		return dirfd;
	if (!g->o.in_place) {
		copy_temp_name(item->temp);
		item->fd = openat(dirfd, item->temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (item->fd < 0) {
			item->temp[0] = '\0';
			return -errno;
		}
		return 0;
	}
	item->fd = openat(dirfd, item->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	if (item->fd < 0)
		return -errno;
	if (fstat(item->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	return ftruncate(item->fd, 0) < 0 ? -errno : 0;
}

static bool is_sparse(const struct stat *st)
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
		push(g, FETCH, NULL, heir, NULL);
		return;
	} else {
		inode->failed = true;
		return;
	}
	while (w) {
		struct item *next = w->next_waiter;

		push(g, FETCH, NULL, w, NULL);
		w = next;
	}
}

static int link_local(struct get *g, struct item *item)
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

static void attr_to_stat(const Gofer__Attr *a, struct stat *ret_st)
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

static struct item *item_new(struct get *g, struct dir *dir, const char *name, const char *path, const struct stat *st)
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
	push(g, FETCH, NULL, item, NULL);
}

static void make_special(struct get *g, struct dir *dir, const char *name, const char *path, const struct stat *st,
			 const char *target)
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
		r = link_local(g, item);
		item_free(g, item);
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
		failed(g, r, path);
	g->progress.files++;
}

/* One object that the server says is there. target: of a symbolic link. */
static void take(struct get *g, struct dir *dir, const char *name, const char *path, const struct stat *st, const char *target)
{
	g->progress.files_found++;
	switch (st->st_mode & S_IFMT) {
	case S_IFDIR:
		push(g, LIST, dir_new(dir, local_child(dir->local, name), path, st), NULL, NULL);
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
			copy_progress_end(&g->progress);
			cli_warn(g->c, "%s:%s: skipped, a %s", g->v->name, path, cli_type_name(st->st_mode));
		}
	}
}

/* ---- answers ---- */

/* A link where none was a moment ago. */
static int result_of(int result, const struct gofer_reply *reply)
{
	return result == 0 && reply->kind != GOFER_REPLY_OK ? -ELOOP : result;
}

static char *to_name(const ProtobufCBinaryData *bytes)
{
	char *name = cli_alloc(bytes->len + 1);

	if (bytes->len)
		memcpy(name, bytes->data, bytes->len);
	return name;
}

static void take_entry(struct get *g, struct dir *d, const Gofer__Entry *e)
{
	_cleanup_free_ char *name = NULL;
	_cleanup_free_ char *target = NULL;
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (path_validate_name(e->name.data, e->name.len) < 0) {
		failed(g, -EBADMSG, d->path);
		return;
	}
	if (!e->attr) /* gone meanwhile */
		return;
	name = to_name(&e->name);
	path = cli_join(d->path, name);
	if (e->target.len) {
		if (memchr(e->target.data, '\0', e->target.len) || e->target.len > PATH_LEN_MAX) {
			failed(g, -EBADMSG, path);
			return;
		}
		target = to_name(&e->target);
	}
	attr_to_stat(e->attr, &st);
	take(g, d, name, path, &st, target);
}

static void on_list(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct get *g = call->g;
	struct dir *d = call->work.dir;
	const Gofer__ReadDirReply *m;

	g->in_flight--;
	result = result_of(result, reply);
	if (result < 0) {
		failed(g, result, d->path);
	} else {
		m = (const Gofer__ReadDirReply *)reply->message;
		if (!m->end && m->n_entries) {
			d->cookie = m->entries[m->n_entries - 1]->cookie;
			d->pending++;
			push(g, LIST, d, NULL, NULL);
		} else if (!m->end) {
			failed(g, -EBADMSG, d->path);
		}
		for (size_t i = 0; i < m->n_entries; i++)
			take_entry(g, d, m->entries[i]);
	}
	dir_done(g, d);
	free(call);
}

static void on_read_file(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct get *g = call->g;
	struct item *item = call->work.item;
	const Gofer__ReadFileReply *m;

	g->in_flight--;
	result = result_of(result, reply);
	m = result == 0 ? (const Gofer__ReadFileReply *)reply->message : NULL;
	if (m && !m->eof) {
		/* It grew beyond what fits: the long way. */
		item->st.st_size = (off_t)MAX((uint64_t)item->st.st_size, (uint64_t)g->c->limits.inline_limit + 1);
		item->pending--;
		push(g, FETCH, NULL, item, NULL);
		free(call);
		return;
	}
	if (result == 0 && m->attr && !S_ISREG(m->attr->mode))
		result = -EBADMSG;
	if (result == 0) {
		/* The times of what was read, not of what was listed. */
		if (m->attr)
			attr_to_stat(m->attr, &item->st);
		item->st.st_size = (off_t)reply->data_len;
		result = item_create(g, item);
	}
	if (result == 0)
		result = copy_write(item->fd, reply->data, reply->data_len, 0, is_sparse(&item->st));
	if (result == 0 && is_sparse(&item->st) && ftruncate(item->fd, item->st.st_size) < 0)
		result = -errno;
	if (result < 0)
		item_fail(g, item, result);
	else
		g->progress.bytes += reply->data_len;
	item_done(g, item);
	free(call);
}

static void on_open(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct get *g = call->g;
	struct item *item = call->work.item;
	const Gofer__OpenReply *m;
	struct stat st;

	g->in_flight--;
	result = result_of(result, reply);
	if (result == 0) {
		m = (const Gofer__OpenReply *)reply->message;
		item->source = TAKE_FD(reply->fd);
		item->handle = m->handle;
		if (m->attr)
			attr_to_stat(m->attr, &item->st);
		/* Only a regular file ends where it says. */
		if (item->source >= 0 && (fstat(item->source, &st) < 0 || !S_ISREG(st.st_mode)))
			result = -EBADMSG;
		else if (item->source < 0 && !item->handle)
			result = -EBADMSG;
	}
	if (result < 0) {
		g->n_large--;
		item_fail(g, item, result);
		item_done(g, item);
	} else {
		item->next_waiter = g->ready;
		g->ready = item;
	}
	free(call);
}

static void attribute_done(struct get *g, struct work *w)
{
	if (w->item)
		item_done(g, w->item);
	else
		dir_done(g, w->dir);
	free(w->name);
}

static const char *work_path(const struct work *w)
{
	return w->item ? w->item->path : w->dir->path;
}

static void on_list_xattr(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct get *g = call->g;
	struct work *w = &call->work;
	const char *name, *end;

	g->in_flight--;
	result = result_of(result, reply);
	if (result == -EOPNOTSUPP) {
		g->no_xattr = true;
	} else if (result < 0) {
		failed(g, result, work_path(w));
	} else {
		end = (const char *)reply->data + reply->data_len;
		for (name = reply->data; name < end; name += strlen(name) + 1) {
			if (!memchr(name, '\0', (size_t)(end - name)))
				break;
			if (!copy_xattr_wanted(name))
				continue;
			if (w->item)
				w->item->pending++;
			else
				w->dir->pending++;
			push(g, GET_XATTR, w->dir, w->item, name);
		}
	}
	attribute_done(g, w);
	free(call);
}

static void on_get_xattr(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct get *g = call->g;
	struct work *w = &call->work;
	struct copy_xattr **list = w->item ? &w->item->xattrs : &w->dir->xattrs;

	g->in_flight--;
	result = result_of(result, reply);
	if (result == 0) {
		struct copy_xattr *x = cli_alloc(sizeof(*x));

		x->name = TAKE_PTR(w->name);
		x->len = reply->data_len;
		x->value = cli_alloc(x->len);
		if (x->len)
			memcpy(x->value, reply->data, x->len);
		x->next = *list;
		*list = x;
	} else if (result != -ENODATA && result != -EOPNOTSUPP) {
		failed(g, result, work_path(w));
	}
	attribute_done(g, w);
	free(call);
}

/* ---- requests ---- */

static void submit(struct get *g, uint16_t type, void *message, gofer_callback callback, const struct work *w)
{
	struct gofer_request request = { .type = type, .message = message, .fd = -1 };
	struct call *call = cli_alloc(sizeof(*call));
	int r;

	call->g = g;
	call->work = *w;
	g->in_flight++;
	r = pipe_submit(g->c, &request, callback, call);
	if (r < 0)
		callback(call, r, NULL);
}

static void submit_list(struct get *g, struct work *w)
{
	Gofer__ReadDirRequest message = GOFER__READ_DIR_REQUEST__INIT;
	Gofer__Path path;
	int r = w->dir->cookie ? 0 : local_mkdir(&g->tree, w->dir->local);

	if (r < 0) {
		failed(g, r, w->dir->path);
		w->dir->failed = true;
		dir_done(g, w->dir);
		return;
	}
	if (!w->dir->cookie && !g->no_xattr && !w->dir->keep) {
		w->dir->pending++;
		push(g, LIST_XATTR, w->dir, NULL, NULL);
	}
	pipe_path(&path, g->v, w->dir->path);
	message.path = &path;
	message.cookie = w->dir->cookie;
	message.attrs = true;
	message.targets = true;
	submit(g, RPC_TYPE_ReadDir, &message, on_list, w);
}

static void submit_fetch(struct get *g, struct work *w)
{
	Gofer__ReadFileRequest small = GOFER__READ_FILE_REQUEST__INIT;
	Gofer__OpenRequest large = GOFER__OPEN_REQUEST__INIT;
	struct item *item = w->item;
	Gofer__Path path;

	if (item->inode && item->inode->done) {
		int r = link_local(g, item);

		if (r < 0)
			failed(g, r, item->path);
		g->progress.files++;
		g->progress.bytes_found -= MIN(g->progress.bytes_found, (uint64_t)item->st.st_size);
		item_free(g, item);
		return;
	}
	pipe_path(&path, g->v, item->path);
	item->pending++;
	if (!g->no_xattr && !item->xattrs) {
		item->pending++;
		push(g, LIST_XATTR, NULL, item, NULL);
	}
	if ((uint64_t)item->st.st_size <= g->c->limits.inline_limit) {
		small.path = &path;
		small.count = g->c->limits.inline_limit;
		submit(g, RPC_TYPE_ReadFile, &small, on_read_file, w);
		return;
	}
	g->n_large++;
	large.path = &path;
	large.flags = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE | GOFER__OPEN_FLAG__OPEN_ONLY_DONATED;
	submit(g, RPC_TYPE_Open, &large, on_open, w);
}

static void submit_list_xattr(struct get *g, struct work *w)
{
	Gofer__ListXattrRequest message = GOFER__LIST_XATTR_REQUEST__INIT;
	Gofer__Path path;

	if (g->no_xattr) {
		attribute_done(g, w);
		return;
	}
	pipe_path(&path, g->v, work_path(w));
	message.path = &path;
	message.size = MIN(COPY_XATTR_MAX, g->c->limits.max_data);
	submit(g, RPC_TYPE_ListXattr, &message, on_list_xattr, w);
}

static void submit_get_xattr(struct get *g, struct work *w)
{
	Gofer__GetXattrRequest message = GOFER__GET_XATTR_REQUEST__INIT;
	Gofer__Path path;

	pipe_path(&path, g->v, work_path(w));
	message.path = &path;
	message.name.data = (uint8_t *)w->name;
	message.name.len = strlen(w->name);
	message.size = MIN(COPY_XATTR_MAX, g->c->limits.max_data);
	submit(g, RPC_TYPE_GetXattr, &message, on_get_xattr, w);
}

/* ---- large files without a donated descriptor: Reads in flight, within the extents that Seek reports ---- */

struct stream {
	struct get *g;
	struct item *item;
	unsigned out;
	int result;
	uint64_t end; /* known once a Read said so */
};

struct piece {
	struct stream *s;
	uint64_t offset;
	uint32_t count;
};

static void on_read(void *userdata, int result, struct gofer_reply *reply)
{
	struct piece *piece = userdata;
	struct stream *s = piece->s;

	s->out--;
	result = result_of(result, reply);
	if (result == 0) {
		const Gofer__ReadReply *m = (const Gofer__ReadReply *)reply->message;

		if (reply->data_len > piece->count || (reply->data_len < piece->count && !m->eof))
			result = -EBADMSG;
		else
			result = copy_write(s->item->fd, reply->data, reply->data_len, piece->offset, false);
		s->g->progress.bytes += reply->data_len;
		if (m->eof)
			s->end = MIN(s->end, piece->offset + reply->data_len);
	}
	if (result < 0 && s->result == 0)
		s->result = result;
	free(piece);
	copy_progress_show(&s->g->progress, false);
}

static void stream_range(struct stream *s, uint64_t at, uint64_t end)
{
	struct cli *c = s->g->c;

	while (at < MIN(end, s->end) && s->result == 0) {
		Gofer__ReadRequest message = GOFER__READ_REQUEST__INIT;
		struct gofer_request request = { .type = RPC_TYPE_Read, .message = (void *)&message, .fd = -1 };
		struct piece *piece;
		int r = 0;

		while (s->out >= COPY_STREAM && r == 0)
			r = pipe_wait(c);
		if (r < 0) {
			s->result = r;
			break;
		}
		piece = cli_alloc(sizeof(*piece));
		*piece = (struct piece){ s, at, (uint32_t)MIN(end - at, (uint64_t)c->limits.max_data) };
		message.handle = s->item->handle;
		message.offset = at;
		message.count = piece->count;
		at += piece->count;
		s->out++;
		r = pipe_submit(c, &request, on_read, piece);
		if (r < 0)
			on_read(piece, r, NULL);
	}
}

static int seek_remote(struct get *g, uint64_t handle, uint64_t offset, bool hole, uint64_t *ret_offset)
{
	Gofer__SeekRequest message = GOFER__SEEK_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Seek, .message = (void *)&message, .fd = -1 };
	struct gofer_reply reply;
	int r;

	message.handle = handle;
	message.offset = offset;
	message.hole = hole;
	r = gofer_call(g->c->session, &request, &reply);
	if (r < 0)
		return r;
	*ret_offset = ((Gofer__SeekReply *)reply.message)->offset;
	gofer_reply_free(&reply);
	return *ret_offset < offset ? -EBADMSG : 0;
}

static int stream_item(struct get *g, struct item *item)
{
	uint64_t size = (uint64_t)item->st.st_size, at = 0;
	struct stream s = { .g = g, .item = item, .end = UINT64_MAX };
	int r;

	while (at < size && s.result == 0) {
		uint64_t data = at, hole = size;

		if (is_sparse(&item->st)) {
			r = seek_remote(g, item->handle, at, false, &data);
			if (r == -ENXIO)
				break;
			if (r == 0)
				r = seek_remote(g, item->handle, data, true, &hole);
			if (r < 0) {
				s.result = r;
				break;
			}
			if (hole == at) {
				s.result = -EBADMSG;
				break;
			}
		}
		stream_range(&s, data, MIN(hole, size));
		at = hole;
	}
	/* What is out refers to this frame: its answers come, or the session ends and answers for it. */
	while (s.out > 0) {
		r = gofer_session_process(g->c->session, -1);
		if (r < 0 && s.out > 0)
			cli_error(g->c, r, NULL, "server");
	}
	if (s.result == 0 && ftruncate(item->fd, (off_t)MIN(size, s.end)) < 0)
		s.result = -errno;
	return s.result;
}

static void copy_large(struct get *g, struct item *item)
{
	int r = item_create(g, item);

	if (r == 0)
		r = item->source >= 0 ? copy_native(item->source, item->fd, (uint64_t)item->st.st_size,
						    is_sparse(&item->st), &g->progress) :
					stream_item(g, item);
	g->n_large--;
	item->source = fd_close(item->source);
	if (r < 0)
		item_fail(g, item, r);
	item_done(g, item);
}

/* ---- the loop ---- */

static bool next_work(struct get *g, struct work *ret_work)
{
	struct work **stack = g->large && g->n_large < COPY_LARGE ? &g->large : &g->stack, *w = *stack;

	if (!w)
		return false;
	*stack = w->next;
	*ret_work = *w;
	free(w);
	return true;
}

static void run_work(struct get *g, struct work *w)
{
	switch (w->what) {
	case LIST:
		submit_list(g, w);
		break;
	case FETCH:
		submit_fetch(g, w);
		break;
	case LIST_XATTR:
		submit_list_xattr(g, w);
		break;
	case GET_XATTR:
		submit_get_xattr(g, w);
		break;
	}
}

static void run_all(struct get *g)
{
	struct work w;

	while (!pipe_signal) {
		if (g->ready) {
			struct item *item = g->ready;

			g->ready = item->next_waiter;
			copy_large(g, item);
		} else if (g->in_flight < COPY_WINDOW && next_work(g, &w)) {
			run_work(g, &w);
		} else if (g->in_flight > 0) {
			int r = pipe_wait(g->c);

			if (r < 0 && r != -EINTR)
				failed(g, r, "/");
		} else {
			break;
		}
	}
}

/* What an interrupted run, or one whose server went away, must not leave behind. */
static struct get *running;

static void clean_up(void)
{
	struct get *g = running;

	running = NULL;
	if (!g)
		return;
	copy_progress_end(&g->progress);
	for (struct item *item = g->items; item; item = item->next)
		item_drop_temp(g, item);
}

/* ---- operands ---- */

/* Where one operand goes: a directory of the user's, and a name in it (empty: into the directory itself). */
static int split_local(const char *dest, bool into, const char *name, int *ret_fd, char **ret_name)
{
	_cleanup_free_ char *parent = into ? cli_strdup(dest) : cli_dirname(dest);
	_cleanup_free_ char *last = into ? cli_strdup(name) : cli_basename(dest);
	int fd;

	/* cli_dirname() knows absolute paths only. */
	if (!into && !strchr(dest, '/')) {
		free(parent);
		parent = cli_strdup(".");
	} else if (!into && *dest != '/' && strcmp(parent, "/") == 0) {
		free(parent);
		parent = cli_strdup(".");
	}
	if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
		free(parent);
		parent = cli_strdup(dest);
		last[0] = '\0';
	}
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	*ret_name = TAKE_PTR(last);
	return 0;
}

static void get_one(struct get *g, struct cli_path *from, const char *dest, bool into)
{
	_cleanup_free_ char *name = cli_basename(from->path);
	_cleanup_free_ char *local_name = NULL;
	_cleanup_free_ char *target = NULL;
	_cleanup_free_ char *path = NULL;
	struct gofer_session *session;
	struct dir *top;
	struct stat st;
	uint32_t fs_id;
	int fd = -EBADF, r;

	r = gofer_stat(from->ns, from->path, g->o.recursive ? AT_SYMLINK_NOFOLLOW : 0, &st);
	if (r == 0) /* links on the way are resolved once, here; none is followed below */
		r = gofer_resolve(from->ns, from->path, !g->o.recursive || from->path[strlen(from->path) - 1] == '/', &session,
				  &fs_id, &path);
	if (r == 0 && S_ISLNK(st.st_mode)) {
		ssize_t n;

		target = cli_alloc(PATH_LEN_MAX + 1);
		n = gofer_readlink(from->ns, from->path, target, PATH_LEN_MAX);
		r = (int)MIN(n, 0);
	}
	if (r == 0 && S_ISDIR(st.st_mode) && !g->o.recursive)
		r = -EISDIR;
	if (r < 0) {
		cli_error(g->c, r, NULL, from->text);
		return;
	}
	if (path[0] != '/') {
		char *absolute = cli_join("", path);

		free(path);
		path = absolute;
	}
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		name[0] = '\0';
	r = split_local(dest, into, name, &fd, &local_name);
	if (r < 0) {
		cli_error(g->c, r, "open", dest);
		return;
	}
	g->v = from->volume;
	g->no_xattr = g->o.no_xattr;
	g->tree.inherits_acl = fgetxattr(fd, "system.posix_acl_default", NULL, 0) > 0;
	top = dir_new(NULL, local_top(fd), path, &st);
	if (!*local_name && !S_ISDIR(st.st_mode)) {
		failed(g, -EISDIR, path);
	} else if (!*local_name) {
		top->pending++;
		push(g, LIST, top, NULL, NULL);
	} else {
		top->keep = true;
		take(g, top, local_name, path, &st, target);
	}
	dir_done(g, top);
	running = g;
	cli_on_exit = clean_up;
	run_all(g);
	if (pipe_signal) {
		clean_up();
		fprintf(stderr, "gofer: get: interrupted\n");
		_exit(128 + pipe_signal);
	}
	running = NULL;
}

static void forget_inodes(struct get *g)
{
	struct copy_inode *inode, *next;

	HASH_ITER(hh, g->inodes, inode, next) {
		struct place *place = inode->first;

		HASH_DEL(g->inodes, inode);
		if (place) {
			local_unref(&g->tree, place->dir);
			free(place->name);
			free(place);
		}
		free(inode);
	}
}

static int run(int argc, char **argv)
{
	struct cli c;
	struct get g = { .c = &c };
	const char *dest;
	struct stat st;
	bool into;

	cli_begin(&c, &spec, argc, argv);
	copy_parse(&c, &g.o, &g.progress);
	cli_need_operands(&c, 2, g.o.plain ? 2 : -1);
	dest = c.argv[c.argc - 1];
	if (cli_is_remote(dest))
		cli_no_usage(&c, "'%s': the last operand is a local path (./%s for a name with ':')", dest, dest);
	if (!*dest)
		cli_no_usage(&c, "the local path is empty");
	into = !g.o.plain && stat(dest, &st) == 0 && S_ISDIR(st.st_mode);
	if (!into && c.argc > 2) {
		cli_error(&c, -ENOTDIR, NULL, dest);
		return cli_end(&c);
	}
	cli_connect(&c);
	copy_catch_signals();
	umask(0);
	copy_progress_start(&g.progress, g.o.quiet);
	for (int i = 0; i < c.argc - 1; i++) {
		_cleanup_path_ struct cli_path from = { 0 };

		if (cli_split(&c, c.argv[i], &from) == 0)
			get_one(&g, &from, dest, into);
		/* (device, inode) pairs of two volumes may be the same only by being the same file. */
		forget_inodes(&g);
	}
	copy_progress_end(&g.progress);
	return cli_end(&c);
}

const struct verb verb_get = { "get", "copy files and trees from a volume", run };
