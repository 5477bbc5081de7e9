/* test_run_plan.c - the command line of `gofer run`, what it becomes, and the lines in which it is refused. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "client/run/options.h"
#include "client/run/plan.h"

static char problem[RUN_PROBLEM_MAX];

/* ---- options ---- */

/* What a test allocates stays reachable until it ends. */
static void *keep(void *p)
{
	static void *kept[4096];
	static size_t n;

	cr_assert_lt(n, ARRAY_SIZE(kept));
	return kept[n++] = p;
}

/* Words, split at blanks; they live as long as the test. */
static int parse(const char *line, struct run_options *ret)
{
	char *text = keep(strdup(line)), *save = NULL;
	char **argv = keep(calloc(64, sizeof(*argv)));
	int argc = 1;

	argv[0] = keep(strdup("run"));
	for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	return run_options_parse(argc, argv, ret, problem);
}

static struct run_options parsed(const char *line)
{
	struct run_options o = {};

	cr_assert_eq(parse(line, &o), 0, "%s: %s", line, problem);
	return o;
}

static void refused(const char *line, const char *words)
{
	struct run_options o = {};

	cr_assert_eq(parse(line, &o), -EINVAL, "%s was accepted", line);
	cr_assert_str_eq(problem, words);
}

Test(run_options, defaults)
{
	struct run_options o = parsed("make -j2 test");

	cr_assert_eq(o.root, RUN_ROOT_HOST);
	cr_assert_eq(o.net, RUN_NET_NONE);
	cr_assert_str_eq(o.hostname, "gofer");
	cr_assert_eq(o.json_status_fd, -EBADF);
	cr_assert_eq(o.n_volumes, 0);
	/* Options end at the command: its own are not ours. */
	cr_assert_str_eq(o.argv[0], "make");
	cr_assert_str_eq(o.argv[1], "-j2");
	cr_assert_null(o.argv[3]);
	run_options_deinit(&o);
}

Test(run_options, volumes)
{
	struct run_options o = parsed(
		"-v /a:/b -v /c\\:d:/e\\,f:ro,xdev,noexec,special=allow,caps=chown+fowner -- x");

	cr_assert_eq(o.n_volumes, 2);
	cr_assert_str_eq(o.volumes[0].host, "/a");
	cr_assert_str_eq(o.volumes[0].guest, "/b");
	cr_assert(!o.volumes[0].read_only && !o.volumes[0].xdev && !o.volumes[0].noexec);
	cr_assert_null(o.volumes[0].server_options);
	cr_assert_str_eq(o.volumes[1].host, "/c:d");
	cr_assert_str_eq(o.volumes[1].guest, "/e,f");
	cr_assert(o.volumes[1].read_only && o.volumes[1].xdev && o.volumes[1].noexec);
	cr_assert_str_eq(o.volumes[1].server_options, "special=allow,caps=chown+fowner");
	run_options_deinit(&o);
}

Test(run_options, roots)
{
	struct run_options o = parsed("--root /srv/x x");

	cr_assert(o.root == RUN_ROOT_DIR && o.root_dir.read_only);
	cr_assert_str_eq(o.root_dir.host, "/srv/x");
	run_options_deinit(&o);
	o = parsed("--root ./x:rw x");
	cr_assert(o.root == RUN_ROOT_DIR && !o.root_dir.read_only);
	run_options_deinit(&o);
	o = parsed("--root /srv/x --root none x");
	cr_assert_eq(o.root, RUN_ROOT_NONE);
	run_options_deinit(&o);
}

Test(run_options, layers)
{
	struct run_options o = parsed("--require user,pid --without landlock,net x");

	cr_assert_eq(o.require, RUN_LAYER_BIT(RUN_LAYER_USER) | RUN_LAYER_BIT(RUN_LAYER_PID));
	cr_assert_eq(o.without, RUN_LAYER_BIT(RUN_LAYER_LANDLOCK) | RUN_LAYER_BIT(RUN_LAYER_NET));
	run_options_deinit(&o);
	o = parsed("--require all --net host x");
	cr_assert_eq(o.require, (RUN_LAYER_BIT(RUN_LAYERS) - 1) & ~RUN_LAYER_BIT(RUN_LAYER_NET));
	run_options_deinit(&o);
}

