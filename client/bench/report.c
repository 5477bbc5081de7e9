/*
 * report.c - rows as they come: lines of a table, or JSON objects. In both, ratios are how many times
 * longer the server takes than what stands beside it: 1 is as fast, more is slower.
 */
#include "client/bench/bench.h"

#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

static double us(uint64_t ns)
{
	return (double)ns / 1000;
}

static double ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

/* ---- JSON ---- */

static void set_number(json_t *o, const char *name, double value)
{
	/* Whole where it is: counts look like counts. */
	json_object_set_new(o, name,
			    value == (double)(json_int_t)value ? json_integer((json_int_t)value)
							       : json_real(value));
}

static json_t *new_row(const struct bench *b)
{
	return json_pack("{s:s,s:s}", "group", b->group, "row", b->row);
}

static void set_histogram(json_t *o, const struct histogram *h)
{
	set_number(o, "n", (double)h->n);
	set_number(o, "min_us", us(h->min));
	set_number(o, "p50_us", us(histogram_percentile(h, 50)));
	set_number(o, "p90_us", us(histogram_percentile(h, 90)));
	set_number(o, "p99_us", us(histogram_percentile(h, 99)));
	set_number(o, "p999_us", us(histogram_percentile(h, 99.9)));
	set_number(o, "max_us", us(h->max));
	set_number(o, "mean_us", histogram_mean(h) / 1000);
}

static json_t *histogram_json(const struct histogram *h)
{
	json_t *o = json_object();

	set_histogram(o, h);
	return o;
}

/* Per call. What cannot be seen is absent. */
static void set_usage(const struct bench *b, json_t *o, const struct usage *u, uint64_t n)
{
	double calls = (double)MAX(n, 1);

	set_number(o, "client_cpu_us", us(u->client_ns) / calls);
	set_number(o, "client_switches", (double)u->client_switches / calls);
	if (b->server <= 0)
		return;
	set_number(o, "server_cpu_us", us(u->server_ns) / calls);
	set_number(o, "server_switches", (double)u->server_switches / calls);
}

/* ---- the table ---- */

static void clear_progress(const struct bench *b)
{
	if (b->progress)
		fprintf(stderr, "\r\033[K");
}

/* The row is out before the next one is measured; where nobody reads, there is none. */
static void flush_row(void)
{
	if (fflush(stdout) != 0 && !bench_ended)
		bench_ended = SIGPIPE;
}

static void print_row(struct bench *b, json_t *row)
{
	clear_progress(b);
	cli_json_print(b->c, row);
	flush_row();
}

void report_progress(struct bench *b)
{
	if (b->progress)
		fprintf(stderr, "\r\033[K[%u/%u] %s %s", b->at_row, b->n_rows, b->group, b->row);
}

static const struct {
	const char *group, *title, *columns;
} heads[] = {
	{ "latency",
	  "One call after the other, microseconds. ratio: p50 / native's; floor: p50 / (ping-pong "
	  "+ "
	  "native); toy: p50 / the toy server's.\nCPU (microseconds) and context switches of a "
	  "call, client + server.",
	  "                        p50       p90       p99     p99.9    native   ratio ping-pong "
	  "  floor     toy           CPU      switches" },
	{ "threads", "Stats of depth 8 by so many threads of one session", NULL },
	{ "sessions", "Stats of depth 8 by so many sessions of a thread each", NULL },
	{ "data", "Contents of one open file, in the page cache", NULL },
	{ "small", "Small files of 4 KiB, each once a pass", NULL },
	{ "list", "Listings with attributes, by number of entries", NULL },
	{ "memory", "What sessions and open handles cost while they do nothing", "" },
};
static const char rate_columns[] =
	"                               per second    native/s   ratio   p50 us   p99 us   native "
	"p50       p99           CPU      switches";

