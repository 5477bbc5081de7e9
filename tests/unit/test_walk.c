/*
 * test_walk.c - traversal, over every backend: "..", trailing slashes, links, bases, limits; and
 * random paths whose outcome must be the kernel's own.
 */
#include <sys/resource.h>
#include <linux/openat2.h>

#include "tests/unit/fs_fixture.h"

/* walk_resolve(); and walk_stat(), which may take another way, must say the same. */
static int resolve(const struct walk_request *q, struct walk_result *ret)
{
	_cleanup_walk_ struct walk_result looked = { .node = FS_NODE_NULL };
	int r = walk_resolve(q, ret), s;

	if (q->want != WALK_OBJECT)
		return r;
	s = walk_stat(q, &looked);
	cr_assert_eq(s, r, "\"%.*s\": walk_stat() says %d, walk_resolve() %d", (int)q->path_len,
		     (const char *)q->path, s, r);
	cr_assert_eq(looked.n_followed, ret->n_followed);
	if (r == 0) {
		cr_assert_eq(looked.attr.ino, ret->attr.ino);
		cr_assert_eq(looked.attr.mode, ret->attr.mode);
	} else if (r == WALK_STOP) {
		cr_assert_eq(looked.stop->reason, ret->stop->reason);
		cr_assert_eq(looked.stop->begin, ret->stop->begin);
	}
	return r;
}

static void expect_object(struct fixture *t, const char *path, const char *same_as)
{
	struct walk_request q = request_for(t, path);
	_cleanup_walk_ struct walk_result result;
	int r;

	q.nofollow = true;
	r = resolve(&q, &result);
	cr_assert_eq(r, 0, "walk \"%s\": %s", path, r < 0 ? strerror(-r) : "stopped");
	cr_assert_eq(result.attr.ino, inode_of(t, same_as), "\"%s\" is not %s", path, same_as);
}

static void expect_error(struct fixture *t, const char *path, int error)
{
	struct walk_request q = request_for(t, path);
	_cleanup_walk_ struct walk_result result;
	int r = resolve(&q, &result);

	cr_assert_eq(r, -error, "walk \"%s\": %s instead of %s", path,
		     r < 0    ? strerror(-r)
		     : r == 0 ? "found"
			      : "stopped",
		     strerror(error));
}

static void expect_above_root(struct fixture *t, const char *path, uint32_t begin)
{
	struct walk_request q = request_for(t, path);
	_cleanup_walk_ struct walk_result result;
	int r;

	q.which = 1;
	r = resolve(&q, &result);
	cr_assert_eq(r, WALK_STOP, "walk \"%s\": %d", path, r);
	cr_assert_eq(result.stop->reason, GOFER__STOP__REASON__ABOVE_ROOT);
	cr_assert_eq(result.stop->which, 1);
	cr_assert_eq(result.stop->begin, begin, "\"%s\": %u", path, result.stop->begin);
	cr_assert_eq(result.stop->end, begin + 2);
}

static void make_small_tree(struct fixture *t)
{
	make_dir(t, "a", 0755);
	make_dir(t, "a/b", 0755);
	make_dir(t, "a/b/c", 0755);
	make_file(t, "a/f", "f");
	make_file(t, "a/b/g", "g");
	make_link(t, "b", "a/to-b");
}

FS_TEST(walk, dots_are_resolved_in_the_tree_and_not_in_the_text)
{
	make_small_tree(t);
	expect_object(t, "", "");
	expect_object(t, "/", "");
	expect_object(t, "///", "");
	expect_object(t, ".", "");
	expect_object(t, "./", "");
	expect_object(t, "a/..", "");
	expect_object(t, "/a/../a", "a");
	expect_object(t, "a/b/../f", "a/f");
	expect_object(t, "a/./b/./../../a/b/c/../g", "a/b/g");
	expect_object(t, "a//b///c/", "a/b/c");
	expect_object(t, "a/b/c/../../..", "");
	expect_object(t, "a/b/c/..//.././/b", "a/b");
	expect_error(t, "missing/..", ENOENT);
	expect_error(t, "a/missing/../f", ENOENT);
	expect_error(t, "a/f/..", ENOTDIR);
	expect_error(t, "a/f/../f", ENOTDIR);
	expect_error(t, "a/f/.", ENOTDIR);
	expect_error(t, "a/f/x", ENOTDIR);
	expect_error(t, "a/b/missing", ENOENT);
}

