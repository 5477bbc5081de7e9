/*
 * serve_options.c - the command line of `gofer serve`: a table of long options, and the help that
 * goes with it.
 */
#include <getopt.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>

#include "server/serve.h"
#include "server/volume.h"

static const char help[] =
	"Usage: gofer serve -v HOST[:NAME][:OPTION,...] ... [OPTIONS] [--run 'COMMAND' | -- "
	"COMMAND ARGS...]\n"
	"\n"
	"Serves host directories to clients over a Unix socket, from a process that can reach "
	"nothing else.\n"
	"\n"
	"Volumes\n"
	"  -v, --volume HOST[:NAME][:OPTION,...]\n"
	"                        serve directory HOST as NAME (default: its last component); "
	"repeatable. '\\:' and '\\,'\n"
	"                        stand for ':' and ','. HOST:ro is options; HOST:ro: is a volume "
	"named ro.\n"
	"      ro | rw           read-only or read-write (rw)\n"
	"      xdev              what is mounted below HOST is part of it\n"
	"      noexec            nothing of it can be executed through a donated descriptor\n"
	"      donate=WHEN       hand descriptors of regular files to clients: never, ro (opened "
	"for reading only), always (always)\n"
	"      identity=squash[=UID:GID]\n"
	"                        everything runs as UID:GID (squash, as whoever starts the "
	"server)\n"
	"      identity=delegate requests run as the client's user, or as one that it registered "
	"(root only)\n"
	"      uids=LOW-HIGH, gids=LOW-HIGH\n"
	"                        what a delegated identity may be (1-4294967294)\n"
	"      caps=NAME+...     capabilities of uid 0 in it: chown, dac_override, "
	"dac_read_search, fowner, fsetid, mknod (none)\n"
	"      special=WHAT      FIFOs and sockets: deny, or allow to open and to connect to them "
	"(deny)\n"
	"      backend=KIND      host walks by descriptors; pathwalk by path, with its races "
	"(host)\n"
	"  --allow-overlap       volumes may share parts of a tree: what one forbids, another may "
	"allow\n"
	"\n"
	"Socket\n"
	"  --listen ADDRESS      unix:/path, unix:@abstract, or fd:N, a socket passed on "
	"(listening, or one connected client);\n"
	"                        a stream of bytes, on which no descriptors are donated: "
	"unix-stream:/path,\n"
	"                        vsock:CID:PORT (CID also any, local), tls:HOST:PORT, "
	"tcp:HOST:PORT "
	"(--insecure-tcp);\n"
	"                        repeatable. Default: sockets of the service manager (LISTEN_FDS), "
	"else\n"
	"                        $XDG_RUNTIME_DIR/gofer.sock, for root /run/gofer.sock\n"
	"  --socket-mode MODE    permissions of the socket file, octal (0600)\n"
	"  --socket-group GROUP  group of the socket file, by name or number\n"
	"  --stdio               one client, on standard input and output (what 'ssh HOST gofer "
	"serve --stdio' needs)\n"
	"  --insecure-tcp        allow tcp: on addresses of this machine: every local user may "
	"connect\n"
	"  --tls-cert FILE, --tls-key FILE\n"
	"                        certificate chain and private key (PEM) of --listen "
	"tls:HOST:PORT; HOST may be '*'\n"
	"  --tls-client-ca FILE  clients show a certificate that one of these authorities has "
	"signed\n"
	"  --tls-crl FILE        ... and that is not in this list of revoked ones\n"
	"  --tls-access FILE     who may come in, to which volumes, as whom: by certificate or by "
	"token (gofer-serve(1))\n"
	"  --allow-uid UID       who may connect besides the server's own user and root; 'any'; "
	"repeatable\n"
	"\n"
	"Private server\n"
	"  --run 'COMMAND'       serve for as long as the shell runs COMMAND; GOFER_SERVER names "
	"the socket. Without --listen,\n"
	"                        it lies in a private directory. The exit status is the "
	"command's.\n"
	"  -- COMMAND ARGS...    the same without a shell\n"
	"\n"
	"Confinement\n"
	"  --confine MODE        strict: refuse to run where a layer is missing; best-effort: say "
	"which, and serve (strict)\n"
	"  --explain-confinement print which layers hold here, and exit: 0 if all do (--json for "
	"programs)\n"
	"  --no-openat2          never use openat2: walk every path component by component (for "
	"tests and old kernels)\n"
	"\n"
	"Limits (defaults)\n"
	"  --max-sessions N (256)   --max-sessions-per-uid N (128)   --max-handles N (65536, of a "
	"session)\n"
	"  --max-in-flight N (256)  --max-threads N (8)              --max-identities N (1024)\n"
	"  --max-watches N (4096, of a session; 0 gives none)        --max-channels N (8, of a "
	"session; 0 takes none)\n"
	"  TLS, while it is not known who connects: --max-unauthenticated N (64)   "
	"--max-unauthenticated-per-address N (8)\n"
	"  --max-failures N (30, of an address in a minute)           --handshake-timeout MS "
	"(10000)\n"
	"  --hello-timeout MS (10000)                                --drain-timeout MS (5000)\n"
	"  Sessions over streams whose connection is lost: --resume-timeout MS (30000; 0 keeps "
	"none)   "
	"--max-lost-per-uid N (16)\n"
	"\n"
	"Messages\n"
	"  --log-requests        one line per request\n"
	"  --log-json            JSON lines\n"
	"  --log-level LEVEL     error, warning, info, debug (info); -q, --quiet: errors only; "
	"--verbose: debug\n"
	"  --ready-fd N          write a newline to descriptor N when clients can connect\n"
	"  --json, --help\n"
	"\n"
	"SIGTERM and SIGINT end the server once its clients' requests are answered; SIGHUP opens "
	"the volumes anew for new clients.\n"
	"Exit status: 0, 1 failure, 2 usage; with a command, the command's (128+N if signal N "
	"killed it, 126 and 127 as a shell).\n"
	"\n"
	"Examples\n"
	"  gofer serve -v /usr/include:ro --run 'gofer ls include:/'\n"
	"  gofer serve -v \"$PWD:work\" -v /srv/data:data:ro,donate=never --listen "
	"unix:/tmp/g.sock\n"
	"  gofer serve -v /srv:srv:identity=delegate,uids=1000-1999 --listen unix:/run/g.sock "
	"--socket-mode 0666 --allow-uid any\n";

