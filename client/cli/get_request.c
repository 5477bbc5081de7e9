/*
 * get_request.c - gofer get: the requests, and what their answers lead to. Callbacks write what is
 * small at once and note (get_push) what comes next; they never submit.
 */
#include "client/cli/get.h"

#include <string.h>

#include "common/path.h"

/* What a callback gets. */
struct call {
	struct get *g;
	struct work work;
};

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
		get_failed(g, -EBADMSG, d->path);
		return;
	}
	if (!e->attr) /* gone meanwhile */
		return;
	name = to_name(&e->name);
	path = cli_join(d->path, name);
	if (e->target.len) {
		if (memchr(e->target.data, '\0', e->target.len) || e->target.len > PATH_LEN_MAX) {
			get_failed(g, -EBADMSG, path);
			return;
		}
		target = to_name(&e->target);
	}
	get_attr_to_stat(e->attr, &st);
	get_take(g, d, name, path, &st, target);
}

static void on_list(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct get *g = call->g;
	struct dir *d = call->work.dir;
	const Gofer__ReadDirReply *m;

	g->in_flight--;
	result = get_result(result, reply);
	if (result < 0) {
		get_failed(g, result, d->path);
	} else {
		m = (const Gofer__ReadDirReply *)reply->message;
		if (!m->end && m->n_entries) {
			d->cookie = m->entries[m->n_entries - 1]->cookie;
			d->pending++;
			get_push(g, LIST, d, NULL, NULL);
		} else if (!m->end) {
			get_failed(g, -EBADMSG, d->path);
		}
		for (size_t i = 0; i < m->n_entries; i++)
			take_entry(g, d, m->entries[i]);
	}
	get_dir_done(g, d);
	free(call);
}

static void on_read_file(void *userdata, int result, struct gofer_reply *reply)
{
	struct call *call = userdata;
	struct get *g = call->g;
	struct item *item = call->work.item;
	const Gofer__ReadFileReply *m;

	g->in_flight--;
	result = get_result(result, reply);
	m = result == 0 ? (const Gofer__ReadFileReply *)reply->message : NULL;
	if (m && !m->eof) {
		/* It grew beyond what fits: the long way. */
		item->st.st_size = (off_t)MAX((uint64_t)item->st.st_size,
					      (uint64_t)g->c->limits.inline_limit + 1);
		item->pending--;
		get_push(g, FETCH, NULL, item, NULL);
		free(call);
		return;
	}
	if (result == 0 && m->attr && !S_ISREG(m->attr->mode))
		result = -EBADMSG;
	if (result == 0) {
		/* The times of what was read, not of what was listed. */
		if (m->attr)
			get_attr_to_stat(m->attr, &item->st);
		item->st.st_size = (off_t)reply->data_len;
		result = get_item_create(g, item);
	}
	if (result == 0)
		result = copy_write(item->fd, reply->data, reply->data_len, 0,
				    get_is_sparse(&item->st));
	if (result == 0 && get_is_sparse(&item->st) && ftruncate(item->fd, item->st.st_size) < 0)
		result = -errno;
	if (result < 0)
		get_item_fail(g, item, result);
	else
		g->progress.bytes += reply->data_len;
	get_item_done(g, item);
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
	result = get_result(result, reply);
	if (result == 0) {
		m = (const Gofer__OpenReply *)reply->message;
		item->source = TAKE_FD(reply->fd);
		item->handle = m->handle;
		if (m->attr)
			get_attr_to_stat(m->attr, &item->st);
		/* Only a regular file ends where it says. */
		if (item->source >= 0 && (fstat(item->source, &st) < 0 || !S_ISREG(st.st_mode)))
			result = -EBADMSG;
		else if (item->source < 0 && !item->handle)
			result = -EBADMSG;
	}
	if (result < 0) {
		g->n_large--;
		get_item_fail(g, item, result);
		get_item_done(g, item);
	} else {
		item->next_waiter = g->ready;
		g->ready = item;
	}
	free(call);
}

static void attribute_done(struct get *g, struct work *w)
{
	if (w->item)
		get_item_done(g, w->item);
	else
		get_dir_done(g, w->dir);
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
	result = get_result(result, reply);
	if (result == -EOPNOTSUPP) {
		g->no_xattr = true;
	} else if (result < 0) {
		get_failed(g, result, work_path(w));
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
			get_push(g, GET_XATTR, w->dir, w->item, name);
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
	result = get_result(result, reply);
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
		get_failed(g, result, work_path(w));
	}
	attribute_done(g, w);
	free(call);
}

/* ---- requests ---- */

static void submit(struct get *g, uint16_t type, void *message, gofer_callback callback,
		   const struct work *w)
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
		get_failed(g, r, w->dir->path);
		w->dir->failed = true;
		get_dir_done(g, w->dir);
		return;
	}
	if (!w->dir->cookie && !g->no_xattr && !w->dir->keep) {
		w->dir->pending++;
		get_push(g, LIST_XATTR, w->dir, NULL, NULL);
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
		int r = get_link_local(g, item);

		if (r < 0)
			get_failed(g, r, item->path);
		g->progress.files++;
		g->progress.bytes_found -= MIN(g->progress.bytes_found, (uint64_t)item->st.st_size);
		get_item_free(g, item);
		return;
	}
	pipe_path(&path, g->v, item->path);
	item->pending++;
	if (!g->no_xattr && !item->xattrs) {
		item->pending++;
		get_push(g, LIST_XATTR, NULL, item, NULL);
	}
	if ((uint64_t)item->st.st_size <= g->c->limits.inline_limit) {
		small.path = &path;
		small.count = g->c->limits.inline_limit;
		submit(g, RPC_TYPE_ReadFile, &small, on_read_file, w);
		return;
	}
	g->n_large++;
	large.path = &path;
	large.flags = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE |
		      GOFER__OPEN_FLAG__OPEN_ONLY_DONATED;
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

void get_run_work(struct get *g, struct work *w)
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

void get_drop_work(struct get *g, struct work *w)
{
	if (w->what == FETCH)
		w->item->pending++;
	if (w->item)
		w->item->failed = true;
	else
		w->dir->failed = true;
	if (w->what == FETCH)
		get_item_done(g, w->item);
	else if (w->what == LIST)
		get_dir_done(g, w->dir);
	else
		attribute_done(g, w);
}
