/*
 * message.c - see message.h. Everything here follows the descriptors that protobuf-c generates: a
 * new RPC, or a new field, is mutated from the day it is in proto/. The one thing that must be told
 * by hand is what a name means (the table `words`); a request's field that is not in it makes every
 * fuzzer, and the replay in `make test`, refuse to run.
 */
#include "tests/fuzz/message.h"

#include <stdio.h>
#include <string.h>

#include "proto/rpc.h"

enum meaning {
	MEANS_UNKNOWN,
	MEANS_NUMBER,
	MEANS_HANDLE,
	MEANS_FILESYSTEM,
	MEANS_TAG,
	MEANS_SMALL, /* identities, versions, budgets */
	MEANS_BITS,  /* flags, modes, masks */
	MEANS_ID,    /* uid, gid */
	MEANS_PATH,
	MEANS_TARGET,
	MEANS_XATTR,
	MEANS_TEXT,
};

static const struct {
	const char *name;
	enum meaning meaning;
} words[] = {
	{ "handle", MEANS_HANDLE },
	{ "handles", MEANS_HANDLE },
	{ "base_handle", MEANS_HANDLE },
	{ "source", MEANS_HANDLE },
	{ "dest", MEANS_HANDLE },
	{ "fs_id", MEANS_FILESYSTEM },
	{ "tag", MEANS_TAG },
	{ "version", MEANS_SMALL },
	{ "id", MEANS_SMALL },
	{ "drop", MEANS_SMALL },
	{ "identity", MEANS_SMALL },
	{ "follow", MEANS_SMALL },
	{ "flags", MEANS_BITS },
	{ "mode", MEANS_BITS },
	{ "umask", MEANS_BITS },
	{ "mask", MEANS_BITS },
	{ "uid", MEANS_ID },
	{ "gid", MEANS_ID },
	{ "groups", MEANS_ID },
	{ "path", MEANS_PATH },
	{ "target", MEANS_TARGET },
	{ "name", MEANS_XATTR },
	{ "features", MEANS_TEXT },
	{ "client", MEANS_TEXT },
	{ "resume", MEANS_TEXT },
	{ "offset", MEANS_NUMBER },
	{ "source_offset", MEANS_NUMBER },
	{ "dest_offset", MEANS_NUMBER },
	{ "length", MEANS_NUMBER },
	{ "count", MEANS_NUMBER },
	{ "size", MEANS_NUMBER },
	{ "max_bytes", MEANS_NUMBER },
	{ "cookie", MEANS_NUMBER },
	{ "rdev", MEANS_NUMBER },
	{ "atime", MEANS_NUMBER },
	{ "atime_nsec", MEANS_NUMBER },
	{ "mtime", MEANS_NUMBER },
	{ "mtime_nsec", MEANS_NUMBER },
	/* Of replies only: what is not here is a number. */
	{ "begin", MEANS_SMALL },
	{ "end", MEANS_SMALL },
	{ "which", MEANS_SMALL },
	{ "reason", MEANS_SMALL },
	{ "type", MEANS_SMALL },
	{ "error", MEANS_SMALL },
	{ "access", MEANS_SMALL },
	{ "refused", MEANS_SMALL },
	{ "layout", MEANS_SMALL },
	{ "watch", MEANS_SMALL },
	{ "watches", MEANS_SMALL },
};

static enum meaning meaning_of(const ProtobufCFieldDescriptor *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(words[i].name, f->name) == 0)
			return words[i].meaning;
	return MEANS_UNKNOWN;
}

static void check_fields(const ProtobufCMessageDescriptor *m)
{
	for (unsigned i = 0; i < m->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->fields[i];

		if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
			check_fields(f->descriptor);
		} else if (f->type != PROTOBUF_C_TYPE_BOOL && meaning_of(f) == MEANS_UNKNOWN) {
			fprintf(stderr, "tests/fuzz/message.c: what does %s.%s mean?\n", m->name,
				f->name);
			abort();
		}
	}
}

