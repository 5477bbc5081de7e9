/* Words of a command: quoting as in a shell. What bash makes of the same text is what is expected, where it means the same there. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "common/words.h"

/* The words, each in brackets; of every command of the text, separated by '/'. */
static char *parsed(const char *text, int *ret_result)
{
	char *out = calloc(1, 8 * strlen(text) + 64), *to = out;
	size_t at = 0;

	do {
		_cleanup_words_ struct words w = { 0 };
		size_t end = 0;
		char bad = '\0';

		*ret_result = words_parse(text + at, &w, &end, &bad);
		if (*ret_result < 0) {
			to += sprintf(to, "bad %c", bad);
			return out;
		}
		if (at)
			*to++ = '/';
		for (size_t i = 0; i < w.n; i++)
			to += sprintf(to, "[%s]", w.word[i]);
		cr_assert(w.n == 0 || w.word[w.n] == NULL);
		cr_assert(end <= strlen(text + at) && (end > 0 || !text[at]), "%s", text);
		at += end;
	} while (text[at] && *ret_result == 0);
	return out;
}

static void expect(const char *text, int result, const char *want)
{
	int r;
	char *got = parsed(text, &r);

	cr_assert_str_eq(got, want, "%s: %s instead of %s", text, got, want);
	cr_assert_eq(r, result, "%s: %d", text, r);
	free(got);
}

Test(words, are_split_at_blanks_and_commands_at_ends)
{
	expect("", 0, "");
	expect(" \t ", 0, "");
	expect("ls", 0, "[ls]");
	expect("  cat  a\tb ", 0, "[cat][a][b]");
	expect("a;b ; c\nd\n", 0, "[a]/[b]/[c]/[d]");
	expect(";;\n;", 0, "///");
	expect("a # b ; c\nd#e", 0, "[a]/[d#e]");
	expect("# all of it", 0, "");
	expect("find ( -name *.[ch] ) ! $x `y` ~ {a,b} ?", 0,
	       "[find][(][-name][*.[ch]][)][!][$x][`y`][~][{a,b}][?]");
}

Test(words, quotes_keep_what_is_in_them)
{
	expect("'a b'c\"d e\"", 0, "[a bcd e]");
	expect("'' \"\" ''\"\"", 0, "[][][]");
	expect("'a\\b\"c' \"a\\\\b\\\"c\\x'\"", 0, "[a\\b\"c][a\\b\"c\\x']");
	expect("a\\ b \\' \\\\ \\# \\;", 0, "[a b]['][\\][#][;]");
	expect("\"a;b|c\" 'd\ne'", 0, "[a;b|c][d\ne]");
	expect("a\\\nb \"c\\\nd\" \\\n e", 0, "[ab][cd][e]");
	expect("$'\\a\\b\\e\\f\\n\\r\\t\\v\\\\\\'\\\"'", 0, "[\a\b\033\f\n\r\t\v\\'\"]");
	expect("$'\\x41\\x7e\\101\\0101\\xg' $\"a\" $", 0, "[A~A\b1g][$a][$]");
	expect("'esc'$'\\033''[31m'", 0, "[esc\033[31m]");
	/* No word can hold a NUL. */
	expect("a$'\\0b\\x00c'd", 0, "[abcd]");
}

Test(words, what_is_left_open_goes_on)
{
	static const char *const open[] = { "'a", "x 'a", "\"a", "\"a\\",  "$'a",   "$'a\\",
					    "$'", "a\\",  "\\",  "a \\\n", "a\\\n", "\\\n" };

	for (size_t i = 0; i < ARRAY_SIZE(open); i++) {
		int r;

		free(parsed(open[i], &r));
		cr_assert_eq(r, WORDS_OPEN, "%s: %d", open[i], r);
	}
	expect("a; b 'c", WORDS_OPEN, "[a]/[b][c]");
}

Test(words, where_the_last_one_begins)
{
	static const struct {
		const char *text;
		size_t last;
		bool ended;
	} cases[] = { { "cat", 0, false },        { "cat ", 0, true },
		      { "cat  a\\ b", 5, false }, { "cat 'a b", 4, false },
		      { "cat 'a b'", 4, false },  { "cat 'a b' ", 4, true },
		      { "cat $'x", 4, false },    { "cat a;", 4, true } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_words_ struct words w = { 0 };
		size_t end;
		char bad;

		cr_assert_geq(words_parse(cases[i].text, &w, &end, &bad), 0);
		cr_assert_eq(w.last, cases[i].last, "%s: %zu", cases[i].text, w.last);
		cr_assert_eq(w.ended, cases[i].ended, "%s", cases[i].text);
	}
}

Test(words, what_means_nothing_is_refused)
{
	expect("cat a | b", -EINVAL, "bad |");
	expect("a>b", -EINVAL, "bad >");
	expect("a <b", -EINVAL, "bad <");
	expect("a &", -EINVAL, "bad &");
	expect("a '|' \\> \"<\" $'&'", 0, "[a][|][>][<][&]");
}

Test(words, any_bytes_end_in_words_or_in_an_error)
{
	static const char alphabet[] = "ab '\"\\$;\n#x0\t|\xff\xc3";
	unsigned seed = 1;

	for (int i = 0; i < 200000; i++) {
		char text[24];
		size_t n = (seed >> 8) % sizeof(text);
		int r;

		for (size_t j = 0; j < n; j++) {
			seed = seed * 1664525 + 1013904223;
			text[j] = alphabet[(seed >> 16) % (sizeof(alphabet) - 1)];
		}
		text[n] = '\0';
		seed = seed * 1664525 + 1013904223;
		free(parsed(text, &r));
		cr_assert(r == 0 || r == WORDS_OPEN || r == -EINVAL);
	}
}
