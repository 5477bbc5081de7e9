/*
 * target.c - what the calling process has: memory, current directory, descriptors, umask. Everything is asked of the kernel when
 * it is needed; see supervisor.h for why.
 *
 * Order matters: memory is read first, and then it is checked that the caller still waits. Until that check, the number may
 * belong to another process by now; after it, what was read was the caller's. Calls that only look (c->looks) go without: nothing
 * comes of what they read but an answer to a caller that is gone, and call_write() checks by itself.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "client/run/call.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* Linux 6.9 */
#endif

enum { PAGE = 4096 };

bool call_alive(const struct call *c)
{
	return ioctl(c->sv->cage->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &c->id) == 0;
}

static int memory_error(void)
{
	return errno == ESRCH ? -ESRCH : -EFAULT;
}

int call_read(const struct call *c, uint64_t address, void *buf, size_t len)
{
	struct iovec local = { buf, len }, remote = { (void *)(uintptr_t)address, len };
	ssize_t n = process_vm_readv(c->tid, &local, 1, &remote, 1, 0);

	if (n < 0)
		return memory_error();
	return (size_t)n == len ? 0 : -EFAULT;
}

int call_write(const struct call *c, uint64_t address, const void *buf, size_t len)
{
	struct iovec local = { (void *)(uintptr_t)buf, len };
	struct iovec remote = { (void *)(uintptr_t)address, len };
	ssize_t n;

	if (len == 0)
		return 0;
	if (!call_alive(c))
		return -ESRCH;
	n = process_vm_writev(c->tid, &local, 1, &remote, 1, 0);
	if (n < 0)
		return memory_error();
	return (size_t)n == len ? 0 : -EFAULT;
}

/* Up to `size` bytes in one system call: the rest of the page and the page behind it, of which the second need not be there. */
static ssize_t read_pages(const struct call *c, uint64_t address, char *buf, size_t size)
{
	size_t first = MIN(PAGE - (size_t)(address % PAGE), size);
	struct iovec local = { buf, size };
	struct iovec remote[2] = { { (void *)(uintptr_t)address, first },
				   { (void *)(uintptr_t)(address + first), size - first } };

	return process_vm_readv(c->tid, &local, 1, remote, size > first ? 2 : 1, 0);
}

/* Most strings are short, and every page that is looked at costs. */
int call_read_string(const struct call *c, uint64_t address, char *buf, size_t size)
{
	enum { SHORT = 256 };
	ssize_t n = read_pages(c, address, buf, MIN(size, (size_t)SHORT));

	if (n == SHORT && size > SHORT && !memchr(buf, '\0', SHORT))
		n = read_pages(c, address, buf, size);
	if (n < 0)
		return memory_error();
	if (memchr(buf, '\0', (size_t)n))
		return 0;
	return (size_t)n == size ? -ENAMETOOLONG : -EFAULT;
}

void call_proc_path(const struct call *c, int fd, char buf[static PROC_PATH_MAX])
{
	if (fd == AT_FDCWD)
		snprintf(buf, PROC_PATH_MAX, "/proc/%d/cwd", c->tid);
	else
		snprintf(buf, PROC_PATH_MAX, "/proc/%d/fd/%d", c->tid, fd);
}

int call_place_by_link(struct call *c, const char *link, const struct object_id *id,
		       struct gofer_place **ret_place)
{
	struct gofer_opened opened;
	char path[PATH_MAX];
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	int r;

	if (n < 0)
		return errno == ENAMETOOLONG ? -ENAMETOOLONG : -ESRCH;
	path[n] = '\0';
	/* "(unreachable)/...", "pipe:[1]": nothing that has a place in the namespace. */
	if (path[0] != '/')
		return -ENOENT;
	r = gofer_open_descriptor(c->w->view, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, &opened);
	if (r == -EREMOTE)
		return CALL_FOREIGN;
	if (r < 0)
		return r == -ENOTDIR || r == -ELOOP ? -ENOENT : r;
	if (opened.st.st_dev != id->dev || opened.st.st_ino != id->ino) {
		/* Renamed meanwhile, removed, or another's. */
		gofer_place_unref(opened.place);
		return -ENOENT;
	}
	*ret_place = opened.place;
	return 0;
}

/* The place that a directory's descriptor (or AT_FDCWD) stands for. */
static int find_place(struct call *c, int dirfd, struct gofer_place **ret_place)
{
	char link[PROC_PATH_MAX];
	struct object_id id;
	struct stat st;
	int r;

	if (dirfd < 0 && dirfd != AT_FDCWD)
		return -EBADF;
	call_proc_path(c, dirfd, link);
	r = view_identify(AT_FDCWD, link, 0, &id, &st);
	if (r < 0)
		return r == -ENOENT && dirfd != AT_FDCWD ? -EBADF : r;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	*ret_place = objects_get(&c->sv->objects, &id);
	if (*ret_place)
		return 0;
	if (st.st_nlink == 0)
		return -ENOENT;
	r = call_place_by_link(c, link, &id, ret_place);
	if (r == 0)
		objects_put(&c->sv->objects, &id, gofer_place_ref(*ret_place));
	return r;
}

