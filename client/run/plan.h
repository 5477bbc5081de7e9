/*
 * plan.h - what `gofer run` is going to build, decided before anything is forked: the volumes and
 * where they lie, the program, and the layers that hold.
 *
 * A plan is made once (plan_init), is read by everybody, and changes nobody. Its volumes are
 * sorted: one that lies inside another comes after it, and the first is "/".
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- layers ---- */

/* What stands between the program and the host. layers.c has their names and probes. */
enum run_layer {
	RUN_LAYER_SECCOMP, /* the filter, and notification: never missing, nothing runs without */
	RUN_LAYER_USER,    /* a user namespace of its own */
	RUN_LAYER_MOUNT,   /* a mount namespace that holds the volumes and nothing else */
	RUN_LAYER_PID,     /* a process namespace, with a /proc of its own */
	RUN_LAYER_IPC,
	RUN_LAYER_UTS,
	RUN_LAYER_NET, /* not with --net host */
	RUN_LAYER_LANDLOCK, /* what the kernel opens by itself: execution, and races of let-through calls */
	RUN_LAYERS
};

struct run_layer_state {
	bool holds;
	int error;        /* why not: -errno of the probe; 0 = switched off by an option */
	char detail[160]; /* in words: why not, and what to do; or what is special ("ABI 7") */
};

struct run_layers {
	struct run_layer_state layer[RUN_LAYERS];
};

#define RUN_LAYER_BIT(layer) (UINT32_C(1) << (layer))

/* "user", "mount" ...: as in --require and in --json-status-fd. */
const char *run_layer_name(enum run_layer layer);
/* -ENOENT for a name that is none. */
int run_layer_find(const char *name, enum run_layer *ret_layer);
/* Tries each in a child process; nothing of the caller's changes. `without`: bits of layers that are switched off. */
void run_layers_probe(struct run_layers *ret_layers, uint32_t without);

/* ---- volumes ---- */

enum run_volume_kind {
	RUN_VOLUME_USER,    /* -v */
	RUN_VOLUME_ROOT,    /* --root: /usr, /etc ... or DIR */
	RUN_VOLUME_PRIVATE, /* made for this run and removed after it: "/", /tmp, /dev/shm */
};

struct run_volume {
	enum run_volume_kind kind;
	char *host;  /* absolute path of the directory on the host, without links */
	char *guest; /* absolute, normalised */
	char *name; /* the private server's name for it: "v0", "v1" ..., so that index and name agree */
	char *options; /* for the private server: "ro", "rw,special=allow" ... */
	bool read_only;
	bool xdev;   /* what is mounted below it belongs to it */
	bool noexec; /* nothing of it is executed */
};

/* Kernel file systems that no server holds. They need RUN_LAYER_MOUNT; without it the supervisor shows a little of them. */
#define RUN_NATIVE_PROC "/proc"
#define RUN_NATIVE_DEV "/dev"

enum run_net { RUN_NET_NONE, RUN_NET_HOST };

/* Who else changes the volumes while the program runs. */
enum run_interop {
	RUN_INTEROP_WATCHED, /* anybody: the kernel tells what; what it does not tell of is asked for each time */
	RUN_INTEROP_SHARED,    /* anybody: everything is asked for each time */
	RUN_INTEROP_EXCLUSIVE, /* the read-only ones: nobody */
};

struct run_plan {
	struct run_volume *volumes;
	size_t n_volumes;
	char *private_dir; /* holds the private volumes on the host; removed by plan_deinit() */
	int private_lock;  /* for others to see that it is in use */
	enum run_net net;
	const char *hostname; /* never NULL */
	enum run_interop interop;
	char *chdir; /* guest path where the program starts */
	char **env;  /* NULL-terminated */
	char **argv; /* NULL-terminated; argv[0] is looked up in env's PATH, inside. The caller's */
	uid_t uid;
	gid_t gid;
	struct run_layers layers;
};
#define RUN_PLAN_NULL                  \
	{                              \
		.private_lock = -EBADF \
	}

struct run_options;

/*
 * Looks at everything that `options` name, tries the layers, and makes the private directory. -errno with one line in `problem`
 * (RUN_PROBLEM_MAX bytes) that says what and what to do. The plan borrows argv and hostname from the options.
 */
int plan_init(const struct run_options *options, struct run_plan *ret_plan, char *problem);
/* Also removes the private directory with all that the program left in it; never follows a link. */
void plan_deinit(struct run_plan *plan);
/* The volume that `guest` (absolute, normalised) lies in, the innermost; *ret_rest: what is left of the path, without a slash. */
const struct run_volume *plan_find(const struct run_plan *plan, const char *guest,
				   const char **ret_rest);
/* The same place on the host, whether or not it exists. malloc'ed; NULL without memory. */
char *plan_host_path(const struct run_plan *plan, const char *guest);
/* "HOST:NAME:OPTIONS", escaped: what `gofer serve -v` wants. malloc'ed; NULL without memory. */
char *plan_volume_spec(const struct run_volume *volume);
/* Removes a directory and all below it, whatever the modes say; follows no link and leaves other mounts alone. 0 or -errno. */
int plan_remove_tree(const char *path);

static inline bool run_has(const struct run_plan *plan, enum run_layer layer)
{
	return plan->layers.layer[layer].holds;
}
