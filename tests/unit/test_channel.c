/*
 * test_channel.c - the two sides of a channel's area, one thread each, without a session: no message
 * is lost, doubled or torn, nobody sleeps through one, and nobody waits longer than he should.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "common/packet.h"
#include "common/util.h"
#include "proto/channel.h"

static struct channel_area *area_new(void)
{
	struct channel_area *a =
		mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(a, MAP_FAILED);
	return a;
}

static void area_free(struct channel_area *a)
{
	munmap(a, sizeof(*a));
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	cr_assert_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* The n-th CPU that we may use; the last where there are fewer. */
static int cpu_allowed(int n)
{
	cpu_set_t set;
	int cpu = 0;

	cr_assert_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set)) {
			cpu = i;
			if (n-- == 0)
				break;
		}
	return cpu;
}

/* ---- messages ---- */

enum { TURNS = 5000, LAST = 0x7fffffff };

static void fill(uint8_t *to, uint32_t turn, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		to[i] = (uint8_t)(turn * 31 + i);
}

static bool is_filled(const uint8_t *from, uint32_t turn, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		if (from[i] != (uint8_t)(turn * 31 + i))
			return false;
	return true;
}

struct echo {
	struct channel_area *area;
	int cpu;
	unsigned served, wrong;
};

/* The server's side: each request comes back, with what belongs to its turn. */
static void *echo_run(void *userdata)
{
	struct echo *e = userdata;
	struct channel_side side;
	uint32_t turn;

	if (e->cpu >= 0)
		pin(e->cpu);
	channel_side_init(&side, e->area, true);
	do {
		uint32_t size;

		if (channel_wait(&side, UINT64_MAX, &turn) < 0)
			break;
		size = atomic_load(&side.in->length);
		e->wrong += !is_filled(side.in->frames, turn, size) || turn != side.seen;
		e->served++;
		fill(side.out->frames, turn + 1, size);
		channel_publish(&side, turn, size, CHANNEL_HERE);
	} while (turn != LAST);
	return NULL;
}

static void ping_pong(int client_cpu, int server_cpu, uint32_t turns)
{
	struct echo e = { .area = area_new(), .cpu = server_cpu };
	struct channel_side side;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, echo_run, &e), 0);
	if (client_cpu >= 0)
		pin(client_cpu);
	channel_side_init(&side, e.area, false);
	for (uint32_t i = 1; i <= turns; i++) {
		uint32_t turn = i == turns ? LAST : i, got, size = i % 512;

		fill(side.out->frames, turn, size);
		channel_publish(&side, turn, size, CHANNEL_HERE);
		cr_assert_eq(channel_wait(&side, now_ns() + UINT64_C(30000000000), &got), 0,
			     "turn %u has no answer", i);
		cr_assert_eq(got, turn);
		cr_assert_eq(atomic_load(&side.in->length), size);
		cr_assert(is_filled(side.in->frames, turn + 1, size), "turn %u is torn", i);
	}
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(e.served, turns);
	cr_assert_eq(e.wrong, 0);
	area_free(e.area);
}

Test(channel, nothing_is_lost_doubled_or_torn_on_two_cpus, .timeout = 100)
{
	ping_pong(cpu_allowed(0), cpu_allowed(1), TURNS);
}

Test(channel, nothing_is_lost_where_both_sides_have_one_cpu, .timeout = 100)
{
	int cpu = cpu_allowed(0);

	ping_pong(cpu, cpu, TURNS);
}

Test(channel, nothing_is_lost_wherever_they_run, .timeout = 100)
{
	ping_pong(-1, -1, TURNS);
}

/* ---- deadlines and ends ---- */

Test(channel, a_wait_ends_at_its_deadline, .timeout = 60)
{
	struct channel_area *a = area_new();
	struct channel_side client;
	uint64_t start = now_ns(), deadline = start + 20 * 1000 * 1000;
	uint32_t turn = 77;

	channel_side_init(&client, a, false);
	cr_assert_eq(channel_wait(&client, deadline, &turn), -ETIMEDOUT);
	cr_assert_geq(now_ns(), deadline);
	cr_assert_eq(turn, 77);
	/* One that has passed, and what is there already. */
	cr_assert_eq(channel_wait(&client, 0, &turn), -ETIMEDOUT);
	atomic_store(&a->reply.turn, 5);
	cr_assert_eq(channel_wait(&client, 0, &turn), 0);
	cr_assert_eq(turn, 5);
	cr_assert_eq(channel_wait(&client, 0, &turn), -ETIMEDOUT, "once");
	area_free(a);
}

struct waiting {
	struct channel_side *side;
	_Atomic pid_t tid;
	int result;
	_Atomic bool out;
};

static void *wait_run(void *userdata)
{
	struct waiting *w = userdata;
	uint32_t turn;

	w->tid = (pid_t)syscall(SYS_gettid);
	w->result = channel_wait(w->side, UINT64_MAX, &turn);
	w->out = true;
	return NULL;
}

/* Until the thread sleeps in the kernel. */
static void until_asleep(_Atomic pid_t *tid)
{
	char path[64], line[512], *p;

	for (;;) {
		FILE *f;

		(void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)*tid);
		f = *tid ? fopen(path, "re") : NULL;
		p = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
		if (f)
			(void)fclose(f);
		if (p && p[2] == 'S')
			return;
		sched_yield();
	}
}

