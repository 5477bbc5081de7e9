/*
 * result.c - answers to the kernel.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "client/run/call.h"

#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1)
#endif

int64_t call_result(struct call *c, int r)
{
	int none = 0;

	if (r == -EREMOTE)
		return CALL_CONTINUE;
	/* Errnos that files have as well, on storage that is gone: the session says whether it is its own end. */
	if ((r != -ENOTCONN && r != -ETIMEDOUT && r != -EPROTO && r != -EOWNERDEAD) ||
	    gofer_session_status(c->sv->session) == 0)
		return r;
	/* The program can get nothing more. */
	if (atomic_compare_exchange_strong(&c->sv->broken, &none, r))
		(void)syscall(SYS_pidfd_send_signal, c->sv->cage->init_pidfd, SIGKILL, NULL, 0);
	return -EIO;
}

/* The text without its last component: where a name would be made. */
static void parent_text(const char *path, char parent[static PATH_MAX])
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	while (n && path[n - 1] != '/')
		n--;
	if (n == 0)
		parent[n++] = '.';
	else
		memcpy(parent, path, n);
	parent[n] = '\0';
}

int call_read_only(struct call *c, const struct path_arg *p, unsigned what)
{
	char parent[PATH_MAX];
	struct stat st;
	int r;

	if (p->dir)
		gofer_fchdir(c->w->view, p->dir);
	if (what & CALL_PARENT) {
		parent_text(p->text, parent);
		r = gofer_stat(c->w->view, parent, 0, &st);
		return r < 0 ? r : S_ISDIR(st.st_mode) ? -EROFS : -ENOTDIR;
	}
	r = gofer_stat(c->w->view, p->text, what & CALL_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0, &st);
	if (r == 0 && (what & CALL_EXCLUSIVE))
		return -EEXIST;
	if (r == 0)
		return (what & CALL_WRITES) && S_ISDIR(st.st_mode) ? -EISDIR : -EROFS;
	if (r != -ENOENT || !(what & CALL_CREATES))
		return r;
	parent_text(p->text, parent);
	r = gofer_stat(c->w->view, parent, 0, &st);
	return r < 0 ? r : S_ISDIR(st.st_mode) ? -EROFS : -ENOTDIR;
}

int64_t call_send_fd(struct call *c, int fd, int flags)
{
	struct seccomp_notif_addfd add = {
		.id = c->id,
		.flags = SECCOMP_ADDFD_FLAG_SEND,
		.srcfd = (uint32_t)fd,
		.newfd_flags = (uint32_t)flags & O_CLOEXEC,
	};

	if (ioctl(c->sv->cage->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) >= 0 || errno == ENOENT)
		return CALL_SENT;
	return -errno;
}

int64_t call_give_fd(struct call *c, int *fd, int flags)
{
	struct seccomp_notif_addfd add = {
		.id = c->id,
		.srcfd = (uint32_t)*fd,
		.newfd_flags = (uint32_t)flags & O_CLOEXEC,
	};
	int64_t n;

	if ((flags & O_ACCMODE) == O_RDONLY) {
		n = call_send_fd(c, *fd, flags);
	} else {
		n = ioctl(c->sv->cage->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
		if (n < 0)
			n = errno == ENOENT ? CALL_SENT : -errno;
	}
	*fd = fd_close(*fd);
	return n;
}

void call_answer(struct supervisor *sv, uint64_t id, struct seccomp_notif_resp *resp,
		 int64_t result)
{
	memset(resp, 0, sv->resp_size);
	resp->id = id;
	if (result == CALL_CONTINUE)
		resp->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	else if (result < 0)
		resp->error = (int)result;
	else
		resp->val = result;
	/* ENOENT: killed meanwhile. */
	(void)ioctl(sv->cage->listener, SECCOMP_IOCTL_NOTIF_SEND, resp);
}
