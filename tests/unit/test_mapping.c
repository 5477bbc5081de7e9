/*
 * test_mapping.c - files in memory, of a real server: what is shared with whom, what is refused, where SIGBUS comes
 * and to whom, and what becomes of mappings when files, mounts, sessions and processes end.
 */
#include "tests/unit/mapping_fixture.h"
#include "tests/unit/namespace_fixture.h"

#include <pthread.h>

enum { PAGES = 64, MB = 1 << 20 };

/* Page i of the file holds i + 1 everywhere. */
static void plant_pages(const char *path)
{
	uint8_t page[PAGE];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	for (unsigned i = 0; i < PAGES; i++) {
		memset(page, (int)i + 1, sizeof(page));
		cr_assert_eq(write(fd, page, sizeof(page)), PAGE);
	}
	close(fd);
}

static void mount_there(struct world *w, const char *path, enum gofer_interop interop, bool donate)
{
	const struct gofer_mount_options o = { .interop = interop, .no_donate = !donate };

	cr_assert_eq(gofer_mount(w->ns, w->session, 0, path, &o), 0, "%s", gofer_message());
}

/* A file of pages, A/p, at /p. whole: the largest mapping that is read whole. */
static struct world *begin_with(enum gofer_interop interop, bool donate, unsigned features,
				uint64_t whole)
{
	struct world *w = begin();

	catch_bus();
	plant_pages("A/p");
	mapping_limit(w->session, features, 256 << 20, whole);
	mount_there(w, "/", interop, donate);
	return w;
}

static struct world *begin_exclusive(void)
{
	return begin_with(GOFER_INTEROP_EXCLUSIVE, false, MAPPING_ALL, MB);
}

static struct gofer_file *open_file(struct world *w, const char *path, int flags)
{
	struct gofer_file *file;

	cr_assert_eq(gofer_open(w->ns, path, flags, 0644, &file), 0, "%s", gofer_message());
	return file;
}

static uint8_t *map(struct gofer_file *file, size_t len, int prot, int flags, uint64_t offset)
{
	void *p;

	cr_assert_eq(gofer_mmap(file, NULL, len, prot, flags, offset, &p), 0, "%s",
		     gofer_message());
	return p;
}

static int host_byte(const char *path, off_t offset)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t byte;
	int r = pread(fd, &byte, 1, offset) == 1 ? byte : -1;

	close(fd);
	return r;
}

/* Whether pages come one by one here; else there is nothing to see. */
static bool faults(struct world *w)
{
	return mapping_features(w->session) & MAPPING_FAULTS;
}

/* ---- what is shared ---- */

Test(mapping, shares_memory_with_handles)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR), *other = open_file(w, "/p", O_RDWR);
	uint8_t *a = map(file, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	uint8_t *b = map(other, 2 * PAGE, PROT_READ, MAP_SHARED, PAGE);
	uint8_t byte = 0;

	cr_assert_eq(a[0], 1);
	cr_assert_eq(b[0], 2);
	a[PAGE] = 100;
	cr_assert_eq(b[0], 100);
	cr_assert_eq(gofer_pread(other, &byte, 1, PAGE), 1);
	cr_assert_eq(byte, 100);
	byte = 101;
	cr_assert_eq(gofer_pwrite(other, &byte, 1, PAGE + 1), 1);
	cr_assert_eq(a[PAGE + 1], 101);
	/* Whether it was there or not. */
	cr_assert_eq(gofer_pwrite(other, &byte, 1, 50 * PAGE), 1);
	cr_assert_eq(a[50 * PAGE], 101);
	cr_assert_eq(host_byte("A/p", PAGE), 2);
	cr_assert_eq(gofer_msync(w->ns, a, PAGES * PAGE, MS_SYNC), 0, "%s", gofer_message());
	cr_assert_eq(host_byte("A/p", PAGE), 100);
	cr_assert_eq(gofer_munmap(w->ns, a, PAGES * PAGE), 0);
	cr_assert_eq(gofer_munmap(w->ns, b, 2 * PAGE), 0);
	gofer_close(file);
	gofer_close(other);
	end(w);
}

