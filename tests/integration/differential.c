/*
 * differential.c - the gofer answers what the kernel answers (S92).
 *
 * Two equal random trees. Every operation is done twice by the same random user: on one tree
 * through the gofer (delegate mode, an identity registered for that user), on its twin by a child
 * process that has become that user (setgroups, setresgid, setresuid) and is rooted in the twin by
 * chroot, so that absolute links and ".." mean the same on both sides. The errno must be equal each
 * time, and what the call returned (attributes, data, names); at the end of each batch both trees
 * are compared entry by entry: type, mode, owner, links, size, content, target, all extended
 * attributes with the ACLs.
 *
 * A batch is one pair of trees and a handful of users; all is derived from the seed, which is
 * printed.
 *
 *     differential [-n CASES] [-s SEED] [-b FIRST_BATCH] SERVED_DIR TWIN_DIR      as root
 */
#include <grp.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "proto/rpc.h"
#include "tests/integration/differential_ops.h"

enum {
	USERS = 6,
	MAX_GROUPS = 5,
	FIRST_ID = 2000,
	IDS = 6, /* uids and gids that occur: few, so that they meet */
	BATCH = 250,
	MAX_OBJECTS = 48,
};

struct user {
	uint32_t uid, gid;
	gid_t groups[MAX_GROUPS];
	size_t n_groups;
	pid_t pid;
	int sock; /* to the child */
	struct gofer_session *session;
	struct gofer_namespace *ns;
};

static uint64_t rng;
static const char *served, *twin;
static bool
	links_checked; /* fs.protected_symlinks: decided by who follows, which is not the server */

static uint32_t below(uint32_t n)
{
	return random_below(&rng, n);
}

static bool one_in(uint32_t n)
{
	return below(n) == 0;
}

/* The child: becomes the user, rooted in the twin, and does what it is told. */
static void child_run(const struct user *u, int sock)
{
	struct op op;
	struct outcome o;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The parent's ends of the other children's sockets, or those would never see an end. */
	if (dup2(sock, 3) != 3 || close_range(4, ~0U, 0) < 0)
		_exit(1);
	sock = 3;
	if (chroot(twin) < 0 || chdir("/") < 0 || setgroups(u->n_groups, u->groups) < 0 ||
	    setresgid(u->gid, u->gid, u->gid) < 0 || setresuid(u->uid, u->uid, u->uid) < 0)
		_exit(1);
	while (read(sock, &op, sizeof(op)) == (ssize_t)sizeof(op)) {
		o = (struct outcome){ 0 };
		o.error = -native_do(&op, &o);
		if (write(sock, &o, sizeof(o)) != (ssize_t)sizeof(o))
			break;
	}
	_exit(0);
}

static void user_start(struct user *u, uint32_t id)
{
	int pair[2], r;

	u->uid = FIRST_ID + below(IDS);
	u->gid = FIRST_ID + below(IDS);
	u->n_groups = below(MAX_GROUPS + 1);
	for (size_t i = 0; i < u->n_groups; i++)
		u->groups[i] = FIRST_ID + below(IDS);
	r = gofer_session_set_identity(u->session, id, u->uid, u->gid, u->groups, u->n_groups);
	if (r < 0)
		die("identity %u:%u: %s", u->uid, u->gid, gofer_message());
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	u->pid = fork();
	if (u->pid < 0)
		die("fork");
	if (u->pid == 0)
		child_run(u, pair[1]);
	close(pair[1]);
	u->sock = pair[0];
}

static void user_stop(struct user *u)
{
	u->sock = fd_close(u->sock);
	(void)waitpid(u->pid, NULL, 0);
}

/* ---- random trees ---- */

static struct {
	char path[MAX_OBJECTS][PATH_SIZE];
	bool dir[MAX_OBJECTS];
	size_t n;
} objects;

static uint32_t random_id(void)
{
	return one_in(8) ? 0 : FIRST_ID + below(IDS);
}

