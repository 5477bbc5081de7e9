/*
 * namespace.c - the table of mounts, the current directory, the umask. See namespace.h for how
 * paths are resolved through them.
 */
#include "client/namespace.h"

#include <string.h>

#include "common/path.h"

struct mount *mount_ref(struct mount *m)
{
	if (m)
		atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void mount_unref(struct mount *m)
{
	if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
		free(m);
}

struct cwd *cwd_ref(struct cwd *c)
{
	if (c)
		atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void cwd_unref(struct cwd *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (c->handle)
		gofer_handle_close(c->mount->session, c->handle);
	mount_unref(c->mount);
	free(c);
}

static struct cwd *cwd_new(struct mount *mount, uint64_t handle, const char *path)
{
	size_t n = strlen(path) + 1;
	struct cwd *c = malloc(sizeof(*c) + n);

	if (!c)
		return NULL;
	atomic_init(&c->refs, 1);
	c->mount = mount_ref(mount);
	c->handle = handle;
	memcpy(c->path, path, n);
	return c;
}

/* Whether `path` is `prefix` or below it; both absolute and normalised. */
static bool path_within(const char *path, size_t len, const char *prefix, size_t prefix_len)
{
	if (prefix_len == 1)
		return true;
	return len >= prefix_len && memcmp(path, prefix, prefix_len) == 0 &&
	       (len == prefix_len || path[prefix_len] == '/');
}

struct mount *mount_at(struct gofer_namespace *ns, const char *path, size_t len)
{
	for (size_t i = 0; i < ns->n_mounts; i++)
		if (ns->mounts[i]->len == len && memcmp(ns->mounts[i]->path, path, len) == 0)
			return ns->mounts[i];
	return NULL;
}

struct mount *mount_over(struct gofer_namespace *ns, const char *path, size_t len)
{
	struct mount *best = NULL;

