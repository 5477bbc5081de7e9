/*
 * bench_latency.c - what an RPC costs, as ratios within one run.
 *
 * Absolute times of a virtual machine mean little tomorrow, so everything is measured beside what
 * it must be compared with, in rounds that take turns, so that a noisy second hits all of them:
 *
 *     native     the system call itself on the same file
 *     ping-pong  two processes that pass packets of the same sizes over the same kind of socket
 *     raw        gofer_call(): the RPC without a namespace
 *     gofer      the namespace's call, as a program makes it
 *
 * three times: client and server on one CPU, on two, and wherever the scheduler puts them. The
 * server's threads and the ping-pong's other process are placed the same way. Goals: depth 8
 * within 1.25 of depth 1, and Stat within 1.5 of ping-pong plus native.
 *
 *     bench_latency [-r ROUNDS] [-n CALLS_PER_ROUND] [--json] HOSTDIR      served as "t"
 *     bench_latency --count CALLS       waits for a line on stdin, makes that many Stat calls: for
 * strace
 */
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "proto/rpc.h"
#include "tests/integration/raw.h"

enum { SHALLOW, DEEP, N_DEPTHS };
static const char *const files[N_DEPTHS] = { "f", "a/b/c/d/e/f/g/f" };

enum what {
	NATIVE_STAT,
	PING_STAT,
	RAW_STAT,
	GOFER_STAT,
	NATIVE_OPEN,
	PING_OPEN,
	RAW_OPEN,
	GOFER_OPEN,
	PING_DONATED,
	GOFER_DONATED,
	NATIVE_READ,
	GOFER_READ,
	N_WHATS,
};

static const char *const what_names[N_WHATS] = {
	"stat, native",
	"  ping-pong of Stat's packets",
	"  Stat, gofer_call",
	"  Stat, gofer_stat",
	"open+close, native",
	"  ping-pong of Open's packets",
	"  Open+Close, gofer_call",
	"  Open+Close, gofer_open",
	"  ping-pong, with a descriptor",
	"  Open+Close, donated descriptor",
	"open+read 4 KiB+close, native",
	"  ReadFile, gofer_read_file",
};

struct series {
	double *us;
	size_t n;
	double p50, p99;
};

static struct {
	const char *host;
	struct gofer_session *session;
	struct gofer_namespace *plain, *donated;
	uint32_t fs_id;
	pid_t worker;
	int echo; /* our end of the ping-pong */
	pid_t echo_pid;
	int echo_fd; /* what the other end passes on demand */
	size_t request_size[N_WHATS][N_DEPTHS], reply_size[N_WHATS][N_DEPTHS];
	struct series series[N_WHATS][N_DEPTHS];
	bool json;
} b;

/* ---- placement ---- */

static void pin(pid_t pid, int cpu)
{
	cpu_set_t set;
	char path[64];
	DIR *d;

	CPU_ZERO(&set);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (cpu < 0 || i == cpu)
			CPU_SET(i, &set);
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	for (const struct dirent *e; d && (e = readdir(d));)
		if (isdigit((unsigned char)e->d_name[0]) &&
		    sched_setaffinity((pid_t)strtol(e->d_name, NULL, 10), sizeof(set), &set) < 0)
			die("sched_setaffinity of %s/%s: %s", path, e->d_name, strerror(errno));
	if (d)
		closedir(d);
}

/* Which of a process's threads did the work, and where. */
struct task_use {
	int tid, cpu;
	unsigned long switches;
};

