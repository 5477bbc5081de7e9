/*
 * cli.h - what every verb of the gofer command shares: options, the connection, NAME:/path
 * operands, and output that no file name can turn into something else.
 *
 * A verb is a function run(argc, argv): it fills a `struct cli` with cli_begin(), takes its options
 * from cli_next(), calls cli_connect(), works, and returns cli_end(). Exit status: 0, CLI_FAILED
 * (1), CLI_USAGE (2).
 */
#pragma once

#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include <jansson.h>

#include "client/gofer.h"
#include "common/util.h"
#include "common/verb.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* One option of a verb. `key` is its letter, or a number from CLI_LONG up for those without. */
enum { CLI_LONG = 256 };
struct cli_option {
	int key;
	const char *name; /* long name, NULL = only the letter */
	const char *arg;  /* name of its argument in --help, NULL = takes none */
	const char *help;
};

struct cli_spec {
	const char *verb;
	const char *usage; /* what follows "gofer VERB", one form a line */
	const char *about;
	const struct cli_option *options; /* ends with key 0 */
	const char *notes;                /* further paragraphs, or NULL */
};

/* A filesystem of the session, in a namespace of its own: its root is "/", so absolute links stay
 * inside it. */
struct cli_volume {
	char *name;
	uint32_t fs_id;
	bool read_only, delegate;
	struct gofer_namespace *ns;
};

struct cli {
	const struct cli_spec *spec;
	int argc;
	char **argv; /* after cli_next() returned -1: the operands */
	const char *server;
	char *address; /* of the server that was found, once connected */
	uint32_t timeout_ms, reconnect_ms;
	bool told; /* that the connection is lost */
	uint32_t channels;
	struct gofer_tls_options tls;
	enum gofer_interop interop;
	bool watch;
	bool json, stats;
	bool tty; /* stdout is a terminal */
	bool over; /* the verb is to end: wrong usage, help, a server that is gone (in gofer shell) */
	int status;

	struct gofer_session *session;
	struct gofer_session_limits limits;
	struct cli_volume *volumes;
	size_t n_volumes;
	struct gofer_stats before; /* what the session had done when the verb began */

	const char *optarg;
	struct option *long_options; /* built once by cli_begin() */
	char *short_options;
};

/*
 * Verbs that run one after the other in gofer shell share its session, and paths that name no volume start at its current directory.
 * They are what they are on a command line otherwise.
 */
struct cli_host {
	struct cli *c; /* the shell's own, with the session */
	char *volume; /* the current directory: NULL, or a volume's name and an absolute path in it */
	char *directory;
};
extern struct cli_host *cli_host; /* NULL outside of the shell */
extern struct gofer_session
	*volatile cli_host_session; /* its own, for handlers of signals; or NULL */

/* A parsed operand. */
struct cli_path {
	const char *text; /* as given, for messages */
	struct cli_volume *volume;
	struct gofer_namespace *ns;
	char *path; /* absolute inside the volume, malloc'ed */
};
void cli_path_deinit(struct cli_path *p);
#define _cleanup_path_ _cleanup_(cli_path_deinit)
/*
 * The last operand of cp and mv, and whether the others go into it: it is a directory, and they are not told to take its place
 * (`plain`). Negative, and said, where it is no place for several.
 */
int cli_destination(struct cli *c, bool plain, struct cli_path *ret_to, bool *ret_into);

/* ---- options (args.c) ---- */
void cli_begin(struct cli *c, const struct cli_spec *spec, int argc, char **argv);
/* The next option's key with c->optarg, -1 after the last. Handles --help, --server, --timeout,
 * --json and --stats itself. */
int cli_next(struct cli *c);
/* Takes argv[*at] if it is an option that every verb has, for verbs with a grammar of their own
 * (find). */
bool cli_take_global(struct cli *c, int argc, char **argv, int *at);
void cli_help(const struct cli_spec *spec, FILE *out);
/* Wrong usage: says so, once for a verb. No more options are read after that, and no session is had. Returns -EINVAL. */
int cli_no_usage(struct cli *c, const char *format, ...) _printf_(2, 3);
/* 0, or negative where the verb is over: cli_end() is next. */
int cli_need_operands(struct cli *c, int min, int max) _must_check_;
/* A decimal number, with K, M, G, T (powers of 1024; KB, MB ... of 1000) where `suffix`. Wrong usage, and 0, where it is none. */
uint64_t cli_number(struct cli *c, const char *what, const char *text, bool suffix);
extern const struct cli_option cli_global_options[];

/* ---- connection (connect.c) ---- */
/* 0, or negative where the verb is over: cli_end() is next. */
int cli_connect(struct cli *c) _must_check_;
/* Another session with the server that cli_connect() found. */
int cli_open_session(struct cli *c, struct gofer_session **ret_session);
struct cli_volume *cli_find_volume(struct cli *c, const char *name, size_t len);
/* In gofer shell, an operand that is missing is the current directory. After cli_next(). */
void cli_default_operand(struct cli *c);
/* Whether the verb is to end: it is over, or a signal has come that is caught. Loops ask. */
bool cli_stops(const struct cli *c);
/* Splits NAME:/path; prints what is wrong with it and returns -EINVAL. */
int cli_split(struct cli *c, const char *text, struct cli_path *ret_path);
/* Whether `text` looks like NAME:..., whatever the server offers. */
bool cli_is_remote(const char *text);
/* Prints --stats, closes, and returns the exit status. Says so when stdout could not be written. */
int cli_end(struct cli *c);

