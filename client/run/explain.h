/*
 * explain.h - --explain: the plan in words, or as JSON.
 */
#pragma once

#include <stdio.h>

#include "client/run/options.h"

/*
 * What the program would see, what holds it, and what becomes of its system calls. 0 = every layer that was not switched off holds, 1 =
 * one does not.
 */
int explain(const struct run_options *options, const struct run_plan *plan, FILE *out);