void message_check_table(void)
{
	for (size_t i = 0; i < RPC_COUNT; i++)
		check_fields(rpc_table[i].request);
}

/* ---- random values ---- */

void fuzz_random_init(struct fuzz_random *r, uint64_t seed)
{
	*r = (struct fuzz_random){ .state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1 };
}

uint64_t fuzz_random_next(struct fuzz_random *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return r->state * UINT64_C(2685821657736338717);
}

uint32_t fuzz_below(struct fuzz_random *r, uint32_t n)
{
	return n ? (uint32_t)((fuzz_random_next(r) >> 33) % n) : 0;
}

uint64_t fuzz_number(struct fuzz_random *r)
{
	static const uint64_t edges[] = {
		0,         1,          2,         255,        4095,
		4096,      8192,       65535,     65536,      131072,
		1048576,   999999999,  INT32_MAX, UINT32_MAX, INT64_MAX - 1,
		INT64_MAX, UINT64_MAX,
	};

	switch (fuzz_below(r, 4)) {
	case 0:
		return fuzz_below(r, 20000);
	case 1:
		return UINT64_C(1) << fuzz_below(r, 64);
	case 2:
		return fuzz_random_next(r);
	default:
		return edges[fuzz_below(r, ARRAY_SIZE(edges))] + fuzz_below(r, 3) - 1;
	}
}

/* Those of tree.c, and some that are not there. */
static const char *const names[] = {
	"a",    "b",     "c",   "file", "deep",   "link",   "up",       "abs",     "out",
	"loop", "empty", "big", "fifo", "sock",   "many",   "locked",   "sticky",  "..",
	"..",   ".",     "new", "new2", "theirs", "secret", "readonly", "outside", "",
};

static size_t append(uint8_t *buf, size_t size, size_t used, const char *text, size_t n)
{
	n = MIN(n, size - used);
	memcpy(buf + used, text, n);
	return used + n;
}

const char *const fuzz_escapes[FUZZ_ESCAPES] = {
	"out/secret",
	"out",
	"../outside/secret",
	"/outside/secret",
	"a/secret",
	"a/b/../../../outside/secret",
	"a/link/../../../outside",
	"a/b/secret",
	"loop/out/secret",
	"file",
	"sticky/../../file",
	"a/file",
};

size_t fuzz_path(struct fuzz_random *r, uint8_t *buf, size_t size)
{
	static const char component[] = "0123456789abcdef0123456789abcdef";
	size_t used = fuzz_one_in(r, 10) ? append(buf, size, 0, "/", 1) : 0;
	const char *escape = fuzz_escapes[fuzz_below(r, FUZZ_ESCAPES)];
	uint32_t n = fuzz_one_in(r, 200) ? 2048 : fuzz_below(r, 5);

	if (fuzz_one_in(r, 6))
		return append(buf, size, used, escape, strlen(escape));
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			used = append(buf, size, used, "/", 1);
		if (fuzz_one_in(r, 60)) {
			for (unsigned k = 0; k < 7 + fuzz_below(r, 2); k++)
				used = append(buf, size, used, component, 32);
			used = append(buf, size, used, component, fuzz_below(r, 33));
		} else if (fuzz_one_in(r, 8)) {
			char text[8];

			snprintf(text, sizeof(text), "m%u", fuzz_below(r, 12));
			used = append(buf, size, used, text, strlen(text));
		} else {
			const char *name = names[fuzz_below(r, ARRAY_SIZE(names))];

			used = append(buf, size, used, name, strlen(name));
		}
	}
	if (fuzz_one_in(r, 12))
		used = append(buf, size, used, "/", 1);
	if (fuzz_one_in(r, 100))
		used = append(buf, size, used, "\0x", 2);
	return used;
}