Test(mapping, private_pages_are_copied_when_they_are_written)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR);
	uint8_t *a = map(file, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, 0);
	uint8_t byte = 200;

	a[0] = 100;
	cr_assert_eq(a[1], 1);
	cr_assert_eq(gofer_pwrite(file, &byte, 1, 1), 1);
	cr_assert_eq(gofer_pwrite(file, &byte, 1, PAGE), 1);
	cr_assert_eq(a[1], 1, "a page of our own");
	cr_assert_eq(a[PAGE], 200, "a page of the file");
	cr_assert_eq(gofer_msync(w->ns, a, 4 * PAGE, MS_SYNC), 0);
	cr_assert_eq(gofer_munmap(w->ns, a, 4 * PAGE), 0);
	cr_assert_eq(host_byte("A/p", 0), 1);
	gofer_close(file);
	end(w);
}

/* Only what is touched is read, and only what is stored to is written. */
Test(mapping, costs_what_is_touched)
{
	struct world *w = begin_with(GOFER_INTEROP_EXCLUSIVE, false, MAPPING_ALL, 0);
	struct gofer_file *file = open_file(w, "/p", O_RDWR);
	struct gofer_stats st;
	uint64_t reads, writes;
	uint8_t *a;

	if (gofer_mmap(file, NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0,
		       (void **)&a) == -ENOMEM) {
		gofer_close(file);
		end(w);
		cr_skip_test("userfaultfd is not allowed here");
	}
	gofer_session_get_stats(w->session, &st);
	reads = st.requests[RPC_TYPE_Read];
	writes = st.requests[RPC_TYPE_Write];
	for (unsigned i = 0; i < PAGES; i++)
		cr_assert_eq(a[i * PAGE + 7], i + 1);
	gofer_session_get_stats(w->session, &st);
	cr_assert_leq(st.requests[RPC_TYPE_Read] - reads, 8, "%lu requests",
		      st.requests[RPC_TYPE_Read] - reads);
	a[3 * PAGE] = 9;
	a[4 * PAGE] = 9;
	a[40 * PAGE] = 9;
	cr_assert_eq(gofer_msync(w->ns, a, PAGES * PAGE, MS_ASYNC), 0);
	cr_assert_eq(gofer_msync(w->ns, a, PAGES * PAGE, MS_ASYNC), 0);
	gofer_session_get_stats(w->session, &st);
	if (mapping_features(w->session) & MAPPING_TRACK)
		cr_assert_eq(st.requests[RPC_TYPE_Write] - writes, 2);
	cr_assert_eq(host_byte("A/p", 40 * PAGE), 9);
	cr_assert_eq(gofer_munmap(w->ns, a, PAGES * PAGE), 0);
	gofer_close(file);
	end(w);
}

Test(mapping, native_where_there_is_a_descriptor)
{
	struct world *w = begin_with(GOFER_INTEROP_SHARED, true, MAPPING_ALL, MB);
	struct gofer_file *file = open_file(w, "/p", O_RDWR);
	uint8_t *a = map(file, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);

	a[PAGE] = 100;
	cr_assert_eq(host_byte("A/p", PAGE), 100, "the host's own page");
	gofer_close(file);
	cr_assert_eq(a[2 * PAGE], 3);
	cr_assert_eq(gofer_msync(w->ns, a, 8 * PAGE, MS_SYNC), 0);
	cr_assert_eq(gofer_umount(w->ns, "/"), -EBUSY);
	/* From the middle. */
	cr_assert_eq(gofer_munmap(w->ns, a + 2 * PAGE, PAGE), 0);
	cr_assert_eq(load(a + 2 * PAGE), -SIGSEGV);
	cr_assert_eq(a[3 * PAGE], 4);
	cr_assert_eq(a[PAGE], 100);
	cr_assert_eq(gofer_munmap(w->ns, a, 8 * PAGE), 0);
	cr_assert_eq(load(a), -SIGSEGV);
	end(w);
}

