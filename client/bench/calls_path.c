/*
 * calls_path.c - calls by path: looking, opening, changing names and attributes, connecting.
 */
#include "client/bench/calls.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

static const char attribute[] = "user.bench", attribute_value[] = "0123456789abcdef";
static int here = -EBADF; /* the working directory that the process came with */

/* ---- looking ---- */

static int stat_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	struct stat st;

	return gofer_stat(b->plain, s->file, 0, &st);
}

static int stat_native(struct bench *b, struct spot *s, unsigned i _unused_)
{
	struct stat st;

	return native_result(fstatat(b->native, s->file, &st, 0));
}

static int absent_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	struct stat st;
	int r = gofer_stat(b->plain, s->absent, 0, &st);

	return r == -ENOENT ? 0 : r < 0 ? r : -EEXIST;
}

static int absent_native(struct bench *b, struct spot *s, unsigned i _unused_)
{
	struct stat st;

	return fstatat(b->native, s->absent, &st, 0) == 0 ? -EEXIST : errno == ENOENT ? 0 : -errno;
}

static int link_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	struct stat st;

	return gofer_stat(b->plain, s->link, 0, &st);
}

static int link_native(struct bench *b, struct spot *s, unsigned i _unused_)
{
	struct stat st;

	return native_result(fstatat(b->native, s->link, &st, 0));
}

static int access_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	return gofer_access(b->plain, s->file, R_OK, AT_EACCESS);
}

static int access_native(struct bench *b, struct spot *s, unsigned i _unused_)
{
	return native_result(faccessat(b->native, s->file, R_OK, AT_EACCESS));
}

static int read_link_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	char target[64];

	return whole(gofer_readlink(b->plain, s->link, target, sizeof(target)), 1);
}

static int read_link_native(struct bench *b, struct spot *s, unsigned i _unused_)
{
	char target[64];

	return native_whole(readlinkat(b->native, s->link, target, sizeof(target)), 1);
}

static int stat_fs_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	struct statfs st;

	return gofer_statfs(b->plain, s->file, &st);
}

static int stat_fs_native(struct bench *b, struct spot *s, unsigned i _unused_)
{
	_cleanup_fd_ int fd = openat(b->native, s->file, O_PATH | O_CLOEXEC);
	struct statfs st;

	return native_result(fd < 0 ? -1 : fstatfs(fd, &st));
}

static int read_dir_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	struct gofer_dirent e;
	struct gofer_dir *d;
	int r = gofer_opendir(b->plain, s->list, 0, &d);

	if (r < 0)
		return r;
	while ((r = gofer_readdir(d, &e)) > 0)
		continue;
	gofer_closedir(d);
	return r;
}

static int read_dir_native(struct bench *b, struct spot *s, unsigned i _unused_)
{
	int fd = openat(b->native, s->list, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct stat st;

	if (!d)
		return -errno;
	for (const struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			(void)fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW);
	closedir(d);
	return 0;
}

/* ---- opening, whole files ---- */

static int open_close(struct gofer_namespace *ns, const struct spot *s)
{
	struct gofer_file *file;
	int r = gofer_open(ns, s->file, O_RDONLY, 0, &file);

	return r < 0 ? r : gofer_close(file);
}

static int open_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	return open_close(b->plain, s);
}

static int open_donated(struct bench *b, struct spot *s, unsigned i _unused_)
{
	return open_close(b->donated, s);
}

static int open_native(struct bench *b, struct spot *s, unsigned i _unused_)
{
	int fd = openat(b->native, s->file, O_RDONLY | O_CLOEXEC);

	return native_result(fd < 0 ? -1 : close(fd));
}

static int read_file_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	size_t size;
	void *data;
	int r = gofer_read_file(b->plain, s->file, &data, &size, NULL);

	if (r < 0)
		return r;
	free(data);
	return size == BENCH_BLOCK ? 0 : -EIO;
}

static int read_file_native(struct bench *b, struct spot *s, unsigned i _unused_)
{
	_cleanup_fd_ int fd = openat(b->native, s->file, O_RDONLY | O_CLOEXEC);
	char data[BENCH_BLOCK];

	return fd < 0 ? -errno : native_whole(read(fd, data, sizeof(data)), sizeof(data));
}

static int write_file_gofer(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_write_file(b->plain, s->fresh[i], b->block, BENCH_BLOCK, 0644, 0);
}