enum {
	OPT_LISTEN = 256,
	OPT_SOCKET_MODE,
	OPT_SOCKET_GROUP,
	OPT_ALLOW_UID,
	OPT_STDIO,
	OPT_TLS_CERT,
	OPT_TLS_KEY,
	OPT_TLS_CLIENT_CA,
	OPT_TLS_CRL,
	OPT_TLS_ACCESS,
	OPT_INSECURE_TCP,
	OPT_RUN,
	OPT_CONFINE,
	OPT_EXPLAIN,
	OPT_NO_OPENAT2,
	OPT_ALLOW_OVERLAP,
	OPT_LOG_REQUESTS,
	OPT_LOG_JSON,
	OPT_LOG_LEVEL,
	OPT_VERBOSE,
	OPT_READY_FD,
	OPT_JSON,
	OPT_LIMIT, /* + index into limits[] */
};

static const struct {
	const char *name;
	size_t offset;
	uint32_t low, high;
} limits[] = {
	{ "max-sessions", offsetof(struct server_limits, max_sessions), 1, 100000 },
	{ "max-sessions-per-uid", offsetof(struct server_limits, max_sessions_uid), 1, 100000 },
	{ "max-handles", offsetof(struct server_limits, max_handles), 1, 1 << 20 },
	{ "max-in-flight", offsetof(struct server_limits, max_in_flight), 1, 1 << 16 },
	{ "max-threads", offsetof(struct server_limits, max_threads), 1, 256 },
	{ "max-identities", offsetof(struct server_limits, max_identities), 1, 1 << 16 },
	{ "hello-timeout", offsetof(struct server_limits, hello_ms), 1, 3600000 },
	{ "drain-timeout", offsetof(struct server_limits, drain_ms), 0, 3600000 },
	{ "max-watches", offsetof(struct server_limits, max_watches), 0, 1 << 20 },
	{ "max-channels", offsetof(struct server_limits, max_channels), 0, 256 },
	{ "handshake-timeout", offsetof(struct server_limits, handshake_ms), 1, 3600000 },
	{ "max-unauthenticated", offsetof(struct server_limits, max_unknown), 1, 10000 },
	{ "max-unauthenticated-per-address", offsetof(struct server_limits, max_unknown_address), 1,
	  10000 },
	{ "max-failures", offsetof(struct server_limits, max_failures), 1, 1 << 30 },
	{ "resume-timeout", offsetof(struct server_limits, resume_ms), 0, 3600000 },
	{ "max-lost-per-uid", offsetof(struct server_limits, max_lost_uid), 0, 100000 },
};

