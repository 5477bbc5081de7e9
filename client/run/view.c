/*
 * view.c - objects that libgofer found, as the sandbox's own kernel view has them: for what cannot be a donated descriptor
 * (directories, O_PATH), and for what must be done to an inode by somebody who is not the server.
 *
 * libgofer's answer decides: which object, and whether it may be opened. The view is only where its descriptor comes from, and the
 * device and inode prove that it is the same object. So how the view resolves a path does not matter for safety, only for
 * success.
 */
#include <errno.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "client/run/call.h"

int view_identify(int dirfd, const char *path, int flags, struct object_id *ret_id,
		  struct stat *ret_st)
{
	struct statx stx;

	if (statx(dirfd, path, flags, STATX_BASIC_STATS | STATX_MNT_ID, &stx) < 0)
		return -errno;
	*ret_id = (struct object_id){ .mount = stx.stx_mnt_id,
				      .dev = makedev(stx.stx_dev_major, stx.stx_dev_minor),
				      .ino = stx.stx_ino };
	if (ret_st)
		*ret_st = (struct stat){ .st_dev = ret_id->dev,
					 .st_ino = stx.stx_ino,
					 .st_mode = stx.stx_mode,
					 .st_nlink = stx.stx_nlink };
	return 0;
}

static int open_in(int dirfd, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = { .flags = (uint64_t)flags | O_CLOEXEC,
				.resolve = resolve | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* 1 if fd is the object. */
static int is_it(int fd, const struct stat *st, struct object_id *ret_id)
{
	int r = view_identify(fd, "", AT_EMPTY_PATH, ret_id, NULL);

	return r < 0 ? r : ret_id->dev == st->st_dev && ret_id->ino == st->st_ino;
}

/* By the caller's own descriptor: where the place's path is not (or no longer) one. */
static int open_at(struct call *c, const struct path_arg *at, int flags)
{
	char link[PROC_PATH_MAX];
	_cleanup_fd_ int dir = -EBADF;

	call_proc_path(c, at->dirfd, link);
	dir = open(link, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	return open_in(dir, at->text, flags, 0);
}

int view_open(struct call *c, const char *path, const struct path_arg *at, const struct stat *st,
	      int flags, int *ret_fd, struct object_id *ret_id)
{
	struct object_id id;
	int fd, r = 0;

	/* The type was judged: nothing here may block or become a terminal. */
	flags |= flags & O_PATH ? 0 : O_NONBLOCK | O_NOCTTY;
	fd = open_in(c->sv->cage->view_root, path, flags, RESOLVE_IN_ROOT);
	if (fd >= 0)
		r = is_it(fd, st, &id);
	if (r <= 0 && at && at->dir) {
		fd_close(fd);
		fd = open_at(c, at, flags);
		r = fd < 0 ? fd : is_it(fd, st, &id);
	}
	if (r == 1) {
		*ret_fd = fd;
		*ret_id = id;
		return 0;
	}
	fd_close(fd);
	/* Our own want of descriptors or memory is no reason to look again. */
	if (r == 0 && (fd == -EACCES || fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM))
		return fd;
	return r < 0 ? r : -ESTALE;
}

int view_find(struct call *c, const struct path_arg *p, int flags, int *ret_fd, struct stat *ret_st)
{
	struct gofer_opened opened;
	struct object_id id;
	int r = -ESTALE;

	/* Others may rename while we look. */
	for (unsigned tries = 0; r == -ESTALE && tries < 8; tries++) {
		r = gofer_open_descriptor(c->w->view, p->text, O_PATH | flags, 0, &opened);
		if (r < 0)
			return r;
		r = view_open(c, gofer_place_path(opened.place), p, &opened.st, O_PATH | O_NOFOLLOW,
			      ret_fd, &id);
		gofer_place_unref(opened.place);
	}
	if (r == 0 && ret_st)
		*ret_st = opened.st;
	return r;
}
