/*
 * buffer.h - large memory of which nothing is there until it is used: not even a page for malloc's own notes, which each of
 * a session's buffers would cost.
 */
#pragma once

#include <stddef.h>

void *buffer_new(size_t size); /* zeroed or not; NULL without memory */
void buffer_free(void *buffer, size_t size);
