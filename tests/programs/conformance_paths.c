/*
 * conformance_paths.c - every system call that takes one path, on every kind of path.
 *
 *	conformance_paths DIRECTORY
 *
 * A table of paths (a file, a directory, links that lead somewhere, nowhere, in a circle, names that are too long, slashes and dots at
 * the end ...) times a table of calls. After each call the tree is compared with what it was and what changed is printed.
 */
#include "tests/programs/conformance.h"

#include <linux/fs.h>
#include <sys/statfs.h>
#include <sys/xattr.h>
#include <utime.h>

static const char *const paths[] = {
	"f",
	"hard",
	"l",
	"ll",
	"la",
	"d",
	"ld",
	"lds",
	"dangling",
	"loop",
	"lns",
	"none",
	"ro",
	"x",
	"fifo",
	"sock",
	"shut",
	"shut/in",
	"shut/..",
	"e",
	"missing",
	"missing/x",
	"f/x",
	"f/",
	"f/.",
	"d/",
	"d/.",
	"d/..",
	"d/../f",
	"d/../d/g",
	"l/",
	"ld/",
	"ld/g",
	"ld/../f",
	"ld/.",
	"d/up",
	"dangling/",
	"missing/",
	"missing/..",
	"loop/x",
	"f/..",
	"l/..",
	"d/deep/../../f",
	"./f",
	".",
	"",
	"d//g",
	"d/deep/x",
	"ld/deep/x",
	"ld/up",
	"lout/x",
	NAME_255,
	NAME_255 "x",
	"d/new",
	"d/new/",
	"ld/new",
	"e/",
	"e/.",
	"ll/",
	"dangling/x",
};

/* ---- opening ---- */

#define F(flags)              \
	{                     \
#flags, flags \
	}
static const struct {
	const char *text;
	int flags;
} open_flags[] = {
	F(O_RDONLY),
	F(O_WRONLY),
	F(O_RDWR),
	F(O_ACCMODE),
	F(O_WRONLY | O_CREAT),
	F(O_RDONLY | O_CREAT),
	F(O_RDWR | O_CREAT | O_EXCL),
	F(O_WRONLY | O_CREAT | O_TRUNC),
	F(O_WRONLY | O_TRUNC),
	F(O_RDONLY | O_TRUNC),
	F(O_WRONLY | O_APPEND),
	F(O_RDONLY | O_DIRECTORY),
	F(O_RDWR | O_DIRECTORY),
	F(O_RDONLY | O_NOFOLLOW),
	F(O_RDONLY | O_NOFOLLOW | O_DIRECTORY),
	F(O_WRONLY | O_CREAT | O_NOFOLLOW),
	F(O_RDONLY | O_CREAT | O_DIRECTORY),
	F(O_PATH),
	F(O_PATH | O_NOFOLLOW),
	F(O_PATH | O_DIRECTORY),
	F(O_PATH | O_DIRECTORY | O_NOFOLLOW),
	F(O_PATH | O_RDWR | O_CREAT | O_TRUNC),
	F(O_TMPFILE | O_RDWR),
	F(O_TMPFILE | O_RDONLY),
	F(O_TMPFILE | O_WRONLY | O_EXCL),
	F(O_RDONLY | O_NOATIME),
	F(O_RDONLY | O_SYNC | O_CLOEXEC),
	F(O_RDWR | O_DSYNC | O_NOCTTY),
	F(O_RDWR | O_DIRECT),
	F(O_RDONLY | O_ASYNC),
	F(O_RDONLY | 0x40000000),
};

static void opens(struct scratch *s)
{
	for (size_t p = 0; p < sizeof(paths) / sizeof(*paths); p++) {
		for (size_t i = 0; i < sizeof(open_flags) / sizeof(*open_flags); i++) {
			/* Never waits for the other end of a FIFO. */
			long fd =
				syscall(SYS_open, paths[p], open_flags[i].flags | O_NONBLOCK, 0640);

			printf("open(\"%.40s\", %s)", paths[p], open_flags[i].text);
			show("", fd);
			look_fd(fd);
			if (fd >= 0)
				close(fd);
			scratch_compare(s);
		}
	}
}

/* ---- everything else ---- */

static struct stat st;
static struct statx stx;
static struct statfs sfs;
static char buffer[4096];
static const struct timespec y2000[2] = { { 946684800, 123456789 }, { 946684801, 987654321 } };
static const struct timeval y2000_us[2] = { { 946684800, 123456 }, { 946684801, 987654 } };
static const struct utimbuf y2000_s = { 946684800, 946684801 };

