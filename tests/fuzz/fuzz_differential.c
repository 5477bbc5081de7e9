/*
 * fuzz_differential.c - target 3: a plan (plan.h) done by the server for an ordinary user, and by
 * that user itself with plain system calls, in two equal trees. Each operation must end with the
 * same errno and the same result, and the trees must be equal afterwards; but for the differences
 * below, which are known, explained, and counted.
 *
 * The user's process is forked before the first input and rooted in its tree: by root, who becomes
 * uid 1000; by anybody else in a user namespace, without its capabilities. It is told each plan and
 * answers with its outcomes, so a plan costs one round trip.
 */
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/live.h"
#include "tests/fuzz/plan.h"

enum { USER = 1000 };

static struct fuzz_tree tree;
static struct live_server live;
static int child = -1;
static uint64_t plans, operations, agreed_errors, cut_short;
static uint64_t by_kind[PLAN_KINDS];

/* ---- what is known to differ ---- */

static bool sockets_and_sticky(const struct plan_op *p, const struct outcome *mine,
			       const struct outcome *kernels)
{
	struct op op = p->op;

	if ((unsigned)op.kind == PLAN_OPEN || (unsigned)op.kind == PLAN_READ_FILE)
		op.kind = OP_OPEN;
	if ((unsigned)op.kind == PLAN_WRITE_FILE) {
		op.kind = OP_OPEN;
		op.flags |= O_CREAT;
	}
	return known_difference(&op, mine, kernels);
}

/* A handle is looked up for what it may do; the kernel asks first what kind of file it is. */
static bool copy_order(const struct plan_op *p, const struct outcome *mine,
		       const struct outcome *kernels)
{
	return (unsigned)p->op.kind == PLAN_COPY && mine->error == EBADF &&
	       (kernels->error == EISDIR || kernels->error == EINVAL);
}

static bool no_offset(const struct plan_op *p, const struct outcome *mine,
		      const struct outcome *kernels)
{
	unsigned kind = (unsigned)p->op.kind;

	return (kind == PLAN_READ || kind == PLAN_WRITE) && mine->error == EBADF &&
	       kernels->error == ESPIPE;
}

/* Read gives what a FIFO has, as read(2): it has no offset. */
static bool read_fifo(const struct plan_op *p, const struct outcome *mine,
		      const struct outcome *kernels)
{
	return (unsigned)p->op.kind == PLAN_READ && (mine->error == 0 || mine->error == EAGAIN) &&
	       kernels->error == ESPIPE;
}

/* "/.." is the root, which the client knows without asking; the kernel asks whether the root may be searched. */
static bool root_not_searched(const struct plan_op *p, const struct outcome *mine,
			      const struct outcome *kernels)
{
	const char *paths[] = { p->op.path, p->op.other };
	bool up = false;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		up |= strncmp(paths[i] + strspn(paths[i], "/"), "..", 2) == 0;
	return up && kernels->error == EACCES && mine->error != EACCES;
}

/* Write by a handle with APPEND is write(2), which a FIFO takes; pwrite(2) it refuses. */
static bool append_fifo(const struct plan_op *p, const struct outcome *mine,
			const struct outcome *kernels)
{
	return (unsigned)p->op.kind == PLAN_WRITE && mine->error == 0 && kernels->error == ESPIPE;
}

static struct {
	const char *cause;
	bool (*is)(const struct plan_op *p, const struct outcome *mine,
		   const struct outcome *kernels);
	uint64_t count;
} known[] = {
	{ "open: what can never be opened is refused by its type before permission is asked for "
	  "(known_difference())",
	  sockets_and_sticky, 0 },
	{ "copy: EBADF for a file not open for that, before EISDIR or EINVAL for what is no "
	  "regular "
	  "file",
	  copy_order, 0 },
	{ "read and write: EBADF for a file not open for that, before ESPIPE for a FIFO", no_offset,
	  0 },
	{ "write to a FIFO opened with O_APPEND: done, not ESPIPE", append_fifo, 0 },
	{ "read of a FIFO: done, not ESPIPE", read_fifo, 0 },
	{ "\"..\" of the root: not EACCES where the root may not be searched", root_not_searched,
	  0 },
};

