/*
 * bench.h - gofer bench: what a server costs, beside what the same calls cost without one.
 *
 * A run has a tree of its own: a private server's, or a new directory below the operand of a server
 * that is there already. Where that tree is also reachable natively, every measurement has a native
 * one beside it, in rounds that take turns, so that a noisy second hits both; and beside single
 * calls a ping-pong of packets of the same sizes (floor.c), below which no server can be.
 *
 * Groups (latency.c, load.c, data.c, small.c, list.c, memory.c) consist of rows. Each asks
 * bench_want() before it measures a row, and hands the result to report.c at once: an interrupted
 * run has printed what it has. All but load.c works in one thread.
 */
#pragma once

#include <signal.h>
#include <sys/un.h>

#include "client/bench/histogram.h"
#include "client/cli/pipeline.h"

enum {
	BENCH_BATCH = 32, /* calls of one turn */
	BENCH_BLOCK = 4096,
	BENCH_MEGABYTE = 1 << 20,
	BENCH_NAME = 48,
};

/* ---- processes (process.c) ---- */

/* CPU time and context switches so far; of the server, where its processes can be seen. */
struct usage {
	uint64_t client_ns, server_ns, client_switches, server_switches;
};
struct process_set {
	pid_t *pids;
	clockid_t *clocks;
	size_t n, allocated;
};

/* ---- the tree (tree.c) ---- */

/* One depth's objects, by paths relative to the tree. */
struct spot {
	unsigned depth;       /* components of each path */
	char dir[BENCH_NAME]; /* "" or with its slash */
	char file[BENCH_NAME], link[BENCH_NAME], absent[BENCH_NAME], list[BENCH_NAME],
		socket[BENCH_NAME];
	/* Names that do not exist, for calls that make them. */
	char fresh[BENCH_BATCH][BENCH_NAME], moved[BENCH_BATCH][BENCH_NAME];
	struct sockaddr_un address; /* of `socket`, natively */
	int sock;                   /* that is bound to it */
};
enum { SPOT_SHALLOW, SPOT_DEEP, N_SPOTS };

enum bench_pass { PASS_LIST, PASS_COUNT, PASS_RUN };

struct bench {
	struct cli *c;
	/* options */
	const char *only, *native_dir, *dir;
	bool quick;
	double seconds; /* of a row */
	/* rows */
	enum bench_pass pass;
	unsigned n_rows, at_row;
	const char *group; /* of the row that is measured */
	char row[64];
	const char *headed; /* the group whose heading was printed last */
	bool progress;
	/* the server */
	pid_t server; /* of a private one, or the peer of the session's socket; 0 = not known */
	bool private_server;
	char *top;     /* the private server's directory: tree and socket */
	char *address; /* ... its socket */
	struct process_set processes;
	/* the tree */
	struct cli_volume *volume;
	char *base; /* its path in the volume, "" for the root */
	bool made_base;
	int native; /* the same directory, or -EBADF */
	char *native_path;
	struct gofer_namespace *plain,
		*donated; /* both stand in the tree; without and with descriptors */
	struct spot spots[N_SPOTS];
	uint8_t *block; /* BENCH_MEGABYTE that are not zero */
};

/* SIGINT, SIGTERM, SIGHUP; and what the first of them that came set. */
extern const int bench_signals[3];
extern volatile sig_atomic_t bench_ended;

/* ---- rows (bench.c) ---- */
/* Whether to measure this row now. */
bool bench_want(struct bench *b, const char *group, const char *format, ...) _printf_(3, 4);
/* Until when a row whose measurement begins now may last. */
uint64_t bench_deadline(const struct bench *b, double share);
static inline bool bench_over(uint64_t now, uint64_t deadline)
{
	return bench_ended || now >= deadline;
}

/* ---- server (server.c) ---- */
int bench_server_start(struct bench *b);
void bench_server_stop(struct bench *b);

