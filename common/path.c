/*
 * path.c - paths are bytes. The only bytes with a meaning are "/" and NUL; everything else is a
 * name. Nothing here simplifies a path: whether "a/.." is the directory one started from is for
 * whoever can look at "a".
 */
#include "common/path.h"

#include <string.h>

int path_validate(const void *bytes, size_t len)
{
	const char *text = bytes;
	size_t at = 0, begin, end;

	if (len > PATH_LEN_MAX)
		return -ENAMETOOLONG;
	if (len && memchr(text, 0, len))
		return -EINVAL;
	while (path_next(text, len, &at, &begin, &end))
		if (end - begin > PATH_NAME_MAX)
			return -ENAMETOOLONG;
	return 0;
}

int path_validate_name(const void *bytes, size_t len)
{
	if (len == 0 || path_is_dot(bytes, len) || path_is_dotdot(bytes, len))
		return -EINVAL;
	if (len > PATH_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(bytes, 0, len) || memchr(bytes, '/', len))
		return -EINVAL;
	return 0;
}

bool path_has_dotdot(const char *text, size_t len)
{
	size_t at = 0, begin, end;

	while (path_next(text, len, &at, &begin, &end))
		if (path_is_dotdot(text + begin, end - begin))
			return true;
	return false;
}

/* The length of the valid UTF-8 sequence at p, or 0. Control characters of the C1 range and
 * overlong forms are not valid. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
	uint32_t c;
	size_t n;

	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (n > left)
		return 0;
	c = p[0] & (0x7f >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < 0xa0 || (n == 3 && c < 0x800) || (n == 4 && c < 0x10000) || c > 0x10ffff)
		return 0;
	if (c >= 0xd800 && c <= 0xdfff)
		return 0;
	/* Marks that change the direction of text can make one name look like another. */
	if ((c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069))
		return 0;
	return n;
}

char *path_escape(const void *bytes, size_t len, char *out, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	const uint8_t *p = bytes;
	size_t used = 0;

	if (size == 0)
		return out;
	for (size_t i = 0; i < len;) {
		size_t n = p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\'
				   ? 1
				   : utf8_length(p + i, len - i);

		if (n) {
			if (used + n >= size)
				break;
			memcpy(out + used, p + i, n);
			used += n;
			i += n;
		} else {
			if (used + 4 >= size)
				break;
			out[used++] = '\\';
			out[used++] = 'x';
			out[used++] = hex[p[i] >> 4];
			out[used++] = hex[p[i] & 15];
			i++;
		}
	}
	out[used] = '\0';
	return out;
}
