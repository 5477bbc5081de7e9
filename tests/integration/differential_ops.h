/*
 * differential_ops.h - one operation done in two ways: by plain system calls, and through libgofer;
 * and what is compared of the two: the errno, what was returned, the tree afterwards. For
 * differential.c and for the fuzzer that does the same with plans of its own.
 */
#pragma once

#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/xattr.h>

#include "tests/integration/proof.h"

enum { PATH_SIZE = 192, VALUE_SIZE = 256 };

enum kind {
	OP_STAT,
	OP_LSTAT,
	OP_ACCESS,
	OP_OPEN,
	OP_TMPFILE,
	OP_READDIR,
	OP_READLINK,
	OP_STATFS,
	OP_MKDIR,
	OP_MKNOD,
	OP_SYMLINK,
	OP_LINK,
	OP_UNLINK,
	OP_RMDIR,
	OP_RENAME,
	OP_CHMOD,
	OP_CHOWN,
	OP_LCHOWN,
	OP_UTIMENS,
	OP_TRUNCATE,
	OP_GETXATTR,
	OP_SETXATTR,
	OP_LISTXATTR,
	OP_REMOVEXATTR,
	OP_COUNT,
};

static const char *const kind_names[OP_COUNT] = {
	"stat",     "lstat",    "access",   "open",     "tmpfile",   "readdir",
	"readlink", "statfs",   "mkdir",    "mknod",    "symlink",   "link",
	"unlink",   "rmdir",    "rename",   "chmod",    "chown",     "lchown",
	"utimens",  "truncate", "getxattr", "setxattr", "listxattr", "removexattr",
};

/* One operation, in a form that both sides understand. */
struct op {
	enum kind kind;
	int flags;
	uint32_t mode, umask;
	uint32_t uid, gid;
	uint64_t size;
	char path[PATH_SIZE], other[PATH_SIZE];
	char name[64]; /* of the xattr */
	uint8_t value[VALUE_SIZE];
	size_t value_len;
};

/* What came of it. digest: of everything that the call returned and that must be equal. */
struct outcome {
	int error;
	uint64_t digest;
	uint32_t mode, uid, gid;
	int64_t size;
};

static inline uint64_t digest_bytes(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(1099511628211);
	return h;
}

/* ---- the two executors ---- */

static inline void keep_stat(struct outcome *o, const struct stat *st)
{
	o->mode = st->st_mode;
	o->uid = st->st_uid;
	o->gid = st->st_gid;
	o->size = S_ISDIR(st->st_mode) ? 0 : st->st_size;
	o->digest = st->st_nlink;
}

static inline void op_times(const struct op *op, struct timespec times[2])
{
	times[0] = (struct timespec){ (time_t)op->size, 1000 };
	times[1] = (struct timespec){ (time_t)op->size, op->mode & 1 ? UTIME_OMIT : 2000 };
	if (op->mode & 2)
		times[0].tv_nsec = UTIME_OMIT;
	if (op->mode & 4)
		times[1].tv_nsec = UTIME_NOW;
}

/* Names come in any order: their digests are added up. */
static inline uint64_t digest_name(const char *name)
{
	return digest_bytes(14695981039346656037u, name, strlen(name));
}

static inline int native_open(const struct op *op, struct outcome *o)
{
	int fd = open(op->path, op->flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, op->mode);
	char buf[64];
	struct stat st;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) == 0)
		keep_stat(o, &st);
	if (S_ISREG(st.st_mode)) {
		if ((op->flags & O_ACCMODE) != O_RDONLY)
			n = pwrite(fd, "data", 4, 2);
		if (n >= 0 && (op->flags & O_ACCMODE) != O_WRONLY)
			n = pread(fd, buf, sizeof(buf), 0);
	}
	close(fd);
	if (n > 0 && (op->flags & O_ACCMODE) != O_WRONLY)
		o->digest = digest_bytes(o->digest, buf, (size_t)n);
	return n < 0 ? -errno : 0;
}

