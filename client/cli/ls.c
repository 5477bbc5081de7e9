/*
 * ls.c - gofer ls: list directories as ls(1) does. Attributes and link targets come with the names
 * (ReadDir), so a directory costs one RPC per frame's worth of entries whatever the options say.
 * ACLs are not marked with "+": that would cost one RPC per name. Without operands it lists the
 * volumes.
 */
#include "client/cli/cli.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

enum { KEY_TIME_STYLE = CLI_LONG };

static const struct cli_option options[] = {
	{ 'a', "all", NULL, "show names that begin with a dot, and . and .." },
	{ 'A', "almost-all", NULL, "show names that begin with a dot" },
	{ 'l', NULL, NULL, "long format" },
	{ '1', NULL, NULL, "one name per line" },
	{ 'd', "directory", NULL, "directories themselves, not their contents" },
	{ 'F', "classify", NULL, "append one of */=@| to names" },
	{ 'g', NULL, NULL, "long format without the owner" },
	{ 'h', "human-readable", NULL, "sizes like 1.5K and 2.0M" },
	{ 'i', "inode", NULL, "show inode numbers" },
	{ 'n', "numeric-uid-gid", NULL, "long format with numbers for owner and group" },
	{ 'r', "reverse", NULL, "reverse the order" },
	{ 'R', "recursive", NULL, "list subdirectories too" },
	{ 's', "size", NULL, "show allocated blocks" },
	{ 'S', NULL, NULL, "largest first" },
	{ 't', NULL, NULL, "newest first" },
	{ 'u', NULL, NULL, "show and sort by time of access" },
	{ 'c', NULL, NULL, "show and sort by time of status change" },
	{ 'U', NULL, NULL, "do not sort" },
	{ KEY_TIME_STYLE, "time-style", "STYLE",
	  "full-iso, long-iso, iso, locale or +FORMAT of strftime(3)" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "ls",
	.usage = "[OPTION]... [NAME:/path]...",
	.about = "Lists directories; without operands, the volumes that the server offers.",
	.options = options,
	.notes = "On a terminal names are quoted as ls quotes them, and listed in columns. Files "
		 "with an ACL get no '+'.",
};

struct ls {
	struct cli *c;
	bool all, almost, lng, one, directory, classify, no_owner, human, inode, numeric, reverse,
		recursive, blocks, quote;
	char sort; /* n S t U */
	char time; /* m a c */
	const char *time_style;
	bool printed;
};

static const struct timespec *entry_time(const struct ls *ls, const struct stat *st)
{
	return ls->time == 'a' ? &st->st_atim : ls->time == 'c' ? &st->st_ctim : &st->st_mtim;
}

static int compare(const void *a, const void *b, void *userdata)
{
	const struct ls *ls = userdata;
	const struct cli_entry *x = a, *y = b;
	int r = 0;

	if (ls->sort == 'S' && x->st.st_size != y->st.st_size) {
		r = x->st.st_size > y->st.st_size ? -1 : 1;
	} else if (ls->sort == 't') {
		const struct timespec *s = entry_time(ls, &x->st), *t = entry_time(ls, &y->st);

		if (s->tv_sec != t->tv_sec)
			r = s->tv_sec > t->tv_sec ? -1 : 1;
		else if (s->tv_nsec != t->tv_nsec)
			r = s->tv_nsec > t->tv_nsec ? -1 : 1;
	}
	if (!r)
		r = strcoll(x->name, y->name);
	if (!r)
		r = strcmp(x->name, y->name);
	return ls->reverse ? -r : r;
}

static void sort(struct ls *ls, struct cli_list *l)
{
	if (ls->sort != 'U' && l->n)
		qsort_r(l->entries, l->n, sizeof(*l->entries), compare, ls);
}

static const char *suffix(const struct ls *ls, mode_t mode)
{
	if (!ls->classify)
		return "";
	return S_ISDIR(mode)                  ? "/"
	       : S_ISLNK(mode)                ? "@"
	       : S_ISFIFO(mode)               ? "|"
	       : S_ISSOCK(mode)               ? "="
	       : S_ISREG(mode) && mode & 0111 ? "*"
					      : "";
}

static void format_time(const struct ls *ls, const struct timespec *ts, char *buf, size_t size)
{
	const char *style = ls->time_style;
	const char *format;
	struct tm tm;

	if (!localtime_r(&ts->tv_sec, &tm)) {
		snprintf(buf, size, "%lld", (long long)ts->tv_sec);
		return;
	}
	if (style && strcmp(style, "full-iso") == 0) {
		cli_time_full(ts, buf, size);
		return;
	}
	if (style && *style == '+') {
		format = style + 1;
	} else if (style && strcmp(style, "long-iso") == 0) {
		format = "%Y-%m-%d %H:%M";
	} else {
		time_t now = time(NULL);
		/* Half a Gregorian year. */
		bool recent = ts->tv_sec <= now && ts->tv_sec > now - 31556952 / 2;

		if (style && strcmp(style, "iso") == 0)
			format = recent ? "%m-%d %H:%M" : "%Y-%m-%d ";
		else
			format = recent ? "%b %e %H:%M" : "%b %e  %Y";
	}
	if (!strftime(buf, size, format, &tm))
		buf[0] = '\0';
}

/* What is printed of one entry, each column as text, so that widths are known before the first
 * line. */
struct row {
	char *name;
	bool quoted;
	char inode[24], blocks[24], links[16], size[32], time[128];
	char user[64], group[64];
};

enum column { INODE, BLOCKS, LINKS, USER, GROUP, SIZE, N_COLUMNS };

static const char *cell(const struct row *row, enum column column)
{
	switch (column) {
	case INODE:
		return row->inode;
	case BLOCKS:
		return row->blocks;
	case LINKS:
		return row->links;
	case USER:
		return row->user;
	case GROUP:
		return row->group;
	default:
		return row->size;
	}
}

static char *shown_name(struct ls *ls, const char *name, bool *ret_quoted)
{
	if (ls->quote)
		return cli_shell_quote(name, ret_quoted);
	*ret_quoted = false;
	return cli_strdup(name);
}

static void fill_row(struct ls *ls, const struct cli_entry *e, struct row *row)
{
	const struct stat *st = &e->st;
	char buf[16];

	memset(row, 0, sizeof(*row));
	row->name = shown_name(ls, e->name, &row->quoted);
	if (!e->has_stat) {
		/* It vanished between the listing and the look. */
		snprintf(row->inode, sizeof(row->inode), "?");
		snprintf(row->blocks, sizeof(row->blocks), "?");
		snprintf(row->links, sizeof(row->links), "?");
		snprintf(row->user, sizeof(row->user), "?");
		snprintf(row->group, sizeof(row->group), "?");
		snprintf(row->size, sizeof(row->size), "?");
		snprintf(row->time, sizeof(row->time), "?");
		return;
	}
	snprintf(row->inode, sizeof(row->inode), "%llu", (unsigned long long)st->st_ino);
	if (ls->human)
		snprintf(row->blocks, sizeof(row->blocks), "%s",
			 cli_human((uint64_t)st->st_blocks * 512, 1024, buf));
	else
		snprintf(row->blocks, sizeof(row->blocks), "%llu",
			 (unsigned long long)(st->st_blocks + 1) / 2);
	if (!ls->lng)
		return;
	snprintf(row->links, sizeof(row->links), "%llu", (unsigned long long)st->st_nlink);
	snprintf(row->user, sizeof(row->user), "%s", cli_user_name(st->st_uid, ls->numeric));
	snprintf(row->group, sizeof(row->group), "%s", cli_group_name(st->st_gid, ls->numeric));
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		snprintf(row->size, sizeof(row->size), "%u, %3u", major(st->st_rdev),
			 minor(st->st_rdev));
	else if (ls->human)
		snprintf(row->size, sizeof(row->size), "%s",
			 cli_human((uint64_t)st->st_size, 1024, buf));
	else
		snprintf(row->size, sizeof(row->size), "%lld", (long long)st->st_size);
	format_time(ls, entry_time(ls, st), row->time, sizeof(row->time));
}

static void print_prefix(const struct ls *ls, const struct row *row, const size_t *width)
{
	if (ls->inode)
		printf("%*s ", (int)width[INODE], row->inode);
	if (ls->blocks)
		printf("%*s ", (int)width[BLOCKS], row->blocks);
}

static void print_long(struct ls *ls, const struct cli_entry *e, const struct row *row,
		       const size_t *width, bool pad)
{
	char mode[11] = "??????????";

	if (e->has_stat)
		cli_mode_string(e->st.st_mode, mode);
	print_prefix(ls, row, width);
	printf("%s %*s ", mode, (int)width[LINKS], row->links);
	if (!ls->no_owner)
		printf("%-*s ", (int)width[USER], row->user);
	printf("%-*s %*s %s ", (int)width[GROUP], row->group, (int)width[SIZE], row->size,
	       row->time);
	if (pad && !row->quoted)
		putchar(' ');
	fputs(row->name, stdout);
	if (S_ISLNK(e->st.st_mode) && e->target) {
		bool quoted;
		_cleanup_free_ char *target = shown_name(ls, e->target, &quoted);

		printf(" -> %s", target);
	} else {
		fputs(suffix(ls, e->st.st_mode), stdout);
	}
	putchar('\n');
}

static size_t terminal_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col)
		return ws.ws_col;
	return columns && strtoul(columns, NULL, 10) ? strtoul(columns, NULL, 10) : 80;
}

