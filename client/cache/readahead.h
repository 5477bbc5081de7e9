/*
 * readahead.h - what to read before it is asked for: nothing while reads jump about; from 16 KiB on,
 * doubled each time, up to 2 MiB, while each read begins where the last one ended. The next window is
 * asked for when the reader enters the last one, so that it is on its way while that is read.
 */
#pragma once

#include "client/cache/interval.h"

enum { READAHEAD_FIRST = 16 << 10, READAHEAD_MOST = 2 << 20 };

enum readahead_advice { READAHEAD_NORMAL, READAHEAD_SEQUENTIAL, READAHEAD_RANDOM };

/* Of one open file; all zero at first: a read that begins with the first byte is sequential. */
struct readahead {
	uint64_t next;          /* where the last read ended */
	struct interval window; /* what was asked for last */
	uint64_t most;          /* less than READAHEAD_MOST, for a small cache; 0: no less */
	enum readahead_advice advice;
};

/* For each read: the range to ask for now, empty for nothing. */
struct interval readahead_step(struct readahead *r, uint64_t offset, size_t size);
