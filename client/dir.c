/*
 * dir.c - directories: a frame's worth of entries per request, attributes and link targets
 * included.
 *
 * A listing is the server's entries with the client's mounts put over them: an entry that is a
 * mount point is replaced by the root of what is mounted there, and mount points that the server
 * knows nothing of are listed at the end. Directories that only mounts make consist of nothing
 * else.
 *
 * Requests may be ahead of whoever reads: the first one (`opening`, after gofer_opendir_start()) and
 * the one for the page after the current (after gofer_dir_ahead()). Each is waited for when
 * its answer is needed.
 *
 * Over channels that happens by itself as soon as somebody has read on for a while, and then each page's request leaves before
 * the page before is even decoded (struct follow_up): the server is never idle. A page is then as large
 * as what can be made while the other side spins for it, or, where it sleeps, as large as can be.
 */
#include <fcntl.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "client/file.h"

/* The request for the first frame, and all that it refers to. */
struct opening {
	Gofer__ReadDirRequest m;
	Gofer__Path where;
	struct lookup l;
	struct cache_answer answer;
	struct path_call c;
	struct path_round round;
	struct gofer_session *session; /* whose clock was looked at */
};

/* ... for a further one. */
struct page {
	Gofer__ReadDirRequest m;
	Gofer__Path where;
	struct path_call c;
	struct path_round round;
	uint64_t since;
};

enum {
	AHEAD_AFTER = 16, /* entries that were read, until the next page is asked for unasked */
	PAGE_SPUN = 5632, /* bytes of a page that the server makes in some 60 microseconds */
};

