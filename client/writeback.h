/*
 * writeback.h - inside libgofer: what is dirty in a session's page cache, on its way to the server.
 */
#pragma once

#include "client/cache/pages.h"
#include "client/session.h"

/* All with 0 or -errno. What could not be sent stays dirty. */
/*
 * Takes what keeps all others from sending this file's pages or changing it by handle, and waits until nothing is under way. A failure
 * takes nothing.
 */
int writeback_lock(struct gofer_session *s, struct page_file *f);
void writeback_unlock(struct gofer_session *s, struct page_file *f);
/* With that: sends what is dirty now. */
int writeback_locked(struct gofer_session *s, struct page_file *f);
int writeback_file(struct gofer_session *s, struct page_file *f);
/* Every dirty file is tried; the first failure is the result. */
int writeback_all(struct gofer_session *s);
/* Around a change of any file by path: nothing is under way. A failure takes nothing. */
int writeback_exclude(struct gofer_session *s);
void writeback_include(struct gofer_session *s);
/* From now on dirty pages are sent by themselves. */
int writeback_start(struct gofer_session *s);
/* Ends that; nothing more waits. What is dirty is sent by writeback_all(). */
void writeback_quit(struct gofer_session *s);
