/*
 * filter.c - from the table of system calls to a program for seccomp(2).
 *
 * The program is a binary search over ranges of call numbers that are treated alike, whose leaves
 * return; and behind it a block for each call that is decided by its arguments: the rules below, in
 * their order, the first that applies. What a rule looks at are registers, which nobody changes
 * after the fact; it never looks at what they point to.
 *
 * Written out here rather than with libseccomp, because rules there may not overlap: "this value
 * fails, all others run" cannot be said, nor can the order of two tests. And the kernel reads
 * many arguments as 32 bits, so that a test of 64 would let the same call pass with other upper
 * halves: a test here is always of one half, under a mask.
 *
 * A call without argument tests costs next to nothing: the kernel runs the program for each number
 * beforehand, and remembers those that are allowed whatever comes (5.11 and later).
 */
#include "client/run/filter.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "common/util.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif
#ifndef PR_SCHED_CORE
#define PR_SCHED_CORE 62
#endif

/* ---- rules ---- */

/* What a rule may depend on, as bits: a layer, or one of these. */
enum {
	HAS_SCOPES = RUN_LAYERS, /* Landlock keeps signals and abstract sockets inside */
	HAS_NETWORK,             /* a network namespace of its own, or the host's by --net host */
	HAS_PLAIN_STDIO, /* descriptors 0 to 2 stand for nothing of the host that could be changed */
	HAS_ALL_IDS,     /* every user and group of the host exists inside */
};
#define IF(what) (1u << (what))
#define IF_LAYER(layer) IF(RUN_LAYER_##layer)

#define ALLOW SECCOMP_RET_ALLOW
#define NOTIFY SECCOMP_RET_USER_NOTIF
#define FAIL(error) (SECCOMP_RET_ERRNO | (error))

/* Half `word` of the arguments, masked, has that value. */
struct test {
	uint8_t word;
	uint32_t mask; /* 0: no test */
	uint32_t value;
};
#define LOW(argument) (2 * (argument))
#define HIGH(argument) (2 * (argument) + 1)
#define IS(argument, value)                                  \
	{                                                    \
		LOW(argument), UINT32_MAX, (uint32_t)(value) \
	}
#define BITS(argument, mask, value)        \
	{                                  \
		LOW(argument), mask, value \
	}
/* The caller's own, which is known when the program is built. */
#define OWN_UID 0xfffffff0u
#define OWN_GID 0xfffffff1u
#define IS_NULL(argument)                     \
	{ LOW(argument), UINT32_MAX, 0 },     \
	{                                     \
		HIGH(argument), UINT32_MAX, 0 \
	}

#define MAX_TESTS 3
struct rule {
	uint16_t nr;
	uint16_t with, without; /* applies to a plan that has all of these and none of those */
	struct test tests[MAX_TESTS];
	uint32_t action;
};

#define NEW_NAMESPACES                                                                 \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
	 CLONE_NEWPID | CLONE_NEWNET)
#define SOCKET_TYPE 0xf /* without SOCK_CLOEXEC and SOCK_NONBLOCK */

