/*
 * handle_open.c - open(2) and its kin: one Open; a regular file's donated descriptor is installed with the answer.
 *
 * Directories come from the sandbox's own view (view.c), and are remembered as places. FIFOs that the program made itself
 * may block, so they are opened by a thread of their own. What lies in /proc and /dev is handle_reopen.c's.
 */
#include <errno.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>

#include "client/run/call.h"
#include "common/sys.h"

/* What gofer_open_descriptor() decides; O_NONBLOCK and O_DIRECT are put on the descriptor afterwards. */
#define OPEN_FLAGS                                                                               \
	(O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY | O_NOFOLLOW | O_PATH | \
	 O_TMPFILE | O_SYNC | O_DSYNC | O_NOATIME)
#define LATER_FLAGS (O_NONBLOCK | O_DIRECT | O_ASYNC)
#define KNOWN_FLAGS (OPEN_FLAGS | LATER_FLAGS | O_CLOEXEC | O_NOCTTY | O_LARGEFILE | 0100000)

#define RESOLVE_KNOWN                                                                \
	(RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | \
	 RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED)

enum { TRIES = 8 };

/* ---- regular files ---- */

static int64_t send_regular(struct call *c, struct gofer_opened *o, int flags)
{
	bool tmpfile = (flags & O_TMPFILE) == O_TMPFILE;
	struct object_id id;

	if ((flags & LATER_FLAGS) &&
	    fcntl(o->fd, F_SETFL, fcntl(o->fd, F_GETFL) | (flags & LATER_FLAGS)) < 0)
		return -errno;
	/* One look per filesystem tells which mount its descriptors lie in, and that they are a volume's. */
	if (tmpfile || !atomic_load_explicit(
			       &c->sv->donated_mount[o->fs_id % ARRAY_SIZE(c->sv->donated_mount)],
			       memory_order_relaxed)) {
		if (view_identify(o->fd, "", AT_EMPTY_PATH, &id, NULL) == 0)
			atomic_store(
				&c->sv->donated_mount[o->fs_id % ARRAY_SIZE(c->sv->donated_mount)],
				id.mount);
		else
			tmpfile = false;
	}
	if (tmpfile && o->place)
		objects_put(&c->sv->unnamed, &id, gofer_place_ref(o->place));
	if ((flags & O_ACCMODE) != O_RDONLY)
		atomic_fetch_add(&c->sv->written, 1);
	return call_give_fd(c, &o->fd, flags);
}

/*
 * A regular file that is opened for reading, and known: the sandbox's own view has it too. That the descriptor is of the very file is seen by
 * its number; and as the same is known before and after, there was no time between at which the server would have said anything
 * else. False where it is to be asked.
 */
static bool open_known(struct call *c, const struct path_arg *p, int flags, int64_t *ret_result)
{
	const int fine = O_CLOEXEC | O_NOCTTY | O_LARGEFILE | O_NOFOLLOW | 0100000;
	_cleanup_fd_ int fd = -EBADF;
	struct stat before, after;
	char path[PATH_MAX];
	struct object_id id;

	if ((flags & ~fine) || !call_caged(c) || c->sv->plan->interop == RUN_INTEROP_SHARED)
		return false;
	if (gofer_open_known(c->w->view, p->text, flags & O_NOFOLLOW, &before, path) < 0 ||
	    view_open(c, path, NULL, &before, O_RDONLY | O_NOFOLLOW, &fd, &id) < 0 ||
	    gofer_open_known(c->w->view, p->text, flags & O_NOFOLLOW, &after, path) < 0 ||
	    after.st_dev != before.st_dev || after.st_ino != before.st_ino)
		return false;
	/* view_open() opened it without blocking. */
	if (fcntl(fd, F_SETFL, 0) < 0)
		return false;
	*ret_result = call_give_fd(c, &fd, flags);
	return true;
}

/* ---- directories ---- */

static int64_t send_directory(struct call *c, const struct path_arg *p, struct gofer_opened *o,
			      int flags)
{
	_cleanup_fd_ int fd = -EBADF;
	struct object_id id;
	int r = view_open(c, gofer_place_path(o->place), p, &o->st, O_RDONLY | O_DIRECTORY, &fd,
			  &id);

	if (r < 0)
		return r;
	objects_put(&c->sv->objects, &id, gofer_place_ref(o->place));
	/* view_open() opened it without blocking; what the program asked for is what it shall see. */
	if (fcntl(fd, F_SETFL, flags & (LATER_FLAGS | O_NOATIME)) < 0)
		return -errno;
	return call_send_fd(c, fd, flags);
}

/* ---- FIFOs ---- */