static const struct option options[] = {
	{ "volume", required_argument, NULL, 'v' },
	{ "help", no_argument, NULL, 'h' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "socket-mode", required_argument, NULL, OPT_SOCKET_MODE },
	{ "socket-group", required_argument, NULL, OPT_SOCKET_GROUP },
	{ "allow-uid", required_argument, NULL, OPT_ALLOW_UID },
	{ "stdio", no_argument, NULL, OPT_STDIO },
	{ "tls-cert", required_argument, NULL, OPT_TLS_CERT },
	{ "tls-key", required_argument, NULL, OPT_TLS_KEY },
	{ "tls-client-ca", required_argument, NULL, OPT_TLS_CLIENT_CA },
	{ "tls-crl", required_argument, NULL, OPT_TLS_CRL },
	{ "tls-access", required_argument, NULL, OPT_TLS_ACCESS },
	{ "insecure-tcp", no_argument, NULL, OPT_INSECURE_TCP },
	{ "run", required_argument, NULL, OPT_RUN },
	{ "confine", required_argument, NULL, OPT_CONFINE },
	{ "explain-confinement", no_argument, NULL, OPT_EXPLAIN },
	{ "no-openat2", no_argument, NULL, OPT_NO_OPENAT2 },
	{ "allow-overlap", no_argument, NULL, OPT_ALLOW_OVERLAP },
	{ "log-requests", no_argument, NULL, OPT_LOG_REQUESTS },
	{ "log-json", no_argument, NULL, OPT_LOG_JSON },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "ready-fd", required_argument, NULL, OPT_READY_FD },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "max-sessions", required_argument, NULL, OPT_LIMIT + 0 },
	{ "max-sessions-per-uid", required_argument, NULL, OPT_LIMIT + 1 },
	{ "max-handles", required_argument, NULL, OPT_LIMIT + 2 },
	{ "max-in-flight", required_argument, NULL, OPT_LIMIT + 3 },
	{ "max-threads", required_argument, NULL, OPT_LIMIT + 4 },
	{ "max-identities", required_argument, NULL, OPT_LIMIT + 5 },
	{ "hello-timeout", required_argument, NULL, OPT_LIMIT + 6 },
	{ "drain-timeout", required_argument, NULL, OPT_LIMIT + 7 },
	{ "max-watches", required_argument, NULL, OPT_LIMIT + 8 },
	{ "max-channels", required_argument, NULL, OPT_LIMIT + 9 },
	{ "handshake-timeout", required_argument, NULL, OPT_LIMIT + 10 },
	{ "max-unauthenticated", required_argument, NULL, OPT_LIMIT + 11 },
	{ "max-unauthenticated-per-address", required_argument, NULL, OPT_LIMIT + 12 },
	{ "max-failures", required_argument, NULL, OPT_LIMIT + 13 },
	{ "resume-timeout", required_argument, NULL, OPT_LIMIT + 14 },
	{ "max-lost-per-uid", required_argument, NULL, OPT_LIMIT + 15 },
	{},
};

static int parse_number(const char *text, int base, uint64_t low, uint64_t high, uint64_t *ret)
{
	char *end;
	unsigned long long value;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, base);
	if (errno || *end || value < low || value > high)
		return -EINVAL;
	*ret = value;
	return 0;
}

static int take_number(const char *name, const char *text, int base, uint64_t low, uint64_t high,
		       uint64_t *ret, struct serve_error *error)
{
	if (parse_number(text, base, low, high, ret) < 0)
		return serve_fail(error, -EINVAL, "--%s %s: expected a number from %llu to %llu",
				  name, text, (unsigned long long)low, (unsigned long long)high);
	return 0;
}

