/*
 * fuzz_session.c - target 2: whole sessions with a live server (live.h), by the steps of input.h;
 * mutate.c changes one message at a time.
 */
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/live.h"
#include "tests/fuzz/mutate.h"

static struct fuzz_tree tree;
static struct live_server live;

static void drain_listener(void)
{
	int fd;

	while ((fd = accept4(tree.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	message_check_table();
	tree_init(&tree);
	live_init(&live, &tree);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	return steps_mutate(data, size, max, seed, &steps_of_requests);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
				 uint8_t *out, size_t max, unsigned seed)
{
	return steps_cross(a, a_size, b, b_size, out, max, seed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct player player;
	struct step steps[INPUT_MAX_STEPS];
	size_t n = input_parse(data, size, steps, INPUT_MAX_STEPS);
	unsigned before = tree_count_fds(true);
	struct live_session session;

	live_open(&live);
	/* The peer of a delegating volume: root, who may register others, or one of them. */
	play(&player, &tree, live_start(&session, &live, n && (steps[0].arg & 0x80) ? 1000 : 0),
	     steps, n, -1);
	player.sock = fd_close(player.sock);
	live_join(&session);
	live_close(&live);
	drain_listener();
	FUZZ_ASSERT(tree_count_fds(true) == before);
	tree_check_outside(&tree);
	if (player.changed)
		tree_reset(&tree);
	return 0;
}
