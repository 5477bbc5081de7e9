/*
 * attack_owner.c - what a user may do with files that are not its own (S34, S96 to S102).
 *
 * The rules are the kernel's, so the kernel is asked: a child that has become the user does the same
 * system call in the same tree. The errno, the mode and the owner afterwards must be the same.
 *
 *     attack_owner DIRECTORY      as attack_identity, as root
 */
#include <sys/sysmacros.h>

#include "tests/integration/identity.h"

struct rule {
	const char *what;
	int (*served)(void); /* as identity 1 = ALICE, ALICE, no groups */
	int (*native)(void);
	void (*prepare)(void);
	const char *look; /* whose mode and owner must be equal too, or NULL */
} * rule;

#define NATIVE(call) ((call) < 0 ? errno : 0)

static int set_attr(const char *name, uint32_t mask, uint32_t mode, uint32_t uid, uint32_t gid)
{
	Gofer__SetAttrRequest q = GOFER__SET_ATTR_REQUEST__INIT;
	Gofer__Path p = as(1, del, name);

	q.path = &p;
	q.mask = mask;
	q.mode = mode;
	q.uid = uid;
	q.gid = gid;
	return raw_errno(sock, RPC_TYPE_SetAttr, &q);
}

static int remove_name(const char *name)
{
	Gofer__UnlinkRequest q = GOFER__UNLINK_REQUEST__INIT;
	Gofer__Path p = as(1, del, name);

	q.path = &p;
	return raw_errno(sock, RPC_TYPE_Unlink, &q);
}

static int move(const char *from, const char *to)
{
	Gofer__RenameRequest q = GOFER__RENAME_REQUEST__INIT;
	Gofer__Path a = as(1, del, from), b = as(1, del, to);

	q.source = &a;
	q.dest = &b;
	return raw_errno(sock, RPC_TYPE_Rename, &q);
}

static int hard_link(const char *from, const char *to)
{
	Gofer__LinkRequest q = GOFER__LINK_REQUEST__INIT;
	Gofer__Path a = as(1, del, from), b = as(1, del, to);

	q.source = &a;
	q.dest = &b;
	return raw_errno(sock, RPC_TYPE_Link, &q);
}

static int create(const char *name, uint32_t mode, uint32_t umask_)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	Gofer__Path p = as(1, del, name);
	int e;

	q.path = &p;
	q.flags = OPEN_W | OPEN_C;
	q.mode = mode;
	q.umask = umask_;
	e = raw_call(sock, RPC_TYPE_Open, &q, &r);
	if (e == 0 && r.kind == FRAME_OK)
		(void)close_handle(sock, ((Gofer__OpenReply *)r.message)->handle);
	return outcome(e, &r);
}

static int native_create(const char *name, mode_t mode, mode_t umask_)
{
	int fd;

	umask(umask_);
	fd = open(del_path(name), O_CREAT | O_WRONLY | O_CLOEXEC, mode);
	return fd < 0 ? errno : 0;
}

static int native_time(const char *name)
{
	static const struct timespec epoch[2];

	return NATIVE(utimensat(AT_FDCWD, del_path(name), epoch, 0));
}

/* An ACL for the owner, uid 1601 (rwx) and the rest: as the kernel wants its xattr. */
static const struct {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[5];
} __attribute__((packed)) acl = {
	2,
	{ { 1, 6, UINT32_MAX },
	  { 2, 7, BOB },
	  { 4, 4, UINT32_MAX },
	  { 16, 7, UINT32_MAX },
	  { 32, 0, UINT32_MAX } },
};

static int set_acl(const char *name)
{
	_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
	Gofer__SetXattrRequest q = GOFER__SET_XATTR_REQUEST__INIT;
	Gofer__Path p = as(1, del, name);
	int e;

	q.path = &p;
	q.name = BYTES("system.posix_acl_access");
	e = raw_call_fd(sock, RPC_TYPE_SetXattr, &q, &acl, sizeof(acl), -1, &r);
	return outcome(e, &r);
}

