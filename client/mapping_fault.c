/*
 * mapping_fault.c - userfaultfd: what the kernel has of it, and the thread that fills pages.
 *
 * The memfd is filled through a window of our own, not where the fault was: so it works for
 * private mappings too, and for several of the same page. Who waits is woken, and then finds the page, or the end of the file.
 * A page that cannot be had is replaced, where it was asked for, by one of an empty file.
 */
#include "client/mapping.h"
#include "client/mapping_kernel.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { RUN_LEAST = 32 << 10, RUN_MOST = MAPPING_CHUNK };

/* ---- what the kernel has ---- */

static int open_uffd(int flags, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	_cleanup_fd_ int device = -EBADF, fd = -EBADF;

	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);
	if (fd < 0 && !flags) {
		device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		if (device >= 0)
			fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	}
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static unsigned probe(struct mapper *m)
{
	const uint64_t track = UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_ASYNC;
	struct pm_scan_arg scan = { .size = sizeof(scan) };
	static const int flags[] = { 0, UFFD_USER_MODE_ONLY };
	unsigned got = 0;

	m->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	for (size_t i = m->allowed & MAPPING_KERNEL ? 0 : 1; i < ARRAY_SIZE(flags); i++) {
		if (!(m->allowed & MAPPING_FAULTS))
			break;
		got = MAPPING_FAULTS | (i == 0 ? MAPPING_KERNEL : 0);
		m->uffd = -EBADF;
		if ((m->allowed & MAPPING_TRACK) && m->pagemap >= 0 &&
		    ioctl(m->pagemap, PAGEMAP_SCAN, &scan) == 0)
			m->uffd = open_uffd(flags[i], UFFD_FEATURE_MISSING_SHMEM | track);
		if (m->uffd >= 0)
			return got | MAPPING_TRACK;
		m->uffd = open_uffd(flags[i], UFFD_FEATURE_MISSING_SHMEM);
		if (m->uffd >= 0)
			return got;
	}
	return 0;
}

/* ---- memory ---- */