static int64_t open_fifo(struct slow_work *w)
{
	char path[PROC_PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", w->fd);
	fd = open(path, (w->flags & ~(O_CREAT | O_EXCL | O_TRUNC | O_NOFOLLOW | O_DIRECTORY)) |
				O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int64_t call_open_fifo(struct call *c, int fd, int flags)
{
	struct slow_work *work = malloc(sizeof(*work));

	if (!work) {
		fd_close(fd);
		return -ENOMEM;
	}
	*work = (struct slow_work){ .work = open_fifo,
				    .fd = fd,
				    .inode = -EBADF,
				    .flags = flags,
				    .fd_flags = flags & O_CLOEXEC };
	return slow_call(c, work);
}

/*
 * The server opens no special files. What the program made itself it may open, and with `error` 0 (the volume allows it) what the host
 * made; `error` is for all else.
 */
static int64_t open_special(struct call *c, const struct path_arg *p, int flags, int error)
{
	struct stat st;
	int fd, r;

	r = view_find(c, p, flags & O_NOFOLLOW, &fd, &st);
	if (r < 0)
		return error;
	/* Devices: as on a file system that is mounted nodev. */
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		error = -EACCES;
	if (!S_ISFIFO(st.st_mode) || (error != 0 && !call_has_made(fd, &c->sv->fifos))) {
		fd_close(fd);
		return error;
	}
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
		fd_close(fd);
		return -EEXIST;
	}
	return call_open_fifo(c, fd, flags);
}

/*
 * Whether the path seems to be a FIFO's: a hint, looked up without a request, and only once the program has made one. The
 * server finds a file's type out by opening it, and for a FIFO's other end that would be a peer that comes and goes.
 */
static bool seems_fifo(const struct call *c, const struct path_arg *p)
{
	/* Without a view of its own, links could lead anywhere in the host. */
	uint64_t resolve =
		RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | (call_caged(c) ? 0 : RESOLVE_NO_SYMLINKS);
	_cleanup_free_ char *whole = NULL;
	_cleanup_fd_ int fd = -EBADF;
	struct stat st;

	if (id_set_empty(&c->sv->fifos))
		return false;
	if (p->dir && asprintf(&whole, "%s/%s", gofer_place_path(p->dir), p->text) < 0)
		return false;
	fd = sys_openat2(c->sv->cage->view_root, whole ? whole : p->text, O_PATH | O_NOFOLLOW, 0,
			 resolve);
	return fd >= 0 && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* ---- all of them ---- */

/* The result of opening what was to be created only if it did not exist. */
static int64_t existing(int64_t result)
{
	return result == -ENOENT ? -EROFS : result;
}

/* `want`: the object that it must be, where it was resolved before. */
static int64_t open_once(struct call *c, const struct path_arg *p, int flags, mode_t mode,
			 const struct stat *want)
{
	struct gofer_opened o;
	int64_t result;
	int r;

	if (!want && open_known(c, p, flags, &result))
		return result;
	r = gofer_open_descriptor(c->w->view, p->text, flags & OPEN_FLAGS & ~(want ? O_TRUNC : 0),
				  mode & 07777, &o);
	if (r == -EREMOTE)
		return call_open_foreign(c, flags);
	if (r == -EPERM || r == -ENXIO)
		return open_special(c, p, flags, r);
	/* What exists already is not created: opened for reading, it may lie on a read-only volume. */
	if (r == -EROFS && (flags & O_CREAT) && !(flags & (O_EXCL | O_TRUNC)) &&
	    (flags & O_ACCMODE) == O_RDONLY && (flags & O_TMPFILE) != O_TMPFILE) {
		r = call_read_only(c, p, CALL_CREATES | CALL_WRITES);
		return r == -EROFS ? existing(open_once(c, p, flags & ~O_CREAT, mode, want)) : r;
	}
	if (r == -EROFS)
		r = call_read_only(c, p,
				   (flags & O_CREAT ? CALL_CREATES : 0) |
					   ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)
						    ? CALL_EXCLUSIVE | CALL_NOFOLLOW
						    : 0) |
					   CALL_WRITES);
	if (r < 0)
		return call_result(c, r);
	if (want && (want->st_dev != o.st.st_dev || want->st_ino != o.st.st_ino))
		result = -ESTALE;
	else if (want && (flags & O_TRUNC) && o.fd >= 0 && ftruncate(o.fd, 0) < 0)
		result = -errno;
	else if (o.fd >= 0)
		result = send_regular(c, &o, flags);
	else if (S_ISDIR(o.st.st_mode))
		result = send_directory(c, p, &o, flags);
	else
		result = open_special(c, p, flags, 0);
	fd_close(o.fd);
	gofer_place_unref(o.place);
	return result;
}

/* A file without a name, in the directory that was resolved. */
static int64_t open_unnamed(struct call *c, struct path_arg *p, int flags, mode_t mode,
			    const struct stat *want)
{
	struct gofer_opened dir;
	int r = gofer_open_descriptor(c->w->view, p->text, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0,
				      &dir);

	if (r < 0)
		return call_result(c, r);
	gofer_place_unref(p->dir);
	p->dir = dir.place;
	if (want->st_dev != dir.st.st_dev || want->st_ino != dir.st.st_ino)
		return -ESTALE;
	gofer_fchdir(c->w->view, p->dir);
	memcpy(p->text, ".", 2);
	return open_once(c, p, flags, mode, NULL);
}

/* As openat2(2) with `resolve`: first where, then that. */
static int64_t open_resolved(struct call *c, struct path_arg *p, int flags, mode_t mode,
			     uint64_t resolve)
{
	struct stat want;
	int64_t result;
	int r;

	memcpy(c->w->text, p->text, strlen(p->text) + 1);
	for (unsigned tries = 0; tries < TRIES; tries++) {
		r = call_resolve(c, p, c->w->text, resolve, flags, &want);
		if (r == -ESTALE)
			continue;
		if (r < 0)
			return call_result(c, r);
		if ((flags & O_TMPFILE) == O_TMPFILE)
			result = open_unnamed(c, p, flags, mode, &want);
		/* What is there is not made, and emptied only when it is known to be what was found. */
		else if (want.st_ino)
			result = open_once(c, p, (flags & ~(O_CREAT | O_EXCL)) | O_NOFOLLOW, mode,
					   &want);
		else
			result = open_once(c, p, flags | O_NOFOLLOW, mode, NULL);
		if (result != -ESTALE)
			return result;
	}
	return -EAGAIN;
}

static int64_t do_open(struct call *c, int dirfd, uint64_t address, int flags, mode_t mode,
		       uint64_t resolve)
{
	struct path_arg *p;
	int64_t result;
	int r = call_path(c, 0, dirfd, address, false, &p);

	if (r == CALL_FOREIGN)
		return CALL_CONTINUE;
	if (r < 0)
		return r;
	/*
	 * ADDFD installs no O_PATH descriptors. The kernel may make them: they give nothing but a place in its view. Where that
	 * is the host's, a directory is opened for reading instead, and nothing else.
	 */
	if ((flags & O_PATH) && call_caged(c)) {
		call_foresee(c, p);
		return CALL_CONTINUE;
	}
	if (flags & O_PATH)
		flags = O_RDONLY | O_DIRECTORY | (flags & (O_NOFOLLOW | O_CLOEXEC));
	if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
		(void)gofer_umask(c->w->view, call_umask(c));
	if ((flags & (O_CREAT | O_DIRECTORY)) == (O_CREAT | O_DIRECTORY))
		return -EINVAL;
	if (resolve)
		return open_resolved(c, p, flags, mode, resolve);
	if (!(flags & O_DIRECTORY) && seems_fifo(c, p)) {
		result = open_special(c, p, flags, -EPERM);
		if (result != -EPERM)
			return result;
	}
	/* A directory that is renamed between the server's look and the view's is looked for again. */
	for (unsigned tries = 0;; tries++) {
		result = open_once(c, p, flags, mode, NULL);
		/* Only a directory is looked for again, and those are not created here. */
		if (result != -ESTALE || tries == TRIES || (flags & O_CREAT))
			return result;
	}
}

/* open(2) and openat(2) ignore flags that they do not know. */
static int legacy_flags(uint64_t flags)
{
	return (int)(flags & KNOWN_FLAGS);
}

int64_t supervise_open(struct call *c)
{
	return do_open(c, AT_FDCWD, c->args[0], legacy_flags(c->args[1]), (mode_t)c->args[2], 0);
}

int64_t supervise_openat(struct call *c)
{
	return do_open(c, (int)c->args[0], c->args[1], legacy_flags(c->args[2]), (mode_t)c->args[3],
		       0);
}

int64_t supervise_creat(struct call *c)
{
	return do_open(c, AT_FDCWD, c->args[0], O_CREAT | O_WRONLY | O_TRUNC, (mode_t)c->args[1],
		       0);
}

int64_t supervise_openat2(struct call *c)
{
	struct open_how how = { 0 };
	uint64_t size = c->args[3];
	int r;

	if (size < sizeof(how))
		return -EINVAL;
	if (size > 4096)
		return -E2BIG;
	r = call_read(c, c->args[2], &how, sizeof(how));
	/* A longer structure is fine where its rest is zero. */
	for (uint64_t at = sizeof(how); r == 0 && at < size; at += sizeof(c->w->value)) {
		size_t n = MIN(size - at, sizeof(c->w->value));

		r = call_read(c, c->args[2] + at, c->w->value, n);
		for (size_t i = 0; r == 0 && i < n; i++)
			r = c->w->value[i] ? -E2BIG : 0;
	}
	if (r < 0)
		return r;
	if ((how.flags & ~(uint64_t)KNOWN_FLAGS) || (how.mode & ~07777ULL) ||
	    (how.mode && !(how.flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))))
		return -EINVAL;
	if ((how.resolve & ~(uint64_t)RESOLVE_KNOWN) ||
	    (how.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) ==
		    (RESOLVE_BENEATH | RESOLVE_IN_ROOT))
		return -EINVAL;
	/* Magic links are only the kernel's, who sees the flag as well. */
	c->verbatim = how.resolve;
	return do_open(c, (int)c->args[0], c->args[1], (int)how.flags, (mode_t)how.mode,
		       how.resolve & ~(uint64_t)RESOLVE_NO_MAGICLINKS);
}