/* A group's heading comes before its first row. */
static void head(struct bench *b)
{
	clear_progress(b);
	if (b->headed && strcmp(b->headed, b->group) == 0)
		return;
	b->headed = b->group;
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++)
		if (strcmp(heads[i].group, b->group) == 0)
			printf("\n%s: %s\n%s%s", heads[i].group, heads[i].title,
			       heads[i].columns ?: rate_columns,
			       heads[i].columns && !*heads[i].columns ? "" : "\n");
}

/* A number of a column, or nothing where there is none. */
static void cell(int width, int digits, double value)
{
	if (value > 0)
		printf(" %*.*f", width, digits, value);
	else
		printf(" %*s", width, "-");
}

static void usage_cells(const struct bench *b, const struct usage *u, uint64_t n)
{
	double calls = (double)MAX(n, 1);

	printf(" %6.2f", us(u->client_ns) / calls);
	if (b->server > 0)
		printf(" +%6.2f", us(u->server_ns) / calls);
	else
		printf(" +%6s", "-");
	printf(" %5.2f", (double)u->client_switches / calls);
	if (b->server > 0)
		printf(" + %5.2f", (double)u->server_switches / calls);
	else
		printf(" + %5s", "-");
}

static void end_line(void)
{
	putchar('\n');
	flush_row();
}

/* ---- rows ---- */

static double p50(const struct histogram *h)
{
	return h ? us(histogram_percentile(h, 50)) : 0;
}

static void set_latency(const struct bench *b, json_t *o, const struct report_latency *r)
{
	double mine = p50(r->gofer), native = p50(r->native), ping = p50(r->ping),
	       toy = p50(r->toy);

	json_object_set_new(o, "rpc", json_string(r->rpc));
	if (r->depth)
		set_number(o, "depth", r->depth);
	set_histogram(o, r->gofer);
	set_usage(b, o, &r->usage, r->n);
	set_number(o, "request_bytes", (double)r->request_bytes);
	set_number(o, "reply_bytes", (double)r->reply_bytes);
	if (native > 0) {
		json_object_set_new(o, "native", histogram_json(r->native));
		set_number(o, "ratio", ratio(mine, native));
	}
	if (ping > 0) {
		json_object_set_new(o, "ping", histogram_json(r->ping));
		set_number(o, "floor_ratio", ratio(mine, ping + native));
	}
	if (toy > 0) {
		json_object_set_new(o, "toy", histogram_json(r->toy));
		set_number(o, "toy_ratio", ratio(mine, toy));
	}
}

void report_latency(struct bench *b, const struct report_latency *r)
{
	const struct histogram *h = r->gofer;
	double mine = p50(h), native = p50(r->native), ping = p50(r->ping), toy = p50(r->toy);

	if (b->c->json) {
		json_t *o = new_row(b);

		set_latency(b, o, r);
		print_row(b, o);
		return;
	}
	head(b);
	printf("%-17s %9.2f %9.2f %9.2f %9.2f", b->row, mine, us(histogram_percentile(h, 90)),
	       us(histogram_percentile(h, 99)), us(histogram_percentile(h, 99.9)));
	cell(9, 2, native);
	cell(7, 2, ratio(mine, native));
	cell(9, 2, ping);
	cell(7, 2, ping > 0 ? ratio(mine, ping + native) : 0);
	cell(7, 2, ratio(mine, toy));
	usage_cells(b, &r->usage, r->n);
	end_line();
}

void report_rate(struct bench *b, const struct report_rate *r)
{
	double mine = ratio(r->amount, r->seconds);
	double native = ratio(r->native_amount, r->native_seconds);

	if (b->c->json) {
		json_t *o = new_row(b);

		json_object_set_new(o, "unit", json_string(r->unit));
		set_number(o, "amount", r->amount);
		set_number(o, "seconds", r->seconds);
		set_number(o, "per_second", mine);
		if (native > 0) {
			set_number(o, "native_per_second", native);
			set_number(o, "ratio", ratio(native, mine));
		}
		if (r->calls)
			json_object_set_new(o, "calls", histogram_json(r->calls));
		if (r->native_calls && r->native_calls->n)
			json_object_set_new(o, "native_calls", histogram_json(r->native_calls));
		set_usage(b, o, &r->usage, r->n);
		print_row(b, o);
		return;
	}
	head(b);
	printf("%-25s %10.0f %s/s", b->row, mine, r->unit);
	printf("%*s", (int)MAX(8 - (int)strlen(r->unit), 0), "");
	cell(9, 0, native);
	cell(7, 2, ratio(native, mine));
	cell(8, 2, p50(r->calls));
	cell(8, 2, r->calls ? us(histogram_percentile(r->calls, 99)) : 0);
	cell(10, 2, p50(r->native_calls));
	cell(9, 2, r->native_calls ? us(histogram_percentile(r->native_calls, 99)) : 0);
	usage_cells(b, &r->usage, r->n);
	end_line();
}

