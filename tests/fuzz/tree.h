/*
 * tree.h - the tree that fuzzed servers serve: small, in tmpfs, with one of everything, and made
 * anew after each input that changed it. Around it lie decoys that nobody may reach: same names,
 * but what they hold is the secret.
 *
 *     base/served/      the tree; tree.c has the list
 *     base/away/        where attackers move directories to
 *     base/outside/     secret, as "outside" beside the tree
 *     base/a, file ...  the secret under the tree's own names: what an absolute path reaches where
 *                       base is the root
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TREE_SECRET "UCNARY-d1f7-4e0b"

struct fuzz_tree {
	char base[200];
	int base_fd;   /* O_PATH */
	int listener;  /* of served/sock */
	bool is_root;  /* of our process */
	uint64_t seen; /* what outside looked like: tree_check_outside() */
};

/* Makes the base and the tree; aborts where that is impossible. The base is removed at exit. */
void tree_init(struct fuzz_tree *t);
/* Makes a host directory visible under base, by the same name (in a mount namespace of our own only!), until exit. */
bool tree_mount(const struct fuzz_tree *t, const char *path, bool writable);
/* As it was, whatever was done to it. */
void tree_reset(struct fuzz_tree *t);
/* The tree without anybody who listens at its socket, most of it uid 1000's if root made it; and base/twin, equal to it. */
void tree_reset_twin(struct fuzz_tree *t);
/* A descriptor of the tree's root. */
int tree_open(const struct fuzz_tree *t);
/* Something outside was changed: aborts. */
void tree_check_outside(struct fuzz_tree *t);
/* Whether (dev, ino) is one of those outside. */
bool tree_is_outside(const struct fuzz_tree *t, uint64_t dev, uint64_t ino);
/* What an attacker does to the tree: one of some exchanges, renames and replacements. */
void tree_move(const struct fuzz_tree *t, uint8_t which, uint8_t where);
/* How many file descriptors the process has. pipes: those too (sanitizers make some, for their symbolizer). */
unsigned tree_count_fds(bool pipes);
