/*
 * victim.c - recipes, routes, and judging an answer.
 *
 * An answer is judged without knowing its RPC: by reflection, every attribute in it must be of an
 * object inside, and no byte string and no payload may hold the ground's token. What an RPC answers
 * that is neither (StatFs, Access, Connect) is judged by asking for what exists outside only: then
 * success itself is the escape.
 */
#include "client/stress/victim.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define BYTES(text) ((ProtobufCBinaryData){ .data = (uint8_t *)(text), .len = strlen(text) })

/* ---- recipes ---- */

static void plain(struct op *op _unused_)
{
}

static void access_read(struct op *op)
{
	op->message.access.mode = 4;
}

#define OPEN(name, flags_)                                                              \
	static void open_##name(struct op *op)                                          \
	{                                                                               \
		op->message.open.flags = (flags_);                                      \
		op->message.open.mode = (flags_) & (F(CREATE) | F(TMPFILE)) ? 0644 : 0; \
	}
#define F(name) GOFER__OPEN_FLAG__OPEN_##name
OPEN(donated, F(READ) | F(DONATE) | F(ONLY_DONATED))
OPEN(handle, F(READ))
OPEN(path, F(PATH))
OPEN(truncate, F(READ) | F(WRITE) | F(TRUNCATE))
OPEN(append, F(WRITE) | F(APPEND))
OPEN(directory, F(READ) | F(DIRECTORY))
OPEN(tmpfile, F(READ) | F(WRITE) | F(TMPFILE))
OPEN(create, F(READ) | F(WRITE) | F(CREATE) | F(DONATE))
OPEN(exclusive, F(WRITE) | F(CREATE) | F(EXCLUSIVE))
#undef F
#undef OPEN

static void read_some(struct op *op)
{
	op->message.read_file.count = 256;
}

#define WRITE_FILE(name, atomic_, exclusive_, bare_)             \
	static void write_##name(struct op *op)                  \
	{                                                        \
		op->data = "inside";                             \
		op->message.write_file.mode = 0644;              \
		op->message.write_file.atomic = (atomic_);       \
		op->message.write_file.exclusive = (exclusive_); \
		op->message.write_file.bare = (bare_);           \
	}
WRITE_FILE(plain, false, false, false)
WRITE_FILE(exclusive, false, true, false)
WRITE_FILE(atomic, true, false, false)
WRITE_FILE(bare, false, false, true)
WRITE_FILE(bare_exclusive, false, true, true)
#undef WRITE_FILE

static void list_attrs(struct op *op)
{
	op->message.read_dir.attrs = true;
	op->message.read_dir.targets = true;
}

static void mode_755(struct op *op)
{
	op->message.mkdir.mode = 0755;
}

#define MKNOD(name, mode_)                                           \
	static void mknod_##name(struct op *op)                      \
	{                                                            \
		op->message.mknod.mode = (mode_);                    \
		op->message.mknod.rdev = S_ISCHR(mode_) ? 0x103 : 0; \
	}
MKNOD(file, S_IFREG | 0644)
MKNOD(fifo, S_IFIFO | 0644)
MKNOD(device, S_IFCHR | 0666)
#undef MKNOD

static void to_inside(struct op *op)
{
	op->message.symlink.target = BYTES("inside");
}

static void directory(struct op *op)
{
	op->message.unlink.directory = true;
}

static void swap(struct op *op)
{
	op->message.rename.flags = GOFER__RENAME_FLAG__RENAME_SWAP;
}

#define SET(name, mask_)                              \
	static void set_##name(struct op *op)         \
	{                                             \
		op->message.set_attr.mask = (mask_);  \
		op->message.set_attr.mode = 0755;     \
		op->message.set_attr.uid = geteuid(); \
		op->message.set_attr.gid = getegid(); \
		op->message.set_attr.size = 6;        \
	}
#define M(name) GOFER__SET_ATTR_MASK__SET_##name
SET(mode, M(MODE))
SET(size, M(SIZE))
SET(owner, M(UID) | M(GID))
SET(times, M(ATIME_NOW) | M(MTIME_NOW))
#undef M
#undef SET

static void xattr_outside(struct op *op)
{
	op->message.get_xattr.name = BYTES("user.outside");
	op->message.get_xattr.size = 256;
}

static void xattr_set(struct op *op)
{
	op->data = "inside";
	op->message.set_xattr.name = BYTES("user.inside");
}

static void xattr_list(struct op *op)
{
	op->message.list_xattr.size = 256;
}

static void xattr_remove(struct op *op)
{
	op->message.remove_xattr.name = BYTES("user.inside");
}

static void with_socket(struct op *op)
{
	op->takes_fd = true;
}

#define END       \
	{         \
		0 \
	}
typedef const struct recipe rows[];