static size_t tasks_of(pid_t pid, struct task_use *use, size_t max)
{
	char path[320], line[1024];
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	for (const struct dirent *e; d && (e = readdir(d)) && n < max;) {
		const char *p;
		FILE *f;

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		use[n] = (struct task_use){ .tid = (int)strtol(e->d_name, NULL, 10), .cpu = -1 };
		snprintf(path, sizeof(path), "/proc/%d/task/%.32s/stat", pid, e->d_name);
		f = fopen(path, "re");
		if (f && fgets(line, sizeof(line), f) && (p = strrchr(line, ')'))) {
			for (int field = 2; p && field < 39; field++)
				p = strchr(p + 1, ' ');
			use[n].cpu = p ? (int)strtol(p, NULL, 10) : -1;
		}
		if (f)
			fclose(f);
		use[n].switches = process_field(use[n].tid, "voluntary_ctxt_switches");
		n++;
	}
	if (d)
		closedir(d);
	return n;
}

/* ---- the ping-pong's other side ---- */

struct echo_request {
	uint32_t reply_size;
	uint32_t descriptor;
};

static void echo_run(int sock, int fd)
{
	static uint8_t buf[FRAME_MAX_PACKET];
	const struct echo_request *q = (const void *)buf;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		ssize_t n = recv(sock, buf, sizeof(buf), 0);

		if (n < (ssize_t)sizeof(*q) ||
		    raw_send(sock, buf, q->reply_size, &fd, q->descriptor, 0) < 0)
			_exit(0);
	}
}

static void echo_start(void)
{
	char path[PATH_MAX];
	int pair[2];

	snprintf(path, sizeof(path), "%s/f", b.host);
	b.echo_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (b.echo_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		die("ping-pong");
	b.echo_pid = fork();
	if (b.echo_pid < 0)
		die("fork");
	if (b.echo_pid == 0)
		echo_run(pair[1], b.echo_fd);
	close(pair[1]);
	b.echo = pair[0];
}

static void ping(enum what as, int depth, bool descriptor)
{
	static uint8_t buf[FRAME_MAX_PACKET];
	struct echo_request *q = (void *)buf;
	int fd;

	*q = (struct echo_request){ (uint32_t)b.reply_size[as][depth], descriptor };
	if (raw_send(b.echo, buf, b.request_size[as][depth], NULL, 0, 0) < 0)
		die("ping");
	if (descriptor) {
		/* As the library: one recvmsg, without asking first. */
		struct iovec iov = { buf, sizeof(buf) };
		char control[CMSG_SPACE(sizeof(int))];
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control) };

		if (recvmsg(b.echo, &msg, MSG_CMSG_CLOEXEC) < 0 || !CMSG_FIRSTHDR(&msg))
			die("pong");
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
		close(fd);
	} else if (recv(b.echo, buf, sizeof(buf), 0) < 0) {
		die("pong");
	}
}

/* ---- the calls ---- */

static const char *host_path(int depth)
{
	static char text[N_DEPTHS][PATH_MAX];

	if (!text[depth][0])
		snprintf(text[depth], PATH_MAX, "%s/%s", b.host, files[depth]);
	return text[depth];
}

static const char *guest_path(int depth)
{
	static const char *const text[N_DEPTHS] = { "/f", "/a/b/c/d/e/f/g/f" };

	return text[depth];
}

static void raw_stat(int depth)
{
	Gofer__Path p = GOFER__PATH__INIT;
	Gofer__StatRequest q = GOFER__STAT_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Stat, .message = (void *)&q, .fd = -1 };
	struct gofer_reply reply;

	p.fs_id = b.fs_id;
	p.path = (ProtobufCBinaryData){ strlen(files[depth]), (uint8_t *)files[depth] };
	p.follow = 8;
	q.path = &p;
	if (gofer_call(b.session, &request, &reply) < 0)
		die("Stat: %s", gofer_message());
	gofer_reply_free(&reply);
}