void report_numbers(struct bench *b, const struct report_number *numbers, size_t n)
{
	if (b->c->json) {
		json_t *o = new_row(b);

		for (size_t i = 0; i < n; i++)
			set_number(o, numbers[i].name, numbers[i].value);
		print_row(b, o);
		return;
	}
	head(b);
	printf("%-10s", b->row);
	for (size_t i = 0; i < n; i++) {
		printf(i ? ", " : " ");
		printf(numbers[i].words, numbers[i].value);
	}
	end_line();
}

void report_skip(struct bench *b, const char *format, ...)
{
	_cleanup_free_ char *reason = NULL;
	va_list ap;
	int r;

	va_start(ap, format);
	r = vasprintf(&reason, format, ap);
	va_end(ap);
	if (r < 0)
		abort();
	if (b->c->json) {
		json_t *o = new_row(b);

		json_object_set_new(o, "skipped", json_string(reason));
		print_row(b, o);
		return;
	}
	head(b);
	printf("%-25s skipped: %s", b->row, reason);
	end_line();
}

void report_failure(struct bench *b, int error)
{
	static const int missing[] = { -EPERM,  -EACCES, -EROFS,  -EOPNOTSUPP, -ENOSYS, -ENODATA,
				       -EAGAIN, -EMFILE, -ENFILE, -ENOSPC,     -EDQUOT, -EINVAL };

	if (error == -EINTR)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(missing); i++)
		if (missing[i] == error) {
			report_skip(b, "%s", strerror(-error));
			return;
		}
	clear_progress(b);
	cli_error(b->c, error, b->group, b->row);
}

/* ---- the run ---- */

static void trim(char *text)
{
	text[strcspn(text, "\n")] = '\0';
}

/* The name of the processor, as the kernel has it. */
static void cpu_name(char *ret_name, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(ret_name, size, "unknown");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
			trim(line);
			snprintf(ret_name, size, "%s", strchr(line, ':') + 2);
			break;
		}
	if (f)
		fclose(f);
}

void report_begin(struct bench *b)
{
	struct utsname system;
	char cpu[128], when[64];
	time_t now = time(NULL);
	struct tm tm;
	cpu_set_t cpus;
	int n_cpus = 0;

	CPU_ZERO(&cpus);
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		n_cpus = CPU_COUNT(&cpus);
	cpu_name(cpu, sizeof(cpu));
	(void)uname(&system);
	(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	if (b->c->json) {
		json_t *o =
			json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:f,s:b,s:b}", "gofer", GOFER_VERSION,
				  "server", b->c->address, "when", when, "kernel", system.release,
				  "cpu", cpu, "cpus", n_cpus, "row_seconds", b->seconds, "private",
				  b->private_server, "native", b->native >= 0);

		print_row(b, o);
		return;
	}
	printf("gofer %s, %s, %d of the CPUs %s, Linux %s, %s\n%s; %.2f s a row; %s\n",
	       GOFER_VERSION, when, n_cpus, cpu, system.release, b->c->address,
	       b->private_server ? "a private server" : "a server that was there", b->seconds,
	       b->native >= 0 ? "native calls on the same tree beside"
			      : "no native calls beside (see --native)");
	flush_row();
}

void report_end(struct bench *b)
{
	clear_progress(b);
	fflush(stdout);
}
