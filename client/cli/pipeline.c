/*
 * pipeline.c - see pipeline.h. The session bounds how many requests are out; this waits for a reply where it says so.
 */
#include "client/cli/pipeline.h"

#include <string.h>

int pipe_wait(struct cli *c)
{
	int r = gofer_session_process(c->session, -1);

	return MIN(r, 0);
}

int pipe_submit(struct cli *c, const struct gofer_request *request, gofer_callback callback, void *userdata)
{
	for (;;) {
		int r = gofer_submit(c->session, request, callback, userdata, NULL);

		if (r != -EAGAIN)
			return r;
		r = pipe_wait(c);
		if (r < 0 && r != -EINTR)
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
