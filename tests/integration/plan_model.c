/*
 * plan_model.c - threads of one client do everything to files at once, against a model, while writes fail, and connections and
 * processes end.
 *
 *     plan_model HOSTDIR [-n OPERATIONS] [-seed N] [-mode exclusive|writethrough|shared] [-kill client|server]
 *
 * HOSTDIR is served as filesystem "t", with descriptors for who wants them. Each thread has files of its own, under names that are
 * linked, renamed over each other, removed and made again, opened several times, mapped, read, written, cut, punched and synced; and
 * in one file of all threads every so many bytes, which are no whole pages. A byte belongs to one thread, so what it must be is
 * known exactly. All go through one session, whose page cache is smaller than the files.
 *
 * In part of the rounds Writes fail (inject.h): then a call may fail as well, and has done nothing. In part of the rounds the connection ends in the
 * middle: what the host has not got must be what gofer_at_risk() lists. With -kill, the client (a child) or the
 * server is killed with SIGKILL instead: what a call has synced must be on the host. The model is in memory that outlives the child.
 *
 * n: of each mode, of all its rounds and threads. A shared tree has no writable mappings but of descriptors.
 */
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/integration/plan_calls.h"

/* ---- a round ---- */

static void *run_thread(void *data)
{
	struct thread *t = data;
	struct plan *p = t->plan;

	for (uint64_t i = 0; i < p->steps && !ended(t); i++) {
		step(t);
		if (atomic_fetch_add(&p->done, 1) + 1 == p->cut_after && p->fate == CUT) {
			atomic_store(&p->ends, true);
			inject_end(&p->inject);
		}
	}
	return NULL;
}

static void mount_at(struct plan *p, const char *path, enum gofer_interop mode, bool donate)
{
	const struct gofer_mount_options o = {
		.interop = mode, .no_donate = !donate, .page_bytes = 1, .dirty_ms = 1
	};

	if (gofer_mount(p->ns, p->session, filesystem_id(p->session, "t"), path, &o) < 0)
		die("%s", gofer_message());
}

static void remove_all(const struct plan *p)
{
	char path[PATH_MAX];

	for (unsigned i = 0; i < N_THREADS; i++)
		for (int name = 0; name < N_NAMES; name++)
			(void)unlink(host_path(&p->threads[i], name, path));
}

static void start(struct plan *p, uint64_t seed)
{
	/* Those of another run. */
	for (unsigned i = 0; i < N_THREADS; i++) {
		p->threads[i].plan = p;
		p->threads[i].i = i;
	}
	remove_all(p);
	p->session = inject_connect(&p->inject, seed);
	if (gofer_namespace_new(&p->ns) < 0)
		die("%s", gofer_message());
	mount_at(p, "/", p->mode, false);
	if (p->mode == GOFER_INTEROP_SHARED)
		mount_at(p, "/d", p->mode, true);
	p->all.size = MOST;
	if (gofer_write_file(p->ns, "/all", "", 0, 0644, 0) < 0 ||
	    gofer_truncate(p->ns, "/all", MOST) < 0)
		die("%s", gofer_message());
	for (unsigned i = 0; i < N_THREADS; i++) {
		struct thread *t = &p->threads[i];
		bool native = p->mode == GOFER_INTEROP_SHARED && i == 0;

		t->seed = (seed + i) * 2654435761u | 1;
		for (unsigned name = 0; name < N_NAMES; name++)
			do_make(t, name);
		if (gofer_open(p->ns, native ? "/d/all" : "/all", O_RDWR, 0,
			       &t->files[N_FILES - 1].file) < 0)
			die("%s", gofer_message());
		t->files[N_FILES - 1].content = &p->all;
		t->files[N_FILES - 1].access = O_RDWR;
		t->files[N_FILES - 1].native = native;
	}
	p->all.links = 1;
	p->inject.one_in = p->fate == FAILURES ? 4 : 0;
}

static void run_threads(struct plan *p)
{
	for (unsigned i = 0; i < N_THREADS; i++)
		if (pthread_create(&p->threads[i].thread, NULL, run_thread, &p->threads[i]) != 0)
			die("pthread_create");
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(p->threads[i].thread, NULL);
}

