/*
 * options.c - the command line of `gofer run`: a table of long options, the help that goes with it, and the text of -v.
 *
 * HOST:GUEST[:OPTION,...] is taken apart as `gofer serve` takes it: '\:' and '\,' stand for themselves. The options of a
 * volume are a table too; some are ours, others are handed to the private server as they are.
 */
#include "client/run/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>

static const char help[] =
	"usage: gofer run [-v HOST:GUEST[:OPTION,...]]... [OPTION]... [--] COMMAND [ARGUMENT]...\n"
	"       gofer run --explain [--json] [OPTION]... [[--] COMMAND ...]\n"
	"\n"
	"Runs a program that you do not trust on directories that you choose. It sees these, a "
	"root that you choose, and\n"
	"nothing else; it needs no privilege, and has none.\n"
	"\n"
	"What it sees:\n"
	"  -v, --volume HOST:GUEST[:OPTION,...]\n"
	"                            directory HOST of this machine at the path GUEST; repeatable. "
	"'\\:' and '\\,' stand for\n"
	"                            ':' and ','\n"
	"      rw | ro               it may change what is there (rw), or not\n"
	"      xdev                  what is mounted below HOST is part of it; without, it is "
	"covered\n"
	"      noexec                nothing there is executed\n"
	"      special=allow         it may open FIFOs and connect to sockets that others made "
	"there (deny)\n"
	"      identity=, uids=, gids=, caps=, backend=\n"
	"                            for the private server: see 'gofer serve --help'\n"
	"  --root host               this machine's /usr, /bin, /sbin, /lib*, /etc and /opt, "
	"read-only (the default)\n"
	"  --root DIR[:rw]           a root file system of yours, read-only unless ':rw' says "
	"otherwise\n"
	"  --root none               nothing but the volumes, /tmp, /dev and /proc\n"
	"  --chdir DIR               start there. Default: where the current directory is, if some "
	"GUEST holds it; else the\n"
	"                            first GUEST, else /\n"
	"\n"
	"What it gets:\n"
	"  --env NAME=VALUE          set a variable; --env NAME passes the caller's on; "
	"repeatable\n"
	"  --clearenv                begin with PATH, TERM and LANG only, instead of the caller's "
	"environment\n"
	"  --hostname NAME           the machine's name inside (gofer)\n"
	"  --interop MODE            who else may change the read-only volumes, the root's among "
	"them, while the program runs: shared, anybody; "
	"exclusive,\n"
	"                            nobody: what is known of them is not asked for again "
	"(shared)\n"
	"  --net none|host           no network but a loopback device of its own, or this "
	"machine's (none)\n"
	"\n"
	"What holds it:\n"
	"  --require LAYER,...       do not run without these layers; 'all'\n"
	"  --without LAYER,...       switch these off: for tests, or to see what each is worth\n"
	"                            layers: user, mount, pid, ipc, uts, net, landlock; seccomp is "
	"always there\n"
	"  --confine MODE            strict: do not run where a layer of the private server is "
	"missing; best-effort: run\n"
	"                            (strict, or best-effort without the mount layer)\n"
	"  --explain                 print what would be visible, which layers hold and why not, "
	"what is intercepted; --json\n"
	"                            for programs. Nothing is run\n"
	"\n"
	"What it did:\n"
	"  --audit FILE              one JSON line per decision; '-' is standard error\n"
	"  --stats                   at the end, one JSON line on standard error: intercepted "
	"calls and requests\n"
	"  --json-status-fd N        JSON lines on descriptor N: the layers and the process at "
	"start, the status at the end\n"
	"  --help                    print this help\n"
	"\n"
	"Exit status: COMMAND's; 128+N if signal N ended it; 125 if gofer failed; 126 if COMMAND "
	"cannot be executed, 127 if it is\n"
	"not there.\n"
	"\n"
	"Examples:\n"
	"  gofer run -v \"$PWD:/work\" -- make test\n"
	"  gofer run -v \"$PWD:$PWD\" -v ~/.cache/pip:/cache:ro --env PIP_CACHE_DIR=/cache -- "
	"python3 setup.py build\n"
	"  gofer run --root /srv/debian -v ./in:/in:ro -v ./out:/out --require all -- "
	"/usr/bin/convert /in/a.png /out/a.jpg\n"
	"  gofer run --explain -v \"$PWD:/work:ro\"\n";

