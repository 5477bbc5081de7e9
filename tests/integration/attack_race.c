/*
 * attack_race.c - the tree changes under a request (S17 to S29). An attacker exchanges what a name
 * means as fast as it can, for a while; meanwhile requests go through that name, of every kind that
 * could be led astray by it. Where and how often the tree is exchanged at every step of a walk is
 * the business of tests/stress; here each race of the list is run once, with its own oracle.
 *
 *     attack_race DIRECTORY      prepared and served by attack.sh, with "$T/talk" as "sp"
 *                                (special=allow), and "$T/precious", a file that the volume does not
 *                                hold, on the same host filesystem
 *
 * RACE_MS=60000 for longer races than the usual.
 */
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "tests/integration/guard.h"

static struct shared {
	_Atomic bool stop;
	_Atomic uint64_t moves;   /* of the attacker that succeeded */
	_Atomic uint64_t escapes; /* that it saw itself */
} * shared;

static uint64_t longest_ns; /* of the requests of this race */

/* Runs in a process of its own until shared->stop. */
static pid_t attacker_start(void (*run)(void))
{
	const struct timespec pause = { .tv_nsec = 200000 };
	pid_t pid;

	*shared = (struct shared){ 0 };
	longest_ns = 0;
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		run();
		_exit(0);
	}
	while (!shared->moves) /* not before it is really at it */
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	return pid;
}

static void attacker_stop(pid_t pid)
{
	shared->stop = true;
	(void)waitpid(pid, NULL, 0);
}

static uint64_t race_end(void)
{
	const char *wish = getenv("RACE_MS");

	return clock_ns() + (wish ? strtoull(wish, NULL, 0) : 300) * UINT64_C(1000000);
}

static int timed(int e, uint64_t start)
{
	longest_ns = MAX(longest_ns, clock_ns() - start);
	return e;
}
#define TIMED(call)                           \
	({                                    \
		uint64_t _start = clock_ns(); \
		timed(call, _start);          \
	})

static void report(const char *what, uint64_t requests, uint64_t wrong)
{
	check(!wrong && !shared->escapes && requests > 20 && shared->moves > 20,
	      "%s: %lu requests, %lu moves, %lu wrong", what, requests, shared->moves,
	      wrong + shared->escapes);
	check(longest_ns < GUARD_WAIT_MS * UINT64_C(1000000), "... none took longer than %.1f ms",
	      (double)longest_ns / 1e6);
}

static void exchange(const char *a, const char *b)
{
	_cleanup_free_ char *first = strdup(in_dir(volume, a)), *second = strdup(in_dir(volume, b));

	while (!shared->stop && first && second)
		if (renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) == 0)
			shared->moves++;
}

/* ---- a file that is a FIFO, or a device, a moment later ---- */

static void swap_fifo(void)
{
	exchange("swap/name", "swap/special");
}

/* Denied by the policy; or, of what was exchanged between the look and the open, what the kernel says
 * to a FIFO without a reader, or to a device on a mount that has none. */
static bool is_denied(int e)
{
	return e == EPERM || e == ENXIO || e == EACCES;
}

static void race_special(const char *what)
{
	static const uint32_t ways[] = {
		OPEN_R | OPEN_D, OPEN_W | OPEN_D, OPEN_RW,
		OPEN_W | OPEN_T, OPEN_W | OPEN_C, OPEN_R | OPEN_C | OPEN_D
	};
	uint64_t end = race_end(), n = 0, wrong = 0, opened = 0;
	pid_t pid = attacker_start(swap_fifo);

	while (clock_ns() < end) {
		struct opened o = OPENED_NULL;
		struct stat st;
		int e = TIMED(
			open_path(sock, rw, "swap/name", ways[n++ % ARRAY_SIZE(ways)], 0, &o));

		opened += e == 0;
		wrong += e != 0 && !is_denied(e);
		wrong += e == 0 && !S_ISREG(o.attr.mode);
		wrong += o.fd >= 0 && (fstat(o.fd, &st) < 0 || !S_ISREG(st.st_mode));
		fd_close(o.fd);
		if (o.handle)
			(void)close_handle(sock, o.handle);
		e = TIMED(row_call(sock, rpc_find(RPC_TYPE_ReadFile),
				   &(Gofer__Path[]){ path_of(rw, "swap/name") }[0], NULL));
		wrong += e != 0 && !is_denied(e);
		e = TIMED(write_file_at(sock, path_of(rw, "swap/name"), 0600, "x"));
		wrong += e != 0 && !is_denied(e);
	}
	attacker_stop(pid);
	report(what, n * 3, wrong);
	check(opened > 0, "... %lu times it was the file", opened);
}

