/*
 * attack_special.c - FIFOs, sockets, devices, terminals and leases: nothing waits, nothing acts,
 * nothing is made (S38 to S44).
 *
 *     attack_special DIRECTORY      prepared and served by attack.sh, with "$T/talk" as "sp"
 *                                   (special=allow)
 */
#include <pty.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "tests/integration/guard.h"

/* Without attributes the server need not look at what it opens; it has to find out all the same. */
static void bare_requests(void)
{
	static const struct {
		const char *name;
		int read, write;
	} files[] = { { "fifo", EPERM, EPERM },
		      { "socket", ENXIO, ENXIO },
		      { "a", EISDIR, EISDIR },
		      { "device", EPERM, EPERM } };
	Gofer__ReadFileRequest r = GOFER__READ_FILE_REQUEST__INIT;
	Gofer__WriteFileRequest w = GOFER__WRITE_FILE_REQUEST__INIT;
	char what[80];

	r.count = 10;
	r.bare = w.bare = true;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		Gofer__Path p = path_of(rw, files[i].name);

		if (stat_path(sock, rw, files[i].name, NULL) != 0)
			continue;
		r.path = w.path = &p;
		snprintf(what, sizeof(what), "ReadFile without attributes: %s", files[i].name);
		expect_either(what, raw_errno(sock, RPC_TYPE_ReadFile, &r), files[i].read, EACCES);
		snprintf(what, sizeof(what), "WriteFile without attributes: %s", files[i].name);
		expect_either(what, raw_errno(sock, RPC_TYPE_WriteFile, &w), files[i].write,
			      EACCES);
	}
}

static void s38_special_files(void)
{
	static const struct {
		uint32_t bits;
		const char *name;
	} ways[] = { { GOFER__OPEN_FLAG__OPEN_READ, "reading" },
		     { GOFER__OPEN_FLAG__OPEN_WRITE, "writing" },
		     { GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE, "both" },
		     { GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_TRUNCATE,
		       "truncating" },
		     { GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE, "creating" } };
	Gofer__Path p = path_of(rw, "fifo");
	Gofer__MknodRequest m = GOFER__MKNOD_REQUEST__INIT;
	char what[80];
	Gofer__Attr attr = GOFER__ATTR__INIT;

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		uint64_t start = clock_ns();
		int e = open_path(sock, rw, "fifo", ways[i].bits, 0, NULL);

		snprintf(what, sizeof(what), "a FIFO without a peer, %s", ways[i].name);
		expect(what, clock_ns() - start < 100000000 ? e : ETIME, EPERM);
		snprintf(what, sizeof(what), "a socket's inode, %s", ways[i].name);
		expect(what, open_path(sock, rw, "socket", ways[i].bits, 0, NULL), ENXIO);
		if (stat_path(sock, rw, "device", NULL) == 0) {
			snprintf(what, sizeof(what), "a device, %s", ways[i].name);
			expect_either(what, open_path(sock, rw, "device", ways[i].bits, 0, NULL),
				      EPERM, EACCES);
		}
	}
	expect("ReadFile of a FIFO", row_call(sock, rpc_find(RPC_TYPE_ReadFile), &p, NULL), EPERM);
	expect("WriteFile to a FIFO", row_call(sock, rpc_find(RPC_TYPE_WriteFile), &p, NULL),
	       EPERM);
	bare_requests();
	expect("Stat of a FIFO", stat_path(sock, rw, "fifo", &attr), 0);
	check(S_ISFIFO(attr.mode), "... says that it is one");
	p = path_of(rw, "socket");
	expect("Connect without the policy for it",
	       row_call(sock, rpc_find(RPC_TYPE_Connect), &p, NULL), EPERM);
	if (stat_path(sock, rw, "device", &attr) == 0)
		check(S_ISCHR(attr.mode) && attr.rdev == makedev(1, 3),
		      "Stat of a device says which");
	else
		printf("  (no device could be made here)\n");
	m.path = &p;
	p = path_of(rw, "dev_new");
	for (int i = 0; i < 3; i++) {
		m.mode = (i == 1 ? S_IFBLK : S_IFCHR) | 0600;
		m.rdev = i < 2 ? makedev(1, 3) : 0;
		snprintf(what, sizeof(what), "mknod of a %s",
			 i == 0   ? "character device"
			 : i == 1 ? "block device"
				  : "whiteout");
		expect(what, raw_errno(sock, RPC_TYPE_Mknod, &m), EPERM);
	}
}

