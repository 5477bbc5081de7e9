/*
 * processes.c - every way to make processes and threads, and to run programs.
 *
 *	processes DIRECTORY make           fork, vfork, clone, clone3, posix_spawn, threads, each with calls that name paths
 *	processes DIRECTORY many COUNT     that many processes at once, all of which open, stat and create
 *	processes DIRECTORY exec           execve, execveat, fexecve, scripts of scripts, what fails and how
 *
 * DIRECTORY/self is a copy of this program, DIRECTORY/static a statically linked one.
 */
#include "tests/programs/conformance.h"

#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

extern char **environ;

static void report(const char *what, pid_t child)
{
	int status = 0;

	if (child < 0 || waitpid(child, &status, __WALL) != child)
		say("%s: %s", what, error_name(errno));
	else if (WIFEXITED(status))
		say("%s: exit %d", what, WEXITSTATUS(status));
	else
		say("%s: signal %d", what, WTERMSIG(status));
	fflush(stdout);
}

/* 7 when the calls that name paths work. */
static int use_files(void)
{
	struct stat st;
	int fd = open("f", O_RDONLY | O_CLOEXEC), made;
	char name[32];

	if (fd < 0 || stat("ld/g", &st) < 0 || close(fd) < 0)
		return 1;
	snprintf(name, sizeof(name), "made-%ld", (long)syscall(SYS_gettid));
	made = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (made < 0 || close(made) < 0 || unlink(name) < 0)
		return 2;
	return 7;
}

static int in_clone(void *arg)
{
	return chdir("d") == 0 && access("g", R_OK) == 0 ? 8 : 1;
}
static void *in_thread(void *arg)
{
	return (void *)(long)use_files();
}

static void make(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	char *argv[] = { "self", "child", "two words", "", NULL };
	struct clone_args args = { .exit_signal = SIGCHLD };
	pthread_t threads[20];
	static long sum; /* not where vfork's child could change it */
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child)
		_exit(use_files());
	report("fork", child);
	child = vfork();
	if (!child) {
		execve("../self", argv, environ);
		_exit(9);
	}
	report("vfork and execve", child);
	child = vfork();
	if (!child) {
		execve("missing", argv, environ);
		_exit(errno);
	}
	report("vfork and an execve that fails", child);
	/* Its own directory, and one directory together. */
	child = clone(in_clone, stack + sizeof(stack), SIGCHLD, NULL);
	report("clone", child);
	say("here %d", access("g", R_OK) == 0);
	child = clone(in_clone, stack + sizeof(stack), SIGCHLD | CLONE_FS | CLONE_VM, NULL);
	report("clone CLONE_FS", child);
	say("there %d", access("g", R_OK) == 0);
	must(chdir("..") == 0, "..");
	/* Descriptors together: what the child opens is ours. */
	child = clone(in_clone, stack + sizeof(stack), SIGCHLD | CLONE_FILES, NULL);
	report("clone CLONE_FILES", child);
	child = syscall(SYS_clone3, &args, sizeof(args));
	if (!child)
		_exit(use_files());
	report("clone3", child);
	args.flags = CLONE_VM | CLONE_VFORK;
	args.stack = (uintptr_t)stack;
	args.stack_size = sizeof(stack);
	if (posix_spawn(&child, "../self", NULL, NULL, argv, environ) == 0)
		report("posix_spawn", child);
	say("posix_spawn of nothing: %s",
	    error_name(posix_spawn(&child, "missing", NULL, NULL, argv, environ)));
	say("posix_spawn of a directory: %s",
	    error_name(posix_spawn(&child, "d", NULL, NULL, argv, environ)));
	for (int i = 0; i < 20; i++)
		must(pthread_create(&threads[i], NULL, in_thread, NULL) == 0, "thread");
	for (int i = 0; i < 20; i++) {
		void *result;

		pthread_join(threads[i], &result);
		sum += (long)result;
	}
	say("20 threads: %ld", sum);
	child = fork();
	if (!child) {
		must(unshare(CLONE_FS) == 0, "unshare");
		_exit(use_files());
	}
	report("unshare(CLONE_FS)", child);
	/* A daemon: its parent is gone when it works. */
	{
		int pipes[2];
		char answer = 0;

		must(pipe2(pipes, O_CLOEXEC) == 0, "pipe");
		child = fork();
		if (!child) {
			setsid();
			if (fork())
				_exit(0);
			answer = use_files();
			_exit(write(pipes[1], &answer, 1) != 1);
		}
		close(pipes[1]);
		report("parent of a daemon", child);
		must(read(pipes[0], &answer, 1) == 1, "daemon");
		say("daemon: %d", answer);
	}
	look_list(".");
}

