/*
 * plan.c - see plan.h. Both sides know files by their place in a small table; a place that holds no
 * file is EBADF on both.
 */
#include "tests/fuzz/plan.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "proto/rpc.h"

/* What a plan does with each RPC: a row without an answer does not build. */
#define COMPARED_Hello "each plan's session begins with it"
#define COMPARED_SetIdentity "differential.c: here the session's own identity acts"
#define COMPARED_Cancel "no system call does that: target session"
#define COMPARED_Ping "no system call does that: target session"
#define COMPARED_Stats "no system call does that: target session"
#define COMPARED_Channel "no system call does that: target session"
#define COMPARED_Leave "no system call does that: target session"
#define COMPARED_Stat "stat, lstat, fstat"
#define COMPARED_Access "access"
#define COMPARED_Open "open, tmpfile, opened"
#define COMPARED_ReadFile "read-file"
#define COMPARED_WriteFile "write-file"
#define COMPARED_ReadDir "readdir"
#define COMPARED_ReadLink "readlink"
#define COMPARED_Mkdir "mkdir"
#define COMPARED_Mknod "mknod"
#define COMPARED_Symlink "symlink"
#define COMPARED_Link "link, flink"
#define COMPARED_Unlink "unlink, rmdir"
#define COMPARED_Rename "rename"
#define COMPARED_SetAttr "chmod, chown, utimens, truncate, and by file"
#define COMPARED_GetXattr "getxattr"
#define COMPARED_SetXattr "setxattr"
#define COMPARED_ListXattr "listxattr"
#define COMPARED_RemoveXattr "removexattr"
#define COMPARED_StatFs "statfs"
#define COMPARED_Connect "connect"
#define COMPARED_Watch \
	"cache_model.c, cache_histories.c: against Stat and the host, while others change things"
