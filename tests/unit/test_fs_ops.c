/*
 * test_fs_ops.c - what is done to objects and names, over every backend: opening by type, creating,
 * attributes, extended attributes, links, renames, sockets, listings.
 */
#include <linux/fs.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>

#include "tests/unit/fs_fixture.h"

#define OPS(t) ((t)->fs.ops)

static struct fs_node root_of(struct fixture *t)
{
	struct fs_node root = FS_NODE_NULL;

	cr_assert_eq(OPS(t)->root(&t->fs, &root), 0);
	return root;
}

static int open_at(struct fixture *t, const char *path, int flags, struct fs_node *ret_file)
{
	_cleanup_node_ struct fs_node node = node_at_path(t, path);

	return OPS(t)->open(&t->fs, &node, flags, ret_file);
}

static int create_at(struct fixture *t, const char *name, int flags, struct fs_node *ret_file)
{
	_cleanup_node_ struct fs_node root = root_of(t);

	return OPS(t)->create(&t->fs, &root, name, flags | O_CREAT, 0644, ret_file);
}

static void make_socket(struct fixture *t, const char *name)
{
	/* mknod makes a socket inode that nobody listens on. */
	cr_assert_eq(mknodat(t->tree, name, S_IFSOCK | 0666, 0), 0);
}

static size_t content_of(struct fixture *t, const char *path, char *buf, size_t size)
{
	int fd = openat(t->tree, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	n = read(fd, buf, size - 1);
	cr_assert_geq(n, 0);
	buf[n] = '\0';
	close(fd);
	return (size_t)n;
}

static uint64_t milliseconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the filesystem itself ---- */

Test(fs, S13_a_root_that_is_no_directory_is_refused)
{
	struct fs fs;
	int fd = open("/proc/self/stat", O_PATH | O_CLOEXEC);

	cr_assert_eq(fs_init(&fs, &fs_host_ops, 1, 0, fd), -ENOTDIR);
	cr_assert_lt(fcntl(fd, F_GETFD), 0, "the descriptor is taken on failure too");
}

Test(fs, backends_have_names)
{
	cr_assert_eq(fs_ops_find("host"), &fs_host_ops);
	cr_assert_eq(fs_ops_find("pathwalk"), &fs_pathwalk_ops);
	cr_assert_null(fs_ops_find("other"));
}

/* ---- open ---- */

FS_TEST(fs, files_and_directories_open_with_the_access_asked_for)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_APPEND,
				     O_RDWR | O_DSYNC };
	struct fs_node file;

	make_dir(t, "d", 0755);
	make_file(t, "d/f", "hello");
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		int flags;

		cr_assert_eq(open_at(t, "d/f", modes[i], &file), 0);
		flags = fcntl(file.fd, F_GETFL);
		cr_assert_eq(flags & (O_ACCMODE | O_APPEND | O_DSYNC | O_NONBLOCK), modes[i]);
		cr_assert(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
		fs_node_deinit(&file);
	}
	cr_assert_eq(open_at(t, "d", O_RDONLY | O_DIRECTORY, &file), 0);
	fs_node_deinit(&file);
	cr_assert_eq(open_at(t, "d", O_RDWR, &file), -EISDIR);
	cr_assert_eq(open_at(t, "d/f", O_RDONLY | O_DIRECTORY, &file), -ENOTDIR);
	cr_assert_eq(open_at(t, "d/f", O_WRONLY | O_TRUNC, &file), 0);
	fs_node_deinit(&file);
	cr_assert_eq(content_of(t, "d/f", (char[8]){ 0 }, 8), 0);
}

FS_TEST(fs, S38_S39_S40_special_files_are_seen_and_not_opened)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC };
	uint64_t start = milliseconds();
	struct fs_node file;
	Gofer__Attr attr;

	cr_assert_eq(mkfifoat(t->tree, "fifo", 0666), 0);
	make_socket(t, "socket");
	make_link(t, "fifo", "link");
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		cr_assert_eq(open_at(t, "fifo", modes[i], &file), -EPERM);
		cr_assert_eq(open_at(t, "socket", modes[i], &file), -ENXIO);
		cr_assert_eq(open_at(t, "link", modes[i], &file), -ELOOP);
		cr_assert_eq(create_at(t, "fifo", modes[i], &file), -EPERM);
		cr_assert_eq(create_at(t, "socket", modes[i], &file), -ENXIO);
		cr_assert_eq(create_at(t, "link", modes[i], &file), FS_SYMLINK);
	}
	if (geteuid() == 0 && mknodat(t->tree, "null", S_IFCHR | 0666, makedev(1, 3)) == 0) {
		_cleanup_node_ struct fs_node node = node_at_path(t, "null");

		cr_assert_eq(OPS(t)->getattr(&t->fs, &node, &attr), 0);
		cr_assert_eq(attr.rdev, makedev(1, 3));
		for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
			cr_assert_eq(open_at(t, "null", modes[i], &file), -EPERM);
			cr_assert_eq(create_at(t, "null", modes[i], &file), -EPERM);
		}
	}
	/* As a place, anything can be held. */
	cr_assert_eq(open_at(t, "link", O_PATH, &file), 0);
	cr_assert_eq(OPS(t)->getattr(&t->fs, &file, &attr), 0);
	cr_assert(S_ISLNK(attr.mode));
	fs_node_deinit(&file);
	cr_assert_eq(open_at(t, "fifo", O_PATH | O_DIRECTORY, &file), -ENOTDIR);
	cr_assert_lt(milliseconds() - start, 2000, "nothing blocks");
}