/* Down the columns, as ls does: the most columns whose widths fit the terminal. */
static void print_columns(struct ls *ls, const struct cli_list *l, const struct row *rows,
			  const size_t *width, bool pad)
{
	_cleanup_free_ size_t *lengths = cli_alloc(l->n * sizeof(*lengths));
	_cleanup_free_ size_t *columns = cli_alloc(l->n * sizeof(*columns));
	size_t limit = terminal_width(), n_rows, n_columns;

	for (size_t i = 0; i < l->n; i++)
		lengths[i] = cli_width(rows[i].name) +
			     strlen(suffix(ls, l->entries[i].st.st_mode)) +
			     (pad && !rows[i].quoted) + (ls->inode ? width[INODE] + 1 : 0) +
			     (ls->blocks ? width[BLOCKS] + 1 : 0);
	for (n_rows = 1; n_rows < l->n; n_rows++) {
		size_t total = 0;

		n_columns = (l->n + n_rows - 1) / n_rows;
		if (n_columns > limit / 3 + 1)
			continue;
		for (size_t col = 0; col < n_columns; col++) {
			columns[col] = 0;
			for (size_t i = col * n_rows; i < MIN((col + 1) * n_rows, l->n); i++)
				columns[col] = MAX(columns[col],
						   lengths[i] + (col + 1 < n_columns ? 2 : 0));
			total += columns[col];
		}
		if (total < limit)
			break;
	}
	n_columns = l->n ? (l->n + n_rows - 1) / n_rows : 0;
	for (size_t row = 0; row < n_rows; row++) {
		for (size_t col = 0; col < n_columns; col++) {
			size_t i = col * n_rows + row;

			if (i >= l->n)
				break;
			print_prefix(ls, &rows[i], width);
			printf("%s%s%s", pad && !rows[i].quoted ? " " : "", rows[i].name,
			       suffix(ls, l->entries[i].st.st_mode));
			if (col + 1 < n_columns && i + n_rows < l->n)
				printf("%*s", (int)(columns[col] - lengths[i]), "");
		}
		putchar('\n');
	}
}

