/*
 * session_identity.c - what the identity numbers of a session mean. Number 0 is the default: the volume's squash user, or, on a
 * delegating volume, the peer itself. Others are what SetIdentity registered. A value gets a serial number of its own, so that a
 * thread knows by one comparison whether it already is that user; replacing a value takes effect with the next request. Whether the
 * peer itself may act on a delegating volume is decided once, when the session begins, so that no way into it can forget to ask.
 */
#include "server/session.h"

#include <string.h>

int session_identities_init(struct session *s)
{
	const struct server *server = s->server;
	struct identity *ids = calloc(server->n_volumes, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	s->fixed = identity_is_fixed(server);
	for (size_t i = 0; i < server->n_volumes; i++) {
		const struct volume *v = &server->volumes[i];

		ids[i] = (struct identity){ .caps = v->caps, .serial = ++s->next_serial };
		if (v->identity == IDENTITY_SQUASH) {
			ids[i].uid = v->squash_uid;
			ids[i].gid = v->squash_gid;
		} else {
			ids[i].uid = s->peer->uid;
			ids[i].gid = s->peer->gid;
			ids[i].groups =
				s->peer->groups; /* borrowed: the peer outlives the session */
			ids[i].n_groups = s->peer->n_groups;
			/* Not for this volume: nobody enters serial 0. */
			if (identity_allowed(v, s->peer, ids[i].uid, ids[i].gid, ids[i].groups,
					     ids[i].n_groups) < 0)
				ids[i].serial = 0;
		}
	}
	s->volume_identities = ids;
	return 0;
}

struct session_identity *session_identity_ref(struct session_identity *id)
{
	if (id)
		atomic_fetch_add(&id->refs, 1);
	return id;
}

struct session_identity *session_identity_unref(struct session_identity *id)
{
	if (id && atomic_fetch_sub(&id->refs, 1) == 1) {
		atomic_fetch_sub(&id->session->identity_groups, id->identity.n_groups);
		free(id->identity.groups);
		free(id);
	}
	return NULL;
}

void session_identities_deinit(struct session *s)
{
	if (s->identities)
		for (uint32_t i = 0; i < s->server->limits.max_identities; i++)
			session_identity_unref(s->identities[i]);
	free(s->identities);
	free(s->volume_identities);
}

/* Whether at least one volume delegates to (uid, gid, groups): a number that no volume would accept is refused at once. */
static int allowed_somewhere(const struct session *s, const struct identity *id)
{
	for (size_t i = 0; i < s->server->n_volumes; i++) {
		const struct volume *v = &s->server->volumes[i];

		if (v->identity == IDENTITY_DELEGATE &&
		    identity_allowed(v, s->peer, id->uid, id->gid, id->groups, id->n_groups) == 0)
			return 0;
	}
	return -EPERM;
}

int session_identity_set(struct session *s, const Gofer__SetIdentityRequest *q)
{
	struct session_identity *fresh = NULL, *old;
	uint32_t max = s->server->limits.max_identities;
	int r = 0;

	if (q->id > max)
		return -ENOSPC;
	if (!q->remove) {
		fresh = calloc(1, sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		fresh->refs = 1;
		fresh->session = s;
		fresh->identity = (struct identity){ .uid = q->uid, .gid = q->gid };
		if (atomic_fetch_add(&s->identity_groups, q->n_groups) + q->n_groups >
		    SESSION_MAX_GROUPS)
			r = -ENOSPC;
		fresh->identity.n_groups = q->n_groups;
		if (r < 0) {
			session_identity_unref(fresh);
			return r;
		}
		if (q->n_groups) {
			fresh->identity.groups = calloc(q->n_groups, sizeof(gid_t));
			if (!fresh->identity.groups) {
				session_identity_unref(fresh);
				return -ENOMEM;
			}
			memcpy(fresh->identity.groups, q->groups, q->n_groups * sizeof(gid_t));
		}
		r = allowed_somewhere(s, &fresh->identity);
		if (r < 0) {
			session_identity_unref(fresh);
			return r;
		}
	}
	pthread_mutex_lock(&s->lock);
	if (!s->identities)
		s->identities = calloc(max, sizeof(*s->identities));
	if (!s->identities) {
		r = -ENOMEM;
		old = fresh;
	} else {
		if (fresh)
			fresh->identity.serial = ++s->next_serial;
		old = s->identities[q->id - 1];
		s->identities[q->id - 1] = fresh;
		if (!old && q->remove)
			r = -ENOENT;
	}
	pthread_mutex_unlock(&s->lock);
	session_identity_unref(old);
	return r;
}

/* Makes the thread `registered` (taken), or with NULL the volume's default: -EPERM where that may not act there. */
static int enter(struct worker *w, const struct volume *volume, struct session_identity *registered)
{
	const struct session *s = w->session;
	struct identity id = registered ? registered->identity
					: s->volume_identities[volume - s->server->volumes];

	if (id.serial == 0)
		return -EPERM;
	id.caps = volume->caps;
	session_identity_unref(w->acting);
	w->acting = registered;
	return identity_enter(&w->identity, &id);
}

int session_identity_enter(struct worker *w, const struct volume *volume, uint32_t number)
{
	struct session *s = w->session;
	struct session_identity *registered = NULL;
	int r;

	if (number == 0)
		return enter(w, volume, NULL);
	if (volume->identity != IDENTITY_DELEGATE)
		return -EPERM;
	pthread_mutex_lock(&s->lock);
	if (s->identities && number <= s->server->limits.max_identities)
		registered = s->identities[number - 1];
	session_identity_ref(registered);
	pthread_mutex_unlock(&s->lock);
	if (!registered)
		return -EINVAL;
	r = identity_allowed(volume, s->peer, registered->identity.uid, registered->identity.gid,
			     registered->identity.groups, registered->identity.n_groups);
	if (r < 0) {
		session_identity_unref(registered);
		return r;
	}
	return enter(w, volume, registered);
}

int session_identity_enter_handle(struct worker *w, const struct handle *handle)
{
	return enter(w, handle->volume, session_identity_ref(handle->identity));
}
