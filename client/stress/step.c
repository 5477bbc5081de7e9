/*
 * step.c - gofer stress step: every move in every gap of every request, one after the other.
 *
 * A race finds a window if it is lucky; this finds it because it looks at all of them. The server's
 * thread is stopped before each system call of a request (trace.h); there, one move is made. Once
 * with the tree as it is (the move), once with the tree already changed (the move that takes it
 * back). Then the request goes on, and its answer and the outside are judged. A case is
 *
 *     recipe of an RPC x route x move x direction x gap
 *
 * and each starts from a tree made anew. How many gaps a request has is seen on the way: gap after
 * gap, until there is none any more where the move would be made.
 */
#include "client/stress/stress.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "client/stress/matrix.h"
#include "client/stress/trace.h"
#include "common/packet.h"

/* The tree is changed already, and the move takes it back; a slash behind the path. */
enum { VARIANT_INVERSE = 1, VARIANT_SLASH = 2, VARIANTS = 4 };
enum { STORM_TURNS = 8, ROUTES_MAX = 64 };

struct stepper {
	struct stress *st;
	struct subject subject;
	struct client client;
	struct tracer tracer;
	struct hand outside;
	struct matrix *matrix;
	struct op op;
	uint64_t combination;

	/* the case */
	const struct move *move;
	bool inverse;
	unsigned gap;
	long call; /* before which it was stopped last */
	bool answered, escaped, dirty;
	bool found[PLACE_SERVED]; /* whose handles are of this tree */
	int other_cpu;            /* than the one where all this happens; -1: there is none */
	int result;
	char words[120], audit[400];
};

/* ---- one request ---- */

static bool before_call(void *userdata, unsigned gap, long call)
{
	struct stepper *s = userdata;

	s->call = call;
	if (gap != s->gap)
		return false;
	(void)hand_play(&s->outside, s->inverse ? s->move->undo : s->move->play);
	return true;
}

static void take_answer(void *userdata, int result, struct gofer_reply *reply)
{
	struct stepper *s = userdata;

	s->answered = true;
	s->result = result;
	if (result < 0)
		return;
	s->escaped = op_judge(&s->op, result, reply, s->words, sizeof(s->words));
	if (reply->message && reply->message->descriptor == &gofer__open_reply__descriptor)
		gofer_handle_close(s->client.session, ((Gofer__OpenReply *)reply->message)->handle);
}

/* Sends, stops the server in the gap, takes the answer. 1 = the move was made, 0 = no such gap. */
static int execute(struct stepper *s)
{
	int played, r = tracer_hold(&s->tracer);

	s->answered = s->escaped = false;
	if (r == 0)
		r = gofer_submit(s->client.session, &s->op.request, take_answer, s, NULL);
	if (r < 0)
		return r;
	played = tracer_run(&s->tracer, before_call, s);
	if (played < 0)
		return played;
	while (!s->answered) {
		r = gofer_session_process(s->client.session, -1);
		if (r < 0)
			return r;
	}
	return s->result == -ENOTCONN || s->result == -ETIMEDOUT ? s->result : played;
}

/* ---- one case ---- */

/* The tree as it was in the beginning; the places in it are other directories then. */
static int reset(struct stepper *s)
{
	int r = tree_reset(&s->subject.ground, s->outside.tree);

	s->dirty = false;
	memset(s->found, 0, sizeof(s->found));
	return r;
}

/* Takes the move back, if it stands. False where that does not give the tree back as it was. */
static bool restore(struct stepper *s, bool played)
{
	int acts = 0;

	while (acts < 3 && s->move->undo[acts].kind != ACT_NONE)
		acts++;
	return s->inverse == played || hand_play(&s->outside, s->move->undo) == acts;
}

