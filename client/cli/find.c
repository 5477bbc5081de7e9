/*
 * find.c - gofer find: a core of find(1)'s language over one or more trees. The expression
 * (find_parse.c) is evaluated for every object of a walk (walk.h). Attributes come with the listings, and what -empty asks of a directory is
 * its listing, so that no test costs an RPC of its own. What -delete removes is not waited for where
 * nothing depends on its success.
 */
#include "client/cli/find.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <string.h>

static const struct cli_spec spec = {
	.verb = "find",
	.usage = "NAME:/path... [EXPRESSION]",
	.about = "Finds objects in trees. Symbolic links are not followed.",
	.notes = "Tests:\n"
		 "  -name GLOB  -iname GLOB  -path GLOB  -type [fdlpscb],...  -size [+-]N[cwbkMG]  "
		 "-empty\n"
		 "  -mtime [+-]DAYS  -mmin [+-]MINUTES  -newer NAME:/path  -perm [-/]OCTAL  -user "
		 "NAME  -group NAME\n"
		 "  -links [+-]N  -inum N\n"
		 "Actions:\n"
		 "  -print (the default)  -print0  -delete (implies -depth)  -prune  -quit\n"
		 "Options:\n"
		 "  -maxdepth N  -mindepth N  -depth\n"
		 "Operators:\n"
		 "  ( EXPR )  ! EXPR  -not EXPR  EXPR EXPR  EXPR -a EXPR  EXPR -o EXPR\n"
		 "Objects are printed as NAME:/path; raw into a pipe, escaped on a terminal.",
};

struct object {
	const char *path, *name;
	const struct stat *st;
	const char *target;
	struct remove_dir *above, *self; /* with -delete */
	bool left;                       /* a directory, after what is in it */
	size_t entries;                  /* ... of which there were so many */
};

static bool compare(const struct node *n, uint64_t value)
{
	return n->sign == '+'   ? value > n->number
	       : n->sign == '-' ? value < n->number
				: value == n->number;
}

static bool is_type(const char *types, mode_t mode)
{
	static const char letters[] = "fdlpscb";
	static const mode_t modes[] = { S_IFREG,  S_IFDIR, S_IFLNK, S_IFIFO,
					S_IFSOCK, S_IFCHR, S_IFBLK };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if ((mode & S_IFMT) == modes[i])
			return strchr(types, letters[i]) != NULL;
	return false;
}

static bool is_empty(struct find *f, const struct object *o)
{
	struct gofer_dirent e;
	struct gofer_dir *dir;
	int r;

	if (S_ISREG(o->st->st_mode))
		return o->st->st_size == 0;
	if (!S_ISDIR(o->st->st_mode))
		return false;
	if (!o->left) {
		r = walk_is_empty(f->walk);
	} else if (!o->entries || !f->deletes) {
		return !o->entries;
	} else {
		/* What was in it may be gone by now. */
		r = remove_wait(&f->remover, o->self);
		if (r == 0)
			r = gofer_opendir(f->v->ns, o->path, 0, &dir);
		if (r == 0) {
			r = gofer_readdir(dir, &e);
			r = r < 0 ? r : !r;
			gofer_closedir(dir);
		}
	}
	if (r < 0)
		cli_path_error(f->c, r, "list", f->v, o->path);
	return r > 0;
}

static void print(struct find *f, const struct object *o, char end)
{
	if (f->c->json) {
		json_t *j = cli_json_stat(o->st);

		json_object_set_new(j, "path", cli_json_path(f->v, o->path));
		if (o->target)
			json_object_set_new(j, "target",
					    cli_json_bytes(o->target, strlen(o->target)));
		cli_json_print(f->c, j);
		return;
	}
	cli_put_name(f->c, f->v->name);
	putchar(':');
	cli_put_name(f->c, o->path);
	putchar(end);
}

static void removed(void *userdata, const char *path, bool directory, int result)
{
	struct find *f = userdata;

	if (result < 0 && !(result == -EINTR && pipe_signal))
		cli_path_error(f->c, result, "remove", f->v, path);
}

