/*
 * content_model.c - what files hold, as a client with a page cache reads it, against a model in memory.
 *
 *     content_model HOSTDIR [-n OPERATIONS] [-seed N]
 *
 * HOSTDIR is served as filesystem "t", with descriptors for who wants them. A few names and a few open files at a time:
 * reads, writes, truncations, holes, copies, advice; names that are linked, renamed over each other, removed and made again; by
 * handle, by path, by requests of the program's own, through a mount that shares the tree with others, and through one
 * with descriptors. Every byte that is read must be the one that the model has, and so must the host's once
 * all is sent. Where the tree is shared, a second client and the host itself change it, too.
 */
#include "tests/integration/raw.h"

enum { N_NAMES = 7, N_FILES = 6, SIZE_MAX_FILE = 300 << 10, PIECE_MAX = 40 << 10 };

struct content {
	unsigned links, opens;
	size_t size;
	uint8_t data[SIZE_MAX_FILE];
};

struct model {
	const char *host;
	struct gofer_session *session, *other_session;
	struct gofer_namespace *ns, *other;
	bool shared;
	uint64_t seed, operations, reads;
	struct content *names[N_NAMES];
	struct {
		struct gofer_file *file;
		struct content *content;
		int access;
		bool append;
	} files[N_FILES];
	uint8_t buf[SIZE_MAX_FILE + PIECE_MAX], last[256];
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
	vsnprintf((char *)m->last, sizeof(m->last), format, ap);
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

/* ---- the model ---- */

static void put(struct content *c)
{
	if (c && !c->links && !c->opens)
		free(c);
}

static void resize(struct content *c, size_t size)
{
	if (size > c->size)
		memset(c->data + c->size, 0, size - c->size);
	c->size = size;
}

static void store(struct content *c, const void *data, size_t size, size_t offset)
{
	if (offset + size > c->size)
		resize(c, offset + size);
	memcpy(c->data + offset, data, size);
}

static struct content *make(struct model *m, unsigned name)
{
	struct content *c = calloc(1, sizeof(*c));

	c->links = 1;
	m->names[name] = c;
	return c;
}

static void lose(struct model *m, unsigned name)
{
	struct content *c = TAKE_PTR(m->names[name]);

	if (c)
		c->links--;
	put(c);
}

/* ---- where ---- */

static size_t random_offset(struct model *m)
{
	switch (below(m, 4)) {
	case 0:
		return below(m, SIZE_MAX_FILE - PIECE_MAX);
	case 1:
		return below(m, 20) * 4096;
	default:
		return below(m, 60000);
	}
}

static size_t random_size(struct model *m)
{
	switch (below(m, 4)) {
	case 0:
		return 1 + below(m, PIECE_MAX);
	case 1:
		return 4096 * (1 + below(m, 8));
	default:
		return 1 + below(m, 6000);
	}
}

static void fill(struct model *m, size_t size)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = random_next(&m->seed);

		memcpy(m->buf + i, &word, 8);
	}
}

/* Mostly through the mount that remembers. */
static const char *path_of(struct model *m, unsigned name)
{
	static char text[2][32];
	static unsigned turn;
	unsigned k = below(m, 10);
	char *out = text[turn++ % 2];

	snprintf(out, sizeof(text[0]), "%s/n%u", k == 0 ? "/s" : k == 1 ? "/d" : "", name);
	return out;
}

static const char *host_of(const struct model *m, unsigned name)
{
	static char text[PATH_MAX];

	snprintf(text, sizeof(text), "%s/n%u", m->host, name);
	return text;
}

/* Where others may change the tree, another client does. */
static struct gofer_namespace *who(struct model *m)
{
	return m->shared && below(m, 2) ? m->other : m->ns;
}

/* ---- what is done ---- */

static void do_close(struct model *m, unsigned i)
{
	struct content *c = TAKE_PTR(m->files[i].content);

	gofer_close(TAKE_PTR(m->files[i].file));
	if (c)
		c->opens--;
	put(c);
}

