/*
 * test_namespace.c - paths through mounts, links and "..", against a real session in a child
 * process. Where the kernel can be asked the same question (openat2 with RESOLVE_IN_ROOT over bind
 * mounts), its answer is the expected one.
 */
#include "tests/unit/namespace_fixture.h"

Test(namespace, paths_lead_through_mounts_and_links)
{
	struct world *w = begin_mounted();

	expect_same(w, "/", "A");
	expect_same(w, "/../..", "A");
	expect_same(w, "/rel/f", "A/d/e/f");
	expect_same(w, "/chain/f", "A/d/e/f");
	expect_same(w, "/sub", "B");
	expect_same(w, "/sub/", "B");
	expect_same(w, "/sub/..", "A");
	expect_same(w, "/sub/x/../../d", "A/d");
	expect_same(w, "/d/../sub/x", "B/x");
	expect_same(w, "/rel/../../sub/x/y", "B/x/y");
	expect_same(w, "/abs/y", "B/x/y");
	expect_same(w, "/d/tosub/x", "B/x");
	expect_same(w, "/d/tosub/x/home/e", "A/d/e");
	expect_same(w, "/sub/x/parent/x", "B/x");
	expect_same(w, "/out/out/d", "A/d");
	expect_same(w, "/d/here/here/back", "A/d/e/f");
	end(w);
}

Test(namespace, one_request_where_nothing_is_in_the_way)
{
	static const char *const paths[] = { "/",        "/d/e/f",    "/rel/f",    "/sub",
					     "/sub/x/y", "/d/../d/e", "/sub/../d", "/../d" };
	struct world *w = begin_mounted();
	struct stat st;

	frames(w);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		cr_assert_eq(gofer_stat(w->ns, paths[i], 0, &st), 0);
		cr_assert_eq(frames(w), 1, "%s", paths[i]);
	}
	end(w);
}

Test(namespace, errors_are_those_of_the_kernel)
{
	struct world *w = begin_mounted();
	static char name[257], path[5000];
	struct stat st;
	int r;

	cr_assert_eq(gofer_stat(w->ns, "", 0, &st), -ENOENT);
	cr_assert_eq(gofer_stat(w->ns, "/missing/..", 0, &st), -ENOENT);
	cr_assert_eq(gofer_stat(w->ns, "/d/e/f/..", 0, &st), -ENOTDIR);
	cr_assert_eq(gofer_stat(w->ns, "/d/e/f/", 0, &st), -ENOTDIR);
	cr_assert_eq(gofer_stat(w->ns, "/fileslash", 0, &st), -ENOTDIR);
	cr_assert_eq(gofer_stat(w->ns, "/loop", 0, &st), -ELOOP);
	cr_assert_eq(gofer_stat(w->ns, "/dangling", 0, &st), -ENOENT);
	cr_assert_eq(gofer_stat(w->ns, "/dangling", AT_SYMLINK_NOFOLLOW, &st), 0);
	cr_assert_eq(gofer_stat(w->ns, "/missing/../sub/x", 0, &st), -ENOENT);
	cr_assert_eq(gofer_stat(w->ns, "/d/e/f/../../../sub/x", 0, &st), -ENOTDIR);
	memset(name, 'n', 256);
	memset(path, 'p', sizeof(path) - 1);
	cr_assert_eq(gofer_stat(w->ns, name, 0, &st), -ENAMETOOLONG);
	cr_assert_eq(gofer_stat(w->ns, path, 0, &st), -ENAMETOOLONG);
	r = gofer_stat(w->ns, "/d/nothing\nhere", 0, &st);
	cr_assert_eq(r, -ENOENT);
	cr_assert_str_eq(gofer_message(), "stat /d/nothing\\x0ahere: No such file or directory");
	end(w);
}