FS_TEST(walk, S1_S6_dotdot_above_the_root_stops_where_it_stands)
{
	make_small_tree(t);
	expect_above_root(t, "..", 0);
	expect_above_root(t, "../", 0);
	expect_above_root(t, "./../", 2);
	expect_above_root(t, "/..", 1);
	expect_above_root(t, "a/../..", 5);
	expect_above_root(t, "a/./../..", 7);
	expect_above_root(t, "/a/../..//a", 6);
	expect_above_root(t, "../missing", 0);
	expect_above_root(t, "a/b/c/../../../../../../etc/passwd", 15);
}

FS_TEST(walk, S2_search_permission_is_asked_for_before_dotdot)
{
	make_dir(t, "locked", 0600);
	make_dir(t, "open", 0711);
	make_dir(t, "open/in", 0755);
	if (geteuid() == 0)
		cr_assert_eq(fchownat(t->tree, "locked", FIXTURE_NOBODY, 0, 0), 0);
	become_nobody(t);
	expect_object(t, "locked", "locked");
	expect_object(t, "locked/", "locked");
	expect_error(t, "locked/..", EACCES);
	expect_error(t, "locked/../open", EACCES);
	expect_error(t, "locked/.", EACCES);
	expect_error(t, "locked/missing", EACCES);
	expect_error(t, "open/../locked/.", EACCES);
	expect_object(t, "open/in/..", "open");
}

FS_TEST(walk, a_trailing_slash_wants_a_directory)
{
	struct walk_request q;
	struct walk_result result;

	make_small_tree(t);
	make_link(t, "a", "to-a");
	make_link(t, "a/f", "to-f");
	expect_object(t, "a/", "a");
	expect_object(t, "a//", "a");
	expect_error(t, "a/f/", ENOTDIR);
	expect_error(t, "a/f//", ENOTDIR);
	expect_error(t, "missing/", ENOENT);
	expect_object(t, "to-a", "to-a");

	/* Even "the link itself" means what it points to, with a slash behind. */
	q = request_for(t, "to-a/");
	q.nofollow = true;
	cr_assert_eq(resolve(&q, &result), WALK_STOP);
	cr_assert_eq(result.stop->end, 4);
	q.follow = 1;
	cr_assert_eq(resolve(&q, &result), 0);
	cr_assert_eq(result.attr.ino, inode_of(t, "a"));
	walk_result_deinit(&result);
	q = request_for(t, "to-f/");
	q.follow = 1;
	cr_assert_eq(resolve(&q, &result), WALK_STOP, "the failure lies behind the link");
}

FS_TEST(walk, S30_a_link_at_any_component_stops_with_its_place_target_and_attributes)
{
	static const char *const targets[] = { "d",       "..", "../d/.",   "/",  "/etc/passwd",
					       "nowhere", "l",  "\xff\xfe", "./l" };
	static const char *const parts[] = { "d", "d", "d", "d" };

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(targets); k++) {
			char path[64] = "", upto[64];
			struct walk_result result;
			struct walk_request q;
			size_t begin;

			for (size_t j = 0; j < i; j++) {
				append(path, sizeof(path), "d");
				if (!exists(t, path))
					make_dir(t, path, 0755);
				append(path, sizeof(path), "/");
			}
			begin = strlen(path);
			append(path, sizeof(path), "l");
			(void)snprintf(upto, sizeof(upto), "%s", path);
			make_link(t, targets[k], path);
			for (size_t j = i + 1; j < ARRAY_SIZE(parts); j++)
				append(path, sizeof(path), "/x");

			q = request_for(t, path);
			cr_assert_eq(resolve(&q, &result), WALK_STOP, "%s", path);
			cr_assert_eq(result.stop->reason, GOFER__STOP__REASON__SYMLINK);
			cr_assert_eq(result.stop->begin, begin);
			cr_assert_eq(result.stop->end, begin + 1);
			cr_assert_eq(result.stop->target.len, strlen(targets[k]));
			cr_assert_arr_eq(result.stop->target.data, targets[k], strlen(targets[k]));
			cr_assert_eq(result.stop->attr->ino, inode_of(t, upto));
			cr_assert(S_ISLNK(result.stop->attr->mode));
			cr_assert_eq(result.stop->n_followed, 0);

			/* An absolute target is never followed, whatever the budget. */
			q.follow = targets[k][0] == '/' ? 40 : 0;
			cr_assert_eq(resolve(&q, &result), WALK_STOP);
			cr_assert_eq(result.n_followed, 0);
			cr_assert_eq(unlinkat(t->tree, upto, 0), 0);
			arena_reset(&t->arena);
		}
	}
}

