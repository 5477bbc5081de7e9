/*
 * test_run_cage.c - what holds the program besides the filter: here the filter lets everything pass, so what fails, fails by
 * namespaces, mounts, capabilities or Landlock. Each test asks for the layer that it is about and is skipped where there is none.
 */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "client/run/cage.h"
#include "client/run/filter.h"
#include "client/run/options.h"

/* ---- a filter with a listener that nothing ever reaches ---- */

int filter_build(const struct run_plan *plan, struct sock_fprog *ret)
{
	struct sock_filter *allow = malloc(sizeof(*allow));

	*allow = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	*ret = (struct sock_fprog){ .len = 1, .filter = allow };
	return 0;
}

int filter_install(const struct sock_fprog *program, int *ret_listener)
{
	long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			  program);

	*ret_listener = (int)fd;
	return fd < 0 ? -errno : 0;
}

/* ---- running ---- */

/* What a test allocates stays reachable until it ends. */
static void *keep(void *p)
{
	static void *kept[4096];
	static size_t n;

	cr_assert_lt(n, ARRAY_SIZE(kept));
	return kept[n++] = p;
}

static char base[256]; /* host/ with file, ro/, sub/ */

static void shell(const char *line)
{
	char *text;

	cr_assert_geq(asprintf(&text, "cd '%s' && { %s; }", base, line), 0);
	cr_assert_eq(system(text), 0, "%s", text);
	free(text);
}

static void make_base(void)
{
	const char *tmp = getenv("TMPDIR");
	char *real = realpath(tmp ? tmp : "/tmp", NULL);

	snprintf(base, sizeof(base), "%.200s/gofer-cage-XXXXXX", real);
	cr_assert_not_null(mkdtemp(base));
	/* Not where private directories go: they would be inside. */
	shell("mkdir -p host/sub other && echo secret >other/file && echo hello >host/file && "
	      "printf '#!/bin/sh\\necho script\\n' "
	      ">host/script && chmod 755 host/script");
	free(real);
}

static void remove_base(void)
{
	(void)plan_remove_tree(base);
}

struct sandbox {
	struct run_options options;
	struct run_plan plan;
	struct cage cage;
	char problem[RUN_PROBLEM_MAX];
};

/* Words of the command line: option words, then "--", then `script` for the shell. */
static int prepare(struct sandbox *s, const char *line, const char *script)
{
	char *text, *save = NULL, **argv = keep(calloc(64, sizeof(*argv)));
	int argc = 1;

	*s = (struct sandbox){ .plan = RUN_PLAN_NULL, .cage = CAGE_NULL };
	if (asprintf(&text, "%s", line) < 0)
		return -ENOMEM;
	(void)keep(text);
	argv[0] = (char *)"run";
	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (strncmp(word, "BASE", 4) == 0) {
			char *volume;

			/* BASE/x:/y, and BASE/x alone for BASE/x:BASE/x. */
			if (asprintf(&volume, strchr(word, ':') ? "%s%s" : "%s%s:%s%s", base,
				     word + 4, base, word + 4) < 0)
				return -ENOMEM;
			word = keep(volume);
		}
		argv[argc++] = word;
	}
	argv[argc++] = (char *)"--";
	argv[argc++] = (char *)"/bin/sh";
	argv[argc++] = (char *)"-c";
	argv[argc++] = keep(strdup(script));
	if (run_options_parse(argc, argv, &s->options, s->problem) != 0)
		return -EINVAL;
	return plan_init(&s->options, &s->plan, s->problem);
}

static void finish(struct sandbox *s)
{
	cage_deinit(&s->cage);
	plan_deinit(&s->plan);
	run_options_deinit(&s->options);
}

static void need(uint32_t layers)
{
	struct run_layers l;

	run_layers_probe(&l, 0);
	for (int i = 0; i < RUN_LAYERS; i++)
		if ((layers & RUN_LAYER_BIT(i)) && !l.layer[i].holds)
			cr_skip_test("layer %s: %s", run_layer_name((enum run_layer)i),
				     l.layer[i].detail);
}
#define NEED(layer) need(RUN_LAYER_BIT(RUN_LAYER_##layer))

/* Runs a script; what it wrote (also to standard error) and how it ended, as a shell would say. */
static char output[65536];

