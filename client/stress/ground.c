/*
 * ground.c - making, comparing and removing the ground (ground.h).
 *
 * Everything is made below descriptors that nobody can exchange, and removed the same way: however
 * an attacker or a broken server left the tree, cleaning up follows no link out of it.
 *
 * Objects outside are told by (device, inode), by a token in whatever can be read of them, and by
 * names that exist only there. "Only there" is the strongest: a request for such a name can only
 * succeed outside.
 */
#include "client/stress/ground.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "common/sys.h"

const char *const place_paths[PLACE_SERVED] = {
	[PLACE_ROOT] = "",     [PLACE_A] = "a", [PLACE_B] = "a/b",        [PLACE_C] = "a/b/c",
	[PLACE_D] = "a/b/c/d", [PLACE_M] = "m", [PLACE_Y] = "m/deep/x/y",
};

/* ---- a mount namespace of our own ---- */

static int write_file(const char *path, const char *text)
{
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int ground_private(char *ret_dir, size_t size)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char map[64];
	int r = 0;

	if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0)) < 0)
		return -errno;
	/* An ordinary user stays who he is; the namespace only lets him mount. */
	if (uid) {
		r = write_file("/proc/self/setgroups", "deny");
		snprintf(map, sizeof(map), "%u %u 1", uid, uid);
		if (r == 0)
			r = write_file("/proc/self/uid_map", map);
		snprintf(map, sizeof(map), "%u %u 1", gid, gid);
		if (r == 0)
			r = write_file("/proc/self/gid_map", map);
	}
	if (r < 0)
		return r;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	/* Over a directory that every Linux has, in our namespace alone. */
	if (mount("gofer-stress", "/dev/shm", "tmpfs", 0, "mode=0755,size=64m") < 0)
		return -errno;
	snprintf(ret_dir, size, "/dev/shm");
	return 0;
}

/* ---- making ---- */