/* The file is one, however its handles came: by descriptor for reading, without for writing. */
Test(mapping, what_is_stored_is_read_through_descriptors)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR), *native;
	uint8_t *a, *b, byte = 0;

	mount_there(w, "/d", GOFER_INTEROP_SHARED, true);
	native = open_file(w, "/d/p", O_RDONLY);
	cr_assert_geq(gofer_fileno(native), 0);
	a = map(file, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	b = map(native, 4 * PAGE, PROT_READ, MAP_SHARED, 0);
	a[0] = 100;
	cr_assert_eq(b[0], 100);
	cr_assert_eq(gofer_read(native, &byte, 1), 1);
	cr_assert_eq(byte, 100);
	cr_assert_eq(gofer_pread(native, &byte, 1, PAGE), 1);
	cr_assert_eq(byte, 2);
	cr_assert_eq(gofer_read(native, &byte, 1), 1);
	cr_assert_eq(byte, 1);
	cr_assert_eq(gofer_lseek(native, 0, SEEK_CUR), 2);
	cr_assert_eq(gofer_munmap(w->ns, a, 4 * PAGE), 0);
	cr_assert_eq(gofer_munmap(w->ns, b, 4 * PAGE), 0);
	gofer_close(native);
	gofer_close(file);
	end(w);
}

/* ---- refusals ---- */

Test(mapping, refusals)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR), *dir = open_file(w, "/d", O_RDONLY);
	struct gofer_file *reads = open_file(w, "/p", O_RDONLY);
	struct gofer_file *writes = open_file(w, "/p", O_WRONLY);
	struct gofer_file *path = open_file(w, "/p", O_PATH);
	struct gofer_file *append = open_file(w, "/p", O_RDWR | O_APPEND), *shared;
	const int both = PROT_READ | PROT_WRITE;
	void *p;

	mount_there(w, "/s", GOFER_INTEROP_SHARED, false);
	shared = open_file(w, "/s/p", O_RDWR);
	cr_assert_eq(gofer_mmap(dir, NULL, PAGE, PROT_READ, MAP_SHARED, 0, &p), -ENODEV);
	cr_assert_eq(gofer_mmap(reads, NULL, PAGE, both, MAP_SHARED, 0, &p), -EACCES);
	cr_assert_eq(gofer_mmap(writes, NULL, PAGE, PROT_READ, MAP_PRIVATE, 0, &p), -EACCES);
	cr_assert_eq(gofer_mmap(path, NULL, PAGE, PROT_READ, MAP_PRIVATE, 0, &p), -EBADF);
	cr_assert_eq(gofer_mmap(append, NULL, PAGE, both, MAP_SHARED, 0, &p), -ENODEV);
	cr_assert_eq(gofer_mmap(shared, NULL, PAGE, both, MAP_SHARED, 0, &p), -ENODEV);
	cr_assert(strstr(gofer_message(), "donated"), "%s", gofer_message());
	cr_assert_eq(gofer_mmap(file, NULL, 0, both, MAP_SHARED, 0, &p), -EINVAL);
	cr_assert_eq(gofer_mmap(file, NULL, PAGE, both, MAP_SHARED, 1, &p), -EINVAL);
	cr_assert_eq(gofer_mmap(file, NULL, PAGE, both, MAP_SHARED | MAP_PRIVATE, 0, &p), -EINVAL);
	cr_assert_eq(gofer_mmap(file, NULL, PAGE, both, 0, 0, &p), -EINVAL);
	cr_assert_eq(gofer_mmap(file, NULL, PAGE, both, MAP_SHARED | MAP_HUGETLB, 0, &p), -EINVAL);
	cr_assert_eq(gofer_mmap(file, (void *)1, PAGE, both, MAP_SHARED | MAP_FIXED, 0, &p),
		     -EINVAL);
	cr_assert_eq(gofer_mmap(file, NULL, SIZE_MAX, both, MAP_SHARED, 0, &p), -ENOMEM);
	cr_assert_eq(gofer_mmap(file, NULL, PAGE, both, MAP_SHARED, INT64_MAX & ~4095L, &p),
		     -EOVERFLOW);
	cr_assert_eq(gofer_munmap(w->ns, (void *)PAGE, PAGE), -EINVAL);
	cr_assert_eq(gofer_munmap(w->ns, (void *)1, PAGE), -EINVAL);
	cr_assert_eq(gofer_msync(w->ns, (void *)PAGE, PAGE, MS_SYNC), -ENOMEM);
	cr_assert_eq(gofer_msync(w->ns, (void *)PAGE, PAGE, MS_SYNC | MS_ASYNC), -EINVAL);
	/* A mount that is gone. */
	cr_assert_eq(gofer_umount(w->ns, "/s"), 0);
	cr_assert_eq(gofer_mmap(shared, NULL, PAGE, PROT_READ, MAP_SHARED, 0, &p), -ESTALE);
	gofer_close(file);
	gofer_close(dir);
	gofer_close(reads);
	gofer_close(writes);
	gofer_close(path);
	gofer_close(append);
	gofer_close(shared);
	end(w);
}

