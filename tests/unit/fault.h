/*
 * fault.h - the n-th allocation, or the n-th system call, of a request fails.
 *
 * Nothing of this is in the product: the test program that includes this header is linked with
 * --wrap for the functions that allocate (Makefile), and its session's thread puts itself under a
 * seccomp filter whose listener is served here, so that every system call below is seen, counted,
 * and either goes on or fails with the errno wanted. Only the thread that called
 * fault_subject_enter() is meant; the test's own threads allocate and ask as always.
 *
 *	fault_arm(FAULT_CALLS, n, EIO);
 *	... the request ...
 *	seen = fault_disarm();          how many calls it made (n of them and no more if it gave up)
 *
 * A session that is idle sits in recvmsg(2): fault_wait_idle() waits until the thread is back there,
 * so that what it does behind its reply belongs to the request too.
 *
 * Not failed: what allocates or frees memory for the allocator (that is what failing allocations are
 * for), and close(2), which releases the descriptor whatever it answers.
 */
#pragma once

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "common/util.h"
#include "proto/arena.h"

enum fault_kind { FAULT_NONE, FAULT_ALLOCATIONS, FAULT_CALLS };

static struct {
	_Atomic enum fault_kind kind;
	_Atomic unsigned seen, fail_at;
	_Atomic int error;
	_Atomic int failed_call;  /* its number; 0 = none failed */
	bool (*counts)(int call); /* which calls are meant; NULL = all */

	_Atomic pid_t
		subject; /* its thread; those that it starts are under the filter, but not meant */
	int listener;
	pthread_t supervisor;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool entered;
	unsigned long idle; /* how often the subject has come to wait for a packet */
} fault = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static __thread bool fault_is_subject;

static inline void fault_arm(enum fault_kind kind, unsigned fail_at, int error)
{
	fault.seen = 0;
	fault.failed_call = 0;
	fault.fail_at = fail_at;
	fault.error = error;
	fault.kind = kind;
}

/* How many were seen. */
static inline unsigned fault_disarm(void)
{
	fault.kind = FAULT_NONE;
	return fault.seen;
}

/* ---- allocations ---- */

static bool fault_allocation_fails(void)
{
	if (!fault_is_subject || fault.kind != FAULT_ALLOCATIONS || ++fault.seen != fault.fail_at)
		return false;
	errno = ENOMEM;
	return true;
}

#define FAULT_WRAP(name, declared, passed)    \
	void *__real_##name declared;         \
	void *__wrap_##name declared;         \
	void *__wrap_##name declared          \
	{                                     \
		if (fault_allocation_fails()) \
			return NULL;          \
		return __real_##name passed;  \
	}

FAULT_WRAP(calloc, (size_t n, size_t size), (n, size))
FAULT_WRAP(realloc, (void *p, size_t size), (p, size))
FAULT_WRAP(reallocarray, (void *p, size_t n, size_t size), (p, n, size))
FAULT_WRAP(aligned_alloc, (size_t align, size_t size), (align, size))
FAULT_WRAP(arena_alloc, (struct arena * a, size_t size), (a, size))
FAULT_WRAP(arena_calloc, (struct arena * a, size_t n, size_t size), (a, n, size))
FAULT_WRAP(arena_memdup, (struct arena * a, const void *data, size_t size), (a, data, size))

char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
char *__wrap_strdup(const char *s)
{
	return fault_allocation_fails() ? NULL : __real_strdup(s);
}

/* Called for each block that the subject gets from malloc, if set. */
static void (*fault_on_malloc)(void *block, size_t size);

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	void *block = fault_allocation_fails() ? NULL : __real_malloc(size);

	if (fault_is_subject && fault_on_malloc && block)
		fault_on_malloc(block, size);
	return block;
}

void *__real_buffer_new(size_t size);
void *__wrap_buffer_new(size_t size);
void *__wrap_buffer_new(size_t size)
{
	void *block = fault_allocation_fails() ? NULL : __real_buffer_new(size);

	if (fault_is_subject && fault_on_malloc && block)
		fault_on_malloc(block, size);
	return block;
}

/* Called when the subject's arena is emptied for the next request, if set. */
static void (*fault_on_arena_reset)(struct arena *a);

void __real_arena_reset(struct arena *a);
void __wrap_arena_reset(struct arena *a);
void __wrap_arena_reset(struct arena *a)
{
	__real_arena_reset(a);
	if (fault_is_subject && fault_on_arena_reset)
		fault_on_arena_reset(a);
}

/* ---- system calls ---- */

