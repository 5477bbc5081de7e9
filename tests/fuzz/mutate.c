/*
 * mutate.c - see mutate.h. An input is taken apart into steps, one to four things are changed, and
 * it is put together again. One time in ten the bytes are changed instead, whatever they mean.
 */
#include "tests/fuzz/mutate.h"

#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/input.h"
#include "tests/unit/good_request.h"

/* An input in pieces. Bytes of steps that were changed lie in `fresh`. */
struct work {
	const struct steps_kind *kind;
	struct fuzz_random random;
	struct step steps[INPUT_MAX_STEPS];
	size_t n;
	uint32_t tags[INPUT_MAX_STEPS];
	uint8_t fresh[3 * INPUT_MAX];
	size_t fresh_used;
};

static void work_parse(struct work *w, const uint8_t *data, size_t size, unsigned seed)
{
	fuzz_random_init(&w->random, seed);
	w->fresh_used = 0;
	w->n = input_parse(data, size, w->steps, INPUT_MAX_STEPS);
	w->random.tags = w->tags;
	for (size_t i = 0; i < w->n; i++) {
		struct frame f;

		if (step_frame(&w->steps[i], &f))
			w->tags[w->random.n_tags++] = f.header.tag;
	}
}

static size_t work_pack(const struct work *w, uint8_t *data, size_t max)
{
	size_t used = 0;

	for (size_t i = 0; i < w->n; i++)
		used = input_append(data, max, used, &w->steps[i]);
	return used;
}

/* Room for a step's new bytes; NULL when the mutation has used all there is. */
static uint8_t *work_room(struct work *w, size_t *ret_size)
{
	*ret_size = MIN(sizeof(w->fresh) - w->fresh_used, (size_t)32768);
	return *ret_size < 8192 ? NULL : w->fresh + w->fresh_used;
}

static void step_set(struct work *w, struct step *s, const uint8_t *bytes, size_t n)
{
	s->bytes = bytes;
	s->len = (uint16_t)n;
	w->fresh_used += n;
}

static size_t frame_put(uint8_t *buf, size_t size, struct frame_header h, const ProtobufCMessage *m,
			const uint8_t *data)
{
	size_t n = protobuf_c_message_get_packed_size(m);

	if (FRAME_HEADER_SIZE + n + h.data_len > MIN(size, (size_t)UINT16_MAX))
		return 0;
	h.body_len = (uint32_t)n;
	frame_header_pack(&h, buf);
	protobuf_c_message_pack(m, buf + FRAME_HEADER_SIZE);
	if (h.data_len)
		memcpy(buf + FRAME_HEADER_SIZE + n, data, h.data_len);
	return FRAME_HEADER_SIZE + n + h.data_len;
}

/* A request that means something in the tree: a filesystem, a path, a handle of the session. */
static void aim(struct fuzz_random *r, const struct rpc_info *rpc, ProtobufCMessage *m)
{
	for (unsigned which = 0; which < 2; which++) {
		Gofer__Path *p = (Gofer__Path *)rpc_path(rpc, m, which);
		uint8_t text[4200];

		if (!p)
			continue;
		/* Two paths of one request are of one filesystem, mostly. */
		p->fs_id = which && !fuzz_one_in(r, 20) ? rpc_path(rpc, m, 0)->fs_id
			   : fuzz_one_in(r, 3)          ? 1
							: 1 + fuzz_below(r, 5);
		if (fuzz_one_in(r, 4))
			p->base_handle = 1 + fuzz_below(r, 4);
		free(p->path.data);
		p->path.len = fuzz_path(r, text, sizeof(text));
		p->path.data = p->path.len ? malloc(p->path.len) : NULL;
		if (p->path.len)
			memcpy(p->path.data, text, p->path.len);
	}
	/* Places in the list of handles, to begin with. */
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];

		if (f->type == PROTOBUF_C_TYPE_UINT64 && f->label != PROTOBUF_C_LABEL_REPEATED &&
		    (strcmp(f->name, "handle") == 0 || strcmp(f->name, "source") == 0 ||
		     strcmp(f->name, "dest") == 0))
			*(uint64_t *)((char *)m + f->offset) = 1 + fuzz_below(r, 4);
	}
}

