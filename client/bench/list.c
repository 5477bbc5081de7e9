/*
 * list.c - group "list": what an entry of a listing with attributes costs, in directories of 10^2 to
 * 10^6 entries; natively that is readdir(3) and a stat of each. The directories hold empty files.
 */
#include "client/bench/bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statfs.h>

#include "common/packet.h"

static int list_gofer(struct bench *b, const char *name, size_t *ret_n)
{
	struct gofer_dirent e;
	struct gofer_dir *d;
	size_t n = 0;
	int r = gofer_opendir(b->plain, name, 0, &d);

	if (r < 0)
		return r;
	while ((r = gofer_readdir(d, &e)) > 0)
		n += e.has_stat;
	gofer_closedir(d);
	*ret_n = n;
	return r;
}

static int list_native(struct bench *b, const char *name, size_t *ret_n)
{
	int fd = openat(b->native, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct stat st;
	size_t n = 0;

	if (!d)
		return -errno;
	for (const struct dirent *e; (e = readdir(d));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			n += fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	closedir(d);
	*ret_n = n;
	return 0;
}

static int timed(struct bench *b, const char *name, size_t wanted, bool native, struct histogram *h,
		 struct usage *usage)
{
	struct usage before;
	uint64_t start;
	size_t n = 0;
	int r;

	usage_begin(b, &before);
	start = now_ns();
	r = native ? list_native(b, name, &n) : list_gofer(b, name, &n);
	histogram_record(h, now_ns() - start);
	usage_end(b, &before, usage);
	return r < 0 ? r : n == wanted ? 0 : -EIO;
}

/* The histograms are of whole listings, the rate is of entries. */
static void measure(struct bench *b, const char *name, size_t entries)
{
	struct histogram *gofer = cli_alloc(2 * sizeof(*gofer)), *native = gofer + 1;
	uint64_t deadline = bench_deadline(b, 1);
	struct usage usage = { 0 }, ignored = { 0 };
	int r = 0;

	for (unsigned round = 0; r == 0 && (!round || !bench_over(now_ns(), deadline)); round++)
		for (unsigned i = 0; r == 0 && i < 2; i++)
			if ((i + round) % 2 == 0)
				r = timed(b, name, entries, false, gofer, &usage);
			else if (b->native >= 0)
				r = timed(b, name, entries, true, native, &ignored);
	if (r < 0)
		report_failure(b, r);
	else
		report_rate(b,
			    &(struct report_rate){ .unit = "entries",
						   .amount = (double)(gofer->n * entries),
						   .seconds = (double)gofer->sum / 1e9,
						   .native_amount = (double)(native->n * entries),
						   .native_seconds = (double)native->sum / 1e9,
						   .n = gofer->n * entries,
						   .usage = usage });
	free(gofer);
}

void bench_list(struct bench *b)
{
	for (size_t n = 100; n <= (b->quick ? 1000 : 1000000); n *= 10) {
		struct statfs fs;
		char name[16];
		int r;

		if (!bench_want(b, "list", "%zu", n))
			continue;
		if (gofer_statfs(b->plain, ".", &fs) == 0 && fs.f_files && fs.f_ffree < n + n / 8) {
			report_skip(b, "the file system has only %llu inodes left",
				    (unsigned long long)fs.f_ffree);
			continue;
		}
		snprintf(name, sizeof(name), "list%zu", n);
		r = bench_fill(b, name, n, false);
		if (r == 0)
			measure(b, name, n);
		else if (r != -EINTR)
			report_failure(b, r);
		bench_clear(b, name);
	}
}
