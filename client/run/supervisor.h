/*
 * supervisor.h - answers the system calls that the filter hands over.
 *
 * Mental model. Each notification is one system call of one stopped thread. A worker takes it, reads the arguments that
 * point somewhere once, carries the call out through libgofer (one RPC for the whole call), and answers: a result, an errno, a
 * descriptor installed together with the answer (ADDFD), or "let the kernel do it" (CONTINUE).
 *
 * CONTINUE makes the kernel read the arguments again, and by then they may say something else. So it is used only where
 * whatever they say is harmless: the kernel's own view of the sandbox holds nothing but the volumes, and Landlock lets it
 * change none of them. These are exec, chdir, and what lies in /proc and /dev.
 *
 * What a process has beside its arguments is asked of the kernel when it is needed (/proc/PID/cwd, /fd/N, the umask): nothing
 * is tracked across fork, exec or dup, so nothing can be out of step. A directory is known by (mount, device, inode) of its
 * descriptor; objects.c maps that to a place of libgofer.
 */
#pragma once

#include <stdio.h>

#include "client/gofer.h"
#include "client/run/cage.h"
#include "client/run/plan.h"

struct audit;
struct supervisor;

/* session, cage, plan and audit (may be NULL) are borrowed. The namespace is made from the plan's volumes. */
int supervisor_new(const struct run_plan *plan, struct gofer_session *session, struct cage *cage,
		   struct audit *audit, struct supervisor **ret_supervisor);
/* Starts the threads. worker: the server's process for the session, or 0. */
int supervisor_start(struct supervisor *sv, pid_t worker);
/* Ends them; calls in flight are answered. NULL is fine, and frees. */
void supervisor_free(struct supervisor *sv);
/* 0, or why the session broke: the program can get nothing more. */
int supervisor_broken(struct supervisor *sv);
/* How often each call came, as a table, or as one JSON object. */
void supervisor_print_stats(struct supervisor *sv, bool json, FILE *out);