static void do_open(struct model *m)
{
	static const int flags[] = { O_RDONLY,
				     O_RDONLY,
				     O_RDWR,
				     O_RDWR | O_CREAT,
				     O_RDWR | O_CREAT | O_EXCL,
				     O_RDWR | O_CREAT | O_TRUNC,
				     O_WRONLY | O_TRUNC,
				     O_WRONLY | O_APPEND | O_CREAT,
				     O_RDWR | O_APPEND,
				     O_RDWR | O_DIRECT };
	unsigned i = below(m, N_FILES), name = below(m, N_NAMES);
	int how = flags[below(m, ARRAY_SIZE(flags))];
	struct content *c = m->names[name];
	const char *path = path_of(m, name);
	int r;

	/* The host's file system may not have it, and wants aligned memory. */
	if (!strncmp(path, "/d", 2))
		how &= ~O_DIRECT;
	note(m, "open %s %x", path, how);
	do_close(m, i);
	c = m->names[name];
	r = gofer_open(m->ns, path, how, 0644, &m->files[i].file);
	expect(m, r, !c && !(how & O_CREAT) ? -ENOENT : c && (how & O_EXCL) != 0 ? -EEXIST : 0);
	if (r < 0)
		return;
	if (!c)
		c = make(m, name);
	if (how & O_TRUNC)
		resize(c, 0);
	c->opens++;
	m->files[i].content = c;
	m->files[i].access = how & O_ACCMODE;
	m->files[i].append = how & O_APPEND;
}

static void do_read(struct model *m, unsigned i)
{
	const struct content *c = m->files[i].content;
	size_t offset = random_offset(m), size = random_size(m), have;
	ssize_t n;

	if (below(m, 4) == 0) {
		offset = 0;
		size = SIZE_MAX_FILE;
	}
	have = offset < c->size ? MIN(size, c->size - offset) : 0;
	note(m, "read %zu at %zu of %zu", size, offset, c->size);
	n = gofer_pread(m->files[i].file, m->buf, size, offset);
	if (m->files[i].access == O_WRONLY) {
		expect(m, n, -EBADF);
		return;
	}
	expect(m, n, (int64_t)have);
	for (size_t k = 0; k < have; k++)
		if (m->buf[k] != c->data[offset + k])
			wrong(m, "byte %zu is %02x and must be %02x", offset + k, m->buf[k],
			      c->data[offset + k]);
	m->reads++;
}

static void do_write(struct model *m, unsigned i)
{
	struct content *c = m->files[i].content;
	size_t size = random_size(m);
	size_t offset = m->files[i].append ? c->size : random_offset(m);

	if (offset + size > SIZE_MAX_FILE)
		return;
	fill(m, size);
	note(m, "write %zu at %zu of %zu%s", size, offset, c->size,
	     m->files[i].append ? ", append" : "");
	if (m->files[i].access == O_RDONLY) {
		expect(m, gofer_pwrite(m->files[i].file, m->buf, size, offset), -EBADF);
		return;
	}
	expect(m, gofer_pwrite(m->files[i].file, m->buf, size, offset), (int64_t)size);
	store(c, m->buf, size, offset);
}

static void do_ftruncate(struct model *m, unsigned i)
{
	size_t size = random_offset(m);

	note(m, "ftruncate %zu of %zu", size, m->files[i].content->size);
	if (m->files[i].access == O_RDONLY)
		return;
	expect(m, gofer_ftruncate(m->files[i].file, size), 0);
	resize(m->files[i].content, size);
}

static void do_fallocate(struct model *m, unsigned i)
{
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_ZERO_RANGE };
	struct content *c = m->files[i].content;
	int mode = modes[below(m, ARRAY_SIZE(modes))], r;
	size_t offset = random_offset(m), size = random_size(m), end = offset + size;

	if (m->files[i].access == O_RDONLY)
		return;
	note(m, "fallocate %x %zu at %zu of %zu", mode, size, offset, c->size);
	r = gofer_fallocate(m->files[i].file, mode, offset, size);
	if (r == -EOPNOTSUPP)
		return;
	expect(m, r, 0);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > c->size)
		resize(c, end);
	if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) && offset < c->size)
		memset(c->data + offset, 0, MIN(end, c->size) - offset);
}

static void do_copy(struct model *m, unsigned i)
{
	unsigned k = below(m, N_FILES);
	struct content *in = m->files[i].content, *out = m->files[k].content;
	size_t from = random_offset(m), to = random_offset(m), size = random_size(m), have;
	ssize_t n;

	if (!out || in == out || m->files[i].access == O_WRONLY || m->files[k].access == O_RDONLY ||
	    m->files[k].append)
		return;
	have = from < in->size ? MIN(size, in->size - from) : 0;
	note(m, "copy %zu from %zu of %zu to %zu of %zu", size, from, in->size, to, out->size);
	n = gofer_copy_file_range(m->files[i].file, from, m->files[k].file, to, size);
	if (n < 0 || (size_t)n > have || (n == 0 && have))
		wrong(m, "%zd", n);
	if (n)
		store(out, in->data + from, (size_t)n, to);
}

