/*
 * proof.h - what the proof programs share: saying what was shown, random numbers, and looking at a
 * server's processes from outside.
 *
 * A program exits 0 when all that it shows holds, 1 when something does not, 77 when it cannot be
 * shown here. The server runs already (lib.sh): GOFER_SERVER names its socket, GOFER_SERVER_PID its
 * first process. Everything is counted from /proc, not by asking the server.
 */
#pragma once

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

#include "common/util.h"
#include "client/gofer.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROOF_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PROOF_SANITIZED 1
#endif
#endif
#ifndef PROOF_SANITIZED
#define PROOF_SANITIZED 0 /* memory that sanitizers keep back counts as used */
#endif

enum { PROOF_SKIP = 77 };

static unsigned proof_failures;

_printf_(2, 3) static inline bool check(bool holds, const char *format, ...)
{
	va_list ap;

	printf("%s ", holds ? "  ok  " : "  FAIL");
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	proof_failures += !holds;
	return holds;
}

_printf_(1, 2) __attribute__((noreturn)) static inline void die(const char *format, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "FAIL: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

static inline int proof_end(void)
{
	if (proof_failures)
		printf("%u checks failed\n", proof_failures);
	return proof_failures ? 1 : 0;
}

/* "-n 100" style: the number after `name`, else `fallback`. */
static inline uint64_t option_number(int argc, char **argv, const char *name, uint64_t fallback)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return strtoull(argv[i + 1], NULL, 0);
	return fallback;
}

static inline bool option_set(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return false;
}

static inline const char *server_name(void)
{
	const char *s = getenv("GOFER_SERVER");

	if (!s)
		die("GOFER_SERVER is not set: run this through its script");
	return s;
}

static inline struct gofer_session *session_connect(void)
{
	struct gofer_session *s;
	int r = gofer_session_open(server_name(), NULL, &s);

	if (r < 0)
		die("connect to %s: %s", server_name(), gofer_message());
	return s;
}

static inline uint32_t filesystem_id(struct gofer_session *s, const char *name)
{
	struct gofer_filesystem fs;

	if (gofer_session_find_filesystem(s, name, &fs) < 0)
		die("the server has no filesystem \"%s\"", name);
	return fs.fs_id;
}

/* A namespace with filesystem `name` as its root. */
static inline struct gofer_namespace *namespace_of(struct gofer_session *s, const char *name,
						   const struct gofer_mount_options *options)
{
	struct gofer_namespace *ns;

	if (gofer_namespace_new(&ns) < 0 ||
	    gofer_mount(ns, s, filesystem_id(s, name), "/", options) < 0)
		die("mount of %s: %s", name, gofer_message());
	return ns;
}

static inline uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64*: small, seeded, the same everywhere. */
static inline uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static inline uint32_t random_below(uint64_t *state, uint32_t n)
{
	return n ? (uint32_t)((random_next(state) >> 33) % n) : 0;
}

/* ---- the server's processes ---- */

struct process {
	pid_t pid;
	unsigned long fds; /* 0 where we may not look */
	unsigned long rss; /* KiB */
	unsigned long threads;
};

enum { MAX_PROCESSES = 1024 };

struct process_list {
	struct process at[MAX_PROCESSES];
	size_t n;
};

static inline unsigned long count_entries(const char *path)
{
	unsigned long n = 0;
	DIR *d = opendir(path);

	if (!d)
		return 0;
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static inline unsigned long process_field(pid_t pid, const char *name)
{
	char path[64], line[256];
	unsigned long value = 0;
	size_t n = strlen(name);
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, n) && line[n] == ':')
			value = strtoul(line + n + 1, NULL, 10);
	if (f)
		fclose(f);
	return value;
}

/* The server's first process and all below it, with what each holds. */
static inline void server_processes(struct process_list *list)
{
	const char *front = getenv("GOFER_SERVER_PID");

	memset(list, 0, sizeof(*list));
	if (!front)
		die("GOFER_SERVER_PID is not set");
	list->at[list->n++].pid = (pid_t)strtol(front, NULL, 10);
	for (size_t i = 0; i < list->n; i++) {
		struct process *p = &list->at[i];
		char path[320];
		DIR *tasks;

		snprintf(path, sizeof(path), "/proc/%d/fd", p->pid);
		p->fds = count_entries(path);
		p->rss = process_field(p->pid, "VmRSS");
		p->threads = process_field(p->pid, "Threads");
		snprintf(path, sizeof(path), "/proc/%d/task", p->pid);
		tasks = opendir(path);
		for (const struct dirent *e; tasks && (e = readdir(tasks));) {
			char children[512];
			FILE *f;
			int child;

			if (!isdigit((unsigned char)e->d_name[0]))
				continue;
			snprintf(children, sizeof(children), "%.64s/%.32s/children", path,
				 e->d_name);
			f = fopen(children, "re");
			while (f && list->n < MAX_PROCESSES && fscanf(f, "%d", &child) == 1)
				list->at[list->n++].pid = child;
			if (f)
				fclose(f);
		}
		if (tasks)
			closedir(tasks);
	}
}

/* kill -9 of all of them: stopped first, so that none makes another one meanwhile. When this returns they are gone, and hold nothing. */
static inline void server_kill(void)
{
	struct process_list list = { .n = 0 };
	size_t before;

	do {
		before = list.n;
		server_processes(&list);
		for (size_t i = 0; i < list.n; i++)
			(void)kill(list.at[i].pid, SIGSTOP);
	} while (list.n != before);
	for (size_t i = 0; i < list.n; i++) {
		struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, list.at[i].pid, 0),
				    .events = POLLIN };

		if (p.fd < 0)
			continue; /* it has ended */
		(void)kill(list.at[i].pid, SIGKILL);
		while (poll(&p, 1, -1) < 0 && errno == EINTR)
			;
		close(p.fd);
	}
}

static inline const struct process *process_find(const struct process_list *list, pid_t pid)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->at[i].pid == pid)
			return &list->at[i];
	return NULL;
}

static inline struct process process_sum(const struct process_list *list)
{
	struct process sum = { 0 };

	for (size_t i = 0; i < list->n; i++) {
		sum.fds += list->at[i].fds;
		sum.rss += list->at[i].rss;
		sum.threads += list->at[i].threads;
	}
	return sum;
}

/* Waits until no more than `n` processes of the server are left (the end of a process that is not
 * ours is an event only for its parent: look again every few milliseconds). False at the deadline.
 */
static inline bool server_settles(size_t n, uint64_t within_ms, struct process_list *ret_list)
{
	uint64_t deadline = clock_ns() + within_ms * 1000000;
	const struct timespec pause = { .tv_nsec = 2000000 };

	for (;;) {
		server_processes(ret_list);
		if (ret_list->n <= n)
			return true;
		if (clock_ns() > deadline)
			return false;
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
}
