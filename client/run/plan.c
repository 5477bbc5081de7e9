/*
 * plan.c - from options to a plan. See plan.h.
 *
 * In order: the layers (what can be had decides what can be asked), the private directory, the volumes with their places, where to
 * start, the environment. Everything that a user can get wrong is found here, before anything runs, and is one line that says
 * what to do.
 */
#include "client/run/plan.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/run/environment.h"
#include "client/run/options.h"
#include "client/run/paths.h"
#include "client/run/private.h"
#include "common/sys.h"

struct making {
	const struct run_options *options;
	struct run_plan *plan;
	char *problem;
	size_t room;
};

/* ---- layers ---- */

/*
 * Where neither of the two holds, programs outside of the volumes can be run. Nobody gets that unasked: who wants it switches both off by
 * name.
 */
static int check_execution(struct making *m)
{
	static const uint32_t both =
		RUN_LAYER_BIT(RUN_LAYER_MOUNT) | RUN_LAYER_BIT(RUN_LAYER_LANDLOCK);
	const struct run_layers *l = &m->plan->layers;

	if (l->layer[RUN_LAYER_MOUNT].holds || l->layer[RUN_LAYER_LANDLOCK].holds ||
	    (m->options->without & both) == both)
		return 0;
	return run_fail(
		m->problem, -EPERM,
		"neither layer mount (%s) nor layer landlock (%s) is to be had, and without both "
		"the command could run programs outside of the volumes: enable one, or accept "
		"that with --without mount,landlock",
		l->layer[RUN_LAYER_MOUNT].detail, l->layer[RUN_LAYER_LANDLOCK].detail);
}

static int decide_layers(struct making *m)
{
	struct run_layers *l = &m->plan->layers;
	const struct run_options *o = m->options;
	uint32_t without = o->without;

	if (o->net == RUN_NET_HOST)
		without |= RUN_LAYER_BIT(RUN_LAYER_NET);
	run_layers_probe(l, without);
	if (o->net == RUN_NET_HOST)
		snprintf(l->layer[RUN_LAYER_NET].detail, sizeof(l->layer[RUN_LAYER_NET].detail),
			 "the host's, by --net host");
	if (!l->layer[RUN_LAYER_SECCOMP].holds)
		return run_fail(m->problem, -ENOSYS, "gofer run cannot work here: %s",
				l->layer[RUN_LAYER_SECCOMP].detail);
	for (int i = 0; i < RUN_LAYERS; i++)
		if ((o->require & RUN_LAYER_BIT(i)) && !l->layer[i].holds)
			return run_fail(m->problem, -EPERM,
					"required layer %s is not to be had: %s",
					run_layer_name((enum run_layer)i), l->layer[i].detail);
	return o->explain ? 0 : check_execution(m);
}

/* ---- volumes ---- */

static struct run_volume *find_guest(const struct run_plan *plan, const char *guest)
{
	for (size_t i = 0; i < plan->n_volumes; i++)
		if (strcmp(plan->volumes[i].guest, guest) == 0)
			return &plan->volumes[i];
	return NULL;
}

/* Takes host and guest, also on failure. */
static int add(struct making *m, struct run_volume v)
{
	struct run_plan *plan = m->plan;

	if (plan->n_volumes == m->room) {
		struct run_volume *more = realloc(plan->volumes, (m->room + 16) * sizeof(*more));

		if (more) {
			plan->volumes = more;
			m->room += 16;
		}
	}
	if (plan->n_volumes == m->room || !v.host || !v.guest) {
		free(v.host);
		free(v.guest);
		free(v.options);
		return run_fail(m->problem, -ENOMEM, "%s", strerror(ENOMEM));
	}
	plan->volumes[plan->n_volumes++] = v;
	return 0;
}

static int make_options(struct run_volume *v, const char *more)
{
	return asprintf(&v->options, "%s%s%s%s%s%s", v->read_only ? "ro" : "rw",
			v->xdev ? ",xdev" : "", v->noexec ? ",noexec" : "",
			v->kind == RUN_VOLUME_PRIVATE ? ",special=allow" : "", more ? "," : "",
			more ? more : "") < 0
		       ? -ENOMEM
		       : 0;
}

