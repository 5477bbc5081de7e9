/*
 * put.c - gofer put: copies local files and trees to a volume, with many requests in flight.
 *
 * Mental model. As in get.c, a stack of things to do feeds a window of requests, and callbacks only
 * note what comes next. A file is a `struct item` that goes through stages, one or more requests
 * each:
 *
 *     MAKE    WriteFile of a small file; Open under a temporary name of a large one; Symlink, Mknod, Link
 *     CHECK   that what has the name of a directory already is one
 *     XATTR   its extended attributes, all at once, while the file is still ours and writable
 *     ATTR    owner, mode and times in one SetAttr
 *     RENAME  of a large file, to its name
 *
 * A directory is made first, its names are read when it is there, and it gets its attributes when
 * all below it are done. Nothing is ever followed on this side either: local files are opened from
 * their directory's descriptor with O_NOFOLLOW.
 */
#include "client/cli/put.h"

#include <fcntl.h>
#include <string.h>

#include "common/path.h"

static const struct cli_spec spec = {
	.verb = "put",
	.usage = "[OPTION]... LOCAL... NAME:/dest",
	.about = "Copies local files, and with -r trees, to a volume.",
	.options = copy_options_table,
	.notes = "Kept: mode, owner (where the server allows it; set-id bits only with it), times, "
		 "symbolic links as links,\n"
		 "hard links, holes, FIFOs, user.* attributes and ACLs. Sockets and devices are "
		 "skipped. With 'LOCAL/.' the\n"
		 "contents of LOCAL go into the destination. A symbolic link named on the command "
		 "line is followed without -r.\n"
		 "Interrupted, it removes what is unfinished and exits with 128 and the signal's "
		 "number (130 for Ctrl-C).",
};

/* ---- the loop ---- */

static void run_all(struct put *p)
{
	while (!cli_stops(p->c)) {
		struct work **stack = p->large && p->n_large < COPY_LARGE ? &p->large : &p->stack,
			    *w = *stack;

		if (p->ready) {
			struct item *item = p->ready;

			p->ready = item->next_waiter;
			put_large(p, item);
		} else if (w && p->in_flight < copy_window(p->c)) {
			struct item *item = w->item;

			*stack = w->next;
			free(w);
			put_run_stage(p, item);
		} else if (p->in_flight > 0) {
			int r = pipe_wait(p->c);

			if (r < 0 && r != -EINTR)
				put_failed(p, r, "/");
		} else {
			break;
		}
	}
}

/* Temporary names on the server; once it is gone, nobody can remove them from here. */
static void clean_up(struct put *p)
{
	copy_progress_end(&p->progress);
	/* Answers first: an Open in flight may still make a name. */
	gofer_session_drain(p->c->session);
	for (struct item *item = p->items; item; item = item->next)
		if (item->temp)
			gofer_unlink(p->v->ns, item->temp);
}

/* In gofer shell, where the session goes on: nothing is left in flight, and nothing in memory. */
static void abandon(struct put *p)
{
	pipe_finish(p->c, &p->in_flight);
	while (p->ready || p->stack || p->large) {
		struct work **stack = p->stack ? &p->stack : &p->large, *w = *stack;
		struct item *item = p->ready;

		if (item) {
			p->ready = item->next_waiter;
			p->n_large--;
			item->failed = true;
			put_item_end(p, item);
			continue;
		}
		*stack = w->next;
		item = w->item;
		free(w);
		put_drop(p, item);
	}
}

/* ---- operands ---- */

static void put_one(struct put *p, const char *source, struct cli_path *to, bool into)
{
	_cleanup_free_ char *name = cli_basename(source);
	_cleanup_free_ char *path = NULL;
	_cleanup_free_ char *above = NULL;
	struct gofer_session *session;
	struct dir *top;
	struct stat st;
	uint32_t fs_id;
	int fd, r;

	if (fstatat(AT_FDCWD, source, &st, p->o.recursive ? AT_SYMLINK_NOFOLLOW : 0) < 0) {
		cli_error(p->c, -errno, NULL, source);
		return;
	}
	if (S_ISDIR(st.st_mode) && !p->o.recursive) {
		cli_error(p->c, -EISDIR, NULL, source);
		return;
	}
	if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		name[0] = '\0';
	/* Links on the way to the destination are resolved once, here. */
	r = gofer_resolve(to->ns, to->path, into, &session, &fs_id, &path);
	if (r < 0) {
		cli_error(p->c, r, NULL, to->text);
		return;
	}
	{
		char *whole = cli_join(path[0] == '/' ? "" : "/", path);
		char *dest = into && *name ? cli_join(whole, name) : cli_strdup(whole);

		free(path);
		free(whole);
		path = dest;
	}
	/* What is copied is named from an open directory; of a link that is followed, that of its
	 * target. */
	if (!p->o.recursive) {
		char *real = realpath(source, NULL);

		if (!real) {
			cli_error(p->c, -errno, NULL, source);
			return;
		}
		above = cli_dirname(real);
		free(name);
		name = cli_basename(real);
		free(real);
	} else if (S_ISDIR(st.st_mode) && !*name) {
		above = cli_strdup(source);
		free(name);
		name = cli_strdup(".");
	} else {
		above = strchr(source, '/') ? cli_dirname(source) : cli_strdup(".");
		if (*source != '/' && strcmp(above, "/") == 0) {
			free(above);
			above = cli_strdup(".");
		}
	}
	fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		cli_error(p->c, -errno, "open", above);
		return;
	}
	top = cli_alloc(sizeof(*top));
	top->local = local_top(fd);
	top->pending = 2; /* never finished: it is not part of what is copied */
	p->v = to->volume;
	p->no_xattr = p->o.no_xattr;
	p->no_owner = false;
	put_take(p, top, name, path, fd, &st);
	run_all(p);
	if (cli_host && cli_stops(p->c)) {
		abandon(p);
	} else if (pipe_signal) {
		clean_up(p);
		fprintf(stderr, "gofer: put: interrupted\n");
		_exit(128 + pipe_signal);
	}
	local_unref(&p->tree, top->local);
	free(top);
}

static int run(int argc, char **argv)
{
	struct cli c;
	struct put p = { .c = &c };
	_cleanup_path_ struct cli_path to = { 0 };
	struct copy_inode *inode, *next;
	struct stat st;
	bool into;

	cli_begin(&c, &spec, argc, argv);
	copy_parse(&c, &p.o, &p.progress);
	if (cli_need_operands(&c, 2, p.o.plain ? 2 : -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	if (cli_split(&c, c.argv[c.argc - 1], &to) < 0)
		return cli_end(&c);
	into = !p.o.plain && gofer_stat(to.ns, to.path, 0, &st) == 0 && S_ISDIR(st.st_mode);
	if (!into && c.argc > 2) {
		cli_error(&c, -ENOTDIR, NULL, to.text);
		return cli_end(&c);
	}
	p.buffer = cli_alloc(MAX(c.limits.inline_limit, c.limits.max_data));
	copy_catch_signals();
	copy_progress_start(&p.progress, p.o.quiet);
	for (int i = 0; i < c.argc - 1 && !cli_stops(&c); i++)
		put_one(&p, c.argv[i], &to, into);
	HASH_ITER (hh, p.inodes, inode, next) {
		HASH_DEL(p.inodes, inode);
		free(inode->first);
		free(inode);
	}
	free(p.buffer);
	copy_progress_end(&p.progress);
	return cli_end(&c);
}

const struct verb verb_put = { "put", "copy files and trees to a volume", run, &spec };
