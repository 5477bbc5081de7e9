/*
 * attack_donation.c - descriptors that the server gives away, and what a client does with them and
 * to the server by them (S47 to S59, S106).
 *
 *     attack_donation DIRECTORY      prepared and served by attack.sh
 */
#include <sys/file.h>
#include <sys/prctl.h>

#include "tests/integration/guard.h"

static void s47_donation(void)
{
	static const struct {
		const char *what, *path;
		uint32_t *fs, flags;
		bool donated;
		int access;
	} cases[] = {
		{ "a file, for reading", "a/file", &rw, OPEN_R | OPEN_D, true, O_RDONLY },
		{ "a file, for writing", "a/file", &rw, OPEN_W | OPEN_D, true, O_WRONLY },
		{ "a file, for both", "a/file", &rw, OPEN_RW | OPEN_D, true, O_RDWR },
		{ "a file of a read-only filesystem", "a/file", &ro, OPEN_R | OPEN_D, true,
		  O_RDONLY },
		{ "a file, where nobody asked for it", "a/file", &rw, OPEN_R, false, 0 },
		{ "a directory", "a", &rw, OPEN_R | OPEN_D, false, 0 },
		{ "donate=never", "a/file", &nd, OPEN_R | OPEN_D, false, 0 },
		{ "donate=ro, for reading", "a/file", &dr, OPEN_R | OPEN_D, true, O_RDONLY },
		{ "donate=ro, for writing", "a/file", &dr, OPEN_RW | OPEN_D, false, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct opened o = OPENED_NULL;
		struct stat st;
		int e = open_path(sock, *cases[i].fs, cases[i].path, cases[i].flags, 0, &o), flags;
		bool right = e == 0 && o.donated == cases[i].donated && o.n_fds == cases[i].donated;

		if (right && o.donated) {
			flags = fcntl(o.fd, F_GETFL);
			right = fstat(o.fd, &st) == 0 && S_ISREG(st.st_mode) && !(flags & O_PATH) &&
				(flags & O_ACCMODE) == cases[i].access && !(flags & O_NONBLOCK) &&
				st.st_ino == o.attr.ino;
		}
		check(right, "%-36s %s", cases[i].what,
		      e           ? word(e)
		      : o.donated ? "donated, a regular file, that access only"
				  : "handle only");
		fd_close(o.fd);
		if (o.handle)
			(void)close_handle(sock, o.handle);
	}
}

static void s48_as_it_arrives(void)
{
	struct opened o = OPENED_NULL;
	int e = open_path(sock, rw, "a/file", OPEN_RW | OPEN_D, 0, &o);

	/* raw_recv() takes them with MSG_CMSG_CLOEXEC, which is the receiver's to say. */
	check(e == 0 && o.n_fds == 1, "one descriptor in the message: %s, %u", word(e), o.n_fds);
	check(o.fd >= 0 && fcntl(o.fd, F_SETFD, FD_CLOEXEC) == 0 &&
		      fcntl(o.fd, F_GETFD) == FD_CLOEXEC,
	      "it can be made close-on-exec");
	check(lseek(o.fd, 0, SEEK_CUR) == 0, "its offset is 0: nobody used it before");
	fd_close(o.fd);
	(void)close_handle(sock, o.handle);
}

/* A descriptor of a read-only filesystem cannot be reopened for more. */
static void s49_reopen(void)
{
	struct opened o = OPENED_NULL;
	char proc[64];
	int e = open_path(sock, ro, "a/file", OPEN_R | OPEN_D, 0, &o), fd;

	if (e || o.fd < 0) {
		check(false, "nothing was donated: %s", word(e));
		return;
	}
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", o.fd);
	/* The mount that it comes from is read-only: permission does not even come into it. */
	fd = open(proc, O_WRONLY | O_CLOEXEC);
	check(fd < 0 && errno == EROFS, "reopening a read-only donation for writing: %s",
	      fd < 0 ? strerrorname_np(errno) : "worked");
	fd_close(fd);
	fd = open(proc, O_RDONLY | O_TRUNC | O_CLOEXEC);
	check(fd < 0 && errno == EROFS, "reopening it with O_TRUNC: %s",
	      fd < 0 ? strerrorname_np(errno) : "worked");
	fd_close(fd);
	check(fchmod(o.fd, 0777) < 0 && errno == EROFS, "fchmod: %s", strerrorname_np(errno));
	check(futimens(o.fd, NULL) < 0 && errno == EROFS, "futimens: %s", strerrorname_np(errno));
	fd = open(proc, O_RDONLY | O_CLOEXEC);
	check(fd >= 0, "reopening it for reading");
	fd_close(fd);
	fd_close(o.fd);
	(void)close_handle(sock, o.handle);
}

/* What a handle was opened for is all that it can be used for. */
static void s49_wider_by_handle(void)
{
	Gofer__SetAttrRequest cut = GOFER__SET_ATTR_REQUEST__INIT;
	uint64_t h = handle_of(sock, dr, "a/file", OPEN_R);
	Gofer__Path p = path_at(dr, h, "");

	cut.path = &p;
	cut.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
	expect("a handle for reading, written", write_handle(sock, h, 0, "x", 1), EBADF);
	expect("... cut", raw_errno(sock, RPC_TYPE_SetAttr, &cut), EINVAL);
	(void)close_handle(sock, h);
	h = handle_of(sock, dr, "a/file", OPEN_W);
	expect("a handle for writing, read", read_handle(sock, h), EBADF);
	(void)close_handle(sock, h);
	p.base_handle = h = handle_of(sock, dr, "a/file", OPEN_PLACE);
	expect("a place, read", read_handle(sock, h), EBADF);
	expect("... written", write_handle(sock, h, 0, "x", 1), EBADF);
	expect("... cut", raw_errno(sock, RPC_TYPE_SetAttr, &cut), EBADF);
	(void)close_handle(sock, h);
}

/* "0123456789" under a handle and a donated descriptor. */
static bool donated_file(const char *name, struct opened *ret)
{
	int fd = open(in_dir(volume, name), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600), e;

	if (fd < 0 || write(fd, "0123456789", 10) != 10)
		die("%s", name);
	fd_close(fd);
	e = open_path(sock, rw, name, OPEN_RW | OPEN_D, 0, ret);
	return check(e == 0 && ret->fd >= 0, "a file and its descriptor: %s", word(e));
}

static bool handle_reads(uint64_t handle, const char *text)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__ReadRequest q = GOFER__READ_REQUEST__INIT;
	int e;

	q.handle = handle;
	q.count = (uint32_t)strlen(text);
	e = raw_call(sock, RPC_TYPE_Read, &q, &r);
	return e == 0 && r.data_len == strlen(text) && !memcmp(r.data, text, r.data_len);
}

