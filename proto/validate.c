/*
 * validate.c - the one place where a peer's numbers and byte strings are judged, apart from the code that acts on them.
 *
 * Each function sees one decoded request and the header of its frame, and looks at no object: what it lets through is well-formed,
 * not allowed. Sums are checked against INT64_MAX (off_t), counts against what a frame can hold. Handles, filesystem and identity
 * numbers are looked up later, by the session that they belong to.
 */
#include "proto/validate.h"

#include <string.h>
#include <sys/stat.h>

#include "common/path.h"
#include "proto/channel.h"
#include "proto/rpc.h"

enum {
	MAX_FOLLOW = 40,
	MAX_GROUPS = 65536, /* NGROUPS_MAX */
	MAX_MANY = 4096,    /* handles in one Close or Sync */
	MAX_XATTR_NAME = 255,
	MAX_XATTR_SIZE = 65536, /* XATTR_SIZE_MAX, XATTR_LIST_MAX */
	MAX_STRING = 256,
	MAX_FEATURES = 64,
};

static bool fits_off_t(uint64_t offset, uint64_t length)
{
	return offset <= INT64_MAX && length <= (uint64_t)INT64_MAX - offset;
}

static int check_path(const Gofer__Path *p)
{
	if (!p || p->follow > MAX_FOLLOW)
		return -EINVAL;
	return path_validate(p->path.data, p->path.len);
}

/* A path of a request that has side effects: nothing is followed on speculation. */
static int check_path_strict(const Gofer__Path *p)
{
	if (p && p->follow)
		return -EINVAL;
	return check_path(p);
}

static int check_two_paths(const Gofer__Path *source, const Gofer__Path *dest)
{
	int r = check_path_strict(source);

	if (r == 0)
		r = check_path_strict(dest);
	if (r < 0)
		return r;
	if (source->identity != dest->identity)
		return -EINVAL;
	return source->fs_id == dest->fs_id ? 0 : -EXDEV;
}

static int check_umask(uint32_t umask)
{
	return umask & ~0777u ? -EINVAL : 0;
}

static int check_mode(uint32_t mode, uint32_t umask)
{
	return mode & ~07777u ? -EINVAL : check_umask(umask);
}

static int check_xattr_name(const ProtobufCBinaryData *name)
{
	if (name->len == 0 || name->len > MAX_XATTR_NAME)
		return -ERANGE;
	return memchr(name->data, 0, name->len) ? -EINVAL : 0;
}

static int check_handles(size_t n)
{
	return n == 0 || n > MAX_MANY ? -EINVAL : 0;
}

/* Opens a function that checks NameRequest as `q`, with the frame's header as `header`. */
#define VALIDATE(Name, snake)                                                                    \
	static int check_##snake(const Gofer__##Name##Request *q,                                \
				 const struct frame_header *header);                             \
	int validate_##snake(const ProtobufCMessage *request, const struct frame_header *header) \
	{                                                                                        \
		return check_##snake((const Gofer__##Name##Request *)request, header);           \
	}                                                                                        \
	static int check_##snake(const Gofer__##Name##Request *q _unused_,                       \
				 const struct frame_header *header _unused_)

VALIDATE(Hello, hello)
{
	if (q->version == 0)
		return -EPROTONOSUPPORT;
	if (q->n_features > MAX_FEATURES || (q->client && strlen(q->client) > MAX_STRING))
		return -EINVAL;
	for (size_t i = 0; i < q->n_features; i++)
		if (strlen(q->features[i]) > MAX_STRING)
			return -EINVAL;
	return q->resume.len == 0 || q->resume.len == RPC_TOKEN_SIZE ? 0 : -EINVAL;
}

VALIDATE(SetIdentity, set_identity)
{
	if (q->id == 0 || q->n_groups > MAX_GROUPS)
		return -EINVAL;
	if (q->uid == UINT32_MAX || q->gid == UINT32_MAX)
		return -EINVAL;
	for (size_t i = 0; i < q->n_groups; i++)
		if (q->groups[i] == UINT32_MAX)
			return -EINVAL;
	return 0;
}

