/*
 * test_fs_race.c - somebody outside changes the tree while it is walked.
 *
 * A second thread exchanges, moves and replaces as fast as it can. The host backend must never be
 * led to an inode outside the tree, never wait and never open what is not allowed: a fixed number
 * of attempts shows none. The pathwalk backend cannot promise that, and says so: its test shows the
 * very escape that its opening comment describes.
 */
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/unit/fs_fixture.h"

enum { ATTEMPTS = 20000, PATIENCE_MS = 60000 };

struct attack {
	struct fixture *t;
	void (*turn)(struct fixture *t, unsigned n);
	_Atomic bool over;
	_Atomic unsigned turns;
	pthread_t thread;
};

static void *attack_main(void *userdata)
{
	struct attack *a = userdata;

	while (!a->over)
		a->turn(a->t, a->turns++);
	return NULL;
}

static void attack_start(struct attack *a, struct fixture *t,
			 void (*turn)(struct fixture *, unsigned))
{
	*a = (struct attack){ .t = t, .turn = turn };
	cr_assert_eq(pthread_create(&a->thread, NULL, attack_main, a), 0);
	/* The attack is on before the first attempt. */
	while (a->turns < 2)
		(void)sched_yield();
}

static void attack_stop(struct attack *a)
{
	a->over = true;
	cr_assert_eq(pthread_join(a->thread, NULL), 0);
}

