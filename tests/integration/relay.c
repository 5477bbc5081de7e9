/*
 * relay.c - a slow link to a gofer server, for one command.
 *
 *	relay --delay MS | --rounds  [--report FILE]  unix:/path/of/server  COMMAND [ARGUMENT]...
 *
 * Runs the command with GOFER_SERVER set to the relay's own socket, and ends with its status. Packets go both ways in order and
 * whole, any number in flight. Descriptors do not: a link has none (the server is to be told donate=never); one that comes is an error.
 *
 * --delay   each packet arrives MS milliseconds after it was sent, in each direction.
 * --rounds  the link of unlimited delay and bandwidth: answers are held back until the client can do nothing more without one (it
 *           sleeps, has taken all that was delivered, and has sent nothing), then all of them are delivered. That is one round. How many
 *           there are depends on no clock: it is the length of the chain of requests that waited for each other's answers.
 *
 * The report is one line of JSON for each connection.
 */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <linux/sockios.h>

#include "common/packet.h"
#include "proto/frame.h"

enum { MAX_LINKS = 16, POLL_MS = 1 };

struct packet {
	struct packet *next;
	uint64_t due; /* ns; rounds: not used */
	size_t len;
	uint8_t data[];
};

struct queue {
	struct packet *first, **end;
};

struct link {
	int client, server; /* -EBADF: there is no such link (any more) */
	pid_t pid;
	struct queue up, down;
	bool down_open;   /* rounds: answers are being delivered */
	uint64_t awaited; /* frames that the server has still to answer */
	uint64_t rounds, requests, packets;
	bool client_ended, server_ended;
};

static uint64_t delay;
static bool rounds;
static FILE *report;
static struct link links[MAX_LINKS];

static void die(const char *what)
{
	fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
	exit(125);
}

static struct sockaddr_un address(const char *name, socklen_t *ret_len)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = strlen(name);

	if (n >= sizeof(a.sun_path)) {
		errno = ENAMETOOLONG;
		die(name);
	}
	memcpy(a.sun_path, name, n);
	if (*name == '@')
		a.sun_path[0] = '\0';
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*name != '@'));
	return a;
}

