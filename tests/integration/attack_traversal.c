/*
 * attack_traversal.c - paths that try to leave the tree, or to confuse the walk, and numbers of
 * handles that are not the client's (S1 to S15).
 *
 *     attack_traversal DIRECTORY      prepared and served by attack.sh, with "$T/moving" as "mv"
 */
#include <sys/mount.h>

#include "tests/integration/guard.h"

static ino_t root_ino(void)
{
	struct stat st;

	return stat(volume, &st) == 0 ? st.st_ino : 0;
}

static void s1_above_the_root(void)
{
	static const char *const texts[] = { "..",
					     "../",
					     "./../",
					     "a/../..",
					     "a/./../..",
					     "/a/../..",
					     "../outside/canary",
					     "a/b/../../../outside/canary",
					     "//..//",
					     "../../../../../../etc/passwd" };
	unsigned calls = 0, bad = 0;

	for (size_t i = 0; i < RPC_COUNT; i++)
		for (size_t k = 0; k < ARRAY_SIZE(texts); k++)
			for (int second = 0; second < 2; second++) {
				const struct rpc_info *rpc = &rpc_table[i];
				Gofer__Path evil = path_of(rw, texts[k]),
					    good = path_of(rw, "a/file");
				int e;

				if (!(rpc->flags & (second ? RPC_PATH2 : RPC_PATH)))
					continue;
				e = row_call(sock, rpc, second ? &good : &evil,
					     second ? &evil : &good);
				calls++;
				if (e == 0 || e < 0) {
					bad++;
					check(false, "%s(\"%s\") as path %d: %s", rpc->name,
					      texts[k], second, word(e));
				}
			}
	check(bad == 0 && calls > 100,
	      "%u paths above the root in every path field of every RPC: none passed", calls);
	/* The library relies on the reason and on the offsets. */
	{
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
		Gofer__Path p = path_of(rw, "a/../../x");
		const Gofer__Stop *stop;

		q.path = &p;
		(void)raw_call(sock, RPC_TYPE_Stat, &q, &r);
		stop = r.kind == FRAME_STOP ? (const Gofer__Stop *)r.message : NULL;
		check(stop && stop->reason == GOFER__STOP__REASON__ABOVE_ROOT && stop->begin == 5 &&
			      stop->end == 7,
		      "\"a/../../x\" stops at its second \"..\": ABOVE_ROOT at 5..7");
	}
}

static void s2_dotdot_is_not_lexical(void)
{
	expect("Stat(\"missing/..\")", stat_path(sock, rw, "missing/..", NULL), ENOENT);
	expect("Stat(\"a/file/..\")", stat_path(sock, rw, "a/file/..", NULL), ENOTDIR);
	expect("Stat(\"a/file/.\")", stat_path(sock, rw, "a/file/.", NULL), ENOTDIR);
	expect("Stat(\"a/file/\")", stat_path(sock, rw, "a/file/", NULL), ENOTDIR);
	expect("Stat(\"a/b/..\")", stat_path(sock, rw, "a/b/..", NULL), 0);
	if (geteuid() !=
	    0) /* uid 0 owns the directory and may search without a bit only with a capability */
		expect("Stat(\"locked/..\")", stat_path(sock, rw, "locked/..", NULL), EACCES);
	else
		expect_either("Stat(\"locked/..\")", stat_path(sock, rw, "locked/..", NULL), EACCES,
			      0);
}