static int take_group(const char *text, gid_t *ret, struct serve_error *error)
{
	const struct group *group;
	uint64_t gid;

	if (parse_number(text, 10, 0, UINT32_MAX - 1, &gid) == 0) {
		*ret = gid;
		return 0;
	}
	group = getgrnam(text);
	if (!group)
		return serve_fail(error, -EINVAL, "--socket-group %s: there is no such group",
				  text);
	*ret = group->gr_gid;
	return 0;
}

static int take_level(const char *text, enum log_level *ret, struct serve_error *error)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return serve_fail(error, -EINVAL, "--log-level %s: expected error, warning, info or debug",
			  text);
}

static int take_uid(struct serve_options *o, const char *text, struct serve_error *error)
{
	uint64_t uid;

	if (strcmp(text, "any") == 0) {
		o->allow_any_uid = true;
		return 0;
	}
	if (parse_number(text, 10, 0, UINT32_MAX - 1, &uid) < 0)
		return serve_fail(error, -EINVAL,
				  "--allow-uid %s: expected a numeric user id, or 'any'", text);
	if (o->n_allowed_uids == SERVE_UIDS_MAX)
		return serve_fail(error, -EINVAL,
				  "--allow-uid: at most %d: use 'any' and the socket's group",
				  SERVE_UIDS_MAX - 2);
	o->allowed_uids[o->n_allowed_uids++] = uid;
	return 0;
}

static int take_option(struct serve_options *o, int option, struct serve_error *error)
{
	uint64_t value;
	int r = 0;

	switch (option) {
	case 'v':
		o->specs[o->n_specs++] = optarg;
		return 0;
	case 'q':
		o->log.level = LOG_LEVEL_ERROR;
		return 0;
	case OPT_LISTEN:
		if (o->n_listen == SERVE_LISTEN_MAX)
			return serve_fail(error, -EINVAL, "--listen: at most %d", SERVE_LISTEN_MAX);
		o->listen[o->n_listen++] = optarg;
		return 0;
	case OPT_SOCKET_MODE:
		r = take_number("socket-mode", optarg, 8, 0, 0777, &value, error);
		if (r == 0)
			o->socket.mode = value;
		return r;
	case OPT_SOCKET_GROUP:
		return take_group(optarg, &o->socket.group, error);
	case OPT_ALLOW_UID:
		return take_uid(o, optarg, error);
	case OPT_TLS_CERT:
		o->tls.cert = optarg;
		return 0;
	case OPT_TLS_KEY:
		o->tls.key = optarg;
		return 0;
	case OPT_TLS_CLIENT_CA:
		o->tls.ca = optarg;
		return 0;
	case OPT_TLS_CRL:
		o->tls.crl = optarg;
		return 0;
	case OPT_TLS_ACCESS:
		o->tls_access = optarg;
		return 0;
	case OPT_STDIO:
		o->stdio = true;
		return 0;
	case OPT_INSECURE_TCP:
		o->socket.insecure_tcp = true;
		return 0;
	case OPT_RUN:
		o->run = optarg;
		return 0;
	case OPT_CONFINE:
		if (strcmp(optarg, "strict") != 0 && strcmp(optarg, "best-effort") != 0)
			return serve_fail(error, -EINVAL,
					  "--confine %s: expected strict or best-effort", optarg);
		o->best_effort = optarg[0] == 'b';
		return 0;
	case OPT_EXPLAIN:
		o->explain = true;
		return 0;
	case OPT_NO_OPENAT2:
		o->no_openat2 = true;
		return 0;
	case OPT_ALLOW_OVERLAP:
		o->allow_overlap = true;
		return 0;
	case OPT_LOG_REQUESTS:
		o->log_requests = true;
		return 0;
	case OPT_LOG_JSON:
		o->log.json = true;
		return 0;
	case OPT_LOG_LEVEL:
		return take_level(optarg, &o->log.level, error);
	case OPT_VERBOSE:
		o->log.level = LOG_LEVEL_DEBUG;
		return 0;
	case OPT_READY_FD:
		r = take_number("ready-fd", optarg, 10, 0, INT32_MAX, &value, error);
		if (r == 0)
			o->ready_fd = (int)value;
		return r;
	case OPT_JSON:
		o->json = true;
		return 0;
	default:
		option -= OPT_LIMIT;
		r = take_number(limits[option].name, optarg, 10, limits[option].low,
				limits[option].high, &value, error);
		if (r == 0)
			*(uint32_t *)((char *)&o->limits + limits[option].offset) = value;
		return r;
	}
}

