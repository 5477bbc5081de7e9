/*
 * handle_attr.c - calls that set attributes: mode, owner, times, size. One SetAttr each.
 */
#include <errno.h>
#include <string.h>
#include <sys/time.h>
#include <utime.h>

#include "client/run/call.h"

static int64_t set(struct call *c, const struct path_arg *p, int r, int flags)
{
	if (r == -EROFS)
		r = call_read_only(c, p, flags & AT_SYMLINK_NOFOLLOW ? CALL_NOFOLLOW : 0);
	return call_result(c, r);
}

/* ---- chmod ---- */

static int64_t do_chmod(struct call *c, uint64_t dirfd, uint64_t path, mode_t mode, int flags)
{
	struct path_arg *p;
	struct stat st;
	int r = 0;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	CALL_PATH(c, 0, dirfd, path, flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	if (flags & AT_SYMLINK_NOFOLLOW) {
		r = gofer_stat(c->w->view, p->text, AT_SYMLINK_NOFOLLOW, &st);
		if (r == 0 && S_ISLNK(st.st_mode))
			r = -EOPNOTSUPP;
	}
	if (r == 0)
		r = gofer_chmod(c->w->view, p->text, mode & 07777);
	return set(c, p, r, 0);
}

int64_t supervise_chmod(struct call *c)
{
	return do_chmod(c, (uint64_t)AT_FDCWD, c->args[0], (mode_t)c->args[1], 0);
}

int64_t supervise_fchmodat(struct call *c)
{
	return do_chmod(c, c->args[0], c->args[1], (mode_t)c->args[2], 0);
}

int64_t supervise_fchmodat2(struct call *c)
{
	return do_chmod(c, c->args[0], c->args[1], (mode_t)c->args[2], (int)c->args[3]);
}

/* ---- chown ---- */

static int64_t do_chown(struct call *c, uint64_t dirfd, uint64_t path, uint64_t uid, uint64_t gid,
			int flags)
{
	struct path_arg *p;
	int r;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	CALL_PATH(c, 0, dirfd, path, flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	r = gofer_chown(c->w->view, p->text, (uid_t)uid, (gid_t)gid, flags & AT_SYMLINK_NOFOLLOW);
	/* An id that the server's user namespace does not know is one that this user may not give away to. */
	if (r == -EINVAL && c->sv->plan->uid != 0)
		r = -EPERM;
	return set(c, p, r, flags);
}

int64_t supervise_chown(struct call *c)
{
	return do_chown(c, (uint64_t)AT_FDCWD, c->args[0], c->args[1], c->args[2], 0);
}

int64_t supervise_lchown(struct call *c)
{
	return do_chown(c, (uint64_t)AT_FDCWD, c->args[0], c->args[1], c->args[2],
			AT_SYMLINK_NOFOLLOW);
}

int64_t supervise_fchownat(struct call *c)
{
	return do_chown(c, c->args[0], c->args[1], c->args[2], c->args[3], (int)c->args[4]);
}

/* ---- times ---- */

/* `path` 0: the descriptor itself, as futimens(3). times NULL: now. */
static int64_t do_utimens(struct call *c, uint64_t dirfd, uint64_t path,
			  const struct timespec *times, int flags)
{
	struct path_arg *p;

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (!path)
		return (int)dirfd == AT_FDCWD ? -EFAULT : call_descriptor(c, (int)dirfd);
	CALL_PATH(c, 0, dirfd, path, flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	return set(c, p, gofer_utimens(c->w->view, p->text, times, flags & AT_SYMLINK_NOFOLLOW),
		   flags);
}

int64_t supervise_utimensat(struct call *c)
{
	struct timespec times[2];

	if (!c->args[2])
		return do_utimens(c, c->args[0], c->args[1], NULL, (int)c->args[3]);
	if (call_read(c, c->args[2], times, sizeof(times)) < 0)
		return -EFAULT;
	return do_utimens(c, c->args[0], c->args[1], times, (int)c->args[3]);
}

/* Microseconds, of which UTIME_NOW and UTIME_OMIT are none. */
static int64_t do_utimes(struct call *c, uint64_t dirfd, uint64_t path, uint64_t address)
{
	struct timeval tv[2];
	struct timespec times[2];

	if (!address)
		return do_utimens(c, dirfd, path, NULL, 0);
	if (call_read(c, address, tv, sizeof(tv)) < 0)
		return -EFAULT;
	for (size_t i = 0; i < 2; i++) {
		if (tv[i].tv_usec < 0 || tv[i].tv_usec >= 1000000)
			return -EINVAL;
		times[i] = (struct timespec){ tv[i].tv_sec, tv[i].tv_usec * 1000 };
	}
	return do_utimens(c, dirfd, path, times, 0);
}

int64_t supervise_utimes(struct call *c)
{
	return do_utimes(c, (uint64_t)AT_FDCWD, c->args[0], c->args[1]);
}

int64_t supervise_futimesat(struct call *c)
{
	return do_utimes(c, c->args[0], c->args[1], c->args[2]);
}

int64_t supervise_utime(struct call *c)
{
	struct utimbuf buf;
	struct timespec times[2] = { { 0 }, { 0 } };

	if (!c->args[1])
		return do_utimens(c, (uint64_t)AT_FDCWD, c->args[0], NULL, 0);
	if (call_read(c, c->args[1], &buf, sizeof(buf)) < 0)
		return -EFAULT;
	times[0].tv_sec = buf.actime;
	times[1].tv_sec = buf.modtime;
	return do_utimens(c, (uint64_t)AT_FDCWD, c->args[0], times, 0);
}

/* ---- size ---- */

int64_t supervise_truncate(struct call *c)
{
	struct path_arg *p;

	if ((int64_t)c->args[1] < 0)
		return -EINVAL;
	CALL_PATH(c, 0, AT_FDCWD, c->args[0], false, &p);
	return set(c, p, gofer_truncate(c->w->view, p->text, c->args[1]), 0);
}
