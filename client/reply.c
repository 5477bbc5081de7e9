/*
 * reply.c - what the server says is decoded into bounded memory and judged here, against what was
 * asked, before anybody acts on it.
 *
 * A reply owns one `struct reply_memory`: what its message lives in, and its payload unless that went
 * straight to the caller's buffer, or was taken (reply_take_data()).
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/session.h"
#include "common/path.h"
#include "proto/channel.h"
#include "proto/errnos.h"

struct reply_memory {
	uint8_t *data; /* payload and a byte behind it, or NULL */
	struct arena arena;
	_Alignas(ARENA_ALIGN) uint8_t block[];
};

void gofer_reply_free(struct gofer_reply *reply)
{
	struct reply_memory *memory = reply->memory;

	if (memory) {
		free(memory->data);
		free(memory);
	}
	/* 0 is a descriptor, but never one of a zeroed struct. */
	if (reply->fd > 0 || (reply->fd == 0 && memory))
		fd_close(reply->fd);
	*reply = (struct gofer_reply){ .fd = -EBADF };
}

void *reply_take_data(struct gofer_reply *reply)
{
	struct reply_memory *memory = reply->memory;
	uint8_t *data = memory->data ? TAKE_PTR(memory->data) : malloc(1);

	if (data)
		data[reply->data_len] = '\0';
	reply->data = NULL;
	return data;
}

int attr_check(const Gofer__Attr *a)
{
	if (!a)
		return 0;
	switch (a->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	default:
		return -EPROTO;
	}
	if (a->mode & ~(uint32_t)(S_IFMT | 07777))
		return -EPROTO;
	if (a->size > INT64_MAX || a->blocks > INT64_MAX || a->blksize > INT32_MAX)
		return -EPROTO;
	if (a->atime_nsec >= 1000000000 || a->mtime_nsec >= 1000000000 ||
	    a->ctime_nsec >= 1000000000 || a->btime_nsec >= 1000000000)
		return -EPROTO;
	return 0;
}

bool reply_flags_ok(const struct frame_header *h)
{
	return (h->flags & FRAME_REPLY) && !(h->flags & ~(FRAME_REPLY | FRAME_KIND_MASK)) &&
	       (h->flags & FRAME_KIND_MASK) <= FRAME_STOP;
}

static bool target_ok(const ProtobufCBinaryData *target)
{
	return target->len > 0 && target->len <= PATH_LEN_MAX &&
	       !memchr(target->data, 0, target->len);
}

static bool followed_ok(Gofer__Followed *const *followed, size_t n, uint32_t most)
{
	if (n > most)
		return false;
	for (size_t i = 0; i < n; i++)
		if (followed[i]->begin >= followed[i]->end || !target_ok(&followed[i]->target) ||
		    followed[i]->target.data[0] == '/')
			return false;
	return true;
}

static const char *check_stop(const struct rpc_info *rpc, const struct expect *e,
			      const Gofer__Stop *stop)
{
	if (!(rpc->flags & RPC_PATH) || stop->which > !!(rpc->flags & RPC_PATH2) ||
	    stop->begin >= stop->end)
		return "a stop that cannot be";
	if (stop->reason == GOFER__STOP__REASON__SYMLINK) {
		if (!target_ok(&stop->target))
			return "a symbolic link with an impossible target";
	} else if (stop->reason != GOFER__STOP__REASON__ABOVE_ROOT || stop->target.len) {
		return "a stop for an unknown reason";
	}
	if (!followed_ok(stop->followed, stop->n_followed, e->follow))
		return "links followed that were not allowed";
	return attr_check(stop->attr) < 0 ? "impossible attributes" : NULL;
}

