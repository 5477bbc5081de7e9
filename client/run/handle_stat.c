/*
 * handle_stat.c - calls that only look: stat, access, readlink, statfs. One RPC each.
 */
#include <errno.h>
#include <string.h>
#include <sys/statfs.h>

#include "client/run/call.h"

static int64_t do_stat(struct call *c, uint64_t dirfd, uint64_t path, uint64_t buf, int flags)
{
	struct path_arg *p;
	struct stat st;
	int r;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
		return -EINVAL;
	c->looks = true;
	CALL_PATH(c, 0, dirfd, path, flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	r = gofer_stat(c->w->view, p->text, flags & AT_SYMLINK_NOFOLLOW, &st);
	if (r == 0)
		r = call_write(c, buf, &st, sizeof(st));
	return call_result(c, r);
}

int64_t supervise_stat(struct call *c)
{
	return do_stat(c, (uint64_t)AT_FDCWD, c->args[0], c->args[1], 0);
}

int64_t supervise_lstat(struct call *c)
{
	return do_stat(c, (uint64_t)AT_FDCWD, c->args[0], c->args[1], AT_SYMLINK_NOFOLLOW);
}

int64_t supervise_newfstatat(struct call *c)
{
	return do_stat(c, c->args[0], c->args[1], c->args[2], (int)c->args[3]);
}

int64_t supervise_statx(struct call *c)
{
	int flags = (int)c->args[2];
	struct path_arg *p;
	struct statx stx;
	int r;

	if ((flags &
	     ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE)) ||
	    (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE || (c->args[3] & STATX__RESERVED))
		return -EINVAL;
	c->looks = true;
	CALL_PATH(c, 0, c->args[0], c->args[1], flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	r = gofer_statx(c->w->view, p->text, flags & AT_SYMLINK_NOFOLLOW, &stx);
	if (r == 0)
		r = call_write(c, c->args[4], &stx, sizeof(stx));
	return call_result(c, r);
}

static int64_t do_access(struct call *c, uint64_t dirfd, uint64_t path, int mode, int flags)
{
	struct path_arg *p;
	int r;

	if ((mode & ~(R_OK | W_OK | X_OK)) ||
	    (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
		return -EINVAL;
	c->looks = true;
	CALL_PATH(c, 0, dirfd, path, flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	/* Real and effective ids are the same here: nothing set-id runs. */
	r = gofer_access(c->w->view, p->text, mode, flags & AT_SYMLINK_NOFOLLOW);
	return call_result(c, r);
}

int64_t supervise_access(struct call *c)
{
	return do_access(c, (uint64_t)AT_FDCWD, c->args[0], (int)c->args[1], 0);
}

int64_t supervise_faccessat(struct call *c)
{
	return do_access(c, c->args[0], c->args[1], (int)c->args[2], 0);
}

int64_t supervise_faccessat2(struct call *c)
{
	return do_access(c, c->args[0], c->args[1], (int)c->args[2], (int)c->args[3]);
}

/*
 * Most calls of readlink(2) ask whether something is a link (realpath(3)), and it is none. Where what was learnt is remembered, its
 * attributes say so without a request, the next time at least.
 */
static bool is_no_link(struct call *c, const struct path_arg *p)
{
	const struct run_volume *volume;
	struct stat st;

	if (c->sv->plan->interop != RUN_INTEROP_EXCLUSIVE)
		return false;
	volume = call_volume(c, p->dir ? gofer_place_path(p->dir) : p->text);
	return volume && volume->read_only &&
	       gofer_stat(c->w->view, p->text, AT_SYMLINK_NOFOLLOW, &st) == 0 &&
	       !S_ISLNK(st.st_mode);
}

/* Links of /proc: the kernel knows a donated descriptor by the server's name for it. */
static ssize_t read_foreign_link(struct call *c, size_t size)
{
	int number = call_caged(c) ? call_own_descriptor(c, gofer_foreign_path()) : -1;
	struct object_id id;

	if (number < 0 || call_open_name(c, number, c->w->text, &id) < 0)
		return -EREMOTE;
	return (ssize_t)MIN(strlen(c->w->text), size);
}

static int64_t do_readlink(struct call *c, uint64_t dirfd, uint64_t path, uint64_t buf, int size)
{
	struct path_arg *p;
	ssize_t n;
	int r;

	if (size <= 0)
		return -EINVAL;
	/* readlinkat(2) takes the empty path without a flag, for what O_PATH | O_NOFOLLOW opened. */
	c->looks = true;
	CALL_PATH(c, 0, dirfd, path, true, &p);
	if (!p->text[0])
		return (int)dirfd == AT_FDCWD ? -ENOENT : call_descriptor(c, p->dirfd);
	if (is_no_link(c, p))
		return -EINVAL;
	n = gofer_readlink(c->w->view, p->text, c->w->text, MIN((size_t)size, sizeof(c->w->text)));
	if (n == -EREMOTE)
		n = read_foreign_link(c, (size_t)size);
	if (n < 0)
		return call_result(c, (int)n);
	r = call_write(c, buf, c->w->text, (size_t)n);
	return r < 0 ? r : n;
}

int64_t supervise_readlink(struct call *c)
{
	return do_readlink(c, (uint64_t)AT_FDCWD, c->args[0], c->args[1], (int)c->args[2]);
}

int64_t supervise_readlinkat(struct call *c)
{
	return do_readlink(c, c->args[0], c->args[1], c->args[2], (int)c->args[3]);
}

int64_t supervise_statfs(struct call *c)
{
	struct path_arg *p;
	struct statfs st;
	int r;

	CALL_PATH(c, 0, AT_FDCWD, c->args[0], false, &p);
	r = gofer_statfs(c->w->view, p->text, &st);
	if (r == 0)
		r = call_write(c, c->args[1], &st, sizeof(st));
	return call_result(c, r);
}
