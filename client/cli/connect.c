/*
 * connect.c - the session of one run of the command: where the server is, its volumes, operands of
 * the form NAME:/path, and the one place that words errors.
 *
 * Every volume gets a namespace of its own with the volume at "/". So a symbolic link with an
 * absolute target leads to that path inside its own volume (as in a chroot), and no link leads from
 * one volume into another.
 */
#include "client/cli/pipeline.h"

#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include "common/path.h"

enum { NOTICEABLE_MS = 1000 }; /* without a connection */

void (*cli_on_exit)(void);
struct cli_host *cli_host;
struct gofer_session *volatile cli_host_session;

void cli_path_deinit(struct cli_path *p)
{
	free(p->path);
	p->path = NULL;
}

static void default_server(char *buf, size_t size)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");

	if (dir && *dir == '/') {
		snprintf(buf, size, "unix:%s/gofer.sock", dir);
		if (access(buf + strlen("unix:"), F_OK) == 0)
			return;
	}
	snprintf(buf, size, "unix:/run/gofer.sock");
}

/* In whatever thread waits for the connection. */
static void on_connection(void *userdata, enum gofer_connection what, uint32_t ms)
{
	struct cli *c = userdata;
	char shown[4096];

	if (what == GOFER_CONNECTION_LOST && cli_stops(c) && c->session) {
		gofer_session_abort(c->session);
		return;
	}
	if (what == GOFER_CONNECTION_LOST ? c->told || ms < NOTICEABLE_MS : !c->told)
		return;
	c->told = what == GOFER_CONNECTION_LOST;
	path_escape(c->address, strlen(c->address), shown, sizeof(shown));
	if (c->told)
		fprintf(stderr, "gofer: %s: the connection to %s is lost, connecting again\n",
			c->spec->verb, shown);
	else
		fprintf(stderr, "gofer: %s: connected to %s again, after %u s\n", c->spec->verb,
			shown, ms / 1000);
}

int cli_open_session(struct cli *c, struct gofer_session **ret_session)
{
	struct gofer_session_options options = { .timeout_ms = c->timeout_ms,
						 .client = "gofer " GOFER_VERSION,
						 .channels = c->channels,
						 .reconnect_ms = c->reconnect_ms,
						 .connection = on_connection,
						 .connection_data = c,
						 .tls = &c->tls };

	/* Each further session of this run needs no certificates on the wire. */
	if (!c->tls.tickets && strncmp(c->address, "tls:", 4) == 0)
		(void)gofer_tls_tickets_new(&c->tls.tickets);
	return gofer_session_open(c->address, &options, ret_session);
}

static int open_volumes(struct cli *c)
{
	const struct gofer_mount_options mount = { .interop = c->interop, .watch = c->watch };
	struct gofer_filesystem fs;

	for (size_t i = 0; gofer_session_filesystem(c->session, i, &fs) == 0; i++) {
		struct cli_volume *grown = reallocarray(c->volumes, i + 1, sizeof(*grown));
		int r;

		if (!grown)
			abort();
		c->volumes = grown;
		grown[i] = (struct cli_volume){ .name = cli_strdup(fs.name),
						.fs_id = fs.fs_id,
						.read_only = fs.read_only,
						.delegate = fs.delegate };
		c->n_volumes = i + 1;
		r = gofer_namespace_new(&grown[i].ns);
		if (r == 0)
			r = gofer_mount(grown[i].ns, c->session, fs.fs_id, "/", &mount);
		if (r < 0) {
			cli_error(c, r, "use volume", fs.name);
			return r;
		}
		/* Verbs apply the caller's umask themselves where coreutils would. */
		gofer_umask(grown[i].ns, 0);
	}
	return 0;
}

static void close_session(struct cli *c)
{
	for (size_t i = 0; i < c->n_volumes; i++) {
		gofer_namespace_free(c->volumes[i].ns);
		free(c->volumes[i].name);
	}
	free(c->volumes);
	c->volumes = NULL;
	c->n_volumes = 0;
	gofer_session_close(TAKE_PTR(c->session));
	free(TAKE_PTR(c->address));
}

