/*
 * abi.c - other doors into the kernel: the 32-bit and x32 tables, numbers that nobody knows, and
 * io_uring, which makes calls on its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/escape/escape.h"

static long int80(long nr, long a, long b, long c)
{
	long r;

	__asm__ volatile("int $0x80"
			 : "=a"(r)
			 : "a"(nr), "b"(a), "c"(b), "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	return r;
}

struct call32 {
	int nr;
	const char *name;
	long b, c; /* after the path */
};

static int calls32(void *userdata)
{
	static const struct call32 calls[] = {
		{ 5, "open", O_RDONLY, 0 }, { 8, "creat", 0666, 0 }, { 9, "link", 0, 0 },
		{ 10, "unlink", 0, 0 },     { 11, "execve", 0, 0 },  { 12, "chdir", 0, 0 },
		{ 15, "chmod", 0777, 0 },   { 33, "access", 0, 0 },  { 39, "mkdir", 0777, 0 },
		{ 92, "truncate", 0, 0 },   { 106, "stat", 0, 0 },   { 20, "getpid", 0, 0 },
	};
	char *low = userdata;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		long r = int80(calls[i].nr, (long)low, calls[i].b, calls[i].c);

		verdict(r != -ENOSYS, "int 0x80 %s: %s", calls[i].name,
			r < 0 ? strerrorname_np((int)-r) : "succeeded");
	}
	/* openat and socketcall */
	long r = int80(295, AT_FDCWD, (long)low, O_RDONLY);

	verdict(r != -ENOSYS, "int 0x80 openat: %ld", r);
	r = int80(102, 1, (long)low, 0);
	verdict(r != -ENOSYS, "int 0x80 socketcall: %ld", r);
	fflush(stdout);
	return 0;
}

static int numbers(void *userdata)
{
	const long *range = userdata;
	unsigned others = 0;
	long first = 0;

	for (long nr = range[0]; nr < range[1]; nr++) {
		long r = syscall(nr, (long)world.outside, O_RDONLY, 0, 0, 0, 0);

		if (r >= 0 || errno != ENOSYS) {
			others++;
			first = first ?: nr;
		}
	}
	verdict(others > 0, "numbers %ld to %ld: %u are not ENOSYS (%ld)", range[0], range[1] - 1,
		others, first);
	fflush(stdout);
	return 0;
}

void family_abi(void)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long ranges[][2] = { { 337, 424 },
			     { 471, 1024 },
			     { 0x40000000, 0x40000000 + 600 },
			     { -16, 0 },
			     { 0x80000000, 0x80000000 + 16 } };
	char parameters[256] = { 0 };
	int status;

	if (low == MAP_FAILED)
		broken("mmap: %s", errno_text(-1));
	snprintf(low, 4096, "%s/secret", world.outside);
	fflush(stdout);
	/* A kernel without the 32-bit table ends the process: then there is no such door. */
	status = in_child(calls32, low);
	verdict(status != 0 && status < 128, "the 32-bit calls: status %d", status);
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		status = in_child(numbers, ranges[i]);
		if (status != 0)
			broken("trying numbers: status %d", status);
	}
	must_fail("io_uring_setup", syscall(SYS_io_uring_setup, 8, parameters));
	must_fail("io_uring_register", syscall(SYS_io_uring_register, -1, 0, NULL, 0));
	must_fail("io_uring_enter", syscall(SYS_io_uring_enter, 0, 1, 0, 0, NULL, 0));
	munmap(low, 4096);
}
