/*
 * whole.c - whole files: one request where the file is small enough for a frame, else open, read or
 * write, close.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "client/content.h"

/* ---- reading ---- */

enum { AGAIN = 2, TRIES = 8, ROOM_AT_FIRST = 16 * 1024 * 1024 };

/* Whether what was read may be older than what was written here; then that is sent. */
static int behind(struct gofer_session *s, const Gofer__Attr *attr, uint64_t since)
{
	int r;

	if (!s->writing_back || !pages_is_behind(s->pages, attr, since))
		return 0;
	r = content_settle_attr(s, attr);
	return r < 0 ? r : AGAIN;
}

/* 1 where the file is larger than what comes in one reply; AGAIN. */
static int read_inline(struct gofer_namespace *ns, const char *path, void **ret_data,
		       size_t *ret_size, struct stat *ret_st)
{
	Gofer__ReadFileRequest m = GOFER__READ_FILE_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct cache_answer answer;
	struct path_call c = { .type = RPC_TYPE_ReadFile,
			       .message = &m.base,
			       .lookup = { &l },
			       .path = { &where },
			       .answer = &answer,
			       .want = CACHE_FILE,
			       .bare = !ret_st,
			       .fd = -1 };
	struct gofer_session *s;
	struct gofer_reply reply;
	uint64_t since = 0;
	uint8_t *data;
	int r;

	r = lookup_init(&l, ns, path);
	if (r < 0)
		return r;
	s = l.mount ? l.mount->session : NULL;
	if (s && s->pages && session_check(s) == 0)
		since = pages_clock(s->pages);
	m.path = &where;
	/* The server gives no more than its inline_limit, which is within what a frame holds. */
	m.count = FRAME_MAX_DATA;
	r = path_call(&c, &reply);
	if (r == LOOKUP_SYNTHETIC)
		return -EISDIR;
	if (r < 0)
		return r;
	s = l.mount->session;
	r = behind(s,
		   answer.found == CACHE_HIT ? &answer.attr
					     : ((Gofer__ReadFileReply *)reply.message)->attr,
		   since);
	if (r) {
		if (answer.found == CACHE_HIT)
			free(answer.data);
		else
			gofer_reply_free(&reply);
		return r;
	}
	if (answer.found == CACHE_HIT) {
		*ret_data = answer.data;
		*ret_size = answer.attr.size;
		if (ret_st)
			attr_to_stat(&answer.attr, ret_st);
		return 0;
	}
	if (!((Gofer__ReadFileReply *)reply.message)->eof) {
		gofer_reply_free(&reply);
		return 1;
	}
	data = reply_take_data(&reply); /* with a NUL, for those who know it is text */
	if (data) {
		*ret_data = data;
		*ret_size = reply.data_len;
		if (ret_st)
			attr_to_stat(((Gofer__ReadFileReply *)reply.message)->attr, ret_st);
	}
	gofer_reply_free(&reply);
	return data ? 0 : -ENOMEM;
}

static void cleanup_file(struct gofer_file **file)
{
	gofer_close(*file);
}

static int read_large(struct gofer_namespace *ns, const char *path, void **ret_data,
		      size_t *ret_size, struct stat *ret_st)
{
	_cleanup_(cleanup_file) struct gofer_file *file = NULL;
	_cleanup_free_ uint8_t *data = NULL;
	size_t size = 0, room;
	struct stat st;
	int r;

	r = gofer_open(ns, path, O_RDONLY, 0, &file);
	if (r == 0)
		r = gofer_fstat(file, &st);
	if (r < 0)
		return r;
	/* What the server says of the size is believed as it comes. */
	room = MIN((size_t)st.st_size, (size_t)ROOM_AT_FIRST) + 1;
	for (;;) {
		uint8_t *larger = realloc(data, room + 1);
		ssize_t n;

		if (!larger)
			return -ENOMEM;
		data = larger;
		n = gofer_pread(file, data + size, room - size, size);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		size += (size_t)n;
		if (size == room && __builtin_mul_overflow(room, (size_t)2, &room))
			return -EFBIG;
	}
	data[size] = '\0';
	*ret_data = TAKE_PTR(data);
	*ret_size = size;
	if (ret_st)
		*ret_st = st;
	return 0;
}

int gofer_read_file(struct gofer_namespace *ns, const char *path, void **ret_data, size_t *ret_size,
		    struct stat *ret_st)
{
	int r = AGAIN;

	for (unsigned tries = 0; r == AGAIN && tries < TRIES; tries++) {
		r = mapping_flush_namespace(ns);
		if (r == 0)
			r = read_inline(ns, path, ret_data, ret_size, ret_st);
	}
	if (r == 1 || r == AGAIN)
		r = read_large(ns, path, ret_data, ret_size, ret_st);
	return r < 0 ? fail_path(r, "read", path) : 0;
}