/* Ordered by what they are about; those of one call stand together, and the last of them applies always. */
static const struct rule rules[] = {
	/* What fstat() and futimens() of the C library are. With a mount namespace the path cannot
	 * name anything that is not in a volume, and reading attributes there harms nobody; so the
	 * empty path need not be looked at. */
	{ __NR_newfstatat,
	  IF_LAYER(MOUNT),
	  0,
	  { BITS(3, ~(uint32_t)AT_NO_AUTOMOUNT, AT_EMPTY_PATH) },
	  ALLOW },
	{ __NR_newfstatat, 0, 0, {}, NOTIFY },
	{ __NR_statx,
	  IF_LAYER(MOUNT),
	  0,
	  { BITS(2, ~(uint32_t)(AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE), AT_EMPTY_PATH) },
	  ALLOW },
	{ __NR_statx, 0, 0, {}, NOTIFY },
	{ __NR_utimensat, IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO), 0, { IS_NULL(1) }, ALLOW },
	{ __NR_utimensat, 0, 0, {}, NOTIFY },
	{ __NR_futimesat, IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO), 0, { IS_NULL(1) }, ALLOW },
	{ __NR_futimesat, 0, 0, {}, NOTIFY },

	/* The same for whoever has the descriptor: the view's mounts and the server's say what may be
	 * changed; what the program was started with may not. */
	{ __NR_fchmod, IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO), 0, {}, ALLOW },
	{ __NR_fchmod, 0, 0, {}, NOTIFY },
	/* To others, who do not exist inside: EPERM for a user natively, EINVAL for the kernel of the sandbox. */
	{ __NR_fchown, IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO) | IF(HAS_ALL_IDS), 0, {}, ALLOW },
	{ __NR_fchown, IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO), 0, { IS(1, -1), IS(2, -1) }, ALLOW },
	{ __NR_fchown,
	  IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO),
	  0,
	  { IS(1, -1), IS(2, OWN_GID) },
	  ALLOW },
	{ __NR_fchown,
	  IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO),
	  0,
	  { IS(1, OWN_UID), IS(2, -1) },
	  ALLOW },
	{ __NR_fchown,
	  IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO),
	  0,
	  { IS(1, OWN_UID), IS(2, OWN_GID) },
	  ALLOW },
	{ __NR_fchown, 0, 0, {}, NOTIFY },
	{ __NR_fsetxattr, IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO), 0, {}, ALLOW },
	{ __NR_fsetxattr, 0, 0, {}, NOTIFY },
	{ __NR_fremovexattr, IF_LAYER(MOUNT) | IF(HAS_PLAIN_STDIO), 0, {}, ALLOW },
	{ __NR_fremovexattr, 0, 0, {}, NOTIFY },

	{ __NR_kill, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_kill, IF(HAS_SCOPES), 0, {}, ALLOW },
	{ __NR_kill, 0, 0, {}, NOTIFY },
	{ __NR_tkill, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_tkill, IF(HAS_SCOPES), 0, {}, ALLOW },
	{ __NR_tkill, 0, 0, {}, NOTIFY },
	{ __NR_tgkill, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_tgkill, IF(HAS_SCOPES), 0, {}, ALLOW },
	{ __NR_tgkill, 0, 0, {}, NOTIFY },
	{ __NR_rt_sigqueueinfo, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_rt_sigqueueinfo, IF(HAS_SCOPES), 0, {}, ALLOW },
	{ __NR_rt_sigqueueinfo, 0, 0, {}, NOTIFY },
	{ __NR_rt_tgsigqueueinfo, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_rt_tgsigqueueinfo, IF(HAS_SCOPES), 0, {}, ALLOW },
	{ __NR_rt_tgsigqueueinfo, 0, 0, {}, NOTIFY },
	{ __NR_pidfd_send_signal, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_pidfd_send_signal, IF(HAS_SCOPES), 0, {}, ALLOW },
	{ __NR_pidfd_send_signal, 0, 0, {}, NOTIFY },

	/* Typing on the terminal for whoever reads it after us. */
	{ __NR_ioctl, 0, 0, { IS(1, TIOCSTI) }, FAIL(EPERM) },
	{ __NR_ioctl, 0, 0, { IS(1, TIOCLINUX) }, FAIL(EPERM) },
	/* The signal of who owns a descriptor. */
	{ __NR_ioctl, 0, IF_LAYER(PID) | IF(HAS_SCOPES), { IS(1, FIOSETOWN) }, FAIL(EPERM) },
	{ __NR_ioctl, 0, IF_LAYER(PID) | IF(HAS_SCOPES), { IS(1, SIOCSPGRP) }, FAIL(EPERM) },
	/* Where the mount does not say that it is read-only, a descriptor that was opened for
	 * reading changes attributes (FS_IOC_SETFLAGS), and one of a directory makes and removes
	 * what is in it (btrfs), or is asked about any path (xfs). Every file system has its own
	 * such; so only what is known goes through. */
	{ __NR_ioctl, 0, IF(HAS_PLAIN_STDIO), { IS(1, FS_IOC_SETFLAGS) }, FAIL(EPERM) },
	{ __NR_ioctl, 0, IF(HAS_PLAIN_STDIO), { IS(1, FS_IOC_FSSETXATTR) }, FAIL(EPERM) },
	{ __NR_ioctl, IF_LAYER(MOUNT), 0, {}, ALLOW },
	{ __NR_ioctl, 0, 0, { BITS(1, 0xff00, 'T' << 8) }, ALLOW },  /* terminals; FIONREAD ... */
	{ __NR_ioctl, 0, 0, { BITS(1, 0xff00, 0x89 << 8) }, ALLOW }, /* sockets */
	{ __NR_ioctl, 0, 0, { BITS(1, 0xff00, 'I' << 8) }, ALLOW },  /* inotify */
	{ __NR_ioctl, 0, 0, { IS(1, FS_IOC_GETFLAGS) }, ALLOW },
	{ __NR_ioctl, 0, 0, { IS(1, FS_IOC_GETVERSION) }, ALLOW },
	{ __NR_ioctl, 0, 0, { IS(1, FS_IOC_FSGETXATTR) }, ALLOW },
	{ __NR_ioctl, 0, 0, { IS(1, FS_IOC_FIEMAP) }, ALLOW },
	{ __NR_ioctl, 0, 0, { IS(1, FIGETBSZ) }, ALLOW },
	{ __NR_ioctl, 0, 0, { IS(1, FICLONE) }, ALLOW }, /* needs a descriptor for writing */
	{ __NR_ioctl, 0, 0, { IS(1, FICLONERANGE) }, ALLOW },
	{ __NR_ioctl, 0, 0, {}, FAIL(ENOTTY) },

	{ __NR_fcntl, 0, IF_LAYER(PID) | IF(HAS_SCOPES), { IS(1, F_SETOWN) }, FAIL(EPERM) },
	{ __NR_fcntl, 0, IF_LAYER(PID) | IF(HAS_SCOPES), { IS(1, F_SETOWN_EX) }, FAIL(EPERM) },
	{ __NR_fcntl, 0, IF_LAYER(PID) | IF(HAS_SCOPES), { IS(1, F_SETSIG) }, FAIL(EPERM) },
	{ __NR_fcntl, 0, 0, {}, ALLOW },

	/* A datagram socket names whom it sends to in sendmsg, in memory. So: only where there are
	 * no paths but the volumes', and no abstract names but our own. (SOCK_RAW is SOCK_DGRAM.) */
	{ __NR_socket, 0, 0, { IS(0, AF_UNIX), BITS(1, SOCKET_TYPE, SOCK_STREAM) }, ALLOW },
	{ __NR_socket, 0, 0, { IS(0, AF_UNIX), BITS(1, SOCKET_TYPE, SOCK_SEQPACKET) }, ALLOW },
	{ __NR_socket, IF_LAYER(MOUNT) | IF_LAYER(NET), 0, { IS(0, AF_UNIX) }, ALLOW },
	{ __NR_socket, IF_LAYER(MOUNT) | IF(HAS_SCOPES), 0, { IS(0, AF_UNIX) }, ALLOW },
	{ __NR_socket, 0, 0, { IS(0, AF_UNIX) }, FAIL(EACCES) },
	/* AF_PACKET by its old name. */
	{ __NR_socket, 0, 0, { IS(0, AF_INET), BITS(1, SOCKET_TYPE, SOCK_PACKET) }, FAIL(EPERM) },
	{ __NR_socket, IF(HAS_NETWORK), 0, { IS(0, AF_INET) }, ALLOW },
	{ __NR_socket, IF(HAS_NETWORK), 0, { IS(0, AF_INET6) }, ALLOW },
	/* Of the host's, only what lists interfaces and routes: others list its sockets. */
	{ __NR_socket, IF_LAYER(NET), 0, { IS(0, AF_NETLINK) }, ALLOW },
	{ __NR_socket,
	  IF(HAS_NETWORK),
	  0,
	  { IS(0, AF_NETLINK), IS(2, 0 /* NETLINK_ROUTE */) },
	  ALLOW },
	{ __NR_socket, 0, 0, {}, FAIL(EAFNOSUPPORT) },
	/* A pair of datagram sockets can be told other addresses all the same. */
	{ __NR_socketpair, 0, 0, { IS(0, AF_UNIX), BITS(1, SOCKET_TYPE, SOCK_STREAM) }, ALLOW },
	{ __NR_socketpair, 0, 0, { IS(0, AF_UNIX), BITS(1, SOCKET_TYPE, SOCK_SEQPACKET) }, ALLOW },
	{ __NR_socketpair, IF_LAYER(MOUNT) | IF_LAYER(NET), 0, { IS(0, AF_UNIX) }, ALLOW },
	{ __NR_socketpair, IF_LAYER(MOUNT) | IF(HAS_SCOPES), 0, { IS(0, AF_UNIX) }, ALLOW },
	{ __NR_socketpair, 0, 0, { IS(0, AF_UNIX) }, FAIL(EACCES) },
	{ __NR_socketpair, 0, 0, {}, FAIL(EOPNOTSUPP) },

	{ __NR_clone, 0, 0, { BITS(0, NEW_NAMESPACES, 0) }, ALLOW },
	{ __NR_clone, 0, 0, {}, FAIL(EPERM) },
	{ __NR_unshare, 0, 0, { BITS(0, NEW_NAMESPACES | CLONE_NEWTIME, 0) }, ALLOW },
	{ __NR_unshare, 0, 0, {}, FAIL(EPERM) },
	/* Its flags are in memory. With namespaces of our own no further ones can be made: there
	 * the number of user namespaces is limited to ours. */
	{ __NR_clone3, IF_LAYER(USER) | IF_LAYER(MOUNT), 0, {}, ALLOW },
	{ __NR_clone3, 0, 0, {}, FAIL(ENOSYS) },

	{ __NR_personality, 0, 0, { IS(0, 0xffffffff) }, ALLOW }, /* asks */
	{ __NR_personality,
	  0,
	  0,
	  { BITS(0, ~(uint32_t)(PER_LINUX32 | UNAME26 | ADDR_NO_RANDOMIZE), 0) },
	  ALLOW },
	{ __NR_personality, 0, 0, {}, FAIL(EPERM) },

	{ __NR_prctl, 0, 0, { IS(0, PR_SET_MM) }, FAIL(EPERM) },
	{ __NR_prctl, 0, IF_LAYER(PID), { IS(0, PR_SCHED_CORE) }, FAIL(EPERM) },
	/* Without a user namespace that is ours, the supervisor could not read the memory of such a
	 * process. It is not told so, for some end where this fails; what it wants is had anyway:
	 * nobody in the sandbox can trace another there. */
	{ __NR_prctl, 0, IF_LAYER(USER), { IS(0, PR_SET_DUMPABLE), IS(1, 0) }, FAIL(0) },
	{ __NR_prctl, 0, 0, {}, ALLOW },

	/* Of another process, or with 0 of one's own. */
	{ __NR_prlimit64, 0, 0, { IS(0, 0) }, ALLOW },
	{ __NR_prlimit64, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_prlimit64, 0, 0, {}, FAIL(EPERM) },
	{ __NR_migrate_pages, 0, 0, { IS(0, 0) }, ALLOW },
	{ __NR_migrate_pages, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_migrate_pages, 0, 0, {}, FAIL(EPERM) },
	{ __NR_move_pages, 0, 0, { IS(0, 0) }, ALLOW },
	{ __NR_move_pages, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_move_pages, 0, 0, {}, FAIL(EPERM) },
	{ __NR_get_robust_list, 0, 0, { IS(0, 0) }, ALLOW },
	{ __NR_get_robust_list, IF_LAYER(PID), 0, {}, ALLOW },
	{ __NR_get_robust_list, 0, 0, {}, FAIL(EPERM) },
};

