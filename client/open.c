/*
 * open.c - opening and closing files. See file.h for what an open file is.
 */
#include <fcntl.h>
#include <string.h>

#include "client/content.h"
#include "client/writeback.h"
#include "client/recall.h"

/* O_DIRECT is between the program and page caches: none of the server's. */
#define IGNORED (O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_LARGEFILE | O_DIRECT)
#define KNOWN                                                                                    \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY | O_NOFOLLOW | O_PATH | \
	 O_TMPFILE | O_SYNC | O_DSYNC | O_NOATIME | IGNORED)

/* The wire's flags for open(2)'s, or -EINVAL. */
static int open_flags(int flags, uint32_t *ret_wire)
{
	static const struct {
		int host;
		uint32_t wire;
	} map[] = {
		{ O_TMPFILE, GOFER__OPEN_FLAG__OPEN_TMPFILE },
		{ O_DIRECTORY, GOFER__OPEN_FLAG__OPEN_DIRECTORY },
		{ O_SYNC, GOFER__OPEN_FLAG__OPEN_SYNC },
		{ O_DSYNC, GOFER__OPEN_FLAG__OPEN_DSYNC },
		{ O_CREAT, GOFER__OPEN_FLAG__OPEN_CREATE },
		{ O_TRUNC, GOFER__OPEN_FLAG__OPEN_TRUNCATE },
		{ O_APPEND, GOFER__OPEN_FLAG__OPEN_APPEND },
		{ O_NOATIME, GOFER__OPEN_FLAG__OPEN_NOATIME },
	};
	uint32_t wire = 0;

	if (flags & O_PATH) {
		*ret_wire = GOFER__OPEN_FLAG__OPEN_PATH |
			    (flags & O_DIRECTORY ? (uint32_t)GOFER__OPEN_FLAG__OPEN_DIRECTORY : 0);
		return 0;
	}
	if ((flags & ~KNOWN) || (flags & O_ACCMODE) == O_ACCMODE)
		return -EINVAL;
	if ((flags & O_CREAT) && (flags & O_DIRECTORY))
		return -EINVAL;
	if ((flags & O_TMPFILE) == O_TMPFILE && (flags & O_ACCMODE) == O_RDONLY)
		return -EINVAL;
	if ((flags & O_EXCL) && (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))))
		wire |= GOFER__OPEN_FLAG__OPEN_EXCLUSIVE;
	if ((flags & O_ACCMODE) != O_WRONLY)
		wire |= GOFER__OPEN_FLAG__OPEN_READ;
	if ((flags & O_ACCMODE) != O_RDONLY)
		wire |= GOFER__OPEN_FLAG__OPEN_WRITE;
	/* O_TMPFILE holds O_DIRECTORY, O_SYNC holds O_DSYNC: the larger first. */
	flags &= ~(O_ACCMODE | O_EXCL | O_NOFOLLOW | IGNORED);
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if ((flags & map[i].host) == map[i].host) {
			wire |= map[i].wire;
			flags &= ~map[i].host;
		}
	if (flags)
		return -EINVAL;
	*ret_wire = wire;
	return 0;
}

/* Whether the descriptor is as good as the handle would be. What can be put right is. */
static bool usable(int fd, uint32_t wire, int asked)
{
	const uint32_t look = GOFER__OPEN_FLAG__OPEN_SYNC | GOFER__OPEN_FLAG__OPEN_DSYNC |
			      GOFER__OPEN_FLAG__OPEN_APPEND;
	int flags = (wire & look) || (asked & O_DIRECT) ? fcntl(fd, F_GETFL) : 0;

	if ((wire & GOFER__OPEN_FLAG__OPEN_SYNC) && (flags & O_SYNC) != O_SYNC)
		return false;
	if ((wire & GOFER__OPEN_FLAG__OPEN_DSYNC) && !(flags & O_DSYNC))
		return false;
	asked &= O_DIRECT;
	if (wire & GOFER__OPEN_FLAG__OPEN_APPEND)
		asked |= O_APPEND;
	return (flags & asked) == asked || fcntl(fd, F_SETFL, flags | asked) == 0;
}

