/*
 * plan_calls.h - what the threads of plan_model.c do: each picks a call, makes it, compares what it says with the model, and changes
 * that.
 */
#pragma once

#include "tests/integration/plan.h"

/* ---- by handle ---- */

static void do_close(struct thread *t, unsigned i)
{
	struct content *c = t->files[i].content;

	if (!c || is_all(t, c))
		return;
	note(t, "close");
	/* That what was written could not be sent is no failure to close. */
	(void)worked(t, gofer_close(TAKE_PTR(t->files[i].file)));
	t->files[i].content = NULL;
	c->opens--;
	put(t, c);
}

static void do_open(struct thread *t, unsigned i)
{
	static const int flags[] = { O_RDONLY, O_RDWR,   O_RDWR,           O_RDWR,
				     O_RDWR,   O_WRONLY, O_RDWR | O_TRUNC, O_RDWR | O_DSYNC };
	unsigned name = below(t, N_NAMES), how = below(t, ARRAY_SIZE(flags));
	bool native = t->plan->mode == GOFER_INTEROP_SHARED && below(t, 2);
	struct content *c = t->names[name];
	char text[32], path[40];
	int r;

	if (t->files[i].content || !c)
		return;
	snprintf(path, sizeof(path), "%s%s", native ? "/d" : "", path_of(t, name, text));
	note(t, "open %s %o", path, flags[how]);
	begin(t, c, 0, flags[how] & O_TRUNC ? MOST : 0, flags[how] & O_TRUNC);
	r = gofer_open(t->plan->ns, path, flags[how], 0, &t->files[i].file);
	if (worked(t, r)) {
		if (flags[how] & O_TRUNC)
			resize(c, 0, false);
		t->files[i].content = c;
		t->files[i].access = flags[how] & O_ACCMODE;
		t->files[i].native = native;
		c->opens++;
	}
	end(t);
}

static void do_read(struct thread *t, unsigned i)
{
	const struct content *c = t->files[i].content;
	size_t offset = below(t, MOST), size = 1 + below(t, PIECE), want;
	ssize_t n;

	if (t->files[i].access == O_WRONLY)
		return;
	if (below(t, 4) == 0)
		offset = 0, size = MOST;
	want = offset < c->size ? MIN(size, c->size - offset) : 0;
	note(t, "read %zu+%zu of %zu", offset, size, c->size);
	n = gofer_pread(t->files[i].file, t->buf, size, offset);
	if (!worked(t, n))
		return;
	expect(t, n, (int64_t)want);
	if (n == (ssize_t)want)
		compare(t, c, t->buf, want, offset);
}

static void do_write(struct thread *t, unsigned i)
{
	struct content *c = t->files[i].content;
	size_t offset, size;
	ssize_t n;

	if (t->files[i].access == O_RDONLY)
		return;
	pick(t, c, &offset, &size);
	note(t, "write %zu+%zu of %zu", offset, size, c->size);
	begin(t, c, offset, offset + size, offset + size > c->size);
	n = gofer_pwrite(t->files[i].file, some_bytes(t, size), size, offset);
	if (worked(t, n)) {
		if ((size_t)n > size || (t->plan->fate != FAILURES && !ended(t)))
			expect(t, n, (int64_t)size);
		store(t, c, t->buf, (size_t)n, offset);
	}
	end(t);
}

static void do_truncate(struct thread *t, unsigned i)
{
	struct content *c = t->files[i].content;
	size_t size = below(t, MOST);

	if (t->files[i].access == O_RDONLY || is_all(t, c))
		return;
	note(t, "ftruncate %zu to %zu", c->size, size);
	begin(t, c, MIN(size, c->size), MOST, true);
	if (worked(t, gofer_ftruncate(t->files[i].file, size)))
		resize(c, size, false);
	end(t);
}

