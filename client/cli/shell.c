/*
 * shell.c - gofer shell: one session for many verbs.
 *
 * Mental model. A verb is the function that runs on a command line, too; it finds cli_host set, takes the session from there and
 * leaves it there (connect.c), and never ends the process. So what the session remembers is there for the next verb. A verb whose
 * server goes away is over; the next one opens a new session.
 *
 * SIGINT sets pipe_signal, at which verbs stop where they can leave nothing half done; a second one shuts the connection down, so that
 * one that waits for an answer stops as well. The line editor stops at it, too. Without a terminal it ends the shell, as SIGTERM and
 * SIGHUP do with one.
 */
#include "client/cli/shell.h"

#include <string.h>
#include <sys/socket.h>

#include "client/cli/pipeline.h"
#include "common/words.h"
#include "common/path.h"

static const struct cli_option options[] = {
	{ 'c', NULL, "COMMANDS", "run these, and leave" },
	{ 'e', NULL, NULL, "leave at the first command that fails" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "shell",
	.usage = "[OPTION]... [ADDRESS]",
	.about = "Runs verbs in one session with the server at ADDRESS (or --server): typed at a "
		 "prompt, from -c, or from standard\n"
		 "input. 'help' lists them.",
	.options = options,
	.notes = "A verb is the same as on a command line; paths may be relative to a current "
		 "directory (cd, pwd). With --interop what\n"
		 "one verb has learned needs no request of the next. With --json all verbs print "
		 "JSON, with --stats the sum is\n"
		 "printed at the end. Ctrl-C ends the verb, Ctrl-D or 'exit' the shell. The exit "
		 "status is that of the last command.",
};

struct shell {
	struct cli *c;
	bool terminal, stops; /* stops: at the first failure */
	struct editor *editor;
	int status;
};

static volatile sig_atomic_t running; /* a verb */
static volatile sig_atomic_t is_script;

static void on_signal(int signal)
{
	struct gofer_session *session = cli_host_session;

	/* A script that waits for a line has nothing to clear up. */
	if (!running && is_script)
		_exit(128 + signal);
	if (running && pipe_signal && session)
		gofer_session_abort(session);
	/* What ends the shell is not forgotten for what ends a verb. */
	if (!pipe_signal || pipe_signal == SIGINT)
		pipe_signal = signal;
}

static void catch_signals(void)
{
	/* Without SA_RESTART: what waits for a line or a lock is to notice. */
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

static int unknown(const char *name)
{
	char shown[256];

	fprintf(stderr, "gofer: shell: unknown verb '%s'; 'help' lists them\n",
		path_escape(name, strnlen(name, 60), shown, sizeof(shown)));
	return CLI_USAGE;
}

static void run_words(struct shell *s, struct words *w)
{
	const struct verb *verb = shell_verb(w->word[0]);

	if (!verb) {
		verb = cli_verb(w->word[0]);
		if (verb && !shell_has(verb))
			verb = NULL;
	}
	cli_on_exit = NULL;
	running = 1;
	s->status = verb ? verb->run((int)w->n, w->word) : unknown(w->word[0]);
	running = 0;
	cli_on_exit = NULL;
	if (pipe_signal) {
		/* What the signal interrupted was writing, or reading an answer. */
		clearerr(stdout);
		clearerr(stdin);
		s->status = 128 + pipe_signal;
		shell_done |= !s->terminal || pipe_signal != SIGINT;
		if (s->terminal && pipe_signal == SIGINT)
			pipe_signal = 0;
	}
	/* Nobody reads what we print. */
	if (ferror(stdout)) {
		s->status = CLI_FAILED;
		shell_done = true;
	}
	shell_status = s->status;
	shell_done |= s->stops && s->status != 0;
}

/* All commands of a text. WORDS_OPEN: nothing was run of the last, which goes on in further text, from *ret_rest on. */
static int run_text(struct shell *s, const char *text, size_t *ret_rest)
{
	size_t at = 0;

	while (!shell_done && text[at]) {
		_cleanup_words_ struct words w = { 0 };
		char bad = '\0';
		size_t end;
		int r = words_parse(text + at, &w, &end, &bad);

		if (r == WORDS_OPEN) {
			*ret_rest = at;
			return r;
		}
		if (r < 0) {
			if (r == -EINVAL)
				fprintf(stderr,
					"gofer: shell: '%c' means nothing here; quote it if it is "
					"part of a name\n",
					bad);
			else
				fprintf(stderr, "gofer: shell: %s\n", strerror(-r));
			s->status = shell_status = CLI_USAGE;
			shell_done |= s->stops;
			/* The rest of the line goes with it. */
			at += strcspn(text + at, "\n");
			at += text[at] == '\n';
			continue;
		}
		if (w.n)
			run_words(s, &w);
		at += end;
	}
	*ret_rest = at;
	return 0;
}

/* The next line, with its newline, malloc'ed; NULL at the end. */
static char *next_line(struct shell *s, bool further)
{
	_cleanup_free_ char *where = NULL;
	_cleanup_free_ char *prompt = NULL;
	char shown[4 * 256];
	const char *typed;
	char *line = NULL;
	size_t size = 0;

	if (!s->editor) {
		if (getline(&line, &size, stdin) >= 0)
			return line;
		free(line);
		return NULL;
	}
	where = shell_where();
	path_escape(where ? where : "gofer", where ? strlen(where) : 5, shown, sizeof(shown));
	if (asprintf(&prompt, "%s> ", shown) < 0)
		abort();
	typed = editor_line(s->editor, further ? NULL : prompt);
	return typed ? cli_strdup(typed) : NULL;
}

static void run_lines(struct shell *s)
{
	_cleanup_free_ char *text = cli_strdup("");

	while (!shell_done) {
		_cleanup_free_ char *line = next_line(s, *text);
		_cleanup_free_ char *whole = NULL;
		size_t rest;

		if (!line && pipe_signal == SIGINT && s->editor) {
			/* Ctrl-C at the prompt: another line. */
			pipe_signal = 0;
			s->status = shell_status = 128 + SIGINT;
			putchar('\n');
			text[0] = '\0';
			continue;
		}
		if (!line)
			break;
		if (asprintf(&whole, "%s%s", text, line) < 0)
			abort();
		free(text);
		(void)run_text(s, whole, &rest);
		text = cli_strdup(whole + rest);
	}
	if (pipe_signal) {
		s->status = 128 + pipe_signal;
	} else if (!shell_done && *text) {
		fprintf(stderr, "gofer: shell: a quote or a backslash is left open at the end\n");
		s->status = CLI_USAGE;
	} else if (!shell_done && s->editor) {
		putchar('\n');
	}
}

static int run(int argc, char **argv)
{
	struct cli_host host = { 0 };
	const char *commands = NULL;
	struct cli c;
	struct shell s = { .c = &c };
	size_t rest;
	int key, status;

	cli_begin(&c, &spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		if (key == 'c')
			commands = c.optarg;
		else
			s.stops = true;
	}
	if (cli_need_operands(&c, 0, 1) < 0)
		return cli_end(&c);
	if (c.argc && c.server)
		cli_no_usage(&c, "the server is named twice");
	if (c.argc)
		c.server = c.argv[0];
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	host.c = &c;
	cli_host = &host;
	cli_host_session = c.session;
	s.terminal = !commands && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	is_script = !s.terminal;
	catch_signals();
	shell_start();
	if (s.terminal)
		s.editor = editor_new(&c);
	if (!commands)
		run_lines(&s);
	else if (run_text(&s, commands, &rest) == WORDS_OPEN) {
		fprintf(stderr, "gofer: shell: a quote or a backslash is left open at the end\n");
		s.status = CLI_USAGE;
	}
	editor_free(s.editor);
	shell_forget();
	cli_host = NULL;
	status = cli_end(&c);
	return s.status ? s.status : status;
}

const struct verb verb_shell = { "shell", "run verbs in one session, at a prompt or from a script",
				 run, &spec };
