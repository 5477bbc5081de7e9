/*
 * test_fault_server.c - for every request of the table: the n-th allocation fails, the n-th system
 * call fails, for n = 1, 2, ... until the request is done without meeting a failure.
 *
 * Each time the answer is either an error that says what failed, and then the tree is what it was,
 * or a success, and then the tree is what a success makes of it. There is no third: no object half
 * made, no temporary name, no handle that nobody was told of, no descriptor left open. The leak
 * checker looks at the memory. Requests that consist of several steps by definition (WriteFile that
 * is not atomic, SetAttr of several things, O_TRUNC) keep what was done before the failure, and are
 * marked.
 *
 * The requests are in fault_requests.h: a row of the table without one does not build. The same requests show that no byte of the
 * reply was not written on purpose: all buffers are filled with a pattern before each.
 */
#include "tests/unit/fault_scene.h"

/* ---- the walk ---- */

static bool is_sensible(enum fault_kind kind, int result, int error)
{
	if (kind == FAULT_ALLOCATIONS)
		return result == ENOMEM || result == EMSGSIZE;
	return result == error || (fault.failed_call == SYS_getrandom && result == EIO);
}

/* The handle that an answer brought, and its message, are given back. */
static void give_back(struct scene *c, const struct fault_case *k, struct answer *a)
{
	uint64_t handle = 0;

	if (a->message && k->rpc == RPC_INDEX_Open)
		handle = ((Gofer__OpenReply *)a->message)->handle;
	else if (a->message && k->rpc == RPC_INDEX_ReadDir)
		handle = ((Gofer__ReadDirReply *)a->message)->handle;
	if (handle)
		close_handle(c, handle);
	if (a->message)
		protobuf_c_message_free_unpacked(a->message, NULL);
	a->message = NULL;
}

/*
 * A file that Open has made stays, whole, when the host then cannot tell its attributes: to remove it by
 * its name could remove somebody else's.
 */
static bool made_without_attributes(const struct scene *c, const struct fault_case *k,
				    const char *now, const char *after)
{
	/* pathwalk asks by another descriptor of the file. */
	bool asked = fault.failed_call == SYS_statx ||
		     (c->f->ops == &fs_pathwalk_ops && fault.failed_call == SYS_fcntl);

	return k->rpc == RPC_INDEX_Open && asked && !strcmp(now, after);
}

/* What is right, whatever fails. */
struct normal {
	int result;
	char after[SNAPSHOT]; /* the tree after a success */
	unsigned fds;
};

static void judge_answer(const struct scene *c, const struct fault_case *k, enum fault_kind kind,
			 const char *failure, int error, const struct normal *normal,
			 const struct answer *a, const char *now)
{
	if (a->result == NO_REPLY) {
		/* Only a reply that cannot be sent ends a session. */
		cr_expect(kind == FAULT_CALLS && fault.failed_call == SYS_sendmsg,
			  "%s: the session ends", failure);
		cr_expect(k->steps || !strcmp(now, c->before) || !strcmp(now, normal->after),
			  "%s: without a reply the tree has %s", failure,
			  difference(now, c->before));
	} else if (a->result == normal->result) {
		cr_expect(!strcmp(now, normal->after), "%s, nobody is told, and the tree is\n%s",
			  failure, now);
	} else {
		/* A Stop is always allowed: the client goes on from there. */
		cr_expect(a->result == A_STOP || is_sensible(kind, a->result, error), "%s: %d (%s)",
			  failure, a->result, a->result > 0 ? strerrorname_np(a->result) : "?");
		cr_expect(k->steps || !strcmp(now, c->before) ||
				  made_without_attributes(c, k, now, normal->after),
			  "%s, the answer is %s, but the tree has %s", failure,
			  a->result > 0 ? strerrorname_np(a->result) : "a stop",
			  difference(now, c->before));
	}
}

/* One request whose n-th allocation or call fails. False when it made fewer. */
static bool fail_one(struct scene *c, const struct fault_case *k, enum fault_kind kind, unsigned n,
		     int error, const struct normal *normal)
{
	struct answer a = ask(c, k, kind, n, error);
	char now[SNAPSHOT], failure[128];
	unsigned fds;

	(void)snprintf(failure, sizeof(failure), "%s: %s %u (number %d) fails with %s", k->name,
		       kind == FAULT_CALLS ? "system call" : "allocation", n, fault.failed_call,
		       strerrorname_np(error));
	snapshot(c, now);
	judge_answer(c, k, kind, failure, error, normal, &a, now);
	if (a.result == NO_REPLY || k->rpc == RPC_INDEX_Hello) {
		give_back(c, k, &a);
		session_again(c, c->greeted);
	} else {
		give_back(c, k, &a);
		cr_expect_eq(ordinary(c, &scene_stats), 4, "%s: a handle is left", failure);
	}
	fds = count_fds();
	cr_expect_eq(fds, normal->fds, "%s: %u descriptors, before %u", failure, fds, normal->fds);
	restore(c);
	return a.seen >= n;
}