FS_TEST(fs, S38_with_special_a_fifo_opens_without_waiting)
{
	struct fs_node reader, writer;

	t->fs.flags |= FS_SPECIAL;
	cr_assert_eq(mkfifoat(t->tree, "fifo", 0666), 0);
	cr_assert_eq(open_at(t, "fifo", O_WRONLY, &writer), -ENXIO);
	cr_assert_eq(open_at(t, "fifo", O_RDONLY, &reader), 0);
	cr_assert(fcntl(reader.fd, F_GETFL) & O_NONBLOCK);
	cr_assert_eq(open_at(t, "fifo", O_WRONLY, &writer), 0);
	fs_node_deinit(&reader);
	fs_node_deinit(&writer);
}

FS_TEST(fs, S42_flags_that_nobody_may_ask_for_are_refused)
{
	static const int bad[] = { O_ACCMODE, O_DIRECT, O_ASYNC, O_TMPFILE | O_RDWR,
				   O_RDONLY | 1 << 30 };
	struct fs_node file;

	make_file(t, "f", "f");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert_eq(open_at(t, "f", bad[i], &file), -EINVAL, "%#o", bad[i]);
		cr_assert_eq(create_at(t, "f", bad[i], &file), -EINVAL, "%#o", bad[i]);
	}
	cr_assert_eq(create_at(t, "f", O_PATH, &file), -EINVAL);
	cr_assert_eq(create_at(t, "new", O_DIRECTORY, &file), -EINVAL);
	cr_assert(!exists(t, "new"));
}

FS_TEST(fs, S44_a_lease_is_an_answer_and_not_a_wait)
{
	int holder;
	struct fs_node file;
	int r;

	make_file(t, "f", "leased");
	holder = openat(t->tree, "f", O_RDONLY | O_CLOEXEC);
	(void)signal(SIGIO, SIG_IGN);
	if (fcntl(holder, F_SETLEASE, F_RDLCK) < 0) {
		close(holder);
		fixture_deinit(t);
		cr_skip_test("no leases here");
	}
	r = open_at(t, "f", O_WRONLY, &file);
	cr_assert_eq(r, -EAGAIN, "%d", r);
	{
		struct walk_request q = request_for(t, "f");
		struct walk_result result;

		cr_assert_eq(walk_open(&q, O_WRONLY, &result), -EAGAIN);
	}
	close(holder);
}

FS_TEST(fs, an_open_file_stays_what_it_is_when_its_name_goes)
{
	_cleanup_node_ struct fs_node file = FS_NODE_NULL;
	Gofer__SetAttrRequest set = GOFER__SET_ATTR_REQUEST__INIT;
	Gofer__Attr attr;

	make_file(t, "f", "content");
	cr_assert_eq(open_at(t, "f", O_RDWR, &file), 0);
	cr_assert_eq(unlinkat(t->tree, "f", 0), 0);
	make_file(t, "f", "another");
	set.mask = GOFER__SET_ATTR_MASK__SET_MODE | GOFER__SET_ATTR_MASK__SET_SIZE;
	set.mode = 0600;
	set.size = 3;
	cr_assert_eq(OPS(t)->setattr(&t->fs, &file, &set), 0);
	cr_assert_eq(OPS(t)->getattr(&t->fs, &file, &attr), 0);
	cr_assert_eq(attr.nlink, 0);
	cr_assert_eq(attr.size, 3);
	cr_assert_eq(attr.mode & 07777, 0600);
	cr_assert_eq(content_of(t, "f", (char[16]){ 0 }, 16), 7, "the other file is untouched");
}

/* ---- create ---- */

