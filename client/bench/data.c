/*
 * data.c - group "data": how fast contents of one open file move, in calls of 1 MiB one after the other and in
 * calls of 4 KiB anywhere, through requests and through a donated descriptor, beside the native
 * calls. The file lies in the page cache: no disk is measured.
 */
#include "client/bench/bench.h"

#include <fcntl.h>
#include <string.h>

#include "common/packet.h"

enum { FILE_MIB = 64, FILE_MIB_QUICK = 4 };

struct data {
	struct bench *b;
	size_t mib;
	struct gofer_file *plain, *donated;
	int native;
	uint64_t random;
};

struct pattern {
	const char *name;
	size_t size;
	bool write, random, donated;
};

static uint64_t next_offset(struct data *d, const struct pattern *p, uint64_t at)
{
	uint64_t places = (d->mib << 20) / p->size;

	if (!p->random)
		return at % places * p->size;
	d->random ^= d->random << 13;
	d->random ^= d->random >> 7;
	d->random ^= d->random << 17;
	return d->random % places * p->size;
}

static int move(struct data *d, const struct pattern *p, struct gofer_file *file, uint64_t offset)
{
	ssize_t n;

	if (file)
		n = p->write ? gofer_pwrite(file, d->b->block, p->size, offset)
			     : gofer_pread(file, d->b->block, p->size, offset);
	else
		n = p->write ? pwrite(d->native, d->b->block, p->size, (off_t)offset)
			     : pread(d->native, d->b->block, p->size, (off_t)offset);
	if (n < 0)
		return file ? (int)n : -errno;
	return (size_t)n == p->size ? 0 : -EIO;
}

/* A turn: until its time is over, and a few calls at least. */
static int turn(struct data *d, const struct pattern *p, struct gofer_file *file, double share,
		struct histogram *h, double *seconds)
{
	uint64_t begin = now_ns(), deadline = bench_deadline(d->b, share), now = begin;
	int r = 0;

	for (uint64_t i = 0; r == 0 && (i < 4 || !bench_over(now, deadline)); i++) {
		uint64_t start = now_ns();

		r = move(d, p, file, next_offset(d, p, i));
		now = now_ns();
		if (r == 0)
			histogram_record(h, now - start);
	}
	*seconds += (double)(now - begin) / 1e9;
	return r;
}

static void measure(struct data *d, const struct pattern *p)
{
	enum { ROUNDS = 4 };
	struct gofer_file *file = p->donated ? d->donated : d->plain;
	struct histogram *gofer = cli_alloc(2 * sizeof(*gofer)), *native = gofer + 1;
	double seconds = 0, native_seconds = 0, unit = (double)p->size / BENCH_MEGABYTE;
	struct usage usage = { 0 }, before;
	int r = 0;

	if (p->donated && gofer_fileno(file) < 0)
		r = -ENODATA;
	for (unsigned i = 0; r == 0 && i < ROUNDS; i++) {
		usage_begin(d->b, &before);
		r = turn(d, p, file, 0.5 / ROUNDS, gofer, &seconds);
		usage_end(d->b, &before, &usage);
		if (r == 0 && d->native >= 0)
			r = turn(d, p, NULL, 0.5 / ROUNDS, native, &native_seconds);
	}
	if (r < 0)
		report_failure(d->b, r);
	else
		report_rate(d->b, &(struct report_rate){ .unit = "MiB",
							 .amount = (double)gofer->n * unit,
							 .seconds = seconds,
							 .native_amount = (double)native->n * unit,
							 .native_seconds = native_seconds,
							 .calls = gofer,
							 .native_calls = native,
							 .n = gofer->n,
							 .usage = usage });
	free(gofer);
}

static int begin(struct data *d)
{
	int r = gofer_open(d->b->plain, "big", O_RDWR | O_CREAT, 0644, &d->plain);

	for (size_t i = 0; r == 0 && i < d->mib; i++) {
		ssize_t n = gofer_pwrite(d->plain, d->b->block, BENCH_MEGABYTE, i << 20);

		r = n < 0 ? (int)n : n == BENCH_MEGABYTE ? 0 : -EIO;
	}
	if (r == 0)
		r = gofer_open(d->b->donated, "big", O_RDWR, 0, &d->donated);
	if (r == 0 && d->b->native >= 0) {
		d->native = openat(d->b->native, "big", O_RDWR | O_CLOEXEC);
		r = d->native < 0 ? -errno : 0;
	}
	return r;
}

void bench_data(struct bench *b)
{
	static const struct pattern patterns[] = {
		{ "read-1M", BENCH_MEGABYTE, false, false, false },
		{ "read-1M-donated", BENCH_MEGABYTE, false, false, true },
		{ "write-1M", BENCH_MEGABYTE, true, false, false },
		{ "write-1M-donated", BENCH_MEGABYTE, true, false, true },
		{ "read-4K", BENCH_BLOCK, false, true, false },
		{ "read-4K-donated", BENCH_BLOCK, false, true, true },
		{ "write-4K", BENCH_BLOCK, true, true, false },
	};
	struct data d = { .b = b,
			  .mib = b->quick ? FILE_MIB_QUICK : FILE_MIB,
			  .native = -EBADF,
			  .random = 88172645463325252u };
	bool begun = false;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		if (!bench_want(b, "data", "%s", patterns[i].name))
			continue;
		if (!begun)
			r = begin(&d);
		begun = true;
		if (r < 0)
			report_failure(b, r);
		else
			measure(&d, &patterns[i]);
	}
	if (!begun)
		return;
	if (d.plain)
		(void)gofer_close(d.plain);
	if (d.donated)
		(void)gofer_close(d.donated);
	fd_close(d.native);
	(void)gofer_unlink(b->plain, "big");
}
