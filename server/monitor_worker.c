/*
 * monitor_worker.c - from the monitor to a worker: fork, signals, confinement, and then its session.
 */
#include <signal.h>
#include <sys/types.h>

#include "common/log.h"
#include "server/access.h"
#include "server/monitor.h"

static volatile sig_atomic_t worker_draining;

static void worker_on_term(int sig)
{
	worker_draining = 1;
}

static void worker_signals(void)
{
	struct sigaction term = { .sa_handler = worker_on_term },
			 ignore = { .sa_handler = SIG_IGN }, plain = { .sa_handler = SIG_DFL };
	sigset_t none;

	/* Without SA_RESTART: a thread that waits is to notice. */
	(void)sigaction(SIGTERM, &term, NULL);
	/* A peer that left, or a limit on file sizes, is an errno, not the end. */
	(void)sigaction(SIGPIPE, &ignore, NULL);
	(void)sigaction(SIGXFSZ, &ignore, NULL);
	(void)sigaction(SIGHUP, &ignore, NULL);
	(void)sigaction(SIGINT, &ignore, NULL);
	(void)sigaction(SIGUSR1, &ignore, NULL);
	(void)sigaction(SIGCHLD, &plain, NULL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Never returns, and leaves without the exit handlers of the process that it was forked from. sock
 * -EBADF: only a trial. */
static void worker_main(struct monitor_config *config, int sock, const struct peer *peer)
{
	struct serve_error error = {};
	int r, proc_fd;

	if (peer && peer->access)
		access_restrict(peer->access, config->server);
	r = confine_worker(config->confine, config->server, sock, peer ? peer->link : 0, &proc_fd,
			   &error);
	if (r < 0) {
		log_error("%s", error.text);
		_exit(EXIT_FAILURE);
	}
	if (sock < 0)
		_exit(EXIT_SUCCESS);
	worker_signals();
	r = config->serve(config->server, sock, peer, proc_fd, &worker_draining);
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Forks with every signal blocked, so that none reaches the child with the parent's handlers. */
pid_t monitor_fork_worker(struct monitor_config *config, int sock, const struct peer *peer)
{
	sigset_t all, old;
	pid_t pid;

	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		worker_main(config, sock, peer);
	if (pid < 0)
		pid = -errno;
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	return pid;
}
