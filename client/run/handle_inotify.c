/*
 * handle_inotify.c - inotify_add_watch(2): on a duplicate of the caller's inotify descriptor, of the inode that the view has.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>

#include "client/run/call.h"

int64_t supervise_inotify_add_watch(struct call *c)
{
	uint32_t mask = (uint32_t)c->args[2];
	_cleanup_fd_ int inotify = -EBADF, inode = -EBADF;
	char path[PROC_PATH_MAX];
	struct path_arg *p;
	struct stat st;
	int r;

	CALL_PATH(c, 0, AT_FDCWD, c->args[1], false, &p);
	r = view_find(c, p, mask & IN_DONT_FOLLOW ? O_NOFOLLOW : 0, &inode, &st);
	if (r == 0 && (mask & IN_ONLYDIR) && !S_ISDIR(st.st_mode))
		r = -ENOTDIR;
	if (r == 0)
		r = call_take_fd(c, (int)c->args[0], &inotify);
	if (r < 0)
		return call_result(c, r);
	/* Through the magic link, which has to be followed. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", inode);
	r = inotify_add_watch(inotify, path, mask & ~(uint32_t)(IN_DONT_FOLLOW | IN_ONLYDIR));
	return r < 0 ? -errno : r;
}
