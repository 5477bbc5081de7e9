/*
 * serve_front.c - the process that the user started. It stays outside of everything: it opens the
 * volumes, binds the socket, starts a monitor (and with SIGHUP the next one), tells it who
 * connects, runs the command of --run, and turns signals into their meaning.
 *
 * It holds no tree once a monitor runs, reads nothing that a client sent, and is single-threaded:
 * signals arrive on a signalfd, and one poll() waits for them and for the monitors. A *generation*
 * is one monitor; at most one of them accepts. Whatever ends the front, kill -9 included, closes
 * the control sockets, and that ends every generation.
 */
#include "server/serve.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/packet.h"
#include "server/gate.h"
#include "server/monitor.h"
#include "server/ready.h"
#include "server/relay.h"
#include "server/volume.h"

enum {
	RETIRE_MS = 5000,
	GENERATIONS_MAX = 32,
	EXIT_CANNOT_EXEC = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_SIGNALLED = 128
};

struct generation {
	pid_t pid; /* 0 = none */
	int control;
	pid_t gate; /* where TLS clients come in; 0 = none */
	int gate_control;
	bool ready;
	char *summary; /* "NAME (ro) from PATH, ..." */
};

struct front {
	const struct serve_options *options;
	struct server_shared *shared;
	struct listener listeners[SERVE_LISTEN_MAX + 1];
	size_t n_listeners;
	struct generation generations[GENERATIONS_MAX];
	struct generation *current; /* accepts; NULL before the first is ready */
	char *private_dir;          /* of a private server's socket */
	sigset_t old_mask;
	int signal_fd;
	pid_t command; /* 0 = none (any more) */
	pid_t relay;   /* of --stdio, likewise */
	bool stopping, announced;
	int status;
};

static bool wants_command(const struct front *f)
{
	return f->options->run || f->options->command;
}

/* ---- generations ---- */

static char *summarize(const struct server *server)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (size_t i = 0; i < server->n_volumes; i++) {
		const struct volume *v = &server->volumes[i];

		fprintf(out, "%s%s (%s) from %s", i ? ", " : "", v->name,
			v->read_only ? "ro" : "rw", v->host_path);
	}
	(void)fclose(out);
	return text;
}

static void generation_close(struct generation *g)
{
	fd_close(g->control);
	free(g->summary);
	/* The gate ends after its monitor. */
	*g = (struct generation){ .control = -EBADF,
				  .gate = g->gate,
				  .gate_control = g->gate_control };
}

static bool is_free(const struct generation *g)
{
	return !g->pid && !g->gate;
}

/* In the monitor's process: nothing of the front stays but what it was given. */
static void run_monitor(struct front *f, struct server *server, struct confine *confine,
			int control, int handoff, const struct access_list *access)
{
	struct listener listeners[SERVE_LISTEN_MAX + 1];
	struct monitor_config config = {
		.handoff = handoff,
		.access = access,
		.server = server,
		.confine = confine,
		.listeners = listeners,
		.allowed_uids = f->options->allowed_uids,
		.n_allowed_uids = f->options->n_allowed_uids,
		.allow_any_uid = f->options->allow_any_uid,
		.control = control,
		.serve = session_run,
	};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int *keep = calloc(server->n_volumes + f->n_listeners + 3, sizeof(*keep));
	size_t n = 0;

	if (!keep)
		_exit(EXIT_FAILURE);

	for (size_t i = 0; i < server->n_volumes; i++)
		keep[n++] = server->volumes[i].fs.root_fd;
	for (size_t i = 0; i < f->n_listeners; i++) {
		if (f->listeners[i].tls)
			continue;
		listeners[config.n_listeners++] = f->listeners[i];
		keep[n++] = f->listeners[i].fd;
	}
	if (handoff >= 0)
		keep[n++] = handoff;
	keep[n++] = control;
	keep[n++] = null;
	/* Away from the terminal: its signals are for the front and the command. */
	(void)setsid();
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(EXIT_FAILURE);
	/* Also what whoever started the server left open, and the other generations' ends. */
	if (confine_close_others(keep, n) < 0)
		_exit(EXIT_FAILURE);
	free(keep);
	if (null > STDERR_FILENO)
		fd_close(null);
	(void)sigprocmask(SIG_SETMASK, &f->old_mask, NULL);
	_exit(monitor_run(&config));
}

