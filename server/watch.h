/*
 * watch.h - a session's watches: inotify(7) on what the client remembers.
 */
#pragma once

#include <pthread.h>

#include "server/fs/fs.h"

struct watches {
	pthread_mutex_t lock;
	int fd; /* -EBADF until the first is added */
	uint32_t limit, n;
	/* One bit for each number that is charged: the kernel gives them out in ascending order. */
	uint8_t *charged;
	size_t size; /* bytes */
};

void watches_init(struct watches *w, uint32_t limit);
/* Removes every watch: the client may hold the queue for as long as it likes. */
void watches_deinit(struct watches *w);
/*
 * Watches what `fd` (of any kind; O_PATH is fine) refers to, or `name` in that directory, not followed. 0 with its
 * number, the same for the same inode; *ret_new: it was not there before. -ENOSPC at the limit,
 * -EOPNOTSUPP for file systems that change without this kernel's doing, or inotify's errno (-EACCES:
 * what may not be read may not be watched). The thread's working directory is /proc/self/fd.
 */
int watch_add(struct watches *w, int fd, const char *name, uint32_t *ret_watch, bool *ret_new);
void watch_drop(struct watches *w, uint32_t watch);
/* A descriptor of the queue, to be sent. -errno; -ENODATA where nothing was watched yet. */
int watches_dup(struct watches *w);
