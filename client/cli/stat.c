/*
 * stat.c - gofer stat: attributes of objects, as stat(1) shows them. One RPC per operand.
 */
#include "client/cli/cli.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/sysmacros.h>

/* Where ls(1) shows the number of a user without a name, stat(1) says UNKNOWN. */
static const char *known_name(const char *name)
{
	return *name >= '0' && *name <= '9' ? "UNKNOWN" : name;
}

static const struct cli_option options[] = {
	{ 'L', "dereference", NULL, "follow a symbolic link as the last component" },
	{ 'c', "format", "FORMAT", "print FORMAT and a newline; see below" },
	{ 0 },
};
static const struct cli_spec spec = {
	.verb = "stat",
	.usage = "[-L] [-c FORMAT] NAME:/path...",
	.about = "Shows the attributes of objects.",
	.options = options,
	.notes = "FORMAT knows %a %A %b %B %d %D %f %F %g %G %h %i %n %N %o %s %t %T %u %U %w %W "
		 "%x %X %y %Y %z %Z and %%,\n"
		 "with the meanings that stat(1) gives them.",
};

static const char *file_type(const struct statx *stx)
{
	return S_ISREG(stx->stx_mode) && stx->stx_size == 0 ? "regular empty file"
							    : cli_type_name(stx->stx_mode);
}

