/*
 * test_mapping_failures.c - files in memory, of a server that fails, vanishes or says what is not so: SIGBUS for
 * who asks for what cannot be had, an error for who would send what cannot be sent, and nothing lost that could be.
 */
#include "tests/unit/mapping_fixture.h"
#include "tests/unit/client_fixture.h"

enum { PAGES = 16, HANDLE = 7 };

/* A server with one file; its byte i is i / PAGE + 1 unless it was written. */
struct disk {
	_Atomic uint64_t size, said; /* it has; it says that it has */
	_Atomic int read_error, write_error;
	_Atomic uint64_t bad_from, bad_to; /* where reading fails */
	_Atomic unsigned writes;
	uint8_t *_Atomic
		stored; /* memory of ours, of which a byte becomes 77 when something is read */
	uint8_t data[PAGES * PAGE];
};

static Gofer__Attr disk_attr(const struct disk *d)
{
	Gofer__Attr a = fake_attr(S_IFREG | 0644, 5);

	a.size = d->said;
	a.btime = 1000;
	return a;
}

static void do_read(struct fake *f, const struct frame *q, struct disk *d)
{
	Gofer__ReadRequest *m = gofer__read_request__unpack(NULL, q->header.body_len, q->body);
	Gofer__ReadReply reply = GOFER__READ_REPLY__INIT;
	uint64_t size = d->size, end = MIN(m->offset + m->count, size);
	bool bad = m->offset < d->bad_to && end > d->bad_from;

	if (d->stored)
		*(volatile uint8_t *)d->stored = 77;
	if (d->read_error && bad) {
		fake_error(f, q, (uint32_t)d->read_error);
	} else {
		size_t n = m->offset < end ? end - m->offset : 0;

		reply.eof = m->offset + m->count >= size;
		fake_reply(f, q->header.type, q->header.tag, FRAME_OK, &reply.base,
			   d->data + (n ? m->offset : 0), n, -1);
	}
	gofer__read_request__free_unpacked(m, NULL);
}

static void do_write(struct fake *f, const struct frame *q, struct disk *d)
{
	Gofer__WriteRequest *m = gofer__write_request__unpack(NULL, q->header.body_len, q->body);
	Gofer__WriteReply reply = GOFER__WRITE_REPLY__INIT;
	Gofer__Attr attr;

	d->writes++;
	if (d->write_error) {
		fake_error(f, q, (uint32_t)d->write_error);
	} else {
		/* Half of it at a time. */
		reply.count = (q->header.data_len + 1) / 2;
		reply.offset = m->offset;
		memcpy(d->data + m->offset, q->data, reply.count);
		attr = disk_attr(d);
		reply.attr = &attr;
		fake_ok(f, q, &reply.base);
	}
	gofer__write_request__free_unpacked(m, NULL);
}

static void script(struct fake *f, const struct frame *q)
{
	struct disk *d = f->state;
	Gofer__Attr attr = disk_attr(d);
	Gofer__OpenReply open = GOFER__OPEN_REPLY__INIT;
	Gofer__StatReply stat = GOFER__STAT_REPLY__INIT;

	open.handle = HANDLE;
	open.attr = stat.attr = &attr;
	switch (q->header.type) {
	case RPC_TYPE_Open:
		fake_ok(f, q, &open.base);
		break;
	case RPC_TYPE_Stat:
		fake_ok(f, q, &stat.base);
		break;
	case RPC_TYPE_Read:
		do_read(f, q, d);
		break;
	case RPC_TYPE_Write:
		do_write(f, q, d);
		break;
	default:
		fake_error(f, q, ENOSYS);
		break;
	}
}

struct scene {
	struct disk disk;
	struct fake *fake;
	struct gofer_namespace *ns;
	struct gofer_file *file;
	uint8_t *a;
};

/* whole: the largest mapping that is read whole. NULL where pages cannot come one by one. */
static struct scene *begin(enum gofer_interop interop, uint64_t whole, int prot)
{
	const struct gofer_mount_options o = { .interop = interop, .no_donate = true };
	struct scene *s = calloc(1, sizeof(*s));
	void *p;
	int r;

	catch_bus();
	for (unsigned i = 0; i < PAGES * PAGE; i++)
		s->disk.data[i] = (uint8_t)(i / PAGE + 1);
	s->disk.size = s->disk.said = PAGES * PAGE;
	s->disk.bad_to = UINT64_MAX;
	s->fake = fake_start(script, &s->disk);
	mapping_limit(s->fake->session, MAPPING_ALL, 1 << 20, whole);
	cr_assert_eq(gofer_namespace_new(&s->ns), 0);
	cr_assert_eq(gofer_mount(s->ns, s->fake->session, 1, "/", &o), 0);
	cr_assert_eq(gofer_open(s->ns, "/f", prot & PROT_WRITE ? O_RDWR : O_RDONLY, 0, &s->file), 0,
		     "%s", gofer_message());
	r = gofer_mmap(s->file, NULL, PAGES * PAGE, prot, MAP_SHARED, 0, &p);
	if (r == -ENOMEM && !whole)
		cr_skip_test("userfaultfd is not allowed here");
	cr_assert_eq(r, 0, "%s", gofer_message());
	s->a = p;
	return s;
}

