/*
 * test_validate.c - every number and byte string that a peer can send, at its extremes, through the
 * validators.
 *
 * Every row of the table has a request that passes (good_request.h). The tests over all rows spoil
 * one thing of it at a time.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/arena.h"
#include "proto/rpc.h"
#include "proto/validate.h"
#include "tests/unit/good_request.h"

/* run: valgrind */

static struct frame_header header;

/* For each row, and each of its paths: makes a good request, spoils it, and wants `expected`. */
static void spoil_paths(void (*spoil)(Gofer__Path *path), int expected)
{
	for (size_t i = 0; i < RPC_COUNT; i++)
		for (unsigned which = 0; which < 2; which++) {
			struct good_request r;
			int got;

			if (!(rpc_table[i].flags & (which ? RPC_PATH2 : RPC_PATH)))
				continue;
			good_request_make(&r, &rpc_table[i]);
			spoil(&r.paths[which]);
			got = rpc_table[i].validate(&r.message, &header);
			cr_assert_eq(got, expected, "%s, path %u: %d", rpc_table[i].name, which,
				     got);
		}
}

Test(validate, a_good_request_of_every_row_passes)
{
	for (size_t i = 0; i < RPC_COUNT; i++) {
		struct good_request r;

		good_request_make(&r, &rpc_table[i]);
		cr_assert_eq(rpc_table[i].validate(&r.message, &header), 0, "%s",
			     rpc_table[i].name);
	}
}

Test(validate, S67_a_missing_path_is_refused)
{
	for (size_t i = 0; i < RPC_COUNT; i++)
		for (unsigned which = 0; which < 2; which++) {
			const ProtobufCFieldDescriptor *f;
			struct good_request r;

			if (!(rpc_table[i].flags & (which ? RPC_PATH2 : RPC_PATH)))
				continue;
			good_request_make(&r, &rpc_table[i]);
			f = protobuf_c_message_descriptor_get_field(rpc_table[i].request,
								    which + 1);
			*(Gofer__Path **)((char *)&r.message + f->offset) = NULL;
			cr_assert_eq(rpc_table[i].validate(&r.message, &header), -EINVAL, "%s",
				     rpc_table[i].name);
		}
}

static char long_text[5000];

static void spoil_nul(Gofer__Path *p)
{
	p->path = (ProtobufCBinaryData){ .data = (uint8_t *)"a\0b", .len = 3 };
}

static void spoil_long(Gofer__Path *p)
{
	for (size_t i = 0; i < sizeof(long_text); i++)
		long_text[i] = i % 2 ? '/' : 'a';
	p->path = (ProtobufCBinaryData){ .data = (uint8_t *)long_text, .len = 4096 };
}

static void spoil_component(Gofer__Path *p)
{
	memset(long_text, 'a', sizeof(long_text));
	p->path = (ProtobufCBinaryData){ .data = (uint8_t *)long_text, .len = 256 };
}

static void spoil_empty(Gofer__Path *p)
{
	p->path = (ProtobufCBinaryData){ 0 };
}

static void spoil_budget(Gofer__Path *p)
{
	p->follow = 41;
}

static void spoil_budget_extreme(Gofer__Path *p)
{
	p->follow = UINT32_MAX;
}

Test(validate, S4_S7_bad_paths_are_refused_in_every_path_field)
{
	spoil_paths(spoil_nul, -EINVAL);
	spoil_paths(spoil_long, -ENAMETOOLONG);
	spoil_paths(spoil_component, -ENAMETOOLONG);
	spoil_paths(spoil_budget, -EINVAL);
	spoil_paths(spoil_budget_extreme, -EINVAL);
	spoil_paths(spoil_empty, 0); /* names the base: for the handler to judge */
}

Test(validate, only_requests_without_side_effects_may_follow_links)
{
	for (size_t i = 0; i < RPC_COUNT; i++) {
		struct good_request r;
		int expected = rpc_table[i].flags & RPC_FOLLOW ? 0 : -EINVAL;

		if (!(rpc_table[i].flags & RPC_PATH))
			continue;
		good_request_make(&r, &rpc_table[i]);
		r.paths[0].follow = 1;
		cr_assert_eq(rpc_table[i].validate(&r.message, &header), expected, "%s",
			     rpc_table[i].name);
	}
}

