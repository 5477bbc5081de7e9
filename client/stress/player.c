/*
 * player.c - the processes of a race: the victim, whose requests are raced, and the attackers.
 *
 * A player is told a round, goes where it is fought, says so, waits until it begins, and plays until
 * the number of the round changes. It looks at nothing but memory that is shared with the controller.
 */
#include "client/stress/race.h"

#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "common/packet.h"

enum { IN_FLIGHT = 16, STORM = 64 };

/* One process of the run. */
struct player {
	struct race *race;
	enum role role;
	uint64_t rng;
	struct client clients[SUBJECT_MAX];
	clockid_t clocks[SUBJECT_MAX]; /* of the processes that serve it */
	struct round round;
};

static bool over(const struct player *p)
{
	return atomic_load_explicit(&p->race->shared->number, memory_order_relaxed) !=
	       p->round.number;
}

static struct subject_tally *tally_of(const struct player *p)
{
	return &p->race->shared->tally.subjects[p->round.subject];
}

static bool is_twin(const struct player *p)
{
	return p->round.subject + 1 == p->race->n_subjects;
}

/* ---- one request and its answer ---- */

static bool choose(struct player *p, struct op *op)
{
	const struct client *c = &p->clients[p->round.subject];
	const struct route *route = &routes[random_below(&p->rng, n_routes)];
	const struct recipe *recipe;
	enum rpc_index rpc;
	unsigned n = 0;

	do {
		rpc = random_below(&p->rng, RPC_COUNT);
		recipe = recipes_of(rpc);
	} while (!recipe->fill);
	while (recipe[n].fill)
		n++;
	recipe += random_below(&p->rng, n);
	if (!recipe_fits(recipe, route))
		return false;
	if (route->field == FIELD_MOUNT && !c->hand.ground->private_mount)
		return false;
	if (route->base != PLACE_ROOT && !c->hand.handles[route->base])
		return false;
	op_prepare(op, rpc, recipe, route, random_below(&p->rng, 2), random_below(&p->rng, 2) * 8,
		   random_below(&p->rng, 8) == 0, &c->hand);
	return true;
}

static void note_escape(struct player *p, const struct op *op, const char *words)
{
	struct subject_tally *t = tally_of(p);
	char what[420];

	t->rpcs[op->rpc->index].escapes++;
	t->escapes[p->round.attacker]++;
	op_describe(op, what, sizeof(what));
	tally_evidence(&p->race->shared->tally, p->race->subjects[p->round.subject].label, what,
		       words);
}

static void found(const struct player *p)
{
	if (!is_twin(p))
		tally_found(&p->race->shared->tally);
}

/* Counts and judges an answer. False where no more will come. */
static bool take_answer(struct player *p, const struct op *op, int result,
			struct gofer_reply *reply, uint64_t ns, uint64_t busy_ns)
{
	struct tally *tally = &p->race->shared->tally;
	struct subject_tally *t = tally_of(p);
	struct rpc_tally *rpc = &t->rpcs[op->rpc->index];
	char words[120];

	/* The twin does not know what it promises. Where that breaks the protocol, the round is over for this player. */
	if (result == -ENOTCONN && is_twin(p))
		return false;
	if (result == -ENOTCONN || result == -ETIMEDOUT) {
		char what[420];

		op_describe(op, what, sizeof(what));
		if (!tally->failed++)
			snprintf(tally->failure, sizeof(tally->failure), "%.20s: %.200s: %s",
				 p->race->subjects[p->round.subject].label, what,
				 result == -ETIMEDOUT ? "no answer" : gofer_message());
		return false;
	}
	rpc->ops++;
	t->ops[p->round.attacker]++;
	tally_longest(&rpc->longest_ns, ns);
	tally_longest(&t->recent_longest_ns, ns);
	tally_longest(&t->busiest_ns, busy_ns);
	if (ns > DEADLINE_MS * UINT64_C(1000000)) {
		t->late++;
		if (busy_ns > BUSY_MS * UINT64_C(1000000)) {
			t->starved++;
			found(p);
		}
	}
	if (result < 0) {
		rpc->errors++;
		t->errnos[MIN(-result, ERRNO_LIMIT - 1)]++;
		if (result == -EAGAIN) {
			t->again++;
			found(p);
		}
		return true;
	}
	rpc->ok += reply->kind == GOFER_REPLY_OK;
	rpc->stops += reply->kind == GOFER_REPLY_STOP;
	if (op_judge(op, result, reply, words, sizeof(words)))
		note_escape(p, op, words);
	if (op->rpc->index == RPC_INDEX_Open && reply->kind == GOFER_REPLY_OK) {
		uint64_t handle = ((Gofer__OpenReply *)reply->message)->handle;

		if (handle)
			gofer_handle_close(p->clients[p->round.subject].session, handle);
	}
	return true;
}