/* Each is (path) -> result, prints what else it gave. */
#define ONE(name, call)                    \
	static long name(const char *path) \
	{                                  \
		return call;               \
	}

static long say_stat(long result)
{
	if (!result)
		printf("%s; ", describe(&st));
	return result;
}
static long say_statx(long result)
{
	if (!result)
		printf("%c %04o links %u size %lu; ", type_letter(stx.stx_mode),
		       stx.stx_mode & 07777, S_ISDIR(stx.stx_mode) ? 0 : stx.stx_nlink,
		       S_ISDIR(stx.stx_mode) ? 0 : (unsigned long)stx.stx_size);
	return result;
}
static long say_buffer(long result)
{
	if (result > 0)
		printf("\"%.*s\"; ", (int)result, relative(buffer));
	return result;
}
static long say_fs(long result)
{
	if (!result)
		printf("type %lx name %ld; ", (long)sfs.f_type, (long)sfs.f_namelen);
	return result;
}
static long say_times(const char *path, int flags, long result)
{
	struct stat now;
	int error = errno;

	if (!result && !syscall(SYS_newfstatat, AT_FDCWD, path, &now, flags))
		printf("%ld.%09ld %ld.%09ld; ", now.st_atim.tv_sec, now.st_atim.tv_nsec,
		       now.st_mtim.tv_sec, now.st_mtim.tv_nsec);
	errno = error;
	return result;
}
static const char *clear(void)
{
	memset(buffer, 0, sizeof(buffer));
	return "";
}

ONE(c_stat, say_stat(syscall(SYS_stat, path, &st)))
ONE(c_lstat, say_stat(syscall(SYS_lstat, path, &st)))
ONE(c_fstatat_empty, say_stat(syscall(SYS_newfstatat, AT_FDCWD, path, &st, AT_EMPTY_PATH)))
ONE(c_fstatat_noauto,
    say_stat(syscall(SYS_newfstatat, AT_FDCWD, path, &st, AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW)))
ONE(c_fstatat_bad, say_stat(syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0x4)))
ONE(c_statx, say_statx(syscall(SYS_statx, AT_FDCWD, path, 0, STATX_BASIC_STATS, &stx)))
ONE(c_statx_nofollow, say_statx(syscall(SYS_statx, AT_FDCWD, path,
					AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_ALL, &stx)))
ONE(c_access_f, syscall(SYS_access, path, F_OK))
ONE(c_access_r, syscall(SYS_access, path, R_OK))
ONE(c_access_w, syscall(SYS_access, path, W_OK))
ONE(c_access_x, syscall(SYS_access, path, X_OK))
ONE(c_access_bad, syscall(SYS_access, path, 8))
ONE(c_faccessat, syscall(SYS_faccessat, AT_FDCWD, path, R_OK | W_OK))
ONE(c_faccessat2_eff, syscall(SYS_faccessat2, AT_FDCWD, path, R_OK | X_OK, AT_EACCESS))
ONE(c_faccessat2_nofollow, syscall(SYS_faccessat2, AT_FDCWD, path, R_OK, AT_SYMLINK_NOFOLLOW))
ONE(c_faccessat2_empty, syscall(SYS_faccessat2, AT_FDCWD, path, F_OK, AT_EMPTY_PATH))
ONE(c_readlink, say_buffer(syscall(SYS_readlink, *clear() ? path : path, buffer, sizeof(buffer))))
ONE(c_readlink_short, syscall(SYS_readlink, path, buffer, 2))
ONE(c_readlinkat,
    say_buffer(syscall(SYS_readlinkat, AT_FDCWD, path + *clear(), buffer, sizeof(buffer))))
