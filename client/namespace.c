/*
 * namespace.c - the table of mounts and the views of it. See namespace.h for how paths are resolved
 * through them, and place.c for what a view's current directory is.
 */
#include "client/namespace.h"
#include "client/writeback.h"

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

/* Whether `path` is `prefix` or below it; both absolute and normalised. */
static bool path_within(const char *path, size_t len, const char *prefix, size_t prefix_len)
{
	if (prefix_len == 1)
		return true;
	return len >= prefix_len && memcmp(path, prefix, prefix_len) == 0 &&
	       (len == prefix_len || path[prefix_len] == '/');
}

struct mount *mount_at(struct mount_table *table, const char *path, size_t len)
{
	for (size_t i = 0; i < table->n_mounts; i++)
		if (table->mounts[i]->len == len && memcmp(table->mounts[i]->path, path, len) == 0)
			return table->mounts[i];
	return NULL;
}

struct mount *mount_over(struct mount_table *table, const char *path, size_t len)
{
	struct mount *best = NULL;

	for (size_t i = 0; i < table->n_mounts; i++) {
		struct mount *m = table->mounts[i];

		if ((!best || m->len > best->len) && path_within(path, len, m->path, m->len))
			best = m;
	}
	return best;
}

bool mounts_below(struct mount_table *table, const char *path, size_t len)
{
	for (size_t i = 0; i < table->n_mounts; i++)
		if (table->mounts[i]->len > len &&
		    path_within(table->mounts[i]->path, table->mounts[i]->len, path, len))
			return true;
	return false;
}

static void table_unref(struct mount_table *table)
{
	if (atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < table->n_mounts; i++)
		mount_unref(table->mounts[i]);
	free(table->mounts);
	pthread_rwlock_destroy(&table->lock);
	free(table);
}

/* A view of the table, which it takes over; it stands at "/". */
static int view_new(struct mount_table *table, struct gofer_namespace **ret_ns)
{
	struct gofer_namespace *ns = calloc(1, sizeof(*ns));

	if (ns) {
		pthread_rwlock_rdlock(&table->lock);
		ns->cwd = place_new(mount_at(table, "/", 1), 0, "/", NULL);
		pthread_rwlock_unlock(&table->lock);
	}
	if (!ns || !ns->cwd) {
		free(ns);
		table_unref(table);
		return -ENOMEM;
	}
	ns->table = table;
	pthread_rwlock_init(&ns->lock, NULL);
	atomic_init(&ns->umask, 022);
	*ret_ns = ns;
	return 0;
}

int gofer_namespace_new(struct gofer_namespace **ret_ns)
{
	struct mount_table *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;
	atomic_init(&table->refs, 1);
	pthread_rwlock_init(&table->lock, NULL);
	return view_new(table, ret_ns);
}

int gofer_namespace_view(struct gofer_namespace *ns, struct gofer_namespace **ret_view)
{
	atomic_fetch_add_explicit(&ns->table->refs, 1, memory_order_relaxed);
	return view_new(ns->table, ret_view);
}

