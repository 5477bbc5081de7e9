/*
 * buffer.c - see buffer.h. Where AddressSanitizer watches it is malloc's memory, so that its ends are seen.
 */
#include "server/buffer.h"

#include <sys/mman.h>

#include "common/util.h"

#ifdef __SANITIZE_ADDRESS__

void *buffer_new(size_t size)
{
	return malloc(size);
}

void buffer_free(void *buffer, size_t size)
{
	free(buffer);
}

#else

void *buffer_new(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void buffer_free(void *buffer, size_t size)
{
	if (buffer)
		(void)munmap(buffer, size);
}

#endif