Test(namespace, mounts_without_a_root_stand_in_directories_of_their_own)
{
	struct world *w = begin();
	struct gofer_dirent e;
	struct gofer_dir *d;
	struct stat st;
	unsigned seen = 0;

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/srv/a", NULL), 0);
	cr_assert_eq(gofer_mount(w->ns, w->session, 1, "/srv/deep/b", NULL), 0);
	cr_assert_eq(gofer_mount(w->ns, w->session, 1, "/srv/a", NULL), -EBUSY);
	cr_assert_eq(gofer_mount(w->ns, w->session, 1, "srv", NULL), -EINVAL);
	cr_assert_eq(gofer_mount(w->ns, w->session, 1, "/x/../y", NULL), -EINVAL);
	cr_assert_eq(gofer_mount(w->ns, w->session, 9, "/x", NULL), -ENODEV);
	cr_assert_eq(gofer_stat(w->ns, "/srv/deep", 0, &st), 0);
	cr_assert_eq(st.st_mode, S_IFDIR | 0555);
	cr_assert_eq(gofer_stat(w->ns, "/srv/other", 0, &st), -ENOENT);
	cr_assert_eq(gofer_stat(w->ns, "/srv/other/x", 0, &st), -ENOENT);
	cr_assert_eq(gofer_mkdir(w->ns, "/srv/other", 0755), -EROFS);
	cr_assert_eq(gofer_mkdir(w->ns, "/srv/deep", 0755), -EEXIST);
	cr_assert_eq(gofer_access(w->ns, "/srv", R_OK | X_OK, 0), 0);
	cr_assert_eq(gofer_access(w->ns, "/srv", W_OK, 0), -EROFS);
	expect_same(w, "/srv/a/../deep/b/x/../../../a/d", "A/d");
	cr_assert_eq(gofer_opendir(w->ns, "/srv", 0, &d), 0);
	while (gofer_readdir(d, &e) == 1) {
		cr_assert(strcmp(e.name, "a") == 0 || strcmp(e.name, "deep") == 0);
		cr_assert_eq(e.type, DT_DIR);
		cr_assert(e.has_stat);
		seen++;
	}
	gofer_closedir(d);
	cr_assert_eq(seen, 2);
	cr_assert_eq(gofer_chdir(w->ns, "/srv"), 0);
	expect_same(w, "a/d", "A/d");
	cr_assert_eq(gofer_umount(w->ns, "/srv/deep/b"), 0);
	cr_assert_eq(gofer_stat(w->ns, "/srv/deep", 0, &st), -ENOENT);
	end(w);
}

Test(namespace, the_current_directory_is_a_place_not_a_text)
{
	struct world *w = begin_mounted();
	char buf[64];

	cr_assert_eq(gofer_chdir(w->ns, "/rel"), 0);
	cr_assert_eq(gofer_getcwd(w->ns, buf, sizeof(buf)), 0);
	cr_assert_str_eq(buf, "/d/e");
	cr_assert_eq(gofer_getcwd(w->ns, buf, 4), -ERANGE);
	expect_same(w, "f", "A/d/e/f");
	expect_same(w, "..", "A/d");
	expect_same(w, "../../sub/x", "B/x");
	/* Moved meanwhile: it is still the directory that one stands in. */
	cr_assert_eq(rename("A/d/e", "A/d/moved"), 0);
	expect_same(w, "f", "A/d/moved/f");
	cr_assert_eq(gofer_chdir(w->ns, "f"), -ENOTDIR);
	cr_assert_eq(gofer_chdir(w->ns, "/sub/x"), 0);
	expect_same(w, "../..", "A");
	expect_same(w, "../../d", "A/d");
	cr_assert_eq(gofer_chdir(w->ns, "/sub"), 0);
	expect_same(w, "../d", "A/d");
	cr_assert_eq(gofer_umount(w->ns, "/sub"), -EBUSY);
	end(w);
}

