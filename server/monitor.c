/*
 * monitor.c - accept, ask who it is, fork, reap: one libevent loop, one thread. Nothing that a
 * client sends is read here.
 *
 * A session costs its worker, so it is counted before it is accepted: at the limit of sessions the
 * connection is taken and closed at once (waiting in the backlog would look like a hang). When
 * descriptors run out, a reserve is given up to accept and close: the listener would otherwise stay
 * readable for ever and the loop would spin. For want of memory it stops listening for a while.
 */
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/capability.h>

#include "common/packet.h"
#include "server/gate.h"
#include "server/identity.h"
#include "server/monitor_state.h"

#define CAP_BIT(cap) (UINT64_C(1) << (cap))

enum { LISTEN_PAUSE_MS = 100 };

/* ---- workers ---- */

/* Confines one worker that serves nobody, so that what does not work is known now and not at the
 * first client. */
static int try_worker(struct monitor_config *config)
{
	int status;
	pid_t pid;

	confine_prepare(config->confine, config->server);
	pid = monitor_fork_worker(config, -EBADF, NULL);
	if (pid < 0)
		return pid;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFSIGNALED(status))
		log_error("a confined worker was killed by %s: this build needs a system call that "
			  "confinement forbids",
			  strsignal(WTERMSIG(status)));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* ---- sessions ---- */

static void quit_if_done(struct monitor *m)
{
	if (m->ending && !m->sessions)
		(void)event_base_loopbreak(m->base);
}

static size_t sessions_of(const struct monitor *m, const struct peer *peer)
{
	size_t n = 0;

	for (const struct session *s = m->sessions; s; s = s->next)
		n += s->peer.uid == peer->uid && s->peer.access == peer->access;
	return n;
}

static bool uid_allowed(const struct monitor *m, uid_t uid)
{
	if (m->config->allow_any_uid)
		return true;
	for (size_t i = 0; i < m->config->n_allowed_uids; i++)
		if (m->config->allowed_uids[i] == uid)
			return true;
	return false;
}

/* Asks the front. -EPIPE: it is gone. */
static int who_is_it(struct monitor *m, int sock, struct monitor_who *ret)
{
	uint8_t type = MONITOR_WHO;
	struct iovec iov = { &type, sizeof(type) };
	struct packet_in in;
	ssize_t n;
	int r;

	r = packet_send(m->config->control, &iov, 1, sock, 0);
	if (r < 0)
		return r;
	do
		n = packet_recv(m->config->control, ret, sizeof(*ret), 0, &in);
	while (n == -EINTR);
	if (n < 0)
		return (int)n;
	fd_close(in.fd);
	return n == sizeof(*ret) ? ret->result : -EPIPE;
}

/* Supplementary groups matter where somebody may delegate; in a user namespace there is only
 * squash. */
static int peer_groups(const struct monitor *m, int sock, struct peer *peer)
{
	socklen_t size = 0;

	if (m->config->confine->namespaces & CLONE_NEWUSER)
		return 0;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
		return size == 0 ? 0 : -errno;
	peer->groups = malloc(size);
	if (!peer->groups)
		return -ENOMEM;
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, peer->groups, &size) < 0)
		return -errno;
	peer->n_groups = size / sizeof(gid_t);
	return 0;
}

static const char *refuse(const struct monitor *m, const struct peer *peer)
{
	const struct server_limits *limits = &m->config->server->limits;

	if (m->ending)
		return "the server is ending";
	if (!peer->remote && !uid_allowed(m, peer->uid))
		return "this user may not connect (--allow-uid)";
	if (atomic_load(&m->config->server->shared->sessions) >= limits->max_sessions)
		return "too many sessions (--max-sessions)";
	if (sessions_of(m, peer) >= limits->max_sessions_uid)
		return "too many sessions of this user (--max-sessions-per-uid)";
	return NULL;
}

static int ask_who(struct monitor *m, int sock, struct peer *peer)
{
	struct monitor_who who = {};
	int r = who_is_it(m, sock, &who);

	peer->pid = who.pid;
	peer->uid = who.uid;
	peer->gid = who.gid;
	return r < 0 ? r : peer_groups(m, sock, peer);
}

/* Forks its worker. The peer's groups are the session's then. */
static struct session *session_new(struct monitor *m, int sock, struct peer *peer, int *ret_error)
{
	struct session *s = calloc(1, sizeof(*s));
	pid_t pid = -ENOMEM;

	if (s) {
		s->monitor = m;
		keep_prepare(m, s, sock, &peer->link);
		pid = monitor_fork_worker(m->config, sock, peer);
		if (peer->link)
			fd_close(peer->link);
		peer->link = 0;
	}
	if (pid < 0) {
		if (s)
			keep_stop(s);
		free(s);
		*ret_error = pid;
		return NULL;
	}
	s->pid = pid;
	s->peer = *peer;
	peer->groups = NULL;
	s->next = m->sessions;
	m->sessions = s;
	keep_start(s);
	return s;
}