/* The text from the filesystem's root, as long as the base was where it was called. */
static int path_from_root(const struct lookup *l, char *buf, size_t *ret_len)
{
	size_t skip = l->mount->len > 1 ? l->mount->len : 0;
	int r = lookup_absolute(l, buf);

	if (r < 0)
		return r;
	if (buf[skip] == '/')
		skip++;
	*ret_len = strlen(buf + skip);
	memmove(buf, buf + skip, *ret_len + 1);
	return 0;
}

/* What an open has brought: a handle, a descriptor, or both. */
struct found {
	const Gofer__Attr *attr;
	uint64_t handle; /* 0: none */
	int fd;          /* -EBADF: none */
	uint64_t since;  /* see struct path_call */
	/* NULL; else the handle is one that others use, and the file is this (both taken) */
	struct page_handle *shared;
	struct page_file *pages;
};

/* The file's place in the page cache. */
static int attach_pages(struct gofer_file *file, const struct found *found, bool shares)
{
	struct gofer_session *s = file->mount->session;
	int r;

	if (!s->pages || !S_ISREG(found->attr->mode) || file->access == O_PATH ||
	    (file->fd >= 0 && file->access == O_RDONLY && !file->mount->write_back &&
	     !s->writing_back))
		return 0;
	r = pages_open(s->pages, found->attr, found->since, file->path, &file->pages);
	if (r < 0)
		return r;
	file->errors = pages_errors(s->pages, file->pages);
	if (file->fd >= 0) {
		/* What was written here before must be there; from now on nothing waits. */
		pages_native(s->pages, file->pages, true);
		r = writeback_file(s, file->pages);
		if (r < 0) {
			pages_native(s->pages, file->pages, false);
			pages_close(s->pages, TAKE_PTR(file->pages));
		}
		return r;
	}
	file->shared =
		pages_handle_add(s->pages, file->pages, file->handle, file->mount->fs_id,
				 file->identity, shares, file->access != O_RDONLY && !file->append);
	if (file->shared)
		return 0;
	pages_close(s->pages, TAKE_PTR(file->pages));
	return -ENOMEM;
}

/* Takes what was found; on failure the handle stays the caller's. */
static int file_new(struct lookup *l, uint32_t wire, int flags, struct found *found,
		    struct gofer_file **ret_file)
{
	const uint32_t plain = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE |
			       GOFER__OPEN_FLAG__OPEN_ONLY_DONATED;
	struct gofer_file *file;
	char path[PATH_MAX];
	size_t len = 0;
	int r;

	/* Only for opening again; a path too long for that is no reason to fail. */
	if (path_from_root(l, path, &len) < 0)
		len = 0;
	file = calloc(1, sizeof(*file) + len + 1);
	if (!file)
		return -ENOMEM;
	atomic_init(&file->refs, 1);
	memcpy(file->path, path, len);
	file->path[len] = '\0';
	file->ns = l->ns;
	file->mount = mount_ref(l->mount);
	file->handle = found->handle;
	file->identity = l->mount->session->identity;
	file->append = wire & GOFER__OPEN_FLAG__OPEN_APPEND;
	/* Who shares the tree with others keeps nothing; what is kept elsewhere in the session is right all the same. */
	file->direct = (flags & O_DIRECT) || !l->mount->caching;
	file->sync = flags & (O_DSYNC | O_SYNC);
	file->access = flags & O_PATH ? O_PATH : flags & O_ACCMODE;
	file->dev = found->attr->dev;
	file->ino = found->attr->ino;
	file->server_uid = file->native_uid = found->attr->uid;
	file->server_gid = file->native_gid = found->attr->gid;
	file->offset = 0;
	file->fd = -EBADF;
	pthread_mutex_init(&file->lock, NULL);
	pthread_mutex_init(&file->ahead_lock, NULL);
	if (found->fd >= 0 && (found->handle == 0 || usable(found->fd, wire, flags))) {
		struct stat st;

		file->fd = TAKE_FD(found->fd);
		if (fstat(file->fd, &st) == 0) {
			file->native_uid = st.st_uid;
			file->native_gid = st.st_gid;
		}
	}
	r = 0;
	if (found->shared) {
		file->shared = found->shared;
		file->pages = found->pages;
		file->errors = pages_errors(l->mount->session->pages, file->pages);
	} else {
		r = attach_pages(file, found, !(wire & ~plain));
	}
	if (r == 0 && file->pages)
		file->ahead.most = pages_ahead(file->mount->session->pages);
	if (r == 0 && file->fd >= 0 && file->access != O_RDONLY && file->mount->session->cache) {
		r = cache_native_begin(file->mount->session->cache, file->dev, file->ino);
		file->native = r == 0;
	}
	if (r < 0) {
		file->handle = 0;
		gofer_close(file);
		return r;
	}
	*ret_file = file;
	return 0;
}