static rows recipes_stat = {
	{ "f", LEAF_FILE, plain }, { "only", LEAF_ONLY, plain }, { "dir", LEAF_SELF, plain }, END
};
static rows recipes_access = { { "f", LEAF_FILE, access_read },
			       { "only", LEAF_ONLY, access_read },
			       END };
static rows recipes_open = {
	{ "donated", LEAF_FILE, open_donated },    { "only", LEAF_ONLY, open_handle },
	{ "path", LEAF_SELF, open_path },          { "truncate", LEAF_FILE, open_truncate },
	{ "append", LEAF_FILE, open_append },      { "directory", LEAF_DIR, open_directory },
	{ "tmpfile", LEAF_DIR, open_tmpfile },     { "create", LEAF_NEW, open_create },
	{ "exclusive", LEAF_NEW, open_exclusive }, END
};
static rows recipes_read_file = { { "f", LEAF_FILE, read_some },
				  { "only", LEAF_ONLY, read_some },
				  END };
static rows recipes_write_file = { { "plain", LEAF_FILE, write_plain, .creates = true },
				   { "exclusive", LEAF_NEW, write_exclusive },
				   { "atomic", LEAF_NEW, write_atomic },
				   { "bare", LEAF_FILE, write_bare, .creates = true },
				   { "bare-exclusive", LEAF_NEW, write_bare_exclusive },
				   END };
static rows recipes_read_dir = { { "sub", LEAF_DIR, list_attrs },
				 { "dir", LEAF_SELF, list_attrs },
				 END };
static rows recipes_read_link = { { "", LEAF_LINK, plain }, END };
static rows recipes_mkdir = { { "", LEAF_NEW, mode_755 }, END };
static rows recipes_mknod = { { "file", LEAF_NEW, mknod_file },
			      { "fifo", LEAF_NEW, mknod_fifo },
			      { "device", LEAF_NEW, mknod_device },
			      END };
static rows recipes_symlink = { { "", LEAF_NEW, to_inside }, END };
static rows recipes_link = { { "f", LEAF_FILE, plain, LEAF_NEW },
			     { "only", LEAF_ONLY, plain, LEAF_NEW },
			     END };
static rows recipes_unlink = { { "file", LEAF_NEW, plain },
			       { "directory", LEAF_NEW, directory },
			       { "only", LEAF_ONLY, plain },
			       END };
static rows recipes_rename = { { "plain", LEAF_NEW, plain, LEAF_NEW },
			       { "swap", LEAF_NEW, swap, LEAF_NEW },
			       { "only", LEAF_ONLY, plain, LEAF_NEW },
			       END };
static rows recipes_set_attr = {
	{ "mode", LEAF_FILE, set_mode },   { "dir", LEAF_SELF, set_mode },
	{ "size", LEAF_FILE, set_size },   { "owner", LEAF_FILE, set_owner },
	{ "times", LEAF_FILE, set_times }, END
};
static rows recipes_get_xattr = { { "", LEAF_FILE, xattr_outside }, END };
static rows recipes_set_xattr = { { "", LEAF_FILE, xattr_set }, END };
static rows recipes_list_xattr = { { "f", LEAF_FILE, xattr_list },
				   { "only", LEAF_ONLY, xattr_list },
				   END };
static rows recipes_remove_xattr = { { "", LEAF_FILE, xattr_remove }, END };
static rows recipes_stat_fs = { { "", LEAF_ONLY, plain }, END };
static rows recipes_watch = {
	{ "f", LEAF_FILE, plain }, { "only", LEAF_ONLY, plain }, { "dir", LEAF_SELF, plain }, END
};
static rows recipes_connect = { { "", LEAF_SOCKET, with_socket }, END };

/* Without a path there is nothing to be led astray. */
static rows without_path = { END };
#define recipes_hello without_path
#define recipes_set_identity without_path
#define recipes_cancel without_path
#define recipes_ping without_path
#define recipes_stats without_path
#define recipes_channel without_path
#define recipes_leave without_path
#define recipes_read without_path
#define recipes_write without_path
#define recipes_sync without_path
#define recipes_allocate without_path
#define recipes_seek without_path
#define recipes_copy without_path
#define recipes_close without_path

