/*
 * args.c - options. Each verb declares its own in a table; this turns the table into
 * getopt_long(3)'s form, adds the options that every verb has, and prints --help from it, so that
 * help, parsing and completion (which reads --help) cannot disagree.
 */
#include "client/cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <string.h>

enum {
	KEY_HELP = 10000,
	KEY_SERVER,
	KEY_TIMEOUT,
	KEY_RECONNECT,
	KEY_JSON,
	KEY_STATS,
	KEY_INTEROP,
	KEY_CHANNELS,
	KEY_TLS
};

const struct cli_option cli_global_options[] = {
	{ KEY_SERVER, "server", "ADDRESS",
	  "server to use: unix:/path, unix-stream:/path, vsock:CID:PORT, tls:HOST:PORT, "
	  "ssh:HOST:VOLUME (default "
	  "$GOFER_SERVER, $XDG_RUNTIME_DIR/gofer.sock, "
	  "/run/gofer.sock)" },
	{ KEY_TIMEOUT, "timeout", "SECONDS",
	  "deadline of connecting and of each request (default 30)" },
	{ KEY_RECONNECT, "reconnect", "SECONDS",
	  "how long to try to make a connection again that is lost: of a stream (default 30); 0 = "
	  "not at all" },
	{ KEY_JSON, "json", NULL,
	  "one JSON object per line instead of text, where the verb has data to show" },
	{ KEY_STATS, "stats", NULL,
	  "at the end, one JSON line on stderr: requests by name (without Hello), total, bytes; "
	  "with --interop also what was remembered, with --channels what they took" },
	{ KEY_INTEROP, "interop", "MODE",
	  "who else may change the volumes meanwhile: shared (default) is anybody; writethrough "
	  "and "
	  "exclusive are nobody, so that what is known is not asked again" },
	{ KEY_CHANNELS, "channels", "N",
	  "ask a server on this machine for up to N channels of shared memory (default 0)" },
	{ KEY_TLS + 0, "tls-ca", "FILE",
	  "for --server tls:HOST:PORT: authorities that sign servers' certificates (default: the "
	  "system's)" },
	{ KEY_TLS + 1, "tls-cert", "FILE", "... this client's certificate" },
	{ KEY_TLS + 2, "tls-key", "FILE", "... and its private key" },
	{ KEY_TLS + 3, "tls-crl", "FILE", "... certificates that were revoked" },
	{ KEY_TLS + 4, "tls-token-file", "FILE", "... a secret, in place of a certificate" },
	{ KEY_TLS + 5, "tls-name", "HOST",
	  "... whom the server's certificate is to name (default: the address's HOST)" },
	{ KEY_HELP, "help", NULL, "print this help" },
	{ 0 },
};

static size_t count(const struct cli_option *options)
{
	size_t n = 0;

	while (options && options[n].key)
		n++;
	return n;
}

void cli_begin(struct cli *c, const struct cli_spec *spec, int argc, char **argv)
{
	const struct cli_option *tables[] = { spec->options, cli_global_options };
	size_t n = count(spec->options) + count(cli_global_options), at = 0;
	char *letters;

	*c = (struct cli){ .spec = spec, .argc = argc, .argv = argv, .timeout_ms = 30000 };
	c->tty = isatty(STDOUT_FILENO);
	if (cli_host && cli_host->c != c) {
		c->timeout_ms = cli_host->c->timeout_ms;
		c->json = cli_host->c->json;
	}
	c->long_options = cli_alloc((n + 1) * sizeof(*c->long_options));
	letters = c->short_options = cli_alloc(2 * n + 2);
	*letters++ = ':';
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (const struct cli_option *o = tables[t]; o && o->key; o++) {
			if (o->key < CLI_LONG) {
				*letters++ = (char)o->key;
				if (o->arg)
					*letters++ = ':';
			}
			if (o->name)
				c->long_options[at++] =
					(struct option){ .name = o->name,
							 .has_arg = o->arg ? required_argument
									   : no_argument,
							 .val = o->key };
		}
	opterr = 0;
	optind = 0;
}