static const char *check_entries(const struct expect *e, const Gofer__ReadDirReply *m)
{
	if (!m->end && m->n_entries == 0)
		return "an endless directory";
	if (m->handle && (!e->keep || m->end))
		return "a directory handle that was not asked for";
	for (size_t i = 0; i < m->n_entries; i++) {
		const Gofer__Entry *entry = m->entries[i];

		if (path_validate_name(entry->name.data, entry->name.len) < 0)
			return "a directory entry with an impossible name";
		if (entry->type > 15 || entry->cookie == 0 || entry->cookie > INT64_MAX ||
		    entry->watch > INT32_MAX)
			return "a directory entry with impossible numbers";
		if (attr_check(entry->attr) < 0)
			return "impossible attributes";
		if (entry->target.len && !target_ok(&entry->target))
			return "a symbolic link with an impossible target";
	}
	if (!m->end && m->entries[m->n_entries - 1]->cookie == e->cookie)
		return "an endless directory";
	return NULL;
}

static const char *check_names(const uint8_t *data, size_t len)
{
	if (len && data[len - 1] != '\0')
		return "a list of names without an end";
	for (size_t at = 0; at < len;) {
		size_t n = strlen((const char *)data + at);

		if (n == 0 || n > 255)
			return "an extended attribute with an impossible name";
		at += n + 1;
	}
	return NULL;
}

static const char *check_limits(const Gofer__Limits *l)
{
	if (!l || l->max_frame < 2 * FRAME_HEADER_SIZE + 8192 || l->max_data < 4096 ||
	    l->max_data > l->max_frame - FRAME_HEADER_SIZE || l->max_in_flight == 0 ||
	    l->max_handles == 0 || l->inline_limit > l->max_data)
		return "limits that nothing fits in";
	return NULL;
}

static const char *check_hello(const Gofer__HelloReply *m)
{
	const char *violation = check_limits(m->limits);

	if (m->token.len && m->token.len != RPC_TOKEN_SIZE)
		return "a token of an impossible length";

	for (size_t i = 0; !violation && i < m->n_filesystems; i++) {
		const Gofer__Filesystem *f = m->filesystems[i];

		if (path_validate_name(f->name.data, f->name.len) < 0)
			return "a filesystem with an impossible name";
		/* Absent where the session's own identity may not look (a delegating volume). */
		if (f->root && (attr_check(f->root) < 0 || !S_ISDIR(f->root->mode)))
			return "a filesystem whose root is no directory";
		for (size_t j = 0; j < i; j++)
			if (m->filesystems[j]->fs_id == f->fs_id ||
			    (m->filesystems[j]->name.len == f->name.len &&
			     !memcmp(m->filesystems[j]->name.data, f->name.data, f->name.len)))
				return "two filesystems with one name or number";
	}
	return violation;
}

static const char *check_open(const struct expect *e, const Gofer__OpenReply *m,
			      const struct frame_header *h)
{
	const uint32_t only = GOFER__OPEN_FLAG__OPEN_DONATE | GOFER__OPEN_FLAG__OPEN_ONLY_DONATED;

	if (!m->attr)
		return "no attributes";
	if (m->donated && !(e->open & GOFER__OPEN_FLAG__OPEN_DONATE))
		return "a descriptor that was not asked for";
	if (m->donated != (h->fds != 0))
		return "a descriptor that is not where it is said to be";
	if ((m->handle == 0) != (m->donated && (e->open & only) == only))
		return "an open without a handle, or with one too many";
	return NULL;
}

static const char *check_watch(const struct expect *e, const Gofer__WatchReply *m,
			       const struct frame_header *h)
{
	if (m->end > e->asked || m->n_watches > e->asked / 2 + 2 ||
	    ((m->access | m->refused) & ~7u) || (m->access & m->refused))
		return "a walk longer than the path";
	if (m->error ? m->error != ENOENT || m->attr != NULL : m->attr == NULL)
		return "attributes of what does not exist, or none";
	if (m->attr && S_ISLNK(m->attr->mode) ? !target_ok(&m->target) : m->target.len != 0)
		return "a symbolic link with an impossible target";
	for (size_t i = 0; i < m->n_watches; i++)
		if (m->watches[i] > INT32_MAX)
			return "a watch with an impossible number";
	if (m->donated && !e->keep)
		return "a descriptor that was not asked for";
	if (m->donated != (h->fds != 0))
		return "a descriptor that is not where it is said to be";
	return NULL;
}