/* A row that is not in the lists above does not build; one with a path is not in the second. */
#define RPC(Name, snake, type, reply, flags)                                                   \
	_Static_assert(!((flags)&RPC_PATH) || sizeof(recipes_##snake) > sizeof(struct recipe), \
		       #Name " takes a path: write a recipe for it");
#include "proto/rpc.def"
#undef RPC

static const struct recipe *const recipes[RPC_COUNT] = {
#define RPC(Name, snake, type, reply, flags) [RPC_INDEX_##Name] = recipes_##snake,
#include "proto/rpc.def"
#undef RPC
};

const struct recipe *recipes_of(enum rpc_index rpc)
{
	return recipes[rpc];
}

bool recipe_fits(const struct recipe *recipe, const struct route *route)
{
	/* A directory with something in it is not removed; and what was not there is there then. */
	if (route->no_leaves && recipe->creates)
		return false;
	return route->field != FIELD_HOLE ||
	       (recipe->leaf != LEAF_NEW && recipe->leaf2 != LEAF_NEW);
}

/* ---- routes ---- */

const struct route routes[] = {
	{ "a/b/c/d/", PLACE_ROOT, FIELD_CHAIN },
	{ "a/b/../b/c/d/", PLACE_ROOT, FIELD_CHAIN },
	{ "/a/./b/c/d/../../c/d/", PLACE_ROOT, FIELD_CHAIN },
	{ "a/../a/b/c/../../b/c/d/", PLACE_ROOT, FIELD_CHAIN },
	{ "c/d/", PLACE_B, FIELD_CHAIN },
	{ "../../b/c/d/", PLACE_C, FIELD_CHAIN },
	{ "../d/../../c/d/", PLACE_D, FIELD_CHAIN },
	{ "", PLACE_D, FIELD_CHAIN },
	{ "%/outside/a/b/c/d/", PLACE_ROOT, FIELD_CHAIN, .only_outside = true },
	{ "m/deep/x/y/", PLACE_ROOT, FIELD_DEEP },
	{ "m/deep/x/y/../y/", PLACE_ROOT, FIELD_DEEP },
	{ "m/deep/x/y/../../../", PLACE_ROOT, FIELD_DEEP, .no_leaves = true },
	{ "m/deep/../../", PLACE_ROOT, FIELD_DEEP, .no_leaves = true },
	{ "", PLACE_Y, FIELD_DEEP },
	{ "../y/", PLACE_Y, FIELD_DEEP },
	{ "../../x/y/", PLACE_Y, FIELD_DEEP },
	{ "../../../", PLACE_Y, FIELD_DEEP, .no_leaves = true },
	{ "../../../../", PLACE_Y, FIELD_DEEP, .no_leaves = true },
	{ "../../../../../", PLACE_Y, FIELD_DEEP, .no_leaves = true },
	{ "r/", PLACE_ROOT, FIELD_HOLE, .no_leaves = true },
	{ "r/../r/", PLACE_ROOT, FIELD_HOLE, .no_leaves = true },
	{ "mnt/b/c/d/", PLACE_ROOT, FIELD_MOUNT, .only_outside = true },
	{ "mnt/../mnt/b/c/d/", PLACE_ROOT, FIELD_MOUNT, .only_outside = true },
	{ "./", PLACE_ROOT, FIELD_MOUNT, .no_leaves = true },
};
const size_t n_routes = ARRAY_SIZE(routes);

static void write_path(struct op *op, Gofer__Path *path, char *text, size_t size, enum leaf leaf,
		       unsigned new_name, bool slash)
{
	static const char *const names[] = { [LEAF_FILE] = "f",
					     [LEAF_ONLY] = "only",
					     [LEAF_LINK] = "l",
					     [LEAF_DIR] = "sub",
					     [LEAF_SOCKET] = "sock" };
	const struct route *route = op->route;
	size_t n;

	n = (size_t)snprintf(text, size, "%s%s", *route->text == '%' ? op->hand->ground->path : "",
			     route->text + (*route->text == '%'));
	if (leaf == LEAF_NEW)
		n += (size_t)snprintf(text + n, size - n, "made%u", new_name & 1);
	else if (leaf == LEAF_SELF && n && !slash)
		text[--n] = '\0';
	else if (leaf != LEAF_SELF)
		n += (size_t)snprintf(text + n, size - n, "%s", names[leaf]);
	if (slash && leaf != LEAF_SELF)
		n += (size_t)snprintf(text + n, size - n, "/");
	gofer__path__init(path);
	path->fs_id = op->hand->fs_id;
	path->base_handle = route->base == PLACE_ROOT ? 0 : op->hand->handles[route->base];
	path->path = (ProtobufCBinaryData){ .data = (uint8_t *)text, .len = n };
}

static void put_path(struct op *op, unsigned field, Gofer__Path *path)
{
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field(op->rpc->request, field);

	*(Gofer__Path **)(void *)((char *)&op->message + f->offset) = path;
}

void op_prepare(struct op *op, enum rpc_index rpc, const struct recipe *recipe,
		const struct route *route, unsigned new_name, uint32_t follow, bool slash,
		const struct hand *hand)
{
	op->rpc = &rpc_table[rpc];
	op->recipe = recipe;
	op->route = route;
	op->hand = hand;
	op->data = NULL;
	op->takes_fd = false;
	protobuf_c_message_init(op->rpc->request, &op->message);
	write_path(op, &op->path, op->text, sizeof(op->text), recipe->leaf, new_name, slash);
	if (op->rpc->flags & RPC_FOLLOW)
		op->path.follow = follow;
	put_path(op, 1, &op->path);
	recipe->fill(op);
	if (op->path.follow && rpc == RPC_INDEX_Open &&
	    op->message.open.flags &
		    (GOFER__OPEN_FLAG__OPEN_CREATE | GOFER__OPEN_FLAG__OPEN_TRUNCATE |
		     GOFER__OPEN_FLAG__OPEN_TMPFILE))
		op->path.follow = 0;
	op->text2[0] = '\0';
	if (op->rpc->flags & RPC_PATH2) {
		write_path(op, &op->path2, op->text2, sizeof(op->text2), recipe->leaf2,
			   new_name + 1, false);
		put_path(op, 2, &op->path2);
	}
	op->only_outside =
		route->only_outside || recipe->leaf == LEAF_ONLY || recipe->leaf == LEAF_SOCKET ||
		(route->no_leaves && recipe->leaf != LEAF_NEW && recipe->leaf != LEAF_SELF);
	op->request = (struct gofer_request){
		.type = op->rpc->type,
		.message = &op->message.base,
		.data = op->data,
		.data_len = op->data ? strlen(op->data) : 0,
		.fd = -1,
	};
}

void op_describe(const struct op *op, char *ret_text, size_t size)
{
	snprintf(ret_text, size, "%s%s%s %s%s%s%s%s", op->rpc->name,
		 *op->recipe->variant ? " " : "", op->recipe->variant,
		 op->path.base_handle ? "<" : "",
		 op->path.base_handle ? place_paths[op->route->base] : "",
		 op->path.base_handle ? "> " : "", op->text, op->text2[0] ? " to it" : "");
}

/* ---- judging ---- */

static bool attr_outside(const struct ground *g, const Gofer__Attr *a)
{
	return a && ground_is_outside(g, a->dev, a->ino);
}

/* Whether an attribute or a byte string of the message, or of messages in it, is of the outside. */
static const char *message_outside(const struct ground *g, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;

	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const void *at = (const char *)m + f->offset;
		bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
		size_t n = repeated ? *(const size_t *)(const void *)((const char *)m +
								      f->quantifier_offset)
				    : 1;

		for (size_t k = 0; k < n; k++) {
			if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
				const ProtobufCMessage *sub =
					repeated ? (*(ProtobufCMessage *const *const *)at)[k]
						 : *(ProtobufCMessage *const *)at;
				const char *what;

				if (!sub)
					continue;
				if (sub->descriptor == &gofer__attr__descriptor &&
				    attr_outside(g, (const Gofer__Attr *)sub))
					return f->name;
				what = message_outside(g, sub);
				if (what)
					return what;
			} else if (f->type == PROTOBUF_C_TYPE_BYTES) {
				const ProtobufCBinaryData *b =
					repeated ? &(*(ProtobufCBinaryData *const *)at)[k] : at;

				if (ground_has_token(g, b->data, b->len))
					return f->name;
			}
		}
	}
	return NULL;
}

