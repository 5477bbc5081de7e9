/*
 * namespace_fixture.h - two small trees, served by a real session in a child process, and a namespace with both.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <criterion/criterion.h>

#include "client/gofer.h"
#include "common/sys.h"
#include "proto/rpc.h"
#include "server/server.h"

struct world {
	char dir[32];
	pid_t child;
	struct gofer_session *session;
	struct gofer_namespace *ns;
	uint64_t frames;
};

static inline void serve(struct world *w, int sock)
{
	static volatile sig_atomic_t draining;
	static struct server_shared shared;
	struct volume v[2];
	struct server server = { .volumes = v,
				 .n_volumes = 2,
				 .limits = SERVER_LIMITS_DEFAULT,
				 .shared = &shared,
				 .version = "test" };
	struct peer peer = { .uid = getuid(), .gid = getgid() };
	int proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (unsigned i = 0; i < 2; i++) {
		char path[64];

		snprintf(path, sizeof(path), "%s/%c", w->dir, 'A' + (char)i);
		v[i] = (struct volume){ .name = (char *)(i ? "b" : "a"),
					.donate = DONATE_ALWAYS,
					.squash_uid = getuid(),
					.squash_gid = getgid() };
		if (fs_init(&v[i].fs, &fs_host_ops, i, 0,
			    open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
			_exit(3);
		v[i].fs.proc_fd = proc;
	}
	session_run(&server, sock, &peer, proc, &draining);
	_exit(0);
}

/* Runs in w->dir. */
static inline void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/*
 * A: d/e/f, sub/in (covered by the mount of B), rel -> d/e, abs -> /sub/x, up -> .., out ->
 * ../../.., chain -> rel/../e, dangling -> missing/file, loop -> loop, d/back -> ../rel/f,
 * d/tosub -> ../sub, many files in big/ B: x/y, x/home -> /d, x/parent -> ..
 */
static inline void plant(void)
{
	static const char *const dirs[] = { "A", "A/d", "A/d/e", "A/sub", "A/big", "B", "B/x" };
	static const struct {
		const char *path, *target;
	} links[] = {
		{ "A/rel", "d/e" },
		{ "A/abs", "/sub/x" },
		{ "A/up", ".." },
		{ "A/out", "../../.." },
		{ "A/chain", "rel/../e" },
		{ "A/dangling", "missing/file" },
		{ "A/loop", "loop" },
		{ "A/d/back", "../../rel/../e/f" },
		{ "A/d/tosub", "../sub" },
		{ "B/x/home", "/d" },
		{ "B/x/parent", ".." },
		{ "A/slash", "/" },
		{ "A/fileslash", "d/e/f/" },
		{ "A/d/here", "." },
		{ "A/newfile", "d/created" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		cr_assert_eq(mkdir(dirs[i], 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		cr_assert_eq(symlink(links[i].target, links[i].path), 0);
	put("A/d/e/f", "hello");
	put("A/sub/in", "covered");
	put("B/x/y", "in b");
}

static inline struct world *begin_channels(uint32_t channels)
{
	const struct gofer_session_options o = { .channels = channels };
	struct world *w = calloc(1, sizeof(*w));
	char name[32];
	int sv[2];

	memcpy(w->dir, "/tmp/gofer-ns-XXXXXX", 21);
	cr_assert_not_null(mkdtemp(w->dir));
	cr_assert_eq(chmod(w->dir, 0755), 0);
	cr_assert_eq(chdir(w->dir), 0);
	plant();
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	w->child = fork();
	if (w->child == 0) {
		close(sv[0]);
		serve(w, sv[1]);
	}
	close(sv[1]);
	snprintf(name, sizeof(name), "fd:%d", sv[0]);
	cr_assert_eq(gofer_session_open(name, &o, &w->session), 0, "%s", gofer_message());
	cr_assert_eq(gofer_namespace_new(&w->ns), 0);
	return w;
}

static inline struct world *begin(void)
{
	return begin_channels(0);
}

/* A at "/", B at "/sub". */
static inline struct world *begin_mounted(void)
{
	struct world *w = begin();

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, "/", NULL), 0);
	cr_assert_eq(gofer_mount(w->ns, w->session, 1, "/sub", NULL), 0);
	return w;
}

static inline int remove_one(const char *path, const struct stat *st _unused_, int type _unused_,
			     struct FTW *ftw _unused_)
{
	return remove(path);
}

static inline void end(struct world *w)
{
	int status;

	gofer_namespace_free(w->ns);
	gofer_session_close(w->session);
	cr_assert_eq(waitpid(w->child, &status, 0), w->child);
	cr_assert_eq(status, 0);
	cr_assert_eq(chdir("/"), 0);
	nftw(w->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	free(w);
}

/* Frames since the last call, closes not counted. */
static inline unsigned frames(struct world *w)
{
	struct gofer_stats st;
	uint64_t n, was = w->frames;

	gofer_session_get_stats(w->session, &st);
	n = st.total - st.requests[RPC_TYPE_Close];
	w->frames = n;
	return (unsigned)(n - was);
}

static inline void expect_same(struct world *w, const char *path, const char *real)
{
	struct stat got, want;

	cr_assert_eq(gofer_stat(w->ns, path, 0, &got), 0, "%s", gofer_message());
	cr_assert_eq(stat(real, &want), 0);
	cr_assert(got.st_ino == want.st_ino && got.st_dev == want.st_dev, "%s is not %s", path,
		  real);
}