static inline int native_readdir(const struct op *op, struct outcome *o)
{
	DIR *d = opendir(op->path);

	if (!d)
		return -errno;
	for (const struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			o->digest += digest_name(e->d_name);
	closedir(d);
	return 0;
}

static inline int result(long r)
{
	return r < 0 ? -errno : 0;
}

static inline int native_do(const struct op *op, struct outcome *o)
{
	struct timespec times[2];
	char buf[4096];
	struct stat st;
	struct statvfs sv;
	ssize_t n;

	umask(op->umask);
	switch (op->kind) {
	case OP_STAT:
	case OP_LSTAT:
		if (fstatat(AT_FDCWD, op->path, &st,
			    op->kind == OP_LSTAT ? AT_SYMLINK_NOFOLLOW : 0) < 0)
			return -errno;
		keep_stat(o, &st);
		return 0;
	case OP_ACCESS:
		return result(access(op->path, (int)op->mode));
	case OP_OPEN:
	case OP_TMPFILE:
		return native_open(op, o);
	case OP_READDIR:
		return native_readdir(op, o);
	case OP_READLINK:
		n = readlink(op->path, buf, sizeof(buf));
		if (n > 0)
			o->digest = digest_bytes(0, buf, (size_t)n);
		return result(n);
	case OP_STATFS:
		return result(statvfs(op->path, &sv));
	case OP_MKDIR:
		return result(mkdir(op->path, op->mode));
	case OP_MKNOD:
		return result(mknod(op->path, op->mode, 0));
	case OP_SYMLINK:
		return result(symlink(op->other, op->path));
	case OP_LINK:
		return result(linkat(AT_FDCWD, op->path, AT_FDCWD, op->other, op->flags));
	case OP_UNLINK:
		return result(unlink(op->path));
	case OP_RMDIR:
		return result(rmdir(op->path));
	case OP_RENAME:
		return result(
			renameat2(AT_FDCWD, op->path, AT_FDCWD, op->other, (unsigned)op->flags));
	case OP_CHMOD:
		return result(chmod(op->path, op->mode));
	case OP_CHOWN:
		return result(chown(op->path, op->uid, op->gid));
	case OP_LCHOWN:
		return result(lchown(op->path, op->uid, op->gid));
	case OP_UTIMENS:
		op_times(op, times);
		return result(utimensat(AT_FDCWD, op->path, op->flags ? NULL : times, 0));
	case OP_TRUNCATE:
		return result(truncate(op->path, (off_t)op->size));
	case OP_GETXATTR:
		n = getxattr(op->path, op->name, buf, sizeof(buf));
		if (n > 0)
			o->digest = digest_bytes(0, buf, (size_t)n);
		return result(n);
	case OP_SETXATTR:
		return result(setxattr(op->path, op->name, op->value, op->value_len, op->flags));
	case OP_LISTXATTR:
		n = listxattr(op->path, buf, sizeof(buf));
		if (n > 0)
			o->digest = digest_bytes(0, buf, (size_t)n);
		return result(n);
	case OP_REMOVEXATTR:
		return result(removexattr(op->path, op->name));
	case OP_COUNT:
		break;
	}
	return -ENOSYS;
}

static inline int gofer_open_and_use(struct gofer_namespace *ns, const struct op *op,
				     struct outcome *o)
{
	struct gofer_file *file;
	char buf[64];
	struct stat st;
	ssize_t n = 0;
	int r = gofer_open(ns, op->path, op->flags | O_NONBLOCK, op->mode, &file);

	if (r < 0)
		return r;
	r = gofer_fstat(file, &st);
	if (r == 0) {
		keep_stat(o, &st);
		if (S_ISREG(st.st_mode)) {
			if ((op->flags & O_ACCMODE) != O_RDONLY)
				n = gofer_pwrite(file, "data", 4, 2);
			if (n >= 0 && (op->flags & O_ACCMODE) != O_WRONLY)
				n = gofer_pread(file, buf, sizeof(buf), 0);
		}
	}
	(void)gofer_close(file);
	if (n > 0 && (op->flags & O_ACCMODE) != O_WRONLY)
		o->digest = digest_bytes(o->digest, buf, (size_t)n);
	return r < 0 ? r : n < 0 ? (int)n : 0;
}

static inline int gofer_list(struct gofer_namespace *ns, const struct op *op, struct outcome *o)
{
	struct gofer_dirent e;
	struct gofer_dir *d;
	int r = gofer_opendir(ns, op->path, 0, &d);

	if (r < 0)
		return r;
	while ((r = gofer_readdir(d, &e)) > 0)
		o->digest += digest_name(e.name);
	gofer_closedir(d);
	return r;
}

static inline int gofer_do(struct gofer_namespace *ns, const struct op *op, struct outcome *o)
{
	struct timespec times[2];
	char buf[4096];
	struct stat st;
	struct statfs sf;
	ssize_t n;
	int r;

	gofer_umask(ns, op->umask);
	switch (op->kind) {
	case OP_STAT:
	case OP_LSTAT:
		r = gofer_stat(ns, op->path, op->kind == OP_LSTAT ? AT_SYMLINK_NOFOLLOW : 0, &st);
		if (r == 0)
			keep_stat(o, &st);
		return r;
	case OP_ACCESS:
		return gofer_access(ns, op->path, (int)op->mode, 0);
	case OP_OPEN:
	case OP_TMPFILE:
		return gofer_open_and_use(ns, op, o);
	case OP_READDIR:
		return gofer_list(ns, op, o);
	case OP_READLINK:
		n = gofer_readlink(ns, op->path, buf, sizeof(buf));
		if (n > 0)
			o->digest = digest_bytes(0, buf, (size_t)n);
		return n < 0 ? (int)n : 0;
	case OP_STATFS:
		return gofer_statfs(ns, op->path, &sf);
	case OP_MKDIR:
		return gofer_mkdir(ns, op->path, op->mode);
	case OP_MKNOD:
		return gofer_mknod(ns, op->path, op->mode, 0);
	case OP_SYMLINK:
		return gofer_symlink(ns, op->other, op->path);
	case OP_LINK:
		return gofer_link(ns, op->path, op->other, op->flags);
	case OP_UNLINK:
		return gofer_unlink(ns, op->path);
	case OP_RMDIR:
		return gofer_rmdir(ns, op->path);
	case OP_RENAME:
		return gofer_rename(ns, op->path, op->other, (unsigned)op->flags);
	case OP_CHMOD:
		return gofer_chmod(ns, op->path, op->mode);
	case OP_CHOWN:
		return gofer_chown(ns, op->path, op->uid, op->gid, 0);
	case OP_LCHOWN:
		return gofer_chown(ns, op->path, op->uid, op->gid, AT_SYMLINK_NOFOLLOW);
	case OP_UTIMENS:
		op_times(op, times);
		return gofer_utimens(ns, op->path, op->flags ? NULL : times, 0);
	case OP_TRUNCATE:
		return gofer_truncate(ns, op->path, op->size);
	case OP_GETXATTR:
		n = gofer_getxattr(ns, op->path, op->name, buf, sizeof(buf), 0);
		if (n > 0)
			o->digest = digest_bytes(0, buf, (size_t)n);
		return n < 0 ? (int)n : 0;
	case OP_SETXATTR:
		return gofer_setxattr(ns, op->path, op->name, op->value, op->value_len, op->flags,
				      0);
	case OP_LISTXATTR:
		n = gofer_listxattr(ns, op->path, buf, sizeof(buf), 0);
		if (n > 0)
			o->digest = digest_bytes(0, buf, (size_t)n);
		return n < 0 ? (int)n : 0;
	case OP_REMOVEXATTR:
		return gofer_removexattr(ns, op->path, op->name, 0);
	case OP_COUNT:
		break;
	}
	return -ENOSYS;
}

/* ---- comparing ---- */

static inline void dump_xattrs(FILE *out, const char *path)
{
	char names[1024], value[1024];
	ssize_t n = llistxattr(path, names, sizeof(names));

	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t len = lgetxattr(path, names + at, value, sizeof(value));

		fprintf(out, " %s=%zd:%lx", names + at, len,
			digest_bytes(0, value, (size_t)MAX(len, 0)));
	}
}

