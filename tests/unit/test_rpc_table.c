/*
 * test_rpc_table.c - the table says of each RPC what is true of its messages. Everything
 * table-driven rests on that.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proto/rpc.h"

/* run: valgrind */

Test(rpc_table, every_row_is_found_by_type_and_by_name)
{
	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];

		cr_assert_eq((size_t)rpc->index, i);
		cr_assert_eq(rpc_find(rpc->type), rpc, "%s", rpc->name);
		cr_assert_eq(rpc_find_by_name(rpc->name), rpc, "%s", rpc->name);
		cr_assert_not_null(rpc->validate, "%s", rpc->name);
		cr_assert_gt(rpc->type, 0);
		cr_assert_lt(rpc->type, RPC_TYPE_LIMIT);
	}
}

Test(rpc_table, S68_unknown_types_are_unknown)
{
	unsigned known = 0;

	for (unsigned type = 0; type <= UINT16_MAX; type++)
		if (rpc_find(type))
			known++;
	cr_assert_eq(known, RPC_COUNT);
	cr_assert_null(rpc_find(0));
	cr_assert_null(rpc_find_by_name("NoSuchCall"));
	cr_assert_null(rpc_find_by_name(""));
}

Test(rpc_table, requests_are_named_after_their_row)
{
	char name[64];

	for (size_t i = 0; i < RPC_COUNT; i++) {
		snprintf(name, sizeof(name), "gofer.%sRequest", rpc_table[i].name);
		cr_assert_str_eq(rpc_table[i].request->name, name);
		cr_assert_not_null(strstr(rpc_table[i].reply->name, "Reply"));
	}
}

static bool is_path(const ProtobufCMessageDescriptor *m, unsigned field)
{
	const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(m, field);

	return f && f->type == PROTOBUF_C_TYPE_MESSAGE && f->descriptor == &gofer__path__descriptor;
}

Test(rpc_table, path_flags_match_the_messages)
{
	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];
		unsigned paths = 0;

		for (unsigned f = 0; f < rpc->request->n_fields; f++)
			if (is_path(rpc->request, rpc->request->fields[f].id))
				paths++;
		cr_assert_eq(is_path(rpc->request, 1), !!(rpc->flags & RPC_PATH), "%s", rpc->name);
		cr_assert_eq(is_path(rpc->request, 2), !!(rpc->flags & RPC_PATH2), "%s", rpc->name);
		cr_assert_eq(paths, !!(rpc->flags & RPC_PATH) + !!(rpc->flags & RPC_PATH2), "%s",
			     rpc->name);
	}
}

Test(rpc_table, flags_agree_with_each_other)
{
	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];
		uint32_t f = rpc->flags;

		/* What writes follows no link on speculation; what follows has a path. */
		cr_assert(!(f & RPC_WRITES) || !(f & RPC_FOLLOW), "%s", rpc->name);
		cr_assert(!(f & RPC_FOLLOW) || (f & RPC_PATH), "%s", rpc->name);
		cr_assert(!(f & RPC_PATH2) || (f & RPC_PATH), "%s", rpc->name);
		/* What is served when all workers are busy touches no filesystem. */
		cr_assert(!(f & RPC_CONTROL) ||
				  !(f & (RPC_WRITES | RPC_PATH | RPC_BLOCKS | RPC_DATA_IN)),
			  "%s", rpc->name);
		/* Whoever follows links must be able to say which. */
		cr_assert(!(f & RPC_FOLLOW) || rpc->index == RPC_INDEX_GetXattr ||
				  rpc->index == RPC_INDEX_ListXattr ||
				  rpc->index == RPC_INDEX_StatFs ||
				  protobuf_c_message_descriptor_get_field_by_name(rpc->reply,
										  "followed"),
			  "%s", rpc->name);
	}
	cr_assert_eq(rpc_table[RPC_INDEX_Hello].flags & RPC_UNGREETED, RPC_UNGREETED);
}

Test(rpc_table, rpc_path_gives_the_field_that_the_flags_promise)
{
	Gofer__RenameRequest rename = GOFER__RENAME_REQUEST__INIT;
	Gofer__StatRequest stat = GOFER__STAT_REQUEST__INIT;
	Gofer__CloseRequest close = GOFER__CLOSE_REQUEST__INIT;
	Gofer__Path a = GOFER__PATH__INIT, b = GOFER__PATH__INIT;

	rename.source = &a;
	rename.dest = &b;
	stat.path = &b;
	cr_assert_eq(rpc_path(&rpc_table[RPC_INDEX_Rename], &rename.base, 0), &a);
	cr_assert_eq(rpc_path(&rpc_table[RPC_INDEX_Rename], &rename.base, 1), &b);
	cr_assert_eq(rpc_path(&rpc_table[RPC_INDEX_Stat], &stat.base, 0), &b);
	cr_assert_null(rpc_path(&rpc_table[RPC_INDEX_Stat], &stat.base, 1));
	cr_assert_null(rpc_path(&rpc_table[RPC_INDEX_Close], &close.base, 0));
	stat.path = NULL;
	cr_assert_null(rpc_path(&rpc_table[RPC_INDEX_Stat], &stat.base, 0));
}

/* Returns the depth of the deepest message below `m`, itself included; fails on a message that
 * contains itself. */
static unsigned depth_of(const ProtobufCMessageDescriptor *m, unsigned above)
{
	unsigned deepest = 0;

	cr_assert_lt(above, 8, "%s contains itself", m->name);
	for (unsigned f = 0; f < m->n_fields; f++)
		if (m->fields[f].type == PROTOBUF_C_TYPE_MESSAGE) {
			unsigned d = depth_of(m->fields[f].descriptor, above + 1);

			deepest = d > deepest ? d : deepest;
		}
	return deepest + 1;
}

Test(rpc_table, S67_no_message_contains_itself)
{
	for (size_t i = 0; i < RPC_COUNT; i++) {
		cr_assert_leq(depth_of(rpc_table[i].request, 0), 3, "%s", rpc_table[i].name);
		cr_assert_leq(depth_of(rpc_table[i].reply, 0), 3, "%s", rpc_table[i].name);
	}
	cr_assert_leq(depth_of(&gofer__stop__descriptor, 0), 3);
}

Test(rpc_table, bulk_data_is_no_field_and_paths_are_no_strings)
{
	for (size_t i = 0; i < RPC_COUNT; i++)
		for (unsigned f = 0; f < rpc_table[i].request->n_fields; f++) {
			const ProtobufCFieldDescriptor *field = &rpc_table[i].request->fields[f];

			if (field->type == PROTOBUF_C_TYPE_STRING)
				cr_assert_eq(i, RPC_INDEX_Hello, "%s.%s", rpc_table[i].name,
					     field->name);
			if (field->type == PROTOBUF_C_TYPE_BYTES)
				cr_assert(strcmp(field->name, "target") == 0 ||
						  strcmp(field->name, "name") == 0 ||
						  strcmp(field->name, "resume") == 0,
					  "%s.%s", rpc_table[i].name, field->name);
		}
}