/* Whatever the client does to its descriptor, the server's is another open file description. */
static void s50_shared_state(void)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__WriteRequest w = GOFER__WRITE_REQUEST__INIT;
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct opened o = OPENED_NULL;
	int e;

	if (!donated_file("donated", &o))
		return;
	(void)fcntl(o.fd, F_SETFL, O_APPEND | O_NONBLOCK);
	(void)lseek(o.fd, 7, SEEK_SET);
	(void)flock(o.fd, LOCK_EX);
	check(fcntl(o.fd, F_OFD_SETLK, &lock) == 0, "a lock of the whole file on the donation");
	check(handle_reads(o.handle, "0123"), "lseek on the donation does not move the handle");
	w.handle = o.handle;
	w.offset = 2;
	e = raw_call_fd(sock, RPC_TYPE_Write, &w, "x", 1, -1, &r);
	check(e == 0 && r.kind == FRAME_OK && ((Gofer__WriteReply *)r.message)->offset == 2,
	      "O_APPEND on the donation does not make the handle append");
	lock.l_type = F_UNLCK;
	check(fcntl(o.fd, F_OFD_SETLK, &lock) == 0, "the lock taken off again");
	(void)flock(o.fd, LOCK_UN);
	e = fcntl(o.fd, F_SETLEASE, F_WRLCK);
	if (e == 0)
		(void)fcntl(o.fd, F_SETLEASE, F_UNLCK);
	check(e < 0, "no lease while the server holds its own description");
	check(handle_reads(o.handle, "01x3"), "the handle reads what was written");
	(void)unlink(in_dir(volume, "donated"));
	fd_close(o.fd);
	(void)close_handle(sock, o.handle);
}

