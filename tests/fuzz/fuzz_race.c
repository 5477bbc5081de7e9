/*
 * fuzz_race.c - target 5: two sessions of one server at the same time, and somebody outside who
 * renames what they walk through; under ThreadSanitizer. The input is that of target 2: its frames
 * belong to one of the two sessions, its moves to the attacker, who repeats them until both are
 * done (and makes some of his own where there are none).
 *
 * In the real server each session has a process to itself; here they share one, and the server's
 * volumes, so that what threads of one session share is shared by more.
 */
#include <stdatomic.h>
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/live.h"
#include "tests/fuzz/mutate.h"

static struct fuzz_tree tree;
static struct live_server live;

struct side {
	struct player player;
	const struct step *steps;
	size_t n;
	int sock, which;
};

struct attacker {
	const struct step *steps;
	size_t n;
	_Atomic bool done;
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	message_check_table();
	tree_init(&tree);
	live_init(&live, &tree);
	live.raced = true;
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

static void *side_main(void *userdata)
{
	struct side *s = userdata;

	play(&s->player, &tree, s->sock, s->steps, s->n, s->which);
	return NULL;
}

static void *attacker_main(void *userdata)
{
	struct attacker *a = userdata;
	unsigned k = 0;

	do {
		for (size_t i = 0; i < a->n; i++)
			tree_move(&tree, a->steps[i].bytes[0], a->steps[i].bytes[1]);
		if (a->n == 0)
			tree_move(&tree, (uint8_t)(k++ & 1), 1);
	} while (!atomic_load(&a->done));
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct side sides[2];
	struct step steps[INPUT_MAX_STEPS], moves[INPUT_MAX_STEPS];
	struct attacker attacker = { .steps = moves };
	struct live_session sessions[2];
	pthread_t threads[3];
	unsigned before = tree_count_fds(false);
	size_t n = input_parse(data, size, steps, INPUT_MAX_STEPS), kept = 0;
	int fd;

	for (size_t i = 0; i < n; i++)
		if (steps[i].op != STEP_MOVE)
			steps[kept++] = steps[i];
		else if (steps[i].len >= 2)
			moves[attacker.n++] = steps[i];
	live_open(&live);
	FUZZ_ASSERT(pthread_create(&threads[2], NULL, attacker_main, &attacker) == 0);
	for (int i = 0; i < 2; i++) {
		sides[i] = (struct side){ .steps = steps, .n = kept, .which = i };
		sides[i].sock = live_start(&sessions[i], &live, 0);
		FUZZ_ASSERT(pthread_create(&threads[i], NULL, side_main, &sides[i]) == 0);
	}
	for (int i = 0; i < 2; i++)
		FUZZ_ASSERT(pthread_join(threads[i], NULL) == 0);
	atomic_store(&attacker.done, true);
	FUZZ_ASSERT(pthread_join(threads[2], NULL) == 0);
	for (int i = 0; i < 2; i++) {
		fd_close(sides[i].player.sock);
		live_join(&sessions[i]);
	}
	live_close(&live);
	while ((fd = accept4(tree.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
	FUZZ_ASSERT(tree_count_fds(false) == before);
	tree_check_outside(&tree);
	tree_reset(&tree);
	return 0;
}
