/*
 * content.h - inside libgofer: what open files hold, through the session's page cache.
 *
 * A file with `pages` is read from the cache, and written through it. The cache steps aside for one
 * that was opened with O_DIRECT or through a mount that shares its tree, and while somebody has a descriptor to write to the same
 * file; it is told of their changes all the same.
 */
#pragma once

#include "client/mapping.h"

/* How often attributes are asked for again that changes overtake. */
enum { STAT_TRIES = 8 };

/* ---- content.c ---- */
/* Of files with `pages`. */
ssize_t content_read(struct gofer_file *file, void *buf, size_t size, uint64_t offset);
ssize_t content_write(struct gofer_file *file, const void *buf, size_t size, uint64_t offset,
		      uint64_t *ret_end);

/*
 * Around another change of the file by handle: of [begin, end), see pages_change_begin(). Both do nothing for a file
 * without pages. kind, size: of the file afterwards. What was written before is sent first, unless that is what is to be cut off. On
 * failure nothing was begun.
 */
int content_change_begin(struct gofer_file *file, struct page_change *x, uint64_t begin,
			 uint64_t end);
void content_change_end(struct gofer_file *file, struct page_change *x, enum page_size kind,
			uint64_t size);

/* Everything that was written to the file is sent: 0 or -errno. */
int content_settle(struct gofer_file *file);
/* An error of that since this file's user was last told of one: once. */
int content_error(struct gofer_file *file);
/* Before a file is closed that may have written: what nobody else would send. 0 or -errno, as close(2) has it. */
int content_close(struct gofer_file *file);

/* ---- io.c: by requests ---- */
/* One, by handle, that needs nothing but the reply. 0 or -errno. */
int request_call(struct gofer_file *file, uint16_t type, ProtobufCMessage *m,
		 struct gofer_reply *ret_reply);
ssize_t request_read(struct gofer_file *file, void *buf, size_t size, uint64_t offset);
ssize_t request_write(struct gofer_file *file, const void *buf, size_t size, uint64_t offset,
		      uint64_t *ret_end);

/* ---- content_path.c: by path ---- */
/* A request by path that changes what a file holds, or takes its name. */
struct content_guard {
	struct mapping_freeze frozen; /* if it changes */
	bool changes, takes, excludes;
	bool known; /* who loses a name */
	Gofer__Attr victim;
};
int content_guard_begin(struct content_guard *g, struct path_call *c, const struct rpc_info *rpc);
/* nothing: a failure after which all is as it was. */
void content_guard_end(struct content_guard *g, const struct path_call *c,
		       const struct rpc_info *rpc, int result, bool nothing,
		       const struct gofer_reply *reply);
/* Whether the file of these attributes had bytes that the server lacked; now it has them. -errno. */
int content_settle_attr(struct gofer_session *s, const Gofer__Attr *attr);