static struct timespec to_timespec(const struct statx_timestamp *t)
{
	return (struct timespec){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

static char *link_target(struct cli_path *p)
{
	char buf[4096];
	ssize_t n = gofer_readlink(p->ns, p->path, buf, sizeof(buf));

	return n < 0 ? NULL : strndup(buf, (size_t)n);
}

static void print_quoted(struct cli *c, struct cli_path *p, const struct statx *stx)
{
	_cleanup_free_ char *target = NULL;

	putchar('\'');
	cli_put_name(c, p->text);
	putchar('\'');
	if (!S_ISLNK(stx->stx_mode))
		return;
	target = link_target(p);
	if (target) {
		fputs(" -> '", stdout);
		cli_put_name(c, target);
		putchar('\'');
	}
}

static void print_time(char directive, const struct statx_timestamp *t, bool known)
{
	struct timespec ts = to_timespec(t);
	char buf[96];

	if (directive < 'a')
		printf("%lld", known ? (long long)t->tv_sec : 0);
	else
		fputs(known ? cli_time_full(&ts, buf, sizeof(buf)) : "-", stdout);
}

static void print_directive(struct cli *c, char d, struct cli_path *p, const struct statx *stx)
{
	dev_t dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	char mode[11];

	switch (d) {
	case 'a':
		printf("%o", stx->stx_mode & 07777);
		break;
	case 'A':
		cli_mode_string(stx->stx_mode, mode);
		fputs(mode, stdout);
		break;
	case 'b':
		printf("%llu", (unsigned long long)stx->stx_blocks);
		break;
	case 'B':
		fputs("512", stdout);
		break;
	case 'd':
		printf("%llu", (unsigned long long)dev);
		break;
	case 'D':
		printf("%llx", (unsigned long long)dev);
		break;
	case 'f':
		printf("%x", stx->stx_mode);
		break;
	case 'F':
		fputs(file_type(stx), stdout);
		break;
	case 'g':
		printf("%u", stx->stx_gid);
		break;
	case 'G':
		fputs(known_name(cli_group_name(stx->stx_gid, false)), stdout);
		break;
	case 'h':
		printf("%u", stx->stx_nlink);
		break;
	case 'i':
		printf("%llu", (unsigned long long)stx->stx_ino);
		break;
	case 'n':
		cli_put_name(c, p->text);
		break;
	case 'N':
		print_quoted(c, p, stx);
		break;
	case 'o':
		printf("%u", stx->stx_blksize);
		break;
	case 's':
		printf("%llu", (unsigned long long)stx->stx_size);
		break;
	case 't':
		printf("%x", stx->stx_rdev_major);
		break;
	case 'T':
		printf("%x", stx->stx_rdev_minor);
		break;
	case 'u':
		printf("%u", stx->stx_uid);
		break;
	case 'U':
		fputs(known_name(cli_user_name(stx->stx_uid, false)), stdout);
		break;
	case 'w':
	case 'W':
		print_time(d, &stx->stx_btime, stx->stx_mask & STATX_BTIME);
		break;
	case 'x':
	case 'X':
		print_time(d, &stx->stx_atime, true);
		break;
	case 'y':
	case 'Y':
		print_time(d, &stx->stx_mtime, true);
		break;
	case 'z':
	case 'Z':
		print_time(d, &stx->stx_ctime, true);
		break;
	case '%':
		putchar('%');
		break;
	default:
		putchar('?');
	}
}

static void print_format(struct cli *c, const char *format, struct cli_path *p,
			 const struct statx *stx)
{
	for (; *format; format++) {
		if (*format == '%' && format[1])
			print_directive(c, *++format, p, stx);
		else
			putchar(*format);
	}
	putchar('\n');
}

static void print_text(struct cli *c, struct cli_path *p, const struct statx *stx)
{
	static const char tail[] = "Access: %x\nModify: %y\nChange: %z\n Birth: %w";
	char mode[11];

	fputs("  File: ", stdout);
	cli_put_name(c, p->text);
	if (S_ISLNK(stx->stx_mode)) {
		_cleanup_free_ char *target = link_target(p);

		if (target) {
			fputs(" -> ", stdout);
			cli_put_name(c, target);
		}
	}
	printf("\n  Size: %-10llu\tBlocks: %-10llu IO Block: %-6u %s\n",
	       (unsigned long long)stx->stx_size, (unsigned long long)stx->stx_blocks,
	       stx->stx_blksize, file_type(stx));
	printf("Device: %u,%u\tInode: %-11llu Links: %u", stx->stx_dev_major, stx->stx_dev_minor,
	       (unsigned long long)stx->stx_ino, stx->stx_nlink);
	if (S_ISCHR(stx->stx_mode) || S_ISBLK(stx->stx_mode))
		printf("     Device type: %u,%u", stx->stx_rdev_major, stx->stx_rdev_minor);
	cli_mode_string(stx->stx_mode, mode);
	printf("\nAccess: (%04o/%s)  Uid: (%5u/%8s)   Gid: (%5u/%8s)\n", stx->stx_mode & 07777,
	       mode, stx->stx_uid, known_name(cli_user_name(stx->stx_uid, false)), stx->stx_gid,
	       known_name(cli_group_name(stx->stx_gid, false)));
	print_format(c, tail, p, stx);
}

static void print_json(struct cli *c, struct cli_path *p, const struct statx *stx)
{
	struct stat st = {
		.st_mode = stx->stx_mode,
		.st_ino = stx->stx_ino,
		.st_dev = makedev(stx->stx_dev_major, stx->stx_dev_minor),
		.st_nlink = stx->stx_nlink,
		.st_uid = stx->stx_uid,
		.st_gid = stx->stx_gid,
		.st_rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor),
		.st_size = (off_t)stx->stx_size,
		.st_blocks = (blkcnt_t)stx->stx_blocks,
		.st_blksize = (blksize_t)stx->stx_blksize,
		.st_atim = to_timespec(&stx->stx_atime),
		.st_mtim = to_timespec(&stx->stx_mtime),
		.st_ctim = to_timespec(&stx->stx_ctime),
	};
	json_t *o = cli_json_stat(&st);

	json_object_set_new(o, "path", cli_json_path(p->volume, p->path));
	if (S_ISLNK(stx->stx_mode)) {
		_cleanup_free_ char *target = link_target(p);

		if (target)
			json_object_set_new(o, "target", cli_json_bytes(target, strlen(target)));
	}
	cli_json_print(c, o);
}

static int run(int argc, char **argv)
{
	const char *format = NULL;
	bool follow = false;
	struct cli c;
	int key;

	cli_begin(&c, &spec, argc, argv);
	while ((key = cli_next(&c)) >= 0) {
		if (key == 'L')
			follow = true;
		else
			format = c.optarg;
	}
	if (cli_need_operands(&c, 1, -1) < 0 || cli_connect(&c) < 0)
		return cli_end(&c);
	for (int i = 0; i < c.argc && !cli_stops(&c); i++) {
		_cleanup_path_ struct cli_path p = { 0 };
		struct statx stx;
		int r;

		if (cli_split(&c, c.argv[i], &p) < 0)
			continue;
		r = gofer_statx(p.ns, p.path, follow ? 0 : AT_SYMLINK_NOFOLLOW, &stx);
		if (r < 0) {
			cli_error(&c, r, NULL, p.text);
			continue;
		}
		if (c.json)
			print_json(&c, &p, &stx);
		else if (format)
			print_format(&c, format, &p, &stx);
		else
			print_text(&c, &p, &stx);
	}
	return cli_end(&c);
}

const struct verb verb_stat = { "stat", "show attributes", run, &spec };
