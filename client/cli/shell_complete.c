/*
 * shell_complete.c - gofer shell: what the word before the cursor may become: a verb, an option, a
 * path on the server, a local one. Candidates are the words themselves; quoting is the editor's.
 *
 * Names are bytes that somebody else chose. One that would be taken for an option, or for the name of
 * a volume, gets "./" in front.
 */
#include "client/cli/shell.h"

#include <dirent.h>
#include <string.h>

#include "common/words.h"

enum { KEPT = 500 }; /* candidates that can be listed; all of them count for what they begin with */

void candidates_deinit(struct candidates *c)
{
	for (size_t i = 0; i < c->n; i++)
		free(c->word[i]);
	free(c->word);
	free(c->common);
	*c = (struct candidates){ 0 };
}

/* Takes the word if it begins with `typed`; a "./" that it got here need not be typed. */
static void offer(struct candidates *c, const char *typed, char *word)
{
	_cleanup_free_ char *owned = word;
	size_t same = 0;

	if (strncmp(word, typed, strlen(typed)) != 0 &&
	    (strncmp(word, "./", 2) != 0 || strncmp(word + 2, typed, strlen(typed)) != 0))
		return;
	if (!c->common) {
		c->common = cli_strdup(word);
	} else {
		while (word[same] && word[same] == c->common[same])
			same++;
		c->common[same] = '\0';
	}
	c->all++;
	if (c->n == KEPT)
		return;
	if (!c->word)
		c->word = cli_alloc(KEPT * sizeof(*c->word));
	c->word[c->n++] = TAKE_PTR(owned);
}

static char *concat(const char *a, const char *b, const char *end)
{
	char *text;

	if (asprintf(&text, "%s%s%s", a, b, end) < 0)
		abort();
	return text;
}

/* A path in the form in which it is a path: see above. dir: what was typed of it, with its slash. */
static char *as_path(const char *dir, const char *name, const char *end, bool remote)
{
	bool plain = *dir || (*name != '-' && !(remote && strchr(name, ':')));

	return concat(plain ? dir : "./", name, end);
}

static void offer_options(struct candidates *c, const char *typed, const struct cli_option *o)
{
	for (; o && o->key; o++) {
		char letter[3] = { '-', (char)o->key, '\0' };

		if (o->name)
			offer(c, typed, concat("--", o->name, o->arg ? "=" : ""));
		if (o->key < CLI_LONG && !o->name)
			offer(c, typed, cli_strdup(letter));
	}
}

static void offer_verbs(struct candidates *c, const char *typed)
{
	const struct verb *v;

	for (size_t i = 0; (v = shell_verb_at(i)); i++)
		offer(c, typed, cli_strdup(v->name));
	for (size_t i = 0; (v = cli_verb_at(i)); i++)
		if (shell_has(v))
			offer(c, typed, cli_strdup(v->name));
}

static void offer_local(struct candidates *c, const char *typed, bool directories)
{
	const char *slash = strrchr(typed, '/');
	_cleanup_free_ char *dir = strndup(typed, slash ? (size_t)(slash - typed) + 1 : 0);
	const char *wanted = slash ? slash + 1 : typed;
	struct dirent *e;
	DIR *d;

	if (!dir)
		abort();
	d = opendir(*dir ? dir : ".");
	while (d && (e = readdir(d))) {
		_cleanup_free_ char *path = concat(dir, e->d_name, "");
		struct stat st;
		bool is_dir;

		if (e->d_name[0] == '.' &&
		    (*wanted != '.' || strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0))
			continue;
		is_dir = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
		if (is_dir || !directories)
			offer(c, typed, as_path(dir, e->d_name, is_dir ? "/" : "", false));
	}
	if (d)
		closedir(d);
}

static void offer_volumes(struct cli *cli, struct candidates *c, const char *typed)
{
	for (size_t i = 0; i < cli->n_volumes; i++)
		offer(c, typed, concat(cli->volumes[i].name, ":", "/"));
}