/* From the first failure to the first request that meets none. How many met one. */
static unsigned walk(struct scene *c, const struct fault_case *k, enum fault_kind kind, int error)
{
	struct normal normal;
	struct answer a;
	unsigned n = 0;

	session_begin(c, k->rpc != RPC_INDEX_Hello);
	normal.fds = count_fds();
	a = ask(c, k, FAULT_NONE, 0, 0);
	cr_assert_neq(a.result, NO_REPLY, "%s", k->name);
	normal.result = a.result;
	give_back(c, k, &a);
	snapshot(c, normal.after);
	session_again(c, c->greeted);
	while (fail_one(c, k, kind, n + 1, error, &normal))
		cr_assert_lt(++n, MOST_STEPS, "%s: no end", k->name);
	session_end(c);
	restore_tree(c);
	return n;
}

static void walk_all(const struct fs_ops *ops, uint32_t fs_flags, size_t n_errors)
{
	static const int errors[] = { EIO, EINTR, EMFILE };
	unsigned allocations = 0, calls = 0;
	struct scene c;

	scene_make(&c, ops, fs_flags);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		allocations += walk(&c, &cases[i], FAULT_ALLOCATIONS, ENOMEM);
		for (size_t e = 0; e < n_errors; e++)
			calls += walk(&c, &cases[i], FAULT_CALLS, errors[e]);
	}
	scene_unmake(&c);
	/* Not a walk past everything. */
	cr_assert_gt(allocations, 150, "%u allocations failed", allocations);
	cr_assert_gt(calls, 300 * n_errors, "%u system calls failed", calls);
	cr_log_info("%zu requests: %u failed allocations, %u failed system calls",
		    ARRAY_SIZE(cases), allocations, calls);
}

Test(fault_server, whatever_fails_nothing_is_half_made, .timeout = 100)
{
	walk_all(&fs_host_ops, 0, 3);
}

Test(fault_server, whatever_fails_nothing_is_half_made_without_openat2, .timeout = 100)
{
	walk_all(&fs_host_ops, FS_NO_OPENAT2, 1);
}

Test(fault_server, whatever_fails_nothing_is_half_made_detached, .timeout = 100)
{
	int fd = sys_open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | O_CLOEXEC);

	if (fd < 0)
		cr_skip_test("a detached mount needs CAP_SYS_ADMIN: %s", strerror(-fd));
	close(fd);
	walk_all(&fs_host_ops, FS_DETACHED | FS_NODEV, 1);
}

Test(fault_server, whatever_fails_nothing_is_half_made_on_pathwalk, .timeout = 100)
{
	walk_all(&fs_pathwalk_ops, 0, 1);
}

/* ---- a session, and its threads ---- */

static struct {
	enum fault_kind kind;
	unsigned n;
} set_up;

static void enter_failing(struct session_fixture *f _unused_)
{
	fault_subject_enter();
	fault_arm(set_up.kind, set_up.n, ENOMEM);
}

Test(fault_server, a_session_that_cannot_be_set_up_leaves_nothing)
{
	struct session_fixture *f = fixture_new(NULL, "/tmp");
	unsigned failed = 0, before = count_fds();
	bool skip = false;

	f->enter = enter_failing;
	for (set_up.kind = FAULT_ALLOCATIONS; !skip && set_up.kind <= FAULT_CALLS; set_up.kind++)
		for (set_up.n = 1; set_up.n < MOST_STEPS; set_up.n++) {
			fixture_begin(f);
			skip = fault_supervise_subject() < 0;
			close(f->sock);
			cr_assert_eq(pthread_join(f->server, NULL), 0);
			if (skip)
				break;
			fault_subject_gone();
			cr_assert(f->result == 0 || f->result == -ENOMEM, "%u: %d", set_up.n,
				  f->result);
			cr_assert_eq(count_fds(), before, "%u", set_up.n);
			failed += f->result < 0;
			if (fault_disarm() < set_up.n)
				break;
		}
	fixture_free(f);
	if (skip)
		cr_skip_test("no seccomp filter with a listener");
	cr_assert_geq(failed, 7);
}