static void s51_afterwards(void)
{
	struct opened o = OPENED_NULL;
	char buf[8] = "";

	if (!donated_file("donated", &o))
		return;
	if (chmod(in_dir(volume, "donated"), 0) < 0)
		die("chmod");
	check(handle_reads(o.handle, "0123"), "after chmod 0 the handle still reads");
	check(pread(o.fd, buf, 4, 0) == 4 && !memcmp(buf, "0123", 4),
	      "... and so does the donation");
	(void)unlink(in_dir(volume, "donated"));
	check(handle_reads(o.handle, "0123"), "after unlink the handle still reads");
	check(pread(o.fd, buf, 4, 0) == 4 && !memcmp(buf, "0123", 4),
	      "... and so does the donation");
	expect("the handle is closed", close_handle(sock, o.handle), 0);
	check(pread(o.fd, buf, 4, 0) == 4, "... the donation is not");
	fd_close(o.fd);
}

/* Descriptors in flight count against the sender's uid, which all sessions share. */
static void s52_lazy_client(void)
{
	enum { OPENS = 4000 };
	static uint8_t buf[FRAME_MAX_PACKET];
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path p = path_of(rw, "a/file");
	struct pollfd poll_out = { .events = POLLOUT };
	struct opened o = OPENED_NULL;
	int lazy = guard_session(), sent = 0, e = 0, donated = 0;

	q.path = &p;
	q.flags = OPEN_R | OPEN_D | GOFER__OPEN_FLAG__OPEN_ONLY_DONATED;
	poll_out.fd = lazy;
	while (sent < OPENS) {
		size_t n = raw_request(buf, RPC_TYPE_Open, (uint32_t)sent, &q, NULL, 0);

		e = raw_send(lazy, buf, n, NULL, 0, MSG_DONTWAIT);
		if (e == -EAGAIN && poll(&poll_out, 1, 200) == 0)
			break; /* it is not read from any more */
		if (e < 0 && e != -EAGAIN)
			break;
		sent += e == 0;
	}
	for (int i = 0; i < 20; i++) {
		o = OPENED_NULL;
		e = open_path(sock, rw, "a/file", OPEN_R | OPEN_D, 0, &o);
		donated += e == 0 && o.donated;
		fd_close(o.fd);
		(void)close_handle(sock, o.handle);
	}
	check(donated == 20,
	      "while one client leaves %d Opens with donation unread, another gets %d of 20", sent,
	      donated);
	fd_close(lazy);
}

/* What the worker of a session has open: by kind, from outside. */
static void s56_descriptors_of_a_worker(void)
{
	int others[3] = { guard_session(), guard_session(), raw_connect() };
	int late;
	unsigned sockets = 0, n = 0, odd = 0;
	char dir[64], target[PATH_MAX];
	const struct dirent *e;
	struct process_list now;
	pid_t last = 0;
	DIR *d;

	/* The last one forked is the one that could inherit most. */
	late = guard_session();
	server_processes(&now);
	for (size_t i = 0; i < now.n; i++)
		last = MAX(last, now.at[i].pid);
	snprintf(dir, sizeof(dir), "/proc/%d/fd", last);
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		ssize_t len = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		if (len < 0)
			continue;
		target[len] = '\0';
		n++;
		sockets += !strncmp(target, "socket:", 7);
		if (strncmp(target, "socket:", 7) && target[0] != '/' &&
		    strncmp(target, "pipe:", 5)) {
			odd++;
			printf("       %s -> %s\n", e->d_name, target);
		}
	}
	if (d)
		closedir(d);
	check(sockets == 1 && odd == 0,
	      "a worker among five sessions: %u descriptors, %u socket, %u of no known kind", n,
	      sockets, odd);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		fd_close(others[i]);
	fd_close(late);
}

