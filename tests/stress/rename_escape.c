/*
 * rename_escape.c - no request gets outside while the tree is changed under it (S16, S19).
 *
 * Attackers on the host exchange a directory with a symbolic link to the tree outside (absolute and
 * relative), and move directories out of the tree and back, as fast as they can. Meanwhile a client
 * asks for paths that lead through there, with and without "..", and changes things below. Every
 * object outside is known by its inode; a reply that describes one of them, or carries its content,
 * is an escape. Control: a process that does the same with plain open(2) in the same run. It must
 * escape, else the run proves nothing.
 *
 *     rename_escape [-t SECONDS] BASE      BASE/vol is served as "t", BASE/outside is the tree
 * outside
 */
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/integration/raw.h"

enum { MAX_OUTSIDE = 32 };

struct shared {
	_Atomic bool stop;
	_Atomic uint64_t exchanges; /* by the attackers */
	_Atomic uint64_t control_opens, control_escapes;
	_Atomic uint64_t requests, reached; /* reached: requests that found what they asked for */
	_Atomic uint64_t stops, escapes;
	_Atomic uint64_t longest_ns;
	_Atomic uint64_t by_errno[4096];
};

static struct shared *shared;
static struct {
	ino_t ino[MAX_OUTSIDE];
	size_t n;
	dev_t dev;
} secret;
static const char *base;

static void secret_add(const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "%s/outside%s%s", base, *name ? "/" : "", name);
	if (stat(path, &st) < 0)
		die("%s: %s", path, strerror(errno));
	secret.ino[secret.n++] = st.st_ino;
	secret.dev = st.st_dev;
}

static bool is_secret(uint64_t dev, uint64_t ino)
{
	for (size_t i = 0; i < secret.n; i++)
		if (secret.ino[i] == ino && secret.dev == dev)
			return true;
	return false;
}

/* ---- attackers ---- */

/* vol/a/b is a directory, vol/link_* a link: they change places. */
static void attack_exchange(const char *link)
{
	char dir[PATH_MAX], other[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/vol/a/b", base);
	snprintf(other, sizeof(other), "%s/vol/a/%s", base, link);
	while (!shared->stop)
		if (renameat2(AT_FDCWD, dir, AT_FDCWD, other, RENAME_EXCHANGE) == 0)
			shared->exchanges++;
}

/* vol/m/deep leaves the tree and comes back: what was below the root suddenly has other parents. */
static void attack_move(void)
{
	char in[PATH_MAX], out[PATH_MAX];

	snprintf(in, sizeof(in), "%s/vol/m/deep", base);
	snprintf(out, sizeof(out), "%s/outside/moved", base);
	while (!shared->stop) {
		if (rename(in, out) == 0)
			shared->exchanges++;
		(void)rename(out, in);
	}
}

/* ---- control: what a server that trusts paths would do ---- */

static void control(void)
{
	char path[PATH_MAX], text[64];

	snprintf(path, sizeof(path), "%s/vol/a/b/secret", base);
	while (!shared->stop) {
		int fd = open(path, O_RDONLY);

		shared->control_opens++;
		if (fd >= 0 && read(fd, text, sizeof(text)) > 6 && !memcmp(text, "canary", 6))
			shared->control_escapes++;
		fd_close(fd);
	}
}

/* ---- the client ---- */

static const char *const texts[] = {
	"a/b/secret",
	"a/b",
	"a/b/c/d/secret",
	"a/b/c/d/../../secret",
	"a/b/c/../../b/secret",
	"a/b/..",
	"a/b/../..",
	"a/b/../../..",
	"m/deep/x/y/z",
	"m/deep/x/y/../../../secret",
	"m/deep/x/..",
	"m/deep/x/y/../..",
	"m/deep/..",
	"m/deep/x/y/../../../../secret",
	"m/deep/../../../outside/secret",
};

static bool attr_is_secret(const Gofer__Attr *a)
{
	return a && is_secret(a->dev, a->ino);
}

/* Looks into whatever came back: attributes, the parent's attributes, names, data. */
static bool reply_escapes(const struct raw_reply *r)
{
	static const char *const fields[] = { "attr", "parent", "source_parent", "dest_parent" };
	const ProtobufCMessageDescriptor *d = r->message->descriptor;

	if (r->data_len >= 6 && !memcmp(r->data, "canary", 6))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		const ProtobufCFieldDescriptor *f =
			d->n_fields ? protobuf_c_message_descriptor_get_field_by_name(d, fields[i])
				    : NULL;

		if (f &&
		    attr_is_secret(*(Gofer__Attr **)(void *)((uint8_t *)r->message + f->offset)))
			return true;
	}
	if (d == &gofer__read_dir_reply__descriptor) {
		const Gofer__ReadDirReply *m = (const Gofer__ReadDirReply *)r->message;

		for (size_t i = 0; i < m->n_entries; i++)
			if (attr_is_secret(m->entries[i]->attr))
				return true;
	}
	return false;
}

