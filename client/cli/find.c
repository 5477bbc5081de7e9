/*
 * find.c - gofer find: a core of find(1)'s language over one or more trees. The expression is
 * parsed into a tree of tests by recursive descent (or, and, not, primary) and evaluated for every
 * object. Attributes come with the listings, so no test costs an RPC except -empty on directories.
 */
#include "client/cli/cli.h"

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

enum op {
	OP_OR,
	OP_AND,
	OP_NOT,
	OP_NAME,
	OP_INAME,
	OP_PATH,
	OP_TYPE,
	OP_SIZE,
	OP_EMPTY,
	OP_TIME,
	OP_NEWER,
	OP_PERM,
	OP_USER,
	OP_GROUP,
	OP_LINKS,
	OP_INUM,
	OP_PRINT,
	OP_PRINT0,
	OP_DELETE,
	OP_PRUNE,
	OP_QUIT,
	OP_TRUE
};

struct node {
	enum op op;
	struct node *left, *right;
	const char *text;
	char sign; /* of a number: '+', '-' or 0 */
	uint64_t number;
	uint64_t unit;
	struct timespec time;
};

struct find {
	struct cli *c;
	char **words;
	int n, at;
	struct node *expression;
	unsigned min_depth, max_depth;
	bool depth_first, acts, quit, prune;
	time_t now;
	const struct cli_volume *v;
};

static struct node *parse_or(struct find *f);

static struct node *new_node(enum op op, struct node *left, struct node *right)
{
	struct node *n = cli_alloc(sizeof(*n));

	n->op = op;
	n->left = left;
	n->right = right;
	return n;
}

static void free_nodes(struct node *n)
{
	if (!n)
		return;
	free_nodes(n->left);
	free_nodes(n->right);
	free(n);
}

static const char *argument(struct find *f, const char *test)
{
	if (f->at >= f->n)
		cli_no_usage(f->c, "%s needs a value", test);
	return f->words[f->at++];
}

static void parse_number(struct find *f, struct node *n, const char *test, const char *text,
			 bool units)
{
	char *end;

	n->text = text;
	n->unit = units ? 512 : 1;
	if (*text == '+' || *text == '-')
		n->sign = *text++;
	errno = 0;
	n->number = strtoull(text, &end, 10);
	if (units && *end && !end[1]) {
		static const char letters[] = "cwbkMG";
		static const uint64_t sizes[] = { 1, 2, 512, 1024, 1 << 20, 1 << 30 };
		const char *l = strchr(letters, *end);

		if (l) {
			n->unit = sizes[l - letters];
			end++;
		}
	}
	if (errno || end == text || *end || *text == '-' || *text == '+')
		cli_no_usage(f->c, "%s: '%s' is not a number", test, n->text);
}

static void parse_newer(struct find *f, struct node *n, const char *text)
{
	_cleanup_path_ struct cli_path p = { 0 };
	struct stat st;
	int r;

	cli_connect(f->c);
	if (cli_split(f->c, text, &p) < 0)
		cli_exit(f->c);
	r = gofer_stat(p.ns, p.path, 0, &st);
	if (r < 0) {
		cli_error(f->c, r, NULL, text);
		cli_exit(f->c);
	}
	n->time = st.st_mtim;
}

static struct node *parse_primary(struct find *f)
{
	static const struct {
		const char *word;
		enum op op;
	} plain[] = {
		{ "-name", OP_NAME },     { "-iname", OP_INAME },   { "-path", OP_PATH },
		{ "-type", OP_TYPE },     { "-size", OP_SIZE },     { "-empty", OP_EMPTY },
		{ "-mtime", OP_TIME },    { "-mmin", OP_TIME },     { "-newer", OP_NEWER },
		{ "-perm", OP_PERM },     { "-user", OP_USER },     { "-group", OP_GROUP },
		{ "-links", OP_LINKS },   { "-inum", OP_INUM },     { "-print", OP_PRINT },
		{ "-print0", OP_PRINT0 }, { "-delete", OP_DELETE }, { "-prune", OP_PRUNE },
		{ "-quit", OP_QUIT },     { "-true", OP_TRUE },
	};
	const char *word = argument(f, "the expression");
	struct node *n;
	gid_t gid;
	uid_t uid;