/* ---- the user ---- */

static void map_id(const char *path, unsigned id)
{
	char text[64];
	_cleanup_fd_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	int n = snprintf(text, sizeof(text), "%u %u 1", id, id);

	if (fd < 0 || write(fd, text, (size_t)n) != n)
		_exit(2);
}

/* In a user namespace one may chroot(2); the capabilities that come with it must go again. */
static void enter_namespace(void)
{
	unsigned uid = getuid(), gid = getgid();
	int fd;

	if (unshare(CLONE_NEWUSER) < 0)
		_exit(2);
	fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "deny", 4) != 4)
		_exit(2);
	fd_close(fd);
	map_id("/proc/self/uid_map", uid);
	map_id("/proc/self/gid_map", gid);
}

static void become_user(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	static const gid_t groups[] = { 1003, 1004 }; /* as live_start() */
	char twin[256];

	if (!tree.is_root)
		enter_namespace();
	snprintf(twin, sizeof(twin), "%s/twin", tree.base);
	if (chroot(twin) < 0 || chdir("/") < 0)
		_exit(2);
	if (tree.is_root && (setgroups(ARRAY_SIZE(groups), groups) < 0 ||
			     setresgid(USER, USER, USER) < 0 || setresuid(USER, USER, USER) < 0))
		_exit(2);
	if (syscall(SYS_capset, &header, none) < 0)
		_exit(2);
}

/* Whether a user may give a file its name without /proc: since Linux 6.10. */
static bool can_flink(void)
{
	_cleanup_fd_ int fd = open("/a/b/c", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd >= 0 &&
	       (linkat(fd, "", AT_FDCWD, "/locked/x", AT_EMPTY_PATH) == 0 || errno != ENOENT);
}

static void child_run(int sock)
{
	static struct plan plan;
	static struct outcome outcomes[PLAN_MAX];
	char word;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	become_user();
	word = can_flink() ? 'f' : '-';
	if (send(sock, &word, 1, 0) != 1)
		_exit(1);
	while (recv(sock, &plan, sizeof(plan), 0) == (ssize_t)sizeof(plan)) {
		plan_run_native(&plan, outcomes);
		if (send(sock, outcomes, sizeof(outcomes), 0) != (ssize_t)sizeof(outcomes))
			break;
	}
	_exit(0);
}

static void child_start(void)
{
	int pair[2];
	pid_t pid;
	char word;

	FUZZ_ASSERT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	pid = fork();
	FUZZ_ASSERT(pid >= 0);
	if (pid == 0) {
		close(pair[0]);
		child_run(pair[1]);
	}
	close(pair[1]);
	child = pair[0];
	if (recv(child, &word, 1, 0) != 1) {
		fprintf(stderr, "cannot be compared here: no chroot(2) for an ordinary user\n");
		exit(77);
	}
	plan_can_flink = word == 'f';
	plan_has_ids = tree.is_root;
	tree_reset_twin(&tree);
}

/* ---- the comparison ---- */

static char *dump(const char *name)
{
	char root[256], *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	FUZZ_ASSERT(out);
	snprintf(root, sizeof(root), "%s/%s", tree.base, name);
	dump_tree(out, root, "");
	fclose(out);
	return text;
}

static bool trees_equal(void)
{
	_cleanup_free_ char *mine = dump("served"), *kernels = dump("twin");
	char *a = mine, *b = kernels;

	if (strcmp(mine, kernels) == 0)
		return true;
	while (*a && *b) { /* the first line that differs */
		size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");

		if (la != lb || memcmp(a, b, la) != 0)
			break;
		a += la + !!a[la];
		b += lb + !!b[lb];
	}
	printf("  gofer:  %.*s\n  kernel: %.*s\n", (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"),
	       b);
	return false;
}

static void show(const struct plan *plan, size_t until, const struct outcome *mine,
		 const struct outcome *kernels)
{
	for (size_t i = 0; i < plan->n && i <= until; i++) {
		const struct plan_op *p = &plan->ops[i];

		printf("%s(\"%s\", \"%s\") flags %#o mode %o umask %o ids %d:%d size %lu count %lu "
		       "file "
		       "%u, %u %s\n",
		       plan_kind_name((unsigned)p->op.kind), p->op.path, p->op.other,
		       (unsigned)p->op.flags, p->op.mode, p->op.umask, (int)p->op.uid,
		       (int)p->op.gid, p->op.size, p->count, p->file, p->other_file, p->op.name);
		outcome_print("gofer", &mine[i]);
		outcome_print("kernel", &kernels[i]);
	}
	fflush(stdout);
}

static bool is_known(const struct plan_op *p, const struct outcome *mine,
		     const struct outcome *kernels)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].is(p, mine, kernels)) {
			known[i].count++;
			return true;
		}
	return false;
}