FS_TEST(fs, create_makes_or_opens_in_one_step)
{
	_cleanup_node_ struct fs_node file = FS_NODE_NULL;
	char text[16];
	Gofer__Attr attr;

	make_dir(t, "d", 0755);
	cr_assert_eq(create_at(t, "new", O_RDWR, &file), 0);
	cr_assert_eq(fcntl(file.fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
	cr_assert_eq(write(file.fd, "abc", 3), 3);
	fs_node_deinit(&file);
	cr_assert_eq(create_at(t, "new", O_RDONLY, &file), 0);
	cr_assert_eq(OPS(t)->getattr(&t->fs, &file, &attr), 0);
	cr_assert_eq(attr.size, 3);
	fs_node_deinit(&file);
	cr_assert_eq(create_at(t, "new", O_WRONLY | O_EXCL, &file), -EEXIST);
	cr_assert_eq(create_at(t, "d", O_WRONLY | O_EXCL, &file), -EEXIST);
	cr_assert_eq(create_at(t, "d", O_RDONLY, &file), -EISDIR);
	cr_assert_eq(create_at(t, "new", O_WRONLY | O_TRUNC, &file), 0);
	fs_node_deinit(&file);
	cr_assert_eq(content_of(t, "new", text, sizeof(text)), 0);
	cr_assert_eq(create_at(t, "fresh", O_WRONLY | O_EXCL | O_APPEND, &file), 0);
	cr_assert_eq(fcntl(file.fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK),
		     O_WRONLY | O_APPEND);
}

FS_TEST(fs, S32_nothing_is_created_or_cut_through_a_link)
{
	char outside[128], text[16];
	struct fs_node file;
	int fd;

	make_file_at(t->outside, "victim", "victim");
	(void)snprintf(outside, sizeof(outside), "%s/outside/victim", t->home);
	make_link(t, outside, "to-victim");
	make_link(t, "nowhere", "dangling");
	(void)snprintf(outside, sizeof(outside), "%s/outside/made", t->home);
	make_link(t, outside, "to-new");
	static const char *const links[] = { "to-victim", "dangling", "to-new" };
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		_cleanup_node_ struct fs_node root = root_of(t);

		cr_assert_eq(create_at(t, links[i], O_WRONLY, &file), FS_SYMLINK);
		cr_assert_eq(create_at(t, links[i], O_WRONLY | O_TRUNC, &file), FS_SYMLINK);
		cr_assert_eq(create_at(t, links[i], O_WRONLY | O_EXCL, &file), -EEXIST);
		cr_assert_eq(OPS(t)->mkdir(&t->fs, &root, links[i], 0755), -EEXIST);
		cr_assert_eq(OPS(t)->mknod(&t->fs, &root, links[i], S_IFREG | 0644, 0), -EEXIST);
		cr_assert_eq(OPS(t)->symlink(&t->fs, "x", &root, links[i]), -EEXIST);
	}
	cr_assert(!exists(t, "nowhere"));
	cr_assert_lt(faccessat(t->outside, "made", F_OK, 0), 0);
	fd = openat(t->outside, "victim", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(read(fd, text, sizeof(text)), 6);
	close(fd);
}

/* A whole path at once, where the backend does that: everything but success and EEXIST is left to the slow way. */
static int create_path(struct fixture *t, const char *path, int flags, struct fs_node *ret_file)
{
	_cleanup_node_ struct fs_node root = root_of(t);
	int r = FS_SLOW;

	if (OPS(t)->create_path)
		r = OPS(t)->create_path(&t->fs, &root, path, flags | O_CREAT, S_IFCHR | 0640,
					ret_file);
	cr_assert(r == 0 || r == FS_SLOW || (r == -EEXIST && flags & O_EXCL), "%s: %d", path, r);
	return r;
}

static bool creates_paths(const struct fixture *t)
{
	return OPS(t) == &fs_host_ops && t->fs.flags & FS_NODEV && !(t->fs.flags & FS_NO_OPENAT2);
}

FS_TEST(fs, a_path_is_created_at_once)
{
	int quick = creates_paths(t) ? 0 : FS_SLOW;
	_cleanup_node_ struct fs_node file = FS_NODE_NULL;
	char text[16];
	Gofer__Attr attr;

	make_dir(t, "d", 0755);
	make_dir(t, "d/e", 0755);
	cr_assert_eq(create_path(t, "d/e/new", O_RDWR | O_EXCL, &file), quick);
	if (quick != 0) {
		cr_assert(!exists(t, "d/e/new"));
		return;
	}
	cr_assert_eq(fcntl(file.fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
	cr_assert_eq(OPS(t)->getattr(&t->fs, &file, &attr), 0);
	cr_assert_eq(attr.mode, S_IFREG | 0640);
	cr_assert_eq(write(file.fd, "abc", 3), 3);
	fs_node_deinit(&file);
	cr_assert_eq(create_path(t, "d/e/new", O_RDWR | O_EXCL, &file), -EEXIST);
	cr_assert_eq(create_path(t, "d/e/plain", O_WRONLY, &file), 0);
	fs_node_deinit(&file);
	/* What exists is opened where it can be looked at first. */
	if (create_path(t, "d/e/new", O_WRONLY | O_TRUNC | O_APPEND, &file) == 0) {
		cr_assert_eq(fcntl(file.fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK),
			     O_WRONLY | O_APPEND);
		cr_assert_eq(content_of(t, "d/e/new", text, sizeof(text)), 0);
	} else {
		cr_assert_eq(content_of(t, "d/e/new", text, sizeof(text)), 3);
	}
}

FS_TEST(fs, S32_S38_a_path_is_created_at_once_only_where_nothing_is_met)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_WRONLY | O_TRUNC };
	static const char *const met[] = { "d/way/new", "d/out/new",  "d/dangling", "d/to-new",
					   "d/fifo",    "d/socket",   "d/e",        "d/e/.",
					   "d/f/new",   "missing/new" };
	char outside[128], text[16];
	struct fs_node file;

	make_dir(t, "d", 0755);
	make_dir(t, "d/e", 0755);
	make_file(t, "d/f", "f");
	make_link(t, "e", "d/way");
	make_link(t, "nowhere", "d/dangling");
	(void)snprintf(outside, sizeof(outside), "%s/outside", t->home);
	make_link(t, outside, "d/out");
	(void)snprintf(outside, sizeof(outside), "%s/outside/new", t->home);
	make_link(t, outside, "d/to-new");
	cr_assert_eq(mkfifoat(t->tree, "d/fifo", 0666), 0);
	make_socket(t, "d/socket");
	for (size_t i = 0; i < ARRAY_SIZE(met); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(modes); k++)
			cr_assert_eq(create_path(t, met[i], modes[k], &file), FS_SLOW, "%s",
				     met[i]);
		cr_assert_neq(create_path(t, met[i], O_WRONLY | O_EXCL, &file), 0, "%s", met[i]);
	}
	cr_assert(!exists(t, "d/nowhere") && !exists(t, "d/e/new") && !exists(t, "missing"));
	cr_assert_lt(faccessat(t->outside, "new", F_OK, 0), 0);
	t->fs.flags |= FS_READ_ONLY;
	cr_assert_eq(create_path(t, "d/g", O_WRONLY | O_EXCL, &file), FS_SLOW);
	cr_assert_eq(create_path(t, "d/f", O_RDONLY, &file), FS_SLOW);
	cr_assert(!exists(t, "d/g"));
	cr_assert_eq(content_of(t, "d/f", text, sizeof(text)), 1);
}

FS_TEST(fs, S41_type_bits_in_a_mode_are_dropped)
{
	_cleanup_node_ struct fs_node root = root_of(t), file = FS_NODE_NULL;
	struct stat st;

	cr_assert_eq(OPS(t)->create(&t->fs, &root, "f", O_CREAT | O_RDWR, S_IFCHR | 0640, &file),
		     0);
	cr_assert_eq(fstat(file.fd, &st), 0);
	cr_assert_eq(st.st_mode, S_IFREG | 0640);
	cr_assert_eq(OPS(t)->mkdir(&t->fs, &root, "d", S_IFBLK | 0750), 0);
	cr_assert_eq(fstatat(t->tree, "d", &st, 0), 0);
	cr_assert_eq(st.st_mode, S_IFDIR | 0750);
	fs_node_deinit(&file);
	cr_assert_eq(OPS(t)->tmpfile(&t->fs, &root, O_RDWR, S_IFIFO | 0600, &file), 0);
	cr_assert_eq(fstat(file.fd, &st), 0);
	cr_assert_eq(st.st_mode, S_IFREG | 0600);
}

FS_TEST(fs, S39_mknod_makes_what_is_no_door_to_a_driver)
{
	_cleanup_node_ struct fs_node root = root_of(t);
	struct stat st;

	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "fifo", S_IFIFO | 0600, 1), 0);
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "sock", S_IFSOCK | 0600, 0), 0);
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "file", S_IFREG | 0600, 0), 0);
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "zero", 0600, 0), 0);
	cr_assert_eq(fstatat(t->tree, "fifo", &st, AT_SYMLINK_NOFOLLOW), 0);
	cr_assert(S_ISFIFO(st.st_mode));
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "c", S_IFCHR | 0600, makedev(1, 3)), -EPERM);
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "b", S_IFBLK | 0600, makedev(1, 3)), -EPERM);
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "w", S_IFCHR | 0600, 0), -EPERM);
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "d", S_IFDIR | 0600, 0), -EPERM);
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "l", S_IFLNK | 0600, 0), -EINVAL);
	t->fs.flags |= FS_SPECIAL;
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "w", S_IFCHR | 0600, 0), 0, "a whiteout");
}

