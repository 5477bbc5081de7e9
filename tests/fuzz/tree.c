/*
 * tree.c - see tree.h. Resetting is removing and making again, about sixty system calls on tmpfs:
 * cheaper than a mount, and than finding out what changed.
 */
#include "tests/fuzz/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "common/util.h"
#include "tests/fuzz/fuzz.h"

enum { OUTSIDE = 8 };

static const struct {
	const char *path;
	mode_t mode; /* with the type */
	const char *content;
} objects[] = {
	{ "a", S_IFDIR | 0755, NULL },
	{ "a/b", S_IFDIR | 0755, NULL },
	{ "a/b/c", S_IFDIR | 0755, NULL },
	{ "a/b/c/deep", S_IFREG | 0644, "deep down\n" },
	{ "a/file", S_IFREG | 0644, "a file\n" },
	{ "a/link", S_IFLNK, "b" },
	{ "a/up", S_IFLNK, "../file" },
	{ "abs", S_IFLNK, "/a/b" },
	{ "out", S_IFLNK, "../outside" },
	{ "loop", S_IFLNK, "loop" },
	{ "link", S_IFLNK, "a/link/c" },
	{ "file", S_IFREG | 0664, "0123456789 and so on, a line of some length\n" },
	{ "empty", S_IFREG | 0600, "" },
	{ "readonly", S_IFREG | 0444, "not to be written\n" },
	{ "theirs", S_IFREG | 0640, "somebody else's, if root made it\n" },
	{ "big", S_IFREG | 0644, NULL },
	{ "fifo", S_IFIFO | 0666, NULL },
	{ "locked", S_IFDIR | 0700, NULL },
	{ "locked/file", S_IFREG | 0666, "behind a locked door\n" },
	{ "sticky", S_IFDIR | 01777, NULL },
	{ "sticky/file", S_IFREG | 0666, "sticky\n" },
	{ "many", S_IFDIR | 0755, NULL },
};

static struct {
	uint64_t dev, ino;
} outside[OUTSIDE];
static char exit_base[200];
static pid_t exit_pid;

static int remove_one(const char *path, const struct stat *st _unused_, int type _unused_,
		      struct FTW *ftw _unused_)
{
	return remove(path);
}

static char mounted[8][512];
static size_t n_mounted;

static void remove_base(void)
{
	if (getpid() != exit_pid)
		return;
	/* Nothing is removed through a mount. */
	while (n_mounted > 0)
		if (umount2(mounted[--n_mounted], MNT_DETACH) < 0)
			return;
	(void)nftw(exit_base, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

bool tree_mount(const struct fuzz_tree *t, const char *path, bool writable)
{
	char *at = mounted[n_mounted];

	if (n_mounted == ARRAY_SIZE(mounted) || path[0] != '/')
		return false;
	snprintf(at, sizeof(mounted[0]), "%s%.200s", t->base, path);
	for (char *slash = at + strlen(t->base) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (mkdir(at, 0755) < 0 && errno != EEXIST)
			return false;
		*slash = '/';
	}
	if ((mkdir(at, 0755) < 0 && errno != EEXIST) || mount(path, at, NULL, MS_BIND, NULL) < 0)
		return false;
	n_mounted++;
	return writable || mount(NULL, at, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0;
}

static void make_file(int dir, const char *path, mode_t mode, const char *content)
{
	_cleanup_fd_ int fd = openat(dir, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode);
	size_t n = content ? strlen(content) : 0;

	FUZZ_ASSERT(fd >= 0 && write(fd, content ? content : "", n) == (ssize_t)n);
	if (!content)
		FUZZ_ASSERT(ftruncate(fd, 300000) == 0 && pwrite(fd, "middle", 6, 150000) == 6);
	FUZZ_ASSERT(fchmod(fd, mode) == 0);
}

static void remember(int dir, const char *name, unsigned i)
{
	struct stat st;

	FUZZ_ASSERT(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0);
	outside[i].dev = st.st_dev;
	outside[i].ino = st.st_ino;
}

static void make_outside(struct fuzz_tree *t)
{
	static const char *const decoys[] = { "file", "new/secret", "a/file", "outside/secret" };

	FUZZ_ASSERT(mkdirat(t->base_fd, "away", 0777) == 0);
	FUZZ_ASSERT(mkdirat(t->base_fd, "outside", 0755) == 0);
	FUZZ_ASSERT(mkdirat(t->base_fd, "a", 0755) == 0);
	FUZZ_ASSERT(mkdirat(t->base_fd, "new", 0755) == 0);
	for (unsigned i = 0; i < ARRAY_SIZE(decoys); i++) {
		make_file(t->base_fd, decoys[i], 0666, TREE_SECRET);
		remember(t->base_fd, decoys[i], i);
	}
	remember(t->base_fd, "outside", 4);
	remember(t->base_fd, "a", 5);
	remember(t->base_fd, "new", 6);
	remember(t->base_fd, ".", 7);
}

void tree_init(struct fuzz_tree *t)
{
	const char *dirs[] = { getenv("GOFER_FUZZ_DIR"), "/dev/shm", getenv("TMPDIR"), "/tmp" };

	*t = (struct fuzz_tree){ .listener = -1, .is_root = geteuid() == 0 };
	umask(0);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		if (!dirs[i])
			continue;
		snprintf(t->base, sizeof(t->base), "%.160s/gofer-fuzz-XXXXXX", dirs[i]);
		if (mkdtemp(t->base))
			break;
		t->base[0] = '\0';
	}
	FUZZ_ASSERT(t->base[0]);
	FUZZ_ASSERT(chmod(t->base, 0755) == 0);
	strcpy(exit_base, t->base);
	exit_pid = getpid();
	atexit(remove_base);
	t->base_fd = open(t->base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	FUZZ_ASSERT(t->base_fd >= 0);
	make_outside(t);
	tree_reset(t);
	tree_check_outside(t);
}

static void remove_below(int fd)
{
	DIR *d = fdopendir(fd);

	FUZZ_ASSERT(d);
	for (const struct dirent *e; (e = readdir(d));) {
		int sub;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) == 0)
			continue;
		sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0) {
			FUZZ_ASSERT(fchmodat(dirfd(d), e->d_name, 0700, 0) == 0);
			sub = openat(dirfd(d), e->d_name,
				     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		}
		FUZZ_ASSERT(sub >= 0);
		if (!faccessat(sub, ".", W_OK | X_OK, 0))
			;
		else
			FUZZ_ASSERT(fchmod(sub, 0700) == 0);
		remove_below(sub);
		FUZZ_ASSERT(unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) == 0);
	}
	closedir(d);
}

