/*
 * serve_error.c - see serve_error.h. The first words are the cause; a caller that adds its own
 * would only repeat it.
 */
#include "server/serve_error.h"

#include <stdarg.h>
#include <stdio.h>

int serve_fail(struct serve_error *error, int r, const char *format, ...)
{
	va_list ap;

	if (error->text[0])
		return r;
	va_start(ap, format);
	vsnprintf(error->text, sizeof(error->text), format, ap);
	va_end(ap);
	for (unsigned char *p = (unsigned char *)error->text; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
	return r;
}
