/*
 * chmod.c - gofer chmod and gofer chown, with -R. An octal mode costs one RPC per object; a
 * symbolic one needs the old mode, which below -R came with the listing.
 */
#include "client/cli/cli.h"

#include <fcntl.h>
#include <string.h>

struct change {
	struct cli *c;
	const struct cli_volume *v;
	bool recursive, verbose, quiet, no_follow, chown;
	const char *mode;
	mode_t mask;
	uid_t uid;
	gid_t gid;
};

static int change_one(struct change *ch, const char *path, const struct stat *st, bool top)
{
	mode_t mode;
	int r;

	if (ch->chown)
		return gofer_chown(ch->v->ns, path, ch->uid, ch->gid,
				   !top || ch->no_follow ? AT_SYMLINK_NOFOLLOW : 0);
	r = cli_mode_apply(ch->mode, st->st_mode, ch->mask, &mode);
	return r < 0 ? r : gofer_chmod(ch->v->ns, path, mode & 07777);
}

static void change(struct change *ch, const char *path, const struct stat *st, bool top)
{
	_cleanup_list_ struct cli_list l = { 0 };
	int r;

	/* Links met on the way have no mode, and what they lead to was not asked for. */
	if (!ch->chown && S_ISLNK(st->st_mode))
		return;
	/* As chmod(1): the directory first, so that u+rwx opens what follows. */
	r = change_one(ch, path, st, top);
	if (r < 0 && !ch->quiet)
		cli_path_error(ch->c, r, ch->chown ? "change the owner of" : "change the mode of",
			       ch->v, path);
	else if (r < 0)
		ch->c->status = CLI_FAILED;
	else if (ch->verbose) {
		printf("%s of '%s:", ch->chown ? "changed ownership" : "changed mode", ch->v->name);
		cli_put_name(ch->c, path);
		printf("'\n");
	}
	if (!ch->recursive || !S_ISDIR(st->st_mode))
		return;
	r = cli_list_read(ch->v->ns, path, 0, &l);
	if (r < 0)
		cli_path_error(ch->c, r, "list", ch->v, path);
	for (size_t i = 0; i < l.n && !cli_stops(ch->c); i++) {
		_cleanup_free_ char *below = cli_join(path, l.entries[i].name);

		if (l.entries[i].has_stat)
			change(ch, below, &l.entries[i].st, false);
	}
}

static int change_all(struct change *ch)
{
	struct cli *c = ch->c;

	if (cli_connect(c) < 0)
		return cli_end(c);
	for (int i = 1; i < c->argc && !cli_stops(c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		struct stat st = { .st_mode = S_IFREG };
		int r = 0;

		if (cli_split(c, c->argv[i], &p) < 0)
			continue;
		ch->v = p.volume;
		if (ch->recursive || !ch->chown)
			r = gofer_stat(p.ns, p.path, ch->no_follow ? AT_SYMLINK_NOFOLLOW : 0, &st);
		if (r < 0)
			cli_error(c, r, NULL, p.text);
		else
			change(ch, p.path, &st, true);
	}
	return cli_end(c);
}

static const struct cli_option chmod_options[] = {
	{ 'R', "recursive", NULL, "what directories hold too" },
	{ 'v', "verbose", NULL, "say what was changed" },
	{ 'f', "quiet", NULL, "no messages about failures" },
	{ 0 },
};
static const struct cli_spec chmod_spec = {
	.verb = "chmod",
	.usage = "[OPTION]... MODE NAME:/path...",
	.about = "Changes permissions. MODE is octal, or symbolic as for chmod(1): u=rwX,go-w",
	.options = chmod_options,
	.notes = "A MODE that begins with '-' comes after '--'.",
};

static int run_chmod(int argc, char **argv)
{
	struct cli c;
	struct change ch = { .c = &c };
	mode_t scratch;
	int key;

	cli_begin(&c, &chmod_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		ch.recursive |= key == 'R';
		ch.verbose |= key == 'v';
		ch.quiet |= key == 'f';
	}
	if (cli_need_operands(&c, 2, -1) < 0)
		return cli_end(&c);
	ch.mode = c.argv[0];
	ch.mask = umask(0);
	umask(ch.mask);
	if (cli_mode_apply(ch.mode, S_IFREG, ch.mask, &scratch) < 0)
		cli_no_usage(&c, "'%s' is not a mode", ch.mode);
	return change_all(&ch);
}

static const struct cli_option chown_options[] = {
	{ 'R', "recursive", NULL,
	  "what directories hold too; links themselves, not what they lead to" },
	{ 'h', "no-dereference", NULL, "change links themselves" },
	{ 'v', "verbose", NULL, "say what was changed" },
	{ 'f', "quiet", NULL, "no messages about failures" },
	{ 0 },
};
static const struct cli_spec chown_spec = {
	.verb = "chown",
	.usage = "[OPTION]... USER[:GROUP] NAME:/path...\n[OPTION]... :GROUP NAME:/path...",
	.about = "Changes owner and group, by name (looked up here, not on the server) or number.",
	.options = chown_options,
};

static int run_chown(int argc, char **argv)
{
	struct cli c;
	struct change ch = { .c = &c, .chown = true };
	int key;

	cli_begin(&c, &chown_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		ch.recursive |= key == 'R';
		ch.no_follow |= key == 'h' || key == 'R';
		ch.verbose |= key == 'v';
		ch.quiet |= key == 'f';
	}
	if (cli_need_operands(&c, 2, -1) < 0)
		return cli_end(&c);
	if (cli_owner_parse(c.argv[0], &ch.uid, &ch.gid) < 0)
		cli_no_usage(&c, "'%s' is no user and group", c.argv[0]);
	return change_all(&ch);
}

const struct verb verb_chmod = { "chmod", "change permissions", run_chmod, &chmod_spec };
const struct verb verb_chown = { "chown", "change owners", run_chown, &chown_spec };