#define COMPARED_Read "read"
#define COMPARED_Write "write"
#define COMPARED_Sync "fsync"
#define COMPARED_Allocate "allocate"
#define COMPARED_Seek "seek"
#define COMPARED_Copy "copy"
#define COMPARED_Close "close"
#define RPC(Name, snake, type, reply, flags)                                               \
	_Static_assert(sizeof(COMPARED_##Name) > 1, #Name ": how is it compared with the " \
							  "kernel?");
#include "proto/rpc.def"
#undef RPC

const char *plan_kind_name(unsigned kind)
{
	static const char *const names[] = {
		"opened", "read",   "write",     "seek",       "fstat",    "ftruncate",
		"fchmod", "fchown", "futimens",  "fsync",      "allocate", "copy",
		"flink",  "close",  "read-file", "write-file", "connect",
	};

	_Static_assert(ARRAY_SIZE(names) == PLAN_KINDS - OP_COUNT, "a name for each");
	return kind < OP_COUNT ? kind_names[kind] : names[kind - OP_COUNT];
}

/* ---- from bytes ---- */

bool plan_can_flink, plan_has_ids;

static const char *const names[] = { "a",    "b",       "c",    "file",   "deep",     "link",
				     "up",   "abs",     "out",  "loop",   "empty",    "big",
				     "fifo", "sock",    "many", "locked", "sticky",   "..",
				     ".",    "new",     "new2", "theirs", "readonly", "m1",
				     "",     "nothere", "swap", "outside" };

/* What is in the tree, to begin with: most operations should find something. */
static const char *const places[] = { "a",    "a/b",   "a/b/c", "a/b/c/deep", "a/file", "a/link",
				      "file", "empty", "big",   "many/m1",    "many",   "a/b/c/new",
				      "new",  "a/new", "link",  "sticky" };

/*
 * how: bit 0 absolute; bits 2 and 3: one to four of the names, or for most, by bit 4 or 5: a place,
 * and then none to two of them; bits 6 and 7: a slash at the end, rarely.
 */
static void parse_path(char out[PATH_SIZE], uint8_t how, const uint8_t *bytes)
{
	size_t n = how >> 2 & 3, used = 0;

	out[0] = '\0';
	if (how & 1)
		out[used++] = '/';
	if (how & 0x30) {
		used += (size_t)snprintf(out + used, PATH_SIZE - used, "%s",
					 places[bytes[3] % ARRAY_SIZE(places)]);
		n = n == 3 ? 2 : n == 2;
	} else {
		n++;
	}
	for (size_t i = 0; i < n; i++)
		used += (size_t)snprintf(out + used, PATH_SIZE - used, "%s%s",
					 i || (how & 0x30) ? "/" : "",
					 names[bytes[i] % ARRAY_SIZE(names)]);
	snprintf(out + used, PATH_SIZE - used, "%s", how >> 6 == 1 && (how & 2) ? "/" : "");
}

static const int open_flags[] = {
	O_RDONLY,
	O_RDWR,
	O_WRONLY,
	O_RDWR | O_CREAT,
	O_RDWR | O_CREAT | O_EXCL,
	O_WRONLY | O_CREAT | O_TRUNC,
	O_RDWR | O_TRUNC,
	O_WRONLY | O_APPEND,
	O_RDWR | O_APPEND | O_CREAT,
	O_RDONLY | O_DIRECTORY,
	O_RDONLY | O_NOFOLLOW,
	O_RDWR | O_NOFOLLOW | O_CREAT,
	O_RDONLY | O_NOATIME,
	O_WRONLY | O_SYNC,
	O_RDWR | O_TMPFILE,
};

static void parse_flags(struct plan_op *p, uint16_t bits)
{
	static const int renames[] = { 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	static const int xattrs[] = { 0, XATTR_CREATE, XATTR_REPLACE };
	static const uint32_t types[] = { S_IFIFO, S_IFREG, S_IFSOCK, 0 };
	static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE,
				     FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
				     FALLOC_FL_ZERO_RANGE };

	switch ((unsigned)p->op.kind) {
	case OP_OPEN:
	case PLAN_OPEN:
		p->op.flags = open_flags[bits % ARRAY_SIZE(open_flags)];
		break;
	case OP_TMPFILE:
		p->op.flags = O_TMPFILE | (bits & 1 ? O_RDWR : O_WRONLY);
		break;
	case OP_ACCESS:
		p->op.mode = bits & 7;
		break;
	case OP_MKNOD:
		p->op.mode |= types[bits % ARRAY_SIZE(types)];
		break;
	case OP_LINK:
		p->op.flags = bits & 1 ? AT_SYMLINK_FOLLOW : 0;
		break;
	case OP_RENAME:
		p->op.flags = renames[bits % ARRAY_SIZE(renames)];
		break;
	case OP_SETXATTR:
		p->op.flags = xattrs[bits % ARRAY_SIZE(xattrs)];
		break;
	case PLAN_ALLOCATE:
		p->op.flags = modes[bits % ARRAY_SIZE(modes)];
		break;
	case PLAN_WRITE_FILE:
		p->op.flags = bits & 1 ? O_EXCL : 0;
		break;
	default:
		p->op.flags = bits & 1;
	}
}

static void parse_value(struct op *op, uint8_t which, uint8_t seed)
{
	static const char *const attributes[] = { "user.a", "user.b", "system.posix_acl_access",
						  "system.posix_acl_default" };
	static const uint8_t acl[] = {
		2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 4,   0,
		4, 0, 255, 255, 255, 255, 32, 0, 4,   0,   255, 255, 255, 255
	};

	snprintf(op->name, sizeof(op->name), "%s", attributes[which % 4]);
	op->value_len = which % 4 < 2 ? seed % 20 : sizeof(acl);
	memset(op->value, 'a' + seed % 26, sizeof(op->value));
	if (which % 4 < 2)
		return;
	memcpy(op->value, acl, sizeof(acl));
	op->value[6] = seed & 7;
	op->value[14] = seed >> 3 & 7;
	op->value[22] = seed >> 5 & 7;
}

void plan_parse(struct plan *plan, const uint8_t *data, size_t size)
{
	static const uint16_t masks[] = { 022, 0, 077, 027 };
	static const uint32_t ids[] = { UINT32_MAX, 1000, 1003, 1001, 0 };

	memset(plan, 0, sizeof(*plan));
	for (; size >= PLAN_STEP && plan->n < PLAN_MAX; data += PLAN_STEP, size -= PLAN_STEP) {
		struct plan_op *p = &plan->ops[plan->n++];
		struct op *op = &p->op;

		op->kind = data[0] % PLAN_KINDS;
		if ((unsigned)op->kind == PLAN_FLINK && !plan_can_flink)
			op->kind = (enum kind)PLAN_FSTAT;
		p->file = data[1] % PLAN_FILES;
		p->other_file = (data[1] >> 2) % PLAN_FILES;
		op->umask = masks[(data[1] >> 4) % ARRAY_SIZE(masks)];
		op->mode = (data[4] | (uint32_t)data[5] << 8) & 07777;
		op->size = data[6] | (uint64_t)data[7] << 8;
		p->offset = op->size;
		p->count = 1 + (data[8] | (uint64_t)(data[9] & 15) << 8);
		op->uid = ids[data[8] % ARRAY_SIZE(ids)];
		op->gid = ids[data[9] % ARRAY_SIZE(ids)];
		if (!plan_has_ids) {
			op->uid = op->uid % 2 ? UINT32_MAX : getuid();
			op->gid = op->gid % 2 ? UINT32_MAX : getgid();
		}
		parse_path(op->path, data[10], data + 11);
		parse_path(op->other, data[15], data + 16);
		parse_value(op, data[20], data[21]);
		parse_flags(p, (uint16_t)(data[2] | data[3] << 8));
	}
}

/* ---- what both sides do with an open file ---- */

static void pattern(uint8_t *buf, const struct plan_op *p)
{
	memset(buf, 'A' + (int)(p->offset % 26), p->count);
}

static int whence(const struct plan_op *p)
{
	static const int all[] = { SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE };

	return all[p->count % ARRAY_SIZE(all)];
}

/* ---- by system calls ---- */

static int native_read_file(const struct op *op, struct outcome *o)
{
	_cleanup_fd_ int fd = open(op->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	static char buf[400000];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	n = pread(fd, buf, sizeof(buf), 0); /* ReadFile has an offset */
	if (n < 0)
		return -errno;
	keep_stat(o, &st);
	o->digest = digest_bytes(o->digest, buf, (size_t)n);
	return 0;
}

static int native_write_file(const struct plan_op *p)
{
	uint8_t buf[5000];
	_cleanup_fd_ int fd =
		open(p->op.path,
		     O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | p->op.flags,
		     p->op.mode);

	pattern(buf, p);
	if (fd < 0)
		return -errno;
	return result(pwrite(fd, buf, p->count, 0));
}

static int native_connect(const struct op *op)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	_cleanup_fd_ int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(op->path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, op->path);
	/* An empty name would be an abstract one. */
	if (!*op->path)
		return -ENOENT;
	return result(connect(sock, (struct sockaddr *)&a, sizeof(a)));
}

static int native_file(const struct plan_op *p, int *files, struct outcome *o)
{
	int *fd = &files[p->file], other = files[p->other_file];
	struct timespec times[2];
	uint8_t buf[5000];
	struct stat st;
	off_t from, to;
	ssize_t n;

	if ((unsigned)p->op.kind == PLAN_OPEN) {
		*fd = fd_close(*fd);
		*fd = open(p->op.path, p->op.flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, p->op.mode);
		return result(*fd);
	}
	if (*fd < 0)
		return -EBADF;
	switch ((unsigned)p->op.kind) {
	case PLAN_READ:
		n = pread(*fd, buf, p->count, (off_t)p->offset);
		if (n >= 0)
			o->digest = digest_bytes((uint64_t)n, buf, (size_t)n);
		return result(n);
	case PLAN_WRITE:
		pattern(buf, p);
		n = pwrite(*fd, buf, p->count, (off_t)p->offset);
		o->size = n;
		return result(n);
	case PLAN_SEEK:
		/* A directory's offset means something to its file system only. */
		if (fstat(*fd, &st) < 0 || !S_ISREG(st.st_mode))
			return -EOPNOTSUPP;
		from = lseek(*fd, (off_t)p->offset, whence(p));
		o->size = from;
		return from < 0 ? -errno : 0;
	case PLAN_FSTAT:
		if (fstat(*fd, &st) < 0)
			return -errno;
		keep_stat(o, &st);
		return 0;
	case PLAN_FTRUNCATE:
		return result(ftruncate(*fd, (off_t)p->op.size));
	case PLAN_FCHMOD:
		return result(fchmod(*fd, p->op.mode));
	case PLAN_FCHOWN:
		return result(fchown(*fd, p->op.uid, p->op.gid));
	case PLAN_FUTIMENS:
		op_times(&p->op, times);
		return result(futimens(*fd, p->op.flags ? NULL : times));
	case PLAN_FSYNC:
		return result(p->op.flags ? fdatasync(*fd) : fsync(*fd));
	case PLAN_ALLOCATE:
		return result(fallocate(*fd, p->op.flags, (off_t)p->offset, (off_t)p->count));
	case PLAN_COPY:
		if (other < 0)
			return -EBADF;
		from = (off_t)p->offset;
		to = (off_t)(p->op.mode);
		n = copy_file_range(*fd, &from, other, &to, p->count, 0);
		o->size = n;
		return result(n);
	case PLAN_FLINK:
		return result(linkat(*fd, "", AT_FDCWD, p->op.other, AT_EMPTY_PATH));
	default:
		*fd = fd_close(*fd);
		return 0;
	}
}

void plan_run_native(const struct plan *plan, struct outcome ret_outcomes[PLAN_MAX])
{
	int files[PLAN_FILES] = { -EBADF, -EBADF, -EBADF };

	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_op *p = &plan->ops[i];
		struct outcome *o = &ret_outcomes[i];
		int r;

		*o = (struct outcome){ 0 };
		umask(p->op.umask);
		switch ((unsigned)p->op.kind) {
		case PLAN_READ_FILE:
			r = native_read_file(&p->op, o);
			break;
		case PLAN_WRITE_FILE:
			r = native_write_file(p);
			break;
		case PLAN_CONNECT:
			r = native_connect(&p->op);
			break;
		default:
			r = p->op.kind < OP_COUNT ? native_do(&p->op, o) : native_file(p, files, o);
		}
		o->error = -r;
	}
	for (size_t i = 0; i < PLAN_FILES; i++)
		fd_close(files[i]);
	umask(0);
}

