/* Listings that are asked for ahead: what they give is what gofer_opendir() and gofer_readdir() give, and nothing of them stays. */
#include "tests/unit/namespace_fixture.h"

#include <poll.h>

/* The names of a listing, in its order; what failed, in brackets. */
static char *names_of(struct gofer_dir *d)
{
	char *text = calloc(1, 1 << 20), *to = text;
	struct gofer_dirent e;
	int r;

	while ((r = gofer_readdir(d, &e)) > 0)
		to += snprintf(to, 300, "%s%s ", e.name, e.has_stat ? "" : "?");
	if (r < 0)
		snprintf(to, 30, "(%d)", r);
	return text;
}

static char *names_at(struct world *w, const char *path, int flags)
{
	struct gofer_dir *d;
	char *text;
	int r = gofer_opendir(w->ns, path, flags, &d);

	if (r < 0) {
		cr_assert_geq(asprintf(&text, "(%d)", r), 0);
		return text;
	}
	text = names_of(d);
	gofer_closedir(d);
	return text;
}

static void wait_ready(struct world *w, struct gofer_dir *d)
{
	while (!gofer_dir_ready(d)) {
		struct pollfd p = { .fd = gofer_session_fd(w->session), .events = POLLIN };

		cr_assert_eq(poll(&p, 1, 30000), 1);
		cr_assert_geq(gofer_session_process(w->session, 0), 0);
	}
}

Test(dir, many_asked_for_at_once_are_what_each_is_alone)
{
	static const char *const paths[] = { "/",        "/d",          "/rel",   "/sub",
					     "/d/tosub", "/missing",    "/d/e/f", "/loop",
					     "/up/d",    "/sub/x/home", "/abs",   "/sub/..",
					     "/big",     "/d/../rel" };
	struct world *w = begin_mounted();
	struct gofer_dir *dirs[ARRAY_SIZE(paths)][2];

	for (int nofollow = 0; nofollow < 2; nofollow++)
		for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
			cr_assert_eq(gofer_opendir_start(w->ns, paths[i],
							 nofollow ? AT_SYMLINK_NOFOLLOW : 0,
							 &dirs[i][nofollow]),
				     0);
	/* In another order than they were asked for. */
	for (size_t i = ARRAY_SIZE(paths); i-- > 0;)
		for (int nofollow = 0; nofollow < 2; nofollow++) {
			char *want = names_at(w, paths[i], nofollow ? AT_SYMLINK_NOFOLLOW : 0);
			char *got = names_of(dirs[i][nofollow]);

			cr_assert_str_eq(got, want, "%s", paths[i]);
			gofer_closedir(dirs[i][nofollow]);
			free(want);
			free(got);
		}
	cr_assert_eq(gofer_opendir_start(w->ns, "", 0, &dirs[0][0]), -ENOENT);
	cr_assert_eq(gofer_opendir_start(w->ns, "/d", AT_EACCESS, &dirs[0][0]), -EINVAL);
	end(w);
}

static void plant_big(void)
{
	for (int i = 0; i < 1500; i++) {
		char path[64];

		snprintf(path, sizeof(path), "A/big/file-with-a-name-%d", i);
		put(path, "x");
	}
}

Test(dir, further_entries_are_asked_for_ahead_and_once)
{
	struct world *w = begin_mounted();
	struct gofer_dirent e;
	struct gofer_dir *d;
	unsigned whole, n = 0;
	int r;

	plant_big();
	(void)frames(w);
	free(names_at(w, "/big", 0));
	whole = frames(w);
	cr_assert_gt(whole, 1);
	cr_assert_eq(gofer_opendir_start(w->ns, "/big", 0, &d), 0);
	gofer_dir_ahead(d); /* nothing to be said yet */
	cr_assert_eq(frames(w), 1);
	wait_ready(w, d);
	while ((r = gofer_readdir(d, &e)) > 0) {
		if (n++ == 0) {
			gofer_dir_ahead(d);
			gofer_dir_ahead(d);
			cr_assert_eq(frames(w), 1);
		}
		cr_assert(e.has_stat);
		if (!gofer_dir_ready(d)) {
			gofer_dir_ahead(d);
			wait_ready(w, d);
		}
	}
	cr_assert_eq(r, 0);
	cr_assert_eq(n, 1500);
	cr_assert_eq(frames(w), whole - 2);
	cr_assert(gofer_dir_ready(d));
	gofer_dir_ahead(d);
	cr_assert_eq(frames(w), 0);
	gofer_closedir(d);
	end(w);
}

Test(dir, closed_at_any_time_they_leave_nothing)
{
	struct world *w = begin_mounted();
	struct gofer_dir *d, *others[8];
	struct gofer_dirent e;

	plant_big();
	for (int at = 0; at < 4; at++) {
		for (size_t i = 0; i < ARRAY_SIZE(others); i++)
			cr_assert_eq(
				gofer_opendir_start(w->ns, i % 2 ? "/big" : "/abs", 0, &others[i]),
				0);
		cr_assert_eq(gofer_opendir_start(w->ns, "/big", 0, &d), 0);
		if (at > 0)
			wait_ready(w, d);
		if (at > 1)
			cr_assert_eq(gofer_readdir(d, &e), 1);
		if (at > 2)
			gofer_dir_ahead(d);
		gofer_closedir(d);
		for (size_t i = 0; i < ARRAY_SIZE(others); i++)
			gofer_closedir(others[i]);
	}
	/* Answers that came late were let go with their handles; the session is none the worse. */
	expect_same(w, "/d/e/f", "A/d/e/f");
	end(w);
}

Test(dir, what_is_known_needs_no_request)
{
	struct gofer_mount_options o = { .interop = GOFER_INTEROP_WRITETHROUGH };
	struct world *w = begin();
	struct gofer_dir *d;
	char *want, *got;

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/", &o), 0);
	cr_assert_eq(gofer_opendir_start(w->ns, "/d", 0, &d), 0);
	want = names_of(d);
	gofer_closedir(d);
	(void)frames(w);
	cr_assert_eq(gofer_opendir_start(w->ns, "/d", 0, &d), 0);
	cr_assert(gofer_dir_ready(d));
	got = names_of(d);
	cr_assert_str_eq(got, want);
	gofer_closedir(d);
	cr_assert_eq(gofer_opendir_start(w->ns, "/d", 0, &d), 0);
	gofer_closedir(d);
	cr_assert_eq(frames(w), 0);
	free(want);
	free(got);
	end(w);
}

Test(dir, a_server_that_goes_away_fails_those_that_wait)
{
	struct world *w = begin_mounted();
	struct gofer_dirent e;
	struct gofer_dir *d, *late;
	int status;

	cr_assert_eq(kill(w->child, SIGSTOP), 0);
	cr_assert_eq(gofer_opendir_start(w->ns, "/d", 0, &d), 0);
	cr_assert_eq(kill(w->child, SIGKILL), 0);
	cr_assert_eq(waitpid(w->child, &status, 0), w->child);
	cr_assert_eq(gofer_readdir(d, &e), -ENOTCONN);
	cr_assert_eq(gofer_readdir(d, &e), -ENOTCONN);
	if (gofer_opendir_start(w->ns, "/d", 0, &late) == 0) {
		cr_assert_eq(gofer_readdir(late, &e), -ENOTCONN);
		gofer_closedir(late);
	}
	gofer_closedir(d);
	gofer_namespace_free(w->ns);
	gofer_session_close(w->session);
	cr_assert_eq(chdir("/"), 0);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(w);
}
