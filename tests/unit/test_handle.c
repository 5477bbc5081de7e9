/*
 * Handles: numbers name what they were given for, once, and never anything else.
 */
#include <criterion/criterion.h>
#include <fcntl.h>

#include "server/handle.h"

static struct fs_node some_node(void)
{
	struct fs_node node = { .fd = open("/dev/null", O_RDONLY | O_CLOEXEC) };

	cr_assert_geq(node.fd, 0);
	return node;
}

static uint64_t insert(struct handle_table *t)
{
	struct fs_node node = some_node();
	struct handle *reserved;
	uint64_t id;

	cr_assert_eq(handle_reserve(t, &reserved), 0);
	id = handle_insert(t, reserved, NULL, NULL, &node, 0, 0);
	cr_assert_neq(id, 0);
	return id;
}

Test(handle, a_closed_number_is_never_valid_again_S15)
{
	struct handle_table t;
	uint64_t first, second;

	cr_assert_eq(handle_table_init(&t, 16), 0);
	first = insert(&t);
	cr_assert_eq(handle_remove(&t, first), 0);
	cr_assert_eq(handle_remove(&t, first), -EBADF);
	second = insert(&t);
	cr_assert_eq((uint32_t)first, (uint32_t)second, "the slot is used again");
	cr_assert_null(handle_ref(&t, first));
	for (int i = -2; i <= 2; i++)
		if (i != 0)
			cr_assert_null(handle_ref(&t, second + i), "a neighbour is nothing");
	cr_assert_null(handle_ref(&t, 0));
	cr_assert_null(handle_ref(&t, UINT64_MAX));
	handle_table_deinit(&t);
}

Test(handle, a_close_during_use_closes_the_descriptor_only_afterwards_S69_S105)
{
	struct handle_table t;
	struct handle *h;
	uint64_t id;
	int fd;

	cr_assert_eq(handle_table_init(&t, 16), 0);
	id = insert(&t);
	h = handle_ref(&t, id);
	cr_assert_not_null(h);
	fd = h->node.fd;
	cr_assert_eq(handle_remove(&t, id), 0);
	cr_assert_geq(fcntl(fd, F_GETFD), 0, "still open for whoever uses it");
	handle_unref(h);
	cr_assert_lt(fcntl(fd, F_GETFD), 0, "gone with the last user");
	handle_table_deinit(&t);
}

Test(handle, the_limit_is_charged_before_anything_is_opened_S80)
{
	struct handle_table t;
	struct handle *reserved = NULL;
	uint64_t ids[4];

	cr_assert_eq(handle_table_init(&t, 4), 0);
	for (int i = 0; i < 4; i++)
		ids[i] = insert(&t);
	cr_assert_eq(handle_reserve(&t, &reserved), -EMFILE);
	cr_assert_null(reserved);
	cr_assert_eq(handle_remove(&t, ids[2]), 0);
	cr_assert_eq(handle_reserve(&t, &reserved), 0);
	cr_assert_null(handle_unreserve(&t, reserved));
	cr_assert_eq(handle_count(&t), 3);
	handle_table_deinit(&t);
}

Test(handle, growing_keeps_every_number)
{
	enum { N = 1000 };
	struct handle_table t;
	static uint64_t ids[N];

	cr_assert_eq(handle_table_init(&t, N), 0);
	for (int i = 0; i < N; i++)
		ids[i] = insert(&t);
	for (int i = 0; i < N; i++) {
		struct handle *h = handle_ref(&t, ids[i]);

		cr_assert_not_null(h);
		handle_unref(h);
	}
	handle_table_deinit(&t);
}
