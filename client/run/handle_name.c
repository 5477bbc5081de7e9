/*
 * handle_name.c - calls that make, remove and move names. One RPC each, which never follows a link as the last component.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/run/call.h"

#define MAKES (CALL_CREATES | CALL_EXCLUSIVE | CALL_NOFOLLOW)

static int64_t changed(struct call *c, const struct path_arg *p, int r, unsigned what)
{
	return call_result(c, r == -EROFS ? call_read_only(c, p, what) : r);
}

/* ---- mkdir, mknod, symlink ---- */

static int64_t do_mkdir(struct call *c, uint64_t dirfd, uint64_t path, mode_t mode)
{
	struct path_arg *p;

	CALL_PATH(c, 0, dirfd, path, false, &p);
	(void)gofer_umask(c->w->view, call_umask(c));
	return changed(c, p, gofer_mkdir(c->w->view, p->text, mode), MAKES);
}

int64_t supervise_mkdir(struct call *c)
{
	return do_mkdir(c, (uint64_t)AT_FDCWD, c->args[0], (mode_t)c->args[1]);
}

int64_t supervise_mkdirat(struct call *c)
{
	return do_mkdir(c, c->args[0], c->args[1], (mode_t)c->args[2]);
}

static int64_t do_mknod(struct call *c, uint64_t dirfd, uint64_t path, mode_t mode, dev_t rdev)
{
	struct timespec begun;
	struct path_arg *p;
	int r;

	CALL_PATH(c, 0, dirfd, path, false, &p);
	if (S_ISDIR(mode))
		return -EPERM;
	(void)gofer_umask(c->w->view, call_umask(c));
	call_begin_making(&begun);
	r = gofer_mknod(c->w->view, p->text, mode, rdev);
	if (r == 0 && S_ISFIFO(mode))
		call_made(c, p->text, S_IFIFO, &begun, &c->sv->fifos);
	return changed(c, p, r, MAKES);
}

int64_t supervise_mknod(struct call *c)
{
	return do_mknod(c, (uint64_t)AT_FDCWD, c->args[0], (mode_t)c->args[1], (dev_t)c->args[2]);
}

int64_t supervise_mknodat(struct call *c)
{
	return do_mknod(c, c->args[0], c->args[1], (mode_t)c->args[2], (dev_t)c->args[3]);
}

static int64_t do_symlink(struct call *c, uint64_t target, uint64_t dirfd, uint64_t path)
{
	struct path_arg *p;
	int r = call_read_string(c, target, c->w->text, sizeof(c->w->text));

	if (r < 0)
		return r;
	CALL_PATH(c, 0, dirfd, path, false, &p);
	return changed(c, p, gofer_symlink(c->w->view, c->w->text, p->text), MAKES);
}

int64_t supervise_symlink(struct call *c)
{
	return do_symlink(c, c->args[0], (uint64_t)AT_FDCWD, c->args[1]);
}

int64_t supervise_symlinkat(struct call *c)
{
	return do_symlink(c, c->args[0], c->args[1], c->args[2]);
}

/* ---- unlink, rmdir ---- */

static int64_t do_unlink(struct call *c, uint64_t dirfd, uint64_t path, int flags)
{
	struct path_arg *p;
	int r;

	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	CALL_PATH(c, 0, dirfd, path, false, &p);
	r = flags & AT_REMOVEDIR ? gofer_rmdir(c->w->view, p->text)
				 : gofer_unlink(c->w->view, p->text);
	return changed(c, p, r, CALL_PARENT);
}

int64_t supervise_unlink(struct call *c)
{
	return do_unlink(c, (uint64_t)AT_FDCWD, c->args[0], 0);
}

int64_t supervise_rmdir(struct call *c)
{
	return do_unlink(c, (uint64_t)AT_FDCWD, c->args[0], AT_REMOVEDIR);
}

int64_t supervise_unlinkat(struct call *c)
{
	return do_unlink(c, c->args[0], c->args[1], (int)c->args[2]);
}

/* ---- rename, link ---- */

/* Of two paths, one that lies in /proc or /dev is on another file system than any volume. */
static int64_t two_result(struct call *c, int r)
{
	return r == -EREMOTE ? -EXDEV : call_result(c, r);
}

static int two_paths(struct call *c, uint64_t from_fd, uint64_t from, uint64_t to_fd, uint64_t to,
		     bool empty, struct path_arg **ret_from, struct path_arg **ret_to)
{
	int r = call_path(c, 0, (int)from_fd, from, empty, ret_from);

	if (r == 0)
		r = call_path(c, 1, (int)to_fd, to, false, ret_to);
	return r == CALL_FOREIGN ? -EXDEV : r;
}

