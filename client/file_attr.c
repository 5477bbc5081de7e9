/*
 * file_attr.c - attributes of open files, and the name of an unnamed one.
 */
#include <fcntl.h>

#include "client/content.h"
#include "client/mapping.h"

int gofer_fstat(struct gofer_file *file, struct stat *ret_st)
{
	Gofer__Attr attr;
	struct stat st;
	int r;

	if (file->fd >= 0) {
		if (fstat(file->fd, &st) < 0)
			return fail_path(-errno, "fstat", file->path);
		/* As the server says it, see file.h. */
		st.st_dev = file->dev;
		st.st_ino = file->ino;
		if (st.st_uid == file->native_uid)
			st.st_uid = file->server_uid;
		if (st.st_gid == file->native_gid)
			st.st_gid = file->server_gid;
		*ret_st = st;
		return 0;
	}
	r = content_stat(file, &attr);
	if (r < 0)
		return fail_path(r, "fstat", file->path);
	attr_to_stat(&attr, ret_st);
	return 0;
}

static int set_attr(struct gofer_file *file, Gofer__SetAttrRequest *m, const char *op)
{
	struct path_call c = { .type = RPC_TYPE_SetAttr,
			       .message = &m->base,
			       .session = file->mount->session,
			       .fd = -1 };
	Gofer__Path where;
	int r;

	r = file->mount->read_only ? -EROFS : file_path(file, &where);
	/* What was written before would change the times again, and the set-id bits. */
	if (r == 0 && m->mask != GOFER__SET_ATTR_MASK__SET_SIZE)
		r = content_settle(file);
	if (r == 0) {
		m->path = &where;
		c.path[0] = &where;
		r = path_call_simple(&c, -EIO);
	}
	return r < 0 ? fail_path(r, op, file->path) : 0;
}

int gofer_ftruncate(struct gofer_file *file, uint64_t size)
{
	Gofer__SetAttrRequest m = GOFER__SET_ATTR_REQUEST__INIT;
	struct mapping_change mapped;
	struct page_change change;
	int r;

	if (size > INT64_MAX)
		return fail_path(-EINVAL, "truncate", file->path);
	if (file->access != O_WRONLY && file->access != O_RDWR)
		return fail_path(file->access == O_PATH ? -EBADF : -EINVAL, "truncate", file->path);
	m.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
	m.size = size;
	mapping_change_begin(&mapped, file);
	if (file->fd >= 0) {
		r = ftruncate(file->fd, (off_t)size) < 0 ? fail_path(-errno, "truncate", file->path)
							 : 0;
	} else {
		r = content_change_begin(file, &change, size, UINT64_MAX);
		if (r == 0) {
			r = set_attr(file, &m, "truncate");
			content_change_end(file, &change, r < 0 ? PAGE_SIZE_UNKNOWN : PAGE_SIZE_IS,
					   size);
		} else {
			(void)fail_path(r, "truncate", file->path);
		}
	}
	mapping_resized(&mapped, r, size);
	mapping_change_end(&mapped);
	return r;
}

int gofer_fchmod(struct gofer_file *file, mode_t mode)
{
	Gofer__SetAttrRequest m = GOFER__SET_ATTR_REQUEST__INIT;

	m.mask = GOFER__SET_ATTR_MASK__SET_MODE;
	m.mode = mode & 07777;
	return set_attr(file, &m, "chmod");
}

int gofer_fchown(struct gofer_file *file, uid_t uid, gid_t gid)
{
	Gofer__SetAttrRequest m = GOFER__SET_ATTR_REQUEST__INIT;

	m.mask = (uid != (uid_t)-1 ? GOFER__SET_ATTR_MASK__SET_UID : 0) |
		 (gid != (gid_t)-1 ? GOFER__SET_ATTR_MASK__SET_GID : 0);
	m.uid = uid != (uid_t)-1 ? uid : 0;
	m.gid = gid != (gid_t)-1 ? gid : 0;
	return set_attr(file, &m, "chown");
}

int gofer_futimens(struct gofer_file *file, const struct timespec times[2])
{
	Gofer__SetAttrRequest m = GOFER__SET_ATTR_REQUEST__INIT;
	int r = attr_set_times(&m, times);

	if (r == 0 && m.mask == 0)
		return 0; /* UTIME_OMIT twice */
	return r < 0 ? fail_path(r, "utimens", file->path) : set_attr(file, &m, "utimens");
}

int gofer_flink(struct gofer_file *file, const char *path)
{
	Gofer__LinkRequest m = GOFER__LINK_REQUEST__INIT;
	Gofer__Path source, dest = GOFER__PATH__INIT;
	_cleanup_lookup_ struct lookup l;
	struct path_call c = { .type = RPC_TYPE_Link,
			       .message = &m.base,
			       .lookup = { NULL, &l },
			       .path = { &source, &dest },
			       .mount = file->mount,
			       .at_root = -EEXIST,
			       .fd = -1 };
	int r;

	r = lookup_init(&l, file->ns, path);
	if (r == 0)
		r = file_path(file, &source);
	if (r == 0) {
		source.nofollow = true;
		m.source = &source;
		m.dest = &dest;
		r = path_call_simple(&c, -EEXIST);
	}
	return r < 0 ? fail_path(r, "link", path) : 0;
}