Test(run_options, refusals_word_for_word)
{
	refused("", "no command: write gofer run [OPTION]... -- COMMAND [ARGUMENT]...");
	refused("--frob x", "unknown option '--frob': 'gofer run --help' lists them");
	refused("--net", "option '--net' needs a value");
	refused("--net lo x", "--net lo: expected none or host");
	refused("-v /a x", "volume /a: the GUEST is missing: write -v "
			   "HOST:GUEST[:ro|rw[,OPTION...]], GUEST is where the program sees "
			   "HOST");
	refused("-v :/a x", "volume :/a: the HOST is missing: write -v "
			    "HOST:GUEST[:ro|rw[,OPTION...]], GUEST is where the program sees "
			    "HOST");
	refused("-v /a:ro x", "volume /a:ro: GUEST 'ro' is not absolute: write -v HOST:/PATH (a "
			      "':' in HOST is written '\\:')");
	refused("-v /a:/b:roo x", "volume /a:/b:roo: unknown option 'roo': 'gofer run --help' "
				  "lists them (a ':' in a path is written '\\:')");
	refused("-v /a:/b:ro=1 x", "volume /a:/b:ro=1: unknown option 'ro=1': 'gofer run --help' "
				   "lists them (a ':' in a path is written '\\:')");
	refused("-v /a:/b:ro,rw x", "volume /a:/b:ro,rw: both 'ro' and 'rw': keep one");
	refused("-v /a:/b:donate=never x", "volume /a:/b:donate=never: donate= is not for gofer "
					   "run: programs get the files that they open");
	refused("--root debian x",
		"--root debian: expected host, none, or a directory (write ./debian for one here)");
	refused("--chdir work x",
		"--chdir work: expected a path of the sandbox that begins with '/'");
	refused("--env =x x", "--env =x: expected NAME=VALUE, or NAME to pass the caller's on");
	refused("--json-status-fd x x", "--json-status-fd x: expected the number of a descriptor");
	refused("--json-status-fd 987 x",
		"--json-status-fd 987: that descriptor is not open: redirect it, as in 987>FILE");
	refused("--require userns x", "--require: there is no layer 'userns': they are seccomp, "
				      "user, mount, pid, ipc, uts, net, landlock");
	refused("--without all x", "--without: there is no layer 'all': they are seccomp, user, "
				   "mount, pid, ipc, uts, net, landlock");
	refused("--without seccomp x",
		"--without seccomp: nothing runs without it: it is how calls reach gofer");
	refused("--without pid --require pid x",
		"layer pid is in both --require and --without: keep one");
	refused("--require net --net host x", "--require net and --net host: keep one");
	refused("--confine lax x", "--confine lax: expected strict or best-effort");
	refused("--json x",
		"--json goes with --explain or --stats; --json-status-fd N reports on a run");
}

/* ---- plans ---- */

/* A directory of the test's: host/ with a file and sub/, root/ that is half a root file system. */
static char base[256];

/* BASE in the line stands for the directory. */
static char *with_base(const char *line)
{
	char *out = keep(calloc(1, 8192));

	for (const char *p = line; *p;) {
		if (strncmp(p, "BASE", 4) == 0) {
			strcat(out, base);
			p += 4;
		} else {
			strncat(out, p++, 1);
		}
	}
	return out;
}

static void shell(const char *line)
{
	cr_assert_eq(system(with_base(line)), 0, "%s", line);
}

static void make_base(void)
{
	const char *tmp = getenv("TMPDIR");
	char *real = realpath(tmp ? tmp : "/tmp", NULL);

	snprintf(base, sizeof(base), "%.200s/gofer-plan-XXXXXX", real);
	cr_assert_not_null(mkdtemp(base));
	shell("mkdir -p BASE/host/sub BASE/root/tmp BASE/root/proc && echo x >BASE/host/file && ln "
	      "-s sub BASE/host/link");
	free(real);
}