FS_TEST(fs, a_tmpfile_gets_its_name_by_link)
{
	_cleanup_node_ struct fs_node root = root_of(t), file = FS_NODE_NULL;
	struct walk_request q = request_for(t, "x");
	struct walk_result result;
	Gofer__Attr attr;
	char text[16];

	cr_assert_eq(OPS(t)->tmpfile(&t->fs, &root, O_RDWR, 0640, &file), 0);
	cr_assert_eq(write(file.fd, "tmp", 3), 3);
	q.base = &file;
	cr_assert_eq(walk_resolve(&q, &result), -ENOTDIR, "no base for anything");
	cr_assert_eq(OPS(t)->getattr(&t->fs, &file, &attr), 0);
	cr_assert_eq(attr.nlink, 0);
	cr_assert_eq(OPS(t)->link(&t->fs, &file, &root, "named"), 0);
	cr_assert_eq(content_of(t, "named", text, sizeof(text)), 3);
	cr_assert_eq(OPS(t)->link(&t->fs, &file, &root, "named"), -EEXIST);
	cr_assert_eq(OPS(t)->tmpfile(&t->fs, &root, O_RDONLY, 0640, &file), -EINVAL);
}

/* ---- names ---- */

FS_TEST(fs, links_are_made_of_the_object_itself)
{
	_cleanup_node_ struct fs_node root = root_of(t), file = FS_NODE_NULL, link = FS_NODE_NULL,
				      dir = FS_NODE_NULL;

	make_dir(t, "d", 0755);
	make_file(t, "f", "f");
	make_link(t, "f", "l");
	file = node_at_path(t, "f");
	link = node_at_path(t, "l");
	dir = node_at_path(t, "d");
	cr_assert_eq(OPS(t)->link(&t->fs, &file, &dir, "hard"), 0);
	cr_assert_eq(inode_of(t, "d/hard"), inode_of(t, "f"));
	cr_assert_eq(OPS(t)->link(&t->fs, &link, &dir, "hard-link"), 0);
	cr_assert_eq(inode_of(t, "d/hard-link"), inode_of(t, "l"), "the link, not its target");
	cr_assert_eq(OPS(t)->link(&t->fs, &dir, &root, "hard-dir"), -EPERM);
}

FS_TEST(fs, unlink_and_rename_touch_names_only)
{
	_cleanup_node_ struct fs_node root = root_of(t), dir = FS_NODE_NULL;
	ino_t a, b;

	make_dir(t, "d", 0755);
	make_file(t, "a", "a");
	make_file(t, "b", "b");
	make_link(t, "d", "l");
	cr_assert_eq(mkfifoat(t->tree, "fifo", 0600), 0);
	a = inode_of(t, "a");
	b = inode_of(t, "b");
	dir = node_at_path(t, "d");
	cr_assert_eq(OPS(t)->rename(&t->fs, &root, "a", &root, "b", RENAME_NOREPLACE), -EEXIST);
	cr_assert_eq(OPS(t)->rename(&t->fs, &root, "a", &root, "b", RENAME_EXCHANGE), 0);
	cr_assert_eq(inode_of(t, "a"), b);
	cr_assert_eq(inode_of(t, "b"), a);
	cr_assert_eq(OPS(t)->rename(&t->fs, &root, "a", &dir, "moved", 0), 0);
	cr_assert_eq(inode_of(t, "d/moved"), b);
	cr_assert_eq(OPS(t)->rename(&t->fs, &dir, "moved", &root, "l", 0), 0);
	cr_assert_eq(inode_of(t, "l"), b, "the link's name is replaced, not what it points to");
	cr_assert_eq(OPS(t)->rename(&t->fs, &root, "missing", &root, "x", 0), -ENOENT);
	cr_assert_eq(OPS(t)->unlink(&t->fs, &root, "d", false), -EISDIR);
	cr_assert_eq(OPS(t)->unlink(&t->fs, &root, "b", true), -ENOTDIR);
	cr_assert_eq(OPS(t)->unlink(&t->fs, &root, "fifo", false), 0);
	cr_assert_eq(OPS(t)->unlink(&t->fs, &root, "b", false), 0);
	cr_assert_eq(OPS(t)->unlink(&t->fs, &root, "d", true), 0);
	cr_assert_eq(OPS(t)->unlink(&t->fs, &root, "d", true), -ENOENT);
}