FS_TEST(walk, S31_targets_of_every_length_come_whole)
{
	static const size_t lengths[] = { 1, 2, 63, 64, 255, 1023, 4094, 4095 };
	char target[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct walk_request q = request_for(t, "l");
		struct walk_result result;

		memset(target, '\xfe', lengths[i]);
		target[lengths[i]] = '\0';
		if (symlinkat(target, t->tree, "l") < 0) {
			/* Some filesystems hold a little less than PATH_MAX. */
			cr_assert_eq(errno, ENAMETOOLONG);
			continue;
		}
		cr_assert_eq(resolve(&q, &result), WALK_STOP);
		cr_assert_eq(result.stop->target.len, lengths[i]);
		cr_assert_arr_eq(result.stop->target.data, target, lengths[i]);
		cr_assert_eq(unlinkat(t->tree, "l", 0), 0);
	}
}

/* Applies what the server says it followed, as a client does. */
static void replay(char *text, size_t size, Gofer__Followed **followed, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char next[4 * PATH_MAX];

		cr_assert_leq(followed[i]->end, strlen(text));
		cr_assert_lt(followed[i]->begin, followed[i]->end);
		(void)snprintf(next, sizeof(next), "%.*s%.*s%s", (int)followed[i]->begin, text,
			       (int)followed[i]->target.len, (char *)followed[i]->target.data,
			       text + followed[i]->end);
		(void)snprintf(text, size, "%s", next);
	}
}

FS_TEST(walk, links_are_followed_within_the_budget_and_told)
{
	static const struct {
		const char *path, *object;
		uint32_t links;
	} cases[] = {
		{ "to-a/b/g", "a/b/g", 1 },
		{ "a/to-b/g", "a/b/g", 1 },
		{ "a/b/up2", "", 1 },
		{ "a/b/up2/a/f", "a/f", 1 },
		{ "to-a/to-b/up2/to-a", "a", 4 },
		{ "chain3", "a/f", 3 },
		{ "chain3", "a/f", 3 },
		{ "slashed/b", "a/b", 1 },
		{ "a/b/c/../up2/to-a/b/..", "a", 2 },
		{ "a/b/c/deep/../b", "a/b", 1 },
	};

	make_small_tree(t);
	make_link(t, "a", "to-a");
	make_link(t, "../..", "a/b/up2");
	make_link(t, "a/f", "chain1");
	make_link(t, "chain1", "chain2");
	make_link(t, "./chain2", "chain3");
	make_link(t, ".//a//", "slashed");
	make_link(t, "../../../a/b/c/../c/../../f/../b", "bad");
	make_link(t, "../../../a/./b", "a/b/c/deep");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (uint32_t follow = 0; follow <= cases[i].links + 1; follow++) {
			struct walk_request q = request_for(t, cases[i].path);
			_cleanup_walk_ struct walk_result result;
			char text[4 * PATH_MAX];
			int r;

			q.follow = follow;
			r = resolve(&q, &result);
			if (follow < cases[i].links) {
				cr_assert_eq(r, WALK_STOP, "%s with %u: %d", cases[i].path, follow,
					     r);
				cr_assert_eq(result.stop->n_followed, follow);
			} else {
				cr_assert_eq(r, 0, "%s with %u: %d", cases[i].path, follow, r);
				cr_assert_eq(result.n_followed, cases[i].links, "%s: %zu",
					     cases[i].path, result.n_followed);
				cr_assert_eq(result.attr.ino, inode_of(t, cases[i].object), "%s",
					     cases[i].path);
				(void)snprintf(text, sizeof(text), "%s", cases[i].path);
				replay(text, sizeof(text), result.followed, result.n_followed);
				expect_object(t, text, cases[i].object);
			}
			arena_reset(&t->arena);
		}
	}
}

FS_TEST(walk, a_failure_behind_a_followed_link_is_the_clients_to_find)
{
	struct walk_request q = request_for(t, "first/x");
	struct walk_result result;

	make_dir(t, "d", 0755);
	make_link(t, "d", "first");
	make_link(t, "gone", "d/x");
	q.follow = 40;
	cr_assert_eq(resolve(&q, &result), WALK_STOP);
	cr_assert_eq(result.stop->n_followed, 1);
	cr_assert_eq(result.stop->begin, 2);
	cr_assert_eq(result.stop->end, 3);
	cr_assert_arr_eq(result.stop->target.data, "gone", 4);
	expect_error(t, "gone", ENOENT);
}

