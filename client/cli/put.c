/*
 * put.c - gofer put: copies local files and trees to a volume, with many requests in flight.
 *
 * Mental model. As in get.c, a stack of things to do feeds a window of requests, and callbacks only note what comes next. A file is
 * a `struct item` that goes through stages, one or more requests each:
 *
 *     MAKE    WriteFile of a small file; Open under a temporary name of a large one; Symlink, Mknod, Link
 *     XATTR   its extended attributes, all at once, while the file is still ours and writable
 *     ATTR    owner, mode and times in one SetAttr
 *     RENAME  of a large file, to its name
 *
 * A directory is made first, its names are read when it is there, and it gets its attributes when all below it are done. Nothing
 * is ever followed on this side either: local files are opened from their directory's descriptor with O_NOFOLLOW.
 */
#include "client/cli/copy_local.h"

#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/path.h"

static const struct cli_spec spec = {
	.verb = "put",
	.usage = "[OPTION]... LOCAL... NAME:/dest",
	.about = "Copies local files, and with -r trees, to a volume.",
	.options = copy_options_table,
	.notes =
		"Kept: mode, owner (where the server allows it; set-id bits only with it), times, symbolic links as links,\n"
		"hard links, holes, FIFOs, user.* attributes and ACLs. Sockets and devices are skipped. With 'LOCAL/.' the\n"
		"contents of LOCAL go into the destination. A symbolic link named on the command line is followed without -r.\n"
		"Interrupted, it removes what is unfinished and exits with 128 and the signal's number (130 for Ctrl-C).",
};

enum stage { MAKE, XATTR, ATTR, RENAME, LIST };

struct dir;

/* A file, or the directory object of a struct dir. */
struct item {
	struct item *prev, *next;
	struct dir *dir; /* that holds it; NULL for the top */
	struct dir *self; /* of a directory */
	char *name;      /* local */
	char *path;      /* remote */
	char *temp;      /* remote temporary name, while there is one */
	char *target;    /* of a symbolic link */
	struct stat st;
	struct copy_inode *inode;
	struct copy_xattr *xattrs;
	struct item *next_waiter;
	enum stage stage;
	unsigned pending;
	bool failed, again, no_owner;
	int source, dest; /* local file; donated descriptor */
	uint64_t handle;
};

struct dir {
	struct dir *parent;
	struct local_dir *local;
	struct item *item;
	unsigned pending;
	char **names; /* still to be looked at, from `at` */
	size_t n_names, at;
};

struct work {
	struct work *next;
	struct item *item;
};

struct put {
	struct cli *c;
	const struct cli_volume *v;
	struct copy_options o;
	struct copy_progress progress;
	struct local_tree tree;
	struct copy_inode *inodes;
	struct work *stack, *large;
	struct item *items, *ready;
	uint8_t *buffer; /* one small file */
	unsigned in_flight, n_large;
	bool no_xattr, no_owner;
};

struct call {
	struct put *p;
	struct item *item;
	struct copy_xattr *xattr;
};

static void failed(struct put *p, int r, const char *path)
{
	if (r == -EINTR && pipe_signal)
		return;
	copy_progress_end(&p->progress);
	cli_path_error(p->c, r, NULL, p->v, path);
}

static void item_fail(struct put *p, struct item *item, int r)
{
	if (!item->failed)
		failed(p, r, item->path);
	item->failed = true;
}

static bool is_large(const struct put *p, const struct stat *st)
{
	/* A file with holes goes the way that keeps them. */
	return (uint64_t)st->st_size > MIN(p->c->limits.inline_limit, p->c->limits.max_data) ||
	       (uint64_t)st->st_blocks * 512 < (uint64_t)st->st_size;
}

static void push(struct put *p, struct item *item, enum stage stage)
{
	struct work *w = cli_alloc(sizeof(*w));
	struct work **stack = stage == MAKE && S_ISREG(item->st.st_mode) && is_large(p, &item->st) ? &p->large : &p->stack;

	item->stage = stage;
	w->item = item;
	w->next = *stack;
	*stack = w;
}

