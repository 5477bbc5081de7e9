/*
 * ln.c - gofer ln and gofer readlink. The target of a symbolic link is text: it is stored as given
 * and means what it says to whoever resolves it; "NAME:/path" is no target.
 */
#include "client/cli/cli.h"

#include <fcntl.h>
#include <string.h>

static const struct cli_option ln_options[] = {
	{ 's', "symbolic", NULL, "make a symbolic link with TARGET as its text" },
	{ 'f', "force", NULL, "remove an existing destination first" },
	{ 'n', "no-dereference", NULL,
	  "a destination that is a link to a directory is replaced, not entered" },
	{ 'T', "no-target-directory", NULL,
	  "the destination is never a directory to put the link in" },
	{ 'v', "verbose", NULL, "say what was linked" },
	{ 0 },
};
static const struct cli_spec ln_spec = {
	.verb = "ln",
	.usage = "[OPTION]... NAME:/existing NAME:/new\n-s [OPTION]... TARGET NAME:/new",
	.about = "Makes a hard link, or with -s a symbolic link. Where NAME:/new is a directory, "
		 "the link is made in it.",
	.options = ln_options,
};

static int run_ln(int argc, char **argv)
{
	_cleanup_path_ struct cli_path from = { 0 }, to = { 0 };
	bool symbolic = false, force = false, no_follow = false, plain = false, verbose = false;
	const char *target;
	struct stat st;
	struct cli c;
	int key, r;

	cli_begin(&c, &ln_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		switch (key) {
		case 's':
			symbolic = true;
			break;
		case 'f':
			force = true;
			break;
		case 'n':
			no_follow = true;
			break;
		case 'T':
			plain = true;
			break;
		default:
			verbose = true;
		}
	}
	if (cli_need_operands(&c, 2, 2) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	target = c.argv[0];
	if ((!symbolic && cli_split(&c, target, &from) < 0) || cli_split(&c, c.argv[1], &to) < 0)
		return cli_end(&c);
	if (!plain && gofer_stat(to.ns, to.path, no_follow ? AT_SYMLINK_NOFOLLOW : 0, &st) == 0 &&
	    S_ISDIR(st.st_mode)) {
		_cleanup_free_ char *name = cli_basename(symbolic ? target : from.path);
		char *below = cli_join(to.path, name);

		free(to.path);
		to.path = below;
	}
	if (!symbolic && from.volume != to.volume) {
		cli_error(&c, -EXDEV, "link to", from.text);
		return cli_end(&c);
	}
	for (bool again = force;; again = false) {
		r = symbolic ? gofer_symlink(to.ns, target, to.path)
			     : gofer_link(to.ns, from.path, to.path, 0);
		if (r != -EEXIST || !again)
			break;
		r = gofer_unlink(to.ns, to.path);
		if (r < 0 && r != -ENOENT)
			break;
	}
	if (r < 0) {
		cli_path_error(&c, r, symbolic ? "make symbolic link" : "make link", to.volume,
			       to.path);
	} else if (verbose) {
		printf("'%s:", to.volume->name);
		cli_put_name(&c, to.path);
		printf("' %s '", symbolic ? "->" : "=>");
		cli_put_name(&c, target);
		printf("'\n");
	}
	return cli_end(&c);
}

static const struct cli_option readlink_options[] = {
	{ 'f', "canonicalize", NULL,
	  "print the path with every link resolved; the last component need not exist" },
	{ 'e', "canonicalize-existing", NULL, "as -f, but everything must exist" },
	{ 'n', "no-newline", NULL, "no newline at the end" },
	{ 'z', "zero", NULL, "end with NUL instead of a newline" },
	{ 0 },
};
static const struct cli_spec readlink_spec = {
	.verb = "readlink",
	.usage = "[-f | -e] [-n] [-z] NAME:/path...",
	.about = "Prints the target of a symbolic link, or with -f where a path leads, as "
		 "NAME:/path.",
	.options = readlink_options,
	.notes = "An absolute target leads to that path in the same volume.",
};

static int canonical(struct cli_path *p, bool must_exist, char **ret_text)
{
	_cleanup_free_ char *path = NULL;
	struct gofer_session *session;
	struct stat st;
	uint32_t fs_id;
	int r;

	r = gofer_resolve(p->ns, p->path, true, &session, &fs_id, &path);
	if (r == 0 && must_exist)
		r = gofer_stat(p->ns, p->path, 0, &st);
	if (r < 0)
		return r;
	if (asprintf(ret_text, "%s:/%s", p->volume->name, path + strspn(path, "/")) < 0)
		return -ENOMEM;
	return 0;
}

static int run_readlink(int argc, char **argv)
{
	bool resolve = false, must_exist = false, no_newline = false, zero = false;
	struct cli c;
	int key;

	cli_begin(&c, &readlink_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		resolve |= key == 'f' || key == 'e';
		must_exist |= key == 'e';
		no_newline |= key == 'n';
		zero |= key == 'z';
	}
	if (cli_need_operands(&c, 1, -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		_cleanup_free_ char *text = NULL;
		int r;

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		if (resolve) {
			r = canonical(&p, must_exist, &text);
		} else {
			char buf[4096];
			ssize_t n = gofer_readlink(p.ns, p.path, buf, sizeof(buf));

			r = n < 0 ? (int)n : 0;
			if (n >= 0)
				text = strndup(buf, (size_t)n);
		}
		if (r < 0) {
			cli_error(&c, r, NULL, p.text);
			continue;
		}
		if (c.json) {
			cli_json_print(&c, json_pack("{s:o,s:o}", "path",
						     cli_json_path(p.volume, p.path), "target",
						     cli_json_bytes(text, strlen(text))));
			continue;
		}
		cli_put_name(&c, text);
		if (zero)
			putchar('\0');
		else if (!no_newline || c.argc > 1)
			putchar('\n');
	}
	return cli_end(&c);
}

const struct verb verb_ln = { "ln", "make links", run_ln, &ln_spec };
const struct verb verb_readlink = { "readlink", "show where links lead", run_readlink,
				    &readlink_spec };
