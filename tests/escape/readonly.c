/*
 * readonly.c - everything by which a file of a read-only volume could be written, through names and
 * through a descriptor that was opened for reading. The script compares the volume afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/escape/recipe.h"

static void by_name(const char *file, const char *dir)
{
	const char *new = text("%s/new", dir), *inside = text("%s/of-ours", world.rw);
	static const int flags[] = { O_WRONLY,
				     O_RDWR,
				     O_RDONLY | O_TRUNC,
				     O_WRONLY | O_APPEND,
				     O_WRONLY | O_TRUNC | O_CREAT,
				     O_RDWR | O_CREAT };

	write_file(inside, "ours\n");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		must_fail(text("open with %#x", (unsigned)flags[i]), open(file, flags[i], 0644));
	must_fail("create", open(new, O_WRONLY | O_CREAT, 0644));
	must_fail("O_TMPFILE", open(dir, O_RDWR | O_TMPFILE, 0644));
	must_fail("truncate", truncate(file, 1));
	must_fail("mkdir", mkdir(new, 0755));
	must_fail("rmdir", rmdir(text("%s/dir", dir)));
	must_fail("mknod", mknod(new, S_IFREG | 0644, 0));
	must_fail("mkfifo", mkfifo(new, 0644));
	must_fail("unlink", unlink(file));
	must_fail("symlink", symlink("x", new));
	must_fail("link within", link(file, new));
	must_fail("link out of", link(file, text("%s/linked", world.rw)));
	must_fail("link into", link(inside, new));
	must_fail("rename within", rename(file, new));
	must_fail("rename out of", rename(file, text("%s/moved", world.rw)));
	must_fail("rename into", rename(inside, new));
	must_fail("rename over", rename(inside, file));
	must_fail("exchange", syscall(SYS_renameat2, AT_FDCWD, inside, AT_FDCWD, file, 2));
	must_fail("chmod", chmod(file, 0777));
	must_fail("chown", chown(file, getuid(), getgid()));
	must_fail("utimensat", utimensat(AT_FDCWD, file, NULL, 0));
	must_fail("utime of the directory", utimensat(AT_FDCWD, dir, NULL, 0));
	must_fail("setxattr", setxattr(file, "user.x", "v", 1, 0));
	must_fail("removexattr", removexattr(file, "user.ours"));
	must_fail("fchmodat2", syscall(452, AT_FDCWD, file, 0777, 0));
}

static void reopen(const char *what, int fd)
{
	static const char *const names[] = { "/proc/self/fd/%d", "/dev/fd/%d",
					     "/proc/thread-self/fd/%d",
					     "/proc/self/task/self/fd/%d" };
	char name[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(name, sizeof(name), names[i], fd);
#pragma GCC diagnostic pop
		must_fail(text("%s: reopen %s for writing", what, name), open(name, O_RDWR));
		must_fail(text("%s: reopen %s to append", what, name),
			  open(name, O_WRONLY | O_APPEND));
		must_fail(text("%s: reopen %s truncating", what, name),
			  open(name, O_RDONLY | O_TRUNC));
		must_fail(text("%s: truncate %s", what, name), truncate(name, 0));
		must_fail(text("%s: chmod %s", what, name), chmod(name, 0777));
		must_fail(text("%s: chown %s", what, name), chown(name, getuid(), getgid()));
		must_fail(text("%s: utimes %s", what, name), utimensat(AT_FDCWD, name, NULL, 0));
		must_fail(text("%s: setxattr %s", what, name), setxattr(name, "user.x", "v", 1, 0));
		must_fail(text("%s: link %s", what, name),
			  linkat(AT_FDCWD, name, AT_FDCWD, text("%s/through-%d", world.rw, fd),
				 AT_SYMLINK_FOLLOW));
	}
	must_fail(text("%s: link the descriptor", what),
		  linkat(fd, "", AT_FDCWD, text("%s/empty-%d", world.rw, fd), AT_EMPTY_PATH));
}

static void change_attributes(const char *what, int fd)
{
	struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
	int flags = FS_APPEND_FL | FS_NODUMP_FL;
	struct fsxattr attributes = { .fsx_xflags = FS_XFLAG_NODUMP };

	must_fail(text("%s: fchmod", what), fchmod(fd, 0777));
	must_fail(text("%s: fchmodat AT_EMPTY_PATH", what),
		  syscall(452, fd, "", 0777, AT_EMPTY_PATH));
	must_fail(text("%s: fchown", what), fchown(fd, getuid(), getgid()));
	must_fail(text("%s: fchownat AT_EMPTY_PATH", what),
		  fchownat(fd, "", getuid(), getgid(), AT_EMPTY_PATH));
	must_fail(text("%s: futimens", what), syscall(SYS_utimensat, fd, NULL, times, 0));
	must_fail(text("%s: utimensat AT_EMPTY_PATH", what),
		  syscall(SYS_utimensat, fd, "", times, AT_EMPTY_PATH));
	must_fail(text("%s: futimesat", what), syscall(SYS_futimesat, fd, NULL, NULL));
	must_fail(text("%s: fsetxattr", what), fsetxattr(fd, "user.x", "v", 1, 0));
	must_fail(text("%s: fremovexattr", what), fremovexattr(fd, "user.ours"));
	must_fail(text("%s: setxattrat AT_EMPTY_PATH", what),
		  syscall(463, fd, "", AT_EMPTY_PATH, "user.x", (uint64_t[2]){ (uintptr_t) "v", 1 },
			  16));
	must_fail(text("%s: FS_IOC_SETFLAGS", what), ioctl(fd, FS_IOC_SETFLAGS, &flags));
	must_fail(text("%s: FS_IOC_FSSETXATTR", what), ioctl(fd, FS_IOC_FSSETXATTR, &attributes));
}

static void write_data(int fd, int other)
{
	struct iovec iov = { (void *)"x", 1 };
	struct file_clone_range range = { .src_fd = other };
	aio_context_t context = 0;
	loff_t zero = 0;
	int pipes[2];

	if (pipe(pipes) < 0 || write(pipes[1], "xxxx", 4) != 4)
		broken("pipe");
	must_fail("write", write(fd, "x", 1));
	must_fail("pwrite", pwrite(fd, "x", 1, 0));
	must_fail("pwritev2", syscall(SYS_pwritev2, fd, &iov, 1, 0, 0, 0));
	must_fail("ftruncate", ftruncate(fd, 0));
	must_fail("fallocate", fallocate(fd, 0, 0, 65536));
	must_fail("fallocate punch", fallocate(fd, 3 /* KEEP_SIZE|PUNCH_HOLE */, 0, 4096));
	must_fail("splice", splice(pipes[0], NULL, fd, &zero, 4, 0));
	must_fail("sendfile", sendfile(fd, other, NULL, 1));
	must_fail("copy_file_range", copy_file_range(other, NULL, fd, NULL, 1, 0));
	must_fail("FICLONE", ioctl(fd, FICLONE, other));
	must_fail("FICLONERANGE", ioctl(fd, FICLONERANGE, &range));
	if (syscall(SYS_io_setup, 4, &context) == 0) {
		struct iocb cb = { .aio_lio_opcode = IOCB_CMD_PWRITE,
				   .aio_fildes = (uint32_t)fd,
				   .aio_buf = (uintptr_t) "x",
				   .aio_nbytes = 1 },
			    *list[] = { &cb };

		must_fail("io_submit", syscall(SYS_io_submit, context, 1, list));
		syscall(SYS_io_destroy, context);
	}
	close(pipes[0]);
	close(pipes[1]);
}

