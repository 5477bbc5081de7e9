/*
 * listener.h - where clients come in: a Unix socket by path, abstract, or handed over by whoever
 * started us; vsock; TCP of this machine.
 */
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include "server/serve_error.h"

struct listener {
	int fd;
	bool listening; /* else one connected client */
	bool remote;    /* who comes in there has no uid here */
	bool tls;       /* for the gate, not for the monitor */
	char *address;  /* as a client names it: "unix:/path", "unix:@name", "fd:N" ... */
	char *path;     /* of a socket that we bound, to be removed at the end; NULL */
	dev_t dev;      /* ... if it is still this one */
	ino_t ino;
	pid_t owner; /* only this process removes it */
};
#define LISTENER_NULL ((struct listener){ .fd = -EBADF })

struct listener_options {
	mode_t mode;
	gid_t group; /* (gid_t)-1 = leave */
	bool insecure_tcp;
};

/*
 * "unix:/path", "unix:@name", "unix-stream:" likewise, "fd:N", "vsock:CID:PORT", "tls:HOST:PORT", "tcp:HOST:PORT"
 * (options.insecure_tcp, loopback). -EADDRINUSE where a live server answers on the path; a socket
 * file on which nobody answers is replaced if it is ours.
 */
int listener_open(const char *address, const struct listener_options *options, struct listener *ret,
		  struct serve_error *error);
/* The n-th descriptor that the service manager passed (LISTEN_FDS, LISTEN_PID); listener_passed()
 * says how many there are. */
unsigned listener_passed(void);
int listener_adopt(unsigned n, struct listener *ret, struct serve_error *error);
void listener_deinit(struct listener *listener);
