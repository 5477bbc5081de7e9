/*
 * reconnect.c - sessions that lose their connections (cutter.h): for every RPC, wherever the cut is,
 * the outcome is success with exactly one execution, or a definite error; and what a session holds is
 * there again afterwards, or is known to be gone.
 *
 *	reconnect DIR SOCKET rows | handles | traffic | ends [kept]     DIR is what the server serves as "t"; kept: it keeps sessions
 *	reconnect DIR SOCKET restart | other      says "ready" when files are open; goes on after a line, when another server is there
 *	reconnect DIR SOCKET identity             of a volume that delegates
 *	reconnect DIR SOCKET relay                lines from standard input: once BYTES (downwards), allow; each is answered
 */
#include <sys/xattr.h>

#include "tests/integration/cutter.h"
#include "tests/unit/good_request.h"

static const char *dir;
static char address[128];
static struct cutter *cutter;
static bool kept;

static const char *host(const char *name)
{
	static _Thread_local char path[4][512];
	static _Thread_local unsigned next;
	char *at = path[++next % 4];

	snprintf(at, sizeof(path[0]), "%s/%s", dir, name);
	return at;
}

static void put(const char *name, const char *content)
{
	FILE *f = fopen(host(name), "we");

	if (!f || fputs(content, f) < 0 || fclose(f) != 0)
		die("%s: %s", host(name), strerror(errno));
}

static off_t size_of(const char *name)
{
	struct stat st;

	return stat(host(name), &st) < 0 ? -1 : st.st_size;
}

static struct gofer_session *session_patient(uint32_t ms)
{
	struct gofer_session_options o = { .reconnect_ms = ms };
	struct gofer_session *s;

	if (gofer_session_open(address, &o, &s) < 0)
		die("%s", gofer_message());
	return s;
}

static unsigned reconnects(struct gofer_session *s)
{
	struct gofer_stats st;

	gofer_session_get_stats(s, &st);
	return st.reconnects;
}

/* ---- every row ---- */

static uint64_t open_raw(struct gofer_session *s, uint32_t fs, const char *name, uint32_t flags)
{
	Gofer__OpenRequest m = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path p = GOFER__PATH__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Open, .message = &m.base, .fd = -1 };
	struct gofer_reply reply;
	uint64_t handle;

	p.fs_id = fs;
	p.path = (ProtobufCBinaryData){ strlen(name), (uint8_t *)name };
	m.path = &p;
	m.flags = flags;
	if (gofer_call(s, &q, &reply) < 0)
		die("open %s: %s", name, gofer_message());
	handle = ((Gofer__OpenReply *)reply.message)->handle;
	gofer_reply_free(&reply);
	return handle;
}

static void set_path(Gofer__Path *p, uint32_t fs, const char *text)
{
	p->fs_id = fs;
	p->path = (ProtobufCBinaryData){ strlen(text), (uint8_t *)text };
}

/* What the row's request is about: names and contents as good as new. */
static void set_scene(void)
{
	static const char *const made[] = { "made", "victim", "made-dir" };

	for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
		(void)unlink(host(made[i]));
		(void)rmdir(host(made[i]));
	}
	put("f", "content");
	put("g", "");
	put("victim", "victim");
	if (symlink("f", host("l")) < 0 && errno != EEXIST)
		die("%s: %s", host("l"), strerror(errno));
}

struct row {
	const struct rpc_info *rpc;
	struct good_request q;
	uint64_t handles[2];
	const void *data;
	size_t data_len;
	bool creates; /* Open: with CREATE */
};