Test(validate, S32_open_that_changes_something_follows_no_link)
{
	static const uint32_t changing[] = {
		GOFER__OPEN_FLAG__OPEN_CREATE,
		GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_EXCLUSIVE,
		GOFER__OPEN_FLAG__OPEN_TRUNCATE,
		GOFER__OPEN_FLAG__OPEN_TMPFILE,
	};

	for (size_t i = 0; i < ARRAY_SIZE(changing); i++) {
		struct good_request r;

		good_request_make(&r, &rpc_table[RPC_INDEX_Open]);
		r.open.flags = GOFER__OPEN_FLAG__OPEN_WRITE | changing[i];
		cr_assert_eq(validate_open(&r.message, &header), 0, "%x", r.open.flags);
		r.paths[0].follow = 1;
		cr_assert_eq(validate_open(&r.message, &header), -EINVAL, "%x", r.open.flags);
	}
}

Test(validate, S42_no_unknown_or_senseless_open_flag_passes)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		struct good_request r;

		good_request_make(&r, &rpc_table[RPC_INDEX_Open]);
		r.open.flags =
			UINT32_C(1)
			<< bit; /* alone, without access: only READ, WRITE and PATH are an open */
		cr_assert_eq(validate_open(&r.message, &header), bit <= 2 ? 0 : -EINVAL, "bit %u",
			     bit);
		r.open.flags |= GOFER__OPEN_FLAG__OPEN_READ;
		if (bit > 13)
			cr_assert_eq(validate_open(&r.message, &header), -EINVAL, "bit %u", bit);
	}
}

Test(validate, S41_no_type_or_unknown_bit_in_a_mode)
{
	for (unsigned bit = 0; bit < 32; bit++) {
		uint32_t mode = UINT32_C(1) << bit;
		struct good_request r;

		good_request_make(&r, &rpc_table[RPC_INDEX_Mkdir]);
		r.mkdir.mode = mode;
		cr_assert_eq(validate_mkdir(&r.message, &header), bit < 12 ? 0 : -EINVAL);
		r.mkdir.mode = 0;
		r.mkdir.umask = mode;
		cr_assert_eq(validate_mkdir(&r.message, &header), bit < 9 ? 0 : -EINVAL);

		good_request_make(&r, &rpc_table[RPC_INDEX_WriteFile]);
		r.write_file.mode = mode;
		cr_assert_eq(validate_write_file(&r.message, &header), bit < 12 ? 0 : -EINVAL);

		good_request_make(&r, &rpc_table[RPC_INDEX_Open]);
		r.open.flags = GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE;
		r.open.mode = mode;
		cr_assert_eq(validate_open(&r.message, &header), bit < 12 ? 0 : -EINVAL);

		good_request_make(&r, &rpc_table[RPC_INDEX_SetAttr]);
		r.set_attr.mode = mode;
		cr_assert_eq(validate_set_attr(&r.message, &header), bit < 12 ? 0 : -EINVAL);

		good_request_make(&r, &rpc_table[RPC_INDEX_Access]);
		r.access.mode = mode;
		cr_assert_eq(validate_access(&r.message, &header), bit < 3 ? 0 : -EINVAL);
	}
}

Test(validate, S39_mknod_makes_no_directory_and_no_link)
{
	for (uint32_t type = 0; type <= 15; type++) {
		struct good_request r;
		uint32_t fmt = type << 12;
		bool device = fmt == S_IFCHR || fmt == S_IFBLK;
		bool known =
			device || fmt == 0 || fmt == S_IFREG || fmt == S_IFIFO || fmt == S_IFSOCK;

		good_request_make(&r, &rpc_table[RPC_INDEX_Mknod]);
		r.mknod.mode = fmt | 0644;
		cr_assert_eq(validate_mknod(&r.message, &header), known ? 0 : -EINVAL, "%o", fmt);
		r.mknod.rdev = 1;
		cr_assert_eq(validate_mknod(&r.message, &header), device ? 0 : -EINVAL, "%o", fmt);
	}
}

