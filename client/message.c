/*
 * message.c - the words for the calling thread's last failure, and where it led if that was elsewhere.
 *
 * Most failures are ENOENT that nobody asks about (programs probe for files), so the usual message
 * is kept in pieces and put together by gofer_message() only.
 */
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/namespace.h"
#include "common/path.h"

static _Thread_local struct {
	int error;
	const char *op; /* NULL: `text` is the whole message */
	char path[256];
	char text[512];
} last;

int fail_words(int error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(last.text, sizeof(last.text), format, ap);
	va_end(ap);
	last.error = error;
	last.op = NULL;
	return error;
}

int fail_path(int error, const char *op, const char *path)
{
	size_t n = strnlen(path, sizeof(last.path) - 1);

	/* What broke the connection has its own words, and they say more than which call met it. */
	if (last.error == error && !last.op && (error == -EPROTO || error == -EMFILE))
		return error;
	memcpy(last.path, path, n);
	last.path[n] = '\0';
	last.op = op;
	last.error = error;
	return error;
}

const char *gofer_message(void)
{
	char path[1024], words[128];

	if (!last.op)
		return last.text[0] ? last.text : "no error";
	snprintf(last.text, sizeof(last.text), "%s %s: %s", last.op,
		 path_escape(last.path, strlen(last.path), path, sizeof(path)),
		 strerror_r(-last.error, words, sizeof(words)));
	last.op = NULL;
	return last.text;
}

/* On the heap: a thread that needs none, of a server even, does without the pages. */
static _Thread_local char *foreign;
static pthread_once_t foreign_once = PTHREAD_ONCE_INIT;
static pthread_key_t foreign_key; /* frees it with the thread */
static bool foreign_has_key;

static void foreign_init(void)
{
	foreign_has_key = pthread_key_create(&foreign_key, free) == 0;
}

static bool foreign_room(void)
{
	(void)pthread_once(&foreign_once, foreign_init);
	if (!foreign && foreign_has_key) {
		foreign = malloc(3 * PATH_MAX);
		if (pthread_setspecific(foreign_key, foreign) != 0) {
			free(foreign);
			foreign = NULL;
		}
	}
	return foreign;
}

void foreign_note(const char *pos, const char *path, size_t len)
{
	size_t n = strlen(pos);

	if (!foreign_room())
		return;
	n = n > 1 ? n : 0;
	memcpy(foreign, pos, n);
	if (len || n == 0)
		foreign[n++] = '/';
	memcpy(foreign + n, path, len);
	foreign[n + len] = '\0';
}

const char *gofer_foreign_path(void)
{
	return foreign ? foreign : "";
}

const char *gofer_version(void)
{
	return GOFER_VERSION;
}

const char *gofer_rpc_name(unsigned type)
{
	const struct rpc_info *rpc = type < RPC_TYPE_LIMIT ? rpc_find((uint16_t)type) : NULL;

	return rpc ? rpc->name : NULL;
}
