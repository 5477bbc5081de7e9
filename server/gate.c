/*
 * gate.c - accept, count, fork: one thread, one poll(2), a table of connections that are not known
 * yet.
 *
 * Strangers cost a process each until they are known, so there are few of them, in all and from one
 * address (of IPv6, from one /64), each with a deadline; and an address that fails too often in a
 * minute is turned away before a process is made for it. Whoever is known is the monitor's to count.
 */
#include "server/gate.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "common/log.h"
#include "common/packet.h"
#include "server/confine.h"
#include "server/relay.h"

enum { FAILURES_SIZE = 1024, FAILURE_WINDOW_S = 60, TICKET_SECONDS = 3600, ACCEPT_PAUSE_MS = 100 };

struct address_key {
	uint8_t bytes[8];
};

/* A connection whose client is not known yet. */
struct pending {
	pid_t pid;
	int status;
	struct address_key key;
	char address[NET_TEXT_MAX];
};

struct failures {
	struct address_key key;
	uint64_t window; /* seconds; 0 = unused */
	uint32_t count;
};

struct gate {
	const struct gate_config *config;
	SSL_CTX *ctx;
	int signals;
	struct pending *pending;
	size_t n_pending, max_pending;
	size_t relays; /* processes, known or not */
	struct failures failures[FAILURES_SIZE];
	struct log_limit refused, failed;
	bool ending;
};

/* ---- addresses ---- */

static struct address_key key_of(const struct sockaddr_storage *address)
{
	struct address_key key = { { 0 } };
	const struct in6_addr *six = &((const struct sockaddr_in6 *)address)->sin6_addr;

	if (address->ss_family == AF_INET)
		memcpy(key.bytes + 4, &((const struct sockaddr_in *)address)->sin_addr, 4);
	else if (IN6_IS_ADDR_V4MAPPED(six))
		memcpy(key.bytes + 4, six->s6_addr + 12, 4);
	else
		memcpy(key.bytes, six->s6_addr, 8);
	return key;
}

