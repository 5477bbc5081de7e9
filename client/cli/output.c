/*
 * output.c - names, sizes, modes and JSON on standard output.
 *
 * Names are bytes that somebody else chose. Into a pipe they go as they are, so that other programs
 * get the true name; onto a terminal no control character and no broken UTF-8 goes (C1 controls
 * included). JSON holds names as strings where they are UTF-8, else as {"base64": "..."}.
 */
#include "client/cli/cli.h"

#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <wchar.h>
#include <wctype.h>

#include "common/path.h"

void *cli_alloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	if (!p) {
		fprintf(stderr, "gofer: out of memory\n");
		exit(CLI_FAILED);
	}
	return p;
}

char *cli_strdup(const char *text)
{
	size_t n = strlen(text) + 1;

	return memcpy(cli_alloc(n), text, n);
}

void cli_put_name(struct cli *c, const char *name)
{
	_cleanup_free_ char *shown = NULL;
	size_t n = strlen(name);

	if (!c->tty) {
		fwrite(name, 1, n, stdout);
		return;
	}
	shown = cli_alloc(4 * n + 1);
	fputs(path_escape(name, n, shown, 4 * n + 1), stdout);
}

/* Bytes of the printable character at `at`, 0 where there is none. */
static size_t printable(const char *at)
{
	mbstate_t state = { 0 };
	wchar_t wide;
	size_t n = mbrtowc(&wide, at, MB_CUR_MAX, &state);

	if (n == 0 || n == (size_t)-1 || n == (size_t)-2 || !iswprint((wint_t)wide))
		return 0;
	return n;
}

size_t cli_width(const char *text)
{
	size_t width = 0;

	while (*text) {
		mbstate_t state = { 0 };
		wchar_t wide;
		size_t n = mbrtowc(&wide, text, MB_CUR_MAX, &state);
		int columns;

		if (n == (size_t)-1 || n == (size_t)-2) {
			width++;
			text++;
			continue;
		}
		columns = wcwidth(wide);
		width += columns > 0 ? (size_t)columns : 0;
		text += n;
	}
	return width;
}

char *cli_shell_quote(const char *name, bool *ret_quoted)
{
	static const char special[] = " !\"#$&'()*;<=>?[\\]^`{|}~";
	/* At worst every other byte needs its own $'...' of nine. */
	size_t size = 8 * strlen(name) + 16;
	char *out = cli_alloc(size), *to = out;
	bool quoted = *name == '\0', escape = false, single = strchr(name, '\'') != NULL;

	for (const char *p = name; *p;) {
		size_t n = printable(p);

		/* # and ~ only matter at the start, = and the brackets nowhere that a name is a
		 * word. */
		if (n == 1 && strchr(special, *p) && (p == name || !strchr("#~", *p)) &&
		    !strchr("{}]", *p))
			quoted = true;
		if (!n)
			quoted = escape = true;
		p += n ? n : 1;
	}
	*ret_quoted = quoted;
	if (!quoted)
		return memcpy(out, name, strlen(name) + 1);
	if (single && !escape && !strpbrk(name, "\"$`\\!")) {
		snprintf(out, size, "\"%s\"", name);
		return out;
	}
	*to++ = '\'';
	for (const char *p = name; *p;) {
		size_t n = printable(p);

		if (!n) {
			static const char letters[] = "\aa\bb\tt\nn\vv\ff\rr";

			/* A run of unprintable bytes shares one $'...'. */
			to = stpcpy(to, "'$'");
			for (; *p && !printable(p); p++) {
				const char *known = NULL;

				for (const char *l = letters; *l; l += 2)
					if (*l == *p)
						known = l + 1;
				*to++ = '\\';
				if (known) {
					*to++ = *known;
					continue;
				}
				for (int shift = 6; shift >= 0; shift -= 3)
					*to++ = (char)('0' + (((unsigned char)*p >> shift) & 7));
			}
			/* At the end of the name the last quote is this one's. */
			if (*p)
				to = stpcpy(to, "''");
			continue;
		}
		if (*p == '\'') {
			to = stpcpy(to, "'\\''");
			p++;
			continue;
		}
		to = mempcpy(to, p, n);
		p += n;
	}
	*to++ = '\'';
	*to = '\0';
	return out;
}

const char *cli_human(uint64_t bytes, unsigned base, char *buf)
{
	static const char units[] = "\0KMGTPE";
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= base && unit < 6) {
		value /= base;
		unit++;
	}
	/* Rounded up, as df, du and ls do: 1025 bytes are 1.1K. */
	if (unit && value < 10) {
		double tenths = (double)(uint64_t)(value * 10);

		if (tenths < value * 10)
			tenths++;
		if (tenths < 100) {
			snprintf(buf, 16, "%.1f%c", tenths / 10, units[unit]);
			return buf;
		}
		value = 10;
	}
	if (unit && (double)(uint64_t)value < value)
		value = (double)(uint64_t)value + 1;
	if (unit && value >= base && unit < 6) {
		snprintf(buf, 16, "1.0%c", units[unit + 1]);
		return buf;
	}
	if (unit)
		snprintf(buf, 16, "%" PRIu64 "%c", (uint64_t)value, units[unit]);
	else
		snprintf(buf, 16, "%" PRIu64, (uint64_t)value);
	return buf;
}