static size_t random_bytes(struct fuzz_random *r, enum meaning meaning, uint8_t *buf, size_t size)
{
	static const char *const attributes[] = {
		"user.a",
		"user.b",
		"system.posix_acl_access",
		"system.posix_acl_default",
		"security.selinux",
		"trusted.x",
		"user.",
		"user",
		"",
	};
	size_t n;

	switch (meaning) {
	case MEANS_PATH:
	case MEANS_TARGET:
		return fuzz_path(r, buf, size);
	case MEANS_XATTR:
		if (!fuzz_one_in(r, 10)) {
			const char *name = attributes[fuzz_below(r, ARRAY_SIZE(attributes))];

			return append(buf, size, 0, name, strlen(name));
		}
		/* fallthrough */
	default:
		n = fuzz_one_in(r, 20) ? fuzz_below(r, (uint32_t)size) : fuzz_below(r, 40);
		for (size_t i = 0; i < n; i++)
			buf[i] = (uint8_t)(fuzz_one_in(r, 8) ? fuzz_below(r, 256)
							     : 'a' + fuzz_below(r, 26));
		return n;
	}
}

static uint64_t random_value(struct fuzz_random *r, enum meaning meaning, uint64_t old)
{
	static const uint32_t modes[] = { 0,       0644,   0755,    0777,   07777,
					  0100644, 010644, 0140644, 020644, 040755 };

	switch (meaning) {
	case MEANS_HANDLE:
		return fuzz_one_in(r, 12) ? fuzz_number(r) : fuzz_below(r, 6);
	case MEANS_FILESYSTEM:
		return fuzz_one_in(r, 30) ? fuzz_number(r) : 1 + fuzz_below(r, 6);
	case MEANS_TAG:
		return r->n_tags && !fuzz_one_in(r, 8) ? r->tags[fuzz_below(r, (uint32_t)r->n_tags)]
						       : fuzz_number(r);
	case MEANS_SMALL:
		return fuzz_one_in(r, 12) ? fuzz_number(r) : fuzz_below(r, 8);
	case MEANS_BITS:
		switch (fuzz_below(r, 4)) {
		case 0:
			return old ^ UINT64_C(1) << fuzz_below(r, fuzz_one_in(r, 20) ? 32 : 15);
		case 1:
			return modes[fuzz_below(r, ARRAY_SIZE(modes))];
		case 2:
			return fuzz_below(r, 4);
		default:
			return fuzz_below(r, 1 << 14);
		}
	case MEANS_ID:
		return fuzz_one_in(r, 6) ? fuzz_number(r) : 1000 + fuzz_below(r, 4);
	default:
		return fuzz_one_in(r, 4) ? old + fuzz_below(r, 3) - 1 : fuzz_number(r);
	}
}

/* ---- one field ---- */