/* ---- tree.c ---- */
int bench_tree_make(struct bench *b);
void bench_tree_remove(struct bench *b);
/* A namespace that stands in the tree. */
int bench_enter(struct bench *b, struct gofer_session *session, bool no_donate,
		struct gofer_namespace **ret_ns);
/* "n" files with 4 KiB or none in the new directory `name`, with many requests in flight. */
int bench_fill(struct bench *b, const char *name, size_t n, bool data);
/* The name of its i-th file, with the directory's. */
void bench_file_name(char ret_path[static BENCH_NAME], const char *name, size_t i);
void bench_clear(struct bench *b, const char *name);

/* ---- process.c ---- */
void process_set_read(struct process_set *set, pid_t top);
void process_set_deinit(struct process_set *set);
void usage_begin(const struct bench *b, struct usage *ret_begin);
/* Adds what was used since. */
void usage_end(const struct bench *b, const struct usage *begin, struct usage *sum);
/*
 * Bytes of memory that the server's processes have for themselves; shared pages count in part where the
 * kernel tells (*ret_exact), else not at all.
 */
uint64_t server_memory(const struct bench *b, bool *ret_exact);
/* Bytes that the kernel itself uses for objects, page tables and stacks: of the whole machine. */
uint64_t kernel_memory(void);

/* ---- floor.c ---- */
struct floor;
/* A ping-pong, or a toy server. NULL where there is no native tree, or no such thing for this transport. */
struct floor *floor_open(const struct bench *b, bool toy);
void floor_close(struct floor *f);
/* A round trip of packets of these sizes. */
int floor_ping(struct floor *f, size_t request, size_t reply);
/* A toy server's calls: one request, one answer, the path resolved below the tree. */
enum toy { TOY_NONE, TOY_STAT, TOY_READ };
int floor_toy(struct floor *f, enum toy toy, const char *path);

/* ---- groups ---- */
void bench_latency(struct bench *b);
void bench_threads(struct bench *b);
void bench_sessions(struct bench *b);
void bench_data(struct bench *b);
void bench_small(struct bench *b);
void bench_list(struct bench *b);
void bench_memory(struct bench *b);

/* Sessions beside the command's own, each with a namespace that stands in the tree. */
struct crowd {
	struct gofer_session **sessions;
	struct gofer_namespace **namespaces;
	size_t n;
};
/* Until there are n. */
int crowd_grow(struct bench *b, struct crowd *crowd, size_t n);
void crowd_deinit(struct bench *b, struct crowd *crowd);

/* ---- report.c ---- */
struct report_latency {
	const char *rpc;
	unsigned depth; /* 0 = no path */
	const struct histogram *gofer, *native, *ping,
		*toy; /* the last three may be NULL or empty */
	size_t request_bytes, reply_bytes;
	struct usage usage; /* of so many of its calls: */
	uint64_t n;
};
void report_latency(struct bench *b, const struct report_latency *r);

/* So many of something in a time. */
struct report_rate {
	const char *unit; /* "calls", "MiB", "files", "entries" */
	double amount, seconds;
	double native_amount, native_seconds;         /* 0 = none */
	const struct histogram *calls, *native_calls; /* of the single calls, or NULL */
	uint64_t n;                                   /* calls that usage is of */
	struct usage usage;
};
void report_rate(struct bench *b, const struct report_rate *r);

/* Anything else: some numbers with names and units. */
struct report_number {
	const char *name;  /* in JSON, with its unit at the end */
	const char *words; /* in the table, a format for `value` */
	double value;
};
void report_numbers(struct bench *b, const struct report_number *numbers, size_t n);
void report_skip(struct bench *b, const char *format, ...) _printf_(2, 3);
/* A row that failed: skipped where the server or the file system has no such thing, else an error. */
void report_failure(struct bench *b, int error);
void report_begin(struct bench *b);
void report_end(struct bench *b);
void report_progress(struct bench *b);
