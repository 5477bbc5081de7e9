/*
 * identity.c - see identity.h. The real and the saved uid of a switching worker stay 0, so that it can come back; the effective uid,
 * gid and groups are those that the kernel checks files against. Leaving effective uid 0 clears every effective capability, and
 * coming back to it restores what is permitted: so for anyone but uid 0 a request has no capability at all, as a child process with
 * those credentials would have none.
 */
#include "server/identity.h"

#include <linux/capability.h>
#include <string.h>
#include <sys/syscall.h>

#include "common/log.h"
#include "common/sys.h"

#define CAP_BIT(cap) (UINT64_C(1) << (cap))

static int caps_set_effective(uint64_t effective, uint64_t permitted)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)effective, .permitted = (uint32_t)permitted },
		{ .effective = effective >> 32, .permitted = permitted >> 32 },
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int caps_get_permitted(uint64_t *ret)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*ret = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return 0;
}

static void switch_failed(const char *step, int r)
{
	log_error("identity: %s failed (%s): this thread is nobody in particular, giving up", step,
		  strerror(-r));
	abort();
}

int identity_enter(struct identity_state *state, const struct identity *id)
{
	uint64_t base = CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID), permitted = 0;
	int r;

	if (state->serial == id->serial && state->caps == id->caps)
		return 0;
	if (state->fixed)
		return state->fixed_uid == id->uid && state->fixed_gid == id->gid ? 0 : -EPERM;
	state->serial = 0;

	/* Up first: only uid 0 may choose. */
	r = sys_setresuid_thread(-1, 0, -1);
	if (r < 0)
		switch_failed("setresuid to 0", r);
	r = caps_get_permitted(&permitted);
	if (r == 0)
		r = caps_set_effective((base | id->caps) & permitted, permitted);
	if (r < 0)
		switch_failed("capset", r);
	r = sys_setgroups_thread(id->n_groups, id->groups);
	if (r < 0)
		switch_failed("setgroups", r);
	r = sys_setresgid_thread(-1, id->gid, -1);
	if (r < 0)
		switch_failed("setresgid", r);
	r = sys_setresuid_thread(-1, id->uid, -1);
	if (r < 0)
		switch_failed("setresuid", r);
	state->serial = id->serial;
	state->caps = id->caps;
	return 0;
}

bool identity_is_fixed(const struct server *server)
{
	const struct volume *first = &server->volumes[0];

	for (size_t i = 0; i < server->n_volumes; i++) {
		const struct volume *v = &server->volumes[i];

		if (v->identity != IDENTITY_SQUASH || v->squash_uid != first->squash_uid ||
		    v->squash_gid != first->squash_gid || v->caps != first->caps)
			return false;
	}
	return true;
}

int identity_become(uid_t uid, gid_t gid)
{
	int r;

	/* Already so: then the groups are those of whoever started the server, and are meant. */
	if (geteuid() == uid && getuid() == uid && getegid() == gid && getgid() == gid)
		return 0;
	r = sys_setgroups_thread(0, NULL);
	if (r == 0)
		r = sys_setresgid_thread(gid, gid, gid);
	if (r == 0)
		r = sys_setresuid_thread(uid, uid, uid);
	return r;
}

uint64_t identity_needed_caps(const struct server *server)
{
	uint64_t caps = 0;

	if (identity_is_fixed(server))
		return server->volumes[0].squash_uid == 0 ? server->volumes[0].caps : 0;
	for (size_t i = 0; i < server->n_volumes; i++)
		caps |= server->volumes[i].caps;
	return caps | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID);
}

static bool in_range(const struct id_range *range, uint32_t id)
{
	return id >= range->low && id <= range->high;
}

static bool peer_has_gid(const struct peer *peer, gid_t gid)
{
	if (peer->gid == gid)
		return true;
	for (size_t i = 0; i < peer->n_groups; i++)
		if (peer->groups[i] == gid)
			return true;
	return false;
}

int identity_allowed(const struct volume *volume, const struct peer *peer, uid_t uid, gid_t gid,
		     const gid_t *groups, size_t n)
{
	if (!in_range(&volume->uids, uid) || !in_range(&volume->gids, gid))
		return -EPERM;
	for (size_t i = 0; i < n; i++)
		if (!in_range(&volume->gids, groups[i]))
			return -EPERM;
	if (peer->uid == 0 && !peer->remote)
		return 0;
	/* Anybody but root can be only what it is. */
	if (uid != peer->uid || !peer_has_gid(peer, gid))
		return -EPERM;
	for (size_t i = 0; i < n; i++)
		if (!peer_has_gid(peer, groups[i]))
			return -EPERM;
	return 0;
}