static void do_allocate(struct thread *t, unsigned i)
{
	struct content *c = t->files[i].content;
	bool punch = below(t, 2) || is_all(t, c);
	size_t offset, size;

	if (t->files[i].access == O_RDONLY)
		return;
	pick(t, c, &offset, &size);
	note(t, "%s %zu+%zu of %zu", punch ? "punch" : "zero", offset, size, c->size);
	begin(t, c, offset, offset + size, !punch);
	if (worked(t, gofer_fallocate(t->files[i].file,
				      punch ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
					    : FALLOC_FL_ZERO_RANGE,
				      offset, size))) {
		if (punch)
			size = offset < c->size ? MIN(size, c->size - offset) : 0;
		store(t, c, NULL, size, offset);
	}
	end(t);
}

static void do_size(struct thread *t, unsigned i)
{
	struct stat st;

	note(t, "fstat");
	if (!worked(t, gofer_fstat(t->files[i].file, &st)))
		return;
	expect(t, st.st_size, (int64_t)t->files[i].content->size);
	expect(t, (int64_t)st.st_nlink, t->files[i].content->links);
}

static void do_fsync(struct thread *t, unsigned i)
{
	struct content *c = t->files[i].content;

	note(t, "fsync");
	if (!worked(t, gofer_fsync(t->files[i].file, below(t, 2))))
		return;
	settled(t, c, 0, MOST);
	look_at_host(t, c);
}

/* ---- memory ---- */

static void do_map(struct thread *t, unsigned k)
{
	unsigned i = below(t, N_FILES);
	struct content *c = t->files[i].content;
	bool writes = t->files[i].access == O_RDWR && below(t, 4);
	size_t first = below(t, MOST / PAGE), n = 1 + below(t, (unsigned)(MOST / PAGE - first));
	void *p;

	if (t->maps[k].addr || !c || t->files[i].access == O_WRONLY)
		return;
	/* Others may change the tree: no memory of ours is theirs but the kernel's. */
	if (t->plan->mode == GOFER_INTEROP_SHARED && !t->files[i].native)
		return;
	note(t, "mmap%s, pages %zu+%zu", writes ? ", writable" : "", first, n);
	if (!worked(t, gofer_mmap(t->files[i].file, NULL, n * PAGE,
				  PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED, first * PAGE,
				  &p)))
		return;
	t->maps[k].addr = p;
	t->maps[k].content = c;
	t->maps[k].first = first;
	t->maps[k].n = n;
	t->maps[k].writes = writes;
	c->opens++;
}

static void do_unmap(struct thread *t, unsigned k)
{
	struct content *c = t->maps[k].content;
	size_t from = t->maps[k].first * PAGE, to = from + t->maps[k].n * PAGE;
	int r;

	note(t, "munmap");
	do
		r = gofer_munmap(t->plan->ns, t->maps[k].addr, to - from);
	while (!worked(t, r) && !ended(t));
	for (size_t i = from; i < to && !ended(t); i++)
		if (is_mine(t, c, i) && c->stored[i])
			c->stored[i] = false;
	t->maps[k].addr = NULL;
	c->opens--;
	put(t, c);
}

/* Of a page that could not be had, nothing can be loaded any more. */
static bool touched(struct thread *t, unsigned k, bool there)
{
	if (there)
		return true;
	if (t->plan->fate != FAILURES && !ended(t))
		wrong(t, "SIGBUS");
	t->refused++;
	if (!ended(t))
		do_unmap(t, k);
	return false;
}

/* A range of the mapping, within the file and within a page, that is this thread's. */
static bool pick_mapped(struct thread *t, unsigned k, size_t *ret_offset, size_t *ret_size)
{
	const struct content *c = t->maps[k].content;
	size_t from = t->maps[k].first * PAGE, to = MIN(from + t->maps[k].n * PAGE, c->size);

	pick(t, c, ret_offset, ret_size);
	if (!is_all(t, c) && from < to)
		*ret_offset = from + *ret_offset % (to - from);
	if (*ret_offset < from || *ret_offset >= to)
		return false;
	*ret_size = MIN(MIN(*ret_size, PAGE - *ret_offset % PAGE), to - *ret_offset);
	return true;
}

