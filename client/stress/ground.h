/*
 * ground.h - the ground that a stress run is fought on: two served trees, and beside them what
 * nobody may reach.
 *
 *     BASE/                 "above the root"; moved directories land here or in landing
 *       tree0/ tree1/       served as "deny" and "allow" (special=deny, special=allow)
 *         a/b/c/d/          every component has partners that it changes places with (move.c)
 *         m/deep/x/y/       moved out of the tree and back
 *         r/                removed, and a symbolic link in its place
 *         mnt/              a part of outside is mounted here and unmounted
 *       outside/ landing/   the same names, with canaries in them
 *
 * The ground lies on a tmpfs in a mount namespace of the run's own, so that nothing of it shows
 * elsewhere and all of it is gone with the last process; or in a new directory below --dir.
 */
#pragma once

#include <limits.h>
#include <sys/stat.h>

#include "common/util.h"

enum place {
	PLACE_ROOT,
	PLACE_A,
	PLACE_B,
	PLACE_C,
	PLACE_D,
	PLACE_M,
	PLACE_Y,      /* m/deep/x/y */
	PLACE_SERVED, /* those before it lie in the tree */
	PLACE_ABOVE = PLACE_SERVED,
	PLACE_LANDING,
	PLACE_COUNT,
};
extern const char *const place_paths[PLACE_SERVED];

struct tree {
	const char *volume; /* the name that it is served under */
	char path[256];
	int places[PLACE_COUNT]; /* owned, O_PATH; found again by tree_reset() */
};

enum { TREE_DENY, TREE_ALLOW, TREE_COUNT };

enum { OUTSIDE_MAX = 96, TOKEN_LEN = 23 };

/* What an object outside was when it was made. */
struct outside_object {
	char path[96]; /* below BASE */
	bool loose;    /* directories that attackers move things into, files that they link to */
	struct stat st;
	uint64_t hash;
};

struct ground {
	char top[128];  /* what is removed in the end */
	char path[128]; /* BASE, two directories below */
	int fd;
	bool private_mount; /* mounts can be made here, and nobody sees them */
	bool devices;       /* device nodes can be made here */
	bool xattrs;
	char token[TOKEN_LEN + 1]; /* in everything outside that can be read */
	struct tree trees[TREE_COUNT];
	int sockets[2];                 /* bound outside: who reaches them can connect */
	struct outside_object *outside; /* shared with the run's processes */
	_Atomic uint32_t *n_outside;
};

/*
 * Gives this process, single-threaded so far, a user namespace of its own (unless it is root) and
 * a mount namespace, and a tmpfs there: *ret_dir is a directory of it. -errno where the system does
 * not let us.
 */
int ground_private(char *ret_dir, size_t size);

/* Makes BASE = dir/name and all that is in it. */
int ground_init(struct ground *g, const char *dir, const char *name, bool private_mount);
void ground_deinit(struct ground *g);
/* Makes the outside again, canaries and all. */
int ground_reset_outside(struct ground *g);
/* Makes a tree again. Nobody may be using it. The root stays the directory it was. */
int tree_reset(struct ground *g, struct tree *t);
/* Finds the places of a tree that another process has reset. */
int tree_find(const struct ground *g, struct tree *t);

/* Whether that is an object outside. */
bool ground_is_outside(const struct ground *g, uint64_t dev, uint64_t ino);
bool ground_has_token(const struct ground *g, const void *data, size_t len);
/*
 * Whether everything outside is what it was: 0, or 1 with words about the first difference. `read`:
 * files are also read, however little their times say.
 */
int ground_audit(const struct ground *g, bool read, char *ret_words, size_t size);

/* Removes all below the directory, following nothing. */
void remove_below(int dirfd);
