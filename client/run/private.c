/*
 * private.c - making and removing what one run has for itself. See private.h.
 *
 * Removing must cope with whatever an untrusted program left: modes that lock us out, names of any kind, a million levels. So
 * nothing recurses, no more than two directories are open at a time, and no link is followed. What was mounted there
 * (by whom?) is left alone.
 */
#include "client/run/private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "client/run/paths.h"
#include "common/path.h"

char *private_path(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

#define PREFIX "gofer-run-"

/* ---- making ---- */

static int make(const char *dir, const char *name, mode_t mode)
{
	_cleanup_free_ char *path = private_path(dir, name);

	if (!path)
		return -ENOMEM;
	/* chmod: no umask takes anything away. */
	return mkdir(path, 0700) < 0 || chmod(path, mode) < 0 ? -errno : 0;
}

static int fill(const char *dir)
{
	_cleanup_free_ char *nothing = private_path(dir, "nothing");
	_cleanup_fd_ int fd = -EBADF;
	int r;

	if (!nothing)
		return -ENOMEM;
	r = make(dir, "root", 0755);
	if (r == 0)
		r = make(dir, "tmp", 01777);
	if (r == 0)
		r = make(dir, "shm", 01777);
	if (r == 0)
		r = make(dir, "empty", 0555);
	if (r < 0)
		return r;
	fd = open(nothing, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	return fd < 0 ? -errno : 0;
}

/* Not inside a volume: the program would find its own root there. */
static bool usable(const struct run_options *options, const char *base)
{
	_cleanup_free_ char *real = base && base[0] == '/' ? realpath(base, NULL) : NULL;

	if (!real || access(real, W_OK | X_OK) < 0)
		return false;
	for (size_t i = 0; i < options->n_volumes; i++) {
		_cleanup_free_ char *host = realpath(options->volumes[i].host, NULL);

		if (host && path_below(real, host))
			return false;
	}
	return true;
}

/* Whether the open directory is what has this name, and is ours. */
static bool is_ours(int fd, int at, const char *name)
{
	struct stat open_st, st;

	return fstat(fd, &open_st) == 0 && fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_dev == open_st.st_dev && st.st_ino == open_st.st_ino && st.st_uid == geteuid();
}

/*
 * Directories of runs that are no more: nobody holds their lock. One that another run is just about to lock is taken for such, too: that
 * run sees it and makes another.
 */
static void remove_abandoned(const char *base)
{
	const struct dirent *entry;
	DIR *dir = opendir(base);

	while (dir && (entry = readdir(dir))) {
		_cleanup_free_ char *path = NULL;
		_cleanup_fd_ int fd = -EBADF;

		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 ||
		    strlen(entry->d_name) != strlen(PREFIX) + 6)
			continue;
		fd = openat(dirfd(dir), entry->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		path = private_path(base, entry->d_name);
		if (fd >= 0 && path && is_ours(fd, dirfd(dir), entry->d_name) &&
		    flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)plan_remove_tree(path);
	}
	if (dir)
		(void)closedir(dir);
}

static int make_locked(const char *base, char **ret_dir, int *ret_lock)
{
	enum { TRIES = 16 };

	for (unsigned i = 0; i < TRIES; i++) {
		_cleanup_free_ char *dir = NULL;
		_cleanup_fd_ int fd = -EBADF;

		if (asprintf(&dir, "%s/" PREFIX "XXXXXX", strcmp(base, "/") == 0 ? "" : base) < 0)
			return -ENOMEM;
		if (!mkdtemp(dir))
			return -errno;
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && errno != ENOENT)
			return -errno;
		/* Where the file system has no locks, nobody else gets one either. */
		if (fd >= 0 && (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) &&
		    is_ours(fd, AT_FDCWD, dir)) {
			*ret_dir = TAKE_PTR(dir);
			*ret_lock = TAKE_FD(fd);
			return 0;
		}
	}
	return -EAGAIN;
}

int private_init(const struct run_options *options, char **ret_dir, int *ret_lock,
		 char problem[static RUN_PROBLEM_MAX])
{
	const char *places[] = { getenv("TMPDIR"), "/tmp", getenv("XDG_RUNTIME_DIR"), "/var/tmp",
				 "/dev/shm" };
	const char *base = NULL;
	_cleanup_free_ char *real = NULL, *dir = NULL;
	_cleanup_fd_ int lock = -EBADF;
	int r;

	for (size_t i = 0; !base && i < ARRAY_SIZE(places); i++)
		if (usable(options, places[i]))
			base = places[i];
	if (!base)
		return run_fail(problem, -ENOENT,
				"there is no place for the sandbox's private directory outside of "
				"the volumes: set TMPDIR to a "
				"directory that is not part of one");
	real = realpath(base, NULL);
	if (!real)
		return run_fail(problem, -errno, "%s: %s", base, strerror(errno));
	remove_abandoned(real);
	r = make_locked(real, &dir, &lock);
	if (r < 0)
		return run_fail(problem, r,
				"cannot make a private directory in %s: %s: set TMPDIR to another",
				real, strerror(-r));
	r = fill(dir);
	if (r < 0) {
		(void)plan_remove_tree(dir);
		return run_fail(problem, r, "cannot fill a private directory in %s: %s", real,
				strerror(-r));
	}
	*ret_dir = TAKE_PTR(dir);
	*ret_lock = TAKE_FD(lock);
	return 0;
}

int private_mkdir(const char *dir, const char *path)
{
	_cleanup_fd_ int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	size_t pos = 0, begin, end;

	if (at < 0)
		return -errno;
	while (path_next(path, strlen(path), &pos, &begin, &end)) {
		char name[PATH_NAME_MAX + 1];
		struct stat st;
		int next;

		snprintf(name, sizeof(name), "%.*s", (int)(end - begin), path + begin);
		if (mkdirat(at, name, 0755) < 0 && errno != EEXIST)
			return -errno;
		if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		if (S_ISLNK(st.st_mode))
			return -ELOOP;
		next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return -errno;
		fd_close(at);
		at = next;
	}
	return 0;
}

/* ---- removing ---- */

/* Opens a directory for reading, whatever its mode. */
static int open_directory(int at, const char *name, dev_t dev)
{
	struct stat st;
	int fd;

	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	if (st.st_dev != dev)
		return -EXDEV;
	if ((st.st_mode & 0700) != 0700 && fchmodat(at, name, 0700, 0) < 0)
		return -errno;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/*
 * Empties the directory as far as that goes without descending. 1: *ret_child is a directory that is not empty, opened; 0:
 * empty; -errno: something stays.
 */
static int sweep(int fd, dev_t dev, int *ret_child)
{
	int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	const struct dirent *entry;
	DIR *dir;

	if (again < 0)
		return -errno;
	dir = fdopendir(again);
	if (!dir) {
		fd_close(again);
		return -errno;
	}
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (unlinkat(fd, name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM) {
			r = -errno;
		} else if (unlinkat(fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
			if (errno != ENOTEMPTY && errno != EEXIST) {
				r = -errno;
			} else {
				*ret_child = open_directory(fd, name, dev);
				r = *ret_child < 0 ? *ret_child : 1;
			}
		}
	}
	if (r == 0 && errno)
		r = -errno;
	(void)closedir(dir);
	return r;
}

int plan_remove_tree(const char *path)
{
	_cleanup_fd_ int at = -EBADF;
	struct stat top;
	size_t depth = 0;
	int r;

	if (lstat(path, &top) < 0)
		return -errno;
	at = open_directory(AT_FDCWD, path, top.st_dev);
	if (at < 0)
		return at;
	for (;;) {
		int next = -EBADF;

		r = sweep(at, top.st_dev, &next);
		if (r < 0)
			return r;
		if (r == 0 && !depth)
			break;
		/* Down, or, where nothing is left, up: the next sweep there removes this one. */
		if (r == 0)
			next = openat(at, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (next < 0)
			return -errno;
		depth = r ? depth + 1 : depth - 1;
		fd_close(at);
		at = next;
	}
	return rmdir(path) < 0 ? -errno : 0;
}