static void do_fstat(struct model *m, unsigned i)
{
	const struct content *c = m->files[i].content;
	struct stat st;

	note(m, "fstat");
	expect(m, gofer_fstat(m->files[i].file, &st), 0);
	expect(m, st.st_size, (int64_t)c->size);
	expect(m, (int64_t)st.st_nlink, c->links);
	expect(m, gofer_lseek(m->files[i].file, 0, SEEK_END), (int64_t)c->size);
}

static void do_advise(struct model *m, unsigned i)
{
	static const int advice[] = { POSIX_FADV_NORMAL,     POSIX_FADV_SEQUENTIAL,
				      POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM,
				      POSIX_FADV_WILLNEED,   POSIX_FADV_DONTNEED,
				      POSIX_FADV_NOREUSE };

	note(m, "fadvise");
	expect(m,
	       gofer_fadvise(m->files[i].file, random_offset(m), below(m, 2) ? random_size(m) : 0,
			     advice[below(m, ARRAY_SIZE(advice))]),
	       0);
}

static void with_file(struct model *m, void (*what)(struct model *m, unsigned i))
{
	unsigned i = below(m, N_FILES);

	if (m->files[i].file)
		what(m, i);
}

/* ---- by path ---- */

static void do_unlink(struct model *m, unsigned name)
{
	const char *path = path_of(m, name);

	note(m, "unlink %s", path);
	expect(m, gofer_unlink(who(m), path), m->names[name] ? 0 : -ENOENT);
	lose(m, name);
}

/* What is removed and made again may have the number of what was there before. */
static void do_again(struct model *m, unsigned name)
{
	const char *path;
	size_t size = random_size(m);

	if (m->names[name])
		do_unlink(m, name);
	path = path_of(m, name);
	note(m, "mknod %s, truncate %zu", path, size);
	expect(m, gofer_mknod(who(m), path, S_IFREG | 0644, 0), 0);
	expect(m, gofer_truncate(who(m), path, size), 0);
	resize(make(m, name), size);
}

static void do_rename(struct model *m, unsigned name)
{
	unsigned to = below(m, N_NAMES);
	char from[32], into[32];

	/* Within one mount. */
	snprintf(from, sizeof(from), "/n%u", name);
	snprintf(into, sizeof(into), "/n%u", to);
	note(m, "rename %s %s", from, into);
	expect(m, gofer_rename(who(m), from, into, 0), m->names[name] ? 0 : -ENOENT);
	if (!m->names[name] || m->names[name] == m->names[to])
		return;
	lose(m, to);
	m->names[to] = TAKE_PTR(m->names[name]);
}

static void do_link(struct model *m, unsigned name)
{
	unsigned to = below(m, N_NAMES);
	char from[32], into[32];

	snprintf(from, sizeof(from), "/n%u", name);
	snprintf(into, sizeof(into), "/n%u", to);
	note(m, "link %s %s", from, into);
	expect(m, gofer_link(who(m), from, into, 0),
	       !m->names[name] ? -ENOENT
	       : m->names[to]  ? -EEXIST
			       : 0);
	if (!m->names[name] || m->names[to])
		return;
	m->names[to] = m->names[name];
	m->names[to]->links++;
}

static void do_truncate(struct model *m, unsigned name)
{
	const char *path = path_of(m, name);
	size_t size = random_offset(m);

	note(m, "truncate %s %zu", path, size);
	expect(m, gofer_truncate(who(m), path, size), m->names[name] ? 0 : -ENOENT);
	if (m->names[name])
		resize(m->names[name], size);
}

static void do_write_file(struct model *m, unsigned name)
{
	static const int hows[] = { 0, 0, GOFER_WRITE_ATOMIC, GOFER_WRITE_EXCLUSIVE };
	const char *path = path_of(m, name);
	int how = hows[below(m, ARRAY_SIZE(hows))], r;
	size_t size = below(m, 2) ? below(m, 5000) : below(m, 200 << 10);

	fill(m, size);
	note(m, "write file %s, %zu bytes, %d", path, size, how);
	r = gofer_write_file(who(m), path, m->buf, size, 0644, how);
	expect(m, r, m->names[name] && how == GOFER_WRITE_EXCLUSIVE ? -EEXIST : 0);
	if (r < 0)
		return;
	if (how == GOFER_WRITE_ATOMIC)
		lose(m, name);
	if (!m->names[name])
		make(m, name);
	m->names[name]->size = 0;
	store(m->names[name], m->buf, size, 0);
}

