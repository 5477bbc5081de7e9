/*
 * made.c - FIFOs and sockets that the program made itself: unlike the host's, it may use them.
 */
#include <sys/sysmacros.h>

#include "client/run/call.h"

void call_begin_making(struct timespec *ret_begun)
{
	/* The clock that file systems stamp with. */
	clock_gettime(CLOCK_REALTIME_COARSE, ret_begun);
}

void call_made(struct call *c, const char *path, mode_t type, const struct timespec *begun,
	       struct id_set *set)
{
	struct statx stx;

	if (gofer_statx(c->w->view, path, AT_SYMLINK_NOFOLLOW, &stx) < 0 ||
	    (stx.stx_mode & S_IFMT) != type || !(stx.stx_mask & STATX_BTIME))
		return;
	if (stx.stx_btime.tv_sec > begun->tv_sec ||
	    (stx.stx_btime.tv_sec == begun->tv_sec && stx.stx_btime.tv_nsec >= begun->tv_nsec))
		id_set_add(set, makedev(stx.stx_dev_major, stx.stx_dev_minor), stx.stx_ino);
}