static void map(int fd)
{
	void *shared, *private;
	int memory;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	verdict(shared != MAP_FAILED, "mmap shared for writing: %s", errno_text(-1));
	shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	private = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (shared == MAP_FAILED || private == MAP_FAILED)
		broken("mmap: %s", errno_text(-1));
	must_fail("mprotect shared for writing", mprotect(shared, 4096, PROT_READ | PROT_WRITE));
	must_fail("madvise MADV_REMOVE", madvise(shared, 4096, MADV_REMOVE));
	/* Which writes in spite of the protection, where a debugger could. */
	memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (memory < 0)
		ok("/proc/self/mem: %s", errno_text(-1));
	else
		must_fail("/proc/self/mem into a shared mapping",
			  pwrite(memory, "x", 1, (off_t)(uintptr_t)shared));
	/* A copy of its own may be written: what the file says, the script sees. */
	if (memory >= 0)
		(void)!pwrite(memory, "x", 1, (off_t)(uintptr_t) private);
	(void)madvise(private, 4096, MADV_DONTNEED);
	must_fail("reopen by /proc/self/map_files",
		  open(text("/proc/self/map_files/%lx-%lx", (unsigned long)(uintptr_t)shared,
			    (unsigned long)(uintptr_t)shared + 4096),
		       O_RDWR));
	if (memory >= 0)
		close(memory);
	munmap(shared, 4096);
	munmap(private, 4096);
}

