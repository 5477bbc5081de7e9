/* test_volume.c - what a -v option may say, and which sets of volumes are refused. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sched.h>

#include "server/volume.h"

static struct volume parsed(const char *spec)
{
	struct volume v = VOLUME_NULL;
	struct serve_error error = {};

	cr_assert_eq(volume_parse(spec, &v, &error), 0, "%s: %s", spec, error.text);
	return v;
}

static void refused(const char *spec, const char *words)
{
	struct volume v = VOLUME_NULL;
	struct serve_error error = {};

	cr_assert_lt(volume_parse(spec, &v, &error), 0, "%s was accepted", spec);
	cr_assert(strstr(error.text, words) != NULL, "%s: '%s' does not say '%s'", spec, error.text,
		  words);
	cr_assert(strchr(error.text, '\n') == NULL);
	cr_assert(v.host_path == NULL);
}

Test(volume, defaults)
{
	struct volume v = parsed("/srv/data/");

	cr_assert_str_eq(v.host_path, "/srv/data");
	cr_assert_str_eq(v.name, "data");
	cr_assert(!v.read_only && !v.xdev && !v.noexec && !v.special && v.caps == 0);
	cr_assert_eq(v.donate, DONATE_ALWAYS);
	cr_assert_eq(v.identity, IDENTITY_SQUASH);
	cr_assert_eq(v.squash_uid, geteuid());
	cr_assert_eq(v.squash_gid, getegid());
	volume_deinit(&v);
}

Test(volume, fields_and_options)
{
	struct volume v = parsed("/a:b:ro,xdev,noexec,donate=ro,special=allow,backend=pathwalk");

	cr_assert_str_eq(v.name, "b");
	cr_assert(v.read_only && v.xdev && v.noexec && v.special);
	cr_assert_eq(v.donate, DONATE_RO);
	cr_assert_eq(v.fs.ops, fs_ops_find("pathwalk"));
	volume_deinit(&v);
}

Test(volume, second_field_of_known_options_is_options_never_a_name)
{
	struct volume v = parsed("/a:ro");

	cr_assert(v.read_only);
	cr_assert_str_eq(v.name, "a");
	volume_deinit(&v);
	v = parsed("/a:ro:");
	cr_assert(!v.read_only);
	cr_assert_str_eq(v.name, "ro");
	volume_deinit(&v);
	v = parsed("/a::ro");
	cr_assert(v.read_only);
	cr_assert_str_eq(v.name, "a");
	volume_deinit(&v);
}

Test(volume, escapes)
{
	struct volume v = parsed("/a\\:b\\,c\\\\d:n");

	cr_assert_str_eq(v.host_path, "/a:b,c\\d");
	cr_assert_str_eq(v.name, "n");
	volume_deinit(&v);
}

Test(volume, names_of_dot_and_root)
{
	struct volume v = parsed("/");

	cr_assert_str_eq(v.name, "root");
	volume_deinit(&v);
	v = parsed("/usr/.");
	cr_assert_str_eq(v.name, "usr");
	volume_deinit(&v);
}

Test(volume, S139_refusals_say_what_to_do)
{
	refused("", "directory is missing");
	refused(":n", "directory is missing");
	refused("/a:", "name is empty");
	refused("/a:b/c", "cannot be a name");
	refused("/a:..", "cannot be a name");
	refused("/a:x\ny", "control characters");
	refused("/a:b:roo", "unknown option 'roo'");
	refused("/a:b:ro=1", "unknown option");
	refused("/a:b:donate", "unknown option");
	refused("/a:b:donate=maybe", "expected never, ro or always");
	refused("/a:b:identity=squash=1", "expected squash");
	refused("/a:b:identity=squash=1:4294967295", "expected squash");
	refused("/a:b:identity=squash=-1:1", "expected squash");
	refused("/a:b:special=", "expected deny or allow");
	refused("/a:b:ro,rw", "keep one");
	refused("/a:b:uids=1-2", "need identity=delegate");
	refused("/a:b:identity=delegate,uids=2-1", "LOW-HIGH");
	refused("/a:b:caps=", "joined by +");
	refused("/a:b:caps=chown+", "joined by +");
	refused("/a:b:caps=sys_admin", "joined by +");
	refused("/a:b:backend=nfs", "host or pathwalk");
}

Test(volume, what_only_root_may_ask_for)
{
	if (geteuid() != 0) {
		refused("/a:b:identity=delegate", "root");
		refused("/a:b:identity=squash=0:0", "root");
		refused("/a:b:caps=chown", "root");
		return;
	}
	struct volume v =
		parsed("/a:b:identity=delegate,uids=0-4294967294,gids=7-9,caps=chown+fowner");

	cr_assert_eq(v.identity, IDENTITY_DELEGATE);
	cr_assert_eq(v.uids.low, 0);
	cr_assert_eq(v.gids.high, 9);
	cr_assert_eq(v.caps, UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_FOWNER);
	volume_deinit(&v);
	v = parsed("/a:identity=squash=12:34");
	cr_assert_str_eq(v.name, "a");
	cr_assert(v.squash_uid == 12 && v.squash_gid == 34);
	volume_deinit(&v);
	refused("/a:b:identity=squash=12:34,caps=chown", "uid 0");
	refused("/a:b:identity=delegate,caps=chown", "uid 0");
}

/* ---- opening ---- */