static void empty_dir(const struct fuzz_tree *t, const char *name)
{
	int fd;

	if (fchmodat(t->base_fd, name, 0777, 0) < 0)
		return;
	fd = openat(t->base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		remove_below(fd);
}

static void make_socket(struct fuzz_tree *t)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	fd_close(t->listener);
	t->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/served/sock", t->base_fd);
	FUZZ_ASSERT(t->listener >= 0 && bind(t->listener, (struct sockaddr *)&a, sizeof(a)) == 0 &&
		    listen(t->listener, 128) == 0);
}

/* The root itself stays: somebody may have it as his root directory. */
static void reset_root(int root)
{
	char names[1024];
	ssize_t n = flistxattr(root, names, sizeof(names));

	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1)
		(void)fremovexattr(root, names + at);
	FUZZ_ASSERT(fchown(root, geteuid(), getegid()) == 0 && fchmod(root, 0755) == 0);
}

/* base/name, with everything in it made anew. */
static int make_tree(const struct fuzz_tree *t, const char *name)
{
	int root;
	static const uint8_t acl[] = { 2,   0,   0,   0,   1,   0,   7,  0,   255, 255, 255,
				       255, 2,   0,   6,   0,   233, 3,  0,   0,   4,   0,
				       4,   0,   255, 255, 255, 255, 16, 0,   7,   0,   255,
				       255, 255, 255, 32,  0,   4,   0,  255, 255, 255, 255 };

	empty_dir(t, name);
	if (mkdirat(t->base_fd, name, 0755) < 0)
		FUZZ_ASSERT(errno == EEXIST);
	root = openat(t->base_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_ASSERT(root >= 0);
	reset_root(root);
	for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
		const char *path = objects[i].path;

		switch (objects[i].mode & S_IFMT) {
		case S_IFDIR:
			FUZZ_ASSERT(mkdirat(root, path, objects[i].mode & 07777) == 0);
			break;
		case S_IFLNK:
			FUZZ_ASSERT(symlinkat(objects[i].content, root, path) == 0);
			break;
		case S_IFIFO:
			FUZZ_ASSERT(mknodat(root, path, objects[i].mode, 0) == 0);
			break;
		default:
			make_file(root, path, objects[i].mode & 07777, objects[i].content);
		}
	}
	for (unsigned i = 0; i < 12; i++) {
		char file[32];

		snprintf(file, sizeof(file), "many/m%u", i);
		make_file(root, file, 0644, file);
	}
	if (t->is_root) {
		FUZZ_ASSERT(fchownat(root, "theirs", 1001, 1001, 0) == 0);
		FUZZ_ASSERT(fchownat(root, "locked", 1001, 1001, 0) == 0);
		FUZZ_ASSERT(fchownat(root, "sticky", 1002, 1002, 0) == 0);
		FUZZ_ASSERT(fchownat(root, "a/b/c", 1000, 1000, 0) == 0);
	}
	/* Where the file system has them. */
	{
		_cleanup_fd_ int fd = openat(root, "file", O_RDONLY | O_CLOEXEC);

		(void)fsetxattr(fd, "user.a", "value", 5, 0);
		(void)fsetxattr(fd, "system.posix_acl_access", acl, sizeof(acl), 0);
	}
	return root;
}

