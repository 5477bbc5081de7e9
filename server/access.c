/*
 * access.c - a small, strict format. Whatever is not understood is refused with its line: a
 * misspelt key must not open, nor close, a door in silence.
 */
#include "server/access.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include "common/net.h"
#include "server/volume.h"

enum { FILE_MAX = 1024 * 1024 };

/* What is being read. */
struct reader {
	const char *path;
	unsigned line;
	struct access_list list;
	struct access_entry *entry; /* of the section that is open; NULL before the first */
	struct serve_error *error;
};

__attribute__((format(printf, 3, 4))) static int bad(struct reader *r, int error,
						     const char *format, ...)
{
	char words[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(words, sizeof(words), format, ap);
	va_end(ap);
	return serve_fail(r->error, error, "%s:%u: %s", r->path, r->line, words);
}

void access_deinit(struct access_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		struct access_entry *e = &list->entries[i];

		for (size_t k = 0; k < e->n_volumes; k++)
			free(e->volumes[k].name);
		free(e->volumes);
		free(e->subject);
		free(e->dns);
	}
	free(list->entries);
	*list = (struct access_list){ 0 };
}

/* ---- values ---- */

static int take_subject(struct reader *r, const char *value)
{
	r->entry->subject = strdup(value);
	return r->entry->subject ? 0 : -ENOMEM;
}