static void escaped(const char *what, const char *text)
{
	if (shared->escapes++ < 10) {
		printf("  ESCAPE: %s(\"%s\")\n", what, text);
		fflush(stdout);
	}
}

static void request(int sock, uint32_t fs_id, uint64_t base_handle, uint64_t *rng)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	const char *text = texts[random_below(rng, ARRAY_SIZE(texts))];
	char changed[128];
	Gofer__Path p = GOFER__PATH__INIT, p2 = GOFER__PATH__INIT;
	union {
		Gofer__StatRequest stat;
		Gofer__OpenRequest open;
		Gofer__ReadFileRequest read_file;
		Gofer__WriteFileRequest write_file;
		Gofer__ReadDirRequest read_dir;
		Gofer__MkdirRequest mkdir;
		Gofer__UnlinkRequest unlink;
		Gofer__SetAttrRequest set_attr;
		Gofer__SymlinkRequest symlink;
		Gofer__RenameRequest rename;
	} q;
	static const uint16_t types[] = { RPC_TYPE_Stat,     RPC_TYPE_Stat,    RPC_TYPE_Open,
					  RPC_TYPE_ReadFile, RPC_TYPE_ReadDir, RPC_TYPE_WriteFile,
					  RPC_TYPE_Mkdir,    RPC_TYPE_Unlink,  RPC_TYPE_SetAttr,
					  RPC_TYPE_Symlink,  RPC_TYPE_Rename,  RPC_TYPE_Open };
	uint16_t type = types[random_below(rng, ARRAY_SIZE(types))];
	const struct rpc_info *rpc = rpc_find(type);
	uint64_t start, took;
	bool changes = rpc->flags & RPC_WRITES, creates = false;
	int e;

	protobuf_c_message_init(rpc->request, &q);
	snprintf(changed, sizeof(changed), "%s%s", text,
		 changes && type != RPC_TYPE_SetAttr ? "/made" : "");
	p.fs_id = p2.fs_id = fs_id;
	/* From a held directory that moves, or from the root. */
	if (base_handle && random_below(rng, 3) == 0) {
		static const char *const from[] = { "..",           "../..",           "../../..",
						    "../../secret", "../../../secret", "x",
						    "y/z" };

		p.base_handle = base_handle;
		snprintf(changed, sizeof(changed), "%s%s",
			 from[random_below(rng, ARRAY_SIZE(from))],
			 changes && type != RPC_TYPE_SetAttr ? "/made" : "");
	}
	p.path = BYTES(changed);
	if (!changes && random_below(rng, 2))
		p.follow = 8;
	p2.path = BYTES("a/b/made2");
	*(Gofer__Path **)(void *)((uint8_t *)&q + rpc->request->fields[0].offset) = &p;
	switch (type) {
	case RPC_TYPE_Open:
		creates = random_below(rng, 2);
		q.open.flags = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DONATE |
			       GOFER__OPEN_FLAG__OPEN_ONLY_DONATED;
		if (creates) {
			p.follow = 0;
			q.open.flags |= GOFER__OPEN_FLAG__OPEN_CREATE;
			q.open.mode = 0600;
		}
		break;
	case RPC_TYPE_ReadFile:
		q.read_file.count = 64;
		break;
	case RPC_TYPE_ReadDir:
		q.read_dir.attrs = true;
		break;
	case RPC_TYPE_Symlink:
		q.symlink.target = BYTES("made-by-client");
		break;
	case RPC_TYPE_SetAttr:
		q.set_attr.mask = GOFER__SET_ATTR_MASK__SET_MODE;
		q.set_attr.mode = 0751;
		break;
	case RPC_TYPE_Rename:
		q.rename.dest = &p2;
		break;
	default:
		break;
	}
	start = clock_ns();
	e = raw_call_fd(sock, type, &q, type == RPC_TYPE_WriteFile ? "data" : NULL,
			type == RPC_TYPE_WriteFile ? 4 : 0, -1, &r);
	took = clock_ns() - start;
	shared->requests++;
	shared->longest_ns = MAX(shared->longest_ns, took);
	if (e < 0)
		die("the session ended: %s", strerror(-e));
	if (r.kind == FRAME_STOP) {
		shared->stops++;
		return;
	}
	if (r.kind == FRAME_ERROR) {
		shared->by_errno[r.error]++;
		return;
	}
	shared->reached++;
	if (reply_escapes(&r))
		escaped(rpc->name, changed);
	if (r.fd >= 0) {
		char text_read[8] = "";
		struct stat st;

		if (fstat(r.fd, &st) < 0 || is_secret(st.st_dev, st.st_ino) ||
		    (pread(r.fd, text_read, 6, 0) == 6 && !memcmp(text_read, "canary", 6)))
			escaped("Open, by its donation", changed);
	}
	if (type == RPC_TYPE_Open && ((Gofer__OpenReply *)r.message)->handle) {
		uint64_t handle = ((Gofer__OpenReply *)r.message)->handle;
		_cleanup_reply_ struct raw_reply closed = RAW_REPLY_NULL;
		Gofer__CloseRequest c = GOFER__CLOSE_REQUEST__INIT;

		c.handles = &handle;
		c.n_handles = 1;
		(void)raw_call(sock, RPC_TYPE_Close, &c, &closed);
	}
}

