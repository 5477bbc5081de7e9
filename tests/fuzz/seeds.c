/*
 * seeds.c - what the fuzzers begin with, made from the table of RPCs: always the same for the same
 * table.
 *
 *     seeds TARGET DIRECTORY     one file per seed, for decode, session, differential, client, race
 *     seeds dictionary           libFuzzer's dictionary, on stdout
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/input.h"
#include "tests/fuzz/message.h"
#include "tests/fuzz/mutate.h"
#include "tests/fuzz/plan.h"
#include "tests/fuzz/seeds.h"
#include "tests/unit/good_request.h"

static const char *directory;
static unsigned written;

void seed_write(const char *name, const uint8_t *data, size_t size)
{
	char path[4096];
	int fd;

	/* What was found once has a name of its own, and stays. */
	snprintf(path, sizeof(path), "%s/%s%s-%03u", directory,
		 strncmp(name, "regression-", 11) == 0 ? "" : "seed-", name, written++);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd) < 0) {
		perror(path);
		exit(1);
	}
}

/* ---- decode: packets ---- */

static size_t packed_frame(uint8_t *buf, uint16_t type, uint8_t flags, const ProtobufCMessage *m,
			   uint32_t data_len)
{
	struct frame_header h = { .type = type,
				  .tag = 1,
				  .flags = flags,
				  .data_len = data_len,
				  .body_len = (uint32_t)protobuf_c_message_get_packed_size(m) };

	frame_header_pack(&h, buf);
	protobuf_c_message_pack(m, buf + FRAME_HEADER_SIZE);
	memset(buf + FRAME_HEADER_SIZE + h.body_len, 'd', data_len);
	return FRAME_HEADER_SIZE + h.body_len + data_len;
}

static void decode_seeds(void)
{
	static uint8_t buf[65536];
	struct fuzz_random random;
	Gofer__Stop stop = GOFER__STOP__INIT;
	Gofer__Error error = GOFER__ERROR__INIT;
	size_t n;

	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];
		struct good_request q;
		ProtobufCMessage *m;

		good_request_make(&q, rpc);
		n = packed_frame(buf, rpc->type, 0, &q.message, rpc->flags & RPC_DATA_IN ? 10 : 0);
		seed_write(rpc->name, buf, n);
		/* The same with everything in it that a few mutations put there. */
		m = protobuf_c_message_unpack(
			rpc->request, NULL,
			protobuf_c_message_pack(&q.message, buf + FRAME_HEADER_SIZE),
			buf + FRAME_HEADER_SIZE);
		fuzz_random_init(&random, i + 1);
		for (int k = 0; k < 12; k++)
			message_mutate(&random, m);
		if (protobuf_c_message_get_packed_size(m) < 2000)
			seed_write(rpc->name, buf, packed_frame(buf, rpc->type, 0, m, 0));
		protobuf_c_message_free_unpacked(m, NULL);

		m = protobuf_c_message_unpack(rpc->reply, NULL, 0, buf);
		for (int k = 0; k < 12; k++)
			message_mutate(&random, m);
		if (protobuf_c_message_get_packed_size(m) < 2000)
			seed_write(rpc->name, buf, packed_frame(buf, rpc->type, FRAME_REPLY, m, 0));
		protobuf_c_message_free_unpacked(m, NULL);
	}
	error.error = ENOENT;
	n = packed_frame(buf, RPC_TYPE_Stat, FRAME_REPLY | FRAME_ERROR, &error.base, 0);
	stop.reason = GOFER__STOP__REASON__SYMLINK;
	n += packed_frame(buf + n, RPC_TYPE_Stat, FRAME_REPLY | FRAME_STOP, &stop.base, 0);
	seed_write("batch", buf, n);
}

/* ---- session, race: steps ---- */

static size_t add_fresh(uint8_t *input, size_t size, size_t used, struct fuzz_random *random,
			const struct rpc_info *rpc, unsigned changes)
{
	uint8_t buf[8192];
	struct step s = { .op = STEP_FRAME,
			  .arg = rpc->flags & RPC_TAKES_FD ? STEP_FD_SOCKET : STEP_FD_NONE,
			  .bytes = buf };

	if (fuzz_one_in(random, 2))
		s.arg |= STEP_SECOND;
	s.len = (uint16_t)steps_of_requests.fresh(random, rpc, changes, buf, sizeof(buf));
	return input_append(input, size, used, &s);
}