struct looked_for {
	uint64_t dev, ino;
	bool risk[MOST];
};

static void note_risk(void *userdata, const struct gofer_risk *risk)
{
	struct looked_for *l = userdata;

	if (risk->ino != l->ino || risk->dev != l->dev)
		return;
	for (uint64_t i = risk->offset; i < risk->offset + risk->length && i < MOST; i++)
		l->risk[i] = true;
}

/* The connection is gone: what is not on the host is what the client says. */
static void compare_risks(struct thread *t, struct content *c, int name)
{
	struct looked_for l = { 0 };
	char path[PATH_MAX];
	struct stat st;
	size_t last = 0;

	if (stat(host_path(t, name, path), &st) < 0)
		wrong(t, "%s: %s", path, strerror(errno));
	l.dev = st.st_dev;
	l.ino = st.st_ino;
	if (gofer_at_risk(t->plan->session, note_risk, &l) < 0)
		wrong(t, "gofer_at_risk");
	for (size_t i = 0; i < c->size; i++)
		if (l.risk[i])
			last = i + 1;
	/* A hole before it shows when it is there. */
	c->size_late = (size_t)st.st_size < c->size && last == c->size;
	compare_host(t, c, name, l.risk);
}

static void stop(struct plan *p)
{
	bool gone = gofer_session_status(p->session) < 0;

	p->inject.one_in = 0;
	for (unsigned i = 0; i < N_THREADS; i++) {
		struct thread *t = &p->threads[i];

		for (unsigned name = 0; gone && name < N_NAMES; name++)
			if (t->names[name] && !t->unsure[name])
				compare_risks(t, t->names[name], (int)name);
		if (gone)
			compare_risks(t, &p->all, -1);
	}
	for (unsigned i = 0; i < N_THREADS; i++) {
		struct thread *t = &p->threads[i];

		for (unsigned k = 0; k < N_MAPS; k++)
			if (t->maps[k].addr)
				do_unmap(t, k);
		for (unsigned k = 0; k < N_FILES; k++)
			(void)gofer_close(t->files[k].file);
	}
	if (!gone &&
	    (gofer_session_sync(p->session) < 0 || gofer_at_risk(p->session, NULL, NULL) != 0))
		die("what was written could not be sent: %s", gofer_message());
	for (unsigned i = 0; !gone && i < N_THREADS; i++) {
		struct thread *t = &p->threads[i];

		note(t, "at the end");
		for (unsigned name = 0; name < N_NAMES; name++)
			if (t->names[name]) {
				settled(t, t->names[name], 0, MOST);
				compare_host(t, t->names[name], (int)name, NULL);
			}
		settled(t, &p->all, 0, MOST);
		compare_host(t, &p->all, -1, NULL);
	}
	gofer_namespace_free(p->ns);
	gofer_session_close(p->session);
	inject_stop(&p->inject);
}

static struct plan *plan_new(const char *host, enum gofer_interop mode, enum fate fate)
{
	struct plan *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	p->host = host;
	p->mode = mode;
	p->fate = fate;
	return p;
}

struct sum {
	uint64_t operations, compared, refused, failed, cut_short, held_back, ends;
};

static void add(struct sum *sum, struct plan *p)
{
	for (unsigned i = 0; i < N_THREADS; i++) {
		sum->operations += p->threads[i].operations;
		sum->compared += p->threads[i].compared;
		sum->refused += p->threads[i].refused;
	}
	sum->failed += p->inject.failed;
	sum->cut_short += p->inject.cut_short;
	sum->held_back += p->inject.held_back;
	sum->ends += p->fate == CUT;
	munmap(p, sizeof(*p));
}

