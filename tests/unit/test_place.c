/*
 * test_place.c - views of one namespace, places to start from, foreign mounts, and opening for a descriptor: what a supervisor of
 * many processes is made of.
 */
#include "tests/unit/namespace_fixture.h"

static struct gofer_opened opened_at(struct gofer_namespace *ns, const char *path, int flags)
{
	struct gofer_opened o;

	cr_assert_eq(gofer_open_descriptor(ns, path, flags, 0644, &o), 0, "%s", gofer_message());
	return o;
}

static void expect_at(struct gofer_namespace *ns, const char *path, const char *real)
{
	struct stat got, want;

	cr_assert_eq(gofer_stat(ns, path, 0, &got), 0, "%s", gofer_message());
	cr_assert_eq(stat(real, &want), 0);
	cr_assert(got.st_ino == want.st_ino && got.st_dev == want.st_dev, "%s is not %s", path,
		  real);
}

Test(place, views_share_mounts_and_nothing_else)
{
	struct world *w = begin_mounted();
	struct gofer_namespace *view;
	char cwd[64];

	cr_assert_eq(gofer_namespace_view(w->ns, &view), 0);
	cr_assert_eq(gofer_chdir(view, "/d"), 0);
	gofer_umask(view, 077);
	expect_at(view, "e/f", "A/d/e/f");
	cr_assert_eq(gofer_getcwd(w->ns, cwd, sizeof(cwd)), 0);
	cr_assert_str_eq(cwd, "/");
	cr_assert_eq(gofer_umask(w->ns, 022), 022);
	/* A later mount is everybody's. */
	cr_assert_eq(gofer_mount(w->ns, w->session, 1, "/d/e", NULL), 0);
	expect_at(view, "e/x/y", "B/x/y");
	gofer_namespace_free(view);
	end(w);
}

Test(place, a_view_outlives_the_namespace_that_it_is_of)
{
	struct world *w = begin_mounted();
	struct gofer_namespace *view;

	cr_assert_eq(gofer_namespace_view(w->ns, &view), 0);
	gofer_namespace_free(TAKE_PTR(w->ns));
	expect_at(view, "/rel/f", "A/d/e/f");
	gofer_namespace_free(view);
	end(w);
}

Test(place, paths_start_at_a_place_however_it_is_called_by_now)
{
	struct world *w = begin_mounted();
	struct gofer_opened o = opened_at(w->ns, "/rel", O_PATH | O_DIRECTORY);

	cr_assert_str_eq(gofer_place_path(o.place), "/d/e");
	gofer_fchdir(w->ns, o.place);
	frames(w);
	expect_at(w->ns, "f", "A/d/e/f");
	cr_assert_eq(frames(w), 1);
	expect_at(w->ns, "../../sub/x", "B/x");
	cr_assert_eq(rename("A/d/e", "A/moved"), 0);
	expect_at(w->ns, "f", "A/moved/f");
	expect_at(w->ns, "..", "A");
	gofer_place_unref(o.place);
	end(w);
}

Test(place, two_paths_have_a_place_each)
{
	struct world *w = begin_mounted();
	struct gofer_opened a = opened_at(w->ns, "/d/e", O_RDONLY | O_DIRECTORY),
			    b = opened_at(w->ns, "/big", O_PATH);

	cr_assert_eq(gofer_linkat(w->ns, a.place, "f", b.place, "g", 0), 0, "%s", gofer_message());
	expect_at(w->ns, "/big/g", "A/d/e/f");
	frames(w);
	cr_assert_eq(gofer_renameat(w->ns, b.place, "g", a.place, "h", 0), 0, "%s",
		     gofer_message());
	cr_assert_eq(frames(w), 1);
	expect_at(w->ns, "/d/e/h", "A/d/e/f");
	/* One absolute, and one in another mount. */
	cr_assert_eq(gofer_renameat(w->ns, a.place, "h", b.place, "/sub/h", 0), -EXDEV);
	cr_assert_eq(gofer_renameat(w->ns, NULL, "d/e/h", a.place, "../i", 0), 0, "%s",
		     gofer_message());
	cr_assert_eq(access("A/d/i", F_OK), 0);
	gofer_place_unref(a.place);
	gofer_place_unref(b.place);
	end(w);
}

