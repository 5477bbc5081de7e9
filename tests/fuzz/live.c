/*
 * live.c - see live.h: the session's side.
 *
 * As root its threads get the tree's base as their root directory, in a mount namespace of the
 * process's own: a name that reaches the kernel as an absolute path meets the decoys, and not the
 * machine that the fuzzer runs on.
 */
#include "tests/fuzz/live.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/log.h"
#include "tests/fuzz/fuzz.h"

enum { FILE_LIMIT = 2 * 1024 * 1024 };

/* What a thread that crashes needs there: the sanitizers' symbolizer, and where libFuzzer writes the input. */
static bool prepare_root(const struct fuzz_tree *t)
{
	static const char *const system[] = { "/proc", "/usr", "/lib", "/lib64" };
	const char *crashes = getenv("GOFER_FUZZ_CRASHES"), *build = getenv("GOFER_FUZZ_BUILD");

	if (!t->is_root || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(system); i++)
		if (access(system[i], F_OK) == 0 && !tree_mount(t, system[i], false))
			return false;
	return (!build || tree_mount(t, build, false)) &&
	       (!crashes || tree_mount(t, crashes, true));
}

void live_init(struct live_server *l, struct fuzz_tree *tree)
{
	static char names[LIVE_VOLUMES][4] = { "one", "two", "by", "old", "all" };
	struct rlimit limit = { FILE_LIMIT, FILE_LIMIT };
	static const struct log_options quiet = { .level = LOG_LEVEL_WARNING, .program = "fuzz" };

	*l = (struct live_server){ .tree = tree };
	log_setup(&quiet);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	FUZZ_ASSERT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	l->rooted = prepare_root(tree);
	l->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	FUZZ_ASSERT(l->proc_fd >= 0);
	l->server = (struct server){
		.volumes = l->volumes,
		.n_volumes = tree->is_root ? LIVE_VOLUMES : LIVE_VOLUMES - 1,
		.limits = SERVER_LIMITS_DEFAULT,
		.shared = &l->shared,
		.version = "fuzz",
		.log_requests = true, /* formatted nowhere: the level is above */
	};
	l->server.limits.max_handles = 24;
	l->server.limits.max_in_flight = 24;
	l->server.limits.max_threads = 4;
	l->server.limits.max_identities = 6;
	l->server.limits.hello_ms = 0;
	for (size_t i = 0; i < l->server.n_volumes; i++)
		l->volumes[i] = (struct volume){
			.name = names[i],
			.donate = i + 1 == LIVE_SPECIAL ? DONATE_RO : DONATE_ALWAYS,
			.read_only = i + 1 == LIVE_READ_ONLY,
			.special = i + 1 >= LIVE_SPECIAL,
			.identity = i + 1 == LIVE_DELEGATE ? IDENTITY_DELEGATE : IDENTITY_SQUASH,
			.squash_uid = getuid(),
			.squash_gid = getgid(),
			.uids = { 1000, 1010 },
			.gids = { 1000, 1010 },
		};
}

void live_open(struct live_server *l)
{
	for (size_t i = 0; i < l->server.n_volumes; i++) {
		struct volume *v = &l->volumes[i];
		const struct fs_ops *ops = &fs_host_ops;
		uint32_t flags = 0;

		switch (i + 1) {
		case LIVE_READ_ONLY:
			flags = FS_READ_ONLY;
			break;
		case LIVE_PATHWALK:
			ops = l->raced ? &fs_host_ops : &fs_pathwalk_ops;
			break;
		case LIVE_SPECIAL:
			flags = FS_SPECIAL | FS_NO_OPENAT2;
			break;
		case LIVE_DELEGATE:
			ops = l->by_path ? &fs_pathwalk_ops : &fs_host_ops;
			flags = FS_SPECIAL | (l->old_kernel ? FS_NO_OPENAT2 : 0);
			break;
		default:
			break;
		}
		FUZZ_ASSERT(fs_init(&v->fs, ops, (uint32_t)i + 1, flags, tree_open(l->tree)) == 0);
		v->fs.proc_fd = l->proc_fd;
	}
}

void live_close(struct live_server *l)
{
	for (size_t i = 0; i < l->server.n_volumes; i++)
		fs_deinit(&l->volumes[i].fs);
}

static void *serve(void *userdata)
{
	static volatile sig_atomic_t draining;
	struct live_session *s = userdata;

	if (s->live->rooted)
		FUZZ_ASSERT(unshare(CLONE_FS) == 0 && chroot(s->live->tree->base) == 0);
	s->result = session_run(&s->live->server, s->server_sock, &s->peer, s->live->proc_fd,
				&draining);
	return NULL;
}

int live_start(struct live_session *s, struct live_server *l, uid_t peer)
{
	static gid_t groups[] = { 1003, 1004 };
	int pair[2];

	*s = (struct live_session){ .live = l,
				    .peer = { .uid = peer,
					      .gid = peer,
					      .groups = groups,
					      .n_groups = ARRAY_SIZE(groups) } };
	FUZZ_ASSERT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	s->server_sock = pair[1];
	FUZZ_ASSERT(pthread_create(&s->thread, NULL, serve, s) == 0);
	return pair[0];
}

/*
 * A session whose threads do not come back within two seconds gives up, and its process ends. Here
 * they may only have been given no CPU: the run script begins again, and counts.
 */
void live_join(struct live_session *s)
{
	FUZZ_ASSERT(pthread_join(s->thread, NULL) == 0);
	if (s->result == -EDEADLK) {
		fprintf(stderr, "a session's threads are stuck, or starved\n");
		_exit(1);
	}
	FUZZ_ASSERT(s->result == 0);
}