/* The calls that a filter lets through, or not, by descriptor: rows of the table. */
static void by_descriptor(void)
{
	static char memory[MEMORY_SIZE];

	for (size_t i = 0; i < n_recipes; i++)
		for (const struct recipe *r = all_recipes[i].variants; r->name; r++)
			if (r->flags & BY_DESCRIPTOR) {
				struct outcome o = recipe_run(r, memory, AT_FDCWD);

				verdict(o.result >= 0, "%s %s: %s", r->name, r->what,
					o.result >= 0 ? "succeeded" : strerrorname_np(o.error));
			}
}

/* A read-only volume below a directory of one that may be written: what lies above it cannot be moved from under it. */
static void nested(void)
{
	static const char *const writes[] = { "file", "new" };
	const char *sub = text("%s/sub", world.rw), *other = text("%s/other", world.rw);
	const char *tops[] = { sub, other, text("%s/deeper/other", world.rw) };

	(void)!mkdir(other, 0755);
	(void)!mkdir(text("%s/deeper", world.rw), 0755);
	must_fail("renaming what holds a volume", rename(sub, text("%s/elsewhere", world.rw)));
	must_fail("renaming it deeper", rename(sub, tops[2]));
	must_fail("over another directory", rename(sub, other));
	must_fail("another directory over it", rename(other, sub));
	must_fail("exchanging it", syscall(SYS_renameat2, AT_FDCWD, sub, AT_FDCWD, other, 2));
	must_fail("exchanging with it", syscall(SYS_renameat2, AT_FDCWD, other, AT_FDCWD, sub, 2));
	must_fail("renaming the volume", rename(text("%s/nested", sub), text("%s/moved", sub)));
	must_fail("exchanging the volume",
		  syscall(SYS_renameat2, AT_FDCWD, text("%s/nested", sub), AT_FDCWD, other, 2));
	must_fail("removing the volume", rmdir(text("%s/nested", sub)));
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 2; k++)
			must_fail(text("writing nested/%s in %s", writes[k], tops[i]),
				  open(text("%s/nested/%s", tops[i], writes[k]), O_RDWR | O_CREAT,
				       0644));
}

void family_readonly(void)
{
	const char *name = text("%s/file", world.ro);
	int fd, dir, path, other;

	write_file(text("%s/source", world.rw), "source\n");
	fd = open(name, O_RDONLY | O_CLOEXEC);
	dir = open(world.ro, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	path = open(name, O_PATH | O_CLOEXEC);
	other = open(text("%s/source", world.rw), O_RDONLY | O_CLOEXEC);
	if (fd < 0 || dir < 0 || other < 0)
		broken("open: %d %d %d %d: %s", fd, dir, path, other, errno_text(-1));
	by_name(text("%s/file", world.ro), world.ro);
	by_name(text("%s/file", world.ro), text("/proc/self/fd/%d", dir));
	reopen("file", fd);
	if (path >= 0)
		reopen("O_PATH", path);
	else
		ok("O_PATH: %s", errno_text(-1));
	change_attributes("file", fd);
	change_attributes("directory", dir);
	write_data(fd, other);
	map(fd);
	by_descriptor();
	/* Without the namespace a volume lies where the host has it. */
	if (has_layer("mount"))
		nested();
	close(fd);
	close(dir);
	close(path);
	close(other);
}