static void s22_final_component(void)
{
	if (mkdir(in_dir(volume, "swap"), 0755) < 0 ||
	    mknod(in_dir(volume, "swap/name"), S_IFREG | 0600, 0) < 0 ||
	    mkfifo(in_dir(volume, "swap/special"), 0666) < 0)
		die("swap: %s", strerror(errno));
	race_special("a file or a FIFO");
	(void)unlink(in_dir(volume, "swap/name"));
	(void)unlink(in_dir(volume, "swap/special"));
	if (mknod(in_dir(volume, "swap/name"), S_IFREG | 0600, 0) == 0 &&
	    mknod(in_dir(volume, "swap/special"), S_IFCHR | 0666, makedev(1, 3)) == 0)
		race_special("a file or a device");
	else
		printf("  (no device could be made here)\n");
}

/* ---- an object exchanged right after it was made ---- */

static void plant_links(void)
{
	_cleanup_free_ char *made = strdup(in_dir(volume, "made")),
			    *precious = strdup(in_dir(guard_dir, "precious"));

	while (!shared->stop && made && precious) {
		if (unlink(made) < 0 && errno != ENOENT)
			(void)rmdir(made);
		if (link(precious, made) == 0)
			shared->moves++;
		(void)unlink(made);
	}
}

/* Whatever is made gets its mode and owner with its creation, not by its name afterwards. */
static void s23_fix_ups(void)
{
	const char *precious = in_dir(guard_dir, "precious");
	_cleanup_free_ char *before = guard_snapshot(precious), *after = NULL;
	char *cut_before = strstr(before, " links "), *cut_after;
	uint64_t end = race_end(), n = 0, made = 0;
	pid_t pid = attacker_start(plant_links);

	while (clock_ns() < end) {
		Gofer__MkdirRequest d = GOFER__MKDIR_REQUEST__INIT;
		Gofer__MknodRequest m = GOFER__MKNOD_REQUEST__INIT;
		Gofer__WriteFileRequest w = GOFER__WRITE_FILE_REQUEST__INIT;
		Gofer__Path p = path_of(rw, "made");

		d.path = m.path = w.path = &p;
		d.mode = w.mode = 0777;
		m.mode = S_IFREG | 0777;
		w.exclusive = true;
		w.atomic = n % 2;
		made += TIMED(raw_errno(sock, RPC_TYPE_Mkdir, &d)) == 0;
		made += TIMED(raw_errno(sock, RPC_TYPE_Mknod, &m)) == 0;
		made += TIMED(raw_errno(sock, RPC_TYPE_WriteFile, &w)) == 0;
		made += TIMED(open_path(sock, rw, "made", OPEN_W | OPEN_C | OPEN_X | OPEN_T, 0777,
					NULL)) == 0;
		n += 4;
	}
	attacker_stop(pid);
	report("made where links to a precious file come and go", n, 0);
	check(made > 0, "... %lu were made", made);
	after = guard_snapshot(precious);
	cut_after = strstr(after, " links "); /* the attacker's own links change the rest */
	check(cut_before && cut_after && cut_before - before == cut_after - after &&
		      !memcmp(before, after, (size_t)(cut_after - after)) &&
		      !strcmp(strrchr(before, ' '), strrchr(after, ' ')),
	      "the precious file has its mode, its owner and its content");
}

/* ---- what fails takes nothing away ---- */

/* Makes a file of its own, sees whether it is still there a moment later, removes it. */
static void own_a_name(void)
{
	_cleanup_free_ char *name = strdup(in_dir(volume, "owned"));

	while (!shared->stop && name) {
		struct stat st, now;
		int fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

		if (fd >= 0) {
			if (write(fd, "theirs", 6) != 6 || fstat(fd, &st) < 0)
				_exit(1);
			for (int i = 0; i < 20; i++)
				shared->escapes += lstat(name, &now) < 0 ||
						   now.st_ino != st.st_ino || now.st_size != 6;
			shared->moves++;
			fd_close(fd);
		}
		if (unlink(name) < 0 && errno == EISDIR)
			(void)rmdir(name);
	}
}

