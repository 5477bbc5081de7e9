/*
 * problem.c - see problem.h. Control characters of paths become '?', so that the line stays one.
 */
#include "client/run/problem.h"

#include <stdarg.h>
#include <stdio.h>

int run_fail(char problem[static RUN_PROBLEM_MAX], int r, const char *format, ...)
{
	va_list ap;

	if (problem[0])
		return r;
	va_start(ap, format);
	vsnprintf(problem, RUN_PROBLEM_MAX, format, ap);
	va_end(ap);
	for (unsigned char *p = (unsigned char *)problem; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
	return r;
}
