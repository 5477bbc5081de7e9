/*
 * watch.c - watches, and the queue of their events, which the client holds.
 *
 * The kernel queues an event before the system call that changed something returns. So a client that
 * finds the queue empty knows that what it remembers is still so, if the watch was there before the
 * state was read: that order is kept by whoever calls watch_add().
 *
 * The server never reads the queue. The client can only read it, and add and remove watches by names
 * that it can reach by itself; they count against our user's limit, as all its watches do. A watch
 * is charged until the client drops it, even if its inode is gone.
 */
#include "server/watch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>

enum { WATCH_NUMBER_MAX = 1 << 24 }; /* 2 MiB of bits */

#define WATCH_EVENTS                                                                   \
	(IN_ATTRIB | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | \
	 IN_DELETE_SELF | IN_MOVE_SELF)

void watches_init(struct watches *w, uint32_t limit)
{
	*w = (struct watches){ .fd = -EBADF, .limit = limit };
	pthread_mutex_init(&w->lock, NULL);
}

void watches_deinit(struct watches *w)
{
	for (size_t i = 0; i < w->size; i++)
		for (unsigned bit = 0; w->charged[i] && bit < 8; bit++)
			if (w->charged[i] & 1u << bit)
				(void)inotify_rm_watch(w->fd, (int)(8 * i + bit));
	free(w->charged);
	w->charged = NULL;
	w->size = 0;
	w->fd = fd_close(w->fd);
	pthread_mutex_destroy(&w->lock);
}

/*
 * Kinds of file systems of which this kernel sees every change: not those that a network, a user's
 * process or another layer changes behind its back.
 */
static bool tells_all(int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return false;
	switch ((uint32_t)st.f_type) {
	case 0xef53:     /* ext2, ext3, ext4 */
	case 0x58465342: /* xfs */
	case 0x9123683e: /* btrfs */
	case 0xf2f52010: /* f2fs */
	case 0xca451a4e: /* bcachefs */
	case 0x2fc12fc1: /* zfs */
	case 0x01021994: /* tmpfs */
	case 0x858458f6: /* ramfs */
		return true;
	default:
		return false;
	}
}

static bool is_charged(const struct watches *w, uint32_t watch)
{
	return watch / 8 < w->size && (w->charged[watch / 8] & 1u << watch % 8);
}

/* With the lock: room for one more number. */
static int make_room(struct watches *w, uint32_t watch)
{
	size_t size = w->size ? w->size : 128;
	uint8_t *bits;

	while (size <= watch / 8)
		size *= 2;
	if (size == w->size)
		return 0;
	bits = realloc(w->charged, size);
	if (!bits)
		return -ENOMEM;
	memset(bits + w->size, 0, size - w->size);
	w->charged = bits;
	w->size = size;
	return 0;
}

/* With the lock. */
static int add(struct watches *w, const char *path, uint32_t flags, uint32_t *ret_watch,
	       bool *ret_new)
{
	int wd, r = 0;

	if (w->fd < 0) {
		w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
		if (w->fd < 0)
			return w->fd = -EBADF, -errno;
	}
	wd = inotify_add_watch(w->fd, path, WATCH_EVENTS | flags);
	if (wd < 0)
		return -errno;
	*ret_new = !is_charged(w, (uint32_t)wd);
	if (*ret_new) {
		if (w->n >= w->limit || wd >= WATCH_NUMBER_MAX)
			r = -ENOSPC;
		else
			r = make_room(w, (uint32_t)wd);
		if (r < 0) {
			(void)inotify_rm_watch(w->fd, wd);
			return r;
		}
		w->charged[wd / 8] |= (uint8_t)(1u << wd % 8);
		w->n++;
	}
	*ret_watch = (uint32_t)wd;
	return 0;
}

int watch_add(struct watches *w, int fd, const char *name, uint32_t *ret_watch, bool *ret_new)
{
	char path[16 + 256];
	int r;

	if (!w->limit)
		return -ENOSPC;
	if (!tells_all(fd))
		return -EOPNOTSUPP;
	/* Relative to /proc/self/fd. Its links lead to the very object, whatever its type. */
	(void)snprintf(path, sizeof(path), name ? "%d/%s" : "%d", fd, name);
	pthread_mutex_lock(&w->lock);
	r = add(w, path, name ? IN_DONT_FOLLOW : 0, ret_watch, ret_new);
	pthread_mutex_unlock(&w->lock);
	return r;
}

void watch_drop(struct watches *w, uint32_t watch)
{
	pthread_mutex_lock(&w->lock);
	if (is_charged(w, watch)) {
		(void)inotify_rm_watch(w->fd, (int)watch);
		w->charged[watch / 8] &= (uint8_t) ~(1u << watch % 8);
		w->n--;
	}
	pthread_mutex_unlock(&w->lock);
}

int watches_dup(struct watches *w)
{
	int fd;

	pthread_mutex_lock(&w->lock);
	fd = w->fd < 0 ? -1 : fcntl(w->fd, F_DUPFD_CLOEXEC, 0);
	pthread_mutex_unlock(&w->lock);
	return fd < 0 ? (w->fd < 0 ? -ENODATA : -errno) : fd;
}