static void remove_base(void)
{
	cr_assert_eq(plan_remove_tree(base), 0);
}

static struct run_plan planned(const char *line, struct run_options *options)
{
	struct run_plan plan = RUN_PLAN_NULL;

	*options = parsed(with_base(line));
	cr_assert_eq(plan_init(options, &plan, problem), 0, "%s: %s", line, problem);
	return plan;
}

static void not_planned(const char *line, int error, const char *words)
{
	struct run_options options = parsed(with_base(line));
	struct run_plan plan = RUN_PLAN_NULL;

	cr_assert_eq(plan_init(&options, &plan, problem), error, "%s: %s", line, problem);
	cr_assert_str_eq(problem, with_base(words));
	cr_assert_null(plan.private_dir);
	run_options_deinit(&options);
}

static const struct run_volume *at(const struct run_plan *plan, const char *guest)
{
	for (size_t i = 0; i < plan->n_volumes; i++)
		if (strcmp(plan->volumes[i].guest, guest) == 0)
			return &plan->volumes[i];
	return NULL;
}

TestSuite(run_plan, .init = make_base, .fini = remove_base);

Test(run_plan, host_root_shows_directories_as_volumes_and_links_as_links)
{
	struct run_options options;
	struct run_plan plan = planned("x", &options);
	char path[PATH_MAX], target[PATH_MAX] = "", mine[PATH_MAX] = "";
	struct stat st;

	cr_assert_str_eq(plan.volumes[0].guest, "/");
	cr_assert(plan.volumes[0].read_only && plan.volumes[0].kind == RUN_VOLUME_PRIVATE);
	cr_assert_str_eq(at(&plan, "/usr")->host, "/usr");
	cr_assert(at(&plan, "/usr")->read_only);
	cr_assert_str_eq(at(&plan, "/etc")->options, "ro,xdev");
	cr_assert(!at(&plan, "/tmp")->read_only);
	cr_assert_str_eq(at(&plan, "/dev/shm")->options, "rw,special=allow");
	cr_assert_null(at(&plan, "/home"));
	if (lstat("/bin", &st) == 0 && S_ISLNK(st.st_mode)) {
		cr_assert_null(at(&plan, "/bin"));
		snprintf(path, sizeof(path), "%s/root/bin", plan.private_dir);
		cr_assert_gt(readlink("/bin", target, sizeof(target) - 1), 0);
		cr_assert_gt(readlink(path, mine, sizeof(mine) - 1), 0);
		cr_assert_str_eq(mine, target);
	}
	for (size_t i = 1; i < plan.n_volumes; i++) {
		char name[32];

		cr_assert_lt(strcmp(plan.volumes[i - 1].guest, plan.volumes[i].guest), 0);
		snprintf(name, sizeof(name), "v%zu", i);
		cr_assert_str_eq(plan.volumes[i].name, name);
	}
	plan_deinit(&plan);
	run_options_deinit(&options);
}

