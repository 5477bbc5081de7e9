/*
 * handlers_open.c - opening: Open itself, and the whole-file requests that open, transfer and close
 * in one round trip.
 *
 * open(O_CREAT) is one system call on (directory, name): the kernel decides between opening and
 * creating, so no EEXIST or ENOENT can come from others who create and unlink the name meanwhile. A
 * donated descriptor is always a fresh open file description, never a dup: a dup would share locks,
 * offset and flags with the server's own.
 */
#include "server/session.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

enum {
	NAME_RETRIES = 40
}; /* a name that alternates between link and no link: as often as links are followed at most */

#define FLAG(name) GOFER__OPEN_FLAG__OPEN_##name

static int host_flags(uint32_t f)
{
	int h;

	if (f & FLAG(PATH))
		return O_PATH | (f & FLAG(DIRECTORY) ? O_DIRECTORY : 0);
	h = (f & FLAG(WRITE)) ? (f & FLAG(READ)) ? O_RDWR : O_WRONLY : O_RDONLY;
	if (f & FLAG(CREATE))
		h |= O_CREAT;
	if (f & FLAG(EXCLUSIVE))
		h |= O_EXCL;
	if (f & FLAG(TRUNCATE))
		h |= O_TRUNC;
	if (f & FLAG(APPEND))
		h |= O_APPEND;
	if (f & FLAG(DIRECTORY))
		h |= O_DIRECTORY;
	if (f & FLAG(SYNC))
		h |= O_SYNC;
	if (f & FLAG(DSYNC))
		h |= O_DSYNC;
	if (f & FLAG(NOATIME))
		h |= O_NOATIME;
	return h;
}

/*
 * Creates or opens the last name of `path`: the file, or REQUEST_STOP at a link. With `parent`, *walk has
 * its directory then.
 */
static int create_at(struct request *r, const Gofer__Path *path, int flags, mode_t mode,
		     bool parent, struct walk_result *walk, struct fs_node *ret_file)
{
	struct fs *fs = request_fs(r);
	int e = parent ? FS_SLOW : request_create(r, path, flags, mode, ret_file);

	if (e != FS_SLOW)
		return e;
	e = request_walk(r, path, 0, WALK_NAME, true, 0, walk);
	if (e == -EINVAL || e == -ENOTEMPTY)
		return flags & O_EXCL ? -EEXIST : -EISDIR;
	if (e != 0)
		return e;
	if (walk->trailing_slash)
		return -EISDIR;
	for (unsigned i = 0; i < NAME_RETRIES; i++) {
		e = fs->ops->create(fs, &walk->node, walk->name, flags, mode, ret_file);
		if (e != FS_SYMLINK)
			return e;
		if (path->nofollow)
			return -ELOOP;
		e = request_stop_at_name(r, path, 0, walk);
		if (e != -EAGAIN)
			return e;
	}
	return -ELOOP;
}

/* Opens or creates what the request names. *ret_attr: of the file as it is now. */
static int open_node(struct request *r, const Gofer__OpenRequest *q, struct walk_result *walk,
		     struct fs_node *ret_file, Gofer__Attr *ret_attr)
{
	struct fs *fs = request_fs(r);
	_cleanup_node_ struct fs_node file = FS_NODE_NULL;
	const struct fs_node *node;
	int flags = host_flags(q->flags), e;

	if (q->flags & FLAG(CREATE)) {
		request_umask(r, q->umask);
		e = create_at(r, q->path, flags, q->mode, false, walk, &file);
	} else if (q->flags & FLAG(TMPFILE)) {
		request_umask(r, q->umask);
		e = request_object(r, q->path, false, walk, &node, NULL);
		if (e == 0)
			e = fs->ops->tmpfile(fs, node, flags, q->mode, &file);
	} else {
		return request_open(r, q->path, q->path->nofollow, flags, walk, ret_file, ret_attr);
	}
	if (e != 0)
		return e;
	e = fs->ops->getattr(fs, &file, ret_attr);
	if (e == 0)
		*ret_file = TAKE_NODE(file);
	return e;
}

