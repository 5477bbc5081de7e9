/*
 * lookup.c - the text of a resolution, and nothing that talks to a server. See namespace.h for the
 * model.
 *
 * `pos` is the absolute path of the base, `path` what is to be walked from it. All comparing with
 * mount points is done on a cursor that starts at pos and takes the components one by one, ".."
 * lexically; what that may be used for is decided case by case below.
 */
#include <string.h>

#include "client/namespace.h"
#include "common/path.h"

/* An absolute, normalised path that grows and shrinks by components. */
struct cursor {
	size_t len;
	char path[3 * PATH_MAX];
};

static void cursor_set(struct cursor *c, const char *path, size_t len)
{
	memcpy(c->path, path, len);
	c->path[len] = '\0';
	c->len = len;
}

static bool cursor_push(struct cursor *c, const char *name, size_t len)
{
	if (c->len + len + 2 > sizeof(c->path))
		return false;
	if (c->len > 1)
		c->path[c->len++] = '/';
	memcpy(c->path + c->len, name, len);
	c->len += len;
	c->path[c->len] = '\0';
	return true;
}

static void cursor_pop(struct cursor *c)
{
	while (c->len > 1 && c->path[c->len - 1] != '/')
		c->len--;
	if (c->len > 1)
		c->len--;
	c->path[c->len] = '\0';
}

static int set_pos(struct lookup *l, const char *path, size_t len)
{
	if (len >= sizeof(l->pos))
		return -ENAMETOOLONG;
	memcpy(l->pos, path, len);
	l->pos[len] = '\0';
	l->pos_len = len;
	return 0;
}

/* Drops the first `n` bytes of the text, and slashes behind them. */
static void drop(struct lookup *l, size_t n)
{
	while (n < l->len && l->path[n] == '/')
		n++;
	memmove(l->path, l->path + n, l->len - n);
	l->len -= n;
}

static void set_mount(struct lookup *l, struct mount *m)
{
	struct mount *old = l->mount;

	l->mount = mount_ref(m);
	mount_unref(old);
	gofer_place_unref(l->base);
	l->base = NULL;
	l->crossings = m && mounts_below(l->ns->table, m->path, m->len);
}

/* With the table's lock: goes on at an absolute position, as deep in a mount as text can say. `path` keeps
 * what is left to walk. */
static int go_to(struct lookup *l, const char *pos, size_t len)
{
	struct mount *m = mount_over(l->ns->table, pos, len);
	size_t below;

	set_mount(l, m);
	if (!m)
		return set_pos(l, pos, len);
	below = m->len > 1 ? m->len : 0;
	below += below < len; /* the slash */
	len -= below;
	if (len + 1 + l->len >= sizeof(l->path))
		return -ENAMETOOLONG;
	if (len) {
		memmove(l->path + len + 1, l->path, l->len);
		memcpy(l->path, pos + below, len);
		l->path[len] = '/';
		/* What follows may be nothing; then no slash either, which would ask for a
		 * directory. */
		l->len = l->len ? l->len + len + 1 : len;
	}
	return set_pos(l, m->path, m->len);
}

/* With the table's lock. In directories that only mounts make, names are mounts or lead to mounts. */
static int settle_synthetic(struct lookup *l)
{
	size_t at = 0, begin, end;
	struct cursor c;

	cursor_set(&c, l->pos, l->pos_len);
	while (path_next(l->path, l->len, &at, &begin, &end)) {
		const char *name = l->path + begin;
		size_t n = end - begin;
		struct mount *m;

		if (path_is_dot(name, n))
			continue;
		if (path_is_dotdot(name, n)) {
			cursor_pop(&c);
			continue;
		}
		if (!cursor_push(&c, name, n))
			return -ENAMETOOLONG;
		m = mount_at(l->ns->table, c.path, c.len);
		if (m) {
			set_mount(l, m);
			drop(l, end);
			return set_pos(l, m->path, m->len);
		}
		if (!mounts_below(l->ns->table, c.path, c.len)) {
			l->missing = !path_next(l->path, l->len, &at, &begin, &end);
			return -ENOENT;
		}
	}
	l->len = 0;
	return set_pos(l, c.path, c.len) < 0 ? -ENAMETOOLONG : LOOKUP_SYNTHETIC;
}

/* Whether the text can neither enter nor leave a mount. */
static bool stays_inside(const struct lookup *l)
{
	return !l->crossings && (l->len < 2 || l->path[0] != '.');
}

/* With the table's lock. 0: the text stays in the mount as far as can be told; 1: something was entered or
 * left, settle again. */