static void print_list(struct ls *ls, const struct cli_list *l)
{
	_cleanup_free_ struct row *rows = cli_alloc(l->n * sizeof(*rows));
	size_t width[N_COLUMNS] = { 0 };
	bool pad = false;

	for (size_t i = 0; i < l->n; i++) {
		fill_row(ls, &l->entries[i], &rows[i]);
		pad |= rows[i].quoted;
		for (enum column col = 0; col < N_COLUMNS; col++)
			width[col] = MAX(width[col], strlen(cell(&rows[i], col)));
	}
	if (ls->lng) {
		for (size_t i = 0; i < l->n; i++)
			print_long(ls, &l->entries[i], &rows[i], width, pad);
	} else if (ls->one || !ls->c->tty) {
		for (size_t i = 0; i < l->n; i++) {
			print_prefix(ls, &rows[i], width);
			printf("%s%s\n", rows[i].name, suffix(ls, l->entries[i].st.st_mode));
		}
	} else if (l->n) {
		print_columns(ls, l, rows, width, pad);
	}
	for (size_t i = 0; i < l->n; i++)
		free(rows[i].name);
}

static void print_json(struct ls *ls, const struct cli_volume *v, const char *dir,
		       const struct cli_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct cli_entry *e = &l->entries[i];
		json_t *o = e->has_stat ? cli_json_stat(&e->st) : json_object();

		json_object_set_new(o, "name", cli_json_bytes(e->name, strlen(e->name)));
		if (dir)
			json_object_set_new(o, "directory", cli_json_path(v, dir));
		if (e->target)
			json_object_set_new(o, "target",
					    cli_json_bytes(e->target, strlen(e->target)));
		cli_json_print(ls->c, o);
	}
}