static void make_row(struct row *row, struct gofer_session *s, uint32_t fs)
{
	struct good_request *q = &row->q;

	good_request_make(q, row->rpc);
	set_path(&q->paths[0], fs, "f");
	set_path(&q->paths[1], fs, "made");
	row->handles[0] = row->handles[1] = 0;
	if (!(row->rpc->flags & (RPC_PATH | RPC_CONTROL)) || row->rpc->type == RPC_TYPE_Close) {
		row->handles[0] = open_raw(s, fs, "f", GOFER__OPEN_FLAG__OPEN_READ);
		row->handles[1] =
			open_raw(s, fs, "g",
				 GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE |
					 GOFER__OPEN_FLAG__OPEN_APPEND);
	}
	row->data = NULL;
	row->data_len = 0;
	switch (row->rpc->type) {
	case RPC_TYPE_Open:
		if (row->creates) {
			q->open.flags = GOFER__OPEN_FLAG__OPEN_WRITE |
					GOFER__OPEN_FLAG__OPEN_CREATE |
					GOFER__OPEN_FLAG__OPEN_EXCLUSIVE;
			set_path(&q->paths[0], fs, "made");
		}
		break;
	case RPC_TYPE_ReadFile:
		q->read_file.count = 100;
		break;
	case RPC_TYPE_ReadDir:
		q->read_dir.keep = true;
		set_path(&q->paths[0], fs, "");
		break;
	case RPC_TYPE_ReadLink:
		set_path(&q->paths[0], fs, "l");
		break;
	case RPC_TYPE_WriteFile:
		q->write_file.exclusive = true;
		q->write_file.mode = 0644;
		row->data = "payload";
		row->data_len = 7;
		/* fall through */
	case RPC_TYPE_Mkdir:
	case RPC_TYPE_Mknod:
	case RPC_TYPE_Symlink:
		set_path(&q->paths[0], fs, "made");
		break;
	case RPC_TYPE_Unlink:
	case RPC_TYPE_Rename:
		set_path(&q->paths[0], fs, "victim");
		break;
	case RPC_TYPE_Link:
		q->paths[0].nofollow = true;
		break;
	case RPC_TYPE_SetAttr:
		q->set_attr.mode = 0600;
		break;
	case RPC_TYPE_SetXattr:
		q->set_xattr.flags = 1; /* ONLY_CREATE */
		row->data = "v";
		row->data_len = 1;
		(void)removexattr(host("f"), "user.x");
		break;
	case RPC_TYPE_RemoveXattr:
		(void)setxattr(host("f"), "user.x", "v", 1, 0);
		break;
	case RPC_TYPE_Read:
		q->read.handle = row->handles[0];
		q->read.count = 100;
		break;
	case RPC_TYPE_Write:
		q->write.handle = row->handles[1];
		row->data = "payload";
		row->data_len = 7;
		break;
	case RPC_TYPE_Sync:
		q->sync.handles = row->handles;
		q->sync.n_handles = 1;
		break;
	case RPC_TYPE_Allocate:
		q->allocate.handle = row->handles[1];
		q->allocate.length = 4096;
		break;
	case RPC_TYPE_Seek:
		q->seek.handle = row->handles[0];
		break;
	case RPC_TYPE_Copy:
		q->copy.source = row->handles[0];
		q->copy.dest = row->handles[1];
		q->copy.length = 7;
		break;
	case RPC_TYPE_Close:
		q->close.handles = row->handles;
		q->close.n_handles = 1;
		break;
	default:
		break;
	}
}

static int call_row(struct row *row, struct gofer_session *s)
{
	struct gofer_request q = { .type = row->rpc->type,
				   .message = &row->q.message,
				   .data = row->data,
				   .data_len = row->data_len,
				   .fd = -1 };
	struct gofer_reply reply;
	int r = gofer_call(s, &q, &reply);

	if (r == 0 && row->rpc->type == RPC_TYPE_Open)
		gofer_handle_close(s, ((Gofer__OpenReply *)reply.message)->handle);
	if (r == 0 && row->rpc->type == RPC_TYPE_ReadDir)
		gofer_handle_close(s, ((Gofer__ReadDirReply *)reply.message)->handle);
	if (r == 0)
		gofer_reply_free(&reply);
	for (unsigned i = 0; i < 2; i++)
		gofer_handle_close(s, row->handles[i]);
	return r;
}