static void session_free(struct session *s)
{
	keep_stop(s);
	free(s->peer.groups);
	free(s);
}

/* Takes sock. known: who it is, where nobody need be asked. True: a worker serves it. */
static bool start_session(struct monitor *m, int taken, const struct peer *known)
{
	_cleanup_fd_ int sock = taken;
	struct peer peer = known ? *known : (struct peer){};
	const uint8_t go = GATE_GO;
	struct session *s;
	bool started = false;
	const char *why;
	char who[PEER_WORDS_MAX];
	int r;

	r = known ? 0 : ask_who(m, sock, &peer);
	if (r < 0) {
		if (log_allow(&m->failed, 5))
			log_warning("cannot tell who connects: %s", strerror(-r));
		goto out;
	}
	why = refuse(m, &peer);
	if (why) {
		if (log_allow(&m->refused, 5) && peer.pid)
			log_warning("refused pid %d, %s: %s", (int)peer.pid, peer_words(&peer, who),
				    why);
		else if (!peer.pid && log_allow(&m->refused, 5))
			log_warning("refused %s: %s", peer_words(&peer, who), why);
		goto out;
	}
	s = session_new(m, sock, &peer, &r);
	if (!s) {
		if (log_allow(&m->failed, 5))
			log_warning("cannot start a worker: %s", strerror(-r));
		goto out;
	}
	atomic_fetch_add(&m->config->server->shared->sessions, 1);
	started = true;
	/* Its relay waits for that before it lets the client speak. */
	if (peer.name[0])
		(void)send(sock, &go, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	log_debug("session of %s, pid %d: worker %d", peer_words(&peer, who), (int)peer.pid,
		  (int)s->pid);
out:
	free(peer.groups);
	return started;
}

static void session_ended(struct monitor *m, pid_t pid, int status)
{
	char who[PEER_WORDS_MAX];

	for (struct session **p = &m->sessions; *p; p = &(*p)->next) {
		struct session *s = *p;

		if (s->pid != pid)
			continue;
		if (WIFSIGNALED(status) && !(m->ending && WTERMSIG(status) == SIGKILL))
			log_error("worker of %s was killed by %s%s", peer_words(&s->peer, who),
				  strsignal(WTERMSIG(status)),
				  WTERMSIG(status) == SIGSYS
					  ? ": it made a system call that confinement forbids"
					  : "");
		*p = s->next;
		session_free(s);
		atomic_fetch_sub(&m->config->server->shared->sessions, 1);
		return;
	}
}

/* ---- events ---- */

static void listen_all(struct monitor *m, bool on)
{
	for (size_t i = 0; i < m->config->n_listeners; i++) {
		if (!m->listening[i])
			continue;
		if (on && !m->ending)
			(void)event_add(m->listening[i], NULL);
		else
			(void)event_del(m->listening[i]);
	}
}

static void on_pause_over(evutil_socket_t fd, short events, void *userdata)
{
	listen_all(userdata, true);
}

static void pause_listening(struct monitor *m)
{
	struct timeval later = { .tv_usec = LISTEN_PAUSE_MS * 1000 };

	listen_all(m, false);
	(void)event_add(m->pause, &later);
}

static bool is_remote(const struct monitor *m, int fd)
{
	for (size_t i = 0; i < m->config->n_listeners; i++)
		if (m->config->listeners[i].fd == fd)
			return m->config->listeners[i].remote;
	return true;
}

static void on_connect(evutil_socket_t fd, short events, void *userdata)
{
	struct monitor *m = userdata;
	int sock = accept4((int)fd, NULL, NULL, SOCK_CLOEXEC);

	if (sock >= 0) {
		/* The address that they reached is all that is known of them. */
		static const struct peer nobody = { .uid = PEER_NOBODY,
						    .gid = PEER_NOBODY,
						    .remote = true };
		bool remote = is_remote(m, (int)fd);
		int one = 1;

		if (remote) {
			(void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			(void)setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
		}
		(void)start_session(m, sock, remote ? &nobody : NULL);
		return;
	}
	switch (errno) {
	case EAGAIN:
	case EINTR:
	case ECONNABORTED:
		return;
	case EMFILE:
	case ENFILE:
		m->reserve = fd_close(m->reserve);
		sock = accept4((int)fd, NULL, NULL, SOCK_CLOEXEC);
		fd_close(sock);
		m->reserve = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
		if (log_allow(&m->failed, 1))
			log_warning("out of descriptors: a connection was turned away");
		if (sock < 0 || m->reserve < 0)
			pause_listening(m);
		return;
	default:
		if (log_allow(&m->failed, 1))
			log_warning("cannot accept: %s", strerror(errno));
		pause_listening(m);
	}
}

/* A relay has found out who its client is. What it says is checked like anybody's word. */
static void on_handoff(evutil_socket_t fd, short events, void *userdata)
{
	struct monitor *m = userdata;
	struct peer peer = { .uid = PEER_NOBODY, .gid = PEER_NOBODY, .remote = true };
	const struct access_list *access = m->config->access;
	struct packet_in in = { .fd = -EBADF };
	struct gate_handoff h;
	ssize_t n = packet_recv((int)fd, &h, sizeof(h), MSG_DONTWAIT, &in);

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n <= 0) {
		(void)event_del(m->handoff);
		return;
	}
	h.name[sizeof(h.name) - 1] = '\0';
	if (n != sizeof(h) || in.fd < 0 || !h.name[0] ||
	    (access->n ? h.entry >= access->n : h.entry != GATE_NO_ENTRY)) {
		fd_close(in.fd);
		return;
	}
	if (access->n) {
		peer.access = &access->entries[h.entry];
		if (peer.access->has_identity) {
			peer.uid = peer.access->uid;
			peer.gid = peer.access->gid;
		}
	}
	memcpy(peer.subject, h.subject, sizeof(peer.subject));
	for (size_t i = 0; i < sizeof(peer.name) && h.name[i]; i++)
		peer.name[i] = h.name[i] < ' ' || h.name[i] > '~' ? '?' : h.name[i];
	(void)start_session(m, in.fd, &peer);
}

static void on_child(evutil_socket_t sig, short events, void *userdata)
{
	struct monitor *m = userdata;
	int status;
	pid_t pid;

	/* Pid 1 also inherits whatever a worker could have left behind. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		session_ended(m, pid, status);
	quit_if_done(m);
}

static void stop_accepting(struct monitor *m)
{
	m->ending = true;
	listen_all(m, false);
	/* Ours are copies; the front's remain, for the monitor that follows. */
	for (size_t i = 0; i < m->config->n_listeners; i++)
		m->config->listeners[i].fd = fd_close(m->config->listeners[i].fd);
}

static void kill_sessions(struct monitor *m, int sig)
{
	for (struct session *s = m->sessions; s; s = s->next)
		(void)kill(s->pid, sig);
}

static void on_deadline(evutil_socket_t fd, short events, void *userdata)
{
	struct monitor *m = userdata;

	log_warning("sessions did not end in time: ending them");
	kill_sessions(m, SIGKILL);
}

static void on_term(evutil_socket_t sig, short events, void *userdata)
{
	struct monitor *m = userdata;
	uint32_t ms = m->config->server->limits.drain_ms;
	struct timeval drain = { ms / 1000, (ms % 1000) * 1000 };

	stop_accepting(m);
	kill_sessions(m, SIGTERM);
	(void)event_add(m->deadline, &drain);
	quit_if_done(m);
}

static void on_retire(evutil_socket_t sig, short events, void *userdata)
{
	struct monitor *m = userdata;

	stop_accepting(m);
	quit_if_done(m);
}

/* The front never speaks first: readable means gone. */
static void on_front_gone(evutil_socket_t fd, short events, void *userdata)
{
	struct monitor *m = userdata;

	kill_sessions(m, SIGKILL);
	(void)event_base_loopbreak(m->base);
}

static int add_event(struct monitor *m, struct event **ret, evutil_socket_t fd, short what,
		     event_callback_fn callback, bool start)
{
	*ret = event_new(m->base, fd, what, callback, m);
	if (!*ret)
		return -ENOMEM;
	return start && event_add(*ret, NULL) < 0 ? -ENOMEM : 0;
}

static int monitor_events(struct monitor *m)
{
	int r;

	m->base = event_base_new();
	m->listening = calloc(m->config->n_listeners, sizeof(*m->listening));
	if (!m->base || !m->listening)
		return -ENOMEM;
	r = add_event(m, &m->signals[0], SIGCHLD, EV_SIGNAL | EV_PERSIST, on_child, true);
	if (r == 0)
		r = add_event(m, &m->signals[1], SIGTERM, EV_SIGNAL | EV_PERSIST, on_term, true);
	if (r == 0)
		r = add_event(m, &m->signals[2], SIGUSR1, EV_SIGNAL | EV_PERSIST, on_retire, true);
	if (r == 0)
		r = add_event(m, &m->control, m->config->control, EV_READ | EV_PERSIST,
			      on_front_gone, true);
	if (r == 0 && m->config->handoff >= 0)
		r = add_event(m, &m->handoff, m->config->handoff, EV_READ | EV_PERSIST, on_handoff,
			      true);
	if (r == 0)
		r = add_event(m, &m->pause, -1, 0, on_pause_over, false);
	if (r == 0)
		r = add_event(m, &m->deadline, -1, 0, on_deadline, false);
	for (size_t i = 0; r == 0 && i < m->config->n_listeners; i++)
		if (m->config->listeners[i].listening)
			r = add_event(m, &m->listening[i], m->config->listeners[i].fd,
				      EV_READ | EV_PERSIST, on_connect, true);
	return r;
}

static void monitor_deinit(struct monitor *m)
{
	for (size_t i = 0; m->listening && i < m->config->n_listeners; i++)
		if (m->listening[i])
			event_free(m->listening[i]);
	free(m->listening);
	for (size_t i = 0; i < ARRAY_SIZE(m->signals); i++)
		if (m->signals[i])
			event_free(m->signals[i]);
	if (m->control)
		event_free(m->control);
	if (m->handoff)
		event_free(m->handoff);
	if (m->pause)
		event_free(m->pause);
	if (m->deadline)
		event_free(m->deadline);
	while (m->sessions) {
		struct session *s = m->sessions;

		m->sessions = s->next;
		session_free(s);
	}
	if (m->base)
		event_base_free(m->base);
	keep_deinit(m);
	fd_close(m->reserve);
}

/* What is left to do: fork, switch (or leave switching to workers), give workers their own mounts.
 */
static int drop_setup_caps(struct monitor_config *config)
{
	char detail[120];

	return confine_caps(identity_needed_caps(config->server) | CAP_BIT(CAP_SYS_ADMIN) |
				    CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID) |
				    CAP_BIT(CAP_SETPCAP) | CAP_BIT(CAP_KILL) |
				    CAP_BIT(CAP_SYS_RESOURCE),
			    detail, sizeof(detail));
}