FS_TEST(fs, a_symlink_holds_any_bytes)
{
	static const char *const targets[] = { "x", "/etc/passwd", "../../..", "a\nb",
					       "\xff\xfe\x1b[0m" };
	_cleanup_node_ struct fs_node root = root_of(t);

	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		_cleanup_node_ struct fs_node link = FS_NODE_NULL;
		char name[8], target[PATH_MAX];

		(void)snprintf(name, sizeof(name), "l%zu", i);
		cr_assert_eq(OPS(t)->symlink(&t->fs, targets[i], &root, name), 0);
		link = node_at_path(t, name);
		cr_assert_eq(OPS(t)->readlink(&t->fs, &link, target, sizeof(target)),
			     (ssize_t)strlen(targets[i]));
		cr_assert_str_eq(target, targets[i]);
	}
	{
		char target[PATH_MAX];

		cr_assert_eq(OPS(t)->readlink(&t->fs, &root, target, sizeof(target)), -EINVAL);
	}
}

/* ---- attributes ---- */

static int set_attr(struct fixture *t, const char *path, Gofer__SetAttrRequest set)
{
	_cleanup_node_ struct fs_node node = node_at_path(t, path);

	return OPS(t)->setattr(&t->fs, &node, &set);
}

#define SET(...)                                                                                 \
	((Gofer__SetAttrRequest){ PROTOBUF_C_MESSAGE_INIT(&gofer__set_attr_request__descriptor), \
				  __VA_ARGS__ })

FS_TEST(fs, attributes_are_set_on_the_object_itself)
{
	struct stat before, st;

	make_dir(t, "d", 0755);
	make_file(t, "f", "0123456789");
	make_link(t, "f", "l");
	cr_assert_eq(mkfifoat(t->tree, "fifo", 0600), 0);
	cr_assert_eq(set_attr(t, "f", SET(.mask = GOFER__SET_ATTR_MASK__SET_MODE, .mode = 0461)),
		     0);
	cr_assert_eq(set_attr(t, "fifo", SET(.mask = GOFER__SET_ATTR_MASK__SET_MODE, .mode = 0644)),
		     0);
	cr_assert_eq(set_attr(t, "d", SET(.mask = GOFER__SET_ATTR_MASK__SET_MODE, .mode = 01700)),
		     0);
	cr_assert_eq(fstatat(t->tree, "f", &st, 0), 0);
	cr_assert_eq(st.st_mode, S_IFREG | 0461);
	cr_assert_eq(fstatat(t->tree, "fifo", &st, 0), 0);
	cr_assert_eq(st.st_mode, S_IFIFO | 0644);
	cr_assert_eq(fstatat(t->tree, "d", &st, 0), 0);
	cr_assert_eq(st.st_mode, S_IFDIR | 01700);

	cr_assert_eq(fstatat(t->tree, "f", &before, 0), 0);
	cr_assert_eq(set_attr(t, "l", SET(.mask = GOFER__SET_ATTR_MASK__SET_MODE, .mode = 0777)),
		     -EOPNOTSUPP);
	cr_assert_lt(set_attr(t, "l", SET(.mask = GOFER__SET_ATTR_MASK__SET_SIZE, .size = 1)), 0);
	cr_assert_eq(
		set_attr(t, "l",
			 SET(.mask = GOFER__SET_ATTR_MASK__SET_UID | GOFER__SET_ATTR_MASK__SET_GID |
				     GOFER__SET_ATTR_MASK__SET_MTIME,
			     .uid = geteuid(), .gid = getegid(), .mtime = 77, .mtime_nsec = 5)),
		0);
	cr_assert_eq(fstatat(t->tree, "l", &st, AT_SYMLINK_NOFOLLOW), 0);
	cr_assert_eq(st.st_mtim.tv_sec, 77);
	cr_assert_eq(st.st_mtim.tv_nsec, 5);
	cr_assert_eq(fstatat(t->tree, "f", &st, 0), 0);
	cr_assert_eq(st.st_mode, before.st_mode);
	cr_assert_eq(st.st_size, before.st_size);
	cr_assert_eq(st.st_ctim.tv_nsec, before.st_ctim.tv_nsec, "the target is as it was");

	cr_assert_eq(set_attr(t, "f", SET(.mask = GOFER__SET_ATTR_MASK__SET_MODE, .mode = 0644)),
		     0);
	cr_assert_eq(set_attr(t, "f", SET(.mask = GOFER__SET_ATTR_MASK__SET_SIZE, .size = 4)), 0);
	cr_assert_eq(set_attr(t, "d", SET(.mask = GOFER__SET_ATTR_MASK__SET_SIZE, .size = 4)),
		     -EISDIR);
	cr_assert_eq(set_attr(t, "fifo", SET(.mask = GOFER__SET_ATTR_MASK__SET_SIZE, .size = 4)),
		     -EINVAL);
	cr_assert_eq(set_attr(t, "f",
			      SET(.mask = GOFER__SET_ATTR_MASK__SET_ATIME |
					  GOFER__SET_ATTR_MASK__SET_MTIME_NOW,
				  .atime = -5, .atime_nsec = 999999999)),
		     0);
	cr_assert_eq(fstatat(t->tree, "f", &st, 0), 0);
	cr_assert_eq(st.st_size, 4);
	cr_assert_eq(st.st_atim.tv_sec, -5);
	cr_assert_geq(st.st_mtim.tv_sec, before.st_mtim.tv_sec);
	cr_assert_eq(
		set_attr(t, "f",
			 SET(.mask = GOFER__SET_ATTR_MASK__SET_MTIME, .mtime_nsec = UTIME_OMIT)),
		-EINVAL, "no magic nanoseconds");
	cr_assert_eq(
		set_attr(t, "f", SET(.mask = GOFER__SET_ATTR_MASK__SET_SIZE, .size = UINT64_MAX)),
		-EINVAL);
}

