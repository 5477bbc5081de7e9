/*
 * attack_swap.c - the very object of a request is exchanged under it: a file with a FIFO or a device, a
 * new object with a hard link, another's file at a name that is to be made, a socket (S22 to S24, S29).
 *
 *     attack_swap DIRECTORY      prepared and served by attack.sh, with "$T/talk" as "sp"
 *                                (special=allow), and "$T/precious", a file that the volume does not
 *                                hold, on the same host filesystem
 *
 * RACE_MS=60000 for longer races than the usual.
 */
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "tests/integration/race.h"

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
		w.atomic = n / 4 % 2;
		w.bare = n / 8 % 2;
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
	unsigned turn = 0;

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
		w.atomic = turn % 2;
		w.bare = turn++ / 2 % 2;
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
		{ "S22: a file that turns into a FIFO or a device is never opened as one, never "
		  "waited for",
		  s22_final_component },
		{ "S23: what is made is not fixed up by its name: a planted link changes nothing",
		  s23_fix_ups },
		{ "S24: a create that fails never takes another's file away", s24_failed_creates },
		{ "S29: a Connect never reaches a socket outside", s29_connect },
	};

	race_init();
	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