/* As in Linux: rename(2) asks for the names before it asks what a slash behind one means; link(2) looks its source up first. */
Test(namespace, an_empty_second_name_is_told_after_what_comes_first)
{
	struct world *w = begin_mounted();

	cr_assert_eq(close(open("A/plain", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)), 0);
	cr_assert_eq(gofer_rename(w->ns, "/plain", "", 0), -ENOENT);
	cr_assert_eq(gofer_rename(w->ns, "/plain//", "", 0), -ENOENT);
	cr_assert_eq(gofer_rename(w->ns, "/plain/below", "", 0), -ENOTDIR);
	cr_assert_eq(gofer_link(w->ns, "/plain/", "", 0), -ENOTDIR);
	cr_assert_eq(gofer_link(w->ns, "/plain", "", 0), -ENOENT);
	end(w);
}

/* Else what the server holds beneath the mount would show at the new name, without the mount. */
Test(namespace, directories_above_a_mount_are_busy)
{
	struct world *w = begin_mounted();

	cr_assert_eq(gofer_mount(w->ns, w->session, 1, "/d/e", NULL), 0);
	cr_assert_eq(gofer_rename(w->ns, "/d", "/other", 0), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/d/../d/.", "/other", 0), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/sub", "/d", RENAME_EXCHANGE), -EBUSY);
	cr_assert_eq(mkdir("A/new", 0755), 0);
	cr_assert_eq(gofer_rename(w->ns, "/new", "/d", RENAME_EXCHANGE), -EBUSY);
	cr_assert_eq(symlink(".", "A/dot"), 0);
	cr_assert_eq(gofer_rename(w->ns, "/dot/d", "/new/d", 0), -EBUSY);
	cr_assert_eq(gofer_chdir(w->ns, "/new"), 0);
	cr_assert_eq(gofer_rename(w->ns, "../d", "d", 0), -EBUSY);
	/* Beside it, nothing is in the way. */
	cr_assert_eq(gofer_rename(w->ns, "/new", "/d/new", 0), 0);
	cr_assert_eq(gofer_rename(w->ns, "/d/new", "/newer", 0), 0);
	end(w);
}

/* Otherwise what lies below a mount's path would no longer be that mount: a read-only one inside of one that can be
 * written would be got around. */
Test(namespace, directories_above_mounts_cannot_be_renamed)
{
	struct world *w = begin();

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/", NULL), 0);
	cr_assert_eq(gofer_mount(w->ns, w->session, 1, "/d/e", NULL), 0);
	cr_assert_eq(gofer_rename(w->ns, "/d", "/other", 0), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/d/", "/other", 0), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/d/here/../d/../d", "/other", 0), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/slash/d", "/other", 0), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/big", "/d", 0), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/big", "/d", RENAME_EXCHANGE), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/d", "/big", RENAME_EXCHANGE), -EBUSY);
	/* A link to it is another thing, and so is what has a longer name. */
	cr_assert_eq(gofer_rename(w->ns, "/rel", "/rel2", 0), 0);
	cr_assert_eq(gofer_rename(w->ns, "/d/tosub", "/d/tosub2", 0), 0);
	cr_assert_eq(gofer_rename(w->ns, "/dangling", "/d2", 0), 0);
	cr_assert_eq(gofer_umount(w->ns, "/d/e"), 0);
	cr_assert_eq(gofer_rename(w->ns, "/d", "/other", 0), 0);
	end(w);
}

