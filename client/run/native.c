/*
 * native.c - /proc and /dev, which no server holds, and calls on descriptors without a path.
 *
 * In the mount namespace they are the kernel's: it sees a /proc of the sandbox's own processes and a /dev of a few devices, and may
 * read the arguments as often as it likes. Without it the kernel would see the host's, so a short list of names is served here, by
 * exact text: nothing on it leads anywhere else.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "client/run/call.h"

/* ---- without the mount namespace ---- */

static const char *const known_files[] = {
	"/dev/null",     "/dev/zero",     "/dev/full",         "/dev/random", "/dev/urandom",
	"/dev/tty",      "/proc/cpuinfo", "/proc/meminfo",     "/proc/stat",  "/proc/uptime",
	"/proc/loadavg", "/proc/version", "/proc/filesystems", "/dev",        "/proc",
};
static const char *const own_files[] = { "status", "stat",   "statm", "maps", "cmdline",
					 "comm",   "limits", "exe",   "cwd" };

/* The host's name for it: 0, or -ENOENT. Own files are those of the calling thread's process. */
static int host_name(const struct call *c, const char *path, char *buf, size_t size)
{
	static const char self[] = "/proc/self/";

	for (size_t i = 0; i < ARRAY_SIZE(known_files); i++)
		if (strcmp(path, known_files[i]) == 0)
			return snprintf(buf, size, "%s", path) < (int)size ? 0 : -ENOENT;
	if (strncmp(path, self, strlen(self)) != 0)
		return -ENOENT;
	for (size_t i = 0; i < ARRAY_SIZE(own_files); i++)
		if (strcmp(path + strlen(self), own_files[i]) == 0)
			return snprintf(buf, size, "/proc/%d/%s", c->tid, own_files[i]) < (int)size
				       ? 0
				       : -ENOENT;
	return -ENOENT;
}

static int64_t write_back(struct call *c, uint64_t address, const void *data, size_t len)
{
	int r = call_write(c, address, data, len);

	return r < 0 ? r : 0;
}

static int64_t uncaged_foreign(struct call *c, const char *path, int flags)
{
	char name[PATH_MAX];
	struct stat st;
	struct statx stx;
	ssize_t n;
	int fd, r = host_name(c, path, name, sizeof(name));
	int64_t result;

	if (r < 0)
		return r;
	switch (c->nr) {
	case SYS_open:
	case SYS_openat:
	case SYS_openat2:
		fd = open(name, (flags & ~(O_CREAT | O_EXCL | O_TRUNC)) | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		result = call_send_fd(c, fd, flags);
		fd_close(fd);
		return result;
	case SYS_stat:
	case SYS_lstat:
	case SYS_newfstatat:
		if (fstatat(AT_FDCWD, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		return write_back(c, c->nr == SYS_newfstatat ? c->args[2] : c->args[1], &st,
				  sizeof(st));
	case SYS_statx:
		if (statx(AT_FDCWD, name, AT_SYMLINK_NOFOLLOW, (unsigned)c->args[3], &stx) < 0)
			return -errno;
		return write_back(c, c->args[4], &stx, sizeof(stx));
	case SYS_access:
		return access(name, (int)c->args[1]) < 0 ? -errno : 0;
	case SYS_faccessat:
	case SYS_faccessat2:
		return access(name, (int)c->args[2]) < 0 ? -errno : 0;
	case SYS_readlink:
	case SYS_readlinkat:
		n = readlink(name, c->w->text, sizeof(c->w->text));
		if (n < 0)
			return -errno;
		n = MIN(n, (ssize_t)(int)(c->nr == SYS_readlink ? c->args[2] : c->args[3]));
		result = write_back(c, c->nr == SYS_readlink ? c->args[1] : c->args[2], c->w->text,
				    (size_t)n);
		return result < 0 ? result : n;
	default:
		return -EACCES;
	}
}

int64_t call_foreign(struct call *c, const char *path, int flags)
{
	return call_caged(c) ? CALL_CONTINUE : uncaged_foreign(c, path, flags);
}

/* The same call on a duplicate: what the number stands for is looked up once. */
static int64_t on_duplicate(struct call *c, int fd)
{
	struct stat st;
	struct statx stx;

	switch (c->nr) {
	case SYS_newfstatat:
		return fstat(fd, &st) < 0 ? -errno : write_back(c, c->args[2], &st, sizeof(st));
	case SYS_statx:
		if (statx(fd, "", AT_EMPTY_PATH, (unsigned)c->args[3], &stx) < 0)
			return -errno;
		return write_back(c, c->args[4], &stx, sizeof(stx));
	default:
		return -EINVAL;
	}
}

int64_t call_descriptor(struct call *c, int fd)
{
	_cleanup_fd_ int own = -EBADF;
	int r;

	/* Changes are change.c's. */
	if (call_caged(c) || call_changes(c->nr))
		return CALL_CONTINUE;
	r = call_take_fd(c, fd, &own);
	return r < 0 ? r : on_duplicate(c, own);
}