FS_TEST(fs, S100_a_file_opened_for_writing_is_cut_whatever_its_mode_says)
{
	_cleanup_node_ struct fs_node root = FS_NODE_NULL, file = FS_NODE_NULL;

	become_nobody(t);
	root = root_of(t);
	cr_assert_eq(OPS(t)->create(&t->fs, &root, "f", O_CREAT | O_EXCL | O_WRONLY, 0400, &file),
		     0);
	cr_assert_eq(write(file.fd, "12345", 5), 5);
	cr_assert_eq(OPS(t)->setattr(&t->fs, &file,
				     &SET(.mask = GOFER__SET_ATTR_MASK__SET_SIZE, .size = 2)),
		     0);
	if (geteuid() != 0)
		cr_assert_eq(
			set_attr(t, "f", SET(.mask = GOFER__SET_ATTR_MASK__SET_SIZE, .size = 1)),
			-EACCES);
}

FS_TEST(fs, what_the_kernel_refuses_is_refused)
{
	_cleanup_node_ struct fs_node node = FS_NODE_NULL;
	struct fs_node file;

	if (geteuid() != 0) {
		fixture_deinit(t);
		cr_skip_test("needs a file of somebody else's");
	}
	make_file(t, "theirs", "x");
	cr_assert_eq(fchmodat(t->tree, "theirs", 0600, 0), 0);
	become_nobody(t);
	node = node_at_path(t, "theirs");
	cr_assert_eq(open_at(t, "theirs", O_RDONLY, &file), -EACCES);
	cr_assert_eq(OPS(t)->access(&t->fs, &node, R_OK), -EACCES);
	cr_assert_eq(OPS(t)->access(&t->fs, &node, F_OK), 0);
	cr_assert_eq(
		set_attr(t, "theirs", SET(.mask = GOFER__SET_ATTR_MASK__SET_MODE, .mode = 0666)),
		-EPERM);
	cr_assert_eq(set_attr(t, "theirs",
			      SET(.mask = GOFER__SET_ATTR_MASK__SET_UID, .uid = FIXTURE_NOBODY)),
		     -EPERM);
	cr_assert_eq(set_attr(t, "theirs", SET(.mask = GOFER__SET_ATTR_MASK__SET_MTIME)), -EPERM);
	cr_assert_eq(set_attr(t, "theirs", SET(.mask = GOFER__SET_ATTR_MASK__SET_SIZE)), -EACCES);
}

FS_TEST(fs, S12_a_read_only_filesystem_refuses_every_change)
{
	_cleanup_node_ struct fs_node root = FS_NODE_NULL, f = FS_NODE_NULL;
	struct fs_node file;

	make_file(t, "f", "f");
	t->fs.flags |= FS_READ_ONLY;
	root = root_of(t);
	f = node_at_path(t, "f");
	cr_assert_eq(open_at(t, "f", O_WRONLY, &file), -EROFS);
	cr_assert_eq(open_at(t, "f", O_RDONLY | O_TRUNC, &file), -EROFS);
	cr_assert_eq(create_at(t, "new", O_RDONLY, &file), -EROFS);
	cr_assert_eq(create_at(t, "f", O_RDWR, &file), -EROFS);
	cr_assert_eq(create_at(t, "f", O_RDONLY, &file), 0, "what exists may be read");
	fs_node_deinit(&file);
	cr_assert_eq(OPS(t)->tmpfile(&t->fs, &root, O_RDWR, 0600, &file), -EROFS);
	cr_assert_eq(OPS(t)->mkdir(&t->fs, &root, "d", 0700), -EROFS);
	cr_assert_eq(OPS(t)->mknod(&t->fs, &root, "n", S_IFIFO | 0700, 0), -EROFS);
	cr_assert_eq(OPS(t)->symlink(&t->fs, "x", &root, "l"), -EROFS);
	cr_assert_eq(OPS(t)->link(&t->fs, &f, &root, "h"), -EROFS);
	cr_assert_eq(OPS(t)->unlink(&t->fs, &root, "f", false), -EROFS);
	cr_assert_eq(OPS(t)->rename(&t->fs, &root, "f", &root, "g", 0), -EROFS);
	cr_assert_eq(OPS(t)->setxattr(&t->fs, &f, "user.x", "x", 1, 0), -EROFS);
	cr_assert_eq(OPS(t)->removexattr(&t->fs, &f, "user.x"), -EROFS);
	cr_assert_eq(OPS(t)->access(&t->fs, &f, W_OK), -EROFS);
	cr_assert_eq(set_attr(t, "f", SET(.mask = GOFER__SET_ATTR_MASK__SET_MODE, .mode = 0600)),
		     -EROFS);
	cr_assert(exists(t, "f") && !exists(t, "new") && !exists(t, "g"));
}

FS_TEST(fs, attributes_are_those_of_the_host)
{
	_cleanup_node_ struct fs_node node = FS_NODE_NULL;
	Gofer__StatFsReply sf;
	Gofer__Attr attr;
	struct stat st;

	make_file(t, "f", "12345");
	node = node_at_path(t, "f");
	cr_assert_eq(OPS(t)->getattr(&t->fs, &node, &attr), 0);
	cr_assert_eq(fstatat(t->tree, "f", &st, 0), 0);
	cr_assert_eq(attr.ino, st.st_ino);
	cr_assert_eq(attr.dev, st.st_dev);
	cr_assert_eq(attr.mode, st.st_mode);
	cr_assert_eq(attr.nlink, st.st_nlink);
	cr_assert_eq(attr.uid, st.st_uid);
	cr_assert_eq(attr.gid, st.st_gid);
	cr_assert_eq(attr.size, 5);
	cr_assert_eq(attr.blocks, (uint64_t)st.st_blocks);
	cr_assert_eq(attr.blksize, (uint32_t)st.st_blksize);
	cr_assert_eq(attr.mtime, st.st_mtim.tv_sec);
	cr_assert_eq(attr.mtime_nsec, (uint32_t)st.st_mtim.tv_nsec);
	cr_assert_eq(attr.ctime_nsec, (uint32_t)st.st_ctim.tv_nsec);
	cr_assert_eq(OPS(t)->statfs(&t->fs, &node, &sf), 0);
	cr_assert_gt(sf.blocks, 0);
	cr_assert_eq(sf.namelen, 255);
	cr_assert(!sf.read_only);
}