static const uint64_t extremes[] = { 0,
				     1,
				     0x7fffffff,
				     0x80000000,
				     0xffffffff,
				     0x100000000,
				     INT64_MAX - 1,
				     INT64_MAX,
				     (uint64_t)INT64_MAX + 1,
				     UINT64_MAX - 1,
				     UINT64_MAX };

/* Whether offset + length fits off_t, in arithmetic that cannot wrap. */
static bool fits(uint64_t offset, uint64_t length)
{
	return (unsigned __int128)offset + length <= INT64_MAX;
}

Test(validate, S64_offset_and_length_in_every_combination)
{
	for (size_t i = 0; i < ARRAY_SIZE(extremes); i++)
		for (size_t j = 0; j < ARRAY_SIZE(extremes); j++) {
			uint64_t offset = extremes[i], length = extremes[j];
			struct frame_header h = { 0 };
			struct good_request r;

			good_request_make(&r, &rpc_table[RPC_INDEX_Read]);
			r.read.offset = offset;
			r.read.count = length;
			cr_assert_eq(validate_read(&r.message, &h) == 0,
				     fits(offset, (uint32_t)length));

			good_request_make(&r, &rpc_table[RPC_INDEX_ReadFile]);
			r.read_file.offset = offset;
			r.read_file.count = length;
			cr_assert_eq(validate_read_file(&r.message, &h) == 0,
				     fits(offset, (uint32_t)length));

			good_request_make(&r, &rpc_table[RPC_INDEX_Write]);
			r.write.offset = offset;
			h.data_len = length;
			cr_assert_eq(validate_write(&r.message, &h) == 0, fits(offset, h.data_len));

			good_request_make(&r, &rpc_table[RPC_INDEX_Allocate]);
			r.allocate.offset = offset;
			r.allocate.length = length;
			cr_assert_eq(validate_allocate(&r.message, &h) == 0,
				     length && fits(offset, length));

			for (size_t k = 0; k < ARRAY_SIZE(extremes); k++) {
				good_request_make(&r, &rpc_table[RPC_INDEX_Copy]);
				r.copy.source_offset = offset;
				r.copy.dest_offset = extremes[k];
				r.copy.length = length;
				cr_assert_eq(validate_copy(&r.message, &h) == 0,
					     fits(offset, length) && fits(extremes[k], length));
			}
		}
	for (size_t i = 0; i < ARRAY_SIZE(extremes); i++) {
		struct good_request r;

		good_request_make(&r, &rpc_table[RPC_INDEX_Seek]);
		r.seek.offset = extremes[i];
		cr_assert_eq(validate_seek(&r.message, &header) == 0, extremes[i] <= INT64_MAX);
		good_request_make(&r, &rpc_table[RPC_INDEX_SetAttr]);
		r.set_attr.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
		r.set_attr.size = extremes[i];
		cr_assert_eq(validate_set_attr(&r.message, &header) == 0, extremes[i] <= INT64_MAX);
		good_request_make(&r, &rpc_table[RPC_INDEX_ReadDir]);
		r.read_dir.cookie = extremes[i];
		cr_assert_eq(validate_read_dir(&r.message, &header) == 0, extremes[i] <= INT64_MAX);
	}
}

Test(validate, setattr_mask_and_its_values)
{
	struct good_request r;

	for (unsigned bit = 0; bit < 32; bit++) {
		good_request_make(&r, &rpc_table[RPC_INDEX_SetAttr]);
		r.set_attr.mask = UINT32_C(1) << bit;
		cr_assert_eq(validate_set_attr(&r.message, &header), bit < 8 ? 0 : -EINVAL);
	}
	r.set_attr.mask = 0; /* chown(2) of neither */
	cr_assert_eq(validate_set_attr(&r.message, &header), 0);
	r.set_attr.mask = GOFER__SET_ATTR_MASK__SET_ATIME | GOFER__SET_ATTR_MASK__SET_ATIME_NOW;
	cr_assert_eq(validate_set_attr(&r.message, &header), -EINVAL);
	r.set_attr.mask = GOFER__SET_ATTR_MASK__SET_ATIME;
	r.set_attr.atime_nsec = 999999999;
	cr_assert_eq(validate_set_attr(&r.message, &header), 0);
	/* UTIME_NOW and UTIME_OMIT are nanosecond values of the host: they must not be smuggled in.
	 */
	r.set_attr.atime_nsec = (1 << 30) - 1;
	cr_assert_eq(validate_set_attr(&r.message, &header), -EINVAL);
	r.set_attr.atime_nsec = (1 << 30) - 2;
	cr_assert_eq(validate_set_attr(&r.message, &header), -EINVAL);
	/* -1 means "leave as it is" to chown(2). */
	good_request_make(&r, &rpc_table[RPC_INDEX_SetAttr]);
	r.set_attr.mask = GOFER__SET_ATTR_MASK__SET_UID;
	r.set_attr.uid = UINT32_MAX;
	cr_assert_eq(validate_set_attr(&r.message, &header), -EINVAL);
}

