/*
 * channel.c - see channel.h. All that is shared is loaded once, with acquire where something is read
 * after it. The turn and the flag of sleeping are each other's mirror image: either side first writes
 * its own and then reads the other's, both sequentially consistent, so at least one of them notices.
 */
#include "proto/channel.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "common/packet.h"

enum {
	SPIN_MIN_NS = 8000,
	SPIN_MAX_NS = 60000,
	SPIN_FIRST_NS = 20000, /* what is taken for typical at first */
	GAP_NS = 30000,        /* between two looks at the clock: somebody else had the CPU */
	OFTEN_NS = 50000000,   /* twice within that: others want it all the time */
	LOOKS_PER_CLOCK = 16,  /* at the turn, between two at the clock */
	CREDIT = 8,            /* failures that successes can make good */
	FAILURE = 3,           /* successes that it takes for each */
	BACKOFF_MIN = 64,
	BACKOFF_MAX = 8192,
};

void channel_copy_in(void *to, const void *from, size_t size)
{
	memcpy(to, from, size);
	/* `from` may have changed, as far as the compiler knows. */
	__asm__ volatile("" : : "r"(to) : "memory");
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb");
#else
	atomic_signal_fence(memory_order_seq_cst);
#endif
}

static uint32_t cpu_number(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? 0 : (uint32_t)cpu + 1;
}

void channel_side_init(struct channel_side *side, struct channel_area *area, bool server)
{
	const struct channel_habit fresh = { .typical = SPIN_FIRST_NS,
					     .credit = CREDIT,
					     .backoff = BACKOFF_MIN };

	*side = (struct channel_side){
		.in = server ? &area->request : &area->reply,
		.out = server ? &area->reply : &area->request,
		.sleeping = server ? &area->server_sleeps : &area->client_sleeps,
		.peer_sleeps = server ? &area->client_sleeps : &area->server_sleeps,
		.spin = { .backoff = BACKOFF_MIN },
	};
	for (size_t i = 0; i < RPC_COUNT; i++)
		side->spin.habits[i][0] = side->spin.habits[i][1] = fresh;
}

/* ---- sleeping ---- */

static int futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *until)
{
	/* Not FUTEX_WAIT: that one's timeout is relative. */
	return syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, until, NULL,
		       FUTEX_BITSET_MATCH_ANY) < 0
		       ? -errno
		       : 0;
}

static void futex_wake(_Atomic uint32_t *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Sleeps until the turn is another than `seen`. */
static int sleep_until(struct channel_side *side, uint64_t deadline)
{
	struct timespec until = { .tv_sec = (time_t)(deadline / 1000000000),
				  .tv_nsec = (long)(deadline % 1000000000) };
	int r = 0;

	atomic_store(side->sleeping, 1);
	while (r == 0 && atomic_load(&side->in->turn) == side->seen) {
		if (atomic_load(&side->over)) {
			r = -ECANCELED;
			break;
		}
		r = futex_wait(&side->in->turn, side->seen, deadline == UINT64_MAX ? NULL : &until);
		if (r == -EINTR || r == -EAGAIN)
			r = 0;
	}
	atomic_store_explicit(side->sleeping, 0, memory_order_relaxed);
	return r;
}

/* ---- spinning ---- */

static struct channel_habit *habit(struct channel_side *side)
{
	return &side->spin.habits[side->rpc][side->woke];
}

/* For how long to spin: 0 = not at all. */
static uint64_t spin_budget(struct channel_side *side)
{
	struct channel_spin *s = &side->spin;
	struct channel_habit *h = habit(side);
	uint32_t cpu = atomic_load_explicit(&side->in->cpu, memory_order_relaxed);
	bool rests = s->others || h->without;

	if (s->others)
		s->others--;
	else if (h->without)
		h->without--;
	/* On our own CPU the other side cannot run before we stop: so never where there is but one. */
	if (rests || !cpu || cpu == cpu_number())
		return 0;
	return MIN(MAX(2 * h->typical + SPIN_MIN_NS / 2, (uint64_t)SPIN_MIN_NS),
		   (uint64_t)SPIN_MAX_NS);
}

static void spin_worked(struct channel_habit *h, uint64_t ns)
{
	h->typical += ns / 8;
	h->typical -= h->typical / 8;
	if (h->credit < CREDIT && ++h->credit == CREDIT)
		h->backoff = BACKOFF_MIN;
}

static void spin_failed(struct channel_habit *h)
{
	/* What is typical may have changed: other requests take longer than those that it was learned from. */
	h->typical = MIN(2 * h->typical + 1, (uint64_t)SPIN_MAX_NS);
	if (h->credit > FAILURE) {
		h->credit -= FAILURE;
		return;
	}
	h->without = h->backoff;
	h->backoff = MIN(2 * h->backoff, (uint32_t)BACKOFF_MAX);
	h->credit = FAILURE; /* one try, then */
}

/* Somebody else had the CPU: it is his too. */
static void spin_taken(struct channel_spin *s, uint64_t now)
{
	bool often = s->taken_last && now - s->taken_last < OFTEN_NS;

	s->backoff = often ? MIN(2 * s->backoff, (uint32_t)BACKOFF_MAX) : (uint32_t)BACKOFF_MIN;
	s->others = s->backoff;
	s->taken_last = now;
}

/* True when the turn is another. */
static bool spin(struct channel_side *side, uint64_t budget)
{
	struct channel_habit *h = habit(side);
	uint64_t start = now_ns(), last = start, now;

	do {
		for (unsigned i = 0; i < LOOKS_PER_CLOCK; i++) {
			if (atomic_load_explicit(&side->in->turn, memory_order_acquire) !=
			    side->seen) {
				spin_worked(h, last - start);
				return true;
			}
			relax();
		}
		now = now_ns();
		if (now - last > GAP_NS) {
			spin_taken(&side->spin, now);
			return false;
		}
		last = now;
	} while (now - start < budget && !atomic_load_explicit(&side->over, memory_order_relaxed));
	spin_failed(h);
	return false;
}

int channel_wait(struct channel_side *side, uint64_t deadline, uint32_t *ret_turn)
{
	side->slept = false;
	if (atomic_load_explicit(&side->in->turn, memory_order_acquire) == side->seen) {
		uint64_t budget = spin_budget(side);

		if (!budget || !spin(side, budget)) {
			int r = sleep_until(side, deadline);

			side->slept = true;
			if (r < 0)
				return r;
		}
	}
	side->seen = atomic_load_explicit(&side->in->turn, memory_order_acquire);
	*ret_turn = side->seen;
	return 0;
}

void channel_publish(struct channel_side *side, uint32_t turn, uint32_t length, uint32_t where)
{
	struct channel_box *box = side->out;

	atomic_store_explicit(&box->length, length, memory_order_relaxed);
	atomic_store_explicit(&box->where, where, memory_order_relaxed);
	atomic_store_explicit(&box->cpu, cpu_number(), memory_order_relaxed);
	atomic_store(&box->turn, turn);
	side->woke = atomic_load(side->peer_sleeps) != 0;
	if (side->woke)
		futex_wake(&box->turn);
}

void channel_stop(struct channel_side *side)
{
	atomic_store(&side->over, true);
	futex_wake(&side->in->turn);
}
