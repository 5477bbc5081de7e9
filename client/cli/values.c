/*
 * values.c - the small languages of coreutils' operands: modes, owners, dates.
 */
#include "client/cli/cli.h"

#include <ctype.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

/* One clause of a symbolic mode: [ugoa]*([-+=]([rwxXst]*|[ugo]))+ */
static int apply_clause(const char *p, size_t len, mode_t umask_bits, mode_t *mode)
{
	const char *end = p + len;
	mode_t who = 0;

	for (; p < end && strchr("ugoa", *p); p++)
		who |= *p == 'u' ? 04700 : *p == 'g' ? 02070 : *p == 'o' ? 01007 : 07777;
	if (p == end)
		return -EINVAL;
	while (p < end) {
		char op = *p++;
		mode_t bits = 0, scope = who ? who : 07777 & ~umask_bits;

		if (op != '+' && op != '-' && op != '=')
			return -EINVAL;
		if (p < end && strchr("ugo", *p)) {
			mode_t three = *p == 'u' ? *mode >> 6 : *p == 'g' ? *mode >> 3 : *mode;

			three &= 7;
			bits = three << 6 | three << 3 | three;
			p++;
		} else {
			for (; p < end && !strchr("+-=", *p); p++) {
				switch (*p) {
				case 'r':
					bits |= 0444;
					break;
				case 'w':
					bits |= 0222;
					break;
				case 'x':
					bits |= 0111;
					break;
				case 'X':
					if (S_ISDIR(*mode) || *mode & 0111)
						bits |= 0111;
					break;
				case 's':
					bits |= 06000;
					break;
				case 't':
					bits |= 01000;
					break;
				default:
					return -EINVAL;
				}
			}
		}
		/* "t" and "s" without a who are not subject to the umask's classes. */
		if (!who)
			scope |= bits & 07000;
		bits &= scope;
		if (op == '+') {
			*mode |= bits;
		} else if (op == '-') {
			*mode &= ~bits;
		} else {
			mode_t clear = who ? who : 0777;

			/* "=" leaves a directory's set-id bits alone unless they are named, as
			 * GNU's chmod does. */
			if (S_ISDIR(*mode))
				clear &= ~(mode_t)06000 | (bits & 06000);
			*mode = (*mode & ~clear) | bits;
		}
	}
	return 0;
}

int cli_mode_apply(const char *text, mode_t mode, mode_t umask_bits, mode_t *ret_mode)
{
	if (*text >= '0' && *text <= '7') {
		unsigned long value;
		char *end;

		value = strtoul(text, &end, 8);
		if (*end || value > 07777)
			return -EINVAL;
		/* Up to four digits say nothing about a directory's set-id bits. */
		if (S_ISDIR(mode) && strlen(text) < 5)
			value |= mode & 06000;
		*ret_mode = (mode & S_IFMT) | (mode_t)value;
		return 0;
	}
	for (;;) {
		size_t n = strcspn(text, ",");
		int r = n ? apply_clause(text, n, umask_bits, &mode) : -EINVAL;

		if (r < 0)
			return r;
		if (!text[n])
			break;
		text += n + 1;
	}
	*ret_mode = mode;
	return 0;
}

static int parse_id(const char *text, uint32_t *ret_id)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value >= UINT32_MAX)
		return -EINVAL;
	*ret_id = (uint32_t)value;
	return 0;
}

int cli_owner_parse(const char *text, uid_t *ret_uid, gid_t *ret_gid)
{
	const char *colon = strchr(text, ':');
	_cleanup_free_ char *user = strndup(text, colon ? (size_t)(colon - text) : strlen(text));
	uid_t uid = (uid_t)-1;
	gid_t gid = (gid_t)-1;
	struct passwd *pw = NULL;

	if (!user)
		return -ENOMEM;
	if (*user) {
		pw = getpwnam(user);
		if (pw)
			uid = pw->pw_uid;
		else if (parse_id(user, &uid) < 0)
			return -EINVAL;
	}
	if (colon && colon[1]) {
		struct group *gr = getgrnam(colon + 1);

		if (gr)
			gid = gr->gr_gid;
		else if (parse_id(colon + 1, &gid) < 0)
			return -EINVAL;
	} else if (colon && *user) {
		/* "USER:" means the user's login group. */
		if (!pw)
			return -EINVAL;
		gid = pw->pw_gid;
	} else if (!*user) {
		return -EINVAL;
	}
	*ret_uid = uid;
	*ret_gid = gid;
	return 0;
}