/* 1 = the move was made; 0 = the request has no such gap; -errno = the server is no more. */
static int run_case(struct stepper *s, enum rpc_index rpc, const struct recipe *recipe,
		    const struct route *route, const struct move *move, unsigned variant,
		    unsigned gap)
{
	struct ground *g = &s->subject.ground;
	bool changes = rpc_table[rpc].flags & RPC_WRITES || rpc == RPC_INDEX_Open;
	_cleanup_fd_ int sock = -EBADF;
	int played, r = 0;

	if (s->dirty)
		r = reset(s);
	if (r == 0 && !s->found[route->base])
		r = client_find(&s->client, route->base);
	s->found[route->base] = true;
	if (r < 0)
		return r;
	s->move = move;
	s->inverse = variant & VARIANT_INVERSE;
	s->gap = gap;
	if (s->inverse)
		(void)hand_play(&s->outside, move->play);
	op_prepare(&s->op, rpc, recipe, route, 0, 8, variant & VARIANT_SLASH, &s->client.hand);
	if (s->op.takes_fd)
		s->op.request.fd = sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	played = execute(s);
	if (played < 0)
		return played;
	if (played)
		matrix_case(s->matrix, rpc, gap, move, s->call);
	/* Only who changes something may leave more behind than the move, which is taken back. */
	s->dirty = changes || !restore(s, played);
	if (ground_audit(g, changes, s->audit, sizeof(s->audit)) != 0) {
		if (!s->escaped)
			snprintf(s->words, sizeof(s->words), "%.100s", s->audit);
		s->escaped = s->dirty = true;
		r = ground_reset_outside(g);
	}
	/* Also without a move: what is open from the start is found in the first gap. */
	if (s->escaped)
		matrix_escape(s->matrix, &s->op, played ? gap : 0, move, s->call, s->words);
	return r < 0 ? r : played;
}

/* ---- all cases ---- */

/* A move of what the request does not come near changes nothing. */
static bool concerns(const struct move *m, const struct recipe *recipe, const struct route *route)
{
	bool creates = recipe->leaf == LEAF_NEW || recipe->leaf2 == LEAF_NEW;

	if (m->field != route->field || (m->flags & MOVE_NEW && !creates))
		return false;
	return m->flags & MOVE_NEW || m->play[0].from != PLACE_D || recipe->leaf == LEAF_FILE;
}

static int run_gaps(struct stepper *s, enum rpc_index rpc, const struct recipe *recipe,
		    const struct route *route, const struct move *move)
{
	int r = 0;

	for (unsigned variant = 0; variant < VARIANTS && r >= 0; variant++) {
		if (variant & VARIANT_SLASH &&
		    (recipe->leaf == LEAF_NEW || recipe->leaf == LEAF_SELF))
			continue;
		if (s->combination++ % s->st->sample != 0)
			continue;
		for (unsigned gap = 0; gap < GAPS_MAX && !s->st->interrupted; gap++) {
			r = run_case(s, rpc, recipe, route, move, variant, gap);
			if (r <= 0)
				break;
		}
	}
	return MIN(r, 0);
}

static int run_recipe(struct stepper *s, enum rpc_index rpc, const struct recipe *recipe)
{
	for (size_t i = 0; i < n_routes; i++) {
		const struct route *route = &routes[i];

		if (!recipe_fits(recipe, route))
			continue;
		for (size_t k = 0; k < n_moves; k++) {
			int r;

			if (!move_possible(&moves[k], &s->subject.ground, true) ||
			    !concerns(&moves[k], recipe, route))
				continue;
			r = run_gaps(s, rpc, recipe, route, &moves[k]);
			if (r < 0) {
				char what[460];

				op_describe(&s->op, what, sizeof(what));
				return stress_fail(s->st, r, "%s, %s, gap %u: the server is gone",
						   what, moves[k].name, s->gap);
			}
			if (s->st->interrupted)
				return 0;
		}
	}
	return 0;
}

static bool wanted(const struct stepper *s, enum rpc_index rpc)
{
	return !s->st->only || strcasecmp(s->st->only, rpc_table[rpc].name) == 0;
}