static uint32_t random_mode(bool dir)
{
	static const uint16_t common[] = { 0755, 0700, 0644, 0600, 0777, 0666, 0750, 0711, 0 };
	uint32_t mode = one_in(3) ? below(01000) : common[below(ARRAY_SIZE(common))];

	if (dir && !one_in(6))
		mode |= one_in(2) ? 0111 : 0777; /* else too few walks arrive anywhere */
	if (one_in(6))
		mode |= S_ISVTX;
	if (one_in(6))
		mode |= S_ISGID;
	if (one_in(12))
		mode |= S_ISUID;
	return mode;
}

/*
 * A POSIX ACL as the kernel stores it: version, then entries of {tag, permissions, id}, sorted by
 * tag and id. Sometimes wrong on purpose.
 */
static size_t random_acl(uint8_t value[VALUE_SIZE])
{
	enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 0x10, OTHER = 0x20 };
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} e[16];
	size_t n = 0, named = 0;
	const uint32_t version = 2;

#define ENTRY(t, i) (e[n].tag = (t), e[n].perm = (uint16_t)below(8), e[n].id = (i), n++)
	ENTRY(USER_OBJ, UINT32_MAX);
	for (uint32_t id = 0; id < IDS; id++)
		if (one_in(4))
			ENTRY(USER, FIRST_ID + id), named++;
	ENTRY(GROUP_OBJ, UINT32_MAX);
	for (uint32_t id = 0; id < IDS; id++)
		if (one_in(4))
			ENTRY(GROUP, FIRST_ID + id), named++;
	if (named ? !one_in(20) : one_in(3))
		ENTRY(MASK, UINT32_MAX);
	ENTRY(OTHER, UINT32_MAX);
#undef ENTRY
	if (one_in(40))
		e[below((uint32_t)n)].tag = 7;
	memcpy(value, &version, 4);
	for (size_t i = 0; i < n; i++) {
		memcpy(value + 4 + i * 8, &e[i].tag, 2);
		memcpy(value + 6 + i * 8, &e[i].perm, 2);
		memcpy(value + 8 + i * 8, &e[i].id, 4);
	}
	return 4 + n * 8;
}

static void both_path(char out[2][PATH_MAX], const char *path)
{
	snprintf(out[0], PATH_MAX, "%s/%s", served, path);
	snprintf(out[1], PATH_MAX, "%s/%s", twin, path);
}

/* Makes one object, the same in both trees, as root. */
static void object_make(const char *path, uint32_t what)
{
	uint32_t mode = random_mode(what < 2), uid = random_id(), gid = random_id();
	bool acl = one_in(3), def = one_in(3), attr = one_in(3);
	uint8_t value[2][VALUE_SIZE];
	size_t len[2] = { random_acl(value[0]), random_acl(value[1]) };
	size_t size = below(40), target = below((uint32_t)objects.n);
	char host[2][PATH_MAX], text[PATH_SIZE + 16];

	both_path(host, path);
	snprintf(text, sizeof(text), "%s%s",
		 one_in(2)   ? "/"
		 : one_in(2) ? "../"
			     : "",
		 objects.n ? objects.path[target] : "nowhere");
	for (int i = 0; i < 2; i++) {
		int fd;

		if (what < 2) {
			if (mkdir(host[i], 0700) < 0)
				return;
		} else if (what == 2) {
			if (symlink(text, host[i]) < 0 || lchown(host[i], uid, gid) < 0)
				return;
			continue;
		} else if (what == 3) {
			if (mknod(host[i], S_IFIFO | 0600, 0) < 0)
				return;
		} else {
			fd = open(host[i], O_CREAT | O_EXCL | O_WRONLY, 0600);
			if (fd < 0)
				return;
			if (write(fd, "0123456789012345678901234567890123456789", size) < 0)
				die("write");
			close(fd);
		}
		if (chown(host[i], uid, gid) < 0 || chmod(host[i], mode) < 0)
			die("%s: %s", host[i], strerror(errno));
		if (acl)
			(void)setxattr(host[i], "system.posix_acl_access", value[0], len[0], 0);
		if (def && what < 2)
			(void)setxattr(host[i], "system.posix_acl_default", value[1], len[1], 0);
		if (attr && what != 3)
			(void)setxattr(host[i], "user.a", "value", 5, 0);
	}
	snprintf(objects.path[objects.n], PATH_SIZE, "%s", path);
	objects.dir[objects.n++] = what < 2;
}