static void s3_absolute_names(void)
{
	Gofer__Attr attr = GOFER__ATTR__INIT;
	const char *text = in_dir(outside, "canary");
	int e;

	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];
		Gofer__Path evil = path_of(rw, text), good = path_of(rw, "a/file");

		if (rpc->type == RPC_TYPE_Connect)
			continue;
		if (rpc->flags & RPC_PATH && (e = row_call(sock, rpc, &evil, &good)) != ENOENT)
			check(false, "%s of an absolute host path: %s", rpc->name, word(e));
		if (rpc->flags & RPC_PATH2 && (e = row_call(sock, rpc, &good, &evil)) != ENOENT)
			check(false, "%s of an absolute host path, second field: %s", rpc->name,
			      word(e));
	}
	check(true, "an absolute host path in every path field: ENOENT below the root");
	e = stat_path(sock, rw, "/", &attr);
	check(e == 0 && attr.ino == root_ino(), "\"/\" is the root of the filesystem");
	e = stat_path(sock, rw, "///a//file", &attr);
	check(e == 0 && S_ISREG(attr.mode), "\"///a//file\" starts at the root of the filesystem");
}

/* One path field at a time of one row at a time, with `bytes` in it: none may get `unwanted`. */
static void spoil_every_path(const char *what, const ProtobufCBinaryData *bytes, int wanted)
{
	unsigned calls = 0, wrong = 0;

	for (size_t i = 0; i < RPC_COUNT; i++)
		for (int second = 0; second < 2; second++) {
			const struct rpc_info *rpc = &rpc_table[i];
			Gofer__Path evil = path_of(rw, ""), good = path_of(rw, "a/file");
			int e;

			if (!(rpc->flags & (second ? RPC_PATH2 : RPC_PATH)))
				continue;
			evil.path = *bytes;
			e = row_call(sock, rpc, second ? &good : &evil, second ? &evil : &good);
			calls++;
			if (e != wanted) {
				wrong++;
				check(false, "%s: %s, path %d: %s", what, rpc->name, second,
				      word(e));
			}
		}
	check(!wrong, "%s, in %u path fields: %s", what, calls, word(wanted));
}

static void s4_names(void)
{
	static const char *const odd[] = { "\xff\xfe",    "new\nline",  "esc\033[31m",
					   "back\\slash", " ",          "-rf",
					   ".gofer",      ".gofer-tmp", "~" };
	Gofer__Path here;

	spoil_every_path("a NUL inside", &(ProtobufCBinaryData){ 3, (uint8_t *)"a\0b" }, EINVAL);
	spoil_every_path("a NUL at the end", &(ProtobufCBinaryData){ 2, (uint8_t *)"a" }, EINVAL);
	spoil_every_path("a NUL alone", &(ProtobufCBinaryData){ 1, (uint8_t *)"" }, EINVAL);
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		struct opened o = OPENED_NULL;
		const char *host = in_dir(volume, odd[i]);
		char what[64];
		int e = open_path(sock, rw, odd[i], OPEN_C | OPEN_X | OPEN_W, 0600, &o);

		snprintf(what, sizeof(what), "a file with an odd name (number %zu)", i);
		expect(what, e ? e : access(host, F_OK) == 0 ? 0 : EIO, 0);
		(void)close_handle(sock, o.handle);
		(void)unlink(host);
	}
	for (size_t i = 0; i < RPC_COUNT; i++) {
		static const char *const none[] = { "", ".", "a/.", "a/.." };
		const struct rpc_info *rpc = &rpc_table[i];

		if (row_kinds[i] != ROW_MAKES && row_kinds[i] != ROW_REMOVES)
			continue;
		for (size_t k = 0; k < ARRAY_SIZE(none); k++) {
			Gofer__Path good = path_of(rw, "a/file");
			bool second = rpc->flags & RPC_PATH2;
			int e;

			here = path_of(rw, none[k]);
			e = row_call(sock, rpc, second ? &good : &here, second ? &here : NULL);
			if (e != EEXIST && e != EBUSY && e != EISDIR && e != ENOTEMPTY &&
			    e != EINVAL)
				check(false, "%s(\"%s\"): %s", rpc->name, none[k], word(e));
		}
	}
	check(true, "\"\", \".\" and \"..\" are no names to make, remove or rename to");
}