FS_TEST(walk, S35_loops_and_growing_texts_end_early)
{
	char target[4000];
	struct walk_request q;
	struct walk_result result;

	make_link(t, "loop", "loop");
	q = request_for(t, "loop");
	q.follow = 40;
	cr_assert_eq(resolve(&q, &result), WALK_STOP);
	cr_assert_eq(result.n_followed, 40);
	cr_assert_eq(result.stop->n_followed, 40);

	/* Each turn makes the text 3,990 bytes longer. */
	memset(target, '/', sizeof(target));
	memcpy(target, "./grow", 6);
	target[3996] = '.';
	target[3997] = '\0';
	make_link(t, target, "grow");
	q = request_for(t, "grow");
	q.follow = 40;
	cr_assert_eq(resolve(&q, &result), WALK_STOP);
	cr_assert_lt(result.n_followed, 4);
}

FS_TEST(walk, S7_names_of_255_bytes_are_found_and_of_256_are_too_long)
{
	char name[300];

	memset(name, 'n', 256);
	name[255] = '\0';
	make_file(t, name, "x");
	expect_object(t, name, name);
	name[255] = 'n';
	name[256] = '\0';
	expect_error(t, name, ENAMETOOLONG);
	memcpy(name + 256, "/..", 4);
	expect_error(t, name, ENAMETOOLONG);
}

/* name/name/... `levels` deep below `dir`, made in steps. */
static void make_deep(int dir, const char *name, unsigned levels)
{
	int at = dup(dir);

	for (unsigned i = 0; i < levels; i++) {
		int next;

		cr_assert_eq(mkdirat(at, name, 0755), 0);
		next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		cr_assert_geq(next, 0);
		close(at);
		at = next;
	}
	close(at);
}

static void remove_deep(int dir, const char *name)
{
	char child[2 * PATH_NAME_MAX + 2];

	/* From the top, as paths to the bottom would be too long: each level takes the place of the
	 * one above it. */
	(void)snprintf(child, sizeof(child), "%s/%s", name, name);
	while (renameat(dir, child, dir, "next") == 0) {
		cr_assert_eq(unlinkat(dir, name, AT_REMOVEDIR), 0);
		cr_assert_eq(renameat(dir, "next", dir, name), 0);
	}
	cr_assert_eq(unlinkat(dir, name, AT_REMOVEDIR), 0);
}

static void repeat(char *out, size_t size, const char *what, unsigned n)
{
	size_t len = strlen(what);

	cr_assert_lt(n * len, size);
	for (unsigned i = 0; i < n; i++)
		memcpy(out + i * len, what, len);
	out[n * len] = '\0';
}

FS_TEST(walk, S7_long_paths_hold_few_descriptors_unless_they_come_back)
{
	unsigned levels = is_host(t) ? 2000 : 200;
	char path[2 * PATH_MAX], up[2 * PATH_MAX];
	struct rlimit limit, few = { 40, 40 };

	make_deep(t->tree, "d", levels);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few.rlim_max = limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	repeat(path, sizeof(path), "d/", levels);
	{
		struct walk_request q = request_for(t, path);
		_cleanup_walk_ struct walk_result result;
		int r = resolve(&q, &result);

		cr_assert_eq(r, 0, "%d", r);
	}
	repeat(path, sizeof(path), "d/../", 800);
	expect_object(t, path, "");
	repeat(path, sizeof(path), "d/", 190);
	repeat(up, sizeof(up), "../", 189);
	append(path, sizeof(path), up);
	if (is_host(t)) {
		expect_error(t, path, EMFILE);
		few.rlim_cur = 1000;
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
		repeat(path, sizeof(path), "d/", 800);
		repeat(up, sizeof(up), "../", 799);
		append(path, sizeof(path), up);
	}
	expect_object(t, path, "d");
	append(path, sizeof(path), "../");
	expect_object(t, path, "");
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	remove_deep(t->tree, "d");
}