static int settle_mount(struct lookup *l)
{
	struct mount *m = l->mount;
	bool dotdot = false, names = l->base != NULL;
	size_t at = 0, begin, end;
	struct cursor c;

	if (stays_inside(l))
		return 0;
	cursor_set(&c, l->pos, l->pos_len);
	while (path_next(l->path, l->len, &at, &begin, &end)) {
		const char *name = l->path + begin;
		size_t n = end - begin;
		struct mount *next;

		if (path_is_dot(name, n))
			continue;
		if (path_is_dotdot(name, n)) {
			dotdot = true;
			if (c.len == m->len && names)
				return 0; /* leaves the mount, if what is before exists: the server
					     stops there and says so */
			cursor_pop(&c);
			if (names)
				continue;
			/* Straight out of the mount's root: its parent is in what the mount stands
			 * on. */
			drop(l, end);
			return go_to(l, c.path, c.len) < 0 ? -ENAMETOOLONG : 1;
		}
		names = true;
		if (!cursor_push(&c, name, n))
			return -ENAMETOOLONG;
		next = l->crossings ? mount_at(l->ns->table, c.path, c.len) : NULL;
		if (!next)
			continue;
		if (dotdot) {
			l->verify_end = begin;
			l->cross_end = end;
			return LOOKUP_VERIFY;
		}
		set_mount(l, next);
		drop(l, end);
		return set_pos(l, next->path, next->len) < 0 ? -ENAMETOOLONG : 1;
	}
	return 0;
}

/* With the table's lock. A mount of ours inside of what is foreign (/dev/shm in /dev) is entered by names alone; where there is a "..",
 * what it leads to is not ours to say. */
static bool enter_from_foreign(struct lookup *l)
{
	size_t at = 0, begin, end;
	struct cursor c;

	cursor_set(&c, l->pos, l->pos_len);
	while (path_next(l->path, l->len, &at, &begin, &end)) {
		struct mount *next;

		if (path_is_dot(l->path + begin, end - begin))
			continue;
		if (path_is_dotdot(l->path + begin, end - begin) ||
		    !cursor_push(&c, l->path + begin, end - begin))
			return false;
		next = mount_at(l->ns->table, c.path, c.len);
		if (next && set_pos(l, next->path, next->len) == 0) {
			set_mount(l, next);
			drop(l, end);
			return true;
		}
	}
	return false;
}

static int settle_locked(struct lookup *l)
{
	for (;;) {
		int r;

		if (!l->mount) {
			r = settle_synthetic(l);
			if (r != 0)
				return r;
			continue;
		}
		if (!l->mount->session) {
			if (l->crossings && enter_from_foreign(l))
				continue;
			foreign_note(l->pos, l->path, l->len);
			return -EREMOTE;
		}
		r = settle_mount(l);
		if (r != 1)
			return r;
	}
}

int lookup_settle(struct lookup *l)
{
	int r;

	if (l->settled) {
		l->settled = false;
		return 0;
	}
	pthread_rwlock_rdlock(&l->ns->table->lock);
	r = settle_locked(l);
	pthread_rwlock_unlock(&l->ns->table->lock);
	return r;
}

void lookup_cross(struct lookup *l)
{
	size_t at = 0, begin, end;
	struct cursor c;
	struct mount *m;

	cursor_set(&c, l->pos, l->pos_len);
	while (at < l->cross_end && path_next(l->path, l->len, &at, &begin, &end)) {
		if (path_is_dotdot(l->path + begin, end - begin))
			cursor_pop(&c);
		else if (!path_is_dot(l->path + begin, end - begin))
			(void)cursor_push(&c, l->path + begin, end - begin);
	}
	pthread_rwlock_rdlock(&l->ns->table->lock);
	m = mount_at(l->ns->table, c.path, c.len);
	if (m) {
		set_mount(l, m);
		drop(l, l->cross_end);
		(void)set_pos(l, m->path, m->len);
	}
	pthread_rwlock_unlock(&l->ns->table->lock);
}

int lookup_init_at(struct lookup *l, struct gofer_namespace *ns, struct gofer_place *from,
		   const char *path)
{
	size_t len = strlen(path);
	int r;

	l->ns = ns;
	l->mount = NULL;
	l->base = NULL;
	l->links = 0;
	l->missing = l->crossings = l->fresh = l->settled = false;
	l->len = l->pos_len = 0;
	if (len == 0)
		return -ENOENT;
	if (len > PATH_LEN_MAX)
		return -ENAMETOOLONG;
	memcpy(l->path, path, len);
	l->len = len;
	if (path[0] == '/') {
		pthread_rwlock_rdlock(&ns->table->lock);
		drop(l, 0);
		r = go_to(l, "/", 1);
		/* Most are: then once with the lock is enough. */
		l->settled = r == 0 && l->mount && l->mount->session && stays_inside(l);
		pthread_rwlock_unlock(&ns->table->lock);
		return r;
	}
	if (from) {
		(void)gofer_place_ref(from);
	} else {
		pthread_rwlock_rdlock(&ns->lock);
		from = gofer_place_ref(ns->cwd);
		pthread_rwlock_unlock(&ns->lock);
	}
	pthread_rwlock_rdlock(&ns->table->lock);
	set_mount(l, from->mount);
	pthread_rwlock_unlock(&ns->table->lock);
	r = set_pos(l, from->path, strlen(from->path));
	if (from->handle)
		l->base = from;
	else
		gofer_place_unref(from);
	return r;
}