static void s7_lengths(void)
{
	static char name_256[257], path_4096[4097], huge[65537];

	memset(name_256, 'n', 256);
	expect("a name of 256 bytes", stat_path(sock, rw, name_256, NULL), ENAMETOOLONG);
	name_256[255] = '\0';
	expect("a name of 255 bytes", stat_path(sock, rw, name_256, NULL), ENOENT);
	memset(path_4096, '/', 4096);
	path_4096[4095] = 'a';
	expect("a path of 4096 bytes", stat_path(sock, rw, path_4096, NULL), ENAMETOOLONG);
	memmove(path_4096, path_4096 + 1, 4096);
	expect("a path of 4095 bytes", stat_path(sock, rw, path_4096, NULL), 0);
	for (size_t i = 0; i < 4094; i += 2)
		memcpy(path_4096 + i, "./", 2);
	path_4096[4094] = 'a';
	path_4096[4095] = '\0';
	expect("2047 components", stat_path(sock, rw, path_4096, NULL), 0);
	memset(huge, 'x', 60000);
	spoil_every_path("60,000 bytes", &(ProtobufCBinaryData){ 60000, (uint8_t *)huge },
			 ENAMETOOLONG);
}

/* A tree deeper than any path can say, made and walked in pieces, each from the handle of the last.
 */
static void s7_deeper_than_a_path(void)
{
	enum { LEVELS = 100 };
	uint64_t at[LEVELS + 1] = { 0 };
	char name[64];
	unsigned made = 0;
	size_t depth = 0;
	int e = 0;

	memset(name, 'd', 59);
	name[59] = '\0';
	for (; made < LEVELS && e == 0; made++) {
		Gofer__MkdirRequest q = GOFER__MKDIR_REQUEST__INIT;
		Gofer__Path p = path_at(rw, at[made], name);
		struct opened o = OPENED_NULL;

		q.path = &p;
		q.mode = 0755;
		e = raw_errno(sock, RPC_TYPE_Mkdir, &q);
		if (e == 0)
			e = open_at(sock, p, OPEN_PLACE, 0, &o);
		at[made + 1] = o.handle;
		depth += strlen(name) + 1;
	}
	check(e == 0 && depth > PATH_MAX, "a tree %zu bytes deep is made from handle to handle: %s",
	      depth, word(e));
	expect("its bottom can be asked for", stat_at(sock, path_at(rw, at[made], ""), NULL), 0);
	expect("one level up from there", stat_at(sock, path_at(rw, at[made], ".."), NULL), 0);
	snprintf(name, sizeof(name), "../../../../../../../../../../..");
	expect("eleven levels up", stat_at(sock, path_at(rw, at[made], name), NULL), 0);
	memset(name, 'd', 59);
	name[59] = '\0';
	while (made) {
		Gofer__UnlinkRequest q = GOFER__UNLINK_REQUEST__INIT;
		Gofer__Path p = path_at(rw, at[made - 1], name);

		q.path = &p;
		q.directory = true;
		e = e ? e : raw_errno(sock, RPC_TYPE_Unlink, &q);
		if (at[made])
			(void)close_handle(sock, at[made]);
		made--;
	}
	expect("and all of it removed again", e, 0);
}

static void s6_the_root(void)
{
	static const char *const texts[] = { "", ".", "./", "/", "a/..", "a/../", "a/b/../.." };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct opened o = OPENED_NULL;
		char what[64];
		int e = open_path(sock, rw, texts[i],
				  GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_DIRECTORY, 0,
				  &o);

		snprintf(what, sizeof(what), "open of the root as \"%s\"", texts[i]);
		expect(what, e ? e : o.attr.ino == root_ino() ? 0 : EIO, 0);
		(void)close_handle(sock, o.handle);
	}
}