/* What an open becomes: whether a handle is wanted beside a donated descriptor, and what came. */
struct opening {
	struct lookup lookup;
	uint32_t wire;
	uint64_t since; /* see struct path_call */
	struct gofer_reply reply;
	struct cache_answer answer; /* HIT: no request was needed so far, and there is no reply */
};

/* One Open. `handled`: wire flags with which a handle is wanted beside the descriptor. ask: the server, whatever is known. */
static int open_call(struct opening *o, struct gofer_namespace *ns, const char *path, int flags,
		     mode_t mode, uint32_t handled, bool ask)
{
	const uint32_t creates = GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_TMPFILE;
	const uint32_t places = GOFER__OPEN_FLAG__OPEN_PATH | GOFER__OPEN_FLAG__OPEN_DIRECTORY;
	Gofer__OpenRequest m = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_Open,
			       .message = &m.base,
			       .lookup = { &o->lookup },
			       .path = { &where },
			       .fd = -1 };
	uint32_t wire = 0;
	int r;

	r = lookup_init(&o->lookup, ns, path);
	if (r == 0)
		r = open_flags(flags, &wire);
	if (r < 0)
		return r;
	m.path = &where;
	m.flags = wire;
	if (wire & creates) {
		m.mode = mode & 07777;
		m.umask = atomic_load(&ns->umask);
	}
	where.nofollow = flags & O_NOFOLLOW;
	c.changes = wire & (creates | GOFER__OPEN_FLAG__OPEN_TRUNCATE);
	c.writes = wire & GOFER__OPEN_FLAG__OPEN_WRITE;
	c.donate = wire & places    ? 0
		   : wire & handled ? (uint32_t)GOFER__OPEN_FLAG__OPEN_DONATE
				    : (uint32_t)(GOFER__OPEN_FLAG__OPEN_DONATE |
						 GOFER__OPEN_FLAG__OPEN_ONLY_DONATED);
	c.stop_at_last = flags & O_NOFOLLOW ? -ELOOP : 0;
	o->wire = wire;
	o->answer.found = CACHE_MISS;
	if (!ask && wire == GOFER__OPEN_FLAG__OPEN_READ) {
		c.answer = &o->answer;
		c.want = CACHE_OPEN;
	}
	r = path_call(&c, &o->reply);
	o->since = c.since;
	if (r == LOOKUP_SYNTHETIC)
		return wire & (creates | GOFER__OPEN_FLAG__OPEN_WRITE) ? -EISDIR : -EACCES;
	return r;
}

/* From what is known, with a handle that is there already; NOT_OPEN where there is none. */
enum { NOT_OPEN = 1 };
static int open_known(struct opening *o, int flags, struct gofer_file **ret_file)
{
	struct gofer_session *s = o->lookup.mount->session;
	struct found found = { .attr = &o->answer.attr, .fd = -EBADF };
	uint64_t close[2];
	int r;

	if (!s->pages || (flags & O_DIRECT))
		return NOT_OPEN;
	found.pages = pages_find(s->pages, found.attr);
	if (!found.pages)
		return NOT_OPEN;
	found.shared = pages_handle_get(s->pages, found.pages, o->lookup.mount->fs_id, s->identity);
	if (!found.shared) {
		pages_close(s->pages, found.pages);
		return NOT_OPEN;
	}
	found.handle = pages_handle_number(found.shared);
	r = file_new(&o->lookup, GOFER__OPEN_FLAG__OPEN_READ, flags, &found, ret_file);
	if (r < 0) {
		for (size_t n = pages_handle_put(s->pages, found.shared, close); n;)
			gofer_handle_close(s, close[--n]);
		pages_close(s->pages, found.pages);
	}
	return r;
}