FS_TEST(walk, S7_a_tree_deeper_than_a_path_is_walked_in_pieces)
{
	enum { NAME = 250, PER_PIECE = 15, PIECES = 20 };
	_cleanup_node_ struct fs_node at = FS_NODE_NULL;
	char name[PATH_NAME_MAX + 1], path[PATH_MAX];
	int r = 0;

	repeat(name, sizeof(name), "n", NAME);
	make_deep(t->tree, name, PER_PIECE * PIECES);
	name[NAME] = '/';
	name[NAME + 1] = '\0';
	repeat(path, sizeof(path), name, PER_PIECE);
	for (int i = 0; i < PIECES && r == 0; i++) {
		struct walk_request q = request_for(t, path);
		struct walk_result result;

		q.base = i ? &at : NULL;
		r = resolve(&q, &result);
		if (r == 0) {
			fs_node_deinit(&at);
			at = result.node;
		}
		arena_reset(&t->arena);
	}
	if (is_host(t))
		cr_assert_eq(r, 0, "%d", r);
	else
		cr_assert_eq(r, -ENAMETOOLONG, "a path is all that pathwalk has: %d", r);
	name[NAME] = '\0';
	remove_deep(t->tree, name);
}

/* ---- bases ---- */

FS_TEST(walk, a_base_is_where_the_path_starts)
{
	_cleanup_node_ struct fs_node b = FS_NODE_NULL, f = FS_NODE_NULL, root = FS_NODE_NULL;
	struct walk_request q;
	struct walk_result result;

	make_small_tree(t);
	b = node_at_path(t, "a/b");
	f = node_at_path(t, "a/f");
	cr_assert_eq(t->fs.ops->root(&t->fs, &root), 0);
	static const struct {
		const char *path, *object;
	} cases[] = {
		{ "", "a/b" },
		{ "/", "a/b" },
		{ ".", "a/b" },
		{ "g", "a/b/g" },
		{ "/g", "a/b/g" },
		{ "..", "a" },
		{ "../f", "a/f" },
		{ "../..", "" },
		{ "c/../..", "a" },
		{ "../../a", "a" },
		{ "c/../../../a/b/c", "a/b/c" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r;

		q = request_for(t, cases[i].path);
		q.base = &b;
		r = resolve(&q, &result);
		cr_assert_eq(r, 0, "%s: %d", cases[i].path, r);
		cr_assert_eq(result.attr.ino, inode_of(t, cases[i].object), "%s", cases[i].path);
		walk_result_deinit(&result);
	}

	q = request_for(t, "../../a/../..");
	q.base = &b;
	cr_assert_eq(resolve(&q, &result), WALK_STOP);
	cr_assert_eq(result.stop->reason, GOFER__STOP__REASON__ABOVE_ROOT);
	cr_assert_eq(result.stop->begin, 11);

	q = request_for(t, "..");
	q.base = &root;
	cr_assert_eq(resolve(&q, &result), WALK_STOP, "the root as a base is still the root");

	/* A file is a base for itself alone. */
	q = request_for(t, "");
	q.base = &f;
	cr_assert_eq(resolve(&q, &result), 0);
	cr_assert_eq(result.attr.ino, inode_of(t, "a/f"));
	walk_result_deinit(&result);
	static const char *const below_a_file[] = { "x", "..", ".", "/" };
	for (size_t i = 0; i < ARRAY_SIZE(below_a_file); i++) {
		q = request_for(t, below_a_file[i]);
		q.base = &f;
		cr_assert_eq(resolve(&q, &result), -ENOTDIR, "%s", below_a_file[i]);
	}
}

FS_TEST(walk, S19_a_base_that_was_moved_out_of_the_tree_leads_nowhere)
{
	static const char *const paths[] = { ".", "..", "g", "c/..", "../secret", "new" };
	_cleanup_node_ struct fs_node b = FS_NODE_NULL;
	struct walk_request q;
	struct walk_result result;

	make_small_tree(t);
	make_file_at(t->outside, "secret", "secret");
	b = node_at_path(t, "a/b");
	cr_assert_eq(renameat(t->tree, "a/b", t->outside, "b"), 0);
	make_file_at(t->outside, "b/new", "made outside");
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		int r;

		q = request_for(t, paths[i]);
		q.base = &b;
		r = resolve(&q, &result);
		cr_assert_eq(r, -ESTALE, "\"%s\": %d", paths[i], r);
		q.want = WALK_NAME;
		r = resolve(&q, &result);
		cr_assert_eq(r, -ESTALE, "\"%s\": %d", paths[i], r);
	}
	/* Back in the tree, elsewhere: a descriptor knows where it is, a path does not. */
	cr_assert_eq(renameat(t->outside, "b", t->tree, "moved"), 0);
	q = request_for(t, "..");
	q.base = &b;
	if (is_host(t)) {
		cr_assert_eq(resolve(&q, &result), 0);
		cr_assert_eq(result.attr.ino, inode_of(t, ""));
		walk_result_deinit(&result);
	} else {
		cr_assert_eq(resolve(&q, &result), -ESTALE);
	}
}