static void cut_row(struct gofer_session *s, uint32_t fs, const struct rpc_info *rpc, bool creates)
{
	struct row row = { .rpc = rpc, .creates = creates };
	/* Who asks again, and who is told once more. */
	const bool repeats = rpc->type == RPC_TYPE_Open      ? !creates
			     : rpc->type == RPC_TYPE_ReadDir ? true
			     : rpc->type == RPC_TYPE_Hello   ? kept
			     : rpc->type == RPC_TYPE_Cancel  ? false
							     : rpc->flags & RPC_IDEMPOTENT;
	const bool replays = kept && !(rpc->flags & RPC_IDEMPOTENT) &&
			     rpc->type != RPC_TYPE_ReadDir && rpc->type != RPC_TYPE_Hello;
	int plain;

	set_scene();
	make_row(&row, s, fs);
	(void)cutter_take(cutter, rpc->type);
	plain = call_row(&row, s);
	check(cutter_take(cutter, rpc->type) ==
		      (plain == -EOPNOTSUPP && rpc->flags & RPC_TAKES_FD ? 0 : 1),
	      "%s%s, uncut: %s", rpc->name, creates ? " (create)" : "",
	      plain ? strerrorname_np(-plain) : "ok");
	if (rpc->flags & RPC_TAKES_FD)
		return; /* no descriptor passes on a stream */
	for (enum cut cut = CUT_BEFORE; cut < CUT_MODES; cut++) {
		const unsigned arrived = cut == CUT_AFTER || cut == CUT_REPLY;
		unsigned n, before;
		int r;

		set_scene();
		make_row(&row, s, fs);
		(void)cutter_take(cutter, rpc->type);
		before = reconnects(s);
		cutter_arm(cutter, cut, rpc->type, 0);
		r = call_row(&row, s);
		/* ... but for the Hello of the other connection, and closes of before, which are sent again. */
		n = cutter_take(cutter, rpc->type) - (rpc->type == RPC_TYPE_Hello);
		if (rpc->type == RPC_TYPE_Close && n > 1)
			n = 1;
		/* S120: never twice, unless that is the same; nothing in between. */
		check(replays   ? r == plain && n == 1
		      : repeats ? r == plain && n == 1 + arrived
				: r == -ECONNRESET && n == arrived,
		      "S120: %s%s, cut %s: %s, %u times", rpc->name, creates ? " (create)" : "",
		      cut_names[cut], r ? strerrorname_np(-r) : "ok", n);
		/* Whatever had happened, the session goes on. */
		row.rpc = rpc_find(RPC_TYPE_Ping);
		make_row(&row, s, fs);
		r = call_row(&row, s);
		row.rpc = rpc;
		if (r < 0 || reconnects(s) != before + 1)
			check(false, "the session after %s: %s, %u reconnects", rpc->name,
			      gofer_message(), reconnects(s) - before);
		if (rpc->type == RPC_TYPE_Write && size_of("g") != (arrived || kept ? 7 : 0))
			check(false, "%lld bytes appended", (long long)size_of("g"));
	}
}

static void rows(void)
{
	struct gofer_session *s = session_patient(0);
	uint32_t fs = filesystem_id(s, "t");

	for (size_t i = 0; i < RPC_COUNT; i++) {
		cut_row(s, fs, &rpc_table[i], false);
		if (rpc_table[i].type == RPC_TYPE_Open)
			cut_row(s, fs, &rpc_table[i], true);
	}
	gofer_session_close(s);
}

/* ---- what a session holds ---- */

static int read_error(struct gofer_file *f)
{
	char byte;

	return (int)gofer_pread(f, &byte, 1, 0);
}

static void check_reads(struct gofer_file *f, const char *content, const char *what)
{
	char buf[64];
	ssize_t n = gofer_pread(f, buf, sizeof(buf), 0);

	check(n == (ssize_t)strlen(content) && memcmp(buf, content, (size_t)n) == 0, "%s: %zd",
	      what, n);
}

static void check_stale(int r, const char *what)
{
	if (kept) {
		check(r >= 0, "%s: its handle was kept: %d", what, r);
		return;
	}
	check(r == -ESTALE, "S120: %s: %s", what, r < 0 ? strerrorname_np(-r) : "there");
}

static struct gofer_file *open_file(struct gofer_namespace *ns, const char *path, int flags)
{
	struct gofer_file *f;

	if (gofer_open(ns, path, flags, 0644, &f) < 0)
		die("%s", gofer_message());
	return f;
}

