/*
 * made.c - FIFOs and sockets that the program made itself: unlike the host's, it may use them.
 */
#include <sys/sysmacros.h>

#include "client/run/call.h"

static bool inode_id_of(const struct statx *stx, struct inode_id *ret_id)
{
	if (!(stx->stx_mask & STATX_BTIME))
		return false;
	*ret_id = (struct inode_id){ .dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
				     .ino = stx->stx_ino,
				     .seconds = stx->stx_btime.tv_sec,
				     .nanoseconds = stx->stx_btime.tv_nsec };
	return true;
}

void call_begin_making(struct timespec *ret_begun)
{
	/* The clock that file systems stamp with. */
	clock_gettime(CLOCK_REALTIME_COARSE, ret_begun);
}

void call_made(struct call *c, const char *path, mode_t type, const struct timespec *begun,
	       struct id_set *set)
{
	struct inode_id id;
	struct statx stx;

	if (gofer_statx(c->w->view, path, AT_SYMLINK_NOFOLLOW, &stx) < 0 ||
	    (stx.stx_mode & S_IFMT) != type || !inode_id_of(&stx, &id))
		return;
	if (id.seconds > begun->tv_sec ||
	    (id.seconds == begun->tv_sec && id.nanoseconds >= (uint64_t)begun->tv_nsec))
		id_set_add(set, &id);
}

bool call_has_made(int fd, struct id_set *set)
{
	struct inode_id id;
	struct statx stx;

	return statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stx) == 0 &&
	       inode_id_of(&stx, &id) && id_set_has(set, &id);
}
