/*
 * place.c - places: directories (and files without a name) held open by a handle of the server, to
 * start from. A view's current directory is one; the *at calls take others.
 *
 * A place remembers the absolute path that it had when it was opened. Requests go by its handle, so
 * that renaming the directory does no harm; the path only says which mount points may lie below,
 * and where ".." leaves the mount.
 */
#include <fcntl.h>
#include <string.h>

#include "client/namespace.h"

struct gofer_place *place_new(struct mount *mount, uint64_t handle, const char *path,
			      const Gofer__Attr *attr)
{
	size_t n = strlen(path) + 1;
	struct gofer_place *p = malloc(sizeof(*p) + n);

	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	p->mount = mount_ref(mount);
	p->handle = handle;
	p->dev = attr ? attr->dev : 0;
	p->ino = attr ? attr->ino : 0;
	memcpy(p->path, path, n);
	return p;
}

struct gofer_place *gofer_place_ref(struct gofer_place *place)
{
	if (place)
		atomic_fetch_add_explicit(&place->refs, 1, memory_order_relaxed);
	return place;
}

void gofer_place_unref(struct gofer_place *place)
{
	if (!place || atomic_fetch_sub_explicit(&place->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (place->handle)
		gofer_handle_close(place->mount->session, place->handle);
	mount_unref(place->mount);
	free(place);
}

const char *gofer_place_path(const struct gofer_place *place)
{
	return place->path;
}

/* Opens the directory that the lookup leads to, if it may be searched. */
static int enter(struct lookup *l, uint64_t *ret_handle, Gofer__Attr *ret_attr, char *path)
{
	Gofer__OpenRequest m = GOFER__OPEN_REQUEST__INIT;
	Gofer__AccessRequest search = GOFER__ACCESS_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_Open,
			       .message = &m.base,
			       .lookup = { l },
			       .path = { &where },
			       .fd = -1 };
	struct path_call a = {
		.type = RPC_TYPE_Access, .message = &search.base, .path = { &where }, .fd = -1
	};
	struct gofer_session *session;
	struct gofer_reply reply;
	uint64_t handle;
	int r;

	m.path = search.path = &where;
	m.flags = GOFER__OPEN_FLAG__OPEN_PATH | GOFER__OPEN_FLAG__OPEN_DIRECTORY;
	search.mode = X_OK;
	r = path_call(&c, &reply);
	if (r == LOOKUP_SYNTHETIC) {
		*ret_handle = 0;
		memcpy(path, l->pos, l->pos_len + 1);
		return 0;
	}
	if (r < 0)
		return r;
	handle = ((Gofer__OpenReply *)reply.message)->handle;
	*ret_attr = *((Gofer__OpenReply *)reply.message)->attr;
	gofer_reply_free(&reply);
	session = l->mount->session;
	where = (Gofer__Path)GOFER__PATH__INIT;
	where.fs_id = l->mount->fs_id;
	where.base_handle = handle;
	where.identity = session->identity;
	a.session = session;
	r = path_call_simple(&a, -EIO);
	if (r == 0)
		r = lookup_absolute(l, path);
	if (r < 0) {
		gofer_handle_close(session, handle);
		return r;
	}
	/* The mount's root needs no handle. */
	if (strcmp(path, l->mount->path) == 0) {
		gofer_handle_close(session, handle);
		handle = 0;
	}
	*ret_handle = handle;
	return 0;
}

int gofer_chdir(struct gofer_namespace *ns, const char *path)
{
	_cleanup_lookup_ struct lookup l;
	struct gofer_place *p;
	char text[PATH_MAX];
	Gofer__Attr attr = GOFER__ATTR__INIT;
	uint64_t handle = 0;
	int r;

	r = lookup_init(&l, ns, path);
	if (r == 0)
		r = enter(&l, &handle, &attr, text);
	if (r < 0)
		return fail_path(r, "chdir", path);
	p = place_new(l.mount, handle, text, &attr);
	if (!p) {
		if (handle)
			gofer_handle_close(l.mount->session, handle);
		return -ENOMEM;
	}
	gofer_fchdir(ns, p);
	gofer_place_unref(p);
	return 0;
}

void gofer_fchdir(struct gofer_namespace *ns, struct gofer_place *place)
{
	struct gofer_place *old;

	pthread_rwlock_wrlock(&ns->lock);
	old = ns->cwd;
	ns->cwd = gofer_place_ref(place);
	pthread_rwlock_unlock(&ns->lock);
	gofer_place_unref(old);
}