/* Words that mean nothing are a matter of usage; what they name is looked up later, and again at
 * each reload. */
static int check_volumes(const struct serve_options *o, struct serve_error *error)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < o->n_specs; i++) {
		struct volume v = VOLUME_NULL;

		r = volume_parse(o->specs[i], &v, error);
		if (r == 0)
			volume_deinit(&v);
	}
	return r;
}

static int check_tls(const struct serve_options *o, struct serve_error *error)
{
	bool listens = false;

	for (size_t i = 0; i < o->n_listen; i++)
		listens |= strncmp(o->listen[i], "tls:", 4) == 0;
	if (listens && (!o->tls.cert || !o->tls.key))
		return serve_fail(
			error, -EINVAL,
			"--listen tls: needs --tls-cert and --tls-key (scripts/make-certs "
			"makes some to try it out)");
	if (listens && !o->tls.ca && !o->tls_access)
		return serve_fail(error, -EINVAL,
				  "--listen tls: nobody could come in: give --tls-client-ca, or "
				  "--tls-access with tokens");
	if (o->tls.crl && !o->tls.ca)
		return serve_fail(error, -EINVAL, "--tls-crl is for --tls-client-ca");
	if (!listens && (o->tls.cert || o->tls.key || o->tls.ca || o->tls_access))
		return serve_fail(error, -EINVAL, "--tls-... is for --listen tls:HOST:PORT");
	return 0;
}

static int check_together(struct serve_options *o, int argc, char **argv, struct serve_error *error)
{
	if (optind < argc && strcmp(argv[optind - 1], "--") != 0)
		return serve_fail(
			error, -EINVAL,
			"unexpected argument '%s': volumes are given with -v, a command after '--'",
			argv[optind]);
	if (optind < argc)
		o->command = &argv[optind];
	if (o->command && o->run)
		return serve_fail(error, -EINVAL, "both --run and a command after '--': keep one");
	if (o->stdio && (o->command || o->run || o->n_listen))
		return serve_fail(error, -EINVAL,
				  "--stdio serves one client and nothing else: without --listen, "
				  "--run and a command");
	if (!o->n_specs && !o->explain)
		return serve_fail(error, -EINVAL,
				  "nothing to serve: give a directory with -v HOST[:NAME]");
	if (check_tls(o, error) < 0)
		return -EINVAL;
	return check_volumes(o, error);
}

int serve_options_parse(int argc, char **argv, struct serve_options *ret, struct serve_error *error)
{
	struct serve_options o = {
		.socket = { .mode = 0600, .group = (gid_t)-1 },
		.limits = SERVER_LIMITS_DEFAULT,
		.log = { .level = LOG_LEVEL_INFO, .program = "gofer" },
		.ready_fd = -EBADF,
	};
	int option, r = 0;

	o.specs = calloc(argc, sizeof(*o.specs));
	if (!o.specs)
		return -ENOMEM;
	o.allowed_uids[o.n_allowed_uids++] = geteuid();
	o.allowed_uids[o.n_allowed_uids++] = 0;
	optind = 0; /* argv[0] is the verb; somebody may have parsed before us */
	opterr = 0;
	while (r == 0 && (option = getopt_long(argc, argv, "+:v:qh", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(help, stdout);
			r = 1;
		} else if (option == '?') {
			r = serve_fail(error, -EINVAL, "unknown option '%s'", argv[optind - 1]);
		} else if (option == ':') {
			r = serve_fail(error, -EINVAL, "option '%s' needs a value",
				       argv[optind - 1]);
		} else {
			r = take_option(&o, option, error);
		}
	}
	if (r == 0)
		r = check_together(&o, argc, argv, error);
	if (r != 0) {
		serve_options_deinit(&o);
		return r;
	}
	*ret = o;
	return 0;
}

void serve_options_deinit(struct serve_options *o)
{
	free(TAKE_PTR(o->specs));
}