static void remove_tree(const char *path)
{
	DIR *d = opendir(path);

	for (const struct dirent *e; d && (e = readdir(d));) {
		char child[PATH_MAX];

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(child, sizeof(child), "%.3000s/%s", path, e->d_name);
		if (unlink(child) == 0)
			continue;
		remove_tree(child);
		if (rmdir(child) < 0)
			die("rmdir %s: %s", child, strerror(errno));
	}
	if (d)
		closedir(d);
}

static void trees_make(void)
{
	char path[PATH_SIZE];

	remove_tree(served);
	remove_tree(twin);
	objects.n = 0;
	for (int i = 0; i < 40; i++) {
		const char *parent = "";
		uint32_t what = i < 6 ? 0 : below(8);

		if (objects.n && !one_in(4)) {
			size_t p = below((uint32_t)objects.n);

			if (objects.dir[p] && strlen(objects.path[p]) < 60)
				parent = objects.path[p];
		}
		if (what == 2 && links_checked)
			what = 4;
		snprintf(path, sizeof(path), "%s%s%c%d", parent, *parent ? "/" : "",
			 what < 2 ? 'd' : 'f', i);
		object_make(path, what);
	}
	for (int i = 0; i < 2; i++) {
		static const uint16_t modes[] = { 0777, 01777, 0755 };
		const char *root = i ? twin : served;

		if (chmod(root, modes[objects.n % ARRAY_SIZE(modes)]) < 0)
			die("chmod %s", root);
	}
}

/* ---- random operations ---- */

static void random_path(char out[PATH_SIZE])
{
	const char *base = objects.n && !one_in(10) ? objects.path[below((uint32_t)objects.n)] : "";
	char text[PATH_SIZE - 40];

	snprintf(text, sizeof(text), "%s", base);
	if (one_in(12)) { /* a detour somewhere in the middle */
		char *slash = strchr(text, '/');

		if (slash) {
			char rest[PATH_SIZE];

			snprintf(rest, sizeof(rest), "%s", slash);
			snprintf(slash, sizeof(text) - (size_t)(slash - text), "/../%.*s%.90s",
				 (int)MIN(slash - text, 20), text, rest);
		}
	}
	snprintf(out, PATH_SIZE, "%s%s", one_in(4) ? "/" : "", text);
	if (*text && one_in(4))
		snprintf(out + strlen(out), 24, "/n%u", below(4));
	else if (!*text && !one_in(4))
		snprintf(out + strlen(out), 24, "n%u", below(4));
	else if (one_in(25))
		snprintf(out + strlen(out), 24, "/..");
	else if (one_in(25))
		snprintf(out + strlen(out), 24, "/.");
	if (one_in(25) && *out)
		snprintf(out + strlen(out), 4, "/");
	if (!*out && !one_in(30))
		snprintf(out, PATH_SIZE, ".");
}

static void random_xattr(struct op *op)
{
	static const char *const names[] = { "user.a", "user.b", "system.posix_acl_access",
					     "system.posix_acl_default" };
	size_t which = below(ARRAY_SIZE(names));

	snprintf(op->name, sizeof(op->name), "%s", names[which]);
	if (which < 2) {
		op->value_len = below(20);
		memset(op->value, 'v', op->value_len);
	} else {
		op->value_len = random_acl(op->value);
	}
}

