/*
 * gofer.h - libgofer: use directories that a gofer server holds, one RPC per system call.
 *
 * Two levels:
 *   session    one connection. gofer_call() sends any request of the protocol (its messages are in <gofer/gofer.pb-c.h>, their
 *              meaning in PROTOCOL.md) and waits; gofer_submit() does not wait, and can be cancelled.
 *   namespace  mounts of the server's filesystems at paths, a current directory, and calls shaped like POSIX's. Views of one
 *              namespace have current directories and umasks of their own, as processes do.
 *
 * Results are 0 (or a count) or -errno; gofer_message() has the words for the calling thread's last failure. Nothing here prints,
 * installs signal handlers or keeps global state. All functions are thread-safe on one session and one namespace, unless they free
 * it. After fork() the child may not use a session of its parent: every call gives -EOWNERDEAD there. Every wait ends at the
 * session's deadline: -ETIMEDOUT for a server that does not answer, -ENOTCONN for one that is gone; never a hang.
 */
#pragma once

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ProtobufCMessage;
struct statx; /* of <sys/stat.h> with _GNU_SOURCE */

/* Words for the last failure in the calling thread: what was tried, on what, why. Never NULL; valid until the next call. */
const char *gofer_message(void);
const char *gofer_version(void);

/* ---- session ----------------------------------------------------------------------------------------------------------- */

struct gofer_session;

/*
 * TLS sessions of earlier connections: who has them needs no certificates on the wire again. The certificate that they came with is checked
 * each time all the same. Never on disk. For several sessions of one program; freed after the last of them was closed, or before.
 */
struct gofer_tls_tickets;
int gofer_tls_tickets_new(struct gofer_tls_tickets **ret_tickets);
void gofer_tls_tickets_free(struct gofer_tls_tickets *tickets);

/* Files for "tls:"; NULL where there is none. */
struct gofer_tls_options {
	const char *
		ca; /* PEM: who may have signed the server's certificate; NULL = the system's list */
	const char *cert, *key; /* PEM: ours, where the server asks for one */
	const char *crl;        /* PEM: certificates that are good for nothing any more */
	const char *token_file; /* a secret on one line, in place of a certificate */
	const char *
		name; /* what the server's certificate is to be for, if not the host of the address */
	struct gofer_tls_tickets
		*tickets; /* NULL: each session has some of its own, for when it connects again */
};

/* What a session says of its connection. */
enum gofer_connection {
	GOFER_CONNECTION_LOST, /* an attempt to make it again has failed; others follow */
	GOFER_CONNECTION_BACK, /* calls go on */
};
/* ms: since it was lost. In the thread that waits for it, more than once: must call nothing of the session but gofer_session_abort(). */
typedef void (*gofer_connection_callback)(void *userdata, enum gofer_connection what, uint32_t ms);

struct gofer_session_options {
	uint32_t timeout_ms; /* deadline of connecting and of each call; 0 = 30000 */
	const char *client;  /* program name for the server's log; NULL = "libgofer" */
	/*
	 * Channels of shared memory, at most (64); 0 = none. A call in one costs no system call while both
	 * sides are awake on CPUs of their own, where the socket costs four and two wake-ups. Each serves one
	 * thread at a time; whoever finds none free, whatever brings descriptors and what is submitted without
	 * waiting uses the socket. Each has at most 396 KiB of memory, and a thread of the server's. A server
	 * may give fewer, or none.
	 */
	uint32_t channels;
	const struct gofer_tls_options *tls; /* may be NULL */
	/*
	 * How long a session whose connection is lost tries to make it again: 0 = 30000 for streams that have a name ("unix-stream:", "vsock:",
	 * "tcp:", "tls:", "ssh:"), not at all for others; UINT32_MAX = not at all. -EOPNOTSUPP for "unix:" and "fd:". Calls wait meanwhile.
	 *
	 * A server that kept the session goes on with it: nothing has happened but that time has passed. From another, or one that was restarted:
	 *
	 * Afterwards files, places and directories are open again, by the paths by which they were opened (and as this session has renamed
	 * them), where the same inode is there (device, number, time of birth): else every use gives -ESTALE. Locks and files without a name are lost.
	 * What a call asked for that had no answer yet is asked again where doing it twice is doing it once (Stat, Read, Open of
	 * what exists ...). Any other call gives -ECONNRESET: it was done, or not, nobody knows; nothing is ever done twice. What was remembered is
	 * forgotten; what was stored to mappings is kept, and sent when it is due. Where the same filesystems (by number, name and
	 * root) are not served any more, or nobody answers in time, the session ends: -ENOTCONN from then on.
	 */
	uint32_t reconnect_ms;
	gofer_connection_callback connection; /* may be NULL */
	void *connection_data;
};