static int start_in(struct front *f, struct generation *g, struct server *server, int handoff,
		    const struct access_list *access, struct serve_error *error)
{
	struct confine confine;
	int pair[2], r;
	pid_t pid;

	r = confine_init(&confine, server, !f->options->best_effort, f->options->no_openat2);
	if (r < 0)
		return serve_fail(error, r, "cannot start: %s", strerror(-r));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		r = -errno;
		confine_deinit(&confine);
		return serve_fail(error, r, "cannot make a socket pair: %s", strerror(-r));
	}
	pid = confine_fork(&confine, error);
	if (pid == 0) {
		fd_close(pair[0]);
		run_monitor(f, server, &confine, pair[1], handoff, access);
	}
	confine_deinit(&confine);
	fd_close(pair[1]);
	if (pid < 0) {
		fd_close(pair[0]);
		return serve_fail(error, pid, "cannot start the monitor: %s", strerror(-pid));
	}
	g->pid = pid;
	g->control = pair[0];
	g->summary = summarize(server);
	return 0;
}

/* If there is anything for a gate to do. */
static int start_gate(struct front *f, struct generation *g, const struct access_list *access,
		      int *ret_handoff, struct serve_error *error)
{
	struct gate_config config = { .options = f->options,
				      .access = access,
				      .listeners = f->listeners,
				      .n_listeners = f->n_listeners };

	for (size_t i = 0; i < f->n_listeners; i++)
		if (f->listeners[i].tls)
			return gate_start(&config, &g->gate, &g->gate_control, ret_handoff, error);
	return 0;
}

static int start_generation(struct front *f, struct serve_error *error)
{
	struct access_list access = { 0 };
	struct generation *g = NULL;
	_cleanup_fd_ int handoff = -EBADF;
	struct server server;
	int r;

	for (size_t i = 0; i < GENERATIONS_MAX && !g; i++)
		if (is_free(&f->generations[i]))
			g = &f->generations[i];
	if (!g)
		return serve_fail(error, -EBUSY,
				  "%d earlier reloads still have clients: end some first",
				  GENERATIONS_MAX);
	r = serve_open_server(f->options, f->shared, &server, error);
	if (r < 0)
		return r;
	if (f->options->tls_access) {
		r = access_load(f->options->tls_access, &access, error);
		if (r == 0)
			r = access_check(f->options->tls_access, &access, &server, error);
	}
	if (r == 0 && f->options->tls_access && !f->options->tls.ca && !access.tokens)
		r = serve_fail(
			error, -EINVAL,
			"%s has no tokens, and without --tls-client-ca no certificate counts: "
			"nobody could come in",
			f->options->tls_access);
	if (r == 0)
		r = start_gate(f, g, &access, &handoff, error);
	if (r == 0)
		r = start_in(f, g, &server, handoff, &access, error);
	if (r < 0 && g->gate) {
		gate_kill(g->gate, g->gate_control);
		g->gate = 0;
		g->gate_control = -EBADF;
	}
	access_deinit(&access);
	serve_close_server(&server);
	return r;
}

static size_t generations_alive(const struct front *f)
{
	size_t n = 0;

	for (size_t i = 0; i < GENERATIONS_MAX; i++)
		n += !is_free(&f->generations[i]);
	return n;
}

static void kill_generations(struct front *f, int sig)
{
	for (size_t i = 0; i < GENERATIONS_MAX; i++) {
		if (f->generations[i].pid)
			(void)kill(f->generations[i].pid, sig);
		if (f->generations[i].gate)
			(void)kill(f->generations[i].gate, sig);
	}
}

/* The second time it is meant. */
static void stop(struct front *f)
{
	if (!f->stopping)
		ready_notify("STOPPING=1");
	kill_generations(f, f->stopping ? SIGKILL : SIGTERM);
	if (f->stopping && f->relay)
		(void)kill(f->relay, SIGKILL);
	f->stopping = true;
}