static void raw_open(int depth)
{
	Gofer__Path p = GOFER__PATH__INIT;
	Gofer__OpenRequest q = GOFER__OPEN_REQUEST__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Open, .message = (void *)&q, .fd = -1 };
	struct gofer_reply reply;

	p.fs_id = b.fs_id;
	p.path = (ProtobufCBinaryData){ strlen(files[depth]), (uint8_t *)files[depth] };
	p.follow = 8;
	q.path = &p;
	q.flags = GOFER__OPEN_FLAG__OPEN_READ;
	if (gofer_call(b.session, &request, &reply) < 0)
		die("Open: %s", gofer_message());
	gofer_handle_close(b.session, ((Gofer__OpenReply *)(void *)reply.message)->handle);
	gofer_reply_free(&reply);
}

static void open_close(struct gofer_namespace *ns, int depth)
{
	struct gofer_file *file;

	if (gofer_open(ns, guest_path(depth), O_RDONLY, 0, &file) < 0)
		die("open: %s", gofer_message());
	(void)gofer_close(file);
}

static void call(enum what w, int depth)
{
	static char buf[4096];
	struct stat st;
	void *data;
	size_t size;
	int fd;

	switch (w) {
	case NATIVE_STAT:
		if (fstatat(AT_FDCWD, host_path(depth), &st, 0) < 0)
			die("stat");
		return;
	case PING_STAT:
		ping(RAW_STAT, depth, false);
		return;
	case RAW_STAT:
		raw_stat(depth);
		return;
	case GOFER_STAT:
		if (gofer_stat(b.plain, guest_path(depth), 0, &st) < 0)
			die("gofer_stat: %s", gofer_message());
		return;
	case NATIVE_OPEN:
	case NATIVE_READ:
		fd = open(host_path(depth), O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (w == NATIVE_READ && read(fd, buf, sizeof(buf)) != sizeof(buf)))
			die("open");
		close(fd);
		return;
	case PING_OPEN:
		ping(RAW_OPEN, depth, false);
		return;
	case RAW_OPEN:
		raw_open(depth);
		return;
	case GOFER_OPEN:
		open_close(b.plain, depth);
		return;
	case PING_DONATED:
		ping(GOFER_DONATED, depth, true);
		return;
	case GOFER_DONATED:
		open_close(b.donated, depth);
		return;
	case GOFER_READ:
		if (gofer_read_file(b.plain, guest_path(depth), &data, &size, NULL) < 0 ||
		    size != sizeof(buf))
			die("gofer_read_file: %s", gofer_message());
		free(data);
		return;
	case N_WHATS:
		return;
	}
}

/* How large the packets of a call are: from the session's own counters, over many calls. */
static void learn_sizes(void)
{
	enum { CALLS = 64 };

	for (int w = 0; w < N_WHATS; w++)
		for (int d = 0; d < N_DEPTHS; d++) {
			struct gofer_stats before, after;

			if (w == PING_STAT || w == PING_OPEN || w == PING_DONATED)
				continue;
			call(w, d);
			gofer_session_get_stats(b.session, &before);
			for (int i = 0; i < CALLS; i++)
				call(w, d);
			gofer_session_get_stats(b.session, &after);
			b.request_size[w][d] = MAX((after.bytes_out - before.bytes_out) / CALLS,
						   sizeof(struct echo_request));
			b.reply_size[w][d] = (after.bytes_in - before.bytes_in) / CALLS;
		}
}

/* ---- measuring ---- */

static int compare_doubles(const void *x, const void *y)
{
	double a = *(const double *)x, c = *(const double *)y;

	return (a > c) - (a < c);
}

static void summarise(struct series *s)
{
	qsort(s->us, s->n, sizeof(*s->us), compare_doubles);
	s->p50 = s->us[s->n / 2];
	s->p99 = s->us[s->n * 99 / 100];
	s->n = 0;
}

static double ratio(double a, double c)
{
	return c > 0 ? a / c : 0;
}