static int run(const char *line, const char *script)
{
	struct sandbox s;
	int status = 0, error = 0, r, fds[2], saved[2];
	size_t used = 0;
	ssize_t n;
	pid_t reader;

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	/* Somebody must read while it runs. */
	reader = fork();
	if (reader == 0) {
		char *path;

		close(fds[1]);
		while ((n = read(fds[0], output + used, sizeof(output) - 1 - used)) > 0)
			used += (size_t)n;
		if (asprintf(&path, "%s/output", base) < 0)
			_exit(1);
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		_exit(write(fd, output, used) == (ssize_t)used ? 0 : 1);
	}
	close(fds[0]);
	saved[0] = fcntl(1, F_DUPFD_CLOEXEC, 10);
	saved[1] = fcntl(2, F_DUPFD_CLOEXEC, 10);
	r = prepare(&s, line, script);
	dup2(fds[1], 1);
	dup2(fds[1], 2);
	if (r == 0)
		r = cage_start(&s.plan, &s.cage);
	if (r == 0)
		r = cage_go(&s.cage);
	if (r == 0)
		r = cage_wait(&s.cage, &status, &error);
	dup2(saved[0], 1);
	dup2(saved[1], 2);
	close(saved[0]);
	close(saved[1]);
	close(fds[1]);
	cr_assert_eq(r, 0, "%s: %s%s", line, s.problem, s.cage.problem);
	finish(&s);
	cr_assert_eq(waitpid(reader, &r, 0), reader);
	cr_assert_eq(r, 0);
	{
		char path[300];
		int fd;

		snprintf(path, sizeof(path), "%s/output", base);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = read(fd, output, sizeof(output) - 1);
		close(fd);
		output[n < 0 ? 0 : n] = '\0';
	}
	if (error)
		return error == ENOENT ? 127 : 126;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void expect(const char *line, const char *script, const char *what)
{
	int status = run(line, script);

	cr_assert_eq(status, 0, "%s: %d: %s", script, status, output);
	cr_assert_str_eq(output, what);
}

TestSuite(run_cage, .init = make_base, .fini = remove_base);

/* ---- life ---- */

Test(run_cage, status_is_the_programs)
{
	cr_assert_eq(run("", "exit 7"), 7);
	cr_assert_eq(run("", "kill -USR1 $$"), 128 + SIGUSR1);
	cr_assert_eq(run("--without pid", "exit 7"), 7);
	cr_assert_eq(run("--without user,mount,pid,ipc,uts,net,landlock", "exit 7"), 7);
}

Test(run_cage, program_that_cannot_be_executed_has_its_errno)
{
	static const struct {
		const char *name;
		int error;
	} cases[] = { { "/nowhere", ENOENT }, { "no-such-command", ENOENT }, { "/usr", EACCES } };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int status, error;
		struct sandbox s;
		char *argv[] = { (char *)cases[i].name, NULL };

		cr_assert_eq(prepare(&s, "", "x"), 0, "%s", s.problem);
		s.plan.argv = argv;
		cr_assert_eq(cage_start(&s.plan, &s.cage), 0, "%s", s.cage.problem);
		cr_assert_eq(cage_go(&s.cage), 0);
		cr_assert_eq(cage_wait(&s.cage, &status, &error), 0);
		cr_assert_eq(error, cases[i].error);
		finish(&s);
	}
}

static size_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

