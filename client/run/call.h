/*
 * call.h - inside the supervisor: one intercepted system call, and what its handler may use.
 *
 * A handler is `int64_t supervise_NAME(struct call *c)`: it returns the call's result (0 or more), -errno, or one of
 * the constants below. It runs in a worker's thread and may use the worker's view and buffers; nothing of the call outlives it,
 * except what goes to slow.c.
 */
#pragma once

#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "client/gofer.h"
#include "client/run/cage.h"
#include "client/run/objects.h"
#include "client/run/plan.h"
#include "client/run/receivers.h"
#include "common/util.h"

#define CALL_CONTINUE INT64_MIN   /* the kernel does it */
#define CALL_SENT (INT64_MIN + 1) /* answered already, or by somebody else later */

struct audit;

enum { CALL_MAX_NR = 512 };

/* A path argument. */
struct path_arg {
	struct gofer_place *
		dir; /* where a relative one starts; NULL for an absolute one. Borrowed from the worker */
	int dirfd; /* as the caller gave it */
	char text[PATH_MAX];
};

struct worker {
	struct supervisor *sv;
	pthread_t thread;
	bool started;
	struct receiver receiver;
	unsigned strayed; /* calls since the server was near */
	struct gofer_namespace *view;
	struct seccomp_notif *notif; /* of the kernel's size */
	struct seccomp_notif_resp *resp;
	struct path_arg path[2];
	char text[PATH_MAX];  /* link targets */
	uint8_t value[65536]; /* extended attributes */
};

struct supervisor {
	const struct run_plan *plan;
	struct cage *cage;
	struct audit *audit;
	struct gofer_session *session;
	struct gofer_namespace *ns;
	struct objects objects, unnamed;
	struct id_set fifos, sockets; /* made by the program itself: it may use them */
	size_t notif_size, resp_size;
	struct worker *workers;
	size_t n_workers;
	struct receivers receivers;
	pid_t server; /* the process whose first thread serves the session; 0: it is left alone */
	_Atomic int nearby;      /* the CPU where that shall be; -1: anywhere */
	_Atomic bool wakes_here; /* as receivers_wake_here() said last */
	_Atomic bool stop;
	_Atomic int broken;
	_Atomic unsigned slow; /* threads of slow.c */
	/* Descriptors for writing that were donated; of them, those that the server is known to have closed itself. */
	_Atomic uint64_t written, let_go;
	/* By filesystem: the mount that its donated descriptors lie in; 0 until one was seen. */
	_Atomic uint64_t donated_mount[256];
	uint64_t *view_mount; /* of each volume, as the sandbox sees it */
	uint32_t *volume_fs;  /* of each volume, the filesystem's number in the session */
	_Atomic uint64_t calls[CALL_MAX_NR], continued[CALL_MAX_NR], failed[CALL_MAX_NR],
		nanoseconds[CALL_MAX_NR];
};

struct call {
	struct supervisor *sv;
	struct worker *w;
	uint64_t id;
	pid_t tid;
	int nr;
	const uint64_t *args;
	bool looks; /* it changes nothing, and what it finds goes to the caller's memory only */
	bool may_continue;     /* without the mount namespace: what may still be let through */
	bool verbatim;         /* openat2 resolves names of /proc as it says itself */
	const char *path, *to; /* for --audit */
};

static inline bool call_caged(const struct call *c)
{
	return run_has(c->sv->plan, RUN_LAYER_MOUNT);
}

/* ---- target.c: what the calling process has ---- */

/* Whether the caller still waits for this answer: false once it was killed, and its number may be another's. */
bool call_alive(const struct call *c);
/* -EFAULT as the kernel; -ESRCH where the caller is gone. */
int call_read(const struct call *c, uint64_t address, void *buf, size_t len);
int call_write(const struct call *c, uint64_t address, const void *buf, size_t len);
/* A string of at most `size` - 1 bytes: -ENAMETOOLONG. */
int call_read_string(const struct call *c, uint64_t address, char *buf, size_t size);
/*
 * Reads a path argument into the worker's buffer number `which`, and finds the place where it starts. With `empty` (AT_EMPTY_PATH) the
 * empty path is allowed and needs no place: text is "" then. 0; -errno; CALL_FOREIGN where the directory is not of a volume.
 */
enum { CALL_FOREIGN = 1 };
int call_path(struct call *c, unsigned which, int dirfd, uint64_t address, bool empty,
	      struct path_arg **ret_path);
