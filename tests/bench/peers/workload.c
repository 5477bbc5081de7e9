/*
 * workload.c - the same work through any file service, for a table of all of them.
 *
 *     workload prepare DIR                        makes the tree, natively
 *     workload run BACKEND TARGET SECONDS ROW...  one JSON line per row on standard output
 *
 * BACKEND is posix (TARGET a directory: native, or a mount of FUSE, or inside a sandbox), gofer (TARGET SERVER,VOLUME,INTEROP),
 * 9p (unix:/path,ATTACH-NAME) or nfs (a URL of libnfs). Rows are named in rows[] below. A row that goes over many files makes one pass at
 * least; "cold" ones are the first touch of each file in this session.
 */
#include "tests/bench/peers/workload.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/packet.h"

enum { FILES = 10000, BIG_MIB = 64, PASSES = 100 };

#define DEEP "a/b/c/d/e/f/g/"

static const struct backend *backend;
static uint8_t *buffer;
static uint64_t budget; /* ns of a row */

static void check(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "workload: %s: %s: %s\n", backend ? backend->name : "prepare", what,
		strerror(-r));
	exit(1);
}

static void many_name(char *path, size_t size, const char *dir, unsigned i)
{
	snprintf(path, size, "%s/entry-%05u", dir, i);
}

/* ---- the tree ---- */

static int make_file(const char *path, size_t size)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	for (size_t done = 0; fd >= 0 && done < size;) {
		ssize_t n = write(fd, buffer, MIN(size - done, (size_t)MEGABYTE));

		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return fd < 0 ? -errno : 0;
}

static void make_dir(const char *path)
{
	check(mkdir(path, 0777) < 0 && errno != EEXIST ? -errno : 0, path);
}

static int prepare(const char *dir)
{
	char path[64];

	umask(0);
	make_dir(dir);
	check(chdir(dir) < 0 ? -errno : 0, dir);
	for (size_t i = 1; i < sizeof(DEEP); i += 2) {
		snprintf(path, sizeof(path), "%.*s", (int)i, DEEP);
		make_dir(path);
	}
	make_dir("many");
	make_dir("scratch");
	check(make_file("f", BLOCK), "f");
	check(make_file(DEEP "f", BLOCK), DEEP "f");
	check(make_file("big", (size_t)BIG_MIB << 20), "big");
	for (unsigned i = 0; i < FILES; i++) {
		many_name(path, sizeof(path), "many", i);
		check(make_file(path, BLOCK), path);
	}
	return 0;
}

/* ---- rows ---- */

static int stat_shallow(unsigned i _unused_)
{
	return backend->stat("f");
}

static int stat_deep(unsigned i _unused_)
{
	return backend->stat(DEEP "f");
}

static int stat_absent(unsigned i _unused_)
{
	int r = backend->stat(DEEP "n");

	return r == -ENOENT ? 0 : r < 0 ? r : -EEXIST;
}

static int stat_many(unsigned i)
{
	char path[64];

	many_name(path, sizeof(path), "many", i);
	return backend->stat(path);
}

static int read_one(unsigned i _unused_)
{
	return backend->read_file(DEEP "f", buffer);
}

static int read_many(unsigned i)
{
	char path[64];

	many_name(path, sizeof(path), "many", i);
	return backend->read_file(path, buffer);
}

static int write_many(unsigned i)
{
	char path[64];

	many_name(path, sizeof(path), "scratch", i);
	return backend->write_file(path, buffer);
}

static int unlink_many(unsigned i)
{
	char path[64];

	many_name(path, sizeof(path), "scratch", i);
	return backend->unlink(path);
}

static int list_many(unsigned i _unused_)
{
	ssize_t n = backend->list("many");

	return n < 0 ? (int)n : n == FILES ? 0 : -EIO;
}

static int move(bool write, size_t size, uint64_t place)
{
	uint64_t offset = place % (((uint64_t)BIG_MIB << 20) / size) * size;
	ssize_t n = write ? backend->pwrite(buffer, size, offset)
			  : backend->pread(buffer, size, offset);

	return n < 0 ? (int)n : (size_t)n == size ? 0 : -EIO;
}

static int read_large(unsigned i)
{
	return move(false, MEGABYTE, i);
}