Test(place, an_unnamed_file_gets_its_name_by_its_place)
{
	struct world *w = begin_mounted();
	struct gofer_opened o = opened_at(w->ns, "/d", O_TMPFILE | O_RDWR);

	cr_assert_geq(o.fd, 0);
	cr_assert_not_null(o.place);
	cr_assert_eq(write(o.fd, "hi", 2), 2);
	cr_assert_eq(gofer_linkat(w->ns, o.place, "", NULL, "/d/named", 0), 0, "%s",
		     gofer_message());
	cr_assert_eq(access("A/d/named", F_OK), 0);
	cr_assert_eq(gofer_linkat(w->ns, o.place, "", NULL, "/sub/named", 0), -EXDEV);
	close(o.fd);
	gofer_place_unref(o.place);
	end(w);
}

Test(place, opening_for_a_descriptor_is_one_request_and_leaves_no_handle)
{
	struct world *w = begin_mounted();
	struct gofer_opened o;
	char text[8] = "";

	frames(w);
	o = opened_at(w->ns, "/rel/f", O_RDWR);
	cr_assert_eq(frames(w), 1);
	cr_assert_geq(o.fd, 0);
	cr_assert_null(o.place);
	cr_assert_eq(pread(o.fd, text, sizeof(text), 0), 5);
	close(o.fd);
	o = opened_at(w->ns, "/d/created", O_CREAT | O_EXCL | O_WRONLY | O_APPEND);
	cr_assert(fcntl(o.fd, F_GETFL) & O_APPEND);
	close(o.fd);
	cr_assert_eq(
		gofer_open_descriptor(w->ns, "/d/created", O_CREAT | O_EXCL | O_WRONLY, 0644, &o),
		-EEXIST);
	cr_assert_eq(gofer_open_descriptor(w->ns, "/d/e/f", O_DIRECTORY, 0, &o), -ENOTDIR);
	cr_assert_eq(gofer_open_descriptor(w->ns, "/rel", O_NOFOLLOW, 0, &o), -ELOOP);
	o = opened_at(w->ns, "/rel", O_PATH | O_NOFOLLOW);
	cr_assert(S_ISLNK(o.st.st_mode));
	gofer_place_unref(o.place);
	end(w);
}

Test(place, without_donation_there_is_no_descriptor_and_it_is_said)
{
	const struct gofer_mount_options never = { .no_donate = true };
	struct world *w = begin();
	struct gofer_opened o;

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/", &never), 0);
	cr_assert_eq(gofer_open_descriptor(w->ns, "/d/e/f", O_RDONLY, 0, &o), -ENODATA);
	o = opened_at(w->ns, "/d", O_RDONLY);
	gofer_place_unref(o.place);
	end(w);
}

Test(place, a_foreign_mount_ends_the_lookup_and_says_where)
{
	struct world *w = begin_mounted();
	struct gofer_opened o;
	struct stat st;

	cr_assert_eq(mkdir("A/proc", 0755), 0);
	cr_assert_eq(symlink("/proc/self/fd/1", "A/d/out"), 0);
	cr_assert_eq(gofer_mount_foreign(w->ns, "/proc"), 0);
	cr_assert_eq(gofer_mount_foreign(w->ns, "/proc"), -EBUSY);
	cr_assert_eq(gofer_stat(w->ns, "/proc/self/status", 0, &st), -EREMOTE);
	cr_assert_str_eq(gofer_foreign_path(), "/proc/self/status");
	cr_assert_eq(gofer_stat(w->ns, "/proc", 0, &st), -EREMOTE);
	cr_assert_str_eq(gofer_foreign_path(), "/proc");
	cr_assert_eq(gofer_open_descriptor(w->ns, "/d/out", O_WRONLY | O_CREAT, 0644, &o),
		     -EREMOTE);
	cr_assert_str_eq(gofer_foreign_path(), "/proc/self/fd/1");
	cr_assert_eq(gofer_rename(w->ns, "/d/e", "/proc/e", 0), -EREMOTE);
	cr_assert_eq(gofer_mkdir(w->ns, "/proc/x", 0755), -EREMOTE);
	cr_assert_eq(gofer_chdir(w->ns, "/proc"), -EREMOTE);
	cr_assert_eq(gofer_umount(w->ns, "/proc"), 0);
	expect_at(w->ns, "/proc", "A/proc");
	end(w);
}
