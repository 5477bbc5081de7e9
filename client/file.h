/*
 * file.h - inside libgofer: an open file. It has a donated descriptor, or a handle of the server,
 * or both.
 *
 * Reading and writing go to the descriptor where there is one; a file opened for reading only then
 * needs no handle at all, so that closing it costs no request. Changing attributes is always the
 * server's business (it acts under the session's identity, which need not be this process's): where
 * the file has no handle, the path that it was opened by is opened again, and used if it still
 * names the same inode.
 */
#pragma once

#include "client/cache/pages.h"
#include "client/cache/readahead.h"
#include "client/namespace.h"

struct gofer_file {
	_Atomic unsigned refs; /* whoever opened it, and each mapping */
	struct gofer_namespace *ns;
	struct mount *mount;
	int fd;          /* -EBADF: none */
	uint64_t handle; /* 0: none */
	uint32_t identity;
	bool append;
	bool native; /* written to through fd: the session's cache knows nothing of the inode */
	bool direct; /* past the page cache */
	bool sync;   /* O_DSYNC or O_SYNC: nothing waits */
	int access;  /* O_RDONLY, O_WRONLY, O_RDWR, O_PATH */
	/*
	 * Where the session has a page cache: the inode there, and with a handle, what holds that. Files that have
	 * a descriptor are there to keep the cache off the inode, if they may write.
	 */
	struct page_file *pages;
	struct page_handle *shared;
	pthread_mutex_t ahead_lock;
	struct readahead ahead;
	_Atomic bool once; /* POSIX_FADV_NOREUSE */
	uint64_t errors;   /* of sending dirty pages: how many this file's user has been told of */
	/*
	 * What the server calls this inode, and what fstat(2) of the donated descriptor says here:
	 * they differ where user namespaces do, and one file must not have two owners.
	 */
	uint64_t dev, ino;
	uid_t server_uid, native_uid;
	gid_t server_gid, native_gid;

	pthread_mutex_t lock; /* offset */
	uint64_t offset;      /* without a descriptor */
	char path[];          /* from the filesystem's root: for opening it again */
};

struct gofer_file *file_ref(struct gofer_file *file);
void file_unref(struct gofer_file *file);

/* Path that names the open file itself. -errno where there is no handle and none can be had. */
int file_path(struct gofer_file *file, Gofer__Path *ret_path);
/* As the server has it: see session_overlay(). */
int file_stat(struct gofer_file *file, Gofer__Attr *ret_attr);
/*
 * As this client's programs must see it, who may have written what the server has not got. False: ask again. since: session_clock() before
 * the server was asked.
 */
bool session_overlay(struct gofer_session *s, Gofer__Attr *attr, uint64_t since);
uint64_t session_clock(struct gofer_session *s);
int content_stat(struct gofer_file *file, Gofer__Attr *ret_attr);
