/*
 * backend_nfs.c - libnfs, for nfs-ganesha. TARGET is a URL of libnfs; its cache of directories is off. Empty where libnfs is
 * not installed (the Makefile says so to the compiler).
 */
#include "tests/bench/peers/workload.h"

#ifdef WITH_LIBNFS
#include <fcntl.h>
#include <nfsc/libnfs.h>
#include <string.h>

enum {
	READ_PART = MEGABYTE,
	/* libnfs 4.0.0 cannot encode larger ones for NFSv4. */
	WRITE_PART = 2048,
};

static struct nfs_context *nfs;
static struct nfsfh *held;

static int nfs_backend_open(const char *target)
{
	struct nfs_url *url;

	nfs = nfs_init_context();
	url = nfs ? nfs_parse_url_dir(nfs, target) : NULL;
	if (!url)
		return -EINVAL;
	nfs_set_dircache(nfs, 0);
	nfs_set_uid(nfs, (int)geteuid());
	nfs_set_gid(nfs, (int)getegid());
	return nfs_mount(nfs, url->server, url->path);
}

static int nfs_backend_stat(const char *path)
{
	struct nfs_stat_64 st;

	return nfs_stat64(nfs, path, &st);
}

static ssize_t read_all(struct nfsfh *fh, void *buf, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		int n = nfs_pread(nfs, fh, offset + done, MIN(size - done, (size_t)READ_PART),
				  (char *)buf + done);

		if (n < 0)
			return n;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static ssize_t write_all(struct nfsfh *fh, const void *data, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		int n = nfs_pwrite(nfs, fh, offset + done, MIN(size - done, (size_t)WRITE_PART),
				   (const char *)data + done);

		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int finish(struct nfsfh *fh, ssize_t n)
{
	int r = nfs_close(nfs, fh);

	return n < 0 ? (int)n : n == BLOCK ? r : -EIO;
}

static int nfs_backend_read_file(const char *path, void *buf)
{
	struct nfsfh *fh;
	int r = nfs_open(nfs, path, O_RDONLY, &fh);

	return r < 0 ? r : finish(fh, read_all(fh, buf, BLOCK, 0));
}

static int nfs_backend_write_file(const char *path, const void *data)
{
	struct nfsfh *fh;
	int r = nfs_open2(nfs, path, O_CREAT | O_EXCL | O_RDWR, 0644, &fh);

	return r < 0 ? r : finish(fh, write_all(fh, data, BLOCK, 0));
}

static int nfs_backend_unlink(const char *path)
{
	return nfs_unlink(nfs, path);
}

static ssize_t nfs_backend_list(const char *path)
{
	const struct nfsdirent *e;
	struct nfsdir *d;
	ssize_t n = 0;
	int r = nfs_opendir(nfs, path, &d);

	if (r < 0)
		return r;
	while ((e = nfs_readdir(nfs, d)))
		n += strcmp(e->name, ".") != 0 && strcmp(e->name, "..") != 0;
	nfs_closedir(nfs, d);
	return n;
}

static int nfs_backend_hold(const char *path)
{
	return nfs_open(nfs, path, O_RDWR, &held);
}

static ssize_t nfs_backend_pread(void *buf, size_t size, uint64_t offset)
{
	return read_all(held, buf, size, offset);
}

static ssize_t nfs_backend_pwrite(const void *data, size_t size, uint64_t offset)
{
	return write_all(held, data, size, offset);
}

static void nfs_backend_release(void)
{
	(void)nfs_close(nfs, TAKE_PTR(held));
}

const struct backend backend_nfs = {
	.name = "nfs",
	.open = nfs_backend_open,
	.stat = nfs_backend_stat,
	.read_file = nfs_backend_read_file,
	.write_file = nfs_backend_write_file,
	.unlink = nfs_backend_unlink,
	.list = nfs_backend_list,
	.hold = nfs_backend_hold,
	.pread = nfs_backend_pread,
	.pwrite = nfs_backend_pwrite,
	.release = nfs_backend_release,
};
#endif