FS_TEST(fs, S74_xattrs_are_those_of_the_object_itself)
{
	_cleanup_node_ struct fs_node file = FS_NODE_NULL, link = FS_NODE_NULL, dir = FS_NODE_NULL;
	char value[32], list[256];
	ssize_t n;
	int r;

	make_dir(t, "d", 0755);
	make_file(t, "f", "f");
	make_link(t, "f", "l");
	file = node_at_path(t, "f");
	link = node_at_path(t, "l");
	dir = node_at_path(t, "d");
	r = OPS(t)->setxattr(&t->fs, &file, "user.one", "first\0x", 7, XATTR_CREATE);
	if (r == -EOPNOTSUPP) {
		fs_node_deinit(&file);
		fs_node_deinit(&link);
		fs_node_deinit(&dir);
		fixture_deinit(t);
		cr_skip_test("no user xattrs here");
	}
	cr_assert_eq(r, 0, "%d", r);
	cr_assert_eq(OPS(t)->setxattr(&t->fs, &file, "user.one", "x", 1, XATTR_CREATE), -EEXIST);
	cr_assert_eq(OPS(t)->setxattr(&t->fs, &file, "user.two", "x", 1, XATTR_REPLACE), -ENODATA);
	cr_assert_eq(OPS(t)->getxattr(&t->fs, &file, "user.one", NULL, 0), 7);
	cr_assert_eq(OPS(t)->getxattr(&t->fs, &file, "user.one", value, 3), -ERANGE);
	cr_assert_eq(OPS(t)->getxattr(&t->fs, &file, "user.one", value, sizeof(value)), 7);
	cr_assert_arr_eq(value, "first\0x", 7);
	cr_assert_eq(OPS(t)->setxattr(&t->fs, &dir, "user.dir", "d", 1, 0), 0);
	n = OPS(t)->listxattr(&t->fs, &file, list, sizeof(list));
	cr_assert_geq(n, (ssize_t)sizeof("user.one"));
	cr_assert_not_null(memmem(list, (size_t)n, "user.one", sizeof("user.one")));
	cr_assert_eq(OPS(t)->getxattr(&t->fs, &file, "user.none", value, sizeof(value)), -ENODATA);

	/* A link has no user xattrs; its target's are not its own. */
	cr_assert_lt(OPS(t)->getxattr(&t->fs, &link, "user.one", value, sizeof(value)), 0);
	cr_assert_lt(OPS(t)->setxattr(&t->fs, &link, "user.link", "x", 1, 0), 0);
	cr_assert_eq(OPS(t)->getxattr(&t->fs, &file, "user.link", value, sizeof(value)), -ENODATA);
	cr_assert_eq(OPS(t)->removexattr(&t->fs, &file, "user.one"), 0);
	cr_assert_eq(OPS(t)->removexattr(&t->fs, &file, "user.one"), -ENODATA);
}

/* ---- mounts ---- */

FS_TEST(fs, S11_a_mount_inside_is_entered_only_with_xdev)
{
	char path[128];
	struct fs_node node = FS_NODE_NULL;
	struct walk_request q = request_for(t, "a/mnt/..");
	struct walk_result result;
	Gofer__Attr attr;
	struct stat st;
	int r, dir;

	if (geteuid() != 0 || t->variant == ON_HOST_DETACHED) {
		fixture_deinit(t);
		cr_skip_test("needs to mount, and a tree that is not cloned");
	}
	make_dir(t, "a", 0755);
	make_dir(t, "a/mnt", 0755);
	(void)snprintf(path, sizeof(path), "%s/tree/a/mnt", t->home);
	if (mount("inner", path, "tmpfs", 0, "") < 0) {
		fixture_deinit(t);
		cr_skip_test("cannot mount here");
	}
	q.path_len = 5;
	r = walk_resolve(&q, &result);
	cr_assert_eq(r, -EXDEV, "%d", r);
	q.path_len = 8;
	r = walk_resolve(&q, &result);
	cr_assert_eq(r, -EXDEV, "%d", r);
	/* Nor do the attributes of its entry show it. */
	dir = openat(t->tree, "a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(dir, 0);
	cr_assert_eq(fs_attr_of_entry(&t->fs, dir, "mnt", &attr), -EXDEV);
	t->fs.flags |= FS_XDEV;
	cr_assert_eq(fs_attr_of_entry(&t->fs, dir, "mnt", &attr), 0);
	cr_assert_eq(close(dir), 0);
	q.path_len = 5;
	cr_assert_eq(walk_resolve(&q, &result), 0);
	node = TAKE_NODE(result.node);
	cr_assert_eq(fstatat(t->tree, "a/mnt", &st, 0), 0);
	cr_assert_eq(result.attr.dev, st.st_dev);
	cr_assert_eq(OPS(t)->verify(&t->fs, &node), 0);
	q = request_for(t, "../..");
	q.base = &node;
	r = walk_resolve(&q, &result);
	cr_assert_eq(r, 0, "%d", r);
	cr_assert_eq(result.attr.ino, inode_of(t, ""));
	walk_result_deinit(&result);
	fs_node_deinit(&node);
	cr_assert_eq(umount2(path, MNT_DETACH), 0);
}

/* ---- sockets ---- */

FS_TEST(fs, S40_connect_reaches_the_socket_that_was_found_and_only_by_policy)
{
	_cleanup_node_ struct fs_node node = FS_NODE_NULL, file = FS_NODE_NULL;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int second = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval hour = { .tv_sec = 3600 };
	socklen_t len = sizeof(hour);
	int inet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/tree/s", t->home);
	cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(listener, 0), 0);
	make_file(t, "f", "");
	node = node_at_path(t, "s");
	file = node_at_path(t, "f");
	cr_assert_eq(OPS(t)->connect(&t->fs, &node, client), -EPERM);
	t->fs.flags |= FS_SPECIAL;
	cr_assert_eq(OPS(t)->connect(&t->fs, &file, client), -ECONNREFUSED);
	cr_assert_eq(OPS(t)->connect(&t->fs, &node, inet), -EAFNOSUPPORT);
	cr_assert_eq(setsockopt(second, SOL_SOCKET, SO_SNDTIMEO, &hour, sizeof(hour)), 0);
	cr_assert_eq(OPS(t)->connect(&t->fs, &node, client), 0);
	/* The queue is full now: nobody waits, and the socket is as it was. */
	cr_assert_eq(OPS(t)->connect(&t->fs, &node, second), -EAGAIN);
	cr_assert_eq(getsockopt(second, SOL_SOCKET, SO_SNDTIMEO, &hour, &len), 0);
	cr_assert_eq(hour.tv_sec, 3600);
	fd_close(accept(listener, NULL, NULL));
	cr_assert_eq(OPS(t)->connect(&t->fs, &node, second), 0);
	fd_close(accept(listener, NULL, NULL));
	fd_close(second);
	fd_close(listener);
	fd_close(client);
	fd_close(inet);
}