static void prepare_mine(void)
{
	host_file("rule", ALICE, ALICE, 0644);
}
static void prepare_theirs(void)
{
	host_file("rule", BOB, BOB, 0644);
}
static void prepare_setid(void)
{
	host_file("rule", 0, 0, 04755);
}
static void prepare_unreadable(void)
{
	host_file("rule", BOB, BOB, 0600);
}
static void prepare_group(void) /* the owner is no member of the file's group */
{
	host_file("rule", ALICE, TEAM, 02755);
}
static void prepare_sticky(void)
{
	(void)mkdir(del_path("sticky"), 0755);
	if (chmod(del_path("sticky"), 01777) < 0)
		die("chmod");
	host_file("sticky/rule", BOB, BOB, 0666);
	(void)unlink(del_path("sticky/moved"));
}
static void prepare_sgid_dir(void)
{
	(void)unlink(del_path("sgid/rule"));
	(void)mkdir(del_path("sgid"), 0755);
	if (chown(del_path("sgid"), 0, TEAM) < 0 || chmod(del_path("sgid"), 02777) < 0)
		die("sgid");
}
static void prepare_acl_dir(void)
{
	(void)unlink(del_path("acl/rule"));
	(void)mkdir(del_path("acl"), 0777);
	if (chmod(del_path("acl"), 0777) < 0 ||
	    setxattr(del_path("acl"), "system.posix_acl_default", &acl, sizeof(acl), 0) < 0)
		printf("  (no ACLs here: %s)\n", strerror(errno));
}

#define RULE(name, served_call, native_call) \
	static int served_##name(void)       \
	{                                    \
		return served_call;          \
	}                                    \
	static int native_##name(void)       \
	{                                    \
		return native_call;          \
	}

enum {
	MODE = GOFER__SET_ATTR_MASK__SET_MODE,
	UID = GOFER__SET_ATTR_MASK__SET_UID,
	GID = GOFER__SET_ATTR_MASK__SET_GID,
	SIZE = GOFER__SET_ATTR_MASK__SET_SIZE,
	ATIME = GOFER__SET_ATTR_MASK__SET_ATIME,
};

RULE(chown_uid, set_attr("rule", UID, 0, BOB, 0), NATIVE(chown(del_path("rule"), BOB, -1)))
RULE(chown_gid, set_attr("rule", GID, 0, 0, TEAM), NATIVE(chown(del_path("rule"), -1, TEAM)))
RULE(chmod, set_attr("rule", MODE, 0777, 0, 0), NATIVE(chmod(del_path("rule"), 0777)))
RULE(chmod_sgid, set_attr("rule", MODE, 02755, 0, 0), NATIVE(chmod(del_path("rule"), 02755)))
RULE(utimes, set_attr("rule", ATIME, 0, 0, 0), native_time("rule"))
RULE(truncate, set_attr("rule", SIZE, 0, 0, 0), NATIVE(truncate(del_path("rule"), 0)))
RULE(link, hard_link("rule", "rule_link"), NATIVE(link(del_path("rule"), del_path("rule_link"))))
RULE(sticky_unlink, remove_name("sticky/rule"), NATIVE(unlink(del_path("sticky/rule"))))
RULE(sticky_rename, move("sticky/rule", "sticky/moved"),
     NATIVE(rename(del_path("sticky/rule"), del_path("sticky/moved"))))
RULE(sticky_create, create("sticky/rule", 0644, 022), native_create("sticky/rule", 0644, 022))
RULE(sgid_create, create("sgid/rule", 02775, 0), native_create("sgid/rule", 02775, 0))
RULE(acl_create, create("acl/rule", 0666, 077), native_create("acl/rule", 0666, 077))
RULE(acl_set, set_acl("rule"),
     NATIVE(setxattr(del_path("rule"), "system.posix_acl_access", &acl, sizeof(acl), 0)))

/* The same by the gofer and by a child that has become the user: one errno, one mode, one owner. */
static void judge(const struct rule *rules, size_t n)
{
	find_filesystems();
	expect("the user", set_identity(sock, 1, ALICE, ALICE, NULL, 0), 0);
	for (size_t i = 0; i < n; i++) {
		const struct rule *r = &rules[i];
		struct stat ours = { 0 }, theirs = { 0 };
		int got, wanted, status;
		pid_t pid;

		(void)unlink(del_path("rule_link"));
		r->prepare();
		got = r->served();
		if (r->look)
			(void)lstat(del_path(r->look), &ours);
		(void)unlink(del_path("rule_link"));
		r->prepare();
		pid = fork();
		if (pid == 0) {
			become(ALICE, ALICE, NULL, 0);
			_exit(r->native() & 0xff);
		}
		if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
			die("the child");
		wanted = WEXITSTATUS(status);
		if (r->look)
			(void)lstat(del_path(r->look), &theirs);
		check(got == wanted && ours.st_mode == theirs.st_mode &&
			      ours.st_uid == theirs.st_uid && ours.st_gid == theirs.st_gid,
		      "%-50s %s (kernel: %s), mode %o (%o), group %u (%u)", r->what, word(got),
		      word(wanted), ours.st_mode & 07777, theirs.st_mode & 07777, ours.st_gid,
		      theirs.st_gid);
	}
	(void)unlink(del_path("rule_link"));
}

