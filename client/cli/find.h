/*
 * find.h - the expression of gofer find: what it is (find_parse.c makes it), and what it is evaluated
 * with (find.c).
 */
#pragma once

#include "client/cli/remove.h"
#include "client/cli/walk.h"

enum op {
	OP_OR,
	OP_AND,
	OP_NOT,
	OP_NAME,
	OP_INAME,
	OP_PATH,
	OP_TYPE,
	OP_SIZE,
	OP_EMPTY,
	OP_TIME,
	OP_NEWER,
	OP_PERM,
	OP_USER,
	OP_GROUP,
	OP_LINKS,
	OP_INUM,
	OP_PRINT,
	OP_PRINT0,
	OP_DELETE,
	OP_PRUNE,
	OP_QUIT,
	OP_TRUE
};

struct node {
	enum op op;
	struct node *left, *right;
	const char *text;
	bool unused; /* nothing depends on its value */
	char sign;   /* of a number: '+', '-' or 0 */
	uint64_t number;
	uint64_t unit;
	struct timespec time;
};

struct find {
	struct cli *c;
	char **words;
	int n, at;
	struct node *expression;
	unsigned min_depth, max_depth;
	bool depth_first, acts, quit, prune, asks_empty, deletes;
	time_t now;
	const struct cli_volume *v;
	struct walk *walk;
	struct remover remover;
};

/* The words of the expression, into f->expression. Ends the verb where they are none. */
void find_parse(struct find *f);
/* The times of -newer. -errno where they cannot be had: said already. */
int find_newer(struct find *f, struct node *n);
void find_free(struct node *n);