static void many(int count)
{
	int gate[2], ready[2], good = 0, failed = 0, status;
	char c;

	must(pipe(gate) == 0 && pipe(ready) == 0, "pipe");
	fflush(stdout);
	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		if (child < 0) {
			say("fork %d: %s", i, error_name(errno));
			break;
		}
		if (!child) {
			int worked = 7;

			close(gate[1]);
			if (write(ready[1], "", 1) != 1 || read(gate[0], &c, 1) != 0)
				_exit(3);
			for (int n = 0; n < 5 && worked == 7; n++)
				worked = use_files();
			_exit(worked);
		}
	}
	for (int i = 0; i < count; i++)
		must(read(ready[0], &c, 1) == 1, "ready");
	say("%d at once", count);
	close(gate[1]);
	while (wait(&status) > 0) {
		if (WIFEXITED(status) && WEXITSTATUS(status) == 7)
			good++;
		else if (failed++ < 3)
			say("status %x", status);
	}
	say("%d worked", good);
}

static void run(const char *what, const char *path, char *const argv[])
{
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		execve(path, argv, environ);
		_exit(200 + (errno & 31));
	}
	report(what, child);
}

static void script(const char *path, const char *format, const char *base_path)
{
	char contents[PATH_MAX + 100];

	snprintf(contents, sizeof(contents), format, base_path);
	put(path, contents, 0755);
}

