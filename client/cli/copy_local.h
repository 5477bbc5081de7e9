/*
 * copy_local.h - gofer get's local side: a tree of directories that the server's names cannot
 * leave.
 *
 * Every directory is a node that knows its parent and its name, and is opened from its parent's
 * descriptor with O_NOFOLLOW; names were validated before they come here. So no path that the
 * server chose is ever resolved, a symbolic link that was just made (or that stood there) is never
 * walked through, and the depth of a tree is not bounded by PATH_MAX. Only so many descriptors are
 * open at a time: a node that was closed is opened again and must be the same directory as before.
 */
#pragma once

#include "client/cli/copy.h"

struct local_dir {
	struct local_dir *parent; /* NULL: the top, whose descriptor the user named */
	char *name;
	int fd;
	dev_t dev; /* of what was opened first */
	ino_t ino;
	struct local_dir *newer, *older; /* those that are open, by last use */
	unsigned refs;
};

struct local_tree {
	struct local_dir *newest, *oldest;
	unsigned n_open;
	bool inherits_acl; /* the top has a default ACL, which new objects must not keep */
};

/* Takes fd. */
struct local_dir *local_top(int fd);
struct local_dir *local_child(struct local_dir *parent, const char *name);
void local_unref(struct local_tree *t, struct local_dir *d);
/* The directory's descriptor, borrowed until the next call here, or -errno. */
int local_fd(struct local_tree *t, struct local_dir *d);
/* Makes the directory (0700) unless there is one. */
int local_mkdir(struct local_tree *t, struct local_dir *d);

/* Owner, extended attributes, mode and times through the descriptor of a regular file or directory.
 * On failure *ret_attribute is the extended attribute that could not be set (borrowed), or NULL. */
int local_set_attributes(struct local_tree *t, int fd, const struct stat *st,
			 const struct copy_xattr *xattrs, const char **ret_attribute);
/* rename(2) from a temporary name; removes the temporary one on failure. */
int local_rename(int dirfd, const char *temp, const char *name);
/* A symbolic link or FIFO at `name`, in place of whatever but a directory was there, with owner and
 * times. */
int local_make_special(int dirfd, const char *name, const struct stat *st, const char *target);
int local_link(int from_dirfd, const char *from, int dirfd, const char *name);
