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
#include <sched.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "tests/unit/fault_requests.h"

enum { NO_REPLY = -2, A_STOP = -1, MOST_STEPS = 200 };

/* ---- the tree ---- */

static void make_tree(struct scene *c)
{
	static const char *const files[] = { "file", "dir/file", "dir/many/file" };
	static const char *const dirs[] = { "dir", "dir/empty", "dir/many" };
	int fd;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		cr_assert_eq(mkdirat(c->dir, dirs[i], 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		fd = openat(c->dir, files[i], O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		cr_assert_eq(write(fd, "0123456789", 10), 10);
		if (i == 0)
			(void)fsetxattr(fd, "user.a", "1", 1, 0);
		close(fd);
	}
	/* A listing that does not fit the smallest reply. */
	for (char name[] = "dir/many/"
			   "a_long_name_that_fills_the_reply_to_a_listing_before_its_end_so_that_"
			   "it_goes_on_"
			   "in_another_one_a_long_name_that_fills_the_reply_to_a_listing_before_"
			   "its_end_0";
	     name[sizeof(name) - 2] < '8'; name[sizeof(name) - 2]++)
		cr_assert_eq(mknodat(c->dir, name, S_IFREG | 0600, 0), 0);
	cr_assert_eq(symlinkat("dir", c->dir, "link"), 0);
	cr_assert_eq(symlinkat("file", c->dir, "dir/link"), 0);
}

static int remove_entry(const char *path, const struct stat *st, int type _unused_, struct FTW *ftw)
{
	return ftw->level == 0 || S_ISSOCK(st->st_mode) ? 0 : remove(path);
}

/* One line for each object below `dir`: what it is, and what is in it. */
static void print_tree(int dir, char *text, size_t *at)
{
	struct dirent **names;
	int n = scandirat(dir, ".", &names, NULL, alphasort);

	cr_assert_geq(n, 0);
	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name;
		char content[64] = "", attributes[64] = "";
		struct stat st;
		int fd;

		if (!strcmp(name, ".") || !strcmp(name, "..")) {
			free(names[i]);
			continue;
		}
		cr_assert_eq(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
		if (S_ISLNK(st.st_mode))
			cr_assert_gt(readlinkat(dir, name, content, sizeof(content) - 1), 0);
		fd = S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)
			     ? openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
			     : -1;
		if (S_ISREG(st.st_mode)) {
			cr_assert_geq(pread(fd, content, sizeof(content) - 1, 0), 0);
			cr_assert_geq(flistxattr(fd, attributes, sizeof(attributes)), 0);
			for (char *p = attributes; p < attributes + sizeof(attributes) - 1; p++)
				if (!*p && p[1])
					*p = ',';
		}
		/* Temporary names are random: they must not be there at all. */
		*at += (size_t)snprintf(text + *at, SNAPSHOT - *at, "%s %o %ld %lu \"%s\" %s\n",
					name, st.st_mode,
					S_ISDIR(st.st_mode) ? 0 : (long)st.st_size,
					(unsigned long)st.st_nlink, content, attributes);
		cr_assert_lt(*at, (size_t)SNAPSHOT);
		if (S_ISDIR(st.st_mode)) {
			print_tree(fd, text, at);
			*at += (size_t)snprintf(text + *at, SNAPSHOT - *at, "(%s)\n", name);
		}
		fd_close(fd);
		free(names[i]);
	}
	free(names);
}

static void snapshot(const struct scene *c, char *text)
{
	size_t at = 0;

	text[0] = '\0';
	print_tree(c->dir, text, &at);
}

/* The first line in which a tree is not what it should be. */
static const char *difference(const char *now, const char *wanted)
{
	static char text[600];
	size_t a, b;

	for (;; now += a + 1, wanted += b + 1) {
		a = strcspn(now, "\n");
		b = strcspn(wanted, "\n");
		if (a != b || memcmp(now, wanted, a) || !now[a] || !wanted[b])
			break;
	}
	(void)snprintf(text, sizeof(text), "'%.*s' instead of '%.*s'", (int)a, now, (int)b, wanted);
	return text;
}

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert_not_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* ---- one request ---- */

struct answer {
	int result;                /* 0, the errno, A_STOP, NO_REPLY: the session ended */
	ProtobufCMessage *message; /* of 0 */
	uint8_t data[256];
	size_t data_len;
	bool donated;
	unsigned seen;
};

static void make_request(const struct scene *c, const struct fault_case *k, struct sent *s)
{
	const struct rpc_info *rpc = &rpc_table[k->rpc];

	memset(s, 0, sizeof(*s));
	s->fd = -EBADF;
	for (unsigned which = 0; which < 2; which++) {
		gofer__path__init(&s->paths[which]);
		s->paths[which].fs_id = 1;
	}
	protobuf_c_message_init(rpc->request, &s->q.message);
	for (unsigned which = 0; which < 2; which++)
		if (rpc->flags & (which ? RPC_PATH2 : RPC_PATH)) {
			const ProtobufCFieldDescriptor *f =
				protobuf_c_message_descriptor_get_field(rpc->request, which + 1);

			*(Gofer__Path **)((char *)&s->q.message + f->offset) = &s->paths[which];
		}
	k->make(s, c);
}

/* Sends it, with the failure in place, and waits until the session has nothing more to do. */
static struct answer ask(struct scene *c, const struct fault_case *k, enum fault_kind kind,
			 unsigned fail_at, int error)
{
	static uint8_t body[FRAME_MAX_BODY];
	static uint32_t tag;
	struct session_fixture *f = c->f;
	struct answer a = { .result = NO_REPLY };
	const struct frame *r = &f->replies[0];
	struct frame_header h;
	struct iovec iov;
	struct sent s;
	unsigned long idle;

	make_request(c, k, &s);
	h = (struct frame_header){ .type = rpc_table[k->rpc].type,
				   .tag = ++tag & 0xffffff,
				   .fds = s.fd >= 0,
				   .body_len = protobuf_c_message_pack(&s.q.message, body),
				   .data_len = s.data ? strlen(s.data) : 0 };
	add_raw(f, h, body, s.data);
	iov = (struct iovec){ f->out, f->out_used };
	f->out_used = 0;
	idle = fault_idle();
	fault_arm(kind, fail_at, error);
	cr_assert_eq(packet_send(f->sock, &iov, 1, s.fd, 0), 0);
	if (receive(f)) {
		cr_assert(fault_wait_idle(idle), "%s: the session does not come to rest", k->name);
		cr_assert_eq(f->n_replies, 1);
		cr_assert_eq(r->header.tag, h.tag);
		switch (r->header.flags & FRAME_KIND_MASK) {
		case FRAME_ERROR: {
			Gofer__Error *e = gofer__error__unpack(NULL, r->header.body_len, r->body);

			cr_assert_not_null(e);
			a.result = (int)e->error;
			gofer__error__free_unpacked(e, NULL);
			break;
		}
		case FRAME_STOP:
			a.result = A_STOP;
			break;
		default:
			a.result = 0;
			a.message = protobuf_c_message_unpack(rpc_table[k->rpc].reply, NULL,
							      r->header.body_len, r->body);
			cr_assert_not_null(a.message);
			a.data_len = MIN(r->header.data_len, sizeof(a.data));
			memcpy(a.data, r->data, a.data_len);
		}
		a.donated = f->fd >= 0;
	}
	a.seen = fault_disarm();
	f->fd = fd_close(f->fd);
	fd_close(s.fd);
	return a;
}

/* ---- the scene ---- */

/* An ordinary request: its handle, where it has one. */
static uint64_t ordinary(struct scene *c, const struct fault_case *k)
{
	struct answer a = ask(c, k, FAULT_NONE, 0, 0);
	uint64_t handle = 0;

	cr_assert_eq(a.result, 0, "%s: %d", k->name, a.result);
	if (k->rpc == RPC_INDEX_Open)
		handle = ((Gofer__OpenReply *)a.message)->handle;
	else if (k->rpc == RPC_INDEX_ReadDir)
		handle = ((Gofer__ReadDirReply *)a.message)->handle;
	else if (k->rpc == RPC_INDEX_Stats)
		handle = ((Gofer__StatsReply *)a.message)->handles;
	protobuf_c_message_free_unpacked(a.message, NULL);
	return handle;
}

CASE(Open, open, scene_appending)
{
	set_path(s, 0, "dir/many/file");
	q->flags = GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_APPEND;
}
CASE(Open, open, scene_directory)
{
	set_path(s, 0, "dir");
	q->flags = GOFER__OPEN_FLAG__OPEN_PATH;
}

static const struct fault_case scene_hello = MORE(Hello, hello), scene_file = MORE(Open, open),
			       scene_appending = MORE(Open, scene_appending),
			       scene_directory = MORE(Open, scene_directory),
			       scene_listing = MORE(ReadDir, read_dir_keep),
			       scene_stats = MORE(Stats, stats);

/* Handles of the tree that is there now. */
static void open_handles(struct scene *c)
{
	if (!c->greeted)
		return;
	c->file = ordinary(c, &scene_file);
	c->appending = ordinary(c, &scene_appending);
	c->directory = ordinary(c, &scene_directory);
	c->listing = ordinary(c, &scene_listing);
}

static void close_handle(struct scene *c, uint64_t handle)
{
	Gofer__CloseRequest q = GOFER__CLOSE_REQUEST__INIT;

	q.handles = &handle;
	q.n_handles = 1;
	cr_assert_eq(call(c->f, RPC_TYPE_Close, &q.base, NULL), 0);
}

static void close_handles(struct scene *c)
{
	if (!c->greeted)
		return;
	close_handle(c, c->file);
	close_handle(c, c->appending);
	close_handle(c, c->directory);
	close_handle(c, c->listing);
}

static void enter(struct session_fixture *f _unused_)
{
	fault_subject_enter();
}

static void session_begin(struct scene *c, bool greeted)
{
	int r;

	fixture_begin(c->f);
	r = fault_supervise_subject();
	if (r < 0)
		cr_skip_test("no seccomp filter with a listener: %s", strerror(-r));
	cr_assert(fault_wait_idle(0));
	c->greeted = greeted;
	if (greeted)
		(void)ordinary(c, &scene_hello);
	open_handles(c);
}

static void session_end(struct scene *c)
{
	fixture_end(c->f);
	fault_subject_gone();
}

static void scene_make(struct scene *c, uint32_t fs_flags)
{
	struct server_limits limits = SERVER_LIMITS_DEFAULT;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cpu_set_t one;

	/* The three threads take turns: on one CPU that costs a tenth. */
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
	limits.max_threads = 1;
	memset(c, 0, sizeof(*c));
	/* In memory, where there is such a place: the tree is made thousands of times. */
	c->f = fixture_new(&limits, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	c->f->fs_flags = fs_flags | FS_SPECIAL;
	c->f->enter = enter;
	c->dir = open(c->f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(c->dir, 0);
	make_tree(c);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/socket", c->f->dir);
	cr_assert_eq(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	cr_assert_eq(listen(listener, 1024), 0); /* kept open until the test's process ends */
	snapshot(c, c->before);
}

static void scene_unmake(struct scene *c)
{
	close(c->dir);
	fixture_free(c->f);
}

static void restore_tree(struct scene *c)
{
	nftw(c->f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	make_tree(c);
}

/* The tree as it was, if it is not. The handles are of the new files then. */
static void restore(struct scene *c)
{
	char now[SNAPSHOT];

	snapshot(c, now);
	if (strcmp(now, c->before) == 0)
		return;
	close_handles(c);
	restore_tree(c);
	open_handles(c);
}

/* Another session, on the tree as it was. */
static void session_again(struct scene *c, bool greeted)
{
	session_end(c);
	restore_tree(c);
	session_begin(c, greeted);
}

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
static bool made_without_attributes(const struct fault_case *k, const char *now, const char *after)
{
	return k->rpc == RPC_INDEX_Open && fault.failed_call == SYS_statx && !strcmp(now, after);
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
				  made_without_attributes(k, now, normal->after),
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

static void walk_all(uint32_t fs_flags, size_t n_errors)
{
	static const int errors[] = { EIO, EINTR, EMFILE };
	unsigned allocations = 0, calls = 0;
	struct scene c;

	scene_make(&c, fs_flags);
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
	walk_all(0, 3);
}

Test(fault_server, whatever_fails_nothing_is_half_made_without_openat2, .timeout = 100)
{
	walk_all(FS_NO_OPENAT2, 1);
}

Test(fault_server, whatever_fails_nothing_is_half_made_detached, .timeout = 100)
{
	int fd = sys_open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | O_CLOEXEC);

	if (fd < 0)
		cr_skip_test("a detached mount needs CAP_SYS_ADMIN: %s", strerror(-fd));
	close(fd);
	walk_all(FS_DETACHED | FS_NODEV, 1);
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

	scene_make(&c, 0);
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