static void s12_read_only(void)
{
	static const uint32_t bits[] = {
		GOFER__OPEN_FLAG__OPEN_WRITE,
		GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_WRITE,
		GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_CREATE,
		GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_CREATE |
			GOFER__OPEN_FLAG__OPEN_EXCLUSIVE,
		GOFER__OPEN_FLAG__OPEN_READ | GOFER__OPEN_FLAG__OPEN_TRUNCATE,
		GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_APPEND,
		GOFER__OPEN_FLAG__OPEN_WRITE | GOFER__OPEN_FLAG__OPEN_TMPFILE
	};
	static const char *const objects[] = { "a/file", "new", "a", "", "missing/x" };
	unsigned rows = 0;
	struct opened o = OPENED_NULL;
	int e;

	for (size_t i = 0; i < RPC_COUNT; i++) {
		const struct rpc_info *rpc = &rpc_table[i];

		if (!(rpc->flags & RPC_WRITES) || !(rpc->flags & RPC_PATH))
			continue;
		rows++;
		for (size_t k = 0; k < ARRAY_SIZE(objects); k++) {
			Gofer__Path first = path_of(ro, objects[k]), second = path_of(ro, "second");

			e = row_call(sock, rpc, &first, &second);
			if (e != EROFS)
				check(false, "%s(\"%s\") on a read-only filesystem: %s", rpc->name,
				      objects[k], word(e));
		}
	}
	check(rows >= 10, "every RPC by path that writes (%u of them): EROFS", rows);
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++) {
		char what[64];

		snprintf(what, sizeof(what), "Open with flags %#x on a read-only filesystem",
			 bits[i]);
		e = open_path(sock, ro, bits[i] & GOFER__OPEN_FLAG__OPEN_TMPFILE ? "a" : "a/file",
			      bits[i], 0, NULL);
		expect(what, e, EROFS);
	}
	/* By handle: what was opened for reading cannot be written through. */
	e = open_path(sock, ro, "a/file", GOFER__OPEN_FLAG__OPEN_READ, 0, &o);
	if (e == 0) {
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		Gofer__WriteRequest w = GOFER__WRITE_REQUEST__INIT;
		Gofer__AllocateRequest a = GOFER__ALLOCATE_REQUEST__INIT;
		Gofer__CopyRequest c = GOFER__COPY_REQUEST__INIT;
		Gofer__SetAttrRequest s = GOFER__SET_ATTR_REQUEST__INIT;
		Gofer__Path base = path_of(ro, "");

		w.handle = a.handle = c.source = c.dest = base.base_handle = o.handle;
		a.length = c.length = 1;
		s.path = &base;
		s.mask = GOFER__SET_ATTR_MASK__SET_SIZE;
		(void)raw_call_fd(sock, RPC_TYPE_Write, &w, "x", 1, -1, &r);
		expect_either("Write to a handle of a read-only filesystem", r.error, EBADF, EROFS);
		expect_either("Allocate there", raw_errno(sock, RPC_TYPE_Allocate, &a), EBADF,
			      EROFS);
		expect_either("Copy there", raw_errno(sock, RPC_TYPE_Copy, &c), EBADF, EROFS);
		expect("SetAttr by a handle there", raw_errno(sock, RPC_TYPE_SetAttr, &s), EROFS);
		(void)close_handle(sock, o.handle);
	} else {
		check(false, "open for reading: %s", word(e));
	}
}

