/*
 * words.c - see words.h. One pass over the text; a word grows in a buffer as long as all of the text,
 * for no quoting makes a word longer.
 */
#include "common/words.h"

#include <string.h>

struct parser {
	const char *text;
	size_t at;
	char *buf; /* the word so far */
	size_t len;
	bool open;
};

void words_deinit(struct words *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->word[i]);
	free(w->word);
	*w = (struct words){ 0 };
}

static int add(struct words *w, struct parser *p, size_t begin)
{
	char **grown = reallocarray(w->word, w->n + 2, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	w->word = grown;
	p->buf[p->len] = '\0';
	grown[w->n] = strdup(p->buf);
	if (!grown[w->n])
		return -ENOMEM;
	grown[++w->n] = NULL;
	w->last = begin;
	return 0;
}

static void put(struct parser *p, char ch)
{
	p->buf[p->len++] = ch;
}

/* Whether there is more text: if not, something is left open. */
static bool more(struct parser *p)
{
	p->open |= p->text[p->at] == '\0';
	return !p->open;
}

static void take_single(struct parser *p)
{
	for (; more(p) && p->text[p->at] != '\''; p->at++)
		put(p, p->text[p->at]);
	p->at += !p->open;
}

static void take_double(struct parser *p)
{
	for (; more(p) && p->text[p->at] != '"'; p->at++) {
		if (p->text[p->at] == '\\' && p->text[p->at + 1] &&
		    strchr("$`\"\\\n", p->text[p->at + 1])) {
			p->at++;
			if (p->text[p->at] == '\n')
				continue;
		}
		put(p, p->text[p->at]);
	}
	p->at += !p->open;
}

/* Digits of a number, at most `most`. */
static unsigned digits(struct parser *p, unsigned base, unsigned most)
{
	unsigned value = 0;

	for (unsigned i = 0; i < most; i++) {
		char ch = p->text[p->at];
		unsigned d = ch >= '0' && ch <= '9'   ? (unsigned)(ch - '0')
			     : ch >= 'a' && ch <= 'f' ? (unsigned)(ch - 'a' + 10)
			     : ch >= 'A' && ch <= 'F' ? (unsigned)(ch - 'A' + 10)
						      : 16;

		if (d >= base)
			break;
		value = value * base + d;
		p->at++;
	}
	return value;
}

/* What follows the backslash in $'...'. A NUL, which no word can hold, is left out. */
static void take_escape(struct parser *p)
{
	static const char known[] = "a\ab\be\033f\fn\nr\rt\tv\v";
	char ch = p->text[p->at++];
	unsigned value;

	for (const char *k = known; *k; k += 2)
		if (*k == ch) {
			put(p, k[1]);
			return;
		}
	if (ch == 'x') {
		value = digits(p, 16, 2);
	} else if (ch >= '0' && ch <= '7') {
		p->at--;
		value = digits(p, 8, 3);
	} else {
		put(p, ch);
		return;
	}
	if (value & 0xff)
		put(p, (char)value);
}

static void take_ansi(struct parser *p)
{
	while (more(p) && p->text[p->at] != '\'') {
		if (p->text[p->at] != '\\') {
			put(p, p->text[p->at++]);
			continue;
		}
		p->at++;
		if (more(p))
			take_escape(p);
	}
	p->at += !p->open;
}

static bool ends_word(char ch)
{
	return ch == '\0' || strchr(" \t\n;", ch);
}

/* From its first character to what ends it. False at a character that means nothing. */
static bool take_word(struct parser *p)
{
	while (!p->open && !ends_word(p->text[p->at])) {
		char ch = p->text[p->at++];

		if (ch == '\'') {
			take_single(p);
		} else if (ch == '"') {
			take_double(p);
		} else if (ch == '$' && p->text[p->at] == '\'') {
			p->at++;
			take_ansi(p);
		} else if (ch == '\\') {
			if (more(p) && p->text[p->at++] != '\n')
				put(p, p->text[p->at - 1]);
			else
				(void)more(p);
		} else if (strchr("|&<>", ch)) {
			p->at--;
			return false;
		} else {
			put(p, ch);
		}
	}
	return true;
}

static void skip_blank(struct parser *p)
{
	for (;;) {
		if (p->text[p->at] == ' ' || p->text[p->at] == '\t')
			p->at++;
		else if (p->text[p->at] == '\\' && p->text[p->at + 1] == '\n')
			p->at += 2, (void)more(p);
		else
			return;
	}
}

static int parse(struct parser *p, struct words *w, char *ret_bad)
{
	w->ended = true;
	for (;;) {
		size_t begin;
		int r;

		skip_blank(p);
		if (p->open)
			return WORDS_OPEN;
		begin = p->at;
		if (p->text[p->at] == '#')
			p->at += strcspn(p->text + p->at, "\n");
		if (p->text[p->at] == '\0')
			return 0;
		if (p->text[p->at] == ';' || p->text[p->at] == '\n') {
			p->at++;
			return 0;
		}
		p->len = 0;
		if (!take_word(p)) {
			*ret_bad = p->text[p->at];
			return -EINVAL;
		}
		r = add(w, p, begin);
		if (r < 0)
			return r;
		w->ended = !p->open && p->text[p->at] != '\0';
		if (p->open)
			return WORDS_OPEN;
	}
}

int words_parse(const char *text, struct words *ret_words, size_t *ret_end, char *ret_bad)
{
	_cleanup_free_ char *buf = malloc(strlen(text) + 1);
	struct parser p = { .text = text, .buf = buf };
	_cleanup_words_ struct words w = { 0 };
	int r;

	if (!buf)
		return -ENOMEM;
	r = parse(&p, &w, ret_bad);
	if (r < 0)
		return r;
	*ret_end = p.at;
	*ret_words = w;
	w = (struct words){ 0 };
	return r;
}