/*
 * Connects and says Hello. `server`:
 *
 *     unix:/path, unix:@abstract      a SEQPACKET socket: the only kind that passes descriptors
 *     fd:N                            a connected SEQPACKET or stream socket; taken
 *     unix-stream:/path               a stream of bytes, as all that follow: Firecracker's PATH_PORT is one
 *     vsock:CID:PORT
 *     tcp:HOST:PORT                   addresses of this machine only
 *     tls:HOST:PORT                   TLS 1.3: the server by its certificate, the client by one of its own, or a token
 *     ssh:HOST:VOLUME                 a server for this session, which ssh(1) starts there, with VOLUME as for `gofer serve -v`
 *
 * options may be NULL. -ENOENT, -ECONNREFUSED, -EACCES as connect(2); -EPROTO for something that speaks another protocol; -ETIMEDOUT.
 */
int gofer_session_open(const char *server, const struct gofer_session_options *options,
		       struct gofer_session **ret_session);
/*
 * Sends what was stored to mappings and unmaps them, sends the closes that still wait, cancels what is in flight (each callback is called with
 * -ECANCELED), frees. NULL is fine.
 */
void gofer_session_close(struct gofer_session *session);

struct gofer_filesystem {
	uint32_t fs_id;
	const char *name; /* borrowed from the session */
	bool read_only, may_donate, delegate;
	uint32_t root_mode;
};
/* The filesystems that the server offers; -ENOENT past the last. */
int gofer_session_filesystem(struct gofer_session *session, size_t index,
			     struct gofer_filesystem *ret_fs);
int gofer_session_find_filesystem(struct gofer_session *session, const char *name,
				  struct gofer_filesystem *ret_fs);

struct gofer_session_limits {
	uint32_t max_frame, max_data, max_in_flight, max_handles, inline_limit, max_identities;
};
void gofer_session_get_limits(struct gofer_session *session,
			      struct gofer_session_limits *ret_limits);

/* 0 while calls can succeed; -ENOTCONN once the connection is gone, -EOWNERDEAD in a forked child. No request. */
int gofer_session_status(struct gofer_session *session);
/* Ends the connection at once, and for good: whatever waits comes to its end. May be called in a handler of signals. */
void gofer_session_abort(struct gofer_session *session);
/*
 * For event loops: readable when gofer_session_process() has something to do. Owned by the session. After the connection was lost and made
 * again it is another socket by the same number: an epoll(7) set has to be told. gofer_session_process() waits for that, whatever its timeout.
 */
int gofer_session_fd(struct gofer_session *session);
/* The identity that later calls of this session act under (see SetIdentity); 0 = the session's own. */
int gofer_session_set_identity(struct gofer_session *session, uint32_t id, uid_t uid, gid_t gid,
			       const gid_t *groups, size_t n_groups);

/* How many frames of each type were exchanged, and how many bytes. */
struct gofer_stats {
	uint64_t requests[128]; /* by frame type */
	uint64_t total;
	uint64_t bytes_in, bytes_out;
	uint64_t descriptors_in;
	uint64_t by_channel;  /* of the requests, those that went through a channel */
	uint32_t channels;    /* that the session has */
	uint32_t reconnects;  /* how often the connection was lost, and made again */
	uint32_t tls_resumed; /* connections that went on with an earlier TLS session */
};
void gofer_session_get_stats(struct gofer_session *session, struct gofer_stats *ret_stats);
/* What the session remembers (see gofer_interop), and how often that sufficed. -ENODATA where no mount of it remembers anything. */
struct gofer_cache_stats {
	uint64_t hits, misses;
	uint64_t evictions; /* names forgotten for want of room */
	uint64_t drops;     /* how often everything was forgotten, in doubt */
	uint64_t names, inodes, watches, bytes, budget;
	/* Contents of files. */
	uint64_t page_hits,
		page_misses;     /* reads that were answered without a request, that were not */
	uint64_t page_evictions; /* pages of 4 KiB, given up for want of room */
	uint64_t ahead_used, ahead_wasted; /* pages read ahead of the reader, who came or did not */
	uint64_t write_backs;              /* requests that sent dirty pages */
	uint64_t page_bytes, page_budget;
	uint64_t dirty_bytes; /* in pages that hold something the server has not got */
};
int gofer_session_get_cache_stats(struct gofer_session *session,
				  struct gofer_cache_stats *ret_stats);
