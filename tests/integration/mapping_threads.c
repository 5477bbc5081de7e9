/*
 * mapping_threads.c - one file in memory, used by several threads at once.
 *
 *     mapping_threads HOSTDIR [-n OPERATIONS] [-seed N] [-only KIND]
 *
 * The file begins with cells of one byte; each belongs to one thread, which counts it up, by storing to one of its mappings or by
 * writing to one of its handles, and reads everybody's, by both. A cell never goes back, whichever way it is looked at; one's own is
 * what one made it. Behind the cells, one thread writes, cuts and extends the file, while others look there: what was cut off
 * does not come back. All map, unmap and sync as they like. n: of each thread.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "client/mapping_limits.h"
#include "tests/integration/bus.h"
#include "tests/integration/raw.h"

enum {
	N_THREADS = 4,
	PAGE = 4096,
	CELL_PAGES = 12,
	TAIL_PAGES = 8,
	PAGES = CELL_PAGES + TAIL_PAGES,
	STRIDE = 16,
	N_CELLS = CELL_PAGES * PAGE / STRIDE,
};

static const struct kind {
	enum gofer_interop interop;
	unsigned features;
	uint64_t budget;
} kinds[] = {
	{ GOFER_INTEROP_EXCLUSIVE, MAPPING_ALL, 256 << 20 },
	{ GOFER_INTEROP_WRITETHROUGH, MAPPING_ALL, 8 * PAGE },
	{ GOFER_INTEROP_EXCLUSIVE, MAPPING_ALL & ~MAPPING_TRACK, 0 },
	{ GOFER_INTEROP_WRITETHROUGH, MAPPING_FAULTS | MAPPING_TRACK, 0 },
	{ GOFER_INTEROP_EXCLUSIVE, 0, 0 },
	{ GOFER_INTEROP_SHARED, MAPPING_ALL, 8 * PAGE },
};

struct scene {
	struct gofer_session *session;
	struct gofer_namespace *ns;
	bool caching;
	uint64_t operations;
	pthread_barrier_t barrier;
};

struct thread {
	struct scene *s;
	unsigned i;
	uint64_t seed, bus;
	pthread_t thread;
	struct gofer_file *file;
	uint8_t *map; /* of the whole file, or NULL */
	bool writes;
	uint8_t seen[N_CELLS]; /* the least that each can be */
	char last[128];
};

_printf_(2, 3) static void expect(struct thread *t, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(t->last, sizeof(t->last), format, ap);
	va_end(ap);
}

static void is(struct thread *t, int64_t got, int64_t wanted)
{
	if (got != wanted)
		die("thread %u: %s: %ld instead of %ld (%s)", t->i, t->last, got, wanted,
		    gofer_message());
}

static void see(struct thread *t, unsigned cell, uint8_t value)
{
	if (value < t->seen[cell])
		die("thread %u: %s: cell %u (of thread %u) went back from %u to %u", t->i, t->last,
		    cell, cell % N_THREADS, t->seen[cell], value);
	if (cell % N_THREADS == t->i && value != t->seen[cell])
		die("thread %u: %s: cell %u is %u instead of %u", t->i, t->last, cell, value,
		    t->seen[cell]);
	t->seen[cell] = value;
}

/* ---- cells ---- */

static void count(struct thread *t)
{
	unsigned cell = random_below(&t->seed, N_CELLS / N_THREADS) * N_THREADS + t->i;
	uint8_t value = t->seen[cell] + 1;

	if (value == 0)
		return;
	if (t->map && t->writes && random_below(&t->seed, 3)) {
		expect(t, "store");
		is(t, copy(t->map + cell * STRIDE, &value, 1), true);
	} else {
		expect(t, "write");
		is(t, gofer_pwrite(t->file, &value, 1, cell * STRIDE), 1);
	}
	t->seen[cell] = value;
}