/* What an OK reply must be, by its type. */
static const char *check_ok(const struct rpc_info *rpc, const struct expect *e,
			    const ProtobufCMessage *message, const struct frame_header *h)
{
	bool attrs_ok = true, links_ok = true;

#define LINKS(m) links_ok = followed_ok((m)->followed, (m)->n_followed, e->follow)
	if (h->fds && !(rpc->flags & RPC_DONATES))
		return "a descriptor that was not asked for";
	if (h->data_len > e->data)
		return "more data than was asked for";
	switch (rpc->type) {
	case RPC_TYPE_Hello:
		return check_hello((const Gofer__HelloReply *)message);
	case RPC_TYPE_Stat: {
		const Gofer__StatReply *m = (const Gofer__StatReply *)message;

		attrs_ok = m->attr && attr_check(m->attr) == 0;
		LINKS(m);
		break;
	}
	case RPC_TYPE_Access: {
		const Gofer__AccessReply *m = (const Gofer__AccessReply *)message;

		attrs_ok = attr_check(m->attr) == 0;
		LINKS(m);
		break;
	}
	case RPC_TYPE_Open: {
		const Gofer__OpenReply *m = (const Gofer__OpenReply *)message;
		const char *violation = check_open(e, m, h);

		if (violation)
			return violation;
		attrs_ok = attr_check(m->attr) == 0;
		LINKS(m);
		break;
	}
	case RPC_TYPE_Watch: {
		const Gofer__WatchReply *m = (const Gofer__WatchReply *)message;
		const char *violation = check_watch(e, m, h);

		if (violation)
			return violation;
		attrs_ok = attr_check(m->attr) == 0;
		break;
	}
	case RPC_TYPE_ReadFile: {
		const Gofer__ReadFileReply *m = (const Gofer__ReadFileReply *)message;

		attrs_ok = (m->attr || e->bare) && attr_check(m->attr) == 0;
		LINKS(m);
		break;
	}
	case RPC_TYPE_ReadDir: {
		const Gofer__ReadDirReply *m = (const Gofer__ReadDirReply *)message;
		const char *violation = check_entries(e, m);

		if (violation)
			return violation;
		attrs_ok = attr_check(m->attr) == 0;
		LINKS(m);
		break;
	}
	case RPC_TYPE_ReadLink: {
		const Gofer__ReadLinkReply *m = (const Gofer__ReadLinkReply *)message;

		if (!target_ok(&m->target))
			return "a symbolic link with an impossible target";
		attrs_ok = attr_check(m->attr) == 0;
		break;
	}
	case RPC_TYPE_Rename: {
		const Gofer__RenameReply *m = (const Gofer__RenameReply *)message;

		attrs_ok = attr_check(m->attr) == 0 && attr_check(m->source_parent) == 0 &&
			   attr_check(m->dest_parent) == 0;
		break;
	}
	case RPC_TYPE_GetXattr: {
		const Gofer__GetXattrReply *m = (const Gofer__GetXattrReply *)message;

		if (m->size > 65536 || (e->data && m->size != h->data_len))
			return "an extended attribute with an impossible size";
		break;
	}
	case RPC_TYPE_ListXattr: {
		const Gofer__ListXattrReply *m = (const Gofer__ListXattrReply *)message;

		if (m->size > 65536 || (e->data && m->size != h->data_len))
			return "a list of names with an impossible size";
		break;
	}
	case RPC_TYPE_Write: {
		const Gofer__WriteReply *m = (const Gofer__WriteReply *)message;

		if (m->count > e->asked || m->offset > (uint64_t)INT64_MAX - m->count)
			return "more written than there was";
		attrs_ok = attr_check(m->attr) == 0;
		break;
	}
	case RPC_TYPE_Copy: {
		const Gofer__CopyReply *m = (const Gofer__CopyReply *)message;

		if (m->count > e->asked)
			return "more copied than there was";
		attrs_ok = attr_check(m->attr) == 0;
		break;
	}
	case RPC_TYPE_Seek:
		if (((const Gofer__SeekReply *)message)->offset > INT64_MAX)
			return "an offset beyond every file";
		break;
	default:
		if (rpc->reply == &gofer__object_reply__descriptor) {
			const Gofer__ObjectReply *m = (const Gofer__ObjectReply *)message;

			attrs_ok = attr_check(m->attr) == 0 && attr_check(m->parent) == 0;
		}
		break;
	}
#undef LINKS
	if (!attrs_ok)
		return "impossible attributes";
	return links_ok ? NULL : "links followed that were not allowed";
}