/*
 * Mode exclusive. Sends everything that was written and waits to be sent (that does not make it survive the server's
 * machine: gofer_fsync()). The first error; what could not be sent stays, and is tried again. Blocks.
 */
int gofer_session_sync(struct gofer_session *session);
/*
 * What programs were told is written, or have stored to mappings, and the server has not got (yet): each range; of mappings whole pages, and where the kernel
 * does not say what was stored, all that may have been. Returns how many, or -ENOMEM; also after
 * the connection is gone. The callback may be NULL; its argument is valid while it runs. No request.
 */
struct gofer_risk {
	uint64_t dev, ino;
	const char *path; /* from the filesystem's root, as it was opened by first */
	uint64_t offset, length;
	int error; /* why the last attempt failed; 0: none was made */
};
typedef void (*gofer_risk_callback)(void *userdata, const struct gofer_risk *risk);
int gofer_at_risk(struct gofer_session *session, gofer_risk_callback callback, void *userdata);
/* "Stat" for 16 ...; NULL for a type that is none. */
const char *gofer_rpc_name(unsigned type);

/* ---- raw calls ---- */

struct gofer_request {
	uint16_t type; /* GOFER_RPC_* of proto/rpc.def, by number */
	const struct ProtobufCMessage
		*message; /* the request's message, borrowed during the call */
	const void *data; /* raw payload, borrowed during the call; may be NULL */
	size_t data_len;
	int fd; /* descriptor to pass (borrowed), or -1 */
};

enum gofer_reply_kind { GOFER_REPLY_OK, GOFER_REPLY_ERROR, GOFER_REPLY_STOP };

struct gofer_reply {
	enum gofer_reply_kind kind;
	int error; /* kind ERROR: positive errno */
	struct ProtobufCMessage *
		message; /* OK: the RPC's reply; STOP: Gofer__Stop; ERROR: NULL. Owned by the reply */
	const void *data; /* raw payload, owned by the reply */
	size_t data_len;
	int fd; /* donated descriptor or -1; gofer_reply_free() closes it, take it by setting -1 */
	void *memory; /* private */
};
void gofer_reply_free(struct gofer_reply *reply);

/*
 * One RPC. 0 when the server answered OK or STOP (see ret_reply->kind), -errno when it answered with an error or no answer came;
 * then *ret_reply is untouched. Blocks until the answer or the deadline.
 */
int gofer_call(struct gofer_session *session, const struct gofer_request *request,
	       struct gofer_reply *ret_reply);

/*
 * Calls back once, from inside gofer_session_process() or any other call of this session that reads replies, in any
 * thread. result: as gofer_call(). reply is valid during the callback only, except for what the callback takes (swap the struct).
 */
typedef void (*gofer_callback)(void *userdata, int result, struct gofer_reply *reply);
/*
 * Sends without waiting for the answer. *ret_cookie (may be NULL) names the request until its callback was called. -EAGAIN when
 * max_in_flight requests are out, or the socket is full: process replies first. Does not call the callback on failure. While others
 * are in flight, up to 16 requests are gathered into one packet; it goes out with the next gofer_session_process(), _flush() or
 * gofer_call(). An event loop therefore calls gofer_session_flush() before it polls: a reply that is already on its way would make
 * the descriptor readable anyway, but one that takes long would hold up what was gathered behind it.
 */
int gofer_submit(struct gofer_session *session, const struct gofer_request *request,
		 gofer_callback callback, void *userdata, uint64_t *ret_cookie);
