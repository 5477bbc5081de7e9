/*
 * shell_verbs.c - gofer shell: the verbs that only a session has. They parse their options and say
 * their errors as all others do.
 */
#include "client/cli/shell.h"

#include <string.h>

bool shell_done;
int shell_status;

static char *old_volume, *old_directory; /* for cd - */

char *shell_where(void)
{
	char *text;

	if (!cli_host->volume)
		return NULL;
	if (asprintf(&text, "%s:%s", cli_host->volume, cli_host->directory) < 0)
		abort();
	return text;
}

static void go_to(const char *volume, const char *directory)
{
	free(old_volume);
	free(old_directory);
	old_volume = cli_host->volume;
	old_directory = cli_host->directory;
	cli_host->volume = cli_strdup(volume);
	cli_host->directory = cli_strdup(directory);
}

void shell_start(void)
{
	if (cli_host->c->n_volumes == 1)
		go_to(cli_host->c->volumes[0].name, "/");
}

void shell_forget(void)
{
	free(TAKE_PTR(old_volume));
	free(TAKE_PTR(old_directory));
	free(TAKE_PTR(cli_host->volume));
	free(TAKE_PTR(cli_host->directory));
}

static const struct cli_spec cd_spec = {
	.verb = "cd",
	.usage = "[NAME:/path]",
	.about = "Changes the current directory, where paths without NAME: start; to the root of "
		 "the volume without an operand,\n"
		 "back to where it was before with '-'.",
};

static void change_directory(struct cli *c, const char *text)
{
	_cleanup_path_ struct cli_path p = { 0 };
	_cleanup_free_ char *real = NULL;
	_cleanup_free_ char *path = NULL;
	struct gofer_session *session;
	uint32_t fs_id;
	struct stat st;
	int r;

	if (cli_split(c, text, &p) < 0)
		return;
	r = gofer_stat(p.ns, p.path, 0, &st);
	if (r == 0 && !S_ISDIR(st.st_mode))
		r = -ENOTDIR;
	if (r == 0)
		r = gofer_access(p.ns, p.path, X_OK, 0);
	if (r == 0)
		r = gofer_resolve(p.ns, p.path, true, &session, &fs_id, &real);
	if (r < 0) {
		cli_error(c, r, NULL, text);
		return;
	}
	if (asprintf(&path, "/%s", real + strspn(real, "/")) < 0)
		abort();
	go_to(p.volume->name, path);
}

