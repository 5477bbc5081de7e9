/*
 * find_parse.c - gofer find: words become a tree of tests, by recursive descent (or, and, not,
 * primary). A node keeps what its word says in the form in which it is compared.
 */
#include "client/cli/find.h"

#include <string.h>

static struct node *parse_or(struct find *f);

static struct node *new_node(enum op op, struct node *left, struct node *right)
{
	struct node *n = cli_alloc(sizeof(*n));

	n->op = op;
	n->left = left;
	n->right = right;
	return n;
}

void find_free(struct node *n)
{
	if (!n)
		return;
	find_free(n->left);
	find_free(n->right);
	free(n);
}

static const char *argument(struct find *f, const char *test)
{
	if (f->at >= f->n)
		cli_no_usage(f->c, "%s needs a value", test);
	return f->at < f->n ? f->words[f->at++] : "";
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

/* The operand is looked at when there is a session: find_newer(). */
int find_newer(struct find *f, struct node *n)
{
	_cleanup_path_ struct cli_path p = { 0 };
	struct stat st;
	int r;

	if (!n)
		return 0;
	if (n->op == OP_NEWER) {
		r = cli_split(f->c, n->text, &p);
		if (r < 0)
			return r;
		r = gofer_stat(p.ns, p.path, 0, &st);
		if (r < 0) {
			cli_error(f->c, r, NULL, n->text);
			return r;
		}
		n->time = st.st_mtim;
	}
	r = find_newer(f, n->left);
	return r < 0 ? r : find_newer(f, n->right);
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
	gid_t gid = 0;
	uid_t uid = 0;

	if (strcmp(word, "(") == 0) {
		n = parse_or(f);
		if (f->at >= f->n || strcmp(f->words[f->at++], ")") != 0)
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
		if (i == ARRAY_SIZE(plain)) {
			cli_no_usage(f->c, "unknown test '%s'", word);
			return new_node(OP_TRUE, NULL, NULL);
		}
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
		n->text = argument(f, word);
		break;
	case OP_PERM: {
		const char *text = argument(f, word);
		mode_t mode = 0;

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
		f->deletes = true;
		f->acts = true;
		break;
	case OP_EMPTY:
		f->asks_empty = true;
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

/* In AND and OR the left side decides about the right; the value of all is for the default action. */
static void mark_unused(struct node *n)
{
	n->unused = true;
	if (n->op == OP_AND || n->op == OP_OR)
		mark_unused(n->right);
	else if (n->op == OP_NOT)
		mark_unused(n->left);
}

void find_parse(struct find *f)
{
	if (!f->n)
		return;
	f->expression = parse_or(f);
	if (f->at < f->n)
		cli_no_usage(f->c, "'%s' is not expected", f->words[f->at]);
	mark_unused(f->expression);
}
