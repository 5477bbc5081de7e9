/*
 * bench_channel.c - what calls through a shared-memory channel cost, beside three others in the same
 * run, in rounds that take turns:
 *
 *     native   the system calls themselves
 *     slot     the floor: a toy server that does the same system calls below one descriptor, over a
 *              bare slot of shared memory (spins 20 microseconds, then a futex), no protocol at all
 *     socket   gofer over its socket
 *     channel  gofer over a channel
 *
 * with client and server on two CPUs, on one, and wherever the scheduler puts them. Goals on two CPUs:
 * stat within 2.5 of native and 1.2 of the slot, reading within 1.5, creating within 1.15, listing
 * within 1.2 of native.
 *
 *     bench_channel [-r ROUNDS] [-n CALLS_PER_ROUND] [--json] HOSTDIR      served as "t"
 *     bench_channel --idle SECONDS          4 channels, used and left alone: CPU time, wake-ups, memory
 *     bench_channel --threads N             calls per second of 1, 2, 4 ... N threads
 */
#include <linux/futex.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/integration/proof.h"

enum what { STAT, READ, CREATE, LIST, N_WHATS };
enum how { NATIVE, SLOT, SOCKET, CHANNEL, N_HOWS };

enum { FILES = 10000, BLOCK = 4096, CHANNELS = 4, SLOT_DATA = 1 << 20, LIST_DATA = 256 << 10 };

static const char deep[] = "a/b/c/d/e/f/g";
static const char *const what_names[N_WHATS] = {
	"stat, depth 8",
	"open+read 4 KiB+close, of 10,000 files",
	"create+write 4 KiB+close",
	"list 10,000 with attributes, per entry",
};
static const double goals[N_WHATS] = { 2.5, 1.5, 1.15, 1.2 };

struct series {
	double *us;
	size_t n;
	double p50, p99;
};

/* ---- the bare slot ---- */

struct slot {
	_Alignas(64) _Atomic uint32_t request;
	_Atomic uint32_t server_sleeps;
	_Alignas(64) _Atomic uint32_t reply;
	_Atomic uint32_t client_sleeps;
	_Alignas(64) enum what what;
	bool more; /* of a listing */
	int error;
	size_t size;
	struct stat st;
	char path[PATH_MAX];
	_Alignas(64) char data[SLOT_DATA];
};

struct slot_entry {
	struct stat st;
	char name[256];
};

static struct {
	const char *host;
	int root; /* of the host directory */
	struct gofer_session *sessions[N_HOWS];
	struct gofer_namespace *ns[N_HOWS];
	struct slot *slot;
	pid_t slot_pid;
	bool slot_sleeps_at_once;
	uint32_t turn;
	unsigned created;
	struct series series[N_WHATS][N_HOWS];
	bool json;
} b;

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
	(void)syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

static void slot_wait(_Atomic uint32_t *word, _Atomic uint32_t *sleeps, uint32_t old)
{
	uint64_t until = clock_ns() + 20000;

	while (atomic_load(word) == old) {
		if (!b.slot_sleeps_at_once && clock_ns() < until) {
#if defined(__x86_64__) || defined(__i386__)
			__builtin_ia32_pause();
#endif
			continue;
		}
		atomic_store(sleeps, 1);
		if (atomic_load(word) == old)
			futex(word, FUTEX_WAIT, old);
		atomic_store(sleeps, 0);
	}
}

static void slot_publish(_Atomic uint32_t *word, _Atomic uint32_t *sleeps, uint32_t turn)
{
	atomic_store(word, turn);
	if (atomic_load(sleeps))
		futex(word, FUTEX_WAKE, 1);
}

static int open_below(const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_CLOEXEC,
				.mode = flags & O_CREAT ? 0644 : 0,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };

	return (int)syscall(SYS_openat2, b.root, path, &how, sizeof(how));
}