int monitor_confine(struct monitor_config *config, struct serve_error *error)
{
	char missing[512];
	int r;

	r = confine_monitor(config->confine, config->server, error);
	if (r < 0)
		return serve_fail(error, r, "cannot confine the server: %s", strerror(-r));
	r = drop_setup_caps(config);
	if (r < 0)
		return serve_fail(error, r, "cannot drop capabilities: %s", strerror(-r));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return serve_fail(error, -errno, "prctl: %s", strerror(errno));
	/* Last: changes of credentials clear it. What may have died meanwhile shows at the control
	 * socket. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return serve_fail(error, -errno, "prctl: %s", strerror(errno));
	r = try_worker(config);
	if (r == 0)
		r = confine_settle(config->confine);
	if (r < 0)
		return r;
	if (!confine_complete(config->confine, missing, sizeof(missing)))
		log_warning("serving with less confinement, these layers are missing here: %s",
			    missing);
	return 0;
}

int monitor_explain(struct monitor_config *config)
{
	struct serve_error error = {};
	int r = confine_monitor(config->confine, config->server, &error);

	if (r == 0)
		r = drop_setup_caps(config);
	if (r == 0)
		r = try_worker(config);
	if (error.text[0])
		log_error("%s", error.text);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int monitor_run(struct monitor_config *config)
{
	struct monitor m = { .config = config, .reserve = -EBADF };
	uint8_t ready = MONITOR_READY;
	struct iovec iov = { &ready, sizeof(ready) };
	struct serve_error error = {};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	r = monitor_confine(config, &error);
	if (r < 0) {
		if (error.text[0])
			log_error("%s", error.text);
		return EXIT_FAILURE;
	}
	r = keep_init(&m);
	if (r == 0)
		r = monitor_events(&m);
	/* What was freed until here is put in order now, or each worker would do so in pages of its own. */
	(void)malloc_trim(0);
	if (r == 0) {
		m.reserve = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
		r = packet_send(config->control, &iov, 1, -EBADF, 0);
	}
	for (size_t i = 0; r == 0 && i < config->n_listeners; i++) {
		/* A client that came with the command line: when it leaves, there is nobody else to
		 * wait for. */
		if (!config->listeners[i].listening) {
			(void)start_session(&m, TAKE_FD(config->listeners[i].fd), NULL);
			m.ending = true;
		}
	}
	for (size_t i = 0; i < config->n_listeners; i++)
		if (config->listeners[i].listening)
			m.ending = false;
	if (config->handoff >= 0)
		m.ending = false;
	if (r == 0 && !(m.ending && !m.sessions))
		r = event_base_dispatch(m.base) < 0 ? -EIO : 0;
	if (r < 0)
		log_error("monitor: %s", strerror(-r));
	monitor_deinit(&m);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
