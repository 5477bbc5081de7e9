/*
 * put_stream.c - gofer put: contents of large files. They are copied natively into a donated
 * descriptor; without one, several Writes are in flight, and only data is written.
 */
#include "client/cli/put.h"

#include <fcntl.h>

struct stream {
	struct put *p;
	unsigned out;
	int result;
};

struct piece {
	struct stream *s;
	size_t len;
};

static void on_write(void *userdata, int result, struct gofer_reply *reply)
{
	struct piece *piece = userdata;
	struct stream *s = piece->s;

	s->out--;
	result = put_result(result, reply);
	/* Less than asked is a full disk or a limit: the next Write would say so, but none follows
	 * here. */
	if (result == 0 && ((const Gofer__WriteReply *)reply->message)->count != piece->len)
		result = -ENOSPC;
	if (result < 0 && s->result == 0)
		s->result = result;
	s->p->progress.bytes += piece->len;
	copy_progress_show(&s->p->progress, false);
	free(piece);
}

static void stream_range(struct stream *s, struct item *item, uint8_t *buf, uint64_t at,
			 uint64_t end)
{
	struct cli *c = s->p->c;

	while (at < end && s->result == 0) {
		Gofer__WriteRequest message = GOFER__WRITE_REQUEST__INIT;
		struct gofer_request request = {
			.type = RPC_TYPE_Write, .message = (void *)&message, .data = buf, .fd = -1
		};
		struct piece *piece;
		ssize_t n;
		int r = 0;

		while (s->out >= COPY_STREAM && r == 0)
			r = pipe_wait(c);
		n = r < 0 ? 0
			  : pread(item->source, buf, MIN(end - at, (uint64_t)c->limits.max_data),
				  (off_t)at);
		if (r < 0 || n < 0) {
			s->result = r < 0 ? r : -errno;
			break;
		}
		if (n == 0)
			break; /* it shrank */
		piece = cli_alloc(sizeof(*piece));
		*piece = (struct piece){ s, (size_t)n };
		message.handle = item->handle;
		message.offset = at;
		request.data_len = (size_t)n;
		at += (uint64_t)n;
		s->out++;
		r = pipe_submit(c, &request, on_write, piece);
		if (r < 0)
			on_write(piece, r, NULL);
	}
}

static int stream_item(struct put *p, struct item *item)
{
	_cleanup_free_ uint8_t *buf = cli_alloc(p->c->limits.max_data);
	Gofer__SetAttrRequest message = GOFER__SET_ATTR_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_SetAttr,
					 .message = (void *)&message,
					 .fd = -1 };
	struct stream s = { .p = p };
	struct gofer_reply reply;
	Gofer__Path path;
	off_t at = 0;
	int r;

	while (at < item->st.st_size && s.result == 0) {
		off_t data = lseek(item->source, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? item->st.st_size : lseek(item->source, data, SEEK_HOLE);
		data = MAX(data, at);
		if (hole < 0) {
			s.result = -errno;
			break;
		}
		stream_range(&s, item, buf, (uint64_t)data, (uint64_t)MIN(hole, item->st.st_size));
		at = hole;
	}
	while (s.out > 0) {
		r = gofer_session_process(p->c->session, -1);
		if (r < 0 && s.out > 0)
			cli_error(p->c, r, NULL, "server");
	}
	if (s.result < 0)
		return s.result;
	put_object_path(p, item, &path);
	message.path = &path;
	message.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
	message.size = (uint64_t)item->st.st_size;
	r = gofer_call(p->c->session, &request, &reply);
	if (r == 0)
		gofer_reply_free(&reply);
	return r;
}

void put_large(struct put *p, struct item *item)
{
	bool sparse = (uint64_t)item->st.st_blocks * 512 < (uint64_t)item->st.st_size;
	int r = item->dest >= 0 ? copy_native(item->source, item->dest, (uint64_t)item->st.st_size,
					      sparse, &p->progress)
				: stream_item(p, item);

	p->n_large--;
	item->source = fd_close(item->source);
	item->dest = fd_close(item->dest);
	item->next_waiter = NULL;
	put_answered(p, item, r);
}
