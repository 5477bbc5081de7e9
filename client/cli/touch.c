/*
 * touch.c - gofer touch, truncate and mknod: make and adjust single objects.
 */
#include "client/cli/cli.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>

static mode_t current_umask(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return mask;
}

static const struct cli_option touch_options[] = {
	{ 'a', NULL, NULL, "only the time of access" },
	{ 'm', NULL, NULL, "only the time of modification" },
	{ 'c', "no-create", NULL, "make no files" },
	{ 'd', "date", "DATE",
	  "this time instead of now: @SECONDS, YYYY-MM-DD [HH:MM[:SS[.N]]] [Z|+HHMM]" },
	{ 't', NULL, "STAMP", "this time: [[CC]YY]MMDDhhmm[.ss]" },
	{ 'r', "reference", "FILE", "the times of FILE, local or NAME:/path" },
	{ 'h', "no-dereference", NULL, "links themselves" },
	{ 0 },
};
static const struct cli_spec touch_spec = {
	.verb = "touch",
	.usage = "[OPTION]... NAME:/path...",
	.about = "Sets times of files to now, or as told; makes files that do not exist.",
	.options = touch_options,
};

static int reference_times(struct cli *c, const char *text, struct timespec times[2])
{
	_cleanup_path_ struct cli_path p = { 0 };
	struct stat st;
	int r;

	if (cli_is_remote(text)) {
		r = cli_split(c, text, &p);
		if (r < 0)
			return r;
		r = gofer_stat(p.ns, p.path, 0, &st);
	} else {
		r = stat(text, &st) < 0 ? -errno : 0;
	}
	if (r < 0) {
		cli_error(c, r, NULL, text);
		return r;
	}
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	return 0;
}

static int run_touch(int argc, char **argv)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_NOW } };
	bool atime = false, mtime = false, no_create = false, no_follow = false;
	const char *reference = NULL;
	struct cli c;
	int key;

	cli_begin(&c, &touch_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		switch (key) {
		case 'a':
			atime = true;
			break;
		case 'm':
			mtime = true;
			break;
		case 'c':
			no_create = true;
			break;
		case 'h':
			no_follow = no_create = true;
			break;
		case 'r':
			reference = c.optarg;
			break;
		default:
			if ((key == 'd' ? cli_date_parse : cli_stamp_parse)(c.optarg, &times[0]) <
			    0)
				cli_no_usage(&c, "-%c: '%s' is not a time", key, c.optarg);
			times[1] = times[0];
		}
	}
	if (cli_need_operands(&c, 1, -1) < 0)
		return cli_end(&c);
	/* A local reference needs no server, but the rest does. */
	if (cli_connect(&c) < 0 || (reference && reference_times(&c, reference, times) < 0))
		return cli_end(&c);
	if (atime != mtime)
		times[atime ? 1 : 0].tv_nsec = UTIME_OMIT;
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		int flags = no_follow ? AT_SYMLINK_NOFOLLOW : 0;
		int r;

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		r = gofer_utimens(p.ns, p.path, times, flags);
		if (r == -ENOENT && !no_create) {
			struct gofer_file *file;

			gofer_umask(p.ns, current_umask());
			r = gofer_open(p.ns, p.path, O_WRONLY | O_CREAT | O_NONBLOCK, 0666, &file);
			if (r == 0)
				gofer_close(file);
			if (r == 0)
				r = gofer_utimens(p.ns, p.path, times, flags);
		} else if (r == -ENOENT && no_create) {
			r = 0;
		}
		if (r < 0)
			cli_error(&c, r, "touch", p.text);
	}
	return cli_end(&c);
}

static const struct cli_option truncate_options[] = {
	{ 's', "size", "[+-]SIZE",
	  "the new size; +, - relative to the old one; K, M, G, T for powers of 1024" },
	{ 'r', "reference", "NAME:/path", "the size of this file" },
	{ 'c', "no-create", NULL, "make no files" },
	{ 0 },
};
static const struct cli_spec truncate_spec = {
	.verb = "truncate",
	.usage = "-s SIZE | -r NAME:/path [-c] NAME:/path...",
	.about = "Sets the size of files; what is added reads as zeros.",
	.options = truncate_options,
};

