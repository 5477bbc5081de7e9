/*
 * test_access.c - the file of --tls-access, and whom a certificate or a token is.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "server/access.h"

#define TOKEN "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08" /* "test" */

static int parse(const char *text, struct access_list *ret, struct serve_error *error)
{
	*error = (struct serve_error){};
	return access_parse("F", text, strlen(text), ret, error);
}

Test(access, what_a_file_says)
{
	static const char text[] =
		"# who\n\n[alice]\n\tsubject = CN=alice,O=A Lab\nvolumes= work ,docs:ro\n"
		"identity =1000:1001\n[b-7]\ndns=b7.example\nvolumes=work\n  [t]\n"
		"token-sha256 = " TOKEN "  \nvolumes = docs";
	struct serve_error error;
	struct access_list l;
	size_t index;

	cr_assert_eq(parse(text, &l, &error), 0, "%s", error.text);
	cr_assert_eq(l.n, 3);
	cr_assert(l.tokens);
	cr_assert_str_eq(l.entries[0].name, "alice");
	cr_assert_str_eq(l.entries[0].subject, "CN=alice,O=A Lab");
	cr_assert_eq(l.entries[0].n_volumes, 2);
	cr_assert_str_eq(l.entries[0].volumes[0].name, "work");
	cr_assert_not(l.entries[0].volumes[0].read_only);
	cr_assert_str_eq(l.entries[0].volumes[1].name, "docs");
	cr_assert(l.entries[0].volumes[1].read_only);
	cr_assert(l.entries[0].has_identity);
	cr_assert_eq(l.entries[0].uid, 1000);
	cr_assert_eq(l.entries[0].gid, 1001);
	cr_assert_str_eq(l.entries[1].dns, "b7.example");
	cr_assert_not(l.entries[1].has_identity);
	cr_assert_eq(access_find_token(&l, "test", 4, &index), 0);
	cr_assert_eq(index, 2);
	cr_assert_eq(access_find_token(&l, "tesT", 4, &index), -ENOENT);
	cr_assert_eq(access_find_token(&l, "test\n", 5, &index), -ENOENT);
	access_deinit(&l);
}

Test(access, S139_what_is_not_understood_is_refused_with_its_line)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
		{ "", "F: no client" },
		{ "# only\n", "F: no client" },
		{ "subject = CN=a\n", "F:1: a key before the first [NAME]" },
		{ "[a]\nsubject CN\n", "F:2: expected [NAME], or KEY = VALUE" },
		{ "[a]\nSubject = CN=a\nvolumes = v\n", "F:2: unknown key 'Subject'" },
		{ "[a]\nsubject = CN=a\nvolume = v\n", "F:3: unknown key 'volume'" },
		{ "[a]\nsubject = CN=a\nsubject = CN=b\nvolumes = v\n", "F:3: subject twice" },
		{ "[a]\nsubject =\nvolumes = v\n", "F:2: subject: the value is missing" },
		{ "[a]\nsubject = CN=a\n", "F:1: [a] needs volumes" },
		{ "[a]\nvolumes = v\n", "F:1: [a] needs one of" },
		{ "[a]\nsubject = CN=a\ndns = a\nvolumes = v\n", "F:1: [a] needs one of" },
		{ "[a]\ndns = a b\nvolumes = v\n", "F:2: dns: 'a b'" },
		{ "[a]\ndns = *.a\nvolumes = v\n", "F:2: dns: '*.a'" },
		{ "[a]\ntoken-sha256 = 12\nvolumes = v\n", "F:2: token-sha256: expected" },
		{ "[a]\ntoken-sha256 = " TOKEN "0\nvolumes = v\n", "F:2: token-sha256: expected" },
		{ "[a]\nsubject = CN=a\nvolumes = v,\n", "F:3: volumes: expected names" },
		{ "[a]\nsubject = CN=a\nvolumes = v:rw\n", "F:3: volumes: expected names" },
		{ "[a]\nsubject = CN=a\nvolumes = v, v:ro\n", "F:3: volumes: 'v' twice" },
		{ "[a]\nsubject = CN=a\nvolumes = v\nidentity = 1\n",
		  "F:4: identity: expected UID:GID" },
		{ "[a]\nsubject = CN=a\nvolumes = v\nidentity = me:1\n",
		  "F:4: identity: expected" },
		{ "[a]\nsubject = CN=a\nvolumes = v\nidentity = -1:1\n",
		  "F:4: identity: expected" },
		{ "[a]\nsubject = CN=a\nvolumes = v\nidentity = 4294967295:1\n",
		  "F:4: identity: expected" },
		{ "[a]\nsubject = CN=a\nvolumes = v\n[a]\nsubject = CN=b\nvolumes = v\n",
		  "F:4: [a] twice" },
		{ "[a]\nsubject = CN=a\nvolumes = v\n[b]\nsubject = CN=a\nvolumes = v\n",
		  "F:4: [b] is the same" },
		{ "[a]\ndns = a\nvolumes = v\n[b]\ndns = A\nvolumes = v\n",
		  "F:4: [b] is the same client" },
		{ "[]\n", "F:1: expected [NAME]" },
		{ "[a\n", "F:1: expected [NAME]" },
		{ "[a] x\n", "F:1: expected [NAME]" },
		{ "[a b]\n", "F:1: [NAME]: letters" },
		{ "[a]\r\nsubject = CN=a\r\n", "F:1: a control character" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct serve_error error;
		struct access_list l;

		cr_expect_lt(parse(cases[i].text, &l, &error), 0, "case %zu", i);
		cr_expect(strncmp(error.text, cases[i].words, strlen(cases[i].words)) == 0,
			  "case %zu: %s", i, error.text);
	}
}

