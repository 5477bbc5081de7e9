/*
 * ready.h - telling others that the server serves: a line on a descriptor, a datagram to the
 * service manager.
 */
#pragma once

#include "common/util.h"

/* Writes a newline to fd and closes it (the convention of --ready-fd elsewhere). Negative: nothing.
 */
void ready_fd(int fd);
/* Sends `state` ("READY=1") to $NOTIFY_SOCKET. Nothing where there is none; failures are nobody's
 * business but the manager's. */
void ready_notify(const char *state);
/* "RELOADING=1" with the time stamp that goes with it. */
void ready_notify_reloading(void);
