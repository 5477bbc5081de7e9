/*
 * subject.h - a server under attack: which program, how confined, on which ground.
 *
 * "Alone" takes the layers around the server's traversal away, with a seccomp filter that the
 * server inherits: no namespaces, no detached mounts, no Landlock. The program is the very same; what
 * is left between an attacker and the outside is how the server walks. A twin that walks unsafely
 * needs that, or it would be held by the other layers.
 */
#pragma once

#include <sys/types.h>

#include "client/stress/victim.h"

enum { SUBJECT_FDS_MAX = 256 };

struct program {
	const char *name; /* as given; argv[0], which tells the twin what to be */
	int fd;           /* opened before anything is mounted over it */
};
int program_open(struct program *p, const char *path);

struct subject {
	const char *label;
	const struct program *program;
	bool alone;
	bool no_openat2;
	unsigned threads; /* of a session; 0 = the server's default */
	struct ground ground;
	char address[160];
	pid_t pid;
	int log; /* what it printed: kept to be shown when it dies */
};

/* Starts the server and waits until it is ready. On failure, *ret_words says why. */
int subject_start(struct subject *s, const char *dir, char *ret_words, size_t size);
/* Ends it politely; the status it ended with, or -ETIMEDOUT after killing it. */
int subject_stop(struct subject *s);
/* What it printed so far. */
size_t subject_log(const struct subject *s, char *ret_text, size_t size);

/* The server's processes, children after parents. */
size_t process_tree(pid_t pid, pid_t *ret_pids, size_t max);

/* A session of this process, and handles of the tree's places, through volume `tree`. */
struct client {
	struct subject *subject;
	struct gofer_session *session;
	pid_t worker; /* the process that serves it; 0 where that could not be told */
	struct hand hand;
};
int client_open(struct client *c, struct subject *s);
void client_close(struct client *c);
/* Goes to another tree, or to the same one after it was reset: new handles. */
int client_enter(struct client *c, unsigned tree);
/* A new handle of this place alone. */
int client_find(struct client *c, enum place place);

/* The threads of a process run on this CPU only (-1: on all). */
void pin(pid_t pid, int cpu);

/*
 * Looks at the descriptors that a process holds now, as root does: counts those that are open on
 * objects outside. O_PATH does not count where the server has to climb to the root by itself.
 */
unsigned descriptors_outside(const struct subject *s, pid_t pid, char *ret_words, size_t size);
