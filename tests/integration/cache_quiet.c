/*
 * cache_quiet.c - what is warm costs no system call at all: a thread that the kernel lets make none (seccomp) reads, stats, looks for what does not
 * exist, opens and closes, all of it from what its session remembers. With watches each of these may ask the kernel whether anything
 * changed, and nothing else.
 *
 *     cache_quiet HOSTDIR      served as filesystem "t", without donated descriptors
 */
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>

#include "tests/integration/proof.h"

enum { SIZE = 4 << 20, BLOCK = 4096, TIMES = 2000 };

static struct {
	struct gofer_namespace *ns;
	struct gofer_file *file;
	bool watched;
	const char *doing;
	uint64_t seed;
} b;

static void once(void)
{
	static char buf[BLOCK];
	struct gofer_file *f;
	struct stat st;

	b.doing = "stat";
	if (gofer_stat(b.ns, "/a/b/c/d/f", 0, &st) < 0 || st.st_size != SIZE)
		die("stat");
	b.doing = "stat of a link";
	if (gofer_stat(b.ns, "/l", 0, &st) < 0 || !S_ISREG(st.st_mode))
		die("stat of a link");
	b.doing = "readlink";
	if (gofer_readlink(b.ns, "/l", buf, sizeof(buf)) != 9)
		die("readlink");
	b.doing = "access";
	if (gofer_access(b.ns, "/a/b/c/d/f", R_OK, 0) < 0)
		die("access");
	b.doing = "stat of what does not exist";
	if (gofer_stat(b.ns, "/a/b/none", 0, &st) != -ENOENT)
		die("stat of what does not exist");
	if (b.watched)
		return;
	b.doing = "pread";
	for (unsigned i = 0; i < 10; i++)
		if (gofer_pread(b.file, buf, BLOCK,
				(uint64_t)random_below(&b.seed, SIZE / BLOCK) * BLOCK) != BLOCK)
			die("pread");
	b.doing = "read of a few bytes";
	if (gofer_pread(b.file, buf, 10, random_below(&b.seed, SIZE - 10)) != 10)
		die("read of a few bytes");
	b.doing = "fstat";
	if (gofer_fstat(b.file, &st) < 0)
		die("fstat");
	b.doing = "open, read, close";
	if (gofer_open(b.ns, "/a/b/c/d/f", O_RDONLY, 0, &f) < 0 ||
	    gofer_read(f, buf, BLOCK) != BLOCK || gofer_close(f) < 0)
		die("open, read, close");
}

/* Without stdio, which would look at what it writes to. */
static void say(const char *text)
{
	(void)!write(STDOUT_FILENO, text, strlen(text));
}

static void caught(int signal _unused_, siginfo_t *info, void *context _unused_)
{
	char text[160];

	(void)snprintf(text, sizeof(text), "  FAIL %s makes system call %d\n", b.doing,
		       info->si_syscall);
	say(text);
	_exit(1);
}

/* Of the calling thread, for good. */
static void forbid(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	int r = filter ? 0 : -ENOMEM;

	if (r == 0) /* what the end needs */
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 0);
	if (r == 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(exit_group), 0);
	if (r == 0 && b.watched)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(epoll_pwait), 0);
	if (r == 0)
		r = seccomp_load(filter);
	if (r < 0)
		die("seccomp: %s", strerror(-r));
}

/* It ends the process: it cannot even end itself. */
static void *quietly(void *userdata _unused_)
{
	for (unsigned i = 0; i < 3; i++)
		once();
	forbid();
	for (unsigned i = 0; i < TIMES; i++)
		once();
	say(b.watched ? "  ok   with watches: everything without a system call but epoll_pwait\n"
		      : "  ok   exclusive: everything without a system call\n");
	_exit(0);
}

static void make_files(const char *host)
{
	static const char *const dirs[] = { "a", "a/b", "a/b/c", "a/b/c/d" };
	int root = open(host, O_DIRECTORY | O_CLOEXEC), fd;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		(void)mkdirat(root, dirs[i], 0755);
	fd = openat(root, "a/b/c/d/f", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0 || ftruncate(fd, SIZE) < 0)
		die("%s: %s", host, strerror(errno));
	close(fd);
	(void)!symlinkat("a/b/c/d/f", root, "l");
	close(root);
}

int main(int argc, char **argv)
{
	const struct sigaction action = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO };
	struct gofer_mount_options o = { .no_donate = true };
	struct gofer_session *session;
	static char all[SIZE];
	pthread_t thread;

	if (argc < 2)
		die("usage: cache_quiet [-watched] HOSTDIR");
	if (PROOF_SANITIZED) {
		printf("SKIP: sanitizers make system calls of their own\n");
		return PROOF_SKIP;
	}
	b.watched = option_set(argc, argv, "-watched");
	b.seed = 88172645463325252u;
	o.interop = b.watched ? GOFER_INTEROP_SHARED : GOFER_INTEROP_EXCLUSIVE;
	o.watch = b.watched;
	make_files(argv[argc - 1]);
	session = session_connect();
	b.ns = namespace_of(session, "t", &o);
	if (gofer_open(b.ns, "/a/b/c/d/f", O_RDONLY, 0, &b.file) < 0 ||
	    gofer_pread(b.file, all, SIZE, 0) != SIZE)
		die("%s", gofer_message());
	if (sigaction(SIGSYS, &action, NULL) < 0 ||
	    pthread_create(&thread, NULL, quietly, NULL) != 0)
		die("thread");
	(void)pthread_join(thread, NULL);
	return 1;
}
