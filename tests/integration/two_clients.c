/*
 * two_clients.c - what a killed client held is gone within a second, and its neighbour notices
 * nothing.
 *
 * Two clients, each a process, hold 10,000 open handles (no donated descriptors: all of them are
 * descriptors of the server's). One is killed. Its share is counted from /proc: the descriptors and
 * the memory of the server's processes, before it came, with it, and after. The other reads through
 * all its handles all the time; an error or a slow answer there would show.
 *
 *     two_clients [-n HANDLES]      on filesystem "t", which holds files f0 ... f99
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "proto/rpc.h"
#include "tests/integration/proof.h"

enum { WITHIN_MS = 1000, FILES = 100 };

struct holder {
	struct gofer_session *session;
	uint64_t *handles;
	size_t n, wanted;
	int error;
};

static void opened(void *userdata, int result, struct gofer_reply *reply)
{
	struct holder *h = userdata;

	if (result < 0 || reply->kind != GOFER_REPLY_OK)
		h->error = result < 0 ? result : -EIO;
	else
		h->handles[h->n++] = ((const Gofer__OpenReply *)(void *)reply->message)->handle;
}

static void hold(struct holder *h, size_t n)
{
	Gofer__Path path = GOFER__PATH__INIT;
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Open, .message = (void *)&q, .fd = -1 };
	char name[16];

	*h = (struct holder){ .session = session_connect(), .wanted = n };
	h->handles = calloc(n, sizeof(*h->handles));
	if (!h->handles)
		die("memory");
	path.fs_id = filesystem_id(h->session, "t");
	path.path.data = (uint8_t *)name;
	q.path = &path;
	q.flags = GOFER__OPEN_FLAG__OPEN_READ;
	for (size_t i = 0; i < n && !h->error;) {
		int r;

		path.path.len = (size_t)snprintf(name, sizeof(name), "f%zu", i % FILES);
		r = gofer_submit(h->session, &request, opened, h, NULL);
		if (r == 0)
			i++;
		else if (r == -EAGAIN)
			r = gofer_session_process(h->session, -1);
		if (r < 0)
			die("open %zu: %s", i, gofer_message());
	}
	if (gofer_session_drain(h->session) < 0 || h->error)
		die("opening %zu handles: %s after %zu", n, strerror(-h->error), h->n);
}

/* The bystander: reads through all its handles, again and again. */
struct bystander {
	struct holder holder;
	_Atomic uint64_t reads, errors, longest_ns;
	_Atomic uint64_t rounds;
	_Atomic bool stop;
};

static void *bystander_thread(void *arg)
{
	struct bystander *b = arg;

	while (!b->stop) {
		for (size_t i = 0; i < b->holder.n; i++) {
			Gofer__ReadRequest q = GOFER__READ_REQUEST__INIT;
			struct gofer_request request = { .type = RPC_TYPE_Read,
							 .message = (void *)&q,
							 .fd = -1 };
			struct gofer_reply reply;
			uint64_t start = clock_ns(), took;

			q.handle = b->holder.handles[i];
			q.count = 64;
			if (gofer_call(b->holder.session, &request, &reply) < 0) {
				b->errors++;
				continue;
			}
			took = clock_ns() - start;
			b->errors += reply.kind != GOFER_REPLY_OK || reply.data_len != 5;
			gofer_reply_free(&reply);
			b->longest_ns = MAX(b->longest_ns, took);
			b->reads++;
		}
		b->rounds++;
	}
	return NULL;
}

static void print_state(const char *when, const struct process_list *list)
{
	struct process sum = process_sum(list);

	printf("%-44s %3zu processes %6lu descriptors %8lu KiB\n", when, list->n, sum.fds, sum.rss);
}

static pid_t victim_start(size_t n)
{
	struct holder h;
	int ready[2];
	char byte;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0)
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		hold(&h, n);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("the client that is to be killed could not open its handles");
	close(ready[0]);
	return pid;
}

int main(int argc, char **argv)
{
	size_t n = option_number(argc, argv, "-n", 10000);
	static struct process_list alone, both, after;
	struct bystander b = { 0 };
	struct process sum_alone, sum_both, sum_after;
	uint64_t killed, gone, rounds;
	pid_t victim, worker = 0;
	struct pollfd p = { .fd = -1, .events = POLLIN };
	bool visible, ended;
	pthread_t thread;

	hold(&b.holder, n);
	server_processes(&alone);
	victim = victim_start(n);
	server_processes(&both);
	print_state("one client with its handles", &alone);
	print_state("and the one that will be killed", &both);
	for (size_t i = 0; i < both.n; i++)
		if (!process_find(&alone, both.at[i].pid))
			worker = both.at[i].pid;
	if (!worker)
		die("no process of the server serves the second client");
	p.fd = (int)syscall(SYS_pidfd_open, worker, 0);
	if (p.fd < 0)
		die("pidfd_open: %s", strerror(errno));
	if (pthread_create(&thread, NULL, bystander_thread, &b) != 0)
		die("pthread_create");
	while (b.reads == 0) /* it is at work */
		sched_yield();

	killed = clock_ns();
	kill(victim, SIGKILL);
	ended = poll(&p, 1, WITHIN_MS) == 1;
	gone = clock_ns();
	(void)waitpid(victim, NULL, 0);
	(void)server_settles(alone.n, WITHIN_MS, &after);
	print_state("after the kill", &after);
	/* The bystander must get through every handle at least once more. */
	for (rounds = b.rounds; b.rounds < rounds + 2 && b.errors == 0;)
		sched_yield();
	b.stop = true;
	pthread_join(thread, NULL);

	sum_alone = process_sum(&alone);
	sum_both = process_sum(&both);
	sum_after = process_sum(&after);
	visible = process_find(&both, worker)->fds > 0;
	check(ended, "the share was released %.1f ms after the kill",
	      (double)(gone - killed) / 1e6);
	if (visible) {
		check(sum_both.fds >= sum_alone.fds + n,
		      "its share was %lu descriptors and %lu KiB", sum_both.fds - sum_alone.fds,
		      process_find(&both, worker)->rss);
		check(sum_after.fds <= sum_alone.fds,
		      "descriptors afterwards: %lu, before it came: %lu", sum_after.fds,
		      sum_alone.fds);
	} else {
		printf("  (descriptors cannot be counted: /proc/%d/fd is not ours to read)\n",
		       worker);
	}
	check(after.n <= alone.n &&
		      sum_after.rss <= sum_alone.rss + (PROOF_SANITIZED ? 65536 : 1024),
	      "memory afterwards: %lu KiB, before it came: %lu KiB", sum_after.rss, sum_alone.rss);
	check(b.errors == 0 && b.holder.n == n,
	      "the other read %lu times through its %zu handles: %lu errors", b.reads, b.holder.n,
	      b.errors);
	check(b.longest_ns < UINT64_C(1000000000), "its longest wait: %.1f ms",
	      (double)b.longest_ns / 1e6);
	gofer_session_close(b.holder.session);
	free(b.holder.handles);
	close(p.fd);
	return proof_end();
}