static void exec(void)
{
	char *argv[] = { "zero", "one", "two words", NULL }, *none[] = { NULL }, path[2 * PATH_MAX],
	     deep[64] = "s1";
	static char huge[200000];
	char *big[] = { "zero", huge, NULL };
	int fd;
	pid_t child;

	run("dynamic", "../self", argv);
	run("static", "../static", argv);
	run("no argv", "../static", none);
	/* What each script is given: the interpreter, one argument, its own path, ours. */
	script("s1", "#!%s/../self from-s1 and more\n", base);
	script("s2", "#! %s/s1 \n", base);
	script("s3", "#!s2\n", base);
	script("relative", "#!../self\n", base);
	run("script", "s1", argv);
	run("script of a script", "s2", argv);
	run("script by a relative interpreter", "s3", argv);
	run("script by another relative one", "relative", argv);
	must(chdir("d") == 0, "d");
	run("the same from another directory", "../relative", argv);
	run("script from another directory", "../s1", argv);
	must(chdir("..") == 0, "..");
	for (int i = 0; i < 7; i++) {
		char name[64];

		snprintf(name, sizeof(name), "n%d", i);
		snprintf(path, sizeof(path), "#!%s/%s\n", base, deep);
		put(name, path, 0755);
		memcpy(deep, name, sizeof(deep));
		snprintf(path, sizeof(path), "%d scripts deep", i + 2);
		run(path, name, argv);
	}
	script("no-interpreter", "#!/not/there\n", base);
	script("interpreter-is-directory", "#!%s/d\n", base);
	script("empty", "", base);
	script("empty-interpreter", "#!\n", base);
	script("text", "hello\n", base);
	put("not-executable", "#!/bin/sh\n", 0644);
	put("truncated-elf", "\177ELF\2\1\1", 0755);
	script("sh", "#!/bin/sh\necho \"$0\" \"$@\"; exit 5\n", base);
	script("env", "#!/usr/bin/env -S sh -e\necho \"$0\" \"$@\"; exit 6\n", base);
	run("/bin/sh", "sh", argv);
	run("/usr/bin/env -S", "./env", argv);
	run("no interpreter", "no-interpreter", argv);
	run("interpreter is a directory", "interpreter-is-directory", argv);
	run("empty", "empty", argv);
	run("empty interpreter", "empty-interpreter", argv);
	run("text", "text", argv);
	run("not executable", "not-executable", argv);
	run("truncated ELF", "truncated-elf", argv);
	run("directory", "d", argv);
	run("missing", "missing", argv);
	run("FIFO", "fifo", argv);
	run("socket", "sock", argv);
	run("dangling", "dangling", argv);
	run("slash", "x/", argv);
	memset(huge, 'a', sizeof(huge) - 1);
	run("an argument that is too long", "../static", big);
	must(symlink("../static", "link-to-static") == 0 && symlink("s1", "link-to-script") == 0,
	     "links");
	run("through a link", "link-to-static", argv);
	run("script through a link", "link-to-script", argv);
	must(link("../static", "set-id") == 0, "link");
	chmod("set-id", 06755);
	run("with set-id bits", "set-id", argv);
	chmod("set-id", 0755);
	chmod("sh", 0111);
	run("a script that may not be read", "sh", argv);
	put("busy", "", 0755);
	fd = open("busy", O_WRONLY);
	run("open for writing", "busy", argv);
	close(fd);
	for (int i = 0; i < 4; i++) {
		static const char *const files[] = { "../static", "s1", "../self", "d" };

		for (int flags = 0; flags < 2; flags++) {
			fd = open(files[i], (flags ? O_CLOEXEC : 0) | O_RDONLY);
			fflush(stdout);
			child = fork();
			if (!child) {
				fexecve(fd, argv, environ);
				_exit(200 + (errno & 31));
			}
			snprintf(path, sizeof(path), "fexecve of %s%s", files[i],
				 flags ? ", close on exec" : "");
			report(path, child);
			close(fd);
		}
	}
	fd = open("d", O_PATH | O_CLOEXEC);
	for (int i = 0; i < 3; i++) {
		static const struct {
			const char *path;
			int flags;
		} at[] = { { "../../static", 0 },
			   { "../link-to-static", AT_SYMLINK_NOFOLLOW },
			   { "", 0 } };

		fflush(stdout);
		child = fork();
		if (!child) {
			syscall(SYS_execveat, fd, at[i].path, argv, environ, at[i].flags);
			_exit(200 + (errno & 31));
		}
		snprintf(path, sizeof(path), "execveat %s", at[i].path);
		report(path, child);
	}
	close(fd);
	/* Written, closed and run at once; removed while it runs. */
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	look_fd(fd);
	close(fd);
	child = fork();
	if (!child) {
		must(unlink("../static") == 0, "unlink");
		execve("set-id", argv, environ);
	}
	report("another name of it", child);
}

/* As the child of all those: what it was given. */
static int child_main(int argc, char **argv)
{
	char exe[PATH_MAX] = "";
	const char *name = (const char *)getauxval(AT_EXECFN), *shown = exe;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	/* Known: by descriptor, the path begins at the volume and not at the root. */
	if (!strncmp(name, "/dev/fd/", 8) && strrchr(exe, '/'))
		shown = strrchr(exe, '/');
	printf("  argc %d:", argc);
	for (int i = 0; i < argc; i++)
		printf(" [%.60s]", argv[i]);
	printf("; exe %s", n < 0 ? error_name(errno) : shown);
	printf("; execfn %.60s; secure %ld; uid %d\n",
	       strncmp(name, "/dev/fd/", 8) ? name : "/dev/fd/N", getauxval(AT_SECURE),
	       getuid() == geteuid());
	return 17;
}

int main(int argc, char **argv)
{
	if (argc < 3 ||
	    (strcmp(argv[2], "make") && strcmp(argv[2], "many") && strcmp(argv[2], "exec")))
		return child_main(argc, argv);
	if (chdir(argv[1]) < 0)
		return 2;
	must(mkdir(argv[2], 0755) == 0 && chdir(argv[2]) == 0, argv[2]);
	make_tree();
	if (!strcmp(argv[2], "make"))
		make();
	else if (!strcmp(argv[2], "many"))
		many(argc > 3 ? atoi(argv[3]) : 1000);
	else
		exec();
	fflush(stdout);
	chmod("shut", 0700);
	return 0;
}
