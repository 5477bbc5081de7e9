/*
 * fault_scene.h - a tree and a session on it whose requests can be made to fail (fault.h), and what is
 * asked about both afterwards.
 */
#pragma once

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
			       scene_stats = MORE(Stats, stats), scene_watch = MORE(Watch, watch);

/* Handles of the tree that is there now. */
static void open_handles(struct scene *c)
{
	if (!c->greeted)
		return;
	c->file = ordinary(c, &scene_file);
	c->appending = ordinary(c, &scene_appending);
	c->directory = ordinary(c, &scene_directory);
	c->listing = ordinary(c, &scene_listing);
	/* The queue of watches comes with the first and stays. */
	(void)ordinary(c, &scene_watch);
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

static void scene_make(struct scene *c, const struct fs_ops *ops, uint32_t fs_flags)
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
	c->f->ops = ops;
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