enum {
	OPT_ROOT = 256,
	OPT_NET,
	OPT_INTEROP,
	OPT_CHDIR,
	OPT_ENV,
	OPT_CLEARENV,
	OPT_HOSTNAME,
	OPT_AUDIT,
	OPT_STATS,
	OPT_STATUS_FD,
	OPT_REQUIRE,
	OPT_WITHOUT,
	OPT_CONFINE,
	OPT_EXPLAIN,
	OPT_JSON,
};

static const struct option long_options[] = {
	{ "volume", required_argument, NULL, 'v' },
	{ "root", required_argument, NULL, OPT_ROOT },
	{ "net", required_argument, NULL, OPT_NET },
	{ "interop", required_argument, NULL, OPT_INTEROP },
	{ "chdir", required_argument, NULL, OPT_CHDIR },
	{ "env", required_argument, NULL, OPT_ENV },
	{ "clearenv", no_argument, NULL, OPT_CLEARENV },
	{ "hostname", required_argument, NULL, OPT_HOSTNAME },
	{ "audit", required_argument, NULL, OPT_AUDIT },
	{ "stats", no_argument, NULL, OPT_STATS },
	{ "json-status-fd", required_argument, NULL, OPT_STATUS_FD },
	{ "require", required_argument, NULL, OPT_REQUIRE },
	{ "without", required_argument, NULL, OPT_WITHOUT },
	{ "confine", required_argument, NULL, OPT_CONFINE },
	{ "explain", no_argument, NULL, OPT_EXPLAIN },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, 'h' },
	{},
};

/* ---- volumes ---- */

/* Takes one field off *text up to an unescaped separator, with escapes resolved; *text becomes NULL past the last. */
static int next_field(const char **text, char separator, char **ret_field)
{
	const char *p = *text;
	char *field = malloc(strlen(p) + 1), *q = field;

	if (!field)
		return -ENOMEM;
	for (; *p && *p != separator; p++) {
		if (*p == '\\' && p[1])
			p++;
		*q++ = *p;
	}
	*q = '\0';
	*text = *p ? p + 1 : NULL;
	*ret_field = field;
	return 0;
}

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

/* Without a function: the private server's business. */
static const struct {
	const char *name;
	bool value;
	void (*set)(struct parse *p);
} volume_options[] = {
	{ "ro", false, set_ro },         { "rw", false, set_rw },   { "xdev", false, set_xdev },
	{ "noexec", false, set_noexec }, { "special", true, NULL }, { "identity", true, NULL },
	{ "uids", true, NULL },          { "gids", true, NULL },    { "caps", true, NULL },
	{ "backend", true, NULL },
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
	size_t len = strcspn(option, "=");

	for (size_t i = 0; i < ARRAY_SIZE(volume_options); i++) {
		if (strlen(volume_options[i].name) != len ||
		    memcmp(volume_options[i].name, option, len) != 0 ||
		    (option[len] == '=') != volume_options[i].value)
			continue;
		if (!volume_options[i].set)
			return append(&p->volume->server_options, option);
		volume_options[i].set(p);
		return 0;
	}
	if (strncmp(option, "donate", 6) == 0)
		return run_fail(problem, -EINVAL,
				"volume %s: donate= is not for gofer run: programs get the files "
				"that they open",
				p->volume->text);
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

		r = next_field(&text, ',', &option);
		if (r == 0 && (option[0] || text))
			r = take_volume_option(p, option, problem);
	}
	if (r == 0 && p->ro && p->rw)
		r = run_fail(problem, -EINVAL, "volume %s: both 'ro' and 'rw': keep one",
			     p->volume->text);
	return r;
}

static void volume_option_deinit(struct run_volume_option *v)
{
	free(TAKE_PTR(v->host));
	free(TAKE_PTR(v->guest));
	free(TAKE_PTR(v->server_options));
}