/* ---- the program ---- */

#define N_CALLS 512         /* numbers from 0 that are looked at one by one; behind them are none */
#define MAX_PROGRAM 2048    /* instructions; a test that every plan fits */
#define TO_RULES UINT32_MAX /* instead of an action: jump to the block of rules */

struct range {
	uint32_t from; /* up to the next range */
	uint32_t action;
	int nr; /* TO_RULES: whose */
};

struct builder {
	uint32_t has;
	uid_t uid;
	gid_t gid;
	struct range ranges[N_CALLS + 1];
	size_t n_ranges;
	struct sock_filter code[MAX_PROGRAM];
	size_t len;
	struct {
		size_t at; /* the jump */
		int nr;
	} jumps[N_CALLS];
	size_t n_jumps;
};

static void put(struct builder *b, uint16_t code, uint8_t jt, uint8_t jf, uint32_t k)
{
	if (b->len < MAX_PROGRAM)
		b->code[b->len] = (struct sock_filter){ code, jt, jf, k };
	b->len++;
}

static bool applies(const struct builder *b, const struct rule *rule, int nr)
{
	return rule->nr == nr && (b->has & rule->with) == rule->with && !(b->has & rule->without);
}

/* The action if it does not depend on arguments, else TO_RULES. */
static uint32_t action_of(const struct builder *b, const struct syscall_info *call)
{
	switch (call->class) {
	case SYSCALL_ALLOW:
		return ALLOW;
	case SYSCALL_NOTIFY:
		return NOTIFY;
	case SYSCALL_DENY:
		return FAIL((uint32_t)call->error);
	case SYSCALL_LAYER:
		if (b->has & IF(call->layer))
			return ALLOW;
		return call->notified ? NOTIFY : FAIL((uint32_t)call->error);
	case SYSCALL_SPECIAL:
		for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
			if (applies(b, &rules[i], call->nr))
				return rules[i].tests[0].mask ? TO_RULES : rules[i].action;
		break;
	}
	return FAIL(ENOSYS);
}

