/*
 * words.h - the words of a command, quoted as in a shell.
 *
 *     plain\ word   'as it is'   "\" and \\ only"   $'\n \t \x1b \033'   # comment
 *
 * A newline or an unquoted ';' ends a command. There are no variables, patterns, pipes or redirections: the first two are ordinary
 * characters, an unquoted '|', '&', '<' or '>' is an error.
 */
#pragma once

#include "common/util.h"

struct words {
	char **word; /* n words, then NULL */
	size_t n;
	size_t last; /* where in the text the last one begins */
	bool ended;  /* something that ends a word came after it */
};

enum { WORDS_OPEN = 1 };

/*
 * The first command of text[0..]. 0; WORDS_OPEN where a quote is not closed, or the last character is a backslash: the words are as if
 * the text ended all quotes; -EINVAL for a character that means nothing, which *ret_bad then is. *ret_end: where the next command
 * begins, if text is left there.
 */
int words_parse(const char *text, struct words *ret_words, size_t *ret_end, char *ret_bad);
void words_deinit(struct words *w);
#define _cleanup_words_ _cleanup_(words_deinit)
