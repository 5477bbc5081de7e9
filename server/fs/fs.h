/*
 * fs.h - one served filesystem: the table of operations that every kind (backend) implements.
 *
 * Mental model. A *node* is one place in the tree, found without trusting anything that a client
 * said about it. Traversal (walk.h) is written once, above this table, out of child() and, where a
 * backend has one, the fast path resolve(). Operations then take a node, or a directory's node and
 * one validated name: never a path. A backend differs from another only in what a node is:
 *
 *     host      a descriptor (O_PATH or opened): nothing can be exchanged under it
 *     pathwalk  a path from the root, checked again component by component at every use:
 *               quadratic, and racy by nature
 *
 * All operations run under the calling thread's current identity (server/identity.h): the kernel
 * decides about permission. All are thread-safe on one fs; a node belongs to one thread at a time,
 * or is only read (handles). Results: 0 or -errno; FS_SYMLINK where a name turned out to be a
 * symbolic link that the operation must not follow.
 */
#pragma once

#include <sys/types.h>

#include "gofer.pb-c.h"
#include "common/util.h"

struct fs;

enum {
	FS_SYMLINK = 1, /* positive result: the last name is a symbolic link; nothing was changed */
	FS_SLOW = 2,    /* positive result of resolve(): take the inode-walk */
};

/* Flags of a filesystem, fixed at start. */
enum fs_flags {
	FS_READ_ONLY = 1 << 0,
	FS_XDEV = 1 << 1,       /* mounts inside may be entered */
	FS_SPECIAL = 1 << 2,    /* FIFOs and sockets may be opened and connected to */
	FS_NO_OPENAT2 = 1 << 3, /* never use openat2: the inode-walk for everything */
	FS_DETACHED = 1 << 4, /* root_fd is a detached mount of its own: the kernel holds ".." below
				 the root */
	FS_NODEV = 1 << 5,    /* mounted nodev: no open can reach a device driver */
};

/* fd: -EBADF or owned. path: NULL or owned (malloc), relative to the root, "" = the root, no
 * leading "/". */
struct fs_node {
	int fd;
	char *path;
};

#define FS_NODE_NULL ((struct fs_node){ .fd = -EBADF })

void fs_node_deinit(struct fs_node *node); /* usable as cleanup; leaves FS_NODE_NULL */
/* A second node for the same place; the descriptor is duplicated (same open file description). */
int fs_node_dup(const struct fs_node *node, struct fs_node *ret_node);
#define _cleanup_node_ _cleanup_(fs_node_deinit)
#define TAKE_NODE(n)                     \
	({                               \
		struct fs_node _n = (n); \
		(n) = FS_NODE_NULL;      \
		_n;                      \
	})

struct fs_dirent {
	const char *name; /* borrowed until the next call on the cursor */
	size_t name_len;
	uint64_t ino;
	uint64_t cookie; /* of the kernel's d_off kind: resume after this entry; never 0 */
	uint32_t type;   /* DT_* */
};

struct fs_ops {
	const char *name;

