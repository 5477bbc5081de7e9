/*
 * identity.h - under whose credentials a request is executed, per thread.
 *
 * The kernel checks every permission, so a request must run as the user it is for. Credentials
 * belong to a thread in Linux (the C library hides that): raw system calls, groups first, then gid,
 * then uid. A switch that fails half-way leaves a thread that is nobody in particular: the process
 * is aborted rather than going on.
 */
#pragma once

#include "common/util.h"
#include "server/server.h"

struct identity {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* owned by whoever owns the identity */
	size_t n_groups;
	uint64_t caps;   /* effective while uid is 0: the volume's */
	uint64_t serial; /* unique per registered value: equal serials are equal identities */
};

/* What a thread is now. serial 0 = unknown. */
struct identity_state {
	uint64_t serial;
	uint64_t caps;
	bool fixed; /* this process is one user for good: entering an identity only checks */
	uid_t fixed_uid;
	gid_t fixed_gid;
};

/* Makes the calling thread `id`. 0, or -EPERM where the process is fixed to another user. Aborts on
 * a half-made switch. */
int identity_enter(struct identity_state *state, const struct identity *id);

/*
 * Whether all volumes squash to one user: then the worker becomes that user for good
 * (identity_become) and needs no capability.
 */
bool identity_is_fixed(const struct server *server);
/* For good, all threads (called while there is one): groups, gid, uid. */
int identity_become(uid_t uid, gid_t gid);
/* Capabilities that workers keep permitted: SETUID, SETGID where requests run as different users, and what
 * volumes asked for. */
uint64_t identity_needed_caps(const struct server *server);
/* Whether `volume` lets `peer` act as (uid, gid, groups). 0 or -EPERM. */
int identity_allowed(const struct volume *volume, const struct peer *peer, uid_t uid, gid_t gid,
		     const gid_t *groups, size_t n);
