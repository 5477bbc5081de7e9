/*
 * server.c - see server.h. The socket is a pair: nobody else can connect, and the server ends with its only client.
 */
#include "client/run/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/util.h"

/* Arguments of the server's process; everything malloc'ed is in `specs`. */
struct arguments {
	char **argv, **specs;
	size_t n, n_specs;
	char listen[32];
};

static void arguments_deinit(struct arguments *a)
{
	for (size_t i = 0; a->specs && i < a->n_specs; i++)
		free(a->specs[i]);
	free(a->specs);
	free(a->argv);
}

static void add(struct arguments *a, const char *word)
{
	a->argv[a->n++] = (char *)(uintptr_t)word;
}

static int arguments_init(struct arguments *a, const struct run_plan *plan, const char *confine,
			  int sock)
{
	enum { WORDS = 16 };

	*a = (struct arguments){ .argv = calloc(WORDS + 2 * plan->n_volumes, sizeof(*a->argv)),
				 .specs = calloc(plan->n_volumes, sizeof(*a->specs)) };
	if (!a->argv || !a->specs)
		return -ENOMEM;
	snprintf(a->listen, sizeof(a->listen), "fd:%d", sock);
	add(a, "gofer");
	add(a, "serve");
	add(a, "--quiet");
	add(a, "--confine");
	add(a, confine);
	add(a, "--listen");
	add(a, a->listen);
	/* Whatever the plan nests, the namespace keeps apart. */
	add(a, "--allow-overlap");
	for (size_t i = 0; i < plan->n_volumes; i++) {
		a->specs[i] = plan_volume_spec(&plan->volumes[i]);
		if (!a->specs[i])
			return -ENOMEM;
		a->n_specs++;
		add(a, "-v");
		add(a, a->specs[i]);
	}
	return 0;
}

/* Between fork(2) and execve(2) of a program that has one thread. */
static void become_server(const struct arguments *a, int sock, pid_t parent)
{
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	/* Keys of the terminal are for the program: the server ends when its client does. */
	(void)setpgid(0, 0);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)fcntl(sock, F_SETFD, 0);
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("NOTIFY_SOCKET");
	execv("/proc/self/exe", a->argv);
	_exit(127);
}

static int open_session(int sock, struct gofer_session **ret_session)
{
	/* Whoever waits for slow storage without us waits without a deadline; an hour is for a server that hangs. */
	const struct gofer_session_options options = { .client = "gofer run",
						       .timeout_ms = 3600 * 1000 };
	char address[32];

	snprintf(address, sizeof(address), "fd:%d", sock);
	return gofer_session_open(address, &options, ret_session);
}

/* A process of which `parent` is the parent, with a larger number. 0: none. */
static pid_t child_of(pid_t parent)
{
	DIR *proc = opendir("/proc");
	const struct dirent *e;
	pid_t found = 0;

	while (proc && !found && (e = readdir(proc))) {
		char path[64], text[512];
		_cleanup_fd_ int fd = -EBADF;
		const char *end;
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		int of = 0;
		ssize_t n;

		if (pid <= parent)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
		if (n <= 0)
			continue;
		text[n] = '\0';
		end = strrchr(text, ')');
		if (end && sscanf(end, ") %*c %d", &of) == 1 && of == parent)
			found = pid;
	}
	if (proc)
		closedir(proc);
	return found;
}

/* The server forks for its monitor and for the session. */
static pid_t find_worker(pid_t server)
{
	pid_t last = 0;

	for (pid_t pid = child_of(server); pid; pid = child_of(pid))
		last = pid;
	return last;
}

int run_server_start(const struct run_plan *plan, const char *confine,
		     struct run_server *ret_server, char *problem)
{
	struct run_server server = { 0 };
	_cleanup_(arguments_deinit) struct arguments a = { 0 };
	_cleanup_fd_ int ours = -EBADF, theirs = -EBADF;
	pid_t parent = getpid();
	int pair[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return run_fail(problem, -errno, "cannot make a socket: %s", strerror(errno));
	ours = pair[0];
	theirs = pair[1];
	r = arguments_init(&a, plan, confine, theirs);
	if (r < 0)
		return run_fail(problem, r, "out of memory");
	server.pid = fork();
	if (server.pid == 0)
		become_server(&a, theirs, parent);
	if (server.pid < 0)
		return run_fail(problem, -errno, "cannot start the private server: %s",
				strerror(errno));
	theirs = fd_close(theirs);
	r = open_session(ours, &server.session);
	if (r < 0) {
		ours = fd_close(ours);
		(void)kill(server.pid, SIGTERM);
		run_server_stop(&server);
		return run_fail(problem, r, "the private server did not start%s",
				strcmp(confine, "strict") == 0
					? " (see above; --confine best-effort runs it with the "
					  "layers that this machine has)"
					: " (see above)");
	}
	/* The session owns it. */
	(void)TAKE_FD(ours);
	server.worker = find_worker(server.pid);
	*ret_server = server;
	return 0;
}

/* A server whose storage hangs does not end by itself. */
static void reap(pid_t pid)
{
	enum { PATIENCE_MS = 5000 };
	_cleanup_fd_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd ended = { .fd = fd, .events = POLLIN };

	if (fd >= 0 && poll(&ended, 1, PATIENCE_MS) == 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void run_server_stop(struct run_server *server)
{
	gofer_session_close(TAKE_PTR(server->session));
	if (server->pid > 0)
		reap(server->pid);
	server->pid = 0;
}