/* ---- through libgofer ---- */

static int gofer_whole(struct gofer_namespace *ns, const struct plan_op *p, struct outcome *o)
{
	uint8_t buf[5000];
	_cleanup_fd_ int sock = -EBADF;
	_cleanup_free_ void *data = NULL;
	struct stat st;
	size_t size;
	int r;

	switch ((unsigned)p->op.kind) {
	case PLAN_READ_FILE:
		r = gofer_read_file(ns, p->op.path, &data, &size, &st);
		if (r == 0) {
			keep_stat(o, &st);
			o->digest = digest_bytes(o->digest, data, MIN(size, (size_t)400000));
		}
		return r;
	case PLAN_WRITE_FILE:
		pattern(buf, p);
		return gofer_write_file(ns, p->op.path, buf, p->count, p->op.mode,
					p->op.flags ? GOFER_WRITE_EXCLUSIVE : 0);
	default:
		sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		return gofer_connect(ns, p->op.path, sock);
	}
}

static int gofer_file_do(struct gofer_namespace *ns, const struct plan_op *p,
			 struct gofer_file **files, struct outcome *o)
{
	struct gofer_file **f = &files[p->file], *other = files[p->other_file];
	struct timespec times[2];
	uint8_t buf[5000];
	struct stat st;
	ssize_t n;
	int r;