/* The descriptor of watches is inotify's: reading it can never block or do anything else. */
static const char *check_queue(int fd)
{
	char name[32], link[64];
	ssize_t n;

	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, link, sizeof(link));
	if (n != (ssize_t)strlen("anon_inode:inotify") ||
	    memcmp(link, "anon_inode:inotify", (size_t)n) != 0)
		return "a descriptor of something else than watches";
	return fcntl(fd, F_GETFL) & O_NONBLOCK ? NULL : "a descriptor that blocks";
}

/* A donated descriptor must be a regular file's, open for exactly what was asked. */
static const char *check_descriptor(const struct expect *e, int fd)
{
	uint32_t access = e->open & (GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE);
	int want = access == GOFER__OPEN_FLAG__OPEN_READ    ? O_RDONLY
		   : access == GOFER__OPEN_FLAG__OPEN_WRITE ? O_WRONLY
							    : O_RDWR;
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || (flags & O_PATH) || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return "a descriptor of something else than a regular file";
	if ((flags & O_ACCMODE) != want)
		return "a descriptor with another access than was asked for";
	return NULL;
}

static uint64_t reply_handle(const struct rpc_info *rpc, const ProtobufCMessage *message)
{
	switch (rpc->type) {
	case RPC_TYPE_Open:
		return ((const Gofer__OpenReply *)message)->handle;
	case RPC_TYPE_ReadDir:
		return ((const Gofer__ReadDirReply *)message)->handle;
	default:
		return 0;
	}
}

/* The next number of the body, in protobuf's encoding. False at its end, or where it is none. */
static bool next_varint(const uint8_t **at, const uint8_t *end, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*ret = value;
			return true;
		}
	}
	return false;
}

/* The next field of a message: a number, or the length of its bytes, which *at is moved behind. Replies have no other kind. */
static bool next_field(const uint8_t **at, const uint8_t *end, uint64_t *ret_id, bool *ret_bytes,
		       uint64_t *ret_value)
{
	uint64_t key;

	if (!next_varint(at, end, &key) || !next_varint(at, end, ret_value))
		return false;
	*ret_id = key >> 3;
	*ret_bytes = (key & 7) == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
	if (!*ret_bytes)
		return (key & 7) == PROTOBUF_C_WIRE_TYPE_VARINT;
	if (*ret_value > (uint64_t)(end - *at))
		return false;
	*at += *ret_value;
	return true;
}

/*
 * The handle in a reply that there is no memory to decode: without its number it could not be closed,
 * and would stay open on the server for as long as the session lasts.
 */
static uint64_t peek_handle(const struct rpc_info *rpc, const struct frame *frame)
{
	const uint8_t *at = frame->body, *end = at + frame->header.body_len;
	const ProtobufCFieldDescriptor *field =
		rpc->type == RPC_TYPE_Open || rpc->type == RPC_TYPE_ReadDir
			? protobuf_c_message_descriptor_get_field_by_name(rpc->reply, "handle")
			: NULL;
	uint64_t id, value, handle = 0;
	bool bytes;

	while (field && next_field(&at, end, &id, &bytes, &value))
		if (id == field->id && !bytes)
			handle = value;
	return handle;
}

bool reply_listing_goes_on(const uint8_t *body, size_t len, uint64_t *ret_cookie)
{
	enum { ENTRIES = 1, END = 2, COOKIE = 4 };
	const uint8_t *at = body, *end = body + len, *entry = NULL, *entry_end = NULL;
	uint64_t id, value;
	bool bytes;

	while (next_field(&at, end, &id, &bytes, &value)) {
		if (id == END)
			return false;
		if (id == ENTRIES && bytes) {
			entry_end = at;
			entry = at - value;
		}
	}
	while (entry && next_field(&entry, entry_end, &id, &bytes, &value)) {
		if (id != COOKIE || bytes)
			continue;
		*ret_cookie = value;
		return value != 0 && value <= INT64_MAX;
	}
	return false;
}

