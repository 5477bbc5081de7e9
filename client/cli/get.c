/*
 * get.c - gofer get: copies files and trees from a volume to local directories, with many requests
 * in flight.
 *
 * Mental model. There is a stack of things to do (list a directory, fetch a file, read an
 * attribute); the main loop takes from it and submits while the window has room, then waits.
 * Callbacks do the local half of the work at once and push what comes next; they never submit.
 * Because it is a stack, the walk goes depth first and the memory in use is bounded by one frame of
 * entries per level, not by the size of the tree.
 *
 * A file lives as a `struct item` from its entry to its name: contents and the list of its extended
 * attributes are asked for at the same time, and when the last answer (item.pending) is in, it gets
 * its attributes and its name. A directory (struct dir) gets its own attributes when nothing below
 * it is pending.
 *
 * The server is not trusted: names are validated, sizes are limits rather than facts, and the local
 * side (copy_local.h) never resolves a path.
 */
#include "client/cli/get.h"

#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/path.h"

static const struct cli_spec spec = {
	.verb = "get",
	.usage = "[OPTION]... NAME:/path... LOCAL",
	.about = "Copies files, and with -r trees, to a local file or directory.",
	.options = copy_options_table,
	.notes = "Kept: mode, owner (as far as the user may set it; set-id bits only with it), "
		 "times, symbolic links as links,\n"
		 "hard links, holes, FIFOs, user.* attributes and ACLs. Sockets and devices are "
		 "skipped. The root of a volume\n"
		 "has no name: its contents go into LOCAL. A symbolic link named on the command "
		 "line is followed without -r.\n"
		 "Interrupted, it removes what is unfinished and exits with 128 and the signal's "
		 "number (130 for Ctrl-C).",
};

/* ---- the loop ---- */

static bool next_work(struct get *g, struct work *ret_work)
{
	struct work **stack = g->large && g->n_large < COPY_LARGE ? &g->large : &g->stack,
		    *w = *stack;

	if (!w)
		return false;
	*stack = w->next;
	*ret_work = *w;
	free(w);
	return true;
}

static void run_all(struct get *g)
{
	struct work w;

	while (!cli_stops(g->c)) {
		if (g->ready) {
			struct item *item = g->ready;

			g->ready = item->next_waiter;
			get_large(g, item);
		} else if (g->in_flight < copy_window(g->c) && next_work(g, &w)) {
			get_run_work(g, &w);
		} else if (g->in_flight > 0) {
			int r = pipe_wait(g->c);

			if (r < 0 && r != -EINTR)
				get_failed(g, r, "/");
		} else {
			break;
		}
	}
}

/* What an interrupted run, or one whose server went away, must not leave behind. */
static struct get *running;

static void clean_up(void)
{
	struct get *g = running;

	running = NULL;
	if (!g)
		return;
	copy_progress_end(&g->progress);
	for (struct item *item = g->items; item; item = item->next)
		get_item_drop_temp(g, item);
}

/* The same in gofer shell, where the session goes on: nothing is left in flight, and nothing in memory. */
static void abandon(struct get *g)
{
	struct item *item;
	struct work w;

	pipe_finish(g->c, &g->in_flight);
	while ((item = g->ready) || g->stack || g->large) {
		if (item) {
			g->ready = item->next_waiter;
			g->n_large--;
			item->failed = true;
			get_item_done(g, item);
		} else if (next_work(g, &w)) {
			get_drop_work(g, &w);
		}
	}
}

/* ---- operands ---- */

/* Where one operand goes: a directory of the user's, and a name in it (empty: into the directory
 * itself). */
static int split_local(const char *dest, bool into, const char *name, int *ret_fd, char **ret_name)
{
	_cleanup_free_ char *parent = into ? cli_strdup(dest) : cli_dirname(dest);
	_cleanup_free_ char *last = into ? cli_strdup(name) : cli_basename(dest);
	int fd;

	/* cli_dirname() knows absolute paths only. */
	if (!into && !strchr(dest, '/')) {
		free(parent);
		parent = cli_strdup(".");
	} else if (!into && *dest != '/' && strcmp(parent, "/") == 0) {
		free(parent);
		parent = cli_strdup(".");
	}
	if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0) {
		free(parent);
		parent = cli_strdup(dest);
		last[0] = '\0';
	}
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	*ret_name = TAKE_PTR(last);
	return 0;
}