static void look(struct thread *t)
{
	unsigned cell = random_below(&t->seed, N_CELLS - 64), n = 1 + random_below(&t->seed, 64);
	uint8_t buf[64 * STRIDE];

	if (t->map && random_below(&t->seed, 3)) {
		expect(t, "load");
		is(t, copy(buf, t->map + cell * STRIDE, n * STRIDE), true);
	} else {
		expect(t, "read");
		is(t, gofer_pread(t->file, buf, n * STRIDE, cell * STRIDE), n * STRIDE);
	}
	for (unsigned i = 0; i < n; i++)
		see(t, cell + i, buf[i * STRIDE]);
}

/* ---- the end of the file: the first thread's ---- */

static void tail(struct thread *t)
{
	uint64_t at = (CELL_PAGES + random_below(&t->seed, TAIL_PAGES - 1)) * PAGE +
		      random_below(&t->seed, PAGE);
	uint8_t byte = 0xff, got;

	expect(t, "tail at %lu", at);
	is(t, gofer_pwrite(t->file, &byte, 1, at), 1);
	if (t->map) {
		is(t, copy(&got, t->map + at, 1), true);
		is(t, got, 0xff);
	}
	expect(t, "cut at %lu", at);
	is(t, gofer_ftruncate(t->file, at - random_below(&t->seed, 2) * (at % PAGE)), 0);
	if (t->map && at % PAGE == 0)
		is(t, copy(&got, t->map + at, 1), false);
	is(t, gofer_pread(t->file, &got, 1, at), 0);
	expect(t, "extended beyond %lu", at);
	is(t, gofer_ftruncate(t->file, PAGES * PAGE), 0);
	is(t, gofer_pread(t->file, &got, 1, at), 1);
	is(t, got, 0);
	if (t->map) {
		is(t, copy(&got, t->map + at, 1), true);
		is(t, got, 0);
	}
}

/* Others see something there, or nothing. */
static void peek(struct thread *t)
{
	uint64_t at = (CELL_PAGES + random_below(&t->seed, TAIL_PAGES)) * PAGE +
		      random_below(&t->seed, PAGE);
	uint8_t got = 0;

	expect(t, "peek at %lu", at);
	if (t->map && !copy(&got, t->map + at, 1))
		t->bus++;
	if (got != 0 && got != 0xff)
		is(t, got, 0xff);
	is(t, gofer_pread(t->file, &got, 1, at) < 0, false);
}

/* ---- mapping ---- */

static void remap(struct thread *t)
{
	bool private = random_below(&t->seed, 4) == 0;
	void *p;

	if (t->map) {
		expect(t, "munmap");
		is(t, gofer_munmap(t->s->ns, TAKE_PTR(t->map), PAGES * PAGE), 0);
		return;
	}
	t->writes = !private && t->s->caching && random_below(&t->seed, 3);
	expect(t, "mmap");
	is(t,
	   gofer_mmap(t->file, NULL, PAGES * PAGE, PROT_READ | (t->writes ? PROT_WRITE : 0),
		      private ? MAP_PRIVATE : MAP_SHARED, 0, &p),
	   0);
	t->map = p;
}

static void sync_some(struct thread *t)
{
	static const int flags[] = { MS_ASYNC, MS_SYNC, MS_INVALIDATE };
	unsigned from = random_below(&t->seed, PAGES);

	if (!t->map || random_below(&t->seed, 4) == 0) {
		expect(t, "fsync");
		is(t, gofer_fsync(t->file, true), 0);
	} else {
		expect(t, "msync");
		is(t,
		   gofer_msync(t->s->ns, t->map + from * PAGE, (PAGES - from) * PAGE,
			       flags[random_below(&t->seed, 3)]),
		   0);
	}
}