/* ---- the command ---- */

static void exec_command(struct front *f)
{
	char *const shell[] = { (char *)"sh", (char *)"-c", (char *)f->options->run, NULL };
	char *const *argv = f->options->run ? shell : f->options->command;
	int code;

	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)sigprocmask(SIG_SETMASK, &f->old_mask, NULL);
	/* These were for us. */
	(void)unsetenv("LISTEN_FDS");
	(void)unsetenv("LISTEN_PID");
	(void)unsetenv("NOTIFY_SOCKET");
	if (setenv("GOFER_SERVER", f->listeners[0].address, 1) < 0)
		_exit(EXIT_FAILURE);
	if (f->options->run)
		execv("/bin/sh", argv);
	else
		execvp(argv[0], argv);
	code = errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXEC;
	log_error("%s: %s", argv[0], strerror(errno));
	_exit(code);
}

static void start_command(struct front *f)
{
	pid_t pid = fork();

	if (pid == 0)
		exec_command(f);
	if (pid < 0) {
		log_error("cannot start the command: %s", strerror(errno));
		f->status = EXIT_FAILURE;
		stop(f);
		return;
	}
	f->command = pid;
}

/* ---- what monitors say ---- */

static void announce(struct front *f, const struct generation *g)
{
	char where[4096] = "";
	size_t used = 0;

	for (size_t i = 0; i < f->n_listeners && used < sizeof(where); i++)
		used += snprintf(where + used, sizeof(where) - used, "%s%s", i ? ", " : "",
				 f->listeners[i].address);
	log_info("serving %s on %s", g->summary ? g->summary : "", where);
	ready_notify("READY=1");
	if (!f->announced)
		ready_fd(f->options->ready_fd);
	f->announced = true;
}

static void on_ready(struct front *f, struct generation *g)
{
	bool first = !f->current;

	g->ready = true;
	if (f->current && f->current->gate)
		gate_retire(f->current->gate, f->current->gate_control);
	if (f->current)
		(void)kill(f->current->pid, SIGUSR1);
	f->current = g;
	announce(f, g);
	if (first && wants_command(f))
		start_command(f);
}

static int who(int sock, struct monitor_who *ret)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
		return -errno;
	ret->pid = cred.pid;
	ret->uid = cred.uid;
	ret->gid = cred.gid;
	return 0;
}

static void on_control(struct front *f, struct generation *g)
{
	struct monitor_who answer = {};
	struct iovec iov = { &answer, sizeof(answer) };
	struct packet_in in;
	uint8_t type;
	ssize_t n = packet_recv(g->control, &type, sizeof(type), MSG_DONTWAIT, &in);
	_cleanup_fd_ int sock = n > 0 ? in.fd : -EBADF;

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n <= 0) {
		/* It ends; SIGCHLD tells how. */
		g->control = fd_close(g->control);
		return;
	}
	if (type == MONITOR_READY && !g->ready) {
		on_ready(f, g);
	} else if (type == MONITOR_WHO) {
		answer.result = sock < 0 ? -EBADF : who(sock, &answer);
		(void)packet_send(g->control, &iov, 1, -EBADF, MSG_DONTWAIT);
	}
}

/* ---- signals ---- */

static void generation_ended(struct front *f, struct generation *g, int status)
{
	bool was_current = f->current == g, ready = g->ready;

	generation_close(g);
	if (g->gate)
		(void)kill(g->gate, SIGTERM);
	if (was_current)
		f->current = NULL;
	/* Ours was a copy, which would keep the only client's connection open. */
	for (size_t i = 0; i < f->n_listeners && !generations_alive(f); i++)
		if (!f->listeners[i].listening)
			f->listeners[i].fd = fd_close(f->listeners[i].fd);
	if (f->stopping)
		return;
	if (!ready && f->current) {
		log_error("reload failed: serving the volumes as they were");
		ready_notify("READY=1");
		return;
	}
	if (ready && !was_current)
		return; /* a retired one whose last client left */
	/* With one client only (fd:N, --stdio), its end is the end. */
	f->status = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
	if (WIFSIGNALED(status))
		log_error("the monitor was killed by %s", strsignal(WTERMSIG(status)));
	if (f->command)
		(void)kill(f->command, SIGTERM);
	stop(f);
}