static int make_file(int dirfd, const char *name, const char *text)
{
	_cleanup_fd_ int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		return -errno;
	return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static int make_dir(int dirfd, const char *name, int *ret_fd)
{
	int fd;

	if (mkdirat(dirfd, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int set_xattr(struct ground *g, int dirfd, const char *file, const char *name,
		     const char *value)
{
	_cleanup_fd_ int fd = openat(dirfd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (fsetxattr(fd, name, value, strlen(value), 0) == 0)
		g->xattrs = true;
	else if (errno != EOPNOTSUPP)
		return -errno;
	return 0;
}

/* What requests ask for in the directory that a path leads to. `secret` is NULL inside. */
static int make_leaves(struct ground *g, int dirfd, const char *secret)
{
	_cleanup_fd_ int sub = -EBADF;
	char target[64];
	int r = make_file(dirfd, "f", secret ?: "inside");

	snprintf(target, sizeof(target), "%s", secret ?: "inside");
	if (r == 0)
		r = set_xattr(g, dirfd, "f", secret ? "user.outside" : "user.inside", target);
	if (r == 0 && symlinkat(target, dirfd, "l") < 0)
		r = -errno;
	if (r == 0)
		r = make_dir(dirfd, "sub", &sub);
	if (r == 0)
		r = make_file(sub, secret ?: "inside", "");
	if (r == 0 && secret)
		r = make_file(dirfd, "only", secret);
	return r;
}

/* A datagram socket: nobody has to accept for a connect to succeed. */
static int make_socket(int dirfd, int *ret_fd)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/sock", dirfd);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	fd_close(*ret_fd);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Partners for the component `name` of `dirfd`, which lies `depth` below the tree's root. */
static int make_partners(struct ground *g, int dirfd, const char *name, unsigned depth,
			 const char *outside)
{
	char partner[32], target[256];
	size_t up = 0;
	int r;

	for (unsigned i = 0; i <= depth && up < sizeof(target); i++)
		up += (size_t)snprintf(target + up, sizeof(target) - up, "../");
	if (up >= sizeof(target) ||
	    snprintf(target + up, sizeof(target) - up, "%s", outside) >= (int)(sizeof(target) - up))
		return -ENAMETOOLONG;
	snprintf(partner, sizeof(partner), "%s.rel", name);
	if (symlinkat(target, dirfd, partner) < 0)
		return -errno;
	snprintf(partner, sizeof(partner), "%s.abs", name);
	snprintf(target, sizeof(target), "%s/%s", g->path, outside);
	if (symlinkat(target, dirfd, partner) < 0)
		return -errno;
	snprintf(partner, sizeof(partner), "%s.file", name);
	r = make_file(dirfd, partner, "inside");
	if (r < 0)
		return r;
	snprintf(partner, sizeof(partner), "%s.dir", name);
	if (mkdirat(dirfd, partner, 0755) < 0)
		return -errno;
	snprintf(partner, sizeof(partner), "%s.fifo", name);
	if (mkfifoat(dirfd, partner, 0644) < 0)
		return -errno;
	snprintf(partner, sizeof(partner), "%s.dev", name);
	/* The null device's number: harmless if anything should open it. */
	g->devices = mknodat(dirfd, partner, S_IFCHR | 0666, 0x103) == 0;
	return 0;
}

static int place_open(struct tree *t, enum place place, int dirfd, const char *path)
{
	fd_close(t->places[place]);
	t->places[place] = openat(dirfd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return t->places[place] < 0 ? -errno : 0;
}

void remove_below(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d) {
		fd_close(fd);
		return;
	}
	for (const struct dirent *e; (e = readdir(d));) {
		_cleanup_fd_ int below = -EBADF;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (unlinkat(fd, e->d_name, 0) == 0)
			continue;
		below = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below >= 0)
			remove_below(below);
		(void)unlinkat(fd, e->d_name, AT_REMOVEDIR);
	}
	closedir(d);
}

static void remove_at(int dirfd, const char *name)
{
	_cleanup_fd_ int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		remove_below(fd);
	(void)unlinkat(dirfd, name, fd >= 0 ? AT_REMOVEDIR : 0);
}

int tree_find(const struct ground *g, struct tree *t)
{
	int r = place_open(t, PLACE_LANDING, g->fd, "landing");

	for (enum place p = PLACE_A; r == 0 && p < PLACE_SERVED; p++)
		r = place_open(t, p, t->places[PLACE_ROOT], place_paths[p]);
	return r;
}

int tree_reset(struct ground *g, struct tree *t)
{
	static const char *const chain[] = { "a", "b", "c", "d", "f" };
	static const char *const reached[] = { "outside/a", "outside/a/b", "outside/a/b/c",
					       "outside/a/b/c/d", "outside/a/b/c/d/f" };
	_cleanup_fd_ int at = -EBADF;
	char mnt[300];
	int r;

	snprintf(mnt, sizeof(mnt), "%s/mnt", t->path);
	if (g->private_mount)
		(void)umount2(mnt, MNT_DETACH | UMOUNT_NOFOLLOW);
	remove_at(g->fd, "deep");
	remove_at(t->places[PLACE_LANDING], "deep");
	remove_below(t->places[PLACE_ROOT]);
	at = openat(t->places[PLACE_ROOT], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at < 0)
		return -errno;
	for (unsigned i = 0; i < ARRAY_SIZE(chain); i++) {
		int next = -EBADF;

		r = make_partners(g, at, chain[i], i, reached[i]);
		if (r == 0 && i == ARRAY_SIZE(chain) - 1)
			r = make_leaves(g, at, NULL);
		else if (r == 0)
			r = make_dir(at, chain[i], &next);
		if (r < 0)
			return r;
		if (next >= 0) {
			fd_close(at);
			at = next;
		}
	}
	for (unsigned i = 0; i < 2; i++)
		if (mkdirat(t->places[PLACE_ROOT], i ? "r" : "mnt", 0755) < 0)
			return -errno;
	if (mkdirat(t->places[PLACE_ROOT], "m", 0755) < 0 ||
	    mkdirat(t->places[PLACE_ROOT], "m/deep", 0755) < 0 ||
	    mkdirat(t->places[PLACE_ROOT], "m/deep/x", 0755) < 0 ||
	    mkdirat(t->places[PLACE_ROOT], "m/deep/x/y", 0755) < 0)
		return -errno;
	r = tree_find(g, t);
	return r < 0 ? r : make_leaves(g, t->places[PLACE_Y], NULL);
}

/* ---- the outside ---- */

static uint64_t hash_of(int dirfd, const char *path)
{
	_cleanup_fd_ int fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	unsigned char text[512];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	for (ssize_t i = 0; i < n; i++)
		hash = (hash ^ text[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static int note_object(struct ground *g, const char *path, bool loose)
{
	struct outside_object *o = &g->outside[*g->n_outside];

	if (*g->n_outside == OUTSIDE_MAX)
		return -ENOSPC;
	*o = (struct outside_object){ .loose = loose };
	snprintf(o->path, sizeof(o->path), "%s", path);
	if (fstatat(g->fd, *path ? path : ".", &o->st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISREG(o->st.st_mode))
		o->hash = hash_of(g->fd, path);
	++*g->n_outside;
	return 0;
}

static int note_below(struct ground *g, int dirfd, const char *path)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d)
		return -errno;
	for (const struct dirent *e; r == 0 && (e = readdir(d));) {
		_cleanup_fd_ int below = -EBADF;
		char name[96];

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(name, sizeof(name), "%.60s/%.30s", path, e->d_name);
		r = note_object(g, name, !strcmp(e->d_name, "hard"));
		below = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (r == 0 && below >= 0)
			r = note_below(g, below, name);
	}
	closedir(d);
	return r;
}

static int note_all(struct ground *g)
{
	static const char *const above[] = { "f", "l", "sub", "only" };
	_cleanup_fd_ int outside = openat(g->fd, "outside", O_PATH | O_CLOEXEC);
	_cleanup_fd_ int landing = openat(g->fd, "landing", O_PATH | O_CLOEXEC);
	int r;

	*g->n_outside = 0;
	r = note_object(g, "..", true);
	if (r == 0)
		r = note_object(g, "../..", true);
	if (r == 0)
		r = note_object(g, "", true);
	if (r == 0)
		r = note_object(g, "landing", true);
	if (r == 0)
		r = note_object(g, "outside", false);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(above); i++)
		r = note_object(g, above[i], false);
	if (r == 0)
		r = note_below(g, outside, "outside");
	return r < 0 ? r : note_below(g, landing, "landing");
}

int ground_reset_outside(struct ground *g)
{
	static const char *const names[] = { "outside", "landing", "f", "l", "sub", "only" };
	_cleanup_fd_ int outside = -EBADF, at = -EBADF, r_dir = -EBADF, landing = -EBADF;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		remove_at(g->fd, names[i]);
	r = make_leaves(g, g->fd, g->token);
	if (r == 0)
		r = make_dir(g->fd, "landing", &landing);
	if (r == 0)
		r = make_leaves(g, landing, g->token);
	if (r == 0)
		r = make_dir(g->fd, "outside", &outside);
	if (r < 0)
		return r;
	at = dup(outside);
	for (const char *name = "abcd"; *name; name++) {
		int next = -EBADF;

		r = make_dir(at, (char[]){ *name, '\0' }, &next);
		if (r < 0)
			return r;
		fd_close(at);
		at = next;
	}
	r = make_leaves(g, at, g->token);
	if (r == 0)
		r = make_socket(at, &g->sockets[0]);
	if (r == 0)
		r = make_dir(outside, "r", &r_dir);
	if (r == 0)
		r = make_leaves(g, r_dir, g->token);
	if (r == 0)
		r = make_socket(r_dir, &g->sockets[1]);
	if (r == 0)
		r = make_file(outside, "fixup", g->token);
	if (r == 0)
		r = make_file(outside, "hard", "linked inside");
	for (size_t i = 0; r == 0 && i < TREE_COUNT; i++)
		r = place_open(&g->trees[i], PLACE_LANDING, g->fd, "landing");
	return r < 0 ? r : note_all(g);
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static const char *difference(const struct ground *g, const struct outside_object *o, bool read)
{
	struct stat st;

	if (fstatat(g->fd, *o->path ? o->path : ".", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return "is gone";
	if (st.st_ino != o->st.st_ino || st.st_dev != o->st.st_dev)
		return "is another object";
	if (st.st_mode != o->st.st_mode || st.st_uid != o->st.st_uid || st.st_gid != o->st.st_gid)
		return "has another mode or owner";
	if (S_ISREG(st.st_mode) &&
	    (st.st_size != o->st.st_size || (read && hash_of(g->fd, o->path) != o->hash)))
		return "has other contents";
	if (S_ISDIR(st.st_mode) && o->loose)
		return NULL;
	if (!same_time(&st.st_mtim, &o->st.st_mtim))
		return S_ISDIR(st.st_mode) ? "has other entries" : "has another mtime";
	if (!o->loose && !same_time(&st.st_ctim, &o->st.st_ctim))
		return "has another ctime";
	return NULL;
}

/* A loose directory may hold what was made there, and what attackers move there. */
static bool entry_expected(const struct ground *g, const char *dir, const char *name)
{
	char path[400];

	if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, "deep") ||
	    (!*dir && !strncmp(name, "tree", 4)))
		return true;
	snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", name);
	for (uint32_t i = 0; i < *g->n_outside; i++)
		if (!strcmp(g->outside[i].path, path))
			return true;
	return false;
}

static bool has_stranger(const struct ground *g, const char *path)
{
	int fd = *path == '.'
			 ? -EBADF
			 : openat(g->fd, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	bool found = false;

	if (!d) /* or one of the directories above BASE */
		return false;
	for (const struct dirent *e; !found && (e = readdir(d));)
		found = !entry_expected(g, path, e->d_name);
	closedir(d);
	return found;
}

int ground_audit(const struct ground *g, bool read, char *ret_words, size_t size)
{
	for (uint32_t i = 0; i < *g->n_outside; i++) {
		const struct outside_object *o = &g->outside[i];
		const char *what = difference(g, o, read);

		if (!what && S_ISDIR(o->st.st_mode) && o->loose && has_stranger(g, o->path))
			what = "has a new entry";
		if (what) {
			snprintf(ret_words, size, "%s %s", *o->path ? o->path : "above the root",
				 what);
			return 1;
		}
	}
	return 0;
}

bool ground_is_outside(const struct ground *g, uint64_t dev, uint64_t ino)
{
	for (uint32_t i = 0; i < *g->n_outside; i++)
		if (g->outside[i].st.st_ino == ino && g->outside[i].st.st_dev == dev &&
		    !(g->outside[i].loose && S_ISREG(g->outside[i].st.st_mode)))
			return true;
	return false;
}

bool ground_has_token(const struct ground *g, const void *data, size_t len)
{
	return len >= TOKEN_LEN && memmem(data, len, g->token, TOKEN_LEN);
}

/* ---- life ---- */

int ground_init(struct ground *g, const char *dir, const char *name, bool private_mount)
{
	static const char *const volumes[TREE_COUNT] = { "deny", "allow" };
	size_t size = sizeof(*g->outside) * OUTSIDE_MAX + sizeof(*g->n_outside);
	uint64_t random = 0;
	char above[144];
	int r;

	*g = (struct ground){ .fd = -EBADF, .private_mount = private_mount, .sockets = { -1, -1 } };
	for (size_t i = 0; i < TREE_COUNT; i++)
		for (size_t p = 0; p < PLACE_COUNT; p++)
			g->trees[i].places[p] = -EBADF;
	snprintf(g->top, sizeof(g->top), "%s/%s", dir, name);
	if (snprintf(g->path, sizeof(g->path), "%s/above/above", g->top) >= 100)
		return -ENAMETOOLONG;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EIO;
	snprintf(g->token, sizeof(g->token), "canary-%016llx", (unsigned long long)random);
	g->outside = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (g->outside == MAP_FAILED) {
		g->outside = NULL;
		return -errno;
	}
	g->n_outside = (_Atomic uint32_t *)(g->outside + OUTSIDE_MAX);
	/* Whoever climbs too far is still where nothing can be damaged. */
	snprintf(above, sizeof(above), "%s/above", g->top);
	if (mkdir(g->top, 0755) < 0 || mkdir(above, 0755) < 0 || mkdir(g->path, 0755) < 0)
		return -errno;
	g->fd = open(g->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (g->fd < 0)
		return -errno;
	for (unsigned i = 0; i < TREE_COUNT; i++) {
		struct tree *t = &g->trees[i];

		t->volume = volumes[i];
		snprintf(t->path, sizeof(t->path), "%s/tree%u", g->path, i);
		if (mkdir(t->path, 0755) < 0)
			return -errno;
		r = place_open(t, PLACE_ROOT, AT_FDCWD, t->path);
		if (r == 0)
			r = place_open(t, PLACE_ABOVE, AT_FDCWD, g->path);
		if (r < 0)
			return r;
	}
	r = ground_reset_outside(g);
	for (size_t i = 0; r == 0 && i < TREE_COUNT; i++)
		r = tree_reset(g, &g->trees[i]);
	return r;
}

void ground_deinit(struct ground *g)
{
	size_t size = sizeof(*g->outside) * OUTSIDE_MAX + sizeof(*g->n_outside);
	char mnt[300];

	for (size_t i = 0; i < TREE_COUNT; i++) {
		snprintf(mnt, sizeof(mnt), "%s/mnt", g->trees[i].path);
		if (g->private_mount)
			(void)umount2(mnt, MNT_DETACH | UMOUNT_NOFOLLOW);
		for (size_t p = 0; p < PLACE_COUNT; p++)
			g->trees[i].places[p] = fd_close(g->trees[i].places[p]);
	}
	g->fd = fd_close(g->fd);
	remove_at(AT_FDCWD, g->top);
	for (size_t i = 0; i < ARRAY_SIZE(g->sockets); i++)
		g->sockets[i] = fd_close(g->sockets[i]);
	if (g->outside)
		(void)munmap(g->outside, size);
	g->outside = NULL;
}