/* Set-id bits go when somebody else's bytes arrive, whichever way they take. */
static void s59_set_id(void)
{
	struct opened o = OPENED_NULL;
	struct stat st = { 0 };
	const char *host = in_dir(volume, "setid");
	Gofer__Path p = path_of(rw, "setid");
	int way, pid, status;

	for (way = 0; way < 3; way++) {
		static const char *const names[] = { "Write", "WriteFile", "the donation" };
		int fd = open(host, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);

		if (fd < 0 || fchown(fd, 1500, 1500) < 0 || fchmod(fd, 06777) < 0)
			die("setid");
		fd_close(fd);
		o = OPENED_NULL;
		if (open_path(sock, rw, "setid", OPEN_RW | OPEN_D, 0, &o) || o.fd < 0)
			die("nothing was donated");
		if (way == 0) {
			expect(names[way], write_handle(sock, o.handle, 0, "evil", 4), 0);
		} else if (way == 1) {
			expect(names[way], write_file_at(sock, p, 0755, "evil"), 0);
		} else {
			pid = fork();
			if (pid == 0) /* not root: root keeps them, by CAP_FSETID */
				_exit(setgid(1600) || setuid(1600) ||
				      pwrite(o.fd, "evil", 4, 0) != 4);
			check(waitpid(pid, &status, 0) == pid && status == 0, "%s", names[way]);
		}
		check(stat(host, &st) == 0 && st.st_size == 4 && !(st.st_mode & 06000),
		      "... strips the set-id bits: mode %o", st.st_mode & 07777);
		fd_close(o.fd);
		(void)close_handle(sock, o.handle);
	}
	(void)unlink(host);
}

/* A set-id program in the tree is not honoured through a descriptor that we gave away. */
static void s106_fexecve(void)
{
	const char *host = in_dir(volume, "id");
	char *const args[] = { (char *)"id", (char *)"-u", NULL };
	char out[16] = "", command[PATH_MAX + 64];
	struct opened o = OPENED_NULL;
	int pipes[2], status, e;
	ssize_t n;
	pid_t pid;

	snprintf(command, sizeof(command), "cp /usr/bin/id '%s' && chmod 4755 '%s'", host, host);
	if (system(command) != 0 || pipe2(pipes, O_CLOEXEC) < 0)
		die("a set-id program");
	e = open_path(sock, rw, "id", OPEN_R | OPEN_D, 0, &o);
	if (e || o.fd < 0)
		die("nothing was donated: %s", word(e));
	pid = fork();
	if (pid == 0) {
		if (dup2(pipes[1], STDOUT_FILENO) < 0 || setgid(1500) || setuid(1500))
			_exit(1);
		fexecve(o.fd, args, (char *const[]){ NULL });
		_exit(2);
	}
	fd_close(pipes[1]);
	n = read(pipes[0], out, sizeof(out) - 1);
	out[n > 0 ? n - 1 : 0] = '\0';
	check(waitpid(pid, &status, 0) == pid && status == 0 && !strcmp(out, "1500"),
	      "a program of root's with its set-id bit, executed by uid 1500: runs as %s", out);
	fd_close(pipes[0]);
	fd_close(o.fd);
	(void)close_handle(sock, o.handle);
	(void)unlink(host);
}

int main(int argc, char **argv)
{
	static const struct attack attacks[] = {
		{ "S47 S48: only regular files are donated, with the access asked for and allowed",
		  s47_donation },
		{ "S48: one descriptor, never used before, that can be close-on-exec",
		  s48_as_it_arrives },
		{ "S49: a donation of a read-only filesystem cannot be reopened for writing",
		  s49_reopen },
		{ "S49: a handle gives no access that it was not opened for", s49_wider_by_handle },
		{ "S50: offset, flags, locks and leases of a donation are not the server's",
		  s50_shared_state },
		{ "S51: handle and donation outlive chmod and unlink, as documented",
		  s51_afterwards },
		{ "S52: a client that never reads does not use up the descriptors in flight",
		  s52_lazy_client },
		{ "S56: a worker holds no descriptor of another session",
		  s56_descriptors_of_a_worker, .root = true },
		{ "S59: a write by handle, by path or by donation strips set-id bits", s59_set_id,
		  .root = true },
		{ "S106: a set-id program is not honoured through a donated descriptor",
		  s106_fexecve, .root = true },
	};

	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
