/*
 * workload.h - a way to reach a tree, for workload.c: one table of calls per kind of client. Paths are
 * relative to the tree. Results are 0 (or a count) or -errno.
 */
#pragma once

#include "client/bench/histogram.h"

enum { BLOCK = 4096, MEGABYTE = 1 << 20 };

struct backend {
	const char *name;
	int (*open)(const char *target);
	int (*stat)(const char *path);
	/* A whole file of BLOCK bytes; in as few requests as the client has. */
	int (*read_file)(const char *path, void *buf);
	/* ... that must not exist. */
	int (*write_file)(const char *path, const void *data);
	int (*unlink)(const char *path);
	/* All entries with their attributes: how many. */
	ssize_t (*list)(const char *path);
	/* One file at a time stays open. */
	int (*hold)(const char *path);
	ssize_t (*pread)(void *buf, size_t size, uint64_t offset);
	ssize_t (*pwrite)(const void *data, size_t size, uint64_t offset);
	void (*release)(void);
};

extern const struct backend backend_posix, backend_gofer, backend_9p;
#ifdef WITH_LIBNFS
extern const struct backend backend_nfs;
#endif