	if ((unsigned)p->op.kind == PLAN_OPEN) {
		if (*f)
			(void)gofer_close(*f);
		*f = NULL;
		return gofer_open(ns, p->op.path, p->op.flags | O_NONBLOCK, p->op.mode, f);
	}
	if (!*f)
		return -EBADF;
	switch ((unsigned)p->op.kind) {
	case PLAN_READ:
		n = gofer_pread(*f, buf, p->count, p->offset);
		if (n >= 0)
			o->digest = digest_bytes((uint64_t)n, buf, (size_t)n);
		return n < 0 ? (int)n : 0;
	case PLAN_WRITE:
		pattern(buf, p);
		n = gofer_pwrite(*f, buf, p->count, p->offset);
		o->size = n;
		return n < 0 ? (int)n : 0;
	case PLAN_SEEK:
		if (gofer_fstat(*f, &st) < 0 || !S_ISREG(st.st_mode))
			return -EOPNOTSUPP;
		n = gofer_lseek(*f, (off_t)p->offset, whence(p));
		o->size = n;
		return n < 0 ? (int)n : 0;
	case PLAN_FSTAT:
		r = gofer_fstat(*f, &st);
		if (r == 0)
			keep_stat(o, &st);
		return r;
	case PLAN_FTRUNCATE:
		return gofer_ftruncate(*f, p->op.size);
	case PLAN_FCHMOD:
		return gofer_fchmod(*f, p->op.mode);
	case PLAN_FCHOWN:
		return gofer_fchown(*f, p->op.uid, p->op.gid);
	case PLAN_FUTIMENS:
		op_times(&p->op, times);
		return gofer_futimens(*f, p->op.flags ? NULL : times);
	case PLAN_FSYNC:
		return gofer_fsync(*f, p->op.flags);
	case PLAN_ALLOCATE:
		return gofer_fallocate(*f, p->op.flags, p->offset, p->count);
	case PLAN_COPY:
		if (!other)
			return -EBADF;
		n = gofer_copy_file_range(*f, p->offset, other, p->op.mode, p->count);
		o->size = n;
		return n < 0 ? (int)n : 0;
	case PLAN_FLINK:
		return gofer_flink(*f, p->op.other);
	default:
		r = gofer_close(*f);
		*f = NULL;
		return r;
	}
}

void plan_run_gofer(const struct plan *plan, struct gofer_namespace *ns,
		    struct outcome ret_outcomes[PLAN_MAX])
{
	struct gofer_file *files[PLAN_FILES] = { NULL };

	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_op *p = &plan->ops[i];
		struct outcome *o = &ret_outcomes[i];
		int r;

		*o = (struct outcome){ 0 };
		(void)gofer_umask(ns, p->op.umask);
		if (p->op.kind < OP_COUNT)
			r = gofer_do(ns, &p->op, o);
		else if ((unsigned)p->op.kind >= PLAN_READ_FILE)
			r = gofer_whole(ns, p, o);
		else
			r = gofer_file_do(ns, p, files, o);
		o->error = -r;
	}
	for (size_t i = 0; i < PLAN_FILES; i++)
		if (files[i])
			(void)gofer_close(files[i]);
}
