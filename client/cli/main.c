/*
 * main.c - the gofer command: the list of verbs, and what is not a verb (help, version). Options of
 * every verb may stand before the verb; they are moved behind it, so that verbs see one order only.
 */
#include "client/cli/shell.h"

#include <locale.h>
#include <string.h>

#define VERBS(X)    \
	X(serve)    \
	X(run)      \
	X(ls)       \
	X(stat)     \
	X(cat)      \
	X(get)      \
	X(put)      \
	X(cp)       \
	X(mv)       \
	X(rm)       \
	X(mkdir)    \
	X(rmdir)    \
	X(ln)       \
	X(readlink) \
	X(find)     \
	X(tree)     \
	X(du)       \
	X(df)       \
	X(chmod)    \
	X(chown)    \
	X(touch)    \
	X(truncate) \
	X(mknod)    \
	X(xattr)    \
	X(ping)     \
	X(rpc)      \
	X(bench)    \
	X(shell)    \
	X(stress)   \
	X(completion)

#define DECLARE(name) extern const struct verb verb_##name;
VERBS(DECLARE)
#undef DECLARE

static const struct verb *const verbs[] = {
#define LIST(name) &verb_##name,
	VERBS(LIST)
#undef LIST
};

static void help(FILE *out)
{
	fprintf(out, "usage: gofer [OPTION]... VERB [ARGUMENT]...\n"
		     "\n"
		     "Serves directories to sandboxes, and uses what is served. Objects are named "
		     "NAME:/path, where NAME is a\n"
		     "volume of the server. A symbolic link with an absolute target leads to that "
		     "path in its own volume.\n"
		     "\n"
		     "Verbs:\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(out, "  %-12s%s\n", verbs[i]->name, verbs[i]->summary);
	fprintf(out, "  %-12s%s\n", "help", "print the help of a verb");
	fprintf(out, "\nOptions, before or after the verb:\n");
	for (const struct cli_option *o = cli_global_options; o->key; o++)
		fprintf(out, "  --%s%s%s\n        %s\n", o->name, o->arg ? "=" : "",
			o->arg ? o->arg : "", o->help);
	fprintf(out, "  --version\n        print the version\n");
	fprintf(out, "\n'gofer VERB --help' says more. --stats does not count Hello.\n"
		     "Exit status: 0 if all went well, 1 if anything failed, 2 for wrong usage.\n");
}

const struct verb *cli_verb_at(size_t i)
{
	return i < ARRAY_SIZE(verbs) ? verbs[i] : NULL;
}

const struct verb *cli_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i]->name, name) == 0)
			return verbs[i];
	return NULL;
}

/* Edits that turn one word into the other, neighbours swapped counting as one. */
static unsigned distance(const char *a, const char *b)
{
	enum { MAX_WORD = 24 };
	unsigned d[MAX_WORD + 1][MAX_WORD + 1];
	size_t n = strnlen(a, MAX_WORD), m = strnlen(b, MAX_WORD);

	for (size_t i = 0; i <= n; i++)
		for (size_t j = 0; j <= m; j++) {
			if (!i || !j) {
				d[i][j] = (unsigned)(i + j);
				continue;
			}
			d[i][j] = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			d[i][j] = MIN(d[i][j], MIN(d[i - 1][j], d[i][j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
		}
	return d[n][m];
}

static int unknown_verb(const char *name)
{
	const char *nearest = NULL;
	unsigned best = 3;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		unsigned d = distance(name, verbs[i]->name);

		if (d < best && d < strlen(verbs[i]->name)) {
			best = d;
			nearest = verbs[i]->name;
		}
	}
	fprintf(stderr, "gofer: unknown verb '%.40s'", name);
	if (nearest)
		fprintf(stderr, "; did you mean '%s'?\n", nearest);
	else
		fprintf(stderr, "; see 'gofer --help'\n");
	return CLI_USAGE;
}

/* How many words the option at argv[0] takes up if it is one of every verb's, else 0. */
static int global_words(char **argv)
{
	for (const struct cli_option *o = cli_global_options; o->key; o++) {
		size_t n = strlen(o->name);

		if (strncmp(argv[0], "--", 2) != 0 || strncmp(argv[0] + 2, o->name, n) != 0)
			continue;
		if (o->arg && argv[0][2 + n] == '=')
			return 1;
		if (!argv[0][2 + n])
			return o->arg && argv[1] ? 2 : 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct verb *verb;
	int at = 1, words;

	setlocale(LC_CTYPE, "");
	setlocale(LC_COLLATE, "");
	setlocale(LC_TIME, "");
	while (at < argc && argv[at][0] == '-') {
		if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
			help(stdout);
			return CLI_OK;
		}
		if (strcmp(argv[at], "--version") == 0) {
			printf("gofer %s\n", GOFER_VERSION);
			return CLI_OK;
		}
		words = global_words(argv + at);
		if (!words) {
			fprintf(stderr, "gofer: unknown option '%.60s'; see 'gofer --help'\n",
				argv[at]);
			return CLI_USAGE;
		}
		at += words;
	}
	if (at >= argc) {
		help(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[at], "help") == 0) {
		char option[] = "--help";
		char *args[] = { argv[at + 1], option, NULL };

		if (!argv[at + 1]) {
			help(stdout);
			return CLI_OK;
		}
		verb = cli_verb(argv[at + 1]);
		return verb ? verb->run(2, args) : unknown_verb(argv[at + 1]);
	}
	verb = cli_verb(argv[at]);
	if (!verb)
		return unknown_verb(argv[at]);
	/* [options] VERB rest -> VERB [options] rest, in place */
	{
		char *name = argv[at];

		memmove(argv + 2, argv + 1, (size_t)(at - 1) * sizeof(*argv));
		argv[1] = name;
	}
	return verb->run(argc - 1, argv + 1);
}