Test(namespace, mount_points_are_busy_and_other_mounts_are_other_devices)
{
	struct world *w = begin_mounted();

	cr_assert_eq(gofer_unlink(w->ns, "/sub"), -EISDIR);
	cr_assert_eq(gofer_rmdir(w->ns, "/sub/"), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/sub", "/other", 0), -EBUSY);
	cr_assert_eq(gofer_rename(w->ns, "/d", "/sub", 0), -EBUSY);
	cr_assert_eq(gofer_mkdir(w->ns, "/sub", 0755), -EEXIST);
	cr_assert_eq(gofer_rename(w->ns, "/d/e/f", "/sub/f", 0), -EXDEV);
	cr_assert_eq(gofer_link(w->ns, "/d/e/f", "/sub/f", 0), -EXDEV);
	/* By a link the two are in one filesystem after all. */
	cr_assert_eq(gofer_rename(w->ns, "/abs/y", "/sub/moved", 0), 0);
	expect_same(w, "/sub/moved", "B/moved");
	end(w);
}

Test(namespace, creating_through_a_dangling_link_creates_its_target)
{
	struct world *w = begin_mounted();
	struct gofer_file *file;
	char buf[64];

	cr_assert_eq(gofer_open(w->ns, "/newfile", O_WRONLY | O_CREAT | O_EXCL, 0644, &file),
		     -EEXIST);
	cr_assert_eq(gofer_open(w->ns, "/newfile", O_WRONLY | O_CREAT | O_NOFOLLOW, 0644, &file),
		     -ELOOP);
	cr_assert_eq(gofer_open(w->ns, "/newfile", O_WRONLY | O_CREAT, 0644, &file), 0, "%s",
		     gofer_message());
	cr_assert_eq(gofer_write(file, "x", 1), 1);
	gofer_close(file);
	expect_same(w, "/d/created", "A/d/created");
	cr_assert_eq(gofer_readlink(w->ns, "/newfile", buf, sizeof(buf)), 9);
	end(w);
}

static void check_io(struct world *w, const char *path)
{
	static char data[700000], back[700001];
	struct gofer_file *file;
	struct stat st;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 31 + i / 1000);
	cr_assert_eq(gofer_open(w->ns, path, O_RDWR | O_CREAT | O_TRUNC, 0640, &file), 0);
	cr_assert_eq(gofer_write(file, data, sizeof(data)), (ssize_t)sizeof(data));
	cr_assert_eq(gofer_lseek(file, 0, SEEK_CUR), (off_t)sizeof(data));
	cr_assert_eq(gofer_pread(file, back, sizeof(back), 0), (ssize_t)sizeof(data));
	cr_assert_eq(memcmp(data, back, sizeof(data)), 0);
	cr_assert_eq(gofer_pread(file, back, 10, sizeof(data) - 3), 3);
	cr_assert_eq(gofer_pread(file, back, 10, sizeof(data)), 0);
	cr_assert_eq(gofer_lseek(file, -1, SEEK_END), (off_t)sizeof(data) - 1);
	cr_assert_eq(gofer_read(file, back, 10), 1);
	cr_assert_eq(gofer_lseek(file, -1, SEEK_SET), -EINVAL);
	cr_assert_eq(gofer_ftruncate(file, 5), 0);
	cr_assert_eq(gofer_fchmod(file, 0600), 0);
	cr_assert_eq(gofer_fsync(file, true), 0);
	cr_assert_eq(gofer_fstat(file, &st), 0);
	cr_assert_eq(st.st_size, 5);
	cr_assert_eq(st.st_mode, S_IFREG | 0600);
	cr_assert_eq(gofer_lseek(file, 0, SEEK_HOLE), 5);
	gofer_close(file);
	cr_assert_eq(gofer_open(w->ns, path, O_WRONLY | O_APPEND, 0, &file), 0);
	cr_assert_eq(gofer_write(file, "67", 2), 2);
	cr_assert_eq(gofer_fstat(file, &st), 0);
	cr_assert_eq(st.st_size, 7);
	cr_assert_eq(gofer_pread(file, back, 1, 0), -EBADF);
	gofer_close(file);
}

Test(namespace, files_are_the_same_with_and_without_donated_descriptors)
{
	struct world *w = begin_mounted();
	struct gofer_mount_options o = { .no_donate = true };

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/nd", &o), 0);
	check_io(w, "/d/file");
	check_io(w, "/nd/d/other");
	end(w);
}