Test(validate, S95_identities)
{
	static uint32_t groups[65537];
	struct good_request r;

	good_request_make(&r, &rpc_table[RPC_INDEX_SetIdentity]);
	r.set_identity.groups = groups;
	for (size_t n = 0; n <= 65537; n += n < 2 ? 1 : n < 65536 ? 65534 : 1) {
		r.set_identity.n_groups = n;
		cr_assert_eq(validate_set_identity(&r.message, &header), n <= 65536 ? 0 : -EINVAL,
			     "%zu", n);
	}
	r.set_identity.n_groups = 3;
	groups[2] = UINT32_MAX;
	cr_assert_eq(validate_set_identity(&r.message, &header), -EINVAL);
	r.set_identity.n_groups = 0;
	r.set_identity.uid = UINT32_MAX;
	cr_assert_eq(validate_set_identity(&r.message, &header), -EINVAL);
	r.set_identity.uid = 0;
	r.set_identity.id = 0;
	cr_assert_eq(validate_set_identity(&r.message, &header), -EINVAL);
}

Test(validate, S74_xattr_names_and_sizes)
{
	static const enum rpc_index rows[] = { RPC_INDEX_GetXattr, RPC_INDEX_SetXattr,
					       RPC_INDEX_RemoveXattr };
	struct frame_header h = { 0 };
	struct good_request r;

	memset(long_text, 'x', sizeof(long_text));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct rpc_info *rpc = &rpc_table[rows[i]];
		ProtobufCBinaryData *name;

		good_request_make(&r, rpc);
		name = (ProtobufCBinaryData *)((char *)&r.message +
					       protobuf_c_message_descriptor_get_field_by_name(
						       rpc->request, "name")
						       ->offset);
		*name = (ProtobufCBinaryData){ .data = (uint8_t *)long_text, .len = 255 };
		cr_assert_eq(rpc->validate(&r.message, &h), 0, "%s", rpc->name);
		name->len = 256;
		cr_assert_eq(rpc->validate(&r.message, &h), -ERANGE, "%s", rpc->name);
		name->len = 0;
		cr_assert_eq(rpc->validate(&r.message, &h), -ERANGE, "%s", rpc->name);
		*name = (ProtobufCBinaryData){ .data = (uint8_t *)"user.\0x", .len = 7 };
		cr_assert_eq(rpc->validate(&r.message, &h), -EINVAL, "%s", rpc->name);
	}
	good_request_make(&r, &rpc_table[RPC_INDEX_SetXattr]);
	h.data_len = 65536;
	cr_assert_eq(validate_set_xattr(&r.message, &h), 0);
	h.data_len = 65537;
	cr_assert_eq(validate_set_xattr(&r.message, &h), -E2BIG);
}

Test(validate, S35_symlink_targets)
{
	struct good_request r;

	memset(long_text, 'x', sizeof(long_text));
	good_request_make(&r, &rpc_table[RPC_INDEX_Symlink]);
	r.symlink.target = (ProtobufCBinaryData){ .data = (uint8_t *)long_text, .len = 4095 };
	cr_assert_eq(validate_symlink(&r.message, &header), 0);
	r.symlink.target.len = 4096;
	cr_assert_eq(validate_symlink(&r.message, &header), -ENAMETOOLONG);
	r.symlink.target.len = 0;
	cr_assert_eq(validate_symlink(&r.message, &header), -ENOENT);
	r.symlink.target = (ProtobufCBinaryData){ .data = (uint8_t *)"a\0", .len = 2 };
	cr_assert_eq(validate_symlink(&r.message, &header), -EINVAL);
}