/* The directory on the host, without links. `what`: "volume HOST:GUEST", for messages. */
static int find_host(struct making *m, const char *what, const char *text, const char *host,
		     char **ret)
{
	_cleanup_free_ char *real = realpath(host, NULL);
	struct stat st;

	if (!real && errno == ENOENT)
		return run_fail(m->problem, -ENOENT,
				"%s%s: there is no directory %s: create it, or correct the path",
				what, text, host);
	if (!real || stat(real, &st) < 0)
		return run_fail(m->problem, -errno, "%s%s: %s: %s", what, text, host,
				strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return run_fail(m->problem, -ENOTDIR,
				"%s%s: %s is not a directory: give the directory that holds it",
				what, text, host);
	*ret = TAKE_PTR(real);
	return 0;
}

static int check_guest(struct making *m, const char *text, const char *guest)
{
	const struct run_volume *same = find_guest(m->plan, guest);

	if (strcmp(guest, "/") == 0)
		return run_fail(m->problem, -EINVAL,
				"volume %s: GUEST is the root: use --root DIR, or --root DIR:rw",
				text);
	if (path_below(guest, RUN_NATIVE_PROC) ||
	    (path_below(guest, RUN_NATIVE_DEV) && !path_below(guest, "/dev/shm")))
		return run_fail(
			m->problem, -EINVAL,
			"volume %s: GUEST lies in %s, which is the sandbox's own: choose another",
			text, path_below(guest, RUN_NATIVE_PROC) ? "/proc" : "/dev");
	if (same && same->kind == RUN_VOLUME_USER)
		return run_fail(m->problem, -EINVAL,
				"volume %s: there is a volume at %s already: choose another GUEST",
				text, guest);
	return 0;
}

static int add_user_volume(struct making *m, const struct run_volume_option *o)
{
	struct run_volume v = {
		.kind = RUN_VOLUME_USER,
		.read_only = o->read_only,
		.xdev = o->xdev,
		.noexec = o->noexec,
	};
	int r;

	r = path_normalise(o->guest, &v.guest);
	if (r == -EINVAL)
		return run_fail(m->problem, r,
				"volume %s: GUEST holds '..': write the path without", o->text);
	if (r < 0)
		return run_fail(m->problem, r, "volume %s: GUEST: %s", o->text, strerror(-r));
	r = check_guest(m, o->text, v.guest);
	if (r == 0)
		r = find_host(m, "volume ", o->text, o->host, &v.host);
	if (r == 0 && !run_has(m->plan, RUN_LAYER_MOUNT) && strcmp(v.host, v.guest) != 0)
		r = run_fail(m->problem, -EPERM,
			     "volume %s: without a mount namespace a volume sits at its own path: "
			     "write -v %s:%s (layer mount: "
			     "%s)",
			     o->text, v.host, v.host,
			     m->plan->layers.layer[RUN_LAYER_MOUNT].detail);
	if (r == 0)
		r = make_options(&v, o->server_options);
	if (r < 0) {
		free(v.host);
		free(v.guest);
		return run_fail(m->problem, r, "%s", strerror(-r));
	}
	return add(m, v);
}

static int add_private(struct making *m, const char *name, const char *guest, bool read_only)
{
	struct run_volume v = { .kind = RUN_VOLUME_PRIVATE, .read_only = read_only };

	/* A volume of the user's takes its place. */
	if (find_guest(m->plan, guest))
		return 0;
	if (make_options(&v, NULL) < 0)
		return run_fail(m->problem, -ENOMEM, "%s", strerror(ENOMEM));
	v.host = private_path(m->plan->private_dir, name);
	v.guest = strdup(guest);
	return add(m, v);
}

static bool is_system_name(const char *name)
{
	static const char *const names[] = { "usr", "bin", "sbin", "etc", "opt" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return strncmp(name, "lib", 3) == 0;
}

/* One of the host's own: a directory becomes a volume, a link a link. */
static int add_system(struct making *m, const char *name)
{
	struct run_volume v = { .kind = RUN_VOLUME_ROOT, .read_only = true, .xdev = true };
	char target[PATH_MAX], path[300], *link;
	struct stat st;
	ssize_t n;
	int r = 0;

	snprintf(path, sizeof(path), "/%s", name);
	if (find_guest(m->plan, path) || lstat(path, &st) < 0)
		return 0;
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			return 0;
		target[n] = '\0';
		if (asprintf(&link, "%s/root%s", m->plan->private_dir, path) < 0)
			return run_fail(m->problem, -ENOMEM, "%s", strerror(ENOMEM));
		if (symlink(target, link) < 0)
			r = run_fail(m->problem, -errno, "%s: %s", link, strerror(errno));
		free(link);
		return r;
	}
	if (!S_ISDIR(st.st_mode) || access(path, X_OK) < 0)
		return 0;
	if (make_options(&v, NULL) < 0)
		return run_fail(m->problem, -ENOMEM, "%s", strerror(ENOMEM));
	v.host = strdup(path);
	v.guest = strdup(path);
	return add(m, v);
}

static int add_host_root(struct making *m)
{
	const struct dirent *entry;
	DIR *dir = opendir("/");
	int r = 0;

	if (!dir)
		return run_fail(m->problem, -errno, "cannot read /: %s", strerror(errno));
	while (r == 0 && (entry = readdir(dir)))
		if (is_system_name(entry->d_name))
			r = add_system(m, entry->d_name);
	(void)closedir(dir);
	return r;
}

static int add_root_directory(struct making *m)
{
	const struct run_volume_option *o = &m->options->root_dir;
	struct run_volume v = {
		.kind = RUN_VOLUME_ROOT,
		.read_only = o->read_only,
		.xdev = o->xdev,
		.noexec = o->noexec,
	};
	int r;

	if (!run_has(m->plan, RUN_LAYER_MOUNT))
		return run_fail(m->problem, -EPERM,
				"--root %s needs a mount namespace, or the kernel would start "
				"programs of this machine: %s",
				o->text, m->plan->layers.layer[RUN_LAYER_MOUNT].detail);
	r = find_host(m, "--root ", o->text, o->host, &v.host);
	if (r < 0)
		return r;
	if (make_options(&v, o->server_options) < 0) {
		free(v.host);
		return run_fail(m->problem, -ENOMEM, "%s", strerror(ENOMEM));
	}
	v.guest = strdup("/");
	return add(m, v);
}

static int compare_guests(const void *a, const void *b)
{
	const struct run_volume *x = a, *y = b;

	return strcmp(x->guest, y->guest);
}

static int collect(struct making *m)
{
	const struct run_options *o = m->options;
	int r = 0;

	for (size_t i = 0; r == 0 && i < o->n_volumes; i++)
		r = add_user_volume(m, &o->volumes[i]);
	if (r == 0 && o->root == RUN_ROOT_DIR)
		r = add_root_directory(m);
	else if (r == 0)
		r = add_private(m, "root", "/", true);
	if (r == 0 && o->root == RUN_ROOT_HOST)
		r = add_host_root(m);
	if (r == 0)
		r = add_private(m, "tmp", "/tmp", false);
	if (r == 0)
		r = add_private(m, "shm", "/dev/shm", false);
	if (r < 0)
		return r;
	qsort(m->plan->volumes, m->plan->n_volumes, sizeof(*m->plan->volumes), compare_guests);
	for (size_t i = 0; i < m->plan->n_volumes; i++)
		if (asprintf(&m->plan->volumes[i].name, "v%zu", i) < 0)
			return run_fail(m->problem, -ENOMEM, "%s", strerror(ENOMEM));
	return 0;
}

/* ---- places ---- */

/* A directory at `rest` below `host`, reached without a link? */
static int find_place(const char *host, const char *rest)
{
	_cleanup_fd_ int top = open(host, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd;

	if (top < 0)
		return -errno;
	fd = sys_openat2(top, rest, O_PATH | O_DIRECTORY, 0,
			 RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	fd_close(fd);
	return fd < 0 ? fd : 0;
}

/* Everything is mounted on something: it is made in what is ours, and must exist in what is not. */
static int make_place(struct making *m, const char *guest, const struct run_volume *parent,
		      const char *rest)
{
	_cleanup_free_ char *host = path_append(parent->host, rest);
	bool root = strcmp(parent->guest, "/") == 0;
	int r;

	if (!host)
		return run_fail(m->problem, -ENOMEM, "%s", strerror(ENOMEM));
	r = parent->kind == RUN_VOLUME_PRIVATE ? private_mkdir(parent->host, rest)
					       : find_place(parent->host, rest);
	if (r == 0)
		return 0;
	if (r == -ELOOP || (r == -ENOTDIR && parent->kind == RUN_VOLUME_PRIVATE))
		return run_fail(m->problem, r,
				"%s leads through a symbolic link of the root: write the path that "
				"it stands for",
				guest);
	if (root)
		return run_fail(
			m->problem, r,
			"the root %s has no directory %s, where the sandbox needs one: mkdir -p %s",
			parent->host, guest, host);
	return run_fail(m->problem, r,
			"%s lies in the volume at %s%s, which has no such directory: mkdir -p %s, "
			"or choose another GUEST",
			guest, parent->guest, parent->read_only ? " (read-only)" : "", host);
}

static int make_places(struct making *m)
{
	const struct run_plan *plan = m->plan;
	static const char *const native[] = { RUN_NATIVE_PROC, RUN_NATIVE_DEV };
	const char *rest;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(native); i++) {
		const struct run_volume *parent = plan_find(plan, native[i], &rest);

		r = make_place(m, native[i], parent, rest);
	}
	for (size_t i = 1; r == 0 && i < plan->n_volumes; i++) {
		const struct run_volume *v = &plan->volumes[i], *parent = NULL;

		/* /dev is made for each run, with a place for it. */
		if (strcmp(v->guest, "/dev/shm") == 0)
			continue;
		for (size_t k = 0; k < i; k++)
			if (path_below(v->guest, plan->volumes[k].guest))
				parent = &plan->volumes[k];
		rest = v->guest + (strcmp(parent->guest, "/") == 0 ? 1 : strlen(parent->guest) + 1);
		r = make_place(m, v->guest, parent, rest);
	}
	return r;
}

/* What the program could change says nothing about it. */
static int check_audit(struct making *m)
{
	const char *file = m->options->audit;
	_cleanup_free_ char *real = NULL, *dir = NULL;
	char *slash;

	if (!file || strcmp(file, "-") == 0)
		return 0;
	real = realpath(file, NULL);
	if (!real) {
		dir = strdup(file);
		slash = dir ? strrchr(dir, '/') : NULL;
		if (slash)
			slash[slash == dir] = '\0';
		real = realpath(slash ? dir : ".", NULL);
	}
	for (size_t i = 0; real && i < m->plan->n_volumes; i++) {
		const struct run_volume *v = &m->plan->volumes[i];

		if (!v->read_only && path_below(real, v->host))
			return run_fail(m->problem, -EINVAL,
					"--audit %s: lies in the volume %s, where the program "
					"could change it: choose a file elsewhere",
					file, v->host);
	}
	return 0;
}

/* ---- where to start ---- */

static int decide_chdir(struct making *m)
{
	const struct run_options *o = m->options;
	_cleanup_free_ char *cwd = NULL;

	if (o->chdir) {
		int r = path_normalise(o->chdir, &m->plan->chdir);

		return r < 0 ? run_fail(m->problem, r, "--chdir %s: %s", o->chdir,
					r == -EINVAL ? "write the path without '..'" : strerror(-r))
			     : 0;
	}
	cwd = realpath(".", NULL);
	for (size_t i = 0; cwd && !m->plan->chdir && i < o->n_volumes; i++) {
		_cleanup_free_ char *guest = NULL, *host = realpath(o->volumes[i].host, NULL);

		if (!host || !path_below(cwd, host) ||
		    path_normalise(o->volumes[i].guest, &guest) < 0)
			continue;
		m->plan->chdir =
			path_append(guest, cwd + (strcmp(host, "/") == 0 ? 0 : strlen(host)));
	}
	if (!m->plan->chdir && o->n_volumes)
		(void)path_normalise(o->volumes[0].guest, &m->plan->chdir);
	if (!m->plan->chdir)
		m->plan->chdir = strdup("/");
	return m->plan->chdir ? 0 : run_fail(m->problem, -ENOMEM, "%s", strerror(ENOMEM));
}

/* ---- the plan ---- */

int plan_init(const struct run_options *options, struct run_plan *ret_plan, char *problem)
{
	struct run_plan plan = {
		.private_lock = -EBADF,
		.net = options->net,
		.hostname = options->hostname,
		.exclusive = options->exclusive,
		.argv = options->argv,
		.uid = geteuid(),
		.gid = getegid(),
	};
	struct making m = { .options = options, .plan = &plan, .problem = problem };
	int r;

	problem[0] = '\0';
	r = decide_layers(&m);
	if (r == 0)
		r = private_init(options, &plan.private_dir, &plan.private_lock, problem);
	if (r == 0)
		r = collect(&m);
	if (r == 0)
		r = make_places(&m);
	if (r == 0)
		r = check_audit(&m);
	if (r == 0)
		r = decide_chdir(&m);
	if (r == 0) {
		r = environment_make(options, &plan, &plan.env);
		if (r < 0)
			(void)run_fail(problem, r, "environment: %s", strerror(-r));
	}
	if (r < 0) {
		plan_deinit(&plan);
		return r;
	}
	*ret_plan = plan;
	return 0;
}

void plan_deinit(struct run_plan *plan)
{
	for (size_t i = 0; i < plan->n_volumes; i++) {
		free(plan->volumes[i].host);
		free(plan->volumes[i].guest);
		free(plan->volumes[i].name);
		free(plan->volumes[i].options);
	}
	free(TAKE_PTR(plan->volumes));
	plan->n_volumes = 0;
	for (size_t i = 0; plan->env && plan->env[i]; i++)
		free(plan->env[i]);
	free(TAKE_PTR(plan->env));
	free(TAKE_PTR(plan->chdir));
	if (plan->private_dir)
		(void)plan_remove_tree(plan->private_dir);
	free(TAKE_PTR(plan->private_dir));
	plan->private_lock = fd_close(plan->private_lock);
}

const struct run_volume *plan_find(const struct run_plan *plan, const char *guest,
				   const char **ret_rest)
{
	const struct run_volume *found = NULL;
	const char *rest;

	/* Sorted: the last that fits is the innermost. */
	for (size_t i = 0; i < plan->n_volumes; i++)
		if (path_below(guest, plan->volumes[i].guest))
			found = &plan->volumes[i];
	if (!found)
		return NULL;
	rest = guest + (strcmp(found->guest, "/") == 0 ? 0 : strlen(found->guest));
	while (*rest == '/')
		rest++;
	*ret_rest = rest;
	return found;
}

char *plan_host_path(const struct run_plan *plan, const char *guest)
{
	const char *rest;
	const struct run_volume *v = plan_find(plan, guest, &rest);

	return v ? path_append(v->host, rest) : NULL;
}

char *plan_volume_spec(const struct run_volume *v)
{
	size_t len = strlen(v->host), used = 0;
	_cleanup_free_ char *host = malloc(2 * len + 1);
	char *spec;

	if (!host)
		return NULL;
	for (const char *p = v->host; *p; p++) {
		if (*p == ':' || *p == ',' || *p == '\\')
			host[used++] = '\\';
		host[used++] = *p;
	}
	host[used] = '\0';
	return asprintf(&spec, "%s:%s:%s", host, v->name, v->options) < 0 ? NULL : spec;
}