static void end(struct scene *s)
{
	gofer_close(s->file);
	gofer_namespace_free(s->ns);
	fake_stop(s->fake);
	free(s);
}

Test(mapping_failures, a_page_that_cannot_be_read_is_sigbus)
{
	struct scene *s = begin(GOFER_INTEROP_SHARED, 0, PROT_READ);

	s->disk.bad_from = 5 * PAGE;
	s->disk.bad_to = 7 * PAGE;
	s->disk.read_error = EIO;
	cr_assert_eq(load(s->a + 5 * PAGE), -SIGBUS);
	cr_assert_eq(load(s->a + 4 * PAGE), 5, "its neighbour is not at fault");
	cr_assert_eq(load(s->a + 6 * PAGE), -SIGBUS);
	cr_assert_eq(load(s->a + 7 * PAGE), 8);
	/* It stays so until somebody asks for another try. */
	s->disk.bad_to = 6 * PAGE;
	cr_assert_eq(load(s->a + 6 * PAGE), -SIGBUS);
	cr_assert_eq(gofer_msync(s->ns, s->a, PAGES * PAGE, MS_INVALIDATE), -EIO);
	s->disk.read_error = 0;
	cr_assert_eq(gofer_msync(s->ns, s->a, PAGES * PAGE, MS_INVALIDATE), 0, "%s",
		     gofer_message());
	cr_assert_eq(load(s->a + 5 * PAGE), 6);
	cr_assert_eq(load(s->a + 6 * PAGE), 7);
	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), 0);
	end(s);
}

Test(mapping_failures, what_was_retried_is_tracked_again)
{
	struct scene *s = begin(GOFER_INTEROP_EXCLUSIVE, 0, PROT_READ | PROT_WRITE);

	s->disk.read_error = EIO;
	cr_assert_eq(load(s->a + 5 * PAGE), -SIGBUS);
	s->disk.read_error = 0;
	cr_assert_eq(gofer_msync(s->ns, s->a, PAGES * PAGE, MS_INVALIDATE), 0);
	cr_assert_eq(load(s->a + 5 * PAGE), 6);
	s->a[5 * PAGE + 1] = 100;
	cr_assert_eq(gofer_msync(s->ns, s->a, PAGES * PAGE, MS_ASYNC), 0);
	cr_assert_eq(s->disk.data[5 * PAGE + 1], 100);
	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), 0);
	end(s);
}

Test(mapping_failures, of_a_server_that_is_gone_what_is_there_stays)
{
	struct scene *s = begin(GOFER_INTEROP_EXCLUSIVE, 0, PROT_READ | PROT_WRITE);

	cr_assert_eq(load(s->a), 1);
	shutdown(s->fake->peer, SHUT_RDWR);
	cr_assert_eq(load(s->a + 15 * PAGE), -SIGBUS);
	cr_assert_eq(load(s->a), 1);
	s->a[1] = 100;
	cr_assert_eq(gofer_msync(s->ns, s->a, PAGES * PAGE, MS_SYNC), -ENOTCONN);
	cr_assert_eq(s->a[1], 100);
	/* It says that this is lost, and does not insist. */
	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), -ENOTCONN);
	cr_assert_eq(load(s->a), -SIGSEGV);
	end(s);
}

Test(mapping_failures, what_cannot_be_written_stays)
{
	struct scene *s = begin(GOFER_INTEROP_EXCLUSIVE, 1 << 20, PROT_READ | PROT_WRITE);

	s->a[3 * PAGE] = 100;
	s->a[9 * PAGE] = 101;
	s->disk.write_error = ENOSPC;
	cr_assert_eq(gofer_msync(s->ns, s->a, PAGES * PAGE, MS_ASYNC), -ENOSPC);
	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), -ENOSPC);
	cr_assert_eq(load(s->a + 3 * PAGE), 100, "it is mapped still");
	cr_assert_eq(gofer_fsync(s->file, false), -ENOSPC);
	s->disk.write_error = 0;
	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), 0, "%s", gofer_message());
	cr_assert_eq(s->disk.data[3 * PAGE], 100);
	cr_assert_eq(s->disk.data[9 * PAGE], 101);
	end(s);
}

