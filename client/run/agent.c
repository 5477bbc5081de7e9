/*
 * agent.c - init: the first process of the sandbox, trusted, outside of filter and Landlock, without a capability once it has
 * built the rest.
 *
 * In order: wait until the supervisor has written our ids, build (names, network, mounts), start the program's process, drop
 * everything, and then one loop: children that ended, requests of the supervisor, the supervisor's end. When the program ends,
 * we report how, and go: in a process namespace that ends everybody else in it. Without one we are their subreaper
 * and kill until nobody is left.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "client/run/inside.h"
#include "common/packet.h"

struct init {
	const struct inside_args *args;
	const struct run_plan *plan;
	int signals;   /* signalfd: everything */
	int proc;      /* without RUN_LAYER_PID: where our descendants are found */
	sigset_t mask; /* that the program begins with */
	char *arguments, *arguments_end; /* the words of our command line */
	pid_t program, supervisor;       /* 0 where it is in another process namespace */
};

static void report(const struct init *in, const struct inside_report *what, int fd)
{
	const struct iovec iov = { (void *)what, sizeof(*what) };

	if (packet_send(in->args->status, &iov, 1, fd, 0) < 0)
		_exit(1);
}

static void fail(const struct init *in, int error, const char problem[static RUN_PROBLEM_MAX])
{
	struct inside_report what = { .stage = INSIDE_FAILED, .error = error };

	memcpy(what.problem, problem, RUN_PROBLEM_MAX);
	report(in, &what, -EBADF);
	_exit(1);
}

/* ---- building ---- */

static int close_all_but(int a, int b, int c)
{
	int keep[] = { a, b, c };
	unsigned next = STDERR_FILENO + 1;

	for (int i = 0; i < 3; i++)
		for (int k = i + 1; k < 3; k++)
			if (keep[k] < keep[i]) {
				int swap = keep[i];

				keep[i] = keep[k];
				keep[k] = swap;
			}
	for (int i = 0; i < 3; i++) {
		if (keep[i] < (int)next)
			continue;
		if ((unsigned)keep[i] > next && syscall(SYS_close_range, next, keep[i] - 1, 0) < 0)
			return -errno;
		next = (unsigned)keep[i] + 1;
	}
	return syscall(SYS_close_range, next, ~0U, 0) < 0 ? -errno : 0;
}

/*
 * Everybody inside may read our command line (/proc/1/cmdline), and it is a copy of the supervisor's: it names the host's paths. Before
 * the program starts, but after its process was made, which still needs the words.
 */
static void forget_command_line(const struct init *in)
{
	if (in->arguments && in->arguments_end > in->arguments)
		memset(in->arguments, 0, (size_t)(in->arguments_end - in->arguments));
}

/* Where it lies, as long as there is a /proc. */
static void find_command_line(struct init *in)
{
	_cleanup_fd_ int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	unsigned long start, end;
	const char *field;
	char text[1024], *next;
	ssize_t n;

	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return;
	text[n] = '\0';
	field = strrchr(text, ')');
	/* The name is the second field, arg_start and arg_end are the 48th and 49th. */
	for (int i = 2; field && i < 48; i++)
		field = strchr(field + 1, ' ');
	if (!field)
		return;
	start = strtoul(field, &next, 10);
	end = strtoul(next, NULL, 10);
	memcpy(&in->arguments, &start, sizeof(start));
	memcpy(&in->arguments_end, &end, sizeof(end));
}

static int build(const struct init *in, char problem[static RUN_PROBLEM_MAX])
{
	const struct run_plan *plan = in->plan;
	int r = 0;

	if (run_has(plan, RUN_LAYER_UTS) && sethostname(plan->hostname, strlen(plan->hostname)) < 0)
		return run_fail(problem, -errno, "cannot set the host name %s: %s", plan->hostname,
				strerror(errno));
	if (run_has(plan, RUN_LAYER_NET))
		r = inside_loopback_up();
	if (r < 0)
		return run_fail(problem, r, "cannot start the loopback device: %s", strerror(-r));
	/* Where we have a /proc of our own, mounts_build() does it there. */
	if (run_has(plan, RUN_LAYER_USER) &&
	    !(run_has(plan, RUN_LAYER_MOUNT) && run_has(plan, RUN_LAYER_PID))) {
		_cleanup_fd_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

		r = inside_forbid_namespaces(root);
		/* The host's /proc/sys may be read-only. The filter lets clone3(2) pass only with mounts of our own. */
		if (r < 0 && run_has(plan, RUN_LAYER_MOUNT))
			return run_fail(problem, r, "cannot set user.max_user_namespaces: %s",
					strerror(-r));
	}
	return run_has(plan, RUN_LAYER_MOUNT) ? mounts_build(plan, problem) : 0;
}

static void start_program(struct init *in)
{
	struct inside_report what = { .stage = INSIDE_READY };
	char problem[RUN_PROBLEM_MAX] = "";
	int pidfd = -EBADF, r;
	long pid;

	pid = syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, 0UL);
	if (pid == 0)
		inside_program(in->args, &in->mask);
	if (pid < 0)
		fail(in, -errno,
		     (run_fail(problem, -errno, "cannot start the program's process: %s",
			       strerror(errno)),
		      problem));
	in->program = (pid_t)pid;
	/* All of this before anybody lets the program go. */
	forget_command_line(in);
	fd_close(in->args->start);
	r = inside_drop_privileges();
	if (r < 0)
		fail(in, r,
		     (run_fail(problem, r, "cannot drop capabilities: %s", strerror(-r)), problem));
	report(in, &what, pidfd);
	fd_close(pidfd);
}

