/*
 * numbers.c - handles and identities of a session that may lose its connection: what they are, so
 * that they can be made again, and what the server calls a handle now.
 *
 * As long as the first connection lasts, a handle's number is the server's, and nothing is looked up
 * but when handles come and go. A server that opens it again gives it another number, which an older
 * handle may have had; so from then on every request is read once more, and its numbers are replaced.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/reattach.h"
#include "proto/codec.h"

enum { FIRST_BUCKETS = 64 };

/* Of numbers that no server gives: theirs count from below. */
#define OWN_NUMBER (UINT64_C(1) << 63)

static size_t bucket_of(const struct reattach *a, uint64_t number)
{
	return (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (a->n_buckets - 1);
}

struct opened *numbers_find(struct gofer_session *s, uint64_t number)
{
	const struct reattach *a = s->again;

	if (!a->n_buckets)
		return NULL;
	for (struct opened *o = a->buckets[bucket_of(a, number)]; o; o = o->next)
		if (o->number == number)
			return o;
	return NULL;
}

static void opened_free(struct opened *o)
{
	free(o->path);
	free(o);
}

static int grow(struct reattach *a)
{
	size_t n = a->n_buckets ? 2 * a->n_buckets : (size_t)FIRST_BUCKETS, old = a->n_buckets;
	struct opened **from = a->buckets, **to = calloc(n, sizeof(*to));

	if (!to)
		return -ENOMEM;
	a->buckets = to;
	a->n_buckets = n;
	for (size_t i = 0; i < old; i++)
		while (from[i]) {
			struct opened *o = from[i];
			size_t at = bucket_of(a, o->number);

			from[i] = o->next;
			o->next = to[at];
			to[at] = o;
		}
	free(from);
	return 0;
}

static int add(struct gofer_session *s, struct opened *o)
{
	struct reattach *a = s->again;
	size_t at;

	if (a->n_opened >= a->n_buckets && grow(a) < 0 && !a->n_buckets)
		return -ENOMEM;
	o->number = o->server;
	if (numbers_find(s, o->number)) {
		o->number = OWN_NUMBER | ++a->next_number;
		a->renumbered = true;
	}
	at = bucket_of(a, o->number);
	o->next = a->buckets[at];
	a->buckets[at] = o;
	a->n_opened++;
	return 0;
}

uint64_t numbers_closed(struct gofer_session *s, uint64_t number)
{
	struct reattach *a = s->again;

	if (!a->n_buckets)
		return number;
	for (struct opened **at = &a->buckets[bucket_of(a, number)]; *at; at = &(*at)->next) {
		struct opened *o = *at;
		uint64_t server = o->server;

		if (o->number != number)
			continue;
		*at = o->next;
		a->n_opened--;
		opened_free(o);
		return server;
	}
	return a->renumbered ? 0 : number;
}

/* ---- paths ---- */

/* The length of the path without its last component, if that is a name. */
static size_t parent_of(const char *path, size_t n)
{
	size_t at = n;

	while (at && path[at - 1] != '/')
		at--;
	if (at == n || (n - at == 2 && path[at] == '.' && path[at + 1] == '.'))
		return n;
	return at ? at - 1 : 0;
}

/*
 * base/text, without what means nothing; no_links: nor what "..", having been walked, undoes. NULL without memory.
 */
static char *join(const char *base, const uint8_t *text, size_t len, bool no_links)
{
	size_t n = strlen(base);
	char *path = malloc(n + 1 + len + 1);

	if (!path)
		return NULL;
	memcpy(path, base, n);
	for (size_t i = 0; i < len;) {
		size_t begin = i;

		while (i < len && text[i] != '/')
			i++;
		if (no_links && i == begin + 2 && text[begin] == '.' && text[begin + 1] == '.' &&
		    parent_of(path, n) < n) {
			n = parent_of(path, n);
		} else if (i > begin && !(i == begin + 1 && text[begin] == '.')) {
			if (n)
				path[n++] = '/';
			memcpy(path + n, text + begin, i - begin);
			n += i - begin;
		}
		i++;
	}
	path[n] = '\0';
	return path;
}

/* 0 with a path (the caller's), or NULL where it is not known; -ENOMEM. */
static int path_of(struct gofer_session *s, const Gofer__Path *p, bool no_links, char **ret_path)
{
	const struct opened *base = p->base_handle ? numbers_find(s, p->base_handle) : NULL;

	*ret_path = NULL;
	if (p->base_handle && (!base || !base->path))
		return 0;
	*ret_path = join(base ? base->path : "", p->path.data, p->path.len, no_links);
	return *ret_path ? 0 : -ENOMEM;
}

/* ---- what answers teach ---- */

static int learn_opened(struct gofer_session *s, const Gofer__Path *p, uint32_t flags,
			const Gofer__Attr *attr, bool no_links, uint64_t *handle)
{
	const uint32_t kept = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE |
			      GOFER__OPEN_FLAG__OPEN_PATH | GOFER__OPEN_FLAG__OPEN_APPEND |
			      GOFER__OPEN_FLAG__OPEN_DIRECTORY | GOFER__OPEN_FLAG__OPEN_SYNC |
			      GOFER__OPEN_FLAG__OPEN_DSYNC | GOFER__OPEN_FLAG__OPEN_NOATIME;
	struct opened *o = calloc(1, sizeof(*o));
	int r = o ? 0 : -ENOMEM;

	if (r == 0 && !(flags & GOFER__OPEN_FLAG__OPEN_TMPFILE))
		r = path_of(s, p, no_links, &o->path);
	if (r == 0) {
		o->server = *handle;
		o->fs_id = p->fs_id;
		o->identity = p->identity;
		o->follow = p->follow;
		o->nofollow = p->nofollow;
		o->flags = flags & kept;
		if (attr) {
			o->mode = attr->mode;
			o->dev = attr->dev;
			o->ino = attr->ino;
			o->btime = attr->btime;
			o->btime_nsec = attr->btime_nsec;
		}
		r = add(s, o);
	}
	if (r < 0) {
		if (o)
			opened_free(o);
		return r;
	}
	*handle = o->number;
	return 0;
}

static int learn_identity(struct gofer_session *s, const Gofer__SetIdentityRequest *q,
			  const uint8_t *body, size_t len)
{
	struct reattach *a = s->again;
	struct registered *at = a->identities, *end = at + a->n_identities;
	uint8_t *copy;

	while (at < end && at->id != q->id)
		at++;
	if (q->remove) {
		if (at < end) {
			free(at->body);
			*at = end[-1];
			a->n_identities--;
		}
		return 0;
	}
	copy = malloc(len ? len : 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, body, len);
	if (at == end) {
		struct registered *grown =
			reallocarray(a->identities, a->n_identities + 1, sizeof(*grown));

		if (!grown) {
			free(copy);
			return -ENOMEM;
		}
		a->identities = grown;
		at = grown + a->n_identities++;
		at->body = NULL;
	}
	free(at->body);
	*at = (struct registered){ .id = q->id, .len = len, .body = copy };
	return 0;
}

/* What was `from`, or lay below it, is at `to` now. Without memory its path is not known any more. */
static void move_path(struct opened *o, const char *from, const char *to)
{
	size_t n = strlen(from);
	char *path;

	if (strncmp(o->path, from, n) != 0 || (o->path[n] && o->path[n] != '/'))
		return;
	if (asprintf(&path, "%s%s", to, o->path + n) < 0)
		path = NULL;
	free(o->path);
	o->path = path;
}

static void learn_rename(struct gofer_session *s, const Gofer__RenameRequest *q)
{
	struct reattach *a = s->again;
	_cleanup_free_ char *from = NULL;
	_cleanup_free_ char *to = NULL;
	bool swap = q->flags & GOFER__RENAME_FLAG__RENAME_SWAP;

	if (path_of(s, q->source, true, &from) < 0 || path_of(s, q->dest, true, &to) < 0 || !from ||
	    !to)
		return;
	for (size_t i = 0; i < a->n_buckets; i++)
		for (struct opened *o = a->buckets[i]; o; o = o->next) {
			size_t n = strlen(from);

			if (!o->path || o->fs_id != q->source->fs_id)
				continue;
			if (strncmp(o->path, from, n) == 0 && (!o->path[n] || o->path[n] == '/'))
				move_path(o, from, to);
			else if (swap)
				move_path(o, to, from);
		}
}

static int unpack(const struct rpc_info *rpc, const uint8_t *body, size_t len, struct arena *arena,
		  ProtobufCMessage **ret)
{
	int r = arena_init(arena, REPLY_OVERHEAD + (size_t)REPLY_FACTOR * len);

	if (r < 0)
		return r;
	r = arena_unpack(arena, rpc->request, body, len, ret);
	if (r < 0)
		arena_deinit(arena);
	return r;
}

int numbers_answered(struct gofer_session *s, const struct slot *slot,
		     const struct gofer_reply *reply, uint64_t *handle)
{
	const uint8_t *body = slot->copy + FRAME_HEADER_SIZE;
	ProtobufCMessage *q;
	struct arena arena;
	int r;

	if (reply->kind != GOFER_REPLY_OK || !slot->copy ||
	    !(*handle || slot->rpc->type == RPC_TYPE_SetIdentity ||
	      slot->rpc->type == RPC_TYPE_Rename))
		return 0;
	r = unpack(slot->rpc, body, slot->copy_body, &arena, &q);
	if (r < 0)
		return r;
	if (slot->rpc->type == RPC_TYPE_Open) {
		const Gofer__OpenRequest *m = (const Gofer__OpenRequest *)q;
		Gofer__OpenReply *a = (Gofer__OpenReply *)reply->message;

		r = learn_opened(s, m->path, m->flags, a->attr, a->n_followed == 0, handle);
		a->handle = r < 0 ? a->handle : *handle;
	} else if (slot->rpc->type == RPC_TYPE_ReadDir) {
		Gofer__ReadDirReply *a = (Gofer__ReadDirReply *)reply->message;

		r = learn_opened(s, ((const Gofer__ReadDirRequest *)q)->path,
				 GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DIRECTORY,
				 a->attr, a->n_followed == 0, handle);
		a->handle = r < 0 ? a->handle : *handle;
	} else if (slot->rpc->type == RPC_TYPE_SetIdentity) {
		r = learn_identity(s, (const Gofer__SetIdentityRequest *)q, body, slot->copy_body);
	} else if (slot->rpc->type == RPC_TYPE_Rename) {
		learn_rename(s, (const Gofer__RenameRequest *)q);
	}
	arena_deinit(&arena);
	return r;
}

void numbers_sent_closes(struct reattach *a, const uint64_t *servers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		a->closes[a->next_close++ % RECENT_CLOSES] = servers[i];
}

void numbers_forget(struct gofer_session *s, const uint8_t *body, size_t len)
{
	ProtobufCMessage *q;
	struct arena arena;

	if (unpack(rpc_find(RPC_TYPE_Close), body, len, &arena, &q) < 0)
		return;
	for (size_t i = 0; i < ((const Gofer__CloseRequest *)q)->n_handles; i++)
		(void)numbers_closed(s, ((const Gofer__CloseRequest *)q)->handles[i]);
	arena_deinit(&arena);
}

/* ---- what the server calls them ---- */

static int put(struct gofer_session *s, uint64_t *number)
{
	const struct opened *o = *number ? numbers_find(s, *number) : NULL;

	if (*number == 0)
		return 0;
	if (!o)
		return -EBADF;
	if (o->error)
		return o->error;
	*number = o->server;
	return 0;
}

/* Of a request's field; those that hold handles are known by their names. */
static int put_field(struct gofer_session *s, ProtobufCMessage *m,
		     const ProtobufCFieldDescriptor *f)
{
	static const char *const names[] = { "handle", "source", "dest", "handles" };
	char *at = (char *)m + f->offset;
	int r = 0;

	if (f->type == PROTOBUF_C_TYPE_MESSAGE && f->descriptor == &gofer__path__descriptor) {
		Gofer__Path *p = *(Gofer__Path **)at;

		return p ? put(s, &p->base_handle) : 0;
	}
	if (f->type != PROTOBUF_C_TYPE_UINT64)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(f->name, names[i]) != 0)
			continue;
		if (f->label != PROTOBUF_C_LABEL_REPEATED)
			return put(s, (uint64_t *)at);
		for (size_t n = *(size_t *)((char *)m + f->quantifier_offset); n > 0 && r == 0; n--)
			r = put(s, *(uint64_t **)at + n - 1);
	}
	return r;
}

ssize_t numbers_put(struct gofer_session *s, const struct rpc_info *rpc, const uint8_t *body,
		    size_t len, uint8_t *out, size_t room)
{
	ProtobufCMessage *m;
	struct arena arena;
	ssize_t r = unpack(rpc, body, len, &arena, &m);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < rpc->request->n_fields && r == 0; i++)
		r = put_field(s, m, &rpc->request->fields[i]);
	if (r == 0)
		r = codec_pack(m, out, room);
	arena_deinit(&arena);
	return r;
}

void numbers_deinit(struct reattach *a)
{
	for (size_t i = 0; i < a->n_buckets; i++)
		while (a->buckets[i]) {
			struct opened *o = a->buckets[i];

			a->buckets[i] = o->next;
			opened_free(o);
		}
	free(a->buckets);
	for (size_t i = 0; i < a->n_identities; i++)
		free(a->identities[i].body);
	free(a->identities);
}
