/*
 * handlers_dir.c - ReadDir: as many entries as a frame holds, each with its attributes if wanted,
 * and an end flag.
 *
 * The sum of the packed sizes is kept while entries are gathered, so that the reply always fits;
 * the entry that does not is where the next request goes on (its predecessor's cookie). Entries are
 * looked at by name below the open directory, without following.
 */
#include "server/session.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/codec.h"

enum {
	REPLY_RESERVE = 32, /* of the body, for what is set last: the end flag, the handle */
	ENTRY_OVERHEAD = 8, /* tag and length of one entry */
	MAX_ENTRIES = 2048, /* of one reply: bounds what the arena holds */
	MIN_BODY = 1024,    /* one entry with a name of 255 bytes and attributes fits */
};

struct listing {
	struct request *request;
	const Gofer__ReadDirRequest *query;
	struct fs_node dir; /* borrowed */
	Gofer__ReadDirReply *reply;
	size_t left; /* bytes of the body */
	int error;   /* why it ended before it was full */
	bool watch;  /* each entry, until that fails */
};

static bool add_details(struct listing *l, Gofer__Entry *entry, const char *name)
{
	struct request *r = l->request;
	struct fs *fs = request_fs(r);
	bool fresh;
	_cleanup_node_ struct fs_node node = FS_NODE_NULL;
	Gofer__Attr attr = GOFER__ATTR__INIT;

	/* Before it is looked at. Of a name that means another object by then, the directory's own watch
	 * tells. */
	if (l->watch && watch_add(&r->session->watches, l->dir.fd, name, &entry->watch, &fresh) < 0)
		l->watch = false;
	if (!l->query->targets || entry->type != DT_LNK) {
		/* One call, no descriptor, where the backend is made of descriptors. */
		if (l->dir.path == NULL) {
			if (fs_attr_of_entry(fs, l->dir.fd, name, &attr) < 0)
				return true;
		} else if (fs->ops->child(fs, &l->dir, name, false, &node) < 0 ||
			   fs->ops->getattr(fs, &node, &attr) < 0) {
			return true;
		}
	} else {
		char target[PATH_MAX];
		ssize_t n;

		if (fs->ops->child(fs, &l->dir, name, false, &node) < 0 ||
		    fs->ops->getattr(fs, &node, &attr) < 0)
			return true;
		n = S_ISLNK(attr.mode) ? fs->ops->readlink(fs, &node, target, sizeof(target))
				       : -EINVAL;
		if (n >= 0) {
			entry->target = (ProtobufCBinaryData){
				.data = arena_memdup(&r->worker->arena, target, n), .len = n
			};
			if (!entry->target.data)
				return false;
		}
	}
	if (!l->query->attrs)
		return true;
	/* The name may mean another object by now; then type and number are the new one's, and
	 * consistent. */
	entry->type = attr.mode >> 12;
	entry->ino = attr.ino;
	entry->attr = request_attr(r, &attr);
	return entry->attr != NULL;
}

/* The request's memory is used up: what was gathered is the reply. */
static int no_room(struct listing *l)
{
	l->error = -EMSGSIZE;
	return 1;
}

static int add_entry(const struct fs_dirent *d, void *userdata)
{
	struct listing *l = userdata;
	struct arena *a = &l->request->worker->arena;
	Gofer__Entry *entry;
	size_t size;

	if (l->reply->n_entries == MAX_ENTRIES)
		return 1;
	entry = arena_alloc(a, sizeof(*entry));
	if (!entry)
		return no_room(l);
	gofer__entry__init(entry);
	entry->name = (ProtobufCBinaryData){ .data = arena_memdup(a, d->name, d->name_len + 1),
					     .len = d->name_len };
	entry->type = d->type;
	entry->ino = d->ino;
	entry->cookie = d->cookie;
	if (!entry->name.data)
		return no_room(l);
	if ((l->query->attrs || l->query->targets) &&
	    !add_details(l, entry, (const char *)entry->name.data))
		return no_room(l);
	size = codec_size(&entry->base) + ENTRY_OVERHEAD;
	if (size > l->left)
		return 1;
	l->left -= size;
	l->reply->entries[l->reply->n_entries++] = entry;
	return 0;
}

static int list(struct listing *l, struct handle *handle)
{
	struct request *r = l->request;
	size_t rest = codec_size(&l->reply->base) + REPLY_RESERVE;
	size_t most = FRAME_MAX_BODY;
	bool end = false;
	int e;

	if (l->query->max_bytes)
		most = MIN(most, MAX(l->query->max_bytes, (uint32_t)MIN_BODY) + rest);
	if (rest >= most)
		return -EMSGSIZE;
	l->left = most - rest;
	l->reply->entries =
		arena_calloc(&r->worker->arena, MAX_ENTRIES, sizeof(*l->reply->entries));
	if (!l->reply->entries)
		return -EMSGSIZE;
	if (handle)
		pthread_mutex_lock(&handle->lock);
	e = fs_read_dir(l->dir.fd, l->query->cookie, add_entry, l, &end);
	if (handle)
		pthread_mutex_unlock(&handle->lock);
	if (e < 0)
		return e;
	/* Not even one fits (a link's target of 4 KiB in a small reply): asking again would not
	 * help. */
	if (!end && l->reply->n_entries == 0)
		return l->error < 0 ? l->error : -EINVAL;
	l->reply->end = end;
	return 0;
}

int handle_read_dir(struct request *r, const Gofer__ReadDirRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	_cleanup_node_ struct fs_node file = FS_NODE_NULL;
	struct fs *fs = request_fs(r);
	struct listing l = { .request = r, .query = q };
	struct handle *handle = q->path->path.len == 0 ? r->base[0] : NULL, *kept;
	Gofer__Attr attr = GOFER__ATTR__INIT;
	int e;

	if (handle && (handle->flags & GOFER__OPEN_FLAG__OPEN_READ)) {
		/* Goes on with an open directory. */
		if (handle->type != S_IFDIR)
			return -ENOTDIR;
		e = fs->ops->getattr(fs, &handle->node, &attr);
		l.dir = handle->node;
	} else {
		handle = NULL;
		e = request_open(r, q->path, q->path->nofollow, O_RDONLY | O_DIRECTORY, &walk,
				 &file, &attr);
		l.dir = file;
	}
	if (e != 0)
		return e;
	l.reply = REQUEST_REPLY(r, ReadDirReply, read_dir_reply);
	if (!l.reply || !(l.reply->attr = request_attr(r, &attr)))
		return -EMSGSIZE;
	/* An entry may be a mount that is entered, of a kind that does not tell. */
	l.watch = q->watch && (fs->flags & (FS_DETACHED | FS_XDEV)) == FS_DETACHED &&
		  fs->ops == &fs_host_ops;
	l.reply->followed = walk.followed;
	l.reply->n_followed = walk.n_followed;
	e = list(&l, handle);
	if (e < 0)
		return e;
	if (!q->keep || l.reply->end || handle)
		return 0;
	e = handle_reserve(&r->session->handles, &kept);
	if (e < 0)
		return e;
	l.reply->handle = handle_insert(&r->session->handles, kept, r->volume,
					session_identity_ref(r->worker->acting), &file,
					GOFER__OPEN_FLAG__OPEN_READ, S_IFDIR);
	r->reply_handle = l.reply->handle;
	return 0;
}
