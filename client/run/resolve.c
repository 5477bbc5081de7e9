/*
 * resolve.c - openat2(2)'s ways to resolve a path: RESOLVE_BENEATH, IN_ROOT, NO_SYMLINKS.
 *
 * libgofer resolves as open(2) does. So the path is first resolved as asked in the sandbox's own view, to an O_PATH descriptor, by the
 * kernel itself; then libgofer opens the path that the kernel has for it, and the device and inode prove that it is the same
 * object, before anything is done to it. For a name that is to be made, that is its directory: it is held as a place, and the name is
 * made in it. Where others rename meanwhile it may be another: -EAGAIN, as openat2(2) says itself.
 */
#include <errno.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>

#include "client/run/call.h"
#include "common/sys.h"

/* With one of these, no link of the program's leads out of the view: an absolute one would start at our own root. */
#define CONFINES (RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)

static int path_of(int fd, char path[static PATH_MAX])
{
	char link[PROC_PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	return path[0] == '/' ? 0 : -ENOENT;
}

/* Where the resolution starts, and what is left of the text. */
static int start(struct call *c, int dirfd, const char **text, uint64_t *resolve, int *ret_fd)
{
	char link[PROC_PATH_MAX];
	int fd;

	if ((*text)[0] == '/' && !(*resolve & RESOLVE_IN_ROOT)) {
		if (*resolve & RESOLVE_BENEATH)
			return -EXDEV;
		*text += strspn(*text, "/");
		if (!**text)
			*text = ".";
		*resolve |= RESOLVE_IN_ROOT;
		fd = fcntl(c->sv->cage->view_root, F_DUPFD_CLOEXEC, 0);
	} else {
		call_proc_path(c, dirfd, link);
		fd = open(link, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		return errno == ENOENT ? -EBADF : -errno;
	*ret_fd = fd;
	return 0;
}

/* The directory in which the last name is to be made, as a place of libgofer's that is the very one that the kernel found. */
static int resolve_parent(struct call *c, int dir, const char *text, uint64_t resolve,
			  struct path_arg *p)
{
	const char *slash = strrchr(text, '/'), *name = slash ? slash + 1 : text;
	_cleanup_fd_ int fd = -EBADF;
	char path[PATH_MAX];
	struct gofer_opened opened;
	struct object_id id;
	int r;

	if (!*name)
		return -EISDIR;
	snprintf(path, sizeof(path), "%.*s", slash ? (int)(slash - text) : 1, slash ? text : ".");
	fd = sys_openat2(dir, path[0] ? path : "/", O_PATH | O_DIRECTORY, 0, resolve);
	if (fd < 0)
		return fd;
	r = view_identify(fd, "", AT_EMPTY_PATH, &id, NULL);
	if (r == 0)
		r = path_of(fd, path);
	if (r == 0)
		r = gofer_open_descriptor(c->w->view, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0,
					  &opened);
	if (r < 0)
		return r;
	if (opened.st.st_dev != id.dev || opened.st.st_ino != id.ino) {
		gofer_place_unref(opened.place);
		return -ESTALE;
	}
	gofer_place_unref(p->dir);
	p->dir = opened.place;
	gofer_fchdir(c->w->view, p->dir);
	snprintf(p->text, sizeof(p->text), "%s", name);
	return 0;
}

int call_resolve(struct call *c, struct path_arg *p, const char *text, uint64_t resolve, int flags,
		 struct stat *ret_st)
{
	_cleanup_fd_ int dir = -EBADF, fd = -EBADF;
	struct object_id id;
	int r;

	/* What is cached here is not known; the caller asks again without. */
	if (resolve & RESOLVE_CACHED)
		return -EAGAIN;
	if (!call_caged(c) || !(resolve & CONFINES))
		return -ENOSYS;
	r = start(c, p->dirfd, &text, &resolve, &dir);
	if (r < 0)
		return r;
	resolve |= RESOLVE_NO_MAGICLINKS;
	*ret_st = (struct stat){ 0 };
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return resolve_parent(c, dir, text, resolve, p);
	fd = sys_openat2(dir, text, O_PATH | (flags & (O_NOFOLLOW | O_DIRECTORY)), 0, resolve);
	if (fd == -ENOENT && (flags & O_CREAT))
		return resolve_parent(c, dir, text, resolve, p);
	if (fd < 0)
		return fd;
	r = view_identify(fd, "", AT_EMPTY_PATH, &id, ret_st);
	return r < 0 ? r : path_of(fd, p->text);
}