static bool same_key(const struct address_key *a, const struct address_key *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* The address's place in the table: its own, or that of whose window has ended, or the oldest of a
 * few. */
static struct failures *failures_of(struct gate *g, const struct address_key *key)
{
	uint64_t now = now_ns() / 1000000000 + 1, hash = 0;
	struct failures *oldest = NULL;

	for (size_t i = 0; i < sizeof(key->bytes); i++)
		hash = (hash ^ key->bytes[i]) * UINT64_C(1099511628211);
	for (size_t i = 0; i < 8; i++) {
		struct failures *f = &g->failures[(hash + i) % FAILURES_SIZE];

		if (f->window && same_key(&f->key, key)) {
			if (f->window + FAILURE_WINDOW_S <= now)
				*f = (struct failures){ .key = *key, .window = now };
			return f;
		}
		if (!oldest || f->window < oldest->window)
			oldest = f;
	}
	*oldest = (struct failures){ .key = *key, .window = now };
	return oldest;
}

static const char *refuse(struct gate *g, const struct address_key *key)
{
	const struct server_limits *limits = &g->config->options->limits;
	size_t same = 0;

	for (size_t i = 0; i < g->n_pending; i++)
		same += same_key(&g->pending[i].key, key);
	if (failures_of(g, key)->count >= limits->max_failures)
		return "too many failures from this address (--max-failures)";
	if (same >= limits->max_unknown_address)
		return "too many unfinished connections from this address "
		       "(--max-unauthenticated-per-address)";
	if (g->n_pending >= g->max_pending)
		return "too many unfinished connections (--max-unauthenticated)";
	return NULL;
}

/* ---- relays ---- */

static void run_relay(struct gate *g, int sock, int status, const int pair[2], const char *address)
{
	struct gate_relay relay = { .config = g->config,
				    .ctx = g->ctx,
				    .sock = sock,
				    .status = status,
				    .pair = { pair[0], pair[1] } };
	int keep[] = { sock, status, pair[0], pair[1], g->config->handoff };
	int one = 1, flags;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(relay.address, sizeof(relay.address), "%s", address);
	(void)setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	flags = fcntl(sock, F_GETFL);
	if (flags < 0 || fcntl(sock, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(pair[0], F_SETFL, fcntl(pair[0], F_GETFL) | O_NONBLOCK) < 0 ||
	    confine_close_others(keep, ARRAY_SIZE(keep)) < 0)
		_exit(EXIT_FAILURE);
	gate_relay_main(&relay);
}

static int start_relay(struct gate *g, int sock, const struct address_key *key, const char *address)
{
	struct pending *p = &g->pending[g->n_pending];
	_cleanup_fd_ int ours = -EBADF, theirs = -EBADF, mine = -EBADF, sessions = -EBADF;
	int status[2], pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, status) < 0)
		return -errno;
	ours = status[0];
	theirs = status[1];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	mine = pair[0];
	sessions = pair[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_relay(g, sock, theirs, pair, address);
	g->relays++;
	*p = (struct pending){ .pid = pid, .status = TAKE_FD(ours), .key = *key };
	snprintf(p->address, sizeof(p->address), "%s", address);
	g->n_pending++;
	return 0;
}

static void on_connect(struct gate *g, int listener)
{
	struct sockaddr_storage address = { 0 };
	socklen_t len = sizeof(address);
	_cleanup_fd_ int sock = accept4(listener, (struct sockaddr *)&address, &len, SOCK_CLOEXEC);
	struct address_key key = key_of(&address);
	char text[NET_TEXT_MAX];
	const char *why;
	int r;

	if (sock < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		if (log_allow(&g->failed, 1))
			log_warning("cannot accept: %s", strerror(errno));
		/* It would be readable at once again. */
		(void)poll(NULL, 0, ACCEPT_PAUSE_MS);
		return;
	}
	net_print((struct sockaddr *)&address, len, text);
	why = refuse(g, &key);
	if (why) {
		if (log_allow(&g->refused, 20))
			log_warning("refused %s: %s", text, why);
		return;
	}
	r = start_relay(g, sock, &key, text);
	if (r < 0 && log_allow(&g->failed, 5))
		log_warning("cannot start a relay: %s", strerror(-r));
}

/* A relay says how it went, or is gone without a word. */
static void on_status(struct gate *g, size_t index)
{
	struct pending p = g->pending[index];
	struct gate_status status = { .result = -ECONNRESET, .words = "its relay died" };
	struct packet_in in = { .fd = -EBADF };
	ssize_t n = packet_recv(p.status, &status, sizeof(status), MSG_DONTWAIT, &in);

	if (n == -EAGAIN || n == -EINTR)
		return;
	fd_close(in.fd);
	status.words[sizeof(status.words) - 1] = '\0';
	for (char *c = status.words; *c; c++)
		if (*c < ' ' || *c == 0x7f)
			*c = '?';
	fd_close(p.status);
	g->pending[index] = g->pending[--g->n_pending];
	if (status.result >= 0)
		return;
	/* That we have no room for it is not its failure. */
	if (status.result != -EBUSY)
		failures_of(g, &p.key)->count++;
	if (log_allow(&g->refused, 20))
		log_warning("refused %s: %s", p.address, status.words);
}

static void on_signals(struct gate *g)
{
	struct signalfd_siginfo info;

	while (read(g->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGUSR1) {
			uint8_t retired = GATE_RETIRED;
			struct iovec iov = { &retired, sizeof(retired) };

			/* From here on nobody comes in by what was read before. */
			g->ending = true;
			(void)packet_send(g->config->control, &iov, 1, -EBADF, MSG_DONTWAIT);
		} else if (info.ssi_signo == SIGTERM) {
			g->ending = true;
			for (size_t i = 0; i < g->n_pending; i++)
				(void)kill(g->pending[i].pid, SIGKILL);
		}
	}
	/* As pid 1 it inherits nobody else's. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		g->relays--;
}

static int gate_loop(struct gate *g)
{
	const struct gate_config *c = g->config;
	size_t size = 2 + c->n_listeners + g->max_pending;
	struct pollfd *fds = calloc(size, sizeof(*fds));
	int r = fds ? 0 : -ENOMEM;

	while (r == 0 && !(g->ending && g->relays == 0)) {
		size_t n = 0;
		size_t listeners, pending;

		fds[n++] = (struct pollfd){ .fd = g->signals, .events = POLLIN };
		fds[n++] = (struct pollfd){ .fd = c->control, .events = POLLIN };
		listeners = n;
		for (size_t i = 0; i < c->n_listeners; i++)
			fds[n++] = (struct pollfd){ .fd = c->listeners[i].tls && !g->ending
								  ? c->listeners[i].fd
								  : -1,
						    .events = POLLIN };
		pending = n;
		for (size_t i = 0; i < g->n_pending; i++)
			fds[n++] = (struct pollfd){ .fd = g->pending[i].status, .events = POLLIN };
		if (poll(fds, n, -1) < 0) {
			r = errno == EINTR ? 0 : -errno;
			continue;
		}
		if (fds[1].revents)
			break; /* the front is gone */
		/* From the last, since one that is done is replaced by the last. */
		for (size_t i = n; i-- > pending;)
			if (fds[i].revents)
				on_status(g, i - pending);
		if (fds[0].revents)
			on_signals(g);
		for (size_t i = 0; i < c->n_listeners; i++)
			if (fds[listeners + i].revents)
				on_connect(g, c->listeners[i].fd);
	}
	free(fds);
	return r;
}