static int open_session(struct cli *c)
{
	char fallback[4096];
	const char *server = c->server;
	int r;

	if (!server || !*server)
		server = getenv("GOFER_SERVER");
	if (!server || !*server) {
		default_server(fallback, sizeof(fallback));
		server = fallback;
	}
	c->address = cli_strdup(server);
	r = cli_open_session(c, &c->session);
	if (r < 0) {
		const char *words = gofer_message();
		bool local =
			strncmp(server, "unix:", 5) == 0 && (r == -ENOENT || r == -ECONNREFUSED);
		size_t named = strlen(server);
		char shown[4096], why[4096];

		if (strncmp(words, server, named) == 0 && strncmp(words + named, ": ", 2) == 0)
			words += named + 2;

		/* The library knows more than the number says, where it is not about a file. */
		fprintf(stderr, "gofer: %s: cannot reach the server at %s: %s%s\n", c->spec->verb,
			path_escape(server, strlen(server), shown, sizeof(shown)),
			local || !*words ? strerror(-r)
					 : path_escape(words, strlen(words), why, sizeof(why)),
			local ? " (start one with 'gofer serve', or name it with --server or "
				"GOFER_SERVER)"
			      : "");
		free(TAKE_PTR(c->address));
		c->status = CLI_FAILED;
		return r;
	}
	gofer_session_get_limits(c->session, &c->limits);
	r = open_volumes(c);
	if (r < 0)
		close_session(c);
	return r;
}

/* The shell's session, or a new one where the server of the last has gone. */
static int borrow_session(struct cli *c)
{
	struct cli *host = cli_host->c;

	if (host->session && gofer_session_status(host->session) < 0) {
		cli_host_session = NULL;
		close_session(host);
	}
	if (!host->session) {
		const struct cli_spec *spec = host->spec;
		int r;

		host->spec = c->spec;
		r = open_session(host);
		host->spec = spec;
		cli_host_session = host->session;
		if (r < 0) {
			/* The verb's failure, not the shell's. */
			host->status = CLI_OK;
			c->status = CLI_FAILED;
			return r;
		}
	}
	c->session = host->session;
	c->limits = host->limits;
	c->volumes = host->volumes;
	c->n_volumes = host->n_volumes;
	c->channels = host->channels;
	c->interop = host->interop;
	c->watch = host->watch;
	gofer_session_get_stats(c->session, &c->before);
	return 0;
}

int cli_connect(struct cli *c)
{
	int r;

	if (c->over)
		return -EINVAL;
	if (c->session)
		return 0;
	r = cli_host && cli_host->c != c ? borrow_session(c) : open_session(c);
	c->over = r < 0;
	return r;
}

void cli_default_operand(struct cli *c)
{
	static char dot[] = ".";
	static char *operand[] = { dot, NULL };

	if (c->argc > 0 || !cli_host || !cli_host->volume)
		return;
	c->argc = 1;
	c->argv = operand;
}

bool cli_stops(const struct cli *c)
{
	return c->over || pipe_signal;
}

struct cli_volume *cli_find_volume(struct cli *c, const char *name, size_t len)
{
	for (size_t i = 0; i < c->n_volumes; i++)
		if (strlen(c->volumes[i].name) == len && memcmp(c->volumes[i].name, name, len) == 0)
			return &c->volumes[i];
	return NULL;
}

bool cli_is_remote(const char *text)
{
	size_t n = strcspn(text, ":/");

	return n > 0 && text[n] == ':';
}

static void list_volumes(struct cli *c)
{
	char shown[1024];

	if (c->n_volumes == 0)
		fprintf(stderr, "the server offers no volume");
	for (size_t i = 0; i < c->n_volumes; i++)
		fprintf(stderr, "%s%s:", i ? ", " : "the server offers ",
			path_escape(c->volumes[i].name, strlen(c->volumes[i].name), shown,
				    sizeof(shown)));
}

/* A path that names no volume, in the shell's current one. */
static char *from_directory(const char *text)
{
	const char *dir = cli_host->directory;
	char *path;

	if (*text == '/')
		return cli_strdup(text);
	if (asprintf(&path, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, text) < 0)
		abort();
	return path;
}