/* ls -a: "." came with the listing, ".." did not. The root's ".." is the root. */
static void add_dots(const struct cli_volume *v, const char *path, struct cli_list *l)
{
	_cleanup_free_ char *parent = cli_join(path, "..");
	struct stat st = l->dir;

	cli_list_add(l, ".", &st, NULL);
	if (strspn(path, "/") == strlen(path) || gofer_stat(v->ns, parent, 0, &st) == 0)
		cli_list_add(l, "..", &st, NULL);
}

static void list_directory(struct ls *ls, const struct cli_volume *v, const char *path,
			   const char *title);

/* Prints what was read of a directory, and lists those in it with -R. Takes the list's entries. */
static void show_directory(struct ls *ls, const struct cli_volume *v, const char *path,
			   const char *title, struct cli_list *taken)
{
	_cleanup_list_ struct cli_list l = *taken;
	struct cli *c = ls->c;
	uint64_t blocks = 0;
	size_t kept = 0;

	*taken = (struct cli_list){ 0 };
	for (size_t i = 0; i < l.n; i++) {
		if (!ls->all && !ls->almost && l.entries[i].name[0] == '.') {
			free(l.entries[i].name);
			free(l.entries[i].target);
			continue;
		}
		l.entries[kept++] = l.entries[i];
	}
	l.n = kept;
	if (ls->all)
		add_dots(v, path, &l);
	sort(ls, &l);
	if (c->json) {
		print_json(ls, v, path, &l);
	} else {
		if (title) {
			printf("%s", ls->printed ? "\n" : "");
			cli_put_name(c, title);
			printf(":\n");
		}
		ls->printed = true;
		if (ls->lng || ls->blocks) {
			char buf[16];

			for (size_t i = 0; i < l.n; i++)
				blocks += (uint64_t)l.entries[i].st.st_blocks;
			if (ls->human)
				printf("total %s\n", cli_human(blocks * 512, 1024, buf));
			else
				printf("total %llu\n", (unsigned long long)(blocks + 1) / 2);
		}
		print_list(ls, &l);
	}
	if (!ls->recursive)
		return;
	for (size_t i = 0; i < l.n && !cli_stops(c); i++) {
		const char *name = l.entries[i].name;

		if (l.entries[i].type == DT_DIR && strcmp(name, ".") != 0 &&
		    strcmp(name, "..") != 0) {
			_cleanup_free_ char *below = cli_join(path, name);
			_cleanup_free_ char *below_title = title ? cli_join(title, name) : NULL;

			list_directory(ls, v, below, below_title);
		}
	}
}

static void list_directory(struct ls *ls, const struct cli_volume *v, const char *path,
			   const char *title)
{
	struct cli_list l = { 0 };
	int r = cli_list_read(v->ns, path, 0, &l);

	if (r < 0)
		cli_path_error(ls->c, r, "list", v, path);
	else
		show_directory(ls, v, path, title, &l);
}

static void list_volumes(struct ls *ls)
{
	struct gofer_filesystem fs;

	for (size_t i = 0; gofer_session_filesystem(ls->c->session, i, &fs) == 0; i++) {
		if (ls->c->json) {
			cli_json_print(ls->c, json_pack("{s:o,s:i,s:b,s:b,s:b}", "volume",
							cli_json_bytes(fs.name, strlen(fs.name)),
							"fs_id", (int)fs.fs_id, "read_only",
							fs.read_only, "may_donate", fs.may_donate,
							"delegate", fs.delegate));
			continue;
		}
		if (ls->lng)
			printf("%s %-8s %-9s ", fs.read_only ? "ro" : "rw",
			       fs.delegate ? "delegate" : "squash",
			       fs.may_donate ? "donates" : "no-donate");
		cli_put_name(ls->c, fs.name);
		printf(":\n");
	}
}

/* A directory named on the command line, already read or to be. */
struct directory {
	struct cli_path path;
	struct cli_list list;
	bool read;
};

