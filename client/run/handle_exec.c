/*
 * handle_exec.c - execve(2) and chdir(2): what only the kernel can do for the caller.
 *
 * The kernel reads the path again, so nothing depends on what is read here. Inside the mount namespace it can reach nothing
 * but the volumes, and Landlock lets it execute files of volumes only. Without the namespace Landlock alone holds, and the look beforehand gives
 * honest programs the namespace's answer (see SECURITY.md for what dishonest ones can tell by racing).
 */
#include <errno.h>
#include <string.h>

#include "client/run/call.h"
#include "proto/rpc.h"

/*
 * A file that was just written and closed is often executed next. The server has closed its own copy of the descriptor by now,
 * or is about to; Ping is answered when it has. Otherwise the kernel would say ETXTBSY.
 */
static void let_go(struct call *c)
{
	Gofer__PingRequest message = GOFER__PING_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Ping,
					 .message = (void *)&message,
					 .fd = -1 };
	struct gofer_reply reply;
	uint64_t written = atomic_load(&c->sv->written), before = atomic_load(&c->sv->let_go);

	if (before >= written || gofer_call(c->sv->session, &request, &reply) < 0)
		return;
	gofer_reply_free(&reply);
	while (before < written && !atomic_compare_exchange_weak(&c->sv->let_go, &before, written))
		;
}

static int64_t do_exec(struct call *c, uint64_t dirfd, uint64_t path, int flags)
{
	struct path_arg *p;
	int r;

	let_go(c);

	if (call_caged(c)) {
		/* Only for --audit. */
		if (c->sv->audit &&
		    call_read_string(c, path, c->w->path[0].text, sizeof(c->w->path[0].text)) == 0)
			c->path = c->w->path[0].text;
		return CALL_CONTINUE;
	}
	c->may_continue = true;
	r = call_path(c, 0, (int)dirfd, path, flags & AT_EMPTY_PATH, &p);
	if (r < 0)
		return r;
	/* Links of /proc lead anywhere in the host; the one to the program itself does not. */
	if (r == CALL_FOREIGN)
		return -ENOENT;
	if (!p->text[0])
		return CALL_CONTINUE;
	r = gofer_access(c->w->view, p->text, X_OK, flags & AT_SYMLINK_NOFOLLOW);
	if (r == -EREMOTE)
		return strcmp(gofer_foreign_path(), "/proc/self/exe") == 0 ? CALL_CONTINUE
									   : -ENOENT;
	return r < 0 ? call_result(c, r) : CALL_CONTINUE;
}

int64_t supervise_execve(struct call *c)
{
	return do_exec(c, (uint64_t)AT_FDCWD, c->args[0], 0);
}

int64_t supervise_execveat(struct call *c)
{
	return do_exec(c, c->args[0], c->args[1], (int)c->args[4]);
}

/* Only below a directory whose mount is known, which is that of the place where the path begins. */
void call_foresee(struct call *c, const struct path_arg *p)
{
	char link[PROC_PATH_MAX], path[PATH_MAX];
	struct gofer_opened opened;
	struct object_id id;
	ssize_t n;

	call_proc_path(c, p->dirfd, link);
	if (!p->dir)
		return;
	n = readlink(link, path, sizeof(path));
	if (n >= 0 && (size_t)n + strlen(p->text) < PATH_MAX - NAME_MAX)
		return;
	if (view_identify(AT_FDCWD, link, 0, &id, NULL) < 0 ||
	    gofer_open_descriptor(c->w->view, p->text, O_PATH | O_DIRECTORY, 0, &opened) < 0)
		return;
	/* In another volume it would be another mount's. */
	if (call_volume(c, gofer_place_path(opened.place)) !=
		    call_volume(c, gofer_place_path(p->dir)) ||
	    opened.st.st_dev != id.dev) {
		gofer_place_unref(opened.place);
		return;
	}
	id.ino = opened.st.st_ino;
	objects_put(&c->sv->objects, &id, opened.place);
}

int64_t supervise_chdir(struct call *c)
{
	struct gofer_opened opened;
	struct path_arg *p;
	int r;

	r = call_path(c, 0, AT_FDCWD, c->args[0], false, &p);
	if (call_caged(c)) {
		if (r == 0)
			call_foresee(c, p);
		return r == -EFAULT || r == -ENAMETOOLONG ? r : CALL_CONTINUE;
	}
	c->may_continue = true;
	if (r != 0)
		return r == CALL_FOREIGN ? -EACCES : r;
	r = gofer_open_descriptor(c->w->view, p->text, O_PATH | O_DIRECTORY, 0, &opened);
	if (r == -EREMOTE)
		return -EACCES;
	if (r < 0)
		return call_result(c, r);
	gofer_place_unref(opened.place);
	return CALL_CONTINUE;
}
