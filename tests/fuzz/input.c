/*
 * input.c - see input.h.
 */
#include "tests/fuzz/input.h"

#include <string.h>

size_t input_parse(const uint8_t *data, size_t size, struct step *ret_steps, size_t max)
{
	size_t n = 0;

	while (size >= STEP_HEADER && n < max) {
		struct step s = { .op = data[0] % STEP_OPS, .arg = data[1] };
		size_t len = data[2] | (size_t)data[3] << 8;

		data += STEP_HEADER;
		size -= STEP_HEADER;
		s.len = (uint16_t)MIN(len, size);
		s.bytes = data;
		data += s.len;
		size -= s.len;
		ret_steps[n++] = s;
	}
	return n;
}

size_t input_append(uint8_t *buf, size_t size, size_t used, const struct step *step)
{
	if (size - used < (size_t)STEP_HEADER + step->len)
		return used;
	buf[used] = step->op;
	buf[used + 1] = step->arg;
	buf[used + 2] = (uint8_t)step->len;
	buf[used + 3] = (uint8_t)(step->len >> 8);
	if (step->len)
		memcpy(buf + used + STEP_HEADER, step->bytes, step->len);
	return used + STEP_HEADER + step->len;
}

bool step_frame(const struct step *step, struct frame *ret_frame)
{
	struct frame f;
	size_t rest;

	if (step->op != STEP_FRAME || step->len < FRAME_HEADER_SIZE)
		return false;
	frame_header_unpack(step->bytes, &f.header);
	rest = step->len - FRAME_HEADER_SIZE;
	if (!(step->arg & STEP_RAW)) {
		f.header.body_len = (uint32_t)MIN(f.header.body_len, rest);
		f.header.data_len = (uint32_t)(rest - f.header.body_len);
		f.header.fds = (step->arg & STEP_FD) != STEP_FD_NONE;
	}
	f.body = step->bytes + FRAME_HEADER_SIZE;
	f.data = f.body + MIN(f.header.body_len, rest);
	*ret_frame = f;
	return true;
}
