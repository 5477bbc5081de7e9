/*
 * mapping_model.c - files in memory against a model: a client maps a few files, stores to and loads from them, and does
 * by handle and by path all else that changes what they hold.
 *
 *     mapping_model HOSTDIR [-n OPERATIONS] [-seed N] [-only KIND]
 *
 * HOSTDIR is served as filesystem "t". Every byte that is loaded or read must be the one that the model has, every access beyond the
 * end of a file SIGBUS; what was synced must be the host's. Once for each way in which a kernel lets mappings be
 * made: with all that userfaultfd has, without tracking of writes, for faults of user mode only, without.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client/mapping_limits.h"
#include "tests/integration/bus.h"
#include "tests/integration/raw.h"

enum {
	N_NAMES = 3,
	N_FILES = 6,
	N_MAPS = 8,
	PAGE = 4096,
	PAGES = 40,
	MOST = PAGES * PAGE,
	PIECE = 20000,
};

/* A file. */
struct content {
	size_t size;
	uint8_t data[MOST + PIECE];
};

struct area {
	uint8_t *addr;
	unsigned name;
	size_t first, n; /* pages of the file */
	bool private, writes;
	bool own[PAGES]; /* of a private one: copied on write */
	uint8_t *copy;
};

struct model {
	const char *host;
	struct gofer_session *session;
	struct gofer_namespace *ns;
	bool caching;
	uint64_t seed, operations, loads, faults;
	struct content files[N_NAMES];
	struct {
		struct gofer_file *file;
		unsigned name;
		int access;
		bool shared, native;
	} open[N_FILES];
	struct area maps[N_MAPS];
	uint8_t buf[MOST + PIECE];
	char last[256];
};

_printf_(2, 3) static void wrong(struct model *m, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	die("; operation %lu: %s (%s)", m->operations, m->last, gofer_message());
}

_printf_(2, 3) static void note(struct model *m, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(m->last, sizeof(m->last), format, ap);
	va_end(ap);
}

static void expect(struct model *m, int64_t got, int64_t wanted)
{
	if (got != wanted)
		wrong(m, "%ld instead of %ld", got, wanted);
}

static unsigned below(struct model *m, unsigned n)
{
	return (unsigned)random_below(&m->seed, n);
}

static void compare(struct model *m, const uint8_t *got, const uint8_t *wanted, size_t size,
		    size_t offset)
{
	m->loads++;
	for (size_t i = 0; i < size; i++)
		if (got[i] != wanted[i])
			wrong(m, "byte %zu is %02x instead of %02x", offset + i, got[i], wanted[i]);
}

static const char *name_of(unsigned i)
{
	static const char *const names[] = { "/a", "/b", "/c" };

	return names[i];
}

static const uint8_t *some_bytes(struct model *m, size_t size)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t r = random_next(&m->seed);

		memcpy(m->buf + i, &r, 8);
	}
	return m->buf;
}

/* ---- the model ---- */

static size_t page_up(size_t n)
{
	return (n + PAGE - 1) & ~(size_t)(PAGE - 1);
}

static void resize(struct model *m, unsigned name, size_t size)
{
	struct content *c = &m->files[name];

	if (size > c->size)
		memset(c->data + c->size, 0, size - c->size);
	/* A private page goes with the file's. */
	for (unsigned i = 0; i < N_MAPS; i++) {
		struct area *a = &m->maps[i];

		if (a->addr && a->name == name && a->private && size < c->size)
			for (size_t p = page_up(size) / PAGE; p < PAGES; p++)
				a->own[p] = false;
	}
	c->size = size;
}

static void store(struct model *m, unsigned name, const void *data, size_t size, size_t offset)
{
	struct content *c = &m->files[name];

	if (!size)
		return;
	if (offset + size > c->size)
		resize(m, name, offset + size);
	if (data)
		memcpy(c->data + offset, data, size);
	else
		memset(c->data + offset, 0, size);
}