/* All that a request may use, by itself or by the C library. */
static const int fault_calls[] = {
	SYS_openat2,     SYS_openat,
	SYS_newfstatat,  SYS_fstat,
	SYS_statx,       SYS_fcntl,
	SYS_ioctl,       SYS_lseek,
	SYS_getdents64,  SYS_read,
	SYS_write,       SYS_pread64,
	SYS_pwrite64,    SYS_readlinkat,
	SYS_faccessat,   SYS_faccessat2,
	SYS_fchown,      SYS_fchownat,
	SYS_fchmod,      SYS_fchmodat,
#ifdef SYS_fchmodat2
	SYS_fchmodat2,
#else
	452,
#endif
	SYS_utimensat,   SYS_ftruncate,
	SYS_truncate,    SYS_getxattr,
	SYS_setxattr,    SYS_listxattr,
	SYS_removexattr, SYS_statfs,
	SYS_fstatfs,     SYS_connect,
	SYS_getsockopt,  SYS_setsockopt,
	SYS_mkdirat,     SYS_mknodat,
	SYS_symlinkat,   SYS_linkat,
	SYS_unlinkat,    SYS_renameat2,
	SYS_fsync,       SYS_fdatasync,
	SYS_fallocate,   SYS_copy_file_range,
	SYS_getrandom,   SYS_sendmsg,
	SYS_recvmsg, /* not failed: the boundary between requests */
	SYS_capget,      SYS_capset,
	SYS_setgroups,   SYS_setresgid,
	SYS_setresuid,
};

static int fault_filter(void)
{
	struct sock_filter code[ARRAY_SIZE(fault_calls) + 3];
	struct sock_fprog program = { .len = ARRAY_SIZE(code), .filter = code };
	const uint8_t n = ARRAY_SIZE(fault_calls);
	long fd;

	code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					       offsetof(struct seccomp_data, nr));
	for (uint8_t i = 0; i < n; i++)
		code[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							   (uint32_t)fault_calls[i], n - i, 0);
	code[n + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[n + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
		     &program);
	return fd < 0 ? -errno : (int)fd;
}

/* One system call of the subject. */
static void fault_judge(const struct seccomp_notif *call, struct seccomp_notif_resp *answer)
{
	answer->id = call->id;
	if ((pid_t)call->pid != fault.subject) {
		answer->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		return;
	}
	if (call->data.nr == SYS_recvmsg) {
		pthread_mutex_lock(&fault.lock);
		fault.idle++;
		pthread_cond_broadcast(&fault.changed);
		pthread_mutex_unlock(&fault.lock);
	} else if (fault.kind == FAULT_CALLS && (!fault.counts || fault.counts(call->data.nr)) &&
		   ++fault.seen == fault.fail_at) {
		fault.failed_call = call->data.nr;
		answer->error = -fault.error;
		return;
	}
	answer->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
}

/* Until the subject has ended. */
static void *fault_supervise(void *userdata _unused_)
{
	/* The kernel's structures may be larger than those of its headers here. */
	union {
		struct seccomp_notif call;
		uint8_t room[512];
	} in;
	union {
		struct seccomp_notif_resp answer;
		uint8_t room[512];
	} out;

	for (;;) {
		struct pollfd p = { .fd = fault.listener, .events = POLLIN };

		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			break;
		if (!(p.revents & POLLIN)) {
			if (p.revents)
				break;
			continue;
		}
		memset(&in, 0, sizeof(in));
		memset(&out, 0, sizeof(out));
		if (ioctl(fault.listener, SECCOMP_IOCTL_NOTIF_RECV, &in.call) < 0)
			continue;
		fault_judge(&in.call, &out.answer);
		(void)ioctl(fault.listener, SECCOMP_IOCTL_NOTIF_SEND, &out.answer);
	}
	fault.listener = fd_close(fault.listener);
	return NULL;
}

/* The calling thread is the subject from now on. Its next system call waits for the supervisor. */
static inline void fault_subject_enter(void)
{
	int fd = fault_filter();

	fault.subject = gettid();
	pthread_mutex_lock(&fault.lock);
	fault.listener = fd;
	fault.entered = true;
	pthread_cond_broadcast(&fault.changed);
	pthread_mutex_unlock(&fault.lock);
	fault_is_subject = true;
}

/* Called by another thread, which must not be under the filter: waits for the subject to enter, and
 * serves it. 0, or -errno where the kernel has no such filter. */
static inline int fault_supervise_subject(void)
{
	pthread_mutex_lock(&fault.lock);
	while (!fault.entered)
		pthread_cond_wait(&fault.changed, &fault.lock);
	fault.entered = false;
	fault.idle = 0;
	pthread_mutex_unlock(&fault.lock);
	if (fault.listener < 0)
		return fault.listener;
	return -pthread_create(&fault.supervisor, NULL, fault_supervise, NULL);
}

/* After the subject's end. */
static inline void fault_subject_gone(void)
{
	pthread_join(fault.supervisor, NULL);
}

/* Until the subject has come to wait for a packet more than `times` times. False after ten seconds. */
static inline bool fault_wait_idle(unsigned long times)
{
	struct timespec until;
	int r = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&fault.lock);
	while (fault.idle <= times && r == 0)
		r = pthread_cond_timedwait(&fault.changed, &fault.lock, &until);
	pthread_mutex_unlock(&fault.lock);
	return r == 0;
}

static inline unsigned long fault_idle(void)
{
	unsigned long n;

	pthread_mutex_lock(&fault.lock);
	n = fault.idle;
	pthread_mutex_unlock(&fault.lock);
	return n;
}
