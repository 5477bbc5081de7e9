/*
 * frame.h - the fixed 16-byte header in front of every message, and the limits of what may follow
 * it.
 *
 *     u32 body_len | u32 data_len | u32 tag | u16 type | u8 fds | u8 flags        all little-endian
 *
 * then body_len bytes of protobuf and data_len bytes of raw payload. A packet (one SEQPACKET
 * message) holds one or more whole frames; at most one of them has fds > 0, and the descriptors of
 * the packet are that frame's. On a stream the frames simply follow one another.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/util.h"

enum {
	FRAME_HEADER_SIZE = 16,
	FRAME_MAX_BODY = 64 * 1024,  /* protobuf part of one frame */
	FRAME_MAX_DATA = 128 * 1024, /* raw payload of one frame; below the 208 KiB that a default
					Unix socket buffer takes */
	FRAME_MAX_PACKET = FRAME_HEADER_SIZE + FRAME_MAX_BODY + FRAME_MAX_DATA,
	FRAME_MAX_FDS = 1,
	FRAME_MAX_PER_PACKET = 64, /* frames in one packet */
};

#define FRAME_NOTICE_TAG \
	UINT32_C(0xffffffff) /* the server speaks unasked; no request may use it \
					       */

/* flags. Of a request: bit 2 only. Of a reply: bits 0 and 1 are its kind. Everything else is
 * reserved and must be 0. */
enum frame_flags {
	FRAME_KIND_MASK = 3,
	FRAME_OK = 0,
	FRAME_ERROR = 1,    /* body is Error */
	FRAME_STOP = 2,     /* body is Stop */
	FRAME_NO_REPLY = 4, /* of a request: no reply is wanted, not even of failure (Close only) */
	FRAME_REPLY = 8,    /* this frame is a reply */
};

struct frame_header {
	uint32_t body_len;
	uint32_t data_len;
	uint32_t tag;
	uint16_t type;
	uint8_t fds;
	uint8_t flags;
};

/* One frame inside a packet: the header, and where its two parts lie (borrowed from the packet). */
struct frame {
	struct frame_header header;
	const uint8_t *body;
	const uint8_t *data;
};

void frame_header_pack(const struct frame_header *h, uint8_t buf[static FRAME_HEADER_SIZE]);
void frame_header_unpack(const uint8_t buf[static FRAME_HEADER_SIZE], struct frame_header *ret_h);

/*
 * Takes the first frame off `packet` (`size` bytes). Returns the number of bytes that it covers, or
 * -EPROTO where the header breaks framing (too short, over the limits, more than the packet holds):
 * then nothing of the packet can be trusted.
 */
ssize_t frame_parse(const uint8_t *packet, size_t size, struct frame *ret_frame);