Test(namespace, reading_costs_no_request_with_a_donated_descriptor_and_no_empty_read_without)
{
	struct world *w = begin_mounted();
	struct gofer_mount_options o = { .no_donate = true };
	struct gofer_file *file;
	char buf[100];

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/nd", &o), 0);
	frames(w);
	cr_assert_eq(gofer_open(w->ns, "/d/e/f", O_RDONLY, 0, &file), 0);
	cr_assert_geq(gofer_fileno(file), 0);
	cr_assert_eq(gofer_read(file, buf, sizeof(buf)), 5);
	gofer_close(file);
	cr_assert_eq(frames(w), 1);
	cr_assert_eq(gofer_open(w->ns, "/nd/d/e/f", O_RDONLY, 0, &file), 0);
	cr_assert_eq(gofer_fileno(file), -ENODATA);
	cr_assert_eq(gofer_read(file, buf, sizeof(buf)), 5);
	gofer_close(file);
	cr_assert_eq(frames(w), 2);
	end(w);
}

Test(namespace, attributes_of_a_file_without_a_handle_go_to_that_inode_or_nowhere)
{
	struct world *w = begin_mounted();
	struct gofer_file *file;
	struct stat st;

	cr_assert_eq(gofer_open(w->ns, "/d/e/f", O_RDONLY, 0, &file), 0);
	cr_assert_eq(gofer_fchmod(file, 0604), 0);
	gofer_close(file);
	cr_assert_eq(stat("A/d/e/f", &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0604);
	cr_assert_eq(gofer_open(w->ns, "/d/e/f", O_RDONLY, 0, &file), 0);
	cr_assert_eq(rename("A/d/e/f", "A/d/e/old"), 0);
	put("A/d/e/f", "another");
	cr_assert_eq(gofer_fchmod(file, 0777), -ESTALE);
	gofer_close(file);
	cr_assert_eq(stat("A/d/e/f", &st), 0);
	cr_assert_neq(st.st_mode & 07777, 0777);
	end(w);
}

Test(namespace, whole_files_and_unnamed_ones)
{
	struct world *w = begin_mounted();
	static char large[400000];
	struct gofer_file *file;
	struct stat st;
	void *data;
	size_t size;

	frames(w);
	cr_assert_eq(gofer_write_file(w->ns, "/d/w", "hello", 5, 0644, GOFER_WRITE_ATOMIC), 0);
	cr_assert_eq(frames(w), 1);
	cr_assert_eq(gofer_read_file(w->ns, "/d/w", &data, &size, &st), 0);
	cr_assert_eq(frames(w), 1);
	cr_assert(size == 5 && memcmp(data, "hello", 5) == 0 && st.st_size == 5);
	free(data);
	cr_assert_eq(gofer_write_file(w->ns, "/d/w", "again", 5, 0644, GOFER_WRITE_EXCLUSIVE),
		     -EEXIST);
	memset(large, 'l', sizeof(large));
	for (int flags = 0; flags <= GOFER_WRITE_ATOMIC; flags++) {
		cr_assert_eq(gofer_write_file(w->ns, "/d/large", large, sizeof(large), 0600, flags),
			     0, "%s", gofer_message());
		cr_assert_eq(gofer_read_file(w->ns, "/d/large", &data, &size, NULL), 0);
		cr_assert(size == sizeof(large) && memcmp(data, large, size) == 0);
		free(data);
	}
	cr_assert_eq(gofer_write_file(w->ns, "/d/large", large, sizeof(large), 0600,
				      GOFER_WRITE_ATOMIC | GOFER_WRITE_EXCLUSIVE),
		     -EEXIST);
	cr_assert_eq(gofer_read_file(w->ns, "/d", &data, &size, NULL), -EISDIR);
	cr_assert_eq(gofer_open(w->ns, "/d", O_RDWR | O_TMPFILE, 0600, &file), 0, "%s",
		     gofer_message());
	cr_assert_eq(gofer_write(file, "t", 1), 1);
	cr_assert_eq(gofer_flink(file, "/sub/t"), -EXDEV);
	cr_assert_eq(gofer_flink(file, "/d/w"), -EEXIST);
	cr_assert_eq(gofer_flink(file, "/rel/t"), 0, "%s", gofer_message());
	gofer_close(file);
	expect_same(w, "/d/e/t", "A/d/e/t");
	end(w);
}

Test(namespace, large_directories_come_whole_with_attributes)
{
	struct world *w = begin_mounted();
	struct gofer_dirent e;
	struct gofer_dir *d;
	char path[64];
	unsigned n = 0;

	for (int i = 0; i < 1500; i++) {
		snprintf(path, sizeof(path), "A/big/file-with-a-name-%d", i);
		put(path, "x");
	}
	cr_assert_eq(gofer_opendir(w->ns, "/big", 0, &d), 0);
	while (gofer_readdir(d, &e) == 1) {
		cr_assert(e.has_stat && e.st.st_size == 1 && e.type == DT_REG &&
			  e.st.st_ino == e.ino);
		n++;
	}
	gofer_closedir(d);
	cr_assert_eq(n, 1500);
	/* Given up in the middle: the handle goes. */
	cr_assert_eq(gofer_opendir(w->ns, "/big", 0, &d), 0);
	cr_assert_eq(gofer_readdir(d, &e), 1);
	gofer_closedir(d);
	cr_assert_eq(gofer_opendir(w->ns, "/", 0, &d), 0);
	for (n = 0; gofer_readdir(d, &e) == 1;)
		if (strcmp(e.name, "sub") == 0) {
			struct stat b;

			cr_assert_eq(stat("B", &b), 0);
			cr_assert_eq(e.st.st_ino, b.st_ino,
				     "a mount point is listed as what is mounted there");
			n++;
		} else if (strcmp(e.name, "rel") == 0) {
			cr_assert_str_eq(e.target, "d/e");
		}
	cr_assert_eq(n, 1);
	gofer_closedir(d);
	cr_assert_eq(gofer_opendir(w->ns, "/d/e/f", 0, &d), -ENOTDIR);
	end(w);
}

Test(namespace, a_mount_that_is_read_only_here_refuses_changes_and_leads_elsewhere_all_the_same)
{
	struct world *w = begin();
	struct gofer_mount_options o = { .read_only = true };
	struct gofer_file *file;

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/", &o), 0);
	cr_assert_eq(gofer_mount(w->ns, w->session, 1, "/sub", NULL), 0);
	cr_assert_eq(gofer_mkdir(w->ns, "/d/new", 0755), -EROFS);
	cr_assert_eq(gofer_chmod(w->ns, "/d/e/f", 0600), -EROFS);
	cr_assert_eq(gofer_open(w->ns, "/d/e/f", O_RDWR, 0, &file), -EROFS);
	cr_assert_eq(gofer_open(w->ns, "/d/new", O_RDWR | O_CREAT, 0644, &file), -EROFS);
	cr_assert_eq(gofer_access(w->ns, "/d/e/f", W_OK, 0), -EROFS);
	cr_assert_eq(gofer_unlink(w->ns, "/missing/x"), -EROFS);
	cr_assert_eq(gofer_open(w->ns, "/d/e/f", O_RDONLY, 0, &file), 0);
	cr_assert_eq(gofer_fchmod(file, 0600), -EROFS);
	gofer_close(file);
	cr_assert_eq(gofer_mkdir(w->ns, "/abs/new", 0755), 0);
	end(w);
}

Test(namespace, resolve_says_where_a_path_leads)
{
	static const struct {
		const char *path;
		bool follow;
		uint32_t fs_id;
		const char *to;
	} cases[] = {
		{ "/rel/f", true, 0, "d/e/f" },
		{ "/abs/y", true, 1, "x/y" },
		{ "/abs", false, 0, "abs" },
		{ "/abs", true, 1, "x" },
		{ "/abs/new", true, 1, "x/new" },
		{ "/newfile", true, 0, "d/created" },
		{ "/newfile", false, 0, "newfile" },
		{ "/sub", true, 1, "" },
		{ "/", true, 0, "" },
		{ "/d/../rel/..", true, 0, "d" },
	};
	struct world *w = begin_mounted();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct gofer_session *s;
		uint32_t fs_id;
		char *path;

		cr_assert_eq(
			gofer_resolve(w->ns, cases[i].path, cases[i].follow, &s, &fs_id, &path), 0,
			"%s", gofer_message());
		cr_assert(fs_id == cases[i].fs_id && strcmp(path, cases[i].to) == 0, "%s -> %u:%s",
			  cases[i].path, fs_id, path);
		free(path);
	}
	end(w);
}

