/*
 * copy_common.c - see copy.h.
 */
#include "client/cli/copy.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/packet.h"

enum { KEY_IN_PLACE = CLI_LONG, KEY_PROGRESS, KEY_NO_XATTR };

const struct cli_option copy_options_table[] = {
	{ 'r', "recursive", NULL, "copy directories and what they hold" },
	{ 'R', NULL, NULL, "the same as -r" },
	{ 'T', "no-target-directory", NULL, "the destination is never a directory to copy into" },
	{ 'v', "verbose", NULL, "print each name that was copied" },
	{ 'q', "quiet", NULL, "no progress bar, no warnings about what is skipped" },
	{ KEY_PROGRESS, "progress", "WHEN", "always, never, or auto: on a terminal (the default)" },
	{ KEY_IN_PLACE, "in-place", NULL,
	  "write to the destination itself, not to a temporary name that is renamed" },
	{ KEY_NO_XATTR, "no-xattr", NULL, "leave extended attributes and ACLs alone" },
	{ 0 },
};

void copy_parse(struct cli *c, struct copy_options *o, struct copy_progress *p)
{
	int key;

	p->mode = 'a';
	while ((key = cli_next(c)) >= 0) {
		switch (key) {
		case 'T':
			o->plain = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'q':
			o->quiet = true;
			break;
		case KEY_IN_PLACE:
			o->in_place = true;
			break;
		case KEY_NO_XATTR:
			o->no_xattr = true;
			break;
		case KEY_PROGRESS:
			if (strcmp(c->optarg, "always") == 0)
				p->mode = 'y';
			else if (strcmp(c->optarg, "never") == 0)
				p->mode = 'n';
			else if (strcmp(c->optarg, "auto") == 0)
				p->mode = 'a';
			else
				cli_no_usage(c, "--progress: '%s' is none of always, never, auto",
					     c->optarg);
			break;
		default:
			o->recursive = true;
		}
	}
}

unsigned copy_window(const struct cli *c)
{
	return c->limits.max_in_flight - c->limits.max_in_flight / 16;
}

static void on_signal(int signal)
{
	/* The second one is for those who cannot wait. */
	if (pipe_signal)
		_exit(128 + signal);
	pipe_signal = signal;
}

void copy_catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	/* The shell has handlers of its own. */
	if (cli_host)
		return;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

void copy_temp_name(char buf[static COPY_TEMP_NAME])
{
	static unsigned counter;
	static uint64_t salt;

	if (!salt)
		salt = now_ns() | 1;
	snprintf(buf, COPY_TEMP_NAME, ".gofer-%x-%" PRIx64 "-%x", (unsigned)getpid(),
		 salt & 0xffffff, counter++);
}

bool copy_xattr_wanted(const char *name)
{
	return strncmp(name, "user.", 5) == 0 || strcmp(name, "system.posix_acl_access") == 0 ||
	       strcmp(name, "system.posix_acl_default") == 0;
}

void copy_xattrs_free(struct copy_xattr *list)
{
	while (list) {
		struct copy_xattr *next = list->next;

		free(list->name);
		free(list->value);
		free(list);
		list = next;
	}
}

struct copy_inode *copy_inode_get(struct copy_inode **table, uint64_t dev, uint64_t ino,
				  bool *ret_new)
{
	struct copy_inode *inode, *fresh = cli_alloc(sizeof(*fresh));

	fresh->key.dev = dev;
	fresh->key.ino = ino;
	HASH_FIND(hh, *table, &fresh->key, sizeof(fresh->key), inode);
	*ret_new = !inode;
	if (inode) {
		free(fresh);
		return inode;
	}
	HASH_ADD(hh, *table, key, sizeof(fresh->key), fresh);
	return fresh;
}

void copy_progress_start(struct copy_progress *p, bool quiet)
{
	p->shown = p->mode == 'y' || (p->mode == 'a' && !quiet && isatty(STDERR_FILENO));
	p->start = now_ns();
}

void copy_progress_show(struct copy_progress *p, bool now)
{
	char done[16], found[16], speed[16], bar[21], line[160];
	struct winsize ws = { 0 };
	uint64_t time, eta;
	double seconds, rate, part;
	int n, width = 80;

	if (!p->shown)
		return;
	time = now_ns();
	if (!now && time - p->last < 100000000)
		return;
	p->last = time;
	seconds = (double)(time - p->start) / 1e9;
	rate = seconds > 0 ? (double)p->bytes / seconds : 0;
	/* Files stand for some bytes each, so that trees of empty files advance too. */
	part = (double)(p->bytes_found + 1024 * p->files_found);
	part = part > 0 ? (double)(p->bytes + 1024 * p->files) / part : 0;
	part = MIN(part, 1);
	eta = part > 0 ? (uint64_t)(seconds / part - seconds) : 0;
	memset(bar, '.', 20);
	memset(bar, '#', (size_t)(part * 20));
	bar[20] = '\0';
	n = snprintf(line, sizeof(line),
		     "[%s] %" PRIu64 "/%" PRIu64 " files  %s/%s  %s/s  ETA %" PRIu64 ":%02" PRIu64,
		     bar, p->files, p->files_found, cli_human(p->bytes, 1024, done),
		     cli_human(p->bytes_found, 1024, found), cli_human((uint64_t)rate, 1024, speed),
		     eta / 60, eta % 60);
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 1)
		width = ws.ws_col;
	n = MIN(n, width - 1);
	fprintf(stderr, "\r%.*s%*s", n, line, MAX(p->width - n, 0), "");
	fflush(stderr);
	p->width = n;
}

void copy_progress_break(struct copy_progress *p)
{
	if (p->shown && p->width)
		fputc('\n', stderr);
	p->width = 0;
}

void copy_progress_end(struct copy_progress *p)
{
	if (!p->shown)
		return;
	copy_progress_show(p, true);
	fputc('\n', stderr);
	p->shown = false;
}
