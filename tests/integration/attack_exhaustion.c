/*
 * attack_exhaustion.c - a client that takes as much as it can get: handles, memory, sessions, disk,
 * directory entries, lines of the log (S78 to S91). It gets an errno; nobody else notices.
 *
 *     attack_exhaustion DIRECTORY many      a server with the limits that are the default
 *     attack_exhaustion DIRECTORY few       --max-handles 64
 *     attack_exhaustion DIRECTORY disk      RLIMIT_FSIZE of 64 KiB; for root "tiny", a tmpfs of 2 MiB
 *                                           and 100 inodes
 *
 * CONNECTS=1000000, ENTRIES=1000000 and HANDLES=65536 for the long run.
 */
#include <sys/resource.h>

#include "tests/integration/guard.h"

static uint64_t wish(const char *name, uint64_t usual)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : usual;
}

/* Opens until it may not any more. */
static unsigned open_all(uint64_t *handles, unsigned max, int *ret_error)
{
	unsigned n = 0;
	int e = 0;

	while (n < max) {
		struct opened o = OPENED_NULL;

		e = open_path(sock, rw, "a/file", OPEN_R, 0, &o);
		if (e)
			break;
		handles[n++] = o.handle;
	}
	*ret_error = e;
	return n;
}

static int close_all(uint64_t *handles, size_t n)
{
	int e = 0;

	while (n && e == 0) {
		Gofer__CloseRequest q = GOFER__CLOSE_REQUEST__INIT;

		q.n_handles = MIN(n, (size_t)4096);
		q.handles = handles + n - q.n_handles;
		n -= q.n_handles;
		e = raw_errno(sock, RPC_TYPE_Close, &q);
	}
	return e;
}

/* ---- few ---- */

static void s80_handles(void)
{
	uint64_t handles[100];
	Gofer__ReadDirRequest dir = GOFER__READ_DIR_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "many");
	int other = guard_session(), e;
	struct opened o = OPENED_NULL;
	unsigned n = open_all(handles, 100, &e);

	check(n == 64 && e == EMFILE, "%u handles, then %s", n, word(e));
	dir.path = &p;
	dir.max_bytes = 1;
	dir.keep = true;
	expect("no kept listing either", raw_errno(sock, RPC_TYPE_ReadDir, &dir), EMFILE);
	expect("a file is not made when it cannot be opened",
	       open_path(sock, rw, "made", OPEN_W | OPEN_C, 0600, NULL), EMFILE);
	check(access(in_dir(volume, "made"), F_OK) < 0, "... and is not there");
	expect("what needs no handle goes on", stat_path(sock, rw, "a/file", NULL), 0);
	e = open_path(other, rw, "a/file", OPEN_R, 0, &o);
	expect("another client has its own", e, 0);
	expect("one is closed", close_handle(sock, handles[--n]), 0);
	expect("... one can be opened", open_path(sock, rw, "a/file", OPEN_R, 0, &o), 0);
	handles[n++] = o.handle;
	expect("all are closed", close_all(handles, n), 0);
	fd_close(other);
}