static void do_read_file(struct model *m, unsigned name)
{
	const char *path = path_of(m, name);
	const struct content *c = m->names[name];
	_cleanup_free_ void *data = NULL;
	size_t size = 0;
	int r;

	note(m, "read file %s", path);
	r = gofer_read_file(m->ns, path, &data, &size, NULL);
	expect(m, r, c ? 0 : -ENOENT);
	if (r < 0)
		return;
	expect(m, (int64_t)size, (int64_t)c->size);
	if (size && memcmp(data, c->data, size) != 0)
		wrong(m, "another content");
	m->reads++;
}

/* The program's own requests: nobody tells the cache what they do. */
static void answered(void *userdata, int result, struct gofer_reply *reply _unused_)
{
	*(int *)userdata = result;
}

static void do_raw(struct model *m, unsigned name)
{
	Gofer__OpenRequest open = GOFER__OPEN_REQUEST__INIT;
	Gofer__WriteRequest write = GOFER__WRITE_REQUEST__INIT;
	Gofer__Path path = GOFER__PATH__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Open, .message = &open.base, .fd = -1 };
	size_t size = 1 + below(m, 9000), offset = random_offset(m);
	struct gofer_reply reply;
	char text[32];
	int result;

	if (!m->names[name])
		return;
	note(m, "raw write %zu at %zu of n%u", size, offset, name);
	path.fs_id = filesystem_id(m->session, "t");
	path.path = (ProtobufCBinaryData){ (size_t)snprintf(text, sizeof(text), "n%u", name),
					   (uint8_t *)text };
	open.path = &path;
	open.flags = GOFER__OPEN_FLAG__OPEN_WRITE;
	expect(m, gofer_call(m->session, &request, &reply), 0);
	write.handle = ((Gofer__OpenReply *)reply.message)->handle;
	write.offset = offset;
	gofer_reply_free(&reply);
	fill(m, size);
	request = (struct gofer_request){ .type = RPC_TYPE_Write,
					  .message = &write.base,
					  .data = m->buf,
					  .data_len = size,
					  .fd = -1 };
	if (below(m, 2)) {
		expect(m, gofer_call(m->session, &request, &reply), 0);
		gofer_reply_free(&reply);
	} else {
		expect(m, gofer_submit(m->session, &request, answered, &result, NULL), 0);
		expect(m, gofer_session_drain(m->session), 0);
		expect(m, result, 0);
	}
	gofer_handle_close(m->session, write.handle);
	store(m->names[name], m->buf, size, offset);
}

/* The host's file is the model's, once all is sent; where the tree is shared, the host changes it. */
static void do_host(struct model *m, unsigned name)
{
	struct content *c = m->names[name];
	int synced = gofer_session_sync(m->session);
	_cleanup_fd_ int fd = open(host_of(m, name), O_RDWR | O_CLOEXEC);
	size_t size, offset;
	ssize_t n;

	note(m, "the host's n%u", name);
	expect(m, synced, 0);
	expect(m, gofer_at_risk(m->session, NULL, NULL), 0);
	expect(m, fd < 0 ? -errno : 0, c ? 0 : -ENOENT);
	if (!c)
		return;
	n = pread(fd, m->buf, sizeof(m->buf), 0);
	expect(m, n, (int64_t)c->size);
	if (n && memcmp(m->buf, c->data, (size_t)n) != 0)
		wrong(m, "another content");
	if (!m->shared)
		return;
	size = random_size(m);
	offset = random_offset(m);
	fill(m, size);
	if (below(m, 3) == 0) {
		expect(m, ftruncate(fd, (off_t)offset), 0);
		resize(c, offset);
	} else {
		expect(m, pwrite(fd, m->buf, size, (off_t)offset), (int64_t)size);
		store(c, m->buf, size, offset);
	}
}

