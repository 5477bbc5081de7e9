/*
 * xattr.c - gofer xattr: extended attributes. Values are bytes: raw into a pipe, escaped on a
 * terminal.
 */
#include "client/cli/cli.h"

#include <fcntl.h>
#include <string.h>

#include "common/path.h"

enum { KEY_BASE64 = CLI_LONG, VALUE_MAX = 65536 };

static const struct cli_option options[] = {
	{ 'h', "no-dereference", NULL, "of a symbolic link itself" },
	{ KEY_BASE64, "base64", NULL, "values are base64, given and shown" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "xattr",
	.usage = "list [-h] NAME:/path\nget [-h] NAME:/path ATTRIBUTE\nset [-h] NAME:/path "
		 "ATTRIBUTE VALUE\nrm [-h] NAME:/path ATTRIBUTE",
	.about = "Shows and changes extended attributes (user.NAME, system.posix_acl_access ...).",
	.options = options,
	.notes = "'list --json' shows the values too.",
};

static json_t *value_json(struct cli_path *p, const char *name, int flags)
{
	_cleanup_free_ char *value = cli_alloc(VALUE_MAX);
	ssize_t n = gofer_getxattr(p->ns, p->path, name, value, VALUE_MAX, flags);

	return n < 0 ? json_null() : cli_json_bytes(value, (size_t)n);
}

static int list(struct cli *c, struct cli_path *p, int flags)
{
	_cleanup_free_ char *names = cli_alloc(VALUE_MAX + 1);
	ssize_t n = gofer_listxattr(p->ns, p->path, names, VALUE_MAX, flags);
	json_t *all = json_object();

	for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
		if (c->json) {
			json_object_set_new(all, name, value_json(p, name, flags));
			continue;
		}
		cli_put_name(c, name);
		putchar('\n');
	}
	if (n >= 0 && c->json)
		cli_json_print(c, json_pack("{s:o,s:O}", "path", cli_json_path(p->volume, p->path),
					    "xattrs", all));
	json_decref(all);
	return n < 0 ? (int)n : 0;
}

static int get(struct cli *c, struct cli_path *p, const char *name, int flags, bool base64)
{
	_cleanup_free_ char *value = cli_alloc(VALUE_MAX);
	_cleanup_free_ char *text = NULL;
	ssize_t n = gofer_getxattr(p->ns, p->path, name, value, VALUE_MAX, flags);

	if (n < 0)
		return (int)n;
	if (c->json) {
		cli_json_print(c,
			       json_pack("{s:o,s:s,s:o}", "path", cli_json_path(p->volume, p->path),
					 "name", name, "value", cli_json_bytes(value, (size_t)n)));
	} else if (base64) {
		text = cli_base64(value, (size_t)n);
		printf("%s\n", text);
	} else if (c->tty) {
		text = cli_alloc(4 * (size_t)n + 1);
		printf("%s\n", path_escape(value, (size_t)n, text, 4 * (size_t)n + 1));
	} else {
		fwrite(value, 1, (size_t)n, stdout);
		putchar('\n');
	}
	return 0;
}

static int run(int argc, char **argv)
{
	_cleanup_path_ struct cli_path p = { 0 };
	_cleanup_free_ void *decoded = NULL;
	bool base64 = false;
	const char *what;
	int flags = 0, n = 0, key, r;
	size_t len = 0;
	struct cli c;

	cli_begin(&c, &spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		if (key == 'h')
			flags = AT_SYMLINK_NOFOLLOW;
		else
			base64 = true;
	}
	if (cli_need_operands(&c, 1, -1) < 0)
		return cli_end(&c);
	what = c.argv[0];
	if (strcmp(what, "list") == 0)
		n = 2;
	else if (strcmp(what, "get") == 0 || strcmp(what, "rm") == 0)
		n = 3;
	else if (strcmp(what, "set") == 0)
		n = 4;
	else
		cli_no_usage(&c, "'%s' is none of list, get, set, rm", what);
	if (cli_need_operands(&c, n, n) < 0)
		return cli_end(&c);
	if (n == 4 && base64 && cli_base64_decode(c.argv[3], &decoded, &len) < 0)
		cli_no_usage(&c, "'%s' is not base64", c.argv[3]);
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	if (cli_split(&c, c.argv[1], &p) < 0)
		return cli_end(&c);
	if (*what == 'l') {
		r = list(&c, &p, flags);
	} else if (*what == 'g') {
		r = get(&c, &p, c.argv[2], flags, base64);
	} else if (*what == 'r') {
		r = gofer_removexattr(p.ns, p.path, c.argv[2], flags);
	} else {
		r = gofer_setxattr(p.ns, p.path, c.argv[2], base64 ? decoded : c.argv[3],
				   base64 ? len : strlen(c.argv[3]), 0, flags);
	}
	if (r < 0) {
		_cleanup_free_ char *where = NULL;

		if (asprintf(&where, "%s%s%s", p.text, *what == 'l' ? "" : ": ",
			     *what == 'l' ? "" : c.argv[2]) < 0)
			abort();
		cli_error(&c, r, NULL, where);
	}
	return cli_end(&c);
}

const struct verb verb_xattr = { "xattr", "show and change extended attributes", run, &spec };
