/*
 * private.h - the directory of one run: mode 0700, in TMPDIR or /tmp, gone afterwards.
 *
 * Whoever lives holds a lock on it. A run that was killed leaves its directory behind without one, and the next run in the same
 * place removes it.
 *
 *     root/    "/" where no root file system was given: mount points and links
 *     tmp/     /tmp        shm/     /dev/shm
 *     empty/, nothing      what covers a directory or file that nobody is to see
 */
#pragma once

#include "client/run/options.h"

/* *ret_lock: held as long as it is open. */
int private_init(const struct run_options *options, char **ret_dir, int *ret_lock,
		 char problem[static RUN_PROBLEM_MAX]);
/* "dir/name", malloc'ed; NULL without memory. */
char *private_path(const char *dir, const char *name);
/* mkdir -p of `path` (relative) below `dir`. -ELOOP where it leads through a link, -ENOTDIR. */
int private_mkdir(const char *dir, const char *path);