static void print_option(const struct cli_option *o, FILE *out)
{
	char left[64];
	int n = 0;

	if (o->key < CLI_LONG)
		n = snprintf(left, sizeof(left), "-%c%s", o->key, o->name ? ", " : "");
	else
		n = snprintf(left, sizeof(left), "    ");
	if (o->name)
		n += snprintf(left + n, sizeof(left) - (size_t)n, "--%s", o->name);
	if (o->arg)
		snprintf(left + n, sizeof(left) - (size_t)n, "%s%s", o->name ? "=" : " ", o->arg);
	fprintf(out, "  %-28s%s%s\n", left, strlen(left) > 27 ? "  " : "", o->help);
}

void cli_help(const struct cli_spec *spec, FILE *out)
{
	const char *line = spec->usage;
	const char *lead = "usage:";

	do {
		size_t n = strcspn(line, "\n");

		fprintf(out, "%s gofer %s%s%.*s\n", lead, spec->verb, n ? " " : "", (int)n, line);
		lead = "      ";
		line += n + (line[n] == '\n');
	} while (*line);
	fprintf(out, "\n%s\n", spec->about);
	if (count(spec->options)) {
		fprintf(out, "\nOptions:\n");
		for (const struct cli_option *o = spec->options; o->key; o++)
			print_option(o, out);
	}
	fprintf(out, "\nOptions of every verb:\n");
	for (const struct cli_option *o = cli_global_options; o->key; o++)
		print_option(o, out);
	if (spec->notes)
		fprintf(out, "\n%s\n", spec->notes);
	fprintf(out,
		"\nExit status: 0 if all went well, 1 if anything failed, 2 for wrong usage.\n");
}

int cli_no_usage(struct cli *c, const char *format, ...)
{
	va_list ap;

	if (c->over)
		return -EINVAL;
	fprintf(stderr, "gofer: %s: ", c->spec->verb);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "; see 'gofer %s --help'\n", c->spec->verb);
	c->status = CLI_USAGE;
	c->over = true;
	return -EINVAL;
}

static uint64_t no_number(struct cli *c, const char *what, const char *text, const char *why)
{
	cli_no_usage(c, "%s: '%s' is %s", what, text, why);
	return 0;
}

uint64_t cli_number(struct cli *c, const char *what, const char *text, bool suffix)
{
	static const char letters[] = "KMGTPE";
	unsigned long long value;
	uint64_t unit = 1;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-' || *text == '+')
		return no_number(c, what, text, "not a number");
	if (suffix && *end) {
		const char *at = strchr(letters, *end & ~0x20);

		if (at) {
			uint64_t base = 1024;

			if (end[1] == 'B' && !end[2]) {
				base = 1000;
				end++;
			} else if (end[1] == 'i' && end[2] == 'B' && !end[3]) {
				end += 2;
			}
			for (const char *l = letters; l <= at; l++)
				unit *= base;
			end++;
		}
	}
	if (*end)
		return no_number(c, what, text, "not a number");
	if (__builtin_mul_overflow((uint64_t)value, unit, &unit) || unit > INT64_MAX)
		return no_number(c, what, text, "too large");
	return unit;
}

static void take_interop(struct cli *c, const char *arg)
{
	static const struct {
		const char *name;
		enum gofer_interop interop;
		bool watch;
	} modes[] = { { "shared", GOFER_INTEROP_SHARED, false },
		      { "watched", GOFER_INTEROP_SHARED, true },
		      { "writethrough", GOFER_INTEROP_WRITETHROUGH, false },
		      { "exclusive", GOFER_INTEROP_EXCLUSIVE, false } };

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		if (strcmp(arg, modes[i].name) == 0) {
			c->interop = modes[i].interop;
			c->watch = modes[i].watch;
			return;
		}
	cli_no_usage(c, "--interop: '%s' is none of shared, watched, writethrough, exclusive", arg);
}

