/*
 * copy.h - what gofer get and gofer put share: options, progress, signals, native copying of
 * contents, and the files with several links that were met already.
 */
#pragma once

#include "client/cli/pipeline.h"

#define HASH_NONFATAL_OOM 0
#include <uthash.h>

enum {
	COPY_LARGE = 8,         /* large files open at a time: each may hold a donated descriptor */
	COPY_STREAM = 8,        /* Reads or Writes in flight for a large file without one */
	COPY_XATTR_MAX = 65536, /* of a value, and of a list of names */
	COPY_TEMP_NAME = 48,
};

struct copy_options {
	bool recursive, in_place, quiet, verbose, plain, no_xattr;
};

/* ---- copy_common.c ---- */
struct copy_progress {
	bool shown;
	uint64_t files, files_found, bytes, bytes_found;
	uint64_t start, last; /* ns */
	char mode;            /* 'y', 'n', 'a' (on a terminal) */
	int width;
};
void copy_progress_start(struct copy_progress *p, bool quiet);
void copy_progress_show(struct copy_progress *p, bool now);
/* A new line, for a message; the bar goes on below it. */
void copy_progress_break(struct copy_progress *p);
void copy_progress_end(struct copy_progress *p);

/* Parses the options that both have. */
void copy_parse(struct cli *c, struct copy_options *o, struct copy_progress *p);
extern const struct cli_option copy_options_table[];

/* How many requests are kept in flight: all that the server allows but some, for what cannot wait. */
unsigned copy_window(const struct cli *c);
/* From here on SIGINT, SIGTERM and SIGHUP set pipe_signal, and SIGPIPE is an error like others. */
void copy_catch_signals(void);
/* A name that begins with a dot and that nobody else uses. */
void copy_temp_name(char buf[static COPY_TEMP_NAME]);
/* Attributes that are copied: user.*, and POSIX ACLs. */
bool copy_xattr_wanted(const char *name);

struct copy_xattr {
	struct copy_xattr *next;
	char *name;
	void *value;
	size_t len;
};
void copy_xattrs_free(struct copy_xattr *list);

/* A file with several names: the first that was met is copied, the others are linked to it once it
 * is there. */
struct copy_inode {
	struct {
		uint64_t dev, ino;
	} key;
	bool done, failed;
	void *first;   /* what `done` made, the engine's */
	void *waiters; /* the engine's list */
	UT_hash_handle hh;
};
/* NULL for a file with one name; *ret_new where it was not there yet. */
struct copy_inode *copy_inode_get(struct copy_inode **table, uint64_t dev, uint64_t ino,
				  bool *ret_new);

/* ---- copy_data.c ---- */
/*
 * Copies `size` bytes of a regular file with the kernel's own copying, holes left out where
 * `sparse`; the target is empty. Shorter sources are copied as far as they go. -EINTR where
 * pipe_signal was set.
 */
int copy_native(int in, int out, uint64_t size, bool sparse, struct copy_progress *p);
/* write(2) until all is written at `offset`; runs of zeros are left as holes where `sparse`. */
int copy_write(int fd, const uint8_t *data, size_t size, uint64_t offset, bool sparse);
