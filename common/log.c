/*
 * log.c - one write(2) per line, so that lines of several processes on one stderr do not mix. Set
 * up once, before threads.
 */
#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/packet.h"
#include "common/path.h"

enum { LOG_LINE_MAX = 4096 };

static struct log_options log_current = { .level = LOG_LEVEL_INFO, .program = "gofer" };

void log_setup(const struct log_options *options)
{
	log_current = *options;
}

static size_t json_quote(char *out, size_t size, const char *text)
{
	size_t used = 0;

	for (; *text && used + 8 < size; text++) {
		unsigned char c = *text;

		if (c == '"' || c == '\\') {
			out[used++] = '\\';
			out[used++] = c;
		} else if (c < 0x20 || c >= 0x7f) {
			used += snprintf(out + used, size - used, "\\u%04x", c);
		} else {
			out[used++] = c;
		}
	}
	out[used] = '\0';
	return used;
}

void log_message(enum log_level level, const char *format, ...)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };
	char text[LOG_LINE_MAX / 2], line[LOG_LINE_MAX];
	va_list ap;
	int n;

	if (level > log_current.level)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (log_current.json) {
		char quoted[LOG_LINE_MAX - 128];
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		json_quote(quoted, sizeof(quoted), text);
		n = snprintf(line, sizeof(line),
			     "{\"time\": %lld.%06ld, \"level\": \"%s\", \"pid\": %d, \"message\": "
			     "\"%s\"}\n",
			     (long long)ts.tv_sec, ts.tv_nsec / 1000, names[level], (int)getpid(),
			     quoted);
	} else {
		n = snprintf(line, sizeof(line), "%s: %s%s%s\n", log_current.program,
			     level <= LOG_LEVEL_WARNING ? names[level] : "",
			     level <= LOG_LEVEL_WARNING ? ": " : "", text);
	}
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(line)) {
		n = sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
		;
}

bool log_allow(struct log_limit *limit, unsigned burst)
{
	uint64_t second = now_ns() / 1000000000;

	if (limit->window != second) {
		unsigned dropped = limit->dropped;

		*limit = (struct log_limit){ .window = second };
		if (dropped)
			log_message(LOG_LEVEL_WARNING, "%u messages of one kind were dropped",
				    dropped);
	}
	if (limit->used >= burst) {
		limit->dropped++;
		return false;
	}
	limit->used++;
	return true;
}
