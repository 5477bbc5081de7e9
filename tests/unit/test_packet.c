/*
 * test_packet.c - packets over a SEQPACKET pair: lengths, ends, deadlines, and above all where
 * descriptors end up. Every test counts this process's descriptors before and after.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/packet.h"

/* run: valgrind */

static int pair[2];
static unsigned before;

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	cr_assert_not_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void setup(void)
{
	before = count_fds();
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void teardown(void)
{
	pair[0] = fd_close(pair[0]);
	pair[1] = fd_close(pair[1]);
	cr_assert_eq(count_fds(), before, "descriptors leaked");
}

TestSuite(packet, .init = setup, .fini = teardown);

/* As a hostile peer would: n copies of fd in one message of `len` bytes. */
static void send_many_with(int fd, unsigned n, size_t len)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(253 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = "x", .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_SPACE(n * sizeof(int)) };

	control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
					   .cmsg_type = SCM_RIGHTS,
					   .cmsg_len = CMSG_LEN(n * sizeof(int)) };
	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &fd, sizeof(fd));
	cr_assert_eq(sendmsg(pair[0], &msg, 0), (ssize_t)len);
}

static void send_many(int fd, unsigned n)
{
	send_many_with(fd, n, 1);
}

Test(packet, pieces_arrive_as_one_packet)
{
	struct iovec iov[3] = { { "head", 4 }, { "", 0 }, { "body", 4 } };
	struct packet_in in;
	char buf[64];

	cr_assert_eq(packet_send(pair[0], iov, 3, -1, 0), 0);
	cr_assert_eq(packet_send(pair[0], iov, 1, -1, 0), 0);
	cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), 0, &in), 8);
	cr_assert_arr_eq(buf, "headbody", 8);
	cr_assert_eq(in.fd, -EBADF);
	cr_assert_eq(in.extra, 0);
	cr_assert(!in.truncated);
	cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), 0, &in), 4);
}

Test(packet, the_end_and_the_gone_peer)
{
	struct iovec iov = { "x", 1 };
	struct packet_in in;
	char buf[8];

	cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT, &in), -EAGAIN);
	pair[0] = fd_close(pair[0]);
	cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), 0, &in), 0);
	/* And no SIGPIPE (S91). */
	cr_assert_eq(packet_send(pair[1], &iov, 1, -1, 0), -EPIPE);
}

Test(packet, a_descriptor_arrives_as_a_new_one_that_exec_closes)
{
	_cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct iovec iov = { "x", 1 };
	struct packet_in in;
	struct stat a, b;
	char buf[8];

	cr_assert_eq(packet_send(pair[0], &iov, 1, null, 0), 0);
	cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), 0, &in), 1);
	cr_assert_geq(in.fd, 0);
	cr_assert_neq(in.fd, null);
	cr_assert(fcntl(in.fd, F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(fstat(null, &a) | fstat(in.fd, &b), 0);
	cr_assert_eq(a.st_rdev, b.st_rdev);
	fd_close(in.fd);
}

Test(packet, S55_surplus_descriptors_are_closed_on_arrival)
{
	static const unsigned counts[] = { 2, 3, 100, 253 };
	struct packet_in in;
	char buf[8];

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		unsigned open_before = count_fds();

		send_many(pair[0], counts[i]);
		cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), 0, &in), 1);
		cr_assert_geq(in.fd, 0);
		cr_assert_eq(in.extra, counts[i] - 1);
		fd_close(in.fd);
		cr_assert_eq(count_fds(), open_before);
	}
}

/* It is the end of the stream, and who sees that looks at nothing else. */
Test(packet, S55_descriptors_of_an_empty_packet_are_closed_on_arrival)
{
	struct packet_in in;
	char buf[8];
	unsigned open_now = count_fds();

	send_many_with(0, 2, 0);
	cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), 0, &in), 0);
	cr_assert_eq(in.fd, -EBADF);
	cr_assert_eq(count_fds(), open_now);
}

Test(packet, S55_descriptors_stay_with_their_packet)
{
	_cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC),
			 zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	struct iovec iov = { "x", 1 };
	int order[] = { -1, null, -1, zero, -1 };
	char buf[8];

	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		cr_assert_eq(packet_send(pair[0], &iov, 1, order[i], 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		struct packet_in in;
		struct stat a, b;

		cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), 0, &in), 1);
		if (order[i] < 0) {
			cr_assert_eq(in.fd, -EBADF);
			continue;
		}
		cr_assert_eq(fstat(order[i], &a) | fstat(in.fd, &b), 0);
		cr_assert_eq(a.st_rdev, b.st_rdev);
		fd_close(in.fd);
	}
}

Test(packet, S54_a_full_table_loses_the_descriptor_but_not_the_bytes)
{
	struct rlimit saved, tight;
	struct packet_in in;
	char buf[8];
	const char *variant = getenv("VARIANT");
	ssize_t n;

	if (variant && strcmp(variant, "valgrind") == 0)
		cr_skip_test("valgrind keeps a limit of its own and leaves the kernel's alone");
	send_many(pair[0], 1);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &saved), 0);
	tight = saved;
	tight.rlim_cur = 3;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	n = packet_recv(pair[1], buf, sizeof(buf), 0, &in);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &saved), 0);
	cr_assert_eq(n, 1);
	cr_assert_eq(buf[0], 'x');
	cr_assert(in.truncated);
	cr_assert_eq(in.fd, -EBADF);
	/* The next packet is whole again. */
	send_many(pair[0], 1);
	cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), 0, &in), 1);
	cr_assert(!in.truncated);
	fd_close(in.fd);
}

Test(packet, a_packet_larger_than_the_buffer_is_refused_with_its_descriptor_closed)
{
	_cleanup_fd_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct iovec iov = { "0123456789", 10 };
	unsigned open_before = count_fds();
	struct packet_in in;
	char buf[9];

	cr_assert_eq(packet_send(pair[0], &iov, 1, null, 0), 0);
	cr_assert_eq(packet_recv(pair[1], buf, sizeof(buf), 0, &in), -EMSGSIZE);
	cr_assert_eq(count_fds(), open_before);
}

Test(packet, S78_a_peer_that_does_not_read_blocks_nobody_who_asked_not_to_wait)
{
	static char block[64 * 1024];
	struct iovec iov = { block, sizeof(block) };
	int r;

	do
		r = packet_send(pair[0], &iov, 1, -1, MSG_DONTWAIT);
	while (r == 0);
	cr_assert_eq(r, -EAGAIN);
}

Test(packet, waiting_ends_at_its_deadline_or_with_the_event)
{
	uint64_t start = now_ns();
	struct iovec iov = { "x", 1 };

	cr_assert_eq(packet_wait(pair[1], POLLIN, start + 20000000), -ETIMEDOUT);
	cr_assert_geq(now_ns() - start, 20000000);
	cr_assert_eq(packet_wait(pair[1], POLLIN, 0),
		     -ETIMEDOUT); /* a deadline in the past asks once */
	cr_assert_eq(packet_send(pair[0], &iov, 1, -1, 0), 0);
	cr_assert_eq(packet_wait(pair[1], POLLIN, 0), 0);
	cr_assert_eq(packet_wait(pair[1], POLLIN, UINT64_MAX), 0);
	cr_assert_eq(packet_wait(pair[1], POLLOUT, UINT64_MAX), 0);
}