/* All that is no zero, and where: a hole and a page of zeros are the same content. */
static inline uint64_t digest_content(int fd)
{
	uint64_t h = 0;
	char buf[8192];
	ssize_t n;

	for (off_t at = lseek(fd, 0, SEEK_DATA); at >= 0; at = lseek(fd, at + n, SEEK_DATA)) {
		n = pread(fd, buf, sizeof(buf), at);
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			if (buf[i])
				h = (h ^ (uint64_t)(at + i) << 8 ^ (uint8_t)buf[i]) *
				    UINT64_C(1099511628211);
	}
	return h;
}

static inline void dump_tree(FILE *out, const char *root, const char *below_root)
{
	char path[PATH_MAX], text[256] = "";
	struct dirent **list = NULL;
	struct stat st;
	int n;

	snprintf(path, sizeof(path), "%s/%s", root, below_root);
	if (lstat(path, &st) < 0) { /* not root, and not to be searched */
		fprintf(out, "%s: %s\n", below_root, strerror(errno));
		return;
	}
	fprintf(out, "%s %o %u:%u", *below_root ? below_root : ".", st.st_mode, st.st_uid,
		st.st_gid);
	if (!S_ISDIR(st.st_mode))
		fprintf(out, " n%lu %ld", (unsigned long)st.st_nlink, (long)st.st_size);
	if (S_ISLNK(st.st_mode) && readlink(path, text, sizeof(text) - 1) > 0)
		fprintf(out, " -> %s", text);
	if (S_ISREG(st.st_mode)) {
		int fd = open(path, O_RDONLY | O_NOFOLLOW);

		fprintf(out, " %lx", fd < 0 ? 0 : digest_content(fd));
		fd_close(fd);
	}
	if (!S_ISLNK(st.st_mode))
		dump_xattrs(out, path);
	fprintf(out, "\n");
	if (!S_ISDIR(st.st_mode))
		return;
	n = scandir(path, &list, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		char child[PATH_MAX];

		if (strcmp(list[i]->d_name, ".") && strcmp(list[i]->d_name, "..")) {
			snprintf(child, sizeof(child), "%.3000s%s%s", below_root,
				 *below_root ? "/" : "", list[i]->d_name);
			dump_tree(out, root, child);
		}
		free(list[i]);
	}
	free(list);
}

