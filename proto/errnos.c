/*
 * errnos.c - one table of all errno numbers of the generic Linux ABI (asm-generic/errno-base.h and
 * errno.h), by number and name. Some architectures number theirs differently; the wire never does.
 */
#include "proto/errnos.h"

#include <errno.h>
#include <stddef.h>

#include "common/util.h"

static const struct {
	int host;
	const char *name;
} errno_table[134] = {
#define E(wire, name) [wire] = { name, #name }
	E(1, EPERM),
	E(2, ENOENT),
	E(3, ESRCH),
	E(4, EINTR),
	E(5, EIO),
	E(6, ENXIO),
	E(7, E2BIG),
	E(8, ENOEXEC),
	E(9, EBADF),
	E(10, ECHILD),
	E(11, EAGAIN),
	E(12, ENOMEM),
	E(13, EACCES),
	E(14, EFAULT),
	E(15, ENOTBLK),
	E(16, EBUSY),
	E(17, EEXIST),
	E(18, EXDEV),
	E(19, ENODEV),
	E(20, ENOTDIR),
	E(21, EISDIR),
	E(22, EINVAL),
	E(23, ENFILE),
	E(24, EMFILE),
	E(25, ENOTTY),
	E(26, ETXTBSY),
	E(27, EFBIG),
	E(28, ENOSPC),
	E(29, ESPIPE),
	E(30, EROFS),
	E(31, EMLINK),
	E(32, EPIPE),
	E(33, EDOM),
	E(34, ERANGE),
	E(35, EDEADLK),
	E(36, ENAMETOOLONG),
	E(37, ENOLCK),
	E(38, ENOSYS),
	E(39, ENOTEMPTY),
	E(40, ELOOP),
	E(42, ENOMSG),
	E(43, EIDRM),
	E(44, ECHRNG),
	E(45, EL2NSYNC),
	E(46, EL3HLT),
	E(47, EL3RST),
	E(48, ELNRNG),
	E(49, EUNATCH),
	E(50, ENOCSI),
	E(51, EL2HLT),
	E(52, EBADE),
	E(53, EBADR),
	E(54, EXFULL),
	E(55, ENOANO),
	E(56, EBADRQC),
	E(57, EBADSLT),
	E(59, EBFONT),
	E(60, ENOSTR),
	E(61, ENODATA),
	E(62, ETIME),
	E(63, ENOSR),
	E(64, ENONET),
	E(65, ENOPKG),
	E(66, EREMOTE),
	E(67, ENOLINK),
	E(68, EADV),
	E(69, ESRMNT),
	E(70, ECOMM),
	E(71, EPROTO),
	E(72, EMULTIHOP),
	E(73, EDOTDOT),
	E(74, EBADMSG),
	E(75, EOVERFLOW),
	E(76, ENOTUNIQ),
	E(77, EBADFD),
	E(78, EREMCHG),
	E(79, ELIBACC),
	E(80, ELIBBAD),
	E(81, ELIBSCN),
	E(82, ELIBMAX),
	E(83, ELIBEXEC),
	E(84, EILSEQ),
	E(85, ERESTART),
	E(86, ESTRPIPE),
	E(87, EUSERS),
	E(88, ENOTSOCK),
	E(89, EDESTADDRREQ),
	E(90, EMSGSIZE),
	E(91, EPROTOTYPE),
	E(92, ENOPROTOOPT),
	E(93, EPROTONOSUPPORT),
	E(94, ESOCKTNOSUPPORT),
	E(95, EOPNOTSUPP),
	E(96, EPFNOSUPPORT),
	E(97, EAFNOSUPPORT),
	E(98, EADDRINUSE),
	E(99, EADDRNOTAVAIL),
	E(100, ENETDOWN),
	E(101, ENETUNREACH),
	E(102, ENETRESET),
	E(103, ECONNABORTED),
	E(104, ECONNRESET),
	E(105, ENOBUFS),
	E(106, EISCONN),
	E(107, ENOTCONN),
	E(108, ESHUTDOWN),
	E(109, ETOOMANYREFS),
	E(110, ETIMEDOUT),
	E(111, ECONNREFUSED),
	E(112, EHOSTDOWN),
	E(113, EHOSTUNREACH),
	E(114, EALREADY),
	E(115, EINPROGRESS),
	E(116, ESTALE),
	E(117, EUCLEAN),
	E(118, ENOTNAM),
	E(119, ENAVAIL),
	E(120, EISNAM),
	E(121, EREMOTEIO),
	E(122, EDQUOT),
	E(123, ENOMEDIUM),
	E(124, EMEDIUMTYPE),
	E(125, ECANCELED),
	E(126, ENOKEY),
	E(127, EKEYEXPIRED),
	E(128, EKEYREVOKED),
	E(129, EKEYREJECTED),
	E(130, EOWNERDEAD),
	E(131, ENOTRECOVERABLE),
	E(132, ERFKILL),
	E(133, EHWPOISON),
#undef E
};

uint32_t errno_to_wire(int host)
{
	/* On the generic ABI the table is the identity: look there first. */
	if (host > 0 && (size_t)host < ARRAY_SIZE(errno_table) && errno_table[host].host == host)
		return host;
	for (size_t i = 1; i < ARRAY_SIZE(errno_table); i++)
		if (errno_table[i].name && errno_table[i].host == host)
			return i;
	return 5; /* EIO */
}

int errno_from_wire(uint32_t wire)
{
	if (wire == 0 || wire >= ARRAY_SIZE(errno_table) || !errno_table[wire].name)
		return EIO;
	return errno_table[wire].host;
}

const char *errno_name(int host)
{
	for (size_t i = 1; i < ARRAY_SIZE(errno_table); i++)
		if (errno_table[i].name && errno_table[i].host == host)
			return errno_table[i].name;
	return "E?";
}
