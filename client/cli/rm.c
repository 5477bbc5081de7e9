/*
 * rm.c - gofer rm. The files of a directory are unlinked with many requests in flight; a directory
 * is removed once all below it have answered. Nothing is followed: the server unlinks names, and a
 * directory that turned into a link is a name like any other.
 */
#include "client/cli/pipeline.h"

#include <fcntl.h>
#include <string.h>

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
	unsigned out; /* requests without an answer */
	int result;   /* the last error */
};

struct removal {
	struct rm *rm;
	char path[];
};

static void removed(struct rm *rm, const char *path, bool directory)
{
	if (!rm->verbose)
		return;
	printf("removed %s'%s:", directory ? "directory " : "", rm->v->name);
	cli_put_name(rm->c, path);
	printf("'\n");
}

static void failed(struct rm *rm, int r, const char *path)
{
	if (r == -ENOENT && rm->force)
		return;
	rm->result = r;
	cli_path_error(rm->c, r, "remove", rm->v, path);
}

static void unlinked(void *userdata, int result, struct gofer_reply *reply)
{
	struct removal *removal = userdata;
	struct rm *rm = removal->rm;

	rm->out--;
	if (result == 0 && reply->kind == GOFER_REPLY_STOP)
		result = -ELOOP;
	if (result < 0)
		failed(rm, result, removal->path);
	else
		removed(rm, removal->path, false);
	free(removal);
}

static void unlink_soon(struct rm *rm, const char *path)
{
	Gofer__UnlinkRequest message = GOFER__UNLINK_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Unlink,
					 .message = (void *)&message,
					 .fd = -1 };
	struct removal *removal = cli_alloc(sizeof(*removal) + strlen(path) + 1);
	Gofer__Path p;
	int r;

	removal->rm = rm;
	memcpy(removal->path, path, strlen(path) + 1);
	pipe_path(&p, rm->v, path);
	message.path = &p;
	rm->out++;
	r = pipe_submit(rm->c, &request, unlinked, removal);
	if (r < 0) {
		rm->out--;
		free(removal);
		failed(rm, r, path);
	}
}

static void wait_all(struct rm *rm)
{
	while (rm->out > 0) {
		int r = pipe_wait(rm->c);

		if (r < 0 && r != -EINTR) {
			failed(rm, r, "/");
			break;
		}
	}
}

static void remove_directory(struct rm *rm, const char *path)
{
	_cleanup_list_ struct cli_list l = { 0 };
	int r;

	if (rm->ask && !cli_ask(rm->c, "descend into directory", rm->v, path))
		return;
	r = cli_list_read(rm->v->ns, path, AT_SYMLINK_NOFOLLOW, &l);
	if (r < 0) {
		failed(rm, r, path);
		return;
	}
	for (size_t i = 0; i < l.n; i++) {
		_cleanup_free_ char *below = cli_join(path, l.entries[i].name);

		if (l.entries[i].type == DT_DIR)
			continue;
		if (!rm->ask || cli_ask(rm->c, "remove", rm->v, below))
			unlink_soon(rm, below);
	}
	for (size_t i = 0; i < l.n; i++) {
		_cleanup_free_ char *below = cli_join(path, l.entries[i].name);

		if (l.entries[i].type == DT_DIR)
			remove_directory(rm, below);
	}
	wait_all(rm);
	if (rm->ask && !cli_ask(rm->c, "remove directory", rm->v, path))
		return;
	r = gofer_rmdir(rm->v->ns, path);
	if (r < 0)
		failed(rm, r, path);
	else
		removed(rm, path, true);
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
		remove_directory(&rm, path);
	else
		unlink_soon(&rm, path);
	wait_all(&rm);
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
	if (!rm.force || c.argc)
		cli_need_operands(&c, 1, -1);
	if (!c.argc)
		return cli_end(&c);
	cli_connect(&c);
	for (int i = 0; i < c.argc; i++) {
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
				unlink_soon(&rm, p.path);
		} else if (recursive) {
			remove_directory(&rm, p.path);
		} else if (directories) {
			r = gofer_rmdir(p.ns, p.path);
			if (r < 0)
				failed(&rm, r, p.path);
			else
				removed(&rm, p.path, true);
		} else {
			failed(&rm, -EISDIR, p.path);
		}
		wait_all(&rm);
	}
	return cli_end(&c);
}

const struct verb verb_rm = { "rm", "remove files and trees", run };
