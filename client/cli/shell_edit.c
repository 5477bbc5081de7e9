/*
 * shell_edit.c - gofer shell: a line at a terminal, by libedit: editing, history, completion.
 *
 * libedit reads characters through get_char(), which gives up when pipe_signal is set: that is how
 * Ctrl-C reaches the prompt. What is completed is put on the line quoted, so that no name can be
 * anything but one word, and no control character of one gets onto the terminal; lists are escaped.
 *
 * History is in $XDG_STATE_HOME/gofer/history (~/.local/state/gofer/history), for its owner only.
 */
#include "client/cli/shell.h"

#include <fcntl.h>
#include <histedit.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <wchar.h>

#include "client/cli/pipeline.h"
#include "common/path.h"

enum { HISTORY_SIZE = 1000 };

struct editor {
	struct cli *c;
	EditLine *el;
	History *history;
	char *file;
	const char *prompt;
};

static volatile sig_atomic_t resized;

static void on_resize(int signal _unused_)
{
	resized = 1;
}

static char *prompt_of(EditLine *el)
{
	static char none[] = "";
	struct editor *e;

	return el_get(el, EL_CLIENTDATA, &e) == 0 && e->prompt ? (char *)e->prompt : none;
}

/* Until there is some, or the terminal has another size; false on a signal. None is missed: they come only while this waits. */
static bool wait_for_input(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	sigset_t caught, before;
	bool go_on;

	sigemptyset(&caught);
	sigaddset(&caught, SIGINT);
	sigaddset(&caught, SIGTERM);
	sigaddset(&caught, SIGHUP);
	sigaddset(&caught, SIGWINCH);
	sigprocmask(SIG_BLOCK, &caught, &before);
	while (!pipe_signal && !resized && ppoll(&p, 1, NULL, &before) < 0 && errno == EINTR)
		;
	go_on = !pipe_signal;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return go_on;
}

/* 1 with a character, 0 at the end, -1 on a signal. What is no character is left out. */
static int get_char(EditLine *el, wchar_t *ret)
{
	mbstate_t state = { 0 };

	for (;;) {
		char byte;
		ssize_t n;
		size_t used;

		if (!wait_for_input())
			return -1;
		if (resized) {
			resized = 0;
			el_resize(el);
			el_set(el, EL_REFRESH);
			continue;
		}
		n = read(STDIN_FILENO, &byte, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (int)n;
		used = mbrtowc(ret, &byte, 1, &state);
		if (used == (size_t)-1)
			state = (mbstate_t){ 0 };
		else if (used != (size_t)-2)
			return 1;
	}
}

/* ---- completion ---- */

/* Takes what is cut through off the end: a character, of which only some bytes are common. */
static void trim_utf8(char *text)
{
	size_t n = strlen(text), at = n;

	while (at > 0 && n - at < 4 && ((unsigned char)text[at - 1] & 0xc0) == 0x80)
		at--;
	if (at > 0 && (unsigned char)text[at - 1] >= 0xc0) {
		mbstate_t state = { 0 };

		if (mbrlen(text + at - 1, n - at + 1, &state) == (size_t)-2)
			text[at - 1] = '\0';
	}
}

static void list(const struct candidates *found)
{
	struct winsize ws = { 0 };
	size_t width = 1, columns = 80, across;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 1)
		columns = ws.ws_col;
	for (size_t i = 0; i < found->n; i++)
		width = MAX(width, 4 * strlen(found->word[i]) + 1);
	putchar('\n');
	{
		_cleanup_free_ char *shown = cli_alloc(width);
		size_t widest = 1;

		for (size_t i = 0; i < found->n; i++)
			widest = MAX(widest,
				     cli_width(path_escape(found->word[i], strlen(found->word[i]),
							   shown, width)));
		across = MAX(columns / (widest + 2), (size_t)1);
		for (size_t i = 0; i < found->n; i++) {
			bool last = (i + 1) % across == 0 || i + 1 == found->n;

			path_escape(found->word[i], strlen(found->word[i]), shown, width);
			printf("%s%*s", shown, last ? 0 : (int)(widest + 2 - cli_width(shown)), "");
			if (last)
				putchar('\n');
		}
	}
	if (found->all > found->n)
		printf("... and %zu more\n", found->all - found->n);
	fflush(stdout);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static unsigned char complete(EditLine *el, wint_t ch _unused_)
{
	const LineInfo *line = el_line(el);
	_cleanup_free_ char *text = strndup(line->buffer, (size_t)(line->cursor - line->buffer));
	_cleanup_(candidates_deinit) struct candidates found = { 0 };
	_cleanup_free_ char *quoted = NULL;
	struct editor *e;
	size_t begin, n;
	bool is_quoted, one;

	if (!text || el_get(el, EL_CLIENTDATA, &e) != 0)
		return CC_ERROR;
	shell_complete(e->c, text, &begin, &found);
	if (!found.all)
		return CC_REFRESH_BEEP;
	one = found.all == 1;
	trim_utf8(found.common);
	if (*found.common) {
		char *plain = cli_shell_quote(found.common, &is_quoted);

		n = strlen(found.common);
		/* A space behind what is complete; what goes on, does so within no quotes. */
		if (asprintf(&quoted, "%s%s", plain,
			     one && !strchr("/:=", found.common[n - 1]) ? " " : "") < 0)
			abort();
		free(plain);
	}
	if (quoted && strcmp(quoted, text + begin) != 0) {
		size_t wide = mbstowcs(NULL, text + begin, 0);

		el_deletestr(el, (int)(wide == (size_t)-1 ? strlen(text + begin) : wide));
		if (el_insertstr(el, quoted) == 0)
			return one ? CC_REFRESH : CC_REFRESH_BEEP;
		(void)el_insertstr(el, text + begin);
		return CC_REFRESH_BEEP;
	}
	if (one)
		return CC_REFRESH_BEEP;
	qsort(found.word, found.n, sizeof(*found.word), by_bytes);
	list(&found);
	return CC_REDISPLAY;
}

/* ---- history ---- */

/* Every directory on the way that is missing is made for its owner only. */
static bool make_parents(char *path)
{
	for (char *at = path + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST) {
			*at = '/';
			return false;
		}
		*at = '/';
	}
	return true;
}