static int write_file_native(struct bench *b, struct spot *s, unsigned i)
{
	_cleanup_fd_ int fd =
		openat(b->native, s->fresh[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	return fd < 0 ? -errno : native_whole(write(fd, b->block, BENCH_BLOCK), BENCH_BLOCK);
}

/* ---- changing names ---- */

static int make_fresh(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_mknod(b->plain, s->fresh[i], S_IFREG | 0644, 0);
}

static int unlink_fresh(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_unlink(b->plain, s->fresh[i]);
}

static int unlink_moved(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_unlink(b->plain, s->moved[i]);
}

static int rmdir_fresh(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_rmdir(b->plain, s->fresh[i]);
}

static int mkdir_gofer(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_mkdir(b->plain, s->fresh[i], 0755);
}

static int mkdir_native(struct bench *b, struct spot *s, unsigned i)
{
	return native_result(mkdirat(b->native, s->fresh[i], 0755));
}

static int mknod_native(struct bench *b, struct spot *s, unsigned i)
{
	return native_result(mknodat(b->native, s->fresh[i], S_IFREG | 0644, 0));
}

static int symlink_gofer(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_symlink(b->plain, "f", s->fresh[i]);
}

static int symlink_native(struct bench *b, struct spot *s, unsigned i)
{
	return native_result(symlinkat("f", b->native, s->fresh[i]));
}

static int hard_link_gofer(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_link(b->plain, s->file, s->fresh[i], 0);
}

static int hard_link_native(struct bench *b, struct spot *s, unsigned i)
{
	return native_result(linkat(b->native, s->file, b->native, s->fresh[i], 0));
}

static int unlink_native(struct bench *b, struct spot *s, unsigned i)
{
	return native_result(unlinkat(b->native, s->fresh[i], 0));
}

static int rename_gofer(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_rename(b->plain, s->fresh[i], s->moved[i], 0);
}

static int rename_native(struct bench *b, struct spot *s, unsigned i)
{
	return native_result(renameat(b->native, s->fresh[i], b->native, s->moved[i]));
}

/* ---- changing attributes ---- */

static int chmod_gofer(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_chmod(b->plain, s->file, i % 2 ? 0644 : 0640);
}

static int chmod_native(struct bench *b, struct spot *s, unsigned i)
{
	return native_result(fchmodat(b->native, s->file, i % 2 ? 0644 : 0640, 0));
}

/* The calls on extended attributes take no directory: it is where the process stands meanwhile. */
static int stand_in_tree(struct bench *b, struct spot *s _unused_, unsigned i _unused_)
{
	return b->native >= 0 ? native_result(fchdir(b->native)) : 0;
}

static int stand_with_xattr(struct bench *b, struct spot *s, unsigned i)
{
	int r = stand_in_tree(b, s, i);

	return r < 0 ? r
		     : gofer_setxattr(b->plain, s->file, attribute, attribute_value,
				      sizeof(attribute_value), 0, 0);
}

static int stand_back(struct bench *b _unused_, struct spot *s _unused_, unsigned i _unused_)
{
	return native_result(fchdir(here));
}

static int get_xattr_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	char value[64];

	return whole(gofer_getxattr(b->plain, s->file, attribute, value, sizeof(value), 0),
		     sizeof(attribute_value));
}

static int get_xattr_native(struct bench *b _unused_, struct spot *s, unsigned i _unused_)
{
	char value[64];

	return native_whole(getxattr(s->file, attribute, value, sizeof(value)),
			    sizeof(attribute_value));
}

static int set_xattr_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	return gofer_setxattr(b->plain, s->file, attribute, attribute_value,
			      sizeof(attribute_value), 0, 0);
}

static int set_xattr_native(struct bench *b _unused_, struct spot *s, unsigned i _unused_)
{
	return native_result(
		setxattr(s->file, attribute, attribute_value, sizeof(attribute_value), 0));
}

static int list_xattr_gofer(struct bench *b, struct spot *s, unsigned i _unused_)
{
	char list[1024];
	ssize_t n = gofer_listxattr(b->plain, s->file, list, sizeof(list), 0);

	return (int)MIN(n, 0);
}

static int list_xattr_native(struct bench *b _unused_, struct spot *s, unsigned i _unused_)
{
	char list[1024];

	return native_result((int)MIN(listxattr(s->file, list, sizeof(list)), 1));
}

/* Each call of a batch needs an attribute of its own to remove. */
static void numbered(char buf[static 32], unsigned i)
{
	snprintf(buf, 32, "user.bench%u", i);
}

static int prepare_removal(struct bench *b, struct spot *s, unsigned i)
{
	int r = stand_in_tree(b, s, i);
	char name[32];

	numbered(name, i);
	return r < 0 ? r : gofer_setxattr(b->plain, s->file, name, "x", 1, 0, 0);
}

