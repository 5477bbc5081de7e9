/*
 * plan.h - what plan_model.c believes that files hold, and what the host is compared with.
 *
 * Each byte is one thread's, which alone changes it and knows what it is; so none of this is locked. Everything is in memory that outlives a child.
 */
#pragma once

#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/integration/bus.h"
#include "tests/integration/inject.h"

enum {
	N_THREADS = 3,
	N_NAMES = 3,
	N_FILES = 4, /* the last is everybody's */
	N_MAPS = 2,
	N_CONTENTS = N_NAMES + N_FILES + N_MAPS,
	PAGE = 4096,
	MOST = 24 * PAGE,
	PIECE = 20000,
	CELL = 1500, /* of everybody's file */
	ROUND = 2500,
};

struct content {
	bool used;
	unsigned links;
	_Atomic unsigned opens; /* mappings, too */
	size_t size;
	bool size_late; /* the host may have another */
	uint8_t data[MOST];
	bool late[MOST];   /* written; the host may not have it yet */
	bool stored[MOST]; /* ... through a mapping */
};

struct thread {
	struct plan *plan;
	unsigned i;
	uint64_t seed;
	pthread_t thread;
	struct content contents[N_CONTENTS];
	struct content *names[N_NAMES];
	/* What a call is changing: a name; a range of a file, or its size. */
	bool unsure[N_NAMES], resizes;
	struct content *busy;
	size_t begin, end;
	struct {
		struct gofer_file *file;
		struct content *content;
		int access;
		bool native;
	} files[N_FILES];
	struct {
		uint8_t *addr;
		struct content *content;
		size_t first, n; /* pages */
		bool writes;
	} maps[N_MAPS];
	uint64_t operations, compared, refused;
	uint8_t buf[MOST + PIECE];
	char last[160];
};

enum fate { NOTHING, FAILURES, CUT, KILL_CLIENT, KILL_SERVER };

/* In shared memory: so much of it outlives the client. */
struct plan {
	const char *host;
	enum gofer_interop mode;
	enum fate fate;
	uint64_t steps; /* of each thread */
	struct gofer_session *session;
	struct gofer_namespace *ns;
	struct inject inject;
	struct content all;
	struct thread threads[N_THREADS];
	_Atomic uint64_t done;
	_Atomic bool ends; /* calls may find that the connection is gone */
	uint64_t cut_after;
};

static const char *const modes[] = { "shared", "writethrough", "exclusive" };
_printf_(2, 3)
	__attribute__((noreturn)) static void wrong(struct thread *t, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	die("%s; %s, thread %u, operation %lu: %s (%s)", text, modes[t->plan->mode], t->i,
	    t->operations, t->last, gofer_message());
}

_printf_(2, 3) static void note(struct thread *t, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(t->last, sizeof(t->last), format, ap);
	va_end(ap);
	t->operations++;
}

static unsigned below(struct thread *t, unsigned n)
{
	return (unsigned)random_below(&t->seed, n);
}

static bool ended(const struct thread *t)
{
	return atomic_load(&t->plan->ends) && gofer_session_status(t->plan->session) < 0;
}

/* Whether the call has done what it was to do; else, that it has done nothing. */
static bool worked(struct thread *t, int64_t r)
{
	if (r >= 0)
		return true;
	/* What it was about stays uncertain. */
	if (ended(t))
		return false;
	if (t->plan->fate != FAILURES || (r != -ENOSPC && r != -EIO))
		wrong(t, "failed with %ld", r);
	t->refused++;
	return false;
}

static void expect(struct thread *t, int64_t got, int64_t wanted)
{
	if (got != wanted && !ended(t))
		wrong(t, "%ld instead of %ld", got, wanted);
}

/* ---- the model ---- */

static bool is_all(const struct thread *t, const struct content *c)
{
	return c == &t->plan->all;
}

/* Whether that byte of the content is this thread's. */
static bool is_mine(const struct thread *t, const struct content *c, size_t at)
{
	return !is_all(t, c) || at / CELL % N_THREADS == t->i;
}

static struct content *content_new(struct thread *t)
{
	struct content *c = t->contents;

	while (c->used)
		c++;
	memset(c, 0, sizeof(*c));
	c->used = true;
	return c;
}

static void put(struct thread *t, struct content *c)
{
	if (c && !is_all(t, c) && !c->links && !c->opens)
		c->used = false;
}

/* A call begins that changes a range, or the size. */
static void begin(struct thread *t, struct content *c, size_t from, size_t to, bool resizes)
{
	t->begin = from;
	t->end = to;
	t->resizes = resizes;
	t->busy = c;
}

/* What it was about when the connection ended stays uncertain. */
static void end(struct thread *t)
{
	if (!ended(t))
		t->busy = NULL;
}