static size_t random_size(struct model *m)
{
	switch (below(m, 5)) {
	case 0:
		return below(m, PAGES + 1) * PAGE;
	case 1:
		return below(m, 3 * PAGE);
	default:
		return below(m, MOST);
	}
}

/* ---- memory ---- */

static struct area *some_area(struct model *m)
{
	struct area *a = &m->maps[below(m, N_MAPS)];

	return a->addr ? a : NULL;
}

/* What the area shows at a page, NULL for SIGBUS. */
static const uint8_t *shown(struct model *m, const struct area *a, size_t page)
{
	const struct content *c = &m->files[a->name];

	if (page * PAGE >= page_up(c->size))
		return NULL;
	return a->own[page] ? a->copy + page * PAGE : c->data + page * PAGE;
}

static bool touched(struct model *m, uint8_t *to, const uint8_t *from, size_t size, bool wanted)
{
	bool got = copy(to, from, size);

	if (got != wanted)
		wrong(m, got ? "no SIGBUS" : "SIGBUS");
	m->faults += !got;
	return got;
}

/* Mostly of the file. */
static size_t some_page(struct model *m, const struct area *a)
{
	size_t page = a->first + below(m, (unsigned)a->n);

	for (unsigned i = 0; i < 3 && page * PAGE >= m->files[a->name].size; i++)
		page = a->first + below(m, (unsigned)a->n);
	return page;
}

static void do_load(struct model *m)
{
	struct area *a = some_area(m);
	const uint8_t *wanted;
	size_t page, len;

	if (!a)
		return;
	page = some_page(m, a);
	wanted = shown(m, a, page);
	note(m, "load of page %zu of %s, of %zu bytes, %s", page, name_of(a->name),
	     m->files[a->name].size, a->private ? "private" : "shared");
	if (!touched(m, m->buf, a->addr + (page - a->first) * PAGE, PAGE, wanted))
		return;
	/* Behind the end lies what somebody stored there. */
	len = a->own[page] ? (size_t)PAGE : MIN((size_t)PAGE, m->files[a->name].size - page * PAGE);
	compare(m, m->buf, wanted, len, page * PAGE);
}

static void do_store(struct model *m)
{
	struct area *a = some_area(m);
	struct content *c;
	size_t page, at, len;
	const uint8_t *data;
	bool fits;

	if (!a || !a->writes)
		return;
	c = &m->files[a->name];
	page = some_page(m, a);
	at = below(m, PAGE);
	len = 1 + below(m, (unsigned)(PAGE - at));
	data = some_bytes(m, len);
	note(m, "store of %zu bytes to %zu+%zu of %s, of %zu bytes, %s", len, page * PAGE, at,
	     name_of(a->name), c->size, a->private ? "private" : "shared");
	if (!touched(m, a->addr + (page - a->first) * PAGE + at, data, len, shown(m, a, page)))
		return;
	fits = page * PAGE + at < c->size;
	if (a->private) {
		if (!a->own[page]) {
			/* With whatever lies behind the end. */
			memcpy(a->copy + page * PAGE, a->addr + (page - a->first) * PAGE, PAGE);
			compare(m, a->copy + page * PAGE, c->data + page * PAGE,
				MIN(at, c->size - page * PAGE), page * PAGE);
		}
		a->own[page] = true;
		memcpy(a->copy + page * PAGE + at, data, len);
	} else if (fits) {
		memcpy(c->data + page * PAGE + at, data, MIN(len, c->size - page * PAGE - at));
	}
}