	/* ---- places ---- */
	int (*root)(struct fs *fs, struct fs_node *ret_node);
	/*
	 * Fast path: the whole of `path` (relative, NUL-terminated, non-empty, no "..", no trailing
	 * "/") below `base`, the last component not followed. FS_SLOW wherever the fast way cannot
	 * tell (a symbolic link on the way, an old kernel). May be NULL.
	 */
	int (*resolve)(struct fs *fs, const struct fs_node *base, const char *path,
		       struct fs_node *ret_node);
	/*
	 * Fast path of opening what exists: resolve(), open() and getattr() in one. `path` as for
	 * resolve(), `flags` and policy as for open(), never O_PATH. FS_SLOW wherever the fast way
	 * cannot tell, or the slow one would say it better. May be NULL. Without ret_attr the file may be anything but a
	 * device, against the policy: for who does nothing but pread(2), which refuses what is no regular file.
	 */
	int (*open_path)(struct fs *fs, const struct fs_node *base, const char *path, int flags,
			 struct fs_node *ret_file, Gofer__Attr *ret_attr);
	/*
	 * Fast path of looking: resolve() and getattr() in one. `path` as for resolve(). FS_SLOW wherever the fast way
	 * cannot tell. May be NULL.
	 */
	int (*stat_path)(struct fs *fs, const struct fs_node *base, const char *path,
			 Gofer__Attr *ret_attr);
	/*
	 * Fast path of creating: resolve() of the directory and create() in one. `path` as for resolve(), `flags` and policy as
	 * for create(). FS_SLOW wherever the fast way cannot tell, or the slow one would say it better. May be NULL.
	 */
	int (*create_path)(struct fs *fs, const struct fs_node *base, const char *path, int flags,
			   mode_t mode, struct fs_node *ret_file);
	/* One component, never "..", not followed. With want_dir: FS_SYMLINK, or -ENOTDIR for what
	 * is no directory. */
	int (*child)(struct fs *fs, const struct fs_node *dir, const char *name, bool want_dir,
		     struct fs_node *ret_node);
	/*
	 * ".." of a base handle: its parent now. -EXDEV where `dir` is the root, -ESTALE where it
	 * was moved out of the tree.
	 */
	int (*parent)(struct fs *fs, const struct fs_node *dir, struct fs_node *ret_node);
	/* Whether a base handle is still inside the tree: 0 or -ESTALE (-EACCES where it cannot be
	 * searched). */
	int (*verify)(struct fs *fs, const struct fs_node *dir);

	/* ---- one object ---- */
	int (*getattr)(struct fs *fs, const struct fs_node *node, Gofer__Attr *ret_attr);
	/* NUL-terminates; size is at least PATH_MAX. Returns the length or -errno (-EINVAL: not a
	 * link). */
	ssize_t (*readlink)(struct fs *fs, const struct fs_node *node, char *buf, size_t size);
	int (*access)(struct fs *fs, const struct fs_node *node, int mode);
	/*
	 * Opens what `node` names, afresh. `flags` are the host's: access mode, O_TRUNC, O_APPEND,
	 * O_DIRECTORY, O_SYNC, O_DSYNC, O_NOATIME, O_PATH. O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK and
	 * O_NOCTTY are always added. Regular files and directories only
	 * (-EPERM for FIFOs unless FS_SPECIAL, -ENXIO for sockets, -EPERM for devices), -ELOOP for
	 * a link unless O_PATH. O_NONBLOCK is cleared again on regular files, unless it is asked for: by those who
	 * give the file to nobody.
	 */
	int (*open)(struct fs *fs, const struct fs_node *node, int flags, struct fs_node *ret_file);
	/* SetAttrRequest by its mask, in the order size, owner, mode, times. */
	int (*setattr)(struct fs *fs, const struct fs_node *node, const Gofer__SetAttrRequest *set);
	ssize_t (*getxattr)(struct fs *fs, const struct fs_node *node, const char *name,
			    void *value, size_t size);
	int (*setxattr)(struct fs *fs, const struct fs_node *node, const char *name,
			const void *value, size_t size, int flags);
	ssize_t (*listxattr)(struct fs *fs, const struct fs_node *node, char *list, size_t size);
	int (*removexattr)(struct fs *fs, const struct fs_node *node, const char *name);
	int (*statfs)(struct fs *fs, const struct fs_node *node, Gofer__StatFsReply *ret);
	/* connect(2)s `sock` to the socket inode. -EPERM unless FS_SPECIAL. */
	int (*connect)(struct fs *fs, const struct fs_node *node, int sock);

