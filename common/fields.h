/*
 * fields.h - text that is taken apart at a separator, where a backslash makes the next character one like any other: "HOST:NAME:ro,xdev".
 */
#pragma once

/*
 * Takes one field off *text up to an unescaped separator, with escapes resolved (malloc'ed); *text becomes NULL past the last. -ENOMEM.
 */
int field_next(const char **text, char separator, char **ret_field);