/*
 * Gives a request up: its callback is called with -ECANCELED before this returns, whatever the server still does (a reply that
 * arrives later is dropped, with its descriptor and its handle). -ENOENT if it was already answered; another thread may then be
 * about to run its callback.
 */
int gofer_cancel(struct gofer_session *session, uint64_t cookie);
/* Handles replies that are there, waiting up to timeout_ms (0 = not, -1 = deadline) for the first. Returns how many callbacks were called, or -errno. */
int gofer_session_process(struct gofer_session *session, int timeout_ms);
/* Until nothing is in flight. */
int gofer_session_drain(struct gofer_session *session);
/*
 * Closes a handle: queued, and sent in one packet with the next request, or when 64 wait, or at gofer_session_flush().
 */
void gofer_handle_close(struct gofer_session *session, uint64_t handle);
int gofer_session_flush(struct gofer_session *session);

/* ---- namespace --------------------------------------------------------------------------------------------------------- */

struct gofer_namespace;
struct gofer_place;
struct gofer_file;
struct gofer_dir;

/*
 * Who else may change the tree.
 *   shared        anybody: the server is asked every time.
 *   writethrough  this client only, others may read: attributes, names (also those that do not exist), targets of symbolic links,
 *                 whole listings and small files read whole are remembered, and answered without a request; every change is sent before its call returns.
 *                 What open files hold is read ahead and kept in a page cache, where there is no donated descriptor; O_DIRECT passes by it.
 *                 Handles for reading stay open for a while after gofer_close(), so that opening, reading and closing a file again takes no request.
 *   exclusive     this client only, and nobody else looks: as writethrough, and what is written to open files without a donated descriptor
 *                 waits in the page cache. It is sent by age and by amount (see dirty_ms), by gofer_fsync(), before the last gofer_close() of a file that was
 *                 open for writing returns, by gofer_session_sync() and gofer_umount(), before raw gofer_call()s, and when the session is closed. O_SYNC, O_DSYNC and O_APPEND
 *                 wait for nothing, nor does what is written by handle while the session has mappings (gofer_mmap()); what is stored to those goes by age, too, where the
 *                 kernel says what was. Sizes and times are shown as if it was there. An error is told once to each open file of the inode, by gofer_fsync() or
 *                 gofer_close(); what could not be sent stays, is tried again every second, and is listed by gofer_at_risk(). Closing the session gives it up, so ask before.
 *                 gofer_submit() does not wait for it: call gofer_session_sync() before submitting what is about the same files.
 * "This client" is the session: what several namespaces, views, mounts, or raw calls of one session do is known to all of them. The
 * remembering modes hold for trees where no directory shows in two places (bind mounts inside a volume), on file systems that
 * tell upper from lower case. atime is remembered too, so it does not show this client's own reading. What is written through
 * a descriptor of gofer_fileno() is noticed while the file is open or mapped by gofer_mmap(), what is stored through a mapping of your own after that is not; nor what
 * is done to such a descriptor by other means (fchmod, say). Mount before the session opens files for writing.
 */
enum gofer_interop { GOFER_INTEROP_SHARED, GOFER_INTEROP_WRITETHROUGH, GOFER_INTEROP_EXCLUSIVE };

struct gofer_mount_options {
	enum gofer_interop interop;
	bool read_only; /* refuse changes on this side already */
	bool no_donate; /* never ask for descriptors */
	/*
	 * Mode shared, where the server gives watches: it hands out an inotify(7) queue for what this session has looked at. While
	 * that is empty, what is remembered is still so, and is answered without a request: attributes, names (also those that do not exist),
	 * targets of links, granted access, listings. Every change that returned before a call began is seen by it, but for the time
	 * of access, and what others store through a mapping, which the kernel announces to nobody. Where nothing can be watched
	 * (no watches left, a kind of file system that others change too, what may not be read), each call asks the server.
	 */
	bool watch;
	/*
	 * With watch. A watch costs about as much as three requests and counts against a limit, so watch_again puts one only on what is asked for a second time.
	 * Once the server gives no more, what is asked for often takes the watch of what was not used for longer; all else is a request each time.
	 * watch_names: the attributes of regular files are asked for every time, so that their times do not lag.
	 */
	bool watch_again, watch_names;
	uint32_t
		follow; /* budget of links for the server to follow on speculation; 0 = 8, UINT32_MAX = none. Not used in modes that remember */
	uint64_t
		cache_bytes; /* memory for what a session remembers, all its mounts together (the largest counts); 0 = 64 MiB */
	/* Modes writethrough and exclusive: bytes in pages, of all files; what the session's first such mount says counts. 0 = 256 MiB. */
	uint64_t page_bytes;
	/*
	 * Mode exclusive: bytes in dirty pages beyond which who writes waits until some were sent (0 = a quarter of page_bytes, at most half; from half of
	 * that on they are sent in the background), and how many milliseconds they may lie (0 = 5000). As page_bytes.
	 */
	uint64_t dirty_bytes;
	uint32_t dirty_ms;
};