Test(mapping_failures, a_write_that_fails_takes_nothing_from_who_stores_beside_it)
{
	struct scene *s = begin(GOFER_INTEROP_WRITETHROUGH, 1 << 20, PROT_READ | PROT_WRITE);

	cr_assert_eq(load(s->a), 1);
	cr_assert_eq(load(s->a + 3 * PAGE), 4);
	s->disk.write_error = EIO;
	s->disk.stored = s->a + 3 * PAGE;
	cr_assert_eq(gofer_pwrite(s->file, "0123456789", 10, 0), -EIO);
	s->disk.stored = NULL;
	s->disk.write_error = 0;
	cr_expect_eq(load(s->a), 1);
	/* It came while the first bytes were looked at again. */
	cr_expect_eq(load(s->a + 3 * PAGE), 77);
	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), 0, "%s", gofer_message());
	cr_expect_eq(s->disk.data[3 * PAGE], 77);
	end(s);
}

Test(mapping_failures, a_handle_that_cannot_write_changes_nothing)
{
	struct scene *s = begin(GOFER_INTEROP_EXCLUSIVE, 1 << 20, PROT_READ | PROT_WRITE);

	cr_assert_eq(load(s->a + PAGE), 2);
	s->a[PAGE + 1] = 50;
	s->disk.write_error = ENOSPC;
	cr_assert_eq(gofer_pwrite(s->file, "x", 1, PAGE), -ENOSPC);
	cr_assert_eq(load(s->a + PAGE), 2);
	cr_assert_eq(load(s->a + PAGE + 1), 50);
	s->disk.write_error = 0;
	cr_assert_eq(gofer_pwrite(s->file, "x", 1, PAGE), 1);
	cr_assert_eq(load(s->a + PAGE), 'x');
	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), 0);
	cr_assert_eq(s->disk.data[PAGE], 'x');
	cr_assert_eq(s->disk.data[PAGE + 1], 50);
	end(s);
}

/* It said sixteen pages, and has five and a bit. */
Test(mapping_failures, a_file_shorter_than_it_was_said_to_be)
{
	struct scene *s = begin(GOFER_INTEROP_EXCLUSIVE, 0, PROT_READ | PROT_WRITE);

	cr_assert_eq(load(s->a), 1);
	s->disk.size = 10 * PAGE + 3;
	cr_assert_eq(load(s->a + 12 * PAGE), -SIGBUS);
	cr_assert_eq(load(s->a + 10 * PAGE), 11);
	cr_assert_eq(load(s->a + 10 * PAGE + 3), 0);
	cr_assert_eq(load(s->a + 9 * PAGE), 10);
	s->a[0] = 100;
	s->a[10 * PAGE] = 110;
	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), 0);
	cr_assert_eq(s->disk.data[0], 100);
	cr_assert_eq(s->disk.data[10 * PAGE], 110);
	cr_assert_eq(s->disk.data[10 * PAGE + 3], 11, "beyond its end nothing is written");
	end(s);
}

Test(mapping_failures, a_size_that_no_file_has)
{
	struct scene *s = begin(GOFER_INTEROP_SHARED, 1 << 20, PROT_READ);
	void *p;

	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), 0);
	s->disk.said = UINT64_MAX / 2 + 1;
	cr_assert_lt(gofer_mmap(s->file, NULL, PAGE, PROT_READ, MAP_SHARED, 0, &p), 0);
	s->disk.said = UINT64_MAX / 2;
	/* It can be mapped or not; what is there can be seen, and the rest is SIGBUS. */
	if (gofer_mmap(s->file, NULL, PAGE, PROT_READ, MAP_SHARED, 0, &p) == 0) {
		cr_assert_eq(load(p), 1);
		cr_assert_eq(gofer_munmap(s->ns, p, PAGE), 0);
	}
	end(s);
}

/* One thread's SIGBUS is nobody else's. */

struct other {
	pthread_t thread;
	const uint8_t *a;
	_Atomic bool stop;
};

static void *go_on(void *userdata)
{
	struct other *o = userdata;

	do {
		for (unsigned i = 0; i < 4; i++)
			(void)*(const volatile uint8_t *)(o->a + i * PAGE);
	} while (!o->stop);
	return NULL;
}

Test(mapping_failures, sigbus_is_for_one_thread)
{
	struct scene *s = begin(GOFER_INTEROP_SHARED, 0, PROT_READ);
	struct other o = { .a = s->a };

	s->disk.bad_from = 4 * PAGE;
	s->disk.read_error = EIO;
	cr_assert_eq(pthread_create(&o.thread, NULL, go_on, &o), 0);
	for (unsigned i = 4; i < PAGES; i++)
		cr_assert_eq(load(s->a + i * PAGE), -SIGBUS);
	o.stop = true;
	pthread_join(o.thread, NULL);
	cr_assert_eq(gofer_munmap(s->ns, s->a, PAGES * PAGE), 0);
	end(s);
}
