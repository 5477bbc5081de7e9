/*
 * put.h - the parts of gofer put: local objects and what becomes of them (put_item.c), requests and
 * their answers (put_request.c), large files (put_stream.c), and the loop with the operands
 * (put.c), where the mental model is.
 */
#pragma once

#include "client/cli/copy_local.h"

enum put_stage { MAKE, CHECK, XATTR, ATTR, RENAME, LIST };

struct dir;

/* A file, or the directory object of a struct dir. */
struct item {
	struct item *prev, *next;
	struct dir *dir;  /* that holds it; NULL for the top */
	struct dir *self; /* of a directory */
	char *name;       /* local */
	char *path;       /* remote */
	char *temp;       /* remote temporary name, while there is one */
	char *target;     /* of a symbolic link */
	struct stat st;
	struct copy_inode *inode;
	struct copy_xattr *xattrs;
	struct item *next_waiter;
	enum put_stage stage;
	unsigned pending;
	bool failed, again, no_owner;
	int source, dest; /* local file; donated descriptor */
	uint64_t handle;
};

struct dir {
	struct dir *parent;
	struct local_dir *local;
	struct item *item;
	unsigned pending;
	char **names; /* still to be looked at, from `at` */
	size_t n_names, at;
};

struct work {
	struct work *next;
	struct item *item;
};

struct put {
	struct cli *c;
	const struct cli_volume *v;
	struct copy_options o;
	struct copy_progress progress;
	struct local_tree tree;
	struct copy_inode *inodes;
	struct work *stack, *large;
	struct item *items, *ready;
	uint8_t *buffer; /* one small file */
	unsigned in_flight, n_large;
	bool no_xattr, no_owner;
};

/* ---- put_item.c ---- */
/* Says what went wrong with a remote path, unless it is that we were interrupted. */
void put_failed(struct put *p, int r, const char *path);
/* Notes that a stage of the item's is to begin. */
void put_push(struct put *p, struct item *item, enum put_stage stage);
void put_item_fail(struct put *p, struct item *item, int r);
/* It is done, or failed: what waits for it goes on, and it is freed. */
void put_item_end(struct put *p, struct item *item);
/* An answer is in; the last of a stage begins the next one. */
void put_answered(struct put *p, struct item *item, int result);
/* One local object on its way to `path`. */
void put_take(struct put *p, struct dir *dir, const char *name, const char *path, int dirfd,
	      const struct stat *st);
/* The stage that was to begin does not: the item has failed. */
void put_drop(struct put *p, struct item *item);
/* Stage LIST: a few names of a directory. */
void put_list_some(struct put *p, struct item *item);
/* Opens a regular file; from then on the item has the attributes of what is read, and its extended
 * ones. */
int put_open_source(struct put *p, struct item *item, int *ret_fd);
/* Whether a file goes by Open rather than by WriteFile. */
bool put_is_large(const struct put *p, const struct stat *st);
/* The remote object itself, under whatever name or handle it has now. */
void put_object_path(struct put *p, struct item *item, Gofer__Path *ret_path);
/* 0 or -errno of an answer; a Stop is -ELOOP: a link where none was a moment ago. */
int put_result(int result, const struct gofer_reply *reply);

/* ---- put_request.c ---- */
void put_run_stage(struct put *p, struct item *item);

/* ---- put_stream.c ---- */
/* Copies the contents of an item whose target was opened. */
void put_large(struct put *p, struct item *item);
