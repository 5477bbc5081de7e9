/*
 * mapping_fixture.h - touching memory that may be SIGBUS.
 */
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <criterion/criterion.h>

#include "client/gofer.h"
#include "client/mapping_limits.h"
#include "common/util.h"

enum { PAGE = 4096 };

static _Thread_local sigjmp_buf bus_jump;
static _Thread_local volatile sig_atomic_t bus_expected;
static volatile sig_atomic_t bus_count; /* of all threads */

static void on_bus(int sig, siginfo_t *info _unused_, void *context _unused_)
{
	/* Whoever did not expect it dies of it. */
	if (!bus_expected)
		signal(sig, SIG_DFL);
	bus_count++;
	siglongjmp(bus_jump, sig);
}

static inline void catch_bus(void)
{
	struct sigaction act = { .sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGSEGV, &act, NULL);
}

/* The byte there, or minus the signal. */
__attribute__((noinline)) static int load(const volatile uint8_t *at)
{
	int sig = sigsetjmp(bus_jump, 1), byte;

	if (sig) {
		bus_expected = 0;
		return -sig;
	}
	bus_expected = 1;
	byte = *at;
	bus_expected = 0;
	return byte;
}