static void resize(struct content *c, size_t size, bool late)
{
	size_t from = MIN(size, c->size);

	memset(c->data + from, 0, MOST - from);
	memset(c->late + from, 0, MOST - from);
	memset(c->stored + from, 0, MOST - from);
	c->size = size;
	c->size_late = late;
}

static void store(const struct thread *t, struct content *c, const void *data, size_t size,
		  size_t offset)
{
	bool late = t->plan->mode == GOFER_INTEROP_EXCLUSIVE;

	if (!size)
		return;
	if (offset + size > c->size)
		resize(c, offset + size, c->size_late || late);
	if (data)
		memcpy(c->data + offset, data, size);
	else
		memset(c->data + offset, 0, size);
	memset(c->late + offset, late, size);
}

/* All that was written, and of the stored a range, is at the server. */
static void settled(const struct thread *t, struct content *c, size_t from, size_t to)
{
	for (size_t i = 0; i < c->size; i++)
		if (is_mine(t, c, i)) {
			c->stored[i] &= i < from || i >= to;
			c->late[i] &= c->stored[i];
		}
	if (!is_all(t, c))
		c->size_late = false;
}

/* A range of the content that this thread may change. */
static void pick(struct thread *t, const struct content *c, size_t *ret_offset, size_t *ret_size)
{
	size_t offset, size;

	if (is_all(t, c)) {
		size_t cell = below(t, MOST / CELL / N_THREADS) * N_THREADS + t->i;

		offset = below(t, CELL);
		size = 1 + below(t, (unsigned)(CELL - offset));
		offset += cell * CELL;
	} else {
		offset = below(t, 4) ? below(t, MOST / 2) : below(t, MOST);
		size = 1 + below(t, below(t, 3) ? 3000 : PIECE);
		if (below(t, 4) == 0) {
			offset &= ~(size_t)(PAGE - 1);
			size = (size + PAGE) & ~(size_t)(PAGE - 1);
		}
		size = MIN(size, MOST - offset);
	}
	*ret_offset = offset;
	*ret_size = size;
}

static const uint8_t *some_bytes(struct thread *t, size_t size)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t r = random_next(&t->seed);

		memcpy(t->buf + i, &r, 8);
	}
	return t->buf;
}

static void compare(struct thread *t, const struct content *c, const uint8_t *got, size_t size,
		    size_t offset)
{
	for (size_t i = 0; i < size; i++)
		if (is_mine(t, c, offset + i) && got[i] != c->data[offset + i])
			wrong(t, "byte %zu is %02x instead of %02x", offset + i, got[i],
			      c->data[offset + i]);
	t->compared++;
}

/* ---- the host ---- */

static const char *host_path(const struct thread *t, int name, char *text)
{
	if (name < 0)
		snprintf(text, PATH_MAX, "%s/all", t->plan->host);
	else
		snprintf(text, PATH_MAX, "%s/t%u-%d", t->plan->host, t->i, name);
	return text;
}

static const char *path_of(const struct thread *t, unsigned name, char *text)
{
	snprintf(text, 32, "/t%u-%u", t->i, name);
	return text;
}

/* What it has must be what the model has, but for what may not be there. risk: bytes that the client says are not; or NULL. */
static void compare_host(struct thread *t, const struct content *c, int name, const bool *risk)
{
	static _Thread_local uint8_t there[MOST + 1];
	char path[PATH_MAX];
	_cleanup_fd_ int fd = open(host_path(t, name, path), O_RDONLY | O_CLOEXEC);
	bool busy = t->busy == c;
	ssize_t n;

	if (fd < 0)
		wrong(t, "%s: %s", path, strerror(errno));
	n = pread(fd, there, sizeof(there), 0);
	if (n < 0)
		wrong(t, "%s: %s", path, strerror(errno));
	if ((size_t)n != c->size && !(busy && t->resizes) && !c->size_late)
		wrong(t, "%s has %zd bytes on the host instead of %zu", path, n, c->size);
	memset(there + n, 0, sizeof(there) - (size_t)n);
	for (size_t i = 0; i < c->size; i++) {
		bool may_differ;

		if (!is_mine(t, c, i))
			continue;
		may_differ =
			(risk ? risk[i] : c->late[i] || c->stored[i]) ||
			(busy && ((i >= t->begin && i < t->end) || (t->resizes && i >= (size_t)n)));
		if (there[i] != c->data[i] && !may_differ)
			wrong(t, "byte %zu of %s is %02x on the host instead of %02x", i, path,
			      there[i], c->data[i]);
	}
	t->compared++;
}

static int name_of(const struct thread *t, const struct content *c)
{
	int i = 0;

	while (i < N_NAMES && t->names[i] != c)
		i++;
	return i;
}

/* After all that was done to a file is at the server. */
static void look_at_host(struct thread *t, const struct content *c)
{
	int name = is_all(t, c) ? -1 : name_of(t, c);

	if (name < N_NAMES && !ended(t))
		compare_host(t, c, name, NULL);
}