static void do_map(struct model *m)
{
	struct area *a = &m->maps[below(m, N_MAPS)];
	unsigned i = below(m, N_FILES);
	bool private = below(m, 3) == 0, writes = below(m, 3) != 0;
	bool allowed;
	void *p;
	int r;

	/* Natively it would not show what is stored here and not sent yet. */
	if (a->addr || !m->open[i].file || m->open[i].access == O_WRONLY || m->open[i].native)
		return;
	if (writes && !private && m->open[i].access != O_RDWR)
		writes = false;
	allowed = private || !writes || (m->caching && !m->open[i].shared);
	a->first = below(m, PAGES - 1);
	a->n = 1 + below(m, (unsigned)(PAGES - a->first));
	note(m, "mmap %s, %s%s, pages %zu+%zu", name_of(m->open[i].name),
	     private ? "private" : "shared", writes ? ", writable" : "", a->first, a->n);
	r = gofer_mmap(m->open[i].file, NULL, a->n * PAGE - below(m, PAGE),
		       PROT_READ | (writes ? PROT_WRITE : 0),
		       (private ? MAP_PRIVATE : MAP_SHARED) | (below(m, 5) ? 0 : MAP_POPULATE),
		       a->first * PAGE, &p);
	expect(m, r, allowed ? 0 : -ENODEV);
	if (r < 0)
		return;
	a->addr = p;
	a->name = m->open[i].name;
	a->private = private;
	a->writes = writes;
	memset(a->own, 0, sizeof(a->own));
	if (private && !a->copy)
		a->copy = malloc(MOST);
}

static void do_unmap(struct model *m)
{
	struct area *a = some_area(m);
	size_t gone;

	if (!a)
		return;
	gone = below(m, 3) ? a->n : 1 + below(m, (unsigned)a->n);
	note(m, "munmap %zu of %zu pages of %s", gone, a->n, name_of(a->name));
	if (below(m, 2)) {
		expect(m, gofer_munmap(m->ns, a->addr, gone * PAGE), 0);
		a->addr += gone * PAGE;
		a->first += gone;
	} else {
		expect(m, gofer_munmap(m->ns, a->addr + (a->n - gone) * PAGE, gone * PAGE), 0);
	}
	a->n -= gone;
	if (!a->n)
		a->addr = NULL;
}

static void do_msync(struct model *m)
{
	static const int flags[] = { MS_SYNC, MS_ASYNC, MS_INVALIDATE, MS_SYNC | MS_INVALIDATE };
	struct area *a = some_area(m);
	size_t from, n;

	if (!a)
		return;
	from = below(m, (unsigned)a->n);
	n = 1 + below(m, (unsigned)(a->n - from));
	note(m, "msync %s", name_of(a->name));
	expect(m, gofer_msync(m->ns, a->addr + from * PAGE, n * PAGE, flags[below(m, 4)]), 0);
}

/* ---- by handle ---- */

static void do_open(struct model *m)
{
	static const int access[] = { O_RDONLY, O_RDWR, O_RDWR, O_WRONLY };
	/* Through a mount that others may change too, and one with descriptors. */
	static const char *const where[] = { "", "", "", "", "/s", "/d" };
	unsigned i = below(m, N_FILES), name = below(m, N_NAMES), at = below(m, ARRAY_SIZE(where));
	int how = access[below(m, 4)], truncate = below(m, 12) == 0 && how != O_RDONLY;
	char path[16];

	if (m->open[i].file) {
		note(m, "close");
		expect(m, gofer_close(TAKE_PTR(m->open[i].file)), 0);
		return;
	}
	/* What is written to a descriptor is nobody's business here. */
	if (at == 5)
		how = O_RDONLY, truncate = 0;
	snprintf(path, sizeof(path), "%s%s", where[at], name_of(name));
	note(m, "open %s %o%s", path, how, truncate ? ", truncated" : "");
	expect(m,
	       gofer_open(m->ns, path, how | O_CREAT | (truncate ? O_TRUNC : 0), 0644,
			  &m->open[i].file),
	       0);
	if (truncate)
		resize(m, name, 0);
	m->open[i].name = name;
	m->open[i].access = how;
	m->open[i].shared = at == 4;
	m->open[i].native = at == 5;
}