static bool descriptor_outside(const struct ground *g, int fd)
{
	char text[64];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0 || ground_is_outside(g, st.st_dev, st.st_ino))
		return true;
	n = pread(fd, text, sizeof(text), 0);
	return n > 0 && ground_has_token(g, text, (size_t)n);
}

/* Whether the request was done on what it names. A Watch succeeds also in saying how far it came. */
static bool reached(const struct op *op, const struct gofer_reply *reply)
{
	const Gofer__WatchReply *watch = (const Gofer__WatchReply *)reply->message;

	if (reply->kind != GOFER_REPLY_OK)
		return false;
	return op->rpc->type != RPC_TYPE_Watch ||
	       (!watch->error && watch->end == op->path.path.len);
}

bool op_judge(const struct op *op, int result, const struct gofer_reply *reply, char *ret_words,
	      size_t size)
{
	const struct ground *g = op->hand->ground;
	const char *field;

	if (result < 0)
		return false;
	field = reply->message ? message_outside(g, reply->message) : NULL;
	if (field)
		snprintf(ret_words, size, "the reply's %s is of an object outside", field);
	else if (ground_has_token(g, reply->data, reply->data_len))
		snprintf(ret_words, size, "the payload is of an object outside");
	else if (reply->fd >= 0 && descriptor_outside(g, reply->fd))
		snprintf(ret_words, size, "the donated descriptor is of an object outside");
	else if (op->only_outside && reached(op, reply))
		snprintf(ret_words, size, "it succeeded on what exists outside only");
	else
		return false;
	return true;
}
