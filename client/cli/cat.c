/*
 * cat.c - gofer cat: contents of files to standard output. A small file is one RPC; a larger one is
 * opened, and read natively where its descriptor was donated.
 */
#include "client/cli/pipeline.h"

#include <fcntl.h>
#include <string.h>

#include "proto/rpc.h"

static const struct cli_spec spec = {
	.verb = "cat",
	.usage = "NAME:/path...",
	.about = "Writes the contents of files to standard output.",
};

enum { CHUNK = 256 * 1024 };

static int write_all(const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, data, size);

		if (n < 0 && errno == EINTR && !pipe_signal)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/* *ret_output: the error is standard output's. */
static int cat_large(struct cli *c, struct gofer_namespace *ns, const char *path, bool *ret_output)
{
	_cleanup_free_ char *buf = cli_alloc(CHUNK);
	struct gofer_file *file;
	uint64_t at = 0;
	ssize_t n = 0;
	int r;

	r = gofer_open(ns, path, O_RDONLY, 0, &file);
	if (r < 0)
		return r;
	while (!cli_stops(c) && (n = gofer_pread(file, buf, CHUNK, at)) > 0) {
		at += (uint64_t)n;
		r = write_all(buf, (size_t)n);
		if (r < 0) {
			*ret_output = true;
			break;
		}
	}
	gofer_close(file);
	return n < 0 ? (int)n : r;
}

/* 1 if all of the file was in the answer, 0 if it takes an open file, or a link that the namespace
 * must follow. */
static int cat_small(struct cli *c, struct cli_path *p, bool *ret_output)
{
	Gofer__Path path = GOFER__PATH__INIT;
	Gofer__ReadFileRequest message = GOFER__READ_FILE_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_ReadFile,
					 .message = (void *)&message,
					 .fd = -1 };
	struct gofer_reply reply;
	int r;

	path.fs_id = p->volume->fs_id;
	path.path.data = (uint8_t *)p->path;
	path.path.len = strlen(p->path);
	path.follow = 8;
	message.path = &path;
	message.count = c->limits.inline_limit;
	r = gofer_call(c->session, &request, &reply);
	if (r < 0)
		return r;
	if (reply.kind == GOFER_REPLY_OK && ((Gofer__ReadFileReply *)reply.message)->eof) {
		r = write_all(reply.data, reply.data_len);
		*ret_output = r < 0;
		r = r < 0 ? r : 1;
	}
	gofer_reply_free(&reply);
	return r;
}

/* The same where the session remembers small files: what was read before takes no request. */
static int cat_known(struct cli *c, struct cli_path *p, bool *ret_output)
{
	_cleanup_free_ void *data = NULL;
	struct stat st;
	size_t size;
	int r = gofer_stat(p->ns, p->path, 0, &st);

	if (r < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > c->limits.inline_limit)
		return MIN(r, 0);
	r = gofer_read_file(p->ns, p->path, &data, &size, NULL);
	if (r < 0)
		return r;
	r = write_all(data, size);
	*ret_output = r < 0;
	return r < 0 ? r : 1;
}

static int cat_one(struct cli *c, struct cli_path *p, bool *ret_output)
{
	int r = c->interop == GOFER_INTEROP_SHARED ? cat_small(c, p, ret_output)
						   : cat_known(c, p, ret_output);

	return r == 0 ? cat_large(c, p->ns, p->path, ret_output) : MIN(r, 0);
}

static int run(int argc, char **argv)
{
	struct cli c;

	cli_begin(&c, &spec, argc, argv);
	while (cli_next(&c) >= 0)
		;
	if (cli_need_operands(&c, 1, -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	/* What verbs before it printed comes first. */
	fflush(stdout);
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		bool output = false;
		int r;

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		r = cat_one(&c, &p, &output);
		if (r < 0 && output) {
			cli_error(&c, r, "write to", "standard output");
			break;
		}
		if (r < 0)
			cli_error(&c, r, NULL, p.text);
	}
	return cli_end(&c);
}

const struct verb verb_cat = { "cat", "write contents to standard output", run, &spec };
