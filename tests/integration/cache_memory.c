/*
 * cache_memory.c - what a client that remembers takes of memory: a file much larger than its budget of pages is read, and a
 * directory and a tree with many more entries than its budget of names are walked; its peak stays within the two budgets and what it needs
 * to run at all, and the server's does not grow with either.
 *
 *     cache_memory HOSTDIR      served as filesystem "t", without donated descriptors
 *         -file MIB -entries N  what is read and walked: a file with holes; a directory of N, and N/10 in directories of 1,000
 *         -pages MIB -cache MIB the budgets
 *         -slack MIB            beside the budgets, for all that the process is (default 32)
 *         -markdown             rows of a table as well
 *
 * The peak is the kernel's count of the process's resident pages (VmHWM), set back before each part. The pages of the cache lie in a sealed memfd
 * that the process has mapped, so those that were touched are in that count, as RssShmem; nobody else maps them, and they are counted once.
 */
#include "tests/integration/proof.h"

enum { IN_DIR = 1000, READ_SIZE = 128 << 10 };

static struct {
	const char *host;
	uint64_t file, entries, pages, cache, slack;
	bool markdown;
	struct gofer_session *session;
	struct gofer_namespace *ns;
} b;

static const uint64_t mib = 1 << 20;

/* ---- what is read ---- */

static void make_entries(int dir, uint64_t n)
{
	char name[32];

	for (uint64_t i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "entry-%07lu", (unsigned long)i);
		if (mknodat(dir, name, S_IFREG | 0644, 0) < 0)
			die("%s: %s", name, strerror(errno));
	}
}

/* Entries of a directory whose listing is just small enough to be kept as a whole: it is then copied out as a whole, too. */
static uint64_t kept(void)
{
	return b.cache / 4 / 500;
}

