/*
 * recipe.h - for each row of syscalls.def that reaches the supervisor: how to make the call with a
 * path of the attacker's choice. A row without a recipe does not link.
 */
#pragma once

#include "tests/escape/escape.h"

enum arg_kind {
	ARG_VALUE,
	ARG_PATH,    /* of a file that exists outside: OUTSIDE/secret */
	ARG_DIR,     /* of a directory */
	ARG_EMPTY,   /* of an empty directory */
	ARG_LINK,    /* of a symbolic link */
	ARG_PROG,    /* of a program */
	ARG_NEW,     /* of what does not exist, in a directory that does */
	ARG_ADDRESS, /* a sockaddr_un: OUTSIDE/sock */
	ARG_NEW_ADDRESS,
	ARG_AT,     /* AT_FDCWD, or a directory's descriptor that goes with a relative path */
	ARG_BUFFER, /* MEMORY_SIZE bytes */
	ARG_INSIDE, /* of a file of RW that may go */
	ARG_INSIDE_NEW,
	ARG_SOCKET, /* stream, unconnected */
	ARG_RO_FD,  /* a file of the read-only volume */
	ARG_INOTIFY,
	ARG_VECTOR,     /* argv */
	ARG_HOW,        /* struct open_how; value: index */
	ARG_XATTR,      /* struct xattr_args */
	ARG_SUPERVISOR, /* the number of its process */
	ARG_SIGINFO,
	ARG_PIDFD, /* of the supervisor */
};

struct arg {
	enum arg_kind kind;
	uintptr_t value;
};

enum {
	GIVES_FD = 1 << 0,
	IN_CHILD = 1 << 1,         /* changes or replaces the process */
	BY_DESCRIPTOR = 1 << 2,    /* names nothing: must fail as it is */
	MISSING_IS_OTHER = 1 << 3, /* not for comparing with what does not exist */
};

struct recipe {
	int nr;
	const char *name; /* of the call */
	const char *what; /* of the variant */
	unsigned flags;
	struct arg args[6];
};

/* The variants of a call, ended by one without name. */
struct recipes {
	const char *name;
	const struct recipe *variants;
};
extern const struct recipes all_recipes[];
extern const size_t n_recipes;

/* Which argument is the attacker's; NULL: none (BY_DESCRIPTOR). */
const struct arg *recipe_target(const struct recipe *r);
/* The name of the recipe's object below a tree: "secret". Another one each time for ARG_NEW. */
const char *recipe_object(const struct recipe *r);
/* The path as the call finds it in memory (text, or a sockaddr_un). */
void recipe_memory(const struct recipe *r, const char *path, void *memory);

struct outcome {
	long result;
	int error;
	bool outside; /* what came back is of the canaries */
	bool entered; /* the working directory is one of the host's, though nothing of it can be had */
};
/* `memory` may change under it. `at`: for ARG_AT. */
struct outcome recipe_run(const struct recipe *r, const void *memory, int at);
