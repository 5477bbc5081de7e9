/*
 * paths.h - paths of hosts and guests as text: absolute, normalised, no links.
 */
#pragma once

#include "common/util.h"

/* Whether `path` is `top` or lies below it. */
bool path_below(const char *path, const char *top);
/* a + "/" + b, where either may be "/" or empty. malloc'ed; NULL without memory. */
char *path_append(const char *a, const char *b);
/* Absolute, single slashes, no ".", no slash at the end. -EINVAL: relative, or with ".."; -ENAMETOOLONG. */
int path_normalise(const char *text, char **ret_path);
