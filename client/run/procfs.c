/*
 * procfs.c - the names that /proc and /dev have for what a process holds: its descriptors, its directory, its root.
 *
 * The kernel follows such a name to the object itself, past the server, and Landlock then lets it read files at most. So a path that
 * goes on behind one is told apart before anybody looks it up: it is a path that begins at that descriptor. One that ends there
 * is the descriptor itself, opened again or changed (handle_open.c, change.c).
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/run/call.h"

/* ---- which descriptor a path names ---- */

/* The caller's process ("NStgid") or thread ("NSpid") as its own namespace numbers it, which is how it names itself in /proc. */
static long own_number(const struct call *c, const char *what)
{
	char path[PROC_PATH_MAX], text[8192], field[16];
	_cleanup_fd_ int fd = -EBADF;
	const char *line, *end;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", c->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	snprintf(field, sizeof(field), "\n%s:", what);
	line = strstr(text, field);
	end = line ? strchr(line + 1, '\n') : NULL;
	if (!end)
		return -1;
	while (end > line && isdigit((unsigned char)end[-1]))
		end--;
	return strtol(end, NULL, 10);
}

/* What stands behind `prefix` in the path; NULL. */
static const char *behind(const char *path, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(path, prefix, n) == 0 ? path + n : NULL;
}

/* What stands behind the number, and a slash, where it is the caller's own. */
static const char *behind_number(const struct call *c, const char *path, const char *what)
{
	char *end;
	long number;

	if (path[0] < '1' || path[0] > '9')
		return NULL;
	number = strtol(path, &end, 10);
	return *end == '/' && number == own_number(c, what) ? end + 1 : NULL;
}

/* What stands behind the caller's own directory of /proc, however it is called; NULL. */
static const char *behind_self(const struct call *c, const char *path)
{
	const char *rest = behind(path, RUN_NATIVE_PROC "/"), *self, *task;

	if (!rest)
		return NULL;
	self = behind(rest, "self/");
	if (!self)
		self = behind(rest, "thread-self/");
	if (!self)
		self = behind_number(c, rest, "NStgid");
	task = self ? behind(self, "task/") : NULL;
	return task ? behind_number(c, task, "NSpid") : self;
}

/* A descriptor's number, and what stands behind it: "" or "/..."; -1. */
static int number_at(const char *text, const char **ret_rest)
{
	size_t digits = text ? strspn(text, "0123456789") : 0;

	if (!digits || digits > 9 || (text[digits] && text[digits] != '/'))
		return -1;
	*ret_rest = text + digits;
	return (int)strtol(text, NULL, 10);
}

static int own_descriptor(const struct call *c, const char *path, const char **ret_rest)
{
	const char *self, *dev = behind(path, RUN_NATIVE_DEV "/fd/");

	if (dev)
		return number_at(dev, ret_rest);
	self = behind_self(c, path);
	return self ? number_at(behind(self, "fd/"), ret_rest) : -1;
}

int call_own_descriptor(const struct call *c, const char *path)
{
	static const char *const std[] = { "/dev/stdin", "/dev/stdout", "/dev/stderr" };
	const char *rest;
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(std); i++)
		if (strcmp(path, std[i]) == 0)
			return (int)i;
	fd = own_descriptor(c, path, &rest);
	return fd >= 0 && !*rest ? fd : -1;
}

/* ---- paths that go on behind one ---- */

static void replace_text(struct path_arg *p, const char *rest)
{
	while (*rest == '/')
		rest++;
	memmove(p->text, rest, strlen(rest) + 1);
	if (!p->text[0])
		memcpy(p->text, ".", 2);
}

bool call_begins_at_own(const struct call *c, struct path_arg *p)
{
	const char *rest = NULL, *self;
	int fd = own_descriptor(c, p->text, &rest);

	if (fd < 0) {
		self = behind_self(c, p->text);
		rest = self ? behind(self, "cwd/") : NULL;
		fd = AT_FDCWD;
	}
	if (!rest || (fd >= 0 && !*rest))
		return false;
	p->dirfd = fd;
	replace_text(p, rest);
	return true;
}

int call_join_foreign(const struct call *c, struct path_arg *p)
{
	char link[PROC_PATH_MAX], path[PATH_MAX];
	size_t len = strlen(p->text) + 1;
	ssize_t n;

	call_proc_path(c, p->dirfd, link);
	n = readlink(link, path, sizeof(path));
	if (n < 0)
		return -ESRCH;
	if ((size_t)n + 1 + len > sizeof(p->text))
		return -ENAMETOOLONG;
	memmove(p->text + n + 1, p->text, len);
	memcpy(p->text, path, (size_t)n);
	p->text[n] = '/';
	return 0;
}

/* ---- the name of what a descriptor has open ---- */

/* Whether the file of that name is the one that is open. */
static bool is_named(struct call *c, const char *path, const struct object_id *id)
{
	struct stat st;

	return gofer_stat(c->w->view, path, AT_SYMLINK_NOFOLLOW, &st) == 0 &&
	       st.st_dev == id->dev && st.st_ino == id->ino;
}

/*
 * The kernel names a descriptor from the root of its mounts. In the view that is the path; of a donated one it is the rest behind the
 * volume's (or, where the server has no mounts of its own, the host's path).
 */
int call_open_name(struct call *c, int number, char path[static PATH_MAX], struct object_id *ret_id)
{
	_cleanup_fd_ int own = -EBADF;
	char link[PROC_PATH_MAX], text[PATH_MAX];
	const struct run_plan *plan = c->sv->plan;
	struct stat st;
	ssize_t n;
	int r = call_take_fd(c, number, &own);

	if (r == 0)
		r = view_identify(own, "", AT_EMPTY_PATH, ret_id, &st);
	if (r < 0)
		return r;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", own);
	n = readlink(link, text, sizeof(text) - 1);
	if (n <= 0 || text[0] != '/' || S_ISDIR(st.st_mode))
		return -ENOENT;
	text[n] = '\0';
	memcpy(path, text, (size_t)n + 1);
	if (call_is_view(c, ret_id->mount))
		return is_named(c, path, ret_id) ? 0 : -ENOENT;
	for (size_t i = 0; i < plan->n_volumes; i++) {
		const struct run_volume *v = &plan->volumes[i];
		size_t root = strcmp(v->guest, "/") == 0 ? 1 : 0, host = strlen(v->host);

		if (!call_is_donated_by(c, ret_id->mount, i))
			continue;
		if (snprintf(path, PATH_MAX, "%s%s", root ? "" : v->guest, text) < PATH_MAX &&
		    (st.st_nlink == 0 || is_named(c, path, ret_id)))
			return 0;
		if (strncmp(text, v->host, host) == 0 && text[host] == '/' &&
		    snprintf(path, PATH_MAX, "%s%s", root ? "" : v->guest, text + host) <
			    PATH_MAX &&
		    is_named(c, path, ret_id))
			return 0;
	}
	return -ENOENT;
}