static void random_op(struct op *op)
{
	static const int creation[] = { 0, 0, 0, O_CREAT, O_CREAT, O_CREAT | O_EXCL };
	static const int renames[] = { 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	static const uint16_t masks[] = { 022, 022, 0, 077, 027 };

	memset(op, 0, sizeof(*op));
	op->kind = below(OP_COUNT);
	if (one_in(4))
		op->kind = OP_OPEN;
	random_path(op->path);
	random_path(op->other);
	op->umask = masks[below(ARRAY_SIZE(masks))];
	op->mode = random_mode(false);
	op->uid = one_in(2) ? UINT32_MAX : random_id();
	op->gid = one_in(2) ? UINT32_MAX : random_id();
	op->size = below(100);
	switch (op->kind) {
	case OP_ACCESS:
		op->mode = below(8);
		break;
	case OP_OPEN:
		op->flags = (int)below(3) | creation[below(ARRAY_SIZE(creation))];
		op->flags |= one_in(4) ? O_TRUNC : 0;
		op->flags |= one_in(8) ? O_APPEND : 0;
		op->flags |= one_in(10) ? O_NOFOLLOW : 0;
		op->flags |= one_in(20) && !(op->flags & O_CREAT) ? O_DIRECTORY : 0;
		op->flags |= one_in(20) ? O_NOATIME : 0;
		break;
	case OP_TMPFILE:
		op->flags = O_TMPFILE | (one_in(2) ? O_RDWR : O_WRONLY);
		break;
	case OP_MKNOD:
		op->mode = (op->mode & 07777) | (one_in(2)   ? S_IFIFO
						 : one_in(2) ? S_IFREG
							     : S_IFSOCK);
		break;
	case OP_LINK:
		op->flags = one_in(4) ? AT_SYMLINK_FOLLOW : 0;
		break;
	case OP_RENAME:
		op->flags = renames[below(ARRAY_SIZE(renames))];
		break;
	case OP_UTIMENS:
		op->flags = one_in(2);
		break;
	case OP_SETXATTR:
		op->flags = one_in(4) ? XATTR_CREATE : one_in(4) ? XATTR_REPLACE : 0;
		random_xattr(op);
		break;
	case OP_GETXATTR:
	case OP_REMOVEXATTR:
		random_xattr(op);
		break;
	default:
		break;
	}
}

/* ---- comparing ---- */

struct dump {
	char *text;
	size_t len;
	FILE *out;
};

static bool trees_equal(void)
{
	struct dump d[2] = { 0 };
	bool equal;

	for (int i = 0; i < 2; i++) {
		d[i].out = open_memstream(&d[i].text, &d[i].len);
		if (!d[i].out)
			die("open_memstream");
		dump_tree(d[i].out, i ? twin : served, "");
		fclose(d[i].out);
	}
	equal = d[0].len == d[1].len && !memcmp(d[0].text, d[1].text, d[0].len);
	if (!equal) {
		char *a = d[0].text, *b = d[1].text;

		while (a && b && *a && *b) { /* the first line that differs */
			size_t la = strcspn(a, "\n"), lb = strcspn(b, "\n");

			if (la != lb || memcmp(a, b, la) != 0) {
				printf("  gofer:  %.*s\n  kernel: %.*s\n", (int)la, a, (int)lb, b);
				break;
			}
			a += la + 1;
			b += lb + 1;
		}
	}
	free(d[0].text);
	free(d[1].text);
	return equal;
}

static void op_print(const struct op *op, const struct user *u)
{
	printf("  %s(\"%s\", \"%s\") flags %#o mode %o umask %o uid %d gid %d size %lu %s by %u:%u "
	       "groups",
	       kind_names[op->kind], op->path, op->other, (unsigned)op->flags, op->mode, op->umask,
	       (int)op->uid, (int)op->gid, op->size, op->name, u->uid, u->gid);
	for (size_t i = 0; i < u->n_groups; i++)
		printf(" %u", u->groups[i]);
	printf("\n");
	for (int i = 0; i < 2; i++) { /* what it is about, as far as that can be told now */
		char host[2][PATH_MAX], target[PATH_SIZE] = "";
		struct stat st;

		both_path(host, i ? op->other : op->path);
		if ((i == 0 || op->kind == OP_LINK || op->kind == OP_RENAME) &&
		    lstat(host[1], &st) == 0)
			printf("    %s: %o %u:%u %s\n", i ? "second" : "first", st.st_mode,
			       st.st_uid, st.st_gid,
			       readlink(host[1], target, sizeof(target) - 1) > 0 ? target : "");
	}
}

/* A FIFO that is open here lets another user open it for writing: the close that waits to ride with
 * the next request must have happened before the others go on. */
static void settle_closes(struct gofer_session *session)
{
	Gofer__PingRequest q = GOFER__PING_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Ping, .message = (void *)&q, .fd = -1 };
	struct gofer_reply reply;

	if (gofer_call(session, &request, &reply) < 0)
		die("Ping: %s", gofer_message());
	gofer_reply_free(&reply);
}