static int64_t do_rename(struct call *c, uint64_t from_fd, uint64_t from, uint64_t to_fd,
			 uint64_t to, unsigned flags)
{
	struct path_arg *a, *b;
	int r;

	/* RENAME_WHITEOUT is for overlays, and needs a privilege. */
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) ||
	    ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))))
		return -EINVAL;
	if (flags & RENAME_WHITEOUT)
		return -EPERM;
	r = two_paths(c, from_fd, from, to_fd, to, false, &a, &b);
	if (r == 0)
		r = gofer_renameat(c->w->view, a->dir, a->text, b->dir, b->text, flags);
	if (r == -EROFS)
		r = call_read_only(c, a, CALL_PARENT);
	if (r == -EROFS)
		r = call_read_only(c, b, CALL_PARENT);
	return two_result(c, r);
}

int64_t supervise_rename(struct call *c)
{
	return do_rename(c, (uint64_t)AT_FDCWD, c->args[0], (uint64_t)AT_FDCWD, c->args[1], 0);
}

int64_t supervise_renameat(struct call *c)
{
	return do_rename(c, c->args[0], c->args[1], c->args[2], c->args[3], 0);
}

int64_t supervise_renameat2(struct call *c)
{
	return do_rename(c, c->args[0], c->args[1], c->args[2], c->args[3], (unsigned)c->args[4]);
}

/* The place of a file that has a name. */
static int named_place(struct call *c, int fd, struct gofer_place **ret_place)
{
	struct gofer_opened opened;
	struct object_id id;
	char path[PATH_MAX];
	int r = call_open_name(c, fd, path, &id);

	if (r == 0)
		r = gofer_open_descriptor(c->w->view, path, O_PATH | O_NOFOLLOW, 0, &opened);
	if (r < 0)
		return r;
	if (opened.st.st_dev != id.dev || opened.st.st_ino != id.ino) {
		gofer_place_unref(opened.place);
		return -ENOENT;
	}
	*ret_place = opened.place;
	return 0;
}

/* The place of a file that the caller has open as `fd`: one that it made without a name (O_TMPFILE), or one that has some. */
static int open_place(struct call *c, int fd, struct gofer_place **ret_place)
{
	char link[PROC_PATH_MAX];
	struct object_id id;
	struct stat st;
	int r;

	call_proc_path(c, fd, link);
	r = view_identify(AT_FDCWD, link, 0, &id, &st);
	if (r < 0)
		return r == -ENOENT ? -EBADF : r;
	if (S_ISDIR(st.st_mode))
		return -EPERM;
	*ret_place = objects_get(&c->sv->unnamed, &id);
	return *ret_place ? 0 : named_place(c, fd, ret_place);
}

static int64_t link_descriptor(struct call *c, int fd, struct path_arg *to)
{
	struct gofer_place *place;
	int r = open_place(c, fd, &place);

	if (r < 0)
		return r;
	r = gofer_linkat(c->w->view, place, "", to->dir, to->text, 0);
	gofer_place_unref(place);
	return two_result(c, r);
}

static int64_t do_link(struct call *c, uint64_t from_fd, uint64_t from, uint64_t to_fd, uint64_t to,
		       int flags)
{
	struct path_arg *a, *b;
	int fd;
	int r;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	r = two_paths(c, from_fd, from, to_fd, to, flags & AT_EMPTY_PATH, &a, &b);
	if (r < 0)
		return r;
	if (!a->text[0])
		return link_descriptor(c, a->dirfd, b);
	/* How O_TMPFILE files get their names without a privilege: open(2). */
	fd = call_own_descriptor(c, a->text);
	if ((flags & AT_SYMLINK_FOLLOW) && fd >= 0)
		return link_descriptor(c, fd, b);
	r = gofer_linkat(c->w->view, a->dir, a->text, b->dir, b->text, flags & AT_SYMLINK_FOLLOW);
	if (r == -EROFS)
		r = call_read_only(c, a, flags & AT_SYMLINK_FOLLOW ? 0 : CALL_NOFOLLOW);
	if (r == -EROFS)
		r = call_read_only(c, b, MAKES);
	return two_result(c, r);
}

int64_t supervise_link(struct call *c)
{
	return do_link(c, (uint64_t)AT_FDCWD, c->args[0], (uint64_t)AT_FDCWD, c->args[1], 0);
}

int64_t supervise_linkat(struct call *c)
{
	return do_link(c, c->args[0], c->args[1], c->args[2], c->args[3], (int)c->args[4]);
}