static void take(struct cli *c, int key, const char *arg)
{
	if (cli_host && (key == KEY_SERVER || key == KEY_TIMEOUT || key == KEY_RECONNECT ||
			 key == KEY_INTEROP || key == KEY_CHANNELS)) {
		cli_no_usage(c, "--server, --timeout, --reconnect, --interop and --channels are "
				"options of gofer shell itself here");
		return;
	}
	switch (key) {
	case KEY_SERVER:
		c->server = arg;
		break;
	case KEY_TIMEOUT: {
		uint64_t seconds = cli_number(c, "--timeout", arg, false);

		if (!seconds || seconds > 86400)
			cli_no_usage(c, "--timeout: from 1 to 86400 seconds");
		c->timeout_ms = (uint32_t)seconds * 1000;
		break;
	}
	case KEY_RECONNECT: {
		uint64_t seconds = cli_number(c, "--reconnect", arg, false);

		if (seconds > 86400)
			cli_no_usage(c, "--reconnect: from 0 to 86400 seconds");
		c->reconnect_ms = seconds ? (uint32_t)seconds * 1000 : UINT32_MAX;
		break;
	}
	case KEY_JSON:
		c->json = true;
		break;
	case KEY_STATS:
		c->stats = true;
		break;
	case KEY_INTEROP:
		take_interop(c, arg);
		break;
	case KEY_CHANNELS: {
		uint64_t n = cli_number(c, "--channels", arg, false);

		if (n > 64)
			cli_no_usage(c, "--channels: from 0 to 64");
		c->channels = (uint32_t)n;
		break;
	}
	case KEY_TLS + 0:
		c->tls.ca = arg;
		break;
	case KEY_TLS + 1:
		c->tls.cert = arg;
		break;
	case KEY_TLS + 2:
		c->tls.key = arg;
		break;
	case KEY_TLS + 3:
		c->tls.crl = arg;
		break;
	case KEY_TLS + 4:
		c->tls.token_file = arg;
		break;
	case KEY_TLS + 5:
		c->tls.name = arg;
		break;
	default:
		cli_help(c->spec, stdout);
		c->over = true;
	}
}

int cli_next(struct cli *c)
{
	while (!c->over) {
		int key = getopt_long(c->argc, c->argv, c->short_options, c->long_options, NULL);

		switch (key) {
		case -1:
			c->argc -= optind;
			c->argv += optind;
			return -1;
		case '?':
			if (optopt && optopt < CLI_LONG)
				cli_no_usage(c, "unknown option -%c", optopt);
			cli_no_usage(c, "unknown or ambiguous option %s", c->argv[optind - 1]);
			break;
		case ':':
			if (optopt && optopt < CLI_LONG)
				cli_no_usage(c, "option -%c needs a value", optopt);
			cli_no_usage(c, "option %s needs a value", c->argv[optind - 1]);
			break;
		default:
			if (key < KEY_HELP) {
				c->optarg = optarg;
				return key;
			}
			take(c, key, optarg);
		}
	}
	return -1;
}

bool cli_take_global(struct cli *c, int argc, char **argv, int *at)
{
	const char *text = argv[*at];

	if (strncmp(text, "--", 2) != 0)
		return false;
	for (const struct cli_option *o = cli_global_options; o->key; o++) {
		size_t n = strlen(o->name);

		if (strncmp(text + 2, o->name, n) != 0)
			continue;
		if (o->arg && text[2 + n] == '=') {
			take(c, o->key, text + 2 + n + 1);
		} else if (!text[2 + n] && !o->arg) {
			take(c, o->key, NULL);
		} else if (!text[2 + n]) {
			if (*at + 1 < argc)
				take(c, o->key, argv[++*at]);
			else
				cli_no_usage(c, "option %s needs a value", text);
		} else {
			continue;
		}
		++*at;
		return true;
	}
	return false;
}

int cli_need_operands(struct cli *c, int min, int max)
{
	if (c->over)
		return -EINVAL;
	if (c->argc < min)
		return cli_no_usage(c, c->argc ? "one more operand is needed" : "no operand given");
	if (max >= 0 && c->argc > max)
		return cli_no_usage(c, "extra operand '%s'", c->argv[max]);
	return 0;
}