int gofer_namespace_new(struct gofer_namespace **ret_ns);
void gofer_namespace_free(struct gofer_namespace *ns);
/*
 * Puts filesystem `fs_id` of `session` (borrowed: must outlive the namespace) at `path` (absolute, normalised). -EBUSY if taken.
 * Mount points need not exist in what they cover; what they cover is hidden.
 */
int gofer_mount(struct gofer_namespace *ns, struct gofer_session *session, uint32_t fs_id,
		const char *path, const struct gofer_mount_options *options);
/* -EBUSY while a current directory, or a mapping, is there, or another mount lies below. */
int gofer_umount(struct gofer_namespace *ns, const char *path);
/*
 * Says that `path` and all below it belong to somebody else than a server: a kernel's /proc, say. Calls whose path leads there end
 * with -EREMOTE, having changed nothing, and gofer_foreign_path() tells where.
 */
int gofer_mount_foreign(struct gofer_namespace *ns, const char *path);
/* Where the calling thread's last -EREMOTE led: absolute; links and ".." of the foreign part are still in it. Valid until the next. */
const char *gofer_foreign_path(void);

/*
 * Another view of the same mounts (later ones included), at "/" and with umask 022: what a process is to its mount namespace. The
 * mounts go with the last view.
 */
int gofer_namespace_view(struct gofer_namespace *ns, struct gofer_namespace **ret_view);

/*
 * A place is something that a handle of the server holds open as a start for paths: what a directory's descriptor is to the *at
 * calls. Counted references; gofer_place_unref(NULL) is fine. It stays good when the directory is renamed. Its path is the absolute
 * one by which it was opened.
 */
struct gofer_place *gofer_place_ref(struct gofer_place *place);
void gofer_place_unref(struct gofer_place *place);
const char *gofer_place_path(const struct gofer_place *place);
/* As fchdir(2), of a place of this namespace; no request. */
void gofer_fchdir(struct gofer_namespace *ns, struct gofer_place *place);

int gofer_chdir(struct gofer_namespace *ns, const char *path);
/* As getcwd(3): 0, or -ERANGE. */
int gofer_getcwd(struct gofer_namespace *ns, char *buf, size_t size);
mode_t gofer_umask(struct gofer_namespace *ns, mode_t mask);

/* Flags are the host's AT_SYMLINK_NOFOLLOW, O_*, XATTR_*, RENAME_*. Paths are absolute or relative to the current directory. */
int gofer_stat(struct gofer_namespace *ns, const char *path, int flags, struct stat *ret_st);
int gofer_statx(struct gofer_namespace *ns, const char *path, int flags, struct statx *ret_stx);
int gofer_access(struct gofer_namespace *ns, const char *path, int mode, int flags);
/* As readlink(2): the length; no NUL. */
ssize_t gofer_readlink(struct gofer_namespace *ns, const char *path, char *buf, size_t size);
int gofer_statfs(struct gofer_namespace *ns, const char *path, struct statfs *ret_st);

/* Open files. The library reads and writes a donated descriptor natively where there is one. */
int gofer_open(struct gofer_namespace *ns, const char *path, int flags, mode_t mode,
	       struct gofer_file **ret_file);
/* Frees it in any case. Mode exclusive: -errno where what was written could not be sent; see gofer_interop. */
int gofer_close(struct gofer_file *file);

