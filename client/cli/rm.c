/*
 * rm.c - gofer rm. A tree is walked in the order of its listings (walk.h), and its names are removed
 * with many requests in flight (remove.h). Nothing is followed: the server unlinks names, and a
 * directory that turned into a link is a name like any other.
 */
#include "client/cli/remove.h"

#include <fcntl.h>
#include <string.h>

#include "client/cli/walk.h"

static const struct cli_option options[] = {
	{ 'r', "recursive", NULL, "remove directories and what they hold" },
	{ 'R', NULL, NULL, "the same as -r" },
	{ 'f', "force", NULL, "what does not exist is no error, and never ask" },
	{ 'i', NULL, NULL, "ask before each removal" },
	{ 'd', "dir", NULL, "remove empty directories too" },
	{ 'v', "verbose", NULL, "say what was removed" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "rm",
	.usage = "[OPTION]... NAME:/path...",
	.about = "Removes files and trees. Never follows a symbolic link.",
	.options = options,
};

struct rm {
	struct cli *c;
	const struct cli_volume *v;
	bool verbose, ask, force;
	int result; /* the last error */
};

static void failed(struct rm *rm, int r, const char *path)
{
	if (r == -ENOENT && rm->force)
		return;
	rm->result = r;
	if (r == -EINTR && pipe_signal)
		return;
	cli_path_error(rm->c, r, "remove", rm->v, path);
}

static void removed(void *userdata, const char *path, bool directory, int result)
{
	struct rm *rm = userdata;

	if (result < 0) {
		failed(rm, result, path);
		return;
	}
	if (!rm->verbose)
		return;
	printf("removed %s'%s:", directory ? "directory " : "", rm->v->name);
	cli_put_name(rm->c, path);
	printf("'\n");
}

static void remove_entry(struct rm *rm, struct remover *r, struct walk *w, struct walk_at *at)
{
	if (at->directory &&
	    (!rm->ask || cli_ask(rm->c, "descend into directory", rm->v, at->path))) {
		*at->user = remove_enter(r, at->above, at->path);
		return;
	}
	walk_skip(w);
	if (!at->directory && (!rm->ask || cli_ask(rm->c, "remove", rm->v, at->path)))
		remove_name(r, at->above, at->path);
	else
		remove_keep(at->above);
}

static int leave_directory(struct rm *rm, struct remover *r, const struct walk_at *at)
{
	struct remove_dir *d = *at->user;
	bool wanted = true;
	int result = 0;

	if (rm->ask) {
		result = remove_wait(r, d);
		wanted = result == 0 && cli_ask(rm->c, "remove directory", rm->v, at->path);
	}
	remove_leave(r, d, wanted, at->several);
	return result;
}

/* One walk; dir: of a directory that is walked once more. */
static int remove_below(struct rm *rm, struct remover *r, struct remove_dir *dir, const char *path,
			const struct stat *st)
{
	struct walk *w = walk_new(rm->c, rm->v->ns, path, AT_SYMLINK_NOFOLLOW, st);
	struct walk_at at;
	int result = 0;

	while (result == 0 && !cli_stops(rm->c) && walk_next(w, &at) != WALK_END) {
		switch (at.kind) {
		case WALK_ENTRY:
			if (at.depth == 0 && dir)
				*at.user = dir;
			else
				remove_entry(rm, r, w, &at);
			break;
		case WALK_LEFT:
			result = leave_directory(rm, r, &at);
			break;
		default:
			remove_keep(*at.user);
			failed(rm, at.error, at.path);
		}
	}
	walk_free(w);
	return pipe_signal ? -EINTR : result;
}

static void remove_directory(struct rm *rm, const char *text, const struct stat *st)
{
	_cleanup_free_ char *path = cli_strdup(text);
	struct remover r = { .c = rm->c, .v = rm->v, .removed = removed, .userdata = rm };
	_cleanup_free_ char *real = NULL;
	struct gofer_session *session;
	struct remove_dir *again;
	uint32_t fs_id;
	int result;

	for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = '\0';
	/* Links on the way are followed once, here. */
	result = gofer_resolve(rm->v->ns, path, false, &session, &fs_id, &real);
	r.shown = path;
	r.real = real;
	if (result == 0)
		result = remove_below(rm, &r, NULL, path, st);
	if (result == 0)
		result = remove_wait(&r, NULL);
	while (result == 0 && (again = remove_again(&r))) {
		_cleanup_free_ char *below = cli_strdup(remove_path(again));

		result = remove_below(rm, &r, again, below, st);
		if (result == 0)
			result = remove_wait(&r, NULL);
	}
	if (result < 0)
		failed(rm, result, path);
	remove_deinit(&r);
}

static void remove_file(struct rm *rm, const char *path)
{
	removed(rm, path, false, gofer_unlink(rm->v->ns, path));
}

int cli_remove_tree(struct cli *c, const struct cli_volume *v, const char *path, bool verbose)
{
	struct rm rm = { .c = c, .v = v, .verbose = verbose };
	struct stat st;
	int r = gofer_stat(v->ns, path, AT_SYMLINK_NOFOLLOW, &st);

	if (r < 0) {
		failed(&rm, r, path);
		return r;
	}
	if (S_ISDIR(st.st_mode))
		remove_directory(&rm, path, &st);
	else
		remove_file(&rm, path);
	return rm.result;
}

/* "NAME:/" and whatever comes to "." or "..": rm(1) refuses these too. */
static bool is_protected(const char *path)
{
	_cleanup_free_ char *name = cli_basename(path);

	return !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int run(int argc, char **argv)
{
	bool recursive = false, directories = false;
	struct cli c;
	struct rm rm = { .c = &c };
	int key;

	cli_begin(&c, &spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		switch (key) {
		case 'f':
			rm.force = true;
			rm.ask = false;
			break;
		case 'i':
			rm.ask = true;
			rm.force = false;
			break;
		case 'd':
			directories = true;
			break;
		case 'v':
			rm.verbose = true;
			break;
		default:
			recursive = true;
		}
	}
	if (cli_need_operands(&c, rm.force ? 0 : 1, -1) < 0 || !c.argc)
		return cli_end(&c);
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		struct stat st;
		int r;

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		if (is_protected(p.path)) {
			cli_warn(&c, "%s: refusing to remove a root, '.' or '..'", p.text);
			c.status = CLI_FAILED;
			continue;
		}
		rm.v = p.volume;
		r = gofer_stat(p.ns, p.path, AT_SYMLINK_NOFOLLOW, &st);
		if (r < 0) {
			failed(&rm, r, p.path);
		} else if (!S_ISDIR(st.st_mode)) {
			if (!rm.ask || cli_ask(&c, "remove", p.volume, p.path))
				remove_file(&rm, p.path);
		} else if (recursive) {
			remove_directory(&rm, p.path, &st);
		} else if (directories) {
			removed(&rm, p.path, true, gofer_rmdir(p.ns, p.path));
		} else {
			failed(&rm, -EISDIR, p.path);
		}
	}
	return cli_end(&c);
}

const struct verb verb_rm = { "rm", "remove files and trees", run, &spec };