Test(mapping, without_userfaultfd_small_files_are_read_whole)
{
	struct world *w = begin_with(GOFER_INTEROP_EXCLUSIVE, false, 0, 4 * PAGE);
	struct gofer_file *file = open_file(w, "/p", O_RDWR);
	void *p;
	uint8_t *a = map(file, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, PAGE);

	cr_assert_eq(mapping_features(w->session), 0);
	cr_assert_eq(a[0], 2);
	a[3 * PAGE] = 100;
	cr_assert_eq(gofer_mmap(file, NULL, 5 * PAGE, PROT_READ, MAP_SHARED, 0, &p), -ENOMEM);
	cr_assert(strstr(gofer_message(), "userfaultfd"), "%s", gofer_message());
	/* It is the file's bytes that count. */
	cr_assert_eq(gofer_ftruncate(file, 2 * PAGE), 0);
	cr_assert_eq(load(a + 3 * PAGE), -SIGBUS);
	p = map(file, 50 * PAGE, PROT_READ, MAP_SHARED, 0);
	cr_assert_eq(gofer_ftruncate(file, 5 * PAGE), 0);
	cr_assert_eq(a[3 * PAGE], 0);
	cr_assert_eq(gofer_munmap(w->ns, p, 50 * PAGE), 0);
	cr_assert_eq(gofer_munmap(w->ns, a, 4 * PAGE), 0);
	cr_assert_eq(host_byte("A/p", 4 * PAGE), 0);
	gofer_close(file);
	end(w);
}

/* ---- ends ---- */

Test(mapping, outlives_its_handle_and_holds_its_mount)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file;
	uint8_t *a;

	mount_there(w, "/m", GOFER_INTEROP_EXCLUSIVE, false);
	file = open_file(w, "/m/p", O_RDWR);
	a = map(file, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	cr_assert_eq(gofer_close(file), 0);
	cr_assert_eq(gofer_unlink(w->ns, "/p"), 0);
	cr_assert_eq(a[30 * PAGE], 31);
	cr_assert_eq(gofer_umount(w->ns, "/m"), -EBUSY);
	cr_assert_eq(gofer_munmap(w->ns, a, PAGES * PAGE), 0);
	cr_assert_eq(gofer_umount(w->ns, "/m"), 0);
	end(w);
}

