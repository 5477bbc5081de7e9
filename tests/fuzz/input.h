/*
 * input.h - the input of the targets that speak in whole sessions: a list of steps.
 *
 *     u8 op | u8 arg | u16 len (little-endian) | len bytes
 *
 * What is cut off at the end is as long as what is there, so that every string of bytes is an
 * input. The bytes of a STEP_FRAME are one frame as on the wire (proto/frame.h), with the lengths in
 * its header put right before it is sent, unless STEP_RAW says that they are meant.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"

enum step_op {
	STEP_FRAME,  /* a frame */
	STEP_WAIT,   /* until everything is answered */
	STEP_SHUT,   /* no more requests: shutdown(2) of the sending side */
	STEP_HANGUP, /* the end, whatever is unanswered */
	STEP_MOVE,   /* somebody outside changes the tree; the bytes say how */
	STEP_OPS,
};

/* arg of STEP_FRAME */
enum step_arg {
	STEP_FD = 7,           /* mask: which descriptor travels with it (enum step_fd) */
	STEP_MORE = 1 << 3,    /* the next frame is in the same packet */
	STEP_NO_WAIT = 1 << 4, /* go on without the answer */
	STEP_SECOND = 1 << 5,  /* of the second session, where there are two */
	STEP_RAW = 1 << 6,     /* the header as it is */
};

enum step_fd {
	STEP_FD_NONE,
	STEP_FD_SOCKET, /* a Unix stream socket, not connected */
	STEP_FD_FILE,
	STEP_FD_PATH, /* O_PATH of a directory outside the tree */
	STEP_FD_PIPE,
	STEP_FD_TWO, /* two descriptors: one too many */
};

struct step {
	uint8_t op, arg; /* op < STEP_OPS */
	uint16_t len;
	const uint8_t *bytes; /* borrowed from the input */
};

enum { STEP_HEADER = 4, INPUT_MAX_STEPS = 64, INPUT_MAX = 64 * 1024 };

/* Returns the number of steps, at most `max`. */
size_t input_parse(const uint8_t *data, size_t size, struct step *ret_steps, size_t max);
/* Appends a step to buf (`used` of `size` bytes). Returns the new `used`; unchanged where there is no room. */
size_t input_append(uint8_t *buf, size_t size, size_t used, const struct step *step);

/* A STEP_FRAME's frame as it goes out: the header, lengths put right, and its two parts. False for fewer bytes than a header. */
bool step_frame(const struct step *step, struct frame *ret_frame);