static uint64_t milliseconds(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- a directory becomes a link to the outside ---- */

static void exchange_with_link(struct fixture *t, unsigned n)
{
	(void)renameat2(t->tree, "a/d", t->tree, "a/evil", RENAME_EXCHANGE);
}

static ino_t make_trap(struct fixture *t)
{
	struct stat st;
	char path[128];

	make_dir(t, "a", 0755);
	make_dir(t, "a/d", 0755);
	make_dir(t, "a/d/e", 0755);
	make_file(t, "a/d/e/secret", "inside");
	(void)snprintf(path, sizeof(path), "%s/outside", t->home);
	make_link(t, path, "a/evil");
	cr_assert_eq(mkdirat(t->outside, "e", 0755), 0);
	make_file_at(t->outside, "e/secret", "outside");
	cr_assert_eq(fstatat(t->outside, "e/secret", &st, 0), 0);
	return st.st_ino;
}

static const char *const trapped_paths[] = { "a/d/e/secret", "a/d/e/../e/secret", "a/evil/e/secret",
					     "a/./d/../d/e/./secret" };

/* One attempt at everything that could reach the outside. Whether it did. */
static bool escapes(struct fixture *t, ino_t secret, unsigned n)
{
	struct walk_request q = request_for(t, trapped_paths[n % ARRAY_SIZE(trapped_paths)]);
	_cleanup_walk_ struct walk_result found = { .node = FS_NODE_NULL };
	_cleanup_walk_ struct walk_result opened = { .node = FS_NODE_NULL };
	_cleanup_walk_ struct walk_result held = { .node = FS_NODE_NULL };
	_cleanup_node_ struct fs_node file = FS_NODE_NULL;
	Gofer__Attr attr;
	bool escaped = false;

	arena_reset(&t->arena);
	q.follow = n % 3;
	if (walk_resolve(&q, &found) == 0)
		escaped |= found.attr.ino == secret;
	if (walk_open(&q, O_RDONLY, &opened) == 0)
		escaped |= opened.attr.ino == secret;
	q.want = WALK_NAME;
	if (n % 8 == 0 && walk_resolve(&q, &held) == 0) {
		if (t->fs.ops->create(&t->fs, &held.node, held.name, O_CREAT | O_RDWR, 0600,
				      &file) == 0 &&
		    t->fs.ops->getattr(&t->fs, &file, &attr) == 0)
			escaped |= attr.ino == secret;
		(void)t->fs.ops->mkdir(&t->fs, &held.node, "made", 0700);
		escaped |= faccessat(t->outside, "e/made", F_OK, 0) == 0;
		(void)t->fs.ops->unlink(&t->fs, &held.node, "made", true);
	}
	return escaped;
}

static void S16_host_stays_inside(struct fixture *t)
{
	ino_t secret = make_trap(t);
	unsigned found = 0;
	struct attack attack;

	attack_start(&attack, t, exchange_with_link);
	for (unsigned n = 0; n < ATTEMPTS; n++)
		found += escapes(t, secret, n);
	attack_stop(&attack);
	cr_assert_eq(found, 0, "%u escapes in %d attempts and %u exchanges", found, ATTEMPTS,
		     attack.turns);
	cr_assert_gt(attack.turns, 100);
}

Test(race, S16_host_stays_inside_while_a_directory_becomes_a_link)
{
	fixture_run(ON_HOST, S16_host_stays_inside);
}

Test(race, S16_host_without_openat2_stays_inside_while_a_directory_becomes_a_link)
{
	fixture_run(ON_HOST_NO_OPENAT2, S16_host_stays_inside);
}

Test(race, S16_host_detached_stays_inside_while_a_directory_becomes_a_link)
{
	fixture_run(ON_HOST_DETACHED, S16_host_stays_inside);
}

static void pathwalk_escapes(struct fixture *t)
{
	ino_t secret = make_trap(t);
	uint64_t give_up = milliseconds() + PATIENCE_MS;
	bool escaped = false;
	struct attack attack;

	attack_start(&attack, t, exchange_with_link);
	for (unsigned n = 0; !escaped && milliseconds() < give_up; n++)
		escaped = escapes(t, secret, n);
	attack_stop(&attack);
	cr_assert(escaped, "no escape in %u exchanges: is the comment in pathwalk.c still true?",
		  attack.turns);
}

Test(race, pathwalk_on_a_plain_mount_can_be_led_outside)
{
	fixture_run(ON_PATHWALK, pathwalk_escapes);
}

/* ---- a directory moves out of the tree while ".." is walked from inside it ---- */

static void move_out_and_in(struct fixture *t, unsigned n)
{
	if (n % 2 == 0)
		(void)renameat(t->tree, "a/b", t->outside, "b");
	else
		(void)renameat(t->outside, "b", t->tree, "a/b");
}

static void S19_dotdot_stays_inside(struct fixture *t)
{
	static const char *const paths[] = { "a/b/c/../../secret", "a/b/c/../../../secret",
					     "a/b/../secret", "a/b/c/../../../../secret" };
	static const char *const from_base[] = { "../secret", "../../secret", "c/../../secret",
						 "../../../secret" };
	_cleanup_node_ struct fs_node base = FS_NODE_NULL;
	struct attack attack;
	struct stat st;
	unsigned escaped = 0, found = 0;

	make_dir(t, "a", 0755);
	make_dir(t, "a/b", 0755);
	make_dir(t, "a/b/c", 0755);
	make_dir(t, "a/b/c/c", 0755);
	make_file(t, "a/secret", "inside");
	make_file(t, "secret", "inside");
	make_file_at(t->outside, "secret", "outside");
	cr_assert_eq(fstatat(t->outside, "secret", &st, 0), 0);
	base = node_at_path(t, "a/b/c");
	attack_start(&attack, t, move_out_and_in);
	for (unsigned n = 0; n < ATTEMPTS; n++) {
		bool with_base = n & 4;
		struct walk_request q = request_for(t, with_base ? from_base[n % 4] : paths[n % 4]);
		struct walk_result result;

		arena_reset(&t->arena);
		q.base = with_base ? &base : NULL;
		if (walk_resolve(&q, &result) == 0) {
			escaped += result.attr.ino == st.st_ino;
			found++;
			walk_result_deinit(&result);
		}
	}
	attack_stop(&attack);
	cr_assert_eq(escaped, 0, "%u escapes", escaped);
	cr_assert_gt(found, 0);
}

Test(race, S19_S21_dotdot_stays_inside_while_directories_move_out_on_host)
{
	fixture_run(ON_HOST, S19_dotdot_stays_inside);
}

Test(race, S19_S21_dotdot_stays_inside_while_directories_move_out_on_host_without_openat2)
{
	fixture_run(ON_HOST_NO_OPENAT2, S19_dotdot_stays_inside);
}

Test(race, S19_S21_dotdot_stays_inside_while_directories_move_out_on_host_detached)
{
	fixture_run(ON_HOST_DETACHED, S19_dotdot_stays_inside);
}

/* ---- the last component changes its type ---- */

static void exchange_with_fifo(struct fixture *t, unsigned n)
{
	(void)renameat2(t->tree, "file", t->tree, "other", RENAME_EXCHANGE);
}

FS_TEST(race, S22_a_file_that_becomes_a_fifo_is_neither_opened_nor_waited_for)
{
	_cleanup_node_ struct fs_node root = FS_NODE_NULL;
	struct attack attack;
	unsigned regular = 0;

	make_file(t, "file", "regular");
	cr_assert_eq(mkfifoat(t->tree, "other", 0666), 0);
	cr_assert_eq(t->fs.ops->root(&t->fs, &root), 0);
	attack_start(&attack, t, exchange_with_fifo);
	/* At least one regular file, however the two threads happen to run. */
	for (unsigned n = 0; n < ATTEMPTS / 4 || (regular == 0 && n < 100 * ATTEMPTS); n++) {
		static const int modes[] = { O_RDONLY, O_RDWR, O_WRONLY };
		struct walk_request q = request_for(t, "file");
		_cleanup_node_ struct fs_node created = FS_NODE_NULL;
		struct walk_result result;
		int flags = modes[n % 3], r;
		struct stat st;

		arena_reset(&t->arena);
		r = walk_open(&q, flags, &result);
		cr_assert(r == 0 || r == -EPERM, "%d", r);
		if (r == 0) {
			regular++;
			cr_assert(S_ISREG(result.attr.mode));
			cr_assert_eq(fstat(result.node.fd, &st), 0);
			cr_assert(S_ISREG(st.st_mode));
			walk_result_deinit(&result);
		}
		r = t->fs.ops->create(&t->fs, &root, "file", O_CREAT | flags, 0600, &created);
		/* ENXIO: a FIFO without a reader, found only by opening. */
		cr_assert(r == 0 || r == -EPERM || r == -ENXIO, "%d", r);
		if (r == 0) {
			cr_assert_eq(fstat(created.fd, &st), 0);
			cr_assert(S_ISREG(st.st_mode));
		}
	}
	attack_stop(&attack);
	cr_assert_gt(regular, 0);
}

/* ---- the name comes and goes ---- */

static void unlink_name(struct fixture *t, unsigned n)
{
	(void)unlinkat(t->tree, "name", 0);
}

FS_TEST(race, open_with_create_never_says_that_the_name_exists_or_does_not)
{
	_cleanup_node_ struct fs_node root = FS_NODE_NULL;
	struct attack attack;

	cr_assert_eq(t->fs.ops->root(&t->fs, &root), 0);
	attack_start(&attack, t, unlink_name);
	for (unsigned n = 0; n < ATTEMPTS; n++) {
		struct fs_node file;
		int r = t->fs.ops->create(&t->fs, &root, "name", O_CREAT | O_RDWR, 0600, &file);

		cr_assert_eq(r, 0, "attempt %u: %d", n, r);
		fs_node_deinit(&file);
	}
	attack_stop(&attack);
}

/* ---- anything is renamed anywhere ---- */

static void rename_elsewhere(struct fixture *t, unsigned n)
{
	(void)renameat(t->outside, n % 2 ? "y" : "x", t->outside, n % 2 ? "x" : "y");
}

FS_TEST(race, S27_renames_elsewhere_do_not_hold_up_dotdot)
{
	struct attack attack;

	make_dir(t, "a", 0755);
	make_dir(t, "a/b", 0755);
	make_file(t, "a/f", "");
	cr_assert_eq(mkdirat(t->outside, "x", 0755), 0);
	attack_start(&attack, t, rename_elsewhere);
	for (unsigned n = 0; n < ATTEMPTS / 4; n++) {
		struct walk_request q = request_for(t, "a/b/../b/../b/../../a/b/../f");
		struct walk_result result;
		int r;

		arena_reset(&t->arena);
		r = walk_resolve(&q, &result);
		cr_assert_eq(r, 0, "%d", r);
		walk_result_deinit(&result);
	}
	attack_stop(&attack);
}
