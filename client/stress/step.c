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

#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include <jansson.h>

#include "client/cli/cli.h"
#include "client/stress/trace.h"
#include "common/packet.h"

/* The tree is changed already, and the move takes it back; a slash behind the path. */
enum { VARIANT_INVERSE = 1, VARIANT_SLASH = 2, VARIANTS = 4 };
enum { GAPS_MAX = 160, MOVES_MAX = 64, NAMES_MAX = 6, EVIDENCE_SHOWN = 20 };

struct cell {
	uint32_t cases, escapes;
};

struct row {
	struct cell cells[MOVES_MAX];
	char names[NAMES_MAX][24]; /* of the system calls that begin after this gap */
};

struct matrix {
	struct row rows[RPC_COUNT][GAPS_MAX];
	unsigned gaps[RPC_COUNT];
	uint64_t cases, escapes;
	json_t *evidence;
};

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

static void note_escape(struct stepper *s, const struct move *move, unsigned gap)
{
	struct matrix *m = s->matrix;
	char what[460], name[24];

	m->rows[s->op.rpc->index][gap].cells[move - moves].escapes++;
	m->escapes++;
	if (json_array_size(m->evidence) >= EVIDENCE_SHOWN)
		return;
	op_describe(&s->op, what, sizeof(what));
	(void)json_array_append_new(m->evidence,
				    json_pack("{s:o, s:i, s:s, s:s, s:s}", "request",
					      cli_json_bytes(what, strlen(what)), "gap", gap,
					      "before", system_call_name(s->call, name), "move",
					      move->name, "found", s->words));
}

static void note_case(struct stepper *s, const struct move *move, unsigned gap)
{
	struct row *row = &s->matrix->rows[s->op.rpc->index][gap];
	char name[24];

	s->matrix->cases++;
	row->cells[move - moves].cases++;
	s->matrix->gaps[s->op.rpc->index] = MAX(s->matrix->gaps[s->op.rpc->index], gap + 1);
	(void)system_call_name(s->call, name);
	for (size_t i = 0; i < NAMES_MAX; i++) {
		if (!row->names[i][0])
			memcpy(row->names[i], name, sizeof(name));
		if (!strcmp(row->names[i], name))
			break;
	}
}

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
		note_case(s, move, gap);
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
		note_escape(s, move, played ? gap : 0);
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

static int run_all(struct stepper *s)
{
	int r = 0;

	for (enum rpc_index rpc = 0; r == 0 && rpc < RPC_COUNT; rpc++) {
		if (s->st->only && strcasecmp(s->st->only, rpc_table[rpc].name) != 0)
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

/* ---- what it showed ---- */

static char mark(const struct cell *c)
{
	return !c->cases && !c->escapes ? ' ' : c->escapes ? 'E' : '.';
}

static void print_matrix(const struct stepper *s)
{
	const struct matrix *m = s->matrix;
	size_t n, at;
	json_t *e;

	printf("moves, from left to right:\n");
	for (size_t k = 0; k < n_moves; k++)
		printf("  %2zu %-32s%s", k + 1, moves[k].name, k % 3 == 2 ? "\n" : "");
	printf("\n");
	for (size_t rpc = 0; rpc < RPC_COUNT; rpc++) {
		if (!m->gaps[rpc])
			continue;
		printf("\n%s: before system call\n", rpc_table[rpc].name);
		for (unsigned gap = 0; gap < m->gaps[rpc]; gap++) {
			const struct row *row = &m->rows[rpc][gap];

			printf("%4u |", gap + 1);
			for (size_t k = 0; k < n_moves; k++)
				putchar(mark(&row->cells[k]));
			printf("| ");
			for (size_t i = 0; i < NAMES_MAX && row->names[i][0]; i++)
				printf("%s%s", i ? ", " : "", row->names[i]);
			putchar('\n');
		}
	}
	json_array_foreach(m->evidence, n, e)
	{
		const char *request, *move, *found, *before;
		int gap;

		if (json_unpack(e, "{s:s, s:i, s:s, s:s, s:s}", "request", &request, "gap", &gap,
				"before", &before, "move", &move, "found", &found) == 0)
			printf("%s  %s; before its system call %d (%s): %s; %s\n",
			       n ? "" : "\nevidence:\n", request, gap + 1, before, move, found);
	}
	at = 0;
	for (size_t rpc = 0; rpc < RPC_COUNT; rpc++)
		at += m->gaps[rpc];
	printf("\n%s  %llu escapes in %llu cases: %zu gaps of %s, %zu moves both ways%s\n",
	       m->escapes ? "FAIL" : "  ok", (unsigned long long)m->escapes,
	       (unsigned long long)m->cases, at,
	       s->st->only ? s->st->only : "all requests that take a path", n_moves,
	       s->st->interrupted ? "; interrupted" : "");
}

static json_t *matrix_json(const struct stepper *s)
{
	const struct matrix *m = s->matrix;
	json_t *list = json_array();

	for (size_t rpc = 0; rpc < RPC_COUNT; rpc++)
		for (unsigned gap = 0; gap < m->gaps[rpc]; gap++) {
			const struct row *row = &m->rows[rpc][gap];
			json_t *calls = json_array(), *verdicts = json_object();

			for (size_t i = 0; i < NAMES_MAX && row->names[i][0]; i++)
				(void)json_array_append_new(calls, json_string(row->names[i]));
			for (size_t k = 0; k < n_moves; k++)
				if (row->cells[k].cases)
					(void)json_object_set_new(verdicts, moves[k].name,
								  json_pack("{s:i, s:i}", "cases",
									    row->cells[k].cases,
									    "escapes",
									    row->cells[k].escapes));
			(void)json_array_append_new(
				list, json_pack("{s:s, s:i, s:o, s:o}", "rpc", rpc_table[rpc].name,
						"gap", gap, "before", calls, "moves", verdicts));
		}
	return json_pack("{s:b, s:b, s:I, s:I, s:f, s:o, s:O}", "ok",
			 !m->escapes && m->cases && !s->st->interrupted, "interrupted",
			 s->st->interrupted, "cases", (json_int_t)m->cases, "escapes",
			 (json_int_t)m->escapes, "seconds", (double)s->st->run_ns / 1e9, "matrix",
			 list, "evidence", m->evidence);
}

static int report(struct stepper *s)
{
	if (s->st->json) {
		json_t *object = matrix_json(s);

		(void)json_dumpf(object, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(object);
	} else {
		print_matrix(s);
		printf("      %.1f s on %s, the server %s\n", (double)s->st->run_ns / 1e9,
		       s->st->where, s->subject.alone ? "alone" : "with all layers");
	}
	return s->matrix->escapes || !s->matrix->cases || s->st->interrupted;
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
	pin(0, sched_getcpu());
	pin(s->client.worker, sched_getcpu());
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

	_Static_assert(MOVES_MAX >= 50, "room for all moves");
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
	s->matrix = calloc(1, sizeof(*s->matrix));
	if (s->matrix)
		s->matrix->evidence = json_array();
	r = s->matrix && n_moves <= MOVES_MAX ? start(s) : -ENOMEM;
	if (r == 0)
		r = run_all(s);
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
	if (s->matrix)
		json_decref(s->matrix->evidence);
	free(s->matrix);
	free(s);
	return r;
}
