/*
 * terminal.h - the terminal that the supervisor was started at, and who may use it.
 *
 * Two ways. Alone in our group and with the terminal as all three standard descriptors (an interactive job of one command), we give
 * the program a process group of its own and the terminal to that: a shell inside finds its own group by number, and can hand the terminal
 * on and take it back. Then we are for the program what it is for us: when it stops, we take the terminal back and stop, too; when we
 * are continued, we give it back and continue it. Otherwise (a pipeline: gofer run ... | less) the program stays in our group, and the
 * keys reach everybody in it.
 */
#pragma once

#include "common/util.h"
#include <sys/types.h>

struct terminal {
	int fd;         /* of /dev/tty, if we had it at the start */
	bool own_group; /* the program's group is its own */
	pid_t program;  /* its group, as our process namespace numbers it */
};
#define TERMINAL_NULL        \
	{                    \
		.fd = -EBADF \
	}

/* At the start, before there is a program. */
void terminal_init(struct terminal *terminal);
/* In the program's process: a group of its own, and the terminal for it. */
void terminal_enter(const struct terminal *terminal);
/*
 * The program has been stopped by `sig`. Returns when it is to go on (true: continue it), perhaps much later: we have been stopped
 * ourselves meanwhile. False: leave it as it is. Only the calling thread's signal mask matters.
 */
bool terminal_stopped(struct terminal *terminal, int sig);
/* After the end: ours again, unless somebody who lives has it. */
void terminal_deinit(struct terminal *terminal);
