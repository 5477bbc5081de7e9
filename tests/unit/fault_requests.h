/*
 * fault_requests.h - for every row of the table of RPCs one request or more, such as test_fault_server.c
 * sends again and again, on a tree that is made for them.
 *
 *	CASE(Name, snake, what) { fills q, names paths with set_path() }
 *
 * Each row has one that is called after itself; a row without does not build. Others are listed at the
 * end.
 */
#pragma once

#include "proto/channel.h"
#include "tests/unit/session_fixture.h"
#include "tests/unit/fault.h"

enum { SNAPSHOT = 8192 };

union any_request {
	ProtobufCMessage message;
#define RPC(Name, snake, type, reply, flags) Gofer__##Name##Request snake;
#include "proto/rpc.def"
#undef RPC
};

/* What a request may name. */
struct scene {
	struct session_fixture *f;
	int dir;                                      /* of the tree */
	uint64_t file, appending, listing, directory; /* handles; the last a place */
	char before[SNAPSHOT];
	bool greeted;
};

/* A request, ready to be sent. */
struct sent {
	union any_request q;
	Gofer__Path paths[2];
	uint64_t handles[2];
	const char *data;
	int fd;
};

/* ---- the requests ---- */

#define CASE(Name, snake, name)                                                                    \
	static void make_##name(struct sent *s, const struct scene *c, Gofer__##Name##Request *q); \
	static void any_##name(struct sent *s, const struct scene *c)                              \
	{                                                                                          \
		make_##name(s, c, &s->q.snake);                                                    \
	}                                                                                          \
	static void make_##name(struct sent *s _unused_, const struct scene *c _unused_,           \
				Gofer__##Name##Request *q _unused_)

static void set_path(struct sent *s, unsigned which, const char *text)
{
	s->paths[which].path =
		(ProtobufCBinaryData){ .data = (uint8_t *)text, .len = strlen(text) };
}

static ProtobufCBinaryData bytes(const char *text)
{
	return (ProtobufCBinaryData){ .data = (uint8_t *)text, .len = strlen(text) };
}