static size_t request_fresh(struct fuzz_random *r, const struct rpc_info *rpc, unsigned changes,
			    uint8_t *buf, size_t size)
{
	struct frame_header h = { .type = rpc->type, .tag = 1 + fuzz_below(r, 100) };
	struct good_request good;
	ProtobufCMessage *m;
	uint8_t packed[512], data[256];
	size_t n;

	good_request_make(&good, rpc);
	n = protobuf_c_message_pack(&good.message, packed);
	m = protobuf_c_message_unpack(rpc->request, NULL, n, packed);
	FUZZ_ASSERT(m);
	aim(r, rpc, m);
	while (changes--)
		message_mutate(r, m);
	if (rpc->flags & RPC_DATA_IN) {
		h.data_len = fuzz_below(r, sizeof(data));
		memset(data, 'a' + (int)fuzz_below(r, 26), sizeof(data));
	}
	n = frame_put(buf, size, h, m, data);
	protobuf_c_message_free_unpacked(m, NULL);
	return n;
}

static const ProtobufCMessageDescriptor *request_descriptor(const struct frame_header *h)
{
	const struct rpc_info *rpc = rpc_find(h->type);

	return rpc ? rpc->request : NULL;
}

const struct steps_kind steps_of_requests = { request_descriptor, request_fresh };

static const ProtobufCMessageDescriptor *reply_descriptor(const struct frame_header *h)
{
	const struct rpc_info *rpc = rpc_find(h->type);

	switch (h->flags & FRAME_KIND_MASK) {
	case FRAME_ERROR:
		return &gofer__error__descriptor;
	case FRAME_STOP:
		return &gofer__stop__descriptor;
	default:
		return rpc ? rpc->reply : NULL;
	}
}

/* Attributes that can be, wherever there are some; an entry has a name. */
static void make_plausible(struct fuzz_random *r, ProtobufCMessage *m)
{
	static const uint32_t modes[] = { 0100644, 0100644, 040755, 0120777, 010600 };
	const ProtobufCMessageDescriptor *d = m->descriptor;
	char text[16];

	if (d == &gofer__attr__descriptor) {
		Gofer__Attr *a = (Gofer__Attr *)m;

		a->mode = modes[fuzz_below(r, ARRAY_SIZE(modes))];
		a->size = fuzz_below(r, 6000);
		a->ino = fuzz_below(r, 1000);
		return;
	}
	if (d == &gofer__entry__descriptor) {
		Gofer__Entry *e = (Gofer__Entry *)m;

		snprintf(text, sizeof(text), "name%u", fuzz_below(r, 100));
		free(e->name.data);
		e->name.data = (uint8_t *)strdup(text);
		e->name.len = strlen(text);
		e->cookie = 1 + fuzz_below(r, 1000);
		e->type = fuzz_below(r, 16);
	}
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		void *at = (char *)m + f->offset;

		if (f->type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			for (size_t k = 0; k < *(size_t *)((char *)m + f->quantifier_offset); k++)
				make_plausible(r, (*(ProtobufCMessage ***)at)[k]);
			continue;
		}
		if (!*(ProtobufCMessage **)at && f->descriptor == &gofer__attr__descriptor)
			*(ProtobufCMessage **)at = message_new(f->descriptor);
		if (*(ProtobufCMessage **)at)
			make_plausible(r, *(ProtobufCMessage **)at);
	}
}

static size_t reply_fresh(struct fuzz_random *r, const struct rpc_info *rpc, unsigned changes,
			  uint8_t *buf, size_t size)
{
	struct frame_header h = { .type = rpc->type, .flags = FRAME_REPLY };
	uint8_t data[256];
	ProtobufCMessage *m;

	if (fuzz_one_in(r, 8))
		h.flags |= FRAME_ERROR;
	else if (rpc->flags & RPC_PATH && fuzz_one_in(r, 4))
		h.flags |= FRAME_STOP;
	m = message_new(reply_descriptor(&h));
	for (unsigned i = 0; i < changes; i++)
		message_mutate(r, m);
	make_plausible(r, m);
	if (h.flags & FRAME_STOP) {
		Gofer__Stop *stop = (Gofer__Stop *)m;

		stop->reason = 1 + fuzz_below(r, 2);
		stop->begin = fuzz_below(r, 4);
		stop->end = stop->begin + 1 + fuzz_below(r, 2);
		stop->which = 0;
		if (stop->reason == 1 && stop->target.len == 0) {
			stop->target.data = (uint8_t *)strdup("d/e");
			stop->target.len = 3;
		}
	} else if (!(h.flags & FRAME_ERROR) && fuzz_one_in(r, 2)) {
		h.data_len = fuzz_below(r, sizeof(data));
		memset(data, 'r', sizeof(data));
	}
	size = frame_put(buf, size, h, m, data);
	protobuf_c_message_free_unpacked(m, NULL);
	return size;
}