static void *run_thread(void *userdata)
{
	struct thread *t = userdata;

	expect(t, "open");
	is(t, gofer_open(t->s->ns, "/cells", O_RDWR, 0, &t->file), 0);
	pthread_barrier_wait(&t->s->barrier);
	for (uint64_t i = 0; i < t->s->operations; i++)
		switch (random_below(&t->seed, 20)) {
		case 0:
			remap(t);
			break;
		case 1:
			sync_some(t);
			break;
		case 2 ... 3:
			(t->i == 0 ? tail : peek)(t);
			break;
		case 4 ... 11:
			count(t);
			break;
		default:
			look(t);
			break;
		}
	if (t->map)
		remap(t);
	pthread_barrier_wait(&t->s->barrier);
	for (unsigned i = 0; i < N_CELLS; i++) {
		uint8_t value;

		expect(t, "at the end");
		is(t, gofer_pread(t->file, &value, 1, i * STRIDE), 1);
		see(t, i, value);
	}
	gofer_close(t->file);
	return NULL;
}

static void run(const char *host, const struct kind *k, uint64_t seed, uint64_t n)
{
	static const char *const modes[] = { "shared", "writethrough", "exclusive" };
	const struct gofer_mount_options o = { .interop = k->interop, .no_donate = true };
	struct scene s = { .operations = n, .caching = k->interop != GOFER_INTEROP_SHARED };
	struct thread *threads = calloc(N_THREADS, sizeof(*threads));
	uint8_t *cells = calloc(PAGES, PAGE);
	uint64_t counted = 0, bus_seen = 0;
	unsigned have;
	char path[PATH_MAX];
	int fd;

	s.session = session_connect();
	mapping_limit(s.session, k->features, k->budget, PAGES * PAGE);
	s.ns = namespace_of(s.session, "t", &o);
	if (gofer_write_file(s.ns, "/cells", cells, PAGES * PAGE, 0644, 0) < 0)
		die("%s", gofer_message());
	pthread_barrier_init(&s.barrier, NULL, N_THREADS);
	for (unsigned i = 0; i < N_THREADS; i++) {
		threads[i].s = &s;
		threads[i].i = i;
		threads[i].seed = (seed + i) * 2654435761u | 1;
		pthread_create(&threads[i].thread, NULL, run_thread, &threads[i]);
	}
	for (unsigned i = 0; i < N_THREADS; i++) {
		pthread_join(threads[i].thread, NULL);
		bus_seen += threads[i].bus;
	}
	have = mapping_features(s.session);
	gofer_namespace_free(s.ns);
	gofer_session_close(s.session);
	snprintf(path, sizeof(path), "%s/cells", host);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pread(fd, cells, PAGES * PAGE, 0) < CELL_PAGES * PAGE)
		die("the host has less");
	close(fd);
	for (unsigned i = 0; i < N_CELLS; i++) {
		if (cells[i * STRIDE] != threads[i % N_THREADS].seen[i])
			die("cell %u is %u on the host instead of %u", i, cells[i * STRIDE],
			    threads[i % N_THREADS].seen[i]);
		counted += cells[i * STRIDE];
	}
	check(counted > 0,
	      "%s, %s%s, seed %lu: %u threads, %lu operations of each, counted to %lu, %lu SIGBUS",
	      modes[k->interop],
	      !have                   ? "no faults"
	      : have & MAPPING_KERNEL ? "all faults"
				      : "faults of user mode",
	      have & MAPPING_TRACK ? ", tracked" : "", seed, N_THREADS, n, counted, bus_seen);
	pthread_barrier_destroy(&s.barrier);
	free(threads);
	free(cells);
}

int main(int argc, char **argv)
{
	const char *host = argc > 1 ? argv[1] : NULL;
	uint64_t n = option_number(argc, argv, "-n", 5000);
	uint64_t seed = option_number(argc, argv, "-seed", clock_ns() | 1);
	uint64_t only = option_number(argc, argv, "-only", UINT64_MAX);
	struct sigaction act = { .sa_handler = on_bus };

	if (!host)
		die("usage: mapping_threads HOSTDIR [-n OPERATIONS] [-seed N] [-only KIND]");
	sigaction(SIGBUS, &act, NULL);
	printf("seed %lu\n", seed);
	fflush(stdout);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (only == UINT64_MAX || only == i)
			run(host, &kinds[i], seed + i, n);
	return proof_end();
}
