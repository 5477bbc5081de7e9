/*
 * connect_ssh.c - "ssh:HOST:VOLUME": a server that ssh(1) starts on another machine, for this one
 * session, on the standard input and output of its remote command.
 *
 * Two programs read what we put together. ssh must not take the host for an option: it may not
 * begin with '-', and stands behind "--". The remote shell must not take the volume for anything but
 * one word: it is quoted.
 *
 * The child is waited for when the session is freed. It ends by itself when its standard input does;
 * if not, it is told to.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
/* Of old BSD; session.h has another. */
#undef WAIT_ANY

#include "client/session.h"
#include "client/tls_stream.h"

enum { HELPER_END_MS = 2000, TLS_END_MS = 1000 };

/* 'volume', with each ' as '\'' */
static char *shell_quote(const char *text)
{
	char *quoted = malloc(4 * strlen(text) + 3), *to = quoted;

	if (!quoted)
		return NULL;
	*to++ = '\'';
	for (; *text; text++) {
		if (*text == '\'') {
			memcpy(to, "'\\''", 4);
			to += 4;
		} else {
			*to++ = *text;
		}
	}
	*to++ = '\'';
	*to = '\0';
	return quoted;
}

/* "HOST" or "[v6]", up to the colon; the volume follows. */
static int split(const char *server, const char *text, char **ret_host, const char **ret_volume)
{
	const char *end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
	const char *begin = text;
	size_t n;

	if (end && *begin == '[') {
		begin++;
		n = (size_t)(end - begin);
		end++;
	} else {
		n = end ? (size_t)(end - begin) : 0;
	}
	if (!end || *end != ':' || n == 0 || !end[1])
		return fail_words(-EINVAL, "'%s' is not of the form ssh:HOST:VOLUME", server);
	if (*begin == '-')
		return fail_words(-EINVAL, "'%s': the name of a host does not begin with '-'",
				  server);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)begin[i] <= ' ' || begin[i] == 0x7f)
			return fail_words(-EINVAL, "'%s': not the name of a host", server);
	*ret_host = strndup(begin, n);
	*ret_volume = end + 1;
	return *ret_host ? 0 : -ENOMEM;
}

static int spawn_ssh(const char *host, const char *command, int sock, pid_t *ret_pid)
{
	char *const argv[] = { (char *)"ssh",
			       (char *)"-T",
			       (char *)"-x",
			       (char *)"-a",
			       (char *)"-oClearAllForwardings=yes",
			       (char *)"-oPermitLocalCommand=no",
			       (char *)"--",
			       (char *)host,
			       (char *)command,
			       NULL };
	posix_spawn_file_actions_t actions;
	int r;

	r = -posix_spawn_file_actions_init(&actions);
	if (r < 0)
		return r;
	r = -posix_spawn_file_actions_adddup2(&actions, sock, STDIN_FILENO);
	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(&actions, sock, STDOUT_FILENO);
	if (r == 0)
		r = -posix_spawnp(ret_pid, "ssh", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return r;
}

int connect_ssh(const char *server, const char *text, int *ret_sock, struct helper *ret_helper)
{
	_cleanup_free_ char *host = NULL, *quoted = NULL, *command = NULL;
	_cleanup_fd_ int ours = -EBADF, theirs = -EBADF;
	const char *volume = NULL;
	int pair[2], r;

	r = split(server, text, &host, &volume);
	if (r < 0)
		return r;
	quoted = shell_quote(volume);
	if (!quoted || asprintf(&command, "gofer serve --stdio --quiet -v %s", quoted) < 0)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ours = pair[0];
	theirs = pair[1];
	r = spawn_ssh(host, command, theirs, &ret_helper->ssh);
	if (r < 0)
		return fail_words(r, "cannot start ssh: %s", strerrordesc_np(-r));
	*ret_sock = TAKE_FD(ours);
	return 0;
}

static void ssh_end(pid_t pid)
{
	_cleanup_fd_ int fd = pid > 0 ? pidfd_open(pid, 0) : -EBADF;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (pid <= 0)
		return;
	/* Its standard input has ended. */
	if (fd < 0 || poll(&p, 1, HELPER_END_MS) <= 0)
		(void)kill(pid, SIGTERM);
	if (fd >= 0 && poll(&p, 1, HELPER_END_MS) <= 0)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void helper_end(struct helper *helper, int sock)
{
	if (helper->tls)
		tls_stream_end(helper->tls, TLS_END_MS);
	fd_close(sock);
	ssh_end(helper->ssh);
	*helper = (struct helper){ 0 };
}
