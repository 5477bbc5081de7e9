/*
 * put_request.c - gofer put: the requests of each stage, and what their answers lead to.
 */
#include "client/cli/put.h"

#include <fcntl.h>
#include <string.h>

struct call {
	struct put *p;
	struct item *item;
	struct copy_xattr *xattr;
};

static void submit(struct put *p, struct item *item, const struct rpc_info *rpc, void *message,
		   const void *data, size_t len, gofer_callback callback, struct copy_xattr *xattr)
{
	struct gofer_request request = {
		.type = rpc->type, .message = message, .data = data, .data_len = len, .fd = -1
	};
	struct call *call = cli_alloc(sizeof(*call));
	int r;

	*call = (struct call){ p, item, xattr };
	item->pending++;
	p->in_flight++;
	r = pipe_submit(p->c, &request, callback, call);
	if (r < 0)
		callback(call, r, NULL);
}

static void on_made(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;

	p->in_flight--;
	free(call);
	result = put_result(result, reply);
	if (result == -EEXIST && S_ISDIR(item->st.st_mode)) {
		item->pending--;
		put_push(p, item, CHECK);
		return;
	} else if (result == -EEXIST && !item->again) {
		/* Links and FIFOs replace what was there, as a rename does for files. */
		item->again = true;
		result = gofer_unlink(p->v->ns, item->path);
		if (result == 0) {
			item->pending--;
			put_push(p, item, MAKE);
			return;
		}
	}
	if (result == 0 && S_ISREG(item->st.st_mode) && !(item->inode && item->inode->done))
		p->progress.bytes += (uint64_t)item->st.st_size;
	put_answered(p, item, result);
}

/* Of what has the name of a directory that was to be made. */
static void on_checked(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;

	p->in_flight--;
	free(call);
	result = put_result(result, reply);
	if (result == 0) {
		mode_t mode = ((const Gofer__StatReply *)reply->message)->attr->mode;

		if (!S_ISDIR(mode))
			result = -ENOTDIR;
		/* It gets its true mode when all is in it; until then we must be able to write. */
		else if ((mode & 0700) != 0700)
			(void)gofer_chmod(p->v->ns, item->path, (mode & 07777) | 0700);
	}
	item->stage = MAKE;
	put_answered(p, item, result);
}

static void on_open(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;
	struct stat st;

	p->in_flight--;
	free(call);
	result = put_result(result, reply);
	if (result == 0) {
		const Gofer__OpenReply *m = (const Gofer__OpenReply *)reply->message;

		item->handle = m->handle;
		item->dest = TAKE_FD(reply->fd);
		if (!item->handle ||
		    (item->dest >= 0 && (fstat(item->dest, &st) < 0 || !S_ISREG(st.st_mode))))
			result = -EBADMSG;
	}
	if (result < 0) {
		free(TAKE_PTR(item->temp));
		p->n_large--;
		put_answered(p, item, result);
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
	result = put_result(result, reply);
	/* The file is worth having without them; what is missing is said. */
	if (result < 0 && result != -EOPNOTSUPP && !pipe_signal) {
		_cleanup_free_ char *what = NULL;

		copy_progress_break(&p->progress);
		if (asprintf(&what, "set %s of", call->xattr->name) < 0)
			abort();
		cli_path_error(p->c, result, what, p->v, item->path);
	}
	free(call);
	put_answered(p, item, 0);
}

static void on_attr(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;

	p->in_flight--;
	free(call);
	result = put_result(result, reply);
	if (result == -EPERM && !item->no_owner) {
		/* Not ours to give away. */
		p->no_owner = item->no_owner = true;
		item->pending--;
		put_push(p, item, ATTR);
		return;
	}
	if (result < 0)
		put_failed(p, result, item->path);
	put_answered(p, item, 0);
}

static void on_renamed(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct put *p = call->p;
	struct item *item = call->item;

	p->in_flight--;
	free(call);
	result = put_result(result, reply);
	if (result == 0)
		free(TAKE_PTR(item->temp));
	put_answered(p, item, result);
}

static void make_large(struct put *p, struct item *item)
{
	Gofer__OpenRequest message = GOFER__OPEN_REQUEST__INIT;
	char name[COPY_TEMP_NAME];
	Gofer__Path path;

	p->n_large++;
	message.flags = GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE |
			GOFER__OPEN_FLAG__OPEN_DONATE;
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
	int r = put_open_source(p, item, &fd);

	if (r == 0 && put_is_large(p, &item->st)) {
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
		put_item_fail(p, item, r);
		put_item_end(p, item);
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

static void check(struct put *p, struct item *item)
{
	Gofer__StatRequest message = GOFER__STAT_REQUEST__INIT;
	Gofer__Path path;

	pipe_path(&path, p->v, item->path);
	message.path = &path;
	submit(p, item, &rpc_table[RPC_INDEX_Stat], &message, NULL, 0, on_checked, NULL);
}

static void set_xattrs(struct put *p, struct item *item)
{
	if (!item->xattrs || p->no_xattr) {
		put_push(p, item, ATTR);
		return;
	}
	/* One more than there are, so that none ends the stage while others are still to be sent.
	 */
	item->pending++;
	for (struct copy_xattr *x = item->xattrs; x; x = x->next) {
		Gofer__SetXattrRequest message = GOFER__SET_XATTR_REQUEST__INIT;
		Gofer__Path path;

		put_object_path(p, item, &path);
		message.path = &path;
		message.name.data = (uint8_t *)x->name;
		message.name.len = strlen(x->name);
		submit(p, item, &rpc_table[RPC_INDEX_SetXattr], &message, x->value, x->len,
		       on_xattr, x);
	}
	put_answered(p, item, 0);
}

static void set_attr(struct put *p, struct item *item)
{
	Gofer__SetAttrRequest message = GOFER__SET_ATTR_REQUEST__INIT;
	mode_t mode = item->st.st_mode & 07777;
	Gofer__Path path;

	item->no_owner |= p->no_owner;
	put_object_path(p, item, &path);
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

void put_run_stage(struct put *p, struct item *item)
{
	switch (item->stage) {
	case MAKE:
		make(p, item);
		break;
	case CHECK:
		check(p, item);
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
		put_list_some(p, item);
		break;
	}
}