static void accept_link(int listener, const char *server)
{
	struct sockaddr_un a;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	struct link *l = links;

	while (l < links + MAX_LINKS && l->client >= 0)
		l++;
	if (l == links + MAX_LINKS)
		return;
	*l = (struct link){ .client = accept4(listener, NULL, NULL, SOCK_CLOEXEC) };
	l->up.end = &l->up.first;
	l->down.end = &l->down.first;
	if (l->client < 0 || getsockopt(l->client, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		die("accept");
	l->pid = cred.pid;
	l->server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	a = address(server, &len);
	if (l->server < 0 || connect(l->server, (struct sockaddr *)&a, len) < 0)
		die(server);
}

/* Frames of a packet that want an answer, or are one. */
static unsigned count_frames(const struct packet *p)
{
	unsigned n = 0;

	for (size_t at = 0; at < p->len;) {
		struct frame f;
		ssize_t size = frame_parse(p->data + at, p->len - at, &f);

		if (size < 0) {
			errno = EPROTO;
			die("a packet that breaks framing");
		}
		n += !(f.header.flags & FRAME_NO_REPLY);
		at += (size_t)size;
	}
	return n;
}

/* Takes in what has come. False at the end of the stream. */
static bool take(struct link *l, int from, struct queue *q, bool *ret_any)
{
	static uint8_t buf[FRAME_MAX_PACKET];

	*ret_any = false;
	for (;;) {
		struct packet_in in;
		ssize_t n = packet_recv(from, buf, sizeof(buf), MSG_DONTWAIT, &in);
		struct packet *p;
		unsigned frames;

		if (n == -EAGAIN || n == -EINTR)
			return true;
		if (n <= 0)
			return false;
		if (in.fd >= 0) {
			errno = EINVAL;
			die("a descriptor on a link that has none (serve with donate=never)");
		}
		p = malloc(sizeof(*p) + (size_t)n);
		if (!p)
			die("malloc");
		*p = (struct packet){ .len = (size_t)n, .due = now_ns() + delay };
		memcpy(p->data, buf, (size_t)n);
		*q->end = p;
		q->end = &p->next;
		*ret_any = true;
		frames = count_frames(p);
		if (q == &l->up) {
			l->packets++;
			l->requests += frames;
			l->awaited += frames;
		} else {
			l->awaited -= frames;
		}
	}
}

/* Delivers what is due. False where the receiver is gone. */
static bool give(int to, struct queue *q)
{
	uint64_t now = now_ns();

	while (q->first && (rounds || q->first->due <= now)) {
		struct packet *p = q->first;
		struct iovec iov = { p->data, p->len };
		int r = packet_send(to, &iov, 1, -EBADF, MSG_DONTWAIT);

		if (r == -EAGAIN)
			return true;
		if (r < 0)
			return false;
		q->first = p->next;
		if (!q->first)
			q->end = &q->first;
		free(p);
	}
	return true;
}

/* Whether no thread of the process runs or is about to. */
static bool sleeps(pid_t pid)
{
	char path[64], text[512];
	struct dirent *e;
	bool all = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && all && (e = readdir(dir))) {
		FILE *f;
		size_t n;
		char *at;

		if (*e->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/stat", pid, e->d_name);
		f = fopen(path, "re");
		n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
		text[n] = '\0';
		at = strrchr(text, ')');
		all = !at || at[2] == 'S';
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return all;
}

/* Whether the client waits for us. In this order: what it does between two of these would show in the next. */
static bool waits(struct link *l)
{
	int unread = 0;
	bool any;

	if (ioctl(l->client, SIOCOUTQ, &unread) < 0 || unread > 0 || !sleeps(l->pid))
		return false;
	if (!take(l, l->client, &l->up, &any))
		l->client_ended = true;
	return !any && !l->up.first;
}

static void free_queue(struct queue *q)
{
	while (q->first) {
		struct packet *p = q->first;

		q->first = p->next;
		free(p);
	}
}

static void end_link(struct link *l)
{
	if (report) {
		fprintf(report, "{\"rounds\": %llu, \"requests\": %llu, \"packets\": %llu}\n",
			(unsigned long long)l->rounds, (unsigned long long)l->requests,
			(unsigned long long)l->packets);
		fflush(report);
	}
	free_queue(&l->up);
	free_queue(&l->down);
	close(l->client);
	close(l->server);
	l->client = -EBADF;
}

static void step(struct link *l)
{
	bool any;

	l->client_ended |= !take(l, l->client, &l->up, &any);
	if (!give(l->server, &l->up))
		l->server_ended = true;
	l->server_ended |= !take(l, l->server, &l->down, &any);
	if (rounds && !l->down_open && l->down.first && !l->awaited && waits(l)) {
		l->down_open = true;
		l->rounds++;
	}
	if ((!rounds || l->down_open || l->server_ended) && !give(l->client, &l->down))
		l->client_ended = true;
	l->down_open &= l->down.first != NULL;
	if ((l->client_ended && !l->up.first) || (l->server_ended && !l->down.first))
		end_link(l);
}

/* When something is to be done although nothing comes, in ms; -1: never. */
static int timeout(struct pollfd *fds, size_t *ret_n)
{
	uint64_t first = UINT64_MAX, now = now_ns();
	bool look = false;

	*ret_n = 2;
	for (struct link *l = links; l < links + MAX_LINKS; l++) {
		struct pollfd *p = fds + *ret_n;

		if (l->client < 0)
			continue;
		p[0] = (struct pollfd){ .fd = l->client_ended ? -1 : l->client, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = l->server_ended ? -1 : l->server, .events = POLLIN };
		if (l->down_open || (!rounds && l->down.first && l->down.first->due <= now))
			p[0].events |= POLLOUT;
		if (l->up.first && (rounds || l->up.first->due <= now))
			p[1].events |= POLLOUT;
		*ret_n += 2;
		look |= rounds && l->down.first && !l->awaited;
		if (!rounds && l->down.first && l->down.first->due > now)
			first = MIN(first, l->down.first->due);
		if (!rounds && l->up.first && l->up.first->due > now)
			first = MIN(first, l->up.first->due);
	}
	if (look)
		return POLL_MS;
	return first == UINT64_MAX ? -1 : (int)((first - now + 999999) / 1000000);
}

static int serve(int listener, const char *server, pid_t child)
{
	struct pollfd fds[2 + 2 * MAX_LINKS];
	sigset_t set;
	int status = 0, ended;
	size_t n;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	ended = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (ended < 0)
		die("signalfd");
	for (;;) {
		int wait = timeout(fds, &n);

		fds[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = ended, .events = POLLIN };
		if (poll(fds, n, wait) < 0 && errno != EINTR)
			die("poll");
		for (struct link *l = links; l < links + MAX_LINKS; l++)
			if (l->client >= 0)
				step(l);
		if (fds[0].revents & POLLIN)
			accept_link(listener, server);
		if ((fds[1].revents & POLLIN) && waitpid(child, &status, WNOHANG) == child)
			break;
	}
	for (struct link *l = links; l < links + MAX_LINKS; l++)
		if (l->client >= 0)
			end_link(l);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t start(char **argv, const char *name)
{
	char value[128];
	sigset_t none;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid > 0)
		return pid;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(value, sizeof(value), "unix:%s", name);
	setenv("GOFER_SERVER", value, 1);
	execvp(argv[0], argv);
	die(argv[0]);
	return -1;
}

int main(int argc, char **argv)
{
	struct sockaddr_un a;
	char name[64];
	socklen_t len;
	sigset_t set;
	int listener, at = 1;

	for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
		if (strcmp(argv[at], "--rounds") == 0)
			rounds = true;
		else if (strcmp(argv[at], "--delay") == 0 && at + 1 < argc)
			delay = strtoull(argv[++at], NULL, 10) * 1000000;
		else if (strcmp(argv[at], "--report") == 0 && at + 1 < argc)
			report = fopen(argv[++at], "we");
		else
			at = argc;
	}
	if (at + 1 >= argc || strncmp(argv[at], "unix:", 5) != 0) {
		fprintf(stderr, "usage: relay --delay MS | --rounds [--report FILE] unix:/server "
				"COMMAND...\n");
		return 2;
	}
	for (size_t i = 0; i < MAX_LINKS; i++)
		links[i].client = -EBADF;
	/* Before the child is there: none of its ends is missed. */
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	snprintf(name, sizeof(name), "@gofer-relay-%d", getpid());
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	a = address(name, &len);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, len) < 0 ||
	    listen(listener, MAX_LINKS) < 0)
		die("listen");
	return serve(listener, argv[at] + 5, start(argv + at + 1, name));
}
