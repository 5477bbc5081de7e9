/*
 * du.c - gofer du and gofer df: space that trees use, and that is free. du counts a file with
 * several links once. It keeps one sum for each level of the walk.
 */
#include "client/cli/walk.h"

#include <fcntl.h>
#include <string.h>
#include <sys/vfs.h>

#define HASH_NONFATAL_OOM 0
#include <uthash.h>

static const struct cli_option du_options[] = {
	{ 's', "summarize", NULL, "only the total of each operand" },
	{ 'a', "all", NULL, "files too, not only directories" },
	{ 'b', "bytes", NULL, "apparent sizes in bytes" },
	{ 'h', "human-readable", NULL, "sizes like 1.5K" },
	{ 'k', NULL, NULL, "in units of 1024 bytes (the default)" },
	{ 'c', "total", NULL, "a grand total at the end" },
	{ 'd', "max-depth", "N", "print only so many levels below the operands" },
	{ 0 },
};
static const struct cli_spec du_spec = {
	.verb = "du",
	.usage = "[OPTION]... NAME:/path...",
	.about = "Shows the space that trees use.",
	.options = du_options,
};

struct inode {
	struct {
		uint64_t dev, ino;
	} key;
	UT_hash_handle hh;
};

struct du {
	struct cli *c;
	const struct cli_volume *v;
	bool all, bytes, human, summary;
	unsigned max_depth;
	struct inode *seen;
	uint64_t *sums; /* of the directories that the walk is in */
	size_t n_sums;
};

static bool count_once(struct du *d, const struct stat *st)
{
	struct inode *n;

	if (S_ISDIR(st->st_mode) || st->st_nlink < 2)
		return true;
	n = cli_alloc(sizeof(*n));
	n->key.dev = st->st_dev;
	n->key.ino = st->st_ino;
	struct inode *known;

	HASH_FIND(hh, d->seen, &n->key, sizeof(n->key), known);
	if (known) {
		free(n);
		return false;
	}
	HASH_ADD(hh, d->seen, key, sizeof(n->key), n);
	return true;
}

static uint64_t size_of(struct du *d, const struct stat *st)
{
	/* The size of a directory, a pipe or a device says nothing; du -b counts none either. */
	if (d->bytes)
		return S_ISREG(st->st_mode) || S_ISLNK(st->st_mode) || S_ISDIR(st->st_mode)
			       ? (uint64_t)st->st_size
			       : 0;
	return (uint64_t)st->st_blocks * 512;
}

static void print_size(struct du *d, uint64_t size, const char *volume, const char *path)
{
	char buf[16];

	if (d->c->json) {
		json_t *o = json_pack("{s:I}", d->bytes ? "size" : "used", (json_int_t)size);
		_cleanup_free_ char *text = NULL;

		if (asprintf(&text, "%s%s%s", volume, *volume ? ":" : "", path) < 0)
			abort();
		json_object_set_new(o, "path", cli_json_bytes(text, strlen(text)));
		cli_json_print(d->c, o);
		return;
	}
	if (d->human)
		printf("%s\t", cli_human(size, 1024, buf));
	else
		printf("%llu\t", (unsigned long long)(d->bytes ? size : (size + 1023) / 1024));
	cli_put_name(d->c, volume);
	if (*volume)
		putchar(':');
	cli_put_name(d->c, path);
	putchar('\n');
}

static uint64_t *sum_of(struct du *d, unsigned depth)
{
	if (depth >= d->n_sums) {
		size_t n = 2 * (size_t)depth + 16;
		uint64_t *grown = reallocarray(d->sums, n, sizeof(*grown));

		if (!grown)
			abort();
		d->sums = grown;
		d->n_sums = n;
	}
	return &d->sums[depth];
}

/* One object and all below it have been seen. */
static void take_total(struct du *d, const struct walk_at *at, uint64_t total)
{
	if ((at->depth == 0 || d->all || at->directory) && at->depth <= d->max_depth)
		print_size(d, total, d->v->name, at->path);
	if (at->depth > 0)
		*sum_of(d, at->depth - 1) += total;
	else
		*sum_of(d, 0) = total;
}