/* ".123" to nanoseconds; moves *p behind it. */
static long parse_fraction(const char **p)
{
	long ns = 0, unit = 100000000;

	if (**p != '.' && **p != ',')
		return 0;
	for (++*p; isdigit((unsigned char)**p); ++*p, unit /= 10)
		ns += (**p - '0') * unit;
	return ns;
}

int cli_date_parse(const char *text, struct timespec *ret_ts)
{
	struct tm tm = { .tm_isdst = -1 };
	struct timespec ts = { 0 };
	const char *p = text;

	if (strcmp(text, "now") == 0) {
		clock_gettime(CLOCK_REALTIME, ret_ts);
		return 0;
	}
	if (*p == '@') {
		char *end;
		bool minus = p[1] == '-';

		errno = 0;
		ts.tv_sec = strtoll(p + 1, &end, 10);
		if (errno || end == p + 1)
			return -EINVAL;
		p = end;
		ts.tv_nsec = parse_fraction(&p);
		if (minus && ts.tv_nsec) {
			ts.tv_sec--;
			ts.tv_nsec = 1000000000 - ts.tv_nsec;
		}
		if (*p)
			return -EINVAL;
		*ret_ts = ts;
		return 0;
	}
	p = strptime(p, "%Y-%m-%d", &tm);
	if (!p)
		return -EINVAL;
	if (*p == 'T' || *p == ' ') {
		const char *with = strptime(p + 1, "%H:%M:%S", &tm);

		p = with ? with : strptime(p + 1, "%H:%M", &tm);
		if (!p)
			return -EINVAL;
		ts.tv_nsec = parse_fraction(&p);
	}
	while (*p == ' ')
		p++;
	if (*p == 'Z' && !p[1]) {
		ts.tv_sec = timegm(&tm);
	} else if (*p == '+' || *p == '-') {
		struct tm zone = { 0 };
		const char *end = strptime(p, "%z", &zone);
		long offset = zone.tm_gmtoff;

		if (!end || *end)
			return -EINVAL;
		ts.tv_sec = timegm(&tm) - offset;
	} else if (*p) {
		return -EINVAL;
	} else {
		ts.tv_sec = mktime(&tm);
	}
	*ret_ts = ts;
	return 0;
}

int cli_stamp_parse(const char *text, struct timespec *ret_ts)
{
	size_t digits = strspn(text, "0123456789");
	time_t now = time(NULL);
	struct tm tm;
	int v[7], n = 0;

	localtime_r(&now, &tm);
	if ((digits != 8 && digits != 10 && digits != 12) ||
	    (text[digits] && (text[digits] != '.' || strspn(text + digits + 1, "0123456789") != 2 ||
			      text[digits + 3])))
		return -EINVAL;
	for (size_t i = 0; i < digits; i += 2)
		v[n++] = (text[i] - '0') * 10 + text[i + 1] - '0';
	if (digits == 12)
		tm.tm_year = v[0] * 100 + v[1] - 1900;
	else if (digits == 10)
		tm.tm_year = v[0] < 69 ? v[0] + 100 : v[0];
	tm.tm_mon = v[n - 4] - 1;
	tm.tm_mday = v[n - 3];
	tm.tm_hour = v[n - 2];
	tm.tm_min = v[n - 1];
	tm.tm_sec = text[digits] ? (text[digits + 1] - '0') * 10 + text[digits + 2] - '0' : 0;
	tm.tm_isdst = -1;
	if (tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
	    tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
		return -EINVAL;
	*ret_ts = (struct timespec){ .tv_sec = mktime(&tm) };
	return 0;
}

const char *cli_time_full(const struct timespec *ts, char *buf, size_t size)
{
	char date[64], zone[16];
	struct tm tm;

	if (!localtime_r(&ts->tv_sec, &tm)) {
		snprintf(buf, size, "%lld", (long long)ts->tv_sec);
		return buf;
	}
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	strftime(zone, sizeof(zone), "%z", &tm);
	snprintf(buf, size, "%s.%09ld %s", date, ts->tv_nsec, zone);
	return buf;
}
