/*
 * dirread.c - reading a directory with nothing remembered between two calls.
 *
 * The kernel's own position (d_off) is the cookie, so a listing can be resumed by any thread, with
 * any descriptor of the directory, after any time, and costs no memory in between. opendir(3) is of
 * no use: it opens by openat(2), and reads ahead into a buffer that outlives the call.
 */
#include "server/fs/fs.h"

#include <dirent.h>
#include <string.h>
#include <sys/syscall.h>

enum { DIRREAD_BUFFER = 32 * 1024 };

static bool is_self_or_parent(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

int fs_read_dir(int fd, uint64_t cookie, int (*each)(const struct fs_dirent *entry, void *userdata),
		void *userdata, bool *ret_end)
{
	_Alignas(struct dirent64) char buffer[DIRREAD_BUFFER];

	if (cookie > INT64_MAX)
		return -EINVAL;
	if (lseek(fd, (off_t)cookie, SEEK_SET) < 0)
		return -errno;
	for (;;) {
		long n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer));

		if (n < 0)
			return -errno;
		if (n == 0) {
			*ret_end = true;
			return 0;
		}
		for (long at = 0; at < n;) {
			const struct dirent64 *d = (const void *)(buffer + at);
			struct fs_dirent entry = {
				.name = d->d_name,
				.name_len = strlen(d->d_name),
				.ino = d->d_ino,
				.cookie = (uint64_t)d->d_off,
				.type = d->d_type,
			};
			int r;

			at += d->d_reclen;
			if (is_self_or_parent(d->d_name))
				continue;
			r = each(&entry, userdata);
			if (r < 0)
				return r;
			if (r > 0) {
				*ret_end = false;
				return 0;
			}
		}
	}
}
