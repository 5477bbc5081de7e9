/*
 * supervisor.c - the threads that take notifications, and the table of handlers. See supervisor.h for the model.
 */
#include "client/run/supervisor.h"

#include <errno.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "client/run/call.h"
#include "client/run/filter.h"

/* Linux 6.6: wake the other side on this CPU, as it waits for us and we for it. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS _IOW('!', 4, uint64_t)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1UL
#endif

#define STOP_SIGNAL (SIGRTMIN + 1)

/* At most as many calls at a time; slow.c has threads of its own. */
enum { WORKERS = 8 };

static int64_t (*const handlers[CALL_MAX_NR])(struct call *c) = {
#define SYSCALL_NOTIFY(nr, name) [nr] = supervise_##name,
#define SYSCALL_LAYER_NOTIFY(nr, name, layer) [nr] = supervise_##name,
#define SYSCALL_SPECIAL_NOTIFY(nr, name) [nr] = supervise_##name,
#include "client/run/syscalls.def"
};

/* ---- one call ---- */

static int64_t handle(struct call *c)
{
	int64_t result;

	if (c->nr < 0 || c->nr >= CALL_MAX_NR || !handlers[c->nr])
		return -ENOSYS;
	result = handlers[c->nr](c);
	/* Descriptors lead further than the view. */
	if (result == CALL_CONTINUE && call_changes(c->nr))
		return call_change(c);
	/* The kernel's view is the host's own then. */
	if (result == CALL_CONTINUE && !call_caged(c) && !c->may_continue)
		return -EACCES;
	return result;
}

/* Without it everything works as well, slower. */
static void wake_here(struct supervisor *sv, bool here)
{
	(void)ioctl(sv->cage->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS,
		    here ? SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP : 0UL);
	atomic_store_explicit(&sv->wakes_here, here, memory_order_relaxed);
}

/*
 * The kernel wakes a server that sleeps on an idle CPU, if there is one, and to wake that takes longer than the request. So while
 * one program calls, the server's first thread is told to be where the calls come from. (Its others, which come when that one is
 * held up, go where they like.)
 */
static void keep_near(struct supervisor *sv, struct worker *w)
{
	enum { STRAYED = 16 };
	int cpu = sv->receivers.many ? -1 : sched_getcpu();
	cpu_set_t set = sv->receivers.cpus;

	if (cpu == sv->nearby) {
		w->strayed = 0;
		return;
	}
	if (++w->strayed < STRAYED)
		return;
	w->strayed = 0;
	sv->nearby = cpu;
	if (cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET((size_t)cpu, &set);
	}
	(void)sched_setaffinity(sv->server, sizeof(set), &set);
}

static uint64_t serve_one(struct worker *w, uint64_t begun)
{
	struct supervisor *sv = w->sv;
	struct call c = { .sv = sv,
			  .w = w,
			  .id = w->notif->id,
			  .tid = (pid_t)w->notif->pid,
			  .nr = w->notif->data.nr,
			  .args = (const uint64_t *)w->notif->data.args };
	int64_t result = handle(&c);

	if (result != CALL_SENT)
		call_answer(sv, c.id, w->resp, result);
	return call_note(&c, result, begun);
}

static void *work(void *data)
{
	struct worker *w = data;
	struct supervisor *sv = w->sv;
	uint64_t now = 0;
	sigset_t set;

	/* The command's signals go to its first thread. */
	sigfillset(&set);
	sigdelset(&set, STOP_SIGNAL);
	(void)pthread_sigmask(SIG_SETMASK, &set, NULL);
	while (receivers_enter(&sv->receivers, &w->receiver, now)) {
		int r;

		memset(w->notif, 0, sv->notif_size);
		r = ioctl(sv->cage->listener, SECCOMP_IOCTL_NOTIF_RECV, w->notif) < 0 ? -errno : 0;
		now = call_clock();
		receivers_leave(&sv->receivers, &w->receiver, r == 0 ? (int)w->notif->pid : 0, now);
		if (r == 0) {
			bool here = receivers_wake_here(&sv->receivers);

			if (here != atomic_load_explicit(&sv->wakes_here, memory_order_relaxed))
				wake_here(sv, here);
			if (sv->server)
				keep_near(sv, w);
			now = serve_one(w, now);
			continue;
		}
		if (r == -EINTR)
			continue;
		if (r != -ENOENT)
			break;
		/* A caller that was killed before we took it; or nobody is left who could call. */
		struct pollfd fd = { .fd = sv->cage->listener, .events = POLLIN };

		if (poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP))
			break;
	}
	return NULL;
}

/* ---- life ---- */

static void nothing(int sig)
{
	(void)sig;
}

static int mount_all(struct supervisor *sv)
{
	const struct run_plan *plan = sv->plan;
	int r = gofer_namespace_new(&sv->ns);

	sv->volume_fs = calloc(plan->n_volumes, sizeof(*sv->volume_fs));
	if (r == 0 && !sv->volume_fs)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < plan->n_volumes; i++) {
		/*
		 * Of volumes that nobody changes, what was learnt is remembered. Of all others, what the kernel tells the
		 * changes of; where the program may write, nothing that a store through a mapping changes, which it tells to nobody.
		 */
		const struct run_volume *v = &plan->volumes[i];
		const struct gofer_mount_options options = {
			.interop = plan->interop == RUN_INTEROP_EXCLUSIVE && v->read_only &&
						   v->kind != RUN_VOLUME_PRIVATE
					   ? GOFER_INTEROP_EXCLUSIVE
					   : GOFER_INTEROP_SHARED,
			.watch = plan->interop != RUN_INTEROP_SHARED,
			.watch_again = true,
			.watch_names = !v->read_only,
		};
		struct gofer_filesystem fs;

		r = gofer_session_find_filesystem(sv->session, plan->volumes[i].name, &fs);
		if (r == 0)
			sv->volume_fs[i] = fs.fs_id;
		if (r == 0)
			r = gofer_mount(sv->ns, sv->session, fs.fs_id, plan->volumes[i].guest,
					&options);
	}
	if (r == 0)
		r = gofer_mount_foreign(sv->ns, RUN_NATIVE_PROC);
	if (r == 0)
		r = gofer_mount_foreign(sv->ns, RUN_NATIVE_DEV);
	return r;
}