static int make_dir(int at, const char *name)
{
	int fd = mkdirat(at, name, 0755) < 0 ? -1 : openat(at, name, O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		die("%s: %s", name, strerror(errno));
	return fd;
}

static void make_all(void)
{
	int root = open(b.host, O_DIRECTORY | O_CLOEXEC), dir, below;
	int fd = openat(root, "file", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	char name[32];

	if (fd < 0 || ftruncate(fd, (off_t)b.file) < 0 || pwrite(fd, "x", 1, 0) != 1 ||
	    pwrite(fd, "y", 1, (off_t)b.file - 1) != 1)
		die("file: %s", strerror(errno));
	close(fd);
	dir = make_dir(root, "many");
	make_entries(dir, b.entries);
	close(dir);
	dir = make_dir(root, "tree");
	for (uint64_t i = 0; i < b.entries / 10 / IN_DIR; i++) {
		snprintf(name, sizeof(name), "%lu", (unsigned long)i);
		below = make_dir(dir, name);
		make_entries(below, IN_DIR);
		close(below);
	}
	close(dir);
	dir = make_dir(root, "kept");
	make_entries(dir, kept());
	close(dir);
	close(root);
}

/* ---- what it takes ---- */

struct peak {
	unsigned long client, server; /* KiB */
	unsigned long anon, shmem, file;
};

static void begin(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	/* Without it the peak of all parts so far counts. */
	if (fd >= 0) {
		(void)!write(fd, "5", 1);
		close(fd);
	}
}

static struct peak peak(void)
{
	static struct process_list list;
	struct peak p = { .client = process_field(getpid(), "VmHWM"),
			  .anon = process_field(getpid(), "RssAnon"),
			  .shmem = process_field(getpid(), "RssShmem"),
			  .file = process_field(getpid(), "RssFile") };

	server_processes(&list);
	for (size_t i = 0; i < list.n; i++)
		p.server = MAX(p.server, process_field(list.at[i].pid, "VmHWM"));
	return p;
}

static void end(const char *what, struct peak before)
{
	uint64_t budgets = b.pages + b.cache;
	struct gofer_cache_stats s;
	struct peak p = peak();

	if (gofer_session_get_cache_stats(b.session, &s) < 0)
		die("nothing is remembered");
	check(p.client * UINT64_C(1024) <= budgets + b.slack,
	      "%s: peak %.1f MiB of %lu + %lu + %lu (now %.1f anonymous, %.1f of the memfd, %.1f "
	      "of files; "
	      "by its own count %.1f of pages, %.1f of names)",
	      what, (double)p.client / 1024, b.pages / mib, b.cache / mib, b.slack / mib,
	      (double)p.anon / 1024, (double)p.shmem / 1024, (double)p.file / 1024,
	      (double)s.page_bytes / (double)mib, (double)s.bytes / (double)mib);
	check(s.page_bytes <= b.pages && s.bytes <= b.cache, "... by its own count too");
	check(p.server <= before.server + 16 * 1024,
	      "... the largest process of the server's: peak %.1f MiB, %.1f before",
	      (double)p.server / 1024, (double)before.server / 1024);
	if (b.markdown)
		printf("| %s | %.1f | %lu | %.1f | %.1f | %.1f |\n", what, (double)p.client / 1024,
		       (budgets + b.slack) / mib, (double)p.shmem / 1024, (double)p.anon / 1024,
		       (double)p.server / 1024);
}

/* ---- */

static void read_file(void)
{
	static char buf[READ_SIZE];
	struct gofer_file *f;
	uint64_t done = 0;
	ssize_t n;

	if (gofer_open(b.ns, "/file", O_RDONLY, 0, &f) < 0)
		die("open: %s", gofer_message());
	while ((n = gofer_read(f, buf, sizeof(buf))) > 0) {
		if (buf[0] != (done ? 0 : 'x') ||
		    buf[n - 1] != (done + (uint64_t)n == b.file ? 'y' : 0))
			die("a byte that is not the file's, near %lu", (unsigned long)done);
		done += (uint64_t)n;
	}
	if (n < 0 || done != b.file)
		die("read: %s after %lu bytes", gofer_message(), (unsigned long)done);
	gofer_close(f);
}

/* Returns how many entries lie in the directory, and below. */
static uint64_t walk(const char *path)
{
	struct gofer_dirent e;
	struct gofer_dir *d;
	uint64_t n = 0;
	int r;

	if (gofer_opendir(b.ns, path, 0, &d) < 0)
		die("opendir: %s", gofer_message());
	while ((r = gofer_readdir(d, &e)) > 0) {
		char below[64];

		n++;
		if (e.type != DT_DIR)
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, e.name);
		n += walk(below);
	}
	if (r < 0)
		die("readdir: %s", gofer_message());
	gofer_closedir(d);
	return n;
}

static void look_at_all(void)
{
	struct stat st;
	char path[64];

	for (uint64_t i = 0; i < b.entries; i += 7) {
		snprintf(path, sizeof(path), "/many/entry-%07lu", (unsigned long)i);
		if (gofer_stat(b.ns, path, 0, &st) < 0)
			die("%s", gofer_message());
	}
}

int main(int argc, char **argv)
{
	struct gofer_mount_options o = { .interop = GOFER_INTEROP_EXCLUSIVE, .no_donate = true };
	struct gofer_cache_stats s;
	struct gofer_stats requests;
	struct peak before;
	uint64_t n, before_kept;

	if (argc < 2)
		die("usage: cache_memory HOSTDIR [-file MIB] [-entries N] [-pages MIB] [-cache "
		    "MIB] [-slack MIB] [-markdown]");
	if (PROOF_SANITIZED) {
		printf("SKIP: sanitizers keep memory back\n");
		return PROOF_SKIP;
	}
	b.host = argv[1];
	b.file = option_number(argc, argv, "-file", 4096) * mib;
	b.entries = option_number(argc, argv, "-entries", 1000000);
	b.pages = option_number(argc, argv, "-pages", 256) * mib;
	b.cache = option_number(argc, argv, "-cache", 64) * mib;
	b.slack = option_number(argc, argv, "-slack", 32) * mib;
	b.markdown = option_set(argc, argv, "-markdown");
	o.page_bytes = b.pages;
	o.cache_bytes = b.cache;
	make_all();
	b.session = session_connect();
	b.ns = namespace_of(b.session, "t", &o);
	before = peak();
	printf("at first: %.1f MiB\n", (double)before.client / 1024);

	begin();
	read_file();
	end("reading a file", before);
	begin();
	n = walk("/many");
	if (n != b.entries)
		die("%lu entries", (unsigned long)n);
	end("walking one directory", before);
	begin();
	n = walk("/tree");
	if (n < b.entries / 10)
		die("%lu entries", (unsigned long)n);
	end("walking a tree", before);
	begin();
	n = walk("/kept");
	gofer_session_get_stats(b.session, &requests);
	before_kept = requests.total;
	n += walk("/kept");
	gofer_session_get_stats(b.session, &requests);
	check(n == 2 * kept() && requests.total == before_kept,
	      "a listing of %lu that is remembered: no request", (unsigned long)n / 2);
	end("a whole listing from memory", before);
	begin();
	look_at_all();
	read_file();
	end("attributes of every seventh, and the file again", before);

	if (gofer_session_get_cache_stats(b.session, &s) < 0)
		die("nothing is remembered");
	check(s.page_evictions > b.file / 4096 - b.pages / 4096 && s.evictions > 0,
	      "%lu pages and %lu names had to go: what was read is more than what is kept",
	      (unsigned long)s.page_evictions, (unsigned long)s.evictions);
	gofer_namespace_free(b.ns);
	gofer_session_close(b.session);
	return proof_end();
}
