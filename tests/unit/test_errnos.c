/*
 * test_errnos.c - errno numbers of the wire are those of the generic ABI, and a peer cannot make us
 * return anything else (S75).
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "proto/errnos.h"

/* run: valgrind */

Test(errnos, numbers_of_the_generic_abi)
{
	static const struct {
		int host;
		uint32_t wire;
		const char *name;
	} known[] = {
		{ EPERM, 1, "EPERM" },
		{ ENOENT, 2, "ENOENT" },
		{ EIO, 5, "EIO" },
		{ EBADF, 9, "EBADF" },
		{ EAGAIN, 11, "EAGAIN" },
		{ EACCES, 13, "EACCES" },
		{ EEXIST, 17, "EEXIST" },
		{ EXDEV, 18, "EXDEV" },
		{ ENOTDIR, 20, "ENOTDIR" },
		{ EISDIR, 21, "EISDIR" },
		{ EINVAL, 22, "EINVAL" },
		{ ENFILE, 23, "ENFILE" },
		{ EROFS, 30, "EROFS" },
		{ EDEADLK, 35, "EDEADLK" },
		{ ENAMETOOLONG, 36, "ENAMETOOLONG" },
		{ ENOSYS, 38, "ENOSYS" },
		{ ENOTEMPTY, 39, "ENOTEMPTY" },
		{ ELOOP, 40, "ELOOP" },
		{ ENODATA, 61, "ENODATA" },
		{ EPROTO, 71, "EPROTO" },
		{ EBADMSG, 74, "EBADMSG" },
		{ EMSGSIZE, 90, "EMSGSIZE" },
		{ EOPNOTSUPP, 95, "EOPNOTSUPP" },
		{ ESTALE, 116, "ESTALE" },
		{ EDQUOT, 122, "EDQUOT" },
		{ ECANCELED, 125, "ECANCELED" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		cr_assert_eq(errno_to_wire(known[i].host), known[i].wire, "%s", known[i].name);
		cr_assert_eq(errno_from_wire(known[i].wire), known[i].host, "%s", known[i].name);
		cr_assert_str_eq(errno_name(known[i].host), known[i].name);
	}
}

Test(errnos, every_number_of_the_host_survives_the_round_trip)
{
	for (int host = 1; host < 200; host++) {
		const char *name = strerrorname_np(host);

		if (!name)
			continue;
		cr_assert_eq(errno_from_wire(errno_to_wire(host)), host, "%s", name);
		/* EWOULDBLOCK, ENOTSUP and EDEADLOCK are second names of numbers that have a first
		 * one. */
		cr_assert_str_eq(errno_name(host), host == EOPNOTSUPP ? "EOPNOTSUPP" : name);
	}
}

Test(errnos, S75_numbers_out_of_the_table_become_EIO)
{
	static const uint32_t bad[] = { 0,   41,   58,   134,        200,        512,       513,
					516, 4095, 4096, 0x7fffffff, 0x80000000, 0xffffffff };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(errno_from_wire(bad[i]), EIO, "%u", bad[i]);
	cr_assert_eq(errno_to_wire(0), 5);
	cr_assert_eq(errno_to_wire(-ENOENT), 5);
	cr_assert_eq(errno_to_wire(512), 5); /* ERESTARTSYS must not leave a host */
	cr_assert_str_eq(errno_name(0), "E?");
	cr_assert_str_eq(errno_name(-1), "E?");
	cr_assert_str_eq(errno_name(100000), "E?");
}