const struct steps_kind steps_of_replies = { reply_descriptor, reply_fresh };

static void insert(struct work *w, struct step s)
{
	size_t at = fuzz_below(&w->random, (uint32_t)w->n + 1);

	if (w->n == INPUT_MAX_STEPS)
		return;
	memmove(&w->steps[at + 1], &w->steps[at], (w->n - at) * sizeof(s));
	w->steps[at] = s;
	w->n++;
}

static void insert_request(struct work *w)
{
	const struct rpc_info *rpc = &rpc_table[fuzz_below(&w->random, RPC_COUNT)];
	struct step s = { .op = STEP_FRAME };
	size_t size;
	uint8_t *buf = work_room(w, &size);

	/* Most of what is interesting begins with an open file. */
	if (fuzz_one_in(&w->random, 4))
		rpc = &rpc_table[RPC_INDEX_Open];
	if (!buf)
		return;
	size = w->kind->fresh(&w->random, rpc, fuzz_below(&w->random, 5), buf, size);
	if (size == 0)
		return;
	step_set(w, &s, buf, size);
	if (rpc->flags & (w->kind == &steps_of_requests ? RPC_TAKES_FD : RPC_DONATES))
		s.arg |= fuzz_one_in(&w->random, 3) ? fuzz_below(&w->random, 6) : STEP_FD_SOCKET;
	if (fuzz_one_in(&w->random, w->kind == &steps_of_requests ? 4 : 30))
		s.arg |= STEP_NO_WAIT;
	if (fuzz_one_in(&w->random, 6))
		s.arg |= STEP_MORE;
	/* In a session of one it means nothing; of a reply, that its tag is its own. */
	if (fuzz_one_in(&w->random, w->kind == &steps_of_requests ? 2 : 30))
		s.arg |= STEP_SECOND;
	insert(w, s);
}

static void insert_other(struct work *w)
{
	static const uint8_t ops[] = { STEP_WAIT, STEP_WAIT, STEP_MOVE,  STEP_MOVE,
				       STEP_MOVE, STEP_SHUT, STEP_HANGUP };
	struct step s = { .op = ops[fuzz_below(&w->random, ARRAY_SIZE(ops))] };
	size_t size;
	uint8_t *buf = work_room(w, &size);

	if (!buf)
		return;
	if (s.op == STEP_MOVE) {
		buf[0] = (uint8_t)fuzz_below(&w->random, 256);
		buf[1] = (uint8_t)fuzz_below(&w->random, 256);
		step_set(w, &s, buf, 2);
	}
	insert(w, s);
}

/* One field of the message in a step. */
static void change_message(struct work *w, struct step *s)
{
	const ProtobufCMessageDescriptor *d;
	ProtobufCMessage *m;
	struct frame f;
	size_t size;
	uint8_t *buf = work_room(w, &size);

	if (!buf || !step_frame(s, &f))
		return;
	d = w->kind->descriptor(&f.header);
	m = d ? protobuf_c_message_unpack(
			d, NULL, MIN(f.header.body_len, (uint32_t)(s->len - FRAME_HEADER_SIZE)),
			f.body)
	      : NULL;
	if (!m)
		return;
	if (s->arg & STEP_RAW)
		f.header.data_len = 0;
	message_mutate(&w->random, m);
	size = frame_put(buf, size, f.header, m, f.data);
	if (size)
		step_set(w, s, buf, size);
	protobuf_c_message_free_unpacked(m, NULL);
}