static bool delete (struct find *f, const struct node *n, struct object *o)
{
	int r;

	/* As find(1): the tree's own root may go too, the volume's may not. */
	if (strcmp(o->path, "/") == 0)
		return true;
	if (n->unused && o->self) {
		remove_leave(&f->remover, TAKE_PTR(o->self), true, false);
		return true;
	}
	if (n->unused && o->above) {
		remove_name(&f->remover, o->above, o->path);
		return true;
	}
	r = o->self ? remove_wait(&f->remover, o->self) : 0;
	if (r == 0)
		r = S_ISDIR(o->st->st_mode) ? gofer_rmdir(f->v->ns, o->path)
					    : gofer_unlink(f->v->ns, o->path);
	if (r < 0)
		cli_path_error(f->c, r, "remove", f->v, o->path);
	return r == 0;
}

static bool evaluate(struct find *f, const struct node *n, struct object *o)
{
	const struct stat *st = o->st;

	switch (n->op) {
	case OP_OR:
		return evaluate(f, n->left, o) || evaluate(f, n->right, o);
	case OP_AND:
		return evaluate(f, n->left, o) && evaluate(f, n->right, o);
	case OP_NOT:
		return !evaluate(f, n->left, o);
	case OP_NAME:
		return fnmatch(n->text, o->name, 0) == 0;
	case OP_INAME:
		return fnmatch(n->text, o->name, FNM_CASEFOLD) == 0;
	case OP_PATH: {
		_cleanup_free_ char *whole = NULL;

		if (asprintf(&whole, "%s:%s", f->v->name, o->path) < 0)
			abort();
		return fnmatch(n->text, whole, 0) == 0;
	}
	case OP_TYPE:
		return is_type(n->text, st->st_mode);
	case OP_SIZE:
		return compare(n, ((uint64_t)st->st_size + n->unit - 1) / n->unit);
	case OP_EMPTY:
		return is_empty(f, o);
	case OP_TIME: {
		int64_t age = f->now - st->st_mtim.tv_sec;

		return compare(n, age > 0 ? (uint64_t)age / n->unit : 0);
	}
	case OP_NEWER:
		return st->st_mtim.tv_sec != n->time.tv_sec ? st->st_mtim.tv_sec > n->time.tv_sec
							    : st->st_mtim.tv_nsec > n->time.tv_nsec;
	case OP_PERM: {
		uint64_t bits = st->st_mode & 07777;

		return n->sign == '-'   ? (bits & n->number) == n->number
		       : n->sign == '/' ? !n->number || bits & n->number
					: bits == n->number;
	}
	case OP_USER:
		return st->st_uid == n->number;
	case OP_GROUP:
		return st->st_gid == n->number;
	case OP_LINKS:
		return compare(n, st->st_nlink);
	case OP_INUM:
		return compare(n, st->st_ino);
	case OP_PRINT:
		print(f, o, '\n');
		return true;
	case OP_PRINT0:
		print(f, o, '\0');
		return true;
	case OP_DELETE:
		return delete (f, n, o);
	case OP_PRUNE:
		f->prune = true;
		return true;
	case OP_QUIT:
		f->quit = true;
		return true;
	default:
		return true;
	}
}

static void visit(struct find *f, struct object *o)
{
	f->prune = false;
	if ((!f->expression || evaluate(f, f->expression, o)) && !f->acts)
		print(f, o, '\n');
}

static void take(struct find *f, const struct walk_at *at, const char *target)
{
	struct object o = { .path = at->path,
			    .name = at->depth == 0 && !*at->name ? "/" : at->name,
			    .st = at->st,
			    .target = at->depth == 0 ? target : at->target,
			    .above = at->above,
			    .left = at->kind == WALK_LEFT,
			    .entries = at->entries };
	bool wanted = at->depth >= f->min_depth, entered = at->depth < f->max_depth;

	f->prune = false;
	if (at->kind == WALK_ENTRY) {
		bool later = at->enters && entered && f->depth_first;

		if (later && f->deletes)
			*at->user = remove_enter(&f->remover, at->above, at->path);
		if (wanted && !later)
			visit(f, &o);
		if (f->prune || !entered)
			walk_skip(f->walk);
		return;
	}
	o.self = f->deletes ? *at->user : NULL;
	if (wanted && f->depth_first)
		visit(f, &o);
	if (o.self)
		remove_leave(&f->remover, o.self, false, false);
}