static void step(struct model *m)
{
	unsigned what = below(m, 50), name = below(m, N_NAMES);

	switch (what) {
	case 0 ... 5:
		do_open(m);
		break;
	case 6:
		do_close(m, below(m, N_FILES));
		break;
	case 7 ... 22:
		with_file(m, do_read);
		break;
	case 23 ... 31:
		with_file(m, do_write);
		break;
	case 32:
		with_file(m, do_ftruncate);
		break;
	case 33 ... 34:
		with_file(m, do_fallocate);
		break;
	case 35:
		with_file(m, do_copy);
		break;
	case 36 ... 37:
		with_file(m, do_fstat);
		break;
	case 38:
		with_file(m, do_advise);
		break;
	case 39:
		do_unlink(m, name);
		break;
	case 40:
		do_again(m, name);
		break;
	case 41:
		do_rename(m, name);
		break;
	case 42:
		do_link(m, name);
		break;
	case 43:
		do_truncate(m, name);
		break;
	case 44:
		do_write_file(m, name);
		break;
	case 45 ... 46:
		do_read_file(m, name);
		break;
	case 47:
		/* It makes the cache forget everything. */
		if (below(m, 5) == 0)
			do_raw(m, name);
		break;
	default:
		do_host(m, name);
		break;
	}
}

/* ---- */

static void mount_at(struct gofer_namespace *ns, struct gofer_session *s, const char *path,
		     enum gofer_interop interop, bool donate, uint64_t bytes)
{
	const struct gofer_mount_options o = { .interop = interop,
					       .no_donate = !donate,
					       .page_bytes = bytes,
					       .dirty_ms = bytes ? 1 : 0 };

	if (gofer_mount(ns, s, filesystem_id(s, "t"), path, &o) < 0)
		die("%s", gofer_message());
}

static void mounts(struct gofer_namespace **ret_ns, struct gofer_session *s,
		   enum gofer_interop interop, uint64_t bytes)
{
	if (gofer_namespace_new(ret_ns) < 0)
		die("%s", gofer_message());
	mount_at(*ret_ns, s, "/", interop, false, bytes);
	mount_at(*ret_ns, s, "/s", GOFER_INTEROP_SHARED, false, 0);
	mount_at(*ret_ns, s, "/d", interop, true, 0);
}

static void run(const char *host, const char *mode, enum gofer_interop interop, uint64_t seed,
		uint64_t operations, uint64_t bytes)
{
	struct model *m = calloc(1, sizeof(*m));
	struct gofer_cache_stats st = { 0 };

	m->host = host;
	m->shared = interop == GOFER_INTEROP_SHARED;
	m->seed = seed;
	m->session = session_connect();
	mounts(&m->ns, m->session, interop, bytes);
	m->other_session = session_connect();
	mounts(&m->other, m->other_session, GOFER_INTEROP_SHARED, 0);
	for (m->operations = 0; m->operations < operations; m->operations++)
		step(m);
	for (unsigned i = 0; i < N_FILES; i++)
		do_close(m, i);
	for (unsigned i = 0; i < N_NAMES; i++)
		if (m->names[i])
			do_unlink(m, i);
	if (m->shared)
		expect(m, gofer_session_get_cache_stats(m->session, &st), -ENODATA);
	else
		expect(m, gofer_session_get_cache_stats(m->session, &st), 0);
	check(m->shared || (st.page_hits && st.page_bytes <= st.page_budget &&
			    (!bytes || operations < 2000 || st.page_evictions)),
	      "%s, %lu KiB of pages, seed %lu: %lu operations, %lu reads compared; %lu hits, %lu "
	      "misses, %lu evictions; %lu pages read ahead used, %lu not",
	      mode, st.page_budget >> 10, seed, operations, m->reads, st.page_hits, st.page_misses,
	      st.page_evictions, st.ahead_used, st.ahead_wasted);
	gofer_namespace_free(m->ns);
	gofer_namespace_free(m->other);
	gofer_session_close(m->session);
	gofer_session_close(m->other_session);
	free(m);
}

int main(int argc, char **argv)
{
	const char *host = argc > 1 ? argv[1] : NULL;
	uint64_t n = option_number(argc, argv, "-n", 20000);
	uint64_t seed = option_number(argc, argv, "-seed", clock_ns() | 1);

	if (!host)
		die("usage: content_model HOSTDIR [-n OPERATIONS] [-seed N]");
	(void)umask(0);
	printf("seed %lu\n", seed);
	fflush(stdout);
	run(host, "exclusive", GOFER_INTEROP_EXCLUSIVE, seed, n, 0);
	run(host, "exclusive", GOFER_INTEROP_EXCLUSIVE, seed + 1, n, 1);
	run(host, "writethrough", GOFER_INTEROP_WRITETHROUGH, seed + 2, n, 1);
	run(host, "shared", GOFER_INTEROP_SHARED, seed + 3, n, 0);
	return proof_end();
}