void cli_mode_string(mode_t mode, char buf[static 11])
{
	static const char types[] = "?pc?d?b?-?l?s???";

	buf[0] = types[(mode >> 12) & 15];
	for (int i = 0; i < 9; i++)
		buf[1 + i] = mode & (0400u >> i) ? "rwxrwxrwx"[i] : '-';
	if (mode & S_ISUID)
		buf[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		buf[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		buf[9] = mode & S_IXOTH ? 't' : 'T';
	buf[10] = '\0';
}

const char *cli_type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "regular file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symbolic link";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	case S_IFCHR:
		return "character special file";
	case S_IFBLK:
		return "block special file";
	default:
		return "weird file";
	}
}

char *cli_base64(const void *data, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *in = data;
	char *out = cli_alloc((len + 2) / 3 * 4 + 1), *to = out;

	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
			     (left > 2 ? in[i + 2] : 0);

		*to++ = digits[v >> 18];
		*to++ = digits[(v >> 12) & 63];
		*to++ = left > 1 ? digits[(v >> 6) & 63] : '=';
		*to++ = left > 2 ? digits[v & 63] : '=';
	}
	return out;
}

int cli_base64_decode(const char *text, void **ret_data, size_t *ret_len)
{
	size_t len = strlen(text), n = 0;
	_cleanup_free_ uint8_t *out = cli_alloc(len / 4 * 3 + 3);
	uint32_t v = 0;
	unsigned bits = 0;

	for (size_t i = 0; i < len && text[i] != '='; i++) {
		char ch = text[i];
		int d = ch >= 'A' && ch <= 'Z'   ? ch - 'A'
			: ch >= 'a' && ch <= 'z' ? ch - 'a' + 26
			: ch >= '0' && ch <= '9' ? ch - '0' + 52
			: ch == '+'              ? 62
			: ch == '/'              ? 63
						 : -1;

		if (d < 0)
			return -EINVAL;
		v = v << 6 | (uint32_t)d;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[n++] = (uint8_t)(v >> bits);
		}
	}
	*ret_data = TAKE_PTR(out);
	*ret_len = n;
	return 0;
}

json_t *cli_json_bytes(const void *bytes, size_t len)
{
	json_t *s = json_stringn(len ? bytes : "", len);
	_cleanup_free_ char *encoded = NULL;

	if (s)
		return s;
	encoded = cli_base64(bytes, len);
	return json_pack("{s:s}", "base64", encoded);
}

json_t *cli_json_path(const struct cli_volume *v, const char *path)
{
	_cleanup_free_ char *text = NULL;

	if (asprintf(&text, "%s:%s", v->name, path) < 0)
		abort();
	return cli_json_bytes(text, strlen(text));
}

static json_t *json_time(const struct timespec *ts)
{
	char buf[64];

	snprintf(buf, sizeof(buf), "%lld.%09ld", (long long)ts->tv_sec, ts->tv_nsec);
	return json_string(buf);
}

json_t *cli_json_stat(const struct stat *st)
{
	json_t *o = json_object();
	char mode[16];

	snprintf(mode, sizeof(mode), "%04o", st->st_mode & 07777);
	json_object_set_new(o, "type", json_string(cli_type_name(st->st_mode)));
	json_object_set_new(o, "mode", json_string(mode));
	json_object_set_new(o, "ino", json_integer((json_int_t)st->st_ino));
	json_object_set_new(o, "dev", json_integer((json_int_t)st->st_dev));
	json_object_set_new(o, "nlink", json_integer((json_int_t)st->st_nlink));
	json_object_set_new(o, "uid", json_integer(st->st_uid));
	json_object_set_new(o, "gid", json_integer(st->st_gid));
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		json_object_set_new(
			o, "rdev",
			json_pack("[i,i]", (int)major(st->st_rdev), (int)minor(st->st_rdev)));
	json_object_set_new(o, "size", json_integer((json_int_t)st->st_size));
	json_object_set_new(o, "blocks", json_integer((json_int_t)st->st_blocks));
	json_object_set_new(o, "blksize", json_integer((json_int_t)st->st_blksize));
	json_object_set_new(o, "atime", json_time(&st->st_atim));
	json_object_set_new(o, "mtime", json_time(&st->st_mtim));
	json_object_set_new(o, "ctime", json_time(&st->st_ctim));
	return o;
}

void cli_json_print(struct cli *c, json_t *object)
{
	json_dumpf(object, stdout, JSON_COMPACT | (c->tty ? JSON_ENSURE_ASCII : 0));
	putchar('\n');
	json_decref(object);
}

/* The last few names looked up: a listing asks for the same two over and over. */
const char *cli_user_name(uid_t uid, bool numeric)
{
	static struct {
		uid_t uid;
		char name[64];
	} cache[16];
	size_t at = uid % ARRAY_SIZE(cache);

	if (!cache[at].name[0] || cache[at].uid != uid || numeric) {
		struct passwd *pw = numeric ? NULL : getpwuid(uid);

		cache[at].uid = uid;
		if (pw)
			snprintf(cache[at].name, sizeof(cache[at].name), "%s", pw->pw_name);
		else
			snprintf(cache[at].name, sizeof(cache[at].name), "%u", uid);
	}
	return cache[at].name;
}

const char *cli_group_name(gid_t gid, bool numeric)
{
	static struct {
		gid_t gid;
		char name[64];
	} cache[16];
	size_t at = gid % ARRAY_SIZE(cache);

	if (!cache[at].name[0] || cache[at].gid != gid || numeric) {
		struct group *gr = numeric ? NULL : getgrgid(gid);

		cache[at].gid = gid;
		if (gr)
			snprintf(cache[at].name, sizeof(cache[at].name), "%s", gr->gr_name);
		else
			snprintf(cache[at].name, sizeof(cache[at].name), "%u", gid);
	}
	return cache[at].name;
}
