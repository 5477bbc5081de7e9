/*
 * dir.c - directories: a frame's worth of entries per request, attributes and link targets
 * included.
 *
 * A listing is the server's entries with the client's mounts put over them: an entry that is a
 * mount point is replaced by the root of what is mounted there, and mount points that the server
 * knows nothing of are listed at the end. Directories that only mounts make consist of nothing
 * else.
 */
#include <fcntl.h>
#include <dirent.h>
#include <string.h>

#include "client/namespace.h"

struct gofer_dir {
	struct gofer_namespace *ns;
	struct mount *mount;
	uint64_t handle; /* to go on with; 0 = all is in `reply` */
	uint64_t cookie;
	uint32_t identity;
	struct gofer_reply reply;
	const Gofer__ReadDirReply *entries; /* in reply or known; NULL = nothing (left) */
	size_t at;

	struct cache_listing *listing; /* from the cache: all of it, no reply */
	Gofer__ReadDirReply known;     /* ... in this form */
	struct cache_reading reading;  /* what the replies teach it */
	char *text;                    /* the path that it knows the directory by */

	char **mounts; /* names of what is mounted here, or lies on the way to a mount */
	size_t n_mounts, mount_at;
	bool *listed;

	struct stat st;      /* of the directory itself */
	char path[PATH_MAX]; /* absolute */
	char name[256];
	char target[PATH_MAX];
};

static void drop_reply(struct gofer_dir *d)
{
	if (d->entries && d->entries != &d->known)
		gofer_reply_free(&d->reply);
	d->entries = NULL;
	d->at = 0;
}

/* The directory's children in the table of mounts. In a real directory only mount points themselves
 * show. */
static int collect_mounts(struct gofer_dir *d)
{
	size_t len = strlen(d->path), n = d->ns->table->n_mounts;
	size_t skip = len > 1 ? len + 1 : 1;

	if (!mounts_below(d->ns->table, d->path, len))
		return 0;
	d->mounts = calloc(n, sizeof(*d->mounts));
	d->listed = calloc(n, sizeof(*d->listed));
	if (!d->mounts || !d->listed)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct mount *m = d->ns->table->mounts[i];
		const char *name = m->path + skip, *slash;
		size_t name_len;
		bool known = false;

		if (m->len <= skip || memcmp(m->path, d->path, len) != 0 ||
		    (len > 1 && m->path[len] != '/'))
			continue;
		slash = strchr(name, '/');
		if (slash && d->mount)
			continue;
		name_len = slash ? (size_t)(slash - name) : strlen(name);
		for (size_t j = 0; j < d->n_mounts; j++)
			known |= strlen(d->mounts[j]) == name_len &&
				 memcmp(d->mounts[j], name, name_len) == 0;
		if (known)
			continue;
		d->mounts[d->n_mounts] = strndup(name, name_len);
		if (!d->mounts[d->n_mounts])
			return -ENOMEM;
		d->n_mounts++;
	}
	return 0;
}

/* The listing that the cache had. */
static void take_known(struct gofer_dir *d, struct cache_listing *listing)
{
	d->listing = listing;
	d->known = (Gofer__ReadDirReply)GOFER__READ_DIR_REPLY__INIT;
	d->known.n_entries = listing->n;
	d->known.entries = listing->list;
	d->known.attr = &listing->attr;
	d->known.end = true;
	d->entries = &d->known;
}

/* A listing that goes on in further replies: under which path the cache learns them. */
static void keep_text(struct gofer_dir *d, const struct lookup *l)
{
	if (d->reading.node && !d->reading.failed && !d->entries->end)
		d->text = strndup(l->path, l->len);
	if (!d->text)
		d->reading.failed = true;
}

static int first_page(struct gofer_dir *d, const char *path, int flags)
{
	Gofer__ReadDirRequest m = GOFER__READ_DIR_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct cache_answer answer;
	struct path_call c = { .type = RPC_TYPE_ReadDir,
			       .message = &m.base,
			       .lookup = { &l },
			       .path = { &where },
			       .answer = &answer,
			       .want = CACHE_LIST,
			       .reading = &d->reading,
			       .fd = -1 };
	int r;

	d->reading.failed = true;
	r = lookup_init(&l, d->ns, path);
	if (r < 0)
		return r;
	m.path = &where;
	where.nofollow = flags & AT_SYMLINK_NOFOLLOW;
	m.attrs = m.targets = m.keep = true;
	r = path_call(&c, &d->reply);
	if (r < 0)
		return r;
	if (r == 0) {
		if (answer.found == CACHE_HIT)
			take_known(d, answer.listing);
		else
			d->entries = (const Gofer__ReadDirReply *)d->reply.message;
		d->mount = mount_ref(l.mount);
		if (d->entries->attr)
			attr_to_stat(d->entries->attr, &d->st);
		d->handle = d->entries->handle;
		d->identity = l.mount->session->identity;
		if (!d->entries->end && !d->handle)
			return session_violation(l.mount->session,
						 "a directory that cannot be read to its end");
		keep_text(d, &l);
		r = lookup_absolute(&l, d->path);
	} else {
		Gofer__Attr attr;

		attr_synthetic(l.pos, &attr);
		attr_to_stat(&attr, &d->st);
		memcpy(d->path, l.pos, l.pos_len + 1);
		r = 0;
	}
	if (r == 0) {
		pthread_rwlock_rdlock(&d->ns->table->lock);
		r = collect_mounts(d);
		pthread_rwlock_unlock(&d->ns->table->lock);
	}
	return r;
}

