/*
 * audit.c - lines are put together in one buffer, under the one lock, and written at once, so that
 * lines of several threads do not mix and another program can follow the file.
 *
 * The budget is of bytes, not lines: what a hostile program has at its disposal is the length of
 * its paths. It grows with the clock up to a burst; a line may overdraw it.
 */
#include "client/run/audit.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/packet.h"
#include "common/path.h"
#include "common/util.h"
#include "proto/errnos.h"

enum {
	TEXT_MAX = 4 * PATH_MAX, /* of a path after path_escape(): \xNN for each byte */
	/* Two such, in which every backslash is doubled once more, and the rest. */
	LINE_MAX_BYTES = 2 * (5 * PATH_MAX) + 1024,
};

struct audit {
	pthread_mutex_t lock; /* all below */
	int fd;
	bool torn; /* the last line was written in part */
	int64_t budget;
	uint64_t filled;                 /* when it last grew, ns */
	uint64_t dropped, total_dropped; /* since the last line that says so; in all */
	size_t len;
	char line[LINE_MAX_BYTES], text[TEXT_MAX];
};

int audit_open(const char *path, struct audit **ret_audit)
{
	_cleanup_fd_ int fd =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	_cleanup_free_ struct audit *a = NULL;
	int r;

	if (fd < 0)
		return -errno;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	r = pthread_mutex_init(&a->lock, NULL);
	if (r != 0)
		return -r;
	a->fd = TAKE_FD(fd);
	a->budget = AUDIT_BURST;
	a->filled = now_ns();
	*ret_audit = TAKE_PTR(a);
	return 0;
}

/* ---- one line ---- */

static _printf_(2, 3) void put(struct audit *a, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(a->line + a->len, sizeof(a->line) - a->len, format, ap);
	va_end(ap);
	if (n > 0)
		a->len = MIN(a->len + (size_t)n, sizeof(a->line) - 1);
}

/* , "name": "value" */
static void put_text(struct audit *a, const char *name, const char *value)
{
	char *out = a->line;

	put(a, ", \"%s\": \"", name);
	path_escape(value, strnlen(value, PATH_MAX), a->text, sizeof(a->text));
	/* Never cut short: the line has room for the longest two texts. */
	for (const char *p = a->text; *p && a->len + 64 < sizeof(a->line); p++) {
		if (*p == '"' || *p == '\\')
			out[a->len++] = '\\';
		out[a->len++] = *p;
	}
	put(a, "\"");
}

static void start(struct audit *a)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	a->len = 0;
	/* What was left of a line gets an end, so that this one is whole. */
	put(a, "%s{\"time\": %lld.%06ld", a->torn ? "\n" : "", (long long)now.tv_sec,
	    now.tv_nsec / 1000);
}

/* Ends the line and writes it. */
static bool finish(struct audit *a)
{
	ssize_t n;

	put(a, "}\n");
	do
		n = write(a->fd, a->line, a->len);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		a->torn = (size_t)n < a->len;
		a->budget -= n;
	}
	return n == (ssize_t)a->len;
}

static void drop(struct audit *a)
{
	a->dropped++;
	a->total_dropped++;
}

static void report_dropped(struct audit *a)
{
	if (a->dropped == 0)
		return;
	start(a);
	put(a, ", \"dropped\": %llu", (unsigned long long)a->dropped);
	if (finish(a))
		a->dropped = 0;
}

/* ---- the budget ---- */

static void fill(struct audit *a)
{
	uint64_t now = now_ns(), step = 1000000000 / 100; /* hundredths of a second */
	uint64_t steps = (now - a->filled) / step;

	if (steps == 0)
		return;
	a->filled += steps * step;
	steps = MIN(steps, (uint64_t)AUDIT_BURST);
	a->budget = MIN(a->budget + (int64_t)steps * (AUDIT_BYTES_PER_SECOND / 100),
			(int64_t)AUDIT_BURST);
}

void audit_line(struct audit *a, const struct audit_event *event)
{
	if (!a)
		return;
	pthread_mutex_lock(&a->lock);
	fill(a);
	if (a->budget <= 0) {
		drop(a);
		pthread_mutex_unlock(&a->lock);
		return;
	}
	report_dropped(a);
	start(a);
	put(a, ", \"pid\": %d", (int)event->pid);
	put_text(a, "comm", event->comm ? event->comm : "");
	put_text(a, "call", event->call);
	if (event->path)
		put_text(a, "path", event->path);
	if (event->to)
		put_text(a, "to", event->to);
	if (event->fs)
		put_text(a, "fs", event->fs);
	if (event->native)
		put(a, ", \"result\": \"native\"");
	else if (event->result == 0)
		put(a, ", \"result\": 0");
	else
		put(a, ", \"result\": \"%s\"", errno_name(-event->result));
	put(a, ", \"micros\": %llu", (unsigned long long)event->micros);
	if (!finish(a))
		drop(a);
	pthread_mutex_unlock(&a->lock);
}

uint64_t audit_close(struct audit *a)
{
	uint64_t dropped;

	if (!a)
		return 0;
	report_dropped(a);
	dropped = a->total_dropped;
	fd_close(a->fd);
	pthread_mutex_destroy(&a->lock);
	free(a);
	return dropped;
}
