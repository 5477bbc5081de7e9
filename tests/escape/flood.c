/*
 * flood.c - filling what the supervisor has: threads, descriptors, memory, its queue. The sandbox
 * may harm itself; afterwards, and meanwhile for another process of the sandbox, it must still be
 * what it was: a file is found, a file of the host is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/escape/escape.h"

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void still_well(const char *after)
{
	double start = seconds();
	char data[8] = "";
	int fd = open(text("%s/file", world.ro), O_RDONLY | O_CLOEXEC);
	bool found = fd >= 0 && read(fd, data, 5) == 5;

	if (fd >= 0)
		close(fd);
	verdict(!found || seconds() - start > 5, "after %s: a file is read in %.3f s: %s", after,
		seconds() - start, errno_text(fd));
	must_fail(text("after %s: outside", after),
		  open(text("%s/secret", world.outside), O_RDONLY));
}

/* n processes that all do it, until they are killed. */
static void crowd(unsigned n, int (*f)(void *), void *userdata, const char *what)
{
	static pid_t pids[1024];
	unsigned started = 0;

	for (; started < n; started++) {
		pids[started] = fork();
		if (pids[started] < 0)
			break;
		if (pids[started] == 0)
			_exit(f(userdata));
	}
	still_well(text("%u processes that %s", started, what));
	for (unsigned i = 0; i < started; i++)
		kill(pids[i], SIGKILL);
	for (unsigned i = 0; i < started; i++)
		waitpid(pids[i], NULL, 0);
	still_well(text("their death (%s)", what));
}

static int wait_at_fifo(void *userdata)
{
	return open(userdata, O_RDONLY) < 0;
}

static __attribute__((noreturn)) int stat_for_ever(void *userdata)
{
	struct stat st;

	for (;;)
		(void)!stat(userdata, &st);
}

static __attribute__((noreturn)) int open_for_ever(void *userdata)
{
	for (;;)
		if (open(userdata, O_RDONLY) < 0)
			close((int)(random() % 200) + 3);
}

/* Memory that ends, is not there, or goes away. */
static void odd_memory(void)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	static char endless[1 << 20];

	if (page == MAP_FAILED)
		broken("mmap: %s", errno_text(-1));
	munmap(page + 4096, 4096);
	memset(page, 'a', 4096);
	memset(endless, 'a', sizeof(endless) - 1);
	must_fail("a path that runs into nothing", syscall(SYS_open, page + 4000, O_RDONLY));
	must_fail("a path at nothing", syscall(SYS_open, 8, O_RDONLY));
	must_fail("a path in the kernel", syscall(SYS_open, 0xffffffff81000000, O_RDONLY));
	must_fail("a path without end", syscall(SYS_open, endless, O_RDONLY));
	memcpy(page + 4090, "/\0", 2);
	must_fail("stat into nothing", syscall(SYS_stat, "/", page + 4095));
	must_fail("stat into the program", syscall(SYS_stat, "/", odd_memory));
	must_fail("readlink into nothing", syscall(SYS_readlink, "/proc/self/exe", 8, 4096));
	must_fail("openat2 with a size of 2^40",
		  syscall(SYS_openat2, AT_FDCWD, "/", page, 1L << 40));
	must_fail("setxattr of 2^40 bytes", syscall(SYS_setxattr, text("%s/in/secret", world.rw),
						    "user.x", page, 1L << 40, 0));
	munmap(page, 4096);
}

/* Paths, names and links at their limits. */
static void long_names(void)
{
	char path[MEMORY_SIZE];
	unsigned depth = 0;

	for (size_t n = 0; n + 4 < sizeof(path); n += 4)
		memcpy(path + n, "../", 4), memcpy(path + n + 3, "/", 2);
	must_fail("a thousand times up and outside",
		  access(text("%.2000s%s/secret", path, world.outside), F_OK));
	for (int i = 0; i < 60; i++) {
		unlink(text("%s/loop-%d", world.rw, i));
		(void)!symlink(text("loop-%d", i + 1), text("%s/loop-%d", world.rw, i));
	}
	must_fail("sixty links", access(text("%s/loop-0", world.rw), F_OK));
	/* Deeper than a path can say. */
	if (chdir(world.rw) < 0)
		broken("chdir: %s", errno_text(-1));
	(void)!mkdir("deep", 0755);
	(void)!chdir("deep");
	for (; depth < 300; depth++) {
		char name[64];

		snprintf(name, sizeof(name), "a-name-of-some-length-%03u", depth);
		if (mkdir(name, 0755) < 0 || chdir(name) < 0)
			break;
	}
	must_fail("outside from far below",
		  access(text("%.800s%s/secret", path, world.outside), F_OK));
	must_fail("outside from far below, absolute",
		  access(text("%s/secret", world.outside), F_OK));
	for (; depth > 0; depth--) {
		char name[64];

		snprintf(name, sizeof(name), "a-name-of-some-length-%03u", depth - 1);
		if (chdir("..") < 0 || rmdir(name) < 0)
			break;
	}
	if (chdir(world.rw) < 0)
		broken("chdir: %s", errno_text(-1));
	still_well("a deep tree");
}

static int use_descriptors(void *userdata)
{
	unsigned n = 0;

	(void)userdata;
	while (open(world.rw, O_RDONLY | O_DIRECTORY) >= 0 && n < 100000)
		n++;
	/* None left: what comes of a call that needs one? */
	must_fail("outside, with no descriptor left",
		  open(text("%s/secret", world.outside), O_RDONLY));
	fflush(stdout);
	return n < 10;
}

/* Calls during which the process ends. */
static void killed_in_flight(void)
{
	for (unsigned i = 0; i < 100; i++) {
		pid_t pid = fork();

		if (pid == 0)
			stat_for_ever((void *)world.rw);
		for (unsigned k = 0; k < i * 10; k++)
			sched_yield();
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	still_well("processes killed in flight");
}

static void *one_stat(void *userdata)
{
	struct stat st;

	for (unsigned i = 0; i < 20; i++)
		(void)!stat(userdata, &st);
	return NULL;
}

static void many_threads(void)
{
	pthread_t threads[256];
	unsigned n = 0;

	while (n < 256 && pthread_create(&threads[n], NULL, one_stat, (void *)world.rw) == 0)
		n++;
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	still_well(text("%u threads", n));
}

void family_flood(void)
{
	char fifo[MEMORY_SIZE], file[MEMORY_SIZE];
	int status;

	snprintf(fifo, sizeof(fifo), "%s/fifo", world.rw);
	snprintf(file, sizeof(file), "%s/file", world.ro);
	odd_memory();
	long_names();
	status = in_child(use_descriptors, NULL);
	verdict(status != 0, "all descriptors used: status %d", status);
	still_well("that");
	many_threads();
	unlink(fifo);
	if (mkfifo(fifo, 0600) == 0)
		crowd(200, wait_at_fifo, fifo, "wait at a FIFO");
	crowd(50, stat_for_ever, file, "ask all the time");
	crowd(20, open_for_ever, file, "open all the time");
	killed_in_flight();
}