Test(mapping, is_written_when_it_is_unmapped_in_parts)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR);
	uint8_t *a = map(file, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);

	gofer_close(file);
	for (unsigned i = 0; i < 8; i++)
		a[i * PAGE] = (uint8_t)(100 + i);
	cr_assert_eq(gofer_munmap(w->ns, a + 3 * PAGE, PAGE), 0);
	cr_assert_eq(load(a + 3 * PAGE), -SIGSEGV);
	cr_assert_eq(host_byte("A/p", 3 * PAGE), 103);
	cr_assert_eq(host_byte("A/p", 4 * PAGE), 5);
	a[4 * PAGE] = 204;
	cr_assert_eq(gofer_msync(w->ns, a, 8 * PAGE, MS_SYNC), 0);
	cr_assert_eq(host_byte("A/p", 4 * PAGE), 204);
	/* What comes to stand there instead is what was there before to the file. */
	file = open_file(w, "/p", O_RDWR);
	a[2 * PAGE] = 202;
	cr_assert_eq(gofer_mmap(file, a + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED,
				9 * PAGE, &(void *){ NULL }),
		     0, "%s", gofer_message());
	cr_assert_eq(host_byte("A/p", 2 * PAGE), 202);
	cr_assert_eq(a[2 * PAGE], 10);
	gofer_close(file);
	cr_assert_eq(gofer_munmap(w->ns, a, 8 * PAGE), 0);
	end(w);
}

Test(mapping, is_written_when_the_session_ends)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR);
	uint8_t *a = map(file, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);

	a[PAGE] = 100;
	gofer_close(file);
	gofer_namespace_free(TAKE_PTR(w->ns));
	cr_assert_eq(a[2 * PAGE], 3);
	gofer_session_close(TAKE_PTR(w->session));
	cr_assert_eq(load(a), -SIGSEGV);
	cr_assert_eq(host_byte("A/p", PAGE), 100);
	end(w);
}

Test(mapping, is_not_the_childs)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR);
	uint8_t *a = map(file, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	int status;
	pid_t child;

	a[0] = 100;
	child = fork();
	if (child == 0) {
		void *p;

		_exit(load(a) == -SIGSEGV && load(a + 40 * PAGE) == -SIGSEGV &&
				      gofer_munmap(w->ns, a, PAGE) == -EOWNERDEAD &&
				      gofer_mmap(file, NULL, PAGE, PROT_READ, MAP_SHARED, 0, &p) ==
					      -EOWNERDEAD
			      ? 0
			      : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(a[0], 100);
	cr_assert_eq(a[40 * PAGE], 41);
	cr_assert_eq(gofer_munmap(w->ns, a, PAGES * PAGE), 0);
	cr_assert_eq(host_byte("A/p", 0), 100);
	gofer_close(file);
	end(w);
}

/* ---- the end of the file ---- */

struct toucher {
	pthread_t thread;
	const uint8_t *a;
	_Atomic bool stop;
	uint64_t sum;
};

static void *touch(void *userdata)
{
	struct toucher *t = userdata;

	/* A SIGBUS here would be the end of the test. */
	do {
		for (unsigned i = 0; i < 4; i++)
			t->sum += *(const volatile uint8_t *)(t->a + i * PAGE);
	} while (!t->stop);
	return NULL;
}

Test(mapping, beyond_the_end_is_sigbus_for_who_goes_there)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR);
	uint8_t *a = map(file, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	struct toucher t = { .a = a };

	cr_assert_eq(pthread_create(&t.thread, NULL, touch, &t), 0);
	cr_assert_eq(load(a + PAGES * PAGE), -SIGBUS);
	for (unsigned i = 0; i < 100; i++) {
		uint8_t byte = (uint8_t)(i + 1);

		cr_assert_eq(gofer_pwrite(file, &byte, 1, 20 * PAGE + i), 1);
		cr_assert_eq(load(a + 20 * PAGE + i), byte);
		cr_assert_eq(gofer_ftruncate(file, 4 * PAGE + i), 0);
		cr_assert_eq(load(a + 20 * PAGE + i), -SIGBUS);
		cr_assert_eq(load(a + 4 * PAGE), i ? 5 : -SIGBUS, "%u", i);
		cr_assert_eq(gofer_ftruncate(file, 5 * PAGE), 0);
		cr_assert_eq(load(a + 4 * PAGE), i ? 5 : 0);
		cr_assert_eq(load(a + 5 * PAGE - 1), 0);
		if (i == 0)
			cr_assert_eq(gofer_pwrite(file, "\5", 1, 4 * PAGE), 1);
	}
	t.stop = true;
	pthread_join(t.thread, NULL);
	cr_assert_eq(gofer_munmap(w->ns, a, 2 * PAGES * PAGE), 0);
	gofer_close(file);
	end(w);
}

/* What was stored behind the end, in the last page, is not in the file, and gone when that grows. */
Test(mapping, behind_the_end_is_nothing)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR);
	uint8_t *a, byte = 1;

	cr_assert_eq(gofer_ftruncate(file, PAGE + 10), 0);
	a = map(file, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	memset(a + PAGE, 100, PAGE);
	cr_assert_eq(gofer_msync(w->ns, a, 4 * PAGE, MS_SYNC), 0);
	cr_assert_eq(gofer_pread(file, &byte, 1, PAGE + 10), 0);
	cr_assert_eq(gofer_pwrite(file, &byte, 1, PAGE + 100), 1);
	cr_assert_eq(a[PAGE + 9], 100);
	cr_assert_eq(a[PAGE + 10], 0);
	cr_assert_eq(a[PAGE + 100], 1);
	cr_assert_eq(gofer_munmap(w->ns, a, 4 * PAGE), 0);
	cr_assert_eq(host_byte("A/p", PAGE + 9), 100);
	cr_assert_eq(host_byte("A/p", PAGE + 10), 0);
	cr_assert_eq(host_byte("A/p", PAGE + 101), -1);
	gofer_close(file);
	end(w);
}

