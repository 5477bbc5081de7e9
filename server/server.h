/*
 * server.h - what the parts of the server share: its configuration and the shape of its processes.
 *
 *     front     `gofer serve` itself: checks the volumes, owns the listening socket's name, takes
 *       |       signals, runs --run's command. Outside of all namespaces; holds no tree once the
 *       |       monitor runs.
 *     monitor   pid 1 of the confined namespaces, in an empty read-only root: accepts, checks who
 *       |       connects, forks a worker per session, reaps. One libevent loop. SIGHUP replaces it
 *       |       with one on freshly opened volumes; the old one drains.
 *     worker    one session. Least capabilities, no_new_privs, Landlock, seccomp. Threads that each
 *               receive, execute and reply.
 *
 *     gate      only with TLS listeners: beside the monitor, with the private key and without trees. Forks
 *               a relay per connection (gate.h).
 *
 * A worker that is taken over has only what its own client had. One that dies takes its session's
 * handles with it, and no other.
 */
#pragma once

#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "common/util.h"
#include "server/fs/fs.h"

enum identity_mode { IDENTITY_SQUASH, IDENTITY_DELEGATE };
enum donate_mode {
	DONATE_NEVER,
	DONATE_RO,     /* only descriptors opened for reading */
	DONATE_ALWAYS, /* "always": whenever the client wants and the rules allow */
};

struct id_range {
	uint32_t low, high; /* inclusive */
};

struct volume {
	struct fs fs;    /* fs.fs_id is its number in every session */
	char *host_path; /* as given, for messages; not reachable from the worker */
	char *name;
	bool read_only, xdev, noexec, special;
	enum donate_mode donate;
	enum identity_mode identity;
	uid_t squash_uid; /* squash: everything runs as this */
	gid_t squash_gid;
	struct id_range uids, gids; /* delegate: what an identity may be */
	uint64_t caps; /* capability bits that the volume asked for (caps=); effective only while
			  uid 0 acts in it */
};

struct server_limits {
	uint32_t max_sessions;     /* of the server */
	uint32_t max_sessions_uid; /* of one peer uid */
	uint32_t max_handles;      /* of a session */
	uint32_t max_in_flight;    /* of a session */
	uint32_t max_threads;      /* of a session */
	uint32_t max_identities;   /* of a session */
	uint32_t max_watches;      /* of a session; 0 = none are given */
	uint32_t max_channels;     /* of a session; 0 = none are taken */
	uint32_t hello_ms;         /* from connect to Hello */
	uint32_t drain_ms;         /* from SIGTERM to the end */
	uint32_t resume_ms;        /* from a stream's loss to the end of its session; 0 = at once */
	uint32_t max_lost_uid;     /* sessions of one peer that wait for a connection */
	/* TLS, before it is known who the client is: */
	uint32_t handshake_ms;        /* from connect to the client's credentials */
	uint32_t max_unknown;         /* connections */
	uint32_t max_unknown_address; /* of one address */
	uint32_t max_failures;        /* of one address in a minute */
};
#define SERVER_LIMITS_DEFAULT                              \
	((struct server_limits){ .max_sessions = 256,      \
				 .max_sessions_uid = 128,  \
				 .max_handles = 65536,     \
				 .max_in_flight = 256,     \
				 .max_threads = 8,         \
				 .max_identities = 1024,   \
				 .max_watches = 4096,      \
				 .max_channels = 8,        \
				 .hello_ms = 10000,        \
				 .drain_ms = 5000,         \
				 .resume_ms = 30000,       \
				 .max_lost_uid = 16,       \
				 .handshake_ms = 10000,    \
				 .max_unknown = 64,        \
				 .max_unknown_address = 8, \
				 .max_failures = 30 })

/* Counters that all workers share with the monitor: one anonymous shared page, only ever added to.
 */
struct server_shared {
	_Atomic uint32_t sessions;
	_Atomic uint64_t started; /* CLOCK_MONOTONIC ns */
	_Atomic uint64_t logged;  /* by all workers: the second, and how many lines in it */
};

struct server {
	struct volume *volumes;
	size_t n_volumes;
	struct server_limits limits;
	struct server_shared *shared;
	const char *version;
	bool log_requests; /* one line per request at info level */
};

/* In no range of uids. */
#define PEER_NOBODY UINT32_MAX
enum { PEER_NAME_MAX = 160 };
struct access_entry;

/* Who is at the other end: taken once, at accept, from SO_PEERCRED and SO_PEERGROUPS. */
struct peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary */
	size_t n_groups;
	const struct access_entry *access; /* what --tls-access gives it; NULL */
	char name[PEER_NAME_MAX];          /* for the log; "" = its uid says it */
	uint8_t subject[32];               /* of its certificate: a digest; 0 = there is none */
	int link;                          /* to the monitor (resume.h); 0 = there is none */
	bool remote; /* not of this machine, or nobody knows: never may it register identities */
};

/* For the log: "uid 1000", "alice (192.0.2.1:4455)", "a remote client". */
enum { PEER_WORDS_MAX = PEER_NAME_MAX };
const char *peer_words(const struct peer *peer, char buf[static PEER_WORDS_MAX]);

/*
 * Serves one session on `sock` (connected, SEQPACKET or stream, taken) in the calling, already
 * confined process until the peer leaves, breaks the protocol, or *draining gets set by a signal
 * handler (which must be installed without SA_RESTART). proc_fd is this process's /proc/self/fd
 * directory (borrowed): the threads make it their working directory. The calling thread is one of
 * the session's. Returns 0, or -errno for why the session was ended by us (already logged).
 */
int session_run(const struct server *server, int sock, const struct peer *peer, int proc_fd,
		const volatile sig_atomic_t *draining);
