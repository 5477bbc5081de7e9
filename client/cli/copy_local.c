/*
 * copy_local.c - see copy_local.h.
 */
#include "client/cli/copy_local.h"

#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

enum { MAX_OPEN = 128 };

static void forget(struct local_tree *t, struct local_dir *d)
{
	if (d->newer)
		d->newer->older = d->older;
	else if (t->newest == d)
		t->newest = d->older;
	if (d->older)
		d->older->newer = d->newer;
	else if (t->oldest == d)
		t->oldest = d->newer;
	d->newer = d->older = NULL;
}

static void remember(struct local_tree *t, struct local_dir *d)
{
	d->older = t->newest;
	d->newer = NULL;
	if (t->newest)
		t->newest->newer = d;
	t->newest = d;
	if (!t->oldest)
		t->oldest = d;
}

struct local_dir *local_top(int fd)
{
	struct local_dir *d = cli_alloc(sizeof(*d));

	d->fd = fd;
	d->refs = 1;
	return d;
}

struct local_dir *local_child(struct local_dir *parent, const char *name)
{
	struct local_dir *d = cli_alloc(sizeof(*d));

	d->parent = parent;
	parent->refs++;
	d->name = cli_strdup(name);
	d->fd = -EBADF;
	d->refs = 1;
	return d;
}

void local_unref(struct local_tree *t, struct local_dir *d)
{
	while (d && --d->refs == 0) {
		struct local_dir *parent = d->parent;

		if (d->fd >= 0 && parent) {
			forget(t, d);
			t->n_open--;
		}
		fd_close(d->fd);
		free(d->name);
		free(d);
		d = parent;
	}
}

int local_fd(struct local_tree *t, struct local_dir *d)
{
	_cleanup_fd_ int fd = -EBADF;
	struct stat st;
	int parent;

	if (!d->parent)
		return d->fd;
	if (d->fd >= 0) {
		if (t->newest != d) {
			forget(t, d);
			remember(t, d);
		}
		return d->fd;
	}
	parent = local_fd(t, d->parent);
	if (parent < 0)
		return parent;
	fd = openat(parent, d->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return errno == ELOOP ? -ENOTDIR : -errno;
	if (d->ino && (d->ino != st.st_ino || d->dev != st.st_dev))
		return -ESTALE;
	d->ino = st.st_ino;
	d->dev = st.st_dev;
	while (t->n_open >= MAX_OPEN) {
		struct local_dir *oldest = t->oldest;

		forget(t, oldest);
		oldest->fd = fd_close(oldest->fd);
		t->n_open--;
	}
	d->fd = TAKE_FD(fd);
	remember(t, d);
	t->n_open++;
	return d->fd;
}

int local_mkdir(struct local_tree *t, struct local_dir *d)
{
	struct stat st;
	int parent, fd;

	if (!d->parent)
		return 0;
	parent = local_fd(t, d->parent);
	if (parent < 0)
		return parent;
	if (mkdirat(parent, d->name, 0700) == 0)
		return MIN(local_fd(t, d), 0);
	if (errno != EEXIST)
		return -errno;
	fd = local_fd(t, d);
	/* It gets its true mode when all is in it; until then we must be able to write. */
	if (fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700 &&
	    fchmod(fd, (st.st_mode & 07777) | 0700) < 0 && errno != EPERM)
		return -errno;
	return MIN(fd, 0);
}

/* Whether the set-id bits may stay: only for an owner that the file really has. */
static int set_owner(int fd, const struct stat *st, bool *ret_owned)
{
	struct stat now;

	*ret_owned = true;
	if (fchown(fd, st->st_uid, st->st_gid) == 0)
		return 0;
	if (errno != EPERM && errno != EINVAL)
		return -errno;
	/* An ordinary user: the group alone, where it is one of ours. */
	if (fchown(fd, (uid_t)-1, st->st_gid) < 0 && errno != EPERM && errno != EINVAL)
		return -errno;
	*ret_owned = fstat(fd, &now) == 0 && now.st_uid == st->st_uid && now.st_gid == st->st_gid;
	return 0;
}

int local_set_attributes(struct local_tree *t, int fd, const struct stat *st,
			 const struct copy_xattr *xattrs, const char **ret_attribute)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	mode_t mode = st->st_mode & 07777;
	bool owned;
	int r, result = 0;

	/* Without the owner's rights on a read-only file, user.* could not be set any more: they
	 * come first. */
	if (t->inherits_acl) {
		(void)fremovexattr(fd, "system.posix_acl_access");
		(void)fremovexattr(fd, "system.posix_acl_default");
	}
	for (const struct copy_xattr *x = xattrs; x; x = x->next)
		if (fsetxattr(fd, x->name, x->value, x->len, 0) < 0) {
			result = -errno;
			*ret_attribute = x->name;
		}
	r = set_owner(fd, st, &owned);
	if (!owned)
		mode &= ~(mode_t)(S_ISUID | S_ISGID);
	if (r == 0 && (fchmod(fd, mode) < 0 || futimens(fd, times) < 0))
		r = -errno;
	if (r < 0) {
		*ret_attribute = NULL;
		return r;
	}
	return result;
}

int local_rename(int dirfd, const char *temp, const char *name)
{
	int r = renameat(dirfd, temp, dirfd, name) < 0 ? -errno : 0;

	if (r < 0)
		(void)unlinkat(dirfd, temp, 0);
	return r;
}

static int make_special(int dirfd, const char *name, const struct stat *st, const char *target)
{
	int r = S_ISLNK(st->st_mode) ? symlinkat(target, dirfd, name)
				     : mknodat(dirfd, name, S_IFIFO | (st->st_mode & 0777), 0);

	return r < 0 ? -errno : 0;
}

int local_make_special(int dirfd, const char *name, const struct stat *st, const char *target)
{
	const struct timespec times[2] = { st->st_atim, st->st_mtim };
	char temp[COPY_TEMP_NAME];
	const char *made = name;
	int r = make_special(dirfd, name, st, target);

	if (r == -EEXIST) {
		copy_temp_name(temp);
		made = temp;
		r = make_special(dirfd, temp, st, target);
	}
	if (r < 0)
		return r;
	/* As with files: who may not give away keeps it. */
	if (fchownat(dirfd, made, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 &&
	    fchownat(dirfd, made, (uid_t)-1, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0 &&
	    errno != EPERM && errno != EINVAL)
		r = -errno;
	if (utimensat(dirfd, made, times, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	if (made == temp) {
		int renamed = local_rename(dirfd, temp, name);

		r = renamed < 0 ? renamed : r;
	}
	return r;
}

int local_link(int from_dirfd, const char *from, int dirfd, const char *name)
{
	char temp[COPY_TEMP_NAME];
	int r;

	if (linkat(from_dirfd, from, dirfd, name, 0) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	copy_temp_name(temp);
	if (linkat(from_dirfd, from, dirfd, temp, 0) < 0)
		return -errno;
	r = renameat(dirfd, temp, dirfd, name) < 0 ? -errno : 0;
	/* rename(2) does nothing where both names are one file already. */
	(void)unlinkat(dirfd, temp, 0);
	return r;
}
