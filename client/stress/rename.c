/*
 * rename.c - gofer stress rename: requests race with whoever changes the tree under them.
 *
 * The run is a sequence of rounds. In each, one kind of attacker works on one tree of one server:
 *
 *     outside     a process of its own, by system calls, on another CPU than server and client
 *     second      another client of the same server, by requests; each session on a CPU of its own
 *     pipelined   the same client, whose moves and requests are in flight together
 *
 * Servers take turns: as shipped (all layers), alone (its traversal and nothing else; subject.h),
 * and the unsafe twin, without whose escapes the run would show nothing. Between two rounds
 * everybody rests, the outside is compared with what it was, and the tree is made again.
 *
 * Processes, all forked by the controller: the outside attacker, the victim, the second client and
 * the pipelined client. Each is told a round through a socket of its own, works until the number of
 * the round changes, and answers with a byte. So a process that dies is noticed, and nobody looks at
 * a clock to know whether the others are done.
 */
#include "client/stress/race.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "common/packet.h"

enum { ROUND_MS = 500, ROUND_MIN_MS = 60, TICK_MS = 20, TWIN_SHARE = 4, PATIENCE_S = 60 };

/* A run that would show nothing goes on, but not for ever. */
enum { LONGER = 60 };

/* ---- the controller ---- */

static int start_players(struct race *race)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };

	for (enum role role = 0; role < ROLE_COUNT; role++) {
		int pair[2];
		pid_t pid;

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
			return -errno;
		fflush(NULL);
		pid = fork();
		if (pid < 0)
			return -errno;
		if (pid == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			(void)signal(SIGINT, SIG_IGN);
			(void)signal(SIGTERM, SIG_IGN);
			for (enum role other = 0; other < role; other++)
				close(race->processes[other].sock);
			close(pair[0]);
			_exit(player_main(race, role, pair[1]));
		}
		close(pair[1]);
		(void)setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		race->processes[role].pid = pid;
		race->processes[role].sock = pair[0];
	}
	return 0;
}

/* Waits until every player has said that it is there. */
static int await_players(struct race *race)
{
	char byte;

	for (enum role role = 0; role < ROLE_COUNT; role++) {
		ssize_t n;

		do
			n = recv(race->processes[role].sock, &byte, 1, 0);
		while (n < 0 && errno == EINTR);
		if (n == 1)
			continue;
		if (!race->shared->tally.failed++)
			snprintf(race->shared->tally.failure, sizeof(race->shared->tally.failure),
				 n < 0 ? "a process of the run does not come to rest"
				       : "a process of the run ended early");
		return -ECHILD;
	}
	return 0;
}

static int tell_players(struct race *race, const struct round *round)
{
	for (enum role role = 0; role < ROLE_COUNT; role++)
		if (race->processes[role].pid > 0 &&
		    send(race->processes[role].sock, round, sizeof(*round), MSG_NOSIGNAL) < 0)
			return -errno;
	return 0;
}

static void end_players(struct race *race)
{
	const struct round none = { .number = 0 };

	race->shared->number = 0;
	(void)tell_players(race, &none);
	for (enum role role = 0; role < ROLE_COUNT; role++) {
		int status = 0;

		if (race->processes[role].pid <= 0)
			continue;
		if (race->shared->tally.failed)
			(void)kill(race->processes[role].pid, SIGKILL);
		while (waitpid(race->processes[role].pid, &status, 0) < 0 && errno == EINTR)
			;
		close(race->processes[role].sock);
		if (status && !race->shared->tally.failed++)
			snprintf(race->shared->tally.failure, sizeof(race->shared->tally.failure),
				 "a process of the run ended with status %d", status);
	}
}

/* What nobody may have done by now. True where the outside is not what it was. */
static bool look_around(struct race *race, const struct round *round)
{
	struct subject *s = &race->subjects[round->subject];
	struct subject_tally *t = &race->shared->tally.subjects[round->subject];
	char words[400];

	for (enum role role = ROLE_VICTIM; role < ROLE_COUNT; role++) {
		pid_t worker = race->shared->workers[round->subject][role];
		unsigned held = worker ? descriptors_outside(s, worker, words, sizeof(words)) : 0;

		t->samples += worker != 0;
		t->held += held;
		if (held)
			tally_evidence(&race->shared->tally, s->label, "descriptors", words);
	}
	if (ground_audit(&s->ground, true, words, sizeof(words)) == 0)
		return false;
	return true;
}