Test(validate, S65_lists_of_handles_are_bounded)
{
	static uint64_t handles[4097];
	struct good_request r;

	good_request_make(&r, &rpc_table[RPC_INDEX_Close]);
	r.close.handles = handles;
	r.close.n_handles = 4096;
	cr_assert_eq(validate_close(&r.message, &header), 0);
	r.close.n_handles = 4097;
	cr_assert_eq(validate_close(&r.message, &header), -EINVAL);
	r.close.n_handles = 0;
	cr_assert_eq(validate_close(&r.message, &header), -EINVAL);
}

Test(validate, two_paths_are_of_one_filesystem_and_one_identity)
{
	static const enum rpc_index rows[] = { RPC_INDEX_Link, RPC_INDEX_Rename };
	struct good_request r;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		good_request_make(&r, &rpc_table[rows[i]]);
		r.paths[1].fs_id = 2;
		cr_assert_eq(rpc_table[rows[i]].validate(&r.message, &header), -EXDEV);
		good_request_make(&r, &rpc_table[rows[i]]);
		r.paths[1].identity = 2;
		cr_assert_eq(rpc_table[rows[i]].validate(&r.message, &header), -EINVAL);
	}
	for (uint32_t flags = 0; flags < 10; flags++) {
		good_request_make(&r, &rpc_table[RPC_INDEX_Rename]);
		r.rename.flags = flags;
		cr_assert_eq(validate_rename(&r.message, &header), flags <= 2 ? 0 : -EINVAL);
	}
}

Test(validate, S68_versions_and_feature_lists)
{
	static char *names[65];
	struct good_request r;

	good_request_make(&r, &rpc_table[RPC_INDEX_Hello]);
	r.hello.version = 0;
	cr_assert_eq(validate_hello(&r.message, &header), -EPROTONOSUPPORT);
	r.hello.version = UINT32_MAX; /* the server answers with what it speaks */
	cr_assert_eq(validate_hello(&r.message, &header), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		names[i] = "feature";
	r.hello.features = names;
	r.hello.n_features = 64;
	cr_assert_eq(validate_hello(&r.message, &header), 0);
	r.hello.n_features = 65;
	cr_assert_eq(validate_hello(&r.message, &header), -EINVAL);
	memset(long_text, 'x', 300);
	r.hello.n_features = 0;
	r.hello.client = long_text;
	cr_assert_eq(validate_hello(&r.message, &header), -EINVAL);
	r.hello.client = NULL;
}

static void decode_and_validate(struct arena *arena, const struct rpc_info *rpc,
				const uint8_t *bytes, size_t size)
{
	ProtobufCMessage *m;

	arena_reset(arena);
	if (arena_unpack(arena, rpc->request, bytes, size, &m) == 0)
		(void)rpc->validate(m, &header);
}

Test(validate, S63_every_request_cut_at_every_byte_and_with_every_bit_flipped)
{
	struct arena arena;

	cr_assert_eq(arena_init(&arena, 512 * 1024), 0);
	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];
		uint8_t packed[512], *exact;
		struct good_request r;
		size_t size;

		good_request_make(&r, rpc);
		size = protobuf_c_message_get_packed_size(&r.message);
		cr_assert_leq(size, sizeof(packed));
		protobuf_c_message_pack(&r.message, packed);
		for (size_t cut = 0; cut <= size; cut++) {
			/* In a block of exactly that size, so that reading past it is seen. */
			exact = malloc(cut ? cut : 1);
			memcpy(exact, packed, cut);
			decode_and_validate(&arena, rpc, exact, cut);
			for (size_t bit = 0; cut == size && bit < size * 8; bit++) {
				exact[bit / 8] ^= 1 << bit % 8;
				decode_and_validate(&arena, rpc, exact, size);
				exact[bit / 8] ^= 1 << bit % 8;
			}
			free(exact);
		}
	}
	arena_deinit(&arena);
}