static void s15_handles(void)
{
	struct opened o = OPENED_NULL;
	int other = raw_session(NULL, NULL),
	    e = open_path(sock, rw, "a/file", GOFER__OPEN_FLAG__OPEN_READ, 0, &o);
	unsigned hits = 0;

	expect("one's own handle", e ? e : read_handle(sock, o.handle), 0);
	for (int d = -64; d <= 64; d++)
		hits += d && read_handle(sock, o.handle + (uint64_t)(int64_t)d) != EBADF;
	for (uint64_t h = 0; h < 64; h++)
		hits += h != o.handle && read_handle(sock, h) != EBADF;
	for (int bit = 0; bit < 64; bit++)
		hits += read_handle(sock, o.handle ^ UINT64_C(1) << bit) != EBADF;
	check(hits == 0, "its neighbours, small numbers, single bits changed: EBADF (%u hits)",
	      hits);
	expect("the handle of another connection", read_handle(other, o.handle), EBADF);
	{
		Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
		Gofer__Path p = path_of(rw, "");

		q.path = &p;
		p.base_handle = o.handle;
		expect("... as a base", raw_errno(other, RPC_TYPE_Stat, &q), EBADF);
		p.fs_id = nd;
		e = raw_errno(sock, RPC_TYPE_Stat, &q);
		check(e != 0, "a base handle under another filesystem's number: %s", word(e));
	}
	expect("Close by another connection", close_handle(other, o.handle), EBADF);
	expect("Close", close_handle(sock, o.handle), 0);
	expect("Read after Close", read_handle(sock, o.handle), EBADF);
	for (int i = 0; i < 100; i++) { /* the number is not given to somebody else at once */
		struct opened again = OPENED_NULL;

		(void)open_path(sock, rw, "a/file", GOFER__OPEN_FLAG__OPEN_READ, 0, &again);
		hits += again.handle == o.handle;
		(void)close_handle(sock, again.handle);
	}
	check(hits == 0, "a closed number does not come back in the next 100 opens");
	fd_close(other);
}

static const char *const ways[] = { "x", "..", "../x", "./x", "../..", "." };

static void s15_handles_of_other_volumes(void)
{
	uint64_t h = handle_of(sock, dr, "a/file", OPEN_R);

	row_refuse_all(sock, "another volume's file", h, rw, "", false);
	(void)close_handle(sock, h);
	h = handle_of(sock, dr, "", OPEN_PLACE);
	row_refuse_all(sock, "another volume's root", h, rw, "a", false);
	(void)close_handle(sock, h);
}

static void s15_handles_of_special_files(void)
{
	static const char *const special[] = { "fifo", "socket", "device", "link_canary" };

	for (size_t i = 0; i < ARRAY_SIZE(special); i++) {
		Gofer__Path p = path_of(rw, special[i]);
		uint64_t h;

		p.nofollow = true;
		if (stat_at(sock, p, NULL) == ENOENT) {
			printf("  (no %s could be made here)\n", special[i]);
			continue;
		}
		h = handle_of(sock, rw, special[i], OPEN_PLACE);
		expect(special[i], open_at(sock, path_at(rw, h, ""), OPEN_R, 0, NULL),
		       special[i][0] == 's'   ? ENXIO
		       : special[i][0] == 'l' ? ELOOP
					      : EPERM);
		for (size_t k = 0; k < ARRAY_SIZE(ways); k++)
			row_refuse_all(sock, special[i], h, rw, ways[k], false);
		(void)close_handle(sock, h);
	}
}

/* ---- the root goes elsewhere ---- */

static void host_rename(const char *from, const char *to)
{
	if (rename(in_dir(guard_dir, from), in_dir(guard_dir, to)) < 0)
		die("rename %s: %s", from, strerror(errno));
}

static void s19_moved_out(void)
{
	uint64_t h = handle_of(sock, rw, "a/b/c", OPEN_PLACE);

	host_rename("vol/a/b/c", "elsewhere");
	for (size_t k = 0; k < ARRAY_SIZE(ways); k++)
		row_refuse_all(sock, "a directory that was moved out", h, rw, ways[k], false);
	host_rename("elsewhere", "vol/a/b/c");
	expect("moved back, it is served again", stat_at(sock, path_at(rw, h, "../c"), NULL), 0);
	(void)close_handle(sock, h);
}

/* Every RPC with a path, while the name of the exported directory leads elsewhere: what is served is
 * the directory that was opened. */