void lookup_deinit(struct lookup *l)
{
	mount_unref(l->mount);
	gofer_place_unref(l->base);
	l->mount = NULL;
	l->base = NULL;
}

/* Whether path[begin..end) is exactly one component. */
static bool is_component(const struct lookup *l, size_t begin, size_t end)
{
	if (begin >= end || end > l->len || memchr(l->path + begin, '/', end - begin))
		return false;
	return (begin == 0 || l->path[begin - 1] == '/') && (end == l->len || l->path[end] == '/');
}

static int replace(struct lookup *l, size_t begin, size_t end, const void *target, size_t n)
{
	size_t rest = l->len - end;

	if (begin + n + rest >= sizeof(l->path))
		return -ENAMETOOLONG;
	memmove(l->path + begin + n, l->path + end, rest);
	memcpy(l->path + begin, target, n);
	l->len = begin + n + rest;
	return 0;
}

static int count_link(struct lookup *l)
{
	return ++l->links > MAX_LINKS ? -ELOOP : 0;
}

/* With the table's lock: whether one of the components that end within `limit` is a mount point. */
static bool enters_mount(struct lookup *l, size_t limit)
{
	size_t at = 0, begin, end;
	struct cursor c;

	cursor_set(&c, l->pos, l->pos_len);
	while (path_next(l->path, l->len, &at, &begin, &end) && end <= limit) {
		if (path_is_dot(l->path + begin, end - begin))
			continue;
		if (path_is_dotdot(l->path + begin, end - begin)) {
			if (c.len <= l->mount->len)
				return false;
			cursor_pop(&c);
			continue;
		}
		if (!cursor_push(&c, l->path + begin, end - begin))
			return false;
		if (mount_at(l->ns->table, c.path, c.len))
			return true;
	}
	return false;
}

int lookup_followed(struct lookup *l, Gofer__Followed *const *followed, size_t n, size_t walked)
{
	for (size_t i = 0; i < n; i++) {
		const Gofer__Followed *f = followed[i];
		int r;

		if (!is_component(l, f->begin, f->end) ||
		    path_is_dot(l->path + f->begin, f->end - f->begin) ||
		    path_is_dotdot(l->path + f->begin, f->end - f->begin))
			return -EPROTO;
		r = count_link(l);
		if (r == 0)
			r = replace(l, f->begin, f->end, f->target.data, f->target.len);
		if (r < 0)
			return r;
		if (l->crossings) {
			bool crossed;

			pthread_rwlock_rdlock(&l->ns->table->lock);
			crossed = enters_mount(l, i + 1 < n ? followed[i + 1]->end
							    : MIN(walked, l->len));
			pthread_rwlock_unlock(&l->ns->table->lock);
			if (crossed)
				return LOOKUP_CROSSED;
		}
	}
	return 0;
}

/* With the table's lock: ".." of the mount's root. */
static int leave(struct lookup *l)
{
	struct cursor c;

	cursor_set(&c, l->mount->path, l->mount->len);
	cursor_pop(&c);
	return go_to(l, c.path, c.len);
}

static int stop_locked(struct lookup *l, const Gofer__Stop *stop)
{
	int r;

	if (stop->reason == GOFER__STOP__REASON__ABOVE_ROOT) {
		if (!path_is_dotdot(l->path + stop->begin, stop->end - stop->begin))
			return -EPROTO;
		drop(l, stop->end);
		return leave(l);
	}
	if (path_is_dot(l->path + stop->begin, stop->end - stop->begin) ||
	    path_is_dotdot(l->path + stop->begin, stop->end - stop->begin))
		return -EPROTO;
	r = count_link(l);
	if (r < 0)
		return r;
	if (stop->target.data[0] != '/')
		return replace(l, stop->begin, stop->end, stop->target.data, stop->target.len);
	r = replace(l, 0, stop->end, stop->target.data, stop->target.len);
	if (r < 0)
		return r;
	drop(l, 0);
	return go_to(l, "/", 1);
}

int lookup_stop(struct lookup *l, const Gofer__Stop *stop)
{
	int r = lookup_followed(l, stop->followed, stop->n_followed, stop->end);

	if (r == LOOKUP_CROSSED)
		return 0;
	if (r < 0)
		return r;
	if (!is_component(l, stop->begin, stop->end))
		return -EPROTO;
	pthread_rwlock_rdlock(&l->ns->table->lock);
	r = stop_locked(l, stop);
	pthread_rwlock_unlock(&l->ns->table->lock);
	return r;
}

int lookup_absolute(const struct lookup *l, char *buf)
{
	size_t at = 0, begin, end;
	struct cursor c;

	cursor_set(&c, l->pos, l->pos_len);
	while (path_next(l->path, l->len, &at, &begin, &end)) {
		const char *name = l->path + begin;

		if (path_is_dotdot(name, end - begin))
			cursor_pop(&c);
		else if (!path_is_dot(name, end - begin) && !cursor_push(&c, name, end - begin))
			return -ENAMETOOLONG;
	}
	if (c.len >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(buf, c.path, c.len + 1);
	return 0;
}