int handle_open(struct request *r, const Gofer__OpenRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	_cleanup_node_ struct fs_node file = FS_NODE_NULL, donated = FS_NODE_NULL;
	struct fs *fs = request_fs(r);
	Gofer__OpenReply *reply = REQUEST_REPLY(r, OpenReply, open_reply);
	Gofer__Attr *attr = arena_alloc(&r->worker->arena, sizeof(*attr));
	struct handle *reserved = NULL;
	bool donate, keep;
	int e;

	/* All that may be lacking is got before a file is made or cut. */
	if (!reply || !attr)
		return -EMSGSIZE;
	e = handle_reserve(&r->session->handles, &reserved);
	if (e < 0)
		return e;
	e = open_node(r, q, &walk, &file, attr);
	if (e != 0) {
		handle_unreserve(&r->session->handles, reserved);
		return e;
	}
	reply->attr = attr;
	donate = (q->flags & FLAG(DONATE)) && request_may_donate(r, q->flags, attr->mode & S_IFMT);
	keep = !donate || !(q->flags & FLAG(ONLY_DONATED));
	if (donate && keep)
		/* The file is open; that no second descriptor can be had only means that none is
		 * donated. */
		donate = fs->ops->open(fs, &file,
				       host_flags(q->flags) & ~(O_CREAT | O_EXCL | O_TRUNC),
				       &donated) == 0;
	else if (donate)
		donated = TAKE_NODE(file);
	if (donate) {
		r->reply_fd = TAKE_FD(donated.fd);
		reply->donated = true;
	}
	if (keep) {
		reply->handle = handle_insert(
			&r->session->handles, reserved, r->volume,
			session_identity_ref(r->worker->acting), &file,
			q->flags & (FLAG(READ) | FLAG(WRITE) | FLAG(APPEND) | FLAG(PATH)),
			attr->mode & S_IFMT);
		r->reply_handle = reply->handle;
	} else {
		handle_unreserve(&r->session->handles, reserved);
	}
	reply->followed = walk.followed;
	reply->n_followed = walk.n_followed;
	return 0;
}

/* Files of size 0 may be generated (procfs): they end where a read says so. */
static bool reached_end(const Gofer__Attr *attr, uint64_t offset)
{
	return S_ISREG(attr->mode) && attr->size && offset >= attr->size;
}

/* Only odd file systems heed O_NONBLOCK in a regular file: from now on it waits, if it has not done so yet. */
static bool waits_now(int fd, bool *waits)
{
	int error = errno;

	if (error != EAGAIN || *waits)
		return false;
	*waits = true;
	if (fcntl(fd, F_SETFL, 0) == 0)
		return true;
	errno = error;
	return false;
}

/* With `bare`, any error may mean that it is no regular file, whatever else it says. */
static int read_file(struct request *r, const Gofer__ReadFileRequest *q, bool bare)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	_cleanup_node_ struct fs_node file = FS_NODE_NULL;
	size_t want = MIN(q->count, (uint32_t)FRAME_MAX_DATA), got = 0;
	Gofer__Attr attr = GOFER__ATTR__INIT;
	Gofer__ReadFileReply *reply;
	bool waits = false;
	int e = request_open(r, q->path, q->path->nofollow, O_RDONLY | O_NONBLOCK, &walk, &file,
			     bare ? NULL : &attr);

	if (e != 0)
		return e;
	if (S_ISDIR(attr.mode))
		return -EISDIR;
	reply = REQUEST_REPLY(r, ReadFileReply, read_file_reply);
	if (!reply || (!bare && !(reply->attr = request_attr(r, &attr))))
		return -EMSGSIZE;
	while (got < want) {
		ssize_t n = pread(file.fd, r->worker->data + got, want - got, q->offset + got);

		if (n < 0 && (bare || S_ISREG(attr.mode)) && waits_now(file.fd, &waits))
			continue;
		if (n < 0)
			return -errno;
		got += n;
		if (n == 0 || reached_end(&attr, q->offset + got))
			break;
	}
	/* Full: whether that was all, only its size says. */
	if (bare && got == want && request_fs(r)->ops->getattr(request_fs(r), &file, &attr) < 0)
		return -EIO;
	reply->eof = got < want || reached_end(&attr, q->offset + got);
	reply->followed = walk.followed;
	reply->n_followed = walk.n_followed;
	r->data = r->worker->data;
	r->data_len = got;
	/* The reply need not wait until it is closed. */
	r->fd = TAKE_FD(file.fd);
	return 0;
}

