/*
 * gate.h - where TLS clients come in.
 *
 *     gate      holds the TLS listeners and the private key, and no tree. Accepts, counts by address,
 *       |       forks a relay per connection.
 *     relay     handshake and authentication, within a deadline; then asks the monitor for a session
 *               (one packet with one end of a socket pair), and carries its bytes until the end.
 *
 * A session's worker never sees the key, the connection, nor TLS; the gate and its relays never see
 * a tree. One gate per monitor: both are replaced when the server reloads.
 */
#pragma once

#include "common/net.h"
#include "common/tls.h"
#include "server/access.h"
#include "server/listener.h"
#include "server/serve.h"

enum { GATE_NAME_MAX = 160, GATE_READY = 1, GATE_GO = 2, GATE_RETIRED = 3 };
#define GATE_NO_ENTRY UINT32_MAX

/* From a relay to the monitor, with the session's socket. The answer is one byte on that, GATE_GO, or
 * its end. */
struct gate_handoff {
	uint32_t entry;           /* of the access list */
	uint8_t subject[32];      /* a digest of the certificate's; 0 = there is none */
	char name[GATE_NAME_MAX]; /* for the log: "alice (192.0.2.1:4455)" */
};

struct gate_config {
	const struct serve_options *options;
	const struct access_list *access; /* without entries: every certificate of the CA */
	const struct listener *listeners; /* those that are `tls` are ours */
	size_t n_listeners;
	int control; /* to the front: GATE_READY, and after SIGUSR1 GATE_RETIRED; its end is the end */
	int handoff; /* to the monitor */
	struct confine *confine;
};

/* Reads certificates and key, confines itself, serves. Returns the exit status. */
int gate_run(const struct gate_config *config);

/* ---- gate_start.c ---- */

/*
 * Starts a gate in a child process (confine, control and handoff of the configuration are filled in)
 * and waits until it is ready. *ret_handoff is for the monitor.
 */
int gate_start(const struct gate_config *config, pid_t *ret_pid, int *ret_control, int *ret_handoff,
	       struct serve_error *error);
/* Ends it, and waits for that. */
void gate_kill(pid_t pid, int control);
/* Returns when it lets nobody in any more; whoever is in stays. */
void gate_retire(pid_t pid, int control);

/* ---- gate_relay.c ---- */

/* What a relay reports to the gate, once. */
struct gate_status {
	int32_t result; /* 0: authenticated; -errno */
	char words[TLS_WORDS_MAX];
};

struct gate_relay {
	const struct gate_config *config;
	SSL_CTX *ctx;
	int sock;    /* the connection */
	int status;  /* to the gate */
	int pair[2]; /* ours, and the session's */
	char address[NET_TEXT_MAX];
};
/* In a process of its own. */
void gate_relay_main(struct gate_relay *relay) __attribute__((noreturn));

/* ---- gate_pump.c ---- */

/*
 * Carries bytes between the connection and `sock` (neither blocks) until both have ended, or one has
 * failed: 0, or -errno with words. -ECONNABORTED: the other side's end was not its own (no
 * close_notify). Once `sock` has ended, what is left to send has linger_ms.
 */
int gate_pump(SSL *ssl, int sock, int linger_ms, char ret_words[static TLS_WORDS_MAX]);
