/*
 * cage.c - the supervisor's side of the sandbox's processes.
 *
 * Three lines lead inside. On `control` init answers requests, one at a time; a lock keeps the threads of the supervisor apart.
 * On `status` init reports how building goes and, once, how the program ended. `start` is the program's own: it says the number
 * of its listener (which we then take out of it by pidfd_getfd(2): once the filter is there, a sendmsg(2) would need somebody
 * who lets it through), waits for our byte, and says with which errno execve(2) failed; the execve that works closes it.
 *
 * Everything inside dies with us: init by PR_SET_PDEATHSIG, its namespace with it. Without a process namespace init is
 * a child subreaper and kills what is left, and so are we, should init be gone.
 */
#include "client/run/cage.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "client/run/filter.h"
#include "client/run/inside.h"
#include "common/packet.h"

/* ---- lines ---- */

static int pair(int ret[2])
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret) < 0 ? -errno : 0;
}

/* One report, and the descriptor that came with it (or -EBADF). -EPIPE: the other end is gone. */
static int receive(int sock, struct inside_report *ret, int *ret_fd)
{
	struct packet_in in;
	ssize_t n;

	do
		n = packet_recv(sock, ret, sizeof(*ret), 0, &in);
	while (n == -EINTR);
	if (n < 0)
		return (int)n;
	if (n == 0)
		return -EPIPE;
	if (n != sizeof(*ret)) {
		fd_close(in.fd);
		return -EPROTO;
	}
	ret->problem[RUN_PROBLEM_MAX - 1] = '\0';
	if (ret_fd)
		*ret_fd = in.fd;
	else
		fd_close(in.fd);
	return 0;
}

/* The next report must be `stage`; what else comes is the reason why not. */
static int expect(struct cage *cage, int sock, enum inside_stage stage, struct inside_report *ret,
		  int *ret_fd)
{
	int fd = -EBADF, r;

	r = receive(sock, ret, &fd);
	if (r == -EPIPE)
		return run_fail(cage->problem, -EPIPE,
				"the sandbox's first process died while it was set up");
	if (r < 0)
		return run_fail(cage->problem, r, "the sandbox's first process: %s", strerror(-r));
	if (ret->stage == INSIDE_FAILED) {
		fd_close(fd);
		return run_fail(cage->problem, ret->error < 0 ? ret->error : -EIO, "%s",
				ret->problem);
	}
	if (ret->stage != stage || (ret_fd && fd < 0)) {
		fd_close(fd);
		return run_fail(cage->problem, -EPROTO,
				"the sandbox's first process sent what makes no sense");
	}
	if (ret_fd)
		*ret_fd = fd;
	else
		fd_close(fd);
	return 0;
}

/* ---- start ---- */

/*
 * The program gets descriptors 0, 1 and 2 as they are. A directory among them would be a way out: it stands for a place on the
 * host. One that is closed would become one of ours.
 */
static int check_standard_descriptors(struct cage *cage)
{
	static const char *const names[] = { "input", "output", "error" };

	for (int fd = 0; fd <= 2; fd++) {
		struct stat st;

		if (fstat(fd, &st) < 0) {
			int opened = open("/dev/null", fd ? O_WRONLY : O_RDONLY);

			if (opened != fd)
				return run_fail(cage->problem, -EBADF,
						"standard %s is closed, and /dev/null: %s",
						names[fd], strerror(errno));
		} else if (S_ISDIR(st.st_mode)) {
			return run_fail(
				cage->problem, -EISDIR,
				"standard %s is a directory, which would lead out of the sandbox: "
				"redirect it from a file or /dev/null",
				names[fd]);
		}
	}
	return 0;
}

static uint32_t layers_of(const struct run_plan *plan)
{
	uint32_t layers = 0;

	for (int i = 0; i < RUN_LAYERS; i++)
		if (run_has(plan, (enum run_layer)i))
			layers |= RUN_LAYER_BIT(i);
	return layers;
}

/* A child in the plan's namespaces. Not fork() and unshare(): the first process of a pid namespace must be a child, and we stay
 * outside. */
static int clone_init(const struct run_plan *plan, const struct inside_args *args,
		      struct cage *cage)
{
	unsigned flags = layers_clone_flags(layers_of(plan)) | CLONE_PIDFD | SIGCHLD;
	int pidfd = -EBADF;
	long pid;

	pid = syscall(SYS_clone, flags, NULL, &pidfd, NULL, 0UL);
	if (pid < 0)
		return run_fail(cage->problem, -errno,
				"cannot start the sandbox's first process: %s", strerror(errno));
	if (pid == 0)
		inside_init(args);
	cage->init = (pid_t)pid;
	cage->init_pidfd = pidfd;
	return 0;
}

