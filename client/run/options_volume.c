/*
 * options_volume.c - the text of -v and --root. HOST:GUEST[:OPTION,...] is taken apart as `gofer serve` takes it, and has its options, but
 * for donate=; a few of them we have to know as well, all are judged by the private server.
 */
#include <stdio.h>
#include <string.h>

#include "client/run/options.h"
#include "common/fields.h"
#include "server/volume.h"

struct parse {
	struct run_volume_option *volume;
	bool ro, rw;
};

static void set_ro(struct parse *p)
{
	p->ro = p->volume->read_only = true;
}

static void set_rw(struct parse *p)
{
	p->rw = true;
}

static void set_xdev(struct parse *p)
{
	p->volume->xdev = true;
}

static void set_noexec(struct parse *p)
{
	p->volume->noexec = true;
}

/* What we have to know of it. All other options are the private server's business. */
static const struct {
	const char *name;
	void (*set)(struct parse *p);
} flags[] = {
	{ "ro", set_ro },
	{ "rw", set_rw },
	{ "xdev", set_xdev },
	{ "noexec", set_noexec },
};

static int append(char **list, const char *option)
{
	char *longer;

	if (asprintf(&longer, "%s%s%s", *list ? *list : "", *list ? "," : "", option) < 0)
		return -ENOMEM;
	free(*list);
	*list = longer;
	return 0;
}

static int take_volume_option(struct parse *p, const char *option, char *problem)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (strcmp(option, flags[i].name) == 0) {
			flags[i].set(p);
			return 0;
		}
	if (strncmp(option, "donate", 6) == 0)
		return run_fail(problem, -EINVAL,
				"volume %s: donate= is not for gofer run: programs get the files "
				"that they open",
				p->volume->text);
	if (volume_option_known(option))
		return append(&p->volume->server_options, option);
	return run_fail(problem, -EINVAL,
			"volume %s: unknown option '%s': 'gofer run --help' lists them (a ':' in a "
			"path is written '\\:')",
			p->volume->text, option);
}

static int take_volume_options(struct parse *p, const char *text, char *problem)
{
	int r = 0;

	while (text && r == 0) {
		_cleanup_free_ char *option = NULL;

		r = field_next(&text, ',', &option);
		if (r == 0 && (option[0] || text))
			r = take_volume_option(p, option, problem);
	}
	if (r == 0 && p->ro && p->rw)
		r = run_fail(problem, -EINVAL, "volume %s: both 'ro' and 'rw': keep one",
			     p->volume->text);
	return r;
}

void run_volume_option_deinit(struct run_volume_option *v)
{
	free(TAKE_PTR(v->host));
	free(TAKE_PTR(v->guest));
	free(TAKE_PTR(v->server_options));
}

int run_volume_option_take(struct run_options *o, const char *text, char *problem)
{
	struct run_volume_option *v = &o->volumes[o->n_volumes];
	struct parse p = { .volume = v };
	const char *rest = text;
	int r;

	v->text = text;
	o->n_volumes++;
	r = field_next(&rest, ':', &v->host);
	if (r == 0 && rest)
		r = field_next(&rest, ':', &v->guest);
	if (r < 0)
		return r;
	if (!v->host[0] || !v->guest || !v->guest[0])
		return run_fail(problem, -EINVAL,
				"volume %s: the %s is missing: write -v "
				"HOST:GUEST[:ro|rw[,OPTION...]], GUEST is where the "
				"program sees HOST",
				text, v->host[0] ? "GUEST" : "HOST");
	if (v->guest[0] != '/')
		return run_fail(problem, -EINVAL,
				"volume %s: GUEST '%s' is not absolute: write -v HOST:/PATH (a ':' "
				"in HOST is written '\\:')",
				text, v->guest);
	return take_volume_options(&p, rest, problem);
}

int run_root_option_take(struct run_options *o, const char *text, char *problem)
{
	struct run_volume_option *v = &o->root_dir;
	struct parse p = { .volume = v };
	const char *rest = text;
	int r;

	run_volume_option_deinit(v);
	*v = (struct run_volume_option){ .text = text };
	o->root = RUN_ROOT_DIR;
	if (strcmp(text, "host") == 0)
		o->root = RUN_ROOT_HOST;
	else if (strcmp(text, "none") == 0)
		o->root = RUN_ROOT_NONE;
	if (o->root != RUN_ROOT_DIR)
		return 0;
	r = field_next(&rest, ':', &v->host);
	if (r < 0)
		return r;
	if (!strchr(v->host, '/'))
		return run_fail(
			problem, -EINVAL,
			"--root %s: expected host, none, or a directory (write ./%s for one here)",
			text, text);
	r = take_volume_options(&p, rest, problem);
	v->read_only = !p.rw;
	return r;
}