static void s9_is_served(const char *when, uint32_t mv)
{
	struct stat st;
	Gofer__Attr attr = GOFER__ATTR__INIT;
	unsigned n = 0;
	int e = stat_path(sock, mv, "", &attr);

	check(e == 0 && stat(in_dir(guard_dir, "moved"), &st) == 0 && st.st_ino == attr.ino &&
		      st.st_dev == attr.dev,
	      "%s: the root is the directory that was opened (%s)", when, word(e));
	expect("... its file is there", stat_path(sock, mv, "kept", NULL), 0);
	expect("... the outside's is not", stat_path(sock, mv, "canary", NULL), ENOENT);
	for (size_t i = 0; i < RPC_COUNT; i++) {
		Gofer__Path canary = path_of(mv, "canary/x"), up = path_of(mv, "../outside/canary");
		const struct rpc_info *rpc = &rpc_table[i];

		if (!(rpc->flags & RPC_PATH))
			continue;
		n += row_call(sock, rpc, &canary, &canary) > 0;
		n -= row_call(sock, rpc, &up, &up) <= 0;
	}
	check(n > 15, "... and no other request finds it (%u)", n);
}

static void s9_the_root_goes_away(void)
{
	uint32_t mv = guard_filesystem("mv");
	_cleanup_free_ char *name = strdup(in_dir(guard_dir, "moving"));

	host_rename("moving", "moved");
	s9_is_served("renamed", mv);
	if (symlink(outside, name) < 0)
		die("%s: %s", name, strerror(errno));
	s9_is_served("replaced by a link to the outside", mv);
	if (unlink(name) < 0 || mkdir(name, 0755) < 0)
		die("%s: %s", name, strerror(errno));
	s9_is_served("replaced by another directory", mv);
	if (rmdir(name) < 0)
		die("%s: %s", name, strerror(errno));
	host_rename("moved", "moving");
	if (geteuid() == 0 && mount("none", name, "tmpfs", 0, NULL) == 0) {
		expect("over-mounted: its file is there", stat_path(sock, mv, "kept", NULL), 0);
		expect("... what is made goes to it, not to the mount",
		       write_file_at(sock, path_of(mv, "made"), 0600, "x"), 0);
		if (umount(name) < 0)
			die("umount: %s", strerror(errno));
		check(unlink(in_dir(name, "made")) == 0, "... below the mount");
	} else {
		printf("  (no mount could be made here)\n");
	}
	/* Last: it does not come back. */
	if (unlink(in_dir(name, "kept")) < 0 || rmdir(name) < 0)
		die("%s: %s", name, strerror(errno));
	expect("deleted: nothing can be made in it",
	       write_file_at(sock, path_of(mv, "made"), 0600, "x"), ENOENT);
	expect("... and nothing is found", stat_path(sock, mv, "kept", NULL), ENOENT);
}

int main(int argc, char **argv)
{
	static const struct attack attacks[] = {
		{ "S2: \"..\" is never cancelled against the text before it",
		  s2_dotdot_is_not_lexical },
		{ "S6: every way to write the root opens the root", s6_the_root },
		{ "S4: names with NUL are refused by every RPC, odd ones are only names",
		  s4_names },
		{ "S7: names, paths and numbers of components at their limits", s7_lengths },
		{ "S7: a tree deeper than PATH_MAX is walked in pieces", s7_deeper_than_a_path },
		{ "S12: everything that would change a read-only tree is EROFS", s12_read_only },
		{ "S15 S105: no number of a handle but one's own names anything", s15_handles },
		{ "S15: a handle is no base in another filesystem", s15_handles_of_other_volumes },
		{ "S15 S38: places of special files are no way around the policy",
		  s15_handles_of_special_files },
		{ "S19: a directory moved out of the tree is no base any more", s19_moved_out },
		{ "S9: the root renamed, replaced by a link, over-mounted, deleted after the start",
		  s9_the_root_goes_away },
		/* Last: with a good path beside the evil one these change the volume where they
		   may. */
		{ "S1: no path above the root passes in any path field of any RPC",
		  s1_above_the_root },
		{ "S3: absolute names begin at the root of the filesystem in every field of every "
		  "RPC",
		  s3_absolute_names },
	};

	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