/* What gofer_open_descriptor() found. Exactly one of fd and place, both for O_TMPFILE without O_EXCL. The caller's. */
struct gofer_opened {
	int fd; /* a donated descriptor of a regular file, or -1 */
	uint32_t fs_id;
	struct gofer_place *place; /* of anything else that can be a place */
	struct stat st;
};
/*
 * open(2) in one request for those who pass on what the kernel can use: a regular file as a descriptor without a handle beside
 * it; a directory, and whatever O_PATH opened, as a place. The place of an O_TMPFILE file is for gofer_linkat().
 * -ENODATA for a regular file where the server does not donate. Flags beyond gofer_open()'s are -EINVAL.
 */
int gofer_open_descriptor(struct gofer_namespace *ns, const char *path, int flags, mode_t mode,
			  struct gofer_opened *ret_opened);
/*
 * Whether it is known that the path leads to a regular file that may be read: then where it is, by a path without links (PATH_MAX
 * bytes), and of its attributes device, inode and type. Who can open that by other means, and sees that it is the same, needs no request.
 * flags: O_NOFOLLOW. -ENODATA where it is not known.
 */
int gofer_open_known(struct gofer_namespace *ns, const char *path, int flags, struct stat *ret_st,
		     char *ret_path);
/* pread(2), pwrite(2); of a FIFO whose descriptor is not here, read(2) that does not wait. */
ssize_t gofer_pread(struct gofer_file *file, void *buf, size_t size, uint64_t offset);
ssize_t gofer_pwrite(struct gofer_file *file, const void *buf, size_t size, uint64_t offset);
/* With the file's own offset, as read(2), write(2), lseek(2) (SEEK_DATA and SEEK_HOLE too). */
ssize_t gofer_read(struct gofer_file *file, void *buf, size_t size);
ssize_t gofer_write(struct gofer_file *file, const void *buf, size_t size);
off_t gofer_lseek(struct gofer_file *file, off_t offset, int whence);
int gofer_fstat(struct gofer_file *file, struct stat *ret_st);
int gofer_ftruncate(struct gofer_file *file, uint64_t size);
int gofer_fchmod(struct gofer_file *file, mode_t mode);
int gofer_fchown(struct gofer_file *file, uid_t uid, gid_t gid);
int gofer_futimens(struct gofer_file *file, const struct timespec times[2]);
int gofer_fsync(struct gofer_file *file, bool data_only);
/* mode: fallocate(2)'s FALLOC_FL_* (0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE). */
int gofer_fallocate(struct gofer_file *file, int mode, uint64_t offset, uint64_t length);
ssize_t gofer_copy_file_range(struct gofer_file *in, uint64_t in_offset, struct gofer_file *out,
			      uint64_t out_offset, size_t length);
/* Gives an O_TMPFILE file its name. */
int gofer_flink(struct gofer_file *file, const char *path);
/*
 * As posix_fadvise(2): POSIX_FADV_*. Without a donated descriptor, for the page cache: SEQUENTIAL reads 2 MiB ahead at once, RANDOM nothing, WILLNEED
 * begins to read up to 2 MiB of the range, DONTNEED forgets it, NOREUSE keeps what this file reads from counting as used. Does not block.
 */
int gofer_fadvise(struct gofer_file *file, uint64_t offset, uint64_t length, int advice);
/* The donated descriptor (borrowed), -ENODATA where there is none. */
int gofer_fileno(struct gofer_file *file);

