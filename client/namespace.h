/*
 * namespace.h - inside libgofer: mounts, places, views, and lookups through them.
 *
 * Mental model. The server walks paths inside one filesystem and stops where only the client can
 * know how to go on; the client knows where filesystems are mounted. A *lookup* is the state of one
 * resolution: a place that is settled (a mount and a base in it, or a directory that exists only
 * because mounts lie below it), and the text that is still to be walked from there. Before each
 * request the text is checked for components that are mount points: there it is cut. A ".." in
 * front of such a cut may only be cancelled against a name that the server has walked without
 * meeting a link, so that prefix is asked about first.
 *
 * A namespace is a *view* of a table of mounts that it may share with other views; its own are a
 * current directory and a umask: what a process has beside its mount namespace. A *place* is a
 * directory held open by a handle of the server, to start from: a current directory is one.
 *
 * A *foreign* mount belongs to somebody else than a server (a kernel's /proc, say): a lookup that
 * comes there ends with -EREMOTE, and the view remembers where it would have gone on.
 *
 * Locks: table->lock guards the list of mounts, ns->lock the current directory; neither is held
 * during a request, nor one inside the other. Mounts and places are reference-counted, so that a
 * lookup keeps what it started with.
 */
#pragma once

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "client/cache/cache.h"
#include "client/session.h"

enum {
	MAX_LINKS = 40,
	DEFAULT_FOLLOW = 8,
	MAX_ROUNDS = 128, /* requests of one resolution: links, cuts and turns */
};

struct mount {
	_Atomic unsigned refs;
	_Atomic unsigned mappings;     /* of its files */
	struct gofer_session *session; /* NULL: foreign */
	uint32_t fs_id, follow;
	bool read_only, donate;
	bool caching;                  /* nobody else changes the tree: session->cache may answer */
	bool write_back;               /* ... and what is written may wait in session->pages */
	bool watching;                 /* session->watched may ... */
	bool watch_again, watch_names; /* see struct gofer_mount_options */
	size_t len;
	char path[]; /* absolute, normalised: "/" or "/a/b" */
};

struct gofer_place {
	_Atomic unsigned refs;
	struct mount *mount; /* NULL: a directory that only mounts make */
	uint64_t handle;     /* 0: the mount's root */
	uint64_t dev, ino;   /* of the object; ino 0: not known */
	char path[];         /* absolute, normalised: what it was called when it was opened */
};

struct mount_table {
	_Atomic unsigned refs; /* views */
	pthread_rwlock_t lock;
	struct mount **mounts;
	size_t n_mounts;
};

struct gofer_namespace {
	struct mount_table *table;
	pthread_rwlock_t lock;
	struct gofer_place *cwd;
	_Atomic mode_t umask;
};

struct mount *mount_ref(struct mount *m);
void mount_unref(struct mount *m);
/* message.c: what gofer_foreign_path() says. */
void foreign_note(const char *pos, const char *path, size_t len);

/* NULL without memory; then the handle is still the caller's. attr: of the object, or NULL. */
struct gofer_place *place_new(struct mount *mount, uint64_t handle, const char *path,
			      const Gofer__Attr *attr);
/* With table->lock. The mount exactly at, or covering, an absolute normalised path; NULL. */
struct mount *mount_at(struct mount_table *table, const char *path, size_t len);
struct mount *mount_over(struct mount_table *table, const char *path, size_t len);
/* Whether mounts lie below a path; the path itself does not count. */
bool mounts_below(struct mount_table *table, const char *path, size_t len);

/* ---- lookup.c ---- */

struct lookup {
	struct gofer_namespace *ns;
	struct mount *mount;      /* NULL: synthetic directory `pos` */
	struct gofer_place *base; /* where it is not the mount's root */
	bool crossings;           /* other mounts lie below this one */
	bool fresh;               /* nothing from the cache */
	bool settled;             /* by lookup_init() already */
	bool missing; /* with -ENOENT: a last name in a synthetic directory, so that creating it is
			 EROFS */
	unsigned links;
	size_t verify_end, cross_end; /* LOOKUP_VERIFY */
	size_t pos_len, len;
	char pos[PATH_MAX];      /* absolute, normalised: where the text starts */
	char path[2 * PATH_MAX]; /* the text: relative, without leading slashes */
};

enum {
	LOOKUP_SYNTHETIC = 1, /* the path leads to a directory that only mounts make */
	LOOKUP_VERIFY = 2,
	LOOKUP_CROSSED = 3,
	LOOKUP_TOO_LARGE = 4, /* path_call() with inline_only */
};

/* A relative path starts at `from`, or with NULL at the current directory. The empty path is -ENOENT. */
int lookup_init_at(struct lookup *l, struct gofer_namespace *ns, struct gofer_place *from,
		   const char *path);