static void s34_links_to_others_files(void)
{
	static const struct rule rules[] = {
		{ "a link to root's set-id program", served_link, native_link, prepare_setid,
		  NULL },
		{ "a link to a file that one may not read", served_link, native_link,
		  prepare_unreadable, NULL },
		{ "a link to one's own", served_link, native_link, prepare_mine, "rule_link" },
	};

	judge(rules, ARRAY_SIZE(rules));
}

static void s96_s98_set_group_id(void)
{
	static const struct rule rules[] = {
		{ "create with set-gid in a set-gid directory", served_sgid_create,
		  native_sgid_create, prepare_sgid_dir, "sgid/rule" },
		{ "umask 077 in a directory with a default ACL", served_acl_create,
		  native_acl_create, prepare_acl_dir, "acl/rule" },
		{ "an ACL on a set-gid file of another's group", served_acl_set, native_acl_set,
		  prepare_group, "rule" },
		{ "set-gid on a file of another's group", served_chmod_sgid, native_chmod_sgid,
		  prepare_group, "rule" },
	};

	judge(rules, ARRAY_SIZE(rules));
}

static void s99_sticky(void)
{
	static const struct rule rules[] = {
		{ "unlink another's in a sticky directory", served_sticky_unlink,
		  native_sticky_unlink, prepare_sticky, "sticky/rule" },
		{ "rename it", served_sticky_rename, native_sticky_rename, prepare_sticky,
		  "sticky/rule" },
		{ "O_CREAT on it", served_sticky_create, native_sticky_create, prepare_sticky,
		  "sticky/rule" },
	};

	judge(rules, ARRAY_SIZE(rules));
}

static void s100_owners(void)
{
	static const struct rule rules[] = {
		{ "give one's file away", served_chown_uid, native_chown_uid, prepare_mine,
		  "rule" },
		{ "... to a foreign group", served_chown_gid, native_chown_gid, prepare_mine,
		  "rule" },
		{ "take another's", served_chown_uid, native_chown_uid, prepare_theirs, "rule" },
		{ "chmod another's", served_chmod, native_chmod, prepare_theirs, "rule" },
		{ "set another's times", served_utimes, native_utimes, prepare_theirs, "rule" },
		{ "truncate what one may not write", served_truncate, native_truncate,
		  prepare_theirs, "rule" },
	};

	judge(rules, ARRAY_SIZE(rules));
}

/* Root without capabilities is an owner like any other. */
static void s102_root_without_capabilities(void)
{
	Gofer__MknodRequest m = GOFER__MKNOD_REQUEST__INIT;
	Gofer__Path p;

	find_filesystems();
	host_file("private", ALICE, ALICE, 0600);
	expect("uid 0", set_identity(sock, 1, 0, 0, NULL, 0), 0);
	p = as(1, del, "private");
	expect("... does not read another's private file",
	       row_call(sock, rpc_find(RPC_TYPE_ReadFile), &p, NULL), EACCES);
	expect("... does not take it", set_attr("private", UID, 0, 0, 0), EPERM);
	expect("... does not chmod it", set_attr("private", MODE, 0666, 0, 0), EPERM);
	p = as(1, del, "disk");
	m.path = &p;
	m.mode = S_IFBLK | 0600;
	m.rdev = makedev(8, 0);
	expect("... makes no device", raw_errno(sock, RPC_TYPE_Mknod, &m), EPERM);
	check(!strcmp(owner(del_path("private")), "1600:1600"), "the file is still 1600's");
	(void)unlink(del_path("private"));
}

int main(int argc, char **argv)
{
	static const struct attack attacks[] = {
		{ "S34: hard links to others' files are what the kernel lets that user make",
		  s34_links_to_others_files, .root = true },
		{ "S96 S98: set-gid directories, default ACLs and ACLs on set-gid files, as the "
		  "kernel",
		  s96_s98_set_group_id, .root = true },
		{ "S99: sticky directories, as the kernel", s99_sticky, .root = true },
		{ "S100: chown, chmod, times and truncate of what is not one's own, as the kernel",
		  s100_owners, .root = true },
		{ "S102: uid 0 without capabilities overrides nothing and makes no device",
		  s102_root_without_capabilities, .root = true },
	};

	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