static void find_ranges(struct builder *b)
{
	for (int nr = 0; nr <= N_CALLS; nr++) {
		const struct syscall_info *call = syscall_find(nr);
		const struct range *last = b->n_ranges ? &b->ranges[b->n_ranges - 1] : NULL;
		uint32_t action = call ? action_of(b, call) : FAIL(ENOSYS);

		if (!last || last->action != action || action == TO_RULES)
			b->ranges[b->n_ranges++] = (struct range){ (uint32_t)nr, action, nr };
	}
}

/* Instructions of a search among n ranges. A conditional jump reaches 255 of them; where that is not
 * enough, an unconditional one helps. */
static size_t search_size(size_t n)
{
	size_t left = n > 1 ? search_size(n / 2) : 0;

	return n > 1 ? (left > UINT8_MAX ? 2 : 1) + left + search_size(n - n / 2) : 1;
}

/* Searches for the number in the accumulator. */
static void put_search(struct builder *b, const struct range *ranges, size_t n)
{
	size_t half = n / 2, left = search_size(half);

	if (n == 1) {
		if (ranges->action != TO_RULES) {
			put(b, BPF_RET | BPF_K, 0, 0, ranges->action);
			return;
		}
		b->jumps[b->n_jumps].at = b->len;
		b->jumps[b->n_jumps++].nr = ranges->nr;
		put(b, BPF_JMP | BPF_JA, 0, 0, 0);
		return;
	}
	if (left > UINT8_MAX) {
		put(b, BPF_JMP | BPF_JGE | BPF_K, 0, 1, ranges[half].from);
		put(b, BPF_JMP | BPF_JA, 0, 0, (uint32_t)left);
	} else {
		put(b, BPF_JMP | BPF_JGE | BPF_K, (uint8_t)left, 0, ranges[half].from);
	}
	put_search(b, ranges, half);
	put_search(b, ranges + half, n - half);
}

