/*
 * slow.c - calls that may block for long: a FIFO without a peer, a connection to a slow host. Each gets a thread of its own,
 * so that the workers stay free.
 *
 * The caller's signals. A caller that waits for our answer is woken by a fatal signal only (WAIT_KILLABLE_RECV); the calls
 * here are among the few that a handled signal interrupts in Linux. So the thread that waits is watched by a second, which looks
 * every TICK whether the caller is gone or has a signal to take, and then interrupts the wait by a signal of our own: open(2) and connect(2)
 * return EINTR, which the caller's kernel is told as one of its own calls would tell it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/run/call.h"

/* The kernel's own: it calls again after a handler with SA_RESTART, and makes EINTR of it after another. */
#define ERESTARTSYS 512

enum { SLOW_MAX = 256 };
#define TICK_NS 20000000L
#define WAKE (SIGRTMIN + 2)

struct job {
	struct supervisor *sv;
	struct slow_work *work;
	uint64_t id;
	pid_t tid;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool done;
	int64_t result;
	struct seccomp_notif_resp *resp;
};

static void nothing(int sig)
{
	(void)sig;
}

/* The command's own signals: it is a program, not a library. Without SA_RESTART. */
int slow_init(void)
{
	struct sigaction action = { .sa_handler = nothing };

	return sigaction(WAKE, &action, NULL) < 0 ? -errno : 0;
}

static uint64_t mask_of(const char *text, const char *name)
{
	const char *line = strstr(text, name);

	return line ? strtoull(line + strlen(name), NULL, 16) : 0;
}

/* Whether the caller has a signal that it does not block, or is gone. */
static bool interrupted(const struct job *job)
{
	const struct call c = { .sv = job->sv, .id = job->id, .tid = job->tid };
	char path[PROC_PATH_MAX], text[8192]; /* a line of groups may be long */
	_cleanup_fd_ int fd = -EBADF;
	ssize_t n;

	if (!call_alive(&c))
		return true;
	snprintf(path, sizeof(path), "/proc/%d/status", job->tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return true;
	text[n] = '\0';
	return (mask_of(text, "\nSigPnd:\t") | mask_of(text, "\nShdPnd:\t")) &
	       ~mask_of(text, "\nSigBlk:\t");
}

static void work_free(struct slow_work *work)
{
	fd_close(work->fd);
	fd_close(work->inode);
	gofer_namespace_free(work->view);
	free(work->path);
	free(work);
}

static void *run_work(void *data)
{
	struct job *job = data;
	int64_t result;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, WAKE);
	(void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	result = job->work->work(job->work);
	pthread_mutex_lock(&job->lock);
	job->result = result;
	job->done = true;
	pthread_cond_signal(&job->ended);
	pthread_mutex_unlock(&job->lock);
	return NULL;
}

/* Once is not enough: the signal may come just before the call that it is to interrupt. */
static void wait_for(struct job *job, pthread_t thread)
{
	pthread_mutex_lock(&job->lock);
	while (!job->done) {
		struct timespec until;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += TICK_NS;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000L;
		}
		if (pthread_cond_clockwait(&job->ended, &job->lock, CLOCK_MONOTONIC, &until) !=
			    ETIMEDOUT ||
		    job->done)
			continue;
		pthread_mutex_unlock(&job->lock);
		if (atomic_load(&job->sv->stop) || interrupted(job))
			(void)pthread_kill(thread, WAKE);
		pthread_mutex_lock(&job->lock);
	}
	pthread_mutex_unlock(&job->lock);
	(void)pthread_join(thread, NULL);
}

static void answer(struct job *job)
{
	struct call c = { .sv = job->sv, .id = job->id, .tid = job->tid };
	int64_t result = job->result == -EINTR ? -ERESTARTSYS : job->result;

	if (result >= 0 && job->work->fd_flags >= 0) {
		int fd = (int)result;

		/* As one for writing: our own copy must not be a FIFO's second end when the caller runs. */
		result = call_give_fd(&c, &fd, job->work->fd_flags | O_WRONLY);
	}
	if (result != CALL_SENT)
		call_answer(job->sv, job->id, job->resp, result);
}

static void *watch(void *data)
{
	struct job *job = data;
	struct supervisor *sv = job->sv;
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_work, job) == 0)
		wait_for(job, thread);
	else
		job->result = -EAGAIN;
	answer(job);
	work_free(job->work);
	free(job->resp);
	pthread_cond_destroy(&job->ended);
	pthread_mutex_destroy(&job->lock);
	free(job);
	atomic_fetch_sub(&sv->slow, 1);
	return NULL;
}

int64_t slow_call(struct call *c, struct slow_work *work)
{
	struct job *job = calloc(1, sizeof(*job));
	pthread_attr_t attr;
	pthread_t thread;
	int r = job && (job->resp = malloc(c->sv->resp_size)) ? 0 : ENOMEM;

	if (r == 0 && atomic_fetch_add(&c->sv->slow, 1) >= SLOW_MAX) {
		atomic_fetch_sub(&c->sv->slow, 1);
		r = EAGAIN;
	}
	if (r == 0) {
		job->sv = c->sv;
		job->work = work;
		job->id = c->id;
		job->tid = c->tid;
		pthread_mutex_init(&job->lock, NULL);
		pthread_cond_init(&job->ended, NULL);
		pthread_attr_init(&attr);
		pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		pthread_attr_setstacksize(&attr, 256 * 1024);
		r = pthread_create(&thread, &attr, watch, job);
		pthread_attr_destroy(&attr);
		if (r != 0)
			atomic_fetch_sub(&c->sv->slow, 1);
	}
	if (r == 0)
		return CALL_SENT;
	if (job)
		free(job->resp);
	free(job);
	work_free(work);
	return -r;
}
