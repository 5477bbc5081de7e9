/*
 * test_path.c - paths are bytes: which of them pass, how they split, and how they are shown.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "common/path.h"

/* run: valgrind */

static void fill(char *out, size_t len, size_t component)
{
	for (size_t i = 0; i < len; i++)
		out[i] = i % (component + 1) == component ? '/' : 'a';
}

Test(path, S7_lengths_at_their_limits)
{
	static char text[70000];

	fill(text, sizeof(text), 200);
	cr_assert_eq(path_validate(text, 0), 0);
	cr_assert_eq(path_validate(NULL, 0), 0);
	cr_assert_eq(path_validate(text, 4095), 0);
	cr_assert_eq(path_validate(text, 4096), -ENAMETOOLONG);
	cr_assert_eq(path_validate(text, 65536), -ENAMETOOLONG);
	fill(text, 600, 255);
	cr_assert_eq(path_validate(text, 600), 0);
	fill(text, 600, 256);
	cr_assert_eq(path_validate(text, 600), -ENAMETOOLONG);
	memset(text, '/', 4095);
	cr_assert_eq(path_validate(text, 4095), 0);
	fill(text, 4095, 1);
	cr_assert_eq(path_validate(text, 4095), 0);
	memset(text, 'x', 300);
	cr_assert_eq(path_validate_name(text, 255), 0);
	cr_assert_eq(path_validate_name(text, 256), -ENAMETOOLONG);
}

Test(path, a_nul_anywhere_is_refused)
{
	char text[] = "abc/def";

	for (size_t i = 0; i < 7; i++) {
		char saved = text[i];

		text[i] = '\0';
		cr_assert_eq(path_validate(text, 7), -EINVAL);
		cr_assert_eq(path_validate_name(text, 3), i < 3 ? -EINVAL : 0);
		text[i] = saved;
	}
}

Test(path, S3_S4_names_that_are_no_names)
{
	static const char *const bad[] = { "", ".", "..", "/", "a/", "/a", "a/b", "../a", "//" };
	static const char *const good[] = { "...", "....", " ",   "\n",  "\x1b[31m", "\xff\xfe",
					    "a.",  ".a",   "..a", "-rf", "\\" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(path_validate_name(bad[i], strlen(bad[i])), -EINVAL, "'%s'", bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		cr_assert_eq(path_validate_name(good[i], strlen(good[i])), 0);
}

Test(path, components_with_their_offsets)
{
	static const struct {
		const char *text;
		unsigned n;
		unsigned at[4][2];
	} cases[] = {
		{ "", 0, { { 0 } } },
		{ "/", 0, { { 0 } } },
		{ "////", 0, { { 0 } } },
		{ "a", 1, { { 0, 1 } } },
		{ "/a", 1, { { 1, 2 } } },
		{ "a/", 1, { { 0, 1 } } },
		{ "//ab///c//", 2, { { 2, 4 }, { 7, 8 } } },
		{ "a/./../b", 4, { { 0, 1 }, { 2, 3 }, { 4, 6 }, { 7, 8 } } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t at = 0, begin, end, n = 0;

		while (path_next(cases[i].text, strlen(cases[i].text), &at, &begin, &end)) {
			cr_assert_lt(n, cases[i].n, "'%s'", cases[i].text);
			cr_assert_eq(begin, cases[i].at[n][0], "'%s'", cases[i].text);
			cr_assert_eq(end, cases[i].at[n][1], "'%s'", cases[i].text);
			n++;
		}
		cr_assert_eq(n, cases[i].n, "'%s'", cases[i].text);
	}
}

Test(path, S1_dotdot_is_found_wherever_it_is_a_component)
{
	static const char *const with[] = { "..",     "../",    "/..",  "a/..",
					    "a/../b", "a/./..", "..//", "a/b/c/.." };
	static const char *const without[] = { "",    ".",       "...",      "a..",
					       "..a", "a/..b/c", "a..b/...", "./." };

	for (size_t i = 0; i < ARRAY_SIZE(with); i++)
		cr_assert(path_has_dotdot(with[i], strlen(with[i])), "%s", with[i]);
	for (size_t i = 0; i < ARRAY_SIZE(without); i++)
		cr_assert(!path_has_dotdot(without[i], strlen(without[i])), "%s", without[i]);
	/* Only what lies within the length counts. */
	cr_assert(!path_has_dotdot("a/..", 3));
	cr_assert(path_has_dotdot("..b", 2));
}

static void shows(const char *bytes, size_t len, const char *text)
{
	char out[256];

	cr_assert_str_eq(path_escape(bytes, len, out, sizeof(out)), text);
}

Test(path, S87_nothing_that_drives_a_terminal_is_shown)
{
	shows("plain name.txt", 14, "plain name.txt");
	shows("a\nb", 3, "a\\x0ab");
	shows("\x1b[2J", 4, "\\x1b[2J");
	shows("back\\slash", 10, "back\\x5cslash");
	shows("\x7f", 1, "\\x7f");
	shows("gr\xc3\xbc\xc3\x9f", 6, "gr\xc3\xbc\xc3\x9f");
	shows("\xc2\x9b", 2, "\\xc2\\x9b"); /* CSI of the C1 range */
	shows("\xe2\x80\xae"
	      "cod",
	      6,
	      "\\xe2\\x80\\xae"
	      "cod");                                         /* right-to-left override */
	shows("\xc0\xaf", 2, "\\xc0\\xaf");                   /* overlong "/" */
	shows("\xed\xa0\x80", 3, "\\xed\\xa0\\x80");          /* a surrogate */
	shows("\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80"); /* past the last character */
	shows("cut\xe2\x82", 5, "cut\\xe2\\x82");
	shows("a\0b", 3, "a\\x00b");
}

Test(path, escaping_stays_inside_its_buffer)
{
	static const char bytes[] = "ab\x01\xc3\xbc"
				    "cd";
	char out[32];

	for (size_t size = 1; size < sizeof(out); size++) {
		memset(out, 0x5a, sizeof(out));
		path_escape(bytes, sizeof(bytes) - 1, out, size);
		cr_assert_lt(strlen(out), size);
		for (size_t i = size; i < sizeof(out); i++)
			cr_assert_eq(out[i], 0x5a);
	}
	out[0] = 'x';
	path_escape(bytes, sizeof(bytes) - 1, out, 0);
	cr_assert_eq(out[0], 'x');
}
