/*
 * calls.c - calls by path that look: stat, access, readlink, statfs, xattrs. Each is one
 * path_call(); what differs is the message, and what a directory that only mounts make has to say.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/vfs.h>

#include "client/content.h"

#define STAT_FLAGS \
	(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC)

/* asked: whose clock to look at; then, whose file it is. 1 where it has to be asked again. */
static int stat_once(struct gofer_namespace *ns, const char *path, int flags,
		     struct gofer_session **asked, Gofer__Attr *ret_attr)
{
	_cleanup_lookup_ struct lookup l;
	struct gofer_session *s = *asked;
	uint64_t since = 0;
	int r;

	r = lookup_init(&l, ns, path);
	if (r < 0)
		return r;
	if (flags & ~STAT_FLAGS)
		return -EINVAL;
	l.fresh = flags & AT_STATX_FORCE_SYNC;
	if (!s && l.mount)
		s = l.mount->session;
	if (s)
		since = session_clock(s);
	r = lookup_stat(&l, flags & AT_SYMLINK_NOFOLLOW, ret_attr);
	if (r == LOOKUP_SYNTHETIC)
		return 0;
	if (r < 0)
		return r;
	/* A path may lead to a mount of another session: that clock was not read. */
	*asked = l.mount->session;
	if (session_overlay(*asked, ret_attr, *asked == s ? since : 0))
		return 0;
	/* Once that is sent, what the server says is from after this call began. */
	(void)content_settle_attr(*asked, ret_attr);
	return 1;
}

static int stat_path(struct gofer_namespace *ns, const char *path, int flags, Gofer__Attr *ret_attr)
{
	struct gofer_session *asked = NULL;
	int r = 1;

	for (unsigned tries = 0; r == 1 && tries < STAT_TRIES; tries++)
		r = stat_once(ns, path, flags, &asked, ret_attr);
	return MIN(r, 0);
}

int gofer_stat(struct gofer_namespace *ns, const char *path, int flags, struct stat *ret_st)
{
	Gofer__Attr attr;
	int r = stat_path(ns, path, flags, &attr);

	if (r < 0)
		return fail_path(r, "stat", path);
	attr_to_stat(&attr, ret_st);
	return 0;
}

int gofer_statx(struct gofer_namespace *ns, const char *path, int flags, struct statx *ret_stx)
{
	Gofer__Attr attr;
	int r = stat_path(ns, path, flags, &attr);

	if (r < 0)
		return fail_path(r, "stat", path);
	attr_to_statx(&attr, ret_stx);
	return 0;
}

int gofer_access(struct gofer_namespace *ns, const char *path, int mode, int flags)
{
	Gofer__AccessRequest m = GOFER__ACCESS_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct cache_answer answer;
	struct path_call c = { .type = RPC_TYPE_Access,
			       .message = &m.base,
			       .lookup = { &l },
			       .path = { &where },
			       .writes = mode & W_OK,
			       .answer = &answer,
			       .want = CACHE_ACCESS,
			       .mode = (unsigned)mode,
			       .fd = -1 };
	int r;

	r = lookup_init(&l, ns, path);
	if (r == 0 &&
	    ((mode & ~(R_OK | W_OK | X_OK)) || (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW))))
		r = -EINVAL;
	if (r == 0) {
		m.path = &where;
		m.mode = (uint32_t)mode;
		where.nofollow = flags & AT_SYMLINK_NOFOLLOW;
		r = path_call_simple(&c, mode & W_OK ? -EROFS : 0);
	}
	return r < 0 ? fail_path(r, "access", path) : 0;
}

ssize_t gofer_readlink(struct gofer_namespace *ns, const char *path, char *buf, size_t size)
{
	Gofer__ReadLinkRequest m = GOFER__READ_LINK_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct cache_answer answer;
	struct path_call c = { .type = RPC_TYPE_ReadLink,
			       .message = &m.base,
			       .lookup = { &l },
			       .path = { &where },
			       .answer = &answer,
			       .want = CACHE_TARGET,
			       .fd = -1 };
	const ProtobufCBinaryData *target;
	struct gofer_reply reply;
	ssize_t n;
	int r;

	r = lookup_init(&l, ns, path);
	if (r == 0 && size == 0)
		r = -EINVAL;
	if (r == 0) {
		m.path = &where;
		where.nofollow = true;
		r = path_call(&c, &reply);
	}
	if (r != 0)
		return fail_path(r == LOOKUP_SYNTHETIC ? -EINVAL : r, "readlink", path);
	if (answer.found == CACHE_HIT) {
		n = (ssize_t)MIN(size, answer.len);
		memcpy(buf, answer.text, (size_t)n);
		return n;
	}
	target = &((Gofer__ReadLinkReply *)reply.message)->target;
	n = (ssize_t)MIN(size, target->len);
	memcpy(buf, target->data, (size_t)n);
	gofer_reply_free(&reply);
	return n;
}

static void take_statfs(const Gofer__StatFsReply *m, struct statfs *ret_st)
{
	*ret_st = (struct statfs){
		.f_type = (__fsword_t)m->type,
		.f_bsize = (__fsword_t)m->bsize,
		.f_blocks = m->blocks,
		.f_bfree = m->bfree,
		.f_bavail = m->bavail,
		.f_files = m->files,
		.f_ffree = m->ffree,
		.f_namelen = m->namelen,
		.f_frsize = (__fsword_t)m->frsize,
		.f_flags = m->read_only ? 1 : 0, /* ST_RDONLY */
	};
}