/* Without the mount namespace the view is the host. */
static int note_mounts(struct supervisor *sv)
{
	const struct run_plan *plan = sv->plan;

	sv->view_mount = calloc(plan->n_volumes, sizeof(*sv->view_mount));
	if (!sv->view_mount)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_volumes; i++) {
		const struct run_volume *v = &plan->volumes[i];
		bool caged = run_has(plan, RUN_LAYER_MOUNT);
		const char *path = caged ? v->guest : v->host;
		struct object_id id;
		_cleanup_fd_ int fd = -EBADF;
		struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };

		fd = (int)syscall(SYS_openat2, sv->cage->view_root, path, &how, sizeof(how));
		if (fd < 0)
			return -errno;
		if (view_identify(fd, "", AT_EMPTY_PATH, &id, NULL) == 0)
			sv->view_mount[i] = id.mount;
	}
	return 0;
}

static int worker_init(struct supervisor *sv, struct worker *w)
{
	w->sv = sv;
	w->notif = calloc(1, sv->notif_size);
	w->resp = calloc(1, sv->resp_size);
	return w->notif && w->resp ? gofer_namespace_view(sv->ns, &w->view) : -ENOMEM;
}

static void worker_deinit(struct worker *w)
{
	for (size_t i = 0; i < ARRAY_SIZE(w->path); i++)
		gofer_place_unref(w->path[i].dir);
	gofer_namespace_free(w->view);
	free(w->notif);
	free(w->resp);
}

static int supervisor_init(struct supervisor *sv)
{
	struct seccomp_notif_sizes sizes = { 0 };
	int r = mount_all(sv);

	if (r == 0)
		r = note_mounts(sv);
	if (r < 0)
		return r;
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		return -errno;
	sv->notif_size = MAX(sizes.seccomp_notif, sizeof(struct seccomp_notif));
	sv->resp_size = MAX(sizes.seccomp_notif_resp, sizeof(struct seccomp_notif_resp));
	sv->n_workers = WORKERS;
	sv->workers = calloc(sv->n_workers, sizeof(*sv->workers));
	if (!sv->workers)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < sv->n_workers; i++)
		r = worker_init(sv, &sv->workers[i]);
	return r;
}

int supervisor_new(const struct run_plan *plan, struct gofer_session *session, struct cage *cage,
		   struct audit *audit, struct supervisor **ret_supervisor)
{
	struct supervisor *sv = calloc(1, sizeof(*sv));
	int r;

	if (!sv)
		return -ENOMEM;
	sv->plan = plan;
	sv->session = session;
	sv->cage = cage;
	sv->audit = audit;
	sv->nearby = -1;
	objects_init(&sv->objects, OBJECTS_MAX);
	objects_init(&sv->unnamed, UNNAMED_MAX);
	id_set_init(&sv->fifos);
	id_set_init(&sv->sockets);
	receivers_init(&sv->receivers, WORKERS);
	r = supervisor_init(sv);
	if (r < 0)
		supervisor_free(sv);
	else
		*ret_supervisor = sv;
	return r;
}

int supervisor_start(struct supervisor *sv, pid_t worker)
{
	struct sigaction action = { .sa_handler = nothing };
	int r = slow_init();

	if (r == 0 && sigaction(STOP_SIGNAL, &action, NULL) < 0)
		r = -errno;
	wake_here(sv, true);
	sv->server = sv->receivers.sides > 1 ? worker : 0;
	for (size_t i = 0; r == 0 && i < sv->n_workers; i++) {
		r = -pthread_create(&sv->workers[i].thread, NULL, work, &sv->workers[i]);
		sv->workers[i].started = r == 0;
	}
	return r;
}

/* A thread may be just about to wait when the signal comes: it is sent until the thread has ended. */
static void join(pthread_t thread)
{
	const struct timespec tick = { .tv_nsec = 200000 };

	while (pthread_tryjoin_np(thread, NULL) == EBUSY) {
		(void)pthread_kill(thread, STOP_SIGNAL);
		(void)nanosleep(&tick, NULL);
	}
}

void supervisor_free(struct supervisor *sv)
{
	if (!sv)
		return;
	atomic_store(&sv->stop, true);
	receivers_end(&sv->receivers);
	for (size_t i = 0; sv->workers && i < sv->n_workers; i++) {
		if (sv->workers[i].started)
			join(sv->workers[i].thread);
		worker_deinit(&sv->workers[i]);
	}
	/* They see `stop` within a tick. */
	while (atomic_load(&sv->slow)) {
		const struct timespec tick = { .tv_nsec = 1000000 };

		(void)nanosleep(&tick, NULL);
	}
	free(sv->workers);
	free(sv->view_mount);
	free(sv->volume_fs);
	objects_deinit(&sv->objects);
	objects_deinit(&sv->unnamed);
	id_set_deinit(&sv->fifos);
	id_set_deinit(&sv->sockets);
	receivers_deinit(&sv->receivers);
	gofer_namespace_free(sv->ns);
	free(sv);
}

int supervisor_broken(struct supervisor *sv)
{
	return atomic_load(&sv->broken);
}