static void list_operands(struct ls *ls)
{
	_cleanup_list_ struct cli_list files = { 0 };
	_cleanup_free_ struct directory *dirs = cli_alloc((size_t)ls->c->argc * sizeof(*dirs));
	struct cli *c = ls->c;
	size_t n_dirs = 0;

	for (int i = 0; i < c->argc; i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		char target[4096];
		ssize_t n = 0;
		struct stat st;
		int r;

		if (cli_split(c, c->argv[i], &p) < 0)
			continue;
		/* Most operands are directories: then the listing says it all, in one request. */
		dirs[n_dirs] = (struct directory){ .path = p };
		if (!ls->directory && cli_list_read(p.ns, p.path, ls->lng ? AT_SYMLINK_NOFOLLOW : 0,
						    &dirs[n_dirs].list) == 0) {
			dirs[n_dirs++].read = true;
			p.path = NULL;
			continue;
		}
		/* A link named on the command line is followed to a directory, unless the link
		 * itself is asked for. */
		r = gofer_stat(p.ns, p.path, AT_SYMLINK_NOFOLLOW, &st);
		if (r == 0 && S_ISLNK(st.st_mode)) {
			struct stat to;

			if (!ls->lng && !ls->directory && gofer_stat(p.ns, p.path, 0, &to) == 0)
				st = to;
			else
				n = gofer_readlink(p.ns, p.path, target, sizeof(target) - 1);
		}
		if (r < 0) {
			cli_error(c, r, NULL, p.text);
			continue;
		}
		if (S_ISDIR(st.st_mode) && !ls->directory) {
			n_dirs++;
			p.path = NULL;
			continue;
		}
		target[n > 0 ? n : 0] = '\0';
		cli_list_add(&files, p.text, &st, n > 0 ? target : NULL);
	}
	sort(ls, &files);
	if (c->json)
		print_json(ls, NULL, NULL, &files);
	else
		print_list(ls, &files);
	ls->printed = files.n > 0;
	for (size_t i = 0; i < n_dirs; i++) {
		struct cli_path *p = &dirs[i].path;
		const char *title = c->argc > 1 || ls->recursive ? p->text : NULL;

		if (dirs[i].read)
			show_directory(ls, p->volume, p->path, title, &dirs[i].list);
		else
			list_directory(ls, p->volume, p->path, title);
		cli_path_deinit(p);
	}
}

static int run(int argc, char **argv)
{
	struct cli c;
	struct ls ls = { .c = &c, .sort = 'n', .time = 'm' };
	int key;

	cli_begin(&c, &spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		switch (key) {
		case 'a':
			ls.all = true;
			break;
		case 'A':
			ls.almost = true;
			break;
		case 'l':
			ls.lng = true;
			break;
		case '1':
			ls.one = true;
			break;
		case 'd':
			ls.directory = true;
			break;
		case 'F':
			ls.classify = true;
			break;
		case 'g':
			ls.lng = ls.no_owner = true;
			break;
		case 'h':
			ls.human = true;
			break;
		case 'i':
			ls.inode = true;
			break;
		case 'n':
			ls.lng = ls.numeric = true;
			break;
		case 'r':
			ls.reverse = true;
			break;
		case 'R':
			ls.recursive = true;
			break;
		case 's':
			ls.blocks = true;
			break;
		case 'u':
			ls.time = 'a';
			break;
		case 'c':
			ls.time = 'c';
			break;
		case KEY_TIME_STYLE:
			ls.time_style = c.optarg;
			break;
		default:
			ls.sort = (char)key;
		}
	}
	if (ls.time_style && *ls.time_style != '+' && strcmp(ls.time_style, "full-iso") != 0 &&
	    strcmp(ls.time_style, "long-iso") != 0 && strcmp(ls.time_style, "iso") != 0 &&
	    strcmp(ls.time_style, "locale") != 0)
		cli_no_usage(
			&c,
			"--time-style: '%s' is none of full-iso, long-iso, iso, locale, +FORMAT",
			ls.time_style);
	/* -u and -c alone also sort by that time. */
	if (ls.time != 'm' && ls.sort == 'n' && !ls.lng)
		ls.sort = 't';
	ls.quote = c.tty;
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	cli_default_operand(&c);
	if (c.argc)
		list_operands(&ls);
	else
		list_volumes(&ls);
	return cli_end(&c);
}

const struct verb verb_ls = { "ls", "list directories, or the volumes", run, &spec };