static size_t add_op(uint8_t *input, size_t size, size_t used, uint8_t op, uint8_t arg)
{
	return input_append(input, size, used, &(struct step){ .op = op, .arg = arg });
}

/* What sessions do beside requests: cancels, hanging up in the middle, descriptors of all kinds. */
static void special_seeds(void)
{
	static uint8_t input[INPUT_MAX];
	struct fuzz_random random;
	size_t used;

	/* Found by this fuzzer: descriptors that come with nothing were left open. */
	used = add_op(input, sizeof(input), 0, STEP_FRAME, STEP_RAW | STEP_FD_TWO);
	seed_write("regression-empty-packet", input, used);
	for (unsigned k = 0; k < 24; k++) {
		static const enum step_op ends[] = { STEP_WAIT, STEP_SHUT, STEP_HANGUP };

		fuzz_random_init(&random, 5000 + k);
		used = add_fresh(input, sizeof(input), 0, &random, &rpc_table[RPC_INDEX_Open], 0);
		for (unsigned i = 0; i < 4; i++) {
			size_t at = used + 1;

			used = add_fresh(input, sizeof(input), used, &random,
					 &rpc_table[i == 3 ? RPC_INDEX_Cancel
							   : fuzz_below(&random, RPC_COUNT)],
					 1);
			if (used >= at)
				input[at] |= (uint8_t)(k & 1 ? STEP_MORE : STEP_NO_WAIT);
		}
		used = add_op(input, sizeof(input), used, ends[k % ARRAY_SIZE(ends)], 0);
		seed_write("ends", input, used);

		/* Two sockets connected, and what is none. */
		used = add_fresh(input, sizeof(input), 0, &random, &rpc_table[RPC_INDEX_Connect],
				 0);
		input[1] = (uint8_t)(k % 6);
		used = add_fresh(input, sizeof(input), used, &random, &rpc_table[RPC_INDEX_Connect],
				 0);
		seed_write("descriptors", input, used);
	}
}

static size_t add_request(uint8_t *input, size_t size, size_t used, const struct rpc_info *rpc,
			  uint32_t fs_id, const char *path)
{
	struct step s = { .op = STEP_FRAME,
			  .arg = rpc->flags & RPC_TAKES_FD ? STEP_FD_SOCKET : STEP_FD_NONE };
	struct good_request q;
	uint8_t buf[512];

	good_request_make(&q, rpc);
	for (unsigned i = 0; i < 2; i++) {
		q.paths[i].fs_id = fs_id;
		q.paths[i].path = (ProtobufCBinaryData){ strlen(path), (uint8_t *)path };
		q.paths[i].follow = rpc->flags & RPC_FOLLOW ? 8 : 0;
	}
	s.bytes = buf;
	s.len = (uint16_t)packed_frame(buf, rpc->type, 0, &q.message, 0);
	if (rpc->type % 2)
		s.arg |= STEP_SECOND;
	return input_append(input, size, used, &s);
}

/* Every row of the table, in every volume, with each path that leads out. */
static void escape_seeds(void)
{
	static uint8_t input[INPUT_MAX];

	for (uint32_t fs_id = 1; fs_id <= 5; fs_id++)
		for (unsigned e = 0; e < FUZZ_ESCAPES; e++) {
			size_t used = 0;

			for (size_t i = 0; i < RPC_COUNT; i++)
				if (rpc_table[i].flags & RPC_PATH)
					used = add_request(input, sizeof(input), used,
							   &rpc_table[i], fs_id, fuzz_escapes[e]);
			seed_write("regression-escape", input, used);
		}
}

/* An open file and an open directory; then one request of each kind, sixteen times. */
static void session_seeds(void)
{
	static uint8_t input[INPUT_MAX];

	for (size_t i = 0; i < RPC_COUNT; i++)
		for (unsigned k = 0; k < 16; k++) {
			struct fuzz_random random;
			size_t used = 0;

			fuzz_random_init(&random, i * 100 + k + 1);
			used = add_fresh(input, sizeof(input), used, &random,
					 &rpc_table[RPC_INDEX_Open], k / 4);
			used = add_fresh(input, sizeof(input), used, &random,
					 &rpc_table[RPC_INDEX_Open], k / 4);
			used = add_fresh(input, sizeof(input), used, &random, &rpc_table[i], k / 2);
			used = add_fresh(input, sizeof(input), used, &random, &rpc_table[i], k / 2);
			seed_write(rpc_table[i].name, input, used);
		}
	special_seeds();
	escape_seeds();
}

