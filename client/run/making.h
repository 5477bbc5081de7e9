/*
 * making.h - a plan that is being made: what plan.c, volumes.c and places.c share. Nobody else includes it.
 */
#pragma once

#include "client/run/options.h"
#include "client/run/plan.h"
#include "client/run/problem.h"

struct making {
	const struct run_options *options;
	struct run_plan *plan;
	char *problem;
	size_t room;
};

/* volumes.c: all volumes, the user's, the root's and the private ones, sorted and named. */
int plan_add_volumes(struct making *m);
/* places.c: something to mount each of them on. */
int plan_make_places(struct making *m);