static unsigned left_behind(void)
{
	const struct dirent *e;
	unsigned n = 0;
	DIR *d = opendir(volume);

	while (d && (e = readdir(d)))
		n += !strncmp(e->d_name, ".gofer-", 7);
	if (d)
		closedir(d);
	return n;
}

static void s24_failed_creates(void)
{
	uint64_t end = race_end(), n = 0, refused = 0;
	pid_t pid = attacker_start(own_a_name);

	while (clock_ns() < end) {
		Gofer__Path p = path_of(rw, "owned"), file = path_of(rw, "a/file");
		Gofer__WriteFileRequest w = GOFER__WRITE_FILE_REQUEST__INIT;

		/* All that makes a name and must not replace one. */
		for (size_t i = 0; i < RPC_COUNT; i++)
			if (row_kinds[i] == ROW_MAKES) {
				bool second = rpc_table[i].flags & RPC_PATH2;

				refused += TIMED(row_call(sock, &rpc_table[i], second ? &file : &p,
							  second ? &p : NULL)) == EEXIST;
				n++;
			}
		w.path = &p;
		w.exclusive = true;
		w.atomic = n % 2;
		refused += TIMED(raw_errno(sock, RPC_TYPE_WriteFile, &w)) == EEXIST;
		refused += TIMED(open_path(sock, rw, "owned", OPEN_W | OPEN_C | OPEN_X, 0600,
					   NULL)) == EEXIST;
		n += 2;
	}
	attacker_stop(pid);
	report("exclusive creates of another's name", n, 0);
	check(refused > 0, "... %lu were refused", refused);
	check(left_behind() == 0, "no temporary name is left: %u", left_behind());
}

/* ---- listing a directory that changes ---- */