Test(access, a_NUL_ends_no_line)
{
	static const char text[] = "[a]\nsubject = CN=a\nvolumes = v\n\0[b]\n";
	struct serve_error error = {};
	struct access_list l;

	cr_assert_eq(access_parse("F", text, sizeof(text) - 1, &l, &error), -EINVAL);
	cr_assert_str_eq(error.text, "F: a NUL in it");
}

Test(access, S139_a_file_that_others_may_write_is_refused)
{
	char path[] = "/tmp/gofer-access-XXXXXX";
	int fd = mkstemp(path);
	struct serve_error error = {};
	struct access_list l;

	cr_assert_geq(fd, 0);
	cr_assert_gt(dprintf(fd, "[a]\nsubject = CN=a\nvolumes = v\n"), 0);
	for (mode_t bad = 02; bad <= 020; bad *= 8) {
		cr_assert_eq(fchmod(fd, 0600 | bad), 0);
		cr_expect_eq(access_load(path, &l, &error), -EPERM);
		cr_expect_not_null(strstr(error.text, "others may write it"));
	}
	cr_assert_eq(fchmod(fd, 0644), 0);
	cr_expect_eq(access_load(path, &l, &error), 0);
	access_deinit(&l);
	cr_expect_eq(access_load("/dev/null", &l, &error), -EINVAL);
	cr_expect_eq(access_load("/nonexistent", &l, &error), -ENOENT);
	close(fd);
	unlink(path);
}

/* ---- certificates ---- */

static X509 *certificate(const char *cn, size_t cn_len, const char *dns, size_t dns_len)
{
	X509_NAME *name = X509_NAME_new();
	X509 *cert = X509_new();

	cr_assert(name && cert);
	cr_assert_eq(X509_NAME_add_entry_by_NID(name, NID_organizationName, MBSTRING_ASC,
						(const uint8_t *)"Lab", 3, -1, 0),
		     1);
	cr_assert_eq(X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC,
						(const uint8_t *)cn, (int)cn_len, -1, 0),
		     1);
	cr_assert_eq(X509_set_subject_name(cert, name), 1);
	X509_NAME_free(name);
	if (dns) {
		GENERAL_NAMES *names = GENERAL_NAMES_new();
		GENERAL_NAME *one = GENERAL_NAME_new();
		ASN1_IA5STRING *text = ASN1_IA5STRING_new();

		cr_assert_eq(ASN1_STRING_set(text, dns, (int)dns_len), 1);
		GENERAL_NAME_set0_value(one, GEN_DNS, text);
		cr_assert_gt(sk_GENERAL_NAME_push(names, one), 0);
		cr_assert_eq(X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0), 1);
		GENERAL_NAMES_free(names);
	}
	return cert;
}

Test(access, S129_a_name_with_a_NUL_or_of_another_field_is_not_that_name)
{
	static const struct {
		const char *cn;
		size_t cn_len;
		const char *dns;
		size_t dns_len;
		int found; /* which entry; -1 = none */
	} cases[] = {
		{ "alice", 5, NULL, 0, 0 },           { "alice\0.evil", 11, NULL, 0, -1 },
		{ "alice\0", 6, NULL, 0, -1 },        { "alice,O=Lab", 11, NULL, 0, -1 },
		{ "Alice", 5, NULL, 0, -1 },          { "x", 1, "host.example", 12, 1 },
		{ "x", 1, "HOST.example", 12, 1 },    { "x", 1, "host.example\0.evil", 18, -1 },
		{ "x", 1, "host.example\0", 13, -1 }, { "x", 1, "*.example", 9, -1 },
		{ "host.example", 12, NULL, 0, -1 }, /* a common name is no host name */
		{ "x", 1, "alice", 5, -1 },
	};
	struct serve_error error;
	struct access_list l;

	cr_assert_eq(parse("[a]\nsubject = CN=alice,O=Lab\nvolumes = v\n[h]\ndns = host.example\n"
			   "volumes = v\n",
			   &l, &error),
		     0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		X509 *cert =
			certificate(cases[i].cn, cases[i].cn_len, cases[i].dns, cases[i].dns_len);
		size_t index = 99;
		int r = access_find_cert(&l, cert, &index);

		cr_expect_eq(r, cases[i].found < 0 ? -ENOENT : 0, "case %zu", i);
		cr_expect_eq(index, cases[i].found < 0 ? 99 : (size_t)cases[i].found, "case %zu",
			     i);
		X509_free(cert);
	}
	access_deinit(&l);
}
