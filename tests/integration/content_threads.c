/*
 * content_threads.c - what threads of one client read of files that others of them write at the same time.
 *
 *     content_threads HOSTDIR [-n OPERATIONS] [-seed N]
 *
 * HOSTDIR is served as filesystem "t". Each block of the shared files belongs to one thread, which writes it, version after
 * version: every word says which file, block and version it is of; of eight versions, one is a hole. Blocks are
 * not whole pages, so threads share those, and the page cache is smaller than the files. A reader may find
 * any version from the last one that was written, or seen by anybody in that word, before the read began, up to the last one begun by the
 * time it ended; anything else is a stale, lost or foreign byte. Beside that each thread has a file of its own, whose
 * size it changes by handle and by path while the others do the same, and now and then one makes the cache forget everything. One
 * file they all change at the same time, in every way: when they have stopped, the cache must have what the host has.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/integration/raw.h"

enum {
	N_THREADS = 5,
	N_SHARED = 3,
	BLOCK = 2560,
	N_BLOCKS = 45, /* of a file */
	SIZE = N_BLOCKS * BLOCK,
	HOLE = 8, /* one version of so many */
	OWN_MAX = 40000,
	ROUNDS = 40,
};

struct world {
	const char *host;
	struct gofer_session *session;
	struct gofer_namespace *ns;
	uint64_t operations;
	/* Versions of each block: begun, written. */
	_Atomic uint32_t begun[N_SHARED][N_BLOCKS], written[N_SHARED][N_BLOCKS];
	/* ... of each word: seen by somebody. A write is not one step, for any two words. */
	_Atomic uint32_t seen[N_SHARED][SIZE / 8];
	_Atomic uint64_t words;
};

struct thread {
	struct world *world;
	unsigned number;
	uint64_t seed;
	pthread_t thread;
	struct gofer_file *shared[N_SHARED], *own, *all;
	size_t own_size;
	uint8_t own_data[OWN_MAX];
	_Alignas(8) uint8_t buf[SIZE];
	uint32_t low[SIZE / 8]; /* versions that a read must not go behind */
};

static unsigned below(struct thread *t, unsigned n)
{
	return (unsigned)random_below(&t->seed, n);
}

static void expect(const char *what, int64_t got, int64_t wanted)
{
	if (got != wanted)
		die("%s: %ld instead of %ld: %s", what, got, wanted, gofer_message());
}

static struct gofer_file *open_file(struct thread *t, const char *name, int flags)
{
	struct gofer_file *file;
	char path[64];
	int r;

	/* Some past the cache. */
	snprintf(path, sizeof(path), "%s/%s", below(t, 6) ? "" : "/s", name);
	r = gofer_open(t->world->ns, path, flags | (below(t, 6) ? 0 : O_DIRECT), 0644, &file);
	if (r < 0)
		die("open %s: %s", path, gofer_message());
	return file;
}

static void reopen_shared(struct thread *t, unsigned f)
{
	char name[16];

	gofer_close(t->shared[f]);
	snprintf(name, sizeof(name), "f%u", f);
	t->shared[f] = open_file(t, name, O_RDWR);
}

/* ---- the shared files ---- */

static uint64_t word_of(unsigned f, unsigned block, uint32_t version)
{
	return (uint64_t)(f + 1) << 56 | (uint64_t)(block + 1) << 40 | version;
}

static void write_block(struct thread *t)
{
	struct world *w = t->world;
	unsigned f = below(t, N_SHARED);
	unsigned block = below(t, N_BLOCKS / N_THREADS) * N_THREADS + t->number;
	uint32_t version = atomic_load(&w->begun[f][block]) + 1;
	uint64_t word = word_of(f, block, version);

	for (size_t i = 0; i < BLOCK; i += sizeof(word))
		memcpy(t->buf + i, &word, sizeof(word));
	atomic_store(&w->begun[f][block], version);
	if (version % HOLE == 0)
		expect("hole",
		       gofer_fallocate(t->shared[f], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				       (uint64_t)block * BLOCK, BLOCK),
		       0);
	else
		expect("write", gofer_pwrite(t->shared[f], t->buf, BLOCK, (uint64_t)block * BLOCK),
		       BLOCK);
	atomic_store(&w->written[f][block], version);
}

