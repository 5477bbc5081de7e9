/*
 * backend_gofer.c - libgofer. TARGET is SERVER,VOLUME,INTEROP[,no-donate] with the words of `gofer --interop`.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "client/gofer.h"
#include "tests/bench/peers/workload.h"

static struct gofer_session *session;
static struct gofer_namespace *ns;
static struct gofer_file *held;

static int gofer_backend_open(const char *target)
{
	_cleanup_free_ char *text = strdup(target);
	struct gofer_mount_options options = { 0 };
	struct gofer_filesystem fs;
	char *rest = text, *server = strsep(&rest, ","), *volume = strsep(&rest, ","),
	     *interop = strsep(&rest, ",");
	int r;

	if (!interop)
		return -EINVAL;
	options.watch = strcmp(interop, "watched") == 0;
	if (strcmp(interop, "writethrough") == 0)
		options.interop = GOFER_INTEROP_WRITETHROUGH;
	options.no_donate = rest && strcmp(rest, "no-donate") == 0;
	r = gofer_session_open(server, NULL, &session);
	if (r == 0)
		r = gofer_session_find_filesystem(session, volume, &fs);
	if (r == 0)
		r = gofer_namespace_new(&ns);
	return r == 0 ? gofer_mount(ns, session, fs.fs_id, "/", &options) : r;
}

static int gofer_backend_stat(const char *path)
{
	struct stat st;

	return gofer_stat(ns, path, 0, &st);
}

static int gofer_backend_read_file(const char *path, void *buf)
{
	size_t size;
	void *data;
	int r = gofer_read_file(ns, path, &data, &size, NULL);

	if (r < 0)
		return r;
	/* The others' contents end up there too. */
	memcpy(buf, data, MIN(size, (size_t)BLOCK));
	free(data);
	return size == BLOCK ? 0 : -EIO;
}

static int gofer_backend_write_file(const char *path, const void *data)
{
	return gofer_write_file(ns, path, data, BLOCK, 0644, GOFER_WRITE_EXCLUSIVE);
}

static int gofer_backend_unlink(const char *path)
{
	return gofer_unlink(ns, path);
}

static ssize_t gofer_backend_list(const char *path)
{
	struct gofer_dirent e;
	struct gofer_dir *d;
	ssize_t n = 0;
	int r = gofer_opendir(ns, path, 0, &d);

	if (r < 0)
		return r;
	while ((r = gofer_readdir(d, &e)) > 0)
		n += e.has_stat;
	gofer_closedir(d);
	return r < 0 ? r : n;
}

static int gofer_backend_hold(const char *path)
{
	return gofer_open(ns, path, O_RDWR, 0, &held);
}

static ssize_t gofer_backend_pread(void *buf, size_t size, uint64_t offset)
{
	return gofer_pread(held, buf, size, offset);
}

static ssize_t gofer_backend_pwrite(const void *data, size_t size, uint64_t offset)
{
	return gofer_pwrite(held, data, size, offset);
}

static void gofer_backend_release(void)
{
	(void)gofer_close(TAKE_PTR(held));
}

const struct backend backend_gofer = {
	.name = "gofer",
	.open = gofer_backend_open,
	.stat = gofer_backend_stat,
	.read_file = gofer_backend_read_file,
	.write_file = gofer_backend_write_file,
	.unlink = gofer_backend_unlink,
	.list = gofer_backend_list,
	.hold = gofer_backend_hold,
	.pread = gofer_backend_pread,
	.pwrite = gofer_backend_pwrite,
	.release = gofer_backend_release,
};