static void storm(void)
{
	char a[64], b[64];
	_cleanup_free_ char *dir = strdup(in_dir(volume, "storm")),
			    *link = strdup(in_dir(volume, "storm_link"));
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (unsigned i = 0; !shared->stop && fd >= 0; i++) {
		int file;

		snprintf(a, sizeof(a), "x%u", i % 500);
		snprintf(b, sizeof(b), "a_longer_name_%u", i % 300);
		file = openat(fd, a, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		fd_close(file);
		(void)renameat(fd, a, fd, b);
		snprintf(a, sizeof(a), "a_longer_name_%u", (i * 7) % 300);
		(void)unlinkat(fd, a, 0);
		if (i % 5 == 0)
			(void)renameat2(AT_FDCWD, dir, AT_FDCWD, link, RENAME_EXCHANGE);
		shared->moves++;
	}
}

static void s26_listing_in_a_storm(void)
{
	uint64_t end, n = 0, wrong = 0, stops = 0, entries = 0;
	pid_t pid;

	if (mkdir(in_dir(volume, "storm"), 0755) < 0 ||
	    symlink(outside, in_dir(volume, "storm_link")) < 0)
		die("storm: %s", strerror(errno));
	pid = attacker_start(storm);
	end = race_end();
	while (clock_ns() < end) {
		Gofer__ReadDirRequest q = GOFER__READ_DIR_REQUEST__INIT;
		Gofer__Path p = path_of(rw, "storm");
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		const Gofer__ReadDirReply *m;
		int e;

		q.path = &p;
		q.attrs = n % 2;
		q.targets = n % 3 == 0;
		q.max_bytes = n % 4 ? 0 : 2000;
		q.cookie = n % 8 == 7 ? n * 4099 : 0;
		e = TIMED(raw_call(sock, RPC_TYPE_ReadDir, &q, &r));
		e = outcome(e, &r);
		n++;
		stops += e == RAW_STOPPED;
		if (e) {
			wrong += e != RAW_STOPPED && e != EINVAL;
			continue;
		}
		m = (const Gofer__ReadDirReply *)r.message;
		entries += m->n_entries;
		for (size_t i = 0; i < m->n_entries; i++) {
			const ProtobufCBinaryData *name = &m->entries[i]->name;

			wrong += name->len == 0 || (name->data[0] != 'x' && name->data[0] != 'a');
		}
	}
	attacker_stop(pid);
	report("listings in a storm of names", n, wrong);
	check(entries > 0 && stops > 0, "... %lu entries, and %lu stops at the link", entries,
	      stops);
}

/* ---- another client, and the same one ---- */

/* A Rename(SWAP) of "way/dir", a directory, and "way/link", which leads outside. */
static size_t pack_swap(uint8_t *buf, uint32_t fs, uint32_t tag)
{
	Gofer__RenameRequest q = GOFER__RENAME_REQUEST__INIT;
	Gofer__Path a = path_of(fs, "way/dir"), b = path_of(fs, "way/link");

	q.source = &a;
	q.dest = &b;
	q.flags = GOFER__RENAME_FLAG__RENAME_SWAP;
	return raw_request(buf, RPC_TYPE_Rename, tag, &q, NULL, 0);
}

static void swap_as_a_client(void)
{
	static uint8_t buf[1024];
	uint32_t fs;
	int s = raw_session("rw", &fs);

	while (!shared->stop) {
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;

		if (raw_send(s, buf, pack_swap(buf, fs, 1), NULL, 0, 0) < 0 ||
		    raw_reply(s, 10000, &r) < 0)
			_exit(1);
		shared->moves += r.kind == FRAME_OK;
	}
	fd_close(s);
}

static void make_way(void)
{
	struct stat st;

	/* An earlier race may have left them the other way round. */
	if (lstat(in_dir(volume, "way/dir"), &st) == 0 && S_ISLNK(st.st_mode))
		(void)renameat2(AT_FDCWD, in_dir(volume, "way/dir"), AT_FDCWD,
				in_dir(volume, "way/link"), RENAME_EXCHANGE);
	(void)mkdir(in_dir(volume, "way"), 0755);
	(void)mkdir(in_dir(volume, "way/dir"), 0755);
	if (write_file_at(sock, path_of(rw, "way/dir/canary"), 0644, "inside") ||
	    (symlink(outside, in_dir(volume, "way/link")) < 0 && errno != EEXIST))
		die("way");
}

static void s17_second_client(void)
{
	uint64_t end, n = 0, wrong = 0, reached = 0;
	pid_t pid;

	make_way();
	pid = attacker_start(swap_as_a_client);
	end = race_end();
	while (clock_ns() < end)
		for (size_t i = 0; i < RPC_COUNT; i++) {
			Gofer__Path p = path_of(rw, "way/dir/canary"),
				    other = path_of(rw, "way/dir/other");
			int e;

			/* What takes the file away would leave nothing to find. */
			if (!(rpc_table[i].flags & RPC_PATH) || row_kinds[i] == ROW_REMOVES)
				continue;
			e = TIMED(row_call(sock, &rpc_table[i], &p, &other));
			n++;
			reached += e == 0;
			wrong += e < 0 || e == ENOTCONN;
		}
	attacker_stop(pid);
	report("every RPC by path, a second client exchanges a directory of it", n, wrong);
	check(reached > 0, "... %lu reached what is inside", reached);
}

static void s18_same_client(void)
{
	enum { FRAMES = 48 };
	static uint8_t out[FRAME_MAX_PACKET], in[FRAME_MAX_PACKET];
	uint64_t end = race_end(), n = 0, wrong = 0, ok = 0;

	make_way();
	longest_ns = 0;
	*shared = (struct shared){ 0 };
	while (clock_ns() < end && !wrong) {
		size_t len = 0;
		unsigned answered = 0;

		for (uint32_t tag = 1; tag <= FRAMES; tag++) {
			Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
			Gofer__Path p = path_of(rw, tag % 4 ? "way/dir/canary" : "way/link/canary");

			q.path = &p;
			if (tag % 3 == 0)
				len += pack_swap(out + len, rw, tag);
			else
				len += raw_request(out + len, RPC_TYPE_Stat, tag, &q, NULL, 0);
			/* As packets of their own too: then threads execute them side by side. */
			if (tag % 8 == 0 || n % 2) {
				if (raw_send(sock, out, len, NULL, 0, 0) < 0)
					die("send");
				len = 0;
			}
		}
		while (answered < FRAMES) {
			unsigned n_fds;
			int fd;
			ssize_t got = raw_recv(sock, in, sizeof(in), 10000, &fd, &n_fds);

			if (got <= 0)
				die("the session ended");
			for (ssize_t at = 0, used; at < got; at += used, answered++) {
				_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
				struct frame f;

				used = frame_parse(in + at, (size_t)(got - at), &f);
				if (used <= 0 || !raw_decode(&f, &r))
					die("a broken reply");
				wrong += row_reveals(&r);
				ok += r.kind == FRAME_OK;
				shared->moves +=
					r.kind == FRAME_OK && r.header.type == RPC_TYPE_Rename;
			}
		}
		n += FRAMES;
	}
	report("pipelined with the exchanges on one session", n, wrong);
	check(ok > 0, "... %lu were done", ok);
}

/* ---- mounts ---- */

static void mount_storm(void)
{
	const char *dir = in_dir(volume, "mounted/on");

	while (!shared->stop)
		if (mount("none", dir, "tmpfs", 0, NULL) == 0) {
			shared->moves++;
			(void)umount2(dir, MNT_DETACH);
		}
}

static void s28_mounts(void)
{
	uint64_t end, n = 0, wrong = 0;
	pid_t pid;

	(void)mkdir(in_dir(volume, "mounted"), 0755);
	(void)mkdir(in_dir(volume, "mounted/on"), 0755);
	if (mount("none", in_dir(volume, "mounted/on"), "tmpfs", 0, NULL) < 0) {
		printf("  (no mounts here: %s)\n", strerror(errno));
		return;
	}
	(void)umount(in_dir(volume, "mounted/on"));
	pid = attacker_start(mount_storm);
	end = race_end();
	while (clock_ns() < end)
		for (size_t i = 0; i < RPC_COUNT; i++) {
			Gofer__Path p = path_of(rw, "mounted/on/x"),
				    up = path_of(rw, "mounted/on/../on/y");
			int e;

			if (!(rpc_table[i].flags & RPC_PATH))
				continue;
			e = TIMED(row_call(sock, &rpc_table[i], &p, &up));
			wrong += e < 0;
			n++;
		}
	attacker_stop(pid);
	(void)umount2(in_dir(volume, "mounted/on"), MNT_DETACH);
	report("every RPC by path, while mounts come and go on it", n, wrong);
}

/* ---- connecting ---- */

static int listen_at(const char *host)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", host);
	if (fd < 0 || strlen(host) >= sizeof(sa.sun_path) ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1000) < 0)
		die("listen at %s: %s", host, strerror(errno));
	return fd;
}