Test(channel, who_sleeps_is_told_that_it_is_over, .timeout = 60)
{
	struct channel_area *a = area_new();
	struct channel_side server;
	struct waiting w = { .side = &server };
	pthread_t thread;
	uint32_t turn;

	channel_side_init(&server, a, true);
	cr_assert_eq(pthread_create(&thread, NULL, wait_run, &w), 0);
	while (!atomic_load(&a->server_sleeps))
		sched_yield();
	until_asleep(&w.tid);
	while (!w.out) {
		channel_stop(&server);
		sched_yield();
	}
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(w.result, -ECANCELED);
	cr_assert_eq(atomic_load(&a->server_sleeps), 0);
	/* What is there is still seen. */
	atomic_store(&a->request.turn, 9);
	cr_assert_eq(channel_wait(&server, UINT64_MAX, &turn), 0);
	cr_assert_eq(turn, 9);
	cr_assert_eq(channel_wait(&server, UINT64_MAX, &turn), -ECANCELED);
	area_free(a);
}

Test(channel, who_sleeps_is_woken_and_only_by_another_turn, .timeout = 60)
{
	struct channel_area *a = area_new();
	struct channel_side client, server;
	struct waiting w = { .side = &server };
	pthread_t thread;

	channel_side_init(&server, a, true);
	channel_side_init(&client, a, false);
	cr_assert_eq(pthread_create(&thread, NULL, wait_run, &w), 0);
	while (!atomic_load(&a->server_sleeps))
		sched_yield();
	until_asleep(&w.tid);
	/* A wake-up that means nothing: a hostile peer can make as many as it likes. */
	for (int i = 0; i < 1000; i++)
		(void)syscall(SYS_futex, &a->request.turn, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0);
	until_asleep(&w.tid);
	cr_assert(!w.out);
	channel_publish(&client, 1, 0, CHANNEL_HERE);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(w.result, 0);
	area_free(a);
}

/* ---- spinning ---- */

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Waits in vain, `n` times, each until spinning would long have ended. What they cost of the CPU. */
static uint64_t in_vain(struct channel_side *side, unsigned n)
{
	uint64_t before = cpu_ns();
	uint32_t turn;

	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(channel_wait(side, now_ns() + 200 * 1000, &turn), -ETIMEDOUT);
	return cpu_ns() - before;
}

Test(channel, spinning_in_vain_is_given_up, .timeout = 60)
{
	struct channel_area *a = area_new();
	struct channel_side client;

	channel_side_init(&client, a, false);
	/* Whatever number it is: not this one's. */
	atomic_store(&a->reply.cpu, CPU_SETSIZE + 1);
	(void)in_vain(&client, 16);
	cr_assert(client.spin.others || client.spin.habits[0][0].without);
	/* It is tried again, more and more rarely. */
	(void)in_vain(&client, 200);
	cr_assert_geq(MAX(client.spin.backoff, client.spin.habits[0][0].backoff), 128);
	area_free(a);
}

/* Else whoever has learned from short requests would never again spin for a longer one to the end. */
Test(channel, spinning_too_briefly_teaches_to_spin_for_longer, .timeout = 60)
{
	struct channel_area *a = area_new();
	struct channel_side client;
	struct channel_habit *h = &client.spin.habits[0][0];

	channel_side_init(&client, a, false);
	atomic_store(&a->reply.cpu, CPU_SETSIZE + 1);
	/* Where somebody else has the CPU meanwhile, nothing is learned, and it is tried again. */
	for (unsigned i = 0; i < 10000 && h->credit == 8; i++) {
		h->typical = 1000;
		client.spin.others = 0;
		(void)in_vain(&client, 1);
	}
	cr_assert_lt(h->credit, 8);
	cr_assert_gt(h->typical, 1000);
	area_free(a);
}

/* Pages of a listing take longer than spinning would last; the Stats after them do not. */
Test(channel, what_takes_long_is_not_held_against_what_does_not, .timeout = 60)
{
	struct channel_area *a = area_new();
	struct channel_side client;

	channel_side_init(&client, a, false);
	atomic_store(&a->reply.cpu, CPU_SETSIZE + 1);
	client.rpc = RPC_INDEX_ReadDir;
	for (unsigned i = 0; i < 10000 && !client.spin.habits[RPC_INDEX_ReadDir][0].without; i++) {
		client.spin.others = 0;
		(void)in_vain(&client, 1);
	}
	cr_assert(client.spin.habits[RPC_INDEX_ReadDir][0].without);
	cr_assert_eq(client.spin.habits[RPC_INDEX_Stat][0].without, 0);
	cr_assert_eq(client.spin.habits[RPC_INDEX_Stat][0].credit, 8);
	area_free(a);
}

Test(channel, nobody_spins_where_the_other_side_has_the_same_cpu, .timeout = 60)
{
	struct channel_area *a = area_new();
	struct channel_side client;
	int cpu = cpu_allowed(0);

	pin(cpu);
	channel_side_init(&client, a, false);
	atomic_store(&a->reply.cpu, (uint32_t)cpu + 1);
	(void)in_vain(&client, 16);
	cr_assert_eq(client.spin.habits[0][0].credit, 8, "not once was spinning tried");
	cr_assert_eq(client.spin.others, 0);
	/* Nor where nothing is known of it. */
	atomic_store(&a->reply.cpu, 0);
	(void)in_vain(&client, 16);
	cr_assert_eq(client.spin.habits[0][0].credit, 8);
	area_free(a);
}
