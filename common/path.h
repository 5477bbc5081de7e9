/*
 * path.h - paths as bytes: validation and splitting. Knows nothing of any filesystem.
 */
#pragma once

#include "common/util.h"

enum {
	PATH_NAME_MAX = 255,
	PATH_LEN_MAX = 4095, /* without the NUL, as PATH_MAX counts */
};

/* A path: any bytes but NUL, at most PATH_LEN_MAX (-ENAMETOOLONG), each component at most
 * PATH_NAME_MAX. Empty is allowed. */
int path_validate(const void *bytes, size_t len);
/* One name: not empty, ".", "..", no "/", no NUL (-EINVAL), at most PATH_NAME_MAX bytes
 * (-ENAMETOOLONG). */
int path_validate_name(const void *bytes, size_t len);

/*
 * The next component of text[*at..len): skips slashes, sets begin and end, moves *at to end. False
 * at the end of the text.
 */
static inline bool path_next(const char *text, size_t len, size_t *at, size_t *ret_begin,
			     size_t *ret_end)
{
	size_t begin = *at, end;

	while (begin < len && text[begin] == '/')
		begin++;
	if (begin >= len)
		return false;
	end = begin;
	while (end < len && text[end] != '/')
		end++;
	*ret_begin = begin;
	*ret_end = *at = end;
	return true;
}

static inline bool path_is_dot(const char *name, size_t len)
{
	return len == 1 && name[0] == '.';
}

static inline bool path_is_dotdot(const char *name, size_t len)
{
	return len == 2 && name[0] == '.' && name[1] == '.';
}

/* Whether any component is "..". */
bool path_has_dotdot(const char *text, size_t len);
/*
 * Writes `bytes` to `out` for people and logs: printable ASCII and valid UTF-8 as they are,
 * everything else, and the backslash, as \xNN. Always terminates; at most size bytes.
 */
char *path_escape(const void *bytes, size_t len, char *out, size_t size);