static void do_store(struct thread *t, unsigned k)
{
	struct content *c = t->maps[k].content;
	size_t offset, size;

	if (!t->maps[k].writes || !pick_mapped(t, k, &offset, &size))
		return;
	note(t, "store %zu+%zu of %zu", offset, size, c->size);
	some_bytes(t, size);
	/* Before it is done: this thread may be killed in the middle. */
	if (t->plan->mode != GOFER_INTEROP_SHARED) {
		memset(c->stored + offset, true, size);
		memset(c->late + offset, true, size);
	}
	begin(t, c, offset, offset + size, false);
	if (touched(t, k, copy(t->maps[k].addr + (offset - t->maps[k].first * PAGE), t->buf, size)))
		memcpy(c->data + offset, t->buf, size);
	end(t);
}

static void do_load(struct thread *t, unsigned k)
{
	const struct content *c = t->maps[k].content;
	size_t offset, size;

	if (!pick_mapped(t, k, &offset, &size))
		return;
	note(t, "load %zu+%zu of %zu", offset, size, c->size);
	if (touched(t, k, copy(t->buf, t->maps[k].addr + (offset - t->maps[k].first * PAGE), size)))
		compare(t, c, t->buf, size, offset);
}

static void do_msync(struct thread *t, unsigned k)
{
	size_t from = t->maps[k].first * PAGE, to = from + t->maps[k].n * PAGE;

	note(t, "msync");
	if (!worked(t, gofer_msync(t->plan->ns, t->maps[k].addr, to - from, MS_SYNC)))
		return;
	if (t->maps[k].writes) {
		settled(t, t->maps[k].content, from, to);
		look_at_host(t, t->maps[k].content);
	}
}

/* ---- by path ---- */

static void lose(struct thread *t, unsigned name)
{
	struct content *c = TAKE_PTR(t->names[name]);

	if (c)
		c->links--;
	put(t, c);
}

/* Of names that a call changes, nobody knows until it has ended. */
static void rename_begin(struct thread *t, unsigned a, unsigned b)
{
	t->unsure[a] = t->unsure[b] = true;
}

static void rename_end(struct thread *t, unsigned a, unsigned b)
{
	if (!ended(t))
		t->unsure[a] = t->unsure[b] = false;
}

/* A small file, whole: in its place, or as another. */
static void do_make(struct thread *t, unsigned name)
{
	bool atomic = below(t, 3) == 0;
	size_t size = below(t, 9000);
	struct content *c = t->names[name];
	char path[32];

	note(t, "write the whole of %s, %zu bytes%s", path_of(t, name, path), size,
	     atomic ? ", atomic" : "");
	if (c && !atomic)
		begin(t, c, 0, MOST, true);
	else
		rename_begin(t, name, name);
	if (worked(t, gofer_write_file(t->plan->ns, path, some_bytes(t, size), size, 0644,
				       atomic ? GOFER_WRITE_ATOMIC : 0))) {
		if (atomic)
			lose(t, name);
		if (!t->names[name]) {
			t->names[name] = content_new(t);
			t->names[name]->links = 1;
		}
		resize(t->names[name], 0, false);
		resize(t->names[name], size, false);
		memcpy(t->names[name]->data, t->buf, size);
	}
	end(t);
	rename_end(t, name, name);
}

static void do_read_file(struct thread *t, unsigned name)
{
	const struct content *c = t->names[name];
	_cleanup_free_ void *data = NULL;
	char path[32];
	size_t size;
	int r;

	note(t, "read the whole of %s", path_of(t, name, path));
	r = gofer_read_file(t->plan->ns, path, &data, &size, NULL);
	/* What mappings of any file hold goes first. */
	if (r == -ENOENT) {
		expect(t, c != NULL, false);
	} else if (worked(t, r)) {
		expect(t, (int64_t)size, (int64_t)c->size);
		compare(t, c, data, size, 0);
	}
}

