/*
 * filter.h - the seccomp filter of the sandbox: which system calls run by themselves, which go to
 * the supervisor, which fail.
 *
 * syscalls.def is the table: one row for every system call that x86-64 has, and a class for each.
 * What is not in it is ENOSYS.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/run/plan.h"

enum syscall_class {
	SYSCALL_ALLOW,   /* harmless whatever its arguments: native */
	SYSCALL_NOTIFY,  /* names a path or is decided by the supervisor: supervise_<handler>() */
	SYSCALL_DENY,    /* fails with the errno of its row */
	SYSCALL_LAYER,   /* native where the layer of its row holds; else notified, or it fails */
	SYSCALL_SPECIAL, /* decided by arguments in registers: the rules of filter.c */
};

struct syscall_info {
	const char *name;
	int nr;
	enum syscall_class class;
	int error;            /* SYSCALL_DENY; SYSCALL_LAYER that is not notified */
	enum run_layer layer; /* SYSCALL_LAYER */
	bool notified;        /* it can reach the supervisor, which then needs a handler */
};

/* NULL for a number that nobody classified. */
const struct syscall_info *syscall_find(int nr);
extern const struct syscall_info syscall_table[]; /* by number */
extern const size_t syscall_table_size;

/*
 * The program for seccomp(2), for this plan (without RUN_LAYER_MOUNT more calls go to the
 * supervisor). Architectures other than x86-64, and x32, get ENOSYS for everything.
 * *ret_program->filter is malloc'ed.
 */
int filter_build(const struct run_plan *plan, struct sock_fprog *ret_program);
/*
 * In the program's process, as the last thing before execve(2): sets no_new_privs and installs the
 * filter; the listener, with CLOEXEC. Asks for WAIT_KILLABLE_RECV where the kernel has it.
 * -EBUSY: this process has a filter with a listener already. -EINVAL: a kernel without
 * notification.
 */
int filter_install(const struct sock_fprog *program, int *ret_listener);
