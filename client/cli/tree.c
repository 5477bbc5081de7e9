/*
 * tree.c - gofer tree: a picture of a tree, as tree(1) draws it.
 */
#include "client/cli/cli.h"

#include <langinfo.h>
#include <string.h>

static const struct cli_option options[] = {
	{ 'a', NULL, NULL, "show names that begin with a dot" },
	{ 'd', NULL, NULL, "directories only" },
	{ 'L', NULL, "LEVELS", "descend so many levels only" },
	{ 'p', NULL, NULL, "show type and permissions" },
	{ 's', NULL, NULL, "show sizes in bytes" },
	{ 'h', NULL, NULL, "show sizes like 1.5K" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "tree",
	.usage = "[OPTION]... NAME:/path...",
	.about = "Draws trees.",
	.options = options,
};

struct tree {
	struct cli *c;
	const struct cli_volume *v;
	bool all, directories, modes, sizes, human, ascii;
	unsigned levels;
	uint64_t n_directories, n_files;
};

static bool is_shown(const struct tree *t, const struct cli_entry *e)
{
	return (t->all || e->name[0] != '.') && (!t->directories || e->type == DT_DIR);
}

static void print_entry(struct tree *t, const struct cli_entry *e)
{
	char mode[11], buf[16];

	if (t->modes || t->sizes) {
		printf("[");
		if (t->modes) {
			cli_mode_string(e->st.st_mode, mode);
			printf("%s", mode);
		}
		if (t->human)
			printf("%s%4s", t->modes ? " " : "",
			       cli_human((uint64_t)e->st.st_size, 1024, buf));
		else if (t->sizes)
			printf("%s%11lld", t->modes ? " " : "", (long long)e->st.st_size);
		printf("]  ");
	}
	cli_put_name(t->c, e->name);
	if (e->target) {
		printf(" -> ");
		cli_put_name(t->c, e->target);
	}
	putchar('\n');
}

static void draw(struct tree *t, const char *path, const char *lead, unsigned level)
{
	_cleanup_list_ struct cli_list l = { 0 };
	size_t last = SIZE_MAX;
	int r = cli_list_read(t->v->ns, path, 0, &l);

	if (r < 0) {
		cli_path_error(t->c, r, "list", t->v, path);
		return;
	}
	cli_list_sort(&l);
	for (size_t i = 0; i < l.n; i++)
		if (is_shown(t, &l.entries[i]))
			last = i;
	for (size_t i = 0; i < l.n && !cli_stops(t->c); i++) {
		const struct cli_entry *e = &l.entries[i];

		if (!is_shown(t, e))
			continue;
		if (!t->c->json) {
			fputs(lead, stdout);
			if (t->ascii)
				fputs(i == last ? "`-- " : "|-- ", stdout);
			else
				fputs(i == last ? "└── " : "├── ", stdout);
			print_entry(t, e);
		} else {
			_cleanup_free_ char *below = cli_join(path, e->name);
			json_t *o = e->has_stat ? cli_json_stat(&e->st) : json_object();

			json_object_set_new(o, "path", cli_json_path(t->v, below));
			json_object_set_new(o, "level", json_integer(level));
			if (e->target)
				json_object_set_new(o, "target",
						    cli_json_bytes(e->target, strlen(e->target)));
			cli_json_print(t->c, o);
		}
		if (e->type != DT_DIR) {
			t->n_files++;
			continue;
		}
		t->n_directories++;
		if (level < t->levels) {
			_cleanup_free_ char *below = cli_join(path, e->name);
			_cleanup_free_ char *below_lead = NULL;

			if (asprintf(&below_lead, "%s%s", lead,
				     i == last  ? "    "
				     : t->ascii ? "|   "
						: "│\302\240\302\240 ") < 0)
				abort();
			draw(t, below, below_lead, level + 1);
		}
	}
}

static int run(int argc, char **argv)
{
	struct cli c;
	struct tree t = { .c = &c, .levels = UINT32_MAX };
	int key;

	cli_begin(&c, &spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		switch (key) {
		case 'a':
			t.all = true;
			break;
		case 'd':
			t.directories = true;
			break;
		case 'p':
			t.modes = true;
			break;
		case 'h':
			t.human = true;
			t.sizes = true;
			break;
		case 's':
			t.sizes = true;
			break;
		default:
			t.levels = (unsigned)MIN(cli_number(&c, "-L", c.optarg, false), UINT32_MAX);
			if (!t.levels)
				cli_no_usage(&c, "-L: at least 1");
		}
	}
	cli_default_operand(&c);
	if (cli_need_operands(&c, 1, -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	t.ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		t.v = p.volume;
		if (!c.json) {
			cli_put_name(&c, p.text);
			putchar('\n');
		}
		draw(&t, p.path, "", 1);
	}
	if (!c.json && t.directories)
		printf("\n%llu director%s\n", (unsigned long long)t.n_directories,
		       t.n_directories == 1 ? "y" : "ies");
	else if (!c.json)
		printf("\n%llu director%s, %llu file%s\n", (unsigned long long)t.n_directories,
		       t.n_directories == 1 ? "y" : "ies", (unsigned long long)t.n_files,
		       t.n_files == 1 ? "" : "s");
	return cli_end(&c);
}

const struct verb verb_tree = { "tree", "draw trees", run, &spec };
