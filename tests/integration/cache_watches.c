/*
 * cache_watches.c - many more names than the server gives watches: who goes round and round through them pays about one request for
 * each, as without watches; names that are asked for again and again get a watch, and then cost nothing.
 *
 * Requests are counted, so nothing here depends on how fast anything is.
 *
 *     cache_watches HOSTDIR -watches N      served as "t" with --max-watches N
 */
#include "proto/rpc.h"
#include "tests/integration/proof.h"

enum { HOT = 16 };

static struct {
	struct gofer_session *session;
	struct gofer_namespace *ns;
	unsigned files;
} b;

static uint64_t requests(void)
{
	struct gofer_stats s;

	gofer_session_get_stats(b.session, &s);
	return s.total;
}

static uint64_t watches(void)
{
	struct gofer_stats s;

	gofer_session_get_stats(b.session, &s);
	return s.requests[RPC_TYPE_Watch];
}

static void look_at(unsigned i)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/d%u/%u", i % 10, i);
	if (gofer_stat(b.ns, path, 0, &st) < 0 || (unsigned)st.st_size != i % 100)
		die("%s: %s", path, gofer_message());
}

/* Requests of one round; hot: HOT names at every second step, which are not counted but in *ret_hot. */
static uint64_t look_around(bool hot, uint64_t *ret_hot)
{
	uint64_t n = 0, start;

	*ret_hot = 0;
	for (unsigned i = 0; i < b.files; i++) {
		start = requests();
		look_at(i);
		n += requests() - start;
		start = requests();
		if (hot)
			look_at(b.files - 1 - i % HOT);
		*ret_hot += requests() - start;
	}
	return n;
}

int main(int argc, char **argv)
{
	const struct gofer_mount_options o = { .watch = true, .no_donate = true };
	uint64_t limit = option_number(argc, argv, "-watches", 256), hot, n, asked;
	char path[PATH_MAX];

	if (argc < 2)
		die("usage: cache_watches HOSTDIR -watches N");
	b.files = (unsigned)(4 * limit);
	for (unsigned i = 0; i < b.files; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/d%u", argv[1], i % 10);
		(void)mkdir(path, 0755);
		snprintf(path, sizeof(path), "%s/d%u/%u", argv[1], i % 10, i);
		fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		if (fd < 0 || ftruncate(fd, i % 100) < 0)
			die("%s: %s", path, strerror(errno));
		close(fd);
	}
	b.session = session_connect();
	b.ns = namespace_of(b.session, "t", &o);
	n = look_around(false, &hot);
	if (watches() == 0)
		die("no watches here");
	check(n <= b.files + b.files / 50 + 20, "the first round of %u names: %lu requests",
	      b.files, (unsigned long)n);
	for (unsigned round = 2; round < 6; round++) {
		asked = watches();
		n = look_around(false, &hot);
		check(n <= b.files - limit / 2 && n >= b.files - limit,
		      "round %u: %lu requests, %lu of them Watch", round, (unsigned long)n,
		      (unsigned long)(watches() - asked));
		check(watches() - asked <= b.files / 64, "... no watch is passed round");
	}
	(void)look_around(true, &hot);
	check(hot > 0, "%u names become hot: %lu requests at first", HOT, (unsigned long)hot);
	for (unsigned round = 0; round < 3; round++)
		(void)look_around(true, &hot);
	check(hot == 0, "... and none after that: %lu", (unsigned long)hot);
	gofer_namespace_free(b.ns);
	gofer_session_close(b.session);
	return proof_end();
}