static void note_damage(struct race *race, const struct round *round)
{
	struct subject *s = &race->subjects[round->subject];
	char words[400];

	if (ground_audit(&s->ground, true, words, sizeof(words)) == 0)
		return;
	race->shared->tally.subjects[round->subject].audits++;
	tally_evidence(&race->shared->tally, s->label, "audit of the outside", words);
}

static void note_sample(struct race *race, const struct round *round, uint64_t elapsed,
			uint64_t slice, struct column *last)
{
	struct subject_tally *t = &race->shared->tally.subjects[round->subject];
	struct column *c = tally_column(&race->shared->tally, round->subject, elapsed);
	uint64_t ops = tally_ops(t), escapes = tally_escapes(t);
	uint64_t longest = atomic_exchange(&t->recent_longest_ns, 0);

	c->ops += ops - last->ops;
	c->escapes += escapes - last->escapes;
	c->late += t->late - last->late;
	c->active_ns += slice;
	c->longest_ns = MAX(c->longest_ns, longest);
	last->ops = ops;
	last->escapes = escapes;
	last->late = t->late;
	t->active_ns += slice;
}

static uint64_t product_ops(const struct race *race)
{
	uint64_t n = 0;

	for (size_t i = 0; i + 1 < race->n_subjects; i++)
		n += tally_ops(&race->shared->tally.subjects[i]);
	return n;
}

static void show_progress(const struct race *race, const struct round *round, uint64_t elapsed)
{
	const struct subject_tally *twin = &race->shared->tally.subjects[race->n_subjects - 1];
	uint64_t escapes = 0;

	for (size_t i = 0; i + 1 < race->n_subjects; i++)
		escapes += tally_escapes(&race->shared->tally.subjects[i]);
	fprintf(stderr,
		"\r\033[K%5.1f s  %s/%s: %llu requests, %llu escapes; twin: %llu requests, %llu "
		"escapes",
		(double)elapsed / 1e9, race->subjects[round->subject].label,
		attacker_names[round->attacker], (unsigned long long)product_ops(race),
		(unsigned long long)escapes, (unsigned long long)tally_ops(twin),
		(unsigned long long)tally_escapes(twin));
}

static int run_round(struct race *race, struct round *round, uint64_t begin, uint64_t length)
{
	struct subject *s = &race->subjects[round->subject];
	struct subject_tally *t = &race->shared->tally.subjects[round->subject];
	struct column last = { .ops = tally_ops(t), .escapes = tally_escapes(t), .late = t->late };
	uint64_t start, tick;
	int r = tree_reset(&s->ground, &s->ground.trees[round->tree]);

	if (r == 0)
		r = tell_players(race, round);
	if (r == 0)
		r = await_players(race);
	if (r < 0)
		return r;
	start = tick = now_ns();
	atomic_store(&race->shared->number, round->number);
	atomic_store(&race->shared->started, round->number);
	while (!race->stress->interrupted && !race->shared->tally.failed) {
		const struct timespec pause = { .tv_nsec = TICK_MS * 1000000 };
		uint64_t now;
		bool dirty;

		/* How long a round lasts is its parameter. */
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		now = now_ns();
		dirty = look_around(race, round);
		note_sample(race, round, now - begin, now - tick, &last);
		tick = now;
		if (race->stress->progress)
			show_progress(race, round, now - begin);
		if (now - start >= length || (dirty && round->subject + 1 < race->n_subjects) ||
		    (race->stress->ops && product_ops(race) >= race->stress->ops))
			break;
	}
	atomic_store(&race->shared->number, 0);
	r = await_players(race);
	note_damage(race, round);
	if (r == 0 && ground_audit(&s->ground, true, (char[8]){ 0 }, 8) != 0)
		r = ground_reset_outside(&s->ground);
	return r;
}

/* The twin has shown that the race is one. */
static bool shows_something(const struct race *race)
{
	const struct subject_tally *twin = &race->shared->tally.subjects[race->n_subjects - 1];

	return twin->escapes[0] + twin->escapes[1] + twin->escapes[2] >= TWIN_ESCAPES_MIN;
}

/* Whether the servers that are judged have had enough. */
static bool enough(const struct race *race, uint64_t begin, const struct round *round)
{
	const struct stress *st = race->stress;

	if (round->number < race->n_subjects * ATTACKER_COUNT * TREE_COUNT)
		return false;
	return st->ops ? product_ops(race) >= st->ops : now_ns() - begin >= st->time_ns;
}

static bool done(const struct race *race, uint64_t begin, const struct round *round)
{
	const struct stress *st = race->stress;

	if (st->interrupted || race->shared->tally.failed)
		return true;
	return enough(race, begin, round) &&
	       (shows_something(race) || now_ns() - begin >= LONGER * st->time_ns);
}