	/* ---- one name in a directory ---- */
	/*
	 * open(O_CREAT): creates or opens dir/name in one step of the kernel. `flags` as for open
	 * plus O_CREAT, O_EXCL. The same policy of types. FS_SYMLINK where a link stands there
	 * (-EEXIST with O_EXCL). The umask is the thread's.
	 */
	int (*create)(struct fs *fs, const struct fs_node *dir, const char *name, int flags,
		      mode_t mode, struct fs_node *ret_file);
	/* O_TMPFILE in dir. */
	int (*tmpfile)(struct fs *fs, const struct fs_node *dir, int flags, mode_t mode,
		       struct fs_node *ret_file);
	int (*mkdir)(struct fs *fs, const struct fs_node *dir, const char *name, mode_t mode);
	int (*mknod)(struct fs *fs, const struct fs_node *dir, const char *name, mode_t mode,
		     dev_t rdev);
	int (*symlink)(struct fs *fs, const char *target, const struct fs_node *dir,
		       const char *name);
	/* Links the object `node` (a link is not followed; an unnamed O_TMPFILE file is fine). */
	int (*link)(struct fs *fs, const struct fs_node *node, const struct fs_node *dir,
		    const char *name);
	int (*unlink)(struct fs *fs, const struct fs_node *dir, const char *name, bool directory);
	/* `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE of the host. */
	int (*rename)(struct fs *fs, const struct fs_node *from, const char *name,
		      const struct fs_node *to, const char *new_name, unsigned flags);
};

struct fs {
	const struct fs_ops *ops;
	uint32_t fs_id;
	uint32_t flags; /* fs_flags */
	int root_fd;    /* owned: O_PATH or a detached mount's */
	int proc_fd; /* borrowed: this process's /proc/self/fd directory, for reopening; also every
			worker thread's cwd */
	dev_t root_dev;
	ino_t root_ino;
	uint64_t root_mnt; /* STATX_MNT_ID: bind mounts share (dev, ino), not this */
};

/* The root as a node of any backend; borrowed, never to be deinitialised. */
#define FS_ROOT_NODE(fs) ((struct fs_node){ .fd = (fs)->root_fd, .path = (char[]){ "" } })

extern const struct fs_ops fs_host_ops;
extern const struct fs_ops fs_pathwalk_ops;

/* By name, "host" or "pathwalk"; NULL if unknown. */
const struct fs_ops *fs_ops_find(const char *name);

/*
 * Prepares `fs` over root_fd (taken, also on failure). -ENOTDIR unless a directory. fs->proc_fd
 * is set later, by the process that will serve.
 */
int fs_init(struct fs *fs, const struct fs_ops *ops, uint32_t fs_id, uint32_t flags, int root_fd);
void fs_deinit(struct fs *fs);
/* Another descriptor for the root (taken, also on failure): a mount of its own has an identity of
 * its own. */
int fs_set_root(struct fs *fs, int root_fd);

/* Fills attr from statx(2) of (fd, path, flags): the one place that turns host attributes into the
 * wire's. */
int fs_attr_from_statx(int fd, const char *path, int flags, Gofer__Attr *ret_attr);
/*
 * The same of one entry of an open directory, not followed, for backends whose files are descriptors. No *at call refuses to look
 * across mounts: -EXDEV where something is mounted over the name, and the volume does not let it be entered.
 */
int fs_attr_of_entry(const struct fs *fs, int dirfd, const char *name, Gofer__Attr *ret_attr);

/* Who reads a directory. */
struct fs_reader {
	/* Each entry but "." and "..": positive = it is not taken, stop before it; negative = the result. */
	int (*each)(const struct fs_dirent *entry, void *userdata);
	/* How much of the directory to read next, in bytes of getdents(2): 0 = no more is wanted. */
	size_t (*room)(void *userdata);
	void *userdata;
};
enum { FS_READ_DIR_MIN = 512, FS_READ_DIR_MAX = 8192 }; /* what `room` is brought within */

/*
 * Reads entries of an open directory descriptor from `cookie` on (fs/dirread.c; for backends whose
 * files are descriptors). *ret_end: whether the end was reached. `fd`'s own offset is
 * moved: callers that share it hold their lock.
 */
int fs_read_dir(int fd, uint64_t cookie, const struct fs_reader *reader, bool *ret_end);