static int next_page(struct gofer_dir *d)
{
	Gofer__ReadDirRequest m = GOFER__READ_DIR_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_ReadDir,
			       .message = &m.base,
			       .path = { &where },
			       .session = d->mount->session,
			       .fd = -1 };
	int r;

	drop_reply(d);
	where.fs_id = d->mount->fs_id;
	where.base_handle = d->handle;
	where.identity = d->identity;
	m.path = &where;
	m.attrs = m.targets = true;
	m.watch = d->mount->watching && !d->reading.failed;
	m.cookie = d->cookie;
	r = path_call(&c, &d->reply);
	if (r == 0) {
		struct cache_path known = { .fs_id = d->mount->fs_id,
					    .identity = d->identity,
					    .text = d->text,
					    .len = d->text ? strlen(d->text) : 0 };

		d->entries = (const Gofer__ReadDirReply *)d->reply.message;
		if (!d->reading.failed)
			cache_learn_list(&d->reading, &known, d->entries);
	}
	return r;
}

int gofer_opendir(struct gofer_namespace *ns, const char *path, int flags,
		  struct gofer_dir **ret_dir)
{
	struct gofer_dir *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->ns = ns;
	r = flags & ~AT_SYMLINK_NOFOLLOW ? -EINVAL : first_page(d, path, flags);
	if (r < 0) {
		gofer_closedir(d);
		return fail_path(r, "opendir", path);
	}
	*ret_dir = d;
	return 0;
}

void gofer_dirstat(struct gofer_dir *d, struct stat *ret_st)
{
	*ret_st = d->st;
}

void gofer_closedir(struct gofer_dir *d)
{
	if (!d)
		return;
	drop_reply(d);
	free(d->listing);
	free(d->text);
	if (d->handle)
		gofer_handle_close(d->mount->session, d->handle);
	mount_unref(d->mount);
	for (size_t i = 0; i < d->n_mounts; i++)
		free(d->mounts[i]);
	free(d->mounts);
	free(d->listed);
	free(d);
}

/* A name that the client's mounts give its meaning. */
static void mount_entry(struct gofer_dir *d, const char *name, struct gofer_dirent *ret_entry)
{
	char path[PATH_MAX + 257];
	struct stat st;
	size_t len = strlen(d->path), n = strlen(name);

	*ret_entry = (struct gofer_dirent){ .name = name, .type = DT_DIR };
	memcpy(path, d->path, len);
	if (len > 1)
		path[len++] = '/';
	memcpy(path + len, name, n + 1);
	if (gofer_stat(d->ns, path, 0, &st) == 0) {
		ret_entry->has_stat = true;
		ret_entry->st = st;
		ret_entry->ino = st.st_ino;
	}
}

static void take_entry(struct gofer_dir *d, const Gofer__Entry *e, struct gofer_dirent *ret_entry)
{
	memcpy(d->name, e->name.data, e->name.len);
	d->name[e->name.len] = '\0';
	for (size_t i = 0; i < d->n_mounts; i++)
		if (strcmp(d->mounts[i], d->name) == 0) {
			d->listed[i] = true;
			mount_entry(d, d->name, ret_entry);
			return;
		}
	*ret_entry = (struct gofer_dirent){ .name = d->name,
					    .type = (uint8_t)e->type,
					    .ino = e->ino,
					    .has_stat = e->attr != NULL };
	if (e->attr)
		attr_to_stat(e->attr, &ret_entry->st);
	if (e->target.len) {
		memcpy(d->target, e->target.data, e->target.len);
		d->target[e->target.len] = '\0';
		ret_entry->target = d->target;
	}
}

int gofer_readdir(struct gofer_dir *d, struct gofer_dirent *ret_entry)
{
	while (d->entries) {
		int r;

		if (d->at < d->entries->n_entries) {
			const Gofer__Entry *e = d->entries->entries[d->at++];

			d->cookie = e->cookie;
			take_entry(d, e, ret_entry);
			return 1;
		}
		if (d->entries->end) {
			drop_reply(d);
			break;
		}
		r = next_page(d);
		if (r < 0)
			return fail_path(r, "readdir", d->path);
	}
	while (d->mount_at < d->n_mounts) {
		size_t i = d->mount_at++;

		if (d->listed[i])
			continue;
		mount_entry(d, d->mounts[i], ret_entry);
		return 1;
	}
	return 0;
}