static void change_header(struct work *w, struct step *s)
{
	struct fuzz_random *r = &w->random;
	struct frame_header h;
	size_t size;
	uint8_t *buf = work_room(w, &size);

	if (!buf || s->op != STEP_FRAME || s->len < FRAME_HEADER_SIZE || s->len > size)
		return;
	memcpy(buf, s->bytes, s->len);
	frame_header_unpack(buf, &h);
	switch (fuzz_below(r, 8)) {
	case 0:
	case 1:
	case 2:
		h.tag = r->n_tags ? r->tags[fuzz_below(r, (uint32_t)r->n_tags)] : 1;
		break;
	case 3:
		h.flags ^= fuzz_one_in(r, 2) && w->kind == &steps_of_requests
				   ? FRAME_NO_REPLY
				   : 1u << fuzz_below(r, 8);
		break;
	case 4:
		h.type = fuzz_one_in(r, 4) ? (uint16_t)fuzz_number(r)
					   : rpc_table[fuzz_below(r, RPC_COUNT)].type;
		break;
	case 5:
		h.body_len = (uint32_t)fuzz_number(r);
		break;
	case 6:
		h.data_len = (uint32_t)fuzz_number(r);
		break;
	default:
		h.fds ^= 1;
		break;
	}
	frame_header_pack(&h, buf);
	step_set(w, s, buf, s->len);
}

/* More or less payload. */
static void change_data(struct work *w, struct step *s)
{
	struct frame f;
	size_t size, n;
	uint8_t *buf = work_room(w, &size);

	if (!buf || (s->arg & STEP_RAW) || !step_frame(s, &f) || !rpc_find(f.header.type))
		return;
	if (w->kind == &steps_of_requests && !(rpc_find(f.header.type)->flags & RPC_DATA_IN))
		return;
	n = fuzz_one_in(&w->random, 10) ? 20000 : fuzz_below(&w->random, 600);
	if (FRAME_HEADER_SIZE + f.header.body_len + n > size)
		return;
	frame_header_pack(&f.header, buf);
	memcpy(buf + FRAME_HEADER_SIZE, f.body, f.header.body_len);
	memset(buf + FRAME_HEADER_SIZE + f.header.body_len, 'x', n);
	step_set(w, s, buf, FRAME_HEADER_SIZE + f.header.body_len + n);
}

static void change_order(struct work *w)
{
	struct fuzz_random *r = &w->random;
	size_t a = fuzz_below(r, (uint32_t)w->n), b = fuzz_below(r, (uint32_t)w->n);
	struct step s = w->steps[a];

	switch (fuzz_below(r, 4)) {
	case 0:
		w->steps[a] = w->steps[b];
		w->steps[b] = s;
		break;
	case 1:
		insert(w, s);
		break;
	default:
		memmove(&w->steps[a], &w->steps[a + 1], (w->n - a - 1) * sizeof(s));
		w->n--;
		break;
	}
}

static void change_one(struct work *w)
{
	struct fuzz_random *r = &w->random;
	struct step *s = w->n ? &w->steps[fuzz_below(r, (uint32_t)w->n)] : NULL;
	uint32_t what = s ? fuzz_below(r, 20) : 19;

	if (what < 8)
		change_message(w, s);
	else if (what < 10)
		change_header(w, s);
	else if (what == 10)
		s->arg ^= 1u << fuzz_below(r, 8);
	else if (what == 11)
		change_data(w, s);
	else if (what < 15)
		change_order(w);
	else if (what == 15)
		insert_other(w);
	else
		insert_request(w);
}

size_t steps_mutate(uint8_t *data, size_t size, size_t max, unsigned seed,
		    const struct steps_kind *kind)
{
	static struct work w;
	static uint8_t out[INPUT_MAX];
	size_t n;

	work_parse(&w, data, size, seed);
	w.kind = kind;
	if (fuzz_one_in(&w.random, 10) && LLVMFuzzerMutate)
		return LLVMFuzzerMutate(data, size, max);
	for (uint32_t k = 1 + fuzz_below(&w.random, 4); k > 0; k--)
		change_one(&w);
	/* Steps borrow from `data`. */
	n = work_pack(&w, out, MIN(max, sizeof(out)));
	memcpy(data, out, n);
	return n ? n : 1;
}

size_t steps_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
		   size_t max, unsigned seed)
{
	struct step steps[INPUT_MAX_STEPS];
	struct fuzz_random r;
	size_t n, used = 0, from;

	fuzz_random_init(&r, seed);
	n = input_parse(a, a_size, steps, INPUT_MAX_STEPS);
	n = fuzz_below(&r, (uint32_t)n + 1);
	for (size_t i = 0; i < n; i++)
		used = input_append(out, max, used, &steps[i]);
	n = input_parse(b, b_size, steps, INPUT_MAX_STEPS);
	from = fuzz_below(&r, (uint32_t)n + 1);
	for (size_t i = from; i < n; i++)
		used = input_append(out, max, used, &steps[i]);
	return used;
}
