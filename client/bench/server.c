/*
 * server.c - the private server: this very program, on a tree of its own. It lies with its socket in
 * a directory that nobody else can enter, is out of the terminal's reach (Ctrl-C is for the bench,
 * which ends the server itself), and ends with the bench, however that ends.
 */
#include "client/bench/bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "client/stress/ground.h"
#include "common/packet.h"

enum { READY_MS = 30000, END_MS = 10000, VOLUME_MAX = 8192 };

/* HOST in -v HOST:NAME: what would end it is quoted. */
static void quote(const char *path, char *out)
{
	for (; *path; path++) {
		if (strchr(":,\\", *path))
			*out++ = '\\';
		*out++ = *path;
	}
	*out = '\0';
}

static void run_server(const struct bench *b, pid_t parent, int ready, int log)
{
	char volume[VOLUME_MAX + 128], ready_fd[16];
	const char *args[] = { "gofer",
			       "serve",
			       "-v",
			       volume,
			       "--listen",
			       b->address,
			       "--confine",
			       "best-effort",
			       "--max-sessions",
			       "4096",
			       "--max-sessions-per-uid",
			       "4096",
			       "--ready-fd",
			       ready_fd,
			       "--quiet",
			       NULL };
	size_t n;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setpgid(0, 0);
	if (getppid() != parent)
		_exit(1);
	if (dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0 ||
	    fcntl(ready, F_SETFD, 0) < 0)
		_exit(121);
	quote(b->native_path, volume);
	n = strlen(volume);
	snprintf(volume + n, sizeof(volume) - n,
		 ":bench:rw,donate=always,special=allow,identity=squash=%u:%u", geteuid(),
		 getegid());
	snprintf(ready_fd, sizeof(ready_fd), "%d", ready);
	(void)execve("/proc/self/exe", (char **)args, environ);
	_exit(127);
}

static int wait_ready(struct bench *b, int ready, int log)
{
	struct pollfd p = { .fd = ready, .events = POLLIN };
	char byte, words[1024];
	ssize_t n;
	int r;

	do
		r = poll(&p, 1, READY_MS);
	while (r < 0 && errno == EINTR && !bench_ended);
	if (r > 0 && read(ready, &byte, 1) == 1)
		return 0;
	if (bench_ended)
		return -EINTR;
	n = pread(log, words, sizeof(words) - 1, 0);
	while (n > 0 && words[n - 1] == '\n')
		n--;
	words[MAX(n, 0)] = '\0';
	cli_warn(b->c, "the private server did not start: %s",
		 words[0] ? words : "it did not become ready");
	return -EIO;
}

int bench_server_start(struct bench *b)
{
	const char *dir = b->dir ? b->dir : getenv("TMPDIR");
	_cleanup_fd_ int log = memfd_create("log", MFD_CLOEXEC), ready = -EBADF, ready_out = -EBADF;
	_cleanup_free_ char *absolute = NULL;
	struct rlimit files;
	pid_t parent = getpid();
	sigset_t all, old;
	int pipe[2];

	if (!dir || !*dir)
		dir = "/tmp";
	absolute = realpath(dir, NULL);
	if (!absolute || 2 * strlen(absolute) + 64 > VOLUME_MAX) {
		cli_error(b->c, absolute ? -ENAMETOOLONG : -errno, NULL, dir);
		return -EINVAL;
	}
	if (asprintf(&b->top, "%s/gofer-bench.XXXXXX", absolute) < 0)
		abort();
	if (log < 0 || !mkdtemp(b->top)) {
		int r = -errno;

		cli_error(b->c, r, "make a directory in", dir);
		free(TAKE_PTR(b->top));
		return r;
	}
	if (asprintf(&b->native_path, "%s/tree", b->top) < 0 ||
	    asprintf(&b->address, "unix:%s/sock", b->top) < 0)
		abort();
	if (mkdir(b->native_path, 0755) < 0 || pipe2(pipe, O_CLOEXEC) < 0)
		return -errno;
	ready = pipe[0];
	ready_out = pipe[1];
	/* Thousands of sessions here, thousands of handles there. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	/* Until its exec the child has our handlers: what ends it must wait until they are gone. */
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	b->server = fork();
	if (b->server == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(bench_signals); i++)
			(void)signal(bench_signals[i], SIG_DFL);
		(void)sigprocmask(SIG_SETMASK, &old, NULL);
		run_server(b, parent, ready_out, log);
	}
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	if (b->server < 0)
		return -errno;
	b->private_server = true;
	ready_out = fd_close(ready_out);
	return wait_ready(b, ready, log);
}

/* Politely; a server that does not listen is killed. */
static void end_server(pid_t pid)
{
	_cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	uint64_t deadline = now_ns() + UINT64_C(1000000) * END_MS;
	int r = 0;

	(void)kill(pid, SIGTERM);
	while (r <= 0 && now_ns() < deadline)
		r = poll(&p, 1, END_MS);
	if (r <= 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void bench_server_stop(struct bench *b)
{
	int fd;

	if (b->private_server && b->server > 0)
		end_server(b->server);
	b->server = 0;
	if (!b->top)
		return;
	fd = open(b->top, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		remove_below(fd);
	fd_close(fd);
	if (rmdir(b->top) < 0)
		cli_error(b->c, -errno, "remove", b->top);
	free(TAKE_PTR(b->top));
}