static int take_dns(struct reader *r, const char *value)
{
	if (strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") !=
	    strlen(value))
		return bad(r, -EINVAL, "dns: '%s' is not the name of a host", value);
	r->entry->dns = strdup(value);
	return r->entry->dns ? 0 : -ENOMEM;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static int take_token(struct reader *r, const char *value)
{
	if (strlen(value) != 2 * ACCESS_DIGEST)
		return bad(r, -EINVAL,
			   "token-sha256: expected the %d hexadecimal digits that sha256sum prints",
			   2 * ACCESS_DIGEST);
	for (size_t i = 0; i < ACCESS_DIGEST; i++) {
		int high = hex_digit(value[2 * i]), low = hex_digit(value[2 * i + 1]);

		if (high < 0 || low < 0)
			return bad(r, -EINVAL, "token-sha256: not a hexadecimal digit");
		r->entry->token[i] = (uint8_t)(high << 4 | low);
	}
	r->entry->has_token = r->list.tokens = true;
	return 0;
}

static int take_volume(struct reader *r, const char *name, size_t len)
{
	struct access_entry *e = r->entry;
	struct access_volume v = { 0 }, *grown;

	if (len > 3 && memcmp(name + len - 3, ":ro", 3) == 0) {
		v.read_only = true;
		len -= 3;
	}
	if (len == 0 || memchr(name, ':', len))
		return bad(r, -EINVAL, "volumes: expected names, or NAME:ro, with commas between");
	if (e->n_volumes == ACCESS_VOLUMES_MAX)
		return bad(r, -EINVAL, "volumes: at most %d", ACCESS_VOLUMES_MAX);
	for (size_t i = 0; i < e->n_volumes; i++)
		if (strlen(e->volumes[i].name) == len && !memcmp(e->volumes[i].name, name, len))
			return bad(r, -EINVAL, "volumes: '%.*s' twice", (int)len, name);
	grown = reallocarray(e->volumes, e->n_volumes + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	e->volumes = grown;
	v.name = strndup(name, len);
	if (!v.name)
		return -ENOMEM;
	grown[e->n_volumes++] = v;
	return 0;
}

static int take_volumes(struct reader *r, const char *value)
{
	for (;;) {
		size_t n = strcspn(value, ","), used = n;
		int e;

		while (used && (value[used - 1] == ' ' || value[used - 1] == '\t'))
			used--;
		e = take_volume(r, value, used);
		if (e < 0)
			return e;
		if (!value[n])
			return 0;
		value += n + 1;
		value += strspn(value, " \t");
	}
}

static int take_identity(struct reader *r, const char *value)
{
	const char *colon = strchr(value, ':');
	unsigned long uid, gid;
	char first[16];

	if (!colon || (size_t)(colon - value) >= sizeof(first))
		return bad(r, -EINVAL, "identity: expected UID:GID, in numbers");
	memcpy(first, value, (size_t)(colon - value));
	first[colon - value] = '\0';
	if (!net_number(first, UINT32_MAX - 1, &uid) ||
	    !net_number(colon + 1, UINT32_MAX - 1, &gid))
		return bad(r, -EINVAL, "identity: expected UID:GID, in numbers");
	r->entry->uid = (uid_t)uid;
	r->entry->gid = (gid_t)gid;
	r->entry->has_identity = true;
	return 0;
}

static const struct {
	const char *name;
	int (*take)(struct reader *r, const char *value);
} keys[] = {
	{ "subject", take_subject }, { "dns", take_dns },           { "token-sha256", take_token },
	{ "volumes", take_volumes }, { "identity", take_identity },
};

/* ---- lines ---- */

static bool has_key(const struct access_entry *e, size_t key)
{
	switch (key) {
	case 0:
		return e->subject;
	case 1:
		return e->dns;
	case 2:
		return e->has_token;
	case 3:
		return e->n_volumes;
	default:
		return e->has_identity;
	}
}

static int end_section(struct reader *r)
{
	const struct access_entry *e = r->entry;

	if (!e)
		return 0;
	if (!e->subject + !e->dns + !e->has_token != 2)
		return serve_fail(r->error, -EINVAL,
				  "%s:%u: [%s] needs one of subject, dns and token-sha256", r->path,
				  e->line, e->name);
	if (!e->n_volumes)
		return serve_fail(r->error, -EINVAL, "%s:%u: [%s] needs volumes", r->path, e->line,
				  e->name);
	for (const struct access_entry *o = r->list.entries; o < e; o++)
		if ((o->subject && e->subject && !strcmp(o->subject, e->subject)) ||
		    (o->dns && e->dns && !strcasecmp(o->dns, e->dns)) ||
		    (o->has_token && e->has_token && !memcmp(o->token, e->token, ACCESS_DIGEST)))
			return serve_fail(r->error, -EINVAL,
					  "%s:%u: [%s] is the same client as [%s]", r->path,
					  e->line, e->name, o->name);
	return 0;
}

static int begin_section(struct reader *r, char *line)
{
	char *end = strchr(line, ']');
	size_t n = end ? (size_t)(end - line - 1) : 0;
	struct access_entry *grown;
	int e = end_section(r);

	if (e < 0)
		return e;
	if (!end || end[1] || n == 0 || n >= ACCESS_NAME_MAX)
		return bad(r, -EINVAL, "expected [NAME], of 1 to %d bytes", ACCESS_NAME_MAX - 1);
	for (size_t i = 1; i <= n; i++)
		if (line[i] <= ' ' || line[i] > '~')
			return bad(r, -EINVAL, "[NAME]: letters, digits and signs only");
	if (r->list.n == ACCESS_MAX)
		return bad(r, -EINVAL, "at most %d clients", ACCESS_MAX);
	grown = reallocarray(r->list.entries, r->list.n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	r->list.entries = grown;
	r->entry = &grown[r->list.n++];
	*r->entry = (struct access_entry){ .line = r->line };
	memcpy(r->entry->name, line + 1, n);
	for (size_t i = 0; i + 1 < r->list.n; i++)
		if (!strcmp(grown[i].name, r->entry->name))
			return bad(r, -EINVAL, "[%s] twice", r->entry->name);
	return 0;
}

static int take_line(struct reader *r, char *line)
{
	size_t n = strlen(line), key_len;
	char *value;

	while (n && (line[n - 1] == ' ' || line[n - 1] == '\t'))
		line[--n] = '\0';
	line += strspn(line, " \t");
	if (!*line || *line == '#')
		return 0;
	if (*line == '[')
		return begin_section(r, line);
	value = strchr(line, '=');
	if (!value)
		return bad(r, -EINVAL, "expected [NAME], or KEY = VALUE");
	if (!r->entry)
		return bad(r, -EINVAL, "a key before the first [NAME]");
	key_len = (size_t)(value - line);
	while (key_len && (line[key_len - 1] == ' ' || line[key_len - 1] == '\t'))
		key_len--;
	line[key_len] = '\0';
	value++;
	value += strspn(value, " \t");
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(keys[i].name, line) != 0)
			continue;
		if (has_key(r->entry, i))
			return bad(r, -EINVAL, "%s twice", line);
		if (!*value)
			return bad(r, -EINVAL, "%s: the value is missing", line);
		return keys[i].take(r, value);
	}
	return bad(r, -EINVAL,
		   "unknown key '%s': expected subject, dns, token-sha256, volumes or identity",
		   line);
}

int access_parse(const char *path, const char *text, size_t size, struct access_list *ret,
		 struct serve_error *error)
{
	struct reader r = { .path = path, .error = error };
	_cleanup_free_ char *copy = strndup(text, size);
	char *line = copy, *end;
	int e = 0;

	if (!copy)
		return -ENOMEM;
	SHA256((const uint8_t *)text, size, r.list.digest);
	if (strlen(copy) != size)
		e = serve_fail(error, -EINVAL, "%s: a NUL in it", path);
	for (; e == 0 && line; line = end) {
		r.line++;
		end = strchr(line, '\n');
		if (end)
			*end++ = '\0';
		for (const char *c = line; e == 0 && *c; c++)
			if ((unsigned char)*c < ' ' && *c != '\t')
				e = bad(&r, -EINVAL,
					"a control character (end lines with LF only)");
		if (e == 0)
			e = take_line(&r, line);
	}
	if (e == 0)
		e = end_section(&r);
	if (e == 0 && r.list.n == 0)
		e = serve_fail(error, -EINVAL, "%s: no client is in it", path);
	if (e < 0) {
		access_deinit(&r.list);
		return e;
	}
	*ret = r.list;
	return 0;
}

int access_load(const char *path, struct access_list *ret, struct serve_error *error)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return serve_fail(error, -errno, "--tls-access %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return serve_fail(error, -EINVAL, "--tls-access %s: is not a regular file", path);
	if (st.st_mode & 022)
		return serve_fail(error, -EPERM,
				  "--tls-access %s: others may write it (mode %04o): chmod go-w",
				  path, (unsigned)st.st_mode & 07777);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return serve_fail(error, -EPERM, "--tls-access %s: belongs to uid %u, not to us",
				  path, st.st_uid);
	if (st.st_size > FILE_MAX)
		return serve_fail(error, -EFBIG, "--tls-access %s: larger than %d bytes", path,
				  FILE_MAX);
	text = malloc(FILE_MAX);
	if (!text)
		return -ENOMEM;
	while ((n = read(fd, text + size, FILE_MAX - size)) > 0)
		size += (size_t)n;
	if (n < 0)
		return serve_fail(error, -errno, "--tls-access %s: %s", path, strerror(errno));
	return access_parse(path, text, size, ret, error);
}

/* ---- use ---- */

static const struct volume *find_volume(const struct server *server, const char *name)
{
	for (size_t i = 0; i < server->n_volumes; i++)
		if (strcmp(server->volumes[i].name, name) == 0)
			return &server->volumes[i];
	return NULL;
}

static bool in_range(const struct id_range *range, uint32_t id)
{
	return id >= range->low && id <= range->high;
}

int access_check(const char *path, const struct access_list *list, const struct server *server,
		 struct serve_error *error)
{
	for (size_t i = 0; i < list->n; i++) {
		const struct access_entry *e = &list->entries[i];

		for (size_t k = 0; k < e->n_volumes; k++) {
			const struct volume *v = find_volume(server, e->volumes[k].name);

			if (!v)
				return serve_fail(error, -ENOENT,
						  "%s:%u: [%s]: there is no volume '%s'", path,
						  e->line, e->name, e->volumes[k].name);
			if (v->identity != IDENTITY_DELEGATE)
				continue;
			if (!e->has_identity)
				return serve_fail(error, -EINVAL,
						  "%s:%u: [%s]: volume '%s' is identity=delegate: "
						  "say as whom, with identity = UID:GID",
						  path, e->line, e->name, v->name);
			if (!in_range(&v->uids, e->uid) || !in_range(&v->gids, e->gid))
				return serve_fail(error, -EPERM,
						  "%s:%u: [%s]: identity %u:%u is not among the "
						  "uids and gids of volume '%s'",
						  path, e->line, e->name, e->uid, e->gid, v->name);
		}
	}
	return 0;
}

/* As one line, with what could be mistaken for something else escaped: a NUL too. */
static char *print_subject(X509 *cert)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *text = NULL, *data;
	long n;

	if (out && X509_NAME_print_ex(out, X509_get_subject_name(cert), 0,
				      XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
		n = BIO_get_mem_data(out, &data);
		text = malloc((size_t)n + 1);
		if (text) {
			memcpy(text, data, (size_t)n);
			text[n] = '\0';
		}
	}
	BIO_free(out);
	return text;
}

/* Whether the certificate has this very name; wildcards in it are for servers. */
static bool has_dns(X509 *cert, const char *dns)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		size_t len;

		if (name->type != GEN_DNS)
			continue;
		len = (size_t)ASN1_STRING_length(name->d.dNSName);
		found = len == strlen(dns) &&
			strncasecmp((const char *)ASN1_STRING_get0_data(name->d.dNSName), dns,
				    len) == 0;
	}
	GENERAL_NAMES_free(names);
	return found;
}