/* There is no memory for another thread: the first goes on alone. */
Test(fault_server, a_thread_that_cannot_be_started_is_done_without)
{
	struct server_limits limits = SERVER_LIMITS_DEFAULT;
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	struct session_fixture *f = fixture_new(&limits, "/tmp");
	bool skip = false;

	PATH(p, "");
	q.path = &p;
	f->enter = enter;
	/* The worker, its three buffers, its arena; what the request itself needs comes behind. */
	for (unsigned n = 1; n <= 5; n++) {
		fixture_begin(f);
		skip = fault_supervise_subject() < 0;
		if (skip)
			break;
		hello(f);
		fault_arm(FAULT_ALLOCATIONS, n, ENOMEM);
		cr_assert_eq(call(f, RPC_TYPE_Stat, &q.base, NULL), 0, "allocation %u fails", n);
		cr_assert_geq(fault_disarm(), n);
		cr_assert_eq(call(f, RPC_TYPE_Stat, &q.base, NULL), 0);
		fixture_end(f);
		fault_subject_gone();
	}
	if (skip)
		cr_skip_test("no seccomp filter with a listener");
	fixture_free(f);
}

/* ---- what nobody wrote ---- */

enum { POISON = 0xa5 };

static uint8_t *poisoned[2]; /* where handlers put payload, where replies gather */
static size_t poisoned_size[2];

static void note_buffers(void *block, size_t size)
{
	static unsigned packets;

	if (size == FRAME_MAX_DATA) {
		poisoned[0] = block;
		poisoned_size[0] = size;
	}
	if (size == FRAME_MAX_PACKET && ++packets % 2 == 0) { /* the first of two is the input */
		poisoned[1] = block;
		poisoned_size[1] = size;
	}
}

/* Each request begins with an empty arena. */
static void poison_buffers(struct arena *a)
{
	memset(a->block, POISON, a->size);
	for (size_t i = 0; i < ARRAY_SIZE(poisoned); i++)
		memset(poisoned[i], POISON, poisoned_size[i]);
}

static bool bytes_are_poison(const uint8_t *p, size_t n)
{
	for (size_t i = 0, run = 0; i < n; i++) {
		run = p[i] == POISON ? run + 1 : 0;
		if (run == 3)
			return true;
	}
	return false;
}

/* Whether a number or a byte string of the message is what the buffers were filled with. */
static bool is_poisoned(const ProtobufCMessage *m)
{
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		const uint8_t *at = (const uint8_t *)m + f->offset;
		bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
		size_t n = repeated ? *(const size_t *)(const void *)((const uint8_t *)m +
								      f->quantifier_offset)
				    : 1;

		if (repeated && n)
			at = *(const uint8_t *const *)(const void *)at;
		for (size_t k = 0; k < n; k++) {
			switch (f->type) {
			case PROTOBUF_C_TYPE_UINT32:
			case PROTOBUF_C_TYPE_ENUM:
				if (((const uint32_t *)(const void *)at)[k] == 0xa5a5a5a5)
					return true;
				break;
			case PROTOBUF_C_TYPE_UINT64:
			case PROTOBUF_C_TYPE_INT64:
				if (((const uint64_t *)(const void *)at)[k] ==
				    UINT64_C(0xa5a5a5a5a5a5a5a5))
					return true;
				break;
			case PROTOBUF_C_TYPE_BYTES: {
				const ProtobufCBinaryData *b =
					&((const ProtobufCBinaryData *)(const void *)at)[k];

				if (bytes_are_poison(b->data, b->len))
					return true;
				break;
			}
			case PROTOBUF_C_TYPE_MESSAGE: {
				const ProtobufCMessage *sub =
					((const ProtobufCMessage *const *)(const void *)at)[k];

				if (sub && is_poisoned(sub))
					return true;
				break;
			}
			default:
				break;
			}
		}
	}
	return false;
}

Test(fault_server, S76_no_byte_that_was_not_written_leaves_the_process)
{
	unsigned replies = 0;
	struct scene c;

	scene_make(&c, &fs_host_ops, 0);
	fault_on_malloc = note_buffers;
	fault_on_arena_reset = poison_buffers;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct answer a;

		session_begin(&c, cases[i].rpc != RPC_INDEX_Hello);
		cr_assert(poisoned[0] && poisoned[1]);
		a = ask(&c, &cases[i], FAULT_NONE, 0, 0);
		cr_expect(!a.message || !is_poisoned(a.message), "%s", cases[i].name);
		cr_expect(!bytes_are_poison(a.data, a.data_len), "%s: payload", cases[i].name);
		replies += a.message != NULL;
		give_back(&c, &cases[i], &a);
		session_end(&c);
		restore_tree(&c);
	}
	fault_on_malloc = NULL;
	fault_on_arena_reset = NULL;
	scene_unmake(&c);
	cr_assert_gt(replies, RPC_COUNT);
}