static int run_cd(int argc, char **argv)
{
	_cleanup_free_ char *before = NULL;
	struct cli c;

	cli_begin(&c, &cd_spec, argc, argv);
	while (cli_next(&c) >= 0)
		;
	if (cli_need_operands(&c, 0, 1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	if (!c.argc && cli_host->volume) {
		go_to(cli_host->volume, "/");
	} else if (!c.argc) {
		cli_no_usage(&c, "no volume is current");
	} else if (strcmp(c.argv[0], "-") != 0) {
		change_directory(&c, c.argv[0]);
	} else if (!old_volume) {
		cli_no_usage(&c, "there is no directory before this one");
	} else {
		if (asprintf(&before, "%s:%s", old_volume, old_directory) < 0)
			abort();
		change_directory(&c, before);
	}
	return cli_end(&c);
}

static const struct cli_spec pwd_spec = {
	.verb = "pwd",
	.usage = "",
	.about = "Prints the current directory.",
};

static int run_pwd(int argc, char **argv)
{
	_cleanup_free_ char *where = shell_where();
	struct cli c;

	cli_begin(&c, &pwd_spec, argc, argv);
	while (cli_next(&c) >= 0)
		;
	if (cli_need_operands(&c, 0, 0) < 0)
		return cli_end(&c);
	if (where) {
		cli_put_name(&c, where);
		putchar('\n');
	} else {
		cli_no_usage(&c, "no volume is current: cd NAME:");
	}
	return cli_end(&c);
}

static const struct cli_spec lcd_spec = {
	.verb = "lcd",
	.usage = "[LOCAL]",
	.about = "Changes the local directory, where get and put look for local files; to $HOME "
		 "without an operand.",
};

static int run_lcd(int argc, char **argv)
{
	const char *to;
	struct cli c;

	cli_begin(&c, &lcd_spec, argc, argv);
	while (cli_next(&c) >= 0)
		;
	if (cli_need_operands(&c, 0, 1) < 0)
		return cli_end(&c);
	to = c.argc ? c.argv[0] : getenv("HOME");
	if (!to)
		cli_no_usage(&c, "$HOME is not set");
	else if (chdir(to) < 0)
		cli_error(&c, -errno, NULL, to);
	return cli_end(&c);
}

static const struct cli_spec lpwd_spec = {
	.verb = "lpwd",
	.usage = "",
	.about = "Prints the local directory.",
};

static int run_lpwd(int argc, char **argv)
{
	_cleanup_free_ char *where = getcwd(NULL, 0);
	struct cli c;

	cli_begin(&c, &lpwd_spec, argc, argv);
	while (cli_next(&c) >= 0)
		;
	if (cli_need_operands(&c, 0, 0) < 0)
		return cli_end(&c);
	if (where) {
		cli_put_name(&c, where);
		putchar('\n');
	} else {
		cli_error(&c, -errno, NULL, ".");
	}
	return cli_end(&c);
}

static const struct cli_spec help_spec = {
	.verb = "help",
	.usage = "[VERB]",
	.about = "Lists the verbs, or prints the help of one.",
};

static void list_verbs(void)
{
	const struct verb *v;

	for (size_t i = 0; (v = shell_verb_at(i)); i++)
		printf("  %-12s%s\n", v->name, v->summary);
	for (size_t i = 0; (v = cli_verb_at(i)); i++)
		if (shell_has(v))
			printf("  %-12s%s\n", v->name, v->summary);
	printf("\nPaths without NAME: start at the current directory; /path is in the current "
	       "volume. Words are quoted as in a "
	       "shell:\n'...' \"...\" $'\\n' \\ ; and # are as there; there are no patterns, "
	       "variables, pipes and redirections. 'help "
	       "VERB' says more.\n");
}

static int run_help(int argc, char **argv)
{
	const struct verb *v;
	struct cli c;

	cli_begin(&c, &help_spec, argc, argv);
	while (cli_next(&c) >= 0)
		;
	if (cli_need_operands(&c, 0, 1) < 0)
		return cli_end(&c);
	if (!c.argc) {
		list_verbs();
		return cli_end(&c);
	}
	v = shell_verb(c.argv[0]);
	if (!v)
		v = cli_verb(c.argv[0]);
	if (v && v->spec && (shell_verb(c.argv[0]) || shell_has(v)))
		cli_help(v->spec, stdout);
	else
		cli_no_usage(&c, "there is no verb '%.40s' here", c.argv[0]);
	return cli_end(&c);
}

static const struct cli_spec exit_spec = {
	.verb = "exit",
	.usage = "[STATUS]",
	.about = "Leaves the shell, with the status of the last command if none is given.",
};

static int run_exit(int argc, char **argv)
{
	int status = shell_status;
	struct cli c;

	cli_begin(&c, &exit_spec, argc, argv);
	while (cli_next(&c) >= 0)
		;
	if (cli_need_operands(&c, 0, 1) < 0)
		return cli_end(&c);
	if (c.argc)
		status = (int)(cli_number(&c, "STATUS", c.argv[0], false) & 255);
	shell_done = !c.over;
	return shell_done ? (cli_end(&c), status) : cli_end(&c);
}

static const struct verb own[] = {
	{ "cd", "change the current directory", run_cd, &cd_spec },
	{ "pwd", "print the current directory", run_pwd, &pwd_spec },
	{ "lcd", "change the local directory", run_lcd, &lcd_spec },
	{ "lpwd", "print the local directory", run_lpwd, &lpwd_spec },
	{ "help", "list the verbs, or print the help of one", run_help, &help_spec },
	{ "exit", "leave", run_exit, &exit_spec },
};

const struct verb *shell_verb_at(size_t i)
{
	return i < ARRAY_SIZE(own) ? &own[i] : NULL;
}

const struct verb *shell_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (strcmp(own[i].name, name) == 0)
			return &own[i];
	return NULL;
}

bool shell_has(const struct verb *verb)
{
	/* Those that have no session, or sessions of their own. */
	static const char *const others[] = { "serve", "run",        "stress",
					      "bench", "completion", "shell" };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (strcmp(verb->name, others[i]) == 0)
			return false;
	return true;
}