static void do_cut(struct thread *t, unsigned name)
{
	struct content *c = t->names[name];
	size_t size = below(t, MOST);
	char path[32];

	if (!c)
		return;
	note(t, "truncate %s of %zu to %zu", path_of(t, name, path), c->size, size);
	begin(t, c, MIN(size, c->size), MOST, true);
	if (worked(t, gofer_truncate(t->plan->ns, path, size)))
		resize(c, size, false);
	end(t);
}

static void do_stat(struct thread *t, unsigned name)
{
	const struct content *c = t->names[name];
	struct stat st;
	char path[32];
	int r;

	note(t, "stat %s", path_of(t, name, path));
	r = gofer_stat(t->plan->ns, path, 0, &st);
	if (!c)
		expect(t, r, -ENOENT);
	else if (worked(t, r))
		expect(t, st.st_size, (int64_t)c->size);
}

static void do_unlink(struct thread *t, unsigned name)
{
	char path[32];

	if (!t->names[name])
		return;
	note(t, "unlink %s", path_of(t, name, path));
	rename_begin(t, name, name);
	if (worked(t, gofer_unlink(t->plan->ns, path)))
		lose(t, name);
	rename_end(t, name, name);
}

static void do_rename(struct thread *t, unsigned name)
{
	unsigned to = below(t, N_NAMES);
	char from[32], into[32];

	if (!t->names[name])
		return;
	note(t, "rename %s to %s", path_of(t, name, from), path_of(t, to, into));
	rename_begin(t, name, to);
	/* Two names of one file stay as they are. */
	if (worked(t, gofer_rename(t->plan->ns, from, into, 0)) && t->names[name] != t->names[to]) {
		lose(t, to);
		t->names[to] = TAKE_PTR(t->names[name]);
	}
	rename_end(t, name, to);
}

static void do_link(struct thread *t, unsigned name)
{
	unsigned to = below(t, N_NAMES);
	char from[32], into[32];

	if (!t->names[name] || t->names[to])
		return;
	note(t, "link %s to %s", path_of(t, name, from), path_of(t, to, into));
	rename_begin(t, to, to);
	if (worked(t, gofer_link(t->plan->ns, from, into, 0))) {
		t->names[to] = t->names[name];
		t->names[to]->links++;
	}
	rename_end(t, to, to);
}

/* ---- a thread ---- */

static void step(struct thread *t)
{
	unsigned what = below(t, 40), i = below(t, N_FILES), k = below(t, N_MAPS),
		 name = below(t, N_NAMES);
	static void (*const by_handle[])(struct thread * t, unsigned i) = {
		do_read,  do_read,  do_read,     do_read,     do_write, do_write,
		do_write, do_write, do_truncate, do_allocate, do_size,  do_fsync
	};
	static void (*const by_path[])(struct thread * t,
				       unsigned name) = { do_make,   do_read_file, do_cut, do_stat,
							  do_unlink, do_rename,    do_link };
	static void (*const by_map[])(struct thread * t, unsigned k) = { do_load,  do_load,
									 do_store, do_store,
									 do_store, do_msync };

	if (what < 3)
		do_open(t, i);
	else if (what < 4)
		do_close(t, i);
	else if (what < 6)
		do_map(t, k);
	else if (what < 7 && t->maps[k].addr)
		do_unmap(t, k);
	else if (what < 17 && t->maps[k].addr)
		by_map[below(t, ARRAY_SIZE(by_map))](t, k);
	else if (what < 22)
		by_path[below(t, ARRAY_SIZE(by_path))](t, name);
	else if (t->files[i].content)
		by_handle[below(t, ARRAY_SIZE(by_handle))](t, i);
}