static void walk(struct find *f, const char *path, const struct stat *st, const char *target)
{
	_cleanup_free_ char *shown = cli_strdup(path);
	_cleanup_free_ char *real = NULL;
	struct gofer_session *session;
	struct walk_at at;
	uint32_t fs_id;
	int r = 0;

	/* As it is in the paths of what is below. */
	shown[cli_trimmed(shown)] = '\0';
	if (f->deletes) {
		r = gofer_resolve(f->v->ns, path, path[strlen(path) - 1] == '/', &session, &fs_id,
				  &real);
		if (r < 0) {
			cli_path_error(f->c, r, NULL, f->v, path);
			return;
		}
	}
	f->remover = (struct remover){ .c = f->c,
				       .v = f->v,
				       .shown = shown,
				       .real = real,
				       .removed = removed,
				       .userdata = f,
				       .always = true };
	f->walk = walk_new(f->c, f->v->ns, path, 0, st);
	/* What -empty asks of directories that are not entered is their listing, too. */
	walk_max_depth(f->walk, f->max_depth + (f->asks_empty && f->max_depth < UINT32_MAX));
	if (f->deletes)
		walk_whole(f->walk);
	while (!f->quit && !cli_stops(f->c) && walk_next(f->walk, &at) != WALK_END) {
		if (at.kind == WALK_FAILED)
			cli_path_error(f->c, at.error, "list", f->v, at.path);
		else if (!at.st)
			walk_skip(f->walk);
		else
			take(f, &at, target);
	}
	walk_free(TAKE_PTR(f->walk));
	r = remove_wait(&f->remover, NULL);
	if (r < 0 && r != -EINTR)
		cli_path_error(f->c, r, NULL, f->v, path);
	remove_deinit(&f->remover);
}

static int run(int argc, char **argv)
{
	static char *no_options[] = { NULL };
	struct cli c;
	struct find f = { .c = &c, .max_depth = UINT32_MAX, .now = time(NULL) };
	int n_paths = 0, n_words = 0;
	char **words = cli_alloc((size_t)argc * sizeof(*words)),
	     **paths = cli_alloc((size_t)argc * sizeof(*paths));

	cli_begin(&c, &spec, 0, no_options);
	/* Paths up to the first word that can only begin an expression; options of every verb
	 * anywhere. */
	for (int i = 1; i < argc && !c.over;) {
		if (cli_take_global(&c, argc, argv, &i))
			continue;
		if (n_words || argv[i][0] == '-' || strcmp(argv[i], "(") == 0 ||
		    strcmp(argv[i], "!") == 0)
			words[n_words++] = argv[i++];
		else
			paths[n_paths++] = argv[i++];
	}
	if (!n_paths && !c.over) {
		c.argc = 0;
		cli_default_operand(&c);
		if (c.argc)
			paths[n_paths++] = c.argv[0];
		else
			cli_no_usage(&c, "no operand given");
	}
	f.words = words;
	f.n = n_words;
	if (!c.over)
		find_parse(&f);
	if (cli_connect(&c) < 0 || find_newer(&f, f.expression) < 0)
		n_paths = 0;
	for (int i = 0; i < n_paths && !f.quit && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		char target[4096] = "";
		struct stat st;
		int r;

		if (cli_split(&c, paths[i], &p) < 0)
			continue;
		r = gofer_stat(p.ns, p.path, AT_SYMLINK_NOFOLLOW, &st);
		if (r < 0) {
			cli_error(&c, r, NULL, p.text);
			continue;
		}
		if (S_ISLNK(st.st_mode)) {
			ssize_t n = gofer_readlink(p.ns, p.path, target, sizeof(target) - 1);

			target[MAX(n, 0)] = '\0';
		}
		f.v = p.volume;
		walk(&f, p.path, &st, S_ISLNK(st.st_mode) ? target : NULL);
	}
	find_free(f.expression);
	free(words);
	free(paths);
	return cli_end(&c);
}

const struct verb verb_find = { "find", "find objects in trees", run, &spec };
