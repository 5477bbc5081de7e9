/*
 * syscalls.c - the rows of syscalls.def as data, ordered by number.
 */
#include "client/run/filter.h"

#include "common/util.h"

const struct syscall_info syscall_table[] = {
#define SYSCALL_ALLOW(nr, name) { #name, nr, SYSCALL_ALLOW, 0, 0, false },
#define SYSCALL_NOTIFY(nr, name) { #name, nr, SYSCALL_NOTIFY, 0, 0, true },
#define SYSCALL_DENY(nr, name, error) { #name, nr, SYSCALL_DENY, error, 0, false },
#define SYSCALL_LAYER(nr, name, layer, error) \
	{ #name, nr, SYSCALL_LAYER, error, RUN_LAYER_##layer, false },
#define SYSCALL_LAYER_NOTIFY(nr, name, layer) \
	{ #name, nr, SYSCALL_LAYER, 0, RUN_LAYER_##layer, true },
#define SYSCALL_SPECIAL(nr, name) { #name, nr, SYSCALL_SPECIAL, 0, 0, false },
#define SYSCALL_SPECIAL_NOTIFY(nr, name) { #name, nr, SYSCALL_SPECIAL, 0, 0, true },
#include "client/run/syscalls.def"
};
const size_t syscall_table_size = ARRAY_SIZE(syscall_table);

static int compare(const void *key, const void *row)
{
	return *(const int *)key - ((const struct syscall_info *)row)->nr;
}

const struct syscall_info *syscall_find(int nr)
{
	return bsearch(&nr, syscall_table, syscall_table_size, sizeof(syscall_table[0]), compare);
}