static inline bool outcome_equal(const struct outcome *a, const struct outcome *b)
{
	return a->error == b->error &&
	       (a->error != 0 || (a->digest == b->digest && a->mode == b->mode &&
				  a->uid == b->uid && a->gid == b->gid && a->size == b->size));
}

/*
 * The one place where the kernel is not followed: what can never be opened is refused by its type,
 * before anybody asks for permission. A socket is ENXIO where the kernel may say EACCES first, or
 * with O_NOATIME EPERM; and
 * for open(O_CREAT) of somebody else's socket or (with O_NOFOLLOW) link in a sticky directory,
 * may_create_in_sticky() says EACCES where it is ENXIO or ELOOP in any other directory.
 */
static inline bool known_difference(const struct op *op, const struct outcome *mine,
				    const struct outcome *kernels)
{
	if (op->kind == OP_OPEN && kernels->error == EPERM && (op->flags & O_NOATIME))
		return mine->error == ENXIO;
	return op->kind == OP_OPEN && kernels->error == EACCES &&
	       (mine->error == ENXIO ||
		(mine->error == ELOOP && (op->flags & O_CREAT) && (op->flags & O_NOFOLLOW)));
}

static inline void outcome_print(const char *who, const struct outcome *o)
{
	printf("    %-7s %s", who, o->error ? strerror(o->error) : "ok");
	if (!o->error)
		printf(" (mode %o, %u:%u, size %ld, digest %lx)", o->mode, o->uid, o->gid,
		       (long)o->size, o->digest);
	printf("\n");
}