void gofer_namespace_free(struct gofer_namespace *ns)
{
	if (!ns)
		return;
	gofer_place_unref(ns->cwd);
	table_unref(ns->table);
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

/* Whoever stands at "/" before anything is mounted there stands in what is mounted there then. */
static void settle_cwd(struct gofer_namespace *ns, struct mount *m)
{
	struct gofer_place *old = NULL;

	if (m->len != 1)
		return;
	pthread_rwlock_wrlock(&ns->lock);
	if (!ns->cwd->mount && strcmp(ns->cwd->path, "/") == 0) {
		struct gofer_place *p = place_new(m, 0, "/", NULL);

		if (p) {
			old = ns->cwd;
			ns->cwd = p;
		}
	}
	pthread_rwlock_unlock(&ns->lock);
	gofer_place_unref(old);
}

static int add_mount(struct gofer_namespace *ns, struct mount *m)
{
	struct mount_table *table = ns->table;
	struct mount **mounts;
	int r = 0;

	pthread_rwlock_wrlock(&table->lock);
	if (mount_at(table, m->path, m->len)) {
		r = -EBUSY;
	} else {
		mounts = reallocarray(table->mounts, table->n_mounts + 1, sizeof(*mounts));
		if (mounts) {
			table->mounts = mounts;
			mounts[table->n_mounts++] = mount_ref(m);
		} else {
			r = -ENOMEM;
		}
	}
	pthread_rwlock_unlock(&table->lock);
	if (r == 0)
		settle_cwd(ns, m);
	return r == -EBUSY ? fail_path(r, "mount", m->path) : r;
}

static struct mount *mount_new(const char *path)
{
	size_t len = strlen(path);
	struct mount *m = calloc(1, sizeof(*m) + len + 1);

	if (!m)
		return NULL;
	atomic_init(&m->refs, 1);
	m->len = len;
	memcpy(m->path, path, len + 1);
	return m;
}

int gofer_mount(struct gofer_namespace *ns, struct gofer_session *session, uint32_t fs_id,
		const char *path, const struct gofer_mount_options *options)
{
	const struct gofer_mount_options none = { 0 }, *o = options ? options : &none;
	const struct gofer_filesystem *fs = NULL;
	struct mount *m;
	int r;

	for (size_t i = 0; i < session->n_filesystems && !fs; i++)
		if (session->filesystems[i].fs_id == fs_id)
			fs = &session->filesystems[i];
	if (!fs)
		return fail_words(-ENODEV, "%s serves no filesystem number %u", session->server,
				  fs_id);
	if (!is_normalised(path) || (unsigned)o->interop > GOFER_INTEROP_EXCLUSIVE)
		return fail_words(-EINVAL,
				  "mount %s: not an absolute, normalised path, or an unknown mode",
				  path);
	m = mount_new(path);
	if (!m)
		return -ENOMEM;
	m->session = session;
	m->fs_id = fs_id;
	m->follow = o->follow == UINT32_MAX ? 0
		    : o->follow             ? MIN(o->follow, (uint32_t)MAX_LINKS)
					    : (uint32_t)DEFAULT_FOLLOW;
	m->read_only = o->read_only;
	m->caching = o->interop != GOFER_INTEROP_SHARED;
	m->write_back = o->interop == GOFER_INTEROP_EXCLUSIVE;
	m->watching = o->watch && !m->caching;
	m->watch_again = o->watch_again;
	m->watch_names = o->watch_names;
	if (m->caching || m->watching) {
		r = session_cache(session, m->watching, o->cache_bytes);
		if (r == 0 && m->caching)
			r = session_pages(session, o);
		if (r < 0) {
			mount_unref(m);
			return r;
		}
	}
	if (m->caching) {
		/* A failure does not say which links were followed before it: each is asked about,
		 * once. */
		m->follow = 0;
	}
	m->donate = !o->no_donate && fs->may_donate;
	r = add_mount(ns, m);
	mount_unref(m);
	return r;
}

int gofer_mount_foreign(struct gofer_namespace *ns, const char *path)
{
	struct mount *m;
	int r;

	if (!is_normalised(path))
		return fail_words(-EINVAL, "mount %s: not an absolute, normalised path", path);
	m = mount_new(path);
	if (!m)
		return -ENOMEM;
	r = add_mount(ns, m);
	mount_unref(m);
	return r;
}

/* Other views that stand in the mount keep it, as open files do. */
int gofer_umount(struct gofer_namespace *ns, const char *path)
{
	struct mount_table *table = ns->table;
	struct gofer_session *session;
	struct mount *m, *at;
	int r;

	pthread_rwlock_rdlock(&table->lock);
	m = mount_at(table, path, strlen(path));
	session = m && m->write_back ? m->session : NULL;
	pthread_rwlock_unlock(&table->lock);
	/* What cannot be written back keeps the mount. */
	r = session && session_check(session) == 0 ? writeback_all(session) : 0;
	if (r < 0)
		return fail_path(r, "umount", path);
	pthread_rwlock_rdlock(&ns->lock);
	at = mount_ref(ns->cwd->mount);
	pthread_rwlock_unlock(&ns->lock);
	pthread_rwlock_wrlock(&table->lock);
	m = mount_at(table, path, strlen(path));
	if (!m) {
		r = -EINVAL;
	} else if (at == m || atomic_load(&m->mappings) || mounts_below(table, m->path, m->len)) {
		r = -EBUSY;
	} else {
		for (size_t i = 0; i < table->n_mounts; i++)
			if (table->mounts[i] == m)
				table->mounts[i] = table->mounts[--table->n_mounts];
		mount_unref(m);
	}
	pthread_rwlock_unlock(&table->lock);
	mount_unref(at);
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