static void print_json(const char *placement)
{
	for (int w = 0; w < N_WHATS; w++)
		for (int d = 0; d < N_DEPTHS; d++)
			printf("{\"placement\":\"%s\",\"what\":\"%s\",\"depth\":%d,\"p50_us\":%.3f,"
			       "\"p99_us\":%.3f,\"request_bytes\":%zu,\"reply_bytes\":%zu}\n",
			       placement, what_names[w] + strspn(what_names[w], " "), d ? 8 : 1,
			       b.series[w][d].p50, b.series[w][d].p99, b.request_size[w][d],
			       b.reply_size[w][d]);
}

static double median(enum what w, int d)
{
	return b.series[w][d].p50;
}

static void print_table(const char *placement)
{
	static const struct {
		enum what what, bare, native;
	} goals[] = { { RAW_STAT, PING_STAT, NATIVE_STAT },
		      { GOFER_STAT, PING_STAT, NATIVE_STAT },
		      { RAW_OPEN, PING_OPEN, NATIVE_OPEN },
		      { GOFER_OPEN, PING_OPEN, NATIVE_OPEN },
		      { GOFER_DONATED, PING_DONATED, NATIVE_OPEN } };

	printf("\n%s\n%-34s %9s %9s %9s %9s %8s %18s\n", placement, "microseconds", "depth 1",
	       "p99", "depth 8", "p99", "8 / 1", "/ (ping+native)");
	for (int w = 0; w < N_WHATS; w++) {
		printf("%-34s %9.2f %9.2f %9.2f %9.2f %8.2f", what_names[w], b.series[w][0].p50,
		       b.series[w][0].p99, b.series[w][1].p50, b.series[w][1].p99,
		       ratio(median(w, 1), median(w, 0)));
		for (size_t g = 0; g < ARRAY_SIZE(goals); g++)
			if (goals[g].what == (enum what)w)
				printf("      %5.2f    %5.2f",
				       ratio(median(w, 0),
					     median(goals[g].bare, 0) + median(goals[g].native, 0)),
				       ratio(median(w, 1), median(goals[g].bare, 1) +
								   median(goals[g].native, 1)));
		printf("\n");
	}
	printf("packets: Stat %zu/%zu bytes at depth 1, %zu/%zu at 8; Open (with the Close before "
	       "it) %zu/%zu, %zu/%zu\n",
	       b.request_size[RAW_STAT][0], b.reply_size[RAW_STAT][0], b.request_size[RAW_STAT][1],
	       b.reply_size[RAW_STAT][1], b.request_size[RAW_OPEN][0], b.reply_size[RAW_OPEN][0],
	       b.request_size[RAW_OPEN][1], b.reply_size[RAW_OPEN][1]);
}

static void print_threads(const struct task_use *before, size_t n_before)
{
	struct task_use after[64];
	size_t n = tasks_of(b.worker, after, ARRAY_SIZE(after));

	printf("threads: client %d on CPU %d; server's worker %d:", getpid(), sched_getcpu(),
	       b.worker);
	for (size_t i = 0; i < n; i++) {
		unsigned long was = 0;

		for (size_t k = 0; k < n_before; k++)
			if (before[k].tid == after[i].tid)
				was = before[k].switches;
		if (after[i].switches > was)
			printf(" %d on CPU %d (%lu wake-ups)", after[i].tid, after[i].cpu,
			       after[i].switches - was);
	}
	printf("; %zu threads in all\n", n);
}

static void measure(const char *placement, int client_cpu, int server_cpu, size_t rounds,
		    size_t calls)
{
	struct task_use before[64];
	size_t n_before;

	pin(getpid(), client_cpu);
	pin(b.worker, server_cpu);
	pin(b.echo_pid, server_cpu);
	n_before = tasks_of(b.worker, before, ARRAY_SIZE(before));
	for (size_t r = 0; r < rounds; r++)
		for (int w = 0; w < N_WHATS; w++)
			for (int d = 0; d < N_DEPTHS; d++) {
				struct series *s = &b.series[w][d];

				call(w, d);
				for (size_t i = 0; i < calls; i++) {
					uint64_t start = clock_ns();

					call(w, d);
					s->us[s->n++] = (double)(clock_ns() - start) / 1000;
				}
			}
	for (int w = 0; w < N_WHATS; w++)
		for (int d = 0; d < N_DEPTHS; d++)
			summarise(&b.series[w][d]);
	if (b.json) {
		print_json(placement);
		return;
	}
	print_table(placement);
	print_threads(before, n_before);
}