/* The same for a path that was read already, relative to the current directory. */
int call_path_text(struct call *c, const char *text, struct path_arg **ret_path);
/* The place of the directory that a link of procfs leads to, by the path that the kernel has for it now. CALL_FOREIGN where that is no volume's. */
int call_place_by_link(struct call *c, const char *link, const struct object_id *id,
		       struct gofer_place **ret_place);
/* The plan's volume that holds an absolute path. */
const struct run_volume *call_volume(const struct call *c, const char *path);
/* Reads a path argument, or ends the handler: what is not a volume's is the kernel's. */
#define CALL_PATH(c, which, dirfd, address, empty, ret_path)                          \
	do {                                                                          \
		int _r = call_path(c, which, (int)(dirfd), address, empty, ret_path); \
		if (_r == CALL_FOREIGN)                                               \
			return CALL_CONTINUE;                                         \
		if (_r < 0)                                                           \
			return _r;                                                    \
	} while (0)
/* "/proc/TID/fd/N", or .../cwd for AT_FDCWD. */
enum { PROC_PATH_MAX = 48 };
void call_proc_path(const struct call *c, int fd, char buf[static PROC_PATH_MAX]);
mode_t call_umask(const struct call *c);
/* A duplicate of the caller's descriptor: it is looked up once, whatever the caller's threads do with the number. */
int call_take_fd(const struct call *c, int fd, int *ret_fd);

/* ---- result.c: answers ---- */

/* What a failed call of libgofer becomes: -EREMOTE the kernel's affair, a broken session -EIO. */
int64_t call_result(struct call *c, int r);
/*
 * A volume that is read-only refuses a change before anything is looked up; the kernel looks first, and another error comes first. What
 * it would say: -EROFS, or what is wrong with the path. CALL_CREATES: the last name must not exist (with CALL_EXCLUSIVE it is
 * -EEXIST where it does). CALL_PARENT: only the directory of the last name is looked at. CALL_WRITES: a directory is -EISDIR.
 */
enum { CALL_CREATES = 1, CALL_EXCLUSIVE = 2, CALL_NOFOLLOW = 4, CALL_PARENT = 8, CALL_WRITES = 16 };
int call_read_only(struct call *c, const struct path_arg *p, unsigned what);
/* Answers with a new descriptor, a duplicate of fd: CALL_SENT, or -errno (-EMFILE). */
int64_t call_send_fd(struct call *c, int fd, int flags);
/*
 * The same, and fd is closed; before the caller goes on, where it can be written: a program that was written, closed and is
 * executed next must not be ETXTBSY because we still have it. CALL_SENT, the number, or -errno.
 */
int64_t call_give_fd(struct call *c, int *fd, int flags);
void call_answer(struct supervisor *sv, uint64_t id, struct seccomp_notif_resp *resp,
		 int64_t result);
/* Nanoseconds. */
uint64_t call_clock(void);
/* Counts and audits. Returns what time it is. */
uint64_t call_note(struct call *c, int64_t result, uint64_t begun);

/* ---- native.c: what no server holds ---- */

/* A call on one of the caller's own descriptors (the empty path): the kernel's. */
int64_t call_descriptor(struct call *c, int fd);
/* A call that led to `path` in /proc or /dev. flags: open(2)'s, of calls that open. */
int64_t call_foreign(struct call *c, const char *path, int flags);

/* ---- handle_open.c ---- */

/* Opens a FIFO that the program may open, in a thread of its own: it may have to wait for the other end. Takes fd, any descriptor of it. */
int64_t call_open_fifo(struct call *c, int fd, int flags);

/* ---- handle_reopen.c ---- */

/* open(2) with `flags` of what a lookup found in /proc or /dev (gofer_foreign_path()). */
int64_t call_open_foreign(struct call *c, int flags);

/* ---- procfs.c: names that a process has for what it holds ---- */

/* The number, where the path is one of the names that a process has for its own descriptors; else -1. */
int call_own_descriptor(const struct call *c, const char *path);
/* Whether the path goes on behind such a name ("/proc/self/fd/5/x", "/proc/self/cwd/x"): p starts there then, with what follows. */
bool call_begins_at_own(const struct call *c, struct path_arg *p);
/* A path that is relative to a directory of /proc or /dev becomes the absolute one. */
int call_join_foreign(const struct call *c, struct path_arg *p);
/* The path of what is open, but no directory; *ret_id identifies it. -ENOENT: it is no volume's, or has no name. */
int call_open_name(struct call *c, int number, char path[static PATH_MAX],
		   struct object_id *ret_id);

