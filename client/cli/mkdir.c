/*
 * mkdir.c - gofer mkdir and gofer rmdir.
 */
#include "client/cli/cli.h"

#include <string.h>

static const struct cli_option mkdir_options[] = {
	{ 'm', "mode", "MODE", "permissions, octal or symbolic (default a=rwx less the umask)" },
	{ 'p', "parents", NULL, "make parents as needed; what exists already is no error" },
	{ 'v', "verbose", NULL, "say what was made" },
	{ 0 },
};
static const struct cli_spec mkdir_spec = {
	.verb = "mkdir",
	.usage = "[-p] [-v] [-m MODE] NAME:/path...",
	.about = "Makes directories.",
	.options = mkdir_options,
};

static int make_one(struct cli *c, const struct cli_volume *v, const char *path, mode_t mode,
		    bool verbose)
{
	int r = gofer_mkdir(v->ns, path, mode);

	if (r == 0 && verbose) {
		printf("gofer: mkdir: created directory '%s:", v->name);
		cli_put_name(c, path);
		printf("'\n");
	}
	return r;
}

/* From the top down only where the short way, making the last one, fails: existing parents cost
 * nothing. */
static int make_parents(struct cli *c, const struct cli_volume *v, const char *path, mode_t mode,
			mode_t parent_mode, bool verbose)
{
	int r = make_one(c, v, path, mode, verbose);

	if (r == -ENOENT && strspn(path, "/") < strlen(path)) {
		_cleanup_free_ char *parent = cli_dirname(path);

		if (strcmp(parent, "/") == 0)
			return r;
		r = make_parents(c, v, parent, parent_mode, parent_mode, verbose);
		if (r == 0)
			r = make_one(c, v, path, mode, verbose);
	}
	if (r == -EEXIST) {
		struct stat st;

		if (gofer_stat(v->ns, path, 0, &st) == 0 && S_ISDIR(st.st_mode))
			return 0;
	}
	return r;
}

static int run_mkdir(int argc, char **argv)
{
	bool parents = false, verbose = false, exact = false;
	mode_t mask = umask(0), mode = 0777 & ~mask;
	struct cli c;
	int key, r;

	umask(mask);
	cli_begin(&c, &mkdir_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		if (key == 'p') {
			parents = true;
		} else if (key == 'v') {
			verbose = true;
		} else {
			if (cli_mode_apply(c.optarg, S_IFDIR | 0777, mask, &mode) < 0)
				cli_no_usage(&c, "'%s' is not a mode", c.optarg);
			mode &= 07777;
			exact = true;
		}
	}
	if (cli_need_operands(&c, 1, -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		/* Without -m the server applies the umask, so that a default ACL can override it.
		 */
		gofer_umask(p.ns, exact ? 0 : mask);
		if (parents)
			r = make_parents(&c, p.volume, p.path, exact ? mode : 0777,
					 exact ? (0777 & ~mask) | 0300 : 0777, verbose);
		else
			r = make_one(&c, p.volume, p.path, exact ? mode : 0777, verbose);
		/* mkdir(2) drops set-id bits. */
		if (r == 0 && exact && mode & 07000)
			r = gofer_chmod(p.ns, p.path, mode);
		if (r < 0)
			cli_error(&c, r, "make directory", p.text);
	}
	return cli_end(&c);
}

static const struct cli_option rmdir_options[] = {
	{ 'p', "parents", NULL, "remove the parents too, up to the root" },
	{ 'v', "verbose", NULL, "say what was removed" },
	{ 0 },
};
static const struct cli_spec rmdir_spec = {
	.verb = "rmdir",
	.usage = "[-p] [-v] NAME:/path...",
	.about = "Removes empty directories.",
	.options = rmdir_options,
};

static int run_rmdir(int argc, char **argv)
{
	bool parents = false, verbose = false;
	struct cli c;
	int key;

	cli_begin(&c, &rmdir_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		if (key == 'p')
			parents = true;
		else
			verbose = true;
	}
	if (cli_need_operands(&c, 1, -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		do {
			int r = gofer_rmdir(p.ns, p.path);
			char *parent;

			if (r < 0) {
				cli_path_error(&c, r, "remove directory", p.volume, p.path);
				break;
			}
			if (verbose) {
				printf("gofer: rmdir: removed directory '%s:", p.volume->name);
				cli_put_name(&c, p.path);
				printf("'\n");
			}
			parent = cli_dirname(p.path);
			free(p.path);
			p.path = parent;
		} while (parents && strcmp(p.path, "/") != 0);
	}
	return cli_end(&c);
}

const struct verb verb_mkdir = { "mkdir", "make directories", run_mkdir, &mkdir_spec };
const struct verb verb_rmdir = { "rmdir", "remove empty directories", run_rmdir, &rmdir_spec };
