/*
 * bench.c - gofer bench: options, the server and the tree of a run, the rows that are wanted, and
 * the end.
 *
 * The groups run three times at most: --list only names the rows, a first pass counts those that are
 * wanted (for the progress shown), the last one measures. Whatever ends a run, its tree is removed:
 * Ctrl-C is noticed between calls, and the second one is for those who cannot wait.
 */
#include "client/bench/bench.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "common/packet.h"

enum { OPT_ONLY = CLI_LONG, OPT_QUICK, OPT_NATIVE, OPT_DIR, OPT_LIST, OPT_PID };

static const struct cli_option options[] = {
	{ 't', "time", "SECONDS",
	  "how long each row is measured, with a fraction if need be (0.5)" },
	{ OPT_ONLY, "only", "LIST",
	  "these groups and rows, separated by commas: latency, 'latency/Stat*', list/1000" },
	{ OPT_QUICK, "quick", NULL,
	  "10 ms a row, fewer files, and no rows that need many sessions or entries" },
	{ OPT_LIST, "list", NULL, "name the groups and rows, and measure nothing" },
	{ OPT_NATIVE, "native", "DIR",
	  "the directory here that NAME:/path is, to measure native calls beside" },
	{ OPT_PID, "pid", "N", "the server's process, where its socket does not tell (TCP)" },
	{ OPT_DIR, "dir", "DIR", "where the private server's tree lies (default $TMPDIR, /tmp)" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "bench",
	.usage = "[OPTION]... [NAME:/path]",
	.about = "Measures what calls through a server cost, beside the same calls without one.",
	.options = options,
	.notes =
		"Without an operand, and without --server or GOFER_SERVER, it measures a private "
		"server on a directory of its own. In a\nserver that is there it works in a new "
		"directory below NAME:/path (default: the root of the first volume that\n"
		"can be written), and removes it afterwards. Interrupted, it ends the row, removes "
		"its files, and exits with 128\nand the signal's number.",
};

volatile sig_atomic_t bench_ended;

const int bench_signals[3] = { SIGINT, SIGTERM, SIGHUP };

static void on_signal(int signal)
{
	static uint64_t first;

	/* Some send it to the process and to its group: that is one wish, not two. */
	if (bench_ended && now_ns() - first > 500000000)
		_exit(128 + signal);
	if (!bench_ended)
		first = now_ns();
	bench_ended = signal;
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	for (size_t i = 0; i < ARRAY_SIZE(bench_signals); i++)
		sigaction(bench_signals[i], &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

/* ---- rows ---- */

static bool is_selected(const struct bench *b)
{
	_cleanup_free_ char *list = NULL, *whole = NULL;
	char *rest, *pattern;
	bool selected = false;

	if (!b->only)
		return true;
	if (asprintf(&whole, "%s/%s", b->group, b->row) < 0)
		abort();
	rest = list = cli_strdup(b->only);
	while (!selected && (pattern = strsep(&rest, ",")))
		selected = fnmatch(pattern, b->group, 0) == 0 || fnmatch(pattern, whole, 0) == 0;
	return selected;
}

bool bench_want(struct bench *b, const char *group, const char *format, ...)
{
	va_list ap;

	b->group = group;
	va_start(ap, format);
	vsnprintf(b->row, sizeof(b->row), format, ap);
	va_end(ap);
	if (!is_selected(b))
		return false;
	switch (b->pass) {
	case PASS_LIST:
		printf("%s/%s\n", group, b->row);
		b->n_rows++;
		return false;
	case PASS_COUNT:
		b->n_rows++;
		return false;
	default:
		b->at_row++;
		if (bench_ended)
			return false;
		report_progress(b);
		return true;
	}
}

uint64_t bench_deadline(const struct bench *b, double share)
{
	return now_ns() + (uint64_t)(b->seconds * share * 1e9);
}

static void run_groups(struct bench *b, enum bench_pass pass)
{
	b->pass = pass;
	bench_latency(b);
	bench_threads(b);
	bench_sessions(b);
	bench_data(b);
	bench_small(b);
	bench_list(b);
	bench_memory(b);
}

/* ---- the run ---- */

static double parse_seconds(struct cli *c, const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value > 0) || value > 3600)
		cli_no_usage(c, "--time: '%s' is no number of seconds", text);
	return value;
}

static int parse(struct bench *b, int argc, char **argv)
{
	struct cli *c = b->c;
	bool timed = false;
	int key;

	cli_begin(c, &spec, argc, argv);
	while ((key = cli_next(c)) >= 0)
		switch (key) {
		case OPT_ONLY:
			b->only = c->optarg;
			break;
		case OPT_QUICK:
			b->quick = true;
			break;
		case OPT_LIST:
			b->pass = PASS_LIST;
			break;
		case OPT_NATIVE:
			b->native_dir = c->optarg;
			break;
		case OPT_PID:
			b->server = (pid_t)MIN(cli_number(c, "--pid", c->optarg, false), INT_MAX);
			break;
		case OPT_DIR:
			b->dir = c->optarg;
			break;
		default:
			b->seconds = parse_seconds(c, c->optarg);
			timed = true;
		}
	if (!timed)
		b->seconds = b->quick ? 0.01 : 0.5;
	return cli_need_operands(c, 0, 1);
}

/* The server that the operand, the option or the environment names; else a private one. */
static int find_server(struct bench *b)
{
	struct cli *c = b->c;
	const char *named = c->server && *c->server ? c->server : getenv("GOFER_SERVER");
	int r;

	if (c->argc || (named && *named)) {
		if (b->dir)
			return cli_no_usage(c,
					    "--dir is of a private server, and another is named");
		return cli_connect(c);
	}
	if (b->server)
		return cli_no_usage(c, "--pid is of a server that is there");
	if (b->native_dir)
		return cli_no_usage(
			c, "--native needs NAME:/path: which directory of a server is it?");
	r = bench_server_start(b);
	if (r == 0) {
		c->server = b->address;
		r = cli_connect(c);
	}
	return r;
}

/* Where in which volume; the operand's, or the first that can be written. */
static int find_volume(struct bench *b)
{
	struct cli *c = b->c;

	if (c->argc) {
		_cleanup_path_ struct cli_path p = { 0 };

		if (cli_split(c, c->argv[0], &p) < 0)
			return -EINVAL;
		b->volume = p.volume;
		b->base = TAKE_PTR(p.path);
		return 0;
	}
	for (size_t i = 0; i < c->n_volumes && !b->volume; i++)
		if (!c->volumes[i].read_only)
			b->volume = &c->volumes[i];
	if (!b->volume) {
		cli_warn(c, "the server has no volume that can be written");
		return -EROFS;
	}
	if (!b->private_server)
		b->base = cli_strdup("/");
	return 0;
}

/* The process at the other end, where it is one of this machine and can be seen. */
static void find_processes(struct bench *b)
{
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);

	if (b->server <= 0 &&
	    getsockopt(gofer_session_fd(b->c->session), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
		b->server = peer.pid;
	process_set_read(&b->processes, b->server);
	if (!b->processes.n)
		b->server = 0;
}

static struct bench *current;

static void clean_up(void)
{
	struct bench *b = TAKE_PTR(current);

	if (b)
		bench_server_stop(b);
}

static int measure(struct bench *b)
{
	int r;

	current = b;
	cli_on_exit = clean_up;
	catch_signals();
	r = find_server(b);
	if (r == 0)
		r = find_volume(b);
	if (r == 0)
		r = bench_tree_make(b);
	if (r == 0) {
		find_processes(b);
		b->progress = isatty(STDERR_FILENO);
		report_begin(b);
		run_groups(b, PASS_RUN);
		report_end(b);
	}
	if (b->volume)
		bench_tree_remove(b);
	return r;
}

static int run(int argc, char **argv)
{
	struct cli c;
	struct bench b = { .c = &c, .pass = PASS_RUN, .native = -EBADF };
	bool list;
	int status;

	if (parse(&b, argc, argv) < 0)
		return cli_end(&c);
	b.block = cli_alloc(BENCH_MEGABYTE);
	list = b.pass == PASS_LIST;
	run_groups(&b, list ? PASS_LIST : PASS_COUNT);
	if (!b.n_rows)
		cli_no_usage(&c, "--only: no row is called '%s'; see --list", b.only);
	if (!list && !c.over && measure(&b) < 0 && !c.over)
		c.status = CLI_FAILED;
	process_set_deinit(&b.processes);
	status = cli_end(&c);
	/* After the session: a server waits for its clients. */
	clean_up();
	free(b.address);
	free(b.block);
	if (bench_ended) {
		fprintf(stderr, "gofer: bench: interrupted\n");
		return 128 + bench_ended;
	}
	return status;
}

const struct verb verb_bench = { "bench", "measure what calls through a server cost", run, &spec };
