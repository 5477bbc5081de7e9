/*
 * shell.h - the parts of gofer shell: commands (shell.c), its own verbs (shell_verbs.c), the line at a terminal (shell_edit.c), and
 * what it can be completed to (shell_complete.c).
 */
#pragma once

#include "client/cli/cli.h"

/* What every verb of a command line is for main.c; NULL for a name that is none. */
const struct verb *cli_verb(const char *name);
const struct verb *cli_verb_at(size_t i); /* NULL past the last */

/* ---- shell_verbs.c: cd, pwd, help, exit ... ---- */
const struct verb *shell_verb(const char *name);
const struct verb *shell_verb_at(size_t i);
/* Whether a verb of the command line makes sense in a session. */
bool shell_has(const struct verb *verb);
/* The current directory as NAME:/path, or NULL. malloc'ed. */
char *shell_where(void);
/* Where a session begins: in its volume, if there is only one. */
void shell_start(void);
void shell_forget(void);
extern bool shell_done;  /* exit was called */
extern int shell_status; /* of the last command */

/* ---- shell_complete.c ---- */
struct candidates {
	char **word;   /* unquoted */
	size_t n, all; /* kept, found */
	char *common;  /* what all that were found begin with, NULL without any */
};
void candidates_deinit(struct candidates *c);
/* What the last word of `text` (up to the cursor) may become; *ret_begin: where that begins. */
void shell_complete(struct cli *c, const char *text, size_t *ret_begin, struct candidates *ret);

/* ---- shell_edit.c ---- */
struct editor;
/* NULL where the terminal cannot be used. */
struct editor *editor_new(struct cli *c);
/* A line with its newline, borrowed until the next; NULL at the end, and where pipe_signal was set. prompt: NULL for a further line. */
const char *editor_line(struct editor *e, const char *prompt);
void editor_free(struct editor *e);