struct held {
	struct gofer_file *kept, *moved, *replaced, *removed, *unnamed, *appended, *deep;
	struct gofer_dir *list;
	unsigned listed;
};

static void hold(struct gofer_namespace *ns, struct held *h)
{
	struct gofer_dirent e;

	(void)unlink(host("d/e2/deep"));
	(void)rmdir(host("d/e2"));
	put("kept", "kept");
	put("moved", "moved");
	put("replaced", "replaced");
	put("removed", "removed");
	put("appended", "one");
	(void)mkdir(host("d"), 0755);
	(void)mkdir(host("d/e"), 0755);
	put("d/e/deep", "deep");
	(void)mkdir(host("many"), 0755);
	for (unsigned i = 0; i < 2200; i++) {
		char name[64];

		snprintf(name, sizeof(name), "many/%u", i);
		put(name, "");
	}
	h->kept = open_file(ns, "/kept", O_RDONLY);
	h->moved = open_file(ns, "/moved", O_RDWR);
	h->replaced = open_file(ns, "/replaced", O_RDWR);
	h->removed = open_file(ns, "/removed", O_RDONLY);
	h->appended = open_file(ns, "/appended", O_RDWR | O_APPEND | O_CREAT);
	h->unnamed = open_file(ns, "/", O_RDWR | O_TMPFILE);
	if (gofer_chdir(ns, "/d") < 0)
		die("%s", gofer_message());
	h->deep = open_file(ns, "e/../e/./deep", O_RDONLY);
	if (gofer_opendir(ns, "/many", 0, &h->list) < 0)
		die("%s", gofer_message());
	for (h->listed = 0; h->listed < 5; h->listed++)
		if (gofer_readdir(h->list, &e) != 1)
			die("%s", gofer_message());
	if (gofer_rename(ns, "/moved", "/moved-away", 0) < 0 ||
	    gofer_rename(ns, "/d/e", "/d/e2", 0) < 0)
		die("%s", gofer_message());
}

/* Meanwhile, by somebody else. */
static void disturb(void)
{
	(void)unlink(host("replaced"));
	put("replaced.new", "another");
	(void)rename(host("replaced.new"), host("replaced"));
	(void)unlink(host("removed"));
}

static void look(struct gofer_session *s, struct gofer_namespace *ns, struct held *h)
{
	struct gofer_dirent e;
	struct stat st;
	int r;

	check_reads(h->kept, "kept", "an open file is read on");
	check_reads(h->moved, "moved", "... that the session has renamed");
	check_reads(h->deep, "deep", "... in a directory that it has renamed");
	r = (int)gofer_pwrite(h->moved, "MOVED", 5, 0);
	check(r == 5 && size_of("moved-away") == 5, "... and written: %d", r);
	r = (int)gofer_write(h->appended, "two", 3);
	check(r == 3 && size_of("appended") == 6,
	      "a file is appended to, and not created again: %d", r);
	check_reads(h->appended, "onetwo", "... and holds both");
	check_stale(read_error(h->replaced), "another file by the same name");
	check_stale((int)gofer_pwrite(h->replaced, "x", 1, 0), "... which is not written");
	check(size_of("replaced") == 7, "... by its path");
	check_stale(read_error(h->removed), "a file that was removed");
	check_stale(read_error(h->unnamed), "a file that had no name");
	r = gofer_stat(ns, "e2/deep", 0, &st);
	check(r == 0 && st.st_size == 4, "the current directory is where it was: %d", r);
	while ((r = gofer_readdir(h->list, &e)) == 1)
		h->listed++;
	check(r == 0 && h->listed == 2200, "a listing goes on where it was: %u entries", h->listed);
	check(reconnects(s) == 1, "one reconnect");
	gofer_close(h->kept);
	gofer_close(h->moved);
	gofer_close(h->replaced);
	gofer_close(h->removed);
	gofer_close(h->appended);
	gofer_close(h->unnamed);
	gofer_close(h->deep);
	gofer_closedir(h->list);
	/* New handles are told from old ones, whatever numbers the server gives. */
	for (unsigned i = 0; i < 3; i++) {
		struct gofer_file *a = open_file(ns, "/kept", O_RDONLY),
				  *b = open_file(ns, "/moved-away", O_RDONLY);

		check_reads(a, "kept", "a file opened afterwards");
		check_reads(b, "MOVED", "... and another");
		gofer_close(a);
		gofer_close(b);
	}
}