static void run_rounds(struct race *race)
{
	unsigned cycle = (unsigned)race->n_subjects * ATTACKER_COUNT * TREE_COUNT;
	uint64_t length = race->stress->ops ? ROUND_MS : race->stress->time_ns / 1000000 / cycle;
	uint64_t begin = race->shared->tally.begin_ns = now_ns();
	struct round round = { 0 };
	int r;

	race->shared->tally.column_ns = TICK_MS * 1000000;
	length = MAX(MIN(length, (uint64_t)ROUND_MS), (uint64_t)ROUND_MIN_MS) * 1000000;
	if (await_players(race) < 0)
		return;
	while (!done(race, begin, &round)) {
		struct tally *t = &race->shared->tally;
		unsigned n = round.number++, twin = (unsigned)race->n_subjects - 1;
		/* In the end only those who have not shown enough yet. */
		bool behind = enough(race, begin, &round);

		round.subject = behind ? twin : n % race->n_subjects;
		round.attacker = n / race->n_subjects % ATTACKER_COUNT;
		round.tree = n / race->n_subjects / ATTACKER_COUNT % TREE_COUNT;
		r = run_round(race, &round, begin,
			      round.subject == twin && !behind ? length / TWIN_SHARE : length);
		if (r < 0 && !t->failed++)
			snprintf(t->failure, sizeof(t->failure), "a round cannot be played: %s",
				 strerror(-r));
	}
	race->stress->run_ns = now_ns() - begin;
	if (race->stress->progress)
		fprintf(stderr, "\r\033[K");
}

static void choose_cpus(struct race *race)
{
	cpu_set_t set;
	int n = 0;

	race->cpus[0] = race->cpus[1] = -1;
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return;
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &set))
			race->cpus[n++] = i;
	if (n < 2)
		race->cpus[0] = race->cpus[1] = -1;
}

static int start_servers(struct race *race)
{
	struct stress *st = race->stress;
	static const char *const labels[] = { "shipped", "alone", "twin" };

	for (size_t i = 0; i < race->n_subjects; i++) {
		struct subject *s = &race->subjects[i];
		char words[2048] = "";
		int r;

		s->label = labels[i];
		s->program = i + 1 < race->n_subjects ? &st->gofer : &st->twin;
		s->alone = i > 0;
		s->no_openat2 = st->no_openat2;
		r = ground_init(&s->ground, st->dir, s->label, st->private_mount);
		if (r < 0)
			return stress_fail(st, r, "cannot make the ground in %s", st->dir);
		r = subject_start(s, st->dir, words, sizeof(words));
		if (r < 0)
			return stress_fail(st, r, "the server %s does not start: %s", s->label,
					   words);
	}
	return 0;
}

static void stop_servers(struct race *race)
{
	for (size_t i = 0; i < race->n_subjects; i++) {
		struct subject *s = &race->subjects[i];
		struct tally *t = &race->shared->tally;
		int status = subject_stop(s);

		if (status != 0 && !t->failed++)
			snprintf(t->failure, sizeof(t->failure), "the server %s ended with %d",
				 s->label, status);
		if (t->failed && s->label) {
			char log[2000];

			if (subject_log(s, log, sizeof(log)))
				fprintf(stderr, "server %s: %s\n", s->label, log);
		}
		s->log = s->label ? fd_close(s->log) : -EBADF;
		if (s->label)
			ground_deinit(&s->ground);
	}
}

int stress_rename(struct stress *st)
{
	struct subject subjects[SUBJECT_MAX] = { 0 };
	struct race race = { .stress = st, .subjects = subjects, .n_subjects = SUBJECT_MAX };
	struct run run;
	int r;

	race.shared = mmap(NULL, sizeof(*race.shared), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (race.shared == MAP_FAILED)
		return stress_fail(st, -errno, "memory");
	choose_cpus(&race);
	r = start_servers(&race);
	if (r == 0)
		r = start_players(&race);
	if (r == 0)
		run_rounds(&race);
	end_players(&race);
	stop_servers(&race);
	run = (struct run){
		.subjects = subjects,
		.n_subjects = race.n_subjects,
		.twin = race.n_subjects - 1,
		.tally = &race.shared->tally,
		.seed = st->seed,
		.ns = st->run_ns,
		.interrupted = st->interrupted,
		.pinned = race.cpus[1] >= 0,
		.where = st->where,
	};
	if (r == 0)
		r = stress_report(st, &run);
	(void)munmap(race.shared, sizeof(*race.shared));
	return r;
}
