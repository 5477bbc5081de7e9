/*
 * race.h - between the controller of a race (rename.c) and its processes (player.c).
 */
#pragma once

#include "client/stress/stress.h"
#include "client/stress/tally.h"

enum role { ROLE_OUTSIDE, ROLE_VICTIM, ROLE_SECOND, ROLE_PIPELINED, ROLE_COUNT };

struct round {
	uint32_t number; /* 0 = the run is over */
	unsigned subject, tree;
	enum attacker attacker;
};

struct shared {
	_Atomic uint32_t number;  /* of the round that goes on, else 0 */
	_Atomic uint32_t started; /* of the last that began */
	_Atomic pid_t workers[SUBJECT_MAX][ROLE_COUNT];
	struct tally tally;
};

struct race {
	struct stress *stress;
	struct subject *subjects;
	size_t n_subjects;
	struct shared *shared;
	int cpus[2]; /* of server and victim, of attackers; -1: not pinned */
	struct {
		pid_t pid;
		int sock;
	} processes[ROLE_COUNT];
};

/* A process of the run: plays the rounds that it is told through `sock`. Returns its exit status. */
int player_main(struct race *race, enum role role, int sock);