/* What the text before the last slash names, without a word where it names nothing. */
static bool split_directory(struct cli *cli, const char *dir, struct cli_path *ret_path)
{
	bool named = cli_is_remote(dir);

	if (named ? !cli_find_volume(cli, dir, strcspn(dir, ":")) : !cli_host->volume)
		return false;
	return cli_split(cli, *dir ? dir : ".", ret_path) == 0;
}

static void offer_remote(struct cli *cli, struct candidates *c, const char *typed, bool directories)
{
	const char *slash = strrchr(typed, '/'), *colon = strchr(typed, ':');
	const char *behind = slash ? slash + 1 : colon ? colon + 1 : typed;
	_cleanup_free_ char *dir = strndup(typed, (size_t)(behind - typed));
	_cleanup_path_ struct cli_path p = { 0 };
	struct gofer_dirent e;
	struct gofer_dir *d;

	if (!dir)
		abort();
	if (!cli->session || gofer_session_status(cli->session) < 0)
		return;
	if (behind == typed)
		offer_volumes(cli, c, typed);
	if (!split_directory(cli, dir, &p) || gofer_opendir(p.ns, p.path, 0, &d) < 0)
		return;
	while (gofer_readdir(d, &e) > 0) {
		struct stat st;
		bool is_dir = e.type == DT_DIR;

		if (strncmp(e.name, behind, strlen(behind)) != 0 ||
		    (*e.name == '.' && *behind != '.'))
			continue;
		if (e.type == DT_LNK) {
			_cleanup_free_ char *path = cli_join(p.path, e.name);

			is_dir = gofer_stat(p.ns, path, 0, &st) == 0 && S_ISDIR(st.st_mode);
		}
		if (is_dir || !directories)
			offer(c, typed, as_path(dir, e.name, is_dir ? "/" : "", true));
	}
	gofer_closedir(d);
}

/* The last command of a text: its words, where the last of them begins, whether another is to come. */
static int last_command(const char *text, struct words *ret_words, size_t *ret_begin)
{
	size_t at = 0;

	for (;;) {
		_cleanup_words_ struct words w = { 0 };
		size_t end;
		char bad;
		int r = words_parse(text + at, &w, &end, &bad);

		if (r < 0)
			return r;
		if (r == WORDS_OPEN || !text[at + end]) {
			/* A command that was just ended has no words that matter. */
			bool over = r == 0 && end > 0 && strchr(";\n", text[at + end - 1]);

			*ret_begin = at + w.last;
			if (over)
				words_deinit(&w);
			*ret_words = w;
			w = (struct words){ 0 };
			return 0;
		}
		at += end;
	}
}

void shell_complete(struct cli *cli, const char *text, size_t *ret_begin, struct candidates *ret)
{
	_cleanup_words_ struct words w = { 0 };
	const struct verb *verb;
	const char *typed = "", *name;

	*ret = (struct candidates){ 0 };
	if (last_command(text, &w, ret_begin) < 0)
		return;
	if (w.n && !w.ended)
		typed = w.word[w.n - 1];
	else
		*ret_begin = strlen(text);
	if (w.n == 0 || (w.n == 1 && !w.ended)) {
		offer_verbs(ret, typed);
		return;
	}
	name = w.word[0];
	verb = shell_verb(name);
	if (!verb)
		verb = cli_verb(name);
	if (!verb)
		return;
	if (*typed == '-') {
		offer_options(ret, typed, verb->spec ? verb->spec->options : NULL);
		offer_options(ret, typed, cli_global_options);
	} else if (strcmp(name, "help") == 0) {
		offer_verbs(ret, typed);
	} else if (strcmp(name, "lcd") == 0) {
		offer_local(ret, typed, true);
	} else if (strcmp(name, "get") == 0 || strcmp(name, "put") == 0) {
		offer_remote(cli, ret, typed, false);
		offer_local(ret, typed, false);
	} else if (strcmp(name, "exit") != 0 && strcmp(name, "pwd") != 0 &&
		   strcmp(name, "lpwd") != 0) {
		offer_remote(cli, ret, typed, strcmp(name, "cd") == 0);
	}
}
