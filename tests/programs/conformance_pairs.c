/*
 * conformance_pairs.c - every system call that takes two paths, on every pair of kinds of paths.
 *
 *	conformance_pairs DIRECTORY
 */
#include "tests/programs/conformance.h"

#include <linux/fs.h>

static const char *const paths[] = {
	"f",      "hard",    "l",       "ld",         "dangling",   "loop",      "d",
	"d/deep", "e",       "missing", "f/",         "d/",         "ld/",       "missing/",
	".",      "d/..",    "d/g",     "d/deep/new", "f/x",        "missing/x", "none",
	"fifo",   "shut/in", "e/.",     "",           NAME_255 "x",
};

static long do_rename(const char *a, const char *b)
{
	return syscall(SYS_rename, a, b);
}
static long do_renameat(const char *a, const char *b)
{
	return syscall(SYS_renameat, AT_FDCWD, a, AT_FDCWD, b);
}
static long noreplace(const char *a, const char *b)
{
	return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_NOREPLACE);
}
static long exchange(const char *a, const char *b)
{
	return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}
static long both(const char *a, const char *b)
{
	return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE | RENAME_NOREPLACE);
}
static long bad(const char *a, const char *b)
{
	return syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 0x80);
}
static long do_link(const char *a, const char *b)
{
	return syscall(SYS_link, a, b);
}
static long link_follow(const char *a, const char *b)
{
	return syscall(SYS_linkat, AT_FDCWD, a, AT_FDCWD, b, AT_SYMLINK_FOLLOW);
}
static long link_bad(const char *a, const char *b)
{
	return syscall(SYS_linkat, AT_FDCWD, a, AT_FDCWD, b, 0x20);
}
static long do_symlink(const char *a, const char *b)
{
	return syscall(SYS_symlinkat, a, AT_FDCWD, b);
}

#define C(name)             \
	{                   \
#name, name \
	}
static const struct {
	const char *name;
	long (*call)(const char *a, const char *b);
} calls[] = {
	C(do_rename), C(do_renameat), C(noreplace),   C(exchange), C(both),
	C(bad),       C(do_link),     C(link_follow), C(link_bad), C(do_symlink),
};

int main(int argc, char **argv)
{
	enum { PATHS = sizeof(paths) / sizeof(*paths) };
	static struct scratch s;

	if (argc < 2 || chdir(argv[1]) < 0) {
		fprintf(stderr, "usage: conformance_pairs DIRECTORY\n");
		return 2;
	}
	scratch_begin(&s, "pairs");
	for (size_t c = 0; c < sizeof(calls) / sizeof(*calls); c++) {
		for (size_t i = 0; i < PATHS * PATHS; i++) {
			const char *a = paths[i / PATHS], *b = paths[i % PATHS];

			printf("%s(\"%.20s\", \"%.20s\")", calls[c].name, a, b);
			show("", calls[c].call(a, b));
			scratch_compare(&s);
		}
	}
	must(fchdir(s.fd) == 0, "fchdir");
	chmod("shut", 0700);
	return 0;
}
