/*
 * fs_fixture.h - a tree to serve, and the same test over every way of serving it.
 *
 *     FS_TEST(suite, what_it_proves) { ... uses `t` ... }
 *
 * makes one Criterion test per variant: the host backend as it is, without openat2, over a detached
 * mount (which needs a privilege), and the pathwalk backend. Each starts with an empty tree beside
 * an `outside` directory that nothing may reach, and fails if it ends with more descriptors than it
 * started with.
 */
#pragma once

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "common/path.h"
#include "common/sys.h"
#include "proto/arena.h"
#include "server/fs/walk.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

#define FIXTURE_NOBODY 65534

enum fixture_variant { ON_HOST, ON_HOST_NO_OPENAT2, ON_HOST_DETACHED, ON_PATHWALK };

struct fixture {
	enum fixture_variant variant;
	char home[64]; /* holds tree/ and outside/ */
	int tree;      /* the tree, not through the fs under test */
	int outside;
	struct fs fs;
	struct arena arena;
	unsigned fds;
};

static inline unsigned fixture_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert_not_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* An open tree of `path`, served by the variant; extra: further fs_flags. */
static inline int fixture_serve(struct fs *fs, enum fixture_variant variant, const char *path,
				uint32_t extra)
{
	uint32_t flags = extra;
	int fd, r;

	if (variant == ON_HOST_DETACHED) {
		fd = sys_open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | O_CLOEXEC);
		cr_assert_geq(fd, 0, "open_tree: %s", strerror(-fd));
		r = sys_mount_setattr(fd, "", AT_EMPTY_PATH,
				      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSYMFOLLOW,
				      0, 0);
		cr_assert_eq(r, 0, "mount_setattr: %s", strerror(-r));
		flags |= FS_DETACHED | FS_NODEV;
	} else {
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		cr_assert_geq(fd, 0);
	}
	if (variant == ON_HOST_NO_OPENAT2)
		flags |= FS_NO_OPENAT2;
	r = fs_init(fs, variant == ON_PATHWALK ? &fs_pathwalk_ops : &fs_host_ops, 7, flags, fd);
	if (r == 0) {
		fs->proc_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		cr_assert_geq(fs->proc_fd, 0);
	}
	return r;
}

static inline void fixture_stop(struct fs *fs)
{
	fd_close(fs->proc_fd);
	fs_deinit(fs);
}

static inline void fixture_init(struct fixture *t, enum fixture_variant variant)
{
	char path[PATH_MAX];

	*t = (struct fixture){ .variant = variant };
	t->fds = fixture_count_fds();
	umask(022);
	(void)snprintf(t->home, sizeof(t->home), "/tmp/gofer-fs.XXXXXX");
	cr_assert_not_null(mkdtemp(t->home));
	(void)snprintf(path, sizeof(path), "%s/outside", t->home);
	cr_assert_eq(mkdir(path, 0755), 0);
	t->outside = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "%s/tree", t->home);
	cr_assert_eq(mkdir(path, 0755), 0);
	t->tree = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert(t->tree >= 0 && t->outside >= 0);
	cr_assert_eq(fixture_serve(&t->fs, variant, path, 0), 0);
	cr_assert_eq(arena_init(&t->arena, 4 << 20), 0);
	/* As every worker thread: paths that name descriptors start here. */
	cr_assert_eq(fchdir(t->fs.proc_fd), 0);
}

static inline int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

static inline void fixture_deinit(struct fixture *t)
{
	unsigned fds;

	if (geteuid() != getuid())
		cr_assert_eq(seteuid(getuid()), 0);
	fixture_stop(&t->fs);
	fd_close(t->tree);
	fd_close(t->outside);
	arena_deinit(&t->arena);
	cr_assert_eq(chdir("/"), 0);
	fds = fixture_count_fds();
	cr_assert_eq(fds, t->fds, "%u descriptors before, %u after", t->fds, fds);
	(void)nftw(t->home, fixture_remove, 64, FTW_DEPTH | FTW_PHYS);
}

