/*
 * test_run_audit.c - one line per decision, JSON whatever bytes are in it, whole with several
 * threads, and bounded with a count of what is missing (S87).
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "client/run/audit.h"
#include "common/packet.h"
#include "common/util.h"

/* run: valgrind */

struct file {
	char dir[64], path[80];
	struct audit *audit;
};

static void file_init(struct file *f)
{
	snprintf(f->dir, sizeof(f->dir), "%s/auditXXXXXX", getenv("TMPDIR") ?: "/tmp");
	cr_assert_not_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/log", f->dir);
	cr_assert_eq(audit_open(f->path, &f->audit), 0);
}

/* All that was written; for free(). */
static char *file_text(const struct file *f)
{
	char *text;
	size_t size;
	FILE *in = fopen(f->path, "r"), *out = open_memstream(&text, &size);

	cr_assert_not_null(in);
	for (int c; (c = fgetc(in)) != EOF;)
		fputc(c, out);
	fclose(in);
	fclose(out);
	return text;
}

static void file_deinit(struct file *f)
{
	unlink(f->path);
	rmdir(f->dir);
}

static const char *string(const json_t *line, const char *key)
{
	return json_string_value(json_object_get(line, key));
}

static const struct audit_event plain = { .pid = 7,
					  .comm = "cat",
					  .call = "openat",
					  .path = "/etc/shadow",
					  .fs = "v1",
					  .result = -EACCES,
					  .micros = 41 };

Test(run_audit, a_line_says_what_was_asked_and_what_came_of_it)
{
	struct file f;
	struct audit_event renamed = plain;
	char *text, *second;
	json_t *line;
	struct stat st;

	file_init(&f);
	audit_line(f.audit, &plain);
	renamed.call = "rename";
	renamed.to = "/b";
	renamed.fs = NULL;
	renamed.result = 0;
	audit_line(f.audit, &renamed);
	cr_assert_eq(audit_close(f.audit), 0);
	text = file_text(&f);
	second = strchr(text, '\n') + 1;
	line = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
	cr_assert_not_null(line, "%s", text);
	cr_assert_gt(json_real_value(json_object_get(line, "time")), 1e9);
	cr_assert_eq(json_integer_value(json_object_get(line, "pid")), 7);
	cr_assert_str_eq(string(line, "comm"), "cat");
	cr_assert_str_eq(string(line, "call"), "openat");
	cr_assert_str_eq(string(line, "path"), "/etc/shadow");
	cr_assert_str_eq(string(line, "fs"), "v1");
	cr_assert_str_eq(string(line, "result"), "EACCES");
	cr_assert_eq(json_integer_value(json_object_get(line, "micros")), 41);
	cr_assert_null(json_object_get(line, "to"));
	json_decref(line);
	line = json_loads(second, 0, NULL);
	cr_assert_not_null(line, "%s", second);
	cr_assert_str_eq(string(line, "to"), "/b");
	cr_assert(json_is_integer(json_object_get(line, "result")));
	cr_assert_null(json_object_get(line, "fs"));
	json_decref(line);
	cr_assert_eq(stat(f.path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	free(text);
	file_deinit(&f);
}

/* Every byte, and as many of the worst as a path can have, in both paths. */
Test(run_audit, a_line_is_json_whatever_bytes_are_in_it)
{
	struct audit_event e = plain;
	char all[256], longest[PATH_MAX], *text, *at;
	struct file f;
	json_t *line;
	size_t n = 0;

	for (int c = 1; c < 256; c++)
		all[c - 1] = (char)c;
	all[255] = '\0';
	file_init(&f);
	e.path = all;
	e.comm = "\xff\n\"\\";
	audit_line(f.audit, &e);
	for (const char *worst = "\xff\\\"\x01"; *worst; worst++) {
		memset(longest, *worst, sizeof(longest) - 1);
		longest[sizeof(longest) - 1] = '\0';
		e.path = e.to = longest;
		audit_line(f.audit, &e);
	}
	cr_assert_eq(audit_close(f.audit), 0);
	text = file_text(&f);
	at = text;
	for (char *end; (end = strchr(at, '\n')); at = end + 1, n++) {
		*end = '\0';
		line = json_loads(at, 0, NULL);
		cr_assert_not_null(line, "%s", at);
		cr_assert_str_eq(string(line, "comm"), "\\xff\\x0a\"\\x5c");
		if (n == 0)
			cr_assert_eq(strncmp(string(line, "path"), "\\x01\\x02", 8), 0);
		else
			cr_assert_geq(strlen(string(line, "to")), PATH_MAX - 1);
		json_decref(line);
	}
	cr_assert_eq(n, 5);
	cr_assert_eq(*at, '\0');
	free(text);
	file_deinit(&f);
}

enum { WRITERS = 4, EACH = 500 };

static void *write_lines(void *userdata)
{
	for (unsigned i = 0; i < EACH; i++)
		audit_line(userdata, &plain);
	return NULL;
}

Test(run_audit, lines_of_threads_do_not_mix)
{
	pthread_t threads[WRITERS];
	struct file f;
	char *text, *at;
	size_t n = 0;

	file_init(&f);
	for (size_t i = 0; i < WRITERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, write_lines, f.audit), 0);
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(audit_close(f.audit), 0);
	text = at = file_text(&f);
	for (char *end; (end = strchr(at, '\n')); at = end + 1, n++) {
		json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);

		cr_assert_not_null(line);
		json_decref(line);
	}
	cr_assert_eq(n, WRITERS * EACH);
	free(text);
	file_deinit(&f);
}