static void s41_modes(void)
{
	static const uint32_t smuggled[] = { S_IFDIR, S_IFREG,         S_IFCHR,
					     010000,  0100000 | 04755, 1u << 31 };
	static const uint32_t types[] = { S_IFDIR, S_IFLNK, S_IFMT, 0030000 };
	Gofer__MkdirRequest d = GOFER__MKDIR_REQUEST__INIT;
	Gofer__MknodRequest m = GOFER__MKNOD_REQUEST__INIT;
	Gofer__SetAttrRequest s = GOFER__SET_ATTR_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "moded");
	char what[80];

	d.path = m.path = s.path = &p;
	for (size_t i = 0; i < ARRAY_SIZE(smuggled); i++) {
		snprintf(what, sizeof(what), "Open(CREATE) with mode %#o", smuggled[i]);
		expect(what,
		       open_path(sock, rw, "moded",
				 GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_WRITE,
				 smuggled[i], NULL),
		       EINVAL);
		d.mode = smuggled[i];
		snprintf(what, sizeof(what), "Mkdir with mode %#o", smuggled[i]);
		expect(what, raw_errno(sock, RPC_TYPE_Mkdir, &d), EINVAL);
		s.mask = GOFER__SET_ATTR_MASK__SET_MODE;
		s.mode = smuggled[i];
		snprintf(what, sizeof(what), "SetAttr with mode %#o", smuggled[i]);
		expect(what, raw_errno(sock, RPC_TYPE_SetAttr, &s), EINVAL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		m.mode = types[i] | 0600;
		snprintf(what, sizeof(what), "Mknod of type %#o", types[i]);
		expect(what, raw_errno(sock, RPC_TYPE_Mknod, &m), EINVAL);
	}
	expect("none of them created it", stat_path(sock, rw, "moded", NULL), ENOENT);
}

static void s42_flags(void)
{
	enum { R = GOFER__OPEN_FLAG__OPEN_READ, W = GOFER__OPEN_FLAG__OPEN_WRITE };
	static const uint32_t wrong[] = {
		0,
		1u << 14,
		1u << 20,
		1u << 31,
		R | 1u << 15,
		UINT32_MAX,
		GOFER__OPEN_FLAG__OPEN_PATH | R,
		GOFER__OPEN_FLAG__OPEN_PATH | GOFER__OPEN_FLAG__OPEN_TRUNCATE,
		GOFER__OPEN_FLAG__OPEN_PATH | GOFER__OPEN_FLAG__OPEN_DONATE,
		R | GOFER__OPEN_FLAG__OPEN_EXCLUSIVE,
		R | GOFER__OPEN_FLAG__OPEN_TMPFILE,
		W | GOFER__OPEN_FLAG__OPEN_TMPFILE | GOFER__OPEN_FLAG__OPEN_CREATE,
		W | GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_DIRECTORY,
		R | GOFER__OPEN_FLAG__OPEN_ONLY_DONATED
	};
	char what[80];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(what, sizeof(what), "Open with flags %#x", wrong[i]);
		expect(what, open_path(sock, rw, "a/file", wrong[i], 0, NULL), EINVAL);
	}
	expect("a mode where nothing is created", open_path(sock, rw, "a/file", R, 0644, NULL),
	       EINVAL);
	/* The host's own flags as numbers mean nothing here: O_PATH is bit 21, O_TMPFILE bits 22
	 * and 16, O_DIRECT 14, O_ASYNC 13. */
	expect("O_PATH of the host", open_path(sock, rw, "a/file", R | O_PATH, 0, NULL), EINVAL);
	expect("O_DIRECT of the host", open_path(sock, rw, "a/file", R | O_DIRECT, 0, NULL),
	       EINVAL);
}

/* With the policy that allows it: nothing waits for the other end. */
static void s38_allowed_fifos(void)
{
	static const uint32_t ways[] = { OPEN_R, OPEN_W, OPEN_RW, OPEN_R | OPEN_T };
	uint32_t sp = guard_filesystem("sp");
	char what[64];

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct opened o = OPENED_NULL;
		uint64_t start = clock_ns();
		int e = open_path(sock, sp, "fifo", ways[i], 0, &o);
		double ms = (double)(clock_ns() - start) / 1e6;

		snprintf(what, sizeof(what), "special=allow, no peer, flags %#x", ways[i]);
		expect_either(what, e, 0, ENXIO);
		check(ms < GUARD_WAIT_MS, "... after %.1f ms", ms);
		check(!o.donated, "... and nothing is donated");
		if (o.handle) {
			e = read_handle(sock, o.handle);
			check(e != -ETIMEDOUT, "... a Read does not wait either: %s", word(e));
			(void)close_handle(sock, o.handle);
		}
		fd_close(o.fd);
	}
}

static int connect_to(uint32_t fs, const char *name, int fd)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__ConnectRequest q = GOFER__CONNECT_REQUEST__INIT;
	Gofer__Path p = path_of(fs, name);
	int e;

	q.path = &p;
	e = raw_call_fd(sock, RPC_TYPE_Connect, &q, NULL, 0, fd, &r);
	return outcome(e, &r);
}