/* No memory for a reply: what came with it is let go. */
static int forget_reply(const struct rpc_info *rpc, const struct frame *frame, struct packet_in *in,
			uint64_t *ret_handle)
{
	if ((frame->header.flags & FRAME_KIND_MASK) == FRAME_OK)
		*ret_handle = peek_handle(rpc, frame);
	if (frame->header.fds)
		in->fd = fd_close(in->fd);
	return -ENOMEM;
}

static int decode_error(const ProtobufCMessage *message)
{
	return -errno_from_wire(((const Gofer__Error *)message)->error);
}

int reply_decode(const struct rpc_info *rpc, const struct expect *expect, const struct frame *frame,
		 struct packet_in *in, void *sink, struct gofer_reply *ret_reply,
		 uint64_t *ret_handle, const char **ret_violation)
{
	const struct frame_header *h = &frame->header;
	unsigned kind = h->flags & FRAME_KIND_MASK;
	const ProtobufCMessageDescriptor *descriptor = kind == FRAME_OK ? rpc->reply
						       : kind == FRAME_ERROR
							       ? &gofer__error__descriptor
							       : &gofer__stop__descriptor;
	struct gofer_reply reply = { .fd = -EBADF, .kind = (enum gofer_reply_kind)kind };
	struct reply_memory *memory;
	const char *violation = NULL;
	size_t size;
	int r = 0;

	if (kind != FRAME_OK && (h->data_len || h->fds)) {
		*ret_violation = "payload or descriptor in a reply that has none";
		return -EPROTO;
	}
	size = REPLY_OVERHEAD + (size_t)REPLY_FACTOR * h->body_len;
	memory = malloc(sizeof(*memory) + size);
	if (!memory)
		return forget_reply(rpc, frame, in, ret_handle);
	memory->data = h->data_len && !sink ? malloc((size_t)h->data_len + 1) : NULL;
	if (h->data_len && !sink && !memory->data) {
		free(memory);
		return forget_reply(rpc, frame, in, ret_handle);
	}
	arena_init_at(&memory->arena, memory->block, size);
	reply.memory = memory;
	if (arena_unpack(&memory->arena, descriptor, frame->body, h->body_len, &reply.message) <
	    0) {
		violation = "a body that does not decode";
		goto out;
	}
	if (kind == FRAME_ERROR) {
		r = decode_error(reply.message);
		goto out;
	}
	violation = kind == FRAME_STOP ? check_stop(rpc, expect, (const Gofer__Stop *)reply.message)
				       : check_ok(rpc, expect, reply.message, h);
	if (violation)
		goto out;
	if (kind == FRAME_OK)
		*ret_handle = reply_handle(rpc, reply.message);
	if (h->fds) {
		if (in->fd < 0 && in->truncated) {
			r = -EMFILE;
			fail_words(r, "the server donated a descriptor, but this process has no "
				      "room for one more (RLIMIT_NOFILE)");
			goto out;
		}
		violation = in->fd < 0                    ? "a descriptor that did not come"
			    : rpc->type == RPC_TYPE_Watch ? check_queue(in->fd)
							  : check_descriptor(expect, in->fd);
		if (violation)
			goto out;
		reply.fd = TAKE_FD(in->fd);
	}
	if (h->data_len) {
		reply.data = sink ? sink : memory->data;
		reply.data_len = h->data_len;
		/* Looked at after that only: it may lie where the server can write. */
		channel_copy_in(sink ? sink : memory->data, frame->data, h->data_len);
		if (rpc->type == RPC_TYPE_ListXattr)
			violation = check_names(reply.data, h->data_len);
		if (violation)
			goto out;
	}
	*ret_reply = reply;
	return 0;
out:
	gofer_reply_free(&reply);
	*ret_violation = violation;
	return violation ? -EPROTO : r;
}
