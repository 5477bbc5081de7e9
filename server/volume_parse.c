/*
 * volume_parse.c - the text of a -v option. Words only: nothing is looked up here.
 *
 * Options are a table of {name, whether it has a value, what it does}. What depends on several
 * options (uids= without delegate, caps= where no uid 0 acts) is judged once at the end, so that
 * their order does not matter.
 */
#include "server/volume.h"

#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#include "common/fields.h"
#include "common/path.h"

enum { SEEN_RO = 1, SEEN_RW = 2, SEEN_UIDS = 4, SEEN_GIDS = 8, SEEN_SQUASH_AS = 16 };

struct parse {
	struct volume *volume;
	struct serve_error *error;
	const char *spec;
	unsigned seen;
};

static const char *const cap_names[] = {
	[CAP_CHOWN] = "chown",
	[CAP_DAC_OVERRIDE] = "dac_override",
	[CAP_DAC_READ_SEARCH] = "dac_read_search",
	[CAP_FOWNER] = "fowner",
	[CAP_FSETID] = "fsetid",
	[CAP_MKNOD] = "mknod",
};

/* Decimal, all of text[0..*ret_len), no sign. */
static int parse_u32(const char *text, char stop, uint32_t *ret, const char **ret_rest)
{
	uint64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (*p - '0');
		if (value > UINT32_MAX)
			return -ERANGE;
	}
	if (p == text || (*p != stop && *p != '\0'))
		return -EINVAL;
	*ret = value;
	*ret_rest = *p ? p + 1 : p;
	return 0;
}

static int parse_pair(const char *text, char separator, uint32_t *ret_a, uint32_t *ret_b)
{
	const char *rest;
	uint32_t a, b;

	if (!strchr(text, separator) || parse_u32(text, separator, &a, &rest) < 0 ||
	    parse_u32(rest, '\0', &b, &rest) < 0)
		return -EINVAL;
	/* 4294967295 is "nobody at all" to the kernel. */
	if (a == UINT32_MAX || b == UINT32_MAX)
		return -ERANGE;
	*ret_a = a;
	*ret_b = b;
	return 0;
}

static int set_ro(struct parse *p, const char *value)
{
	p->seen |= SEEN_RO;
	p->volume->read_only = true;
	return 0;
}

static int set_rw(struct parse *p, const char *value)
{
	p->seen |= SEEN_RW;
	return 0;
}

static int set_xdev(struct parse *p, const char *value)
{
	p->volume->xdev = true;
	return 0;
}

static int set_noexec(struct parse *p, const char *value)
{
	p->volume->noexec = true;
	return 0;
}

