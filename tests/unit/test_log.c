/*
 * test_log.c - one event, one line, whatever is in it; and floods are cut with a count (S87).
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#include "common/log.h"

/* run: valgrind */

static char captured[65536];

/* Runs `speak` with stderr going to a pipe; the text is in `captured`. */
static void capture(void (*speak)(void))
{
	int pipes[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	dup2(pipes[1], STDERR_FILENO);
	fd_close(pipes[1]);
	speak();
	dup2(saved, STDERR_FILENO);
	fd_close(saved);
	n = read(pipes[0], captured, sizeof(captured) - 1);
	fd_close(pipes[0]);
	captured[n < 0 ? 0 : n] = '\0';
}

static void speak_levels(void)
{
	log_setup(&(struct log_options){ .level = LOG_LEVEL_INFO, .program = "test" });
	log_error("one %d", 1);
	log_warning("two");
	log_info("three");
	log_debug("four");
}

Test(log, levels_select_and_name_lines)
{
	capture(speak_levels);
	cr_assert_str_eq(captured, "test: error: one 1\ntest: warning: two\ntest: three\n");
}

static void speak_json(void)
{
	log_setup(&(struct log_options){ .level = LOG_LEVEL_DEBUG, .json = true });
	log_info("quote \" backslash \\ newline \n escape \x1b %s", "\xff\xfe");
}

Test(log, json_lines_parse_whatever_they_say)
{
	json_error_t error;
	json_t *line;

	capture(speak_json);
	cr_assert_eq(strchr(captured, '\n') - captured, (ptrdiff_t)strlen(captured) - 1);
	line = json_loads(captured, 0, &error);
	cr_assert_not_null(line, "%s: %s", error.text, captured);
	cr_assert_str_eq(json_string_value(json_object_get(line, "level")), "info");
	cr_assert_eq(json_integer_value(json_object_get(line, "pid")), getpid());
	cr_assert_not_null(strstr(json_string_value(json_object_get(line, "message")),
				  "quote \" backslash \\ newline \n"));
	json_decref(line);
}

static char long_text[20000];

static void speak_long(void)
{
	log_setup(&(struct log_options){ .level = LOG_LEVEL_INFO, .program = "test" });
	memset(long_text, 'x', sizeof(long_text) - 1);
	log_info("%s", long_text);
	log_setup(&(struct log_options){ .level = LOG_LEVEL_INFO, .json = true });
	memset(long_text, '\x01', sizeof(long_text) - 1); /* six bytes each in JSON */
	log_info("%s", long_text);
}

Test(log, long_messages_are_cut_and_still_end_their_line)
{
	char *second;
	json_t *line;

	capture(speak_long);
	second = strchr(captured, '\n');
	cr_assert_not_null(second);
	cr_assert_leq(second - captured, 4096);
	second++;
	cr_assert_eq(strchr(second, '\n') - second, (ptrdiff_t)strlen(second) - 1);
	line = json_loads(second, 0, NULL);
	cr_assert_not_null(line);
	json_decref(line);
}

static void speak_flood(void)
{
	struct log_limit limit = { 0 };
	unsigned allowed = 0;

	log_setup(&(struct log_options){ .level = LOG_LEVEL_INFO, .program = "test" });
	for (unsigned i = 0; i < 100000; i++)
		if (log_allow(&limit, 5))
			allowed++;
	/* Five per second of the clock; the loop may run across a few seconds under valgrind. */
	cr_assert(allowed >= 5 && allowed <= 100, "%u", allowed);
	limit.window = 1; /* a second long past */
	limit.used = 5;
	limit.dropped = 7;
	cr_assert(log_allow(&limit, 5));
	cr_assert_eq(limit.dropped, 0);
}

Test(log, S87_floods_are_cut_and_counted)
{
	capture(speak_flood);
	cr_assert_not_null(strstr(captured, "7 messages of one kind were dropped"), "%s", captured);
}
