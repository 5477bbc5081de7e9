/*
 * gate_start.c - the front's side of the gate: it starts as a child of the front, in namespaces of
 * its own, before the monitor that it is for, and is waited for until it has read its key and
 * confined itself. The front itself never reads the key.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/log.h"
#include "common/packet.h"
#include "server/confine.h"
#include "server/gate.h"

enum { RETIRE_MS = 5000 };

/* In the gate's process. */
static void run_gate(const struct gate_config *config)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), keep[SERVE_LISTEN_MAX + 4];
	size_t n = 0;

	for (size_t i = 0; i < config->n_listeners; i++)
		if (config->listeners[i].tls)
			keep[n++] = config->listeners[i].fd;
	keep[n++] = config->control;
	keep[n++] = config->handoff;
	/* Away from the terminal: its signals are for the front and the command. */
	(void)setsid();
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    confine_close_others(keep, n) < 0)
		_exit(EXIT_FAILURE);
	_exit(gate_run(config));
}

static int start(struct gate_config config, int control[2], int handoff[2], pid_t *ret_pid,
		 struct serve_error *error)
{
	struct server nothing = {};
	struct confine confine;
	pid_t pid;
	int r;

	r = confine_init(&confine, &nothing, !config.options->best_effort, false);
	if (r < 0)
		return serve_fail(error, r, "cannot start: %s", strerror(-r));
	config.confine = &confine;
	config.control = control[1];
	config.handoff = handoff[1];
	pid = confine_fork(&confine, error);
	if (pid == 0)
		run_gate(&config);
	confine_deinit(&confine);
	if (pid < 0)
		return serve_fail(error, pid, "cannot start the TLS gate: %s", strerror(-pid));
	*ret_pid = pid;
	return 0;
}

int gate_start(const struct gate_config *config, pid_t *ret_pid, int *ret_control, int *ret_handoff,
	       struct serve_error *error)
{
	int control[2], handoff[2] = { -EBADF, -EBADF }, r = 0;
	struct packet_in in = { .fd = -EBADF };
	uint8_t ready;
	pid_t pid = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) < 0)
		return serve_fail(error, -errno, "cannot make a socket pair: %s", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, handoff) < 0)
		r = serve_fail(error, -errno, "cannot make a socket pair: %s", strerror(errno));
	if (r == 0)
		r = start(*config, control, handoff, &pid, error);
	fd_close(control[1]);
	fd_close(handoff[1]);
	/* It has logged why. */
	if (r == 0 && packet_recv(control[0], &ready, sizeof(ready), 0, &in) != sizeof(ready))
		r = serve_fail(error, -ECONNRESET, "the TLS gate did not start");
	if (r < 0) {
		fd_close(handoff[0]);
		gate_kill(pid, control[0]);
		return r;
	}
	*ret_pid = pid;
	*ret_control = control[0];
	*ret_handoff = handoff[0];
	return 0;
}

void gate_kill(pid_t pid, int control)
{
	if (pid > 0) {
		(void)kill(pid, SIGKILL);
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	fd_close(control);
}

void gate_retire(pid_t pid, int control)
{
	struct packet_in in = { .fd = -EBADF };
	uint8_t retired;

	(void)kill(pid, SIGUSR1);
	if (packet_wait(control, POLLIN, now_ns() + RETIRE_MS * UINT64_C(1000000)) < 0 ||
	    packet_recv(control, &retired, sizeof(retired), MSG_DONTWAIT, &in) < 0)
		log_warning("the TLS gate from before the reload does not answer");
}