/* Where the path starts. Names that lead from /proc back to what the caller holds are replaced by what they stand for. */
static int begin(struct call *c, struct path_arg *p)
{
	enum { HOPS = 3 };
	int r = 0;

	for (unsigned i = 0; i < HOPS; i++) {
		bool own = p->text[0] == '/' && call_caged(c) && !c->verbatim &&
			   call_begins_at_own(c, p);

		if (p->text[0] == '/')
			return 0;
		r = find_place(c, p->dirfd, &p->dir);
		if (r == -EBADF && own)
			return -ENOENT;
		if (r != CALL_FOREIGN || !call_caged(c) || c->verbatim)
			return r;
		r = call_join_foreign(c, p);
		if (r < 0)
			return r;
	}
	return 0;
}

int call_path(struct call *c, unsigned which, int dirfd, uint64_t address, bool empty,
	      struct path_arg **ret_path)
{
	struct path_arg *p = &c->w->path[which];
	int r = 0;

	gofer_place_unref(p->dir);
	p->dir = NULL;
	p->dirfd = dirfd;
	p->text[0] = '\0';
	if (!empty ||
	    address) /* a NULL path with AT_EMPTY_PATH is the empty one since Linux 6.11 */
		r = call_read_string(c, address, p->text, sizeof(p->text));
	if (r == 0 && !p->text[0] && !empty)
		r = -ENOENT;
	if (r == 0 && p->text[0])
		r = begin(c, p);
	if (r >= 0 && (!c->looks || c->sv->audit) && !call_alive(c))
		return -ESRCH;
	if (which == 0)
		c->path = p->text;
	else
		c->to = p->text;
	if (r != 0)
		return r;
	/* A relative path starts there; of an absolute one nobody asks. */
	if (p->dir)
		gofer_fchdir(c->w->view, p->dir);
	*ret_path = p;
	return 0;
}

int call_path_text(struct call *c, const char *text, struct path_arg **ret_path)
{
	struct path_arg *p = &c->w->path[0];
	int r;

	gofer_place_unref(p->dir);
	p->dir = NULL;
	p->dirfd = AT_FDCWD;
	snprintf(p->text, sizeof(p->text), "%s", text);
	c->path = p->text;
	r = begin(c, p);
	if (p->dir)
		gofer_fchdir(c->w->view, p->dir);
	*ret_path = p;
	return r;
}

/* The volumes are sorted: of those that hold the path, the innermost comes last. */
const struct run_volume *call_volume(const struct call *c, const char *path)
{
	const struct run_plan *plan = c->sv->plan;

	for (size_t i = plan->n_volumes; i > 0; i--) {
		const char *guest = plan->volumes[i - 1].guest;
		size_t n = strlen(guest);

		if (n == 1 || (strncmp(path, guest, n) == 0 && (!path[n] || path[n] == '/')))
			return &plan->volumes[i - 1];
	}
	return NULL;
}

mode_t call_umask(const struct call *c)
{
	char path[PROC_PATH_MAX], text[512];
	_cleanup_fd_ int fd = -EBADF;
	const char *line;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", c->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 077; /* it is gone: nobody will see */
	text[n] = '\0';
	line = strstr(text, "\nUmask:");
	return line ? (mode_t)strtoul(line + strlen("\nUmask:"), NULL, 8) & 0777 : 077;
}

/* Before Linux 6.9 a pidfd is of a process only. */
static int process_of(const struct call *c)
{
	char path[PROC_PATH_MAX], text[512];
	_cleanup_fd_ int fd = -EBADF;
	const char *line;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", c->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	line = strstr(text, "\nTgid:");
	return line ? (int)strtol(line + strlen("\nTgid:"), NULL, 10) : -ESRCH;
}

int call_take_fd(const struct call *c, int fd, int *ret_fd)
{
	_cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, c->tid, PIDFD_THREAD);
	int taken;

	if (pidfd < 0 && errno == EINVAL) {
		int pid = process_of(c);

		if (pid < 0)
			return pid;
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	}
	if (pidfd < 0)
		return -errno;
	taken = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (taken < 0)
		return -errno;
	if (!call_alive(c)) {
		fd_close(taken);
		return -ESRCH;
	}
	*ret_fd = taken;
	return 0;
}