/* ---- messages: one line on stderr per error, names escaped (connect.c) ---- */
void cli_error(struct cli *c, int error, const char *what, const char *where);
/* The same with the text `volume:path`. When the server is gone the verb is over, by cli_exit(). */
void cli_path_error(struct cli *c, int error, const char *what, const struct cli_volume *v,
		    const char *path);
void cli_warn(struct cli *c, const char *format, ...) _printf_(2, 3);
bool cli_is_fatal(int error);
/* Called before the program ends early (signals aside): what must not stay behind. */
extern void (*cli_on_exit)(void);
/* Ends the program; in gofer shell only the verb: every further call fails at once, and nothing more is said. */
void cli_exit(struct cli *c);

/* ---- output (output.c) ---- */
/* A name for stdout: raw into a pipe, control characters and broken UTF-8 as \xNN on a terminal. */
void cli_put_name(struct cli *c, const char *name);
/* GNU's shell-escape quoting, as ls does on a terminal. malloc'ed. */
char *cli_shell_quote(const char *name, bool *ret_quoted);
size_t cli_width(const char *text);
/* "1.5K": up to four characters as ls -h and du -h round. buf of 16. */
const char *cli_human(uint64_t bytes, unsigned base, char *buf);
void cli_mode_string(mode_t mode, char buf[static 11]);
const char *cli_type_name(mode_t mode);
/* Names that are valid UTF-8 as strings, others as {"base64": "..."}. */
json_t *cli_json_bytes(const void *bytes, size_t len);
char *cli_base64(const void *data, size_t len);
int cli_base64_decode(const char *text, void **ret_data, size_t *ret_len);
json_t *cli_json_stat(const struct stat *st);
json_t *cli_json_path(const struct cli_volume *v, const char *path);
/* One object, one line; takes the reference. */
void cli_json_print(struct cli *c, json_t *object);
const char *cli_user_name(uid_t uid, bool numeric);
const char *cli_group_name(gid_t gid, bool numeric);

/* ---- modes, owners, dates (values.c) ---- */
/* chmod's MODE applied to `mode`: octal or symbolic. -EINVAL where the text is neither. */
int cli_mode_apply(const char *text, mode_t mode, mode_t umask_bits, mode_t *ret_mode);
/* USER, USER:GROUP, :GROUP, by name or number; (uid_t)-1 = leave. */
int cli_owner_parse(const char *text, uid_t *ret_uid, gid_t *ret_gid);
/* touch -d: "@SECONDS[.FRACTION]", "YYYY-MM-DD[ T]HH:MM[:SS[.FRACTION]][Z|+HH[:]MM]", "YYYY-MM-DD",
 * "now". */
int cli_date_parse(const char *text, struct timespec *ret_ts);
/* touch -t: [[CC]YY]MMDDhhmm[.ss] */
int cli_stamp_parse(const char *text, struct timespec *ret_ts);
/* "2026-01-02 03:04:05.000000006 +0000" */
const char *cli_time_full(const struct timespec *ts, char *buf, size_t size);

/* ---- directories (tree.c has the verb; list.c this) ---- */
struct cli_entry {
	char *name;
	char *target; /* of a symbolic link, or NULL */
	struct stat st;
	uint8_t type;
	bool has_stat;
};
struct cli_list {
	struct cli_entry *entries;
	size_t n, allocated;
	struct stat dir; /* of the directory that was read */
};
void cli_list_deinit(struct cli_list *l);
#define _cleanup_list_ _cleanup_(cli_list_deinit)
/* flags as for gofer_opendir(). */
int cli_list_read(struct gofer_namespace *ns, const char *path, int flags,
		  struct cli_list *ret_list);
int cli_list_add(struct cli_list *l, const char *name, const struct stat *st, const char *target);
void cli_list_sort(struct cli_list *l);
/* The length without slashes and "/." at the end: what cli_join() begins with. */
size_t cli_trimmed(const char *path);
/* dir + "/" + name; malloc'ed, ends the program without memory. */
char *cli_join(const char *dir, const char *name);
/* The last component, "" for the root. malloc'ed. */
char *cli_basename(const char *path);
/* Without the last component, "/" at least. malloc'ed. */
char *cli_dirname(const char *path);
void *cli_alloc(size_t size); /* zeroed; ends the program without memory */
char *cli_strdup(const char *text);
/* Asks on stderr, reads a line of stdin: true for y. */
bool cli_ask(struct cli *c, const char *question, const struct cli_volume *v, const char *path);

/* ---- verbs that others use ---- */
int cli_remove_tree(struct cli *c, const struct cli_volume *v, const char *path,
		    bool verbose); /* rm.c */
struct cli_copy_options {
	bool recursive, preserve, no_clobber, force, verbose, no_dereference;
};
int cli_copy_tree(struct cli *c, const struct cli_volume *from, const char *source,
		  const struct cli_volume *to, const char *dest,
		  const struct cli_copy_options *options); /* cp.c */