void tree_reset(struct fuzz_tree *t)
{
	fd_close(make_tree(t, "served"));
	empty_dir(t, "away");
	make_socket(t);
}

void tree_reset_twin(struct fuzz_tree *t)
{
	static const char *const names[] = { "served", "twin" };
	static const char *const theirs[] = { ".",     "a",      "a/b",  "a/b/c/deep", "file",
					      "empty", "a/file", "many", "big",        "many/m1" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_fd_ int root = make_tree(t, names[i]);

		/* Nobody listens: connecting is refused, if it is allowed. */
		FUZZ_ASSERT(mknodat(root, "sock", S_IFSOCK | 0755, 0) == 0);
		for (size_t k = 0; k < ARRAY_SIZE(theirs) && t->is_root; k++)
			FUZZ_ASSERT(fchownat(root, theirs[k], 1000, 1000, 0) == 0);
	}
}

int tree_open(const struct fuzz_tree *t)
{
	return openat(t->base_fd, "served", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

bool tree_is_outside(const struct fuzz_tree *t _unused_, uint64_t dev, uint64_t ino)
{
	for (unsigned i = 0; i < OUTSIDE; i++)
		if (outside[i].dev == dev && outside[i].ino == ino)
			return true;
	return false;
}

void tree_check_outside(struct fuzz_tree *t)
{
	static const char *const places[] = { "file",    "new/secret", "a/file", "outside/secret",
					      "outside", "a",          "new" };
	uint64_t h = UINT64_C(14695981039346656037);
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		FUZZ_ASSERT(fstatat(t->base_fd, places[i], &st, AT_SYMLINK_NOFOLLOW) == 0);
		h = (h ^ (uint64_t)st.st_ctim.tv_sec) * UINT64_C(1099511628211);
		h = (h ^ (uint64_t)st.st_ctim.tv_nsec) * UINT64_C(1099511628211);
		h = (h ^ (uint64_t)st.st_size) * UINT64_C(1099511628211);
	}
	FUZZ_ASSERT(!t->seen || t->seen == h);
	t->seen = h;
}

static void attempt(int result _unused_)
{
}

void tree_move(const struct fuzz_tree *t, uint8_t which, uint8_t where)
{
	static const char *const dirs[] = { "a", "a/b", "a/b/c", "many" };
	const char *dir = dirs[where % ARRAY_SIZE(dirs)];
	_cleanup_fd_ int root = openat(t->base_fd, "served", O_PATH | O_DIRECTORY | O_CLOEXEC);

	bool odd = where & 16;

	/* Any may fail: what was there is there no more. */
	switch (which % 8) {
	case 0: /* a directory becomes a link that leads out, and back */
		attempt(symlinkat("../outside", root, "swap"));
		attempt(renameat2(root, "swap", root, dir, RENAME_EXCHANGE));
		break;
	case 1:
		attempt(symlinkat("/outside", root, "swap"));
		attempt(renameat2(root, "swap", root, dir, RENAME_EXCHANGE));
		break;
	case 2: /* out of the tree */
		attempt(renameat2(root, dir, t->base_fd, "away/taken", 0));
		break;
	case 3: /* and in again, somewhere else */
		attempt(renameat2(t->base_fd, "away/taken", root, odd ? dir : "a/taken", 0));
		break;
	case 4: /* a file in place of a directory */
		attempt(renameat2(root, dir, root, "file", RENAME_EXCHANGE));
		break;
	case 5:
		attempt(renameat2(root, "fifo", root, odd ? "file" : dir, RENAME_EXCHANGE));
		break;
	case 6: /* gone */
		attempt(unlinkat(root, odd ? "file" : "a/b/c/deep", 0));
		break;
	default:
		attempt(renameat2(root, "a/b", root, odd ? "moved" : "locked/moved", 0));
		break;
	}
}

unsigned tree_count_fds(bool pipes)
{
	unsigned n = 0;
	struct stat st;

	for (int fd = 0; fd < 128; fd++)
		n += pipes ? fcntl(fd, F_GETFD) >= 0 : fstat(fd, &st) == 0 && !S_ISFIFO(st.st_mode);
	return n;
}
