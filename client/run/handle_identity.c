/*
 * handle_identity.c - setuid(2) and its kin. The kernel decides, but for the errno: in a user namespace that has one user and one group, others
 * do not exist (EINVAL), and outside they are those that an ordinary user may not become (EPERM), which is what programs expect.
 *
 * The ids are in registers, so what is looked at is what the kernel looks at.
 */
#include <errno.h>

#include "client/run/call.h"

static int64_t set_ids(struct call *c, unsigned n, uint32_t own)
{
	const struct run_plan *plan = c->sv->plan;

	c->may_continue = true;
	/* Root's has all of them. */
	if (!run_has(plan, RUN_LAYER_USER) || plan->uid == 0)
		return CALL_CONTINUE;
	for (unsigned i = 0; i < n; i++)
		if ((uint32_t)c->args[i] != own && (uint32_t)c->args[i] != UINT32_MAX)
			return -EPERM;
	return CALL_CONTINUE;
}

int64_t supervise_setuid(struct call *c)
{
	return set_ids(c, 1, c->sv->plan->uid);
}

int64_t supervise_setgid(struct call *c)
{
	return set_ids(c, 1, c->sv->plan->gid);
}

int64_t supervise_setreuid(struct call *c)
{
	return set_ids(c, 2, c->sv->plan->uid);
}

int64_t supervise_setregid(struct call *c)
{
	return set_ids(c, 2, c->sv->plan->gid);
}

int64_t supervise_setresuid(struct call *c)
{
	return set_ids(c, 3, c->sv->plan->uid);
}

int64_t supervise_setresgid(struct call *c)
{
	return set_ids(c, 3, c->sv->plan->gid);
}