static void swap_sockets(void)
{
	_cleanup_free_ char *first = strdup(in_dir(guard_dir, "talk/listens")),
			    *second = strdup(in_dir(guard_dir, "talk/leads_out"));

	while (!shared->stop && first && second)
		if (renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE) == 0)
			shared->moves++;
}

static unsigned accepted(int listener)
{
	unsigned n = 0;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		n++;
		close(fd);
	}
	return n;
}

static void s29_connect(void)
{
	uint32_t sp = guard_filesystem("sp");
	int inside = listen_at(in_dir(guard_dir, "talk/listens"));
	int beyond = listen_at(in_dir(guard_dir, "beyond"));
	uint64_t end, n = 0, wrong = 0;
	unsigned in = 0, out = 0;
	pid_t pid;

	if (symlink(in_dir(guard_dir, "beyond"), in_dir(guard_dir, "talk/leads_out")) < 0)
		die("symlink");
	pid = attacker_start(swap_sockets);
	end = race_end();
	while (clock_ns() < end) {
		Gofer__ConnectRequest q = GOFER__CONNECT_REQUEST__INIT;
		Gofer__Path p = path_of(sp, "listens");
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), e;

		q.path = &p;
		e = TIMED(raw_call_fd(sock, RPC_TYPE_Connect, &q, NULL, 0, fd, &r));
		wrong += e < 0;
		fd_close(fd);
		in += accepted(inside);
		out += accepted(beyond);
		n++;
	}
	attacker_stop(pid);
	report("Connect to a socket, or a link to one outside", n, wrong + out);
	check(in > 0, "... %u connections inside, %u outside", in, out);
	fd_close(inside);
	fd_close(beyond);
}

int main(int argc, char **argv)
{
	static const struct attack attacks[] = {
		{ "S17: a second client exchanges a directory with a link while every RPC goes "
		  "through it",
		  s17_second_client },
		{ "S18: the same client does, in the very packets", s18_same_client },
		{ "S22: a file that turns into a FIFO or a device is never opened as one, never "
		  "waited for",
		  s22_final_component },
		{ "S23: what is made is not fixed up by its name: a planted link changes nothing",
		  s23_fix_ups },
		{ "S24: a create that fails never takes another's file away", s24_failed_creates },
		{ "S26: listings in a storm of names are whole, bounded, and of that directory",
		  s26_listing_in_a_storm },
		{ "S28: mounts and unmounts by root under every RPC", s28_mounts, .root = true },
		{ "S29: a Connect never reaches a socket outside", s29_connect },
	};

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		die("mmap");
	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