ONE(c_chdir, syscall(SYS_chdir, path))
/* Not the FIFO: that would wait. */
static long c_creat(const char *path)
{
	long fd = strcmp(path, "fifo") ? syscall(SYS_creat, path, 0604) : 0;

	if (fd > 0)
		close(fd);
	return fd;
}
ONE(c_mkdir, syscall(SYS_mkdir, path, 0750))
ONE(c_mkdir_special, syscall(SYS_mkdir, path, 07777))
ONE(c_mknod_file, syscall(SYS_mknod, path, S_IFREG | 0640, 0))
ONE(c_mknod_zero, syscall(SYS_mknod, path, 0640, 0))
ONE(c_mknod_fifo, syscall(SYS_mknod, path, S_IFIFO | 0640, 0))
ONE(c_mknod_sock, syscall(SYS_mknod, path, S_IFSOCK | 0640, 0))
ONE(c_mknod_dir, syscall(SYS_mknod, path, S_IFDIR | 0640, 0))
ONE(c_mknodat, syscall(SYS_mknodat, AT_FDCWD, path, S_IFIFO | 0666, 0))
ONE(c_rmdir, syscall(SYS_rmdir, path))
ONE(c_unlink, syscall(SYS_unlink, path))
ONE(c_unlinkat_dir, syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR))
ONE(c_unlinkat_bad, syscall(SYS_unlinkat, AT_FDCWD, path, 1))
ONE(c_symlink, syscall(SYS_symlink, "anything/at all", path))
ONE(c_symlink_empty, syscall(SYS_symlink, "", path))
ONE(c_chmod, syscall(SYS_chmod, path, 0604))
ONE(c_chmod_special, syscall(SYS_chmod, path, 07711))
ONE(c_fchmodat, syscall(SYS_fchmodat, AT_FDCWD, path, 0611))
ONE(c_fchmodat2, syscall(SYS_fchmodat2, AT_FDCWD, path, 0611, AT_SYMLINK_NOFOLLOW))
ONE(c_chown_none, syscall(SYS_chown, path, -1, -1))
ONE(c_chown_me, syscall(SYS_chown, path, getuid(), getgid()))
ONE(c_lchown_me, syscall(SYS_lchown, path, -1, getgid()))
ONE(c_fchownat, syscall(SYS_fchownat, AT_FDCWD, path, getuid(), -1, AT_SYMLINK_NOFOLLOW))
ONE(c_utime, say_times(path, 0, syscall(SYS_utime, path, &y2000_s)))
ONE(c_utime_now, syscall(SYS_utime, path, NULL))
ONE(c_utimes, say_times(path, 0, syscall(SYS_utimes, path, y2000_us)))
ONE(c_futimesat, say_times(path, 0, syscall(SYS_futimesat, AT_FDCWD, path, y2000_us)))
ONE(c_utimensat, say_times(path, 0, syscall(SYS_utimensat, AT_FDCWD, path, y2000, 0)))
ONE(c_utimensat_nofollow,
    say_times(path, AT_SYMLINK_NOFOLLOW,
	      syscall(SYS_utimensat, AT_FDCWD, path, y2000, AT_SYMLINK_NOFOLLOW)))
ONE(c_utimensat_now, syscall(SYS_utimensat, AT_FDCWD, path, NULL, 0))
ONE(c_truncate_3, syscall(SYS_truncate, path, 3L))
ONE(c_truncate_grow, syscall(SYS_truncate, path, 100000L))
ONE(c_truncate_bad, syscall(SYS_truncate, path, -1L))
ONE(c_statfs, say_fs(syscall(SYS_statfs, path, &sfs)))
ONE(c_setxattr, syscall(SYS_setxattr, path, "user.a", "value", 5L, 0))
ONE(c_setxattr_replace, syscall(SYS_setxattr, path, "user.missing", "v", 1L, XATTR_REPLACE))
ONE(c_lsetxattr, syscall(SYS_lsetxattr, path, "user.b", "value", 5L, XATTR_CREATE))
ONE(c_setxattr_trusted, syscall(SYS_setxattr, path, "nonsense.a", "value", 5L, 0))
ONE(c_getxattr, syscall(SYS_getxattr, path, "user.a", buffer, sizeof(buffer)))
ONE(c_lgetxattr, syscall(SYS_lgetxattr, path, "user.a", NULL, 0L))
ONE(c_listxattr, syscall(SYS_listxattr, path, buffer, sizeof(buffer)))
ONE(c_llistxattr, syscall(SYS_llistxattr, path, NULL, 0L))
ONE(c_removexattr, syscall(SYS_removexattr, path, "user.a"))
ONE(c_lremovexattr, syscall(SYS_lremovexattr, path, "user.b"))
ONE(c_link, syscall(SYS_link, path, "made"))
ONE(c_linkat_follow, syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, "made", AT_SYMLINK_FOLLOW))
ONE(c_linkat_empty, syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, "made", AT_EMPTY_PATH))

static long c_openat2(const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags, .resolve = resolve };
	long fd;

	/* The kernel gives up on ".." when anything on the machine was renamed meanwhile. */
	do {
		fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	} while (fd < 0 && errno == EAGAIN);
	if (fd < 0)
		return -1;
	fstat(fd, &st);
	close(fd);
	return say_stat(0);
}
ONE(c_openat2_plain, c_openat2(path, O_RDONLY | O_NONBLOCK, 0))
ONE(c_openat2_beneath, c_openat2(path, O_RDONLY | O_NONBLOCK, RESOLVE_BENEATH))
ONE(c_openat2_in_root, c_openat2(path, O_RDONLY | O_NONBLOCK, RESOLVE_IN_ROOT))
ONE(c_openat2_no_symlinks, c_openat2(path, O_PATH, RESOLVE_NO_SYMLINKS))
ONE(c_openat2_no_magic, c_openat2(path, O_PATH, RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV))
ONE(c_openat2_bad, c_openat2(path, O_RDONLY, 0x1000))
ONE(c_openat2_bad_flags, c_openat2(path, 0x8000000000000000, 0))