static char *history_file(void)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *path = NULL;
	int fd;

	if (state && *state == '/') {
		if (asprintf(&path, "%s/gofer/history", state) < 0)
			return NULL;
	} else if (!home || *home != '/' ||
		   asprintf(&path, "%s/.local/state/gofer/history", home) < 0) {
		return NULL;
	}
	/* It is there, and nobody else's, before anything is written. */
	if (make_parents(path)) {
		fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd >= 0 && fchmod(fd, 0600) == 0) {
			close(fd);
			return path;
		}
		fd_close(fd);
	}
	free(path);
	return NULL;
}

/* ---- */

struct editor *editor_new(struct cli *c)
{
	struct sigaction action = { .sa_handler = on_resize };
	struct editor *e = cli_alloc(sizeof(*e));
	HistEvent event;

	e->c = c;
	e->el = el_init("gofer", stdin, stdout, stderr);
	e->history = history_init();
	if (!e->el || !e->history) {
		editor_free(e);
		return NULL;
	}
	sigaction(SIGWINCH, &action, NULL);
	el_set(e->el, EL_CLIENTDATA, e);
	el_set(e->el, EL_PROMPT, prompt_of);
	el_set(e->el, EL_EDITOR, "emacs");
	el_set(e->el, EL_GETCFN, get_char);
	history(e->history, &event, H_SETSIZE, HISTORY_SIZE);
	history(e->history, &event, H_SETUNIQUE, 1);
	el_set(e->el, EL_HIST, history, e->history);
	/* The wide call keeps what it is given; the other keeps copies that nobody frees. */
	el_wset(e->el, EL_ADDFN, L"complete-word", L"completes the word before the cursor",
		complete);
	el_set(e->el, EL_BIND, "^I", "complete-word", NULL);
	el_set(e->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
	(void)el_source(e->el, NULL);
	e->file = history_file();
	if (e->file)
		(void)history(e->history, &event, H_LOAD, e->file);
	return e;
}

const char *editor_line(struct editor *e, const char *prompt)
{
	const char *line;
	HistEvent event;
	int n;

	e->prompt = prompt ? prompt : "> ";
	fflush(stdout);
	/* Before the prompt shows, so that keys that answer it are not taken in the mode before: Ctrl-D would be lost. */
	el_set(e->el, EL_PREP_TERM, 1);
	line = el_gets(e->el, &n);
	if (!line || n <= 0)
		return NULL;
	if (line[strspn(line, " \t\n")])
		(void)history(e->history, &event, H_ENTER, line);
	return line;
}

void editor_free(struct editor *e)
{
	HistEvent event;

	if (!e)
		return;
	if (e->file)
		(void)history(e->history, &event, H_SAVE, e->file);
	if (e->el)
		el_end(e->el);
	if (e->history)
		history_end(e->history);
	free(e->file);
	free(e);
}
