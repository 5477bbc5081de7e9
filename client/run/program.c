/*
 * program.c - the program's process, from its birth to its execve(2).
 *
 * The order is that of what each step takes away: the directory (by path), Landlock (which opens the volumes), capabilities, and
 * last the filter. Behind it nothing is done but write(2), read(2) and the execve(2) itself, which is the first call that the supervisor
 * answers: to send the listener over a socket would take a call that waits for somebody who has no listener yet.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "client/run/filter.h"
#include "client/run/inside.h"

static void say(const struct inside_args *args, const struct inside_report *what)
{
	ssize_t n;

	do
		n = write(args->start, what, sizeof(*what));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*what))
		_exit(1);
}

static void fail(const struct inside_args *args, struct inside_report *what, int error)
{
	what->stage = INSIDE_FAILED;
	what->error = error;
	say(args, what);
	_exit(1);
}

static int enter_directory(const struct run_plan *plan, char problem[static RUN_PROBLEM_MAX])
{
	_cleanup_free_ char *path = NULL;

	/* Without mounts of our own, the guest's paths are not the kernel's. */
	path = run_has(plan, RUN_LAYER_MOUNT) ? strdup(plan->chdir)
					      : plan_host_path(plan, plan->chdir);
	if (!path)
		return run_fail(problem, -ENOMEM, "%s", strerror(ENOMEM));
	if (chdir(path) < 0)
		return run_fail(problem, -errno,
				"--chdir %s: %s: give a directory that the program sees (--explain "
				"lists them)",
				plan->chdir, strerror(errno));
	return 0;
}

void inside_program(const struct inside_args *args, const sigset_t *mask)
{
	const struct run_plan *plan = args->plan;
	struct inside_report what = {};
	int listener = -EBADF, r;
	ssize_t n;
	char go;

	/* Whoever kills init takes us along. */
	if (!run_has(plan, RUN_LAYER_PID))
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	fd_close(args->control);
	fd_close(args->status);
	terminal_enter(args->terminal);
	r = enter_directory(plan, what.problem);
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = run_fail(what.problem, -errno, "no_new_privs: %s", strerror(errno));
	if (r == 0 && run_has(plan, RUN_LAYER_LANDLOCK))
		r = run_landlock(plan, what.problem);
	if (r < 0)
		fail(args, &what, r);
	r = inside_drop_privileges();
	if (r < 0) {
		(void)run_fail(what.problem, r, "cannot drop capabilities: %s", strerror(-r));
		fail(args, &what, r);
	}
	environ = plan->env;
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	/* From here on the supervisor may read our memory, as it will the program's. */
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	r = filter_install(args->filter, &listener);
	if (r < 0) {
		(void)run_fail(what.problem, r, "cannot install the filter: %s", strerror(-r));
		fail(args, &what, r);
	}
	what.stage = INSIDE_FILTER;
	what.value = listener;
	say(args, &what);
	do
		n = read(args->start, &go, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(1);
	(void)execvpe(plan->argv[0], plan->argv, plan->env);
	what.stage = INSIDE_EXEC;
	what.error = -errno;
	say(args, &what);
	_exit(127);
}