CASE(Hello, hello, hello)
{
	q->version = 1;
}
CASE(SetIdentity, set_identity, set_identity)
{
	static uint32_t groups[3];

	q->id = 1;
	q->uid = getuid();
	q->gid = groups[0] = groups[1] = groups[2] = getgid();
	q->groups = groups;
	q->n_groups = getuid() == 0 ? 3 : 0;
}
CASE(Cancel, cancel, cancel)
{
}
CASE(Ping, ping, ping)
{
}
CASE(Stats, stats, stats)
{
}
/* An area as PROTOCOL.md describes it. */
static int channel_area_fd(void)
{
	int fd = memfd_create("channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, sizeof(struct channel_area)), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
	return fd;
}

CASE(Channel, channel, channel)
{
	q->layout = CHANNEL_LAYOUT;
	s->fd = channel_area_fd();
}
CASE(Leave, leave, leave)
{
}
CASE(Stat, stat, stat)
{
	set_path(s, 0, "dir/file");
}
CASE(Stat, stat, stat_dotdot)
{
	set_path(s, 0, "dir/../dir/./file");
}
CASE(Stat, stat, stat_follow)
{
	set_path(s, 0, "link/link");
	s->paths[0].follow = 8;
}
CASE(Stat, stat, stat_stop)
{
	set_path(s, 0, "link/link");
}
CASE(Stat, stat, stat_above_root)
{
	set_path(s, 0, "dir/../../x");
}
CASE(Stat, stat, stat_base)
{
	s->paths[0].base_handle = c->directory;
	set_path(s, 0, "../file");
}
CASE(Access, access, access)
{
	set_path(s, 0, "dir/file");
	q->mode = R_OK;
}
CASE(Open, open, open)
{
	set_path(s, 0, "dir/file");
	q->flags = GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE;
}
CASE(Open, open, open_donate)
{
	make_open(s, c, q);
	q->flags |= GOFER__OPEN_FLAG__OPEN_DONATE;
}
CASE(Open, open, open_only_donated)
{
	make_open(s, c, q);
	q->flags |= GOFER__OPEN_FLAG__OPEN_DONATE | GOFER__OPEN_FLAG__OPEN_ONLY_DONATED;
}
CASE(Open, open, open_truncate)
{
	make_open(s, c, q);
	q->flags |= GOFER__OPEN_FLAG__OPEN_TRUNCATE;
}
CASE(Open, open, open_place)
{
	set_path(s, 0, "dir/file");
	q->flags = GOFER__OPEN_FLAG__OPEN_PATH;
}
CASE(Open, open, open_create)
{
	set_path(s, 0, "dir/new");
	q->flags = GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_CREATE;
	q->mode = 0640;
}
CASE(Open, open, open_create_donate)
{
	make_open_create(s, c, q);
	q->flags |= GOFER__OPEN_FLAG__OPEN_DONATE;
}
CASE(Open, open, open_exclusive)
{
	make_open_create(s, c, q);
	q->flags |= GOFER__OPEN_FLAG__OPEN_EXCLUSIVE;
}
CASE(Open, open, open_create_existing)
{
	make_open_create(s, c, q);
	set_path(s, 0, "dir/file");
}
CASE(Open, open, open_create_link)
{
	make_open_create(s, c, q);
	set_path(s, 0, "link");
}
CASE(Open, open, open_tmpfile)
{
	set_path(s, 0, "dir");
	q->flags = GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_TMPFILE;
	q->mode = 0640;
}
CASE(ReadFile, read_file, read_file)
{
	set_path(s, 0, "dir/file");
	q->count = 100;
}
CASE(ReadFile, read_file, read_file_bare)
{
	make_read_file(s, c, q);
	q->bare = true;
}
CASE(WriteFile, write_file, write_file)
{
	set_path(s, 0, "dir/new");
	q->mode = 0640;
	q->atomic = true;
	s->data = "whole";
}
CASE(WriteFile, write_file, write_file_replace)
{
	make_write_file(s, c, q);
	set_path(s, 0, "dir/file");
	q->sync = true;
}
CASE(WriteFile, write_file, write_file_exclusive)
{
	make_write_file(s, c, q);
	q->exclusive = true;
}
CASE(WriteFile, write_file, write_file_exists)
{
	make_write_file(s, c, q);
	set_path(s, 0, "file");
	q->exclusive = true;
}
CASE(WriteFile, write_file, write_file_plain)
{
	make_write_file(s, c, q);
	q->atomic = false;
	q->sync = true;
}
CASE(WriteFile, write_file, write_file_plain_replace)
{
	make_write_file_plain(s, c, q);
	set_path(s, 0, "dir/file");
}
CASE(WriteFile, write_file, write_file_bare)
{
	make_write_file_plain(s, c, q);
	q->bare = true;
}
CASE(WriteFile, write_file, write_file_bare_replace)
{
	make_write_file_plain_replace(s, c, q);
	q->bare = true;
}
CASE(WriteFile, write_file, write_file_bare_exists)
{
	make_write_file_exists(s, c, q);
	q->atomic = false;
	q->bare = true;
}
CASE(ReadDir, read_dir, read_dir)
{
	set_path(s, 0, "dir");
	q->attrs = q->targets = true;
}
CASE(ReadDir, read_dir, read_dir_keep)
{
	set_path(s, 0, "dir/many");
	q->keep = true;
	q->max_bytes = 1;
}
CASE(ReadDir, read_dir, read_dir_goes_on)
{
	s->paths[0].base_handle = c->listing;
	set_path(s, 0, "");
}
CASE(ReadLink, read_link, read_link)
{
	set_path(s, 0, "dir/link");
}
CASE(Mkdir, mkdir, mkdir)
{
	set_path(s, 0, "dir/new");
	q->mode = 0750;
}
CASE(Mknod, mknod, mknod)
{
	set_path(s, 0, "dir/new");
	q->mode = S_IFIFO | 0640;
}
CASE(Symlink, symlink, symlink)
{
	set_path(s, 0, "dir/new");
	q->target = bytes("target");
}
CASE(Link, link, link)
{
	set_path(s, 0, "file");
	set_path(s, 1, "dir/new");
}
CASE(Link, link, link_handle)
{
	s->paths[0].base_handle = c->file;
	set_path(s, 0, "");
	set_path(s, 1, "dir/new");
}
CASE(Unlink, unlink, unlink)
{
	set_path(s, 0, "dir/file");
}
CASE(Unlink, unlink, rmdir)
{
	set_path(s, 0, "dir/empty");
	q->directory = true;
}
CASE(Rename, rename, rename)
{
	set_path(s, 0, "dir/file");
	set_path(s, 1, "dir/many/new");
}
CASE(Rename, rename, rename_over)
{
	set_path(s, 0, "dir/file");
	set_path(s, 1, "file");
}
CASE(Rename, rename, rename_swap)
{
	make_rename_over(s, c, q);
	q->flags = GOFER__RENAME_FLAG__RENAME_SWAP;
}
CASE(Rename, rename, rename_dir)
{
	set_path(s, 0, "dir/empty/");
	set_path(s, 1, "moved/");
}
CASE(SetAttr, set_attr, set_attr)
{
	set_path(s, 0, "dir/file");
	q->mask = GOFER__SET_ATTR_MASK__SET_MODE;
	q->mode = 0604;
}
CASE(SetAttr, set_attr, set_attr_size)
{
	set_path(s, 0, "dir/file");
	q->mask = GOFER__SET_ATTR_MASK__SET_SIZE;
	q->size = 3;
}
CASE(SetAttr, set_attr, set_attr_size_handle)
{
	make_set_attr_size(s, c, q);
	s->paths[0].base_handle = c->file;
	set_path(s, 0, "");
}
CASE(SetAttr, set_attr, set_attr_all)
{
	make_set_attr_size(s, c, q);
	q->mask |= GOFER__SET_ATTR_MASK__SET_MODE | GOFER__SET_ATTR_MASK__SET_UID |
		   GOFER__SET_ATTR_MASK__SET_MTIME;
	q->mode = 0604;
	q->uid = getuid();
}
CASE(GetXattr, get_xattr, get_xattr)
{
	set_path(s, 0, "file");
	q->name = bytes("user.a");
	q->size = 100;
}
CASE(SetXattr, set_xattr, set_xattr)
{
	set_path(s, 0, "file");
	q->name = bytes("user.new");
	s->data = "value";
}
CASE(ListXattr, list_xattr, list_xattr)
{
	set_path(s, 0, "file");
	q->size = 100;
}
CASE(RemoveXattr, remove_xattr, remove_xattr)
{
	set_path(s, 0, "file");
	q->name = bytes("user.a");
}
CASE(StatFs, stat_fs, stat_fs)
{
	set_path(s, 0, "dir");
}
CASE(Connect, connect, connect)
{
	set_path(s, 0, "socket");
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
CASE(Watch, watch, watch)
{
	set_path(s, 0, "dir");
	q->donate = true;
}
CASE(Read, read, read)
{
	q->handle = c->file;
	q->count = 100;
}
CASE(Write, write, write)
{
	q->handle = c->file;
	q->offset = 2;
	s->data = "written";
}
CASE(Write, write, append)
{
	q->handle = c->appending;
	s->data = "appended";
}
CASE(Sync, sync, sync)
{
	q->handles = &s->handles[0];
	q->n_handles = 2;
	s->handles[0] = c->file;
	s->handles[1] = c->appending;
}
CASE(Allocate, allocate, allocate)
{
	q->handle = c->file;
	q->length = 4096;
}
CASE(Seek, seek, seek)
{
	q->handle = c->file;
	q->hole = true;
}
CASE(Copy, copy, copy)
{
	q->source = c->file;
	q->dest = c->appending;
	q->length = 4;
}
CASE(Close, close, close)
{
	q->handles = &s->handles[0];
	q->n_handles = 1;
	s->handles[0] = 0x100000099; /* none: the others are needed */
}

static const struct fault_case {
	const char *name;
	enum rpc_index rpc;
	void (*make)(struct sent *s, const struct scene *c);
	bool steps; /* what was done before a failure stays done */
} cases[] = {
/* Every row has one... */
#define RPC(Name, snake, type, reply, flags) { #Name, RPC_INDEX_##Name, any_##snake, false },
#include "proto/rpc.def"
#undef RPC
/* ... and some have more. */
#define MORE(Name, name)                                                  \
	{                                                                 \
#Name " (" #name ")", RPC_INDEX_##Name, any_##name, false \
	}
#define STEPS(Name, name)                                                \
	{                                                                \
#Name " (" #name ")", RPC_INDEX_##Name, any_##name, true \
	}
	MORE(Stat, stat_dotdot),
	MORE(Stat, stat_follow),
	MORE(Stat, stat_stop),
	MORE(Stat, stat_above_root),
	MORE(Stat, stat_base),
	MORE(Open, open_donate),
	MORE(Open, open_only_donated),
	STEPS(Open, open_truncate),
	MORE(Open, open_place),
	MORE(Open, open_create),
	MORE(Open, open_create_donate),
	MORE(Open, open_exclusive),
	MORE(Open, open_create_existing),
	MORE(Open, open_create_link),
	MORE(Open, open_tmpfile),
	MORE(ReadFile, read_file_bare),
	MORE(WriteFile, write_file_replace),
	MORE(WriteFile, write_file_exclusive),
	MORE(WriteFile, write_file_exists),
	STEPS(WriteFile, write_file_plain),
	STEPS(WriteFile, write_file_plain_replace),
	STEPS(WriteFile, write_file_bare),
	STEPS(WriteFile, write_file_bare_replace),
	MORE(WriteFile, write_file_bare_exists),
	MORE(ReadDir, read_dir_keep),
	MORE(ReadDir, read_dir_goes_on),
	MORE(Link, link_handle),
	MORE(Unlink, rmdir),
	MORE(Rename, rename_over),
	MORE(Rename, rename_swap),
	MORE(Rename, rename_dir),
	MORE(SetAttr, set_attr_size),
	MORE(SetAttr, set_attr_size_handle),
	STEPS(SetAttr, set_attr_all),
	MORE(Write, append),
};