int access_find_cert(const struct access_list *list, X509 *cert, size_t *ret_index)
{
	_cleanup_free_ char *subject = print_subject(cert);

	if (!subject)
		return -ENOMEM;
	for (size_t i = 0; i < list->n; i++) {
		const struct access_entry *e = &list->entries[i];

		if ((e->subject && strcmp(e->subject, subject) == 0) ||
		    (e->dns && has_dns(cert, e->dns))) {
			*ret_index = i;
			return 0;
		}
	}
	return -ENOENT;
}

int access_find_token(const struct access_list *list, const void *token, size_t size,
		      size_t *ret_index)
{
	uint8_t digest[ACCESS_DIGEST];
	int r = -ENOENT;

	SHA256(token, size, digest);
	/* All of them, whichever it is. */
	for (size_t i = 0; i < list->n; i++) {
		const struct access_entry *e = &list->entries[i];

		if (e->has_token && CRYPTO_memcmp(e->token, digest, ACCESS_DIGEST) == 0) {
			*ret_index = i;
			r = 0;
		}
	}
	return r;
}

void access_restrict(const struct access_entry *entry, struct server *server)
{
	size_t kept = 0;

	for (size_t i = 0; i < server->n_volumes; i++) {
		struct volume *v = &server->volumes[i];
		const struct access_volume *may = NULL;

		for (size_t k = 0; k < entry->n_volumes && !may; k++)
			if (strcmp(entry->volumes[k].name, v->name) == 0)
				may = &entry->volumes[k];
		if (!may) {
			volume_deinit(v);
			continue;
		}
		if (may->read_only) {
			v->read_only = true;
			v->fs.flags |= FS_READ_ONLY;
		}
		server->volumes[kept++] = *v;
	}
	server->n_volumes = kept;
}