static void get_one(struct get *g, struct cli_path *from, const char *dest, bool into)
{
	_cleanup_free_ char *name = cli_basename(from->path);
	_cleanup_free_ char *local_name = NULL;
	_cleanup_free_ char *target = NULL;
	_cleanup_free_ char *path = NULL;
	struct gofer_session *session;
	struct dir *top;
	struct stat st;
	uint32_t fs_id;
	int fd = -EBADF, r;

	r = gofer_stat(from->ns, from->path, g->o.recursive ? AT_SYMLINK_NOFOLLOW : 0, &st);
	if (r == 0) /* links on the way are resolved once, here; none is followed below */
		r = gofer_resolve(from->ns, from->path,
				  !g->o.recursive || from->path[strlen(from->path) - 1] == '/',
				  &session, &fs_id, &path);
	if (r == 0 && S_ISLNK(st.st_mode)) {
		ssize_t n;

		target = cli_alloc(PATH_LEN_MAX + 1);
		n = gofer_readlink(from->ns, from->path, target, PATH_LEN_MAX);
		r = (int)MIN(n, 0);
	}
	if (r == 0 && S_ISDIR(st.st_mode) && !g->o.recursive)
		r = -EISDIR;
	if (r < 0) {
		cli_error(g->c, r, NULL, from->text);
		return;
	}
	if (path[0] != '/') {
		char *absolute = cli_join("", path);

		free(path);
		path = absolute;
	}
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		name[0] = '\0';
	r = split_local(dest, into, name, &fd, &local_name);
	if (r < 0) {
		cli_error(g->c, r, "open", dest);
		return;
	}
	g->v = from->volume;
	g->no_xattr = g->o.no_xattr;
	g->tree.inherits_acl = fgetxattr(fd, "system.posix_acl_default", NULL, 0) > 0;
	top = get_dir_new(NULL, local_top(fd), path, &st);
	if (!*local_name && !S_ISDIR(st.st_mode)) {
		get_failed(g, -EISDIR, path);
	} else if (!*local_name) {
		top->pending++;
		get_push(g, LIST, top, NULL, NULL);
	} else {
		top->keep = true;
		get_take(g, top, local_name, path, &st, target);
	}
	get_dir_done(g, top);
	running = g;
	cli_on_exit = clean_up;
	run_all(g);
	if (cli_host && cli_stops(g->c)) {
		abandon(g);
	} else if (pipe_signal) {
		clean_up();
		fprintf(stderr, "gofer: get: interrupted\n");
		_exit(128 + pipe_signal);
	}
	running = NULL;
}

static void forget_inodes(struct get *g)
{
	struct copy_inode *inode, *next;

	HASH_ITER (hh, g->inodes, inode, next) {
		struct place *place = inode->first;

		HASH_DEL(g->inodes, inode);
		if (place) {
			local_unref(&g->tree, place->dir);
			free(place->name);
			free(place);
		}
		free(inode);
	}
}

static int run(int argc, char **argv)
{
	struct cli c;
	struct get g = { .c = &c };
	const char *dest;
	struct stat st;
	mode_t mask;
	bool into;

	cli_begin(&c, &spec, argc, argv);
	copy_parse(&c, &g.o, &g.progress);
	if (cli_need_operands(&c, 2, g.o.plain ? 2 : -1) < 0)
		return cli_end(&c);
	dest = c.argv[c.argc - 1];
	if (cli_is_remote(dest))
		cli_no_usage(&c,
			     "'%s': the last operand is a local path (./%s for a name with ':')",
			     dest, dest);
	if (!*dest)
		cli_no_usage(&c, "the local path is empty");
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	into = !g.o.plain && stat(dest, &st) == 0 && S_ISDIR(st.st_mode);
	if (!into && c.argc > 2) {
		cli_error(&c, -ENOTDIR, NULL, dest);
		return cli_end(&c);
	}
	copy_catch_signals();
	mask = umask(0);
	copy_progress_start(&g.progress, g.o.quiet);
	for (int i = 0; i < c.argc - 1 && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path from = { 0 };

		if (cli_split(&c, c.argv[i], &from) == 0)
			get_one(&g, &from, dest, into);
		/* (device, inode) pairs of two volumes may be the same only by being the same file.
		 */
		forget_inodes(&g);
	}
	copy_progress_end(&g.progress);
	umask(mask);
	return cli_end(&c);
}

const struct verb verb_get = { "get", "copy files and trees from a volume", run, &spec };