Test(run_audit, S87_a_flood_is_cut_and_counted)
{
	struct audit_event e = plain;
	static char longest[PATH_MAX];
	uint64_t said = 0, lines = 0, begin = now_ns(), sent = 0, seconds;
	struct file f;
	struct stat st;
	char *text, *at;

	memset(longest, '\xff', sizeof(longest) - 1);
	e.path = e.to = longest;
	file_init(&f);
	for (; sent < 2000; sent++)
		audit_line(f.audit, &e);
	cr_assert_gt(audit_close(f.audit), 0);
	seconds = (now_ns() - begin) / 1000000000 + 1;
	cr_assert_eq(stat(f.path, &st), 0);
	cr_assert_leq((uint64_t)st.st_size, AUDIT_BURST + seconds * AUDIT_BYTES_PER_SECOND + 65536);
	text = at = file_text(&f);
	for (char *end; (end = strchr(at, '\n')); at = end + 1) {
		json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);

		cr_assert_not_null(line);
		if (json_object_get(line, "dropped"))
			said += (uint64_t)json_integer_value(json_object_get(line, "dropped"));
		else
			lines++;
		json_decref(line);
	}
	/* Nothing is lost without being said. */
	cr_assert_eq(said + lines, sent);
	cr_assert_gt(said, 0);
	free(text);
	file_deinit(&f);
}

Test(run_audit, a_pipe_that_is_full_holds_nobody_up)
{
	char path[96], dir[64], buffer[65536];
	struct audit *a;
	uint64_t dropped;
	ssize_t n;
	size_t lines = 0;
	int reader;

	snprintf(dir, sizeof(dir), "%s/auditXXXXXX", getenv("TMPDIR") ?: "/tmp");
	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_eq(audit_open(path, &a), -ENXIO);
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	cr_assert_eq(audit_open(path, &a), 0);
	cr_assert_geq(fcntl(reader, F_SETPIPE_SZ, 4096), 4096);
	for (unsigned i = 0; i < 1000; i++)
		audit_line(a, &plain);
	n = read(reader, buffer, sizeof(buffer));
	cr_assert_gt(n, 0);
	for (ssize_t i = 0; i < n; i++)
		lines += buffer[i] == '\n';
	dropped = audit_close(a);
	cr_assert_eq(dropped + lines, 1000, "%zu lines, %llu dropped", lines,
		     (unsigned long long)dropped);
	n = read(reader, buffer, sizeof(buffer) - 1);
	cr_assert_gt(n, 0);
	buffer[n] = '\0';
	cr_assert_not_null(strstr(buffer, "\"dropped\": "), "%s", buffer);
	fd_close(reader);
	unlink(path);
	rmdir(dir);
}

Test(run_audit, what_cannot_be_opened_is_said)
{
	struct audit *a = NULL;

	cr_assert_eq(audit_open("/nonexistent/dir/log", &a), -ENOENT);
	cr_assert_null(a);
	audit_line(NULL, &plain);
	cr_assert_eq(audit_close(NULL), 0);
}