static int run_all(struct stepper *s)
{
	int r = 0;

	for (enum rpc_index rpc = 0; r == 0 && rpc < RPC_COUNT; rpc++) {
		if (!wanted(s, rpc))
			continue;
		for (const struct recipe *recipe = recipes_of(rpc); r == 0 && recipe->fill;
		     recipe++) {
			if (s->st->progress)
				fprintf(stderr, "\r\033[K%s %s: %llu cases, %llu escapes",
					rpc_table[rpc].name, recipe->variant,
					(unsigned long long)s->matrix->cases,
					(unsigned long long)s->matrix->escapes);
			r = run_recipe(s, rpc, recipe);
		}
	}
	if (s->st->progress)
		fprintf(stderr, "\r\033[K");
	return r;
}

/* ---- a storm of renames ---- */

/*
 * Renames that have nothing to do with a request must not matter to it. What a kernel does within
 * one system call is out of sight here, but a server that answers EAGAIN by trying again makes more
 * system calls than it does in quiet (or gives up, and the answer is EAGAIN).
 */
static bool never(void *userdata, unsigned gap, long call _unused_)
{
	*(unsigned *)userdata = gap + 1;
	return false;
}

static int count_calls(struct stepper *s, unsigned *ret_calls)
{
	int r = tracer_hold(&s->tracer);

	*ret_calls = 0;
	s->answered = false;
	if (r == 0)
		r = gofer_submit(s->client.session, &s->op.request, take_answer, s, NULL);
	if (r == 0)
		r = tracer_run(&s->tracer, never, ret_calls);
	while (r >= 0 && !s->answered)
		r = gofer_session_process(s->client.session, -1);
	return r < 0 ? r : 0;
}

static int storm_over(struct stepper *s, enum rpc_index rpc, const struct recipe *recipe,
		      bool storm, unsigned calls[static ROUTES_MAX])
{
	_cleanup_fd_ int sock = -EBADF;

	for (size_t i = 0; i < n_routes && !s->st->interrupted; i++) {
		unsigned most = 0;
		char words[80];

		/* The kernel minds renames only where a path rises. */
		if (!recipe_fits(recipe, &routes[i]) || !strstr(routes[i].text, ".."))
			continue;
		op_prepare(&s->op, rpc, recipe, &routes[i], 0, 8, false, &s->client.hand);
		for (unsigned turn = 0; turn < (storm ? STORM_TURNS : 1); turn++) {
			unsigned n;
			int r;

			if (s->op.takes_fd) {
				fd_close(sock);
				sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
				s->op.request.fd = sock;
			}
			r = count_calls(s, &n);
			if (r < 0)
				return r;
			most = s->result == -EAGAIN ? UINT32_MAX : MAX(most, n);
		}
		if (!storm) {
			calls[i] = most;
			continue;
		}
		s->matrix->storms++;
		if (most <= calls[i])
			continue;
		if (most == UINT32_MAX)
			snprintf(words, sizeof(words), "it gave up with EAGAIN");
		else
			snprintf(words, sizeof(words), "%u system calls, %u in quiet", most,
				 calls[i]);
		matrix_retried(s->matrix, &s->op, words);
	}
	return 0;
}

/* Renames something else as fast as it can, on another CPU than everybody else. */
static pid_t start_storm(struct stepper *s)
{
	char name[2][160];
	pid_t pid;

	for (int i = 0; i < 2; i++) {
		snprintf(name[i], sizeof(name[i]), "%s/storm.%d", s->subject.ground.top, i);
		(void)mkdir(name[i], 0755);
	}
	fflush(NULL);
	pid = fork();
	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(0, s->other_cpu);
	for (;;)
		(void)renameat2(AT_FDCWD, name[0], AT_FDCWD, name[1], RENAME_EXCHANGE);
}

static int run_storm(struct stepper *s)
{
	unsigned calls[ROUTES_MAX];
	pid_t pid;
	int r;

	if (s->other_cpu < 0)
		return 0;
	r = reset(s);
	if (r == 0)
		r = client_enter(&s->client, TREE_ALLOW);
	for (enum rpc_index rpc = 0; r == 0 && rpc < RPC_COUNT; rpc++) {
		if (rpc_table[rpc].flags & RPC_WRITES || rpc == RPC_INDEX_Open || !wanted(s, rpc))
			continue;
		for (const struct recipe *recipe = recipes_of(rpc); r == 0 && recipe->fill;
		     recipe++) {
			r = storm_over(s, rpc, recipe, false, calls);
			pid = r < 0 ? -1 : start_storm(s);
			if (r == 0 && pid > 0)
				r = storm_over(s, rpc, recipe, true, calls);
			if (pid > 0) {
				(void)kill(pid, SIGKILL);
				(void)waitpid(pid, NULL, 0);
			}
		}
	}
	return r;
}