static void slot_list(struct slot *s)
{
	static DIR *dir;
	const struct dirent *e;

	if (!dir)
		dir = fdopendir(open_below(s->path, O_RDONLY | O_DIRECTORY));
	s->size = 0;
	while (s->size + sizeof(struct slot_entry) <= LIST_DATA && (e = readdir(dir))) {
		struct slot_entry *out = (void *)(s->data + s->size);

		if (e->d_name[0] == '.' ||
		    fstatat(dirfd(dir), e->d_name, &out->st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		(void)snprintf(out->name, sizeof(out->name), "%s", e->d_name);
		s->size += sizeof(*out);
	}
	s->more = s->size + sizeof(struct slot_entry) > LIST_DATA;
	if (!s->more) {
		closedir(dir);
		dir = NULL;
	}
}

static void slot_serve(struct slot *s)
{
	int fd;

	if (s->what == LIST) {
		slot_list(s);
		return;
	}
	fd = open_below(s->path, s->what == STAT   ? O_PATH
				 : s->what == READ ? O_RDONLY
						   : O_CREAT | O_EXCL | O_WRONLY);
	s->error = fd < 0 || fstatat(fd, "", &s->st, AT_EMPTY_PATH) < 0 ? errno : 0;
	if (s->what == READ)
		s->size = (size_t)pread(fd, s->data, SLOT_DATA, 0);
	if (s->what == CREATE)
		s->size = (size_t)pwrite(fd, s->data, s->size, 0);
	close(fd);
}

static void slot_run(void)
{
	struct slot *s = b.slot;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t turn = 0;; turn++) {
		slot_wait(&s->request, &s->server_sleeps, turn);
		slot_serve(s);
		slot_publish(&s->reply, &s->client_sleeps, turn + 1);
	}
}

static void slot_start(bool sleeps_at_once)
{
	if (b.slot_pid) {
		kill(b.slot_pid, SIGKILL);
		(void)waitpid(b.slot_pid, NULL, 0);
	} else {
		b.slot = mmap(NULL, sizeof(*b.slot), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (b.slot == MAP_FAILED)
			die("mmap");
	}
	b.slot_sleeps_at_once = sleeps_at_once;
	atomic_store(&b.slot->request, 0);
	atomic_store(&b.slot->reply, 0);
	b.turn = 0;
	b.slot_pid = fork();
	if (b.slot_pid < 0)
		die("fork");
	if (b.slot_pid == 0)
		slot_run();
}

static void slot_call(enum what what, const char *path)
{
	struct slot *s = b.slot;

	s->what = what;
	(void)snprintf(s->path, sizeof(s->path), "%s", path);
	slot_publish(&s->request, &s->server_sleeps, ++b.turn);
	slot_wait(&s->reply, &s->client_sleeps, b.turn - 1);
	if (s->error)
		die("slot: %s: %s", path, strerror(s->error));
}

/* ---- the calls ---- */

static char block[BLOCK];

static void file_name(char path[static PATH_MAX], enum what what, unsigned i)
{
	if (what == STAT)
		(void)snprintf(path, PATH_MAX, "%s/f", deep);
	else if (what == READ)
		(void)snprintf(path, PATH_MAX, "many/entry-%05u", i % FILES);
	else
		(void)snprintf(path, PATH_MAX, "%s/new-%u", deep, i);
}

static void native(enum what what, const char *path)
{
	struct stat st;
	int fd;

	if (what == STAT) {
		if (fstatat(b.root, path, &st, 0) < 0)
			die("%s", path);
		return;
	}
	fd = openat(b.root, path,
		    what == READ ? O_RDONLY | O_CLOEXEC : O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
		    0644);
	if (fd < 0 || (what == READ ? read(fd, block, BLOCK) : write(fd, block, BLOCK)) != BLOCK)
		die("%s: %s", path, strerror(errno));
	close(fd);
}

static void through_slot(enum what what, const char *path)
{
	if (what == CREATE) {
		memcpy(b.slot->data, block, BLOCK);
		b.slot->size = BLOCK;
	}
	slot_call(what, path);
	if (what != STAT && b.slot->size != BLOCK)
		die("slot: %s", path);
	if (what == READ)
		memcpy(block, b.slot->data, BLOCK);
}

static void through_gofer(struct gofer_namespace *ns, enum what what, const char *path)
{
	struct stat st;
	size_t size;
	void *data;
	int r;

	switch (what) {
	case STAT:
		r = gofer_stat(ns, path, 0, &st);
		break;
	case READ:
		r = gofer_read_file(ns, path, &data, &size, NULL);
		if (r == 0 && size != BLOCK)
			die("%s: %zu bytes", path, size);
		if (r == 0)
			free(data);
		break;
	default:
		r = gofer_write_file(ns, path, block, BLOCK, 0644, GOFER_WRITE_EXCLUSIVE);
		break;
	}
	if (r < 0)
		die("%s: %s", path, gofer_message());
}

static void list_native(size_t *ret_n)
{
	DIR *d = fdopendir(openat(b.root, "many", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct stat st;

	for (const struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' &&
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			(*ret_n)++;
	if (d)
		closedir(d);
}

static void list_slot(size_t *ret_n)
{
	do {
		slot_call(LIST, "many");
		*ret_n += b.slot->size / sizeof(struct slot_entry);
	} while (b.slot->more);
}

static void list_gofer(struct gofer_namespace *ns, size_t *ret_n)
{
	struct gofer_dirent e;
	struct gofer_dir *d;

	if (gofer_opendir(ns, "/many", 0, &d) < 0)
		die("opendir: %s", gofer_message());
	while (gofer_readdir(d, &e) > 0)
		*ret_n += e.has_stat;
	gofer_closedir(d);
}

static double list(enum how how)
{
	uint64_t start = clock_ns();
	size_t n = 0;

	if (how == NATIVE)
		list_native(&n);
	else if (how == SLOT)
		list_slot(&n);
	else
		list_gofer(b.ns[how], &n);
	if (n != FILES)
		die("a listing of %zu", n);
	return (double)(clock_ns() - start) / 1000 / FILES;
}

/* One call, timed. */
static double once(enum what what, enum how how, unsigned i)
{
	char text[PATH_MAX + 1] = "/", *path = text + 1;
	uint64_t start;

	file_name(path, what, what == CREATE ? b.created++ : i);
	start = clock_ns();
	if (how == NATIVE)
		native(what, path);
	else if (how == SLOT)
		through_slot(what, path);
	else
		through_gofer(b.ns[how], what, text);
	return (double)(clock_ns() - start) / 1000;
}

static void remove_created(void)
{
	char path[PATH_MAX];

	while (b.created) {
		file_name(path, CREATE, --b.created);
		(void)unlinkat(b.root, path, 0);
	}
}

/* ---- measuring ---- */

static void pin(pid_t pid, int cpu)
{
	cpu_set_t set;
	char path[64];
	DIR *d;

	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (cpu < 0 || i == cpu)
			CPU_SET(i, &set);
	(void)snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	for (const struct dirent *e; d && (e = readdir(d));)
		if (isdigit((unsigned char)e->d_name[0]))
			(void)sched_setaffinity((pid_t)strtol(e->d_name, NULL, 10), sizeof(set),
						&set);
	if (d)
		closedir(d);
}

static void pin_server(int cpu)
{
	static struct process_list now;

	server_processes(&now);
	for (size_t i = 0; i < now.n; i++)
		pin(now.at[i].pid, cpu);
}

static int compare_doubles(const void *a, const void *c)
{
	double x = *(const double *)a, y = *(const double *)c;

	return (x > y) - (x < y);
}

static void print(const char *placement)
{
	if (!b.json)
		printf("\n%s\n%-40s %9s %9s %9s %9s %9s %9s\n", placement, "microseconds, p50",
		       "native", "slot", "socket", "channel", "/ native", "/ slot");
	for (int w = 0; w < N_WHATS; w++) {
		const struct series *s = b.series[w];

		if (b.json) {
			for (int h = 0; h < N_HOWS; h++)
				printf("{\"placement\":\"%s\",\"what\":\"%s\",\"how\":\"%s\",\"p50_"
				       "us\":%.3f,\"p99_us\":%.3f}\n",
				       placement, what_names[w],
				       (const char *[]){ "native", "slot", "socket", "channel" }[h],
				       s[h].p50, s[h].p99);
			continue;
		}
		printf("%-40s %9.2f %9.2f %9.2f %9.2f %9.2f %9.2f   (goal %.2f; p99 %.2f, native "
		       "%.2f)\n",
		       what_names[w], s[NATIVE].p50, s[SLOT].p50, s[SOCKET].p50, s[CHANNEL].p50,
		       s[CHANNEL].p50 / s[NATIVE].p50, s[CHANNEL].p50 / s[SLOT].p50, goals[w],
		       s[CHANNEL].p99, s[NATIVE].p99);
	}
	fflush(stdout);
}

static void measure(const char *placement, int client_cpu, int server_cpu, size_t rounds,
		    size_t calls)
{
	slot_start(client_cpu >= 0 && client_cpu == server_cpu);
	pin(getpid(), client_cpu);
	pin_server(server_cpu);
	pin(b.slot_pid, server_cpu);
	for (size_t r = 0; r < rounds; r++)
		for (int w = 0; w < N_WHATS; w++)
			for (int h = 0; h < N_HOWS; h++) {
				struct series *s = &b.series[w][h];
				size_t n = w == LIST ? 1 : calls;
				const struct timespec rest = { .tv_nsec = 1000000 };

				/* Whoever spins for the one before on the same CPU has gone to sleep by then. */
				(void)nanosleep(&rest, NULL);
				for (size_t i = 0; i < (w == LIST ? 0 : 4); i++)
					(void)once((enum what)w, (enum how)h, (unsigned)i);
				for (size_t i = 0; i < n; i++)
					s->us[s->n++] = w == LIST ? list((enum how)h)
								  : once((enum what)w, (enum how)h,
									 (unsigned)(r * calls + i));
				remove_created();
			}
	for (int w = 0; w < N_WHATS; w++)
		for (int h = 0; h < N_HOWS; h++) {
			struct series *s = &b.series[w][h];

			qsort(s->us, s->n, sizeof(*s->us), compare_doubles);
			s->p50 = s->us[s->n / 2];
			s->p99 = s->us[s->n * 99 / 100];
			s->n = 0;
		}
	print(placement);
}

static void make_files(void)
{
	char path[PATH_MAX] = "";

	b.root = open(b.host, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (const char *p = deep; b.root >= 0 && *p; p += 2) {
		(void)snprintf(path, sizeof(path), "%.*s", (int)(p - deep + 1), deep);
		(void)mkdirat(b.root, path, 0755);
		if (p[1] == '\0')
			break;
	}
	(void)mkdirat(b.root, "many", 0755);
	for (unsigned i = 0; i <= FILES; i++) {
		int fd;

		file_name(path, i == FILES ? STAT : READ, i);
		fd = openat(b.root, path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, block, BLOCK) != BLOCK)
			die("%s: %s", path, strerror(errno));
		close(fd);
	}
}

static void connect_with(enum how how, uint32_t channels)
{
	const struct gofer_session_options o = { .channels = channels };
	const struct gofer_mount_options plain = { .no_donate = true };
	struct gofer_stats stats;

	if (gofer_session_open(server_name(), &o, &b.sessions[how]) < 0)
		die("connect: %s", gofer_message());
	gofer_session_get_stats(b.sessions[how], &stats);
	if (stats.channels != channels)
		die("%u channels instead of %u", stats.channels, channels);
	b.ns[how] = namespace_of(b.sessions[how], "t", &plain);
}

static void disconnect(void)
{
	for (int h = SOCKET; h < N_HOWS; h++) {
		gofer_namespace_free(b.ns[h]);
		gofer_session_close(b.sessions[h]);
	}
}

/* ---- an idle session ---- */

struct use {
	unsigned long rss, shared, switches;
	double cpu;
};

static struct use use_of_server(void)
{
	static struct process_list now;
	struct use u = { 0 };

	server_processes(&now);
	for (size_t i = 0; i < now.n; i++) {
		char path[64], line[512];
		FILE *f;
		DIR *d;

		u.rss += process_field(now.at[i].pid, "RssAnon");
		u.shared += process_field(now.at[i].pid, "RssShmem");
		(void)snprintf(path, sizeof(path), "/proc/%d/task", now.at[i].pid);
		d = opendir(path);
		for (const struct dirent *e; d && (e = readdir(d));)
			if (isdigit((unsigned char)e->d_name[0]))
				u.switches += process_field((pid_t)strtol(e->d_name, NULL, 10),
							    "voluntary_ctxt_switches");
		if (d)
			closedir(d);
		(void)snprintf(path, sizeof(path), "/proc/%d/schedstat", now.at[i].pid);
		f = fopen(path, "re");
		if (f && fgets(line, sizeof(line), f))
			u.cpu += (double)strtoull(line, NULL, 10) / 1e9;
		if (f)
			fclose(f);
	}
	return u;
}

static void *some_calls(void *ns)
{
	for (unsigned i = 0; i < 2000; i++)
		through_gofer(ns, i % 2 ? STAT : READ,
			      i % 2 ? "/a/b/c/d/e/f/g/f" : "/many/entry-00007");
	return NULL;
}

static int idle(unsigned seconds)
{
	struct use none = use_of_server(), socket, before, after;
	pthread_t threads[CHANNELS];
	struct timespec pause = { .tv_sec = seconds };

	connect_with(SOCKET, 0);
	some_calls(b.ns[SOCKET]);
	socket = use_of_server();
	connect_with(CHANNEL, CHANNELS);
	for (int i = 0; i < CHANNELS; i++)
		if (pthread_create(&threads[i], NULL, some_calls, b.ns[CHANNEL]) != 0)
			die("pthread_create");
	for (int i = 0; i < CHANNELS; i++)
		(void)pthread_join(threads[i], NULL);
	before = use_of_server();
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	after = use_of_server();
	printf("server memory: a session by socket %lu KiB; with %d channels %lu KiB and %lu KiB "
	       "shared\n",
	       socket.rss - none.rss, CHANNELS, before.rss - socket.rss,
	       before.shared - socket.shared);
	printf("idle for %u s with %d channels: %.6f s of CPU, %lu wake-ups of the server\n",
	       seconds, CHANNELS, after.cpu - before.cpu, after.switches - before.switches);
	disconnect();
	return check(after.cpu - before.cpu < 0.001 * seconds, "an idle session costs no CPU") ? 0
											       : 1;
}

/* ---- many threads ---- */

enum { THREADS_MS = 400, MAX_THREADS = 512 };

struct caller {
	pthread_t thread;
	enum how how;
	uint64_t until;
	size_t calls;
};

static void *caller_run(void *userdata)
{
	struct caller *c = userdata;

	while (clock_ns() < c->until) {
		if (c->how == NATIVE)
			native(STAT, "a/b/c/d/e/f/g/f");
		else
			through_gofer(b.ns[c->how], STAT, "/a/b/c/d/e/f/g/f");
		c->calls++;
	}
	return NULL;
}

static double rate(enum how how, size_t n)
{
	static struct caller callers[MAX_THREADS];
	size_t calls = 0;

	for (size_t i = 0; i < n; i++) {
		callers[i] =
			(struct caller){ .how = how,
					 .until = clock_ns() + THREADS_MS * UINT64_C(1000000) };
		if (pthread_create(&callers[i].thread, NULL, caller_run, &callers[i]) != 0)
			die("pthread_create");
	}
	for (size_t i = 0; i < n; i++) {
		(void)pthread_join(callers[i].thread, NULL);
		calls += callers[i].calls;
	}
	return (double)calls * 1000 / THREADS_MS;
}

static int threads(size_t most)
{
	printf("stat of depth 8, calls per second, by client threads\n%8s %12s %12s %12s\n",
	       "threads", "native", "socket", "channels");
	for (size_t n = 1; n <= MIN(most, (size_t)MAX_THREADS); n *= 2)
		printf("%8zu %12.0f %12.0f %12.0f\n", n, rate(NATIVE, n), rate(SOCKET, n),
		       rate(CHANNEL, n));
	return 0;
}

int main(int argc, char **argv)
{
	size_t rounds = option_number(argc, argv, "-r", 100),
	       calls = option_number(argc, argv, "-n", 100),
	       n_threads = option_number(argc, argv, "--threads", 0);
	unsigned seconds = (unsigned)option_number(argc, argv, "--idle", 0);
	cpu_set_t allowed;
	int cpus[2] = { -1, -1 };

	if (argc < 2)
		die("usage: bench_channel [-r ROUNDS] [-n CALLS] [--json] HOSTDIR");
	b.host = argv[argc - 1];
	b.json = option_set(argc, argv, "--json");
	make_files();
	if (seconds)
		return idle(seconds);
	connect_with(SOCKET, 0);
	connect_with(CHANNEL, n_threads ? 8 : 1);
	if (n_threads) {
		threads(n_threads);
		disconnect();
		return 0;
	}
	for (int w = 0; w < N_WHATS; w++)
		for (int h = 0; h < N_HOWS; h++) {
			b.series[w][h].us = calloc(rounds * calls, sizeof(double));
			if (!b.series[w][h].us)
				die("memory");
		}
	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		die("sched_getaffinity");
	for (int i = 0, n = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &allowed))
			cpus[n++] = i;
	if (cpus[1] >= 0)
		measure("client and server on two CPUs", cpus[0], cpus[1], rounds, calls);
	measure("client and server on one CPU", cpus[0], cpus[0], rounds, calls);
	measure("not pinned", -1, -1, rounds, calls);
	kill(b.slot_pid, SIGKILL);
	(void)waitpid(b.slot_pid, NULL, 0);
	disconnect();
	return proof_end();
}