/* A server whose answers to a session are asked for: how many handles it holds. */
static uint32_t handles_held(struct gofer_session *s)
{
	Gofer__StatsRequest m = GOFER__STATS_REQUEST__INIT;
	struct gofer_request q = { .type = RPC_TYPE_Stats, .message = &m.base, .fd = -1 };
	struct gofer_reply reply;
	uint32_t n;

	if (gofer_session_flush(s) < 0 || gofer_call(s, &q, &reply) < 0)
		die("%s", gofer_message());
	n = ((Gofer__StatsReply *)reply.message)->handles;
	gofer_reply_free(&reply);
	return n;
}

static void handles(enum gofer_interop interop)
{
	const struct gofer_mount_options options = { .interop = interop };
	struct gofer_session *s = session_patient(0);
	struct gofer_namespace *ns = namespace_of(s, "t", &options);
	struct held h;

	hold(ns, &h);
	disturb();
	cutter_cut(cutter, -1, -1);
	look(s, ns, &h);
	if (interop == GOFER_INTEROP_SHARED) {
		if (gofer_chdir(ns, "/") < 0)
			die("%s", gofer_message());
		/* A Close has no reply, and may still be under way in another thread of the server. */
		for (unsigned i = 0; i < 100000 && handles_held(s) != 0; i++)
			sched_yield();
		check(handles_held(s) == 0, "no handle is left");
	}
	gofer_namespace_free(ns);
	gofer_session_close(s);
}

static void restart(void)
{
	struct gofer_session *s = session_patient(0);
	struct gofer_namespace *ns = namespace_of(s, "t", NULL);
	struct held h;
	char line[64];

	hold(ns, &h);
	printf("ready\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		die("nobody says that it goes on");
	disturb();
	look(s, ns, &h);
	gofer_namespace_free(ns);
	gofer_session_close(s);
}

/* The server that is there afterwards serves another directory as "t". */
static void other(void)
{
	struct gofer_session *s = session_patient(0);
	struct gofer_namespace *ns = namespace_of(s, "t", NULL);
	struct stat st;
	char line[64];
	int r;

	printf("ready\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		die("nobody says that it goes on");
	r = gofer_stat(ns, "/", 0, &st);
	check(r == -ENOTCONN && gofer_session_status(s) == -ENOTCONN,
	      "S120: a server of another directory: %s", gofer_message());
	gofer_namespace_free(ns);
	gofer_session_close(s);
}

static void identity(void)
{
	const gid_t group = 54322;
	struct gofer_session *s = session_patient(0);
	struct gofer_namespace *ns = namespace_of(s, "t", NULL);
	struct gofer_file *f;
	struct stat st = { 0 };

	if (gofer_session_set_identity(s, 3, 54321, 54321, &group, 1) < 0)
		die("%s", gofer_message());
	put("private", "private");
	if (chmod(host("private"), 0640) < 0 || chown(host("private"), 0, group) < 0)
		die("private: %s", strerror(errno));
	f = open_file(ns, "/private", O_RDONLY);
	cutter_cut(cutter, -1, -1);
	check_reads(f, "private", "a file that only an identity may open");
	gofer_close(f);
	f = open_file(ns, "/whose", O_WRONLY | O_CREAT);
	gofer_close(f);
	check(stat(host("whose"), &st) == 0 && st.st_uid == 54321, "the identity is who it was: %u",
	      st.st_uid);
	gofer_namespace_free(ns);
	gofer_session_close(s);
}

static void relay(void)
{
	char line[64];
	long bytes;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "once %ld", &bytes) == 1) {
			pthread_mutex_lock(&cutter->lock);
			cutter->down = bytes;
			cutter->once = true;
			pthread_mutex_unlock(&cutter->lock);
		} else {
			pthread_mutex_lock(&cutter->lock);
			cutter->once = false;
			atomic_store(&cutter->refuses, false);
			pthread_mutex_unlock(&cutter->lock);
		}
		printf("done\n");
		fflush(stdout);
	}
}