int main(int argc, char **argv)
{
	uint64_t cases = option_number(argc, argv, "-n", 20000);
	uint64_t seed = option_number(argc, argv, "-s", 20240607);
	uint64_t first = option_number(argc, argv, "-b", 0);
	uint64_t done = 0, agreed_errors = 0, known = 0, differ = 0, unequal = 0,
		 start = clock_ns();
	uint64_t by_kind[OP_COUNT] = { 0 };
	struct user users[USERS] = { 0 };
	/* No donated descriptors: this process is root, and what root writes through one of its own
	 * keeps set-id bits that the user's write must clear. */
	const struct gofer_mount_options options = { .follow = 8, .no_donate = true };
	FILE *f;

	if (geteuid() != 0) {
		printf("needs root: identities are delegated by a server that runs as root\n");
		return PROOF_SKIP;
	}
	if (argc < 3)
		die("usage: differential [-n CASES] [-s SEED] SERVED_DIR TWIN_DIR");
	served = argv[argc - 2];
	twin = argv[argc - 1];
	f = fopen("/proc/sys/fs/protected_symlinks", "re");
	links_checked = f && fgetc(f) == '1';
	if (f)
		fclose(f);
	umask(0);
	for (int i = 0; i < USERS; i++) {
		users[i].session = session_connect();
		users[i].ns = namespace_of(users[i].session, "t", &options);
	}
	printf("seed %lu; %d users per batch of %d cases%s\n", seed, USERS, BATCH,
	       links_checked ? "; no symbolic links: fs.protected_symlinks is on" : "");
	for (uint64_t batch = first; done < cases && differ + unequal < 20; batch++) {
		rng = (seed + batch) * UINT64_C(0x9e3779b97f4a7c15) + 1;
		trees_make();
		for (uint32_t i = 0; i < USERS; i++)
			user_start(&users[i], 1);
		for (int k = 0; k < BATCH && done < cases; k++, done++) {
			struct user *u = &users[below(USERS)];
			struct outcome mine = { 0 }, kernels;
			struct op op;

			random_op(&op);
			if (write(u->sock, &op, sizeof(op)) != (ssize_t)sizeof(op))
				die("the child is gone");
			mine.error = -gofer_do(u->ns, &op, &mine);
			if (op.kind == OP_OPEN)
				settle_closes(u->session);
			if (read(u->sock, &kernels, sizeof(kernels)) != (ssize_t)sizeof(kernels))
				die("the child is gone");
			by_kind[op.kind]++;
			agreed_errors += mine.error && mine.error == kernels.error;
			if (known_difference(&op, &mine, &kernels)) {
				known++;
			} else if (!outcome_equal(&mine, &kernels)) {
				differ++;
				printf("batch %lu, case %d:\n", batch, k);
				op_print(&op, u);
				outcome_print("gofer", &mine);
				outcome_print("kernel", &kernels);
				fflush(stdout);
				if (!trees_equal())
					break; /* what follows would only be consequences */
			}
		}
		if (!trees_equal()) {
			unequal++;
			printf("  the trees of batch %lu differ\n", batch);
		}
		for (int i = 0; i < USERS; i++)
			user_stop(&users[i]);
	}
	for (int i = 0; i < OP_COUNT; i++)
		printf("%s%s %lu", i ? ", " : "", kind_names[i], by_kind[i]);
	printf("\n%lu cases in %.1f s: %lu succeeded on both sides, %lu failed with the same errno "
	       "on both sides\n",
	       done, (double)(clock_ns() - start) / 1e9, done - agreed_errors - differ - known,
	       agreed_errors);
	if (known)
		printf("%lu times ENXIO or ELOOP where the kernel says EACCES: see "
		       "known_difference()\n",
		       known);
	check(differ == 0, "cases with another errno or another result than the kernel's: %lu",
	      differ);
	check(unequal == 0, "batches whose trees differ afterwards: %lu", unequal);
	check(agreed_errors > done / 10 && agreed_errors < done - done / 10,
	      "neither all refused nor all allowed");
	for (int i = 0; i < USERS; i++) {
		gofer_namespace_free(users[i].ns);
		gofer_session_close(users[i].session);
	}
	return proof_end();
}
