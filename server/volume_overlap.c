/*
 * volume_overlap.c - whether two volumes share a part of a tree.
 *
 * Two views of the same question, because neither sees everything. Upwards by "..": what the paths
 * say, whatever is mounted on the way. And by mounts: each root is a place (device, path inside
 * that file system), found from /proc/self/mountinfo, so that a bind mount of a part of one volume
 * is recognised at the other end of the tree. For xdev volumes, so is every mount below them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "server/volume.h"

enum { ANCESTORS_MAX = 4096 };

/* A part of a file system: everything at and below `path` of device `dev` (as mountinfo writes it).
 */
struct region {
	char dev[32];
	char *path;
};

struct mount {
	char dev[32];
	char *root;  /* path inside the file system */
	char *point; /* where it is mounted */
};

struct mounts {
	struct mount *list;
	size_t n;
};

static void mounts_deinit(struct mounts *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->list[i].root);
		free(m->list[i].point);
	}
	free(m->list);
	*m = (struct mounts){};
}

/* mountinfo writes blanks and backslashes as \ooo. */
static void unescape_octal(char *text)
{
	char *out = text;

	for (const char *p = text; *p; p++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
		    p[3] >= '0' && p[3] <= '7') {
			*out++ = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
			p += 3;
		} else {
			*out++ = *p;
		}
	}
	*out = '\0';
}

static int mounts_add(struct mounts *m, const char *dev, const char *root, const char *point)
{
	struct mount *list = realloc(m->list, (m->n + 1) * sizeof(*list));
	struct mount *new;

	if (!list)
		return -ENOMEM;
	m->list = list;
	new = &list[m->n];
	*new = (struct mount){ .root = strdup(root), .point = strdup(point) };
	m->n++;
	if (!new->root || !new->point)
		return -ENOMEM;
	snprintf(new->dev, sizeof(new->dev), "%s", dev);
	unescape_octal(new->root);
	unescape_octal(new->point);
	return 0;
}

static int mounts_read(struct mounts *ret)
{
	struct mounts m = {};
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	int r = 0;

	if (!file)
		return -errno;
	while (r == 0 && getline(&line, &size, file) > 0) {
		/* id parent major:minor root point ... */
		char *save = NULL, *word[5] = {};

		for (int i = 0; i < 5; i++)
			word[i] = strtok_r(i ? NULL : line, " ", &save);
		if (word[4])
			r = mounts_add(&m, word[2], word[3], word[4]);
	}
	free(line);
	(void)fclose(file);
	if (r < 0) {
		mounts_deinit(&m);
		return r;
	}
	*ret = m;
	return 0;
}