/* ---- writing ---- */

/* 1 where it does not fit in one request. */
static int write_inline(struct gofer_namespace *ns, const char *path, const void *data, size_t size,
			mode_t mode, int flags)
{
	Gofer__WriteFileRequest m = GOFER__WRITE_FILE_REQUEST__INIT;
	Gofer__Path where = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct path_call c = { .type = RPC_TYPE_WriteFile,
			       .message = &m.base,
			       .lookup = { &l },
			       .path = { &where },
			       .data = data,
			       .data_len = size,
			       .inline_only = true,
			       .bare = true,
			       .fd = -1 };
	int r;

	r = lookup_init(&l, ns, path);
	if (r < 0)
		return r;
	m.path = &where;
	m.mode = mode & 07777;
	m.umask = atomic_load(&ns->umask);
	m.atomic = flags & GOFER_WRITE_ATOMIC;
	m.exclusive = flags & GOFER_WRITE_EXCLUSIVE;
	m.sync = flags & GOFER_WRITE_SYNC;
	return path_call_simple(&c, -EISDIR);
}

static int write_all(struct gofer_file *file, const void *data, size_t size, int flags)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = gofer_pwrite(file, (const uint8_t *)data + at, size - at, at);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return -EIO;
		at += (size_t)n;
	}
	/* Who closes it hears of no error any more. */
	return flags & GOFER_WRITE_SYNC ? gofer_fsync(file, false) : content_settle(file);
}

/* Where the path leads, and a name beside it that nobody has. */
static int names_for(struct gofer_namespace *ns, const char *path, char *final, char *temporary)
{
	_cleanup_lookup_ struct lookup l;
	Gofer__Attr attr;
	uint64_t random;
	size_t len;
	int r;

	r = lookup_init(&l, ns, path);
	if (r < 0)
		return r;
	r = lookup_stat(&l, false, &attr);
	if (r == LOOKUP_SYNTHETIC || (r == 0 && S_ISDIR(attr.mode)))
		return -EISDIR;
	if (r == -ENOENT)
		r = lookup_parent(&l, false);
	if (r < 0)
		return r;
	r = lookup_absolute(&l, final);
	if (r < 0)
		return r;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -errno;
	len = (size_t)(strrchr(final, '/') - final) + 1;
	if (len + 32 > PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(temporary, final, len);
	snprintf(temporary + len, 32, ".gofer-%016llx", (unsigned long long)random);
	return 0;
}

static int write_large_atomic(struct gofer_namespace *ns, const char *path, const void *data,
			      size_t size, mode_t mode, int flags)
{
	_cleanup_(cleanup_file) struct gofer_file *file = NULL;
	char final[PATH_MAX], temporary[PATH_MAX];
	int r;

	r = names_for(ns, path, final, temporary);
	if (r < 0)
		return r;
	r = gofer_open(ns, temporary, O_WRONLY | O_CREAT | O_EXCL, mode, &file);
	if (r < 0)
		return r;
	r = write_all(file, data, size, flags);
	if (r == 0)
		r = gofer_rename(ns, temporary, final,
				 flags & GOFER_WRITE_EXCLUSIVE ? RENAME_NOREPLACE : 0);
	if (r < 0)
		(void)gofer_unlink(ns, temporary);
	return r;
}

static int write_large(struct gofer_namespace *ns, const char *path, const void *data, size_t size,
		       mode_t mode, int flags)
{
	_cleanup_(cleanup_file) struct gofer_file *file = NULL;
	int r;

	if (flags & GOFER_WRITE_ATOMIC)
		return write_large_atomic(ns, path, data, size, mode, flags);
	r = gofer_open(ns, path,
		       O_WRONLY | O_CREAT | O_TRUNC | (flags & GOFER_WRITE_EXCLUSIVE ? O_EXCL : 0),
		       mode, &file);
	return r < 0 ? r : write_all(file, data, size, flags);
}

int gofer_write_file(struct gofer_namespace *ns, const char *path, const void *data, size_t size,
		     mode_t mode, int flags)
{
	_cleanup_free_ void *copy = NULL;
	int r = -EINVAL;

	/* Of memory that may be touched here only. */
	if (mapping_holds_in(ns, data, size)) {
		copy = malloc(size);
		if (!copy)
			return fail_path(-ENOMEM, "write", path);
		data = memcpy(copy, data, size);
	}
	if (!(flags & ~(GOFER_WRITE_ATOMIC | GOFER_WRITE_EXCLUSIVE | GOFER_WRITE_SYNC)))
		r = write_inline(ns, path, data, size, mode, flags);
	if (r == LOOKUP_TOO_LARGE)
		r = write_large(ns, path, data, size, mode, flags);
	return r < 0 ? fail_path(r, "write", path) : 0;
}
