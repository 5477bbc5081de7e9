/*
 * note.c - what is noted about each call: counters, and the audit's line.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "client/run/audit.h"
#include "client/run/call.h"
#include "client/run/filter.h"
#include "client/run/supervisor.h"

uint64_t call_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static void read_comm(const struct call *c, char comm[static 32])
{
	char path[PROC_PATH_MAX];
	_cleanup_fd_ int fd = -EBADF;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/comm", c->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, comm, 31);
	if (n > 0 && comm[n - 1] == '\n')
		n--;
	comm[MAX(n, 0)] = '\0';
}

static void audit(struct call *c, int64_t result, uint64_t nanoseconds)
{
	const struct syscall_info *info = syscall_find(c->nr);
	const struct path_arg *first = &c->w->path[0];
	const struct run_volume *volume = NULL;
	char comm[32];

	read_comm(c, comm);
	/* A relative path is in the volume of its directory, as far as the text says. */
	if (c->path && c->path[0] == '/')
		volume = call_volume(c, c->path);
	else if (c->path && first->dir)
		volume = call_volume(c, gofer_place_path(first->dir));
	audit_line(c->sv->audit,
		   &(struct audit_event){ .pid = c->tid,
					  .comm = comm,
					  .call = info ? info->name : "?",
					  .path = c->path,
					  .to = c->to,
					  .fs = volume ? volume->guest : NULL,
					  .native = result == CALL_CONTINUE,
					  .result = result < 0 && result > -4096 ? (int)result : 0,
					  .micros = nanoseconds / 1000 });
}

uint64_t call_note(struct call *c, int64_t result, uint64_t begun)
{
	struct supervisor *sv = c->sv;
	uint64_t now = call_clock(), nanoseconds = now - begun;

	if (c->nr < 0 || c->nr >= CALL_MAX_NR)
		return now;
	atomic_fetch_add_explicit(&sv->calls[c->nr], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&sv->nanoseconds[c->nr], nanoseconds, memory_order_relaxed);
	if (result == CALL_CONTINUE)
		atomic_fetch_add_explicit(&sv->continued[c->nr], 1, memory_order_relaxed);
	else if (result < 0 && result != CALL_SENT)
		atomic_fetch_add_explicit(&sv->failed[c->nr], 1, memory_order_relaxed);
	if (sv->audit)
		audit(c, result, nanoseconds);
	return now;
}

/* ---- --stats ---- */

static json_t *stats_json(struct supervisor *sv, const struct gofer_stats *rpcs)
{
	json_t *calls = json_object(), *requests = json_object();

	for (size_t nr = 0; nr < CALL_MAX_NR; nr++) {
		const struct syscall_info *info = sv->calls[nr] ? syscall_find((int)nr) : NULL;

		if (info)
			(void)json_object_set_new(calls, info->name,
						  json_pack("{s:I, s:I, s:I, s:I}", "calls",
							    (json_int_t)sv->calls[nr], "native",
							    (json_int_t)sv->continued[nr], "failed",
							    (json_int_t)sv->failed[nr],
							    "nanoseconds",
							    (json_int_t)sv->nanoseconds[nr]));
	}
	for (unsigned type = 0; type < ARRAY_SIZE(rpcs->requests); type++)
		if (rpcs->requests[type])
			(void)json_object_set_new(requests, gofer_rpc_name(type),
						  json_integer((json_int_t)rpcs->requests[type]));
	return json_pack("{s:o, s:o}", "calls", calls, "requests", requests);
}

static void print_table(struct supervisor *sv, const struct gofer_stats *rpcs, FILE *out)
{
	fprintf(out, "%-20s %10s %10s %10s %10s\n", "system call", "calls", "native", "failed",
		"us each");
	for (size_t nr = 0; nr < CALL_MAX_NR; nr++) {
		const struct syscall_info *info = sv->calls[nr] ? syscall_find((int)nr) : NULL;

		if (info)
			fprintf(out, "%-20s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10.1f\n",
				info->name, sv->calls[nr], sv->continued[nr], sv->failed[nr],
				(double)sv->nanoseconds[nr] / 1000 / (double)sv->calls[nr]);
	}
	fprintf(out, "%-20s %10s\n", "request", "count");
	for (unsigned type = 0; type < ARRAY_SIZE(rpcs->requests); type++)
		if (rpcs->requests[type])
			fprintf(out, "%-20s %10" PRIu64 "\n", gofer_rpc_name(type),
				rpcs->requests[type]);
}

void supervisor_print_stats(struct supervisor *sv, bool json, FILE *out)
{
	struct gofer_stats rpcs;

	gofer_session_get_stats(sv->session, &rpcs);
	if (json) {
		json_t *object = stats_json(sv, &rpcs);

		(void)json_dumpf(object, out, JSON_COMPACT);
		fputc('\n', out);
		json_decref(object);
	} else {
		print_table(sv, &rpcs, out);
	}
}