Test(run_plan, private_directory_is_ours_and_goes_away)
{
	struct run_options options;
	struct run_plan plan = planned("--root none x", &options);
	char *dir = strdup(plan.private_dir), path[PATH_MAX];
	struct stat st;

	cr_assert_eq(stat(dir, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	snprintf(path, sizeof(path), "%s/tmp", dir);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 01777);
	cr_assert_eq(plan.n_volumes, 3);
	plan_deinit(&plan);
	cr_assert(stat(dir, &st) < 0 && errno == ENOENT);
	run_options_deinit(&options);
	free(dir);
}

Test(run_plan, volumes_nest_and_places_are_made_where_they_are_ours)
{
	struct run_options options;
	struct run_plan plan = planned("--root none -v BASE/host:/work//./a/ -v "
				       "BASE/root:/work/a/sub:ro -v BASE/root:/tmp/x -- x",
				       &options);
	const char *rest;
	char path[PATH_MAX];
	struct stat st;
	char *host;

	cr_assert_str_eq(at(&plan, "/work/a")->options, "rw");
	cr_assert_str_eq(plan_find(&plan, "/work/a/sub/q/r", &rest)->guest, "/work/a/sub");
	cr_assert_str_eq(rest, "q/r");
	cr_assert_str_eq(plan_find(&plan, "/work/ab", &rest)->guest, "/");
	cr_assert_str_eq(rest, "work/ab");
	host = plan_host_path(&plan, "/work/a/file");
	cr_assert_str_eq(host, with_base("BASE/host/file"));
	free(host);
	snprintf(path, sizeof(path), "%s/root/work/a", plan.private_dir);
	cr_assert(stat(path, &st) == 0 && S_ISDIR(st.st_mode));
	snprintf(path, sizeof(path), "%s/tmp/x", plan.private_dir);
	cr_assert(stat(path, &st) == 0 && S_ISDIR(st.st_mode));
	plan_deinit(&plan);
	run_options_deinit(&options);
}

Test(run_plan, links_to_a_host_directory_are_followed_once_and_for_all)
{
	struct run_options options;
	struct run_plan plan = planned("-v BASE/host/link:/l x", &options);

	cr_assert_str_eq(at(&plan, "/l")->host, with_base("BASE/host/sub"));
	plan_deinit(&plan);
	run_options_deinit(&options);
}

Test(run_plan, volume_takes_the_place_of_what_the_root_would_show)
{
	struct run_options options;
	struct run_plan plan =
		planned("-v BASE/host:/etc:ro -v BASE/root:/tmp -v BASE/host/sub:/bin x", &options);

	cr_assert_eq(at(&plan, "/etc")->kind, RUN_VOLUME_USER);
	cr_assert_eq(at(&plan, "/tmp")->kind, RUN_VOLUME_USER);
	cr_assert_eq(at(&plan, "/bin")->kind, RUN_VOLUME_USER);
	plan_deinit(&plan);
	run_options_deinit(&options);
}

Test(run_plan, spec_for_the_private_server_is_escaped)
{
	struct run_volume v = { .host = (char *)"/a:b,c\\d",
				.name = (char *)"v3",
				.options = (char *)"ro" };
	char *spec = plan_volume_spec(&v);

	cr_assert_str_eq(spec, "/a\\:b\\,c\\\\d:v3:ro");
	free(spec);
}

Test(run_plan, starts_where_the_caller_is)
{
	struct run_options options;
	struct run_plan plan;
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/host/sub", base);
	cr_assert_eq(chdir(path), 0);
	plan = planned("-v BASE/root:/r -v BASE/host:/h -- x", &options);
	cr_assert_str_eq(plan.chdir, "/h/sub");
	plan_deinit(&plan);
	run_options_deinit(&options);
	plan = planned("-v BASE/root:/r -- x", &options);
	cr_assert_str_eq(plan.chdir, "/r");
	plan_deinit(&plan);
	run_options_deinit(&options);
	plan = planned("x", &options);
	cr_assert_str_eq(plan.chdir, "/");
	plan_deinit(&plan);
	run_options_deinit(&options);
	plan = planned("--chdir //usr/./lib/ x", &options);
	cr_assert_str_eq(plan.chdir, "/usr/lib");
	plan_deinit(&plan);
	run_options_deinit(&options);
	cr_assert_eq(chdir("/"), 0);
}

static const char *env_of(const struct run_plan *plan, const char *name)
{
	size_t n = strlen(name);

	for (char **e = plan->env; *e; e++)
		if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
			return *e + n + 1;
	return NULL;
}

Test(run_plan, environment)
{
	struct run_options options;
	struct run_plan plan;

	setenv("GOFER_SERVER", "unix:/x", 1);
	setenv("SECRET", "s", 1);
	setenv("HOME", "/nowhere/at/all", 1);
	setenv("TERM", "vt100", 1);
	unsetenv("TMPDIR");
	plan = planned("--env A=1 --env A=2=3 --env NOT_SET x", &options);
	cr_assert_str_eq(env_of(&plan, "A"), "2=3");
	cr_assert_str_eq(env_of(&plan, "SECRET"), "s");
	cr_assert_str_eq(env_of(&plan, "HOME"), "/tmp");
	cr_assert_str_eq(env_of(&plan, "PWD"), "/");
	cr_assert_null(env_of(&plan, "TMPDIR"));
	cr_assert_null(env_of(&plan, "GOFER_SERVER"));
	cr_assert_null(env_of(&plan, "NOT_SET"));
	plan_deinit(&plan);
	run_options_deinit(&options);
	plan = planned("--clearenv --env SECRET --env HOME=/usr x", &options);
	cr_assert_str_eq(env_of(&plan, "SECRET"), "s");
	cr_assert_str_eq(env_of(&plan, "HOME"), "/usr");
	cr_assert_str_eq(env_of(&plan, "TERM"), "vt100");
	cr_assert_str_eq(env_of(&plan, "PATH"),
			 "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	cr_assert_null(env_of(&plan, "NOTHING_ELSE"));
	plan_deinit(&plan);
	run_options_deinit(&options);
}

Test(run_plan, refusals_word_for_word)
{
	not_planned("-v BASE/none:/x x", -ENOENT,
		    "volume BASE/none:/x: there is no directory BASE/none: create it, or correct "
		    "the path");
	not_planned("-v BASE/host/file:/x x", -ENOTDIR,
		    "volume BASE/host/file:/x: BASE/host/file is not a directory: give the "
		    "directory that holds it");
	not_planned("-v BASE/host:/x/../y x", -EINVAL,
		    "volume BASE/host:/x/../y: GUEST holds '..': write the path without");
	not_planned("-v BASE/host:/ x", -EINVAL,
		    "volume BASE/host:/: GUEST is the root: use --root DIR, or --root DIR:rw");
	not_planned("-v BASE/host:/proc/x x", -EINVAL,
		    "volume BASE/host:/proc/x: GUEST lies in /proc, which is the sandbox's own: "
		    "choose another");
	not_planned("-v BASE/host:/dev x", -EINVAL,
		    "volume BASE/host:/dev: GUEST lies in /dev, which is the sandbox's own: choose "
		    "another");
	not_planned("-v BASE/host:/x -v BASE/root:/x x", -EINVAL,
		    "volume BASE/root:/x: there is a volume at /x already: choose another GUEST");
	not_planned("-v BASE/host:/x:ro -v BASE/root:/x/y x", -ENOENT,
		    "/x/y lies in the volume at /x (read-only), which has no such directory: mkdir "
		    "-p BASE/host/y, or choose "
		    "another GUEST");
	not_planned("-v BASE/host:/x -v BASE/root:/x/file x", -ENOTDIR,
		    "/x/file lies in the volume at /x, which has no such directory: mkdir -p "
		    "BASE/host/file, or choose another "
		    "GUEST");
	not_planned("-v BASE/host:/x -v BASE/root:/x/link x", -ELOOP,
		    "/x/link leads through a symbolic link of the root: write the path that it "
		    "stands for");
	not_planned("--root BASE/root x", -ENOENT,
		    "the root BASE/root has no directory /dev, where the sandbox needs one: mkdir "
		    "-p BASE/root/dev");
	not_planned("--root BASE/nowhere x", -ENOENT,
		    "--root BASE/nowhere: there is no directory BASE/nowhere: create it, or "
		    "correct the path");
	not_planned("-v BASE/host:/x --audit BASE/host/log x", -EINVAL,
		    "--audit BASE/host/log: lies in the volume BASE/host, where the program could "
		    "change it: choose a file "
		    "elsewhere");
	not_planned("--chdir /a/.. x", -EINVAL, "--chdir /a/..: write the path without '..'");
}

Test(run_plan, without_mounts_volumes_sit_at_their_own_paths)
{
	struct run_options options;
	struct run_plan plan = planned("--without mount -v BASE/host:BASE/host x", &options);

	cr_assert_str_eq(at(&plan, with_base("BASE/host"))->host, with_base("BASE/host"));
	plan_deinit(&plan);
	run_options_deinit(&options);
	not_planned("--without mount -v BASE/host:/work x", -EPERM,
		    "volume BASE/host:/work: without a mount namespace a volume sits at its own "
		    "path: write -v "
		    "BASE/host:BASE/host (layer mount: switched off)");
	not_planned("--without mount --root BASE/root x", -EPERM,
		    "--root BASE/root needs a mount namespace, or the kernel would start programs "
		    "of this machine: switched "
		    "off");
}

Test(run_plan, required_layer_that_is_missing_is_a_refusal)
{
	struct run_options options = parsed("--require pid x");
	struct run_plan plan = RUN_PLAN_NULL;

	/* What the command line refuses, said to the plan directly. */
	options.without = RUN_LAYER_BIT(RUN_LAYER_PID);
	cr_assert_eq(plan_init(&options, &plan, problem), -EPERM);
	cr_assert_str_eq(problem, "required layer pid is not to be had: switched off");
	run_options_deinit(&options);
}

Test(run_plan, without_mounts_and_landlock_nothing_runs_unasked)
{
	const uint32_t landlock = RUN_LAYER_BIT(RUN_LAYER_LANDLOCK);
	struct run_options options = parsed("--without landlock x");
	struct run_plan plan = RUN_PLAN_NULL;
	struct run_layers l;

	run_layers_probe(&l, 0);
	if (l.layer[RUN_LAYER_MOUNT].holds) {
		/* One of the two is enough. */
		cr_assert_eq(plan_init(&options, &plan, problem), 0, "%s", problem);
		plan_deinit(&plan);
	} else {
		cr_assert_eq(plan_init(&options, &plan, problem), -EPERM);
		cr_assert_not_null(strstr(problem, "neither layer mount ("));
		cr_assert_not_null(
			strstr(problem, ") nor layer landlock (switched off) is to be had"));
		cr_assert_null(strchr(problem, '\n'));
		options.explain = true;
		cr_assert_eq(plan_init(&options, &plan, problem), 0, "%s", problem);
		plan_deinit(&plan);
		options.explain = false;
	}
	options.without = landlock | RUN_LAYER_BIT(RUN_LAYER_MOUNT);
	cr_assert_eq(plan_init(&options, &plan, problem), 0, "%s", problem);
	plan_deinit(&plan);
	run_options_deinit(&options);
}

/* ---- what is left behind ---- */

/* A run that is killed cannot tidy up; the next one does, and leaves those alone that live. */
Test(run_plan, what_a_killed_run_left_goes_with_the_next)
{
	struct run_options options = parsed("--without mount,landlock x");
	struct run_plan living = RUN_PLAN_NULL, next = RUN_PLAN_NULL;
	char *abandoned =
		mmap(NULL, PATH_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct stat st;
	pid_t pid;

	cr_assert_neq(abandoned, MAP_FAILED);
	setenv("TMPDIR", base, 1);
	cr_assert_eq(plan_init(&options, &living, problem), 0, "%s", problem);
	pid = fork();
	if (pid == 0) {
		if (plan_init(&options, &next, problem) == 0)
			snprintf(abandoned, PATH_MAX, "%s", next.private_dir);
		_exit(system(with_base("mkdir -p BASE/gofer-run-*/tmp/left && chmod 0 "
				       "BASE/gofer-run-*/tmp/left")));
	}
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert_eq(lstat(abandoned, &st), 0, "%s", abandoned);
	/* What only has such a name stays: a link, and a file. */
	shell("ln -s host BASE/gofer-run-linked && echo x >BASE/gofer-run-file12");
	cr_assert_eq(plan_init(&options, &next, problem), 0, "%s", problem);
	cr_assert_lt(lstat(abandoned, &st), 0);
	cr_assert_eq(lstat(living.private_dir, &st), 0);
	cr_assert_eq(lstat(with_base("BASE/gofer-run-linked"), &st), 0);
	cr_assert_eq(lstat(with_base("BASE/gofer-run-file12"), &st), 0);
	cr_assert_eq(lstat(with_base("BASE/host/sub"), &st), 0);
	plan_deinit(&next);
	plan_deinit(&living);
	run_options_deinit(&options);
	munmap(abandoned, PATH_MAX);
}

Test(run_plan, removing_copes_with_modes_links_and_depth)
{
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/victim", base);
	shell("cd BASE && mkdir -p victim/a/b victim/c && echo x >victim/a/f && ln -s BASE/host "
	      "victim/c/host && "
	      "ln -s / victim/root && mkfifo victim/fifo && mkdir victim/d && touch 'victim/d/-rf "
	      "*' && chmod 0 victim/d && "
	      "chmod 0 victim/a/b victim/a && d=victim/deep && for i in $(seq 300); do "
	      "d=$d/0123456789; done && mkdir -p $d");
	cr_assert_eq(plan_remove_tree(path), 0);
	cr_assert(lstat(path, &st) < 0 && errno == ENOENT);
	snprintf(path, sizeof(path), "%s/host/file", base);
	cr_assert_eq(stat(path, &st), 0);
}

/* Deeper than any path can name, made level by level. */
Test(run_plan, removing_needs_neither_paths_nor_stack)
{
	char path[PATH_MAX + 16];
	int at_fd, next;
	struct stat st;

	snprintf(path, sizeof(path), "%s/victim", base);
	cr_assert_eq(mkdir(path, 0700), 0);
	at_fd = open(path, O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 5000; i++) {
		cr_assert_eq(mkdirat(at_fd, "d", i % 2 ? 0700 : 0300), 0);
		next = openat(at_fd, "d", O_PATH | O_DIRECTORY);
		cr_assert_geq(next, 0);
		close(at_fd);
		at_fd = next;
	}
	close(at_fd);
	cr_assert_eq(plan_remove_tree(path), 0);
	cr_assert(lstat(path, &st) < 0 && errno == ENOENT);
}

/* ---- layers ---- */

Test(run_layers, names)
{
	enum run_layer layer;

	for (int i = 0; i < RUN_LAYERS; i++) {
		cr_assert_eq(run_layer_find(run_layer_name((enum run_layer)i), &layer), 0);
		cr_assert_eq(layer, (enum run_layer)i);
	}
	cr_assert_eq(run_layer_find("", &layer), -ENOENT);
	cr_assert_eq(run_layer_find("mounts", &layer), -ENOENT);
}

Test(run_layers, a_layer_that_is_missing_says_why)
{
	struct run_layers l;

	run_layers_probe(&l, 0);
	cr_assert(l.layer[RUN_LAYER_SECCOMP].holds);
	for (int i = 0; i < RUN_LAYERS; i++)
		cr_assert(l.layer[i].holds || (l.layer[i].error < 0 && l.layer[i].detail[0]));
	run_layers_probe(&l, ~0U);
	for (int i = 1; i < RUN_LAYERS; i++) {
		cr_assert(!l.layer[i].holds && l.layer[i].error == 0);
		cr_assert_str_eq(l.layer[i].detail, "switched off");
	}
}

/* In a user namespace that allows no others: as in many containers. */
Test(run_layers, forbidden_user_namespaces_are_named_with_the_knob)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct run_layers l;
		int fd;

		if (unshare(CLONE_NEWUSER) < 0)
			_exit(77);
		fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY);
		if (fd < 0 || write(fd, "0", 1) != 1)
			_exit(77);
		run_layers_probe(&l, 0);
		if (l.layer[RUN_LAYER_USER].holds)
			_exit(1);
		if (strcmp(l.layer[RUN_LAYER_USER].detail,
			   "forbidden by user.max_user_namespaces=0; as root: sysctl -w "
			   "user.max_user_namespaces=10000") != 0)
			_exit(2);
		/* Nobody mapped here, but with all capabilities: the others are still to be had. */
		_exit(l.layer[RUN_LAYER_UTS].holds ? 0 : 3);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip_test("no user namespaces here");
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "%d", WEXITSTATUS(status));
}
