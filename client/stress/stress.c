/*
 * stress.c - gofer stress: options, the place where a run happens, and its end.
 *
 * A run touches nothing that it did not make. By default it lies on a tmpfs in a mount namespace of
 * its own, and the kernel takes all of it away with the last process; with --dir it lies in a new
 * directory there, which is removed in the end. Ctrl-C ends a run early: it reports what it saw.
 */
#include "client/stress/stress.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "client/cli/cli.h"
#include "client/stress/tally.h"

enum {
	OPT_OPS = CLI_LONG,
	OPT_SEED,
	OPT_DIR,
	OPT_TWIN,
	OPT_SVG,
	OPT_NO_OPENAT2,
	OPT_GOFER,
	OPT_RPC,
	OPT_SHIPPED,
	OPT_SAMPLE
};

static const struct cli_option options[] = {
	{ 't', "time", "SECONDS", "rename: how long (default 10)" },
	{ OPT_OPS, "ops", "N", "rename: so many requests, however long that takes" },
	{ OPT_SEED, "seed", "N", "rename: of the random choices (default: another each time)" },
	{ OPT_SVG, "svg", "FILE",
	  "rename: write a picture of requests, stalls and escapes over time" },
	{ OPT_TWIN, "twin", "FILE",
	  "rename: the unsafe twin of the server (default: tests/stress/twin beside gofer)" },
	{ OPT_RPC, "rpc", "NAME", "step: this request only" },
	{ OPT_SAMPLE, "sample", "N",
	  "step: only every N-th combination of request, path and move, with all its gaps" },
	{ OPT_SHIPPED, "shipped", NULL, "step: with all layers, not traversal alone" },
	{ OPT_DIR, "dir", "DIR", "in a new directory below DIR, not on a private tmpfs" },
	{ OPT_GOFER, "gofer", "FILE", "attack this server (default: this program)" },
	{ OPT_NO_OPENAT2, "no-openat2", NULL, "the servers do without openat2" },
	{ 0 },
};

static const struct cli_spec spec = {
	.verb = "stress",
	.usage = "rename [-t SECONDS | --ops=N] [--seed=N] [--svg=FILE] [--twin=FILE] [--dir=DIR]\n"
		 "step [--rpc=NAME] [--sample=N] [--shipped] [--dir=DIR]",
	.about = "Attacks servers of its own, to show that no request reaches what is not served.\n"
		 "  rename  requests race with others who exchange, move, remove and mount what "
		 "their paths lead through\n"
		 "  step    stops the server before every system call of a request, and makes each "
		 "move there",
	.options = options,
	.notes = "It exits with 0 only if nothing escaped, and (rename) the unsafe twin did.",
};

static struct stress *current;

static void interrupt(int number _unused_)
{
	current->interrupted = 1;
}

int stress_fail(struct stress *st _unused_, int error, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "gofer: stress: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(-error));
	return error;
}