struct gofer_dir {
	struct gofer_namespace *ns;
	struct opening *opening; /* its answer is not in yet */
	int failed;              /* what that said, if it was an error */
	struct page pages[2];    /* the next, and the one after it */
	struct page *next;       /* is asked for, or NULL */
	bool by_hand;            /* who reads says himself when to ask, and waits with others */
	uint32_t page_bytes;     /* of pages through a channel; 0 = as large as can be */
	struct mount *mount;
	uint64_t handle; /* to go on with; 0 = all is in `reply` */
	uint64_t cookie;
	uint32_t identity;
	struct gofer_reply reply;
	const Gofer__ReadDirReply *entries; /* in reply or known; NULL = nothing (left) */
	size_t at;
	uint64_t since; /* session_clock() before it was asked for */

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

static int opening_init(struct opening *o, struct gofer_dir *d, const char *path, int flags)
{
	int r;

	o->session = NULL;
	o->m = (Gofer__ReadDirRequest)GOFER__READ_DIR_REQUEST__INIT;
	o->where = (Gofer__Path)GOFER__PATH__INIT;
	o->c = (struct path_call){ .type = RPC_TYPE_ReadDir,
				   .message = &o->m.base,
				   .lookup = { &o->l },
				   .path = { &o->where },
				   .answer = &o->answer,
				   .want = CACHE_LIST,
				   .reading = &d->reading,
				   .fd = -1 };
	d->reading.failed = true;
	r = lookup_init(&o->l, d->ns, path);
	if (r == 0 && (flags & ~AT_SYMLINK_NOFOLLOW))
		r = -EINVAL;
	if (r == 0 && o->l.mount) {
		o->session = o->l.mount->session;
		d->since = session_clock(o->session);
	}
	o->m.path = &o->where;
	o->where.nofollow = flags & AT_SYMLINK_NOFOLLOW;
	o->m.attrs = o->m.targets = o->m.keep = true;
	return r;
}

/* What path_call() gave. */
static int opened(struct gofer_dir *d, struct opening *o, int r)
{
	if (r < 0)
		return r;
	if (r == 0) {
		if (o->answer.found == CACHE_HIT)
			take_known(d, o->answer.listing);
		else
			d->entries = (const Gofer__ReadDirReply *)d->reply.message;
		d->mount = mount_ref(o->l.mount);
		if (d->mount->session != o->session)
			d->since = 0;
		if (d->entries->attr)
			attr_to_stat(d->entries->attr, &d->st);
		d->handle = d->entries->handle;
		d->identity = o->l.mount->session->identity;
		if (!d->entries->end && !d->handle)
			return session_violation(o->l.mount->session,
						 "a directory that cannot be read to its end");
		keep_text(d, &o->l);
		r = lookup_absolute(&o->l, d->path);
	} else {
		Gofer__Attr attr;

		attr_synthetic(o->l.pos, &attr);
		attr_to_stat(&attr, &d->st);
		memcpy(d->path, o->l.pos, o->l.pos_len + 1);
		r = 0;
	}
	if (r == 0) {
		pthread_rwlock_rdlock(&d->ns->table->lock);
		r = collect_mounts(d);
		pthread_rwlock_unlock(&d->ns->table->lock);
	}
	return r;
}

/* Waits for the first answer where it is still out. */
static int settle_opening(struct gofer_dir *d)
{
	struct opening *o = TAKE_PTR(d->opening);

	if (!o)
		return d->failed;
	d->failed = opened(d, o, path_call_finish(&o->c, &o->round, &d->reply));
	lookup_deinit(&o->l);
	free(o);
	return d->failed;
}

static void drop_opening(struct gofer_dir *d)
{
	struct opening *o = TAKE_PTR(d->opening);

	if (!o)
		return;
	path_call_drop(&o->c, &o->round);
	if (!o->round.ask.sent && o->round.result >= 0 && o->answer.found == CACHE_HIT)
		free(o->answer.listing);
	lookup_deinit(&o->l);
	free(o);
}

/* Whether pages are asked for unasked. */
static bool reads_ahead(const struct gofer_dir *d)
{
	return !d->by_hand && d->mount->session->n_channels;
}

/* Prepares the request for a page: all but the cookie. */
static void page_init(struct gofer_dir *d, struct page *p, bool by_channel)
{
	p->m = (Gofer__ReadDirRequest)GOFER__READ_DIR_REQUEST__INIT;
	p->where = (Gofer__Path)GOFER__PATH__INIT;
	p->where.fs_id = d->mount->fs_id;
	p->where.base_handle = d->handle;
	p->where.identity = d->identity;
	p->m.path = &p->where;
	p->m.attrs = p->m.targets = true;
	p->m.watch = d->mount->watching && !d->reading.failed;
	p->m.max_bytes = by_channel ? d->page_bytes : 0;
	p->c = (struct path_call){ .type = RPC_TYPE_ReadDir,
				   .message = &p->m.base,
				   .path = { &p->where },
				   .session = d->mount->session,
				   .by_channel = by_channel,
				   .fd = -1 };
	p->since = session_clock(d->mount->session);
}

static void ask_page(struct gofer_dir *d, bool by_channel)
{
	struct page *p = &d->pages[0];

	page_init(d, p, by_channel);
	p->m.cookie = d->entries->n_entries ? d->entries->entries[d->entries->n_entries - 1]->cookie
					    : d->cookie;
	path_call_start(&p->c, &p->round);
	d->next = p;
}

static bool page_follows(struct follow_up *f, const uint8_t *body, size_t len)
{
	struct page *p = (struct page *)((char *)f - offsetof(struct page, round.ask));

	return reply_listing_goes_on(body, len, &p->m.cookie);
}

/* Waits for the page that was asked for. *ret_after: the one after it was asked for, too, or NULL. */
static int finish_page(struct gofer_dir *d, struct gofer_reply *ret_reply, struct page **ret_after)
{
	struct page *p = d->next, *after = &d->pages[p == &d->pages[0]];
	const struct call *call = &p->round.ask.call;
	bool follows = call->channel && reads_ahead(d);
	int r;

	if (follows) {
		page_init(d, after, true);
		path_call_follow(&after->c, &after->round, &p->round, page_follows);
	}
	r = path_call_finish(&p->c, &p->round, ret_reply);
	*ret_after = follows && after->round.ask.sent ? after : NULL;
	/* A wake-up is worth many entries. */
	if (d->page_bytes && p->m.max_bytes && (!call->channel || call->slept))
		d->page_bytes = d->page_bytes < FRAME_MAX_BODY / 2 ? 2 * d->page_bytes : 0;
	return r;
}

static int next_page(struct gofer_dir *d)
{
	struct gofer_reply reply;
	struct page *after;
	uint64_t since;
	int r;

	if (!d->next)
		ask_page(d, reads_ahead(d));
	since = d->next->since;
	r = finish_page(d, &reply, &after);
	d->next = after;
	drop_reply(d);
	if (r == 0) {
		struct cache_path known = { .fs_id = d->mount->fs_id,
					    .identity = d->identity,
					    .text = d->text,
					    .len = d->text ? strlen(d->text) : 0 };

		d->reply = reply;
		d->since = since;
		d->entries = (const Gofer__ReadDirReply *)d->reply.message;
		if (!d->reading.failed)
			cache_learn_list(&d->reading, &known, d->entries);
	}
	return r;
}

/* Whoever has read so much will read on: but nobody waits for the answer with others. */
static void read_ahead(struct gofer_dir *d)
{
	if (d->at == AHEAD_AFTER && !d->next && !d->entries->end && reads_ahead(d))
		ask_page(d, true);
}

int gofer_opendir(struct gofer_namespace *ns, const char *path, int flags,
		  struct gofer_dir **ret_dir)
{
	struct gofer_dir *d = calloc(1, sizeof(*d));
	struct opening o;
	int r;

