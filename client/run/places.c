/*
 * places.c - what volumes are mounted on: a directory of the volume around each. Ours it is made in, in others it must exist.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>

#include "client/run/making.h"
#include "client/run/paths.h"
#include "client/run/private.h"
#include "common/sys.h"

/* A directory at `rest` below `host`, reached without a link? */
static int find_place(const char *host, const char *rest)
{
	_cleanup_fd_ int top = open(host, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd;

	if (top < 0)
		return -errno;
	fd = sys_openat2(top, rest, O_PATH | O_DIRECTORY, 0,
			 RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	fd_close(fd);
	return fd < 0 ? fd : 0;
}

/* Everything is mounted on something: it is made in what is ours, and must exist in what is not. */
static int make_place(struct making *m, const char *guest, const struct run_volume *parent,
		      const char *rest)
{
	_cleanup_free_ char *host = path_append(parent->host, rest);
	bool root = strcmp(parent->guest, "/") == 0;
	int r;

	if (!host)
		return run_fail(m->problem, -ENOMEM, "%s", strerror(ENOMEM));
	r = parent->kind == RUN_VOLUME_PRIVATE ? private_mkdir(parent->host, rest)
					       : find_place(parent->host, rest);
	if (r == 0)
		return 0;
	if (r == -ELOOP || (r == -ENOTDIR && parent->kind == RUN_VOLUME_PRIVATE))
		return run_fail(m->problem, r,
				"%s leads through a symbolic link of the root: write the path that "
				"it stands for",
				guest);
	if (root)
		return run_fail(
			m->problem, r,
			"the root %s has no directory %s, where the sandbox needs one: mkdir -p %s",
			parent->host, guest, host);
	return run_fail(m->problem, r,
			"%s lies in the volume at %s%s, which has no such directory: mkdir -p %s, "
			"or choose another GUEST",
			guest, parent->guest, parent->read_only ? " (read-only)" : "", host);
}

int plan_make_places(struct making *m)
{
	const struct run_plan *plan = m->plan;
	static const char *const native[] = { RUN_NATIVE_PROC, RUN_NATIVE_DEV };
	const char *rest;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(native); i++) {
		const struct run_volume *parent = plan_find(plan, native[i], &rest);

		r = make_place(m, native[i], parent, rest);
	}
	for (size_t i = 1; r == 0 && i < plan->n_volumes; i++) {
		const struct run_volume *v = &plan->volumes[i], *parent = NULL;

		/* /dev is made for each run, with a place for it. */
		if (strcmp(v->guest, "/dev/shm") == 0)
			continue;
		for (size_t k = 0; k < i; k++)
			if (path_below(v->guest, plan->volumes[k].guest))
				parent = &plan->volumes[k];
		rest = v->guest + (strcmp(parent->guest, "/") == 0 ? 1 : strlen(parent->guest) + 1);
		r = make_place(m, v->guest, parent, rest);
	}
	return r;
}