static uint32_t value_of(const struct builder *b, const struct test *t)
{
	return t->value == OWN_UID ? b->uid : t->value == OWN_GID ? b->gid : t->value;
}

static void put_rule(struct builder *b, const struct rule *rule)
{
	unsigned rest = 1; /* instructions from the end of a test to the next rule */

	for (size_t i = MAX_TESTS; i-- > 0;)
		if (rule->tests[i].mask)
			rest += rule->tests[i].mask == UINT32_MAX ? 2 : 3;
	for (size_t i = 0; i < MAX_TESTS && rule->tests[i].mask; i++) {
		const struct test *t = &rule->tests[i];

		put(b, BPF_LD | BPF_W | BPF_ABS, 0, 0,
		    (uint32_t)(offsetof(struct seccomp_data, args) + 4 * t->word));
		if (t->mask != UINT32_MAX)
			put(b, BPF_ALU | BPF_AND | BPF_K, 0, 0, t->mask);
		rest -= t->mask == UINT32_MAX ? 2 : 3;
		put(b, BPF_JMP | BPF_JEQ | BPF_K, 0, (uint8_t)rest, value_of(b, t));
	}
	put(b, BPF_RET | BPF_K, 0, 0, rule->action);
}

static void put_rules(struct builder *b, int nr)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		if (!applies(b, &rules[i], nr))
			continue;
		put_rule(b, &rules[i]);
		if (!rules[i].tests[0].mask)
			return;
	}
	/* Not reached: the last rule of a call has no test. */
	put(b, BPF_RET | BPF_K, 0, 0, FAIL(ENOSYS));
}