/*
 * Files in memory. A file with a donated descriptor is mapped by the kernel, and all is as with mmap(2). For any other:
 *
 * What is shared. All mappings of a file in this session share its memory, and reading, writing, truncating it by any handle
 * or path of the session sees and changes the same bytes. MAP_PRIVATE copies a page when it is written. What is stored to a shared mapping is sent by
 * gofer_msync(), gofer_munmap(), gofer_fsync() of any handle of the file, and gofer_session_close(), not before; then whole pages, up to
 * the file's end. (A file that was mapped natively through one handle, and then otherwise through another, as may be where only
 * descriptors for reading are donated: the native mapping sees what was sent.)
 *
 * Modes. Writethrough and exclusive: all of this. Shared: MAP_SHARED with PROT_WRITE is -ENODEV, and so it is with O_APPEND; a page shows what
 * the file held when it was fetched, so what others change shows after gofer_msync(MS_INVALIDATE), or when the file is mapped again, which
 * both look at the file anew. What this session changes itself shows at once.
 *
 * Pages. They are fetched when they are touched (userfaultfd(2), by a thread of the session's), up to 1 MiB ahead of who goes through them in
 * sequence. Pages that can be stored to stay until they are unmapped; of others no more than 256 MiB stay, of all files,
 * beside the page cache. Which pages were stored to is known from Linux 6.7 on (write protection and PAGEMAP_SCAN, through /proc), else whatever
 * was touched of a mapping that can be stored to is sent each time. Without CAP_SYS_PTRACE, or /dev/userfaultfd, or the sysctl
 * vm.unprivileged_userfaultfd, the kernel lets only user mode wait for pages: then up to 64 MiB of a file are read by gofer_mmap() itself, so
 * that system calls can use the memory, and of a larger mapping they fail with EFAULT on pages that nothing has touched (this library's calls on
 * files do not). Where userfaultfd is not allowed at all, or before Linux 5.11 without privileges, more than 64 MiB are -ENOMEM.
 *
 * SIGBUS. For the thread that touches what lies beyond the file's last page, also when that was cut off by
 * somebody else, or a page that cannot be read (an error, a server that is gone or does not answer in time); such a page stays so until
 * MS_INVALIDATE, which tries again. In a system call it is EFAULT.
 *
 * Other calls. Memory is mapped, unmapped and synced by these three only; mprotect(2) may take rights away and give them back, not add any. A child of
 * fork() does not have the memory. While a mapping is there its mount cannot be unmounted (-EBUSY), its file is open, and the session stays
 * in use, whatever was closed. A callback of gofer_submit() may run in the thread that fetches: it must not touch mappings, nor read or
 * write files.
 */
/*
 * As mmap(2). flags: MAP_SHARED or MAP_PRIVATE, with MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_POPULATE, MAP_NORESERVE, MAP_STACK. -ENODEV for what is no regular file;
 * -ESTALE where the file's mount is gone. MAP_FIXED over other mappings unmaps these first, as gofer_munmap() does.
 */
int gofer_mmap(struct gofer_file *file, void *addr, size_t length, int prot, int flags,
	       uint64_t offset, void **ret_addr);
/*
 * Mappings of all sessions of the namespace, or parts of them. What was stored is sent first: if that fails, all stays mapped and nothing is
 * lost, unless the session is dead, so that it cannot be sent any more: then it is unmapped, and the result says so. -EINVAL
 * where nothing is mapped.
 */
int gofer_munmap(struct gofer_namespace *ns, void *addr, size_t length);
/*
 * flags: as msync(2). MS_ASYNC sends, MS_SYNC also waits until the server has it on its disk; MS_INVALIDATE: see above. After a failure pages count as not sent.
 * -ENOMEM where nothing is mapped.
 */
int gofer_msync(struct gofer_namespace *ns, void *addr, size_t length, int flags);

/* Whole small files in one RPC (larger ones fall back to open, read or write, close). *ret_data is malloc'ed. */
int gofer_read_file(struct gofer_namespace *ns, const char *path, void **ret_data, size_t *ret_size,
		    struct stat *ret_st);
enum { GOFER_WRITE_ATOMIC = 1, GOFER_WRITE_EXCLUSIVE = 2, GOFER_WRITE_SYNC = 4 };
int gofer_write_file(struct gofer_namespace *ns, const char *path, const void *data, size_t size,
		     mode_t mode, int flags);

int gofer_mkdir(struct gofer_namespace *ns, const char *path, mode_t mode);
int gofer_mknod(struct gofer_namespace *ns, const char *path, mode_t mode, dev_t rdev);
int gofer_symlink(struct gofer_namespace *ns, const char *target, const char *path);
/* flags: AT_SYMLINK_FOLLOW or 0. */
int gofer_link(struct gofer_namespace *ns, const char *from, const char *to, int flags);
int gofer_unlink(struct gofer_namespace *ns, const char *path);
int gofer_rmdir(struct gofer_namespace *ns, const char *path);
/* -EBUSY also for a directory that mounts lie below: the server would move it from under them. */
int gofer_rename(struct gofer_namespace *ns, const char *from, const char *to, unsigned flags);
/* Relative paths start at their place; NULL is the current directory. Else as gofer_rename(). */
int gofer_renameat(struct gofer_namespace *ns, struct gofer_place *from_dir, const char *from,
		   struct gofer_place *to_dir, const char *to, unsigned flags);
