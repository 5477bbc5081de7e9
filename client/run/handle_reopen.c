/*
 * handle_reopen.c - open(2) of what lies in /proc and /dev: the kernel's, but for links that lead back to descriptors and volumes.
 *
 * A descriptor of the program's own, named through /proc/self/fd/N, is opened again on its behalf where Landlock would forbid it to the
 * kernel. Other ways back into the volumes are refused: they lead past the server.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/run/call.h"

/* Whether what is asked for is no more than what the descriptor can do already. */
static bool within(int had, int flags)
{
	return !(had & O_PATH) && !((flags & O_TRUNC) && (had & O_ACCMODE) == O_RDONLY) &&
	       ((had & O_ACCMODE) == O_RDWR || (had & O_ACCMODE) == (flags & O_ACCMODE));
}

static int64_t send_again(struct call *c, int own, int flags)
{
	_cleanup_fd_ int fd = -EBADF;
	char path[PROC_PATH_MAX];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", own);
	fd = open(path, (flags & ~(O_CREAT | O_NOFOLLOW)) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0)
		return -errno;
	return call_give_fd(c, &fd, flags);
}

/*
 * Opens one of the caller's descriptors again. A regular file of a volume: anew, as the kernel would, on the server's mount, which is
 * read-only where the volume is (without the mount namespace nothing says so: no wider than it was). A regular file that the program inherited: no wider than it has it, so the description itself, not truncated.
 * All else is the kernel's.
 */
static int64_t reopen(struct call *c, int number, int flags)
{
	_cleanup_fd_ int own = -EBADF;
	char path[PROC_PATH_MAX];
	struct object_id id;
	struct stat st;
	int had, r;

	r = call_take_fd(c, number, &own);
	if (r < 0)
		return r == -EBADF ? -ENOENT : r;
	r = view_identify(own, "", AT_EMPTY_PATH, &id, &st);
	if (r < 0)
		return r;
	/* A directory of a volume that is open as a place (O_PATH): Landlock lets the kernel open none for reading. */
	if (S_ISDIR(st.st_mode) && call_caged(c) && !(flags & (O_ACCMODE | O_CREAT | O_PATH))) {
		struct gofer_place *place = objects_get(&c->sv->objects, &id);

		snprintf(path, sizeof(path), "/proc/self/fd/%d", own);
		if (place || call_place_by_link(c, path, &id, &place) == 0) {
			gofer_place_unref(place);
			return send_again(c, own, flags);
		}
	}
	if (flags & O_PATH)
		return CALL_CONTINUE;
	had = fcntl(own, F_GETFL);
	if (had < 0)
		return -errno;
	/* A FIFO's place is no leave to open it: Landlock cannot tell it from a file. (Pipes are none of any volume's.) */
	if (S_ISFIFO(st.st_mode) && call_has_made(own, &c->sv->fifos))
		return call_open_fifo(c, TAKE_FD(own), flags);
	if (S_ISFIFO(st.st_mode) && (had & O_PATH))
		return -EPERM;
	if (!S_ISREG(st.st_mode))
		return CALL_CONTINUE;
	if (call_caged(c) ? call_is_donated(c, id.mount) || call_is_view(c, id.mount)
			  : call_is_donated(c, id.mount) && within(had, flags))
		return send_again(c, own, flags);
	if (within(had, flags))
		return call_send_fd(c, own, flags);
	/* A file of the host that the program was started with, asked for as what it was not given; or a memfd. */
	return st.st_nlink > 0 ? -EACCES : CALL_CONTINUE;
}

/*
 * Whether a path in /proc leads back into the volumes, past the server: through a process's root, directory, mappings, or another's
 * descriptors of files. (The kernel reads the path again: who races gets a file read that way, and no more. See SECURITY.md.)
 */
static bool leads_back(const struct call *c, const char *path)
{
	static const char *const ways[] = { "/root", "/cwd", "/map_files/" };
	const char *proc = RUN_NATIVE_PROC "/", *rest = path + strlen(proc), *fd;
	_cleanup_fd_ int at = -EBADF;
	struct stat st;

	if (strncmp(path, proc, strlen(proc)) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		const char *way = strstr(rest, ways[i]);

		if (way && (way[strlen(ways[i])] == '/' || ways[i][strlen(ways[i]) - 1] == '/'))
			return true;
	}
	fd = strstr(rest, "/fd/");
	if (!fd || !fd[4])
		return false;
	at = openat(c->sv->cage->view_root, path + 1, O_PATH | O_CLOEXEC);
	if (at < 0 || fstat(at, &st) < 0)
		return false;
	if (call_is_nameless(at, &st))
		return false;
	/* Landlock lets a volume's files be read, and nothing else of files; of FIFOs it knows nothing. */
	return S_ISFIFO(st.st_mode)
		       ? !call_has_made(at, &c->sv->fifos)
		       : S_ISREG(st.st_mode) && !run_has(c->sv->plan, RUN_LAYER_LANDLOCK);
}

int64_t call_open_foreign(struct call *c, int flags)
{
	const char *path = gofer_foreign_path();
	int number = call_own_descriptor(c, path);

	if (number >= 0 && !(flags & O_NOFOLLOW)) {
		int64_t r = reopen(c, number, flags);

		if (r != CALL_CONTINUE)
			return r;
	}
	if (number < 0 && call_caged(c) && !(flags & O_PATH) && leads_back(c, path))
		return -EACCES;
	return call_foreign(c, path, flags);
}