FS_TEST(walk, S9_the_root_may_be_renamed_and_removed_under_the_server)
{
	char from[128], to[128];

	make_small_tree(t);
	(void)snprintf(from, sizeof(from), "%s/tree", t->home);
	(void)snprintf(to, sizeof(to), "%s/outside/elsewhere", t->home);
	cr_assert_eq(rename(from, to), 0);
	expect_object(t, "a/b/g", "a/b/g");
	expect_object(t, "a/b/..", "a");
	expect_above_root(t, "a/../..", 5);
	cr_assert_eq(symlink("outside", from), 0);
	expect_object(t, "a/f", "a/f");
	expect_error(t, "elsewhere", ENOENT);
}

/* ---- names ---- */

FS_TEST(walk, a_name_comes_with_the_directory_that_holds_it)
{
	static const struct {
		const char *path;
		int result;
		const char *dir, *name;
		bool slash;
		uint32_t begin;
	} cases[] = {
		{ "new", 0, "", "new", false, 0 },
		{ "/new", 0, "", "new", false, 1 },
		{ "new/", 0, "", "new", true, 0 },
		{ "a/new", 0, "a", "new", false, 2 },
		{ "a//b///new//", 0, "a/b", "new", true, 7 },
		{ "a/b/../new", 0, "a", "new", false, 7 },
		{ "a/../a/./b", 0, "a", "b", false, 9 },
		{ "a/f", 0, "a", "f", false, 2 },
		{ "a/to-b", 0, "a", "to-b", false, 2 },
		{ "a/to-b/", 0, "a", "to-b", true, 2 },
		{ "a/f/new", -ENOTDIR },
		{ "missing/new", -ENOENT },
		{ "missing/../new", -ENOENT },
		{ "a/to-b/new", WALK_STOP },
		{ "../new", WALK_STOP },
		{ "", -EINVAL },
		{ "/", -EINVAL },
		{ ".", -EINVAL },
		{ "a/.", -EINVAL },
		{ "a/./", -EINVAL },
		{ "..", -ENOTEMPTY },
		{ "a/..", -ENOTEMPTY },
		{ "a/../", -ENOTEMPTY },
		{ "missing/.", -ENOENT },
		{ "missing/..", -ENOENT },
		{ "a/f/.", -ENOTDIR },
	};

	make_small_tree(t);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct walk_request q = request_for(t, cases[i].path);
		_cleanup_walk_ struct walk_result result;
		Gofer__Attr attr;
		int r;

		q.want = WALK_NAME;
		r = resolve(&q, &result);
		cr_assert_eq(r, cases[i].result, "\"%s\": %d", cases[i].path, r);
		if (r != 0)
			continue;
		cr_assert_str_eq(result.name, cases[i].name);
		cr_assert_eq(result.trailing_slash, cases[i].slash, "%s", cases[i].path);
		cr_assert_eq(result.name_begin, cases[i].begin, "%s", cases[i].path);
		cr_assert_eq(result.name_end, cases[i].begin + strlen(cases[i].name));
		cr_assert_eq(t->fs.ops->getattr(&t->fs, &result.node, &attr), 0);
		cr_assert_eq(attr.ino, inode_of(t, cases[i].dir), "%s", cases[i].path);
	}
}

FS_TEST(walk, a_link_met_at_the_last_name_becomes_a_stop)
{
	struct walk_request q = request_for(t, "a/to-b");
	_cleanup_walk_ struct walk_result result;
	Gofer__Stop *stop;

	make_small_tree(t);
	q.want = WALK_NAME;
	cr_assert_eq(resolve(&q, &result), 0);
	cr_assert_eq(walk_stop_at_name(&q, &result, &stop), 0);
	cr_assert_eq(stop->reason, GOFER__STOP__REASON__SYMLINK);
	cr_assert_eq(stop->begin, 2);
	cr_assert_eq(stop->end, 6);
	cr_assert_eq(stop->target.len, 1);
	cr_assert_eq(unlinkat(t->tree, "a/to-b", 0), 0);
	cr_assert_eq(walk_stop_at_name(&q, &result, &stop), -EAGAIN);
	make_file(t, "a/to-b", "");
	cr_assert_eq(walk_stop_at_name(&q, &result, &stop), -EAGAIN);
}