/* Seconds of CPU time that a process has used. */
static double cpu_time(pid_t pid)
{
	char path[64], line[512] = "";
	unsigned long user = 0, system = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f && fgets(line, sizeof(line), f) && strrchr(line, ')'))
		(void)sscanf(strrchr(line, ')') + 1,
			     " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			     &system);
	if (f)
		fclose(f);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void s80_accept_without_descriptors(void)
{
	enum { TRIES = 200 };
	const pid_t monitor = guard.processes.at[1].pid;
	struct rlimit old, none;
	double before = cpu_time(monitor), used;
	uint64_t start = clock_ns();
	unsigned refused = 0;

	if (prlimit(monitor, RLIMIT_NOFILE, NULL, &old) < 0)
		die("prlimit: %s", strerror(errno));
	/* Not one more than it has. */
	none = (struct rlimit){ guard_fds_of(monitor), old.rlim_max };
	if (prlimit(monitor, RLIMIT_NOFILE, &none, NULL) < 0)
		die("prlimit: %s", strerror(errno));
	for (int i = 0; i < TRIES; i++) {
		uint8_t byte;
		unsigned n;
		int s = raw_connect(), fd;

		refused += s >= 0 && raw_recv(s, &byte, 1, 5000, &fd, &n) == 0;
		fd_close(s);
	}
	/* Time in which a listener that stayed readable would keep it busy. */
	(void)guard_bystander_served(400);
	used = cpu_time(monitor) - before;
	check(refused == TRIES, "without descriptors, %u of %d connections are taken and closed",
	      refused, TRIES);
	check(used < (double)(clock_ns() - start) / 1e9 / 2,
	      "the monitor does not spin: %.2f s of CPU time in %.2f s", used,
	      (double)(clock_ns() - start) / 1e9);
	if (prlimit(monitor, RLIMIT_NOFILE, &old, NULL) < 0)
		die("prlimit: %s", strerror(errno));
	fd_close(guard_session());
	check(true, "with descriptors there are sessions again");
}

/* ---- many ---- */

static void s82_many_handles(void)
{
	const unsigned most = (unsigned)wish("HANDLES", 5000);
	uint64_t *handles = calloc(most, sizeof(*handles));
	unsigned long before = process_field(worker, "VmRSS"), after;
	int e;
	unsigned n;

	if (!handles)
		die("no memory");
	n = open_all(handles, most, &e);
	after = process_field(worker, "VmRSS");
	check(n > 500 && (e == 0 || e == EMFILE), "%u handles, then %s", n, word(e));
	check(after < before + n * 256 / 1024 + GUARD_RSS_KIB, "they cost %.0f bytes each",
	      (double)(after - before) * 1024 / n);
	expect("all are closed", close_all(handles, n), 0);
	free(handles);
}

static void s79_slow_reader(void)
{
	static uint8_t buf[FRAME_MAX_PACKET];
	const char *host = in_dir(volume, "large");
	Gofer__ReadRequest q = GOFER__READ_REQUEST__INIT;
	struct pollfd p = { .fd = sock, .events = POLLOUT };
	unsigned long before = process_field(worker, "VmRSS"), most = 0;
	uint64_t sent = 0;
	int e = 0;

	fd_close(open(host, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	if (truncate(host, 1 << 30) < 0)
		die("truncate: %s", strerror(errno));
	q.handle = handle_of(sock, rw, "large", OPEN_R);
	q.count = FRAME_MAX_DATA;
	while (sent * FRAME_MAX_DATA < UINT64_C(1) << 30) {
		q.offset = sent * FRAME_MAX_DATA;
		e = raw_send(sock, buf,
			     raw_request(buf, RPC_TYPE_Read, (uint32_t)sent + 1, &q, NULL, 0), NULL,
			     0, MSG_DONTWAIT);
		most = MAX(most, process_field(worker, "VmRSS"));
		if (e == -EAGAIN && poll(&p, 1, 300) == 0)
			break;
		if (e < 0 && e != -EAGAIN)
			break;
		sent += e == 0;
	}
	check(sent * FRAME_MAX_DATA < UINT64_C(1) << 30,
	      "a client that asks for 1 GiB and reads nothing is not read from any more after %lu "
	      "requests",
	      sent);
	/* A buffer for each thread, of those that may be started. */
	check(most < before + 8 * 512 + GUARD_RSS_KIB, "its process grew by %ld KiB",
	      (long)(most - before));
	sock = fd_close(sock);
	(void)unlink(host);
}

static void s81_connects(void)
{
	const uint64_t connects = wish("CONNECTS", PROOF_SANITIZED ? 100 : 500);
	uint64_t refused = 0;

	for (uint64_t i = 0; i < connects; i++) {
		int s = raw_connect();

		if (s < 0)
			die("connect: %s", strerror(-s));
		/* Some half a handshake, some a whole one, some nothing. */
		if (i % 3 == 0)
			refused += raw_send(s, "half a frame", 12, NULL, 0, MSG_DONTWAIT) < 0;
		fd_close(s);
	}
	/* Counters that did not return would refuse this one, for good. */
	for (uint64_t deadline = clock_ns() + UINT64_C(10000000000); clock_ns() < deadline;) {
		_cleanup_reply_ struct raw_reply hello = RAW_REPLY_NULL;
		int s = raw_connect(), e = s < 0 ? s : raw_hello(s, &hello);

		fd_close(s);
		if (outcome(e, &hello) == 0) {
			check(true,
			      "%lu connections came and left (%lu refused); another is served",
			      connects, refused);
			return;
		}
	}
	check(false, "after %lu connections no session is to be had", connects);
}

static void s86_large_directory(void)
{
	const uint64_t entries = wish("ENTRIES", 2000);
	Gofer__ReadDirRequest q = GOFER__READ_DIR_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "large");
	unsigned long before, most;
	uint64_t seen = 0, calls = 0;
	char name[256];
	int dir, e = 0;
	bool end = false;

	if (mkdir(in_dir(volume, "large"), 0755) < 0 ||
	    (dir = open(in_dir(volume, "large"), O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
		die("large: %s", strerror(errno));
	memset(name, 'n', 255);
	name[255] = '\0';
	for (uint64_t i = 0; i < entries; i++) {
		char digits[9];

		snprintf(digits, sizeof(digits), "%08x", (unsigned)i);
		memcpy(name, digits, 8);
		/* Links to one file: as many names, one inode. */
		if (i == 0 ? mknodat(dir, name, S_IFREG | 0600, 0) : symlinkat("x", dir, name))
			die("%s: %s", name, strerror(errno));
	}
	most = before = process_field(worker, "VmRSS");
	q.path = &p;
	q.attrs = true;
	while (!end && e == 0) {
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		const Gofer__ReadDirReply *m;

		e = raw_call(sock, RPC_TYPE_ReadDir, &q, &r);
		e = outcome(e, &r);
		if (e)
			break;
		m = (const Gofer__ReadDirReply *)r.message;
		seen += m->n_entries;
		end = m->end;
		if (m->n_entries)
			q.cookie = m->entries[m->n_entries - 1]->cookie;
		calls++;
		most = MAX(most, process_field(worker, "VmRSS"));
	}
	check(e == 0 && seen == entries, "%lu of %lu names of 255 bytes in %lu calls: %s", seen,
	      entries, calls, word(e));
	check(most < before + 2048 + GUARD_RSS_KIB, "its process grew by %ld KiB at most",
	      (long)(most - before));
	for (uint64_t i = 0; i < entries; i++) {
		char digits[9];

		snprintf(digits, sizeof(digits), "%08x", (unsigned)i);
		memcpy(name, digits, 8);
		(void)unlinkat(dir, name, 0);
	}
	fd_close(dir);
	(void)rmdir(in_dir(volume, "large"));
}

static unsigned log_lines(void)
{
	FILE *f = fopen(in_dir(guard_dir, "server.log"), "re");
	unsigned n = 0;
	int c;

	while (f && (c = fgetc(f)) != EOF)
		n += c == '\n';
	if (f)
		fclose(f);
	return n;
}

static void s87_log_flood(void)
{
	enum { SESSIONS = PROOF_SANITIZED ? 60 : 300 };
	unsigned before = log_lines(), after;
	uint64_t start = clock_ns(), seconds;

	for (int i = 0; i < SESSIONS; i++) {
		uint8_t byte;
		unsigned n;
		int s = raw_connect(), fd;

		(void)raw_send(s, "\033]0;evil\a\n", 10, NULL, 0, 0);
		(void)raw_recv(s, &byte, 1, 5000, &fd, &n);
		fd_close(s);
	}
	seconds = (clock_ns() - start) / 1000000000 + 2;
	after = log_lines();
	check(after - before <= seconds * 20,
	      "%d sessions that break the framing within %lu s: %u lines in the log", SESSIONS,
	      seconds, after - before);
}

/* ---- disk ---- */

static void s91_file_size_limit(void)
{
	Gofer__AllocateRequest a = GOFER__ALLOCATE_REQUEST__INIT;
	Gofer__SetAttrRequest s = GOFER__SET_ATTR_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "a/file");
	uint64_t h = handle_of(sock, rw, "a/file", OPEN_RW);

	expect("a Write beyond the limit", write_handle(sock, h, 1 << 20, "x", 1), EFBIG);
	a.handle = h;
	a.length = 1 << 20;
	expect("an Allocate", raw_errno(sock, RPC_TYPE_Allocate, &a), EFBIG);
	s.path = &p;
	s.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
	s.size = 1 << 20;
	expect("a SetAttr of the size", raw_errno(sock, RPC_TYPE_SetAttr, &s), EFBIG);
	expect("... and the session goes on", ping(sock), 0);
	expect("what is below the limit works", write_handle(sock, h, 0, "c", 1), 0);
	(void)close_handle(sock, h);
}

/* A peer that goes away while its replies are on the way. */
static void s91_broken_pipe(void)
{
	static uint8_t buf[FRAME_MAX_PACKET];
	Gofer__PingRequest q = GOFER__PING_REQUEST__INIT;

	for (int i = 0; i < 50; i++) {
		int s = guard_session();
		size_t n = 0;

		for (int k = 0; k < 50; k++)
			n += raw_request(buf + n, RPC_TYPE_Ping, (uint32_t)k, &q, NULL, 0);
		for (int k = 0; k < 4; k++)
			(void)raw_send(s, buf, n, NULL, 0, MSG_DONTWAIT);
		fd_close(s);
	}
	check(true, "50 clients left with their replies on the way");
}

static int write_tiny(uint32_t fs, const char *name, size_t size, bool atomic)
{
	static uint8_t data[FRAME_MAX_DATA];
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__WriteFileRequest q = GOFER__WRITE_FILE_REQUEST__INIT;
	Gofer__Path p = path_of(fs, name);
	int e;

	q.path = &p;
	q.mode = 0600;
	q.atomic = atomic;
	e = raw_call_fd(sock, RPC_TYPE_WriteFile, &q, data, size, -1, &r);
	return outcome(e, &r);
}

static unsigned entries_of(const char *dir)
{
	struct dirent *e;
	unsigned n = 0;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)))
		n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	if (d)
		closedir(d);
	return n;
}

static void empty(const char *dir)
{
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)))
		(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

static void s85_full_disk(void)
{
	uint32_t tiny = guard_filesystem("tiny");
	const char *dir = in_dir(guard_dir, "tiny");
	Gofer__AllocateRequest a = GOFER__ALLOCATE_REQUEST__INIT;
	Gofer__MkdirRequest m = GOFER__MKDIR_REQUEST__INIT;
	Gofer__Path p = path_of(tiny, "d");
	struct opened o = OPENED_NULL;
	unsigned n = 0, before;
	char name[32];
	int e;

	do
		snprintf(name, sizeof(name), "f%u", n);
	while ((e = write_tiny(tiny, name, 60000, false)) == 0 && n++ < 90);
	check(n > 10 && n < 90 && e == ENOSPC, "%u files of 60 KB, then %s", n, word(e));
	before = entries_of(dir);
	expect("an atomic one", write_tiny(tiny, "f0", 60000, true), ENOSPC);
	check(entries_of(dir) == before, "... leaves no name of its own behind");
	expect("what is there can be read", read_handle(sock, handle_of(sock, tiny, "f0", OPEN_R)),
	       0);
	e = open_path(sock, tiny, "f0", OPEN_RW, 0, &o);
	a.handle = o.handle;
	a.offset = 0;
	a.length = 32768 * UINT64_C(1048576);
	e = e ?: raw_errno(sock, RPC_TYPE_Allocate, &a);
	expect_either("an Allocate of 32 GiB", e, ENOSPC, EFBIG);
	(void)close_handle(sock, o.handle);
	empty(dir);
	expect("with room again it goes on", write_tiny(tiny, "f0", 60000, true), 0);
	empty(dir);
	m.path = &p;
	m.mode = 0755;
	for (n = 0; n < 200; n++) {
		snprintf(name, sizeof(name), "f%u", n);
		if ((e = write_tiny(tiny, name, 0, n % 2)))
			break;
	}
	check(n > 10 && n < 200 && e == ENOSPC, "%u files without content, then %s", n, word(e));
	expect("a directory without an inode for it", raw_errno(sock, RPC_TYPE_Mkdir, &m), ENOSPC);
	expect("an Open that would make a file",
	       open_path(sock, tiny, "one_more", OPEN_W | OPEN_C, 0600, NULL), ENOSPC);
	check(entries_of(dir) == n, "... nothing half-made is left");
	empty(dir);
	expect("with inodes again it goes on", write_tiny(tiny, "f0", 100, false), 0);
	empty(dir);
}

int main(int argc, char **argv)
{
	static const struct attack few[] = {
		{ "S80: a client at its limit of handles gets EMFILE, others nothing",
		  s80_handles },
		{ "S80: without descriptors connections are taken and closed, and nothing spins",
		  s80_accept_without_descriptors, .root = true },
	};
	static const struct attack many[] = {
		{ "S82: thousands of handles cost a bounded amount of memory each",
		  s82_many_handles },
		{ "S78 S79: 1 GiB of Reads whose replies nobody reads is not gathered",
		  s79_slow_reader },
		{ "S81: connections that come and leave, with half a handshake or none, leave "
		  "nothing",
		  s81_connects },
		{ "S86: a directory of many long names is listed in bounded memory",
		  s86_large_directory },
		{ "S87: sessions that end badly write a bounded number of lines", s87_log_flood },
	};
	static const struct attack disk[] = {
		{ "S91: beyond RLIMIT_FSIZE is EFBIG, and nothing is killed", s91_file_size_limit },
		{ "S91: peers that leave with replies on the way kill nothing", s91_broken_pipe },
		{ "S85: no space and no inodes are ENOSPC, and nothing half-made stays",
		  s85_full_disk, .root = true },
	};
	const char *mode = argc > 2 ? argv[2] : "";

	guard_start(argc, argv);
	if (!strcmp(mode, "few"))
		return guard_run(few, ARRAY_SIZE(few));
	if (!strcmp(mode, "many"))
		return guard_run(many, ARRAY_SIZE(many));
	if (!strcmp(mode, "disk"))
		return guard_run(disk, ARRAY_SIZE(disk));
	die("few, many or disk");
}