/* ---- much at once ---- */

struct counted {
	unsigned ok, reset, other;
};

static void count_result(void *userdata, int result, struct gofer_reply *reply)
{
	struct counted *c = userdata;

	(void)reply;
	if (result == 0)
		c->ok++;
	else if (result == -ECONNRESET)
		c->reset++;
	else
		c->other++;
}

static void submit_all(struct gofer_session *s, uint32_t fs, bool makes, unsigned n,
		       struct counted *c)
{
	for (unsigned i = 0; i < n; i++) {
		Gofer__MkdirRequest mk = GOFER__MKDIR_REQUEST__INIT;
		Gofer__StatRequest st = GOFER__STAT_REQUEST__INIT;
		Gofer__Path p = GOFER__PATH__INIT;
		struct gofer_request q = { .fd = -1 };
		char name[32] = "";
		int r;

		if (makes)
			snprintf(name, sizeof(name), "made-%u", i);
		set_path(&p, fs, name);
		mk.path = st.path = &p;
		mk.mode = 0755;
		q.type = makes ? RPC_TYPE_Mkdir : RPC_TYPE_Stat;
		q.message = makes ? &mk.base : &st.base;
		while ((r = gofer_submit(s, &q, count_result, c, NULL)) == -EAGAIN)
			if (gofer_session_process(s, -1) < 0)
				die("%s", gofer_message());
		if (r < 0)
			die("%s", gofer_message());
	}
	if (gofer_session_drain(s) < 0)
		die("%s", gofer_message());
}

/* Requests that are submitted, cut in the middle of either direction. */
static void submitted(struct gofer_session *s)
{
	uint32_t fs = filesystem_id(s, "t");

	for (int64_t at = 1000; at < 60000; at += 28666)
		for (unsigned i = 0; i < 4; i++) {
			const bool makes = i & 1, up = i & 2;
			struct counted c = { 0 };
			unsigned there = 0, before = reconnects(s);

			cutter_cut(cutter, up ? at : -1, up ? -1 : at);
			(void)cutter_take(cutter, RPC_TYPE_Mkdir);
			submit_all(s, fs, makes, 500, &c);
			for (unsigned k = 0; k < 500 && makes; k++) {
				char name[32];

				snprintf(name, sizeof(name), "made-%u", k);
				there += rmdir(host(name)) == 0;
			}
			if (!makes) {
				check(c.ok == 500 && reconnects(s) > before,
				      "500 Stats, cut %s after %lld bytes: %u well, %u reconnects",
				      up ? "upwards" : "downwards", (long long)at, c.ok,
				      reconnects(s) - before);
				continue;
			}
			/* S120: each is done once or not at all; done where it says so. */
			check(c.ok + c.reset == 500 && c.ok <= there && (!kept || c.ok == 500) &&
				      there <= cutter_take(cutter, RPC_TYPE_Mkdir),
			      "S120: 500 Mkdirs, cut %s after %lld bytes: %u well, %u not known, "
			      "%u there",
			      up ? "upwards" : "downwards", (long long)at, c.ok, c.reset, there);
		}
}

struct looker {
	struct gofer_namespace *ns;
	_Atomic bool *over;
	unsigned rounds;
	int error;
};

static void *look_again(void *userdata)
{
	struct looker *l = userdata;
	struct stat st;

	while (!atomic_load(l->over) && l->error == 0) {
		struct gofer_file *f;
		char buf[16];
		int r = gofer_stat(l->ns, "/f", 0, &st);

		if (r == 0)
			r = gofer_open(l->ns, "/f", O_RDONLY, 0, &f);
		if (r == 0) {
			ssize_t n = gofer_pread(f, buf, sizeof(buf), 0);

			r = n == 7 ? 0 : n < 0 ? (int)n : -EIO;
			gofer_close(f);
		}
		l->error = r;
		l->rounds++;
	}
	return NULL;
}

