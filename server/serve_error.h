/*
 * serve_error.h - an errno with words: what was tried, on what, why it failed and what to do. One
 * line, printed once by whoever gives up.
 */
#pragma once

#include "common/util.h"

struct serve_error {
	char text[1024];
};

/* Writes the line (control bytes become '?', so that it stays one line) and returns r. Keeps the
 * first line written. */
int serve_fail(struct serve_error *error, int r, const char *format, ...) _printf_(3, 4);
