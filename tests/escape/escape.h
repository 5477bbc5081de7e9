/*
 * escape.h - what the families of the escape suite share.
 *
 * The program runs inside the sandbox and is hostile: it makes raw system calls, and every line that
 * it prints is one attempt:
 *
 *     ok      paths: open /proc/self/root/...: ENOENT for both
 *     LIMIT   exec-existence: ...        a documented limit of this mode; SECURITY.md has its name
 *     ESCAPE  race: openat: ...
 *
 * Outside of every volume the test script has made a tree of canaries, and compares it with itself
 * afterwards; beside it, nothing, under a name as long. Whatever is asked about both must have the
 * same answer.
 *
 *     OUTSIDE/secret     31337 bytes that begin with the token; xattr user.canary where there are any
 *     OUTSIDE/dir/canary, OUTSIDE/empty/, OUTSIDE/link -> the token
 *     OUTSIDE/prog       a program that exits with 66;  OUTSIDE/sock, dgram: sockets of the host
 *     NOWHERE/...        does not exist
 *     RW/in/...          the same names, inside: what the program may have
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	SECRET_SIZE = 31337,
	OUTSIDE_STATUS = 66,
	INSIDE_STATUS = 7,
	MEMORY_SIZE = 4096, /* of a path or an address, as calls find it in memory */
};

struct world {
	const char *outside, *nowhere; /* host paths, equally long */
	const char *rw, *rw2, *ro;     /* volumes, as the program sees them */
	const char *token;             /* what must not be read */
	const char *abstract;          /* name of an abstract socket of the host, without the NUL */
	int port;                      /* TCP, on the host's loopback */
	pid_t supervisor;              /* as the host numbers it */
	unsigned rounds;               /* of each race */
};
extern struct world world;

/* Whether a layer holds in this run, by its name ("user", "mount" ...). */
bool has_layer(const char *name);

/* ---- verdicts ---- */

__attribute__((format(printf, 1, 2))) void ok(const char *format, ...);
__attribute__((format(printf, 1, 2))) void escape(const char *format, ...);
/* `name`: as SECURITY.md calls it. */
__attribute__((format(printf, 2, 3))) void limit(const char *name, const char *format, ...);
/* ok() or escape(). */
__attribute__((format(printf, 2, 3))) void verdict(bool escaped, const char *format, ...);
/* A call must fail, with whatever errno. */
void must_fail(const char *what, long result);
/* The suite itself is broken. */
__attribute__((format(printf, 1, 2), noreturn)) void broken(const char *format, ...);

/* ---- small things ---- */

/* Joins into one of several static buffers. */
__attribute__((format(printf, 1, 2))) const char *text(const char *format, ...);
const char *errno_text(long result); /* "ENOENT" of the current errno, "0" if result >= 0 */
bool contains(const void *haystack, size_t size, const void *needle, size_t len);
/* What a descriptor gives to read has the token, or a directory has the canary. */
bool fd_shows_outside(int fd);
void write_file(const char *path, const char *content);
/* Asks the script to do something outside, and waits until it is done; false: it could not. */
bool ask_host(const char *request);
/* Runs f in a child; its exit status, or 128+signal. */
int in_child(int (*f)(void *), void *userdata);

/* ---- families ---- */

void family_paths(void);
void family_race(void);
void family_swap(void);
void family_descriptors(void);
void family_readonly(void);
void family_exec(void);
void family_abi(void);
void family_privileged(void);
void family_processes(void);
void family_sockets(void);
void family_proc(void);
void family_flood(void);
/* Standard input is a file, or a directory, of the host. */
void family_inherited(void);
