/*
 * identity.h - what the attacks on identities share: the users, the volumes that root's server has for
 * them (test_attack_identity.sh), and files on the host.
 */
#pragma once

#include <grp.h>

#include "tests/integration/guard.h"

enum { ALICE = 1600, BOB = 1601, TEAM = 1700 };

/* Delegates to anybody who connects; only to 1000-2000; squashes to 1500:1500. */
static uint32_t del, na, sq;

static inline void find_filesystems(void)
{
	del = guard_filesystem("del");
	na = guard_filesystem("na");
	sq = guard_filesystem("sq");
}

static inline Gofer__Path as(uint32_t identity, uint32_t fs, const char *name)
{
	Gofer__Path p = path_of(fs, name);

	p.identity = identity;
	return p;
}

/* The owner of a file on the host, "uid:gid". */
static inline const char *owner(const char *host)
{
	static char text[4][32];
	static unsigned next;
	struct stat st;
	char *s = text[++next % 4];

	if (lstat(host, &st) < 0)
		snprintf(s, sizeof(text[0]), "%s", strerror(errno));
	else
		snprintf(s, sizeof(text[0]), "%u:%u", st.st_uid, st.st_gid);
	return s;
}

static inline const char *del_path(const char *name)
{
	char below[256];

	snprintf(below, sizeof(below), "del/%s", name);
	return in_dir(guard_dir, below);
}

/* A file on the host, made by root for somebody. */
static inline const char *host_file(const char *name, uid_t uid, gid_t gid, mode_t mode)
{
	const char *host = del_path(name);
	int fd = open(host, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	if (fd < 0 || fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0)
		die("%s: %s", host, strerror(errno));
	fd_close(fd);
	return host;
}

/* Becomes the user for good, for a child. */
static inline void become(uid_t uid, gid_t gid, const gid_t *groups, size_t n)
{
	if (setgroups(n, groups) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		_exit(255);
}