/* Whether `path` is `top` or below it; *ret_rest is then the remainder ("" or "/..."). */
static bool path_below(const char *path, const char *top, const char **ret_rest)
{
	size_t len = strcmp(top, "/") == 0 ? 0 : strlen(top);

	if (strncmp(path, top, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return false;
	if (ret_rest)
		*ret_rest = path + len;
	return true;
}

static char *join(const char *a, const char *b)
{
	char *text = NULL;

	if (strcmp(a, "/") == 0)
		a = "";
	if (strcmp(b, "/") == 0)
		b = "";
	if (asprintf(&text, "%s%s%s", a, b, a[0] || b[0] ? "" : "/") < 0)
		return NULL;
	return text;
}

/* The region of the directory at `real`: of the mount that lies deepest above it, the one mounted
 * last. */
static int region_of(const struct mounts *mounts, const char *real, struct region *ret)
{
	const struct mount *best = NULL;
	const char *rest = "", *r;

	for (size_t i = 0; i < mounts->n; i++) {
		const struct mount *m = &mounts->list[i];

		if (path_below(real, m->point, &r) &&
		    (!best || strlen(m->point) >= strlen(best->point))) {
			best = m;
			rest = r;
		}
	}
	if (!best)
		return -ENOENT;
	ret->path = join(best->root, rest);
	if (!ret->path)
		return -ENOMEM;
	snprintf(ret->dev, sizeof(ret->dev), "%s", best->dev);
	return 0;
}

static bool regions_meet(const struct region *a, const struct region *b)
{
	return strcmp(a->dev, b->dev) == 0 &&
	       (path_below(a->path, b->path, NULL) || path_below(b->path, a->path, NULL));
}

static int overlap(struct serve_error *error, const struct volume *a, const struct volume *b)
{
	return serve_fail(error, -EINVAL,
			  "volumes %s and %s share a part of one tree: serve only the upper one, "
			  "or move one away",
			  a->host_path, b->host_path);
}

/* Goes up from `lower` by "..": finds `upper` on the way. */
static int check_ancestors(const struct volume *lower, const struct volume *upper,
			   struct serve_error *error)
{
	_cleanup_fd_ int at = fcntl(lower->fs.root_fd, F_DUPFD_CLOEXEC, 3);
	dev_t dev = 0;
	ino_t ino = 0;

	if (at < 0)
		return -errno;
	for (int depth = 0; depth < ANCESTORS_MAX; depth++) {
		struct stat st;
		int up;

		if (fstat(at, &st) < 0)
			return -errno;
		if (st.st_dev == upper->fs.root_dev && st.st_ino == upper->fs.root_ino)
			return overlap(error, upper, lower);
		if (depth > 0 && st.st_dev == dev && st.st_ino == ino)
			return 0;
		dev = st.st_dev;
		ino = st.st_ino;
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0)
			return 0; /* not searchable for us: the view by mounts decides */
		fd_close(at);
		at = up;
	}
	return 0;
}

static int real_of(const struct volume *v, char **ret)
{
	char link[64], path[8192];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", v->fs.root_fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	if (n == sizeof(path) - 1)
		return -ENAMETOOLONG;
	path[n] = '\0';
	*ret = strdup(path);
	return *ret ? 0 : -ENOMEM;
}

/* xdev: what is mounted below `v` is part of it. */
static int check_mounts_below(const struct mounts *mounts, const struct volume *v, const char *real,
			      const struct volume *other, const struct region *region,
			      struct serve_error *error)
{
	for (size_t i = 0; i < mounts->n; i++) {
		struct mount *m = &mounts->list[i];
		struct region below = { .path = m->root };

		if (!path_below(m->point, real, NULL))
			continue;
		snprintf(below.dev, sizeof(below.dev), "%s", m->dev);
		/* The mount that holds the volume itself, mounted at its very root, is compared
		 * already. */
		if (regions_meet(&below, region))
			return overlap(error, v, other);
	}
	return 0;
}

static int check_regions(const struct mounts *mounts, const struct volume *a,
			 const struct volume *b, struct serve_error *error)
{
	_cleanup_free_ char *real_a = NULL, *real_b = NULL;
	struct region ra = {}, rb = {};
	int r;

	r = real_of(a, &real_a);
	if (r == 0)
		r = real_of(b, &real_b);
	if (r == 0)
		r = region_of(mounts, real_a, &ra);
	if (r == 0)
		r = region_of(mounts, real_b, &rb);
	if (r == 0 && regions_meet(&ra, &rb))
		r = overlap(error, a, b);
	if (r == 0 && a->xdev)
		r = check_mounts_below(mounts, a, real_a, b, &rb, error);
	if (r == 0 && b->xdev)
		r = check_mounts_below(mounts, b, real_b, a, &ra, error);
	free(ra.path);
	free(rb.path);
	return r == -ENOENT ? 0 : r;
}

int volumes_check_overlap(const struct volume *volumes, size_t n, struct serve_error *error)
{
	_cleanup_(mounts_deinit) struct mounts mounts = {};
	int r;

	if (n < 2)
		return 0;
	r = mounts_read(&mounts);
	if (r < 0)
		return serve_fail(error, r, "cannot read /proc/self/mountinfo: %s", strerror(-r));
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < i; k++) {
			r = check_ancestors(&volumes[i], &volumes[k], error);
			if (r == 0)
				r = check_ancestors(&volumes[k], &volumes[i], error);
			if (r == 0)
				r = check_regions(&mounts, &volumes[k], &volumes[i], error);
			if (r < 0)
				return serve_fail(
					error, r, "volumes %s and %s: cannot compare them: %s",
					volumes[k].host_path, volumes[i].host_path, strerror(-r));
		}
	}
	return 0;
}
