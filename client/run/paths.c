/*
 * paths.c - see paths.h.
 */
#include "client/run/paths.h"

#include <stdio.h>
#include <string.h>

#include "common/path.h"

bool path_below(const char *path, const char *top)
{
	size_t len = strcmp(top, "/") == 0 ? 0 : strlen(top);

	return strncmp(path, top, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

char *path_append(const char *a, const char *b)
{
	char *path;

	if (strcmp(a, "/") == 0)
		a = "";
	while (*b == '/')
		b++;
	if (!*b)
		return strdup(*a ? a : "/");
	return asprintf(&path, "%s/%s", a, b) < 0 ? NULL : path;
}

int path_normalise(const char *text, char **ret_path)
{
	size_t len = strlen(text), pos = 0, begin, end, used = 0;
	char *path;
	int r;

	if (text[0] != '/')
		return -EINVAL;
	r = path_validate(text, len);
	if (r < 0)
		return r;
	if (path_has_dotdot(text, len))
		return -EINVAL;
	path = malloc(len + 2);
	if (!path)
		return -ENOMEM;
	while (path_next(text, len, &pos, &begin, &end)) {
		if (path_is_dot(text + begin, end - begin))
			continue;
		path[used++] = '/';
		memcpy(path + used, text + begin, end - begin);
		used += end - begin;
	}
	if (!used)
		path[used++] = '/';
	path[used] = '\0';
	*ret_path = path;
	return 0;
}
