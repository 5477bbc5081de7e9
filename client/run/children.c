/*
 * children.c - who descends from whom, by /proc/PID/stat. Only where there is no process namespace that would know.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "client/run/inside.h"

static int parent_of(int proc, pid_t pid, pid_t *ret)
{
	_cleanup_fd_ int fd = -EBADF;
	char path[32], text[512];
	const char *end;
	ssize_t n;

	snprintf(path, sizeof(path), "%d/stat", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -ESRCH;
	text[n] = '\0';
	/* pid (comm) state ppid: the name may hold anything, also ")". */
	end = strrchr(text, ')');
	if (!end || text + n - end < 5)
		return -EPROTO;
	/* ") S " */
	*ret = (pid_t)strtol(end + 3, NULL, 10);
	return 0;
}

int children_list(int proc, pid_t **ret_children, size_t *ret_n)
{
	int fd = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t *children = NULL, self = getpid();
	const struct dirent *entry;
	size_t n = 0, room = 0;
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		fd_close(fd);
		return -errno;
	}
	while ((entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10), parent;

		if (pid <= 0 || parent_of(proc, pid, &parent) < 0 || parent != self)
			continue;
		if (n == room) {
			pid_t *more = realloc(children, (room += 64) * sizeof(*more));

			if (!more) {
				free(children);
				(void)closedir(dir);
				return -ENOMEM;
			}
			children = more;
		}
		children[n++] = pid;
	}
	(void)closedir(dir);
	*ret_children = children;
	*ret_n = n;
	return 0;
}

int children_below(int proc, pid_t pid, pid_t ancestor)
{
	/* Whoever moves under our eyes cannot keep us busy. */
	for (int steps = 0; steps < 4096 && pid > 1; steps++) {
		if (pid == ancestor)
			return 1;
		if (parent_of(proc, pid, &pid) < 0)
			return 0;
	}
	return 0;
}