static uint64_t measure(struct du *d, const char *path, const struct stat *st)
{
	struct walk *w = walk_new(d->c, d->v->ns, path, 0, st);
	struct walk_at at;

	*sum_of(d, 0) = 0;
	while (!cli_stops(d->c) && walk_next(w, &at) != WALK_END) {
		switch (at.kind) {
		case WALK_ENTRY:
			if (!at.st)
				walk_skip(w);
			else if (at.directory)
				*sum_of(d, at.depth) = size_of(d, at.st);
			else if (count_once(d, at.st))
				take_total(d, &at, size_of(d, at.st));
			break;
		case WALK_LEFT:
			take_total(d, &at, *sum_of(d, at.depth));
			break;
		default:
			cli_path_error(d->c, at.error, "list", d->v, at.path);
		}
	}
	walk_free(w);
	return *sum_of(d, 0);
}

static int run_du(int argc, char **argv)
{
	struct cli c;
	struct du d = { .c = &c, .max_depth = UINT32_MAX };
	struct inode *n, *next;
	bool grand = false;
	uint64_t total = 0;
	int key;

	cli_begin(&c, &du_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		switch (key) {
		case 's':
			d.max_depth = 0;
			break;
		case 'a':
			d.all = true;
			break;
		case 'b':
			d.bytes = true;
			break;
		case 'h':
			d.human = true;
			break;
		case 'c':
			grand = true;
			break;
		case 'd':
			d.max_depth =
				(unsigned)MIN(cli_number(&c, "-d", c.optarg, false), UINT32_MAX);
			break;
		default:
			d.bytes = d.human = false;
		}
	}
	cli_default_operand(&c);
	if (cli_need_operands(&c, 1, -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		struct stat st;
		int r;

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		r = gofer_stat(p.ns, p.path, AT_SYMLINK_NOFOLLOW, &st);
		if (r < 0) {
			cli_error(&c, r, NULL, p.text);
			continue;
		}
		d.v = p.volume;
		total += measure(&d, p.path, &st);
	}
	if (grand)
		print_size(&d, total, "", "total");
	HASH_ITER (hh, d.seen, n, next) {
		HASH_DEL(d.seen, n);
		free(n);
	}
	free(d.sums);
	return cli_end(&c);
}

static const struct cli_option df_options[] = {
	{ 'h', "human-readable", NULL, "sizes like 1.5G" },
	{ 'i', "inodes", NULL, "inodes instead of space" },
	{ 0 },
};
static const struct cli_spec df_spec = {
	.verb = "df",
	.usage = "[-h] [-i] [NAME:/path]...",
	.about = "Shows used and free space of the filesystems that hold paths; without operands, "
		 "of all volumes.",
	.options = df_options,
};

struct df_row {
	char name[256], cells[3][24], percent[16];
	struct cli_path path;
};

static void df_cell(char *buf, uint64_t value, bool human, bool inodes)
{
	char text[16];

	if (human)
		snprintf(buf, 24, "%s", cli_human(value, 1024, text));
	else
		snprintf(buf, 24, "%llu", (unsigned long long)(inodes ? value : value / 1024));
}

static int df_one(struct cli *c, struct cli_path *p, bool human, bool inodes, struct df_row *row)
{
	uint64_t total, used, avail;
	struct statfs st;
	int r = gofer_statfs(p->ns, p->path, &st);

	if (r < 0) {
		cli_error(c, r, NULL, p->text);
		return r;
	}
	if (c->json) {
		uint64_t unit = st.f_frsize ? (uint64_t)st.f_frsize : (uint64_t)st.f_bsize;
		json_t *o = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:b}", "size",
				      (json_int_t)(st.f_blocks * unit), "free",
				      (json_int_t)(st.f_bfree * unit), "available",
				      (json_int_t)(st.f_bavail * unit), "inodes",
				      (json_int_t)st.f_files, "inodes_free", (json_int_t)st.f_ffree,
				      "namelen", (json_int_t)st.f_namelen, "type",
				      (json_int_t)st.f_type, "read_only", p->volume->read_only);

		json_object_set_new(o, "path", cli_json_path(p->volume, p->path));
		cli_json_print(c, o);
		return 1;
	}
	if (inodes) {
		total = st.f_files;
		used = st.f_files - st.f_ffree;
		avail = st.f_ffree;
	} else {
		uint64_t unit = st.f_frsize ? (uint64_t)st.f_frsize : (uint64_t)st.f_bsize;

		total = st.f_blocks * unit;
		used = (st.f_blocks - st.f_bfree) * unit;
		avail = st.f_bavail * unit;
	}
	snprintf(row->name, sizeof(row->name), "%s:", p->volume->name);
	df_cell(row->cells[0], total, human, inodes);
	df_cell(row->cells[1], used, human, inodes);
	df_cell(row->cells[2], avail, human, inodes);
	if (used + avail)
		snprintf(row->percent, sizeof(row->percent), "%llu%%",
			 (unsigned long long)(((unsigned __int128)used * 100 + used + avail - 1) /
					      (used + avail)));
	else
		snprintf(row->percent, sizeof(row->percent), "-");
	return 0;
}