int cli_split(struct cli *c, const char *text, struct cli_path *ret_path)
{
	const char *colon = cli_is_remote(text) ? strchr(text, ':') : NULL;
	struct cli_volume *v = colon ? cli_find_volume(c, text, (size_t)(colon - text)) : NULL;
	char shown[8192];
	char *path;

	if (!colon && *text && cli_host && cli_host->volume) {
		v = cli_find_volume(c, cli_host->volume, strlen(cli_host->volume));
		if (v) {
			*ret_path = (struct cli_path){
				.text = text, .volume = v, .ns = v->ns, .path = from_directory(text)
			};
			return 0;
		}
	}
	if (!v) {
		path_escape(text, strlen(text), shown, sizeof(shown));
		fprintf(stderr, "gofer: %s: %s: %s; ", c->spec->verb, shown,
			colon ? "no such volume" : "not of the form NAME:/path");
		list_volumes(c);
		fputc('\n', stderr);
		c->status = CLI_FAILED;
		return -EINVAL;
	}
	if (asprintf(&path, "%s%s", colon[1] == '/' ? "" : "/", colon + 1) < 0)
		abort();
	*ret_path = (struct cli_path){ .text = text, .volume = v, .ns = v->ns, .path = path };
	return 0;
}

/* What to do about an error, where there is something to say. */
static const char *advice(int error)
{
	switch (-error) {
	case EROFS:
		return " (the volume is served read-only)";
	case ENOTCONN:
	case EPIPE:
		return " (the server has gone away)";
	case ECONNRESET:
		return " (the connection was lost before the answer came: it may have been done)";
	case ETIMEDOUT:
		return " (the server did not answer in time; see --timeout)";
	default:
		return "";
	}
}

bool cli_is_fatal(int error)
{
	return error == -ENOTCONN || error == -ETIMEDOUT || error == -EPIPE || error == -EPROTO;
}

int cli_destination(struct cli *c, bool plain, struct cli_path *ret_to, bool *ret_into)
{
	struct stat st;
	bool into;

	if (cli_split(c, c->argv[c->argc - 1], ret_to) < 0)
		return -EINVAL;
	into = !plain && gofer_stat(ret_to->ns, ret_to->path, 0, &st) == 0 && S_ISDIR(st.st_mode);
	if (!into && c->argc > 2) {
		cli_error(c, -ENOTDIR, NULL, ret_to->text);
		return -ENOTDIR;
	}
	*ret_into = into;
	return 0;
}

/* What the verb asked for. Hello is the session's own, once, whatever the verb: it is not counted.
 */
