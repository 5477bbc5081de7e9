/*
 * environment.c - see environment.h. A growing list of "NAME=VALUE"; a name stands in it once.
 */
#include "client/run/environment.h"

#include <stdio.h>
#include <string.h>

#include "client/run/paths.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct list {
	char **text;
	size_t n;
};

static char **find(const struct list *l, const char *name, size_t len)
{
	for (size_t i = 0; i < l->n; i++)
		if (strncmp(l->text[i], name, len) == 0 && l->text[i][len] == '=')
			return &l->text[i];
	return NULL;
}

static int put(struct list *l, const char *name, size_t len, const char *value)
{
	char **at = find(l, name, len), *text;

	if (asprintf(&text, "%.*s=%s", (int)len, name, value) < 0)
		return -ENOMEM;
	if (!at) {
		char **more = realloc(l->text, (l->n + 2) * sizeof(*more));

		if (!more) {
			free(text);
			return -ENOMEM;
		}
		l->text = more;
		more[l->n] = more[l->n + 1] = NULL;
		at = &more[l->n++];
	}
	free(*at);
	*at = text;
	return 0;
}

static void drop(struct list *l, const char *name)
{
	char **at = find(l, name, strlen(name));

	if (!at)
		return;
	free(*at);
	*at = l->text[--l->n];
	l->text[l->n] = NULL;
}

static int copy_own(struct list *l)
{
	int r = 0;

	for (char **e = environ; r == 0 && e && *e; e++) {
		const char *equals = strchr(*e, '=');

		if (equals && equals != *e)
			r = put(l, *e, (size_t)(equals - *e), equals + 1);
	}
	/* Not to be reached from inside, or no longer true. */
	drop(l, "GOFER_SERVER");
	drop(l, "OLDPWD");
	return r;
}

static int copy_few(struct list *l)
{
	static const char *const names[] = { "TERM", "LANG" };
	int r = put(l, "PATH", 4, DEFAULT_PATH);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(names); i++)
		if (getenv(names[i]))
			r = put(l, names[i], strlen(names[i]), getenv(names[i]));
	return r;
}

/* Whether some volume but the root shows `path`. */
static bool visible(const struct run_plan *plan, const char *path)
{
	_cleanup_free_ char *clean = NULL;
	const struct run_volume *v;
	const char *rest;

	if (path_normalise(path, &clean) < 0)
		return false;
	v = plan_find(plan, clean, &rest);
	return v && !(v->kind == RUN_VOLUME_PRIVATE && strcmp(v->guest, "/") == 0 && *rest);
}

static int replace_hidden(struct list *l, const struct run_plan *plan, const char *name,
			  bool always)
{
	char **at = find(l, name, strlen(name));

	if (at ? visible(plan, *at + strlen(name) + 1) : !always)
		return 0;
	return put(l, name, strlen(name), "/tmp");
}

int environment_make(const struct run_options *options, const struct run_plan *plan,
		     char ***ret_env)
{
	struct list l = { .text = calloc(1, sizeof(char *)) };
	int r = l.text ? 0 : -ENOMEM;

	if (r == 0)
		r = options->clear_env ? copy_few(&l) : copy_own(&l);
	if (r == 0)
		r = put(&l, "PWD", 3, plan->chdir);
	if (r == 0)
		r = replace_hidden(&l, plan, "HOME", true);
	if (r == 0)
		r = replace_hidden(&l, plan, "TMPDIR", false);
	for (size_t i = 0; r == 0 && i < options->n_env; i++) {
		const char *text = options->env[i], *equals = strchr(text, '=');
		const char *value = equals ? equals + 1 : getenv(text);

		if (value)
			r = put(&l, text, equals ? (size_t)(equals - text) : strlen(text), value);
	}
	if (r < 0) {
		for (size_t i = 0; i < l.n; i++)
			free(l.text[i]);
		free(l.text);
		return r;
	}
	*ret_env = l.text;
	return 0;
}