static void gate_ended(struct front *f, struct generation *g)
{
	g->gate = 0;
	g->gate_control = fd_close(g->gate_control);
	/* Its monitor would go on with nobody who comes in. */
	if (g->pid && g == f->current && !f->stopping) {
		log_error("the TLS gate has ended");
		f->status = EXIT_FAILURE;
		if (f->command)
			(void)kill(f->command, SIGTERM);
		stop(f);
	}
}

static void on_child(struct front *f)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == f->relay) {
			f->relay = 0;
			continue;
		}
		if (pid == f->command) {
			f->command = 0;
			f->status = WIFEXITED(status) ? WEXITSTATUS(status)
						      : EXIT_SIGNALLED + WTERMSIG(status);
			if (!f->stopping)
				stop(f);
			continue;
		}
		for (size_t i = 0; i < GENERATIONS_MAX; i++) {
			if (f->generations[i].pid == pid)
				generation_ended(f, &f->generations[i], status);
			if (f->generations[i].gate == pid)
				gate_ended(f, &f->generations[i]);
		}
	}
}

static void reload(struct front *f)
{
	struct serve_error error = {};

	if (f->stopping || !f->current)
		return;
	ready_notify_reloading();
	if (start_generation(f, &error) < 0) {
		log_error("reload failed: %s: serving the volumes as they were", error.text);
		ready_notify("READY=1");
	}
}

static void on_signal(struct front *f, const struct signalfd_siginfo *info)
{
	switch (info->ssi_signo) {
	case SIGCHLD:
		on_child(f);
		return;
	case SIGHUP:
		/* With a command, this is the terminal that went away, not somebody who asks for a
		 * reload. */
		if (f->command)
			(void)kill(f->command, SIGHUP);
		else
			reload(f);
		return;
	case SIGINT:
	case SIGQUIT:
		/* The terminal has sent it to the command too: what that makes of it counts. */
		if (f->command && info->ssi_code > 0)
			return;
		break;
	default:
		break;
	}
	if (f->command)
		(void)kill(f->command, (int)info->ssi_signo);
	else
		stop(f);
}

static int open_signals(struct front *f)
{
	static const int signals[] = { SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, &f->old_mask) < 0)
		return -errno;
	f->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return f->signal_fd < 0 ? -errno : 0;
}

/* ---- sockets ---- */

static int add_listener(struct front *f, const char *address, struct serve_error *error)
{
	int r = listener_open(address, &f->options->socket, &f->listeners[f->n_listeners], error);

	if (r == 0)
		f->n_listeners++;
	return r;
}

/* A socket that only this user finds, for one command. */
static int open_private(struct front *f, struct serve_error *error)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	_cleanup_free_ char *dir = NULL, *address = NULL;

	if (!base || access(base, W_OK | X_OK) < 0)
		base = getenv("TMPDIR");
	if (!base || access(base, W_OK | X_OK) < 0)
		base = "/tmp";
	if (asprintf(&dir, "%s/gofer-XXXXXX", base) < 0)
		return -ENOMEM;
	if (!mkdtemp(dir))
		return serve_fail(error, -errno, "cannot make a directory for the socket in %s: %s",
				  base, strerror(errno));
	f->private_dir = TAKE_PTR(dir);
	if (asprintf(&address, "unix:%s/sock", f->private_dir) < 0)
		return -ENOMEM;
	return add_listener(f, address, error);
}

static int open_default(struct front *f, struct serve_error *error)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	_cleanup_free_ char *address = NULL;
	int r;

	if (geteuid() == 0)
		return add_listener(f, "unix:/run/gofer.sock", error);
	if (!runtime || runtime[0] != '/')
		return serve_fail(
			error, -EINVAL,
			"no socket: XDG_RUNTIME_DIR is not set: give --listen unix:/path");
	r = asprintf(&address, "unix:%s/gofer.sock", runtime);
	return r < 0 ? -ENOMEM : add_listener(f, address, error);
}