	for (size_t i = 0; i < ns->n_mounts; i++) {
		struct mount *m = ns->mounts[i];

		if ((!best || m->len > best->len) && path_within(path, len, m->path, m->len))
			best = m;
	}
	return best;
}

bool mounts_below(struct gofer_namespace *ns, const char *path, size_t len)
{
	for (size_t i = 0; i < ns->n_mounts; i++)
		if (ns->mounts[i]->len > len &&
		    path_within(ns->mounts[i]->path, ns->mounts[i]->len, path, len))
			return true;
	return false;
}

int gofer_namespace_new(struct gofer_namespace **ret_ns)
{
	struct gofer_namespace *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return -ENOMEM;
	ns->cwd = cwd_new(NULL, 0, "/");
	if (!ns->cwd) {
		free(ns);
		return -ENOMEM;
	}
	pthread_rwlock_init(&ns->lock, NULL);
	atomic_init(&ns->umask, 022);
	*ret_ns = ns;
	return 0;
}

void gofer_namespace_free(struct gofer_namespace *ns)
{
	if (!ns)
		return;
	cwd_unref(ns->cwd);
	for (size_t i = 0; i < ns->n_mounts; i++)
		mount_unref(ns->mounts[i]);
	free(ns->mounts);
	pthread_rwlock_destroy(&ns->lock);
	free(ns);
}

/* "/" or "/a/b": no empty component, no ".", "..", no slash at the end. */
static bool is_normalised(const char *path)
{
	size_t len = strlen(path), at = 0, begin, end, expect = 1;

	if (path[0] != '/' || path_validate(path, len) < 0)
		return false;
	if (len == 1)
		return true;
	while (path_next(path, len, &at, &begin, &end)) {
		if (begin != expect || path_is_dot(path + begin, end - begin) ||
		    path_is_dotdot(path + begin, end - begin))
			return false;
		expect = end + 1;
	}
	return expect == len + 1;
}

static int add_mount(struct gofer_namespace *ns, struct mount *m)
{
	struct mount **mounts;

	if (mount_at(ns, m->path, m->len))
		return fail_path(-EBUSY, "mount", m->path);
	mounts = reallocarray(ns->mounts, ns->n_mounts + 1, sizeof(*mounts));
	if (!mounts)
		return -ENOMEM;
	ns->mounts = mounts;
	/* Whoever stands at "/" before anything is mounted there stands in what is mounted there
	 * then. */
	if (m->len == 1 && !ns->cwd->mount) {
		struct cwd *c = strcmp(ns->cwd->path, "/") == 0 ? cwd_new(m, 0, "/") : NULL;

		if (c) {
			cwd_unref(ns->cwd);
			ns->cwd = c;
		}
	}
	mounts[ns->n_mounts++] = mount_ref(m);
	return 0;
}

int gofer_mount(struct gofer_namespace *ns, struct gofer_session *session, uint32_t fs_id,
		const char *path, const struct gofer_mount_options *options)
{
	const struct gofer_mount_options none = { 0 }, *o = options ? options : &none;
	const struct gofer_filesystem *fs = NULL;
	struct mount *m;
	size_t len;
	int r;

	for (size_t i = 0; i < session->n_filesystems && !fs; i++)
		if (session->filesystems[i].fs_id == fs_id)
			fs = &session->filesystems[i];
	if (!fs)
		return fail_words(-ENODEV, "%s serves no filesystem number %u", session->server,
				  fs_id);
	if (!is_normalised(path) || o->interop != GOFER_INTEROP_SHARED)
		return fail_words(-EINVAL,
				  "mount %s: not an absolute, normalised path, or an unknown mode",
				  path);
	len = strlen(path);
	m = malloc(sizeof(*m) + len + 1);
	if (!m)
		return -ENOMEM;
	atomic_init(&m->refs, 1);
	m->session = session;
	m->fs_id = fs_id;
	m->follow = o->follow == UINT32_MAX ? 0
		    : o->follow             ? MIN(o->follow, (uint32_t)MAX_LINKS)
					    : (uint32_t)DEFAULT_FOLLOW;
	m->read_only = o->read_only;
	m->donate = !o->no_donate && fs->may_donate;
	m->len = len;
	memcpy(m->path, path, len + 1);

	pthread_rwlock_wrlock(&ns->lock);
	r = add_mount(ns, m);
	pthread_rwlock_unlock(&ns->lock);
	mount_unref(m);
	return r;
}

int gofer_umount(struct gofer_namespace *ns, const char *path)
{
	struct mount *m;
	int r = 0;

	pthread_rwlock_wrlock(&ns->lock);
	m = mount_at(ns, path, strlen(path));
	if (!m) {
		r = -EINVAL;
	} else if (ns->cwd->mount == m || mounts_below(ns, m->path, m->len)) {
		r = -EBUSY;
	} else {
		/* Open files keep the session, not the mount's place. */
		for (size_t i = 0; i < ns->n_mounts; i++)
			if (ns->mounts[i] == m)
				ns->mounts[i] = ns->mounts[--ns->n_mounts];
		mount_unref(m);
	}
	pthread_rwlock_unlock(&ns->lock);
	return r < 0 ? fail_path(r, "umount", path) : 0;
}

mode_t gofer_umask(struct gofer_namespace *ns, mode_t mask)
{
	return atomic_exchange(&ns->umask, mask & 0777);
}

int gofer_getcwd(struct gofer_namespace *ns, char *buf, size_t size)
{
	int r = 0;
	size_t n;

	pthread_rwlock_rdlock(&ns->lock);
	n = strlen(ns->cwd->path) + 1;
	if (n > size)
		r = -ERANGE;
	else
		memcpy(buf, ns->cwd->path, n);
	pthread_rwlock_unlock(&ns->lock);
	return r;
}

/* Opens the directory at the lookup's place, if it may be searched. The mount's root needs no
 * handle. */
static int enter(struct lookup *l, uint64_t *ret_handle, char *path)
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
	struct cwd *c, *old;
	char text[PATH_MAX];
	uint64_t handle = 0;
	int r;

	r = lookup_init(&l, ns, path);
	if (r == 0)
		r = enter(&l, &handle, text);
	if (r < 0)
		return fail_path(r, "chdir", path);
	c = cwd_new(l.mount, handle, text);
	if (!c) {
		if (handle)
			gofer_handle_close(l.mount->session, handle);
		return -ENOMEM;
	}
	pthread_rwlock_wrlock(&ns->lock);
	old = ns->cwd;
	ns->cwd = c;
	pthread_rwlock_unlock(&ns->lock);
	cwd_unref(old);
	return 0;
}
