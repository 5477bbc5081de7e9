/*
 * run.c - the verb `gofer run`: plan, private server, cage, supervisor, wait; and the exit status.
 *
 * Signals. The program is in our process group and has our terminal, so the keys reach it by themselves. What somebody sends to us
 * alone (kill -TERM) is passed on. One thread takes the signals; the first thread waits for the end.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "client/run/audit.h"
#include "client/run/explain.h"
#include "client/run/options.h"
#include "client/run/server.h"
#include "client/run/status.h"
#include "client/run/supervisor.h"
#include "common/verb.h"

enum { EXIT_OWN_FAILURE = 125, EXIT_CANNOT_EXEC = 126, EXIT_NOT_FOUND = 127, EXIT_SIGNALLED = 128 };

struct run {
	struct run_options options;
	struct run_plan plan;
	struct run_server server;
	struct cage cage;
	struct audit *audit;
	struct supervisor *supervisor;
	char problem[RUN_PROBLEM_MAX];
};

/* ---- signals ---- */

static const int passed_on[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH };

static void passed_on_set(sigset_t *set)
{
	sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(passed_on); i++)
		sigaddset(set, passed_on[i]);
}

static void *pass_signals(void *data)
{
	struct cage *cage = data;
	siginfo_t info;
	sigset_t set;
	int sig;

	passed_on_set(&set);
	for (;;) {
		sig = sigwaitinfo(&set, &info);
		/* From the terminal: the program has had it too. */
		if (sig > 0 && info.si_code != SI_KERNEL) {
			int state;

			/* Not to be ended with the agent's lock held. */
			(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
			(void)cage_signal(cage, sig);
			(void)pthread_setcancelstate(state, NULL);
		}
	}
	return NULL;
}

static int start_signals(struct cage *cage, pthread_t *ret_thread)
{
	sigset_t set;
	int r;

	passed_on_set(&set);
	r = pthread_sigmask(SIG_BLOCK, &set, NULL);
	return r ? -r : -pthread_create(ret_thread, NULL, pass_signals, cage);
}

/* ---- one run ---- */

static int prepare(struct run *run)
{
	const struct run_options *o = &run->options;
	int r = plan_init(o, &run->plan, run->problem);

	if (r == 0 && o->audit) {
		r = audit_open(o->audit, &run->audit);
		if (r < 0)
			(void)run_fail(run->problem, r, "--audit %s: %s", o->audit, strerror(-r));
	}
	return r;
}

static int start(struct run *run)
{
	/* Without user namespaces an ordinary user's server lacks layers too: --explain says so. */
	const char *confine = run_has(&run->plan, RUN_LAYER_MOUNT) ? "strict" : "best-effort";
	int r;

	if (run->options.confine)
		confine = run->options.confine;
	r = run_server_start(&run->plan, confine, &run->server, run->problem);

	if (r < 0)
		return r;
	r = cage_start(&run->plan, &run->cage);
	if (r < 0)
		return run_fail(run->problem, r, "%s", run->cage.problem);
	r = cage_harden_supervisor();
	if (r == 0)
		r = supervisor_new(&run->plan, run->server.session, &run->cage, run->audit,
				   &run->supervisor);
	if (r == 0)
		r = supervisor_start(run->supervisor, run->server.worker);
	if (r < 0)
		return run_fail(run->problem, r, "cannot supervise the program: %s", strerror(-r));
	return 0;
}

static int exit_status(struct run *run, int status, int exec_errno)
{
	int broken = supervisor_broken(run->supervisor);

	if (broken < 0) {
		fprintf(stderr, "gofer: run: the private server is gone: %s\n", strerror(-broken));
		return EXIT_OWN_FAILURE;
	}
	if (exec_errno) {
		fprintf(stderr, "gofer: run: %s: %s\n", run->plan.argv[0], strerror(exec_errno));
		return exec_errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXEC;
	}
	return WIFSIGNALED(status) ? EXIT_SIGNALLED + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The exit status, or -errno with words. */
static int execute(struct run *run)
{
	int status = 0, exec_errno = 0, code, r;
	pthread_t signals;

	r = start(run);
	if (r < 0)
		return r;
	r = start_signals(&run->cage, &signals);
	if (r < 0)
		return run_fail(run->problem, r, "cannot take signals: %s", strerror(-r));
	status_started(&run->options, &run->plan, &run->cage);
	r = cage_go(&run->cage);
	if (r == 0)
		r = cage_wait(&run->cage, &status, &exec_errno);
	(void)pthread_cancel(signals);
	(void)pthread_join(signals, NULL);
	if (r < 0 && supervisor_broken(run->supervisor) == 0)
		return run_fail(run->problem, r, "cannot wait for the program: %s", strerror(-r));
	code = exit_status(run, status, exec_errno);
	if (run->options.stats)
		supervisor_print_stats(run->supervisor, run->options.json, stderr);
	return code;
}

static void finish(struct run *run)
{
	uint64_t dropped;

	/* First what may still call, then who answers, then who is asked. */
	cage_end(&run->cage);
	/* Nobody is left to be answered: whoever still waits for a server that hangs is woken. */
	if (run->server.session)
		gofer_session_abort(run->server.session);
	supervisor_free(run->supervisor);
	cage_deinit(&run->cage);
	run_server_stop(&run->server);
	dropped = audit_close(run->audit);
	if (dropped)
		fprintf(stderr, "gofer: run: --audit: %llu lines were dropped\n",
			(unsigned long long)dropped);
	plan_deinit(&run->plan);
	run_options_deinit(&run->options);
}

static int run_main(int argc, char **argv)
{
	struct run run = { .plan = RUN_PLAN_NULL, .cage = CAGE_NULL };
	int r = run_options_parse(argc, argv, &run.options, run.problem);

	if (r == 1)
		return EXIT_SUCCESS;
	if (r == 0)
		r = prepare(&run);
	if (r == 0)
		r = run.options.explain ? explain(&run.options, &run.plan, stdout) : execute(&run);
	if (r < 0)
		fprintf(stderr, "gofer: run: %s\n", run.problem[0] ? run.problem : strerror(-r));
	status_ended(&run.options, r < 0 ? EXIT_OWN_FAILURE : r);
	finish(&run);
	return r < 0 ? EXIT_OWN_FAILURE : r;
}

const struct verb verb_run = {
	.name = "run",
	.summary = "run a program that sees the directories given to it, and nothing else",
	.run = run_main,
};