static int run_df(int argc, char **argv)
{
	bool human = false, inodes = false;
	struct df_row *rows;
	size_t n = 0, widths[4] = { 14, 0, 0, 0 };
	const char *heads[3];
	struct cli c;
	int key;

	cli_begin(&c, &df_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		human |= key == 'h';
		inodes |= key == 'i';
	}
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	heads[0] = inodes ? "Inodes" : human ? "Size" : "1K-blocks";
	heads[1] = inodes ? "IUsed" : "Used";
	heads[2] = inodes ? "IFree" : human ? "Avail" : "Available";
	rows = cli_alloc((c.argc ? (size_t)c.argc : c.n_volumes) * sizeof(*rows));
	for (size_t i = 0; i < (c.argc ? (size_t)c.argc : c.n_volumes); i++) {
		struct cli_path *p = &rows[n].path;
		_cleanup_free_ char *all = NULL;

		if (!c.argc && asprintf(&all, "%s:/", c.volumes[i].name) < 0)
			abort();
		if (cli_split(&c, c.argc ? c.argv[i] : all, p) < 0)
			continue;
		if (df_one(&c, p, human, inodes, &rows[n]) == 0)
			n++;
		else
			cli_path_deinit(p);
	}
	for (size_t i = 0; i < n; i++) {
		widths[0] = MAX(widths[0], cli_width(rows[i].name));
		for (size_t k = 0; k < 3; k++)
			widths[1 + k] =
				MAX(MAX(widths[1 + k], strlen(heads[k])), strlen(rows[i].cells[k]));
	}
	if (n)
		printf("%-*s %*s %*s %*s %4s Path\n", (int)widths[0], "Volume", (int)widths[1],
		       heads[0], (int)widths[2], heads[1], (int)widths[3], heads[2],
		       inodes ? "IUse%" : "Use%");
	for (size_t i = 0; i < n; i++) {
		cli_put_name(&c, rows[i].name);
		printf("%*s %*s %*s %*s %*s ",
		       (int)(widths[0] - MIN(widths[0], cli_width(rows[i].name))), "",
		       (int)widths[1], rows[i].cells[0], (int)widths[2], rows[i].cells[1],
		       (int)widths[3], rows[i].cells[2], inodes ? 5 : 4, rows[i].percent);
		cli_put_name(&c, rows[i].path.path);
		putchar('\n');
		cli_path_deinit(&rows[i].path);
	}
	free(rows);
	return cli_end(&c);
}

const struct verb verb_du = { "du", "show space used by trees", run_du, &du_spec };
const struct verb verb_df = { "df", "show used and free space", run_df, &df_spec };