/* Others change it: seen when it is asked for, and never beyond its end. */
Test(mapping, of_a_shared_tree_is_as_of_the_last_look)
{
	struct world *w = begin_with(GOFER_INTEROP_SHARED, false, MAPPING_ALL, MB);
	struct gofer_file *file = open_file(w, "/p", O_RDONLY);
	uint8_t *a = map(file, PAGES * PAGE, PROT_READ, MAP_SHARED, 0), *b;
	int fd = open("A/p", O_WRONLY | O_CLOEXEC);

	cr_assert_eq(a[0], 1);
	cr_assert_eq(pwrite(fd, "x", 1, 0), 1);
	cr_assert_eq(gofer_msync(w->ns, a, PAGES * PAGE, MS_INVALIDATE), 0);
	cr_assert_eq(a[0], 'x');
	cr_assert_eq(pwrite(fd, "y", 1, 0), 1);
	b = map(file, PAGE, PROT_READ, MAP_PRIVATE, 0);
	cr_assert_eq(b[0], 'y');
	cr_assert_eq(a[0], 'y');
	cr_assert_eq(ftruncate(fd, PAGE), 0);
	cr_assert_eq(gofer_msync(w->ns, a, PAGES * PAGE, MS_INVALIDATE), 0);
	cr_assert_eq(load(a + PAGE), -SIGBUS);
	cr_assert_eq(a[0], 'y');
	close(fd);
	cr_assert_eq(gofer_munmap(w->ns, a, PAGES * PAGE), 0);
	cr_assert_eq(gofer_munmap(w->ns, b, PAGE), 0);
	gofer_close(file);
	end(w);
}

/* Somebody makes the file shorter before its pages were touched. */
Test(mapping, of_a_file_that_others_cut)
{
	struct world *w = begin_with(GOFER_INTEROP_SHARED, false, MAPPING_ALL, 0);
	struct gofer_file *file = open_file(w, "/p", O_RDONLY);
	uint8_t *a;

	if (gofer_mmap(file, NULL, PAGES * PAGE, PROT_READ, MAP_SHARED, 0, (void **)&a) == 0) {
		cr_assert_eq(a[0], 1);
		cr_assert_eq(truncate("A/p", 40 * PAGE + 1), 0);
		cr_assert_eq(load(a + 50 * PAGE), -SIGBUS);
		cr_assert_eq(load(a + 40 * PAGE), 41);
		cr_assert_eq(load(a + 41 * PAGE), -SIGBUS);
		cr_assert_eq(load(a + 39 * PAGE), 40);
		cr_assert_eq(gofer_munmap(w->ns, a, PAGES * PAGE), 0);
	}
	gofer_close(file);
	end(w);
}

