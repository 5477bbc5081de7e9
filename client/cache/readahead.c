/*
 * readahead.c - see readahead.h.
 */
#include "client/cache/readahead.h"

struct interval readahead_step(struct readahead *r, uint64_t offset, size_t size)
{
	uint64_t end = offset + size, begin = MAX(r->window.end, end);
	uint64_t length = 2 * (r->window.end - r->window.begin);
	uint64_t most = r->most ? r->most : READAHEAD_MOST;
	bool follows = offset == r->next;

	r->next = end;
	if (r->advice == READAHEAD_RANDOM || (!follows && r->advice == READAHEAD_NORMAL)) {
		r->window = (struct interval){ 0, 0 };
		return r->window;
	}
	if (!follows)
		begin = end;
	else if (end <= r->window.begin)
		return (struct interval){ 0, 0 };
	length = MAX(length, (uint64_t)READAHEAD_FIRST);
	if (r->advice == READAHEAD_SEQUENTIAL)
		length = most;
	length = MIN(length, most);
	r->window = (struct interval){ begin, begin + length };
	return r->window;
}
