/*
 * backend_posix.c - a directory, by system calls: native, mounted by FUSE, or inside a sandbox.
 */
#include "tests/bench/peers/workload.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static int tree = -EBADF, held = -EBADF;

static int posix_open(const char *target)
{
	tree = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return tree < 0 ? -errno : 0;
}

static int posix_stat(const char *path)
{
	struct stat st;

	return fstatat(tree, path, &st, 0) < 0 ? -errno : 0;
}

static int posix_read_file(const char *path, void *buf)
{
	_cleanup_fd_ int fd = openat(tree, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return read(fd, buf, BLOCK) == BLOCK ? 0 : -EIO;
}

static int posix_write_file(const char *path, const void *data)
{
	int fd = openat(tree, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, data, BLOCK);
	/* Where a write is put off, closing may tell how it went. */
	return close(fd) < 0 ? -errno : n == BLOCK ? 0 : -EIO;
}

static int posix_unlink(const char *path)
{
	return unlinkat(tree, path, 0) < 0 ? -errno : 0;
}

static ssize_t posix_list(const char *path)
{
	int fd = openat(tree, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct stat st;
	ssize_t n = 0;

	if (!d)
		return -errno;
	for (const struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			n += fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	closedir(d);
	return n;
}

static int posix_hold(const char *path)
{
	held = openat(tree, path, O_RDWR | O_CLOEXEC);
	return held < 0 ? -errno : 0;
}

static ssize_t posix_pread(void *buf, size_t size, uint64_t offset)
{
	ssize_t n = pread(held, buf, size, (off_t)offset);

	return n < 0 ? -errno : n;
}

static ssize_t posix_pwrite(const void *data, size_t size, uint64_t offset)
{
	ssize_t n = pwrite(held, data, size, (off_t)offset);

	return n < 0 ? -errno : n;
}

static void posix_release(void)
{
	held = fd_close(held);
}

const struct backend backend_posix = {
	.name = "posix",
	.open = posix_open,
	.stat = posix_stat,
	.read_file = posix_read_file,
	.write_file = posix_write_file,
	.unlink = posix_unlink,
	.list = posix_list,
	.hold = posix_hold,
	.pread = posix_pread,
	.pwrite = posix_pwrite,
	.release = posix_release,
};