/* ---- throughput ---- */

static double seconds_since(uint64_t start)
{
	return (double)(clock_ns() - start) / 1e9;
}

static void throughput_line(const char *what, double seconds, double native, double amount,
			    const char *unit)
{
	if (b.json)
		printf("{\"what\":\"%s\",\"seconds\":%.6f,\"native_seconds\":%.6f,\"amount\":%.0f,"
		       "\"unit\":\"%s\"}\n",
		       what, seconds, native, amount, unit);
	else
		printf("%-44s %8.2f ms %10.0f %s/s %8.2f times the native %.2f ms\n", what,
		       seconds * 1e3, amount / seconds, unit, ratio(seconds, native), native * 1e3);
}

static double native_list(const char *path)
{
	uint64_t start = clock_ns();
	DIR *d = opendir(path);
	struct stat st;

	for (const struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.')
			(void)fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW);
	if (d)
		closedir(d);
	return seconds_since(start);
}

static double gofer_list(size_t expected)
{
	uint64_t start = clock_ns();
	struct gofer_dirent e;
	struct gofer_dir *d;
	size_t n = 0;

	if (gofer_opendir(b.plain, "/many", 0, &d) < 0)
		die("opendir: %s", gofer_message());
	while (gofer_readdir(d, &e) > 0)
		n += e.has_stat;
	gofer_closedir(d);
	if (n != expected)
		die("ReadDir: %zu entries of %zu", n, expected);
	return seconds_since(start);
}

static double gofer_stream(struct gofer_namespace *ns, size_t size)
{
	_cleanup_free_ char *buf = malloc(1 << 20);
	struct gofer_file *file;
	uint64_t start;
	size_t got = 0;
	ssize_t n;

	if (!buf || gofer_open(ns, "/large", O_RDONLY, 0, &file) < 0)
		die("large: %s", gofer_message());
	start = clock_ns();
	while ((n = gofer_read(file, buf, 1 << 20)) > 0)
		got += (size_t)n;
	(void)gofer_close(file);
	if (got != size)
		die("read %zu of %zu bytes", got, size);
	return seconds_since(start);
}

static double native_stream(const char *path)
{
	_cleanup_free_ char *buf = malloc(1 << 20);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t start = clock_ns();

	if (!buf || fd < 0)
		die("%s", path);
	while (read(fd, buf, 1 << 20) > 0)
		continue;
	close(fd);
	return seconds_since(start);
}