VALIDATE(Cancel, cancel)
{
	return 0;
}

VALIDATE(Ping, ping)
{
	return 0;
}

VALIDATE(Leave, leave)
{
	return 0;
}

VALIDATE(Stats, stats)
{
	return 0;
}

VALIDATE(Channel, channel)
{
	return q->layout == CHANNEL_LAYOUT ? 0 : -EINVAL;
}

VALIDATE(Stat, stat)
{
	return check_path(q->path);
}

VALIDATE(Access, access)
{
	return q->mode & ~7u ? -EINVAL : check_path(q->path);
}

VALIDATE(Open, open)
{
	const uint32_t known = (GOFER__OPEN_FLAG__OPEN_NOATIME << 1) - 1;
	const uint32_t access = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE;
	const uint32_t changes = GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_TMPFILE;
	uint32_t f = q->flags;

	if (f & ~known)
		return -EINVAL;
	if (f & GOFER__OPEN_FLAG__OPEN_PATH) {
		if (f & ~(uint32_t)(GOFER__OPEN_FLAG__OPEN_PATH | GOFER__OPEN_FLAG__OPEN_DIRECTORY))
			return -EINVAL;
	} else if (!(f & access)) {
		return -EINVAL;
	}
	if ((f & GOFER__OPEN_FLAG__OPEN_EXCLUSIVE) && !(f & changes))
		return -EINVAL;
	if ((f & changes) == changes)
		return -EINVAL;
	if ((f & changes) && (f & GOFER__OPEN_FLAG__OPEN_DIRECTORY))
		return -EINVAL;
	if ((f & GOFER__OPEN_FLAG__OPEN_TMPFILE) &&
	    (!(f & GOFER__OPEN_FLAG__OPEN_WRITE) || (f & GOFER__OPEN_FLAG__OPEN_TRUNCATE)))
		return -EINVAL;
	if ((f & GOFER__OPEN_FLAG__OPEN_ONLY_DONATED) && !(f & GOFER__OPEN_FLAG__OPEN_DONATE))
		return -EINVAL;
	if (!(f & changes) && (q->mode || q->umask))
		return -EINVAL;
	if (q->path && q->path->follow && (f & (changes | GOFER__OPEN_FLAG__OPEN_TRUNCATE)))
		return -EINVAL;
	if (check_mode(q->mode, q->umask) < 0)
		return -EINVAL;
	return check_path(q->path);
}

VALIDATE(ReadFile, read_file)
{
	if (!fits_off_t(q->offset, q->count))
		return -EINVAL;
	return check_path(q->path);
}

VALIDATE(WriteFile, write_file)
{
	int r = check_mode(q->mode, q->umask);

	return r < 0 ? r : check_path_strict(q->path);
}

VALIDATE(ReadDir, read_dir)
{
	if (q->cookie > INT64_MAX)
		return -EINVAL;
	return check_path(q->path);
}

VALIDATE(ReadLink, read_link)
{
	return check_path_strict(q->path);
}

VALIDATE(Mkdir, mkdir)
{
	int r = check_mode(q->mode, q->umask);

	return r < 0 ? r : check_path_strict(q->path);
}

VALIDATE(Mknod, mknod)
{
	int r = check_umask(q->umask);

	if (r < 0)
		return r;
	if (q->mode & ~(uint32_t)(S_IFMT | 07777))
		return -EINVAL;
	switch (q->mode & S_IFMT) {
	case 0:
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
		if (q->rdev)
			return -EINVAL;
		break;
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		return -EINVAL;
	}
	return check_path_strict(q->path);
}

VALIDATE(Symlink, symlink)
{
	if (q->target.len == 0)
		return -ENOENT;
	if (q->target.len > PATH_LEN_MAX)
		return -ENAMETOOLONG;
	if (memchr(q->target.data, 0, q->target.len))
		return -EINVAL;
	return check_path_strict(q->path);
}

VALIDATE(Link, link)
{
	return check_two_paths(q->source, q->dest);
}

VALIDATE(Unlink, unlink)
{
	return check_path_strict(q->path);
}