/* ---- client: calls, and replies to whatever they ask ---- */

static void client_seeds(void)
{
	static uint8_t input[INPUT_MAX];

	for (unsigned which = 0; which < 128; which++)
		for (unsigned k = 0; k < 3; k++) {
			uint8_t buf[8192], move[2] = { 5, 32 };
			struct step s = { .op = STEP_MOVE, .len = 2, .bytes = move };
			struct fuzz_random random;
			size_t used = 0;

			/* An open file, for what needs one. */
			used = input_append(input, sizeof(input), used, &s);
			move[0] = (uint8_t)which;
			move[1] = (uint8_t)(k * 37);
			used = input_append(input, sizeof(input), used, &s);
			fuzz_random_init(&random, which * 10 + k + 1);
			for (size_t i = 0; i < 2 * RPC_COUNT; i++) {
				const struct rpc_info *rpc = &rpc_table[i % RPC_COUNT];

				if (rpc->index == RPC_INDEX_Hello)
					continue;
				s = (struct step){ .op = STEP_FRAME, .bytes = buf };
				if ((rpc->flags & RPC_DONATES) && k)
					s.arg |= STEP_FD_FILE;
				s.len = (uint16_t)steps_of_replies.fresh(&random, rpc, k, buf,
									 sizeof(buf));
				if (i / RPC_COUNT == 0 || fuzz_one_in(&random, 3))
					used = input_append(input, sizeof(input), used, &s);
			}
			seed_write("calls", input, used);
		}
}

/* ---- differential: plans ---- */

/* An open file, then operations of one kind among others. */
static void differential_seeds(void)
{
	uint8_t plan[1 + 8 * PLAN_STEP];

	for (unsigned kind = 0; kind < PLAN_KINDS; kind++)
		for (unsigned k = 0; k < 10; k++) {
			struct fuzz_random random;

			fuzz_random_init(&random, kind * 100 + k + 1);
			for (size_t i = 0; i < sizeof(plan); i++)
				plan[i] = (uint8_t)fuzz_random_next(&random);
			plan[1] = PLAN_OPEN;
			plan[1 + 2 * PLAN_STEP] = (uint8_t)kind;
			plan[1 + 4 * PLAN_STEP] = (uint8_t)kind;
			seed_write(plan_kind_name(kind), plan, sizeof(plan));
		}
}

/* ---- dictionary ---- */

static void dictionary_entry(const char *name, const uint8_t *data, size_t size)
{
	printf("%s=\"", name);
	for (size_t i = 0; i < size; i++)
		printf("\\x%02x", data[i]);
	printf("\"\n");
}

/* Each RPC's header, and the tag byte of each field that occurs. */
static void dictionary(void)
{
	uint8_t buf[FRAME_HEADER_SIZE];
	bool seen[256] = { false };

	for (size_t i = 0; i < RPC_COUNT; i++) {
		const ProtobufCMessageDescriptor *d = rpc_table[i].request;

		frame_header_pack(&(struct frame_header){ .type = rpc_table[i].type,
							  .tag = 1,
							  .body_len = 8 },
				  buf);
		dictionary_entry(rpc_table[i].name, buf, sizeof(buf));
		for (unsigned f = 0; f < d->n_fields; f++) {
			uint8_t wire = d->fields[f].type == PROTOBUF_C_TYPE_MESSAGE ||
						       d->fields[f].type == PROTOBUF_C_TYPE_BYTES ||
						       d->fields[f].type == PROTOBUF_C_TYPE_STRING
					       ? 2
					       : 0;
			uint8_t key = (uint8_t)(d->fields[f].id << 3 | wire);

			if (seen[key])
				continue;
			seen[key] = true;
			printf("field_%u_%u=\"\\x%02x\"\n", d->fields[f].id, wire, key);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *target;
		void (*make)(void);
	} targets[] = {
		{ "decode", decode_seeds },
		{ "session", session_seeds },
		{ "race", session_seeds },
		{ "client", client_seeds },
		{ "differential", differential_seeds },
	};

	message_check_table();
	if (argc == 2 && strcmp(argv[1], "dictionary") == 0) {
		dictionary();
		return 0;
	}
	for (size_t i = 0; argc == 3 && i < ARRAY_SIZE(targets); i++)
		if (strcmp(argv[1], targets[i].target) == 0) {
			directory = argv[2];
			targets[i].make();
			return 0;
		}
	fprintf(stderr, "usage: seeds TARGET DIRECTORY | seeds dictionary\n");
	return 2;
}