static void client(uint64_t seed)
{
	uint32_t fs_id;
	int sock = raw_session("t", &fs_id);
	Gofer__Path p = GOFER__PATH__INIT;
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	uint64_t handle = 0, rng = seed;

	p.fs_id = fs_id;
	p.path = BYTES("m/deep/x/y");
	q.path = &p;
	q.flags = GOFER__OPEN_FLAG__OPEN_PATH;
	while (!shared->stop) {
		if (!handle) { /* it may be outside just now */
			_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;

			if (raw_call(sock, RPC_TYPE_Open, &q, &r) == 0 && r.kind == FRAME_OK)
				handle = ((Gofer__OpenReply *)r.message)->handle;
		}
		request(sock, fs_id, handle, &rng);
	}
	close(sock);
}

static void spawn(void (*run)(uint64_t), uint64_t argument)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(argument);
		fflush(stdout);
		_exit(0);
	}
}

static void run_attack(uint64_t which)
{
	if (which == 0)
		attack_exchange("link_abs");
	else if (which == 1)
		attack_exchange("link_rel");
	else
		attack_move();
}

static void run_control(uint64_t argument _unused_)
{
	control();
}

int main(int argc, char **argv)
{
	uint64_t seconds = option_number(argc, argv, "-t", 3);
	const struct timespec length = { .tv_sec = (time_t)seconds };
	bool failed = false;
	int status;

	if (argc < 2)
		die("usage: rename_escape [-t SECONDS] BASE");
	base = argv[argc - 1];
	secret_add("");
	secret_add("secret");
	secret_add("c");
	secret_add("c/d");
	secret_add("c/d/secret");
	{ /* and whatever is above the tree */
		struct stat st;

		if (stat(base, &st) < 0)
			die("%s", base);
		secret.ino[secret.n++] = st.st_ino;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		die("mmap");
	fflush(stdout);
	for (uint64_t i = 0; i < 3; i++)
		spawn(run_attack, i);
	spawn(run_control, 0);
	for (uint64_t i = 1; i <= 2; i++)
		spawn(client, i * UINT64_C(0x9e3779b97f4a7c15));
	/* How long the race runs is its parameter, not a wait for something. */
	clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
	shared->stop = true;
	while (wait(&status) > 0)
		failed |= status != 0;
	printf("%lu s: %lu exchanges and moves; control: %lu escapes in %lu opens; gofer: %lu "
	       "requests, %lu found what they asked for, %lu stopped, longest %.1f ms\n",
	       seconds, shared->exchanges, shared->control_escapes, shared->control_opens,
	       shared->requests, shared->reached, shared->stops, (double)shared->longest_ns / 1e6);
	for (int i = 1; i < 4096; i++)
		if (shared->by_errno[i])
			printf("  %-12s %lu\n", strerrorname_np(i) ? strerrorname_np(i) : "?",
			       shared->by_errno[i]);
	check(!failed, "every process ended well");
	check(shared->control_escapes > 0, "the control escapes: the race is real");
	check(shared->escapes == 0, "S16 S19 escapes through the gofer: %lu", shared->escapes);
	check(shared->reached > shared->requests / 100, "requests do arrive: %lu of %lu",
	      shared->reached, shared->requests);
	check(shared->longest_ns < UINT64_C(1000000000), "S27: no request starves: longest %.1f ms",
	      (double)shared->longest_ns / 1e6);
	return proof_end();
}