static int take_listener(struct cage *cage, int program, int number)
{
	long fd = syscall(SYS_pidfd_getfd, program, number, 0);

	if (fd < 0)
		return run_fail(
			cage->problem, -errno,
			"cannot take over the program's system calls: pidfd_getfd: %s%s",
			strerror(errno),
			errno == EPERM ? " (kernel.yama.ptrace_scope above 1, or a security module)"
				       : "");
	cage->listener = (int)fd;
	return 0;
}

/* The number that a process has for us; 0 if that cannot be told. */
static pid_t pid_of(int pidfd)
{
	char path[64], line[256];
	FILE *file;
	long pid = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "Pid:", 4) == 0) {
			pid = strtol(line + 4, NULL, 10);
			break;
		}
	if (file)
		(void)fclose(file);
	return (pid_t)MAX(pid, 0);
}

static int follow_start(struct cage *cage)
{
	_cleanup_fd_ int program = -EBADF;
	struct inside_report report;
	int r;

	r = expect(cage, cage->status, INSIDE_ROOT, &report, &cage->view_root);
	if (r == 0)
		r = expect(cage, cage->status, INSIDE_READY, &report, &program);
	if (r == 0)
		r = expect(cage, cage->start, INSIDE_FILTER, &report, NULL);
	if (r < 0)
		return r;
	cage->terminal.program = pid_of(program);
	return take_listener(cage, program, report.value);
}

/* Children that are not the sandbox's, so that cage_deinit() leaves them alone. */
static int note_children(struct cage *cage)
{
	_cleanup_fd_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return proc < 0 ? -errno : children_list(proc, &cage->others, &cage->n_others);
}