/* ---- walk_open ---- */

FS_TEST(walk, walk_open_says_the_same_as_walking_and_opening)
{
	static const struct {
		const char *path;
		int flags, result;
		bool nofollow;
	} cases[] = {
		{ "a/f", O_RDONLY, 0, false },
		{ "/a/f", O_RDWR, 0, false },
		{ "a/f", O_WRONLY | O_TRUNC, 0, false },
		{ "a/b/../f", O_RDONLY, 0, false },
		{ "a/b/g", O_RDONLY | O_DIRECTORY, -ENOTDIR, false },
		{ "a/b", O_RDONLY | O_DIRECTORY, 0, false },
		{ "a/b/", O_RDONLY, 0, false },
		{ "", O_RDONLY, 0, false },
		{ "a/b", O_RDWR, -EISDIR, false },
		{ "a/f/", O_RDONLY, -ENOTDIR, false },
		{ "missing", O_RDONLY, -ENOENT, false },
		{ "a/f/x", O_RDONLY, -ENOTDIR, false },
		{ "a/to-b", O_RDONLY, WALK_STOP, false },
		{ "a/to-b", O_RDONLY | O_DIRECTORY, WALK_STOP, false },
		{ "a/to-b/", O_RDONLY, WALK_STOP, true },
		{ "a/to-b", O_RDONLY, -ELOOP, true },
		{ "a/to-b", O_PATH, 0, true },
		{ "a/to-b/g", O_RDONLY, WALK_STOP, false },
		{ "fifo", O_RDONLY, -EPERM, false },
		{ "fifo", O_WRONLY, -EPERM, false },
		{ "fifo", O_RDWR, -EPERM, false },
		{ "..", O_RDONLY, WALK_STOP, false },
	};

	make_small_tree(t);
	cr_assert_eq(mkfifoat(t->tree, "fifo", 0666), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct walk_request q = request_for(t, cases[i].path);
		_cleanup_walk_ struct walk_result result;
		int r;

		q.nofollow = cases[i].nofollow;
		r = walk_open(&q, cases[i].flags, &result);
		cr_assert_eq(r, cases[i].result, "\"%s\" %#o: %d", cases[i].path, cases[i].flags,
			     r);
		if (r != 0 || cases[i].flags & O_PATH)
			continue;
		int flags = fcntl(result.node.fd, F_GETFL);
		cr_assert_eq(flags & O_ACCMODE, cases[i].flags & O_ACCMODE);
		if (S_ISREG(result.attr.mode))
			cr_assert_eq(flags & O_NONBLOCK, 0, "%s", cases[i].path);
		cr_assert(fcntl(result.node.fd, F_GETFD) & FD_CLOEXEC);
		if (cases[i].flags & O_TRUNC)
			cr_assert_eq(result.attr.size, 0);
	}
}

FS_TEST(walk, an_open_that_fails_behind_a_link_stops_at_the_link)
{
	struct walk_request q = request_for(t, "l");
	struct walk_result result;

	make_dir(t, "d", 0755);
	make_link(t, "d", "l");
	q.follow = 1;
	cr_assert_eq(walk_open(&q, O_RDONLY, &result), 0);
	cr_assert_eq(result.n_followed, 1);
	walk_result_deinit(&result);
	cr_assert_eq(walk_open(&q, O_RDWR, &result), WALK_STOP);
	cr_assert_eq(result.stop->begin, 0);
	cr_assert_eq(result.stop->end, 1);
}

/* ---- the kernel's own answer ---- */

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525 + 1013904223;
	return (random_state >> 8) % n;
}

static void random_path(char *out, size_t size, unsigned max_parts)
{
	static const char *const parts[] = { "a",     "b",     "c",    "f",    "..",   "..",
					     "..",    ".",     "",     "l-up", "l-a",  "l-b",
					     "l-f",   "l-abs", "none", "l-x",  "l-up", "locked",
					     "l-dot", "a",     "b" };
	unsigned n = 1 + random_below(max_parts);

	*out = '\0';
	for (unsigned i = 0; i < n; i++) {
		const char *part = parts[random_below(ARRAY_SIZE(parts))];

		if (i)
			append(out, size, "/");
		append(out, size, part);
	}
	if (random_below(5) == 0)
		append(out, size, "/");
	/* openat2 has no word for an absolute path below a descriptor. */
	while (*out == '/')
		memmove(out, out + 1, strlen(out));
}