/*
 * One client on standard input and output. Where these are one socket it is the session's; of two
 * pipes a process of its own makes one.
 */
static int open_stdio(struct front *f, struct serve_error *error)
{
	struct listener *l = &f->listeners[f->n_listeners];
	int sock, r;

	r = relay_stdio(!f->options->best_effort, &sock, &f->relay, error);
	if (r < 0)
		return r;
	*l = (struct listener){ .fd = sock };
	f->n_listeners++;
	l->address = strdup("standard input and output");
	return l->address ? 0 : -ENOMEM;
}

static int open_listeners(struct front *f, struct serve_error *error)
{
	unsigned passed = listener_passed();
	int r = 0;

	if (f->options->stdio)
		return open_stdio(f, error);
	for (size_t i = 0; r == 0 && i < f->options->n_listen; i++)
		r = add_listener(f, f->options->listen[i], error);
	if (r < 0 || f->n_listeners)
		return r;
	if (wants_command(f))
		return open_private(f, error);
	for (unsigned i = 0; r == 0 && i < passed && i < SERVE_LISTEN_MAX; i++) {
		r = listener_adopt(i, &f->listeners[f->n_listeners], error);
		if (r == 0)
			f->n_listeners++;
	}
	if (r < 0 || f->n_listeners)
		return r;
	return open_default(f, error);
}

/* ---- life ---- */

static int front_loop(struct front *f)
{
	while (generations_alive(f) || f->command || f->relay) {
		struct pollfd fds[GENERATIONS_MAX + 1] = { { .fd = f->signal_fd,
							     .events = POLLIN } };

		for (size_t i = 0; i < GENERATIONS_MAX; i++)
			fds[i + 1] = (struct pollfd){ .fd = f->generations[i].control,
						      .events = POLLIN };
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		for (size_t i = 0; i < GENERATIONS_MAX; i++)
			if (fds[i + 1].revents && f->generations[i].control == fds[i + 1].fd)
				on_control(f, &f->generations[i]);
		if (fds[0].revents) {
			struct signalfd_siginfo info;

			while (read(f->signal_fd, &info, sizeof(info)) == sizeof(info))
				on_signal(f, &info);
		}
	}
	return 0;
}

static int front_start(struct front *f, struct serve_error *error)
{
	int r;

	f->shared = mmap(NULL, sizeof(*f->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f->shared == MAP_FAILED) {
		f->shared = NULL;
		return serve_fail(error, -errno, "out of memory");
	}
	atomic_store(&f->shared->started, now_ns());
	r = open_signals(f);
	if (r < 0)
		return serve_fail(error, r, "cannot take signals: %s", strerror(-r));
	r = open_listeners(f, error);
	if (r < 0)
		return serve_fail(error, r, "cannot listen: %s", strerror(-r));
	return start_generation(f, error);
}

static void front_deinit(struct front *f)
{
	for (size_t i = 0; i < GENERATIONS_MAX; i++) {
		generation_close(&f->generations[i]);
		fd_close(f->generations[i].gate_control);
	}
	for (size_t i = 0; i < f->n_listeners; i++)
		listener_deinit(&f->listeners[i]);
	if (f->private_dir)
		(void)rmdir(f->private_dir);
	free(f->private_dir);
	fd_close(f->signal_fd);
	if (f->shared)
		(void)munmap(f->shared, sizeof(*f->shared));
}

int serve_front(const struct serve_options *options)
{
	struct front f = { .options = options, .signal_fd = -EBADF };
	struct serve_error error = {};
	int r;

	for (size_t i = 0; i < GENERATIONS_MAX; i++)
		f.generations[i] = (struct generation){ .control = -EBADF, .gate_control = -EBADF };
	r = front_start(&f, &error);
	if (r == 0)
		r = front_loop(&f);
	if (r < 0) {
		log_error("%s", error.text[0] ? error.text : strerror(-r));
		f.status = EXIT_FAILURE;
	}
	front_deinit(&f);
	return f.status;
}