/* ---- many ---- */

enum { THREADS = 4 };

struct crowd {
	pthread_barrier_t barrier;
	const uint8_t *a;
	unsigned wrong[THREADS];
};

struct member {
	struct crowd *crowd;
	unsigned i;
};

static void *look(void *userdata)
{
	struct member *m = userdata;
	const uint8_t *a = m->crowd->a;

	pthread_barrier_wait(&m->crowd->barrier);
	/* Half of them backwards. */
	for (unsigned k = 0; k < PAGES; k++) {
		unsigned page = m->i % 2 ? PAGES - 1 - k : k;

		for (unsigned at = 0; at < PAGE; at += 512)
			m->crowd->wrong[m->i] += a[page * PAGE + at] != page + 1;
	}
	return NULL;
}

Test(mapping, is_touched_by_several_at_once)
{
	struct world *w = begin_with(GOFER_INTEROP_EXCLUSIVE, false, MAPPING_ALL, 0);
	struct gofer_file *file = open_file(w, "/p", O_RDWR);

	for (unsigned round = 0; round < 20; round++) {
		struct crowd crowd = { 0 };
		struct member members[THREADS];
		pthread_t threads[THREADS];
		void *p;

		if (gofer_mmap(file, NULL, PAGES * PAGE, PROT_READ,
			       round % 2 ? MAP_SHARED : MAP_PRIVATE, 0, &p) < 0)
			break;
		crowd.a = p;
		pthread_barrier_init(&crowd.barrier, NULL, THREADS);
		for (unsigned i = 0; i < THREADS; i++) {
			members[i] = (struct member){ &crowd, i };
			cr_assert_eq(pthread_create(&threads[i], NULL, look, &members[i]), 0);
		}
		for (unsigned i = 0; i < THREADS; i++) {
			pthread_join(threads[i], NULL);
			cr_assert_eq(crowd.wrong[i], 0);
		}
		pthread_barrier_destroy(&crowd.barrier);
		cr_assert_eq(gofer_munmap(w->ns, p, PAGES * PAGE), 0);
	}
	gofer_close(file);
	end(w);
}

