/*
 * mapping_bounce.c - reading to, and writing from, memory of mappings, which nobody may touch while
 * he has locks or receives for others: see mapping.h. The caller's own thread touches it, in user mode. A native
 * mapping may be of the very file that is written, so that it changes while it is sent: that goes through a buffer, too.
 */
#include "client/mapping.h"

#include <string.h>

enum { PIECE = 256 << 10 };

static bool holds(struct mapper *m, const void *addr, size_t len)
{
	const struct range x = { (uintptr_t)addr, (uintptr_t)addr + len, UINT64_MAX };
	struct store *s;
	bool native;

	if (!atomic_load(&m->n_mappings) || !len || len > UINTPTR_MAX - (uintptr_t)addr)
		return false;
	s = mapper_find_range(m, &x);
	if (s) {
		store_unref(s);
		return true;
	}
	pthread_rwlock_rdlock(&m->lock);
	native = mapping_meets(m->natives, &x);
	pthread_rwlock_unlock(&m->lock);
	return native;
}

bool mapping_holds(const struct gofer_file *file, const void *addr, size_t len)
{
	return holds(file->mount->session->mapper, addr, len);
}

bool mapping_holds_in(struct gofer_namespace *ns, const void *addr, size_t len)
{
	_cleanup_free_ struct mapper **list = NULL;
	bool held = mapper_list(ns, &list) < 0;

	for (size_t i = 0; !held && list && list[i]; i++)
		held = holds(list[i], addr, len);
	return held;
}

ssize_t mapping_bounce_read(struct gofer_file *file, void *buf, size_t size, const uint64_t *at)
{
	_cleanup_free_ void *piece = malloc(MIN(size, (size_t)PIECE));
	size_t done = 0;

	if (!piece)
		return fail_path(-ENOMEM, "read", file->path);
	while (done < size) {
		size_t want = MIN(size - done, (size_t)PIECE);
		ssize_t n = at ? gofer_pread(file, piece, want, *at + done)
			       : gofer_read(file, piece, want);

		if (n < 0)
			return done ? (ssize_t)done : n;
		memcpy((uint8_t *)buf + done, piece, (size_t)n);
		done += (size_t)n;
		if ((size_t)n < want)
			break;
	}
	return (ssize_t)done;
}

ssize_t mapping_bounce_write(struct gofer_file *file, const void *buf, size_t size,
			     const uint64_t *at)
{
	_cleanup_free_ void *piece = malloc(MIN(size, (size_t)PIECE));
	size_t done = 0;

	if (!piece)
		return fail_path(-ENOMEM, "write", file->path);
	while (done < size) {
		size_t want = MIN(size - done, (size_t)PIECE);
		ssize_t n;

		memcpy(piece, (const uint8_t *)buf + done, want);
		n = at ? gofer_pwrite(file, piece, want, *at + done)
		       : gofer_write(file, piece, want);
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < want)
			break;
	}
	return (ssize_t)done;
}
