/*
 * log.h - one line per event on stderr, for programs (libraries never log). Rate-limited per call
 * site by the caller's choice; text or JSON lines. Strings from a peer go through path_escape()
 * first.
 */
#pragma once

#include "common/util.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log_options {
	enum log_level level; /* messages above are dropped */
	bool json;
	const char *program; /* prefix of text lines */
};

void log_setup(const struct log_options *options);
void log_message(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* At most `burst` lines per second for one limiter; says how many were dropped when it lets the
 * next through. */
struct log_limit {
	uint64_t window;
	unsigned used;
	unsigned dropped;
};
bool log_allow(struct log_limit *limit, unsigned burst);