/* Too many handles: some that nobody uses are closed. Whether there were any. */
static bool close_idle(struct opening *o)
{
	struct gofer_session *s = o->lookup.mount ? o->lookup.mount->session : NULL;
	bool any = false;

	/* As few as go out in front of the next request, in its packet. */
	for (unsigned i = 0; i < 16 && s && s->pages; i++) {
		uint64_t handle = pages_handle_idle(s->pages, NULL);

		gofer_handle_close(s, handle);
		any |= handle != 0;
	}
	return any;
}

static int open_path(struct gofer_namespace *ns, const char *path, int flags, mode_t mode,
		     struct gofer_file **ret_file)
{
	/* What a donated descriptor might not carry needs the handle beside it. */
	const uint32_t handled = GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_SYNC |
				 GOFER__OPEN_FLAG__OPEN_DSYNC;
	struct opening o;
	int r;

	r = open_call(&o, ns, path, flags, mode, handled, false);
	if (r == 0 && o.answer.found == CACHE_HIT) {
		r = open_known(&o, flags, ret_file);
		if (r != NOT_OPEN) {
			lookup_deinit(&o.lookup);
			return r;
		}
		lookup_deinit(&o.lookup);
		r = open_call(&o, ns, path, flags, mode, handled, true);
	}
	if (r == -EMFILE && close_idle(&o)) {
		lookup_deinit(&o.lookup);
		r = open_call(&o, ns, path, flags, mode, handled, true);
	}
	if (r == 0) {
		const Gofer__OpenReply *m = (const Gofer__OpenReply *)o.reply.message;
		struct found found = {
			.attr = m->attr, .handle = m->handle, .fd = o.reply.fd, .since = o.since
		};

		r = file_new(&o.lookup, o.wire, flags, &found, ret_file);
		o.reply.fd = found.fd;
		if (r < 0)
			gofer_handle_close(o.lookup.mount->session, m->handle);
		gofer_reply_free(&o.reply);
	}
	lookup_deinit(&o.lookup);
	return r;
}

/* ---- for those who pass descriptors on ---- */

/* What came, as what the kernel can use. The handle is used or closed. */
static int take_opened(struct opening *o, struct gofer_opened *ret_opened)
{
	const Gofer__OpenReply *m = (const Gofer__OpenReply *)o->reply.message;
	struct gofer_opened opened = { .fd = -1, .fs_id = o->lookup.mount->fs_id };
	char path[PATH_MAX];
	int r = 0;

	attr_to_stat(m->attr, &opened.st);
	if (o->reply.fd >= 0 && !usable(o->reply.fd, o->wire, 0))
		r = -EOPNOTSUPP;
	else if (S_ISREG(m->attr->mode) && o->reply.fd < 0 &&
		 !(o->wire & GOFER__OPEN_FLAG__OPEN_PATH))
		r = -ENODATA;
	/* A directory deeper than PATH_MAX is still a place: what may lie below it is not known. */
	if (r == 0 && m->handle) {
		if (lookup_absolute(&o->lookup, path) < 0)
			memcpy(path, o->lookup.mount->path, o->lookup.mount->len + 1);
		opened.place = place_new(o->lookup.mount, m->handle, path, m->attr);
		r = opened.place ? 0 : -ENOMEM;
	}
	if (r < 0) {
		gofer_handle_close(o->lookup.mount->session, m->handle);
		return r;
	}
	if (o->reply.fd >= 0) {
		const uint32_t both = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE;
		struct cache *cache = o->lookup.mount->session->cache;
		struct cache *watched = o->lookup.mount->session->watched;

		if (cache && (o->wire & GOFER__OPEN_FLAG__OPEN_WRITE)) {
			cache_native_forever(cache);
			if (o->lookup.mount->session->pages)
				pages_native_forever(o->lookup.mount->session->pages);
		} else if (cache && o->lookup.mount->session->pages) {
			pages_through_forever(o->lookup.mount->session->pages);
		}
		r = cache ? writeback_all(o->lookup.mount->session) : 0;
		if (r < 0) {
			fd_close(TAKE_FD(o->reply.fd));
			gofer_place_unref(opened.place);
			return r;
		}
		/* Writing is announced by the kernel, but not what is stored through a mapping. */
		if (watched && (o->wire & both) == both)
			cache_mapped(watched, m->attr->dev, m->attr->ino);
		opened.fd = TAKE_FD(o->reply.fd);
	}
	*ret_opened = opened;
	return 0;
}