	if (!d)
		return -ENOMEM;
	d->ns = ns;
	d->page_bytes = PAGE_SPUN;
	r = opening_init(&o, d, path, flags);
	if (r == 0)
		r = opened(d, &o, path_call(&o.c, &d->reply));
	lookup_deinit(&o.l);
	if (r < 0) {
		gofer_closedir(d);
		return fail_path(r, "opendir", path);
	}
	*ret_dir = d;
	return 0;
}

int gofer_opendir_start(struct gofer_namespace *ns, const char *path, int flags,
			struct gofer_dir **ret_dir)
{
	struct gofer_dir *d = calloc(1, sizeof(*d));
	struct opening *o = malloc(sizeof(*o));
	int r;

	if (!d || !o) {
		free(d);
		free(o);
		return -ENOMEM;
	}
	d->ns = ns;
	d->by_hand = true;
	d->opening = o;
	snprintf(d->path, sizeof(d->path), "%s", path); /* for the message */
	r = opening_init(o, d, path, flags);
	if (r < 0) {
		o->round.ask.sent = false;
		o->round.result = r;
		gofer_closedir(d);
		return fail_path(r, "opendir", path);
	}
	path_call_start(&o->c, &o->round);
	*ret_dir = d;
	return 0;
}

void gofer_dir_ahead(struct gofer_dir *d)
{
	d->by_hand = true;
	if (!d->opening && d->entries && !d->entries->end && !d->next)
		ask_page(d, false);
}

bool gofer_dir_ready(struct gofer_dir *d)
{
	d->by_hand = true;
	if (d->opening)
		return path_call_answered(&d->opening->c, &d->opening->round);
	if (!d->entries || d->at < d->entries->n_entries || d->entries->end)
		return true;
	/* What is in a channel nobody else waits for. */
	return d->next && (d->next->round.ask.call.channel ||
			   path_call_answered(&d->next->c, &d->next->round));
}

void gofer_dirstat(struct gofer_dir *d, struct stat *ret_st)
{
	(void)settle_opening(d);
	*ret_st = d->st;
}

void gofer_closedir(struct gofer_dir *d)
{
	if (!d)
		return;
	drop_opening(d);
	if (d->next)
		path_call_drop(&d->next->c, &d->next->round);
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

static int stat_entry(struct gofer_dir *d, const char *name, int flags, struct stat *ret_st)
{
	char path[PATH_MAX + 257];
	size_t len = strlen(d->path), n = strlen(name);

	memcpy(path, d->path, len);
	if (len > 1)
		path[len++] = '/';
	memcpy(path + len, name, n + 1);
	return gofer_stat(d->ns, path, flags, ret_st);
}

/* A name that the client's mounts give its meaning. */
static void mount_entry(struct gofer_dir *d, const char *name, struct gofer_dirent *ret_entry)
{
	struct stat st;

	*ret_entry = (struct gofer_dirent){ .name = name, .type = DT_DIR };
	if (stat_entry(d, name, 0, &st) == 0) {
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
	if (e->attr) {
		Gofer__Attr attr = *e->attr;
		struct stat st;

		/* Older than what was written here before the listing was asked for, maybe. */
		if (session_overlay(d->mount->session, &attr, d->since) ||
		    stat_entry(d, d->name, AT_SYMLINK_NOFOLLOW, &st) < 0 || st.st_ino != attr.ino ||
		    st.st_dev != attr.dev)
			attr_to_stat(&attr, &ret_entry->st);
		else
			ret_entry->st = st;
	}
	if (e->target.len) {
		memcpy(d->target, e->target.data, e->target.len);
		d->target[e->target.len] = '\0';
		ret_entry->target = d->target;
	}
}

int gofer_readdir(struct gofer_dir *d, struct gofer_dirent *ret_entry)
{
	int r = settle_opening(d);

	if (r < 0)
		return fail_path(r, "opendir", d->path);
	while (d->entries) {
		if (d->at < d->entries->n_entries) {
			const Gofer__Entry *e = d->entries->entries[d->at++];

			read_ahead(d);
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
