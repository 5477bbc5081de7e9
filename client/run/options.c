/*
 * options.c - the command line of `gofer run`: a table of long options, and the help that goes with it.
 */
#include "client/run/options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>

#include "common/fields.h"

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
	"  --interop MODE            who else may change the volumes while the program runs: "
	"watched, anybody, and what the\n"
	"                            kernel reports no change of is not asked for again; shared, "
	"anybody, and the server is\n"
	"                            asked every time; exclusive, nobody the read-only ones, the "
	"root's among them (watched)\n"
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

/* ---- the others ---- */

static int take_layers(const char *option, const char *text, uint32_t *bits, char *problem)
{
	while (text) {
		_cleanup_free_ char *name = NULL;
		enum run_layer layer;
		int r = field_next(&text, ',', &name);

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

static int take_interop(struct run_options *o, const char *text, char *problem)
{
	static const char *const modes[] = {
		[RUN_INTEROP_WATCHED] = "watched",
		[RUN_INTEROP_SHARED] = "shared",
		[RUN_INTEROP_EXCLUSIVE] = "exclusive",
	};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (strcmp(text, modes[i]) == 0) {
			o->interop = (enum run_interop)i;
			return 0;
		}
	return run_fail(problem, -EINVAL, "--interop %s: expected watched, shared or exclusive",
			text);
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
		return run_volume_option_take(o, optarg, problem);
	case OPT_ROOT:
		return run_root_option_take(o, optarg, problem);
	case OPT_NET:
		r = take_word("net", optarg, "none", "host", problem);
		if (r >= 0)
			o->net = r ? RUN_NET_HOST : RUN_NET_NONE;
		return MIN(r, 0);
	case OPT_INTEROP:
		return take_interop(o, optarg, problem);
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
		run_volume_option_deinit(&o->volumes[i]);
	run_volume_option_deinit(&o->root_dir);
	free(TAKE_PTR(o->volumes));
	free(TAKE_PTR(o->env));
	o->n_volumes = o->n_env = 0;
}
