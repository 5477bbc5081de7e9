/*
 * small.c - group "small": many small files, each touched once a pass: opened, read and closed;
 * made, written and closed; removed. By the library's calls for a whole file (one request each), and
 * by those that a program makes which knows only open(2). Passes of the server and native ones take turns,
 * on the same names; a row has one pass of each at least.
 */
#include "client/bench/bench.h"

#include <fcntl.h>
#include <string.h>

#include "common/packet.h"

enum { FILES = 10000, FILES_QUICK = 64 };

static const char directory[] = "many";

struct small {
	struct bench *b;
	size_t n;
};

typedef int (*file_call)(struct bench *b, const char *path);

static int read_whole(struct bench *b, const char *path)
{
	void *data;
	size_t size;
	int r = gofer_read_file(b->plain, path, &data, &size, NULL);

	if (r < 0)
		return r;
	free(data);
	return size == BENCH_BLOCK ? 0 : -EIO;
}

static int open_read_in(struct bench *b, struct gofer_namespace *ns, const char *path)
{
	struct gofer_file *file;
	int r = gofer_open(ns, path, O_RDONLY, 0, &file);
	ssize_t n;

	if (r < 0)
		return r;
	n = gofer_read(file, b->block, BENCH_BLOCK);
	r = gofer_close(file);
	return n < 0 ? (int)n : n == BENCH_BLOCK ? r : -EIO;
}

static int open_read(struct bench *b, const char *path)
{
	return open_read_in(b, b->plain, path);
}

static int open_read_donated(struct bench *b, const char *path)
{
	return open_read_in(b, b->donated, path);
}

static int read_native(struct bench *b, const char *path)
{
	_cleanup_fd_ int fd = openat(b->native, path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return read(fd, b->block, BENCH_BLOCK) == BENCH_BLOCK ? 0 : -EIO;
}

static int write_whole(struct bench *b, const char *path)
{
	return gofer_write_file(b->plain, path, b->block, BENCH_BLOCK, 0644, GOFER_WRITE_EXCLUSIVE);
}

static int create_write(struct bench *b, const char *path)
{
	struct gofer_file *file;
	int r = gofer_open(b->plain, path, O_WRONLY | O_CREAT | O_EXCL, 0644, &file);
	ssize_t n;

	if (r < 0)
		return r;
	n = gofer_write(file, b->block, BENCH_BLOCK);
	r = gofer_close(file);
	return n < 0 ? (int)n : n == BENCH_BLOCK ? r : -EIO;
}

static int write_native(struct bench *b, const char *path)
{
	_cleanup_fd_ int fd =
		openat(b->native, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	return write(fd, b->block, BENCH_BLOCK) == BENCH_BLOCK ? 0 : -EIO;
}

static int remove_one(struct bench *b, const char *path)
{
	return gofer_unlink(b->plain, path);
}

static int remove_native(struct bench *b, const char *path)
{
	return unlinkat(b->native, path, 0) < 0 ? -errno : 0;
}

static int pass(struct small *s, file_call call, struct histogram *h, double *seconds)
{
	char path[BENCH_NAME];
	uint64_t begin = now_ns();
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->n; i++) {
		uint64_t start;

		bench_file_name(path, directory, i);
		start = now_ns();
		r = bench_ended ? -EINTR : call(s->b, path);
		if (r == 0 && h)
			histogram_record(h, now_ns() - start);
	}
	if (seconds)
		*seconds += (double)(now_ns() - begin) / 1e9;
	return r;
}

enum kind { READS, MAKES, REMOVES };

struct row {
	const char *name;
	enum kind kind;
	file_call gofer, native;
};

/* One pass of one side: the files are there before and after it. */
static int timed_pass(struct small *s, const struct row *row, file_call call, struct histogram *h,
		      double *seconds, struct usage *usage)
{
	struct usage before;
	int r = row->kind == MAKES ? pass(s, remove_one, NULL, NULL) : 0;

	usage_begin(s->b, &before);
	if (r == 0)
		r = pass(s, call, h, seconds);
	usage_end(s->b, &before, usage);
	if (r == 0 && row->kind == REMOVES)
		r = pass(s, write_whole, NULL, NULL);
	return r;
}

static void measure(struct small *s, const struct row *row)
{
	struct histogram *gofer = cli_alloc(2 * sizeof(*gofer)), *native = gofer + 1;
	double seconds = 0, native_seconds = 0;
	struct usage usage = { 0 }, ignored = { 0 };
	uint64_t deadline = bench_deadline(s->b, 1);
	int r = 0;

	for (unsigned round = 0; r == 0 && (!round || !bench_over(now_ns(), deadline)); round++)
		for (unsigned i = 0; r == 0 && i < 2; i++)
			if ((i + round) % 2 == 0)
				r = timed_pass(s, row, row->gofer, gofer, &seconds, &usage);
			else if (s->b->native >= 0)
				r = timed_pass(s, row, row->native, native, &native_seconds,
					       &ignored);
	if (r < 0 && r != -EINTR)
		report_failure(s->b, r);
	if (r == 0)
		report_rate(s->b, &(struct report_rate){ .unit = "files",
							 .amount = (double)gofer->n,
							 .seconds = seconds,
							 .native_amount = (double)native->n,
							 .native_seconds = native_seconds,
							 .calls = gofer,
							 .native_calls = native,
							 .n = gofer->n,
							 .usage = usage });
	free(gofer);
}

void bench_small(struct bench *b)
{
	static const struct row rows[] = {
		{ "read-file", READS, read_whole, read_native },
		{ "open-read-close", READS, open_read, read_native },
		{ "open-read-close-donated", READS, open_read_donated, read_native },
		{ "write-file", MAKES, write_whole, write_native },
		{ "create-write-close", MAKES, create_write, write_native },
		{ "unlink", REMOVES, remove_one, remove_native },
	};
	struct small s = { .b = b, .n = b->quick ? FILES_QUICK : FILES };
	bool begun = false;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!bench_want(b, "small", "%s", rows[i].name))
			continue;
		if (!begun)
			r = bench_fill(b, directory, s.n, true);
		begun = true;
		if (r == 0)
			measure(&s, &rows[i]);
		else if (r != -EINTR)
			report_failure(b, r);
	}
	if (begun)
		bench_clear(b, directory);
}
