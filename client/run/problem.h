/*
 * problem.h - an errno with words: what was tried, on what, why it failed and what to do. One line; whoever gives up prints it.
 */
#pragma once

#include "common/util.h"

enum { RUN_PROBLEM_MAX = 512 };

/* Writes the line and returns r. The first words are the cause: later ones are not written over them. */
int run_fail(char problem[static RUN_PROBLEM_MAX], int r, const char *format, ...) _printf_(3, 4);