static void see(_Atomic uint32_t *seen, uint32_t version)
{
	uint32_t before = atomic_load(seen);

	while (before < version && !atomic_compare_exchange_weak(seen, &before, version))
		;
}

/* A word that was read, of versions from `low` on. */
static void check_word(struct thread *t, unsigned f, size_t at, uint32_t low)
{
	struct world *w = t->world;
	unsigned block = (unsigned)(at / BLOCK);
	uint32_t high = atomic_load(&w->begun[f][block]), version;
	uint64_t word;

	memcpy(&word, t->buf + at, sizeof(word));
	version = (uint32_t)word;
	if (word == 0) {
		for (version = low; version <= high; version++)
			if (version % HOLE == 0)
				return;
		die("file %u, block %u: a hole, at versions %u to %u", f, block, low, high);
	}
	if (word != word_of(f, block, version))
		die("file %u, block %u: word %016lx belongs elsewhere", f, block, word);
	if (version < low || version > high || version % HOLE == 0)
		die("file %u, block %u, byte %zu: version %u, where %u to %u may be seen", f, block,
		    at, version, low, high);
	see(&w->seen[f][at / 8], version);
}

static void read_blocks(struct thread *t)
{
	struct world *w = t->world;
	unsigned f = below(t, N_SHARED);
	size_t offset = below(t, SIZE / 8) * 8,
	       size = (1 + below(t, below(t, 3) ? 700 : SIZE / 8)) * 8;

	size = MIN(size, SIZE - offset);
	for (size_t at = offset; at < offset + size; at += 8)
		t->low[at / 8] = MAX(atomic_load(&w->written[f][at / BLOCK]),
				     atomic_load(&w->seen[f][at / 8]));
	expect("read", gofer_pread(t->shared[f], t->buf + offset, size, offset), (int64_t)size);
	for (size_t at = offset; at < offset + size; at += 8)
		check_word(t, f, at, t->low[at / 8]);
	atomic_fetch_add(&w->words, size / 8);
}

/* ---- a file of one's own ---- */

static void resize_own(struct thread *t, size_t size)
{
	if (size > t->own_size)
		memset(t->own_data + t->own_size, 0, size - t->own_size);
	t->own_size = size;
}

static void change_own(struct thread *t)
{
	size_t offset = below(t, OWN_MAX / 2), size = 1 + below(t, OWN_MAX / 2);
	char name[16], path[32];

	snprintf(name, sizeof(name), "own%u", t->number);
	snprintf(path, sizeof(path), "/%s", name);
	switch (below(t, 6)) {
	case 0:
		expect("truncate", gofer_truncate(t->world->ns, path, size), 0);
		resize_own(t, size);
		return;
	case 1:
		expect("ftruncate", gofer_ftruncate(t->own, size), 0);
		resize_own(t, size);
		return;
	case 2:
		gofer_close(t->own);
		t->own = open_file(t, name, O_RDWR | O_TRUNC);
		resize_own(t, 0);
		return;
	case 3:
		memset(t->buf, (int)below(t, 256), size);
		expect("write file",
		       gofer_write_file(t->world->ns, path, t->buf, size, 0644,
					below(t, 2) ? GOFER_WRITE_ATOMIC : 0),
		       0);
		gofer_close(t->own);
		t->own = open_file(t, name, O_RDWR);
		memcpy(t->own_data, t->buf, size);
		t->own_size = size;
		return;
	default:
		memset(t->buf, (int)below(t, 256), size);
		expect("write", gofer_pwrite(t->own, t->buf, size, offset), (int64_t)size);
		if (offset + size > t->own_size)
			resize_own(t, offset + size);
		memcpy(t->own_data + offset, t->buf, size);
	}
}