static void throughput(void)
{
	enum { ENTRIES = 10000, LARGE = 64 << 20, TIMES = 5 };
	double best[5] = { 1e9, 1e9, 1e9, 1e9, 1e9 };
	char path[PATH_MAX], name[PATH_MAX];
	_cleanup_free_ char *block = calloc(1, 1 << 20);
	int fd;

	snprintf(path, sizeof(path), "%s/many", b.host);
	(void)mkdir(path, 0755);
	for (int i = 0; i < ENTRIES; i++) {
		snprintf(name, sizeof(name), "%.3000s/entry-%05d", path, i);
		fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
		fd_close(fd);
	}
	snprintf(name, sizeof(name), "%.3000s/large", b.host);
	fd = open(name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
	for (int i = 0; i < LARGE >> 20; i++)
		if (!block || write(fd, block, 1 << 20) != 1 << 20)
			die("write %s", name);
	fd_close(fd);
	for (int i = 0; i < TIMES; i++) {
		best[0] = MIN(best[0], native_list(path));
		best[1] = MIN(best[1], gofer_list(ENTRIES));
		best[2] = MIN(best[2], native_stream(name));
		best[3] = MIN(best[3], gofer_stream(b.plain, LARGE));
		best[4] = MIN(best[4], gofer_stream(b.donated, LARGE));
	}
	if (!b.json)
		printf("\nthroughput, unpinned (best of %d)\n", TIMES);
	throughput_line("ReadDir, 10,000 entries with attributes", best[1], best[0], ENTRIES,
			"entries");
	throughput_line("read 64 MiB in 1 MiB calls, Read RPCs", best[3], best[2], LARGE >> 20,
			"MiB");
	throughput_line("read 64 MiB in 1 MiB calls, donated", best[4], best[2], LARGE >> 20,
			"MiB");
}

/* ---- start ---- */

static void find_worker(const struct process_list *before)
{
	static struct process_list now;

	server_processes(&now);
	for (size_t i = 0; i < now.n; i++)
		if (!process_find(before, now.at[i].pid))
			b.worker = now.at[i].pid;
	if (!b.worker)
		die("which process of the server serves us?");
}

static void connect_all(void)
{
	static struct process_list before;
	const struct gofer_mount_options plain = { .no_donate = true };

	server_processes(&before);
	b.session = session_connect();
	find_worker(&before);
	b.fs_id = filesystem_id(b.session, "t");
	b.plain = namespace_of(b.session, "t", &plain);
	b.donated = namespace_of(b.session, "t", NULL);
}

static int count_calls(size_t n)
{
	char line[8];

	connect_all();
	raw_stat(DEEP);
	printf("%d %d\n", getpid(), b.worker);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	for (size_t i = 0; i < n; i++)
		raw_stat(DEEP);
	printf("done\n");
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) ? 0 : 1;
}

static void make_files(void)
{
	char path[PATH_MAX];
	static const char zeros[4096];

	for (int d = 0; d < N_DEPTHS; d++) {
		int fd;

		snprintf(path, sizeof(path), "%.3000s/%s", b.host, files[d]);
		for (char *p = path + strlen(b.host) + 1; (p = strchr(p, '/')); p++) {
			*p = '\0';
			(void)mkdir(path, 0755);
			*p = '/';
		}
		fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, zeros, sizeof(zeros)) != sizeof(zeros))
			die("%s: %s", path, strerror(errno));
		close(fd);
	}
}

int main(int argc, char **argv)
{
	size_t rounds = option_number(argc, argv, "-r", 120),
	       calls = option_number(argc, argv, "-n", 50);
	size_t count = option_number(argc, argv, "--count", 0);
	cpu_set_t allowed;
	int cpus[2] = { -1, -1 };

	if (argc < 2)
		die("usage: bench_latency [-r ROUNDS] [-n CALLS] [--json] HOSTDIR");
	b.host = argv[argc - 1];
	b.json = option_set(argc, argv, "--json");
	if (count)
		return count_calls(count);
	make_files();
	echo_start();
	connect_all();
	for (int w = 0; w < N_WHATS; w++)
		for (int d = 0; d < N_DEPTHS; d++) {
			b.series[w][d].us = calloc(rounds * calls, sizeof(double));
			if (!b.series[w][d].us)
				die("memory");
		}
	learn_sizes();
	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		die("sched_getaffinity");
	for (int i = 0, n = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &allowed))
			cpus[n++] = i;
	measure("client and server on one CPU", cpus[0], cpus[0], rounds, calls);
	if (cpus[1] >= 0)
		measure("client and server on two CPUs", cpus[0], cpus[1], rounds, calls);
	measure("not pinned", -1, -1, rounds, calls);
	throughput();
	kill(b.echo_pid, SIGKILL);
	(void)waitpid(b.echo_pid, NULL, 0);
	gofer_namespace_free(b.plain);
	gofer_namespace_free(b.donated);
	gofer_session_close(b.session);
	return proof_end();
}
