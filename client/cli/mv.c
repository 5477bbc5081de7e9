/*
 * mv.c - gofer mv: one Rename inside a volume; between volumes a copy that keeps everything, then
 * removal, as mv(1) does between filesystems.
 */
#include "client/cli/cli.h"

#include <fcntl.h>
#include <string.h>

static const struct cli_option options[] = {
	{ 'f', "force", NULL, "replace without asking (the default)" },
	{ 'n', "no-clobber", NULL, "leave existing files alone" },
	{ 'T', "no-target-directory", NULL, "the destination is never a directory to move into" },
	{ 'v', "verbose", NULL, "say what is moved" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "mv",
	.usage = "[OPTION]... NAME:/source NAME:/dest\n[OPTION]... NAME:/source... NAME:/directory",
	.about = "Renames files and directories; between volumes, copies and removes.",
	.options = options,
};

static int move_across(struct cli *c, struct cli_path *from, struct cli_path *to, const char *dest,
		       bool no_clobber)
{
	static const struct cli_copy_options keep = {
		.recursive = true, .preserve = true, .no_dereference = true, .force = true
	};
	struct stat st;
	int r;

	if (gofer_stat(to->ns, dest, AT_SYMLINK_NOFOLLOW, &st) == 0) {
		if (no_clobber)
			return 1;
		/* What rename(2) would have replaced: a file, or an empty directory. */
		r = S_ISDIR(st.st_mode) ? gofer_rmdir(to->ns, dest) : gofer_unlink(to->ns, dest);
		if (r < 0) {
			cli_path_error(c, r, "replace", to->volume, dest);
			return r;
		}
	}
	r = cli_copy_tree(c, from->volume, from->path, to->volume, dest, &keep);
	if (r < 0) /* said already; the source stays whole */
		return r;
	return cli_remove_tree(c, from->volume, from->path, false);
}

static int move_one(struct cli *c, struct cli_path *from, struct cli_path *to, const char *dest,
		    bool no_clobber)
{
	int r;

	if (from->volume != to->volume)
		return move_across(c, from, to, dest, no_clobber);
	r = gofer_rename(from->ns, from->path, dest, no_clobber ? RENAME_NOREPLACE : 0);
	if (r == -EEXIST && no_clobber)
		return 1;
	if (r == -EXDEV) /* a volume of several filesystems */
		return move_across(c, from, to, dest, no_clobber);
	if (r < 0)
		cli_error(c, r, "move", from->text);
	return r;
}

static int run(int argc, char **argv)
{
	_cleanup_path_ struct cli_path to = { 0 };
	bool no_clobber = false, plain = false, verbose = false, into;
	struct cli c;
	int key;

	cli_begin(&c, &spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		if (key == 'f')
			no_clobber = false;
		no_clobber |= key == 'n';
		plain |= key == 'T';
		verbose |= key == 'v';
	}
	if (cli_need_operands(&c, 2, plain ? 2 : -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	if (cli_destination(&c, plain, &to, &into) < 0)
		return cli_end(&c);
	for (int i = 0; i < c.argc - 1 && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path from = { 0 };
		_cleanup_free_ char *name = NULL;
		_cleanup_free_ char *dest = NULL;

		if (cli_split(&c, c.argv[i], &from) < 0)
			continue;
		name = cli_basename(from.path);
		dest = into ? cli_join(to.path, name) : cli_strdup(to.path);
		if (move_one(&c, &from, &to, dest, no_clobber) == 0 && verbose) {
			printf("renamed '");
			cli_put_name(&c, from.text);
			printf("' -> '%s:", to.volume->name);
			cli_put_name(&c, dest);
			printf("'\n");
		}
	}
	return cli_end(&c);
}

const struct verb verb_mv = { "mv", "rename or move", run, &spec };