Test(run_cage, nothing_stays_open_or_behind)
{
	size_t before = open_descriptors();
	char *dir;
	struct sandbox s;
	int status, error;

	cr_assert_eq(prepare(&s, "", "true"), 0);
	dir = keep(strdup(s.plan.private_dir));
	cr_assert_eq(cage_start(&s.plan, &s.cage), 0, "%s", s.cage.problem);
	cr_assert_eq(cage_go(&s.cage), 0);
	cr_assert_eq(cage_wait(&s.cage, &status, &error), 0);
	finish(&s);
	cr_assert_eq(open_descriptors(), before);
	cr_assert(access(dir, F_OK) < 0);
	/* Nor when it is given up half-way. */
	cr_assert_eq(prepare(&s, "", "sleep 1000"), 0);
	cr_assert_eq(cage_start(&s.plan, &s.cage), 0, "%s", s.cage.problem);
	finish(&s);
	cr_assert_eq(open_descriptors(), before);
	cr_assert(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

/* What the program left running ends with it. */
Test(run_cage, background_processes_end_with_the_program)
{
	/* The pipe would stay open, and the test hang, if one lived. */
	cr_assert_eq(run("", "sleep 1000 & (sleep 1000 & setsid sleep 1000) & exit 3"), 3);
	cr_assert_eq(run("--without pid", "sleep 1000 & (sleep 1000 & setsid sleep 1000) & exit 3"),
		     3);
}

/* A supervisor that is killed: the end of the pipe says that nobody lives. */
static void dies_with(const char *line, bool before_go)
{
	int fds[2], ready[2], status;
	char byte;
	pid_t pid;

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		struct sandbox s;

		if (prepare(&s, line, "echo up; sleep 1000 & sleep 1000") != 0)
			_exit(1);
		dup2(fds[1], 1);
		close(fds[1]);
		if (cage_start(&s.plan, &s.cage) < 0)
			_exit(1);
		if (before_go)
			(void)!write(1, "up\n", 3);
		else
			(void)cage_go(&s.cage);
		_exit((int)read(ready[0], &byte, 1));
	}
	close(fds[1]);
	cr_assert_eq(read(fds[0], &byte, 1), 1, "%s", line);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	while (read(fds[0], &byte, 1) > 0)
		;
	close(fds[0]);
	close(ready[0]);
	close(ready[1]);
}

Test(run_cage, everything_dies_with_the_supervisor, .timeout = 60)
{
	char *own;

	/* Private directories of killed supervisors stay: in a place of our own. */
	cr_assert_geq(asprintf(&own, "%s/t", base), 0);
	(void)keep(own);
	mkdir(own, 0700);
	setenv("TMPDIR", own, 1);
	dies_with("", false);
	dies_with("", true);
	dies_with("--without pid", false);
	dies_with("--without pid", true);
	dies_with("--without user,mount,pid,ipc,uts,net,landlock", false);
}

Test(run_cage, signals_reach_the_program)
{
	struct sandbox s;
	int status, error;

	cr_assert_eq(prepare(&s, "", "exec sleep 1000"), 0);
	cr_assert_eq(cage_start(&s.plan, &s.cage), 0, "%s", s.cage.problem);
	cr_assert_eq(cage_go(&s.cage), 0);
	cr_assert_eq(cage_signal(&s.cage, SIGTERM), 0);
	cr_assert_eq(cage_wait(&s.cage, &status, &error), 0);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	finish(&s);
}

Test(run_cage, directory_as_standard_input_is_refused)
{
	struct sandbox s;
	int saved = dup(0), dir = open("/", O_RDONLY | O_DIRECTORY);

	cr_assert_eq(prepare(&s, "", "true"), 0);
	dup2(dir, 0);
	cr_assert_eq(cage_start(&s.plan, &s.cage), -EISDIR);
	dup2(saved, 0);
	cr_assert_str_eq(s.cage.problem, "standard input is a directory, which would lead out of "
					 "the sandbox: redirect it from a "
					 "file or /dev/null");
	finish(&s);
	close(dir);
	close(saved);
}

Test(run_cage, start_in_a_directory_that_is_not_there_is_refused)
{
	struct sandbox s;

	cr_assert_eq(prepare(&s, "--chdir /nowhere", "true"), 0);
	cr_assert_eq(cage_start(&s.plan, &s.cage), -ENOENT);
	cr_assert_str_eq(s.cage.problem, "--chdir /nowhere: No such file or directory: give a "
					 "directory that the program sees "
					 "(--explain lists them)");
	finish(&s);
}

/* ---- what the program is ---- */

Test(run_cage, program_has_no_privilege_and_gets_none)
{
	NEED(USER);
	expect("--without landlock",
	       "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr "
	       "-s '\\t' ' '",
	       "CapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: "
	       "0000000000000000\nCapBnd: 0000000000000000\n"
	       "CapAmb: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n");
}

Test(run_cage, program_makes_no_further_namespaces)
{
	NEED(USER);
	NEED(MOUNT);
	cr_assert_neq(run("--without landlock", "unshare -U true"), 0);
	cr_assert_neq(run("--without landlock,pid", "unshare -U true"), 0);
	cr_assert_neq(run("--without landlock", "unshare -m true"), 0);
	expect("--without landlock", "cat /proc/sys/user/max_user_namespaces", "0\n");
}

Test(run_cage, program_has_the_callers_ids_and_sees_owners)
{
	char ids[64], owner[64];

	snprintf(ids, sizeof(ids), "%u %u\n", geteuid(), getegid());
	expect("", "echo $(id -u) $(id -g)", ids);
	snprintf(owner, sizeof(owner), "%u\n", geteuid());
	expect("-v BASE/host:/work", "stat -c %u /work/file", owner);
	if (geteuid() == 0) {
		shell("chown 1234 host/file");
		expect("-v BASE/host:/work", "stat -c %u /work/file", "1234\n");
	}
}

Test(run_cage, program_holds_three_descriptors)
{
	int extra = open("/etc/passwd", O_RDONLY);

	/* The fourth is the directory that ls reads. */
	expect("--without landlock", "ls /proc/self/fd | tr '\\n' ' '", "0 1 2 3 ");
	close(extra);
}

Test(run_cage, names_network_and_processes_are_its_own)
{
	NEED(UTS);
	NEED(NET);
	NEED(PID);
	NEED(MOUNT);
	expect("--hostname box", "uname -n", "box\n");
	expect("--without landlock",
	       "ls /sys 2>&1 | wc -l; tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '",
	       "1\nlo\n");
	expect("--without landlock", "cat /proc/1/comm; cd /proc; echo [0-9]*",
	       "gofer-init\n1 2\n");
	/* The words of the supervisor's command line name paths of the host. */
	expect("--without landlock", "tr -d '\\0' </proc/1/cmdline", "");
	cr_assert_neq(run("--without landlock",
			  "cat /proc/1/environ || readlink /proc/1/fd/3 || ls /proc/1/root/"),
		      0);
}

Test(run_cage, dangerous_files_of_proc_are_read_only_or_empty)
{
	NEED(PID);
	NEED(MOUNT);
	cr_assert_neq(run("--without landlock", "echo x >/proc/sys/kernel/core_pattern"), 0);
	cr_assert_neq(run("--without landlock", "echo 1 >/proc/sysrq-trigger"), 0);
	cr_assert_neq(run("--without landlock", "mount -t tmpfs x /proc/sys"), 0);
	expect("--without landlock", "cat /proc/keys /proc/kallsyms /proc/timer_list | wc -c",
	       "0\n");
	expect("--without landlock",
	       "echo 7 >/proc/self/oom_score_adj && cat /proc/self/oom_score_adj", "7\n");
}

Test(run_cage, devices)
{
	NEED(MOUNT);
	expect("",
	       "head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x >/dev/null; "
	       "cat </dev/null",
	       "3\n3\n");
	expect("--without landlock", "ls /dev | tr '\\n' ' '",
	       isatty(1)
		       ? "console fd full null ptmx pts random shm stderr stdin stdout tty urandom "
			 "zero "
		       : "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero ");
	expect("--without landlock", "ls /dev/pts; echo x >/dev/shm/x && cat /dev/shm/x",
	       "ptmx\nx\n");
	cr_assert_neq(run("--without landlock",
			  "chmod 0 /dev/null || touch /dev/x || mknod /dev/x c 1 3"),
		      0);
}

/* ---- mounts, without Landlock's help ---- */

Test(run_cage, mounts_alone_show_the_volumes_and_nothing_else)
{
	char *lib64 = keep(realpath("/lib64", NULL)), *line;

	NEED(MOUNT);
	cr_assert_geq(asprintf(&line,
			       "--without landlock --root none -v /usr:/usr:ro -v %s:/lib64:ro -v "
			       "/usr/lib:/lib:ro -v /usr/bin:/bin:ro -v BASE/host:/work",
			       lib64),
		      0);
	(void)keep(line);
	expect(line, "export LD_LIBRARY_PATH=$(echo /usr/lib/*-linux-gnu); cd /; echo *; ls /work",
	       "bin dev lib lib64 proc tmp usr work\nfile\nscript\nsub\n");
}

Test(run_cage, mounts_alone_keep_read_only_volumes)
{
	NEED(MOUNT);
	expect("--without landlock -v BASE/host:/work:ro", "cat /work/file", "hello\n");
	cr_assert_neq(run("--without landlock -v BASE/host:/work:ro", "echo x >/work/file"), 0);
	cr_assert_neq(run("--without landlock -v BASE/host:/work:ro",
			  "touch /work/new || mkdir /work/sub/x || chmod 700 /work"),
		      0);
	cr_assert_neq(run("--without landlock -v BASE/host:/work:ro", "mount -o remount,rw /work"),
		      0);
	expect("--without landlock -v BASE/host:/work",
	       "echo x >/work/new; /work/script; cat /work/new", "script\nx\n");
	cr_assert_neq(run("--without landlock -v BASE/host:/work:noexec", "/work/script"), 0);
	/* Neither root nor system. */
	cr_assert_neq(run("--without landlock",
			  "touch /x || touch /etc/x || touch /usr/x || touch /dev/x"),
		      0);
	expect("--without landlock", "echo x >/tmp/x && cat /tmp/x", "x\n");
}

Test(run_cage, mounts_alone_lead_nowhere_else)
{
	char script[2048];

	NEED(MOUNT);
	snprintf(script, sizeof(script),
		 "cat %s/other/file || ls /work/../../../%s || cat /proc/1/root%s/other/file || ls "
		 "/home || ls /root",
		 base, base, base);
	cr_assert_neq(run("--without landlock -v BASE/host:/work", script), 0);
	expect("--without landlock",
	       "cd / && ls -d .. ../.. && ls -di / | cut -d/ -f2; ls -d /proc/1/cwd/* 2>&1 | wc -l",
	       "..\n../..\n\n1\n");
}

/* ---- Landlock, without mounts ---- */

Test(run_cage, landlock_alone_lets_the_kernel_read_and_execute_volumes_only)
{
	char script[2048], *line;

	NEED(LANDLOCK);
	expect("--without user,mount,pid -v BASE/host", "/bin/true && echo ok", "ok\n");
	snprintf(script, sizeof(script), "cat %s/host/file; %s/host/script", base, base);
	expect("--without user,mount,pid -v BASE/host", script, "hello\nscript\n");
	snprintf(script, sizeof(script),
		 "echo x >%s/host/file || touch %s/host/new || rm %s/host/file || ls %s/host", base,
		 base, base, base);
	cr_assert_neq(run("--without user,mount,pid -v BASE/host", script), 0);
	snprintf(script, sizeof(script),
		 "cat %s/other/file || ls / || cat /proc/self/status || echo x >/tmp/x", base);
	cr_assert_neq(run("--without user,mount,pid -v BASE/host", script), 0);
	snprintf(script, sizeof(script), "%s/host/script", base);
	cr_assert_geq(
		asprintf(&line, "--without user,mount,pid -v %s/host:%s/host:noexec", base, base),
		0);
	cr_assert_neq(run(line, script), 0);
	free(line);
}

/* A descriptor that was opened outside is judged by where it was opened. */
Test(run_cage, landlock_leaves_descriptors_alone)
{
	char path[300], text[16] = "";
	int saved = dup(0), fd;

	if (access("/usr/bin/perl", X_OK) < 0)
		cr_skip_test("no perl");
	snprintf(path, sizeof(path), "%s/host/file", base);
	fd = open(path, O_RDWR);
	dup2(fd, 0);
	cr_assert_eq(run("-v BASE/host:/work",
			 "echo HE >&0; /usr/bin/perl -e 'truncate(STDIN, 2) or die'"),
		     0, "%s", output);
	dup2(saved, 0);
	cr_assert_eq(pread(fd, text, sizeof(text) - 1, 0), 2, "%s", text);
	cr_assert_str_eq(text, "HE");
	close(fd);
	close(saved);
}

Test(run_cage, landlock_keeps_signals_inside)
{
	struct run_layers l;
	char script[128];
	pid_t pid;

	NEED(LANDLOCK);
	run_layers_probe(&l, 0);
	if (strncmp(l.layer[RUN_LAYER_LANDLOCK].detail, "ABI ", 4) != 0 ||
	    atoi(l.layer[RUN_LAYER_LANDLOCK].detail + 4) < 6)
		cr_skip_test("%s", l.layer[RUN_LAYER_LANDLOCK].detail);
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	snprintf(script, sizeof(script), "kill -0 %d || kill -0 $PPID || kill -9 %d", pid,
		 getpid());
	cr_assert_neq(run("--without user,mount,pid", script), 0);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* ---- what is mounted below a volume ---- */

Test(run_cage, mounts_below_a_volume_are_covered_unless_it_says_xdev)
{
	if (geteuid() != 0)
		cr_skip_test("only root can mount");
	NEED(MOUNT);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip_test("cannot mount here");
	shell("mkdir -p 'host/a b/c' host/hidden && touch host/single host/hidden/under && mount "
	      "-t tmpfs x 'host/a b' && mkdir 'host/a "
	      "b/c' && mount -t tmpfs x 'host/a b/c' && touch 'host/a b/c/deep' && mount --bind "
	      "other host/hidden && mount --bind "
	      "other/file host/single");
	expect("--without landlock -v BASE/host:/work",
	       "ls -A '/work/a b' /work/hidden; cat /work/single; cat /work/file",
	       "/work/a b:\n\n/work/hidden:\nhello\n");
	cr_assert_neq(run("--without landlock -v BASE/host:/work",
			  "touch '/work/a b/x' || umount /work/hidden"),
		      0);
	expect("--without landlock -v BASE/host:/work:xdev",
	       "ls -A '/work/a b/c' /work/hidden; cat /work/single",
	       "/work/a b/c:\ndeep\n\n/work/hidden:\nfile\nsecret\n");
	cr_assert_neq(run("--without landlock -v BASE/host:/work:xdev,ro", "touch '/work/a b/x'"),
		      0);
	shell("umount host/single host/hidden 'host/a b/c' 'host/a b'");
}

/* ---- the agent ---- */

/* A sandbox that stands still, for requests. */
static void stand(struct sandbox *s, const char *line)
{
	cr_assert_eq(prepare(s, line, "exec sleep 1000"), 0, "%s", s->problem);
	cr_assert_eq(cage_start(&s->plan, &s->cage), 0, "%s", s->cage.problem);
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	cr_assert_lt(strlen(path), sizeof(a.sun_path));
	memcpy(a.sun_path, path, strlen(path));
	return a;
}

Test(run_cage, agent_binds_inside_with_umask_and_directory)
{
	struct sockaddr_un absolute = address("/work/one"), relative = address("two"),
			   outside = address("/proc/x");
	int a = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    b = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), dir;
	char path[300];
	struct sandbox s;
	struct stat st;

	NEED(MOUNT);
	stand(&s, "-v BASE/host:/work");
	dir = openat(s.cage.view_root, "work/sub", O_PATH | O_DIRECTORY);
	cr_assert_geq(dir, 0);
	cr_assert_eq(cage_bind(&s.cage, a, dir, 077, &absolute, sizeof(absolute)), 0);
	/* A request that cannot be sent whole leaves the line in step. */
	cr_assert_eq(cage_bind(&s.cage, b, 99999, 002, &relative, sizeof(relative)), -EBADF);
	cr_assert_eq(cage_signal(&s.cage, 0), 0);
	cr_assert_eq(cage_bind(&s.cage, b, dir, 002, &relative, sizeof(relative)), 0);
	cr_assert_eq(cage_bind(&s.cage, c, dir, 002, &relative, sizeof(relative)), -EADDRINUSE);
	cr_assert_lt(cage_bind(&s.cage, c, dir, 0, &outside, sizeof(outside)), 0);
	snprintf(path, sizeof(path), "%s/host/one", base);
	cr_assert_eq(lstat(path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 0777, 0700);
	snprintf(path, sizeof(path), "%s/host/sub/two", base);
	cr_assert_eq(lstat(path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0775);
	finish(&s);
	close(a);
	close(b);
	close(c);
	close(dir);
}

/* ---- the supervisor ---- */

Test(run_cage, hardened_supervisor_has_nothing_and_still_reads_the_program)
{
	struct sandbox s;
	int status, error;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		stand(&s, "");
		if (cage_harden_supervisor() < 0 || prctl(PR_GET_DUMPABLE) != 0 ||
		    prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
			_exit(1);
		if (geteuid() == 0 && (mount("x", "/", "tmpfs", 0, NULL) == 0 || errno != EPERM))
			_exit(2);
		if (cage_go(&s.cage) < 0 || cage_signal(&s.cage, SIGTERM) < 0 ||
		    cage_wait(&s.cage, &status, &error) < 0)
			_exit(3);
		finish(&s);
		_exit(WIFSIGNALED(status) ? 0 : 4);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x", status);
}
