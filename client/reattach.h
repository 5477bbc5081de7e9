/*
 * reattach.h - inside libgofer: what a session does when its connection is lost.
 *
 * Mental model. A session outlives its connections, where it may (a stream, by a name that can be
 * connected to again): one follows another, in *epochs*. When one is lost, so is all that the server
 * held for it: handles, identities, requests. The session therefore remembers what it needs to make
 * them anew: of each handle the path and the inode, of each identity its registration, of each
 * request that may be repeated its bytes. Everybody above keeps their numbers: handles that were
 * opened again are called by the server what it likes, and the difference is put right in the last
 * moment before a request leaves (numbers.c).
 *
 * A server may have kept the session: then all of that is there, every reply that may have been lost is
 * sent once more, and what is not among them never arrived, or may be repeated. Else:
 *
 * Nothing is done twice. A request that has left, or may have, is sent again only if the table says
 * that doing it twice is doing it once, or if it opens something without changing anything, since
 * what it opened before is gone. Any other is answered with -ECONNRESET: nobody knows.
 *
 * Two steps. *Hung*: somebody has seen that nothing can be sent any more; nobody sends, but replies
 * that are there are still read. *Lost*: whoever leads has read to the end. That decides what becomes
 * of each request; then the leader makes a new connection, as long as the session's patience lasts,
 * and everybody else waits for that.
 */
#pragma once

#include "client/session.h"

enum { RECENT_CLOSES = 256 };

/* A handle, as its session knows it. */
struct opened {
	struct opened *next; /* of its bucket */
	uint64_t number;     /* what the session calls it */
	uint64_t server;     /* what the server calls it now; 0 with error */
	int error;           /* why it could not be opened again */
	uint32_t fs_id, identity, flags, follow;
	bool nofollow;
	uint32_t mode;
	uint64_t dev, ino; /* ino 0: not known */
	int64_t btime;
	uint32_t btime_nsec;
	char *path; /* from the filesystem's root; NULL: it has none that is known */
};

/* A registered identity: its request, packed. */
struct registered {
	uint32_t id;
	size_t len;
	uint8_t *body;
};

struct reattach {
	/* What the session was opened with. */
	struct gofer_session_options options;
	struct gofer_tls_options tls;
	char *strings[8];              /* what these two point to */
	struct gofer_tls_tickets *own; /* where the program has none for several sessions */
	uint64_t patience;             /* ns */

	/* With the session's lock: */
	bool hung, lost;
	uint64_t lost_at, until; /* with lost */
	uint64_t regained;
	uint32_t epoch;
	pthread_cond_t changed; /* not hung any more, or the session is dead */
	unsigned doomed;        /* submitted requests whose callbacks are due */

	struct opened **buckets;
	size_t n_buckets, n_opened;
	uint64_t next_number;
	bool renumbered; /* not each number is the server's */
	struct registered *identities;
	size_t n_identities;
	struct {
		uint64_t dev, ino;
		int64_t btime;
		uint32_t btime_nsec;
	} * roots; /* of the session's filesystems; ino 0: not known */

	/* By which the server finds the session again, instead of all that (server/resume.h). */
	bool has_token;
	uint8_t token[RPC_TOKEN_SIZE];
	uint64_t closes
		[RECENT_CLOSES]; /* sent last, by the server's numbers: nobody knows whether they came */
	size_t next_close;

	_Atomic bool aborted; /* gofer_session_abort() */
};

/* A connection that is not the session's yet. */
struct attachment {
	int sock;
	struct stream *stream;
	struct helper helper;
	uint64_t deadline; /* of what is sent */
	bool resumed;      /* the old session: then there are replies that may have been lost */
	uint8_t *replays;
	size_t replays_len;
	bool has_token;
	uint8_t token[RPC_TOKEN_SIZE];
	uint8_t *buf; /* FRAME_MAX_PACKET bytes */
};

/* ---- reattach.c ---- */
/* NULL where what is lost is lost. */
int reattach_new(const char *server, const struct gofer_session_options *options,
		 struct reattach **ret_reattach);
void reattach_free(struct reattach *a);
/* With the lock: nothing can be sent over the connection of `epoch` any more. Where it cannot be made again, that is the session's end. */
void session_hang(struct gofer_session *s, uint32_t epoch);
/* With the lock, as leader: nothing comes from it any more either. */
void session_lose(struct gofer_session *s, const char *why);
/*
 * With the lock, where s->again->hung: until that is over. 0, or the session's death, or -ETIMEDOUT where
 * somebody else makes the connection for too long.
 */
int session_regain(struct gofer_session *s);
/* With the lock: tells the server that no other connection will come. */
void session_leave(struct gofer_session *s);
/* With the lock: whether the connection has ended without anybody's notice; then it is hung. */
bool session_has_ended(struct gofer_session *s);
static inline bool session_hung(const struct gofer_session *s)
{
	return s->again && s->again->hung;
}
/* With the lock: the deadline of who waits for a reply. */
uint64_t session_deadline(const struct gofer_session *s, uint64_t deadline);
/* With the lock: calls back those whose requests nobody will answer. Returns how many. */
int session_bury_doomed(struct gofer_session *s);

/* ---- attach.c ---- */
void attachment_deinit(struct attachment *a);
/*
 * Without the lock: a new connection, on which the server knows this session's identities, and its handles as far as they lead to the
 * same inodes. *ret_final: there is no use in trying again.
 */
int attachment_make(struct gofer_session *s, uint64_t timeout, struct attachment *ret,
		    bool *ret_final);

/* ---- numbers.c: with the lock ---- */
struct opened *numbers_find(struct gofer_session *s, uint64_t number);
/*
 * What an answer teaches. *handle is what came with it: renamed, also in the message, if its number is taken. -ENOMEM: then nobody can
 * know of the handle.
 */
int numbers_answered(struct gofer_session *s, const struct slot *slot,
		     const struct gofer_reply *reply, uint64_t *handle);
/* The session closes a handle: what the server calls it, or 0. */
uint64_t numbers_closed(struct gofer_session *s, uint64_t number);
/* These were sent. */
void numbers_sent_closes(struct reattach *a, const uint64_t *servers, size_t n);
/* A Close request, packed, was answered or lost. */
void numbers_forget(struct gofer_session *s, const uint8_t *body, size_t len);
/* The body as the server of this epoch understands it. Its length, or -errno: -EBADF, -ESTALE. */
ssize_t numbers_put(struct gofer_session *s, const struct rpc_info *rpc, const uint8_t *body,
		    size_t len, uint8_t *out, size_t room);
void numbers_deinit(struct reattach *a);