static long connect_to(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	long result;
	int error;

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	result = syscall(SYS_connect, s, &address, sizeof(address));
	error = errno;
	close(s);
	errno = error;
	return result;
}
static long bind_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	long result;
	int error;

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	result = syscall(SYS_bind, s, &address, sizeof(address));
	error = errno;
	close(s);
	errno = error;
	return result;
}
ONE(c_connect, connect_to(path, SOCK_STREAM))
ONE(c_connect_dgram, connect_to(path, SOCK_DGRAM))
ONE(c_bind, strlen(path) < 100 ? bind_to(path) : 0)

static long execute(const char *path)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		char *argv[] = { "x", NULL }, *envp[] = { NULL };

		syscall(SYS_execve, path, argv, envp);
		_exit(errno);
	}
	waitpid(child, &status, 0);
	printf("status %d; ", WEXITSTATUS(status));
	return 0;
}
ONE(c_execve, execute(path))

#define C(name)                 \
	{                       \
#name, c_##name \
	}
static const struct {
	const char *name;
	long (*call)(const char *path);
} calls[] = {
	C(stat),
	C(lstat),
	C(fstatat_empty),
	C(fstatat_noauto),
	C(fstatat_bad),
	C(statx),
	C(statx_nofollow),
	C(access_f),
	C(access_r),
	C(access_w),
	C(access_x),
	C(access_bad),
	C(faccessat),
	C(faccessat2_eff),
	C(faccessat2_nofollow),
	C(faccessat2_empty),
	C(readlink),
	C(readlink_short),
	C(readlinkat),
	C(chdir),
	C(creat),
	C(mkdir),
	C(mkdir_special),
	C(mknod_file),
	C(mknod_zero),
	C(mknod_fifo),
	C(mknod_sock),
	C(mknod_dir),
	C(mknodat),
	C(rmdir),
	C(unlink),
	C(unlinkat_dir),
	C(unlinkat_bad),
	C(symlink),
	C(symlink_empty),
	C(chmod),
	C(chmod_special),
	C(fchmodat),
	C(fchmodat2),
	C(chown_none),
	C(chown_me),
	C(lchown_me),
	C(fchownat),
	C(utime),
	C(utime_now),
	C(utimes),
	C(futimesat),
	C(utimensat),
	C(utimensat_nofollow),
	C(utimensat_now),
	C(truncate_3),
	C(truncate_grow),
	C(truncate_bad),
	C(statfs),
	C(setxattr),
	C(setxattr_replace),
	C(lsetxattr),
	C(setxattr_trusted),
	C(getxattr),
	C(lgetxattr),
	C(listxattr),
	C(llistxattr),
	C(removexattr),
	C(lremovexattr),
	C(link),
	C(linkat_follow),
	C(linkat_empty),
	C(openat2_plain),
	C(openat2_beneath),
	C(openat2_in_root),
	C(openat2_no_symlinks),
	C(openat2_no_magic),
	C(openat2_bad),
	C(openat2_bad_flags),
	C(connect),
	C(connect_dgram),
	C(bind),
	C(execve),
};

int main(int argc, char **argv)
{
	static struct scratch s;

	if (argc < 2 || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: conformance_paths DIRECTORY [opens|calls]\n");
		return 2;
	}
	scratch_begin(&s, "paths");
	if (argc < 3 || !strcmp(argv[2], "opens"))
		opens(&s);
	if (argc < 3 || !strcmp(argv[2], "calls")) {
		for (size_t c = 0; c < sizeof(calls) / sizeof(*calls); c++) {
			for (size_t p = 0; p < sizeof(paths) / sizeof(*paths); p++) {
				long result;

				/* Not removed: what we stand in. */
				printf("%s(\"%.40s%s\") ", calls[c].name, paths[p],
				       strlen(paths[p]) > 40 ? "..." : "");
				errno = 0;
				result = calls[c].call(paths[p]);
				show("", result);
				scratch_compare(&s);
			}
		}
	}
	/* For rm -rf by whoever comes after us. */
	must(fchdir(s.fd) == 0, "fchdir");
	chmod("shut", 0700);
	return 0;
}
