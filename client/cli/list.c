/*
 * list.c - a whole directory in memory, sorted as the locale sorts, and the little arithmetic on
 * paths that verbs need. Entries arrive with their attributes: listing costs one RPC per frame's
 * worth, not one per name.
 */
#include "client/cli/cli.h"

#include <string.h>

#include "common/path.h"

void cli_list_deinit(struct cli_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->entries[i].name);
		free(l->entries[i].target);
	}
	free(l->entries);
	*l = (struct cli_list){ 0 };
}

int cli_list_add(struct cli_list *l, const char *name, const struct stat *st, const char *target)
{
	if (l->n == l->allocated) {
		size_t n = l->allocated ? 2 * l->allocated : 64;
		struct cli_entry *grown = reallocarray(l->entries, n, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		l->entries = grown;
		l->allocated = n;
	}
	l->entries[l->n] = (struct cli_entry){ .name = cli_strdup(name),
					       .target = target ? cli_strdup(target) : NULL };
	if (st) {
		l->entries[l->n].st = *st;
		l->entries[l->n].has_stat = true;
		l->entries[l->n].type = IFTODT(st->st_mode);
	}
	l->n++;
	return 0;
}

int cli_list_read(struct gofer_namespace *ns, const char *path, int flags,
		  struct cli_list *ret_list)
{
	_cleanup_list_ struct cli_list list = { 0 };
	struct gofer_dirent e;
	struct gofer_dir *dir;
	int r;

	r = gofer_opendir(ns, path, flags, &dir);
	if (r < 0)
		return r;
	gofer_dirstat(dir, &list.dir);
	while ((r = gofer_readdir(dir, &e)) > 0) {
		/* The server's word is not taken for what a name is. */
		if (path_validate_name(e.name, strlen(e.name)) < 0) {
			r = -EBADMSG;
			break;
		}
		r = cli_list_add(&list, e.name, e.has_stat ? &e.st : NULL, e.target);
		if (r < 0)
			break;
		if (!e.has_stat) {
			list.entries[list.n - 1].type = e.type;
			list.entries[list.n - 1].st.st_ino = e.ino;
		}
	}
	gofer_closedir(dir);
	if (r < 0)
		return r;
	*ret_list = list;
	list = (struct cli_list){ 0 };
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct cli_entry *x = a, *y = b;
	int r = strcoll(x->name, y->name);

	return r ? r : strcmp(x->name, y->name);
}

void cli_list_sort(struct cli_list *l)
{
	if (l->n)
		qsort(l->entries, l->n, sizeof(*l->entries), by_name);
}

size_t cli_trimmed(const char *path)
{
	size_t n = strlen(path);

	for (;;) {
		if (n > 0 && path[n - 1] == '/')
			n--;
		else if (n > 1 && path[n - 1] == '.' && path[n - 2] == '/')
			n -= 2;
		else
			return n;
	}
}

char *cli_join(const char *dir, const char *name)
{
	size_t n = cli_trimmed(dir);
	char *path;

	if (asprintf(&path, "%.*s/%s", (int)n, dir, name) < 0)
		abort();
	return path;
}

/* The length without trailing slashes; 0 for the root. */
static size_t trimmed(const char *path)
{
	size_t n = strlen(path);

	while (n > 0 && path[n - 1] == '/')
		n--;
	return n;
}

char *cli_basename(const char *path)
{
	size_t end = trimmed(path), begin = end;
	char *name;

	while (begin > 0 && path[begin - 1] != '/')
		begin--;
	name = cli_alloc(end - begin + 1);
	memcpy(name, path + begin, end - begin);
	return name;
}

char *cli_dirname(const char *path)
{
	size_t end = trimmed(path);
	char *dir;

	while (end > 0 && path[end - 1] != '/')
		end--;
	while (end > 0 && path[end - 1] == '/')
		end--;
	dir = cli_alloc(end + 2);
	memcpy(dir, path, end);
	if (end == 0)
		dir[0] = '/';
	return dir;
}

bool cli_ask(struct cli *c, const char *question, const struct cli_volume *v, const char *path)
{
	size_t n = strlen(path);
	_cleanup_free_ char *shown = cli_alloc(4 * n + 1);
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	fflush(stdout);
	fprintf(stderr, "gofer: %s: %s '%s:%s'? ", c->spec->verb, question, v->name,
		path_escape(path, n, shown, 4 * n + 1));
	fflush(stderr);
	return getline(&line, &size, stdin) > 0 && (line[0] == 'y' || line[0] == 'Y');
}