/* ---- the kernel's answer ---- */

static unsigned next(uint64_t *state, unsigned n)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(*state >> 33) % n;
}

static void random_path(uint64_t *state, char *buf, size_t size)
{
	static const char *const names[] = { "d",      "e",        "f",    "sub",      "x",
					     "y",      "rel",      "abs",  "up",       "out",
					     "chain",  "in",       "..",   "..",       ".",
					     "loop",   "dangling", "back", "tosub",    "home",
					     "parent", "slash",    "here", "fileslash" };
	unsigned n = 1 + next(state, 7);
	size_t at = 0;

	buf[at++] = '/';
	for (unsigned i = 0; i < n; i++)
		at += (size_t)snprintf(buf + at, size - at, "%s%s",
				       names[next(state, ARRAY_SIZE(names))],
				       i + 1 < n        ? "/"
				       : next(state, 8) ? ""
							: "/");
}

static int kernel_stat(int root, const char *path, bool nofollow, struct stat *ret_st)
{
	int fd, r = 0;

	/* EAGAIN: something was renamed somewhere on this machine. */
	do
		fd = sys_openat2(root, path, O_PATH | (nofollow ? O_NOFOLLOW : 0), 0,
				 RESOLVE_IN_ROOT);
	while (fd == -EAGAIN);
	if (fd < 0)
		return fd;
	if (fstat(fd, ret_st) < 0)
		r = -errno;
	close(fd);
	return r;
}

