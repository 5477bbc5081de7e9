/*
 * cp.c - gofer cp: copies inside the server. Contents never travel: the server copies between two
 * handles (Copy, which is copy_file_range(2) there and shares extents where the filesystem can).
 * Holes stay holes. -a keeps mode, owner, times, hard links and extended attributes.
 */
#include "client/cli/cli.h"

#include <fcntl.h>
#include <string.h>

static const struct cli_option options[] = {
	{ 'r', "recursive", NULL, "copy directories and what they hold" },
	{ 'R', NULL, NULL, "the same as -r" },
	{ 'a', "archive", NULL, "-r -P -p, and hard links stay linked" },
	{ 'p', "preserve", NULL, "keep mode, owner, times and extended attributes" },
	{ 'P', "no-dereference", NULL, "copy symbolic links as links (always so below -r)" },
	{ 'f', "force", NULL, "remove an existing destination that cannot be opened" },
	{ 'n', "no-clobber", NULL, "leave existing files alone" },
	{ 'T', "no-target-directory", NULL, "the destination is never a directory to copy into" },
	{ 'v', "verbose", NULL, "say what is copied" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "cp",
	.usage = "[OPTION]... NAME:/source NAME:/dest\n[OPTION]... NAME:/source... NAME:/directory",
	.about = "Copies files and trees on the server, from volume to volume if need be.",
	.options = options,
	.notes = "'gofer get' and 'gofer put' copy from and to local directories.",
};

/* Files with several links that were copied already, by where they came from. */
struct seen {
	dev_t dev;
	ino_t ino;
	char *dest;
};

struct copy {
	struct cli *c;
	const struct cli_volume *from, *to;
	const struct cli_copy_options *o;
	struct seen *seen;
	size_t n_seen;
	struct stat root; /* the destination's top directory, never copied into itself */
	bool has_root;
	int result;
};

static void failed(struct copy *copy, int r, const char *what, const struct cli_volume *v,
		   const char *path)
{
	copy->result = r;
	cli_path_error(copy->c, r, what, v, path);
}

static int copy_xattrs(struct copy *copy, const char *source, const char *dest, int flags)
{
	_cleanup_free_ char *list = cli_alloc(65536);
	_cleanup_free_ char *value = cli_alloc(65536);
	ssize_t n = gofer_listxattr(copy->from->ns, source, list, 65536, flags);

	if (n < 0)
		return n == -EOPNOTSUPP ? 0 : (int)n;
	for (char *name = list; name < list + n; name += strlen(name) + 1) {
		ssize_t len;
		int r;

		if (strncmp(name, "user.", 5) != 0 && strncmp(name, "system.posix_acl_", 17) != 0)
			continue;
		len = gofer_getxattr(copy->from->ns, source, name, value, 65536, flags);
		if (len == -ENODATA)
			continue;
		r = len < 0 ? (int)len
			    : gofer_setxattr(copy->to->ns, dest, name, value, (size_t)len, 0,
					     flags);
		if (r < 0 && r != -EOPNOTSUPP)
			return r;
	}
	return 0;
}

/* Extended attributes while the file is still ours, then owner, mode, times: each would undo an
 * earlier one in another order. */
static int preserve(struct copy *copy, const char *source, const char *dest, const struct stat *st)
{
	struct timespec times[2] = { st->st_atim, st->st_mtim };
	mode_t mode = st->st_mode & 07777;
	int r = 0;

	if (!copy->o->preserve) {
		return 0;
	}
	if (!S_ISLNK(st->st_mode))
		r = copy_xattrs(copy, source, dest, AT_SYMLINK_NOFOLLOW);
	if (r == 0)
		r = gofer_chown(copy->to->ns, dest, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW);
	if (r == -EPERM) {
		/* Not ours to give away: then not with set-id bits either. */
		mode &= 01777;
		r = 0;
	}
	if (r == 0 && !S_ISLNK(st->st_mode))
		r = gofer_chmod(copy->to->ns, dest, mode);
	if (r == 0)
		r = gofer_utimens(copy->to->ns, dest, times, AT_SYMLINK_NOFOLLOW);
	return r;
}

static int copy_range(struct gofer_file *in, struct gofer_file *out, uint64_t at, uint64_t end)
{
	while (at < end) {
		ssize_t n = gofer_copy_file_range(in, at, out, at, end - at);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break; /* it shrank */
		at += (uint64_t)n;
	}
	return 0;
}

static int copy_contents(struct gofer_file *in, struct gofer_file *out, const struct stat *st)
{
	off_t at = 0;
	int r;

	if ((uint64_t)st->st_blocks * 512 >= (uint64_t)st->st_size)
		return copy_range(in, out, 0, (uint64_t)st->st_size);
	/* Sparse: the data only, then the size. */
	while (at < st->st_size) {
		off_t data = gofer_lseek(in, at, SEEK_DATA), hole;

		if (data == -ENXIO)
			break;
		if (data < 0)
			return (int)data;
		hole = gofer_lseek(in, data, SEEK_HOLE);
		if (hole < 0)
			return (int)hole;
		r = copy_range(in, out, (uint64_t)data, (uint64_t)hole);
		if (r < 0)
			return r;
		at = hole;
	}
	return gofer_ftruncate(out, (uint64_t)st->st_size);
}

static int copy_file(struct copy *copy, const char *source, const char *dest, const struct stat *st)
{
	struct gofer_file *in, *out;
	int flags = O_WRONLY | O_CREAT | (copy->o->no_clobber ? O_EXCL : O_TRUNC);
	mode_t mode = copy->o->preserve ? 0600 : st->st_mode & 0777;
	struct stat existing;
	int r;

	r = gofer_open(copy->from->ns, source, O_RDONLY, 0, &in);
	if (r < 0) {
		failed(copy, r, "read", copy->from, source);
		return r;
	}
	if (copy->from == copy->to && gofer_stat(copy->to->ns, dest, 0, &existing) == 0 &&
	    existing.st_ino == st->st_ino && existing.st_dev == st->st_dev) {
		cli_warn(copy->c, "%s:%s and %s:%s are the same file", copy->from->name, source,
			 copy->to->name, dest);
		copy->c->status = CLI_FAILED;
		copy->result = -EINVAL;
		gofer_close(in);
		return -EINVAL;
	}
	r = gofer_open(copy->to->ns, dest, flags, mode, &out);
	if (r < 0 && r != -EEXIST && r != -ENOENT && r != -EISDIR && copy->o->force &&
	    gofer_unlink(copy->to->ns, dest) == 0)
		r = gofer_open(copy->to->ns, dest, flags, mode, &out);
	if (r < 0) {
		gofer_close(in);
		if (r == -EEXIST && copy->o->no_clobber)
			return 1;
		failed(copy, r, "write", copy->to, dest);
		return r;
	}
	r = copy_contents(in, out, st);
	gofer_close(in);
	if (r < 0)
		gofer_close(out);
	else
		r = gofer_close(out);
	if (r < 0)
		failed(copy, r, "copy to", copy->to, dest);
	return r;
}

/* Makes again what is not a regular file and not a directory; an existing file is replaced where -f
 * or -a say so. */
static int copy_special(struct copy *copy, const char *source, const char *dest,
			const struct stat *st)
{
	struct gofer_namespace *ns = copy->to->ns;
	char target[4096] = "";
	int r = 0;

	if (S_ISLNK(st->st_mode)) {
		ssize_t n = gofer_readlink(copy->from->ns, source, target, sizeof(target) - 1);

		if (n < 0) {
			failed(copy, (int)n, "read", copy->from, source);
			return (int)n;
		}
		target[n] = '\0';
	}
	for (int i = 0; i < 2; i++) {
		r = S_ISLNK(st->st_mode)
			    ? gofer_symlink(ns, target, dest)
			    : gofer_mknod(ns, dest, (st->st_mode & S_IFMT) | (st->st_mode & 0777),
					  st->st_rdev);
		if (r != -EEXIST || copy->o->no_clobber)
			break;
		r = gofer_unlink(ns, dest);
		if (r < 0)
			break;
	}
	if (r == -EEXIST)
		return 1;
	if (r < 0)
		failed(copy, r, "make", copy->to, dest);
	return r;
}

/* 1 where the file was linked to an earlier copy of itself. */
static int link_seen(struct copy *copy, const char *dest, const struct stat *st)
{
	struct seen *grown;

	if (!copy->o->preserve || !copy->o->recursive || st->st_nlink < 2)
		return 0;
	for (size_t i = 0; i < copy->n_seen; i++) {
		int r;

		if (copy->seen[i].ino != st->st_ino || copy->seen[i].dev != st->st_dev)
			continue;
		r = gofer_link(copy->to->ns, copy->seen[i].dest, dest, 0);
		if (r == -EEXIST && !copy->o->no_clobber && gofer_unlink(copy->to->ns, dest) == 0)
			r = gofer_link(copy->to->ns, copy->seen[i].dest, dest, 0);
		if (r < 0)
			failed(copy, r, "link", copy->to, dest);
		return r < 0 ? r : 1;
	}
	grown = reallocarray(copy->seen, copy->n_seen + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	copy->seen = grown;
	copy->seen[copy->n_seen++] = (struct seen){ st->st_dev, st->st_ino, cli_strdup(dest) };
	return 0;
}

static void say(struct copy *copy, const char *source, const char *dest)
{
	if (!copy->o->verbose)
		return;
	printf("'%s:", copy->from->name);
	cli_put_name(copy->c, source);
	printf("' -> '%s:", copy->to->name);
	cli_put_name(copy->c, dest);
	printf("'\n");
}

static void copy_one(struct copy *copy, const char *source, const char *dest,
		     const struct stat *st);

static void copy_directory(struct copy *copy, const char *source, const char *dest,
			   const struct stat *st)
{
	_cleanup_list_ struct cli_list l = { 0 };
	struct stat made;
	int r;

	if (copy->has_root && copy->from == copy->to && st->st_ino == copy->root.st_ino &&
	    st->st_dev == copy->root.st_dev) {
		cli_warn(copy->c, "cannot copy %s:%s into itself", copy->from->name, source);
		copy->c->status = CLI_FAILED;
		copy->result = -EINVAL;
		return;
	}
	/* Listed before it is made: a copy into itself would otherwise find itself. */
	r = cli_list_read(copy->from->ns, source, 0, &l);
	if (r < 0) {
		failed(copy, r, "list", copy->from, source);
		return;
	}
	r = gofer_mkdir(copy->to->ns, dest, copy->o->preserve ? 0700 : (st->st_mode & 0777) | 0700);
	if (r == 0)
		say(copy, source, dest);
	if (r == -EEXIST) {
		r = gofer_stat(copy->to->ns, dest, 0, &made);
		if (r == 0 && !S_ISDIR(made.st_mode))
			r = -ENOTDIR;
	}
	if (r < 0) {
		failed(copy, r, "make directory", copy->to, dest);
		return;
	}
	if (!copy->has_root && gofer_stat(copy->to->ns, dest, 0, &copy->root) == 0)
		copy->has_root = true;
	for (size_t i = 0; i < l.n && !cli_stops(copy->c); i++) {
		_cleanup_free_ char *from = cli_join(source, l.entries[i].name);
		_cleanup_free_ char *to = cli_join(dest, l.entries[i].name);

		if (l.entries[i].has_stat)
			copy_one(copy, from, to, &l.entries[i].st);
	}
	r = preserve(copy, source, dest, st);
	if (r < 0)
		failed(copy, r, "set the attributes of", copy->to, dest);
}

static void copy_one(struct copy *copy, const char *source, const char *dest, const struct stat *st)
{
	int r;

	if (S_ISDIR(st->st_mode)) {
		copy_directory(copy, source, dest, st);
		return;
	}
	r = link_seen(copy, dest, st);
	if (r == 0)
		r = S_ISREG(st->st_mode) ? copy_file(copy, source, dest, st)
					 : copy_special(copy, source, dest, st);
	else if (r == 1) {
		say(copy, source, dest);
		return;
	}
	if (r != 0)
		return;
	say(copy, source, dest);
	r = preserve(copy, source, dest, st);
	if (r < 0)
		failed(copy, r, "set the attributes of", copy->to, dest);
}

int cli_copy_tree(struct cli *c, const struct cli_volume *from, const char *source,
		  const struct cli_volume *to, const char *dest, const struct cli_copy_options *o)
{
	struct copy copy = { .c = c, .from = from, .to = to, .o = o };
	mode_t mask = umask(0);
	struct stat st;
	int r;

	umask(mask);
	r = gofer_stat(from->ns, source, o->no_dereference ? AT_SYMLINK_NOFOLLOW : 0, &st);
	if (r < 0) {
		cli_path_error(c, r, NULL, from, source);
		return r;
	}
	if (S_ISDIR(st.st_mode) && !o->recursive) {
		cli_warn(c, "%s:%s is a directory; use -r to copy it", from->name, source);
		c->status = CLI_FAILED;
		return -EISDIR;
	}
	gofer_umask(to->ns, o->preserve ? 0 : mask);
	copy_one(&copy, source, dest, &st);
	gofer_umask(to->ns, 0);
	for (size_t i = 0; i < copy.n_seen; i++)
		free(copy.seen[i].dest);
	free(copy.seen);
	return copy.result;
}

static int run(int argc, char **argv)
{
	struct cli_copy_options o = { 0 };
	_cleanup_path_ struct cli_path to = { 0 };
	bool plain = false, into;
	struct cli c;
	int key;

	cli_begin(&c, &spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		o.recursive |= key == 'r' || key == 'R' || key == 'a';
		o.preserve |= key == 'p' || key == 'a';
		o.no_dereference |= key == 'P' || key == 'a' || key == 'r' || key == 'R';
		o.force |= key == 'f';
		o.no_clobber |= key == 'n';
		o.verbose |= key == 'v';
		plain |= key == 'T';
	}
	if (cli_need_operands(&c, 2, plain ? 2 : -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	if (cli_destination(&c, plain, &to, &into) < 0)
		return cli_end(&c);
	for (int i = 0; i < c.argc - 1 && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path from = { 0 };
		_cleanup_free_ char *name = NULL;
		_cleanup_free_ char *dest = NULL;

		if (cli_split(&c, c.argv[i], &from) < 0)
			continue;
		name = cli_basename(from.path);
		/* A root has no name: its contents go into the destination. */
		dest = into && *name ? cli_join(to.path, name) : cli_strdup(to.path);
		cli_copy_tree(&c, from.volume, from.path, to.volume, dest, &o);
	}
	return cli_end(&c);
}

const struct verb verb_cp = { "cp", "copy on the server", run, &spec };