/* ---- what it showed ---- */

static int report(struct stepper *s)
{
	const struct stress *st = s->st;

	if (st->json) {
		json_t *object = matrix_json(s->matrix);

		(void)json_object_set_new(object, "seconds", json_real((double)st->run_ns / 1e9));
		(void)json_object_set_new(object, "interrupted", json_boolean(st->interrupted));
		(void)json_dumpf(object, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(object);
	} else {
		matrix_print(s->matrix, stdout);
		printf("      %.1f s on %s, the server %s%s%s\n", (double)st->run_ns / 1e9,
		       st->where, s->subject.alone ? "alone" : "with all layers",
		       s->other_cpu < 0 ? "; one CPU only: no storm of renames" : "",
		       st->interrupted ? "; interrupted" : "");
	}
	return matrix_verdict(s->matrix) || st->interrupted;
}

/* One CPU for us and the server. Another one, or -1. */
static int take_cpus(const struct stepper *s)
{
	cpu_set_t set;
	int own = sched_getcpu(), other = -1;

	if (own < 0 || sched_getaffinity(0, sizeof(set), &set) < 0)
		return -1;
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set) && i != own)
			other = i;
	pin(0, own);
	pin(s->client.worker, own);
	return other;
}

static int start(struct stepper *s)
{
	struct subject *subject = &s->subject;
	char words[2048] = "";
	int r = ground_init(&subject->ground, s->st->dir, "step", s->st->private_mount);

	if (r < 0)
		return stress_fail(s->st, r, "cannot make the ground in %s", s->st->dir);
	r = subject_start(subject, s->st->dir, words, sizeof(words));
	if (r < 0)
		return stress_fail(s->st, r, "the server does not start: %s", words);
	r = client_open(&s->client, subject);
	if (r == 0)
		r = client_enter(&s->client, TREE_ALLOW);
	if (r < 0)
		return stress_fail(s->st, r, "no session: %s", gofer_message());
	/* Waking somebody on another CPU costs more than a system call. */
	s->other_cpu = take_cpus(s);
	s->outside = (struct hand){ .ground = &subject->ground,
				    .tree = &subject->ground.trees[TREE_ALLOW] };
	r = s->client.worker ? tracer_attach(&s->tracer, s->client.worker) : -ESRCH;
	if (r < 0)
		return stress_fail(s->st, r, "the server cannot be traced");
	return 0;
}

int stress_step(struct stress *st)
{
	struct stepper *s = calloc(1, sizeof(*s));
	uint64_t begin = now_ns();
	int r, status;

	if (!s)
		return -ENOMEM;
	s->st = st;
	s->subject = (struct subject){ .label = "step",
				       .program = &st->gofer,
				       .alone = !st->shipped,
				       .no_openat2 = st->no_openat2,
				       .threads = 1,
				       .log = -EBADF,
				       .ground = { .fd = -EBADF } };
	s->matrix = matrix_new();
	r = s->matrix && n_moves <= MOVES_MAX && n_routes <= ROUTES_MAX ? start(s) : -ENOMEM;
	if (r == 0)
		r = run_all(s);
	if (r == 0 && !st->interrupted)
		r = run_storm(s);
	st->run_ns = now_ns() - begin;
	tracer_detach(&s->tracer);
	client_close(&s->client);
	status = subject_stop(&s->subject);
	if (r == 0 && status != 0)
		r = stress_fail(st, -EIO, "the server ended with status %d", status);
	if (r == 0)
		r = report(s);
	ground_deinit(&s->subject.ground);
	fd_close(s->subject.log);
	matrix_free(s->matrix);
	free(s);
	return r;
}
