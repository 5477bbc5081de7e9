/*
 * handlers_dir.c - ReadDir: as many entries as a frame holds, each with its attributes if wanted,
 * and an end flag.
 *
 * An entry is packed as soon as it was looked at, so a listing has no messages of entries, only their
 * bytes: they are the first field of the reply, whose others are packed behind them (request.packed). The
 * entry that does not fit is where the next request goes on (its predecessor's cookie). Entries are
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
	MAX_ENTRIES = 2048, /* of one reply: bounds what they are for the client */
	MIN_BODY = 1024,    /* one entry with a name of 255 bytes and attributes fits */
	ENTRIES_FIELD = 1,
	PACKED_GUESS =
		6, /* bytes of an entry with attributes for one of the directory's, before any was seen */
};

struct listing {
	struct request *request;
	const Gofer__ReadDirRequest *query;
	struct fs_node dir; /* borrowed */
	Gofer__ReadDirReply *reply;
	uint8_t *packed;
	size_t used, room; /* bytes of `packed` */
	size_t read;       /* bytes of the directory that they were */
	uint32_t n;
	bool watch; /* each entry, until that fails */
};

/* What is packed with an entry. */
struct details {
	Gofer__Entry entry;
	Gofer__Attr attr;
	char target[PATH_MAX];
};

static void add_target(struct fs *fs, const struct fs_node *node, struct details *d)
{
	ssize_t n = fs->ops->readlink(fs, node, d->target, sizeof(d->target));

	if (n >= 0)
		d->entry.target = (ProtobufCBinaryData){ (size_t)n, (uint8_t *)d->target };
}

static void add_details(struct listing *l, struct details *d, const char *name)
{
	struct request *r = l->request;
	struct fs *fs = request_fs(r);
	bool target = l->query->targets && d->entry.type == DT_LNK, fresh;
	_cleanup_node_ struct fs_node node = FS_NODE_NULL;

	/* Before it is looked at. Of a name that means another object by then, the directory's own watch
	 * tells. */
	if (l->watch &&
	    watch_add(&r->session->watches, l->dir.fd, name, &d->entry.watch, &fresh) < 0)
		l->watch = false;
	if (!target && !l->query->attrs)
		return;
	/* One call, no descriptor, where the backend is made of descriptors. */
	if (!target && l->dir.path == NULL) {
		if (fs_attr_of_entry(fs, l->dir.fd, name, &d->attr) < 0)
			return;
	} else if (fs->ops->child(fs, &l->dir, name, false, &node) < 0 ||
		   fs->ops->getattr(fs, &node, &d->attr) < 0) {
		return;
	}
	if (target && S_ISLNK(d->attr.mode))
		add_target(fs, &node, d);
	if (!l->query->attrs)
		return;
	/* The name may mean another object by now; then type and number are the new one's, and
	 * consistent. */
	d->entry.type = d->attr.mode >> 12;
	d->entry.ino = d->attr.ino;
	d->entry.attr = &d->attr;
}

static int add_entry(const struct fs_dirent *found, void *userdata)
{
	struct listing *l = userdata;
	struct details d;
	ssize_t size;

	if (l->n == MAX_ENTRIES)
		return 1;
	gofer__entry__init(&d.entry);
	d.entry.name = (ProtobufCBinaryData){ found->name_len, (uint8_t *)found->name };
	d.entry.type = found->type;
	d.entry.ino = found->ino;
	d.entry.cookie = found->cookie;
	add_details(l, &d, found->name);
	size = codec_pack_field(ENTRIES_FIELD, &d.entry.base, l->packed + l->used,
				l->room - l->used);
	if (size < 0)
		return 1;
	l->used += (size_t)size;
	l->read += offsetof(struct dirent64, d_name) + found->name_len + 1;
	l->n++;
	return 0;
}

/* As many as fit, if what follows is like what there was; never none, for the end is to be seen. */
static size_t room_for(void *userdata)
{
	const struct listing *l = userdata;
	size_t left = l->room - l->used;

	left = l->n ? left * l->read / l->used : left / PACKED_GUESS;
	return MAX(left - left / 8, (size_t)FS_READ_DIR_MIN);
}

static int list(struct listing *l, struct handle *handle)
{
	const struct fs_reader reader = { .each = add_entry, .room = room_for, .userdata = l };
	struct request *r = l->request;
	size_t rest = codec_size(&l->reply->base) + REPLY_RESERVE;
	size_t most = FRAME_MAX_BODY;
	bool end = false;
	int e;

	if (l->query->max_bytes)
		most = MIN(most, MAX(l->query->max_bytes, (uint32_t)MIN_BODY) + rest);
	if (rest >= most)
		return -EMSGSIZE;
	l->room = most - rest;
	l->packed = arena_alloc(&r->worker->arena, l->room);
	if (!l->packed)
		return -EMSGSIZE;
	if (handle)
		pthread_mutex_lock(&handle->lock);
	e = fs_read_dir(l->dir.fd, l->query->cookie, &reader, &end);
	if (handle)
		pthread_mutex_unlock(&handle->lock);
	if (e < 0)
		return e;
	/* Not even one fits (a link's target of 4 KiB in a small reply): asking again would not
	 * help. */
	if (!end && l->n == 0)
		return -EINVAL;
	l->reply->end = end;
	r->packed = l->packed;
	r->packed_len = l->used;
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
