/*
 * plan.c - from options to a plan. See plan.h.
 *
 * In order: the layers (what can be had decides what can be asked), the private directory, the volumes with their places, where to
 * start, the environment. Everything that a user can get wrong is found here, before anything runs, and is one line that says
 * what to do.
 */
#include "client/run/plan.h"

#include <stdio.h>
#include <string.h>

#include "client/run/environment.h"
#include "client/run/making.h"
#include "client/run/paths.h"
#include "client/run/private.h"

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
		.interop = options->interop,
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
		r = plan_add_volumes(&m);
	if (r == 0)
		r = plan_make_places(&m);
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
