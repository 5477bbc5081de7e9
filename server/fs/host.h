/*
 * host.h - private to the host backend (host.c, host_open.c, host_object.c) and to those that lean
 * on it: operations on a node that is a descriptor.
 */
#pragma once

#include <stdio.h>

#include "server/fs/fs.h"

/* The name of a descriptor in the process's fd directory: "N". */
struct fd_name {
	char text[12];
};
static inline struct fd_name fd_name(int fd)
{
	struct fd_name n;

	(void)snprintf(n.text, sizeof(n.text), "%d", fd);
	return n;
}

static inline int fs_writable(const struct fs *fs)
{
	return fs->flags & FS_READ_ONLY ? -EROFS : 0;
}

/*
 * openat2(2) with `resolve`, or openat(2) for FS_NO_OPENAT2, where `path` must be a name that needs
 * no RESOLVE flags: one validated component, ".", "..", or a fd_name. Returns a descriptor or
 * -errno.
 */
int host_openat(const struct fs *fs, int dirfd, const char *path, int flags, mode_t mode,
		uint64_t resolve);
/* The RESOLVE flags of every name that came from a client. */
uint64_t host_resolve_flags(const struct fs *fs);
/* -EXDEV where fd lies on another mount than the root and the volume does not let it be entered;
 * for FS_NO_OPENAT2. */
int host_check_mount(const struct fs *fs, int fd);

int host_stat_path(struct fs *fs, const struct fs_node *base, const char *path,
		   Gofer__Attr *ret_attr);

int host_open(struct fs *fs, const struct fs_node *node, int flags, struct fs_node *ret_file);
int host_open_path(struct fs *fs, const struct fs_node *base, const char *path, int flags,
		   struct fs_node *ret_file, Gofer__Attr *ret_attr);
int host_create_path(struct fs *fs, const struct fs_node *base, const char *path, int flags,
		     mode_t mode, struct fs_node *ret_file);
int host_create(struct fs *fs, const struct fs_node *dir, const char *name, int flags, mode_t mode,
		struct fs_node *ret_file);
int host_tmpfile(struct fs *fs, const struct fs_node *dir, int flags, mode_t mode,
		 struct fs_node *ret_file);

int host_getattr(struct fs *fs, const struct fs_node *node, Gofer__Attr *ret_attr);
ssize_t host_readlink(struct fs *fs, const struct fs_node *node, char *buf, size_t size);
int host_access(struct fs *fs, const struct fs_node *node, int mode);
int host_setattr(struct fs *fs, const struct fs_node *node, const Gofer__SetAttrRequest *set);
ssize_t host_getxattr(struct fs *fs, const struct fs_node *node, const char *name, void *value,
		      size_t size);
int host_setxattr(struct fs *fs, const struct fs_node *node, const char *name, const void *value,
		  size_t size, int flags);
ssize_t host_listxattr(struct fs *fs, const struct fs_node *node, char *list, size_t size);
int host_removexattr(struct fs *fs, const struct fs_node *node, const char *name);
int host_statfs(struct fs *fs, const struct fs_node *node, Gofer__StatFsReply *ret);
int host_connect(struct fs *fs, const struct fs_node *node, int sock);

int host_child(struct fs *fs, const struct fs_node *dir, const char *name, bool want_dir,
	       struct fs_node *ret_node);
int host_mkdir(struct fs *fs, const struct fs_node *dir, const char *name, mode_t mode);
int host_mknod(struct fs *fs, const struct fs_node *dir, const char *name, mode_t mode, dev_t rdev);
int host_symlink(struct fs *fs, const char *target, const struct fs_node *dir, const char *name);
int host_link(struct fs *fs, const struct fs_node *node, const struct fs_node *dir,
	      const char *name);
int host_unlink(struct fs *fs, const struct fs_node *dir, const char *name, bool directory);
int host_rename(struct fs *fs, const struct fs_node *from, const char *name,
		const struct fs_node *to, const char *new_name, unsigned flags);
