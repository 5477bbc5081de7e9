/*
 * volume.h - volumes: from "-v HOST:NAME:OPTIONS" to an open root that nothing outside can reach
 * through.
 *
 * Life of a volume: parsed (words only) -> opened by path, by the front, as the user who started
 * the server -> checked against the others -> detached, by the monitor, in its own mount namespace.
 * Every refusal is one line that says what to do.
 */
#pragma once

#include "server/serve_error.h"
#include "server/server.h"

#define VOLUME_NULL ((struct volume){ .fs = { .root_fd = -EBADF, .proc_fd = -EBADF } })

/*
 * HOST[:NAME][:OPT,OPT...]; "\:" "\," "\\" stand for themselves. With two fields, the second is
 * options if all of it is known options, else the name ("HOST:ro:" names a volume "ro"). -EINVAL,
 * -ENOMEM, -EPERM (what only root may ask for).
 */
/* Whether there is such an option ("ro", "caps=chown"), whatever its value is worth. */
bool volume_option_known(const char *option);
int volume_parse(const char *spec, struct volume *ret_volume, struct serve_error *error);
void volume_deinit(struct volume *volume);

/* Opens the root by path. -ELOOP a symbolic link, -ENOTDIR, or what open(2) says. fs_id: its
 * number. extra_flags: FS_NO_OPENAT2. */
int volume_open(struct volume *volume, uint32_t fs_id, uint32_t extra_flags,
		struct serve_error *error);

/* Names are unique and no tree holds another, as far as the kernel lets us see (links, bind mounts,
 * mounts inside). -EINVAL. */
int volumes_check(const struct volume *volumes, size_t n, struct serve_error *error);
int volumes_check_names(const struct volume *volumes, size_t n, struct serve_error *error);
int volumes_check_overlap(const struct volume *volumes, size_t n, struct serve_error *error);

/*
 * In a mount namespace of our own: replaces the root by a detached copy of its mount, with
 * everything mounted below it, nosuid, nodev, nosymfollow, and read-only or noexec where the volume
 * says so; private, so that nothing mounted outside later shows. Sets FS_DETACHED and FS_NODEV.
 * -EPERM, -ENOSYS: the old root stays. -ESTALE: the path names another directory by now.
 */
int volume_detach(struct volume *volume, struct serve_error *error);
