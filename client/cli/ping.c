/*
 * ping.c - gofer ping: round trips of the empty request, one after the other: what a system call
 * through the server costs at least.
 */
#include "client/cli/cli.h"

#include <string.h>

#include "common/packet.h"
#include "proto/rpc.h"

static const struct cli_option options[] = {
	{ 'c', "count", "N", "so many round trips (default 1000)" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "ping",
	.usage = "[-c N]",
	.about = "Measures round trips to the server.",
	.options = options,
};

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int run(int argc, char **argv)
{
	Gofer__PingRequest message = GOFER__PING_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Ping,
					 .message = (void *)&message,
					 .fd = -1 };
	_cleanup_free_ uint64_t *times = NULL;
	uint64_t count = 1000, n = 0;
	double min, median, p99, max;
	struct cli c;

	cli_begin(&c, &spec, argc, argv);
	while (cli_next(&c) >= 0)
		count = cli_number(&c, "-c", c.optarg, false);
	if (cli_need_operands(&c, 0, 0) < 0)
		return cli_end(&c);
	if (!count || count > 100000000)
		cli_no_usage(&c, "-c: from 1 to 100000000");
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	times = cli_alloc(count * sizeof(*times));
	for (; n < count && !cli_stops(&c); n++) {
		struct gofer_reply reply;
		uint64_t start = now_ns();
		int r = gofer_call(c.session, &request, &reply);

		if (r < 0) {
			cli_error(&c, r, NULL, "server");
			break;
		}
		times[n] = now_ns() - start;
		gofer_reply_free(&reply);
	}
	if (n) {
		qsort(times, n, sizeof(*times), compare);
		min = (double)times[0] / 1000;
		median = (double)times[n / 2] / 1000;
		p99 = (double)times[(n - 1) * 99 / 100] / 1000;
		max = (double)times[n - 1] / 1000;
		if (c.json)
			cli_json_print(&c, json_pack("{s:I,s:f,s:f,s:f,s:f}", "count",
						     (json_int_t)n, "min_us", min, "median_us",
						     median, "p99_us", p99, "max_us", max));
		else
			printf("%llu round trips: min %.1f us, median %.1f us, 99%% %.1f us, max "
			       "%.1f us\n",
			       (unsigned long long)n, min, median, p99, max);
	}
	return cli_end(&c);
}

const struct verb verb_ping = { "ping", "measure round trips", run, &spec };
