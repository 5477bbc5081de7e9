/*
 * cache_scan.c - what a scan does to the pages that are in use: a hot set of half the page cache is read at random, page by page, while a
 * file of ten times the cache is read from one end to the other through the same session.
 *
 *     cache_scan HOSTDIR        served as filesystem "t", without donated descriptors
 *         -pages MIB            the page cache (default 16)
 *         -every N              pages of the scan for each read of the hot set (default 4)
 *         -markdown             rows of a table as well
 *
 * The hit rate of the hot set is counted in the library: reads that needed no request. Beside it stands plain LRU, as a simulation: the same
 * accesses in the same order, page by page, through the frames of the same cache (client/cache/frames.c) with the policy FRAMES_LRU. The
 * simulation is also made with the policy that the library has, to show how far it can be believed.
 */
#include "client/cache/frames.h"
#include "tests/integration/proof.h"

enum { STEP = 32 /* pages of one read of the scan: 128 KiB */, ROUNDS = 3 };

static struct {
	const char *host;
	uint64_t pages, every;
	bool markdown;
	struct gofer_session *session;
	struct gofer_namespace *ns;
} b;

struct rate {
	uint64_t hits, reads;
};

static double percent(struct rate r)
{
	return r.reads ? 100.0 * (double)r.hits / (double)r.reads : 0;
}

/*
 * Who is read, and what counts: either the library, or simulated frames. One order of accesses for all.
 */
struct subject {
	struct frames *frames; /* NULL: the library */
	struct gofer_file *hot, *scanned;
};

static uint64_t misses(void)
{
	struct gofer_cache_stats s;

	if (gofer_session_get_cache_stats(b.session, &s) < 0)
		die("nothing is remembered");
	return s.page_misses;
}

static void read_library(struct gofer_file *f, uint64_t page, uint64_t n)
{
	static char buf[STEP << FRAME_SHIFT];
	ssize_t size = (ssize_t)(n << FRAME_SHIFT);

	if (gofer_pread(f, buf, (size_t)size, page << FRAME_SHIFT) != size)
		die("read: %s", gofer_message());
	if (buf[0] != (char)(page + 1))
		die("page %lu holds another's bytes", (unsigned long)page);
}

static bool read_frames(struct frames *s, const void *owner, uint64_t page)
{
	struct page_frame *f = frames_find(s, owner, page);
	bool hit = f;

	if (!f)
		f = frames_take(s, (void *)(uintptr_t)owner, page);
	else
		frames_use(s, f);
	return hit;
}

static bool read_hot(struct subject *u, uint64_t page)
{
	uint64_t before;

	if (u->frames)
		return read_frames(u->frames, &b.pages, page);
	before = misses();
	read_library(u->hot, page, 1);
	return misses() == before;
}

static void scan_step(struct subject *u, uint64_t page)
{
	if (!u->frames)
		read_library(u->scanned, page, STEP);
	for (uint64_t i = 0; u->frames && i < STEP; i++)
		(void)read_frames(u->frames, &b.every, page + i);
}

/* The trace: the hot set as a whole a few times, then the scan with reads of the hot set at random. */
static struct rate run(struct subject *u, bool warm)
{
	uint64_t hot = b.pages / 2, seed = 88172645463325252u, due = 0;
	struct rate r = { 0 };

	for (unsigned round = 0; warm && round < ROUNDS; round++)
		for (uint64_t i = 0; i < hot; i++)
			(void)read_hot(u, i * 7919 % hot); /* each once, in no order */
	for (uint64_t page = 0; page + STEP <= 10 * b.pages; page += STEP) {
		scan_step(u, page);
		for (due += STEP; due >= b.every; due -= b.every) {
			r.hits += read_hot(u, random_below(&seed, (uint32_t)hot));
			r.reads++;
		}
	}
	return r;
}

static bool evictable(void *userdata _unused_, const struct page_frame *f _unused_)
{
	return true;
}

static void evicted(void *userdata _unused_, const struct page_frame *f _unused_)
{
}

static struct rate simulate(enum frames_policy policy, bool warm)
{
	const struct frames_user user = { evictable, evicted, NULL };
	struct subject u = { 0 };
	struct rate r;

	if (frames_new(b.pages << FRAME_SHIFT, policy, &user, &u.frames) < 0)
		die("frames");
	r = run(&u, warm);
	frames_free(u.frames);
	return r;
}

static void make_file(const char *name, uint64_t pages)
{
	char path[PATH_MAX], page[FRAME_SIZE] = { 0 };
	int fd;

	snprintf(path, sizeof(path), "%s/%s", b.host, name);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
	for (uint64_t i = 0; i < pages; i++) {
		page[0] = (char)(i + 1);
		if (fd < 0 || write(fd, page, sizeof(page)) != sizeof(page))
			die("%s: %s", path, strerror(errno));
	}
	close(fd);
}

/* A session of its own, so that nothing is known at first. */
static struct rate measure(bool warm)
{
	const struct gofer_mount_options o = { .interop = GOFER_INTEROP_EXCLUSIVE,
					       .no_donate = true,
					       .page_bytes = b.pages << FRAME_SHIFT };
	struct subject u = { 0 };
	struct rate r;

	b.session = session_connect();
	b.ns = namespace_of(b.session, "t", &o);
	if (gofer_open(b.ns, "/hot", O_RDONLY, 0, &u.hot) < 0 ||
	    gofer_open(b.ns, "/scanned", O_RDONLY, 0, &u.scanned) < 0)
		die("open: %s", gofer_message());
	r = run(&u, warm);
	gofer_close(u.hot);
	gofer_close(u.scanned);
	gofer_namespace_free(b.ns);
	gofer_session_close(b.session);
	return r;
}

/* goal: of hits. margin: that it must be ahead of LRU. */
static void compare(const char *what, bool warm, double goal, double margin)
{
	struct rate library = measure(warm), lru = simulate(FRAMES_LRU, warm),
		    same = simulate(FRAMES_S3FIFO, warm);

	check(percent(library) >= goal,
	      "%s: %.1f %% of %lu reads hit, 1 for each %lu pages of the scan; simulated: LRU %.1f "
	      "%%, the library's own policy %.1f %%",
	      what, percent(library), (unsigned long)library.reads, (unsigned long)b.every,
	      percent(lru), percent(same));
	check(percent(library) >= percent(lru) + margin, "... LRU would not have held it");
	if (b.markdown)
		printf("| %s | %lu | %.1f %% | %.1f %% | %.1f %% |\n", what, (unsigned long)b.every,
		       percent(library), percent(lru), percent(same));
}

int main(int argc, char **argv)
{
	if (argc < 2)
		die("usage: cache_scan HOSTDIR [-pages MIB] [-every N] [-markdown]");
	b.host = argv[1];
	b.pages = option_number(argc, argv, "-pages", 16) << (20 - FRAME_SHIFT);
	b.every = option_number(argc, argv, "-every", 4);
	b.markdown = option_set(argc, argv, "-markdown");
	make_file("hot", b.pages / 2);
	make_file("scanned", 10 * b.pages);
	compare("a hot set that was read before", true, 98, 30);
	/* Who is read more rarely than that is read once or twice in all. */
	compare("a hot set that becomes one during the scan", false, b.every <= 4 ? 40 : 0,
		b.every <= 4 ? 8 : 0);
	return proof_end();
}
