/*
 * subject.c - starting, watching and ending servers, and sessions with them.
 */
#include "client/stress/subject.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "client/stress/ground.h"

enum { READY_MS = 30000, END_MS = 10000, MAX_PROCESSES = 64 };

int program_open(struct program *p, const char *path)
{
	p->name = path;
	p->fd = open(path, O_PATH | O_CLOEXEC);
	if (p->fd < 0)
		return -errno;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

/* ---- the server ---- */

/* What a server cannot get is what it must do without (--confine=best-effort). */
static int leave_alone(void)
{
	static const char *const refused[] = {
		"setns",      "mount",  "umount2",       "open_tree",
		"move_mount", "fsopen", "mount_setattr", "pivot_root"
	};
	static const unsigned namespaces[] = { CLONE_NEWNS,  CLONE_NEWUSER, CLONE_NEWPID,
					       CLONE_NEWNET, CLONE_NEWIPC,  CLONE_NEWUTS };
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(refused); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
				     seccomp_syscall_resolve_name(refused[i]), 0);
	for (size_t i = 0; r == 0 && i < 2 * ARRAY_SIZE(namespaces); i++) {
		unsigned flag = namespaces[i / 2];

		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
				     i % 2 ? SCMP_SYS(clone) : SCMP_SYS(unshare), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
	}
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EOPNOTSUPP),
				     SCMP_SYS(landlock_create_ruleset), 0);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

static void run_server(const struct subject *s, int ready)
{
	const struct ground *g = &s->ground;
	char volume[TREE_COUNT][320], threads[16], ready_fd[16];
	const char *args[24];
	size_t n = 0;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setpgid(0, 0); /* Ctrl-C is for the tool, which ends the server itself */
	if (s->alone && leave_alone() < 0)
		_exit(120);
	if (dup2(s->log, STDERR_FILENO) < 0 || fcntl(ready, F_SETFD, 0) < 0)
		_exit(121);
	args[n++] = s->program->name;
	args[n++] = "serve";
	for (unsigned i = 0; i < TREE_COUNT; i++) {
		snprintf(volume[i], sizeof(volume[i]),
			 "%s:%s:rw,donate=always,special=%s,identity=squash=%u:%u",
			 g->trees[i].path, g->trees[i].volume, g->trees[i].volume, geteuid(),
			 getegid());
		args[n++] = "-v";
		args[n++] = volume[i];
	}
	args[n++] = "--listen";
	args[n++] = s->address;
	args[n++] = "--confine";
	args[n++] = s->alone ? "best-effort" : "strict";
	if (s->no_openat2)
		args[n++] = "--no-openat2";
	if (s->threads) {
		snprintf(threads, sizeof(threads), "%u", s->threads);
		args[n++] = "--max-threads";
		args[n++] = threads;
	}
	snprintf(ready_fd, sizeof(ready_fd), "%d", ready);
	args[n++] = "--ready-fd";
	args[n++] = ready_fd;
	args[n] = NULL;
	(void)syscall(SYS_execveat, s->program->fd, "", args, environ, AT_EMPTY_PATH);
	_exit(127);
}

size_t subject_log(const struct subject *s, char *ret_text, size_t size)
{
	ssize_t n = pread(s->log, ret_text, size - 1, 0);

	n = MAX(n, 0);
	while (n > 0 && ret_text[n - 1] == '\n')
		n--;
	ret_text[n] = '\0';
	return (size_t)n;
}

int subject_start(struct subject *s, const char *dir, char *ret_words, size_t size)
{
	_cleanup_fd_ int ready = -EBADF, ready_out = -EBADF;
	struct pollfd p;
	int pipe[2], r;
	char byte;

	snprintf(s->address, sizeof(s->address), "unix:%s/%s.sock", dir, s->label);
	s->log = memfd_create("log", MFD_CLOEXEC);
	if (s->log < 0 || pipe2(pipe, O_CLOEXEC) < 0)
		return -errno;
	ready = pipe[0];
	ready_out = pipe[1];
	s->pid = fork();
	if (s->pid < 0)
		return -errno;
	if (s->pid == 0)
		run_server(s, ready_out);
	ready_out = fd_close(ready_out);
	p = (struct pollfd){ .fd = ready, .events = POLLIN };
	/* An interrupt does not end this: what it ends has yet to begin. */
	do
		r = poll(&p, 1, READY_MS);
	while (r < 0 && errno == EINTR);
	if (r > 0 && read(ready, &byte, 1) == 1)
		return 0;
	if (!subject_log(s, ret_words, size))
		snprintf(ret_words, size, "it did not become ready");
	(void)subject_stop(s);
	return -EIO;
}