static int truncate_one(struct cli_path *p, char sign, uint64_t size, bool no_create)
{
	struct gofer_file *file;
	struct stat st;
	int r;

	if (sign) {
		r = gofer_stat(p->ns, p->path, 0, &st);
		if (r == 0 && sign == '-')
			size = (uint64_t)st.st_size > size ? (uint64_t)st.st_size - size : 0;
		else if (r == 0 && __builtin_add_overflow((uint64_t)st.st_size, size, &size))
			return -EFBIG;
		if (r < 0 && (r != -ENOENT || no_create))
			return r;
		if (r < 0 && sign == '-')
			size = 0;
	}
	r = gofer_truncate(p->ns, p->path, size);
	if (r != -ENOENT)
		return r;
	if (no_create)
		return 0;
	gofer_umask(p->ns, current_umask());
	r = gofer_open(p->ns, p->path, O_WRONLY | O_CREAT, 0666, &file);
	if (r < 0)
		return r;
	r = gofer_ftruncate(file, size);
	gofer_close(file);
	return r;
}

static int run_truncate(int argc, char **argv)
{
	const char *size_text = NULL, *reference = NULL;
	bool no_create = false;
	uint64_t size = 0;
	char sign = '\0';
	struct cli c;
	int key;

	cli_begin(&c, &truncate_spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		if (key == 's')
			size_text = c.optarg;
		else if (key == 'r')
			reference = c.optarg;
		else
			no_create = true;
	}
	if (cli_need_operands(&c, 1, -1) < 0)
		return cli_end(&c);
	if (!size_text == !reference)
		cli_no_usage(&c, "one of -s and -r is needed");
	if (size_text) {
		if (*size_text == '+' || *size_text == '-')
			sign = *size_text++;
		size = cli_number(&c, "-s", size_text, true);
	}
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	if (reference) {
		_cleanup_path_ struct cli_path p = { 0 };
		struct stat st;
		int r;

		if (cli_split(&c, reference, &p) < 0)
			return cli_end(&c);
		r = gofer_stat(p.ns, p.path, 0, &st);
		if (r < 0) {
			cli_error(&c, r, NULL, reference);
			return cli_end(&c);
		}
		size = (uint64_t)st.st_size;
	}
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		int r;

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		r = truncate_one(&p, sign, size, no_create);
		if (r < 0)
			cli_error(&c, r, "truncate", p.text);
	}
	return cli_end(&c);
}

static const struct cli_option mknod_options[] = {
	{ 'm', "mode", "MODE", "permissions, octal or symbolic (default a=rw less the umask)" },
	{ 0 },
};
static const struct cli_spec mknod_spec = {
	.verb = "mknod",
	.usage = "[-m MODE] NAME:/path p\n[-m MODE] NAME:/path b|c MAJOR MINOR",
	.about = "Makes a FIFO (p), or asks the server for a device, which it refuses unless the "
		 "volume allows them.",
	.options = mknod_options,
};

static int run_mknod(int argc, char **argv)
{
	_cleanup_path_ struct cli_path p = { 0 };
	mode_t mask = current_umask(), mode = 0666, type = S_IFIFO;
	dev_t rdev = 0;
	struct cli c;
	int operands, r;

	cli_begin(&c, &mknod_spec, argc, argv);
	while (cli_next(&c) >= 0) {
		if (cli_mode_apply(c.optarg, 0666, mask, &mode) < 0)
			cli_no_usage(&c, "'%s' is not a mode", c.optarg);
		mode &= 07777;
		mask = 0;
	}
	if (cli_need_operands(&c, 2, 4) < 0)
		return cli_end(&c);
	if (strcmp(c.argv[1], "b") == 0)
		type = S_IFBLK;
	else if (strcmp(c.argv[1], "c") == 0 || strcmp(c.argv[1], "u") == 0)
		type = S_IFCHR;
	else if (strcmp(c.argv[1], "p") != 0)
		cli_no_usage(&c, "'%s' is none of p, b, c", c.argv[1]);
	operands = type == S_IFIFO ? 2 : 4;
	if (cli_need_operands(&c, operands, operands) < 0)
		return cli_end(&c);
	if (type != S_IFIFO) {
		uint64_t major, minor;

		major = cli_number(&c, "MAJOR", c.argv[2], false);
		minor = cli_number(&c, "MINOR", c.argv[3], false);
		if (major > UINT32_MAX || minor > UINT32_MAX)
			cli_no_usage(&c, "device numbers have 32 bits");
		rdev = makedev((unsigned)major, (unsigned)minor);
	}
	if (cli_connect(&c) < 0)
		return cli_end(&c);
	if (cli_split(&c, c.argv[0], &p) < 0)
		return cli_end(&c);
	gofer_umask(p.ns, mask);
	r = gofer_mknod(p.ns, p.path, type | mode, rdev);
	if (r < 0)
		cli_error(&c, r, "make", p.text);
	return cli_end(&c);
}

const struct verb verb_touch = { "touch", "set times, make empty files", run_touch, &touch_spec };
const struct verb verb_truncate = { "truncate", "set sizes", run_truncate, &truncate_spec };
const struct verb verb_mknod = { "mknod", "make FIFOs", run_mknod, &mknod_spec };