static int read_random(unsigned i)
{
	/* Every place once, in no order that a reader ahead could guess. */
	return move(false, BLOCK, i * UINT64_C(2654435761));
}

static int write_large(unsigned i)
{
	return move(true, MEGABYTE, i);
}

static const struct row {
	const char *name;
	int (*call)(unsigned i);
	unsigned pass;  /* calls of a pass; 0 = any number */
	unsigned parts; /* a call's time is divided by this */
	bool holds;     /* the large file is open meanwhile */
	bool once;      /* one pass and no more */
} rows[] = {
	{ "stat, depth 1", stat_shallow, 0, 1, false, false },
	{ "stat, depth 8", stat_deep, 0, 1, false, false },
	{ "stat, depth 8, absent", stat_absent, 0, 1, false, false },
	{ "stat, 10,000 files, cold", stat_many, FILES, 1, false, true },
	{ "stat, 10,000 files", stat_many, FILES, 1, false, false },
	{ "open, read 4 KiB, close, depth 8", read_one, 0, 1, false, false },
	{ "open, read 4 KiB, close, 10,000 files", read_many, FILES, 1, false, false },
	{ "create, write 4 KiB, close, 2,000 files", write_many, 2000, 1, false, true },
	{ "unlink, 2,000 files", unlink_many, 2000, 1, false, true },
	{ "list 10,000 entries with attributes, each", list_many, 1, FILES, false, false },
	{ "read 1 MiB", read_large, 0, 1, true, false },
	{ "read 4 KiB anywhere", read_random, 0, 1, true, false },
	{ "write 1 MiB", write_large, 0, 1, true, false },
};

static double us(uint64_t ns, const struct row *row)
{
	return (double)ns / 1000 / row->parts;
}

static void run_row(const struct row *row)
{
	static struct histogram h;
	uint64_t deadline = now_ns() + budget, now = 0;
	unsigned i = 0;

	h = (struct histogram){ 0 };
	if (row->holds)
		check(backend->hold("big"), row->name);
	if (!row->pass)
		check(row->call(0), row->name);
	while (now < deadline || (row->pass && i % row->pass)) {
		uint64_t start = now_ns();

		if (row->pass && i == row->pass * (row->once ? 1 : PASSES))
			break;
		check(row->call(row->pass ? i % row->pass : i), row->name);
		i++;
		now = now_ns();
		histogram_record(&h, now - start);
		/* What takes far too long is cut short: the figures are medians. */
		if (now > deadline + 8 * budget && !row->once)
			break;
	}
	if (row->holds)
		backend->release();
	printf("{\"row\":\"%s\",\"n\":%llu,\"p50_us\":%.3f,\"p99_us\":%.3f,\"mean_us\":%.3f}\n",
	       row->name, (unsigned long long)h.n, us(histogram_percentile(&h, 50), row),
	       us(histogram_percentile(&h, 99), row), histogram_mean(&h) / 1000 / row->parts);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct backend *const backends[] = { &backend_posix, &backend_gofer,
							  &backend_9p,
#ifdef WITH_LIBNFS
							  &backend_nfs
#endif
	};

	buffer = malloc(MEGABYTE);
	if (!buffer)
		return 1;
	memset(buffer, 'x', MEGABYTE);
	if (argc == 3 && strcmp(argv[1], "prepare") == 0)
		return prepare(argv[2]);
	if (argc < 5 || strcmp(argv[1], "run") != 0) {
		fprintf(stderr, "usage: workload prepare DIR\n"
				"       workload run BACKEND TARGET SECONDS [ROW...]\n");
		return 2;
	}
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++)
		if (strcmp(backends[i]->name, argv[2]) == 0)
			backend = backends[i];
	if (!backend) {
		fprintf(stderr, "workload: no backend %s in this build\n", argv[2]);
		return 2;
	}
	budget = (uint64_t)(strtod(argv[4], NULL) * 1e9);
	check(backend->open(argv[3]), argv[3]);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool wanted = argc == 5;

		for (int a = 5; a < argc; a++)
			wanted |= strcmp(argv[a], rows[i].name) == 0;
		if (wanted)
			run_row(&rows[i]);
	}
	return 0;
}