int gofer_statfs(struct gofer_namespace *ns, const char *path, struct statfs *ret_st)
{
	Gofer__StatFsRequest m = GOFER__STAT_FS_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct path_call c = { .type = RPC_TYPE_StatFs,
			       .message = &m.base,
			       .lookup = { &l },
			       .path = { &where },
			       .fd = -1 };
	struct gofer_reply reply;
	int r;

	m.path = &where;
	r = lookup_init(&l, ns, path);
	if (r == 0)
		r = path_call(&c, &reply);
	if (r < 0)
		return fail_path(r, "statfs", path);
	if (r == LOOKUP_SYNTHETIC) {
		*ret_st = (struct statfs){
			.f_bsize = 4096, .f_frsize = 4096, .f_namelen = 255, .f_flags = 1
		};
		return 0;
	}
	take_statfs((Gofer__StatFsReply *)reply.message, ret_st);
	if (l.mount->read_only)
		ret_st->f_flags |= 1;
	gofer_reply_free(&reply);
	return 0;
}

/* ---- extended attributes ---- */

enum { XATTR_MAX = 65536 };

/* One of the two that return bytes. As the system calls: with size 0 the length only. */
static ssize_t xattr_read(struct gofer_namespace *ns, const char *path, struct path_call *c,
			  int flags, size_t size, const char *op)
{
	_cleanup_lookup_ struct lookup l;
	struct gofer_reply reply;
	ssize_t n;
	int r;

	r = lookup_init(&l, ns, path);
	if (r == 0 && (flags & ~AT_SYMLINK_NOFOLLOW))
		r = -EINVAL;
	if (r == 0) {
		c->lookup[0] = &l;
		c->path[0]->nofollow = flags & AT_SYMLINK_NOFOLLOW;
		r = path_call(c, &reply);
	}
	if (r == LOOKUP_SYNTHETIC)
		r = c->type == RPC_TYPE_ListXattr ? 0 : -ENODATA;
	else if (r == 0) {
		n = c->type == RPC_TYPE_ListXattr ? ((Gofer__ListXattrReply *)reply.message)->size
						  : ((Gofer__GetXattrReply *)reply.message)->size;
		gofer_reply_free(&reply);
		return n;
	}
	return r < 0 ? fail_path(r, op, path) : 0;
}

ssize_t gofer_getxattr(struct gofer_namespace *ns, const char *path, const char *name, void *value,
		       size_t size, int flags)
{
	Gofer__GetXattrRequest m = GOFER__GET_XATTR_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_GetXattr,
			       .message = &m.base,
			       .path = { &where },
			       .sink = value,
			       .fd = -1 };

	m.path = &where;
	m.name = (ProtobufCBinaryData){ strlen(name), (uint8_t *)name };
	m.size = (uint32_t)MIN(size, (size_t)XATTR_MAX);
	return xattr_read(ns, path, &c, flags, size, "getxattr");
}

ssize_t gofer_listxattr(struct gofer_namespace *ns, const char *path, char *list, size_t size,
			int flags)
{
	Gofer__ListXattrRequest m = GOFER__LIST_XATTR_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	struct path_call c = { .type = RPC_TYPE_ListXattr,
			       .message = &m.base,
			       .path = { &where },
			       .sink = list,
			       .fd = -1 };

	m.path = &where;
	m.size = (uint32_t)MIN(size, (size_t)XATTR_MAX);
	return xattr_read(ns, path, &c, flags, size, "listxattr");
}

int gofer_setxattr(struct gofer_namespace *ns, const char *path, const char *name,
		   const void *value, size_t size, int xattr_flags, int flags)
{
	Gofer__SetXattrRequest m = GOFER__SET_XATTR_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct path_call c = { .type = RPC_TYPE_SetXattr,
			       .message = &m.base,
			       .lookup = { &l },
			       .path = { &where },
			       .data = value,
			       .data_len = size,
			       .fd = -1 };
	int r;

	m.path = &where;
	m.name = (ProtobufCBinaryData){ strlen(name), (uint8_t *)name };
	/* XATTR_CREATE is 1, XATTR_REPLACE 2, on the wire as well. */
	m.flags = (uint32_t)xattr_flags;
	where.nofollow = flags & AT_SYMLINK_NOFOLLOW;
	r = lookup_init(&l, ns, path);
	if (r == 0 && size > XATTR_MAX)
		r = -E2BIG;
	if (r == 0 && ((flags & ~AT_SYMLINK_NOFOLLOW) || (xattr_flags & ~3)))
		r = -EINVAL;
	if (r == 0)
		r = path_call_simple(&c, -EROFS);
	return r < 0 ? fail_path(r, "setxattr", path) : 0;
}

int gofer_removexattr(struct gofer_namespace *ns, const char *path, const char *name, int flags)
{
	Gofer__RemoveXattrRequest m = GOFER__REMOVE_XATTR_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct path_call c = { .type = RPC_TYPE_RemoveXattr,
			       .message = &m.base,
			       .lookup = { &l },
			       .path = { &where },
			       .fd = -1 };
	int r;

	m.path = &where;
	m.name = (ProtobufCBinaryData){ strlen(name), (uint8_t *)name };
	where.nofollow = flags & AT_SYMLINK_NOFOLLOW;
	r = lookup_init(&l, ns, path);
	if (r == 0 && (flags & ~AT_SYMLINK_NOFOLLOW))
		r = -EINVAL;
	if (r == 0)
		r = path_call_simple(&c, -EROFS);
	return r < 0 ? fail_path(r, "removexattr", path) : 0;
}