static void read_own(struct thread *t)
{
	struct stat st;

	expect("size", gofer_fstat(t->own, &st), 0);
	expect("size", st.st_size, (int64_t)t->own_size);
	expect("read", gofer_pread(t->own, t->buf, sizeof(t->buf), 0), (int64_t)t->own_size);
	if (memcmp(t->buf, t->own_data, t->own_size) != 0)
		die("thread %u's own file holds something else", t->number);
}

/* ---- a file of everybody's ---- */

static void change_all(struct thread *t)
{
	size_t offset = below(t, OWN_MAX / 2), size = 1 + below(t, OWN_MAX / 2);

	memset(t->buf, (int)below(t, 256), size);
	switch (below(t, 10)) {
	case 0:
		expect("truncate", gofer_truncate(t->world->ns, "/all", size), 0);
		break;
	case 1:
		expect("ftruncate", gofer_ftruncate(t->all, size), 0);
		break;
	case 2:
		gofer_close(t->all);
		t->all = open_file(t, "all", below(t, 2) ? O_RDWR | O_TRUNC : O_RDWR | O_APPEND);
		break;
	case 3:
		expect("write file", gofer_write_file(t->world->ns, "/all", t->buf, size, 0644, 0),
		       0);
		break;
	case 4 ... 6:
		if (gofer_pread(t->all, t->buf, sizeof(t->buf), 0) < 0)
			die("read: %s", gofer_message());
		break;
	default:
		/* Short ones meet most often. */
		size = 1 + below(t, 5000);
		expect("write", gofer_pwrite(t->all, t->buf, size, offset % 8000), (int64_t)size);
		break;
	}
}

/* Nobody changes anything now. */
static void check_all(struct world *w)
{
	static uint8_t cached[SIZE], there[SIZE];
	char host[PATH_MAX];
	struct gofer_file *file;
	struct stat st;
	ssize_t n;
	int fd;

	expect("sync", gofer_session_sync(w->session), 0);
	snprintf(host, sizeof(host), "%s/all", w->host);
	fd = open(host, O_RDONLY | O_CLOEXEC);
	n = read(fd, there, sizeof(there));
	close(fd);
	expect("open", gofer_open(w->ns, "/all", O_RDONLY, 0, &file), 0);
	expect("read", gofer_pread(file, cached, sizeof(cached), 0), n);
	expect("size", gofer_fstat(file, &st), 0);
	expect("size", st.st_size, n);
	if (n < 0 || memcmp(cached, there, (size_t)n) != 0)
		die("when all had stopped the cache had something else than the host");
	gofer_close(file);
}

/* ---- */

static void forget(struct thread *t)
{
	Gofer__MkdirRequest m = GOFER__MKDIR_REQUEST__INIT;
	Gofer__Path path = GOFER__PATH__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Mkdir, .message = &m.base, .fd = -1 };
	struct gofer_reply reply;

	path.fs_id = filesystem_id(t->world->session, "t");
	path.path = (ProtobufCBinaryData){ 2, (uint8_t *)"f0" };
	m.path = &path;
	expect("mkdir", gofer_call(t->world->session, &request, &reply), -EEXIST);
}

static void *run_thread(void *arg)
{
	struct thread *t = arg;

	for (uint64_t i = 0; i < t->world->operations / ROUNDS; i++)
		switch (below(t, 24)) {
		case 0 ... 5:
			write_block(t);
			break;
		case 6 ... 15:
			read_blocks(t);
			break;
		case 16:
			reopen_shared(t, below(t, N_SHARED));
			break;
		case 17:
			if (below(t, 20) == 0)
				forget(t);
			else
				expect("advice",
				       gofer_fadvise(t->shared[below(t, N_SHARED)], below(t, SIZE),
						     0,
						     below(t, 2) ? POSIX_FADV_DONTNEED
								 : POSIX_FADV_SEQUENTIAL),
				       0);
			break;
		case 18:
			change_own(t);
			break;
		case 19:
			read_own(t);
			break;
		default:
			change_all(t);
			break;
		}
	for (unsigned i = 0; i < 20; i++)
		change_all(t);
	return NULL;
}