static uint64_t clock_of(clockid_t id)
{
	struct timespec t;

	if (id == CLOCK_MONOTONIC || clock_gettime(id, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void play_victim(struct player *p)
{
	struct client *c = &p->clients[p->round.subject];
	clockid_t clock = p->clocks[p->round.subject];
	_cleanup_fd_ int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t busy = clock_of(clock);
	struct op op;

	while (!over(p)) {
		struct gofer_reply reply = { .fd = -1 };
		uint64_t start, ns, now;
		bool go_on;
		int r;

		if (!choose(p, &op))
			continue;
		if (op.takes_fd)
			op.request.fd = sock;
		start = now_ns();
		r = gofer_call(c->session, &op.request, &reply);
		ns = now_ns() - start;
		now = clock_of(clock);
		go_on = take_answer(p, &op, r, &reply, ns, now - busy);
		busy = now;
		if (r >= 0)
			gofer_reply_free(&reply);
		if (op.takes_fd && r >= 0) {
			fd_close(sock);
			sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		}
		if (!go_on)
			return;
	}
}

/* ---- the pipelined client: moves and requests in flight together ---- */

struct slot {
	struct player *player;
	struct op op;
	uint64_t start;
	bool used;
};

static void answered(void *userdata, int result, struct gofer_reply *reply)
{
	struct slot *s = userdata;
	struct gofer_reply none = { .fd = -1 };

	s->used = false;
	if (result != -ECANCELED)
		(void)take_answer(s->player, &s->op, result, reply ?: &none, now_ns() - s->start,
				  0);
}

static void moved(void *userdata, int result, struct gofer_reply *reply _unused_)
{
	struct player *p = userdata;

	tally_of(p)->moves[p->round.attacker] += result == 0;
}

/* Exchanges only: a move of several acts would have to wait for its first. */
static bool submit_move(struct player *p)
{
	struct client *c = &p->clients[p->round.subject];
	const struct move *m = &moves[random_below(&p->rng, n_moves)];
	const struct act *a = &m->play[0];
	Gofer__RenameRequest q = GOFER__RENAME_REQUEST__INIT;
	Gofer__Path from = GOFER__PATH__INIT, to = GOFER__PATH__INIT;
	struct gofer_request request = { .type = RPC_TYPE_Rename, .message = &q.base, .fd = -1 };

	if (a->kind != ACT_EXCHANGE || !move_possible(m, c->hand.ground, false))
		return true;
	from.fs_id = to.fs_id = c->hand.fs_id;
	from.base_handle = to.base_handle = c->hand.handles[a->from];
	from.path = (ProtobufCBinaryData){ .data = (uint8_t *)a->name, .len = strlen(a->name) };
	to.path = (ProtobufCBinaryData){ .data = (uint8_t *)a->to_name, .len = strlen(a->to_name) };
	q.source = &from;
	q.dest = &to;
	q.flags = GOFER__RENAME_FLAG__RENAME_SWAP;
	return gofer_submit(c->session, &request, moved, p, NULL) == 0 &&
	       gofer_session_flush(c->session) == 0;
}

static void play_pipelined(struct player *p)
{
	struct client *c = &p->clients[p->round.subject];
	_cleanup_fd_ int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	static struct slot slots[IN_FLIGHT];
	int r = 0;

	while (!over(p) && r >= 0 && !p->race->shared->tally.failed) {
		for (size_t i = 0; i < IN_FLIGHT && r >= 0; i++) {
			struct slot *s = &slots[i];

			if (s->used || !choose(p, &s->op))
				continue;
			s->player = p;
			s->used = true;
			s->start = now_ns();
			if (s->op.takes_fd)
				s->op.request.fd = sock;
			/* Each in a packet of its own: one packet is executed by one thread. */
			r = gofer_submit(c->session, &s->op.request, answered, s, NULL);
			if (r < 0)
				s->used = false;
			else
				r = gofer_session_flush(c->session);
			if (r == -EAGAIN)
				break;
			if (r >= 0 && !submit_move(p))
				break;
		}
		r = gofer_session_process(c->session, -1);
	}
	(void)gofer_session_drain(c->session);
}

/* ---- attackers ---- */

static void pause_a_little(struct player *p)
{
	/* So that what was played stands for a while, each time another one. */
	for (volatile unsigned n = random_below(&p->rng, 2000); n; n--)
		;
}

static const struct move *choose_move(struct player *p, bool created)
{
	const struct move *m;

	do
		m = &moves[random_below(&p->rng, n_moves)];
	while (created && !(m->flags & MOVE_NEW));
	return m;
}

static void play_attacker(struct player *p)
{
	struct client *c = &p->clients[p->round.subject];
	struct ground *g = &p->race->subjects[p->round.subject].ground;
	bool outside = p->role == ROLE_OUTSIDE;
	struct hand hand = c->hand;

	if (outside) {
		hand = (struct hand){ .ground = g, .tree = &g->trees[p->round.tree] };
		if (tree_find(g, hand.tree) < 0)
			return;
	}
	while (!over(p)) {
		/* What is created has a window of its own, and a small one. */
		bool created = random_below(&p->rng, 4) == 0;
		const struct move *m = choose_move(p, created);
		/* Now and then a storm: kernels make whoever walks ".." start again for each rename. */
		bool storm = created || (random_below(&p->rng, 8) == 0 && !(m->flags & MOVE_MOUNT));
		unsigned times = storm ? STORM : 1;

		if (!move_possible(m, g, outside))
			continue;
		/* The kernel takes milliseconds to unmount. */
		if (m->flags & MOVE_MOUNT && random_below(&p->rng, 96))
			continue;
		for (unsigned i = 0; i < times; i++) {
			int played = hand_play(&hand, m->play);

			if (times == 1)
				pause_a_little(p);
			if (played < 0 || hand_play(&hand, m->undo) < 0)
				return;
			tally_of(p)->moves[p->round.attacker] += (uint64_t)played;
		}
		pause_a_little(p);
	}
}

static void play(struct player *p)
{
	if (p->role == ROLE_VICTIM && p->round.attacker != ATTACKER_PIPELINED)
		play_victim(p);
	else if (p->role == ROLE_PIPELINED && p->round.attacker == ATTACKER_PIPELINED)
		play_pipelined(p);
	else if (p->role == ROLE_OUTSIDE && p->round.attacker == ATTACKER_OUTSIDE)
		play_attacker(p);
	else if (p->role == ROLE_SECOND && p->round.attacker == ATTACKER_SECOND)
		play_attacker(p);
}

/* Server and victim on one CPU, the attacker on the other; a client that attacks itself on both. */
static void place(struct player *p)
{
	const int *cpus = p->race->cpus;
	int cpu = p->role == ROLE_VICTIM ? cpus[0] : cpus[1];
	pid_t worker = p->clients[p->round.subject].worker;

	if (cpus[1] < 0)
		return;
	if (p->role == ROLE_PIPELINED)
		cpu = -1;
	pin(0, cpu);
	if (worker)
		pin(worker, cpu);
}

static int attach(struct player *p, size_t subject)
{
	struct client *c = &p->clients[subject];
	int r = client_open(c, &p->race->subjects[subject]);

	p->race->shared->workers[subject][p->role] = c->worker;
	p->clocks[subject] = CLOCK_MONOTONIC;
	if (c->worker)
		(void)clock_getcpuclockid(c->worker, &p->clocks[subject]);
	return r;
}

static int enter(struct player *p)
{
	struct client *c = &p->clients[p->round.subject];
	struct tally *t = &p->race->shared->tally;
	int r = 0;

	if (p->role == ROLE_OUTSIDE)
		return 0;
	if (is_twin(p) && gofer_session_status(c->session) == -ENOTCONN) {
		client_close(c);
		r = attach(p, p->round.subject);
	}
	if (r == 0)
		r = client_enter(c, p->round.tree);
	if (r < 0 && !t->failed++)
		snprintf(t->failure, sizeof(t->failure),
			 "%.20s: a client cannot enter the tree: %s",
			 p->race->subjects[p->round.subject].label, strerror(-r));
	return r;
}

int player_main(struct race *race, enum role role, int sock)
{
	struct player player = {
		.race = race,
		.role = role,
		.rng = (race->stress->seed + role + 1) * UINT64_C(0x9e3779b97f4a7c15),
	};
	struct player *p = &player;
	int r = 0;

	for (size_t i = 0; r == 0 && i < race->n_subjects && p->role != ROLE_OUTSIDE; i++)
		r = attach(p, i);
	if (r < 0) {
		if (!race->shared->tally.failed++)
			snprintf(race->shared->tally.failure, sizeof(race->shared->tally.failure),
				 "a client could not connect: %s", gofer_message());
		return 1;
	}
	for (;;) {
		if (send(sock, "", 1, MSG_NOSIGNAL) != 1 ||
		    recv(sock, &p->round, sizeof(p->round), 0) != sizeof(p->round) ||
		    p->round.number == 0)
			break;
		if (enter(p) < 0)
			return 1;
		place(p);
		if (send(sock, "", 1, MSG_NOSIGNAL) != 1)
			break;
		/* All start together. */
		while (atomic_load(&race->shared->started) < p->round.number &&
		       !race->shared->tally.failed)
			sched_yield();
		play(p);
	}
	for (size_t i = 0; i < race->n_subjects && p->role != ROLE_OUTSIDE; i++)
		client_close(&p->clients[i]);
	return 0;
}
