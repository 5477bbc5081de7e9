/*
 * terminal.c - see terminal.h. A process that is not in the foreground and changes the terminal's group is stopped by SIGTTOU,
 * unless it blocks that.
 */
#include "client/run/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

void terminal_init(struct terminal *t)
{
	bool all = true;

	*t = (struct terminal)TERMINAL_NULL;
	t->fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (t->fd < 0) {
		/* Nobody's keys reach us: kill(0, ...) inside had better mean nobody outside. */
		t->fd = -EBADF;
		t->own_group = true;
		return;
	}
	if (tcgetpgrp(t->fd) != getpgrp()) {
		t->fd = fd_close(t->fd);
		return;
	}
	for (int fd = 0; fd <= 2; fd++)
		all = all && tcgetpgrp(fd) == getpgrp();
	t->own_group = all && getpgrp() == getpid();
}

static void give(int fd, pid_t group)
{
	sigset_t out, before;

	if (fd < 0)
		return;
	sigemptyset(&out);
	sigaddset(&out, SIGTTOU);
	(void)sigprocmask(SIG_BLOCK, &out, &before);
	(void)tcsetpgrp(fd, group);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
}

void terminal_enter(const struct terminal *t)
{
	_cleanup_fd_ int fd = -EBADF;

	if (!t->own_group || setpgid(0, 0) < 0 || t->fd < 0)
		return;
	/* The supervisor's descriptor is closed in here. */
	fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	give(fd, getpid());
}

bool terminal_stopped(struct terminal *t, int sig)
{
	bool ours;

	if (!t->own_group || t->fd < 0)
		return false;
	/* Brought to the foreground while it ran, which nobody told it, it wanted the terminal and may have it. */
	ours = tcgetpgrp(t->fd) == getpgrp();
	if (!ours || (sig != SIGTTIN && sig != SIGTTOU)) {
		if (tcgetpgrp(t->fd) == t->program)
			give(t->fd, getpgrp());
		/* Where no shell would ever continue us, the kernel does not stop us, and the program goes on. */
		(void)raise(SIGTSTP);
		ours = tcgetpgrp(t->fd) == getpgrp();
	}
	if (ours)
		give(t->fd, t->program);
	return true;
}

void terminal_deinit(struct terminal *t)
{
	pid_t group = t->fd < 0 ? -1 : tcgetpgrp(t->fd);

	/* Who lives and has it is another shell by now, that was given it. */
	if (group > 0 && group != getpgrp() && kill(-group, 0) < 0 && errno == ESRCH)
		give(t->fd, getpgrp());
	t->fd = fd_close(t->fd);
}
