/*
 * process.c - what the client and the server's processes have used. A server is seen where it runs
 * in this PID namespace: its CPU time through the clock of each process, which needs no permission,
 * its context switches and its memory through /proc.
 */
#include "client/bench/bench.h"

#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static void add(struct process_set *set, pid_t pid)
{
	clockid_t clock;

	if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0)
		return;
	if (set->n == set->allocated) {
		size_t more = set->allocated ? 2 * set->allocated : 16;
		pid_t *pids = reallocarray(set->pids, more, sizeof(*pids));
		clockid_t *clocks;

		if (!pids)
			return;
		set->pids = pids;
		clocks = reallocarray(set->clocks, more, sizeof(*clocks));
		if (!clocks)
			return;
		set->clocks = clocks;
		set->allocated = more;
	}
	set->pids[set->n] = pid;
	set->clocks[set->n++] = clock;
}

/* Calls back with the path of each thread's directory in /proc. */
static void each_thread(pid_t pid, void (*call)(void *data, const char *path), void *data)
{
	char path[64];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	for (const struct dirent *e; tasks && (e = readdir(tasks));) {
		char task[96];

		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		snprintf(task, sizeof(task), "%s/%.20s", path, e->d_name);
		call(data, task);
	}
	if (tasks)
		closedir(tasks);
}

static void add_children(void *data, const char *task)
{
	struct process_set *set = data;
	char path[128];
	int child;
	FILE *f;

	snprintf(path, sizeof(path), "%s/children", task);
	f = fopen(path, "re");
	while (f && fscanf(f, "%d", &child) == 1)
		add(set, child);
	if (f)
		fclose(f);
}

void process_set_read(struct process_set *set, pid_t top)
{
	set->n = 0;
	add(set, top);
	for (size_t i = 0; i < set->n; i++)
		each_thread(set->pids[i], add_children, set);
}

void process_set_deinit(struct process_set *set)
{
	free(set->pids);
	free(set->clocks);
	*set = (struct process_set){ 0 };
}

/* The number after "NAME:" in a file of /proc, summed over the names given. */
static uint64_t proc_sum(const char *path, const char *const *names, size_t n)
{
	FILE *f = fopen(path, "re");
	char line[256];
	uint64_t sum = 0, value;

	while (f && fgets(line, sizeof(line), f))
		for (size_t i = 0; i < n; i++) {
			size_t len = strlen(names[i]);

			if (strncmp(line, names[i], len) == 0 && line[len] == ':' &&
			    sscanf(line + len + 1, "%" SCNu64, &value) == 1)
				sum += value;
		}
	if (f)
		fclose(f);
	return sum;
}

static void add_switches(void *data, const char *task)
{
	static const char *const names[] = { "voluntary_ctxt_switches",
					     "nonvoluntary_ctxt_switches" };
	char path[128];

	snprintf(path, sizeof(path), "%s/status", task);
	*(uint64_t *)data += proc_sum(path, names, ARRAY_SIZE(names));
}

static uint64_t clock_read(clockid_t clock)
{
	struct timespec ts;

	if (clock_gettime(clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void read_switches(const struct bench *b, struct usage *u)
{
	struct rusage self;

	if (getrusage(RUSAGE_SELF, &self) == 0)
		u->client_switches = (uint64_t)self.ru_nvcsw + (uint64_t)self.ru_nivcsw;
	u->server_switches = 0;
	for (size_t i = 0; i < b->processes.n; i++)
		each_thread(b->processes.pids[i], add_switches, &u->server_switches);
}

static void read_clocks(const struct bench *b, struct usage *u)
{
	u->server_ns = 0;
	for (size_t i = 0; i < b->processes.n; i++)
		u->server_ns += clock_read(b->processes.clocks[i]);
	u->client_ns = clock_read(CLOCK_PROCESS_CPUTIME_ID);
}

static uint64_t grown(uint64_t from, uint64_t to)
{
	/* Threads and processes end, and take their share with them. */
	return to > from ? to - from : 0;
}

/* Reading /proc takes time itself: it lies outside of what the clocks see. */
void usage_begin(const struct bench *b, struct usage *ret_begin)
{
	read_switches(b, ret_begin);
	read_clocks(b, ret_begin);
}

void usage_end(const struct bench *b, const struct usage *begin, struct usage *sum)
{
	struct usage end;

	read_clocks(b, &end);
	read_switches(b, &end);
	sum->client_ns += grown(begin->client_ns, end.client_ns);
	sum->server_ns += grown(begin->server_ns, end.server_ns);
	sum->client_switches += grown(begin->client_switches, end.client_switches);
	sum->server_switches += grown(begin->server_switches, end.server_switches);
}

uint64_t server_memory(const struct bench *b, bool *ret_exact)
{
	static const char *const pss[] = { "Pss" }, *const anonymous[] = { "RssAnon" };
	uint64_t sum = 0;

	*ret_exact = true;
	for (size_t i = 0; i < b->processes.n; i++) {
		char path[64];
		uint64_t kib;

		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", b->processes.pids[i]);
		kib = proc_sum(path, pss, 1);
		if (!kib) {
			snprintf(path, sizeof(path), "/proc/%d/status", b->processes.pids[i]);
			kib = proc_sum(path, anonymous, 1);
			*ret_exact = false;
		}
		sum += kib * 1024;
	}
	return sum;
}

uint64_t kernel_memory(void)
{
	static const char *const names[] = { "Slab", "PageTables", "KernelStack" };

	return proc_sum("/proc/meminfo", names, ARRAY_SIZE(names)) * 1024;
}