VALIDATE(Rename, rename)
{
	if (q->flags != GOFER__RENAME_FLAG__RENAME_PLAIN &&
	    q->flags != GOFER__RENAME_FLAG__RENAME_NO_REPLACE &&
	    q->flags != GOFER__RENAME_FLAG__RENAME_SWAP)
		return -EINVAL;
	return check_two_paths(q->source, q->dest);
}

VALIDATE(SetAttr, set_attr)
{
	const uint32_t known = (GOFER__SET_ATTR_MASK__SET_MTIME_NOW << 1) - 1;
	const uint32_t atimes =
		GOFER__SET_ATTR_MASK__SET_ATIME | GOFER__SET_ATTR_MASK__SET_ATIME_NOW;
	const uint32_t mtimes =
		GOFER__SET_ATTR_MASK__SET_MTIME | GOFER__SET_ATTR_MASK__SET_MTIME_NOW;

	if ((q->mask & ~known) || (q->mask & atimes) == atimes || (q->mask & mtimes) == mtimes)
		return -EINVAL;
	if ((q->mask & GOFER__SET_ATTR_MASK__SET_MODE) && (q->mode & ~07777u))
		return -EINVAL;
	if ((q->mask & GOFER__SET_ATTR_MASK__SET_UID) && q->uid == UINT32_MAX)
		return -EINVAL;
	if ((q->mask & GOFER__SET_ATTR_MASK__SET_GID) && q->gid == UINT32_MAX)
		return -EINVAL;
	if ((q->mask & GOFER__SET_ATTR_MASK__SET_SIZE) && q->size > INT64_MAX)
		return -EINVAL;
	if (q->atime_nsec > 999999999 || q->mtime_nsec > 999999999)
		return -EINVAL;
	return check_path_strict(q->path);
}

VALIDATE(GetXattr, get_xattr)
{
	int r = check_xattr_name(&q->name);

	if (r < 0)
		return r;
	return q->size > MAX_XATTR_SIZE ? -E2BIG : check_path(q->path);
}

VALIDATE(SetXattr, set_xattr)
{
	int r = check_xattr_name(&q->name);

	if (r < 0)
		return r;
	if (q->flags > GOFER__XATTR_FLAG__XATTR_ONLY_REPLACE)
		return -EINVAL;
	return header->data_len > MAX_XATTR_SIZE ? -E2BIG : check_path_strict(q->path);
}

VALIDATE(ListXattr, list_xattr)
{
	return q->size > MAX_XATTR_SIZE ? -E2BIG : check_path(q->path);
}

VALIDATE(RemoveXattr, remove_xattr)
{
	int r = check_xattr_name(&q->name);

	return r < 0 ? r : check_path_strict(q->path);
}

VALIDATE(StatFs, stat_fs)
{
	return check_path(q->path);
}

VALIDATE(Connect, connect)
{
	return check_path_strict(q->path);
}

VALIDATE(Watch, watch)
{
	return q->n_drop > MAX_MANY ? -EINVAL : check_path_strict(q->path);
}

VALIDATE(Read, read)
{
	return fits_off_t(q->offset, q->count) ? 0 : -EINVAL;
}

VALIDATE(Write, write)
{
	return fits_off_t(q->offset, header->data_len) ? 0 : -EINVAL;
}

VALIDATE(Sync, sync)
{
	return check_handles(q->n_handles);
}

VALIDATE(Allocate, allocate)
{
	if (q->mode > GOFER__ALLOCATE_MODE__ALLOCATE_ZERO_RANGE || q->length == 0)
		return -EINVAL;
	return fits_off_t(q->offset, q->length) ? 0 : -EFBIG;
}

VALIDATE(Seek, seek)
{
	return q->offset > INT64_MAX ? -EINVAL : 0;
}

VALIDATE(Copy, copy)
{
	return fits_off_t(q->source_offset, q->length) && fits_off_t(q->dest_offset, q->length)
		       ? 0
		       : -EINVAL;
}

VALIDATE(Close, close)
{
	return check_handles(q->n_handles);
}