static int set_donate(struct parse *p, const char *value)
{
	static const char *const names[] = {
		[DONATE_NEVER] = "never",
		[DONATE_RO] = "ro",
		[DONATE_ALWAYS] = "always",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(value, names[i]) == 0) {
			p->volume->donate = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int set_identity(struct parse *p, const char *value)
{
	struct volume *v = p->volume;

	if (strcmp(value, "delegate") == 0) {
		v->identity = IDENTITY_DELEGATE;
		return 0;
	}
	v->identity = IDENTITY_SQUASH;
	if (strcmp(value, "squash") == 0)
		return 0;
	if (strncmp(value, "squash=", 7) != 0)
		return -EINVAL;
	p->seen |= SEEN_SQUASH_AS;
	return parse_pair(value + 7, ':', &v->squash_uid, &v->squash_gid);
}

static int set_special(struct parse *p, const char *value)
{
	if (strcmp(value, "allow") != 0 && strcmp(value, "deny") != 0)
		return -EINVAL;
	p->volume->special = value[0] == 'a';
	return 0;
}

static int set_range(const char *value, struct id_range *ret)
{
	struct id_range range;

	if (parse_pair(value, '-', &range.low, &range.high) < 0 || range.low > range.high)
		return -EINVAL;
	*ret = range;
	return 0;
}

static int set_uids(struct parse *p, const char *value)
{
	p->seen |= SEEN_UIDS;
	return set_range(value, &p->volume->uids);
}

static int set_gids(struct parse *p, const char *value)
{
	p->seen |= SEEN_GIDS;
	return set_range(value, &p->volume->gids);
}

static int set_caps(struct parse *p, const char *value)
{
	while (*value) {
		size_t len = strcspn(value, "+"), i;

		for (i = 0; i < ARRAY_SIZE(cap_names); i++)
			if (cap_names[i] && strlen(cap_names[i]) == len &&
			    memcmp(value, cap_names[i], len) == 0)
				break;
		if (i == ARRAY_SIZE(cap_names))
			return -EINVAL;
		p->volume->caps |= UINT64_C(1) << i;
		value += len;
		if (*value == '+' && *++value == '\0')
			return -EINVAL;
	}
	return p->volume->caps ? 0 : -EINVAL;
}

static int set_backend(struct parse *p, const char *value)
{
	const struct fs_ops *ops = fs_ops_find(value);

	if (!ops)
		return -EINVAL;
	p->volume->fs.ops = ops;
	return 0;
}

static const struct {
	const char *name;
	const char *values; /* for people; NULL = takes none */
	int (*set)(struct parse *p, const char *value);
} options[] = {
	{ "ro", NULL, set_ro },
	{ "rw", NULL, set_rw },
	{ "xdev", NULL, set_xdev },
	{ "noexec", NULL, set_noexec },
	{ "donate", "never, ro or always", set_donate },
	{ "identity", "squash, squash=UID:GID or delegate", set_identity },
	{ "special", "deny or allow", set_special },
	{ "uids", "LOW-HIGH", set_uids },
	{ "gids", "LOW-HIGH", set_gids },
	{ "caps", "chown, dac_override, dac_read_search, fowner, fsetid, mknod, joined by +",
	  set_caps },
	{ "backend", "host or pathwalk", set_backend },
};

/* The option that text (name or name=value) is; -ENOENT. */
static int option_find(const char *text)
{
	size_t len = strcspn(text, "=");

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (strlen(options[i].name) == len && memcmp(options[i].name, text, len) == 0 &&
		    (text[len] == '=') == (options[i].values != NULL))
			return i;
	return -ENOENT;
}

bool volume_option_known(const char *option)
{
	return option_find(option) >= 0;
}

static int apply_options(struct parse *p, const char *text)
{
	while (text) {
		_cleanup_free_ char *option = NULL;
		int r, i;

		r = field_next(&text, ',', &option);
		if (r < 0)
			return r;
		if (!option[0] && !text)
			break;
		i = option_find(option);
		if (i < 0)
			return serve_fail(p->error, -EINVAL,
					  "volume %s: unknown option '%s': 'gofer serve --help' "
					  "lists them (a ':' in the "
					  "path is written '\\:')",
					  p->spec, option);
		r = options[i].set(p, strchr(option, '=') ? strchr(option, '=') + 1 : "");
		if (r < 0)
			return serve_fail(p->error, r, "volume %s: option '%s': expected %s",
					  p->spec, option, options[i].values);
	}
	return 0;
}

/* Whether all of text is options that exist, whatever their values. */
static bool looks_like_options(const char *text)
{
	bool any = false;

	while (text) {
		_cleanup_free_ char *option = NULL;

		if (field_next(&text, ',', &option) < 0 || option_find(option) < 0)
			return false;
		any = true;
	}
	return any;
}

static int check_name(struct parse *p, const char *name)
{
	if (!name[0])
		return serve_fail(p->error, -EINVAL,
				  "volume %s: the name is empty: write HOST:NAME", p->spec);
	if (path_validate_name(name, strlen(name)) < 0)
		return serve_fail(p->error, -EINVAL,
				  "volume %s: '%s' cannot be a name: at most 255 bytes, no '/', "
				  "not '.' or '..': write HOST:NAME",
				  p->spec, name);
	for (const unsigned char *c = (const unsigned char *)name; *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			return serve_fail(p->error, -EINVAL,
					  "volume %s: the name holds control characters: write "
					  "HOST:NAME with another name",
					  p->spec);
	return 0;
}

static int check_together(struct parse *p)
{
	struct volume *v = p->volume;
	bool root = geteuid() == 0;

	if ((p->seen & (SEEN_RO | SEEN_RW)) == (SEEN_RO | SEEN_RW))
		return serve_fail(p->error, -EINVAL, "volume %s: both 'ro' and 'rw': keep one",
				  p->spec);
	if (v->identity == IDENTITY_DELEGATE && !root)
		return serve_fail(p->error, -EPERM,
				  "volume %s: identity=delegate needs a server that root started: "
				  "use identity=squash",
				  p->spec);
	if (v->identity != IDENTITY_DELEGATE && (p->seen & (SEEN_UIDS | SEEN_GIDS)))
		return serve_fail(p->error, -EINVAL,
				  "volume %s: uids= and gids= need identity=delegate", p->spec);
	if (!root && (v->squash_uid != geteuid() || v->squash_gid != getegid()))
		return serve_fail(p->error, -EPERM,
				  "volume %s: squashing to %u:%u needs a server that root started: "
				  "leave '=UID:GID' out",
				  p->spec, v->squash_uid, v->squash_gid);
	if (v->caps && !root)
		return serve_fail(p->error, -EPERM,
				  "volume %s: caps= needs a server that root started", p->spec);
	if (v->caps && v->identity == IDENTITY_SQUASH && v->squash_uid != 0)
		return serve_fail(p->error, -EINVAL,
				  "volume %s: caps= works only while uid 0 acts: use "
				  "identity=delegate or squash=0:0",
				  p->spec);
	if (v->caps && v->identity == IDENTITY_DELEGATE && v->uids.low > 0)
		return serve_fail(p->error, -EINVAL,
				  "volume %s: caps= works only while uid 0 acts: add "
				  "uids=0-4294967294,gids=0-4294967294 to let root in",
				  p->spec);
	return 0;
}

/* "HOST", "HOST:NAME", "HOST:OPTIONS", "HOST:NAME:OPTIONS". squash=UID:GID is the one value with a ":" in it, so options are read to the end. */
static int split(struct parse *p, const char **ret_options)
{
	struct volume *v = p->volume;
	const char *rest = p->spec;
	size_t len;
	int r;

	r = field_next(&rest, ':', &v->host_path);
	if (r < 0)
		return r;
	len = strlen(v->host_path);
	if (len == 0)
		return serve_fail(
			p->error, -EINVAL,
			"volume '%s': the directory is missing: write HOST[:NAME][:OPTIONS]",
			p->spec);
	/* With a slash behind it, a symbolic link would be followed. */
	while (len > 1 && v->host_path[len - 1] == '/')
		v->host_path[--len] = '\0';
	*ret_options = NULL;
	if (rest && looks_like_options(rest)) {
		*ret_options = rest;
	} else if (rest) {
		r = field_next(&rest, ':', &v->name);
		if (r < 0)
			return r;
		*ret_options = rest;
		/* "HOST::ro" leaves the name to us. */
		if (!v->name[0] && rest)
			free(TAKE_PTR(v->name));
	}
	return 0;
}

/* What people would call the directory: its last component, also of ".", "a/.." and relative paths.
 */
static int default_name(struct parse *p)
{
	struct volume *v = p->volume;
	const char *slash = strrchr(v->host_path, '/'), *base = slash ? slash + 1 : v->host_path;
	_cleanup_free_ char *real = NULL;

	if (!base[0] || path_is_dot(base, strlen(base)) || path_is_dotdot(base, strlen(base))) {
		real = realpath(v->host_path, NULL);
		base = real ? strrchr(real, '/') + 1 : "";
		if (!base[0])
			base = "root";
	}
	v->name = strdup(base);
	return v->name ? 0 : -ENOMEM;
}

int volume_parse(const char *spec, struct volume *ret_volume, struct serve_error *error)
{
	struct volume v = VOLUME_NULL;
	struct parse p = { .volume = &v, .error = error, .spec = spec };
	const char *text = NULL;
	int r;

	v.donate = DONATE_ALWAYS;
	v.identity = IDENTITY_SQUASH;
	v.squash_uid = geteuid();
	v.squash_gid = getegid();
	v.uids = v.gids = (struct id_range){ 1, UINT32_MAX - 1 };
	v.fs.ops = fs_ops_find("host");
	r = split(&p, &text);
	if (r == 0 && !v.name)
		r = default_name(&p);
	if (r == 0)
		r = check_name(&p, v.name);
	if (r == 0 && text)
		r = apply_options(&p, text);
	if (r == 0)
		r = check_together(&p);
	if (r < 0) {
		volume_deinit(&v);
		return serve_fail(error, r, "volume %s: %s", spec, strerror(-r));
	}
	*ret_volume = v;
	return 0;
}