/* Since ABI 6, client/run/cage asks for scopes where the kernel has them. */
static bool landlock_has_scopes(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 6;
}

/* Pipes, sockets, and devices of somebody else (/dev/null): their mode and times are not the program's to change, or nobody
 * sees them. Terminals belong to the user. */
static bool is_plain(const struct run_plan *plan, int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return true; /* nothing there */
	if (S_ISFIFO(st.st_mode))
		return fstatfs(fd, &fs) == 0 && fs.f_type == PIPEFS_MAGIC;
	return S_ISSOCK(st.st_mode) || (S_ISCHR(st.st_mode) && st.st_uid != plan->uid);
}

int filter_build(const struct run_plan *plan, struct sock_fprog *ret_program)
{
	_cleanup_free_ struct builder *b = calloc(1, sizeof(*b));
	struct sock_filter *code;

	if (!b)
		return -ENOMEM;
	for (unsigned layer = 0; layer < RUN_LAYERS; layer++)
		b->has |= run_has(plan, layer) ? IF(layer) : 0;
	if (run_has(plan, RUN_LAYER_LANDLOCK) && landlock_has_scopes())
		b->has |= IF(HAS_SCOPES);
	if (run_has(plan, RUN_LAYER_NET) || plan->net == RUN_NET_HOST)
		b->has |= IF(HAS_NETWORK);
	if (is_plain(plan, 0) && is_plain(plan, 1) && is_plain(plan, 2))
		b->has |= IF(HAS_PLAIN_STDIO);
	if (!run_has(plan, RUN_LAYER_USER) || plan->uid == 0)
		b->has |= IF(HAS_ALL_IDS);
	b->uid = plan->uid;
	b->gid = plan->gid;

	put(b, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, arch));
	put(b, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	put(b, BPF_RET | BPF_K, 0, 0, FAIL(ENOSYS));
	put(b, BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
	/* The last range goes to the end of numbers, and with it x32, which sets bit 30. */
	find_ranges(b);
	put_search(b, b->ranges, b->n_ranges);
	for (size_t i = 0; i < b->n_jumps; i++) {
		if (b->jumps[i].at < MAX_PROGRAM)
			b->code[b->jumps[i].at].k = (uint32_t)(b->len - b->jumps[i].at - 1);
		put_rules(b, b->jumps[i].nr);
	}
	if (b->len > MAX_PROGRAM)
		return -E2BIG;
	code = malloc(b->len * sizeof(*code));
	if (!code)
		return -ENOMEM;
	memcpy(code, b->code, b->len * sizeof(*code));
	*ret_program = (struct sock_fprog){ .len = (unsigned short)b->len, .filter = code };
	return 0;
}

int filter_install(const struct sock_fprog *program, int *ret_listener)
{
	const unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	long r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		    flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, program);
	if (r < 0 && errno == EINVAL)
		r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program);
	if (r < 0)
		return -errno;
	*ret_listener = (int)r;
	return 0;
}
