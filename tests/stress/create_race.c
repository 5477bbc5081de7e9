/*
 * create_race.c - open(O_CREAT) without O_EXCL never fails because of what others do to the name.
 *
 * Two client processes open one name with O_CREAT, a third unlinks it, all as fast as they can:
 * each keeps a window of requests in flight. A server that looks first and creates then answers
 * EEXIST or ENOENT sooner or later. The run proves something only if the name really came and went,
 * so the successful unlinks are counted and demanded.
 *
 *     create_race [-n OPENS]      on filesystem "t", both creators together
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "proto/rpc.h"
#include "tests/integration/proof.h"

/* The creators keep many requests in flight; the unlinker asks one by one, so that its requests
 * fall in between. */
enum { WINDOW = 16, MAX_ERRNO = 4096 };

struct shared {
	_Atomic uint64_t opened, unlinked, missing, refused;
	_Atomic uint64_t errors[MAX_ERRNO];
	_Atomic uint32_t creators; /* still at work */
};

struct client {
	struct shared *shared;
	struct gofer_session *session;
	bool creates;
};

static void answered(void *userdata, int result, struct gofer_reply *reply)
{
	struct client *c = userdata;

	if (result == 0 && reply->kind != GOFER_REPLY_OK)
		result = -EBADMSG;
	if (result < 0) {
		if (!c->creates && result == -ENOENT)
			c->shared->missing++;
		else
			c->shared->errors[MIN(-result, MAX_ERRNO - 1)]++;
	} else if (c->creates) {
		c->shared->opened++;
		gofer_handle_close(c->session,
				   ((const Gofer__OpenReply *)(void *)reply->message)->handle);
	} else {
		c->shared->unlinked++;
	}
}

static int run(struct shared *shared, bool creates, uint64_t n)
{
	struct client c = { shared, session_connect(), creates };
	Gofer__Path path = GOFER__PATH__INIT;
	Gofer__OpenRequest open = GOFER__OPEN_REQUEST__INIT;
	Gofer__UnlinkRequest unlink = GOFER__UNLINK_REQUEST__INIT;
	struct gofer_request request = { .fd = -1 };

	path.fs_id = filesystem_id(c.session, "t");
	path.path = (ProtobufCBinaryData){ 4, (uint8_t *)"name" };
	open.path = unlink.path = &path;
	open.flags = GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_WRITE;
	open.mode = 0644;
	request.type = creates ? RPC_TYPE_Open : RPC_TYPE_Unlink;
	request.message = creates ? (const void *)&open : (const void *)&unlink;
	for (uint64_t i = 0; creates ? i < n : shared->creators > 0; i++) {
		int r = gofer_submit(c.session, &request, answered, &c, NULL);

		if (r == -EAGAIN)
			i--;
		else if (r < 0)
			die("submit: %s", gofer_message());
		if (r == -EAGAIN || !creates || i % WINDOW == WINDOW - 1) {
			r = gofer_session_process(c.session, -1);
			if (r < 0)
				die("process: %s", gofer_message());
		}
	}
	if (gofer_session_drain(c.session) < 0)
		die("drain: %s", gofer_message());
	if (creates)
		shared->creators--;
	gofer_session_close(c.session);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t n = option_number(argc, argv, "-n", 100000), bad = 0, start;
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;

	if (s == MAP_FAILED)
		die("mmap");
	s->creators = 2;
	start = clock_ns();
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0)
			_exit(run(s, i < 2, i == 0 ? n / 2 : n - n / 2));
	}
	while (wait(&status) > 0)
		if (status) {
			s->creators = 0; /* let the others end */
			check(false, "a client ended with status %#x", status);
		}
	printf("%lu opens with O_CREAT by two clients in %.1f s; %lu unlinks removed the name, %lu "
	       "found none\n",
	       s->opened, (double)(clock_ns() - start) / 1e9, s->unlinked, s->missing);
	for (int e = 0; e < MAX_ERRNO; e++)
		if (s->errors[e]) {
			bad += s->errors[e];
			printf("  %lu times: %s\n", s->errors[e], strerror(e));
		}
	check(s->errors[EEXIST] == 0, "EEXIST: %lu", s->errors[EEXIST]);
	check(s->errors[ENOENT] == 0, "ENOENT: %lu", s->errors[ENOENT]);
	check(bad == 0 && s->opened == n, "every open succeeded: %lu of %lu", s->opened, n);
	check(s->unlinked >= n / 1000, "the name really came and went: %lu times", s->unlinked);
	munmap(s, sizeof(*s));
	return proof_end();
}
