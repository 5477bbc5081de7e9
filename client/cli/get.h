/*
 * get.h - the parts of gofer get: what is on its way (get_item.c), requests and their answers
 * (get_request.c), large files (get_stream.c), and the loop with the operands (get.c), where the
 * mental model is.
 */
#pragma once

#include "client/cli/copy_local.h"

struct dir {
	struct dir *parent;
	struct local_dir *local;
	char *path; /* remote */
	struct stat st;
	struct copy_xattr *xattrs;
	unsigned pending; /* entries, listings and attributes that are not done */
	uint64_t cookie;
	bool failed; /* to be made or opened: nothing to finish */
	bool keep;   /* its attributes are not ours to set */
};

struct item {
	struct item *prev, *next; /* of all that are alive, for cleaning up */
	struct dir *dir;
	char *name; /* local */
	char *path; /* remote */
	struct stat st;
	struct copy_inode *inode;
	struct copy_xattr *xattrs;
	struct item *next_waiter;
	int fd;
	char temp[COPY_TEMP_NAME]; /* in the directory; empty = none */
	unsigned pending;
	bool failed;
	int source;      /* a donated descriptor, or -EBADF */
	uint64_t handle; /* where none was donated */
};

/* Where the first of several links went. */
struct place {
	struct local_dir *dir;
	char *name;
};

enum get_what { LIST, FETCH, LIST_XATTR, GET_XATTR };

struct work {
	struct work *next;
	enum get_what what;
	struct dir *dir;   /* of a directory, or */
	struct item *item; /* of a file */
	char *name;        /* of an attribute */
};

struct get {
	struct cli *c;
	const struct cli_volume *v;
	struct copy_options o;
	struct copy_progress progress;
	struct local_tree tree;
	struct copy_inode *inodes;
	struct work *stack, *large; /* `large` are opened only so many at a time */
	struct item *items, *ready; /* ready: opened, to be copied by the main loop */
	unsigned in_flight, n_large;
	bool no_xattr; /* the volume has none */
};

/* ---- get_item.c ---- */
/* Says what went wrong with a remote path, unless it is that we were interrupted. */
void get_failed(struct get *g, int r, const char *path);
/* Notes something to do; name is an attribute's. */
void get_push(struct get *g, enum get_what what, struct dir *dir, struct item *item,
	      const char *name);
/* Takes the reference on `local`. It starts with one thing pending: its listing. */
struct dir *get_dir_new(struct dir *parent, struct local_dir *local, const char *path,
			const struct stat *st);
/* One of what was pending is done; the last gives the directory its attributes and frees it. */
void get_dir_done(struct get *g, struct dir *d);
/* One object that the server says is there. target: of a symbolic link. */
void get_take(struct get *g, struct dir *dir, const char *name, const char *path,
	      const struct stat *st, const char *target);
/* Opens the local file, under a temporary name unless in place. */
int get_item_create(struct get *g, struct item *item);
void get_item_fail(struct get *g, struct item *item, int r);
/* An answer of the item's is in (or will not come); the last gives it its attributes and its name,
 * and frees it. */
void get_item_done(struct get *g, struct item *item);
void get_item_drop_temp(struct get *g, struct item *item);
void get_item_free(struct get *g, struct item *item);
/* Makes the item another name of the copy that is there already. */
int get_link_local(struct get *g, struct item *item);
bool get_is_sparse(const struct stat *st);
void get_attr_to_stat(const Gofer__Attr *a, struct stat *ret_st);
/* 0 or -errno of an answer; a Stop is -ELOOP: a link where none was a moment ago. */
int get_result(int result, const struct gofer_reply *reply);

/* ---- get_request.c ---- */
void get_run_work(struct get *g, struct work *w);
/* The work is not done: what it belongs to has failed. */
void get_drop_work(struct get *g, struct work *w);

/* ---- get_stream.c ---- */
/* Copies the contents of an item that was opened, and is done with it. */
void get_large(struct get *g, struct item *item);