/* System calls, and our own calls, that touch pages first. */
Test(mapping, is_a_buffer)
{
	struct world *w = begin_exclusive();
	struct gofer_file *file = open_file(w, "/p", O_RDWR), *copy;
	uint8_t *a = map(file, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	bool kernel = mapping_features(w->session) & MAPPING_KERNEL || !faults(w);
	size_t size;
	void *data;
	int p[2];

	cr_assert_eq(pipe2(p, O_CLOEXEC), 0);
	/* Of a size that is read whole where the kernel's faults are not to be had. */
	cr_assert_eq(write(p[1], a + 5 * PAGE, 10), 10, "%d", kernel);
	cr_assert_eq(read(p[0], a + 6 * PAGE, 10), 10);
	cr_assert_eq(a[6 * PAGE], 6);
	/* The file into itself, and out of itself; what is read is in the page cache already, so that there is no wait in between. */
	data = malloc(4 * PAGE);
	cr_assert_eq(gofer_pread(file, data, 4 * PAGE, 30 * PAGE), 4 * PAGE);
	free(data);
	cr_assert_eq(gofer_pread(file, a + 20 * PAGE, 4 * PAGE, 30 * PAGE), 4 * PAGE);
	cr_assert_eq(a[23 * PAGE], 34);
	cr_assert_eq(gofer_pwrite(file, a + 40 * PAGE, 4 * PAGE, 50 * PAGE), 4 * PAGE);
	cr_assert_eq(a[53 * PAGE], 44);
	cr_assert_eq(gofer_lseek(file, 60 * PAGE, SEEK_SET), 60 * PAGE);
	cr_assert_eq(gofer_read(file, a + 10 * PAGE, PAGE), PAGE);
	cr_assert_eq(gofer_write(file, a + 11 * PAGE, PAGE), PAGE);
	cr_assert_eq(a[10 * PAGE], 61);
	cr_assert_eq(a[61 * PAGE], 12);
	cr_assert_eq(gofer_write_file(w->ns, "/copy", a + 44 * PAGE, 4 * PAGE, 0644, 0), 0);
	cr_assert_eq(host_byte("A/copy", 3 * PAGE), 48);
	/* The server copies what was stored, too. */
	a[45 * PAGE] = 78;
	copy = open_file(w, "/copy", O_RDWR);
	cr_assert_eq(gofer_copy_file_range(file, 45 * PAGE, copy, 0, PAGE), PAGE);
	gofer_close(copy);
	cr_assert_eq(host_byte("A/copy", 0), 78);
	/* By path, too, one reads what was stored. */
	a[0] = 77;
	cr_assert_eq(gofer_read_file(w->ns, "/p", &data, &size, NULL), 0);
	cr_assert_eq(((uint8_t *)data)[0], 77);
	free(data);
	cr_assert_eq(gofer_munmap(w->ns, a, PAGES * PAGE), 0);
	cr_assert_eq(host_byte("A/p", 23 * PAGE), 34);
	close(p[0]);
	close(p[1]);
	gofer_close(file);
	end(w);
}

/* A file much larger than what may stay. */
Test(mapping, gives_up_pages_for_others)
{
	struct world *w = begin_with(GOFER_INTEROP_EXCLUSIVE, false, MAPPING_ALL, 0);
	struct gofer_file *file = open_file(w, "/large", O_RDWR | O_CREAT);
	uint64_t i, size = 8 * MB, page[PAGE / 8];
	uint64_t *a;

	mapping_limit(w->session, MAPPING_ALL, MB, 0);
	for (i = 0; i < size / PAGE; i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(page); k++)
			page[k] = i;
		cr_assert_eq(gofer_pwrite(file, page, PAGE, i * PAGE), PAGE);
	}
	gofer_close(file);
	file = open_file(w, "/large", O_RDONLY);
	if (gofer_mmap(file, NULL, size, PROT_READ, MAP_SHARED, 0, (void **)&a) == 0) {
		for (unsigned round = 0; round < 2; round++)
			for (i = 0; i < size / PAGE; i++)
				cr_assert_eq(a[i * PAGE / 8 + 7], i);
		cr_assert_leq(mapping_bytes(w->session), 3 * MB);
		cr_assert_eq(gofer_munmap(w->ns, a, size), 0);
	}
	gofer_close(file);
	end(w);
}

/* Two namespaces of one session are one client. */
Test(mapping, is_seen_in_every_namespace_of_the_session)
{
	struct world *w = begin_exclusive();
	struct gofer_mount_options o = { .interop = GOFER_INTEROP_EXCLUSIVE, .no_donate = true };
	struct gofer_file *file = open_file(w, "/p", O_RDWR), *other;
	struct gofer_namespace *ns;
	uint8_t *a = map(file, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, 0), byte;

	cr_assert_eq(gofer_namespace_new(&ns), 0);
	cr_assert_eq(gofer_mount(ns, w->session, 0, "/", &o), 0);
	cr_assert_eq(gofer_open(ns, "/p", O_RDWR, 0, &other), 0);
	a[0] = 100;
	cr_assert_eq(gofer_pread(other, &byte, 1, 0), 1);
	cr_assert_eq(byte, 100);
	cr_assert_eq(gofer_ftruncate(other, 0), 0);
	cr_assert_eq(load(a), -SIGBUS);
	cr_assert_eq(gofer_munmap(ns, a, PAGE), 0);
	gofer_close(other);
	gofer_close(file);
	gofer_namespace_free(ns);
	end(w);
}
