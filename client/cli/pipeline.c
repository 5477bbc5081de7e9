/*
 * pipeline.c - see pipeline.h. The session bounds how many requests are out; this waits for a reply
 * where it says so.
 */
#include "client/cli/pipeline.h"

#include <string.h>

#include "common/packet.h"

volatile sig_atomic_t pipe_signal;

/* Short waits, so that a signal is noticed although the session goes on waiting after one. */
enum { SLICE_MS = 100 };

int pipe_wait(struct cli *c)
{
	uint64_t deadline = now_ns() + (uint64_t)c->timeout_ms * 1000000;

	for (;;) {
		int r = pipe_signal ? -EINTR : gofer_session_process(c->session, SLICE_MS);

		if (r)
			return MIN(r, 0);
		if (now_ns() >= deadline)
			return -ETIMEDOUT;
	}
}

void pipe_finish(struct cli *c, const unsigned *in_flight)
{
	while (*in_flight > 0) {
		int r = gofer_session_process(c->session, -1);

		/* Without a session all that is in flight is answered: its callbacks have been called, or will be by the next. */
		if (r < 0 && *in_flight > 0)
			cli_exit(c);
	}
}

int pipe_submit(struct cli *c, const struct gofer_request *request, gofer_callback callback,
		void *userdata)
{
	for (;;) {
		int r = gofer_submit(c->session, request, callback, userdata, NULL);

		if (r != -EAGAIN)
			return r;
		r = pipe_wait(c);
		if (r < 0)
			return r;
	}
}

void pipe_path(Gofer__Path *ret_path, const struct cli_volume *v, const char *path)
{
	gofer__path__init(ret_path);
	ret_path->fs_id = v->fs_id;
	ret_path->path.data = (uint8_t *)path;
	ret_path->path.len = strlen(path);
	ret_path->nofollow = true;
}