static void begin_thread(struct thread *t, struct world *w, unsigned number, uint64_t seed)
{
	char name[16];

	t->world = w;
	t->number = number;
	t->seed = seed;
	snprintf(name, sizeof(name), "own%u", number);
	t->own = open_file(t, name, O_RDWR | O_CREAT | O_TRUNC);
	t->all = open_file(t, "all", O_RDWR | O_CREAT);
	for (unsigned f = 0; f < N_SHARED; f++)
		reopen_shared(t, f);
}

static void end_thread(struct thread *t)
{
	gofer_close(t->own);
	gofer_close(t->all);
	for (unsigned f = 0; f < N_SHARED; f++)
		gofer_close(t->shared[f]);
}

static void round_of(struct world *w, struct thread *threads)
{
	for (unsigned i = 0; i < N_THREADS; i++)
		if (pthread_create(&threads[i].thread, NULL, run_thread, &threads[i]) != 0)
			die("pthread_create");
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(threads[i].thread, NULL);
	check_all(w);
}

static void run(const char *host, const char *mode, enum gofer_interop interop, uint64_t seed,
		uint64_t operations)
{
	const struct gofer_mount_options o = {
		.interop = interop, .no_donate = true, .page_bytes = 1, .dirty_ms = 3
	};
	const struct gofer_mount_options shared = { .no_donate = true };
	struct world *w = calloc(1, sizeof(*w));
	struct thread *threads = calloc(N_THREADS, sizeof(*threads));
	struct gofer_cache_stats st = { 0 };

	w->host = host;
	w->operations = operations;
	w->session = session_connect();
	w->ns = namespace_of(w->session, "t", &o);
	if (gofer_mount(w->ns, w->session, filesystem_id(w->session, "t"), "/s", &shared) < 0)
		die("%s", gofer_message());
	for (unsigned f = 0; f < N_SHARED; f++) {
		char path[16];

		snprintf(path, sizeof(path), "/f%u", f);
		expect("make", gofer_write_file(w->ns, path, "", 0, 0644, 0), 0);
		expect("make", gofer_truncate(w->ns, path, SIZE), 0);
	}
	for (unsigned i = 0; i < N_THREADS; i++)
		begin_thread(&threads[i], w, i, seed + i);
	for (unsigned i = 0; i < ROUNDS; i++)
		round_of(w, threads);
	for (unsigned i = 0; i < N_THREADS; i++)
		end_thread(&threads[i]);
	(void)gofer_session_get_cache_stats(w->session, &st);
	check(interop == GOFER_INTEROP_SHARED || (st.page_hits && st.page_evictions),
	      "%s, seed %lu: %u threads of %lu operations, %lu words compared; %lu hits, %lu "
	      "misses, "
	      "%lu evictions",
	      mode, seed, N_THREADS, operations, w->words, st.page_hits, st.page_misses,
	      st.page_evictions);
	gofer_namespace_free(w->ns);
	gofer_session_close(w->session);
	free(threads);
	free(w);
}

int main(int argc, char **argv)
{
	uint64_t n = option_number(argc, argv, "-n", 20000);
	uint64_t seed = option_number(argc, argv, "-seed", clock_ns() | 1);

	if (argc < 2)
		die("usage: content_threads HOSTDIR [-n OPERATIONS] [-seed N]");
	printf("seed %lu\n", seed);
	fflush(stdout);
	run(argv[1], "exclusive", GOFER_INTEROP_EXCLUSIVE, seed, n);
	run(argv[1], "writethrough", GOFER_INTEROP_WRITETHROUGH, seed + 1, n);
	run(argv[1], "shared", GOFER_INTEROP_SHARED, seed + 2, n);
	return proof_end();
}