int handle_read_file(struct request *r, const Gofer__ReadFileRequest *q)
{
	int e = q->bare ? read_file(r, q, true) : -EAGAIN;

	return q->bare && (e >= 0 || e == -ENOENT) ? e : read_file(r, q, false);
}

static int write_all(int fd, const uint8_t *data, size_t size)
{
	bool waits = false;
	size_t done = 0;

	while (done < size) {
		ssize_t n = pwrite(fd, data + done, size - done, done);

		if (n < 0 && waits_now(fd, &waits))
			continue;
		if (n < 0)
			return -errno;
		done += n;
	}
	return 0;
}

/* Written under a name of its own beside the target, then moved over it: others see the old file or
 * the new one, whole. */
static int write_atomic(struct request *r, const Gofer__WriteFileRequest *q,
			struct walk_result *walk, struct fs_node *ret_file)
{
	_cleanup_node_ struct fs_node file = FS_NODE_NULL, old = FS_NODE_NULL;
	struct fs *fs = request_fs(r);
	char temporary[40];
	uint64_t random;
	int e = request_walk(r, q->path, 0, WALK_NAME, true, 0, walk);

	if (e == -EINVAL || e == -ENOTEMPTY)
		return -EISDIR;
	if (e != 0)
		return e;
	if (walk->trailing_slash)
		return -EISDIR;
	/* What a link points at is to be replaced, not the link: that is for the client's
	 * namespace. */
	e = fs->ops->child(fs, &walk->node, walk->name, true, &old);
	if (e == 0)
		return q->exclusive ? -EEXIST : -EISDIR;
	if (e == -ENOTDIR && q->exclusive)
		return -EEXIST;
	if (e == FS_SYMLINK) {
		e = q->exclusive        ? -EEXIST
		    : q->path->nofollow ? -ELOOP
					: request_stop_at_name(r, q->path, 0, walk);
		if (e != -EAGAIN)
			return e;
	}
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	snprintf(temporary, sizeof(temporary), ".gofer-%016" PRIx64 ".tmp", random);
	e = fs->ops->create(fs, &walk->node, temporary, O_WRONLY | O_CREAT | O_EXCL, q->mode,
			    &file);
	if (e != 0)
		return e < 0 ? e : -EEXIST;
	e = write_all(file.fd, r->frame->data, r->frame->header.data_len);
	if (e == 0 && q->sync && fsync(file.fd) < 0)
		e = -errno;
	if (e == 0)
		e = fs->ops->rename(fs, &walk->node, temporary, &walk->node, walk->name,
				    q->exclusive ? RENAME_NOREPLACE : 0);
	if (e < 0) {
		(void)fs->ops->unlink(fs, &walk->node, temporary, false);
		return e;
	}
	*ret_file = TAKE_NODE(file);
	return 0;
}

int handle_write_file(struct request *r, const Gofer__WriteFileRequest *q)
{
	_cleanup_walk_ struct walk_result walk = { .node = FS_NODE_NULL };
	_cleanup_node_ struct fs_node file = FS_NODE_NULL;
	Gofer__ObjectReply *reply = REQUEST_REPLY(r, ObjectReply, object_reply);
	int e;

	if (!reply)
		return -EMSGSIZE;
	request_umask(r, q->umask);
	if (q->atomic) {
		e = write_atomic(r, q, &walk, &file);
	} else {
		e = create_at(r, q->path,
			      O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK |
				      (q->exclusive ? O_EXCL : 0),
			      q->mode, !q->bare, &walk, &file);
		if (e == 0)
			e = write_all(file.fd, r->frame->data, r->frame->header.data_len);
		if (e == 0 && q->sync && fsync(file.fd) < 0)
			e = -errno;
	}
	if (e != 0)
		return e;
	if (q->bare)
		return 0;
	reply->attr = request_getattr(r, &file);
	reply->parent = request_getattr(r, &walk.node);
	/* The directory: what was written is closed before the reply, or who executes it is told that it is busy. */
	r->fd = TAKE_FD(walk.node.fd);
	return 0;
}