int stress_report(struct stress *st, const struct run *run)
{
	unsigned failures;

	if (st->svg) {
		run_draw(run, st->svg);
		if (fclose(TAKE_PTR(st->svg)) != 0)
			return stress_fail(st, -errno, "the picture cannot be written");
	}
	if (st->json) {
		json_t *object = run_json(run);

		(void)json_dumpf(object, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(object);
		failures = run_verdict(run, NULL);
	} else {
		run_print(run, stdout);
		failures = run_verdict(run, stdout);
	}
	return failures != 0;
}

/* ---- the place ---- */

static int enter_place(struct stress *st, const char *dir)
{
	int r;

	if (!dir) {
		r = ground_private(st->dir, sizeof(st->dir));
		if (r == 0) {
			st->private_mount = true;
			st->where = "a private tmpfs";
			return 0;
		}
		/* No namespaces for us: then without mounts. */
		dir = "/dev/shm";
	}
	if (snprintf(st->dir, sizeof(st->dir), "%s/gofer-stress.XXXXXX", dir) >=
	    (int)sizeof(st->dir) - 1)
		return stress_fail(st, -ENAMETOOLONG, "%s", dir);
	if (!mkdtemp(st->dir))
		return stress_fail(st, -errno, "no directory can be made in %s", dir);
	st->made_dir = true;
	st->where = st->dir;
	return 0;
}

static void leave_place(struct stress *st)
{
	int fd;

	if (!st->made_dir)
		return;
	fd = open(st->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		remove_below(fd);
	fd_close(fd);
	(void)rmdir(st->dir);
}

static int own_path(char *ret_path, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", ret_path, size - 1);

	if (n < 0)
		return -errno;
	ret_path[n] = '\0';
	return 0;
}

/* tests/stress/twin beside the program that runs. */
static int default_twin(const char *own, char *ret_path, size_t size)
{
	char self[PATH_MAX], *slash;

	snprintf(self, sizeof(self), "%s", own);
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	return snprintf(ret_path, size, "%s/tests/stress/twin", self) >= (int)size ? -ENAMETOOLONG
										   : 0;
}

/* ---- the command line ---- */

/* Takes the name of the tool out of the words. */
static const char *take_tool(int *argc, char **argv)
{
	static const char *const tools[] = { "rename", "step" };

	for (int i = 1; i < *argc; i++)
		for (size_t t = 0; t < ARRAY_SIZE(tools); t++)
			if (!strcmp(argv[i], tools[t])) {
				memmove(argv + i, argv + i + 1,
					(size_t)(*argc - i) * sizeof(*argv));
				--*argc;
				return tools[t];
			}
	return NULL;
}

struct choices {
	const char *dir, *twin, *gofer, *svg;
	bool time, only_rename, only_step;
};

static void take_options(struct cli *c, struct stress *st, struct choices *ch)
{
	int key;

	while ((key = cli_next(c)) >= 0) {
		ch->only_rename |= key == 't' || key == OPT_OPS || key == OPT_SEED ||
				   key == OPT_SVG || key == OPT_TWIN;
		ch->only_step |= key == OPT_RPC || key == OPT_SHIPPED || key == OPT_SAMPLE;
		switch (key) {
		case 't':
			st->time_ns = cli_number(c, "--time", c->optarg, false) * 1000000000;
			ch->time = true;
			break;
		case OPT_OPS:
			st->ops = cli_number(c, "--ops", c->optarg, false);
			break;
		case OPT_SEED:
			st->seed = cli_number(c, "--seed", c->optarg, false);
			break;
		case OPT_DIR:
			ch->dir = c->optarg;
			break;
		case OPT_TWIN:
			ch->twin = c->optarg;
			break;
		case OPT_GOFER:
			ch->gofer = c->optarg;
			break;
		case OPT_SVG:
			ch->svg = c->optarg;
			break;
		case OPT_NO_OPENAT2:
			st->no_openat2 = true;
			break;
		case OPT_RPC:
			st->only = c->optarg;
			break;
		case OPT_SAMPLE:
			st->sample = cli_number(c, "--sample", c->optarg, false);
			break;
		case OPT_SHIPPED:
			st->shipped = true;
			break;
		default:
			break;
		}
	}
}

static int check_options(struct cli *c, struct stress *st, const struct choices *ch, bool rename)
{
	const struct rpc_info *rpc = st->only ? rpc_find_by_name(st->only) : NULL;

	if (cli_need_operands(c, 0, 0) < 0)
		return -EINVAL;
	if (c->server || c->stats)
		cli_no_usage(c, "it starts servers of its own: --server and --stats mean nothing");
	if (rename && ch->only_step)
		cli_no_usage(c, "--rpc, --sample and --shipped belong to 'step'");
	if (!rename && ch->only_rename)
		cli_no_usage(c, "--time, --ops, --seed, --svg and --twin belong to 'rename'");
	if (ch->time && (!st->time_ns || st->time_ns > UINT64_C(1000000) * 1000000000))
		cli_no_usage(c, "--time: from 1 to 1000000 seconds");
	if (!st->sample)
		cli_no_usage(c, "--sample: from 1");
	if (st->only && (!rpc || !(rpc->flags & RPC_PATH)))
		cli_no_usage(c, "--rpc: '%s' is no request that takes a path", st->only);
	return c->over ? -EINVAL : 0;
}

static int run(int argc, char **argv)
{
	const struct sigaction on_signal = { .sa_handler = interrupt };
	static struct stress stress;
	struct stress *st = &stress;
	const char *tool = take_tool(&argc, argv);
	char own[PATH_MAX], twin[PATH_MAX];
	struct choices ch = { 0 };
	struct cli c;
	int r = 0;

	*st = (struct stress){ .time_ns = UINT64_C(10000000000), .sample = 1, .where = "" };
	cli_begin(&c, &spec, argc, argv);
	take_options(&c, st, &ch);
	if (!tool)
		cli_no_usage(&c, "which tool? 'rename' or 'step'");
	if (!tool || check_options(&c, st, &ch, *tool == 'r') < 0)
		return cli_end(&c);
	st->json = c.json;
	st->progress = isatty(STDERR_FILENO) && !c.json;
	if (!st->seed && getrandom(&st->seed, sizeof(st->seed), 0) == sizeof(st->seed))
		st->seed &= UINT32_MAX;
	/* From here on something may have to be removed, and reported. */
	current = st;
	(void)sigaction(SIGINT, &on_signal, NULL);
	(void)sigaction(SIGTERM, &on_signal, NULL);
	r = own_path(own, sizeof(own));
	if (r == 0)
		r = program_open(&st->gofer, ch.gofer ?: own);
	if (r < 0)
		stress_fail(st, r, "%s", ch.gofer ?: "this program");
	if (r == 0 && *tool == 'r') {
		r = ch.twin ? 0 : default_twin(own, twin, sizeof(twin));
		if (r == 0)
			r = program_open(&st->twin, ch.twin ?: twin);
		if (r < 0)
			stress_fail(st, r, "%s: the unsafe twin ('make test-programs' builds it)",
				    ch.twin ?: twin);
	}
	if (r == 0 && ch.svg) {
		st->svg = fopen(ch.svg, "we");
		if (!st->svg)
			r = stress_fail(st, -errno, "%s", ch.svg);
	}
	if (r == 0)
		r = enter_place(st, ch.dir);
	if (r == 0) {
		r = *tool == 'r' ? stress_rename(st) : stress_step(st);
		leave_place(st);
	}
	fd_close(st->gofer.fd);
	fd_close(st->twin.fd);
	if (r != 0)
		c.status = CLI_FAILED;
	return cli_end(&c);
}

const struct verb verb_stress = { "stress", "attack servers of its own with races and single steps",
				  run, &spec };