/* ---- requests ---- */

static int do_bind(const struct init *in, const struct inside_request *request, int sock)
{
	struct sockaddr_un address;
	struct packet_in more;
	mode_t before;
	char byte;
	ssize_t n;
	int r;

	do
		n = packet_recv(in->args->control, &byte, 1, 0, &more);
	while (n == -EINTR);
	if (n != 1 || more.fd < 0)
		return -EPROTO;
	memcpy(&address, request->address, sizeof(address));
	r = fchdir(more.fd) < 0 ? -errno : 0;
	fd_close(more.fd);
	if (r < 0)
		return r;
	before = umask((mode_t)request->value);
	r = bind(sock, (struct sockaddr *)&address, (socklen_t)request->len) < 0 ? -errno : 0;
	(void)umask(before);
	/* The directory may be removed, or its volume's place be needed. */
	if (chdir("/") < 0 && r == 0)
		r = -errno;
	return r;
}

/* False when the supervisor is gone. */
static bool serve_request(const struct init *in)
{
	struct inside_request request;
	struct packet_in with;
	ssize_t n;
	int answer;

	n = packet_recv(in->args->control, &request, sizeof(request), 0, &with);
	if (n == -EINTR || n == -EAGAIN)
		return true;
	if (n <= 0)
		return false;
	if (n != sizeof(request))
		answer = -EPROTO;
	else if (request.op == INSIDE_OP_SIGNAL)
		answer = kill(in->program, request.value) < 0 ? -errno : 0;
	else if (request.op == INSIDE_OP_CONTINUE)
		answer = kill(-in->program, SIGCONT) < 0 ? -errno : 0;
	else if (with.fd < 0)
		answer = -EBADF;
	else
		answer = do_bind(in, &request, with.fd);
	fd_close(with.fd);
	return packet_send(in->args->control, &(struct iovec){ &answer, sizeof(answer) }, 1, -EBADF,
			   0) == 0;
}

/* ---- the end ---- */

/* Our descendants, where no namespace ends with us. Those that we kill leave theirs to us. */
static void kill_the_rest(const struct init *in)
{
	while (in->proc >= 0) {
		_cleanup_free_ pid_t *children = NULL;
		size_t n = 0;

		if (children_list(in->proc, &children, &n) < 0 || !n)
			return;
		for (size_t i = 0; i < n; i++) {
			(void)kill(children[i], SIGKILL);
			while (waitpid(children[i], NULL, 0) < 0 && errno == EINTR)
				;
		}
	}
}

static void finish(const struct init *in, int status)
{
	struct inside_report what = { .stage = INSIDE_END, .value = status };

	kill_the_rest(in);
	report(in, &what, -EBADF);
	_exit(0);
}

static void reap(const struct init *in)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		struct inside_report stopped = { .stage = INSIDE_STOPPED };

		if (pid != in->program)
			continue;
		if (!WIFSTOPPED(status))
			finish(in, status);
		stopped.value = WSTOPSIG(status);
		report(in, &stopped, -EBADF);
	}
}

static void loop(const struct init *in)
{
	struct pollfd fds[] = {
		{ .fd = in->signals, .events = POLLIN },
		{ .fd = in->args->control, .events = POLLIN },
	};

	for (;;) {
		struct signalfd_siginfo info;

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents && read(in->signals, &info, sizeof(info)) == sizeof(info)) {
			if (info.ssi_signo == SIGCHLD)
				reap(in);
			else if (info.ssi_signo == SIGTERM && in->proc >= 0 &&
				 getppid() != in->supervisor)
				break; /* PR_SET_PDEATHSIG */
		}
		if (fds[1].revents && !serve_request(in))
			break;
	}
	kill_the_rest(in);
	_exit(1);
}

void inside_init(const struct inside_args *args)
{
	struct init in = {
		.args = args, .plan = args->plan, .proc = -EBADF, .supervisor = getppid()
	};
	struct inside_report root = { .stage = INSIDE_ROOT };
	bool pids = run_has(args->plan, RUN_LAYER_PID);
	char problem[RUN_PROBLEM_MAX] = "";
	sigset_t all;
	char byte;
	int fd, r;

	/* A supervisor that died before this line left us a line that is closed. */
	(void)prctl(PR_SET_PDEATHSIG, pids ? SIGKILL : SIGTERM, 0, 0, 0);
	sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &in.mask);
	if (close_all_but(args->control, args->status, args->start) < 0 ||
	    recv(args->start, &byte, 1, 0) != 1)
		_exit(1);
	find_command_line(&in);
	(void)prctl(PR_SET_NAME, "gofer-init", 0, 0, 0);
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (!pids) {
		(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
		in.proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (in.proc < 0)
			fail(&in, -errno,
			     (run_fail(problem, -errno, "cannot open /proc: %s", strerror(errno)),
			      problem));
	}
	r = build(&in, problem);
	if (r < 0)
		fail(&in, r, problem);
	in.signals = signalfd(-1, &all, SFD_CLOEXEC);
	fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (in.signals < 0 || fd < 0)
		fail(&in, -errno, (run_fail(problem, -errno, "%s", strerror(errno)), problem));
	report(&in, &root, fd);
	fd_close(fd);
	start_program(&in);
	loop(&in);
	_exit(1);
}