static void compare(const struct plan *plan, const struct outcome *mine,
		    const struct outcome *kernels)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_op *p = &plan->ops[i];

		operations++;
		by_kind[p->op.kind]++;
		agreed_errors += mine[i].error && mine[i].error == kernels[i].error;
		if (outcome_equal(&mine[i], &kernels[i]))
			continue;
		if (!is_known(p, &mine[i], &kernels[i])) {
			show(plan, i, mine, kernels);
			FUZZ_ASSERT(!"the gofer and the kernel agree");
		}
		/* One of the two has an open file, or a file, more: what follows is a consequence. */
		if (!mine[i].error != !kernels[i].error) {
			cut_short++;
			return;
		}
	}
	if (!trees_equal()) {
		show(plan, plan->n, mine, kernels);
		FUZZ_ASSERT(!"the trees are equal");
	}
}

static void report(void)
{
	fprintf(stderr, "differential: %lu plans, %lu operations compared, %lu failed alike\n",
		plans, operations, agreed_errors);
	for (unsigned i = 0; i < PLAN_KINDS; i++)
		fprintf(stderr, "%s%s %lu", i ? ", " : "differential: ", plan_kind_name(i),
			by_kind[i]);
	fprintf(stderr, "\n");
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		fprintf(stderr, "differential: known: %lu times: %s\n", known[i].count,
			known[i].cause);
	fprintf(stderr, "differential: %lu plans compared up to a known difference only\n",
		cut_short);
}

/* ---- the target ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	tree_init(&tree);
	tree_reset_twin(&tree);
	live_init(&live, &tree);
	child_start();
	atexit(report);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* No donated descriptors: this process may be root, and what root writes keeps set-id bits. */
	const struct gofer_mount_options options = { .follow = 8, .no_donate = true };
	const struct gofer_session_options patient = { .timeout_ms = 200000 };
	static struct plan plan;
	static struct outcome mine[PLAN_MAX], kernels[PLAN_MAX];
	struct gofer_namespace *ns;
	struct gofer_session *client;
	struct live_session session;
	unsigned before = tree_count_fds(true);
	char name[32];

	if (size < 1 + PLAN_STEP)
		return -1;
	/* The first byte: by which way the server walks. */
	live.old_kernel = data[0] % 4 == 1;
	live.by_path = data[0] % 4 == 2;
	plan_parse(&plan, data + 1, size - 1);
	FUZZ_ASSERT(send(child, &plan, sizeof(plan), MSG_NOSIGNAL) == (ssize_t)sizeof(plan));

	live_open(&live);
	snprintf(name, sizeof(name), "fd:%d", live_start(&session, &live, USER));
	if (gofer_session_open(name, &patient, &client) < 0) {
		fprintf(stderr, "%s\n", gofer_message());
		abort();
	}
	FUZZ_ASSERT(gofer_namespace_new(&ns) == 0);
	FUZZ_ASSERT(gofer_mount(ns, client, tree.is_root ? LIVE_DELEGATE : LIVE_SPECIAL, "/",
				&options) == 0);
	plan_run_gofer(&plan, ns, mine);
	gofer_namespace_free(ns);
	gofer_session_close(client);
	live_join(&session);
	live_close(&live);

	FUZZ_ASSERT(recv(child, kernels, sizeof(kernels), 0) == (ssize_t)sizeof(kernels));
	plans++;
	compare(&plan, mine, kernels);
	FUZZ_ASSERT(tree_count_fds(true) == before);
	tree_check_outside(&tree);
	tree_reset_twin(&tree);
	return 0;
}
