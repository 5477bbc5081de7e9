/*
 * get_stream.c - gofer get: contents of large files. A donated descriptor is copied natively;
 * without one, several Reads are in flight, within the extents that Seek reports.
 */
#include "client/cli/get.h"

#include <fcntl.h>

struct stream {
	struct get *g;
	struct item *item;
	unsigned out;
	int result;
	uint64_t end; /* known once a Read said so */
};

struct piece {
	struct stream *s;
	uint64_t offset;
	uint32_t count;
};

static void on_read(void *userdata, int result, struct gofer_reply *reply)
{
	struct piece *piece = userdata;
	struct stream *s = piece->s;

	s->out--;
	result = get_result(result, reply);
	if (result == 0) {
		const Gofer__ReadReply *m = (const Gofer__ReadReply *)reply->message;

		if (reply->data_len > piece->count || (reply->data_len < piece->count && !m->eof))
			result = -EBADMSG;
		else
			result = copy_write(s->item->fd, reply->data, reply->data_len,
					    piece->offset, false);
		s->g->progress.bytes += reply->data_len;
		if (m->eof)
			s->end = MIN(s->end, piece->offset + reply->data_len);
	}
	if (result < 0 && s->result == 0)
		s->result = result;
	free(piece);
	copy_progress_show(&s->g->progress, false);
}

static void stream_range(struct stream *s, uint64_t at, uint64_t end)
{
	struct cli *c = s->g->c;

	while (at < MIN(end, s->end) && s->result == 0) {
		Gofer__ReadRequest message = GOFER__READ_REQUEST__INIT;
		struct gofer_request request = { .type = RPC_TYPE_Read,
						 .message = (void *)&message,
						 .fd = -1 };
		struct piece *piece;
		int r = 0;

		while (s->out >= COPY_STREAM && r == 0)
			r = pipe_wait(c);
		if (r < 0) {
			s->result = r;
			break;
		}
		piece = cli_alloc(sizeof(*piece));
		*piece = (struct piece){ s, at,
					 (uint32_t)MIN(end - at, (uint64_t)c->limits.max_data) };
		message.handle = s->item->handle;
		message.offset = at;
		message.count = piece->count;
		at += piece->count;
		s->out++;
		r = pipe_submit(c, &request, on_read, piece);
		if (r < 0)
			on_read(piece, r, NULL);
	}
}

static int seek_remote(struct get *g, uint64_t handle, uint64_t offset, bool hole,
		       uint64_t *ret_offset)
{
	Gofer__SeekRequest message = GOFER__SEEK_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Seek,
					 .message = (void *)&message,
					 .fd = -1 };
	struct gofer_reply reply;
	int r;

	message.handle = handle;
	message.offset = offset;
	message.hole = hole;
	r = gofer_call(g->c->session, &request, &reply);
	if (r < 0)
		return r;
	*ret_offset = ((Gofer__SeekReply *)reply.message)->offset;
	gofer_reply_free(&reply);
	return *ret_offset < offset ? -EBADMSG : 0;
}

static int stream_item(struct get *g, struct item *item)
{
	uint64_t size = (uint64_t)item->st.st_size, at = 0;
	struct stream s = { .g = g, .item = item, .end = UINT64_MAX };
	int r;

	while (at < size && s.result == 0) {
		uint64_t data = at, hole = size;

		if (get_is_sparse(&item->st)) {
			r = seek_remote(g, item->handle, at, false, &data);
			if (r == -ENXIO)
				break;
			if (r == 0)
				r = seek_remote(g, item->handle, data, true, &hole);
			if (r < 0) {
				s.result = r;
				break;
			}
			if (hole == at) {
				s.result = -EBADMSG;
				break;
			}
		}
		stream_range(&s, data, MIN(hole, size));
		at = hole;
	}
	/* What is out refers to this frame: its answers come, or the session ends and answers for
	 * it. */
	while (s.out > 0) {
		r = gofer_session_process(g->c->session, -1);
		if (r < 0 && s.out > 0)
			cli_error(g->c, r, NULL, "server");
	}
	if (s.result == 0 && ftruncate(item->fd, (off_t)MIN(size, s.end)) < 0)
		s.result = -errno;
	return s.result;
}

void get_large(struct get *g, struct item *item)
{
	int r = get_item_create(g, item);

	if (r == 0)
		r = item->source >= 0
			    ? copy_native(item->source, item->fd, (uint64_t)item->st.st_size,
					  get_is_sparse(&item->st), &g->progress)
			    : stream_item(g, item);
	g->n_large--;
	item->source = fd_close(item->source);
	if (r < 0)
		get_item_fail(g, item, r);
	get_item_done(g, item);
}