static char dir[] = "/tmp/gofer-test-volume-XXXXXX";

static void make_tree(void)
{
	cr_assert(mkdtemp(dir) != NULL);
	cr_assert_eq(chdir(dir), 0);
	cr_assert_eq(mkdir("a", 0755), 0);
	cr_assert_eq(mkdir("a/in", 0755), 0);
	cr_assert_eq(mkdir("b", 0755), 0);
	cr_assert_eq(symlink("a", "link"), 0);
	cr_assert_eq(mkfifo("fifo", 0600), 0);
	cr_assert_eq(close(open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
}

static void remove_tree(void)
{
	static const char *const names[] = { "a/in", "a", "b", "link", "fifo", "file" };

	cr_assert_eq(chdir("/"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	(void)rmdir(dir);
}

TestSuite(volume_open, .init = make_tree, .fini = remove_tree);

static int try_open(const char *spec, char *ret_words, size_t size)
{
	struct volume v = parsed(spec);
	struct serve_error error = {};
	int r = volume_open(&v, 0, 0, &error);

	snprintf(ret_words, size, "%s", error.text);
	volume_deinit(&v);
	return r;
}

Test(volume_open, S13_only_directories)
{
	char words[1024];

	cr_assert_eq(try_open("a", words, sizeof(words)), 0);
	cr_assert_eq(try_open("link", words, sizeof(words)), -ELOOP);
	cr_assert(strstr(words, "is a symbolic link: give the directory"));
	cr_assert_eq(try_open("link/", words, sizeof(words)), -ELOOP);
	cr_assert_eq(try_open("file", words, sizeof(words)), -ENOTDIR);
	cr_assert_eq(try_open("fifo", words, sizeof(words)), -ENOTDIR);
	cr_assert_eq(try_open("missing", words, sizeof(words)), -ENOENT);
	cr_assert(strstr(words, "create it"));
}

static int check_two(const char *first, const char *second, struct serve_error *error)
{
	struct volume v[2] = { parsed(first), parsed(second) };
	int r = 0;

	for (int i = 0; i < 2; i++)
		cr_assert_eq(volume_open(&v[i], i, 0, error), 0, "%s", error->text);
	r = volumes_check(v, 2, error);
	volume_deinit(&v[0]);
	volume_deinit(&v[1]);
	return r;
}

Test(volume_open, S139_two_of_one_name)
{
	struct serve_error error = {};

	cr_assert_eq(check_two("a:x", "b:x", &error), -EINVAL);
	cr_assert(strstr(error.text, "another name"), "%s", error.text);
}

Test(volume_open, S10_nested_in_either_order)
{
	struct serve_error error = {};

	cr_assert_eq(check_two("a:x", "a/in:y", &error), -EINVAL);
	cr_assert(strstr(error.text, "share a part"), "%s", error.text);
	error.text[0] = '\0';
	cr_assert_eq(check_two("a/in:y", "a:x", &error), -EINVAL);
	error.text[0] = '\0';
	cr_assert_eq(check_two("a:x", "link/in/..:y", &error), -EINVAL);
	error.text[0] = '\0';
	cr_assert_eq(check_two("a:x", "b:y", &error), 0, "%s", error.text);
}

Test(volume_open, S10_a_bind_mount_of_a_part)
{
	struct serve_error error = {};

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		remove_tree(); /* a skipped test has no .fini */
		cr_skip_test("a bind mount takes root");
	}
	cr_assert_eq(mount("a/in", "b", NULL, MS_BIND, NULL), 0);
	cr_assert_eq(check_two("a:x", "b:y", &error), -EINVAL);
	cr_assert(strstr(error.text, "share a part"), "%s", error.text);
	cr_assert_eq(umount("b"), 0);
}