/* As the kernel resolves it: the inode, or -errno. -EXDEV where it leaves the tree. */
static int64_t by_kernel(struct fixture *t, const char *path, bool nofollow)
{
	struct stat st;
	int fd;

	do
		fd = sys_openat2(t->tree, *path ? path : ".", O_PATH | (nofollow ? O_NOFOLLOW : 0),
				 0, RESOLVE_BENEATH);
	while (fd == -EAGAIN);
	if (fd < 0)
		return fd;
	cr_assert_eq(fstat(fd, &st), 0);
	close(fd);
	return (int64_t)st.st_ino;
}

/* As a client with one mount resolves it: goes on at each Stop. */
static int64_t by_walking(struct fixture *t, const char *path, bool nofollow, uint32_t follow)
{
	char text[4 * PATH_MAX];
	unsigned links = 0;

	(void)snprintf(text, sizeof(text), "%s", path);
	for (;;) {
		struct walk_request q = request_for(t, text);
		_cleanup_walk_ struct walk_result result;
		char next[4 * PATH_MAX];
		Gofer__Stop *stop;
		int r;

		arena_reset(&t->arena);
		q.nofollow = nofollow;
		q.follow = MIN(follow, 40 - links);
		r = resolve(&q, &result);
		if (r < 0)
			return r;
		if (r == 0)
			return links + result.n_followed > 40 ? -ELOOP : (int64_t)result.attr.ino;
		stop = result.stop;
		replay(text, sizeof(text), stop->followed, stop->n_followed);
		links += (unsigned)stop->n_followed + 1;
		if (stop->reason == GOFER__STOP__REASON__ABOVE_ROOT || stop->target.data[0] == '/')
			return -EXDEV;
		if (links > 40)
			return -ELOOP;
		(void)snprintf(next, sizeof(next), "%.*s%.*s%s", (int)stop->begin, text,
			       (int)stop->target.len, (char *)stop->target.data, text + stop->end);
		(void)snprintf(text, sizeof(text), "%s", next);
	}
}

FS_TEST(walk, random_paths_lead_where_the_kernel_says)
{
	unsigned found = 0, left = 0, failed = 0;

	make_dir(t, "a", 0755);
	make_dir(t, "a/b", 0755);
	make_dir(t, "a/b/c", 0755);
	make_dir(t, "a/b/c/a", 0755);
	make_dir(t, "b", 0755);
	make_dir(t, "b/a", 0755);
	make_dir(t, "b/locked", 0600);
	make_dir(t, "a/locked", 0644);
	make_file(t, "f", "");
	make_file(t, "a/f", "");
	make_file(t, "a/b/f", "");
	make_link(t, "a/b", "l-b");
	make_link(t, "../../b", "a/b/l-b");
	make_link(t, "..", "a/l-up");
	make_link(t, "../..", "a/b/l-up");
	make_link(t, "../../..", "b/l-up");
	make_link(t, "../a/b/../f", "a/l-f");
	make_link(t, "a/", "l-a");
	make_link(t, "l-a/b/l-up/l-b", "l-x");
	make_link(t, "l-x/../l-a", "a/l-x");
	make_link(t, "/a", "a/l-abs");
	make_link(t, ".", "l-dot");
	make_link(t, "./.", "a/b/l-dot");
	if (geteuid() == 0) {
		cr_assert_eq(fchownat(t->tree, "b/locked", FIXTURE_NOBODY, 0, 0), 0);
		cr_assert_eq(fchownat(t->tree, "a/locked", FIXTURE_NOBODY, 0, 0), 0);
	}
	become_nobody(t);
	for (unsigned i = 0; i < 3000; i++) {
		static const uint32_t budgets[] = { 0, 1, 2, 3, 40 };
		uint32_t follow = budgets[random_below(ARRAY_SIZE(budgets))];
		bool nofollow = random_below(2);
		char path[256];
		int64_t kernel, ours;

		random_path(path, sizeof(path), 10);
		kernel = by_kernel(t, path, nofollow);
		ours = by_walking(t, path, nofollow, follow);
		cr_assert_eq(ours, kernel, "\"%s\" nofollow %d follow %u: %lld, the kernel %lld",
			     path, nofollow, follow, (long long)ours, (long long)kernel);
		if (kernel > 0)
			found++;
		else if (kernel == -EXDEV)
			left++;
		else
			failed++;
	}
	cr_assert(found > 100 && left > 100 && failed > 100, "%u %u %u", found, left, failed);
}
