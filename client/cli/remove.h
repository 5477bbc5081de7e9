/*
 * remove.h - many removals in flight: names are unlinked as they come, a directory once all below it
 * has been answered.
 *
 * The caller walks: remove_enter() for a directory, remove_name() for what it holds, remove_leave()
 * when all of that was named.
 */
#pragma once

#include "client/cli/pipeline.h"

struct remove_dir;
struct removal;

struct remover {
	struct cli *c;
	const struct cli_volume *v;
	/* What all paths begin with, and what that is when links on the way are followed; NULL: the same. */
	const char *shown, *real;
	/* An answer. result: 0 or -errno. Must not submit. */
	void (*removed)(void *userdata, const char *path, bool directory, int result);
	void *userdata;
	bool always; /* directories are tried although something in them stays */

	/* private */
	unsigned out;
	struct removal *removals; /* that are out */
	struct remove_dir *dirs;  /* all that are not done */
	struct remove_dir *ready; /* to be removed themselves */
	struct remove_dir *again; /* to be walked again */
};

/* above: the directory that holds it, or NULL. */
struct remove_dir *remove_enter(struct remover *r, struct remove_dir *above, const char *path);
void remove_name(struct remover *r, struct remove_dir *above, const char *path);
/*
 * remove: the directory itself too, unless something in it stays. several: it was read in more than one reply; where the kernel
 * counts positions in a directory, names are missed while others are removed, so that it may be found not to be empty.
 */
void remove_leave(struct remover *r, struct remove_dir *dir, bool remove, bool several);
/* Something in it (NULL: in none) stays that was not tried: then no attempt is made at the directory. */
void remove_keep(struct remove_dir *dir);
/* Until what is below the directory (NULL: everything) was answered. -errno where the server is silent. */
int remove_wait(struct remover *r, const struct remove_dir *dir);
/* After remove_wait(): a directory that has to be walked again, or NULL; its remove_leave() is to come. */
struct remove_dir *remove_again(struct remover *r);
const char *remove_path(const struct remove_dir *dir);
/* Answers that come later than this go nowhere. */
void remove_deinit(struct remover *r);