static size_t element_size(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

ProtobufCMessage *message_new(const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = malloc(d->sizeof_message);

	if (!m)
		abort();
	protobuf_c_message_init(d, m);
	return m;
}

/* What `at` owns, if anything. */
static void element_free(const ProtobufCFieldDescriptor *f, void *at)
{
	if (f->type == PROTOBUF_C_TYPE_MESSAGE && *(ProtobufCMessage **)at)
		protobuf_c_message_free_unpacked(*(ProtobufCMessage **)at, NULL);
	else if (f->type == PROTOBUF_C_TYPE_STRING && *(char **)at != f->default_value &&
		 *(const char **)at != protobuf_c_empty_string)
		free(*(char **)at);
	else if (f->type == PROTOBUF_C_TYPE_BYTES)
		free(((ProtobufCBinaryData *)at)->data);
}

/* A new value in place of the one at `at`, which is zero where it is new itself. */
static void element_mutate(struct fuzz_random *r, const ProtobufCFieldDescriptor *f, void *at)
{
	enum meaning meaning = meaning_of(f);
	uint8_t bytes[4200];
	size_t n;

	switch (f->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		if (!*(ProtobufCMessage **)at) {
			*(ProtobufCMessage **)at = message_new(f->descriptor);
		} else if (fuzz_one_in(r, 30)) {
			element_free(f, at);
			*(void **)at = f->label == PROTOBUF_C_LABEL_REPEATED
					       ? message_new(f->descriptor)
					       : NULL;
			return;
		}
		message_mutate(r, *(ProtobufCMessage **)at);
		return;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)at = !*(protobuf_c_boolean *)at;
		return;
	case PROTOBUF_C_TYPE_STRING:
		n = random_bytes(r, meaning, bytes, fuzz_one_in(r, 4) ? 300 : 20);
		element_free(f, at);
		for (size_t i = 0; i < n; i++)
			bytes[i] = bytes[i] ? bytes[i] : 'x';
		*(char **)at = strndup((const char *)bytes, n);
		return;
	case PROTOBUF_C_TYPE_BYTES: {
		ProtobufCBinaryData *b = at;

		if (b->len && fuzz_one_in(r, 6)) { /* one byte of what is there */
			b->data[fuzz_below(r, (uint32_t)b->len)] = (uint8_t)fuzz_below(r, 256);
			return;
		}
		n = random_bytes(r, meaning, bytes, sizeof(bytes));
		free(b->data);
		b->data = n ? malloc(n) : NULL;
		b->len = n;
		if (n)
			memcpy(b->data, bytes, n);
		return;
	}
	default:
		if (element_size(f) == 8) {
			*(uint64_t *)at = random_value(r, meaning, *(uint64_t *)at);
		} else {
			*(uint32_t *)at = (uint32_t)random_value(r, meaning, *(uint32_t *)at);
		}
	}
}

static void repeated_mutate(struct fuzz_random *r, const ProtobufCFieldDescriptor *f,
			    ProtobufCMessage *m)
{
	size_t *n = (size_t *)((char *)m + f->quantifier_offset);
	void **array = (void **)((char *)m + f->offset);
	size_t size = element_size(f), fresh = fuzz_one_in(r, 60) ? 300 : 1;
	uint8_t *all;

	if (*n && fuzz_one_in(r, 4)) {
		--*n;
		element_free(f, (uint8_t *)*array + *n * size);
		if (*n == 0) {
			free(*array);
			*array = NULL;
		}
		return;
	}
	if (*n && (*n > 4096 || !fuzz_one_in(r, 3))) {
		element_mutate(r, f, (uint8_t *)*array + fuzz_below(r, (uint32_t)*n) * size);
		return;
	}
	all = realloc(*array, (*n + fresh) * size);
	if (!all)
		abort();
	*array = all;
	memset(all + *n * size, 0, fresh * size);
	for (size_t i = 0; i < fresh; i++)
		element_mutate(r, f, all + (*n)++ * size);
}

void message_mutate(struct fuzz_random *r, ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	const ProtobufCFieldDescriptor *f;

	if (d->n_fields == 0)
		return;
	f = &d->fields[fuzz_below(r, d->n_fields)];
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		repeated_mutate(r, f, m);
	else
		element_mutate(r, f, (char *)m + f->offset);
}

static void place(uint64_t *value, const uint64_t *handles, size_t n)
{
	if (*value >= 1 && *value <= MESSAGE_HANDLES && n)
		*value = handles[(*value - 1) % n];
}

void message_place_handles(ProtobufCMessage *m, const uint64_t *handles, size_t n)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		void *at = (char *)m + f->offset;

		if (f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED) {
			if (*(ProtobufCMessage **)at)
				message_place_handles(*(ProtobufCMessage **)at, handles, n);
		} else if (f->type == PROTOBUF_C_TYPE_UINT64 && meaning_of(f) == MEANS_HANDLE) {
			if (f->label != PROTOBUF_C_LABEL_REPEATED) {
				place(at, handles, n);
				continue;
			}
			for (size_t k = 0; k < *(size_t *)((char *)m + f->quantifier_offset); k++)
				place(*(uint64_t **)at + k, handles, n);
		}
	}
}