int gofer_open_descriptor(struct gofer_namespace *ns, const char *path, int flags, mode_t mode,
			  struct gofer_opened *ret_opened)
{
	struct opening o;
	int r;

	/* Of those that page caches are passed for, none are to be had here. */
	if (flags & O_DIRECT)
		return fail_path(-EINVAL, "open", path);
	r = open_call(&o, ns, path, flags, mode,
		      flags & O_EXCL ? 0 : (uint32_t)GOFER__OPEN_FLAG__OPEN_TMPFILE, true);
	if (r == 0) {
		r = take_opened(&o, ret_opened);
		gofer_reply_free(&o.reply);
	}
	lookup_deinit(&o.lookup);
	return r < 0 ? fail_path(r, "open", path) : 0;
}

int gofer_open_known(struct gofer_namespace *ns, const char *path, int flags, struct stat *ret_st,
		     char *ret_path)
{
	_cleanup_lookup_ struct lookup l;
	struct cache_answer answer;
	int r = lookup_init(&l, ns, path);

	for (unsigned links = 0; r == 0 && links <= MAX_LINKS; links++) {
		r = lookup_settle(&l);
		if (r != 0 || !l.mount || !l.mount->session)
			break;
		r = recall(&l, l.len, flags & O_NOFOLLOW, CACHE_OPEN, 0, &answer);
		if (r == CACHE_HIT) {
			attr_to_stat(&answer.attr, ret_st);
			return lookup_absolute(&l, ret_path) < 0 ? -ENODATA : 0;
		}
		if (r != CACHE_LINK)
			break;
		r = 0;
	}
	return -ENODATA;
}

int gofer_open(struct gofer_namespace *ns, const char *path, int flags, mode_t mode,
	       struct gofer_file **ret_file)
{
	int r = open_path(ns, path, flags, mode, ret_file);

	return r < 0 ? fail_path(r, "open", path) : 0;
}

static void detach_pages(struct gofer_file *file)
{
	struct gofer_session *s = file->mount->session;
	uint64_t close[2];

	/* In a forked child the lock may be anybody's. */
	if (!file->pages || session_check(s) < 0)
		return;
	if (file->shared) {
		if (file->handle) {
			/* A mapping may have written after its file was closed. */
			(void)content_close(file);
			for (size_t n = pages_handle_put(s->pages, file->shared, close); n;)
				gofer_handle_close(s, close[--n]);
		}
		file->handle = 0;
	} else {
		pages_native(s->pages, file->pages, false);
	}
	pages_close(s->pages, file->pages);
}

struct gofer_file *file_ref(struct gofer_file *file)
{
	atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
	return file;
}

void file_unref(struct gofer_file *file)
{
	if (atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) > 1)
		return;
	detach_pages(file);
	fd_close(file->fd);
	if (file->native)
		cache_native_end(file->mount->session->cache, file->dev, file->ino);
	if (file->handle)
		gofer_handle_close(file->mount->session, file->handle);
	mount_unref(file->mount);
	pthread_mutex_destroy(&file->lock);
	pthread_mutex_destroy(&file->ahead_lock);
	free(file);
}

