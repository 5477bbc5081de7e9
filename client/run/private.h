/*
 * private.h - the directory of one run: mode 0700, in TMPDIR or /tmp, gone afterwards.
 *
 *     root/    "/" where no root file system was given: mount points and links
 *     tmp/     /tmp        shm/     /dev/shm
 *     empty/, nothing      what covers a directory or file that nobody is to see
 */
#pragma once

#include "client/run/options.h"

int private_init(const struct run_options *options, char **ret_dir,
		 char problem[static RUN_PROBLEM_MAX]);
/* "dir/name", malloc'ed; NULL without memory. */
char *private_path(const char *dir, const char *name);
/* mkdir -p of `path` (relative) below `dir`. -ELOOP where it leads through a link, -ENOTDIR. */
int private_mkdir(const char *dir, const char *path);
