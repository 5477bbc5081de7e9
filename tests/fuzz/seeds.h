/*
 * seeds.h - seeds of the targets, written one file each into the generator's directory.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

void seed_write(const char *name, const uint8_t *data, size_t size);