/* A buffer: often memory that is mapped itself, where nothing else is in it. */
static void do_read(struct model *m, unsigned i)
{
	const struct content *c = &m->files[m->open[i].name];
	size_t at = below(m, MOST), size = below(m, PIECE), want;
	struct area *a = some_area(m);
	uint8_t *to = m->buf;
	ssize_t n;

	if (m->open[i].access == O_WRONLY)
		return;
	want = at < c->size ? MIN(size, c->size - at) : 0;
	note(m, "read %zu+%zu of %s of %zu bytes", at, size, name_of(m->open[i].name), c->size);
	/* Into private pages, all of which are there. */
	if (a && a->private && a->writes && below(m, 2)) {
		size = MIN(size, a->n * PAGE);
		want = MIN(want, size);
		for (size_t p = a->first; p < a->first + page_up(size) / PAGE; p++)
			if (!shown(m, a, p))
				size = 0;
		if (!size)
			return;
		to = a->addr;
	}
	n = gofer_pread(m->open[i].file, to, size, at);
	expect(m, n, (ssize_t)want);
	compare(m, to, c->data + at, want, at);
	for (size_t p = 0; to != m->buf && p * PAGE < want; p++) {
		a->own[a->first + p] = true;
		memcpy(a->copy + (a->first + p) * PAGE, to + p * PAGE, PAGE);
	}
}

static void do_write(struct model *m, unsigned i)
{
	size_t at = below(m, MOST - 1), size = 1 + below(m, (unsigned)MIN(PIECE, MOST - at));
	struct area *a = some_area(m);
	const uint8_t *from;

	if (m->open[i].access != O_RDWR && m->open[i].access != O_WRONLY)
		return;
	note(m, "write %zu+%zu of %s of %zu bytes", at, size, name_of(m->open[i].name),
	     m->files[m->open[i].name].size);
	if (a && below(m, 3) == 0) {
		size_t pages = 0;

		/* Of what is mapped; it may be the same file. */
		while (pages < a->n && shown(m, a, a->first + pages))
			pages++;
		size = MIN(size, pages * PAGE);
		if (!size)
			return;
		/* What lies behind the end of its file the model does not know. */
		memcpy(m->buf, a->addr, size);
		expect(m, gofer_pwrite(m->open[i].file, a->addr, size, at), (ssize_t)size);
		store(m, m->open[i].name, m->buf, size, at);
		return;
	}
	from = some_bytes(m, size);
	expect(m, gofer_pwrite(m->open[i].file, from, size, at), (ssize_t)size);
	store(m, m->open[i].name, from, size, at);
}

static void do_truncate(struct model *m, unsigned i)
{
	size_t size = random_size(m);

	if (m->open[i].access != O_RDWR && m->open[i].access != O_WRONLY)
		return;
	note(m, "truncate %s from %zu to %zu", name_of(m->open[i].name),
	     m->files[m->open[i].name].size, size);
	expect(m, gofer_ftruncate(m->open[i].file, size), 0);
	resize(m, m->open[i].name, size);
}

static void do_allocate(struct model *m, unsigned i)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_ZERO_RANGE };
	struct content *c = &m->files[m->open[i].name];
	size_t at = below(m, MOST - 1), size = 1 + below(m, (unsigned)(MOST - at));
	unsigned how = below(m, 4);
	int r;

	if (m->open[i].access != O_RDWR && m->open[i].access != O_WRONLY)
		return;
	note(m, "fallocate %x %zu+%zu of %s", modes[how], at, size, name_of(m->open[i].name));
	r = gofer_fallocate(m->open[i].file, modes[how], at, size);
	if (r == -EOPNOTSUPP)
		return;
	expect(m, r, 0);
	if (how == 2 && at < c->size)
		store(m, m->open[i].name, NULL, MIN(size, c->size - at), at);
	else if (how == 3)
		store(m, m->open[i].name, NULL, size, at);
	else if (how == 0 && at + size > c->size)
		resize(m, m->open[i].name, at + size);
}

