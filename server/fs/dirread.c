/*
 * dirread.c - reading a directory with nothing remembered between two calls.
 *
 * The kernel's own position (d_off) is the cookie, so a listing can be resumed by any thread, with
 * any descriptor of the directory, after any time, and costs no memory in between. opendir(3) is of
 * no use: it opens by openat(2), and reads ahead into a buffer that outlives the call.
 *
 * No more is read at a time than whoever asks has room for, as far as that is known: what does not fit is read again
 * by the next request.
 */
#include "server/fs/fs.h"

#include <dirent.h>
#include <string.h>
#include <sys/syscall.h>

static bool is_self_or_parent(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

int fs_read_dir(int fd, uint64_t cookie, const struct fs_reader *reader, bool *ret_end)
{
	_Alignas(struct dirent64) char buffer[FS_READ_DIR_MAX];
	size_t room;

	if (cookie > INT64_MAX)
		return -EINVAL;
	if (lseek(fd, (off_t)cookie, SEEK_SET) < 0)
		return -errno;
	while ((room = reader->room(reader->userdata)) > 0) {
		long n = syscall(SYS_getdents64, fd, buffer,
				 MAX(MIN(room, sizeof(buffer)), (size_t)FS_READ_DIR_MIN));

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
			r = reader->each(&entry, reader->userdata);
			if (r < 0)
				return r;
			if (r > 0) {
				*ret_end = false;
				return 0;
			}
		}
	}
	*ret_end = false;
	return 0;
}
