/*
 * fsync_survives.c - what gofer_fsync() has acknowledged is on the host, whoever is killed next.
 *
 *     fsync_survives HOSTDIR server|client
 *
 * HOSTDIR is served as filesystem "t" by a server whose processes may be killed. A client in mode exclusive writes records
 * here and there in a file, syncs now and then, and says so through a pipe. After some of that it, or the server, is
 * killed with SIGKILL in the middle of its work: every record that was acknowledged must be on the host, whole.
 */
#include <signal.h>
#include <sys/wait.h>

#include "tests/integration/proof.h"

enum { RECORD = 3000, N_RECORDS = 64, ROUNDS = 6 };

struct said {
	uint32_t version[N_RECORDS];
};

static void fill(uint32_t *record, uint32_t number, uint32_t version)
{
	for (size_t i = 0; i < RECORD / sizeof(*record); i++)
		record[i] = number << 24 | version;
}

/* Until it is killed, or the server is. */
static void write_on(uint64_t seed, int out, const char *name)
{
	const struct gofer_mount_options o = { .interop = GOFER_INTEROP_EXCLUSIVE,
					       .no_donate = true,
					       .dirty_ms = 5 };
	struct gofer_session *s = session_connect();
	struct gofer_namespace *ns = namespace_of(s, "t", &o);
	uint32_t record[RECORD / sizeof(uint32_t)];
	struct gofer_file *file;
	struct said said = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/%s", name);
	if (gofer_open(ns, path, O_RDWR | O_CREAT, 0644, &file) < 0)
		die("open: %s", gofer_message());
	for (;;) {
		uint32_t k = random_below(&seed, N_RECORDS);

		fill(record, k, ++said.version[k]);
		if (gofer_pwrite(file, record, RECORD, (uint64_t)k * RECORD) != RECORD)
			return;
		if (random_below(&seed, 12) == 0) {
			if (gofer_fsync(file, random_below(&seed, 2)) < 0)
				return;
			if (write(out, &said, sizeof(said)) != sizeof(said))
				return;
		}
	}
}

static void check_host(const char *host, const char *name, const struct said *said)
{
	uint32_t record[RECORD / sizeof(uint32_t)];
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", host, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	for (uint32_t k = 0; k < N_RECORDS; k++) {
		uint32_t version;

		if (!said->version[k])
			continue;
		if (pread(fd, record, RECORD, (off_t)k * RECORD) != RECORD)
			die("record %u, of version %u, is not there", k, said->version[k]);
		for (size_t i = 0; i < RECORD / sizeof(*record); i++) {
			version = record[i] & 0xffffff;
			/* A newer one may have come, in part too. */
			if (record[i] >> 24 != k || version < said->version[k])
				die("record %u: word %zu is %08x, version %u was acknowledged", k,
				    i, record[i], said->version[k]);
		}
	}
	close(fd);
}

/* After so many acknowledgements. */
static void run(const char *host, bool server, unsigned round, unsigned acknowledged)
{
	struct said said = { 0 }, next;
	char name[32];
	int fds[2], status;
	pid_t client;
	ssize_t n;

	snprintf(name, sizeof(name), "f%u", round);
	if (pipe2(fds, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	client = fork();
	if (client == 0) {
		close(fds[0]);
		write_on(round * 7919 + 1, fds[1], name);
		_exit(0);
	}
	close(fds[1]);
	while (acknowledged-- && (n = read(fds[0], &next, sizeof(next))) == sizeof(next))
		said = next;
	if (server)
		server_kill();
	else
		kill(client, SIGKILL);
	/* What it said before it ended counts, too. */
	while ((n = read(fds[0], &next, sizeof(next))) == sizeof(next))
		said = next;
	close(fds[0]);
	if (waitpid(client, &status, 0) != client)
		die("waitpid: %s", strerror(errno));
	if (server ? !WIFEXITED(status) || WEXITSTATUS(status)
		   : !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		die("the client ended with status %x", status);
	check_host(host, name, &said);
}

int main(int argc, char **argv)
{
	bool server = argc > 2 && !strcmp(argv[2], "server");

	if (argc < 3)
		die("usage: fsync_survives HOSTDIR server|client");
	if (server)
		run(argv[1], true, 100, 20);
	for (unsigned i = 0; !server && i < ROUNDS; i++)
		run(argv[1], false, i, 1 + 5 * i);
	check(true, "every acknowledged fsync survives the %s's death", argv[2]);
	return proof_end();
}
