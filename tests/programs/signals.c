/*
 * signals.c - system calls that name paths while signals arrive all the time, threads and processes end, and others wait.
 *
 *	signals DIRECTORY storm MILLISECONDS    a timer every 50 us; opens, stats, renames, creates must all succeed as if there were none
 *	signals DIRECTORY restart               what SA_RESTART does, and what its absence does, to an open that waits for a FIFO
 *	signals DIRECTORY killed ROUNDS         children killed while they call; nothing of it stays
 *	signals DIRECTORY threads               pthread_cancel, a group exit and an execve while other threads call
 *
 * Prints only what must be equal natively and inside.
 */
#include "tests/programs/conformance.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>

static atomic_ulong alarms;

static void on_alarm(int sig)
{
	alarms++;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void handle(int sig, int flags)
{
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = flags };

	sigaction(sig, &action, NULL);
}

static void storm(double seconds, int flags)
{
	struct itimerval timer = { { 0, 50 }, { 0, 50 } }, none = { 0 };
	unsigned long eintr = 0, wrong = 0, rounds = 0;
	double end = now() + seconds;
	char got[8];
	struct stat st;

	handle(SIGALRM, flags);
	setitimer(ITIMER_REAL, &timer, NULL);
	/*
	 * Path calls on ordinary files are not interruptible: with SA_RESTART there is not one EINTR. Without it the kernel gives one
	 * to a call that nobody has taken yet when the signal comes (seccomp_unotify(2)); then nothing was done, and the
	 * call is made again.
	 */
#define DO(call)                                                 \
	do {                                                     \
		errno = 0;                                       \
		while ((call) < 0 && errno == EINTR && !flags)   \
			errno = 0;                               \
		if (errno == EINTR)                              \
			eintr++;                                 \
		else if (errno && wrong++ < 3)                   \
			say("%s: %s", #call, error_name(errno)); \
	} while (0)
	while (now() < end) {
		int fd;

		DO(fd = open("f", O_RDONLY | O_CLOEXEC));
		DO(read(fd, got, 5));
		if (memcmp(got, "hello", 5))
			wrong++;
		DO(close(fd));
		DO(stat("d/deep/x", &st));
		DO(lstat("l", &st));
		DO(access("ld/g", R_OK));
		DO(readlink("l", got, sizeof(got)));
		/* Each happens once: a call that is restarted after it was done would fail with EEXIST or ENOENT. */
		DO(mkdir("storm-d", 0700));
		DO(fd = open("storm-d/new", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
		DO(close(fd));
		DO(link("storm-d/new", "storm-d/new2"));
		DO(symlink("new", "storm-d/sym"));
		DO(rename("storm-d/new", "storm-d/renamed"));
		DO(chmod("storm-d/renamed", 0640));
		DO(unlink("storm-d/renamed"));
		DO(unlink("storm-d/new2"));
		DO(unlink("storm-d/sym"));
		DO(rmdir("storm-d"));
		rounds++;
	}
	setitimer(ITIMER_REAL, &none, NULL);
	say("storm: EINTR %lu, wrong %lu, some rounds %d, some alarms %d", eintr, wrong,
	    rounds > 10, alarms > 100);
	fprintf(stderr, "%lu rounds, %lu alarms\n", rounds, (unsigned long)alarms);
}

static int handled = -1;

static void on_user(int sig)
{
	must(write(handled, "", 1) == 1, "write");
}

/* A child that opens a FIFO and waits there; `flags` of its handler. The other end is opened only after the handler has run. */
static void waiting_open(int flags, bool then_open)
{
	int ready[2], status, fd;
	pid_t child;
	char c;

	must(pipe(ready) == 0, "pipe");
	fflush(stdout);
	child = fork();
	if (!child) {
		struct sigaction action = { .sa_handler = on_user, .sa_flags = flags };

		handled = ready[1];
		sigaction(SIGUSR1, &action, NULL);
		must(write(ready[1], "", 1) == 1, "write");
		fd = open("fifo", O_RDONLY);
		_exit(fd < 0 ? errno : read(fd, &c, 1) == 1 ? 100 : 101);
	}
	must(read(ready[0], &c, 1) == 1, "read");
	/* It is in open() when it sleeps there; a signal before that would be handled and forgotten. */
	for (;;) {
		char path[64], state = 0;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/syscall", child);
		f = fopen(path, "re");
		if (!f || fscanf(f, "%c", &state) < 1)
			state = 'r';
		if (f)
			fclose(f);
		if (state >= '0' && state <= '9')
			break;
		sched_yield();
	}
	kill(child, SIGUSR1);
	must(read(ready[0], &c, 1) == 1, "read");
	/* For reading too: nobody may be waiting there. */
	fd = then_open ? open("fifo", O_RDWR) : -1;
	must(!then_open || (fd >= 0 && write(fd, "x", 1) == 1), "fifo");
	waitpid(child, &status, 0);
	close(fd);
	if (WEXITSTATUS(status) < 100)
		say("open of a FIFO, %s: %s", flags & SA_RESTART ? "SA_RESTART" : "no SA_RESTART",
		    error_name(WEXITSTATUS(status)));
	else
		say("open of a FIFO, %s: opened, read %d",
		    flags & SA_RESTART ? "SA_RESTART" : "no SA_RESTART",
		    WEXITSTATUS(status) == 100);
	close(ready[0]), close(ready[1]);
}

static void killed(int rounds)
{
	int made = 0;

	for (int i = 0; i < rounds; i++) {
		struct timespec pause = { 0, 1000 * (i * 37 % 2000) };
		int status;
		pid_t child = fork();

		if (!child) {
			struct stat st;

			for (;;) {
				int fd = open("f", O_RDWR | O_CLOEXEC);

				stat("d/deep/x", &st);
				close(open("killed", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
				rename("killed", "killed2");
				unlink("killed2");
				close(fd);
			}
		}
		nanosleep(&pause, NULL);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		made += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	say("killed %d of %d", made, rounds);
	unlink("killed"), unlink("killed2");
	text("f");
	look_list("d");
}

static atomic_bool stop;
static atomic_ulong calls;

static void *caller(void *arg)
{
	struct stat st;

	while (!stop) {
		int fd = open("f", O_RDONLY | O_CLOEXEC);

		stat("d/g", &st);
		if (fd >= 0)
			close(fd);
		calls++;
	}
	return NULL;
}

static void threads(void)
{
	pthread_t t[8];
	int status;
	void *result;

	for (int i = 0; i < 8; i++)
		must(pthread_create(&t[i], NULL, caller, NULL) == 0, "thread");
	while (calls < 2000)
		sched_yield();
	for (int i = 0; i < 4; i++)
		pthread_cancel(t[i]);
	stop = true;
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &result);
		if (i >= 4)
			must(result == NULL, "join");
	}
	stop = false;
	calls = 0;
	say("cancelled and joined");
	fflush(stdout);
	if (!fork()) {
		for (int i = 0; i < 8; i++)
			pthread_create(&t[i], NULL, caller, NULL);
		while (calls < 500)
			sched_yield();
		exit(42);
	}
	wait(&status);
	say("group exit: %d", WEXITSTATUS(status));
	fflush(stdout);
	if (!fork()) {
		for (int i = 0; i < 8; i++)
			pthread_create(&t[i], NULL, caller, NULL);
		while (calls < 500)
			sched_yield();
		execl("./x", "x", NULL);
		_exit(errno);
	}
	wait(&status);
	say("execve with threads: %d", WEXITSTATUS(status));
}

int main(int argc, char **argv)
{
	if (argc < 3 || chdir(argv[1]) < 0)
		return 2;
	must(mkdir(argv[2], 0755) == 0 && chdir(argv[2]) == 0, argv[2]);
	make_tree();
	if (!strcmp(argv[2], "storm")) {
		double seconds = argc > 3 ? atoi(argv[3]) / 1e3 : 0.5;

		storm(seconds, SA_RESTART);
		storm(seconds, 0);
	} else if (!strcmp(argv[2], "restart")) {
		waiting_open(SA_RESTART, true);
		waiting_open(0, false);
	} else if (!strcmp(argv[2], "killed")) {
		killed(argc > 3 ? atoi(argv[3]) : 100);
	} else if (!strcmp(argv[2], "threads")) {
		threads();
	}
	fflush(stdout);
	chmod("shut", 0700);
	return 0;
}