int subject_stop(struct subject *s)
{
	const struct timespec limit = { .tv_sec = END_MS / 1000 };
	int status = 0;
	pid_t pid = s->pid;

	s->pid = 0;
	if (pid <= 0)
		return 0;
	_cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	(void)kill(pid, SIGTERM);
	do
		status = ppoll(&p, 1, &limit, NULL);
	while (status < 0 && errno == EINTR);
	if (status <= 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
		return -ETIMEDOUT;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- its processes ---- */

size_t process_tree(pid_t pid, pid_t *ret_pids, size_t max)
{
	size_t n = 0;

	if (max && pid > 0)
		ret_pids[n++] = pid;
	for (size_t i = 0; i < n; i++) {
		char path[64];
		DIR *tasks;

		snprintf(path, sizeof(path), "/proc/%d/task", ret_pids[i]);
		tasks = opendir(path);
		for (const struct dirent *e; tasks && (e = readdir(tasks));) {
			char children[128];
			FILE *f;
			int child;

			if (!isdigit((unsigned char)e->d_name[0]))
				continue;
			snprintf(children, sizeof(children), "%s/%.20s/children", path, e->d_name);
			f = fopen(children, "re");
			while (f && n < max && fscanf(f, "%d", &child) == 1)
				ret_pids[n++] = child;
			if (f)
				fclose(f);
		}
		if (tasks)
			closedir(tasks);
	}
	return n;
}

void pin(pid_t pid, int cpu)
{
	cpu_set_t set;
	char path[64];
	DIR *tasks;

	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (cpu < 0 || i == cpu)
			CPU_SET(i, &set);
	snprintf(path, sizeof(path), "/proc/%d/task", pid ?: getpid());
	tasks = opendir(path);
	for (const struct dirent *e; tasks && (e = readdir(tasks));)
		if (isdigit((unsigned char)e->d_name[0]))
			(void)sched_setaffinity(atoi(e->d_name), sizeof(set), &set);
	if (tasks)
		closedir(tasks);
}

/* As root sees them: by their magic links, without opening anything. */
unsigned descriptors_outside(const struct subject *s, pid_t pid, char *ret_words, size_t size)
{
	unsigned found = 0;
	char path[64];
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	fds = opendir(path);
	for (const struct dirent *e; fds && (e = readdir(fds));) {
		char info[64], line[64] = "";
		unsigned long flags = 0;
		struct stat st;
		FILE *f;

		if (fstatat(dirfd(fds), e->d_name, &st, 0) < 0 ||
		    !isdigit((unsigned char)e->d_name[0]) ||
		    !ground_is_outside(&s->ground, st.st_dev, st.st_ino))
			continue;
		snprintf(info, sizeof(info), "/proc/%d/fdinfo/%.20s", pid, e->d_name);
		f = fopen(info, "re");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "flags: %lo", &flags) == 1)
				break;
		if (f)
			fclose(f);
		if (!f || (s->alone && flags & O_PATH))
			continue;
		found++;
		snprintf(ret_words, size, "the server held descriptor %.20s of inode %llu outside",
			 e->d_name, (unsigned long long)st.st_ino);
	}
	if (fds)
		closedir(fds);
	return found;
}

/* ---- sessions ---- */

int client_open(struct client *c, struct subject *s)
{
	const struct gofer_session_options options = { .timeout_ms = 10000,
						       .client = "gofer stress" };
	/* One at a time, so that the new process is this session's. */
	_cleanup_fd_ int lock = open(s->ground.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t before[MAX_PROCESSES], after[MAX_PROCESSES];
	size_t n_before, n_after;
	int r;

	*c = (struct client){ .subject = s };
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return -errno;
	n_before = process_tree(s->pid, before, MAX_PROCESSES);
	r = gofer_session_open(s->address, &options, &c->session);
	if (r < 0)
		return r;
	n_after = process_tree(s->pid, after, MAX_PROCESSES);
	for (size_t i = 0; i < n_after; i++) {
		bool old = false;

		for (size_t k = 0; k < n_before; k++)
			old |= before[k] == after[i];
		if (!old)
			c->worker = after[i];
	}
	return 0;
}

static void leave(struct client *c)
{
	for (size_t p = 0; p < PLACE_SERVED; p++)
		if (c->hand.handles[p])
			gofer_handle_close(c->session, c->hand.handles[p]);
	memset(c->hand.handles, 0, sizeof(c->hand.handles));
}

void client_close(struct client *c)
{
	if (c->session)
		leave(c);
	gofer_session_close(c->session);
	c->session = NULL;
}

int client_find(struct client *c, enum place place)
{
	Gofer__Path path = GOFER__PATH__INIT;
	Gofer__OpenRequest open = GOFER__OPEN_REQUEST__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Open, .message = &open.base, .fd = -1 };
	struct gofer_reply reply;
	int r;

	if (c->hand.handles[place])
		gofer_handle_close(c->session, c->hand.handles[place]);
	c->hand.handles[place] = 0;
	path.fs_id = c->hand.fs_id;
	path.path = (ProtobufCBinaryData){ .data = (uint8_t *)place_paths[place],
					   .len = strlen(place_paths[place]) };
	open.path = &path;
	open.flags = GOFER__OPEN_FLAG__OPEN_PATH;
	r = gofer_call(c->session, &q, &reply);
	if (r < 0)
		return r;
	if (reply.kind == GOFER_REPLY_OK)
		c->hand.handles[place] = ((Gofer__OpenReply *)reply.message)->handle;
	gofer_reply_free(&reply);
	return c->hand.handles[place] ? 0 : -ELOOP;
}

int client_enter(struct client *c, unsigned tree)
{
	struct ground *g = &c->subject->ground;
	struct gofer_filesystem fs = { 0 };
	int r;

	leave(c);
	r = gofer_session_find_filesystem(c->session, g->trees[tree].volume, &fs);
	c->hand = (struct hand){
		.ground = g, .tree = &g->trees[tree], .session = c->session, .fs_id = fs.fs_id
	};
	for (enum place p = PLACE_ROOT; r == 0 && p < PLACE_SERVED; p++)
		r = client_find(c, p);
	return r;
}
