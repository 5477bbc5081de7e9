/*
 * audit.h - what the program asked for and what it got: one JSON line per decision.
 *
 *     {"time": 1700000000.123456, "pid": 7, "comm": "cat", "call": "openat", "path": "/etc/shadow",
 *      "fs": "v1", "result": "EACCES", "micros": 41}
 *     {"time": 1700000001.000002, "dropped": 1234}
 *
 * `result` is 0, the name of an errno, or "native" where the kernel was let decide; "to" is the second path of rename and the like. Bytes of a
 * path or a comm that are no printable UTF-8, and the backslash, are written \xNN (which in JSON
 * has two backslashes). What a flood of calls would write beyond AUDIT_BYTES_PER_SECOND is dropped
 * and counted, as is what a pipe or a disk does not take: nothing here waits.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	AUDIT_BYTES_PER_SECOND = 1 << 20,
	AUDIT_BURST = 8 << 20, /* saved up in quiet times */
};

struct audit;

struct audit_event {
	pid_t pid;
	const char *comm;
	const char *call;
	const char *path; /* NULL: the call has none */
	const char *to;   /* NULL: no second one */
	const char *fs;   /* NULL: in no volume */
	int result;       /* 0 or -errno */
	bool native;      /* the kernel went on with it, and decides */
	uint64_t micros;
};

/*
 * Appends to `path`, which is made with mode 600 if need be. -ENXIO: a FIFO that nobody reads.
 * Whether the file lies where the program could change it is the caller's to check.
 */
int audit_open(const char *path, struct audit **ret_audit);
/* Thread-safe; allocates nothing and never blocks on a pipe. Nothing for NULL. */
void audit_line(struct audit *audit, const struct audit_event *event);
/* Says what is not said yet about dropped lines; returns how many were dropped in all. NULL: 0. */
uint64_t audit_close(struct audit *audit);
