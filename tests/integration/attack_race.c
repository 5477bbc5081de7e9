/*
 * attack_race.c - the way of a request changes under it: directories exchanged with links by another
 * client and by the same one, storms of names, mounts (S17, S18, S26, S28). Where and how often the
 * tree is exchanged at every step of a walk is the business of tests/stress; here each race of the
 * list is run once, with its own oracle.
 *
 *     attack_race DIRECTORY      prepared and served by attack.sh
 *
 * RACE_MS=60000 for longer races than the usual.
 */
#include <sys/mount.h>

#include "tests/integration/race.h"

/* ---- listing a directory that changes ---- */

static void storm(void)
{
	char a[64], b[64];
	_cleanup_free_ char *dir = strdup(in_dir(volume, "storm")),
			    *link = strdup(in_dir(volume, "storm_link"));
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (unsigned i = 0; !shared->stop && fd >= 0; i++) {
		int file;

		snprintf(a, sizeof(a), "x%u", i % 500);
		snprintf(b, sizeof(b), "a_longer_name_%u", i % 300);
		file = openat(fd, a, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		fd_close(file);
		(void)renameat(fd, a, fd, b);
		snprintf(a, sizeof(a), "a_longer_name_%u", (i * 7) % 300);
		(void)unlinkat(fd, a, 0);
		if (i % 5 == 0)
			(void)renameat2(AT_FDCWD, dir, AT_FDCWD, link, RENAME_EXCHANGE);
		shared->moves++;
	}
}

static void s26_listing_in_a_storm(void)
{
	uint64_t end, n = 0, wrong = 0, stops = 0, entries = 0;
	pid_t pid;

	if (mkdir(in_dir(volume, "storm"), 0755) < 0 ||
	    symlink(outside, in_dir(volume, "storm_link")) < 0)
		die("storm: %s", strerror(errno));
	pid = attacker_start(storm);
	end = race_end();
	while (clock_ns() < end) {
		Gofer__ReadDirRequest q = GOFER__READ_DIR_REQUEST__INIT;
		Gofer__Path p = path_of(rw, "storm");
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
		const Gofer__ReadDirReply *m;
		int e;

		q.path = &p;
		q.attrs = n % 2;
		q.targets = n % 3 == 0;
		q.max_bytes = n % 4 ? 0 : 2000;
		q.cookie = n % 8 == 7 ? n * 4099 : 0;
		e = TIMED(raw_call(sock, RPC_TYPE_ReadDir, &q, &r));
		e = outcome(e, &r);
		n++;
		stops += e == RAW_STOPPED;
		if (e) {
			wrong += e != RAW_STOPPED && e != EINVAL;
			continue;
		}
		m = (const Gofer__ReadDirReply *)r.message;
		entries += m->n_entries;
		for (size_t i = 0; i < m->n_entries; i++) {
			const ProtobufCBinaryData *name = &m->entries[i]->name;

			wrong += name->len == 0 || (name->data[0] != 'x' && name->data[0] != 'a');
		}
	}
	attacker_stop(pid);
	report("listings in a storm of names", n, wrong);
	check(entries > 0 && stops > 0, "... %lu entries, and %lu stops at the link", entries,
	      stops);
}

/* ---- another client, and the same one ---- */

/* A Rename(SWAP) of "way/dir", a directory, and "way/link", which leads outside. */
static size_t pack_swap(uint8_t *buf, uint32_t fs, uint32_t tag)
{
	Gofer__RenameRequest q = GOFER__RENAME_REQUEST__INIT;
	Gofer__Path a = path_of(fs, "way/dir"), b = path_of(fs, "way/link");

	q.source = &a;
	q.dest = &b;
	q.flags = GOFER__RENAME_FLAG__RENAME_SWAP;
	return raw_request(buf, RPC_TYPE_Rename, tag, &q, NULL, 0);
}

static void swap_as_a_client(void)
{
	static uint8_t buf[1024];
	uint32_t fs;
	int s = raw_session("rw", &fs);

	while (!shared->stop) {
		_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;

		if (raw_send(s, buf, pack_swap(buf, fs, 1), NULL, 0, 0) < 0 ||
		    raw_reply(s, 10000, &r) < 0)
			_exit(1);
		shared->moves += r.kind == FRAME_OK;
	}
	fd_close(s);
}

static void make_way(void)
{
	struct stat st;

	/* An earlier race may have left them the other way round. */
	if (lstat(in_dir(volume, "way/dir"), &st) == 0 && S_ISLNK(st.st_mode))
		(void)renameat2(AT_FDCWD, in_dir(volume, "way/dir"), AT_FDCWD,
				in_dir(volume, "way/link"), RENAME_EXCHANGE);
	(void)mkdir(in_dir(volume, "way"), 0755);
	(void)mkdir(in_dir(volume, "way/dir"), 0755);
	if (write_file_at(sock, path_of(rw, "way/dir/canary"), 0644, "inside") ||
	    (symlink(outside, in_dir(volume, "way/link")) < 0 && errno != EEXIST))
		die("way");
}

static void s17_second_client(void)
{
	uint64_t end, n = 0, wrong = 0, reached = 0;
	pid_t pid;

	make_way();
	pid = attacker_start(swap_as_a_client);
	end = race_end();
	while (clock_ns() < end)
		for (size_t i = 0; i < RPC_COUNT; i++) {
			Gofer__Path p = path_of(rw, "way/dir/canary"),
				    other = path_of(rw, "way/dir/other");
			int e;

			/* What takes the file away would leave nothing to find. */
			if (!(rpc_table[i].flags & RPC_PATH) || row_kinds[i] == ROW_REMOVES)
				continue;
			e = TIMED(row_call(sock, &rpc_table[i], &p, &other));
			n++;
			reached += e == 0;
			wrong += e < 0 || e == ENOTCONN;
		}
	attacker_stop(pid);
	report("every RPC by path, a second client exchanges a directory of it", n, wrong);
	check(reached > 0, "... %lu reached what is inside", reached);
}

static void s18_same_client(void)
{
	enum { FRAMES = 48 };
	static uint8_t out[FRAME_MAX_PACKET], in[FRAME_MAX_PACKET];
	uint64_t end = race_end(), n = 0, wrong = 0, ok = 0;

	make_way();
	longest_ns = 0;
	*shared = (struct race){ 0 };
	while (clock_ns() < end && !wrong) {
		size_t len = 0;
		unsigned answered = 0;

		for (uint32_t tag = 1; tag <= FRAMES; tag++) {
			Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
			Gofer__Path p = path_of(rw, tag % 4 ? "way/dir/canary" : "way/link/canary");

			q.path = &p;
			if (tag % 3 == 0)
				len += pack_swap(out + len, rw, tag);
			else
				len += raw_request(out + len, RPC_TYPE_Stat, tag, &q, NULL, 0);
			/* As packets of their own too: then threads execute them side by side. */
			if (tag % 8 == 0 || n % 2) {
				if (raw_send(sock, out, len, NULL, 0, 0) < 0)
					die("send");
				len = 0;
			}
		}
		while (answered < FRAMES) {
			unsigned n_fds;
			int fd;
			ssize_t got = raw_recv(sock, in, sizeof(in), 10000, &fd, &n_fds);

			if (got <= 0)
				die("the session ended");
			for (ssize_t at = 0, used; at < got; at += used, answered++) {
				_cleanup_reply_ struct raw_reply r = RAW_REPLY_NULL;
				struct frame f;

				used = frame_parse(in + at, (size_t)(got - at), &f);
				if (used <= 0 || !raw_decode(&f, &r))
					die("a broken reply");
				wrong += row_reveals(&r);
				ok += r.kind == FRAME_OK;
				shared->moves +=
					r.kind == FRAME_OK && r.header.type == RPC_TYPE_Rename;
			}
		}
		n += FRAMES;
	}
	report("pipelined with the exchanges on one session", n, wrong);
	check(ok > 0, "... %lu were done", ok);
}

/* ---- mounts ---- */

static void mount_storm(void)
{
	const char *dir = in_dir(volume, "mounted/on");

	while (!shared->stop)
		if (mount("none", dir, "tmpfs", 0, NULL) == 0) {
			shared->moves++;
			(void)umount2(dir, MNT_DETACH);
		}
}

static void s28_mounts(void)
{
	uint64_t end, n = 0, wrong = 0;
	pid_t pid;

	(void)mkdir(in_dir(volume, "mounted"), 0755);
	(void)mkdir(in_dir(volume, "mounted/on"), 0755);
	if (mount("none", in_dir(volume, "mounted/on"), "tmpfs", 0, NULL) < 0) {
		printf("  (no mounts here: %s)\n", strerror(errno));
		return;
	}
	(void)umount(in_dir(volume, "mounted/on"));
	pid = attacker_start(mount_storm);
	end = race_end();
	while (clock_ns() < end)
		for (size_t i = 0; i < RPC_COUNT; i++) {
			Gofer__Path p = path_of(rw, "mounted/on/x"),
				    up = path_of(rw, "mounted/on/../on/y");
			int e;

			if (!(rpc_table[i].flags & RPC_PATH))
				continue;
			e = TIMED(row_call(sock, &rpc_table[i], &p, &up));
			wrong += e < 0;
			n++;
		}
	attacker_stop(pid);
	(void)umount2(in_dir(volume, "mounted/on"), MNT_DETACH);
	report("every RPC by path, while mounts come and go on it", n, wrong);
}

int main(int argc, char **argv)
{
	static const struct attack attacks[] = {
		{ "S17: a second client exchanges a directory with a link while every RPC goes "
		  "through it",
		  s17_second_client },
		{ "S18: the same client does, in the very packets", s18_same_client },
		{ "S26: listings in a storm of names are whole, bounded, and of that directory",
		  s26_listing_in_a_storm },
		{ "S28: mounts and unmounts by root under every RPC", s28_mounts, .root = true },
	};

	race_init();
	guard_start(argc, argv);
	return guard_run(attacks, ARRAY_SIZE(attacks));
}