int cage_start(const struct run_plan *plan, struct cage *cage)
{
	struct sock_fprog filter = {};
	int control[2] = { -EBADF, -EBADF }, status[2] = { -EBADF, -EBADF },
	    start[2] = { -EBADF, -EBADF };
	struct inside_args args = { .plan = plan, .filter = &filter, .terminal = &cage->terminal };
	int r;

	cage->reaping = !run_has(plan, RUN_LAYER_PID);
	terminal_init(&cage->terminal);
	r = check_standard_descriptors(cage);
	if (r < 0)
		return r;
	r = filter_build(plan, &filter);
	if (r < 0)
		return run_fail(cage->problem, r, "cannot build the filter: %s", strerror(-r));
	r = pair(control);
	if (r == 0)
		r = pair(status);
	if (r == 0)
		r = pair(start);
	if (r < 0) {
		(void)run_fail(cage->problem, r, "socketpair: %s", strerror(-r));
	} else {
		cage->control = TAKE_FD(control[0]);
		cage->status = TAKE_FD(status[0]);
		cage->start = TAKE_FD(start[0]);
		args.control = control[1];
		args.status = status[1];
		args.start = start[1];
		if (cage->reaping) {
			(void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
			r = note_children(cage);
		}
		if (r == 0)
			r = clone_init(plan, &args, cage);
	}
	fd_close(control[1]);
	fd_close(status[1]);
	fd_close(start[1]);
	free(filter.filter);
	if (r == 0 && run_has(plan, RUN_LAYER_USER)) {
		r = inside_map_ids(cage->init);
		if (r < 0)
			(void)run_fail(cage->problem, r,
				       "cannot map user and group into the sandbox: %s",
				       strerror(-r));
	}
	/* Until now it waited for its ids. */
	if (r == 0 && send(cage->start, "m", 1, MSG_NOSIGNAL) != 1)
		r = run_fail(cage->problem, -EPIPE, "the sandbox's first process died at once");
	return r == 0 ? follow_start(cage) : r;
}

int cage_go(struct cage *cage)
{
	return send(cage->start, "g", 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

/* ---- requests ---- */

/* Sends it with one descriptor, or with two in a second packet; the answer is a result. */
static int ask(struct cage *cage, const struct inside_request *request, int fd, int second)
{
	char plus = '+';
	const struct iovec iov = { (void *)request, sizeof(*request) };
	const struct iovec more = { &plus, 1 };
	struct packet_in in;
	ssize_t n = -EPIPE;
	int answer, r, failed = 0;

	(void)pthread_mutex_lock(&cage->lock);
	r = packet_send(cage->control, &iov, 1, fd, 0);
	if (r == 0 && second >= 0)
		failed = packet_send(cage->control, &more, 1, second, 0);
	/* The agent waits for it. One without a descriptor it refuses, and the next request is a request again. */
	if (failed < 0)
		r = packet_send(cage->control, &more, 1, -EBADF, 0);
	while (r == 0) {
		n = packet_recv(cage->control, &answer, sizeof(answer), 0, &in);
		if (n == -EINTR)
			continue;
		r = n < 0 ? (int)n : n == sizeof(answer) ? answer : -EPIPE;
		break;
	}
	(void)pthread_mutex_unlock(&cage->lock);
	return failed < 0 ? failed : r;
}

int cage_signal(struct cage *cage, int sig)
{
	const struct inside_request request = { .op = INSIDE_OP_SIGNAL, .value = sig };

	return ask(cage, &request, -EBADF, -EBADF);
}

int cage_bind(struct cage *cage, int sock, int cwd_fd, mode_t umask, const struct sockaddr_un *addr,
	      socklen_t len)
{
	struct inside_request request = { .op = INSIDE_OP_BIND, .value = (int)umask, .len = len };

	if (len > sizeof(*addr))
		return -EINVAL;
	memcpy(request.address, addr, len);
	return ask(cage, &request, sock, cwd_fd);
}

/* ---- the end ---- */

/* What execve(2) said, if it failed: the line is closed by then, whoever held it is dead or another program. */
static int exec_error(struct cage *cage)
{
	struct inside_report report;

	if (receive(cage->start, &report, NULL) < 0)
		return 0;
	return report.stage == INSIDE_EXEC ? report.error : 0;
}

static int reap_init(struct cage *cage)
{
	siginfo_t info;

	if (cage->init_pidfd < 0)
		return 0;
	while (waitid(P_PIDFD, (id_t)cage->init_pidfd, &info, WEXITED) < 0)
		if (errno != EINTR)
			return -errno;
	cage->init_pidfd = fd_close(cage->init_pidfd);
	return 0;
}

int cage_wait(struct cage *cage, int *ret_status, int *ret_exec_errno)
{
	struct inside_report report;
	int r;

	while ((r = receive(cage->status, &report, NULL)) == 0 && report.stage == INSIDE_STOPPED)
		if (terminal_stopped(&cage->terminal, report.value))
			(void)ask(cage, &(struct inside_request){ .op = INSIDE_OP_CONTINUE },
				  -EBADF, -EBADF);
	if (r == 0 && report.stage != INSIDE_END)
		r = -EPROTO;
	if (r < 0)
		return run_fail(cage->problem, r == -EPIPE ? -ECHILD : r,
				"the sandbox's first process was killed");
	r = reap_init(cage);
	if (r < 0)
		return run_fail(cage->problem, r, "waiting for the sandbox: %s", strerror(-r));
	*ret_exec_errno = -exec_error(cage);
	*ret_status = report.value;
	return 0;
}

static bool is_other(const struct cage *cage, pid_t pid)
{
	for (size_t i = 0; i < cage->n_others; i++)
		if (cage->others[i] == pid)
			return true;
	return false;
}

/* Processes of the sandbox that became our children when init went away. */
static void kill_orphans(struct cage *cage)
{
	_cleanup_fd_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	while (proc >= 0) {
		_cleanup_free_ pid_t *children = NULL;
		size_t n = 0, left = 0;

		if (children_list(proc, &children, &n) < 0)
			return;
		for (size_t i = 0; i < n; i++) {
			if (is_other(cage, children[i]))
				continue;
			(void)kill(children[i], SIGKILL);
			while (waitpid(children[i], NULL, 0) < 0 && errno == EINTR)
				;
			left++;
		}
		if (!left)
			return;
	}
}

void cage_end(struct cage *cage)
{
	if (cage->init_pidfd >= 0) {
		(void)syscall(SYS_pidfd_send_signal, cage->init_pidfd, SIGKILL, NULL, 0);
		(void)reap_init(cage);
	}
	if (cage->reaping)
		kill_orphans(cage);
	cage->reaping = false;
}

void cage_deinit(struct cage *cage)
{
	cage_end(cage);
	/* An intercepted call that nobody answers any more fails. */
	cage->listener = fd_close(cage->listener);
	terminal_deinit(&cage->terminal);
	cage->view_root = fd_close(cage->view_root);
	cage->control = fd_close(cage->control);
	cage->status = fd_close(cage->status);
	cage->start = fd_close(cage->start);
	free(TAKE_PTR(cage->others));
	cage->n_others = 0;
}

int cage_has(const struct cage *cage, pid_t pid)
{
	_cleanup_fd_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return proc >= 0 && pid > 0 && pid != cage->init && children_below(proc, pid, cage->init);
}