static int remove_xattr_gofer(struct bench *b, struct spot *s, unsigned i)
{
	char name[32];

	numbered(name, i);
	return gofer_removexattr(b->plain, s->file, name, 0);
}

static int remove_xattr_native(struct bench *b _unused_, struct spot *s, unsigned i)
{
	char name[32];

	numbered(name, i);
	return native_result(removexattr(s->file, name));
}

/* ---- sockets ---- */

static int open_socket(struct bench *b _unused_, struct spot *s, unsigned i)
{
	int fd;

	/* There is none where the tree is not ours natively: nothing listens. */
	if (s->sock < 0)
		return -EOPNOTSUPP;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	call_descriptors[i] = fd;
	return native_result(fd);
}

static int close_socket(struct bench *b _unused_, struct spot *s _unused_, unsigned i)
{
	return native_result(close(call_descriptors[i]));
}

static int connect_gofer(struct bench *b, struct spot *s, unsigned i)
{
	return gofer_connect(b->plain, s->socket, call_descriptors[i]);
}

static int connect_native(struct bench *b _unused_, struct spot *s, unsigned i)
{
	return native_result(
		connect(call_descriptors[i], (struct sockaddr *)&s->address, sizeof(s->address)));
}
static int watch(struct bench *b, struct spot *s, unsigned i _unused_)
{
	Gofer__WatchRequest q = GOFER__WATCH_REQUEST__INIT;
	char buf[PATH_MAX];
	Gofer__Path p;

	raw_path(b, s->file, &p, buf);
	q.path = &p;
	return raw_call(b, RPC_TYPE_Watch, &q.base, NULL);
}
static const struct bench_call calls[] = {
	{ "Stat", NULL, TOY_STAT, NULL, stat_gofer, stat_native, NULL },
	{ "Stat", "absent", TOY_NONE, NULL, absent_gofer, absent_native, NULL },
	{ "Stat", "link", TOY_NONE, NULL, link_gofer, link_native, NULL },
	{ "Access", NULL, TOY_NONE, NULL, access_gofer, access_native, NULL },
	{ "Open", NULL, TOY_NONE, NULL, open_gofer, open_native, NULL },
	{ "Open", "donated", TOY_NONE, NULL, open_donated, open_native, NULL },
	{ "ReadFile", NULL, TOY_READ, NULL, read_file_gofer, read_file_native, NULL },
	{ "WriteFile", NULL, TOY_NONE, NULL, write_file_gofer, write_file_native, unlink_fresh },
	{ "ReadDir", NULL, TOY_NONE, NULL, read_dir_gofer, read_dir_native, NULL },
	{ "ReadLink", NULL, TOY_NONE, NULL, read_link_gofer, read_link_native, NULL },
	{ "Mkdir", NULL, TOY_NONE, NULL, mkdir_gofer, mkdir_native, rmdir_fresh },
	{ "Mknod", NULL, TOY_NONE, NULL, make_fresh, mknod_native, unlink_fresh },
	{ "Symlink", NULL, TOY_NONE, NULL, symlink_gofer, symlink_native, unlink_fresh },
	{ "Link", NULL, TOY_NONE, NULL, hard_link_gofer, hard_link_native, unlink_fresh },
	{ "Unlink", NULL, TOY_NONE, make_fresh, unlink_fresh, unlink_native, NULL },
	{ "Rename", NULL, TOY_NONE, make_fresh, rename_gofer, rename_native, unlink_moved },
	{ "SetAttr", NULL, TOY_NONE, NULL, chmod_gofer, chmod_native, NULL },
	{ "GetXattr", NULL, TOY_NONE, stand_with_xattr, get_xattr_gofer, get_xattr_native,
	  stand_back },
	{ "SetXattr", NULL, TOY_NONE, stand_in_tree, set_xattr_gofer, set_xattr_native,
	  stand_back },
	{ "ListXattr", NULL, TOY_NONE, stand_with_xattr, list_xattr_gofer, list_xattr_native,
	  stand_back },
	{ "RemoveXattr", NULL, TOY_NONE, prepare_removal, remove_xattr_gofer, remove_xattr_native,
	  stand_back },
	{ "StatFs", NULL, TOY_NONE, NULL, stat_fs_gofer, stat_fs_native, NULL },
	{ "Connect", NULL, TOY_NONE, open_socket, connect_gofer, connect_native, close_socket },
	{ "Watch", NULL, TOY_NONE, NULL, watch, NULL, NULL },
};
const struct bench_calls calls_path = { true, calls, ARRAY_SIZE(calls) };

int calls_path_begin(struct bench *b _unused_)
{
	here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return native_result(here);
}

void calls_path_end(struct bench *b _unused_)
{
	here = fd_close(here);
}
