/*
 * main.c - runs the families named as arguments, or all, and sums up. Exit status: 0 no escape,
 * 1 some, 2 the suite could not do its work.
 *
 * The script talks with it through standard input and output: a line "REQUEST what" asks for
 * something to be done outside, and is answered by one line.
 */
#include "tests/escape/escape.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct world world;

static const char *family = "";
static unsigned n_ok, n_limits, n_escapes;

bool has_layer(const char *name)
{
	const char *layers = getenv("ESCAPE_LAYERS") ?: "";
	size_t len = strlen(name);

	for (const char *p = layers; (p = strstr(p, name)); p += len)
		if ((p == layers || p[-1] == ',') && (p[len] == ',' || p[len] == '\0'))
			return true;
	return false;
}

/* ---- verdicts ---- */

static void line(const char *word, const char *name, const char *format, va_list ap)
{
	char what[1024];

	vsnprintf(what, sizeof(what), format, ap);
	for (char *p = what; *p; p++)
		if ((unsigned char)*p < 0x20)
			*p = '?';
	printf("%-6s  %s%s%s: %s\n", word, name ? name : "", name ? ": " : "", family, what);
}

void ok(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	line("ok", NULL, format, ap);
	va_end(ap);
	n_ok++;
}

void escape(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	line("ESCAPE", NULL, format, ap);
	va_end(ap);
	n_escapes++;
}

void limit(const char *name, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	line("LIMIT", name, format, ap);
	va_end(ap);
	n_limits++;
}

void verdict(bool escaped, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	line(escaped ? "ESCAPE" : "ok", NULL, format, ap);
	va_end(ap);
	n_escapes += escaped;
	n_ok += !escaped;
}

void must_fail(const char *what, long result)
{
	int error = errno;

	if (result >= 0)
		escape("%s: succeeded (%ld)", what, result);
	else
		ok("%s: %s", what, strerrorname_np(error) ?: "?");
}

void broken(const char *format, ...)
{
	va_list ap;

	fprintf(stdout, "BROKEN  %s: ", family);
	va_start(ap, format);
	vfprintf(stdout, format, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	_exit(2);
}

/* ---- small things ---- */

const char *text(const char *format, ...)
{
	static char texts[64][MEMORY_SIZE];
	static unsigned n;
	char *t = texts[n++ % 64];
	va_list ap;

	va_start(ap, format);
	vsnprintf(t, MEMORY_SIZE, format, ap);
	va_end(ap);
	return t;
}

const char *errno_text(long result)
{
	return result >= 0 ? "0" : strerrorname_np(errno) ?: "?";
}

bool contains(const void *haystack, size_t size, const void *needle, size_t len)
{
	return len > 0 && memmem(haystack, size, needle, len) != NULL;
}

bool fd_shows_outside(int fd)
{
	char data[8192];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) == 0 && st.st_size == SECRET_SIZE)
		return true;
	n = S_ISREG(st.st_mode) ? pread(fd, data, sizeof(data), 0) : -1;
	if (n > 0 && contains(data, (size_t)n, world.token, strlen(world.token)))
		return true;
	/* Names in the records of getdents64. */
	while ((n = syscall(SYS_getdents64, fd, data, sizeof(data))) > 0)
		if (contains(data, (size_t)n, "canary", 6))
			return true;
	return false;
}

void write_file(const char *path, const char *content)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, content, strlen(content)) != (ssize_t)strlen(content))
		broken("cannot write %s: %s", path, strerror(errno));
	close(fd);
}

bool ask_host(const char *request)
{
	char answer[64] = "";

	printf("REQUEST %s\n", request);
	fflush(stdout);
	for (size_t i = 0; i + 1 < sizeof(answer) && read(STDIN_FILENO, answer + i, 1) == 1; i++)
		if (answer[i] == '\n')
			break;
	return strncmp(answer, "done", 4) == 0;
}

int in_child(int (*f)(void *), void *userdata)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		broken("fork: %s", strerror(errno));
	if (pid == 0)
		_exit(f(userdata));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- all of it ---- */

static const struct {
	const char *name;
	void (*run)(void);
	bool alone; /* only by name */
} families[] = {
	{ "privileged", family_privileged },
	{ "abi", family_abi },
	{ "proc", family_proc },
	{ "paths", family_paths },
	{ "readonly", family_readonly },
	{ "descriptors", family_descriptors },
	{ "sockets", family_sockets },
	{ "exec", family_exec },
	{ "processes", family_processes },
	{ "race", family_race },
	{ "swap", family_swap },
	{ "flood", family_flood },
	{ "inherited", family_inherited, true },
};

static const char *need(const char *name)
{
	const char *value = getenv(name);

	if (!value)
		broken("%s is not set", name);
	return value;
}

/* As a set-id program: the exit status is what it has more than it should. */
static int whoami(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	int status = 0;

	status |= geteuid() != getuid() ? 1 : 0;
	status |= getegid() != getgid() ? 2 : 0;
	if (syscall(SYS_capget, &header, data) < 0 || data[0].effective || data[0].permitted ||
	    data[1].effective || data[1].permitted)
		status |= 4;
	status |= prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 ? 8 : 0;
	return status;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--whoami") == 0)
		return whoami();
	setvbuf(stdout, NULL, _IOLBF, 0);
	world = (struct world){
		.outside = need("ESCAPE_OUTSIDE"),
		.nowhere = need("ESCAPE_NOWHERE"),
		.rw = need("ESCAPE_RW"),
		.rw2 = need("ESCAPE_RW2"),
		.ro = need("ESCAPE_RO"),
		.token = need("ESCAPE_TOKEN"),
		.abstract = need("ESCAPE_ABSTRACT"),
		.port = atoi(need("ESCAPE_PORT")),
		.supervisor = atoi(need("ESCAPE_SUPERVISOR")),
		.rounds = (unsigned)atoi(getenv("ESCAPE_ROUNDS") ?: "150"),
	};
	if (chdir(world.rw) < 0)
		broken("cannot enter %s: %s", world.rw, strerror(errno));
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		bool wanted = argc < 2 && !families[i].alone;

		for (int k = 1; k < argc; k++)
			wanted |= strcmp(argv[k], families[i].name) == 0;
		if (!wanted)
			continue;
		family = families[i].name;
		families[i].run();
	}
	printf("%u attempts held, %u limits, %u escapes\n", n_ok, n_limits, n_escapes);
	fflush(stdout);
	return n_escapes > 0;
}