static void run(const char *host, enum gofer_interop mode, uint64_t seed, uint64_t operations)
{
	static const enum fate fates[] = { NOTHING, FAILURES, FAILURES, CUT };
	struct sum sum = { 0 };

	for (uint64_t round = 0; sum.operations < operations; round++) {
		struct plan *p = plan_new(host, mode, fates[round % ARRAY_SIZE(fates)]);

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		p->steps = MIN((uint64_t)ROUND, operations / (2 * ARRAY_SIZE(fates)) + 50);
		p->cut_after = p->steps + seed % p->steps;
		start(p, seed >> 16);
		run_threads(p);
		stop(p);
		add(&sum, p);
	}
	/* Of few, it may be that none met a Write. */
	check(sum.compared && sum.ends &&
		      (operations < 20000 || (sum.failed && sum.cut_short && sum.held_back)),
	      "%s: %lu operations of %u threads, %lu times compared; %lu Writes failed, %lu were "
	      "cut "
	      "short, %lu overtaken, %lu calls refused, %lu connections ended",
	      modes[mode], sum.operations, N_THREADS, sum.compared, sum.failed, sum.cut_short,
	      sum.held_back, sum.refused, sum.ends);
}

/* ---- who is killed ---- */

static void *kill_when(void *data)
{
	struct plan *p = data;

	while (atomic_load(&p->done) < p->cut_after)
		sched_yield();
	atomic_store(&p->ends, true);
	server_kill();
	return NULL;
}

static void run_kill_server(const char *host, enum gofer_interop mode, uint64_t seed)
{
	struct plan *p = plan_new(host, mode, KILL_SERVER);
	struct sum sum = { 0 };
	pthread_t killer;

	p->steps = UINT64_MAX;
	p->cut_after = 300 + seed % ROUND;
	start(p, seed);
	if (pthread_create(&killer, NULL, kill_when, p) != 0)
		die("pthread_create");
	run_threads(p);
	pthread_join(killer, NULL);
	stop(p);
	add(&sum, p);
	check(true, "%s: the server was killed after %lu operations; what it had not got was known",
	      modes[mode], sum.operations);
}

static void run_kill_client(const char *host, enum gofer_interop mode, uint64_t seed)
{
	struct plan *p = plan_new(host, mode, KILL_CLIENT);
	struct sum sum = { 0 };
	int status;
	pid_t client;

	p->steps = UINT64_MAX;
	p->cut_after = 300 + seed % ROUND;
	client = fork();
	if (client == 0) {
		start(p, seed);
		run_threads(p);
		_exit(1);
	}
	while (atomic_load(&p->done) < p->cut_after && waitpid(client, &status, WNOHANG) == 0)
		sched_yield();
	kill(client, SIGKILL);
	if (waitpid(client, &status, 0) == client &&
	    (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL))
		die("the client ended with status %x", status);
	for (unsigned i = 0; i < N_THREADS; i++) {
		struct thread *t = &p->threads[i];

		for (int name = 0; name < N_NAMES; name++)
			if (t->names[name] && !t->unsure[name])
				compare_host(t, t->names[name], name, NULL);
		compare_host(t, &p->all, -1, NULL);
	}
	add(&sum, p);
	check(true, "%s: the client was killed after %lu operations; what it had synced was there",
	      modes[mode], sum.operations);
}

int main(int argc, char **argv)
{
	const char *host = argc > 1 ? argv[1] : NULL, *mode = NULL, *victim = NULL;
	uint64_t n = option_number(argc, argv, "-n", 20000);
	uint64_t seed = option_number(argc, argv, "-seed", clock_ns() | 1);
	struct sigaction act = { .sa_handler = on_bus };

	if (!host)
		die("usage: plan_model HOSTDIR [-n OPERATIONS] [-seed N] [-mode MODE] [-kill WHO]");
	for (int i = 2; i + 1 < argc; i++) {
		if (!strcmp(argv[i], "-mode"))
			mode = argv[i + 1];
		if (!strcmp(argv[i], "-kill"))
			victim = argv[i + 1];
	}
	(void)umask(0);
	sigaction(SIGBUS, &act, NULL);
	printf("seed %lu\n", seed);
	fflush(stdout);
	for (unsigned i = ARRAY_SIZE(modes); i-- > 0;) {
		if (mode && strcmp(mode, modes[i]))
			continue;
		if (!victim)
			run(host, (enum gofer_interop)i, seed + i, n);
		else if (!strcmp(victim, "client"))
			run_kill_client(host, (enum gofer_interop)i, seed + i);
		else
			run_kill_server(host, (enum gofer_interop)i, seed + i);
	}
	return proof_end();
}