static inline void fixture_run(enum fixture_variant variant, void (*body)(struct fixture *t))
{
	struct fixture t;

	if (variant == ON_HOST_DETACHED) {
		int fd = sys_open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | O_CLOEXEC);

		if (fd < 0)
			cr_skip_test("a detached mount needs CAP_SYS_ADMIN: %s", strerror(-fd));
		close(fd);
	}
	fixture_init(&t, variant);
	body(&t);
	fixture_deinit(&t);
}

#define FS_TEST(suite, name)                                     \
	static void suite##_##name(struct fixture *t);           \
	Test(suite, name##_on_host)                              \
	{                                                        \
		fixture_run(ON_HOST, suite##_##name);            \
	}                                                        \
	Test(suite, name##_on_host_without_openat2)              \
	{                                                        \
		fixture_run(ON_HOST_NO_OPENAT2, suite##_##name); \
	}                                                        \
	Test(suite, name##_on_host_detached)                     \
	{                                                        \
		fixture_run(ON_HOST_DETACHED, suite##_##name);   \
	}                                                        \
	Test(suite, name##_on_pathwalk)                          \
	{                                                        \
		fixture_run(ON_PATHWALK, suite##_##name);        \
	}                                                        \
	static void suite##_##name(struct fixture *t)

static inline void append(char *text, size_t size, const char *more)
{
	size_t len = strlen(text), n = strlen(more);

	cr_assert_lt(len + n, size);
	memcpy(text + len, more, n + 1);
}

/* ---- making the tree ---- */

static inline void make_dir(struct fixture *t, const char *path, mode_t mode)
{
	cr_assert_eq(mkdirat(t->tree, path, 0755), 0, "mkdir %s: %s", path, strerror(errno));
	cr_assert_eq(fchmodat(t->tree, path, mode, 0), 0);
}

static inline void make_file_at(int dir, const char *path, const char *content)
{
	int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0, "create %s: %s", path, strerror(errno));
	cr_assert_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
	close(fd);
}

static inline void make_file(struct fixture *t, const char *path, const char *content)
{
	make_file_at(t->tree, path, content);
}

static inline void make_link(struct fixture *t, const char *target, const char *path)
{
	cr_assert_eq(symlinkat(target, t->tree, path), 0, "symlink %s: %s", path, strerror(errno));
}

/* The inode that `path` names in the tree, its last component not followed. */
static inline ino_t inode_of(struct fixture *t, const char *path)
{
	struct stat st;

	cr_assert_eq(fstatat(t->tree, *path ? path : ".", &st, AT_SYMLINK_NOFOLLOW), 0,
		     "stat %s: %s", path, strerror(errno));
	return st.st_ino;
}

static inline bool exists(struct fixture *t, const char *path)
{
	struct stat st;

	return fstatat(t->tree, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* From here on without root's privileges over files, whoever runs the test. */
static inline void become_nobody(struct fixture *t)
{
	if (geteuid() != 0)
		return;
	cr_assert_eq(fchmod(t->tree, 0777), 0);
	cr_assert_eq(seteuid(FIXTURE_NOBODY), 0);
}

static inline bool is_host(const struct fixture *t)
{
	return t->variant != ON_PATHWALK;
}

/* ---- walking ---- */

static inline struct walk_request request_for(struct fixture *t, const char *path)
{
	return (struct walk_request){
		.fs = &t->fs,
		.path = (const uint8_t *)path,
		.path_len = strlen(path),
		.arena = &t->arena,
	};
}

/* The node at `path`, not followed; to be given to fs_node_deinit(). */
static inline struct fs_node node_at_path(struct fixture *t, const char *path)
{
	struct walk_request q = request_for(t, path);
	struct walk_result result;
	int r;

	q.nofollow = true;
	r = walk_resolve(&q, &result);
	cr_assert_eq(r, 0, "walk %s: %d", path, r);
	return TAKE_NODE(result.node);
}
