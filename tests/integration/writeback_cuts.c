/*
 * writeback_cuts.c - what waits in a page cache while connections are cut (cutter.h): no call fails, no byte is lost, and what
 * gofer_fsync() has acknowledged is on the host.
 *
 *	writeback_cuts DIR SOCKET [-n OPERATIONS] [-seed N]      DIR is what the server serves as "t"
 *
 * Mode exclusive, pages that go after a millisecond. Writes by handle wait, so that none of the program's own calls changes anything that
 * could not be done twice.
 */
#include "tests/integration/cutter.h"

enum { MOST = 300000, PIECE = 9000, EVERY = 400000 /* bytes, about, between two cuts */ };

struct scene {
	const char *dir;
	struct cutter *cutter;
	struct gofer_session *session;
	struct gofer_namespace *ns;
	struct gofer_file *file;
	uint64_t seed, operations, syncs;
	size_t size;
	uint8_t data[MOST], buf[MOST + 8];
};

static unsigned below(struct scene *s, unsigned n)
{
	return (unsigned)random_below(&s->seed, n);
}

static void expect(struct scene *s, const char *what, int64_t got, int64_t wanted)
{
	if (got != wanted)
		die("operation %lu: %s: %ld instead of %ld: %s", s->operations, what, got, wanted,
		    gofer_message());
}

static void compare(struct scene *s, const char *what, size_t size, size_t offset)
{
	for (size_t i = 0; i < size; i++)
		if (s->buf[i] != s->data[offset + i])
			die("operation %lu: %s: byte %zu is %02x instead of %02x", s->operations,
			    what, offset + i, s->buf[i], s->data[offset + i]);
}

/* Each connection is cut after so many bytes, in one direction or the other. */
static void arm(struct scene *s)
{
	int64_t bytes = 1000 + below(s, 2 * EVERY);

	cutter_cut(s->cutter, below(s, 2) ? bytes : -1, below(s, 4) ? -1 : bytes / 8);
}

static void look_at_host(struct scene *s)
{
	char path[PATH_MAX];
	_cleanup_fd_ int fd = -EBADF;

	snprintf(path, sizeof(path), "%s/cuts", s->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	expect(s, "size on the host", pread(fd, s->buf, sizeof(s->buf), 0), (int64_t)s->size);
	compare(s, "on the host", s->size, 0);
	s->syncs++;
}

static void step(struct scene *s)
{
	size_t offset = below(s, MOST - PIECE), size = 1 + below(s, PIECE), have;
	struct stat st;

	switch (below(s, 20)) {
	case 0:
		expect(s, "fsync", gofer_fsync(s->file, below(s, 2)), 0);
		look_at_host(s);
		arm(s);
		break;
	case 1:
		expect(s, "fstat", gofer_fstat(s->file, &st), 0);
		expect(s, "size", st.st_size, (int64_t)s->size);
		break;
	case 2 ... 7:
		have = offset < s->size ? MIN(size, s->size - offset) : 0;
		expect(s, "read", gofer_pread(s->file, s->buf, size, offset), (int64_t)have);
		compare(s, "read", have, offset);
		break;
	default:
		for (size_t i = 0; i < size; i += 8) {
			uint64_t word = random_next(&s->seed);

			memcpy(s->buf + i, &word, 8);
		}
		expect(s, "write", gofer_pwrite(s->file, s->buf, size, offset), (int64_t)size);
		memcpy(s->data + offset, s->buf, size);
		s->size = MAX(s->size, offset + size);
		break;
	}
}

int main(int argc, char **argv)
{
	const struct gofer_mount_options o = { .interop = GOFER_INTEROP_EXCLUSIVE,
					       .no_donate = true,
					       .page_bytes = 1 << 20,
					       .dirty_ms = 1 };
	struct gofer_session_options so = { .reconnect_ms = 60000 };
	uint64_t n = option_number(argc, argv, "-n", 20000), seed;
	struct scene *s = calloc(1, sizeof(*s));
	struct gofer_stats st;
	char address[128];

	if (argc < 3)
		die("usage: writeback_cuts DIR SOCKET [-n OPERATIONS] [-seed N]");
	seed = s->seed = option_number(argc, argv, "-seed", clock_ns() | 1);
	printf("seed %lu\n", seed);
	fflush(stdout);
	s->dir = argv[1];
	s->cutter = cutter_start(argv[2]);
	snprintf(address, sizeof(address), "unix-stream:%s", argv[2]);
	if (gofer_session_open(address, &so, &s->session) < 0)
		die("%s", gofer_message());
	s->ns = namespace_of(s->session, "t", &o);
	expect(s, "open", gofer_open(s->ns, "/cuts", O_RDWR | O_CREAT | O_TRUNC, 0644, &s->file),
	       0);
	arm(s);
	for (; s->operations < n; s->operations++)
		step(s);
	expect(s, "sync", gofer_session_sync(s->session), 0);
	expect(s, "at risk", gofer_at_risk(s->session, NULL, NULL), 0);
	look_at_host(s);
	expect(s, "close", gofer_close(s->file), 0);
	gofer_session_get_stats(s->session, &st);
	check(st.reconnects > 0,
	      "%lu operations, %lu times synced and compared, %lu connections cut", s->operations,
	      s->syncs, (unsigned long)st.reconnects);
	gofer_namespace_free(s->ns);
	gofer_session_close(s->session);
	cutter_stop(s->cutter);
	free(s);
	return proof_end();
}