static void threads(struct gofer_session *s)
{
	struct gofer_namespace *ns = namespace_of(s, "t", NULL);
	struct looker lookers[6];
	pthread_t ids[ARRAY_SIZE(lookers)];
	unsigned cuts = 0, before = reconnects(s), failed = 0;
	_Atomic bool over = false;

	for (size_t i = 0; i < ARRAY_SIZE(lookers); i++) {
		lookers[i] = (struct looker){ .ns = ns, .over = &over };
		if (pthread_create(&ids[i], NULL, look_again, &lookers[i]))
			die("pthread_create");
	}
	/* Each time somewhere else, once the last one has been noticed. */
	for (unsigned i = 0; i < 12; i++) {
		unsigned seen = reconnects(s);
		const struct timespec pause = { .tv_nsec = 1000000 };

		cutter_cut(cutter, i % 3 ? -1 : 700 + 97 * (int)i,
			   i % 3 == 1 ? 900 + 61 * (int)i : -1);
		cuts++;
		while (reconnects(s) == seen)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	atomic_store(&over, true);
	for (size_t i = 0; i < ARRAY_SIZE(lookers); i++) {
		pthread_join(ids[i], NULL);
		failed += lookers[i].error != 0;
		if (lookers[i].error)
			printf("       thread %zu: %s\n", i, strerrorname_np(-lookers[i].error));
	}
	check(!failed && reconnects(s) >= before + cuts, "%zu threads and %u cuts: %u failed",
	      ARRAY_SIZE(lookers), cuts, failed);
	gofer_namespace_free(ns);
}

/* Bulk data with cuts inside of frames. */
static void bulk(struct gofer_session *s)
{
	enum { SIZE = 1 << 20, STEP = 128 << 10 };
	const struct gofer_mount_options options = { .interop = GOFER_INTEROP_WRITETHROUGH };
	struct gofer_namespace *ns = namespace_of(s, "t", &options);
	uint8_t *data = malloc(SIZE), *back = malloc(SIZE);
	struct gofer_file *f;
	uint64_t seed = 1;
	size_t written = 0;
	unsigned resets = 0;
	FILE *out;

	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)random_next(&seed);
	out = fopen(host("bulk"), "we");
	if (!out || fwrite(data, 1, SIZE, out) != SIZE || fclose(out) != 0)
		die("bulk");
	f = open_file(ns, "/bulk", O_RDWR);
	for (size_t at = 0; at < SIZE; at += STEP) {
		cutter_cut(cutter, -1, 100000 + 1777 * (int64_t)(at / STEP));
		for (size_t got = 0; got < STEP;) {
			ssize_t n = gofer_pread(f, back + at + got, STEP - got, at + got);

			if (n <= 0)
				die("pread: %s", gofer_message());
			got += (size_t)n;
		}
	}
	check(memcmp(data, back, SIZE) == 0, "1 MiB read over 8 cut connections");
	for (size_t i = 0; i < SIZE; i++)
		data[i] ^= 0xff;
	while (written < SIZE) {
		ssize_t n;

		cutter_cut(cutter, 100000 + 3777 * (int64_t)(resets % 7), -1);
		n = gofer_pwrite(f, data + written, MIN((size_t)STEP, SIZE - written), written);
		if (n == -ECONNRESET) {
			resets++;
			/* As whoever gets that does: it looks, or does what makes no difference. */
			n = gofer_pwrite(f, data + written, MIN((size_t)64 << 10, SIZE - written),
					 written);
			if (n == -ECONNRESET)
				continue;
		}
		if (n <= 0)
			die("pwrite: %s", gofer_message());
		written += (size_t)n;
	}
	gofer_close(f);
	out = fopen(host("bulk"), "re");
	if (!out || fread(back, 1, SIZE, out) != SIZE)
		die("bulk");
	fclose(out);
	check(memcmp(data, back, SIZE) == 0 && !(kept && resets),
	      "1 MiB written over cut connections: %u times not known", resets);
	gofer_namespace_free(ns);
	free(data);
	free(back);
}

static void traffic(void)
{
	struct gofer_session *s = session_patient(0);

	put("f", "content");
	submitted(s);
	threads(s);
	bulk(s);
	gofer_session_close(s);
}