static struct item *item_new(struct put *p, struct dir *dir, const char *name, const char *path, const struct stat *st)
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

static void dir_done(struct put *p, struct dir *d)
{
	if (!d || --d->pending > 0)
		return;
	/* Everything below is done: now its own attributes. */
	push(p, d->item, XATTR);
}

static void item_free(struct put *p, struct item *item)
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
	dir_done(p, dir);
}

static void item_end(struct put *p, struct item *item)
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
			push(p, w, MAKE);
			w = NULL;
		} else {
			inode->failed = true;
		}
		while (w) {
			struct item *next = w->next_waiter;

			push(p, w, MAKE);
			w = next;
		}
	}
	item_free(p, item);
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
static int open_source(struct put *p, struct item *item, int *ret_fd)
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
static void take(struct put *p, struct dir *dir, const char *name, const char *path, int dirfd, const struct stat *st)
{
	struct item *item;
	char target[PATH_LEN_MAX + 1];
	ssize_t n;

	p->progress.files_found++;
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && !S_ISLNK(st->st_mode) && !S_ISFIFO(st->st_mode)) {
		p->progress.files++;
		if (!p->o.quiet) {
			copy_progress_end(&p->progress);
			cli_warn(p->c, "%s:%s: skipped, a %s", p->v->name, path, cli_type_name(st->st_mode));
		}
		return;
	}
	item = item_new(p, dir, name, path, st);
	if (S_ISREG(st->st_mode))
		p->progress.bytes_found += (uint64_t)st->st_size;
	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(dirfd, name, target, sizeof(target) - 1);
		if (n < 0) {
			item_fail(p, item, -errno);
			item_end(p, item);
			return;
		}
		target[n] = '\0';
		item->target = cli_strdup(target);
	}
	if (S_ISDIR(st->st_mode)) {
		item->self = cli_alloc(sizeof(*item->self));
		*item->self = (struct dir){ .parent = dir, .local = local_child(dir->local, name), .item = item };
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
	push(p, item, MAKE);
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
			char **grown = reallocarray(d->names, MAX(2 * allocated, (size_t)64), sizeof(*grown));

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
static void list_some(struct put *p, struct item *item)
{
	struct dir *d = item->self;
	size_t end;
	int fd;

	if (!d->names) {
		int r = read_names(p, d);

		if (r < 0) {
			failed(p, r, item->path);
			dir_done(p, d);
			return;
		}
	}
	end = MIN(d->n_names, d->at + 64);
	if (end < d->n_names)
		push(p, item, LIST);
	for (; d->at < end; d->at++) {
		_cleanup_free_ char *name = TAKE_PTR(d->names[d->at]);
		_cleanup_free_ char *path = cli_join(item->path, name);
		struct stat st;

		fd = local_fd(&p->tree, d->local);
		if (fd < 0 || fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			failed(p, fd < 0 ? fd : -errno, path);
		else
			take(p, d, name, path, fd, &st);
	}
	if (end == d->n_names)
		dir_done(p, d);
}

/* ---- requests and answers ---- */

static void advance(struct put *p, struct item *item);

static void answered(struct put *p, struct item *item, int result)
{
	if (result < 0)
		item_fail(p, item, result);
	if (--item->pending == 0)
		advance(p, item);
}

static int result_of(int result, const struct gofer_reply *reply)
{
	return result == 0 && reply->kind != GOFER_REPLY_OK ? -ELOOP : result;
}

static void submit(struct put *p, struct item *item, const struct rpc_info *rpc, void *message, const void *data, size_t len,
		   gofer_callback callback, struct copy_xattr *xattr)
{
	struct gofer_request request = { .type = rpc->type, .message = message, .data = data, .data_len = len, .fd = -1 };
	struct call *call = cli_alloc(sizeof(*call));
	int r;

	*call = (struct call){ p, item, xattr };
	item->pending++;
	p->in_flight++;
	r = pipe_submit(p->c, &request, callback, call);
	if (r < 0)
		callback(call, r, NULL);
}

/* The object itself, wherever it is now. */
static void object_path(struct put *p, struct item *item, Gofer__Path *ret_path)
{
	pipe_path(ret_path, p->v, item->temp ? item->temp : item->path);
	if (item->handle) {
		ret_path->base_handle = item->handle;
		ret_path->path.len = 0;
	}
}

static void on_made(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;

	p->in_flight--;
	free(call);
	result = result_of(result, reply);
	if (result == -EEXIST && S_ISDIR(item->st.st_mode)) {
		struct stat st;

		result = gofer_stat(p->v->ns, item->path, AT_SYMLINK_NOFOLLOW, &st);
		if (result == 0 && !S_ISDIR(st.st_mode))
			result = -ENOTDIR;
	} else if (result == -EEXIST && !item->again) {
		/* Links and FIFOs replace what was there, as a rename does for files. */
		item->again = true;
		result = gofer_unlink(p->v->ns, item->path);
		if (result == 0) {
			item->pending--;
			push(p, item, MAKE);
			return;
		}
	}
	if (result == 0 && S_ISREG(item->st.st_mode) && !(item->inode && item->inode->done))
		p->progress.bytes += (uint64_t)item->st.st_size;
	answered(p, item, result);
}

static void on_open(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;
	struct stat st;

	p->in_flight--;
	free(call);
	result = result_of(result, reply);
	if (result == 0) {
		const Gofer__OpenReply *m = (const Gofer__OpenReply *)reply->message;

		item->handle = m->handle;
		item->dest = TAKE_FD(reply->fd);
		if (!item->handle || (item->dest >= 0 && (fstat(item->dest, &st) < 0 || !S_ISREG(st.st_mode))))
			result = -EBADMSG;
	}
	if (result < 0) {
		free(TAKE_PTR(item->temp));
		p->n_large--;
		answered(p, item, result);
		return;
	}
	item->next_waiter = p->ready;
	p->ready = item;
}

static void on_xattr(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;

	p->in_flight--;
	result = result_of(result, reply);
	/* The file is worth having without them; what is missing is said. */
	if (result == -EOPNOTSUPP)
		p->no_xattr = true;
	else if (result < 0)
		failed(p, result, item->path);
	free(call);
	answered(p, item, 0);
}

static void on_attr(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;

	p->in_flight--;
	free(call);
	result = result_of(result, reply);
	if (result == -EPERM && !item->no_owner) {
		/* Not ours to give away. */
		p->no_owner = item->no_owner = true;
		item->pending--;
		push(p, item, ATTR);
		return;
	}
	if (result < 0)
		failed(p, result, item->path);
	answered(p, item, 0);
}

static void on_renamed(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;

	p->in_flight--;
	free(call);
	result = result_of(result, reply);
	if (result == 0)
		free(TAKE_PTR(item->temp));
	answered(p, item, result);
}

static void make_large(struct put *p, struct item *item)
{
	Gofer__OpenRequest message = GOFER__OPEN_REQUEST__INIT;
	char name[COPY_TEMP_NAME];
	Gofer__Path path;

	p->n_large++;
	message.flags = GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_DONATE;
	if (p->o.in_place) {
		message.flags |= GOFER__OPEN_FLAG__OPEN_TRUNCATE;
	} else {
		_cleanup_free_ char *parent = cli_dirname(item->path);

		copy_temp_name(name);
		item->temp = cli_join(parent, name);
		message.flags |= GOFER__OPEN_FLAG__OPEN_EXCLUSIVE;
	}
	pipe_path(&path, p->v, item->temp ? item->temp : item->path);
	message.path = &path;
	message.mode = 0600;
	submit(p, item, &rpc_table[RPC_INDEX_Open], &message, NULL, 0, on_open, NULL);
}

static void make_file(struct put *p, struct item *item)
{
	Gofer__WriteFileRequest message = GOFER__WRITE_FILE_REQUEST__INIT;
	_cleanup_fd_ int fd = -EBADF;
	Gofer__Path path;
	size_t len = 0;
	int r = open_source(p, item, &fd);

	if (r == 0 && is_large(p, &item->st)) {
		item->source = TAKE_FD(fd);
		make_large(p, item);
		return;
	}
	while (r == 0 && len < (size_t)item->st.st_size) {
		ssize_t n = read(fd, p->buffer + len, (size_t)item->st.st_size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			r = n < 0 ? -errno : r;
			break;
		}
		len += (size_t)n;
	}
	if (r < 0) {
		item_fail(p, item, r);
		item_end(p, item);
		return;
	}
	pipe_path(&path, p->v, item->path);
	message.path = &path;
	message.mode = 0600;
	message.atomic = !p->o.in_place;
	submit(p, item, &rpc_table[RPC_INDEX_WriteFile], &message, p->buffer, len, on_made, NULL);
}

static void make(struct put *p, struct item *item)
{
	Gofer__SymlinkRequest symlink = GOFER__SYMLINK_REQUEST__INIT;
	Gofer__MknodRequest mknod = GOFER__MKNOD_REQUEST__INIT;
	Gofer__MkdirRequest mkdir = GOFER__MKDIR_REQUEST__INIT;
	Gofer__LinkRequest link = GOFER__LINK_REQUEST__INIT;
	Gofer__Path path, from;

	pipe_path(&path, p->v, item->path);
	if (item->inode && item->inode->done) {
		pipe_path(&from, p->v, item->inode->first);
		link.source = &from;
		link.dest = &path;
		submit(p, item, &rpc_table[RPC_INDEX_Link], &link, NULL, 0, on_made, NULL);
		return;
	}
	switch (item->st.st_mode & S_IFMT) {
	case S_IFREG:
		make_file(p, item);
		break;
	case S_IFDIR:
		mkdir.path = &path;
		mkdir.mode = 0700;
		submit(p, item, &rpc_table[RPC_INDEX_Mkdir], &mkdir, NULL, 0, on_made, NULL);
		break;
	case S_IFLNK:
		symlink.path = &path;
		symlink.target.data = (uint8_t *)item->target;
		symlink.target.len = strlen(item->target);
		submit(p, item, &rpc_table[RPC_INDEX_Symlink], &symlink, NULL, 0, on_made, NULL);
		break;
	default:
		mknod.path = &path;
		mknod.mode = S_IFIFO | 0600;
		submit(p, item, &rpc_table[RPC_INDEX_Mknod], &mknod, NULL, 0, on_made, NULL);
	}
}

static void set_xattrs(struct put *p, struct item *item)
{
	if (!item->xattrs || p->no_xattr) {
		push(p, item, ATTR);
		return;
	}
	/* One more than there are, so that none ends the stage while others are still to be sent. */
	item->pending++;
	for (struct copy_xattr *x = item->xattrs; x; x = x->next) {
		Gofer__SetXattrRequest message = GOFER__SET_XATTR_REQUEST__INIT;
		Gofer__Path path;

		object_path(p, item, &path);
		message.path = &path;
		message.name.data = (uint8_t *)x->name;
		message.name.len = strlen(x->name);
		submit(p, item, &rpc_table[RPC_INDEX_SetXattr], &message, x->value, x->len, on_xattr, x);
	}
	answered(p, item, 0);
}

static void set_attr(struct put *p, struct item *item)
{
	Gofer__SetAttrRequest message = GOFER__SET_ATTR_REQUEST__INIT;
	mode_t mode = item->st.st_mode & 07777;
	Gofer__Path path;

	item->no_owner |= p->no_owner;
	object_path(p, item, &path);
	message.path = &path;
	message.mask = GOFER__SET_ATTR_MASK__SET_ATIME | GOFER__SET_ATTR_MASK__SET_MTIME;
	if (!item->no_owner)
		message.mask |= GOFER__SET_ATTR_MASK__SET_UID | GOFER__SET_ATTR_MASK__SET_GID;
	else
		mode &= ~(mode_t)(S_ISUID | S_ISGID);
	if (!S_ISLNK(item->st.st_mode))
		message.mask |= GOFER__SET_ATTR_MASK__SET_MODE;
	message.mode = mode;
	message.uid = item->st.st_uid;
	message.gid = item->st.st_gid;
	message.atime = item->st.st_atim.tv_sec;
	message.atime_nsec = (uint32_t)item->st.st_atim.tv_nsec;
	message.mtime = item->st.st_mtim.tv_sec;
	message.mtime_nsec = (uint32_t)item->st.st_mtim.tv_nsec;
	submit(p, item, &rpc_table[RPC_INDEX_SetAttr], &message, NULL, 0, on_attr, NULL);
}

static void rename_temp(struct put *p, struct item *item)
{
	Gofer__RenameRequest message = GOFER__RENAME_REQUEST__INIT;
	Gofer__Path from, to;

	pipe_path(&from, p->v, item->temp);
	pipe_path(&to, p->v, item->path);
	message.source = &from;
	message.dest = &to;
	submit(p, item, &rpc_table[RPC_INDEX_Rename], &message, NULL, 0, on_renamed, NULL);
}

/* A stage is over: the next one, or the end. Only notes it, for callbacks come here. */
static void advance(struct put *p, struct item *item)
{
	bool linked = item->inode && item->inode->done;

	if (item->failed && item->self && item->stage == MAKE) {
		item_end(p, item);
	} else if (item->failed && !item->self) {
		item_end(p, item);
	} else if (item->stage == MAKE && item->self) {
		item->self->pending = 1;
		push(p, item, LIST);
	} else if (item->stage == MAKE && !linked) {
		push(p, item, XATTR);
	} else if (item->stage == XATTR) {
		push(p, item, ATTR);
	} else if (item->stage == ATTR && item->temp) {
		push(p, item, RENAME);
	} else {
		item_end(p, item);
	}
}

/* ---- large files ---- */

struct stream {
	struct put *p;
	unsigned out;
	int result;
};

struct piece {
	struct stream *s;
	size_t len;
};

static void on_write(void *userdata, int result, struct gofer_reply *reply)
{
	struct piece *piece = userdata;
	struct stream *s = piece->s;

	s->out--;
	result = result_of(result, reply);
	/* Less than asked is a full disk or a limit: the next Write would say so, but none follows here. */
	if (result == 0 && ((const Gofer__WriteReply *)reply->message)->count != piece->len)
		result = -ENOSPC;
	if (result < 0 && s->result == 0)
		s->result = result;
	s->p->progress.bytes += piece->len;
	copy_progress_show(&s->p->progress, false);
	free(piece);
}

static void stream_range(struct stream *s, struct item *item, uint8_t *buf, uint64_t at, uint64_t end)
{
	struct cli *c = s->p->c;

	while (at < end && s->result == 0) {
		Gofer__WriteRequest message = GOFER__WRITE_REQUEST__INIT;
		struct gofer_request request = { .type = RPC_TYPE_Write, .message = (void *)&message, .data = buf, .fd = -1 };
		struct piece *piece;
		ssize_t n;
		int r = 0;

		while (s->out >= COPY_STREAM && r == 0)
			r = pipe_wait(c);
		n = r < 0 ? 0 : pread(item->source, buf, MIN(end - at, (uint64_t)c->limits.max_data), (off_t)at);
		if (r < 0 || n < 0) {
			s->result = r < 0 ? r : -errno;
			break;
		}
		if (n == 0)
			break; /* it shrank */
		piece = cli_alloc(sizeof(*piece));
		*piece = (struct piece){ s, (size_t)n };
		message.handle = item->handle;
		message.offset = at;
		request.data_len = (size_t)n;
		at += (uint64_t)n;
		s->out++;
		r = pipe_submit(c, &request, on_write, piece);
		if (r < 0)
			on_write(piece, r, NULL);
	}
}

static int stream_item(struct put *p, struct item *item)
{
	_cleanup_free_ uint8_t *buf = cli_alloc(p->c->limits.max_data);
	Gofer__SetAttrRequest message = GOFER__SET_ATTR_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_SetAttr, .message = (void *)&message, .fd = -1 };
	struct stream s = { .p = p };
	struct gofer_reply reply;
	Gofer__Path path;
	off_t at = 0;
	int r;

	while (at < item->st.st_size && s.result == 0) {
		off_t data = lseek(item->source, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? item->st.st_size : lseek(item->source, data, SEEK_HOLE);
		data = MAX(data, at);
		if (hole < 0) {
			s.result = -errno;
			break;
		}
		stream_range(&s, item, buf, (uint64_t)data, (uint64_t)MIN(hole, item->st.st_size));
		at = hole;
	}
	while (s.out > 0) {
		r = gofer_session_process(p->c->session, -1);
		if (r < 0 && s.out > 0)
			cli_error(p->c, r, NULL, "server");
	}
	if (s.result < 0)
		return s.result;
	object_path(p, item, &path);
	message.path = &path;
	message.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
	message.size = (uint64_t)item->st.st_size;
	r = gofer_call(p->c->session, &request, &reply);
	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

static void copy_large(struct put *p, struct item *item)
{
	bool sparse = (uint64_t)item->st.st_blocks * 512 < (uint64_t)item->st.st_size;
	int r = item->dest >= 0 ? copy_native(item->source, item->dest, (uint64_t)item->st.st_size, sparse, &p->progress) :
				  stream_item(p, item);

	p->n_large--;
	item->source = fd_close(item->source);
	item->dest = fd_close(item->dest);
	item->next_waiter = NULL;
	answered(p, item, r);
}

/* ---- the loop ---- */

static void run_stage(struct put *p, struct item *item)
{
	switch (item->stage) {
	case MAKE:
		make(p, item);
		break;
	case XATTR:
		set_xattrs(p, item);
		break;
	case ATTR:
		set_attr(p, item);
		break;
	case RENAME:
		rename_temp(p, item);
		break;
	case LIST:
		list_some(p, item);
		break;
	}
}

static void run_all(struct put *p)
{
	while (!pipe_signal) {
		struct work **stack = p->large && p->n_large < COPY_LARGE ? &p->large : &p->stack, *w = *stack;

		if (p->ready) {
			struct item *item = p->ready;

			p->ready = item->next_waiter;
			copy_large(p, item);
		} else if (w && p->in_flight < COPY_WINDOW) {
			struct item *item = w->item;

			*stack = w->next;
			free(w);
			run_stage(p, item);
		} else if (p->in_flight > 0) {
			int r = pipe_wait(p->c);

			if (r < 0 && r != -EINTR)
				failed(p, r, "/");
		} else {
			break;
		}
	}
}

/* Temporary names on the server; once it is gone, nobody can remove them from here. */
static void clean_up(struct put *p)
{
	copy_progress_end(&p->progress);
	/* Answers first: an Open in flight may still make a name. */
	gofer_session_drain(p->c->session);
	for (struct item *item = p->items; item; item = item->next)
		if (item->temp)
			gofer_unlink(p->v->ns, item->temp);
}

/* ---- operands ---- */

static void put_one(struct put *p, const char *source, struct cli_path *to, bool into)
{
	_cleanup_free_ char *name = cli_basename(source);
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *above = NULL;
	struct gofer_session *session;
	struct dir *top;
	struct stat st;
	uint32_t fs_id;
	int fd, r;

	if (fstatat(AT_FDCWD, source, &st, p->o.recursive ? AT_SYMLINK_NOFOLLOW : 0) < 0) {
		cli_error(p->c, -errno, NULL, source);
		return;
	}
	if (S_ISDIR(st.st_mode) && !p->o.recursive) {
		cli_error(p->c, -EISDIR, NULL, source);
		return;
	}
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		name[0] = '\0';
	/* Links on the way to the destination are resolved once, here. */
	r = gofer_resolve(to->ns, to->path, into, &session, &fs_id, &path);
	if (r < 0) {
		cli_error(p->c, r, NULL, to->text);
		return;
	}
	{
		char *whole = cli_join(path[0] == '/' ? "" : "/", path);
		char *dest = into && *name ? cli_join(whole, name) : cli_strdup(whole);

		free(path);
		free(whole);
		path = dest;
	}
	/* What is copied is named from an open directory; of a link that is followed, that of its target. */
	if (!p->o.recursive) {
		char *real = realpath(source, NULL);

		if (!real) {
			cli_error(p->c, -errno, NULL, source);
			return;
		}
		above = cli_dirname(real);
		free(name);
		name = cli_basename(real);
		free(real);
	} else if (S_ISDIR(st.st_mode) && !*name) {
		above = cli_strdup(source);
		free(name);
		name = cli_strdup(".");
	} else {
		above = strchr(source, '/') ? cli_dirname(source) : cli_strdup(".");
		if (*source != '/' && strcmp(above, "/") == 0) {
			free(above);
			above = cli_strdup(".");
		}
	}
	fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		cli_error(p->c, -errno, "open", above);
		return;
	}
	top = cli_alloc(sizeof(*top));
	top->local = local_top(fd);
	top->pending = 2; /* never finished: it is not part of what is copied */
	p->v = to->volume;
	p->no_xattr = p->o.no_xattr;
	p->no_owner = false;
	take(p, top, name, path, fd, &st);
	run_all(p);
	if (pipe_signal) {
		clean_up(p);
		fprintf(stderr, "gofer: put: interrupted\n");
		_exit(128 + pipe_signal);
	}
	local_unref(&p->tree, top->local);
	free(top);
}

static int run(int argc, char **argv)
{
	struct cli c;
	struct put p = { .c = &c };
	_cleanup_path_ struct cli_path to = { 0 };
	struct copy_inode *inode, *next;
	struct stat st;
	bool into;

	cli_begin(&c, &spec, argc, argv);
	copy_parse(&c, &p.o, &p.progress);
	cli_need_operands(&c, 2, p.o.plain ? 2 : -1);
	cli_connect(&c);
	if (cli_split(&c, c.argv[c.argc - 1], &to) < 0)
		return cli_end(&c);
	into = !p.o.plain && gofer_stat(to.ns, to.path, 0, &st) == 0 && S_ISDIR(st.st_mode);
	if (!into && c.argc > 2) {
		cli_error(&c, -ENOTDIR, NULL, to.text);
		return cli_end(&c);
	}
	p.buffer = cli_alloc(MAX(c.limits.inline_limit, c.limits.max_data));
	copy_catch_signals();
	copy_progress_start(&p.progress, p.o.quiet);
	for (int i = 0; i < c.argc - 1; i++)
		put_one(&p, c.argv[i], &to, into);
	HASH_ITER(hh, p.inodes, inode, next) {
		HASH_DEL(p.inodes, inode);
		free(inode->first);
		free(inode);
	}
	free(p.buffer);
	copy_progress_end(&p.progress);
	return cli_end(&c);
}

const struct verb verb_put = { "put", "copy files and trees to a volume", run };