/* ---- start ---- */

/*
 * A ticket is good for this gate only, whose keys are its own; and were they ever shared, for those
 * who serve the same volumes to the same clients.
 */
static int bind_tickets(struct gate *g)
{
	const struct serve_options *o = g->config->options;
	uint8_t digest[SHA256_DIGEST_LENGTH];
	EVP_MD_CTX *sum = EVP_MD_CTX_new();
	bool ok = sum && EVP_DigestInit_ex(sum, EVP_sha256(), NULL) == 1;

	for (size_t i = 0; i < o->n_specs; i++)
		ok = ok && EVP_DigestUpdate(sum, o->specs[i], strlen(o->specs[i]) + 1) == 1;
	ok = ok && EVP_DigestUpdate(sum, g->config->access->digest, ACCESS_DIGEST) == 1 &&
	     EVP_DigestFinal_ex(sum, digest, NULL) == 1;
	EVP_MD_CTX_free(sum);
	if (!ok)
		return -ENOMEM;
	SSL_CTX_set_timeout(g->ctx, TICKET_SECONDS);
	SSL_CTX_set_session_cache_mode(g->ctx, SSL_SESS_CACHE_SERVER);
	return SSL_CTX_set_session_id_context(g->ctx, digest, sizeof(digest)) == 1 ? 0 : -ENOMEM;
}

static int open_context(struct gate *g)
{
	const struct serve_options *o = g->config->options;
	char words[TLS_WORDS_MAX];
	int r, verify = SSL_VERIFY_NONE;

	r = tls_context_new(true, &o->tls, &g->ctx, words);
	if (r < 0) {
		log_error("%s", words);
		return r;
	}
	if (o->tls.ca)
		verify = SSL_VERIFY_PEER;
	if (o->tls.ca && !g->config->access->tokens)
		verify |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_verify(g->ctx, verify, NULL);
	r = bind_tickets(g);
	if (r < 0)
		log_error("TLS: %s", strerror(-r));
	return r;
}

static int open_signals(struct gate *g)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
		return -errno;
	g->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return g->signals < 0 ? -errno : 0;
}

static int confine_gate(struct gate *g, char detail[static TLS_WORDS_MAX])
{
	struct server nothing = { 0 };
	struct serve_error error = {};
	int r;

	r = confine_monitor(g->config->confine, &nothing, &error);
	if (r < 0) {
		snprintf(detail, TLS_WORDS_MAX, "%.500s",
			 error.text[0] ? error.text : strerror(-r));
		return r;
	}
	r = confine_relay(RELAY_GATE, !g->config->options->best_effort, detail, TLS_WORDS_MAX);
	/* Last: changes of credentials clear it. */
	if (r == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		r = -errno;
	return r;
}

int gate_run(const struct gate_config *config)
{
	struct gate g = { .config = config, .signals = -EBADF };
	uint8_t ready = GATE_READY;
	struct iovec iov = { &ready, sizeof(ready) };
	char detail[TLS_WORDS_MAX] = "";
	bool kernel = tls_kernel_can();
	int r;

	/* The C library reads its files when it first needs them; there will be none. */
	tzset();
	g.max_pending = config->options->limits.max_unknown;
	g.pending = calloc(g.max_pending, sizeof(*g.pending));
	r = g.pending ? open_signals(&g) : -ENOMEM;
	if (r == 0 && open_context(&g) < 0)
		return EXIT_FAILURE;
	if (r == 0)
		r = confine_gate(&g, detail);
	if (r < 0) {
		log_error("cannot confine the TLS gate: %s", detail[0] ? detail : strerror(-r));
		return EXIT_FAILURE;
	}
	log_info("TLS 1.3: records are encrypted by %s",
		 kernel ? "the kernel where OpenSSL agrees, else OpenSSL"
			: "OpenSSL (this kernel has no TLS)");
	r = packet_send(config->control, &iov, 1, -EBADF, 0);
	if (r == 0)
		r = gate_loop(&g);
	if (r < 0)
		log_error("TLS gate: %s", strerror(-r));
	SSL_CTX_free(g.ctx);
	free(g.pending);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