/* ---- ends ---- */

static unsigned told_lost, told_back;

static void on_connection(void *userdata, enum gofer_connection what, uint32_t ms)
{
	(void)ms;
	if (what == GOFER_CONNECTION_BACK)
		told_back++;
	else if (++told_lost == 3 && userdata)
		atomic_store(&((struct cutter *)userdata)->refuses, false);
}

struct waiting {
	struct gofer_session *session;
	int result;
};

static void *wait_long(void *userdata)
{
	struct waiting *w = userdata;
	struct row row = { .rpc = rpc_find(RPC_TYPE_Ping) };

	make_row(&row, w->session, 0);
	w->result = call_row(&row, w->session);
	return NULL;
}

static void ends(void)
{
	struct gofer_session_options o = { .reconnect_ms = 600000,
					   .connection = on_connection,
					   .connection_data = cutter };
	struct row row = { .rpc = rpc_find(RPC_TYPE_Ping) };
	struct gofer_session *s;
	struct waiting w;
	pthread_t thread;
	int r;

	/* Nobody lets it through the first times. */
	if (gofer_session_open(address, &o, &s) < 0)
		die("%s", gofer_message());
	atomic_store(&cutter->refuses, true);
	cutter_cut(cutter, -1, -1);
	make_row(&row, s, 0);
	r = call_row(&row, s);
	check(r == 0 && told_lost >= 3 && told_back == 1, "it tries until it is let through: %d",
	      r);

	/* Given up by another thread. */
	o.connection_data = NULL;
	atomic_store(&cutter->refuses, true);
	told_lost = 10;
	cutter_cut(cutter, -1, -1);
	w.session = s;
	if (pthread_create(&thread, NULL, wait_long, &w))
		die("pthread_create");
	gofer_session_abort(s);
	pthread_join(thread, NULL);
	check(w.result == -ENOTCONN && gofer_session_status(s) == -ENOTCONN, "given up: %d",
	      w.result);
	gofer_session_close(s);

	/* Patience ends. */
	atomic_store(&cutter->refuses, false);
	s = session_patient(200);
	atomic_store(&cutter->refuses, true);
	cutter_cut(cutter, -1, -1);
	r = call_row(&row, s);
	check(r == -ENOTCONN && gofer_session_status(s) == -ENOTCONN, "nobody is there in time: %s",
	      gofer_message());
	gofer_session_close(s);
	atomic_store(&cutter->refuses, false);

	/* What cannot be connected to again is lost at once. */
	s = session_patient(UINT32_MAX);
	cutter_cut(cutter, -1, -1);
	r = call_row(&row, s);
	check(r == -ENOTCONN, "not wanted: %s", gofer_message());
	gofer_session_close(s);
	o = (struct gofer_session_options){ .reconnect_ms = 1000 };
	r = gofer_session_open("unix:/nonexistent", &o, &s);
	check(r == -EOPNOTSUPP || r == -ENOENT, "a socket of packets: %s", gofer_message());
}

int main(int argc, char **argv)
{
	if (argc != 4 && argc != 5)
		die("usage: reconnect DIR SOCKET PART");
	dir = argv[1];
	kept = argc == 5;
	snprintf(address, sizeof(address), "unix-stream:%s", argv[2]);
	cutter = cutter_start(argv[2]);
	if (!strcmp(argv[3], "rows"))
		rows();
	else if (!strcmp(argv[3], "handles")) {
		handles(GOFER_INTEROP_SHARED);
		handles(GOFER_INTEROP_WRITETHROUGH);
	} else if (!strcmp(argv[3], "traffic"))
		traffic();
	else if (!strcmp(argv[3], "restart"))
		restart();
	else if (!strcmp(argv[3], "other"))
		other();
	else if (!strcmp(argv[3], "identity"))
		identity();
	else if (!strcmp(argv[3], "relay"))
		relay();
	else if (!strcmp(argv[3], "ends"))
		ends();
	else
		die("%s: no such part", argv[3]);
	cutter_stop(cutter);
	return proof_end();
}