/* ---- change.c: changes through descriptors ---- */

/* Whether descriptors of this mount come from the server. */
bool call_is_donated(const struct call *c, uint64_t mount);
/* And those of one volume, by its number in the plan. */
bool call_is_donated_by(const struct call *c, uint64_t mount, size_t volume);
/* Whether it is one of the view's volumes. */
bool call_is_view(const struct call *c, uint64_t mount);
/* Pipes, sockets, and files without a name (memfd, deleted): of no volume and of nobody else. */
bool call_is_nameless(int fd, const struct stat *st);
/* Whether the call changes what its path leads to, through links of /proc too. */
bool call_changes(int nr);
/* Instead of letting such a call through. */
int64_t call_change(struct call *c);

/*
 * What the program made itself is remembered as its own. What has the name by then may be another's already, put there by
 * a second process; but nothing that was there before is younger than the call. (Where the file system tells no birth time, nothing is.)
 */
void call_begin_making(struct timespec *ret_begun);
void call_made(struct call *c, const char *path, mode_t type, const struct timespec *begun,
	       struct id_set *set);
/* Whether an open inode (O_PATH will do) is one of the set. */
bool call_has_made(int fd, struct id_set *set);

/* ---- resolve.c ---- */

/*
 * Resolves `text` as openat2(2) would with `resolve`, in the sandbox's view. *ret_st says which object it must be, and p the path, without
 * links but perhaps the last component; st_ino 0: one that is to be made, and p is a name in its directory. -ESTALE: look again.
 */
int call_resolve(struct call *c, struct path_arg *p, const char *text, uint64_t resolve, int flags,
		 struct stat *ret_st);

/* ---- handle_exec.c ---- */

/*
 * Remembers the place that the caller is about to have as a directory of its own (chdir(2), O_PATH): one that lies deeper than a path can be
 * long is not found by its path afterwards.
 */
void call_foresee(struct call *c, const struct path_arg *p);

/* ---- view.c: the same objects as the sandbox's kernel sees them ---- */

/*
 * Opens what libgofer found, in the sandbox's own view, with open(2)'s flags; the object is the one that has st's device and inode, or
 * it is -ESTALE. `at` (may be NULL): the argument by which it was found, for objects that were renamed or lie deeper than PATH_MAX.
 * *ret_id identifies it.
 */
int view_open(struct call *c, const char *path, const struct path_arg *at, const struct stat *st,
	      int flags, int *ret_fd, struct object_id *ret_id);
/* An O_PATH descriptor of what a path argument leads to, policy and permissions as libgofer sees them. flags: O_NOFOLLOW. */
int view_find(struct call *c, const struct path_arg *p, int flags, int *ret_fd,
	      struct stat *ret_st);
int view_identify(int dirfd, const char *path, int flags, struct object_id *ret_id,
		  struct stat *ret_st);

/* ---- slow.c: what may block for long ---- */

/*
 * Runs work(data) in a thread of its own, which answers with its result: 0 or more is a descriptor to be installed (with
 * fd_flags >= 0) or the result. When the caller gets a signal meanwhile, the thread is interrupted (EINTR), and the call is restarted as
 * the signal's handler says. Takes data (malloc'ed) and what it holds. CALL_SENT, or -EAGAIN when too many are under way.
 */
struct slow_work {
	int64_t (*work)(struct slow_work *work);
	int fd, inode; /* closed afterwards; -EBADF: none */
	int flags;     /* open(2)'s */
	int fd_flags;  /* -1: the result is a number */
	uint8_t data[128];
	size_t len;
	/* NULL: none. Of its own, because the worker's is used by others meanwhile. */
	struct gofer_namespace *view;
	char *path;
};
int64_t slow_call(struct call *c, struct slow_work *work);
int slow_init(void);

/* ---- handlers: every row of syscalls.def that can come here must have one ---- */

#define DECLARE(name) int64_t supervise_##name(struct call *c);
#define SYSCALL_NOTIFY(nr, name) DECLARE(name)
#define SYSCALL_LAYER_NOTIFY(nr, name, layer) DECLARE(name)
#define SYSCALL_SPECIAL_NOTIFY(nr, name) DECLARE(name)
#include "client/run/syscalls.def"