static int take_volume(struct run_options *o, const char *text, char *problem)
{
	struct run_volume_option *v = &o->volumes[o->n_volumes];
	struct parse p = { .volume = v };
	const char *rest = text;
	int r;

	v->text = text;
	o->n_volumes++;
	r = next_field(&rest, ':', &v->host);
	if (r == 0 && rest)
		r = next_field(&rest, ':', &v->guest);
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

static int take_root(struct run_options *o, const char *text, char *problem)
{
	struct run_volume_option *v = &o->root_dir;
	struct parse p = { .volume = v };
	const char *rest = text;
	int r;

	volume_option_deinit(v);
	*v = (struct run_volume_option){ .text = text };
	o->root = RUN_ROOT_DIR;
	if (strcmp(text, "host") == 0)
		o->root = RUN_ROOT_HOST;
	else if (strcmp(text, "none") == 0)
		o->root = RUN_ROOT_NONE;
	if (o->root != RUN_ROOT_DIR)
		return 0;
	r = next_field(&rest, ':', &v->host);
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

/* ---- the others ---- */

static int take_layers(const char *option, const char *text, uint32_t *bits, char *problem)
{
	while (text) {
		_cleanup_free_ char *name = NULL;
		enum run_layer layer;
		int r = next_field(&text, ',', &name);

		if (r < 0)
			return r;
		if (strcmp(option, "require") == 0 && strcmp(name, "all") == 0) {
			*bits |= RUN_LAYER_BIT(RUN_LAYERS) - 1;
			continue;
		}
		if (run_layer_find(name, &layer) < 0)
			return run_fail(problem, -EINVAL,
					"--%s: there is no layer '%s': they are seccomp, user, "
					"mount, pid, ipc, uts, net, "
					"landlock",
					option, name);
		*bits |= RUN_LAYER_BIT(layer);
	}
	return 0;
}

static int take_word(const char *option, const char *text, const char *a, const char *b,
		     char *problem)
{
	if (strcmp(text, a) == 0)
		return 0;
	if (strcmp(text, b) == 0)
		return 1;
	return run_fail(problem, -EINVAL, "--%s %s: expected %s or %s", option, text, a, b);
}

static int take_status_fd(struct run_options *o, const char *text, char *problem)
{
	char *end;
	long fd;

	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno || end == text || *end || fd < 0 || fd > INT32_MAX)
		return run_fail(problem, -EINVAL,
				"--json-status-fd %s: expected the number of a descriptor", text);
	if (fcntl((int)fd, F_GETFD) < 0)
		return run_fail(problem, -EINVAL,
				"--json-status-fd %s: that descriptor is not open: redirect it, as "
				"in %s>FILE",
				text, text);
	o->json_status_fd = (int)fd;
	return 0;
}

static int take_env(struct run_options *o, const char *text, char *problem)
{
	if (!text[0] || text[0] == '=')
		return run_fail(problem, -EINVAL,
				"--env %s: expected NAME=VALUE, or NAME to pass the caller's on",
				text);
	o->env[o->n_env++] = text;
	return 0;
}

static int take_hostname(struct run_options *o, const char *text, char *problem)
{
	size_t n = strlen(text);

	if (!n || n > 64)
		return run_fail(problem, -EINVAL, "--hostname %s: expected 1 to 64 bytes", text);
	o->hostname = text;
	return 0;
}

static int take_option(struct run_options *o, int option, char *problem)
{
	int r;

	switch (option) {
	case 'v':
		return take_volume(o, optarg, problem);
	case OPT_ROOT:
		return take_root(o, optarg, problem);
	case OPT_NET:
		r = take_word("net", optarg, "none", "host", problem);
		if (r >= 0)
			o->net = r ? RUN_NET_HOST : RUN_NET_NONE;
		return MIN(r, 0);
	case OPT_INTEROP:
		r = take_word("interop", optarg, "shared", "exclusive", problem);
		if (r >= 0)
			o->exclusive = r;
		return MIN(r, 0);
	case OPT_CHDIR:
		o->chdir = optarg;
		return optarg[0] == '/' ? 0
					: run_fail(problem, -EINVAL,
						   "--chdir %s: expected a path of the sandbox "
						   "that begins with '/'",
						   optarg);
	case OPT_ENV:
		return take_env(o, optarg, problem);
	case OPT_CLEARENV:
		o->clear_env = true;
		return 0;
	case OPT_HOSTNAME:
		return take_hostname(o, optarg, problem);
	case OPT_AUDIT:
		o->audit = optarg;
		return 0;
	case OPT_STATS:
		o->stats = true;
		return 0;
	case OPT_STATUS_FD:
		return take_status_fd(o, optarg, problem);
	case OPT_REQUIRE:
		return take_layers("require", optarg, &o->require, problem);
	case OPT_WITHOUT:
		return take_layers("without", optarg, &o->without, problem);
	case OPT_CONFINE:
		o->confine = optarg;
		return MIN(take_word("confine", optarg, "strict", "best-effort", problem), 0);
	case OPT_EXPLAIN:
		o->explain = true;
		return 0;
	default:
		o->json = true;
		return 0;
	}
}

static int check_together(struct run_options *o, char *problem)
{
	uint32_t both = o->require & o->without;

	if (o->without & RUN_LAYER_BIT(RUN_LAYER_SECCOMP))
		return run_fail(
			problem, -EINVAL,
			"--without seccomp: nothing runs without it: it is how calls reach gofer");
	if (o->net == RUN_NET_HOST) {
		if (o->require == RUN_LAYER_BIT(RUN_LAYERS) - 1)
			o->require &= ~RUN_LAYER_BIT(RUN_LAYER_NET);
		else if (o->require & RUN_LAYER_BIT(RUN_LAYER_NET))
			return run_fail(problem, -EINVAL, "--require net and --net host: keep one");
	}
	for (int i = 0; both && i < RUN_LAYERS; i++)
		if (both & RUN_LAYER_BIT(i))
			return run_fail(problem, -EINVAL,
					"layer %s is in both --require and --without: keep one",
					run_layer_name((enum run_layer)i));
	if (!o->argv && !o->explain)
		return run_fail(problem, -EINVAL,
				"no command: write gofer run [OPTION]... -- COMMAND [ARGUMENT]...");
	if (o->json && !o->explain && !o->stats)
		return run_fail(problem, -EINVAL,
				"--json goes with --explain or --stats; --json-status-fd N reports "
				"on a run");
	return 0;
}

int run_options_parse(int argc, char **argv, struct run_options *ret_options,
		      char problem[static RUN_PROBLEM_MAX])
{
	struct run_options o = { .hostname = "gofer", .json_status_fd = -EBADF };
	int option, r = 0;

	problem[0] = '\0';
	o.volumes = calloc((size_t)argc + 1, sizeof(*o.volumes));
	o.env = calloc((size_t)argc + 1, sizeof(*o.env));
	if (!o.volumes || !o.env)
		r = -ENOMEM;
	optind = 0; /* somebody may have parsed before us */
	opterr = 0;
	while (r == 0 && (option = getopt_long(argc, argv, "+:v:h", long_options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help, stdout);
			r = 1;
		} else if (option == '?') {
			r = run_fail(problem, -EINVAL,
				     "unknown option '%s': 'gofer run --help' lists them",
				     argv[optind - 1]);
		} else if (option == ':') {
			r = run_fail(problem, -EINVAL, "option '%s' needs a value",
				     argv[optind - 1]);
		} else {
			r = take_option(&o, option, problem);
		}
	}
	if (r == 0 && optind < argc)
		o.argv = &argv[optind];
	if (r == 0)
		r = check_together(&o, problem);
	if (r != 0) {
		run_options_deinit(&o);
		return r == -ENOMEM ? run_fail(problem, r, "%s", strerror(-r)) : r;
	}
	*ret_options = o;
	return 0;
}

void run_options_deinit(struct run_options *o)
{
	for (size_t i = 0; o->volumes && i < o->n_volumes; i++)
		volume_option_deinit(&o->volumes[i]);
	volume_option_deinit(&o->root_dir);
	free(TAKE_PTR(o->volumes));
	free(TAKE_PTR(o->env));
	o->n_volumes = o->n_env = 0;
}