/* ---- directories ---- */

struct listing {
	unsigned seen, stop_after;
	uint64_t cookie, ino_sum;
	bool found[2000];
};

static int take_entry(const struct fs_dirent *entry, void *userdata)
{
	struct listing *l = userdata;
	unsigned n;

	if (l->stop_after == 0)
		return 1;
	cr_assert_eq(entry->name_len, strlen(entry->name));
	cr_assert_neq(entry->cookie, 0);
	cr_assert_eq(sscanf(entry->name, "file-%u", &n), 1, "%s", entry->name);
	cr_assert(n < ARRAY_SIZE(l->found) && !l->found[n], "%s twice", entry->name);
	l->found[n] = true;
	l->stop_after--;
	l->seen++;
	l->cookie = entry->cookie;
	return 0;
}

/* More, less and not at all what a read can take. */
static size_t any_room(void *userdata)
{
	static unsigned turn;

	return (const size_t[]){ 1, 700, 1 << 20, 4096 }[turn++ % 4];
}

static size_t no_room(void *userdata)
{
	return 0;
}

FS_TEST(fs, S86_a_listing_stops_and_goes_on_where_it_stopped)
{
	static struct listing l;
	const struct fs_reader reader = { take_entry, any_room, &l },
			       sated = { take_entry, no_room, &l };
	struct fs_node dir;
	bool end = false;
	unsigned rounds = 0;

	make_dir(t, "d", 0755);
	for (unsigned i = 0; i < ARRAY_SIZE(l.found); i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "d/file-%u", i);
		make_file(t, name, "");
	}
	l = (struct listing){ 0 };
	while (!end) {
		/* Each time a fresh descriptor: nothing but the cookie carries the place. */
		cr_assert_eq(open_at(t, "d", O_RDONLY | O_DIRECTORY, &dir), 0);
		l.stop_after = 1 + 37 * rounds;
		cr_assert_eq(fs_read_dir(dir.fd, l.cookie, &reader, &end), 0);
		if (!end) {
			unsigned seen = l.seen;

			cr_assert_eq(fs_read_dir(dir.fd, l.cookie, &sated, &end), 0);
			cr_assert(!end && l.seen == seen);
		}
		fs_node_deinit(&dir);
		cr_assert_lt(++rounds, 100);
	}
	cr_assert_eq(l.seen, ARRAY_SIZE(l.found));
}

static int count_entry(const struct fs_dirent *entry, void *userdata)
{
	unsigned *n = userdata;

	cr_assert(!path_is_dot(entry->name, entry->name_len));
	cr_assert(!path_is_dotdot(entry->name, entry->name_len));
	(*n)++;
	return 0;
}

FS_TEST(fs, S73_any_cookie_is_an_answer)
{
	static const uint64_t cookies[] = { 0,         1,          2,
					    3,         1000,       INT64_MAX / 2,
					    INT64_MAX, UINT64_MAX, (uint64_t)INT64_MAX + 1 };
	_cleanup_node_ struct fs_node dir = FS_NODE_NULL, file = FS_NODE_NULL;
	unsigned n = 0;
	const struct fs_reader reader = { count_entry, any_room, &n };
	bool end;

	make_file(t, "f", "");
	make_file(t, "\xff\n", "");
	cr_assert_eq(open_at(t, "", O_RDONLY | O_DIRECTORY, &dir), 0);
	cr_assert_eq(open_at(t, "f", O_RDONLY, &file), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cookies); i++) {
		int r = fs_read_dir(dir.fd, cookies[i], &reader, &end);

		cr_assert(r == 0 || r == -EINVAL || r == -ENOENT, "%d", r);
		if (i == 0)
			cr_assert(n == 2 && end);
	}
	cr_assert_eq(fs_read_dir(file.fd, 0, &reader, &end), -ENOTDIR);
}
