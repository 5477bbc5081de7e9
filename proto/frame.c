/*
 * frame.c - packing and parsing of the frame header. Lengths are compared before they are added, so
 * no sum can wrap.
 */
#include "proto/frame.h"

#include <endian.h>
#include <string.h>

void frame_header_pack(const struct frame_header *h, uint8_t buf[static FRAME_HEADER_SIZE])
{
	uint32_t words[3] = { htole32(h->body_len), htole32(h->data_len), htole32(h->tag) };
	uint16_t type = htole16(h->type);

	memcpy(buf, words, sizeof(words));
	memcpy(buf + 12, &type, sizeof(type));
	buf[14] = h->fds;
	buf[15] = h->flags;
}

void frame_header_unpack(const uint8_t buf[static FRAME_HEADER_SIZE], struct frame_header *ret_h)
{
	uint32_t words[3];
	uint16_t type;

	memcpy(words, buf, sizeof(words));
	memcpy(&type, buf + 12, sizeof(type));
	*ret_h = (struct frame_header){
		.body_len = le32toh(words[0]),
		.data_len = le32toh(words[1]),
		.tag = le32toh(words[2]),
		.type = le16toh(type),
		.fds = buf[14],
		.flags = buf[15],
	};
}

ssize_t frame_parse(const uint8_t *packet, size_t size, struct frame *ret_frame)
{
	struct frame_header h;
	size_t rest;

	if (size < FRAME_HEADER_SIZE)
		return -EPROTO;
	frame_header_unpack(packet, &h);
	rest = size - FRAME_HEADER_SIZE;
	if (h.body_len > FRAME_MAX_BODY || h.data_len > FRAME_MAX_DATA || h.fds > FRAME_MAX_FDS)
		return -EPROTO;
	if (h.body_len > rest || h.data_len > rest - h.body_len)
		return -EPROTO;
	*ret_frame = (struct frame){
		.header = h,
		.body = packet + FRAME_HEADER_SIZE,
		.data = packet + FRAME_HEADER_SIZE + h.body_len,
	};
	return FRAME_HEADER_SIZE + h.body_len + h.data_len;
}