static inline int lookup_init(struct lookup *l, struct gofer_namespace *ns, const char *path)
{
	return lookup_init_at(l, ns, NULL, path);
}
void lookup_deinit(struct lookup *l);
#define _cleanup_lookup_ _cleanup_(lookup_deinit)
/* Enters and leaves mounts as far as the text alone says. 0, LOOKUP_SYNTHETIC, LOOKUP_VERIFY,
 * -errno. */
int lookup_settle(struct lookup *l);
/* After LOOKUP_VERIFY, where the server walked path[0..verify_end) without meeting a link. */
void lookup_cross(struct lookup *l);
/* 0 to go on, -errno (-ELOOP, -ENAMETOOLONG; -EPROTO for a stop that cannot be). */
int lookup_stop(struct lookup *l, const Gofer__Stop *stop);
/*
 * The server followed links on its own. 0 where the result is good (the text then is that without
 * links), LOOKUP_CROSSED where a mount of ours lay on the way (discard, go on with the text),
 * -errno.
 */
int lookup_followed(struct lookup *l, Gofer__Followed *const *followed, size_t n, size_t walked);
/* The absolute, normalised path of what the text names, once the server has walked it: buf holds
 * PATH_MAX. */
int lookup_absolute(const struct lookup *l, char *buf);

/* ---- path_call.c ---- */

struct path_call {
	uint16_t type;
	ProtobufCMessage *message;
	struct lookup *lookup[2]; /* NULL: the Path is complete already */
	Gofer__Path *path[2];     /* in the message; nofollow is the caller's */
	const void *data;
	size_t data_len;
	int fd;
	void *sink;
	/* set by path_call(), or by the caller where no lookup says it */
	struct gofer_session *session;
	uint64_t since; /* on the page cache's clock: when the last request was sent */
	/* where the second path must lead: elsewhere is -EXDEV */
	const struct mount *mount;
	uint32_t donate; /* Open: flags to add where the mount wants descriptors */
	bool changes;    /* an Open that creates or truncates */
	bool writes;     /* an Open for writing */
	/* WriteFile: LOOKUP_TOO_LARGE where the payload is beyond the server's inline limit */
	bool inline_only;
	/* with a name: the result where the path is a mount's root; 0 = ask the server */
	int at_root;
	/* the result where the last component is a link; 0 = go on at its target */
	int stop_at_last;
	/*
	 * NULL, or the call may be answered from the cache, which is asked for `want` (and `mode`):
	 * then answer->found is CACHE_HIT and the reply has no message.
	 */
	struct cache_answer *answer;
	enum cache_want want;
	unsigned mode;
	struct cache_reading *reading; /* ReadDir: what the listing teaches, or NULL */
	/* of one in two parts: through a channel (session_call_begin()) */
	bool by_channel;
	bool bare; /* ReadFile, WriteFile: the caller has no use for attributes */
};
/* One POSIX-shaped call: as many requests as the path needs, one in the simple case. 0 with a reply
 * of kind OK, LOOKUP_SYNTHETIC, -errno. */
int path_call(struct path_call *c, struct gofer_reply *ret_reply);
/*
 * The same in two parts: what is to be sent is sent by start(), answers are waited for by finish(), which gives path_call()'s result,
 * or not at all after drop(). `c`, and what it points to, stays where it is.
 */
struct path_round {
	const struct rpc_info *rpc;
	struct cache_op op;
	struct follow_up ask; /* the call and who waits for it */
	int result;           /* where nothing was sent */
};
void path_call_start(struct path_call *c, struct path_round *ret_round);
/*
 * As start(), but it is sent only when the answer to `before` arrives, before that is looked at (struct follow_up): by
 * path_call_finish() of `before`, which path_round.ask.sent says afterwards; else it was never begun. `c` has no lookups.
 */
void path_call_follow(struct path_call *c, struct path_round *ret_round, struct path_round *before,
		      bool (*next)(struct follow_up *f, const uint8_t *body, size_t len));
bool path_call_answered(const struct path_call *c, struct path_round *round);
int path_call_finish(struct path_call *c, struct path_round *round, struct gofer_reply *ret_reply);
void path_call_drop(struct path_call *c, struct path_round *round);
/* As path_call(), for those who need no reply and where a synthetic directory gives an error. */
int path_call_simple(struct path_call *c, int synthetic);
/* Where a path leads: runs a Stat. 0 with attributes, -errno. The lookup's text is what the server
 * walked. */
int lookup_stat(struct lookup *l, bool nofollow, Gofer__Attr *ret_attr);
/* After -ENOENT: the same for the directory that would hold the last component. The text ends in
 * that name again. */
int lookup_parent(struct lookup *l, bool nofollow);

/* ---- attr.c ---- */
void attr_to_stat(const Gofer__Attr *a, struct stat *ret_st);
void attr_to_statx(const Gofer__Attr *a, struct statx *ret_stx);
void attr_synthetic(const char *path, Gofer__Attr *ret_attr);
/* times as utimensat(2) takes them; NULL = now. */
int attr_set_times(Gofer__SetAttrRequest *m, const struct timespec times[2]);