/* ... as gofer_link(). An empty `from` means from_dir itself, as AT_EMPTY_PATH does: an unnamed file of O_TMPFILE. */
int gofer_linkat(struct gofer_namespace *ns, struct gofer_place *from_dir, const char *from,
		 struct gofer_place *to_dir, const char *to, int flags);
int gofer_chmod(struct gofer_namespace *ns, const char *path, mode_t mode);
int gofer_chown(struct gofer_namespace *ns, const char *path, uid_t uid, gid_t gid, int flags);
int gofer_utimens(struct gofer_namespace *ns, const char *path, const struct timespec times[2],
		  int flags);
int gofer_truncate(struct gofer_namespace *ns, const char *path, uint64_t size);
ssize_t gofer_getxattr(struct gofer_namespace *ns, const char *path, const char *name, void *value,
		       size_t size, int flags);
int gofer_setxattr(struct gofer_namespace *ns, const char *path, const char *name,
		   const void *value, size_t size, int xattr_flags, int flags);
ssize_t gofer_listxattr(struct gofer_namespace *ns, const char *path, char *list, size_t size,
			int flags);
int gofer_removexattr(struct gofer_namespace *ns, const char *path, const char *name, int flags);
/* Connects `sock` (a Unix socket of the caller's) to the socket at path. -EAGAIN: the listener's queue is full; nobody waits for it. */
int gofer_connect(struct gofer_namespace *ns, const char *path, int sock);

/* Directories, a frame's worth of entries per RPC, with attributes. Mount points inside appear as directories. */
struct gofer_dirent {
	const char *name; /* borrowed until the next gofer_readdir() */
	uint8_t type;     /* DT_* */
	ino_t ino;
	bool has_stat; /* false where the entry vanished meanwhile, or is a mount point that is not served */
	struct stat st;
	const char *target; /* of a symbolic link, else NULL */
};
/* flags: AT_SYMLINK_NOFOLLOW (a link as the last component is -ENOTDIR) or 0. */
int gofer_opendir(struct gofer_namespace *ns, const char *path, int flags,
		  struct gofer_dir **ret_dir);
/*
 * Without waiting for the answer: for those who will want many directories. What gofer_opendir() would have said is said by the first
 * gofer_readdir(). Attributes (gofer_dirstat()) are there after that.
 */
int gofer_opendir_start(struct gofer_namespace *ns, const char *path, int flags,
			struct gofer_dir **ret_dir);
/* Asks for the entries that follow those of the current frame, if any do: gofer_readdir() waits for them when it comes to them. */
void gofer_dir_ahead(struct gofer_dir *dir);
/* Whether the next gofer_readdir() would not wait for an answer. Reads none: gofer_session_process(session, 0) does. */
bool gofer_dir_ready(struct gofer_dir *dir);
/* The directory's own attributes as of gofer_opendir(): no request. */
void gofer_dirstat(struct gofer_dir *dir, struct stat *ret_st);
/* 1 with an entry, 0 at the end, -errno. "." and ".." are not listed. */
int gofer_readdir(struct gofer_dir *dir, struct gofer_dirent *ret_entry);
void gofer_closedir(struct gofer_dir *dir);

/*
 * Where a path leads: the mount and the path below it after all that the namespace decides (mounts, current directory, symbolic
 * links: all of them with `follow_last`, else all but the last). For those who pipeline raw calls of their own. *ret_path is
 * malloc'ed, relative to the filesystem's root. The last component need not exist.
 */
int gofer_resolve(struct gofer_namespace *ns, const char *path, bool follow_last,
		  struct gofer_session **ret_session, uint32_t *ret_fs_id, char **ret_path);

#ifdef __cplusplus
}
#endif