int gofer_close(struct gofer_file *file)
{
	int r;

	if (!file)
		return 0;
	r = content_close(file);
	if (r < 0)
		(void)fail_path(r, "write back", file->path);
	file_unref(file);
	return r;
}

int gofer_fileno(struct gofer_file *file)
{
	return file->fd >= 0 ? file->fd : -ENODATA;
}

/* ---- the open file as a place ---- */

static void place(struct gofer_file *file, uint64_t handle, Gofer__Path *ret_path)
{
	*ret_path = (Gofer__Path)GOFER__PATH__INIT;
	ret_path->fs_id = file->mount->fs_id;
	ret_path->base_handle = handle;
	ret_path->identity = file->identity;
}

/* A handle for a file that has only a descriptor. */
static int reopen(struct gofer_file *file, uint64_t *ret_handle)
{
	Gofer__OpenRequest m = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path where;
	struct path_call c = { .type = RPC_TYPE_Open,
			       .message = &m.base,
			       .path = { &where },
			       .session = file->mount->session,
			       .stop_at_last = -ESTALE,
			       .fd = -1 };
	const Gofer__OpenReply *opened;
	struct gofer_reply reply;
	int r = 0;

	place(file, 0, &where);
	where.path = (ProtobufCBinaryData){ strlen(file->path), (uint8_t *)file->path };
	where.nofollow = true;
	m.path = &where;
	m.flags = GOFER__OPEN_FLAG__OPEN_PATH;
	r = path_call(&c, &reply);
	if (r == -ENOENT || r == -ENOTDIR || r == -ESTALE)
		return fail_words(-ESTALE, "%s was renamed or removed since it was opened",
				  file->path);
	if (r < 0)
		return r;
	opened = (const Gofer__OpenReply *)reply.message;
	if (opened->attr->dev == file->dev && opened->attr->ino == file->ino) {
		*ret_handle = opened->handle;
	} else {
		gofer_handle_close(file->mount->session, opened->handle);
		r = fail_words(-ESTALE, "%s is another file than the one that was opened",
			       file->path);
	}
	gofer_reply_free(&reply);
	return r;
}

int file_path(struct gofer_file *file, Gofer__Path *ret_path)
{
	/* Without the lock: whoever fills a mapping of the file may be waited for by one who has it. */
	uint64_t handle = __atomic_load_n(&file->handle, __ATOMIC_ACQUIRE);
	int r = 0;

	if (!handle) {
		pthread_mutex_lock(&file->lock);
		handle = file->handle;
		if (!handle)
			r = reopen(file, &handle);
		if (r == 0)
			__atomic_store_n(&file->handle, handle, __ATOMIC_RELEASE);
		pthread_mutex_unlock(&file->lock);
	}
	if (r < 0)
		return r;
	place(file, handle, ret_path);
	return 0;
}

int file_stat(struct gofer_file *file, Gofer__Attr *ret_attr)
{
	Gofer__StatRequest m = GOFER__STAT_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Stat, .message = &m.base, .fd = -1 };
	struct cache *cache = file->mount->caching ? file->mount->session->cache : NULL;
	struct gofer_reply reply;
	struct cache_op op;
	Gofer__Path where;
	int r;

	if (cache && session_check(file->mount->session) == 0 &&
	    cache_find_inode(cache, file->dev, file->ino, ret_attr))
		return 0;
	r = file_path(file, &where);
	if (r < 0)
		return r;
	m.path = &where;
	cache_begin(&op, cache, CACHE_READ, 0, 0);
	r = session_call(file->mount->session, &request, NULL, &reply);
	if (r < 0)
		return r;
	if (reply.kind == GOFER_REPLY_OK) {
		*ret_attr = *((Gofer__StatReply *)reply.message)->attr;
		cache_learn_attr(&op, ret_attr);
	} else {
		r = session_violation(file->mount->session, "a stop without a path");
	}
	gofer_reply_free(&reply);
	return r;
}
