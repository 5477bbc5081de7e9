/*
 * bus.h - reading and writing memory that may not be there: SIGBUS is an answer. Each thread has its own.
 */
#pragma once

#include <setjmp.h>
#include <signal.h>

#include "common/util.h"

static _Thread_local sigjmp_buf bus;

/* The handler of SIGBUS. */
static inline void on_bus(int sig _unused_)
{
	siglongjmp(bus, 1);
}

/* Each byte once, in order. false: SIGBUS. */
static inline bool copy(uint8_t *to, const uint8_t *from, size_t size)
{
	if (sigsetjmp(bus, 1))
		return false;
	for (size_t i = 0; i < size; i++)
		to[i] = ((const volatile uint8_t *)from)[i];
	return true;
}