int mapping_arm(struct mapping *map, uint8_t *addr, size_t len)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)addr, len },
		.mode = (map->lazy ? UFFDIO_REGISTER_MODE_MISSING : 0) |
			(map->tracked ? UFFDIO_REGISTER_MODE_WP : 0),
	};

	/* A child would find pages of zeros where nobody has touched any. */
	if (madvise(addr, len, MADV_DONTFORK) < 0)
		return -errno;
	(void)madvise(addr, len, MADV_NOHUGEPAGE);
	if (reg.mode && ioctl(map->store->mapper->uffd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	return 0;
}

/* With the lock: moves the window over `at`. */
static int look_at(struct store *s, uint64_t at)
{
	uint64_t to = at & ~(uint64_t)(MAPPING_WINDOW - 1);
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	void *p;

	if (s->window && s->window_at == to)
		return 0;
	p = mmap(s->window, MAPPING_WINDOW, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_NORESERVE | (s->window ? MAP_FIXED : 0), s->fd, (off_t)to);
	if (p == MAP_FAILED)
		return -errno;
	s->window = p;
	s->window_at = UINT64_MAX;
	reg.range = (struct uffdio_range){ (uintptr_t)p, MAPPING_WINDOW };
	if (madvise(p, MAPPING_WINDOW, MADV_DONTFORK) < 0 ||
	    ioctl(s->mapper->uffd, UFFDIO_REGISTER, &reg) < 0)
		return -errno;
	s->window_at = to;
	return 0;
}

int store_copy(struct store *s, uint64_t begin, uint64_t end, const uint8_t *data)
{
	while (begin < end) {
		uint64_t n;
		struct uffdio_copy copy;
		int r = look_at(s, begin);

		if (r < 0)
			return r;
		n = MIN(end, s->window_at + MAPPING_WINDOW) - begin;
		copy = (struct uffdio_copy){
			.dst = (uintptr_t)s->window + (begin - s->window_at),
			.src = (uintptr_t)data,
			.len = n,
			.mode = UFFDIO_COPY_MODE_DONTWAKE,
		};
		if (ioctl(s->mapper->uffd, UFFDIO_COPY, &copy) < 0 && copy.copy <= 0) {
			/* EAGAIN: the memory map is changing; EEXIST: it is there. */
			if (errno != EAGAIN && errno != EEXIST)
				return -errno;
			copy.copy = errno == EEXIST ? (int64_t)s->mapper->page : 0;
		}
		begin += (uint64_t)copy.copy;
		data += copy.copy;
	}
	return 0;
}

static void wake(struct mapper *m, uint64_t address, uint64_t len)
{
	struct uffdio_range range = { address, len };

	(void)ioctl(m->uffd, UFFDIO_WAKE, &range);
}

void store_wake(struct store *s, uint64_t begin, uint64_t end)
{
	for (struct mapping *map = s->mappings; map; map = map->next) {
		uint64_t from = MAX(begin, map->offset), to = MIN(end, map->offset + map->len);

		if (map->lazy && from < to)
			wake(s->mapper, (uintptr_t)map->addr + (from - map->offset), to - from);
	}
}

/* ---- one fault ---- */

struct fault {
	struct store *store;
	struct gofer_file *file; /* as long as somebody waits */
	uint8_t *address;
	uint64_t at, end; /* in the file; the mapping's end */
};

/* Fills the page, and some more. As store_fill(). */
static int fill(struct fault *x)
{
	static const uint8_t zeros[64 << 10];
	struct store *s = x->store;
	uint64_t page = s->mapper->page, end;
	struct interval in;
	bool present;
	int r;

	pthread_mutex_lock(&s->lock);
	if (x->at >= s->size) {
		pthread_mutex_unlock(&s->lock);
		return 0;
	}
	present = store_present(s, x->at, x->at + page, &in);
	/* Somebody else's, or a page that was never there: see `whole`. */
	r = present ? store_copy(s, x->at, x->at + page, zeros) : 0;
	s->run = x->at == s->expected && s->run ? MIN(s->run * 2, (uint64_t)RUN_MOST)
						: MAX((uint64_t)RUN_LEAST, page);
	end = MIN(x->end, x->at + s->run);
	s->expected = end;
	pthread_mutex_unlock(&s->lock);
	if (present)
		return r;
	r = store_fill(s, x->file, x->at, end, false);
	/* It may have been another page that was at fault. */
	if (r < 0 && r != -ENOTCONN && r != -ETIMEDOUT && end > x->at + page)
		r = store_fill(s, x->file, x->at, x->at + page, false);
	return r;
}

/* The page cannot be had: SIGBUS there from now on. */
static void give_up(struct fault *x)
{
	struct store *s = x->store;
	uint64_t page = s->mapper->page;
	struct uffdio_poison poison = { .range = { (uintptr_t)x->address, page } };
	const struct range range = { (uintptr_t)x->address, (uintptr_t)x->address + 1, UINT64_MAX };
	struct mapping *map;
	struct interval in;

	pthread_mutex_lock(&s->lock);
	map = mapping_meets(s->mappings, &range);
	/* It may have come after all, or be another mapping by now. */
	if (map && map->lazy && map->offset + (uint64_t)(x->address - map->addr) == x->at &&
	    !store_present(s, x->at, x->at + page, &in)) {
		if (interval_reserve(&map->failed) == 0)
			interval_add(&map->failed, x->at, x->at + page);
		if (mmap(x->address, page, map->prot, MAP_SHARED | MAP_FIXED, s->mapper->nothing,
			 (off_t)x->at) != MAP_FAILED)
			(void)madvise(x->address, page, MADV_DONTFORK);
		else /* as many mappings as a process may have */
			(void)ioctl(s->mapper->uffd, UFFDIO_POISON, &poison);
	}
	pthread_mutex_unlock(&s->lock);
}

static bool find(struct mapper *m, uint64_t address, struct fault *ret)
{
	uint8_t *addr = (uint8_t *)(address & ~(m->page - 1));
	const struct range range = { (uintptr_t)addr, (uintptr_t)addr + 1, UINT64_MAX };
	struct store *s = mapper_find_range(m, &range);
	struct mapping *map;

	if (!s)
		return false;
	pthread_mutex_lock(&s->lock);
	map = mapping_meets(s->mappings, &range);
	if (map)
		*ret = (struct fault){ .store = s,
				       .file = file_ref(map->file),
				       .address = addr,
				       .at = map->offset + (uint64_t)(addr - map->addr),
				       .end = map->offset + map->len };
	pthread_mutex_unlock(&s->lock);
	if (!map)
		store_unref(s);
	return map;
}

static void fault(struct mapper *m, uint64_t address)
{
	struct fault x;
	int r;

	if (!find(m, address, &x)) {
		wake(m, address & ~(m->page - 1), m->page); /* it is unmapped */
		return;
	}
	pthread_rwlock_rdlock(&x.store->io);
	r = fill(&x);
	pthread_rwlock_unlock(&x.store->io);
	if (r == 1) {
		pthread_rwlock_wrlock(&x.store->io);
		r = store_fill(x.store, x.file, x.at, x.at + m->page, true);
		pthread_rwlock_unlock(&x.store->io);
	}
	if (r < 0)
		give_up(&x);
	wake(m, (uintptr_t)x.address, m->page);
	pthread_mutex_lock(&x.store->lock);
	store_wake(x.store, x.at, MIN(x.end, x.at + RUN_MOST));
	pthread_mutex_unlock(&x.store->lock);
	file_unref(x.file);
	store_unref(x.store);
	store_trim(m);
}

/* ---- the thread ---- */

static void *run(void *userdata)
{
	struct mapper *m = userdata;
	struct pollfd fds[2] = { { m->uffd, POLLIN, 0 }, { m->stop, POLLIN, 0 } };
	struct uffd_msg messages[16];

	while (!fds[1].revents) {
		ssize_t n = read(m->uffd, messages, sizeof(messages));

		for (size_t i = 0; n > 0 && i < (size_t)n / sizeof(messages[0]); i++)
			if (messages[i].event == UFFD_EVENT_PAGEFAULT)
				fault(m, messages[i].arg.pagefault.address);
		if (n <= 0)
			(void)poll(fds, 2, -1);
	}
	return NULL;
}

static int start_thread(struct mapper *m)
{
	sigset_t all, old;
	int r;

	/* Signals are the program's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&m->thread, NULL, run, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int faults_start(struct mapper *m)
{
	int r = 0;

	if (m->started)
		return 0;
	m->features = probe(m);
	if (m->features) {
		m->nothing = memfd_create("gofer-nothing", MFD_CLOEXEC);
		m->stop = eventfd(0, EFD_CLOEXEC);
		r = m->nothing < 0 || m->stop < 0 ? -errno : start_thread(m);
	}
	if (r < 0) {
		m->features = 0;
		faults_stop(m);
		return r;
	}
	m->started = true;
	return 0;
}

void faults_stop(struct mapper *m)
{
	if (m->started && m->features && eventfd_write(m->stop, 1) == 0)
		pthread_join(m->thread, NULL);
	m->uffd = fd_close(m->uffd);
	m->pagemap = fd_close(m->pagemap);
	m->stop = fd_close(m->stop);
	m->nothing = fd_close(m->nothing);
}
