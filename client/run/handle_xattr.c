/*
 * handle_xattr.c - extended attributes by path. One RPC each; which names may be set is the server's to say.
 */
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "client/run/call.h"

enum { NAME_SIZE = 256 }; /* XATTR_NAME_MAX and its NUL */

/* What the *xattrat calls of Linux 6.13 pass. */
struct xattr_args {
	uint64_t value;
	uint32_t size, flags;
};

static int read_name(struct call *c, uint64_t address, char name[static NAME_SIZE])
{
	int r = call_read_string(c, address, name, NAME_SIZE);

	if (r == -ENAMETOOLONG || (r == 0 && !name[0]))
		return -ERANGE;
	return r;
}

static int64_t set(struct call *c, const struct path_arg *p, int r, int at_flags)
{
	if (r == -EROFS)
		r = call_read_only(c, p, at_flags & AT_SYMLINK_NOFOLLOW ? CALL_NOFOLLOW : 0);
	return call_result(c, r);
}

static int64_t do_set(struct call *c, uint64_t dirfd, uint64_t path, uint64_t name_address,
		      const struct xattr_args *x, int at_flags)
{
	char name[NAME_SIZE];
	struct path_arg *p;
	int r;

	if (x->flags & ~(unsigned)(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	r = read_name(c, name_address, name);
	if (r == 0 && x->size > sizeof(c->w->value))
		r = -E2BIG;
	if (r == 0 && x->size)
		r = call_read(c, x->value, c->w->value, x->size);
	if (r < 0)
		return r;
	CALL_PATH(c, 0, dirfd, path, at_flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	r = gofer_setxattr(c->w->view, p->text, name, c->w->value, x->size, (int)x->flags,
			   at_flags & AT_SYMLINK_NOFOLLOW);
	return set(c, p, r, at_flags);
}

static int64_t do_get(struct call *c, uint64_t dirfd, uint64_t path, uint64_t name_address,
		      const struct xattr_args *x, int at_flags)
{
	char name[NAME_SIZE];
	struct path_arg *p;
	ssize_t n;
	int r;

	r = read_name(c, name_address, name);
	if (r < 0)
		return r;
	CALL_PATH(c, 0, dirfd, path, at_flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	n = gofer_getxattr(c->w->view, p->text, name, c->w->value,
			   MIN(x->size, sizeof(c->w->value)), at_flags & AT_SYMLINK_NOFOLLOW);
	if (n > 0 && x->size)
		r = call_write(c, x->value, c->w->value, (size_t)n);
	return n < 0 ? call_result(c, (int)n) : r < 0 ? r : n;
}

static int64_t do_list(struct call *c, uint64_t dirfd, uint64_t path, uint64_t list, uint64_t size,
		       int at_flags)
{
	struct path_arg *p;
	ssize_t n;
	int r = 0;

	CALL_PATH(c, 0, dirfd, path, at_flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	n = gofer_listxattr(c->w->view, p->text, (char *)c->w->value,
			    MIN(size, sizeof(c->w->value)), at_flags & AT_SYMLINK_NOFOLLOW);
	if (n > 0 && size)
		r = call_write(c, list, c->w->value, (size_t)n);
	return n < 0 ? call_result(c, (int)n) : r < 0 ? r : n;
}

static int64_t do_remove(struct call *c, uint64_t dirfd, uint64_t path, uint64_t name_address,
			 int at_flags)
{
	char name[NAME_SIZE];
	struct path_arg *p;
	int r = read_name(c, name_address, name);

	if (r < 0)
		return r;
	CALL_PATH(c, 0, dirfd, path, at_flags & AT_EMPTY_PATH, &p);
	if (!p->text[0])
		return call_descriptor(c, p->dirfd);
	r = gofer_removexattr(c->w->view, p->text, name, at_flags & AT_SYMLINK_NOFOLLOW);
	return set(c, p, r, at_flags);
}

#define HERE (uint64_t) AT_FDCWD

/* setxattr(path, name, value, size, flags), getxattr(path, name, value, size) */
static struct xattr_args of_registers(const struct call *c)
{
	return (struct xattr_args){ .value = c->args[2],
				    .size = (uint32_t)MIN(c->args[3], (uint64_t)UINT32_MAX),
				    .flags = c->nr == SYS_setxattr || c->nr == SYS_lsetxattr
						     ? (uint32_t)c->args[4]
						     : 0 };
}

int64_t supervise_setxattr(struct call *c)
{
	struct xattr_args x = of_registers(c);

	return do_set(c, HERE, c->args[0], c->args[1], &x, 0);
}

int64_t supervise_lsetxattr(struct call *c)
{
	struct xattr_args x = of_registers(c);

	return do_set(c, HERE, c->args[0], c->args[1], &x, AT_SYMLINK_NOFOLLOW);
}

int64_t supervise_getxattr(struct call *c)
{
	struct xattr_args x = of_registers(c);

	return do_get(c, HERE, c->args[0], c->args[1], &x, 0);
}

int64_t supervise_lgetxattr(struct call *c)
{
	struct xattr_args x = of_registers(c);

	return do_get(c, HERE, c->args[0], c->args[1], &x, AT_SYMLINK_NOFOLLOW);
}

int64_t supervise_listxattr(struct call *c)
{
	return do_list(c, HERE, c->args[0], c->args[1], c->args[2], 0);
}

int64_t supervise_llistxattr(struct call *c)
{
	return do_list(c, HERE, c->args[0], c->args[1], c->args[2], AT_SYMLINK_NOFOLLOW);
}

int64_t supervise_removexattr(struct call *c)
{
	return do_remove(c, HERE, c->args[0], c->args[1], 0);
}

int64_t supervise_lremovexattr(struct call *c)
{
	return do_remove(c, HERE, c->args[0], c->args[1], AT_SYMLINK_NOFOLLOW);
}

/* ---- the *at calls: (dirfd, path, at_flags, ...) ---- */

static int at_flags_of(const struct call *c)
{
	return c->args[2] & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) ? -EINVAL
									     : (int)c->args[2];
}

static int args_of_memory(struct call *c, struct xattr_args *ret)
{
	if (c->args[5] < sizeof(*ret))
		return -EINVAL;
	if (c->args[5] > sizeof(*ret))
		return -E2BIG;
	return call_read(c, c->args[4], ret, sizeof(*ret));
}

int64_t supervise_setxattrat(struct call *c)
{
	struct xattr_args x;
	int flags = at_flags_of(c), r = flags < 0 ? flags : args_of_memory(c, &x);

	return r < 0 ? r : do_set(c, c->args[0], c->args[1], c->args[3], &x, flags);
}

int64_t supervise_getxattrat(struct call *c)
{
	struct xattr_args x;
	int flags = at_flags_of(c), r = flags < 0 ? flags : args_of_memory(c, &x);

	if (r == 0 && x.flags)
		r = -EINVAL;
	return r < 0 ? r : do_get(c, c->args[0], c->args[1], c->args[3], &x, flags);
}

int64_t supervise_listxattrat(struct call *c)
{
	int flags = at_flags_of(c);

	return flags < 0 ? flags
			 : do_list(c, c->args[0], c->args[1], c->args[3], c->args[4], flags);
}

int64_t supervise_removexattrat(struct call *c)
{
	int flags = at_flags_of(c);

	return flags < 0 ? flags : do_remove(c, c->args[0], c->args[1], c->args[3], flags);
}
