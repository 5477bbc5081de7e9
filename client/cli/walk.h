/*
 * walk.h - the objects of a tree in the order of a depth-first walk, with the listings of the
 * directories to come already asked for.
 *
 *	struct walk *w = walk_new(c, ns, path, flags, &st);
 *
 *	while (walk_next(w, &at) != WALK_END)
 *		...
 *	walk_free(w);
 *
 * An object comes before what is in it (WALK_ENTRY); a directory that was entered comes once more
 * when all below it has come (WALK_LEFT). Entries come in the order in which the server lists them.
 */
#pragma once

#include "client/cli/cli.h"

struct walk;

enum walk_kind {
	WALK_END,
	WALK_ENTRY,
	WALK_LEFT,
	WALK_FAILED, /* a directory could not be read (to its end): `error`; WALK_LEFT follows */
};

/* All borrowed until the next call. */
struct walk_at {
	enum walk_kind kind;
	const char *path, *name; /* in the volume; the name of the root is its last component */
	const struct stat *st;   /* NULL where the entry vanished meanwhile */
	const char *target;      /* of a symbolic link below the root */
	bool directory;
	bool enters;    /* WALK_ENTRY: it will be entered, if walk_skip() does not say otherwise */
	unsigned depth; /* of the root: 0 */
	int error;
	size_t entries; /* WALK_LEFT: how many were listed */
	bool several;   /* ... in more than one reply */
	void **user;    /* the caller's pointer: of a directory ... */
	void *above;    /* ... and of the one that holds this object */
};

/* flags: of gofer_opendir(), for the root; below it no link is followed. st: of the root. */
struct walk *walk_new(struct cli *c, struct gofer_namespace *ns, const char *path, int flags,
		      const struct stat *st);
/* Directories at this depth are not entered. */
void walk_max_depth(struct walk *w, unsigned depth);
/* Directories are read to their end before their entries come: for those who change them meanwhile and
 * could miss some otherwise. The memory in use is then not bounded. */
void walk_whole(struct walk *w);
enum walk_kind walk_next(struct walk *w, struct walk_at *ret_at);
/* The object that was WALK_ENTRY just now is not entered, if it is a directory. */
void walk_skip(struct walk *w);
/* Whether the directory that was WALK_ENTRY just now holds nothing: waits for its listing. 1, 0, -errno. */
int walk_is_empty(struct walk *w);
void walk_free(struct walk *w);
