/*
 * volumes.c - the volumes of a plan: those of -v, those of the root, and the private ones, whose place a volume of the user's may take.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/run/making.h"
#include "client/run/paths.h"
#include "client/run/private.h"

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

int plan_add_volumes(struct making *m)
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