	if (strcmp(word, "(") == 0) {
		n = parse_or(f);
		if (strcmp(argument(f, "'('"), ")") != 0)
			cli_no_usage(f->c, "')' is missing");
		return n;
	}
	if (strcmp(word, "!") == 0 || strcmp(word, "-not") == 0)
		return new_node(OP_NOT, parse_primary(f), NULL);
	if (strcmp(word, "-maxdepth") == 0 || strcmp(word, "-mindepth") == 0) {
		uint64_t depth = cli_number(f->c, word, argument(f, word), false);

		*(word[2] == 'a' ? &f->max_depth : &f->min_depth) =
			(unsigned)MIN(depth, UINT32_MAX);
		return new_node(OP_TRUE, NULL, NULL);
	}
	if (strcmp(word, "-depth") == 0) {
		f->depth_first = true;
		return new_node(OP_TRUE, NULL, NULL);
	}
	for (size_t i = 0;; i++) {
		if (i == ARRAY_SIZE(plain))
			cli_no_usage(f->c, "unknown test '%s'", word);
		if (strcmp(word, plain[i].word) == 0) {
			n = new_node(plain[i].op, NULL, NULL);
			break;
		}
	}
	switch (n->op) {
	case OP_NAME:
	case OP_INAME:
	case OP_PATH:
		n->text = argument(f, word);
		break;
	case OP_TYPE:
		n->text = argument(f, word);
		if (strspn(n->text, "fdlpscb,") != strlen(n->text) || !*n->text)
			cli_no_usage(f->c, "-type: '%s' is none of f d l p s c b", n->text);
		break;
	case OP_SIZE:
		parse_number(f, n, word, argument(f, word), true);
		break;
	case OP_TIME:
		parse_number(f, n, word, argument(f, word), false);
		n->unit = strcmp(word, "-mmin") == 0 ? 60 : 86400;
		break;
	case OP_LINKS:
	case OP_INUM:
		parse_number(f, n, word, argument(f, word), false);
		break;
	case OP_NEWER:
		parse_newer(f, n, argument(f, word));
		break;
	case OP_PERM: {
		const char *text = argument(f, word);
		mode_t mode;

		if (*text == '-' || *text == '/')
			n->sign = *text++;
		if (cli_mode_apply(text, 0, 0, &mode) < 0)
			cli_no_usage(f->c, "-perm: '%s' is not a mode", text);
		n->number = mode & 07777;
		break;
	}
	case OP_USER:
	case OP_GROUP: {
		const char *text = argument(f, word);
		char both[256];

		snprintf(both, sizeof(both), "%s%s", n->op == OP_GROUP ? ":" : "", text);
		if (cli_owner_parse(both, &uid, &gid) < 0)
			cli_no_usage(f->c, "%s: '%s' is unknown", word, text);
		n->number = n->op == OP_USER ? uid : gid;
		break;
	}
	case OP_DELETE:
		f->depth_first = true;
		f->acts = true;
		break;
	case OP_PRINT:
	case OP_PRINT0:
		f->acts = true;
		break;
	default:
		break;
	}
	return n;
}

static bool next_is(struct find *f, const char *a, const char *b)
{
	return f->at < f->n &&
	       (strcmp(f->words[f->at], a) == 0 || (b && strcmp(f->words[f->at], b) == 0));
}

static struct node *parse_and(struct find *f)
{
	struct node *n = parse_primary(f);

	while (f->at < f->n && !next_is(f, "-o", "-or") && !next_is(f, ")", NULL)) {
		if (next_is(f, "-a", "-and"))
			f->at++;
		n = new_node(OP_AND, n, parse_primary(f));
	}
	return n;
}

static struct node *parse_or(struct find *f)
{
	struct node *n = parse_and(f);

	while (next_is(f, "-o", "-or")) {
		f->at++;
		n = new_node(OP_OR, n, parse_and(f));
	}
	return n;
}

struct object {
	const char *path, *name;
	const struct stat *st;
	const char *target;
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
	r = gofer_opendir(f->v->ns, o->path, 0, &dir);
	if (r < 0) {
		cli_path_error(f->c, r, "list", f->v, o->path);
		return false;
	}
	r = gofer_readdir(dir, &e);
	gofer_closedir(dir);
	return r == 0;
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

static bool delete (struct find *f, const struct object *o)
{
	int r;

	/* As find(1): the tree's own root may go too, the volume's may not. */
	if (strcmp(o->path, "/") == 0)
		return true;
	r = S_ISDIR(o->st->st_mode) ? gofer_rmdir(f->v->ns, o->path)
				    : gofer_unlink(f->v->ns, o->path);
	if (r < 0)
		cli_path_error(f->c, r, "remove", f->v, o->path);
	return r == 0;
}

static bool evaluate(struct find *f, const struct node *n, const struct object *o)
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
		return delete (f, o);
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

static void visit(struct find *f, const struct object *o)
{
	f->prune = false;
	if ((!f->expression || evaluate(f, f->expression, o)) && !f->acts)
		print(f, o, '\n');
}

static void walk(struct find *f, const struct object *o, unsigned depth)
{
	_cleanup_list_ struct cli_list l = { 0 };
	bool wanted = depth >= f->min_depth;
	int r;

	f->prune = false;
	if (wanted && !f->depth_first)
		visit(f, o);
	if (S_ISDIR(o->st->st_mode) && depth < f->max_depth && !f->prune && !f->quit) {
		r = cli_list_read(f->v->ns, o->path, 0, &l);
		if (r < 0)
			cli_path_error(f->c, r, "list", f->v, o->path);
		for (size_t i = 0; i < l.n && !f->quit; i++) {
			_cleanup_free_ char *path = cli_join(o->path, l.entries[i].name);
			struct object below = { path, l.entries[i].name, &l.entries[i].st,
						l.entries[i].target };

			if (l.entries[i].has_stat)
				walk(f, &below, depth + 1);
		}
	}
	if (wanted && f->depth_first && !f->quit)
		visit(f, o);
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
	for (int i = 1; i < argc;) {
		if (cli_take_global(&c, argc, argv, &i))
			continue;
		if (n_words || argv[i][0] == '-' || strcmp(argv[i], "(") == 0 ||
		    strcmp(argv[i], "!") == 0)
			words[n_words++] = argv[i++];
		else
			paths[n_paths++] = argv[i++];
	}
	if (!n_paths)
		cli_no_usage(&c, "no operand given");
	f.words = words;
	f.n = n_words;
	if (n_words) {
		f.expression = parse_or(&f);
		if (f.at < f.n)
			cli_no_usage(&c, "'%s' is not expected", f.words[f.at]);
	}
	cli_connect(&c);
	for (int i = 0; i < n_paths && !f.quit; i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		_cleanup_free_ char *name = NULL;
		struct object o = { 0 };
		char target[4096];
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
			o.target = target;
		}
		name = cli_basename(p.path);
		o.path = p.path;
		o.name = *name ? name : "/";
		o.st = &st;
		f.v = p.volume;
		walk(&f, &o, 0);
	}
	free_nodes(f.expression);
	free(words);
	free(paths);
	return cli_end(&c);
}

const struct verb verb_find = { "find", "find objects in trees", run };