static void s40_connect(void)
{
	static const char *const not_sockets[] = { "fifo", "file", "" };
	uint32_t sp = guard_filesystem("sp");
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int pipes[2];
	char what[64];

	if (pipe2(pipes, O_CLOEXEC) < 0)
		die("pipe");
	for (size_t i = 0; i < ARRAY_SIZE(not_sockets); i++) {
		snprintf(what, sizeof(what), "Connect to \"%s\", which is no socket",
			 not_sockets[i]);
		expect(what, connect_to(sp, not_sockets[i], unix_fd), ECONNREFUSED);
	}
	expect("Connect to a socket that nobody listens on", connect_to(sp, "socket", unix_fd),
	       ECONNREFUSED);
	expect("Connect through a link to the outside", connect_to(sp, "link_out", unix_fd),
	       RAW_STOPPED);
	if (tcp >= 0)
		expect("with a TCP socket", connect_to(sp, "socket", tcp), EAFNOSUPPORT);
	expect("with a pipe", connect_to(sp, "socket", pipes[0]), ENOTSOCK);
	expect("the socket's inode is never opened", open_path(sock, sp, "socket", OPEN_R, 0, NULL),
	       ENXIO);
	fd_close(tcp);
	fd_close(unix_fd);
	fd_close(pipes[0]);
	fd_close(pipes[1]);
}

/* The 7th field of /proc/PID/stat: its controlling terminal, 0 = none. */
static int controlling_terminal(pid_t pid)
{
	char path[64], line[512] = "";
	int tty = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f && fgets(line, sizeof(line), f) && strrchr(line, ')'))
		(void)sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %d", &tty);
	if (f)
		fclose(f);
	return tty;
}

static void s43_terminals(void)
{
	const char *host = in_dir(volume, "tty");
	int master, slave;
	struct stat st;

	if (openpty(&master, &slave, NULL, NULL, NULL) < 0) {
		printf("  (no terminals here: %s)\n", strerror(errno));
		return;
	}
	if (fstat(slave, &st) == 0 && mknod(host, S_IFCHR | 0666, st.st_rdev) == 0) {
		for (uint32_t way = OPEN_R; way <= OPEN_RW; way++)
			expect("a terminal that has no session is not opened",
			       open_path(sock, rw, "tty", way, 0, NULL), EPERM);
		expect("nor written as a file", write_file_at(sock, path_of(rw, "tty"), 0600, "x"),
		       EPERM);
		(void)unlink(host);
	} else {
		printf("  (no device could be made here)\n");
	}
	check(controlling_terminal(worker) == 0, "the session's process has no terminal");
	fd_close(master);
	fd_close(slave);
}

/* The holder of a lease is not asked to give it up on our time. */
static void s44_leases(void)
{
	int fd = open(in_dir(volume, "leased"), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
	uint64_t start;
	int e;

	/* The kernel tells the holder by a signal. */
	signal(SIGIO, SIG_IGN);
	if (fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
		printf("  (no leases here: %s)\n", strerror(errno));
		fd_close(fd);
		return;
	}
	start = clock_ns();
	e = open_path(sock, rw, "leased", OPEN_R, 0, NULL);
	expect("Open of a file that somebody holds a write lease on", e, EAGAIN);
	expect("ReadFile of it",
	       row_call(sock, rpc_find(RPC_TYPE_ReadFile),
			&(Gofer__Path[]){ path_of(rw, "leased") }[0], NULL),
	       EAGAIN);
	check(clock_ns() - start < GUARD_WAIT_MS * UINT64_C(1000000),
	      "... at once, not after the lease-break time: %.1f ms",
	      (double)(clock_ns() - start) / 1e6);
	expect("its attributes are no trouble", stat_path(sock, rw, "leased", NULL), 0);
	fd_close(fd);
	expect("without the lease it opens",
	       row_call(sock, rpc_find(RPC_TYPE_Open), &(Gofer__Path[]){ path_of(rw, "leased") }[0],
			NULL),
	       0);
	(void)unlink(in_dir(volume, "leased"));
}

int main(int argc, char **argv)
{
	static const struct attack attacks[] = {
		{ "S38 S39 S40: FIFOs, devices and sockets are looked at, never opened, at once",
		  s38_special_files },
		{ "S38: FIFOs that the policy allows never make anybody wait", s38_allowed_fifos },
		{ "S40: Connect reaches a socket inside, by policy, and nothing else",
		  s40_connect },
		{ "S41: no mode smuggles in a type or an unknown bit", s41_modes },
		{ "S42: no flag of the host's, unknown or senseless, passes Open", s42_flags },
		{ "S43: a terminal is not opened, and is nobody's controlling terminal",
		  s43_terminals },
		{ "S44: a leased file is EAGAIN at once", s44_leases },
	};

	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
