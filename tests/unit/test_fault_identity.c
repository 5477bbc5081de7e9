/*
 * test_fault_identity.c - each system call of a switch of identity fails in turn: the process aborts, and
 * no request is executed as somebody that it is not for.
 *
 * The session runs in a process of its own, because the right end of it is an abort. What it was asked
 * to make belongs to the right user or is not there.
 */
#include <sys/wait.h>

#include "tests/unit/session_fixture.h"
#include "tests/unit/fault.h"

enum { ALICE = 1600, BOB = 1601, MOST_CALLS = 100 };

static bool is_of_a_switch(int call)
{
	return call == SYS_setresuid || call == SYS_setresgid || call == SYS_setgroups ||
	       call == SYS_capset || call == SYS_capget;
}

static void enter(struct session_fixture *f _unused_)
{
	fault_subject_enter();
}

/* In the process that serves: never returns. */
static void serve(struct session_fixture *f, unsigned fail_at)
{
	signal(SIGABRT, SIG_DFL);
	fault.counts = is_of_a_switch;
	fault_arm(FAULT_CALLS, fail_at, EPERM);
	if (pthread_create(&f->server, NULL, fixture_serve, f) != 0 ||
	    fault_supervise_subject() < 0)
		_exit(77);
	pthread_join(f->server, NULL);
	_exit(f->result == 0 && !fault.failed_call ? 0 : 1);
}

/* As call(), or false when the session has ended. */
static bool alive_after(struct session_fixture *f, uint16_t type, const ProtobufCMessage *m)
{
	struct iovec iov;
	static uint32_t tag;

	add_frame(f, type, ++tag, 0, m);
	iov = (struct iovec){ f->out, f->out_used };
	f->out_used = 0;
	if (packet_send(f->sock, &iov, 1, -1, 0) < 0 || !receive(f))
		return false;
	cr_assert_eq(f->replies[0].header.flags & FRAME_KIND_MASK, FRAME_OK, "%s is refused",
		     rpc_find(type)->name);
	return true;
}

static bool makes(struct session_fixture *f, uint32_t identity, const char *name)
{
	Gofer__WriteFileRequest q = GOFER__WRITE_FILE_REQUEST__INIT;

	PATH(p, name);
	p.identity = identity;
	q.path = &p;
	q.mode = 0600;
	return alive_after(f, RPC_TYPE_WriteFile, &q.base);
}

static bool registers(struct session_fixture *f, uint32_t id, uint32_t uid)
{
	static uint32_t groups[] = { 1700, 1701 };
	Gofer__SetIdentityRequest q = GOFER__SET_IDENTITY_REQUEST__INIT;

	q.id = id;
	q.uid = q.gid = uid;
	q.groups = groups;
	q.n_groups = 2;
	return alive_after(f, RPC_TYPE_SetIdentity, &q.base);
}

/* A session as several users, one after the other. True when it came to its end. */
static bool talk(struct session_fixture *f)
{
	Gofer__HelloRequest q = GOFER__HELLO_REQUEST__INIT;

	q.version = 1;
	return alive_after(f, RPC_TYPE_Hello, &q.base) && registers(f, 1, ALICE) &&
	       registers(f, 2, BOB) && makes(f, 1, "alice") && makes(f, 2, "bob") &&
	       makes(f, 0, "root") && makes(f, 1, "alice again");
}

/* Removes what was made. It is its owner's, or not there. */
static void check_owner(const struct session_fixture *f, const char *name, uid_t owner)
{
	char path[128];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	if (lstat(path, &st) < 0)
		return;
	cr_assert_eq(st.st_uid, owner, "'%s' belongs to %u", name, st.st_uid);
	cr_assert_eq(st.st_gid, owner, "'%s' belongs to group %u", name, st.st_gid);
	cr_assert_eq(unlink(path), 0);
}

/* With the n-th call of all switches failing. How the process ended. */
static int session_status(struct session_fixture *f, unsigned fail_at)
{
	int pair[2], status;
	pid_t pid;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	f->server_sock = pair[1];
	f->sock = pair[0];
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		close(pair[0]);
		serve(f, fail_at);
	}
	close(pair[1]);
	(void)talk(f);
	close(f->sock);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	check_owner(f, "alice", ALICE);
	check_owner(f, "alice again", ALICE);
	check_owner(f, "bob", BOB);
	check_owner(f, "root", 0);
	return status;
}

Test(fault_identity, S94_a_switch_that_fails_ends_the_process_before_the_request_runs,
     .timeout = 60)
{
	struct server_limits limits = SERVER_LIMITS_DEFAULT;
	struct session_fixture *f;
	unsigned n;

	if (getuid() != 0)
		cr_skip_test("only root can run requests as others");
	limits.max_threads = 1;
	f = fixture_new(&limits, "/tmp");
	f->delegate = true;
	f->enter = enter;
	cr_assert_eq(chmod(f->dir, 0777), 0);
	for (n = 1; n < MOST_CALLS; n++) {
		int status = session_status(f, n);

		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			cr_skip_test("no seccomp filter with a listener");
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			break;
		cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
			  "call %u of the switches fails: status %#x", n, status);
	}
	/* Five switches, with Hello's, of six calls. */
	cr_assert_geq(n, 20, "only %u calls", n);
	cr_assert_lt(n, MOST_CALLS);
	fixture_free(f);
}