static void do_copy(struct model *m, unsigned i)
{
	unsigned k = below(m, N_FILES);
	size_t from, to, size, want;
	struct content *c;
	ssize_t n;

	if (!m->open[k].file || m->open[k].access == O_RDONLY || m->open[i].access == O_WRONLY ||
	    m->open[i].name == m->open[k].name)
		return;
	c = &m->files[m->open[i].name];
	from = below(m, MOST);
	to = below(m, MOST - PIECE);
	size = 1 + below(m, PIECE);
	want = from < c->size ? MIN(size, c->size - from) : 0;
	note(m, "copy %zu+%zu of %s to %zu of %s", from, size, name_of(m->open[i].name), to,
	     name_of(m->open[k].name));
	n = gofer_copy_file_range(m->open[i].file, from, m->open[k].file, to, size);
	expect(m, n, (ssize_t)want);
	store(m, m->open[k].name, c->data + from, want, to);
}

static void do_size(struct model *m, unsigned i)
{
	struct stat st;

	note(m, "fstat %s", name_of(m->open[i].name));
	expect(m, gofer_fstat(m->open[i].file, &st), 0);
	expect(m, st.st_size, (int64_t)m->files[m->open[i].name].size);
}

static void look_at_host(struct model *m, unsigned name)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s%s", m->host, name_of(name));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	expect(m, pread(fd, m->buf, sizeof(m->buf), 0), (int64_t)m->files[name].size);
	close(fd);
	compare(m, m->buf, m->files[name].data, m->files[name].size, 0);
}

static void do_fsync(struct model *m, unsigned i)
{
	note(m, "fsync %s", name_of(m->open[i].name));
	expect(m, gofer_fsync(m->open[i].file, below(m, 2)), 0);
	look_at_host(m, m->open[i].name);
}

/* ---- by path ---- */

static void do_path(struct model *m)
{
	unsigned name = below(m, N_NAMES);
	size_t size = random_size(m), got;
	void *data;

	switch (below(m, 4)) {
	case 0:
		note(m, "truncate %s by path to %zu", name_of(name), size);
		expect(m, gofer_truncate(m->ns, name_of(name), size), 0);
		resize(m, name, size);
		break;
	case 1:
		note(m, "write the whole of %s, %zu bytes", name_of(name), size);
		expect(m,
		       gofer_write_file(m->ns, name_of(name), some_bytes(m, size), size, 0644, 0),
		       0);
		resize(m, name, 0);
		store(m, name, m->buf, size, 0);
		break;
	default:
		note(m, "read the whole of %s", name_of(name));
		expect(m, gofer_read_file(m->ns, name_of(name), &data, &got, NULL), 0);
		expect(m, (int64_t)got, (int64_t)m->files[name].size);
		compare(m, data, m->files[name].data, got, 0);
		free(data);
		break;
	}
}

/* ---- ---- */

static void step(struct model *m)
{
	unsigned what = below(m, 40), i = below(m, N_FILES);

	if (what < 12)
		do_load(m);
	else if (what < 20)
		do_store(m);
	else if (what < 22)
		do_map(m);
	else if (what < 23)
		do_unmap(m);
	else if (what < 24)
		do_msync(m);
	else if (what < 25)
		do_path(m);
	else if (what < 27)
		do_open(m);
	else if (!m->open[i].file)
		return;
	else if (what < 30)
		do_read(m, i);
	else if (what < 33)
		do_write(m, i);
	else if (what < 35)
		do_truncate(m, i);
	else if (what < 36)
		do_allocate(m, i);
	else if (what < 37)
		do_copy(m, i);
	else if (what < 38)
		do_size(m, i);
	else
		do_fsync(m, i);
}

