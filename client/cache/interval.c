/*
 * interval.c - sets of ranges. A treap: a search tree by where ranges begin, a heap by random
 * priorities, so that it stays shallow whatever the order of insertion.
 */
#include "client/cache/interval.h"

enum { SPARE = 2 };

struct interval_node {
	struct interval_node *left, *right; /* of spare ones: left is the next */
	uint64_t begin, end;
	uint32_t priority;
};

static void free_all(struct interval_node *n)
{
	/* Rotated into a list as it goes: no recursion. */
	while (n) {
		struct interval_node *left = n->left;

		if (left) {
			n->left = left->right;
			left->right = n;
			n = left;
		} else {
			struct interval_node *right = n->right;

			free(n);
			n = right;
		}
	}
}

void interval_deinit(struct interval_set *s)
{
	free_all(s->root);
	free_all(s->spare);
	*s = (struct interval_set){ 0 };
}

static unsigned spares(const struct interval_set *s)
{
	unsigned n = 0;

	for (const struct interval_node *i = s->spare; i; i = i->left)
		n++;
	return n;
}

int interval_reserve(struct interval_set *s)
{
	while (spares(s) < SPARE) {
		struct interval_node *n = calloc(1, sizeof(*n));

		if (!n)
			return s->spare ? 0 : -ENOMEM;
		n->left = s->spare;
		s->spare = n;
	}
	return 0;
}

static struct interval_node *take(struct interval_set *s, uint64_t begin, uint64_t end)
{
	struct interval_node *n = s->spare;

	if (!n)
		abort(); /* nobody reserved */
	s->spare = n->left;
	/* xorshift, seeded by what it made last */
	s->random = s->random ? s->random : 2463534242u;
	s->random ^= s->random << 13;
	s->random ^= s->random >> 17;
	s->random ^= s->random << 5;
	*n = (struct interval_node){ .begin = begin, .end = end, .priority = s->random };
	s->n++;
	s->bytes += end - begin;
	return n;
}

static void give(struct interval_set *s, struct interval_node *n)
{
	s->n--;
	s->bytes -= n->end - n->begin;
	n->right = NULL;
	n->left = NULL;
	if (spares(s) < SPARE) {
		n->left = s->spare;
		s->spare = n;
	} else {
		free(n);
	}
}

/* Those that begin before `key` to the left, the others to the right. */
static void split(struct interval_node *n, uint64_t key, struct interval_node **ret_left,
		  struct interval_node **ret_right)
{
	while (n) {
		if (n->begin < key) {
			*ret_left = n;
			ret_left = &n->right;
			n = n->right;
		} else {
			*ret_right = n;
			ret_right = &n->left;
			n = n->left;
		}
	}
	*ret_left = *ret_right = NULL;
}

/* All of `a` lies before all of `b`. */
static struct interval_node *merge(struct interval_node *a, struct interval_node *b)
{
	struct interval_node *root, **at = &root;

	while (a && b) {
		if (a->priority > b->priority) {
			*at = a;
			at = &a->right;
			a = a->right;
		} else {
			*at = b;
			at = &b->left;
			b = b->left;
		}
	}
	*at = a ? a : b;
	return root;
}

static struct interval_node *last(struct interval_node *n)
{
	while (n && n->right)
		n = n->right;
	return n;
}

/* Takes the last one out of a tree that has any. */
static struct interval_node *pop_last(struct interval_node **root)
{
	struct interval_node *n;

	while ((*root)->right)
		root = &(*root)->right;
	n = *root;
	*root = n->left;
	n->left = NULL;
	return n;
}

static void give_all(struct interval_set *s, struct interval_node *n)
{
	while (n) {
		struct interval_node *one = pop_last(&n);

		give(s, one);
	}
}

void interval_add(struct interval_set *s, uint64_t begin, uint64_t end)
{
	struct interval_node *before, *in, *after, *edge;

	if (begin >= end)
		return;
	split(s->root, begin, &before, &after);
	/* What touches at the end is joined, too. */
	split(after, end == UINT64_MAX ? end : end + 1, &in, &after);
	edge = last(before);
	if (edge && edge->end >= begin) {
		edge = pop_last(&before);
		begin = edge->begin;
		end = MAX(end, edge->end);
		give(s, edge);
	}
	edge = last(in);
	if (edge)
		end = MAX(end, edge->end);
	give_all(s, in);
	s->root = merge(merge(before, take(s, begin, end)), after);
}

void interval_remove(struct interval_set *s, uint64_t begin, uint64_t end)
{
	struct interval_node *before, *in, *after, *edge;

	if (begin >= end)
		return;
	split(s->root, begin, &before, &after);
	split(after, end, &in, &after);
	edge = last(in);
	if (edge && edge->end > end) {
		edge = pop_last(&in);
		s->bytes -= end - edge->begin;
		edge->begin = end;
		after = merge(edge, after);
	}
	give_all(s, in);
	edge = last(before);
	if (edge && edge->end > begin) {
		uint64_t rest = edge->end;

		s->bytes -= rest - begin;
		edge->end = begin;
		if (rest > end)
			after = merge(take(s, end, rest), after);
	}
	s->root = merge(before, after);
}

bool interval_next(const struct interval_set *s, uint64_t at, struct interval *ret)
{
	const struct interval_node *n = s->root, *found = NULL;

	while (n) {
		if (n->end > at) {
			found = n;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	if (found)
		*ret = (struct interval){ found->begin, found->end };
	return found;
}

bool interval_covers(const struct interval_set *s, uint64_t begin, uint64_t end)
{
	struct interval i;

	return begin >= end || (interval_next(s, begin, &i) && i.begin <= begin && i.end >= end);
}

bool interval_meets(const struct interval_set *s, uint64_t begin, uint64_t end)
{
	struct interval i;

	return begin < end && interval_next(s, begin, &i) && i.begin < end;
}
