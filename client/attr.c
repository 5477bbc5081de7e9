/*
 * attr.c - attributes of the wire as struct stat and struct statx. What the server said was checked
 * on arrival (reply.c).
 */
#include <string.h>
#include <sys/sysmacros.h>

#include "client/namespace.h"

void attr_to_stat(const Gofer__Attr *a, struct stat *ret_st)
{
	*ret_st = (struct stat){
		.st_dev = a->dev,
		.st_ino = a->ino,
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_rdev = a->rdev,
		.st_size = (off_t)a->size,
		.st_blksize = a->blksize ? (blksize_t)a->blksize : 4096,
		.st_blocks = (blkcnt_t)a->blocks,
		.st_atim = { a->atime, a->atime_nsec },
		.st_mtim = { a->mtime, a->mtime_nsec },
		.st_ctim = { a->ctime, a->ctime_nsec },
	};
}

void attr_to_statx(const Gofer__Attr *a, struct statx *ret_stx)
{
	*ret_stx = (struct statx){
		.stx_mask = STATX_BASIC_STATS,
		.stx_blksize = a->blksize ? a->blksize : 4096,
		.stx_nlink = a->nlink,
		.stx_uid = a->uid,
		.stx_gid = a->gid,
		.stx_mode = (uint16_t)a->mode,
		.stx_ino = a->ino,
		.stx_size = a->size,
		.stx_blocks = a->blocks,
		.stx_atime = { .tv_sec = a->atime, .tv_nsec = a->atime_nsec },
		.stx_mtime = { .tv_sec = a->mtime, .tv_nsec = a->mtime_nsec },
		.stx_ctime = { .tv_sec = a->ctime, .tv_nsec = a->ctime_nsec },
		.stx_btime = { .tv_sec = a->btime, .tv_nsec = a->btime_nsec },
		.stx_rdev_major = major(a->rdev),
		.stx_rdev_minor = minor(a->rdev),
		.stx_dev_major = major(a->dev),
		.stx_dev_minor = minor(a->dev),
	};
	if (a->btime || a->btime_nsec)
		ret_stx->stx_mask |= STATX_BTIME;
}

void attr_synthetic(const char *path, Gofer__Attr *ret_attr)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (const char *p = path; *p; p++)
		hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
	*ret_attr = (Gofer__Attr)GOFER__ATTR__INIT;
	ret_attr->ino = hash ? hash : 1;
	ret_attr->mode = S_IFDIR | 0555;
	ret_attr->nlink = 2;
	ret_attr->blksize = 4096;
}

static bool time_ok(const struct timespec *t)
{
	return t->tv_nsec == UTIME_NOW || t->tv_nsec == UTIME_OMIT ||
	       (t->tv_nsec >= 0 && t->tv_nsec < 1000000000);
}

int attr_set_times(Gofer__SetAttrRequest *m, const struct timespec times[2])
{
	static const struct timespec now[2] = { { .tv_nsec = UTIME_NOW },
						{ .tv_nsec = UTIME_NOW } };

	if (!times)
		times = now;
	if (!time_ok(&times[0]) || !time_ok(&times[1]))
		return -EINVAL;
	if (times[0].tv_nsec == UTIME_NOW) {
		m->mask |= GOFER__SET_ATTR_MASK__SET_ATIME_NOW;
	} else if (times[0].tv_nsec != UTIME_OMIT) {
		m->mask |= GOFER__SET_ATTR_MASK__SET_ATIME;
		m->atime = times[0].tv_sec;
		m->atime_nsec = (uint32_t)times[0].tv_nsec;
	}
	if (times[1].tv_nsec == UTIME_NOW) {
		m->mask |= GOFER__SET_ATTR_MASK__SET_MTIME_NOW;
	} else if (times[1].tv_nsec != UTIME_OMIT) {
		m->mask |= GOFER__SET_ATTR_MASK__SET_MTIME;
		m->mtime = times[1].tv_sec;
		m->mtime_nsec = (uint32_t)times[1].tv_nsec;
	}
	return 0;
}
