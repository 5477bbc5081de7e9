/*
 * fields.c - see fields.h.
 */
#include "common/fields.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int field_next(const char **text, char separator, char **ret_field)
{
	const char *p = *text;
	char *field = malloc(strlen(p) + 1), *q = field;

	if (!field)
		return -ENOMEM;
	for (; *p && *p != separator; p++) {
		if (*p == '\\' && p[1])
			p++;
		*q++ = *p;
	}
	*q = '\0';
	*text = *p ? p + 1 : NULL;
	*ret_field = field;
	return 0;
}