static void compare_with_kernel(struct world *w, unsigned cases)
{
	uint64_t state = 20240611;
	unsigned found = 0;
	int root = open("A", O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (unsigned i = 0; i < cases; i++) {
		bool nofollow = i % 3 == 0;
		struct stat got, want;
		char path[256];
		int r, k;

		random_path(&state, path, sizeof(path));
		r = gofer_stat(w->ns, path, nofollow ? AT_SYMLINK_NOFOLLOW : 0, &got);
		k = kernel_stat(root, path, nofollow, &want);
		cr_assert_eq(r, k, "%s: %d, the kernel says %d", path, r, k);
		if (k == 0) {
			found++;
			cr_assert(got.st_ino == want.st_ino && got.st_dev == want.st_dev,
				  "%s is another inode", path);
		}
	}
	cr_assert_gt(found, cases / 10);
	close(root);
}

Test(namespace, random_paths_resolve_as_the_kernel_resolves_them, .timeout = 60)
{
	struct world *w = begin();

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/", NULL), 0);
	compare_with_kernel(w, 20000);
	end(w);
}

Test(namespace, random_paths_across_mounts_resolve_as_the_kernel_resolves_them, .timeout = 60)
{
	struct world *w = begin_mounted();

	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
		end(w);
		cr_skip("no mount namespace of its own: cannot ask the kernel about bind mounts");
	}
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount("B", "A/sub", NULL, MS_BIND, NULL), 0);
	compare_with_kernel(w, 20000);
	cr_assert_eq(umount2("A/sub", MNT_DETACH), 0);
	end(w);
}