static void finish(struct model *m)
{
	for (unsigned i = 0; i < N_MAPS; i++) {
		if (m->maps[i].addr)
			expect(m, gofer_munmap(m->ns, m->maps[i].addr, m->maps[i].n * PAGE), 0);
		free(m->maps[i].copy);
	}
	for (unsigned i = 0; i < N_FILES; i++)
		expect(m, gofer_close(m->open[i].file), 0);
	note(m, "at the end");
	expect(m, gofer_umount(m->ns, "/s"), 0);
	expect(m, gofer_umount(m->ns, "/d"), 0);
	for (unsigned i = 0; i < N_NAMES; i++)
		look_at_host(m, i);
	gofer_namespace_free(m->ns);
	gofer_session_close(m->session);
}

static void mount_at(struct model *m, const char *path, enum gofer_interop interop, bool donate,
		     uint64_t bytes)
{
	const struct gofer_mount_options o = { .interop = interop,
					       .no_donate = !donate,
					       .page_bytes = bytes };

	if (gofer_mount(m->ns, m->session, filesystem_id(m->session, "t"), path, &o) < 0)
		die("%s", gofer_message());
}

static const struct kind {
	enum gofer_interop interop;
	unsigned features;
	uint64_t budget;
} kinds[] = {
	{ GOFER_INTEROP_EXCLUSIVE, MAPPING_ALL, 256 << 10 },
	{ GOFER_INTEROP_EXCLUSIVE, MAPPING_ALL & ~MAPPING_TRACK, 64 << 10 },
	{ GOFER_INTEROP_WRITETHROUGH, MAPPING_FAULTS | MAPPING_TRACK, 0 },
	{ GOFER_INTEROP_WRITETHROUGH, 0, 0 },
	{ GOFER_INTEROP_SHARED, MAPPING_ALL, 0 },
	{ GOFER_INTEROP_SHARED, 0, 0 },
};

static void run(const char *host, const struct kind *kind, uint64_t seed, uint64_t operations)
{
	static const char *const modes[] = { "shared", "writethrough", "exclusive" };
	struct model *m = calloc(1, sizeof(*m));
	unsigned have;

	m->host = host;
	m->seed = seed;
	m->caching = kind->interop != GOFER_INTEROP_SHARED;
	m->session = session_connect();
	mapping_limit(m->session, kind->features, kind->budget, MOST);
	if (gofer_namespace_new(&m->ns) < 0)
		die("%s", gofer_message());
	mount_at(m, "/", kind->interop, false, kind->budget ? 0 : 1);
	mount_at(m, "/s", GOFER_INTEROP_SHARED, false, 0);
	mount_at(m, "/d", GOFER_INTEROP_SHARED, true, 0);
	for (unsigned i = 0; i < N_NAMES; i++)
		expect(m, gofer_write_file(m->ns, name_of(i), "", 0, 0644, 0), 0);
	for (m->operations = 0; m->operations < operations; m->operations++)
		step(m);
	have = mapping_features(m->session);
	finish(m);
	check((m->loads && m->faults) || operations < 1000,
	      "%s, %s%s, budget %lu KiB, seed %lu: %lu operations, %lu times compared, %lu "
	      "SIGBUS",
	      modes[kind->interop],
	      !have                   ? "no faults"
	      : have & MAPPING_KERNEL ? "all faults"
				      : "faults of user mode",
	      have & MAPPING_TRACK ? ", tracked" : "", kind->budget >> 10, seed, operations,
	      m->loads, m->faults);
	free(m);
}

int main(int argc, char **argv)
{
	const char *host = argc > 1 ? argv[1] : NULL;
	uint64_t n = option_number(argc, argv, "-n", 20000);
	uint64_t seed = option_number(argc, argv, "-seed", clock_ns() | 1);
	uint64_t only = option_number(argc, argv, "-only", UINT64_MAX);
	struct sigaction act = { .sa_handler = on_bus };

	if (!host)
		die("usage: mapping_model HOSTDIR [-n OPERATIONS] [-seed N] [-only KIND]");
	(void)umask(0);
	sigaction(SIGBUS, &act, NULL);
	printf("seed %lu\n", seed);
	fflush(stdout);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		if (only == UINT64_MAX || only == i)
			run(host, &kinds[i], seed + i, n);
	return proof_end();
}