static void print_stats(struct cli *c)
{
	struct gofer_cache_stats cache = { 0 };
	struct gofer_stats stats;
	json_t *rpcs = json_object(), *all = json_object();
	_cleanup_free_ char *line = NULL;
	uint64_t total = 0;

	gofer_session_flush(c->session);
	gofer_session_get_stats(c->session, &stats);
	for (unsigned type = 0; type < ARRAY_SIZE(stats.requests); type++) {
		const char *name = gofer_rpc_name(type);
		uint64_t n = stats.requests[type] - c->before.requests[type];

		if (!n || !name || strcmp(name, "Hello") == 0)
			continue;
		json_object_set_new(rpcs, name, json_integer((json_int_t)n));
		total += n;
	}
	json_object_set_new(all, "rpcs", rpcs);
	json_object_set_new(all, "total", json_integer((json_int_t)total));
	json_object_set_new(all, "bytes_in",
			    json_integer((json_int_t)(stats.bytes_in - c->before.bytes_in)));
	json_object_set_new(all, "bytes_out",
			    json_integer((json_int_t)(stats.bytes_out - c->before.bytes_out)));
	if (stats.tls_resumed)
		json_object_set_new(all, "tls_resumed",
				    json_integer((json_int_t)stats.tls_resumed));
	if (stats.reconnects)
		json_object_set_new(all, "reconnects", json_integer((json_int_t)stats.reconnects));
	if (c->channels)
		json_object_set_new(all, "channels",
				    json_pack("{s:I,s:I}", "open", (json_int_t)stats.channels,
					      "requests", (json_int_t)stats.by_channel));
	if (gofer_session_get_cache_stats(c->session, &cache) == 0)
		json_object_set_new(
			all, "cache",
			json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "hits",
				  (json_int_t)cache.hits, "misses", (json_int_t)cache.misses,
				  "evictions", (json_int_t)cache.evictions, "drops",
				  (json_int_t)cache.drops, "names", (json_int_t)cache.names,
				  "inodes", (json_int_t)cache.inodes, "watches",
				  (json_int_t)cache.watches, "bytes", (json_int_t)cache.bytes,
				  "budget", (json_int_t)cache.budget));
	if (cache.page_budget)
		json_object_set_new(json_object_get(all, "cache"), "pages",
				    json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "hits",
					      (json_int_t)cache.page_hits, "misses",
					      (json_int_t)cache.page_misses, "evictions",
					      (json_int_t)cache.page_evictions, "ahead_used",
					      (json_int_t)cache.ahead_used, "ahead_wasted",
					      (json_int_t)cache.ahead_wasted, "write_backs",
					      (json_int_t)cache.write_backs, "dirty_bytes",
					      (json_int_t)cache.dirty_bytes, "bytes",
					      (json_int_t)cache.page_bytes, "budget",
					      (json_int_t)cache.page_budget));
	/* In one write: others print to the same terminal. */
	line = json_dumps(all, 0);
	if (line)
		fprintf(stderr, "%s\n", line);
	json_decref(all);
}

void cli_exit(struct cli *c)
{
	if (cli_host) {
		c->over = true;
		c->status = CLI_FAILED;
		/* Also where it only did not answer in time: none of what follows is to wait as long. */
		if (c->session)
			gofer_session_abort(c->session);
		return;
	}
	if (cli_on_exit)
		cli_on_exit();
	fflush(stdout);
	if (c->session && c->stats)
		print_stats(c);
	/* Not through the session's end: what is in flight would be called back into a verb that
	 * has stopped. */
	_exit(CLI_FAILED);
}

void cli_error(struct cli *c, int error, const char *what, const char *where)
{
	char shown[16384];

	c->status = CLI_FAILED;
	/* Only what comes of that: the reason was said, or is the user's own. */
	if (c->over || (pipe_signal && (error == -EINTR || cli_is_fatal(error))))
		return;
	path_escape(where, strlen(where), shown, sizeof(shown));
	fflush(stdout);
	fprintf(stderr, "gofer: %s: %s%s%s: %s%s\n", c->spec->verb, what ? what : "",
		what ? " " : "", shown, strerror(-error), advice(error));
	if (cli_is_fatal(error) && c->session)
		cli_exit(c);
}

void cli_path_error(struct cli *c, int error, const char *what, const struct cli_volume *v,
		    const char *path)
{
	_cleanup_free_ char *text = NULL;

	if (asprintf(&text, "%s:%s", v->name, path) < 0)
		abort();
	cli_error(c, error, what, text);
}

void cli_warn(struct cli *c, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_free_ char *shown = NULL;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	if (n < 0)
		abort();
	shown = cli_alloc(4 * (size_t)n + 1);
	fflush(stdout);
	fprintf(stderr, "gofer: %s: %s\n", c->spec->verb,
		path_escape(text, (size_t)n, shown, 4 * (size_t)n + 1));
}

int cli_end(struct cli *c)
{
	if ((fflush(stdout) != 0 || ferror(stdout)) && !(cli_host && pipe_signal)) {
		fprintf(stderr, "gofer: %s: cannot write to standard output: %s\n", c->spec->verb,
			strerror(errno));
		c->status = CLI_FAILED;
	}
	if (c->session && c->stats)
		print_stats(c);
	if (cli_host && cli_host->c != c)
		c->session = NULL;
	else
		close_session(c);
	gofer_tls_tickets_free(TAKE_PTR(c->tls.tickets));
	free(TAKE_PTR(c->long_options));
	free(TAKE_PTR(c->short_options));
	return c->status;
}
